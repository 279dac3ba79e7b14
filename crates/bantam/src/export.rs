//! A network as a file for other programs.

use std::collections::BTreeMap;
use std::path::Path;

use bantam_core::{Graph, Tensor, Weight};
use bantam_formats::bantam::{Coder, Model, WriteOptions, write};
use bantam_formats::onnx;
use bantam_formats::weights::to_safetensors;
use serde::Serialize;

use crate::open::{Network, network};
use crate::{Error, ErrorKind, Result};

/// What a network can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The weights by name; masks and codebooks become plain values.
    Safetensors,
    /// A `.bantam` file: the network, its weights as they are, and what it is fed.
    Bantam,
    /// The network in ONNX: pruned weights are dense, quantized ones integers with a scale, or a table
    /// and indices.
    Onnx,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// Name of the network.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// Tensors in it.
    pub tensors: usize,
    /// Weights and biases in it.
    pub parameters: usize,
}

/// The bytes of the network at `path` as `target`, and what is in them.
///
/// Errs when `path` cannot be opened as [`network`] says.
pub fn export(
    path: &Path,
    architecture: Option<&str>,
    target: Target,
) -> Result<(Vec<u8>, Exported)> {
    let network = network(path, architecture)?;
    let parameters = network.graph.all_parameters();
    let (tensors, elements) = (
        parameters.len(),
        parameters.iter().map(|p| p.weight.len()).sum(),
    );
    let name = network.graph.name().to_owned();
    let bytes = encode(network, target)?;
    let exported = Exported {
        name,
        bytes: bytes.len() as u64,
        tensors,
        parameters: elements,
    };
    Ok((bytes, exported))
}

/// The bytes of `network` as `target`.
///
/// Errs when the format has no place for what is in the network.
pub fn encode(network: Network, target: Target) -> Result<Vec<u8>> {
    match target {
        Target::Safetensors => safetensors(&network),
        Target::Bantam => bantam(network),
        Target::Onnx => {
            onnx::write(&network.graph).map_err(|e| Error::new(ErrorKind::Model, e.to_string()))
        }
    }
}

fn safetensors(network: &Network) -> Result<Vec<u8>> {
    let graph = &network.graph;
    let decoded: Vec<(&str, Tensor)> = graph
        .parameters()
        .iter()
        .map(|p| (graph.value_name(p.value), p.weight.tensor().into_owned()))
        .collect();
    // The key by which other programs know whose names these are.
    let mut metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    metadata.insert("network".to_owned(), graph.name().to_owned());
    let tensors = decoded.iter().map(|(name, t)| (*name, t));
    Ok(to_safetensors(tensors, &metadata)?)
}

fn bantam(network: Network) -> Result<Vec<u8>> {
    let coder = if has_codebooks(&network.graph) {
        Coder::ContextMixing
    } else {
        Coder::Store
    };
    let model = Model {
        graph: network.graph,
        schema: network.schema,
        notes: network.notes,
    };
    write(&model, &WriteOptions { coder }).map_err(|e| Error::new(ErrorKind::Model, e.to_string()))
}

fn has_codebooks(graph: &Graph) -> bool {
    let is_codebook = |w: &Weight| matches!(w, Weight::Codebook(_));
    let mut all = graph.all_parameters().into_iter();
    all.any(|p| is_codebook(&p.weight))
}
