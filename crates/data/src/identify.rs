//! Columns that a network should not see: identifiers, constants and the like.
//!
//! A name or a ticket number lets a network memorise rows without learning anything about the next
//! one. Such columns are found by counting, listed with the reason, and left out unless the caller
//! asks for them.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::table::{Table, Values, unknown};

/// A column that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Name of the column.
    pub column: String,
    /// Why it is left out.
    pub reason: Reason,
}

/// Why a column is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No cell has a value.
    AllMissing,
    /// All cells have the same value.
    Constant,
    /// Text that is different in nearly every row.
    Identifier {
        /// Number of distinct values.
        distinct: usize,
        /// Number of cells that are not missing.
        cells: usize,
    },
    /// Whole numbers that count the rows.
    Counter,
    /// Text with too many values to learn from.
    ManyLevels {
        /// Number of distinct values.
        distinct: usize,
        /// Number of cells that are not missing.
        cells: usize,
    },
    /// The caller asked for it.
    Dropped,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::AllMissing => f.write_str("every cell is missing"),
            Reason::Constant => f.write_str("every cell has the same value"),
            Reason::Identifier { distinct, cells } => {
                write!(
                    f,
                    "an identifier: {distinct} different values in {cells} cells"
                )
            }
            Reason::Counter => f.write_str("an identifier: whole numbers that count the rows"),
            Reason::ManyLevels { distinct, cells } => {
                write!(f, "too many categories: {distinct} in {cells} cells")
            }
            Reason::Dropped => f.write_str("left out on request"),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {:?} is left out: {}", self.column, self.reason)
    }
}

/// Most categories of a column that is kept.
const MOST_LEVELS: usize = 64;
/// With fewer cells than this, "all are different" says nothing.
const FEWEST_CELLS: usize = 20;

/// The columns, other than the target, that should be left out, in the order of the table.
///
/// - no value, or one value;
/// - text with more than 90 % distinct among its cells, an identifier;
/// - whole numbers, all distinct, that ascend or descend with the rows or fill at least half of
///   their range: a counter;
/// - text with more than 50 % distinct, or more than 64 categories.
///
/// The rules on distinct values need at least 20 cells. Missing cells are not counted.
pub fn identifiers(table: &Table, target: &str) -> Vec<LeftOut> {
    let features = table.columns().iter().filter(|c| c.name != target);
    features
        .filter_map(|column| {
            let reason = reason(&column.values)?;
            let column = column.name.clone();
            Some(LeftOut { column, reason })
        })
        .collect()
}

/// The names of the features: all columns but the target, those in `drop` and the
/// [`identifiers`] that are not in `keep`; and what is left out.
///
/// Errs when a name is unknown or nothing remains.
pub fn features(
    table: &Table,
    target: &str,
    keep: &[String],
    drop: &[String],
) -> Result<(Vec<String>, Vec<LeftOut>)> {
    for name in keep.iter().chain(drop) {
        table.column(name)?;
    }
    table.column(target)?;
    if let Some(name) = keep.iter().find(|name| drop.contains(name)) {
        let message = "the column is asked to be both kept and dropped";
        return Err(Error::new(ErrorKind::Argument, message).in_column(name));
    }
    let found = identifiers(table, target);
    let mut kept = Vec::new();
    let mut left_out = Vec::new();
    for name in table.names().filter(|name| *name != target) {
        let asked = |names: &[String]| names.iter().any(|n| n == name);
        let reason = found.iter().find(|l| l.column == name).map(|l| l.reason);
        let reason = match reason {
            _ if asked(drop) => Some(Reason::Dropped),
            Some(reason) if reason == Reason::AllMissing || !asked(keep) => Some(reason),
            _ => None,
        };
        match reason {
            None => kept.push(name.to_owned()),
            Some(reason) => left_out.push(LeftOut {
                column: name.to_owned(),
                reason,
            }),
        }
    }
    if kept.is_empty() {
        let mut message = "no column is left to learn from".to_owned();
        for l in left_out.iter().take(5) {
            message += &format!("; {l}");
        }
        let error = Error::new(ErrorKind::Column, message);
        return Err(error.with_hint("name the columns to keep all the same"));
    }
    Ok((kept, left_out))
}

/// Checks that every name of `columns` is in the table.
pub(crate) fn check_known(table: &Table, columns: &[String]) -> Result<()> {
    match columns
        .iter()
        .find(|name| table.names().all(|n| n != *name))
    {
        None => Ok(()),
        Some(name) => Err(unknown(name, table.names())),
    }
}

fn reason(values: &Values) -> Option<Reason> {
    let cells = values.len() - values.missing();
    if cells == 0 {
        return Some(Reason::AllMissing);
    }
    if values.is_constant() {
        // A value that is there in some rows only may say something by that.
        return (cells == values.len()).then_some(Reason::Constant);
    }
    match values {
        Values::Numeric(v) => {
            let counts = cells >= FEWEST_CELLS && is_counter(v) && values.distinct() == cells;
            counts.then_some(Reason::Counter)
        }
        Values::Categorical { .. } => {
            let (many, distinct) = (cells >= FEWEST_CELLS, values.distinct());
            if many && distinct * 10 > cells * 9 {
                Some(Reason::Identifier { distinct, cells })
            } else if distinct > MOST_LEVELS || (many && distinct * 2 > cells) {
                Some(Reason::ManyLevels { distinct, cells })
            } else {
                None
            }
        }
    }
}

/// Whether numbers, if they are distinct, are whole and in the order of the rows, or dense in their range.
fn is_counter(v: &[f64]) -> bool {
    let numbers: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
    if numbers.iter().any(|x| x.fract() != 0.0) {
        return false;
    }
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let dense = (high - low + 1.0) <= 2.0 * numbers.len() as f64;
    dense || numbers.is_sorted() || numbers.is_sorted_by(|a, b| a >= b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    fn texts(f: impl Fn(usize) -> Option<String>) -> Vec<Option<String>> {
        (0..100).map(f).collect()
    }

    #[test]
    fn finds() {
        let name = |i: usize| Some(format!("n{i}"));
        let number = |f: &dyn Fn(usize) -> f64| Column::numeric("x", (0..100).map(f).collect());
        let text = |cells: Vec<Option<String>>| Column::categorical("x", &cells);
        let cases = [
            ("nothing", number(&|_| f64::NAN), Some(Reason::AllMissing)),
            ("one value", number(&|_| 4.0), Some(Reason::Constant)),
            (
                "one value or none",
                number(&|i| [4.0, f64::NAN][i % 2]),
                None,
            ),
            ("ids", number(&|i| 1000.0 + i as f64), Some(Reason::Counter)),
            (
                "shuffled ids",
                number(&|i| ((i * 37) % 100) as f64),
                Some(Reason::Counter),
            ),
            (
                "sorted",
                number(&|i| -((i * i) as f64)),
                Some(Reason::Counter),
            ),
            ("amounts", number(&|i| ((i * 7919) % 100_003) as f64), None),
            ("measurements", number(&|i| i as f64 + 0.5), None),
            (
                "names",
                text(texts(name)),
                Some(Reason::Identifier {
                    distinct: 100,
                    cells: 100,
                }),
            ),
            (
                "cabins",
                text(texts(|i| (i < 50).then(|| format!("{}", i / 2)))),
                None,
            ),
            (
                "tickets",
                text(texts(|i| Some(format!("t{}", i * 3 / 4)))),
                Some(Reason::ManyLevels {
                    distinct: 75,
                    cells: 100,
                }),
            ),
            ("sex", text(texts(|i| Some(["m", "f"][i % 2].into()))), None),
        ];
        for (name, column, expected) in cases {
            let table = Table::new(vec![column]).unwrap();
            let found = identifiers(&table, "y");
            assert_eq!(found.first().map(|l| l.reason), expected, "{name}");
        }
        let few = Column::categorical("x", &[Some("a"), Some("b"), Some("c")]);
        assert_eq!(identifiers(&Table::new(vec![few]).unwrap(), "y"), []);
    }

    #[test]
    fn callers_have_the_last_word() {
        let ids = (0..100).map(f64::from).collect();
        let table = Table::new(vec![
            Column::numeric("id", ids),
            Column::numeric("x", (0..100).map(|i| f64::from(i % 7)).collect()),
            Column::numeric("y", (0..100).map(|i| f64::from(i % 2)).collect()),
        ])
        .unwrap();
        let run = |keep: &[&str], drop: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|s| s.to_string()).collect::<Vec<_>>();
            features(&table, "y", &own(keep), &own(drop))
        };
        let (kept, left_out) = run(&[], &[]).unwrap();
        assert_eq!(kept, ["x"]);
        assert_eq!(
            left_out[0].to_string(),
            "column \"id\" is left out: an identifier: whole numbers that count the rows"
        );
        assert_eq!(run(&["id"], &[]).unwrap().0, ["id", "x"]);
        assert_eq!(run(&["id"], &["x"]).unwrap().0, ["id"]);
        let error = run(&[], &["x"]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no column is left to learn from; column \"id\"")
        );
        assert!(
            run(&["x"], &["x"])
                .unwrap_err()
                .to_string()
                .contains("both kept and dropped")
        );
        assert_eq!(
            run(&["xx"], &[]).unwrap_err().hint(),
            Some("did you mean \"x\"?")
        );
    }
}
