//! Gradient of the weights straight from the image.
//!
//! Each weight's gradient is a dot product over the pixels of the output, of a plane of `dy` and
//! the image shifted by a tap, which the layout of [`super::direct`] holds as whole vectors. A tile
//! of output channels by taps stays in registers while the pixels of a few images go by; lanes are
//! added up at the end.

use std::ops::Range;

use super::direct::{Layout, Problem, pieces};
use super::{ConvShape, sum_over_images};
use crate::parallel;
use crate::simd::{self, Simd, WithSimd};

/// Floats of images laid out at a time, at most: half of a level-2 cache of 1 MiB.
const BLOCK: usize = 1 << 17;

/// Vectors that go by between two clearings of a tile, about: enough to amortise the adding up of
/// lanes, few enough that the rows a tile reads stay in level-1 cache for the next tile.
const VECTORS: usize = 48;

pub(super) fn grad_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let layout = Layout::new(Problem::forward(shape), simd::widths().lanes);
    let (x_len, dw_len) = (shape.group_in() * shape.plane_in(), dw.len() / shape.groups);
    let y_len = shape.group_out() * shape.plane_out();
    let (x_step, y_step) = (shape.groups * x_len, shape.groups * y_len);
    let fit = BLOCK / layout.buffer_len;
    let block = VECTORS.div_ceil(layout.segments.len()).min(fit).max(1);
    let [whole, partial] = [true, false].map(|whole| steps(&layout, block, y_step, whole));
    sum_over_images(shape, dw, |images, dw| {
        parallel::with_scratch(block * layout.buffer_len, |buffer| {
            for start in images.clone().step_by(block) {
                let images = block.min(images.end - start);
                for (group, dw) in dw.chunks_exact_mut(dw_len).enumerate() {
                    let part = start * shape.groups + group;
                    let (x, dy) = (&x[part * x_len..], &dy[part * y_len..]);
                    let of_block = |steps: &'_ [Step]| steps.len() / block * images;
                    let (whole, partial) =
                        (&whole[..of_block(&whole)], &partial[..of_block(&partial)]);
                    let buffer = &mut buffer[..images * layout.buffer_len];
                    simd::dispatch(Block {
                        layout: &layout,
                        whole,
                        partial,
                        x,
                        x_step,
                        dy,
                        buffer,
                        dw,
                    });
                }
            }
        });
    });
}

/// A vector of pixels, in the buffer and in `dy`.
#[derive(Clone, Copy)]
struct Step {
    x: usize,
    y: usize,
    len: usize,
}

/// The segments of a layout that are `whole` vectors, or those that are not, of each image of a
/// block.
fn steps(layout: &Layout, images: usize, y_step: usize, whole: bool) -> Vec<Step> {
    let lanes = layout.lanes;
    let of_image = |image: usize| {
        let segments = layout
            .segments
            .iter()
            .filter(move |s| (s.len == lanes) == whole);
        segments.map(move |s| Step {
            x: image * layout.buffer_len + s.at,
            y: image * y_step + s.out,
            len: s.len,
        })
    };
    (0..images).flat_map(of_image).collect()
}

/// One group of a few images.
struct Block<'a> {
    layout: &'a Layout,
    /// Vectors of all images.
    whole: &'a [Step],
    /// The others.
    partial: &'a [Step],
    /// The group in the first image: `[channels, h, w]`, and so on every `x_step` elements.
    x: &'a [f32],
    x_step: usize,
    /// `[out_channels, out_h, out_w]`, and so on by the steps.
    dy: &'a [f32],
    /// Room for all images.
    buffer: &'a mut [f32],
    /// `[out_channels, taps]`, added to.
    dw: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Block {
            layout,
            whole,
            partial,
            x,
            x_step,
            dy,
            buffer,
            dw,
        } = self;
        let Problem { channels, h, w, .. } = layout.problem;
        for (i, buffer) in buffer.chunks_exact_mut(layout.buffer_len).enumerate() {
            layout.fill(simd, &x[i * x_step..][..channels * h * w], buffer);
        }
        let tiles = Tiles { layout, buffer, dy };
        for range in pieces(whole.len(), VECTORS) {
            tiles.run::<S, true>(simd, &whole[range], dw);
        }
        // Pixels that fill no vector come apart, or the compiler would keep two sets of sums.
        for range in pieces(partial.len(), VECTORS) {
            tiles.run::<S, false>(simd, &partial[range], dw);
        }
    }
}

/// What all tiles of a block read.
#[derive(Clone, Copy)]
struct Tiles<'a> {
    layout: &'a Layout,
    /// Images as [`Layout::fill`] leaves them.
    buffer: &'a [f32],
    dy: &'a [f32],
}

impl Tiles<'_> {
    /// Adds what the steps contribute to `dw`.
    #[inline(always)]
    fn run<S: Simd, const WHOLE: bool>(self, simd: S, steps: &[Step], dw: &mut [f32]) {
        let Problem { out_channels, .. } = self.layout.problem;
        let taps = self.layout.offsets.len();
        let dy_len = out_channels * self.layout.problem.plane_out();
        for step in steps {
            let image = step.x / self.layout.buffer_len * self.layout.buffer_len;
            assert!(
                image + self.layout.buffer_len <= self.buffer.len(),
                "an image too many"
            );
            let plane = self.layout.problem.plane_out();
            assert!(
                step.y + dy_len - plane + step.len <= self.dy.len(),
                "dy is too short"
            );
        }
        for columns in pieces(taps, S::DOT_TILE[1]) {
            for rows in pieces(out_channels, S::DOT_TILE[0]) {
                let dw = &mut dw[rows.start * taps..];
                let offsets = &self.layout.offsets[columns.clone()];
                let tile = Tile {
                    tiles: self,
                    steps,
                    rows,
                    offsets,
                };
                let columns = columns.clone();
                match offsets.len() {
                    1 => tile.run::<S, 1, WHOLE>(simd, columns, dw),
                    2 => tile.run::<S, 2, WHOLE>(simd, columns, dw),
                    3 => tile.run::<S, 3, WHOLE>(simd, columns, dw),
                    4 => tile.run::<S, 4, WHOLE>(simd, columns, dw),
                    5 => tile.run::<S, 5, WHOLE>(simd, columns, dw),
                    _ => unreachable!("a tile is at most five taps wide"),
                }
            }
        }
    }
}

/// A tile of sums.
///
/// Invariant: each step's image is within the buffer, and its pixels in each of the output channels
/// `rows` are within `dy`.
struct Tile<'a> {
    tiles: Tiles<'a>,
    steps: &'a [Step],
    /// Output channels.
    rows: Range<usize>,
    /// Of the taps.
    offsets: &'a [usize],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize, const WHOLE: bool>(
        self,
        simd: S,
        columns: Range<usize>,
        dw: &mut [f32],
    ) {
        match self.rows.len() {
            1 => self.add::<S, 1, T, WHOLE>(simd, columns, dw),
            2 => self.add::<S, 2, T, WHOLE>(simd, columns, dw),
            3 => self.add::<S, 3, T, WHOLE>(simd, columns, dw),
            4 => self.add::<S, 4, T, WHOLE>(simd, columns, dw),
            _ => unreachable!("a tile is at most four rows high"),
        }
    }

    /// `R` output channels by `T` taps; `dw` begins with the first of those channels.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const T: usize, const WHOLE: bool>(
        self,
        simd: S,
        columns: Range<usize>,
        dw: &mut [f32],
    ) {
        let sums = self.dots::<S, R, T, WHOLE>(simd);
        let taps = self.tiles.layout.offsets.len();
        for (dw, sums) in dw.chunks_mut(taps).zip(&sums) {
            for (dw, &sum) in dw[columns.clone()].iter_mut().zip(sums) {
                *dw += simd.sum(sum);
            }
        }
    }

    /// Sums leave here only when done, as in [`super::direct`].
    #[inline(always)]
    fn dots<S: Simd, const R: usize, const T: usize, const WHOLE: bool>(
        &self,
        simd: S,
    ) -> [[S::V; T]; R] {
        let plane = self.tiles.layout.problem.plane_out();
        let (buffer, dy) = (
            self.tiles.buffer.as_ptr(),
            self.tiles.dy[self.rows.start * plane..].as_ptr(),
        );
        let offsets: [usize; T] = std::array::from_fn(|t| self.offsets[t]);
        let mut sums = [[simd.splat(0.0); T]; R];
        for step in self.steps {
            // Lanes beyond the step are made zero on both sides: what the buffer holds there might
            // be infinite.
            let mut rows = [simd.splat(0.0); R];
            for i in 0..R {
                // SAFETY: by the invariant of the tile, `len` floats of each channel are in `dy`.
                rows[i] = unsafe {
                    let from = dy.add(i * plane + step.y);
                    if WHOLE {
                        simd.load(from)
                    } else {
                        simd.load_lanes(from, 0..step.len)
                    }
                };
            }
            for t in 0..T {
                // SAFETY: by the invariants of the layout and the tile, all lanes are in the
                // buffer.
                let x = unsafe {
                    let from = buffer.add(offsets[t] + step.x);
                    if WHOLE {
                        simd.load(from)
                    } else {
                        simd.load_lanes(from, 0..step.len)
                    }
                };
                for i in 0..R {
                    sums[i][t] = simd.mul_add(rows[i], x, sums[i][t]);
                }
            }
        }
        sums
    }
}
