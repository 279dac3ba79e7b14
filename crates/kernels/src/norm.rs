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
