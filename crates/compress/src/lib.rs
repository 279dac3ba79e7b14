//! What makes a network smaller: [`prune()`] and [`rewind`] with the iterative [`schedule`] around
//! them, trained codebooks ([`quantize()`]), networks in bytes ([`int8`]), and restructuring that keeps the function.
//!
//! Every step is a function from a `Graph` to a `Graph`. This crate knows nothing of training, files
//! or commands: a step that needs retraining or an evaluation gets a callback. All results are
//! deterministic; ties go to the earlier parameter, then to the earlier element.
#![forbid(unsafe_code)]

pub mod coupling;
pub mod crop;
mod error;
pub mod int8;
mod kmeans;
mod names;
pub mod order;
pub mod prune;
pub mod quantize;
mod rebuild;
pub mod schedule;

#[cfg(test)]
mod testing;

pub use coupling::{Group, Member, Role, groups};
pub use crop::{CropReport, CroppedLayer, crop};
pub use error::{Error, ErrorKind, Result};
pub use order::order_units;
pub use prune::{Magnitude, Remaining, Scope, Sparsity, prune, rewind};
pub use quantize::{BitChoice, BitSearch, CodebookOptions, Init, choose_bits, quantize};
pub use schedule::{
    IterativeOptions, Retrain, Rewinding, RoundRecord, RoundRequest, RoundResult, choose, iterate,
    next_round,
};
