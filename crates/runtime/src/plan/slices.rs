//! Whether a batch can be run in slices, and how many elements a slice has.
//!
//! It can where axis 0 of every value that depends on the inputs is the batch and no operator mixes
//! elements of it. `keeps_elements_apart` knows this operator by operator; what it does not know, what
//! trains, and graphs whose shapes depend on the values of inputs are run whole. What a graph computes with
//! the size of its batch is a constant once the size is known: the graphs at both sizes must be the same,
//! constants and all. Kernels add in the same order however many elements there are, or the operator is
//! not on the list: results are the same, bit for bit.

use std::borrow::Cow;
use std::sync::Arc;

use bantam_core::op::layout::SliceRange;
use bantam_core::op::reduce::reduced_axes;
use bantam_core::op::{
    BatchNorm, Conv, Dropout, Gather, Layout, NormRole, Pool, Reduce, Softmax, Type, Unary,
};
use bantam_core::{Graph, Node, Op, ValueId};
use bantam_kernels::Precision;

use super::groups::{Facts, is_layer};
use super::{Place, Plan, folds, known_types, settled};
use crate::{Error, Result};

/// A batch in slices.
#[derive(Clone, Debug)]
pub(crate) struct SlicePlan {
    /// The plan of one slice.
    pub(crate) plan: Arc<Plan>,
    /// Elements of the batch.
    batch: usize,
    /// Elements of a slice, less than those of the batch.
    pub(crate) each: usize,
}

impl SlicePlan {
    /// Number of slices.
    pub(crate) fn count(&self) -> usize {
        self.batch.div_ceil(self.each)
    }

    /// First element of a slice; the last slice may begin within the one before.
    pub(crate) fn first(&self, slice: usize) -> usize {
        (slice * self.each).min(self.batch - self.each)
    }

    /// Slices that run at the same time on the current pool.
    pub(crate) fn workers(&self) -> usize {
        bantam_kernels::threads().clamp(1, self.count())
    }

    /// What went wrong in a slice, to someone who knows only of the batch.
    pub(crate) fn explain(&self, slice: usize, e: Error) -> Error {
        let first = self.first(slice);
        e.within(&format!(
            "elements {first}..{} of the batch",
            first + self.each
        ))
    }
}

/// The plan of a graph whose batch is run in slices of `each` elements.
pub(super) fn plan(graph: &Graph, inputs: &[Type], each: usize) -> Result<Plan> {
    let batch = batch_of(inputs).expect("slices have a batch");
    let slice = Plan::whole(graph, &with_batch(inputs, each))?;
    let whole = |(i, (_, t)): (usize, &(Place, Option<Type>))| {
        let mut t = t.clone().expect("slices have known types");
        t.shape[0] = batch;
        (Place::Gathered(i), Some(t))
    };
    Ok(Plan {
        inputs: inputs.to_vec(),
        weights: Vec::new(),
        steps: Vec::new(),
        slots: Vec::new(),
        images: Vec::new(),
        bytes: Vec::new(),
        outputs: slice.outputs.iter().enumerate().map(whole).collect(),
        n_late: 0,
        without_reuse_bytes: 0,
        precision: Precision::F32,
        slices: Some(SlicePlan {
            plan: Arc::new(slice),
            batch,
            each,
        }),
    })
}

/// The slice that is expected to be fastest; `None` if that is the whole batch or nothing else will do.
pub(super) fn choose(graph: &Graph, inputs: &[Type]) -> Option<usize> {
    let (whole, batch) = (apart_at(graph, inputs)?, batch_of(inputs)?);
    let layers = whole.costs(batch);
    let sizes = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|&n| n < batch);
    let sizes = sizes.chain([batch]);
    let each = sizes.min_by(|&a, &b| cycles(&layers, a).total_cmp(&cycles(&layers, b)))?;
    fits(graph, inputs, &whole, balance(batch, each))
}

/// Slices of at most `each` elements, as few and of as equal sizes as can be; `None` if the graph must run
/// whole or that is one slice.
pub(super) fn balanced(graph: &Graph, inputs: &[Type], each: usize) -> Option<usize> {
    let batch = batch_of(inputs)?;
    let whole = apart_at(graph, inputs)?;
    fits(graph, inputs, &whole, balance(batch, each))
}

fn balance(batch: usize, each: usize) -> usize {
    batch.div_ceil(batch.div_ceil(each.max(1)))
}

/// `each`, if the graph computes the same on slices of that size.
fn fits(graph: &Graph, inputs: &[Type], whole: &Apart, each: usize) -> Option<usize> {
    if each >= batch_of(inputs)? {
        return None;
    }
    let slice = apart_at(graph, &with_batch(inputs, each))?;
    whole.is_like(&slice).then_some(each)
}

/// The size of axis 0, if all inputs have the same there and more than one.
fn batch_of(inputs: &[Type]) -> Option<usize> {
    let batch = *inputs.first()?.shape.first()?;
    let same = inputs.iter().all(|t| t.shape.first() == Some(&batch));
    (same && batch > 1).then_some(batch)
}

fn with_batch(inputs: &[Type], n: usize) -> Vec<Type> {
    let mut inputs = inputs.to_vec();
    let first = inputs.iter_mut().filter_map(|t| t.shape.first_mut());
    first.for_each(|size| *size = n);
    inputs
}

/// A graph whose operators keep the elements of a batch apart.
struct Apart<'g> {
    graph: Cow<'g, Graph>,
    types: Vec<Type>,
    /// Whether axis 0 of a value is the batch; otherwise it does not depend on inputs.
    has_batch: Vec<bool>,
}

/// The graph at these input types, if its operators keep the elements of a batch apart.
fn apart_at<'g>(graph: &'g Graph, inputs: &[Type]) -> Option<Apart<'g>> {
    let n = inputs.first()?.shape.first().copied().filter(|&n| n > 0)?;
    batch_of(&with_batch(inputs, n.max(2)))?;
    let graph = match graph.is_late() || folds(graph) {
        true => Cow::Owned(settled(graph, inputs).ok()?),
        false => Cow::Borrowed(graph),
    };
    let types = known_types(&graph, inputs).ok()?;
    let facts = Facts::new(&graph, types.clone());
    let types: Vec<Type> = types.into_iter().collect::<Option<_>>()?;
    let mut has_batch = vec![false; types.len()];
    for input in graph.inputs() {
        has_batch[input.value.index()] = true;
    }
    for node in graph.nodes() {
        let operands = Operands {
            facts: &facts,
            types: &types,
            has_batch: &has_batch,
            node,
            n,
        };
        if operands.is_fixed() {
            continue;
        }
        if !operands.keeps_elements_apart() {
            return None;
        }
        for v in &node.outputs {
            has_batch[v.index()] = true;
        }
    }
    let all = graph.outputs().iter().all(|v| has_batch[v.index()]);
    all.then_some(Apart {
        graph,
        types,
        has_batch,
    })
}

impl Apart<'_> {
    /// Whether the other is the same graph on a batch of another size.
    fn is_like(&self, other: &Apart) -> bool {
        let (a, b) = (self.graph.nodes(), other.graph.nodes());
        let same_node =
            |(a, b): (&Node, &Node)| a.op == b.op && a.inputs == b.inputs && a.outputs == b.outputs;
        let same_type = |((a, b), batch): ((&Type, &Type), &bool)| {
            a.dtype == b.dtype && a.shape.len() == b.shape.len() && {
                let first = usize::from(*batch);
                a.shape[first..] == b.shape[first..]
            }
        };
        // A graph that was not specialised is the very same one.
        let same_weights = matches!(self.graph, Cow::Borrowed(_))
            || self.graph.parameters() == other.graph.parameters();
        same_weights
            && a.len() == b.len()
            && a.iter().zip(b).all(same_node)
            && self.types.len() == other.types.len()
            && self.has_batch == other.has_batch
            && self.graph.outputs() == other.graph.outputs()
            && self
                .types
                .iter()
                .zip(&other.types)
                .zip(&self.has_batch)
                .all(same_type)
    }
}

/// A node with what is known of the values it reads and makes.
struct Operands<'a> {
    facts: &'a Facts<'a>,
    types: &'a [Type],
    has_batch: &'a [bool],
    node: &'a Node,
    /// Elements of the batch.
    n: usize,
}

impl Operands<'_> {
    fn shape(&self, v: ValueId) -> &[usize] {
        &self.types[v.index()].shape
    }

    fn has_batch(&self, input: usize) -> bool {
        let v = self.node.inputs.get(input);
        v.is_some_and(|v| self.has_batch[v.index()])
    }

    /// Whether it stands between stored integers and the layer that reads them.
    fn is_fixed(&self) -> bool {
        matches!(self.node.op, Op::Quantize(_))
            && (0..self.node.inputs.len()).all(|i| !self.has_batch(i))
    }

    /// Whether the first input has the batch and no other.
    fn only_first(&self) -> bool {
        self.has_batch(0) && (1..self.node.inputs.len()).all(|i| !self.has_batch(i))
    }

    /// Whether `axis`, which may count from the end, is another than that of the batch.
    fn is_inner(&self, axis: i64) -> bool {
        axis != 0 && axis != -(self.shape(self.node.inputs[0]).len() as i64)
    }

    /// Whether operands are combined element by element of the batch: each has it in front of as many
    /// axes as the result has, or the same value for all.
    fn is_elementwise(&self) -> bool {
        let rank = self.shape(self.node.outputs[0]).len();
        self.node.inputs.iter().all(|v| {
            let shape = self.shape(*v);
            match self.has_batch[v.index()] {
                true => shape.len() == rank,
                false => shape.len() < rank || shape[0] == 1,
            }
        })
    }

    /// Whether the operator computes each element of the batch from that element alone, in the same way
    /// however many there are.
    fn keeps_elements_apart(&self) -> bool {
        let (inputs, outputs) = (&self.node.inputs, &self.node.outputs);
        let leads = |v: &ValueId| self.shape(*v).first() == Some(&self.n);
        outputs.iter().all(leads)
            && (0..inputs.len()).any(|i| self.has_batch(i))
            && match &self.node.op {
                // Without packed weights it is a product of all rows, cut by their number.
                Op::Dense(_) => self.only_first() && is_layer(self.facts, self.node),
                Op::MatMul(_) => self.is_apart_in_products(),
                Op::Conv(Conv { .. }) => self.only_first() && is_layer(self.facts, self.node),
                Op::Pool(Pool { grad, .. }) => !grad,
                Op::BatchNorm(BatchNorm { role, .. }) => {
                    *role == NormRole::Inference && self.only_first()
                }
                Op::Unary(Unary { grad, .. }) => !grad,
                Op::Binary(_) | Op::Logic(_) | Op::Select(_) => self.is_elementwise(),
                Op::Softmax(Softmax { axis, grad, .. }) => !grad && self.is_inner(*axis),
                Op::Reduce(reduce) => self.is_apart_in_sums(reduce),
                Op::Layout(layout) => self.is_apart_in_layout(layout),
                Op::Gather(Gather { axis, grad }) => !grad && self.is_apart_in_rows(*axis),
                Op::Dropout(Dropout::Identity { .. }) | Op::Cast(_) => self.has_batch(0),
                Op::Quantize(q) => self.only_first() && self.is_inner(q.axis),
                Op::Dropout(Dropout::Mask { .. })
                | Op::Loss(_)
                | Op::Index(_)
                | Op::Cumulative(_)
                | Op::Recurrent(_)
                | Op::Resample(_)
                | Op::Window(_)
                | Op::Late(_)
                | Op::Find(_)
                | Op::Control(_) => false,
            }
    }

    /// Products by packed weights, and products of matrices of which each element has its own.
    fn is_apart_in_products(&self) -> bool {
        if self.only_first() && is_layer(self.facts, self.node) {
            return true;
        }
        let ranks = self.node.inputs.iter().map(|v| self.shape(*v).len());
        ranks.min().is_some_and(|rank| rank >= 3) && self.is_elementwise()
    }

    fn is_apart_in_sums(&self, reduce: &Reduce) -> bool {
        /// A sum of more values is cut differently when it is the only one.
        const MOST: usize = 4096;
        let shape = self.shape(self.node.inputs[0]);
        match reduce {
            Reduce::Axes { axes, .. } => {
                let Ok(reduced) = reduced_axes(axes, shape.len()) else {
                    return false;
                };
                let of = |which: bool| {
                    let axes = shape.iter().zip(&reduced).skip(1);
                    let some = axes.filter(|(_, r)| **r == which);
                    some.map(|(&len, _)| len).product::<usize>()
                };
                !reduced[0] && (of(false) > 1 || of(true) <= MOST)
            }
            Reduce::Grad { .. } | Reduce::SumTo => false,
        }
    }

    fn is_apart_in_layout(&self, layout: &Layout) -> bool {
        match layout {
            // Axis 0 is the batch before and after, so an element keeps its place in the order.
            Layout::Reshape { .. } => true,
            Layout::Transpose { permutation } => permutation[0] == 0,
            // An end that is as far as the batch is now would cut another one.
            Layout::Slice { ranges } => ranges[0] == SliceRange::ALL,
            Layout::Concat { axis } => {
                let all = (0..self.node.inputs.len()).all(|i| self.has_batch(i));
                all && self.is_inner(*axis)
            }
            Layout::Pad { padding, .. } => padding[0] == [0, 0],
            Layout::ReshapeLike
            | Layout::SliceGrad { .. }
            | Layout::ConcatGrad { .. }
            | Layout::Extend { .. }
            | Layout::Expand { .. }
            | Layout::Tile { .. }
            | Layout::Reverse { .. }
            | Layout::Triangle { .. } => false,
        }
    }

    /// Rows of a fixed table by the batch's indices, or the same rows of each element.
    fn is_apart_in_rows(&self, axis: i64) -> bool {
        match [self.has_batch(0), self.has_batch(1)] {
            [false, true] => !self.is_inner(axis),
            [true, false] => self.is_inner(axis),
            _ => false,
        }
    }
}

/// What a node costs.
struct Cost {
    /// Multiply-adds, and bytes of values read and written, for one element of the batch.
    macs: f64,
    values: f64,
    /// Bytes of weights.
    weights: f64,
    /// Rows of a product for one element, where that is a matrix product.
    rows: f64,
}

impl Apart<'_> {
    fn costs(&self, batch: usize) -> Vec<Cost> {
        let type_of = |v: &ValueId| &self.types[v.index()];
        let cost = |node: &Node| {
            let types = |vs: &[ValueId]| vs.iter().map(|v| type_of(v).clone()).collect::<Vec<_>>();
            let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
            let bytes = |batch: bool| {
                let all = node.inputs.iter().chain(&node.outputs);
                let some = all.filter(move |v| self.has_batch[v.index()] == batch);
                some.map(|v| type_of(v).size_bytes() as f64).sum::<f64>()
            };
            let multiplies = matches!(node.op, Op::Dense(_) | Op::MatMul(_) | Op::Conv(_));
            let macs = node.op.cost(&inputs, &outputs).macs as f64;
            let out = &outputs[0];
            let columns = match &node.op {
                Op::Dense(_) | Op::MatMul(_) => out.shape[out.shape.len() - 1],
                _ => out.shape.get(1).copied().unwrap_or(1),
            };
            Cost {
                macs: if multiplies { macs / batch as f64 } else { 0.0 },
                values: bytes(true) / batch as f64,
                weights: bytes(false),
                rows: (out.len() / columns.max(1)) as f64 / batch as f64,
            }
        };
        self.graph.nodes().iter().map(cost).collect()
    }
}

/// Rough cycles of one element of the batch in slices of `n`, on a core of our days: 32 multiply-adds a
/// cycle, less for products of few rows; bytes at the pace of the cache that holds what is touched between
/// two uses of them; a call of a kernel.
fn cycles(layers: &[Cost], n: usize) -> f64 {
    const CALL: f64 = 200.0;
    const ROWS: f64 = 8.0;
    let bytes_a_cycle = |held: f64| match held {
        h if h <= 768.0 * 1024.0 => 48.0,
        h if h <= 16.0 * 1024.0 * 1024.0 => 16.0,
        _ => 5.0,
    };
    let n = n as f64;
    // Weights are read again by the next slice, values by the next layer.
    let all_weights: f64 = layers.iter().map(|l| l.weights).sum();
    let most_values = layers.iter().map(|l| l.values).fold(0.0, f64::max);
    let weights_pace = bytes_a_cycle(all_weights + n * most_values);
    let of_layer = |l: &Cost| {
        let few = (ROWS / (n * l.rows)).max(1.0);
        let values = l.values / bytes_a_cycle(n * l.values + l.weights);
        l.macs / 32.0 * few + values + (l.weights / weights_pace + CALL) / n
    };
    layers.iter().map(of_layer).sum()
}
