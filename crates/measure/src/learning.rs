//! Learning curve: the bits a row that a forest leaves open on rows it has not seen, against the rows it
//! was fitted on, and how many rows would be enough.
//!
//! `a + b n^-c` is fitted to it. Five points say little about three numbers, and where the curve ends, `a`,
//! is the least certain of them. So the band is made of all curves that fit about as well as the best,
//! and where it reaches from rows that are there to ten times as many, nothing can be told.

use crate::bits::entropy_bits;
use crate::figure::Interval;
use crate::forest::{Binned, Forest, bits};
use crate::method::{Draws, subset};
use crate::null::moments;
use crate::parallel::map;
use crate::problem::Problem;
use crate::random::{Stream, hash};

/// Fewest rows a forest is fitted on.
const FEWEST_ROWS: usize = 10;
/// Trees of a forest.
const TREES: usize = 24;
/// Most rows that a forest is fitted on, and scored on.
const MOST_ROWS: usize = 20_000;
const MOST_SCORED: usize = 4_000;
/// Most subsets of each share.
const SUBSETS: usize = 10;
/// Furthest the curve is extended, as a factor of the rows.
const FURTHEST: f64 = 10.0;
/// Share of what could still be gained that may be left when the rows are enough.
const LEFT_OVER: f64 = 0.1;
/// Least standard error of a loss, relative to it.
const LEAST_ERROR: f64 = 0.002;
/// 90 % quantile of chi-square with one degree of freedom: curves in the band fit worse by no more.
const WORSE: f64 = 2.706;
/// 95 % quantile of the normal distribution.
const Z95: f64 = 1.645;

/// Rows until 90 % of what more rows could bring is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowsNeeded {
    /// Whether the band says anything. It does not when both rows that are there and more than ten times
    /// as many fit the curve.
    pub told: bool,
    /// Rows in all, by the curve that fits best; None when that is beyond ten times the rows that there
    /// are, or nothing can be told.
    pub rows: Option<f64>,
    /// 90 % band, of all curves that fit; an end beyond ten times the rows is there, at ten times.
    pub interval: Interval,
    /// Bits a row that stay open with any number of rows, by the curve that fits best.
    pub floor_bits: f64,
    /// The same, by all curves that fit.
    pub floor_interval: Interval,
    /// Ten times the rows: how far the curve is extended at most.
    pub furthest: f64,
}

/// Bits a row left open on the other rows, for each share below 1 and each subset.
pub(crate) fn learning_curve(problem: &Problem, fractions: &[f64], draws: Draws) -> Vec<Vec<f64>> {
    let binned = Binned::new(problem);
    let (n, k) = (problem.rows(), problem.classes.len());
    let all: Vec<usize> = (0..n).collect();
    let runs = draws.subsets.min(SUBSETS);
    let one = |fraction: f64, which: usize| {
        let part = subset(&all, draws.seed, which, fraction);
        let mut inside = vec![false; n];
        part.iter().for_each(|&r| inside[r] = true);
        let seed = hash(draws.seed, 3000 + which as u64);
        let mut fitted: Vec<u32> = part.into_iter().map(|r| r as u32).collect();
        Stream::new(seed, 2).shuffle(&mut fitted);
        fitted.truncate(MOST_ROWS);
        let mut rest: Vec<u32> = (0..n as u32).filter(|&r| !inside[r as usize]).collect();
        Stream::new(seed, 1).shuffle(&mut rest);
        rest.truncate(MOST_SCORED);
        if fitted.len() < FEWEST_ROWS || rest.is_empty() {
            return None;
        }
        let forest = Forest::fit(&binned, &fitted, &problem.labels, TREES, seed);
        let predicted = forest.predict(&binned, &rest);
        Some(bits(&predicted, &rest, &problem.labels, k) / rest.len() as f64)
    };
    let of = |&fraction: &f64| match fraction < 1.0 {
        true => map(runs, |w| one(fraction, w))
            .into_iter()
            .flatten()
            .collect(),
        false => Vec::new(),
    };
    fractions.iter().map(of).collect()
}

/// Whether the losses of the last two shares that have any differ by more than chance.
pub(crate) fn still_falling(losses: &[Vec<f64>]) -> bool {
    let mut used = losses.iter().filter(|l| l.len() >= 3).rev();
    let (Some(last), Some(before)) = (used.next(), used.next()) else {
        return false;
    };
    let (a, b) = (Measured::of(0.0, before), Measured::of(0.0, last));
    a.loss - b.loss > Z95 * (a.error.powi(2) + b.error.powi(2)).sqrt()
}

/// One point of the curve.
#[derive(Clone, Copy, Debug)]
struct Measured {
    rows: f64,
    loss: f64,
    /// Standard error of the loss.
    error: f64,
}

impl Measured {
    fn of(rows: f64, losses: &[f64]) -> Measured {
        let (loss, deviation) = moments(losses);
        let error = deviation / (losses.len() as f64).sqrt();
        Measured {
            rows,
            loss,
            // No curve is of that form to the last digit.
            error: error.max(LEAST_ERROR * loss).max(1e-6),
        }
    }
}

/// `a + b n^-c`, `a` and `b` not negative.
#[derive(Clone, Copy, Debug)]
struct Curve {
    a: f64,
    b: f64,
    c: f64,
}

/// Steps of `c`, and how many: 0.05 to 1.5.
const C_STEP: f64 = 0.05;
const C_STEPS: u32 = 30;
/// Steps of `a` between 0 and the entropy.
const A_STEPS: u32 = 100;

impl Curve {
    /// All curves of a grid of `a` up to `entropy` and of `c`, with the best `b`, and how badly each fits:
    /// the sum of squared errors in units of their standard errors.
    fn all(points: &[Measured], entropy: f64) -> Vec<(f64, Curve)> {
        let mut found = Vec::new();
        for c in (1..=C_STEPS).map(|i| f64::from(i) * C_STEP) {
            let x: Vec<f64> = points.iter().map(|p| p.rows.powf(-c)).collect();
            let both = || x.iter().zip(points);
            let xx: f64 = both().map(|(x, p)| (x / p.error).powi(2)).sum();
            for a in (0..A_STEPS).map(|i| entropy * f64::from(i) / f64::from(A_STEPS)) {
                let xy: f64 = both()
                    .map(|(x, p)| x * (p.loss - a) / p.error.powi(2))
                    .sum();
                let b = (xy / xx).max(0.0);
                let squared = |(x, p): (&f64, &Measured)| ((a + b * x - p.loss) / p.error).powi(2);
                found.push((both().map(squared).sum(), Curve { a, b, c }));
            }
        }
        found
    }

    /// Rows at which nine tenths of what lies between `entropy` and the floor is gained; at most `furthest`.
    fn rows_enough(&self, entropy: f64, furthest: f64) -> f64 {
        if self.b <= 0.0 {
            return 0.0;
        }
        let left = LEFT_OVER * (entropy - self.a);
        (self.b / left).powf(1.0 / self.c).min(furthest)
    }
}

/// Rows at which nine tenths of what rows can bring over the entropy of the labels is there. None with
/// fewer than four points, and when the forest does no better than guessing.
pub(crate) fn rows_needed(
    fractions: &[f64],
    losses: &[Vec<f64>],
    problem: &Problem,
) -> Option<RowsNeeded> {
    let n = problem.rows() as f64;
    let entropy = entropy_bits(&problem.class_counts());
    let used = fractions.iter().zip(losses).filter(|(_, l)| l.len() >= 3);
    let points: Vec<Measured> = used
        .map(|(f, l)| Measured::of((f * n).min(MOST_ROWS as f64), l))
        .collect();
    if points.len() < 4 || points.iter().all(|p| p.loss >= entropy) {
        return None;
    }
    Some(enough(&points, entropy, n))
}

fn enough(points: &[Measured], entropy: f64, n: f64) -> RowsNeeded {
    let curves = Curve::all(points, entropy);
    let best = curves
        .iter()
        .fold(curves[0], |best, c| if c.0 < best.0 { *c } else { best });
    // Where no curve fits, errors are larger than they look.
    let scale = (best.0 / (points.len() as f64 - 2.0)).max(1.0);
    let furthest = FURTHEST * n;
    let nothing = Interval {
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
    };
    let widen = |i: Interval, x: f64| Interval {
        low: i.low.min(x),
        high: i.high.max(x),
    };
    let (mut interval, mut floor_interval) = (nothing, nothing);
    for (_, curve) in curves.iter().filter(|c| c.0 <= best.0 + WORSE * scale) {
        interval = widen(interval, curve.rows_enough(entropy, furthest));
        floor_interval = widen(floor_interval, curve.a);
    }
    let told = interval.low > n || interval.high < furthest;
    let rows = best.1.rows_enough(entropy, f64::INFINITY);
    RowsNeeded {
        told,
        rows: (told && rows <= furthest).then_some(rows),
        interval,
        floor_bits: best.1.a,
        floor_interval,
        furthest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rule;

    fn points(error: f64, at: impl Fn(f64) -> f64) -> Vec<Measured> {
        let one = |rows: f64| Measured {
            rows,
            loss: at(rows),
            error,
        };
        [50.0, 100.0, 200.0, 400.0, 800.0].map(one).to_vec()
    }

    #[test]
    fn a_curve_says_how_many_rows() {
        // 0.4 + 3 / sqrt(n): of the 0.6 bits there are to gain, 0.06 are left at 2500 rows.
        let exact = enough(&points(1e-4, |n| 0.4 + 3.0 / n.sqrt()), 1.0, 1000.0);
        assert!(exact.told, "{exact:?}");
        assert!(
            (exact.rows.unwrap() / 2500.0 - 1.0).abs() < 0.1,
            "{exact:?}"
        );
        assert!((exact.floor_bits - 0.4).abs() < 0.02, "{exact:?}");
        let band = exact.interval;
        assert!(band.low > 2000.0 && band.high < 3200.0, "{exact:?}");
        // The same, not so sure: the truth stays inside, and the band is wider.
        let rough = enough(&points(0.01, |n| 0.4 + 3.0 / n.sqrt()), 1.0, 1000.0);
        assert!(rough.interval.low < band.low && rough.interval.high > band.high);
        assert!(rough.interval.low < 2500.0 && rough.interval.high > 2500.0);
        assert!(rough.floor_interval.low < 0.4 && rough.floor_interval.high > 0.4);
    }

    #[test]
    fn what_cannot_be_told_is_not() {
        // A slow fall, with errors as large as the fall: it may be over, or go on for ever.
        let found = enough(&points(0.03, |n| 0.5 + 0.2 * n.powf(-0.3)), 1.0, 1000.0);
        assert!(!found.told && found.rows.is_none(), "{found:?}");
        assert!(found.interval.low <= 1000.0 && found.interval.high == 10_000.0);
        // A curve that is flat from the first point on needs no more than is there.
        let flat = enough(&points(0.001, |_| 0.5), 1.0, 1000.0);
        assert!(flat.told && flat.rows == Some(0.0), "{flat:?}");
        // One that falls straight on needs more than that.
        let falls = enough(&points(0.001, |n| 2.5 * n.powf(-0.25)), 1.0, 1000.0);
        assert!(falls.told && falls.rows.is_none(), "{falls:?}");
        assert!(falls.interval.low > 1000.0, "{falls:?}");
    }

    #[test]
    fn falling_by_more_than_chance() {
        let around = |x: f64| vec![x - 0.01, x, x + 0.01, x];
        assert!(still_falling(&[around(0.6), around(0.5), vec![]]));
        assert!(!still_falling(&[around(0.6), around(0.5), around(0.5)]));
        assert!(!still_falling(&[around(0.6), vec![]]));
    }

    /// A tenth of the labels is noise, which stays open.
    #[test]
    fn noise_stays() {
        let p = rule(7, 1200, 3, 10);
        let fractions = crate::progression::FRACTIONS;
        let draws = Draws {
            permutations: 20,
            subsets: 20,
            seed: 1,
        };
        let losses = learning_curve(&p, &fractions, draws);
        let found = rows_needed(&fractions, &losses, &p).unwrap();
        assert!(found.interval.low <= found.interval.high);
        assert!(found.floor_interval.high > 0.3, "{found:?}");
    }
}
