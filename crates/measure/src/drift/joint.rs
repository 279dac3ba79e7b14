//! A test of all columns together: the maximum mean discrepancy (Gretton et al., "A kernel two-sample
//! test", 2012), which sees changes of the relation between columns that no single column shows.

use bantam_data::{MISSING, Table, Values};
use rayon::prelude::*;

use crate::parallel::{map, map_of};
use crate::random::{Stream, sample};

/// Most rows of either part: the kernel has the square of both together.
const MOST_ROWS: usize = 1000;
/// Most categories of a column that are features of their own.
const MOST_LEVELS: usize = 64;

/// Squared discrepancy and its chance under permutations of the parts.
pub(super) struct Joint {
    pub(super) rows: usize,
    pub(super) statistic: f64,
    pub(super) p: f64,
}

/// Tests whether the rows of `table`, the first `n` of them and the others, come from one
/// distribution. None when there are fewer than two rows of either, or nothing varies.
pub(super) fn test(table: &Table, n: usize, draws: usize, seed: u64) -> Option<Joint> {
    let m = table.rows() - n;
    let a = sample(n, MOST_ROWS, seed);
    let b: Vec<usize> = sample(m, MOST_ROWS, seed ^ 1)
        .into_iter()
        .map(|r| n + r)
        .collect();
    if a.len() < 2 || b.len() < 2 {
        return None;
    }
    let rows: Vec<usize> = a.iter().chain(&b).copied().collect();
    let features = features(&table.select(&rows), a.len());
    let kernel = kernel(&features)?;
    let tags: Vec<bool> = (0..rows.len()).map(|i| i < a.len()).collect();
    let statistic = discrepancy(&kernel, &tags);
    let at_least = map(draws, |draw| {
        let mut shuffled = tags.clone();
        Stream::new(seed, draw as u64).shuffle(&mut shuffled);
        discrepancy(&kernel, &shuffled) >= statistic - 1e-12
    })
    .into_iter()
    .filter(|&larger| larger)
    .count();
    Some(Joint {
        rows: rows.len(),
        statistic,
        p: (1 + at_least) as f64 / (1 + draws) as f64,
    })
}

/// Rows of features: numbers standardised on the first `n` rows, a missing one 0 with an indicator; one
/// feature a category, scaled to vary as much as a number.
fn features(table: &Table, n: usize) -> Vec<Vec<f32>> {
    let mut rows = vec![Vec::new(); table.rows()];
    for column in table.columns() {
        match &column.values {
            Values::Numeric(v) => {
                let there: Vec<f64> = v[..n].iter().copied().filter(|x| !x.is_nan()).collect();
                let count = there.len().max(1) as f64;
                let mean = there.iter().map(|x| x / count).sum::<f64>();
                let spread = there
                    .iter()
                    .map(|x| (x - mean).powi(2) / count)
                    .sum::<f64>()
                    .sqrt();
                let scale = match spread > 0.0 && spread.is_finite() {
                    true => 1.0 / spread,
                    // What did not vary at all, and does now, has changed by its own size.
                    false => 1.0 / mean.abs().max(1.0),
                };
                let has_missing = v.iter().any(|x| x.is_nan());
                for (row, x) in rows.iter_mut().zip(v) {
                    let z = ((x - mean) * scale).clamp(-10.0, 10.0);
                    row.push(if x.is_nan() { 0.0 } else { z as f32 });
                    if has_missing {
                        row.push(f32::from(u8::from(x.is_nan())));
                    }
                }
            }
            Values::Categorical { codes, levels } => {
                let width = levels.len().min(MOST_LEVELS) + 1;
                for (row, &code) in rows.iter_mut().zip(codes) {
                    let at = match code {
                        MISSING => width - 1,
                        // Levels beyond the most share features.
                        code => code as usize % (width - 1).max(1),
                    };
                    let begin = row.len();
                    row.resize(begin + width, 0.0);
                    row[begin + at] = 1.0;
                }
            }
        }
    }
    rows
}

/// Gaussian kernel of all pairs, its width the median distance; None when all rows are the same.
fn kernel(rows: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
    let distance = |a: &[f32], b: &[f32]| {
        let square = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
        square.sum::<f32>()
    };
    let mut kernel: Vec<Vec<f32>> = map_of(rows, |a| rows.iter().map(|b| distance(a, b)).collect());
    let mut all: Vec<f32> = (0..rows.len())
        .flat_map(|i| kernel[i][..i].iter().copied())
        .filter(|&d| d > 0.0)
        .collect();
    if all.is_empty() {
        return None;
    }
    let middle = all.len() / 2;
    let (_, &mut median, _) = all.select_nth_unstable_by(middle, f32::total_cmp);
    kernel.par_iter_mut().enumerate().for_each(|(i, row)| {
        for (j, d) in row.iter_mut().enumerate() {
            // The diagonal is left out of the unbiased estimate.
            *d = if i == j { 0.0 } else { (-*d / median).exp() };
        }
    });
    Some(kernel)
}

/// The unbiased estimate of the squared discrepancy.
fn discrepancy(kernel: &[Vec<f32>], tags: &[bool]) -> f64 {
    let mask: Vec<f32> = tags.iter().map(|&t| f32::from(u8::from(t))).collect();
    let (mut within_a, mut within_b, mut between) = (0f64, 0f64, 0f64);
    for (row, &in_a) in kernel.iter().zip(tags) {
        let to_a: f32 = row.iter().zip(&mask).map(|(k, m)| k * m).sum();
        let all: f32 = row.iter().sum();
        let to_b = f64::from(all) - f64::from(to_a);
        match in_a {
            true => {
                within_a += f64::from(to_a);
                between += to_b;
            }
            false => within_b += to_b,
        }
    }
    let n = tags.iter().filter(|&&t| t).count() as f64;
    let m = tags.len() as f64 - n;
    within_a / (n * (n - 1.0)) + within_b / (m * (m - 1.0)) - 2.0 * between / (n * m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;
    use bantam_data::Column;

    fn normal(seed: u64, i: u64) -> f64 {
        let sum: u64 = (0..12).map(|k| hash(seed, i * 16 + k) >> 40).sum();
        sum as f64 / (1u64 << 24) as f64 - 6.0
    }

    /// Two columns with the correlation `r` in the second half; each column alone does not change.
    fn table(seed: u64, r: f64) -> Table {
        let n = 600;
        let x: Vec<f64> = (0..n).map(|i| normal(seed, i)).collect();
        let y = |i: u64| match i < n / 2 {
            true => normal(seed + 1000, i),
            false => r * x[i as usize] + (1.0 - r * r).sqrt() * normal(seed + 1000, i),
        };
        let y = (0..n).map(y).collect();
        Table::new(vec![Column::numeric("x", x), Column::numeric("y", y)]).unwrap()
    }

    #[test]
    fn sees_a_relation_and_nothing_where_there_is_none() {
        let p = |r: f64, seed: u64| test(&table(seed, r), 300, 199, seed).unwrap().p;
        assert!((0..5).all(|seed| p(0.9, seed) < 0.02));
        let low = (0..60).filter(|&seed| p(0.0, 100 + seed) <= 0.1).count();
        assert!((1..=14).contains(&low), "{low} of 60 below 0.1");
    }

    /// The slow twin: the definition, pair by pair.
    #[test]
    fn agrees_with_the_definition() {
        let rows = features(&table(3, 0.5).select(&(280..320).collect::<Vec<_>>()), 20);
        let kernel = kernel(&rows).unwrap();
        let tags: Vec<bool> = (0..40).map(|i| i % 3 == 0).collect();
        let mean = |a: bool, b: bool| {
            let (mut sum, mut count) = (0.0, 0);
            for i in 0..40 {
                for j in (0..40).filter(|&j| j != i) {
                    if tags[i] == a && tags[j] == b {
                        sum += f64::from(kernel[i][j]);
                        count += 1;
                    }
                }
            }
            sum / f64::from(count)
        };
        let expected = mean(true, true) + mean(false, false) - 2.0 * mean(true, false);
        assert!((discrepancy(&kernel, &tags) - expected).abs() < 1e-6);
    }
}
