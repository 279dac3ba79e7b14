//! From data to the smallest network that does the job: recipes, run folders, stages, reports.
//!
//! [`grow`] runs the whole road that a [`Recipe`] describes. Every stage leaves a file in the run
//! folder; what is there is not done again, and a run that is killed anywhere goes on. This crate
//! prints nothing and reads no arguments: an [`Observer`](watch::Observer) is told what happens.
#![forbid(unsafe_code)]

pub mod arrays;
pub mod bench;
pub mod budget;
mod choices;
mod codebooks;
pub mod drift;
mod error;
pub mod export;
mod fitting;
mod folder;
mod grow;
pub mod inspect;
mod machine;
mod measuring;
pub mod open;
mod partial;
pub mod predict;
mod prepare;
pub mod recipe;
pub mod report;
pub mod results;
mod road;
pub mod shrink;
mod sizing;
mod study;
pub mod variants;
pub mod watch;

pub use bantam_runtime::LargePages;
pub use error::{Error, ErrorKind, Result};
pub use grow::{RunOptions, StageName, StageReport, default_recipe, grow, run_stage};
pub use inspect::{Inspected, Inspection, inspect, inspect_with};
pub use measuring::MeasureOptions;
pub use open::Network;
pub use partial::{PartialOptions, Report, measure_all, merge, partial};
pub use recipe::Recipe;
