//! What is in a `.bantam` file: every byte, every layer, and what the network expects.

use std::collections::HashSet;
use std::path::Path;

use bantam_core::schema::{Encoding, InputSchema, Schema, TargetKind};
use bantam_core::{Graph, Weight};
use bantam_formats::bantam::{self as container, Model, ReadLimits};
use serde::Serialize;

use crate::results::{Layer, Part};
use crate::{Error, ErrorKind, Result};

/// Everything about a model file that can be told without running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Name of the network.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// Parts of the file, which sum to its size.
    pub ledger: Vec<Part>,
    /// Nodes of the network in running order.
    pub layers: Vec<Layer>,
    /// What the network is fed; absent when the file does not say.
    pub input: Option<Input>,
    /// What it predicts; absent when the file does not say.
    pub target: Option<Target>,
    /// Stored weights and biases.
    pub parameters: usize,
    /// Those that are not 0.
    pub nonzero: usize,
    /// Multiply-adds for one sample.
    pub macs: u64,
    /// Titles and texts that whoever wrote the file put in.
    pub notes: Vec<(String, String)>,
    /// Text dump of the network.
    pub graph: String,
}

/// What a network is fed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Input {
    /// `table`, `image` or `array`.
    pub kind: &'static str,
    /// Shape of a sample as the network sees it.
    pub shape: Vec<usize>,
    /// Columns of a table; empty for the others.
    pub columns: Vec<Column>,
}

/// A column that a network reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Name of the column.
    pub name: String,
    /// `numeric` or `categorical`.
    pub kind: &'static str,
    /// Categories that are known; empty for numbers.
    pub categories: Vec<String>,
    /// Whether a missing cell has a feature of its own.
    pub missing: bool,
}

/// What a network predicts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Name of the column, or what the labels are called.
    pub name: String,
    /// `classes` or `number`.
    pub kind: &'static str,
    /// Names of the classes; empty for a number.
    pub classes: Vec<String>,
}

/// Looks into the file at `path`.
///
/// Errs when it cannot be read or is not a whole, undamaged `.bantam` file.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let (bytes, model) = read_model(path)?;
    let ledger = container::ledger(&bytes).map_err(|e| damaged(path, &e))?;
    let graph = &model.graph;
    let layers = layers(graph)?;
    Ok(Inspection {
        name: graph.name().to_owned(),
        bytes: bytes.len() as u64,
        ledger: ledger.into_iter().map(part).collect(),
        input: model.schema.as_ref().map(input),
        target: model.schema.as_ref().map(target),
        parameters: graph.parameters().iter().map(|p| p.weight.len()).sum(),
        nonzero: graph.parameters().iter().map(|p| p.weight.nonzero()).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        layers,
        notes: model.notes,
        graph: graph.to_string(),
    })
}

/// The nodes of `graph` with their shapes and costs for one sample. A weight that several nodes read
/// is counted at the first.
pub fn layers(graph: &Graph) -> Result<Vec<Layer>> {
    let types = graph.infer(&graph.input_types(1))?;
    let costs = graph.costs(1)?;
    let mut seen = HashSet::new();
    let mut layers = Vec::with_capacity(graph.nodes().len());
    for (node, cost) in graph.nodes().iter().zip(costs) {
        let read = graph.parameters().iter();
        let weights: Vec<&Weight> = read
            .filter(|p| node.inputs.contains(&p.value) && seen.insert(p.value))
            .map(|p| &p.weight)
            .collect();
        let shape = &types[node.outputs[0].index()].shape;
        layers.push(Layer {
            name: node.name.clone(),
            op: node.op.name().to_owned(),
            shape: shape.iter().skip(1).copied().collect(),
            parameters: weights.iter().map(|w| w.len()).sum(),
            nonzero: weights.iter().map(|w| w.nonzero()).sum(),
            macs: cost.macs,
            bits: weights.first().map_or(32, |w| index_bits(w)),
        });
    }
    Ok(layers)
}

/// The bytes of the file and the model in them.
pub(crate) fn read_model(path: &Path) -> Result<(Vec<u8>, Model)> {
    let limits = ReadLimits::default();
    let metadata = std::fs::metadata(path).map_err(|e| Error::file(path, &e))?;
    if metadata.is_dir() {
        let message = "expected a .bantam file, found a folder";
        return Err(Error::new(ErrorKind::Model, message).in_file(path));
    }
    if metadata.len() > limits.max_file_bytes {
        let (most, found) = (limits.max_file_bytes, metadata.len());
        let message = format!("expected a file of at most {most} bytes, found {found}");
        return Err(Error::new(ErrorKind::Model, message).in_file(path));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, &e))?;
    let model = container::read(&bytes, &limits).map_err(|e| damaged(path, &e))?;
    Ok((bytes, model))
}

fn damaged(path: &Path, e: &bantam_formats::Error) -> Error {
    use bantam_formats::ErrorKind as K;
    let hint = match e.kind() {
        K::Format => "expected a file that `bantam grow` or `bantam pack` wrote",
        K::Unsupported => "a newer version of bantam may be able to read it",
        _ => "the file was cut or damaged on its way: copy it again",
    };
    Error::new(ErrorKind::Model, e.to_string())
        .in_file(path)
        .with_hint(hint)
}

fn part(entry: container::LedgerEntry) -> Part {
    Part {
        part: entry.part,
        bytes: entry.bytes,
    }
}

/// Bits that tell the non-zero entries of a codebook apart; 32 for plain values.
fn index_bits(weight: &Weight) -> u8 {
    match weight {
        Weight::Dense(_) | Weight::Masked(_) => 32,
        Weight::Codebook(c) => {
            let entries = c.entries().len().saturating_sub(1).max(2);
            entries.next_power_of_two().trailing_zeros() as u8
        }
    }
}

fn input(schema: &Schema) -> Input {
    let (kind, columns) = match &schema.input {
        InputSchema::Table { columns } => ("table", columns.as_slice()),
        InputSchema::Image { .. } => ("image", &[][..]),
        InputSchema::Array { .. } => ("array", &[][..]),
    };
    let column = |c: &bantam_core::schema::ColumnSchema| {
        let (kind, categories, missing) = match &c.encoding {
            Encoding::Numeric { missing, .. } => ("numeric", Vec::new(), *missing),
            Encoding::OneHot {
                categories,
                missing,
            } => ("categorical", categories.clone(), *missing),
        };
        Column {
            name: c.name.clone(),
            kind,
            categories,
            missing,
        }
    };
    Input {
        kind,
        shape: schema.sample_shape(),
        columns: columns.iter().map(column).collect(),
    }
}

fn target(schema: &Schema) -> Target {
    let kind = match schema.target.kind {
        TargetKind::Classes(_) => "classes",
        TargetKind::Number { .. } => "number",
    };
    Target {
        name: schema.target.name.clone(),
        kind,
        classes: schema.target.classes().to_vec(),
    }
}
