//! Which columns say something about the labels, before any training.
//!
//! Columns are taken one after the other: always the one with which a cross-fitted forest leaves the
//! fewest bits open on rows it has not seen. It ends where the best column does no better than the same
//! column with its cells shuffled. Columns that say the same are therefore not taken twice, which the
//! information of each alone does not tell.

use bantam_core::order::argsort;

use crate::bits::entropy_bits;
use crate::codes::Coded;
use crate::expected::folds;
use crate::forest::{Binned, Forest, answer, bits};
use crate::null::moments;
use crate::parallel::{map, map_of};
use crate::problem::Problem;
use crate::random::{hash, sample};

/// Most rows.
const MOST_ROWS: usize = 2_000;
/// Most columns that are tried, those with the most information alone.
const MOST_TRIED: usize = 24;
/// Most columns that are taken.
const MOST_TAKEN: usize = 8;
/// Trees of a forest.
const TREES: usize = 12;
/// Shuffles of a column.
const SHUFFLES: usize = 10;

/// A column in the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Its name.
    pub column: String,
    /// Place in the order in which columns were taken, from 1; None for those not taken.
    pub rank: Option<usize>,
    /// Bits a row it saved when it was taken, beside those before it.
    pub saved_bits: Option<f64>,
    /// What the same column saved with its cells shuffled: mean and standard deviation.
    pub shuffled: Option<(f64, f64)>,
    /// Accuracy on rows not seen, with this column and those before it.
    pub accuracy: Option<f64>,
    /// Bits a row that it tells of the label alone, after Miller and Madow's correction; can be below 0.
    pub alone_bits: f64,
}

/// Ranks the columns, those taken first, the others by what they tell alone.
pub(crate) fn ranking(problem: &Problem, seed: u64) -> (Vec<Ranked>, usize) {
    let rows = sample(problem.rows(), MOST_ROWS, seed);
    let problem = problem.bare(&rows);
    let alone: Vec<f64> = map_of(&problem.columns, |c| information(c, &problem));
    let order = argsort(alone.len(), |a, b| alone[b].total_cmp(&alone[a]));
    let ranked = |c: usize| Ranked {
        column: problem.columns[c].name.clone(),
        rank: None,
        saved_bits: None,
        shuffled: None,
        accuracy: None,
        alone_bits: alone[c],
    };
    let taken = match problem.rows() < 20 {
        true => Vec::new(),
        false => take(&problem, &order[..order.len().min(MOST_TRIED)], seed),
    };
    let mut all: Vec<Ranked> = Vec::with_capacity(alone.len());
    for (i, t) in taken.iter().enumerate() {
        all.push(Ranked {
            rank: Some(i + 1),
            saved_bits: Some(t.saved),
            shuffled: Some(t.shuffled),
            accuracy: Some(t.accuracy),
            ..ranked(t.column)
        });
    }
    let rest = order
        .iter()
        .filter(|c| taken.iter().all(|t| t.column != **c));
    all.extend(rest.map(|&c| ranked(c)));
    (all, problem.rows())
}

struct Taken {
    column: usize,
    saved: f64,
    shuffled: (f64, f64),
    accuracy: f64,
}

fn take(problem: &Problem, tried: &[usize], seed: u64) -> Vec<Taken> {
    let binned = Binned::new(problem);
    let folds = folds(problem.rows(), seed);
    let score = |binned: &Binned| {
        let k = binned.classes;
        let (mut loss, mut hits) = (0.0, 0);
        for (held, rest) in &folds {
            let forest = Forest::fit(binned, rest, &problem.labels, TREES, seed);
            let predicted = forest.predict(binned, held);
            loss += bits(&predicted, held, &problem.labels, k);
            let right = predicted.chunks(k).zip(held);
            hits += right
                .filter(|(p, r)| answer(p) == problem.labels[**r as usize])
                .count();
        }
        let n = problem.rows() as f64;
        (loss / n, hits as f64 / n)
    };
    let mut so_far = entropy_bits(&problem.class_counts());
    let mut columns: Vec<usize> = Vec::new();
    let mut taken = Vec::new();
    while taken.len() < MOST_TAKEN {
        let with = |c: usize| [columns.as_slice(), &[c]].concat();
        let left: Vec<usize> = tried
            .iter()
            .copied()
            .filter(|c| !columns.contains(c))
            .collect();
        let scored: Vec<(f64, f64)> = map_of(&left, |&c| {
            score(&binned.with_shuffled(&with(c), usize::MAX, 0))
        });
        let Some(at) = (0..left.len()).min_by(|&a, &b| scored[a].0.total_cmp(&scored[b].0)) else {
            break;
        };
        let (column, (loss, accuracy)) = (left[at], scored[at]);
        let saved = so_far - loss;
        let shuffles: Vec<f64> = map(SHUFFLES, |i| {
            let shuffled = binned.with_shuffled(&with(column), column, hash(seed, i as u64));
            so_far - score(&shuffled).0
        });
        let shuffled = moments(&shuffles);
        // A column without a say makes a forest worse, so what is saved must be more than what the
        // shuffled column saves, and worth more than the noise of that.
        if saved < shuffled.1 || saved - shuffled.0 < 2.0 * shuffled.1 || saved <= 0.0 {
            break;
        }
        so_far = loss;
        columns.push(column);
        taken.push(Taken {
            column,
            saved,
            shuffled,
            accuracy,
        });
    }
    taken
}

/// Information between a column, in at most 32 bins, and the labels, bits a row (Miller, "Note on the
/// bias of information estimates", 1955).
fn information(column: &bantam_data::Column, problem: &Problem) -> f64 {
    let coded = Coded::of(&column.values).coarse(32);
    let (m, k) = (coded.n_values as usize + 1, problem.classes.len());
    let mut joint = vec![0usize; m * k];
    let mut values = vec![0usize; m];
    for (&code, &label) in coded.codes.iter().zip(&problem.labels) {
        joint[code as usize * k + label as usize] += 1;
        values[code as usize] += 1;
    }
    let n = problem.rows() as f64;
    let corrected = |counts: &[usize]| {
        let used = counts.iter().filter(|&&c| c > 0).count() as f64;
        entropy_bits(counts) + (used - 1.0) / (2.0 * n * std::f64::consts::LN_2)
    };
    corrected(&values) + corrected(&problem.class_counts()) - corrected(&joint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    #[test]
    fn takes_what_says_something() {
        let p = rule(4, 700, 6, 5);
        let (found, rows) = on_threads(|| ranking(&p, 1));
        assert_eq!((found.len(), rows), (6, 700));
        let mut first = [found[0].column.as_str(), found[1].column.as_str()];
        first.sort_unstable();
        assert_eq!(first, ["x0", "x1"], "{found:?}");
        assert_eq!(
            (found[0].rank, found[1].rank, found[2].rank),
            (Some(1), Some(2), None),
            "{found:?}"
        );
        assert!(found[1].accuracy.unwrap() > 0.88, "{found:?}");
        assert!(found[..2].iter().all(|c| c.alone_bits > 0.05));
        assert!(
            found[2..].iter().all(|c| c.alone_bits.abs() < 0.03),
            "{found:?}"
        );
    }

    #[test]
    fn takes_nothing_of_coins() {
        let columns = (0..5).map(|c| uniform(c, 500)).collect();
        let (found, _) = ranking(&numbers(columns, &coins(77, 500)), 1);
        assert!(found.iter().all(|c| c.rank.is_none()), "{found:?}");
    }

    /// Two columns that say the same are not taken twice.
    #[test]
    fn a_copy_is_not_taken() {
        let x = uniform(1, 500);
        let labels: Vec<u32> = x.iter().map(|x| u32::from(*x > 0.6)).collect();
        let (found, _) = ranking(&numbers(vec![x.clone(), x, uniform(2, 500)], &labels), 1);
        assert_eq!(
            found.iter().filter(|c| c.rank.is_some()).count(),
            1,
            "{found:?}"
        );
    }
}
