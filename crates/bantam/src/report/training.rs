//! How the network learnt, and what each pruning round cost in accuracy.

use super::plot::{Axis, Plot, Point, Series, draw};
use super::scale::Unit;
use super::table;
use super::text::{Metric, bytes, count, digits, percent, seconds, share, size};
use crate::recipe::Recipe;
use crate::results::{Epoch, Round, RunResult};

/// A loss that falls by more than this factor is drawn on a log axis.
const LOG_FROM: f64 = 50.0;

/// Learning curves of the dense network, the chosen round and the codebook tuning.
pub(super) fn learning(result: &RunResult, metric: Metric) -> String {
    let mut runs: Vec<(&str, String, &[Epoch])> = Vec::new();
    if let Some(dense) = result.rounds.first() {
        runs.push(("dense", "Dense network".to_owned(), &dense.epochs));
    }
    if let Some(round) = chosen(result).filter(|r| result.rounds.first() != Some(r)) {
        let title = format!("Round {}, chosen", round.round);
        runs.push(("chosen", title, &round.epochs));
    }
    runs.push(("tuning", "Codebook tuning".to_owned(), &result.tuning));
    runs.retain(|r| !r.2.is_empty());
    if runs.is_empty() {
        return "<p>No learning curves were recorded.</p>".to_owned();
    }
    let all: Vec<&Epoch> = runs.iter().flat_map(|r| r.2).collect();
    let losses: Vec<f64> = all
        .iter()
        .flat_map(|e| [e.train_loss, e.validation_loss])
        .map(|loss| loss * per_loss(metric))
        .collect();
    let accuracies: Vec<f64> = all.iter().map(|e| e.validation_accuracy).collect();
    let log = wants_log(&losses);
    let mut out = String::from("<div class=\"plots\">");
    for (id, title, epochs) in &runs {
        out += &draw(&loss_plot(id, title, epochs, metric, log, &losses));
        out += &draw(&accuracy_plot(id, title, epochs, metric, &accuracies));
    }
    out += "</div><p class=\"soft\">The plots of one kind have the same vertical axis, so that they can be \
            compared. A training loss far below the validation loss is memorising.";
    let smoothing = Recipe::parse(&result.recipe).map_or(0.0, |r| r.train.label_smoothing);
    if metric.classes && smoothing > 0.0 {
        out += &format!(
            " Training loss includes label smoothing of {}, which validation loss does not.",
            digits(smoothing, 2)
        );
    }
    if result.tuning.is_empty() {
        out += " No codebook tuning was recorded.";
    }
    out + "</p>"
}

/// What a recorded loss is multiplied by: nats are shown as bits, squared errors as they are.
fn per_loss(metric: Metric) -> f64 {
    match metric.classes {
        true => std::f64::consts::LOG2_E,
        false => 1.0,
    }
}

fn wants_log(values: &[f64]) -> bool {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(0.0, f64::max);
    low > 0.0 && high / low > LOG_FROM
}

fn loss_plot(
    id: &str,
    title: &str,
    epochs: &[Epoch],
    metric: Metric,
    log: bool,
    holds: &[f64],
) -> Plot {
    let unit = if metric.classes {
        "bits"
    } else {
        "squared error"
    };
    let points = |value: fn(&Epoch) -> f64| {
        let point = |e: &Epoch| {
            let loss = value(e) * per_loss(metric);
            Point {
                x: e.epoch as f64,
                y: loss,
                says: format!(
                    "epoch {}: {} (learning rate {})",
                    e.epoch,
                    digits(loss, 3),
                    digits(e.learning_rate, 2)
                ),
            }
        };
        epochs.iter().map(point).collect()
    };
    Plot {
        id: format!("f-loss-{id}"),
        title: format!("{title}: loss"),
        note: String::new(),
        x: Axis::new("epoch", Unit::Whole),
        y: Axis {
            log,
            holds: holds.to_vec(),
            ..Axis::new(format!("loss ({unit})"), Unit::Plain)
        },
        series: vec![
            Series {
                name: "training".into(),
                look: 2,
                joined: true,
                points: points(|e| e.train_loss),
            },
            Series {
                name: "validation".into(),
                look: 1,
                joined: true,
                points: points(|e| e.validation_loss),
            },
        ],
        bands: Vec::new(),
        level: None,
        place: None,
    }
}

fn accuracy_plot(id: &str, title: &str, epochs: &[Epoch], metric: Metric, holds: &[f64]) -> Plot {
    let point = |e: &Epoch| Point {
        x: e.epoch as f64,
        y: e.validation_accuracy,
        says: format!(
            "epoch {}: {}",
            e.epoch,
            metric.show(e.validation_accuracy, 0.0)
        ),
    };
    Plot {
        id: format!("f-accuracy-{id}"),
        title: format!("{title}: validation {}", metric.name()),
        note: String::new(),
        x: Axis::new("epoch", Unit::Whole),
        y: Axis {
            holds: holds.to_vec(),
            ..quality_axis(metric)
        },
        series: vec![Series {
            name: "validation".into(),
            look: 1,
            joined: true,
            points: epochs.iter().map(point).collect(),
        }],
        bands: Vec::new(),
        level: None,
        place: None,
    }
}

fn quality_axis(metric: Metric) -> Axis {
    Axis::new(
        metric.title(),
        if metric.classes {
            Unit::Share
        } else {
            Unit::Plain
        },
    )
}

fn chosen(result: &RunResult) -> Option<&Round> {
    result
        .rounds
        .iter()
        .find(|r| r.round == result.chosen_round)
}

/// Accuracy over the rounds against bytes and against weights left, and the rounds as a table.
pub(super) fn trade_off(result: &RunResult, metric: Metric) -> String {
    if result.rounds.is_empty() {
        return "<p>No pruning rounds were recorded.</p>".to_owned();
    }
    let level = allowed(result, metric);
    let bytes_of = |r: &Round| r.bytes as f64;
    let left_of = |r: &Round| r.remaining as f64 / r.total as f64;
    let mut by_size = round_plot(result, metric, &bytes_of, "f-bytes", level.clone());
    by_size.title = format!("{} against size of the file", metric.title());
    by_size.x = Axis {
        log: true,
        ..Axis::new("bytes (each step a factor)", Unit::Bytes)
    };
    by_size.note =
        "Sizes of the rounds are estimates: packed with plain codebooks, before their tuning. \
                    The diamond is the finished file."
            .to_owned();
    by_size.series.push(Series {
        name: "finished file, test".into(),
        look: 3,
        joined: false,
        points: vec![Point {
            x: result.file.bytes as f64,
            y: result.test.accuracy,
            says: format!(
                "finished file: {} at {}",
                metric.show(result.test.accuracy, result.test.standard_error),
                size(result.file.bytes)
            ),
        }],
    });
    let mut by_left = round_plot(result, metric, &left_of, "f-left", level);
    by_left.title = format!("{} against weights left", metric.title());
    by_left.x = Axis {
        log: true,
        ..Axis::new("weights left (each step a factor)", Unit::Share)
    };
    format!(
        "<div class=\"plots\">{}{}</div><p class=\"soft\">The round was chosen on validation; the test line \
         was read afterwards.</p>{}",
        draw(&by_size),
        draw(&by_left),
        rounds(result, metric),
    )
}

/// The lowest validation accuracy that the recipe allows, where the recipe can be read.
fn allowed(result: &RunResult, metric: Metric) -> Option<(f64, String)> {
    let recipe = Recipe::parse(&result.recipe).ok()?;
    let dense = result.rounds.iter().find(|r| r.round == 0)?;
    let drop = dense.validation_accuracy - recipe.budget.max_drop;
    let least = if recipe.budget.min_accuracy > 0.0 {
        drop.max(recipe.budget.min_accuracy)
    } else {
        drop
    };
    Some((
        least,
        format!("allowed on validation: {}", metric.show(least, 0.0)),
    ))
}

fn round_plot(
    result: &RunResult,
    metric: Metric,
    x: &dyn Fn(&Round) -> f64,
    id: &str,
    level: Option<(f64, String)>,
) -> Plot {
    let line = |name: &str, look: usize, value: fn(&Round) -> f64| {
        let point = |r: &Round| Point {
            x: x(r),
            y: value(r),
            says: format!(
                "round {}: {}, {} of weights left, {}",
                r.round,
                metric.show(value(r), 0.0),
                share(r.remaining as u64, r.total as u64),
                size(r.bytes)
            ),
        };
        let points = result.rounds.iter().map(point).collect();
        Series {
            name: name.to_owned(),
            look,
            joined: true,
            points,
        }
    };
    Plot {
        id: id.to_owned(),
        title: String::new(),
        note: String::new(),
        x: Axis::new("", Unit::Plain),
        y: quality_axis(metric),
        series: vec![
            line("validation", 1, |r| r.validation_accuracy),
            line("test", 2, |r| r.test_accuracy),
        ],
        bands: Vec::new(),
        level,
        place: chosen(result).map(|r| (x(r), format!("chosen: round {}", r.round))),
    }
}

fn rounds(result: &RunResult, metric: Metric) -> String {
    let validation = format!("Validation {}", metric.name());
    let test = format!("Test {}", metric.name());
    let heads = [
        "Round",
        "Weights left",
        "Share",
        &validation,
        &test,
        "Bytes",
        "Time",
    ];
    let rows: Vec<_> = result
        .rounds
        .iter()
        .map(|r| {
            let mark = if r.round == result.chosen_round {
                "\u{202f}<b>chosen</b>"
            } else {
                ""
            };
            vec![
                format!("{}{mark}", r.round),
                count(r.remaining as u64),
                match r.total {
                    0 => super::text::NONE.to_owned(),
                    _ => percent(r.remaining as f64 / r.total as f64, 1),
                },
                metric.show(r.validation_accuracy, 0.0),
                metric.show(r.test_accuracy, 0.0),
                bytes(r.bytes),
                seconds(r.seconds),
            ]
        })
        .collect();
    let table = table(
        "figures",
        "Pruning rounds; round 0 is the dense network",
        &heads,
        &rows,
    );
    format!("<details><summary>The rounds as a table</summary>{table}</details>")
}
