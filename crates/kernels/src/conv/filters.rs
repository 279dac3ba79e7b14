//! Convolutions of one filter a channel, with neighbouring channels in the lanes of a vector.
//!
//! A small image fills few vectors and a step leaves gaps in them; channels have neither trouble. A block
//! of channels is turned channels last in a buffer, with zeros around it; then each tap is a
//! multiplication of whole vectors, whatever kernel, step and size; and the result is turned back. Turning
//! costs as much as two or three taps.

use super::direct::MIN_PIXELS;
use super::shifted::fills_rows;
use super::turned::{Padded, padded, spread, tap_offsets, to_lanes, to_planes};
use super::{ConvShape, sum_over_images};
use crate::parallel::{self, pieces};
use crate::simd::{self, Level, Simd, WithSimd};

/// Floats of a block of one image at most: what a level-2 cache of 512 KiB holds, with its result.
const BLOCK: usize = 1 << 16;

/// Whether this way is better than along the pixels: there are channels enough for a vector, a block of
/// an image stays in cache, and rows of pixels do not fill vectors by themselves.
pub(super) fn suits(shape: &ConvShape) -> bool {
    let single = shape.groups == shape.c_in && shape.c_in == shape.c_out;
    let lanes = simd::widths(simd::level()).lanes;
    let pixels = shape.plane_in().max(shape.plane_out());
    let along = shape.stride == [1, 1] && fills_rows(shape.out_w(), lanes);
    single && !along && shape.c_in >= lanes && pixels * lanes <= BLOCK && pixels >= MIN_PIXELS
}

/// Results that read the same taps at the same distances.
#[derive(Clone, Debug)]
struct Phase {
    /// For each tap that counts, the pixel it reads for the first result and its weight.
    taps: Vec<(usize, usize)>,
    /// Results, down and right.
    grid: [usize; 2],
    /// The first result's pixel, and the steps to the next, down and right.
    out: usize,
    out_step: [usize; 2],
    /// Steps in what is read.
    read_step: [usize; 2],
}

/// What is read, in which way, and made.
///
/// Invariant: for each phase, each of its taps and each place of its grid, the pixel that is read is one
/// of `read` and the one that is written is one of the `made`.
#[derive(Clone, Debug)]
struct Plan {
    read: Padded,
    phases: Vec<Phase>,
    made: usize,
}

impl Plan {
    fn forward(shape: &ConvShape) -> Plan {
        let read = padded(shape);
        let offsets = tap_offsets(shape, read.columns);
        let grid = [shape.out_h(), shape.out_w()];
        let phase = Phase {
            taps: offsets
                .into_iter()
                .enumerate()
                .map(|(i, at)| (at, i))
                .collect(),
            grid,
            out: 0,
            out_step: [grid[1], 1],
            read_step: [shape.stride[0] * read.columns, shape.stride[1]],
        };
        Plan {
            read,
            phases: vec![phase],
            made: grid[0] * grid[1],
        }
    }

    /// Of the pixels of the input, those a step apart are reached by the same taps.
    fn backward(shape: &ConvShape) -> Plan {
        let lens = [shape.h, shape.w];
        let outs = [shape.out_h(), shape.out_w()];
        let axes = [0, 1].map(|axis| {
            let phases = 0..shape.stride[axis].min(lens[axis]);
            phases
                .map(|p| axis_taps(shape, axis, p))
                .collect::<Vec<_>>()
        });
        // Zeros in front of the first result and behind the last that a tap asks for.
        let around = [0, 1].map(|axis| {
            let mut ends = (0, 0);
            for (p, taps) in axes[axis].iter().enumerate() {
                let count = (lens[axis] - p).div_ceil(shape.stride[axis]);
                for &(_, at) in taps {
                    let last = at + count as isize - 1;
                    ends.0 = ends.0.max(-at);
                    ends.1 = ends.1.max(last - (outs[axis] as isize - 1));
                }
            }
            [ends.0 as usize, ends.1 as usize]
        });
        let read = Padded {
            h: outs[0],
            w: outs[1],
            top: around[0][0],
            left: around[1][0],
            rows: around[0][0] + outs[0] + around[0][1],
            columns: around[1][0] + outs[1] + around[1][1],
        };
        let mut phases = Vec::new();
        for (y, down) in axes[0].iter().enumerate() {
            for (x, right) in axes[1].iter().enumerate() {
                let tap = |&(ky, qy): &(usize, isize), &(kx, qx): &(usize, isize)| {
                    let row = (qy + read.top as isize) as usize;
                    let column = (qx + read.left as isize) as usize;
                    (row * read.columns + column, ky * shape.kernel[1] + kx)
                };
                let taps = down
                    .iter()
                    .flat_map(|y| right.iter().map(move |x| tap(y, x)));
                let [sy, sx] = shape.stride;
                phases.push(Phase {
                    taps: taps.collect(),
                    grid: [(shape.h - y).div_ceil(sy), (shape.w - x).div_ceil(sx)],
                    out: y * shape.w + x,
                    out_step: [sy * shape.w, sx],
                    read_step: [read.columns, 1],
                });
            }
        }
        Plan {
            read,
            phases,
            made: shape.plane_in(),
        }
    }

    /// Elements of what is read, of the same before it is spread, and of what is made.
    fn lens(&self, lanes: usize) -> [usize; 3] {
        let read = self.read.rows * self.read.columns;
        let turned = (self.read.h * self.read.w).max(self.made);
        [read, turned, self.made].map(|pixels| pixels * lanes)
    }
}

/// Of pixel `phase` of the input and those every stride after it: which taps reach them along an axis,
/// and from which result, relative to their own number.
fn axis_taps(shape: &ConvShape, axis: usize, phase: usize) -> Vec<(usize, isize)> {
    let stride = shape.stride[axis] as isize;
    let taps = (0..shape.kernel[axis]).filter_map(|tap| {
        let offset = (tap * shape.dilation[axis]) as isize;
        let at = phase as isize + shape.padding[axis] as isize - offset;
        (at.rem_euclid(stride) == 0).then(|| (tap, at.div_euclid(stride)))
    });
    taps.collect()
}

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    run(level, shape, &Plan::forward(shape), x, w, bias, y);
}

pub(super) fn grad_input(level: Level, shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    run(level, shape, &Plan::backward(shape), dy, w, None, dx);
}

/// All images: `x: [n, c, h, w]` of what is read, `y` of what is made.
fn run(
    level: Level,
    shape: &ConvShape,
    plan: &Plan,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let lanes = simd::widths(level).lanes;
    let (c, taps) = (shape.c_in, shape.taps());
    let (x_len, y_len) = (c * plan.read.h * plan.read.w, c * plan.made);
    let blocks = c.div_ceil(lanes);
    parallel::with_call_scratch(blocks * (taps + 1) * lanes, |packed| {
        let (weights, biases) = packed.split_at_mut(blocks * taps * lanes);
        packed_weights(w, [c, taps, lanes], weights);
        biases.fill(0.0);
        if let Some(bias) = bias {
            biases[..c].copy_from_slice(bias);
        }
        let (weights, biases) = (&*weights, &*biases);
        let lens = plan.lens(lanes);
        parallel::for_each_chunk(y, y_len, shape.ops(), |i, y| {
            parallel::with_scratch(lens.iter().sum(), |scratch| {
                let x = &x[i * x_len..][..x_len];
                let work = Image {
                    plan,
                    c,
                    x,
                    weights,
                    biases,
                    scratch,
                    y,
                };
                simd::dispatch(level, work);
            });
        });
    });
}

/// `[blocks, taps, lanes]` from `[c, taps]`; zeros for channels that there are not.
fn packed_weights(w: &[f32], [c, taps, lanes]: [usize; 3], packed: &mut [f32]) {
    for (block, packed) in packed.chunks_exact_mut(taps * lanes).enumerate() {
        for (tap, packed) in packed.chunks_exact_mut(lanes).enumerate() {
            for (lane, to) in packed.iter_mut().enumerate() {
                let channel = block * lanes + lane;
                *to = if channel < c {
                    w[channel * taps + tap]
                } else {
                    0.0
                };
            }
        }
    }
}

/// One image.
struct Image<'a> {
    plan: &'a Plan,
    c: usize,
    x: &'a [f32],
    weights: &'a [f32],
    biases: &'a [f32],
    /// Room for [`Plan::lens`].
    scratch: &'a mut [f32],
    y: &'a mut [f32],
}

impl WithSimd for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Image {
            plan,
            c,
            x,
            weights,
            biases,
            scratch,
            y,
        } = self;
        let [read, turned, _] = plan.lens(S::LANES);
        let (read, rest) = scratch.split_at_mut(read);
        let (turned, made) = rest.split_at_mut(turned);
        let taps = weights.len() / biases.len();
        read.fill(0.0);
        let plane = plan.read.h * plan.read.w;
        for (block, first) in (0..c).step_by(S::LANES).enumerate() {
            let channels = S::LANES.min(c - first);
            let x = &x[first * plane..][..channels * plane];
            spread(simd, x, channels, &plan.read, turned, read);
            let weights = &weights[block * taps * S::LANES..][..taps * S::LANES];
            let bias = simd.load_slice(&biases[first..]);
            for phase in &plan.phases {
                filter(simd, phase, read, weights, bias, made);
            }
            let y = &mut y[first * plan.made..][..channels * plan.made];
            to_planes(simd, made, channels, y);
        }
    }
}

/// The results of a phase.
#[inline(always)]
fn filter<S: Simd>(
    simd: S,
    phase: &Phase,
    read: &[f32],
    weights: &[f32],
    bias: S::V,
    made: &mut [f32],
) {
    for row in 0..phase.grid[0] {
        for columns in pieces(phase.grid[1], 8) {
            let at = row * phase.read_step[0] + columns.start * phase.read_step[1];
            let out = phase.out + row * phase.out_step[0] + columns.start * phase.out_step[1];
            let tile = Tile {
                phase,
                read: &read[at * S::LANES..],
                weights,
                bias,
                made: &mut made[out * S::LANES..],
            };
            match columns.len() {
                1 => tile.run::<1>(simd),
                2 => tile.run::<2>(simd),
                3 => tile.run::<3>(simd),
                4 => tile.run::<4>(simd),
                5 => tile.run::<5>(simd),
                6 => tile.run::<6>(simd),
                7 => tile.run::<7>(simd),
                8 => tile.run::<8>(simd),
                _ => unreachable!("a tile is at most eight results wide"),
            }
        }
    }
}

/// Some results of one row.
struct Tile<'a, S: Simd> {
    phase: &'a Phase,
    /// From the first result's place on.
    read: &'a [f32],
    weights: &'a [f32],
    bias: S::V,
    made: &'a mut [f32],
}

impl<S: Simd> Tile<'_, S> {
    #[inline(always)]
    fn run<const P: usize>(self, simd: S) {
        let sums = self.sums::<P>(simd);
        for (i, sum) in sums.into_iter().enumerate() {
            let at = i * self.phase.out_step[1] * S::LANES;
            simd.store_slice(&mut self.made[at..][..S::LANES], sum);
        }
    }

    /// Sums leave here only when done, as in [`super::direct`].
    #[inline(always)]
    fn sums<const P: usize>(&self, simd: S) -> [S::V; P] {
        let mut sums = [self.bias; P];
        let step = self.phase.read_step[1] * S::LANES;
        for &(at, weight) in &self.phase.taps {
            let w = simd.load_slice(&self.weights[weight * S::LANES..][..S::LANES]);
            let x = &self.read[at * S::LANES..][..(P - 1) * step + S::LANES];
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `x` reaches to the last of the `P` vectors, each `step` after the one before.
                let x = unsafe { simd.load(x.as_ptr().add(i * step)) };
                *sum = simd.mul_add(x, w, *sum);
            }
        }
        sums
    }
}

pub(super) fn grad_weight(level: Level, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let lanes = simd::widths(level).lanes;
    let (c, taps) = (shape.c_in, shape.taps());
    let (x_len, y_len) = (c * shape.plane_in(), c * shape.plane_out());
    let read = padded(shape);
    let offsets = tap_offsets(shape, read.columns);
    let turned = shape.plane_in().max(shape.plane_out());
    let pixels = read.rows * read.columns + turned;
    let sums = c.next_multiple_of(lanes) * taps;
    sum_over_images(shape, dw, |images, dw| {
        parallel::with_scratch(pixels * lanes + sums, |scratch| {
            let (sums, scratch) = scratch.split_at_mut(sums);
            sums.fill(0.0);
            for i in images {
                let work = ImageGrad {
                    shape,
                    read,
                    offsets: &offsets,
                    x: &x[i * x_len..][..x_len],
                    dy: &dy[i * y_len..][..y_len],
                    scratch: &mut *scratch,
                    sums: &mut *sums,
                };
                simd::dispatch(level, work);
            }
            for (channel, dw) in dw.chunks_exact_mut(taps).enumerate() {
                let block = &sums[channel / lanes * lanes * taps..][..lanes * taps];
                let sums = block.chunks_exact(lanes);
                dw.iter_mut()
                    .zip(sums)
                    .for_each(|(dw, sums)| *dw += sums[channel % lanes]);
            }
        });
    });
}

/// What one image adds to the gradient of the weights.
struct ImageGrad<'a> {
    shape: &'a ConvShape,
    read: Padded,
    /// Pixels that the taps read for the first result.
    offsets: &'a [usize],
    x: &'a [f32],
    dy: &'a [f32],
    /// Room for the padded block of `x` and the block of `dy`.
    scratch: &'a mut [f32],
    /// `[blocks, taps, lanes]`.
    sums: &'a mut [f32],
}

impl WithSimd for ImageGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ImageGrad {
            shape,
            read: padded,
            offsets,
            x,
            dy,
            scratch,
            sums,
        } = self;
        let (c, in_plane, out_plane) = (shape.c_in, shape.plane_in(), shape.plane_out());
        let (read, turned) = scratch.split_at_mut(padded.rows * padded.columns * S::LANES);
        read.fill(0.0);
        let blocks = sums.chunks_exact_mut(offsets.len() * S::LANES);
        for (first, sums) in (0..c).step_by(S::LANES).zip(blocks) {
            let channels = S::LANES.min(c - first);
            let x = &x[first * in_plane..][..channels * in_plane];
            spread(simd, x, channels, &padded, turned, read);
            let dy = &dy[first * out_plane..][..channels * out_plane];
            to_lanes(simd, dy, channels, turned);
            for taps in pieces(offsets.len(), MOST_TAPS) {
                let sums = &mut sums[taps.start * S::LANES..taps.end * S::LANES];
                let dots = Dots {
                    read,
                    dy: &turned[..out_plane * S::LANES],
                    offsets: &offsets[taps.clone()],
                    grid: [shape.out_h(), shape.out_w()],
                    step: [shape.stride[0] * padded.columns, shape.stride[1]],
                };
                match taps.len() {
                    1 => dots.add::<S, 1>(simd, sums),
                    2 => dots.add::<S, 2>(simd, sums),
                    3 => dots.add::<S, 3>(simd, sums),
                    4 => dots.add::<S, 4>(simd, sums),
                    5 => dots.add::<S, 5>(simd, sums),
                    6 => dots.add::<S, 6>(simd, sums),
                    7 => dots.add::<S, 7>(simd, sums),
                    8 => dots.add::<S, 8>(simd, sums),
                    9 => dots.add::<S, 9>(simd, sums),
                    _ => unreachable!("a tile is at most nine taps"),
                }
            }
        }
    }
}

/// Taps whose sums are in registers together.
const MOST_TAPS: usize = 9;

/// The products of results with what some taps read for them.
struct Dots<'a> {
    read: &'a [f32],
    /// `[results, lanes]`.
    dy: &'a [f32],
    offsets: &'a [usize],
    /// Results, down and right, and steps in what is read.
    grid: [usize; 2],
    step: [usize; 2],
}

impl Dots<'_> {
    #[inline(always)]
    fn add<S: Simd, const T: usize>(&self, simd: S, sums: &mut [f32]) {
        let dots = self.dots::<S, T>(simd);
        for (sums, dot) in sums.chunks_exact_mut(S::LANES).zip(dots) {
            let sum = simd.add(simd.load_slice(sums), dot);
            simd.store_slice(sums, sum);
        }
    }

    /// Sums leave here only when done, as in [`super::direct`].
    #[inline(always)]
    fn dots<S: Simd, const T: usize>(&self, simd: S) -> [S::V; T] {
        let [rows, columns] = self.grid;
        let last = (rows - 1) * self.step[0] + (columns - 1) * self.step[1];
        let reach = self.offsets.iter().copied().max().unwrap_or(0) + last + 1;
        assert!(
            reach * S::LANES <= self.read.len(),
            "taps read within the image and its zeros"
        );
        let offsets: [usize; T] = std::array::from_fn(|t| self.offsets[t] * S::LANES);
        let mut sums = [simd.splat(0.0); T];
        let mut dy = self.dy.chunks_exact(S::LANES);
        for row in 0..rows {
            let mut at = row * self.step[0] * S::LANES;
            for dy in dy.by_ref().take(columns) {
                let dy = simd.load_slice(dy);
                for t in 0..T {
                    // SAFETY: `at` is at most that of the last result, which the assertion is about.
                    let x = unsafe { simd.load(self.read.as_ptr().add(at + offsets[t])) };
                    sums[t] = simd.mul_add(x, dy, sums[t]);
                }
                at += self.step[1] * S::LANES;
            }
        }
        sums
    }
}
