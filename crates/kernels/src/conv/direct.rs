//! Convolution straight from the image.
//!
//! A column matrix holds each input `kh * kw` times, and writing and reading it costs more than it
//! saves where there are few output channels. But its rows are runs of the (padded) image: row
//! `(channel, tap)` is the image shifted by the tap. So the inner loop of a matrix product can read
//! the image itself, through a table with one offset for each row, and only what must be contiguous
//! is made so:
//!
//! - padding is written out;
//! - a stride splits rows and columns by their remainder, so that neighbours of the output are
//!   neighbours here too;
//! - where a row of the output does not fill whole vectors, a copy of the image for each column of
//!   the kernel closes the gaps between rows, and vectors run across them.
//!
//! In registers, a tile of output channels by vectors of pixels; sums run over all taps before
//! they are stored, so nothing is read back.

use super::ConvShape;
use crate::parallel;
use crate::simd::{self, Simd, WithSimd};
use crate::window::{inside, zip_strided};

/// One group of one image, forward; also the gradient of the input for stride 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem {
    pub(super) channels: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) out_channels: usize,
    pub(super) out_h: usize,
    pub(super) out_w: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Rows above and columns left of the input that the first window covers; negative if it
    /// begins inside.
    pub(super) before: [isize; 2],
}

impl Problem {
    pub(super) fn forward(shape: &ConvShape) -> Self {
        Problem {
            channels: shape.group_in(),
            h: shape.h,
            w: shape.w,
            out_channels: shape.group_out(),
            out_h: shape.out_h(),
            out_w: shape.out_w(),
            kernel: shape.kernel,
            stride: shape.stride,
            dilation: shape.dilation,
            before: [shape.padding[0] as isize, shape.padding[1] as isize],
        }
    }

    /// With stride 1, the gradient of the input is a convolution of `dy` with the kernel turned
    /// round.
    fn backward(shape: &ConvShape) -> Self {
        let reach = |axis: usize| ((shape.kernel[axis] - 1) * shape.dilation[axis]) as isize;
        Problem {
            channels: shape.group_out(),
            h: shape.out_h(),
            w: shape.out_w(),
            out_channels: shape.group_in(),
            out_h: shape.h,
            out_w: shape.w,
            kernel: shape.kernel,
            stride: [1, 1],
            dilation: shape.dilation,
            before: [
                reach(0) - shape.padding[0] as isize,
                reach(1) - shape.padding[1] as isize,
            ],
        }
    }

    pub(super) fn taps(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    pub(super) fn plane_out(&self) -> usize {
        self.out_h * self.out_w
    }
}

/// Where a vector of output pixels lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Its first pixel in the buffer, before the offset of a tap.
    pub(super) at: usize,
    /// Its first pixel in the plane of the output.
    pub(super) out: usize,
    /// Pixels in it; the other lanes compute nothing of use.
    pub(super) len: usize,
}

/// How a [`Problem`] is laid out in a buffer.
///
/// Invariant, which the inner loops rely on: for every tap `k`, segment `s` and lane `i` (all of
/// them, also those beyond `s.len`), `offsets[k] + s.at + i < buffer_len`.
pub(super) struct Layout {
    pub(super) problem: Problem,
    /// For each tap, where the pixel it sees of the first window is.
    pub(super) offsets: Vec<usize>,
    pub(super) segments: Vec<Segment>,
    pub(super) buffer_len: usize,
    /// Of a vector.
    pub(super) lanes: usize,
    /// Copies of a channel: the column of the input (padding is negative) each begins at.
    copies: Vec<isize>,
    /// Rows of the padded input are split by remainders to the stride; this many occur.
    row_phases: usize,
    /// Rows of one copy and one remainder.
    rows: usize,
    /// Columns of it.
    pitch: usize,
}

impl Layout {
    pub(super) fn new(problem: Problem, lanes: usize) -> Self {
        let Problem {
            channels,
            out_h,
            out_w,
            kernel,
            stride,
            dilation,
            before,
            ..
        } = problem;
        let reach = [(kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1]];
        // Whole vectors from each row, unless that would leave a tenth of the lanes idle.
        let by_rows = 10 * out_w.next_multiple_of(lanes) <= 11 * out_w;
        let (copies, pitch) = if by_rows {
            let phases = stride[1].min(reach[1] + 1);
            let copies = (0..phases)
                .map(|phase| phase as isize - before[1])
                .collect::<Vec<_>>();
            (copies, out_w + reach[1] / stride[1])
        } else {
            let column = |tap| (tap * dilation[1]) as isize - before[1];
            ((0..kernel[1]).map(column).collect(), out_w)
        };
        let row_phases = stride[0].min(reach[0] + 1);
        let rows = out_h + reach[0] / stride[0];
        let (copy_len, n_copies) = (row_phases * rows * pitch, copies.len());
        let mut offsets = Vec::with_capacity(problem.taps());
        for channel in 0..channels {
            for down in (0..kernel[0]).map(|tap| tap * dilation[0]) {
                let row = (down % stride[0] * rows + down / stride[0]) * pitch;
                for tap in 0..kernel[1] {
                    let right = tap * dilation[1];
                    let (copy, column) = match by_rows {
                        true => (right % stride[1], right / stride[1]),
                        false => (tap, 0),
                    };
                    offsets.push((channel * n_copies + copy) * copy_len + row + column);
                }
            }
        }
        let segment = |at, out, len| Segment { at, out, len };
        let segments: Vec<Segment> = if by_rows {
            let starts =
                (0..out_h).flat_map(|oh| (0..out_w).step_by(lanes).map(move |ow| (oh, ow)));
            starts
                .map(|(oh, ow)| segment(oh * pitch + ow, oh * out_w + ow, lanes.min(out_w - ow)))
                .collect()
        } else {
            let plane = out_h * out_w;
            (0..plane)
                .step_by(lanes)
                .map(|at| segment(at, at, lanes.min(plane - at)))
                .collect()
        };
        // Vectors read and written at the very end reach over it.
        let buffer_len = (channels * n_copies * copy_len + lanes).next_multiple_of(16);
        let last = |max: Option<usize>| max.unwrap_or(0);
        let end = last(offsets.iter().copied().max()) + last(segments.iter().map(|s| s.at).max());
        assert!(
            end + lanes <= buffer_len,
            "a segment reaches over the buffer of {problem:?}"
        );
        Layout {
            problem,
            offsets,
            segments,
            buffer_len,
            lanes,
            copies,
            row_phases,
            rows,
            pitch,
        }
    }

    /// Lays out one image (or group of it), `x: [channels, h, w]`.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&self, simd: S, x: &[f32], buffer: &mut [f32]) {
        let Problem {
            h,
            w,
            stride,
            before,
            ..
        } = self.problem;
        let mut rows = 0;
        for x in x.chunks_exact(h * w) {
            for &start in &self.copies {
                for phase in 0..self.row_phases {
                    for row in 0..self.rows {
                        let ih = (row * stride[0] + phase) as isize - before[0];
                        // The row, and lanes that reach over it into what is written next.
                        let to = &mut buffer[rows * self.pitch..][..self.pitch + S::LANES];
                        match usize::try_from(ih) {
                            Ok(ih) if ih < h => {
                                copy_row(simd, &x[ih * w..][..w], start, stride[1], self.pitch, to);
                            }
                            _ => to[..self.pitch].fill(0.0),
                        }
                        rows += 1;
                    }
                }
            }
        }
    }
}

/// `to[i] = row[start + i * stride]`, or zero outside the row, for `i` in `0..len`; what follows in
/// `to` may be overwritten by less than a vector.
#[inline(always)]
fn copy_row<S: Simd>(
    simd: S,
    row: &[f32],
    start: isize,
    stride: usize,
    len: usize,
    to: &mut [f32],
) {
    if stride > 1 {
        let padding = (-start).max(0) as usize;
        let windows = inside(len, row.len(), stride, padding, start.max(0) as usize);
        let to = &mut to[..len];
        to[..windows.start].fill(0.0);
        to[windows.end..].fill(0.0);
        let first = (start + (windows.start * stride) as isize) as usize;
        let row = row.get(first..).unwrap_or_default();
        let to = &mut to[windows];
        if !to.is_empty() {
            zip_strided(stride, row, to, |_, x| x);
        }
        return;
    }
    for i in (0..len).step_by(S::LANES) {
        let first = start + i as isize;
        let lanes = |column: isize| column.clamp(0, S::LANES as isize) as usize;
        let (from, end) = (lanes(-first), lanes(row.len() as isize - first));
        // SAFETY: lanes `from..end` are those with `0 <= first + lane < row.len()`.
        let v =
            unsafe { simd.load_lanes(row.as_ptr().wrapping_offset(first), from..end.max(from)) };
        simd.store_slice(&mut to[i..][..S::LANES], v);
    }
}

/// Cuts `0..total` into the least number of pieces no longer than `most`, of nearly equal length.
pub(super) fn pieces(total: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let n = total.div_ceil(most);
    (0..n).map(move |i| i * total / n..(i + 1) * total / n)
}

/// Whether this way is better than columns: there are pixels enough to fill vectors.
pub(super) fn suits(problem: &Problem) -> bool {
    problem.plane_out() >= 12
}

/// Whether the gradient of the input is best taken as a convolution: it has to be one, and where
/// the input is much larger than the output it would mostly multiply by padding.
pub(super) fn suits_grad_input(shape: &ConvShape) -> bool {
    let problem = Problem::forward(shape);
    shape.stride == [1, 1]
        && suits(&problem)
        && 3 * problem.h * problem.w <= 4 * problem.plane_out()
}

pub(super) fn forward(
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (taps, per_tap) = (shape.taps(), shape.kernel[0] * shape.kernel[1]);
    let weight = |o: usize, channel: usize, tap: usize| w[o * taps + channel * per_tap + tap];
    run(shape, Problem::forward(shape), x, weight, bias, y);
}

/// For stride 1 only.
pub(super) fn grad_input(shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
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
    run(shape, Problem::backward(shape), dy, weight, None, dx);
}

/// All images and groups of a problem, `x: [n, groups, channels, h, w]` and so on;
/// `weight(o, channel, tap)` for an output channel `o` of all groups and a channel of one.
fn run(
    shape: &ConvShape,
    problem: Problem,
    x: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let widths = simd::widths();
    let layout = Layout::new(problem, widths.lanes);
    let (taps, out_channels) = (problem.taps(), problem.out_channels);
    parallel::with_call_scratch(shape.groups * out_channels * taps, |packed| {
        pack(shape.groups, &problem, widths.tile[0], weight, packed);
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
                simd::dispatch(Task {
                    layout: &layout,
                    x,
                    next,
                    w,
                    bias,
                    buffer,
                    y,
                });
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
                // cost 6 to 9 % of a convolution.)
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
