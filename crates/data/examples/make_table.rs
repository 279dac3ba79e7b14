//! Writes a large table of made-up numbers, for benchmarks: `make_table FILE ROWS`, where FILE ends in
//! `.csv` or `.parquet`. 20 columns of numbers below 1 with six digits, and a class that follows two of
//! them, with one label in ten turned.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use bantam_data::hash;
use parquet::basic::Compression;
use parquet::data_type::{DoubleType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const COLUMNS: u64 = 20;
/// Rows of a row group.
const GROUP: u64 = 1 << 19;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, rows] = &args[..] else {
        return Err("usage: make_table FILE.csv|FILE.parquet ROWS".into());
    };
    let (path, rows) = (Path::new(file), rows.parse()?);
    match path.extension().and_then(|e| e.to_str()) {
        Some("parquet") => parquet(path, rows),
        _ => csv(path, rows),
    }
}

/// Away from the seeds that samples are taken by, which are hashes of the row as well.
const SEED: u64 = 1 << 40;

/// Millionths.
fn cell(row: u64, column: u64) -> u64 {
    ((u128::from(hash(SEED + column, row)) * 1_000_000) >> 64) as u64
}

fn class(row: u64) -> u64 {
    let rule = cell(row, 0) + cell(row, 1) / 2 > 750_000;
    u64::from(rule ^ (cell(row, 99) < 100_000))
}

fn csv(path: &Path, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut to = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let names: Vec<String> = (0..COLUMNS).map(|c| format!("x{c}")).collect();
    writeln!(to, "{},y", names.join(","))?;
    let mut line = Vec::new();
    for row in 0..rows {
        line.clear();
        for column in 0..COLUMNS {
            let value = cell(row, column);
            line.extend_from_slice(b"0.");
            let mut unit = 100_000;
            while unit > 0 {
                line.push(b'0' + (value / unit % 10) as u8);
                unit /= 10;
            }
            line.push(b',');
        }
        line.push(b'0' + class(row) as u8);
        line.push(b'\n');
        to.write_all(&line)?;
    }
    to.flush()?;
    Ok(())
}

fn parquet(path: &Path, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = (0..COLUMNS)
        .map(|c| format!("required double x{c};"))
        .collect();
    let message = format!("message table {{ {} required int32 y; }}", names.join(" "));
    let schema = Arc::new(parse_message_type(&message)?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .build();
    let file = File::create(path)?;
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let mut begin = 0;
    while begin < rows {
        let end = (begin + GROUP).min(rows);
        let mut group = writer.next_row_group()?;
        for column in 0..COLUMNS {
            let values: Vec<f64> = (begin..end).map(|r| cell(r, column) as f64 / 1e6).collect();
            let mut to = group.next_column()?.ok_or("a column is missing")?;
            to.typed::<DoubleType>().write_batch(&values, None, None)?;
            to.close()?;
        }
        let classes: Vec<i32> = (begin..end).map(|r| class(r) as i32).collect();
        let mut to = group.next_column()?.ok_or("the target is missing")?;
        to.typed::<Int32Type>().write_batch(&classes, None, None)?;
        to.close()?;
        group.close()?;
        begin = end;
    }
    writer.close()?;
    Ok(())
}
