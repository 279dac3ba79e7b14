//! The measure stage: what the estimators say, as the results have it, and the starting network.

use bantam_measure::{Measurement, Permuted, measure as estimate, starting_network};

use crate::prepare::Prepared;
use crate::results::{Interval, Measured, Sized, ThresholdSort, ThresholdSorts, Tree};
use crate::road::Measurements;
use crate::{Recipe, Result};

/// Hidden units where a number is predicted, for which no capacity is measured yet.
pub(crate) const HIDDEN_FOR_NUMBERS: usize = 32;

/// Measures the training rows of `data`; where a number is predicted there is nothing to say yet.
pub(crate) fn measure(recipe: &Recipe, data: &Prepared) -> Result<Measurements> {
    let Some(problem) = &data.problem else {
        return Ok(Measurements {
            measured: None,
            sized: None,
        });
    };
    let mut options = bantam_measure::Options::default();
    options.seed = recipe.seed;
    let m = estimate(problem, &options)?;
    let inputs = data.sample_shape().iter().product();
    let sized = starting_network(&m, inputs, data.outputs(), data.rows()[0]);
    Ok(Measurements {
        sized: Some(Sized {
            hidden: sized.hidden,
            capacity_bits: sized.capacity_bits as f64,
            needed_low_bits: sized.needed_bits.0,
            needed_high_bits: sized.needed_bits.1,
            explanation: sized.explanation,
        }),
        measured: Some(measured(m, data)),
    })
}

fn measured(m: Measurement, data: &Prepared) -> Measured {
    let sort = &m.threshold_sort.typed;
    Measured {
        rows: m.rows,
        columns: m.columns.len(),
        classes: m.classes.len(),
        class_counts: m
            .classes
            .iter()
            .cloned()
            .zip(m.facts.class_counts.iter().copied())
            .collect(),
        entropy_bits: m.facts.entropy_bits,
        best_guess: m.facts.best_guess,
        irreducible_error: m.facts.irreducible_error,
        missing_cells: m.facts.missing_cells,
        left_out: data.left_out.clone(),
        threshold_sort: ThresholdSorts {
            typed: self::sort(sort),
        },
        tree: Tree {
            memorise: m.tree.memorise,
            leaves: m.tree.leaves,
            needed: m.tree.needed.splits,
            permuted: interval(m.tree.permuted.as_ref()),
        },
    }
}

/// The figures of a threshold sort.
pub(crate) fn sort(sort: &bantam_measure::ThresholdSort) -> ThresholdSort {
    ThresholdSort {
        changes: sort.changes,
        correct: sort.correct,
        null: sort.null,
        permuted: interval(sort.permuted.as_ref()),
    }
}

fn interval(permuted: Option<&Permuted>) -> Interval {
    permuted.map_or_else(Interval::default, |p| Interval {
        mean: p.mean,
        low: p.low,
        high: p.high,
    })
}
