//! Opening files: gzip is undone wherever it is found, and errors name the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, ErrorKind, Result};

/// Opens `path` for reading from its start, through gzip if its first bytes say so.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let mut file = open_raw(path)?;
    let mut magic = Vec::with_capacity(2);
    (&mut file)
        .take(2)
        .read_to_end(&mut magic)
        .map_err(|e| Error::io(e).in_file(path))?;
    let gzipped = magic == [0x1f, 0x8b];
    let whole = std::io::Cursor::new(magic).chain(file);
    if gzipped {
        let buffered = BufReader::with_capacity(1 << 16, whole);
        Ok(Box::new(MultiGzDecoder::new(buffered)))
    } else {
        Ok(Box::new(whole))
    }
}

/// Opens `path` as it is; errs when it is a folder.
pub(crate) fn open_raw(path: &Path) -> Result<File> {
    let at = |e: std::io::Error| Error::io(e).in_file(path);
    let file = File::open(path).map_err(at)?;
    if file.metadata().map_err(at)?.is_dir() {
        let error = Error::new(ErrorKind::Format, "expected a file, found a folder");
        return Err(error.in_file(path));
    }
    Ok(file)
}

/// Reads at most `limit` bytes, or to the end.
pub(crate) fn read_up_to(reader: &mut dyn Read, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` from the file at `offset`, without moving a position that threads would share.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from the file at `offset`.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
