//! Products whose operands are rounded to 16 bits and whose sums are of 32.
//!
//! Matrix products, dense layers and convolutions with their gradients, in the precision that is asked
//! for. Everything else of a network, weights between steps among it, stays `f32`. Operands are rounded to
//! the nearest, halves to even. Two products of bf16 numbers fit an `f32` lane, so where the processor
//! multiplies them (AVX512_BF16) twice as many are done at a time; elsewhere, and for f16 everywhere,
//! operands are rounded in a copy and multiplied as `f32`, which gives the same but for the order of
//! sums, and costs more than not rounding.
//!
//! Which products are rounded follows from their shape, the same on every processor, and no others lose
//! bits. Small ones would gain nothing, nor would convolutions with one filter a channel, those with images of a
//! few pixels or a single channel to sum over, 1 x 1 kernels over fewer than 32 channels, and gradients of
//! weights from a single image.

use crate::conv::{self, ConvShape, paired};
use crate::matmul::{self, MatRef};
use crate::pairs::{Lanes, bf16_bits};
use crate::simd::vectorize;
use crate::{matmul_pairs, parallel};

/// What the operands of products are rounded to; sums are `f32` in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// 8 bits of precision, the range of `f32`. In numbers below 2⁻¹²⁶, which the instruction takes for
    /// zero, processors differ.
    Bf16,
    /// 11 bits of precision from 2⁻¹⁴ to 65504; beyond are infinities, below multiples of 2⁻²⁴.
    F16,
}

/// Least rows and columns, and length of the inner axis, of a product that is worth rounding.
const LEAST: [usize; 2] = [32, 16];

impl Precision {
    /// The usual name: `f32`, `bf16` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    /// Whether this processor multiplies such numbers, rather than `f32` numbers that were rounded.
    pub fn is_native(self) -> bool {
        match self {
            Precision::F32 => true,
            Precision::Bf16 => Lanes::pairs().is_some(),
            Precision::F16 => false,
        }
    }

    /// `x`, rounded.
    #[inline(always)]
    pub fn round(self, x: f32) -> f32 {
        match self {
            Precision::F32 => x,
            Precision::Bf16 => f32::from_bits(bf16_bits(x) << 16),
            Precision::F16 => f16_of(x),
        }
    }

    /// Whether the operands of a product `[m, k]` by `[k, n]` are rounded.
    pub fn rounds_product(self, [m, n, k]: [usize; 3]) -> bool {
        self != Precision::F32 && m.min(n) >= LEAST[0] && k >= LEAST[1]
    }

    /// Whether the operands of a convolution are rounded.
    pub fn rounds_conv(self, shape: &ConvShape) -> bool {
        self != Precision::F32 && shape.rounds()
    }

    /// As [`Precision::rounds_conv`], of the gradient of the input.
    pub fn rounds_grad_input(self, shape: &ConvShape) -> bool {
        self != Precision::F32 && shape.rounds_grad_input()
    }

    /// As [`Precision::rounds_conv`], of the gradient of the weights.
    pub fn rounds_grad_weight(self, shape: &ConvShape) -> bool {
        self != Precision::F32 && shape.rounds_grad_weight()
    }

    /// [`crate::matmul`] of `[m, n, k]`, in place of `c`.
    ///
    /// # Panics
    /// As [`crate::matmul`].
    pub fn matmul(self, size: [usize; 3], a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32]) {
        self.product(size, a, b, c, false);
    }

    fn product(
        self,
        [m, n, k]: [usize; 3],
        a: MatRef<'_>,
        b: MatRef<'_>,
        c: &mut [f32],
        accumulate: bool,
    ) {
        if !self.rounds_product([m, n, k]) {
            return matmul::matmul(m, n, k, a, b, c, accumulate);
        }
        if let Some(lanes) = self.pairs() {
            return matmul_pairs::matmul(lanes, [m, n, k], a, b, c, accumulate);
        }
        matmul::check(m, n, k, a, b, c);
        let [a_len, b_len] = [a.required_len(m, k), b.required_len(k, n)];
        self.with_rounded([&a.data[..a_len], &b.data[..b_len]], |[data, other]| {
            let (a, b) = (MatRef { data, ..a }, MatRef { data: other, ..b });
            matmul::matmul(m, n, k, a, b, c, accumulate);
        });
    }

    /// [`crate::dense`] of `[n, inputs, outputs]`.
    ///
    /// # Panics
    /// As [`crate::dense`].
    pub fn dense(
        self,
        [n, inputs, outputs]: [usize; 3],
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) {
        if !self.rounds_product([n, outputs, inputs]) {
            return matmul::dense(n, inputs, outputs, x, w, bias, y);
        }
        matmul::check_dense([n, inputs, outputs], x, w, bias, y);
        matmul::spread_bias(bias, y);
        let (x, w) = (MatRef::row_major(x, inputs), MatRef::transposed(w, inputs));
        self.product([n, outputs, inputs], x, w, y, bias.is_some());
    }

    /// [`crate::conv`].
    ///
    /// # Panics
    /// As [`crate::conv`].
    pub fn conv(
        self,
        shape: &ConvShape,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) {
        match self.pairs() {
            _ if !self.rounds_conv(shape) => conv::conv(shape, x, w, bias, y),
            Some(lanes) => paired::conv(lanes, shape, x, w, bias, y),
            None => self.with_rounded([x, w], |[x, w]| conv::conv(shape, x, w, bias, y)),
        }
    }

    /// [`crate::conv_grad_input`].
    ///
    /// # Panics
    /// As [`crate::conv`].
    pub fn conv_grad_input(self, shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
        match self.pairs() {
            _ if !self.rounds_grad_input(shape) => conv::conv_grad_input(shape, dy, w, dx),
            Some(lanes) => paired::conv_grad_input(lanes, shape, dy, w, dx),
            None => self.with_rounded([dy, w], |[dy, w]| {
                conv::conv_grad_input(shape, dy, w, dx);
            }),
        }
    }

    /// [`crate::conv_grad_weight`].
    ///
    /// # Panics
    /// As [`crate::conv`].
    pub fn conv_grad_weight(self, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        match self.pairs() {
            _ if !self.rounds_grad_weight(shape) => conv::conv_grad_weight(shape, x, dy, dw),
            Some(lanes) => paired::conv_grad_weight(lanes, shape, x, dy, dw),
            None => self.with_rounded([x, dy], |[x, dy]| {
                conv::conv_grad_weight(shape, x, dy, dw);
            }),
        }
    }

    /// Lanes of pairs, if the processor multiplies pairs of these numbers.
    fn pairs(self) -> Option<Lanes> {
        match self {
            Precision::F32 | Precision::F16 => None,
            Precision::Bf16 => Lanes::pairs(),
        }
    }

    /// Calls `f` with rounded copies.
    fn with_rounded<R>(self, [a, b]: [&[f32]; 2], f: impl FnOnce([&[f32]; 2]) -> R) -> R {
        parallel::with_operand_scratch(a.len() + b.len(), |scratch| {
            let (to_a, to_b) = scratch.split_at_mut(a.len());
            self.round_all(a, to_a);
            self.round_all(b, to_b);
            f([to_a, to_b])
        })
    }

    fn round_all(self, x: &[f32], to: &mut [f32]) {
        const PIECE: usize = 1 << 14;
        parallel::for_each_chunk(to, PIECE, x.len(), |i, to| {
            let x = &x[i * PIECE..][..to.len()];
            let each = x.iter().zip(to.iter_mut());
            match self {
                Precision::F32 => to.copy_from_slice(x),
                Precision::Bf16 => vectorize(
                    #[inline(always)]
                    || each.for_each(|(x, to)| *to = Precision::Bf16.round(*x)),
                ),
                Precision::F16 => vectorize(
                    #[inline(always)]
                    || each.for_each(|(x, to)| *to = Precision::F16.round(*x)),
                ),
            }
        });
    }
}

/// The f16 number nearest to `x`, halves to even.
#[inline(always)]
fn f16_of(x: f32) -> f32 {
    /// Numbers below have all the same distance, that of `f32` numbers from 0.5 to 1.
    const LEAST_NORMAL: f32 = 1.0 / (1 << 14) as f32;
    const MOST: f32 = 65504.0;
    let size = x.abs();
    let small = (size + 0.5) - 0.5;
    // 13 of the 23 bits of the mantissa are rounded away.
    let bits = size.to_bits();
    let large = f32::from_bits(bits.wrapping_add(0xfff + ((bits >> 13) & 1)) & !0x1fff);
    let large = if large > MOST { f32::INFINITY } else { large };
    let size = if size < LEAST_NORMAL { small } else { large };
    if x.is_nan() { x } else { size.copysign(x) }
}

#[cfg(test)]
mod tests;
