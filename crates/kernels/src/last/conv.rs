//! Convolutions and dense layers: broadcast inputs by packed weights.
//!
//! A tile of `pixels` neighbouring outputs of a row by `vectors` vectors of output channels is held
//! in registers. For each tap and each input channel, the vectors of weights are loaded once and
//! multiplied by that channel of each pixel. A dense layer is a 1 by 1 convolution over a row that
//! is the batch.

use std::ops::Range;

use super::tiling::{Tiling, check_tile, limits};
use super::{Clamp, ImageShape, Tile};
use crate::aligned::Aligned;
use crate::conv::ConvShape;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Level, Simd, WithSimd, dispatch};

/// A convolution without groups, ready to run on images of fixed shapes.
#[derive(Clone, Debug)]
pub struct ConvLayer {
    tiling: Tiling,
    level: Level,
    /// For each vector of channels taps by lanes; vectors of a panel side by side.
    weights: Aligned<f32>,
    bias: Aligned<f32>,
}

impl ConvLayer {
    /// Packs `weights: [c_out, c_in, kh, kw]` and `bias: [c_out]` of a convolution of `shape` from
    /// images `x` to images `y`.
    ///
    /// # Panics
    /// If shapes do not fit each other, there are groups, or the halo of `x` is narrower than the
    /// padding.
    pub fn new(
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        x: ImageShape,
        y: ImageShape,
        tile: Tile,
    ) -> ConvLayer {
        ConvLayer::new_at(simd::level(), shape, weights, bias, x, y, tile)
    }

    /// As [`ConvLayer::new`], with the vectors of a level this CPU has.
    pub(super) fn new_at(
        level: Level,
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        x: ImageShape,
        y: ImageShape,
        tile: Tile,
    ) -> ConvLayer {
        let limits = limits(level);
        assert_eq!(weights.len(), shape.w_len(), "weights of a convolution");
        shape.check_bias(bias);
        ConvLayer {
            tiling: Tiling::new(shape, x, y, tile, limits),
            level,
            weights: pack(shape, weights, limits.0, tile.vectors),
            bias: pad(bias, shape.c_out.next_multiple_of(limits.0)),
        }
    }

    /// A dense layer: `weights: [outputs, inputs]` on rows of `pitch` elements, to rows of `outputs`.
    pub fn dense(
        [n, inputs, outputs]: [usize; 3],
        weights: &[f32],
        bias: Option<&[f32]>,
        pitch: usize,
        tile: Tile,
    ) -> ConvLayer {
        let row = |c, pitch| ImageShape {
            n: 1,
            h: 1,
            w: n,
            c,
            pitch,
            halo: [0; 2],
        };
        let shape = super::tiling::dense_shape(n, inputs, outputs);
        let (x, y) = (row(inputs, pitch), row(outputs, outputs));
        ConvLayer::new(&shape, weights, bias, x, y, tile)
    }

    /// The same layer packed for another tile. A result does not depend on the tile, not by a bit.
    ///
    /// # Panics
    /// If the tile has more sums than registers hold.
    pub fn with_tile(&self, tile: Tile) -> ConvLayer {
        check_tile(tile, limits(self.level).1, self.tiling.y.w);
        let (taps, tiling) = (self.tiling.taps(), &self.tiling);
        let weights = repack(
            &self.weights,
            tiling.n_vectors(),
            taps,
            tiling.lanes,
            [tiling.tile.vectors, tile.vectors],
        );
        let mut layer = ConvLayer {
            weights,
            ..self.clone()
        };
        layer.tiling.tile = tile;
        layer
    }

    /// Tiles worth trying, the likeliest first.
    pub fn candidates(&self) -> Vec<Tile> {
        Tile::candidates_at(limits(self.level), self.tiling.y.w, self.tiling.y.c)
    }

    /// What its speed depends on: sizes, steps and number of taps.
    pub fn geometry(&self) -> String {
        format!("conv {}", self.tiling.geometry())
    }

    /// The images it reads and those it makes.
    pub fn images(&self) -> (ImageShape, ImageShape) {
        (self.tiling.x, self.tiling.y)
    }

    /// The tile it was packed for.
    pub fn tile(&self) -> Tile {
        self.tiling.tile
    }

    /// Bytes of the packed weights.
    pub fn size_bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<f32>()
    }

    /// `y = clamp(convolution of x + bias + added)`, and zeros in the halo of `y`.
    ///
    /// `added` lies as `y` does, but for its own halo.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says.
    pub fn run(&self, x: &[f32], added: Option<(&[f32], ImageShape)>, clamp: Clamp, y: &mut [f32]) {
        let tiling = &self.tiling;
        assert!(
            x.len() >= tiling.x_len,
            "the images to convolve are too short"
        );
        assert!(y.len() >= tiling.y_shape.len(), "the result is too short");
        let added = added.map(|(data, shape)| (data, tiling.added(data.len(), shape)));
        if tiling.y.is_empty() {
            return;
        }
        let out = SharedMut::new(y);
        tiling.pieces(|piece| {
            // SAFETY: the result is long enough, and these rows are this piece's.
            unsafe { tiling.y_shape.fill_halo_of(piece.halo_of, out, 0.0) };
            let work = Work {
                tiles: piece.tiles,
                x,
                added,
                clamp,
                out,
            };
            for panel in piece.panels {
                let (first, vectors) = tiling.panel(panel);
                match vectors {
                    1 => self.panel::<1>(first, &work),
                    2 => self.panel::<2>(first, &work),
                    3 => self.panel::<3>(first, &work),
                    4 => self.panel::<4>(first, &work),
                    _ => unreachable!("checked when it was packed"),
                }
            }
        });
    }

    fn panel<const V: usize>(&self, first: usize, work: &Work) {
        macro_rules! widths {
            ($($p:literal)*) => {
                match self.tiling.tile.pixels {
                    $($p => dispatch(self.level, Panel::<$p, V> { layer: self, first, work }),)*
                    _ => unreachable!("checked when it was packed"),
                }
            };
        }
        widths!(1 2 3 4 6 7 8 10 12 14 16);
    }
}

/// The same panels for another number of vectors each: `taps` vectors of `lanes` elements for each.
pub(super) fn repack<T: Copy + Default>(
    packed: &[T],
    vectors: usize,
    taps: usize,
    lanes: usize,
    [before, after]: [usize; 2],
) -> Aligned<T> {
    let mut weights = Aligned::zeros(packed.len());
    for vector in 0..vectors {
        let place = |panel: usize| {
            let first = vector / panel * panel;
            let width = panel.min(vectors - first) * lanes;
            (first * lanes * taps + (vector - first) * lanes, width)
        };
        let ((from, step), (to, width)) = (place(before), place(after));
        for tap in 0..taps {
            let row = &packed[from + tap * step..][..lanes];
            weights[to + tap * width..][..lanes].copy_from_slice(row);
        }
    }
    weights
}

/// Weights in the order in which they are read: panel by panel, tap by tap, vector by vector.
fn pack(shape: &ConvShape, weights: &[f32], lanes: usize, panel: usize) -> Aligned<f32> {
    let (taps, area) = (shape.taps(), shape.kernel[0] * shape.kernel[1]);
    let vectors = shape.c_out.div_ceil(lanes);
    let mut packed = Aligned::zeros(vectors * lanes * taps);
    let work = packed.len();
    parallel::for_each_chunk(&mut packed, panel * lanes * taps, work, |i, packed| {
        let outputs = i * panel * lanes..((i + 1) * panel).min(vectors) * lanes;
        let mut to = packed.iter_mut();
        for tap in 0..area {
            for c in 0..shape.c_in {
                for (o, to) in outputs.clone().zip(&mut to) {
                    if o < shape.c_out {
                        *to = weights[(o * shape.c_in + c) * area + tap];
                    }
                }
            }
        }
    });
    packed
}

pub(super) fn pad(bias: Option<&[f32]>, len: usize) -> Aligned<f32> {
    let mut padded = Aligned::zeros(len);
    if let Some(bias) = bias {
        padded[..bias.len()].copy_from_slice(bias);
    }
    padded
}

/// A piece of a layer.
struct Work<'a> {
    tiles: Range<usize>,
    x: &'a [f32],
    added: Option<(&'a [f32], ImageShape)>,
    clamp: Clamp,
    out: SharedMut,
}

/// Some tiles of one panel, `P` pixels by `V` vectors each.
struct Panel<'a, const P: usize, const V: usize> {
    layer: &'a ConvLayer,
    /// First vector of the panel.
    first: usize,
    work: &'a Work<'a>,
}

impl<const P: usize, const V: usize> WithSimd for Panel<'_, P, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if P * V > S::SUMS {
            unreachable!("no tile is larger than the registers");
        }
        let (layer, work) = (&self.layer.tiling, self.work);
        let (y, per_row) = (&layer.y, layer.tiles_of_row());
        let channel = self.first * S::LANES;
        let taps = layer.taps();
        let weights = &self.layer.weights[channel * taps..][..V * S::LANES * taps];
        let bias: [S::V; V] =
            std::array::from_fn(|v| simd.load_slice(&self.layer.bias[channel + v * S::LANES..]));
        let (low, high) = (simd.splat(work.clamp.low), simd.splat(work.clamp.high));
        for tile in work.tiles.clone() {
            let (row, start) = (tile / per_row, tile % per_row * P);
            // The last tile of a row begins earlier rather than being narrower; what it has in
            // common with the one before is left to that.
            let (image, row, column) = (row / y.h, row % y.h, start.min(y.w - P));
            let known = start - column;
            let x = image * layer.x.image_len()
                + layer.first
                + row * layer.step[0]
                + column * layer.step[1];
            let last = x + layer.runs[layer.runs.len() - 1] + (P - 1) * layer.step[1];
            assert!(
                last + layer.run_len <= work.x.len(),
                "a tile reads within the images"
            );
            // SAFETY: runs ascend, so the assertion bounds them all; the weights were cut to size.
            let mut sums = unsafe {
                product::<S, P, V>(
                    simd,
                    work.x.as_ptr().add(x),
                    layer.step[1],
                    &layer.runs,
                    layer.run_len,
                    weights.as_ptr(),
                    bias,
                )
            };
            if let Some((added, shape)) = work.added {
                let from = &added[shape.at(image, row, column) + channel..];
                for (p, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let term = simd.load_slice(&from[p * shape.pitch + v * S::LANES..]);
                        *sum = simd.add(*sum, term);
                    }
                }
            }
            let to = y.at(image, row, column) + channel;
            for (p, sums) in sums.iter().enumerate() {
                if p < known {
                    continue;
                }
                for (v, &sum) in sums.iter().enumerate() {
                    let value = simd.min(high, simd.max(low, sum));
                    let room = (y.pitch - channel - v * S::LANES).min(S::LANES);
                    // SAFETY: `room` elements of this pixel are within the result, whose length was
                    // checked; no other piece writes these channels of these pixels.
                    let out = unsafe {
                        let start = work.out.at(to + p * y.pitch + v * S::LANES);
                        std::slice::from_raw_parts_mut(start, room)
                    };
                    simd.store_slice(out, value);
                }
            }
        }
    }
}

/// The sums of a tile.
///
/// # Safety
/// From `x` on, `run_len` floats can be read at each of `runs`, also `pixel`, …, `(P - 1) * pixel`
/// floats further on; from `w` on, `V` vectors for each float of each run.
#[inline(always)]
unsafe fn product<S: Simd, const P: usize, const V: usize>(
    simd: S,
    x: *const f32,
    pixel: usize,
    runs: &[usize],
    run_len: usize,
    mut w: *const f32,
    start: [S::V; V],
) -> [[S::V; V]; P] {
    let mut sums = [start; P];
    for &run in runs {
        // SAFETY: by the contract of this function.
        let x = unsafe { x.add(run) };
        for k in 0..run_len {
            // SAFETY: as above.
            let weights: [S::V; V] =
                std::array::from_fn(|v| unsafe { simd.load(w.add(v * S::LANES)) });
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let value = simd.splat(unsafe { *x.add(p * pixel + k) });
                for (sum, &w) in sums.iter_mut().zip(&weights) {
                    *sum = simd.mul_add(value, w, *sum);
                }
            }
            // SAFETY: as above; behind the last vector the pointer is not read.
            w = unsafe { w.add(V * S::LANES) };
        }
    }
    sums
}
