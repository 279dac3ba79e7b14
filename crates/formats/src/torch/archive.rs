//! The form since version 1.6: a zip archive of a pickle and one entry a storage, not compressed.
//!
//! `torch.save` never compresses and neither is compression read here, so every byte of a tensor is a
//! byte of the file: an archive cannot blow up. Two entries that share bytes are refused. Checksums
//! of entries are compared where they were written (`torch` can be told to leave them 0).

use std::collections::HashMap;
use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use super::pickle;
use super::tensors::{self, Storage};
use super::{Storages, collect};
use crate::weights::StoredTensor;
use crate::{Error, ErrorKind, Result};

/// Whether `bytes` begin as a zip archive does.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<StoredTensor>> {
    let zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut file = File { bytes, zip };
    let folder = file.folder()?;
    if let Some(order) = file.entry(&format!("{folder}byteorder"))?
        && order.bytes != b"little"
    {
        let message = "expected the file of a little-endian machine";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let place = format!("{folder}data.pkl");
    let entry = file.entry(&place)?.expect("the folder is the one it is in");
    let pickle = pickle::read(entry.bytes).map_err(|e| e.moved(entry.start).at(place))?;
    let mut entries = HashMap::new();
    for id in pickle.persistent() {
        let storage = tensors::storage(&pickle, id)?;
        if !entries.contains_key(storage.key) {
            let entry = file.entry(&format!("{folder}data/{}", storage.key))?;
            let missing =
                || Error::corrupt(format!("storage {:?} is not in the archive", storage.key));
            entries.insert(storage.key, entry.ok_or_else(missing)?);
        }
    }
    apart(&entries)?;
    collect(&pickle, &Entries(entries), bytes.len())
}

fn damaged(e: zip::result::ZipError) -> Error {
    Error::corrupt(format!("damaged archive: {e}")).caused_by(e)
}

/// An entry that is not compressed.
struct Entry<'a> {
    start: usize,
    bytes: &'a [u8],
}

struct File<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> File<'a> {
    /// The folder that everything is in, with its slash.
    fn folder(&self) -> Result<String> {
        let names = self.zip.file_names_raw();
        let names = names.filter_map(|n| std::str::from_utf8(n).ok());
        let folders = names.filter_map(|n| n.strip_suffix("data.pkl"));
        let folders = folders.filter(|f| f.is_empty() || f.ends_with('/'));
        let folder = folders.min_by_key(|f| f.len()).map(str::to_owned);
        folder.ok_or_else(|| {
            let message = "expected an archive of torch.save, found no data.pkl in it";
            Error::new(ErrorKind::Format, message)
        })
    }

    fn entry(&mut self, name: &str) -> Result<Option<Entry<'a>>> {
        let Some(index) = self.zip.index_for_name_raw(name.as_bytes()) else {
            return Ok(None);
        };
        let entry = self
            .zip
            .by_index_raw(index)
            .map_err(|e| damaged(e).at(name))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            let message = "expected an entry as torch.save writes it, found a compressed one";
            return Err(Error::new(ErrorKind::Unsupported, message).at(name));
        }
        let start = entry.data_start().and_then(|s| usize::try_from(s).ok());
        let size = usize::try_from(entry.size()).ok();
        let end = start
            .zip(size)
            .and_then(|(start, size)| start.checked_add(size));
        let found = start
            .zip(end)
            .and_then(|(start, end)| Some((start, self.bytes.get(start..end)?)));
        let Some((start, bytes)) = found else {
            let message = format!("the entry ends early: expected {} bytes", entry.size());
            return Err(Error::new(ErrorKind::Truncated, message).at(name));
        };
        let checksum = entry.crc32();
        if checksum != 0 && checksum != crc32fast::hash(bytes) {
            let message = "the checksum does not match: the file was damaged";
            return Err(Error::new(ErrorKind::Checksum, message).at(name));
        }
        Ok(Some(Entry { start, bytes }))
    }
}

/// Errs when two storages share bytes, which no writer does.
fn apart(entries: &HashMap<&str, Entry<'_>>) -> Result<()> {
    let mut ranges: Vec<(usize, usize, &str)> = entries
        .iter()
        .filter(|(_, e)| !e.bytes.is_empty())
        .map(|(key, e)| (e.start, e.start + e.bytes.len(), *key))
        .collect();
    ranges.sort_unstable();
    match ranges.windows(2).find(|w| w[1].0 < w[0].1) {
        Some(w) => {
            let message = format!("storages {:?} and {:?} overlap in the file", w[0].2, w[1].2);
            Err(Error::corrupt(message).at_byte(w[1].0 as u64))
        }
        None => Ok(()),
    }
}

struct Entries<'a>(HashMap<&'a str, Entry<'a>>);

impl Storages for Entries<'_> {
    fn bytes(&self, storage: &Storage<'_>) -> Result<&[u8]> {
        let found = self.0.get(storage.key).map(|e| e.bytes);
        let found = found.expect("every storage of the pickle was looked up");
        let expected = storage.size_bytes()?;
        if found.len() != expected {
            let message = format!(
                "storage {:?}: expected {expected} bytes for {} elements of {}, found {}",
                storage.key,
                storage.len,
                storage.stored,
                found.len()
            );
            return Err(Error::corrupt(message));
        }
        Ok(found)
    }
}
