//! Parquet files to typed tables.
//!
//! Columns of the base types at the top level become numeric (integers, floats, decimals, dates,
//! timestamps) or categorical (text, booleans). Lists, maps and structs are refused by name.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::file;
use crate::options::ReadOptions;
use crate::table::{Column, Levels, Table, Values, unknown};

/// Number of rows read at a time.
const BATCH: usize = 8192;

/// Reads a Parquet file.
///
/// Errs when the file is missing, damaged, has columns of other than base types, an infinite number,
/// or text that is not UTF-8, and when a column named in `options` is not there or not of that type.
pub fn read_parquet(path: &Path, options: &ReadOptions) -> Result<Table> {
    let read = || {
        let file = file::open_raw(path)?;
        // The reader asserts some of what it was told by the file; hostile bytes must not panic.
        let guarded = std::panic::catch_unwind(AssertUnwindSafe(|| read_file(file, options)));
        guarded.unwrap_or_else(|_| {
            let message = "expected a Parquet file, found one that contradicts itself";
            Err(Error::new(ErrorKind::Format, message))
        })
    };
    read().map_err(|e| e.in_file(path))
}

fn read_file(file: File, options: &ReadOptions) -> Result<Table> {
    let reader = SerializedFileReader::new(file).map_err(from_parquet)?;
    let metadata = reader.metadata().file_metadata();
    let schema = metadata.schema_descr();
    let n_columns = schema.num_columns();
    if n_columns > options.max_columns {
        let message = format!(
            "expected at most {} columns, found {n_columns}",
            options.max_columns
        );
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let names: Vec<&str> = schema.columns().iter().map(|c| c.name()).collect();
    let named = options.numeric.iter().chain(&options.categorical);
    for name in named.chain(&options.columns) {
        if !names.contains(&name.as_str()) {
            return Err(unknown(name, names.iter().copied()));
        }
    }
    let mut columns = Vec::with_capacity(n_columns);
    for (i, descriptor) in schema.columns().iter().enumerate() {
        if !options.wants(descriptor.name()) {
            continue;
        }
        let top_level = descriptor.path().parts().len() == 1;
        if !top_level || descriptor.max_rep_level() > 0 {
            let message = "expected a number, text or a boolean, found a list, map or struct";
            let error = Error::new(ErrorKind::Column, message);
            return Err(error.in_column(&descriptor.path().string()));
        }
        let name = descriptor.name();
        let wants = |names: &[String]| names.iter().any(|n| n == name);
        let mut cells = Cells::new(descriptor, wants(&options.categorical));
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).map_err(from_parquet)?;
            let column = group.get_column_reader(i).map_err(from_parquet)?;
            cells.read(column, options).map_err(|e| e.in_column(name))?;
        }
        let values = cells.finish();
        if wants(&options.numeric) && !matches!(values, Values::Numeric(_)) {
            let error = Error::new(ErrorKind::Value, "expected numbers, found text");
            return Err(error.in_column(name));
        }
        columns.push(Column::new(name, values));
    }
    let table = Table::new(columns)?;
    if table.rows() == 0 {
        return Err(Error::new(ErrorKind::Rows, "there are no rows"));
    }
    Ok(table)
}

/// A column while it is being read.
struct Cells {
    values: Building,
    /// Which numbers stand for missing cells: definition level below this.
    defined: i16,
    /// What integers are divided by.
    unit: f64,
    unsigned: bool,
    half: bool,
    decimal: bool,
}

enum Building {
    /// Nothing but missing cells yet: so many.
    Empty(usize),
    Numbers(Vec<f64>),
    Texts(Levels),
}

impl Cells {
    fn new(descriptor: &ColumnDescriptor, categorical: bool) -> Cells {
        use ConvertedType as C;
        let logical = descriptor.logical_type_ref();
        let converted = descriptor.converted_type();
        let decimal =
            matches!(logical, Some(LogicalType::Decimal { .. })) || converted == C::DECIMAL;
        Cells {
            values: match categorical {
                true => Building::Texts(Levels::default()),
                false => Building::Empty(0),
            },
            defined: descriptor.max_def_level(),
            unit: match decimal {
                true => 10f64.powi(descriptor.type_scale()),
                false => 1.0,
            },
            unsigned: matches!(converted, C::UINT_8 | C::UINT_16 | C::UINT_32 | C::UINT_64)
                || matches!(logical, Some(LogicalType::Integer(i)) if !i.is_signed),
            half: matches!(logical, Some(LogicalType::Float16)),
            decimal,
        }
    }

    fn read(&mut self, column: ColumnReader, options: &ReadOptions) -> Result<()> {
        use ColumnReader as R;
        match column {
            R::BoolColumnReader(r) => self.each(r, |cells, v: &bool| {
                cells.text(if *v { "true" } else { "false" });
                Ok(())
            }),
            R::Int32ColumnReader(r) => self.each(r, |cells, v: &i32| match cells.unsigned {
                true => cells.number(f64::from(*v as u32)),
                false => cells.number(f64::from(*v) / cells.unit),
            }),
            R::Int64ColumnReader(r) => self.each(r, |cells, v: &i64| match cells.unsigned {
                true => cells.number(*v as u64 as f64),
                false => cells.number(*v as f64 / cells.unit),
            }),
            R::Int96ColumnReader(r) => self.each(r, |cells, v: &parquet::data_type::Int96| {
                let &[low, high, day] = v.data() else {
                    return Err(Error::new(
                        ErrorKind::Format,
                        "expected a timestamp of 12 bytes",
                    ));
                };
                let nanoseconds = f64::from(low) + f64::from(high) * 4_294_967_296.0;
                // Seconds since 1970, of which the Julian day is 2,440,588.
                cells.number((f64::from(day) - 2_440_588.0) * 86_400.0 + nanoseconds / 1e9)
            }),
            R::FloatColumnReader(r) => self.each(r, |cells, v: &f32| cells.number(f64::from(*v))),
            R::DoubleColumnReader(r) => self.each(r, |cells, v: &f64| cells.number(*v)),
            R::ByteArrayColumnReader(r) => {
                self.each(r, |cells, v: &ByteArray| cells.bytes(v.data(), options))
            }
            R::FixedLenByteArrayColumnReader(r) => self.each(r, |cells, v: &FixedLenByteArray| {
                cells.bytes(v.data(), options)
            }),
        }
    }

    fn each<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        mut push: impl FnMut(&mut Cells, &T::T) -> Result<()>,
    ) -> Result<()> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        loop {
            values.clear();
            levels.clear();
            let wanted = (self.defined > 0).then_some(&mut levels);
            let read = reader.read_records(BATCH, wanted, None, &mut values);
            let (records, _, _) = read.map_err(from_parquet)?;
            if records == 0 {
                return Ok(());
            }
            let mut present = values.iter();
            for row in 0..records {
                if levels.get(row).is_none_or(|&level| level == self.defined) {
                    let value = present.next().ok_or_else(|| {
                        Error::new(
                            ErrorKind::Format,
                            "expected a value for each row, found fewer",
                        )
                    })?;
                    push(self, value)?;
                } else {
                    self.missing();
                }
            }
        }
    }

    fn rows(&self) -> usize {
        match &self.values {
            Building::Empty(n) => *n,
            Building::Numbers(v) => v.len(),
            Building::Texts(levels) => levels.len(),
        }
    }

    fn missing(&mut self) {
        match &mut self.values {
            Building::Empty(n) => *n += 1,
            Building::Numbers(v) => v.push(f64::NAN),
            Building::Texts(levels) => levels.push_missing(),
        }
    }

    fn number(&mut self, x: f64) -> Result<()> {
        if x.is_infinite() {
            let error = Error::new(
                ErrorKind::Value,
                format!("expected a finite number, found {x}"),
            );
            return Err(error.in_row(self.rows()));
        }
        if let Building::Empty(n) = self.values {
            self.values = Building::Numbers(vec![f64::NAN; n]);
        }
        match &mut self.values {
            Building::Numbers(v) => v.push(x),
            // Asked to be categorical: a number is spelled out, NaN is a missing cell.
            Building::Texts(levels) if x.is_nan() => levels.push_missing(),
            Building::Texts(levels) => levels.push(&x.to_string()),
            Building::Empty(_) => unreachable!("it has just been replaced"),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Building::Empty(n) = self.values {
            self.values = Building::Texts(Levels::with_missing(n));
        }
        if let Building::Texts(levels) = &mut self.values {
            levels.push(text);
        }
    }

    fn bytes(&mut self, bytes: &[u8], options: &ReadOptions) -> Result<()> {
        if self.half {
            let bytes = <[u8; 2]>::try_from(bytes)
                .map_err(|_| Error::new(ErrorKind::Format, "expected halves of 2 bytes"))?;
            return self.number(half::f16::from_le_bytes(bytes).to_f64());
        }
        if self.decimal {
            return self.number(big_endian(bytes)? / self.unit);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| {
            let message = format!(
                "expected UTF-8 text, found {}",
                quoted(&bytes.escape_ascii().to_string())
            );
            Error::new(ErrorKind::Format, message).in_row(self.rows())
        })?;
        match options.is_missing(text.trim()) {
            true => self.missing(),
            false => self.text(text.trim()),
        }
        Ok(())
    }

    fn finish(self) -> Values {
        match self.values {
            Building::Empty(n) => Values::Numeric(vec![f64::NAN; n]),
            Building::Numbers(v) => Values::Numeric(v),
            Building::Texts(levels) => levels.finish(),
        }
    }
}

/// A signed big-endian integer of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Result<f64> {
    if bytes.is_empty() || bytes.len() > 16 {
        let message = format!("expected a decimal of 1 to 16 bytes, found {}", bytes.len());
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let sign: i128 = if bytes[0] & 0x80 != 0 { -1 } else { 0 };
    let number = bytes
        .iter()
        .fold(sign, |n, &byte| (n << 8) | i128::from(byte));
    Ok(number as f64)
}

fn from_parquet(error: ParquetError) -> Error {
    let message = match error {
        ParquetError::General(text) | ParquetError::EOF(text) => text,
        other => other.to_string(),
    };
    Error::new(
        ErrorKind::Format,
        format!("damaged Parquet file: {message}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::data_type::*;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::path::PathBuf;
    use std::sync::Arc;

    /// Writes 10 rows in two groups.
    fn write(dir: &tempfile::TempDir, compression: parquet::basic::Compression) -> PathBuf {
        let message = "message m {
            required boolean b; optional int32 i; required int64 u (INTEGER(64,false));
            optional float f; required double d; optional binary s (STRING);
            required int32 price (DECIMAL(9,2)); required fixed_len_byte_array(2) h (FLOAT16);
            required int96 t;
        }";
        let schema = Arc::new(parse_message_type(message).unwrap());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .build();
        let path = dir.path().join("t.parquet");
        let file = File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        for _ in 0..2 {
            let mut group = writer.next_row_group().unwrap();
            macro_rules! column {
                ($t:ty, $values:expr, $levels:expr) => {
                    let mut column = group.next_column().unwrap().unwrap();
                    column
                        .typed::<$t>()
                        .write_batch(&$values, $levels, None)
                        .unwrap();
                    column.close().unwrap();
                };
            }
            column!(BoolType, [true, false, true, true, false], None);
            column!(Int32Type, [1, -2, 3], Some(&[1, 0, 1, 1, 0]));
            column!(Int64Type, [1, 2, 3, 4, -1], None);
            column!(FloatType, [0.5, f32::NAN], Some(&[0, 0, 1, 1, 0]));
            column!(DoubleType, [1.0, 2.0, 3.0, 4.0, 5.0], None);
            let texts = ["x", "NA", "y", "x"].map(ByteArray::from);
            column!(ByteArrayType, texts, Some(&[1, 1, 1, 1, 0]));
            column!(Int32Type, [150, -25, 0, 1, 2], None);
            let halves = [1.5f32, 2.0, 0.0, -1.0, 3.0]
                .map(|x| half::f16::from_f32(x).to_le_bytes().to_vec())
                .map(|b| FixedLenByteArray::from(ByteArray::from(b)));
            column!(FixedLenByteArrayType, halves, None);
            let mut t = Int96::new();
            t.set_data(0, 0, 2_440_589);
            column!(Int96Type, [t; 5], None);
            group.close().unwrap();
        }
        writer.close().unwrap();
        path
    }

    fn numbers(table: &Table, name: &str) -> Vec<f64> {
        match &table.column(name).unwrap().values {
            Values::Numeric(v) => v.clone(),
            Values::Categorical { .. } => panic!("{name} is categorical"),
        }
    }

    #[test]
    fn reads_base_types_under_every_compression() {
        use parquet::basic::Compression as C;
        let dir = tempfile::tempdir().unwrap();
        let codecs = [
            C::UNCOMPRESSED,
            C::SNAPPY,
            C::GZIP(Default::default()),
            C::ZSTD(Default::default()),
            C::BROTLI(Default::default()),
            C::LZ4_RAW,
        ];
        for codec in codecs {
            let table = read_parquet(&write(&dir, codec), &ReadOptions::default()).unwrap();
            assert_eq!(table.rows(), 10);
            assert_eq!(numbers(&table, "i")[0], 1.0);
            assert_eq!(table.column("i").unwrap().values.missing(), 4);
            assert_eq!(numbers(&table, "u")[4], u64::MAX as f64);
            assert_eq!(table.column("f").unwrap().values.missing(), 8);
            assert_eq!(numbers(&table, "price")[..2], [1.5, -0.25]);
            assert_eq!(numbers(&table, "h")[3], -1.0);
            assert_eq!(numbers(&table, "t")[9], 86_400.0);
            let s = &table.column("s").unwrap().values;
            assert_eq!((s.missing(), s.distinct()), (4, 2));
            let Values::Categorical { levels, .. } = &table.column("b").unwrap().values else {
                panic!("booleans are categorical")
            };
            assert_eq!(levels, &["false", "true"]);
        }
    }

    #[test]
    fn types_can_be_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir, parquet::basic::Compression::SNAPPY);
        let options = |numeric: &str, categorical: &str| {
            let list = |name: &str| match name {
                "" => vec![],
                name => vec![name.to_owned()],
            };
            ReadOptions {
                numeric: list(numeric),
                categorical: list(categorical),
                ..ReadOptions::default()
            }
        };
        let table = read_parquet(&path, &options("", "d")).unwrap();
        let Values::Categorical { levels, .. } = &table.column("d").unwrap().values else {
            panic!("asked to be categorical")
        };
        assert_eq!(levels, &["1", "2", "3", "4", "5"]);
        let error = read_parquet(&path, &options("s", "")).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("column \"s\": expected numbers, found text")
        );
        assert!(read_parquet(&path, &options("zz", "")).is_err());
    }

    #[test]
    fn lists_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let schema = parse_message_type("message m { repeated int32 i; }").unwrap();
        let path = dir.path().join("t.parquet");
        let file = File::create(&path).unwrap();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Default::default()).unwrap();
        writer.close().unwrap();
        let error = read_parquet(&path, &ReadOptions::default()).unwrap_err();
        assert_eq!(error.column(), Some("i"));
    }

    #[test]
    fn damaged_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let good = std::fs::read(write(&dir, parquet::basic::Compression::SNAPPY)).unwrap();
        let path = dir.path().join("bad.parquet");
        let mut rng = crate::rng::Rng::new(2, 2);
        for round in 0..2000 {
            let mut bytes = good.clone();
            if round % 4 == 0 {
                bytes.truncate(rng.below(bytes.len() as u64) as usize);
            } else {
                for _ in 0..1 + rng.below(3) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.bits() as u8;
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = read_parquet(&path, &ReadOptions::default()) {
                assert_eq!(error.file(), Some(path.as_path()));
            } else {
                assert_ne!(round % 4, 0, "a truncated file was read");
            }
        }
    }
}
