//! What is in a file of a network or of weights: every layer, every tensor, and where the bytes are.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use bantam_core::known::Outlook;
use bantam_core::order::sort_by_key;
use bantam_core::schema::{Encoding, InputSchema, Schema, TargetKind};
use bantam_core::{Dim, Graph, Op, ValueId, Weight};
use bantam_formats::bantam as container;
use bantam_formats::weights::Weights;
use bantam_measure::network_capacity;
use serde::Serialize;

use crate::open::{Content, Format, Network, OnnxFile, damaged, fitting, open};
use crate::predict::{PredictOptions, Predictor};
use crate::results::{Layer, Part, macs_in_words};
use crate::watch::Observer;
use crate::{Error, ErrorKind, Result};

/// Everything about a file that can be told without running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Name of the network; of a file of weights, that of the file.
    pub name: String,
    /// `bantam`, `onnx`, `safetensors` or `torch`.
    pub format: &'static str,
    /// The architecture that the weights were put into; absent when the file has its own network.
    pub architecture: Option<&'static str>,
    /// Known architectures whose weights these are; empty when the network is known.
    pub fits: Vec<&'static str>,
    /// Size of the file.
    pub bytes: u64,
    /// Parts of the file, which sum to its size.
    pub ledger: Vec<Part>,
    /// What the network is fed.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Operators, the most frequent first, those of graphs inside nodes included.
    pub ops: Vec<OpCount>,
    /// What an ONNX file says of itself: version, producer, operator sets and operators as they are in
    /// the file; absent for other files.
    pub onnx: Option<OnnxFile>,
    /// Nodes of the network in running order, those of graphs inside a node after it; empty when only
    /// weights are known.
    pub layers: Vec<Layer>,
    /// Stored tensors, in the order of the file.
    pub weights: Vec<WeightInfo>,
    /// How samples become inputs; absent when nothing says so.
    pub input: Option<Input>,
    /// What it predicts; absent when nothing says so.
    pub target: Option<Target>,
    /// Stored weights and biases.
    pub parameters: usize,
    /// Those that are not 0.
    pub nonzero: usize,
    /// Multiply-adds for one sample, as far as they are known before it runs.
    pub macs: u64,
    /// What the network can hold, by the published rules and others; absent when only weights are known.
    pub capacity: Option<Capacity>,
    /// Titles and texts that whoever wrote the file put in.
    pub notes: Vec<(String, String)>,
    /// How the file was understood, where that is not plain.
    pub notices: Vec<String>,
    /// Text dump of the network; empty when only weights are known.
    pub graph: String,
}

impl Inspection {
    /// Multiply-adds of a sample in words: `at least` so many where those of some layers follow only from
    /// what they are fed.
    pub fn macs_in_words(&self, count: impl Fn(u64) -> String) -> String {
        macs_in_words(&self.layers, self.macs, count)
    }
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Sizes of its axes; an axis whose size is chosen when the network runs has a name instead, and
    /// in outputs the size it has for one sample.
    pub shape: Vec<String>,
}

/// How often an operator is used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpCount {
    /// Operator.
    pub op: String,
    /// Nodes of it.
    pub count: usize,
}

/// A stored tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightInfo {
    /// Its name.
    pub name: String,
    /// Element type in the file; of a network, `f32` and the like, `masked` or `codebook`.
    pub stored: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements.
    pub elements: usize,
    /// Those that are not 0.
    pub nonzero: usize,
}

/// What a network can hold: large enough to memorise so much does not mean that it will overfit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// Sum over the layers.
    pub total_bits: u64,
    /// Layers that store something, in running order.
    pub layers: Vec<LayerBits>,
    /// Other ways to count, which stand beside the sum and are not added to it.
    pub alternatives: Vec<Alternative>,
    /// What the network makes of data, where some were given.
    pub generalization: Option<Generalization>,
}

/// What a layer can hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerBits {
    /// Name of the node.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Weights that are not pruned, shared ones once.
    pub weights: u64,
    /// Bits.
    pub bits: u64,
    /// Why so many, in words.
    pub rule: String,
    /// `published`, `measured elsewhere` or `our extrapolation`.
    pub status: String,
}

/// Another way to count the capacity of the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The rule and its source.
    pub rule: String,
    /// What it comes to.
    pub bits: f64,
    /// `published`, `measured elsewhere` or `our extrapolation`.
    pub status: String,
}

/// How many bits of label a network answers rightly for each bit that it can hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generalization {
    /// Rows with a known class.
    pub rows: usize,
    /// Rows answered rightly.
    pub correct: u64,
    /// Bits of the labels answered rightly, `sum -log2 p` of their classes.
    pub label_bits: f64,
    /// Those over the capacity; at most 1 is what a lookup table does. Absent for a capacity of 0.
    pub bits_per_bit: Option<f64>,
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

/// What [`inspect`] found, and the network itself where there is one.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Everything that can be told.
    pub inspection: Inspection,
    /// The network; absent when only weights are known.
    pub graph: Option<Graph>,
}

/// Looks into the file at `path`. A file of weights is shown as the named `architecture`, or as a list
/// of tensors.
///
/// Errs when it cannot be read, is damaged, or does not hold the weights of the architecture.
pub fn inspect(path: &Path, architecture: Option<&str>) -> Result<Inspected> {
    let opened = open(path, architecture)?;
    let bytes = opened.bytes.len() as u64;
    let (mut inspection, graph) = match opened.content {
        Content::Weights(weights) => (of_weights(path, &weights), None),
        Content::Network(network) => {
            let inspection = of_network(&network)?;
            (inspection, Some(network.graph))
        }
    };
    inspection.format = opened.format.name();
    inspection.bytes = bytes;
    inspection.ledger = match opened.format {
        Format::Bantam => {
            let ledger = container::ledger(&opened.bytes).map_err(|e| damaged(path, &e))?;
            ledger.into_iter().map(part).collect()
        }
        Format::Onnx | Format::Safetensors | Format::Torch => opened.parts,
    };
    Ok(Inspected { inspection, graph })
}

fn of_network(network: &Network) -> Result<Inspection> {
    let graph = &network.graph;
    let layers = layers(graph);
    let (inputs, outputs) = ports(graph);
    let parameters = graph.all_parameters();
    let mut notices = network.notices.clone();
    notices.extend(unknown(graph, &layers));
    Ok(Inspection {
        name: graph.name().to_owned(),
        format: "",
        architecture: network.architecture,
        fits: Vec::new(),
        bytes: 0,
        ledger: Vec::new(),
        inputs,
        outputs,
        ops: ops(&layers),
        onnx: network.onnx.clone(),
        weights: weight_infos(graph, ""),
        input: network.schema.as_ref().map(input),
        target: network.schema.as_ref().map(target),
        parameters: parameters.iter().map(|p| p.weight.len()).sum(),
        nonzero: parameters.iter().map(|p| p.weight.nonzero()).sum(),
        macs: layers.iter().filter_map(|l| l.macs).sum(),
        layers,
        notes: network.notes.clone(),
        notices,
        capacity: Some(capacity(graph)?),
        graph: graph.to_string(),
    })
}

fn of_weights(path: &Path, weights: &Weights) -> Inspection {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let infos: Vec<WeightInfo> = weights
        .tensors
        .iter()
        .map(|t| WeightInfo {
            name: t.name.clone(),
            stored: t.stored.name().to_owned(),
            shape: t.tensor.shape().to_vec(),
            elements: t.tensor.len(),
            nonzero: Weight::Dense(t.tensor.clone()).nonzero(),
        })
        .collect();
    Inspection {
        name: stem.into_owned(),
        format: "",
        architecture: None,
        fits: fitting(weights),
        bytes: 0,
        ledger: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        ops: Vec::new(),
        onnx: None,
        layers: Vec::new(),
        input: None,
        target: None,
        parameters: infos.iter().map(|w| w.elements).sum(),
        nonzero: infos.iter().map(|w| w.nonzero).sum(),
        weights: infos,
        macs: 0,
        capacity: None,
        notes: weights.metadata.clone().into_iter().collect(),
        notices: Vec::new(),
        graph: String::new(),
    }
}

/// What is not known before the network runs, in a sentence.
fn unknown(graph: &Graph, layers: &[Layer]) -> Option<String> {
    let n = layers.iter().filter(|l| l.shape.is_none()).count();
    if n == 0 {
        return None;
    }
    let all = layers.len();
    let why = match graph.outlook(Some(&graph.input_types(1))) {
        Ok(_) => "which depend on values".to_owned(),
        Err(e) => format!("for with all free axes of size 1 it does not fit ({e})"),
    };
    Some(format!(
        "shapes and work of {n} of {all} nodes are known only when it runs, {why}"
    ))
}

/// Types and costs as far as they are known for one sample.
fn outlook(graph: &Graph) -> Outlook {
    let of_sample = graph.outlook(Some(&graph.input_types(1)));
    // A network need not accept a sample whose free axes are all 1.
    of_sample
        .or_else(|_| graph.outlook(None))
        .unwrap_or_else(|_| Outlook {
            types: vec![None; graph.n_values()],
            costs: vec![None; graph.nodes().len()],
        })
}

fn ports(graph: &Graph) -> (Vec<Port>, Vec<Port>) {
    let (types, dtypes) = (outlook(graph).types, graph.dtypes());
    let inputs = graph.inputs().iter().map(|i| Port {
        name: graph.value_name(i.value).to_owned(),
        dtype: i.dtype.name().to_owned(),
        shape: i.dims.iter().map(ToString::to_string).collect(),
    });
    let outputs = graph.outputs().iter().map(|&v| Port {
        name: graph.value_name(v).to_owned(),
        dtype: dtypes[v.index()].name().to_owned(),
        shape: match &types[v.index()] {
            Some(t) => t.shape.iter().map(ToString::to_string).collect(),
            None => vec![Dim::Rest.to_string()],
        },
    });
    (inputs.collect(), outputs.collect())
}

fn ops(layers: &[Layer]) -> Vec<OpCount> {
    let mut ops: Vec<OpCount> = Vec::new();
    for layer in layers {
        match ops.iter_mut().find(|o| o.op == layer.op) {
            Some(op) => op.count += 1,
            None => ops.push(OpCount {
                op: layer.op.clone(),
                count: 1,
            }),
        }
    }
    sort_by_key(&mut ops, |o| std::cmp::Reverse(o.count));
    ops
}

/// The stored tensors, those of graphs inside nodes under the names of these.
fn weight_infos(graph: &Graph, inside: &str) -> Vec<WeightInfo> {
    let own = graph.parameters().iter();
    let mut infos: Vec<WeightInfo> = own.map(|p| weight_info(graph, p, inside)).collect();
    for (node, what, held) in graph.held() {
        let inside = format!("{inside}{}/{what}/", node.name);
        infos.extend(weight_infos(held, &inside));
    }
    infos
}

fn weight_info(graph: &Graph, p: &bantam_core::graph::Parameter, inside: &str) -> WeightInfo {
    let stored = match &p.weight {
        Weight::Dense(t) => t.dtype().name(),
        Weight::Masked(_) | Weight::Codebook(_) => p.weight.form(),
    };
    WeightInfo {
        name: format!("{inside}{}", graph.value_name(p.value)),
        stored: stored.to_owned(),
        shape: p.weight.shape().to_vec(),
        elements: p.weight.len(),
        nonzero: p.weight.nonzero(),
    }
}

/// As [`inspect`], and how well the network generalises to the data at `data`, in bits a bit.
///
/// Errs as that and as [`Predictor::predict`] do, and when the data hold no classes to compare with.
pub fn inspect_with(
    path: &Path,
    architecture: Option<&str>,
    data: &Path,
    observer: &mut dyn Observer,
) -> Result<Inspected> {
    let mut inspected = inspect(path, architecture)?;
    let mut predictor = Predictor::open(path, architecture)?;
    let options = PredictOptions::default();
    let summary = predictor.predict(data, &options, &mut std::io::sink(), observer)?;
    if summary.confusion.is_empty() || summary.n == 0 {
        let message = "expected data with the classes that the network predicts, found none";
        return Err(Error::new(ErrorKind::Data, message).in_file(data));
    }
    let Some(capacity) = &mut inspected.inspection.capacity else {
        let message = "expected a network that answers data, found weights alone";
        return Err(Error::new(ErrorKind::Model, message).in_file(path));
    };
    let rows = summary.n as f64;
    let (mut correct, mut label_bits) = (0, 0.0);
    for (class, answers) in summary.confusion.iter().enumerate() {
        let count: u64 = answers.iter().sum();
        let right = answers[class];
        correct += right;
        if right > 0 {
            label_bits -= right as f64 * (count as f64 / rows).log2();
        }
    }
    let total = capacity.total_bits as f64;
    capacity.generalization = Some(Generalization {
        rows: summary.n,
        correct,
        label_bits,
        bits_per_bit: (total > 0.0).then(|| label_bits / total),
    });
    Ok(inspected)
}

/// What `graph` can hold.
fn capacity(graph: &Graph) -> Result<Capacity> {
    let found = network_capacity(graph)?;
    let layer = |l: &bantam_measure::LayerCapacity| LayerBits {
        name: l.node.clone(),
        op: l.op.to_owned(),
        weights: l.weights,
        bits: l.bits,
        rule: l.rule.clone(),
        status: l.ground.words().to_owned(),
    };
    let alternative = |a: bantam_measure::Alternative| Alternative {
        rule: a.rule.to_owned(),
        bits: a.bits,
        status: a.ground.words().to_owned(),
    };
    Ok(Capacity {
        total_bits: found.bits,
        alternatives: found.alternatives().into_iter().map(alternative).collect(),
        layers: found.layers.iter().map(layer).collect(),
        generalization: None,
    })
}

/// The nodes of `graph` with their shapes and costs for one sample, as far as they are known before it
/// runs. Nodes of a graph inside a node follow it, and are called `node/then/name`. A weight that
/// several nodes read is counted at the first.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let mut all = Vec::with_capacity(graph.nodes().len());
    add_layers(graph, "", &mut all);
    all
}

fn add_layers(graph: &Graph, inside: &str, all: &mut Vec<Layer>) {
    let Outlook { types, costs } = outlook(graph);
    let weights: HashMap<ValueId, &Weight> = graph
        .parameters()
        .iter()
        .map(|p| (p.value, &p.weight))
        .collect();
    // The first axis of a shape is the batch where that is what inputs begin with.
    let is_batched = |i: &bantam_core::graph::Input| i.dims.first() == Some(&Dim::batch());
    let batch = usize::from(graph.inputs().iter().any(is_batched));
    let mut seen = HashSet::new();
    for (node, cost) in graph.nodes().iter().zip(costs) {
        let first_read = node.inputs.iter().filter(|v| seen.insert(**v));
        let weights: Vec<&Weight> = first_read.filter_map(|v| weights.get(v).copied()).collect();
        let t = types[node.outputs[0].index()].as_ref();
        all.push(Layer {
            name: format!("{inside}{}", node.name),
            op: node.op.name().to_owned(),
            shape: t.map(|t| t.shape.iter().skip(batch).copied().collect()),
            parameters: weights.iter().map(|w| w.len()).sum(),
            nonzero: weights.iter().map(|w| w.nonzero()).sum(),
            macs: cost.map(|c| c.macs),
            bits: weights.first().map_or(32, |w| index_bits(w)),
        });
        if let Op::Control(control) = &node.op {
            for (what, held) in control.graphs() {
                add_layers(held, &format!("{inside}{}/{what}/", node.name), all);
            }
        }
    }
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
