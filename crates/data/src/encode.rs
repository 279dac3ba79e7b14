//! Applies a [`Schema`]: to tables in memory and to records as they are read.

use std::collections::HashMap;

use bantam_core::Tensor;
use bantam_core::schema::{Encoding, InputSchema, Schema, TargetKind, TargetSchema, normalise};

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::options::{ReadOptions, number};
use crate::records::{Record, not_a_number};
use crate::table::{Column, MISSING, Table, Values, unknown};

/// What is to be predicted, one per row.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Indices of classes.
    Classes(Vec<i64>),
    /// Normalised numbers: `(y - offset) * scale`.
    Numbers(Vec<f32>),
}

/// What to do with a category that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unseen {
    /// It is an error that names it and the known ones.
    #[default]
    Error,
    /// All its features are 0.
    Zero,
}

impl Targets {
    /// No targets yet, of the kind that `classes` says: 0 for numbers.
    pub fn empty(classes: usize) -> Targets {
        match classes {
            0 => Targets::Numbers(Vec::new()),
            _ => Targets::Classes(Vec::new()),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Targets::Classes(v) => v.len(),
            Targets::Numbers(v) => v.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The indices of classes, if that is what is predicted.
    pub fn classes(&self) -> Option<&[i64]> {
        match self {
            Targets::Classes(v) => Some(v),
            Targets::Numbers(_) => None,
        }
    }

    /// The normalised numbers, if that is what is predicted.
    pub fn numbers(&self) -> Option<&[f32]> {
        match self {
            Targets::Numbers(v) => Some(v),
            Targets::Classes(_) => None,
        }
    }

    /// The targets of `rows`, in that order.
    ///
    /// # Panics
    /// When a row is out of range.
    pub fn select(&self, rows: &[usize]) -> Targets {
        match self {
            Targets::Classes(v) => Targets::Classes(rows.iter().map(|&r| v[r]).collect()),
            Targets::Numbers(v) => Targets::Numbers(rows.iter().map(|&r| v[r]).collect()),
        }
    }

    /// Replaces `out` by the targets of `rows`, keeping its memory where the kind is the same.
    pub(crate) fn read(&self, rows: &[usize], out: &mut Targets) {
        match (self, out) {
            (Targets::Classes(v), Targets::Classes(out)) => gather(v, rows, out),
            (Targets::Numbers(v), Targets::Numbers(out)) => gather(v, rows, out),
            (_, out) => *out = self.select(rows),
        }
    }
}

fn gather<T: Copy>(from: &[T], rows: &[usize], to: &mut Vec<T>) {
    to.clear();
    to.extend(rows.iter().map(|&r| from[r]));
}

/// Encodes the rows of `rows`: a tensor `[rows, width]` and the targets.
///
/// Errs when a column or the target is missing from the table or of the wrong type, when the target
/// of a row is missing or an unknown class, or when a category is unknown and `unseen` says so.
pub fn encode(
    table: &Table,
    schema: &Schema,
    rows: &[usize],
    unseen: Unseen,
) -> Result<(Tensor, Targets)> {
    let x = encode_inputs(table, schema, rows, unseen)?;
    Ok((x, targets(table, &schema.target, rows)?))
}

/// The first half of [`encode`], for tables without the target.
pub fn encode_inputs(
    table: &Table,
    schema: &Schema,
    rows: &[usize],
    unseen: Unseen,
) -> Result<Tensor> {
    let InputSchema::Table { columns } = &schema.input else {
        return Err(not_for_tables());
    };
    let width = schema.width();
    let shape = [rows.len(), width];
    let count = bantam_core::tensor::element_count(&shape);
    let count = count.map_err(|e| Error::new(ErrorKind::Limit, e.to_string()))?;
    let mut x = Vec::new();
    x.try_reserve_exact(count)
        .map_err(|e| Error::new(ErrorKind::Limit, format!("{count} features: {e}")))?;
    x.resize(count, 0.0);
    let mut first = 0;
    for column in columns {
        let cells = table.column(&column.name)?;
        let out = Strided {
            x: &mut x,
            first,
            width,
        };
        fill(cells, &column.encoding, rows, unseen, out).map_err(|e| e.in_column(&column.name))?;
        first += column.encoding.width();
    }
    Tensor::new(&shape, x).map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))
}

/// The targets of `rows`: indices of classes or normalised numbers.
///
/// Errs when the column is missing or a cell of it, or holds an unknown class.
pub fn targets(table: &Table, schema: &TargetSchema, rows: &[usize]) -> Result<Targets> {
    let column = table.column(&schema.name)?;
    let missing = |row: usize| {
        let error = Error::new(ErrorKind::Target, "expected a target, found a missing cell");
        let error = error.in_row(row).in_column(&column.name);
        error.with_hint("leave out rows without a target")
    };
    if let Some(&row) = rows.iter().find(|&&row| column.values.is_missing(row)) {
        return Err(missing(row));
    }
    match (&schema.kind, &column.values) {
        (TargetKind::Number { offset, scale }, Values::Numeric(v)) => {
            let y = rows.iter().map(|&r| normalise(v[r], *offset, *scale));
            Ok(Targets::Numbers(y.collect()))
        }
        (TargetKind::Number { .. }, Values::Categorical { .. }) => {
            let error = Error::new(ErrorKind::Target, "expected numbers, found text");
            Err(error.in_column(&column.name))
        }
        (TargetKind::Classes(classes), values) => {
            let known = lookup(classes);
            let class = |text: &str| match known.get(text) {
                Some(&i) => Ok(i as i64),
                None => Err(unknown_category(text, classes, "class").in_column(&column.name)),
            };
            let y: Result<Vec<i64>> = match values {
                Values::Numeric(v) => rows.iter().map(|&r| class(&spelled(v[r]))).collect(),
                Values::Categorical { codes, levels } => {
                    let of_level: Vec<_> = levels.iter().map(|l| known.get(l.as_str())).collect();
                    let of_row = |&r: &usize| match of_level[codes[r] as usize] {
                        Some(&i) => Ok(i as i64),
                        None => class(&levels[codes[r] as usize]),
                    };
                    rows.iter().map(of_row).collect()
                }
            };
            Ok(Targets::Classes(y?))
        }
    }
}

/// A number as classes are named: without a fraction when it is whole.
fn spelled(x: f64) -> String {
    match x {
        0.0 => "0".into(),
        x => x.to_string(),
    }
}

fn lookup(names: &[String]) -> HashMap<&str, usize> {
    names
        .iter()
        .enumerate()
        .map(|(i, n)| (n.as_str(), i))
        .collect()
}

/// The way out of an unknown category.
const ZEROS: &str = "unknown categories can be read as zeros";

fn not_for_tables() -> Error {
    let error = Error::new(
        ErrorKind::Argument,
        "expected images or arrays, found a table",
    );
    error.with_hint("the network was not trained on a table")
}

fn unknown_category(found: &str, known: &[String], what: &str) -> Error {
    let mut list = known
        .iter()
        .take(20)
        .map(|c| quoted(c))
        .collect::<Vec<_>>()
        .join(", ");
    if known.len() > 20 {
        list += &format!(", ... ({} in all)", known.len());
    }
    let message = format!("unknown {what} {}, expected one of {list}", quoted(found));
    Error::new(ErrorKind::Value, message)
}

/// The columns of a row-major matrix from `first` on.
struct Strided<'a> {
    x: &'a mut [f32],
    first: usize,
    width: usize,
}

impl Strided<'_> {
    fn set(&mut self, row: usize, feature: usize, value: f32) {
        self.x[row * self.width + self.first + feature] = value;
    }
}

fn fill(
    column: &Column,
    encoding: &Encoding,
    rows: &[usize],
    unseen: Unseen,
    mut out: Strided<'_>,
) -> Result<()> {
    match (encoding, &column.values) {
        (
            Encoding::Numeric {
                offset,
                scale,
                missing,
            },
            Values::Numeric(v),
        ) => {
            for (i, &row) in rows.iter().enumerate() {
                if !v[row].is_nan() {
                    out.set(i, 0, normalise(v[row], *offset, *scale));
                } else if *missing {
                    out.set(i, 1, 1.0);
                }
            }
            Ok(())
        }
        (Encoding::Numeric { .. }, Values::Categorical { codes, levels }) => {
            // A column without any value has no type of its own.
            match rows.iter().find(|&&row| codes[row] != MISSING) {
                None => {
                    let nothing = Column::numeric("", vec![f64::NAN; codes.len()]);
                    fill(&nothing, encoding, rows, unseen, out)
                }
                Some(&row) => {
                    let found = quoted(&levels[codes[row] as usize]);
                    let message = format!("expected a number, found {found}");
                    Err(Error::new(ErrorKind::Value, message).in_row(row))
                }
            }
        }
        (Encoding::OneHot { categories, .. }, values) => {
            let known = lookup(categories);
            let feature = |text: &str, row: usize| match (known.get(text), unseen) {
                (Some(&category), _) => Ok(one_feature(encoding, category)),
                (None, Unseen::Zero) => Ok(None),
                (None, Unseen::Error) => {
                    let error = unknown_category(text, categories, "category").in_row(row);
                    Err(error.with_hint(ZEROS))
                }
            };
            let missing = missing_feature(encoding);
            for (i, &row) in rows.iter().enumerate() {
                let set = match values {
                    values if values.is_missing(row) => missing,
                    Values::Numeric(v) => feature(&spelled(v[row]), row)?,
                    Values::Categorical { codes, levels } => {
                        feature(&levels[codes[row] as usize], row)?
                    }
                };
                if let Some(feature) = set {
                    out.set(i, feature, 1.0);
                }
            }
            Ok(())
        }
    }
}

/// The feature that is 1 for a category; none for the first of two.
fn one_feature(encoding: &Encoding, category: usize) -> Option<usize> {
    match encoding.is_binary() {
        true => category.checked_sub(1),
        false => Some(category),
    }
}

/// The feature that is 1 for a missing cell of a one-hot column.
fn missing_feature(encoding: &Encoding) -> Option<usize> {
    match encoding {
        Encoding::OneHot {
            categories,
            missing: true,
        } => Some(categories.len()),
        Encoding::Numeric { missing: true, .. } => Some(1),
        _ => None,
    }
}

/// Encodes records one at a time, as they come from a stream.
pub struct RowEncoder {
    columns: Vec<Source>,
    target: Option<usize>,
    schema: TargetSchema,
    classes: HashMap<String, usize>,
    width: usize,
    unseen: Unseen,
    options: ReadOptions,
    notices: Vec<String>,
}

/// Where a column is in the records, and how it is encoded.
struct Source {
    index: usize,
    name: String,
    encoding: Encoding,
    known: HashMap<String, usize>,
}

impl RowEncoder {
    /// An encoder for records with these columns. Unknown categories are errors and missing cells
    /// are written as by default; see [`with`](RowEncoder::with).
    ///
    /// Errs when a column of the schema is not in `header`, and when the schema is not that of a
    /// table. Columns that the schema does not need are listed in [`notices`](RowEncoder::notices).
    pub fn new(schema: &Schema, header: &[String]) -> Result<RowEncoder> {
        let InputSchema::Table { columns } = &schema.input else {
            return Err(not_for_tables());
        };
        let owned = |names: &[String]| -> HashMap<String, usize> {
            names.iter().cloned().zip(0..).collect()
        };
        let places = owned(header);
        let mut sources = Vec::with_capacity(columns.len());
        for column in columns {
            let Some(&index) = places.get(&column.name) else {
                return Err(missing_column(&column.name, header));
            };
            let known = match &column.encoding {
                Encoding::OneHot { categories, .. } => owned(categories),
                Encoding::Numeric { .. } => HashMap::new(),
            };
            sources.push(Source {
                index,
                name: column.name.clone(),
                encoding: column.encoding.clone(),
                known,
            });
        }
        let needed: std::collections::HashSet<&str> =
            columns.iter().map(|c| c.name.as_str()).collect();
        let extra = header
            .iter()
            .filter(|name| !needed.contains(name.as_str()) && **name != schema.target.name)
            .map(|name| quoted(name))
            .collect::<Vec<_>>();
        let mut notices = Vec::new();
        if !extra.is_empty() {
            let list = extra.join(", ");
            notices.push(format!(
                "columns that the network does not use are ignored: {list}"
            ));
        }
        Ok(RowEncoder {
            columns: sources,
            target: places.get(&schema.target.name).copied(),
            schema: schema.target.clone(),
            classes: owned(schema.target.classes()),
            width: schema.width(),
            unseen: Unseen::Error,
            options: ReadOptions::default(),
            notices,
        })
    }

    /// The same encoder with another treatment of unknown categories and other texts for missing
    /// cells, those of `options`.
    pub fn with(self, unseen: Unseen, options: &ReadOptions) -> RowEncoder {
        RowEncoder {
            unseen,
            options: options.clone(),
            ..self
        }
    }

    /// Number of features of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether the records hold the target, so that answers can be scored.
    pub fn has_target(&self) -> bool {
        self.target.is_some()
    }

    /// What the user should know, a sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Appends the features of `record` to `x`; `x` is as before when it errs.
    ///
    /// Errs, with line and column, when a cell is not a number or not a known category.
    pub fn encode(&self, record: &Record, x: &mut Vec<f32>) -> Result<()> {
        let begin = x.len();
        let result = self.append(record, x);
        if result.is_err() {
            x.truncate(begin);
        }
        result
    }

    /// The target of `record`: none when it has no such column or the cell is missing. A class is
    /// its index, a number is normalised.
    ///
    /// Errs, with line and column, when the cell is not a number or not a known class.
    pub fn target(&self, record: &Record) -> Result<Option<Target>> {
        let cell = match self.target.map(|i| record.cell(i)) {
            Some(cell) if !self.options.is_missing(cell) => cell,
            _ => return Ok(None),
        };
        match &self.schema.kind {
            TargetKind::Number { offset, scale } => {
                let y = self.finite(cell, &self.schema.name, record)?;
                Ok(Some(Target::Number(normalise(y, *offset, *scale))))
            }
            TargetKind::Classes(classes) => match find(&self.classes, cell) {
                Some(class) => Ok(Some(Target::Class(class as i64))),
                None => {
                    let error = unknown_category(cell, classes, "class");
                    Err(error.at_line(record.line()).in_column(&self.schema.name))
                }
            },
        }
    }

    fn append(&self, record: &Record, x: &mut Vec<f32>) -> Result<()> {
        for column in &self.columns {
            let cell = record.cell(column.index);
            let begin = x.len();
            x.resize(begin + column.encoding.width(), 0.0);
            let features = &mut x[begin..];
            if self.options.is_missing(cell) {
                if let Some(feature) = missing_feature(&column.encoding) {
                    features[feature] = 1.0;
                }
                continue;
            }
            match &column.encoding {
                Encoding::Numeric { offset, scale, .. } => {
                    let value = self.finite(cell, &column.name, record)?;
                    features[0] = normalise(value, *offset, *scale);
                }
                Encoding::OneHot { categories, .. } => match column.known.get(cell).copied() {
                    Some(category) => {
                        if let Some(feature) = one_feature(&column.encoding, category) {
                            features[feature] = 1.0;
                        }
                    }
                    None if self.unseen == Unseen::Zero => {}
                    None => {
                        let error = unknown_category(cell, categories, "category");
                        let error = error.at_line(record.line()).in_column(&column.name);
                        return Err(error.with_hint(ZEROS));
                    }
                },
            }
        }
        Ok(())
    }

    fn finite(&self, cell: &str, column: &str, record: &Record) -> Result<f64> {
        let value = number(cell).filter(|x| x.is_finite());
        value.ok_or_else(|| not_a_number(cell, column, record.line()))
    }
}

/// What is to be predicted for one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Index of a class.
    Class(i64),
    /// A normalised number.
    Number(f32),
}

/// The index of `cell`, which may be spelled as another whole number: `1.0` or `01` for `1`.
fn find(known: &HashMap<String, usize>, cell: &str) -> Option<usize> {
    let exact = known.get(cell).copied();
    exact.or_else(|| number(cell).and_then(|x| known.get(&spelled(x)).copied()))
}

fn missing_column(name: &str, header: &[String]) -> Error {
    let error = unknown(name, header.iter().map(String::as_str));
    let near = error.hint().unwrap_or_default().to_owned();
    let message = format!("the column {name:?} that the network needs is missing");
    let numbered = header.first().is_some_and(|h| h == "c0");
    Error::new(ErrorKind::Column, message).with_hint(match numbered {
        true => "the file seems to have no header row".to_owned(),
        false => near,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delimited::read_delimited_bytes;
    use crate::fit::fit_schema;
    use crate::records::Records;

    const TEXT: &str = "age,sex,port,rare,fare,y\n\
        22,m,S,a,7.25,no\n38,f,C,b,71,yes\n,f,,c,8,yes\n35,m,Q,?,1e2,no\n54,f,S,d,0.5,no\n";

    fn table(text: &str) -> Table {
        read_delimited_bytes(text.as_bytes(), &ReadOptions::default()).unwrap()
    }

    fn schema() -> Schema {
        let columns = ["age", "sex", "port", "rare", "fare"].map(String::from);
        fit_schema(&table(TEXT), "y", &columns, &[0, 1, 2, 3]).unwrap()
    }

    fn stream(text: &str, unseen: Unseen) -> Result<(Vec<f32>, Vec<Target>)> {
        let options = ReadOptions::default();
        let bytes = std::io::Cursor::new(text.as_bytes().to_vec());
        let mut records = Records::from_reader(Box::new(bytes), &options)?;
        let encoder = RowEncoder::new(&schema(), records.header())?.with(unseen, &options);
        let (mut x, mut y, mut record) = (Vec::new(), Vec::new(), Record::default());
        while records.read(&mut record)? {
            y.extend(encoder.target(&record)?);
            encoder.encode(&record, &mut x)?;
        }
        Ok((x, y))
    }

    #[test]
    fn encodes() {
        let schema = schema();
        let names = schema.input.feature_names();
        assert_eq!(
            names,
            [
                "age",
                "age missing",
                "sex=m",
                "port=C",
                "port=Q",
                "port=S",
                "port missing",
                "rare=a",
                "rare=b",
                "rare=c",
                "rare missing",
                "fare"
            ]
        );
        let (x, y) = encode(&table(TEXT), &schema, &[2, 0, 3], Unseen::Error).unwrap();
        assert_eq!(x.shape(), [3, 12]);
        let x = x.values::<f32>().unwrap();
        assert_eq!(
            x[..11],
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
        );
        assert_eq!(
            x[13..23],
            [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(x[24 + 10], 1.0, "rare is missing in row 3");
        assert_eq!(y, Targets::Classes(vec![1, 0, 0]));
    }

    #[test]
    fn streams_encode_as_tables_do() {
        let rows: Vec<usize> = (0..5).collect();
        let (x, y) = encode(&table(TEXT), &schema(), &rows, Unseen::Zero).unwrap();
        let (streamed, targets) = stream(TEXT, Unseen::Zero).unwrap();
        assert_eq!(x.values::<f32>().unwrap(), streamed);
        let classes = targets.iter().map(|t| match t {
            Target::Class(c) => *c,
            Target::Number(_) => panic!("not a class"),
        });
        assert_eq!(y, Targets::Classes(classes.collect()));
        // The order of columns does not matter, and neither do others.
        let text = "z,fare,rare,port,sex,age\nq,7.25,a,S,m,22\n";
        let (x, y) = stream(text, Unseen::Error).unwrap();
        assert_eq!((&x[..], y.len()), (&streamed[..12], 0));
    }

    #[test]
    fn streams_say_where() {
        let cases = [
            (
                "unseen",
                "age,sex,port,rare,fare\n1,m,S,a,1\n1,x,S,a,1\n",
                "line 3: column \"sex\": unknown category \"x\", expected one of \"f\", \"m\"",
                "unknown categories can be read as zeros",
            ),
            (
                "text",
                "age,sex,port,rare,fare\nold,m,S,a,1\n",
                "line 2: column \"age\": expected a finite number, found \"old\"",
                "",
            ),
            (
                "infinite",
                "age,sex,port,rare,fare\ninf,m,S,a,1\n",
                "line 2: column \"age\": expected a finite number, found \"inf\"",
                "",
            ),
            (
                "missing column",
                "ag,sex,port,rare,fare\n1,m,S,a,1\n",
                "the column \"age\" that the network needs is missing",
                "did you mean \"ag\"?",
            ),
            (
                "no header",
                "1,m,S,a,1\n2,m,S,a,1\n",
                "the column \"age\" that the network needs is missing",
                "the file seems to have no header row",
            ),
            (
                "class",
                "age,sex,port,rare,fare,y\n1,m,S,a,1,perhaps\n",
                "line 2: column \"y\": unknown class \"perhaps\", expected one of \"no\", \"yes\"",
                "",
            ),
        ];
        for (name, text, message, hint) in cases {
            let error = stream(text, Unseen::Error).unwrap_err();
            assert_eq!(error.to_string(), message, "{name}");
            assert_eq!(error.hint().unwrap_or(""), hint, "{name}");
        }
    }

    #[test]
    fn extra_columns_are_listed_once() {
        let header = ["a", "age", "sex", "y", "port", "rare", "fare", "b"].map(String::from);
        let encoder = RowEncoder::new(&schema(), &header).unwrap();
        assert_eq!(
            encoder.notices(),
            ["columns that the network does not use are ignored: \"a\", \"b\""]
        );
        assert!(encoder.has_target());
    }

    #[test]
    fn tables_say_where() {
        let error = encode(&table(TEXT), &schema(), &[4], Unseen::Error).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 4: column \"rare\": unknown category \"d\", expected one of \"a\", \"b\", \"c\""
        );
        let without = table(&TEXT.replace("54,f,S,d,0.5,no", "54,f,S,a,0.5,"));
        let error = encode(&without, &schema(), &[0, 4], Unseen::Error).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 4: column \"y\": expected a target, found a missing cell"
        );
        let text = table(&TEXT.replace("54", "old"));
        let error = encode(&text, &schema(), &[0, 4], Unseen::Zero).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("column \"age\": expected a number, found"),
            "{error}"
        );
    }

    #[test]
    fn numbered_classes_may_be_spelled_otherwise() {
        let schema = {
            let t = table("x,y\n0.5,1\n0.7,2\n");
            fit_schema(&t, "y", &["x".into()], &[0, 1]).unwrap()
        };
        let encoder = RowEncoder::new(&schema, &["x".into(), "y".into()]).unwrap();
        let bytes = std::io::Cursor::new(b"x,y\n1,1.0\n1,2\n".to_vec());
        let mut records = Records::from_reader(Box::new(bytes), &ReadOptions::default()).unwrap();
        let mut record = Record::default();
        for class in [0, 1] {
            records.read(&mut record).unwrap();
            assert_eq!(encoder.target(&record).unwrap(), Some(Target::Class(class)));
        }
    }
}
