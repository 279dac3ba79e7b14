//! Typed columns as numbers of like size: what projections, distances and linear models see.
//!
//! A number is standardised, a missing one is 0 and has an indicator; a category is one feature a
//! value, scaled so that the column as a whole varies as much as a standardised number; texts with
//! many values are their rank. Above [`MOST`] features they are hashed into that many with random
//! signs, which keeps distances and inner products on average (Weinberger et al., "Feature hashing for
//! large scale multitask learning", 2009). None of it looks at labels.

use bantam_data::Values;

use crate::codes::Coded;
use crate::parallel::map_of;
use crate::problem::Problem;
use crate::random::hash;

/// Most features.
pub(crate) const MOST: usize = 512;
/// Seed of the hashing; fixed, for it is part of the method.
const HASH_SEED: u64 = 0x0062_616e_7461_6d00;

/// Rows of features.
pub(crate) struct Features {
    /// Number of rows.
    pub(crate) n: usize,
    /// Number of features.
    pub(crate) d: usize,
    /// `[n, d]`, row-major.
    pub(crate) values: Vec<f32>,
}

impl Features {
    /// Features of a problem; columns that do not vary have none, so there may be 0.
    pub(crate) fn of(problem: &Problem) -> Features {
        let n = problem.rows();
        let parts: Vec<Vec<Vec<f32>>> = map_of(&problem.columns, |c| column(&c.values));
        let all: Vec<&Vec<f32>> = parts.iter().flatten().collect();
        let d = all.len().min(MOST);
        let mut values = vec![0f32; n * d];
        for (i, feature) in all.iter().enumerate() {
            let (at, sign) = match all.len() <= MOST {
                true => (i, 1.0),
                false => {
                    let h = hash(HASH_SEED, i as u64);
                    (
                        (h >> 1) as usize % MOST,
                        if h & 1 == 0 { 1.0 } else { -1.0 },
                    )
                }
            };
            for (row, &x) in feature.iter().enumerate() {
                values[row * d + at] += sign * x;
            }
        }
        Features { n, d, values }
    }

    /// The features of a row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.d..(row + 1) * self.d]
    }
}

fn column(values: &Values) -> Vec<Vec<f32>> {
    match values {
        Values::Numeric(v) => {
            let there: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
            let mut features = Vec::new();
            features.extend(standardised(v, &there));
            if there.len() < v.len() {
                let missing: Vec<f64> = v.iter().map(|x| f64::from(x.is_nan())).collect();
                features.extend(standardised(&missing, &missing));
            }
            features
        }
        Values::Categorical { .. } => {
            let coded = Coded::of(values);
            if coded.ordered {
                let ranks: Vec<f64> = coded.codes.iter().map(|&c| f64::from(c)).collect();
                return standardised(&ranks, &ranks).into_iter().collect();
            }
            one_hot(&coded)
        }
    }
}

/// `x` less the mean of `there`, over their deviation, NaN being 0; None when they do not vary.
fn standardised(x: &[f64], there: &[f64]) -> Option<Vec<f32>> {
    let largest = there.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if largest == 0.0 {
        return None;
    }
    let n = there.len() as f64;
    let mean = there.iter().map(|x| x / largest).sum::<f64>() / n;
    let square = there
        .iter()
        .map(|x| (x / largest - mean).powi(2))
        .sum::<f64>()
        / n;
    let deviation = square.sqrt();
    if deviation < 1e-13 {
        return None;
    }
    let one = |&x: &f64| match x.is_nan() {
        true => 0.0,
        false => ((x / largest - mean) / deviation) as f32,
    };
    Some(x.iter().map(one).collect())
}

fn one_hot(coded: &Coded) -> Vec<Vec<f32>> {
    let n = coded.codes.len() as f64;
    let mut counts = vec![0usize; coded.n_values as usize + 1];
    coded.codes.iter().for_each(|&c| counts[c as usize] += 1);
    let shares: Vec<f64> = counts.iter().map(|&c| c as f64 / n).collect();
    let varies: f64 = shares.iter().map(|p| p * (1.0 - p)).sum();
    let used: Vec<usize> = (0..counts.len()).filter(|&c| counts[c] > 0).collect();
    if used.len() < 2 {
        return Vec::new();
    }
    let scale = varies.sqrt();
    // The last of two values says nothing that the first does not.
    let shown = if used.len() == 2 { &used[..1] } else { &used };
    let root2 = if used.len() == 2 {
        std::f64::consts::SQRT_2
    } else {
        1.0
    };
    let feature = |&level: &usize| {
        let (on, off) = (1.0 - shares[level], -shares[level]);
        let value = |&c: &u32| {
            let x = if c as usize == level { on } else { off };
            (root2 * x / scale) as f32
        };
        coded.codes.iter().map(value).collect()
    };
    shown.iter().map(feature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_data::{Column, Table};

    fn of(columns: Vec<Column>) -> Features {
        let n = columns[0].values.len();
        let mut columns = columns;
        columns.push(Column::numeric(
            "y",
            (0..n).map(|i| (i % 2) as f64).collect(),
        ));
        let options = crate::problem::Options {
            exclude_identifiers: false,
            ..Default::default()
        };
        Features::of(&Problem::from_table(&Table::new(columns).unwrap(), "y", &options).unwrap())
    }

    #[test]
    fn every_column_varies_as_much() {
        let nan = f64::NAN;
        let words = ["a", "b", "c", "b", "a", "b"].map(Some);
        let two = ["u", "v", "v", "v", "v", "u"].map(Some);
        let f = of(vec![
            Column::numeric("x", vec![1e300, 2e300, 3e300, nan, 1e300, 2e300]),
            Column::categorical("w", &words),
            Column::categorical("t", &two),
        ]);
        assert_eq!((f.n, f.d), (6, 1 + 1 + 3 + 1));
        let variance = |features: std::ops::Range<usize>| -> f64 {
            let square = |c: usize| (0..6).map(move |r| (r, c));
            let all = features.flat_map(square);
            all.map(|(r, c)| f64::from(f.row(r)[c]).powi(2))
                .sum::<f64>()
                / 6.0
        };
        assert!((variance(0..1) - 5.0 / 6.0).abs() < 1e-6, "one is missing");
        assert!((variance(1..2) - 1.0).abs() < 1e-6, "the indicator");
        assert!((variance(2..5) - 1.0).abs() < 1e-6, "three categories");
        assert!((variance(5..6) - 1.0).abs() < 1e-6, "two categories");
        assert_eq!(f.row(3)[0], 0.0);
    }

    #[test]
    fn many_features_are_hashed_and_keep_distances() {
        let cell = |r: u64, c: u64| (hash(r, c) % 1000) as f64;
        let column = |c: u64| {
            Column::numeric(
                format!("x{c}"),
                (0..40).map(|r| cell(r, c)).collect::<Vec<f64>>(),
            )
        };
        let f = of((0..2000).map(column).collect());
        assert_eq!(f.d, MOST);
        let distance = |a: usize, b: usize| -> f32 {
            f.row(a)
                .iter()
                .zip(f.row(b))
                .map(|(x, y)| (x - y).powi(2))
                .sum()
        };
        // Independent standardised features are 2 apart each, on average.
        let mean = (1..40).map(|r| distance(0, r)).sum::<f32>() / 39.0;
        assert!((mean / 4000.0 - 1.0).abs() < 0.15, "{mean}");
    }
}
