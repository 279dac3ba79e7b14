//! A finished network made smaller and faster within a contract: layers in bytes.
//!
//! What may change is measured, not assumed. Ranges of values come from data; of the ways to choose
//! them the one with the best answers on other data is taken; layers that lose too much stay as they
//! are; and what is no faster on this machine, or worse than the contract allows, is not written. The
//! figures reported are those of data that had no part in any choice.

mod data;
mod trials;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bantam_compress::int8::{self, Calibration};
use bantam_core::{Graph, Tensor, pass};
use bantam_runtime::{Choices, Executor, Plan};
use serde::Serialize;

pub use data::{Data, read};
use trials::{Score, Trials};

use crate::watch::Observer;
use crate::{Error, ErrorKind, Result};

/// What the network must still do, and how it is found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contract {
    /// Most that the accuracy may fall by (0.01 is one point in a hundred); where answers cannot be
    /// scored, most that the outputs may move: root mean square, as a share of theirs.
    pub max_drop: f64,
    /// Most time that one answer may take, on one thread.
    pub max_latency: Option<Duration>,
}

/// Speed and quality of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Share of right answers on the data for the report; absent where they cannot be scored.
    pub accuracy: Option<f64>,
    /// Standard error of that share.
    pub standard_error: Option<f64>,
    /// Median time of one answer, in microseconds, on one thread.
    pub latency_us: f64,
    /// Bytes of the stored weights, before any coding.
    pub weight_bytes: usize,
}

/// One way to choose the numbers that bytes stand for, and how it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// `min-max`, `percentile` or `entropy`.
    pub calibration: &'static str,
    /// Whether biases were corrected.
    pub correct_bias: bool,
    /// Whether channels were equalised before.
    pub equalised: bool,
    /// Drop on the data for choosing, as [`Contract::max_drop`] counts it.
    pub drop: f64,
    /// How far outputs move: root mean square, as a share of theirs.
    pub moved: f64,
}

/// What was found and decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Layers that could compute in bytes.
    pub layers: usize,
    /// Those left as they are, worst first.
    pub left: Vec<String>,
    /// What was tried, in order.
    pub trials: Vec<Trial>,
    /// Which of them was taken.
    pub chosen: usize,
    /// Samples for ranges, for choosing and for the report.
    pub samples: [usize; 3],
    /// The network as it was.
    pub before: Figures,
    /// The network in bytes.
    pub after: Figures,
    /// Drop on the data for the report.
    pub drop: f64,
    /// How far outputs move on the data for the report.
    pub moved: f64,
    /// Whether the network in bytes keeps the contract and is faster.
    pub taken: bool,
    /// Why, in words.
    pub reason: String,
    /// What the user should know about the data.
    pub notices: Vec<String>,
}

/// Puts layers of `graph` into bytes. Returns the new network, or the old one where the contract cannot
/// be kept or nothing is won, and the report that says which and why.
///
/// Errs when the network has no layers that could be, or does not run on the data.
pub fn shrink(
    graph: &Graph,
    data: &Data,
    contract: &Contract,
    observer: &mut dyn Observer,
) -> Result<(Graph, Report)> {
    observer.stage("Fold", 1, 4);
    let folded = pass::simplify(graph)?;
    let layers = int8::layers(&folded);
    if layers.is_empty() {
        let message = "the network has no convolution, dense layer or product with a stored matrix \
                       that could compute in bytes";
        return Err(Error::new(ErrorKind::Model, message));
    }
    let (reference, same) = (trials::outputs(graph, &data.report)?, &data.report);
    let parity = trials::moved(&reference, &trials::outputs(&folded, same)?);
    observer.note(&format!("folded: outputs move by {parity:.1e} of theirs"));

    observer.stage("Observe", 2, 4);
    let mut trials = Trials::new(&folded, data, observer)?;
    observer.stage("Choose", 3, 4);
    let (mut best, left) = trials.choose(contract.max_drop, observer)?;

    observer.stage("Measure", 4, 4);
    let sample = data
        .one()
        .ok_or_else(|| Error::new(ErrorKind::Data, "expected at least one sample, found none"))?;
    let [old, new] = latencies([&folded, &best.graph], &sample)?;
    let found = trials::outputs(&best.graph, same)?;
    let scores = [
        Score::of(&reference, &data.report),
        Score::of(&found, &data.report),
    ];
    let moved = trials::moved(&reference, &found);
    let drop = match (&scores[0], &scores[1]) {
        (Some(a), Some(b)) => a.accuracy - b.accuracy,
        _ => moved,
    };
    observer.note(&format!("in bytes: outputs move by {moved:.1e} of theirs"));
    let lost = match &scores[0] {
        Some(_) => best.trial.drop,
        None => best.trial.drop.max(moved),
    };
    let nothing = layers.len() == left.len();
    let verdict = verdict(contract, lost, old, new, nothing);
    let figures = |score: &Option<Score>, latency: f64, graph: &Graph| Figures {
        accuracy: score.as_ref().map(|s| s.accuracy),
        standard_error: score.as_ref().map(|s| s.standard_error),
        latency_us: latency,
        weight_bytes: weight_bytes(graph),
    };
    let report = Report {
        layers: layers.len(),
        left,
        chosen: best.number,
        trials: trials.done,
        samples: data.sizes(),
        before: figures(&scores[0], old, graph),
        after: figures(&scores[1], new, &best.graph),
        drop,
        moved,
        taken: verdict.is_ok(),
        reason: match &verdict {
            Ok(text) | Err(text) => text.clone(),
        },
        notices: data.notices.clone(),
    };
    if verdict.is_err() {
        best.graph = graph.clone();
    }
    Ok((best.graph, report))
}

/// Whether the network in bytes is to be taken, and why.
fn verdict(
    contract: &Contract,
    drop: f64,
    old: f64,
    new: f64,
    nothing_left: bool,
) -> std::result::Result<String, String> {
    if nothing_left {
        return Err("every layer loses more than the contract allows".to_owned());
    }
    if drop > contract.max_drop {
        let (drop, most) = (100.0 * drop, 100.0 * contract.max_drop);
        return Err(format!("it loses {drop:.2} %, and {most:.2} % are allowed"));
    }
    let limit = contract.max_latency.map(|l| l.as_secs_f64() * 1e6);
    if let Some(limit) = limit.filter(|&l| new > l) {
        return Err(format!(
            "an answer takes {new:.0} us, and {limit:.0} us are allowed"
        ));
    }
    if new > old {
        return Err(format!(
            "it is slower on this machine: {new:.1} us instead of {old:.1} us"
        ));
    }
    Ok(format!(
        "it is {:.1} times as fast, and within the contract",
        old / new
    ))
}

/// Median times of one answer of two networks on one thread, in microseconds, in turn so that a busy
/// moment does not fall on one of them.
fn latencies(graphs: [&Graph; 2], sample: &[Tensor]) -> Result<[f64; 2]> {
    const TIME: Duration = Duration::from_millis(600);
    const LEAST_ROUNDS: usize = 15;
    let types: Vec<_> = sample.iter().map(trials::type_of).collect();
    let inputs: Vec<&Tensor> = sample.iter().collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    pool.install(|| {
        let mut choices = Choices::default();
        let mut executors = Vec::new();
        for graph in graphs {
            let mut plan = Plan::new(graph, &types)?;
            plan.tune(&mut choices, true);
            executors.push(Executor::new(plan));
        }
        let (start, mut times) = (Instant::now(), [Vec::new(), Vec::new()]);
        while times[0].len() < LEAST_ROUNDS || start.elapsed() < TIME {
            for (executor, times) in executors.iter_mut().zip(&mut times) {
                let start = Instant::now();
                executor.run(&inputs)?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok(times.map(|mut t| {
            t.sort_by(f64::total_cmp);
            t[t.len() / 2]
        }))
    })
}

/// Bytes of the stored weights as they are in memory.
fn weight_bytes(graph: &Graph) -> usize {
    let bytes = |p: &bantam_core::graph::Parameter| p.weight.len() * p.weight.dtype().size_bytes();
    graph.parameters().iter().map(bytes).sum()
}

/// The name of a way to choose ranges.
fn name(calibration: Calibration) -> &'static str {
    match calibration {
        Calibration::MinMax => "min-max",
        Calibration::Percentile(_) => "percentile",
        Calibration::Entropy => "entropy",
    }
}

/// A set of layers.
type Skip = BTreeSet<String>;
