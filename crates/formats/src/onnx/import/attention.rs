//! Attention and rotary embeddings, made of primitive operators.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::layout::Fill;
use bantam_core::op::{Binary, Late, Logic, Softmax};
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
        "Attention" => attention(c, a, x).map(Some),
        "RotaryEmbedding" => rotary(c, a, x).map(|y| Some(vec![y])),
        _ => Ok(None),
    }
}

/// `[n, t, heads · size]` as `[n, heads, t, size]`.
fn split_heads(c: &mut Context, x: ValueId, heads: i64) -> ValueId {
    let y = c.reshape(x, &[0, 0, heads, -1]);
    c.transpose(y, &[0, 2, 1, 3])
}

/// Keys and values of fewer heads than queries serve several each: `[n, k, t, s]` to `[n, h, t, s]`.
fn repeat_heads(c: &mut Context, x: ValueId, queries: ValueId) -> ValueId {
    let (h, k) = (c.size(queries, 1), c.size(x, 1));
    let times = c.div(h, k);
    let (n, rest) = (
        c.size(x, 0),
        c.late(
            Late::Shape {
                start: 2,
                end: i64::MAX,
            },
            &[x],
        ),
    );
    let wide = c.concat(0, &[n, k, times, rest]);
    let y = c.unsqueeze(x, &[2]);
    let y = c.late(Late::Expand, &[y, wide]);
    let flat = c.concat(0, &[n, h, rest]);
    c.late(Late::Reshape { allow_zero: true }, &[y, flat])
}

/// The bias that a mask stands for: what is not allowed weighs nothing after the softmax.
fn mask_bias(c: &mut Context, mask: ValueId, dtype: DType) -> ValueId {
    if c.dtype(mask) != DType::Bool {
        return c.cast(mask, dtype);
    }
    let (zero, never) = (c.scalar(0.0, dtype), c.scalar(f64::NEG_INFINITY, dtype));
    c.select(mask, zero, never)
}

/// A list `0, 1, …` as long as `n`, a list of one number, says.
fn count_to(c: &mut Context, n: ValueId) -> ValueId {
    let n = c.reshape(n, &[]);
    let (zero, one) = (c.scalar(0.0, DType::I64), c.scalar(1.0, DType::I64));
    c.late(Late::Range, &[zero, n, one])
}

fn attention(c: &mut Context, a: &Attributes, x: Inputs) -> Result<Vec<ValueId>> {
    let (mut q, mut k, mut v) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
    let (q_heads, kv_heads) = (a.int("q_num_heads")?, a.int("kv_num_heads")?);
    let dtype = c.dtype(q);
    let flat = match (c.rank(q), q_heads) {
        (Some(rank), _) => rank == 3,
        (None, heads) => heads.is_some(),
    };
    if flat {
        let missing = || Error::corrupt("q_num_heads and kv_num_heads are needed for 3 axes");
        let (q_heads, kv_heads) = (q_heads.ok_or_else(missing)?, kv_heads.ok_or_else(missing)?);
        q = split_heads(c, q, q_heads);
        k = split_heads(c, k, kv_heads);
        v = split_heads(c, v, kv_heads);
    }
    let past = maybe(x, 4);
    if let (Some(past_k), Some(past_v)) = (past, maybe(x, 5)) {
        k = c.concat(2, &[past_k, k]);
        v = c.concat(2, &[past_v, v]);
    }
    let (present_k, present_v) = (k, v);
    let bias = bias(c, a, x, (q, k), past, dtype)?;
    let (k, v) = (repeat_heads(c, k, q), repeat_heads(c, v, q));
    let scale = match a.float("scale")? {
        Some(scale) => c.scalar(f64::from(scale), dtype),
        None => {
            let size = c.size(q, 3);
            let size = c.cast(size, dtype);
            let root = c.unary(UnaryKind::Sqrt, size);
            c.unary(UnaryKind::Reciprocal, root)
        }
    };
    let root = c.unary(UnaryKind::Sqrt, scale);
    let (left, right) = (c.mul(q, root), c.mul(k, root));
    let right = c.transpose(right, &[0, 1, 3, 2]);
    let mut scores = c.matmul(left, right);
    let mut shown = scores;
    let mode = a.int_or("qk_matmul_output_mode", 0)?;
    let cap = a.float_or("softcap", 0.0)?;
    if cap > 0.0 {
        scores = c.with(Binary::Div, scores, f64::from(cap));
        scores = c.unary(UnaryKind::Tanh, scores);
        scores = c.with(Binary::Mul, scores, f64::from(cap));
        shown = scores;
    }
    if let Some(bias) = bias {
        scores = c.add(scores, bias);
    }
    if mode == 2 {
        shown = scores;
    }
    let wide = a.element_type("softmax_precision")?.unwrap_or(dtype);
    let scores = c.cast(scores, wide);
    let shares = c.node(
        Op::Softmax(Softmax {
            axis: -1,
            log: false,
            grad: false,
        }),
        &[scores],
    );
    if mode == 3 {
        shown = shares;
    }
    let v = c.cast(v, wide);
    let y = c.matmul(shares, v);
    let mut y = c.cast(y, dtype);
    if flat {
        y = c.transpose(y, &[0, 2, 1, 3]);
        y = c.reshape(y, &[0, 0, -1]);
    }
    let shown = c.cast(shown, dtype);
    Ok(vec![y, present_k, present_v, shown])
}

/// What is added to the scores: the mask, what is later than a query, what is padding.
fn bias(
    c: &mut Context,
    a: &Attributes,
    x: Inputs,
    (q, k): (ValueId, ValueId),
    past: Option<ValueId>,
    dtype: DType,
) -> Result<Option<ValueId>> {
    let total = c.size(k, 2);
    let mut sum = None;
    if let Some(mask) = maybe(x, 3) {
        let bias = mask_bias(c, mask, dtype);
        // A mask that stops short of the last key allows nothing beyond its end.
        let have = c.size(mask, -1);
        let more = c.sub(total, have);
        let more = c.with(Binary::Max, more, 0.0);
        let none = c.ints(&[0]);
        let pads = c.concat(0, &[none, more]);
        let never = c.scalar(f64::NEG_INFINITY, dtype);
        let last = c.ints(&[-1]);
        let pad = Late::Pad {
            fill: Fill::Constant,
            value: true,
            axes: true,
        };
        sum = Some(c.late(pad, &[bias, pads, never, last]));
    }
    let (zero, never) = (c.scalar(0.0, dtype), c.scalar(f64::NEG_INFINITY, dtype));
    if a.flag("is_causal", false)? {
        let n = c.size(q, 2);
        let row = count_to(c, n);
        let row = match past {
            Some(past) => {
                let before = c.size(past, 2);
                c.add(row, before)
            }
            None => row,
        };
        let row = c.unsqueeze(row, &[1]);
        let column = count_to(c, total);
        let allowed = c.logic(Logic::LessOrEqual, &[column, row]);
        let bias = c.select(allowed, zero, never);
        sum = Some(sum.map_or(bias, |s| c.add(s, bias)));
    }
    if let Some(lengths) = maybe(x, 6) {
        let column = count_to(c, total);
        let lengths = c.cast(lengths, DType::I64);
        let lengths = c.reshape(lengths, &[-1, 1, 1, 1]);
        let real = c.logic(Logic::Less, &[column, lengths]);
        let bias = c.select(real, zero, never);
        sum = Some(sum.map_or(bias, |s| c.add(s, bias)));
    }
    Ok(sum)
}

/// Pairs of features turned by an angle of their position: the two halves, or neighbours.
fn rotary(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let (input, mut cos, mut sin) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
    let interleaved = a.flag("interleaved", false)?;
    let width = a.int_or("rotary_embedding_dim", 0)?;
    let heads = a.int_or("num_heads", 0)?;
    let rank = c
        .rank(input)
        .ok_or_else(|| unsupported("an input of unknown rank"))?;
    let data = match rank {
        4 => c.transpose(input, &[0, 2, 1, 3]),
        _ => c.reshape(input, &[0, 0, heads, -1]),
    };
    if let Some(positions) = maybe(x, 3) {
        cos = c.gather(cos, positions, 0);
        sin = c.gather(sin, positions, 0);
    }
    let (cos, sin) = (c.unsqueeze(cos, &[2]), c.unsqueeze(sin, &[2]));
    let part = |c: &mut Context, x: ValueId, from: ValueId, to: ValueId, step: i64| {
        let (axes, steps) = (c.ints(&[-1]), c.ints(&[step]));
        c.late(
            Late::Slice {
                axes: true,
                steps: true,
            },
            &[x, from, to, axes, steps],
        )
    };
    let (start, end) = (c.ints(&[0]), c.ints(&[i64::MAX]));
    let middle = if width == 0 { end } else { c.ints(&[width]) };
    let turned = part(c, data, start, middle, 1);
    let (first, second) = if interleaved {
        let one = c.ints(&[1]);
        (part(c, turned, start, end, 2), part(c, turned, one, end, 2))
    } else {
        let size = c.size(turned, -1);
        let half = c.with(Binary::Div, size, 2.0);
        (
            part(c, turned, start, half, 1),
            part(c, turned, half, end, 1),
        )
    };
    let [cf, ss, sf, cs] =
        [(cos, first), (sin, second), (sin, first), (cos, second)].map(|(a, b)| c.mul(a, b));
    let (real, imaginary) = (c.sub(cf, ss), c.add(sf, cs));
    let turned = if interleaved {
        let (r, i) = (c.unsqueeze(real, &[-1]), c.unsqueeze(imaginary, &[-1]));
        let pairs = c.concat(-1, &[r, i]);
        c.like(pairs, turned)
    } else {
        c.concat(-1, &[real, imaginary])
    };
    let mut y = turned;
    if width != 0 {
        let rest = part(c, data, middle, end, 1);
        y = c.concat(-1, &[turned, rest]);
    }
    Ok(match rank {
        4 => c.transpose(y, &[0, 2, 1, 3]),
        _ => c.like(y, input),
    })
}
