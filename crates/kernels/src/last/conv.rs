//! Convolutions and dense layers: broadcast inputs by packed weights.
//!
//! A tile of `pixels` neighbouring outputs of a row by `vectors` vectors of output channels is held
//! in registers. For each tap and each input channel, the vectors of weights are loaded once and
//! multiplied by that channel of each pixel. A dense layer is a 1 by 1 convolution over a row that
//! is the batch.

use std::ops::Range;

use super::{Clamp, ImageShape};
use crate::aligned::Aligned;
use crate::conv::ConvShape;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Level, Simd, WithSimd, dispatch};

/// The tile of outputs that is held in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Neighbouring pixels of a row.
    pub pixels: usize,
    /// Vectors of output channels.
    pub vectors: usize,
}

/// Most pixels of a tile.
const MOST_PIXELS: usize = 16;
/// Most vectors of a tile.
const MOST_VECTORS: usize = 4;

impl Tile {
    /// Tiles worth trying for rows of `width` outputs with `c_out` channels, the likeliest first.
    pub fn candidates(width: usize, c_out: usize) -> Vec<Tile> {
        let (lanes, sums) = limits(simd::level());
        let vectors_needed = c_out.div_ceil(lanes).max(1);
        let mut tiles: Vec<Tile> = (1..=MOST_VECTORS.min(vectors_needed))
            .filter_map(|vectors| {
                let most = (sums / vectors).min(MOST_PIXELS).min(width.max(1));
                // Of the tiles that cover a row with the least waste, the largest.
                let waste = |p: usize| width.div_ceil(p) * p - width;
                let pixels = (most.div_ceil(2)..=most).rev().min_by_key(|&p| waste(p))?;
                Some(Tile { pixels, vectors })
            })
            .collect();
        // More sums hide the latency of an addition better and load less for each product.
        let loads = |t: &Tile| {
            let covered = width.div_ceil(t.pixels) * t.pixels * vectors_needed;
            let (p, v) = (t.pixels as f64, t.vectors as f64);
            let products = p * v;
            let cost = (products / 2.0).max((p + v) / 2.0).max(4.0) / products;
            cost * covered as f64
        };
        tiles.sort_by(|a, b| loads(a).total_cmp(&loads(b)));
        tiles
    }
}

fn limits(at: Level) -> (usize, usize) {
    struct Ask;
    impl WithSimd for Ask {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> (usize, usize) {
            (S::LANES, S::SUMS)
        }
    }
    dispatch(at, Ask)
}

/// A convolution without groups, ready to run on images of fixed shapes.
#[derive(Clone, Debug)]
pub struct ConvLayer {
    x: ImageShape,
    y: ImageShape,
    /// As the caller sees it, before rows were joined.
    x_len: usize,
    y_shape: ImageShape,
    tile: Tile,
    level: Level,
    lanes: usize,
    /// Elements between the first taps of two neighbouring outputs of a row, and of two rows.
    step: [usize; 2],
    /// Where the first tap of output (0, 0) is in an image.
    first: usize,
    /// Where runs of taps begin, from the first tap.
    runs: Vec<usize>,
    run_len: usize,
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
        let at = simd::level();
        let (lanes, sums) = limits(at);
        check(shape, weights, bias, &x, &y);
        check_tile(tile, sums);
        let ([kh, kw], [down, right]) = (shape.kernel, shape.dilation);
        let joined = right == 1 && x.pitch == shape.c_in;
        let taps = |kw| (0..kh).flat_map(move |i| (0..kw).map(move |j| (i, j)));
        let (per_row, run_len) = match joined {
            true => (1, kw * shape.c_in),
            false => (kw, shape.c_in),
        };
        let runs = taps(per_row)
            .map(|(i, j)| i * down * x.row_len() + j * right * x.pitch)
            .collect();
        let plain = shape.kernel == [1; 2] && shape.stride == [1; 2];
        let (flat_x, flat_y) = match (plain, x.flat(), y.flat()) {
            (true, Some(x), Some(y)) => (x, y),
            _ => (x, y),
        };
        let [top, left, ..] = shape.padding;
        ConvLayer {
            x: flat_x,
            y: flat_y,
            x_len: x.len(),
            y_shape: y,
            tile,
            level: at,
            lanes,
            step: [shape.stride[0] * x.row_len(), shape.stride[1] * x.pitch],
            first: (x.halo[0] - top) * x.row_len() + (x.halo[1] - left) * x.pitch,
            runs,
            run_len,
            weights: pack(shape, weights, lanes, tile.vectors),
            bias: pad(bias, shape.c_out.next_multiple_of(lanes)),
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
        let shape = ConvShape {
            n: 1,
            c_in: inputs,
            h: 1,
            w: n,
            c_out: outputs,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: 1,
        };
        let (x, y) = (row(inputs, pitch), row(outputs, outputs));
        ConvLayer::new(&shape, weights, bias, x, y, tile)
    }

    /// The same layer packed for another tile. A result does not depend on the tile, not by a bit.
    ///
    /// # Panics
    /// If the tile has more sums than registers hold.
    pub fn with_tile(&self, tile: Tile) -> ConvLayer {
        check_tile(tile, limits(self.level).1);
        let (taps, vectors) = (self.taps(), self.n_vectors());
        let mut weights = Aligned::zeros(self.weights.len());
        for vector in 0..vectors {
            let place = |panel: usize| {
                let first = vector / panel * panel;
                let width = panel.min(vectors - first) * self.lanes;
                (
                    first * self.lanes * taps + (vector - first) * self.lanes,
                    width,
                )
            };
            let ((from, step), (to, width)) = (place(self.tile.vectors), place(tile.vectors));
            for tap in 0..taps {
                let row = &self.weights[from + tap * step..][..self.lanes];
                weights[to + tap * width..][..self.lanes].copy_from_slice(row);
            }
        }
        ConvLayer {
            tile,
            weights,
            ..self.clone()
        }
    }

    /// Tiles worth trying, the likeliest first.
    pub fn candidates(&self) -> Vec<Tile> {
        Tile::candidates(self.y.w, self.y.c)
    }

    /// What its speed depends on: sizes, steps and number of taps.
    pub fn geometry(&self) -> String {
        let (x, y) = (&self.x, &self.y);
        let size = |s: &ImageShape| format!("{}x{}x{}x{}/{}", s.n, s.h, s.w, s.c, s.pitch);
        let [down, right] = self.step;
        let (runs, len) = (self.runs.len(), self.run_len);
        format!(
            "conv {} to {} by {down},{right} taps {runs}x{len}",
            size(x),
            size(y)
        )
    }

    /// The images it reads and those it makes.
    pub fn images(&self) -> (ImageShape, ImageShape) {
        (self.x, self.y)
    }

    /// The tile it was packed for.
    pub fn tile(&self) -> Tile {
        self.tile
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
        assert!(
            x.len() >= self.x_len,
            "the images to convolve are too short"
        );
        assert!(y.len() >= self.y_shape.len(), "the result is too short");
        let added = added.map(|(data, shape)| {
            assert!(data.len() >= shape.len(), "what is added is too short");
            let same = |s: &ImageShape| (s.n, s.h, s.w, s.c);
            assert_eq!(
                same(&shape),
                same(&self.y_shape),
                "what is added has another shape"
            );
            assert!(
                shape.pitch.is_multiple_of(self.lanes),
                "whole vectors are added"
            );
            let flat = self.y.h != self.y_shape.h || self.y.n != self.y_shape.n;
            match shape.flat() {
                Some(joined) if flat => (data, joined),
                _ => {
                    assert!(!flat, "what is added to joined rows has none between them");
                    (data, shape)
                }
            }
        });
        self.y_shape.clear_halo(&mut y[..self.y_shape.len()]);
        if self.y.is_empty() {
            return;
        }
        let (tiles, panels) = (self.n_tiles(), self.n_panels());
        let ops =
            2 * tiles * self.tile.pixels * self.taps() * panels * self.tile.vectors * self.lanes;
        let (tiles_each, panels_each) = self.piece(tiles, panels, ops);
        let panel_pieces = panels.div_ceil(panels_each);
        let out = SharedMut::new(y);
        parallel::for_each(tiles.div_ceil(tiles_each) * panel_pieces, ops, |i| {
            let (tile, panel) = (
                i / panel_pieces * tiles_each,
                i % panel_pieces * panels_each,
            );
            let work = Work {
                tiles: tile..tiles.min(tile + tiles_each),
                panels: panel..panels.min(panel + panels_each),
                x,
                added,
                clamp,
                out,
            };
            self.pieces(&work);
        });
    }

    fn taps(&self) -> usize {
        self.runs.len() * self.run_len
    }

    fn tiles_of_row(&self) -> usize {
        self.y.w.div_ceil(self.tile.pixels)
    }

    fn n_tiles(&self) -> usize {
        self.y.n * self.y.h * self.tiles_of_row()
    }

    fn n_vectors(&self) -> usize {
        self.bias.len() / self.lanes
    }

    fn n_panels(&self) -> usize {
        self.n_vectors().div_ceil(self.tile.vectors)
    }

    /// Tiles and panels of a piece of work: inputs that stay in the level-2 cache while all panels
    /// pass over them, and enough pieces for threads.
    fn piece(&self, tiles: usize, panels: usize, ops: usize) -> (usize, usize) {
        const CACHED_FLOATS: usize = 1 << 16;
        const PIECE_OPS: usize = 1 << 23;
        const PIECES: usize = 8;
        let of_tile = self.x_len.div_ceil(tiles).max(1);
        let most = (CACHED_FLOATS / of_tile).max(1);
        let wanted = (ops / PIECE_OPS).clamp(1, PIECES);
        let by_tiles = tiles.div_ceil(tiles.div_ceil(most).max(wanted.min(tiles)));
        let pieces = tiles.div_ceil(by_tiles);
        let by_panels = panels.div_ceil(wanted.div_ceil(pieces).min(panels));
        (by_tiles, by_panels)
    }

    fn pieces(&self, work: &Work) {
        for panel in work.panels.clone() {
            let first = panel * self.tile.vectors;
            let vectors = self.tile.vectors.min(self.n_vectors() - first);
            match vectors {
                1 => self.panel::<1>(first, work),
                2 => self.panel::<2>(first, work),
                3 => self.panel::<3>(first, work),
                4 => self.panel::<4>(first, work),
                _ => unreachable!("checked when it was packed"),
            }
        }
    }

    fn panel<const V: usize>(&self, first: usize, work: &Work) {
        macro_rules! widths {
            ($($p:literal)*) => {
                match self.tile.pixels.min(self.y.w) {
                    $($p => dispatch(self.level, Panel::<$p, V> { layer: self, first, work }),)*
                    _ => unreachable!("checked when it was packed"),
                }
            };
        }
        widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    }
}

fn check(shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>, x: &ImageShape, y: &ImageShape) {
    assert_eq!(shape.groups, 1, "a convolution in groups is another kernel");
    assert_eq!(
        (x.n, x.h, x.w, x.c),
        (shape.n, shape.h, shape.w, shape.c_in)
    );
    let out = (shape.n, shape.out_h(), shape.out_w(), shape.c_out);
    assert_eq!((y.n, y.h, y.w, y.c), out);
    assert!(x.pitch >= x.c && y.pitch >= y.c, "pixels overlap");
    assert_eq!(weights.len(), shape.w_len(), "weights of a convolution");
    assert!(
        bias.is_none_or(|b| b.len() == shape.c_out),
        "one bias for each channel"
    );
    let pad = shape.padding;
    for axis in 0..2 {
        let reach = pad[axis].max(pad[axis + 2]);
        assert!(
            x.halo[axis] >= reach,
            "the halo is narrower than the padding"
        );
    }
}

fn check_tile(tile: Tile, sums: usize) {
    let Tile { pixels, vectors } = tile;
    let fits = (1..=MOST_PIXELS).contains(&pixels) && (1..=MOST_VECTORS).contains(&vectors);
    assert!(
        fits && pixels * vectors <= sums,
        "no tile of sums is as large as {tile:?}"
    );
}

/// Weights in the order in which they are read: panel by panel, tap by tap, vector by vector.
fn pack(shape: &ConvShape, weights: &[f32], lanes: usize, panel: usize) -> Aligned<f32> {
    let (taps, area) = (shape.taps(), shape.kernel[0] * shape.kernel[1]);
    let vectors = shape.c_out.div_ceil(lanes);
    let mut packed = Aligned::zeros(vectors * lanes * taps);
    let mut to = 0;
    for first in (0..vectors).step_by(panel) {
        let here = panel.min(vectors - first);
        for tap in 0..area {
            for c in 0..shape.c_in {
                for o in first * lanes..(first + here) * lanes {
                    if o < shape.c_out {
                        packed[to] = weights[(o * shape.c_in + c) * area + tap];
                    }
                    to += 1;
                }
            }
        }
    }
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
    panels: Range<usize>,
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
        let (layer, work) = (self.layer, self.work);
        let (y, per_row) = (&layer.y, layer.tiles_of_row());
        let channel = self.first * S::LANES;
        let weights = &layer.weights[channel * layer.taps()..][..V * S::LANES * layer.taps()];
        let bias: [S::V; V] =
            std::array::from_fn(|v| simd.load_slice(&layer.bias[channel + v * S::LANES..]));
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
