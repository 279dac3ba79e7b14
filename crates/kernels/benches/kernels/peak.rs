//! What one core can do at most: a loop of independent fused multiply-adds.

use std::hint::black_box;
use std::time::Instant;

use bantam_kernels as kernels;

const ROUNDS: usize = 1 << 20;

/// GFLOP/s of one core; best of a few runs.
pub fn peak() -> f64 {
    (0..10).map(|_| run()).fold(0.0, f64::max)
}

fn run() -> f64 {
    let start = Instant::now();
    let ops = match kernels::level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that AVX-512F was detected.
        kernels::Level::Avx512 => unsafe { x86::avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that AVX2 and FMA were detected.
        kernels::Level::Avx2 => unsafe { x86::avx2() },
        _ => portable(),
    };
    ops as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn portable() -> usize {
    let mut sums = [0.0f32; 64];
    for _ in 0..ROUNDS {
        let factor = black_box(0.5);
        sums.iter_mut().for_each(|sum| *sum = *sum * factor + 1.0);
    }
    black_box(sums);
    2 * 64 * ROUNDS
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::ROUNDS;

    #[target_feature(enable = "avx512f")]
    pub fn avx512() -> usize {
        let (mut sums, factor, one) = ([_mm512_set1_ps(0.0); 24], black_box(0.5), 1.0);
        let (factor, one) = (_mm512_set1_ps(factor), _mm512_set1_ps(one));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, one);
            }
        }
        black_box(sums);
        2 * 16 * 24 * ROUNDS
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2() -> usize {
        let (mut sums, factor, one) = ([_mm256_set1_ps(0.0); 12], black_box(0.5), 1.0);
        let (factor, one) = (_mm256_set1_ps(factor), _mm256_set1_ps(one));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, one);
            }
        }
        black_box(sums);
        2 * 8 * 12 * ROUNDS
    }
}
