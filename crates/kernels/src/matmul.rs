//! Matrix products, by the `gemm` crate, in pieces that do not depend on the number of threads.
//!
//! The crate's own threading cuts the work by the number of threads; here the larger side of the
//! result is cut into fixed blocks and each is one single-threaded call, so the bits are the same
//! for any pool. Bits do depend on the CPU: its kernels differ by instruction set.

use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, WithSimd};

/// A matrix read from a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Distance between the elements `(i, j)` and `(i + 1, j)`.
    pub row_stride: usize,
    /// Distance between the elements `(i, j)` and `(i, j + 1)`.
    pub col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// `data: [_, cols]`, row after row, as it is stored.
    pub fn row_major(data: &'a [f32], cols: usize) -> Self {
        MatRef {
            data,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The transpose, `[stored_cols, _]`, of `data: [_, stored_cols]` stored row after row.
    pub fn transposed(data: &'a [f32], stored_cols: usize) -> Self {
        MatRef {
            data,
            row_stride: 1,
            col_stride: stored_cols,
        }
    }

    /// How many elements `data` needs for `rows` by `cols`.
    pub(crate) fn required_len(&self, rows: usize, cols: usize) -> usize {
        match (rows, cols) {
            (0, _) | (_, 0) => 0,
            _ => {
                let down = (rows - 1).checked_mul(self.row_stride);
                let along = (cols - 1).checked_mul(self.col_stride);
                let last = down.zip(along).and_then(|(d, a)| d.checked_add(a));
                let needed = last.and_then(|last| last.checked_add(1));
                needed.expect("a matrix fits into memory")
            }
        }
    }
}

/// Operations in one block of a large product: about a tenth of a millisecond, enough that packing the
/// operand which every block reads costs little.
const BLOCK_OPS: usize = 1 << 24;

/// Blocks of a product of a few such blocks, or less: as many as share out evenly.
const FEW: usize = 4;

/// Columns of a block end with a vector, and rows with those that are multiplied together.
const UNITS: [usize; 2] = [12, 16];

/// Least columns of a block of a product that has more rows.
const NARROWEST: usize = 48;

/// `c = a b`, or `c += a b` if `accumulate`.
///
/// `a: [m, k]`, `b: [k, n]`, `c: [m, n]` row-major. With `k = 0` the product is zero.
///
/// # Panics
/// If an operand is too short for its shape or `c.len() != m * n`.
pub fn matmul(
    m: usize,
    n: usize,
    k: usize,
    a: MatRef<'_>,
    b: MatRef<'_>,
    c: &mut [f32],
    accumulate: bool,
) {
    check(m, n, k, a, b, c);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    let ops = 2 * m * n * k;
    let c = SharedMut::new(c);
    let blocks = n_blocks(ops);
    // Each block of rows would pack the right operand anew where that is turned.
    let by_columns = n > m || (b.col_stride != 1 && n >= blocks * NARROWEST);
    let (len, unit) = if by_columns {
        (n, UNITS[1])
    } else {
        (m, UNITS[0])
    };
    let blocks = blocks.min(len.div_ceil(unit));
    parallel::for_each(blocks, ops, |i| {
        let part = block(len, blocks, i, unit);
        let (rows, cols) = if by_columns {
            (0..m, part)
        } else {
            (part, 0..n)
        };
        // SAFETY: lengths were checked above; blocks do not overlap.
        unsafe { gemm_block(rows, cols, n, k, a, b, c, accumulate) }
    });
}

/// As [`matmul`], in one piece on the calling thread, for callers that cut the work themselves.
pub(crate) fn matmul_here(
    m: usize,
    n: usize,
    k: usize,
    a: MatRef<'_>,
    b: MatRef<'_>,
    c: &mut [f32],
    accumulate: bool,
) {
    check(m, n, k, a, b, c);
    // SAFETY: lengths were checked, and `c` is borrowed for this call.
    unsafe { gemm_block(0..m, 0..n, n, k, a, b, SharedMut::new(c), accumulate) }
}

pub(crate) fn check(m: usize, n: usize, k: usize, a: MatRef<'_>, b: MatRef<'_>, c: &[f32]) {
    assert_eq!(
        Some(c.len()),
        m.checked_mul(n),
        "the result of a matrix product must have m * n elements"
    );
    assert!(
        a.data.len() >= a.required_len(m, k),
        "the left operand is shorter than m by k"
    );
    assert!(
        b.data.len() >= b.required_len(k, n),
        "the right operand is shorter than k by n"
    );
}

/// Into how many blocks a product of so many operations is cut.
pub(crate) fn n_blocks(ops: usize) -> usize {
    match ops / BLOCK_OPS {
        n @ FEW.. => n.next_multiple_of(FEW),
        _ if ops >= BLOCK_OPS / 2 => FEW,
        _ if ops >= BLOCK_OPS / 4 => 2,
        _ => 1,
    }
}

/// Block `i` of the `n` of about equal length that `0..len` is cut into at multiples of `unit`.
fn block(len: usize, n: usize, i: usize, unit: usize) -> std::ops::Range<usize> {
    let cut = |i: usize| match i == n {
        true => len,
        false => (i * len / n + unit / 2) / unit * unit,
    };
    cut(i).min(len)..cut(i + 1).min(len)
}

/// One single-threaded product: the part `rows` by `cols` of the result `[_, n]`.
///
/// # Safety
/// `a` and `b` hold the rows and columns named, `c` has room for them, and no other thread touches
/// that part of `c`.
#[expect(
    clippy::too_many_arguments,
    reason = "a product is described by this many numbers"
)]
unsafe fn gemm_block(
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    n: usize,
    k: usize,
    a: MatRef<'_>,
    b: MatRef<'_>,
    c: SharedMut,
    accumulate: bool,
) {
    if rows.is_empty() || cols.is_empty() {
        return;
    }
    let a_start = &a.data[rows.start * a.row_stride..];
    let b_start = &b.data[cols.start * b.col_stride..];
    // SAFETY: the block starts within `c`, by the contract of this function.
    let c_start = unsafe { c.at(rows.start * n + cols.start) };
    // SAFETY: all three views are in bounds and `c` is ours, by the contract of this function;
    // strides by which anything is stepped fit `isize`, because the slices that they step in exist.
    unsafe {
        gemm::gemm(
            rows.len(),
            cols.len(),
            k,
            c_start,
            1,
            n as isize,
            accumulate,
            a_start.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b_start.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// A fully connected layer: `y[i, o] = bias[o] + sum over j of x[i, j] w[o, j]`.
///
/// `x: [n, inputs]`, `w: [outputs, inputs]`, `bias: [outputs]`, `y: [n, outputs]`.
/// The gradients are plain products: `dx = dy w` and `dw = dyᵀ x`.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn dense(
    n: usize,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    check_dense([n, inputs, outputs], x, w, bias, y);
    if n <= DOT_ROWS {
        return dense_by_dots(inputs, outputs, x, w, bias, y);
    }
    spread_bias(bias, y);
    let (x, w) = (MatRef::row_major(x, inputs), MatRef::transposed(w, inputs));
    matmul(n, outputs, inputs, x, w, y, bias.is_some());
}

/// Panics if a slice does not have the length its shape says.
pub(crate) fn check_dense(
    [n, inputs, outputs]: [usize; 3],
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &[f32],
) {
    assert_eq!(
        x.len(),
        n * inputs,
        "x of a dense layer must have n * inputs elements"
    );
    assert_eq!(
        w.len(),
        outputs * inputs,
        "w of a dense layer must have outputs * inputs elements"
    );
    assert_eq!(
        y.len(),
        n * outputs,
        "y of a dense layer must have n * outputs elements"
    );
    if let Some(bias) = bias {
        assert_eq!(
            bias.len(),
            outputs,
            "a dense layer has one bias for each output"
        );
    }
}

/// Puts the bias into each row.
pub(crate) fn spread_bias(bias: Option<&[f32]>, y: &mut [f32]) {
    if let Some(bias) = bias.filter(|bias| !bias.is_empty()) {
        y.chunks_exact_mut(bias.len())
            .for_each(|row| row.copy_from_slice(bias));
    }
}

/// Up to this many rows a layer is bound by reading `w`, which `gemm` would copy first.
const DOT_ROWS: usize = 2;

fn dense_by_dots(
    inputs: usize,
    outputs: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    const OUTPUTS_PER_TASK: usize = 32;
    if inputs == 0 || outputs == 0 {
        for row in y.chunks_exact_mut(outputs.max(1)) {
            match bias {
                Some(bias) => row.copy_from_slice(bias),
                None => row.fill(0.0),
            }
        }
        return;
    }
    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
        parallel::for_each_chunk(y, OUTPUTS_PER_TASK, 2 * inputs * outputs, |i, y| {
            let first = i * OUTPUTS_PER_TASK;
            let w = &w[first * inputs..][..y.len() * inputs];
            let bias = bias.map(|bias| &bias[first..][..y.len()]);
            simd::dispatch(simd::level(), Dots { x, w, bias, y });
        });
    }
}

/// `y[o] = bias[o] + dot(w[o, ..], x)`.
struct Dots<'a> {
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.w.chunks_exact(self.x.len());
        for (o, (row, y)) in rows.zip(self.y.iter_mut()).enumerate() {
            let mut sums = [simd.splat(0.0); 4];
            let (mut xs, mut ws) = (
                self.x.chunks_exact(4 * S::LANES),
                row.chunks_exact(4 * S::LANES),
            );
            for (x, w) in xs.by_ref().zip(ws.by_ref()) {
                for (j, sum) in sums.iter_mut().enumerate() {
                    let (x, w) = (&x[j * S::LANES..], &w[j * S::LANES..]);
                    *sum = simd.mul_add(simd.load_slice(x), simd.load_slice(w), *sum);
                }
            }
            let tails = xs
                .remainder()
                .chunks(S::LANES)
                .zip(ws.remainder().chunks(S::LANES));
            for (sum, (x, w)) in sums.iter_mut().zip(tails) {
                *sum = simd.mul_add(simd.load_slice(x), simd.load_slice(w), *sum);
            }
            let sum = simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]));
            *y = self.bias.map_or(0.0, |bias| bias[o]) + simd.sum(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};

    const SIZES: [[usize; 3]; 12] = [
        [1, 1, 1],
        [3, 5, 7],
        [1, 300, 784],
        [128, 10, 100],
        [128, 300, 784],
        [20, 576, 25],
        [17, 2000, 513],
        [2000, 17, 513],
        [0, 4, 5],
        [4, 0, 5],
        [4, 5, 0],
        [257, 255, 129],
    ];

    #[test]
    fn agrees_with_reference() {
        for [m, n, k] in SIZES {
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            for (transpose_a, transpose_b) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let a = match transpose_a {
                    true => MatRef::transposed(&a, m),
                    false => MatRef::row_major(&a, k),
                };
                let b = match transpose_b {
                    true => MatRef::transposed(&b, k),
                    false => MatRef::row_major(&b, n),
                };
                for accumulate in [false, true] {
                    let name = format!("{m} {n} {k} {transpose_a} {transpose_b} {accumulate}");
                    let c = same_on_any_pool(&name, || {
                        let mut c = start.clone();
                        matmul(m, n, k, a, b, &mut c, accumulate);
                        c
                    });
                    let mut expected = start.clone();
                    reference::matmul(m, n, k, a, b, &mut expected, accumulate);
                    assert_close(&name, &c, &expected, tolerance(k));
                }
            }
        }
    }

    /// Every element is in one block, and two threads get about the same.
    #[test]
    fn blocks_are_even() {
        for len in [1usize, 7, 16, 100, 128, 300, 784, 785, 4096] {
            for unit in UNITS {
                for n in [1, 2, 4, 8, 32] {
                    let n = n.min(len.div_ceil(unit));
                    let cuts: Vec<_> = (0..n).map(|i| block(len, n, i, unit)).collect();
                    let name = format!("{len} {unit} {n}: {cuts:?}");
                    assert_eq!((cuts[0].start, cuts[n - 1].end), (0, len), "{name}");
                    assert!(cuts.windows(2).all(|c| c[0].end == c[1].start), "{name}");
                    let half = cuts[n.div_ceil(2) - 1].end;
                    let fair = n % 2 == 1 || half.abs_diff(len - half) <= 2 * unit;
                    assert!(fair, "{name}");
                }
            }
        }
        let counts = [1 << 10, 1 << 22, 1 << 23, 60 << 20, 102 << 20, 1 << 30].map(n_blocks);
        assert_eq!(counts, [1, 2, 4, 4, 8, 64]);
    }

    #[test]
    fn dense_agrees_with_reference() {
        for [n, outputs, inputs] in SIZES.into_iter().chain([[2, 33, 65], [1, 1000, 1001]]) {
            let (x, w) = (numbers(n * inputs, 1), numbers(outputs * inputs, 2));
            let bias = numbers(outputs, 3);
            for bias in [None, Some(bias.as_slice())] {
                let name = format!("{n} {outputs} {inputs} {}", bias.is_some());
                let y = same_on_any_pool(&name, || {
                    let mut y = vec![f32::NAN; n * outputs];
                    dense(n, inputs, outputs, &x, &w, bias, &mut y);
                    y
                });
                let mut expected = vec![0.0; n * outputs];
                reference::dense(n, inputs, outputs, &x, &w, bias, &mut expected);
                assert_close(&name, &y, &expected, tolerance(inputs));
            }
        }
    }

    #[test]
    #[should_panic(expected = "the right operand is shorter than k by n")]
    fn refuses_a_short_operand() {
        let (a, b) = ([0.0; 6], [0.0; 5]);
        let mut c = [0.0; 4];
        matmul(
            2,
            2,
            3,
            MatRef::row_major(&a, 3),
            MatRef::row_major(&b, 2),
            &mut c,
            false,
        );
    }
}
