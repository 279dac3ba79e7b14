//! Batch normalisation (Ioffe and Szegedy, 2015): each channel shifted and scaled to mean 0 and
//! variance 1, then by `beta` and `gamma`; and, in the same pass, the rectifier behind it.
//!
//! `x: [n, c, s]`, where `s` is everything within a channel (height by width for images, 1 for
//! rows of features); everything else `[c]`. Variances are those of the batch itself, divided by
//! `n s` and not `n s - 1`.

mod passes;

use crate::last::Clamp;
use crate::parallel;
use crate::simd::{Level, dispatch, level};
use passes::{Apply, GradApply, GradSums, Line, Moments, Sums};

/// Images whose sums are taken together, whatever the number of threads.
const IMAGES: usize = 8;

/// What is done to the normalised values: `clamp(gamma x̂ + beta)`.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Factors, `[c]`.
    pub gamma: &'a [f32],
    /// Summands, `[c]`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// A rectifier behind it. It turns what is not a number into its lower bound, as rectifiers do.
    pub clamp: Option<Clamp>,
}

/// `y = clamp(gamma (x - mean) / sqrt(var + epsilon) + beta)`, with the mean and variance given.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn batch_norm(
    shape: [usize; 3],
    x: &[f32],
    affine: Affine,
    [mean, var]: [&[f32]; 2],
    y: &mut [f32],
) {
    apply(level(), shape, x, affine, [mean, var], y);
}

fn apply(
    level: Level,
    [n, c, s]: [usize; 3],
    x: &[f32],
    affine: Affine,
    [mean, var]: [&[f32]; 2],
    y: &mut [f32],
) {
    let params = [affine.gamma.len(), affine.beta.len(), mean.len(), var.len()];
    check([n, c, s], &[x.len(), y.len()], &params);
    let scale = scales(&affine, var);
    let line = Line {
        mean,
        scale: &scale,
        beta: affine.beta,
    };
    if c * s == 0 {
        return;
    }
    parallel::for_each_chunk(y, IMAGES * c * s, n * c * s, |run, y| {
        let x = &x[run * IMAGES * c * s..][..y.len()];
        dispatch(
            level,
            Apply {
                s,
                x,
                line,
                clamp: affine.clamp,
                y,
            },
        );
    });
}

fn scales(affine: &Affine, var: &[f32]) -> Vec<f32> {
    let scale = |(&gamma, &var): (&f32, &f32)| gamma * rsqrt(var, affine.epsilon);
    affine.gamma.iter().zip(var).map(scale).collect()
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
pub fn batch_norm_train(
    shape: [usize; 3],
    x: &[f32],
    affine: Affine,
    y: &mut [f32],
    [mean_out, var_out]: [&mut [f32]; 2],
) {
    train(level(), shape, x, affine, y, [mean_out, var_out]);
}

fn train(
    level: Level,
    [n, c, s]: [usize; 3],
    x: &[f32],
    affine: Affine,
    y: &mut [f32],
    [mean_out, var_out]: [&mut [f32]; 2],
) {
    let params = [mean_out.len(), var_out.len()];
    check([n, c, s], &[x.len(), y.len()], &params);
    assert!(
        n * s > 0,
        "batch normalisation needs at least one value for each channel"
    );
    moments(level, [n, c, s], x, mean_out, var_out);
    apply(level, [n, c, s], x, affine, [mean_out, var_out], y);
}

/// Mean and variance of each channel.
///
/// Each run of images is summed about a value near its mean, in one pass; means and squares of runs are
/// put together as Chan, Golub and LeVeque do (1979, equation 2.1).
fn moments(
    level: Level,
    [n, c, s]: [usize; 3],
    x: &[f32],
    mean_out: &mut [f32],
    var_out: &mut [f32],
) {
    let runs = parallel::map(n.div_ceil(IMAGES), n * c * s, |run| {
        let images = IMAGES.min(n - run * IMAGES);
        let x = &x[run * IMAGES * c * s..][..images * c * s];
        dispatch(level, Moments { c, s, x })
    });
    for (j, (mean_out, var_out)) in mean_out.iter_mut().zip(var_out).enumerate() {
        let (mut count, mut mean, mut square) = (0.0, 0.0, 0.0);
        for (i, run) in runs.iter().enumerate() {
            let more = (IMAGES.min(n - i * IMAGES) * s) as f64;
            let [run_mean, run_square] = run[j];
            let (apart, total) = (run_mean - mean, count + more);
            mean += apart * more / total;
            square += run_square + apart * apart * count * more / total;
            count = total;
        }
        *mean_out = mean as f32;
        *var_out = (square / count).max(0.0) as f32;
    }
}

/// Gradients of [`batch_norm_train`], given the mean and variance it wrote; overwrites `dx`,
/// and `dgamma` and `dbeta`, which come last.
///
/// With `x̂ = (x - mean) / sqrt(var + epsilon)`: `dbeta = sum(dy)`, `dgamma = sum(dy x̂)` and
/// `dx = gamma / sqrt(var + epsilon) (dy - dbeta / (n s) - x̂ dgamma / (n s))`. With a clamp, `dy` counts
/// only where the value before it is between its bounds; that value is computed again.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn batch_norm_grad(
    shape: [usize; 3],
    x: &[f32],
    affine: Affine,
    [mean, var]: [&[f32]; 2],
    dy: &[f32],
    dx: &mut [f32],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    grad(
        level(),
        shape,
        x,
        affine,
        [mean, var],
        dy,
        dx,
        [dgamma, dbeta],
    );
}

#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are those of the formula"
)]
fn grad(
    level: Level,
    [n, c, s]: [usize; 3],
    x: &[f32],
    affine: Affine,
    [mean, var]: [&[f32]; 2],
    dy: &[f32],
    dx: &mut [f32],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    let params = [affine.gamma.len(), mean.len(), var.len()];
    check([n, c, s], &[x.len(), dy.len(), dx.len()], &params);
    check([n, c, s], &[], &[dgamma.len(), dbeta.len()]);
    let scale = scales(&affine, var);
    let line = Line {
        mean,
        scale: &scale,
        beta: affine.beta,
    };
    let gate = affine.clamp;
    if gate.is_some() {
        check([n, c, s], &[], &[affine.beta.len()]);
    }
    let runs = parallel::map(n.div_ceil(IMAGES), n * c * s, |run| {
        let images = IMAGES.min(n - run * IMAGES);
        let range = run * IMAGES * c * s..(run * IMAGES + images) * c * s;
        let (x, dy) = (&x[range.clone()], &dy[range]);
        dispatch(
            level,
            GradSums {
                s,
                x,
                dy,
                line,
                gate,
            },
        )
    });
    let mut total: Sums = vec![[0.0; 2]; c];
    for run in &runs {
        for (total, sums) in total.iter_mut().zip(run) {
            *total = [total[0] + sums[0], total[1] + sums[1]];
        }
    }
    // dx = a dy + b (x - mean) + d, one set of factors for each channel.
    let count = (n * s).max(1) as f32;
    let mut factors = Vec::with_capacity(c);
    for (j, [sum, dot]) in total.iter().enumerate() {
        let r = rsqrt(var[j], affine.epsilon);
        dbeta[j] = *sum as f32;
        dgamma[j] = (dot * f64::from(r)) as f32;
        let a = affine.gamma[j] * r;
        factors.push([a, -a * r * dgamma[j] / count, -a * dbeta[j] / count]);
    }
    if c * s == 0 {
        return;
    }
    parallel::for_each_chunk(dx, IMAGES * c * s, n * c * s, |run, dx| {
        let start = run * IMAGES * c * s;
        let work = GradApply {
            s,
            x: &x[start..][..dx.len()],
            dy: &dy[start..][..dx.len()],
            line,
            gate,
            factors: &factors,
            dx,
        };
        dispatch(level, work);
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

    fn affine<'a>(gamma: &'a [f32], beta: &'a [f32], clamp: Option<Clamp>) -> Affine<'a> {
        Affine {
            gamma,
            beta,
            epsilon: EPSILON,
            clamp,
        }
    }

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
                let affine = affine(&gamma, &beta, None);
                batch_norm_train([n, c, s], &x, affine, &mut y, [m, v]);
                let mut again = vec![f32::NAN; x.len()];
                batch_norm([n, c, s], &x, affine, [&mean, &var], &mut again);
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
        let line = affine(&gamma, &[], None);
        let dparams = [&mut dg[..], &mut db[..]];
        batch_norm_grad([n, c, s], &x, line, [&mean, &var], &dy, &mut dx, dparams);
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
                let line = affine(&gamma, &[], None);
                let dparams = [&mut dg[..], &mut db[..]];
                batch_norm_grad([n, c, s], &x, line, [&mean, &var], &dy, &mut dx, dparams);
                assert!(dx.iter().all(|dx| dx.is_finite()));
                [dx, dg, db].concat()
            });
        }
    }

    /// A rectifier in the same pass is that of a pass of its own, bit by bit, forward and backward, on
    /// every path that this processor has.
    #[test]
    fn a_clamp_is_what_it_would_be_behind() {
        let shapes = [[3, 5, 67], [9, 3, 16], [17, 21, 1], [2, 2, 4099], [1, 4, 3]];
        let clamps = [
            Clamp::RELU,
            Clamp {
                low: -0.5,
                high: 1.0,
            },
        ];
        for ([n, c, s], clamp) in shapes.into_iter().zip(clamps.into_iter().cycle()) {
            for level in crate::simd::levels() {
                let name = format!("{n} {c} {s}, {level:?}");
                let Case { x, gamma, beta, dy } = case([n, c, s]);
                let run = |clamp: Option<Clamp>, dy: &[f32]| {
                    let line = affine(&gamma, &beta, clamp);
                    let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                    let mut moments = [vec![f32::NAN; c], vec![f32::NAN; c]];
                    let mut dparams = [vec![f32::NAN; c], vec![f32::NAN; c]];
                    let out = moments.each_mut().map(|m| &mut m[..]);
                    train(level, [n, c, s], &x, line, &mut y, out);
                    let moments = moments.each_ref().map(|m| &m[..]);
                    let out = dparams.each_mut().map(|d| &mut d[..]);
                    grad(level, [n, c, s], &x, line, moments, dy, &mut dx, out);
                    (y, [dx, dparams.concat()].concat())
                };
                let (plain, _) = run(None, &dy);
                let (y, gradients) = run(Some(clamp), &dy);
                let behind: Vec<f32> = plain
                    .iter()
                    .map(|v| v.max(clamp.low).min(clamp.high))
                    .collect();
                assert_eq!(y, behind, "{name}");
                let inside = |(&v, &dy): (&f32, &f32)| {
                    let passes = clamp.low < v && v < clamp.high;
                    if passes { dy } else { 0.0 }
                };
                let gated: Vec<f32> = plain.iter().zip(&dy).map(inside).collect();
                let some = gated.iter().zip(&dy).filter(|(a, b)| a != b).count();
                assert!(
                    some > 0 && some < dy.len(),
                    "{name}: the clamp does something"
                );
                assert_eq!(gradients, run(None, &gated).1, "{name}");
            }
        }
    }

    /// Values a thousand deviations from zero, and an image far from the others: what is summed about
    /// must not be far from the mean.
    #[test]
    fn moments_survive_offsets() {
        for ([n, c, s], far) in [([20, 3, 64], 0.0), ([20, 3, 64], 50.0), ([33, 4, 1], 50.0)] {
            let mut x = numbers(n * c * s, 7);
            x.iter_mut().for_each(|x| *x += 1000.0);
            x[..c * s].iter_mut().for_each(|x| *x += far);
            // The corner of each plane stands apart, as at the edge of an image.
            x.iter_mut().step_by(s.max(2)).for_each(|x| *x -= 30.0);
            let (mean, var) = reference::moments(n, c, s, &x);
            for level in crate::simd::levels() {
                let (mut m, mut v) = (vec![f32::NAN; c], vec![f32::NAN; c]);
                moments(level, [n, c, s], &x, &mut m, &mut v);
                let single = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
                assert_close("mean", &m, &single(&mean), 1e-7);
                assert_close("variance", &v, &single(&var), 2e-5);
            }
        }
    }
}
