//! Entropy coding of integers, weights and short byte strings.
//!
//! Every coder here turns integers into bytes and back. None of them knows tensors, graphs or
//! files, none reads outside memory, and none panics on any input bytes: the caller states how
//! much it is ready to decode, and truncated or corrupt bytes give an [`Error`] or other symbols.
//! Nothing detects every corruption, so a container should store a checksum of what it decodes.
//!
//! | module | codes |
//! |---|---|
//! | [`bits`] | fixed-width fields, most significant bit first |
//! | [`varint`] | unsigned integers in one to ten bytes (LEB128) |
//! | [`huffman`] | symbols of a small alphabet, canonical prefix code |
//! | [`range`](mod@range) | binary decisions with a given probability |
//! | [`bytes`] | headers and strings of 50 to 2000 bytes, adaptive |
//! | [`weights`] | matrices of quantized weights, adaptive, two-dimensional contexts |
//! | [`deep_compression`] | the sparse format of Han et al. 2016, for comparison |
//!
//! Their sizes are compared with [`entropy_order0`]. Probability models use integer arithmetic only,
//! so that every machine decodes the same symbols.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bits;
pub mod varint;

pub mod huffman;
pub mod range;

pub mod bytes;
pub mod deep_compression;
pub mod weights;

mod entropy;
mod error;
mod logistic;

pub use entropy::entropy_order0;
pub use error::{Error, ErrorKind};
