//! Networks in bytes: layers whose inputs are unsigned and whose weights are signed 8-bit integers.
//!
//! [`points`] says which values become bytes, [`Observed`] collects what numbers they take on data,
//! and [`apply`] writes the graph with [`Quantize`] operators around its layers, as ONNX has them
//! (`QuantizeLinear`, `DequantizeLinear`). Weights have a scale for each output channel and no zero
//! point (Krishnamoorthi 2018, sections 2 and 3); values have one scale and zero point each.
//! [`equalise`] evens out the channels of neighbouring layers before (Nagel et al. 2019, section 4.1),
//! [`smooth`] those of a value against the weights that read it (Xiao et al. 2023, equation 4).
//!
//! Tables whose rows are picked (embeddings) are stored as bytes with a scale for each row, and only the rows
//! that are picked become numbers.

mod equalise;
mod range;
mod smooth;

use std::collections::{BTreeMap, BTreeSet};

use bantam_core::op::{
    Binary, Cast, Conv, ConvRole, Gather, MatMul, Op, Pool, PoolKind, Quantize, QuantizeRole,
};
use bantam_core::pass::Rebuild;
use bantam_core::{DType, Graph, GraphBuilder, Node, Tensor, ValueId};

pub use equalise::equalise;
pub use range::{Calibration, Histogram};
pub use smooth::{EVEN, smooth};

use crate::Result;

/// What follows the name of a value in that of the step which makes bytes of it.
pub const BYTES: &str = ".bytes";

/// A layer that can compute in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Name of the value it reads; of a table, what picks its rows.
    pub input: String,
    /// Whether it is a table, whose rows are bytes and computed with as numbers.
    pub is_table: bool,
}

/// The layers of `graph` that can be in bytes: convolutions without groups or depthwise, dense layers,
/// products with a stored matrix, and tables whose rows are picked.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let layer = |n: &Node| {
        let is_table = is_table(graph, n);
        (is_table || axis(graph, n).is_some()).then(|| Layer {
            name: n.name.clone(),
            input: graph.value_name(n.inputs[usize::from(is_table)]).to_owned(),
            is_table,
        })
    };
    graph.nodes().iter().filter_map(layer).collect()
}

/// Whether a node picks rows of a stored matrix of numbers.
fn is_table(graph: &Graph, node: &Node) -> bool {
    let Op::Gather(Gather {
        axis: 0,
        grad: false,
    }) = node.op
    else {
        return false;
    };
    let table = stored(graph, node.inputs[0]);
    table
        .is_some_and(|t| t.dtype() == DType::F32 && t.shape().len() == 2 && !t.shape().contains(&0))
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
    /// The largest number of each channel, without its sign.
    most: Vec<f32>,
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
        self.most.resize(self.sums.len(), 0.0);
        for (i, run) in values.chunks(inner.max(1)).enumerate() {
            self.sums[i % c] += run.iter().map(|&v| f64::from(v)).sum::<f64>();
            let most = &mut self.most[i % c];
            *most = run.iter().fold(*most, |m, v| m.max(v.abs()));
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

/// The graph with its layers in bytes: values that they read go through bytes and back, and weights are
/// stored as bytes. Who else reads what a convolution reads is given the bytes' numbers too, since images are
/// handed on as bytes; who reads what dense layers read beside them is given the numbers themselves, as the
/// sums along the layers of an encoder are.
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
    let chosen = |n: &&Node| axis(graph, n).is_some() && !options.skip.contains(&n.name);
    let convolutions = graph.nodes().iter().filter(chosen);
    let convolutions = convolutions.filter(|n| matches!(n.op, Op::Conv(_)));
    let mut images: BTreeSet<ValueId> = convolutions.map(|n| n.inputs[0]).collect();
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
            images.extend([x, node.outputs[0]]);
        }
    }
    for (name, s) in before {
        scales.entry(name).or_insert(s);
    }
    let w = Writer {
        graph,
        new: Rebuild::new(graph),
        numbers: BTreeMap::new(),
        images,
        scales,
        weights: BTreeMap::new(),
        biases: BTreeMap::new(),
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
    new: Rebuild<'g>,
    /// The numbers that bytes stand for, of values that go through bytes.
    numbers: BTreeMap<ValueId, ValueId>,
    /// Values that whoever reads them is given as numbers of bytes.
    images: BTreeSet<ValueId>,
    scales: BTreeMap<String, (f32, u8)>,
    /// What stands for weights that were written already, turned or not.
    weights: BTreeMap<(ValueId, bool), ValueId>,
    /// Biases in the place of those that sums after products have, by the sum's number of input.
    biases: BTreeMap<String, (usize, Tensor)>,
    observed: &'g BTreeMap<String, Observed>,
    options: &'g Options,
}

impl Writer<'_> {
    fn write(mut self) -> Result<Graph> {
        let graph = self.graph;
        graph
            .inputs()
            .iter()
            .for_each(|i| self.through_bytes(i.value));
        let in_bytes = self.weights_in_bytes();
        for p in graph.parameters() {
            if !in_bytes.contains(&p.value) {
                self.new.parameter(p);
                self.through_bytes(p.value);
            }
        }
        for node in graph.nodes() {
            if is_table(graph, node) && in_bytes.contains(&node.inputs[0]) {
                let id = self.rows(node);
                self.new.set(node.outputs[0], id);
            } else {
                let (op, inputs) = self.node(node, &in_bytes);
                self.new.emit(node, op, &inputs);
            }
            node.outputs.iter().for_each(|&v| self.through_bytes(v));
        }
        // What the network gives is given as it was, not through bytes.
        Ok(self.new.finish()?)
    }

    /// The operator of a node as it is written, and what it reads.
    fn node(&mut self, node: &Node, in_bytes: &BTreeSet<ValueId>) -> (Op, Vec<ValueId>) {
        let (mut op, mut inputs) = (node.op.clone(), Vec::new());
        let chosen = self.is_chosen(node);
        for (i, v) in node.inputs.iter().enumerate() {
            if i == 1 && chosen && in_bytes.contains(v) {
                let (id, turned) = self.weight(node);
                if let (true, Op::MatMul(m)) = (turned, &mut op) {
                    m.transpose_b = false;
                }
                inputs.push(id);
                continue;
            }
            let bytes = (i == 0 && chosen) || self.images.contains(v);
            let numbers = self.numbers.get(v).filter(|_| bytes);
            inputs.push(numbers.copied().unwrap_or_else(|| self.new.get(*v)));
        }
        if chosen {
            self.correct(node, &mut inputs);
        }
        if let Some((i, bias)) = self.biases.remove(&node.name) {
            inputs[i] = self.constant(&format!("{}.bias", node.name), bias);
        }
        (op, inputs)
    }

    fn is_chosen(&self, node: &Node) -> bool {
        axis(self.graph, node).is_some() && !self.options.skip.contains(&node.name)
    }

    /// Weights that only layers in bytes read.
    fn weights_in_bytes(&self) -> BTreeSet<ValueId> {
        let nodes = || self.graph.nodes().iter();
        let weight = |n: &Node| match is_table(self.graph, n) {
            true => (!self.options.skip.contains(&n.name)).then(|| n.inputs[0]),
            false => self.is_chosen(n).then(|| n.inputs[1]),
        };
        let chosen = nodes().filter_map(weight);
        let read_otherwise = |v: ValueId| {
            let as_weight = |n: &Node| weight(n) == Some(v);
            let reads = |n: &Node| n.inputs.iter().filter(|&&i| i == v).count();
            nodes().any(|n| reads(n) > usize::from(as_weight(n)))
                || self.graph.outputs().contains(&v)
        };
        chosen.filter(|&v| !read_otherwise(v)).collect()
    }

    fn b(&mut self) -> &mut GraphBuilder {
        &mut self.new.builder
    }

    fn constant(&mut self, stem: &str, t: Tensor) -> ValueId {
        let name = self.b().fresh(stem);
        self.b().constant(&name, t)
    }

    /// Puts a value that has been written through bytes, where it becomes such: readers see what these stand for.
    fn through_bytes(&mut self, old: ValueId) {
        let name = self.graph.value_name(old);
        let Some(&(scale, zero)) = self.scales.get(name) else {
            return;
        };
        let inputs = [
            self.constant(&format!("{name}.scale"), Tensor::scalar(scale)),
            self.constant(&format!("{name}.zero"), Tensor::scalar(zero)),
        ];
        let mut last = self.new.get(old);
        for (role, what) in [
            (QuantizeRole::Quantize, BYTES),
            (QuantizeRole::Dequantize, ".numbers"),
        ] {
            let op = Op::Quantize(Quantize { role, axis: 1 });
            let node = self.b().fresh(&format!("{name}{what}"));
            last = self.b().node(&node, op, &[last, inputs[0], inputs[1]]);
        }
        self.numbers.insert(old, last);
    }

    /// What the weights of a layer, as bytes, stand for, and whether they are turned: matrices are stored
    /// `[in, out]`, as other programs want them.
    fn weight(&mut self, node: &Node) -> (ValueId, bool) {
        let turned = matches!(&node.op, Op::MatMul(MatMul { transpose_b, .. }) if *transpose_b);
        let key = (node.inputs[1], turned);
        if let Some(&done) = self.weights.get(&key) {
            return (done, turned);
        }
        let mut axis = axis(self.graph, node).expect("a chosen layer");
        let weight = stored(self.graph, node.inputs[1]).expect("a chosen layer");
        let (mut q, scales) = bytes(&weight, axis);
        if turned {
            (q, axis) = (transposed(&q), 1);
        }
        let name = self.graph.value_name(node.inputs[1]);
        let n = scales.len();
        let scales = Tensor::new::<f32>(&[n], scales).expect("as many as channels");
        // The name is free, unless the weight is there the other way round.
        let name = match self.weights.contains_key(&(node.inputs[1], !turned)) {
            true => self.b().fresh(name),
            false => name.to_owned(),
        };
        let inputs = [
            self.b().constant(&name, q),
            self.constant(&format!("{name}.scale"), scales),
            self.constant(&format!("{name}.zero"), Tensor::zeros(DType::I8, &[n])),
        ];
        let (role, axis) = (QuantizeRole::Dequantize, axis as i64);
        let numbers = self.b().fresh(&format!("{name}.numbers"));
        let op = Op::Quantize(Quantize { role, axis });
        let id = self.b().node(&numbers, op, &inputs);
        self.weights.insert(key, id);
        (id, turned)
    }

    /// Rows of a table in bytes, as numbers: bytes and scales are picked alike.
    fn rows(&mut self, node: &Node) -> ValueId {
        let (table, name) = (node.inputs[0], &node.name);
        let indices = self.new.get(node.inputs[1]);
        let of = self.graph.value_name(table);
        let key = (table, false);
        let scale = format!("{of}.scale");
        let (q, scales) = match self.weights.get(&key) {
            Some(&q) => (q, self.weights[&(table, true)]),
            None => {
                let weight = stored(self.graph, table).expect("a table is stored");
                let (q, scales) = bytes(&weight, 0);
                let shape = [scales.len(), 1];
                let scales = Tensor::new::<f32>(&shape, scales).expect("one for each row");
                let ids = (self.b().constant(of, q), self.constant(&scale, scales));
                self.weights.insert(key, ids.0);
                self.weights.insert((table, true), ids.1);
                ids
            }
        };
        let names = ["bytes", "numbers", "scale"].map(|w| self.b().fresh(&format!("{name}.{w}")));
        let pick = || node.op.clone();
        let q = self.b().node(&names[0], pick(), &[q, indices]);
        let cast = Op::Cast(Cast { to: DType::F32 });
        let q = self.b().node(&names[1], cast, &[q]);
        let scales = self.b().node(&names[2], pick(), &[scales, indices]);
        self.b().node(name, Op::Binary(Binary::Mul), &[q, scales])
    }

    /// Gives a layer a bias that takes up what rounding its weights does to the mean of its outputs; of a
    /// product that a stored vector is added to, that vector.
    fn correct(&mut self, node: &Node, inputs: &mut Vec<ValueId>) {
        if !self.options.correct_bias {
            return;
        }
        let Some(moved) = self.moved(node) else {
            return;
        };
        let corrected = |old: &[f32]| -> Tensor {
            let bias = old
                .iter()
                .zip(&moved)
                .map(|(&b, m)| (f64::from(b) - m) as f32);
            Tensor::new::<f32>(&[moved.len()], bias.collect()).expect("one for each output")
        };
        if let Op::MatMul(_) = node.op {
            if let Some((sum, i, old)) = self.added_bias(node, moved.len()) {
                self.biases.insert(sum, (i, corrected(&old)));
            }
            return;
        }
        let old = match node.inputs.get(2).map(|&v| stored(self.graph, v)) {
            None => vec![0.0; moved.len()],
            Some(Some(t)) => match t.values::<f32>() {
                Ok(values) => values.to_vec(),
                Err(_) => return,
            },
            Some(None) => return,
        };
        let id = self.constant(&format!("{}.bias", node.name), corrected(&old));
        inputs.truncate(2);
        inputs.push(id);
    }

    /// The sum that is all that reads a product, which of its inputs is a stored vector, and that vector.
    fn added_bias(&self, product: &Node, outputs: usize) -> Option<(String, usize, Vec<f32>)> {
        let v = product.outputs[0];
        let mut readers = self.graph.nodes().iter().filter(|n| n.inputs.contains(&v));
        let (sum, more) = (readers.next()?, readers.next());
        let is_sum = matches!(sum.op, Op::Binary(Binary::Add));
        if !is_sum || more.is_some() || self.graph.outputs().contains(&v) {
            return None;
        }
        let i = usize::from(sum.inputs[0] == v);
        let bias = stored(self.graph, sum.inputs[i])?;
        let fits = bias.shape() == [outputs];
        fits.then(|| bias.values::<f32>().ok().map(<[f32]>::to_vec))?
            .map(|old| (sum.name.clone(), i, old))
    }

    /// What rounding the weights of a layer adds to the mean of each output.
    fn moved(&self, node: &Node) -> Option<Vec<f64>> {
        let axis = axis(self.graph, node)?;
        let seen = self.observed.get(self.graph.value_name(node.inputs[0]))?;
        let weight = stored(self.graph, node.inputs[1])?;
        let (means, (q, scales)) = (seen.means(), bytes(&weight, axis));
        let (w, q) = (weight.values::<f32>().ok()?, q.values::<i8>().ok()?);
        let (outputs, depthwise) = (scales.len(), matches!(node.op, Op::Conv(c) if c.groups > 1));
        let per_output = w.len() / outputs;
        let channels = if depthwise { 1 } else { means.len() };
        if channels == 0 || !per_output.is_multiple_of(channels) {
            return None;
        }
        let area = per_output / channels;
        let moved = |o: usize| {
            let of = |i: usize| {
                let at = match axis {
                    0 => o * per_output + i,
                    _ => i * outputs + o,
                };
                let wrong = f64::from(q[at]) * f64::from(scales[o]) - f64::from(w[at]);
                let c = if depthwise { o } else { i / area };
                wrong * means.get(c).copied().unwrap_or(0.0)
            };
            (0..per_output).map(of).sum()
        };
        Some((0..outputs).map(moved).collect())
    }
}

/// `[cols, rows]` from `[rows, cols]`.
fn transposed(q: &Tensor) -> Tensor {
    let (rows, cols) = (q.shape()[0], q.shape()[1]);
    let from = q.values::<i8>().expect("signed bytes");
    let turned = (0..cols).flat_map(|c| (0..rows).map(move |r| from[r * cols + c]));
    Tensor::new::<i8>(&[cols, rows], turned.collect()).expect("as many as before")
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
