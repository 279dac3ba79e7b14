//! What a network is: [`Tensor`]s, operators ([`op::Op`]) and the [`Graph`].
//!
//! This crate knows nothing of files, threads, SIMD or gradients.
#![forbid(unsafe_code)]

pub mod arch;
#[doc(hidden)]
pub mod cases;
pub mod elements;
mod error;
pub mod graph;
pub mod known;
pub mod op;
pub mod order;
pub mod pass;
pub mod reference;
pub mod schema;
pub mod tensor;
mod weight;

pub use error::{Error, ErrorKind, Result};
pub use graph::{Dim, Graph, GraphBuilder, Node, ValueId};
pub use op::Op;
pub use tensor::{DType, Data, Element, Tensor};
pub use weight::{Codebook, Masked, Weight};
