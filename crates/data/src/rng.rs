//! Random numbers that are a function of a seed and a place, never of time or threads.
//!
//! The generator is splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
//! generators", 2014): the output is a hash of a counter, so streams can begin anywhere.

/// A deterministic stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of `index` under `seed`: every bit of either changes about half of its bits.
pub fn hash(seed: u64, index: u64) -> u64 {
    mix(mix(seed.wrapping_add(GAMMA)) ^ mix(index.wrapping_mul(GAMMA).wrapping_add(!GAMMA)))
}

impl Rng {
    /// The stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Rng {
        Rng(hash(seed, stream))
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Normal with mean 0 and standard deviation 1, by the method of Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in `0..n`, without bias (Lemire, "Fast random integer generation in an interval",
    /// 2019).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an empty range has no numbers");
        let mut product = u128::from(self.bits()) * u128::from(n);
        if (product as u64) < n {
            let least = n.wrapping_neg() % n;
            while (product as u64) < least {
                product = u128::from(self.bits()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Puts `values` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_differ() {
        // Pinned: a change here changes every split and every training run.
        assert_eq!(Rng::new(0, 0).bits(), Rng::new(0, 0).bits());
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            for stream in 0..100 {
                assert!(seen.insert(Rng::new(seed, stream).bits()));
            }
        }
    }

    #[test]
    fn moments() {
        let mut rng = Rng::new(1, 2);
        let n = 100_000;
        let (mut sum, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = rng.normal();
            sum += x;
            square += x * x;
            let u = rng.uniform();
            assert!((0.0..1.0).contains(&u));
            uniform += u;
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 0.02 && (square / n - 1.0).abs() < 0.02);
        assert!((uniform / n - 0.5).abs() < 0.005);
    }

    #[test]
    fn below_is_even() {
        let mut rng = Rng::new(7, 7);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&c| (9_500..10_500).contains(&c)),
            "{counts:?}"
        );
        assert_eq!(rng.below(1), 0);
        assert!(rng.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn shuffles_are_permutations() {
        let mut v: Vec<u32> = (0..1000).collect();
        Rng::new(3, 0).shuffle(&mut v);
        assert_ne!(v[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        v.sort_unstable();
        assert!(v.iter().enumerate().all(|(i, &x)| i as u32 == x));
    }
}
