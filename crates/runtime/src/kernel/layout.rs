//! Operators that move values.

use bantam_core::op::layout::SliceRange;
use bantam_core::op::{Gather, Layout, around};
use bantam_core::{DType, Element, Op};
use bantam_kernels as kernels;

use super::{Out, View, by_reference, check_indices, out};
use crate::Result;

pub(super) fn run(op: &Op, layout: &Layout, inputs: &[View], y: &mut Out) -> Result<()> {
    match y.1.dtype {
        DType::I64 => typed::<i64>(op, layout, inputs, y),
        _ => typed::<f32>(op, layout, inputs, y),
    }
}

fn typed<T: Element>(op: &Op, layout: &Layout, inputs: &[View], y: &mut Out) -> Result<()> {
    let x = inputs[0];
    match layout {
        Layout::Reshape { .. } | Layout::ReshapeLike => {
            out::<T>(y).copy_from_slice(x.values());
        }
        Layout::Transpose { permutation } => {
            kernels::permute::<T>(x.shape(), permutation, x.values(), out(y));
        }
        Layout::Slice { ranges } => {
            let (start, step) = starts(ranges, x.shape());
            let shape = y.1.shape.clone();
            move_block::<T>(&shape, x.values(), x.shape(), &start, &step, out(y));
        }
        Layout::Concat { axis } => concat::<T>(*axis, inputs, y),
        Layout::ConcatGrad { axis, index } => {
            let shape = &inputs[index + 1].t.shape;
            let axis = axis_of(*axis, shape.len());
            let mut start = vec![0; shape.len()];
            start[axis] = inputs[1..=*index].iter().map(|v| v.shape()[axis]).sum();
            move_block::<T>(
                shape,
                x.values(),
                x.shape(),
                &start,
                &vec![1; shape.len()],
                out(y),
            );
        }
        Layout::Pad { padding, value } if y.1.dtype == DType::F32 => {
            let shape = y.1.shape.clone();
            pad(x.f32(), x.shape(), padding, *value, &shape, out(y));
        }
        Layout::SliceGrad { ranges } => {
            let shape = y.1.shape.clone();
            let (start, step) = starts(ranges, &shape);
            out::<T>(y).fill(T::default());
            put_block::<T>(x.shape(), x.values(), &shape, &start, &step, out(y));
        }
        Layout::Pad { .. }
        | Layout::Extend { .. }
        | Layout::Expand { .. }
        | Layout::Tile { .. }
        | Layout::Reverse { .. }
        | Layout::Triangle { .. } => return by_reference(op, inputs, y),
    }
    Ok(())
}

fn axis_of(axis: i64, rank: usize) -> usize {
    (if axis < 0 { axis + rank as i64 } else { axis }) as usize
}

/// The first element of each range and the step to the next, along axes of `shape`.
fn starts(ranges: &[SliceRange], shape: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let ranges = ranges.iter().zip(shape);
    ranges.map(|(r, &len)| (r.resolve(len).0, r.step)).unzip()
}

/// Calls `f` with each row of the block of `shape` that starts at `start` in a tensor of `whole`, taking
/// every `step`th along each axis: its number, and where it begins there.
fn each_row(
    shape: &[usize],
    whole: &[usize],
    start: &[usize],
    step: &[usize],
    mut f: impl FnMut(usize, usize),
) {
    let strides = bantam_core::tensor::strides(whole);
    let last = shape.len() - 1;
    let rows: usize = shape[..last].iter().product();
    for i in 0..rows {
        let (mut rest, mut at) = (i, start[last]);
        for axis in (0..last).rev() {
            at += (start[axis] + rest % shape[axis] * step[axis]) * strides[axis];
            rest /= shape[axis];
        }
        f(i, at);
    }
}

/// Copies the block of `shape` that starts at `start` in `x`, taking every `step`th along each axis.
fn move_block<T: Element>(
    shape: &[usize],
    x: &[T],
    x_shape: &[usize],
    start: &[usize],
    step: &[usize],
    y: &mut [T],
) {
    let (Some(&row), Some(&step_in)) = (shape.last(), step.last()) else {
        return y.copy_from_slice(x);
    };
    if y.is_empty() {
        return;
    }
    each_row(shape, x_shape, start, step, |i, at| {
        let y = &mut y[i * row..][..row];
        match step_in {
            1 => y.copy_from_slice(&x[at..][..row]),
            _ => {
                let x = x[at..].iter().step_by(step_in);
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = x);
            }
        }
    });
}

/// The other way: `x: shape` becomes the block that starts at `start` in `y`.
fn put_block<T: Element>(
    shape: &[usize],
    x: &[T],
    y_shape: &[usize],
    start: &[usize],
    step: &[usize],
    y: &mut [T],
) {
    let (Some(&row), Some(&step_in)) = (shape.last(), step.last()) else {
        return y.copy_from_slice(x);
    };
    if x.is_empty() {
        return;
    }
    each_row(shape, y_shape, start, step, |i, at| {
        let x = &x[i * row..][..row];
        match step_in {
            1 => y[at..][..row].copy_from_slice(x),
            _ => {
                let y = y[at..].iter_mut().step_by(step_in);
                y.zip(x).for_each(|(y, &x)| *y = x);
            }
        }
    });
}

/// Fills `y` with `value` and copies `x` into it, a row at a time.
fn pad(
    x: &[f32],
    x_shape: &[usize],
    padding: &[[usize; 2]],
    value: f32,
    y_shape: &[usize],
    y: &mut [f32],
) {
    y.fill(value);
    let Some((&row, outer)) = x_shape.split_last() else {
        return y.copy_from_slice(x);
    };
    if x.is_empty() {
        return;
    }
    let strides = bantam_core::tensor::strides(y_shape);
    for (i, x) in x.chunks_exact(row).enumerate() {
        let (mut rest, mut at) = (i, padding[outer.len()][0]);
        for axis in (0..outer.len()).rev() {
            at += (padding[axis][0] + rest % outer[axis]) * strides[axis];
            rest /= outer[axis];
        }
        y[at..at + row].copy_from_slice(x);
    }
}

fn concat<T: Element>(axis: i64, inputs: &[View], y: &mut Out) {
    let axis = axis_of(axis, y.1.shape.len());
    let (outer, len, inner) = around(&y.1.shape, axis);
    let y = out::<T>(y);
    let mut before = 0;
    for v in inputs {
        let block = v.shape()[axis] * inner;
        for o in 0..outer {
            y[o * len * inner + before..][..block]
                .copy_from_slice(&v.values::<T>()[o * block..][..block]);
        }
        before += block;
    }
}

pub(super) fn gather(op: &Op, gather: &Gather, inputs: &[View], y: &mut Out) -> Result<()> {
    let table = if gather.grad { inputs[2] } else { inputs[0] };
    let axis = axis_of(gather.axis, table.shape().len());
    let (outer, rows, inner) = around(table.shape(), axis);
    let indices = inputs[1].values::<i64>();
    if outer != 1 || indices.iter().any(|&i| i < 0) {
        return by_reference(op, inputs, y);
    }
    check_indices("index", indices, rows)?;
    if gather.grad {
        let table = out::<f32>(y);
        table.fill(0.0);
        kernels::scatter_add(rows, inner, inputs[0].f32(), indices, table);
        return Ok(());
    }
    match y.1.dtype {
        DType::I64 => kernels::gather_rows::<i64>(rows, inner, table.values(), indices, out(y)),
        DType::I8 => kernels::gather_rows::<i8>(rows, inner, table.values(), indices, out(y)),
        _ => kernels::gather_rows::<f32>(rows, inner, table.f32(), indices, out(y)),
    }
    Ok(())
}
