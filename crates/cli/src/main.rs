//! The program `bantam`: its commands, with the allocator that networks want.
//!
//! There is nothing else here, because link-time optimisation goes by the level of this crate, which is for
//! speed, for all; what each of the others becomes then goes by its own (`profile.dist`).
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: bantam::LargePages = bantam::LargePages;

fn main() -> ExitCode {
    bantam_commands::main()
}
