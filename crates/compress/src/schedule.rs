//! Iterative magnitude pruning: prune a share, retrain, repeat (Renda, Frankle, Carbin 2020,
//! algorithms 1 to 3).
//!
//! The state of the loop is nothing but the finished rounds: [`next_round`] is a function of them, so
//! that a caller who keeps the records may stop anywhere and go on. Training is the caller's, and so
//! are seeds; the test data are never seen here.

use bantam_core::{Graph, Weight};

use crate::prune::{Magnitude, Sparsity, prune, rewind, same_structure};
use crate::{Error, ErrorKind, Result};

/// What retraining starts from and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewinding {
    /// Trained weights, the whole learning-rate schedule again: the best curve in the paper.
    LearningRate,
    /// The weights of the given graph, the whole schedule again: the lottery ticket.
    Weight,
    /// Trained weights, a short training at the last learning rate.
    FineTune,
}

/// How a round is to be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrain {
    /// As the dense network was: the whole schedule with a fresh optimizer.
    Full,
    /// Fine-tuning at the last learning rate.
    FineTune,
}

/// Options of the loop.
#[derive(Clone, Debug, PartialEq)]
pub struct IterativeOptions {
    /// What each round removes.
    pub magnitude: Magnitude,
    /// What retraining starts from.
    pub rewinding: Rewinding,
    /// Most rounds after the dense one.
    pub max_rounds: usize,
    /// No round goes below this density of the prunable weights, in `[0, 1]`.
    pub min_density: f64,
    /// Most that the validation accuracy may fall below that of the dense round, in `[0, 1]`.
    pub max_drop: f64,
    /// Rounds that still follow the first one that falls too far: curves are not monotone. A round
    /// within [`IterativeOptions::max_drop`] starts the count again.
    pub patience_rounds: usize,
}

impl Default for IterativeOptions {
    /// 20 % a round over all layers with learning-rate rewinding, at most 30 rounds, to 0.1 % of the
    /// weights, three rounds after the accuracy has fallen by half a point.
    fn default() -> IterativeOptions {
        IterativeOptions {
            magnitude: Magnitude::default(),
            rewinding: Rewinding::LearningRate,
            max_rounds: 30,
            min_density: 0.001,
            max_drop: 0.005,
            patience_rounds: 3,
        }
    }
}

/// A round to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundRequest {
    /// 0 is the dense network.
    pub index: usize,
    /// What to train: masks and the values that training starts from.
    pub graph: Graph,
    /// How to train it.
    pub retrain: Retrain,
}

/// What training made of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundResult {
    /// The trained graph, with the masks of the request.
    pub graph: Graph,
    /// Share of the validation examples that are right.
    pub validation_accuracy: f64,
    /// Mean loss over the validation examples.
    pub validation_loss: f64,
}

/// A finished round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundRecord {
    /// 0 is the dense network.
    pub index: usize,
    /// The trained graph.
    pub graph: Graph,
    /// Share of the prunable weights that remain.
    pub density: f64,
    /// Share of the validation examples that are right.
    pub validation_accuracy: f64,
    /// Mean loss over the validation examples.
    pub validation_loss: f64,
}

impl RoundRequest {
    /// The record of this round. Errs when the trained graph has another structure or other masks
    /// than the one that was to be trained.
    pub fn finish(&self, result: RoundResult) -> Result<RoundRecord> {
        let wrong = |message: String| {
            let place = format!("round {}", self.index);
            Error::new(ErrorKind::Callback, message).at(place)
        };
        same_structure(&self.graph, &result.graph).map_err(|e| wrong(e.to_string()))?;
        let pairs = self
            .graph
            .parameters()
            .iter()
            .zip(result.graph.parameters());
        for (before, after) in pairs {
            let Weight::Masked(mask) = &before.weight else {
                continue;
            };
            let kept = matches!(&after.weight, Weight::Masked(m) if m.keep() == mask.keep());
            if !kept {
                let name = self.graph.value_name(before.value);
                return Err(wrong(format!("training changed the mask of {name:?}")));
            }
        }
        Ok(RoundRecord {
            index: self.index,
            density: Sparsity::of(&result.graph).density(),
            graph: result.graph,
            validation_accuracy: result.validation_accuracy,
            validation_loss: result.validation_loss,
        })
    }
}

/// The round that follows the finished ones, or `None` when the loop is over.
///
/// `initial` is the network that round 0 trains; weight rewinding goes back to its values, so for a
/// rewind to iteration k it is the network at iteration k. A caller with a trained network gives it
/// as the record of round 0. The loop is over after [`IterativeOptions::max_rounds`], before the
/// density would fall below [`IterativeOptions::min_density`], when the accuracy has fallen for
/// longer than [`IterativeOptions::patience_rounds`], and when nothing is left to remove.
///
/// Errs on options out of range, on records that are not rounds 0, 1, … of this network, and as
/// [`prune()`].
pub fn next_round(
    initial: &Graph,
    finished: &[RoundRecord],
    options: &IterativeOptions,
) -> Result<Option<RoundRequest>> {
    check(initial, finished, options)?;
    let (Some(dense), Some(last)) = (finished.first(), finished.last()) else {
        return Ok(Some(RoundRequest {
            index: 0,
            graph: initial.clone(),
            retrain: Retrain::Full,
        }));
    };
    let within = |r: &&RoundRecord| {
        is_within(
            r.validation_accuracy,
            options.max_drop,
            dense.validation_accuracy,
        )
    };
    let n_fallen = finished.iter().rev().take_while(|r| !within(r)).count();
    if last.index >= options.max_rounds || n_fallen > options.patience_rounds {
        return Ok(None);
    }
    let pruned = prune(&last.graph, &options.magnitude)?;
    let (before, after) = (Sparsity::of(&last.graph), Sparsity::of(&pruned));
    if after.remaining() == before.remaining() || after.density() < options.min_density {
        return Ok(None);
    }
    let (graph, retrain) = match options.rewinding {
        Rewinding::LearningRate => (pruned, Retrain::Full),
        Rewinding::Weight => (rewind(&pruned, initial)?, Retrain::Full),
        Rewinding::FineTune => (pruned, Retrain::FineTune),
    };
    Ok(Some(RoundRequest {
        index: last.index + 1,
        graph,
        retrain,
    }))
}

/// Slack for the rounding of decimal accuracies, far below one example in any data set.
const ACCURACY_SLACK: f64 = 1e-12;

fn is_within(accuracy: f64, max_drop: f64, baseline: f64) -> bool {
    accuracy >= baseline - max_drop - ACCURACY_SLACK
}

fn check(initial: &Graph, finished: &[RoundRecord], options: &IterativeOptions) -> Result<()> {
    for (name, value) in [
        ("min_density", options.min_density),
        ("max_drop", options.max_drop),
    ] {
        if !(0.0..=1.0).contains(&value) {
            let message = format!("{name}: expected 0 to 1, found {value}");
            return Err(Error::new(ErrorKind::Option, message));
        }
    }
    for (expected, record) in finished.iter().enumerate() {
        if record.index != expected {
            let message = format!(
                "expected the record of round {expected}, found {}",
                record.index
            );
            return Err(Error::new(ErrorKind::Structure, message));
        }
        same_structure(initial, &record.graph).map_err(|e| e.at(format!("round {expected}")))?;
    }
    Ok(())
}

/// Runs the loop to its end and returns the records of all rounds, `finished` ones first.
///
/// `train` trains one round. Whatever it does, the same results lead to the same requests, so a
/// caller who keeps the result of each round (see [`RoundRequest::finish`]) goes on where it stopped.
/// Errs when `train` fails (its error is the source), and as [`next_round`] and
/// [`RoundRequest::finish`].
pub fn iterate<E>(
    initial: &Graph,
    finished: Vec<RoundRecord>,
    options: &IterativeOptions,
    train: &mut dyn FnMut(&RoundRequest) -> std::result::Result<RoundResult, E>,
) -> Result<Vec<RoundRecord>>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut records = finished;
    while let Some(request) = next_round(initial, &records, options)? {
        let result = train(&request).map_err(|e| {
            Error::callback("training failed", e).at(format!("round {}", request.index))
        })?;
        records.push(request.finish(result)?);
    }
    Ok(records)
}

/// Index into `records` of the sparsest round whose validation accuracy is at least
/// `baseline - max_drop`; of equally sparse ones the most accurate, then the earliest. `None` when no
/// round is that accurate.
pub fn choose(records: &[RoundRecord], max_drop: f64, baseline: f64) -> Option<usize> {
    let good = records.iter().enumerate();
    let good = good.filter(|(_, r)| is_within(r.validation_accuracy, max_drop, baseline));
    let best = good.min_by(|(_, a), (_, b)| {
        let density = a.density.total_cmp(&b.density);
        density.then(b.validation_accuracy.total_cmp(&a.validation_accuracy))
    });
    best.map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, mlp, values};

    fn initial() -> Graph {
        mlp(
            &[10, 8, 4],
            |l| Noise(l as u64).take([80, 32][l]),
            |l| vec![0.0; [8, 4][l]],
        )
    }

    /// Doubles all weights, with a given accuracy per round.
    fn trainer(
        accuracies: Vec<f64>,
    ) -> impl FnMut(&RoundRequest) -> std::result::Result<RoundResult, String> {
        move |request| {
            let graph = request.graph.map_weights(|_, p| {
                let doubled = p
                    .weight
                    .tensor()
                    .values::<f32>()?
                    .iter()
                    .map(|v| 2.0 * v)
                    .collect();
                let t = bantam_core::Tensor::new::<f32>(p.weight.shape(), doubled)?;
                Ok(Some(match &p.weight {
                    Weight::Masked(m) => {
                        Weight::Masked(bantam_core::Masked::new(&t, m.keep().to_vec())?)
                    }
                    _ => Weight::Dense(t),
                }))
            });
            Ok(RoundResult {
                graph: graph.map_err(|e| e.to_string())?,
                validation_accuracy: *accuracies.get(request.index).unwrap_or(&0.99),
                validation_loss: 0.1,
            })
        }
    }

    fn run(accuracies: &[f64], options: &IterativeOptions) -> Vec<RoundRecord> {
        iterate(
            &initial(),
            Vec::new(),
            options,
            &mut trainer(accuracies.to_vec()),
        )
        .unwrap()
    }

    #[test]
    fn when_it_stops() {
        let base = IterativeOptions {
            max_drop: 0.01,
            patience_rounds: 2,
            ..IterativeOptions::default()
        };
        let (good, bad) = (0.985, 0.9);
        let few = IterativeOptions {
            max_rounds: 3,
            ..base.clone()
        };
        let dense = IterativeOptions {
            max_rounds: 0,
            ..base.clone()
        };
        let half = IterativeOptions {
            min_density: 0.5,
            ..base.clone()
        };
        let nothing = IterativeOptions {
            magnitude: Magnitude {
                fraction: 0.0,
                ..Magnitude::default()
            },
            ..base.clone()
        };
        let hasty = IterativeOptions {
            patience_rounds: 0,
            ..base.clone()
        };
        let all = IterativeOptions {
            min_density: 0.0,
            ..base.clone()
        };
        for (name, accuracies, options, expected) in [
            ("rounds", vec![0.99], few, 4),
            ("dense only", vec![0.99], dense, 1),
            // 112 weights: 0.8^3 is 51 %, the fourth round would be 41 %.
            ("density", vec![0.99], half, 4),
            ("nothing to remove", vec![0.99], nothing, 1),
            (
                "patience",
                vec![0.99, good, bad, bad, bad, bad],
                base.clone(),
                5,
            ),
            (
                "a blip",
                vec![0.99, bad, bad, good, bad, bad, bad, bad],
                base.clone(),
                7,
            ),
            ("no patience", vec![0.99, good, bad, bad], hasty, 3),
            (
                "not a number",
                vec![0.99, f64::NAN, f64::NAN, f64::NAN, good],
                base,
                4,
            ),
            // Rounding to the nearest: 20 % of 2 is nothing.
            ("down to two weights", vec![0.99], all, 18),
        ] {
            let records = run(&accuracies, &options);
            assert_eq!(
                records.len(),
                expected,
                "{name}: {:?}",
                records.last().unwrap().density
            );
            assert!(
                records.windows(2).all(|r| r[1].density < r[0].density),
                "{name}"
            );
        }
    }

    #[test]
    fn what_retraining_starts_from() {
        let first = values(&initial(), "fc0.weight");
        for (rewinding, factor, retrain) in [
            (Rewinding::LearningRate, 4.0, Retrain::Full),
            (Rewinding::Weight, 1.0, Retrain::Full),
            (Rewinding::FineTune, 4.0, Retrain::FineTune),
        ] {
            let options = IterativeOptions {
                rewinding,
                max_rounds: 1,
                ..IterativeOptions::default()
            };
            let two = run(&[0.9, 0.9], &options);
            let options = IterativeOptions {
                max_rounds: 2,
                ..options
            };
            let request = next_round(&initial(), &two, &options).unwrap().unwrap();
            assert_eq!(
                (request.index, request.retrain),
                (2, retrain),
                "{rewinding:?}"
            );
            let start = values(&request.graph, "fc0.weight");
            for (s, f) in start.iter().zip(&first) {
                assert!(*s == 0.0 || *s == factor * f, "{rewinding:?}: {s} from {f}");
            }
        }
    }

    #[test]
    fn resumes_after_any_round() {
        let accuracies = [0.99, 0.99, 0.98, 0.97, 0.99, 0.9];
        for rewinding in [
            Rewinding::LearningRate,
            Rewinding::Weight,
            Rewinding::FineTune,
        ] {
            let options = IterativeOptions {
                rewinding,
                max_rounds: 6,
                ..IterativeOptions::default()
            };
            let whole = run(&accuracies, &options);
            for done in 0..=whole.len() {
                let finished = whole[..done].to_vec();
                let mut train = trainer(accuracies.to_vec());
                let resumed = iterate(&initial(), finished, &options, &mut train).unwrap();
                assert_eq!(resumed, whole, "{rewinding:?} after {done} rounds");
            }
        }
    }

    #[test]
    fn refusals() {
        let options = IterativeOptions {
            max_rounds: 2,
            ..IterativeOptions::default()
        };
        let records = run(&[0.99], &options);
        let kind = |finished: &[RoundRecord], options: &IterativeOptions| {
            next_round(&initial(), finished, options)
                .unwrap_err()
                .kind()
        };
        let bad = IterativeOptions {
            max_drop: -0.1,
            ..options.clone()
        };
        assert_eq!(kind(&[], &bad), ErrorKind::Option);
        assert_eq!(kind(&records[1..], &options), ErrorKind::Structure);

        let mut failing = |_: &RoundRequest| Err::<RoundResult, _>("no memory");
        let e = iterate(&initial(), records[..2].to_vec(), &options, &mut failing).unwrap_err();
        assert_eq!(
            (e.kind(), e.place()),
            (ErrorKind::Callback, Some("round 2"))
        );

        // A trainer that brings pruned weights back.
        let mut careless = |_: &RoundRequest| {
            let (validation_accuracy, validation_loss) = (0.99, 0.1);
            Ok::<_, String>(RoundResult {
                graph: initial(),
                validation_accuracy,
                validation_loss,
            })
        };
        let e = iterate(&initial(), Vec::new(), &options, &mut careless).unwrap_err();
        assert_eq!(
            (e.kind(), e.place()),
            (ErrorKind::Callback, Some("round 1"))
        );
    }

    #[test]
    fn the_sparsest_good_round_is_chosen() {
        let record = |index, density, validation_accuracy| RoundRecord {
            index,
            graph: initial(),
            density,
            validation_accuracy,
            validation_loss: 0.0,
        };
        let records = [
            record(0, 1.0, 0.985),
            record(1, 0.8, 0.97),
            record(2, 0.64, 0.98),
            record(3, 0.64, 0.981),
            record(4, 0.5, 0.9),
            record(5, 0.4, f64::NAN),
        ];
        for (max_drop, baseline, expected) in [
            (0.005, 0.985, Some(3)),
            (0.0, 0.985, Some(0)),
            (0.0, 0.99, None),
            (0.1, 0.985, Some(4)),
            (1.0, 0.985, Some(4)),
        ] {
            assert_eq!(
                choose(&records, max_drop, baseline),
                expected,
                "{max_drop} {baseline}"
            );
        }
        assert_eq!(choose(&[], 1.0, 0.0), None);
    }
}
