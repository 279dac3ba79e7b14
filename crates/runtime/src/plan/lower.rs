//! From the nodes of a graph to steps: layers packed, images turned channels last and back.

use std::borrow::Cow;

use bantam_core::op::{Binary, Conv, Layout, Op, Pool, PoolKind, Type, Unary};
use bantam_core::{DType, Graph, Node, Tensor, ValueId};
use bantam_kernels::Precision;
use bantam_kernels::last::{
    ByteConvLayer, ByteDepthwiseLayer, CHANNEL_BLOCK, Clamp, Cut, DepthwiseLayer, ImageShape,
    Pooling, Scale, Tile,
};

use super::chains::{Chain, ChainKind, chains};
use super::groups::{Bytes, Facts, Group, groups, weight_axis};
use super::place::{Storage, Use, place};
use super::rectified::{Rectified, rectified};
use super::{Place, Plan, Step, Work, renames};
use crate::convolution::Convolution;
use crate::kernel::{conv_shape, pool_shape};
use crate::layer::Layer;

/// Plans a graph whose types are known as far as they can be.
pub(super) fn lower(graph: &Graph, types: Vec<Option<Type>>, inputs: &[Type]) -> Plan {
    let facts = Facts::new(graph, types);
    let mut groups = groups(&facts);
    let chains = chains(&facts, &mut groups.taken);
    let rectified = rectified(&facts, &mut groups.taken);
    let mut lowering = Lowering::new(&facts);
    for (i, node) in graph.nodes().iter().enumerate() {
        if let Some(group) = groups.layers.get(&i) {
            lowering.want_images(group);
        } else if groups.pools.contains_key(&i) {
            lowering.wish(node.outputs[0]).is_made = true;
        } else if !groups.taken[i] {
            lowering.spread(node);
        }
    }
    // Whoever pools bytes reads and makes whole blocks of channels.
    for (i, (source, _)) in &groups.pools {
        lowering.wish(source.value).blocks = true;
        lowering.wish(graph.nodes()[*i].outputs[0]).blocks = true;
    }
    for (i, node) in graph.nodes().iter().enumerate() {
        if let Some(group) = groups.layers.get(&i) {
            lowering.group(group);
        } else if let Some(chain) = chains.get(&i) {
            lowering.chain(chain);
        } else if let Some(both) = rectified.get(&i) {
            lowering.rectified(both, node);
        } else if let Some(&(source, pool)) = groups.pools.get(&i) {
            lowering.byte_pool(source, &graph.nodes()[pool], node.outputs[0]);
        } else if !groups.taken[i] {
            lowering.node(node);
        }
    }
    lowering.finish(inputs)
}

/// What is known of an image before it is made.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    /// Whether the node that makes it makes it channels last.
    is_made: bool,
    /// Rows and columns of zeros around it that its readers need.
    halo: [usize; 2],
    /// Whether its pixels are whole blocks of channels.
    blocks: bool,
    /// Whether its pixels may be closer than a block of channels although a node makes it so.
    may_be_narrow: bool,
}

/// A step before places are given out.
struct Draft {
    name: String,
    work: Work,
    macs: u64,
    /// Storages; `None` where only the type is read and nothing is stored.
    reads: Vec<(Option<usize>, Option<Type>)>,
    writes: Vec<(usize, Option<Type>)>,
}

struct Lowering<'g> {
    facts: &'g Facts<'g>,
    /// The value whose storage each value has; itself unless it only renames another.
    root: Vec<ValueId>,
    wishes: Vec<Wish>,
    storages: Vec<Storage>,
    /// Storage of each root as the graph sees it.
    plain: Vec<Option<usize>>,
    /// Storage of each root as an image with channels last.
    images: Vec<Option<usize>>,
    drafts: Vec<Draft>,
    /// Parameters that steps read, and the place of each parameter among them.
    weights: Vec<Tensor>,
    n_late: usize,
}

impl<'g> Lowering<'g> {
    fn new(facts: &'g Facts<'g>) -> Lowering<'g> {
        let n = facts.types.len();
        let mut root: Vec<Option<ValueId>> = vec![None; n];
        let (mut storages, mut plain) = (Vec::new(), vec![None; n]);
        for (i, input) in facts.graph.inputs().iter().enumerate() {
            root[input.value.index()] = Some(input.value);
            plain[input.value.index()] = Some(storages.len());
            storages.push(Storage::Given(Place::Input(i)));
        }
        for p in facts.graph.parameters() {
            root[p.value.index()] = Some(p.value);
        }
        for node in facts.graph.nodes() {
            for &v in &node.outputs {
                let same = renames(&node.op) && facts.types[v.index()].is_some();
                root[v.index()] = if same {
                    root[node.inputs[0].index()]
                } else {
                    Some(v)
                };
            }
        }
        Lowering {
            facts,
            root: root.into_iter().map(|r| r.expect("defined")).collect(),
            wishes: vec![Wish::default(); n],
            storages,
            plain,
            images: vec![None; n],
            drafts: Vec::new(),
            weights: Vec::new(),
            n_late: 0,
        }
    }

    fn root(&self, v: ValueId) -> usize {
        self.root[v.index()].index()
    }

    /// The value whose image with channels last `v` shares: another shape is another image.
    fn image_of(&self, v: ValueId) -> usize {
        let root = self.root(v);
        match self.facts.types[root] == self.facts.types[v.index()] {
            true => root,
            false => v.index(),
        }
    }

    fn wish(&mut self, v: ValueId) -> &mut Wish {
        let of = self.image_of(v);
        &mut self.wishes[of]
    }

    fn is_made(&self, v: ValueId) -> bool {
        self.wishes[self.image_of(v)].is_made
    }

    /// How the image `v` lies with channels last.
    fn image_shape(&self, v: ValueId) -> ImageShape {
        let [n, c, h, w] = self.facts.image(v).expect("an image");
        let wish = self.wishes[self.image_of(v)];
        let mut shape = ImageShape::new(n, h, w, c);
        if self.facts.shape(v).is_some_and(|s| s.len() != 4) {
            shape.pitch = c;
            return shape;
        }
        shape.halo = wish.halo;
        let free = !wish.is_made || wish.may_be_narrow;
        if free && !wish.blocks && c < CHANNEL_BLOCK {
            shape.pitch = c;
        }
        shape
    }

    /// Notes what a layer asks of the images it reads and makes.
    fn want_images(&mut self, group: &Group) {
        let node = &self.facts.graph.nodes()[group.node];
        if let Op::Conv(Conv {
            padding, groups, ..
        }) = &node.op
        {
            let [top, left, bottom, right] = *padding;
            let source = group.bytes.map_or(node.inputs[0], |b| b.value);
            let wish = self.wish(source);
            wish.halo = [
                wish.halo[0].max(top).max(bottom),
                wish.halo[1].max(left).max(right),
            ];
            wish.blocks |= *groups > 1;
            if let Some(added) = group.added {
                let added = self.added(group, added).0;
                self.wish(added).blocks = true;
            }
            self.wish(group.out).is_made = true;
        } else if group.to.is_some() {
            self.wish(group.out).is_made = true;
        }
    }

    /// The value that a layer adds, and what its bytes stand for, if they are bytes.
    fn added(&self, group: &Group, added: ValueId) -> (ValueId, Option<Scale>) {
        match self.facts.bytes(added).filter(|_| group.bytes.is_some()) {
            Some(bytes) => (bytes.value, Some(bytes.scale)),
            None => (added, None),
        }
    }

    /// Notes whether a node of its own works on images channels last because it is given such.
    fn spread(&mut self, node: &Node) {
        let out = node.outputs[0];
        if self.facts.quantized(out).is_some() {
            let from_image = self.is_made(node.inputs[0]);
            let wish = self.wish(out);
            (wish.is_made, wish.may_be_narrow) = (true, !from_image);
            wish.blocks |= from_image;
            return;
        }
        if let Some(bytes) = self.facts.bytes(out) {
            // Numbers with channels last are made of whole blocks, if anybody asks for them.
            let narrow = self.wish(bytes.value).may_be_narrow;
            let image = self.facts.image(out).is_some() && !narrow;
            self.wish(out).is_made = image;
            return;
        }
        if self.image_layer(node).is_none() {
            return;
        }
        for &v in &node.inputs {
            self.wish(v).blocks = true;
        }
        self.wish(node.outputs[0]).is_made = true;
    }

    /// The layer that a node is on images channels last, if all it reads is such. Shapes are right only
    /// when all wishes are known.
    fn image_layer(&self, node: &Node) -> Option<Layer> {
        let made = |v: &ValueId| self.is_made(*v) && self.facts.image(*v).is_some();
        if !node.inputs.iter().all(made) || self.facts.image(node.outputs[0]).is_none() {
            return None;
        }
        let shape = |v: ValueId| self.image_shape(v);
        let (x, y) = (shape(node.inputs[0]), shape(node.outputs[0]));
        match &node.op {
            Op::Pool(p) if !p.grad => Some(Layer::Pool {
                pooling: pooling(p),
                window: pool_shape(p, self.facts.shape(node.inputs[0])?),
                x,
                y,
            }),
            Op::Binary(Binary::Add) => {
                let b = shape(node.inputs[1]);
                let size = |s: &ImageShape| (s.n, s.h, s.w, s.c);
                let clamp = Clamp::NONE;
                (size(&x) == size(&b)).then_some(Layer::Add { a: x, b, y, clamp })
            }
            Op::Unary(Unary { kind, grad: false }) => Some(Layer::Map { kind: *kind, x, y }),
            Op::Layout(Layout::Slice { ranges }) => {
                let sizes = self.facts.image(node.inputs[0])?;
                let taken: Vec<(usize, usize)> = ranges
                    .iter()
                    .zip(sizes)
                    .map(|(r, len)| r.resolve(len))
                    .collect();
                let whole = |axis: usize| taken[axis] == (0, sizes[axis]);
                let cut = Cut {
                    x,
                    y,
                    start: [taken[2].0, taken[3].0],
                    step: [ranges[2].step, ranges[3].step],
                    before: 0,
                };
                (whole(0) && whole(1)).then_some(Layer::Take(cut))
            }
            Op::Layout(Layout::Pad { padding, value }) => {
                let only = [0, 2, 3].iter().all(|&axis| padding[axis] == [0, 0]);
                let cut = Cut {
                    x,
                    y,
                    start: [0; 2],
                    step: [1; 2],
                    before: padding[1][0],
                };
                (only && *value == 0.0).then_some(Layer::Take(cut))
            }
            _ => None,
        }
    }

    /// Whether a layer takes pixels of an image, and only one that does so as well reads what it makes.
    fn is_cut_again(&self, node: &Node, layer: &Layer) -> bool {
        let next = self.facts.reader(node.outputs[0]);
        let next = next.and_then(|n| self.image_layer(&self.facts.graph.nodes()[n]));
        matches!((layer, next), (Layer::Take(_), Some(Layer::Take(_))))
    }

    /// A layer and what it reads. Where it takes pixels of what others take of an image for it alone, as
    /// the shortcuts of residual networks do, it takes them from that image.
    fn joined_cuts(&self, node: &'g Node, layer: Layer) -> (&'g [ValueId], Layer) {
        let Layer::Take(mut cut) = layer else {
            return (&node.inputs, layer);
        };
        let mut values = &node.inputs;
        while let Some(before) = self.facts.producer(values[0])
            && self.facts.reader(values[0]).is_some()
            && let before = &self.facts.graph.nodes()[before]
            && let Some(Layer::Take(first)) = self.image_layer(before)
        {
            cut = first.then(&cut);
            values = &before.inputs;
        }
        (values, Layer::Take(cut))
    }

    fn new_storage(&mut self, storage: Storage) -> usize {
        self.storages.push(storage);
        self.storages.len() - 1
    }

    /// The storage of a value as the graph sees it; makes it if there is only the image.
    fn plain(&mut self, v: ValueId) -> usize {
        let root = self.root(v);
        if let Some(storage) = self.plain[root] {
            return storage;
        }
        let of = self.root[v.index()];
        if self.facts.is_stored(of)
            && let Some(tensor) = self.facts.stored(of)
        {
            self.weights.push(tensor.into_owned());
            let place = Place::Weight(self.weights.len() - 1);
            let storage = self.new_storage(Storage::Given(place));
            self.plain[root] = Some(storage);
            return storage;
        }
        let t = self.facts.types[root].clone();
        let (image, layer) = match self.images[root] {
            Some(image) => (image, Layer::FromLast(self.image_shape(of))),
            None => {
                let bytes = self.facts.bytes(of).expect("nodes are in running order");
                let layer = Layer::FromBytes {
                    x: self.image_shape(bytes.value),
                    y: None,
                    scale: bytes.scale,
                };
                (self.image(bytes.value), layer)
            }
        };
        let len = t.as_ref().map_or(0, Type::len);
        let storage = self.new_storage(Storage::Plain(DType::F32, len));
        self.plain[root] = Some(storage);
        self.drafts.push(Draft {
            name: self.facts.graph.value_name(of).to_owned(),
            work: Work::Layer(layer),
            macs: 0,
            reads: vec![(Some(image), t.clone())],
            writes: vec![(storage, t)],
        });
        storage
    }

    /// The storage of an image with channels last; makes it if there is only the other.
    fn image(&mut self, v: ValueId) -> usize {
        let of = self.image_of(v);
        if let Some(storage) = self.images[of] {
            return storage;
        }
        let shape = self.image_shape(v);
        let (from, layer) = match self.facts.bytes(v).filter(|_| self.is_made(v)) {
            Some(bytes) => {
                let layer = Layer::FromBytes {
                    x: self.image_shape(bytes.value),
                    y: Some(shape),
                    scale: bytes.scale,
                };
                (self.image(bytes.value), layer)
            }
            None => (self.plain(v), Layer::ToLast(shape)),
        };
        let storage = self.new_storage(Storage::Image(shape.len()));
        self.images[of] = Some(storage);
        let t = self.facts.types[v.index()].clone();
        self.drafts.push(Draft {
            name: self.facts.graph.value_name(v).to_owned(),
            work: Work::Layer(layer),
            macs: 0,
            reads: vec![(Some(from), t.clone())],
            writes: vec![(storage, t)],
        });
        storage
    }

    fn type_of(&self, v: ValueId) -> Option<Type> {
        self.facts.types[v.index()].clone()
    }

    /// Multiply-adds of a node, if its types are known.
    fn macs(&self, node: &Node) -> u64 {
        let of = |vs: &[ValueId]| {
            vs.iter()
                .map(|&v| self.type_of(v))
                .collect::<Option<Vec<_>>>()
        };
        match (of(&node.inputs), of(&node.outputs)) {
            (Some(inputs), Some(outputs)) => node.op.cost(&inputs, &outputs).macs,
            _ => 0,
        }
    }

    /// A node of its own.
    fn node(&mut self, node: &Node) {
        let out = node.outputs[0];
        if renames(&node.op) && self.facts.types[out.index()].is_some() {
            return;
        }
        if self.facts.bytes(out).is_some() || self.facts.is_stored(out) {
            // Made of bytes where it is asked for.
            return;
        }
        if let Some(scale) = self.facts.quantized(out) {
            let x = node.inputs[0];
            let is_image = self.is_made(x) && self.facts.image(x).is_some();
            let (from, shape) = match is_image {
                true => (self.image(x), Some(self.image_shape(x))),
                false => (self.plain(x), None),
            };
            let y = self.image_shape(out);
            let layer = Layer::ToBytes { x: shape, y, scale };
            return self.push_image(node, layer, &[x], vec![from], out);
        }
        if self.is_made(out)
            && let Some(layer) = self.image_layer(node)
        {
            if self.is_cut_again(node, &layer) {
                // Made with the cut that follows.
                return;
            }
            let (values, layer) = self.joined_cuts(node, layer);
            let reads: Vec<usize> = values.iter().map(|&v| self.image(v)).collect();
            return self.push_image(node, layer, values, reads, out);
        }
        let reads = node.inputs.iter().enumerate().map(|(k, &v)| {
            let storage = match node.op.reads(k) {
                true => Some(self.plain(v)),
                false => self.plain[self.root(v)],
            };
            (storage, self.type_of(v))
        });
        let reads = reads.collect();
        let writes = node.outputs.iter().map(|&v| {
            let t = self.type_of(v);
            let storage = match &t {
                Some(t) => Storage::Plain(t.dtype, t.len()),
                None => {
                    self.n_late += 1;
                    Storage::Given(Place::Late(self.n_late - 1))
                }
            };
            let storage = self.new_storage(storage);
            self.plain[v.index()] = Some(storage);
            (storage, t)
        });
        let writes = writes.collect();
        self.drafts.push(Draft {
            name: node.name.clone(),
            macs: self.macs(node),
            work: Work::Op(node.op.clone()),
            reads,
            writes,
        });
    }

    fn push_image(
        &mut self,
        node: &Node,
        layer: Layer,
        values: &[ValueId],
        reads: Vec<usize>,
        out: ValueId,
    ) {
        let len = self.image_shape(out).len();
        let storage = match self.facts.quantized(out) {
            Some(_) => Storage::Bytes(len + ByteConvLayer::SLACK),
            None => Storage::Image(len),
        };
        let storage = self.new_storage(storage);
        self.images[out.index()] = Some(storage);
        let reads = reads.into_iter().zip(values);
        let reads = reads.map(|(s, &v)| (Some(s), self.type_of(v))).collect();
        self.drafts.push(Draft {
            name: node.name.clone(),
            work: Work::Layer(layer),
            macs: self.macs(node),
            reads,
            writes: vec![(storage, self.type_of(out))],
        });
    }

    /// A layer that pools the bytes of `source` as `node` pools numbers.
    fn byte_pool(&mut self, source: Bytes, node: &Node, out: ValueId) {
        let Op::Pool(pool) = &node.op else {
            unreachable!("only pooling is taken for it")
        };
        let x = self.facts.shape(source.value).expect("bytes have a shape");
        let layer = Layer::BytePool {
            window: pool_shape(pool, x),
            x: self.image_shape(source.value),
            y: self.image_shape(out),
            zero_point: source.scale.zero_point,
        };
        let reads = vec![self.image(source.value)];
        self.push_image(node, layer, &[source.value], reads, out);
    }

    /// A layer made of one node or several.
    fn group(&mut self, group: &Group) {
        let node = &self.facts.graph.nodes()[group.node];
        match &node.op {
            Op::Conv(conv) => self.conv(group, node, conv),
            _ => self.dense(group, node),
        }
    }

    fn conv(&mut self, group: &Group, node: &Node, conv: &Conv) {
        let x = group.bytes.map_or(node.inputs[0], |b| b.value);
        let (from, to) = (self.image_shape(x), self.image_shape(group.out));
        let w = self.facts.shape(node.inputs[1]);
        let w = w.expect("a stored weight has a shape");
        let x_shape = self.facts.shape(x);
        let shape = conv_shape(conv, x_shape.expect("a layer's shapes are known"), w);
        let (mut values, mut reads) = (vec![x], vec![self.image(x)]);
        let mut added = None;
        if let Some(v) = group.added {
            let (v, scale) = self.added(group, v);
            values.push(v);
            reads.push(self.image(v));
            added = Some((self.image_shape(v), scale));
        }
        let (clamp, result) = (group.clamp, group.to);
        let layer = if let Some(bytes) = group.bytes {
            let (weights, scales, bias) = self.byte_weights(group);
            let (weights, from) = ((&weights[..], &scales[..]), (from, bytes.scale));
            let bias = bias.as_deref();
            if conv.groups > 1 {
                let layer = ByteDepthwiseLayer::new(&shape, weights, bias, from, to);
                let layer = Box::new(layer);
                let to = result;
                Layer::ByteDepthwise { layer, clamp, to }
            } else {
                let tile = Tile::candidates(to.w, to.c)[0];
                let layer = ByteConvLayer::new(&shape, weights, bias, from, to, tile);
                Layer::ByteConv {
                    layer: Box::new(layer),
                    added,
                    clamp,
                    to: result,
                }
            }
        } else {
            let (weights, bias) = self.folded(group);
            let bias = bias.as_deref();
            if conv.groups > 1 {
                let layer = Box::new(DepthwiseLayer::new(&shape, &weights, bias, from, to));
                Layer::Depthwise { layer, clamp }
            } else {
                let layer = Convolution::new(&shape, &weights, bias, from, to);
                Layer::Conv {
                    layer: Box::new(layer),
                    added: added.map(|(shape, _)| shape),
                    clamp,
                }
            }
        };
        self.push_image(node, layer, &values, reads, group.out);
    }

    fn dense(&mut self, group: &Group, node: &Node) {
        let t = self.type_of(group.out).expect("a layer's shapes are known");
        let outputs = t.shape[t.shape.len() - 1];
        let rows = t.len() / outputs;
        let clamp = group.clamp;
        let (x, from, layer) = if let Some(bytes) = group.bytes {
            let (weights, scales, bias) = self.byte_weights(group);
            let inputs = weights.len() / outputs;
            let tile = Tile::candidates(rows, outputs)[0];
            let layer = ByteConvLayer::dense(
                [rows, inputs, outputs],
                (&weights, &scales),
                bias.as_deref(),
                (inputs, bytes.scale),
                outputs,
                tile,
            );
            let layer = Layer::ByteConv {
                layer: Box::new(layer),
                added: None,
                clamp,
                to: group.to,
            };
            (bytes.value, self.image(bytes.value), layer)
        } else {
            let (weights, bias) = self.folded(group);
            let inputs = weights.len() / outputs;
            let sizes = [rows, inputs, outputs];
            let layer = Convolution::dense(sizes, &weights, bias.as_deref(), inputs);
            let layer = Layer::Conv {
                layer: Box::new(layer),
                added: None,
                clamp,
            };
            (node.inputs[0], self.plain(node.inputs[0]), layer)
        };
        if group.to.is_some() {
            return self.push_image(node, layer, &[x], vec![from], group.out);
        }
        let storage = self.new_storage(Storage::Plain(DType::F32, t.len()));
        self.plain[group.out.index()] = Some(storage);
        self.drafts.push(Draft {
            name: node.name.clone(),
            work: Work::Layer(layer),
            macs: self.macs(node),
            reads: vec![(Some(from), self.type_of(x))],
            writes: vec![(storage, Some(t))],
        });
    }

    /// A chain of operators that is one kernel.
    fn chain(&mut self, chain: &Chain) {
        let values = std::iter::once(chain.x).chain(chain.added);
        let reads: Vec<_> = values
            .map(|v| (Some(self.plain(v)), self.type_of(v)))
            .collect();
        let t = self.type_of(chain.out).expect("a chain's shapes are known");
        let storage = self.new_storage(Storage::Plain(DType::F32, t.len()));
        self.plain[chain.out.index()] = Some(storage);
        let nodes = self.facts.graph.nodes();
        self.drafts.push(Draft {
            name: nodes[chain.node].name.clone(),
            work: Work::Layer(match &chain.kind {
                ChainKind::Norm(norm) => Layer::Norm(Box::new(norm.clone()), t.len()),
                ChainKind::Gelu(gelu) => Layer::Gelu(*gelu, t.len()),
            }),
            macs: chain.nodes.iter().map(|&n| self.macs(&nodes[n])).sum(),
            reads,
            writes: vec![(storage, Some(t))],
        });
    }

    /// A normalisation with its rectifier.
    fn rectified(&mut self, both: &Rectified, node: &Node) {
        let read = |&v: &ValueId| (Some(self.plain(v)), self.type_of(v));
        let reads: Vec<_> = both.inputs.iter().map(read).collect();
        let made = |&v: &ValueId| {
            let t = self.type_of(v).expect("checked when it was found");
            let storage = self.new_storage(Storage::Plain(DType::F32, t.len()));
            self.plain[v.index()] = Some(storage);
            (storage, Some(t))
        };
        let writes: Vec<_> = both.outputs.iter().map(made).collect();
        self.drafts.push(Draft {
            name: node.name.clone(),
            work: Work::Norm(both.op, both.clamp),
            macs: self.macs(node),
            reads,
            writes,
        });
    }

    /// Signed bytes `[outputs, …]`, their scales, and bias of a layer of bytes.
    fn byte_weights(&self, group: &Group) -> (Vec<i8>, Vec<f32>, Option<Cow<'g, [f32]>>) {
        let node = &self.facts.graph.nodes()[group.node];
        let w = node.inputs[1];
        let (outputs, axis) = weight_axis(self.facts, node).expect("checked by the group");
        let (mut weights, scales) = self
            .facts
            .byte_weights(w, outputs, axis)
            .expect("checked by the group");
        if axis == 1 {
            let shape = self.facts.shape(w).expect("a stored weight has a shape");
            weights = transpose(&weights, shape[0], shape[1]);
        }
        let bias = node.inputs.get(2).copied().or(group.bias);
        let bias = bias.map(|v| self.stored_floats(v));
        (weights, scales, bias)
    }

    /// Stored floats as they lie in the graph, or decoded.
    fn stored_floats(&self, v: ValueId) -> Cow<'g, [f32]> {
        const FLOATS: &str = "weights of a layer are floats";
        match self.facts.stored(v).expect("weights of a layer are stored") {
            Cow::Borrowed(tensor) => Cow::Borrowed(tensor.values().expect(FLOATS)),
            Cow::Owned(tensor) => Cow::Owned(tensor.values().expect(FLOATS).to_vec()),
        }
    }

    /// Weights `[outputs, …]` and bias of a layer with its batch normalisation.
    fn folded(&self, group: &Group) -> (Cow<'g, [f32]>, Option<Cow<'g, [f32]>>) {
        let node = &self.facts.graph.nodes()[group.node];
        let stored = |v: ValueId| self.stored_floats(v);
        let mut weights = stored(node.inputs[1]);
        let turned = match &node.op {
            Op::MatMul(m) => !m.transpose_b,
            _ => false,
        };
        if turned {
            let shape = self
                .facts
                .shape(node.inputs[1])
                .expect("a stored weight has a shape");
            weights = transpose(&weights, shape[0], shape[1]).into();
        }
        let bias = node.inputs.get(2).copied().or(group.bias).map(stored);
        let Some(norm) = group.norm else {
            return (weights, bias);
        };
        let norm = &self.facts.graph.nodes()[norm];
        let Op::BatchNorm(op) = &norm.op else {
            unreachable!("only batch norms are folded")
        };
        let [gamma, beta, mean, var] = [1, 2, 3, 4].map(|i| stored(norm.inputs[i]));
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&var[..])
            .map(|(&g, &v)| f64::from(g) / (f64::from(v) + f64::from(op.epsilon)).sqrt())
            .collect();
        let each = weights.len() / scale.len().max(1);
        let rows = weights.to_mut().chunks_exact_mut(each.max(1));
        for (row, scale) in rows.zip(&scale) {
            row.iter_mut()
                .for_each(|w| *w = (f64::from(*w) * scale) as f32);
        }
        let shifted = (0..scale.len()).map(|c| {
            let b = bias.as_ref().map_or(0.0, |b| f64::from(b[c]));
            ((b - f64::from(mean[c])) * scale[c] + f64::from(beta[c])) as f32
        });
        let shifted = shifted.collect::<Vec<f32>>();
        (weights, Some(shifted.into()))
    }

    fn finish(mut self, inputs: &[Type]) -> Plan {
        let outputs = self.facts.graph.outputs();
        let kept: Vec<usize> = outputs.iter().map(|&v| self.plain(v)).collect();
        let uses: Vec<Use> = self
            .drafts
            .iter()
            .map(|d| Use {
                reads: d.reads.iter().filter_map(|(s, _)| *s).collect(),
                writes: d.writes.iter().map(|(s, _)| *s).collect(),
            })
            .collect();
        let (places, buffers) = place(&self.storages, &uses, &kept);
        let at = |s: Option<usize>| s.map_or(Place::Nowhere, |s| places[s]);
        let outputs = outputs.iter().zip(&kept);
        let outputs = outputs
            .map(|(&v, &s)| (places[s], self.type_of(v)))
            .collect();
        let step = |d: Draft| Step {
            name: d.name,
            work: d.work,
            macs: d.macs,
            inputs: d.reads.into_iter().map(|(s, t)| (at(s), t)).collect(),
            outputs: d.writes.into_iter().map(|(s, t)| (places[s], t)).collect(),
        };
        Plan {
            inputs: inputs.to_vec(),
            weights: self.weights,
            steps: self.drafts.into_iter().map(step).collect(),
            slots: buffers.slots,
            images: buffers.images,
            bytes: buffers.bytes,
            outputs,
            n_late: self.n_late,
            without_reuse_bytes: buffers.without_reuse_bytes,
            slices: None,
            precision: Precision::F32,
        }
    }
}

fn pooling(p: &Pool) -> Pooling {
    match p.kind {
        PoolKind::Max => Pooling::Max,
        PoolKind::Average { count_include_pad } => Pooling::Average { count_include_pad },
    }
}

/// `[cols, rows]` from `[rows, cols]`.
fn transpose<T: Copy>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len());
    for c in 0..cols {
        y.extend((0..rows).map(|r| x[r * cols + c]));
    }
    y
}
