//! Gradient of the weights straight from the image.
//!
//! Each weight's gradient is a dot product over the pixels of the output, of a plane of `dy` and
//! the image shifted by a tap, which the layout of [`super::shifted`] holds as whole vectors. A tile
//! of output channels by taps stays in registers while the pixels of a few images go by; lanes are
//! added up at the end. With operands in pairs (see [`crate::pairs`]) two images are one, packed
//! beforehand.

use super::direct::MIN_PIXELS;
use super::shifted::{Layout, Problem};
use super::{ConvShape, sum_over_images};
use crate::pairs::{self, Lanes};
use crate::parallel::{self, pieces};
use crate::simd::{Simd, WithSimd};

/// Floats of images laid out at a time, at most: half of a level-2 cache of 1 MiB.
const BLOCK: usize = 1 << 17;

/// Vectors that go by between two clearings of a tile, about: enough to amortise the adding up of
/// lanes, few enough that the rows a tile reads stay in level-1 cache for the next tile.
const VECTORS: usize = 48;

/// Whether this way is better than columns, 1 by 1 kernels included.
pub(super) fn suits(shape: &ConvShape) -> bool {
    shape.plane_out() >= MIN_PIXELS
}

pub(super) fn grad_weight(
    operands: Lanes,
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    let layout = Layout::new(operands, Problem::forward(shape));
    let (x_len, dw_len) = (shape.group_in() * shape.plane_in(), dw.len() / shape.groups);
    let y_len = shape.group_out() * shape.plane_out();
    let (x_step, y_step) = (shape.groups * x_len, shape.groups * y_len);
    let fit = BLOCK / layout.buffer_len;
    let block = VECTORS.div_ceil(layout.segments.len()).min(fit).max(1);
    let [whole, partial] = [true, false].map(|whole| steps(&layout, block, y_step, whole));
    let packed_len = shape.group_out() * VECTORS * layout.lanes;
    let (held, own_len) = (operands.held(), block * layout.buffer_len + packed_len);
    let paired = match operands.in_pairs() {
        true => block * (x_step + y_step),
        false => 0,
    };
    sum_over_images(shape, dw, |images, dw| {
        parallel::with_scratch(own_len + paired, |scratch| {
            let (own, paired) = scratch.split_at_mut(own_len);
            let (buffer, packed) = own.split_at_mut(block * layout.buffer_len);
            for start in images.clone().step_by(block * held) {
                let n = (block * held).min(images.end - start);
                // What is read next, most likely, and what is read now.
                let [after_x, after_dy] =
                    [(x, x_step), (dy, y_step)].map(|(from, step)| &from[(start + n) * step..]);
                let x = &x[start * x_step..][..n * x_step];
                let dy = &dy[start * y_step..][..n * y_step];
                let [x, dy] = match operands.in_pairs() {
                    true => pair_images(operands, [x, dy], [x_step, y_step], paired),
                    false => [x, dy],
                };
                let images = n.div_ceil(held);
                for (group, dw) in dw.chunks_exact_mut(dw_len).enumerate() {
                    // The next group of these images or the next images, whichever comes next.
                    let next = match group + 1 < shape.groups {
                        true => [&x[(group + 1) * x_len..], &dy[(group + 1) * y_len..]],
                        false => [after_x, after_dy],
                    };
                    let block = Block {
                        layout: &layout,
                        whole: &whole[..whole.len() / block * images],
                        partial: &partial[..partial.len() / block * images],
                        x: &x[group * x_len..],
                        x_step,
                        dy: &dy[group * y_len..],
                        next,
                        next_step: [x_step, y_step],
                        buffer: &mut buffer[..images * layout.buffer_len],
                        packed,
                        dw,
                    };
                    pairs::dispatch(operands, block);
                }
            }
        });
    });
}

/// Neighbouring images of `x` and of `dy`, of these lengths, in pairs; of the last without a partner
/// the pairs have zeros.
fn pair_images<'a>(
    operands: Lanes,
    [x, dy]: [&[f32]; 2],
    [x_len, y_len]: [usize; 2],
    room: &'a mut [f32],
) -> [&'a [f32]; 2] {
    let n = (x.len() / x_len).div_ceil(2);
    let (x_pairs, rest) = room.split_at_mut(n * x_len);
    let dy_pairs = &mut rest[..n * y_len];
    pairs::pair_planes(operands, x, x_len, x_pairs);
    pairs::pair_planes(operands, dy, y_len, dy_pairs);
    [x_pairs, dy_pairs]
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
    /// `[out_channels, out_h, out_w]`, of the images the steps name.
    dy: &'a [f32],
    /// `x` and `dy` of what comes next, prefetched meanwhile.
    next: [&'a [f32]; 2],
    next_step: [usize; 2],
    /// Room for all images.
    buffer: &'a mut [f32],
    /// Room for `VECTORS` vectors of each output channel.
    packed: &'a mut [f32],
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
            packed,
            dw,
            ..
        } = self;
        let Problem { channels, h, w, .. } = layout.problem;
        for (i, buffer) in buffer.chunks_exact_mut(layout.buffer_len).enumerate() {
            layout.fill(simd, &x[i * x_step..][..channels * h * w], buffer);
        }
        let images = buffer.len() / layout.buffer_len;
        let lens = [
            channels * h * w,
            layout.problem.out_channels * layout.problem.plane_out(),
        ];
        for (next, (step, len)) in self.next.iter().zip(self.next_step.into_iter().zip(lens)) {
            for image in 0..images {
                let rest = next.get(image * step..).unwrap_or_default();
                simd.prefetch(&rest[..len.min(rest.len())]);
            }
        }
        for range in pieces(whole.len(), VECTORS) {
            let steps = &whole[range];
            pack(simd, layout, steps, dy, packed);
            add_tiles::<S, true>(simd, layout, steps, buffer, packed, dw);
        }
        // Pixels that fill no vector come apart, or the compiler would keep two sets of sums.
        for range in pieces(partial.len(), VECTORS) {
            let steps = &partial[range];
            pack(simd, layout, steps, dy, packed);
            add_tiles::<S, false>(simd, layout, steps, buffer, packed, dw);
        }
    }
}

/// Vectors of `dy` in the order the tiles read them: tile, step, channel of the tile; lanes beyond
/// a step are zero. Read in place they would be short runs far apart, which no prefetcher follows.
#[inline(always)]
fn pack<S: Simd>(simd: S, layout: &Layout, steps: &[Step], dy: &[f32], packed: &mut [f32]) {
    let (plane, mut to) = (
        layout.problem.plane_out(),
        packed.chunks_exact_mut(S::LANES),
    );
    for rows in pieces(layout.problem.out_channels, S::DOT_TILE[0]) {
        for step in steps {
            for row in rows.clone() {
                let from = &dy[row * plane + step.y..][..step.len];
                let to = to.next().expect("there is room for all steps");
                simd.store_slice(to, simd.load_slice(from));
            }
        }
    }
}

/// Adds what the steps contribute to `dw`.
#[inline(always)]
fn add_tiles<S: Simd, const WHOLE: bool>(
    simd: S,
    layout: &Layout,
    steps: &[Step],
    buffer: &[f32],
    packed: &[f32],
    dw: &mut [f32],
) {
    let taps = layout.offsets.len();
    // Steps are in the order of images.
    if let Some(last) = steps.last() {
        let end = (last.x / layout.buffer_len + 1) * layout.buffer_len;
        assert!(
            end <= buffer.len(),
            "a step is in an image that is not in the buffer"
        );
    }
    // A single channel leaves registers for more taps.
    let most = match layout.problem.out_channels {
        1 => most_taps::<S>(),
        _ => S::DOT_TILE[1],
    };
    for columns in pieces(taps, most) {
        for rows in pieces(layout.problem.out_channels, S::DOT_TILE[0]) {
            let dw = &mut dw[rows.start * taps + columns.start..];
            let width = steps.len() * S::LANES;
            let dy = &packed[rows.start * width..rows.end * width];
            let offsets = &layout.offsets[columns.clone()];
            let tile = Tile {
                steps,
                buffer,
                dy,
                offsets,
            };
            match offsets.len() {
                1 => tile.run::<S, 1, WHOLE>(simd, rows.len(), taps, dw),
                2 => tile.run::<S, 2, WHOLE>(simd, rows.len(), taps, dw),
                3 => tile.run::<S, 3, WHOLE>(simd, rows.len(), taps, dw),
                4 => tile.run::<S, 4, WHOLE>(simd, rows.len(), taps, dw),
                5 => tile.run::<S, 5, WHOLE>(simd, rows.len(), taps, dw),
                6 => tile.add::<S, 1, 6, WHOLE>(simd, taps, dw),
                7 => tile.add::<S, 1, 7, WHOLE>(simd, taps, dw),
                8 => tile.add::<S, 1, 8, WHOLE>(simd, taps, dw),
                9 => tile.add::<S, 1, 9, WHOLE>(simd, taps, dw),
                _ => unreachable!("a tile is at most nine taps wide"),
            }
        }
    }
}

/// Most taps of a tile of one row.
#[inline(always)]
fn most_taps<S: Simd>() -> usize {
    S::SUMS.clamp(S::DOT_TILE[1], 9)
}

/// A tile of sums.
///
/// Invariant: each step lies in an image of the buffer, so that by the invariant of the layout all
/// lanes at all offsets of it do.
struct Tile<'a> {
    steps: &'a [Step],
    buffer: &'a [f32],
    /// `[steps, rows, lanes]`.
    dy: &'a [f32],
    /// Of the taps.
    offsets: &'a [usize],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize, const WHOLE: bool>(
        self,
        simd: S,
        rows: usize,
        taps: usize,
        dw: &mut [f32],
    ) {
        match rows {
            1 => self.add::<S, 1, T, WHOLE>(simd, taps, dw),
            2 => self.add::<S, 2, T, WHOLE>(simd, taps, dw),
            3 => self.add::<S, 3, T, WHOLE>(simd, taps, dw),
            4 => self.add::<S, 4, T, WHOLE>(simd, taps, dw),
            _ => unreachable!("a tile is at most four rows high"),
        }
    }

    /// `R` output channels by `T` taps; `dw` begins with the first of both.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const T: usize, const WHOLE: bool>(
        self,
        simd: S,
        taps: usize,
        dw: &mut [f32],
    ) {
        if R > S::DOT_TILE[0] || T > most_taps::<S>() || (R > 1 && T > S::DOT_TILE[1]) {
            unreachable!("no tile is larger than the registers");
        }
        let sums = self.dots::<S, R, T, WHOLE>(simd);
        for (dw, sums) in dw.chunks_mut(taps).zip(&sums) {
            for (dw, &sum) in dw.iter_mut().zip(sums) {
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
        let offsets: [usize; T] = std::array::from_fn(|t| self.offsets[t]);
        let mut sums = [[simd.splat(0.0); T]; R];
        for (step, dy) in self.steps.iter().zip(self.dy.chunks_exact(R * S::LANES)) {
            let mut rows = [simd.splat(0.0); R];
            for i in 0..R {
                rows[i] = simd.load_slice(&dy[i * S::LANES..][..S::LANES]);
            }
            for t in 0..T {
                // Lanes beyond the step are made zero on this side too: what the buffer holds
                // there might be infinite.
                // SAFETY: by the invariant of the tile, all lanes are in the buffer.
                let x = unsafe {
                    let from = self.buffer.as_ptr().add(offsets[t] + step.x);
                    if WHOLE {
                        simd.load(from)
                    } else {
                        simd.load_lanes(from, 0..step.len)
                    }
                };
                for i in 0..R {
                    sums[i][t] = simd.add_products(rows[i], x, sums[i][t]);
                }
            }
        }
        sums
    }
}
