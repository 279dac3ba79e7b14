//! What a network is: [`Tensor`]s, operators and the [`Graph`](crate::tensor).
//!
//! This crate knows nothing of files, threads, SIMD or gradients.
#![forbid(unsafe_code)]

mod error;
pub mod schema;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use tensor::{DType, Data, Element, Tensor};
