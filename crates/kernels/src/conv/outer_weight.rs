//! Gradient of the weights, with input channels in the lanes of vectors.
//!
//! The images are turned channels last (see [`super::turned`]). A tile of output channels by vectors, each
//! a block of input channels at one tap, stays in registers while the pixels of an image go by: `dy` is
//! broadcast, what the taps read is loaded whole. Nothing has to be added across lanes and `dy` is read as
//! it lies. With operands in pairs (see [`crate::pairs`]) two images are one; planes are packed just before
//! they are read.

use super::direct::MIN_PIXELS;
use super::turned::{Padded, padded, spread, tap_offsets};
use super::{ConvShape, sum_over_images};
use crate::pairs::{self, Lanes};
use crate::parallel::{self, pieces};
use crate::simd::{self, Simd, WithSimd};

/// Floats of turned images at a time, at most: half of a level-2 cache of 1 MiB.
const BLOCK: usize = 1 << 17;

/// Results that go by between two additions of a tile to its sums, about: enough to amortise them.
const RESULTS: usize = 256;

/// Whether this way is better than along the pixels: most lanes have a channel.
pub(super) fn suits(shape: &ConvShape) -> bool {
    let lanes = simd::widths(simd::level()).lanes;
    let c = shape.c_in;
    let filled = 4 * c >= 3 * c.next_multiple_of(lanes);
    shape.groups == 1 && filled && shape.plane_out() >= MIN_PIXELS
}

/// For one group only.
pub(super) fn grad_weight(
    operands: Lanes,
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    assert_eq!(shape.groups, 1, "all channels see each other");
    let lanes = simd::widths(operands.level()).lanes;
    let (c, area) = (shape.c_in, shape.kernel[0] * shape.kernel[1]);
    let read = padded(shape);
    let block = read.rows * read.columns;
    let blocks = c.div_ceil(lanes);
    // Vectors of a result, block by block and tap by tap.
    let offsets = tap_offsets(shape, read.columns);
    let columns: Vec<usize> = (0..blocks)
        .flat_map(|b| offsets.iter().map(move |at| b * block + at))
        .collect();
    let (x_len, y_len) = (c * shape.plane_in(), shape.c_out * shape.plane_out());
    let image = blocks * block * lanes;
    let fit = (BLOCK / image).max(1);
    let together = RESULTS.div_ceil(shape.plane_out()).min(fit);
    let turned = together * image + shape.plane_in() * lanes;
    let sums = shape.c_out * columns.len() * lanes;
    let paired = match operands.in_pairs() {
        true => (lanes * shape.plane_in()).max(tile_rows(operands) * together * shape.plane_out()),
        false => 0,
    };
    sum_over_images(shape, dw, |images, dw| {
        parallel::with_scratch(turned + sums + paired, |scratch| {
            let (turned, rest) = scratch.split_at_mut(turned);
            let (sums, paired) = rest.split_at_mut(sums);
            sums.fill(0.0);
            turned.fill(0.0);
            for first in images.clone().step_by(together * operands.held()) {
                let n = (together * operands.held()).min(images.end - first);
                let work = Images {
                    operands,
                    shape,
                    read,
                    columns: &columns,
                    x: &x[first * x_len..][..n * x_len],
                    dy: &dy[first * y_len..][..n * y_len],
                    turned: &mut *turned,
                    paired: &mut *paired,
                    sums: &mut *sums,
                };
                pairs::dispatch(operands, work);
            }
            let rows = dw.chunks_exact_mut(c * area);
            for (dw, sums) in rows.zip(sums.chunks_exact(columns.len() * lanes)) {
                for (channel, dw) in dw.chunks_exact_mut(area).enumerate() {
                    let first = channel / lanes * area * lanes + channel % lanes;
                    let sums = sums[first..].iter().step_by(lanes);
                    dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
                }
            }
        });
    });
}

/// Most output channels of a tile.
fn tile_rows(operands: Lanes) -> usize {
    simd::widths(operands.level()).tile[0]
}

/// What a few images add.
struct Images<'a> {
    operands: Lanes,
    shape: &'a ConvShape,
    read: Padded,
    /// Pixels of the turned image that the vectors of a tile read for the first result.
    columns: &'a [usize],
    x: &'a [f32],
    dy: &'a [f32],
    /// Room for the blocks of the turned images, or pairs of them, whose zeros are there, and one block
    /// more.
    turned: &'a mut [f32],
    /// With operands in pairs, room for those of a block of planes of `x`, and of the planes of `dy` that
    /// a tile reads.
    paired: &'a mut [f32],
    /// `[c_out, columns, lanes]`.
    sums: &'a mut [f32],
}

impl WithSimd for Images<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Images {
            operands,
            shape,
            read,
            columns,
            x,
            dy,
            turned,
            paired,
            sums,
        } = self;
        let (plane, block) = (shape.plane_in(), read.rows * read.columns * S::LANES);
        let (x_len, blocks) = (shape.c_in * plane, shape.c_in.div_ceil(S::LANES));
        let (turned, flat) = turned.split_at_mut(turned.len() - plane * S::LANES);
        let n = (x.len() / x_len).div_ceil(operands.held());
        let images = turned.chunks_exact_mut(blocks * block).take(n);
        for (i, turned) in images.enumerate() {
            let first = (0..shape.c_in).step_by(S::LANES);
            for (first, turned) in first.zip(turned.chunks_exact_mut(block)) {
                let channels = S::LANES.min(shape.c_in - first);
                let part = first * plane..(first + channels) * plane;
                let x = match operands.in_pairs() {
                    true => pairs::pair_images(operands, x, x_len, i, part, paired),
                    false => &x[i * x_len..][part],
                };
                spread(simd, x, channels, &read, flat, turned);
            }
        }
        let (plane, width) = (shape.plane_out(), columns.len() * S::LANES);
        let y_len = shape.c_out * plane;
        for rows in pieces(shape.c_out, S::TILE[0]) {
            let part = rows.start * plane..rows.end * plane;
            let (dy, next_dy) = match operands.in_pairs() {
                true => {
                    let planes = paired[..n * part.len()].chunks_exact_mut(part.len());
                    for (i, to) in planes.enumerate() {
                        pairs::pair_images(operands, dy, y_len, i, part.clone(), to);
                    }
                    (&*paired, part.len())
                }
                false => (&dy[part.start..], y_len),
            };
            for taps in pieces(columns.len(), S::TILE[1]) {
                let tile = Tile {
                    turned,
                    columns: &columns[taps.clone()],
                    dy,
                    images: n,
                    next: [blocks * block, next_dy],
                    grid: [shape.out_h(), shape.out_w()],
                    step: [shape.stride[0] * read.columns, shape.stride[1]],
                };
                let sums = &mut sums[rows.start * width + taps.start * S::LANES..];
                match taps.len() {
                    1 => tile.run::<S, 1>(simd, rows.len(), width, sums),
                    2 => tile.run::<S, 2>(simd, rows.len(), width, sums),
                    3 => tile.run::<S, 3>(simd, rows.len(), width, sums),
                    _ => unreachable!("a tile is at most three vectors wide"),
                }
            }
        }
    }
}

/// A tile of sums over the pixels of some images.
struct Tile<'a> {
    turned: &'a [f32],
    /// Of the vectors.
    columns: &'a [usize],
    /// Planes of the first output channel and those after it.
    dy: &'a [f32],
    images: usize,
    /// Distance from one image to the next, turned and in `dy`.
    next: [usize; 2],
    /// Results, down and right, and steps in what is read.
    grid: [usize; 2],
    step: [usize; 2],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize>(self, simd: S, rows: usize, width: usize, sums: &mut [f32]) {
        match rows {
            1 => self.add::<S, 1, T>(simd, width, sums),
            2 => self.add::<S, 2, T>(simd, width, sums),
            3 => self.add::<S, 3, T>(simd, width, sums),
            4 => self.add::<S, 4, T>(simd, width, sums),
            5 => self.add::<S, 5, T>(simd, width, sums),
            6 => self.add::<S, 6, T>(simd, width, sums),
            7 => self.add::<S, 7, T>(simd, width, sums),
            8 => self.add::<S, 8, T>(simd, width, sums),
            _ => unreachable!("a tile is at most eight rows high"),
        }
    }

    /// `R` output channels by `T` vectors; rows of `sums` are `width` apart.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const T: usize>(self, simd: S, width: usize, sums: &mut [f32]) {
        if R > S::TILE[0] || T > S::TILE[1] {
            unreachable!("no tile is larger than the registers");
        }
        let products = self.products::<S, R, T>(simd);
        for (row, products) in products.into_iter().enumerate() {
            let sums = &mut sums[row * width..][..T * S::LANES];
            for (sums, product) in sums.chunks_exact_mut(S::LANES).zip(products) {
                let sum = simd.add(simd.load_slice(sums), product);
                simd.store_slice(sums, sum);
            }
        }
    }

    /// Sums leave here only when done, as in [`super::direct`].
    #[inline(always)]
    fn products<S: Simd, const R: usize, const T: usize>(&self, simd: S) -> [[S::V; T]; R] {
        let [rows, columns] = self.grid;
        let plane = rows * columns;
        let last = (rows - 1) * self.step[0] + (columns - 1) * self.step[1];
        let first = self.columns.iter().copied().max().unwrap_or(0);
        let [more, more_dy] = self.next.map(|next| (self.images - 1) * next);
        assert!(
            more + (first + last + 1) * S::LANES <= self.turned.len(),
            "taps read within the images and their zeros"
        );
        assert!(
            more_dy + R * plane <= self.dy.len(),
            "there are planes for all rows"
        );
        let at: [usize; T] = std::array::from_fn(|t| self.columns[t] * S::LANES);
        let mut sums = [[simd.splat(0.0); T]; R];
        for image in 0..self.images {
            let [turned, dy] = self.next.map(|next| image * next);
            for row in 0..rows {
                for column in 0..columns {
                    let pixel = row * self.step[0] + column * self.step[1];
                    let mut x = [simd.splat(0.0); T];
                    for t in 0..T {
                        // SAFETY: the pixel is at most that of the last result of the last image, by
                        // the first assertion within the images for all columns.
                        x[t] = unsafe {
                            let pixel = turned + pixel * S::LANES;
                            simd.load(self.turned.as_ptr().add(at[t] + pixel))
                        };
                    }
                    let dy = dy + row * columns + column;
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: within `R` planes of an image, by the second assertion.
                        let dy = unsafe { *self.dy.as_ptr().add(dy + r * plane) };
                        let dy = simd.splat(dy);
                        for t in 0..T {
                            sums[t] = simd.add_products(dy, x[t], sums[t]);
                        }
                    }
                }
            }
        }
        sums
    }
}
