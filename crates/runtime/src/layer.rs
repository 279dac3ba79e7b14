//! Steps whose weights are known and packed: layers of networks that answer.
//!
//! Images are kept channels last between them (see [`bantam_kernels::last`]).

use bantam_core::op::elementwise::UnaryKind;
use bantam_kernels::PoolShape;
use bantam_kernels::last::{
    self, Added, ByteConvLayer, ByteDepthwiseLayer, Clamp, Cut, DepthwiseLayer, ImageShape,
    Pooling, Results, Scale, Tile, from_last, to_last,
};

use crate::chain::{Gelu, Norm};
use crate::convolution::Convolution;
use crate::kernel::function;

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Floats(&'a [f32]),
    Bytes(&'a [u8]),
}

impl<'a> Source<'a> {
    fn floats(self) -> &'a [f32] {
        match self {
            Source::Floats(x) => x,
            Source::Bytes(_) => unreachable!("a layer of floats reads floats"),
        }
    }

    fn bytes(self) -> &'a [u8] {
        match self {
            Source::Bytes(x) => x,
            Source::Floats(_) => unreachable!("a layer of bytes reads bytes"),
        }
    }
}

/// What a layer writes.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    Floats(&'a mut [f32]),
    Bytes(&'a mut [u8]),
}

impl<'a> Target<'a> {
    fn floats(self) -> &'a mut [f32] {
        match self {
            Target::Floats(y) => y,
            Target::Bytes(_) => unreachable!("a layer of floats writes floats"),
        }
    }

    fn bytes(self) -> &'a mut [u8] {
        match self {
            Target::Bytes(y) => y,
            Target::Floats(_) => unreachable!("a layer of bytes writes bytes"),
        }
    }

    /// The results of a layer that writes bytes of this scale, or numbers.
    fn results(self, to: Option<Scale>) -> Results<'a> {
        match (self, to) {
            (Target::Floats(y), None) => Results::Floats(y),
            (Target::Bytes(y), Some(scale)) => Results::Bytes(y, scale),
            _ => unreachable!("bytes have a scale and numbers have none"),
        }
    }
}

/// What a step computes on images that are channels last, or with packed weights.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// Channels last from channels first.
    ToLast(ImageShape),
    /// Channels first from channels last.
    FromLast(ImageShape),
    /// A convolution or a dense layer; the second input, if there is one, is added.
    Conv {
        layer: Box<Convolution>,
        added: Option<ImageShape>,
        clamp: Clamp,
    },
    /// A depthwise convolution.
    Depthwise {
        layer: Box<DepthwiseLayer>,
        clamp: Clamp,
    },
    /// A convolution or a dense layer on bytes. What is added is bytes where it has a scale.
    ByteConv {
        layer: Box<ByteConvLayer>,
        added: Option<(ImageShape, Option<Scale>)>,
        clamp: Clamp,
        to: Option<Scale>,
    },
    /// A depthwise convolution on bytes.
    ByteDepthwise {
        layer: Box<ByteDepthwiseLayer>,
        clamp: Clamp,
        to: Option<Scale>,
    },
    /// Bytes with channels last, from numbers with channels first or last (where `x` says how).
    ToBytes {
        x: Option<ImageShape>,
        y: ImageShape,
        scale: Scale,
    },
    /// Numbers with channels first or last (where `y` says how), from bytes with channels last.
    FromBytes {
        x: ImageShape,
        y: Option<ImageShape>,
        scale: Scale,
    },
    /// The largest bytes of windows.
    BytePool {
        window: PoolShape,
        x: ImageShape,
        y: ImageShape,
        zero_point: u8,
    },
    /// Pooling.
    Pool {
        pooling: Pooling,
        window: PoolShape,
        x: ImageShape,
        y: ImageShape,
    },
    /// The sum of two images.
    Add {
        a: ImageShape,
        b: ImageShape,
        y: ImageShape,
        clamp: Clamp,
    },
    /// A function of each value.
    Map {
        kind: UnaryKind,
        x: ImageShape,
        y: ImageShape,
    },
    /// Layer normalisation of rows, to so many values; the second input, if there is one, is added first.
    Norm(Box<Norm>, usize),
    /// The Gaussian error linear unit of so many values.
    Gelu(Gelu, usize),
    /// Some pixels, and zeros as further channels.
    Take(Cut),
}

impl Layer {
    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        let clamped = |clamp: &Clamp| {
            if *clamp == Clamp::NONE {
                ""
            } else {
                " + clamp"
            }
        };
        let tiled = |what: &str, t: Tile, plus: bool, clamp: &Clamp| {
            let plus = if plus { " + add" } else { "" };
            let tile = format!("{} x {} vectors", t.pixels, t.vectors);
            format!("{what}, tiles of {tile}{plus}{}", clamped(clamp))
        };
        match self {
            Layer::ToLast(_) => "to channels last".to_owned(),
            Layer::FromLast(_) => "to channels first".to_owned(),
            Layer::Conv {
                layer,
                added,
                clamp,
            } => tiled(layer.name(), layer.tile(), added.is_some(), clamp),
            Layer::ByteConv {
                layer,
                added,
                clamp,
                to,
            } => {
                let what = if to.is_some() { "int8" } else { "int8 to f32" };
                tiled(what, layer.tile(), added.is_some(), clamp)
            }
            Layer::ByteDepthwise { clamp, .. } => format!("int8 depthwise{}", clamped(clamp)),
            Layer::ToBytes { .. } => "quantize".to_owned(),
            Layer::FromBytes { .. } => "dequantize".to_owned(),
            Layer::BytePool { .. } => "int8 pool".to_owned(),
            Layer::Depthwise { clamp, .. } => format!("depthwise{}", clamped(clamp)),
            Layer::Pool { .. } => "pool".to_owned(),
            Layer::Add { clamp, .. } => format!("add{}", clamped(clamp)),
            Layer::Map { .. } => "map".to_owned(),
            Layer::Norm(..) => "layer norm".to_owned(),
            Layer::Gelu(..) => "GELU".to_owned(),
            Layer::Take(_) => "take".to_owned(),
        }
    }

    /// Bytes of the packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Layer::Conv { layer, .. } => layer.size_bytes(),
            Layer::Depthwise { layer, .. } => layer.size_bytes(),
            Layer::Norm(norm, _) => norm.weight_bytes(),
            Layer::ByteConv { layer, .. } => layer.size_bytes(),
            Layer::ByteDepthwise { layer, .. } => layer.size_bytes(),
            _ => 0,
        }
    }

    /// Runs it. Slices are at least as long as the shapes say.
    pub(crate) fn run(&self, x: Source, second: Option<Source>, y: Target) {
        match self {
            Layer::ToLast(shape) => to_last(x.floats(), shape, y.floats()),
            Layer::FromLast(shape) => from_last(x.floats(), shape, y.floats()),
            Layer::Conv {
                layer,
                added,
                clamp,
            } => {
                let added = second.map(Source::floats).zip(*added);
                layer.run(x.floats(), added, *clamp, y.floats());
            }
            Layer::Depthwise { layer, clamp } => layer.run(x.floats(), *clamp, y.floats()),
            Layer::ByteConv {
                layer,
                added,
                clamp,
                to,
            } => {
                let added = second
                    .zip(*added)
                    .map(|(data, (shape, scale))| match scale {
                        Some(scale) => Added::Bytes(data.bytes(), shape, scale),
                        None => Added::Floats(data.floats(), shape),
                    });
                layer.run(x.bytes(), added, *clamp, y.results(*to));
            }
            Layer::ByteDepthwise { layer, clamp, to } => {
                layer.run(x.bytes(), *clamp, y.results(*to));
            }
            Layer::ToBytes {
                x: from,
                y: to,
                scale,
            } => match from {
                Some(from) => last::quantize((x.floats(), from), *scale, (y.bytes(), to)),
                None => last::bytes_to_last(x.floats(), *scale, to, y.bytes()),
            },
            Layer::FromBytes {
                x: from,
                y: to,
                scale,
            } => match to {
                Some(to) => last::dequantize((x.bytes(), from), *scale, (y.floats(), to)),
                None => last::bytes_from_last(x.bytes(), *scale, from, y.floats()),
            },
            Layer::BytePool {
                window,
                x: xs,
                y: ys,
                zero_point,
            } => last::max_pool_bytes(window, (x.bytes(), xs), *zero_point, (y.bytes(), ys)),
            Layer::Pool {
                pooling,
                window,
                x: xs,
                y: ys,
            } => last::pool(*pooling, window, (x.floats(), xs), (y.floats(), ys)),
            Layer::Add { a, b, y: ys, clamp } => {
                let second = second.expect("two images are added").floats();
                last::add((x.floats(), a), (second, b), *clamp, (y.floats(), ys));
            }
            Layer::Map { kind, x: xs, y: ys } => {
                let (x, y) = (x.floats(), y.floats());
                ys.clear_halo(&mut y[..ys.len()]);
                for n in 0..ys.n {
                    for row in 0..ys.h {
                        let len = ys.w * ys.pitch;
                        let x = &x[xs.at(n, row, 0)..][..len];
                        function(*kind, x, &mut y[ys.at(n, row, 0)..][..len]);
                    }
                }
            }
            Layer::Norm(norm, len) => {
                let second = second.map(Source::floats);
                norm.run(x.floats(), second, &mut y.floats()[..*len]);
            }
            Layer::Gelu(gelu, len) => gelu.run(x.floats(), &mut y.floats()[..*len]),
            Layer::Take(cut) => cut.run(x.floats(), y.floats()),
        }
    }
}
