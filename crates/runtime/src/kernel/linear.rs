//! Dense layers and matrix products.

use bantam_core::elements::broadcast_index;
use bantam_core::op::MatMul;
use bantam_core::op::linear::batch_of;
use bantam_kernels::{MatRef, Precision};

use super::{Out, View, out};
use crate::Result;

pub(super) fn dense(precision: Precision, inputs: &[View], y: &mut Out) {
    let (x, w) = (inputs[0], inputs[1]);
    let (n, k, m) = (x.shape()[0], x.shape()[1], w.shape()[0]);
    let bias = inputs.get(2).map(View::f32);
    precision.dense([n, k, m], x.f32(), w.f32(), bias, out(y));
}

pub(super) fn matmul(
    op: &MatMul,
    precision: Precision,
    inputs: &[View],
    y: &mut Out,
) -> Result<()> {
    let (a, b) = (inputs[0], inputs[1]);
    let s = op.sizes(a.shape(), b.shape())?;
    let (batch_a, batch_b) = (batch_of(a.shape()), batch_of(b.shape()));
    let (a, b, y) = (a.f32(), b.f32(), out::<f32>(y));
    let plane = s.m * s.n;
    for i in 0..s.batch.iter().product() {
        let a = &a[broadcast_index(i, &s.batch, batch_a) * s.m * s.k..];
        let b = &b[broadcast_index(i, &s.batch, batch_b) * s.k * s.n..];
        let a = operand(op.transpose_a, a, s.m, s.k);
        let b = operand(op.transpose_b, b, s.k, s.n);
        let y = &mut y[i * plane..][..plane];
        precision.matmul([s.m, s.n, s.k], a, b, y);
    }
    Ok(())
}

/// An operand that is `[rows, cols]` once transposed.
fn operand(transposed: bool, data: &[f32], rows: usize, cols: usize) -> MatRef<'_> {
    if transposed {
        MatRef::transposed(data, rows)
    } else {
        MatRef::row_major(data, cols)
    }
}
