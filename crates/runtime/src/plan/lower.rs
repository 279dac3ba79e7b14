//! From the nodes of a graph to steps: layers packed, images turned channels last and back.

use bantam_core::op::{Binary, Conv, Layout, Op, Pool, PoolKind, Type, Unary};
use bantam_core::{DType, Graph, Node, Tensor, ValueId};
use bantam_kernels::last::{
    CHANNEL_BLOCK, Clamp, ConvLayer, DepthwiseLayer, ImageShape, Pooling, Tile,
};

use super::chains::{Chain, ChainKind, chains};
use super::groups::{Facts, Group, groups};
use super::place::{Storage, Use, place};
use super::{Place, Plan, Step, Work, renames};
use crate::kernel::{conv_shape, pool_shape};
use crate::layer::Layer;

/// Plans a graph whose types are known as far as they can be.
pub(super) fn lower(graph: &Graph, types: Vec<Option<Type>>, inputs: &[Type]) -> Plan {
    let facts = Facts::new(graph, types);
    let (groups, mut taken) = groups(&facts);
    let chains = chains(&facts, &mut taken);
    let mut lowering = Lowering::new(&facts);
    for (i, node) in graph.nodes().iter().enumerate() {
        if let Some(group) = groups.get(&i) {
            lowering.want_images(group);
        } else if !taken[i] {
            lowering.spread(node);
        }
    }
    for (i, node) in graph.nodes().iter().enumerate() {
        if let Some(group) = groups.get(&i) {
            lowering.group(group);
        } else if let Some(chain) = chains.get(&i) {
            lowering.chain(chain);
        } else if !taken[i] {
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
        shape.halo = wish.halo;
        if !wish.is_made && !wish.blocks && c < CHANNEL_BLOCK {
            shape.pitch = c;
        }
        shape
    }

    /// Notes what a layer asks of the images it reads and makes.
    fn want_images(&mut self, group: &Group) {
        let node = &self.facts.graph.nodes()[group.node];
        let Op::Conv(Conv {
            padding, groups, ..
        }) = &node.op
        else {
            return;
        };
        let [top, left, bottom, right] = *padding;
        let wish = self.wish(node.inputs[0]);
        wish.halo = [
            wish.halo[0].max(top).max(bottom),
            wish.halo[1].max(left).max(right),
        ];
        wish.blocks |= *groups > 1;
        if let Some(added) = group.added {
            self.wish(added).blocks = true;
        }
        self.wish(group.out).is_made = true;
    }

    /// Notes whether a node of its own works on images channels last because it is given such.
    fn spread(&mut self, node: &Node) {
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
                (whole(0) && whole(1)).then(|| Layer::Take {
                    x,
                    y,
                    start: [taken[2].0, taken[3].0],
                    step: [ranges[2].step, ranges[3].step],
                    before: 0,
                })
            }
            Op::Layout(Layout::Pad { padding, value }) => {
                let only = [0, 2, 3].iter().all(|&axis| padding[axis] == [0, 0]);
                (only && *value == 0.0).then(|| Layer::Take {
                    x,
                    y,
                    start: [0; 2],
                    step: [1; 2],
                    before: padding[1][0],
                })
            }
            _ => None,
        }
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
        if let Some(&number) = self.facts.parameter.get(&of) {
            let tensor = self.facts.graph.parameters()[number].weight.tensor();
            self.weights.push(tensor.into_owned());
            let place = Place::Weight(self.weights.len() - 1);
            let storage = self.new_storage(Storage::Given(place));
            self.plain[root] = Some(storage);
            return storage;
        }
        let image = self.images[root].expect("nodes are in running order");
        let shape = self.image_shape(of);
        let t = self.facts.types[root].clone();
        let len = t.as_ref().map_or(0, Type::len);
        let storage = self.new_storage(Storage::Plain(DType::F32, len));
        self.plain[root] = Some(storage);
        self.drafts.push(Draft {
            name: self.facts.graph.value_name(of).to_owned(),
            work: Work::Layer(Layer::FromLast(shape)),
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
        let from = self.plain(v);
        let shape = self.image_shape(v);
        let storage = self.new_storage(Storage::Image(shape.len()));
        self.images[of] = Some(storage);
        let t = self.facts.types[v.index()].clone();
        self.drafts.push(Draft {
            name: self.facts.graph.value_name(v).to_owned(),
            work: Work::Layer(Layer::ToLast(shape)),
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
        if self.is_made(out)
            && let Some(layer) = self.image_layer(node)
        {
            let reads: Vec<usize> = node.inputs.iter().map(|&v| self.image(v)).collect();
            return self.push_image(node, layer, &node.inputs, reads, out);
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
        let storage = self.new_storage(Storage::Image(len));
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

    /// A layer made of one node or several.
    fn group(&mut self, group: &Group) {
        let node = &self.facts.graph.nodes()[group.node];
        let x = node.inputs[0];
        let (weights, bias) = self.folded(group);
        if let Op::Conv(conv) = &node.op {
            let (from, to) = (self.image_shape(x), self.image_shape(group.out));
            let w = self
                .facts
                .shape(node.inputs[1])
                .expect("a stored weight has a shape");
            let x_shape = self.facts.shape(x).expect("a layer's shapes are known");
            let shape = conv_shape(conv, x_shape, w);
            let bias = bias.as_deref();
            let (mut values, mut reads) = (vec![x], vec![self.image(x)]);
            let layer = if conv.groups > 1 {
                let layer = DepthwiseLayer::new(&shape, &weights, bias, from, to);
                Layer::Depthwise {
                    layer: Box::new(layer),
                    clamp: group.clamp,
                }
            } else {
                if let Some(added) = group.added {
                    values.push(added);
                    reads.push(self.image(added));
                }
                let tile = Tile::candidates(to.w, to.c)[0];
                let layer = ConvLayer::new(&shape, &weights, bias, from, to, tile);
                let added = group.added.map(|v| self.image_shape(v));
                Layer::Conv {
                    layer: Box::new(layer),
                    added,
                    clamp: group.clamp,
                }
            };
            return self.push_image(node, layer, &values, reads, group.out);
        }
        let t = self.type_of(group.out).expect("a layer's shapes are known");
        let outputs = t.shape[t.shape.len() - 1];
        let rows = t.len() / outputs;
        let inputs = weights.len() / outputs;
        let tile = Tile::candidates(rows, outputs)[0];
        let sizes = [rows, inputs, outputs];
        let layer = ConvLayer::dense(sizes, &weights, bias.as_deref(), inputs, tile);
        let layer = Layer::Conv {
            layer: Box::new(layer),
            added: None,
            clamp: group.clamp,
        };
        let from = self.plain(x);
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

    /// Weights `[outputs, …]` and bias of a layer with its batch normalisation.
    fn folded(&self, group: &Group) -> (Vec<f32>, Option<Vec<f32>>) {
        let node = &self.facts.graph.nodes()[group.node];
        let stored = |v: ValueId| {
            let tensor = self.facts.stored(v).expect("weights of a layer are stored");
            tensor
                .values::<f32>()
                .expect("weights of a layer are floats")
                .to_vec()
        };
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
            weights = transpose(&weights, shape[0], shape[1]);
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
            .zip(&var)
            .map(|(&g, &v)| f64::from(g) / (f64::from(v) + f64::from(op.epsilon)).sqrt())
            .collect();
        let each = weights.len() / scale.len().max(1);
        for (row, scale) in weights.chunks_exact_mut(each.max(1)).zip(&scale) {
            row.iter_mut()
                .for_each(|w| *w = (f64::from(*w) * scale) as f32);
        }
        let shifted = (0..scale.len()).map(|c| {
            let b = bias.as_ref().map_or(0.0, |b| f64::from(b[c]));
            ((b - f64::from(mean[c])) * scale[c] + f64::from(beta[c])) as f32
        });
        let shifted = shifted.collect();
        (weights, Some(shifted))
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
            outputs,
            n_late: self.n_late,
            without_reuse_bytes: buffers.without_reuse_bytes,
            slices: None,
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
fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len());
    for c in 0..cols {
        y.extend((0..rows).map(|r| x[r * cols + c]));
    }
    y
}
