//! Kernels for networks that only answer: channels last, weights packed beforehand.
//!
//! An image is `[h, w, channels]`, so that a vector holds neighbouring channels of one pixel and a
//! convolution is a product of broadcast inputs by packed weights, whatever the size of the image.
//! Around an image there may be a *halo* of zeros, as wide as the padding of whoever reads it, so
//! that no kernel asks whether a tap is outside. What follows a layer in a network (bias, another
//! value added, a clamp) is done while the sums are still in registers.

mod byte_conv;
mod byte_convert;
mod byte_depthwise;
#[cfg(test)]
mod byte_tests;
mod conv;
mod convert;
mod cut;
mod depthwise;
mod pool;
#[cfg(test)]
mod tests;
mod tiling;
mod winograd;

pub use byte_conv::{Added, ByteConvLayer, Results, Scale};
pub use byte_convert::{bytes_from_last, bytes_to_last, dequantize, max_pool_bytes, quantize};
pub use byte_depthwise::ByteDepthwiseLayer;
pub use conv::ConvLayer;
pub use convert::{add, from_last, to_last};
pub use cut::Cut;
pub use depthwise::DepthwiseLayer;
pub use pool::{Pooling, pool};
pub use tiling::Tile;
pub use winograd::WinogradLayer;

use std::ops::Range;

use crate::parallel::{self, SharedMut};

/// How a batch of images lies in memory, channels last: `[n, halo + h + halo, halo + w + halo,
/// pitch]`.
///
/// What is stored behind the `c` channels of a pixel, up to `pitch`, means nothing. The halo is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Distance between two pixels of a row, in elements; at least `c`.
    pub pitch: usize,
    /// Rows of zeros above and below, columns of zeros left and right.
    pub halo: [usize; 2],
}

/// Channels that are kept together: those of the widest vector of `f32`.
pub const CHANNEL_BLOCK: usize = 16;

impl ImageShape {
    /// Images of `c` channels in whole vectors, without a halo.
    pub fn new(n: usize, h: usize, w: usize, c: usize) -> ImageShape {
        ImageShape {
            n,
            h,
            w,
            c,
            pitch: c.next_multiple_of(CHANNEL_BLOCK),
            halo: [0; 2],
        }
    }

    /// Elements of a row with its halo.
    pub fn row_len(&self) -> usize {
        (self.w + 2 * self.halo[1]) * self.pitch
    }

    /// Elements of an image with its halo.
    pub fn image_len(&self) -> usize {
        (self.h + 2 * self.halo[0]) * self.row_len()
    }

    /// Elements of the batch with its halos.
    ///
    /// # Panics
    /// If there are more than memory can have.
    pub fn len(&self) -> usize {
        let side = |len: usize, halo: usize| halo.checked_mul(2)?.checked_add(len);
        let rows = side(self.h, self.halo[0]).and_then(|h| h.checked_mul(self.n));
        let row = side(self.w, self.halo[1]).and_then(|w| w.checked_mul(self.pitch));
        let all = rows.zip(row).and_then(|(rows, row)| rows.checked_mul(row));
        all.expect("images fit into memory")
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where pixel `(y, x)` of image `n` begins.
    pub fn at(&self, n: usize, y: usize, x: usize) -> usize {
        n * self.image_len() + (y + self.halo[0]) * self.row_len() + (x + self.halo[1]) * self.pitch
    }

    /// The batch as one row of pixels, where nothing lies between two rows.
    fn flat(&self) -> Option<ImageShape> {
        (self.halo == [0; 2]).then_some(ImageShape {
            n: 1,
            h: 1,
            w: self.n * self.h * self.w,
            ..*self
        })
    }

    /// Writes the zeros around each image.
    pub fn clear_halo<T: Copy + Default>(&self, data: &mut [T]) {
        self.fill_halo(data, T::default());
    }

    /// Writes what is around each image.
    ///
    /// # Panics
    /// If `data` is shorter than the batch.
    pub fn fill_halo<T: Copy>(&self, data: &mut [T], value: T) {
        assert!(data.len() >= self.len(), "images are too short");
        // SAFETY: the batch is there, and borrowed.
        unsafe { self.fill_halo_of(0..self.n * self.h, SharedMut::new(data), value) };
    }

    /// Writes what is around some rows of the batch, which are numbered without the halo: left and right of
    /// them, above the first of an image and below the last. So whoever makes them has it in the cache.
    ///
    /// # Safety
    /// `out` has the whole batch, and nobody else uses what is around these rows at the same time.
    unsafe fn fill_halo_of<T: Copy>(&self, rows: Range<usize>, out: SharedMut<T>, value: T) {
        let [above, left] = self.halo;
        if self.halo == [0; 2] || rows.is_empty() {
            return;
        }
        let (row_len, side) = (self.row_len(), left * self.pitch);
        let fill = |at: usize, len: usize| {
            // SAFETY: what is around rows is within the batch, and the caller's.
            unsafe { std::slice::from_raw_parts_mut(out.at(at), len) }.fill(value);
        };
        for row in rows {
            let (image, row) = (row / self.h, row % self.h);
            let begin = image * self.image_len() + (above + row) * row_len;
            if row == 0 {
                fill(begin - above * row_len, above * row_len);
            }
            fill(begin, side);
            fill(begin + row_len - side, side);
            if row + 1 == self.h {
                fill(begin + row_len, above * row_len);
            }
        }
    }
}

/// Calls `f` with each row of a batch `y` that is written, which are numbered without the halo, and the elements
/// of its pixels; the halo becomes `around`. `work` is the cost of all of it, in elementary operations.
///
/// # Panics
/// If `y` is shorter than the batch.
fn for_each_row<T: Copy + Send + Sync>(
    y: &mut [T],
    shape: &ImageShape,
    around: T,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    let (rows, len) = (shape.n * shape.h, shape.w * shape.pitch);
    let out = SharedMut::new(&mut y[..shape.len()]);
    if shape.is_empty() {
        return;
    }
    // Those of an image one after the other, if there is an image for each thread.
    let runs = parallel::threads().max(shape.n).min(rows);
    parallel::for_each(runs, work, |i| {
        let rows = parallel::piece(rows, runs, i);
        // SAFETY: the batch is there, and borrowed; each row is in one run.
        unsafe { shape.fill_halo_of(rows.clone(), out, around) };
        for row in rows {
            let begin = shape.at(row / shape.h, row % shape.h, 0);
            // SAFETY: the pixels of a row lie within the batch, next to each other; each row comes once.
            f(row, unsafe {
                std::slice::from_raw_parts_mut(out.at(begin), len)
            });
        }
    });
}

/// The smallest and the largest value that a layer lets through; without bounds it is linear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Smaller values become this one.
    pub low: f32,
    /// Larger values become this one.
    pub high: f32,
}

impl Clamp {
    /// Every value passes.
    pub const NONE: Clamp = Clamp {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };
    /// The rectifier: nothing below zero.
    pub const RELU: Clamp = Clamp {
        low: 0.0,
        high: f32::INFINITY,
    };
}
