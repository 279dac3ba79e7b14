//! Channels of a value evened out against the weights that read it (Xiao et al. 2023, "SmoothQuant",
//! section 4, equation 4): encoders have a few channels whose numbers are tens of times those of the others,
//! and one scale for all leaves the others few bytes.
//!
//! The paper divides by folding into the normalisation before; there, others read the same value as it is. Here
//! a product of its own divides, for the layers alone.

use std::collections::{BTreeMap, BTreeSet};

use bantam_core::op::Binary;
use bantam_core::pass::Rebuild;
use bantam_core::{Graph, Node, Op, Tensor, ValueId, Weight};

use super::{Observed, axis, points, stored};
use crate::Result;

/// What follows the name of a value in that of the step which evens out its channels.
pub const EVEN: &str = ".even";

/// The graph with values that dense layers read divided by a factor for each channel, which the weights are
/// multiplied by, and how many values were. `share` is how much of the range of a value goes to the weights:
/// 0 is nothing, 1/2 what the paper advises for
/// most networks. The function of the network stays as it is, but for roundings.
///
/// Values without an entry in `observed`, and those that only layers in `skip` read, stay as they are. Errs when
/// a weight does not take its new values.
pub fn smooth(
    graph: &Graph,
    observed: &BTreeMap<String, Observed>,
    share: f64,
    skip: &BTreeSet<String>,
) -> Result<(Graph, usize)> {
    let mut factors: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
    let mut weights: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    for name in points(graph, skip) {
        let Some(seen) = observed.get(&name) else {
            continue;
        };
        let readers = readers(graph, &name);
        if let Some(factor) = factor(graph, seen, &readers, share) {
            for layer in &readers {
                weights.insert(layer.inputs[1], scaled(graph, layer, &factor));
            }
            factors.insert(readers[0].inputs[0], factor);
        }
    }
    let graph =
        graph.map_weights(|_, p| Ok(weights.get(&p.value).map(|t| Weight::Dense(t.clone()))))?;
    let divider = Divider {
        graph: &graph,
        factors: &factors,
        new: Rebuild::new(&graph),
        even: BTreeMap::new(),
    };
    Ok((divider.write()?, factors.len()))
}

/// The layers that read a value.
fn readers<'g>(graph: &'g Graph, name: &str) -> Vec<&'g Node> {
    let reads = |n: &&Node| axis(graph, n).is_some() && graph.value_name(n.inputs[0]) == name;
    graph.nodes().iter().filter(reads).collect()
}

/// What each channel is divided by; `None` where a layer is no matrix of its own, or has other channels.
fn factor(graph: &Graph, seen: &Observed, layers: &[&Node], share: f64) -> Option<Vec<f32>> {
    let channels = seen.most.len();
    let mut most = vec![0f32; channels];
    for layer in layers {
        let read = |n: &&Node| n.inputs.contains(&layer.inputs[1]);
        let own = graph.nodes().iter().filter(read).count() == 1;
        let weight = stored(graph, layer.inputs[1])?;
        let matrix = matches!(layer.op, Op::Dense(_) | Op::MatMul(_)) && weight.shape().len() == 2;
        if !own || !matrix || graph.outputs().contains(&layer.inputs[1]) {
            return None;
        }
        let inputs = 1 - axis(graph, layer)?;
        if weight.shape()[inputs] != channels {
            return None;
        }
        for (i, w) in weight.values::<f32>().ok()?.iter().enumerate() {
            let c = channel(weight.shape(), inputs, i);
            most[c] = most[c].max(w.abs());
        }
    }
    let of = |(x, w): (&f32, &f32)| {
        let s = f64::from(*x).powf(share) / f64::from(*w).powf(1.0 - share);
        if s.is_finite() && s > 1e-5 && s < 1e5 {
            s as f32
        } else {
            1.0
        }
    };
    Some(seen.most.iter().zip(&most).map(of).collect())
}

/// Index along `axis` of element `i` of a matrix.
fn channel(shape: &[usize], axis: usize, i: usize) -> usize {
    match axis {
        0 => i / shape[1],
        _ => i % shape[1],
    }
}

fn scaled(graph: &Graph, layer: &Node, factor: &[f32]) -> Tensor {
    let weight = stored(graph, layer.inputs[1]).expect("weights of a layer are stored");
    let inputs = 1 - axis(graph, layer).expect("a layer");
    let values = weight
        .values::<f32>()
        .expect("weights of a layer are floats");
    let new = values.iter().enumerate();
    let new = new.map(|(i, w)| w * factor[channel(weight.shape(), inputs, i)]);
    Tensor::new::<f32>(weight.shape(), new.collect()).expect("as many as before")
}

/// Writes a graph with values divided, for the layers that read them.
struct Divider<'g> {
    graph: &'g Graph,
    factors: &'g BTreeMap<ValueId, Vec<f32>>,
    new: Rebuild<'g>,
    /// Values that were divided.
    even: BTreeMap<ValueId, ValueId>,
}

impl Divider<'_> {
    fn write(mut self) -> Result<Graph> {
        let graph = self.graph;
        graph.inputs().iter().for_each(|i| self.divide(i.value));
        for p in graph.parameters() {
            self.new.parameter(p);
            self.divide(p.value);
        }
        for node in graph.nodes() {
            let layer = axis(graph, node).is_some();
            let read = |(i, &v): (usize, &ValueId)| match self.even.get(&v) {
                Some(&even) if layer && i == 0 => even,
                _ => self.new.get(v),
            };
            let inputs: Vec<ValueId> = node.inputs.iter().enumerate().map(read).collect();
            self.new.emit(node, node.op.clone(), &inputs);
            node.outputs.iter().for_each(|&v| self.divide(v));
        }
        Ok(self.new.finish()?)
    }

    /// Divides a value that has been written, where that is wanted.
    fn divide(&mut self, old: ValueId) {
        let Some(factor) = self.factors.get(&old) else {
            return;
        };
        let name = self.graph.value_name(old);
        let inverse = factor.iter().map(|s| 1.0 / s).collect();
        let inverse = Tensor::new::<f32>(&[factor.len()], inverse).expect("one a channel");
        let (id, b) = (self.new.get(old), &mut self.new.builder);
        let constant = b.fresh(&format!("{name}.inverse"));
        let constant = b.constant(&constant, inverse);
        let product = b.fresh(&format!("{name}{EVEN}"));
        let even = b.node(&product, Op::Binary(Binary::Mul), &[id, constant]);
        self.even.insert(old, even);
    }
}
