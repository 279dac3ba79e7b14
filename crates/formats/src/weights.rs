//! Weights by name, from files of other programs, and into a Graph.
//!
//! [`read`] opens safetensors files and torch checkpoints (see `torch.rs` for what it refuses), and
//! [`assign`] puts what it found into a [`Graph`](bantam_core::Graph) whose weights have the names
//! that the checkpoint uses.

mod assign;

use std::collections::BTreeMap;
use std::path::Path;

use bantam_core::Tensor;

pub use crate::stored::Stored;
pub use assign::{Assigned, Missing, Rename, assign, fits};

use crate::file::read_all;
use crate::{Error, ErrorKind, Result, safetensors, torch};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 36;

/// Which program's file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A safetensors file.
    Safetensors,
    /// A checkpoint of `torch.save`.
    Torch,
}

impl Source {
    /// `safetensors` or `torch`.
    pub fn name(self) -> &'static str {
        match self {
            Source::Safetensors => "safetensors",
            Source::Torch => "torch",
        }
    }

    /// What a file is, by its first bytes.
    pub fn of(bytes: &[u8]) -> Option<Source> {
        if torch::is_torch(bytes) {
            Some(Source::Torch)
        } else if safetensors::is_safetensors(bytes) {
            Some(Source::Safetensors)
        } else {
            None
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// What the file calls it.
    pub name: String,
    /// Its element type in the file.
    pub stored: Stored,
    /// Its values, widened to a type that networks compute in; see [`Stored::dtype`].
    pub tensor: Tensor,
}

/// What a file of weights holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Which program's file it is.
    pub source: Source,
    /// In the order of the file.
    pub tensors: Vec<StoredTensor>,
    /// Texts by name.
    pub metadata: BTreeMap<String, String>,
}

/// Reads the file at `path`, whatever of the two it is.
///
/// Errs when it is neither, is damaged, asks for code to be run, or holds tensors of types that are
/// not plain numbers.
pub fn read_file(path: &Path) -> Result<Weights> {
    let bytes = read_all(path, MAX_FILE_BYTES)?;
    read(&bytes).map_err(|e| e.at(path.display().to_string()))
}

/// Reads `bytes`; errs as [`read_file`] does.
pub fn read(bytes: &[u8]) -> Result<Weights> {
    match Source::of(bytes) {
        Some(Source::Torch) => Ok(Weights {
            source: Source::Torch,
            tensors: torch::read(bytes)?,
            metadata: BTreeMap::new(),
        }),
        Some(Source::Safetensors) => {
            let (tensors, metadata) = safetensors::decode(bytes, Stored::decode)?;
            Ok(Weights {
                source: Source::Safetensors,
                tensors,
                metadata,
            })
        }
        None => {
            let message = "expected a safetensors file or a checkpoint of torch.save";
            Err(Error::new(ErrorKind::Format, message))
        }
    }
}

/// The bytes of a safetensors file.
///
/// Errs when two tensors have one name or one is called `__metadata__`.
pub fn to_safetensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    safetensors::encode(tensors, metadata)
}
