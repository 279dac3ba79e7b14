//! Pairs of bf16 numbers in the 32-bit lanes of vectors.
//!
//! Two numbers whose products are summed (of neighbouring channels, of neighbouring elements along an
//! inner axis, or of two images) are rounded to bf16, to the nearest and halves to even, and share a
//! lane: the first in its lower half, the second in the upper. A kernel for floats then works on pairs as
//! they are, with half as many lanes to go through: loads, copies and broadcasts move bits, and
//! [`crate::simd::Simd::add_products`] adds both products to a sum in `f32`. Where a number has no partner, zero is one.
//!
//! The instruction (AVX512_BF16) takes numbers below 2⁻¹²⁶ for zero, and so does the one that rounds.

use std::ops::Range;

use crate::simd::{Level, WithSimd};
#[cfg(test)]
use crate::simd::{Portable, Simd};

/// What the lanes of operands hold, and whose vectors they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// A number of 32 bits.
    Floats(Level),
    /// Two of 16 bits, for a processor with AVX512_BF16.
    Pairs(HasPairs),
    /// The same without the instruction: what is multiplied with what can be tested on any processor.
    #[cfg(test)]
    PortablePairs,
}

/// Says that the processor has AVX-512F, BW and BF16, AVX2 and FMA: only [`Lanes::pairs`] makes one, after
/// detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HasPairs(());

impl Lanes {
    /// Pairs, where the processor multiplies them.
    pub(crate) fn pairs() -> Option<Lanes> {
        detect().then_some(Lanes::Pairs(HasPairs(())))
    }

    /// Whose vectors they are.
    pub(crate) fn level(self) -> Level {
        match self {
            Lanes::Floats(level) => level,
            Lanes::Pairs(_) => Level::Avx512,
            #[cfg(test)]
            Lanes::PortablePairs => Level::Portable,
        }
    }

    /// Numbers in a lane.
    pub(crate) fn held(self) -> usize {
        match self {
            Lanes::Floats(_) => 1,
            Lanes::Pairs(_) => 2,
            #[cfg(test)]
            Lanes::PortablePairs => 2,
        }
    }

    pub(crate) fn in_pairs(self) -> bool {
        self.held() == 2
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> bool {
    // What packing pairs needs is there, too, wherever they can be multiplied.
    crate::simd::level() == Level::Avx512
        && is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512bw")
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> bool {
    false
}

/// Runs `work` with vectors that this CPU has, and [`crate::simd::Simd::add_products`] for what their lanes hold.
#[inline]
pub(crate) fn dispatch<W: WithSimd>(lanes: Lanes, work: W) -> W::Output {
    match lanes {
        Lanes::Floats(level) => crate::simd::dispatch(level, work),
        pairs => dispatch_pairs(pairs, work),
    }
}

/// As [`dispatch`], for what is done with pairs alone, which is not compiled for anything else.
///
/// # Panics
/// If lanes hold numbers of 32 bits.
#[inline]
pub(crate) fn dispatch_pairs<W: WithSimd>(lanes: Lanes, work: W) -> W::Output {
    match lanes {
        Lanes::Floats(_) => unreachable!("lanes hold pairs"),
        Lanes::Pairs(_) => {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
                fn run<W: WithSimd>(work: W, simd: x86::Bf16) -> W::Output {
                    work.run(simd)
                }
                // SAFETY: the pairs say that the CPU has AVX-512F, BW and BF16, AVX2 and FMA.
                unsafe { run(work, x86::Bf16::new_unchecked()) }
            }
            #[cfg(not(target_arch = "x86_64"))]
            unreachable!("pairs are of x86-64")
        }
        #[cfg(test)]
        Lanes::PortablePairs => work.run(PortablePairs(Portable)),
    }
}

/// The bf16 number nearest to `x`, halves to even. What is not a number stays none.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits | 0x40_0000) >> 16;
    }
    // Infinities have a mantissa of zeros, which no rounding carries over.
    (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
}

/// Two numbers in the bits of a lane.
#[inline(always)]
pub(crate) fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(bf16_bits(low) | bf16_bits(high) << 16)
}

/// `to[i]` is the pair of `low[i]` and `high[i]`, or of `low[i]` and zero; all are of one length.
pub(crate) fn interleave(lanes: Lanes, low: &[f32], high: Option<&[f32]>, to: &mut [f32]) {
    assert!(
        low.len() == to.len() && high.is_none_or(|high| high.len() == to.len()),
        "pairs are made of runs of one length"
    );
    match lanes {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the pairs say that the CPU has AVX-512F, BW and BF16; the runs are of one length.
        Lanes::Pairs(_) => unsafe { x86::interleave(low, high, to) },
        _ => {
            for (i, to) in to.iter_mut().enumerate() {
                *to = pair(low[i], high.map_or(0.0, |high| high[i]));
            }
        }
    }
}

/// `to[i]` is the pair of `x[2 i]` and `x[2 i + 1]`, the last one of a number and zero if `x` is odd.
pub(crate) fn neighbours(lanes: Lanes, x: &[f32], to: &mut [f32]) {
    assert_eq!(x.len().div_ceil(2), to.len(), "a pair for each two numbers");
    match lanes {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the pairs say that the CPU has AVX-512F, BW and BF16; there is a pair for each two
        // numbers.
        Lanes::Pairs(_) => unsafe { x86::neighbours(x, to) },
        _ => {
            for (to, x) in to.iter_mut().zip(x.chunks(2)) {
                *to = pair(x[0], x.get(1).copied().unwrap_or(0.0));
            }
        }
    }
}

/// Neighbouring planes of `x: [count, plane]` in pairs, `to: [ceil(count / 2), plane]`.
pub(crate) fn pair_planes(lanes: Lanes, x: &[f32], plane: usize, to: &mut [f32]) {
    if plane == 0 {
        return;
    }
    for (x, to) in x.chunks(2 * plane).zip(to.chunks_exact_mut(plane)) {
        let (low, high) = x.split_at(plane);
        interleave(lanes, low, (!high.is_empty()).then_some(high), to);
    }
}

/// A part of images `2 i` and `2 i + 1` of `x: [images, len]` in pairs, with zeros if there is no second
/// one; as much of `to` as that takes.
pub(crate) fn pair_images<'t>(
    lanes: Lanes,
    x: &[f32],
    len: usize,
    i: usize,
    part: Range<usize>,
    to: &'t mut [f32],
) -> &'t [f32] {
    let to = &mut to[..part.len()];
    let image = |i: usize| x.get(i * len..(i + 1) * len);
    let low = image(2 * i).expect("a pair has an image");
    let high = image(2 * i + 1).map(|image| &image[part.clone()]);
    interleave(lanes, &low[part.clone()], high, to);
    to
}

/// Portable vectors of pairs.
#[derive(Clone, Copy)]
#[cfg(test)]
struct PortablePairs(Portable);

#[cfg(test)]
impl Simd for PortablePairs {
    crate::simd::as_held!(Portable);

    #[inline(always)]
    fn add_products(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let low = |x: Self::V| x.map(|x| f32::from_bits(x.to_bits() << 16));
        let high = |x: Self::V| x.map(|x| f32::from_bits(x.to_bits() & 0xffff_0000));
        self.mul_add(low(a), low(b), self.mul_add(high(a), high(b), c))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use crate::simd::x86::Avx512;
    use crate::simd::{Simd, as_held};

    /// Token for AVX-512F, BW and BF16, and AVX2 and FMA as well.
    #[derive(Clone, Copy)]
    pub(super) struct Bf16(Avx512);

    impl Bf16 {
        /// # Safety
        /// The CPU has AVX-512F, BW and BF16, AVX2 and FMA.
        #[inline(always)]
        pub(super) unsafe fn new_unchecked() -> Self {
            // SAFETY: by the contract of this function.
            Bf16(unsafe { Avx512::new_unchecked() })
        }
    }

    impl Simd for Bf16 {
        as_held!(Avx512);

        #[inline(always)]
        fn add_products(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the token says the CPU has AVX512_BF16; the types are of the same bits.
            unsafe {
                let (a, b) = (
                    transmute::<__m512, __m512bh>(a),
                    transmute::<__m512, __m512bh>(b),
                );
                _mm512_dpbf16_ps(c, a, b)
            }
        }
    }

    /// See [`super::interleave`].
    ///
    /// # Safety
    /// The CPU has AVX-512F, BW and BF16, and the runs are of the length of `to`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn interleave(low: &[f32], high: Option<&[f32]>, to: &mut [f32]) {
        // Word `i` of the lower half, then word `i` of the upper.
        let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
        // SAFETY: an array of 32 words is as large as the vector.
        let order = unsafe { transmute::<[u16; 32], __m512i>(order) };
        // Runs of planes come from memory, most likely, and a plane is often just a page, where the
        // processor's own prefetching stops.
        let ahead = to.len() >= PAGE / 4;
        for at in (0..to.len()).step_by(16) {
            let lanes = mask((to.len() - at).min(16));
            if ahead {
                let next = [Some(low), high].into_iter().flatten();
                next.for_each(|x| prefetch(x.as_ptr().wrapping_add(at + PAGE)));
            }
            // SAFETY: only lanes within the runs are read and written.
            unsafe {
                let low = _mm512_maskz_loadu_ps(lanes, low.as_ptr().add(at));
                let high = match high {
                    Some(high) => _mm512_maskz_loadu_ps(lanes, high.as_ptr().add(at)),
                    None => _mm512_setzero_ps(),
                };
                let both = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                let pairs = _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both));
                _mm512_mask_storeu_ps(to.as_mut_ptr().add(at), lanes, pairs);
            }
        }
    }

    /// Floats of a page.
    const PAGE: usize = 1024;

    /// Asks for the cache line of `x`, which need not be there.
    #[inline(always)]
    fn prefetch(x: *const f32) {
        // SAFETY: every x86-64 has this instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) };
    }

    /// See [`super::neighbours`].
    ///
    /// # Safety
    /// The CPU has AVX-512F, BW and BF16, and `to` has a place for each two of `x`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn neighbours(x: &[f32], to: &mut [f32]) {
        for at in (0..to.len()).step_by(16) {
            let lanes = mask((to.len() - at).min(16));
            let from = 2 * at;
            let [first, second] =
                [from, from + 16].map(|from| mask(x.len().saturating_sub(from).min(16)));
            // SAFETY: only lanes within the runs are read and written; an address beyond the end is
            // made without going there.
            unsafe {
                let x = x.as_ptr().wrapping_add(from);
                let low = _mm512_maskz_loadu_ps(first, x);
                let high = _mm512_maskz_loadu_ps(second, x.wrapping_add(16));
                let pairs = transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
                _mm512_mask_storeu_ps(to.as_mut_ptr().add(at), lanes, pairs);
            }
        }
    }

    /// The first so many lanes, of 16.
    fn mask(lanes: usize) -> __mmask16 {
        ((1u32 << lanes) - 1) as __mmask16
    }
}

/// All ways to multiply pairs that this CPU has.
#[cfg(test)]
pub(crate) fn pair_lanes() -> impl Iterator<Item = Lanes> {
    std::iter::once(Lanes::PortablePairs).chain(Lanes::pairs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    /// Bits of a float and of the bf16 number nearest to it.
    const VECTORS: [(u32, u32); 14] = [
        (0x3f80_8000, 0x3f80),
        (0x3f81_8000, 0x3f82),
        (0x3f80_8008, 0x3f81),
        (0x3f80_7fff, 0x3f80),
        (0xbf80_8001, 0xbf81),
        (0x7f7f_0000, 0x7f7f),
        (0x7f7f_7fff, 0x7f7f),
        (0x7f7f_8000, 0x7f80),
        (0x7f80_0000, 0x7f80),
        (0xff80_0000, 0xff80),
        (0x7f80_0001, 0x7fc0),
        (0xffff_ffff, 0xffff),
        (0x0000_0000, 0x0000),
        (0x8000_0000, 0x8000),
    ];

    #[test]
    fn rounds_to_the_nearest() {
        for (bits, expected) in VECTORS {
            let x = f32::from_bits(bits);
            assert_eq!(bf16_bits(x), expected, "{bits:#x}");
            for lanes in pair_lanes() {
                let mut to = [0.0];
                interleave(lanes, &[x], Some(&[1.0]), &mut to);
                assert_eq!(
                    to[0].to_bits(),
                    0x3f80_0000 | expected,
                    "{bits:#x}, {lanes:?}"
                );
            }
        }
        assert_eq!(bf16_bits(1e-40), 1, "small numbers stay, in portable code");
    }

    #[test]
    fn pairs_are_made_of_runs_of_any_length() {
        for len in [0, 1, 2, 15, 16, 17, 31, 32, 33, 47, 100] {
            let (x, y) = (numbers(len, 1), numbers(len, 2));
            for lanes in pair_lanes() {
                let mut to = vec![f32::NAN; len];
                interleave(lanes, &x, Some(&y), &mut to);
                let expected = x.iter().zip(&y).map(|(&x, &y)| pair(x, y).to_bits());
                assert!(
                    to.iter().map(|p| p.to_bits()).eq(expected),
                    "{len}, {lanes:?}"
                );
                interleave(lanes, &x, None, &mut to);
                let expected = x.iter().map(|&x| bf16_bits(x));
                assert!(
                    to.iter().map(|p| p.to_bits()).eq(expected),
                    "{len}, {lanes:?}"
                );
                let mut to = vec![f32::NAN; len.div_ceil(2)];
                neighbours(lanes, &x, &mut to);
                let second = |x: &[f32]| x.get(1).copied().unwrap_or(0.0);
                let expected = x.chunks(2).map(|x| pair(x[0], second(x)).to_bits());
                assert!(
                    to.iter().map(|p| p.to_bits()).eq(expected),
                    "{len}, {lanes:?}"
                );
            }
        }
    }
}
