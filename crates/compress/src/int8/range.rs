//! What numbers a value takes, and which of them bytes should stand for.

/// How the range of a value is chosen from the numbers it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibration {
    /// The smallest and the largest.
    MinMax,
    /// All but this share of the numbers at each end.
    Percentile(f64),
    /// The range whose 256 steps lose the least information about the distribution: the least
    /// Kullback-Leibler divergence (Migacz 2017, "8-bit inference with TensorRT"), over ranges that are
    /// a share of the whole.
    Entropy,
}

/// Steps between the smallest and the largest of the bins.
const BINS: usize = 4096;
/// What a byte can tell apart.
const LEVELS: usize = 256;

/// The distribution of the numbers that a value took, in bins around zero that grow with them.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Half of the range of the bins; 0 before the first number that is not 0.
    reach: f32,
    counts: Vec<u64>,
    low: f32,
    high: f32,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            reach: 0.0,
            counts: vec![0; BINS],
            low: 0.0,
            high: 0.0,
        }
    }
}

impl Histogram {
    /// Adds numbers; what is not finite is left out.
    pub fn add(&mut self, values: &[f32]) {
        let finite = values.iter().filter(|v| v.is_finite());
        let most = finite.clone().fold(0f32, |m, v| m.max(v.abs()));
        self.grow(most);
        let scale = match self.reach {
            0.0 => 0.0,
            reach => BINS as f32 / (2.0 * reach),
        };
        for &v in finite {
            self.low = self.low.min(v);
            self.high = self.high.max(v);
            let bin = ((v + self.reach) * scale) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    /// Doubles the range of the bins until it holds `most`.
    fn grow(&mut self, most: f32) {
        if self.reach == 0.0 && most > 0.0 {
            // What was counted before was zero, and zero is in the middle of any range.
            let zeros: u64 = std::mem::replace(&mut self.counts, vec![0; BINS])
                .iter()
                .sum();
            self.counts[BINS / 2] = zeros;
            self.reach = most;
        }
        while self.reach < most {
            let mut wider = vec![0; BINS];
            for (i, &n) in self.counts.iter().enumerate() {
                wider[BINS / 4 + i / 2] += n;
            }
            self.counts = wider;
            self.reach *= 2.0;
        }
    }

    /// The range that bytes should stand for; zero is in it.
    pub fn range(&self, how: Calibration) -> (f32, f32) {
        match how {
            Calibration::MinMax => (self.low, self.high),
            Calibration::Percentile(share) => self.percentile(share),
            Calibration::Entropy => self.entropy(),
        }
    }

    /// Where bin `i` begins.
    fn edge(&self, i: usize) -> f32 {
        self.reach * (2.0 * i as f32 / BINS as f32 - 1.0)
    }

    fn percentile(&self, share: f64) -> (f32, f32) {
        let total: u64 = self.counts.iter().sum();
        let allowed = (total as f64 * share) as u64;
        let first = beyond(self.counts.iter().enumerate(), allowed);
        let last = beyond(self.counts.iter().enumerate().rev(), allowed);
        let low = self.edge(first).clamp(self.low, 0.0);
        (low, self.edge(last + 1).clamp(0.0, self.high))
    }

    fn entropy(&self) -> (f32, f32) {
        const SHARES: usize = 40;
        let mut best = (f64::INFINITY, (self.low, self.high));
        for share in (SHARES / 4..=SHARES).rev() {
            let share = share as f32 / SHARES as f32;
            let range = (self.low * share, self.high * share);
            let loss = self.divergence(range);
            if loss < best.0 {
                best = (loss, range);
            }
        }
        best.1
    }

    /// How much a distribution in steps of a byte over `range` differs from this one, in bits; what is
    /// beyond the range counts at its ends.
    fn divergence(&self, (low, high): (f32, f32)) -> f64 {
        let total: u64 = self.counts.iter().sum();
        if high <= low || total == 0 {
            return f64::INFINITY;
        }
        let bin = |x: f32| {
            let at = (x / self.reach + 1.0) * BINS as f32 / 2.0;
            (at as usize).min(BINS - 1)
        };
        let (first, last) = (bin(low), bin(high));
        let mut inside: Vec<u64> = self.counts[first..=last].to_vec();
        let cut = &inside.clone();
        let n = inside.len();
        inside[0] += self.counts[..first].iter().sum::<u64>();
        inside[n - 1] += self.counts[last + 1..].iter().sum::<u64>();
        let mut loss = 0.0;
        for level in 0..LEVELS {
            // A level stands for its bins alike, as far as they are not empty.
            let bins = level * n / LEVELS..(level + 1) * n / LEVELS;
            let taken: u64 = cut[bins.clone()].iter().sum();
            let filled = cut[bins.clone()].iter().filter(|&&c| c > 0).count();
            for i in bins {
                if inside[i] == 0 {
                    continue;
                }
                let p = inside[i] as f64 / total as f64;
                // A bin of what was cut off alone: as if one number had been there.
                let q = (taken.max(1) as f64 / filled.max(1) as f64) / total as f64;
                loss += p * (p / q).log2();
            }
        }
        loss
    }
}

/// The first bin behind which more than `allowed` numbers have been seen.
fn beyond<'a>(mut counts: impl Iterator<Item = (usize, &'a u64)>, allowed: u64) -> usize {
    let mut seen = 0;
    let found = counts.find(|(_, n)| {
        seen += **n;
        seen > allowed
    });
    found.map_or(BINS / 2, |(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        values.chunks(7).for_each(|v| h.add(v));
        h
    }

    #[test]
    fn ends_are_exact_and_zero_is_inside() {
        let cases: [(&[f32], (f32, f32)); 5] = [
            (&[], (0.0, 0.0)),
            (&[0.0, 0.0], (0.0, 0.0)),
            (&[1.0, 5.0], (0.0, 5.0)),
            (&[-3.0, -1.0, f32::NAN, f32::INFINITY], (-3.0, 0.0)),
            (&[0.0, 0.001, -80.0, 7.0], (-80.0, 7.0)),
        ];
        for (values, range) in cases {
            assert_eq!(of(values).range(Calibration::MinMax), range, "{values:?}");
        }
    }

    #[test]
    fn counts_survive_growing() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 / 10.0) - 20.0).collect();
        let h = of(&values);
        assert_eq!(h.counts.iter().sum::<u64>(), 1000);
        let below: u64 = h.counts[..BINS / 2].iter().sum();
        assert!(below.abs_diff(200) <= 2, "{below} of 200 below zero");
    }

    #[test]
    fn a_percentile_leaves_out_what_is_rare() {
        let mut values = vec![0.5f32; 9990];
        values.extend([100.0; 10]);
        let h = of(&values);
        let (low, high) = h.range(Calibration::Percentile(0.002));
        assert_eq!(low, 0.0);
        assert!((0.5..0.6).contains(&high), "{high}");
        assert_eq!(h.range(Calibration::Percentile(0.0005)).1, 100.0);
    }

    #[test]
    fn entropy_cuts_a_long_tail_and_keeps_what_is_even() {
        // A bell and a few numbers far away.
        let mut bell: Vec<f32> = (0..20_000)
            .map(|i| {
                let u = (i as f32 + 0.5) / 20_000.0;
                (u / (1.0 - u)).ln() * 0.2
            })
            .collect();
        bell.push(60.0);
        let (_, high) = of(&bell).range(Calibration::Entropy);
        assert!(high < 45.0, "{high}");
        let even: Vec<f32> = (0..20_000).map(|i| i as f32 / 20_000.0).collect();
        let (_, high) = of(&even).range(Calibration::Entropy);
        assert!(high > 0.9, "{high}");
    }
}
