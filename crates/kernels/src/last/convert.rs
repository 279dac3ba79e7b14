//! From and to images with channels first, and sums of images.

use super::{Clamp, ImageShape, for_each_row};
use crate::parallel;

/// Channels last from channels first: `x: [n, c, h, w]`. The halo of `y` becomes zero.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn to_last(x: &[f32], shape: &ImageShape, y: &mut [f32]) {
    let area = shape.h * shape.w;
    let x = &x[..shape.n * shape.c * area];
    if x.is_empty() {
        return shape.clear_halo(y);
    }
    for_each_row(y, shape, 0.0, x.len(), |row, y| {
        let (n, row) = (row / shape.h, row % shape.h);
        let x = &x[n * shape.c * area..][..shape.c * area];
        let line = |c: usize| &x[c * area + row * shape.w..][..shape.w];
        match (shape.c, shape.pitch) {
            (1, 1) => return y.copy_from_slice(line(0)),
            // Colours: the three bounds are known, so that the loop has no checks.
            (3, 3) => {
                let (pixels, _) = y.as_chunks_mut::<3>();
                let lines = line(0).iter().zip(line(1)).zip(line(2));
                for (pixel, ((&a, &b), &c)) in pixels.iter_mut().zip(lines) {
                    *pixel = [a, b, c];
                }
                return;
            }
            _ => {}
        }
        // Some channels at a time, so that what is written stays near.
        for first in (0..shape.c).step_by(LANES) {
            let channels = LANES.min(shape.c - first);
            let planes = &x[first * area + row * shape.w..];
            for (column, pixel) in y.chunks_exact_mut(shape.pitch).enumerate() {
                for (c, value) in pixel[first..first + channels].iter_mut().enumerate() {
                    *value = planes[c * area + column];
                }
            }
        }
    });
}

/// Channels first from channels last: `y: [n, c, h, w]`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn from_last(x: &[f32], shape: &ImageShape, y: &mut [f32]) {
    let area = shape.h * shape.w;
    let x = &x[..shape.len()];
    let y = &mut y[..shape.n * shape.c * area];
    if y.is_empty() {
        return;
    }
    let work = y.len();
    parallel::for_each_chunk(y, shape.c * area, work, |n, y| {
        for row in 0..shape.h {
            let x = &x[shape.at(n, row, 0)..][..shape.w * shape.pitch];
            for first in (0..shape.c).step_by(LANES) {
                let channels = LANES.min(shape.c - first);
                for (column, pixel) in x.chunks_exact(shape.pitch).enumerate() {
                    for (c, &value) in pixel[first..first + channels].iter().enumerate() {
                        y[(first + c) * area + row * shape.w + column] = value;
                    }
                }
            }
        }
    });
}

/// Channels that are moved at a time.
const LANES: usize = 16;

/// `y = clamp(a + b)`, pixel by pixel; zeros in the halo of `y`.
///
/// # Panics
/// If the shapes differ in more than halo and pitch, or a slice is too short.
pub fn add(
    (a, a_shape): (&[f32], &ImageShape),
    (b, b_shape): (&[f32], &ImageShape),
    clamp: Clamp,
    (y, y_shape): (&mut [f32], &ImageShape),
) {
    let size = |s: &ImageShape| (s.n, s.h, s.w, s.c);
    assert_eq!(size(a_shape), size(y_shape), "images of one size are added");
    assert_eq!(size(b_shape), size(y_shape), "images of one size are added");
    let (a, b) = (&a[..a_shape.len()], &b[..b_shape.len()]);
    for_each_row(y, y_shape, 0.0, a.len(), |row, y| {
        let (n, row) = (row / y_shape.h, row % y_shape.h);
        let line = |s: &ImageShape| s.at(n, row, 0)..s.at(n, row, 0) + s.w * s.pitch;
        let (a, b) = (&a[line(a_shape)], &b[line(b_shape)]);
        crate::simd::vectorize(
            #[inline(always)]
            || {
                let sum = |y: &mut f32, a: &f32, b: &f32| {
                    *y = (a + b).max(clamp.low).min(clamp.high);
                };
                if a.len() == y.len() && b.len() == y.len() {
                    let pairs = a.iter().zip(b);
                    y.iter_mut().zip(pairs).for_each(|(y, (a, b))| sum(y, a, b));
                    return;
                }
                let pixels = a
                    .chunks_exact(a_shape.pitch)
                    .zip(b.chunks_exact(b_shape.pitch));
                for (y, (a, b)) in y.chunks_exact_mut(y_shape.pitch).zip(pixels) {
                    let pairs = a.iter().zip(b).take(y_shape.c);
                    y.iter_mut().zip(pairs).for_each(|(y, (a, b))| sum(y, a, b));
                }
            },
        );
    });
}
