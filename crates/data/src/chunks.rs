//! Tables larger than memory: a sample that fixes the types, then all cells by their types.
//!
//! [`sample_table`] goes over a file once and keeps a random sample of its rows; the types of the
//! columns are those of the sample, and a [`Layout`] holds them. [`for_each_block`] goes over the
//! file again and hands out all cells in that layout, from several threads. Memory is that of the
//! sample, or of a block of rows for each thread, however long the file is.
//!
//! A cell that does not fit its column's type is an error with its line: what an in-memory reader
//! would do, to read the whole column again as text, cannot be undone half way.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use crate::columnar;
use crate::delimited::{self, infinite_number};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::load::{Kind, kind};
use crate::options::{ReadOptions, number};
use crate::records::{Record, Records};
use crate::rng::hash;
use crate::table::{MISSING, Table, Values, unknown};

/// The code of a text that is not among the levels of its column.
pub const UNSEEN: u32 = u32::MAX - 1;

/// Most distinct values of a target that a sample lists; with one more they are no classes.
pub const MOST_TARGET_VALUES: usize = 1000;

/// Rows of a chunk, at most.
pub(crate) const CHUNK_ROWS: usize = 8192;
/// Bytes of text of a chunk, about at most.
const CHUNK_BYTES: usize = 1 << 20;

/// Which sample is taken.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// Most rows.
    pub most: usize,
    /// Decides, with the number of a row, whether it is in the sample.
    pub seed: u64,
    /// A column whose distinct values are listed whether they are in the sample or not; rows where
    /// it is missing are not counted.
    pub target: Option<&'a str>,
}

/// A random sample of a file, and what one pass over all its rows says.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The rows, in the order of the file. The levels of the target are those of all rows.
    pub table: Table,
    /// Rows of the file, without those that have no target.
    pub rows: u64,
    /// Rows that have no target.
    pub without_target: u64,
    /// Distinct values of the target in order, up to one more than [`MOST_TARGET_VALUES`].
    pub target_values: Vec<String>,
}

/// The columns that are wanted and their types.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Columns in the order in which [`Blocks`] are given them.
    pub columns: Vec<LayoutColumn>,
}

/// A column and its type.
#[derive(Clone, Debug, PartialEq)]
pub struct LayoutColumn {
    /// Its name in the file.
    pub name: String,
    /// Its categories; none when it is numbers.
    pub levels: Option<Vec<String>>,
}

/// What takes all cells of a file: blocks of neighbouring rows, in each one column after the other. So
/// stored columns are used while they are in the cache, and what is looked up for a column as well.
pub trait Blocks: Sync {
    /// What a block has come to so far. Blocks are made by several threads in any order.
    type Block: Default;

    /// Takes cells of a column of the layout, those from row `from` of the block on. Columns come in the
    /// order of the layout, and the cells of each in the order of rows.
    fn cells(
        &self,
        block: &mut Self::Block,
        column: usize,
        from: usize,
        cells: &ChunkColumn,
    ) -> Result<()>;

    /// Takes a block of so many rows, all cells of which have been taken.
    fn done(&self, block: Self::Block, rows: usize) -> Result<()>;
}

/// Some cells of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum ChunkColumn {
    /// Finite numbers; a missing cell is NaN.
    Numbers(Vec<f64>),
    /// Indices of the levels, [`MISSING`] or [`UNSEEN`].
    Codes(Vec<u32>),
}

impl Layout {
    /// The layout of the columns `names` of a table; errs when one is not there.
    pub fn of(table: &Table, names: &[&str]) -> Result<Layout> {
        let column = |name: &&str| {
            let levels = match &table.column(name)?.values {
                Values::Numeric(_) => None,
                Values::Categorical { levels, .. } => Some(levels.clone()),
            };
            Ok(LayoutColumn {
                name: (*name).to_owned(),
                levels,
            })
        };
        let columns = names.iter().map(column).collect::<Result<_>>()?;
        Ok(Layout { columns })
    }
}

impl LayoutColumn {
    /// Level to code; none for numbers.
    pub(crate) fn codes(&self) -> Option<Arc<HashMap<Box<str>, u32>>> {
        let of = |(code, level): (usize, &String)| (level.as_str().into(), code as u32);
        let levels = self.levels.as_ref()?;
        Some(Arc::new(levels.iter().enumerate().map(of).collect()))
    }
}

/// The names of the columns of a file that [`sample_table`] and [`for_each_block`] can read; none when
/// it is of another kind.
///
/// Errs as the readers do.
pub fn stream_columns(path: &Path, options: &ReadOptions) -> Result<Option<Vec<String>>> {
    let names = match kind(path)? {
        Kind::Text => Records::open(path, options).map(|r| Some(r.header().to_vec())),
        Kind::Parquet => columnar::names(path, options).map(Some),
        _ => Ok(None),
    };
    names.map_err(|e| e.in_file(path))
}

/// Reads a random sample of the rows of a CSV or Parquet file that may be larger than memory. Which
/// rows they are depends on the seed and the row numbers only.
///
/// Errs as the readers of whole files do, and when the target is not there or the file is neither.
pub fn sample_table(path: &Path, options: &ReadOptions, sampling: Sampling) -> Result<Sample> {
    sample_some(path, options, sampling, &|_| true)
}

/// [`sample_table`] of those rows that `may` allows.
pub(crate) fn sample_some(
    path: &Path,
    options: &ReadOptions,
    sampling: Sampling,
    may: &dyn Fn(u64) -> bool,
) -> Result<Sample> {
    let sample = match kind(path)? {
        Kind::Text => delimited::sample(Records::open(path, options)?, options, sampling, may),
        Kind::Parquet => columnar::sample(path, options, sampling, may),
        _ => Err(not_a_table()),
    };
    sample.map_err(|e| e.in_file(path))
}

/// Hands all cells of a CSV or Parquet file to `blocks`. Returns the number of rows.
///
/// Errs as the readers do, when a column of the layout is not there, when a cell is not a number in
/// a column of numbers, and as `blocks` do; of several errors it is the one of the earliest rows of a text,
/// and of the earliest row group of a Parquet file.
pub fn for_each_block(
    path: &Path,
    options: &ReadOptions,
    layout: &Layout,
    blocks: &impl Blocks,
) -> Result<u64> {
    let result = match kind(path)? {
        Kind::Text => delimited_blocks(Records::open(path, options)?, options, layout, blocks),
        Kind::Parquet => columnar::blocks(path, options, layout, blocks),
        _ => Err(not_a_table()),
    };
    result.map_err(|e| e.in_file(path))
}

fn not_a_table() -> Error {
    let message = "expected a CSV or Parquet file, found something else";
    Error::new(ErrorKind::Format, message).with_hint("other files are read into memory as a whole")
}

/// The error of the earliest piece of work, when several threads fail.
pub(crate) struct Failure {
    earliest: AtomicU64,
    error: Mutex<Option<Error>>,
}

impl Failure {
    pub(crate) fn new() -> Failure {
        Failure {
            earliest: AtomicU64::new(u64::MAX),
            error: Mutex::new(None),
        }
    }

    /// Whether piece `index` is still to be done.
    pub(crate) fn none_before(&self, index: u64) -> bool {
        index < self.earliest.load(Ordering::Relaxed)
    }

    pub(crate) fn keep(&self, index: u64, error: Error) {
        let mut kept = self.error.lock().unwrap_or_else(|e| e.into_inner());
        if self.none_before(index) {
            self.earliest.store(index, Ordering::Relaxed);
            *kept = Some(error);
        }
    }

    pub(crate) fn finish(self) -> Result<()> {
        let error = self.error.into_inner().unwrap_or_else(|e| e.into_inner());
        error.map_or(Ok(()), Err)
    }
}

/// Records on their way from the thread that reads to those that parse.
struct Batch {
    index: u64,
    records: Vec<Record>,
    used: usize,
}

fn delimited_blocks<B: Blocks>(
    records: Records,
    options: &ReadOptions,
    layout: &Layout,
    blocks: &B,
) -> Result<u64> {
    let parsers = parsers(&records, layout)?;
    let workers = rayon::current_num_threads();
    let failure = Failure::new();
    let rows = AtomicU64::new(0);
    let take = |records: &[Record]| {
        let mut block = B::Block::default();
        for (column, cells) in parse(records, &parsers, options)?.iter().enumerate() {
            blocks.cells(&mut block, column, 0, cells)?;
        }
        blocks.done(block, records.len())
    };
    let (full, to_parse) = sync_channel::<Batch>(workers);
    let (empty, to_fill) = sync_channel::<Batch>(2 * workers + 2);
    std::thread::scope(|scope| {
        let failure = &failure;
        scope.spawn(move || read_batches(records, &full, &to_fill, failure));
        to_parse.into_iter().par_bridge().for_each(|batch| {
            if failure.none_before(batch.index) {
                rows.fetch_add(batch.used as u64, Ordering::Relaxed);
                if let Err(error) = take(&batch.records[..batch.used]) {
                    failure.keep(batch.index, error);
                }
            }
            // The reader may be done and gone.
            let _ = empty.try_send(batch);
        });
    });
    failure.finish()?;
    Ok(rows.into_inner())
}

/// Fills batches until the file ends or somebody has failed.
fn read_batches(
    mut records: Records,
    full: &SyncSender<Batch>,
    to_fill: &Receiver<Batch>,
    failure: &Failure,
) {
    let mut index = 0;
    loop {
        let mut batch = to_fill.try_recv().unwrap_or_else(|_| Batch {
            index,
            records: Vec::new(),
            used: 0,
        });
        (batch.index, batch.used) = (index, 0);
        let (mut bytes, mut more) = (0, true);
        while batch.used < CHUNK_ROWS && bytes < CHUNK_BYTES {
            if batch.records.len() == batch.used {
                batch.records.push(Record::default());
            }
            let record = &mut batch.records[batch.used];
            match records.read(record) {
                Ok(true) => bytes += record.size_bytes(),
                Ok(false) => more = false,
                Err(error) => {
                    // Rows before this one may hold an earlier error.
                    failure.keep(index + 1, error);
                    more = false;
                }
            }
            if !more {
                break;
            }
            batch.used += 1;
        }
        index += 1;
        let stop = !more || !failure.none_before(index);
        if full.send(batch).is_err() || stop {
            return;
        }
    }
}

/// How a column is found in a record and read.
struct Parser {
    name: String,
    at: usize,
    codes: Option<Arc<HashMap<Box<str>, u32>>>,
}

fn parsers(records: &Records, layout: &Layout) -> Result<Vec<Parser>> {
    let header = records.header();
    let parser = |column: &LayoutColumn| {
        let at = header.iter().position(|name| *name == column.name);
        let names = header.iter().map(String::as_str);
        Ok(Parser {
            name: column.name.clone(),
            at: at.ok_or_else(|| unknown(&column.name, names))?,
            codes: column.codes(),
        })
    };
    layout.columns.iter().map(parser).collect()
}

fn parse(
    records: &[Record],
    parsers: &[Parser],
    options: &ReadOptions,
) -> Result<Vec<ChunkColumn>> {
    let mut columns: Vec<ChunkColumn> = parsers
        .iter()
        .map(|p| match p.codes {
            None => ChunkColumn::Numbers(Vec::with_capacity(records.len())),
            Some(_) => ChunkColumn::Codes(Vec::with_capacity(records.len())),
        })
        .collect();
    // Row by row, so that the first error is that of the first row.
    for record in records {
        for (parser, column) in parsers.iter().zip(&mut columns) {
            let cell = record.cell(parser.at);
            match (column, &parser.codes) {
                (ChunkColumn::Numbers(values), _) => {
                    let value = match number(cell) {
                        Some(x) if x.is_finite() => x,
                        _ => not_plain(cell, parser, record.line(), options)?,
                    };
                    values.push(value);
                }
                (ChunkColumn::Codes(codes), Some(known)) => codes.push(match known.get(cell) {
                    Some(&code) => code,
                    None if options.is_missing(cell) => MISSING,
                    None => UNSEEN,
                }),
                (ChunkColumn::Codes(_), None) => unreachable!("a column of codes has levels"),
            }
        }
    }
    Ok(columns)
}

/// A cell of a column of numbers that is not a finite number: missing, or an error.
fn not_plain(cell: &str, parser: &Parser, line: u64, options: &ReadOptions) -> Result<f64> {
    if options.is_missing(cell) || (number(cell).is_none() && cell.parse::<f64>().is_ok()) {
        return Ok(f64::NAN);
    }
    if number(cell).is_some() {
        return Err(infinite_number(cell, line).in_column(&parser.name));
    }
    let message = format!(
        "expected a number, as in the rows that the types were taken from, found {}",
        quoted(cell)
    );
    let error = Error::new(ErrorKind::Value, message).at_line(line);
    let hint = "make the column categorical, or leave the cell empty if its value is missing";
    Err(error.in_column(&parser.name).with_hint(hint))
}

/// Keeps the rows with the least hashes, for rows that come one by one.
pub(crate) struct Reservoir<'a, T> {
    /// The rows to keep and some more, by hash and number.
    kept: Vec<((u64, u64), T)>,
    /// Rows from this key on are not among those to keep.
    cut: (u64, u64),
    most: usize,
    seed: u64,
    may: &'a dyn Fn(u64) -> bool,
    rows: u64,
}

impl<'a, T> Reservoir<'a, T> {
    /// `may` says which rows may be kept.
    pub(crate) fn new(most: usize, seed: u64, may: &'a dyn Fn(u64) -> bool) -> Self {
        Reservoir {
            kept: Vec::new(),
            cut: (u64::MAX, u64::MAX),
            most,
            seed,
            may,
            rows: 0,
        }
    }

    /// The next row; `make` is called when it may be kept.
    pub(crate) fn offer(&mut self, make: impl FnOnce() -> T) {
        let key = (hash(self.seed, self.rows), self.rows);
        self.rows += 1;
        if key < self.cut && (self.may)(key.1) {
            self.kept.push((key, make()));
            // A quarter more at a time, so that a row costs little.
            if self.kept.len() > self.most.saturating_add(self.most / 4) {
                self.drop_rest();
            }
        }
    }

    fn drop_rest(&mut self) {
        if self.kept.len() > self.most {
            let (_, first_dropped, _) = self.kept.select_nth_unstable_by_key(self.most, |k| k.0);
            self.cut = first_dropped.0;
            self.kept.truncate(self.most);
        }
    }

    /// Number of rows offered.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// What was kept, in the order of the rows.
    pub(crate) fn finish(mut self) -> Vec<T> {
        self.drop_rest();
        self.kept.sort_unstable_by_key(|((_, row), _)| *row);
        self.kept.into_iter().map(|(_, item)| item).collect()
    }
}

/// Distinct texts, until there are too many.
#[derive(Default)]
pub(crate) struct Distinct(HashSet<Box<str>>);

impl Distinct {
    pub(crate) fn offer(&mut self, text: &str) {
        if self.0.len() <= MOST_TARGET_VALUES && !self.0.contains(text) {
            self.0.insert(text.into());
        }
    }

    /// In the order of levels.
    pub(crate) fn finish(self) -> Vec<String> {
        let mut texts: Vec<String> = self.0.into_iter().map(String::from).collect();
        crate::table::sort_levels(&mut texts);
        texts
    }
}

/// Blocks as they are, for tests.
#[cfg(test)]
pub(crate) mod whole {
    use super::*;

    /// Some rows in a layout.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Chunk {
        pub(crate) rows: usize,
        /// Columns in the order of the layout.
        pub(crate) columns: Vec<ChunkColumn>,
    }

    struct Visit<'a>(&'a (dyn Fn(&Chunk) -> Result<()> + Sync));

    impl Blocks for Visit<'_> {
        type Block = Chunk;

        fn cells(
            &self,
            chunk: &mut Chunk,
            at: usize,
            from: usize,
            new: &ChunkColumn,
        ) -> Result<()> {
            if from == 0 {
                assert_eq!(at, chunk.columns.len(), "columns come in order");
                chunk.columns.push(new.clone());
                return Ok(());
            }
            assert_eq!(
                at + 1,
                chunk.columns.len(),
                "columns come one after the other"
            );
            match (chunk.columns.last_mut(), new) {
                (Some(ChunkColumn::Numbers(all)), ChunkColumn::Numbers(new)) => {
                    assert_eq!(from, all.len(), "cells come in order");
                    all.extend(new);
                }
                (Some(ChunkColumn::Codes(all)), ChunkColumn::Codes(new)) => {
                    assert_eq!(from, all.len(), "cells come in order");
                    all.extend(new);
                }
                other => panic!("a column has two types: {other:?}"),
            }
            Ok(())
        }

        fn done(&self, mut chunk: Chunk, rows: usize) -> Result<()> {
            chunk.rows = rows;
            self.0(&chunk)
        }
    }

    /// [`for_each_block`], whole blocks at a time.
    pub(crate) fn for_each_chunk(
        path: &Path,
        options: &ReadOptions,
        layout: &Layout,
        visit: &(dyn Fn(&Chunk) -> Result<()> + Sync),
    ) -> Result<u64> {
        for_each_block(path, options, layout, &Visit(visit))
    }
}

#[cfg(test)]
mod tests {
    use super::whole::{Chunk, for_each_chunk};
    use super::*;

    fn csv(rows: usize) -> String {
        let mut text = "id,x,kind,y\n".to_owned();
        for i in 0..rows {
            let x = if i % 7 == 0 {
                "NA".to_owned()
            } else {
                format!("{}.25", i * 3)
            };
            let y = if i % 11 == 5 { "" } else { ["a", "b"][i % 2] };
            text += &format!("{i},{x},\"k, {}\",{y}\n", i % 5);
        }
        text
    }

    fn write(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn sampling(most: usize) -> Sampling<'static> {
        Sampling {
            most,
            seed: 3,
            target: Some("y"),
        }
    }

    /// Chunks in any order, put back in order by the first column.
    fn gather(path: &Path, layout: &Layout) -> Vec<(f64, Option<f64>, u32, u32)> {
        let all = Mutex::new(Vec::new());
        let visit = |chunk: &Chunk| {
            let [
                ChunkColumn::Numbers(id),
                ChunkColumn::Numbers(x),
                ChunkColumn::Codes(kind),
                ChunkColumn::Codes(y),
            ] = &chunk.columns[..]
            else {
                panic!("{:?}", chunk.columns.len())
            };
            let rows =
                (0..chunk.rows).map(|i| (id[i], (!x[i].is_nan()).then_some(x[i]), kind[i], y[i]));
            all.lock().unwrap().extend(rows);
            Ok(())
        };
        let rows = for_each_chunk(path, &ReadOptions::default(), layout, &visit).unwrap();
        let mut all = all.into_inner().unwrap();
        assert_eq!(rows as usize, all.len());
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    #[test]
    fn chunks_are_the_rows_of_the_file() {
        let n = 30_000;
        let (_dir, path) = write(&csv(n));
        let sample = sample_table(&path, &ReadOptions::default(), sampling(500)).unwrap();
        assert_eq!(sample.table.rows(), 500);
        assert_eq!(
            sample.without_target as usize,
            (0..n).filter(|i| i % 11 == 5).count()
        );
        assert_eq!((sample.rows + sample.without_target) as usize, n);
        assert_eq!(sample.target_values, ["a", "b"]);
        let layout = Layout::of(&sample.table, &["id", "x", "kind", "y"]).unwrap();
        let whole = crate::read_table(&path, &ReadOptions::default()).unwrap();
        let found = gather(&path, &layout);
        assert_eq!(found.len(), n);
        for (i, row) in found.into_iter().enumerate() {
            let x = (i % 7 != 0).then_some(i as f64 * 3.0 + 0.25);
            let y = if i % 11 == 5 { MISSING } else { i as u32 % 2 };
            assert_eq!(row, (i as f64, x, i as u32 % 5, y));
        }
        // A sample of all rows is the table without the rows that have no target.
        let all = sample_table(&path, &ReadOptions::default(), sampling(n)).unwrap();
        let rows: Vec<usize> = (0..n).filter(|i| i % 11 != 5).collect();
        // As texts, for NaN is not equal to itself.
        let same = format!("{:?}", all.table) == format!("{:?}", whole.select(&rows));
        assert!(same);
    }

    #[test]
    fn levels_of_the_target_are_those_of_all_rows() {
        let mut text = "x,y\n".to_owned();
        (0..5000).for_each(|i| text += &format!("{i},{}\n", i % 2));
        text += "1,rare\n2,1.0\n";
        let (_dir, path) = write(&text);
        let sample = sample_table(&path, &ReadOptions::default(), sampling(100)).unwrap();
        assert_eq!(sample.target_values, ["0", "1", "1.0", "rare"]);
        let Values::Categorical { levels, .. } = &sample.table.column("y").unwrap().values else {
            panic!("the target has a text")
        };
        assert_eq!(*levels, sample.target_values);
    }

    #[test]
    fn a_column_that_changes_its_type_half_way() {
        let mut text = csv(30_000);
        text += "30000,abc,\"k, 9\",a\n";
        let (_dir, path) = write(&text);
        let sample = sample_table(&path, &ReadOptions::default(), sampling(500)).unwrap();
        let layout = Layout::of(&sample.table, &["id", "x", "kind", "y"]).unwrap();
        let error =
            for_each_chunk(&path, &ReadOptions::default(), &layout, &|_| Ok(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}:30002: column \"x\": expected a number, as in the rows that the types were taken \
                 from, found \"abc\"",
                path.display()
            )
        );
        // Two errors: the earlier one is reported, however many threads there are.
        let text = text.replace("\n20000,", "\nx,");
        std::fs::write(&path, text + "1,2\n").unwrap();
        for _ in 0..5 {
            let error =
                for_each_chunk(&path, &ReadOptions::default(), &layout, &|_| Ok(())).unwrap_err();
            assert_eq!(
                (error.line(), error.column()),
                (Some(20002), Some("id")),
                "{error}"
            );
        }
    }

    #[test]
    fn ragged_rows_far_into_the_file() {
        let (_dir, path) = write(&(csv(40_000) + "1,2,3\n" + "4,5,6,7\n"));
        let whole = sample_table(&path, &ReadOptions::default(), sampling(100)).unwrap_err();
        let layout = Layout {
            columns: vec![LayoutColumn {
                name: "id".into(),
                levels: None,
            }],
        };
        let error =
            for_each_chunk(&path, &ReadOptions::default(), &layout, &|_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), whole.to_string());
        assert!(
            error
                .to_string()
                .ends_with("t.csv:40002: expected 4 fields, found 3"),
            "{error}"
        );
        let absent = Layout {
            columns: vec![LayoutColumn {
                name: "idd".into(),
                levels: None,
            }],
        };
        let error =
            for_each_chunk(&path, &ReadOptions::default(), &absent, &|_| Ok(())).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \"id\"?"));
    }
}
