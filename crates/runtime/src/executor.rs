//! The executor: runs a [`Plan`] over its buffers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bantam_core::op::control::{repeat, truth};
use bantam_core::op::{Control, Type};
use bantam_core::{DType, Data, Element, Graph, Op, Tensor};
use bantam_kernels::Aligned;

use crate::kernel::{self, View};
use crate::layer::{Layer, Source, Target};
use crate::plan::{Place, Step, Work};
use crate::slices::Slices;
use crate::{Error, ErrorKind, Plan, Result};

/// Runs a plan as often as wanted. Each executor has buffers of its own; the plan is shared.
#[derive(Debug)]
pub struct Executor {
    plan: Arc<Plan>,
    slots: Vec<Data>,
    images: Vec<Aligned<f32>>,
    bytes: Vec<Aligned<u8>>,
    late: Vec<Tensor>,
    /// First element of the batch that is worked on, where the batch is run in slices.
    first: usize,
    /// What runs the slices of a batch, and what they made.
    slices: Option<Slices>,
    /// Executors of graphs inside nodes, by the step and which of its graphs.
    inner: HashMap<(usize, u8), Vec<Executor>>,
}

/// The data of a value of which only the type is read.
static NOTHING: Data = Data::U8(Vec::new());

/// Most executors kept for one graph inside a node; further input types take the oldest's place.
const MAX_INNER: usize = 8;

impl Executor {
    /// An executor with its buffers allocated.
    pub fn new(plan: impl Into<Arc<Plan>>) -> Executor {
        let plan = plan.into();
        let slots = plan
            .slots
            .iter()
            .map(|s| Data::zeros(s.dtype, s.len))
            .collect();
        let late = vec![Tensor::zeros(DType::U8, &[0]); plan.n_late];
        let images = plan.images.iter().map(|&len| Aligned::zeros(len));
        let images = images.collect();
        let bytes = plan.bytes.iter().map(|&len| Aligned::zeros(len)).collect();
        let slices = plan.slices.as_ref().map(|s| Slices::new(s, &plan));
        Executor {
            plan,
            slots,
            images,
            bytes,
            late,
            first: 0,
            slices,
            inner: HashMap::new(),
        }
    }

    /// The plan it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the graph on `inputs`, in the order of its inputs, and returns its outputs.
    ///
    /// Errs when an input is not of the planned type, or holds a value that is not allowed, such as
    /// a label that is no class.
    pub fn run<'a>(&'a mut self, inputs: &'a [&'a Tensor]) -> Result<Outputs<'a>> {
        self.check(inputs)?;
        match &mut self.slices {
            Some(slices) => slices.run(inputs)?,
            None => self.steps(inputs)?,
        }
        Ok(Outputs {
            executor: self,
            inputs,
        })
    }

    /// Values of output `i` of the last run, row-major; none where an input is handed on, which the
    /// executor does not keep.
    ///
    /// # Panics
    /// When the output holds another type than `T`.
    pub fn last_output<T: Element>(&self, i: usize) -> Option<&[T]> {
        let is_kept = !matches!(self.plan.outputs[i].0, Place::Input(_));
        let outputs = Outputs {
            executor: self,
            inputs: &[],
        };
        is_kept.then(|| outputs.values(i))
    }

    /// Runs the steps on the elements of a batch from `first` on.
    pub(crate) fn run_from(&mut self, first: usize, inputs: &[&Tensor]) -> Result<()> {
        self.first = first;
        self.steps(inputs)
    }

    fn steps(&mut self, inputs: &[&Tensor]) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let mut outputs: Vec<(Data, &Type)> = Vec::new();
        for (number, step) in plan.steps.iter().enumerate() {
            self.step(number, step, inputs, &mut outputs)
                .map_err(|e| e.at(&step.name))?;
        }
        Ok(())
    }

    /// Runs the graph as [`Executor::run`] does and tells how long each step took, in the order of
    /// [`Plan::steps`]. Of a batch in slices it runs one after the other and tells the sums.
    pub fn profile(&mut self, inputs: &[&Tensor]) -> Result<Vec<Duration>> {
        self.check(inputs)?;
        match &mut self.slices {
            Some(slices) => slices.profile(inputs),
            None => self.profile_from(0, inputs),
        }
    }

    /// As [`Executor::profile`], of the elements of a batch from `first` on.
    pub(crate) fn profile_from(
        &mut self,
        first: usize,
        inputs: &[&Tensor],
    ) -> Result<Vec<Duration>> {
        self.first = first;
        let plan = Arc::clone(&self.plan);
        let mut outputs = Vec::new();
        let mut times = Vec::with_capacity(plan.steps.len());
        for (number, step) in plan.steps.iter().enumerate() {
            let start = Instant::now();
            self.step(number, step, inputs, &mut outputs)
                .map_err(|e| e.at(&step.name))?;
            times.push(start.elapsed());
        }
        Ok(times)
    }

    /// Runs one step; `outputs` is scratch, empty before and after.
    fn step<'p>(
        &mut self,
        number: usize,
        step: &'p Step,
        inputs: &[&Tensor],
        outputs: &mut Vec<(Data, &'p Type)>,
    ) -> Result<()> {
        let is_late = |(place, _): &(Place, _)| matches!(place, Place::Late(_));
        match &step.work {
            Work::Layer(layer) => {
                self.layer(layer, step, inputs);
                return Ok(());
            }
            Work::Op(op) if step.outputs.iter().any(is_late) => {
                return self.run_late(number, op, step, inputs);
            }
            Work::Op(_) | Work::Norm(..) => {}
        }
        let slots = || {
            step.outputs.iter().map(|(place, _)| match place {
                Place::Slot(slot) => *slot,
                _ => unreachable!("a value of a known type has a buffer"),
            })
        };
        for (slot, (_, t)) in slots().zip(&step.outputs) {
            let data = std::mem::replace(&mut self.slots[slot], Data::U8(Vec::new()));
            outputs.push((data, t.as_ref().expect("a known type")));
        }
        let views: Vec<View> = step
            .inputs
            .iter()
            .map(|(place, t)| {
                let t = t.as_ref().expect("a known type needs known types");
                self.view(inputs, *place, t)
            })
            .collect();
        let result = match &step.work {
            Work::Op(op) => kernel::run(op, self.plan.precision, &views, outputs),
            Work::Norm(op, clamp) => {
                kernel::batch_norm(op, Some(*clamp), &views, outputs);
                Ok(())
            }
            Work::Layer(_) => unreachable!("done above"),
        };
        for (slot, (data, _)) in slots().zip(outputs.drain(..)) {
            self.slots[slot] = data;
        }
        result
    }

    /// Runs a layer: its one output is taken out of the executor meanwhile.
    fn layer(&mut self, layer: &Layer, step: &Step, inputs: &[&Tensor]) {
        let read = |executor: &Executor, y: Target| {
            let mut values = step
                .inputs
                .iter()
                .map(|(place, _)| executor.source(inputs, *place));
            let first = values.next().expect("a layer reads something");
            layer.run(first, values.next(), y);
        };
        match step.outputs[0].0 {
            Place::Image(i) => {
                let mut y = std::mem::take(&mut self.images[i]);
                read(self, Target::Floats(&mut y));
                self.images[i] = y;
            }
            Place::Bytes(i) => {
                let mut y = std::mem::take(&mut self.bytes[i]);
                read(self, Target::Bytes(&mut y));
                self.bytes[i] = y;
            }
            Place::Slot(i) => {
                let mut data = std::mem::replace(&mut self.slots[i], Data::U8(Vec::new()));
                let y = f32::slice_mut(&mut data).expect("layers make floats");
                read(self, Target::Floats(y));
                self.slots[i] = data;
            }
            _ => unreachable!("a layer writes to a buffer"),
        }
    }

    fn source<'a>(&'a self, inputs: &'a [&Tensor], place: Place) -> Source<'a> {
        match place {
            Place::Image(i) => Source::Floats(&self.images[i]),
            Place::Bytes(i) => Source::Bytes(&self.bytes[i]),
            _ => {
                let floats = f32::slice(self.data(inputs, place));
                let floats = floats.expect("layers read floats");
                Source::Floats(&floats[self.start(place)..])
            }
        }
    }

    /// Element of a value's data with which its values begin: inputs are of the whole batch.
    fn start(&self, place: Place) -> usize {
        match place {
            Place::Input(i) if self.first > 0 => {
                let t = &self.plan.inputs[i];
                self.first * (t.len() / t.shape[0])
            }
            _ => 0,
        }
    }

    /// Runs a step whose output types are not known before.
    fn run_late(&mut self, number: usize, op: &Op, step: &Step, inputs: &[&Tensor]) -> Result<()> {
        let arguments: Vec<Tensor> = step
            .inputs
            .iter()
            .map(|(p, t)| self.value(inputs, *p, t))
            .collect();
        let refs: Vec<&Tensor> = arguments.iter().collect();
        let results = match op {
            Op::Control(Control::If { then, otherwise }) => {
                let (graph, which) = if truth(refs[0])? {
                    (then, 0)
                } else {
                    (otherwise, 1)
                };
                self.run_inner((number, which), graph, &refs[1..])?
            }
            Op::Control(Control::Loop { body, n_states }) => {
                repeat(&refs, *n_states, &mut |refs| {
                    self.run_inner((number, 0), body, refs)
                })?
            }
            op => kernel::on_tensors(op, self.plan.precision, &refs)?,
        };
        if results.len() < step.outputs.len() {
            // A loop that never ran has nothing to collect: its shape is not known.
            let message = "a loop without iterations has no values to stack";
            return Err(Error::new(ErrorKind::Value, message));
        }
        for ((place, _), t) in step.outputs.iter().zip(results) {
            match *place {
                Place::Late(i) => self.late[i] = t,
                _ => unreachable!("all outputs of a late step are late"),
            }
        }
        Ok(())
    }

    /// Runs a graph inside a node, with the executor that was made for these types before.
    fn run_inner(
        &mut self,
        key: (usize, u8),
        graph: &Graph,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>> {
        let types: Vec<Type> = inputs
            .iter()
            .map(|t| Type::new(t.dtype(), t.shape()))
            .collect();
        let known = self.inner.entry(key).or_default();
        let at = match known.iter().position(|e| e.plan.inputs == types) {
            Some(at) => at,
            None => {
                let executor =
                    Executor::new(Plan::new(graph, &types)?.with_precision(self.plan.precision));
                if known.len() == MAX_INNER {
                    known.remove(0);
                }
                known.push(executor);
                known.len() - 1
            }
        };
        let outputs = known[at].run(inputs)?;
        Ok((0..outputs.len()).map(|i| outputs.tensor(i)).collect())
    }

    /// Output `i` of the last run.
    pub(crate) fn output<'a>(&'a self, i: usize, inputs: &'a [&'a Tensor]) -> View<'a> {
        let (place, t) = &self.plan.outputs[i];
        let t = t.as_ref().expect("slices have known types");
        self.view(inputs, *place, t)
    }

    fn view<'a>(&'a self, inputs: &[&'a Tensor], place: Place, t: &'a Type) -> View<'a> {
        View {
            data: self.data(inputs, place),
            t,
            start: self.start(place),
        }
    }

    /// A copy of a value.
    fn value(&self, inputs: &[&Tensor], place: Place, t: &Option<Type>) -> Tensor {
        match (place, t) {
            (Place::Late(i), _) => self.late[i].clone(),
            (_, Some(t)) => self.view(inputs, place, t).tensor(),
            (_, None) => unreachable!("only late values have unknown types"),
        }
    }

    fn check(&self, inputs: &[&Tensor]) -> Result<()> {
        let planned = &self.plan.inputs;
        if inputs.len() != planned.len() {
            let message = format!("expected {} inputs, found {}", planned.len(), inputs.len());
            return Err(Error::new(ErrorKind::Input, message));
        }
        for (i, (t, p)) in inputs.iter().zip(planned).enumerate() {
            if t.dtype() != p.dtype || t.shape() != p.shape {
                let message = format!(
                    "input {i}: expected {} {:?}, found {} {:?}",
                    p.dtype,
                    p.shape,
                    t.dtype(),
                    t.shape()
                );
                return Err(Error::new(ErrorKind::Input, message));
            }
        }
        Ok(())
    }

    fn data<'a>(&'a self, inputs: &[&'a Tensor], place: Place) -> &'a Data {
        match place {
            Place::Input(i) => inputs[i].data(),
            Place::Weight(i) => self.plan.weights[i].data(),
            Place::Slot(i) => &self.slots[i],
            Place::Late(i) => self.late[i].data(),
            Place::Gathered(i) => &self.slices.as_ref().expect("there are slices").outputs[i],
            Place::Nowhere => &NOTHING,
            Place::Image(_) | Place::Bytes(_) => {
                unreachable!("a plain value has a plain place")
            }
        }
    }
}

/// The outputs of one run, borrowed from the executor until the next.
#[derive(Debug)]
pub struct Outputs<'a> {
    executor: &'a Executor,
    inputs: &'a [&'a Tensor],
}

impl<'a> Outputs<'a> {
    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.executor.plan.outputs.len()
    }

    /// Whether there are none; a graph has at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of output `i`.
    pub fn shape(&self, i: usize) -> &'a [usize] {
        match &self.executor.plan.outputs[i] {
            (_, Some(t)) => &t.shape,
            (Place::Late(at), None) => self.executor.late[*at].shape(),
            _ => unreachable!("only late values have unknown types"),
        }
    }

    /// Values of output `i`, row-major.
    ///
    /// # Panics
    /// When the output holds another type than `T`.
    pub fn values<T: Element>(&self, i: usize) -> &'a [T] {
        let place = self.executor.plan.outputs[i].0;
        let data = T::slice(self.executor.data(self.inputs, place));
        let len = self.shape(i).iter().product();
        &data.expect("the type of an output is asked for as declared")[..len]
    }

    /// Whether output `i` is an input handed on.
    pub fn is_input(&self, i: usize) -> bool {
        matches!(self.executor.plan.outputs[i].0, Place::Input(_))
    }

    /// A copy of output `i`.
    pub fn tensor(&self, i: usize) -> Tensor {
        let (place, t) = &self.executor.plan.outputs[i];
        self.executor.value(self.inputs, *place, t)
    }
}
