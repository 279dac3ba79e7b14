//! Images laid out so that each tap of a kernel sees one run of memory.
//!
//! Row `(channel, tap)` of a column matrix is the (padded) image shifted by the tap, so an inner
//! loop can read the image itself through a table with one offset for each row, if what it reads as
//! a vector is contiguous. That is arranged here:
//!
//! - padding is written out;
//! - a stride splits rows and columns by their remainder, so that neighbours of the output are
//!   neighbours here too;
//! - where a row of the output does not fill whole vectors, a copy of the image for each column of
//!   the kernel closes the gaps between rows, and vectors run across them.

use super::ConvShape;
use crate::pairs::Lanes;
use crate::simd::{self, Simd};
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

    /// The same with channels in pairs, the last with zeros if their number is odd.
    pub(super) fn in_pairs(self) -> Self {
        Problem {
            channels: self.channels.div_ceil(2),
            ..self
        }
    }

    /// With stride 1, the gradient of the input is a convolution of `dy` with the kernel turned
    /// round.
    pub(super) fn backward(shape: &ConvShape) -> Self {
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
    pub(super) fn new(operands: Lanes, problem: Problem) -> Self {
        let lanes = simd::widths(operands.level()).lanes;
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
        let by_rows = fills_rows(out_w, lanes);
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

    /// Whether the layout is the image as it is.
    pub(super) fn is_plain(&self) -> bool {
        let Problem { h, w, stride, .. } = self.problem;
        let same = (self.rows, self.pitch, stride) == (h, w, [1, 1]);
        same && self.copies == [0] && self.problem.before[0] == 0
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

/// Whether vectors that begin with a row leave no more than a tenth of their lanes idle.
pub(super) fn fills_rows(columns: usize, lanes: usize) -> bool {
    10 * columns.next_multiple_of(lanes) <= 11 * columns
}
