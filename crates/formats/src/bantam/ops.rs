//! Operators as bytes: a stable tag and the attributes of its row in the table of
//! [`bantam`](super).

use bantam_core::Op;
use bantam_core::op::conv::Depth;
use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::layout::SliceRange;
use bantam_core::op::{
    BatchNorm, Binary, Control, Conv, ConvRole, Dense, Dropout, Gather, Layout, Loss, LossKind,
    MatMul, NormRole, Pool, PoolKind, Reduce, ReduceKind, Select, Softmax, Unary,
};

use super::attributes::Attribute;
use super::graph::MAX_AXES;
use super::text::{Sink, Source};
use crate::{Error, ErrorKind, Result};

/// Tags below this are not operators.
pub(super) const FIRST_TAG: u8 = 8;

const DENSE: u8 = 8;
const MAT_MUL: u8 = 9;
const CONV: u8 = 10;
const CONV_GRAD_INPUT: u8 = 11;
const CONV_GRAD_WEIGHT: u8 = 12;
const MAX_POOL: u8 = 13;
const AVERAGE_POOL: u8 = 14;
const AVERAGE_POOL_PADDED: u8 = 15;
const MAX_POOL_GRAD: u8 = 16;
const AVERAGE_POOL_GRAD: u8 = 17;
const AVERAGE_POOL_PADDED_GRAD: u8 = 18;
const BATCH_NORM: u8 = 19;
const BATCH_NORM_TRAINING: u8 = 20;
const BATCH_NORM_GRAD: u8 = 21;
const SOFTMAX: u8 = 22;
const LOG_SOFTMAX: u8 = 23;
const SOFTMAX_GRAD: u8 = 24;
const LOG_SOFTMAX_GRAD: u8 = 25;
const REDUCE: u8 = 26;
const REDUCE_GRAD: u8 = 31;
const SUM_TO: u8 = 36;
const RESHAPE: u8 = 37;
const RESHAPE_LIKE: u8 = 38;
const TRANSPOSE: u8 = 39;
const SLICE: u8 = 40;
const SLICE_GRAD: u8 = 41;
const CONCAT: u8 = 42;
const CONCAT_GRAD: u8 = 43;
const PAD: u8 = 44;
const GATHER: u8 = 45;
const GATHER_GRAD: u8 = 46;
const DROPOUT: u8 = 47;
const DROPOUT_MASK: u8 = 48;
const CROSS_ENTROPY: u8 = 49;
const CROSS_ENTROPY_GRAD: u8 = 52;
const BINARY_CROSS_ENTROPY_GRAD: u8 = 54;
const BINARY: u8 = 56;
const UNARY: u8 = 64;
const UNARY_GRAD: u8 = 96;
const CAST: u8 = 128;
const LOGIC: u8 = 129;
const SELECT: u8 = 130;
const INDEX: u8 = 131;
const CUMULATIVE: u8 = 132;
const RECURRENT: u8 = 133;
const RESAMPLE: u8 = 134;
const WINDOW: u8 = 135;
const LATE: u8 = 136;
const FIND: u8 = 137;
/// Operators that hold graphs, which [`graph`](super::graph) writes.
pub(super) const IF: u8 = 138;
pub(super) const LOOP: u8 = 139;
/// A convolution that is transposed or has three axes.
const CONV_WHOLE: u8 = 140;
const REM: u8 = 141;
/// A reduction of a kind that [`REDUCE`] has no code for.
const REDUCE_WHOLE: u8 = 142;
const EXTEND: u8 = 143;
const EXPAND: u8 = 144;
const TILE: u8 = 145;
const REVERSE: u8 = 146;
const TRIANGLE: u8 = 147;
const QUANTIZE: u8 = 148;

/// Appends the tag and the attributes of `op`.
pub(super) fn write_op(sink: &mut Sink, op: &Op) -> Result<()> {
    sink.byte(tag(op));
    match op {
        Op::Dense(Dense) | Op::Binary(_) => Ok(()),
        Op::MatMul(m) => {
            sink.byte(u8::from(m.transpose_a) | u8::from(m.transpose_b) << 1);
            Ok(())
        }
        Op::Conv(conv) if is_whole(conv) => conv.put(sink),
        Op::Conv(conv) => write_conv(sink, conv),
        Op::Pool(pool) => write_pool(sink, pool),
        Op::BatchNorm(norm) => floats(sink, &[norm.epsilon, norm.momentum]),
        Op::Unary(unary) => write_unary(sink, unary.kind),
        Op::Softmax(softmax) => signed(sink, softmax.axis),
        Op::Reduce(reduce) => write_reduce(sink, reduce),
        Op::Layout(layout) => write_layout(sink, layout),
        Op::Gather(gather) => signed(sink, gather.axis),
        Op::Dropout(dropout) => write_dropout(sink, dropout),
        Op::Loss(loss) => write_loss(sink, loss.kind),
        Op::Cast(cast) => cast.put(sink),
        Op::Logic(logic) => logic.put(sink),
        Op::Select(Select) => Ok(()),
        Op::Index(index) => index.put(sink),
        Op::Cumulative(cumulative) => cumulative.put(sink),
        Op::Recurrent(recurrent) => recurrent.put(sink),
        Op::Resample(resample) => resample.put(sink),
        Op::Window(window) => window.put(sink),
        Op::Late(late) => late.put(sink),
        Op::Quantize(quantize) => quantize.put(sink),
        Op::Find(find) => find.put(sink),
        Op::Control(_) => unreachable!("graphs inside nodes are written as definitions"),
    }
}

/// Whether a convolution needs the tag that writes all of it.
fn is_whole(conv: &Conv) -> bool {
    matches!(conv.role, ConvRole::Transposed { .. }) || conv.depth != Depth::default()
}

/// The stable number of an operator.
pub(super) fn tag(op: &Op) -> u8 {
    match op {
        Op::Dense(Dense) => DENSE,
        Op::MatMul(_) => MAT_MUL,
        Op::Conv(conv) if is_whole(conv) => CONV_WHOLE,
        Op::Conv(conv) => conv_tag(conv.role),
        Op::Pool(pool) => pool_tag(pool.kind, pool.grad),
        Op::BatchNorm(norm) => norm_tag(norm.role),
        Op::Unary(unary) => unary_code(unary.kind) + if unary.grad { UNARY_GRAD } else { UNARY },
        Op::Binary(Binary::Rem) => REM,
        Op::Binary(binary) => BINARY + binary_code(*binary),
        Op::Softmax(softmax) => SOFTMAX + u8::from(softmax.log) + if softmax.grad { 2 } else { 0 },
        Op::Reduce(reduce) => reduce_tag(reduce),
        Op::Layout(layout) => layout_tag(layout),
        Op::Gather(gather) => GATHER + u8::from(gather.grad),
        Op::Dropout(Dropout::Identity { .. }) => DROPOUT,
        Op::Dropout(Dropout::Mask { .. }) => DROPOUT_MASK,
        Op::Loss(loss) => {
            loss_code(loss.kind)
                + if loss.grad {
                    CROSS_ENTROPY_GRAD
                } else {
                    CROSS_ENTROPY
                }
        }
        Op::Cast(_) => CAST,
        Op::Logic(_) => LOGIC,
        Op::Select(_) => SELECT,
        Op::Index(_) => INDEX,
        Op::Cumulative(_) => CUMULATIVE,
        Op::Recurrent(_) => RECURRENT,
        Op::Resample(_) => RESAMPLE,
        Op::Window(_) => WINDOW,
        Op::Late(_) => LATE,
        Op::Quantize(_) => QUANTIZE,
        Op::Find(_) => FIND,
        Op::Control(Control::If { .. }) => IF,
        Op::Control(Control::Loop { .. }) => LOOP,
    }
}

fn conv_tag(role: ConvRole) -> u8 {
    match role {
        ConvRole::Forward => CONV,
        ConvRole::GradInput => CONV_GRAD_INPUT,
        ConvRole::GradWeight => CONV_GRAD_WEIGHT,
        ConvRole::Transposed { .. } => CONV_WHOLE,
    }
}

fn pool_tag(kind: PoolKind, grad: bool) -> u8 {
    let kind = match kind {
        PoolKind::Max => 0,
        PoolKind::Average { count_include_pad } => 1 + u8::from(count_include_pad),
    };
    kind + if grad { MAX_POOL_GRAD } else { MAX_POOL }
}

fn norm_tag(role: NormRole) -> u8 {
    match role {
        NormRole::Inference => BATCH_NORM,
        NormRole::Training => BATCH_NORM_TRAINING,
        NormRole::Grad => BATCH_NORM_GRAD,
    }
}

fn unary_code(kind: UnaryKind) -> u8 {
    match kind {
        UnaryKind::Identity => 0,
        UnaryKind::Relu => 1,
        UnaryKind::Relu6 => 2,
        UnaryKind::LeakyRelu { .. } => 3,
        UnaryKind::Elu { .. } => 4,
        UnaryKind::Sigmoid => 5,
        UnaryKind::Tanh => 6,
        UnaryKind::Softplus => 7,
        UnaryKind::Exp => 8,
        UnaryKind::Log => 9,
        UnaryKind::Sqrt => 10,
        UnaryKind::Abs => 11,
        UnaryKind::Neg => 12,
        UnaryKind::Erf => 13,
        UnaryKind::Sin => 14,
        UnaryKind::Cos => 15,
        UnaryKind::Tan => 16,
        UnaryKind::Asin => 17,
        UnaryKind::Acos => 18,
        UnaryKind::Atan => 19,
        UnaryKind::Sinh => 20,
        UnaryKind::Cosh => 21,
        UnaryKind::Asinh => 22,
        UnaryKind::Acosh => 23,
        UnaryKind::Atanh => 24,
        UnaryKind::Ceil => 25,
        UnaryKind::Floor => 26,
        UnaryKind::Round => 27,
        UnaryKind::Sign => 28,
        UnaryKind::Reciprocal => 29,
    }
}

fn binary_code(binary: Binary) -> u8 {
    match binary {
        Binary::Add => 0,
        Binary::Sub => 1,
        Binary::Mul => 2,
        Binary::Div => 3,
        Binary::Pow => 4,
        Binary::Max => 5,
        Binary::Min => 6,
        Binary::Mod => 7,
        Binary::Rem => unreachable!("it has a tag of its own"),
    }
}

/// The codes of the first kinds of reduction; the others have none.
fn reduce_code(kind: ReduceKind) -> Option<u8> {
    match kind {
        ReduceKind::Sum => Some(0),
        ReduceKind::Mean => Some(1),
        ReduceKind::Max => Some(2),
        ReduceKind::Min => Some(3),
        ReduceKind::ArgMax => Some(4),
        ReduceKind::ArgMin
        | ReduceKind::ArgMaxLast
        | ReduceKind::ArgMinLast
        | ReduceKind::Prod
        | ReduceKind::LogSumExp => None,
    }
}

fn reduce_tag(reduce: &Reduce) -> u8 {
    match reduce {
        Reduce::Axes { kind, .. } => reduce_code(*kind).map_or(REDUCE_WHOLE, |code| REDUCE + code),
        Reduce::Grad { kind, .. } => {
            reduce_code(*kind).map_or(REDUCE_WHOLE, |code| REDUCE_GRAD + code)
        }
        Reduce::SumTo => SUM_TO,
    }
}

fn layout_tag(layout: &Layout) -> u8 {
    match layout {
        Layout::Reshape { .. } => RESHAPE,
        Layout::ReshapeLike => RESHAPE_LIKE,
        Layout::Transpose { .. } => TRANSPOSE,
        Layout::Slice { .. } => SLICE,
        Layout::SliceGrad { .. } => SLICE_GRAD,
        Layout::Concat { .. } => CONCAT,
        Layout::ConcatGrad { .. } => CONCAT_GRAD,
        Layout::Pad { .. } => PAD,
        Layout::Extend { .. } => EXTEND,
        Layout::Expand { .. } => EXPAND,
        Layout::Tile { .. } => TILE,
        Layout::Reverse { .. } => REVERSE,
        Layout::Triangle { .. } => TRIANGLE,
    }
}

fn loss_code(kind: LossKind) -> u8 {
    match kind {
        LossKind::CrossEntropy { .. } => 0,
        LossKind::MeanSquaredError => 1,
        LossKind::BinaryCrossEntropy => 2,
    }
}

fn signed(sink: &mut Sink, value: i64) -> Result<()> {
    sink.signed(value);
    Ok(())
}

fn floats(sink: &mut Sink, values: &[f32]) -> Result<()> {
    values.iter().try_for_each(|&v| sink.float(v))
}

fn sizes(sink: &mut Sink, values: &[usize]) -> Result<()> {
    values.iter().try_for_each(|&v| sink.size(v))
}

/// The number of items, then each of them.
fn list<T>(
    sink: &mut Sink,
    items: &[T],
    mut write: impl FnMut(&mut Sink, &T) -> Result<()>,
) -> Result<()> {
    if items.len() > MAX_AXES {
        return Err(Error::too_large(
            "axes",
            items.len() as u64,
            MAX_AXES as u64,
        ));
    }
    sink.size(items.len())?;
    items.iter().try_for_each(|item| write(sink, item))
}

fn write_conv(sink: &mut Sink, conv: &Conv) -> Result<()> {
    let default = Conv::default();
    let differs = [
        conv.stride != default.stride,
        conv.padding != default.padding,
        conv.dilation != default.dilation,
        conv.groups != default.groups,
    ];
    sink.byte((0..4).map(|i| u8::from(differs[i]) << i).sum());
    let fields = [
        &conv.stride[..],
        &conv.padding,
        &conv.dilation,
        &[conv.groups],
    ];
    (0..4)
        .filter(|&i| differs[i])
        .try_for_each(|i| sizes(sink, fields[i]))
}

fn write_pool(sink: &mut Sink, pool: &Pool) -> Result<()> {
    let step = pool.kernel.unwrap_or([1, 1]);
    let differs = [
        pool.kernel.is_some(),
        pool.stride != step,
        pool.padding != [0; 4],
    ];
    sink.byte((0..3).map(|i| u8::from(differs[i]) << i).sum());
    let kernel = pool.kernel.unwrap_or_default();
    let fields = [&kernel[..], &pool.stride, &pool.padding];
    (0..3)
        .filter(|&i| differs[i])
        .try_for_each(|i| sizes(sink, fields[i]))
}

fn write_unary(sink: &mut Sink, kind: UnaryKind) -> Result<()> {
    match kind {
        UnaryKind::LeakyRelu { alpha } | UnaryKind::Elu { alpha } => sink.float(alpha),
        UnaryKind::Identity
        | UnaryKind::Relu
        | UnaryKind::Relu6
        | UnaryKind::Sigmoid
        | UnaryKind::Tanh
        | UnaryKind::Softplus
        | UnaryKind::Exp
        | UnaryKind::Log
        | UnaryKind::Sqrt
        | UnaryKind::Abs
        | UnaryKind::Neg
        | UnaryKind::Erf
        | UnaryKind::Sin
        | UnaryKind::Cos
        | UnaryKind::Tan
        | UnaryKind::Asin
        | UnaryKind::Acos
        | UnaryKind::Atan
        | UnaryKind::Sinh
        | UnaryKind::Cosh
        | UnaryKind::Asinh
        | UnaryKind::Acosh
        | UnaryKind::Atanh
        | UnaryKind::Ceil
        | UnaryKind::Floor
        | UnaryKind::Round
        | UnaryKind::Sign
        | UnaryKind::Reciprocal => Ok(()),
    }
}

fn write_reduce(sink: &mut Sink, reduce: &Reduce) -> Result<()> {
    match reduce {
        Reduce::Grad { kind, .. } if reduce_code(*kind).is_none() => Err(Error::unstorable(
            "a reduction of this kind has no gradient",
        )),
        Reduce::Axes {
            kind,
            axes,
            keep_dims,
        }
        | Reduce::Grad {
            kind,
            axes,
            keep_dims,
        } => {
            if reduce_code(*kind).is_none() {
                kind.put(sink)?;
            }
            sink.byte(u8::from(*keep_dims));
            list(sink, axes, |sink, &axis| signed(sink, axis))
        }
        Reduce::SumTo => Ok(()),
    }
}

fn write_layout(sink: &mut Sink, layout: &Layout) -> Result<()> {
    match layout {
        Layout::Reshape { shape } => list(sink, shape, |sink, &d| signed(sink, d)),
        Layout::ReshapeLike => Ok(()),
        Layout::Transpose { permutation } => list(sink, permutation, |sink, &a| sink.size(a)),
        Layout::Slice { ranges } | Layout::SliceGrad { ranges } => list(sink, ranges, write_range),
        Layout::Concat { axis } => signed(sink, *axis),
        Layout::ConcatGrad { axis, index } => {
            sink.signed(*axis);
            sink.size(*index)
        }
        Layout::Pad { padding, value } => {
            list(sink, padding, |sink, p| sizes(sink, p))?;
            sink.float(*value)
        }
        Layout::Extend { padding, fill } => {
            padding.put(sink)?;
            fill.put(sink)
        }
        Layout::Expand { shape } => shape.put(sink),
        Layout::Tile { repeats } => repeats.put(sink),
        Layout::Reverse { axes } => axes.put(sink),
        Layout::Triangle { upper, diagonal } => {
            upper.put(sink)?;
            diagonal.put(sink)
        }
    }
}

fn write_range(sink: &mut Sink, range: &SliceRange) -> Result<()> {
    sink.signed(range.start);
    sink.signed(range.end);
    sink.size(range.step)
}

fn write_dropout(sink: &mut Sink, dropout: &Dropout) -> Result<()> {
    match dropout {
        Dropout::Identity { ratio } => sink.float(*ratio),
        Dropout::Mask { ratio, stream } => {
            sink.float(*ratio)?;
            sink.signed(i64::from(*stream));
            Ok(())
        }
    }
}

fn write_loss(sink: &mut Sink, kind: LossKind) -> Result<()> {
    match kind {
        LossKind::CrossEntropy { label_smoothing } => sink.float(label_smoothing),
        LossKind::MeanSquaredError | LossKind::BinaryCrossEntropy => Ok(()),
    }
}

/// Reads the attributes that follow `tag`.
pub(super) fn read_op(source: &mut Source<'_>, tag: u8) -> Result<Op> {
    Ok(match tag {
        DENSE => Op::Dense(Dense),
        MAT_MUL => {
            let flags = flags(source, 2)?;
            Op::MatMul(MatMul {
                transpose_a: flags[0],
                transpose_b: flags[1],
            })
        }
        CONV => read_conv(source, ConvRole::Forward)?,
        CONV_GRAD_INPUT => read_conv(source, ConvRole::GradInput)?,
        CONV_GRAD_WEIGHT => read_conv(source, ConvRole::GradWeight)?,
        MAX_POOL | MAX_POOL_GRAD => read_pool(source, PoolKind::Max, tag == MAX_POOL_GRAD)?,
        AVERAGE_POOL | AVERAGE_POOL_GRAD => {
            let kind = PoolKind::Average {
                count_include_pad: false,
            };
            read_pool(source, kind, tag == AVERAGE_POOL_GRAD)?
        }
        AVERAGE_POOL_PADDED | AVERAGE_POOL_PADDED_GRAD => {
            let kind = PoolKind::Average {
                count_include_pad: true,
            };
            read_pool(source, kind, tag == AVERAGE_POOL_PADDED_GRAD)?
        }
        BATCH_NORM => read_norm(source, NormRole::Inference)?,
        BATCH_NORM_TRAINING => read_norm(source, NormRole::Training)?,
        BATCH_NORM_GRAD => read_norm(source, NormRole::Grad)?,
        SOFTMAX => read_softmax(source, false, false)?,
        LOG_SOFTMAX => read_softmax(source, true, false)?,
        SOFTMAX_GRAD => read_softmax(source, false, true)?,
        LOG_SOFTMAX_GRAD => read_softmax(source, true, true)?,
        REDUCE..REDUCE_GRAD => read_reduce(source, tag - REDUCE, false)?,
        REDUCE_GRAD..SUM_TO => read_reduce(source, tag - REDUCE_GRAD, true)?,
        SUM_TO => Op::Reduce(Reduce::SumTo),
        RESHAPE => Op::Layout(Layout::Reshape {
            shape: items(source, Source::signed)?,
        }),
        RESHAPE_LIKE => Op::Layout(Layout::ReshapeLike),
        TRANSPOSE => Op::Layout(Layout::Transpose {
            permutation: items(source, Source::size)?,
        }),
        SLICE => Op::Layout(Layout::Slice {
            ranges: items(source, read_range)?,
        }),
        SLICE_GRAD => Op::Layout(Layout::SliceGrad {
            ranges: items(source, read_range)?,
        }),
        CONCAT => Op::Layout(Layout::Concat {
            axis: source.signed()?,
        }),
        CONCAT_GRAD => {
            let (axis, index) = (source.signed()?, source.size()?);
            Op::Layout(Layout::ConcatGrad { axis, index })
        }
        PAD => {
            let padding = items(source, |s| Ok([s.size()?, s.size()?]))?;
            Op::Layout(Layout::Pad {
                padding,
                value: source.float()?,
            })
        }
        GATHER => Op::Gather(Gather {
            axis: source.signed()?,
            grad: false,
        }),
        GATHER_GRAD => Op::Gather(Gather {
            axis: source.signed()?,
            grad: true,
        }),
        DROPOUT => Op::Dropout(Dropout::Identity {
            ratio: source.float()?,
        }),
        DROPOUT_MASK => read_mask(source)?,
        CROSS_ENTROPY..CROSS_ENTROPY_GRAD => read_loss(source, tag - CROSS_ENTROPY, false)?,
        CROSS_ENTROPY_GRAD..=BINARY_CROSS_ENTROPY_GRAD => {
            read_loss(source, tag - CROSS_ENTROPY_GRAD, true)?
        }
        BINARY..UNARY => read_binary(tag)?,
        UNARY..UNARY_GRAD => read_unary(source, tag, tag - UNARY, false)?,
        UNARY_GRAD..CAST => read_unary(source, tag, tag - UNARY_GRAD, true)?,
        _ => return read_later(source, tag),
    })
}

/// Operators that networks of other programs bring.
fn read_later(source: &mut Source<'_>, tag: u8) -> Result<Op> {
    Ok(match tag {
        CAST => Op::Cast(Attribute::get(source)?),
        LOGIC => Op::Logic(Attribute::get(source)?),
        SELECT => Op::Select(Select),
        INDEX => Op::Index(Attribute::get(source)?),
        CUMULATIVE => Op::Cumulative(Attribute::get(source)?),
        QUANTIZE => Op::Quantize(Attribute::get(source)?),
        RECURRENT => Op::Recurrent(Attribute::get(source)?),
        RESAMPLE => Op::Resample(Attribute::get(source)?),
        WINDOW => Op::Window(Attribute::get(source)?),
        LATE => Op::Late(Attribute::get(source)?),
        FIND => Op::Find(Attribute::get(source)?),
        CONV_WHOLE => {
            let conv = Attribute::get(source)?;
            if !is_whole(&conv) {
                return Err(Error::corrupt("a convolution with a shorter form"));
            }
            Op::Conv(conv)
        }
        REM => Op::Binary(Binary::Rem),
        REDUCE_WHOLE => {
            let kind = Attribute::get(source)?;
            if reduce_code(kind).is_some() {
                return Err(Error::corrupt("a reduction with a shorter form"));
            }
            let keep_dims = source.flag()?;
            let axes = items(source, Source::signed)?;
            Op::Reduce(Reduce::Axes {
                kind,
                axes,
                keep_dims,
            })
        }
        EXTEND => Op::Layout(Layout::Extend {
            padding: Attribute::get(source)?,
            fill: Attribute::get(source)?,
        }),
        EXPAND => Op::Layout(Layout::Expand {
            shape: Attribute::get(source)?,
        }),
        TILE => Op::Layout(Layout::Tile {
            repeats: Attribute::get(source)?,
        }),
        REVERSE => Op::Layout(Layout::Reverse {
            axes: Attribute::get(source)?,
        }),
        TRIANGLE => Op::Layout(Layout::Triangle {
            upper: Attribute::get(source)?,
            diagonal: Attribute::get(source)?,
        }),
        _ => return Err(unknown(tag)),
    })
}

fn unknown(tag: u8) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("unknown operator tag {tag}"),
    )
}

/// The low `n` bits of a byte; errs when others are set.
fn flags(source: &mut Source<'_>, n: u32) -> Result<[bool; 4]> {
    let byte = source.byte()?;
    if byte >> n != 0 {
        return Err(Error::corrupt(format!(
            "unknown attribute flags {byte:#04x}"
        )));
    }
    Ok(std::array::from_fn(|i| byte >> i & 1 == 1))
}

fn items<'a, T>(
    source: &mut Source<'a>,
    mut read: impl FnMut(&mut Source<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let n = source.count("axes", MAX_AXES)?;
    (0..n).map(|_| read(source)).collect()
}

fn array<const N: usize>(source: &mut Source<'_>) -> Result<[usize; N]> {
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = source.size()?;
    }
    Ok(sizes)
}

fn read_conv(source: &mut Source<'_>, role: ConvRole) -> Result<Op> {
    let differs = flags(source, 4)?;
    let mut conv = Conv::default().with_role(role);
    if differs[0] {
        conv.stride = array(source)?;
    }
    if differs[1] {
        conv.padding = array(source)?;
    }
    if differs[2] {
        conv.dilation = array(source)?;
    }
    if differs[3] {
        conv.groups = source.size()?;
    }
    Ok(Op::Conv(conv))
}

fn read_pool(source: &mut Source<'_>, kind: PoolKind, grad: bool) -> Result<Op> {
    let differs = flags(source, 3)?;
    let kernel = if differs[0] {
        Some(array(source)?)
    } else {
        None
    };
    let stride = if differs[1] {
        array(source)?
    } else {
        kernel.unwrap_or([1, 1])
    };
    let padding = if differs[2] { array(source)? } else { [0; 4] };
    Ok(Op::Pool(Pool {
        kind,
        kernel,
        stride,
        padding,
        grad,
    }))
}

fn read_norm(source: &mut Source<'_>, role: NormRole) -> Result<Op> {
    let (epsilon, momentum) = (source.float()?, source.float()?);
    Ok(Op::BatchNorm(BatchNorm {
        role,
        epsilon,
        momentum,
    }))
}

fn read_softmax(source: &mut Source<'_>, log: bool, grad: bool) -> Result<Op> {
    Ok(Op::Softmax(Softmax {
        axis: source.signed()?,
        log,
        grad,
    }))
}

fn read_reduce(source: &mut Source<'_>, code: u8, grad: bool) -> Result<Op> {
    let kind = match code {
        0 => ReduceKind::Sum,
        1 => ReduceKind::Mean,
        2 => ReduceKind::Max,
        3 => ReduceKind::Min,
        _ => ReduceKind::ArgMax,
    };
    let keep_dims = source.flag()?;
    let axes = items(source, Source::signed)?;
    Ok(Op::Reduce(match grad {
        false => Reduce::Axes {
            kind,
            axes,
            keep_dims,
        },
        true => Reduce::Grad {
            kind,
            axes,
            keep_dims,
        },
    }))
}

fn read_range(source: &mut Source<'_>) -> Result<SliceRange> {
    let (start, end) = (source.signed()?, source.signed()?);
    Ok(SliceRange {
        start,
        end,
        step: source.size()?,
    })
}

fn read_mask(source: &mut Source<'_>) -> Result<Op> {
    let ratio = source.float()?;
    let stream = u32::try_from(source.signed()?)
        .map_err(|_| Error::corrupt("the stream of a dropout exceeds 32 bits"))?;
    Ok(Op::Dropout(Dropout::Mask { ratio, stream }))
}

fn read_loss(source: &mut Source<'_>, code: u8, grad: bool) -> Result<Op> {
    let kind = match code {
        0 => LossKind::CrossEntropy {
            label_smoothing: source.float()?,
        },
        1 => LossKind::MeanSquaredError,
        _ => LossKind::BinaryCrossEntropy,
    };
    Ok(Op::Loss(Loss { kind, grad }))
}

fn read_binary(tag: u8) -> Result<Op> {
    Ok(Op::Binary(match tag - BINARY {
        0 => Binary::Add,
        1 => Binary::Sub,
        2 => Binary::Mul,
        3 => Binary::Div,
        4 => Binary::Pow,
        5 => Binary::Max,
        6 => Binary::Min,
        7 => Binary::Mod,
        _ => return Err(unknown(tag)),
    }))
}

fn read_unary(source: &mut Source<'_>, tag: u8, code: u8, grad: bool) -> Result<Op> {
    let kind = match code {
        0 => UnaryKind::Identity,
        1 => UnaryKind::Relu,
        2 => UnaryKind::Relu6,
        3 => UnaryKind::LeakyRelu {
            alpha: source.float()?,
        },
        4 => UnaryKind::Elu {
            alpha: source.float()?,
        },
        5 => UnaryKind::Sigmoid,
        6 => UnaryKind::Tanh,
        7 => UnaryKind::Softplus,
        8 => UnaryKind::Exp,
        9 => UnaryKind::Log,
        10 => UnaryKind::Sqrt,
        11 => UnaryKind::Abs,
        12 => UnaryKind::Neg,
        13 => UnaryKind::Erf,
        14 => UnaryKind::Sin,
        15 => UnaryKind::Cos,
        16 => UnaryKind::Tan,
        17 => UnaryKind::Asin,
        18 => UnaryKind::Acos,
        19 => UnaryKind::Atan,
        20 => UnaryKind::Sinh,
        21 => UnaryKind::Cosh,
        22 => UnaryKind::Asinh,
        23 => UnaryKind::Acosh,
        24 => UnaryKind::Atanh,
        25 => UnaryKind::Ceil,
        26 => UnaryKind::Floor,
        27 => UnaryKind::Round,
        28 => UnaryKind::Sign,
        29 => UnaryKind::Reciprocal,
        _ => return Err(unknown(tag)),
    };
    Ok(Op::Unary(Unary { kind, grad }))
}
