//! Gradient of the weights straight from the image.
//!
//! Each weight's gradient is a dot product over the pixels of the output, of a plane of `dy` and
//! the image shifted by a tap, which the layout of [`super::direct`] holds as whole vectors. A tile
//! of output channels by taps stays in registers while the pixels of a few images go by; lanes are
//! added up at the end.

use std::ops::Range;

use super::direct::{Layout, Problem, Segment, pieces};
use super::{ConvShape, sum_over_images};
use crate::parallel;
use crate::simd::{self, Simd, WithSimd};

/// Floats of images laid out at a time: half of a level-2 cache of 1 MiB. One image does not
/// amortise the adding up of lanes where its plane is small.
const BLOCK: usize = 1 << 17;

pub(super) fn grad_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let problem = Problem::forward(shape);
    let layout = Layout::new(problem, simd::widths().lanes);
    let block = (BLOCK / layout.buffer_len).max(1);
    let (x_len, dw_len) = (shape.group_in() * shape.plane_in(), dw.len() / shape.groups);
    let y_len = shape.group_out() * shape.plane_out();
    sum_over_images(shape, dw, |images, dw| {
        parallel::with_scratch(block.min(images.len()) * layout.buffer_len, |buffer| {
            for start in images.clone().step_by(block) {
                let images = start..images.end.min(start + block);
                for (group, dw) in dw.chunks_exact_mut(dw_len).enumerate() {
                    let part = |image: usize, len| (image * shape.groups + group) * len;
                    let (x, dy) = (
                        &x[part(images.start, x_len)..],
                        &dy[part(images.start, y_len)..],
                    );
                    let (x_step, y_step) = (shape.groups * x_len, shape.groups * y_len);
                    let (layout, images, buffer) = (&layout, images.len(), &mut *buffer);
                    simd::dispatch(Block {
                        layout,
                        images,
                        x,
                        x_step,
                        dy,
                        y_step,
                        buffer,
                        dw,
                    });
                }
            }
        });
    });
}

/// One group of a few images.
struct Block<'a> {
    layout: &'a Layout,
    images: usize,
    /// The group in the first image: `[channels, h, w]`, and so on every `x_step` elements.
    x: &'a [f32],
    x_step: usize,
    /// `[out_channels, out_h, out_w]`, and so on every `y_step` elements.
    dy: &'a [f32],
    y_step: usize,
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
            images,
            x,
            x_step,
            dy,
            y_step,
            buffer,
            dw,
        } = self;
        let Problem {
            channels,
            h,
            w,
            out_channels,
            ..
        } = layout.problem;
        for (i, buffer) in buffer
            .chunks_exact_mut(layout.buffer_len)
            .take(images)
            .enumerate()
        {
            layout.fill(simd, &x[i * x_step..][..channels * h * w], buffer);
        }
        let buffer = &*buffer;
        let taps = layout.offsets.len();
        for columns in pieces(taps, S::DOT_TILE[1]) {
            for rows in pieces(out_channels, S::DOT_TILE[0]) {
                let (columns, dw) = (columns.clone(), &mut dw[rows.start * taps..]);
                let tile = Tile {
                    layout,
                    images,
                    buffer,
                    dy,
                    y_step,
                    rows,
                    columns,
                    dw,
                };
                match tile.columns.len() {
                    1 => tile.run::<S, 1>(simd),
                    2 => tile.run::<S, 2>(simd),
                    3 => tile.run::<S, 3>(simd),
                    4 => tile.run::<S, 4>(simd),
                    5 => tile.run::<S, 5>(simd),
                    6 => tile.run::<S, 6>(simd),
                    _ => unreachable!("a tile is at most six taps wide"),
                }
            }
        }
    }
}

/// What one tile of sums needs.
struct Tile<'a> {
    layout: &'a Layout,
    images: usize,
    buffer: &'a [f32],
    dy: &'a [f32],
    y_step: usize,
    /// Output channels.
    rows: Range<usize>,
    /// Taps.
    columns: Range<usize>,
    /// Rows of `[out_channels, taps]` from the first of the tile on.
    dw: &'a mut [f32],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize>(self, simd: S) {
        match self.rows.len() {
            1 => self.dots::<S, 1, T>(simd),
            2 => self.dots::<S, 2, T>(simd),
            3 => self.dots::<S, 3, T>(simd),
            4 => self.dots::<S, 4, T>(simd),
            _ => unreachable!("a tile is at most four rows high"),
        }
    }

    /// `R` output channels by `T` taps.
    #[inline(always)]
    fn dots<S: Simd, const R: usize, const T: usize>(self, simd: S) {
        let sums = self.products::<S, R, T>(simd);
        let taps = self.layout.offsets.len();
        for (dw, sums) in self.dw.chunks_mut(taps).zip(&sums) {
            for (dw, &sum) in dw[self.columns.start..].iter_mut().zip(sums) {
                *dw += simd.sum(sum);
            }
        }
    }

    #[inline(always)]
    fn products<S: Simd, const R: usize, const T: usize>(&self, simd: S) -> [[S::V; T]; R] {
        let plane = self.layout.problem.plane_out();
        let offsets: [usize; T] =
            std::array::from_fn(|t| self.layout.offsets[self.columns.start + t]);
        let mut sums = [[simd.splat(0.0); T]; R];
        for image in 0..self.images {
            let x = &self.buffer[image * self.layout.buffer_len..][..self.layout.buffer_len];
            let dy = &self.dy[image * self.y_step + self.rows.start * plane..][..R * plane];
            for segment in &self.layout.segments {
                let Segment { at, out, len } = *segment;
                // Lanes beyond the segment are made zero on both sides: what the buffer holds
                // there might be infinite.
                let lanes = 0..len.min(S::LANES);
                let whole = len == S::LANES;
                let mut rows = [simd.splat(0.0); R];
                for i in 0..R {
                    // SAFETY: the segment's pixels are within the plane, and `dy` has `R` planes.
                    rows[i] = unsafe {
                        let from = dy.as_ptr().add(i * plane + out);
                        if whole {
                            simd.load(from)
                        } else {
                            simd.load_lanes(from, lanes.clone())
                        }
                    };
                }
                for t in 0..T {
                    // SAFETY: by the invariant of the layout, all lanes are within `buffer_len`,
                    // the length of `x`.
                    let x = unsafe {
                        let from = x.as_ptr().add(offsets[t] + at);
                        if whole {
                            simd.load(from)
                        } else {
                            simd.load_lanes(from, lanes.clone())
                        }
                    };
                    for i in 0..R {
                        sums[i][t] = simd.mul_add(rows[i], x, sums[i][t]);
                    }
                }
            }
        }
        sums
    }
}
