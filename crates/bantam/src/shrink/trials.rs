//! Ways to put a network into bytes, tried on data.

use std::collections::BTreeMap;

use bantam_compress::int8::{self, Calibration, Observed, Options};
use bantam_core::op::Type;
use bantam_core::{Graph, Tensor};
use bantam_data::Target;
use bantam_runtime::{Executor, Plan};
use bantam_train::argmax;

use super::data::{Batch, Data};
use super::{Skip, Trial, name};
use crate::Result;
use crate::watch::Observer;

/// Share of numbers at each end that a percentile leaves out.
const TAIL: f64 = 1e-4;

/// Share of the distance allowed that is aimed at on the data for choosing.
const MARGIN: f64 = 0.8;

/// Answers that could be scored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) accuracy: f64,
    pub(super) standard_error: f64,
}

impl Score {
    /// The share of right answers; `None` where no class is known.
    pub(super) fn of(outputs: &[Vec<Tensor>], batches: &[Batch]) -> Option<Score> {
        let (mut n, mut right) = (0usize, 0usize);
        for (outputs, batch) in outputs.iter().zip(batches) {
            let values = outputs[0].values::<f32>().ok()?;
            let width = values.len() / batch.targets.len().max(1);
            if width < 2 {
                continue;
            }
            for (row, target) in values.chunks_exact(width).zip(&batch.targets) {
                if let Some(Target::Class(class)) = target {
                    n += 1;
                    right += usize::from(argmax(row) as i64 == *class);
                }
            }
        }
        let accuracy = right as f64 / n as f64;
        (n > 0).then(|| Score {
            accuracy,
            standard_error: (accuracy * (1.0 - accuracy) / n as f64).sqrt(),
        })
    }
}

pub(super) fn type_of(t: &Tensor) -> Type {
    Type::new(t.dtype(), t.shape())
}

/// Outputs of a network for each batch.
pub(super) fn outputs(graph: &Graph, batches: &[Batch]) -> Result<Vec<Vec<Tensor>>> {
    let mut all = Vec::with_capacity(batches.len());
    run(graph, batches, |values| all.push(values))?;
    Ok(all)
}

fn run(graph: &Graph, batches: &[Batch], mut f: impl FnMut(Vec<Tensor>)) -> Result<()> {
    let mut executor: Option<(Vec<Type>, Executor)> = None;
    for batch in batches {
        let types: Vec<Type> = batch.inputs.iter().map(type_of).collect();
        let mut fitting = match executor.take().filter(|(t, _)| *t == types) {
            Some(fitting) => fitting,
            None => {
                let plan = Plan::new(graph, &types)?;
                (types, Executor::new(plan))
            }
        };
        let inputs: Vec<&Tensor> = batch.inputs.iter().collect();
        let values = fitting.1.run(&inputs)?;
        f((0..values.len()).map(|i| values.tensor(i)).collect());
        executor = Some(fitting);
    }
    Ok(())
}

/// How far outputs moved: root mean square of the differences of all floats, as a share of that of the
/// first.
pub(super) fn moved(a: &[Vec<Tensor>], b: &[Vec<Tensor>]) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        if let (Ok(a), Ok(b)) = (a.values::<f32>(), b.values::<f32>()) {
            for (&a, &b) in a.iter().zip(b) {
                let (a, b) = (f64::from(a), f64::from(b));
                difference += (a - b) * (a - b);
                size += a * a;
            }
        }
    }
    match size > 0.0 {
        true => (difference / size).sqrt(),
        false => difference.sqrt(),
    }
}

/// A network in bytes.
pub(super) struct Candidate {
    pub(super) graph: Graph,
    pub(super) trial: Trial,
    /// Number of the trial whose way it goes.
    pub(super) number: usize,
}

/// A network whose values have been observed.
struct Seen {
    graph: Graph,
    observed: BTreeMap<String, Observed>,
    equalised: bool,
}

/// What is tried, and what came of it.
pub(super) struct Trials<'d> {
    data: &'d Data,
    /// As it is, and with its channels equalised if there are any to equalise.
    seen: Vec<Seen>,
    /// Outputs of the network as it is, on the data for choosing.
    reference: Vec<Vec<Tensor>>,
    pub(super) done: Vec<Trial>,
}

impl<'d> Trials<'d> {
    /// Observes the values that would become bytes.
    pub(super) fn new(
        graph: &Graph,
        data: &'d Data,
        observer: &mut dyn Observer,
    ) -> Result<Trials<'d>> {
        let mut graphs = vec![(graph.clone(), false)];
        let (even, n) = int8::equalise(graph)?;
        if n > 0 {
            graphs.push((even, true));
        }
        let mut seen = Vec::new();
        for (graph, equalised) in graphs {
            let observed = observe(&graph, &data.observe, observer)?;
            seen.push(Seen {
                graph,
                observed,
                equalised,
            });
        }
        Ok(Trials {
            data,
            reference: outputs(graph, &data.choose)?,
            seen,
            done: Vec::new(),
        })
    }

    /// The best way on the data for choosing, with as few layers left as they are as `max_drop` needs;
    /// and the names of those.
    pub(super) fn choose(
        &mut self,
        max_drop: f64,
        observer: &mut dyn Observer,
    ) -> Result<(Candidate, Vec<String>)> {
        let calibrations = [
            Calibration::MinMax,
            Calibration::Percentile(TAIL),
            Calibration::Entropy,
        ];
        let mut best: Option<(usize, Candidate)> = None;
        let of = calibrations.len() * 2 * self.seen.len();
        for seen in 0..self.seen.len() {
            for calibration in calibrations {
                for correct_bias in [true, false] {
                    let done = self.done.len();
                    observer.progress("ways tried", done as f64 / of as f64, "");
                    let found = self.attempt(seen, calibration, correct_bias, &Skip::new())?;
                    self.done.push(found.trial.clone());
                    // Answers that are as good are those that moved less.
                    let key = |t: &Trial| (t.drop.max(0.0), t.moved);
                    let better = best
                        .as_ref()
                        .is_none_or(|(_, b)| key(&found.trial) < key(&b.trial));
                    if better {
                        best = Some((
                            seen,
                            Candidate {
                                number: done,
                                ..found
                            },
                        ));
                    }
                }
            }
        }
        let (seen, candidate) = best.expect("something was tried");
        // A distance has no noise to speak of, but is chosen to be small here: elsewhere it is larger.
        let scored = Score::of(&self.reference, &self.data.choose).is_some();
        let max_drop = if scored { max_drop } else { MARGIN * max_drop };
        if candidate.trial.drop <= max_drop {
            return Ok((candidate, Vec::new()));
        }
        self.leave_some(seen, candidate, max_drop, observer)
    }

    /// Leaves layers as they are, those that move the outputs most first, until the drop is small
    /// enough.
    fn leave_some(
        &self,
        seen: usize,
        candidate: Candidate,
        max_drop: f64,
        observer: &mut dyn Observer,
    ) -> Result<(Candidate, Vec<String>)> {
        let calibration = match candidate.trial.calibration {
            "min-max" => Calibration::MinMax,
            "percentile" => Calibration::Percentile(TAIL),
            _ => Calibration::Entropy,
        };
        let layers: Vec<String> = int8::layers(&self.seen[seen].graph)
            .into_iter()
            .map(|l| l.name)
            .collect();
        let few = self.data.choose.len().min(2);
        let mut harm: Vec<(f64, &String)> = Vec::new();
        for (i, layer) in layers.iter().enumerate() {
            observer.progress(
                "layers alone in bytes",
                i as f64 / layers.len() as f64,
                layer,
            );
            let skip: Skip = layers.iter().filter(|&l| l != layer).cloned().collect();
            let graph = self.graph(seen, calibration, candidate.trial.correct_bias, &skip)?;
            let found = outputs(&graph, &self.data.choose[..few])?;
            harm.push((moved(&self.reference[..few], &found), layer));
        }
        harm.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let worst = |n: usize| -> Vec<String> { harm[..n].iter().map(|h| h.1.clone()).collect() };
        let attempt = |n: usize| {
            let skip: Skip = worst(n).into_iter().collect();
            self.attempt(seen, calibration, candidate.trial.correct_bias, &skip)
        };
        // Doubling, then halving the gap: the drop need not fall evenly, but nearly does.
        let (mut low, mut high, mut kept) = (0, 1, None);
        loop {
            let n = high.min(layers.len());
            observer.progress(
                "layers left as they are",
                n as f64 / layers.len() as f64,
                "",
            );
            let found = attempt(n)?;
            let enough = found.trial.drop <= max_drop;
            if enough || n == layers.len() {
                kept = Some((n, found));
                break;
            }
            (low, high) = (n, 2 * n);
            if high > 2 * layers.len() {
                break;
            }
        }
        let (mut n, mut found) = kept.expect("all layers left is the network as it was");
        while n - low > 1 {
            let middle = low + (n - low) / 2;
            let between = attempt(middle)?;
            match between.trial.drop <= max_drop {
                true => (n, found) = (middle, between),
                false => low = middle,
            }
        }
        found.number = candidate.number;
        Ok((found, worst(n)))
    }

    fn graph(
        &self,
        seen: usize,
        calibration: Calibration,
        correct_bias: bool,
        skip: &Skip,
    ) -> Result<Graph> {
        let seen = &self.seen[seen];
        let options = Options {
            calibration,
            correct_bias,
            skip: skip.clone(),
        };
        Ok(int8::apply(&seen.graph, &seen.observed, &options)?)
    }

    fn attempt(
        &self,
        seen: usize,
        calibration: Calibration,
        correct_bias: bool,
        skip: &Skip,
    ) -> Result<Candidate> {
        let graph = self.graph(seen, calibration, correct_bias, skip)?;
        let found = outputs(&graph, &self.data.choose)?;
        let moved = moved(&self.reference, &found);
        let scores = [&self.reference, &found].map(|o| Score::of(o, &self.data.choose));
        let drop = match scores {
            [Some(a), Some(b)] => a.accuracy - b.accuracy,
            _ => moved,
        };
        let trial = Trial {
            calibration: name(calibration),
            correct_bias,
            equalised: self.seen[seen].equalised,
            drop,
            moved,
        };
        Ok(Candidate {
            graph,
            trial,
            number: 0,
        })
    }
}

/// What the values that layers read are on data.
fn observe(
    graph: &Graph,
    batches: &[Batch],
    observer: &mut dyn Observer,
) -> Result<BTreeMap<String, Observed>> {
    let names = int8::points(graph, &Skip::new());
    let watched = int8::with_outputs(graph, &names)?;
    let n_outputs = graph.outputs().len();
    let mut observed: BTreeMap<String, Observed> = BTreeMap::new();
    let (mut done, of) = (0, batches.len());
    run(&watched, batches, |values| {
        for (name, value) in names.iter().zip(&values[n_outputs..]) {
            observed.entry(name.clone()).or_default().add(value);
        }
        done += 1;
        observer.progress("batches observed", done as f64 / of as f64, "");
    })?;
    Ok(observed)
}
