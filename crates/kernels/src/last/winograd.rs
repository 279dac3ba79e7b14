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
mod work;

use super::conv::{pad, repack};
use super::tiling::{Pieces, added_shape, check_images, check_tile, limits};
use super::{Clamp, ImageShape, Tile};
use crate::aligned::Aligned;
use crate::conv::ConvShape;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Level, MAX_LANES, vectorize};
use transform::{OUT, PRODUCTS};
use work::Work;

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
    /// Rough cycles of one image in a network are compared, 32 multiply-adds each. Sixteen channels of a tile
    /// take 130 cycles to transform, going in or coming out: too many for the three channels of a picture. Weights come at 16 bytes a cycle from a cache, at 10 where they are more than
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
        shape.check_bias(bias);
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
        self.pieces().each(|piece| work.piece(piece));
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
            rows: self.y.n * self.y.h,
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
