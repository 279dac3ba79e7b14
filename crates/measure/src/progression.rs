//! Capacity progression: how much a part of the rows takes to memorise, against how large the part is.
//!
//! A rule takes no more decisions with more rows; labels without a rule take decisions in proportion.
//! The subsets are nested and drawn by a hash of the row, many times over, so that there is a band; each
//! has its own null. Whether more rows would help is read from another curve on the same subsets: the
//! bits a forest leaves open on rows it has not seen, to which `a + b n^-c` is fitted.

use rayon::prelude::*;

use crate::figure::{Interval, jackknife, spread};
use crate::forest::{Binned, Forest, bits};
use crate::headline::Headline;
use crate::method::{Draws, subset};
use crate::null::{Permuted, moments, quantile, shuffled};
use crate::problem::Problem;
use crate::random::{Stream, hash, sample};
use crate::tree::Trunk;

/// Shares of the rows.
pub const FRACTIONS: [f64; 6] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0];
/// The slope is taken from this share on.
const SLOPE_FROM: f64 = 0.2;
/// Fewest rows of a subset.
const FEWEST_ROWS: usize = 10;
/// Trees of a forest of the learning curve.
const TREES: usize = 24;
/// Most rows that a forest of the learning curve is fitted on, and scored on.
const MOST_ROWS: usize = 20_000;
const MOST_SCORED: usize = 4_000;
/// Furthest the learning curve is extended, as a factor of the rows.
const FURTHEST: f64 = 10.0;
/// Share of what could still be gained that may be left when the rows are enough.
const LEFT_OVER: f64 = 0.1;

/// One share of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Share of the rows.
    pub fraction: f64,
    /// Rows, on average over the subsets.
    pub rows: f64,
    /// Splits of the tree that answers them, on average: an upper bound on bits.
    pub bits: f64,
    /// 90 % interval.
    pub interval: Interval,
    /// The same with shuffled labels: mean and the interval that holds 90 % of the draws.
    pub null: f64,
    /// 5 % and 95 % quantile of the draws.
    pub null_interval: Interval,
    /// Bits a row that a forest fitted on the subset leaves open on the other rows; None for all rows.
    pub loss_bits: Option<f64>,
}

impl Point {
    /// `bits / null`.
    pub fn ratio(&self) -> Option<f64> {
        (self.null > 0.0).then(|| self.bits / self.null)
    }
}

/// What the progression says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No method finds fewer decisions than in shuffled labels.
    NoEvidence,
    /// The decisions hardly grow with the rows.
    RuleFound,
    /// They grow less than the rows do, or rows not seen are answered ever better.
    StillLearning,
    /// They grow with the rows, but rows not seen are answered as well as they will be: what is
    /// added is noise, or rare cases.
    RuleAndNoise,
    /// There is one class.
    NothingToLearn,
}

impl Verdict {
    /// A few words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::NoEvidence => "no evidence of structure",
            Verdict::RuleFound => "rule found",
            Verdict::StillLearning => "still learning",
            Verdict::RuleAndNoise => "rule and noise",
            Verdict::NothingToLearn => "nothing to learn",
        }
    }
}

/// Rows until 90 % of what more rows could bring is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowsNeeded {
    /// Rows in all; None when that is beyond ten times the rows that there are.
    pub rows: Option<f64>,
    /// 90 % band from the subsets; an end beyond ten times the rows is there, at ten times.
    pub interval: Interval,
    /// Bits a row that stay open with any number of rows, by the fitted curve.
    pub floor_bits: f64,
    /// Ten times the rows: how far the curve is extended at most.
    pub furthest: f64,
}

/// The progression.
#[derive(Clone, Debug, PartialEq)]
pub struct Progression {
    /// Rows it was made on.
    pub rows: usize,
    /// Subsets of each share.
    pub subsets: usize,
    /// One point a share.
    pub points: Vec<Point>,
    /// Slope of `log bits` over `log rows` from 20 % of the rows on: 0 for a rule, 1 for memorising.
    /// None when nothing had to be memorised.
    pub slope: Option<f64>,
    /// 5 % and 95 % quantile of the slopes of the subsets.
    pub slope_interval: Option<Interval>,
    /// How many rows would be enough; None when the curve cannot be fitted.
    pub needed: Option<RowsNeeded>,
}

/// The progression of a problem on at most `max_rows` rows. `null`: splits with shuffled labels, where
/// they are known already for all of these rows.
pub(crate) fn progression(
    problem: &Problem,
    max_rows: usize,
    null: Option<&Permuted>,
    draws: Draws,
) -> Progression {
    let rows = sample(problem.rows(), max_rows, draws.seed);
    let bare = problem.bare(&rows);
    let trunk = Trunk::new(&bare, usize::MAX);
    let n = rows.len();
    let fractions: Vec<f64> = FRACTIONS
        .into_iter()
        .filter(|f| f * n as f64 >= FEWEST_ROWS as f64 || *f == 1.0)
        .collect();
    let all: Vec<usize> = (0..n).collect();
    let known = null.filter(|p| p.rows == n && p.draws > 1);
    let one = |which: usize| -> Vec<[f64; 3]> {
        let labels = shuffled(&problem.labels, draws.seed, which);
        let shuffled: Vec<u32> = rows.iter().map(|&r| labels[r]).collect();
        let at = |&fraction: &f64| {
            let part = subset(&all, draws.seed, which, fraction);
            let part: Vec<u32> = part.into_iter().map(|r| r as u32).collect();
            let size = part.len() as f64;
            let own = match fraction < 1.0 || which == 0 {
                true => trunk.splits(part.clone(), &bare.labels) as f64,
                false => f64::NAN,
            };
            let null = match (known, fraction < 1.0) {
                (Some(known), false) => known.mean,
                _ => trunk.splits(part, &shuffled) as f64,
            };
            [size, own, null]
        };
        fractions.iter().map(at).collect()
    };
    let runs: Vec<Vec<[f64; 3]>> = (0..draws.subsets.max(1)).into_par_iter().map(one).collect();
    let losses = learning_curve(&bare, &fractions, draws);
    let mut points = Vec::new();
    for (i, &fraction) in fractions.iter().enumerate() {
        let column = |what: usize| -> Vec<f64> { runs.iter().map(|r| r[i][what]).collect() };
        let nulls = column(2);
        let (null, _) = moments(&nulls);
        let mut order = nulls.clone();
        order.sort_by(f64::total_cmp);
        let loss = losses
            .get(i)
            .filter(|l| !l.is_empty())
            .map(|l| moments(l).0);
        let (bits, interval) = match fraction < 1.0 {
            true => (moments(&column(1)).0, spread(&column(1), fraction)),
            false => whole(&runs, &fractions, i),
        };
        points.push(Point {
            fraction,
            rows: moments(&column(0)).0,
            bits,
            interval,
            null,
            null_interval: match known.filter(|_| fraction >= 1.0) {
                Some(known) => Interval {
                    low: known.low,
                    high: known.high,
                },
                None => Interval {
                    low: quantile(&order, 0.05),
                    high: quantile(&order, 0.95),
                },
            },
            loss_bits: loss,
        });
    }
    let (slope, slope_interval) = slope(&points, &runs);
    Progression {
        rows: n,
        subsets: runs.len(),
        slope,
        slope_interval,
        needed: needed(&fractions, &losses, &bare),
        points,
    }
}

/// All rows have one count; its interval comes from the subsets of 40 %, relative to their null.
fn whole(runs: &[Vec<[f64; 3]>], fractions: &[f64], last: usize) -> (f64, Interval) {
    let bits = runs[0][last][1];
    let same = Interval {
        low: bits,
        high: bits,
    };
    let Some(at) = fractions.iter().position(|&f| f == 0.4) else {
        return (bits, same);
    };
    let mean = |i: usize| runs.iter().map(|r| r[i][2]).sum::<f64>() / runs.len() as f64;
    let (null, part) = (mean(last), mean(at));
    if null <= 0.0 || part <= 0.0 {
        return (bits, same);
    }
    let ratios: Vec<f64> = runs.iter().map(|r| r[at][1] / part).collect();
    let found = jackknife(bits / null, &ratios, 0.4);
    let scaled = found.map(|i| Interval {
        low: i.low * null,
        high: i.high * null,
    });
    (bits, scaled.unwrap_or(same))
}

/// Slope of the means, and the quantiles of the slopes of the runs.
fn slope(points: &[Point], runs: &[Vec<[f64; 3]>]) -> (Option<f64>, Option<Interval>) {
    let from = |i: usize| points[i].fraction >= SLOPE_FROM;
    let line = |at: &dyn Fn(usize) -> (f64, f64)| {
        let pairs: Vec<(f64, f64)> = (0..points.len()).filter(|&i| from(i)).map(at).collect();
        let usable: Vec<(f64, f64)> = pairs
            .into_iter()
            .filter(|p| p.0 > 0.0 && p.1 > 0.0)
            .collect();
        log_slope(&usable)
    };
    let last = points.len() - 1;
    let mean = line(&|i| (points[i].rows, points[i].bits));
    let mut each: Vec<f64> = runs
        .iter()
        .filter_map(|run| {
            let bits = |i: usize| if i == last { points[i].bits } else { run[i][1] };
            line(&|i| (run[i][0], bits(i)))
        })
        .collect();
    each.sort_by(f64::total_cmp);
    let interval = (each.len() > 2).then(|| Interval {
        low: quantile(&each, 0.05),
        high: quantile(&each, 0.95),
    });
    (mean, mean.and(interval))
}

/// Least-squares slope of `ln y` over `ln x`; None with fewer than 2 points.
fn log_slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 2 {
        return None;
    }
    let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.0.ln(), p.1.ln())).collect();
    let n = logs.len() as f64;
    let (x, y) = logs
        .iter()
        .fold((0.0, 0.0), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    let xy: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let xx: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    (xx > 0.0).then(|| xy / xx)
}

/// Bits a row left open on the other rows, for each share below 1 and each subset.
fn learning_curve(problem: &Problem, fractions: &[f64], draws: Draws) -> Vec<Vec<f64>> {
    let binned = Binned::new(problem);
    let (n, k) = (problem.rows(), problem.classes.len());
    let all: Vec<usize> = (0..n).collect();
    let runs = draws.subsets.min(10);
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
        true => (0..runs)
            .into_par_iter()
            .filter_map(|w| one(fraction, w))
            .collect(),
        false => Vec::new(),
    };
    fractions.iter().map(of).collect()
}

/// `a + b n^-c`.
#[derive(Clone, Copy)]
struct Curve {
    a: f64,
    b: f64,
    c: f64,
}

impl Curve {
    /// Least squares over a grid of `c`; `a` and `b` are not negative.
    fn fit(points: &[(f64, f64)]) -> Curve {
        let mut best = (
            f64::INFINITY,
            Curve {
                a: 0.0,
                b: 0.0,
                c: 1.0,
            },
        );
        for step in 1..=30 {
            let c = f64::from(step) * 0.05;
            let x: Vec<f64> = points.iter().map(|p| p.0.powf(-c)).collect();
            let n = points.len() as f64;
            let (mx, my) = (
                x.iter().sum::<f64>() / n,
                points.iter().map(|p| p.1).sum::<f64>() / n,
            );
            let xy: f64 = x
                .iter()
                .zip(points)
                .map(|(x, p)| (x - mx) * (p.1 - my))
                .sum();
            let xx: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
            let mut b = if xx > 0.0 { (xy / xx).max(0.0) } else { 0.0 };
            let mut a = my - b * mx;
            if a < 0.0 {
                a = 0.0;
                let own: f64 = x.iter().zip(points).map(|(x, p)| x * p.1).sum();
                b = own / x.iter().map(|x| x * x).sum::<f64>();
            }
            let error = x
                .iter()
                .zip(points)
                .map(|(x, p)| (a + b * x - p.1).powi(2))
                .sum::<f64>();
            if error < best.0 {
                best = (error, Curve { a, b, c });
            }
        }
        best.1
    }

    /// Rows at which `left` bits above the floor are left.
    fn rows_at(&self, left: f64) -> f64 {
        if self.b <= 0.0 || left <= 0.0 {
            return if self.b <= 0.0 { 0.0 } else { f64::INFINITY };
        }
        (self.b / left).powf(1.0 / self.c)
    }
}

/// Rows at which nine tenths of what rows can bring over the entropy of the labels is there.
fn needed(fractions: &[f64], losses: &[Vec<f64>], problem: &Problem) -> Option<RowsNeeded> {
    let n = problem.rows() as f64;
    let entropy = crate::bits::entropy_bits(&problem.class_counts());
    let used: Vec<usize> = (0..fractions.len())
        .filter(|&i| losses[i].len() >= 3)
        .collect();
    if used.len() < 4 {
        return None;
    }
    let solve = |pick: &dyn Fn(usize) -> f64| {
        let at = |&i: &usize| ((fractions[i] * n).min(MOST_ROWS as f64), pick(i));
        let curve = Curve::fit(&used.iter().map(at).collect::<Vec<_>>());
        (
            curve.rows_at(LEFT_OVER * (entropy - curve.a).max(0.0)),
            curve,
        )
    };
    let (rows, curve) = solve(&|i| moments(&losses[i]).0);
    if curve.a >= entropy {
        return None;
    }
    let furthest = FURTHEST * n;
    let mut draws: Vec<f64> = (0..100)
        .map(|draw| {
            let mut stream = Stream::new(hash(77, draw), 0);
            let count = losses[used[0]].len();
            let picked: Vec<usize> = (0..count).map(|_| stream.below(count)).collect();
            let mean = |i: usize| {
                let values: Vec<f64> = picked
                    .iter()
                    .filter_map(|&p| losses[i].get(p))
                    .copied()
                    .collect();
                moments(&values).0
            };
            solve(&mean).0.min(furthest)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    Some(RowsNeeded {
        rows: (rows <= furthest).then_some(rows),
        interval: Interval {
            low: quantile(&draws, 0.05),
            high: quantile(&draws, 0.95),
        },
        floor_bits: curve.a,
        furthest,
    })
}

impl Progression {
    /// The verdict, with the headline, which says whether there is anything to learn.
    pub fn verdict(&self, headline: Option<&Headline>) -> Verdict {
        let Some(headline) = headline else {
            return Verdict::NothingToLearn;
        };
        if !headline.structure {
            return Verdict::NoEvidence;
        }
        let rows = self.rows as f64;
        let more = self
            .needed
            .is_some_and(|n| n.rows.is_none_or(|needed| needed > rows));
        match self.slope {
            None => Verdict::RuleFound,
            Some(slope) if slope <= 0.2 => Verdict::RuleFound,
            Some(slope) if slope < 0.8 || more => Verdict::StillLearning,
            Some(_) => Verdict::RuleAndNoise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    const DRAWS: Draws = Draws {
        permutations: 20,
        subsets: 20,
        seed: 1,
    };

    #[test]
    fn a_rule_stops_growing_and_coins_do_not() {
        let n = 1000;
        let x = uniform(1, n);
        let labels: Vec<u32> = x.iter().map(|x| u32::from(*x > 0.37)).collect();
        let p = numbers(vec![x, uniform(2, n), uniform(3, n)], &labels);
        let found = on_threads(|| progression(&p, 10_000, None, DRAWS));
        assert_eq!(found.points.len(), 6);
        assert_eq!(found.points[5].bits, 1.0);
        assert!(found.slope.unwrap().abs() < 0.05, "{found:?}");
        let coin = numbers(vec![uniform(1, n), uniform(2, n)], &coins(3, n));
        let found = progression(&coin, 10_000, None, DRAWS);
        assert!((found.slope.unwrap() - 1.0).abs() < 0.1, "{found:?}");
        let i = found.slope_interval.unwrap();
        assert!(i.low < i.high);
        for p in &found.points {
            assert!((p.ratio().unwrap() - 1.0).abs() < 0.15, "{p:?}");
            assert!(
                p.interval.low <= p.bits && p.bits <= p.interval.high,
                "{p:?}"
            );
        }
    }

    #[test]
    fn a_learning_curve_says_how_many_rows() {
        // 0.4 + 3 / sqrt(n): of the 0.6 bits there are to gain, 0.06 are left at 2500 rows.
        let at = |n: f64| (n, 0.4 + 3.0 / n.sqrt());
        let curve = Curve::fit(&[at(50.0), at(100.0), at(200.0), at(400.0), at(800.0)]);
        assert!((curve.a - 0.4).abs() < 0.01 && (curve.c - 0.5).abs() < 0.03);
        assert!(
            (curve.rows_at(0.06) / 2500.0 - 1.0).abs() < 0.1,
            "{}",
            curve.rows_at(0.06)
        );
        // A flat curve needs no rows at all.
        let flat = Curve::fit(&[(10.0, 0.5), (20.0, 0.5), (40.0, 0.5)]);
        assert_eq!(flat.rows_at(0.1), 0.0);
        let p = rule(7, 1200, 3, 10);
        let found = progression(&p, 10_000, None, DRAWS).needed.unwrap();
        assert!(found.interval.low <= found.interval.high);
        assert!(
            found.floor_bits > 0.2,
            "a tenth of the labels is noise: {found:?}"
        );
    }

    #[test]
    fn few_rows_have_fewer_points() {
        let p = rule(1, 40, 2, 0);
        let found = progression(&p, 10_000, None, DRAWS);
        let fractions: Vec<f64> = found.points.iter().map(|p| p.fraction).collect();
        assert_eq!(fractions, [0.4, 0.8, 1.0]);
    }
}
