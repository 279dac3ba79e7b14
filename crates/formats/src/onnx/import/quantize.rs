//! Quantized numbers: an integer `q` stands for `(q - zero) scale`. Operators on them become operators
//! on what they stand for, or on integers, and rounding.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Late, Op, Quantize, QuantizeRole, ReduceKind};
use bantam_core::{DType, Tensor, ValueId};

use super::context::{Attributes, Context, Imported, maybe, need, unsupported};
use super::layers::{conv, sliding};
use crate::{Error, Result};

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    let y = match op {
        "QuantizeLinear" => {
            let per = Per::new(a)?;
            a.flag("saturate", true)?;
            a.element_type("precision")?;
            let to = a.int_or("output_dtype", 0)?;
            let given = if to == 0 {
                None
            } else {
                Some(crate::onnx::tensors::dtype(to)?)
            };
            let (data, scale, zero) = (need(x, 0)?, need(x, 1)?, maybe(x, 2));
            let to = given.or(zero.map(|z| c.dtype(z))).unwrap_or(DType::U8);
            quantize(c, data, scale, zero, to, &per)?
        }
        "DequantizeLinear" => {
            let per = Per::new(a)?;
            let to = a.int_or("output_dtype", 0)?;
            let (data, scale, zero) = (need(x, 0)?, need(x, 1)?, maybe(x, 2));
            let y = dequantize(c, data, scale, zero, &per)?;
            if to == 0 {
                y
            } else {
                c.cast(y, crate::onnx::tensors::dtype(to)?)
            }
        }
        "DynamicQuantizeLinear" => return dynamic(c, need(x, 0)?).map(Some),
        "MatMulInteger" => {
            let left = centred(c, need(x, 0)?, maybe(x, 2), true);
            let right = centred(c, need(x, 1)?, maybe(x, 3), false);
            c.matmul(left, right)
        }
        "ConvInteger" => {
            let left = shifted(c, need(x, 0)?, maybe(x, 2), DType::F64);
            let right = per_channel(c, need(x, 1)?, maybe(x, 3), DType::F64)?;
            let s = sliding(a)?;
            let y = conv(c, &s, a.int_or("group", 1)?, &[Some(left), Some(right)])?;
            c.cast(y, DType::I32)
        }
        "QLinearMatMul" => q_linear_matmul(c, x)?,
        "QLinearConv" => q_linear_conv(c, a, x)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![y]))
}

/// Along which axis scales lie, and how many values share one.
struct Per {
    axis: i64,
    block: usize,
}

impl Per {
    fn new(a: &Attributes) -> Result<Per> {
        let block = a.int_or("block_size", 0)?;
        Ok(Per {
            axis: a.axis_or("axis", 1)?,
            block: usize::try_from(block)
                .map_err(|_| Error::corrupt(format!("block_size {block}")))?,
        })
    }

    /// A scale or zero point so that it broadcasts against `data`.
    fn spread(&self, c: &mut Context, data: ValueId, s: ValueId) -> Result<ValueId> {
        match c.rank(s) {
            Some(0) => return Ok(s),
            Some(1) if self.block == 0 => {
                if c.constant(s).is_some_and(|t| t.len() == 1) {
                    return Ok(c.reshape(s, &[]));
                }
                let rank = c
                    .rank(data)
                    .ok_or_else(|| unsupported("an input of unknown rank"))?
                    as i64;
                let axis = if self.axis < 0 {
                    self.axis + rank
                } else {
                    self.axis
                };
                let after: Vec<i64> = (1..rank - axis).collect();
                return Ok(if after.is_empty() {
                    s
                } else {
                    c.unsqueeze(s, &after)
                });
            }
            _ => {}
        }
        if self.block == 0 {
            return Err(unsupported("a scale of several axes without block_size"));
        }
        // Each scale serves a block of neighbours along the axis: repeat it that often.
        let n = c.size(s, self.axis);
        let n = c.reshape(n, &[]);
        let (zero, one) = (c.scalar(0.0, DType::I64), c.scalar(1.0, DType::I64));
        let block = c.scalar(self.block as f64, DType::I64);
        let all = c.mul(n, block);
        let index = c.late(Late::Range, &[zero, all, one]);
        let index = c.div(index, block);
        let len = c.size(data, self.axis);
        let start = c.ints(&[0]);
        let axes = c.ints(&[0]);
        let index = c.late(
            Late::Slice {
                axes: true,
                steps: false,
            },
            &[index, start, len, axes],
        );
        Ok(c.gather(s, index, self.axis))
    }
}

impl Per {
    /// What [`Op::Quantize`] reads, where it says the same: a scale that is stored, in single precision,
    /// with a zero point of its shape and of the type `integer`, for whole values or along an axis.
    fn whole(
        &self,
        c: &mut Context,
        x: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        integer: DType,
    ) -> Option<[ValueId; 3]> {
        let shape = c.constant(scale)?.shape().to_vec();
        let fits = self.block == 0 && shape.len() <= 1 && c.dtype(scale) == DType::F32;
        integer.integer_range()?;
        if !fits {
            return None;
        }
        let zero = match zero {
            None => c.new_constant("zero", Tensor::zeros(integer, &shape)),
            Some(zero) => {
                let known = c.constant(zero)?;
                let same = known.shape() == shape && known.dtype() == integer;
                same.then_some(zero)?
            }
        };
        Some([x, scale, zero])
    }
}

fn quantize(
    c: &mut Context,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    to: DType,
    per: &Per,
) -> Result<ValueId> {
    let Some((low, high)) = to.integer_range() else {
        return Err(unsupported(format!("quantization to {to}")));
    };
    if c.dtype(x) == DType::F32
        && let Some(inputs) = per.whole(c, x, scale, zero, to)
    {
        let (role, axis) = (QuantizeRole::Quantize, per.axis);
        return Ok(c.node(Op::Quantize(Quantize { role, axis }), &inputs));
    }
    let scale = per.spread(c, x, scale)?;
    let zero = zero.map(|z| per.spread(c, x, z)).transpose()?;
    let scale = c.cast(scale, c.dtype(x));
    let y = c.div(x, scale);
    Ok(round_to(c, y, zero, to, (low as f64, high as f64)))
}

/// Rounds, adds the zero point, and clips to the range of `to`.
fn round_to(
    c: &mut Context,
    y: ValueId,
    zero: Option<ValueId>,
    to: DType,
    range: (f64, f64),
) -> ValueId {
    let y = c.unary(UnaryKind::Round, y);
    // Narrow floats do not hold every integer of the range.
    let y = if c.dtype(y) == DType::F64 {
        y
    } else {
        c.cast(y, DType::F32)
    };
    let y = match zero {
        Some(zero) => {
            let zero = c.cast(zero, c.dtype(y));
            c.add(y, zero)
        }
        None => y,
    };
    let y = c.with(Binary::Max, y, range.0);
    let y = c.with(Binary::Min, y, range.1);
    c.cast(y, to)
}

fn dequantize(
    c: &mut Context,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    per: &Per,
) -> Result<ValueId> {
    let dtype = c.dtype(scale);
    if let Some(inputs) = per.whole(c, x, scale, zero, c.dtype(x)) {
        let (role, axis) = (QuantizeRole::Dequantize, per.axis);
        return Ok(c.node(Op::Quantize(Quantize { role, axis }), &inputs));
    }
    let mut y = x;
    if let Some(zero) = zero {
        let zero = per.spread(c, x, zero)?;
        y = shifted(c, y, Some(zero), DType::F32);
    }
    let y = c.cast(y, dtype);
    let scale = per.spread(c, x, scale)?;
    Ok(c.mul(y, scale))
}

/// `x - zero` in the type `dtype`.
fn shifted(c: &mut Context, x: ValueId, zero: Option<ValueId>, dtype: DType) -> ValueId {
    let x = c.cast(x, dtype);
    match zero {
        Some(zero) => {
            let zero = c.cast(zero, dtype);
            c.sub(x, zero)
        }
        None => x,
    }
}

/// `w - zero`, where the zero point may be one per output channel.
fn per_channel(
    c: &mut Context,
    w: ValueId,
    zero: Option<ValueId>,
    dtype: DType,
) -> Result<ValueId> {
    let zero = zero
        .map(|z| Per { axis: 0, block: 0 }.spread(c, w, z))
        .transpose()?;
    Ok(shifted(c, w, zero, dtype))
}

/// An operand of an integer product: the zero point is one number, or one per row of the left or column
/// of the right operand.
fn centred(c: &mut Context, x: ValueId, zero: Option<ValueId>, left: bool) -> ValueId {
    let zero = zero.map(|z| match (left, c.rank(z)) {
        (true, Some(1)) if c.constant(z).is_none_or(|t| t.len() != 1) => c.unsqueeze(z, &[1]),
        _ => z,
    });
    shifted(c, x, zero, DType::I32)
}

/// To 8 bits without sign, by the range of the values (with 0 in it).
fn dynamic(c: &mut Context, x: ValueId) -> Result<Vec<ValueId>> {
    let low = c.reduce(ReduceKind::Min, x, &[], false);
    let low = c.with(Binary::Min, low, 0.0);
    let high = c.reduce(ReduceKind::Max, x, &[], false);
    let high = c.with(Binary::Max, high, 0.0);
    let span = c.sub(high, low);
    let scale = c.with(Binary::Div, span, 255.0);
    // All zeros: any scale is right.
    let (nothing, one) = (c.scalar(0.0, DType::F32), c.scalar(1.0, DType::F32));
    let empty = c.logic(bantam_core::op::Logic::Equal, &[scale, nothing]);
    let divisor = c.select(empty, one, scale);
    let zero = c.div(low, divisor);
    let zero = c.unary(UnaryKind::Neg, zero);
    let zero = round_to(c, zero, None, DType::U8, (0.0, 255.0));
    let y = c.div(x, divisor);
    let y = round_to(c, y, Some(zero), DType::U8, (0.0, 255.0));
    Ok(vec![y, scale, zero])
}

fn range_of(c: &Context, zero: ValueId) -> Result<(f64, f64)> {
    let dtype = c.dtype(zero);
    let range = dtype
        .integer_range()
        .ok_or_else(|| unsupported(format!("quantization to {dtype}")))?;
    Ok((range.0 as f64, range.1 as f64))
}

fn q_linear_matmul(c: &mut Context, x: Inputs) -> Result<ValueId> {
    let mut v = Vec::new();
    for i in 0..8 {
        v.push(need(x, i)?);
    }
    let left = centred(c, v[0], Some(v[2]), true);
    let right = centred(c, v[3], Some(v[5]), false);
    let y = c.matmul(left, right);
    let y = c.cast(y, DType::F64);
    let row = |c: &mut Context, s: ValueId| match c.rank(s) {
        Some(1) if c.constant(s).is_none_or(|t| t.len() != 1) => c.unsqueeze(s, &[1]),
        _ => s,
    };
    let wide = |c: &mut Context, s: ValueId| c.cast(s, DType::F64);
    let a = row(c, v[1]);
    let (a, b, out) = (wide(c, a), wide(c, v[4]), wide(c, v[6]));
    let scale = c.mul(a, b);
    let scale = c.div(scale, out);
    let y = c.mul(y, scale);
    let range = range_of(c, v[7])?;
    Ok(round_to(c, y, Some(v[7]), c.dtype(v[7]), range))
}

fn q_linear_conv(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let mut v = Vec::new();
    for i in 0..8 {
        v.push(need(x, i)?);
    }
    let data = shifted(c, v[0], Some(v[2]), DType::F64);
    let w = per_channel(c, v[3], Some(v[5]), DType::F64)?;
    let bias = maybe(x, 8).map(|b| c.cast(b, DType::F64));
    let s = sliding(a)?;
    let y = conv(c, &s, a.int_or("group", 1)?, &[Some(data), Some(w), bias])?;
    let [x_scale, w_scale, y_scale] = [v[1], v[4], v[6]].map(|s| c.cast(s, DType::F64));
    let w_scale = Per { axis: 1, block: 0 }.spread(c, y, w_scale)?;
    let scale = c.mul(x_scale, w_scale);
    let scale = c.div(scale, y_scale);
    let y = c.mul(y, scale);
    let range = range_of(c, v[7])?;
    Ok(round_to(c, y, Some(v[7]), c.dtype(v[7]), range))
}
