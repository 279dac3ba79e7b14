//! One matrix while it is coded: what its rows, columns and neighbourhoods have shown so far.

use super::Shape;
use super::model::{Coder, Evidence, MAX_UNARY, Model};
use crate::logistic::{Logit, stretch};

const ZERO: usize = 0;
const SIGN: usize = 1;
const LARGER: usize = 2;

/// Sums over some of the levels already coded.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    n: u32,
    n_nonzero: u32,
    n_positive: u32,
    magnitude: u32,
}

impl Tally {
    #[inline]
    fn add(&mut self, level: i32) {
        self.n = self.n.saturating_add(1);
        if level != 0 {
            self.n_nonzero = self.n_nonzero.saturating_add(1);
            self.n_positive = self.n_positive.saturating_add(u32::from(level > 0));
            self.magnitude = self.magnitude.saturating_add(level.unsigned_abs().min(255));
        }
    }

    /// The log odds of a nonzero level, relative to `base`, shrunk as if by `k` more levels.
    #[inline]
    fn density(&self, k: u32, base: u16) -> Logit {
        estimate(self.n_nonzero, self.n, k, base)
    }

    /// The same for the sign of nonzero levels.
    #[inline]
    fn sign(&self, k: u32, base: u16) -> Logit {
        estimate(self.n_positive, self.n_nonzero, k, base)
    }

    /// The log of the mean magnitude relative to that of `whole`, shrunk as if by `k` levels.
    #[inline]
    fn scale(&self, k: u32, whole: &Tally) -> Logit {
        let whole_mean =
            (u64::from(whole.magnitude) * 256 + 256) / (u64::from(whole.n_nonzero) + 1);
        let own = u64::from(self.magnitude) * 256 + u64::from(k) * whole_mean;
        let expected = (u64::from(self.n_nonzero) + u64::from(k)) * whole_mean;
        // ln(a / b) is the log odds of a / (a + b).
        stretch((own * 65536 / (own + expected)).clamp(1, 65535) as u16)
    }
}

/// The log odds of `n_ones` in `n`, relative to `base` and shrunk towards it.
#[inline]
fn estimate(n_ones: u32, n: u32, k: u32, base: u16) -> Logit {
    let ones = (u64::from(n_ones) << 16) + u64::from(k) * u64::from(base);
    let p = ones / (u64::from(n) + u64::from(k)).max(1);
    stretch(p.clamp(1, 65535) as u16) - stretch(base)
}

/// Sixteen classes of relative log odds, half a nat apart.
#[inline]
fn class(x: Logit) -> usize {
    ((x + 1024 + 64) >> 7).clamp(0, 15) as usize
}

/// What a matrix tells the next one: the relative log odds of each row's density.
#[derive(Debug)]
pub(super) struct RowDensities(Vec<Logit>);

/// The state of the matrix being coded.
#[derive(Debug)]
pub(super) struct Plane<'a> {
    shape: Shape,
    stride: usize,
    /// The distance to the neighbour in the next line of a square kernel, if stride is its area.
    line: usize,
    previous: Option<(&'a [Logit], usize)>,
    /// Zeros on either side of a row, so that neighbours exist everywhere.
    pad: usize,
    /// The row being coded and the two above it, padded.
    rows: [Vec<i32>; 3],
    columns: Vec<Tally>,
    blocks: Vec<Tally>,
    positions: Vec<Tally>,
    whole: Tally,
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
            .map(|p| &p.0[..])
            .filter(|p| !p.is_empty() && cols % p.len() == 0);
        let pad = 2 * stride + 2;
        Plane {
            shape,
            stride,
            line,
            previous: previous.map(|p| (p, (cols / p.len()).max(1))),
            pad,
            rows: std::array::from_fn(|_| vec![0; cols + 2 * pad]),
            columns: vec![Tally::default(); cols + 2 * pad],
            blocks: vec![Tally::default(); cols / stride + 1],
            positions: vec![Tally::default(); stride],
            whole: Tally::default(),
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
        if self.shape.min_level == 0 && self.shape.max_level == 0 {
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
            *level = self.code_level(model, coder, &mut row, c, *level);
            row.add(*level);
            self.rows[0][self.pad + c] = *level;
        }
        for (c, &level) in levels.iter().enumerate() {
            self.columns[self.pad + c].add(level);
            self.blocks[c / self.stride].add(level);
            self.positions[c % self.stride].add(level);
            self.whole.add(level);
        }
        let base = model.base(ZERO);
        self.row_densities.push(row.all.density(20, base));
    }

    fn code_level<C: Coder>(
        &self,
        model: &mut Model,
        coder: &mut C,
        row: &mut Row,
        c: usize,
        level: i32,
    ) -> i32 {
        let near = self.neighbours(c);
        let mut evidence = self.density_evidence(model.base(ZERO), row, c, &near);
        if !model.code(coder, ZERO, &evidence, level != 0) {
            return 0;
        }
        let Shape {
            min_level,
            max_level,
            ..
        } = self.shape;
        let class = evidence.contexts[2];
        let positive = if min_level == 0 || max_level == 0 {
            max_level > 0
        } else {
            self.sign_evidence(&mut evidence, model.base(SIGN), row, c, &near);
            model.code(coder, SIGN, &evidence, level > 0)
        };
        let max = if positive {
            max_level.unsigned_abs()
        } else {
            min_level.unsigned_abs()
        };
        self.scale_evidence(&mut evidence, row, c, &near, positive, class);
        let magnitude = code_magnitude(model, coder, &mut evidence, level.unsigned_abs(), max);
        // Magnitudes beyond `max` come only from corrupt bytes; the caller refuses them.
        let level = magnitude.min(1 << 31) as i64;
        (if positive { level } else { -level }).clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }

    #[inline]
    fn neighbours(&self, c: usize) -> [i32; N_NEIGHBOURS] {
        let (i, s) = (self.pad + c, self.stride);
        let [row, up, up2] = &self.rows;
        [
            row[i - 1],
            row[i - s],
            up[i],
            row[i - 2],
            row[i - s - 1],
            row[i - s + 1],
            up[i - 1],
            up[i + 1],
            up[i - s],
            up[i + s],
            up2[i],
            row[i - 2 * s],
            row[i - self.line.min(i)],
        ]
    }

    fn density_evidence(&self, base: u16, row: &Row, c: usize, near: &Near) -> Evidence {
        let s = self.stride;
        let i = self.pad + c;
        let side = if s > 1 { s } else { 2 };
        let smooth = self.smooth_column(i, side);
        let column = &self.columns[i];
        let f_row = row.all.density(20, base);
        let f_column = column.density(6, base);
        let f_smooth = smooth.density(12, base);
        let f_block = self.blocks[c / s].density(20, base);
        let f_position = self.positions[c % s].density(20, base);
        let f_block_row = row.block.density(6, base);
        let f_previous = self.previous.map_or(0, |(rows, group)| rows[c / group]);
        let base_logit = stretch(base);
        let f_fast = if row.all.n == 0 {
            0
        } else {
            stretch(row.fast.clamp(1, 65535) as u16) - base_logit
        };
        let f_slow = if row.all.n == 0 {
            0
        } else {
            stretch(row.slow.clamp(1, 65535) as u16) - base_logit
        };
        let flag = |i: usize| i32::from(near[i] != 0) * 256;
        let near_sum: i32 = near.iter().map(|x| x.unsigned_abs().min(15) as i32).sum();
        let bits = |range: std::ops::Range<usize>| {
            range.fold(0, |bits, i| bits << 1 | usize::from(near[i] != 0))
        };
        let small = |i: usize| near[i].unsigned_abs().min(3) as usize;
        Evidence {
            features: [
                f_row,
                f_column,
                f_smooth,
                f_block,
                f_position,
                f_block_row,
                f_previous,
                f_fast,
                f_slow,
                flag(W),
                flag(S),
                flag(N),
                flag(LINE),
                near_sum.min(40) * 32,
                0,
                0,
            ],
            contexts: [
                bits(0..10),
                small(W) * 16 + small(S) * 4 + small(N),
                class(f_smooth) * 16 + class(f_row),
                class(f_column) * 16 + class(f_row),
                class(f_smooth) * 16 + bits(0..4),
                class(f_fast.max(f_slow)) * 16 + class(f_slow),
                near_sum.min(31) as usize * 16 + class(f_smooth),
                (c % s).min(CONTEXT_LIMIT),
                class(f_previous) * 16 + class(f_row),
                bits(6..13),
                class(f_block_row) * 16 + class(f_block),
                (c / s).min(CONTEXT_LIMIT),
            ],
            selectors: [class(f_smooth), bits(0..3), 0],
        }
    }

    fn sign_evidence(&self, evidence: &mut Evidence, base: u16, row: &Row, c: usize, near: &Near) {
        let i = self.pad + c;
        let s = self.stride;
        let smooth = self.smooth_column(i, if s > 1 { s } else { 2 });
        let column = &self.columns[i];
        let f_row = row.all.sign(8, base);
        let f_column = column.sign(4, base);
        let f_smooth = smooth.sign(8, base);
        let f_block_row = row.block.sign(4, base);
        let f_position = self.positions[c % s].sign(8, base);
        let sign = |i: usize| near[i].signum() * 256;
        evidence.features = [
            f_row,
            f_column,
            f_smooth,
            f_block_row,
            f_position,
            sign(W),
            sign(S),
            sign(N),
            sign(LINE),
            sign(WW),
            sign(SW),
            sign(SE),
            sign(S2),
            self.blocks[c / s].sign(8, base),
            0,
            0,
        ];
        let t = |i: usize| (near[i].signum() + 1) as usize;
        evidence.contexts = [
            t(W) * 27 + t(S) * 9 + t(N) * 3 + t(WW),
            t(W) * 27 + t(S) * 9 + t(SW) * 3 + t(SE),
            t(S) * 9 + t(S2) * 3 + t(LINE),
            class(f_column) * 16 + class(f_row),
            class(f_smooth) * 16 + class(f_row),
            class(f_smooth) * 9 + t(W) * 3 + t(S),
            class(f_block_row) * 9 + t(W) * 3 + t(S),
            (c % s).min(CONTEXT_LIMIT),
            t(N) * 9 + t(NN) * 3 + t(NE),
            class(f_row),
            class(f_column),
            0,
        ];
        evidence.selectors = [t(W) * 3 + t(S), class(f_smooth), 0];
    }

    fn scale_evidence(
        &self,
        evidence: &mut Evidence,
        row: &Row,
        c: usize,
        near: &Near,
        positive: bool,
        density_class: usize,
    ) {
        let i = self.pad + c;
        let s = self.stride;
        let smooth = self.smooth_column(i, if s > 1 { s } else { 2 });
        let column = &self.columns[i];
        let whole = &self.whole;
        let f_row = row.all.scale(8, whole);
        let f_column = column.scale(4, whole);
        let f_smooth = smooth.scale(8, whole);
        let f_block = row.block.scale(4, whole);
        let f_position = self.positions[c % s].scale(8, whole);
        let mag = |i: usize| near[i].unsigned_abs().min(15) as i32 * 64;
        let near_sum: i32 = near.iter().map(|x| x.unsigned_abs().min(15) as i32).sum();
        let p = usize::from(positive);
        evidence.features = [
            f_row,
            f_column,
            f_smooth,
            f_block,
            f_position,
            mag(W),
            mag(S),
            mag(N),
            mag(LINE),
            near_sum.min(40) * 32,
            if positive { 256 } else { -256 },
            0,
            0,
            0,
            0,
            0,
        ];
        let small = |i: usize| near[i].unsigned_abs().min(7) as usize;
        evidence.contexts = [
            p,
            p * 64 + small(W) * 8 + small(S),
            p * 64 + small(N) * 8 + small(W),
            p * 256 + class(f_row) * 16 + class(f_column),
            p * 256 + class(f_smooth) * 16 + class(f_row),
            density_class.min(511) * 2 + p,
            p * 32 + near_sum.min(31) as usize,
            p * 512 + (c % s).min(511),
            p * 16 + class(f_block),
            p * 16 + class(f_column),
            p * 16 + class(f_row),
            p * 64 + small(S) * 8 + small(LINE),
        ];
        evidence.selectors = [0, p, near_sum.min(15) as usize];
    }

    /// The column and those beside it, and in the lines beside it.
    #[inline]
    fn smooth_column(&self, i: usize, side: usize) -> Tally {
        let mut sum = self.columns[i];
        for j in [i, i - 1, i + 1, i - side, i + side] {
            let column = &self.columns[j];
            sum.n = sum.n.saturating_add(column.n);
            sum.n_nonzero = sum.n_nonzero.saturating_add(column.n_nonzero);
            sum.n_positive = sum.n_positive.saturating_add(column.n_positive);
            sum.magnitude = sum.magnitude.saturating_add(column.magnitude);
        }
        sum
    }
}

const CONTEXT_LIMIT: usize = super::model::CONTEXT_SIZE - 1;

type Near = [i32; N_NEIGHBOURS];
const N_NEIGHBOURS: usize = 13;
const W: usize = 0;
const S: usize = 1;
const N: usize = 2;
const WW: usize = 3;
const SW: usize = 4;
const SE: usize = 5;
const NE: usize = 7;
const NN: usize = 10;
const S2: usize = 11;
const LINE: usize = 12;

/// What the row being coded has shown so far.
#[derive(Debug, Default)]
struct Row {
    all: Tally,
    block: Tally,
    fast: i32,
    slow: i32,
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

fn code_magnitude<C: Coder>(
    model: &mut Model,
    coder: &mut C,
    evidence: &mut Evidence,
    magnitude: u32,
    max: u32,
) -> u32 {
    let n_steps = MAX_UNARY.min(max - 1);
    for step in 0..n_steps {
        evidence.selectors[0] = step as usize;
        if !model.code(
            coder,
            LARGER + step as usize,
            evidence,
            magnitude > step + 1,
        ) {
            return step + 1;
        }
    }
    let rest = magnitude.saturating_sub(MAX_UNARY + 1);
    match max.checked_sub(MAX_UNARY + 1) {
        None => n_steps + 1,
        Some(0) => MAX_UNARY + 1,
        Some(max_rest) => model
            .code_escape(coder, rest, max_rest)
            .saturating_add(MAX_UNARY + 1),
    }
}
