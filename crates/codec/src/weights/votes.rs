//! Earlier rows as predictors of the current one.
//!
//! Units of one layer resemble each other: where two rows have shared nonzero columns so far, and
//! with the same or always the opposite sign, they go on doing so. Every earlier row has a weight
//! for each of the two, kept up to date as the current row is coded, and votes in its own nonzero
//! columns.

use super::tally::fraction;
use crate::logistic::{Logit, stretch};

/// Only the last so many rows with a nonzero level in a column vote there, which bounds the time.
const MAX_VOTERS: usize = 128;

/// Weights have 8 fraction bits.
const ONE: i64 = 256;

/// What is known of an earlier row.
#[derive(Debug, Clone, Copy, Default)]
struct Voter {
    n_nonzero: u32,
    /// Columns that it and the current row both have nonzero.
    n_shared: u32,
    /// Those with the same sign less those with opposite ones.
    agreement: i32,
    /// How much more than chance it shares with the current row; never negative.
    density_weight: u32,
    /// How much its signs tell; negative if they tell the opposite.
    sign_weight: i32,
}

impl Voter {
    /// A row that the current one shares nothing with yet.
    fn asleep(n_nonzero: u32) -> Voter {
        Voter {
            n_nonzero,
            ..Voter::default()
        }
    }
}

/// The votes of the rows coded so far.
#[derive(Debug)]
pub(super) struct Votes {
    voters: Vec<Voter>,
    /// By column: the rows that are nonzero there, and whether positive.
    columns: Vec<Vec<(u32, bool)>>,
    /// The voters that the current row shares a column with.
    awake: Vec<u32>,
    total_weight: u64,
    /// Of the current row so far.
    n_nonzero: u32,
}

impl Votes {
    pub(super) fn new(cols: usize) -> Votes {
        Votes {
            voters: Vec::new(),
            columns: vec![Vec::new(); cols],
            awake: Vec::new(),
            total_weight: 0,
            n_nonzero: 0,
        }
    }

    /// The log odds that column `c` is nonzero, relative to `base`.
    #[inline]
    pub(super) fn density(&self, c: usize, base: u16) -> Logit {
        const PRIOR: u64 = 2000;
        let weight = |&(r, _): &(u32, bool)| u64::from(self.voters[r as usize].density_weight);
        let votes: u64 = self.voters_of(c).iter().map(weight).sum();
        let prior = (u64::from(base) * PRIOR) >> 16;
        stretch(fraction(votes + prior, self.total_weight + PRIOR)) - stretch(base)
    }

    /// The log odds that column `c`, if nonzero, is positive; not calibrated.
    #[inline]
    pub(super) fn sign(&self, c: usize) -> Logit {
        let weight = |&(r, positive): &(u32, bool)| {
            let weight = i64::from(self.voters[r as usize].sign_weight);
            if positive { weight } else { -weight }
        };
        let votes: i64 = self.voters_of(c).iter().map(weight).sum();
        (votes / 2).clamp(-1500, 1500) as Logit
    }

    /// Learns that column `c` of the current row is nonzero.
    pub(super) fn add(&mut self, c: usize, positive: bool) {
        self.n_nonzero += 1;
        let cols = self.columns.len() as i64;
        let column = &self.columns[c];
        for &(r, other_positive) in &column[column.len().saturating_sub(MAX_VOTERS)..] {
            let voter = &mut self.voters[r as usize];
            if voter.n_shared == 0 {
                self.awake.push(r);
            }
            voter.n_shared += 1;
            voter.agreement += if positive == other_positive { 1 } else { -1 };
            // What rows of these densities share by chance, in units of 1/256.
            let chance = i64::from(self.n_nonzero) * i64::from(voter.n_nonzero) * ONE / cols;
            let excess = (i64::from(voter.n_shared) * ONE - chance).max(0);
            let weight = (excess * ONE / (chance + ONE)) as u32;
            self.total_weight =
                self.total_weight - u64::from(voter.density_weight) + u64::from(weight);
            voter.density_weight = weight;
            voter.sign_weight =
                (i64::from(voter.agreement) * ONE * ONE / (chance + ONE / 4)) as i32;
        }
    }

    /// Makes the current row, which is `levels`, an earlier one.
    pub(super) fn finish_row(&mut self, levels: &[i32]) {
        let r = self.voters.len() as u32;
        for (column, &level) in self.columns.iter_mut().zip(levels) {
            if level != 0 {
                if column.len() == 2 * MAX_VOTERS {
                    column.drain(..MAX_VOTERS);
                }
                column.push((r, level > 0));
            }
        }
        // Only those that changed, or a matrix of many short rows would take quadratic time.
        for r in self.awake.drain(..) {
            let voter = &mut self.voters[r as usize];
            *voter = Voter::asleep(voter.n_nonzero);
        }
        self.voters.push(Voter::asleep(self.n_nonzero));
        self.total_weight = 0;
        self.n_nonzero = 0;
    }

    /// The rows that vote in column `c`.
    #[inline]
    fn voters_of(&self, c: usize) -> &[(u32, bool)] {
        let column = &self.columns[c];
        &column[column.len().saturating_sub(MAX_VOTERS)..]
    }
}
