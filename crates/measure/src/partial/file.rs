//! The file of a partial result.
//!
//! Magic (8 bytes), length of the head (4 bytes, little-endian), head as JSON, run of entries, then
//! number of entries (8 bytes), CRC-32 of the head and CRC-32 of the run (4 bytes each). Nobody vouches
//! for what is read: sizes are checked against the length of the file before anything is allocated.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::spool::{Body, Entry, RunFile, RunWriter};
use super::{CLASS_BITS, Head, Partial};
use crate::error::{Error, ErrorKind, Result};
use crate::problem;

/// Name and version.
const MAGIC: [u8; 8] = *b"bntpart\x01";
/// Longest head: that of 65,536 columns with few marks, or of some hundred with all of them.
const MAX_HEAD_BYTES: u64 = 256 << 20;
/// Magic and length before the head, numbers and checksums at the end.
const FRAME_BYTES: u64 = 12 + 16;

/// Writes a partial beside its place and moves it there.
pub(super) fn write(partial: &Partial, path: &Path) -> Result<()> {
    let at = |e: io::Error| failed(path, e);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let head = serde_json::to_vec(&partial.head)
        .map_err(|e| Error::new(ErrorKind::Format, e.to_string()).because(e))?;
    if head.len() as u64 > MAX_HEAD_BYTES {
        let message = format!("{}: the ruler takes {} bytes", path.display(), head.len());
        let error = Error::new(ErrorKind::Limit, message);
        return Err(error.with_hint("leave out columns, or those with most different values"));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bantam-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What a plain file would get; the user's mask still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(at)?;
    let mut to = BufWriter::with_capacity(1 << 16, file);
    to.write_all(&MAGIC).map_err(at)?;
    to.write_all(&(head.len() as u32).to_le_bytes())
        .map_err(at)?;
    to.write_all(&head).map_err(at)?;
    let mut writer = RunWriter::new(&mut to);
    let mut entries = partial.entries()?;
    let mut waiting: Vec<Entry> = Vec::new();
    loop {
        let next = entries.next()?;
        if waiting
            .first()
            .is_some_and(|w| next.is_none_or(|n| n.sum != w.sum))
        {
            // Classes of one sum may come in any order, and from several runs.
            waiting.sort_unstable();
            for same in waiting.chunk_by(|a, b| a.class == b.class) {
                let count = same.iter().map(|e| e.count).sum();
                writer.push(Entry { count, ..same[0] }).map_err(at)?;
            }
            waiting.clear();
        }
        match next {
            // A sum with many rows is counted, not collected.
            Some(entry) => match waiting.iter_mut().find(|w| w.class == entry.class) {
                Some(same) => same.count += entry.count,
                None => waiting.push(entry),
            },
            None => break,
        }
    }
    let written = writer.finish().map_err(at)?;
    to.write_all(&written.entries.to_le_bytes()).map_err(at)?;
    to.write_all(&crc32fast::hash(&head).to_le_bytes())
        .map_err(at)?;
    to.write_all(&written.crc.to_le_bytes()).map_err(at)?;
    let file = to.into_inner().map_err(|e| at(e.into_error()))?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(path).map_err(|e| at(e.error))?;
    Ok(())
}

/// Opens a partial; its run stays where it is.
pub(super) fn open(path: &Path) -> Result<Partial> {
    let at = |e: io::Error| failed(path, e);
    let mut file = File::open(path).map_err(at)?;
    let length = file.metadata().map_err(at)?.len();
    let damaged = |what: String| {
        let message = format!("{}: damaged partial result: {what}", path.display());
        Error::new(ErrorKind::Format, message)
    };
    let mut begin = [0u8; 12];
    let read = file.read_exact(&mut begin);
    if read.is_err() || begin[..7] != MAGIC[..7] {
        let message = format!(
            "{}: expected a partial result, found something else",
            path.display()
        );
        let error = Error::new(ErrorKind::Format, message);
        return Err(
            error.with_hint("`bantam measure DATA --target COLUMN --partial FILE` writes one")
        );
    }
    if begin[7] != MAGIC[7] {
        return Err(damaged(format!(
            "expected version {}, found {}",
            MAGIC[7], begin[7]
        )));
    }
    let head_bytes = u64::from(u32::from_le_bytes([
        begin[8], begin[9], begin[10], begin[11],
    ]));
    if head_bytes > MAX_HEAD_BYTES || length < FRAME_BYTES + head_bytes {
        return Err(damaged(format!(
            "a head of {head_bytes} bytes in a file of {length}"
        )));
    }
    let mut head = vec![0; head_bytes as usize];
    file.read_exact(&mut head).map_err(at)?;
    file.seek(SeekFrom::Start(length - 16)).map_err(at)?;
    let mut end = [0u8; 16];
    file.read_exact(&mut end).map_err(at)?;
    let number = |range: std::ops::Range<usize>| {
        end[range]
            .iter()
            .rev()
            .fold(0u64, |n, &byte| n << 8 | u64::from(byte))
    };
    let (entries, head_crc, crc) = (number(0..8), number(8..12), number(12..16));
    if u64::from(crc32fast::hash(&head)) != head_crc {
        return Err(damaged("the checksum of its head is another".into()));
    }
    let head: Head =
        serde_json::from_slice(&head).map_err(|e| damaged(format!("its head: {e}")))?;
    check(&head).map_err(|e| damaged(e.to_string()))?;
    let bytes = length - FRAME_BYTES - head_bytes;
    if entries > bytes || entries > head.rows() {
        return Err(damaged(format!("{entries} sums in {bytes} bytes")));
    }
    let run = RunFile {
        file,
        name: path.to_owned(),
        offset: 12 + head_bytes,
        bytes,
        entries,
        crc: crc as u32,
        classes: head.classes.len() as u32,
    };
    Ok(Partial {
        head,
        bodies: vec![Body::file(run)],
    })
}

fn check(head: &Head) -> Result<()> {
    problem::check_class_count(head.classes.len())?;
    let distinct: std::collections::HashSet<&String> = head.classes.iter().collect();
    let rows = head
        .class_counts
        .iter()
        .try_fold(0u64, |n, &c| n.checked_add(c));
    let fits = head.classes.len() == head.class_counts.len()
        && distinct.len() == head.classes.len()
        && head.classes.len() < 1 << CLASS_BITS
        && rows.is_some_and(|rows| rows < 1 << 48);
    if !fits {
        let message = "its head names classes twice, or counts others than it names";
        return Err(Error::new(ErrorKind::Format, message));
    }
    head.ruler.check()
}

fn failed(path: &Path, e: io::Error) -> Error {
    let what = match e.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::UnexpectedEof => "the file ends early".to_owned(),
        _ => e.to_string(),
    };
    Error::new(ErrorKind::Io, format!("{}: {what}", path.display())).because(e)
}
