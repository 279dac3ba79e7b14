//! Fits a [`Schema`] to training data.
//!
//! Offsets and scales are stored in two bytes where that does no harm, so they are rounded to half
//! precision here, before anything is trained with them.

use bantam_core::schema::{ColumnSchema, Encoding, InputSchema, Schema, TargetKind, TargetSchema};
use bantam_core::{Data, Tensor};
use half::f16;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::identify::check_known;
use crate::load::Samples;
use crate::table::{MISSING, Table, Values};

/// What a target is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Task {
    /// Text is classes, and so are up to 20 distinct whole numbers; other numbers are a number.
    #[default]
    Auto,
    /// Every distinct value is a class.
    Classes,
    /// A number.
    Number,
}

/// Most distinct whole numbers that are taken for classes.
const MOST_NUMBERED_CLASSES: usize = 20;
/// Most classes.
const MOST_CLASSES: usize = 1000;

/// Fits the encoding of `columns` on the rows of `rows`, and the target; see [`fit_schema_for`].
pub fn fit_schema(
    table: &Table,
    target: &str,
    columns: &[String],
    rows: &[usize],
) -> Result<Schema> {
    fit_schema_for(Task::Auto, table, target, columns, rows)
}

/// Fits the encoding of `columns` on the rows of `rows`, and the target as `task` says.
///
/// Numbers are standardised; the missing indicator is there when a cell of `rows` is missing.
/// Categories are those of `rows`; the classes are those of the whole table.
///
/// Errs when a column is unknown, the target is among the features, there are no rows, or the
/// target cannot be learnt.
pub fn fit_schema_for(
    task: Task,
    table: &Table,
    target: &str,
    columns: &[String],
    rows: &[usize],
) -> Result<Schema> {
    let target = fit_target(task, table, target, rows)?;
    fit_columns(table, target, columns, rows)
}

/// Fits the encoding of `columns` on the rows of `rows` beside a target that is fitted already, for
/// instance on more rows than the table has.
///
/// Errs when a column is unknown, the target is among the features, or there are no rows.
pub fn fit_columns(
    table: &Table,
    target: TargetSchema,
    columns: &[String],
    rows: &[usize],
) -> Result<Schema> {
    check_known(table, columns)?;
    if rows.is_empty() {
        return Err(Error::new(ErrorKind::Rows, "there are no rows to fit on"));
    }
    let mut fitted = Vec::with_capacity(columns.len());
    for name in columns {
        if *name == target.name {
            let error = Error::new(ErrorKind::Column, "the target is among the features");
            return Err(error.in_column(name));
        }
        fitted.push(ColumnSchema {
            name: name.clone(),
            encoding: fit_column(&table.column(name)?.values, rows),
        });
    }
    let schema = Schema {
        input: InputSchema::Table { columns: fitted },
        target,
    };
    checked(schema)
}

/// Fits the target: classes from the whole table, the offset and scale of a number from `rows`.
///
/// Errs when the column is unknown, has no values, one value, too many classes, or is text where
/// numbers are asked for.
pub fn fit_target(task: Task, table: &Table, target: &str, rows: &[usize]) -> Result<TargetSchema> {
    let column = table.column(target)?;
    let refuse = |message: String| Error::new(ErrorKind::Target, message).in_column(target);
    let cells = column.values.len() - column.values.missing();
    if cells == 0 {
        return Err(refuse(
            "the target has no values: every cell is missing".into(),
        ));
    }
    let classes = match (&column.values, task) {
        (Values::Categorical { .. }, Task::Number) => {
            let message = "expected a number to predict, found text";
            return Err(refuse(message.into()).with_hint("predict classes instead"));
        }
        (Values::Categorical { codes, levels }, _) => Some(used_levels(codes, levels)),
        (Values::Numeric(v), Task::Auto) => numbered_classes(v, MOST_NUMBERED_CLASSES),
        (Values::Numeric(v), Task::Classes) => {
            let classes = numbered_classes(v, MOST_CLASSES);
            Some(classes.ok_or_else(|| {
                let message = "expected classes, found numbers that are not whole or too many";
                refuse(message.into()).with_hint("predict a number instead")
            })?)
        }
        (Values::Numeric(_), Task::Number) => None,
    };
    let kind = match classes {
        Some(classes) if classes.len() > MOST_CLASSES => {
            let message = format!(
                "expected at most {MOST_CLASSES} classes, found {} in {cells} cells",
                classes.len()
            );
            let hint = "it looks like an identifier or text, not like something to predict";
            return Err(refuse(message).with_hint(hint));
        }
        Some(classes) if classes.len() < 2 => {
            let only = classes.first().map_or("", String::as_str);
            let message = format!("expected at least 2 classes, found only {}", quoted(only));
            return Err(refuse(message).with_hint("there is nothing to tell apart"));
        }
        Some(classes) => TargetKind::Classes(classes),
        None => {
            if column.values.is_constant() {
                return Err(refuse("expected different numbers, found only one".into()));
            }
            let Values::Numeric(v) = &column.values else {
                unreachable!("text has been refused above")
            };
            let (offset, scale) = standardise(rows.iter().map(|&r| v[r]));
            // A target that is constant on these rows still has a unit.
            let scale = if scale == 0.0 { 1.0 } else { scale };
            TargetKind::Number { offset, scale }
        }
    };
    let name = target.to_owned();
    Ok(TargetSchema { name, kind })
}

/// Fits the normalisation of images, per channel, or of arrays on the samples of `rows`.
///
/// Errs when there are fewer than two classes or no rows.
pub fn fit_samples(samples: &Samples, target: &str, rows: &[usize]) -> Result<Schema> {
    if samples.classes.len() < 2 {
        let message = format!(
            "expected at least 2 classes, found {}",
            samples.classes.len()
        );
        return Err(Error::new(ErrorKind::Target, message));
    }
    if rows.is_empty() {
        return Err(Error::new(ErrorKind::Rows, "there are no rows to fit on"));
    }
    let schema = Schema {
        input: fit_inputs(&samples.inputs, rows),
        target: TargetSchema {
            name: target.to_owned(),
            kind: TargetKind::Classes(samples.classes.clone()),
        },
    };
    checked(schema)
}

fn checked(schema: Schema) -> Result<Schema> {
    let check = schema.check();
    check.map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))?;
    Ok(schema)
}

fn fit_inputs(inputs: &Tensor, rows: &[usize]) -> InputSchema {
    let shape = &inputs.shape()[1..];
    let len: usize = shape.iter().product();
    match (inputs.data(), shape) {
        (Data::U8(pixels), &[channels, height, width]) => {
            let plane = height * width;
            let fits = (0..channels).map(|channel| {
                let mut counts = [0u64; 256];
                for &row in rows {
                    let at = row * len + channel * plane;
                    for &pixel in &pixels[at..at + plane] {
                        counts[usize::from(pixel)] += 1;
                    }
                }
                fit_pixels(&counts)
            });
            let (offset, scale) = fits.unzip();
            InputSchema::Image {
                channels,
                height,
                width,
                offset,
                scale,
            }
        }
        (data, shape) => {
            let cells = rows.iter().flat_map(|&row| row * len..(row + 1) * len);
            let (offset, scale) = standardise(cells.map(|i| as_f64(data, i)));
            InputSchema::Array {
                shape: shape.to_vec(),
                offset,
                scale,
            }
        }
    }
}

/// The value at `i` of any element type.
pub(crate) fn as_f64(data: &Data, i: usize) -> f64 {
    match data {
        Data::F32(v) => f64::from(v[i]),
        Data::F64(v) => v[i],
        Data::I64(v) => v[i] as f64,
        Data::U8(v) => f64::from(v[i]),
        Data::F16(v) => f64::from(v[i]),
        Data::BF16(v) => f64::from(v[i]),
        Data::I8(v) => f64::from(v[i]),
        Data::I16(v) => f64::from(v[i]),
        Data::I32(v) => f64::from(v[i]),
        Data::U16(v) => f64::from(v[i]),
        Data::U32(v) => f64::from(v[i]),
        Data::U64(v) => v[i] as f64,
        Data::Bool(v) => f64::from(u8::from(v[i])),
    }
}

/// Offset and scale of pixels in units of 255 from how often each value occurs.
fn fit_pixels(counts: &[u64; 256]) -> (f32, f32) {
    let total: u64 = counts.iter().sum();
    let moment = |power: i32, about: f64| {
        let terms = counts.iter().enumerate();
        let sum: f64 = terms
            .map(|(p, &n)| n as f64 * (p as f64 / 255.0 - about).powi(power))
            .sum();
        sum / total.max(1) as f64
    };
    let mean = moment(1, 0.0);
    rounded(mean, moment(2, mean).sqrt())
}

fn fit_column(values: &Values, rows: &[usize]) -> Encoding {
    let missing = rows.iter().any(|&r| values.is_missing(r));
    match values {
        Values::Numeric(v) => {
            let (offset, scale) = standardise(rows.iter().map(|&r| v[r]));
            Encoding::Numeric {
                offset,
                scale,
                missing,
            }
        }
        Values::Categorical { codes, levels } => {
            let codes: Vec<u32> = rows.iter().map(|&r| codes[r]).collect();
            Encoding::OneHot {
                categories: used_levels(&codes, levels),
                missing,
            }
        }
    }
}

/// The levels that occur in `codes`, in order.
fn used_levels(codes: &[u32], levels: &[String]) -> Vec<String> {
    let mut used = vec![false; levels.len()];
    for &code in codes.iter().filter(|&&c| c != MISSING) {
        used[code as usize] = true;
    }
    let levels = levels.iter().zip(used);
    levels.filter(|(_, u)| *u).map(|(l, _)| l.clone()).collect()
}

/// The distinct numbers as class names, when all are whole and there are at most `most`.
fn numbered_classes(v: &[f64], most: usize) -> Option<Vec<String>> {
    let mut distinct = std::collections::BTreeSet::new();
    for &x in v.iter().filter(|x| !x.is_nan()) {
        if x.fract() != 0.0 || x.abs() > 9e15 {
            return None;
        }
        distinct.insert(x as i64);
        if distinct.len() > most {
            return None;
        }
    }
    Some(distinct.into_iter().map(|x| x.to_string()).collect())
}

/// Mean and one over the standard deviation of the numbers that are not NaN, rounded for storage.
fn standardise(numbers: impl Iterator<Item = f64> + Clone) -> (f32, f32) {
    let numbers = numbers.filter(|x| !x.is_nan());
    // Dividing by the largest first keeps the squares of huge numbers finite.
    let largest = numbers.clone().fold(0.0, |m: f64, x| m.max(x.abs()));
    if largest == 0.0 {
        return (0.0, 0.0);
    }
    let n = numbers.clone().count() as f64;
    let mean = numbers.clone().map(|x| x / largest).sum::<f64>() / n;
    let square = numbers.map(|x| (x / largest - mean).powi(2)).sum::<f64>() / n;
    let deviation = square.sqrt();
    // Below this, what varies is the rounding of the sum.
    if deviation < 1e-14 {
        return rounded(mean * largest, 0.0);
    }
    rounded(mean * largest, deviation * largest)
}

/// Most that rounding may move the mean, in standard deviations.
const ROUNDING: f64 = 0.25;

/// The offset and scale for a mean and a deviation: in half precision where its range allows and
/// where the offset moves by at most a quarter of a deviation, else in single precision. Deviation
/// 0 makes scale 0.
fn rounded(mean: f64, deviation: f64) -> (f32, f32) {
    let single = |x: f64| (x as f32).clamp(f32::MIN, f32::MAX);
    let scale = match deviation {
        0.0 => 0.0,
        d => {
            let exact = single(1.0 / d).max(f32::MIN_POSITIVE);
            half_precision(exact).unwrap_or(exact)
        }
    };
    let offset = half_precision(single(mean))
        .filter(|&half| (f64::from(half) - mean).abs() <= ROUNDING * deviation)
        .unwrap_or_else(|| single(mean));
    (offset, scale)
}

/// The nearest half-precision number, if `x` is zero or in the range of normal ones.
fn half_precision(x: f32) -> Option<f32> {
    let half = f16::from_f32(x);
    (half.is_normal() || x == 0.0).then(|| half.to_f32())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    fn table() -> Table {
        let numbers = |f: &dyn Fn(i32) -> f64| (0..100).map(f).collect::<Vec<f64>>();
        let cells: Vec<_> = (0..100).map(|i| Some(["a", "b", "c"][i % 3])).collect();
        let rare: Vec<_> = (0..100)
            .map(|i| (i != 5).then_some(["x", "z"][i / 99]))
            .collect();
        Table::new(vec![
            Column::numeric(
                "age",
                numbers(&|i| if i == 3 { f64::NAN } else { f64::from(i) }),
            ),
            Column::categorical("port", &cells),
            Column::categorical("rare", &rare),
            Column::numeric("class", numbers(&|i| f64::from(i % 20))),
            Column::numeric("price", numbers(&|i| f64::from(i) * 1.5)),
            Column::numeric("codes", numbers(&|i| f64::from(i % 21))),
            Column::numeric("none", numbers(&|_| f64::NAN)),
            Column::numeric("one", numbers(&|_| 1.0)),
        ])
        .unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn fits_on_the_given_rows_only() {
        let rows: Vec<usize> = (10..60).collect();
        let columns = names(&["age", "port", "rare", "one"]);
        let schema = fit_schema(&table(), "class", &columns, &rows).unwrap();
        let InputSchema::Table { columns } = &schema.input else {
            panic!("not a table")
        };
        // Rows 10..60: mean 34.5, deviation sqrt((50^2 - 1) / 12) = 14.43.
        let Encoding::Numeric {
            offset,
            scale,
            missing: false,
        } = columns[0].encoding
        else {
            panic!("{columns:?}")
        };
        assert_eq!(offset, 34.5);
        assert!((1.0 / scale - 14.43).abs() < 0.01, "{scale}");
        assert_eq!(
            columns[2].encoding,
            Encoding::OneHot {
                categories: names(&["x"]),
                missing: false
            }
        );
        assert!(matches!(
            columns[3].encoding,
            Encoding::Numeric { scale: 0.0, .. }
        ));
        assert_eq!(schema.width(), 1 + 3 + 1 + 1);
        assert_eq!(schema.outputs(), 20);
        let all: Vec<usize> = (0..100).collect();
        let schema = fit_schema(&table(), "class", &names(&["age", "rare"]), &all).unwrap();
        assert_eq!(schema.width(), 2 + 3);
    }

    #[test]
    fn targets() {
        let rows: Vec<usize> = (0..100).collect();
        let fit = |task, target| fit_target(task, &table(), target, &rows);
        let count = |task, target| fit(task, target).unwrap().classes().len();
        assert_eq!(count(Task::Auto, "port"), 3);
        assert_eq!(count(Task::Auto, "class"), 20);
        assert_eq!(count(Task::Auto, "price"), 0);
        assert_eq!(count(Task::Auto, "codes"), 0);
        assert_eq!(count(Task::Classes, "codes"), 21);
        assert_eq!(count(Task::Number, "class"), 0);
        let cases = [
            (
                Task::Auto,
                "none",
                "column \"none\": the target has no values",
            ),
            (
                Task::Auto,
                "one",
                "column \"one\": expected at least 2 classes, found only \"1\"",
            ),
            (
                Task::Number,
                "one",
                "column \"one\": expected different numbers, found only one",
            ),
            (
                Task::Number,
                "port",
                "column \"port\": expected a number to predict, found text",
            ),
            (
                Task::Classes,
                "price",
                "column \"price\": expected classes, found numbers",
            ),
            (Task::Auto, "prise", "there is no column \"prise\""),
        ];
        for (task, target, text) in cases {
            let error = fit(task, target).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
        }
        let cells: Vec<_> = (0..1001).map(|i| Some(i.to_string())).collect();
        let names = Table::new(vec![Column::categorical("name", &cells)]).unwrap();
        let error = fit_target(Task::Auto, &names, "name", &[0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column \"name\": expected at most 1000 classes, found 1001 in 1001 cells"
        );
        assert!(error.hint().unwrap().contains("identifier"));
    }

    #[test]
    fn numbers_are_stored_in_half_precision_where_that_is_harmless() {
        let exact = |x: f32| f16::from_f32(x).to_f32() == x;
        for (mean, deviation) in [
            (0.1307, 0.3081),
            (34.56, 14.3),
            (-5000.0, 100.0),
            (0.0, 1.0),
        ] {
            let (offset, scale) = rounded(mean, deviation);
            assert!(exact(offset) && exact(scale), "{mean} {deviation}");
            assert!((f64::from(offset) - mean).abs() <= ROUNDING * deviation);
            assert!((f64::from(scale) * deviation - 1.0).abs() < 1e-3);
        }
        for (mean, deviation) in [(100_000.0, 1e5), (1.6e9, 1000.0), (10_001.0, 1.0)] {
            let (offset, _) = rounded(mean, deviation);
            assert_eq!(offset, mean as f32);
        }
    }

    #[test]
    fn extreme_numbers_stay_finite() {
        let cases = [
            [1e308, -1e308],
            [1e-300, 2e-300],
            [1e308, 1e308],
            [0.0, 5e-324],
        ];
        for case in cases {
            let (offset, scale) = standardise(case.iter().copied());
            assert!(
                offset.is_finite() && scale.is_finite(),
                "{case:?}: {offset} {scale}"
            );
        }
        assert_eq!(standardise([0.1, 0.1, 0.1].iter().copied()).1, 0.0);
        assert_eq!(standardise([].iter().copied()), (0.0, 0.0));
    }
}
