//! Steps of optimizers: one pass over weights, gradients and state.
//!
//! Masks are 0 or 1 for each weight; where 0, the weight and its state become and stay 0, whatever
//! the gradient.

use crate::parallel;
use crate::reduce;
use crate::simd::vectorize;

/// Elements in one task.
const CHUNK: usize = 1 << 14;

/// Constants of a step of stochastic gradient descent with momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f32,
    /// How much of the last velocity is kept; 0 is plain gradient descent.
    pub momentum: f32,
    /// Whether to look ahead by one step of momentum (Nesterov).
    pub nesterov: bool,
    /// Times the weight is added to its gradient (L2 penalty).
    pub weight_decay: f32,
}

/// `g = grad + weight_decay w`, `v = momentum v + g`, `w -= lr v` (with Nesterov
/// `w -= lr (g + momentum v)`), the order of PyTorch's `SGD` without dampening.
///
/// # Panics
/// If the slices differ in length.
pub fn sgd(
    step: &SgdStep,
    w: &mut [f32],
    grad: &[f32],
    velocity: &mut [f32],
    mask: Option<&[f32]>,
) {
    let len = w.len();
    assert!(
        grad.len() == len && velocity.len() == len,
        "weights, gradients, velocity: one length"
    );
    assert!(
        mask.is_none_or(|mask| mask.len() == len),
        "a mask is as long as its weights"
    );
    let SgdStep {
        lr,
        momentum,
        nesterov,
        weight_decay,
    } = *step;
    let (keep, now) = if nesterov {
        (momentum, 1.0)
    } else {
        (1.0, 0.0)
    };
    let update = move |w: f32, grad: f32, velocity: f32| {
        let g = grad + weight_decay * w;
        let v = momentum * velocity + g;
        (w - lr * (now * g + keep * v), v)
    };
    parallel::for_each_chunk2(w, velocity, CHUNK, len, |i, w, velocity| {
        let grad = &grad[i * CHUNK..][..w.len()];
        let mask = mask.map(|mask| &mask[i * CHUNK..][..w.len()]);
        vectorize(
            #[inline(always)]
            || {
                let weights = w.iter_mut().zip(velocity.iter_mut()).zip(grad);
                match mask {
                    None => weights.for_each(|((w, v), &g)| (*w, *v) = update(*w, g, *v)),
                    Some(mask) => weights.zip(mask).for_each(|(((w, v), &g), &mask)| {
                        let (new_w, new_v) = update(*w, g, *v);
                        (*w, *v) = (keep_if(mask, new_w), keep_if(mask, new_v));
                    }),
                }
            },
        );
    });
}

/// `x` unless `mask` is 0.
#[inline(always)]
fn keep_if(mask: f32, x: f32) -> f32 {
    if mask == 0.0 { 0.0 } else { x }
}

/// Constants of a step of Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f32,
    /// How much of the mean of gradients is kept.
    pub beta1: f32,
    /// How much of the mean of squared gradients is kept.
    pub beta2: f32,
    /// Added to the root of the mean of squares.
    pub epsilon: f32,
    /// Weight decay; times the weight is added to its gradient or, if decoupled, times `lr` and
    /// the weight is taken off it.
    pub weight_decay: f32,
    /// AdamW's decay instead of an L2 penalty.
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub t: u64,
}

/// One step of Adam, with both means corrected for their start at 0, `epsilon` outside the root.
///
/// # Panics
/// If the slices differ in length, or `step.t` is 0.
pub fn adam(
    step: &AdamStep,
    w: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    mask: Option<&[f32]>,
) {
    let len = w.len();
    let equal = grad.len() == len && m.len() == len && v.len() == len;
    assert!(
        equal,
        "weights, gradients and their means must have one length"
    );
    assert!(
        mask.is_none_or(|mask| mask.len() == len),
        "a mask is as long as its weights"
    );
    assert!(step.t > 0, "steps of Adam are counted from 1");
    let AdamStep {
        beta1,
        beta2,
        epsilon,
        ..
    } = *step;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(step.t as f64);
    let rate = (f64::from(step.lr) / correction(beta1)) as f32;
    let root = (1.0 / correction(beta2)).sqrt() as f32;
    let (penalty, shrink) = match step.decoupled {
        true => (0.0, 1.0 - step.lr * step.weight_decay),
        false => (step.weight_decay, 1.0),
    };
    let update = move |w: f32, grad: f32, m: f32, v: f32| {
        let g = grad + penalty * w;
        let m = beta1 * m + (1.0 - beta1) * g;
        let v = beta2 * v + (1.0 - beta2) * g * g;
        (shrink * w - rate * m / (v.sqrt() * root + epsilon), m, v)
    };
    parallel::for_each_chunk3(w, m, v, CHUNK, 4 * len, |i, w, m, v| {
        let grad = &grad[i * CHUNK..][..w.len()];
        let mask = mask.map(|mask| &mask[i * CHUNK..][..w.len()]);
        vectorize(
            #[inline(always)]
            || {
                let weights = w.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(grad);
                match mask {
                    None => weights.for_each(|(((w, m), v), &g)| {
                        (*w, *m, *v) = update(*w, g, *m, *v);
                    }),
                    Some(mask) => weights.zip(mask).for_each(|((((w, m), v), &g), &mask)| {
                        let (new_w, new_m, new_v) = update(*w, g, *m, *v);
                        *w = keep_if(mask, new_w);
                        *m = keep_if(mask, new_m);
                        *v = keep_if(mask, new_v);
                    }),
                }
            },
        );
    });
}

/// The sum of the squares, in `f64`, as for the norm of a gradient.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    reduce::sum_of_chunks(
        x,
        #[inline(always)]
        |x| {
            reduce::sum_by(
                x.len(),
                #[inline(always)]
                |i| x[i] * x[i],
            )
        },
    )
}

/// `x *= s`.
pub fn scale(x: &mut [f32], s: f32) {
    let len = x.len();
    parallel::for_each_chunk(x, CHUNK, len, |_, x| {
        vectorize(
            #[inline(always)]
            || x.iter_mut().for_each(|x| *x *= s),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers, same_on_any_pool};

    /// Masked and unmasked weights: the first third is off.
    fn mask(len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| if i < len / 3 { 0.0 } else { 1.0 })
            .collect()
    }

    #[test]
    fn sgd_follows_its_formula() {
        for (nesterov, momentum, weight_decay) in
            [(false, 0.9, 1e-4), (true, 0.9, 1e-2), (false, 0.0, 0.0)]
        {
            let step = SgdStep {
                lr: 0.1,
                momentum,
                nesterov,
                weight_decay,
            };
            for len in [0, 1, 17, 300_000] {
                let (start, grad, velocity) = (numbers(len, 1), numbers(len, 2), numbers(len, 3));
                let mask = mask(len);
                for mask in [None, Some(mask.as_slice())] {
                    let name = format!("{step:?} {len} {}", mask.is_some());
                    let w_then_v = same_on_any_pool(&name, || {
                        let (mut w, mut v) = (start.clone(), velocity.clone());
                        sgd(&step, &mut w, &grad, &mut v, mask);
                        [w, v].concat()
                    });
                    let mut expected = vec![0.0; 2 * len];
                    for i in 0..len {
                        let g = grad[i] + weight_decay * start[i];
                        let v = momentum * velocity[i] + g;
                        let direction = if nesterov { g + momentum * v } else { v };
                        let on = mask.map_or(1.0, |mask| mask[i]);
                        expected[i] = on * (start[i] - 0.1 * direction);
                        expected[len + i] = on * v;
                    }
                    assert_close(&name, &w_then_v, &expected, 1e-6);
                }
            }
        }
    }

    #[test]
    fn adam_follows_its_formula() {
        for decoupled in [false, true] {
            let len = 100_000;
            let (start, grad, mask) = (numbers(len, 1), numbers(len, 2), mask(len));
            for mask in [None, Some(mask.as_slice())] {
                let state = same_on_any_pool("adam", || {
                    let (mut w, mut m, mut v) = (start.clone(), vec![0.0; len], vec![0.0; len]);
                    for t in 1..=3 {
                        let step = step(decoupled, t);
                        adam(&step, &mut w, &grad, &mut m, &mut v, mask);
                    }
                    [w, m, v].concat()
                });
                let mut expected = vec![0.0; 3 * len];
                for i in (0..len).filter(|&i| mask.is_none_or(|mask| mask[i] == 1.0)) {
                    let [w, m, v] = reference_adam(decoupled, start[i], grad[i]);
                    (expected[i], expected[len + i], expected[2 * len + i]) = (w, m, v);
                }
                assert_close("adam", &state, &expected, 1e-5);
            }
        }
    }

    fn step(decoupled: bool, t: u64) -> AdamStep {
        let (lr, beta1, beta2, epsilon, weight_decay) = (1e-2, 0.9, 0.999, 1e-8, 0.1);
        AdamStep {
            lr,
            beta1,
            beta2,
            epsilon,
            weight_decay,
            decoupled,
            t,
        }
    }

    /// Three steps, in `f64`, as the papers write them.
    fn reference_adam(decoupled: bool, w: f32, grad: f32) -> [f32; 3] {
        let (mut w, mut m, mut v) = (f64::from(w), 0.0, 0.0);
        for t in 1..=3 {
            let mut g = f64::from(grad);
            if decoupled {
                w -= 1e-2 * 0.1 * w;
            } else {
                g += 0.1 * w;
            }
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            w -= 1e-2 * m_hat / (v_hat.sqrt() + 1e-8);
        }
        [w, m, v].map(|x| x as f32)
    }

    #[test]
    fn norms_and_scaling() {
        let x = numbers(1_000_003, 1);
        let exact = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let sums = same_on_any_pool("squares", || vec![sum_of_squares(&x) as f32]);
        assert!((f64::from(sums[0]) - exact).abs() < 1e-6 * exact);
        let mut scaled = x.clone();
        scale(&mut scaled, 0.3);
        assert!(x.iter().zip(&scaled).all(|(x, y)| *y == x * 0.3));
    }
}
