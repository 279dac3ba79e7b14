//! Whole files: round trips, golden bytes, damage and malice.

use bantam_core::graph::GraphBuilder;
use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::layout::SliceRange;
use bantam_core::op::{
    BatchNorm, Binary, Conv, ConvRole, Dense, Dropout, Gather, Layout, Loss, LossKind, MatMul,
    NormRole, Pool, PoolKind, Reduce, ReduceKind, Softmax, Unary,
};
use bantam_core::schema::{ColumnSchema, Encoding, InputSchema, Schema, TargetKind, TargetSchema};
use bantam_core::{Codebook, DType, Dim, Graph, Masked, Op, Tensor, ValueId, Weight};

use super::*;

mod damage;
mod models;
mod whole;
