//! Normalisations and softmax.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::layout::Fill;
use bantam_core::op::{BatchNorm, Binary, Late, NormRole, ReduceKind, Softmax};
use bantam_core::{DType, Op, ValueId};

use super::context::{Attributes, Context, Imported, maybe, need, unsupported};
use crate::{Error, Result};

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    match op {
        "Softmax" | "LogSoftmax" | "Hardmax" => softmax(c, op, a, x).map(|y| Some(vec![y])),
        "BatchNormalization" => batch_norm(c, a, x),
        "InstanceNormalization" => {
            let epsilon = a.float_or("epsilon", 1e-5)?;
            let (data, scale, bias) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
            let flat = c.reshape(data, &[0, 0, -1]);
            let (y, _, _) = standardise(c, flat, &[-1], epsilon);
            let (scale, bias) = (c.unsqueeze(scale, &[1]), c.unsqueeze(bias, &[1]));
            let y = c.mul(y, scale);
            let y = c.add(y, bias);
            Ok(Some(vec![c.like(y, data)]))
        }
        "GroupNormalization" => group_norm(c, a, x),
        "LayerNormalization" | "RMSNormalization" => layer_norm(c, op, a, x),
        "MeanVarianceNormalization" => {
            let axes = a.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
            let data = need(x, 0)?;
            let (mean, centred) = centre(c, data, &axes);
            let _ = mean;
            let square = c.mul(centred, centred);
            let var = c.reduce(ReduceKind::Mean, square, &axes, true);
            let std = c.unary(UnaryKind::Sqrt, var);
            let std = c.with(Binary::Add, std, 1e-9);
            Ok(Some(vec![c.div(centred, std)]))
        }
        "LpNormalization" => lp_norm(c, a, x).map(|y| Some(vec![y])),
        "LRN" => lrn(c, a, x).map(|y| Some(vec![y])),
        _ => Ok(None),
    }
}

fn softmax(c: &mut Context, op: &str, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let old = c.opset() < 13;
    let axis = a.axis_or("axis", if old { 1 } else { -1 })?;
    let data = need(x, 0)?;
    if !old || axis == -1 || c.rank(data) == Some(2) && axis == 1 {
        return along(c, op, data, axis);
    }
    // Before operator set 13, all axes from `axis` on are one.
    let flat = c.late(Late::Flatten { axis }, &[data]);
    let y = along(c, op, flat, 1)?;
    Ok(c.like(y, data))
}

fn along(c: &mut Context, op: &str, x: ValueId, axis: i64) -> Result<ValueId> {
    if op != "Hardmax" {
        let op = Softmax {
            axis,
            log: op == "LogSoftmax",
            grad: false,
        };
        return Ok(c.node(Op::Softmax(op), &[x]));
    }
    // 1 at the first largest value: where its index is that of the element.
    let place = c.reduce(ReduceKind::ArgMax, x, &[axis], true);
    let n = c.size(x, axis);
    let n = c.reshape(n, &[]);
    let (zero, one) = (c.scalar(0.0, DType::I64), c.scalar(1.0, DType::I64));
    let index = c.late(Late::Range, &[zero, n, one]);
    let rank = c
        .rank(x)
        .ok_or_else(|| unsupported("an input of unknown rank"))? as i64;
    let axis = if axis < 0 { axis + rank } else { axis };
    let after: Vec<i64> = (1..rank - axis).collect();
    let index = if after.is_empty() {
        index
    } else {
        c.unsqueeze(index, &after)
    };
    let hit = c.logic(bantam_core::op::Logic::Equal, &[place, index]);
    Ok(c.cast(hit, c.dtype(x)))
}

fn batch_norm(c: &mut Context, a: &Attributes, x: Inputs) -> Imported {
    let norm = BatchNorm {
        role: NormRole::Inference,
        epsilon: a.float_or("epsilon", 1e-5)?,
        momentum: a.float_or("momentum", 0.9)?,
    };
    a.int("spatial")?;
    let training = a.flag("training_mode", false)?;
    let mut inputs = Vec::new();
    for i in 0..5 {
        inputs.push(need(x, i)?);
    }
    let dtype = c.dtype(inputs[0]);
    if !training {
        for v in &mut inputs[1..] {
            *v = c.cast(*v, dtype);
        }
        return Ok(Some(vec![c.node(Op::BatchNorm(norm), &inputs)]));
    }
    // With the statistics of the batch, and running ones as further outputs.
    let momentum = f64::from(norm.momentum);
    let of_batch = BatchNorm {
        role: NormRole::Training,
        momentum: 0.0,
        ..norm
    };
    let outputs = c.nodes(Op::BatchNorm(of_batch), &inputs[..3], 3);
    if momentum == 0.0 {
        return Ok(Some(outputs));
    }
    let mut results = vec![outputs[0]];
    for (running, batch) in [(inputs[3], outputs[1]), (inputs[4], outputs[2])] {
        let old = c.with(Binary::Mul, running, momentum);
        let batch = c.cast(batch, c.dtype(running));
        let new = c.with(Binary::Mul, batch, 1.0 - momentum);
        results.push(c.add(old, new));
    }
    Ok(Some(results))
}

fn centre(c: &mut Context, x: ValueId, axes: &[i64]) -> (ValueId, ValueId) {
    let mean = c.reduce(ReduceKind::Mean, x, axes, true);
    (mean, c.sub(x, mean))
}

/// `(x - mean) / √(var + ε)` along axes, with the mean and the reciprocal of the root.
fn standardise(
    c: &mut Context,
    x: ValueId,
    axes: &[i64],
    epsilon: f32,
) -> (ValueId, ValueId, ValueId) {
    let (mean, centred) = centre(c, x, axes);
    let (y, inverse) = scale_down(c, centred, axes, epsilon);
    (y, mean, inverse)
}

/// `x / √(mean(x²) + ε)`, and the reciprocal of the root.
fn scale_down(c: &mut Context, x: ValueId, axes: &[i64], epsilon: f32) -> (ValueId, ValueId) {
    let square = c.mul(x, x);
    let var = c.reduce(ReduceKind::Mean, square, axes, true);
    let var = c.with(Binary::Add, var, f64::from(epsilon));
    let std = c.unary(UnaryKind::Sqrt, var);
    let inverse = c.unary(UnaryKind::Reciprocal, std);
    (c.mul(x, inverse), inverse)
}

fn group_norm(c: &mut Context, a: &Attributes, x: Inputs) -> Imported {
    let epsilon = a.float_or("epsilon", 1e-5)?;
    let groups = a.int_or("num_groups", 1)?;
    a.int("stash_type")?;
    let (data, scale, bias) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
    let flat = c.reshape(data, &[0, groups, -1]);
    let (y, _, _) = standardise(c, flat, &[-1], epsilon);
    let y = c.like(y, data);
    let y = match c.opset() < 21 {
        // One scale per group.
        true => {
            let y = c.reshape(y, &[0, groups, -1]);
            let (scale, bias) = (c.unsqueeze(scale, &[1]), c.unsqueeze(bias, &[1]));
            let y = c.mul(y, scale);
            c.add(y, bias)
        }
        false => {
            let y = c.reshape(y, &[0, 0, -1]);
            let (scale, bias) = (c.unsqueeze(scale, &[1]), c.unsqueeze(bias, &[1]));
            let y = c.mul(y, scale);
            c.add(y, bias)
        }
    };
    Ok(Some(vec![c.like(y, data)]))
}

/// The computation is in `f32` where the input is narrower (`stash_type` 1).
fn layer_norm(c: &mut Context, op: &str, a: &Attributes, x: Inputs) -> Imported {
    let epsilon = a.float_or("epsilon", 1e-5)?;
    let axis = a.axis_or("axis", -1)?;
    let stash = a.element_type("stash_type")?.unwrap_or(DType::F32);
    let (input, scale, bias) = (need(x, 0)?, need(x, 1)?, maybe(x, 2));
    let dtype = c.dtype(input);
    let data = if dtype == DType::F64 {
        input
    } else {
        c.cast(input, stash)
    };
    let axes: Vec<i64> = match (axis < 0, c.rank(data)) {
        (true, _) => (axis..0).collect(),
        (false, Some(rank)) => (axis..rank as i64).collect(),
        (false, None) => return Err(unsupported("an input of unknown rank")),
    };
    if axes.is_empty() {
        return Err(Error::corrupt(format!("axis {axis}")));
    }
    let (y, mean, inverse) = match op {
        "LayerNormalization" => {
            let (y, mean, inverse) = standardise(c, data, &axes, epsilon);
            (y, Some(mean), inverse)
        }
        _ => {
            let (y, inverse) = scale_down(c, data, &axes, epsilon);
            (y, None, inverse)
        }
    };
    let y = c.cast(y, dtype);
    let scale = c.cast(scale, dtype);
    let mut y = c.mul(y, scale);
    if let Some(bias) = bias {
        y = c.add(y, bias);
    }
    Ok(Some(
        [Some(y), mean, Some(inverse)]
            .into_iter()
            .flatten()
            .collect(),
    ))
}

fn lp_norm(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let (axis, p) = (a.axis_or("axis", -1)?, a.int_or("p", 2)?);
    let x = need(x, 0)?;
    let norm = match p {
        1 => {
            let size = c.unary(UnaryKind::Abs, x);
            c.reduce(ReduceKind::Sum, size, &[axis], true)
        }
        2 => {
            let square = c.mul(x, x);
            let sum = c.reduce(ReduceKind::Sum, square, &[axis], true);
            c.unary(UnaryKind::Sqrt, sum)
        }
        p => return Err(Error::corrupt(format!("p = {p}: expected 1 or 2"))),
    };
    // A norm of 0 leaves zeros rather than NaN.
    let (zero, one) = (c.scalar(0.0, c.dtype(x)), c.scalar(1.0, c.dtype(x)));
    let nothing = c.logic(bantam_core::op::Logic::Equal, &[norm, zero]);
    let norm = c.select(nothing, one, norm);
    Ok(c.div(x, norm))
}

fn lrn(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let (alpha, beta) = (a.float_or("alpha", 1e-4)?, a.float_or("beta", 0.75)?);
    let (bias, size) = (a.float_or("bias", 1.0)?, a.int_or("size", 1)?);
    let size = usize::try_from(size)
        .ok()
        .filter(|s| (1..=4096).contains(s));
    let size = size.ok_or_else(|| Error::corrupt("size is out of range"))?;
    let data = need(x, 0)?;
    let square = c.mul(data, data);
    // A mean over channels is a pooling along the axis of channels of an image of one column.
    let flat = c.reshape(square, &[0, 1, 0, -1]);
    let (before, after) = ((size as i64 - 1) / 2, size as i64 / 2);
    let pads = c.ints(&[0, 0, before, 0, 0, 0, after, 0]);
    let pad = Late::Pad {
        fill: Fill::Constant,
        value: false,
        axes: false,
    };
    let padded = c.late(pad, &[flat, pads]);
    let pool = bantam_core::op::Pool {
        kernel: Some([size, 1]),
        stride: [1, 1],
        ..bantam_core::op::Pool::global(bantam_core::op::PoolKind::Average {
            count_include_pad: false,
        })
    };
    let mean = c.node(Op::Pool(pool), &[padded]);
    let mean = c.like(mean, data);
    let y = c.with(Binary::Mul, mean, f64::from(alpha));
    let y = c.with(Binary::Add, y, f64::from(bias));
    let y = c.with(Binary::Pow, y, f64::from(beta));
    Ok(c.div(data, y))
}
