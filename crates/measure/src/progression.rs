//! Capacity progression: how much a part of the rows takes to memorise, against how large the part is.
//!
//! A rule takes no more decisions with more rows; labels without a rule take decisions in proportion.
//! The subsets are nested and drawn by a hash of the row, many times over, so that there is a band; each
//! has its own null. Whether more rows would help is read from another curve on the same subsets: the
//! bits a forest leaves open on rows it has not seen, to which `a + b n^-c` is fitted.

use crate::figure::{Interval, jackknife, spread};
use crate::headline::Headline;
use crate::learning::{RowsNeeded, learning_curve, rows_needed, still_falling};
use crate::method::{Draws, subset};
use crate::null::{Permuted, moments, quantile, shuffled};
use crate::parallel::map;
use crate::problem::Problem;
use crate::random::sample;
use crate::tree::Trunk;

/// Shares of the rows.
pub const FRACTIONS: [f64; 6] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0];
/// The slope is taken from this share on.
const SLOPE_FROM: f64 = 0.2;
/// Fewest rows of a subset.
const FEWEST_ROWS: usize = 10;

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
    /// Whether the last doubling of the rows left fewer bits open, by more than chance.
    pub still_falling: bool,
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
    let runs: Vec<Vec<[f64; 3]>> = map(draws.subsets.max(1), one);
    let losses = learning_curve(&bare, &fractions, draws);
    let mut points = Vec::new();
    for (i, &fraction) in fractions.iter().enumerate() {
        let column = |what: usize| -> Vec<f64> { runs.iter().map(|r| r[i][what]).collect() };
        let nulls = column(2);
        let (null, _) = moments(&nulls);
        let mut order = nulls.clone();
        order.sort_unstable_by(f64::total_cmp);
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
        still_falling: still_falling(&losses),
        needed: rows_needed(&fractions, &losses, &bare),
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
    each.sort_unstable_by(f64::total_cmp);
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
        let more = match self.needed {
            Some(n) if n.told => n.rows.is_none_or(|needed| needed > rows),
            Some(_) => self.still_falling,
            None => false,
        };
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
    fn few_rows_have_fewer_points() {
        let p = rule(1, 40, 2, 0);
        let found = progression(&p, 10_000, None, DRAWS);
        let fractions: Vec<f64> = found.points.iter().map(|p| p.fraction).collect();
        assert_eq!(fractions, [0.4, 0.8, 1.0]);
    }
}
