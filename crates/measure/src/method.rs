//! What every capacity method has in common: it is prepared on the columns of a problem once, and then
//! counts for any labels. So its null and its interval are made the same way for all.
//!
//! The null is the count for shuffled labels. The interval is from subsets of 40 % of the rows, each
//! beside its own shuffle, because a count grows with the rows and only the ratio compares.

use crate::figure::{Figure, Origin, jackknife};
use crate::null::{Permuted, shuffled};
use crate::parallel::map;
use crate::problem::Problem;
use crate::random::{self, hash};

/// Share of the rows in a subset of the interval.
pub(crate) const SUBSET: f64 = 0.4;
/// Fewest rows of a subset.
const FEWEST_ROWS: usize = 20;

/// A method prepared on the columns of a problem.
pub(crate) trait Prepared: Sync {
    /// What it counts for a label of each row. `draw` tells orders of rows apart, for methods that
    /// depend on one.
    fn count(&self, labels: &[u32], draw: u64) -> f64;
}

/// A method before it has seen a problem.
#[derive(Clone, Copy)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) origin: Origin,
    /// Most rows for null and interval.
    pub(crate) max_rows: usize,
    /// Orders of the rows over which the count for the true labels is averaged.
    pub(crate) orders: u64,
    /// Prepares it on all rows of a problem.
    pub(crate) prepare: fn(&Problem) -> Box<dyn Prepared>,
}

/// How often things are drawn.
#[derive(Clone, Copy)]
pub(crate) struct Draws {
    pub(crate) permutations: usize,
    pub(crate) subsets: usize,
    pub(crate) seed: u64,
}

/// A figure with the draws behind it.
pub(crate) struct Weighed {
    pub(crate) figure: Figure,
    /// Ratio of each shuffle, in the order of the draws.
    pub(crate) shuffles: Vec<f64>,
    /// Ratio of each subset, in the order of the subsets.
    pub(crate) subsets: Vec<f64>,
}

impl Method {
    /// The count on a sample of the rows, its null and its interval.
    pub(crate) fn weigh(&self, problem: &Problem, draws: Draws) -> Weighed {
        let rows = random::sample(problem.rows(), self.max_rows, draws.seed);
        let at = |labels: &[u32]| rows.iter().map(|&r| labels[r]).collect::<Vec<u32>>();
        let whole = problem.bare(&rows);
        let prepared = (self.prepare)(&whole);
        let order = |i: u64| prepared.count(&whole.labels, hash(draws.seed, 2000 + i));
        let value = (0..self.orders).map(order).sum::<f64>() / self.orders as f64;
        let shuffle = |i: usize| at(&shuffled(&problem.labels, draws.seed, i));
        let counts: Vec<f64> = map(draws.permutations, |i| {
            prepared.count(&shuffle(i), hash(draws.seed, i as u64))
        });
        drop(prepared);
        let permuted = Permuted::of(rows.len(), value, &counts);
        let subsets = match rows.len() as f64 * SUBSET >= FEWEST_ROWS as f64 {
            true => self.subsets(&whole, &rows, &shuffle, draws),
            false => Vec::new(),
        };
        let ratio = permuted.as_ref().and_then(Permuted::ratio);
        let mean = permuted.as_ref().map_or(0.0, |p| p.mean);
        Weighed {
            figure: Figure {
                method: self.name,
                origin: self.origin,
                unit: self.unit,
                value,
                interval: ratio.and_then(|r| jackknife(r, &subsets, SUBSET)),
                permuted,
            },
            shuffles: counts
                .iter()
                .map(|c| if mean > 0.0 { c / mean } else { 1.0 })
                .collect(),
            subsets,
        }
    }

    /// Ratios on subsets, each relative to the mean of the shuffles of all subsets.
    fn subsets(
        &self,
        whole: &Problem,
        rows: &[usize],
        shuffle: &(dyn Fn(usize) -> Vec<u32> + Sync),
        draws: Draws,
    ) -> Vec<f64> {
        let pair = |i: usize| {
            let part = subset(rows, draws.seed, i, SUBSET);
            let problem = whole.bare(&part);
            let prepared = (self.prepare)(&problem);
            let labels = shuffle(i);
            let shuffled: Vec<u32> = part.iter().map(|&r| labels[r]).collect();
            let seed = hash(draws.seed, 1000 + i as u64);
            (
                prepared.count(&problem.labels, seed),
                prepared.count(&shuffled, seed),
            )
        };
        let pairs: Vec<(f64, f64)> = map(draws.subsets, pair);
        let null = pairs.iter().map(|p| p.1).sum::<f64>() / pairs.len().max(1) as f64;
        if null <= 0.0 {
            return Vec::new();
        }
        pairs.iter().map(|p| p.0 / null).collect()
    }
}

/// Places in `rows` of the subset number `which` that holds about the share `fraction` of them: the
/// rows whose hash is small, so that a smaller share is part of a larger one.
pub(crate) fn subset(rows: &[usize], seed: u64, which: usize, fraction: f64) -> Vec<usize> {
    if fraction >= 1.0 {
        return (0..rows.len()).collect();
    }
    let seed = hash(seed, 0x5eed + which as u64);
    let most = (fraction * 2f64.powi(64)) as u64;
    let inside = |&(_, &row): &(usize, &usize)| hash(seed, row as u64) <= most;
    rows.iter()
        .enumerate()
        .filter(inside)
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_nested_and_differ() {
        let rows: Vec<usize> = (0..2000).map(|i| i * 3).collect();
        let large = subset(&rows, 1, 4, 0.4);
        assert!((700..900).contains(&large.len()), "{}", large.len());
        let small = subset(&rows, 1, 4, 0.1);
        assert!(small.iter().all(|r| large.contains(r)));
        assert_ne!(large, subset(&rows, 1, 5, 0.4));
        assert_eq!(subset(&rows, 1, 5, 1.0).len(), 2000);
    }
}
