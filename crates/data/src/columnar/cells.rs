//! Cells of one Parquet column, whatever its stored type, as numbers or categories.

use std::collections::HashMap;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray, Int96};
use parquet::schema::types::ColumnDescriptor;

use super::from_parquet;
use crate::chunks::{ChunkColumn, LayoutColumn, UNSEEN};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::options::ReadOptions;
use crate::table::{Levels, MISSING, Values};

/// A column while it is being read.
pub(super) struct Cells {
    values: Building,
    /// Rows gone by, kept or not.
    row: u64,
    /// Rows to keep, in ascending order, and how many of them have gone by; all when none.
    wanted: Option<(Arc<[u64]>, usize)>,
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
    /// Levels that are known; another text is [`UNSEEN`].
    Codes(Arc<HashMap<Box<str>, u32>>, Vec<u32>),
    /// The texts as they are, none when missing.
    Plain(Vec<Option<Box<str>>>),
}

impl Cells {
    /// Cells whose type is found out, but for being asked to be `categorical`.
    pub(super) fn new(descriptor: &ColumnDescriptor, categorical: bool) -> Cells {
        Cells::with(
            descriptor,
            match categorical {
                true => Building::Texts(Levels::default()),
                false => Building::Empty(0),
            },
        )
    }

    /// Cells of the type that a layout says.
    pub(super) fn in_layout(descriptor: &ColumnDescriptor, column: &LayoutColumn) -> Cells {
        Cells::with(
            descriptor,
            match column.codes() {
                None => Building::Numbers(Vec::new()),
                Some(codes) => Building::Codes(codes, Vec::new()),
            },
        )
    }

    /// Cells as texts, numbers spelled out.
    pub(super) fn plain(descriptor: &ColumnDescriptor) -> Cells {
        Cells::with(descriptor, Building::Plain(Vec::new()))
    }

    fn with(descriptor: &ColumnDescriptor, values: Building) -> Cells {
        use ConvertedType as C;
        let logical = descriptor.logical_type_ref();
        let converted = descriptor.converted_type();
        let decimal =
            matches!(logical, Some(LogicalType::Decimal { .. })) || converted == C::DECIMAL;
        Cells {
            values,
            row: 0,
            wanted: None,
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

    /// Keeps some rows only, which ascend.
    pub(super) fn only(mut self, rows: &Arc<[u64]>) -> Cells {
        self.wanted = Some((rows.clone(), 0));
        self
    }

    /// The number of the first row, for errors.
    pub(super) fn starting_at(mut self, row: u64) -> Cells {
        self.row = row;
        self
    }

    /// Reads up to `most` rows; 0 at the end of the row group.
    pub(super) fn read(
        &mut self,
        column: &mut ColumnReader,
        most: usize,
        options: &ReadOptions,
    ) -> Result<usize> {
        use ColumnReader as R;
        let unit = self.unit;
        match column {
            R::BoolColumnReader(r) => self.each(r, most, |cells, v: &bool| {
                cells.text(if *v { "true" } else { "false" })
            }),
            R::Int32ColumnReader(r) => match self.unsigned {
                true => self.numbers(r, most, |v: &i32| f64::from(*v as u32)),
                false => self.numbers(r, most, |v: &i32| f64::from(*v) / unit),
            },
            R::Int64ColumnReader(r) => match self.unsigned {
                true => self.numbers(r, most, |v: &i64| *v as u64 as f64),
                false => self.numbers(r, most, |v: &i64| *v as f64 / unit),
            },
            R::Int96ColumnReader(r) => self.each(r, most, |cells, v: &Int96| {
                cells.number(seconds(v).ok_or_else(|| {
                    Error::new(ErrorKind::Format, "expected a timestamp of 12 bytes")
                })?)
            }),
            R::FloatColumnReader(r) => self.numbers(r, most, |v: &f32| f64::from(*v)),
            R::DoubleColumnReader(r) => self.numbers(r, most, |v: &f64| *v),
            R::ByteArrayColumnReader(r) => self.each(r, most, |cells, v: &ByteArray| {
                cells.bytes(v.data(), options)
            }),
            R::FixedLenByteArrayColumnReader(r) => {
                self.each(r, most, |cells, v: &FixedLenByteArray| {
                    cells.bytes(v.data(), options)
                })
            }
        }
    }

    /// Numbers, in one go where none is missing and all are kept.
    fn numbers<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        most: usize,
        convert: impl Fn(&T::T) -> f64,
    ) -> Result<usize> {
        if self.defined > 0 || self.wanted.is_some() {
            return self.each(reader, most, |cells, v| cells.number(convert(v)));
        }
        if let Building::Empty(0) = self.values {
            self.values = Building::Numbers(Vec::new());
        }
        let Building::Numbers(cells) = &mut self.values else {
            return self.each(reader, most, |cells, v| cells.number(convert(v)));
        };
        let mut values = Vec::with_capacity(most);
        let read = reader.read_records(most, None, None, &mut values);
        let (records, _, _) = read.map_err(from_parquet)?;
        if values.len() != records {
            return Err(too_few());
        }
        let begin = cells.len();
        cells.extend(values.iter().map(convert));
        // A fold without a branch, so that the compiler makes vectors of it.
        let infinite = cells[begin..]
            .iter()
            .fold(false, |found, x| found | x.is_infinite());
        if infinite {
            let at = cells[begin..].iter().position(|x| x.is_infinite());
            let at = at.expect("there is one");
            return Err(infinite_at(cells[begin + at], self.row + at as u64));
        }
        self.row += records as u64;
        Ok(records)
    }

    fn each<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        most: usize,
        mut push: impl FnMut(&mut Cells, &T::T) -> Result<()>,
    ) -> Result<usize> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let wanted = (self.defined > 0).then_some(&mut levels);
        let read = reader.read_records(most, wanted, None, &mut values);
        let (records, _, _) = read.map_err(from_parquet)?;
        let mut present = values.iter();
        for i in 0..records {
            let value = match levels.get(i).is_none_or(|&level| level == self.defined) {
                true => Some(present.next().ok_or_else(too_few)?),
                false => None,
            };
            if self.keeps() {
                match value {
                    Some(value) => push(self, value)?,
                    None => self.missing(),
                }
            }
            self.row += 1;
        }
        Ok(records)
    }

    /// Whether the row is kept.
    fn keeps(&mut self) -> bool {
        let Some((rows, at)) = &mut self.wanted else {
            return true;
        };
        let keeps = rows.get(*at) == Some(&self.row);
        *at += usize::from(keeps);
        keeps
    }

    fn missing(&mut self) {
        match &mut self.values {
            Building::Empty(n) => *n += 1,
            Building::Numbers(v) => v.push(f64::NAN),
            Building::Texts(levels) => levels.push_missing(),
            Building::Codes(_, codes) => codes.push(MISSING),
            Building::Plain(texts) => texts.push(None),
        }
    }

    fn number(&mut self, x: f64) -> Result<()> {
        if x.is_infinite() {
            return Err(infinite_at(x, self.row));
        }
        if let Building::Empty(n) = self.values {
            self.values = Building::Numbers(vec![f64::NAN; n]);
        }
        match &mut self.values {
            Building::Numbers(v) => v.push(x),
            // Asked to be categorical: a number is spelled out, NaN is a missing cell.
            _ if x.is_nan() => self.missing(),
            _ => self.text(&x.to_string())?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        if let Building::Empty(n) = self.values {
            self.values = Building::Texts(Levels::with_missing(n));
        }
        match &mut self.values {
            Building::Texts(levels) => levels.push(text),
            Building::Codes(of, codes) => codes.push(of.get(text).copied().unwrap_or(UNSEEN)),
            Building::Plain(texts) => texts.push(Some(text.into())),
            Building::Numbers(_) => {
                let message = format!("expected a number, found {}", quoted(text));
                let error = Error::new(ErrorKind::Value, message).in_row(self.row as usize);
                return Err(error.with_hint("make the column categorical"));
            }
            Building::Empty(_) => unreachable!("it has just been replaced"),
        }
        Ok(())
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
            let found = quoted(&bytes.escape_ascii().to_string());
            let message = format!("expected UTF-8 text, found {found}");
            Error::new(ErrorKind::Format, message).in_row(self.row as usize)
        })?;
        match options.is_missing(text.trim()) {
            true => self.missing(),
            false => self.text(text.trim())?,
        }
        Ok(())
    }

    /// All that was read.
    pub(super) fn finish(self) -> Values {
        match self.values {
            Building::Empty(n) => Values::Numeric(vec![f64::NAN; n]),
            Building::Numbers(v) => Values::Numeric(v),
            Building::Texts(levels) => levels.finish(),
            Building::Codes(..) | Building::Plain(_) => {
                unreachable!("these are taken chunk by chunk")
            }
        }
    }

    /// What was read since the last time, where the layout is known.
    pub(super) fn take(&mut self) -> ChunkColumn {
        match &mut self.values {
            Building::Numbers(v) => ChunkColumn::Numbers(std::mem::take(v)),
            Building::Codes(_, codes) => ChunkColumn::Codes(std::mem::take(codes)),
            _ => unreachable!("the layout is known"),
        }
    }

    /// The texts read since the last time.
    pub(super) fn take_plain(&mut self) -> Vec<Option<Box<str>>> {
        match &mut self.values {
            Building::Plain(texts) => std::mem::take(texts),
            _ => unreachable!("texts were asked for"),
        }
    }
}

fn too_few() -> Error {
    let message = "expected a value for each row, found fewer";
    Error::new(ErrorKind::Format, message)
}

fn infinite_at(x: f64, row: u64) -> Error {
    let message = format!("expected a finite number, found {x}");
    Error::new(ErrorKind::Value, message).in_row(row as usize)
}

/// Seconds since 1970 of a timestamp of 96 bits.
fn seconds(v: &Int96) -> Option<f64> {
    let &[low, high, day] = v.data() else {
        return None;
    };
    let nanoseconds = f64::from(low) + f64::from(high) * 4_294_967_296.0;
    // The Julian day of 1970 is 2,440,588.
    Some((f64::from(day) - 2_440_588.0) * 86_400.0 + nanoseconds / 1e9)
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
