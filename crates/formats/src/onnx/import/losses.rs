//! Losses, made of primitive operators.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Index, Logic, ReduceKind, Softmax};
use bantam_core::{DType, Op, ValueId};

use super::context::{Attributes, Context, Imported, maybe, need, unsupported};
use crate::Result;

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: &[Option<ValueId>],
) -> Imported {
    let (scores, labels) = match op {
        "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" => (need(x, 0)?, need(x, 1)?),
        _ => return Ok(None),
    };
    let log = match op {
        "SoftmaxCrossEntropyLoss" => {
            let op = Softmax {
                axis: 1,
                log: true,
                grad: false,
            };
            c.node(Op::Softmax(op), &[scores])
        }
        _ => scores,
    };
    let y = likelihood(c, a, log, labels, maybe(x, 2))?;
    Ok(Some(if op == "SoftmaxCrossEntropyLoss" {
        vec![y, log]
    } else {
        vec![y]
    }))
}

/// `-w[label] log p[label]` for `log: [n, c, …]` and `labels: [n, …]`, reduced.
fn likelihood(
    c: &mut Context,
    a: &Attributes,
    log: ValueId,
    labels: ValueId,
    weight: Option<ValueId>,
) -> Result<ValueId> {
    let ignored = a.int("ignore_index")?;
    let labels = c.cast(labels, DType::I64);
    let dtype = c.dtype(log);
    // An ignored label may be out of range: it is looked up as 0 and weighs nothing.
    let (safe, kept) = match ignored {
        None => (labels, None),
        Some(index) => {
            let (index, zero) = (
                c.scalar(index as f64, DType::I64),
                c.scalar(0.0, DType::I64),
            );
            let hit = c.logic(Logic::Equal, &[labels, index]);
            let safe = c.select(hit, zero, labels);
            let kept = c.logic(Logic::Not, &[hit]);
            (safe, Some(c.cast(kept, dtype)))
        }
    };
    let index = c.unsqueeze(safe, &[1]);
    let chosen = c.node(Op::Index(Index::Elements { axis: 1 }), &[log, index]);
    let chosen = c.squeeze(chosen, &[1]);
    let loss = c.unary(UnaryKind::Neg, chosen);
    let weights = match (weight, kept) {
        (None, None) => None,
        (None, Some(kept)) => Some(kept),
        (Some(w), kept) => {
            let w = c.gather(w, safe, 0);
            Some(match kept {
                Some(kept) => c.mul(w, kept),
                None => w,
            })
        }
    };
    let loss = match weights {
        Some(w) => c.mul(loss, w),
        None => loss,
    };
    Ok(match a.text("reduction")?.unwrap_or("mean") {
        "none" => loss,
        "sum" => c.reduce(ReduceKind::Sum, loss, &[], false),
        "mean" => match weights {
            None => c.reduce(ReduceKind::Mean, loss, &[], false),
            Some(w) => {
                let sum = c.reduce(ReduceKind::Sum, loss, &[], false);
                let total = c.reduce(ReduceKind::Sum, w, &[], false);
                c.div(sum, total)
            }
        },
        other => return Err(unsupported(format!("reduction = {other:?}"))),
    })
}
