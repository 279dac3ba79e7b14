//! One matrix while it is coded: the walk over its levels and what they have shown so far.

use super::Shape;
use super::model::{Coder, MAX_UNARY, Model};
use super::tally::Tally;
use super::votes::Votes;
use crate::logistic::Logit;

const ZERO: usize = 0;
const SIGN: usize = 1;
const LARGER: usize = 2;

/// What a matrix tells the next one: the log odds of each row's density, relative to its own.
#[derive(Debug)]
pub(super) struct RowDensities(Vec<Logit>);

/// The state of the matrix being coded.
#[derive(Debug)]
pub(super) struct Plane<'a> {
    min_level: i32,
    max_level: i32,
    /// The distance to the neighbour in the next line, 1 if there are no lines.
    pub(super) stride: usize,
    /// The side of a square kernel whose area the stride is, else 2.
    pub(super) line: usize,
    /// What the previous matrix tells, and how many columns each of its rows feeds.
    previous: Option<(&'a [Logit], usize)>,
    /// Zeros on either side of a row, so that neighbours exist everywhere.
    pub(super) pad: usize,
    /// The row being coded and the two above it, padded.
    pub(super) rows: [Vec<i32>; 3],
    /// Rows above, by column; padded.
    pub(super) columns: Vec<Tally>,
    /// Rows above, by line of the stride.
    pub(super) blocks: Vec<Tally>,
    /// Rows above, by position within a line.
    pub(super) positions: Vec<Tally>,
    /// Rows above, altogether.
    pub(super) whole: Tally,
    pub(super) votes: Votes,
    row_densities: Vec<Logit>,
}

impl<'a> Plane<'a> {
    pub(super) fn new(shape: Shape, previous: Option<&'a RowDensities>) -> Plane<'a> {
        let cols = if shape.rows == 0 { 0 } else { shape.cols };
        let stride = if (2..cols).contains(&shape.stride) {
            shape.stride
        } else {
            1
        };
        let side = stride.isqrt();
        let line = if side > 1 && side * side == stride {
            side
        } else {
            2
        };
        let previous = previous
            .map(|densities| &densities.0[..])
            .filter(|rows| !rows.is_empty() && cols > 0 && cols.is_multiple_of(rows.len()));
        let pad = 2 * stride + 2;
        Plane {
            min_level: shape.min_level,
            max_level: shape.max_level,
            stride,
            line,
            previous: previous.map(|rows| (rows, cols / rows.len())),
            pad,
            rows: std::array::from_fn(|_| vec![0; cols + 2 * pad]),
            columns: vec![Tally::default(); cols + 2 * pad],
            blocks: vec![Tally::default(); cols / stride + 1],
            positions: vec![Tally::default(); stride],
            whole: Tally::default(),
            votes: Votes::new(cols),
            row_densities: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> RowDensities {
        RowDensities(self.row_densities)
    }

    /// Codes the next row; decoding overwrites `levels`.
    pub(super) fn code_row<C: Coder>(
        &mut self,
        model: &mut Model,
        coder: &mut C,
        levels: &mut [i32],
    ) {
        if self.min_level == 0 && self.max_level == 0 {
            levels.fill(0);
            return;
        }
        if self.whole.n == 0 {
            model.start_matrix();
        }
        self.rows.rotate_right(1);
        self.rows[0].fill(0);
        let mut row = Row::default();
        for (c, level) in levels.iter_mut().enumerate() {
            if c % self.stride == 0 {
                row.block = Tally::default();
            }
            *level = self.code_level(model, coder, &row, c, *level);
            row.add(*level);
            self.rows[0][self.pad + c] = *level;
            if *level != 0 {
                self.votes.add(c, *level > 0);
            }
        }
        self.row_densities
            .push(row.all.density(20, model.base(ZERO)));
        self.add_row(levels);
    }

    /// Adds a whole row to what is known of the rows above.
    fn add_row(&mut self, levels: &[i32]) {
        for (c, &level) in levels.iter().enumerate() {
            self.columns[self.pad + c].add(level);
            self.blocks[c / self.stride].add(level);
            self.positions[c % self.stride].add(level);
            self.whole.add(level);
        }
        self.votes.finish_row(levels);
    }

    fn code_level<C: Coder>(
        &self,
        model: &mut Model,
        coder: &mut C,
        row: &Row,
        c: usize,
        level: i32,
    ) -> i32 {
        let near = self.near(c);
        let base = model.base(ZERO);
        let evidence = self.zero_evidence(base, row, c, &near);
        if !model.code(coder, ZERO, &evidence, level != 0) {
            return 0;
        }
        let positive = if self.min_level == 0 || self.max_level == 0 {
            self.max_level > 0
        } else {
            let evidence = self.sign_evidence(model.base(SIGN), row, c, &near);
            model.code(coder, SIGN, &evidence, level > 0)
        };
        let max = if positive {
            self.max_level
        } else {
            self.min_level
        }
        .unsigned_abs();
        let mut evidence = self.magnitude_evidence(base, row, c, &near, positive);
        let mut magnitude = 1;
        while magnitude < max && magnitude <= MAX_UNARY {
            let step = magnitude as usize - 1;
            evidence.selectors[0] = step;
            if !model.code(
                coder,
                LARGER + step,
                &evidence,
                level.unsigned_abs() > magnitude,
            ) {
                return signed(magnitude, positive);
            }
            magnitude += 1;
        }
        if magnitude > MAX_UNARY && magnitude < max {
            let beyond = level.unsigned_abs().saturating_sub(magnitude);
            magnitude = magnitude.saturating_add(model.code_escape(coder, beyond, max - magnitude));
        }
        signed(magnitude, positive)
    }

    /// What the previous matrix tells of column `c`.
    #[inline]
    pub(super) fn previous_density(&self, c: usize) -> Logit {
        self.previous.map_or(0, |(rows, n_cols)| rows[c / n_cols])
    }
}

/// A level from its parts. Magnitudes that do not fit come from corrupt bytes only; they are cut,
/// and the caller refuses what is out of range.
fn signed(magnitude: u32, positive: bool) -> i32 {
    let magnitude = i64::from(magnitude);
    let level = if positive { magnitude } else { -magnitude };
    level.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// What the row being coded has shown so far.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) all: Tally,
    /// The current line of the stride only.
    pub(super) block: Tally,
    /// Decaying means of "not zero", 16 fraction bits.
    pub(super) fast: i32,
    pub(super) slow: i32,
}

impl Row {
    #[inline]
    fn add(&mut self, level: i32) {
        self.all.add(level);
        self.block.add(level);
        let target = i32::from(level != 0) << 16;
        self.fast += (target - self.fast) >> 3;
        self.slow += (target - self.slow) >> 5;
    }
}
