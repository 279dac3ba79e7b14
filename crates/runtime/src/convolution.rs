//! Convolutions and dense layers of floats: by plain sums, or by a fast algorithm.
//!
//! The algorithm is chosen by shapes alone, never by measured times, for another one has other last
//! bits. Within an algorithm there are tiles, which are chosen by their times and change none (see
//! [`crate::Plan::tune`]).

use bantam_kernels::ConvShape;
use bantam_kernels::last::{Clamp, ConvLayer, ImageShape, Tile, WinogradLayer};

/// A layer of floats without groups.
#[derive(Clone, Debug)]
pub(crate) enum Convolution {
    Direct(ConvLayer),
    Winograd(WinogradLayer),
}

impl Convolution {
    /// A convolution of `shape` from images `x` to images `y`, with `weights: [c_out, c_in, kh, kw]`.
    pub(crate) fn new(
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        x: ImageShape,
        y: ImageShape,
    ) -> Convolution {
        if WinogradLayer::pays(shape) {
            let tile = WinogradLayer::tiles(shape)[0];
            return Convolution::Winograd(WinogradLayer::new(shape, weights, bias, x, y, tile));
        }
        let tile = Tile::candidates(y.w, y.c)[0];
        Convolution::Direct(ConvLayer::new(shape, weights, bias, x, y, tile))
    }

    /// A dense layer, `sizes` being rows, inputs and outputs, with `weights: [outputs, inputs]`.
    pub(crate) fn dense(
        sizes: [usize; 3],
        weights: &[f32],
        bias: Option<&[f32]>,
        pitch: usize,
    ) -> Convolution {
        let tile = Tile::candidates(sizes[0], sizes[2])[0];
        Convolution::Direct(ConvLayer::dense(sizes, weights, bias, pitch, tile))
    }

    /// The algorithm, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Convolution::Direct(_) => "packed",
            Convolution::Winograd(_) => "winograd",
        }
    }

    /// Multiply-adds of its products, if they are fewer than those of the operator.
    pub(crate) fn fewer_macs(&self) -> Option<u64> {
        match self {
            Convolution::Direct(_) => None,
            Convolution::Winograd(layer) => Some(layer.macs()),
        }
    }

    pub(crate) fn tile(&self) -> Tile {
        match self {
            Convolution::Direct(layer) => layer.tile(),
            Convolution::Winograd(layer) => layer.tile(),
        }
    }

    /// The same for another tile; results are the same, bit for bit.
    pub(crate) fn with_tile(&self, tile: Tile) -> Convolution {
        match self {
            Convolution::Direct(layer) => Convolution::Direct(layer.with_tile(tile)),
            Convolution::Winograd(layer) => Convolution::Winograd(layer.with_tile(tile)),
        }
    }

    /// Tiles worth trying, the likeliest first.
    pub(crate) fn candidates(&self) -> Vec<Tile> {
        match self {
            Convolution::Direct(layer) => layer.candidates(),
            Convolution::Winograd(layer) => layer.candidates(),
        }
    }

    /// What its speed depends on.
    pub(crate) fn geometry(&self) -> String {
        match self {
            Convolution::Direct(layer) => layer.geometry(),
            Convolution::Winograd(layer) => layer.geometry(),
        }
    }

    /// The images it reads and those it makes.
    pub(crate) fn images(&self) -> (ImageShape, ImageShape) {
        match self {
            Convolution::Direct(layer) => layer.images(),
            Convolution::Winograd(layer) => layer.images(),
        }
    }

    /// Bytes of the packed weights.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Convolution::Direct(layer) => layer.size_bytes(),
            Convolution::Winograd(layer) => layer.size_bytes(),
        }
    }

    /// `y = clamp(convolution of x + bias + added)`.
    pub(crate) fn run(
        &self,
        x: &[f32],
        added: Option<(&[f32], ImageShape)>,
        clamp: Clamp,
        y: &mut [f32],
    ) {
        match self {
            Convolution::Direct(layer) => layer.run(x, added, clamp, y),
            Convolution::Winograd(layer) => layer.run(x, added, clamp, y),
        }
    }
}
