//! Ridge regression on labels by Cholesky factors, with the part that no label touches made once.

use rayon::prelude::*;

use crate::features::Features;
use crate::parallel::map;

/// Weight of the penalty, relative to the number of rows; features are standardised.
pub(crate) const PENALTIES: [f64; 3] = [0.001, 0.03, 1.0];
/// Most classes regressed on; more are put together by number.
pub(crate) const MOST_OUTPUTS: usize = 32;

/// A symmetric matrix `[d, d]` of which the lower triangle is used.
#[derive(Clone)]
pub(crate) struct Gram {
    d: usize,
    values: Vec<f64>,
}

impl Gram {
    fn zeros(d: usize) -> Gram {
        Gram {
            d,
            values: vec![0.0; d * d],
        }
    }

    /// `sum x x^T` over `rows`.
    pub(crate) fn of(features: &Features, rows: &[u32]) -> Gram {
        let d = features.d;
        // Pieces of fixed size, merged in order: the same sums for any number of threads.
        let pieces: Vec<Gram> = rows
            .par_chunks(4096)
            .map(|piece| {
                let mut gram = Gram::zeros(d);
                for &row in piece {
                    let x = features.row(row as usize);
                    for (i, &xi) in x.iter().enumerate() {
                        let out = &mut gram.values[i * d..i * d + i + 1];
                        for (sum, &xj) in out.iter_mut().zip(x) {
                            *sum += f64::from(xi * xj);
                        }
                    }
                }
                gram
            })
            .collect();
        let mut sum = Gram::zeros(d);
        for piece in &pieces {
            sum.add(piece, 1.0);
        }
        sum
    }

    /// Adds `factor` times another.
    pub(crate) fn add(&mut self, other: &Gram, factor: f64) {
        for (a, b) in self.values.iter_mut().zip(&other.values) {
            *a += factor * b;
        }
    }

    /// The product with a vector.
    pub(crate) fn times(&self, x: &[f64]) -> Vec<f64> {
        let d = self.d;
        let mut out = vec![0.0; d];
        for i in 0..d {
            for j in 0..i {
                out[i] += self.values[i * d + j] * x[j];
                out[j] += self.values[i * d + j] * x[i];
            }
            out[i] += self.values[i * d + i] * x[i];
        }
        out
    }

    /// The lower factor of this matrix with `ridge` added to its diagonal, which makes it positive
    /// definite.
    pub(crate) fn factor(&self, ridge: f64) -> Factor {
        let d = self.d;
        let mut l = self.values.clone();
        for j in 0..d {
            for i in j..d {
                let (a, b) = (i * d, j * d);
                let dot = inner(&l[a..a + j], &l[b..b + j]);
                let rest = l[a + j] - dot + if i == j { ridge } else { 0.0 };
                l[a + j] = if i == j {
                    rest.max(f64::MIN_POSITIVE).sqrt()
                } else {
                    rest / l[b + j]
                };
            }
        }
        Factor { d, l }
    }

    /// Takes `factor m m^T` away.
    pub(crate) fn subtract_outer(&mut self, m: &[f64], factor: f64) {
        for (i, a) in m.iter().enumerate() {
            let out = &mut self.values[i * self.d..i * self.d + i + 1];
            out.iter_mut()
                .zip(m)
                .for_each(|(x, b)| *x -= factor * a * b);
        }
    }

    /// Eigenvalues, in no order: Householder's tridiagonal form, then bisection by Sturm sequences
    /// (Barth, Martin, Wilkinson, 1967), to 1e-9 of the largest.
    pub(crate) fn eigenvalues(&self) -> Vec<f64> {
        let (diagonal, off) = self.tridiagonal();
        let d = self.d;
        let radius = |i: usize| {
            let left = if i > 0 { off[i - 1].abs() } else { 0.0 };
            let right = if i + 1 < d { off[i].abs() } else { 0.0 };
            left + right
        };
        let low = (0..d)
            .map(|i| diagonal[i] - radius(i))
            .fold(f64::INFINITY, f64::min);
        let high = (0..d)
            .map(|i| diagonal[i] + radius(i))
            .fold(f64::NEG_INFINITY, f64::max);
        let reach = high.abs().max(low.abs());
        // Eigenvalues below x: sign changes of the leading minors.
        let below = |x: f64| {
            let (mut count, mut q) = (0, 1.0f64);
            for (i, own) in diagonal.iter().enumerate() {
                let square = if i > 0 { off[i - 1] * off[i - 1] } else { 0.0 };
                q = own - x - if i > 0 { square / q } else { 0.0 };
                if q.abs() < f64::MIN_POSITIVE {
                    q = -f64::EPSILON * reach.max(f64::MIN_POSITIVE);
                }
                count += usize::from(q < 0.0);
            }
            count
        };
        let find = |index: usize| {
            let (mut a, mut b) = (low, high);
            while b - a > 1e-9 * reach.max(f64::MIN_POSITIVE) {
                let middle = a + (b - a) / 2.0;
                if below(middle) > index {
                    b = middle
                } else {
                    a = middle
                }
            }
            a + (b - a) / 2.0
        };
        map(d, find)
    }

    /// Diagonal and off-diagonal of a similar tridiagonal matrix.
    fn tridiagonal(&self) -> (Vec<f64>, Vec<f64>) {
        let d = self.d;
        let mut a: Vec<f64> = (0..d * d)
            .map(|at| {
                let (i, j) = (at / d, at % d);
                self.values[i.max(j) * d + i.min(j)]
            })
            .collect();
        let mut off = vec![0.0; d.saturating_sub(1)];
        for k in 0..d.saturating_sub(1) {
            let mut v: Vec<f64> = (0..d)
                .map(|i| if i > k { a[i * d + k] } else { 0.0 })
                .collect();
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            off[k] = if v[k + 1] > 0.0 { -length } else { length };
            v[k + 1] -= off[k];
            let square: f64 = v.iter().map(|x| x * x).sum();
            if square == 0.0 {
                continue;
            }
            // A - v p^T - p v^T with p = 2 (A v) / v.v - v (v . A v) 2 / (v.v)^2.
            let mut p: Vec<f64> = (0..d)
                .map(|i| 2.0 * (k..d).map(|j| a[i * d + j] * v[j]).sum::<f64>() / square)
                .collect();
            let half = p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>() / square;
            p.iter_mut().zip(&v).for_each(|(p, v)| *p -= half * v);
            for i in k..d {
                for j in k..d {
                    a[i * d + j] -= v[i] * p[j] + p[i] * v[j];
                }
            }
        }
        ((0..d).map(|i| a[i * d + i]).collect(), off)
    }

    /// The direction of most variance, by power iteration from a fixed start; all features have one
    /// when there are any.
    pub(crate) fn principal(&self) -> Vec<f64> {
        let mut v: Vec<f64> = (0..self.d).map(|i| 1.0 + (i % 7) as f64 / 7.0).collect();
        for _ in 0..50 {
            let next = self.times(&v);
            let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length == 0.0 {
                break;
            }
            v = next.into_iter().map(|x| x / length).collect();
        }
        v
    }
}

/// A Cholesky factor.
pub(crate) struct Factor {
    d: usize,
    l: Vec<f64>,
}

impl Factor {
    /// Solves for a right-hand side.
    pub(crate) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (d, l) = (self.d, &self.l);
        let mut x = b.to_vec();
        for i in 0..d {
            let dot = inner(&l[i * d..i * d + i], &x[..i]);
            x[i] = (x[i] - dot) / l[i * d + i];
        }
        for i in (0..d).rev() {
            x[i] /= l[i * d + i];
            let xi = x[i];
            for k in 0..i {
                x[k] -= l[i * d + k] * xi;
            }
        }
        x
    }
}

/// Outputs that labels are regressed on: each class one, above [`MOST_OUTPUTS`] by number.
pub(crate) fn outputs(classes: usize) -> usize {
    classes.min(MOST_OUTPUTS)
}

/// `X^T (Y - mean Y)` over `rows`, one vector for each output, and the mean of each.
pub(crate) fn moments_with_labels(
    features: &Features,
    rows: &[u32],
    labels: &[u32],
    outputs: usize,
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let d = features.d;
    let mut sums = vec![vec![0.0; d]; outputs];
    let mut all = vec![0.0; d];
    let mut counts = vec![0.0; outputs];
    for &row in rows {
        let class = labels[row as usize] as usize % outputs;
        counts[class] += 1.0;
        let x = features.row(row as usize);
        for ((sum, all), &x) in sums[class].iter_mut().zip(&mut all).zip(x) {
            *sum += f64::from(x);
            *all += f64::from(x);
        }
    }
    let n = (rows.len() as f64).max(1.0);
    let means: Vec<f64> = counts.iter().map(|c| c / n).collect();
    for (sums, mean) in sums.iter_mut().zip(&means) {
        for (sum, all) in sums.iter_mut().zip(&all) {
            *sum -= mean * all;
        }
    }
    (sums, means)
}

/// The inner product, as eight sums side by side.
fn inner(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0f64; 8];
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = ca
        .remainder()
        .iter()
        .zip(cb.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in ca.zip(cb) {
        sums.iter_mut()
            .zip(a)
            .zip(b)
            .for_each(|((s, a), b)| *s += a * b);
    }
    sums.iter().sum::<f64>() + rest
}

/// `w . x`.
pub(crate) fn dot(w: &[f64], x: &[f32]) -> f64 {
    w.iter().zip(x).map(|(w, &x)| w * f64::from(x)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;

    fn features(n: usize, d: usize) -> Features {
        let value = |i: usize| (hash(5, i as u64) % 2001) as f32 / 1000.0 - 1.0;
        Features {
            n,
            d,
            values: (0..n * d).map(value).collect(),
        }
    }

    #[test]
    fn solves() {
        let f = features(50, 6);
        let rows: Vec<u32> = (0..50).collect();
        let gram = Gram::of(&f, &rows);
        let w: Vec<f64> = (0..6).map(|i| f64::from(i) - 2.5).collect();
        let mut b = gram.times(&w);
        b.iter_mut().zip(&w).for_each(|(b, w)| *b += 0.7 * w);
        let found = gram.factor(0.7).solve(&b);
        for (a, b) in found.iter().zip(&w) {
            assert!((a - b).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn products_with_labels_are_centred() {
        let f = features(30, 3);
        let rows: Vec<u32> = (0..30).filter(|r| r % 4 > 0).collect();
        let labels: Vec<u32> = (0..30).map(|i| i % 3).collect();
        let (found, means) = moments_with_labels(&f, &rows, &labels, 3);
        for c in 0..3u32 {
            let mean = means[c as usize];
            for (j, &found) in found[c as usize].iter().enumerate() {
                let term = |&r: &u32| {
                    let y = f64::from(labels[r as usize] == c);
                    f64::from(f.row(r as usize)[j]) * (y - mean)
                };
                let expected: f64 = rows.iter().map(term).sum();
                assert!((found - expected).abs() < 1e-9);
            }
        }
        assert!((means.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    /// Eigenvalues by their sums of powers, which are traces of powers of the matrix.
    #[test]
    fn eigenvalues_have_the_traces() {
        for d in [1, 2, 7, 20] {
            let f = features(60, d);
            let rows: Vec<u32> = (0..60).collect();
            let gram = Gram::of(&f, &rows);
            let found = gram.eigenvalues();
            let unit = |i: usize| (0..d).map(|j| f64::from(i == j)).collect::<Vec<f64>>();
            let (mut once, mut twice) = (0.0, 0.0);
            for i in 0..d {
                let column = gram.times(&unit(i));
                once += column[i];
                twice += column.iter().map(|x| x * x).sum::<f64>();
            }
            assert!(
                (found.iter().sum::<f64>() / once - 1.0).abs() < 1e-6,
                "{found:?}"
            );
            let squares: f64 = found.iter().map(|x| x * x).sum();
            assert!((squares / twice - 1.0).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn principal_direction() {
        let mut f = features(200, 4);
        f.values
            .iter_mut()
            .skip(2)
            .step_by(4)
            .for_each(|x| *x *= 5.0);
        let rows: Vec<u32> = (0..200).collect();
        let v = Gram::of(&f, &rows).principal();
        assert!(v[2].abs() > 0.99, "{v:?}");
    }
}
