//! 3 by 3 convolutions in a fourth of the multiplications: the algorithm of Winograd, F(4 x 4, 3 x 3).
//!
//! A tile of 4 by 4 outputs needs 6 by 6 inputs. Both inputs and weights are transformed (see
//! [`transform`]), so that each of 36 values of a tile is a product of its own over the input channels:
//! 36 multiply-adds for each pair of channels in place of 144. Weights are transformed when a layer is
//! made, and take 36 / 9 of their memory. Some tiles at a time are transformed into a buffer that stays
//! in the level-2 cache; for each panel of output channels the 36 products are made, which are small
//! matrix products like those of [`ConvLayer`](super::ConvLayer), turned back into outputs, and given
//! bias, sum and clamp.
//!
//! Tiles lie on a grid that depends on the image alone; those that would leave it begin earlier, and
//! what they have in common with the one before is left to that. Sums are taken channel by channel. So
//! results do not depend on the tile of sums, on threads, or on other images of a batch, not by a bit.
//!
//! **Error.** Roundings are those of a tile, so an output of small inputs has errors as large as those of
//! large inputs beside it. [`WinogradLayer::ERROR`] states the bound that tests hold it to. In the mean (root
//! of the mean square, of rectified inputs as networks have them) an error is 3 times that of a plain sum:
//! 0.6 to 0.9 of [`f32::EPSILON`] as a share of the sum of the absolute values of the products, against a
//! fourth. An infinite input, or one that is not a number, makes all
//! outputs of its tiles not a number, which are up to 3 pixels further away than those that it is part of.

#[cfg(test)]
mod tests;
mod transform;

use std::ops::Range;

use super::conv::{pad, repack};
use super::tiling::{Pieces, added_shape, check_images, check_tile, limits};
use super::{Clamp, ImageShape, Tile};
use crate::aligned::Aligned;
use crate::conv::ConvShape;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Level, MAX_LANES, Simd, WithSimd, dispatch, vectorize};
use transform::{IN, OUT, PRODUCTS};

/// A convolution of 3 by 3 taps without steps, dilation or groups, ready to run on images of fixed
/// shapes.
#[derive(Clone, Debug)]
pub struct WinogradLayer {
    x: ImageShape,
    y: ImageShape,
    /// Where the first tap of output (0, 0) is in an image.
    first: usize,
    /// Tiles of 4 by 4 outputs of an image, down and right.
    grid: [usize; 2],
    tile: Tile,
    lanes: usize,
    level: Level,
    /// For each panel, each of 36 products and each input channel the vectors of output channels.
    weights: Aligned<f32>,
    bias: Aligned<f32>,
}

/// Elements between what belongs to two of the 36 products are no multiple of a page, or they would all
/// fall on the same lines of a cache.
const GAP: usize = 16;

impl WinogradLayer {
    /// Largest error of an output in units of what it could be at most: the sum over input channels of the
    /// largest absolute value among the 6 by 6 inputs of its tile times the sum of the absolute values
    /// of the 9 weights. Not proved; 2.7 [`f32::EPSILON`] is the largest that tests have found, those of
    /// many channels and of fused multiply-adds are smaller.
    pub const ERROR: f32 = 4.0 * f32::EPSILON;

    /// Whether a convolution can be computed in this way: 3 by 3 taps next to each other, without steps or
    /// groups, to at least 4 by 4 outputs.
    pub fn can(shape: &ConvShape) -> bool {
        let plain = (shape.kernel, shape.stride, shape.dilation) == ([3; 2], [1; 2], [1; 2]);
        plain && shape.groups == 1 && shape.out_h().min(shape.out_w()) >= OUT
    }

    /// Whether that is the faster way, told by shapes alone: not by how many images there are, so that an
    /// answer does not depend on the batch, and not by times, so that it is the same tomorrow.
    ///
    /// Rough cycles of one image in a network are compared, 32 multiply-adds each. A sixteenth of the
    /// channels of a tile takes 130 cycles to transform, going in or coming out: too much for the three
    /// channels of a picture. Weights come at 16 bytes a cycle from a cache, at 10 where they are more than
    /// 1 MB, and here they are four times as many: too much for images of few tiles, such as 7 by 7 pixels of
    /// 512 channels. Measured with AVX-512 on one core (Zen 5), the ratio is 2 for 16 channels of
    /// 32 by 32 pixels, 2.6 to 3.4 for 32 to 256 of 56 by 56 to 8 by 8, and 2 where 9 MB of weights come from
    /// memory.
    pub fn pays(shape: &ConvShape) -> bool {
        if !WinogradLayer::can(shape) {
            return false;
        }
        const BLOCK: usize = super::CHANNEL_BLOCK;
        let (height, width) = (shape.out_h(), shape.out_w());
        let tiles = (height.div_ceil(OUT) * width.div_ceil(OUT)) as f64;
        let pairs = (shape.c_in * shape.c_out.next_multiple_of(BLOCK)) as f64;
        let blocks = (shape.c_in.div_ceil(BLOCK) + shape.c_out.div_ceil(BLOCK)) as f64;
        let cycles = |products: f64, weights: f64| {
            let bytes = weights * pairs * size_of::<f32>() as f64;
            let pace = if bytes <= f64::from(1 << 20) {
                16.0
            } else {
                10.0
            };
            products * pairs / 32.0 + bytes / pace
        };
        let plain = cycles(9.0 * (height * width) as f64, 9.0);
        let products = PRODUCTS as f64;
        cycles(tiles * products, products) + 130.0 * tiles * blocks < plain
    }

    /// Transforms and packs `weights: [c_out, c_in, 3, 3]` and `bias: [c_out]` of a convolution of `shape`
    /// from images `x` to images `y`.
    ///
    /// # Panics
    /// If shapes do not fit each other, it cannot be computed in this way (see [`WinogradLayer::can`]),
    /// or the halo of `x` is narrower than the padding.
    pub fn new(
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        x: ImageShape,
        y: ImageShape,
        tile: Tile,
    ) -> WinogradLayer {
        WinogradLayer::new_at(simd::level(), shape, weights, bias, x, y, tile)
    }

    /// As [`WinogradLayer::new`], with the vectors of a level this CPU has.
    pub(super) fn new_at(
        level: Level,
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        x: ImageShape,
        y: ImageShape,
        tile: Tile,
    ) -> WinogradLayer {
        assert!(WinogradLayer::can(shape), "no tiles of 4 by 4 outputs");
        check_images(shape, &x, &y);
        assert_eq!(weights.len(), shape.w_len(), "weights of a convolution");
        assert!(
            bias.is_none_or(|b| b.len() == shape.c_out),
            "one bias for each channel"
        );
        let (lanes, sums) = limits(level);
        let [top, left, ..] = shape.padding;
        let grid = [y.h.div_ceil(OUT), y.w.div_ceil(OUT)];
        check_tile(tile, sums, y.n * grid[0] * grid[1]);
        WinogradLayer {
            x,
            y,
            first: (x.halo[0] - top) * x.row_len() + (x.halo[1] - left) * x.pitch,
            grid,
            tile,
            lanes,
            level,
            weights: pack(weights, [shape.c_out, shape.c_in], lanes, tile.vectors),
            bias: pad(bias, shape.c_out.next_multiple_of(lanes)),
        }
    }

    /// Tiles of sums worth trying for a convolution of `shape`, the likeliest first. Their pixels are tiles
    /// of 4 by 4 outputs.
    pub fn tiles(shape: &ConvShape) -> Vec<Tile> {
        WinogradLayer::tiles_at(simd::level(), shape)
    }

    pub(super) fn tiles_at(level: Level, shape: &ConvShape) -> Vec<Tile> {
        let of_image = shape.out_h().div_ceil(OUT) * shape.out_w().div_ceil(OUT);
        Tile::candidates_at(limits(level), shape.n * of_image, shape.c_out)
    }

    /// The same layer packed for another tile of sums. A result does not depend on it, not by a bit.
    ///
    /// # Panics
    /// If the tile has more sums than registers hold.
    pub fn with_tile(&self, tile: Tile) -> WinogradLayer {
        check_tile(tile, limits(self.level).1, self.n_tiles());
        let panels = [self.tile.vectors, tile.vectors];
        let taps = PRODUCTS * self.x.c;
        WinogradLayer {
            weights: repack(&self.weights, self.n_vectors(), taps, self.lanes, panels),
            bias: self.bias.clone(),
            tile,
            ..*self
        }
    }

    /// Tiles of sums worth trying, the likeliest first.
    pub fn candidates(&self) -> Vec<Tile> {
        Tile::candidates_at(limits(self.level), self.n_tiles(), self.y.c)
    }

    /// What its speed depends on.
    pub fn geometry(&self) -> String {
        let (x, y) = (&self.x, &self.y);
        let size = |s: &ImageShape| format!("{}x{}x{}x{}/{}", s.n, s.h, s.w, s.c, s.pitch);
        format!("winograd {} to {}", size(x), size(y))
    }

    /// The images it reads and those it makes.
    pub fn images(&self) -> (ImageShape, ImageShape) {
        (self.x, self.y)
    }

    /// The tile of sums it was packed for.
    pub fn tile(&self) -> Tile {
        self.tile
    }

    /// Multiply-adds of all products.
    pub fn macs(&self) -> u64 {
        (PRODUCTS * self.n_tiles() * self.x.c * self.y.c) as u64
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
        assert!(x.len() >= self.x.len(), "the images are too short");
        assert!(y.len() >= self.y.len(), "the result is too short");
        let added =
            added.map(|(data, shape)| (data, added_shape(data.len(), shape, &self.y, self.lanes)));
        self.y.clear_halo(&mut y[..self.y.len()]);
        if self.y.is_empty() {
            return;
        }
        let work = Work {
            layer: self,
            x: &x[..self.x.len()],
            added,
            clamp,
            out: SharedMut::new(y),
        };
        self.pieces()
            .each(|groups, panels| work.piece(groups, panels));
    }

    fn n_tiles(&self) -> usize {
        self.y.n * self.grid[0] * self.grid[1]
    }

    fn n_vectors(&self) -> usize {
        self.y.c.div_ceil(self.lanes)
    }

    /// Elements between two tiles of transformed inputs.
    fn pitch(&self) -> usize {
        self.x.c.next_multiple_of(self.lanes)
    }

    /// Groups are the tiles that a tile of sums takes together.
    fn pieces(&self) -> Pieces {
        /// Transformed inputs and products of a piece, in a level-2 cache that weights pass through.
        const CACHED_ELEMENTS: usize = 3 << 15;
        /// Weights that stay there as well.
        const CACHED_WEIGHTS: usize = 3 << 16;
        /// Tiles that share what is read of other weights. To read those again takes longer than to read
        /// transformed inputs that have left the cache.
        const SHARING: usize = 32;
        let Tile { pixels, vectors } = self.tile;
        let (groups, width) = (self.n_tiles().div_ceil(pixels), vectors * self.lanes);
        let panels = self.n_vectors().div_ceil(vectors);
        let of_group = PRODUCTS * pixels * (self.pitch() + width);
        let sharing = (SHARING / pixels).max(1);
        Pieces {
            tiles: groups,
            panels,
            most: (CACHED_ELEMENTS / of_group).max(sharing),
            least: match self.weights.len() <= CACHED_WEIGHTS {
                true => 1,
                false => sharing,
            },
            // Each piece transforms the inputs anew.
            repeats: parallel::threads(),
            // It takes a little less than half as long as plain sums, of which these are half.
            ops: 9 * OUT * OUT * groups * pixels * panels * width * self.x.c,
        }
    }

    /// Tile `number`: its image, its first output, and how many of its first rows and columns belong to
    /// the tiles before.
    fn place(&self, number: usize) -> (usize, [usize; 2], [usize; 2]) {
        let of_image = self.grid[0] * self.grid[1];
        let (image, at) = (number / of_image, number % of_image);
        let wanted = [at / self.grid[1] * OUT, at % self.grid[1] * OUT];
        let start = [wanted[0].min(self.y.h - OUT), wanted[1].min(self.y.w - OUT)];
        (image, start, [wanted[0] - start[0], wanted[1] - start[1]])
    }
}

/// Transformed weights in the order in which they are read: panel by panel, product by product, input
/// channel by input channel, vector by vector.
fn pack(weights: &[f32], [c_out, c_in]: [usize; 2], lanes: usize, panel: usize) -> Aligned<f32> {
    let vectors = c_out.div_ceil(lanes);
    let taps = PRODUCTS * c_in;
    let mut packed = Aligned::zeros(vectors * lanes * taps);
    let work = packed.len();
    parallel::for_each_chunk(&mut packed, panel * lanes * taps, work, |i, packed| {
        let first = i * panel * lanes;
        let width = packed.len() / taps;
        vectorize(
            #[inline(always)]
            || {
                for c in 0..c_in {
                    // As many filters at a time as the widest vector has lanes.
                    for column in (0..width).step_by(MAX_LANES) {
                        let mut w = [[0.0; MAX_LANES]; 9];
                        let filters = (first + column..c_out).take(MAX_LANES.min(width - column));
                        for (l, o) in filters.enumerate() {
                            let filter = &weights[(o * c_in + c) * 9..][..9];
                            for (w, &tap) in w.iter_mut().zip(filter) {
                                w[l] = f64::from(tap);
                            }
                        }
                        transform::weights(&w, |product, values| {
                            let to = &mut packed[(product * c_in + c) * width..][..width];
                            let room = (width - column).min(MAX_LANES);
                            to[column..][..room].copy_from_slice(&values[..room]);
                        });
                    }
                }
            },
        );
    });
    packed
}

/// A call of a layer.
struct Work<'a> {
    layer: &'a WinogradLayer,
    x: &'a [f32],
    added: Option<(&'a [f32], ImageShape)>,
    clamp: Clamp,
    out: SharedMut,
}

impl Work<'_> {
    /// The outputs of some groups of tiles and some panels of channels.
    fn piece(&self, groups: Range<usize>, panels: Range<usize>) {
        let layer = self.layer;
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
            for panel in panels {
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

/// The sums over the channels of `P` tiles. Asks for the weights that lie `ahead` to be brought.
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
