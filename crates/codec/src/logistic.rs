//! Logistic mixing in integers: what the adaptive coders' models are made of.
//!
//! Predictions are combined in the logistic domain, `stretch(p) = ln(p / (1 - p))`, by an online
//! logistic regression (Mahoney, "Adaptive weighing of context models for lossless data
//! compression", 2005). Probabilities have 16 fraction bits, stretched ones 8, weights 16. All
//! arithmetic and all tables are integers, so every machine predicts the same; the tables are part
//! of every coder profile and must never change.

/// A stretched probability: natural log odds in units of 1/256.
pub(crate) type Logit = i32;

/// The largest log odds in use: `ln(65535)` is 11.09, so that 16-bit probabilities are just
/// covered.
const MAX_LOGIT: Logit = 11 * 256 + 24;

const N_SQUASH: usize = 2 * MAX_LOGIT as usize + 1;

/// `SQUASH[x + MAX_LOGIT]` is the probability for the logit `x`.
static SQUASH: [u16; N_SQUASH] = squash_table();

/// The logit of `p`, for `p` below 4096.
static STRETCH_FINE: [i16; 4096] = stretch_table(1);

/// The logit of `8 p`, for `8 p` up to one half.
static STRETCH_COARSE: [i16; 4096 + 1] = stretch_table(8);

/// `exp(-1 / 256)` with 62 fraction bits.
const EXP_STEP: u64 = 4_593_706_758_521_714_574;

const fn squash_table() -> [u16; N_SQUASH] {
    let mut table = [0; N_SQUASH];
    let one = 1u64 << 62;
    let mut exp = one;
    let mut x = 0;
    while x <= MAX_LOGIT as usize {
        // p = 1 / (1 + exp(-x)), rounded, kept off 0 and 1.
        let p = ((1u128 << (62 + 16)) / (one as u128 + exp as u128)) as u32;
        let p = if p > 65535 { 65535 } else { p };
        table[MAX_LOGIT as usize + x] = p as u16;
        table[MAX_LOGIT as usize - x] = (65536 - p) as u16;
        exp = ((exp as u128 * EXP_STEP as u128) >> 62) as u64;
        x += 1;
    }
    table
}

/// The inverse of the squash table at multiples of `step`.
const fn stretch_table<const N: usize>(step: u32) -> [i16; N] {
    let squash = squash_table();
    let mut table = [0; N];
    let mut x = 0;
    let mut i = 0;
    while i < N {
        // Move on while the next probability is the nearer one.
        while x + 1 < N_SQUASH && squash[x] as u32 + squash[x + 1] as u32 <= 2 * i as u32 * step {
            x += 1;
        }
        table[i] = (x as i32 - MAX_LOGIT) as i16;
        i += 1;
    }
    table
}

/// The 16-bit probability with the given log odds, never 0.
#[inline]
pub(crate) fn squash(x: Logit) -> u16 {
    SQUASH[(x.clamp(-MAX_LOGIT, MAX_LOGIT) + MAX_LOGIT) as usize]
}

/// The log odds of a 16-bit probability.
#[inline]
pub(crate) fn stretch(p: u16) -> Logit {
    let half = |p: u16| match p {
        0..4096 => STRETCH_FINE[usize::from(p)],
        _ => STRETCH_COARSE[usize::from(p >> 3)],
    };
    if p <= 1 << 15 {
        i32::from(half(p))
    } else {
        -i32::from(half(p.wrapping_neg()))
    }
}

/// An adaptive probability that knows how many decisions it has seen: it moves by `1 / (n + 1.5)`
/// of the distance, fast at first, until `n` reaches the limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counter(u32);

impl Counter {
    const COUNT_BITS: u32 = 10;
    pub(crate) const MAX_LIMIT: u32 = (1 << Counter::COUNT_BITS) - 1;

    /// A counter at probability `p` that counts as `n` decisions old.
    #[inline]
    pub(crate) fn new(p: u16, n: u32) -> Counter {
        Counter(u32::from(p) << 16 | n)
    }

    /// The probability of a one, never 0.
    #[inline]
    pub(crate) fn p(self) -> u16 {
        ((self.0 >> 16) as u16).max(1)
    }

    /// How many decisions it has seen, up to the limit.
    #[inline]
    pub(crate) fn n(self) -> u32 {
        self.0 & Counter::MAX_LIMIT
    }

    /// Learns a decision.
    #[inline]
    pub(crate) fn update(&mut self, bit: bool, limit: u32) {
        let n = self.n();
        let p = (self.0 >> Counter::COUNT_BITS) as i64;
        let target = if bit { (1 << 22) - 1 } else { 0 };
        let p = p + (((target - p) * i64::from(RATE[n as usize])) >> 16);
        self.0 = (p as u32) << Counter::COUNT_BITS | (n + 1).min(limit);
    }
}

/// `RATE[n]` is `1 / (n + 1.5)` with 16 fraction bits.
static RATE: [u16; Counter::MAX_LIMIT as usize + 1] = {
    let mut table = [0; Counter::MAX_LIMIT as usize + 1];
    let mut n = 0;
    while n < table.len() {
        table[n] = ((2 << 16) / (2 * n + 3)) as u16;
        n += 1;
    }
    table
};

/// No weight gets further from zero than 64, so that sums and updates cannot overflow.
const MAX_WEIGHT: i32 = 64 << 16;

/// `w` times `x` summed, weights with 16 fraction bits.
#[inline]
fn dot(weights: &[i32], inputs: &[Logit]) -> Logit {
    let sum: i64 = weights
        .iter()
        .zip(inputs)
        .map(|(&w, &x)| i64::from(w) * i64::from(x))
        .sum();
    ((sum + (1 << 15)) >> 16).clamp(-i64::from(MAX_LOGIT), i64::from(MAX_LOGIT)) as Logit
}

/// Online logistic regressions that share inputs: one weight vector for each value of a small
/// context.
#[derive(Debug, Clone)]
pub(crate) struct Mixer {
    n_inputs: usize,
    weights: Vec<i32>,
    /// How often each vector was trained.
    ages: Vec<u32>,
    rate: i32,
}

impl Mixer {
    /// For each of the given vectors (16 fraction bits), `n_sets` that start like it, numbered one
    /// vector after another. Trained at `rate` (16 fraction bits, at most 600), faster at first.
    pub(crate) fn new<const N: usize>(initial: &[[i32; N]], n_sets: usize, rate: i32) -> Mixer {
        Mixer {
            n_inputs: N,
            weights: initial
                .iter()
                .flat_map(|weights| weights.repeat(n_sets))
                .collect(),
            ages: vec![0; initial.len() * n_sets],
            rate,
        }
    }

    /// The mixed log odds.
    #[inline]
    pub(crate) fn mix(&self, set: usize, inputs: &[Logit]) -> Logit {
        dot(
            &self.weights[set * self.n_inputs..][..self.n_inputs],
            inputs,
        )
    }

    /// Learns the outcome of what [`Mixer::mix`] predicted as `p_one`.
    #[inline]
    pub(crate) fn update(&mut self, set: usize, inputs: &[Logit], p_one: u16, bit: bool) {
        let error = (i32::from(bit) << 16) - i32::from(p_one);
        let age = &mut self.ages[set];
        let boost = 8 * self.rate * 256 / (256 + *age as i32);
        *age = (*age + 1).min(1 << 20);
        let step = (error * ((self.rate + boost) >> 2)) >> 8;
        for (w, &x) in self.weights[set * self.n_inputs..][..self.n_inputs]
            .iter_mut()
            .zip(inputs)
        {
            *w = (*w + ((x * step + (1 << 13)) >> 14)).clamp(-MAX_WEIGHT, MAX_WEIGHT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squash_is_the_logistic_function() {
        for x in -MAX_LOGIT - 9..=MAX_LOGIT + 9 {
            let exact = 65536.0 / (1.0 + (-f64::from(x) / 256.0).exp());
            let got = f64::from(squash(x));
            assert!((got - exact).abs() <= 1.01, "{x}: {got}, expected {exact}");
            assert!(squash(x) > 0);
        }
    }

    #[test]
    fn stretch_inverts_squash() {
        for p in 1..=u16::MAX {
            let exact = (f64::from(p) / (65536.0 - f64::from(p))).ln() * 256.0;
            let got = f64::from(stretch(p));
            // A probability is a multiple of 1/65536, and in the middle one of 8/65536.
            let slack = 1.0 + 256.0 * 10.0 / f64::from(p.min(p.wrapping_neg()));
            assert!((got - exact).abs() <= slack, "{p}: {got}, expected {exact}");
        }
    }

    #[test]
    fn counter_averages_then_follows() {
        let mut counter = Counter::default();
        for i in 0..1000 {
            counter.update(i % 4 == 0, Counter::MAX_LIMIT);
        }
        assert!((i32::from(counter.p()) - 16384).abs() < 100);
        for _ in 0..100 {
            counter.update(true, 20);
        }
        assert!(counter.p() > 63000 && counter.n() == 20);
        (0..100_000).for_each(|_| counter.update(true, 255));
        (0..100_000).for_each(|_| counter.update(false, 255));
        assert!(counter.p() < 100);
    }
}
