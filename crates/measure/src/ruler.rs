//! The ruler of the typed threshold sort: where each cell of a column lies between 0 and 1.
//!
//! A number lies at its rank among the rows, a category at its rank by frequency, as a multiple of
//! 2^-32, so that sums of columns are exact and do not depend on any order. A ruler is fitted once, on
//! all rows or on a sample of them, and then places any row: parts of a table that are measured
//! apart, with one ruler, add up to what the whole would give.

use std::cell::Cell;
use std::collections::HashMap;

use bantam_core::order::sort_indices;
use bantam_data::{ChunkColumn, Column, MISSING, Values, hash};
use bantam_kernels::{Grid, Piece, PiecewiseLinear};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::codes::sortable;
use crate::error::{Error, ErrorKind, Result};
use crate::parallel::map_of;

/// 1 as a fixed-point number.
const ONE: u64 = 1 << 32;
/// A missing number is in the middle; its indicator, a column of 0 and 1, adds the one.
const MISSING_NUMBER: u64 = ONE / 2 + ONE;
/// A category that the fit has not seen, or a missing cell where it saw none: past the rarest.
const UNSEEN_LEVEL: u64 = ONE;
/// Most distinct numbers of a column that have a mark of their own.
const MOST_MARKS: usize = 1024;
/// Marks of a column that has more distinct numbers, at equal steps of its rows; numbers between two marks lie
/// between their places in proportion, to 2^-32. The median's rank is known to 0.0016 from a sample of
/// 100,000 rows (standard error), so more marks would tell no more of a larger table.
const QUANTILES: u64 = 512;
/// Most rows that a ruler is fitted on; a sample is taken of more.
pub(crate) const FIT_ROWS: usize = 100_000;
/// Rows placed at a time: so few that their sums stay in the cache, so many that what places a column is
/// read into it seldom.
const BLOCK: usize = 1 << 15;
/// Cells of the table that spares the search for a mark.
const CELLS: usize = 1 << 12;

/// Where cells lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ruler {
    columns: Vec<Scale>,
}

/// Where the cells of a column lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Scale {
    name: String,
    marks: Marks,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Marks {
    /// Ascending numbers and their places.
    Numbers { values: Vec<f64>, places: Vec<u64> },
    /// Categories, their places, and that of a missing cell.
    Levels {
        levels: Vec<String>,
        places: Vec<u64>,
        missing: u64,
    },
}

impl Ruler {
    /// A ruler for `columns`, fitted on their rows, or on a sample of 100,000 of them.
    pub fn fit(columns: &[Column], seed: u64) -> Ruler {
        let n = columns.first().map_or(0, |c| c.values.len());
        let rows = (n > FIT_ROWS).then(|| sample(n, seed));
        let scale = |c: &Column| {
            let marks = match &rows {
                Some(rows) => marks(&c.values.select(rows)),
                None => marks(&c.values),
            };
            Scale {
                name: c.name.clone(),
                marks,
            }
        };
        Ruler {
            columns: map_of(columns, scale),
        }
    }

    /// Names of the columns, in the order in which rows have them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str())
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// What the columns must look like to be placed.
    pub fn layout(&self) -> bantam_data::Layout {
        let column = |c: &Scale| bantam_data::LayoutColumn {
            name: c.name.clone(),
            levels: match &c.marks {
                Marks::Numbers { .. } => None,
                Marks::Levels { levels, .. } => Some(levels.clone()),
            },
        };
        bantam_data::Layout {
            columns: self.columns.iter().map(column).collect(),
        }
    }

    /// Errs when a ruler that was read from a file is not one.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |c: &Scale, what: &str| {
            Err(Error::new(ErrorKind::Format, format!("its ruler has {what}")).in_column(&c.name))
        };
        for column in &self.columns {
            let (places, missing) = match &column.marks {
                Marks::Numbers { values, places } => {
                    let ascend = values.windows(2).all(|w| w[0] < w[1]);
                    if values.len() != places.len() || values.is_empty() || !ascend {
                        return wrong(column, "marks that do not ascend");
                    }
                    if values.len() > MOST_MARKS {
                        return wrong(column, "more marks than any has");
                    }
                    if !places.is_sorted() {
                        return wrong(column, "places that do not ascend");
                    }
                    (places, 0)
                }
                Marks::Levels {
                    levels,
                    places,
                    missing,
                } => {
                    if levels.len() != places.len() {
                        return wrong(column, "as many places as categories");
                    }
                    (places, *missing)
                }
            };
            if places.iter().any(|&p| p > ONE) || missing > ONE {
                return wrong(column, "a place beyond 1");
            }
        }
        Ok(())
    }

    /// Made ready for many rows.
    pub(crate) fn placers(&self) -> Placers<'_> {
        Placers(self.columns.iter().map(|c| Placer::of(&c.marks)).collect())
    }

    /// [`Placers::sums`] of columns of a table that are of the types of this ruler, whatever their
    /// levels are.
    pub(crate) fn sums_of(&self, columns: &[Column]) -> Vec<u64> {
        let codes: Vec<Option<Vec<u32>>> = self
            .columns
            .iter()
            .zip(columns)
            .map(|(scale, column)| match (&scale.marks, &column.values) {
                (Marks::Levels { levels, .. }, Values::Categorical { codes, levels: own })
                    if levels != own =>
                {
                    Some(recode(codes, own, levels))
                }
                _ => None,
            })
            .collect();
        let cells = columns
            .iter()
            .zip(&codes)
            .map(|(c, recoded)| match (recoded, &c.values) {
                (Some(codes), _) => Cells::Codes(codes),
                (None, Values::Numeric(v)) => Cells::Numbers(v),
                (None, Values::Categorical { codes, .. }) => Cells::Codes(codes),
            });
        self.placers().sums(&cells.collect::<Vec<_>>())
    }
}

/// Codes of other levels as codes of `levels`.
fn recode(codes: &[u32], own: &[String], levels: &[String]) -> Vec<u32> {
    let of: HashMap<&str, u32> = levels.iter().map(String::as_str).zip(0..).collect();
    let new = |level: &String| of.get(level.as_str()).copied();
    let new: Vec<u32> = own
        .iter()
        .map(|l| new(l).unwrap_or(bantam_data::UNSEEN))
        .collect();
    let code = |&c: &u32| if c == MISSING { c } else { new[c as usize] };
    codes.iter().map(code).collect()
}

/// Cells to be placed.
#[derive(Clone, Copy)]
pub(crate) enum Cells<'a> {
    Numbers(&'a [f64]),
    Codes(&'a [u32]),
}

impl Cells<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Cells::Numbers(v) => v.len(),
            Cells::Codes(v) => v.len(),
        }
    }
}

impl<'a> From<&'a ChunkColumn> for Cells<'a> {
    fn from(column: &'a ChunkColumn) -> Cells<'a> {
        match column {
            ChunkColumn::Numbers(v) => Cells::Numbers(v),
            ChunkColumn::Codes(v) => Cells::Codes(v),
        }
    }
}

/// The rows that a reader of a file larger than memory would keep for its sample.
fn sample(n: usize, seed: u64) -> Vec<usize> {
    // Only hashes that may be among the least are kept.
    let share = 1.1 * FIT_ROWS as f64 / n as f64 + 1e-9;
    let cut = if share < 1.0 {
        (share * u64::MAX as f64) as u64
    } else {
        u64::MAX
    };
    let hashed = |cut: u64| -> Vec<(u64, usize)> {
        let rows = (0..n).into_par_iter().map(|i| (hash(seed, i as u64), i));
        rows.filter(|h| h.0 <= cut).collect()
    };
    let mut kept = hashed(cut);
    if kept.len() <= FIT_ROWS {
        kept = hashed(u64::MAX);
    }
    kept.select_nth_unstable(FIT_ROWS);
    let mut rows: Vec<usize> = kept[..FIT_ROWS].iter().map(|&(_, i)| i).collect();
    rows.sort_unstable();
    rows
}

fn marks(values: &Values) -> Marks {
    match values {
        Values::Numeric(v) => {
            let mut keys: Vec<(u64, f64)> = v
                .iter()
                .filter(|x| !x.is_nan())
                .map(|&x| (sortable(x), x + 0.0))
                .collect();
            keys.sort_unstable_by_key(|k| k.0);
            let mut distinct: Vec<(f64, u64)> = Vec::new();
            for group in keys.chunk_by(|a, b| a.0 == b.0) {
                distinct.push((group[0].1, group.len() as u64));
            }
            let counts: Vec<u64> = distinct.iter().map(|d| d.1).collect();
            let places = middles(&counts);
            let kept = thinned(&counts);
            Marks::Numbers {
                values: kept.iter().map(|&i| distinct[i].0).collect(),
                places: kept.iter().map(|&i| places[i]).collect(),
            }
        }
        Values::Categorical { codes, levels } => {
            let mut counts = vec![0u64; levels.len() + 1];
            for &code in codes {
                counts[if code == MISSING {
                    levels.len()
                } else {
                    code as usize
                }] += 1;
            }
            let mut order: Vec<usize> = (0..counts.len()).filter(|&l| counts[l] > 0).collect();
            sort_indices(&mut order, &mut |a, b| counts[b].cmp(&counts[a]));
            let sorted: Vec<u64> = order.iter().map(|&level| counts[level]).collect();
            let mut places = vec![UNSEEN_LEVEL; counts.len()];
            for (&level, place) in order.iter().zip(middles(&sorted)) {
                places[level] = place;
            }
            Marks::Levels {
                missing: places.pop().expect("one more than levels"),
                levels: levels.clone(),
                places,
            }
        }
    }
}

/// The middle of each value's share of the rows; one value is at 0, two are at 0 and 1.
fn middles(counts: &[u64]) -> Vec<u64> {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    let place = |(i, &count): (usize, &u64)| {
        let middle = u128::from(2 * below + count) << 32;
        below += count;
        match counts.len() {
            1 => 0,
            2 => i as u64 * ONE,
            _ => (middle / u128::from(2 * total)) as u64,
        }
    };
    counts.iter().enumerate().map(place).collect()
}

/// Indices of the values that get a mark: all, or those at equal steps of the rows, ends included.
fn thinned(counts: &[u64]) -> Vec<usize> {
    if counts.len() <= MOST_MARKS {
        return (0..counts.len()).collect();
    }
    let total: u64 = counts.iter().sum();
    let steps = QUANTILES - 1;
    let (mut at, mut up_to) = (0, counts[0]);
    let mut kept = Vec::with_capacity(QUANTILES as usize);
    for step in 0..=steps {
        let row = (u128::from(total - 1) * u128::from(step) / u128::from(steps)) as u64;
        while up_to <= row {
            at += 1;
            up_to += counts[at];
        }
        if kept.last() != Some(&at) {
            kept.push(at);
        }
    }
    kept
}

/// A ruler made ready for many rows.
pub(crate) struct Placers<'a>(Vec<Placer<'a>>);

impl Placers<'_> {
    /// Sum of the places of each row.
    ///
    /// # Panics
    /// When the columns are not those that [`Ruler::layout`] says.
    pub(crate) fn sums(&self, columns: &[Cells]) -> Vec<u64> {
        assert_eq!(columns.len(), self.0.len(), "a ruler fits its own columns");
        let n = columns.first().map_or(0, Cells::len);
        let mut sums = vec![0u64; n];
        let block = |(i, sums): (usize, &mut [u64])| {
            let rows = i * BLOCK..i * BLOCK + sums.len();
            for (placer, column) in self.0.iter().zip(columns) {
                placer.add(column, rows.clone(), sums);
            }
        };
        sums.par_chunks_mut(BLOCK).enumerate().for_each(block);
        sums
    }

    /// Adds the places of some cells of column `at` to the sums of their rows. Returns how many are missing.
    ///
    /// # Panics
    /// When the column is not the one that [`Ruler::layout`] says, or the lengths differ.
    pub(crate) fn add(&self, at: usize, cells: &Cells, sums: &mut [u64]) -> u64 {
        self.0[at].add(cells, 0..cells.len(), sums)
    }
}

/// Marks made ready for many cells.
enum Placer<'a> {
    Numbers(Search),
    Levels { places: &'a [u64], missing: u64 },
}

/// Places numbers. A grid over the range, from a cell below the least mark to one above the largest, has the
/// lines between marks; where that is more than a bend, the marks of the cell are searched.
struct Search {
    lines: PiecewiseLinear,
    /// Marks that lie in cells before each one, and in it: `before << 16 | within`.
    marks: Vec<u32>,
    /// What lies below the first mark, and what follows from each.
    spans: Vec<Span>,
}

/// From a mark to the next.
#[derive(Clone, Copy)]
struct Span {
    from: f64,
    /// Place a unit of the number.
    slope: f64,
    place: u64,
    /// From the place of this mark to that of the next, a whole number.
    room: f64,
}

impl<'a> Placer<'a> {
    fn of(marks: &'a Marks) -> Placer<'a> {
        match marks {
            Marks::Numbers { values, places } => Placer::Numbers(Search::of(values, places)),
            Marks::Levels {
                places, missing, ..
            } => Placer::Levels {
                places,
                missing: *missing,
            },
        }
    }

    /// Adds the places of `rows` to `sums`. Returns how many cells are missing.
    fn add(&self, column: &Cells, rows: std::ops::Range<usize>, sums: &mut [u64]) -> u64 {
        match (self, column) {
            (Placer::Numbers(search), Cells::Numbers(values)) => search.add(&values[rows], sums),
            (Placer::Levels { places, missing }, Cells::Codes(codes)) => {
                let mut n_missing = 0;
                for (sum, &code) in sums.iter_mut().zip(&codes[rows]) {
                    *sum += match places.get(code as usize) {
                        Some(place) => *place,
                        None if code == MISSING => {
                            n_missing += 1;
                            *missing
                        }
                        None => UNSEEN_LEVEL,
                    };
                }
                n_missing
            }
            _ => panic!("numbers are placed among numbers and categories among categories"),
        }
    }
}

impl Search {
    fn of(values: &[f64], places: &[u64]) -> Search {
        let grid = grid(values);
        let mut marks = vec![0u32; CELLS];
        values.iter().for_each(|&x| marks[grid.find(x).0] += 1);
        let mut before = 0;
        for marks in &mut marks {
            let within = *marks;
            *marks = before << 16 | within;
            before += within;
        }
        let spans = spans(values, places);
        let pieces = marks.iter().enumerate();
        let pieces = pieces.map(|(cell, &marks)| piece(grid, cell, marks, &spans));
        Search {
            lines: PiecewiseLinear::new(grid, pieces.collect()),
            marks,
            spans,
        }
    }

    /// Adds the places of `values` to `sums`. Returns how many are missing.
    fn add(&self, values: &[f64], sums: &mut [u64]) -> u64 {
        let missing = Cell::new(0);
        self.lines.add_to(values, sums, &|x| {
            missing.set(missing.get() + u64::from(x.is_nan()));
            self.searched(x)
        });
        missing.get()
    }

    /// The place of `x`, among the marks of its cell.
    fn searched(&self, x: f64) -> u64 {
        if x.is_nan() || self.spans.len() == 1 {
            return MISSING_NUMBER;
        }
        let marks = self.marks[self.lines.grid().find(x).0];
        let (first, marks) = ((marks >> 16) as usize, marks as usize & 0xffff);
        // Marks of later cells are larger than `x`.
        let below = self.spans[first + 1..][..marks].partition_point(|s| s.from <= x);
        let span = self.spans[first + below];
        let more = (x - span.from) * span.slope;
        // Behind the last mark, which has no slope, there is one place; at the mark is no number.
        span.place + more.max(0.0).min(span.room).round_ties_even() as u64
    }
}

/// The grid over marks: one cell for what lies below all and one for what lies above.
fn grid(values: &[f64]) -> Grid {
    let (low, high) = match values {
        [low, .., high] => (*low, *high),
        _ => (0.0, 0.0),
    };
    let scale = (CELLS as f64 - 3.0) / (high - low);
    // Without a range all numbers are in one cell.
    let (low, scale) = match scale.is_finite() && scale > 0.0 {
        true => (low, scale),
        false => (0.0, 0.0),
    };
    let count = CELLS;
    Grid { low, scale, count }
}

/// What places the numbers of a cell.
fn piece(grid: Grid, cell: usize, marks: u32, spans: &[Span]) -> Piece {
    let searched = Piece {
        knot: f64::NAN,
        slopes: [0.0; 2],
        value: 0.0,
    };
    let (before, within) = ((marks >> 16) as usize, marks as usize & 0xffff);
    let all = spans.len() - 1;
    // The place jumps at the first mark and at the last.
    let jumps = within == 1 && (before == 0 || before + 1 == all);
    if within > 1 || jumps || grid.scale == 0.0 {
        return searched;
    }
    let (below, above) = (&spans[before], &spans[before + within]);
    let value = above.place as f64;
    if before + within == 0 || before == all {
        return Piece {
            knot: 0.0,
            value: value + above.room,
            ..searched
        };
    }
    let slopes = [above.slope / grid.scale, below.slope / grid.scale];
    if !slopes.iter().all(|s| s.is_finite()) {
        return searched;
    }
    let (at, from) = grid.find(above.from);
    Piece {
        knot: at as f64 - cell as f64 + from,
        slopes,
        value,
    }
}

/// What lies below the first mark, between two, and beyond the last.
fn spans(values: &[f64], places: &[u64]) -> Vec<Span> {
    let below = Span {
        from: f64::NEG_INFINITY,
        slope: 0.0,
        place: 0,
        room: 0.0,
    };
    let last = values.len().saturating_sub(1);
    let after = |i: usize| match values.get(i + 1) {
        // The slope is 0 where the distance of two marks is no number.
        Some(next) => {
            let room = (places[i + 1] - places[i]) as f64;
            (room / (next - values[i]), room)
        }
        None if last > 0 => (f64::INFINITY, (ONE - places[i]) as f64),
        None => (0.0, 0.0),
    };
    let spans = (0..values.len()).map(|i| {
        let (slope, room) = after(i);
        Span {
            from: values[i],
            slope,
            place: places[i],
            room,
        }
    });
    std::iter::once(below).chain(spans).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(column: &Column, cells: &Column) -> Vec<u64> {
        Ruler::fit(std::slice::from_ref(column), 0).sums_of(std::slice::from_ref(cells))
    }

    #[test]
    fn places_of_cells() {
        let nan = f64::NAN;
        let number = |v: Vec<f64>| Column::numeric("c", v);
        let text = |v: &[Option<&str>]| Column::categorical("c", v);
        let cases = [
            (
                "numbers",
                number(vec![5.0, 1.0, 5.0, 9.0]),
                number(vec![1.0, 5.0, 9.0, 3.0, 0.0, 10.0, nan]),
                vec![
                    ONE / 8,
                    ONE / 2,
                    7 * ONE / 8,
                    5 * ONE / 16,
                    0,
                    ONE,
                    3 * ONE / 2,
                ],
            ),
            (
                "two",
                number(vec![5.0, nan, 3.0]),
                number(vec![3.0, 5.0, nan, 4.0, 7.0]),
                vec![0, ONE, 3 * ONE / 2, ONE / 2, ONE],
            ),
            (
                "one",
                number(vec![5.0]),
                number(vec![5.0, 6.0, 4.0]),
                vec![0, 0, 0],
            ),
            (
                "no numbers",
                number(vec![nan]),
                number(vec![nan, 4.0]),
                vec![3 * ONE / 2, 3 * ONE / 2],
            ),
            (
                "frequency",
                text(&[Some("a"), Some("b"), Some("b"), None]),
                text(&[Some("a"), Some("b"), None, Some("c")]),
                vec![5 * ONE / 8, ONE / 4, 7 * ONE / 8, ONE],
            ),
            (
                "there or not",
                text(&[Some("a"), None]),
                text(&[Some("a"), None]),
                vec![0, ONE],
            ),
            (
                "far apart",
                number(vec![-f64::MAX, 0.0, f64::MAX]),
                number(vec![-f64::MAX, 0.0, 1.0, f64::MAX]),
                vec![ONE / 6, ONE / 2, ONE / 2, 5 * ONE / 6],
            ),
        ];
        for (name, column, cells, expected) in cases {
            assert_eq!(places(&column, &cells), expected, "{name}");
        }
    }

    /// The slow twin of the search: looks at every mark.
    fn reference_place(values: &[f64], places: &[u64], x: f64) -> u64 {
        if x.is_nan() {
            return MISSING_NUMBER;
        }
        let Some(below) = values.iter().rposition(|v| *v <= x) else {
            return 0;
        };
        if below + 1 == values.len() {
            return if x > values[below] && values.len() > 1 {
                ONE
            } else {
                places[below]
            };
        }
        let slope =
            (places[below + 1] - places[below]) as f64 / (values[below + 1] - values[below]);
        let more = ((x - values[below]) * slope).round_ties_even() as u64;
        (places[below] + more).min(places[below + 1])
    }

    /// Numbers to fit a ruler on and others near them: evenly spread, whole, or of all sizes.
    fn numbers() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        let of = |some: BoxedStrategy<f64>| {
            let many = prop::collection::vec(some.clone(), 1..400);
            (
                many,
                prop::collection::vec(some.prop_map(|x| 1.5 * x), 1..100),
            )
        };
        prop_oneof![
            of((-1e3f64..1e3).boxed()),
            of((-50i32..50).prop_map(f64::from).boxed()),
            of(prop_oneof![-1e3f64..1e3, Just(0.5), -1e300f64..1e300].boxed()),
        ]
    }

    proptest! {
        #[test]
        fn places_agree_with_their_slow_twin((mut fit, cells) in numbers()) {
            let cells: Vec<f64> = cells.into_iter().chain(fit.iter().copied()).collect();
            let found = places(&Column::numeric("c", fit.clone()), &Column::numeric("c", cells.clone()));
            fit.sort_unstable_by(f64::total_cmp);
            let Marks::Numbers { values, places } = marks(&Values::Numeric(fit)) else { unreachable!() };
            for (&x, found) in cells.iter().zip(found) {
                let expected = reference_place(&values, &places, x);
                // Marks have their own places, other numbers are on a line between them.
                let off = if values.contains(&x) { 0 } else { 1 };
                prop_assert!(found.abs_diff(expected) <= off, "{}: {} for {}", x, found, expected);
            }
        }
    }

    #[test]
    fn many_numbers_keep_their_order_and_nearly_their_rank() {
        let n = 50_000u64;
        let value = |i: u64| ((hash(1, i) >> 20) as f64).powi(3);
        let values: Vec<f64> = (0..n).map(value).collect();
        let column = Column::numeric("c", values.clone());
        let Marks::Numbers { values: kept, .. } = marks(&column.values) else {
            panic!("numbers")
        };
        assert_eq!(kept.len() as u64, QUANTILES);
        let found = places(&column, &column);
        let mut order: Vec<usize> = (0..n as usize).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        assert!(order.windows(2).all(|w| found[w[0]] < found[w[1]]));
        for (rank, &row) in order.iter().enumerate() {
            let off = found[row] as f64 / ONE as f64 - (rank as f64 + 0.5) / n as f64;
            assert!(off.abs() < 1.0 / QUANTILES as f64, "{rank}: {off}");
        }
    }
}
