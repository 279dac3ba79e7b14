//! Ways to put a network into bytes, tried on data.

use std::collections::BTreeMap;

use bantam_compress::int8::{self, Calibration, Layer, Observed, Options};
use bantam_core::op::Type;
use bantam_core::order::sort_by;
use bantam_core::{Graph, Tensor};
use bantam_data::Target;
use bantam_runtime::{Executor, Plan};
use bantam_train::argmax;

use super::data::{Batch, Data};
use super::{Skip, Trial, name};
use crate::Result;
use crate::watch::Observer;

/// Ways to choose ranges.
const CALIBRATIONS: [Calibration; 3] = [
    Calibration::MinMax,
    Calibration::Percentile(TAIL),
    Calibration::Entropy,
];

/// Share of numbers at each end that a percentile leaves out.
const TAIL: f64 = 1e-4;

/// Shares of the range of a value that go to the weights when channels are smoothed: what Xiao et al. advise for
/// most networks, and more (they take 0.75 where outliers are many; 0.8 was the best of 0.5 to 0.9 for MiniLM).
const SMOOTHING: [f64; 2] = [0.5, 0.8];

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

/// How far outputs moved, the farthest of them: root mean square of the differences of all floats, as a
/// share of that of the first.
pub(super) fn moved(a: &[Vec<Tensor>], b: &[Vec<Tensor>]) -> f64 {
    distances(a, b).iter().map(|d| d.moved).fold(0.0, f64::max)
}

/// How far one output moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Distance {
    /// Root mean square of the differences, as a share of that of the first.
    pub(super) moved: f64,
    /// Cosine of the angle between the two, of every sample: their mean and the least.
    pub(super) cosine: f64,
    pub(super) least_cosine: f64,
}

/// How far each output moved; one that is not of floats does not.
pub(super) fn distances(a: &[Vec<Tensor>], b: &[Vec<Tensor>]) -> Vec<Distance> {
    let n = a.first().map_or(0, Vec::len);
    (0..n)
        .map(|i| {
            let pairs = a.iter().zip(b).map(|(a, b)| (&a[i], &b[i]));
            distance(pairs)
        })
        .collect()
}

fn distance<'t>(pairs: impl Iterator<Item = (&'t Tensor, &'t Tensor)>) -> Distance {
    let (mut difference, mut size) = (0.0, 0.0);
    let (mut sum, mut least, mut n) = (0.0, 1f64, 0u64);
    for (a, b) in pairs {
        let (Ok(x), Ok(y)) = (a.values::<f32>(), b.values::<f32>()) else {
            continue;
        };
        let each = x.len() / a.shape().first().copied().unwrap_or(1).max(1);
        for (x, y) in x.chunks(each.max(1)).zip(y.chunks(each.max(1))) {
            let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
            for (&x, &y) in x.iter().zip(y) {
                let (x, y) = (f64::from(x), f64::from(y));
                difference += (x - y) * (x - y);
                (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
            }
            size += xx;
            let cosine = match xx * yy > 0.0 {
                true => xy / (xx * yy).sqrt(),
                false => f64::from(u8::from(xx == yy)),
            };
            (sum, least, n) = (sum + cosine, least.min(cosine), n + 1);
        }
    }
    Distance {
        moved: match size > 0.0 {
            true => (difference / size).sqrt(),
            false => difference.sqrt(),
        },
        cosine: if n > 0 { sum / n as f64 } else { 1.0 },
        least_cosine: least,
    }
}

/// A network in bytes.
pub(super) struct Candidate {
    pub(super) graph: Graph,
    pub(super) trial: Trial,
    /// Number of the trial whose way it goes.
    pub(super) number: usize,
    way: Way,
}

/// A way to choose the numbers that bytes stand for.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Which of the networks that were seen.
    seen: usize,
    calibration: Calibration,
    correct_bias: bool,
}

/// A network whose values have been observed.
struct Seen {
    graph: Graph,
    observed: BTreeMap<String, Observed>,
    equalised: bool,
    /// Share of ranges that went to the weights; 0 where nothing was smoothed.
    smoothed: f64,
}

/// What is tried, and what came of it.
pub(super) struct Trials<'d> {
    data: &'d Data,
    /// As it is, with its channels equalised, and with them smoothed, if there are any.
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
        let mut see = |graph: Graph, equalised, smoothed| -> Result<Seen> {
            Ok(Seen {
                observed: observe(&graph, &data.observe, observer)?,
                graph,
                equalised,
                smoothed,
            })
        };
        let mut seen = vec![see(graph.clone(), false, 0.0)?];
        let (even, n) = int8::equalise(graph)?;
        if n > 0 {
            seen.push(see(even, true, 0.0)?);
        }
        for share in SMOOTHING {
            let (smooth, n) = int8::smooth(graph, &seen[0].observed, share, &Skip::new())?;
            if n > 0 {
                seen.push(see(smooth, false, share)?);
            }
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
        let mut best: Option<Candidate> = None;
        let plain = self.ways(|seen| seen.smoothed == 0.0, &CALIBRATIONS, &[true, false]);
        self.try_all(&plain, &mut best, observer)?;
        let candidate = best.as_ref().expect("something was tried");
        // How biases are best does not hang on how even channels are, nor is cutting a tail off of use then.
        let bias = [candidate.way.correct_bias];
        let calibrations = [Calibration::MinMax, Calibration::Entropy];
        let smoothed = self.ways(|seen| seen.smoothed > 0.0, &calibrations, &bias);
        self.try_all(&smoothed, &mut best, observer)?;
        let candidate = best.expect("something was tried");
        let max_drop = self.allowed(max_drop);
        if candidate.trial.drop <= max_drop {
            return Ok((candidate, Vec::new()));
        }
        self.leave_some(candidate, max_drop, observer)
    }

    /// Tries ways one after the other and keeps the best of them and of `best`.
    fn try_all(
        &mut self,
        ways: &[Way],
        best: &mut Option<Candidate>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        for (i, &way) in ways.iter().enumerate() {
            observer.progress("ways tried", i as f64 / ways.len() as f64, "");
            let found = Candidate {
                number: self.done.len(),
                ..self.attempt(way, &Skip::new())?
            };
            self.done.push(found.trial.clone());
            // Answers that are as good are those that moved less.
            let key = |t: &Trial| (t.drop.max(0.0), t.moved);
            if best
                .as_ref()
                .is_none_or(|b| key(&found.trial) < key(&b.trial))
            {
                *best = Some(found);
            }
        }
        Ok(())
    }

    /// All ways on some of the networks that were seen.
    fn ways(
        &self,
        of: impl Fn(&Seen) -> bool,
        calibrations: &[Calibration],
        biases: &[bool],
    ) -> Vec<Way> {
        let mut ways = Vec::new();
        for seen in (0..self.seen.len()).filter(|&i| of(&self.seen[i])) {
            for &calibration in calibrations {
                ways.extend(biases.iter().map(|&correct_bias| Way {
                    seen,
                    calibration,
                    correct_bias,
                }));
            }
        }
        ways
    }

    /// Most drop on the data for choosing. A distance has no noise to speak of, but is chosen to be small
    /// here: elsewhere it is larger.
    fn allowed(&self, max_drop: f64) -> f64 {
        match Score::of(&self.reference, &self.data.choose) {
            Some(_) => max_drop,
            None => MARGIN * max_drop,
        }
    }

    /// `candidate` with the layers in `left` as they are, if that keeps to `max_drop`.
    pub(super) fn with_left(
        &self,
        candidate: &Candidate,
        left: &[String],
        max_drop: f64,
    ) -> Result<Option<Candidate>> {
        let skip: Skip = left.iter().cloned().collect();
        let found = Candidate {
            number: candidate.number,
            ..self.attempt(candidate.way, &skip)?
        };
        // One that is over already, since nothing keeps to it, is not to become worse.
        let most = self.allowed(max_drop).max(candidate.trial.drop);
        Ok((found.trial.drop <= most).then_some(found))
    }

    /// The layers of the network that the candidate was made of.
    pub(super) fn layers(&self, candidate: &Candidate) -> Vec<Layer> {
        int8::layers(&self.seen[candidate.way.seen].graph)
    }

    /// Leaves layers as they are, those that move the outputs most first, until the drop is small
    /// enough.
    fn leave_some(
        &self,
        candidate: Candidate,
        max_drop: f64,
        observer: &mut dyn Observer,
    ) -> Result<(Candidate, Vec<String>)> {
        let way = candidate.way;
        let layers: Vec<String> = self
            .layers(&candidate)
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
            let found = outputs(&self.graph(way, &skip)?, &self.data.choose[..few])?;
            harm.push((moved(&self.reference[..few], &found), layer));
        }
        sort_by(&mut harm, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let worst = |n: usize| -> Vec<String> { harm[..n].iter().map(|h| h.1.clone()).collect() };
        let attempt = |n: usize| {
            let skip: Skip = worst(n).into_iter().collect();
            self.attempt(way, &skip)
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

    fn graph(&self, way: Way, skip: &Skip) -> Result<Graph> {
        let (seen, plain) = (&self.seen[way.seen], &self.seen[0]);
        let options = Options {
            calibration: way.calibration,
            correct_bias: way.correct_bias,
            skip: skip.clone(),
        };
        if seen.smoothed == 0.0 || skip.is_empty() {
            return Ok(int8::apply(&seen.graph, &seen.observed, &options)?);
        }
        // What only layers left as they are read is not divided; else values are what was observed.
        let (graph, _) = int8::smooth(&plain.graph, &plain.observed, seen.smoothed, skip)?;
        Ok(int8::apply(&graph, &seen.observed, &options)?)
    }

    fn attempt(&self, way: Way, skip: &Skip) -> Result<Candidate> {
        let graph = self.graph(way, skip)?;
        let found = outputs(&graph, &self.data.choose)?;
        let moved = moved(&self.reference, &found);
        let scores = [&self.reference, &found].map(|o| Score::of(o, &self.data.choose));
        let drop = match scores {
            [Some(a), Some(b)] => a.accuracy - b.accuracy,
            _ => moved,
        };
        let seen = &self.seen[way.seen];
        let trial = Trial {
            calibration: name(way.calibration),
            correct_bias: way.correct_bias,
            equalised: seen.equalised,
            smoothed: seen.smoothed,
            drop,
            moved,
        };
        Ok(Candidate {
            graph,
            trial,
            number: 0,
            way,
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
