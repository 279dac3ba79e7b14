//! The plan: which buffer holds which value, decided once for given input types.
//!
//! Values that only rename others (reshape, identity) share their storage. Layers with stored weights
//! take what follows them (`groups`), get their weights packed and work on images with channels last
//! (`lower`); buffers are given out last (`place`).

mod chains;
mod groups;
mod lower;
mod place;
mod rectified;
mod slices;

use std::sync::Arc;

use bantam_core::op::{BatchNorm, Dropout, Layout, Type, Unary};
use bantam_core::{Graph, Op, Tensor, pass};
use bantam_kernels::Precision;
use bantam_kernels::last::Clamp;

use crate::Result;
use crate::kernel;
use crate::layer::Layer;
pub(crate) use place::Slot;
pub(crate) use slices::SlicePlan;

/// Where the storage of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The caller's input of this number.
    Input(usize),
    /// A stored weight.
    Weight(usize),
    /// A buffer of the executor.
    Slot(usize),
    /// A buffer of the executor for images of floats that are channels last.
    Image(usize),
    /// A buffer of the executor for images of bytes that are channels last.
    Bytes(usize),
    /// A tensor whose type is known only when it is there.
    Late(usize),
    /// An output that the slices of a batch made together.
    Gathered(usize),
    /// A value that is never read.
    Nowhere,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// One operator of the graph.
    Op(Op),
    /// Batch normalisation in a training step, and the rectifier behind it.
    Norm(BatchNorm, Clamp),
    /// A layer with packed weights, or one on images that are channels last.
    Layer(Layer),
}

/// One thing to run: reads from places, writes to places. Types are those of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) work: Work,
    /// Multiply-adds of the nodes it stands for; 0 where types are not known before.
    pub(crate) macs: u64,
    pub(crate) inputs: Vec<(Place, Option<Type>)>,
    pub(crate) outputs: Vec<(Place, Option<Type>)>,
}

/// Memory that a plan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of the buffers for intermediate values and outputs.
    pub buffers_bytes: usize,
    /// Bytes the same values would take with a buffer each.
    pub without_reuse_bytes: usize,
    /// Bytes of the decoded and the packed weights.
    pub weights_bytes: usize,
}

/// How to run a graph for given input types.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) inputs: Vec<Type>,
    pub(crate) weights: Vec<Tensor>,
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Vec<Slot>,
    /// Lengths of the buffers for images of floats and of bytes that are channels last.
    pub(crate) images: Vec<usize>,
    pub(crate) bytes: Vec<usize>,
    pub(crate) outputs: Vec<(Place, Option<Type>)>,
    pub(crate) n_late: usize,
    without_reuse_bytes: usize,
    /// How the batch is run in slices; then there are no steps and no buffers here.
    pub(crate) slices: Option<SlicePlan>,
    /// Of the operands of products whose weights are not stored.
    pub(crate) precision: Precision,
}

impl Plan {
    /// Plans `graph` for inputs of the given types; errs when the graph does not accept them.
    ///
    /// What follows from types and constants is computed now. Values whose types depend on the values
    /// of the inputs are made, with buffers of their own, when the plan runs.
    ///
    /// Where no operator mixes the elements of a batch, so many at a time go through the whole network
    /// that their values stay in cache. That changes no bit of a result.
    pub fn new(graph: &Graph, inputs: &[Type]) -> Result<Plan> {
        match slices::choose(graph, inputs) {
            Some(each) => slices::plan(graph, inputs, each),
            None => Plan::whole(graph, inputs),
        }
    }

    /// As [`Plan::new`], with at most `each` elements of the batch at a time; all of them where the graph
    /// allows nothing else.
    pub fn in_slices(graph: &Graph, inputs: &[Type], each: usize) -> Result<Plan> {
        match slices::balanced(graph, inputs, each) {
            Some(each) => slices::plan(graph, inputs, each),
            None => Plan::whole(graph, inputs),
        }
    }

    /// Elements of the batch that go through the network at a time, where that is not all of them.
    pub fn slice(&self) -> Option<usize> {
        self.slices.as_ref().map(|s| s.each)
    }

    /// As [`Plan::new`], all of the batch at a time.
    fn whole(graph: &Graph, inputs: &[Type]) -> Result<Plan> {
        let specialised;
        let graph = match graph.is_late() || folds(graph) {
            true => {
                specialised = settled(graph, inputs)?;
                &specialised
            }
            false => graph,
        };
        let types = known_types(graph, inputs)?;
        Ok(lower::lower(graph, types, inputs))
    }

    /// Plans `graph` with every symbolic axis of size `n`.
    pub fn for_batch(graph: &Graph, n: usize) -> Result<Plan> {
        Plan::new(graph, &graph.input_types(n))
    }

    /// The same plan with the operands of matrix products, dense layers and convolutions rounded, as far
    /// as [`Precision`] says that is worth it. All values stay `f32`, and so do layers whose weights are
    /// stored, which are packed: this is for training, where weights are inputs.
    pub fn with_precision(mut self, precision: Precision) -> Plan {
        self.precision = precision;
        if let Some(slices) = &mut self.slices {
            let plan = Arc::make_mut(&mut slices.plan);
            *plan = plan.clone().with_precision(precision);
        }
        self
    }

    /// What the operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Input types the plan is for.
    pub fn inputs(&self) -> &[Type] {
        &self.inputs
    }

    /// Memory an executor of this plan holds. Where the batch is run in slices, each thread of the current
    /// pool has buffers of its own.
    pub fn memory(&self) -> Memory {
        if let Some(slices) = &self.slices {
            let outputs = self.outputs.iter().filter_map(|(_, t)| t.as_ref());
            let outputs: usize = outputs.map(Type::size_bytes).sum();
            let (one, workers) = (slices.plan.memory(), slices.workers());
            return Memory {
                buffers_bytes: one.buffers_bytes * workers + outputs,
                without_reuse_bytes: one.without_reuse_bytes * workers + outputs,
                weights_bytes: one.weights_bytes,
            };
        }
        let slots = self.slots.iter().map(|s| s.len * s.dtype.size_bytes());
        let images = self.images.iter().map(|len| len * size_of::<f32>());
        let images = images.chain(self.bytes.iter().copied());
        let plain = self
            .weights
            .iter()
            .map(|t| t.len() * t.dtype().size_bytes());
        let packed = self.steps.iter().map(|s| match &s.work {
            Work::Layer(layer) => layer.weight_bytes(),
            Work::Op(_) | Work::Norm(..) => 0,
        });
        Memory {
            buffers_bytes: slots.chain(images).sum(),
            without_reuse_bytes: self.without_reuse_bytes,
            weights_bytes: plain.chain(packed).sum(),
        }
    }
}

/// What a step of a plan is.
#[derive(Clone, Debug, PartialEq)]
pub struct StepInfo<'a> {
    /// Name of the node it stands for (the first, where several became one).
    pub name: &'a str,
    /// The operator, or the kernel and what was fused into it.
    pub kernel: String,
    /// Multiply-adds of the operators it stands for.
    pub macs: u64,
    /// Multiply-adds that its kernel makes: fewer where it has a fast algorithm.
    pub kernel_macs: u64,
    /// Whether they are of bytes.
    pub in_bytes: bool,
    /// Bytes of its weights, as they are read.
    pub weight_bytes: usize,
    /// Bytes of the values it reads and writes, without weights.
    pub value_bytes: usize,
    /// How often a run does it: once for each slice of the batch. All else here is of one time.
    pub times: usize,
}

impl Plan {
    /// The steps in running order.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo<'_>> {
        let (plan, times) = match &self.slices {
            Some(slices) => (&*slices.plan, slices.count()),
            None => (self, 1),
        };
        plan.steps.iter().map(move |step| {
            let (mut weights, mut values) = (0, 0);
            for (place, t) in step.inputs.iter().chain(&step.outputs) {
                let bytes = t.as_ref().map_or(0, Type::size_bytes);
                match place {
                    Place::Weight(_) => weights += bytes,
                    Place::Nowhere => {}
                    _ => values += bytes,
                }
            }
            let kernel = match &step.work {
                Work::Op(op) => {
                    match kernel::rounds(op, plan.precision, &step.inputs, &step.outputs) {
                        true => format!("{} {}", op.name(), plan.precision.name()),
                        false => op.name().to_owned(),
                    }
                }
                Work::Norm(op, _) => format!("{} + clamp", Op::BatchNorm(*op).name()),
                Work::Layer(layer) => {
                    weights += layer.weight_bytes();
                    layer.describe()
                }
            };
            StepInfo {
                name: &step.name,
                kernel,
                macs: step.macs,
                kernel_macs: match &step.work {
                    Work::Layer(Layer::Conv { layer, .. }) => layer.fewer_macs(),
                    _ => None,
                }
                .unwrap_or(step.macs),
                in_bytes: matches!(
                    step.work,
                    Work::Layer(Layer::ByteConv { .. } | Layer::ByteDepthwise { .. })
                ),
                weight_bytes: weights,
                value_bytes: values,
                times,
            }
        })
    }
}

/// The graph specialised to its input types. A branch that is put in the place of a choice may read
/// constants that were not known while it stood apart, hence again and again.
fn settled(graph: &Graph, inputs: &[Type]) -> Result<Graph> {
    let late = |g: &Graph| g.nodes().iter().filter(|n| n.op.is_late()).count();
    let mut graph = pass::drop_dead(&pass::specialise(graph, inputs)?)?;
    for _ in 0..8 {
        let next = pass::drop_dead(&pass::specialise(&graph, inputs)?)?;
        let ends = late(&next) >= late(&graph);
        graph = next;
        if ends {
            break;
        }
    }
    Ok(graph)
}

/// Types of all values, but for those that an operator makes which is still late, and for what
/// follows from these.
fn known_types(graph: &Graph, inputs: &[Type]) -> Result<Vec<Option<Type>>> {
    let mut types = graph.infer_partly(inputs)?;
    for node in graph.nodes() {
        if node.op.is_late() || node.inputs.iter().any(|v| types[v.index()].is_none()) {
            node.outputs.iter().for_each(|v| types[v.index()] = None);
        }
    }
    Ok(types)
}

/// Whether a node reads nothing but stored values.
fn folds(graph: &Graph) -> bool {
    let mut stored = vec![false; graph.n_values()];
    graph
        .parameters()
        .iter()
        .for_each(|p| stored[p.value.index()] = true);
    graph.nodes().iter().any(|n| {
        let is_weight = matches!(n.op, Op::Quantize(_));
        !is_weight && n.inputs.iter().all(|v| stored[v.index()])
    })
}

/// Whether the operator's output has the values of its first input in the same order.
fn renames(op: &Op) -> bool {
    use bantam_core::op::elementwise::UnaryKind;
    matches!(
        op,
        Op::Layout(Layout::Reshape { .. } | Layout::ReshapeLike)
            | Op::Dropout(Dropout::Identity { .. })
            | Op::Unary(Unary {
                kind: UnaryKind::Identity,
                grad: false
            })
    )
}
