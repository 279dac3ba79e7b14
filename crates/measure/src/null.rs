//! What an estimator says when the labels mean nothing.
//!
//! A count by itself says little: it grows with the rows and depends on the class balance. So each
//! is given beside what the same estimator finds when the labels are shuffled, and as their ratio.

use crate::parallel::map;
use crate::random::Stream;

/// An estimate beside its values for shuffled labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Permuted {
    /// Rows that estimate and shuffles were made on; all, unless there were too many.
    pub rows: usize,
    /// The estimate on those rows with their own labels.
    pub value: f64,
    /// Number of shuffles.
    pub draws: usize,
    /// Mean over the shuffles.
    pub mean: f64,
    /// Standard deviation of the shuffles.
    pub deviation: f64,
    /// 5 % quantile of the shuffles.
    pub low: f64,
    /// 95 % quantile of the shuffles.
    pub high: f64,
}

impl Permuted {
    /// `value / mean`: near 1, this estimator sees no structure. That is no evidence that there
    /// is none. None when the mean is 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.mean > 0.0).then(|| self.value / self.mean)
    }
}

/// Labels of all rows, shuffled: draw number `draw` of `seed`. All methods see the same draws, each on
/// its own rows, so that what they find in one draw belongs together.
pub(crate) fn shuffled(labels: &[u32], seed: u64, draw: usize) -> Vec<u32> {
    let mut shuffled = labels.to_vec();
    Stream::new(seed, draw as u64).shuffle(&mut shuffled);
    shuffled
}

/// Runs `estimate` on `labels` shuffled `draws` times; None without draws. The draws are a function
/// of the seed, whatever the number of threads.
pub(crate) fn permute(
    labels: &[u32],
    value: f64,
    draws: usize,
    seed: u64,
    estimate: impl Fn(&[u32]) -> f64 + Sync,
) -> Option<Permuted> {
    let draw = |i: usize| estimate(&shuffled(labels, seed, i));
    let values: Vec<f64> = map(draws, draw);
    Permuted::of(labels.len(), value, &values)
}

impl Permuted {
    /// `value` on `rows` beside the values of the shuffles; None without any.
    pub(crate) fn of(rows: usize, value: f64, draws: &[f64]) -> Option<Permuted> {
        if draws.is_empty() {
            return None;
        }
        let (mean, deviation) = moments(draws);
        let mut sorted = draws.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Permuted {
            rows,
            value,
            draws: draws.len(),
            mean,
            deviation,
            low: quantile(&sorted, 0.05),
            high: quantile(&sorted, 0.95),
        })
    }
}

/// Mean and standard deviation (of a sample) of values; 0 where there are too few.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (square / (n - 1.0).max(1.0)).sqrt())
}

/// The quantile `q` of ascending `values`, interpolated between neighbours.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let place = q * (values.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    values[below] + (values[above] - values[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let v = [1.0, 2.0, 4.0];
        for (q, expected) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(quantile(&v, q), expected, "{q}");
        }
    }

    #[test]
    fn shuffles_keep_the_labels() {
        let labels: Vec<u32> = (0..50).map(|i| i % 3).collect();
        let ones = |l: &[u32]| l.iter().filter(|&&c| c == 1).count() as f64;
        let found = permute(&labels, 4.0, 20, 1, ones).unwrap();
        assert_eq!((found.mean, found.low, found.high), (17.0, 17.0, 17.0));
        assert_eq!(found.ratio(), Some(4.0 / 17.0));
        assert_eq!(permute(&labels, 4.0, 0, 1, ones), None);
        let first = |l: &[u32]| f64::from(l[0]);
        assert_eq!(
            permute(&labels, 4.0, 20, 1, first),
            permute(&labels, 4.0, 20, 1, first)
        );
        assert_eq!(permute(&labels, 4.0, 20, 1, |_| 0.0).unwrap().ratio(), None);
    }
}
