//! How many bits data need and networks hold.
//!
//! An estimator is a function of a [`Problem`]: typed columns and a class for each row. It returns a
//! count, how many rows it has right, and what it counts when the labels are shuffled; the three belong
//! together, because a count alone grows with the rows and says little. Each is an upper bound found
//! in one way among many. Information is in bits.
//!
//! ```
//! use bantam_data::{Column, Table};
//! use bantam_measure::{Options, Problem, measure, problem, starting_network};
//!
//! let x: Vec<f64> = (0..60).map(|i| f64::from(i * 7 % 60) + 0.5).collect();
//! let y: Vec<f64> = x.iter().map(|&x| f64::from(x > 20.0)).collect();
//! let table = Table::new(vec![Column::numeric("x", x), Column::numeric("y", y)])?;
//! let problem = Problem::from_table(&table, "y", &problem::Options::default())?;
//! let measured = measure(&problem, &Options::default())?;
//! assert_eq!(measured.tree.memorise, 1);
//! assert_eq!(measured.tree.correct, 60);
//! let first = starting_network(&measured, 1, 2, 60);
//! assert_eq!(first.hidden, [8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bits;
mod codes;
pub mod compare;
pub mod compat;
mod difficulty;
mod dimension;
pub mod drift;
mod error;
mod expected;
mod features;
mod figure;
mod forest;
mod headline;
mod learning;
mod linear;
mod method;
mod neighbour;
mod network;
mod null;
mod parallel;
pub mod partial;
mod prequential;
pub mod problem;
mod progression;
mod projection;
mod random;
mod ranking;
mod ruler;
pub mod runs;
mod size;
mod sorted;
mod study;
#[cfg(test)]
mod testing;
mod threshold;
mod tolerance;
mod tree;

pub use difficulty::Difficulty;
pub use dimension::{Dimension, Dimensions};
pub use error::{Error, ErrorKind, Result};
pub use expected::{Expected, ModelScore};
pub use figure::{Figure, Interval, Origin};
pub use headline::Headline;
pub use learning::RowsNeeded;
pub use neighbour::LeaveOneOut;
pub use network::{
    Alternative, Ground, LayerCapacity, NetworkCapacity, dense_capacity, network_capacity,
};
pub use null::Permuted;
pub use partial::Partial;
pub use problem::{Facts, Problem};
pub use progression::{Point, Progression, Verdict};
pub use projection::{Candidate, ProjectionSort, projection_sort};
pub use ranking::Ranked;
pub use ruler::Ruler;
pub use size::{Sizing, decision_bits, starting_network};
pub use study::{Study, study};
pub use threshold::{Method, Readings, ThresholdSort, sum_sort, threshold_sort};
pub use tolerance::{TolerancePoint, tolerance_curve};
pub use tree::{Needed, TreeCapacity};

/// How to measure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Seed of samples, folds and shuffles. The same seed gives the same measurement, whatever the
    /// number of threads.
    pub seed: u64,
    /// How often labels are shuffled for the null; 0 for no null.
    pub permutations: usize,
    /// How many subsets of the rows are drawn for intervals and for the progression.
    pub subsets: usize,
    /// Most rows that the tree is grown on; a sample is taken of more.
    pub max_rows: usize,
    /// Most cells (rows times columns) that the tree is grown on.
    pub max_cells: usize,
    /// Most cells that the tree is grown on with shuffled labels.
    pub max_null_cells: usize,
    /// Most rows for which the tree tries every cut; numbers are put into 256 bins beyond.
    pub exact_rows: usize,
    /// Folds of the cross-validation that prunes the tree, 0 or 2 and more; nothing is pruned with 0.
    pub folds: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 0,
            permutations: 20,
            subsets: 20,
            max_rows: 100_000,
            max_cells: 3_000_000,
            max_null_cells: 1_000_000,
            exact_rows: 100_000,
            folds: tree::FOLDS,
        }
    }
}

/// The threshold sort with and without what looks like identifiers.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdSorts {
    /// On typed columns.
    pub typed: ThresholdSort,
    /// On typed columns, identifiers put back; none when no column was left out as one.
    pub with_identifiers: Option<ThresholdSort>,
    /// On the texts of the file; [`measure`] leaves it empty, for it does not see them, and
    /// [`compat::compat_sort`] fills it.
    pub compat: Option<ThresholdSort>,
}

/// What sizes a first network.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Rows measured.
    pub rows: usize,
    /// Rows the caller gave, those without a label and those not in the sample among them.
    pub rows_given: usize,
    /// Rows left out because their target is missing.
    pub rows_without_label: usize,
    /// Names of the columns measured.
    pub columns: Vec<String>,
    /// Columns left out, with the reason.
    pub left_out: Vec<bantam_data::LeftOut>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What counting alone says: balance, duplicates, contradictions.
    pub facts: Facts,
    /// Label changes along a sum of the columns.
    pub threshold_sort: ThresholdSorts,
    /// Splits of a decision tree.
    pub tree: TreeCapacity,
}

fn tree_limits(options: &Options) -> tree::Limits {
    tree::Limits {
        max_rows: options.max_rows,
        max_cells: options.max_cells,
        null_cells: options.max_null_cells,
        exact_rows: options.exact_rows,
        folds: options.folds,
        draws: options.permutations,
        seed: options.seed,
    }
}

/// Measures a problem with the estimators that a first network is sized by; [`study`] has all of them.
///
/// Errs when the problem has no rows or no columns.
pub fn measure(problem: &Problem, options: &Options) -> Result<Measurement> {
    if problem.rows() == 0 {
        return Err(Error::new(ErrorKind::Rows, "there are no rows to measure"));
    }
    if problem.columns.is_empty() {
        return Err(Error::new(
            ErrorKind::Column,
            "there are no columns to measure",
        ));
    }
    let sort = |p: &Problem| threshold_sort(p, options.permutations, options.seed);
    Ok(Measurement {
        rows: problem.rows(),
        rows_given: problem.rows_given,
        rows_without_label: problem.rows_without_label,
        columns: problem.columns.iter().map(|c| c.name.clone()).collect(),
        left_out: problem.left_out(),
        classes: problem.classes.clone(),
        facts: problem.facts(),
        threshold_sort: ThresholdSorts {
            typed: sort(problem),
            with_identifiers: problem.with_identifiers().as_ref().map(sort),
            compat: None,
        },
        tree: measure_tree(problem, options),
    })
}

/// Decision-tree capacity of a problem that has rows and columns.
pub fn measure_tree(problem: &Problem, options: &Options) -> TreeCapacity {
    tree::tree_capacity(problem, &tree_limits(options))
}

/// Measures `rows: [n, d]`, row-major, with `n` labels; see [`Problem::from_rows`].
///
/// Errs as that does.
pub fn measure_rows(
    rows: &[f32],
    d: usize,
    labels: &[u32],
    options: &Options,
) -> Result<Measurement> {
    let made = problem::Options {
        max_cells: options.max_cells,
        seed: options.seed,
        ..problem::Options::default()
    };
    measure(&Problem::from_rows(rows, d, labels, &made)?, options)
}
