//! Plans and executes a [`Graph`](bantam_core::Graph) on the CPU.
//!
//! One executor serves inference and training: a gradient is a Graph like any other. A [`Plan`]
//! fixes the order, the types and the memory for given input types; an [`Executor`] runs it as often
//! as wanted without allocating for the values. Results do not depend on the number of threads. This
//! crate knows nothing of files.
#![forbid(unsafe_code)]

mod chain;
mod convolution;
mod error;
mod executor;
mod kernel;
mod layer;
mod plan;
mod slices;
mod tune;

pub use bantam_kernels::{
    LargePages, Level, Precision, level, meet, multiply_adds, peak_byte_ops, peak_flops,
    read_bandwidth,
};
pub use error::{Error, ErrorKind, Result};
pub use executor::Executor;
pub use plan::{Memory, Plan, StepInfo};
pub use tune::{Candidate, Choice, Choices};
