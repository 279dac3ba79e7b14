//! Numbers to bytes and back, and pooling of bytes.

use super::{ImageShape, Scale, for_each_row};
use crate::parallel;
use crate::pool::PoolShape;
use crate::simd::vectorize;

/// The byte that stands for the number nearest to `x`, halves to even; beyond the bytes the nearest, and the
/// least for what is not a number.
#[inline(always)]
fn byte(x: f32, scale: Scale) -> u8 {
    /// Adding it rounds to an integer, halves to even, which is then in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let zero = i32::from(scale.zero_point);
    let (low, high) = (-zero as f32, (255 - zero) as f32);
    // Bounds are integers, so that to cut before rounding is the same, and a loop becomes vectors, which it
    // does not where Rust has to saturate.
    let x = x / scale.scale;
    let x = if x > low { x } else { low };
    let x = if x < high { x } else { high };
    let rounded = (x + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
    (rounded + zero) as u8
}

#[inline(always)]
fn number(q: u8, scale: Scale) -> f32 {
    (f32::from(q) - f32::from(scale.zero_point)) * scale.scale
}

/// Whether images are rows of a matrix: channels last are as channels first, but for the pitch.
fn is_matrix(shape: &ImageShape) -> bool {
    shape.h * shape.w == 1 && shape.halo == [0; 2]
}

/// Makes each element of rows `y` of that of rows `x`, which are so many elements apart, as far as both have
/// any. Some thousands at a time: a call for each row takes as long as the row.
fn matrix<A: Copy + Sync, B: Send>(
    (x, x_pitch): (&[A], usize),
    (y, y_pitch): (&mut [B], usize),
    f: impl Fn(A) -> B + Copy + Send + Sync,
) {
    const BLOCK: usize = 1 << 13;
    let rows = (BLOCK / y_pitch).max(1);
    parallel::for_each_chunk(y, rows * y_pitch, 2 * x.len(), |i, y| {
        // A copy, which lies where no result is written.
        let (own, x) = (f, &x[i * rows * x_pitch..]);
        vectorize(
            #[inline(always)]
            || {
                if x_pitch == y_pitch {
                    return y.iter_mut().zip(x).for_each(|(y, &x)| *y = own(x));
                }
                for (y, x) in y.chunks_mut(y_pitch).zip(x.chunks(x_pitch)) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = own(x));
                }
            },
        );
    });
}

/// Bytes with channels last from numbers with channels first, `x: [n, c, h, w]`; the halo of `y`
/// becomes its zero.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn bytes_to_last(x: &[f32], scale: Scale, shape: &ImageShape, y: &mut [u8]) {
    let area = shape.h * shape.w;
    let (x, y) = (&x[..shape.n * shape.c * area], &mut y[..shape.len()]);
    if x.is_empty() {
        return shape.fill_halo(y, scale.zero_point);
    }
    if is_matrix(shape) {
        return matrix(
            (x, shape.c),
            (y, shape.pitch),
            #[inline(always)]
            move |x| byte(x, scale),
        );
    }
    for_each_row(y, shape, scale.zero_point, 2 * x.len(), |row, y| {
        let (n, row) = (row / shape.h, row % shape.h);
        let x = &x[n * shape.c * area..][..shape.c * area];
        let mut line = [0; 64];
        for (i, y) in y.chunks_mut(line.len() * shape.pitch).enumerate() {
            let line = &mut line[..y.len() / shape.pitch];
            for c in 0..shape.c {
                let from = &x[c * area + row * shape.w + i * 64..];
                vectorize(
                    #[inline(always)]
                    || {
                        line.iter_mut()
                            .zip(from)
                            .for_each(|(q, &x)| *q = byte(x, scale))
                    },
                );
                let pixels = y.chunks_exact_mut(shape.pitch);
                pixels.zip(&*line).for_each(|(pixel, &q)| pixel[c] = q);
            }
        }
    });
}

/// Numbers with channels first, `y: [n, c, h, w]`, from bytes with channels last.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn bytes_from_last(x: &[u8], scale: Scale, shape: &ImageShape, y: &mut [f32]) {
    let area = shape.h * shape.w;
    let (x, y) = (&x[..shape.len()], &mut y[..shape.n * shape.c * area]);
    if y.is_empty() {
        return;
    }
    if is_matrix(shape) {
        return matrix(
            (x, shape.pitch),
            (y, shape.c),
            #[inline(always)]
            move |q| number(q, scale),
        );
    }
    let work = 2 * y.len();
    parallel::for_each_chunk(y, shape.c * area, work, |n, y| {
        for row in 0..shape.h {
            let x = &x[shape.at(n, row, 0)..][..shape.w * shape.pitch];
            for c in 0..shape.c {
                let to = &mut y[c * area + row * shape.w..][..shape.w];
                let pixels = x.chunks_exact(shape.pitch);
                to.iter_mut()
                    .zip(pixels)
                    .for_each(|(y, pixel)| *y = number(pixel[c], scale));
            }
        }
    });
}

/// Bytes from numbers, both with channels last and of one pitch; the halo of `y` becomes its zero.
///
/// # Panics
/// If the shapes differ in more than the halo, or a slice is too short.
pub fn quantize(
    (x, x_shape): (&[f32], &ImageShape),
    scale: Scale,
    (y, y_shape): (&mut [u8], &ImageShape),
) {
    rows(
        (x, x_shape),
        (y, y_shape),
        scale.zero_point,
        #[inline(always)]
        move |x, y| {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = byte(x, scale));
        },
    );
}

/// Numbers from bytes, both with channels last and of one pitch; zeros in the halo of `y`.
///
/// # Panics
/// If the shapes differ in more than the halo, or a slice is too short.
pub fn dequantize(
    (x, x_shape): (&[u8], &ImageShape),
    scale: Scale,
    (y, y_shape): (&mut [f32], &ImageShape),
) {
    rows(
        (x, x_shape),
        (y, y_shape),
        0.0,
        #[inline(always)]
        move |x, y| {
            y.iter_mut()
                .zip(x)
                .for_each(|(y, &x)| *y = number(x, scale));
        },
    );
}

fn rows<A: Sync, B: Copy + Send + Sync>(
    (x, x_shape): (&[A], &ImageShape),
    (y, y_shape): (&mut [B], &ImageShape),
    around: B,
    f: impl Fn(&[A], &mut [B]) + Copy + Send + Sync,
) {
    let size = |s: &ImageShape| (s.n, s.h, s.w, s.c, s.pitch);
    assert_eq!(size(x_shape), size(y_shape), "images of one size and pitch");
    let x = &x[..x_shape.len()];
    for_each_row(y, y_shape, around, 2 * x.len(), |row, y| {
        // A copy, which lies where no result is written.
        let own = f;
        let x = &x[x_shape.at(row / y_shape.h, row % y_shape.h, 0)..][..y.len()];
        vectorize(
            #[inline(always)]
            || own(x, y),
        );
    });
}

/// The largest byte of each window; the halo of `y` becomes `zero_point`. Images are of one pitch.
///
/// # Panics
/// If shapes do not fit each other or a slice is too short.
pub fn max_pool_bytes(
    shape: &PoolShape,
    (x, x_shape): (&[u8], &ImageShape),
    zero_point: u8,
    (y, y_shape): (&mut [u8], &ImageShape),
) {
    let out = (shape.n, shape.c, shape.out_h(), shape.out_w());
    let in_shape = (x_shape.n, x_shape.c, x_shape.h, x_shape.w);
    assert_eq!(in_shape, (shape.n, shape.c, shape.h, shape.w));
    assert_eq!((y_shape.n, y_shape.c, y_shape.h, y_shape.w), out);
    assert_eq!(x_shape.pitch, y_shape.pitch, "images of one pitch");
    let x = &x[..x_shape.len()];
    let (pitch, work) = (
        y_shape.pitch,
        y_shape.len() * shape.kernel[0] * shape.kernel[1],
    );
    for_each_row(y, y_shape, zero_point, work, |row, y| {
        let (n, row) = (row / y_shape.h, row % y_shape.h);
        for (column, y) in y.chunks_exact_mut(pitch).enumerate() {
            let rows = shape.rows(row);
            let columns = shape.cols(column);
            y.fill(0);
            vectorize(
                #[inline(always)]
                || {
                    for row in rows.clone() {
                        for column in columns.clone() {
                            let x = &x[x_shape.at(n, row, column)..][..pitch];
                            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (*y).max(x));
                        }
                    }
                },
            );
        }
    });
}
