//! Tests of one column: Kolmogorov-Smirnov for numbers, chi-square for categories and missing cells, and
//! the population stability index as the size of a change.

use std::collections::BTreeMap;

use bantam_data::{Column, MISSING, Values};

use super::p_value::{chi_square_tail, kolmogorov_tail};

/// Least share of a bin in the population stability index.
const LEAST_SHARE: f64 = 1e-4;
/// Bins of numbers in it: tenths of the reference.
const BINS: usize = 10;
/// Most different numbers of a column that are tested as categories.
const MOST_CATEGORIES: usize = 10;
/// Categories that are expected fewer times than this in either part are tested together.
const LEAST_EXPECTED: f64 = 5.0;

/// A test and what it found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tested {
    pub(super) test: &'static str,
    pub(super) statistic: f64,
    pub(super) p: f64,
    pub(super) psi: f64,
}

/// Tests one column: its values, and how many are missing where any is.
pub(super) fn test(reference: &Column, new: &Column) -> Vec<Tested> {
    match (&reference.values, &new.values) {
        (Values::Numeric(a), Values::Numeric(b)) if !few(a, b) => numbers(a, b),
        (a, b) => vec![categories(&texts(a), &texts(b))],
    }
}

/// Whether the numbers are so few that each is a category: ties would hide a change from the test of
/// numbers.
fn few(a: &[f64], b: &[f64]) -> bool {
    let mut seen: Vec<f64> = Vec::with_capacity(MOST_CATEGORIES + 1);
    for x in a.iter().chain(b).filter(|x| !x.is_nan()) {
        if !seen.contains(x) {
            seen.push(*x);
        }
        if seen.len() > MOST_CATEGORIES {
            return false;
        }
    }
    true
}

fn numbers(a: &[f64], b: &[f64]) -> Vec<Tested> {
    let there = |v: &[f64]| {
        let mut v: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
        v.sort_unstable_by(f64::total_cmp);
        v
    };
    let missing = |v: &[f64]| v.iter().filter(|x| x.is_nan()).count() as u64;
    let (x, y) = (there(a), there(b));
    let mut found = Vec::new();
    if !x.is_empty() && !y.is_empty() {
        let d = largest_distance(&x, &y);
        found.push(Tested {
            test: "ks",
            statistic: d,
            p: kolmogorov_tail(d, x.len(), y.len()),
            psi: psi(&tenths(&x, &x), &tenths(&x, &y)),
        });
    }
    let (ma, mb) = (missing(a), missing(b));
    if ma + mb > 0 {
        let counts = |missing: u64, all: usize| vec![missing, all as u64 - missing];
        let mut tested = chi_square(&counts(ma, a.len()), &counts(mb, b.len()));
        tested.test = "missing";
        found.push(tested);
    }
    found
}

/// The largest distance of the empirical distributions of two sorted lists.
fn largest_distance(x: &[f64], y: &[f64]) -> f64 {
    let (mut i, mut j, mut most) = (0, 0, 0f64);
    while i < x.len() && j < y.len() {
        let at = x[i].min(y[j]);
        while i < x.len() && x[i] <= at {
            i += 1;
        }
        while j < y.len() && y[j] <= at {
            j += 1;
        }
        let distance = i as f64 / x.len() as f64 - j as f64 / y.len() as f64;
        most = most.max(distance.abs());
    }
    most
}

/// How many of `values` lie in each tenth of the sorted `reference`.
fn tenths(reference: &[f64], values: &[f64]) -> Vec<u64> {
    let cut = |i: usize| reference[i * reference.len() / BINS];
    let cuts: Vec<f64> = (1..BINS).map(cut).collect();
    let mut counts = vec![0; BINS];
    for x in values {
        counts[cuts.partition_point(|c| c <= x)] += 1;
    }
    counts
}

fn texts(values: &Values) -> Vec<Option<String>> {
    match values {
        Values::Numeric(v) => {
            let text = |x: &f64| (!x.is_nan()).then(|| x.to_string());
            v.iter().map(text).collect()
        }
        Values::Categorical { codes, levels } => {
            let text = |&c: &u32| (c != MISSING).then(|| levels[c as usize].clone());
            codes.iter().map(text).collect()
        }
    }
}

/// A missing cell is a category.
fn categories(a: &[Option<String>], b: &[Option<String>]) -> Tested {
    let mut counts = BTreeMap::<&Option<String>, (u64, u64)>::new();
    a.iter().for_each(|c| counts.entry(c).or_default().0 += 1);
    b.iter().for_each(|c| counts.entry(c).or_default().1 += 1);
    let (a, b): (Vec<u64>, Vec<u64>) = counts.into_values().unzip();
    chi_square(&a, &b)
}

/// Pearson's test that two lists of counts come from one distribution.
fn chi_square(a: &[u64], b: &[u64]) -> Tested {
    let (na, nb) = (a.iter().sum::<u64>() as f64, b.iter().sum::<u64>() as f64);
    let least = LEAST_EXPECTED * (na + nb) / na.min(nb).max(1.0);
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let mut rare = (0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (x as f64, y as f64);
        match x + y >= least {
            true => cells.push((x, y)),
            false => rare = (rare.0 + x, rare.1 + y),
        }
    }
    if rare.0 + rare.1 > 0.0 {
        cells.push(rare);
    }
    let term = |&(x, y): &(f64, f64)| {
        let (ex, ey) = ((x + y) * na / (na + nb), (x + y) * nb / (na + nb));
        (x - ex).powi(2) / ex + (y - ey).powi(2) / ey
    };
    let testable = na > 0.0 && nb > 0.0 && cells.len() > 1;
    let statistic = if testable {
        cells.iter().map(term).sum()
    } else {
        0.0
    };
    Tested {
        test: "chi-square",
        statistic,
        p: match testable {
            true => chi_square_tail(statistic, cells.len() as f64 - 1.0),
            false => 1.0,
        },
        psi: psi(a, b),
    }
}

/// Population stability index, `sum (b - a) ln(b / a)` over shares of bins. By convention 0.1 is worth
/// a look and 0.25 is large; it is not a test.
fn psi(a: &[u64], b: &[u64]) -> f64 {
    let shares = |counts: &[u64]| {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let share = |&c: &u64| (c as f64 / all).max(LEAST_SHARE);
        counts.iter().map(share).collect::<Vec<f64>>()
    };
    let both = shares(a).into_iter().zip(shares(b));
    both.map(|(a, b)| (b - a) * (b / a).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;

    #[test]
    fn distances() {
        let cases: [(&[f64], &[f64], f64); 5] = [
            (&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], 0.0),
            (&[1.0, 2.0], &[3.0, 4.0], 1.0),
            (&[1.0, 2.0, 3.0, 4.0], &[2.5], 0.5),
            (&[1.0, 1.0, 1.0, 2.0], &[1.0, 2.0], 0.25),
            (&[0.0], &[0.0, 1.0], 0.5),
        ];
        for (x, y, expected) in cases {
            assert_eq!(largest_distance(x, y), expected, "{x:?} {y:?}");
            assert_eq!(largest_distance(y, x), expected, "{y:?} {x:?}");
        }
    }

    /// A table with a known answer: 2 x 2 without correction, n (ad - bc)^2 / product of margins.
    #[test]
    fn contingency() {
        let found = chi_square(&[20, 80], &[35, 65]);
        let expected =
            200.0 * (20.0 * 65.0 - 80.0 * 35.0f64).powi(2) / (55.0 * 145.0 * 100.0 * 100.0);
        assert!((found.statistic - expected).abs() < 1e-12);
        // The complementary error function of the root of half the statistic.
        assert!((found.p - 0.017_528_861).abs() < 1e-8, "{}", found.p);
        assert_eq!(chi_square(&[5], &[9]).p, 1.0);
        assert_eq!(chi_square(&[], &[]).p, 1.0);
        // A category that hardly occurs is tested with its like, not alone.
        let rare = chi_square(&[500, 500, 1, 0], &[500, 500, 0, 1]);
        assert!(rare.p > 0.99, "{rare:?}");
    }

    #[test]
    fn stability_index() {
        assert_eq!(psi(&[10, 20], &[100, 200]), 0.0);
        let (a, b) = (0.3f64, 0.5f64);
        let expected = (b - a) * (b / a).ln() + (a - b) * ((1.0 - b) / (1.0 - a)).ln();
        assert!((psi(&[30, 70], &[50, 50]) - expected).abs() < 1e-12);
    }

    /// The chance of a p-value up to q is q where nothing has changed.
    #[test]
    fn p_values_are_uniform_without_drift() {
        let uniform = |seed: u64, i: u64| (hash(seed, i) >> 11) as f64 / (1u64 << 53) as f64;
        let (mut ks, mut chi) = (0, 0);
        let rounds = 2000;
        for seed in 0..rounds {
            let values = |from: u64| (from..from + 200).map(|i| uniform(seed, i)).collect();
            let (a, b): (Vec<f64>, Vec<f64>) = (values(0), values(1000));
            ks += usize::from(numbers(&a, &b)[0].p < 0.1);
            let text = |v: &[f64]| {
                v.iter()
                    .map(|x| Some(format!("{}", (x * 4.0) as u8)))
                    .collect()
            };
            let (a, b): (Vec<_>, Vec<_>) = (text(&a), text(&b));
            chi += usize::from(categories(&a, &b).p < 0.1);
        }
        // Standard error 0.7 %.
        for (name, count) in [("ks", ks), ("chi-square", chi)] {
            let rate = count as f64 / rounds as f64;
            assert!((0.07..0.125).contains(&rate), "{name}: {rate}");
        }
    }
}
