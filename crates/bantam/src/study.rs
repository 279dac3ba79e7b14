//! What the estimators found, as the results have it, and the words that go with it.
//!
//! An estimate is never sold as a law: a capacity is an upper bound by a method, on these rows; near 1 it
//! is no evidence of structure and not evidence that there is none; large enough to memorise does not
//! mean that a network will overfit.

use bantam_measure::{
    Dimension, Figure, Headline, Interval, Permuted, Point, Progression, Study, Verdict,
};

use crate::measuring::generalization;
use crate::results::{self, Band};

pub(crate) fn study(found: &Study) -> results::Study {
    let coded = found
        .figures
        .iter()
        .find(|f| f.method == "prequential code");
    let entropy = found.measurement.facts.entropy_bits;
    let usable = coded.and_then(|f| {
        let rows = f.permuted.as_ref()?.rows;
        Some(entropy - f.value / rows.max(1) as f64)
    });
    let p = &found.progression;
    results::Study {
        headline: found.headline.as_ref().map(headline),
        methods: found.figures.iter().map(method).collect(),
        projections: found.projection.candidates.iter().map(projection).collect(),
        nearest_neighbour: found.leave_one_out.map(|l| results::NearestNeighbour {
            rows: l.rows,
            error: l.error,
            bayes_error: band(l.bayes),
        }),
        usable_bits_per_row: usable.unwrap_or(0.0).max(0.0),
        progression: p.points.iter().map(point).collect(),
        progression_slope: p.slope,
        progression_slope_interval: p.slope_interval.map(band),
        verdict: found.verdict.words().to_owned(),
        reading: reading(found),
        rows_needed: needed(p),
        expected_accuracy: found.expected.as_ref().map(expected),
        ranking: found.ranking.iter().map(ranked).collect(),
        ranking_rows: found.ranking_rows,
        intrinsic_dimension: dimension(found),
        difficulty: found.difficulty.iter().map(difficulty).collect(),
        difficulty_rows: found.difficulty_rows,
        generalization: generalization(found),
    }
}

pub(crate) fn tolerance_point(p: &bantam_measure::TolerancePoint) -> results::TolerancePoint {
    results::TolerancePoint {
        tolerance: p.tolerance,
        cells: p.cells,
        entropy_bits: p.entropy_bits,
        changes: p.changes,
        null: p.null,
        memorise: p.memorise,
        tree_null: p.tree_null,
        rows: p.rows,
    }
}

fn band(i: Interval) -> Band {
    Band {
        low: i.low,
        high: i.high,
    }
}

/// Mean and interval of draws.
pub(crate) fn interval(permuted: Option<&Permuted>) -> results::Interval {
    permuted.map_or_else(results::Interval::default, |p| results::Interval {
        mean: p.mean,
        low: p.low,
        high: p.high,
    })
}

fn headline(h: &Headline) -> results::Headline {
    results::Headline {
        rho: h.rho,
        interval: h.interval.map(band),
        method: h.method.to_owned(),
        null: interval(Some(&h.null)),
        draws: h.null.draws,
        p: h.p,
        structure: h.structure,
    }
}

fn method(f: &Figure) -> results::Method {
    results::Method {
        method: f.method.to_owned(),
        origin: f.origin.word().to_owned(),
        unit: f.unit.to_owned(),
        rows: f.permuted.as_ref().map_or(0, |p| p.rows),
        value: f.value,
        interval: f.value_interval().map(band),
        null: interval(f.permuted.as_ref()),
        draws: f.permuted.as_ref().map_or(0, |p| p.draws),
        ratio: f.ratio(),
        ratio_interval: f.interval.map(band),
    }
}

fn projection(c: &bantam_measure::Candidate) -> results::Projection {
    results::Projection {
        name: c.name.clone(),
        changes: c.changes,
        correct: c.correct,
        cost: c.cost,
    }
}

fn point(p: &Point) -> results::ProgressionPoint {
    results::ProgressionPoint {
        fraction: p.fraction,
        rows: p.rows,
        bits: p.bits,
        low: p.interval.low,
        high: p.interval.high,
        null: p.null,
        null_low: p.null_interval.low,
        null_high: p.null_interval.high,
        ratio: p.ratio(),
        loss_bits: p.loss_bits,
    }
}

fn needed(p: &Progression) -> Option<results::RowsNeeded> {
    p.needed.map(|n| results::RowsNeeded {
        told: n.told,
        rows: n.rows,
        more: n.rows.map(|rows| (rows - p.rows as f64).max(0.0)),
        low: n.interval.low,
        high: n.interval.high,
        furthest: n.furthest,
        floor_bits: n.floor_bits,
        floor_low: n.floor_interval.low,
        floor_high: n.floor_interval.high,
    })
}

fn expected(e: &bantam_measure::Expected) -> results::ExpectedAccuracy {
    let model = |m: &bantam_measure::ModelScore| results::ModelAccuracy {
        model: m.model.to_owned(),
        accuracy: m.accuracy,
        loss_bits: m.loss_bits,
    };
    results::ExpectedAccuracy {
        point: e.accuracy,
        low: e.interval.low,
        high: e.interval.high,
        model: e.model.to_owned(),
        rows: e.rows,
        folds: e.folds,
        models: e.models.iter().map(model).collect(),
    }
}

fn ranked(r: &bantam_measure::Ranked) -> results::RankedColumn {
    results::RankedColumn {
        column: r.column.clone(),
        rank: r.rank,
        saved_bits: r.saved_bits,
        shuffled_bits: r.shuffled.map(|s| s.0),
        shuffled_deviation: r.shuffled.map(|s| s.1),
        accuracy: r.accuracy,
        alone_bits: r.alone_bits,
    }
}

fn dimension(found: &Study) -> results::IntrinsicDimension {
    let d = &found.dimensions;
    let spread = |d: Option<Dimension>| d.and_then(|d| d.interval).map(band);
    results::IntrinsicDimension {
        two_nn: d.two_nn.map(|d| d.value),
        two_nn_interval: spread(d.two_nn),
        mle: d.mle.map(|d| d.value),
        mle_interval: spread(d.mle),
        rows: d.two_nn.or(d.mle).map_or(0, |d| d.rows),
    }
}

fn difficulty(d: &bantam_measure::Difficulty) -> results::DifficultyMeasure {
    results::DifficultyMeasure {
        name: d.name.to_owned(),
        value: d.value,
        interval: d.interval.map(band),
        meaning: d.meaning.to_owned(),
    }
}

/// The verdict in a sentence or two.
fn reading(found: &Study) -> String {
    let first = match found.verdict {
        Verdict::NoEvidence => {
            "By none of the methods do these labels take fewer decisions than shuffled ones: no evidence \
             of structure in these columns, which is not evidence that there is none."
        }
        Verdict::RuleFound => {
            "The decisions hardly grow with the rows: the columns hold a rule, and these rows show it."
        }
        Verdict::StillLearning => {
            "The columns say something about the target, and more rows would say more."
        }
        Verdict::RuleAndNoise => {
            "The columns say something about the target, and each further row brings about as many \
             decisions as the last: what is added now looks like noise, or rare cases."
        }
        Verdict::NothingToLearn => "All rows have one class: there is nothing to learn.",
    };
    let rows = match (found.verdict, &found.progression.needed) {
        (Verdict::NoEvidence | Verdict::NothingToLearn, _) | (_, None) => String::new(),
        (_, Some(n)) if !n.told => format!(
            " How many rows would be enough cannot be told: the learning curve of a forest fits an end \
             anywhere from {:.2} to {:.2} bits a row, and with it anything from {} rows on.",
            n.floor_interval.low,
            n.floor_interval.high,
            rounded(n.interval.low)
        ),
        (_, Some(n)) => match n.rows {
            Some(rows) if rows <= found.progression.rows as f64 => {
                let sure = match n.interval.high <= found.progression.rows as f64 {
                    true => "",
                    false => ", though its band goes beyond them",
                };
                format!(
                    " By the learning curve of a forest, these rows are enough for nine tenths of what \
                     such rows can bring{sure}."
                )
            }
            Some(rows) => format!(
                " By the learning curve of a forest, about {} rows would bring nine tenths of what such \
                 rows can bring.",
                rounded(rows)
            ),
            None => format!(
                " By the learning curve of a forest, nine tenths of what such rows can bring takes more \
                 than {} rows, which is as far as the curve is extended.",
                rounded(n.furthest)
            ),
        },
    };
    format!("{first}{rows}")
}

/// A number of rows to two digits.
pub(crate) fn rounded(rows: f64) -> String {
    let power = 10f64.powf((rows.max(1.0).log10().floor() - 1.0).max(0.0));
    let whole = ((rows / power).round() * power) as u64;
    let digits = whole.to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}
