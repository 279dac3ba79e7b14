//! Operators that sum: normalisation, softmax, reductions, losses.

use bantam_core::Op;
use bantam_core::op::norm::channels;
use bantam_core::op::reduce::reduced_axes;
use bantam_core::op::{BatchNorm, Loss, LossKind, NormRole, Reduce, ReduceKind, Softmax, around};
use bantam_kernels::last::Clamp;
use bantam_kernels::{self as kernels, Affine};

use super::{Out, View, by_reference, check_indices, out};
use crate::Result;

/// Batch normalisation, with a clamp behind it in training; then its gradient reads `beta` last.
pub(crate) fn batch_norm(
    op: &BatchNorm,
    clamp: Option<Clamp>,
    inputs: &[View],
    outputs: &mut [Out],
) {
    let (n, c, s) = channels(inputs[0].shape());
    let v = |i: usize| inputs[i].f32();
    let affine = |beta| Affine {
        gamma: v(1),
        beta,
        epsilon: op.epsilon,
        clamp,
    };
    match (op.role, outputs) {
        (NormRole::Inference, [y]) => {
            kernels::batch_norm([n, c, s], v(0), affine(v(2)), [v(3), v(4)], out(y));
        }
        (NormRole::Training, [y, mean, var]) => {
            let (y, moments) = (out(y), [out(mean), out(var)]);
            kernels::batch_norm_train([n, c, s], v(0), affine(v(2)), y, moments);
        }
        (NormRole::Grad, [dx, dgamma, dbeta]) => {
            let (dx, dparams) = (out(dx), [out(dgamma), out(dbeta)]);
            let affine = affine(inputs.get(5).map_or(&[], View::f32));
            kernels::batch_norm_grad([n, c, s], v(0), affine, [v(2), v(3)], v(4), dx, dparams);
        }
        _ => unreachable!("the shape rule fixes the number of outputs"),
    }
}

pub(super) fn softmax(op: &Softmax, inputs: &[View], y: &mut Out) {
    let shape = inputs[0].shape();
    let axis = if op.axis < 0 {
        shape.len() as i64 + op.axis
    } else {
        op.axis
    } as usize;
    let (outer, c, inner) = around(shape, axis);
    let first = inputs[0].f32();
    match (op.log, op.grad) {
        (false, false) => kernels::softmax(outer, c, inner, first, out(y)),
        (true, false) => kernels::log_softmax(outer, c, inner, first, out(y)),
        (false, true) => kernels::softmax_grad(outer, c, inner, first, inputs[1].f32(), out(y)),
        (true, true) => kernels::log_softmax_grad(outer, c, inner, first, inputs[1].f32(), out(y)),
    }
}

pub(super) fn reduce(op: &Op, reduce: &Reduce, inputs: &[View], y: &mut Out) -> Result<()> {
    match reduce {
        Reduce::Axes { kind, axes, .. } => {
            let shape = inputs[0].shape();
            match (kind, run_of_axes(axes, shape)) {
                (kind, Some((outer, len, inner))) if kind.has_gradient() && len > 0 => {
                    reduce_run(*kind, outer, len, inner, inputs[0].f32(), out(y));
                }
                _ => return by_reference(op, inputs, y),
            }
        }
        Reduce::SumTo => return sum_to(op, inputs, y),
        Reduce::Grad { .. } => return by_reference(op, inputs, y),
    }
    Ok(())
}

/// The shape as `[outer, reduced, inner]` when the reduced axes stand side by side.
fn run_of_axes(axes: &[i64], shape: &[usize]) -> Option<(usize, usize, usize)> {
    let reduced = reduced_axes(axes, shape.len()).ok()?;
    let first = reduced.iter().position(|&r| r).unwrap_or(shape.len());
    let last = reduced.iter().rposition(|&r| r).map_or(first, |l| l + 1);
    let product = |part: &[usize]| part.iter().product();
    reduced[first..last].iter().all(|&r| r).then(|| {
        (
            product(&shape[..first]),
            product(&shape[first..last]),
            product(&shape[last..]),
        )
    })
}

fn reduce_run(kind: ReduceKind, outer: usize, len: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    match kind {
        ReduceKind::Sum => kernels::sum_axis(outer, len, inner, x, y),
        ReduceKind::Mean => {
            kernels::sum_axis(outer, len, inner, x, y);
            kernels::scale(y, 1.0 / len as f32);
        }
        ReduceKind::Max => kernels::max_axis(outer, len, inner, x, y),
        ReduceKind::Min => kernels::min_axis(outer, len, inner, x, y),
        _ => unreachable!("other kinds run by reference"),
    }
}

/// Sums one broadcast axis after the other.
fn sum_to(op: &Op, inputs: &[View], y: &mut Out) -> Result<()> {
    let (mut shape, like) = (inputs[0].shape().to_vec(), inputs[1].shape());
    if shape == like {
        out(y).copy_from_slice(inputs[0].f32());
        return Ok(());
    }
    let added = shape.len() - like.len();
    let broadcast = |axis: usize, shape: &[usize]| {
        axis < added || (like[axis - added] == 1 && shape[axis] != 1)
    };
    let axes: Vec<usize> = (0..shape.len()).filter(|&a| broadcast(a, &shape)).collect();
    if axes.is_empty() || shape.contains(&0) {
        return by_reference(op, inputs, y);
    }
    let mut x = inputs[0].f32().to_vec();
    for &axis in &axes {
        let (outer, len, inner) = around(&shape, axis);
        let mut sum = vec![0.0; outer * inner];
        kernels::sum_axis(outer, len, inner, &x, &mut sum);
        shape[axis] = 1;
        x = sum;
    }
    out::<f32>(y).copy_from_slice(&x);
    Ok(())
}

pub(super) fn loss(op: &Loss, inputs: &[View], y: &mut Out) -> Result<()> {
    let x = inputs[0];
    let scale = if op.grad { inputs[2].f32()[0] } else { 1.0 };
    if let LossKind::CrossEntropy { label_smoothing } = op.kind {
        let (n, c, labels) = (x.shape()[0], x.shape()[1], inputs[1].values::<i64>());
        check_indices("label", labels, c)?;
        if op.grad {
            kernels::cross_entropy_grad(n, c, x.f32(), labels, label_smoothing, scale, out(y));
        } else {
            out(y)[0] = kernels::cross_entropy(n, c, x.f32(), labels, label_smoothing);
        }
        return Ok(());
    }
    let (x, t) = (x.f32(), inputs[1].f32());
    let squared = op.kind == LossKind::MeanSquaredError;
    if op.grad {
        let scale = scale / x.len() as f32;
        if squared {
            kernels::zip_map(x, t, out(y), |x, t| 2.0 * scale * (x - t));
        } else {
            kernels::zip_map(x, t, out(y), |x, t| scale * (kernels::sigmoid(x) - t));
        }
    } else {
        let term = |(&x, &t): (&f32, &f32)| {
            let (x, t) = (f64::from(x), f64::from(t));
            if squared {
                (x - t).powi(2)
            } else {
                x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()
            }
        };
        let sum: f64 = x.iter().zip(t).map(term).sum();
        out(y)[0] = (sum / x.len() as f64) as f32;
    }
    Ok(())
}
