//! The `bantam` command.
#![forbid(unsafe_code)]
fn main() {}
