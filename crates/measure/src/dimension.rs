//! Intrinsic dimension: in how many directions the rows really spread.
//!
//! Both estimators read distances to near neighbours among distinct rows, in standardised features, and
//! both grow with noise and with the number of rows in high dimensions: they are what the sample shows
//! at its own density.

use crate::figure::{Interval, jackknife};
use crate::method::subset;
use crate::neighbour::Neighbours;

/// Neighbours of the maximum-likelihood estimate.
const K: usize = 10;
/// Subsets for the interval, and the share of the rows in each.
const SUBSETS: usize = 20;
const SHARE: f64 = 0.5;

/// An estimate of the intrinsic dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dimension {
    /// The estimate.
    pub value: f64,
    /// 90 % interval from subsets of half the rows.
    pub interval: Option<Interval>,
    /// Distinct rows.
    pub rows: usize,
}

/// Both estimates.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Dimensions {
    /// From the ratio of the two nearest distances (Facco et al., "Estimating the intrinsic dimension of
    /// datasets by a minimal neighborhood information", 2017). None where rows do not spread.
    pub two_nn: Option<Dimension>,
    /// Maximum likelihood over 10 neighbours (Levina and Bickel, "Maximum likelihood estimation of
    /// intrinsic dimension", 2004), inverses averaged (MacKay and Ghahramani, 2005).
    pub mle: Option<Dimension>,
}

/// Dimensions of the rows behind `neighbours`.
pub(crate) fn dimensions(neighbours: &Neighbours, rows: usize, seed: u64) -> Dimensions {
    let all: Vec<usize> = (0..rows).collect();
    let make = |estimate: fn(&[Vec<f32>]) -> Option<f64>, k: usize| {
        let near = neighbours.nearest(&all, k);
        let value = estimate(&near)?;
        let part = |i: usize| estimate(&neighbours.nearest(&subset(&all, seed, i, SHARE), k));
        let parts: Vec<f64> = (0..SUBSETS).filter_map(part).collect();
        Some(Dimension {
            value,
            interval: jackknife(value, &parts, SHARE),
            rows: near.len(),
        })
    };
    Dimensions {
        two_nn: make(two_nn, 2),
        mle: make(mle, K),
    }
}

/// `N / sum ln(r2 / r1)`, which is the maximum-likelihood form, without its bias: `N - 1`.
fn two_nn(near: &[Vec<f32>]) -> Option<f64> {
    // Squared distances: half the logarithm.
    let sum: f64 = near.iter().map(|r| 0.5 * f64::from(r[1] / r[0]).ln()).sum();
    (near.len() > 2 && sum > 0.0).then(|| (near.len() - 1) as f64 / sum)
}

fn mle(near: &[Vec<f32>]) -> Option<f64> {
    let inverse = |r: &Vec<f32>| {
        let last = f64::from(r[K - 1]);
        let sum: f64 = r[..K - 1]
            .iter()
            .map(|&d| 0.5 * (last / f64::from(d)).ln())
            .sum();
        sum / (K - 1) as f64
    };
    let mean = near.iter().map(inverse).sum::<f64>() / near.len().max(1) as f64;
    (near.len() > K && mean > 0.0).then(|| 1.0 / mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{coins, numbers, uniform};

    /// Sheets of known dimension in more columns.
    #[test]
    fn sheets() {
        let n = 800;
        for d in [1usize, 2, 4] {
            let own: Vec<Vec<f64>> = (0..d).map(|c| uniform(c as u64, n)).collect();
            let mut columns = own.clone();
            // Columns that are sums of others add nothing.
            for c in 0..3 {
                let sum = |i: usize| {
                    own.iter()
                        .enumerate()
                        .map(|(j, x)| x[i] * (1.0 + (c * j) as f64))
                        .sum()
                };
                columns.push((0..n).map(sum).collect());
            }
            let p = numbers(columns, &coins(5, n));
            let found = dimensions(&Neighbours::new(&p), n, 1);
            for (name, found) in [("two", found.two_nn), ("mle", found.mle)] {
                let found = found.unwrap();
                assert!(
                    (found.value / d as f64 - 1.0).abs() < 0.2,
                    "{name} {d}: {found:?}"
                );
                let i = found.interval.unwrap();
                assert!(i.low < found.value && found.value < i.high, "{found:?}");
                assert!(i.high - i.low < 0.5 * d as f64, "{found:?}");
            }
        }
        let same = numbers(
            vec![(0..50).map(|i| f64::from(i % 2)).collect()],
            &coins(1, 50),
        );
        assert_eq!(
            dimensions(&Neighbours::new(&same), 50, 1),
            Dimensions::default()
        );
    }
}
