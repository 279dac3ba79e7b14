//! Random numbers that are a function of a seed and a place, never of time or threads.
//!
//! The generator is splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
//! generators", 2014).

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of `index` under `seed`.
pub(crate) fn hash(seed: u64, index: u64) -> u64 {
    mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(index.wrapping_mul(GAMMA)))
}

/// A deterministic stream of random numbers.
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream number `place` of `seed`.
    pub(crate) fn new(seed: u64, place: u64) -> Stream {
        Stream(hash(seed, place))
    }

    /// Uniform in `0..n`; the bias is below n / 2^64.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(GAMMA);
        ((u128::from(mix(self.0)) * n as u128) >> 64) as usize
    }

    /// Puts `values` in random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }
}

/// `count` of `0..n` in ascending order: those with the least hash, so that a smaller sample is
/// part of a larger one. All when `count` is at least `n`.
pub(crate) fn sample(n: usize, count: usize, seed: u64) -> Vec<usize> {
    if count >= n {
        return (0..n).collect();
    }
    let mut hashed: Vec<(u64, usize)> = (0..n).map(|i| (hash(seed, i as u64), i)).collect();
    hashed.select_nth_unstable(count);
    let mut rows: Vec<usize> = hashed[..count].iter().map(|&(_, i)| i).collect();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_nested() {
        let large = sample(1000, 300, 7);
        assert_eq!(large.len(), 300);
        for count in [0, 1, 10, 299] {
            let small = sample(1000, count, 7);
            assert_eq!(small.len(), count);
            assert!(small.iter().all(|r| large.contains(r)), "{count}");
        }
        assert_eq!(sample(3, 5, 7), [0, 1, 2]);
    }

    #[test]
    fn shuffles_are_permutations_and_repeat() {
        let run = |place| {
            let mut v: Vec<u32> = (0..100).collect();
            Stream::new(5, place).shuffle(&mut v);
            v
        };
        assert_eq!(run(0), run(0));
        assert_ne!(run(0), run(1));
        let mut sorted = run(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
