//! How a convolution is cut into tiles of sums that fit into registers, panels of weights that are
//! read together, and pieces of work.

use std::ops::Range;

use super::ImageShape;
use crate::conv::ConvShape;
use crate::parallel;
use crate::simd::{self, Level, Simd, WithSimd, dispatch};

/// The tile of outputs that is held in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Neighbouring pixels of a row.
    pub pixels: usize,
    /// Vectors of output channels.
    pub vectors: usize,
}

/// Numbers of pixels for which there are kernels; other widths take the next one below.
pub(super) const PIXELS: [usize; 11] = [1, 2, 3, 4, 6, 7, 8, 10, 12, 14, 16];
/// Most vectors of a tile.
pub(super) const MOST_VECTORS: usize = 4;

impl Tile {
    /// Tiles worth trying for rows of `width` outputs with `c_out` channels, the likeliest first.
    pub fn candidates(width: usize, c_out: usize) -> Vec<Tile> {
        Tile::candidates_at(limits(simd::level()), width, c_out)
    }

    /// As [`Tile::candidates`], for vectors of so many lanes and registers for so many sums.
    pub(super) fn candidates_at(
        (lanes, sums): (usize, usize),
        width: usize,
        c_out: usize,
    ) -> Vec<Tile> {
        let vectors_needed = c_out.div_ceil(lanes).max(1);
        let possible = (1..=MOST_VECTORS.min(vectors_needed)).filter_map(|vectors| {
            let most = (sums / vectors).min(width.max(1));
            // Of the tiles that cover a row with the least waste, the largest.
            let waste = |p: usize| width.div_ceil(p) * p - width;
            let fits = PIXELS
                .into_iter()
                .filter(|&p| p <= most && 2 * p >= most.min(16));
            let pixels = fits.rev().min_by_key(|&p| waste(p))?;
            Some(Tile { pixels, vectors })
        });
        // More sums hide the latency of an addition better and load less for each product.
        let loads = |t: &Tile| {
            let covered = width.div_ceil(t.pixels) * t.pixels * vectors_needed;
            let (p, v) = (t.pixels as f64, t.vectors as f64);
            let products = p * v;
            let cost = (products / 2.0).max((p + v) / 2.0).max(4.0) / products;
            cost * covered as f64
        };
        let mut tiles: Vec<Tile> = Vec::new();
        for tile in possible {
            let place = tiles.partition_point(|t| loads(t) <= loads(&tile));
            tiles.insert(place, tile);
        }
        tiles
    }
}

pub(super) fn limits(at: Level) -> (usize, usize) {
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

/// A convolution without groups from images to images, without its numbers.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    /// Where nothing lies between rows and each pixel is a product of its own, one row of all pixels.
    pub(super) x: ImageShape,
    pub(super) y: ImageShape,
    /// As the caller sees it.
    pub(super) x_len: usize,
    pub(super) y_shape: ImageShape,
    pub(super) tile: Tile,
    pub(super) lanes: usize,
    /// Elements between the first taps of two neighbouring rows of outputs, and of two in a row.
    pub(super) step: [usize; 2],
    /// Where the first tap of output (0, 0) is in an image.
    pub(super) first: usize,
    /// Where runs of taps begin, from the first tap.
    pub(super) runs: Vec<usize>,
    pub(super) run_len: usize,
    n_vectors: usize,
}

impl Tiling {
    /// # Panics
    /// If shapes do not fit each other, there are groups, or the halo of `x` is narrower than the
    /// padding.
    pub(super) fn new(
        shape: &ConvShape,
        x: ImageShape,
        y: ImageShape,
        tile: Tile,
        (lanes, sums): (usize, usize),
    ) -> Tiling {
        check_images(shape, &x, &y);
        let ([kh, kw], [down, right]) = (shape.kernel, shape.dilation);
        let joined = right == 1 && x.pitch == shape.c_in;
        let (per_row, run_len) = match joined {
            true => (1, kw * shape.c_in),
            false => (kw, shape.c_in),
        };
        let taps = (0..kh).flat_map(|i| (0..per_row).map(move |j| (i, j)));
        let runs = taps.map(|(i, j)| i * down * x.row_len() + j * right * x.pitch);
        let plain = shape.kernel == [1; 2] && shape.stride == [1; 2];
        let (flat_x, flat_y) = match (plain, x.flat(), y.flat()) {
            (true, Some(x), Some(y)) => (x, y),
            _ => (x, y),
        };
        let [top, left, ..] = shape.padding;
        check_tile(tile, sums, flat_y.w);
        Tiling {
            x: flat_x,
            y: flat_y,
            x_len: x.len(),
            y_shape: y,
            tile,
            lanes,
            step: [shape.stride[0] * x.row_len(), shape.stride[1] * x.pitch],
            first: (x.halo[0] - top) * x.row_len() + (x.halo[1] - left) * x.pitch,
            runs: runs.collect(),
            run_len,
            n_vectors: shape.c_out.div_ceil(lanes),
        }
    }

    /// Fills runs of taps up to whole groups of `n`.
    pub(super) fn group_taps(&mut self, n: usize) {
        self.run_len = self.run_len.next_multiple_of(n);
    }

    /// What the speed depends on: sizes, steps and number of taps.
    pub(super) fn geometry(&self) -> String {
        let (x, y) = (&self.x, &self.y);
        let size = |s: &ImageShape| format!("{}x{}x{}x{}/{}", s.n, s.h, s.w, s.c, s.pitch);
        let [down, right] = self.step;
        let (runs, len) = (self.runs.len(), self.run_len);
        format!(
            "{} to {} by {down},{right} taps {runs}x{len}",
            size(x),
            size(y)
        )
    }

    /// What is added to the result, seen as the result is seen here.
    pub(super) fn added(&self, len: usize, shape: ImageShape) -> ImageShape {
        let shape = added_shape(len, shape, &self.y_shape, self.lanes);
        match shape.flat() {
            _ if !self.is_flat() => shape,
            Some(joined) => joined,
            None => panic!("what is added to joined rows has nothing between them"),
        }
    }

    /// Whether the rows of all images are one.
    fn is_flat(&self) -> bool {
        (self.y.n, self.y.h) != (self.y_shape.n, self.y_shape.h)
    }

    pub(super) fn taps(&self) -> usize {
        self.runs.len() * self.run_len
    }

    pub(super) fn tiles_of_row(&self) -> usize {
        self.y.w.div_ceil(self.tile.pixels)
    }

    pub(super) fn n_vectors(&self) -> usize {
        self.n_vectors
    }

    fn n_tiles(&self) -> usize {
        self.y.n * self.y.h * self.tiles_of_row()
    }

    fn n_panels(&self) -> usize {
        self.n_vectors.div_ceil(self.tile.vectors)
    }

    /// First vector and number of vectors of a panel.
    pub(super) fn panel(&self, panel: usize) -> (usize, usize) {
        let first = panel * self.tile.vectors;
        (first, self.tile.vectors.min(self.n_vectors - first))
    }

    /// Calls `f` with each piece of work.
    pub(super) fn pieces(&self, f: impl Fn(Piece) + Send + Sync) {
        /// Inputs that stay in the level-2 cache while all panels pass over them.
        const CACHED_ELEMENTS: usize = 1 << 16;
        let (tiles, panels) = (self.n_tiles(), self.n_panels());
        let sums = self.tile.pixels * self.tile.vectors * self.lanes;
        let of_tile = self.x_len.div_ceil(tiles.max(1)).max(1);
        let pieces = Pieces {
            tiles,
            panels,
            rows: self.y_shape.n * self.y_shape.h,
            most: (CACHED_ELEMENTS / of_tile).max(1),
            least: 1,
            repeats: panels,
            ops: 2 * tiles * panels * sums * self.taps(),
        };
        pieces.each(f);
    }
}

/// A piece of work.
pub(super) struct Piece {
    pub(super) tiles: Range<usize>,
    pub(super) panels: Range<usize>,
    /// Rows of the batch whose halo is this piece's to fill.
    pub(super) halo_of: Range<usize>,
}

/// Work on some tiles and some panels of weights, to be cut into pieces.
pub(super) struct Pieces {
    pub(super) tiles: usize,
    pub(super) panels: usize,
    /// Rows of the batch that is made.
    pub(super) rows: usize,
    /// Most tiles of a piece: those that stay in cache while all panels pass over them.
    pub(super) most: usize,
    /// Tiles that are kept together whatever threads there are.
    pub(super) least: usize,
    /// Most pieces that the same tiles are in.
    pub(super) repeats: usize,
    /// Elementary operations of all of it.
    pub(super) ops: usize,
}

impl Pieces {
    /// Calls `f` with each piece.
    pub(super) fn each(&self, f: impl Fn(Piece) + Send + Sync) {
        let Pieces {
            tiles,
            panels,
            rows,
            ..
        } = *self;
        if tiles == 0 || panels == 0 {
            return;
        }
        let [by_tiles, by_panels] = self.cuts();
        let pieces = by_tiles * by_panels;
        parallel::for_each(pieces, self.ops, |i| {
            f(Piece {
                tiles: parallel::piece(tiles, by_tiles, i / by_panels),
                panels: parallel::piece(panels, by_panels, i % by_panels),
                halo_of: parallel::piece(rows, pieces, i),
            });
        });
    }

    /// Into how many pieces tiles and panels are cut: as few as may be, but enough for threads.
    fn cuts(&self) -> [usize; 2] {
        const PIECE_OPS: usize = 3 << 17;
        const PIECES: usize = 8;
        let wanted = match parallel::threads() {
            1 => 1,
            _ => (self.ops / PIECE_OPS).clamp(1, PIECES),
        };
        let for_threads = wanted.min(self.tiles / self.least);
        let by_tiles = self.tiles.div_ceil(self.most).max(for_threads);
        let by_panels = wanted.div_ceil(by_tiles).min(self.panels);
        [by_tiles, by_panels.min(self.repeats)]
    }
}

/// How what is added to the result `y` lies.
pub(super) fn added_shape(
    len: usize,
    shape: ImageShape,
    y: &ImageShape,
    lanes: usize,
) -> ImageShape {
    assert!(len >= shape.len(), "what is added is too short");
    let same = |s: &ImageShape| (s.n, s.h, s.w, s.c);
    assert_eq!(same(&shape), same(y), "what is added has another shape");
    assert!(shape.pitch.is_multiple_of(lanes), "whole vectors are added");
    shape
}

/// That a convolution has no groups, and images its sizes.
///
/// # Panics
/// If not, or if the halo of `x` is narrower than the padding.
pub(super) fn check_images(shape: &ConvShape, x: &ImageShape, y: &ImageShape) {
    assert_eq!(shape.groups, 1, "a convolution in groups is another kernel");
    assert_eq!(
        (x.n, x.h, x.w, x.c),
        (shape.n, shape.h, shape.w, shape.c_in)
    );
    let out = (shape.n, shape.out_h(), shape.out_w(), shape.c_out);
    assert_eq!((y.n, y.h, y.w, y.c), out);
    assert!(x.pitch >= x.c && y.pitch >= y.c, "pixels overlap");
    let pad = shape.padding;
    for axis in 0..2 {
        let reach = pad[axis].max(pad[axis + 2]);
        assert!(
            x.halo[axis] >= reach,
            "the halo is narrower than the padding"
        );
    }
}

pub(super) fn check_tile(tile: Tile, sums: usize, width: usize) {
    let Tile { pixels, vectors } = tile;
    let fits =
        PIXELS.contains(&pixels) && pixels <= width.max(1) && (1..=MOST_VECTORS).contains(&vectors);
    assert!(
        fits && pixels * vectors <= sums,
        "no tile of sums is as large as {tile:?}"
    );
}

/// A dense layer as a convolution.
pub(super) fn dense_shape(n: usize, inputs: usize, outputs: usize) -> ConvShape {
    ConvShape {
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
    }
}
