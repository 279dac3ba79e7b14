//! ONNX in and out.
//!
//! [`read`] turns the bytes of a model into a [`Graph`]: operators are decomposed into the families
//! of [`Op`](bantam_core::Op), names of operators and attributes end here. What is not known is an
//! error that names the node and the operator before anything runs: an unknown operator, a custom
//! domain, an attribute that nobody read, an element type the Graph does not have. Symbolic sizes
//! stay symbolic; [`specialise`](bantam_core::pass::specialise) makes them concrete.
//!
//! [`write()`] is the way back: every Graph that [`read`] makes, and every network that Bantam trains,
//! prunes or quantizes.
//!
//! The readers take bytes that nobody vouches for. Counts and sizes are checked against
//! [`ReadLimits`] before anything is allocated, nesting is bounded, external data stay inside the
//! folder of the model.

mod export;
mod import;
mod schema;
mod tensors;
mod wire;

use std::path::Path;

use bantam_core::{DType, Graph, Tensor};

use crate::{Error, Result};

/// What a reader may allocate. What is above is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Elements of all stored tensors together.
    pub elements: u64,
    /// Nodes, those of subgraphs and inlined functions included.
    pub nodes: usize,
}

impl Default for ReadLimits {
    fn default() -> ReadLimits {
        ReadLimits {
            file_bytes: 2 << 30,
            elements: 1 << 30,
            nodes: 1 << 18,
        }
    }
}

/// A model as read: the network, and what the file says about itself.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// Domain and version of each operator set; `ai.onnx` is the empty domain.
    pub opsets: Vec<(String, i64)>,
    /// Version of the file format.
    pub ir_version: i64,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// Operators of the file and how often each is there, by name; those of other domains with
    /// their domain.
    pub operators: Vec<(String, usize)>,
    /// Bytes of the tensors in the file, by element type.
    pub tensor_bytes: Vec<(DType, u64)>,
    /// Files beside it that tensors were read from, and how many bytes.
    pub external_bytes: Vec<(String, u64)>,
}

/// Whether bytes look like a model: they are the fields that one has, with a graph among them. ONNX has
/// no other mark.
pub fn is_model(bytes: &[u8]) -> bool {
    const GRAPH: u32 = 7;
    const LAST_FIELD: u32 = 25;
    let mut has_graph = false;
    for field in wire::Part::new(bytes).fields() {
        match field {
            Ok(field) if field.number <= LAST_FIELD => has_graph |= field.number == GRAPH,
            _ => return false,
        }
    }
    has_graph
}

/// Reads a model from its bytes. External data are refused, as there is no folder to find them in.
pub fn read(bytes: &[u8], limits: &ReadLimits) -> Result<Model> {
    import::model(bytes, None, limits)
}

/// Reads a model from the bytes of the file at `path`, with the external data beside it.
pub fn read_beside(bytes: &[u8], path: &Path, limits: &ReadLimits) -> Result<Model> {
    import::model(bytes, path.parent(), limits)
}

/// Reads a model from a file, with the external data beside it.
pub fn read_file(path: &Path, limits: &ReadLimits) -> Result<Model> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(e, path))?;
    if length.len() > limits.file_bytes {
        let error = Error::too_large("bytes of the file", length.len(), limits.file_bytes);
        return Err(error.at(path.display().to_string()));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(e, path))?;
    read_beside(&bytes, path, limits).map_err(|e| e.at(path.display().to_string()))
}

/// Reads one tensor from the bytes of a `TensorProto`, as test data hold them.
pub fn read_tensor(bytes: &[u8], limits: &ReadLimits) -> Result<Tensor> {
    let def = schema::tensor(wire::Part::new(bytes))?;
    tensors::Loader::new(None, limits).tensor(&def)
}

/// Writes a network as ONNX, operator set 20 of the standard domain.
///
/// Pruned weights are written dense. Quantized ones whose codebook is a scale times integers are written
/// as these, with a `DequantizeLinear`; other codebooks as a table and indices, which a `Gather` puts
/// together. Errs for operators of training and for the few that ONNX has no form for.
pub fn write(graph: &Graph) -> Result<Vec<u8>> {
    export::model(graph)
}
