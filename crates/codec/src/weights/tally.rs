//! Counts over some of the levels already coded, and the estimates they give.

use crate::logistic::{Logit, stretch};
use crate::range::HALF;

/// What a row, a column or another part of the matrix has shown so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) n: u32,
    pub(super) n_nonzero: u32,
    n_positive: u32,
    /// Sum of magnitudes, each cut at 255.
    magnitude: u32,
}

impl Tally {
    #[inline]
    pub(super) fn add(&mut self, level: i32) {
        self.n = self.n.saturating_add(1);
        if level != 0 {
            self.n_nonzero = self.n_nonzero.saturating_add(1);
            self.n_positive = self.n_positive.saturating_add(u32::from(level > 0));
            self.magnitude = self.magnitude.saturating_add(level.unsigned_abs().min(255));
        }
    }

    /// The sum of some tallies, which may repeat.
    #[inline]
    pub(super) fn sum<const N: usize>(tallies: [&Tally; N]) -> Tally {
        tallies.iter().fold(Tally::default(), |sum, tally| Tally {
            n: sum.n.saturating_add(tally.n),
            n_nonzero: sum.n_nonzero.saturating_add(tally.n_nonzero),
            n_positive: sum.n_positive.saturating_add(tally.n_positive),
            magnitude: sum.magnitude.saturating_add(tally.magnitude),
        })
    }

    /// The log odds of a nonzero level relative to `base`, shrunk as if by `k` more levels.
    #[inline]
    pub(super) fn density(&self, k: u32, base: u16) -> Logit {
        estimate(self.n_nonzero, self.n, k, base)
    }

    /// The log odds of a positive level among the nonzero ones, likewise.
    #[inline]
    pub(super) fn sign(&self, k: u32, base: u16) -> Logit {
        estimate(self.n_positive, self.n_nonzero, k, base)
    }

    /// The log of the mean nonzero magnitude relative to that of `whole`, likewise.
    #[inline]
    pub(super) fn scale(&self, k: u32, whole: &Tally) -> Logit {
        let whole_mean =
            (u64::from(whole.magnitude) * 256 + 256) / (u64::from(whole.n_nonzero) + 1);
        let own = u64::from(self.magnitude) * 256 + u64::from(k) * whole_mean;
        let expected = (u64::from(self.n_nonzero) + u64::from(k)) * whole_mean;
        // ln(a / b) is the log odds of a / (a + b).
        stretch(fraction(own, own + expected))
    }
}

/// The log odds of `n_ones` in `n` relative to `base`, shrunk towards it as if by `k` more.
#[inline]
pub(super) fn estimate(n_ones: u32, n: u32, k: u32, base: u16) -> Logit {
    let (n, k) = (u64::from(n), u64::from(k));
    let ones = (u64::from(n_ones) << 16) + k * u64::from(base);
    stretch((ones / (n + k).max(1)).clamp(1, 65535) as u16) - stretch(base)
}

/// `part / whole` as a probability, one half if there is nothing.
#[inline]
pub(super) fn fraction(part: u64, whole: u64) -> u16 {
    match whole {
        0 => HALF,
        // A u32 sum of magnitudes times 2^8, and again times 2^16, fits 64 bits.
        _ => (part.saturating_mul(1 << 16) / whole).clamp(1, 65535) as u16,
    }
}

/// One of sixteen classes of relative log odds, half a nat wide.
#[inline]
pub(super) fn class(x: Logit) -> usize {
    ((x + 1024 + 64) >> 7).clamp(0, 15) as usize
}
