//! Files to typed tables and tensors: readers, schema, splits, batches and augmentation.
//!
//! This crate knows nothing of networks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod delimited;
mod error;
mod file;
mod options;
mod records;
mod sniff;
mod table;

pub use delimited::{read_delimited, read_delimited_bytes};
pub use error::{Error, ErrorKind, Result};
pub use options::ReadOptions;
pub use records::{Record, Records};
pub use table::{Column, MISSING, Table, Values};

/// Reads a table.
pub fn read_table(path: &std::path::Path, options: &ReadOptions) -> Result<Table> {
    read_delimited(path, options)
}
