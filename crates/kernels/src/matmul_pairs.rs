//! Matrix products of numbers in pairs along the inner axis (see [`crate::pairs`]).
//!
//! Both operands are packed once: the left one into pairs where its elements lie, the right one into
//! panels as wide as a tile of sums, with zeros behind the last column. A tile of rows by vectors of
//! columns stays in registers while a part of the inner axis goes by. The order of a sum depends on
//! nothing but the length of the inner axis.

use crate::matmul::{self, MatRef};
use crate::pairs::{self, Lanes, pair};
use crate::parallel::{self, pieces};
use crate::simd::{self, Simd, WithSimd};

/// Pairs of the inner axis that go by at a time, at most: so much of a panel stays in a level-1 cache.
const DEPTH: usize = 128;

/// Rows or pairs of rows of an operand that are packed as one piece of work.
const PACKED_TOGETHER: usize = 16;

/// `c = a b`, or `c += a b` if `accumulate`, of operands rounded to bf16.
///
/// `a: [m, k]`, `b: [k, n]`, `c: [m, n]` row-major.
///
/// # Panics
/// If an operand is too short for its shape or `c.len() != m * n`.
pub(crate) fn matmul(
    lanes: Lanes,
    [m, n, k]: [usize; 3],
    a: MatRef<'_>,
    b: MatRef<'_>,
    c: &mut [f32],
    accumulate: bool,
) {
    matmul::check(m, n, k, a, b, c);
    if c.is_empty() {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    let left_len = left_len(m, k);
    parallel::with_call_scratch(left_len + right_len(lanes, k, n), |packed| {
        let (left, right) = packed.split_at_mut(left_len);
        let left = pack_left(lanes, a, [m, k], left);
        let right = pack_right(lanes, b, [k, n], right);
        let rows = m.div_ceil(matmul::n_blocks(2 * m * n * k));
        let rows = rows.next_multiple_of(simd::widths(lanes.level()).tile[0]);
        parallel::for_each_chunk(c, rows * n, 2 * m * n * k, |i, c| {
            multiply(lanes, left.below(i * rows), right, c, accumulate);
        });
    });
}

/// A left operand in pairs.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    data: &'a [f32],
    /// From a row to the next, and from a pair to the next of its row.
    steps: [usize; 2],
}

impl Left<'_> {
    /// The rows from this one on.
    fn below(self, row: usize) -> Self {
        Left {
            data: &self.data[row * self.steps[0]..],
            ..self
        }
    }
}

/// A right operand in pairs: `[panels, pairs, width]`.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    data: &'a [f32],
    /// Of the product.
    columns: usize,
    /// On the inner axis.
    pairs: usize,
}

/// Elements of a left operand in pairs.
pub(crate) fn left_len(m: usize, k: usize) -> usize {
    m * k.div_ceil(2)
}

/// Elements of a right operand in pairs.
pub(crate) fn right_len(lanes: Lanes, k: usize, n: usize) -> usize {
    n.div_ceil(width(lanes)) * panel_len(lanes, k)
}

/// Columns of a panel.
fn width(lanes: Lanes) -> usize {
    let widths = simd::widths(lanes.level());
    widths.tile[1] * widths.lanes
}

/// Elements of a panel; whole squares of lanes are turned into it.
fn panel_len(lanes: Lanes, k: usize) -> usize {
    let lanes_each = simd::widths(lanes.level()).lanes;
    k.div_ceil(2).next_multiple_of(lanes_each) * width(lanes)
}

/// Packs `a: [m, k]` into `to`, of [`left_len`].
pub(crate) fn pack_left<'t>(
    lanes: Lanes,
    a: MatRef<'_>,
    [m, k]: [usize; 2],
    to: &'t mut [f32],
) -> Left<'t> {
    let pairs = k.div_ceil(2);
    // Where neighbours along a row of the packed operand are neighbours in the stored one.
    let by_columns = a.row_stride == 1 && a.col_stride != 1;
    let (len, steps) = if by_columns {
        (m, [1, m])
    } else {
        (pairs, [pairs, 1])
    };
    parallel::for_each_chunk(to, PACKED_TOGETHER * len, m * k, |i, to| {
        for (j, to) in to.chunks_exact_mut(len).enumerate() {
            let j = i * PACKED_TOGETHER + j;
            if by_columns {
                let column = |j: usize| &a.data[j * a.col_stride..][..m];
                let high = (2 * j + 1 < k).then(|| column(2 * j + 1));
                pairs::interleave(lanes, column(2 * j), high, to);
            } else if a.col_stride == 1 {
                pairs::neighbours(lanes, &a.data[j * a.row_stride..][..k], to);
            } else {
                let at = |i: usize| a.data[j * a.row_stride + i * a.col_stride];
                for (p, to) in to.iter_mut().enumerate() {
                    *to = pair_at(p, k, at);
                }
            }
        }
    });
    Left { data: to, steps }
}

/// Pair `p` of `k` numbers.
fn pair_at(p: usize, k: usize, at: impl Fn(usize) -> f32) -> f32 {
    pair(at(2 * p), if 2 * p + 1 < k { at(2 * p + 1) } else { 0.0 })
}

/// Packs `b: [k, n]` into `to`, of [`right_len`].
pub(crate) fn pack_right<'t>(
    lanes: Lanes,
    b: MatRef<'_>,
    [k, n]: [usize; 2],
    to: &'t mut [f32],
) -> Right<'t> {
    let (width, pairs) = (width(lanes), k.div_ceil(2));
    parallel::for_each_chunk(to, panel_len(lanes, k), k * n, |i, to| {
        let first = i * width;
        let columns = width.min(n - first);
        if b.col_stride == 1 {
            for (p, to) in to.chunks_exact_mut(width).take(pairs).enumerate() {
                let (to, behind) = to.split_at_mut(columns);
                let row = |i: usize| &b.data[i * b.row_stride + first..][..columns];
                let high = (2 * p + 1 < k).then(|| row(2 * p + 1));
                pairs::interleave(lanes, row(2 * p), high, to);
                behind.fill(0.0);
            }
        } else if b.row_stride == 1 {
            let depth = to.len() / width;
            let lanes_each = simd::widths(lanes.level()).lanes;
            parallel::with_scratch(lanes_each * depth, |rows| {
                for at in (0..width).step_by(lanes_each) {
                    for (j, row) in rows.chunks_exact_mut(depth).enumerate() {
                        if at + j < columns {
                            let column = &b.data[(first + at + j) * b.col_stride..][..k];
                            pairs::neighbours(lanes, column, &mut row[..pairs]);
                        } else {
                            row[..pairs].fill(0.0);
                        }
                    }
                    let to = &mut to[at..];
                    pairs::dispatch_pairs(
                        lanes,
                        Turn {
                            rows,
                            depth,
                            to,
                            width,
                        },
                    );
                }
            });
        } else {
            for (p, to) in to.chunks_exact_mut(width).take(pairs).enumerate() {
                let (to, behind) = to.split_at_mut(columns);
                for (j, to) in to.iter_mut().enumerate() {
                    let at = |i: usize| b.data[i * b.row_stride + (first + j) * b.col_stride];
                    *to = pair_at(p, k, at);
                }
                behind.fill(0.0);
            }
        }
    });
    Right {
        data: to,
        columns: n,
        pairs,
    }
}

/// Turns rows of `depth` elements, as many as a vector has lanes, into columns of a panel.
struct Turn<'a> {
    rows: &'a [f32],
    depth: usize,
    /// From the first of these columns on, in rows `width` apart.
    to: &'a mut [f32],
    width: usize,
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Turn {
            rows,
            depth,
            to,
            width,
        } = self;
        assert!(
            depth.is_multiple_of(S::LANES) && depth * S::LANES <= rows.len(),
            "whole squares are turned"
        );
        assert!(
            (depth - 1) * width + S::LANES <= to.len(),
            "a panel has room for all rows"
        );
        for at in (0..depth).step_by(S::LANES) {
            // SAFETY: by the first assertion the square is one of `rows`, and by the second it has room.
            unsafe {
                let (from, to) = (rows.as_ptr().add(at), to.as_mut_ptr().add(at * width));
                simd.transpose(from, depth, to, width);
            }
        }
    }
}

/// The rows of a product that `c` has room for, from the first of `left` on.
pub(crate) fn multiply(
    lanes: Lanes,
    left: Left<'_>,
    right: Right<'_>,
    c: &mut [f32],
    accumulate: bool,
) {
    pairs::dispatch_pairs(
        lanes,
        Product {
            left,
            right,
            c,
            accumulate,
        },
    );
}

struct Product<'a> {
    left: Left<'a>,
    right: Right<'a>,
    c: &'a mut [f32],
    accumulate: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Product {
            left,
            right,
            c,
            accumulate,
        } = self;
        let (width, n) = (S::TILE[1] * S::LANES, right.columns);
        let panel_len = right.data.len() / n.div_ceil(width);
        let m = c.len() / n;
        for (i, panel) in right.data.chunks_exact(panel_len).enumerate() {
            let first = i * width;
            let columns = width.min(n - first);
            for depth in pieces(right.pairs, DEPTH) {
                let adds = accumulate || depth.start > 0;
                for rows in pieces(m, S::TILE[0]) {
                    let tile = Tile {
                        left: &left.data
                            [rows.start * left.steps[0] + depth.start * left.steps[1]..],
                        steps: left.steps,
                        panel: &panel[depth.start * width..],
                        pairs: depth.len(),
                        c: &mut c[rows.start * n + first..],
                        n,
                        columns,
                        adds,
                    };
                    match columns.div_ceil(S::LANES) {
                        1 => tile.run::<S, 1>(simd, rows.len()),
                        2 => tile.run::<S, 2>(simd, rows.len()),
                        3 => tile.run::<S, 3>(simd, rows.len()),
                        _ => unreachable!("a tile is at most three vectors wide"),
                    }
                }
            }
        }
    }
}

/// What one tile of sums needs.
struct Tile<'a> {
    /// From its first row and pair on.
    left: &'a [f32],
    steps: [usize; 2],
    /// From its first pair on.
    panel: &'a [f32],
    pairs: usize,
    /// From its first element on, rows `n` apart.
    c: &'a mut [f32],
    n: usize,
    columns: usize,
    /// To what is there, rather than in its place.
    adds: bool,
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S, rows: usize) {
        match rows {
            1 => self.sum::<S, 1, V>(simd),
            2 => self.sum::<S, 2, V>(simd),
            3 => self.sum::<S, 3, V>(simd),
            4 => self.sum::<S, 4, V>(simd),
            5 => self.sum::<S, 5, V>(simd),
            6 => self.sum::<S, 6, V>(simd),
            7 => self.sum::<S, 7, V>(simd),
            8 => self.sum::<S, 8, V>(simd),
            _ => unreachable!("a tile is at most eight rows high"),
        }
    }

    /// `R` rows by `V` vectors.
    #[inline(always)]
    fn sum<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        if R > S::TILE[0] || V > S::TILE[1] {
            unreachable!("no tile is larger than the registers");
        }
        let sums = self.products::<S, R, V>(simd);
        for (i, sums) in sums.iter().enumerate() {
            let c = &mut self.c[i * self.n..][..self.columns];
            for (c, &sum) in c.chunks_mut(S::LANES).zip(sums) {
                let before = match self.adds {
                    true => simd.load_slice(c),
                    false => simd.splat(0.0),
                };
                simd.store_slice(c, simd.add(before, sum));
            }
        }
    }

    /// Sums leave here only when done: an array that is also read by loops that are not unrolled would
    /// live in memory.
    #[inline(always)]
    fn products<S: Simd, const R: usize, const V: usize>(&self, simd: S) -> [[S::V; V]; R] {
        let width = S::TILE[1] * S::LANES;
        let last = (R - 1) * self.steps[0] + (self.pairs - 1) * self.steps[1];
        assert!(
            last < self.left.len(),
            "the left operand has all rows and pairs"
        );
        assert!(
            (self.pairs - 1) * width + V * S::LANES <= self.panel.len(),
            "the panel has all pairs"
        );
        let mut sums = [[simd.splat(0.0); V]; R];
        for p in 0..self.pairs {
            let mut b = [simd.splat(0.0); V];
            for (j, b) in b.iter_mut().enumerate() {
                // SAFETY: within the panel, by the second assertion.
                *b = unsafe { simd.load(self.panel.as_ptr().add(p * width + j * S::LANES)) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: at most the last row and pair, by the first assertion.
                let a = unsafe {
                    *self
                        .left
                        .as_ptr()
                        .add(i * self.steps[0] + p * self.steps[1])
                };
                let a = simd.splat(a);
                for j in 0..V {
                    sums[j] = simd.add_products(a, b[j], sums[j]);
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::{bf16_bits, pair_lanes};
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};

    const SIZES: [[usize; 3]; 14] = [
        [1, 1, 1],
        [3, 5, 7],
        [8, 48, 2],
        [9, 49, 3],
        [1, 300, 784],
        [128, 10, 100],
        [128, 300, 784],
        [20, 576, 25],
        [17, 200, 513],
        [200, 17, 513],
        [0, 4, 5],
        [4, 0, 5],
        [4, 5, 0],
        [257, 255, 129],
    ];

    #[test]
    fn agrees_with_reference_of_rounded_operands() {
        let round = |x: &[f32]| -> Vec<f32> {
            x.iter()
                .map(|&x| f32::from_bits(bf16_bits(x) << 16))
                .collect()
        };
        for [m, n, k] in SIZES {
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let (rounded_a, rounded_b) = (round(&a), round(&b));
            for (turn_a, turn_b) in [(false, false), (true, false), (false, true), (true, true)] {
                let left = |a| match turn_a {
                    true => MatRef::transposed(a, m),
                    false => MatRef::row_major(a, k),
                };
                let right = |b| match turn_b {
                    true => MatRef::transposed(b, k),
                    false => MatRef::row_major(b, n),
                };
                for accumulate in [false, true] {
                    let mut expected = start.clone();
                    let (ra, rb) = (left(&rounded_a), right(&rounded_b));
                    reference::matmul(m, n, k, ra, rb, &mut expected, accumulate);
                    for lanes in pair_lanes() {
                        let name = format!("{m} {n} {k} {turn_a} {turn_b} {accumulate} {lanes:?}");
                        let c = same_on_any_pool(&name, || {
                            let mut c = start.clone();
                            matmul(lanes, [m, n, k], left(&a), right(&b), &mut c, accumulate);
                            c
                        });
                        assert_close(&name, &c, &expected, tolerance(k));
                    }
                }
            }
        }
    }

    /// Operands of which every second row and every third column count.
    #[test]
    fn operands_with_gaps() {
        let (m, n, k) = (11, 50, 9);
        let (a, b) = (numbers(2 * m * 3 * k, 1), numbers(2 * k * 3 * n, 2));
        let view = |data, cols: usize| MatRef {
            data,
            row_stride: 2 * 3 * cols,
            col_stride: 3,
        };
        let halves = |x: &[f32]| -> Vec<f32> {
            x.iter()
                .map(|&x| f32::from_bits(bf16_bits(x) << 16))
                .collect()
        };
        let (ra, rb) = (halves(&a), halves(&b));
        let mut expected = vec![0.0; m * n];
        reference::matmul(m, n, k, view(&ra, k), view(&rb, n), &mut expected, false);
        for lanes in pair_lanes() {
            let mut c = vec![f32::NAN; m * n];
            matmul(lanes, [m, n, k], view(&a, k), view(&b, n), &mut c, false);
            assert_close(&format!("{lanes:?}"), &c, &expected, tolerance(k));
        }
    }
}
