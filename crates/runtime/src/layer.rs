//! Steps whose weights are known and packed: layers of networks that answer.
//!
//! Images are kept channels last between them (see [`bantam_kernels::last`]).

use bantam_core::op::elementwise::UnaryKind;
use bantam_kernels::PoolShape;
use bantam_kernels::last::{
    self, Clamp, ConvLayer, DepthwiseLayer, ImageShape, Pooling, from_last, to_last,
};

use crate::chain::{Gelu, Norm};
use crate::kernel::function;

/// What a step computes on images that are channels last, or with packed weights.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// Channels last from channels first.
    ToLast(ImageShape),
    /// Channels first from channels last.
    FromLast(ImageShape),
    /// A convolution or a dense layer; the second input, if there is one, is added.
    Conv {
        layer: Box<ConvLayer>,
        added: Option<ImageShape>,
        clamp: Clamp,
    },
    /// A depthwise convolution.
    Depthwise {
        layer: Box<DepthwiseLayer>,
        clamp: Clamp,
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
    Take {
        x: ImageShape,
        y: ImageShape,
        start: [usize; 2],
        step: [usize; 2],
        before: usize,
    },
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
        match self {
            Layer::ToLast(_) => "to channels last".to_owned(),
            Layer::FromLast(_) => "to channels first".to_owned(),
            Layer::Conv {
                layer,
                added,
                clamp,
            } => {
                let t = layer.tile();
                let plus = if added.is_some() { " + add" } else { "" };
                let tile = format!("{} x {} vectors", t.pixels, t.vectors);
                format!("packed, tiles of {tile}{plus}{}", clamped(clamp))
            }
            Layer::Depthwise { clamp, .. } => format!("depthwise{}", clamped(clamp)),
            Layer::Pool { .. } => "pool".to_owned(),
            Layer::Add { clamp, .. } => format!("add{}", clamped(clamp)),
            Layer::Map { .. } => "map".to_owned(),
            Layer::Norm(..) => "layer norm".to_owned(),
            Layer::Gelu(..) => "GELU".to_owned(),
            Layer::Take { .. } => "take".to_owned(),
        }
    }

    /// Bytes of the packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Layer::Conv { layer, .. } => layer.size_bytes(),
            Layer::Depthwise { layer, .. } => layer.size_bytes(),
            Layer::Norm(norm, _) => norm.weight_bytes(),
            _ => 0,
        }
    }

    /// Runs it. Slices are at least as long as the shapes say.
    pub(crate) fn run(&self, x: &[f32], second: Option<&[f32]>, y: &mut [f32]) {
        match self {
            Layer::ToLast(shape) => to_last(x, shape, y),
            Layer::FromLast(shape) => from_last(x, shape, y),
            Layer::Conv {
                layer,
                added,
                clamp,
            } => {
                let added = second.zip(*added);
                layer.run(x, added, *clamp, y);
            }
            Layer::Depthwise { layer, clamp } => layer.run(x, *clamp, y),
            Layer::Pool {
                pooling,
                window,
                x: xs,
                y: ys,
            } => {
                last::pool(*pooling, window, (x, xs), (y, ys));
            }
            Layer::Add { a, b, y: ys, clamp } => {
                let second = second.expect("two images are added");
                last::add((x, a), (second, b), *clamp, (y, ys));
            }
            Layer::Map { kind, x: xs, y: ys } => {
                ys.clear_halo(&mut y[..ys.len()]);
                for n in 0..ys.n {
                    for row in 0..ys.h {
                        let len = ys.w * ys.pitch;
                        let x = &x[xs.at(n, row, 0)..][..len];
                        function(*kind, x, &mut y[ys.at(n, row, 0)..][..len]);
                    }
                }
            }
            Layer::Norm(norm, len) => norm.run(x, second, &mut y[..*len]),
            Layer::Gelu(gelu, len) => gelu.run(x, &mut y[..*len]),
            Layer::Take {
                x: xs,
                y: ys,
                start,
                step,
                before,
            } => {
                last::take((x, xs), *start, *step, *before, (y, ys));
            }
        }
    }
}
