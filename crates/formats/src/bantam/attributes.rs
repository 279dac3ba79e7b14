//! Attributes of the operators that networks of other programs bring, field by field.
//!
//! A list for each type says its fields, and the code of each variant, once for writing and reading.
//! The codes and the order of the fields are the format: what is there stays for ever.

use bantam_core::DType;
use bantam_core::op::conv::Depth;
use bantam_core::op::index::Combine;
use bantam_core::op::late::{Padding, Sliding};
use bantam_core::op::layout::Fill;
use bantam_core::op::recurrent::{Activation, Cell, Direction};
use bantam_core::op::resample::{Coordinates, Filter, Outside, Resize, Round};
use bantam_core::op::window::WindowKind;
use bantam_core::op::{
    Cast, Conv, ConvRole, Cumulative, Find, Index, Late, Logic, Quantize, QuantizeRole, Recurrent,
    ReduceKind, Resample, Window,
};

use super::graph::{dtype_code, read_dtype};
use super::text::{Sink, Source};
use crate::{Error, Result};

/// Most entries of a list.
const MAX_ENTRIES: usize = 64;

/// A value with a form in the header.
pub(super) trait Attribute: Sized {
    fn put(&self, sink: &mut Sink) -> Result<()>;
    fn get(source: &mut Source<'_>) -> Result<Self>;
}

impl Attribute for i64 {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.signed(*self);
        Ok(())
    }

    fn get(source: &mut Source<'_>) -> Result<i64> {
        source.signed()
    }
}

impl Attribute for usize {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.size(*self)
    }

    fn get(source: &mut Source<'_>) -> Result<usize> {
        source.size()
    }
}

impl Attribute for u32 {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.size(*self as usize)
    }

    fn get(source: &mut Source<'_>) -> Result<u32> {
        Ok(u32::try_from(source.size()?).expect("a size fits into 31 bits"))
    }
}

impl Attribute for bool {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.byte(u8::from(*self));
        Ok(())
    }

    fn get(source: &mut Source<'_>) -> Result<bool> {
        source.flag()
    }
}

impl Attribute for f32 {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.float(*self)
    }

    fn get(source: &mut Source<'_>) -> Result<f32> {
        source.float()
    }
}

impl Attribute for DType {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.byte(dtype_code(*self));
        Ok(())
    }

    fn get(source: &mut Source<'_>) -> Result<DType> {
        read_dtype(source.byte()?)
    }
}

impl<T: Attribute> Attribute for Option<T> {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        sink.byte(u8::from(self.is_some()));
        self.as_ref().map_or(Ok(()), |value| value.put(sink))
    }

    fn get(source: &mut Source<'_>) -> Result<Option<T>> {
        match source.flag()? {
            true => T::get(source).map(Some),
            false => Ok(None),
        }
    }
}

impl<T: Attribute> Attribute for Vec<T> {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        if self.len() > MAX_ENTRIES {
            let (n, most) = (self.len() as u64, MAX_ENTRIES as u64);
            return Err(Error::too_large("entries of an attribute", n, most));
        }
        sink.size(self.len())?;
        self.iter().try_for_each(|value| value.put(sink))
    }

    fn get(source: &mut Source<'_>) -> Result<Vec<T>> {
        let n = source.count("entries of an attribute", MAX_ENTRIES)?;
        (0..n).map(|_| T::get(source)).collect()
    }
}

impl<T: Attribute + Copy + Default, const N: usize> Attribute for [T; N] {
    fn put(&self, sink: &mut Sink) -> Result<()> {
        self.iter().try_for_each(|value| value.put(sink))
    }

    fn get(source: &mut Source<'_>) -> Result<[T; N]> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = T::get(source)?;
        }
        Ok(values)
    }
}

/// A structure: its fields in order.
macro_rules! fields {
    ($($t:ident { $($field:ident),* })*) => {$(
        impl Attribute for $t {
            fn put(&self, sink: &mut Sink) -> Result<()> {
                $(self.$field.put(sink)?;)*
                Ok(())
            }

            fn get(source: &mut Source<'_>) -> Result<$t> {
                Ok($t { $($field: Attribute::get(source)?),* })
            }
        }
    )*};
}

/// A choice: the code of each variant, then its fields in order.
macro_rules! variants {
    ($($t:ident {
        $($code:literal $variant:ident $({ $($field:ident),* })? $(($inner:ident))?),* $(,)?
    })*) => {$(
        impl Attribute for $t {
            fn put(&self, sink: &mut Sink) -> Result<()> {
                match self {$(
                    $t::$variant $({ $($field),* })? $(($inner))? => {
                        sink.byte($code);
                        $($($field.put(sink)?;)*)?
                        $($inner.put(sink)?;)?
                    }
                )*}
                Ok(())
            }

            fn get(source: &mut Source<'_>) -> Result<$t> {
                Ok(match source.byte()? {
                    $($code => $t::$variant
                        $({ $($field: Attribute::get(source)?),* })?
                        $(({ let $inner = Attribute::get(source)?; $inner }))?,)*
                    other => {
                        let what = concat!("unknown ", stringify!($t));
                        return Err(Error::corrupt(format!("{what} {other}")));
                    }
                })
            }
        }
    )*};
}

fields! {
    Cast { to }
    Cumulative { product, axis, exclusive, reverse }
    Quantize { role, axis }
    Recurrent { cell, direction, activations, clip, input_forget, units }
    Window { kind, kernel, stride, padding, dilation, ceil }
    Sliding { kernel, stride, dilation, padding }
    Resize { filter, coordinates, antialias, exclude_outside, outside, sizes, scales, roi }
    Conv { role, stride, padding, dilation, groups, depth }
    Depth { stride, padding, dilation, extra }
}

variants! {
    QuantizeRole { 0 Quantize, 1 Dequantize }
    ConvRole { 0 Forward, 1 GradInput, 2 GradWeight, 3 Transposed { extra } }
    Logic {
        0 Equal, 1 Less, 2 LessOrEqual, 3 Greater, 4 GreaterOrEqual, 5 And, 6 Or, 7 Xor, 8 Not,
        9 BitwiseAnd, 10 BitwiseOr, 11 BitwiseXor, 12 BitwiseNot, 13 ShiftLeft, 14 ShiftRight,
        15 IsNaN, 16 IsInf { positive, negative },
    }
    Combine { 0 Replace, 1 Add, 2 Mul, 3 Max, 4 Min }
    Index {
        0 Elements { axis },
        1 Tuples { batch },
        2 PutElements { axis, combine },
        3 PutTuples { combine },
        4 Top { k, axis, largest },
    }
    Cell { 0 Plain, 1 Lstm, 2 Gru { linear_before_reset } }
    Direction { 0 Forward, 1 Reverse, 2 Both }
    Activation {
        0 Sigmoid, 1 Tanh, 2 Relu, 3 Affine { alpha, beta }, 4 LeakyRelu { alpha },
        5 ThresholdedRelu { alpha }, 6 ScaledTanh { alpha, beta }, 7 HardSigmoid { alpha, beta },
        8 Elu { alpha }, 9 Softsign, 10 Softplus,
    }
    Round { 0 PreferFloor, 1 PreferCeil, 2 Floor, 3 Ceil }
    Filter { 0 Nearest(round), 1 Linear, 2 Cubic(coefficient) }
    Coordinates {
        0 HalfPixel, 1 HalfPixelSymmetric, 2 PytorchHalfPixel, 3 AlignCorners, 4 Asymmetric,
        5 CropAndResize,
    }
    Outside { 0 Zeros, 1 Border, 2 Reflection }
    Resample {
        0 Resize(resize),
        1 Grid { filter, outside, align_corners },
        2 Regions { size, max, samples, scale, half_pixel },
    }
    WindowKind { 0 Max { column_major }, 1 Average { count_include_pad }, 2 Lp { p } }
    Fill { 0 Constant, 1 Reflect, 2 Edge, 3 Wrap }
    ReduceKind {
        0 Sum, 1 Mean, 2 Max, 3 Min, 4 ArgMax, 5 ArgMin, 6 ArgMaxLast, 7 ArgMinLast, 8 Prod,
        9 LogSumExp,
    }
    Find {
        0 NonZero, 1 Compress { axis }, 2 Unique { axis, sorted }, 3 NonMaxSuppression { centre },
    }
    Padding { 0 Cells(cells), 1 Same(lower) }
    Late {
        0 Shape { start, end }, 1 Size, 2 Reshape { allow_zero }, 3 Expand,
        4 Slice { axes, steps }, 5 Pad { fill, value, axes }, 6 Tile, 7 Range, 8 Fill,
        9 Part { axis, index, of }, 10 Reduce { kind, keep_dims, none_is_none }, 11 Squeeze,
        12 Unsqueeze, 13 Reversed, 14 MoveAxis { from, to }, 15 Flatten { axis },
        16 Cumulative(cumulative), 17 Top { axis, largest }, 18 Triangle { upper },
        19 Eye { k, dtype }, 20 Resize { resize, sizes, axes, keep_aspect },
        21 Pool { kind, sliding, ceil, places }, 22 GlobalPool(kind),
        23 Conv { sliding, groups }, 24 ConvTranspose { sliding, groups, extra, output },
        25 Blocks { size, to_depth, depth_last }, 26 CentreCropPad { axes },
    }
}
