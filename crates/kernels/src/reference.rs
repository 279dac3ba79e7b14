//! Slow twins of the kernels: loops written from the definitions, on one thread, sums in `f64`.
//!
//! Tests hold the kernels to these, and benchmarks print them beside. They take the same arguments
//! and, like the kernels, overwrite their targets. They check nothing but what indexing checks.

use crate::{ConvShape, LayerNorm, MatRef, PoolShape};

/// Twin of [`crate::matmul()`].
pub fn matmul(
    m: usize,
    n: usize,
    k: usize,
    a: MatRef<'_>,
    b: MatRef<'_>,
    c: &mut [f32],
    accumulate: bool,
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = if accumulate {
                f64::from(c[i * n + j])
            } else {
                0.0
            };
            for l in 0..k {
                let a = a.data[i * a.row_stride + l * a.col_stride];
                let b = b.data[l * b.row_stride + j * b.col_stride];
                sum += f64::from(a) * f64::from(b);
            }
            c[i * n + j] = sum as f32;
        }
    }
}

/// Twin of [`crate::dense`].
pub fn dense(
    n: usize,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    for i in 0..n {
        for o in 0..outputs {
            let mut sum = bias.map_or(0.0, |bias| f64::from(bias[o]));
            for j in 0..inputs {
                sum += f64::from(x[i * inputs + j]) * f64::from(w[o * inputs + j]);
            }
            y[i * outputs + o] = sum as f32;
        }
    }
}

/// Calls `f(x index, w index, y index)` for each product a convolution sums.
fn for_each_product(shape: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let ConvShape {
        n,
        c_in,
        h,
        w,
        c_out,
        kernel,
        stride,
        padding,
        dilation,
        groups,
    } = *shape;
    let (out_h, out_w) = (shape.out_h(), shape.out_w());
    let (group_in, group_out) = (c_in / groups, c_out / groups);
    for image in 0..n {
        for o in 0..c_out {
            for oh in 0..out_h {
                for ow in 0..out_w {
                    let y = ((image * c_out + o) * out_h + oh) * out_w + ow;
                    for i in 0..group_in {
                        let channel = image * c_in + o / group_out * group_in + i;
                        for kh in 0..kernel[0] {
                            for kw in 0..kernel[1] {
                                let ih =
                                    (oh * stride[0] + kh * dilation[0]).wrapping_sub(padding[0]);
                                let iw =
                                    (ow * stride[1] + kw * dilation[1]).wrapping_sub(padding[1]);
                                if ih < h && iw < w {
                                    let tap =
                                        ((o * group_in + i) * kernel[0] + kh) * kernel[1] + kw;
                                    f((channel * h + ih) * w + iw, tap, y);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Twin of [`crate::conv()`].
pub fn conv(shape: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let plane = shape.out_h() * shape.out_w();
    let mut sums = vec![0.0; y.len()];
    if let Some(bias) = bias {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = f64::from(bias[i / plane % shape.c_out]);
        }
    }
    for_each_product(shape, |ix, iw, iy| {
        sums[iy] += f64::from(x[ix]) * f64::from(w[iw])
    });
    round(&sums, y);
}

/// Twin of [`crate::conv_grad_input`].
pub fn conv_grad_input(shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let mut sums = vec![0.0; dx.len()];
    for_each_product(shape, |ix, iw, iy| {
        sums[ix] += f64::from(dy[iy]) * f64::from(w[iw])
    });
    round(&sums, dx);
}

/// Twin of [`crate::conv_grad_weight`].
pub fn conv_grad_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let mut sums = vec![0.0; dw.len()];
    for_each_product(shape, |ix, iw, iy| {
        sums[iw] += f64::from(x[ix]) * f64::from(dy[iy])
    });
    round(&sums, dw);
}

fn round(sums: &[f64], y: &mut [f32]) {
    y.iter_mut().zip(sums).for_each(|(y, &sum)| *y = sum as f32);
}

/// Calls `f(y index, pixels of x in reading order)` for each window.
fn for_each_window(shape: &PoolShape, mut f: impl FnMut(usize, &[usize])) {
    let PoolShape {
        n,
        c,
        h,
        w,
        kernel,
        stride,
        padding,
    } = *shape;
    let (out_h, out_w) = (shape.out_h(), shape.out_w());
    for plane in 0..n * c {
        for oh in 0..out_h {
            for ow in 0..out_w {
                let mut pixels = Vec::new();
                for kh in 0..kernel[0] {
                    for kw in 0..kernel[1] {
                        let ih = (oh * stride[0] + kh).wrapping_sub(padding[0]);
                        let iw = (ow * stride[1] + kw).wrapping_sub(padding[1]);
                        if ih < h && iw < w {
                            pixels.push((plane * h + ih) * w + iw);
                        }
                    }
                }
                f((plane * out_h + oh) * out_w + ow, &pixels);
            }
        }
    }
}

/// Twin of [`crate::max_pool`].
pub fn max_pool(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    for_each_window(shape, |o, pixels| y[o] = x[first_largest(x, pixels)]);
}

/// Twin of [`crate::max_pool_grad`].
pub fn max_pool_grad(shape: &PoolShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for_each_window(shape, |o, pixels| dx[first_largest(x, pixels)] += dy[o]);
}

fn first_largest(x: &[f32], pixels: &[usize]) -> usize {
    if let Some(&nan) = pixels.iter().find(|&&i| x[i].is_nan()) {
        return nan;
    }
    pixels
        .iter()
        .copied()
        .reduce(|best, i| if x[i] > x[best] { i } else { best })
        .unwrap()
}

/// Twin of [`crate::average_pool`].
pub fn average_pool(shape: &PoolShape, count_include_pad: bool, x: &[f32], y: &mut [f32]) {
    for_each_window(shape, |o, pixels| {
        let sum = pixels.iter().map(|&i| f64::from(x[i])).sum::<f64>();
        y[o] = (sum / window_size(shape, count_include_pad, pixels)) as f32;
    });
}

/// Twin of [`crate::average_pool_grad`].
pub fn average_pool_grad(shape: &PoolShape, count_include_pad: bool, dy: &[f32], dx: &mut [f32]) {
    let mut sums = vec![0.0; dx.len()];
    for_each_window(shape, |o, pixels| {
        let share = f64::from(dy[o]) / window_size(shape, count_include_pad, pixels);
        pixels.iter().for_each(|&i| sums[i] += share);
    });
    round(&sums, dx);
}

fn window_size(shape: &PoolShape, count_include_pad: bool, pixels: &[usize]) -> f64 {
    if count_include_pad {
        (shape.kernel[0] * shape.kernel[1]) as f64
    } else {
        pixels.len() as f64
    }
}

/// Twin of [`crate::broadcast_zip`].
pub fn broadcast_zip(
    shape: &[usize],
    a: &[f32],
    a_strides: &[usize],
    b: &[f32],
    b_strides: &[usize],
    y: &mut [f32],
    f: impl Fn(f32, f32) -> f32,
) {
    for (i, y) in y.iter_mut().enumerate() {
        let index = unravel(shape, i);
        let at = |strides: &[usize]| index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
        *y = f(a[at(a_strides)], b[at(b_strides)]);
    }
}

/// The index along each axis of element `i` of a row-major array.
fn unravel(shape: &[usize], mut i: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (index, &len) in index.iter_mut().zip(shape).rev() {
        *index = i % len;
        i /= len;
    }
    index
}

/// Calls `f(indices of the elements of one row)` along the middle axis.
fn for_each_row(outer: usize, axis: usize, inner: usize, mut f: impl FnMut(usize, &[usize])) {
    for o in 0..outer {
        for i in 0..inner {
            let row: Vec<usize> = (0..axis).map(|a| (o * axis + a) * inner + i).collect();
            f(o * inner + i, &row);
        }
    }
}

fn log_sum_exp(x: &[f32], row: &[usize]) -> f64 {
    let top = row
        .iter()
        .map(|&i| f64::from(x[i]))
        .fold(f64::NEG_INFINITY, f64::max);
    top + row
        .iter()
        .map(|&i| (f64::from(x[i]) - top).exp())
        .sum::<f64>()
        .ln()
}

/// Twin of [`crate::softmax()`].
pub fn softmax(outer: usize, c: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    for_each_row(outer, c, inner, |_, row| {
        let log_sum = log_sum_exp(x, row);
        row.iter()
            .for_each(|&i| y[i] = (f64::from(x[i]) - log_sum).exp() as f32);
    });
}

/// Twin of [`crate::log_softmax`].
pub fn log_softmax(outer: usize, c: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    for_each_row(outer, c, inner, |_, row| {
        let log_sum = log_sum_exp(x, row);
        row.iter()
            .for_each(|&i| y[i] = (f64::from(x[i]) - log_sum) as f32);
    });
}

/// Twin of [`crate::softmax_grad`]: the whole Jacobian, term by term.
pub fn softmax_grad(outer: usize, c: usize, inner: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for_each_row(outer, c, inner, |_, row| {
        for &i in row {
            let term = |&j: &usize| {
                let same = if i == j { 1.0 } else { 0.0 };
                f64::from(dy[j]) * f64::from(y[j]) * (same - f64::from(y[i]))
            };
            dx[i] = row.iter().map(term).sum::<f64>() as f32;
        }
    });
}

/// Twin of [`crate::log_softmax_grad`]: the whole Jacobian, term by term.
pub fn log_softmax_grad(
    outer: usize,
    c: usize,
    inner: usize,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    for_each_row(outer, c, inner, |_, row| {
        for &i in row {
            let term = |&j: &usize| {
                let same = if i == j { 1.0 } else { 0.0 };
                f64::from(dy[j]) * (same - f64::from(y[i]).exp())
            };
            dx[i] = row.iter().map(term).sum::<f64>() as f32;
        }
    });
}

/// Twin of [`crate::cross_entropy`], in `f64` to the end so that differences of it can be taken.
pub fn cross_entropy(n: usize, c: usize, logits: &[f32], labels: &[i64], smoothing: f32) -> f64 {
    let smoothing = f64::from(smoothing);
    let mut loss = 0.0;
    for_each_row(n, c, 1, |i, row| {
        let log_sum = log_sum_exp(logits, row);
        for (j, &at) in row.iter().enumerate() {
            let label = if j as i64 == labels[i] {
                1.0 - smoothing
            } else {
                0.0
            };
            loss += (label + smoothing / c as f64) * (log_sum - f64::from(logits[at]));
        }
    });
    loss / n as f64
}

/// Twin of [`crate::sum_axis`].
pub fn sum_axis(outer: usize, axis: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    for_each_row(outer, axis, inner, |o, row| {
        y[o] = row.iter().map(|&i| f64::from(x[i])).sum::<f64>() as f32;
    });
}

/// Twin of [`crate::max_axis`], for values that are numbers.
pub fn max_axis(outer: usize, axis: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    for_each_row(outer, axis, inner, |o, row| {
        y[o] = row.iter().map(|&i| x[i]).fold(f32::NEG_INFINITY, f32::max);
    });
}

/// Twin of [`crate::min_axis`], for values that are numbers.
pub fn min_axis(outer: usize, axis: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    for_each_row(outer, axis, inner, |o, row| {
        y[o] = row.iter().map(|&i| x[i]).fold(f32::INFINITY, f32::min);
    });
}

/// Twin of [`crate::permute`].
pub fn permute<T: Copy>(shape: &[usize], perm: &[usize], x: &[T], y: &mut [T]) {
    let y_shape: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    for (i, y) in y.iter_mut().enumerate() {
        let index = unravel(&y_shape, i);
        let mut at = 0;
        for (axis, len) in shape.iter().enumerate() {
            let along = perm.iter().position(|&p| p == axis).unwrap();
            at = at * len + index[along];
        }
        *y = x[at];
    }
}

/// Twin of [`crate::gather_rows`].
pub fn gather_rows<T: Copy>(c: usize, table: &[T], indices: &[i64], y: &mut [T]) {
    for (i, &index) in indices.iter().enumerate() {
        (0..c).for_each(|j| y[i * c + j] = table[index as usize * c + j]);
    }
}

/// Twin of [`crate::scatter_add`].
pub fn scatter_add(c: usize, x: &[f32], indices: &[i64], table: &mut [f32]) {
    let mut sums: Vec<f64> = table.iter().map(|&x| f64::from(x)).collect();
    for (i, &index) in indices.iter().enumerate() {
        (0..c).for_each(|j| sums[index as usize * c + j] += f64::from(x[i * c + j]));
    }
    round(&sums, table);
}

/// Mean and (biased) variance of each channel of `x: [n, c, s]`.
pub fn moments(n: usize, c: usize, s: usize, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let channel = |j: usize| (0..n * s).map(move |i| f64::from(x[(i / s * c + j) * s + i % s]));
    let mean: Vec<f64> = (0..c)
        .map(|j| channel(j).sum::<f64>() / (n * s) as f64)
        .collect();
    let var = |j: usize| channel(j).map(|x| (x - mean[j]).powi(2)).sum::<f64>() / (n * s) as f64;
    let var = (0..c).map(var).collect();
    (mean, var)
}

/// Twin of [`crate::layer_norm()`].
pub fn layer_norm(norm: LayerNorm<'_>, x: &[f32], added: Option<&[f32]>, y: &mut [f32]) {
    let c = norm.gamma.len();
    for row in 0..y.len() / c {
        let at = |i: usize| {
            let i = row * c + i;
            f64::from(x[i]) + added.map_or(0.0, |a| f64::from(a[i]))
        };
        let mean = (0..c).map(at).sum::<f64>() / c as f64;
        let variance = (0..c).map(|i| (at(i) - mean).powi(2)).sum::<f64>() / c as f64;
        let root = (variance + f64::from(norm.epsilon)).sqrt();
        for i in 0..c {
            let normal = (at(i) - mean) / root;
            let scaled = normal * f64::from(norm.gamma[i]) + f64::from(norm.beta[i]);
            y[row * c + i] = scaled as f32;
        }
    }
}

/// Twin of [`crate::batch_norm_train`] without its statistics, in `f64` to the end so that
/// differences of it can be taken.
pub fn batch_norm_train(
    [n, c, s]: [usize; 3],
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
) -> Vec<f64> {
    let (mean, var) = moments(n, c, s, x);
    let y = x.iter().enumerate().map(|(i, &x)| {
        let j = i / s % c;
        let normal = (f64::from(x) - mean[j]) / (var[j] + f64::from(epsilon)).sqrt();
        normal * f64::from(gamma[j]) + f64::from(beta[j])
    });
    y.collect()
}
