//! What a table was like: a sample of its rows in a small file, to compare others with later.
//!
//! A profile is JSON. It holds rows of the table, so it is as confidential as the table is.

use std::path::Path;

use bantam_data::{Column, MISSING, ReadOptions, Sampling, Table, Values, sample_table};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Version of the file.
const VERSION: u32 = 1;
/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// A sample of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Where it came from.
    pub source: String,
    /// Rows of the whole table.
    pub rows: u64,
    /// The sample.
    pub table: Table,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    bantam_profile: u32,
    source: String,
    rows: u64,
    columns: Vec<StoredColumn>,
}

/// Either numbers, or levels and codes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredColumn {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbers: Option<Vec<Option<f64>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<Option<u32>>>,
}

impl Profile {
    /// Samples at most `most` rows of a CSV or Parquet file of any size.
    ///
    /// Errs as the readers do.
    pub fn sample(path: &Path, options: &ReadOptions, most: usize, seed: u64) -> Result<Profile> {
        let target = None;
        let sample = sample_table(path, options, Sampling { most, seed, target })?;
        Ok(Profile {
            source: path.display().to_string(),
            rows: sample.rows,
            table: sample.table,
        })
    }

    /// Whether a file begins as profiles do.
    pub fn is_one(path: &Path) -> bool {
        use std::io::Read;
        let mut begin = [0u8; 64];
        let read = std::fs::File::open(path).and_then(|mut f| f.read(&mut begin));
        let begin = &begin[..read.unwrap_or(0)];
        let text: String = String::from_utf8_lossy(begin).split_whitespace().collect();
        text.starts_with("{\"bantam_profile\":")
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        let column = |c: &Column| {
            let name = c.name.clone();
            let (mut numbers, mut levels, mut codes) = (None, None, None);
            match &c.values {
                Values::Numeric(v) => {
                    let number = |&x: &f64| (!x.is_nan()).then_some(x);
                    numbers = Some(v.iter().map(number).collect());
                }
                Values::Categorical {
                    codes: c,
                    levels: l,
                } => {
                    let code = |&c: &u32| (c != MISSING).then_some(c);
                    (levels, codes) = (Some(l.clone()), Some(c.iter().map(code).collect()));
                }
            }
            StoredColumn {
                name,
                numbers,
                levels,
                codes,
            }
        };
        let stored = Stored {
            bantam_profile: VERSION,
            source: self.source.clone(),
            rows: self.rows,
            columns: self.table.columns().iter().map(column).collect(),
        };
        serde_json::to_string(&stored).expect("numbers are finite and keys are texts") + "\n"
    }

    /// Reads what [`Profile::to_json`] wrote.
    ///
    /// Errs when the file is missing, too large, or not a profile.
    pub fn read(path: &Path) -> Result<Profile> {
        let at = |e: std::io::Error| {
            Error::new(ErrorKind::Io, format!("{}: {e}", path.display())).because(e)
        };
        let length = std::fs::metadata(path).map_err(at)?.len();
        if length > MAX_BYTES {
            let message = format!("{}: a profile of {length} bytes", path.display());
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let bytes = std::fs::read(path).map_err(at)?;
        Profile::from_json(&bytes).map_err(|e| {
            let message = format!("{}: damaged profile: {e}", path.display());
            Error::new(ErrorKind::Format, message)
        })
    }

    fn from_json(bytes: &[u8]) -> Result<Profile> {
        let failed = |e: serde_json::Error| Error::new(ErrorKind::Format, e.to_string());
        let stored: Stored = serde_json::from_slice(bytes).map_err(failed)?;
        if stored.bantam_profile != VERSION {
            let message = format!(
                "expected version {VERSION}, found {}",
                stored.bantam_profile
            );
            return Err(Error::new(ErrorKind::Format, message));
        }
        let columns: Result<Vec<Column>> = stored.columns.into_iter().map(column).collect();
        let table = Table::new(columns?)?;
        if table.rows() == 0 || stored.rows < table.rows() as u64 {
            let message = format!("{} rows of {}", table.rows(), stored.rows);
            return Err(Error::new(ErrorKind::Rows, message));
        }
        Ok(Profile {
            source: stored.source,
            rows: stored.rows,
            table,
        })
    }
}

fn column(c: StoredColumn) -> Result<Column> {
    let values = match (c.numbers, c.levels, c.codes) {
        (Some(numbers), None, None) => {
            Values::Numeric(numbers.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
        }
        (None, Some(levels), Some(codes)) => Values::Categorical {
            // A code that stands for no level is found by the table.
            codes: codes.into_iter().map(|c| c.unwrap_or(MISSING)).collect(),
            levels,
        },
        _ => {
            let message = "expected numbers, or levels and codes";
            return Err(Error::new(ErrorKind::Format, message).in_column(&c.name));
        }
    };
    Ok(Column::new(c.name, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;

    fn profile() -> Profile {
        let x = vec![1.5, f64::NAN, -2e300, 1.0 / 3.0];
        let texts = [Some("a, \"b\""), None, Some("é"), Some("a, \"b\"")];
        Profile {
            source: "t.csv".into(),
            rows: 10,
            table: Table::new(vec![
                Column::numeric("x", x),
                Column::categorical("c", &texts),
            ])
            .unwrap(),
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        std::fs::write(&path, profile().to_json()).unwrap();
        assert!(Profile::is_one(&path));
        let found = Profile::read(&path).unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", profile()));
        std::fs::write(&path, "x,y\n1,2\n").unwrap();
        assert!(!Profile::is_one(&path));
        assert!(!Profile::is_one(&dir.path().join("absent")));
    }

    #[test]
    fn damage_is_an_error_or_harmless() {
        let good = profile().to_json().into_bytes();
        for cut in 0..good.len() - 1 {
            assert!(Profile::from_json(&good[..cut]).is_err(), "{cut}");
        }
        for round in 0..5000u64 {
            let mut bad = good.clone();
            let at = hash(round, 0) as usize % bad.len();
            bad[at] = match hash(round, 1) % 3 {
                0 => hash(round, 2) as u8,
                1 => b"0123456789-.eE,:\"[]{}n"[hash(round, 2) as usize % 22],
                _ => bad[at] ^ 1 << (hash(round, 2) % 8),
            };
            let _ = Profile::from_json(&bad);
        }
        for (from, to, message) in [
            (
                "\"bantam_profile\":1",
                "\"bantam_profile\":2",
                "expected version 1, found 2",
            ),
            ("\"rows\":10", "\"rows\":3", "4 rows of 3"),
            (
                "[0,null",
                "[9,null",
                "column \"c\": row 0 holds an infinite number or a code",
            ),
            (
                "null,-2e+300",
                "-2e+300",
                "column \"c\": expected 3 rows, found 4",
            ),
        ] {
            let text = String::from_utf8(good.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            let error = Profile::from_json(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
    }
}
