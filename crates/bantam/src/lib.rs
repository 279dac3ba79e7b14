//! From data to the smallest network that does the job.
#![forbid(unsafe_code)]

mod error;
pub mod inspect;
pub mod predict;
pub mod recipe;
pub mod report;
pub mod results;
pub mod watch;

pub use error::{Error, ErrorKind, Result};
pub use recipe::Recipe;
