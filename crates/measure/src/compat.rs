//! The threshold sort as published figures have it, on the texts of a file as they are.
//!
//! A text that spells a finite number is that number, an empty one is 0, and any other is the CRC-32
//! of its bytes without double quotes. Rows are added up in `f64` from left to right, so sums that
//! differ by rounding only are different. Identifiers are in, and swamp the sum: on most tables this
//! measures their texts.

use bantam_data::{Column, Values};

use crate::error::{Error, ErrorKind, Result};
use crate::threshold::{Method, ThresholdSort, keys_of, sort_keys};

/// The texts of a delimited file, spaces and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTable {
    /// Names of the columns: those of the header, or `c0`, `c1`, ...
    pub names: Vec<String>,
    /// Cells of each row.
    pub rows: Vec<Vec<String>>,
}

impl RawTable {
    /// Reads UTF-8 text without changing any cell; errs when it is ragged or not UTF-8.
    pub fn from_csv(text: &[u8], delimiter: u8, has_header: bool) -> Result<RawTable> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .from_reader(text);
        let failed = |e: csv::Error| Error::new(ErrorKind::Format, e.to_string()).because(e);
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(failed)?;
            rows.push(record.iter().map(str::to_owned).collect::<Vec<String>>());
        }
        let width = rows.first().map_or(0, Vec::len);
        let names = if has_header && !rows.is_empty() {
            rows.remove(0)
        } else {
            (0..width).map(|i| format!("c{i}")).collect()
        };
        Ok(RawTable { names, rows })
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.names.iter().position(|n| n == name);
        found.ok_or_else(|| Error::new(ErrorKind::Column, format!("there is no column {name:?}")))
    }
}

/// Threshold sort of the texts of `columns`, or of all but `target`; every distinct text of `target`
/// is a class. `draws` shuffles of the labels give the permutation null.
///
/// Errs when a column is unknown or there are no rows.
pub fn compat_sort(
    table: &RawTable,
    target: &str,
    columns: Option<&[&str]>,
    draws: usize,
    seed: u64,
) -> Result<ThresholdSort> {
    let goal = table.index(target)?;
    let columns: Vec<usize> = match columns {
        Some(names) => names
            .iter()
            .map(|n| table.index(n))
            .collect::<Result<_>>()?,
        None => (0..table.names.len()).filter(|&c| c != goal).collect(),
    };
    if table.rows.is_empty() {
        return Err(Error::new(ErrorKind::Rows, "there are no rows"));
    }
    let goals: Vec<Option<&str>> = table.rows.iter().map(|r| Some(r[goal].as_str())).collect();
    let Values::Categorical {
        codes: labels,
        levels,
    } = Column::categorical("y", &goals).values
    else {
        unreachable!("made from texts")
    };
    let mut counts = vec![0; levels.len()];
    for &label in &labels {
        counts[label as usize] += 1;
    }
    let sum = |row: &Vec<String>| columns.iter().fold(0.0, |sum, &c| sum + number(&row[c]));
    let sums: Vec<f64> = table.rows.iter().map(sum).collect();
    if let Some(row) = sums.iter().position(|s| !s.is_finite()) {
        return Err(Error::new(ErrorKind::Value, "the sum of the row is not finite").at_row(row));
    }
    let (method, width) = (Method::Compat, columns.len());
    Ok(sort_keys(
        method,
        keys_of(sums),
        &labels,
        &counts,
        width,
        (draws, seed),
    ))
}

/// The number a text stands for.
fn number(text: &str) -> f64 {
    if text.is_empty() {
        return 0.0;
    }
    let spelled = text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
    spelled.unwrap_or_else(|| {
        let mut crc = crc32fast::Hasher::new();
        text.split('"').for_each(|part| crc.update(part.as_bytes()));
        f64::from(crc.finalize())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::{generalization, memorised};

    fn titanic() -> RawTable {
        let text = include_bytes!("../../../data/titanic.csv");
        RawTable::from_csv(text, b',', true).unwrap()
    }

    const SIX: &[&str] = &["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare"];
    const FOUR: &[&str] = &["Sex", "SibSp", "Parch", "Pclass"];

    #[test]
    fn cells() {
        let crc = |s: &str| f64::from(crc32fast::hash(s.as_bytes()));
        let cases = [
            ("", 0.0),
            ("7", 7.0),
            ("-1.5e3", -1500.0),
            (" 7", 7.0),
            ("male", crc("male")),
            ("a \"b\" c", crc("a b c")),
            (" ", crc(" ")),
            ("inf", crc("inf")),
            ("NaN", crc("NaN")),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn titanic_as_published() {
        let all = titanic();
        assert_eq!((all.rows.len(), all.names.len()), (891, 12));
        let first = RawTable {
            names: all.names.clone(),
            rows: all.rows[..800].to_vec(),
        };
        let cases: [(&str, &RawTable, Option<&[&str]>, _); 5] = [
            ("all", &all, None, (419, 891)),
            ("six", &all, Some(SIX), (224, 856)),
            ("four", &all, Some(FOUR), (1, 721)),
            ("first 800", &first, None, (379, 800)),
            ("first 800, id", &first, Some(&["PassengerId"]), (374, 800)),
        ];
        for (name, table, columns, expected) in cases {
            let found = compat_sort(table, "Survived", columns, 0, 0).unwrap();
            assert_eq!((found.changes, found.correct), expected, "{name}");
        }
        let found = compat_sort(&all, "Survived", None, 20, 1).unwrap();
        assert!((found.null - 421.4545).abs() < 5e-5);
        let permuted = found.permuted.unwrap();
        assert!(
            permuted.low < 419.0 && 419.0 < permuted.high,
            "{permuted:?}"
        );
    }

    #[test]
    fn titanic_figures_to_four_digits() {
        let counts = [549, 342];
        let h = crate::bits::entropy_bits(&counts);
        let cases: [(Option<&[&str]>, &str, &str); 3] = [
            (None, "2.043", "99.42"),
            (Some(SIX), "3.671", "55.32"),
            (Some(FOUR), "692.7", "0.29"),
        ];
        for (columns, g, percent) in cases {
            let found = compat_sort(&titanic(), "Survived", columns, 0, 0).unwrap();
            let bits = found.changes as f64;
            let digits = g.len() - 1 - g.find('.').unwrap();
            let found_g = generalization(found.correct, h, bits).unwrap();
            assert_eq!(format!("{found_g:.digits$}"), g);
            let share = memorised(found.correct, &counts, bits).unwrap();
            assert_eq!(format!("{:.2}", 100.0 * share), percent);
        }
    }

    #[test]
    fn refuses() {
        let table = RawTable::from_csv(b"1,a\n2,b\n", b',', false).unwrap();
        assert_eq!(table.names, ["c0", "c1"]);
        let kind = |r: Result<ThresholdSort>| r.unwrap_err().kind();
        assert_eq!(
            kind(compat_sort(&table, "c2", None, 0, 0)),
            ErrorKind::Column
        );
        assert_eq!(
            kind(compat_sort(&table, "c1", Some(&["x"]), 0, 0)),
            ErrorKind::Column
        );
        let empty = RawTable::from_csv(b"a,b\n", b',', true).unwrap();
        assert_eq!(kind(compat_sort(&empty, "a", None, 0, 0)), ErrorKind::Rows);
        let huge = RawTable::from_csv(b"1.7e308,1.7e308,0\n", b',', false).unwrap();
        let error = compat_sort(&huge, "c2", None, 0, 0).unwrap_err();
        assert_eq!(error.to_string(), "row 0: the sum of the row is not finite");
        let ragged = RawTable::from_csv(b"1,2\n3\n", b',', false).unwrap_err();
        assert_eq!(ragged.kind(), ErrorKind::Format);
    }
}
