//! Checkpoints that `torch.save` wrote: the zip archives of today and the files before version 1.6.
//!
//! Both are a pickle that describes tensors, and the bytes of their storages. The [`pickle`] is read
//! as data: it is never executed, and a file that asks for anything but the handful of names that
//! describe tensors is refused. What a description says is checked before it is believed: a tensor
//! lies within its storage, reads none of its elements twice, and all tensors together are not much
//! larger than the file. Refused: whole models (they are code), TorchScript, complex and quantized
//! tensors, compressed archives, files of big-endian machines, the tar files of 2016.

mod archive;
mod legacy;
mod names;
mod pickle;
mod tensors;

#[cfg(test)]
mod tests;

use crate::weights::StoredTensor;
use crate::{Error, ErrorKind, Result};

/// How often the tensors of a file may repeat its bytes: weights that are tied have two names.
const MOST_REPEATS: usize = 4;
/// What they may have in any case, in bytes.
const LEAST_ALLOWED: usize = 1 << 20;

/// Whether `bytes` begin as one of the two forms does.
pub(crate) fn is_torch(bytes: &[u8]) -> bool {
    archive::is_archive(bytes) || legacy::is_legacy(bytes)
}

/// The tensors of a checkpoint, in the order of its dictionaries. The name of a tensor in a
/// dictionary in a dictionary is both keys with a dot between.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<StoredTensor>> {
    if archive::is_archive(bytes) {
        archive::read(bytes)
    } else {
        legacy::read(bytes)
    }
}

/// The parts of a file that storages are in.
trait Storages {
    /// The bytes of a storage, all of them; errs when there are not as many as it has elements.
    fn bytes(&self, storage: &tensors::Storage<'_>) -> Result<&[u8]>;
}

/// Everything that the pickle describes, taken from the storages.
fn collect(
    pickle: &pickle::Pickle<'_>,
    storages: &dyn Storages,
    file_bytes: usize,
) -> Result<Vec<StoredTensor>> {
    let found = tensors::find(pickle)?;
    if found.is_empty() {
        let message = "expected a dictionary of tensors, found none";
        return Err(Error::new(ErrorKind::Format, message));
    }
    let most = file_bytes.saturating_mul(MOST_REPEATS).max(LEAST_ALLOWED);
    let mut sum = 0usize;
    for spec in &found {
        let size = spec.check().map_err(|e| e.at(spec.place()))?;
        sum = sum.saturating_add(size);
    }
    if sum > most {
        let what = "bytes of all tensors of a file of this size";
        return Err(Error::too_large(what, sum as u64, most as u64));
    }
    let tensor = |spec: tensors::Spec<'_>| {
        let take = || spec.take(storages.bytes(&spec.storage)?);
        let tensor = take().map_err(|e| e.at(spec.place()))?;
        Ok(StoredTensor {
            stored: spec.storage.stored,
            name: spec.name,
            tensor,
        })
    };
    found.into_iter().map(tensor).collect()
}
