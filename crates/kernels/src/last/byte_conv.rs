//! Convolutions and dense layers on bytes: `u8` inputs by `s8` weights, summed in 32 bits, exactly up to
//! [`ByteConvLayer::MOST_TAPS`] products.
//!
//! Inputs stand for `(x - zero_point) * scale`, weights for `w * scale` with a scale for each output
//! channel (Jacob et al. 2018, equations 3 to 7; per channel as in Krishnamoorthi 2018, section 3).
//! The tiles are those of [`ConvLayer`](super::ConvLayer), with four channels in the place of one.

use std::ops::Range;

use super::conv::repack;
use super::tiling::{Tiling, check_tile, dense_shape};
use super::{Clamp, ImageShape, Tile};
use crate::aligned::Aligned;
use crate::bytes::{ByteLevel, Bytes, WithBytes, byte_level, dispatch_bytes};
use crate::conv::ConvShape;
use crate::parallel::{self, SharedMut};

/// What bytes stand for: byte `q` is the number `(q - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Distance between two neighbouring numbers.
    pub scale: f32,
    /// The byte that is zero.
    pub zero_point: u8,
}

/// What is added to a layer of bytes before the clamp.
#[derive(Clone, Copy, Debug)]
pub enum Added<'a> {
    /// Numbers.
    Floats(&'a [f32], ImageShape),
    /// Bytes and what they stand for.
    Bytes(&'a [u8], ImageShape, Scale),
}

/// Where a layer of bytes writes.
#[derive(Debug)]
pub enum Results<'a> {
    /// Numbers.
    Floats(&'a mut [f32]),
    /// Bytes, and what they are to stand for; what is beyond them becomes the nearest.
    Bytes(&'a mut [u8], Scale),
}

/// A convolution of bytes without groups, ready to run on images of fixed shapes.
#[derive(Clone, Debug)]
pub struct ByteConvLayer {
    tiling: Tiling,
    level: ByteLevel,
    /// For each vector of channels, runs of four taps by lanes; vectors of a panel side by side.
    weights: Aligned<i8>,
    /// For each output channel: what a sum is multiplied by to be a number, and what is added then.
    factor: Aligned<f32>,
    offset: Aligned<f32>,
    x: Scale,
}

impl ByteConvLayer {
    /// Packs `weights: [c_out, c_in, kh, kw]` with their `scales: [c_out]`, and `bias: [c_out]`, of a
    /// convolution of `shape` from images `x`, whose bytes stand for what `scale` says, to images `y`.
    /// The halo of `x` holds its zero point.
    ///
    /// # Panics
    /// If shapes do not fit each other, there are groups, the halo of `x` is narrower than the
    /// padding, or a sum has more products than [`ByteConvLayer::MOST_TAPS`].
    pub fn new(
        shape: &ConvShape,
        (weights, scales): (&[i8], &[f32]),
        bias: Option<&[f32]>,
        (x, scale): (ImageShape, Scale),
        y: ImageShape,
        tile: Tile,
    ) -> ByteConvLayer {
        ByteConvLayer::new_at(
            byte_level(),
            shape,
            (weights, scales),
            bias,
            (x, scale),
            y,
            tile,
        )
    }

    /// As [`ByteConvLayer::new`], with the vectors of a level this CPU has.
    pub(super) fn new_at(
        level: ByteLevel,
        shape: &ConvShape,
        (weights, scales): (&[i8], &[f32]),
        bias: Option<&[f32]>,
        (x, scale): (ImageShape, Scale),
        y: ImageShape,
        tile: Tile,
    ) -> ByteConvLayer {
        let limits = byte_limits(level);
        assert_eq!(weights.len(), shape.w_len(), "weights of a convolution");
        assert_eq!(scales.len(), shape.c_out, "one scale for each channel");
        assert!(shape.taps() <= Self::MOST_TAPS, "a sum holds its products");
        shape.check_bias(bias);
        let mut tiling = Tiling::new(shape, x, y, tile, limits);
        tiling.group_taps(4);
        let padded = shape.c_out.next_multiple_of(limits.0);
        let (mut factor, mut offset) = (Aligned::zeros(padded), Aligned::zeros(padded));
        let taps = shape.taps();
        for (o, row) in weights.chunks_exact(taps.max(1)).enumerate() {
            factor[o] = scale.scale * scales[o];
            let sum: i64 = row.iter().map(|&w| i64::from(w)).sum();
            let zero = f64::from(scale.zero_point) * sum as f64 * f64::from(factor[o]);
            offset[o] = (bias.map_or(0.0, |b| f64::from(b[o])) - zero) as f32;
        }
        ByteConvLayer {
            weights: pack(shape, weights, &tiling, tile.vectors),
            tiling,
            level,
            factor,
            offset,
            x: scale,
        }
    }

    /// A dense layer: `weights: [outputs, inputs]` on rows of `pitch` bytes, to rows of `outputs`.
    pub fn dense(
        [n, inputs, outputs]: [usize; 3],
        weights: (&[i8], &[f32]),
        bias: Option<&[f32]>,
        (pitch, scale): (usize, Scale),
        y_pitch: usize,
        tile: Tile,
    ) -> ByteConvLayer {
        let row = |c, pitch| ImageShape {
            n: 1,
            h: 1,
            w: n,
            c,
            pitch,
            halo: [0; 2],
        };
        let shape = dense_shape(n, inputs, outputs);
        let (x, y) = (row(inputs, pitch), row(outputs, y_pitch));
        ByteConvLayer::new(&shape, weights, bias, (x, scale), y, tile)
    }

    /// Products that a sum of 32 bits holds, whatever the bytes are.
    pub const MOST_TAPS: usize = (i32::MAX / (255 * 128)) as usize;

    /// Bytes that must follow the last image, for taps are read in fours.
    pub const SLACK: usize = 4;

    /// The same layer packed for another tile. A result does not depend on the tile, not by a bit.
    ///
    /// # Panics
    /// If the tile has more sums than registers hold.
    pub fn with_tile(&self, tile: Tile) -> ByteConvLayer {
        check_tile(tile, byte_limits(self.level).1, self.tiling.y.w);
        let tiling = &self.tiling;
        let weights = repack(
            &self.weights,
            tiling.n_vectors(),
            tiling.taps() / 4,
            4 * tiling.lanes,
            [tiling.tile.vectors, tile.vectors],
        );
        let mut layer = ByteConvLayer {
            weights,
            ..self.clone()
        };
        layer.tiling.tile = tile;
        layer
    }

    /// Tiles worth trying, the likeliest first.
    pub fn candidates(&self) -> Vec<Tile> {
        Tile::candidates_at(byte_limits(self.level), self.tiling.y.w, self.tiling.y.c)
    }

    /// What its speed depends on: sizes, steps and number of taps.
    pub fn geometry(&self) -> String {
        format!("byte conv {}", self.tiling.geometry())
    }

    /// The images it reads and those it makes.
    pub fn images(&self) -> (ImageShape, ImageShape) {
        (self.tiling.x, self.tiling.y)
    }

    /// The tile it was packed for.
    pub fn tile(&self) -> Tile {
        self.tiling.tile
    }

    /// What the bytes it reads stand for.
    pub fn scale(&self) -> Scale {
        self.x
    }

    /// Bytes of the packed weights.
    pub fn size_bytes(&self) -> usize {
        self.weights.len() + (self.factor.len() + self.offset.len()) * size_of::<f32>()
    }

    /// `y = clamp(convolution of x + bias + added)`; the halo of `y` becomes its zero.
    ///
    /// Sums are exact; the number they stand for is rounded to `f32`, and a byte is the nearest to it,
    /// halves to even.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says; `x` has [`SLACK`](Self::SLACK) bytes more.
    pub fn run(&self, x: &[u8], added: Option<Added>, clamp: Clamp, y: Results) {
        let tiling = &self.tiling;
        assert!(
            x.len() >= tiling.x_len + Self::SLACK,
            "the images to convolve are too short"
        );
        let added = added.map(|added| match added {
            Added::Floats(data, shape) => Added::Floats(data, tiling.added(data.len(), shape)),
            Added::Bytes(data, shape, scale) => {
                Added::Bytes(data, tiling.added(data.len(), shape), scale)
            }
        });
        let output = Output::new(y, &tiling.y_shape, clamp);
        if tiling.y.is_empty() {
            return;
        }
        tiling.pieces(|piece| {
            // SAFETY: these rows are this piece's.
            unsafe { output.fill_halo_of(piece.halo_of, &tiling.y_shape) };
            let work = Work {
                tiles: piece.tiles,
                x,
                added,
                output: &output,
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
                    $($p => dispatch_bytes(
                        self.level,
                        Panel::<$p, V> { layer: self, first, work },
                    ),)*
                    _ => unreachable!("checked when it was packed"),
                }
            };
        }
        widths!(1 2 3 4 6 7 8 10 12 14 16);
    }
}

pub(super) fn byte_limits(at: ByteLevel) -> (usize, usize) {
    struct Ask;
    impl WithBytes for Ask {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<B: Bytes>(self, _: B) -> (usize, usize) {
            (B::LANES, B::SUMS)
        }
    }
    dispatch_bytes(at, Ask)
}

/// Weights in the order in which they are read: panel by panel, run by run, four taps of each lane of
/// each vector. Runs are filled up with zeros.
fn pack(shape: &ConvShape, weights: &[i8], tiling: &Tiling, panel: usize) -> Aligned<i8> {
    let (area, lanes) = (shape.kernel[0] * shape.kernel[1], tiling.lanes);
    let vectors = tiling.n_vectors();
    let mut packed = Aligned::zeros(vectors * lanes * tiling.taps());
    let per_run = shape.taps() / tiling.runs.len();
    let (work, of_panel) = (packed.len(), panel * lanes * tiling.taps());
    parallel::for_each_chunk(&mut packed, of_panel, work, |i, packed| {
        let outputs = i * panel * lanes..((i + 1) * panel).min(vectors) * lanes;
        let mut to = packed.iter_mut();
        for run in 0..tiling.runs.len() {
            for four in (0..tiling.run_len).step_by(4) {
                for o in outputs.clone() {
                    for (t, to) in (four..four + 4).zip(&mut to) {
                        if o < shape.c_out && t < per_run {
                            // Taps of a run are pixels, and channels in them.
                            let tap = run * per_run + t;
                            let (cell, c) = (tap / shape.c_in, tap % shape.c_in);
                            *to = weights[(o * shape.c_in + c) * area + cell];
                        }
                    }
                }
            }
        }
    });
    packed
}

#[derive(Clone, Copy)]
enum Out {
    Floats(SharedMut<f32>),
    Bytes(SharedMut<u8>),
}

/// Where results go, and the bounds they keep.
pub(super) struct Output {
    out: Out,
    to: Option<Scale>,
    clamp: Clamp,
}

impl Output {
    /// # Panics
    /// If the result is shorter than its shape says.
    pub(super) fn new(y: Results, shape: &ImageShape, clamp: Clamp) -> Output {
        let len = shape.len();
        let (out, to) = match y {
            Results::Floats(y) => {
                assert!(y.len() >= len, "the result is too short");
                (Out::Floats(SharedMut::new(y)), None)
            }
            Results::Bytes(y, scale) => {
                assert!(y.len() >= len, "the result is too short");
                (Out::Bytes(SharedMut::new(y)), Some(scale))
            }
        };
        Output { out, to, clamp }
    }

    /// Fills what is around some rows of the batch.
    ///
    /// # Safety
    /// The result was made with this shape, and nobody else fills what is around these rows.
    pub(super) unsafe fn fill_halo_of(&self, rows: Range<usize>, shape: &ImageShape) {
        let zero = self.to.map_or(0, |to| to.zero_point);
        match self.out {
            // SAFETY: the length was checked; the rest is the caller's to see to.
            Out::Floats(y) => unsafe { shape.fill_halo_of(rows, y, 0.0) },
            // SAFETY: as above.
            Out::Bytes(y) => unsafe { shape.fill_halo_of(rows, y, zero) },
        }
    }

    #[inline(always)]
    pub(super) fn units<B: Bytes>(&self, simd: B) -> Units<B> {
        let unit = self.to.map_or(1.0, |to| 1.0 / to.scale);
        let zero = self.to.map_or(0.0, |to| f32::from(to.zero_point));
        let bound = |x: f32| match self.to {
            Some(_) => (x * unit).clamp(-zero, 255.0 - zero),
            None => x,
        };
        Units {
            unit: simd.splat(unit),
            low: simd.splat(bound(self.clamp.low)),
            high: simd.splat(bound(self.clamp.high)),
        }
    }

    /// Writes the first `room` lanes of `value`.
    ///
    /// # Safety
    /// The result has room for them at `at`, and nobody else writes there meanwhile.
    #[inline(always)]
    pub(super) unsafe fn put<B: Bytes>(&self, simd: B, at: usize, room: usize, value: B::V) {
        let zero = || simd.splat_integer(self.to.map_or(0, |to| i32::from(to.zero_point)));
        match self.out {
            Out::Floats(out) => {
                // SAFETY: by the contract of this function.
                let to = unsafe { std::slice::from_raw_parts_mut(out.at(at), room) };
                simd.store_slice(to, value);
            }
            Out::Bytes(out) if room == B::LANES => {
                // SAFETY: by the contract of this function.
                unsafe { simd.store_bytes(out.at(at), value, zero()) };
            }
            Out::Bytes(out) => {
                let mut lanes = [0u8; crate::simd::MAX_LANES];
                // SAFETY: `lanes` has room for all lanes.
                unsafe { simd.store_bytes(lanes.as_mut_ptr(), value, zero()) };
                // SAFETY: by the contract of this function.
                let to = unsafe { std::slice::from_raw_parts_mut(out.at(at), room) };
                to.copy_from_slice(&lanes[..room]);
            }
        }
    }
}

/// From numbers to the units of what is written.
#[derive(Clone, Copy)]
pub(super) struct Units<B: Bytes> {
    /// Units in one.
    pub(super) unit: B::V,
    low: B::V,
    high: B::V,
}

impl<B: Bytes> Units<B> {
    /// A number in units, within bounds. What is rounded is this: the zero point is added after, or
    /// halves would go to the other neighbour where it is odd.
    #[inline(always)]
    pub(super) fn finish(&self, simd: B, value: B::V) -> B::V {
        let value = simd.mul_add(value, self.unit, simd.splat(0.0));
        simd.min(self.high, simd.max(self.low, value))
    }
}

/// A piece of a layer.
struct Work<'a> {
    tiles: Range<usize>,
    x: &'a [u8],
    added: Option<Added<'a>>,
    output: &'a Output,
}

/// Some tiles of one panel, `P` pixels by `V` vectors each.
struct Panel<'a, const P: usize, const V: usize> {
    layer: &'a ByteConvLayer,
    /// First vector of the panel.
    first: usize,
    work: &'a Work<'a>,
}

impl<const P: usize, const V: usize> WithBytes for Panel<'_, P, V> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, simd: B) {
        if P * V > B::SUMS {
            unreachable!("no tile is larger than the registers");
        }
        let (layer, work) = (&self.layer.tiling, self.work);
        let (y, per_row) = (&layer.y, layer.tiles_of_row());
        let channel = self.first * B::LANES;
        let weights = &self.layer.weights[channel * layer.taps()..][..V * B::LANES * layer.taps()];
        let column_of = |values: &[f32]| -> [B::V; V] {
            std::array::from_fn(|v| simd.load_slice(&values[channel + v * B::LANES..]))
        };
        let (factor, offset) = (column_of(&self.layer.factor), column_of(&self.layer.offset));
        let units = work.output.units(simd);
        for tile in work.tiles.clone() {
            let (row, start) = (tile / per_row, tile % per_row * P);
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
            let sums = unsafe {
                product::<B, P, V>(
                    simd,
                    work.x.as_ptr().add(x),
                    layer.step[1],
                    &layer.runs,
                    layer.run_len,
                    weights.as_ptr(),
                )
            };
            let to = y.at(image, row, column) + channel;
            for (p, sums) in sums.iter().enumerate().skip(known) {
                for (v, &sum) in sums.iter().enumerate() {
                    let mut value = simd.mul_add(simd.to_floats(sum), factor[v], offset[v]);
                    match work.added {
                        None => {}
                        Some(Added::Floats(added, shape)) => {
                            let at = shape.at(image, row, column + p) + channel + v * B::LANES;
                            let term = simd.load_slice(&added[at..]);
                            value = simd.add(value, term);
                        }
                        Some(Added::Bytes(added, shape, scale)) => {
                            let at = shape.at(image, row, column + p) + channel + v * B::LANES;
                            let added = &added[at..][..B::LANES];
                            let factor = scale.scale;
                            // SAFETY: the slice has as many bytes as there are lanes.
                            let term = simd.to_floats(unsafe { simd.load_bytes(added.as_ptr()) });
                            let zero = simd.splat(-f32::from(scale.zero_point) * factor);
                            let term = simd.mul_add(term, simd.splat(factor), zero);
                            value = simd.add(value, term);
                        }
                    }
                    let value = units.finish(simd, value);
                    let room = (y.pitch - channel - v * B::LANES).min(B::LANES);
                    let at = to + p * y.pitch + v * B::LANES;
                    // SAFETY: `room` elements of this pixel are within the result, whose length was
                    // checked; no other piece writes these channels of these pixels.
                    unsafe { work.output.put(simd, at, room, value) };
                }
            }
        }
    }
}

/// The sums of a tile.
///
/// # Safety
/// From `x` on, `run_len` bytes, a multiple of 4, can be read at each of `runs`, also `pixel`, …,
/// `(P - 1) * pixel` bytes further on; from `w` on, `V` vectors for each four bytes of each run.
#[inline(always)]
unsafe fn product<B: Bytes, const P: usize, const V: usize>(
    simd: B,
    x: *const u8,
    pixel: usize,
    runs: &[usize],
    run_len: usize,
    mut w: *const i8,
) -> [[B::I; V]; P] {
    let mut sums = [[simd.zero(); V]; P];
    for &run in runs {
        // SAFETY: by the contract of this function.
        let x = unsafe { x.add(run) };
        for k in (0..run_len).step_by(4) {
            // SAFETY: as above.
            let weights: [B::W; V] =
                std::array::from_fn(|v| unsafe { simd.load_weights(w.add(v * 4 * B::LANES)) });
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above; any alignment will do.
                let four = unsafe { x.add(p * pixel + k).cast::<u32>().read_unaligned() };
                for (sum, &w) in sums.iter_mut().zip(&weights) {
                    *sum = simd.dot(*sum, four, w);
                }
            }
            // SAFETY: as above; behind the last vector the pointer is not read.
            w = unsafe { w.add(V * 4 * B::LANES) };
        }
    }
    sums
}
