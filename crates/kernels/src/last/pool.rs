//! Pooling with channels last.

use super::{CHANNEL_BLOCK, ImageShape};
use crate::parallel;
use crate::pool::PoolShape;
use crate::simd::{self, Simd, WithSimd, dispatch};

/// What a window gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest value.
    Max,
    /// The mean; of the cells inside the image, or of all cells of the window.
    Average {
        /// Whether cells of the padding count.
        count_include_pad: bool,
    },
}

/// Pools `x` to `y`, whose pixels are whole blocks of channels; zeros in the halo of `y`. `shape` has
/// the window; cells outside the image do not take part. The largest of values of which some are not
/// numbers is one of them, number or not.
///
/// # Panics
/// If shapes do not fit each other or a slice is too short.
pub fn pool(
    pooling: Pooling,
    shape: &PoolShape,
    (x, x_shape): (&[f32], &ImageShape),
    (y, y_shape): (&mut [f32], &ImageShape),
) {
    let out = (shape.n, shape.c, shape.out_h(), shape.out_w());
    assert_eq!(
        (x_shape.n, x_shape.c, x_shape.h, x_shape.w),
        (shape.n, shape.c, shape.h, shape.w)
    );
    assert_eq!((y_shape.n, y_shape.c, y_shape.h, y_shape.w), out);
    for s in [x_shape, y_shape] {
        assert!(
            s.pitch.is_multiple_of(CHANNEL_BLOCK),
            "pixels are whole blocks of channels"
        );
    }
    let (x, y) = (&x[..x_shape.len()], &mut y[..y_shape.len()]);
    y_shape.clear_halo(y);
    if y.is_empty() {
        return;
    }
    let work = y.len() * shape.kernel[0] * shape.kernel[1];
    parallel::for_each_chunk(y, y_shape.image_len(), work, |image, y| {
        let one = Image {
            pooling,
            shape,
            x,
            x_shape,
            y_shape,
            image,
            y,
        };
        dispatch(simd::level(), one);
    });
}

struct Image<'a> {
    pooling: Pooling,
    shape: &'a PoolShape,
    x: &'a [f32],
    x_shape: &'a ImageShape,
    y_shape: &'a ImageShape,
    image: usize,
    y: &'a mut [f32],
}

impl WithSimd for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (shape, window) = (self.shape, self.shape.kernel);
        let cells = |out: usize, axis: usize, len: usize| {
            let start = out * shape.stride[axis];
            let before = shape.padding[axis];
            let first = start.saturating_sub(before);
            first
                ..(start + window[axis])
                    .saturating_sub(before)
                    .min(len)
                    .max(first)
        };
        for row in 0..self.y_shape.h {
            let rows = cells(row, 0, shape.h);
            for column in 0..self.y_shape.w {
                let columns = cells(column, 1, shape.w);
                let count = match self.pooling {
                    Pooling::Average {
                        count_include_pad: true,
                    } => window[0] * window[1],
                    _ => rows.len() * columns.len(),
                };
                let to = self.y_shape.at(0, row, column);
                for channel in (0..shape.c).step_by(S::LANES) {
                    let mut result = match self.pooling {
                        Pooling::Max => simd.splat(f32::NEG_INFINITY),
                        Pooling::Average { .. } => simd.splat(0.0),
                    };
                    for row in rows.clone() {
                        for column in columns.clone() {
                            let at = self.x_shape.at(self.image, row, column) + channel;
                            let x = simd.load_slice(&self.x[at..]);
                            result = match self.pooling {
                                Pooling::Max => simd.max(result, x),
                                Pooling::Average { .. } => simd.add(result, x),
                            };
                        }
                    }
                    if let Pooling::Average { .. } = self.pooling {
                        let share = simd.splat(1.0 / count as f32);
                        result = simd.mul_add(result, share, simd.splat(0.0));
                    }
                    simd.store_slice(&mut self.y[to + channel..], result);
                }
            }
        }
    }
}
