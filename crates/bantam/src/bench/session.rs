//! The networks on one pool of threads: planned, tuned, called in turns, and profiled.

use std::time::{Duration, Instant};

use bantam_core::Tensor;
use bantam_core::op::Type;
use bantam_runtime::{Choices, Executor, Memory, Plan, meet, multiply_adds};

use super::layers::{kernels, profile};
use super::models::Opened;
use super::rounds::{self, Call, Contender, Timed};
use super::{BenchOptions, Cost, Ratio, RunReport, Together, inputs};
use crate::choices::Known;
use crate::watch::Observer;
use crate::{Error, ErrorKind, Result};

pub(super) struct Session<'a> {
    pub(super) networks: &'a [Opened],
    pub(super) options: &'a BenchOptions,
    /// Threads of the current pool.
    pub(super) threads: usize,
    pub(super) observer: &'a mut dyn Observer,
}

/// A network ready to be called.
struct Ready<'a> {
    network: &'a Opened,
    batch: usize,
    inputs: Vec<Tensor>,
    executor: Executor,
    /// By which shapes the kernel of each step was chosen.
    shapes: Vec<Option<String>>,
    memory: Memory,
    plan_seconds: f64,
    tune_seconds: f64,
}

impl Session<'_> {
    /// Measures every batch.
    pub(super) fn runs(&mut self) -> Result<Vec<RunReport>> {
        let Known {
            mut choices,
            notice,
        } = self.options.cache.read(self.threads);
        if let Some(notice) = notice {
            self.observer.warn(&notice);
        }
        let known = choices.0.len();
        let batches: Vec<Option<usize>> = match self.options.batches.as_slice() {
            [] => vec![None],
            some => some.iter().copied().map(Some).collect(),
        };
        let mut reports = Vec::new();
        for batch in batches {
            reports.extend(self.batch(batch, &mut choices)?);
            if choices.0.len() > known
                && let Err(e) = self.options.cache.write(self.threads, &choices)
            {
                // The next run will have to time them again, no more.
                self.observer
                    .warn(&format!("{e}: kernel choices are not kept"));
            }
        }
        Ok(reports)
    }

    fn batch(&mut self, batch: Option<usize>, choices: &mut Choices) -> Result<Vec<RunReport>> {
        let networks = self.networks;
        let mut ready = Vec::with_capacity(networks.len());
        for network in networks {
            ready.push(self.ready(network, batch, choices)?);
        }
        let time = Duration::from_secs_f64(self.options.seconds);
        let what = self.what(&ready);
        let timed = {
            let calls = ready.iter_mut().map(Ready::calls);
            let mut calls: Vec<_> = calls.map(|call| Contender { call, time }).collect();
            if self.threads > 1 {
                calls.extend(probes(time / 10));
            }
            rounds::measure(&mut calls, &what, self.observer)?
        };
        let together = match &timed[ready.len()..] {
            [alone, together, meeting] => Some(Together {
                cores: times_of_one(self.threads, together.ratio(alone)),
                meeting_seconds: meeting.quantile(0.5),
            }),
            _ => None,
        };
        let mut reports = Vec::with_capacity(ready.len());
        for (i, (r, t)) in ready.iter_mut().zip(&timed).enumerate() {
            let mut report = r.report(self.threads, t, (i > 0).then_some(&timed[0]));
            report.together = together;
            if self.options.layers {
                let refs: Vec<&Tensor> = r.inputs.iter().collect();
                report.layers = profile(&mut r.executor, &refs, &r.shapes, time / 2)?;
                report.kernels = kernels(&report.layers, choices);
            }
            reports.push(report);
        }
        Ok(reports)
    }

    fn what(&self, ready: &[Ready<'_>]) -> String {
        let batch = ready.first().map_or(1, |r| r.batch);
        let threads = self.threads;
        let s = if threads == 1 { "" } else { "s" };
        format!("batch {batch}, {threads} thread{s}")
    }

    fn ready<'n>(
        &mut self,
        network: &'n Opened,
        batch: Option<usize>,
        choices: &mut Choices,
    ) -> Result<Ready<'n>> {
        let options = self.options;
        let (types, inputs) = fed(network, batch, options).map_err(|e| network.located(e))?;
        let start = Instant::now();
        let plan = Plan::new(&network.graph, &types).map_err(|e| cannot(network, &e, options))?;
        let mut plan = plan;
        let plan_seconds = start.elapsed().as_secs_f64();
        let what = format!("timing kernels of {}", network.report.name);
        self.observer.progress(&what, 0.0, "");
        let start = Instant::now();
        let shapes = plan.tune(choices, options.tune);
        let tune_seconds = start.elapsed().as_secs_f64();
        self.observer.progress(&what, 1.0, "");
        let memory = plan.memory();
        let mut ready = Ready {
            network,
            batch: inputs::batch_of(&types),
            inputs,
            executor: Executor::new(plan),
            shapes,
            memory,
            plan_seconds,
            tune_seconds: if options.tune { tune_seconds } else { 0.0 },
        };
        // What the network does not accept shows at the first call.
        ready.first().map_err(|e| cannot(network, &e, options))?;
        Ok(ready)
    }
}

/// Types and values of the inputs.
fn fed(
    network: &Opened,
    batch: Option<usize>,
    options: &BenchOptions,
) -> Result<(Vec<Type>, Vec<Tensor>)> {
    let graph = &network.graph;
    if let Some(path) = &options.inputs {
        let arrays = inputs::from_file(graph, path)?;
        let types = arrays.iter().map(|t| Type::new(t.dtype(), t.shape()));
        return Ok((types.collect(), arrays));
    }
    let types = inputs::types(graph, batch, &options.axes)?;
    let values = inputs::draw(graph, network.schema.as_ref(), &types, options.seed)?;
    Ok((types, values))
}

/// The error of a network that cannot be planned or called with these inputs.
fn cannot(network: &Opened, e: &bantam_runtime::Error, options: &BenchOptions) -> Error {
    match &options.inputs {
        Some(path) => Error::new(ErrorKind::Data, e.to_string()).in_file(path),
        None => network
            .located(Error::new(ErrorKind::Model, e.to_string()))
            .with_hint("inputs are random; feed arrays with --inputs FILE"),
    }
}

/// Nothing but multiply-adds, on one thread and on all of the current pool, and meetings of all without any
/// work, each for `time`.
fn probes<'a>(time: Duration) -> [Contender<'a>; 3] {
    let alone = || {
        std::hint::black_box(multiply_adds());
        Ok(())
    };
    let together = || {
        rayon::broadcast(|_| std::hint::black_box(multiply_adds()));
        Ok(())
    };
    let meeting = || {
        meet();
        Ok(())
    };
    let calls: [Box<Call<'a>>; 3] = [Box::new(alone), Box::new(together), Box::new(meeting)];
    calls.map(|call| Contender { call, time })
}

/// How many times the work of one thread so many do together, if that takes `longer` times as long as what
/// one does alone: low, median and high.
fn times_of_one(threads: usize, longer: [f64; 3]) -> Ratio {
    let [high, median, low] = longer.map(|longer| threads as f64 / longer.max(1e-12));
    Ratio { median, low, high }
}

impl Ready<'_> {
    fn first(&mut self) -> bantam_runtime::Result<()> {
        let refs: Vec<&Tensor> = self.inputs.iter().collect();
        self.executor.run(&refs).map(drop)
    }

    /// What is called again and again.
    fn calls(&mut self) -> Box<Call<'_>> {
        let refs: Vec<&Tensor> = self.inputs.iter().collect();
        let executor = &mut self.executor;
        Box::new(move || {
            std::hint::black_box(executor.run(&refs)?);
            Ok(())
        })
    }

    fn report(&self, threads: usize, timed: &Timed, first: Option<&Timed>) -> RunReport {
        let median_seconds = timed.quantile(0.5);
        let ratio = first.map(|first| {
            let [low, median, high] = timed.ratio(first);
            Ratio { median, low, high }
        });
        let steps = || self.executor.plan().steps();
        RunReport {
            model: self.network.report.name.clone(),
            batch: self.batch,
            threads,
            calls: timed.calls(),
            median_seconds,
            p95_seconds: timed.quantile(0.95),
            min_seconds: timed.least(),
            processor_seconds: timed.processor(),
            samples_per_second: self.batch as f64 / median_seconds.max(1e-12),
            ratio,
            together: None,
            plan_seconds: self.plan_seconds,
            tune_seconds: self.tune_seconds,
            buffers_bytes: self.memory.buffers_bytes,
            weights_bytes: self.memory.weights_bytes,
            macs: steps().map(|s| s.macs * s.times as u64).sum(),
            floor_seconds: 0.0,
            layers: Vec::new(),
            kernels: Vec::new(),
            costs: steps()
                .map(|s| {
                    let cost = Cost {
                        macs: s.kernel_macs,
                        in_bytes: s.in_bytes,
                        bytes: s.weight_bytes + s.value_bytes,
                    };
                    (cost, s.times)
                })
                .collect(),
        }
    }
}
