//! Trees on parts of one problem: how many splits a part takes, and how far a rule that was learnt on one
//! part holds on another.

use super::{FOLDS, Trunk, prune};
use crate::parallel::map;
use crate::problem::Problem;
use crate::random::Stream;

/// A problem whose parts are to be compared; cells have the same codes in all of them.
pub(crate) struct Comparer(Trunk);

/// How a rule that was learnt on some rows does on others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Transfer {
    /// Share of wrong answers on rows like those it was learnt on, but held out.
    pub(crate) reference_error: f64,
    /// Share of wrong answers on the others.
    pub(crate) new_error: f64,
}

impl Comparer {
    pub(crate) fn new(problem: &Problem) -> Comparer {
        Comparer(Trunk::new(problem, problem.rows()))
    }

    /// Splits that memorise `rows`, which ascend.
    pub(crate) fn splits(&self, rows: Vec<u32>) -> usize {
        self.0.grow(rows, &self.0.labels).splits()
    }

    /// Learns trees on four fifths of `reference`, pruned by what holds on the last fifth, and asks them
    /// about that fifth and about `new`. None when there are too few rows.
    pub(crate) fn transfer(&self, reference: &[u32], new: &[u32], seed: u64) -> Option<Transfer> {
        if reference.len() < 2 * FOLDS || new.is_empty() {
            return None;
        }
        let trunk = &self.0;
        let whole = trunk.grow(reference.to_vec(), &trunk.labels);
        let mut knots: Vec<f64> = prune::prices(&whole)
            .into_iter()
            .filter(|&p| p > 0.0)
            .collect();
        knots.push(0.0);
        knots.sort_unstable_by(f64::total_cmp);
        knots.dedup();
        let mut grid: Vec<f64> = knots.windows(2).map(|w| (w[0] * w[1]).sqrt()).collect();
        grid.push(f64::INFINITY);
        let mut order = reference.to_vec();
        Stream::new(seed, u64::MAX).shuffle(&mut order);
        let fold = |fold: usize| {
            let part = |held: bool| {
                let rows = order.iter().enumerate();
                let rows = rows.filter(|(i, _)| (i % FOLDS == fold) == held);
                let mut rows: Vec<u32> = rows.map(|(_, &r)| r).collect();
                rows.sort_unstable();
                rows
            };
            let tree = trunk.grow(part(false), &trunk.labels);
            let prices = prune::prices(&tree);
            let errors = |rows: &[u32]| {
                let mut errors = vec![0u64; grid.len()];
                let (columns, labels) = (&trunk.columns, &trunk.labels);
                prune::add_errors(&tree, &prices, columns, rows, labels, &grid, &mut errors);
                errors
            };
            (errors(&part(true)), errors(new))
        };
        let each: Vec<(Vec<u64>, Vec<u64>)> = map(FOLDS, fold);
        let held = |i: usize| each.iter().map(|e| e.0[i]).sum::<u64>();
        let errors: Vec<u64> = (0..grid.len()).map(held).collect();
        // The smallest tree within one standard error of the best.
        let least = errors.iter().copied().min()? as f64;
        let n = reference.len() as f64;
        let allowed = least + (least * (1.0 - least / n)).sqrt();
        let chosen = errors.iter().rposition(|&e| e as f64 <= allowed)?;
        let wrong: u64 = each.iter().map(|e| e.1[chosen]).sum();
        Some(Transfer {
            reference_error: errors[chosen] as f64 / n,
            new_error: wrong as f64 / (FOLDS * new.len()) as f64,
        })
    }
}
