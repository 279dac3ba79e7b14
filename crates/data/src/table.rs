//! Typed columns in memory.
//!
//! A [`Table`] is what every reader of tabular files makes. All its columns have the same number
//! of rows and different names; a column is numeric or categorical as a whole.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result, nearest};
use bantam_core::order::sort_by;

/// The code of a missing cell in a categorical column.
pub const MISSING: u32 = u32::MAX;

/// The values of a column, one per row.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Finite numbers; a missing cell is NaN.
    Numeric(Vec<f64>),
    /// Text out of a small set.
    Categorical {
        /// Index into `levels` per row; a missing cell is [`MISSING`].
        codes: Vec<u32>,
        /// The distinct texts: sorted as numbers when all are numbers, else by bytes.
        levels: Vec<String>,
    },
}

/// A named column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, not empty.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// Columns of equal length with different names.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: usize,
    notices: Vec<String>,
}

impl Values {
    /// Number of cells.
    pub fn len(&self) -> usize {
        match self {
            Values::Numeric(v) => v.len(),
            Values::Categorical { codes, .. } => codes.len(),
        }
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the cell of `row` is missing.
    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Values::Numeric(v) => v[row].is_nan(),
            Values::Categorical { codes, .. } => codes[row] == MISSING,
        }
    }

    /// Number of missing cells.
    pub fn missing(&self) -> usize {
        match self {
            Values::Numeric(v) => v.iter().filter(|x| x.is_nan()).count(),
            Values::Categorical { codes, .. } => codes.iter().filter(|&&c| c == MISSING).count(),
        }
    }

    /// Whether there is a value, and no other.
    pub fn is_constant(&self) -> bool {
        fn one<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
            values
                .next()
                .is_some_and(|first| values.all(|x| x == first))
        }
        match self {
            Values::Numeric(v) => one(v.iter().filter(|x| !x.is_nan())),
            Values::Categorical { codes, .. } => one(codes.iter().filter(|&&c| c != MISSING)),
        }
    }

    /// Number of distinct values that are not missing.
    pub fn distinct(&self) -> usize {
        match self {
            Values::Numeric(v) => {
                let bits = |x: &f64| (x + 0.0).to_bits(); // -0.0 and 0.0 are the same number
                let mut all: Vec<u64> = v.iter().filter(|x| !x.is_nan()).map(bits).collect();
                all.sort_unstable();
                all.dedup();
                all.len()
            }
            Values::Categorical { codes, levels } => {
                let mut seen = vec![false; levels.len()];
                for &code in codes.iter().filter(|&&c| c != MISSING) {
                    seen[code as usize] = true;
                }
                seen.iter().filter(|&&s| s).count()
            }
        }
    }

    /// The cells of `rows`, in that order. Levels are kept, used or not.
    ///
    /// # Panics
    /// When a row is out of range.
    pub fn select(&self, rows: &[usize]) -> Values {
        match self {
            Values::Numeric(v) => Values::Numeric(rows.iter().map(|&r| v[r]).collect()),
            Values::Categorical { codes, levels } => Values::Categorical {
                codes: rows.iter().map(|&r| codes[r]).collect(),
                levels: levels.clone(),
            },
        }
    }
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<String>, values: Values) -> Column {
        Column {
            name: name.into(),
            values,
        }
    }

    /// A numeric column; NaN is a missing cell.
    pub fn numeric(name: impl Into<String>, values: Vec<f64>) -> Column {
        Column::new(name, Values::Numeric(values))
    }

    /// A categorical column from its texts; `None` is a missing cell.
    pub fn categorical<S: AsRef<str>>(name: impl Into<String>, cells: &[Option<S>]) -> Column {
        let mut builder = Levels::default();
        for cell in cells {
            match cell {
                Some(text) => builder.push(text.as_ref()),
                None => builder.push_missing(),
            }
        }
        Column::new(name, builder.finish())
    }
}

impl Table {
    /// A table; errs when lengths differ, a name is empty or given twice, a number is infinite or a
    /// code has no level.
    pub fn new(columns: Vec<Column>) -> Result<Table> {
        let rows = columns.first().map_or(0, |c| c.values.len());
        let mut names = HashSet::new();
        for column in &columns {
            if column.name.is_empty() {
                return Err(Error::new(ErrorKind::Column, "a column has no name"));
            }
            if !names.insert(column.name.as_str()) {
                return Err(duplicate(&column.name));
            }
            check(column, rows).map_err(|e| e.in_column(&column.name))?;
        }
        Ok(Table {
            columns,
            rows,
            notices: Vec::new(),
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the order of the file.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The names of the columns, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str())
    }

    /// The column called `name`; errs with the nearest name when there is none.
    pub fn column(&self, name: &str) -> Result<&Column> {
        let found = self.columns.iter().find(|c| c.name == name);
        found.ok_or_else(|| unknown(name, self.names()))
    }

    /// The rows of `rows`, in that order; notices are not carried over.
    ///
    /// # Panics
    /// When a row is out of range.
    pub fn select(&self, rows: &[usize]) -> Table {
        let columns = self.columns.iter();
        Table {
            columns: columns
                .map(|c| Column::new(c.name.clone(), c.values.select(rows)))
                .collect(),
            rows: rows.len(),
            notices: Vec::new(),
        }
    }

    /// What a reader wants the user to know, a sentence each: how a column was read, and why.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Gives a categorical column more levels, used or not, in the order of levels.
    pub(crate) fn widen_levels(&mut self, name: &str, more: &[String]) {
        let column = self.columns.iter_mut().find(|c| c.name == name);
        let Some(Values::Categorical { codes, levels }) = column.map(|c| &mut c.values) else {
            return;
        };
        let old = std::mem::take(levels);
        *levels = old
            .iter()
            .chain(more)
            .cloned()
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        sort_levels(levels);
        let place: std::collections::HashMap<&str, u32> =
            levels.iter().map(String::as_str).zip(0..).collect();
        for code in codes.iter_mut().filter(|c| **c != MISSING) {
            *code = place[old[*code as usize].as_str()];
        }
    }

    /// Adds a sentence to the notices.
    pub(crate) fn notice(&mut self, text: String) {
        self.notices.push(text);
    }
}

/// The error of a column that is not there, with the nearest name as the hint.
pub(crate) fn unknown<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.collect();
    let error = Error::new(ErrorKind::Column, format!("there is no column {name:?}"));
    match nearest(name, names.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean {near:?}?")),
        None => {
            let shown = names.iter().take(20).map(|n| format!("{n:?}"));
            let mut list = shown.collect::<Vec<_>>().join(", ");
            if names.len() > 20 {
                list.push_str(", ...");
            }
            error.with_hint(format!("the columns are {list}"))
        }
    }
}

/// The error of a name given twice.
pub(crate) fn duplicate(name: &str) -> Error {
    Error::new(ErrorKind::Column, "the name is given to two columns")
        .in_column(name)
        .with_hint("rename one of them in the header, or say that there is no header")
}

fn check(column: &Column, rows: usize) -> Result<()> {
    if column.values.len() != rows {
        let message = format!("expected {rows} rows, found {}", column.values.len());
        return Err(Error::new(ErrorKind::Shape, message));
    }
    let wrong = match &column.values {
        Values::Numeric(v) => v.iter().position(|x| x.is_infinite()),
        Values::Categorical { codes, levels } => codes
            .iter()
            .position(|&c| c != MISSING && c as usize >= levels.len()),
    };
    match wrong {
        None => Ok(()),
        Some(row) => {
            let message = format!("row {row} holds an infinite number or a code without a level");
            Err(Error::new(ErrorKind::Value, message))
        }
    }
}

/// Collects the cells of a categorical column.
#[derive(Default)]
pub(crate) struct Levels {
    codes: Vec<u32>,
    of: std::collections::HashMap<Box<str>, u32>,
}

impl Levels {
    /// A column that begins with `n` missing cells.
    pub(crate) fn with_missing(n: usize) -> Levels {
        Levels {
            codes: vec![MISSING; n],
            ..Levels::default()
        }
    }

    pub(crate) fn push(&mut self, text: &str) {
        let code = match self.of.get(text) {
            Some(&code) => code,
            None => {
                let code = self.of.len() as u32;
                self.of.insert(text.into(), code);
                code
            }
        };
        self.codes.push(code);
    }

    pub(crate) fn push_missing(&mut self) {
        self.codes.push(MISSING);
    }

    /// The column with its levels in order, whatever the order of the rows was.
    pub(crate) fn finish(self) -> Values {
        let mut levels: Vec<String> = self.of.keys().map(|text| text.to_string()).collect();
        sort_levels(&mut levels);
        let mut new_code = vec![0; levels.len()];
        for (new, text) in levels.iter().enumerate() {
            new_code[self.of[text.as_str()] as usize] = new as u32;
        }
        let mut codes = self.codes;
        for code in codes.iter_mut().filter(|c| **c != MISSING) {
            *code = new_code[*code as usize];
        }
        Values::Categorical { codes, levels }
    }
}

/// Sorts as numbers when all are numbers, else by bytes.
pub fn sort_levels(levels: &mut [String]) {
    let number = |text: &String| text.parse::<f64>().ok().filter(|x| x.is_finite());
    sort_by(levels, |a, b| a.cmp(b));
    if levels.iter().all(|text| number(text).is_some()) {
        sort_by(levels, |a, b| {
            number(a).partial_cmp(&number(b)).expect("finite")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(vec![
            Column::numeric("age", vec![1.0, f64::NAN, 3.0]),
            Column::categorical("sex", &[Some("m"), Some("f"), None]),
        ])
        .unwrap()
    }

    #[test]
    fn levels_are_sorted() {
        let Values::Categorical { codes, levels } = &table().column("sex").unwrap().values.clone()
        else {
            panic!("not categorical")
        };
        assert_eq!(levels, &["f", "m"]);
        assert_eq!(codes, &[1, 0, MISSING]);
        let numbers = Column::categorical("n", &[Some("10"), Some("9"), Some("-1")]);
        let Values::Categorical { levels, .. } = numbers.values else {
            panic!("not categorical")
        };
        assert_eq!(levels, ["-1", "9", "10"]);
    }

    #[test]
    fn counts() {
        let t = table();
        assert_eq!(t.rows(), 3);
        let (age, sex) = (&t.columns()[0].values, &t.columns()[1].values);
        assert_eq!((age.missing(), age.distinct()), (1, 2));
        assert_eq!((sex.missing(), sex.distinct()), (1, 2));
        assert!(sex.is_missing(2) && !sex.is_missing(0));
        assert!(!age.is_constant() && !sex.is_constant());
        assert_eq!(Values::Numeric(vec![0.0, -0.0]).distinct(), 1);
        let constant = |v: &[f64]| Values::Numeric(v.to_vec()).is_constant();
        assert!(constant(&[f64::NAN, 0.0, -0.0]) && !constant(&[1.0, f64::NAN, 2.0]));
        assert!(!constant(&[f64::NAN]) && !constant(&[]));
    }

    #[test]
    fn selects_rows_in_order() {
        let t = table().select(&[2, 0, 0]);
        assert_eq!(t.rows(), 3);
        assert_eq!(t.columns()[0].values, Values::Numeric(vec![3.0, 1.0, 1.0]));
        assert!(t.columns()[1].values.is_missing(0));
    }

    #[test]
    fn refuses() {
        let one = |v: Vec<f64>| Column::numeric("a", v);
        let cases = [
            (
                vec![one(vec![1.0]), one(vec![2.0])],
                "column \"a\": the name is given to two columns",
            ),
            (
                vec![one(vec![1.0]), Column::numeric("b", vec![])],
                "column \"b\": expected 1 rows, found 0",
            ),
            (vec![Column::numeric("", vec![])], "a column has no name"),
            (
                vec![one(vec![f64::INFINITY])],
                "column \"a\": row 0 holds an infinite number",
            ),
        ];
        for (columns, text) in cases {
            let error = Table::new(columns).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
        }
        let error = table().column("agee").unwrap_err();
        assert_eq!(error.to_string(), "there is no column \"agee\"");
        assert_eq!(error.hint(), Some("did you mean \"age\"?"));
    }
}
