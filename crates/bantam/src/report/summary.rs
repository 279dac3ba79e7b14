//! The top of the page: what came out, and the road to it.

use super::text::{
    Metric, NONE, bytes, count, counted, escape, name, percent, seconds, size, times,
};
use crate::results::{Rounding, RunResult, Score, Stage};

/// Headline: size, accuracy beside the dense network's own, how many times smaller.
pub(super) fn headline(result: &RunResult, metric: Metric) -> String {
    let file = &result.file;
    let cards = [
        card("File", &bytes(file.bytes), &against_dense(result)),
        card(
            &format!("Test {}", metric.name()),
            &metric.show(result.test.accuracy, result.test.standard_error),
            &spread(&result.test, metric),
        ),
        card(
            "Dense network’s own",
            &metric.show(result.baseline.accuracy, result.baseline.standard_error),
            &spread(&result.baseline, metric),
        ),
        card(
            "Smaller than dense",
            &times(file.dense_bytes, file.bytes),
            &format!("dense: {} as 32-bit floats", bytes(file.dense_bytes)),
        ),
    ];
    format!(
        "<header>\n<p class=\"kicker\">Bantam report</p>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n\
         <div class=\"cards\">{}</div>\n<p>{}</p>\n</header>\n",
        name(&result.name),
        lead(result),
        cards.concat(),
        reading(result, metric),
    )
}

fn card(title: &str, figure: &str, note: &str) -> String {
    format!(
        "<div class=\"card\"><h2>{title}</h2><p class=\"figure\">{figure}</p><p>{note}</p></div>"
    )
}

fn against_dense(result: &RunResult) -> String {
    let other = result.file.deep_compression_bytes;
    if other == 0 {
        return counted(result.file.bytes, "byte", "bytes");
    }
    format!(
        "the same network in Deep Compression’s format: {}",
        bytes(other)
    )
}

fn spread(score: &Score, metric: Metric) -> String {
    let rows = counted(score.n as u64, "row", "rows");
    if !score.standard_error.is_finite() {
        return rows;
    }
    let unit = if metric.classes { " points" } else { "" };
    format!(
        "± {}{unit} standard error, n\u{202f}=\u{202f}{rows}",
        metric.spread(score.standard_error)
    )
}

/// What the network does, in a sentence.
fn lead(result: &RunResult) -> String {
    let [train, validation, test] = result.rows.map(|n| count(n as u64));
    let what = match (result.target_name.trim().is_empty(), result.classes.len()) {
        (true, 0) => "Predicts a number.".to_owned(),
        (false, 0) => format!("Predicts the number {}.", name(&result.target_name)),
        (true, n) => format!("Tells {} apart.", counted(n as u64, "class", "classes")),
        (false, n) => {
            let classes = counted(n as u64, "class", "classes");
            format!("Predicts {}, one of {classes}.", name(&result.target_name))
        }
    };
    format!(
        "{what} Trained on {train} rows, choices made on {validation}, tested on {test} that decided nothing."
    )
}

/// The difference from the dense network, with how far it can be trusted.
fn reading(result: &RunResult, metric: Metric) -> String {
    let (test, dense) = (&result.test, &result.baseline);
    let difference = test.accuracy - dense.accuracy;
    let mut out = String::new();
    if difference.is_finite() {
        out += &format!(
            "Against the dense network it was grown from, test {} changed by {}",
            metric.name(),
            metric.difference(difference),
        );
        out += &doubt(
            difference,
            test.standard_error.hypot(dense.standard_error),
            metric,
        );
    }
    if let Some(measured) = result.measured.as_ref().filter(|_| metric.classes) {
        out += &format!(
            " Always answering the largest class would be right on {} of the rows measured.",
            percent(measured.best_guess, 1)
        );
    }
    out
}

/// How far a difference can be trusted. Both networks answered the same rows, which makes the true
/// error smaller than that of separate rows; how much is not known here, so no verdict is given that
/// the difference is chance.
fn doubt(difference: f64, error: f64, metric: Metric) -> String {
    if !error.is_finite() || error <= 0.0 {
        return ".".to_owned();
    }
    let clear = match difference.abs() > 2.0 * error {
        true => "; this is more than chance",
        false => "",
    };
    format!(
        " (standard error {} on separate rows, less on the same rows as here{clear}).",
        metric.spread(error)
    )
}

/// The road: every stage and where it left the network.
pub(super) fn road(result: &RunResult, metric: Metric) -> String {
    if result.stages.is_empty() {
        return "<p>No stages were recorded.</p>".to_owned();
    }
    let mut out = String::from("<ol class=\"road\">");
    for stage in &result.stages {
        out += &step(stage, result, metric);
    }
    let total: f64 = result.stages.iter().map(|s| s.seconds).sum();
    out += &format!(
        "</ol><p class=\"soft\">Test {} was read after each stage and decided nothing. Before packing, bytes are \
         those of the plain values. All stages together took {}; the largest training step needed {} of \
         buffers and weights.{}</p>",
        metric.name(),
        seconds(total),
        bytes(result.training_memory_bytes),
        rounded(&result.precision),
    );
    out
}

/// How products were made in training, unless as usual.
fn rounded(precision: &Rounding) -> String {
    let operands = &precision.operands;
    match (operands.as_str(), precision.native) {
        ("f32", _) => String::new(),
        (_, true) => {
            format!(" In training, large products were of {operands} numbers, summed in f32.")
        }
        (_, false) => format!(
            " In training, the operands of large products were rounded to {operands} and multiplied as f32."
        ),
    }
}

fn step(stage: &Stage, result: &RunResult, metric: Metric) -> String {
    let error = result.test.standard_error;
    let rows = [
        (
            format!("test {}", metric.name()),
            metric.show(stage.accuracy, error),
        ),
        (
            "validation".to_owned(),
            metric.show(stage.validation_accuracy, error),
        ),
        ("not 0".to_owned(), count(stage.nonzero as u64)),
        (
            "size".to_owned(),
            match stage.bytes {
                0 => NONE.to_owned(),
                n => bytes(n),
            },
        ),
        (
            "dense / this".to_owned(),
            times(result.file.dense_bytes, stage.bytes),
        ),
        ("time".to_owned(), seconds(stage.seconds)),
    ];
    let mut out = format!(
        "<li><h3>{}</h3><p class=\"soft\">{}</p><dl>",
        escape(&stage.name),
        about(&stage.name)
    );
    for (term, value) in rows {
        out += &format!("<div><dt>{term}</dt><dd>{value}</dd></div>");
    }
    out + "</dl></li>"
}

/// What a stage does, for the stages there are.
fn about(stage: &str) -> &'static str {
    match stage {
        "train" => "the dense network",
        "prune" => "weights taken out",
        "quantize" => "few values a layer, tuned",
        "pack" => "one file, entropy-coded",
        _ => "",
    }
}

/// The size of a file for a sentence, with its exact bytes in words.
pub(super) fn exact(n: u64) -> String {
    if n < 1000 {
        return counted(n, "byte", "bytes");
    }
    format!("{} ({})", size(n), counted(n, "byte", "bytes"))
}
