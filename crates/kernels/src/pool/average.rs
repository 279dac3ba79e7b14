//! Average pooling of one plane.

use super::{PoolShape, TILE, for_each_tap, for_each_tile};
use crate::window::zip_strided;

#[inline(always)]
pub(super) fn forward(shape: &PoolShape, count_include_pad: bool, x: &[f32], y: &mut [f32]) {
    let out_w = shape.out_w();
    for (oh, y) in y.chunks_exact_mut(out_w).enumerate() {
        if shape.is_halving() {
            halve(&x[2 * oh * shape.w..][..2 * shape.w], y);
            continue;
        }
        if shape.is_narrow() {
            for (ow, y) in y.iter_mut().enumerate() {
                let rows = shape.rows(oh).map(|h| &x[h * shape.w..][shape.cols(ow)]);
                *y = rows.map(|row| row.iter().sum::<f32>()).sum();
            }
        } else {
            y.fill(0.0);
            for h in shape.rows(oh) {
                let x = &x[h * shape.w..][..shape.w];
                for_each_tile(out_w, |tile| {
                    for_each_tap(shape, &tile, |windows, first| {
                        let y = &mut y[tile.clone()][windows];
                        zip_strided(shape.stride[1], &x[first..], y, |y, x| y + x);
                    });
                });
            }
        }
        for (ow, y) in y.iter_mut().enumerate() {
            *y /= count(shape, count_include_pad, oh, ow);
        }
    }
}

/// Pixels a window's sum is divided by.
#[inline(always)]
fn count(shape: &PoolShape, count_include_pad: bool, oh: usize, ow: usize) -> f32 {
    let pixels = match count_include_pad {
        true => shape.kernel[0] * shape.kernel[1],
        false => shape.rows(oh).len() * shape.cols(ow).len(),
    };
    pixels as f32
}

/// `y[i]` is the mean of two pairs; `x` has two rows.
#[inline(always)]
fn halve(x: &[f32], y: &mut [f32]) {
    let (above, below) = x.split_at(x.len() / 2);
    let pairs = above.chunks_exact(2).zip(below.chunks_exact(2));
    for (y, (a, b)) in y.iter_mut().zip(pairs) {
        *y = 0.25 * ((a[0] + a[1]) + (b[0] + b[1]));
    }
}

#[inline(always)]
pub(super) fn backward(shape: &PoolShape, count_include_pad: bool, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let (out_w, [_, stride]) = (shape.out_w(), shape.stride);
    for oh in 0..shape.out_h() {
        let dy = &dy[oh * out_w..][..out_w];
        if shape.is_halving() {
            halve_back(dy, &mut dx[2 * oh * shape.w..][..2 * shape.w]);
            continue;
        }
        if shape.is_narrow() {
            for (ow, dy) in dy.iter().enumerate() {
                let share = dy / count(shape, count_include_pad, oh, ow);
                for h in shape.rows(oh) {
                    dx[h * shape.w..][shape.cols(ow)]
                        .iter_mut()
                        .for_each(|dx| *dx += share);
                }
            }
            continue;
        }
        for_each_tile(out_w, |tile| {
            let mut shares = [0.0; TILE];
            for (share, ow) in shares.iter_mut().zip(tile.clone()) {
                *share = dy[ow] / count(shape, count_include_pad, oh, ow);
            }
            for h in shape.rows(oh) {
                let dx = &mut dx[h * shape.w..][..shape.w];
                for_each_tap(shape, &tile, |windows, first| {
                    let (shares, dx) = (&shares[windows], &mut dx[first..]);
                    match stride {
                        1 => dx
                            .iter_mut()
                            .zip(shares)
                            .for_each(|(dx, share)| *dx += share),
                        _ => {
                            let dx = dx.iter_mut().step_by(stride);
                            dx.zip(shares).for_each(|(dx, share)| *dx += share);
                        }
                    }
                });
            }
        });
    }
}

/// Two rows of `dx`, and the row of windows over them.
#[inline(always)]
fn halve_back(dy: &[f32], dx: &mut [f32]) {
    let (above, below) = dx.split_at_mut(dx.len() / 2);
    let pairs = above.chunks_exact_mut(2).zip(below.chunks_exact_mut(2));
    for (&dy, (a, b)) in dy.iter().zip(pairs) {
        let share = 0.25 * dy;
        (a[0], a[1], b[0], b[1]) = (share, share, share, share);
    }
}
