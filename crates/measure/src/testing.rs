//! Problems for the tests of this crate.

use bantam_data::{Column, Table};

use crate::problem::{Options, Problem};
use crate::random::hash;

/// A problem of numbers.
pub(crate) fn numbers(columns: Vec<Vec<f64>>, labels: &[u32]) -> Problem {
    let mut all: Vec<Column> = columns
        .into_iter()
        .enumerate()
        .map(|(i, c)| Column::numeric(format!("x{i}"), c))
        .collect();
    let labels = labels.iter().map(|&l| f64::from(l)).collect();
    all.push(Column::numeric("y", labels));
    let options = Options {
        exclude_identifiers: false,
        ..Options::default()
    };
    Problem::from_table(&Table::new(all).unwrap(), "y", &options).unwrap()
}

/// Numbers between 0 and 1.
pub(crate) fn uniform(seed: u64, n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| hash(seed, i as u64) as f64 / 2f64.powi(64))
        .collect()
}

/// Labels without a rule.
pub(crate) fn coins(seed: u64, n: usize) -> Vec<u32> {
    (0..n).map(|i| (hash(seed, i as u64) % 2) as u32).collect()
}

/// `n` rows of `d` numbers, the label being whether the first two together are large, of which
/// `percent` are flipped.
pub(crate) fn rule(seed: u64, n: usize, d: usize, percent: u64) -> Problem {
    let columns: Vec<Vec<f64>> = (0..d).map(|c| uniform(seed + c as u64, n)).collect();
    let flipped = |i: usize| hash(seed + 500, i as u64) % 100 < percent;
    let label = |i: usize| u32::from((columns[0][i] + columns[1][i] > 1.0) != flipped(i));
    let labels: Vec<u32> = (0..n).map(label).collect();
    numbers(columns, &labels)
}

/// The same function on 1 and on 3 threads.
pub(crate) fn on_threads<T: PartialEq + std::fmt::Debug + Send>(run: impl Fn() -> T + Sync) -> T {
    let pool = |n| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap()
    };
    let (one, three) = (pool(1).install(&run), pool(3).install(&run));
    assert_eq!(one, three, "depends on the number of threads");
    one
}
