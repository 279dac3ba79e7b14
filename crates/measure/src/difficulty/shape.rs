//! Size of the sample against its dimensions, and balance of the classes.

use super::Sample;
use crate::bits::entropy_bits;
use crate::linear::Gram;

/// Share of the variance that the components must hold.
const VARIANCE: f64 = 0.95;

/// T2, T3, T4, C1 and C2.
pub(super) fn all(s: &Sample) -> [f64; 5] {
    let (n, d) = (s.n() as f64, s.features.d as f64);
    let rows: Vec<u32> = (0..s.n() as u32).collect();
    let mut gram = Gram::of(&s.features, &rows);
    let mut mean = vec![0.0; s.features.d];
    for &r in &rows {
        mean.iter_mut()
            .zip(s.features.row(r as usize))
            .for_each(|(m, &x)| *m += f64::from(x) / n);
    }
    gram.subtract_outer(&mean, n);
    let mut values = gram.eigenvalues();
    values.sort_unstable_by(f64::total_cmp);
    values.reverse();
    let total: f64 = values.iter().sum();
    let mut sum = 0.0;
    let reached = values.iter().position(|v| {
        sum += v;
        sum >= VARIANCE * total
    });
    let components = reached.map_or(values.len(), |i| i + 1) as f64;
    let counts: Vec<usize> = s.classes.iter().map(Vec::len).collect();
    let k = counts.len() as f64;
    let ratio: f64 = counts.iter().map(|&c| c as f64 / (n - c as f64)).sum();
    let imbalance = (k - 1.0) / k * ratio;
    [
        (d / n).min(1.0),
        (components / n).min(1.0),
        components / d,
        1.0 - entropy_bits(&counts) / k.log2(),
        1.0 - 1.0 / imbalance,
    ]
}
