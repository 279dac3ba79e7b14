//! Problems with the same rows and labels and other columns, compared in pairs.

use crate::error::{Error, ErrorKind, Result};
use crate::expected::{Expected, expected};
use crate::figure::{Figure, jackknife};
use crate::method::{Draws, SUBSET, Weighed};
use crate::problem::Problem;
use crate::study::methods;
use crate::threshold::{ThresholdSort, threshold_sort};
use crate::tree::{TreeCapacity, tree_capacity};
use crate::{Options, tree_limits};

/// Orders of the rows over which the code is averaged: it moves by a per cent from one to another.
const ORDERS: u64 = 10;

/// One problem.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The prequential code, bits.
    pub code: Figure,
    /// The decision tree.
    pub tree: TreeCapacity,
    /// The typed threshold sort.
    pub sort: ThresholdSort,
    /// Accuracy on rows not seen.
    pub expected: Expected,
    /// Indices of the problems whose code differs by no more than noise.
    pub same_as: Vec<usize>,
}

/// All problems.
#[derive(Clone, Debug)]
pub struct Compared {
    /// One a problem.
    pub variants: Vec<Variant>,
    /// Spearman's correlation of the codes with the accuracies; None with fewer than 3 problems.
    pub spearman_code: Option<f64>,
    /// The same of the splits of the tree that answers every row.
    pub spearman_tree: Option<f64>,
}

/// Compares problems on the same rows.
///
/// Two codes are the same when the 90 % interval of their difference on the same subsets holds 0.
///
/// Errs when rows or labels differ, or there are fewer than 50 rows.
pub fn compare(problems: &[Problem], options: &Options) -> Result<Compared> {
    let first = problems
        .first()
        .map(|p| p.labels.as_slice())
        .unwrap_or_default();
    if first.len() < 50 {
        let message = format!(
            "expected at least 50 rows to compare, found {}",
            first.len()
        );
        return Err(Error::new(ErrorKind::Rows, message));
    }
    if problems.iter().any(|p| p.labels != first) {
        let message = "expected the same rows and labels in every problem";
        return Err(Error::new(ErrorKind::Rows, message));
    }
    let draws = Draws {
        permutations: options.permutations,
        subsets: options.subsets,
        seed: options.seed,
    };
    let mut codes: Vec<Weighed> = Vec::new();
    let mut variants: Vec<Variant> = Vec::new();
    for problem in problems {
        let mut method = methods(problem, options)
            .into_iter()
            .find(|m| m.name == "prequential code")
            .expect("it is one of the methods");
        method.orders = ORDERS;
        let code = method.weigh(problem, draws);
        let expected = expected(problem, options.seed).expect("there are rows enough");
        variants.push(Variant {
            code: code.figure.clone(),
            tree: tree_capacity(problem, &tree_limits(options)),
            sort: threshold_sort(problem, options.permutations, options.seed),
            expected,
            same_as: Vec::new(),
        });
        codes.push(code);
    }
    for a in 0..codes.len() {
        let same = (0..codes.len()).filter(|&b| b != a && is_same(&codes[a], &codes[b]));
        variants[a].same_as = same.collect();
    }
    let accuracies: Vec<f64> = variants.iter().map(|v| v.expected.accuracy).collect();
    let bits: Vec<f64> = variants.iter().map(|v| v.code.value).collect();
    let splits: Vec<f64> = variants.iter().map(|v| v.tree.memorise as f64).collect();
    Ok(Compared {
        spearman_code: spearman(&bits, &accuracies),
        spearman_tree: spearman(&splits, &accuracies),
        variants,
    })
}

/// Whether the difference of two ratios is within its noise, subset by subset.
fn is_same(a: &Weighed, b: &Weighed) -> bool {
    let (Some(x), Some(y)) = (a.figure.ratio(), b.figure.ratio()) else {
        return true;
    };
    // Shifted, because an interval of a ratio ends at 0 and a difference does not.
    let shift = 100.0;
    let differences: Vec<f64> = a
        .subsets
        .iter()
        .zip(&b.subsets)
        .map(|(a, b)| a - b + shift)
        .collect();
    let interval = jackknife(x - y + shift, &differences, SUBSET);
    interval.is_none_or(|i| i.low <= shift && shift <= i.high)
}

/// Spearman's rank correlation; equal values share their mean rank. None with fewer than 3 values or
/// where one side does not vary.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let n = a.len() as f64;
    let mean = (n - 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    let scale = (sum(&a, &a) * sum(&b, &b)).sqrt();
    (a.len() > 2 && scale > 0.0).then(|| sum(&a, &b) / scale)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |x: &f64| {
        let below = values.iter().filter(|v| *v < x).count() as f64;
        let equal = values.iter().filter(|v| *v == x).count() as f64;
        below + (equal - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlations() {
        let cases: [(&[f64], &[f64], Option<f64>); 5] = [
            (&[1.0, 2.0, 3.0], &[10.0, 20.0, 90.0], Some(1.0)),
            (&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0], Some(-1.0)),
            (&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0], Some(0.6)),
            (&[1.0, 1.0, 1.0], &[3.0, 2.0, 1.0], None),
            (&[1.0, 2.0], &[3.0, 2.0], None),
        ];
        for (a, b, expected) in cases {
            let found = spearman(a, b);
            assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!((found - expected).abs() < 1e-12, "{a:?} {b:?}: {found}");
            }
        }
        // The talk's own table: bits and accuracies of its six tasks.
        let bits = [78.0, 113.0, 81.0, 83.0, 139.0, 375.0];
        let accuracy = [82.86, 74.14, 81.30, 81.93, 68.97, 61.05];
        assert!((spearman(&bits, &accuracy).unwrap() + 0.942_857).abs() < 1e-6);
    }
}
