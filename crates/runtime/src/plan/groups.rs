//! Which nodes become one layer, and which values are images with channels last.
//!
//! A convolution or a dense layer with stored weights takes with it what follows it and reads nothing
//! else but stored values: batch normalisation, another image added, a clamp. What is taken must have
//! no other reader. The arithmetic of batch normalisation goes into the packed weights, in `f64`
//! (Jacob et al. 2018, section 3.2); the graph keeps its weights as they are.

use std::collections::HashMap;

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{BatchNorm, Binary, Conv, ConvRole, NormRole, Type, Unary};
use bantam_core::{DType, Graph, Node, Op, Tensor, ValueId};
use bantam_kernels::last::Clamp;

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
}

/// Facts about a graph that planning asks for again and again.
pub(super) struct Facts<'g> {
    pub(super) graph: &'g Graph,
    pub(super) types: Vec<Option<Type>>,
    /// Number of the parameter, for values that are one.
    pub(super) parameter: HashMap<ValueId, usize>,
    /// Nodes that read a value; an output of the graph has one more that is no node.
    readers: Vec<Vec<usize>>,
}

impl<'g> Facts<'g> {
    pub(super) fn new(graph: &'g Graph, types: Vec<Option<Type>>) -> Facts<'g> {
        let mut readers = vec![Vec::new(); types.len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|v| readers[v.index()].push(i));
        }
        let outputs = graph.outputs().iter();
        outputs.for_each(|v| readers[v.index()].push(usize::MAX));
        let parameters = graph.parameters().iter().enumerate();
        Facts {
            graph,
            types,
            parameter: parameters.map(|(i, p)| (p.value, i)).collect(),
            readers,
        }
    }

    pub(super) fn shape(&self, v: ValueId) -> Option<&[usize]> {
        self.types[v.index()].as_ref().map(|t| &t.shape[..])
    }

    /// The shape of an image of floats.
    pub(super) fn image(&self, v: ValueId) -> Option<[usize; 4]> {
        let t = self.types[v.index()].as_ref()?;
        let image: [usize; 4] = t.shape[..].try_into().ok()?;
        (t.dtype == DType::F32 && !t.is_empty()).then_some(image)
    }

    pub(super) fn is_f32(&self, v: ValueId) -> bool {
        self.types[v.index()]
            .as_ref()
            .is_some_and(|t| t.dtype == DType::F32)
    }

    pub(super) fn is_stored(&self, v: ValueId) -> bool {
        self.parameter.contains_key(&v)
    }

    /// A stored value, decoded.
    pub(super) fn stored(&self, v: ValueId) -> Option<std::borrow::Cow<'g, Tensor>> {
        let p = &self.graph.parameters()[*self.parameter.get(&v)?];
        Some(p.weight.tensor())
    }

    /// The one stored number that `v` is.
    pub(super) fn number(&self, v: ValueId) -> Option<f32> {
        let t = self.stored(v)?;
        match t.values::<f32>() {
            Ok(&[x]) => Some(x),
            _ => None,
        }
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

/// The layers of a graph, by the nodes where they run; and which nodes are part of one.
pub(super) fn groups(facts: &Facts) -> (HashMap<usize, Group>, Vec<bool>) {
    let nodes = facts.graph.nodes();
    let mut taken = vec![false; nodes.len()];
    let mut groups = HashMap::new();
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
            };
            taken[i] = true;
            while let Some(next) = facts.reader(group.out).filter(|&n| !taken[n])
                && take(facts, &mut group, &nodes[next], next)
            {
                taken[next] = true;
                group.end = next;
                group.out = nodes[next].outputs[0];
            }
            groups.insert(group.end, group);
        }
    }
    (groups, taken)
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
