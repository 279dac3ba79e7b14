//! Elementwise functions, their gradients, dropout masks.

use bantam_core::elements::broadcast_strides;
use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Dropout, Unary};
use bantam_kernels::{self as kernels, map, zip_map, zip3_map};

use super::{Out, View, out};

pub(super) fn unary(op: &Unary, inputs: &[View], y: &mut Out) {
    if op.grad {
        return unary_grad(op.kind, inputs, out(y));
    }
    function(op.kind, inputs[0].f32(), out(y));
}

/// `y = f(x)`, value by value.
pub(crate) fn function(kind: UnaryKind, x: &[f32], y: &mut [f32]) {
    match kind {
        UnaryKind::Identity => y.copy_from_slice(x),
        UnaryKind::Relu => map(x, y, |v| if v > 0.0 { v } else { 0.0 }),
        UnaryKind::Relu6 => map(x, y, |v| if v > 0.0 { v.min(6.0) } else { 0.0 }),
        UnaryKind::LeakyRelu { alpha } => map(x, y, |v| if v > 0.0 { v } else { alpha * v }),
        UnaryKind::Elu { alpha } => map(x, y, |v| if v > 0.0 { v } else { alpha * v.exp_m1() }),
        UnaryKind::Sigmoid => map(x, y, kernels::sigmoid),
        UnaryKind::Tanh => map(x, y, kernels::tanh),
        UnaryKind::Softplus => map(x, y, |v| v.max(0.0) + (-v.abs()).exp().ln_1p()),
        UnaryKind::Exp => map(x, y, kernels::exp),
        UnaryKind::Log => map(x, y, f32::ln),
        UnaryKind::Sqrt => map(x, y, f32::sqrt),
        UnaryKind::Abs => map(x, y, f32::abs),
        UnaryKind::Neg => map(x, y, |v| -v),
        UnaryKind::Ceil => map(x, y, f32::ceil),
        UnaryKind::Floor => map(x, y, f32::floor),
        UnaryKind::Round => map(x, y, f32::round_ties_even),
        UnaryKind::Reciprocal => map(x, y, |v| 1.0 / v),
        UnaryKind::Erf => map(x, y, kernels::erf),
        UnaryKind::Sin
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
        | UnaryKind::Sign => map(x, y, |v| kind.value(f64::from(v)) as f32),
    }
}

/// Only what the operator reads is touched: `x` or `y` or both, see `Unary::reads`.
fn unary_grad(kind: UnaryKind, inputs: &[View], dx: &mut [f32]) {
    let dy = inputs[2].f32();
    let x = || inputs[0].f32();
    let y = || inputs[1].f32();
    let gate = |on: bool, d: f32| if on { d } else { 0.0 };
    match kind {
        UnaryKind::Identity => dx.copy_from_slice(dy),
        UnaryKind::Neg => map(dy, dx, |d| -d),
        UnaryKind::Relu => zip_map(y(), dy, dx, |y, d| gate(y > 0.0, d)),
        UnaryKind::Relu6 => zip_map(y(), dy, dx, |y, d| gate(y > 0.0 && y < 6.0, d)),
        UnaryKind::LeakyRelu { alpha } => {
            zip_map(x(), dy, dx, |x, d| if x > 0.0 { d } else { alpha * d });
        }
        UnaryKind::Elu { alpha } => {
            zip3_map(
                x(),
                y(),
                dy,
                dx,
                |x, y, d| if x > 0.0 { d } else { d * (y + alpha) },
            );
        }
        UnaryKind::Sigmoid => zip_map(y(), dy, dx, |y, d| d * y * (1.0 - y)),
        UnaryKind::Tanh => zip_map(y(), dy, dx, |y, d| d * (1.0 - y * y)),
        UnaryKind::Softplus => zip_map(x(), dy, dx, |x, d| d * kernels::sigmoid(x)),
        UnaryKind::Exp => zip_map(y(), dy, dx, |y, d| d * y),
        UnaryKind::Log => zip_map(x(), dy, dx, |x, d| d / x),
        UnaryKind::Sqrt => zip_map(y(), dy, dx, |y, d| d * 0.5 / y),
        UnaryKind::Abs => zip_map(x(), dy, dx, |x, d| {
            d * (gate(x > 0.0, 1.0) - gate(x < 0.0, 1.0))
        }),
        UnaryKind::Ceil | UnaryKind::Floor | UnaryKind::Round | UnaryKind::Sign => dx.fill(0.0),
        UnaryKind::Tan | UnaryKind::Reciprocal => {
            zip_map(y(), dy, dx, |y, d| {
                d * kind.derivative(0.0, f64::from(y)) as f32
            });
        }
        UnaryKind::Erf
        | UnaryKind::Sin
        | UnaryKind::Cos
        | UnaryKind::Asin
        | UnaryKind::Acos
        | UnaryKind::Atan
        | UnaryKind::Sinh
        | UnaryKind::Cosh
        | UnaryKind::Asinh
        | UnaryKind::Acosh
        | UnaryKind::Atanh => {
            zip_map(x(), dy, dx, |x, d| {
                d * kind.derivative(f64::from(x), 0.0) as f32
            });
        }
    }
}

pub(super) fn binary(op: Binary, inputs: &[View], y: &mut Out) {
    let shape = y.1.shape.clone();
    let (a, b) = (inputs[0], inputs[1]);
    let (sa, sb) = (
        broadcast_strides(a.shape(), &shape),
        broadcast_strides(b.shape(), &shape),
    );
    let (a, b, y) = (a.f32(), b.f32(), out(y));
    match op {
        Binary::Add => kernels::broadcast_zip(&shape, a, &sa, b, &sb, y, |a, b| a + b),
        Binary::Sub => kernels::broadcast_zip(&shape, a, &sa, b, &sb, y, |a, b| a - b),
        Binary::Mul => kernels::broadcast_zip(&shape, a, &sa, b, &sb, y, |a, b| a * b),
        Binary::Div => kernels::broadcast_zip(&shape, a, &sa, b, &sb, y, |a, b| a / b),
        Binary::Pow | Binary::Max | Binary::Min | Binary::Mod | Binary::Rem => {
            let f = |a, b| op.value(f64::from(a), f64::from(b)) as f32;
            kernels::broadcast_zip(&shape, a, &sa, b, &sb, y, f);
        }
    }
}

/// Numbers of signed bytes.
pub(super) fn bytes_to_floats(x: &[i8], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = f32::from(x));
}

pub(super) fn dropout(op: &Dropout, inputs: &[View], y: &mut Out) {
    match *op {
        Dropout::Identity { .. } => out(y).copy_from_slice(inputs[0].f32()),
        Dropout::Mask { ratio, stream } => {
            let seed = inputs[1].values::<i64>()[0];
            for (i, v) in out::<f32>(y).iter_mut().enumerate() {
                *v = Dropout::mask_value(ratio, stream, seed, i as u64);
            }
        }
    }
}
