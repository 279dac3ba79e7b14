//! From what is known around a weight to the inputs of the model, for each kind of decision.

use super::model::{CONTEXT_SIZE, Evidence};
use super::plane::{Plane, Row};
use super::tally::{Tally, class};
use crate::logistic::{Logit, stretch};

/// Levels already coded near the current one; outside the matrix they are 0.
pub(super) type Near = [i32; N_NEAR];

const N_NEAR: usize = 13;

// In this row: left, a line up (at the stride), and around that.
const W: usize = 0;
const S: usize = 1;
const N: usize = 2;
const LINE: usize = 3;
const WW: usize = 4;
const SW: usize = 5;
const SE: usize = 6;
const S2: usize = 7;
// In the rows above.
const NW: usize = 8;
const NE: usize = 9;
const NS: usize = 10;
const NT: usize = 11;
const NN: usize = 12;

impl Plane<'_> {
    /// The levels near column `c` of the current row.
    #[inline]
    pub(super) fn near(&self, c: usize) -> Near {
        let (i, s) = (self.pad + c, self.stride);
        let [row, up, up2] = &self.rows;
        let mut near = [0; N_NEAR];
        near[W] = row[i - 1];
        near[S] = row[i - s];
        near[N] = up[i];
        near[LINE] = row[i - self.line];
        near[WW] = row[i - 2];
        near[SW] = row[i - s - 1];
        near[SE] = row[i - s + 1];
        near[S2] = row[i - 2 * s];
        near[NW] = up[i - 1];
        near[NE] = up[i + 1];
        near[NS] = up[i - s];
        near[NT] = up[i + s];
        near[NN] = up2[i];
        near
    }

    /// What tells whether the level in column `c` is zero.
    pub(super) fn zero_evidence(&self, base: u16, row: &Row, c: usize, near: &Near) -> Evidence {
        let row_density = row.all.density(20, base);
        let column = self.columns[self.pad + c].density(6, base);
        let smooth = self.smooth_column(c).density(12, base);
        let block = self.blocks[c / self.stride].density(20, base);
        let block_row = row.block.density(6, base);
        let previous = self.previous_density(c);
        let [fast, slow] = row.recent(base);
        let vote = self.votes.density(c, base);
        let sum = magnitude_sum(near);
        let flag = |i: usize| if near[i] != 0 { 256 } else { 0 };
        let bits = |near: &[i32]| {
            near.iter()
                .fold(0, |bits, &x| bits << 1 | usize::from(x != 0))
        };
        let pair = |a: Logit, b: Logit| class(a) << 4 | class(b);
        Evidence {
            features: [
                row_density,
                column,
                smooth,
                block,
                self.positions[c % self.stride].density(20, base),
                block_row,
                previous,
                fast,
                slow,
                flag(W),
                flag(S),
                flag(N),
                flag(LINE),
                sum as Logit * 32,
                vote,
            ],
            contexts: [
                bits(&[
                    near[W], near[S], near[N], near[WW], near[SW], near[SE], near[NW], near[NE],
                ]) << 2
                    | bits(&near[NS..=NT]),
                small(near[W], 3) << 4 | small(near[S], 3) << 2 | small(near[N], 3),
                pair(smooth, row_density),
                pair(column, row_density),
                class(smooth) << 4 | bits(&[near[W], near[S], near[N], near[WW]]),
                pair(fast.max(slow), slow),
                sum.min(31) << 4 | class(smooth),
                (c % self.stride).min(CONTEXT_SIZE - 1),
                pair(previous, row_density),
                bits(&near[LINE..=LINE]) << 6
                    | bits(&[near[NW], near[NE], near[NS], near[NT], near[NN], near[S2]]),
                pair(block_row, block),
                pair(vote, smooth),
            ],
            selectors: [class(smooth), bits(&near[W..=N]), class(row_density)],
        }
    }

    /// What tells whether the nonzero level in column `c` is positive.
    pub(super) fn sign_evidence(&self, base: u16, row: &Row, c: usize, near: &Near) -> Evidence {
        let row_sign = row.all.sign(8, base);
        let column = self.columns[self.pad + c].sign(4, base);
        let smooth = self.smooth_column(c).sign(8, base);
        let block_row = row.block.sign(4, base);
        let vote = self.votes.sign(c);
        let sign = |i: usize| near[i].signum() * 256;
        let signs = |places: &[usize]| {
            places
                .iter()
                .fold(0, |sum, &i| 3 * sum + (near[i].signum() + 1) as usize)
        };
        let pair = |a: Logit, b: Logit| class(a) << 4 | class(b);
        Evidence {
            features: [
                row_sign,
                column,
                smooth,
                block_row,
                self.positions[c % self.stride].sign(8, base),
                sign(W),
                sign(S),
                sign(N),
                sign(LINE),
                sign(WW),
                sign(SW),
                sign(SE),
                sign(S2),
                self.blocks[c / self.stride].sign(8, base),
                vote,
            ],
            contexts: [
                signs(&[W, S, N, WW]),
                signs(&[W, S, SW, SE]),
                signs(&[S, S2, LINE]),
                pair(column, row_sign),
                pair(smooth, row_sign),
                class(smooth) * 9 + signs(&[W, S]),
                class(block_row) * 9 + signs(&[W, S]),
                (c % self.stride).min(CONTEXT_SIZE - 1),
                signs(&[N, NN, NE]),
                pair(vote, row_sign),
                class(column),
                class(vote) * 9 + signs(&[W, S]),
            ],
            selectors: [signs(&[W, S]), class(smooth), class(vote)],
        }
    }

    /// What tells how large the nonzero level in column `c` is.
    pub(super) fn magnitude_evidence(
        &self,
        base: u16,
        row: &Row,
        c: usize,
        near: &Near,
        positive: bool,
    ) -> Evidence {
        let whole = &self.whole;
        let row_scale = row.all.scale(8, whole);
        let column = self.columns[self.pad + c].scale(4, whole);
        let smooth = self.smooth_column(c).scale(8, whole);
        let block_row = row.block.scale(4, whole);
        let density = self.smooth_column(c).density(12, base);
        let sum = magnitude_sum(near);
        let size = |i: usize| small(near[i], 15) as Logit * 64;
        let signed = |context: usize| context << 1 | usize::from(positive);
        let pair = |a: Logit, b: Logit| class(a) << 4 | class(b);
        let sizes = |a: usize, b: usize| small(near[a], 7) << 3 | small(near[b], 7);
        Evidence {
            features: [
                row_scale,
                column,
                smooth,
                block_row,
                self.positions[c % self.stride].scale(8, whole),
                size(W),
                size(S),
                size(N),
                size(LINE),
                sum as Logit * 32,
                if positive { 256 } else { -256 },
                0,
                0,
                0,
                0,
            ],
            contexts: [
                signed(0),
                signed(sizes(W, S)),
                signed(sizes(N, W)),
                signed(pair(row_scale, column)),
                signed(pair(smooth, row_scale)),
                signed(pair(density, row.all.density(20, base))),
                signed(sum.min(31)),
                signed((c % self.stride).min(CONTEXT_SIZE / 2 - 1)),
                signed(class(block_row)),
                signed(class(column)),
                signed(class(row_scale)),
                signed(sizes(S, LINE)),
            ],
            selectors: [0, signed(0), sum.min(15)],
        }
    }

    /// The column and those beside it, in this line of the image and in the next ones.
    #[inline]
    fn smooth_column(&self, c: usize) -> Tally {
        let i = self.pad + c;
        let side = if self.stride > 1 { self.stride } else { 2 };
        let column = |i: usize| &self.columns[i];
        Tally::sum([i, i, i - 1, i + 1, i - side, i + side].map(column))
    }
}

impl Row {
    /// The log odds of a nonzero level by the last ones, at two speeds, relative to `base`.
    #[inline]
    fn recent(&self, base: u16) -> [Logit; 2] {
        if self.all.n == 0 {
            return [0, 0];
        }
        [self.fast, self.slow].map(|p| stretch(p.clamp(1, 65535) as u16) - stretch(base))
    }
}

/// The sum of the magnitudes nearby, each cut at 15, at most 40.
fn magnitude_sum(near: &Near) -> usize {
    near.iter().map(|&x| small(x, 15)).sum::<usize>().min(40)
}

/// A magnitude cut at `max`.
#[inline]
fn small(level: i32, max: u32) -> usize {
    level.unsigned_abs().min(max) as usize
}
