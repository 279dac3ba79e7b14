//! Functions applied element by element, and the three functions networks apply most.
//!
//! Results do not depend on how the work is cut, nor on the processor as long as the function
//! given uses plain arithmetic.

use crate::parallel;
use crate::simd::vectorize;

/// Elements in one task: three slices of them fit a core's level-2 cache.
const CHUNK: usize = 1 << 14;

/// `y[i] = f(x[i])`.
///
/// `f` is compiled into a vector loop if it is free of branches and calls, as [`exp`] is, and holds numbers
/// rather than references to them (`move`).
///
/// # Panics
/// If the slices differ in length.
pub fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32 + Copy + Sync) {
    assert_eq!(x.len(), y.len(), "map needs slices of one length");
    parallel::for_each_chunk(y, CHUNK, x.len(), |i, y| {
        let x = &x[i * CHUNK..][..y.len()];
        // What `f` holds is copied to where `y` cannot be, or it would be read again after each result and
        // there would be no vectors.
        let own = f;
        vectorize(
            #[inline(always)]
            || {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = own(x);
                }
            },
        );
    });
}

/// `y[i] = f(a[i], b[i])`.
///
/// # Panics
/// If the slices differ in length.
pub fn zip_map(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
    assert!(
        a.len() == y.len() && b.len() == y.len(),
        "zip_map needs slices of one length"
    );
    parallel::for_each_chunk(y, CHUNK, a.len(), |i, y| {
        let (a, b) = (&a[i * CHUNK..][..y.len()], &b[i * CHUNK..][..y.len()]);
        zip_loop(a, b, y, f);
    });
}

/// `y[i] = f(a[i], b[i], c[i])`.
///
/// # Panics
/// If the slices differ in length.
pub fn zip3_map(
    a: &[f32],
    b: &[f32],
    c: &[f32],
    y: &mut [f32],
    f: impl Fn(f32, f32, f32) -> f32 + Copy + Sync,
) {
    let equal = a.len() == y.len() && b.len() == y.len() && c.len() == y.len();
    assert!(equal, "zip3_map needs slices of one length");
    parallel::for_each_chunk(y, CHUNK, a.len(), |i, y| {
        let range = i * CHUNK..i * CHUNK + y.len();
        let (a, b, c) = (&a[range.clone()], &b[range.clone()], &c[range]);
        let own = f;
        vectorize(
            #[inline(always)]
            || {
                for (((y, &a), &b), &c) in y.iter_mut().zip(a).zip(b).zip(c) {
                    *y = own(a, b, c);
                }
            },
        );
    });
}

/// Axes a broadcast can have.
const MAX_RANK: usize = 8;

/// `y[i] = f(a[i], b[i])` with broadcasting as in NumPy.
///
/// `y` has the shape given, row-major. `a` and `b` are read by strides, one for each axis; stride
/// 0 repeats a value along an axis. Fast where the last axes, after merging those that are
/// contiguous in both operands, are long: equal shapes, a scalar, `[.., c]` with `[c]`,
/// `[n, c, h, w]` with `[1, c, 1, 1]`.
///
/// # Panics
/// If there are more than 8 axes, not as many strides as axes, or an operand is too short.
pub fn broadcast_zip(
    shape: &[usize],
    a: &[f32],
    a_strides: &[usize],
    b: &[f32],
    b_strides: &[usize],
    y: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Copy + Sync,
) {
    let rank = shape.len();
    assert!(
        rank <= MAX_RANK,
        "broadcasting is limited to {MAX_RANK} axes, not {rank}"
    );
    assert!(
        a_strides.len() == rank && b_strides.len() == rank,
        "one stride for each axis"
    );
    assert_eq!(
        y.len(),
        shape.iter().product::<usize>(),
        "y must have the elements of its shape"
    );
    if y.is_empty() {
        return;
    }
    assert!(
        a.len() > last_index(shape, a_strides),
        "the first operand is shorter than its shape"
    );
    assert!(
        b.len() > last_index(shape, b_strides),
        "the second operand is shorter than its shape"
    );
    let axes = merge_axes(shape, a_strides, b_strides);
    let (inner, outer) = axes.split_last().expect("merging leaves at least one axis");
    let rows_per_task = (CHUNK / inner.len).max(1);
    if outer.is_empty() && inner.len > CHUNK {
        // One long row: cut it instead.
        return parallel::for_each_chunk(y, CHUNK, inner.len, |i, y| {
            let start = i * CHUNK;
            row(inner, &a[start * inner.a..], &b[start * inner.b..], y, f);
        });
    }
    parallel::for_each_chunk(
        y,
        rows_per_task * inner.len,
        shape.iter().product(),
        |i, y| {
            for (j, y) in y.chunks_exact_mut(inner.len).enumerate() {
                let (at_a, at_b) = offsets(outer, i * rows_per_task + j);
                row(inner, &a[at_a..], &b[at_b..], y, f);
            }
        },
    );
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    len: usize,
    /// Strides of the operands.
    a: usize,
    b: usize,
}

fn last_index(shape: &[usize], strides: &[usize]) -> usize {
    shape
        .iter()
        .zip(strides)
        .map(|(&len, &stride)| (len - 1) * stride)
        .sum()
}

/// Drops axes of length 1 and merges neighbours that both operands walk through as one.
fn merge_axes(shape: &[usize], a: &[usize], b: &[usize]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::with_capacity(shape.len().max(1));
    for ((&len, &a), &b) in shape
        .iter()
        .zip(a)
        .zip(b)
        .filter(|((len, _), _)| **len != 1)
    {
        match axes.last_mut() {
            Some(outer) if outer.a == a * len && outer.b == b * len => {
                *outer = Axis {
                    len: outer.len * len,
                    a,
                    b,
                };
            }
            _ => axes.push(Axis { len, a, b }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { len: 1, a: 0, b: 0 });
    }
    axes
}

/// Where row `i` of the outer axes begins in each operand.
fn offsets(outer: &[Axis], mut i: usize) -> (usize, usize) {
    let mut at = (0, 0);
    for axis in outer.iter().rev() {
        let index = i % axis.len;
        i /= axis.len;
        at = (at.0 + index * axis.a, at.1 + index * axis.b);
    }
    at
}

/// One row, by the strides of its axis.
fn row(
    axis: &Axis,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Copy + Sync,
) {
    match (axis.a, axis.b) {
        (1, 1) => zip_loop(&a[..y.len()], &b[..y.len()], y, f),
        (1, 0) => {
            let (a, b) = (&a[..y.len()], b[0]);
            vectorize(
                #[inline(always)]
                || y.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b)),
            );
        }
        (0, 1) => {
            let (a, b) = (a[0], &b[..y.len()]);
            vectorize(
                #[inline(always)]
                || y.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a, b)),
            );
        }
        (stride_a, stride_b) => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = f(a[i * stride_a], b[i * stride_b]);
            }
        }
    }
}

fn zip_loop(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
    vectorize(
        #[inline(always)]
        || {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = f(a, b);
            }
        },
    );
}

/// `e` to the power `x`, within 1.1 units in the last place, subnormal results included.
///
/// Plain arithmetic without branches, so that a loop over it becomes vectors and the bits are the
/// same on every processor. `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite's reduction in
/// two constants, the first with so few bits that its product with `n` is exact); `e^r` is a
/// polynomial of degree 6, fitted for least largest relative error (3.3e-9); and `2^n` is
/// multiplied in as two factors, so that neither overflows before the result does.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    /// Adding it leaves an integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // Beyond these the result is infinity and zero. NaN passes both comparisons.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let q = 0.001_381_314_5;
    let q = q * r + 0.008_369_419;
    let q = q * r + 0.041_668_457;
    let q = q * r + 0.166_665_15;
    let q = q * r + 0.499_999_93;
    let p = (q * r * r + r) + 1.0;
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `1 / (1 + e^-x)`, within 2.5 units in the last place, subnormal results included.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // The exponential of a negative number only, so that nothing overflows.
    let e = exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// The hyperbolic tangent, within 1.5 units in the last place.
///
/// Below 0.625 an odd polynomial of degree 11, fitted for least largest relative error (4.4e-9);
/// above, `1 - 2 / (e^2x + 1)`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let s = x * x;
    let p = -0.005_704_985;
    let p = p * s + 0.020_639_085;
    let p = p * s - 0.053_739_715;
    let p = p * s + 0.133_314_42;
    let p = p * s - 0.333_332_8;
    let small = x + x * (s * p);
    let large = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { small } else { large }
}

/// The error function, within 1.3 units in the last place.
///
/// Below 0.9 an odd polynomial of degree 15, fitted for least largest relative error (2.9e-10); above,
/// `1 - e^p(|x|)` with a polynomial of degree 7 for the logarithm of `1 - erf`, fitted so that the result
/// has least largest relative error (8.6e-10). From 4 on the result is 1.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let size = x.abs();
    let s = x * x;
    let p = 8.513_122e-5;
    let p = p * s - 0.000_817_564_43;
    let p = p * s + 0.005_203_86;
    let p = p * s - 0.026_860_509;
    let p = p * s + 0.112_837_15;
    let p = p * s - 0.376_126_35;
    let p = p * s + 0.128_379_17;
    let small = x + x * p;
    let a = if size > 4.0 { 4.0 } else { size };
    let q = -1.043_285_6e-5;
    let q = q * a + 0.000_314_855_63;
    let q = q * a - 0.003_610_332_3;
    let q = q * a + 0.023_694_547;
    let q = q * a - 0.106_159_03;
    let q = q * a - 0.635_198_06;
    let q = q * a - 1.128_637_1;
    let large = (1.0 - exp(q * a)).copysign(x);
    if size < 0.9 { small } else { large }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{numbers, same_on_any_pool};

    /// Distance of `y` from `exact` in units of the last place of `exact` rounded to `f32`.
    fn ulps(y: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        if nearest.is_infinite() || nearest == 0.0 {
            return if y == nearest {
                0.0
            } else {
                f64::from(y - nearest).abs()
            };
        }
        let exponent = (nearest.abs().to_bits() >> 23).max(1) as i32 - 127 - 23;
        (f64::from(y) - exact).abs() / f64::from(exponent).exp2()
    }

    /// Every `step`th float, positive and negative.
    fn sweep(step: usize) -> impl Iterator<Item = f32> {
        (0..=f32::INFINITY.to_bits())
            .step_by(step)
            .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
    }

    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, step: usize) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for x in sweep(step) {
            let error = ulps(f(x), exact(f64::from(x)));
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        worst
    }

    /// Name, function, the same in `f64`, bound.
    type Function = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);

    /// The error function by a series of positive terms (Abramowitz and Stegun 7.1.6).
    fn exact_erf(x: f64) -> f64 {
        let size = x.abs().min(7.0);
        let (mut term, mut sum, mut n) = (size, size, 0.0);
        while term > sum * 1e-18 {
            n += 1.0;
            term *= 2.0 * size * size / (2.0 * n + 1.0);
            sum += term;
        }
        let erf = std::f64::consts::FRAC_2_SQRT_PI * (-size * size).exp() * sum;
        erf.min(1.0).copysign(x)
    }

    const FUNCTIONS: [Function; 4] = [
        ("erf", erf, exact_erf, 1.3),
        ("exp", exp, f64::exp, 1.1),
        (
            "sigmoid",
            sigmoid,
            |x| {
                if x < 0.0 {
                    x.exp() / (1.0 + x.exp())
                } else {
                    1.0 / (1.0 + (-x).exp())
                }
            },
            2.5,
        ),
        ("tanh", tanh, f64::tanh, 1.5),
    ];

    #[test]
    fn functions_keep_their_bounds() {
        for (name, f, exact, bound) in FUNCTIONS {
            let (error, x) = worst(f, exact, 997);
            assert!(error <= bound, "{name}({x:e}) is off by {error} ulp");
            assert!(f(f32::NAN).is_nan(), "{name} of NaN");
        }
    }

    #[test]
    #[ignore = "every 31st float, half a minute"]
    fn functions_keep_their_bounds_on_a_dense_sweep() {
        for (name, f, exact, bound) in FUNCTIONS {
            let (error, x) = worst(f, exact, 31);
            assert!(error <= bound, "{name}({x:e}) is off by {error} ulp");
        }
    }

    #[test]
    fn vector_loops_give_the_bits_of_the_functions() {
        for (name, f, ..) in FUNCTIONS {
            let x: Vec<f32> = sweep(70_001).collect();
            let mut y = vec![0.0; x.len()];
            map(&x, &mut y, f);
            assert!(
                x.iter()
                    .zip(&y)
                    .all(|(&x, y)| f(x).to_bits() == y.to_bits()),
                "{name}"
            );
        }
    }

    #[test]
    fn maps_visit_each_element_once() {
        for len in [0, 1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 3] {
            let [a, b, c] = [1, 2, 3].map(|seed| numbers(len, seed));
            let y = same_on_any_pool("zip3", || {
                let mut y = vec![0.0; len];
                zip3_map(&a, &b, &c, &mut y, |a, b, c| a * b - c);
                y
            });
            assert!(
                (0..len).all(|i| y[i] == a[i] * b[i] - c[i]),
                "zip3_map {len}"
            );
            let mut y = vec![0.0; len];
            zip_map(&a, &b, &mut y, |a, b| a - b);
            assert!((0..len).all(|i| y[i] == a[i] - b[i]), "zip_map {len}");
            map(&a, &mut y, |a| -a);
            assert!((0..len).all(|i| y[i] == -a[i]), "map {len}");
        }
    }

    #[test]
    fn broadcasts_agree_with_reference() {
        /// Name, shape, strides of both operands.
        type Case = (
            &'static str,
            &'static [usize],
            &'static [usize],
            &'static [usize],
        );
        let cases: [Case; 12] = [
            ("same", &[5, 7, 3], &[21, 3, 1], &[21, 3, 1]),
            ("scalar right", &[5, 7, 3], &[21, 3, 1], &[0, 0, 0]),
            ("scalar left", &[5, 7, 3], &[0, 0, 0], &[21, 3, 1]),
            ("row vector", &[9, 33], &[33, 1], &[0, 1]),
            ("column by row", &[9, 33], &[1, 0], &[0, 1]),
            ("channel", &[3, 4, 5, 6], &[120, 30, 6, 1], &[0, 1, 0, 0]),
            ("spatial", &[3, 4, 5, 6], &[120, 30, 6, 1], &[30, 0, 6, 1]),
            ("transposed", &[6, 5], &[1, 6], &[5, 1]),
            ("rank 0", &[], &[], &[]),
            (
                "rank 8",
                &[2, 1, 2, 3, 1, 2, 2, 2],
                &[48, 48, 24, 8, 8, 4, 2, 1],
                &[0, 0, 4, 0, 0, 2, 0, 1],
            ),
            ("empty", &[3, 0, 2], &[0, 2, 1], &[0, 0, 0]),
            ("long row", &[100_000], &[1], &[0]),
        ];
        for (name, shape, a_strides, b_strides) in cases {
            let len = shape.iter().product();
            let (a, b) = (numbers(100_000, 1), numbers(100_000, 2));
            let mut y = vec![0.0; len];
            broadcast_zip(shape, &a, a_strides, &b, b_strides, &mut y, |a, b| {
                a - 2.0 * b
            });
            let mut expected = vec![0.0; len];
            let f = |a, b| a - 2.0 * b;
            reference::broadcast_zip(shape, &a, a_strides, &b, b_strides, &mut expected, f);
            assert_eq!(y, expected, "{name}");
        }
    }
}
