//! Neighbouring channels of an image in the lanes of a vector.
//!
//! Planes of a block of channels are turned into `[pixels, lanes]`, with zeros around the image where a
//! kernel reaches over its edge, and back.

use super::ConvShape;
use crate::simd::Simd;

/// An image with zeros around it, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) top: usize,
    pub(super) left: usize,
    /// Height and width with the zeros.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// The input as a convolution sees it.
pub(super) fn padded(shape: &ConvShape) -> Padded {
    let [top, left, bottom, right] = shape.padding;
    Padded {
        h: shape.h,
        w: shape.w,
        top,
        left,
        rows: top + shape.h + bottom,
        columns: left + shape.w + right,
    }
}

/// Pixels that the taps read for the first result.
pub(super) fn tap_offsets(shape: &ConvShape, columns: usize) -> Vec<usize> {
    let [kh, kw] = shape.kernel;
    let at = |tap: usize| {
        let (down, right) = (tap / kw * shape.dilation[0], tap % kw * shape.dilation[1]);
        down * columns + right
    };
    (0..kh * kw).map(at).collect()
}

/// `channels` planes, channels last, in the middle of the zeros of `read`.
#[inline(always)]
pub(super) fn spread<S: Simd>(
    simd: S,
    x: &[f32],
    channels: usize,
    shape: &Padded,
    turned: &mut [f32],
    read: &mut [f32],
) {
    to_lanes(simd, x, channels, turned);
    let row = shape.w * S::LANES;
    for (i, from) in turned[..shape.h * row].chunks_exact(row).enumerate() {
        let at = ((i + shape.top) * shape.columns + shape.left) * S::LANES;
        read[at..][..row].copy_from_slice(from);
    }
}

/// `[pixels, lanes]` from `channels` planes; zeros in the lanes behind them.
#[inline(always)]
pub(super) fn to_lanes<S: Simd>(simd: S, x: &[f32], channels: usize, y: &mut [f32]) {
    let plane = x.len() / channels;
    let mut done = 0;
    if channels == S::LANES {
        while done + S::LANES <= plane {
            square(simd, &x[done..], plane, &mut y[done * S::LANES..], S::LANES);
            done += S::LANES;
        }
    }
    for (i, y) in y
        .chunks_exact_mut(S::LANES)
        .enumerate()
        .take(plane)
        .skip(done)
    {
        for (channel, y) in y.iter_mut().enumerate() {
            *y = if channel < channels {
                x[channel * plane + i]
            } else {
                0.0
            };
        }
    }
}

/// `channels` planes from `[pixels, lanes]`.
#[inline(always)]
pub(super) fn to_planes<S: Simd>(simd: S, x: &[f32], channels: usize, y: &mut [f32]) {
    let plane = y.len() / channels;
    let mut done = 0;
    if channels == S::LANES {
        while done + S::LANES <= plane {
            square(simd, &x[done * S::LANES..], S::LANES, &mut y[done..], plane);
            done += S::LANES;
        }
    }
    for (i, x) in x.chunks_exact(S::LANES).enumerate().take(plane).skip(done) {
        for (channel, x) in x.iter().enumerate().take(channels) {
            y[channel * plane + i] = *x;
        }
    }
}

/// Turns as many rows as a vector has lanes; rows are a step apart.
#[inline(always)]
fn square<S: Simd>(simd: S, x: &[f32], x_step: usize, y: &mut [f32], y_step: usize) {
    let reach = |step: usize| (S::LANES - 1) * step + S::LANES;
    assert!(
        x.len() >= reach(x_step) && y.len() >= reach(y_step),
        "rows to turn lie within their slices"
    );
    // SAFETY: all rows lie within the slices.
    unsafe { simd.transpose(x.as_ptr(), x_step, y.as_mut_ptr(), y_step) };
}
