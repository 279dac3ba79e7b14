//! How far single features tell classes apart.

use super::Sample;
use crate::linear::{Gram, dot};

/// `1 / (1 + max r)` over the features, `r` being Fisher's ratio of variance between classes to that
/// inside them.
pub(super) fn f1(s: &Sample) -> f64 {
    let (n, d) = (s.n() as f64, s.features.d);
    let ratio = |j: usize| {
        let x = |r: &u32| f64::from(s.features.row(*r as usize)[j]);
        let mean = s.classes.iter().flatten().map(x).sum::<f64>() / n;
        let (mut between, mut inside) = (0.0, 0.0);
        for rows in &s.classes {
            let own = rows.iter().map(x).sum::<f64>() / rows.len() as f64;
            between += rows.len() as f64 * (own - mean).powi(2);
            inside += rows.iter().map(|r| (x(r) - own).powi(2)).sum::<f64>();
        }
        if inside > 0.0 {
            between / inside
        } else if between > 0.0 {
            f64::INFINITY
        } else {
            0.0
        }
    };
    let most = (0..d).map(ratio).fold(0.0, f64::max);
    1.0 / (1.0 + most)
}

/// `1 / (1 + r)` along Fisher's direction, in pairs: `r` is the squared distance of the means over the mean
/// variance inside the classes.
pub(super) fn f1v(s: &Sample) -> f64 {
    s.pairs(|a, b| {
        let d = s.features.d;
        let mean = |rows: &[u32]| -> Vec<f64> {
            let mut sum = vec![0.0; d];
            for &r in rows {
                sum.iter_mut()
                    .zip(s.features.row(r as usize))
                    .for_each(|(s, &x)| *s += f64::from(x));
            }
            sum.iter().map(|x| x / rows.len() as f64).collect()
        };
        let (ma, mb) = (mean(a), mean(b));
        let apart: Vec<f64> = ma.iter().zip(&mb).map(|(a, b)| a - b).collect();
        // The scatter inside the classes, from their moments, with a little added so that it inverts.
        let (na, nb) = (a.len() as f64, b.len() as f64);
        let mut inside = Gram::of(&s.features, a);
        inside.add(&Gram::of(&s.features, b), 1.0);
        inside.subtract_outer(&ma, na);
        inside.subtract_outer(&mb, nb);
        let w = inside.factor(1e-3 * (na + nb)).solve(&apart);
        let squared = w
            .iter()
            .zip(&apart)
            .map(|(w, x)| w * x)
            .sum::<f64>()
            .powi(2);
        // Over the mean of the classes' covariances, by their shares.
        let wiw: f64 = inside.times(&w).iter().zip(&w).map(|(x, w)| x * w).sum();
        if wiw > 0.0 {
            1.0 / (1.0 + squared / (wiw / (na + nb)))
        } else {
            f64::from(squared == 0.0)
        }
    })
}

/// Ranges of a feature over two classes: the least and greatest of each.
fn ranges(s: &Sample, a: &[u32], b: &[u32], j: usize) -> [(f32, f32); 2] {
    [a, b].map(|rows| {
        let values = rows.iter().map(|&r| s.features.row(r as usize)[j]);
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| {
            (l.min(x), h.max(x))
        })
    })
}

/// Product over the features of the share of their range in which both classes are.
pub(super) fn f2(s: &Sample) -> f64 {
    s.pairs(|a, b| {
        let share = |j: usize| {
            let [x, y] = ranges(s, a, b, j);
            let overlap = f64::from(x.1.min(y.1) - x.0.max(y.0)).max(0.0);
            let range = f64::from(x.1.max(y.1) - x.0.min(y.0));
            if range > 0.0 { overlap / range } else { 1.0 }
        };
        (0..s.features.d).map(share).product()
    })
}

/// Of `rows`, those in the range that both classes have in a feature.
fn overlapping(s: &Sample, a: &[u32], b: &[u32], j: usize) -> [Vec<u32>; 2] {
    let [x, y] = ranges(s, a, b, j);
    let (low, high) = (x.0.max(y.0), x.1.min(y.1));
    [a, b].map(|rows| {
        let inside = |r: &&u32| (low..=high).contains(&s.features.row(**r as usize)[j]);
        rows.iter().filter(inside).copied().collect()
    })
}

/// Share of rows in the overlap of the feature that leaves the fewest.
pub(super) fn f3(s: &Sample) -> f64 {
    s.pairs(|a, b| {
        let left = |j: usize| overlapping(s, a, b, j).iter().map(Vec::len).sum::<usize>();
        let least = (0..s.features.d).map(left).min().unwrap_or(0);
        least as f64 / (a.len() + b.len()) as f64
    })
}

/// The same, when the best feature is taken, then the best on what it leaves, and so on.
pub(super) fn f4(s: &Sample) -> f64 {
    s.pairs(|a, b| {
        let all = (a.len() + b.len()) as f64;
        let (mut a, mut b) = (a.to_vec(), b.to_vec());
        let mut features: Vec<usize> = (0..s.features.d).collect();
        while !features.is_empty() && !a.is_empty() && !b.is_empty() {
            let left = |j: usize| {
                overlapping(s, &a, &b, j)
                    .iter()
                    .map(Vec::len)
                    .sum::<usize>()
            };
            let at = (0..features.len()).min_by_key(|&i| (left(features[i]), i));
            let at = at.expect("there are features");
            if left(features[at]) == a.len() + b.len() {
                break;
            }
            [a, b] = overlapping(s, &a, &b, features.swap_remove(at));
        }
        match a.is_empty() || b.is_empty() {
            true => 0.0,
            false => (a.len() + b.len()) as f64 / all,
        }
    })
}

/// `w . x + bias` for a row.
pub(super) fn score(s: &Sample, w: &[f64], row: u32) -> f64 {
    dot(&w[1..], s.features.row(row as usize)) + w[0]
}
