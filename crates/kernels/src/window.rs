//! Arithmetic of sliding windows, along one axis.

use std::ops::Range;

/// Windows that fit in `padded` elements; a window has `kernel` taps, `dilation` apart.
pub(crate) fn out_len(padded: usize, kernel: usize, stride: usize, dilation: usize) -> usize {
    let reach = (kernel - 1) * dilation + 1;
    if padded < reach {
        0
    } else {
        (padded - reach) / stride + 1
    }
}

/// Windows, of `out`, whose tap at `offset` is inside the input of length `len` and not in the
/// `padding` before it or behind it.
pub(crate) fn inside(
    out: usize,
    len: usize,
    stride: usize,
    padding: usize,
    offset: usize,
) -> Range<usize> {
    let start = padding.saturating_sub(offset).div_ceil(stride);
    let end = (len + padding)
        .saturating_sub(offset)
        .div_ceil(stride)
        .min(out);
    start.min(end)..end
}

/// `y[i] = f(y[i], x[i * stride])`, compiled for the strides that occur.
#[inline(always)]
pub(crate) fn zip_strided(stride: usize, x: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    match stride {
        1 => y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x)),
        2 => {
            // The last window may have no neighbour behind it.
            let (last, y) = y.split_last_mut().expect("there is a window");
            *last = f(*last, x[2 * y.len()]);
            y.iter_mut()
                .zip(x.chunks_exact(2))
                .for_each(|(y, x)| *y = f(*y, x[0]));
        }
        _ => y
            .iter_mut()
            .zip(x.iter().step_by(stride))
            .for_each(|(y, &x)| *y = f(*y, x)),
    }
}
