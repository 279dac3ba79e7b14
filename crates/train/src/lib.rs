//! Gradients, optimizers, schedules and the training loop.
#![forbid(unsafe_code)]

mod error;
pub mod grad;
mod params;
mod training;

pub use error::{Error, ErrorKind, Result};
pub use grad::gradient;
pub use params::Params;
pub use training::{Statistic, TrainingGraph, entries_name};
