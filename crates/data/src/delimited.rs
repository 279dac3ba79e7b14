//! CSV and TSV files to typed tables.
//!
//! The type of a column is decided over all its rows: numeric when every cell that is not missing
//! is a finite number. The file is read once; only when text turns up in a column that had begun
//! with numbers is it read a second time, because the text of those numbers is not kept.

use std::path::Path;

use crate::chunks::{self, Distinct, Reservoir, Sample, Sampling};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::options::{ReadOptions, number};
use crate::records::{Record, Records, not_a_number};
use crate::table::{Column, Levels, Table, Values, unknown};

/// Reads a delimited file, gzipped or not.
///
/// Errs when the file is missing, empty, ragged, not UTF-8 or cut off, when two columns have one
/// name, when a cell does not fit a type given in `options`, and when a number is infinite.
pub fn read_delimited(path: &Path, options: &ReadOptions) -> Result<Table> {
    read_with(|| Records::open(path, options), options).map_err(|e| e.in_file(path))
}

/// Reads delimited text from memory, as [`read_delimited`] does from a file.
pub fn read_delimited_bytes(bytes: &[u8], options: &ReadOptions) -> Result<Table> {
    let open = || {
        let copy = std::io::Cursor::new(bytes.to_vec());
        Records::from_reader(Box::new(copy), options)
    };
    read_with(open, options)
}

/// Reads a random sample of at most `most` of those rows of a CSV or Parquet file that `may` allows, in
/// the order of the file, and the number of rows it has; see
/// [`sample_table`](crate::sample_table).
///
/// Errs as that does.
pub fn read_sample(
    path: &Path,
    options: &ReadOptions,
    most: usize,
    seed: u64,
    may: impl Fn(u64) -> bool,
) -> Result<(Table, u64)> {
    let target = None;
    let sampling = Sampling { most, seed, target };
    let sampled = chunks::sample_some(path, options, sampling, &may)?;
    Ok((sampled.table, sampled.rows))
}

/// The sample of delimited text.
pub(crate) fn sample(
    mut records: Records,
    options: &ReadOptions,
    sampling: Sampling,
    may: &dyn Fn(u64) -> bool,
) -> Result<Sample> {
    let header = records.header();
    let at = |name: &str| {
        let found = header.iter().position(|n| n == name);
        found.ok_or_else(|| unknown(name, header.iter().map(String::as_str)))
    };
    let target = sampling.target.map(at).transpose()?;
    let mut kept = Reservoir::new(sampling.most, sampling.seed, may);
    let (mut values, mut without_target) = (Distinct::default(), 0);
    let mut record = Record::default();
    while records.read(&mut record)? {
        match target.map(|t| record.cell(t)) {
            Some(cell) if options.is_missing(cell) => {
                without_target += 1;
                continue;
            }
            Some(cell) => values.offer(cell),
            None => {}
        }
        kept.offer(|| record.clone());
    }
    let rows = kept.rows();
    let (kept, target_values) = (kept.finish(), values.finish());
    let mut options = options.clone();
    if let Some(name) = sampling.target
        && target_values.iter().any(|v| number(v).is_none())
        && !options
            .numeric
            .iter()
            .chain(&options.categorical)
            .any(|n| n == name)
    {
        // A text outside of the sample decides what the target is.
        options.categorical.push(name.to_owned());
    }
    let pass = |push: &mut Push<'_>| kept.iter().try_for_each(push);
    let mut table = match kept.is_empty() && without_target > 0 {
        false => build(&records, pass, &options)?,
        true => return Err(Error::new(ErrorKind::Target, "no row has a target")),
    };
    if let Some(name) = sampling.target {
        table.widen_levels(name, &target_values);
    }
    Ok(Sample {
        table,
        rows,
        without_target,
        target_values,
    })
}

fn read_with(open: impl Fn() -> Result<Records>, options: &ReadOptions) -> Result<Table> {
    let begin = open()?;
    let pass = |push: &mut Push<'_>| {
        let mut records = open()?;
        let mut record = Record::default();
        while records.read(&mut record)? {
            push(&record)?;
        }
        Ok(())
    };
    build(&begin, pass, options)
}

/// What takes the records of a pass one by one.
type Push<'a> = dyn FnMut(&Record) -> Result<()> + 'a;

/// A table from records with the header of `records`; `pass` hands over all of them, twice if need be.
fn build(
    records: &Records,
    pass: impl Fn(&mut Push<'_>) -> Result<()>,
    options: &ReadOptions,
) -> Result<Table> {
    let header = records.header();
    let mut builders = builders(header, options)?;
    pass(&mut |record| push_row(record, header, &mut builders, options))?;
    let mut notices = Vec::new();
    if !records.has_header() {
        notices.push("there is no header row: the columns are called c0, c1, ...".to_owned());
    }
    let mut again = false;
    for (at, builder) in &builders {
        if let Builder::Turned {
            numbers,
            line,
            text,
        } = builder
        {
            let name = &header[*at];
            notices.push(format!(
                "column {name:?} is read as categorical: {numbers} numbers come before {} on line {line}",
                quoted(text)
            ));
            again = true;
        }
    }
    if again {
        for (_, builder) in &mut builders {
            *builder = match builder {
                Builder::Turned { .. } => Builder::Categorical(Levels::default()),
                _ => Builder::Done(std::mem::replace(builder, Builder::Empty(0)).boxed()),
            };
        }
        pass(&mut |record| push_row(record, header, &mut builders, options))?;
    }
    let columns = builders.into_iter().map(|(at, builder)| {
        let name = &header[at];
        let values = builder.finish().map_err(|e| e.in_column(name))?;
        Ok(Column::new(name.clone(), values))
    });
    let mut table = Table::new(columns.collect::<Result<_>>()?)?;
    if table.rows() == 0 {
        let error = Error::new(ErrorKind::Rows, "there are no rows");
        return Err(error.with_hint("the file has a header and nothing below it"));
    }
    notices.into_iter().for_each(|n| table.notice(n));
    Ok(table)
}

/// A builder for each column that is wanted, and the place of the column.
fn builders(header: &[String], options: &ReadOptions) -> Result<Vec<(usize, Builder)>> {
    let named = options.numeric.iter().chain(&options.categorical);
    for name in named.chain(&options.columns) {
        if !header.contains(name) {
            return Err(unknown(name, header.iter().map(String::as_str)));
        }
    }
    if let Some(name) = options
        .numeric
        .iter()
        .find(|n| options.categorical.contains(n))
    {
        let message = "the column is asked to be both numeric and categorical";
        return Err(Error::new(ErrorKind::Argument, message).in_column(name));
    }
    let builder = |name: &String| {
        if options.categorical.contains(name) {
            Builder::Categorical(Levels::default())
        } else if options.numeric.contains(name) {
            Builder::Given(Vec::new())
        } else {
            Builder::Empty(0)
        }
    };
    let wanted = header.iter().enumerate().filter(|(_, n)| options.wants(n));
    Ok(wanted.map(|(at, name)| (at, builder(name))).collect())
}

fn push_row(
    record: &Record,
    header: &[String],
    builders: &mut [(usize, Builder)],
    options: &ReadOptions,
) -> Result<()> {
    for (at, builder) in builders {
        let cell = record.cell(*at);
        if options.is_missing(cell) {
            builder.push_missing();
        } else {
            let pushed = builder.push(cell, record.line());
            pushed.map_err(|()| not_a_number(cell, &header[*at], record.line()))?;
        }
    }
    Ok(())
}

/// A column while it is being read.
enum Builder {
    /// So many missing cells and nothing else yet.
    Empty(usize),
    /// Numbers so far.
    Numeric(Numbers),
    /// Numbers, because the caller said so.
    Given(Vec<f64>),
    /// Texts.
    Categorical(Levels),
    /// Numbers came first and then `text`: to be read again.
    Turned {
        numbers: usize,
        line: u64,
        text: String,
    },
    /// Read already; cells of the second pass are ignored.
    Done(Box<Builder>),
}

#[derive(Default)]
struct Numbers {
    values: Vec<f64>,
    /// Line and text of the first infinite number: an error unless the column turns out to be text.
    infinite: Option<(u64, String)>,
}

impl Builder {
    fn boxed(self) -> Box<Builder> {
        Box::new(self)
    }

    fn push_missing(&mut self) {
        match self {
            Builder::Empty(n) => *n += 1,
            Builder::Numeric(Numbers { values, .. }) | Builder::Given(values) => {
                values.push(f64::NAN);
            }
            Builder::Categorical(levels) => levels.push_missing(),
            Builder::Turned { .. } | Builder::Done(_) => {}
        }
    }

    /// Errs when the cell must be a finite number and is not.
    fn push(&mut self, cell: &str, line: u64) -> std::result::Result<(), ()> {
        match self {
            Builder::Empty(n) => {
                *self = match number(cell) {
                    Some(_) => Builder::Numeric(Numbers {
                        values: vec![f64::NAN; *n],
                        infinite: None,
                    }),
                    None => Builder::Categorical(Levels::with_missing(*n)),
                };
                return self.push(cell, line);
            }
            Builder::Numeric(numbers) => match number(cell) {
                Some(x) => {
                    if x.is_infinite() && numbers.infinite.is_none() {
                        numbers.infinite = Some((line, cell.to_owned()));
                    }
                    numbers.values.push(x);
                }
                // NaN with a sign is a missing cell, too.
                None if cell.parse::<f64>().is_ok() => numbers.values.push(f64::NAN),
                None => {
                    let seen = numbers.values.iter().filter(|x| !x.is_nan()).count();
                    *self = Builder::Turned {
                        numbers: seen,
                        line,
                        text: cell.to_owned(),
                    };
                }
            },
            Builder::Given(values) => {
                values.push(number(cell).filter(|x| x.is_finite()).ok_or(())?);
            }
            Builder::Categorical(levels) => levels.push(cell),
            Builder::Turned { .. } | Builder::Done(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Values> {
        Ok(match self {
            Builder::Empty(n) => Values::Numeric(vec![f64::NAN; n]),
            Builder::Given(values) => Values::Numeric(values),
            Builder::Numeric(Numbers { values, infinite }) => match infinite {
                None => Values::Numeric(values),
                Some((line, cell)) => return Err(infinite_number(&cell, line)),
            },
            Builder::Categorical(levels) => levels.finish(),
            Builder::Done(inner) => inner.finish()?,
            // The second pass reads such columns as text, so none is left.
            Builder::Turned { line, .. } => {
                let message = "the file changed while it was read";
                return Err(Error::new(ErrorKind::Io, message).at_line(line));
            }
        })
    }
}

pub(crate) fn infinite_number(cell: &str, line: u64) -> Error {
    let message = format!("expected a finite number, found {}", quoted(cell));
    let error = Error::new(ErrorKind::Value, message).at_line(line);
    error.with_hint("leave the cell empty if the value is missing, or make the column categorical")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MISSING;

    fn read(text: &str) -> Result<Table> {
        read_delimited_bytes(text.as_bytes(), &ReadOptions::default())
    }

    fn numeric(table: &Table, name: &str) -> Vec<f64> {
        match &table.column(name).unwrap().values {
            Values::Numeric(v) => v.clone(),
            Values::Categorical { .. } => panic!("{name} is categorical"),
        }
    }

    fn texts(table: &Table, name: &str) -> Vec<Option<String>> {
        match &table.column(name).unwrap().values {
            Values::Numeric(_) => panic!("{name} is numeric"),
            Values::Categorical { codes, levels } => codes
                .iter()
                .map(|&c| (c != MISSING).then(|| levels[c as usize].clone()))
                .collect(),
        }
    }

    #[test]
    fn reads() {
        let some = |s: &str| Some(s.to_owned());
        let t = read("\u{feff}a, b ,c\r\n1, x ,\"p, \"\"q\"\"\"\r\n?, NA, \"r,s\"\r\n-2e3,y,\r\n")
            .unwrap();
        assert_eq!(t.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(numeric(&t, "a")[0], 1.0);
        assert!(numeric(&t, "a")[1].is_nan());
        assert_eq!(numeric(&t, "a")[2], -2000.0);
        assert_eq!(texts(&t, "b"), [some("x"), None, some("y")]);
        assert_eq!(texts(&t, "c"), [some("p, \"q\""), some("r,s"), None]);
        assert!(t.notices().is_empty());
    }

    #[test]
    fn types_are_decided_over_all_rows() {
        let mut text = "id,v,w\n".to_owned();
        for i in 0..5000 {
            text += &format!("00{i},{i},\n");
        }
        text += "x7,,nan\n";
        let t = read(&text).unwrap();
        assert_eq!(texts(&t, "id")[0].as_deref(), Some("000"));
        assert_eq!(texts(&t, "id")[5000].as_deref(), Some("x7"));
        assert_eq!(numeric(&t, "v")[4999], 4999.0);
        assert!(numeric(&t, "w").iter().all(|x| x.is_nan()));
        assert_eq!(
            t.notices(),
            ["column \"id\" is read as categorical: 5000 numbers come before \"x7\" on line 5002"]
        );
    }

    #[test]
    fn columns_can_be_chosen() {
        let mut options = ReadOptions {
            columns: vec!["c".into(), "a".into()],
            ..ReadOptions::default()
        };
        let text = "a,b,c\n1,2,3\n4,x,y\n";
        let table = read_delimited_bytes(text.as_bytes(), &options).unwrap();
        assert_eq!(table.names().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(numeric(&table, "a"), [1.0, 4.0]);
        assert_eq!(texts(&table, "c"), [Some("3".into()), Some("y".into())]);
        options.columns = vec!["d".into()];
        let error = read_delimited_bytes(text.as_bytes(), &options).unwrap_err();
        assert!(error.to_string().contains("\"d\""), "{error}");
    }

    #[test]
    fn samples_are_rows_of_the_file_in_order() {
        let text: String = (0..1000).map(|i| format!("{i},{}\n", i * 2)).collect();
        let sample = |most, seed| {
            let options = ReadOptions::default();
            let bytes = std::io::Cursor::new(text.clone().into_bytes());
            let records = Records::from_reader(Box::new(bytes), &options).unwrap();
            let target = None;
            let sampling = Sampling { most, seed, target };
            let found = sample(records, &options, sampling, &|_| true).unwrap();
            (found.table, found.rows)
        };
        let (all, rows) = sample(2000, 1);
        assert_eq!((all.rows(), rows), (1000, 1000));
        let (some, rows) = sample(100, 1);
        assert_eq!((some.rows(), rows), (100, 1000));
        let (a, b) = (numeric(&some, "c0"), numeric(&some, "c1"));
        assert!(a.is_sorted() && a.iter().zip(&b).all(|(a, b)| a * 2.0 == *b));
        assert_eq!(some, sample(100, 1).0);
        assert_ne!(some, sample(100, 2).0);
        let nested = numeric(&sample(50, 1).0, "c0");
        assert!(
            nested.iter().all(|x| a.contains(x)),
            "smaller samples are part of larger ones"
        );
    }

    #[test]
    fn types_can_be_given() {
        let given = |numeric: &[&str], categorical: &[&str]| ReadOptions {
            numeric: numeric.iter().map(|s| s.to_string()).collect(),
            categorical: categorical.iter().map(|s| s.to_string()).collect(),
            ..ReadOptions::default()
        };
        let text = b"class,b\n1,x\n10,y\n2,z\n";
        let t = read_delimited_bytes(text, &given(&[], &["class"])).unwrap();
        assert_eq!(
            t.column("class").unwrap().values,
            Values::Categorical {
                codes: vec![0, 2, 1],
                levels: vec!["1".into(), "2".into(), "10".into()]
            }
        );
        let error = |n: &[&str], c: &[&str]| {
            let e = read_delimited_bytes(text, &given(n, c)).unwrap_err();
            format!("{e} / {}", e.hint().unwrap_or_default())
        };
        assert_eq!(
            error(&["b"], &[]),
            "line 2: column \"b\": expected a finite number, found \"x\" / "
        );
        assert_eq!(
            error(&["clas"], &[]),
            "there is no column \"clas\" / did you mean \"class\"?"
        );
        assert!(error(&["b"], &["b"]).contains("both numeric and categorical"));
    }

    #[test]
    fn without_a_header_columns_are_numbered() {
        let t = read("1,a\n2,b\n2,a\n").unwrap();
        assert_eq!(t.names().collect::<Vec<_>>(), ["c0", "c1"]);
        assert_eq!(t.rows(), 3);
        assert_eq!(t.notices().len(), 1);
    }

    #[test]
    fn refuses() {
        let cases: [(&str, &[u8], &str); 13] = [
            ("empty", b"", "the file is empty"),
            ("blank", b" \r\n\n", "the file is empty"),
            ("names only", b"a,b\n", "there are no rows"),
            (
                "ragged",
                b"a,b\n1,2\n\n3\n",
                "line 4: expected 2 fields, found 1",
            ),
            (
                "ragged first",
                b"a,b\n1,2,3\n1,2\n1,2\n",
                "line 2: expected 2 fields, found 3",
            ),
            (
                "after a long cell",
                b"a,b\n\"x\ny\",2\n1\n",
                "line 4: expected 2 fields, found 1",
            ),
            (
                "two names",
                b"a,b,a\n1,2,3\n4,5,6\n",
                "line 1: column \"a\": the name is given to two columns",
            ),
            (
                "infinite",
                b"a,b\n1,2\n1,-inf\n",
                "line 3: column \"b\": expected a finite number, found \"-inf\"",
            ),
            (
                "too large",
                b"a,b\n1,2\n1,1e999\n",
                "line 3: column \"b\": expected a finite number, found \"1e999\"",
            ),
            (
                "latin 1",
                b"a,b\n1,caf\xe9\n",
                "line 2: expected UTF-8 text, but field 2 is not",
            ),
            (
                "utf-16",
                b"\xff\xfea\0\n\0",
                "line 1: expected UTF-8 text, found UTF-16",
            ),
            (
                "name and index",
                b"c1,\n1,2\n3,4\n",
                "line 1: column \"c1\": the name is given to two columns",
            ),
            ("only a BOM", b"\xef\xbb\xbf", "the file is empty"),
        ];
        for (name, bytes, text) in cases {
            let error = read_delimited_bytes(bytes, &ReadOptions::default()).unwrap_err();
            assert_eq!(error.to_string(), text, "{name}");
        }
    }

    #[test]
    fn lines_are_counted_over_what_is_skipped() {
        let cases: [(&str, &str, u64); 5] = [
            ("blank", "a,b\n\n\n1,2\n\nx\n", 6),
            ("crlf", "a,b\r\n\r\n1,2\r\n\r\nx\r\n", 5),
            ("comments", "# \"one\na,b\n#, \"two\n1,2\n# three\nx", 6),
            ("quoted", "a,b\n\"1\n\n\",\"\"\"\n\"\nx\n", 6),
            ("quoted crlf", "a,b\r\n\"1\r\n\",2\r\nx\r\n", 4),
        ];
        let options = ReadOptions {
            comment: Some(b'#'),
            ..ReadOptions::default()
        };
        for (name, text, line) in cases {
            let error = read_delimited_bytes(text.as_bytes(), &options).unwrap_err();
            assert_eq!(error.line(), Some(line), "{name}: {error}");
        }
    }

    #[test]
    fn infinity_may_be_a_word() {
        let t = read("a,b\n1,inf\n2,sup\n").unwrap();
        assert_eq!(texts(&t, "b")[0].as_deref(), Some("inf"));
    }

    #[test]
    fn sizes_are_capped() {
        let options = ReadOptions {
            max_record_bytes: 1000,
            max_columns: 10,
            ..ReadOptions::default()
        };
        let open_quote = format!("a,b\n1,2\n\"{}", "x\n".repeat(1 << 20));
        let error = read_delimited_bytes(open_quote.as_bytes(), &options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3: expected a record of at most 1000 bytes, found a longer one"
        );
        assert_eq!(error.hint(), Some("look for a quote that is never closed"));
        let wide = format!("{}\n", "1,".repeat(10));
        let error = read_delimited_bytes(wide.as_bytes(), &options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: expected at most 10 columns, found 11"
        );
    }

    #[test]
    fn many_short_records_pass_under_the_cap() {
        let options = ReadOptions {
            max_record_bytes: 1000,
            ..ReadOptions::default()
        };
        let text = "a,b\n".to_owned() + &"12345,\"x y\"\n".repeat(50_000);
        let t = read_delimited_bytes(text.as_bytes(), &options).unwrap();
        assert_eq!(t.rows(), 50_000);
    }

    #[test]
    fn gzip_is_undone_and_must_be_whole() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv.gz");
        let text: String = (0..1000).map(|i| format!("{i},{}\n", i * i)).collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        let bytes = gz.finish().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            read_delimited(&path, &ReadOptions::default())
                .unwrap()
                .rows(),
            1000
        );
        for end in [3, 10, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let error = read_delimited(&path, &ReadOptions::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Format, "{end}: {error}");
            assert!(
                error.to_string().ends_with("the file ends early"),
                "{error}"
            );
            assert_eq!(error.file(), Some(path.as_path()));
        }
        let mut bad = bytes.clone();
        bad[20] ^= 0x55;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(
            read_delimited(&path, &ReadOptions::default())
                .unwrap_err()
                .kind(),
            ErrorKind::Format
        );
    }

    #[test]
    fn files_that_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no.csv");
        let error = read_delimited(&missing, &ReadOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error
                .to_string()
                .ends_with("no.csv: no such file or folder")
        );
        let error = read_delimited(dir.path(), &ReadOptions::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("expected a file, found a folder")
        );
    }
}
