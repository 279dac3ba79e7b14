//! The executor: runs a [`Plan`] over its buffers.

use std::sync::Arc;

use bantam_core::op::Type;
use bantam_core::{Data, Element, Tensor, each_type};

use crate::kernel::{self, View};
use crate::plan::Place;
use crate::{Error, ErrorKind, Plan, Result};

/// Runs a plan as often as wanted. Each executor has buffers of its own; the plan is shared.
#[derive(Debug)]
pub struct Executor {
    plan: Arc<Plan>,
    slots: Vec<Data>,
}

impl Executor {
    /// An executor with its buffers allocated.
    pub fn new(plan: impl Into<Arc<Plan>>) -> Executor {
        let plan = plan.into();
        let slots = plan
            .slots
            .iter()
            .map(|s| Data::zeros(s.dtype, s.len))
            .collect();
        Executor { plan, slots }
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
        let plan = Arc::clone(&self.plan);
        let mut outputs: Vec<(Data, &Type)> = Vec::new();
        for step in &plan.steps {
            for (slot, t) in &step.outputs {
                outputs.push((
                    std::mem::replace(&mut self.slots[*slot], Data::U8(Vec::new())),
                    t,
                ));
            }
            let views: Vec<View> = step
                .inputs
                .iter()
                .map(|(place, t)| View {
                    data: self.data(inputs, *place),
                    t,
                })
                .collect();
            let result = kernel::run(&step.op, &views, &mut outputs);
            for ((slot, _), (data, _)) in step.outputs.iter().zip(outputs.drain(..)) {
                self.slots[*slot] = data;
            }
            result.map_err(|e| e.at(&step.name))?;
        }
        Ok(Outputs {
            executor: self,
            inputs,
        })
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
        &self.executor.plan.outputs[i].1.shape
    }

    /// Values of output `i`, row-major.
    ///
    /// # Panics
    /// When the output holds another type than `T`.
    pub fn values<T: Element>(&self, i: usize) -> &'a [T] {
        let (place, t) = &self.executor.plan.outputs[i];
        let data = T::slice(self.executor.data(self.inputs, *place));
        &data.expect("the type of an output is asked for as declared")[..t.len()]
    }

    /// A copy of output `i`.
    pub fn tensor(&self, i: usize) -> Tensor {
        let (place, t) = &self.executor.plan.outputs[i];
        let data = self.executor.data(self.inputs, *place);
        let tensor = each_type!(data, v => Tensor::new(&t.shape, v[..t.len()].to_vec()));
        tensor.expect("as many values as the shape has")
    }
}
