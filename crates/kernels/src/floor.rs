//! What one core of this machine can do at most: the floors under the time of a layer.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Aligned;
use crate::bytes::{Bytes, WithBytes, byte_level, dispatch_bytes};
use crate::simd::{Simd, WithSimd, dispatch, level};

/// Floating-point operations a second of one core, of which a fused multiply-add is two: the best of a
/// few loops of nothing else. Takes some 20 ms.
pub fn peak_flops() -> f64 {
    best_rate(multiply_adds)
}

/// Makes nothing but multiply-adds on this thread, for a millisecond or less, and tells how many floating-point
/// operations that were.
pub fn multiply_adds() -> usize {
    const ROUNDS: usize = 1 << 18;
    struct Chains;
    impl WithSimd for Chains {
        type Output = usize;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> usize {
            let (mut sums, factor) = ([simd.splat(0.0); 12], simd.splat(black_box(0.5)));
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = simd.mul_add(*sum, factor, factor);
                }
            }
            black_box(sums.map(|s| simd.sum(s)));
            2 * S::LANES * sums.len() * ROUNDS
        }
    }
    dispatch(level(), Chains)
}

/// Operations a second of one core on bytes, of which a multiply-add is two: the best of a few loops of
/// nothing but what the kernels for bytes take their products with. Takes some 20 ms.
pub fn peak_byte_ops() -> f64 {
    const ROUNDS: usize = 1 << 18;
    struct Chains;
    impl WithBytes for Chains {
        type Output = usize;
        #[inline(always)]
        fn run<B: Bytes>(self, bytes: B) -> usize {
            let weights = black_box([1i8; 64]);
            assert!(4 * B::LANES <= weights.len(), "no vector is wider");
            // SAFETY: there are 64 bytes, at least `4 * LANES`.
            let weights = unsafe { bytes.load_weights(weights.as_ptr()) };
            let (mut sums, x) = ([bytes.zero(); 12], black_box(0x0101_0101));
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = bytes.dot(*sum, x, weights);
                }
            }
            black_box(sums.map(|s| bytes.sum(bytes.to_floats(s))));
            8 * B::LANES * sums.len() * ROUNDS
        }
    }
    best_rate(|| dispatch_bytes(byte_level(), Chains))
}

/// What `run` says it did, a second, at best.
fn best_rate(run: impl Fn() -> usize) -> f64 {
    let rate = || {
        let start = Instant::now();
        run() as f64 / start.elapsed().as_secs_f64()
    };
    (0..10).map(|_| rate()).fold(0.0, f64::max)
}

/// Bytes a second at which one core reads memory of `bytes` bytes again and again: the bandwidth of the
/// smallest cache that holds them, or of main memory. Takes some 20 ms.
pub fn read_bandwidth(bytes: usize) -> f64 {
    struct Sum<'a>(&'a [f32]);
    impl WithSimd for Sum<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            let mut sums = [simd.splat(0.0); 8];
            for block in self.0.chunks_exact(8 * S::LANES) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.add(*sum, simd.load_slice(&block[i * S::LANES..]));
                }
            }
            sums.map(|s| simd.sum(s)).iter().sum()
        }
    }
    let mut data = Aligned::<f32>::zeros((bytes / size_of::<f32>()).max(1 << 10));
    // Pages that nobody wrote to may all be one page of zeros, which any cache holds.
    data.fill(1.0);
    let bytes = data.len() * size_of::<f32>();
    let passes = ((1 << 21) / bytes).max(1);
    let (start, mut best) = (Instant::now(), 0f64);
    let mut runs = 0;
    while runs < 3 || start.elapsed() < Duration::from_millis(20) {
        let start = Instant::now();
        for _ in 0..passes {
            black_box(dispatch(level(), Sum(black_box(&data))));
        }
        best = best.max((passes * bytes) as f64 / start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
