//! What a caller may say about a file that its bytes do not.

use std::path::PathBuf;

/// How to read a file. The default asks nothing of the user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The byte between two fields; found out from the first lines when not given.
    pub delimiter: Option<u8>,
    /// Whether the first row names the columns; found out from the first rows when not given.
    pub header: Option<bool>,
    /// Lines that begin with this byte are skipped.
    pub comment: Option<u8>,
    /// Columns that are read; all when there are none here.
    pub columns: Vec<String>,
    /// Columns that are numeric; a cell that is not a number is then an error.
    pub numeric: Vec<String>,
    /// Columns that are categorical, whatever their cells look like.
    pub categorical: Vec<String>,
    /// Texts that mean a missing cell, beside the empty one, `?`, `NA` and `NaN` in any case.
    pub missing: Vec<String>,
    /// The file of labels that belongs to a NumPy or IDX file, when it cannot be guessed.
    pub labels: Option<PathBuf>,
    /// Longest record of a delimited file.
    pub max_record_bytes: u64,
    /// Most columns of a table.
    pub max_columns: usize,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions {
            delimiter: None,
            header: None,
            comment: None,
            columns: Vec::new(),
            numeric: Vec::new(),
            categorical: Vec::new(),
            missing: Vec::new(),
            labels: None,
            max_record_bytes: 64 << 20,
            max_columns: 1 << 16,
        }
    }
}

impl ReadOptions {
    /// Whether the column called `name` is to be read.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.columns.is_empty() || self.columns.iter().any(|c| c == name)
    }

    /// Whether `cell` stands for a missing value.
    pub fn is_missing(&self, cell: &str) -> bool {
        match cell.len() {
            0 => true,
            1 => cell == "?" || self.missing.iter().any(|m| m == cell),
            _ => {
                cell == "NA"
                    || (cell.len() == 3 && cell.eq_ignore_ascii_case("nan"))
                    || self.missing.iter().any(|m| m == cell)
            }
        }
    }
}

/// The number that `cell` spells, which may be infinite; NaN is no number.
pub(crate) fn number(cell: &str) -> Option<f64> {
    cell.parse::<f64>().ok().filter(|x| !x.is_nan())
}
