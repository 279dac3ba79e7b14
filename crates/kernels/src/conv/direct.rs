//! Convolution straight from the image.
//!
//! A column matrix holds each input `kh * kw` times, and writing and reading it costs more than it
//! saves where there are few output channels. Here the inner loop of a matrix product reads the
//! image itself, laid out by [`super::shifted`]. In registers, a tile of output channels by vectors
//! of pixels; sums run over all taps before they are stored, so nothing is read back.

use super::ConvShape;
use super::shifted::{Layout, Problem, Segment, pieces};
use crate::parallel;
use crate::simd::{self, Level, Simd, WithSimd};

/// Whether this way is better than columns: there are pixels enough to fill vectors.
pub(super) fn suits(shape: &ConvShape) -> bool {
    shape.x_len() > 0 && shape.plane_out() >= MIN_PIXELS && !shape.is_pointwise()
}

/// Three quarters of the widest vector.
pub(super) const MIN_PIXELS: usize = 12;

/// Whether the gradient of the input is best taken as a convolution: it has to be one, and where
/// the input is much larger than the output it would mostly multiply by padding.
pub(super) fn suits_grad_input(shape: &ConvShape) -> bool {
    let padded_little = 3 * shape.plane_in() <= 4 * shape.plane_out();
    suits(shape) && shape.stride == [1, 1] && padded_little
}

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (taps, per_tap) = (shape.taps(), shape.kernel[0] * shape.kernel[1]);
    let weight = |o: usize, channel: usize, tap: usize| w[o * taps + channel * per_tap + tap];
    run(level, shape, Problem::forward(shape), x, weight, bias, y);
}

/// For stride 1 only.
pub(super) fn grad_input(level: Level, shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
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
    run(level, shape, Problem::backward(shape), dy, weight, None, dx);
}

/// All images and groups of a problem, `x: [n, groups, channels, h, w]` and so on;
/// `weight(o, channel, tap)` for an output channel `o` of all groups and a channel of one.
fn run(
    level: Level,
    shape: &ConvShape,
    problem: Problem,
    x: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let layout = Layout::new(level, problem);
    let tile = simd::widths(level).tile[0];
    let (taps, out_channels) = (problem.taps(), problem.out_channels);
    parallel::with_call_scratch(shape.groups * out_channels * taps, |packed| {
        pack(shape.groups, &problem, tile, weight, packed);
        let x_len = problem.channels * problem.h * problem.w;
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
            parallel::with_scratch(layout.buffer_len, |buffer| {
                simd::dispatch(
                    layout.level,
                    Task {
                        layout: &layout,
                        x,
                        next,
                        w,
                        bias,
                        buffer,
                        y,
                    },
                );
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
    /// `[channels, h, w]`.
    x: &'a [f32],
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
        layout.fill(simd, x, buffer);
        let taps = layout.offsets.len();
        // A single channel leaves registers for a longer row.
        let width = if layout.problem.out_channels == 1 {
            LONG_ROW
        } else {
            S::TILE[1]
        };
        let n_columns = layout.segments.len().div_ceil(width);
        let mut next = next.chunks(next.len().div_ceil(n_columns).max(1));
        for columns in pieces(layout.segments.len(), width) {
            simd.prefetch(next.next().unwrap_or_default());
            let segments = &layout.segments[columns];
            for rows in pieces(layout.problem.out_channels, S::TILE[0]) {
                let w = &w[rows.start * taps..rows.end * taps];
                let bias = bias.map(|bias| &bias[rows.clone()]);
                let y = &mut y[rows.start * layout.problem.plane_out()..];
                let tile = Tile {
                    layout,
                    segments,
                    buffer,
                    w,
                    bias,
                    y,
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
                    sums[i][j] = simd.mul_add(w, x[j], sums[i][j]);
                }
            }
        }
        sums
    }
}
