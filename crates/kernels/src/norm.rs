//! Batch normalisation (Ioffe and Szegedy, 2015): each channel shifted and scaled to mean 0 and
//! variance 1, then by `beta` and `gamma`.
//!
//! `x: [n, c, s]`, where `s` is everything within a channel (height by width for images, 1 for
//! rows of features); everything else `[c]`. Variances are those of the batch itself, divided by
//! `n s` and not `n s - 1`.

use crate::parallel;
use crate::reduce::{sum, sum_by};
use crate::simd::vectorize;

/// Images whose sums are taken together, whatever the number of threads.
const IMAGES: usize = 8;

/// `y = gamma (x - mean) / sqrt(var + epsilon) + beta`, with the mean and variance given.
///
/// # Panics
/// If a slice does not have the length its shape says.
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are those of the formula"
)]
pub fn batch_norm(
    n: usize,
    c: usize,
    s: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    var: &[f32],
    epsilon: f32,
    y: &mut [f32],
) {
    check(
        [n, c, s],
        &[x.len(), y.len()],
        &[gamma.len(), beta.len(), mean.len(), var.len()],
    );
    let scale: Vec<f32> = gamma
        .iter()
        .zip(var)
        .map(|(&gamma, &var)| gamma * rsqrt(var, epsilon))
        .collect();
    for_each_image(n, c * s, y, |i, y| {
        let x = &x[i * c * s..][..c * s];
        if s == 1 {
            for (j, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                *y = (x - mean[j]) * scale[j] + beta[j];
            }
            return;
        }
        for (j, (y, x)) in y.chunks_exact_mut(s).zip(x.chunks_exact(s)).enumerate() {
            let (mean, scale, beta) = (mean[j], scale[j], beta[j]);
            y.iter_mut()
                .zip(x)
                .for_each(|(y, &x)| *y = (x - mean) * scale + beta);
        }
    });
}

fn rsqrt(var: f32, epsilon: f32) -> f32 {
    (1.0 / (f64::from(var) + f64::from(epsilon)).sqrt()) as f32
}

/// As [`batch_norm`] with the mean and variance of `x` itself, which are written out.
///
/// `var_out` is divided by `n s`; a running estimate usually wants `n s - 1`, which is for the
/// caller to do.
///
/// # Panics
/// If a slice does not have the length its shape says, or there is nothing to take a mean of.
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are those of the formula"
)]
pub fn batch_norm_train(
    n: usize,
    c: usize,
    s: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    y: &mut [f32],
    mean_out: &mut [f32],
    var_out: &mut [f32],
) {
    let params = [gamma.len(), beta.len(), mean_out.len(), var_out.len()];
    check([n, c, s], &[x.len(), y.len()], &params);
    assert!(
        n * s > 0,
        "batch normalisation needs at least one value for each channel"
    );
    moments([n, c, s], x, mean_out, var_out);
    batch_norm(n, c, s, x, gamma, beta, mean_out, var_out, epsilon, y);
}

/// Mean and variance of each channel.
fn moments([n, c, s]: [usize; 3], x: &[f32], mean_out: &mut [f32], var_out: &mut [f32]) {
    let count = (n * s) as f64;
    let sums = channel_sums(
        [n, c, s],
        #[inline(always)]
        |_, _, range| [sum(&x[range]), 0.0],
    );
    for (mean, [sum, _]) in mean_out.iter_mut().zip(&sums) {
        *mean = (sum / count) as f32;
    }
    let means = &*mean_out;
    let squares = channel_sums(
        [n, c, s],
        #[inline(always)]
        |_, j, range| {
            let (x, mean) = (&x[range], means[j]);
            let from_mean = sum_by(
                x.len(),
                #[inline(always)]
                |i| x[i] - mean,
            );
            [
                sum_by(
                    x.len(),
                    #[inline(always)]
                    |i| (x[i] - mean) * (x[i] - mean),
                ),
                from_mean,
            ]
        },
    );
    for (var, [square, from_mean]) in var_out.iter_mut().zip(&squares) {
        // The mean was rounded; what that leaves behind is taken off again.
        let residue = from_mean / count;
        *var = (square / count - residue * residue) as f32;
    }
}

/// Gradients of [`batch_norm_train`], given the mean and variance it wrote; overwrites `dx`,
/// `dgamma` and `dbeta`.
///
/// With `x̂ = (x - mean) / sqrt(var + epsilon)`: `dbeta = sum(dy)`, `dgamma = sum(dy x̂)` and
/// `dx = gamma / sqrt(var + epsilon) (dy - dbeta / (n s) - x̂ dgamma / (n s))`.
///
/// # Panics
/// If a slice does not have the length its shape says.
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are those of the formula"
)]
pub fn batch_norm_grad(
    n: usize,
    c: usize,
    s: usize,
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    var: &[f32],
    epsilon: f32,
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let params = [
        gamma.len(),
        mean.len(),
        var.len(),
        dgamma.len(),
        dbeta.len(),
    ];
    check([n, c, s], &[x.len(), dy.len(), dx.len()], &params);
    let sums = channel_sums(
        [n, c, s],
        #[inline(always)]
        |_, j, range| {
            let (x, dy, mean) = (&x[range.clone()], &dy[range], mean[j]);
            let dot = sum_by(
                x.len(),
                #[inline(always)]
                |i| dy[i] * (x[i] - mean),
            );
            [sum(dy), dot]
        },
    );
    // dx = a dy + b (x - mean) + d, one set of factors for each channel.
    let count = (n * s).max(1) as f32;
    let mut factors = Vec::with_capacity(c);
    for (j, [sum, dot]) in sums.iter().enumerate() {
        let r = rsqrt(var[j], epsilon);
        dbeta[j] = *sum as f32;
        dgamma[j] = (dot * f64::from(r)) as f32;
        let a = gamma[j] * r;
        factors.push([a, -a * r * dgamma[j] / count, -a * dbeta[j] / count]);
    }
    for_each_image(n, c * s, dx, |i, dx| {
        let range = i * c * s..(i + 1) * c * s;
        let (x, dy) = (&x[range.clone()], &dy[range]);
        let channels = dx
            .chunks_exact_mut(s)
            .zip(x.chunks_exact(s))
            .zip(dy.chunks_exact(s));
        for (j, ((dx, x), dy)) in channels.enumerate() {
            let ([a, b, d], mean) = (factors[j], mean[j]);
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = a * dy + b * (x - mean) + d;
            }
        }
    });
}

fn check([n, c, s]: [usize; 3], whole: &[usize], channels: &[usize]) {
    let whole = whole.iter().all(|&len| len == n * c * s);
    assert!(
        whole,
        "values to normalise must be [n, c, s] = [{n}, {c}, {s}]"
    );
    assert!(
        channels.iter().all(|&len| len == c),
        "parameters of a channel must be [c] = [{c}]"
    );
}

/// For each channel the sums of `f(image, channel, its range in x)`, in fixed runs of images.
fn channel_sums(
    [n, c, s]: [usize; 3],
    f: impl Fn(usize, usize, std::ops::Range<usize>) -> [f64; 2] + Sync,
) -> Vec<[f64; 2]> {
    let runs = parallel::map(n.div_ceil(IMAGES), n * c * s, |run| {
        let mut sums = vec![[0.0; 2]; c];
        for i in run * IMAGES..n.min((run + 1) * IMAGES) {
            vectorize(
                #[inline(always)]
                || {
                    for (j, sums) in sums.iter_mut().enumerate() {
                        let start = (i * c + j) * s;
                        let [a, b] = f(i, j, start..start + s);
                        *sums = [sums[0] + a, sums[1] + b];
                    }
                },
            );
        }
        sums
    });
    let mut total = vec![[0.0; 2]; c];
    for run in &runs {
        for (total, sums) in total.iter_mut().zip(run) {
            *total = [total[0] + sums[0], total[1] + sums[1]];
        }
    }
    total
}

/// Calls `f(i, image)` for images of `len` elements.
fn for_each_image(n: usize, len: usize, y: &mut [f32], f: impl Fn(usize, &mut [f32]) + Sync) {
    if len == 0 {
        return;
    }
    parallel::for_each_chunk(y, IMAGES * len, n * len, |run, y| {
        vectorize(
            #[inline(always)]
            || {
                for (i, y) in y.chunks_exact_mut(len).enumerate() {
                    f(run * IMAGES + i, y);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool};

    const EPSILON: f32 = 1e-5;

    const SHAPES: [[usize; 3]; 6] = [
        [1, 3, 50],
        [37, 5, 49],
        [128, 30, 1],
        [128, 16, 1024],
        [2, 1, 7],
        [300, 200, 1],
    ];

    struct Case {
        x: Vec<f32>,
        gamma: Vec<f32>,
        beta: Vec<f32>,
        dy: Vec<f32>,
    }

    /// Channels far from 0, where one-pass variances go wrong.
    fn case([n, c, s]: [usize; 3]) -> Case {
        let mut x = numbers(n * c * s, 1);
        x.iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x += 10.0 * (i / s % c) as f32);
        let (gamma, beta, dy) = (numbers(c, 2), numbers(c, 3), numbers(n * c * s, 4));
        Case { x, gamma, beta, dy }
    }

    #[test]
    fn forward_agrees_with_reference() {
        for [n, c, s] in SHAPES {
            let Case { x, gamma, beta, .. } = case([n, c, s]);
            let name = format!("{n} {c} {s}");
            let all = same_on_any_pool(&name, || {
                let mut y = vec![f32::NAN; x.len()];
                let (mut mean, mut var) = (vec![f32::NAN; c], vec![f32::NAN; c]);
                let (m, v) = (&mut mean, &mut var);
                batch_norm_train(n, c, s, &x, &gamma, &beta, EPSILON, &mut y, m, v);
                let mut again = vec![f32::NAN; x.len()];
                batch_norm(n, c, s, &x, &gamma, &beta, &mean, &var, EPSILON, &mut again);
                assert_eq!(y, again, "{name}");
                [y, mean, var].concat()
            });
            let (mean, var) = reference::moments(n, c, s, &x);
            let y = reference::batch_norm_train([n, c, s], &x, &gamma, &beta, EPSILON);
            let expected: Vec<f32> = [y, mean, var].concat().iter().map(|&x| x as f32).collect();
            // The mean is rounded to f32 before it is taken off: half a unit of the largest.
            let size = 1.0 + 10.0 * c as f32;
            assert_close(&name, &all, &expected, 2e-6 * size);
        }
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let [n, c, s] = [3, 2, 5];
        let Case { x, gamma, beta, dy } = case([n, c, s]);
        let (mean, var) = reference::moments(n, c, s, &x);
        let (mean, var): (Vec<f32>, Vec<f32>) = mean
            .iter()
            .zip(&var)
            .map(|(&m, &v)| (m as f32, v as f32))
            .unzip();
        let mut dx = vec![f32::NAN; x.len()];
        let (mut dg, mut db) = (vec![f32::NAN; c], vec![f32::NAN; c]);
        batch_norm_grad(
            n, c, s, &x, &gamma, &mean, &var, EPSILON, &dy, &mut dx, &mut dg, &mut db,
        );
        let loss = |x: &[f32], gamma: &[f32], beta: &[f32]| -> f64 {
            let y = reference::batch_norm_train([n, c, s], x, gamma, beta, EPSILON);
            y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
        };
        let all: Vec<f32> = [x, gamma, beta].concat();
        let gradient: Vec<f32> = [dx, dg, db].concat();
        let difference: Vec<f32> = (0..all.len())
            .map(|i| {
                let at = |step: f32| {
                    let mut all = all.clone();
                    all[i] += step;
                    let (x, params) = all.split_at(n * c * s);
                    (f64::from(all[i]), loss(x, &params[..c], &params[c..]))
                };
                let ((x0, loss0), (x1, loss1)) = (at(-1e-3), at(1e-3));
                ((loss1 - loss0) / (x1 - x0)) as f32
            })
            .collect();
        assert_close("gradients", &gradient, &difference, 2e-4);
    }

    #[test]
    fn gradient_does_not_depend_on_threads() {
        for [n, c, s] in SHAPES {
            let Case { x, gamma, dy, .. } = case([n, c, s]);
            let (mean, var) = (numbers(c, 5), vec![0.5; c]);
            same_on_any_pool(&format!("{n} {c} {s}"), || {
                let mut dx = vec![f32::NAN; x.len()];
                let (mut dg, mut db) = (vec![f32::NAN; c], vec![f32::NAN; c]);
                batch_norm_grad(
                    n, c, s, &x, &gamma, &mean, &var, EPSILON, &dy, &mut dx, &mut dg, &mut db,
                );
                assert!(dx.iter().all(|dx| dx.is_finite()));
                [dx, dg, db].concat()
            });
        }
    }
}
