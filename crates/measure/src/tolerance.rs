//! Numbers as targets: a tolerance makes cells of them, and each cell is a class.
//!
//! How many bits a number takes depends on how exact it has to be, so there is no one figure without a
//! tolerance. Over several of them there is a curve.

use bantam_data::{Table, Values};

use crate::bits::{entropy_bits, null_changes};
use crate::error::{Error, ErrorKind, Result};
use crate::null::{moments, shuffled};
use crate::problem::{Options, Problem, check_class_count};
use crate::random::sample;
use crate::threshold::threshold_sort;
use crate::tree::Trunk;

/// Tolerances of the curve, in standard deviations of the target.
const STEPS: [f64; 6] = [2.0, 1.0, 0.5, 0.25, 0.125, 0.0625];
/// Most rows that the curve is made on.
const MOST_ROWS: usize = 2_000;
/// Shuffles behind the null of the tree.
const SHUFFLES: usize = 5;

/// What a number takes at one tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TolerancePoint {
    /// Half the width of a cell, in units of the target.
    pub tolerance: f64,
    /// Cells with a row.
    pub cells: usize,
    /// Bits a row that name the cell.
    pub entropy_bits: f64,
    /// Changes of cell along the sorted sum of the typed columns.
    pub changes: usize,
    /// Changes expected of a random order.
    pub null: f64,
    /// Splits of a tree that answers every row with its cell.
    pub memorise: usize,
    /// Splits with shuffled cells, mean of 5 draws.
    pub tree_null: f64,
    /// Rows that were used.
    pub rows: usize,
}

/// Class ids and names of the cells of `goal` in `rows`: cells are twice the tolerance wide and begin at
/// the least value.
///
/// Errs when the target is text, the tolerance is not a positive number, or there are too many cells.
pub(crate) fn cells(
    goal: &Values,
    rows: &[usize],
    tolerance: f64,
) -> Result<(Vec<u32>, Vec<String>)> {
    let Values::Numeric(v) = goal else {
        let message = "expected a number to predict within a tolerance, found text";
        return Err(Error::new(ErrorKind::NotClasses, message));
    };
    if !(tolerance.is_finite() && tolerance > 0.0) {
        let message = format!("expected a tolerance above 0, found {tolerance}");
        return Err(Error::new(ErrorKind::Value, message));
    }
    let width = 2.0 * tolerance;
    let low = rows.iter().map(|&r| v[r]).fold(f64::INFINITY, f64::min);
    let cell = |r: usize| ((v[r] - low) / width).floor();
    let mut used: Vec<f64> = rows.iter().map(|&r| cell(r)).collect();
    used.sort_unstable_by(f64::total_cmp);
    used.dedup();
    check_class_count(used.len())
        .map_err(|e| e.with_hint("a larger tolerance makes fewer cells"))?;
    let id = |r: usize| {
        let at = used.binary_search_by(|c| c.total_cmp(&cell(r)));
        at.expect("every cell is there") as u32
    };
    let name = |c: &f64| format!("{} to {}", low + c * width, low + (c + 1.0) * width);
    Ok((
        rows.iter().map(|&r| id(r)).collect(),
        used.iter().map(name).collect(),
    ))
}

/// What a number takes at tolerances from 2 to 1/16 of its standard deviation, as far as there are not
/// too many cells.
///
/// Errs when the target is text or constant, or no column is left.
pub fn tolerance_curve(
    table: &Table,
    target: &str,
    options: &Options,
    seed: u64,
) -> Result<Vec<TolerancePoint>> {
    let Values::Numeric(v) = &table.column(target)?.values else {
        let message = "expected a number to predict, found text";
        return Err(Error::new(ErrorKind::NotClasses, message));
    };
    let there: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
    let (_, deviation) = moments(&there);
    if deviation.is_nan() || deviation <= 0.0 {
        let message = "expected different numbers, found only one";
        return Err(Error::new(ErrorKind::NotClasses, message));
    }
    let sampled = table.select(&sample(table.rows(), MOST_ROWS, seed));
    let mut points = Vec::new();
    for step in STEPS {
        let tolerance = step * deviation;
        let at = Options {
            tolerance: Some(tolerance),
            ..options.clone()
        };
        let problem = match Problem::from_table(&sampled, target, &at) {
            Ok(problem) => problem,
            Err(e) if e.kind() == ErrorKind::NotClasses => break,
            Err(e) => return Err(e),
        };
        if problem.classes.len() > 1 {
            points.push(point(&problem, tolerance, seed));
        }
    }
    Ok(points)
}

fn point(problem: &Problem, tolerance: f64, seed: u64) -> TolerancePoint {
    let counts = problem.class_counts();
    let trunk = Trunk::new(problem, usize::MAX);
    let rows: Vec<u32> = (0..problem.rows() as u32).collect();
    let draws: Vec<f64> = (0..SHUFFLES)
        .map(|i| trunk.splits(rows.clone(), &shuffled(&problem.labels, seed, i)) as f64)
        .collect();
    TolerancePoint {
        tolerance,
        cells: problem.classes.len(),
        entropy_bits: entropy_bits(&counts),
        changes: threshold_sort(problem, 0, seed).changes,
        null: null_changes(&counts),
        memorise: trunk.splits(rows.clone(), &problem.labels),
        tree_null: moments(&draws).0,
        rows: problem.rows(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;
    use bantam_data::Column;

    #[test]
    fn cells_of_numbers() {
        let goal = Values::Numeric(vec![1.0, 1.9, 2.0, 7.5, f64::NAN, 2.5]);
        let (ids, names) = cells(&goal, &[0, 1, 2, 3, 5], 0.5).unwrap();
        assert_eq!(ids, [0, 0, 1, 2, 1]);
        assert_eq!(names, ["1 to 2", "2 to 3", "7 to 8"]);
        for (tolerance, says) in [(0.0, "above 0"), (f64::NAN, "above 0")] {
            let error = cells(&goal, &[0, 1], tolerance).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let many = Values::Numeric((0..2000).map(f64::from).collect());
        let error = cells(&many, &(0..2000).collect::<Vec<_>>(), 0.1).unwrap_err();
        assert_eq!(error.hint(), Some("a larger tolerance makes fewer cells"));
    }

    /// Half the tolerance is a bit more a row for a number that is spread evenly, and a rule shows at
    /// every tolerance that it is exact at.
    #[test]
    fn the_curve() {
        let n = 1000u64;
        let x: Vec<f64> = (0..n)
            .map(|i| (hash(1, i) % 100_000) as f64 / 1000.0)
            .collect();
        let y: Vec<f64> = x.iter().map(|x| 3.0 * x + 1.0).collect();
        let noise: Vec<f64> = (0..n).map(|i| (hash(2, i) % 100_000) as f64).collect();
        let table = Table::new(vec![
            Column::numeric("x", x),
            Column::numeric("y", y),
            Column::numeric("z", noise),
        ]);
        let table = table.unwrap();
        let curve = |target: &str, drop: &str| {
            let options = Options {
                drop: vec![drop.to_owned()],
                ..Options::default()
            };
            tolerance_curve(&table, target, &options, 1).unwrap()
        };
        let rule = curve("y", "z");
        assert_eq!(rule.len(), 5, "at two deviations there is one range");
        for pair in rule.windows(2).skip(1) {
            assert!(
                (pair[1].entropy_bits - pair[0].entropy_bits - 1.0).abs() < 0.35,
                "{rule:?}"
            );
        }
        for p in &rule {
            assert_eq!(p.memorise, p.cells - 1, "one column in order: {p:?}");
        }
        for p in curve("z", "y") {
            let ratio = p.memorise as f64 / p.tree_null;
            assert!((0.85..1.15).contains(&ratio), "{p:?}");
        }
    }
}
