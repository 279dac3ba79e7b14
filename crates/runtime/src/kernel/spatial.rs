//! Convolution and pooling.

use bantam_core::op::Type;
use bantam_core::op::conv::image;
use bantam_core::op::{Conv, ConvRole, Pool, PoolKind};
use bantam_kernels::{self as kernels, ConvShape, PoolShape, Precision};

use super::{Out, View, out};

pub(crate) fn conv_shape(op: &Conv, x: &[usize], w: &[usize]) -> ConvShape {
    let x = image(x).expect("shapes passed the shape rule");
    let w = image(w).expect("shapes passed the shape rule");
    ConvShape {
        n: x[0],
        c_in: x[1],
        h: x[2],
        w: x[3],
        c_out: w[0],
        kernel: [w[2], w[3]],
        stride: op.stride,
        padding: op.padding,
        dilation: op.dilation,
        groups: op.groups,
    }
}

pub(super) fn conv(op: &Conv, precision: Precision, inputs: &[View], y: &mut Out) {
    let shape = |x: usize, w: usize| conv_shape(op, inputs[x].shape(), inputs[w].shape());
    let (a, b) = (inputs[0].f32(), inputs[1].f32());
    match op.role {
        ConvRole::Forward => {
            precision.conv(&shape(0, 1), a, b, inputs.get(2).map(View::f32), out(y));
        }
        ConvRole::Transposed { .. } => {
            let s = conv_shape(op, &y.1.shape, inputs[1].shape());
            precision.conv_grad_input(&s, a, b, out(y));
            if let Some(bias) = inputs.get(2) {
                let (area, bias) = (s.h * s.w, bias.f32());
                let planes = out::<f32>(y).chunks_exact_mut(area.max(1)).enumerate();
                planes.for_each(|(i, plane)| {
                    plane.iter_mut().for_each(|v| *v += bias[i % bias.len()]);
                });
            }
        }
        ConvRole::GradInput => precision.conv_grad_input(&shape(2, 1), a, b, out(y)),
        ConvRole::GradWeight => precision.conv_grad_weight(&shape(0, 2), a, b, out(y)),
    }
}

/// Whether operands of a convolution of these types are rounded.
pub(super) fn conv_rounds(op: &Conv, precision: Precision, inputs: &[&Type], y: &Type) -> bool {
    let shape = |x: usize, w: usize| conv_shape(op, &inputs[x].shape, &inputs[w].shape);
    if inputs[0].shape.len() != 4 {
        return false;
    }
    match op.role {
        ConvRole::Forward => precision.rounds_conv(&shape(0, 1)),
        ConvRole::Transposed { .. } => {
            precision.rounds_grad_input(&conv_shape(op, &y.shape, &inputs[1].shape))
        }
        ConvRole::GradInput => precision.rounds_grad_input(&shape(2, 1)),
        ConvRole::GradWeight => precision.rounds_grad_weight(&shape(0, 2)),
    }
}

pub(crate) fn pool_shape(op: &Pool, x: &[usize]) -> PoolShape {
    PoolShape {
        n: x[0],
        c: x[1],
        h: x[2],
        w: x[3],
        kernel: op.kernel_for(x),
        stride: op.stride,
        padding: op.padding,
    }
}

pub(super) fn pool(op: &Pool, inputs: &[View], y: &mut Out) {
    let x = inputs[0];
    let shape = pool_shape(op, x.shape());
    match (op.kind, op.grad) {
        (PoolKind::Max, false) => kernels::max_pool(&shape, x.f32(), out(y)),
        (PoolKind::Max, true) => {
            kernels::max_pool_grad(&shape, x.f32(), inputs[1].f32(), out(y));
        }
        (PoolKind::Average { count_include_pad }, false) => {
            kernels::average_pool(&shape, count_include_pad, x.f32(), out(y));
        }
        (PoolKind::Average { count_include_pad }, true) => {
            kernels::average_pool_grad(&shape, count_include_pad, inputs[1].f32(), out(y));
        }
    }
}

/// Whether the kernel of the gradient computes this transposed convolution: it wants the image to be
/// one from which a convolution would give `x`.
pub(super) fn is_gradient(op: &Conv, inputs: &[View], y: &Type) -> bool {
    let back = op
        .with_role(ConvRole::Forward)
        .output_shape(&y.shape, inputs[1].shape());
    back.is_ok_and(|x| x == inputs[0].shape())
}
