//! A call of a layer: pieces of it, each of which transforms its inputs, makes the 36 products of each panel
//! and turns them into outputs.

use std::ops::Range;

use super::WinogradLayer;
use super::transform::{self, IN, PRODUCTS};
use crate::last::tiling::Piece;
use crate::last::{Clamp, ImageShape, Tile};
use crate::parallel::{self, SharedMut};
use crate::simd::{Simd, WithSimd, dispatch};

/// Elements between what belongs to two of the 36 products are no multiple of a page, or they would all
/// fall on the same lines of a cache.
const GAP: usize = 16;

/// A call of a layer.
///
/// The images are as long as the layer's shapes say, and so is the result, of which no two calls of
/// [`Work::piece`] at the same time are given the same groups and panels.
pub(super) struct Work<'a> {
    pub(super) layer: &'a WinogradLayer,
    pub(super) x: &'a [f32],
    pub(super) added: Option<(&'a [f32], ImageShape)>,
    pub(super) clamp: Clamp,
    pub(super) out: SharedMut,
}

impl Work<'_> {
    /// The outputs of some groups of tiles and some panels of channels, and what is around some rows.
    pub(super) fn piece(&self, piece: Piece) {
        let (layer, groups) = (self.layer, piece.tiles);
        // SAFETY: the result is as long as its shape says, and these rows are this piece's.
        unsafe { layer.y.fill_halo_of(piece.halo_of, self.out, 0.0) };
        let Tile { pixels, vectors } = layer.tile;
        let end = layer.n_tiles().min(groups.end * pixels);
        // The last group begins earlier rather than being smaller, as does a tile; what it has in common
        // with the one before is left to that.
        let first = (groups.start * pixels).min(end - pixels);
        let block = Block {
            tiles: first..end,
            known: groups.start * pixels - first,
            input_step: (end - first) * layer.pitch() + GAP,
            product_step: (end - first) * vectors * layer.lanes + GAP,
        };
        let len = PRODUCTS * (block.input_step + block.product_step);
        parallel::with_scratch(len, |scratch| {
            let (inputs, products) = scratch.split_at_mut(PRODUCTS * block.input_step);
            dispatch(
                layer.level,
                Inputs {
                    work: self,
                    block: &block,
                    inputs,
                },
            );
            for panel in piece.panels {
                let first = panel * vectors;
                let panel = Panel {
                    work: self,
                    block: &block,
                    first,
                    vectors: vectors.min(layer.n_vectors() - first),
                };
                panel.products(inputs, products);
                dispatch(
                    layer.level,
                    Outputs {
                        panel: &panel,
                        products,
                    },
                );
            }
        });
    }
}

/// Tiles that are worked on together, and how what is made of them lies.
struct Block {
    tiles: Range<usize>,
    /// So many of the first tiles belong to the block before.
    known: usize,
    /// Elements between two of the 36 values of a tile of transformed inputs, `[36, tile, channel]`.
    input_step: usize,
    /// Elements between two of the 36 products, `[36, tile, channel of the panel]`.
    product_step: usize,
}

/// Transforms the inputs of a block.
struct Inputs<'a> {
    work: &'a Work<'a>,
    block: &'a Block,
    inputs: &'a mut [f32],
}

impl WithSimd for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (layer, x) = (self.work.layer, self.work.x);
        let (row, pitch, step) = (layer.x.row_len(), layer.x.pitch, self.block.input_step);
        for (t, number) in self.block.tiles.clone().enumerate() {
            let (image, [down, right], _) = layer.place(number);
            let from = image * layer.x.image_len() + layer.first + down * row + right * pitch;
            for c in (0..layer.x.c).step_by(S::LANES) {
                let (from, to) = (&x[from + c..], t * layer.pitch() + c);
                let last = (IN - 1) * (row + pitch);
                let to = &mut self.inputs[to..][..(PRODUCTS - 1) * step + S::LANES];
                let store = |product: usize, v| {
                    // SAFETY: `to` reaches `LANES` elements behind where the last product begins.
                    unsafe { simd.store(to.as_mut_ptr().add(product * step), v) }
                };
                if last + S::LANES <= from.len() {
                    let load = |i: usize, j: usize| {
                        // SAFETY: `i` and `j` are below `IN`, so this ends with or before what the
                        // comparison found to be within the images.
                        unsafe { simd.load(from.as_ptr().add(i * row + j * pitch)) }
                    };
                    transform::inputs(simd, load, store);
                } else {
                    // The last pixels of the batch may be narrower than a vector.
                    let load = |i: usize, j: usize| simd.load_slice(&from[i * row + j * pitch..]);
                    transform::inputs(simd, load, store);
                }
            }
        }
    }
}

/// Some vectors of output channels of a block.
struct Panel<'a> {
    work: &'a Work<'a>,
    block: &'a Block,
    first: usize,
    vectors: usize,
}

impl Panel<'_> {
    fn products(&self, inputs: &[f32], products: &mut [f32]) {
        match self.vectors {
            1 => self.products_of::<1>(inputs, products),
            2 => self.products_of::<2>(inputs, products),
            3 => self.products_of::<3>(inputs, products),
            4 => self.products_of::<4>(inputs, products),
            _ => unreachable!("checked when it was packed"),
        }
    }

    fn products_of<const V: usize>(&self, inputs: &[f32], products: &mut [f32]) {
        let (layer, panel) = (self.work.layer, self);
        macro_rules! widths {
            ($($p:literal)*) => {
                match layer.tile.pixels {
                    $($p => dispatch(layer.level, Products::<$p, V> { panel, inputs, products }),)*
                    _ => unreachable!("checked when it was packed"),
                }
            };
        }
        widths!(1 2 3 4 6 7 8 10 12 14 16);
    }
}

/// The 36 products of a panel, for `P` tiles by `V` vectors at a time.
struct Products<'a, const P: usize, const V: usize> {
    panel: &'a Panel<'a>,
    inputs: &'a [f32],
    products: &'a mut [f32],
}

impl<const P: usize, const V: usize> WithSimd for Products<'_, P, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if P * V > S::SUMS {
            unreachable!("no tile is larger than the registers");
        }
        let Panel {
            work, block, first, ..
        } = *self.panel;
        let (layer, tiles) = (work.layer, block.tiles.len());
        let (channels, pitch, width) = (layer.x.c, layer.pitch(), V * S::LANES);
        let panel = first * S::LANES * PRODUCTS * channels;
        let weights =
            layer.weights[panel..][..PRODUCTS * channels * width].chunks_exact(channels * width);
        for (number, weights) in weights.enumerate() {
            let inputs = &self.inputs[number * block.input_step..][..tiles * pitch];
            let products = &mut self.products[number * block.product_step..][..tiles * width];
            for t in (0..tiles).step_by(P) {
                let t = t.min(tiles - P);
                // SAFETY: `P` tiles from `t` on, each of `channels <= pitch` floats, are within the inputs,
                // which were cut to size, as were the weights.
                let sums = unsafe {
                    let x = inputs.as_ptr().add(t * pitch);
                    let ahead = if t == 0 { weights.len() } else { 0 };
                    product::<S, P, V>(simd, x, pitch, weights.as_ptr(), channels, ahead)
                };
                for (p, sums) in sums.iter().enumerate() {
                    for (v, &sum) in sums.iter().enumerate() {
                        // SAFETY: tile `t + p` has `V` vectors, within the products, cut to size.
                        unsafe {
                            let to = products.as_mut_ptr().add((t + p) * width + v * S::LANES);
                            simd.store(to, sum);
                        }
                    }
                }
            }
        }
    }
}

/// The sums over the channels of `P` tiles. Asks for the weights that lie `ahead` to be brought, for they
/// may have to come from memory; behind the last there may be nothing.
///
/// # Safety
/// From `x` on, `channels` floats can be read, also `pitch`, …, `(P - 1) * pitch` floats further on; from
/// `w` on, `V` vectors for each channel.
#[inline(always)]
unsafe fn product<S: Simd, const P: usize, const V: usize>(
    simd: S,
    x: *const f32,
    pitch: usize,
    w: *const f32,
    channels: usize,
    ahead: usize,
) -> [[S::V; V]; P] {
    let mut sums = [[simd.splat(0.0); V]; P];
    for c in 0..channels {
        // SAFETY: by the contract of this function.
        let w = unsafe { w.add(c * V * S::LANES) };
        let weights: [S::V; V] = std::array::from_fn(|v| {
            let w = w.wrapping_add(v * S::LANES);
            simd.prefetch_line(w.wrapping_add(ahead));
            // SAFETY: as above.
            unsafe { simd.load(w) }
        });
        for (p, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let value = simd.splat(unsafe { *x.add(p * pitch + c) });
            for (sum, &w) in sums.iter_mut().zip(&weights) {
                *sum = simd.mul_add(value, w, *sum);
            }
        }
    }
    sums
}

/// Turns the products of a panel into outputs.
struct Outputs<'a> {
    panel: &'a Panel<'a>,
    products: &'a [f32],
}

impl WithSimd for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Panel {
            work,
            block,
            first,
            vectors,
        } = *self.panel;
        let (layer, y) = (work.layer, &work.layer.y);
        let (low, high) = (simd.splat(work.clamp.low), simd.splat(work.clamp.high));
        for t in block.known..block.tiles.len() {
            let (image, [down, right], known) = layer.place(block.tiles.start + t);
            for v in 0..vectors {
                let channel = (first + v) * S::LANES;
                let from = (t * vectors + v) * S::LANES;
                let from = &self.products[from..][..(PRODUCTS - 1) * block.product_step + S::LANES];
                let tile = transform::outputs(simd, |product| {
                    // SAFETY: `from` reaches `LANES` elements behind where the last product begins.
                    unsafe { simd.load(from.as_ptr().add(product * block.product_step)) }
                });
                let bias = simd.load_slice(&layer.bias[channel..]);
                let room = (y.pitch - channel).min(S::LANES);
                for (i, row) in tile.iter().enumerate().skip(known[0]) {
                    for (j, &sum) in row.iter().enumerate().skip(known[1]) {
                        let mut sum = simd.add(sum, bias);
                        if let Some((added, shape)) = work.added {
                            let at = shape.at(image, down + i, right + j) + channel;
                            sum = simd.add(sum, simd.load_slice(&added[at..]));
                        }
                        let value = simd.min(high, simd.max(low, sum));
                        // SAFETY: `room` elements of this pixel are within the result, whose length was
                        // checked; no other tile has this pixel, no other piece these channels of it.
                        let out = unsafe {
                            let at = y.at(image, down + i, right + j) + channel;
                            std::slice::from_raw_parts_mut(work.out.at(at), room)
                        };
                        simd.store_slice(out, value);
                    }
                }
            }
        }
    }
}
