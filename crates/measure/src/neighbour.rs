//! Capacity by nearest neighbours: how many rows must be kept so that each row's nearest kept one has
//! its label.
//!
//! Prototypes are gathered by Hart's condensing ("The condensed nearest neighbor rule", 1968), rows near
//! another class first, and thinned by Gates' reduction ("The reduced nearest neighbor rule", 1972). The
//! count depends on the metric, which is Euclidean over standardised features. Ties go to the lower
//! row; contradicting identical rows agree on their majority first.

use rayon::prelude::*;

use crate::bits::exception_bits;
use crate::codes::code_columns;
use crate::features::Features;
use crate::figure::Interval;
use crate::method::Prepared;
use crate::parallel::map_of;
use crate::problem::{Groups, Problem};
use bantam_core::order::sort_by;

/// Squared distances of all pairs, and what does not depend on labels.
pub(crate) struct Neighbours {
    n: usize,
    classes: usize,
    distances: Vec<f32>,
    groups: Groups,
}

/// What nearest neighbours say about the noise in the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeaveOneOut {
    /// Rows used.
    pub rows: usize,
    /// Share of rows whose nearest other row has another label.
    pub error: f64,
    /// Bounds on the least error that any rule can have, if rows are many and the metric fits (Cover
    /// and Hart, "Nearest neighbor pattern classification", 1967).
    pub bayes: Interval,
}

impl Neighbours {
    pub(crate) fn new(problem: &Problem) -> Neighbours {
        let features = Features::of(problem);
        Neighbours {
            n: problem.rows(),
            classes: problem.classes.len(),
            distances: squared_distances(&features),
            groups: Groups::of(&code_columns(&problem.columns), problem.rows()),
        }
    }

    fn from(&self, row: usize) -> &[f32] {
        &self.distances[row * self.n..(row + 1) * self.n]
    }

    /// The rows to keep, in the order in which they were found.
    pub(crate) fn prototypes(&self, labels: &[u32]) -> Vec<u32> {
        let rows: Vec<u32> = (0..self.n as u32).collect();
        let labels = self.groups.consensus(labels, &rows, self.classes);
        let mut order: Vec<(f32, u32)> = (0..self.n)
            .map(|r| (self.nearest_enemy(r, &labels), r as u32))
            .collect();
        sort_by(&mut order, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some(&(_, first)) = order.first() else {
            return Vec::new();
        };
        let mut kept = vec![first];
        let mut nearest: Vec<u32> = vec![first; self.n];
        loop {
            let before = kept.len();
            for &(_, row) in &order {
                let at = row as usize;
                if labels[nearest[at] as usize] == labels[at] {
                    continue;
                }
                kept.push(row);
                for (i, near) in nearest.iter_mut().enumerate() {
                    if self.closer(i, row, *near) {
                        *near = row;
                    }
                }
            }
            if kept.len() == before {
                break;
            }
        }
        self.reduce(kept, nearest, &labels)
    }

    fn closer(&self, row: usize, a: u32, b: u32) -> bool {
        let from = self.from(row);
        (from[a as usize], a) < (from[b as usize], b)
    }

    fn nearest_enemy(&self, row: usize, labels: &[u32]) -> f32 {
        let own = labels[row];
        let others = self
            .from(row)
            .iter()
            .zip(labels)
            .filter(|(_, l)| **l != own);
        others.map(|(d, _)| *d).fold(f32::INFINITY, f32::min)
    }

    /// Drops what is not needed, the last found first.
    fn reduce(&self, mut kept: Vec<u32>, mut nearest: Vec<u32>, labels: &[u32]) -> Vec<u32> {
        let mut cells: Vec<Vec<u32>> = vec![Vec::new(); self.n];
        for (row, &near) in nearest.iter().enumerate() {
            cells[near as usize].push(row as u32);
        }
        for at in (0..kept.len()).rev() {
            if kept.len() == 1 {
                break;
            }
            let gone = kept[at];
            let mut moves = Vec::with_capacity(cells[gone as usize].len());
            let fits = cells[gone as usize].iter().all(|&row| {
                let others = kept.iter().copied().filter(|&k| k != gone);
                let next = others.reduce(|a, b| {
                    if self.closer(row as usize, b, a) {
                        b
                    } else {
                        a
                    }
                });
                let next = next.expect("another one is kept");
                moves.push((row, next));
                labels[next as usize] == labels[row as usize]
            });
            if fits {
                kept.remove(at);
                cells[gone as usize].clear();
                for (row, next) in moves {
                    nearest[row as usize] = next;
                    cells[next as usize].push(row);
                }
            }
        }
        kept
    }

    /// Error of the nearest other row; None with fewer than 2 rows.
    pub(crate) fn leave_one_out(&self, labels: &[u32]) -> Option<LeaveOneOut> {
        if self.n < 2 {
            return None;
        }
        let wrong = |&row: &usize| {
            let from = self.from(row);
            let others = (0..self.n as u32).filter(|&r| r as usize != row);
            let near = others.reduce(|a, b| {
                let closer = (from[b as usize], b) < (from[a as usize], a);
                if closer { b } else { a }
            });
            labels[near.expect("another row") as usize] != labels[row]
        };
        let error = (0..self.n).filter(wrong).count() as f64 / self.n as f64;
        let k = self.classes.max(2) as f64;
        let most = (k - 1.0) / k;
        let low = most * (1.0 - (1.0 - error.min(most) / most).max(0.0).sqrt());
        Some(LeaveOneOut {
            rows: self.n,
            error,
            bayes: Interval { low, high: error },
        })
    }

    /// Squared distances from each row to its `k` nearest other rows that are not in the same place,
    /// ascending; rows with fewer are left out. Of rows in one place the first stands for all.
    pub(crate) fn nearest(&self, rows: &[usize], k: usize) -> Vec<Vec<f32>> {
        let mut firsts: Vec<usize> = Vec::new();
        for &row in rows {
            if firsts.iter().all(|&f| self.from(row)[f] > 0.0) {
                firsts.push(row);
            }
        }
        let of = |&row: &usize| {
            let from = self.from(row);
            let others = firsts.iter().filter(|&&r| r != row);
            let mut near: Vec<f32> = others.map(|&r| from[r]).collect();
            if near.len() < k {
                return None;
            }
            near.select_nth_unstable_by(k - 1, f32::total_cmp);
            near.truncate(k);
            near.sort_unstable_by(f32::total_cmp);
            Some(near)
        };
        map_of(&firsts, of).into_iter().flatten().collect()
    }
}

impl Prepared for Neighbours {
    fn count(&self, labels: &[u32], _: u64) -> f64 {
        if labels.iter().all(|&l| l == labels[0]) {
            return 0.0;
        }
        let rows: Vec<u32> = (0..self.n as u32).collect();
        let agreed = self.groups.consensus(labels, &rows, self.classes);
        let wrong = agreed.iter().zip(labels).filter(|(a, b)| a != b).count();
        let each = (self.classes as f64).log2();
        each * self.prototypes(labels).len() as f64 + exception_bits(wrong, self.n, self.classes)
    }
}

/// Squared Euclidean distances `[n, n]`.
pub(crate) fn squared_distances(features: &Features) -> Vec<f32> {
    let n = features.n;
    let mut distances = vec![0f32; n * n];
    distances
        .par_chunks_mut(n.max(1))
        .enumerate()
        .for_each(|(row, out)| {
            let a = features.row(row);
            for (other, out) in out.iter_mut().enumerate() {
                let b = features.row(other);
                // Eight sums side by side; both orders of a pair give the same bits.
                let mut sums = [0f32; 8];
                let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
                let (ra, rb) = (ca.remainder(), cb.remainder());
                for (x, y) in ca.zip(cb) {
                    let each = sums.iter_mut().zip(x).zip(y);
                    each.for_each(|((s, x), y)| *s += (x - y) * (x - y));
                }
                let rest: f32 = ra.iter().zip(rb).map(|(x, y)| (x - y) * (x - y)).sum();
                *out = sums.iter().sum::<f32>() + rest;
            }
        });
    distances
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    /// The slow twin of what prototypes are for: each row's nearest prototype has its label.
    #[test]
    fn prototypes_are_consistent() {
        for seed in 0..20 {
            let n = 20 + (hash(seed, 0) % 100) as usize;
            let steps = |s: u64| {
                uniform(s, n)
                    .iter()
                    .map(|x| (6.0 * x).floor())
                    .collect::<Vec<f64>>()
            };
            let labels: Vec<u32> = (0..n).map(|i| (hash(seed, i as u64) % 3) as u32).collect();
            let p = numbers(vec![steps(seed + 100), steps(seed + 200)], &labels);
            let neighbours = Neighbours::new(&p);
            let kept = neighbours.prototypes(&p.labels);
            let rows: Vec<u32> = (0..n as u32).collect();
            let agreed = neighbours.groups.consensus(&p.labels, &rows, 3);
            for row in 0..n {
                let from = neighbours.from(row);
                let nearest = kept.iter().min_by(|a, b| {
                    from[**a as usize]
                        .total_cmp(&from[**b as usize])
                        .then(a.cmp(b))
                });
                assert_eq!(
                    agreed[*nearest.unwrap() as usize],
                    agreed[row],
                    "{seed} {row}"
                );
            }
            let mut distinct = kept.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), kept.len());
        }
    }

    #[test]
    fn clouds_need_one_each_and_coins_many() {
        let n = 300;
        let cloud: Vec<f64> = uniform(1, n)
            .iter()
            .enumerate()
            .map(|(i, x)| x + 9.0 * (i % 2) as f64)
            .collect();
        let labels: Vec<u32> = (0..n).map(|i| (i % 2) as u32).collect();
        let p = numbers(vec![cloud], &labels);
        let found = on_threads(|| Neighbours::new(&p).prototypes(&p.labels));
        assert_eq!(found.len(), 2);
        let p = numbers(vec![uniform(1, n), uniform(2, n)], &coins(3, n));
        let neighbours = Neighbours::new(&p);
        assert!(neighbours.prototypes(&p.labels).len() > n / 3);
        let one = neighbours.leave_one_out(&p.labels).unwrap();
        assert!((0.4..0.6).contains(&one.error), "{one:?}");
        assert!(
            one.bayes.low <= one.error && one.bayes.low > 0.25,
            "{one:?}"
        );
        let rule = rule(5, 400, 2, 0);
        let one = Neighbours::new(&rule).leave_one_out(&rule.labels).unwrap();
        assert!(one.error < 0.1, "{one:?}");
        assert_eq!(
            Neighbours::new(&rule).count(&vec![1; 400], 0),
            0.0,
            "one class"
        );
    }

    /// Cover and Hart's bounds for two classes: e/2 <= (1 - sqrt(1 - 2e)) / 2.
    #[test]
    fn rows_in_one_place_are_one() {
        let p = numbers(
            vec![vec![0.0, 0.0, 1.0, 3.0, 3.0, 7.0]],
            &[0, 1, 0, 1, 0, 1],
        );
        let neighbours = Neighbours::new(&p);
        let near = neighbours.nearest(&[0, 1, 2, 3, 4, 5], 2);
        assert_eq!(near.len(), 4, "four places");
        let unit = near[0][0];
        let steps: Vec<f32> = near[0].iter().map(|d| (d / unit).sqrt()).collect();
        assert!((steps[1] - 3.0).abs() < 1e-5, "{steps:?}");
        assert!(neighbours.nearest(&[0, 1, 2], 2).is_empty(), "too few");
    }
}
