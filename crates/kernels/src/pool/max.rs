//! Max-pooling of one plane.

use std::ops::Range;

use super::{PoolShape, TILE, for_each_tap, for_each_tile};
use crate::reduce::larger;
use crate::window::zip_strided;

#[inline(always)]
pub(super) fn forward(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    let out_w = shape.out_w();
    for (oh, y) in y.chunks_exact_mut(out_w).enumerate() {
        if shape.is_halving() {
            halve(&x[2 * oh * shape.w..][..2 * shape.w], y);
        } else if shape.is_narrow() {
            for (ow, y) in y.iter_mut().enumerate() {
                let rows = shape.rows(oh).map(|h| &x[h * shape.w..][shape.cols(ow)]);
                *y = rows.flatten().fold(f32::NEG_INFINITY, |a, &b| larger(a, b));
            }
        } else {
            y.fill(f32::NEG_INFINITY);
            for h in shape.rows(oh) {
                let x = &x[h * shape.w..][..shape.w];
                for_each_tile(out_w, |tile| {
                    for_each_tap(shape, &tile, |windows, first| {
                        let y = &mut y[tile.clone()][windows];
                        zip_strided(shape.stride[1], &x[first..], y, larger);
                    });
                });
            }
        }
    }
}

/// `y[i]` is the largest of two pairs; `x` has two rows.
#[inline(always)]
fn halve(x: &[f32], y: &mut [f32]) {
    let (above, below) = x.split_at(x.len() / 2);
    let pairs = above.chunks_exact(2).zip(below.chunks_exact(2));
    for (y, (a, b)) in y.iter_mut().zip(pairs) {
        *y = larger(larger(a[0], a[1]), larger(b[0], b[1]));
    }
}

#[inline(always)]
pub(super) fn backward(shape: &PoolShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let out_w = shape.out_w();
    if shape.is_halving() && out_w > 0 {
        let bands = x.chunks(2 * shape.w).zip(dx.chunks_mut(2 * shape.w));
        let mut dy = dy.chunks_exact(out_w);
        for (x, dx) in bands {
            match dy.next() {
                Some(dy) => halve_back(shape.w, x, dy, dx),
                // An odd row at the end is in no window.
                None => dx.fill(0.0),
            }
        }
        return;
    }
    dx.fill(0.0);
    for oh in 0..shape.out_h() {
        let dy = &dy[oh * out_w..][..out_w];
        if shape.is_narrow() {
            for (ow, dy) in dy.iter().enumerate() {
                dx[largest(shape, x, oh, ow)] += dy;
            }
            continue;
        }
        for_each_tile(out_w, |tile| {
            let pixels = largest_of_tile(shape, x, oh, &tile);
            for (&pixel, dy) in pixels.iter().zip(&dy[tile]) {
                dx[pixel as usize] += dy;
            }
        });
    }
}

/// Whether a later `b` takes the place of `a`: if larger, or the first NaN.
#[inline(always)]
fn wins(b: f32, a: f32) -> bool {
    (b > a) | (b.is_nan() & !a.is_nan())
}

/// Position in the plane of the first largest pixel of one window.
#[inline(always)]
fn largest(shape: &PoolShape, x: &[f32], oh: usize, ow: usize) -> usize {
    let mut best = shape.rows(oh).start * shape.w + shape.cols(ow).start;
    for h in shape.rows(oh) {
        for w in shape.cols(ow) {
            let pixel = h * shape.w + w;
            best = if wins(x[pixel], x[best]) { pixel } else { best };
        }
    }
    best
}

/// As [`largest`], for each window of a tile.
#[inline(always)]
fn largest_of_tile(shape: &PoolShape, x: &[f32], oh: usize, tile: &Range<usize>) -> [u32; TILE] {
    let (mut best, mut pixels) = ([f32::NEG_INFINITY; TILE], [0; TILE]);
    // A window of nothing but negative infinities has its first pixel.
    let first_row = shape.rows(oh).start * shape.w;
    for (pixel, ow) in pixels.iter_mut().zip(tile.clone()) {
        *pixel = (first_row + shape.cols(ow).start) as u32;
    }
    let stride = shape.stride[1];
    for h in shape.rows(oh) {
        let row = &x[h * shape.w..][..shape.w];
        for_each_tap(shape, tile, |windows, first| {
            // What no window sees loses. All loops are as long as a tile, whatever the windows.
            let mut values = [f32::NEG_INFINITY; TILE];
            zip_strided(
                stride,
                &row[first..],
                &mut values[windows.clone()],
                |_, x| x,
            );
            let start = (h * shape.w + first).wrapping_sub(windows.start * stride) as u32;
            for i in 0..TILE {
                let wins = wins(values[i], best[i]);
                best[i] = if wins { values[i] } else { best[i] };
                let pixel = start.wrapping_add(i as u32 * stride as u32);
                pixels[i] = if wins { pixel } else { pixels[i] };
            }
        });
    }
    pixels
}

/// Two rows of `x` and `dx`, of width `w`, and the row of windows over them.
#[inline(always)]
fn halve_back(w: usize, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (above, below) = x.split_at(w);
    let (dx_above, dx_below) = dx.split_at_mut(w);
    // Eight windows at a time, their pixels sorted by place: in one loop with the pairs, the
    // compiler finds no vectors (5 times slower).
    const WIDTH: usize = 8;
    let pairs = above.chunks(2 * WIDTH).zip(below.chunks(2 * WIDTH));
    let targets = dx_above
        .chunks_mut(2 * WIDTH)
        .zip(dx_below.chunks_mut(2 * WIDTH));
    for (((a, b), (da, db)), dy) in pairs.zip(targets).zip(dy.chunks(WIDTH)) {
        let mut x = [[0.0; WIDTH]; 4];
        for (i, (a, b)) in a.chunks_exact(2).zip(b.chunks_exact(2)).enumerate() {
            (x[0][i], x[1][i], x[2][i], x[3][i]) = (a[0], a[1], b[0], b[1]);
        }
        let (mut top, mut winner) = (x[0], [0u32; WIDTH]);
        for (k, x) in x.iter().enumerate().skip(1) {
            for i in 0..WIDTH {
                let wins = wins(x[i], top[i]);
                top[i] = if wins { x[i] } else { top[i] };
                winner[i] = if wins { k as u32 } else { winner[i] };
            }
        }
        let share = |k, i: usize, dy| if winner[i] == k { dy } else { 0.0 };
        let targets = da.chunks_exact_mut(2).zip(db.chunks_exact_mut(2));
        for (i, ((da, db), &dy)) in targets.zip(dy).enumerate() {
            (da[0], da[1]) = (share(0, i, dy), share(1, i, dy));
            (db[0], db[1]) = (share(2, i, dy), share(3, i, dy));
        }
    }
    if w % 2 == 1 {
        (dx_above[w - 1], dx_below[w - 1]) = (0.0, 0.0);
    }
}
