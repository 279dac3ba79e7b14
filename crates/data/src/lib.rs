//! Files to typed tables and tensors: readers, schema, splits, batches and augmentation.
//!
//! [`load`] reads whatever a path is. A [`Table`] is cleared of [`identifiers`], [`split`], and
//! [`fit_schema`] makes of its training rows the [`Schema`](bantam_core::schema::Schema) that
//! [`encode`] and [`RowEncoder`] apply.
//!
//! This crate knows nothing of networks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod file;
mod guard;
mod load;
mod options;
mod table;

mod cifar;
mod columnar;
mod delimited;
mod idx;
pub mod images;
mod npy;
mod records;
mod sniff;

mod encode;
mod fit;
mod identify;
mod rng;
mod split;

mod batches;
mod chunks;
mod in_place;
mod source;
mod stored;

pub use batches::{Augment, Batches, Epoch};
pub use chunks::{
    Blocks, ChunkColumn, Layout, LayoutColumn, MOST_TARGET_VALUES, Sample, Sampling, UNSEEN,
    for_each_block, sample_table, stream_columns,
};
pub use columnar::read_parquet;
pub use delimited::{read_delimited, read_delimited_bytes, read_sample};
pub use encode::{RowEncoder, Target, Targets, Unseen, encode, encode_inputs, targets};
pub use error::{Error, ErrorKind, Result};
pub use fit::{Task, fit_columns, fit_samples, fit_schema, fit_schema_for, fit_target};
pub use guard::decoding;
pub use identify::{LeftOut, Reason, features, identifiers};
pub use idx::read_idx;
pub use images::read_image_folder;
pub use in_place::StoredSamples;
pub use load::{
    Dataset, Loaded, OnDisk, Samples, StoredParts, load, memory_estimate, on_disk, read_images,
    read_table, rows_with_target,
};
pub use npy::{npy_bytes, npz_bytes, read_npy, read_npz};
pub use options::ReadOptions;
pub use records::{Record, Records};
pub use rng::{Rng, hash};
pub use source::{MemorySource, Source, Subset};
pub use split::{Fractions, Split, split};
pub use stored::{Encoded, FileSource, RowsWriter, encode_file};
pub use table::{Column, MISSING, Table, Values, sort_levels};
