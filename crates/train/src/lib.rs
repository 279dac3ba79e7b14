//! Gradients, optimizers, schedules and the training loop.
//!
//! A network is trained through its [`TrainingGraph`]: loss and gradients as one Graph, which the
//! same executor runs that runs the network. While training, the weights are a [`Params`] map fed as
//! inputs; [`Params::freeze`] puts them back. This crate knows nothing of file formats or the command
//! line.
#![forbid(unsafe_code)]

mod error;
mod evaluate;
mod fit;
mod fresh;
pub mod grad;
mod loss_scale;
mod optimizer;
mod params;
mod schedule;
mod training;

pub use bantam_runtime::Precision;
pub use error::{Error, ErrorKind, Result};
pub use evaluate::{Evaluation, answers, argmax, evaluate};
pub use fit::{Config, EpochRecord, Fitted, Keep, Progress, Silent, State, Watch, fit};
pub use fresh::fresh;
pub use grad::gradient;
pub use loss_scale::LossScale;
pub use optimizer::{Optimizer, Slots};
pub use params::Params;
pub use schedule::{Decay, Schedule};
pub use training::{Statistic, TrainingGraph, entries_name};
