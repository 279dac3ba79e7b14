//! The derivative of each operator family.

use bantam_core::op::layout::SliceRange;
use bantam_core::op::{
    BatchNorm, Binary, Conv, ConvRole, Dropout, Gather, Layout, Loss, LossKind, MatMul, NormRole,
    Pool, Reduce, ReduceKind, Softmax, Unary, elementwise::UnaryKind,
};
use bantam_core::{Node, Op, ValueId};

use super::Tape;
use crate::{Error, ErrorKind, Result};

/// Adds to the adjoints of the inputs of `node`, given those of its outputs, of which at least one
/// is there.
pub(super) fn backward(t: &mut Tape, node: &Node, dys: &[Option<ValueId>]) -> Result<()> {
    let first = || dys[0].ok_or_else(|| no_gradient("only its first output has a derivative"));
    let (x, y) = (&node.inputs[..], &node.outputs[..]);
    match &node.op {
        Op::Dense(_) => dense(t, x, first()?),
        Op::MatMul(op) => matmul(t, *op, x, first()?),
        Op::Conv(op) => conv(t, *op, x, first()?)?,
        Op::Pool(op) => pool(t, *op, x, first()?)?,
        Op::BatchNorm(op) => batch_norm(t, *op, x, y, dys)?,
        Op::Unary(op) => unary(t, *op, x, y, first()?)?,
        Op::Binary(op) => binary(t, *op, x, first()?)?,
        Op::Softmax(op) => softmax(t, *op, x, y, first()?)?,
        Op::Reduce(op) => reduce(t, op, x, y, first()?)?,
        Op::Layout(op) => layout(t, op, x, first()?)?,
        Op::Gather(op) => gather(t, *op, x, first()?)?,
        Op::Dropout(op) => dropout(t, op, x, first()?),
        Op::Loss(op) => loss(t, *op, x, first()?)?,
        Op::Cast(_)
        | Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Recurrent(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Late(_)
        | Op::Quantize(_)
        | Op::Find(_)
        | Op::Control(_) => {
            return Err(no_gradient("this operator has no derivative here"));
        }
    }
    Ok(())
}

fn no_gradient(why: &str) -> Error {
    Error::new(ErrorKind::Gradient, why)
}

/// Sums `dx` to the shape of the forward value `x` where broadcasting had repeated it.
fn unbroadcast(t: &mut Tape, dx: ValueId, dx_shape: &[usize], x: ValueId) -> ValueId {
    if dx_shape == t.shape(x) {
        return dx;
    }
    t.emit("unbroadcast", Op::Reduce(Reduce::SumTo), &[dx, x])
}

fn product(transpose_a: bool, transpose_b: bool) -> Op {
    Op::MatMul(MatMul {
        transpose_a,
        transpose_b,
    })
}

fn dense(t: &mut Tape, inputs: &[ValueId], dy: ValueId) {
    let (x, w) = (inputs[0], inputs[1]);
    if t.needs(x) {
        let dx = t.emit("dense.x", product(false, false), &[dy, w]);
        t.add(x, dx);
    }
    if t.needs(w) {
        let dw = t.emit("dense.w", product(true, false), &[dy, x]);
        t.add(w, dw);
    }
    if let Some(&b) = inputs.get(2).filter(|b| t.needs(**b)) {
        let db = t.emit("dense.b", sum_axes(&[0]), &[dy]);
        t.add(b, db);
    }
}

fn sum_axes(axes: &[i64]) -> Op {
    Op::Reduce(Reduce::Axes {
        kind: ReduceKind::Sum,
        axes: axes.to_vec(),
        keep_dims: false,
    })
}

fn matmul(t: &mut Tape, op: MatMul, inputs: &[ValueId], dy: ValueId) {
    let (a, b) = (inputs[0], inputs[1]);
    let types = (t.shape(a).to_vec(), t.shape(b).to_vec());
    let sizes = op.sizes(&types.0, &types.1).expect("the graph is valid");
    let grown = |shape: &[usize]| {
        let mut s = sizes.batch.clone();
        s.extend(&shape[shape.len() - 2..]);
        s
    };
    if t.needs(a) {
        let (op, args) = if op.transpose_a {
            (product(op.transpose_b, true), [b, dy])
        } else {
            (product(false, !op.transpose_b), [dy, b])
        };
        let da = t.emit("matmul.a", op, &args);
        let da = unbroadcast(t, da, &grown(&types.0), a);
        t.add(a, da);
    }
    if t.needs(b) {
        let (op, args) = if op.transpose_b {
            (product(true, op.transpose_a), [dy, a])
        } else {
            (product(!op.transpose_a, false), [a, dy])
        };
        let db = t.emit("matmul.b", op, &args);
        let db = unbroadcast(t, db, &grown(&types.1), b);
        t.add(b, db);
    }
}

fn conv(t: &mut Tape, op: Conv, inputs: &[ValueId], dy: ValueId) -> Result<()> {
    if op.role != ConvRole::Forward {
        return Err(no_gradient("the gradient of a gradient"));
    }
    let (x, w) = (inputs[0], inputs[1]);
    if t.needs(x) {
        let dx = t.emit(
            "conv.x",
            Op::Conv(op.with_role(ConvRole::GradInput)),
            &[dy, w, x],
        );
        t.add(x, dx);
    }
    if t.needs(w) {
        let dw = t.emit(
            "conv.w",
            Op::Conv(op.with_role(ConvRole::GradWeight)),
            &[x, dy, w],
        );
        t.add(w, dw);
    }
    if let Some(&b) = inputs.get(2).filter(|b| t.needs(**b)) {
        // Two sums over axes that stand side by side are fast; one over axes 0, 2, 3 is not.
        let space: Vec<i64> = (2..t.shape(x).len() as i64).collect();
        let area = t.emit("conv.b.area", sum_axes(&space), &[dy]);
        let db = t.emit("conv.b", sum_axes(&[0]), &[area]);
        t.add(b, db);
    }
    Ok(())
}

fn pool(t: &mut Tape, op: Pool, inputs: &[ValueId], dy: ValueId) -> Result<()> {
    if op.grad {
        return Err(no_gradient("the gradient of a gradient"));
    }
    let dx = t.emit(
        "pool",
        Op::Pool(Pool { grad: true, ..op }),
        &[inputs[0], dy],
    );
    t.add(inputs[0], dx);
    Ok(())
}

fn batch_norm(
    t: &mut Tape,
    op: BatchNorm,
    x: &[ValueId],
    y: &[ValueId],
    dys: &[Option<ValueId>],
) -> Result<()> {
    match op.role {
        NormRole::Training => {
            if dys[1].is_some() || dys[2].is_some() {
                return Err(no_gradient("the batch statistics are not differentiated"));
            }
            let dy = dys[0].ok_or_else(|| no_gradient("the normalised value has no adjoint"))?;
            let name = t.b.fresh("grad.batch_norm");
            let op = Op::BatchNorm(op.with_role(NormRole::Grad));
            let [dx, dgamma, dbeta] = t.b.node_n(&name, op, &[x[0], x[1], y[1], y[2], dy]);
            x.iter()
                .zip([dx, dgamma, dbeta])
                .for_each(|(&v, d)| t.add(v, d));
            Ok(())
        }
        NormRole::Inference => Err(no_gradient(
            "normalisation with stored statistics: train its training form",
        )),
        NormRole::Grad => Err(no_gradient("the gradient of a gradient")),
    }
}

fn unary(t: &mut Tape, op: Unary, x: &[ValueId], y: &[ValueId], dy: ValueId) -> Result<()> {
    if op.grad {
        return Err(no_gradient("the gradient of a gradient"));
    }
    let dx = match op.kind {
        UnaryKind::Identity => dy,
        kind => {
            let op = Op::Unary(Unary { kind, grad: true });
            t.emit("unary", op, &[x[0], y[0], dy])
        }
    };
    t.add(x[0], dx);
    Ok(())
}

fn binary(t: &mut Tape, op: Binary, inputs: &[ValueId], dy: ValueId) -> Result<()> {
    if !matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div) {
        return Err(no_gradient("this operator has no derivative here"));
    }
    let (a, b) = (inputs[0], inputs[1]);
    let shape = bantam_core::elements::broadcast_shape(t.shape(a), t.shape(b));
    let shape = shape.expect("the graph is valid");
    let with = |t: &mut Tape, op: Binary, x: ValueId, y: ValueId| {
        t.emit("binary", Op::Binary(op), &[x, y])
    };
    let negative =
        |t: &mut Tape, x: ValueId| t.emit("negative", Op::Unary(Unary::new(UnaryKind::Neg)), &[x]);
    if t.needs(a) {
        let da = match op {
            Binary::Add | Binary::Sub => dy,
            Binary::Mul => with(t, Binary::Mul, dy, b),
            _ => with(t, Binary::Div, dy, b),
        };
        let da = unbroadcast(t, da, &shape, a);
        t.add(a, da);
    }
    if t.needs(b) {
        let db = match op {
            Binary::Add => dy,
            Binary::Sub => negative(t, dy),
            Binary::Mul => with(t, Binary::Mul, dy, a),
            _ => {
                // d(a / b) / db = -(a / b) / b.
                let ratio = with(t, Binary::Div, a, b);
                let slope = with(t, Binary::Div, ratio, b);
                let share = with(t, Binary::Mul, dy, slope);
                negative(t, share)
            }
        };
        let db = unbroadcast(t, db, &shape, b);
        t.add(b, db);
    }
    Ok(())
}

fn softmax(t: &mut Tape, op: Softmax, x: &[ValueId], y: &[ValueId], dy: ValueId) -> Result<()> {
    if op.grad {
        return Err(no_gradient("the gradient of a gradient"));
    }
    let dx = t.emit(
        "softmax",
        Op::Softmax(Softmax { grad: true, ..op }),
        &[y[0], dy],
    );
    t.add(x[0], dx);
    Ok(())
}

fn reduce(t: &mut Tape, op: &Reduce, x: &[ValueId], y: &[ValueId], dy: ValueId) -> Result<()> {
    let Reduce::Axes {
        kind,
        axes,
        keep_dims,
    } = op.clone()
    else {
        return Err(no_gradient("the gradient of a gradient"));
    };
    if !kind.has_gradient() {
        return Err(no_gradient("this reduction has no derivative here"));
    }
    let op = Op::Reduce(Reduce::Grad {
        kind,
        axes,
        keep_dims,
    });
    let dx = t.emit("reduce", op, &[x[0], y[0], dy]);
    t.add(x[0], dx);
    Ok(())
}

fn layout(t: &mut Tape, op: &Layout, x: &[ValueId], dy: ValueId) -> Result<()> {
    let (op, inputs) = match op {
        Layout::Reshape { .. } => (Layout::ReshapeLike, vec![dy, x[0]]),
        Layout::Transpose { permutation } => {
            let mut inverse = vec![0; permutation.len()];
            permutation
                .iter()
                .enumerate()
                .for_each(|(i, &p)| inverse[p] = i);
            (
                Layout::Transpose {
                    permutation: inverse,
                },
                vec![dy],
            )
        }
        Layout::Slice { ranges } => (
            Layout::SliceGrad {
                ranges: ranges.clone(),
            },
            vec![dy, x[0]],
        ),
        Layout::Pad { padding, .. } => (
            Layout::Slice {
                ranges: inside(padding),
            },
            vec![dy],
        ),
        Layout::Concat { axis } => {
            for (index, &v) in x.iter().enumerate() {
                if t.needs(v) {
                    let inputs: Vec<ValueId> = std::iter::once(dy).chain(x.to_vec()).collect();
                    let op = Op::Layout(Layout::ConcatGrad { axis: *axis, index });
                    let dx = t.emit("concat", op, &inputs);
                    t.add(v, dx);
                }
            }
            return Ok(());
        }
        Layout::ReshapeLike | Layout::SliceGrad { .. } | Layout::ConcatGrad { .. } => {
            return Err(no_gradient("the gradient of a gradient"));
        }
        Layout::Extend { .. }
        | Layout::Expand { .. }
        | Layout::Tile { .. }
        | Layout::Reverse { .. }
        | Layout::Triangle { .. } => {
            return Err(no_gradient("this operator has no derivative here"));
        }
    };
    let dx = t.emit("layout", Op::Layout(op), &inputs);
    t.add(x[0], dx);
    Ok(())
}

/// The ranges that undo a padding.
fn inside(padding: &[[usize; 2]]) -> Vec<SliceRange> {
    let end = |after: usize| {
        if after == 0 {
            i64::MAX
        } else {
            -(after as i64)
        }
    };
    let range = |p: &[usize; 2]| SliceRange {
        start: p[0] as i64,
        end: end(p[1]),
        step: 1,
    };
    padding.iter().map(range).collect()
}

fn gather(t: &mut Tape, op: Gather, x: &[ValueId], dy: ValueId) -> Result<()> {
    if op.grad {
        return Err(no_gradient("the gradient of a gradient"));
    }
    let dtable = t.emit(
        "gather",
        Op::Gather(Gather { grad: true, ..op }),
        &[dy, x[1], x[0]],
    );
    t.add(x[0], dtable);
    Ok(())
}

fn dropout(t: &mut Tape, op: &Dropout, x: &[ValueId], dy: ValueId) {
    match op {
        Dropout::Identity { .. } => t.add(x[0], dy),
        // A mask depends on the shape of its input, not on its values.
        Dropout::Mask { .. } => {}
    }
}

fn loss(t: &mut Tape, op: Loss, x: &[ValueId], dy: ValueId) -> Result<()> {
    if op.grad {
        return Err(no_gradient("the gradient of a gradient"));
    }
    if t.needs(x[1]) && !matches!(op.kind, LossKind::CrossEntropy { .. }) {
        return Err(no_gradient("the target of a loss is not differentiated"));
    }
    let dx = t.emit(
        "loss",
        Op::Loss(Loss { grad: true, ..op }),
        &[x[0], x[1], dy],
    );
    t.add(x[0], dx);
    Ok(())
}
