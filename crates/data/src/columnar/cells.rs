//! Cells of one Parquet column, whatever its stored type, as numbers or categories.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray, Int96};
use parquet::schema::types::ColumnDescriptor;

use super::from_parquet;
use crate::chunks::{ChunkColumn, Distinct, LayoutColumn, MOST_TARGET_VALUES, UNSEEN};
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
    /// Which rows have a value, and what values there are.
    Labels(Box<Labels>),
}

/// What a target is like, without its cells.
#[derive(Default)]
struct Labels {
    present: Vec<bool>,
    found: Distinct,
    known: Known,
}

/// Bits of numbers that were found before: most targets have few, which need not be spelled out in each row.
struct Known {
    numbers: HashSet<u64>,
    /// Some of them, each at a place that its bits say, which is found faster.
    recent: [Option<u64>; RECENT],
}

/// Numbers that are found fast.
const RECENT: usize = 256;

impl Default for Known {
    fn default() -> Known {
        Known {
            numbers: HashSet::new(),
            recent: [None; RECENT],
        }
    }
}

impl Known {
    /// Whether `x` was there before; it is from now on, unless there are too many.
    fn has(&mut self, x: f64) -> bool {
        let bits = x.to_bits();
        // The upper bits of a product depend on all bits (Knuth, The Art of Computer Programming 3, 6.4).
        let place = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
        let recent = &mut self.recent[place % RECENT];
        if *recent == Some(bits) {
            return true;
        }
        let known = self.numbers.contains(&bits);
        if known || self.numbers.len() <= MOST_TARGET_VALUES {
            *recent = Some(bits);
            self.numbers.insert(bits);
        }
        known
    }
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

    /// Cells of a target: which of them are there, and what they are.
    pub(super) fn labels(descriptor: &ColumnDescriptor) -> Cells {
        Cells::with(descriptor, Building::Labels(Box::default()))
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

    /// Numbers, all of a read at a time where they become numbers.
    fn numbers<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        most: usize,
        convert: impl Fn(&T::T) -> f64,
    ) -> Result<usize> {
        if let Building::Empty(n) = self.values {
            self.values = Building::Numbers(vec![f64::NAN; n]);
        }
        let Building::Numbers(cells) = &mut self.values else {
            return self.each(reader, most, |cells, v| cells.number(convert(v)));
        };
        let mut levels = Vec::new();
        let nullable = (self.defined > 0).then_some(&mut levels);
        let begin = cells.len();
        // Doubles, the only ones of that type, are read to where they stay.
        let read = match (cells as &mut dyn Any).downcast_mut::<Vec<T::T>>() {
            Some(cells) => reader.read_records(most, nullable, None, cells),
            None => {
                let mut values = Vec::with_capacity(most);
                let read = reader.read_records(most, nullable, None, &mut values);
                cells.extend(values.iter().map(convert));
                read
            }
        };
        let (records, _, _) = read.map_err(from_parquet)?;
        let values = cells.len() - begin;
        // A fold without a branch, so that the compiler makes vectors of it.
        let found = cells[begin..].iter();
        let infinite = found.fold(false, |found, x| found | x.is_infinite());
        if values < records {
            spread(cells, begin, &levels, self.defined, records)?;
        } else if values > records {
            return Err(too_few());
        }
        if infinite {
            let at = cells[begin..].iter().position(|x| x.is_infinite());
            let at = at.expect("there is one");
            return Err(infinite_at(cells[begin + at], self.row + at as u64));
        }
        if let Some((rows, at)) = &mut self.wanted {
            let kept = rows[*at..].partition_point(|&row| row < self.row + records as u64);
            for (to, &row) in (begin..).zip(&rows[*at..*at + kept]) {
                cells[to] = cells[begin + (row - self.row) as usize];
            }
            cells.truncate(begin + kept);
            *at += kept;
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
            Building::Labels(labels) => labels.present.push(false),
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
            Building::Labels(labels) => match labels.known.has(x) {
                true => labels.present.push(true),
                false => self.text(&x.to_string())?,
            },
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
            Building::Labels(labels) => {
                labels.found.offer(text);
                labels.present.push(true);
            }
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
            Building::Codes(..) | Building::Labels(_) => {
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

    /// Gives back what [`take`](Cells::take) gave, for the room it has: memory that was used before is faster.
    pub(super) fn reuse(&mut self, column: ChunkColumn) {
        match (&mut self.values, column) {
            (Building::Numbers(v), ChunkColumn::Numbers(old)) if v.is_empty() => {
                *v = old;
                v.clear();
            }
            (Building::Codes(_, codes), ChunkColumn::Codes(old)) if codes.is_empty() => {
                *codes = old;
                codes.clear();
            }
            _ => {}
        }
    }

    /// Hands over which of the rows read since the last time have a value.
    pub(super) fn take_present(&mut self, take: &mut dyn FnMut(bool)) {
        match &mut self.values {
            Building::Labels(labels) => labels.present.drain(..).for_each(take),
            _ => unreachable!("labels were asked for"),
        }
    }

    /// The values of a target.
    pub(super) fn found(self) -> Distinct {
        match self.values {
            Building::Labels(labels) => labels.found,
            _ => unreachable!("labels were asked for"),
        }
    }
}

/// Moves the values behind `begin` to the rows whose level says that they have one; the other rows are NaN.
fn spread(
    cells: &mut Vec<f64>,
    begin: usize,
    levels: &[i16],
    defined: i16,
    rows: usize,
) -> Result<()> {
    if levels.len() != rows {
        return Err(too_few());
    }
    let mut next = cells.len();
    cells.resize(begin + rows, f64::NAN);
    for (row, &level) in levels.iter().enumerate().rev() {
        cells[begin + row] = match level == defined {
            true if next == begin => return Err(too_few()),
            true => {
                next -= 1;
                cells[next]
            }
            false => f64::NAN,
        };
    }
    match next == begin {
        true => Ok(()),
        false => Err(too_few()),
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
