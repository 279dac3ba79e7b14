//! Removal of dead units, with outputs as before: tensors get smaller, not just emptier.
//!
//! A unit with all-zero outgoing weights is dropped. A unit with all-zero incoming weights has the
//! same output for every example; what its readers make of it is added to their biases, and it is
//! dropped. Units that [`coupling`](crate::coupling) does not understand stay, and so do the inputs
//! and outputs of the network.

use bantam_core::op::{Conv, Layout, Pool, PoolKind};
use bantam_core::{DType, Graph, Op, Tensor, ValueId, Weight};

use crate::Result;
use crate::coupling::{Coupling, Group, Member, Role, gather, groups, makes_units};
use crate::quantize::exact_codebook;
use crate::rebuild::{Changes, rebuild};

/// What [`crop()`] removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CropReport {
    /// One entry per hidden layer whose units are understood, in running order.
    pub layers: Vec<CroppedLayer>,
    /// Stored elements of all parameters before.
    pub elements_before: usize,
    /// Stored elements of all parameters after.
    pub elements_after: usize,
}

/// What [`crop()`] removed from one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CroppedLayer {
    /// Name of the node that makes the units.
    pub name: String,
    /// Units before.
    pub units_before: usize,
    /// Units dropped because nothing reads them.
    pub without_output: usize,
    /// Units dropped because they are the same for every example; folded into the next biases.
    pub without_input: usize,
}

impl CroppedLayer {
    /// Units that are left.
    pub fn units_after(&self) -> usize {
        self.units_before - self.without_output - self.without_input
    }
}

/// The graph without dead units, and what was removed.
///
/// Removing a unit may leave others dead, so this is repeated until nothing changes; one unit of a
/// layer always stays. Outputs change by the rounding of the biases alone. A constant is exact for
/// dense readers and for convolutions without padding; where it is not 0 and a reader or an average
/// pads, the unit stays. A reader without a bias gets one, called like the node with `.bias`; a bias
/// that is folded into stays a codebook while its values fit one, and is dense otherwise.
pub fn crop(graph: &Graph) -> Result<(Graph, CropReport)> {
    let n_elements = |g: &Graph| g.parameters().iter().map(|p| p.weight.len()).sum();
    let layer = |g: &Group| CroppedLayer {
        name: graph.nodes()[g.producer].name.clone(),
        units_before: g.n_units,
        without_output: 0,
        without_input: 0,
    };
    let mut layers: Vec<CroppedLayer> = groups(graph)?.iter().map(layer).collect();
    let mut cropped = graph.clone();
    let mut changed = true;
    while changed {
        changed = false;
        for node in 0..graph.nodes().len() {
            let Some((next, dead)) = crop_layer(&cropped, node)? else {
                continue;
            };
            let name = &graph.nodes()[node].name;
            if let Some(layer) = layers.iter_mut().find(|l| &l.name == name) {
                layer.without_output += dead.without_output;
                layer.without_input += dead.without_input;
            }
            (cropped, changed) = (next, true);
        }
    }
    let report = CropReport {
        layers,
        elements_before: n_elements(graph),
        elements_after: n_elements(&cropped),
    };
    Ok((cropped, report))
}

/// Numbers of units that go from one layer.
struct Dead {
    without_output: usize,
    without_input: usize,
}

/// The graph without the dead units that `producer` makes; `None` when there are none.
fn crop_layer(graph: &Graph, producer: usize) -> Result<Option<(Graph, Dead)>> {
    if !makes_units(&graph.nodes()[producer].op) {
        return Ok(None);
    }
    let coupling = Coupling::new(graph)?;
    let Some(group) = coupling.group(producer) else {
        return Ok(None);
    };
    let unread = unread(graph, &group);
    let constants = Constants::new(graph, &group);
    let folds: Vec<Option<Vec<Vec<f64>>>> = (0..group.n_units)
        .map(|unit| {
            if unread[unit] {
                None
            } else {
                folds(&coupling, &constants, unit)
            }
        })
        .collect();
    let is_dead = |u: &usize| unread[*u] || folds[*u].is_some();
    let mut drop: Vec<usize> = (0..group.n_units).filter(is_dead).collect();
    if drop.len() == group.n_units {
        drop.remove(0);
    }
    if drop.is_empty() {
        return Ok(None);
    }
    let keep: Vec<usize> = (0..group.n_units)
        .filter(|u| drop.binary_search(u).is_err())
        .collect();
    let mut changes = selection(graph, &group, &keep)?;
    for (r, reader) in readers(&group).enumerate() {
        let mut extra = vec![0.0; graph.parameters()[reader.parameter].weight.shape()[0]];
        for fold in drop.iter().filter_map(|&u| folds[u].as_ref()) {
            extra.iter_mut().zip(&fold[r]).for_each(|(e, f)| *e += f);
        }
        if extra.iter().any(|&e| e != 0.0) {
            fold_into(&coupling, graph, reader.node, &extra, &mut changes)?;
        }
    }
    let without_output = drop.iter().filter(|&&u| unread[u]).count();
    let dead = Dead {
        without_output,
        without_input: drop.len() - without_output,
    };
    Ok(Some((rebuild(graph, &changes)?, dead)))
}

fn readers(group: &Group) -> impl Iterator<Item = &Member> {
    group.members.iter().filter(|m| m.role == Role::Reads)
}

/// Units whose outgoing weights are all zero.
fn unread(graph: &Graph, group: &Group) -> Vec<bool> {
    let mut unread = vec![true; group.n_units];
    for m in readers(group) {
        let zero = zero_units(&graph.parameters()[m.parameter].weight, m);
        unread.iter_mut().zip(zero).for_each(|(u, z)| *u &= z);
    }
    unread
}

/// For each unit, whether all its elements of a weight are zero.
fn zero_units(weight: &Weight, m: &Member) -> Vec<bool> {
    let (outer, len, inner) = bantam_core::op::around(weight.shape(), m.axis);
    let (chunk, n_units) = (m.block * inner, len / m.block);
    let mut zero = vec![true; n_units];
    let values = decoded(weight);
    for o in 0..outer {
        for (u, zero) in zero.iter_mut().enumerate() {
            let part = &values[(o * n_units + u) * chunk..][..chunk];
            *zero &= part.iter().all(|&v| v == 0.0);
        }
    }
    zero
}

fn decoded(weight: &Weight) -> Vec<f64> {
    let tensor = weight.tensor().cast(DType::F64);
    tensor.values::<f64>().expect("cast to f64").to_vec()
}

/// What is needed to follow a constant through a group.
struct Constants<'a> {
    graph: &'a Graph,
    group: &'a Group,
    /// Decoded parameters of the group, by index.
    values: Vec<Option<Vec<f64>>>,
    /// Units whose row of the producer is zero.
    silent: Vec<bool>,
}

impl<'a> Constants<'a> {
    fn new(graph: &'a Graph, group: &'a Group) -> Constants<'a> {
        let mut values = vec![None; graph.parameters().len()];
        for m in &group.members {
            values[m.parameter] = Some(decoded(&graph.parameters()[m.parameter].weight));
        }
        let first = &group.members[0];
        Constants {
            graph,
            group,
            values,
            silent: zero_units(&graph.parameters()[first.parameter].weight, first),
        }
    }

    /// What parameter `idx` among the inputs of a node holds for `unit`.
    fn of(&self, node: usize, idx: usize, unit: usize) -> Option<&[f64]> {
        let value = *self.graph.nodes()[node].inputs.get(idx)?;
        let own = |m: &&Member| self.graph.parameters()[m.parameter].value == value;
        let m = self.group.members.iter().find(own)?;
        let values = self.values[m.parameter].as_ref()?;
        let chunk = values.len() / self.group.n_units;
        Some(&values[unit * chunk..][..chunk])
    }

    /// The values that carry `unit` and are the same for every example, one number per index.
    fn follow(&self, unit: usize) -> Vec<(ValueId, Vec<f64>)> {
        let mut known: Vec<(ValueId, Vec<f64>)> = Vec::new();
        if self.silent[unit] {
            let made = self.of(self.group.producer, 2, unit).map_or(0.0, |b| b[0]);
            known.push((
                self.graph.nodes()[self.group.producer].outputs[0],
                vec![made],
            ));
        }
        for &node in &self.group.path {
            let output = self.graph.nodes()[node].outputs[0];
            let value = self.value(node, unit, &known);
            // A logarithm of zero and the like: not worth a special case.
            if let Some(value) = value.filter(|v| v.iter().all(|x| x.is_finite())) {
                known.push((output, value));
            }
        }
        known
    }

    /// The constant that `node` makes of known ones; `None` when it is not one.
    fn value(&self, node: usize, unit: usize, known: &[(ValueId, Vec<f64>)]) -> Option<Vec<f64>> {
        let n = &self.graph.nodes()[node];
        let find = |idx: usize| known.iter().find(|k| k.0 == n.inputs[idx]).map(|k| &k.1);
        let own = |idx: usize| self.of(node, idx, unit);
        let block = self.group.blocks[&n.outputs[0]];
        match &n.op {
            Op::Unary(u) => Some(find(0)?.iter().map(|&x| u.kind.value(x)).collect()),
            Op::Dropout(_) => find(0).cloned(),
            Op::Layout(_) => {
                let x = find(0)?;
                Some((0..block).map(|i| x[i / (block / x.len())]).collect())
            }
            Op::Pool(pool) => find(0).filter(|x| survives(pool, x)).cloned(),
            Op::BatchNorm(norm) => {
                let (gamma, beta, mean, var) = (own(1)?, own(2)?, own(3)?, own(4)?);
                if gamma.iter().all(|&g| g == 0.0) {
                    return Some(beta.to_vec());
                }
                let scaled = |(i, &x): (usize, &f64)| {
                    let deviation = (var[i] + f64::from(norm.epsilon)).sqrt();
                    (x - mean[i]) / deviation * gamma[i] + beta[i]
                };
                Some(find(0)?.iter().enumerate().map(scaled).collect())
            }
            Op::Conv(conv) => {
                let (kernel, zero) = (own(1)?, vec![0.0; block]);
                let bias = own(2).unwrap_or(&zero);
                if kernel.iter().all(|&w| w == 0.0) {
                    return Some(bias.to_vec());
                }
                let x = find(0).filter(|x| unpadded(conv, x))?;
                let sums = kernel
                    .chunks(kernel.len() / block)
                    .map(|k| k.iter().sum::<f64>());
                Some(sums.zip(x).zip(bias).map(|((s, x), b)| s * x + b).collect())
            }
            Op::Binary(f) => {
                let of = |idx: usize| {
                    find(idx)
                        .cloned()
                        .or_else(|| self.single(n.inputs[idx], block))
                };
                let (a, b) = (of(0)?, of(1)?);
                Some(a.iter().zip(&b).map(|(&a, &b)| f.value(a, b)).collect())
            }
            Op::Dense(_)
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
            | Op::Control(_) => unreachable!("coupling does not follow units through these"),
        }
    }

    /// A parameter of one element, as often as asked.
    fn single(&self, value: ValueId, n: usize) -> Option<Vec<f64>> {
        let p = self.graph.parameters().iter().find(|p| p.value == value)?;
        Some(vec![decoded(&p.weight)[0]; n])
    }
}

/// Whether pooling a plane of one value gives that value everywhere.
fn survives(pool: &Pool, x: &[f64]) -> bool {
    match pool.kind {
        PoolKind::Max => true,
        PoolKind::Average { count_include_pad } => {
            !count_include_pad || pool.padding == [0; 4] || x.iter().all(|&v| v == 0.0)
        }
    }
}

/// Whether a convolution of a plane of one value gives one value everywhere.
fn unpadded(conv: &Conv, x: &[f64]) -> bool {
    let none = conv.padding == [0; 4] && conv.depth.padding == [0; 2];
    none || x.iter().all(|&v| v == 0.0)
}

/// What each reader would add to its bias for a constant unit; `None` when the unit is not constant
/// or cannot be folded into one of them.
fn folds(coupling: &Coupling, constants: &Constants, unit: usize) -> Option<Vec<Vec<f64>>> {
    let (graph, group) = (constants.graph, constants.group);
    let known = constants.follow(unit);
    let fold = |m: &Member| {
        let node = &graph.nodes()[m.node];
        let x = &known.iter().find(|k| k.0 == node.inputs[0])?.1;
        if matches!(&node.op, Op::Conv(conv) if !unpadded(conv, x)) {
            return None;
        }
        let shape = graph.parameters()[m.parameter].weight.shape();
        let inner: usize = shape[2..].iter().product();
        let weights = constants.values[m.parameter]
            .as_ref()?
            .chunks(shape[1] * inner);
        let part = |row: &[f64]| {
            let own = row[unit * m.block * inner..][..m.block * inner].chunks(inner);
            own.zip(x).map(|(w, x)| w.iter().sum::<f64>() * x).sum()
        };
        let extra: Vec<f64> = weights.map(part).collect();
        let foldable = node.inputs.len() < 3
            || coupling.own_parameter(m.node, 2).is_some()
            || extra.iter().all(|&e| e == 0.0);
        foldable.then_some(extra)
    };
    readers(group).map(fold).collect()
}

/// The changes that leave only the units `keep`.
fn selection(graph: &Graph, group: &Group, keep: &[usize]) -> Result<Changes> {
    let mut changes = Changes::default();
    for m in &group.members {
        let weight = &graph.parameters()[m.parameter].weight;
        changes
            .weights
            .insert(m.parameter, gather(weight, m.axis, m.block, keep)?);
    }
    for &idx in &group.path {
        let node = &graph.nodes()[idx];
        let len = keep.len() * group.blocks[&node.outputs[0]];
        if let Op::Layout(Layout::Reshape { shape }) = &node.op
            && shape[1] > 0
        {
            let mut shape = shape.clone();
            shape[1] = i64::try_from(len).expect("no longer than it was");
            changes
                .ops
                .insert(idx, Op::Layout(Layout::Reshape { shape }));
        } else if let Op::Conv(conv) = &node.op {
            changes.ops.insert(
                idx,
                Op::Conv(Conv {
                    groups: len,
                    ..*conv
                }),
            );
        }
    }
    Ok(changes)
}

/// Adds `extra` to the bias of `node`, which gets one if it has none.
fn fold_into(
    coupling: &Coupling,
    graph: &Graph,
    node: usize,
    extra: &[f64],
    changes: &mut Changes,
) -> Result<()> {
    let tensor = |values: &[f64], dtype: DType| -> Result<Tensor> {
        Ok(Tensor::new(&[values.len()], values.to_vec())?.cast(dtype))
    };
    let Some(idx) = coupling.own_parameter(node, 2) else {
        let weight = coupling
            .own_parameter(node, 1)
            .expect("readers own their weight");
        let dtype = graph.parameters()[weight].weight.dtype();
        changes
            .inputs
            .insert(node, Weight::Dense(tensor(extra, dtype)?));
        return Ok(());
    };
    let bias = &graph.parameters()[idx].weight;
    let sums: Vec<f64> = decoded(bias)
        .iter()
        .zip(extra)
        .map(|(b, e)| b + e)
        .collect();
    let sums = tensor(&sums, bias.dtype())?;
    let new = match bias {
        Weight::Codebook(_) => exact_codebook(&sums)?.unwrap_or(Weight::Dense(sums)),
        Weight::Dense(_) | Weight::Masked(_) => Weight::Dense(sums),
    };
    changes.weights.insert(idx, new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dense, Noise, assert_same_outputs, lenet, mlp, random, relu, values};
    use crate::{CodebookOptions, Magnitude, prune, quantize};
    use bantam_core::op::BatchNorm;
    use bantam_core::{Dim, GraphBuilder, Masked};
    use proptest::prelude::*;

    /// Layers of 3, 4 and 2 units, with weights that are zero where `zero` says.
    fn with_zeros(zero: impl Fn(usize, usize) -> bool) -> Graph {
        let shape = [(4, 3), (2, 4)];
        let weights = |l: usize| {
            let (rows, columns) = shape[l];
            let w = Noise(l as u64).take(rows * columns);
            // Units of the hidden layer are rows of the first weight and columns of the second.
            let unit = |i: usize| if l == 0 { i / columns } else { i % columns };
            w.iter()
                .enumerate()
                .map(|(i, &v)| if zero(l, unit(i)) { 0.0 } else { v })
                .collect()
        };
        mlp(&[3, 4, 2], weights, |l| {
            if l == 0 {
                vec![0.5, -0.5, 0.25, 0.0]
            } else {
                vec![0.1, 0.2]
            }
        })
    }

    #[test]
    fn dead_units_of_a_dense_layer() {
        for (name, g, units, counts) in [
            ("all alive", with_zeros(|_, _| false), 4, (0, 0)),
            ("no input", with_zeros(|l, u| l == 0 && u == 0), 3, (0, 1)),
            (
                "no input, rectified away",
                with_zeros(|l, u| l == 0 && u == 1),
                3,
                (0, 1),
            ),
            ("no output", with_zeros(|l, u| l == 1 && u == 2), 3, (1, 0)),
            ("neither", with_zeros(|_, u| u == 2), 3, (1, 0)),
            ("both kinds", with_zeros(|l, u| u == [0, 3][l]), 2, (1, 1)),
            ("nothing read", with_zeros(|l, _| l == 1), 1, (3, 0)),
            ("nothing made", with_zeros(|l, _| l == 0), 1, (0, 3)),
            ("everything dead", with_zeros(|_, _| true), 1, (3, 0)),
        ] {
            let (cropped, report) = crop(&g).unwrap();
            assert_same_outputs(&g, &cropped, name);
            let layer = &report.layers[0];
            assert_eq!(
                (layer.without_output, layer.without_input),
                counts,
                "{name}"
            );
            assert_eq!(layer.units_after(), units, "{name}");
            assert_eq!(
                cropped.parameter("fc0.weight").unwrap().weight.shape(),
                [units, 3],
                "{name}"
            );
            assert_eq!(report.elements_after, units * 6 + 2, "{name}");
            assert_eq!(crop(&cropped).unwrap().0, cropped, "{name}: a fixed point");
        }
    }

    #[test]
    fn death_spreads_both_ways() {
        // Only a path through the first units is alive in the middle layer's weights.
        let weights = |l: usize| match l {
            0 => vec![1.0, 1.0, 0.0, 0.0],
            1 => vec![0.0, 1.0, 1.0, 0.0],
            _ => vec![0.0, 1.0],
        };
        let g = mlp(&[2, 2, 2, 1], weights, |l| {
            vec![1.0, 2.0, 3.0][..[2, 2, 1][l]].to_vec()
        });
        let (cropped, report) = crop(&g).unwrap();
        assert_same_outputs(&g, &cropped, "chain");
        let units: Vec<usize> = report
            .layers
            .iter()
            .map(CroppedLayer::units_after)
            .collect();
        assert_eq!(units, [1, 1]);
        assert_eq!(report.layers[1].name, "fc1");
    }

    #[test]
    fn forms_are_kept() {
        let g = with_zeros(|l, u| u == [0, 3][l]);
        let pruned = prune(
            &g,
            &Magnitude {
                fraction: 0.3,
                ..Magnitude::default()
            },
        )
        .unwrap();
        let options = CodebookOptions {
            bias_bits: Some(2),
            ..CodebookOptions::default()
        };
        let book = quantize(&pruned, &options).unwrap();
        for (g, form) in [(&pruned, "masked"), (&book, "codebook")] {
            let (cropped, _) = crop(g).unwrap();
            assert_same_outputs(g, &cropped, form);
            for name in ["fc0.weight", "fc1.weight"] {
                assert_eq!(
                    cropped.parameter(name).unwrap().weight.form(),
                    form,
                    "{name}"
                );
            }
        }
        let (cropped, _) = crop(&book).unwrap();
        assert_eq!(
            cropped.parameter("fc1.bias").unwrap().weight.form(),
            "codebook"
        );
    }

    #[test]
    fn a_missing_bias_is_made() {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(2)]);
        let w = b.weight(
            "w",
            Tensor::new(&[2, 2], vec![1f32, 2.0, 0.0, 0.0]).unwrap(),
        );
        let c = b.weight("c", Tensor::new(&[2], vec![1f32, 2.0]).unwrap());
        let v = b.weight("a.bias", Tensor::new(&[3, 2], vec![1f32; 6]).unwrap());
        let h = b.node("h", Op::Dense(Dense), &[x, w, c]);
        let h = relu(&mut b, "r", h);
        let y = b.node("a", Op::Dense(Dense), &[h, v]);
        b.output(y);
        let g = b.finish().unwrap();
        let (cropped, _) = crop(&g).unwrap();
        assert_same_outputs(&g, &cropped, "no bias");
        assert_eq!(values(&cropped, "a.bias.1"), [2.0; 3]);
    }

    /// Two convolutions of 2 and 1 channels over 4 x 4 images with something between them; channel 0
    /// of the first has no input and a bias of 0.5.
    fn convs(padding: usize, between: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Graph {
        let mut b = GraphBuilder::new("g");
        let image = [1, 4, 4].map(Dim::Fixed);
        let x = b.input(
            "x",
            DType::F32,
            [vec![Dim::batch()], image.to_vec()].concat(),
        );
        let w = [vec![0.0; 4], Noise(2).take(4)].concat();
        let w = b.weight("w", Tensor::new(&[2, 1, 2, 2], w).unwrap());
        let c = b.weight("c", Tensor::new(&[2], vec![0.5f32, 0.1]).unwrap());
        let v = b.weight("v", Tensor::new(&[1, 2, 2, 2], Noise(3).take(8)).unwrap());
        let h = b.node("conv1", Op::Conv(Conv::default()), &[x, w, c]);
        let h = between(&mut b, h);
        let conv = Conv {
            padding: [padding; 4],
            ..Conv::default()
        };
        let y = b.node("conv2", Op::Conv(conv), &[h, v]);
        b.output(y);
        b.finish().unwrap()
    }

    #[test]
    fn constants_through_images() {
        let average = |count_include_pad, padding| {
            let kind = PoolKind::Average { count_include_pad };
            Op::Pool(Pool {
                padding: [padding; 4],
                stride: [1, 1],
                ..Pool::windows(kind, [2, 2])
            })
        };
        let max = |padding| {
            Op::Pool(Pool {
                padding: [padding; 4],
                stride: [1, 1],
                ..Pool::windows(PoolKind::Max, [2, 2])
            })
        };
        let through = |op: Op| move |b: &mut GraphBuilder, x| b.node("between", op.clone(), &[x]);
        let norm = |gamma: f32| {
            move |b: &mut GraphBuilder, x| {
                let each = |b: &mut GraphBuilder, name: &str, v: f32| {
                    b.weight(name, Tensor::new(&[2], vec![v, 1.0]).unwrap())
                };
                let (gamma, beta) = (each(b, "gamma", gamma), each(b, "beta", -0.5));
                let (mean, var) = (each(b, "mean", 0.2), each(b, "var", 2.0));
                let y = b.node(
                    "norm",
                    Op::BatchNorm(BatchNorm::default()),
                    &[x, gamma, beta, mean, var],
                );
                relu(b, "r", y)
            }
        };
        let depthwise = |padding: usize| {
            move |b: &mut GraphBuilder, x| {
                let w = b.weight("d", Tensor::new(&[2, 1, 2, 2], Noise(4).take(8)).unwrap());
                let c = b.weight("dc", Tensor::new(&[2], vec![0.3f32, 0.4]).unwrap());
                let conv = Conv {
                    groups: 2,
                    padding: [padding; 4],
                    ..Conv::default()
                };
                b.node("depthwise", Op::Conv(conv), &[x, w, c])
            }
        };
        for (name, g, channels) in [
            ("plain", convs(0, |b, x| relu(b, "r", x)), 1),
            ("padded reader", convs(1, |b, x| relu(b, "r", x)), 2),
            ("max", convs(0, through(max(0))), 1),
            ("padded max", convs(0, through(max(1))), 1),
            ("average", convs(0, through(average(true, 0))), 1),
            (
                "padded average of real cells",
                convs(0, through(average(false, 1))),
                1,
            ),
            ("padded average", convs(0, through(average(true, 1))), 2),
            ("norm", convs(0, norm(1.0)), 1),
            // -0.5 + (0.5 - 0.2) / sqrt(2) is below 0, so padding does not matter.
            ("norm to zero, padded reader", convs(1, norm(1.0)), 1),
            ("norm without scale, padded reader", convs(1, norm(0.0)), 1),
            ("depthwise", convs(0, depthwise(0)), 1),
            ("padded depthwise", convs(0, depthwise(1)), 2),
        ] {
            let (cropped, _) = crop(&g).unwrap();
            assert_same_outputs(&g, &cropped, name);
            assert_eq!(
                cropped.parameter("w").unwrap().weight.shape()[0],
                channels,
                "{name}"
            );
        }
    }

    #[test]
    fn lenet_with_dead_filters_and_flattening() {
        let g = lenet(&mut Noise(5));
        let g = g.map_weights(|name, p| {
            let n = p.weight.len();
            let row = n / p.weight.shape()[0];
            let keep = |i: usize| match name {
                "conv1.weight" => i / row % 4 != 1,
                "conv2.weight" => i / row % 5 != 1,
                // Columns of filters 4, 14, …, which are blocks of 16.
                "fc1.weight" => i % 800 / 16 % 10 != 4 && i / row % 3 != 2,
                _ => true,
            };
            if !name.ends_with(".weight") {
                return Ok(None);
            }
            Ok(Some(Weight::Masked(Masked::new(
                &p.weight.tensor(),
                (0..n).map(keep).collect(),
            )?)))
        });
        let g = g.unwrap();
        let (cropped, report) = crop(&g).unwrap();
        let units: Vec<usize> = report
            .layers
            .iter()
            .map(CroppedLayer::units_after)
            .collect();
        assert_eq!(units, [15, 35, 334]);
        assert_eq!(
            cropped.parameter("fc1.weight").unwrap().weight.shape(),
            [334, 35 * 16]
        );
        assert_same_outputs(&g, &cropped, "lenet");
    }

    proptest! {
        #[test]
        fn outputs_stay(seed in any::<u64>()) {
            let g = random(seed);
            let (cropped, report) = crop(&g).unwrap();
            assert_same_outputs(&g, &cropped, "random");
            prop_assert!(report.elements_after <= report.elements_before + 20);
            let again = crop(&cropped).unwrap().0;
            prop_assert_eq!(again, cropped);
        }
    }
}
