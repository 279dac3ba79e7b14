//! Threshold sort: the columns of a row are added, rows are sorted by the sum, and the label changes
//! along the order are counted.
//!
//! The count is what a table of thresholds on that one sum must hold to give every group of equal
//! sums its majority label. It is an upper bound for this projection and not a tight one: a ratio to
//! the shuffled labels near 1 is no evidence that there is no structure, only that this sum does not
//! show it. Rows collide on the sum, so the count is to be read together with how many rows it
//! has right.

use rayon::prelude::*;

use crate::bits::{exception_bits, null_changes};
use crate::codes::sortable;
use crate::method::Prepared;
use crate::null::{Permuted, permute};
use crate::partial::{Partial, Shuffles};
use crate::problem::Problem;
use crate::ruler::{FIT_ROWS, Ruler};
use crate::runs::{Counted, count_sorted};
use crate::sorted::{self, first, group_sizes, itself, sort_by_key};

/// How the cells of a row become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Own, the default. Numbers are their rank among the rows, or in between 4,096 quantiles of
    /// 100,000 rows where there are more of them; a column with two values is 0 and 1; categories are
    /// ranked by their frequency; a missing number is 1/2 and its column counts 1 more, a missing
    /// category is a category.
    Typed,
    /// As in published figures: numbers as they are, other texts by their CRC-32.
    Compat,
}

/// Result of a threshold sort. `changes`, `correct` and the nulls belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdSort {
    /// How rows became numbers.
    pub method: Method,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns that were added.
    pub columns: usize,
    /// Changes of label between neighbouring groups of equal sums.
    pub changes: usize,
    /// Groups of equal sums.
    pub groups: usize,
    /// Rows that have the majority label of their group.
    pub correct: usize,
    /// Changes expected of a random order, `n (1 - sum p_c^2)`.
    pub null: f64,
    /// `changes / null`; none with one class.
    pub ratio: Option<f64>,
    /// The same sort with shuffled labels; none when no draws were asked for.
    pub permuted: Option<Permuted>,
    /// What the changes mean in bits.
    pub readings: Readings,
}

/// Readings of `T` label changes over `d` columns, in bits. They are different quantities and not
/// to be mixed; the last four go from optimistic to pessimistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    /// A table of thresholds: `T`.
    pub decisions: u64,
    /// One hidden layer that uses its units perfectly, `h = ceil(log2(T + 1))`:
    /// `h (d + 1) + h + 1`. Optimistic, without a lower-bound proof. 0 when `T` is 0.
    pub nn_expected: u64,
    /// One hidden unit a change: `T (d + 1) + T + 1`. 0 when `T` is 0.
    pub nn_max: u64,
    /// As the tool of 2018 prints the former: `ceil(log2(T + 1)) d`.
    pub paper_expected: u64,
    /// As the tool of 2018 prints the latter: `T (d + 1) + T`.
    pub paper_max: u64,
}

impl Readings {
    /// Readings of `changes` over `columns`.
    pub fn of(changes: usize, columns: usize) -> Readings {
        let (t, d) = (changes as u64, columns as u64);
        let h = u64::from((t + 1).next_power_of_two().trailing_zeros());
        let bias = u64::from(t > 0);
        Readings {
            decisions: t,
            nn_expected: h * (d + 1) + h + bias,
            nn_max: t * (d + 1) + t + bias,
            paper_expected: h * d,
            paper_max: t * (d + 1) + t,
        }
    }
}

/// Threshold sort of the typed columns of a problem, with `draws` shuffles of the labels.
///
/// The sums are integers, so the result depends neither on the order of rows or columns nor on
/// rounding.
pub fn threshold_sort(problem: &Problem, draws: usize, seed: u64) -> ThresholdSort {
    if problem.rows() > FIT_ROWS {
        let ruler = Ruler::fit(&problem.columns, seed);
        let partial = Partial::of(problem, ruler, "");
        return partial
            .threshold_sort(draws, seed)
            .expect("what is in memory can be read");
    }
    let keys = typed_sums(problem);
    let counts = problem.class_counts();
    let columns = problem.columns.len();
    sort_keys(
        Method::Typed,
        keys,
        &problem.labels,
        &counts,
        columns,
        (draws, seed),
    )
}

/// Sorts and counts. `draws`: number and seed.
pub(crate) fn sort_keys(
    method: Method,
    keys: Vec<u64>,
    labels: &[u32],
    class_counts: &[usize],
    columns: usize,
    draws: (usize, u64),
) -> ThresholdSort {
    let finish = |counted: Counted, permuted: Option<Permuted>| {
        let null = null_changes(class_counts);
        let changes = counted.changes as usize;
        ThresholdSort {
            method,
            rows: labels.len(),
            columns,
            changes,
            groups: counted.groups as usize,
            correct: counted.correct as usize,
            null,
            ratio: (null > 0.0).then(|| changes as f64 / null),
            permuted,
            readings: Readings::of(changes, columns),
        }
    };
    if labels.len() > FIT_ROWS {
        let (counted, draws) = match pack(keys, labels, class_counts.len()) {
            Ok((rows, bits)) => {
                let class = |row: &u64| (row & ((1 << bits) - 1)) as u32;
                sort_rows(rows, itself, |r| r >> bits, class, class_counts, draws)
            }
            Err(keys) => {
                let rows = keys.into_par_iter().zip(labels);
                let rows: Vec<(u64, u32)> = rows.map(|(k, &l)| (k, l)).collect();
                sort_rows(rows, first, first, |r| r.1, class_counts, draws)
            }
        };
        return finish(
            counted,
            Permuted::of(labels.len(), counted.changes as f64, &draws),
        );
    }
    let order: Vec<(u64, u32)> = keys.into_iter().zip(0..).collect();
    let order = sort_by_key(order, first);
    let count = |labels: &[u32]| {
        let rows = order.iter().map(|&(key, row)| (key, labels[row as usize]));
        count_sorted(rows, class_counts.len())
    };
    let counted = count(labels);
    let changes = counted.changes as usize;
    let permuted = permute(labels, changes as f64, draws.0, draws.1, |shuffled| {
        count(shuffled).changes as f64
    });
    finish(counted, permuted)
}

/// Rows as one number each, in place, the label in the lowest bits, of which there are the second; the keys
/// again where key and label do not fit into 64 bits. Labels go with their keys because to fetch them one
/// by one would take longer than the sort, and a number is half of what a pair takes.
fn pack(
    mut keys: Vec<u64>,
    labels: &[u32],
    classes: usize,
) -> std::result::Result<(Vec<u64>, u32), Vec<u64>> {
    let (low, high) = sorted::ends(&keys, |&key| key);
    let bits = classes.next_power_of_two().trailing_zeros();
    if high.saturating_sub(low).leading_zeros() < bits {
        return Err(keys);
    }
    keys.par_iter_mut()
        .zip(labels)
        .for_each(|(key, &label)| *key = (*key - low) << bits | u64::from(label));
    Ok((keys, bits))
}

/// Sorts rows by `order`, counts groups of one `key`, and draws changes of shuffled labels.
fn sort_rows<T: Copy + Ord + Default + Send + Sync>(
    rows: Vec<T>,
    order: impl Fn(&T) -> u64 + Sync + Copy,
    key: impl Fn(&T) -> u64 + Sync + Copy,
    class: impl Fn(&T) -> u32 + Sync,
    class_counts: &[usize],
    draws: (usize, u64),
) -> (Counted, Vec<f64>) {
    let rows = sort_by_key(rows, order);
    let counted = sorted::count_sorted(&rows, key, class, class_counts.len());
    let counts: Vec<u64> = class_counts.iter().map(|&c| c as u64).collect();
    let draws = Shuffles::new(&counts, draws).all(group_sizes(&rows, key));
    (counted, draws)
}

/// Threshold sort of numbers as they are: `columns`, each with `n` numbers, are added from left to right
/// in `f64`, without identifiers left out or anything else done to them.
///
/// # Panics
/// When a column has another length than `labels`, or a label has no class.
pub fn sum_sort(columns: &[&[f64]], labels: &[u32], classes: usize) -> ThresholdSort {
    assert!(
        columns.iter().all(|c| c.len() == labels.len()),
        "a number for each label"
    );
    let mut keys = vec![0u64; labels.len()];
    keys.par_chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(i, keys)| {
            let mut sums = [0f64; BLOCK];
            for column in columns {
                let cells = &column[i * BLOCK..][..keys.len()];
                sums.iter_mut().zip(cells).for_each(|(sum, x)| *sum += x);
            }
            keys.iter_mut()
                .zip(sums)
                .for_each(|(key, sum)| *key = sortable(sum));
        });
    let mut counts = vec![0; classes];
    labels.iter().for_each(|&l| counts[l as usize] += 1);
    sort_keys(Method::Compat, keys, labels, &counts, columns.len(), (0, 0))
}

/// Rows added up at a time, so that their sums stay in the cache.
const BLOCK: usize = 4096;

/// Keys of sums in floating point, which sort as the sums do.
pub(crate) fn keys_of(sums: Vec<f64>) -> Vec<u64> {
    sums.into_iter().map(sortable).collect()
}

/// Sum of the columns of each row, each column in [0, 1] as a multiple of 2^-32.
pub(crate) fn typed_sums(problem: &Problem) -> Vec<u64> {
    Ruler::fit(&problem.columns, 0).sums_of(&problem.columns)
}

/// Rows in the order of their typed sums.
pub(crate) struct Sorted {
    order: Vec<(u64, u32)>,
    classes: usize,
}

impl Sorted {
    pub(crate) fn new(problem: &Problem) -> Sorted {
        let order: Vec<(u64, u32)> = typed_sums(problem).into_iter().zip(0..).collect();
        let order = sort_by_key(order, first);
        let classes = problem.classes.len();
        Sorted { order, classes }
    }
}

impl Prepared for Sorted {
    /// Changes, and the bits that name the rows that their group has wrong.
    fn count(&self, labels: &[u32], _: u64) -> f64 {
        let rows = self
            .order
            .iter()
            .map(|&(key, row)| (key, labels[row as usize]));
        let counted = count_sorted(rows, self.classes);
        let wrong = labels.len() - counted.correct as usize;
        counted.changes as f64 + exception_bits(wrong, labels.len(), self.classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Options;
    use bantam_data::{Column, Table};

    fn problem(columns: Vec<Column>, labels: &[f64]) -> Problem {
        let mut columns = columns;
        columns.push(Column::numeric("y", labels.to_vec()));
        let options = Options {
            exclude_identifiers: false,
            ..Options::default()
        };
        Problem::from_table(&Table::new(columns).unwrap(), "y", &options).unwrap()
    }

    /// The slow twin: compares every pair of neighbours in the order of the sums.
    fn reference_changes(sums: &[u64], labels: &[u32], classes: u32) -> (usize, usize) {
        let mut distinct: Vec<u64> = sums.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut correct = 0;
        let majority = |&sum: &u64| {
            let count = |c: u32| {
                let rows = sums.iter().zip(labels);
                rows.filter(|&(&s, &l)| s == sum && l == c).count()
            };
            let best = (0..classes).map(count).max().unwrap();
            correct += best;
            (0..classes).find(|&c| count(c) == best).unwrap()
        };
        let labels: Vec<u32> = distinct.iter().map(majority).collect();
        let changes = labels.windows(2).filter(|w| w[0] != w[1]).count();
        (changes, correct)
    }

    /// The sample files of the paper's tool, as far as they can be made here: T, max, expected.
    #[test]
    fn tiny_tables() {
        let square = || {
            vec![
                Column::numeric("a", vec![0.0, 0.0, 1.0, 1.0]),
                Column::numeric("b", vec![0.0, 1.0, 0.0, 1.0]),
            ]
        };
        let cases = [
            ("and", [0.0, 0.0, 0.0, 1.0], (1, 4, 2)),
            ("xor", [0.0, 1.0, 1.0, 0.0], (2, 8, 4)),
            ("nxor", [1.0, 0.0, 0.0, 1.0], (2, 8, 4)),
        ];
        for (name, labels, expected) in cases {
            let found = threshold_sort(&problem(square(), &labels), 0, 0);
            let r = found.readings;
            let bits = (found.changes, r.paper_max, r.paper_expected);
            assert_eq!(bits, expected, "{name}");
            assert_eq!((found.groups, found.correct), (3, 4), "{name}");
        }
    }

    #[test]
    fn readings_of_published_changes() {
        let cases = [
            (6, 2, 24, 6),
            (1, 2, 4, 2),
            (30, 2, 120, 10),
            (42, 2, 168, 12),
            (2586, 2, 10344, 24),
            (26, 2, 104, 10),
            (39, 2, 156, 12),
            (56, 2, 224, 12),
            (36, 2, 144, 12),
            (81, 2, 324, 14),
        ];
        for (t, d, max, expected) in cases {
            let r = Readings::of(t, d);
            assert_eq!((r.paper_max, r.paper_expected), (max, expected), "{t}");
            assert_eq!((r.decisions, r.nn_max), (t as u64, max + 1), "{t}");
        }
        // The largest of the paper's table follows the form T d + T + 1 + T to within its rounding.
        assert_eq!(Readings::of(884, 1024).paper_expected, 10240);
        let zero = Readings::of(0, 7);
        assert_eq!((zero.decisions, zero.nn_expected, zero.nn_max), (0, 0, 0));
        assert_eq!(Readings::of(2, 2).nn_expected, 2 * 3 + 3);
    }

    #[test]
    fn agrees_with_the_slow_twin_and_ignores_order() {
        for seed in 0..40u64 {
            let draw = |i: u64, m: u64| crate::random::hash(seed, i) % m;
            let n = 5 + draw(0, 40);
            let cell = |i: u64, m| match draw(i, m) {
                0 => f64::NAN,
                x => x as f64,
            };
            let word = |i: u64| match draw(i, 5) {
                0 => None,
                x => Some(format!("w{x}")),
            };
            let rows: Vec<u64> = (1..=n).collect();
            let make = |rows: &[u64]| {
                let numbers = rows.iter().map(|&r| cell(r, 6)).collect();
                let halves = rows.iter().map(|&r| draw(r + 500, 2) as f64).collect();
                let words: Vec<_> = rows.iter().map(|&r| word(r + 100)).collect();
                let labels: Vec<f64> = rows.iter().map(|&r| draw(r + 900, 3) as f64).collect();
                let columns = vec![
                    Column::numeric("a", numbers),
                    Column::categorical("b", &words),
                    Column::numeric("c", halves),
                ];
                problem(columns, &labels)
            };
            let p = make(&rows);
            let found = threshold_sort(&p, 0, 0);
            let twin = reference_changes(&typed_sums(&p), &p.labels, p.classes.len() as u32);
            assert_eq!((found.changes, found.correct), twin, "{seed}");
            let mut other = rows.clone();
            other.reverse();
            other.rotate_left(3);
            assert_eq!(threshold_sort(&make(&other), 0, 0), found, "{seed}");
        }
    }

    #[test]
    fn many_rows_are_as_few_rows() {
        let n = FIT_ROWS as u64 + 500;
        let draw = |seed: u64, i: u64| crate::random::hash(seed, i);
        let a: Vec<f64> = (0..n).map(|i| (draw(1, i) % 900) as f64 / 8.0).collect();
        let b: Vec<f64> = (0..n).map(|i| (draw(2, i) % 70) as f64).collect();
        let labels: Vec<u32> = (0..n).map(|i| (draw(3, i) % 3) as u32).collect();
        let numbers: Vec<f64> = labels.iter().map(|&l| f64::from(l)).collect();
        let columns = vec![
            Column::numeric("a", a.clone()),
            Column::numeric("b", b.clone()),
        ];
        let p = problem(columns, &numbers);
        let found = threshold_sort(&p, 3, 0);
        let twin = count_in_order(&Ruler::fit(&p.columns, 0).sums_of(&p.columns), &labels);
        assert_eq!((found.groups, found.changes, found.correct), twin);
        let permuted = found.permuted.unwrap();
        assert!((permuted.mean / found.null - 1.0).abs() < 0.9 && permuted.draws == 3);
        let raw = sum_sort(&[&a, &b], &labels, 3);
        let sums = keys_of(a.iter().zip(&b).map(|(a, b)| 0.0 + a + b).collect());
        assert_eq!(
            (raw.groups, raw.changes, raw.correct),
            count_in_order(&sums, &labels)
        );
    }

    fn count_in_order(keys: &[u64], labels: &[u32]) -> (usize, usize, usize) {
        let mut rows: Vec<(u64, u32)> = keys.iter().copied().zip(labels.iter().copied()).collect();
        rows.sort();
        let found = count_sorted(rows.into_iter(), 3);
        (
            found.groups as usize,
            found.changes as usize,
            found.correct as usize,
        )
    }

    #[test]
    fn nulls() {
        let n = 600;
        let draw = |i: u64| crate::random::hash(11, i);
        let values = (0..n).map(|i| (draw(i) % 1_000_000) as f64).collect();
        let labels: Vec<f64> = (0..n).map(|i| f64::from(draw(i + n) % 10 < 3)).collect();
        let found = threshold_sort(&problem(vec![Column::numeric("a", values)], &labels), 20, 3);
        let permuted = found.permuted.as_ref().unwrap();
        // The mean of 20 shuffles lies within 5 % of the formula (3 standard deviations).
        assert!((permuted.mean / found.null - 1.0).abs() < 0.05, "{found:?}");
        assert!(
            permuted.low < found.null && found.null < permuted.high,
            "{found:?}"
        );
        assert!((found.ratio.unwrap() - 1.0).abs() < 0.15);
        let constant = threshold_sort(
            &problem(vec![Column::numeric("a", vec![1.0, 2.0])], &[4.0, 4.0]),
            5,
            0,
        );
        assert_eq!(
            (constant.changes, constant.correct, constant.ratio),
            (0, 2, None)
        );
    }
}
