//! Samples in files that may be larger than memory, read by position.
//!
//! [`FileSource`] reads files of encoded rows that [`RowsWriter`] and [`encode_file`] write, and arrays
//! where they are (see [`StoredSamples`](crate::StoredSamples)). All sizes are checked against the
//! length of the file when it is opened, so a read can only fail when the system fails.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bantam_core::Data;
use bantam_core::schema::Schema;

use crate::encode::{RowEncoder, Target, Targets, Unseen};
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::fit::as_f64;
use crate::npy::{self, Stored};
use crate::options::ReadOptions;
use crate::records::{Record, Records};
use crate::source::{Norm, Source, check_rows};

/// The beginning of a file of encoded rows: name and version.
const MAGIC: [u8; 8] = *b"bntrows\x01";
/// Magic, number of rows, classes, axes.
const FIXED_HEADER: usize = 8 + 8 + 4 + 4;
/// Rows that are adjacent in the file and in a batch are read together, up to so many bytes.
const RUN_BYTES: usize = 1 << 20;
/// A block of a shuffled order has about so many bytes.
const BLOCK_BYTES: usize = 1 << 16;

/// Samples read from a file by position.
#[derive(Debug)]
pub struct FileSource {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) stride: usize,
    pub(crate) stored: Stored,
    pub(crate) big_endian: bool,
    pub(crate) shape: Vec<usize>,
    pub(crate) norm: Norm,
    pub(crate) border: Vec<f32>,
    pub(crate) targets: Beside,
    pub(crate) classes: usize,
    pub(crate) len: usize,
}

/// Where the targets are.
#[derive(Debug)]
pub(crate) enum Beside {
    Memory(Targets),
    /// In the last four bytes of each row.
    InRow,
}

impl FileSource {
    /// Opens a file of encoded rows, as [`RowsWriter`] writes them.
    ///
    /// Errs when the file is missing, is of another kind, or has not the length its header says.
    pub fn open(path: &Path) -> Result<FileSource> {
        open_rows(path).map_err(|e| e.in_file(path))
    }

    /// Appends the samples that `bytes` hold, and their targets if they are among them.
    fn push(&self, bytes: &[u8], x: &mut Vec<f32>, y: &mut Targets) -> Result<()> {
        if let (Beside::Memory(_), Stored::U8) = (&self.targets, self.stored) {
            for sample in bytes.chunks_exact(self.stride.max(1)) {
                self.norm.push_bytes(sample, x);
            }
            return Ok(());
        }
        for row in bytes.chunks_exact(self.stride.max(1)) {
            let values = match self.targets {
                Beside::Memory(_) => row,
                Beside::InRow => {
                    let (values, target) = row.split_at(row.len() - 4);
                    self.push_target(target, y)?;
                    values
                }
            };
            match npy::decode(values, self.stored, self.big_endian)? {
                Data::U8(v) => self.norm.push_bytes(&v, x),
                Data::F32(v) => self.norm.push_floats(&v, x),
                data => x.extend((0..data.len()).map(|i| self.norm.number(as_f64(&data, i)))),
            }
        }
        Ok(())
    }

    fn push_target(&self, bytes: &[u8], y: &mut Targets) -> Result<()> {
        let bytes = bytes.try_into().expect("four bytes were split off");
        match y {
            Targets::Numbers(v) => v.push(f32::from_le_bytes(bytes)),
            Targets::Classes(v) => {
                let class = u32::from_le_bytes(bytes);
                if class as usize >= self.classes {
                    let message = format!("expected a class in 0..{}, found {class}", self.classes);
                    return Err(Error::new(ErrorKind::Format, message).in_file(&self.path));
                }
                v.push(i64::from(class));
            }
        }
        Ok(())
    }
}

impl Source for FileSource {
    fn len(&self) -> usize {
        self.len
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn read(&self, rows: &[usize], x: &mut Vec<f32>, y: &mut Targets) -> Result<()> {
        check_rows(rows, self.len)?;
        x.clear();
        x.reserve(rows.len() * self.shape.iter().product::<usize>());
        match &self.targets {
            Beside::Memory(targets) => targets.read(rows, y),
            Beside::InRow => *y = Targets::empty(self.classes),
        }
        each_run(&self.file, self.offset, self.stride, rows, |bytes| {
            self.push(bytes, x, y)
        })
        .map_err(|e| e.in_file(&self.path))
    }

    fn border(&self) -> &[f32] {
        &self.border
    }

    fn block(&self) -> Option<usize> {
        Some((BLOCK_BYTES / self.stride.max(1)).max(1))
    }
}

pub(crate) fn check_len(len: usize) -> Result<()> {
    if len >= u32::MAX as usize {
        let message = format!("expected fewer than 2^32 - 1 rows, found {len}");
        return Err(Error::new(ErrorKind::Limit, message));
    }
    Ok(())
}

fn open_rows(path: &Path) -> Result<FileSource> {
    let file = file::open_raw(path)?;
    let bad = |message: String| Error::new(ErrorKind::Format, message);
    let mut reader = BufReader::new(&file);
    let mut fixed = [0; FIXED_HEADER];
    reader.read_exact(&mut fixed).map_err(Error::io)?;
    let [magic, len, counts] = *fixed.as_chunks::<8>().0 else {
        unreachable!("the header has 24 bytes")
    };
    if magic != MAGIC {
        return Err(bad(
            "expected a file of encoded rows, found other bytes".into()
        ));
    }
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let (classes, axes) = (number(&counts[..4]) as usize, number(&counts[4..]));
    if axes > 8 {
        return Err(bad(format!("expected at most 8 axes, found {axes}")));
    }
    let mut shape = Vec::new();
    for _ in 0..axes {
        let mut size = [0; 8];
        reader.read_exact(&mut size).map_err(Error::io)?;
        shape.push(usize::try_from(u64::from_le_bytes(size)).unwrap_or(usize::MAX));
    }
    let offset = FIXED_HEADER as u64 + 8 * u64::from(axes);
    let len = u64::from_le_bytes(len);
    let stride = bantam_core::tensor::element_count(&shape).ok();
    let stride = stride.and_then(|count| count.checked_mul(4)?.checked_add(4));
    let end = stride.and_then(|s| (s as u64).checked_mul(len)?.checked_add(offset));
    let length = file.metadata().map_err(Error::io)?.len();
    let (Some(stride), true) = (stride, end == Some(length)) else {
        let message = format!("{len} rows of shape {shape:?} do not make a file of {length} bytes");
        return Err(bad(message));
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    check_len(len)?;
    drop(reader);
    Ok(FileSource {
        file,
        path: path.to_owned(),
        offset,
        stride,
        stored: Stored::F32,
        big_endian: false,
        shape,
        norm: Norm::Done,
        border: Vec::new(),
        targets: Beside::InRow,
        classes,
        len,
    })
}

/// Reads the rows `rows`, of `stride` bytes each from `offset` on, those that are adjacent in one go.
pub(crate) fn each_run(
    file: &File,
    offset: u64,
    stride: usize,
    mut rows: &[usize],
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let longest = (RUN_BYTES / stride.max(1)).max(1);
    let mut bytes = Vec::new();
    while let Some(&first) = rows.first() {
        let run = rows.iter().zip(first..).take(longest);
        let n = run.take_while(|&(&row, expected)| row == expected).count();
        bytes.resize(n * stride, 0);
        let at = offset + first as u64 * stride as u64;
        file::read_at(file, &mut bytes, at).map_err(Error::io)?;
        take(&bytes)?;
        rows = &rows[n..];
    }
    Ok(())
}

/// Writes encoded rows one at a time, to be opened with [`FileSource::open`].
///
/// The file appears under its name when it is finished; until then, and when it never is, there is
/// nothing under that name.
#[derive(Debug)]
pub struct RowsWriter {
    writer: Option<BufWriter<File>>,
    path: PathBuf,
    unfinished: PathBuf,
    width: usize,
    classes: usize,
    rows: u64,
}

impl RowsWriter {
    /// Begins a file for samples of `shape`; `classes` is 0 when numbers are predicted.
    ///
    /// Errs when the file cannot be made or the shape has more than 8 axes.
    pub fn create(path: &Path, shape: &[usize], classes: usize) -> Result<RowsWriter> {
        let width = bantam_core::tensor::element_count(shape)
            .ok()
            .filter(|_| shape.len() <= 8)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Shape,
                    format!("rows cannot have shape {shape:?}"),
                )
            })?;
        let classes_u32 = u32::try_from(classes)
            .map_err(|_| Error::new(ErrorKind::Limit, format!("{classes} classes are too many")))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let unfinished = path.with_file_name(name);
        let file = File::create(&unfinished).map_err(|e| Error::io(e).in_file(path))?;
        let mut rows = RowsWriter {
            writer: Some(BufWriter::with_capacity(1 << 18, file)),
            path: path.to_owned(),
            unfinished,
            width,
            classes,
            rows: 0,
        };
        let mut header = MAGIC.to_vec();
        header.extend(0u64.to_le_bytes());
        header.extend(classes_u32.to_le_bytes());
        header.extend((shape.len() as u32).to_le_bytes());
        shape
            .iter()
            .for_each(|&size| header.extend((size as u64).to_le_bytes()));
        rows.write(&header)?;
        Ok(rows)
    }

    /// Appends a row.
    ///
    /// Errs when it has not the width or the kind of target that were announced, or the system fails.
    pub fn push(&mut self, x: &[f32], target: Target) -> Result<()> {
        if x.len() != self.width {
            let message = format!("expected {} features, found {}", self.width, x.len());
            return Err(Error::new(ErrorKind::Shape, message));
        }
        let target = match target {
            Target::Number(y) if self.classes == 0 => y.to_le_bytes(),
            Target::Class(class) if (0..self.classes as i64).contains(&class) => {
                (class as u32).to_le_bytes()
            }
            other => {
                let message = format!(
                    "expected a target for {} classes, found {other:?}",
                    self.classes
                );
                return Err(Error::new(ErrorKind::Target, message));
            }
        };
        for v in x {
            self.write(&v.to_le_bytes())?;
        }
        self.write(&target)?;
        self.rows += 1;
        Ok(())
    }

    /// Number of rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Finishes the file and gives it its name.
    ///
    /// Errs when the system fails.
    pub fn finish(mut self) -> Result<()> {
        let mut finish = || {
            let mut writer = self.writer.take().expect("a writer is finished once");
            writer.seek(SeekFrom::Start(MAGIC.len() as u64))?;
            writer.write_all(&self.rows.to_le_bytes())?;
            writer.flush()?;
            drop(writer);
            std::fs::rename(&self.unfinished, &self.path)
        };
        let finished = finish();
        finished.map_err(|e| Error::io(e).in_file(&self.path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let writer = self
            .writer
            .as_mut()
            .expect("the writer is taken when it is finished");
        writer
            .write_all(bytes)
            .map_err(|e| Error::io(e).in_file(&self.path))
    }
}

impl Drop for RowsWriter {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; nobody could act on a failure here.
        drop(self.writer.take());
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// What [`encode_file`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Rows written.
    pub rows: u64,
    /// Rows left out because they have no target.
    pub without_target: u64,
    /// What the user should know, a sentence each.
    pub notices: Vec<String>,
}

/// Encodes a delimited file of any length to a file of rows at `out`, in one pass and in memory for
/// one row.
///
/// Errs as [`Records`] and [`RowEncoder`] do, and when the file has no target column or no rows.
pub fn encode_file(
    path: &Path,
    schema: &Schema,
    unseen: Unseen,
    options: &ReadOptions,
    out: &Path,
) -> Result<Encoded> {
    let mut records = Records::open(path, options)?;
    let encoder = RowEncoder::new(schema, records.header())
        .map_err(|e| e.in_file(path))?
        .with(unseen, options);
    if !encoder.has_target() {
        let error = crate::table::unknown(
            &schema.target.name,
            records.header().iter().map(String::as_str),
        );
        return Err(error.in_file(path));
    }
    let classes = schema.target.classes().len();
    let mut writer = RowsWriter::create(out, &schema.sample_shape(), classes)?;
    let (mut record, mut x) = (Record::default(), Vec::new());
    let mut without_target = 0;
    while records.read(&mut record)? {
        x.clear();
        let target = encoder.target(&record).map_err(|e| e.in_file(path))?;
        let Some(target) = target else {
            without_target += 1;
            continue;
        };
        encoder
            .encode(&record, &mut x)
            .map_err(|e| e.in_file(path))?;
        writer.push(&x, target)?;
    }
    if writer.rows() == 0 {
        return Err(Error::new(ErrorKind::Rows, "there are no rows with a target").in_file(path));
    }
    let rows = writer.rows();
    writer.finish()?;
    Ok(Encoded {
        rows,
        without_target,
        notices: encoder.notices().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &dyn Source, rows: &[usize]) -> (Vec<f32>, Targets) {
        let (mut x, mut y) = (vec![7.0], Targets::empty(source.classes()));
        source.read(rows, &mut x, &mut y).unwrap();
        (x, y)
    }

    const ROWS: [&[usize]; 5] = [&[], &[0], &[3, 1, 1], &[1, 2, 3, 4], &[4, 3, 0, 1, 2, 2]];

    #[test]
    fn rows_written_come_back() {
        let dir = tempfile::tempdir().unwrap();
        for classes in [0, 3] {
            let path = dir.path().join("rows");
            let target = |i: usize| match classes {
                0 => Target::Number(i as f32 / 2.0),
                _ => Target::Class(i as i64 % 3),
            };
            let mut writer = RowsWriter::create(&path, &[2], classes).unwrap();
            for i in 0..5 {
                writer.push(&[i as f32, -1.0], target(i)).unwrap();
            }
            assert!(writer.push(&[1.0], target(0)).is_err());
            assert!(writer.push(&[1.0, 2.0], Target::Class(3)).is_err());
            assert!(!path.exists(), "nothing is there before it is finished");
            writer.finish().unwrap();
            let source = FileSource::open(&path).unwrap();
            assert_eq!(
                (source.len(), source.sample_shape(), source.classes()),
                (5, &[2][..], classes)
            );
            for rows in ROWS {
                let (x, y) = read(&source, rows);
                let expected: Vec<f32> = rows.iter().flat_map(|&r| [r as f32, -1.0]).collect();
                assert_eq!(x, expected);
                let found: Vec<Target> = match y {
                    Targets::Classes(v) => v.into_iter().map(Target::Class).collect(),
                    Targets::Numbers(v) => v.into_iter().map(Target::Number).collect(),
                };
                assert!(found.into_iter().eq(rows.iter().map(|&r| target(r))));
            }
            std::fs::remove_file(&path).unwrap();
        }
        drop(RowsWriter::create(&dir.path().join("left"), &[1], 2).unwrap());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }

    #[test]
    fn damaged_rows_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let mut writer = RowsWriter::create(&path, &[2], 2).unwrap();
        writer.push(&[1.0, 2.0], Target::Class(1)).unwrap();
        writer.finish().unwrap();
        let good = std::fs::read(&path).unwrap();
        for end in 0..good.len() {
            std::fs::write(&path, &good[..end]).unwrap();
            assert!(FileSource::open(&path).is_err(), "{end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            std::fs::write(&path, &bad).unwrap();
            if let Ok(source) = FileSource::open(&path) {
                let _ = source.read(&[0], &mut Vec::new(), &mut Targets::empty(2));
            }
        }
    }
}
