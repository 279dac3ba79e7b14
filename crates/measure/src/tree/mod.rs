//! Capacity by decision tree: how many yes-or-no questions memorise the labels, and how many of them
//! are worth asking.
//!
//! A tree is grown by entropy gain until each leaf has one label; its splits are decision points, an
//! upper bound on the bits that memorising takes this way. Identical rows are one point with the label
//! of their majority. Then it is pruned by cross-validation; what is left is needed, and the gap is
//! noise or what this tree cannot find. A tree is good at axis-parallel rules and bad at others: it
//! needs more splits for parity than for random labels.
//!
//! Questions: whether a number, or a text column with over 64 values, is up to a cut, missing cells
//! on the side that is better; whether a category is this one, missing being one of them.

mod branch;
pub(crate) mod compare;
mod grow;
mod prune;
mod scan;
mod top;

use crate::bits::exception_bits;
use crate::codes::Coded;
use crate::method::Prepared;
use crate::null::{Permuted, permute};
use crate::parallel::{map, map_of};
use crate::problem::{Groups, Problem};
use crate::random::{self, Stream};
use grow::{Ground, Tree, grow, log_table};

/// How the tree is measured.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Most rows.
    pub(crate) max_rows: usize,
    /// Most cells, rows times columns.
    pub(crate) max_cells: usize,
    /// Most cells for the shuffles.
    pub(crate) null_cells: usize,
    /// Most rows with exact cuts; above, columns are made into 256 bins first.
    pub(crate) exact_rows: usize,
    /// Folds of the cross-validation; 0 for none.
    pub(crate) folds: usize,
    /// Number of shuffles.
    pub(crate) draws: usize,
    /// Seed of samples, folds and shuffles.
    pub(crate) seed: u64,
}

/// Folds of the cross-validation.
pub(crate) const FOLDS: usize = 5;
/// Bins of a column when there are many rows.
const BINS: u32 = 256;

/// What a decision tree says. `memorise` and `needed` are the two ends of an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeCapacity {
    /// Rows the tree was grown on; a sample when there were too many.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Whether all cuts were tried; otherwise each number was put into one of 256 bins first.
    pub exact: bool,
    /// Splits of the tree that has every leaf pure: bits that memorise `correct` rows.
    pub memorise: usize,
    /// Leaves of that tree: splits and one.
    pub leaves: usize,
    /// Depth of that tree.
    pub depth: usize,
    /// Rows that tree has right: all but those that contradict identical ones.
    pub correct: usize,
    /// Bits to write that tree down: for each split its column and which of the cuts, for each leaf
    /// the information of its labels.
    pub description_bits: f64,
    /// The part of it that cross-validation supports.
    pub needed: Needed,
    /// Splits with shuffled labels; none when no draws were asked for.
    pub permuted: Option<Permuted>,
    /// The splits that memorise when identifiers are put back, where there are any.
    pub memorise_with_identifiers: Option<usize>,
}

/// The smallest pruned tree whose cross-validated error is within one standard error of the least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needed {
    /// Its splits; 0 when guessing the most frequent class does as well.
    pub splits: usize,
    /// Its cross-validated error, a share of the rows.
    pub error: f64,
    /// Standard error of the least cross-validated error.
    pub standard_error: f64,
    /// Splits of the tree with the least cross-validated error.
    pub splits_at_least_error: usize,
    /// The least cross-validated error.
    pub least_error: f64,
    /// Folds; 0 when there are too few rows or none were asked for, and then nothing is pruned.
    pub folds: usize,
}

impl TreeCapacity {
    /// Splits over the mean of the shuffled ones; see [`Permuted::ratio`].
    pub fn ratio(&self) -> Option<f64> {
        self.permuted.as_ref().and_then(Permuted::ratio)
    }
}

/// A problem as the tree sees it.
pub(crate) struct Trunk {
    columns: Vec<Coded>,
    /// See [`Ground`].
    bytes: Vec<Vec<u8>>,
    groups: Groups,
    labels: Vec<u32>,
    classes: usize,
    table: Vec<i64>,
    exact: bool,
}

impl Trunk {
    pub(crate) fn new(problem: &Problem, exact_rows: usize) -> Trunk {
        let exact = problem.rows() <= exact_rows;
        let code = |c: &bantam_data::Column| {
            let coded = Coded::of(&c.values);
            if exact { coded } else { coded.coarse(BINS) }
        };
        let columns: Vec<Coded> = map_of(&problem.columns, code);
        let bytes: Vec<Vec<u8>> = match problem.rows() > branch::MOST_ROWS {
            true => map_of(&columns, Coded::bytes),
            false => Vec::new(),
        };
        Trunk {
            groups: Groups::of(&columns, problem.rows()),
            columns,
            bytes,
            labels: problem.labels.clone(),
            classes: problem.classes.len(),
            table: log_table(problem.rows()),
            exact,
        }
    }

    fn all_rows(&self) -> Vec<u32> {
        (0..self.labels.len() as u32).collect()
    }

    /// Splits of the tree that answers every row of `rows` that can be answered.
    pub(crate) fn splits(&self, rows: Vec<u32>, labels: &[u32]) -> usize {
        self.grow(rows, labels).splits()
    }

    fn grow(&self, rows: Vec<u32>, labels: &[u32]) -> Tree {
        let ground = Ground {
            columns: &self.columns,
            bytes: &self.bytes,
            classes: self.classes,
            table: &self.table,
        };
        let agreed = self.groups.consensus(labels, &rows, self.classes);
        grow(ground, rows, &agreed, labels)
    }

    fn description_bits(&self, tree: &Tree) -> f64 {
        let column = (self.columns.len() as f64).log2();
        let bits = |node: &grow::Node| match node.split {
            Some(split) => column + f64::from(split.rules).log2(),
            None => node.entropy_bits,
        };
        tree.nodes.iter().map(bits).sum()
    }

    fn needed(&self, tree: &Tree, folds: usize, seed: u64) -> Needed {
        let n = self.labels.len();
        let prices = prune::prices(tree);
        let mut knots: Vec<f64> = prices.iter().copied().filter(|&p| p > 0.0).collect();
        knots.push(0.0);
        knots.sort_unstable_by(f64::total_cmp);
        knots.dedup();
        // Between two prices the tree is the same; their geometric mean stands for the interval.
        let mut grid: Vec<f64> = knots.windows(2).map(|w| (w[0] * w[1]).sqrt()).collect();
        grid.push(f64::INFINITY);
        let folds = if n < 2 * folds { 0 } else { folds };
        let mut order = self.all_rows();
        Stream::new(seed, u64::MAX).shuffle(&mut order);
        let fold_errors = |fold: usize| {
            let part = |held: bool| {
                let rows = order.iter().enumerate();
                let rows = rows.filter(move |(i, _)| (i % folds == fold) == held);
                let mut rows: Vec<u32> = rows.map(|(_, &r)| r).collect();
                rows.sort_unstable();
                rows
            };
            let tree = self.grow(part(false), &self.labels);
            let prices = prune::prices(&tree);
            // Prices are errors of the training rows, which are fewer here.
            let scale = (folds - 1) as f64 / folds as f64;
            let grid: Vec<f64> = grid.iter().map(|g| g * scale).collect();
            let mut errors = vec![0u64; grid.len()];
            prune::add_errors(
                &tree,
                &prices,
                &self.columns,
                &part(true),
                &self.labels,
                &grid,
                &mut errors,
            );
            errors
        };
        if folds == 0 {
            let error = (n - tree.correct()) as f64 / n as f64;
            return Needed {
                splits: tree.splits(),
                error,
                standard_error: 0.0,
                splits_at_least_error: tree.splits(),
                least_error: error,
                folds,
            };
        }
        let each: Vec<Vec<u64>> = map(folds, fold_errors);
        let share = |i: usize| each.iter().map(|e| e[i]).sum::<u64>() as f64 / n as f64;
        let errors: Vec<f64> = (0..grid.len()).map(share).collect();
        let mut least = 0;
        for i in 1..errors.len() {
            if errors[i] <= errors[least] {
                least = i;
            }
        }
        let standard_error = (errors[least] * (1.0 - errors[least]) / n as f64).sqrt();
        let allowed = errors[least] + standard_error;
        let chosen = errors.iter().rposition(|&e| e <= allowed).unwrap_or(least);
        let splits = |i: usize| prune::splits_at(&prices, knots[i]);
        Needed {
            splits: splits(chosen),
            error: errors[chosen],
            standard_error,
            splits_at_least_error: splits(least),
            least_error: errors[least],
            folds,
        }
    }
}

impl Prepared for Trunk {
    /// Splits, and the bits that name the rows that contradict identical ones.
    fn count(&self, labels: &[u32], _: u64) -> f64 {
        let tree = self.grow(self.all_rows(), labels);
        let wrong = labels.len() - tree.correct();
        tree.splits() as f64 + exception_bits(wrong, labels.len(), self.classes)
    }
}

/// Decision-tree capacity of a problem.
pub(crate) fn tree_capacity(problem: &Problem, limits: &Limits) -> TreeCapacity {
    let d = problem.columns.len();
    let count = limits.max_rows.min(limits.max_cells / d).max(1);
    let rows = random::sample(problem.rows(), count, limits.seed);
    let sampled;
    let problem = if rows.len() < problem.rows() {
        sampled = problem.select(&rows);
        &sampled
    } else {
        problem
    };
    let trunk = Trunk::new(problem, limits.exact_rows);
    let tree = trunk.grow(trunk.all_rows(), &trunk.labels);
    let memorise_with_identifiers = problem.with_identifiers().map(|with| {
        let trunk = Trunk::new(&with, limits.exact_rows);
        trunk.grow(trunk.all_rows(), &trunk.labels).splits()
    });
    TreeCapacity {
        rows: problem.rows(),
        columns: d,
        exact: trunk.exact,
        memorise: tree.splits(),
        leaves: tree.splits() + 1,
        depth: tree.depth as usize,
        correct: tree.correct(),
        description_bits: trunk.description_bits(&tree),
        needed: trunk.needed(&tree, limits.folds, limits.seed),
        permuted: permuted(problem, &trunk, &tree, limits),
        memorise_with_identifiers,
    }
}

fn permuted(problem: &Problem, trunk: &Trunk, tree: &Tree, limits: &Limits) -> Option<Permuted> {
    if limits.draws == 0 {
        return None;
    }
    let shuffles = |trunk: &Trunk, splits: usize| {
        let splits_of = |labels: &[u32]| trunk.grow(trunk.all_rows(), labels).splits() as f64;
        let (draws, seed) = (limits.draws, limits.seed);
        permute(&trunk.labels, splits as f64, draws, seed, splits_of)
    };
    let count = (limits.null_cells / problem.columns.len()).max(1);
    if count >= problem.rows() {
        return shuffles(trunk, tree.splits());
    }
    let rows = random::sample(problem.rows(), count, limits.seed ^ 1);
    let smaller = Trunk::new(&problem.select(&rows), limits.exact_rows);
    let splits = smaller.grow(smaller.all_rows(), &smaller.labels).splits();
    shuffles(&smaller, splits)
}

#[cfg(test)]
mod tests;
