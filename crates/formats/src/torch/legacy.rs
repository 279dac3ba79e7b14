//! The form before version 1.6: five pickles, then the storages one after the other.
//!
//! The pickles are a magic number, a version, facts about the machine, the object, and the keys of
//! the storages in their order. A storage is its number of elements (64 bits) and its bytes.

use std::collections::HashMap;

use super::pickle::{self, Item, Kind, Pickle};
use super::tensors::{self, Storage};
use super::{Storages, collect};
use crate::weights::StoredTensor;
use crate::{Error, ErrorKind, Result};

/// 0x1950a86a20f9469cfc6c, little endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// Whether `bytes` begin with a pickle.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<StoredTensor>> {
    let mut file = File { bytes, at: 0 };
    let magic = file.pickle("magic number")?;
    if *magic.get(magic.root()) != Item::Long(&MAGIC) {
        let message = "expected a checkpoint of torch.save, found another pickle";
        return Err(Error::new(ErrorKind::Format, message));
    }
    let version = file.pickle("version")?;
    if *version.get(version.root()) != Item::Int(VERSION) {
        let message = format!("expected version {VERSION} of the format, found another");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    little_endian(&file.pickle("facts about the machine")?)?;
    let object = file.pickle("object")?;
    let keys = file.pickle("keys")?;
    let storages = file.storages(&object, &keys)?;
    if file.at < bytes.len() {
        let message = format!("{} bytes follow the last storage", bytes.len() - file.at);
        return Err(Error::new(ErrorKind::Trailing, message).at_byte(file.at as u64));
    }
    collect(&object, &storages, bytes.len())
}

fn little_endian(facts: &Pickle<'_>) -> Result<()> {
    if let Item::Dict(pairs) = facts.get(facts.root()) {
        let is = |p: &&(pickle::Id, pickle::Id)| facts.text(p.0) == Some("little_endian");
        let order = pairs.iter().find(is).map(|p| facts.get(p.1));
        if let Some(Item::Bool(true)) = order {
            return Ok(());
        }
    }
    let message = "expected the file of a little-endian machine";
    Err(Error::new(ErrorKind::Unsupported, message))
}

struct File<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> File<'a> {
    fn pickle(&mut self, what: &str) -> Result<Pickle<'a>> {
        let start = self.at;
        let pickle = pickle::read(&self.bytes[start..]).map_err(|e| e.moved(start).at(what))?;
        self.at += pickle.len;
        Ok(pickle)
    }

    /// Where each storage is, by its key.
    fn storages(&mut self, object: &Pickle<'a>, keys: &Pickle<'a>) -> Result<Blocks<'a>> {
        let mut described = HashMap::new();
        for id in object.persistent() {
            let storage = tensors::storage(object, id)?;
            let before = described
                .entry(storage.key)
                .or_insert_with(|| storage.clone());
            if (before.stored, before.len) != (storage.stored, storage.len) {
                let message = format!("storage {:?} is described in two ways", storage.key);
                return Err(Error::corrupt(message));
            }
        }
        let Item::Sequence(Kind::List, order) = keys.get(keys.root()) else {
            return Err(Error::corrupt("expected a list of keys").at("keys"));
        };
        let mut blocks = HashMap::new();
        for &key in order {
            let key = keys.text(key).unwrap_or_default();
            let storage = described.get(key).ok_or_else(|| {
                Error::corrupt(format!(
                    "storage {key:?} is there, but no tensor speaks of it"
                ))
            })?;
            let bytes = self
                .block(storage)
                .map_err(|e| e.at(format!("storage {key:?}")))?;
            if blocks.insert(key, bytes).is_some() {
                return Err(Error::corrupt(format!("storage {key:?} is there twice")));
            }
        }
        Ok(Blocks(blocks))
    }

    fn block(&mut self, storage: &Storage<'_>) -> Result<&'a [u8]> {
        let start = self.at;
        let truncated = |expected: usize, found: usize| {
            let message = format!("the file ends early: expected {expected} bytes, found {found}");
            Error::new(ErrorKind::Truncated, message).at_byte(start as u64)
        };
        let rest = &self.bytes[start..];
        let (len, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| truncated(8, rest.len()))?;
        let len = i64::from_le_bytes(*len);
        if usize::try_from(len) != Ok(storage.len) {
            let message = format!(
                "expected {} elements as described, found {len}",
                storage.len
            );
            return Err(Error::corrupt(message).at_byte(start as u64));
        }
        let size = storage.size_bytes()?;
        let block = rest
            .get(..size)
            .ok_or_else(|| truncated(size, rest.len()))?;
        self.at += 8 + size;
        Ok(block)
    }
}

struct Blocks<'a>(HashMap<&'a str, &'a [u8]>);

impl Storages for Blocks<'_> {
    fn bytes(&self, storage: &Storage<'_>) -> Result<&[u8]> {
        let found = self.0.get(storage.key).copied();
        found.ok_or_else(|| Error::corrupt(format!("storage {:?} is not in the file", storage.key)))
    }
}
