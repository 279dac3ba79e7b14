//! Vectors for products of unsigned by signed bytes, summed in 32 bits.
//!
//! A lane takes four products at a time: of four neighbouring inputs, the same for all lanes, by four
//! weights of its own. Sums are exact, whatever the processor has: instructions whose pairs saturate
//! at 16 bits are not used.

use crate::simd::{Level, Simd, level};

/// Instruction sets for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ByteLevel {
    /// Whatever the compiler assumes of the target.
    Portable,
    /// 64-bit Arm.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F, BW and VNNI.
    Vnni,
}

/// The best level this CPU has.
pub fn byte_level() -> ByteLevel {
    #[cfg(target_arch = "x86_64")]
    {
        let vnni = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
        match level() {
            Level::Avx512 if vnni => return ByteLevel::Vnni,
            Level::Avx512 | Level::Avx2 => return ByteLevel::Avx2,
            Level::Portable | Level::Neon => {}
        }
    }
    match level() {
        Level::Neon => ByteLevel::Neon,
        Level::Portable | Level::Avx2 | Level::Avx512 => ByteLevel::Portable,
    }
}

/// Whether this CPU has a level: its best, or one that is part of that.
fn has(at: ByteLevel) -> bool {
    let part = at == ByteLevel::Avx2 && byte_level() == ByteLevel::Vnni;
    at == ByteLevel::Portable || at == byte_level() || part
}

/// Inputs and weights of a step: bytes in lanes of four.
pub(crate) trait Bytes: Simd {
    /// As many 32-bit integers as there are lanes.
    type I: Copy;
    /// Weights ready to be multiplied.
    type W: Copy;

    fn zero(self) -> Self::I;
    /// Weights of all lanes, four bytes each.
    ///
    /// # Safety
    /// `p` is valid for reads of `4 * LANES` bytes.
    unsafe fn load_weights(self, p: *const i8) -> Self::W;
    /// `sums + x[0] w[0] + … + x[3] w[3]` in each lane; `x` are the bytes of a number in the order of
    /// memory.
    fn dot(self, sums: Self::I, x: u32, w: Self::W) -> Self::I;
    /// `LANES` bytes as integers.
    ///
    /// # Safety
    /// `p` is valid for reads of `LANES` bytes.
    unsafe fn load_bytes(self, p: *const u8) -> Self::I;
    /// `LANES` integers.
    ///
    /// # Safety
    /// `p` is valid for reads of `LANES` integers.
    unsafe fn load_integers(self, p: *const i32) -> Self::I;
    /// `a * b + c`, of integers whose result fits.
    fn integer_mul_add(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I;
    fn to_floats(self, a: Self::I) -> Self::V;
    /// The same integer in all lanes.
    fn splat_integer(self, x: i32) -> Self::I;
    /// The integers nearest to `a`, halves to even, plus `zero`; their sums are 0 to 255.
    ///
    /// # Safety
    /// `p` is valid for writes of `LANES` bytes.
    unsafe fn store_bytes(self, p: *mut u8, a: Self::V, zero: Self::I);
}

/// Work that is compiled once for each implementation of [`Bytes`].
pub(crate) trait WithBytes {
    type Output;
    fn run<B: Bytes>(self, bytes: B) -> Self::Output;
}

/// Runs `work` with the vectors of a level this CPU has.
#[inline]
pub(crate) fn dispatch_bytes<W: WithBytes>(at: ByteLevel, work: W) -> W::Output {
    assert!(has(at), "the processor does not have {at:?}");
    #[cfg(target_arch = "x86_64")]
    {
        use crate::simd::x86::Avx2;
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
        fn vnni<W: WithBytes>(work: W, bytes: x86::Vnni) -> W::Output {
            work.run(bytes)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<W: WithBytes>(work: W, bytes: Avx2) -> W::Output {
            work.run(bytes)
        }
        match at {
            // SAFETY: the level is one this CPU has: AVX-512F, BW, VNNI, AVX2 and FMA were detected.
            ByteLevel::Vnni => return unsafe { vnni(work, x86::Vnni::new_unchecked()) },
            // SAFETY: the level is one this CPU has: AVX2 and FMA were detected.
            ByteLevel::Avx2 => return unsafe { avx2(work, Avx2::new_unchecked()) },
            ByteLevel::Portable => {}
            ByteLevel::Neon => unreachable!("asserted above: this is no Arm processor"),
        }
    }
    #[cfg(target_arch = "aarch64")]
    if at == ByteLevel::Neon {
        return work.run(crate::simd::neon::Neon);
    }
    work.run(crate::simd::Portable)
}

/// All levels this CPU has, for tests of the paths that are not taken by default.
#[cfg(test)]
pub(crate) fn byte_levels() -> impl Iterator<Item = ByteLevel> {
    [
        ByteLevel::Portable,
        ByteLevel::Neon,
        ByteLevel::Avx2,
        ByteLevel::Vnni,
    ]
    .into_iter()
    .filter(|&at| has(at))
}

impl Bytes for crate::simd::Portable {
    type I = [i32; 4];
    type W = [[i8; 4]; 4];

    #[inline(always)]
    fn zero(self) -> Self::I {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn load_weights(self, p: *const i8) -> Self::W {
        // SAFETY: the caller grants reads of `4 * LANES` bytes; arrays are aligned as bytes.
        unsafe { p.cast::<Self::W>().read() }
    }

    #[inline(always)]
    fn dot(self, sums: Self::I, x: u32, w: Self::W) -> Self::I {
        let x = x.to_ne_bytes();
        let product = |i: usize, j: usize| i32::from(x[j]) * i32::from(w[i][j]);
        std::array::from_fn(|i| {
            sums[i] + product(i, 0) + product(i, 1) + product(i, 2) + product(i, 3)
        })
    }

    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> Self::I {
        // SAFETY: the caller grants reads of `LANES` bytes.
        let x = unsafe { p.cast::<[u8; 4]>().read() };
        x.map(i32::from)
    }

    #[inline(always)]
    unsafe fn load_integers(self, p: *const i32) -> Self::I {
        // SAFETY: the caller grants reads of `LANES` integers.
        unsafe { p.cast::<[i32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    fn integer_mul_add(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn splat_integer(self, x: i32) -> Self::I {
        [x; 4]
    }

    #[inline(always)]
    fn to_floats(self, a: Self::I) -> Self::V {
        a.map(|a| a as f32)
    }

    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, a: Self::V, zero: Self::I) {
        let bytes: [u8; 4] =
            std::array::from_fn(|i| (a[i].round_ties_even() as i32 + zero[i]) as u8);
        // SAFETY: the caller grants writes of `LANES` bytes.
        unsafe { p.cast::<[u8; 4]>().write(bytes) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Bytes;
    use crate::simd::x86::{Avx2, Avx512};
    use crate::simd::{Simd, as_held};

    impl Bytes for Avx2 {
        type I = __m256i;
        /// Even and odd bytes of the weights, widened to 16 bits.
        type W = [__m256i; 2];

        #[inline(always)]
        fn zero(self) -> __m256i {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn load_weights(self, p: *const i8) -> Self::W {
            // SAFETY: the token says the CPU has AVX2; the caller grants the reads.
            unsafe {
                let w = _mm256_loadu_si256(p.cast());
                let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
                [even, _mm256_srai_epi16::<8>(w)]
            }
        }

        #[inline(always)]
        fn dot(self, sums: __m256i, x: u32, w: Self::W) -> __m256i {
            // SAFETY: the token says the CPU has AVX2. Products of 8 bits fit into 16 bits signed
            // by 16 bits unsigned below 256, and pairs of them into 32.
            unsafe {
                let x = _mm256_set1_epi32(x as i32);
                let low = _mm256_set1_epi16(0xff);
                let even = _mm256_madd_epi16(_mm256_and_si256(x, low), w[0]);
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), w[1]);
                _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
            }
        }

        #[inline(always)]
        unsafe fn load_bytes(self, p: *const u8) -> __m256i {
            // SAFETY: the token says the CPU has AVX2; the caller grants the reads.
            unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())) }
        }

        #[inline(always)]
        unsafe fn load_integers(self, p: *const i32) -> __m256i {
            // SAFETY: the token says the CPU has AVX2; the caller grants the reads.
            unsafe { _mm256_loadu_si256(p.cast()) }
        }

        #[inline(always)]
        fn integer_mul_add(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_add_epi32(_mm256_mullo_epi32(a, b), c) }
        }

        #[inline(always)]
        fn splat_integer(self, x: i32) -> __m256i {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_set1_epi32(x) }
        }

        #[inline(always)]
        fn to_floats(self, a: __m256i) -> __m256 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_cvtepi32_ps(a) }
        }

        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, a: __m256, zero: __m256i) {
            // SAFETY: the token says the CPU has AVX2; the caller grants the writes.
            unsafe {
                let wide = _mm256_add_epi32(_mm256_cvtps_epi32(a), zero);
                let (low, high) = (
                    _mm256_castsi256_si128(wide),
                    _mm256_extracti128_si256::<1>(wide),
                );
                let words = _mm_packus_epi32(low, high);
                _mm_storel_epi64(p.cast(), _mm_packus_epi16(words, words));
            }
        }
    }

    /// Token for AVX-512F, BW and VNNI, and AVX2 and FMA as well.
    #[derive(Clone, Copy)]
    pub(crate) struct Vnni(Avx512);

    impl Vnni {
        /// # Safety
        /// The CPU has AVX-512F, BW and VNNI, AVX2 and FMA.
        #[inline(always)]
        pub(crate) unsafe fn new_unchecked() -> Self {
            // SAFETY: by the contract of this function.
            Vnni(unsafe { Avx512::new_unchecked() })
        }
    }

    impl Simd for Vnni {
        as_held!(Avx512);
    }

    impl Bytes for Vnni {
        type I = __m512i;
        type W = __m512i;

        #[inline(always)]
        fn zero(self) -> __m512i {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load_weights(self, p: *const i8) -> __m512i {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the reads.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }

        #[inline(always)]
        fn dot(self, sums: __m512i, x: u32, w: __m512i) -> __m512i {
            // SAFETY: the token says the CPU has VNNI.
            unsafe { _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(x as i32), w) }
        }

        #[inline(always)]
        unsafe fn load_bytes(self, p: *const u8) -> __m512i {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the reads.
            unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())) }
        }

        #[inline(always)]
        unsafe fn load_integers(self, p: *const i32) -> __m512i {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the reads.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }

        #[inline(always)]
        fn integer_mul_add(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_add_epi32(_mm512_mullo_epi32(a, b), c) }
        }

        #[inline(always)]
        fn splat_integer(self, x: i32) -> __m512i {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_set1_epi32(x) }
        }

        #[inline(always)]
        fn to_floats(self, a: __m512i) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_cvtepi32_ps(a) }
        }

        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, a: __m512, zero: __m512i) {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the writes.
            unsafe {
                let wide = _mm512_add_epi32(_mm512_cvtps_epi32(a), zero);
                _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(wide));
            }
        }
    }
}
