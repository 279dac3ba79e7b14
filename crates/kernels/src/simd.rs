//! What the CPU can do, found once at run time, and a vector type that can only be had where the
//! CPU has it.
//!
//! Two ways to use it. [`vectorize`] compiles an ordinary loop once more with AVX2 switched on and
//! leaves the vectors to the compiler; that is right for loops over one or two slices. [`Simd`]
//! names the vectors; that is needed where registers must be counted, as in a convolution. The
//! compiler also prefers half-width vectors with AVX-512 unless they are named.

use std::ops::Range;
use std::sync::OnceLock;

/// Instruction sets told apart here, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the compiler assumes of the target.
    Portable,
    /// 64-bit Arm, which always has NEON.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F, and AVX2 and FMA as well.
    Avx512,
}

/// The best level this CPU has; detected at the first call.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match avx2 {
        true if is_x86_feature_detected!("avx512f") => Level::Avx512,
        true => Level::Avx2,
        false => Level::Portable,
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Level {
    Level::Neon
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Level {
    Level::Portable
}

/// Whether this CPU has a level: its best, or one that is part of that.
fn has(at: Level) -> bool {
    at == Level::Portable || at == level() || (at == Level::Avx2 && level() == Level::Avx512)
}

/// Runs `f`, compiled for AVX-512 or AVX2 where the CPU has it.
///
/// Write the closure as `#[inline(always)] || …`, or it is compiled only once, for the baseline.
/// Rust never fuses a multiplication and an addition by itself, so the bits do not depend on the
/// path taken.
#[inline]
pub(crate) fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn avx512<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if level() >= Level::Avx512 {
            // SAFETY: `Level::Avx512` is only returned where AVX-512F, AVX2 and FMA were detected.
            return unsafe { avx512(f) };
        }
        if level() >= Level::Avx2 {
            // SAFETY: `Level::Avx2` and above are only returned where AVX2 and FMA were detected.
            return unsafe { avx2(f) };
        }
    }
    f()
}

/// Vectors of `f32`.
///
/// A value of a type that implements this is a token: holding one means that the CPU has the
/// instructions its methods use. Tokens are only made in [`dispatch`] after detection.
pub(crate) trait Simd: Copy + Send + Sync {
    type V: Copy;
    const LANES: usize;
    /// Rows and columns (in vectors) of the tile of sums that registers hold in a product of
    /// scalars by vectors.
    const TILE: [usize; 2];
    /// Rows and columns of the tile of sums that registers hold in a product of vectors by
    /// vectors. Compilers load all operands of a step first, so there must be registers for rows
    /// and columns beside the sums: with 4 by 6 of 32, two sums are spilled at each step.
    const DOT_TILE: [usize; 2];
    /// Sums that registers hold beside a few operands.
    const SUMS: usize;

    fn splat(self, x: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`: one rounding where the CPU fuses, two on the portable path.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c` and the products of what the lanes of two operands hold: a number each, or two of 16 bits
    /// (see [`crate::pairs`]).
    #[inline(always)]
    fn add_products(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.mul_add(a, b, c)
    }
    /// The larger of two; `b` where one is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of two; `b` where one is not a number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `v` in the lanes where `low < x < high`, zero in the others.
    fn between(self, x: Self::V, low: Self::V, high: Self::V, v: Self::V) -> Self::V;
    /// Sum of the lanes, in a fixed order.
    fn sum(self, a: Self::V) -> f32;

    /// # Safety
    /// `p` is valid for reads of `LANES` floats. Alignment is not needed.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `p` is valid for writes of `LANES` floats. Alignment is not needed.
    unsafe fn store(self, p: *mut f32, v: Self::V);

    /// Asks for `x` to be brought to the level-2 cache, where there is a way to ask.
    #[inline(always)]
    fn prefetch(self, _x: &[f32]) {}

    /// Asks for the cache line at `p` to be brought to the level-2 cache, where there is a way to ask. `p`
    /// may point anywhere.
    #[inline(always)]
    fn prefetch_line(self, _p: *const f32) {}

    /// Lanes `lanes` from `p` onwards, the others zero.
    ///
    /// # Safety
    /// `p + i` is valid for reads for each `i` in `lanes`, which ends at `LANES` at most. `p`
    /// itself need not be.
    unsafe fn load_lanes(self, p: *const f32, lanes: Range<usize>) -> Self::V;

    /// Turns a square of `LANES` rows: element `j` of row `i` becomes element `i` of row `j`. Rows are
    /// so many elements apart.
    ///
    /// # Safety
    /// Each row `i` of `LANES` floats at `from + i * from_step` is valid for reads, and at
    /// `to + i * to_step` for writes; the two do not overlap.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller grants the rows.
                unsafe {
                    to.add(j * to_step + i)
                        .write(from.add(i * from_step + j).read())
                };
            }
        }
    }

    /// The first `LANES` floats of `s`, or all of them followed by zeros.
    #[inline(always)]
    fn load_slice(self, s: &[f32]) -> Self::V {
        if s.len() >= Self::LANES {
            // SAFETY: `s` has `LANES` floats.
            unsafe { self.load(s.as_ptr()) }
        } else {
            // SAFETY: only the floats of `s` are read.
            unsafe { self.load_lanes(s.as_ptr(), 0..s.len()) }
        }
    }

    /// Stores as many lanes as `s` has room for.
    #[inline(always)]
    fn store_slice(self, s: &mut [f32], v: Self::V) {
        if s.len() >= Self::LANES {
            // SAFETY: `s` has room for `LANES` floats.
            unsafe { self.store(s.as_mut_ptr(), v) }
        } else {
            let mut lanes = [0.0; MAX_LANES];
            // SAFETY: `lanes` has room for `MAX_LANES >= LANES` floats.
            unsafe { self.store(lanes.as_mut_ptr(), v) };
            s.copy_from_slice(&lanes[..s.len()]);
        }
    }
}

/// The methods of [`Simd`] that a token has from the one it holds, as all but a few are; for use inside
/// an implementation, which may add [`Simd::add_products`].
#[cfg(any(test, target_arch = "x86_64"))]
macro_rules! as_held {
    ($held:ty) => {
        type V = <$held as Simd>::V;
        const LANES: usize = <$held as Simd>::LANES;
        const TILE: [usize; 2] = <$held as Simd>::TILE;
        const DOT_TILE: [usize; 2] = <$held as Simd>::DOT_TILE;
        const SUMS: usize = <$held as Simd>::SUMS;

        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            self.0.splat(x)
        }

        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            self.0.add(a, b)
        }

        #[inline(always)]
        fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            self.0.mul_add(a, b, c)
        }

        #[inline(always)]
        fn max(self, a: Self::V, b: Self::V) -> Self::V {
            self.0.max(a, b)
        }

        #[inline(always)]
        fn min(self, a: Self::V, b: Self::V) -> Self::V {
            self.0.min(a, b)
        }

        #[inline(always)]
        fn between(self, x: Self::V, low: Self::V, high: Self::V, v: Self::V) -> Self::V {
            self.0.between(x, low, high, v)
        }

        #[inline(always)]
        fn sum(self, a: Self::V) -> f32 {
            self.0.sum(a)
        }

        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> Self::V {
            // SAFETY: the caller grants the reads.
            unsafe { self.0.load(p) }
        }

        #[inline(always)]
        unsafe fn store(self, p: *mut f32, v: Self::V) {
            // SAFETY: the caller grants the writes.
            unsafe { self.0.store(p, v) }
        }

        #[inline(always)]
        fn prefetch(self, x: &[f32]) {
            self.0.prefetch(x);
        }

        #[inline(always)]
        fn prefetch_line(self, p: *const f32) {
            self.0.prefetch_line(p);
        }

        #[inline(always)]
        unsafe fn load_lanes(self, p: *const f32, lanes: std::ops::Range<usize>) -> Self::V {
            // SAFETY: the caller grants the reads.
            unsafe { self.0.load_lanes(p, lanes) }
        }

        #[inline(always)]
        unsafe fn transpose(
            self,
            from: *const f32,
            from_step: usize,
            to: *mut f32,
            to_step: usize,
        ) {
            // SAFETY: the caller grants the rows.
            unsafe { self.0.transpose(from, from_step, to, to_step) };
        }
    };
}
#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) use as_held;

/// No implementation of [`Simd`] has more lanes.
pub(crate) const MAX_LANES: usize = 16;

/// Work that is compiled once for each implementation of [`Simd`].
///
/// Mark `run` and what it calls `#[inline(always)]`: only what ends up inside the function that
/// has the instruction set switched on can use it.
pub(crate) trait WithSimd {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `work` with the vectors of a level this CPU has.
#[inline]
pub(crate) fn dispatch<W: WithSimd>(at: Level, work: W) -> W::Output {
    assert!(has(at), "the processor does not have {at:?}");
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn avx512<W: WithSimd>(work: W, simd: x86::Avx512) -> W::Output {
            work.run(simd)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<W: WithSimd>(work: W, simd: x86::Avx2) -> W::Output {
            work.run(simd)
        }
        match at {
            // SAFETY: the level is one this CPU has: AVX-512F, AVX2 and FMA were detected.
            Level::Avx512 => return unsafe { avx512(work, x86::Avx512::new_unchecked()) },
            // SAFETY: the level is one this CPU has: AVX2 and FMA were detected.
            Level::Avx2 => return unsafe { avx2(work, x86::Avx2::new_unchecked()) },
            Level::Portable => {}
            Level::Neon => unreachable!("asserted above: this is no Arm processor"),
        }
    }
    #[cfg(target_arch = "aarch64")]
    if at == Level::Neon {
        return work.run(neon::Neon);
    }
    work.run(Portable)
}

/// What [`dispatch`] will use, for those who lay out data beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    /// [`Simd::LANES`].
    pub(crate) lanes: usize,
    /// [`Simd::TILE`].
    pub(crate) tile: [usize; 2],
}

pub(crate) fn widths(at: Level) -> Widths {
    struct Ask;
    impl WithSimd for Ask {
        type Output = Widths;
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> Widths {
            Widths {
                lanes: S::LANES,
                tile: S::TILE,
            }
        }
    }
    dispatch(at, Ask)
}

/// All levels this CPU has, for tests of the paths that are not taken by default.
#[cfg(test)]
pub(crate) fn levels() -> impl Iterator<Item = Level> {
    [Level::Portable, Level::Neon, Level::Avx2, Level::Avx512]
        .into_iter()
        .filter(|&at| has(at))
}

/// Four lanes that any compiler can map to what the target has. Not fused. Tiles are small: processors
/// without AVX2 or NEON are rare, and each kernel is compiled for each tile.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const TILE: [usize; 2] = [3, 2];
    const DOT_TILE: [usize; 2] = [2, 2];
    const SUMS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 4]
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn between(self, x: Self::V, low: Self::V, high: Self::V, v: Self::V) -> Self::V {
        let lane = |i: usize| {
            if low[i] < x[i] && x[i] < high[i] {
                v[i]
            } else {
                0.0
            }
        };
        std::array::from_fn(lane)
    }

    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller grants reads of `LANES` floats; an array is aligned as its elements.
        unsafe { p.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: the caller grants writes of `LANES` floats.
        unsafe { p.cast::<[f32; 4]>().write(v) }
    }

    #[inline(always)]
    unsafe fn load_lanes(self, p: *const f32, lanes: Range<usize>) -> Self::V {
        let mut v = [0.0; 4];
        for i in lanes {
            // SAFETY: the caller grants this read.
            v[i] = unsafe { p.wrapping_add(i).read() };
        }
        v
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use super::Simd;

    /// One request for each cache line.
    #[inline(always)]
    fn prefetch(x: &[f32]) {
        for line in x.chunks(16) {
            prefetch_line(line.as_ptr());
        }
    }

    #[inline(always)]
    fn prefetch_line(p: *const f32) {
        // SAFETY: every x86-64 has this instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }

    /// Token for AVX2 and FMA: a value exists only where the CPU has both.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// # Safety
        /// The CPU has AVX2 and FMA.
        #[inline(always)]
        pub(crate) unsafe fn new_unchecked() -> Self {
            Avx2(())
        }
    }

    impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;
        const TILE: [usize; 2] = [4, 3];
        const DOT_TILE: [usize; 2] = [3, 3];
        const SUMS: usize = 12;

        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the token says the CPU has FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn max(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_max_ps(a, b) }
        }

        #[inline(always)]
        fn min(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe { _mm256_min_ps(a, b) }
        }

        #[inline(always)]
        fn between(self, x: __m256, low: __m256, high: __m256, v: __m256) -> __m256 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe {
                let above = _mm256_cmp_ps::<_CMP_LT_OQ>(low, x);
                let below = _mm256_cmp_ps::<_CMP_LT_OQ>(x, high);
                _mm256_and_ps(_mm256_and_ps(above, below), v)
            }
        }

        #[inline(always)]
        unsafe fn transpose(
            self,
            from: *const f32,
            from_step: usize,
            to: *mut f32,
            to_step: usize,
        ) {
            // SAFETY: the token says the CPU has AVX2; the caller grants the rows.
            unsafe {
                let r: [__m256; 8] =
                    std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * from_step)));
                // Pairs of rows, then fours: half `q` of `b[4 g + j]` has column `4 q + j` of rows
                // `4 g..`.
                let mut b = r;
                for g in [0, 4] {
                    let low = |i: usize| _mm256_castps_pd(_mm256_unpacklo_ps(r[i], r[i + 1]));
                    let high = |i: usize| _mm256_castps_pd(_mm256_unpackhi_ps(r[i], r[i + 1]));
                    let (a, c) = (low(g), low(g + 2));
                    b[g] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
                    b[g + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
                    let (a, c) = (high(g), high(g + 2));
                    b[g + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
                    b[g + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
                }
                for j in 0..4 {
                    let row = |i: usize| to.add(i * to_step);
                    _mm256_storeu_ps(row(j), _mm256_permute2f128_ps::<0x20>(b[j], b[4 + j]));
                    _mm256_storeu_ps(row(4 + j), _mm256_permute2f128_ps::<0x31>(b[j], b[4 + j]));
                }
            }
        }

        #[inline(always)]
        fn sum(self, a: __m256) -> f32 {
            // SAFETY: the token says the CPU has AVX2.
            unsafe {
                let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
                _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
            }
        }

        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> __m256 {
            // SAFETY: the token says the CPU has AVX2; the caller grants the reads.
            unsafe { _mm256_loadu_ps(p) }
        }

        #[inline(always)]
        unsafe fn store(self, p: *mut f32, v: __m256) {
            // SAFETY: the token says the CPU has AVX2; the caller grants the writes.
            unsafe { _mm256_storeu_ps(p, v) }
        }

        #[inline(always)]
        fn prefetch(self, x: &[f32]) {
            prefetch(x);
        }

        #[inline(always)]
        fn prefetch_line(self, p: *const f32) {
            prefetch_line(p);
        }

        #[inline(always)]
        unsafe fn load_lanes(self, p: *const f32, lanes: Range<usize>) -> __m256 {
            // SAFETY: the token says the CPU has AVX2; lanes outside the mask are not read, and
            // the caller grants those inside.
            unsafe {
                let i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let from = _mm256_set1_epi32(lanes.start as i32 - 1);
                let to = _mm256_set1_epi32(lanes.end as i32);
                let mask = _mm256_and_si256(_mm256_cmpgt_epi32(i, from), _mm256_cmpgt_epi32(to, i));
                _mm256_maskload_ps(p, mask)
            }
        }
    }

    /// Token for AVX-512F: a value exists only where the CPU has it, and AVX2 and FMA as well.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        /// # Safety
        /// The CPU has AVX-512F, AVX2 and FMA.
        #[inline(always)]
        pub(crate) unsafe fn new_unchecked() -> Self {
            Avx512(())
        }
    }

    impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;
        const TILE: [usize; 2] = [8, 3];
        const DOT_TILE: [usize; 2] = [4, 5];
        const SUMS: usize = 28;

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn max(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_max_ps(a, b) }
        }

        #[inline(always)]
        fn min(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_min_ps(a, b) }
        }

        #[inline(always)]
        fn between(self, x: __m512, low: __m512, high: __m512, v: __m512) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe {
                let above = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(low, x);
                let inside = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, x, high);
                _mm512_maskz_mov_ps(inside, v)
            }
        }

        #[inline(always)]
        unsafe fn transpose(
            self,
            from: *const f32,
            from_step: usize,
            to: *mut f32,
            to_step: usize,
        ) {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the rows.
            unsafe {
                let r: [__m512; 16] =
                    std::array::from_fn(|i| _mm512_loadu_ps(from.add(i * from_step)));
                // Pairs of rows, then fours: quarter `q` of `b[4 g + j]` has column `4 q + j` of rows
                // `4 g..`.
                let mut b = r;
                for g in [0, 4, 8, 12] {
                    let low = |i: usize| _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
                    let high = |i: usize| _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
                    let (a, c) = (low(g), low(g + 2));
                    b[g] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                    b[g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                    let (a, c) = (high(g), high(g + 2));
                    b[g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                    b[g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                }
                // Quarters 0 and 2 of two vectors, and quarters 1 and 3; once more.
                for j in 0..4 {
                    let row = |i: usize| to.add(i * to_step);
                    let even = |a, b| _mm512_shuffle_f32x4::<0x88>(a, b);
                    let odd = |a, b| _mm512_shuffle_f32x4::<0xdd>(a, b);
                    let (a, c) = (even(b[j], b[4 + j]), even(b[8 + j], b[12 + j]));
                    _mm512_storeu_ps(row(j), even(a, c));
                    _mm512_storeu_ps(row(8 + j), odd(a, c));
                    let (a, c) = (odd(b[j], b[4 + j]), odd(b[8 + j], b[12 + j]));
                    _mm512_storeu_ps(row(4 + j), even(a, c));
                    _mm512_storeu_ps(row(12 + j), odd(a, c));
                }
            }
        }

        #[inline(always)]
        fn sum(self, a: __m512) -> f32 {
            // SAFETY: the token says the CPU has AVX-512F.
            unsafe { _mm512_reduce_add_ps(a) }
        }

        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> __m512 {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the reads.
            unsafe { _mm512_loadu_ps(p) }
        }

        #[inline(always)]
        unsafe fn store(self, p: *mut f32, v: __m512) {
            // SAFETY: the token says the CPU has AVX-512F; the caller grants the writes.
            unsafe { _mm512_storeu_ps(p, v) }
        }

        #[inline(always)]
        fn prefetch(self, x: &[f32]) {
            prefetch(x);
        }

        #[inline(always)]
        fn prefetch_line(self, p: *const f32) {
            prefetch_line(p);
        }

        #[inline(always)]
        unsafe fn load_lanes(self, p: *const f32, lanes: Range<usize>) -> __m512 {
            let below = |end: usize| (1u32 << end) - 1;
            let mask = below(lanes.end) & !below(lanes.start);
            // SAFETY: the token says the CPU has AVX-512F; lanes outside the mask are not read,
            // and the caller grants those inside.
            unsafe { _mm512_maskz_loadu_ps(mask as __mmask16, p) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon {
    use std::arch::aarch64::*;
    use std::ops::Range;

    use super::Simd;

    /// NEON, which every 64-bit Arm processor has.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon;

    impl Simd for Neon {
        type V = float32x4_t;
        const LANES: usize = 4;
        const TILE: [usize; 2] = [6, 3];
        const DOT_TILE: [usize; 2] = [4, 4];
        const SUMS: usize = 24;

        #[inline(always)]
        fn splat(self, x: f32) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vdupq_n_f32(x) }
        }

        #[inline(always)]
        fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vaddq_f32(a, b) }
        }

        #[inline(always)]
        fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vfmaq_f32(c, a, b) }
        }

        #[inline(always)]
        fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON. Not `vmaxq`, which gives NaN for either.
            unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
        }

        #[inline(always)]
        fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
        }

        #[inline(always)]
        fn between(
            self,
            x: float32x4_t,
            low: float32x4_t,
            high: float32x4_t,
            v: float32x4_t,
        ) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe {
                let inside = vandq_u32(vcltq_f32(low, x), vcltq_f32(x, high));
                vreinterpretq_f32_u32(vandq_u32(inside, vreinterpretq_u32_f32(v)))
            }
        }

        #[inline(always)]
        fn sum(self, a: float32x4_t) -> f32 {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vaddvq_f32(a) }
        }

        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON; the caller grants the reads.
            unsafe { vld1q_f32(p) }
        }

        #[inline(always)]
        unsafe fn store(self, p: *mut f32, v: float32x4_t) {
            // SAFETY: 64-bit Arm has NEON; the caller grants the writes.
            unsafe { vst1q_f32(p, v) }
        }

        #[inline(always)]
        unsafe fn load_lanes(self, p: *const f32, lanes: Range<usize>) -> float32x4_t {
            let mut v = [0.0; 4];
            for i in lanes {
                // SAFETY: the caller grants this read.
                v[i] = unsafe { p.wrapping_add(i).read() };
            }
            // SAFETY: 64-bit Arm has NEON; the array has four lanes.
            unsafe { vld1q_f32(v.as_ptr()) }
        }
    }

    impl crate::bytes::Bytes for Neon {
        type I = int32x4_t;
        type W = int8x16_t;

        #[inline(always)]
        fn zero(self) -> int32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vdupq_n_s32(0) }
        }

        #[inline(always)]
        unsafe fn load_weights(self, p: *const i8) -> int8x16_t {
            // SAFETY: 64-bit Arm has NEON; the caller grants the reads.
            unsafe { vld1q_s8(p) }
        }

        #[inline(always)]
        fn dot(self, sums: int32x4_t, x: u32, w: int8x16_t) -> int32x4_t {
            // SAFETY: 64-bit Arm has NEON. Bytes are widened to 16 bits, so products of 32 bits and
            // sums of four of them are exact.
            unsafe {
                let x = vreinterpret_u8_u32(vdup_n_u32(x));
                let x = vget_low_s16(vreinterpretq_s16_u16(vmovl_u8(x)));
                let (low, high) = (vmovl_s8(vget_low_s8(w)), vmovl_s8(vget_high_s8(w)));
                let a = vmull_s16(vget_low_s16(low), x);
                let b = vmull_s16(vget_high_s16(low), x);
                let c = vmull_s16(vget_low_s16(high), x);
                let d = vmull_s16(vget_high_s16(high), x);
                vaddq_s32(sums, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)))
            }
        }

        #[inline(always)]
        unsafe fn load_bytes(self, p: *const u8) -> int32x4_t {
            // SAFETY: the caller grants reads of four bytes.
            let x = unsafe { p.cast::<[u8; 4]>().read() }.map(i32::from);
            // SAFETY: 64-bit Arm has NEON; the array has four lanes.
            unsafe { vld1q_s32(x.as_ptr()) }
        }

        #[inline(always)]
        unsafe fn load_integers(self, p: *const i32) -> int32x4_t {
            // SAFETY: 64-bit Arm has NEON; the caller grants the reads.
            unsafe { vld1q_s32(p) }
        }

        #[inline(always)]
        fn integer_mul_add(self, a: int32x4_t, b: int32x4_t, c: int32x4_t) -> int32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vmlaq_s32(c, a, b) }
        }

        #[inline(always)]
        fn splat_integer(self, x: i32) -> int32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vdupq_n_s32(x) }
        }

        #[inline(always)]
        fn to_floats(self, a: int32x4_t) -> float32x4_t {
            // SAFETY: 64-bit Arm has NEON.
            unsafe { vcvtq_f32_s32(a) }
        }

        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, a: float32x4_t, zero: int32x4_t) {
            let mut bytes = [0i32; 4];
            // SAFETY: 64-bit Arm has NEON; the array has four lanes. Halves go to even.
            unsafe { vst1q_s32(bytes.as_mut_ptr(), vaddq_s32(vcvtnq_s32_f32(a), zero)) };
            // SAFETY: the caller grants writes of four bytes.
            unsafe { p.cast::<[u8; 4]>().write(bytes.map(|b| b as u8)) };
        }
    }
}
