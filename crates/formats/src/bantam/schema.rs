//! The schema in the header, and its numbers among the packed ones.

use bantam_codec::bits::BitWriter;
use bantam_core::schema::{ColumnSchema, Encoding, InputSchema, Schema, TargetKind, TargetSchema};

use super::floats::{Bits, read_block, write_block};
use super::graph::MAX_AXES;
use super::text::{Sink, Source};
use crate::{Error, Result};

const NONE: u8 = 0;
const TABLE: u8 = 1;
const IMAGE: u8 = 2;
const ARRAY: u8 = 3;

const NUMERIC: u8 = 0;
const ONE_HOT: u8 = 2;
/// Added to the code of an encoding.
const MISSING: u8 = 1;

const NUMBER: u8 = 0;
const CLASSES: u8 = 1;

/// Most columns, categories of a column, or classes.
const MAX_COLUMNS: usize = 1 << 20;

/// Appends a schema to the header and its normalisation to the numbers.
pub(super) fn write(
    sink: &mut Sink,
    numbers: &mut BitWriter,
    schema: Option<&Schema>,
) -> Result<()> {
    let Some(schema) = schema else {
        sink.byte(NONE);
        return Ok(());
    };
    let invalid = |e| Error::unstorable(format!("schema: {e}")).caused_by(e);
    schema.check().map_err(invalid)?;
    match &schema.input {
        InputSchema::Table { columns } => write_table(sink, numbers, columns)?,
        InputSchema::Image {
            channels,
            height,
            width,
            offset,
            scale,
        } => {
            sink.byte(IMAGE);
            [channels, height, width]
                .into_iter()
                .try_for_each(|&size| sink.size(size))?;
            write_block(numbers, offset);
            write_block(numbers, scale);
        }
        InputSchema::Array {
            shape,
            offset,
            scale,
        } => {
            sink.byte(ARRAY);
            sink.size(shape.len())?;
            shape.iter().try_for_each(|&size| sink.size(size))?;
            write_block(numbers, &[*offset, *scale]);
        }
    }
    sink.string(&schema.target.name)?;
    match &schema.target.kind {
        TargetKind::Classes(classes) => {
            sink.byte(CLASSES);
            sink.size(classes.len())?;
            sink.strings(classes)
        }
        TargetKind::Number { offset, scale } => {
            sink.byte(NUMBER);
            write_block(numbers, &[*offset, *scale]);
            Ok(())
        }
    }
}

fn write_table(sink: &mut Sink, numbers: &mut BitWriter, columns: &[ColumnSchema]) -> Result<()> {
    sink.byte(TABLE);
    sink.size(columns.len())?;
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    sink.strings(&names)?;
    for run in columns.chunk_by(|a, b| code(&a.encoding) == code(&b.encoding)) {
        sink.byte(code(&run[0].encoding));
        sink.size(run.len())?;
    }
    let (mut offsets, mut scales) = (Vec::new(), Vec::new());
    for column in columns {
        match &column.encoding {
            Encoding::Numeric { offset, scale, .. } => {
                offsets.push(*offset);
                scales.push(*scale);
            }
            Encoding::OneHot { categories, .. } => {
                sink.size(categories.len())?;
                sink.strings(categories)?;
            }
        }
    }
    write_block(numbers, &offsets);
    write_block(numbers, &scales);
    Ok(())
}

fn code(encoding: &Encoding) -> u8 {
    match encoding {
        Encoding::Numeric { missing, .. } => NUMERIC + u8::from(*missing),
        Encoding::OneHot { missing, .. } => ONE_HOT + u8::from(*missing),
    }
}

/// A schema whose numbers have not been read.
#[derive(Debug)]
pub(super) struct Draft(Schema);

/// Reads the part of a schema that is in the header.
pub(super) fn read(source: &mut Source<'_>) -> Result<Option<Draft>> {
    let input = match source.byte()? {
        NONE => return Ok(None),
        TABLE => InputSchema::Table {
            columns: read_columns(source)?,
        },
        IMAGE => InputSchema::Image {
            channels: source.count("channels", MAX_COLUMNS)?,
            height: source.size()?,
            width: source.size()?,
            offset: Vec::new(),
            scale: Vec::new(),
        },
        ARRAY => {
            let n = source.count("axes", MAX_AXES)?;
            let shape = (0..n).map(|_| source.size()).collect::<Result<_>>()?;
            InputSchema::Array {
                shape,
                offset: 0.0,
                scale: 0.0,
            }
        }
        other => return Err(Error::corrupt(format!("unknown kind of input {other}"))),
    };
    source.mark("schema: input");
    let name = source.string()?;
    let kind = match source.byte()? {
        NUMBER => TargetKind::Number {
            offset: 0.0,
            scale: 0.0,
        },
        CLASSES => {
            let n = source.count("classes", MAX_COLUMNS)?;
            TargetKind::Classes(source.strings(n)?)
        }
        other => return Err(Error::corrupt(format!("unknown kind of target {other}"))),
    };
    source.mark("schema: target");
    Ok(Some(Draft(Schema {
        input,
        target: TargetSchema { name, kind },
    })))
}

fn read_columns(source: &mut Source<'_>) -> Result<Vec<ColumnSchema>> {
    let n = source.count("columns", MAX_COLUMNS)?;
    let names = source.strings(n)?;
    source.mark("schema: column names");
    let mut encodings = Vec::new();
    while encodings.len() < n {
        let code = source.byte()?;
        let n_run = source.count("columns of one kind", n - encodings.len())?;
        let missing = code & MISSING != 0;
        let encoding = match code & !MISSING {
            NUMERIC => Encoding::Numeric {
                offset: 0.0,
                scale: 0.0,
                missing,
            },
            ONE_HOT => Encoding::OneHot {
                categories: Vec::new(),
                missing,
            },
            _ => return Err(Error::corrupt(format!("unknown encoding {code}"))),
        };
        if n_run == 0 {
            return Err(Error::corrupt("a run of no columns"));
        }
        encodings.extend(vec![encoding; n_run]);
    }
    source.mark("schema: encodings");
    for encoding in &mut encodings {
        match encoding {
            Encoding::Numeric { .. } => {}
            Encoding::OneHot { categories, .. } => {
                let n = source.count("categories", MAX_COLUMNS)?;
                *categories = source.strings(n)?;
            }
        }
    }
    source.mark("schema: categories");
    let column = |(name, encoding)| ColumnSchema { name, encoding };
    Ok(names.into_iter().zip(encodings).map(column).collect())
}

impl Draft {
    /// Reads the numbers; errs when the schema is not valid.
    pub(super) fn complete(self, numbers: &mut Bits<'_>) -> Result<Schema> {
        let mut schema = self.0;
        match &mut schema.input {
            InputSchema::Table { columns } => complete_columns(columns, numbers)?,
            InputSchema::Image {
                channels,
                offset,
                scale,
                ..
            } => {
                *offset = read_block(numbers, *channels)?;
                *scale = read_block(numbers, *channels)?;
            }
            InputSchema::Array { offset, scale, .. } => [*offset, *scale] = pair(numbers)?,
        }
        match &mut schema.target.kind {
            TargetKind::Number { offset, scale } => [*offset, *scale] = pair(numbers)?,
            TargetKind::Classes(_) => {}
        }
        numbers.mark("schema: normalisation");
        schema.check()?;
        Ok(schema)
    }
}

fn complete_columns(columns: &mut [ColumnSchema], numbers: &mut Bits<'_>) -> Result<()> {
    let is_numeric = |c: &&mut ColumnSchema| matches!(c.encoding, Encoding::Numeric { .. });
    let n = columns.iter_mut().filter(is_numeric).count();
    let mut offsets = read_block(numbers, n)?.into_iter();
    let mut scales = read_block(numbers, n)?.into_iter();
    for column in columns {
        if let Encoding::Numeric { offset, scale, .. } = &mut column.encoding {
            let next = offsets.next().zip(scales.next());
            (*offset, *scale) = next.expect("there are as many as numeric columns");
        }
    }
    Ok(())
}

fn pair(numbers: &mut Bits<'_>) -> Result<[f32; 2]> {
    let pair = read_block(numbers, 2)?;
    Ok([pair[0], pair[1]])
}
