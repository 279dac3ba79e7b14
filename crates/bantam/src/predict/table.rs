//! Tables: delimited text record by record, others whole.

use std::io::{Read, Write};
use std::path::Path;

use bantam_core::schema::{InputSchema, Schema};
use bantam_data::{
    ErrorKind as DataErrorKind, ReadOptions, Records, RowEncoder, Target, Targets, encode_inputs,
    read_table, targets,
};

use super::{BATCH, PredictOptions, Predictor, Session, Summary};
use crate::Result;
use crate::watch::Observer;

/// What the reader is told.
pub(super) fn read_options(options: &PredictOptions) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.header = options.header;
    read
}

/// Whether `path` is to be read as text: not Parquet, not NumPy, by name or first bytes.
pub(super) fn is_delimited(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    let named = |known: &str| extension.is_some_and(|e| e.eq_ignore_ascii_case(known));
    if ["parquet", "npy", "npz"].iter().any(|known| named(known)) {
        return false;
    }
    let mut start = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A file that cannot be read is reported by the reader that comes next.
        let _ = file.take(6).read_to_end(&mut start);
    }
    let magics: [&[u8]; 3] = [b"PAR1", b"\x93NUMPY", b"PK\x03\x04"];
    !magics.iter().any(|magic| start.starts_with(magic))
}

/// Opens delimited text. Whether there is a header is a guess unless the user says it, so the other
/// guess is tried when the columns that the network needs are not there.
pub(super) fn open(
    path: &Path,
    schema: &Schema,
    options: &PredictOptions,
) -> Result<(Records, RowEncoder)> {
    let open = |read: &ReadOptions| -> bantam_data::Result<(Records, RowEncoder)> {
        let records = Records::open(path, read)?;
        let encoder = RowEncoder::new(schema, records.header()).map_err(|e| e.in_file(path))?;
        Ok((records, encoder.with(options.unseen, read)))
    };
    let read = read_options(options);
    let error = match open(&read) {
        Err(e) if e.kind() == DataErrorKind::Column && options.header.is_none() => e,
        result => return Ok(result?),
    };
    let mut other = read.clone();
    other.header = Some(!Records::open(path, &read)?.has_header());
    if other.header == Some(false) && !is_numbered(schema) {
        return Err(error.into());
    }
    open(&other).map_err(|_| error.into())
}

/// Whether the columns have the names that they get without a header.
fn is_numbered(schema: &Schema) -> bool {
    let InputSchema::Table { columns } = &schema.input else {
        return false;
    };
    columns.iter().all(|c| {
        let digits = c.name.strip_prefix('c');
        digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Answers a table that is read whole: Parquet, or a matrix.
pub(super) fn predict(
    predictor: &mut Predictor,
    path: &Path,
    options: &PredictOptions,
    out: &mut dyn Write,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let table = read_table(path, &read_options(options))?;
    let names: Vec<String> = table.names().map(str::to_owned).collect();
    let schema = predictor.schema.clone();
    let encoder = RowEncoder::new(&schema, &names).map_err(|e| e.in_file(path))?;
    encoder.notices().iter().for_each(|n| observer.warn(n));
    let rows: Vec<usize> = (0..table.rows()).collect();
    let known = encoder
        .has_target()
        .then(|| table.column(&schema.target.name))
        .transpose()?;
    let mut session = Session::new(predictor, options.format, out, false)?;
    for rows in rows.chunks(BATCH) {
        let x =
            encode_inputs(&table, &schema, rows, options.unseen).map_err(|e| e.in_file(path))?;
        let values = x.values::<f32>()?;
        let width = schema.width();
        for (i, &row) in rows.iter().enumerate() {
            let target = match known.filter(|c| !c.values.is_missing(row)) {
                Some(_) => {
                    let one = targets(&table, &schema.target, &[row]);
                    Some(only(&one.map_err(|e| e.in_row(row).in_file(path))?))
                }
                None => None,
            };
            session.batch.x.extend(&values[i * width..(i + 1) * width]);
            session.push(target, None)?;
        }
    }
    session.finish()
}

fn only(targets: &Targets) -> Target {
    match targets {
        Targets::Classes(v) => Target::Class(v[0]),
        Targets::Numbers(v) => Target::Number(v[0]),
    }
}
