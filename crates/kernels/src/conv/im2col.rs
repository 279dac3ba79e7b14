//! Convolution as a matrix product: the inputs of each output pixel become a column.
//!
//! The general way, and the best one where a column is used by many output channels. The columns
//! of one image at a time are built in a buffer that stays in cache: with those of a whole batch
//! at once, the product itself loses 10 to 50 % to memory.

use std::ops::Range;

use super::ConvShape;
use crate::matmul::{MatRef, matmul_here};
use crate::matmul_pairs::{Left, left_len, multiply, pack_left, pack_right, right_len};
use crate::pairs::Lanes;
use crate::parallel;
use crate::window::inside;

pub(super) fn forward(
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (plane, taps) = (shape.plane_out(), shape.taps());
    let (x_group, w_group) = (
        shape.group_in() * shape.plane_in(),
        shape.group_out() * taps,
    );
    // One task is one group of one image.
    let y_group = shape.group_out() * plane;
    parallel::for_each_chunk(y, y_group, shape.ops(), |task, y| {
        let group = task % shape.groups;
        if let Some(bias) = bias {
            let bias = &bias[group * shape.group_out()..];
            y.chunks_exact_mut(plane)
                .zip(bias)
                .for_each(|(y, &bias)| y.fill(bias));
        }
        let x = x
            .get(task * x_group..(task + 1) * x_group)
            .unwrap_or_default();
        let w = MatRef::row_major(&w[group * w_group..], taps);
        if shape.is_pointwise() {
            let x = MatRef::row_major(x, plane);
            return matmul_here(shape.group_out(), plane, taps, w, x, y, bias.is_some());
        }
        parallel::with_scratch(taps * plane, |columns| {
            unfold(shape, x, columns);
            let columns = MatRef::row_major(columns, plane);
            matmul_here(
                shape.group_out(),
                plane,
                taps,
                w,
                columns,
                y,
                bias.is_some(),
            );
        });
    });
}

pub(super) fn grad_input(lanes: Lanes, shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    if lanes.in_pairs() {
        return grad_input_in_pairs(lanes, shape, dy, w, dx);
    }
    let (plane, taps) = (shape.plane_out(), shape.taps());
    let (y_group, w_group) = (shape.group_out() * plane, shape.group_out() * taps);
    let x_group = shape.group_in() * shape.plane_in();
    parallel::for_each_chunk(dx, x_group, shape.ops(), |task, dx| {
        let group = task % shape.groups;
        let w = MatRef::transposed(&w[group * w_group..], taps);
        let dy = MatRef::row_major(&dy[task * y_group..], plane);
        if shape.is_pointwise() {
            return matmul_here(taps, plane, shape.group_out(), w, dy, dx, false);
        }
        parallel::with_scratch(taps * plane, |columns| {
            matmul_here(taps, plane, shape.group_out(), w, dy, columns, false);
            dx.fill(0.0);
            fold(shape, columns, dx);
        });
    });
}

/// The product of pairs of output channels; the weights are packed once.
fn grad_input_in_pairs(lanes: Lanes, shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let (plane, taps, channels) = (shape.plane_out(), shape.taps(), shape.group_out());
    let x_group = shape.group_in() * shape.plane_in();
    let (left_len, right_len) = (left_len(taps, channels), right_len(lanes, channels, plane));
    parallel::with_call_scratch(shape.groups * left_len, |packed| {
        let groups = packed.chunks_exact_mut(left_len).enumerate();
        let lefts: Vec<Left> = groups
            .map(|(group, packed)| {
                let w = MatRef::transposed(&w[group * channels * taps..], taps);
                pack_left(lanes, w, [taps, channels], packed)
            })
            .collect();
        parallel::for_each_chunk(dx, x_group, shape.ops(), |task, dx| {
            let dy = MatRef::row_major(&dy[task * channels * plane..], plane);
            parallel::with_scratch(right_len + taps * plane, |scratch| {
                let (right, columns) = scratch.split_at_mut(right_len);
                let right = pack_right(lanes, dy, [channels, plane], right);
                multiply(lanes, lefts[task % shape.groups], right, columns, false);
                dx.fill(0.0);
                fold(shape, columns, dx);
            });
        });
    });
}

pub(super) fn grad_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (plane, taps) = (shape.plane_out(), shape.taps());
    let (x_group, y_group) = (
        shape.group_in() * shape.plane_in(),
        shape.group_out() * plane,
    );
    let w_group = shape.group_out() * taps;
    super::sum_over_images(shape, dw, |images, dw| {
        parallel::with_scratch(taps * plane, |columns| {
            for task in images.start * shape.groups..images.end * shape.groups {
                let group = task % shape.groups;
                unfold(shape, &x[task * x_group..][..x_group], columns);
                let dy = MatRef::row_major(&dy[task * y_group..], plane);
                let columns = MatRef::transposed(columns, plane);
                let dw = &mut dw[group * w_group..][..w_group];
                matmul_here(shape.group_out(), taps, plane, dy, columns, dw, true);
            }
        });
    });
}

/// `x: [group_in, h, w]` to `columns: [taps, out_h * out_w]`.
fn unfold(shape: &ConvShape, x: &[f32], columns: &mut [f32]) {
    let out_w = shape.out_w();
    for_each_tap(
        shape,
        columns.chunks_exact_mut(shape.plane_out()),
        |tap, column| {
            let x = &x[tap.channel * shape.plane_in()..][..shape.plane_in()];
            for (oh, out) in column.chunks_exact_mut(out_w).enumerate() {
                if !tap.rows.contains(&oh) {
                    out.fill(0.0);
                    continue;
                }
                let row =
                    &x[(oh * shape.stride[0] + tap.down - shape.padding[0]) * shape.w..][..shape.w];
                out[..tap.cols.start].fill(0.0);
                out[tap.cols.end..].fill(0.0);
                if tap.cols.is_empty() {
                    continue;
                }
                let row = &row[tap.cols.start * shape.stride[1] + tap.right - shape.padding[1]..];
                let out = &mut out[tap.cols.clone()];
                if shape.stride[1] == 1 {
                    out.copy_from_slice(&row[..out.len()]);
                } else {
                    let row = row.iter().step_by(shape.stride[1]);
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = x);
                }
            }
        },
    );
}

/// The adjoint of [`unfold`]: adds each column entry to the input pixel it came from.
fn fold(shape: &ConvShape, columns: &[f32], dx: &mut [f32]) {
    let out_w = shape.out_w();
    for_each_tap(
        shape,
        columns.chunks_exact(shape.plane_out()),
        |tap, column| {
            if tap.cols.is_empty() {
                return;
            }
            let dx = &mut dx[tap.channel * shape.plane_in()..][..shape.plane_in()];
            for oh in tap.rows.clone() {
                let row = (oh * shape.stride[0] + tap.down - shape.padding[0]) * shape.w;
                let first = tap.cols.start * shape.stride[1] + tap.right - shape.padding[1];
                let row = &mut dx[row..][..shape.w][first..];
                let from = &column[oh * out_w..][tap.cols.clone()];
                if shape.stride[1] == 1 {
                    row.iter_mut().zip(from).for_each(|(dx, &x)| *dx += x);
                } else {
                    let row = row.iter_mut().step_by(shape.stride[1]);
                    row.zip(from).for_each(|(dx, &x)| *dx += x);
                }
            }
        },
    );
}

/// One row of the column matrix: a tap of one input channel.
struct Tap {
    channel: usize,
    /// Offset within the padded input.
    down: usize,
    right: usize,
    /// Output rows and columns for which the tap is not on padding.
    rows: Range<usize>,
    cols: Range<usize>,
}

fn for_each_tap<C>(
    shape: &ConvShape,
    columns: impl Iterator<Item = C>,
    mut f: impl FnMut(&Tap, C),
) {
    let [kh, kw] = shape.kernel;
    for (i, column) in columns.enumerate() {
        let (channel, down) = (i / (kh * kw), i / kw % kh * shape.dilation[0]);
        let right = i % kw * shape.dilation[1];
        let rows = inside(
            shape.out_h(),
            shape.h,
            shape.stride[0],
            shape.padding[0],
            down,
        );
        let cols = inside(
            shape.out_w(),
            shape.w,
            shape.stride[1],
            shape.padding[1],
            right,
        );
        f(
            &Tap {
                channel,
                down,
                right,
                rows,
                cols,
            },
            column,
        );
    }
}
