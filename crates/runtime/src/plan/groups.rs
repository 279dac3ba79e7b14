//! Which nodes become one layer, and which values are images with channels last.
//!
//! A convolution or a dense layer with stored weights takes with it what follows it and reads nothing
//! else but stored values: batch normalisation, another image added, a clamp. What is taken must have
//! no other reader. The arithmetic of batch normalisation goes into the packed weights, in `f64`
//! (Jacob et al. 2018, section 3.2); the graph keeps its weights as they are.

use std::borrow::Cow;
use std::collections::HashMap;

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{
    BatchNorm, Binary, Conv, ConvRole, NormRole, Pool, PoolKind, Quantize, QuantizeRole, Type,
    Unary,
};
use bantam_core::{DType, Graph, Node, Op, Tensor, ValueId};
use bantam_kernels::last::{ByteConvLayer, Clamp, Scale};

/// A layer made of one node or several.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The convolution, dense layer or matrix product.
    pub(super) node: usize,
    /// Batch normalisation that follows.
    pub(super) norm: Option<usize>,
    /// A stored vector that is added, a value for each output.
    pub(super) bias: Option<ValueId>,
    /// A value of the same shape that is added.
    pub(super) added: Option<ValueId>,
    pub(super) clamp: Clamp,
    /// Where the layer runs: the last node it took.
    pub(super) end: usize,
    /// The value it makes.
    pub(super) out: ValueId,
    /// What it reads, if it computes with bytes.
    pub(super) bytes: Option<Bytes>,
    /// What the bytes it makes stand for, if it makes bytes.
    pub(super) to: Option<Scale>,
}

/// A value that is bytes, as the layers that read it see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    /// The bytes.
    pub(super) value: ValueId,
    pub(super) scale: Scale,
}

/// Facts about a graph that planning asks for again and again.
pub(super) struct Facts<'g> {
    pub(super) graph: &'g Graph,
    pub(super) types: Vec<Option<Type>>,
    /// Number of the parameter, for values that are one.
    pub(super) parameter: HashMap<ValueId, usize>,
    /// Nodes that read a value; an output of the graph has one more that is no node.
    readers: Vec<Vec<usize>>,
    /// The node that makes a value.
    producer: Vec<Option<usize>>,
}

impl<'g> Facts<'g> {
    pub(super) fn new(graph: &'g Graph, types: Vec<Option<Type>>) -> Facts<'g> {
        let mut readers = vec![Vec::new(); types.len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|v| readers[v.index()].push(i));
        }
        let outputs = graph.outputs().iter();
        outputs.for_each(|v| readers[v.index()].push(usize::MAX));
        let mut producer = vec![None; types.len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            let outputs = node.outputs.iter();
            outputs.for_each(|v| producer[v.index()] = Some(i));
        }
        let parameters = graph.parameters().iter().enumerate();
        Facts {
            graph,
            types,
            parameter: parameters.map(|(i, p)| (p.value, i)).collect(),
            readers,
            producer,
        }
    }

    pub(super) fn shape(&self, v: ValueId) -> Option<&[usize]> {
        self.types[v.index()].as_ref().map(|t| &t.shape[..])
    }

    /// The shape of an image. Rows of bytes are images of one pixel.
    pub(super) fn image(&self, v: ValueId) -> Option<[usize; 4]> {
        let t = self.types[v.index()].as_ref()?;
        let image = match (t.dtype, &t.shape[..]) {
            (DType::F32 | DType::U8, &[n, c, h, w]) => [n, c, h, w],
            (DType::U8, [rows @ .., c]) if (1..3).contains(&rows.len()) => {
                [rows.iter().product(), *c, 1, 1]
            }
            _ => return None,
        };
        (!t.is_empty()).then_some(image)
    }

    pub(super) fn is_f32(&self, v: ValueId) -> bool {
        self.types[v.index()]
            .as_ref()
            .is_some_and(|t| t.dtype == DType::F32)
    }

    /// Whether a value is stored, or stands for stored integers.
    pub(super) fn is_stored(&self, v: ValueId) -> bool {
        let integers = || {
            self.dequantized(v)
                .is_some_and(|n| self.parameter.contains_key(&n.inputs[0]))
        };
        self.parameter.contains_key(&v) || integers()
    }

    /// A stored value, decoded.
    pub(super) fn stored(&self, v: ValueId) -> Option<Cow<'g, Tensor>> {
        if let Some(&p) = self.parameter.get(&v) {
            return Some(self.graph.parameters()[p].weight.tensor());
        }
        let node = self.dequantized(v)?;
        let inputs: Vec<Cow<Tensor>> = node
            .inputs
            .iter()
            .map(|v| self.stored(*v))
            .collect::<Option<_>>()?;
        let inputs: Vec<&Tensor> = inputs.iter().map(Cow::as_ref).collect();
        let types: Vec<Type> = inputs
            .iter()
            .map(|t| Type::new(t.dtype(), t.shape()))
            .collect();
        let output = node.op.infer(&types).ok()?;
        let values = node.op.evaluate(&inputs, &output).ok()?;
        values.into_iter().next().map(Cow::Owned)
    }

    /// The node that makes numbers of the integers that `v` stands for, if scale and zero point are
    /// stored.
    pub(super) fn dequantized(&self, v: ValueId) -> Option<&'g Node> {
        let node = &self.graph.nodes()[self.producer[v.index()]?];
        let role = QuantizeRole::Dequantize;
        let fits = matches!(node.op, Op::Quantize(Quantize { role: r, .. }) if r == role);
        let stored = |v: &ValueId| self.parameter.contains_key(v);
        (fits && node.inputs[1..].iter().all(stored)).then_some(node)
    }

    /// The one scale of a node that quantizes to bytes or makes numbers of them.
    pub(super) fn scale(&self, node: &Node) -> Option<Scale> {
        let (scale, zero) = (self.stored(node.inputs[1])?, self.stored(node.inputs[2])?);
        let (&[scale], &[zero_point]) = (scale.values::<f32>().ok()?, zero.values::<u8>().ok()?)
        else {
            return None;
        };
        let fits = scale.is_finite() && scale > 0.0;
        fits.then_some(Scale { scale, zero_point })
    }

    /// The bytes that `v` stands for, if they are made of numbers and read by nothing else.
    pub(super) fn bytes(&self, v: ValueId) -> Option<Bytes> {
        let node = self.dequantized(v)?;
        let value = node.inputs[0];
        self.quantized(value)?;
        let scale = self.scale(node)?;
        Some(Bytes { value, scale })
    }

    /// What the bytes `v` stand for, if they are made of numbers and only numbers are made of them.
    pub(super) fn quantized(&self, v: ValueId) -> Option<Scale> {
        let node = &self.graph.nodes()[self.producer[v.index()]?];
        let role = QuantizeRole::Quantize;
        let fits = matches!(node.op, Op::Quantize(Quantize { role: r, .. }) if r == role);
        if !fits || !self.is_f32(node.inputs[0]) || self.image(v).is_none() {
            return None;
        }
        let read = |&n: &usize| {
            let reader = self.graph.nodes().get(n);
            reader.is_some_and(|n| {
                let stands = self.dequantized(n.outputs[0]).is_some();
                stands && n.inputs[0] == v && self.scale(n).is_some()
            })
        };
        let only = self.readers[v.index()].iter().all(read);
        self.scale(node).filter(|_| only)
    }

    /// Signed bytes of the weights of a layer with `outputs` along `axis`, and the scale of each output.
    pub(super) fn byte_weights(
        &self,
        v: ValueId,
        outputs: usize,
        axis: usize,
    ) -> Option<(Vec<i8>, Vec<f32>)> {
        let node = self.dequantized(v)?;
        let [q, scale, zero] = [0, 1, 2].map(|i| self.stored(node.inputs[i]));
        let (q, scale, zero) = (q?, scale?, zero?);
        let weights = q.values::<i8>().ok()?;
        let Op::Quantize(op) = node.op else {
            return None;
        };
        let along = op.axis
            + if op.axis < 0 {
                q.shape().len() as i64
            } else {
                0
            };
        let scale = scale.values::<f32>().ok()?;
        let scales = match scale {
            &[one] => vec![one; outputs],
            all if along == axis as i64 && all.len() == outputs => all.to_vec(),
            _ => return None,
        };
        let centred = zero.values::<i8>().ok()?.iter().all(|&z| z == 0);
        centred.then(|| (weights.to_vec(), scales))
    }

    /// The one stored number that `v` is.
    pub(super) fn number(&self, v: ValueId) -> Option<f32> {
        let t = self.stored(v)?;
        match t.values::<f32>() {
            Ok(&[x]) => Some(x),
            _ => None,
        }
    }

    /// The node that makes `v`.
    pub(super) fn producer(&self, v: ValueId) -> Option<usize> {
        self.producer[v.index()]
    }

    /// Nodes that read `v`, once for each reading; `usize::MAX` for an output of the graph.
    pub(super) fn readers(&self, v: ValueId) -> &[usize] {
        &self.readers[v.index()]
    }

    /// The only reader of `v`.
    pub(super) fn reader(&self, v: ValueId) -> Option<usize> {
        match self.readers[v.index()][..] {
            [only] if only != usize::MAX => Some(only),
            _ => None,
        }
    }
}

/// What the nodes of a graph become together.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Layers, by the nodes where they run.
    pub(super) layers: HashMap<usize, Group>,
    /// Largest bytes of windows, by the nodes that quantize them: the bytes, and the node that pools.
    pub(super) pools: HashMap<usize, (Bytes, usize)>,
    /// Which nodes are part of one.
    pub(super) taken: Vec<bool>,
}

/// Finds what runs together.
pub(super) fn groups(facts: &Facts) -> Groups {
    let nodes = facts.graph.nodes();
    let mut taken = vec![false; nodes.len()];
    let mut layers = HashMap::new();
    let mut pools = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        if !taken[i] && is_layer(facts, node) {
            let mut group = Group {
                node: i,
                norm: None,
                bias: None,
                added: None,
                clamp: Clamp::NONE,
                end: i,
                out: node.outputs[0],
                bytes: byte_source(facts, node),
                to: None,
            };
            taken[i] = true;
            while group.to.is_none()
                && let Some(next) = facts.reader(group.out).filter(|&n| !taken[n])
                && take(facts, &mut group, &nodes[next], next)
            {
                taken[next] = true;
                group.end = next;
                group.out = nodes[next].outputs[0];
            }
            layers.insert(group.end, group);
        }
    }
    for (i, node) in nodes.iter().enumerate() {
        if let Some((source, quantize)) = byte_pool(facts, node)
            && !taken[quantize]
        {
            (taken[i], taken[quantize]) = (true, true);
            pools.insert(quantize, (source, i));
        }
    }
    Groups {
        layers,
        pools,
        taken,
    }
}

/// The bytes that a pooling layer reads and the node that quantizes what it gives, if both stand for the
/// same numbers: then the largest byte is that of the largest number.
fn byte_pool(facts: &Facts, node: &Node) -> Option<(Bytes, usize)> {
    let Op::Pool(Pool {
        kind: PoolKind::Max,
        grad: false,
        ..
    }) = node.op
    else {
        return None;
    };
    let source = facts.bytes(node.inputs[0])?;
    let next = facts.reader(node.outputs[0])?;
    let to = facts.quantized(facts.graph.nodes()[next].outputs[0])?;
    (to == source.scale).then_some((source, next))
}

/// Whether a node has packed kernels.
pub(super) fn is_layer(facts: &Facts, node: &Node) -> bool {
    let inputs = &node.inputs;
    let stored = inputs.iter().skip(1).all(|&v| facts.is_stored(v));
    if !stored || !inputs.iter().all(|&v| facts.is_f32(v)) {
        return false;
    }
    let filled = |v: &ValueId| facts.shape(*v).is_some_and(|s| !s.contains(&0));
    if !inputs.iter().chain(&node.outputs).all(filled) {
        return false;
    }
    match &node.op {
        Op::Conv(Conv {
            role: ConvRole::Forward,
            groups,
            ..
        }) => {
            let (Some(x), Some(y)) = (facts.image(inputs[0]), facts.image(node.outputs[0])) else {
                return false;
            };
            *groups == 1 || (*groups == x[1] && x[1] == y[1])
        }
        Op::Dense(_) => true,
        Op::MatMul(m) => {
            let rank = |i: usize| facts.shape(inputs[i]).map_or(0, <[usize]>::len);
            !m.transpose_a && rank(0) >= 2 && rank(1) == 2
        }
        _ => false,
    }
}

/// The bytes that a layer reads, if it has weights of signed bytes and can compute with them.
fn byte_source(facts: &Facts, node: &Node) -> Option<Bytes> {
    let source = facts.bytes(node.inputs[0])?;
    let (outputs, axis) = weight_axis(facts, node)?;
    let (weights, _) = facts.byte_weights(node.inputs[1], outputs, axis)?;
    if weights.len() / outputs.max(1) > ByteConvLayer::MOST_TAPS {
        return None;
    }
    let rank = facts.shape(source.value)?.len();
    let is_conv = matches!(node.op, Op::Conv(_));
    (is_conv == (rank == 4)).then_some(source)
}

/// Number of outputs of a layer, and the axis of its weights along which they lie.
pub(super) fn weight_axis(facts: &Facts, node: &Node) -> Option<(usize, usize)> {
    let shape = facts.shape(node.inputs[1])?;
    let axis = match &node.op {
        Op::MatMul(m) if !m.transpose_b => 1,
        _ => 0,
    };
    Some((shape[axis], axis))
}

fn is_depthwise(node: &Node) -> bool {
    matches!(node.op, Op::Conv(Conv { groups, .. }) if groups > 1)
}

/// Takes node `number` into the group, if it can.
fn take(facts: &Facts, group: &mut Group, next: &Node, number: usize) -> bool {
    let first = &facts.graph.nodes()[group.node];
    let plain = group.clamp == Clamp::NONE;
    match &next.op {
        Op::BatchNorm(BatchNorm {
            role: NormRole::Inference,
            ..
        }) => {
            let stored = next.inputs[1..].iter().all(|&v| facts.is_stored(v));
            let fits = matches!(first.op, Op::Conv(_) | Op::Dense(_));
            let free = plain && group.norm.is_none() && group.added.is_none();
            let free = free && group.bytes.is_none();
            let fits = fits && free && stored && next.inputs[0] == group.out;
            if fits {
                group.norm = Some(number);
            }
            fits
        }
        Op::Binary(Binary::Add) if plain && group.added.is_none() => {
            let other = next.inputs[usize::from(next.inputs[0] == group.out)];
            let (Some(shape), Some(result)) = (facts.shape(other), facts.shape(next.outputs[0]))
            else {
                return false;
            };
            if other == group.out || facts.shape(group.out) != Some(result) || !facts.is_f32(other)
            {
                return false;
            }
            let is_matrix = matches!(first.op, Op::Dense(_) | Op::MatMul(_));
            if is_matrix && facts.is_stored(other) && shape == &result[result.len() - 1..] {
                let free = group.bias.is_none() && first.inputs.len() == 2;
                group.bias = group.bias.or(free.then_some(other));
                return free;
            }
            let fits = shape == result && !is_matrix && !is_depthwise(first);
            if fits {
                group.added = Some(other);
            }
            fits
        }
        Op::Quantize(Quantize {
            role: QuantizeRole::Quantize,
            ..
        }) if group.bytes.is_some() && next.inputs[0] == group.out => {
            group.to = facts.quantized(next.outputs[0]);
            group.to.is_some()
        }
        Op::Unary(Unary { kind, grad: false }) if plain => {
            let Some(clamp) = clamp_of(*kind) else {
                return false;
            };
            group.clamp = clamp;
            true
        }
        Op::Binary(kind @ (Binary::Max | Binary::Min)) => {
            let other = next.inputs[usize::from(next.inputs[0] == group.out)];
            let same = facts.shape(group.out) == facts.shape(next.outputs[0]);
            let (Some(bound), true) = (facts.number(other), same) else {
                return false;
            };
            let clamp = &mut group.clamp;
            match kind {
                // A lower bound that comes after an upper one would win over it.
                Binary::Max if clamp.high == f32::INFINITY => clamp.low = clamp.low.max(bound),
                Binary::Min if bound >= clamp.low => clamp.high = clamp.high.min(bound),
                _ => return false,
            }
            true
        }
        _ => false,
    }
}

/// The clamp that a function is.
fn clamp_of(kind: UnaryKind) -> Option<Clamp> {
    match kind {
        UnaryKind::Relu => Some(Clamp::RELU),
        UnaryKind::Relu6 => Some(Clamp {
            low: 0.0,
            high: 6.0,
        }),
        _ => None,
    }
}
