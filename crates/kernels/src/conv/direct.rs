//! Convolution straight from the image.
//!
//! A column matrix holds each input `kh * kw` times, and writing and reading it costs more than it
//! saves where there are few output channels. Here the inner loop of a matrix product reads the
//! image itself, laid out by [`super::shifted`]. In registers, a tile of output channels by vectors
//! of pixels; sums run over all taps before they are stored, so nothing is read back. With operands in
//! pairs (see [`crate::pairs`]) two neighbouring channels are one, of an image packed beforehand.

use super::ConvShape;
use super::shifted::{Layout, Problem, Segment};
use crate::pairs::{self, Lanes, pair};
use crate::parallel::{self, piece, pieces};
use crate::simd::{self, Simd, WithSimd};

/// Whether this way is better than columns: there are pixels enough to fill vectors.
pub(super) fn suits(shape: &ConvShape) -> bool {
    shape.x_len() > 0 && shape.plane_out() >= MIN_PIXELS && !shape.is_pointwise()
}

/// Three quarters of the widest vector.
pub(super) const MIN_PIXELS: usize = 12;

/// Whether the gradient of the input is best taken as a convolution.
pub(super) fn suits_grad_input(shape: &ConvShape) -> bool {
    suits(shape) && is_convolution(shape)
}

/// Whether the gradient of the input is a convolution; where the input is much larger than the output
/// that would mostly multiply by padding.
pub(super) fn is_convolution(shape: &ConvShape) -> bool {
    shape.stride == [1, 1] && 3 * shape.plane_in() <= 4 * shape.plane_out()
}

pub(super) fn forward(
    lanes: Lanes,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (taps, per_tap) = (shape.taps(), shape.kernel[0] * shape.kernel[1]);
    let weight = |o: usize, channel: usize, tap: usize| w[o * taps + channel * per_tap + tap];
    run(lanes, shape, Problem::forward(shape), x, weight, bias, y);
}

/// For stride 1 only.
pub(super) fn grad_input(lanes: Lanes, shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    assert_eq!(
        shape.stride,
        [1, 1],
        "only with stride 1 is the gradient a convolution"
    );
    let (group_in, group_out) = (shape.group_in(), shape.group_out());
    let (taps, per_tap) = (shape.taps(), shape.kernel[0] * shape.kernel[1]);
    let weight = |i: usize, channel: usize, tap: usize| {
        let o = i / group_in * group_out + channel;
        w[o * taps + i % group_in * per_tap + per_tap - 1 - tap]
    };
    run(lanes, shape, Problem::backward(shape), dy, weight, None, dx);
}

/// All images and groups of a problem, `x: [n, groups, channels, h, w]` and so on;
/// `weight(o, channel, tap)` for an output channel `o` of all groups and a channel of one.
fn run(
    lanes: Lanes,
    shape: &ConvShape,
    problem: Problem,
    x: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let plane = problem.h * problem.w;
    let x_len = problem.channels * plane;
    let channels = problem.channels;
    let weight = |o: usize, channel: usize, tap: usize| match lanes.in_pairs() {
        true if 2 * channel + 1 < channels => {
            pair(weight(o, 2 * channel, tap), weight(o, 2 * channel + 1, tap))
        }
        true => pair(weight(o, 2 * channel, tap), 0.0),
        false => weight(o, channel, tap),
    };
    let problem = if lanes.in_pairs() {
        problem.in_pairs()
    } else {
        problem
    };
    let layout = Layout::new(lanes, problem);
    let tile = simd::widths(lanes.level()).tile[0];
    let (taps, out_channels) = (problem.taps(), problem.out_channels);
    let plain = lanes.in_pairs() && layout.is_plain();
    let pairs_len = if plain { 0 } else { problem.channels * plane };
    parallel::with_call_scratch(shape.groups * out_channels * taps, |packed| {
        pack(shape.groups, &problem, tile, weight, packed);
        let y_len = out_channels * problem.plane_out();
        let packed = &*packed;
        parallel::for_each_chunk(y, y_len, shape.ops(), |task, y| {
            let first = task % shape.groups * out_channels;
            let w = &packed[first * taps..][..out_channels * taps];
            let bias = bias.map(|bias| &bias[first..][..out_channels]);
            let next = x
                .get((task + 1) * x_len..(task + 2) * x_len)
                .unwrap_or_default();
            let x = &x[task * x_len..][..x_len];
            parallel::with_scratch(layout.buffer_len + pairs_len, |scratch| {
                let (buffer, paired) = scratch.split_at_mut(layout.buffer_len);
                let x = match lanes.in_pairs() {
                    true if plain => {
                        let image = &mut buffer[..problem.channels * plane];
                        pairs::pair_planes(lanes, x, plane, image);
                        None
                    }
                    true => {
                        pairs::pair_planes(lanes, x, plane, paired);
                        Some(&*paired)
                    }
                    false => Some(x),
                };
                let task = Task {
                    layout: &layout,
                    x,
                    next,
                    w,
                    bias,
                    buffer,
                    y,
                };
                pairs::dispatch(lanes, task);
            });
        });
    });
}

/// Weights in the order the tiles of output channels read them: tile, tap, channel of the tile.
fn pack(
    groups: usize,
    problem: &Problem,
    tile: usize,
    weight: impl Fn(usize, usize, usize) -> f32,
    packed: &mut [f32],
) {
    let mut to = packed.iter_mut();
    for group in 0..groups {
        for rows in pieces(problem.out_channels, tile) {
            for channel in 0..problem.channels {
                for tap in 0..problem.kernel[0] * problem.kernel[1] {
                    for (row, to) in rows.clone().zip(&mut to) {
                        *to = weight(group * problem.out_channels + row, channel, tap);
                    }
                }
            }
        }
    }
}

/// One group of one image.
struct Task<'a> {
    layout: &'a Layout,
    /// `[channels, h, w]`, unless it is laid out already.
    x: Option<&'a [f32]>,
    /// What the next task will begin with, most likely on this thread. A plane is often just a page,
    /// where the processor's own prefetching stops (half of a depthwise convolution's time).
    next: &'a [f32],
    /// As [`pack`] leaves them.
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Room for [`Layout::fill`].
    buffer: &'a mut [f32],
    /// `[out_channels, out_h, out_w]`.
    y: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task {
            layout,
            x,
            next,
            w,
            bias,
            buffer,
            y,
        } = self;
        if let Some(x) = x {
            layout.fill(simd, x, buffer);
        }
        let taps = layout.offsets.len();
        // A single channel leaves registers for a longer row.
        let width = if layout.problem.out_channels == 1 {
            LONG_ROW
        } else {
            S::TILE[1]
        };
        let problem = &layout.problem;
        let n_columns = layout.segments.len().div_ceil(width);
        let n_rows = problem.out_channels.div_ceil(S::TILE[0]);
        let mut next = next.chunks(next.len().div_ceil(n_columns * n_rows).max(1));
        // With few taps a tile is soon done and written, and along rows it is written in long runs; else
        // what all output channels read at a place stays in level-1 cache.
        let along = problem.kernel == [1, 1];
        let (outer, inner) = if along {
            (n_rows, n_columns)
        } else {
            (n_columns, n_rows)
        };
        for i in 0..outer {
            for j in 0..inner {
                let (column, row) = if along { (j, i) } else { (i, j) };
                let columns = piece(layout.segments.len(), n_columns, column);
                let rows = piece(problem.out_channels, n_rows, row);
                simd.prefetch(next.next().unwrap_or_default());
                let segments = &layout.segments[columns];
                let tile = Tile {
                    layout,
                    segments,
                    buffer,
                    w: &w[rows.start * taps..rows.end * taps],
                    bias: bias.map(|bias| &bias[rows.clone()]),
                    y: &mut y[rows.start * problem.plane_out()..],
                };
                match segments.len() {
                    1 => tile.run::<S, 1>(simd, rows.len()),
                    2 => tile.run::<S, 2>(simd, rows.len()),
                    3 => tile.run::<S, 3>(simd, rows.len()),
                    4 => tile.sum::<S, 1, 4>(simd),
                    5 => tile.sum::<S, 1, 5>(simd),
                    6 => tile.sum::<S, 1, 6>(simd),
                    7 => tile.sum::<S, 1, 7>(simd),
                    8 => tile.sum::<S, 1, 8>(simd),
                    _ => unreachable!("a tile is at most eight vectors wide"),
                }
            }
        }
    }
}

/// Width of a tile of one row, in vectors.
const LONG_ROW: usize = 8;

/// What one tile of sums needs.
struct Tile<'a> {
    layout: &'a Layout,
    /// Some of the layout's.
    segments: &'a [Segment],
    /// As [`Layout::fill`] leaves it.
    buffer: &'a [f32],
    /// `[taps, rows]`.
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Planes of the tile's first row and of those after it.
    y: &'a mut [f32],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S, rows: usize) {
        match rows {
            1 => self.sum::<S, 1, V>(simd),
            2 => self.sum::<S, 2, V>(simd),
            3 => self.sum::<S, 3, V>(simd),
            4 => self.sum::<S, 4, V>(simd),
            5 => self.sum::<S, 5, V>(simd),
            6 => self.sum::<S, 6, V>(simd),
            7 => self.sum::<S, 7, V>(simd),
            8 => self.sum::<S, 8, V>(simd),
            _ => unreachable!("a tile is at most eight rows high"),
        }
    }

    /// `R` output channels by `V` vectors.
    #[inline(always)]
    fn sum<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        if R > S::TILE[0] || (R > 1 && V > S::TILE[1]) {
            unreachable!("no tile is larger than the registers");
        }
        let sums = self.products::<S, R, V>(simd);
        let plane = self.layout.problem.plane_out();
        for (i, sums) in sums.iter().enumerate() {
            let bias = simd.splat(self.bias.map_or(0.0, |bias| bias[i]));
            for (segment, &sum) in self.segments.iter().zip(sums) {
                let y = &mut self.y[i * plane + segment.out..][..segment.len];
                simd.store_slice(y, simd.add(sum, bias));
            }
        }
    }

    /// The sums over all taps. They leave here only when done: an array that is also read by loops
    /// that are not unrolled would live in memory, not in registers (half the speed).
    #[inline(always)]
    fn products<S: Simd, const R: usize, const V: usize>(&self, simd: S) -> [[S::V; V]; R] {
        let (layout, segments, buffer, w) = (self.layout, self.segments, self.buffer, self.w);
        assert!(
            buffer.len() >= layout.buffer_len,
            "the buffer is shorter than its layout"
        );
        let at: [usize; V] = std::array::from_fn(|j| segments[j].at);
        let mut sums = [[simd.splat(0.0); V]; R];
        for (&offset, w) in layout.offsets.iter().zip(w.as_chunks::<R>().0) {
            let mut x = [simd.splat(0.0); V];
            for j in 0..V {
                // SAFETY: `at` is a segment of the layout, whose invariant keeps all lanes at every
                // offset within `buffer_len`; the buffer is that long. (Checked slices instead
                // cost 2 % on LeNet-5's second layer and 60 % on ResNet-20's 32-32.)
                x[j] = unsafe { simd.load(buffer.as_ptr().add(offset + at[j])) };
            }
            for i in 0..R {
                let w = simd.splat(w[i]);
                for j in 0..V {
                    sums[i][j] = simd.add_products(w, x[j], sums[i][j]);
                }
            }
        }
        sums
    }
}
