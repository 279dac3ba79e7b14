//! Parquet files to typed tables, whole, as a sample, or block by block.
//!
//! Columns of the base types at the top level become numeric (integers, floats, decimals, dates,
//! timestamps) or categorical (text, booleans). Lists, maps and structs are refused by name.

mod cells;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use rayon::prelude::*;

use crate::chunks::{Blocks, Distinct, Failure, Layout, Reservoir, Sample, Sampling};
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::guard;
use crate::options::{ReadOptions, number};
use crate::table::{Column, Table, Values, unknown};
use cells::Cells;

/// Most rows read at a time: what looks up each cell of a column in a table finds it in the cache.
const MOST_ROWS: usize = 1 << 15;
/// Rows of a block: some pages of a column are read one after the other, and then those of the next column.
const BLOCK_ROWS: usize = 1 << 17;

/// Reads a Parquet file.
///
/// Errs when the file is missing, damaged, has columns of other than base types, an infinite number,
/// or text that is not UTF-8, and when a column named in `options` is not there or not of that type.
pub fn read_parquet(path: &Path, options: &ReadOptions) -> Result<Table> {
    guarded(path, || read_rows(path, options, None))
}

/// The reader asserts some of what it was told by the file.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let message = "expected a Parquet file, found one that contradicts itself";
    guard::guarded(path, message, read)
}

/// An open file. (The library's own reader can give rows as well, and all that takes is linked with it.)
struct Reader {
    file: Arc<File>,
    metadata: ParquetMetaData,
}

/// Opens a file whose columns can all be read.
fn open(path: &Path, options: &ReadOptions) -> Result<Reader> {
    let file = file::open_raw(path)?;
    guarded(path, || {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file);
        let reader = Reader {
            file: Arc::new(file),
            metadata: metadata.map_err(from_parquet)?,
        };
        check(&reader, options)?;
        Ok(reader)
    })
}

fn check(reader: &Reader, options: &ReadOptions) -> Result<()> {
    let columns = columns(reader);
    if columns.len() > options.max_columns {
        let (most, found) = (options.max_columns, columns.len());
        let message = format!("expected at most {most} columns, found {found}");
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let named = options.numeric.iter().chain(&options.categorical);
    for name in named.chain(&options.columns) {
        place(reader, name)?;
    }
    for descriptor in columns.iter().filter(|c| options.wants(c.name())) {
        let top_level = descriptor.path().parts().len() == 1;
        if !top_level || descriptor.max_rep_level() > 0 {
            let message = "expected a number, text or a boolean, found a list, map or struct";
            let error = Error::new(ErrorKind::Column, message);
            return Err(error.in_column(&descriptor.path().string()));
        }
    }
    check_groups(reader.metadata.row_groups(), options)
}

/// Brotli is left out: hardly any Parquet file has it, and it would make the program a megabyte larger.
fn check_groups(groups: &[RowGroupMetaData], options: &ReadOptions) -> Result<()> {
    for group in groups {
        for column in group.columns() {
            let name = column.column_descr().name();
            if matches!(column.compression(), Compression::BROTLI(_)) && options.wants(name) {
                let message =
                    "expected no compression, Snappy, gzip, LZ4 or Zstandard, found Brotli";
                let error = Error::new(ErrorKind::Format, message).in_column(name);
                return Err(error.with_hint("write the file with Snappy or Zstandard"));
            }
        }
    }
    Ok(())
}

fn columns(reader: &Reader) -> &[Arc<ColumnDescriptor>] {
    reader.metadata.file_metadata().schema_descr().columns()
}

/// The names of the columns.
pub(crate) fn names(path: &Path, options: &ReadOptions) -> Result<Vec<String>> {
    let reader = open(path, options)?;
    Ok(columns(&reader)
        .iter()
        .map(|c| c.name().to_owned())
        .collect())
}

/// The index of a column; errs when it is not there.
fn place(reader: &Reader, name: &str) -> Result<usize> {
    let columns = columns(reader);
    let at = columns.iter().position(|c| c.name() == name);
    at.ok_or_else(|| unknown(name, columns.iter().map(|c| c.name())))
}

/// Number of the first row of each row group, and of the row after the last one.
fn group_starts(reader: &Reader) -> Result<Vec<u64>> {
    let mut starts = vec![0u64];
    for group in reader.metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).ok();
        let next = rows.and_then(|rows| starts[starts.len() - 1].checked_add(rows));
        starts.push(next.ok_or_else(|| {
            let message = format!("a row group of {} rows", group.num_rows());
            Error::new(ErrorKind::Format, message)
        })?);
    }
    Ok(starts)
}

fn column_of(reader: &Reader, group: usize, column: usize) -> Result<ColumnReader> {
    let group = reader.metadata.row_group(group);
    let rows = usize::try_from(group.num_rows()).map_err(|e| from_parquet(e.into()))?;
    let file = Arc::clone(&reader.file);
    let pages = SerializedPageReader::new(file, group.column(column), rows, None);
    let descriptor = Arc::clone(&columns(reader)[column]);
    let pages = Box::new(pages.map_err(from_parquet)?);
    Ok(get_column_reader(descriptor, pages))
}

/// All rows, or those of `rows`, which ascend; columns in parallel.
fn read_rows(path: &Path, options: &ReadOptions, rows: Option<&Arc<[u64]>>) -> Result<Table> {
    let reader = open(path, options)?;
    let wanted = columns(&reader).iter().enumerate();
    let wanted = wanted.filter(|(_, c)| options.wants(c.name()));
    let places: Vec<usize> = wanted.map(|(at, _)| at).collect();
    drop(reader);
    // A reader for each piece of work: readers of one file share its position.
    let piece = places.len().div_ceil(rayon::current_num_threads()).max(1);
    let read = |places: &[usize]| {
        let reader = open(path, options)?;
        let column = |&at| read_column(&reader, at, options, rows);
        guarded(path, || {
            places.iter().map(column).collect::<Result<Vec<Column>>>()
        })
    };
    let found: Vec<Result<Vec<Column>>> = places.par_chunks(piece).map(read).collect();
    let mut all = Vec::with_capacity(places.len());
    for columns in found {
        all.extend(columns?);
    }
    let table = Table::new(all)?;
    if table.rows() == 0 {
        return Err(Error::new(ErrorKind::Rows, "there are no rows"));
    }
    Ok(table)
}

fn read_column(
    reader: &Reader,
    at: usize,
    options: &ReadOptions,
    rows: Option<&Arc<[u64]>>,
) -> Result<Column> {
    let descriptor = &columns(reader)[at];
    let name = descriptor.name();
    let wants = |names: &[String]| names.iter().any(|n| n == name);
    let mut cells = Cells::new(descriptor, wants(&options.categorical));
    if let Some(rows) = rows {
        cells = cells.only(rows);
    }
    for group in 0..reader.metadata.num_row_groups() {
        let mut column = column_of(reader, group, at)?;
        let mut read = || cells.read(&mut column, MOST_ROWS, options);
        while read().map_err(|e| e.in_column(name))? > 0 {}
    }
    let values = cells.finish();
    if wants(&options.numeric) && !matches!(values, Values::Numeric(_)) {
        let error = Error::new(ErrorKind::Value, "expected numbers, found text");
        return Err(error.in_column(name));
    }
    Ok(Column::new(name, values))
}

/// The sample of a Parquet file: the target is read first, then the rows of the sample.
pub(crate) fn sample(
    path: &Path,
    options: &ReadOptions,
    sampling: Sampling,
    may: &dyn Fn(u64) -> bool,
) -> Result<Sample> {
    let reader = open(path, options)?;
    guarded(path, || {
        let mut kept = Reservoir::new(sampling.most, sampling.seed, may);
        let (mut values, mut without_target) = (Distinct::default(), 0);
        match sampling.target {
            None => {
                let rows = *group_starts(&reader)?.last().expect("there is one");
                (0..rows).for_each(|row| kept.offer(|| row));
            }
            Some(name) => {
                let mut row = 0;
                let mut offer = |present: bool| {
                    match present {
                        true => kept.offer(|| row),
                        false => without_target += 1,
                    }
                    row += 1;
                };
                values = labels(&reader, name, options, &mut offer)?;
            }
        }
        let rows = kept.rows();
        if rows == 0 && without_target > 0 {
            return Err(Error::new(ErrorKind::Target, "no row has a target"));
        }
        let target_values = values.finish();
        let mut options = options.clone();
        if let Some(name) = sampling.target
            && target_values.iter().any(|v| number(v).is_none())
        {
            options.categorical.push(name.to_owned());
        }
        let wanted: Arc<[u64]> = kept.finish().into();
        let mut table = read_rows(path, &options, Some(&wanted))?;
        if let Some(name) = sampling.target {
            table.widen_levels(name, &target_values);
        }
        Ok(Sample {
            table,
            rows,
            without_target,
            target_values,
        })
    })
}

/// Says of each row in order whether it has a value of the target, and returns its values.
fn labels(
    reader: &Reader,
    name: &str,
    options: &ReadOptions,
    take: &mut dyn FnMut(bool),
) -> Result<Distinct> {
    let at = place(reader, name)?;
    let mut cells = Cells::labels(&columns(reader)[at]);
    for group in 0..reader.metadata.num_row_groups() {
        let mut column = column_of(reader, group, at)?;
        while {
            let read = cells.read(&mut column, MOST_ROWS, options);
            read.map_err(|e| e.in_column(name))? > 0
        } {
            cells.take_present(take);
        }
    }
    Ok(cells.found())
}

/// The cells of a Parquet file, row groups in parallel.
pub(crate) fn blocks(
    path: &Path,
    options: &ReadOptions,
    layout: &Layout,
    blocks: &impl Blocks,
) -> Result<u64> {
    let reader = open(path, options)?;
    let starts = group_starts(&reader)?;
    let named = layout.columns.iter().map(|c| place(&reader, &c.name));
    let places = named.collect::<Result<Vec<usize>>>()?;
    drop(reader);
    let failure = Failure::new();
    let groups = 0..starts.len() - 1;
    // A reader for each piece of work: readers of one file share its position.
    groups.into_par_iter().for_each_init(
        || open(path, options),
        |reader, group| {
            if !failure.none_before(group as u64) {
                return;
            }
            let read = match reader {
                Ok(reader) => guarded(path, || {
                    group_blocks(
                        reader,
                        (group, starts[group]),
                        &places,
                        (layout, options),
                        blocks,
                    )
                }),
                Err(_) => open(path, options).map(drop),
            };
            if let Err(error) = read {
                failure.keep(group as u64, error);
            }
        },
    );
    failure.finish()?;
    Ok(*starts.last().expect("there is one"))
}

fn group_blocks<B: Blocks>(
    reader: &Reader,
    (group, first_row): (usize, u64),
    places: &[usize],
    (layout, options): (&Layout, &ReadOptions),
    blocks: &B,
) -> Result<()> {
    let open = places.iter().zip(&layout.columns).map(|(&at, column)| {
        let cells = Cells::in_layout(&columns(reader)[at], column).starting_at(first_row);
        Ok((column_of(reader, group, at)?, cells, column.name.as_str()))
    });
    let mut open = open.collect::<Result<Vec<_>>>()?;
    let uneven = || {
        let message = "the columns of a row group have different numbers of rows";
        Error::new(ErrorKind::Format, message)
    };
    // What cells have been in is used for the next: it is in the cache.
    let mut room = None;
    loop {
        let (mut block, mut rows) = (B::Block::default(), None);
        for (at, (column, cells, name)) in open.iter_mut().enumerate() {
            let mut row = 0;
            while row < BLOCK_ROWS {
                if let Some(room) = room.take() {
                    cells.reuse(room);
                }
                let read = cells.read(column, MOST_ROWS.min(BLOCK_ROWS - row), options);
                let read = read.map_err(|e| e.in_column(name))?;
                if rows.is_some_and(|rows| row + read > rows) {
                    return Err(uneven());
                }
                if read == 0 {
                    break;
                }
                let found = cells.take();
                blocks.cells(&mut block, at, row, &found)?;
                room = Some(found);
                row += read;
            }
            if *rows.get_or_insert(row) != row {
                return Err(uneven());
            }
        }
        match rows {
            None | Some(0) => return Ok(()),
            Some(rows) => blocks.done(block, rows)?,
        }
    }
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
    use crate::chunks::whole::{Chunk, for_each_chunk};
    use crate::chunks::{ChunkColumn, LayoutColumn, sample_table};
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
    fn chunks_and_samples_are_the_rows_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir, parquet::basic::Compression::SNAPPY);
        let options = ReadOptions::default();
        let whole = read_parquet(&path, &options).unwrap();
        let sampling = |most, target| Sampling {
            most,
            seed: 1,
            target,
        };
        let all = sample_table(&path, &options, sampling(99, None)).unwrap();
        // As texts, for NaN is not equal to itself.
        let same = format!("{:?}", all.table) == format!("{whole:?}");
        assert_eq!((all.rows, same), (10, true));
        let some = sample_table(&path, &options, sampling(6, Some("s"))).unwrap();
        assert_eq!((some.rows, some.without_target), (6, 4));
        assert_eq!(some.target_values, ["x", "y"]);
        assert_eq!(numbers(&some.table, "d"), [1.0, 3.0, 4.0, 1.0, 3.0, 4.0]);
        let names = ["d", "i", "s", "b"];
        let layout = Layout::of(&whole, &names).unwrap();
        let groups = std::sync::Mutex::new(Vec::new());
        let visit = |chunk: &Chunk| {
            groups.lock().unwrap().push(chunk.clone());
            Ok(())
        };
        assert_eq!(
            for_each_chunk(&path, &options, &layout, &visit).unwrap(),
            10
        );
        for chunk in groups.into_inner().unwrap() {
            for (name, column) in names.iter().zip(&chunk.columns) {
                let rows: Vec<usize> = (0..chunk.rows).collect();
                match (column, whole.column(name).unwrap().values.select(&rows)) {
                    (ChunkColumn::Numbers(v), Values::Numeric(w)) => {
                        assert_eq!(format!("{v:?}"), format!("{w:?}"), "{name}");
                    }
                    (ChunkColumn::Codes(c), Values::Categorical { codes, .. }) => {
                        assert_eq!(*c, codes, "{name}");
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    }

    /// Row groups of more than a block, with missing cells, in pages that end in different rows.
    #[test]
    fn blocks_are_neighbouring_rows_of_all_columns() {
        let rows = [BLOCK_ROWS + 12_345, 7, 2 * BLOCK_ROWS];
        let x = |row: usize| (row % 5 != 2).then_some(row as f64 / 4.0);
        let kind = |row: usize| row % 3;
        let message =
            "message m { optional double x; required int32 row; required binary kind (STRING); }";
        let schema = Arc::new(parse_message_type(message).unwrap());
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(10_007)
            .build();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let file = File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        let mut first = 0;
        for n in rows {
            let of_group = first..first + n;
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let known: Vec<f64> = of_group.clone().filter_map(x).collect();
            let levels: Vec<i16> = of_group
                .clone()
                .map(|row| i16::from(x(row).is_some()))
                .collect();
            let typed = column.typed::<DoubleType>();
            typed.write_batch(&known, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let numbers: Vec<i32> = of_group.clone().map(|row| row as i32).collect();
            column
                .typed::<Int32Type>()
                .write_batch(&numbers, None, None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let names = of_group.map(|row| ByteArray::from(["a", "b", "c"][kind(row)]));
            let names: Vec<ByteArray> = names.collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&names, None, None)
                .unwrap();
            column.close().unwrap();
            group.close().unwrap();
            first += n;
        }
        writer.close().unwrap();
        let numbers = |name: &str| LayoutColumn {
            name: name.to_owned(),
            levels: None,
        };
        let kinds = LayoutColumn {
            name: "kind".to_owned(),
            levels: Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]),
        };
        let layout = Layout {
            columns: vec![kinds, numbers("row"), numbers("x")],
        };
        let found = std::sync::Mutex::new(Vec::new());
        let visit = |chunk: &Chunk| {
            let [
                ChunkColumn::Codes(kinds),
                ChunkColumn::Numbers(numbers),
                ChunkColumn::Numbers(values),
            ] = &chunk.columns[..]
            else {
                panic!("{} columns", chunk.columns.len())
            };
            let begin = numbers[0] as usize;
            for (i, row) in (begin..begin + chunk.rows).enumerate() {
                assert_eq!(numbers[i], row as f64);
                assert_eq!(kinds[i] as usize, kind(row), "row {row}");
                let value = (!values[i].is_nan()).then_some(values[i]);
                assert_eq!(value, x(row), "row {row}");
            }
            found.lock().unwrap().push((begin, chunk.rows));
            Ok(())
        };
        let n = for_each_chunk(&path, &ReadOptions::default(), &layout, &visit).unwrap();
        assert_eq!(n as usize, first);
        let mut found = found.into_inner().unwrap();
        found.sort_unstable();
        let second = rows[0] + rows[1];
        let expected = [
            (0, BLOCK_ROWS),
            (BLOCK_ROWS, 12_345),
            (rows[0], 7),
            (second, BLOCK_ROWS),
            (second + BLOCK_ROWS, BLOCK_ROWS),
        ];
        assert_eq!(found, expected);
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
    fn brotli_is_refused() {
        // The writer has no Brotli either: the code of the compression in the metadata is changed.
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir, Compression::GZIP(Default::default()));
        let reader = open(&path, &ReadOptions::default()).unwrap();
        let group = reader
            .metadata
            .row_group(0)
            .column(0)
            .clone()
            .into_builder();
        let column = group.set_compression(Compression::BROTLI(Default::default()));
        let groups = reader.metadata.row_group(0).clone().into_builder();
        let mut columns = reader.metadata.row_group(0).columns().to_vec();
        columns[0] = column.build().unwrap();
        let groups = groups.set_column_metadata(columns).build().unwrap();
        let error = check_groups(&[groups], &ReadOptions::default()).unwrap_err();
        assert_eq!(error.column(), Some("b"));
        assert!(error.to_string().contains("found Brotli"), "{error}");
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
        let whole = read_parquet(&dir.path().join("t.parquet"), &ReadOptions::default()).unwrap();
        let layout = Layout::of(&whole, &["d", "i", "s", "b"]).unwrap();
        let target = Some("s");
        let sampling = Sampling {
            most: 4,
            seed: 1,
            target,
        };
        let path = dir.path().join("bad.parquet");
        let mut rng = crate::rng::Rng::new(2, 2);
        let seconds = std::env::var("BANTAM_FUZZ_SECONDS");
        let seconds: u64 = seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(0);
        let (time, start) = (
            std::time::Duration::from_secs(seconds),
            std::time::Instant::now(),
        );
        let mut round = 0;
        while round < 2000 || start.elapsed() < time {
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
            let _ = sample(&path, &ReadOptions::default(), sampling, &|_| true);
            let _ = for_each_chunk(&path, &ReadOptions::default(), &layout, &|_| Ok(()));
            if let Err(error) = read_parquet(&path, &ReadOptions::default()) {
                assert_eq!(error.file(), Some(path.as_path()));
            } else {
                assert_ne!(round % 4, 0, "a truncated file was read");
            }
            round += 1;
        }
    }
}
