//! Networks in bytes: layers whose inputs are unsigned and whose weights are signed 8-bit integers.
//!
//! [`points`] says which values become bytes, [`Observed`] collects what numbers they take on data,
//! and [`apply`] writes the graph with [`Quantize`] operators around its layers, as ONNX has them
//! (`QuantizeLinear`, `DequantizeLinear`). Weights have a scale for each output channel and no zero
//! point (Krishnamoorthi 2018, sections 2 and 3); values have one scale and zero point each.
//! [`equalise`] evens out the channels of neighbouring layers before (Nagel et al. 2019, section 4.1).

mod equalise;
mod range;

use std::collections::{BTreeMap, BTreeSet};

use bantam_core::op::{Conv, ConvRole, Op, Pool, PoolKind, Quantize, QuantizeRole};
use bantam_core::{DType, Graph, GraphBuilder, Node, Tensor, ValueId};

pub use equalise::equalise;
pub use range::{Calibration, Histogram};

use crate::Result;

/// A layer that can compute in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Name of the value it reads.
    pub input: String,
}

/// The layers of `graph` that can compute in bytes: convolutions without groups or depthwise, dense
/// layers and products with a stored matrix.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let layer = |n: &Node| Layer {
        name: n.name.clone(),
        input: graph.value_name(n.inputs[0]).to_owned(),
    };
    let nodes = graph.nodes().iter();
    nodes
        .filter(|n| axis(graph, n).is_some())
        .map(layer)
        .collect()
}

/// Names of the values that become bytes when the layers outside `skip` do.
pub fn points(graph: &Graph, skip: &BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in graph.nodes() {
        if axis(graph, node).is_some() && !skip.contains(&node.name) {
            let name = graph.value_name(node.inputs[0]).to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The axis of the weights of a layer along which its outputs lie, if it can compute in bytes.
fn axis(graph: &Graph, node: &Node) -> Option<usize> {
    let weight = stored(graph, *node.inputs.get(1)?)?;
    let shape = weight.shape();
    let first = graph.parameters().iter().any(|p| p.value == node.inputs[0]);
    if weight.dtype() != DType::F32 || first || shape.contains(&0) {
        return None;
    }
    match &node.op {
        Op::Conv(Conv { role, groups, .. }) => {
            let whole = *groups == 1 || (*groups == shape[0] && shape.get(1) == Some(&1));
            (*role == ConvRole::Forward && whole && shape.len() == 4).then_some(0)
        }
        Op::Dense(_) => Some(0),
        Op::MatMul(m) if !m.transpose_a && shape.len() == 2 => Some(usize::from(!m.transpose_b)),
        _ => None,
    }
}

fn stored(graph: &Graph, v: ValueId) -> Option<Tensor> {
    let p = graph.parameters().iter().find(|p| p.value == v)?;
    Some(p.weight.tensor().into_owned())
}

/// The graph with the values called `names` as further outputs, to observe them. Errs when there is no
/// such value.
pub fn with_outputs(graph: &Graph, names: &[String]) -> Result<Graph> {
    let mut b = graph.to_builder();
    graph.outputs().iter().for_each(|&v| b.output(v));
    let values = graph.inputs().iter().map(|i| i.value);
    let values: Vec<ValueId> = values
        .chain(graph.nodes().iter().flat_map(|n| n.outputs.iter().copied()))
        .collect();
    for name in names {
        let value = values.iter().find(|&&v| graph.value_name(v) == name);
        let value = value.ok_or_else(|| {
            crate::Error::new(crate::ErrorKind::Name, "there is no such value").at(name)
        })?;
        b.output(*value);
    }
    Ok(b.finish_open()?)
}

/// What was seen of a value on data.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The distribution of its numbers.
    pub histogram: Histogram,
    /// Sum of the numbers of each channel, and how many there were: along axis 1 of images, along the
    /// last axis of everything else.
    sums: Vec<f64>,
    count: u64,
}

impl Observed {
    /// Adds what the value was on a batch.
    pub fn add(&mut self, value: &Tensor) {
        let Ok(values) = value.values::<f32>() else {
            return;
        };
        self.histogram.add(values);
        let shape = value.shape();
        let (c, inner) = match *shape {
            [_, c, h, w] => (c, h * w),
            [.., c] => (c, 1),
            [] => (1, 1),
        };
        self.sums.resize(c.max(self.sums.len()), 0.0);
        for (i, run) in values.chunks(inner.max(1)).enumerate() {
            self.sums[i % c] += run.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        self.count += (values.len() / c.max(1)) as u64;
    }

    /// Mean of each channel.
    fn means(&self) -> Vec<f64> {
        self.sums
            .iter()
            .map(|s| s / self.count.max(1) as f64)
            .collect()
    }
}

/// How a network is put into bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the ranges of values are chosen.
    pub calibration: Calibration,
    /// Whether biases take up what rounding the weights moves the mean of an output by (Nagel et al.
    /// 2019, section 4.2, equation 17, with means measured on data).
    pub correct_bias: bool,
    /// Names of layers that stay as they are.
    pub skip: BTreeSet<String>,
}

/// The graph with its layers in bytes: values that they read go through bytes and back, whoever reads
/// them; weights are stored as bytes.
///
/// `observed` has an entry for each of [`points`]. Batch normalisations should be folded before
/// ([`bantam_core::pass::simplify`]). Errs when an entry is missing.
pub fn apply(
    graph: &Graph,
    observed: &BTreeMap<String, Observed>,
    options: &Options,
) -> Result<Graph> {
    let points = points(graph, &options.skip);
    let mut scales = BTreeMap::new();
    for name in &points {
        let seen = observed.get(name).ok_or_else(|| {
            let message = "nothing was observed of this value";
            crate::Error::new(crate::ErrorKind::Option, message).at(name)
        })?;
        scales.insert(
            name.clone(),
            scale(seen.histogram.range(options.calibration)),
        );
    }
    // The largest bytes are those of the largest numbers, so what is pooled becomes bytes before.
    let mut before = Vec::new();
    for node in graph.nodes() {
        let pools = matches!(
            node.op,
            Op::Pool(Pool {
                kind: PoolKind::Max,
                grad: false,
                ..
            })
        );
        let (x, y) = (node.inputs.first(), graph.value_name(node.outputs[0]));
        if let (true, Some(&x), Some(&s)) = (pools, x, scales.get(y)) {
            before.push((graph.value_name(x).to_owned(), s));
        }
    }
    for (name, s) in before {
        scales.entry(name).or_insert(s);
    }
    let w = Writer {
        graph,
        b: GraphBuilder::new(graph.name()),
        new: vec![None; graph.n_values()],
        scales,
        weights: BTreeMap::new(),
        observed,
        options,
    };
    w.write()
}

/// Scale and zero point of a range that zero is in.
fn scale((low, high): (f32, f32)) -> (f32, u8) {
    let scale = (high - low) / 255.0;
    if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
        return (1.0, 0);
    }
    (scale, (-low / scale).round().clamp(0.0, 255.0) as u8)
}

struct Writer<'g> {
    graph: &'g Graph,
    b: GraphBuilder,
    new: Vec<Option<ValueId>>,
    scales: BTreeMap<String, (f32, u8)>,
    /// What stands for weights that were written already.
    weights: BTreeMap<ValueId, ValueId>,
    observed: &'g BTreeMap<String, Observed>,
    options: &'g Options,
}

impl Writer<'_> {
    fn write(mut self) -> Result<Graph> {
        let graph = self.graph;
        graph.nodes().iter().for_each(|n| self.b.reserve(&n.name));
        let parameters = graph.parameters().iter();
        parameters.for_each(|p| self.b.reserve(graph.value_name(p.value)));
        let mut outputs = BTreeMap::new();
        for i in graph.inputs() {
            let id = self
                .b
                .input(graph.value_name(i.value), i.dtype, i.dims.clone());
            outputs.insert(i.value, id);
            self.new[i.value.index()] = Some(id);
            self.through_bytes(i.value, id);
        }
        let in_bytes = self.weights_in_bytes();
        for p in graph.parameters() {
            if in_bytes.contains(&p.value) {
                continue;
            }
            let (name, weight) = (graph.value_name(p.value), p.weight.clone());
            let id = match p.trainable {
                true => self.b.weight(name, weight),
                false => self.b.constant(name, weight),
            };
            outputs.insert(p.value, id);
            self.new[p.value.index()] = Some(id);
        }
        for node in graph.nodes() {
            let mut inputs: Vec<ValueId> = Vec::new();
            for (i, v) in node.inputs.iter().enumerate() {
                let is_weight = i == 1 && in_bytes.contains(v);
                inputs.push(match is_weight {
                    true => self.weight(node),
                    false => self.new[v.index()].expect("nodes are in running order"),
                });
            }
            if self.is_chosen(node) {
                self.correct(node, &mut inputs);
            }
            let n = node.outputs.len();
            let ids = self.b.node_many(&node.name, node.op.clone(), &inputs, n);
            for (&v, id) in node.outputs.iter().zip(ids) {
                self.b.rename(id, graph.value_name(v));
                outputs.insert(v, id);
                self.new[v.index()] = Some(id);
                self.through_bytes(v, id);
            }
        }
        // What the network gives is given as it was, not through bytes.
        graph
            .outputs()
            .iter()
            .for_each(|v| self.b.output(outputs[v]));
        Ok(self.b.finish_open()?)
    }

    fn is_chosen(&self, node: &Node) -> bool {
        axis(self.graph, node).is_some() && !self.options.skip.contains(&node.name)
    }

    /// Weights that only layers in bytes read.
    fn weights_in_bytes(&self) -> BTreeSet<ValueId> {
        let nodes = || self.graph.nodes().iter();
        let chosen = nodes().filter(|n| self.is_chosen(n)).map(|n| n.inputs[1]);
        let read_otherwise = |v: ValueId| {
            let as_weight = |n: &Node| self.is_chosen(n) && n.inputs[1] == v;
            let reads = |n: &Node| n.inputs.iter().filter(|&&i| i == v).count();
            nodes().any(|n| reads(n) > usize::from(as_weight(n)))
                || self.graph.outputs().contains(&v)
        };
        chosen.filter(|&v| !read_otherwise(v)).collect()
    }

    fn constant(&mut self, stem: &str, t: Tensor) -> ValueId {
        let name = self.b.fresh(stem);
        self.b.constant(&name, t)
    }

    /// Puts a value that becomes bytes through them: readers see what the bytes stand for.
    fn through_bytes(&mut self, old: ValueId, id: ValueId) {
        let name = self.graph.value_name(old);
        let Some(&(scale, zero)) = self.scales.get(name) else {
            return;
        };
        let inputs = [
            self.constant(&format!("{name}.scale"), Tensor::scalar(scale)),
            self.constant(&format!("{name}.zero"), Tensor::scalar(zero)),
        ];
        let mut last = id;
        for (role, what) in [
            (QuantizeRole::Quantize, "bytes"),
            (QuantizeRole::Dequantize, "numbers"),
        ] {
            let op = Op::Quantize(Quantize { role, axis: 1 });
            let node = self.b.fresh(&format!("{name}.{what}"));
            last = self.b.node(&node, op, &[last, inputs[0], inputs[1]]);
        }
        self.new[old.index()] = Some(last);
    }

    /// The weights of a layer as bytes, and what they stand for.
    fn weight(&mut self, node: &Node) -> ValueId {
        if let Some(&done) = self.weights.get(&node.inputs[1]) {
            return done;
        }
        let axis = axis(self.graph, node).expect("a chosen layer");
        let weight = stored(self.graph, node.inputs[1]).expect("a chosen layer");
        let (q, scales) = bytes(&weight, axis);
        let name = self.graph.value_name(node.inputs[1]);
        let n = scales.len();
        let scales = Tensor::new::<f32>(&[n], scales).expect("as many as channels");
        let inputs = [
            self.b.constant(name, q),
            self.constant(&format!("{name}.scale"), scales),
            self.constant(&format!("{name}.zero"), Tensor::zeros(DType::I8, &[n])),
        ];
        let (role, axis) = (QuantizeRole::Dequantize, axis as i64);
        let numbers = self.b.fresh(&format!("{name}.numbers"));
        let op = Op::Quantize(Quantize { role, axis });
        let id = self.b.node(&numbers, op, &inputs);
        self.weights.insert(node.inputs[1], id);
        id
    }

    /// Gives a layer a bias that takes up what rounding its weights does to the mean of its outputs.
    fn correct(&mut self, node: &Node, inputs: &mut Vec<ValueId>) {
        let takes_bias = matches!(node.op, Op::Conv(_) | Op::Dense(_));
        if !self.options.correct_bias || !takes_bias {
            return;
        }
        let (Some(seen), Some(weight)) = (
            self.observed.get(self.graph.value_name(node.inputs[0])),
            stored(self.graph, node.inputs[1]),
        ) else {
            return;
        };
        let (means, (q, scales)) = (seen.means(), bytes(&weight, 0));
        let (w, q) = (weight.values::<f32>(), q.values::<i8>().map(<[i8]>::to_vec));
        let (Ok(w), Ok(q)) = (w, q) else { return };
        let (outputs, depthwise) = (scales.len(), matches!(node.op, Op::Conv(c) if c.groups > 1));
        let per_output = w.len() / outputs;
        let channels = if depthwise { 1 } else { means.len() };
        if channels == 0 || !per_output.is_multiple_of(channels) {
            return;
        }
        let area = per_output / channels;
        let old = node.inputs.get(2).map(|&v| stored(self.graph, v));
        let bias: Option<Vec<f32>> = match &old {
            None => Some(vec![0.0; outputs]),
            Some(Some(t)) => t.values::<f32>().ok().map(<[f32]>::to_vec),
            Some(None) => None,
        };
        let Some(mut bias) = bias else { return };
        for (o, b) in bias.iter_mut().enumerate() {
            let moved: f64 = (0..per_output)
                .map(|i| {
                    let at = o * per_output + i;
                    let wrong = f64::from(q[at]) * f64::from(scales[o]) - f64::from(w[at]);
                    let c = if depthwise { o } else { i / area };
                    wrong * means.get(c).copied().unwrap_or(0.0)
                })
                .sum();
            *b = (f64::from(*b) - moved) as f32;
        }
        let t = Tensor::new::<f32>(&[outputs], bias).expect("one for each output");
        let id = self.constant(&format!("{}.bias", node.name), t);
        inputs.truncate(2);
        inputs.push(id);
    }
}

/// Weights as signed bytes with a scale for each index along `axis`: the largest becomes ±127.
fn bytes(weight: &Tensor, axis: usize) -> (Tensor, Vec<f32>) {
    let shape = weight.shape();
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let values = weight
        .values::<f32>()
        .expect("weights of a layer are floats");
    let mut most = vec![0f32; n];
    let of = |i: usize| i / inner.max(1) % n;
    for (i, v) in values.iter().enumerate() {
        most[of(i)] = most[of(i)].max(v.abs());
    }
    let scales: Vec<f32> = most
        .iter()
        .map(|&m| {
            if m >= f32::MIN_POSITIVE * 127.0 {
                m / 127.0
            } else {
                1.0
            }
        })
        .collect();
    let q = values.iter().enumerate().map(|(i, v)| {
        let q = (v / scales[of(i)]).round_ties_even();
        q.clamp(-127.0, 127.0) as i8
    });
    let q = Tensor::new::<i8>(shape, q.collect()).expect("as many as before");
    (q, scales)
}

#[cfg(test)]
mod tests;
