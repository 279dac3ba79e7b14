//! Sums and extremes over one axis.
//!
//! `x` is viewed as `[outer, axis, inner]` and the middle axis goes. Sums are taken in `f32` lanes
//! over short runs and in `f64` between runs, so that long ones lose no more than short ones; the
//! order is fixed.

use crate::parallel;
use crate::simd::vectorize;

/// Partial sums in one run; whatever the processor, so that the bits do not depend on it.
const LANES: usize = 16;

/// Elements summed in `f32` before they go into an `f64`.
pub(crate) const RUN: usize = 4096;

/// Elements in one task.
const CHUNK: usize = 1 << 14;

/// `sum of f(i)` for `i` in `0..len`, with `f` called on runs that become vectors.
#[inline(always)]
pub(crate) fn sum_by(len: usize, f: impl Fn(usize) -> f32) -> f64 {
    let mut total = 0.0;
    let mut start = 0;
    while start < len {
        let end = len.min(start + RUN);
        let mut lanes = [0.0f32; LANES];
        let mut i = start;
        while i + LANES <= end {
            for (j, lane) in lanes.iter_mut().enumerate() {
                *lane += f(i + j);
            }
            i += LANES;
        }
        for (j, lane) in lanes.iter_mut().enumerate().take(end - i) {
            *lane += f(i + j);
        }
        total += f64::from(add_lanes(lanes));
        start = end;
    }
    total
}

/// Halves until one is left.
#[inline(always)]
pub(crate) fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of a slice.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f64 {
    sum_by(
        x.len(),
        #[inline(always)]
        |i| x[i],
    )
}

/// The largest (or whatever `pick` prefers) of a slice; `start` if it is empty.
#[inline(always)]
pub(crate) fn extreme(x: &[f32], start: f32, pick: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = x.chunks_exact(LANES);
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = pick(*lane, x);
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = pick(*lane, x);
        }
    }
    lanes.into_iter().fold(start, pick)
}

/// The larger one; NaN if either is.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// The smaller one; NaN if either is.
#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if b < a || b.is_nan() { b } else { a }
}

/// `y[o, i] = sum over a of x[o, a, i]`, `y: [outer, inner]`.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn sum_axis(outer: usize, axis: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    check(outer, axis, inner, x, y);
    if x.is_empty() {
        return y.fill(0.0);
    }
    if inner == 1 && outer == 1 {
        y[0] = sum_all(x);
        return;
    }
    if inner == 1 {
        return by_rows(
            axis,
            x,
            y,
            #[inline(always)]
            |row| sum(row) as f32,
        );
    }
    by_columns(axis, inner, x, y, |x, start, y| {
        let mut totals = [0.0f64; TILE];
        for first in (0..axis).step_by(ROWS) {
            let mut sums = [0.0f32; TILE];
            for a in first..axis.min(first + ROWS) {
                let row = &x[a * inner + start..][..y.len()];
                sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
            }
            totals
                .iter_mut()
                .zip(&sums)
                .for_each(|(total, &sum)| *total += f64::from(sum));
        }
        y.iter_mut()
            .zip(&totals)
            .for_each(|(y, &total)| *y = total as f32);
    });
}

/// Columns whose sums are held at a time.
const TILE: usize = 64;

/// Rows added in `f32` before the sums go into `f64`.
const ROWS: usize = 64;

/// `y[o, i] = max over a of x[o, a, i]`; NaN if there is one, negative infinity for an empty axis.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn max_axis(outer: usize, axis: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    extreme_axis(outer, axis, inner, x, y, f32::NEG_INFINITY, larger);
}

/// `y[o, i] = min over a of x[o, a, i]`; NaN if there is one, infinity for an empty axis.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn min_axis(outer: usize, axis: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    extreme_axis(outer, axis, inner, x, y, f32::INFINITY, smaller);
}

fn extreme_axis(
    outer: usize,
    axis: usize,
    inner: usize,
    x: &[f32],
    y: &mut [f32],
    start: f32,
    pick: impl Fn(f32, f32) -> f32 + Copy + Sync,
) {
    check(outer, axis, inner, x, y);
    if x.is_empty() {
        return y.fill(start);
    }
    if inner == 1 {
        return by_rows(
            axis,
            x,
            y,
            #[inline(always)]
            |row| extreme(row, start, pick),
        );
    }
    by_columns(axis, inner, x, y, |x, first, y| {
        y.fill(start);
        for a in 0..axis {
            let row = &x[a * inner + first..][..y.len()];
            y.iter_mut().zip(row).for_each(|(y, &x)| *y = pick(*y, x));
        }
    });
}

fn check(outer: usize, axis: usize, inner: usize, x: &[f32], y: &[f32]) {
    assert_eq!(
        x.len(),
        outer * axis * inner,
        "x of a reduction must be [outer, axis, inner]"
    );
    assert_eq!(
        y.len(),
        outer * inner,
        "y of a reduction must be [outer, inner]"
    );
}

/// The sum of all of `x`, over fixed chunks that threads share.
fn sum_all(x: &[f32]) -> f32 {
    sum_of_chunks(x, sum) as f32
}

/// The sum of `f(chunk)` over fixed chunks of `x`, in order.
pub(crate) fn sum_of_chunks(x: &[f32], f: impl Fn(&[f32]) -> f64 + Sync) -> f64 {
    let sums = parallel::map(x.len().div_ceil(CHUNK), x.len(), |i| {
        let chunk = &x[i * CHUNK..x.len().min((i + 1) * CHUNK)];
        vectorize(
            #[inline(always)]
            || f(chunk),
        )
    });
    sums.iter().sum()
}

/// `y[o] = f(x[o, ..])` for rows of `axis` elements.
fn by_rows(axis: usize, x: &[f32], y: &mut [f32], f: impl Fn(&[f32]) -> f32 + Sync) {
    let rows_per_task = (CHUNK / axis).max(1);
    parallel::for_each_chunk(y, rows_per_task, x.len(), |i, y| {
        let rows = x[i * rows_per_task * axis..].chunks_exact(axis);
        vectorize(
            #[inline(always)]
            || y.iter_mut().zip(rows).for_each(|(y, row)| *y = f(row)),
        );
    });
}

/// Calls `f(x[o, .., ..], first column, y[o, columns])` for tiles of at most [`TILE`] columns.
fn by_columns(
    axis: usize,
    inner: usize,
    x: &[f32],
    y: &mut [f32],
    f: impl Fn(&[f32], usize, &mut [f32]) + Sync,
) {
    let tile = |x: &[f32], first: usize, y: &mut [f32]| {
        vectorize(
            #[inline(always)]
            || f(x, first, y),
        );
    };
    if y.len() == inner {
        // One block: threads share its columns.
        return parallel::for_each_chunk(y, TILE, x.len(), |i, y| tile(x, i * TILE, y));
    }
    let blocks_per_task = (CHUNK / (axis * inner)).max(1);
    parallel::for_each_chunk(y, blocks_per_task * inner, x.len(), |i, y| {
        for (j, y) in y.chunks_exact_mut(inner).enumerate() {
            let x = &x[(i * blocks_per_task + j) * axis * inner..][..axis * inner];
            y.chunks_mut(TILE)
                .enumerate()
                .for_each(|(t, y)| tile(x, t * TILE, y));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};

    type Reduction = fn(usize, usize, usize, &[f32], &mut [f32]);

    #[test]
    fn agrees_with_reference() {
        let functions: [(&str, Reduction, Reduction); 3] = [
            ("sum", sum_axis, reference::sum_axis),
            ("max", max_axis, reference::max_axis),
            ("min", min_axis, reference::min_axis),
        ];
        let shapes = [
            [1, 1, 1],
            [5, 7, 3],
            [1, 1_000_003, 1],
            [37, 1000, 1],
            [1, 128, 300],
            [1, 5000, 70],
            [64, 100, 64],
            [16, 32, 1024],
            [3, 0, 4],
            [0, 4, 4],
            [4, 4, 0],
        ];
        for [outer, axis, inner] in shapes {
            let x = numbers(outer * axis * inner, 1);
            for (name, f, twin) in functions {
                let name = format!("{name} {outer} {axis} {inner}");
                let y = same_on_any_pool(&name, || {
                    let mut y = vec![f32::NAN; outer * inner];
                    f(outer, axis, inner, &x, &mut y);
                    y
                });
                let mut expected = vec![0.0; outer * inner];
                twin(outer, axis, inner, &x, &mut expected);
                assert_close(&name, &y, &expected, tolerance(axis.min(8 * RUN)));
            }
        }
    }

    #[test]
    fn long_sums_stay_exact() {
        // In one f32 accumulator this would stop growing at 2^24.
        let x = vec![1.0; (1 << 25) + 3];
        let mut y = [0.0];
        sum_axis(1, x.len(), 1, &x, &mut y);
        assert_eq!(y[0], x.len() as f32);
    }

    #[test]
    fn extremes_pass_nan_on() {
        for at in [0, 5, 20, 32] {
            let mut x = numbers(33, 1);
            x[at] = f32::NAN;
            for f in [max_axis, min_axis] {
                let (mut y, mut by_column) = ([0.0], [0.0; 3]);
                f(1, 33, 1, &x, &mut y);
                f(1, 11, 3, &x, &mut by_column);
                assert!(y[0].is_nan() && by_column[at % 3].is_nan(), "NaN at {at}");
            }
        }
    }
}
