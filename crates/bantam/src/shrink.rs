//! A finished network made smaller and faster within a contract: layers in bytes.
//!
//! What may change is measured, not assumed. Ranges of values come from data; of the ways to choose
//! them the one with the best answers on other data is taken; layers that lose too much stay as they
//! are; and what is no faster on this machine, or worse than the contract allows, is not written. The
//! figures reported are those of data that had no part in any choice.

mod data;
mod timing;
mod trials;

use std::collections::BTreeSet;
use std::time::Duration;

use bantam_compress::int8::{self, Calibration};
use bantam_core::{Graph, Tensor, pass};
use serde::Serialize;

pub use data::{Data, read};
use trials::{Candidate, Score, Trials};

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
    /// Share of the ranges of values that went to the weights which read them, channel by channel; 0 where
    /// they were left as they are.
    pub smoothed: f64,
    /// Drop on the data for choosing, as [`Contract::max_drop`] counts it.
    pub drop: f64,
    /// How far outputs move: root mean square, as a share of theirs; of several, the farthest.
    pub moved: f64,
}

/// How far one output moves on the data for the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Name of the output.
    pub output: String,
    /// Root mean square of the differences, as a share of that of the output.
    pub moved: f64,
    /// Mean over samples of the cosine of the angle between the output and what it was.
    pub cosine: f64,
    /// The least of them.
    pub least_cosine: f64,
}

/// What was found and decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Layers that could compute in bytes.
    pub layers: usize,
    /// Those left as they are because they lose too much, worst first.
    pub left: Vec<String>,
    /// Those left as they are because bytes take longer on this machine.
    pub slower: Vec<String>,
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
    /// How far outputs move on the data for the report; of several, the farthest.
    pub moved: f64,
    /// How far each moves.
    pub outputs: Vec<Moved>,
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
        let message = "the network has no convolution, dense layer, product with a stored matrix or \
                       table that could be in bytes";
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
    let slower = leave_slower(&trials, &folded, &mut best, &left, contract, &sample)?;
    let [old, new] = timing::latencies([&folded, &best.graph], &sample)?;
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
    let nothing = layers.len() == left.len() + slower.len();
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
        slower,
        chosen: best.number,
        trials: trials.done,
        samples: data.sizes(),
        before: figures(&scores[0], old, graph),
        after: figures(&scores[1], new, &best.graph),
        drop,
        moved,
        outputs: each_moved(graph, &reference, &found),
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

/// Leaves the layers as they are that take longer in bytes, if the network is faster then and keeps to the
/// contract; returns their names.
fn leave_slower(
    trials: &Trials,
    floats: &Graph,
    best: &mut Candidate,
    left: &[String],
    contract: &Contract,
    sample: &[Tensor],
) -> Result<Vec<String>> {
    let layers = trials.layers(best);
    let skip: Skip = left.iter().cloned().collect();
    let slower = timing::slower(floats, &best.graph, &layers, &skip, sample)?;
    if slower.is_empty() {
        return Ok(slower);
    }
    let all = [left, &slower].concat();
    let Some(found) = trials.with_left(best, &all, contract.max_drop)? else {
        return Ok(Vec::new());
    };
    let [old, new] = timing::latencies([&best.graph, &found.graph], sample)?;
    if new >= old {
        return Ok(Vec::new());
    }
    *best = found;
    Ok(slower)
}

/// How far each output moves, by name.
fn each_moved(graph: &Graph, was: &[Vec<Tensor>], is: &[Vec<Tensor>]) -> Vec<Moved> {
    let names = graph.outputs().iter().map(|&v| graph.value_name(v));
    let moved = names
        .zip(trials::distances(was, is))
        .map(|(name, d)| Moved {
            output: name.to_owned(),
            moved: d.moved,
            cosine: d.cosine,
            least_cosine: d.least_cosine,
        });
    moved.collect()
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
        let reason = "every layer loses more than the contract allows, or is slower in bytes";
        return Err(reason.to_owned());
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
