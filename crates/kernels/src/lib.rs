//! CPU kernels on slices: what a network spends its time in.
//!
//! Nothing here knows of tensors or graphs. A function takes slices and the numbers that give them
//! shape, checks lengths once at entry (a wrong one is a mistake of the caller and panics) and
//! writes every element of its results. Everything is `f32`, row-major, images as
//! `[n, c, h, w]`; a gradient overwrites its target unless it says that it adds.
//!
//! **Threads.** Work is cut into pieces, sums into parts that do not depend on the number of threads and are
//! merged in a fixed order. So results are the same, bit for bit, for any number of threads. The calling
//! thread works through the pieces together with threads of rayon's current pool, which stand by for a
//! moment between two calls (`crew`). Small work stays on the calling thread.
//!
//! **Processors.** The best of AVX-512, AVX2, NEON and portable code is chosen at run time. Matrix
//! products, convolutions and dot products use fused multiply-add where there is one and as many
//! partial sums as a vector has lanes, so their last bits differ between processors. Everything
//! else gives the same bits everywhere, unless it says otherwise.
//!
//! **Checking.** [`mod@reference`] has a slow twin of every kernel here, written from its definition
//! with sums in `f64`; tests compare the two over tables of shapes.
//!
//! This is the only crate of the workspace with `unsafe` code.

mod aligned;
mod bytes;
mod conv;
mod crew;
mod elementwise;
mod floor;
mod large;
pub mod last;
mod layer_norm;
mod layout;
mod loss;
mod matmul;
mod matmul_pairs;
mod norm;
mod optim;
mod pairs;
mod parallel;
mod piecewise;
mod pool;
mod precision;
mod reduce;
pub mod reference;
mod simd;
mod softmax;
#[cfg(test)]
mod testing;
mod window;

pub use aligned::Aligned;
pub use bytes::{ByteLevel, byte_level};
pub use conv::{ConvShape, conv, conv_grad_input, conv_grad_weight};
pub use crew::meet;
pub use elementwise::{broadcast_zip, erf, exp, map, sigmoid, tanh, zip_map, zip3_map};
pub use floor::{multiply_adds, peak_byte_ops, peak_flops, read_bandwidth};
pub use large::LargePages;
pub use layer_norm::{LayerNorm, layer_norm};
pub use layout::{gather_rows, permute, scatter_add};
pub use loss::{cross_entropy, cross_entropy_grad};
pub use matmul::{MatRef, dense, matmul};
pub use norm::{Affine, batch_norm, batch_norm_grad, batch_norm_train};
pub use optim::{AdamStep, SgdStep, adam, scale, sgd, sum_of_squares};
pub use parallel::{each, threads};
pub use piecewise::{Grid, Piece, PiecewiseLinear};
pub use pool::{PoolShape, average_pool, average_pool_grad, max_pool, max_pool_grad};
pub use precision::Precision;
pub use reduce::{max_axis, min_axis, sum_axis};
pub use simd::{Level, level};
pub use softmax::{log_softmax, log_softmax_grad, softmax, softmax_grad};
