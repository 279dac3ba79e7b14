//! Records of delimited text, one at a time and in bounded memory.
//!
//! [`Records`] finds out the delimiter and whether there is a header, drops spaces after a
//! delimiter, and refuses a record that is ragged, too long or not UTF-8, each time saying on which
//! line. It works on any stream, so standard input as well.

use std::collections::VecDeque;
use std::io::{Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use csv::StringRecord;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::options::ReadOptions;
use crate::{file, sniff, table};

/// How much of the file the delimiter and the header are found out from.
const SAMPLE_BYTES: usize = 1 << 18;

/// A record: its cells, without surrounding spaces, and where it began.
#[derive(Clone, Debug, Default)]
pub struct Record {
    cells: StringRecord,
    line: u64,
}

impl Record {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cell at `index`, empty when there is none.
    pub fn cell(&self, index: usize) -> &str {
        self.cells.get(index).unwrap_or("")
    }

    /// The cells in order.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter()
    }

    /// Bytes of its cells.
    pub(crate) fn size_bytes(&self) -> usize {
        self.cells.as_slice().len()
    }

    /// The line it begins on, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }
}

/// Reads delimited text record by record.
pub struct Records {
    reader: csv::Reader<Clean>,
    header: Vec<String>,
    has_header: bool,
    delimiter: u8,
    first: Option<Record>,
    dropped: u64,
    file: Option<PathBuf>,
    max_record_bytes: u64,
}

impl Records {
    /// Opens a file, gzipped or not.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Records> {
        let reader = file::open(path)?;
        let tabs = [".tsv", ".tab", ".tsv.gz", ".tab.gz"];
        let name = path.to_string_lossy().to_lowercase();
        let preferred = tabs.iter().any(|t| name.ends_with(t)).then_some(b'\t');
        let mut records =
            Records::start(reader, options, preferred).map_err(|e| e.in_file(path))?;
        records.file = Some(path.to_owned());
        Ok(records)
    }

    /// Reads from a stream that is not compressed.
    pub fn from_reader(reader: Box<dyn Read + Send>, options: &ReadOptions) -> Result<Records> {
        Records::start(reader, options, None)
    }

    fn start(
        mut reader: Box<dyn Read + Send>,
        options: &ReadOptions,
        preferred: Option<u8>,
    ) -> Result<Records> {
        let mut sample = file::read_up_to(&mut *reader, SAMPLE_BYTES).map_err(Error::io)?;
        if sample.starts_with(&[0xff, 0xfe]) || sample.starts_with(&[0xfe, 0xff]) {
            let error = Error::new(ErrorKind::Format, "expected UTF-8 text, found UTF-16");
            return Err(error.at_line(1).with_hint("save the file as UTF-8"));
        }
        if sample.starts_with(b"\xef\xbb\xbf") {
            sample.drain(..3);
        }
        if sample.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::new(ErrorKind::Rows, "the file is empty"));
        }
        let sniffed = sniff::sniff(&sample, sample.len() < SAMPLE_BYTES, options, preferred);
        let (delimiter, has_header) = (sniffed.delimiter, sniffed.header);
        let text = Cursor::new(sample).chain(reader);
        let clean = Clean::new(text, delimiter, options.comment);
        let mut records = Records {
            reader: csv_reader(clean, delimiter),
            header: Vec::new(),
            has_header,
            delimiter,
            first: None,
            dropped: 0,
            file: None,
            max_record_bytes: options.max_record_bytes,
        };
        records.read_header(options)?;
        Ok(records)
    }

    /// The names of the columns: those of the header, or `c0`, `c1`, ...
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Whether the first row named the columns.
    pub fn has_header(&self) -> bool {
        self.has_header
    }

    /// The byte between two fields.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the next record into `record`; false at the end of the file.
    ///
    /// Errs when the record has not as many fields as there are columns, is too long, is not UTF-8,
    /// or the file cannot be read.
    pub fn read(&mut self, record: &mut Record) -> Result<bool> {
        if let Some(first) = self.first.take() {
            *record = first;
            return Ok(true);
        }
        if !self.read_any(record)? {
            return Ok(false);
        }
        if record.len() != self.header.len() {
            return Err(self.ragged(record));
        }
        Ok(true)
    }

    /// Adds the file to an error, if there is one.
    pub(crate) fn locate(&self, error: Error) -> Error {
        match &self.file {
            Some(file) => error.in_file(file),
            None => error,
        }
    }

    fn read_any(&mut self, record: &mut Record) -> Result<bool> {
        // Positions are those in the text that passed; dropped line feeds are counted beside.
        let begin = self.reader.position().clone();
        self.reader
            .get_mut()
            .allow(begin.byte(), self.max_record_bytes);
        let result = self.reader.read_record(&mut record.cells);
        self.dropped += self.reader.get_mut().take_dropped(begin.byte());
        record.line = begin.line() + self.dropped;
        match result {
            Ok(more) => Ok(more),
            Err(_) if self.reader.get_ref().exceeded => {
                let message = format!(
                    "expected a record of at most {} bytes",
                    self.max_record_bytes
                );
                let error = Error::new(ErrorKind::Limit, message + ", found a longer one");
                let error = error.at_line(record.line);
                Err(self.locate(error.with_hint("look for a quote that is never closed")))
            }
            Err(error) => Err(self.locate(from_csv(error, record.line))),
        }
    }

    fn read_header(&mut self, options: &ReadOptions) -> Result<()> {
        let mut first = Record::default();
        if !self.read_any(&mut first)? {
            return Err(Error::new(ErrorKind::Rows, "the file is empty"));
        }
        if first.len() > options.max_columns {
            let message = format!(
                "expected at most {} columns, found {}",
                options.max_columns,
                first.len()
            );
            return Err(Error::new(ErrorKind::Limit, message).at_line(first.line));
        }
        self.header = (0..first.len()).map(|i| format!("c{i}")).collect();
        if self.has_header {
            for (name, cell) in self.header.iter_mut().zip(first.cells()) {
                if !cell.is_empty() {
                    *name = cell.to_owned();
                }
            }
            let mut seen = std::collections::HashSet::new();
            if let Some(name) = self.header.iter().find(|name| !seen.insert(name.as_str())) {
                return Err(table::duplicate(name).at_line(first.line));
            }
        } else {
            self.first = Some(first);
        }
        Ok(())
    }

    fn ragged(&self, record: &Record) -> Error {
        let (expected, found) = (self.header.len(), record.len());
        let message = format!("expected {expected} fields, found {found}");
        let delimiter = char::from(self.delimiter);
        let hint = format!(
            "fields are separated by {delimiter:?}; a cell that contains it must be quoted"
        );
        let error = Error::new(ErrorKind::Format, message);
        self.locate(error.at_line(record.line).with_hint(hint))
    }
}

/// The reader all delimited text goes through.
pub(crate) fn csv_reader<R: Read>(reader: Clean<R>, delimiter: u8) -> csv::Reader<Clean<R>> {
    csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .buffer_capacity(1 << 16)
        .from_reader(reader)
}

fn from_csv(error: csv::Error, line: u64) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(e) => Error::io(e),
        csv::ErrorKind::Utf8 { err, .. } => {
            let message = format!("expected UTF-8 text, but field {} is not", err.field() + 1);
            let error = Error::new(ErrorKind::Format, message).at_line(line);
            error.with_hint("save the file as UTF-8")
        }
        other => Error::new(ErrorKind::Format, format!("{other:?}")).at_line(line),
    }
}

/// The error of a cell that should have been a finite number.
pub(crate) fn not_a_number(cell: &str, column: &str, line: u64) -> Error {
    let message = format!("expected a finite number, found {}", quoted(cell));
    let error = Error::new(ErrorKind::Value, message);
    error.at_line(line).in_column(column)
}

/// Text without what the parser should not see: empty lines, comments and spaces at the beginning of
/// a field, so that `a, "b, c"` is two fields. Stops when a record is longer than allowed.
pub(crate) struct Clean<R = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>> {
    inner: R,
    delimiter: u8,
    comment: Option<u8>,
    state: State,
    passed: u64,
    /// How many bytes had passed when a line feed was dropped, for each not yet accounted for.
    dropped: VecDeque<u64>,
    limit: u64,
    exceeded: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    LineStart,
    Comment,
    FieldStart,
    Plain,
    Quoted,
    /// After a quote inside a quoted field: another one means a quote in the text.
    Closing,
}

impl<R: Read> Clean<R> {
    pub(crate) fn new(inner: R, delimiter: u8, comment: Option<u8>) -> Clean<R> {
        Clean {
            inner,
            delimiter,
            comment,
            state: State::LineStart,
            passed: 0,
            dropped: VecDeque::new(),
            limit: u64::MAX,
            exceeded: false,
        }
    }

    /// Lets a record that begins at byte `start` be `max` bytes long. What the reader holds in its
    /// buffer has passed already, so the limit is exact to the size of that buffer.
    fn allow(&mut self, start: u64, max: u64) {
        self.limit = start.saturating_add(max);
    }

    /// Number of line feeds dropped before byte `start`, each reported once.
    fn take_dropped(&mut self, start: u64) -> u64 {
        let mut count = 0;
        while self.dropped.front().is_some_and(|&at| at <= start) {
            self.dropped.pop_front();
            count += 1;
        }
        count
    }

    /// Moves what is kept of `bytes` to its front and returns how much that is.
    fn strip(&mut self, bytes: &mut [u8]) -> usize {
        use State::{Closing, Comment, FieldStart, LineStart, Plain, Quoted};
        let mut kept = 0;
        for i in 0..bytes.len() {
            let byte = bytes[i];
            self.state = match (self.state, byte) {
                (Quoted, b'"') => Closing,
                (Quoted, _) => Quoted,
                (LineStart | Comment, b'\n') => {
                    self.dropped.push_back(self.passed + kept as u64);
                    self.state = LineStart;
                    continue;
                }
                (Comment, _) => continue,
                (LineStart, b'\r') => continue,
                (LineStart, b) if Some(b) == self.comment => {
                    self.state = Comment;
                    continue;
                }
                (_, b) if b == self.delimiter => FieldStart,
                (LineStart | FieldStart, b' ') => continue,
                (LineStart | FieldStart | Closing, b'"') => Quoted,
                (_, b'\n' | b'\r') => LineStart,
                _ => Plain,
            };
            bytes[kept] = byte;
            kept += 1;
        }
        kept
    }
}

impl<R: Read> Read for Clean<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.passed > self.limit {
            self.exceeded = true;
            return Err(std::io::Error::other("record too long"));
        }
        loop {
            let n = self.inner.read(buf)?;
            let kept = self.strip(&mut buf[..n]);
            self.passed += kept as u64;
            if kept > 0 || n == 0 {
                return Ok(kept);
            }
        }
    }
}
