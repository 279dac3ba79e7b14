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
