//! Runs a batch in slices: some elements of it go through the whole network, then the next.
//!
//! Each thread has buffers of its own and takes the next slice that nobody has taken. Which thread runs
//! which slice changes no result. Where the batch is no multiple of a slice, the last slice begins earlier;
//! what it has in common with the one before comes out the same twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bantam_core::{Data, Element, Tensor, each_type};

use crate::kernel::View;
use crate::plan::SlicePlan;
use crate::{Error, Executor, Plan, Result};

/// What runs the slices of a batch.
#[derive(Debug)]
pub(crate) struct Slices {
    plan: SlicePlan,
    workers: Vec<Executor>,
    /// The outputs of the graph, for the whole batch.
    pub(crate) outputs: Vec<Data>,
}

impl Slices {
    /// Buffers for the threads of the current pool, and for the outputs of `whole`.
    pub(crate) fn new(plan: &SlicePlan, whole: &Plan) -> Slices {
        let worker = || Executor::new(Arc::clone(&plan.plan));
        let outputs = whole.outputs.iter().map(|(_, t)| {
            let t = t.as_ref().expect("slices have known types");
            Data::zeros(t.dtype, t.len())
        });
        Slices {
            workers: std::iter::repeat_with(worker)
                .take(plan.workers())
                .collect(),
            outputs: outputs.collect(),
            plan: plan.clone(),
        }
    }

    /// Runs all slices. Of several errors, that of the first slice is told.
    pub(crate) fn run(&mut self, inputs: &[&Tensor]) -> Result<()> {
        let (plan, next) = (&self.plan, AtomicUsize::new(0));
        let outputs = Mutex::new(&mut self.outputs);
        let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        bantam_kernels::each(&mut self.workers, |worker| {
            loop {
                let slice = next.fetch_add(1, Ordering::Relaxed);
                if slice >= plan.count() {
                    return;
                }
                let first = plan.first(slice);
                match worker.run_from(first, inputs) {
                    Ok(()) => {
                        let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
                        gather(worker, plan, first, inputs, &mut outputs);
                    }
                    Err(e) => {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|(before, _)| slice < *before) {
                            *failed = Some((slice, e));
                        }
                        return;
                    }
                }
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((slice, e)) => Err(plan.explain(slice, e)),
            None => Ok(()),
        }
    }

    /// Runs one slice after the other and adds the times of each step.
    pub(crate) fn profile(&mut self, inputs: &[&Tensor]) -> Result<Vec<Duration>> {
        let (plan, worker) = (&self.plan, &mut self.workers[0]);
        let mut total: Vec<Duration> = Vec::new();
        for slice in 0..plan.count() {
            let first = plan.first(slice);
            let times = worker.profile_from(first, inputs);
            let times = times.map_err(|e| plan.explain(slice, e))?;
            gather(worker, plan, first, inputs, &mut self.outputs);
            total.resize(times.len(), Duration::ZERO);
            total.iter_mut().zip(times).for_each(|(sum, t)| *sum += t);
        }
        Ok(total)
    }
}

/// Copies what a slice made to its place in the outputs.
fn gather(
    worker: &Executor,
    plan: &SlicePlan,
    first: usize,
    inputs: &[&Tensor],
    outputs: &mut [Data],
) {
    for (i, all) in outputs.iter_mut().enumerate() {
        let view = worker.output(i, inputs);
        let start = first * (view.t.len() / plan.each);
        each_type!(view.data, _v => copy(_v, &view, start, all));
    }
}

/// `_like` names the element type.
fn copy<T: Element>(_like: &[T], view: &View, start: usize, all: &mut Data) {
    let all = T::slice_mut(all).expect("an output has the planned type");
    all[start..][..view.t.len()].copy_from_slice(view.values());
}
