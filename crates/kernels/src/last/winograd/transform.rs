//! The transforms of F(4 x 4, 3 x 3): of inputs, of weights and of products back to outputs.
//!
//! Four outputs of a filter of three taps are coefficients of a product of polynomials, which its values
//! at five points and its leading coefficient give (Toom and Cook): `outputs = At [(G w) * (Bt x)]`, in
//! two dimensions one after the other (Lavin and Gray 2015, section 4.1). The points are 0, ±3/4 and
//! ±3/2 rather than the usual 0, ±1 and ±2. All factors of inputs and of products are exact in `f32`, and
//! rounding errors are half as large: values at ±2 have factors of 8, which then have to cancel. Weights
//! are transformed in `f64`.

use crate::simd::Simd;

/// Outputs of a tile in each direction.
pub(super) const OUT: usize = 4;
/// Inputs of a tile in each direction.
pub(super) const IN: usize = 6;
/// Products of a tile for each input channel and output channel.
pub(super) const PRODUCTS: usize = IN * IN;

/// The points are 0, ±`A`, ±`B`.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// `Bt x`: values at 0, `A`, `-A`, `B`, `-B` and the leading coefficient.
#[inline(always)]
fn of_inputs<S: Simd>(simd: S, x: [S::V; IN]) -> [S::V; IN] {
    let plus = |factor: f32, a: S::V, b: S::V| simd.mul_add(simd.splat(factor), a, b);
    let ends = |x0, x2, x4| plus(A2 * B2, x0, plus(-(A2 + B2), x2, x4));
    let pair = |point: f32, other: f32| {
        let (even, odd) = (plus(-other, x[2], x[4]), plus(-other, x[1], x[3]));
        (plus(point, odd, even), plus(-point, odd, even))
    };
    let ((a, minus_a), (b, minus_b)) = (pair(A, B2), pair(B, A2));
    let (zero, leading) = (ends(x[0], x[2], x[4]), ends(x[1], x[3], x[5]));
    [zero, a, minus_a, b, minus_b, leading]
}

/// `At p`: the outputs from the products at the points.
#[inline(always)]
fn of_products<S: Simd>(simd: S, p: [S::V; IN]) -> [S::V; OUT] {
    let plus = |factor: f32, a: S::V, b: S::V| simd.mul_add(simd.splat(factor), a, b);
    let less = |a: S::V, b: S::V| plus(-1.0, b, a);
    let zero = simd.splat(0.0);
    let (even_a, odd_a) = (simd.add(p[1], p[2]), less(p[1], p[2]));
    let (even_b, odd_b) = (simd.add(p[3], p[4]), less(p[3], p[4]));
    [
        simd.add(simd.add(p[0], even_a), even_b),
        plus(B, odd_b, plus(A, odd_a, zero)),
        plus(B2, even_b, plus(A2, even_a, zero)),
        plus(B2 * B, odd_b, plus(A2 * A, odd_a, p[5])),
    ]
}

/// The values of a tile of inputs at all pairs of points, `load(row, column)` being the inputs.
#[inline(always)]
pub(super) fn inputs<S: Simd>(
    simd: S,
    load: impl Fn(usize, usize) -> S::V,
    mut store: impl FnMut(usize, S::V),
) {
    let mut columns = [[simd.splat(0.0); IN]; IN];
    for (j, column) in columns.iter_mut().enumerate() {
        *column = of_inputs(simd, std::array::from_fn(|i| load(i, j)));
    }
    (0..IN).for_each(|i| {
        let row = of_inputs(simd, std::array::from_fn(|j| columns[j][i]));
        for (j, value) in row.into_iter().enumerate() {
            store(i * IN + j, value);
        }
    });
}

/// The outputs of a tile, row by row, `load(point)` being its products.
#[inline(always)]
pub(super) fn outputs<S: Simd>(simd: S, load: impl Fn(usize) -> S::V) -> [[S::V; OUT]; OUT] {
    let mut columns = [[simd.splat(0.0); OUT]; IN];
    for (j, column) in columns.iter_mut().enumerate() {
        *column = of_products(simd, std::array::from_fn(|i| load(i * IN + j)));
    }
    std::array::from_fn(|i| of_products(simd, std::array::from_fn(|j| columns[j][i])))
}

/// `G w`: weights at the points, divided by what the values of inputs and outputs lack.
#[inline(always)]
fn of_weights<const L: usize>(w: [[f64; L]; 3]) -> [[f64; L]; IN] {
    let (a2, b2) = (f64::from(A2), f64::from(B2));
    let pair = |point: f32, divisor: f64| {
        let point = f64::from(point);
        let [one, two, three] = [1.0, point, point * point].map(|power| power / divisor);
        let even: [f64; L] = std::array::from_fn(|l| one * w[0][l] + three * w[2][l]);
        let odd: [f64; L] = std::array::from_fn(|l| two * w[1][l]);
        let plus = std::array::from_fn(|l| even[l] + odd[l]);
        (plus, std::array::from_fn(|l| even[l] - odd[l]))
    };
    let (a, minus_a) = pair(A, 2.0 * a2 * (a2 - b2));
    let (b, minus_b) = pair(B, 2.0 * b2 * (b2 - a2));
    [w[0].map(|w| w / (a2 * b2)), a, minus_a, b, minus_b, w[2]]
}

/// Filters of 3 by 3 weights at all pairs of points; `L` filters side by side.
#[inline(always)]
pub(super) fn weights<const L: usize>(w: &[[f64; L]; 9], mut store: impl FnMut(usize, [f32; L])) {
    let columns: [_; 3] = std::array::from_fn(|j| of_weights([w[j], w[3 + j], w[6 + j]]));
    (0..IN).for_each(|i| {
        let row = of_weights([columns[0][i], columns[1][i], columns[2][i]]);
        for (j, value) in row.into_iter().enumerate() {
            store(i * IN + j, value.map(|v| v as f32));
        }
    });
}
