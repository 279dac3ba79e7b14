//! The measure stage of a run: what sizes the first network, and that network.

use bantam_measure::{
    Measurement, Options, Problem, Sizing, ThresholdSort, measure as estimate, starting_network,
    study,
};

use crate::prepare::Prepared;
use crate::results::{self, Measured, Sized, ThresholdSorts, Tree};
use crate::road::Measurements;
use crate::study::{self as told, interval};
use crate::{Recipe, Result};

/// Most cells of the training rows for which a run measures all that `bantam measure` does, for its report:
/// about half a second. Beyond, it measures what sizes the network.
const STUDIED_CELLS: usize = 8_000;

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
    let mut options = Options::default();
    options.seed = recipe.seed;
    let (m, study) = estimates(problem, &options)?;
    let inputs = data.sample_shape().iter().product();
    let first = starting_network(&m, inputs, data.outputs(), data.rows()[0]);
    let mut measured = measured(&m, data.left_out.clone());
    measured.study = study;
    Ok(Measurements {
        sized: Some(sized(first)),
        measured: Some(measured),
    })
}

/// What sizes the first network, and the rest where it takes no time to speak of.
fn estimates(
    problem: &Problem,
    options: &Options,
) -> Result<(Measurement, Option<results::Study>)> {
    if problem.rows() * problem.columns.len() > STUDIED_CELLS {
        return Ok((estimate(problem, options)?, None));
    }
    let found = study(problem, options)?;
    let study = told::study(&found);
    Ok((found.measurement, Some(study)))
}

/// The first network, as the results have it.
pub(crate) fn sized(first: Sizing) -> Sized {
    Sized {
        hidden: first.hidden,
        capacity_bits: first.capacity_bits as f64,
        needed_low_bits: first.needed_bits.0,
        needed_high_bits: first.needed_bits.1,
        explanation: first.explanation,
    }
}

/// A measurement, as the results have it.
pub(crate) fn measured(m: &Measurement, left_out: Vec<(String, String)>) -> Measured {
    let permuted = m.tree.permuted.as_ref();
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
        label_bits: m.facts.label_bits,
        best_guess: m.facts.best_guess,
        irreducible_error: m.facts.irreducible_error,
        distinct_rows: m.facts.distinct_rows,
        duplicate_rows: m.facts.duplicate_rows,
        missing_cells: m.facts.missing_cells,
        missing_share: m.facts.missing_share,
        left_out,
        threshold_sort: ThresholdSorts {
            typed: sort(&m.threshold_sort.typed),
            with_identifiers: m.threshold_sort.with_identifiers.as_ref().map(sort),
            compat: m.threshold_sort.compat.as_ref().map(sort),
        },
        tree: Tree {
            memorise: m.tree.memorise,
            leaves: m.tree.leaves,
            correct: m.tree.correct,
            needed: m.tree.needed.splits,
            null: permuted.map_or(0.0, |p| p.mean),
            permuted: interval(permuted),
            null_rows: permuted.map_or(0, |p| p.rows),
            memorise_with_identifiers: m.tree.memorise_with_identifiers,
        },
        tolerance_curve: Vec::new(),
        study: None,
    }
}

/// The figures of a threshold sort.
pub(crate) fn sort(s: &ThresholdSort) -> results::ThresholdSort {
    results::ThresholdSort {
        changes: s.changes,
        correct: s.correct,
        null: s.null,
        permuted: interval(s.permuted.as_ref()),
    }
}
