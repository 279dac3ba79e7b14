//! Softmax and log-softmax along one axis, and their gradients.
//!
//! Everything is viewed as `[outer, c, inner]` and normalised over the middle axis; `inner` is 1
//! for the usual rows of `c` classes. For other axes, rows are gathered first.

use crate::elementwise::exp;
use crate::parallel;
use crate::reduce::{extreme, larger, sum, sum_by};
use crate::simd::vectorize;

/// Elements in one task.
const CHUNK: usize = 1 << 12;

/// Cost of an element beside that of an addition: an exponential and three passes.
const OPS_EACH: usize = 8;

/// `y = e^x / sum(e^x)` over the middle axis of `[outer, c, inner]`.
///
/// The largest of a row is subtracted first, so nothing overflows.
///
/// # Panics
/// If a slice does not have `outer * c * inner` elements.
pub fn softmax(outer: usize, c: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    by_rows(
        [outer, c, inner],
        [x],
        y,
        #[inline(always)]
        |[x], y| {
            let sum = exponentials(x, y);
            let scale = (1.0 / sum) as f32;
            y.iter_mut().for_each(|y| *y *= scale);
        },
    );
}

/// `y = e^(x - max)`; returns the sum.
#[inline(always)]
pub(crate) fn exponentials(x: &[f32], y: &mut [f32]) -> f64 {
    let top = extreme(x, f32::NEG_INFINITY, larger);
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp(x - top));
    sum(y)
}

/// `log(sum(e^x))`, in nats.
#[inline(always)]
pub(crate) fn log_sum_exp(x: &[f32]) -> f32 {
    let top = extreme(x, f32::NEG_INFINITY, larger);
    let sum = sum_by(
        x.len(),
        #[inline(always)]
        |i| exp(x[i] - top),
    );
    top + sum.ln() as f32
}

/// `y = x - log(sum(e^x))`, the logarithm (natural) of the softmax, over the middle axis of
/// `[outer, c, inner]`.
///
/// # Panics
/// If a slice does not have `outer * c * inner` elements.
pub fn log_softmax(outer: usize, c: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    by_rows(
        [outer, c, inner],
        [x],
        y,
        #[inline(always)]
        |[x], y| {
            // Two subtractions: the sum of both might round away the smaller.
            let top = extreme(x, f32::NEG_INFINITY, larger);
            let sum = sum_by(
                x.len(),
                #[inline(always)]
                |i| exp(x[i] - top),
            );
            let log = sum.ln() as f32;
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - top) - log);
        },
    );
}

/// Gradient of [`softmax`], from its result: `dx = y (dy - sum(y dy))`; overwrites `dx`.
///
/// # Panics
/// If a slice does not have `outer * c * inner` elements.
pub fn softmax_grad(outer: usize, c: usize, inner: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    by_rows(
        [outer, c, inner],
        [y, dy],
        dx,
        #[inline(always)]
        |[y, dy], dx| {
            let dot = sum_by(
                y.len(),
                #[inline(always)]
                |i| y[i] * dy[i],
            ) as f32;
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = y * (dy - dot);
            }
        },
    );
}

/// Gradient of [`log_softmax`], from its result: `dx = dy - e^y sum(dy)`; overwrites `dx`.
///
/// # Panics
/// If a slice does not have `outer * c * inner` elements.
pub fn log_softmax_grad(
    outer: usize,
    c: usize,
    inner: usize,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    by_rows(
        [outer, c, inner],
        [y, dy],
        dx,
        #[inline(always)]
        |[y, dy], dx| {
            let total = sum(dy) as f32;
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = dy - exp(y) * total;
            }
        },
    );
}

/// `f(rows of x, row of y)` along the middle axis.
fn by_rows<const N: usize>(
    [outer, c, inner]: [usize; 3],
    x: [&[f32]; N],
    y: &mut [f32],
    f: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) {
    let len = outer * c * inner;
    let equal = y.len() == len && x.iter().all(|x| x.len() == len);
    assert!(equal, "operands of a softmax must be [outer, c, inner]");
    if len == 0 {
        return;
    }
    if inner > 1 {
        return by_gathered_rows([c, inner], x, y, f);
    }
    let task = (CHUNK / c).max(1) * c;
    parallel::for_each_chunk(y, task, OPS_EACH * len, |i, y| {
        let x = x.map(|x| &x[i * task..][..y.len()]);
        vectorize(
            #[inline(always)]
            || {
                for (j, y) in y.chunks_exact_mut(c).enumerate() {
                    f(x.map(|x| &x[j * c..][..c]), y);
                }
            },
        );
    });
}

/// As [`by_rows`], a few columns at a time copied to rows and back.
fn by_gathered_rows<const N: usize>(
    [c, inner]: [usize; 2],
    x: [&[f32]; N],
    y: &mut [f32],
    f: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) {
    const COLUMNS: usize = 16;
    let len = y.len();
    parallel::for_each_chunk(y, c * inner, OPS_EACH * len, |block, y| {
        let x = x.map(|x| &x[block * c * inner..][..c * inner]);
        parallel::with_scratch((N + 1) * COLUMNS * c, |rows| {
            let (row_y, rows_x) = rows.split_at_mut(COLUMNS * c);
            for first in (0..inner).step_by(COLUMNS) {
                let width = COLUMNS.min(inner - first);
                for (x, rows) in x.iter().zip(rows_x.chunks_exact_mut(COLUMNS * c)) {
                    for (i, x) in x.chunks_exact(inner).enumerate() {
                        (0..width).for_each(|j| rows[j * c + i] = x[first + j]);
                    }
                }
                vectorize(
                    #[inline(always)]
                    || {
                        for (j, y) in row_y.chunks_exact_mut(c).take(width).enumerate() {
                            f(
                                std::array::from_fn(|k| &rows_x[(k * COLUMNS + j) * c..][..c]),
                                y,
                            );
                        }
                    },
                );
                for (i, y) in y.chunks_exact_mut(inner).enumerate() {
                    (0..width).for_each(|j| y[first + j] = row_y[j * c + i]);
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool};

    type Forward = fn(usize, usize, usize, &[f32], &mut [f32]);
    type Backward = fn(usize, usize, usize, &[f32], &[f32], &mut [f32]);

    const SHAPES: [[usize; 3]; 8] = [
        [128, 10, 1],
        [1, 1, 1],
        [37, 1000, 1],
        [3, 7, 5],
        [2, 33, 40],
        [300, 10, 64],
        [0, 10, 1],
        [4, 0, 3],
    ];

    #[test]
    fn agrees_with_reference() {
        let functions: [(&str, Forward, Forward, Backward, Backward); 2] = [
            (
                "softmax",
                softmax,
                reference::softmax,
                softmax_grad,
                reference::softmax_grad,
            ),
            (
                "log_softmax",
                log_softmax,
                reference::log_softmax,
                log_softmax_grad,
                reference::log_softmax_grad,
            ),
        ];
        for [outer, c, inner] in SHAPES {
            let len = outer * c * inner;
            let x: Vec<f32> = numbers(len, 1).iter().map(|x| x * 20.0).collect();
            let dy = numbers(len, 2);
            for (name, forward, twin, backward, twin_back) in functions {
                let name = format!("{name} {outer} {c} {inner}");
                let y = same_on_any_pool(&name, || {
                    let mut y = vec![f32::NAN; len];
                    forward(outer, c, inner, &x, &mut y);
                    y
                });
                let mut expected = vec![0.0; len];
                twin(outer, c, inner, &x, &mut expected);
                assert_close(&name, &y, &expected, 1e-6);
                let mut dx = vec![f32::NAN; len];
                backward(outer, c, inner, &y, &dy, &mut dx);
                let mut expected = vec![0.0; len];
                twin_back(outer, c, inner, &y, &dy, &mut expected);
                assert_close(&name, &dx, &expected, 5e-6);
            }
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut y = [0.0; 3];
        softmax(1, 3, 1, &[1e4, -1e4, 1e4], &mut y);
        assert_eq!(y, [0.5, 0.0, 0.5]);
        log_softmax(1, 3, 1, &[1e4, -1e4, 1e4], &mut y);
        assert_close("log", &y, &[-LN_2, -2e4 - LN_2, -LN_2], 1e-6);
    }
}
