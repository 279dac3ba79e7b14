//! Files in and out: the [`bantam`] container that ships, training [`checkpoint`]s, and [`weights`] of
//! other programs.
//!
//! A reader here turns bytes that nobody vouches for into a [`Graph`](bantam_core::Graph) or into
//! tensors, or says why not: sizes are checked against limits before anything is allocated, and no
//! input makes it panic. A writer puts its bytes into a temporary file and renames it, so that a
//! file is either whole or as it was. Nothing here runs or trains a network.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bantam;
pub mod checkpoint;
pub mod onnx;
pub mod weights;

mod error;
mod file;
mod safetensors;
mod stored;
mod torch;

pub use error::{Error, ErrorKind, Result};
