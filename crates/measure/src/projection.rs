//! Threshold sort along projections that are fitted on other rows.
//!
//! The plain sum of the columns is blind on ordinary data, and a projection fitted on the very rows it
//! sorts separates anything when there are many columns. So the rows are cut into folds by their hash;
//! each fold is sorted along a direction found on the others, and its label changes are counted with
//! merged ties. A direction costs its changes, the bits that name the rows it has wrong because their
//! sums are equal, a bit for each feature and one more where it was fitted, and `log2` of the number of
//! candidates. The least cost is an upper bound found in one way among many.

use crate::bits::exception_bits;
use crate::codes::{Coded, sortable};
use crate::features::Features;
use crate::linear::{Factor, Gram, PENALTIES, dot, moments_with_labels, outputs};
use crate::method::Prepared;
use crate::parallel::{map, map_of};
use crate::problem::Problem;
use crate::random::hash;
use crate::runs::{Counted, count_sorted};
use crate::threshold::typed_sums;

/// Random directions that are tried.
const RANDOM: usize = 8;
/// Seed of the random directions; fixed, for they are part of the method.
const DIRECTIONS: u64 = 0x6469_7265_6374;
/// Below this many rows there are 2 folds, above 5: each fold needs a change at least.
const FEW_ROWS: usize = 200;

/// A projection and what it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What it is: `equal weights`, `ridge 0.03`, ...
    pub name: String,
    /// Changes of label inside the folds, summed.
    pub changes: usize,
    /// Rows that have the majority label of their group of equal sums.
    pub correct: usize,
    /// Changes, bits of the exceptions, and the price of the direction.
    pub cost: f64,
}

/// The cross-fitted threshold sort of a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionSort {
    /// Folds.
    pub folds: usize,
    /// Features that the columns became.
    pub features: usize,
    /// All candidates.
    pub candidates: Vec<Candidate>,
    /// Index of the one of least cost.
    pub best: usize,
}

impl ProjectionSort {
    /// The one of least cost.
    pub fn winner(&self) -> &Candidate {
        &self.candidates[self.best]
    }
}

/// Keys and rows of one fold, by key.
type Order = Vec<(u64, u32)>;

/// What does not depend on labels.
pub(crate) struct Projections {
    classes: usize,
    features: Features,
    /// Rows of each fold.
    held: Vec<Vec<u32>>,
    /// Rows of the other folds.
    rest: Vec<Vec<u32>>,
    /// Directions that no label touches, one order a fold.
    fixed: Vec<(String, Vec<Order>)>,
    /// Columns, one order a fold.
    columns: Vec<Vec<Order>>,
    /// For each penalty and fold.
    factors: Vec<Vec<Factor>>,
}

impl Projections {
    pub(crate) fn new(problem: &Problem) -> Projections {
        let n = problem.rows();
        let n_folds = if n < FEW_ROWS { 2 } else { 5 };
        let part = |fold: usize, inside: bool| -> Vec<u32> {
            let of = |r: u32| (hash(DIRECTIONS, u64::from(r)) % n_folds as u64) as usize;
            (0..n as u32)
                .filter(|&r| (of(r) == fold) == inside)
                .collect()
        };
        let held: Vec<Vec<u32>> = (0..n_folds).map(|f| part(f, true)).collect();
        let rest: Vec<Vec<u32>> = (0..n_folds).map(|f| part(f, false)).collect();
        let features = Features::of(problem);
        let grams: Vec<Gram> = held.iter().map(|rows| Gram::of(&features, rows)).collect();
        let mut all = grams[0].clone();
        grams[1..].iter().for_each(|g| all.add(g, 1.0));
        let factor = |penalty: f64| -> Vec<Factor> {
            let one = |fold: usize| {
                let mut gram = all.clone();
                gram.add(&grams[fold], -1.0);
                gram.factor(penalty * rest[fold].len() as f64)
            };
            map(n_folds, one)
        };
        let factors = match features.d {
            0 => Vec::new(),
            _ => PENALTIES.iter().map(|&p| factor(p)).collect(),
        };
        let mut fixed = vec![(
            "equal weights".to_owned(),
            by_key(&typed_sums(problem), &held),
        )];
        if features.d > 1 {
            let along = |w: &[f64]| {
                let keys = (0..n)
                    .map(|r| sortable(dot(w, features.row(r))))
                    .collect::<Vec<_>>();
                by_key(&keys, &held)
            };
            fixed.push((
                "first principal component".to_owned(),
                along(&all.principal()),
            ));
            for i in 0..RANDOM {
                fixed.push((
                    format!("random direction {}", i + 1),
                    along(&random(i, features.d)),
                ));
            }
        }
        let column = |c: &bantam_data::Column| {
            let codes = Coded::of(&c.values).codes;
            let keys: Vec<u64> = codes.iter().map(|&c| u64::from(c)).collect();
            by_key(&keys, &held)
        };
        Projections {
            classes: problem.classes.len(),
            columns: map_of(&problem.columns, column),
            features,
            held,
            rest,
            fixed,
            factors,
        }
    }

    /// Sorts along every candidate.
    pub(crate) fn sort(&self, labels: &[u32]) -> ProjectionSort {
        let n_candidates = self.fixed.len() + 1 + self.factors.len();
        let choice = (n_candidates as f64).log2();
        let candidate = |name: &str, counted: Counted, price: f64| {
            let correct = counted.correct as usize;
            let wrong = exception_bits(labels.len() - correct, labels.len(), self.classes);
            Candidate {
                name: name.to_owned(),
                changes: counted.changes as usize,
                correct,
                cost: counted.changes as f64 + wrong + price + choice,
            }
        };
        let folds = |orders: &[Order]| {
            let all = orders.iter().map(|o| self.count(o, labels));
            all.fold(Counted::default(), add)
        };
        let mut candidates: Vec<Candidate> = self
            .fixed
            .iter()
            .map(|(name, orders)| candidate(name, folds(orders), 0.0))
            .collect();
        let n_columns = self.columns.len() as f64;
        let best = candidate("best column", self.best_column(labels), n_columns.log2());
        candidates.push(best);
        let fitted = self.features.d as f64 + 1.0;
        for (penalty, counted) in PENALTIES.iter().zip(self.ridges(labels)) {
            candidates.push(candidate(&format!("ridge {penalty}"), counted, fitted));
        }
        let mut best = 0;
        for (i, c) in candidates.iter().enumerate() {
            if c.cost < candidates[best].cost {
                best = i;
            }
        }
        ProjectionSort {
            folds: self.held.len(),
            features: self.features.d,
            candidates,
            best,
        }
    }

    fn count(&self, order: &[(u64, u32)], labels: &[u32]) -> Counted {
        let rows = order.iter().map(|&(key, row)| (key, labels[row as usize]));
        count_sorted(rows, self.classes)
    }

    /// For each fold the column with the fewest changes in the others.
    fn best_column(&self, labels: &[u32]) -> Counted {
        let each = |orders: &Vec<Order>| -> Vec<Counted> {
            orders.iter().map(|o| self.count(o, labels)).collect()
        };
        let counted: Vec<Vec<Counted>> = self.columns.iter().map(each).collect();
        let mut sum = Counted::default();
        for fold in 0..self.held.len() {
            let elsewhere = |c: &Vec<Counted>| {
                let others = c.iter().enumerate().filter(|(f, _)| *f != fold);
                let all = others.map(|(_, c)| *c).fold(Counted::default(), add);
                let n = self.rest[fold].len();
                all.changes as f64 + exception_bits(n - all.correct as usize, n, self.classes)
            };
            let best = counted
                .iter()
                .min_by(|a, b| elsewhere(a).total_cmp(&elsewhere(b)));
            sum = add(sum, best.map_or(Counted::default(), |c| c[fold]));
        }
        sum
    }

    /// For each penalty, rows sorted along regressions on the labels of the other folds.
    fn ridges(&self, labels: &[u32]) -> Vec<Counted> {
        let mut sums = vec![Counted::default(); self.factors.len()];
        if self.factors.is_empty() {
            return sums;
        }
        let k = outputs(self.classes);
        for (fold, held) in self.held.iter().enumerate() {
            let (moments, _) = moments_with_labels(&self.features, &self.rest[fold], labels, k);
            for (sum, factors) in sums.iter_mut().zip(&self.factors) {
                let w = direction(&moments, &factors[fold]);
                let key = |&r: &u32| (sortable(dot(&w, self.features.row(r as usize))), r);
                let mut order: Order = held.iter().map(key).collect();
                order.sort_unstable();
                *sum = add(*sum, self.count(&order, labels));
            }
        }
        sums
    }
}

impl Prepared for Projections {
    fn count(&self, labels: &[u32], _: u64) -> f64 {
        self.sort(labels).winner().cost
    }
}

/// The direction in which regressed labels vary most: for two classes the regression itself, for more
/// the first discriminant (Hastie, Tibshirani, Buja, "Flexible discriminant analysis by optimal
/// scoring", 1994).
fn direction(moments: &[Vec<f64>], factor: &Factor) -> Vec<f64> {
    let k = moments.len();
    if k <= 2 {
        return factor.solve(&moments[k - 1]);
    }
    let weights: Vec<Vec<f64>> = moments.iter().map(|b| factor.solve(b)).collect();
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut v: Vec<f64> = (0..k).map(|c| 1.0 + c as f64 / k as f64).collect();
    for _ in 0..30 {
        let next: Vec<f64> = (0..k)
            .map(|i| (0..k).map(|j| inner(&weights[i], &moments[j]) * v[j]).sum())
            .collect();
        let length = inner(&next, &next).sqrt();
        if length == 0.0 {
            break;
        }
        v = next.into_iter().map(|x| x / length).collect();
    }
    let mut w = vec![0.0; moments[0].len()];
    for (weights, v) in weights.iter().zip(&v) {
        w.iter_mut().zip(weights).for_each(|(w, x)| *w += v * x);
    }
    w
}

fn random(which: usize, d: usize) -> Vec<f64> {
    // Sums of uniform numbers are near enough to normal ones for a direction.
    let uniform = |i: usize, j: u64| {
        let place = (i as u64) * 4 + j;
        hash(DIRECTIONS ^ (which as u64 + 1), place) as f64 / 2f64.powi(64) - 0.5
    };
    (0..d)
        .map(|i| (0..4).map(|j| uniform(i, j)).sum())
        .collect()
}

fn by_key(keys: &[u64], held: &[Vec<u32>]) -> Vec<Order> {
    let order = |rows: &Vec<u32>| {
        let mut order: Order = rows.iter().map(|&r| (keys[r as usize], r)).collect();
        order.sort_unstable();
        order
    };
    held.iter().map(order).collect()
}

fn add(a: Counted, b: Counted) -> Counted {
    Counted {
        groups: a.groups + b.groups,
        changes: a.changes + b.changes,
        correct: a.correct + b.correct,
    }
}

/// Cross-fitted threshold sort of a problem, on all of its rows.
pub fn projection_sort(problem: &Problem) -> ProjectionSort {
    Projections::new(problem).sort(&problem.labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::null_changes;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    #[test]
    fn a_linear_rule_is_a_ridge() {
        let p = rule(1, 600, 6, 0);
        let found = on_threads(|| projection_sort(&p));
        assert_eq!((found.folds, found.features), (5, 6));
        assert!(found.winner().name.starts_with("ridge"), "{found:?}");
        assert!(found.winner().changes < 60, "{found:?}");
        assert_eq!(found.winner().correct, 600);
        let prices: Vec<&Candidate> = found.candidates.iter().collect();
        assert_eq!(prices.len(), 1 + 1 + RANDOM + 1 + PENALTIES.len());
    }

    /// With more columns than rows, an in-sample fit separates anything; a cross-fitted one does not.
    #[test]
    fn many_columns_do_not_separate_coins() {
        let (n, d) = (150, 300);
        let columns = (0..d).map(|c| uniform(c as u64, n)).collect();
        let p = numbers(columns, &coins(9, n));
        let found = projection_sort(&p);
        assert_eq!(found.folds, 2);
        let null = null_changes(&p.class_counts());
        for c in &found.candidates {
            assert!(c.changes as f64 > 0.75 * null, "{c:?}");
        }
        let full = p.bare(&(0..n).collect::<Vec<_>>());
        assert_eq!(
            projection_sort(&full),
            found,
            "only columns and labels count"
        );
    }

    #[test]
    fn parity_is_a_sum() {
        let bit = |i: usize, b: usize| (i >> b & 1) as f64;
        let columns = (0..9)
            .map(|b| (0..512).map(|i| bit(i, b)).collect())
            .collect();
        let labels: Vec<u32> = (0..512u32).map(|i| i.count_ones() % 2).collect();
        let found = projection_sort(&numbers(columns, &labels));
        let winner = found.winner();
        assert_eq!(
            (winner.name.as_str(), winner.correct),
            ("equal weights", 512)
        );
        assert!(winner.changes <= 5 * 9, "{winner:?}");
    }

    #[test]
    fn more_than_two_classes_have_a_direction() {
        let n = 600;
        let (x, z) = (uniform(1, n), uniform(2, n));
        let labels: Vec<u32> = x
            .iter()
            .zip(&z)
            .map(|(x, z)| (3.0 * (x + 0.2 * z) / 1.2) as u32)
            .collect();
        let found = projection_sort(&numbers(vec![x, z], &labels));
        let ridge = found
            .candidates
            .iter()
            .find(|c| c.name == "ridge 0.03")
            .unwrap();
        assert!(ridge.changes < 60, "{found:?}");
    }

    /// A column with two values merges rows, and says so in its price.
    #[test]
    fn few_changes_with_many_errors_are_not_cheap() {
        let n = 400;
        let columns = vec![uniform(1, n).iter().map(|x| x.round()).collect()];
        let found = projection_sort(&numbers(columns, &coins(2, n)));
        let c = &found.candidates[0];
        assert!(c.changes < 10 && c.correct < 240 && c.cost > 350.0, "{c:?}");
    }
}
