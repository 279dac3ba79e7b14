//! Which parameter axes go together: when a hidden unit is moved or removed, so are its row in the
//! layer that makes it, its entries in norms on the way, and its columns in the layers that read it.
//!
//! A unit is an output of a [`Op::Dense`] or a channel of a [`Op::Conv`]. It is followed through
//! elementwise functions, pooling, norms, depthwise convolutions, dropout and flattening. Where it
//! meets anything else (another layer's units, a graph output, a shared weight), nothing is said of
//! the whole layer, and passes leave it alone.

use std::collections::HashMap;

use bantam_core::op::{Conv, ConvRole, Dropout, Layout, NormRole, Type};
use bantam_core::{Graph, Node, Op, Result as CoreResult, ValueId, Weight, each_type};

use crate::Result;

/// What a parameter does for the units of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The weight that makes the units, or its bias.
    Makes,
    /// Belongs to a norm or depthwise convolution on the way.
    Follows,
    /// The weight of a layer that reads the units.
    Reads,
}

/// One parameter axis along which the units of a group lie: unit `u` is the indices
/// `u * block .. (u + 1) * block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Index into [`Graph::parameters`].
    pub parameter: usize,
    /// Index into [`Graph::nodes`] of the only node that uses the parameter.
    pub node: usize,
    /// The axis.
    pub axis: usize,
    /// Indices per unit: more than one after flattening.
    pub block: usize,
    /// What the parameter does.
    pub role: Role,
}

/// Units that one layer makes, and every parameter axis along which they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Index into [`Graph::nodes`] of the layer that makes the units.
    pub producer: usize,
    /// Number of units.
    pub n_units: usize,
    /// The axes; the weight of the producer comes first.
    pub members: Vec<Member>,
    /// Nodes between the producer and the readers, in running order.
    pub(crate) path: Vec<usize>,
    /// Indices per unit along axis 1 of each value that carries the units.
    pub(crate) blocks: HashMap<ValueId, usize>,
}

/// The groups of a graph, in the order of their producers.
pub fn groups(graph: &Graph) -> Result<Vec<Group>> {
    let coupling = Coupling::new(graph)?;
    let all = (0..graph.nodes().len()).filter_map(|node| coupling.group(node));
    Ok(all.collect())
}

/// Tables for finding groups.
pub(crate) struct Coupling<'a> {
    graph: &'a Graph,
    /// Types of all values with a batch of 2 and of 3.
    types: [Vec<Type>; 2],
    /// Parameter index of a value that only one node input uses.
    own: Vec<Option<usize>>,
}

/// What a node does to units that it is given.
enum Step {
    /// Hands them on with this many indices per unit.
    Follow(usize),
    /// Takes them in.
    Read,
}

impl<'a> Coupling<'a> {
    pub(crate) fn new(graph: &'a Graph) -> Result<Coupling<'a>> {
        let types = |n| graph.infer(&graph.input_types(n));
        let mut n_uses = vec![0; graph.n_values()];
        for v in graph
            .nodes()
            .iter()
            .flat_map(|n| &n.inputs)
            .chain(graph.outputs())
        {
            n_uses[v.index()] += 1;
        }
        let mut own = vec![None; graph.n_values()];
        for (i, p) in graph.parameters().iter().enumerate() {
            own[p.value.index()] = (n_uses[p.value.index()] == 1).then_some(i);
        }
        Ok(Coupling {
            graph,
            types: [types(2)?, types(3)?],
            own,
        })
    }

    fn shape(&self, value: ValueId) -> &[usize] {
        &self.types[0][value.index()].shape
    }

    /// The parameter behind input `idx` of `node`, if nobody else uses it.
    pub(crate) fn own_parameter(&self, node: usize, idx: usize) -> Option<usize> {
        let value = self.graph.nodes()[node].inputs.get(idx)?;
        self.own[value.index()]
    }

    /// The group that node `producer` makes, if it makes one and everything about it is understood.
    pub(crate) fn group(&self, producer: usize) -> Option<Group> {
        let node = &self.graph.nodes()[producer];
        if !makes_units(&node.op) {
            return None;
        }
        let n_units = self.shape(node.outputs[0])[1];
        let mut group = Group {
            producer,
            n_units,
            members: Vec::new(),
            path: Vec::new(),
            blocks: HashMap::from([(node.outputs[0], 1)]),
        };
        for idx in 1..node.inputs.len() {
            self.join(&mut group, producer, idx, 0, 1, Role::Makes)?;
        }
        for idx in producer + 1..self.graph.nodes().len() {
            let node = &self.graph.nodes()[idx];
            if !node.inputs.iter().any(|v| group.blocks.contains_key(v)) {
                continue;
            }
            if let Step::Follow(block) = self.step(&mut group, idx, node)? {
                group.path.push(idx);
                group.blocks.insert(node.outputs[0], block);
            }
        }
        let escapes = self
            .graph
            .outputs()
            .iter()
            .any(|v| group.blocks.contains_key(v));
        (!escapes).then_some(group)
    }

    /// Adds input `idx` of `node` to the group; `None` when it is not a parameter of its own.
    fn join(
        &self,
        group: &mut Group,
        node: usize,
        idx: usize,
        axis: usize,
        block: usize,
        role: Role,
    ) -> Option<()> {
        let parameter = self.own_parameter(node, idx)?;
        group.members.push(Member {
            parameter,
            node,
            axis,
            block,
            role,
        });
        Some(())
    }

    /// What `node` does to the units; `None` when that is not understood.
    fn step(&self, group: &mut Group, idx: usize, node: &Node) -> Option<Step> {
        let block = *group.blocks.get(&node.inputs[0]).unwrap_or(&0);
        match &node.op {
            Op::Binary(_) => self.step_binary(group, node),
            _ if block == 0
                || node.inputs[1..]
                    .iter()
                    .any(|v| group.blocks.contains_key(v)) =>
            {
                None
            }
            Op::Dense(_) => {
                self.join(group, idx, 1, 1, block, Role::Reads)?;
                Some(Step::Read)
            }
            Op::Conv(conv) => self.step_conv(group, idx, conv, block),
            Op::Pool(pool) => (!pool.grad).then_some(Step::Follow(block)),
            Op::Unary(unary) => (!unary.grad).then_some(Step::Follow(block)),
            Op::BatchNorm(norm) if norm.role == NormRole::Inference => {
                for input in 1..node.inputs.len() {
                    self.join(group, idx, input, 0, block, Role::Follows)?;
                }
                Some(Step::Follow(block))
            }
            Op::Dropout(Dropout::Identity { .. }) => Some(Step::Follow(block)),
            Op::Layout(Layout::Reshape { .. }) => self
                .flattened(node)
                .map(|inner| Step::Follow(block * inner)),
            Op::BatchNorm(_)
            | Op::Dropout(_)
            | Op::Layout(_)
            | Op::MatMul(_)
            | Op::Softmax(_)
            | Op::Reduce(_)
            | Op::Gather(_)
            | Op::Loss(_)
            | Op::Cast(_)
            | Op::Logic(_)
            | Op::Select(_)
            | Op::Index(_)
            | Op::Cumulative(_)
            | Op::Recurrent(_)
            | Op::Resample(_)
            | Op::Window(_)
            | Op::Late(_)
            | Op::Quantize(_)
            | Op::Find(_)
            | Op::Control(_) => None,
        }
    }

    fn step_conv(&self, group: &mut Group, idx: usize, conv: &Conv, block: usize) -> Option<Step> {
        let node = &self.graph.nodes()[idx];
        if conv.role != ConvRole::Forward {
            return None;
        }
        if conv.groups == 1 {
            self.join(group, idx, 1, 1, block, Role::Reads)?;
            return Some(Step::Read);
        }
        // Depthwise with one filter per channel.
        let n_channels = group.n_units * block;
        if conv.groups != n_channels || self.shape(node.inputs[1])[0] != n_channels {
            return None;
        }
        for input in 1..node.inputs.len() {
            self.join(group, idx, input, 0, block, Role::Follows)?;
        }
        Some(Step::Follow(block))
    }

    /// Two values of the same units, or one and a single number.
    fn step_binary(&self, group: &Group, node: &Node) -> Option<Step> {
        let [a, b] = [node.inputs[0], node.inputs[1]];
        match (group.blocks.get(&a), group.blocks.get(&b)) {
            (Some(&x), Some(&y)) => {
                (x == y && self.shape(a) == self.shape(b)).then_some(Step::Follow(x))
            }
            (Some(&block), None) | (None, Some(&block)) => {
                let (carrier, other) = if group.blocks.contains_key(&a) {
                    (a, b)
                } else {
                    (b, a)
                };
                let parameter = self.graph.parameters().iter().find(|p| p.value == other)?;
                let single = parameter.weight.len() == 1
                    && parameter.weight.shape().len() <= self.shape(carrier).len();
                single.then_some(Step::Follow(block))
            }
            (None, None) => None,
        }
    }

    /// By what a reshape multiplies the indices per unit along axis 1; `None` when the units do not
    /// stay there.
    fn flattened(&self, node: &Node) -> Option<usize> {
        for types in &self.types {
            let (x, y) = (
                &types[node.inputs[0].index()],
                &types[node.outputs[0].index()],
            );
            if y.shape.len() < 2 || x.shape[0] != y.shape[0] {
                return None;
            }
        }
        let (x, y) = (self.shape(node.inputs[0]), self.shape(node.outputs[0]));
        match y.len() {
            2 => Some(x[2..].iter().product()),
            _ => (x[1] == y[1]).then_some(1),
        }
    }
}

/// Whether a node of this kind makes units that can be moved.
pub(crate) fn makes_units(op: &Op) -> bool {
    match op {
        Op::Dense(_) => true,
        Op::Conv(conv) => conv.role == ConvRole::Forward && conv.groups == 1,
        Op::MatMul(_)
        | Op::Pool(_)
        | Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Softmax(_)
        | Op::Reduce(_)
        | Op::Layout(_)
        | Op::Gather(_)
        | Op::Dropout(_)
        | Op::Loss(_)
        | Op::Cast(_)
        | Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Recurrent(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Late(_)
        | Op::Quantize(_)
        | Op::Find(_)
        | Op::Control(_) => false,
    }
}

/// The units of `weight` along `axis`, in the given order, in the same form.
pub(crate) fn gather(
    weight: &Weight,
    axis: usize,
    block: usize,
    units: &[usize],
) -> CoreResult<Weight> {
    use bantam_core::{Codebook, Masked, Tensor};
    let (outer, len, inner) = bantam_core::op::around(weight.shape(), axis);
    let chunk = block * inner;
    let mut shape = weight.shape().to_vec();
    shape[axis] = units.len() * block;
    fn take<T: Copy>(v: &[T], outer: usize, row: usize, chunk: usize, units: &[usize]) -> Vec<T> {
        let mut taken = Vec::with_capacity(outer * units.len() * chunk);
        for o in 0..outer {
            for u in units {
                taken.extend_from_slice(&v[o * row + u * chunk..][..chunk]);
            }
        }
        taken
    }
    let row = len * inner;
    let tensor = |t: &Tensor| each_type!(t.data(), v => Tensor::new(&shape, take(v, outer, row, chunk, units)));
    Ok(match weight {
        Weight::Dense(t) => Weight::Dense(tensor(t)?),
        Weight::Masked(m) => {
            let keep = take(m.keep(), outer, row, chunk, units);
            Weight::Masked(Masked::new(&tensor(m.values())?, keep)?)
        }
        Weight::Codebook(c) => {
            let indices = take(c.indices(), outer, row, chunk, units);
            Weight::Codebook(Codebook::new(&shape, c.entries().to_vec(), indices)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dense, Noise, lenet, mlp, relu};
    use bantam_core::op::{Binary, Softmax};
    use bantam_core::{Codebook, DType, Dim, GraphBuilder, Masked, Tensor};

    fn summary(graph: &Graph) -> Vec<String> {
        let of = |g: &Group| {
            let member = |m: &Member| {
                let name = graph.value_name(graph.parameters()[m.parameter].value);
                format!("{name}@{}x{}", m.axis, m.block)
            };
            let members: Vec<String> = g.members.iter().map(member).collect();
            let name = &graph.nodes()[g.producer].name;
            format!("{name} {}: {}", g.n_units, members.join(" "))
        };
        groups(graph).unwrap().iter().map(of).collect()
    }

    #[test]
    fn chains() {
        let g = mlp(
            &[6, 4, 3, 2],
            |l| vec![1.0; [24, 12, 6][l]],
            |l| vec![0.0; [4, 3, 2][l]],
        );
        assert_eq!(
            summary(&g),
            [
                "fc0 4: fc0.weight@0x1 fc0.bias@0x1 fc1.weight@1x1",
                "fc1 3: fc1.weight@0x1 fc1.bias@0x1 fc2.weight@1x1",
            ]
        );
        assert_eq!(
            summary(&lenet(&mut Noise(1))),
            [
                "conv1 20: conv1.weight@0x1 conv1.bias@0x1 conv2.weight@1x1",
                "conv2 50: conv2.weight@0x1 conv2.bias@0x1 fc1.weight@1x16",
                "fc1 500: fc1.weight@0x1 fc1.bias@0x1 fc2.weight@1x1",
            ]
        );
    }

    /// A hidden layer of 3 units followed by what `rest` adds, which gets the rectified units and
    /// the weight of a second layer.
    fn hidden(rest: impl Fn(&mut GraphBuilder, ValueId, ValueId) -> ValueId) -> Vec<String> {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(3)]);
        let w = b.weight("w", Tensor::zeros(DType::F32, &[3, 3]));
        let v = b.weight("v", Tensor::zeros(DType::F32, &[3, 3]));
        let h = b.node("a", Op::Dense(Dense), &[x, w]);
        let h = relu(&mut b, "r", h);
        let y = rest(&mut b, h, v);
        b.output(y);
        summary(&b.finish().unwrap())
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let dense = |b: &mut GraphBuilder, x, w| b.node("d", Op::Dense(Dense), &[x, w]);
        let understood = vec!["a 3: w@0x1 v@1x1".to_owned()];
        assert_eq!(hidden(dense), understood);
        let swish = hidden(|b, h, v| {
            let s = relu(b, "s", h);
            let m = b.node("m", Op::Binary(Binary::Mul), &[h, s]);
            dense(b, m, v)
        });
        assert_eq!(swish, understood, "two values of the same units");
        let scaled = hidden(|b, h, v| {
            let s = b.constant("s", Tensor::scalar(3f32));
            let m = b.node("m", Op::Binary(Binary::Mul), &[s, h]);
            dense(b, m, v)
        });
        assert_eq!(scaled, understood, "a single number");

        let none: Vec<String> = Vec::new();
        let residual = hidden(|b, h, v| {
            let y = dense(b, h, v);
            b.node("sum", Op::Binary(Binary::Add), &[y, h])
        });
        assert_eq!(residual, none, "a residual");
        assert_eq!(hidden(|_, h, _| h), none, "an output");
        let softmax = Op::Softmax(Softmax {
            axis: 1,
            log: false,
            grad: false,
        });
        let mixed = hidden(|b, h, v| {
            let s = b.node("s", softmax.clone(), &[h]);
            dense(b, s, v)
        });
        assert_eq!(mixed, none, "units that mix");
        let shared = hidden(|b, h, v| {
            let y = dense(b, h, v);
            b.node("again", Op::Dense(Dense), &[y, v])
        });
        assert_eq!(shared, none, "a weight used twice");
        let as_weight = hidden(|b, h, _| b.node("d", Op::Dense(Dense), &[h, h]));
        assert_eq!(as_weight, none, "units as a weight");
    }

    #[test]
    fn gathering_keeps_the_form() {
        let t = Tensor::new(&[2, 4], (0..8).map(|i| i as f32).collect()).unwrap();
        let masked = Masked::new(&t, (0..8).map(|i| i % 3 != 0).collect()).unwrap();
        let book =
            Codebook::new(&[2, 4], vec![0.0, 1.0, 2.0], vec![0, 1, 2, 0, 1, 1, 2, 2]).unwrap();
        for w in [
            Weight::Dense(t),
            Weight::Masked(masked),
            Weight::Codebook(book),
        ] {
            let v = w.tensor().values::<f32>().unwrap().to_vec();
            let pairs = gather(&w, 1, 2, &[1, 0]).unwrap();
            let expected = [v[2], v[3], v[0], v[1], v[6], v[7], v[4], v[5]];
            assert_eq!(
                pairs.tensor().values::<f32>().unwrap(),
                expected,
                "{}",
                w.form()
            );
            let row = gather(&w, 0, 1, &[1]).unwrap();
            assert_eq!(
                row.tensor().values::<f32>().unwrap(),
                &v[4..],
                "{}",
                w.form()
            );
            assert_eq!((row.form(), row.shape()), (w.form(), &[1, 4][..]));
        }
    }
}
