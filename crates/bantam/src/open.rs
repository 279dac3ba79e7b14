//! Any file that holds a network or weights, opened.

use std::path::Path;

use bantam_core::Graph;
use bantam_core::arch::{self, Architecture};
use bantam_core::order::sort_by_key;
use bantam_core::schema::Schema;
use bantam_formats::bantam::{self as container, ReadLimits};
use bantam_formats::onnx;
use bantam_formats::weights::{self, Assigned, Source, Weights};

use serde::Serialize;

use crate::inspect::OpCount;
use crate::results::Part;
use crate::{Error, ErrorKind, Result};

/// Most lines of a list of names in a message.
const MOST_LISTED: usize = 5;

/// Which program's file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A packed network of ours.
    Bantam,
    /// A network in ONNX.
    Onnx,
    /// Named tensors in the safetensors format.
    Safetensors,
    /// A checkpoint of `torch.save`.
    Torch,
}

impl Format {
    /// `bantam`, `onnx`, `safetensors`, `torch`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Bantam => "bantam",
            Format::Onnx => "onnx",
            Format::Safetensors => "safetensors",
            Format::Torch => "torch",
        }
    }
}

/// A network and what its file says of it.
#[derive(Clone, Debug)]
pub struct Network {
    /// The network with its weights.
    pub graph: Graph,
    /// What it is fed and what its answers mean; absent when neither the file nor an architecture
    /// says so.
    pub schema: Option<Schema>,
    /// Titles and texts that whoever wrote the file put in.
    pub notes: Vec<(String, String)>,
    /// The architecture that the weights were put into, if the file holds weights alone.
    pub architecture: Option<&'static str>,
    /// What the user should know about how the file was understood.
    pub notices: Vec<String>,
    /// What an ONNX file says of itself; absent for other files.
    pub onnx: Option<OnnxFile>,
}

/// What an ONNX file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnnxFile {
    /// Version of the file format.
    pub ir_version: i64,
    /// The program that wrote it, with its version; empty when it does not say so.
    pub producer: String,
    /// Operator sets that it is written in.
    pub opsets: Vec<Opset>,
    /// Operators of the file and how often each is there, the most frequent first.
    pub operators: Vec<OpCount>,
}

/// A set of operators.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opset {
    /// Its domain; `ai.onnx` for the standard one.
    pub domain: String,
    /// Its version.
    pub version: i64,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Network(Box<Network>),
    /// Weights of a network that nobody named.
    Weights(Weights),
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) format: Format,
    pub(crate) bytes: Vec<u8>,
    /// The parts that sum to its size; empty for a `.bantam` file, which has a ledger of its own.
    pub(crate) parts: Vec<Part>,
    pub(crate) content: Content,
}

/// Opens the network in the file at `path`: a `.bantam` file, an ONNX file, or a file of weights together
/// with the name of the `architecture` that they belong to.
///
/// Errs when the file is damaged, when it holds weights alone and no architecture is named, and when
/// the weights are not those of the architecture.
pub fn network(path: &Path, architecture: Option<&str>) -> Result<Network> {
    match open(path, architecture)?.content {
        Content::Network(network) => Ok(*network),
        Content::Weights(weights) => {
            let message = "the file holds weights, but not the network they belong to";
            let error = Error::new(ErrorKind::Model, message).in_file(path);
            Err(match fitting(&weights).as_slice() {
                [] => error.with_hint(format!("name it with --arch: one of {}", known())),
                [one] => error.with_hint(format!("the names are those of {one}: say --arch {one}")),
                some => error.with_hint(format!(
                    "the names fit {}: say --arch NAME",
                    some.join(", ")
                )),
            })
        }
    }
}

/// Opens whatever is at `path`; errs as [`network`] does, but for weights alone.
pub(crate) fn open(path: &Path, architecture: Option<&str>) -> Result<Opened> {
    let architecture = architecture.map(find).transpose()?;
    let bytes = read(path)?;
    let Some(source) = Source::of(&bytes) else {
        let named = path.extension().is_some_and(|e| e == "onnx");
        let network = match named || onnx::is_model(&bytes) {
            true => onnx(path, &bytes)?,
            false => bantam(path, &bytes)?,
        };
        if let Some(architecture) = architecture {
            return Err(own_network(path, architecture));
        }
        let (format, parts, network) = network;
        return Ok(Opened {
            format,
            bytes,
            parts,
            content: Content::Network(Box::new(network)),
        });
    };
    let format = match source {
        Source::Safetensors => Format::Safetensors,
        Source::Torch => Format::Torch,
    };
    let weights = weights::read(&bytes).map_err(|e| damaged(path, &e))?;
    let parts = tensors_and_rest(&weights, bytes.len() as u64);
    let content = match architecture {
        Some(architecture) => {
            let network = assemble(architecture, &weights).map_err(|e| e.in_file(path))?;
            Content::Network(Box::new(network))
        }
        None => Content::Weights(weights),
    };
    Ok(Opened {
        format,
        bytes,
        parts,
        content,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let most = ReadLimits::default().max_file_bytes;
    let metadata = std::fs::metadata(path).map_err(|e| Error::file(path, &e))?;
    if metadata.is_dir() {
        let message = "expected a file with a network, found a folder";
        return Err(Error::new(ErrorKind::Model, message).in_file(path));
    }
    if metadata.len() > most {
        let found = metadata.len();
        let message = format!("expected a file of at most {most} bytes, found {found}");
        return Err(Error::new(ErrorKind::Model, message).in_file(path));
    }
    std::fs::read(path).map_err(|e| Error::file(path, &e))
}

fn own_network(path: &Path, architecture: &Architecture) -> Error {
    let name = architecture.name;
    let message = format!("the file brings its own network, so it cannot be taken for {name}");
    let error = Error::new(ErrorKind::Model, message).in_file(path);
    error.with_hint("leave --arch out")
}

fn bantam(path: &Path, bytes: &[u8]) -> Result<(Format, Vec<Part>, Network)> {
    let model = container::read(bytes, &ReadLimits::default()).map_err(|e| damaged(path, &e))?;
    let network = Network {
        graph: model.graph,
        schema: model.schema,
        notes: model.notes,
        architecture: None,
        notices: Vec::new(),
        onnx: None,
    };
    Ok((Format::Bantam, Vec::new(), network))
}

fn onnx(path: &Path, bytes: &[u8]) -> Result<(Format, Vec<Part>, Network)> {
    let model = onnx::read_beside(bytes, path, &onnx::ReadLimits::default())
        .map_err(|e| not_understood(path, &e))?;
    let total = bytes.len() as u64;
    let tensors = model.tensor_bytes.iter();
    let parts = tensors.map(|(dtype, bytes)| (format!("tensors of {dtype}"), *bytes));
    let parts = and_the_rest(parts, total, "nodes, names and shapes");
    let external = model.external_bytes.iter();
    let notices = external.map(|(file, bytes)| format!("{bytes} bytes of tensors are in {file}"));
    let mut operators: Vec<OpCount> = model
        .operators
        .into_iter()
        .map(|(op, count)| OpCount { op, count })
        .collect();
    sort_by_key(&mut operators, |o| std::cmp::Reverse(o.count));
    let opset = |(domain, version): (String, i64)| Opset {
        domain: match domain.is_empty() {
            true => "ai.onnx".to_owned(),
            false => domain,
        },
        version,
    };
    let network = Network {
        graph: model.graph,
        schema: None,
        notes: Vec::new(),
        architecture: None,
        notices: notices.collect(),
        onnx: Some(OnnxFile {
            ir_version: model.ir_version,
            producer: model.producer,
            opsets: model.opsets.into_iter().map(opset).collect(),
            operators,
        }),
    };
    Ok((Format::Onnx, parts, network))
}

fn not_understood(path: &Path, e: &bantam_formats::Error) -> Error {
    match e.kind() {
        bantam_formats::ErrorKind::Unsupported => {
            let error = Error::new(ErrorKind::Model, e.to_string()).in_file(path);
            error.with_hint("docs/onnx.md lists what is not supported, and why")
        }
        _ => damaged(path, e),
    }
}

pub(crate) fn damaged(path: &Path, e: &bantam_formats::Error) -> Error {
    use bantam_formats::ErrorKind as K;
    let error = Error::new(ErrorKind::Model, e.to_string()).in_file(path);
    match e.kind() {
        K::Format => error
            .with_hint("expected a .bantam file, ONNX, safetensors, or a checkpoint of torch.save"),
        K::Unsupported => error,
        _ => error.with_hint("the file was cut or damaged on its way: copy it again"),
    }
}

/// The architecture called `name`.
pub(crate) fn find(name: &str) -> Result<&'static Architecture> {
    arch::find(name).ok_or_else(|| {
        let message = format!("unknown architecture {name:?}");
        let near = arch::ALL
            .iter()
            .map(|a| (strsim::normalized_damerau_levenshtein(a.name, name), a.name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.5);
        let hint = match near {
            Some((_, near)) => format!("did you mean {near}? Known are {}", known()),
            None => format!("known are {}", known()),
        };
        Error::new(ErrorKind::Recipe, message).with_hint(hint)
    })
}

/// Names of the known architectures, with commas.
pub fn known() -> String {
    arch::ALL
        .iter()
        .map(|a| a.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The architectures whose weights these are, by name and shape.
pub(crate) fn fitting(weights: &Weights) -> Vec<&'static str> {
    let fits = |a: &&Architecture| {
        let graph = a.graph(classes(a, weights));
        graph.is_ok_and(|graph| weights::fits(&graph, &weights.tensors, a.unread))
    };
    arch::ALL.iter().filter(fits).map(|a| a.name).collect()
}

/// As many classes as the last bias has elements, or the usual number.
fn classes(architecture: &Architecture, weights: &Weights) -> usize {
    let is_last = |name: &str| {
        let rest = architecture.classifier.and_then(|c| name.strip_suffix(c));
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let last = weights.tensors.iter().find(|t| is_last(&t.name));
    match last.map(|t| t.tensor.shape()) {
        Some(&[classes]) if classes > 0 => classes,
        _ => architecture.usual_classes(),
    }
}

fn assemble(architecture: &Architecture, weights: &Weights) -> Result<Network> {
    let name = architecture.name;
    let classes = classes(architecture, weights);
    let empty = architecture.graph(classes)?;
    let assigned = weights::assign(&empty, &weights.tensors, architecture.unread);
    let (graph, report) = assigned.map_err(|e| {
        Error::new(
            ErrorKind::Model,
            format!("the weights do not fit {name}: {e}"),
        )
    })?;
    if !report.is_complete() {
        let error = Error::new(ErrorKind::Model, misfit(name, &report));
        return Err(match fitting(weights).as_slice() {
            [] => error,
            some => error.with_hint(format!("the names are those of {}", some.join(", "))),
        });
    }
    Ok(Network {
        graph,
        schema: architecture.schema(classes),
        notes: Vec::new(),
        architecture: Some(name),
        notices: notices(&report),
        onnx: None,
    })
}

/// What is missing and what is left over, a name a line.
fn misfit(name: &str, report: &Assigned) -> String {
    let (missing, left_over) = (report.missing.len(), report.left_over.len());
    let mut message = format!(
        "the weights do not fit {name}: {} found, {missing} missing, {left_over} left over",
        report.found
    );
    for m in report.missing.iter().take(MOST_LISTED) {
        message += &match &m.nearest {
            Some(near) => format!("\n  missing {}, nearest in the file: {near}", m.name),
            None => format!("\n  missing {}", m.name),
        };
    }
    for name in report.left_over.iter().take(MOST_LISTED) {
        message += &format!("\n  left over {name}");
    }
    let listed = missing.min(MOST_LISTED) + left_over.min(MOST_LISTED);
    if listed < missing + left_over {
        message += &format!("\n  ... and {} more", missing + left_over - listed);
    }
    message
}

fn notices(report: &Assigned) -> Vec<String> {
    let mut notices = Vec::new();
    if !report.prefix.is_empty() {
        notices.push(format!(
            "the names of the weights begin with {:?}",
            report.prefix
        ));
    }
    if report.outside > 0 {
        let (n, prefix) = (report.outside, &report.prefix);
        notices.push(format!(
            "{n} tensors whose names do not begin with {prefix:?} were left out"
        ));
    }
    if !report.unread.is_empty() {
        notices.push(format!("not read: {}", report.unread.join(", ")));
    }
    if let Some(first) = report.renamed.first() {
        let n = report.renamed.len();
        notices.push(format!(
            "{n} weights have other names: {} is {}, ...",
            first.from, first.to
        ));
    }
    if report.by_order {
        notices.push(
            "no name is known; the weights were matched in their order, shape by shape".to_owned(),
        );
    }
    if report.rounded > 0 {
        notices.push(format!(
            "{} weights were rounded from 64-bit floats",
            report.rounded
        ));
    }
    notices
}

/// The bytes of tensors, by element type, and what else a file of weights holds.
fn tensors_and_rest(weights: &Weights, bytes: u64) -> Vec<Part> {
    let tensors = weights.tensors.iter();
    let parts = tensors.map(|t| {
        let size = (t.tensor.len() * t.stored.size_bytes()) as u64;
        (format!("tensors of {}", t.stored), size)
    });
    and_the_rest(parts, bytes, "names, shapes and padding")
}

/// Equal parts added up, and what is left of the file.
fn and_the_rest(all: impl Iterator<Item = (String, u64)>, bytes: u64, rest: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (part, size) in all {
        match parts.iter_mut().find(|p| p.part == part) {
            Some(known) => known.bytes += size,
            None => parts.push(Part { part, bytes: size }),
        }
    }
    let sum: u64 = parts.iter().map(|p| p.bytes).sum();
    // Tensors that share their bytes are counted for each name, so there may be more than the file.
    match bytes.checked_sub(sum) {
        Some(left) => parts.push(Part {
            part: rest.to_owned(),
            bytes: left,
        }),
        None => {
            parts.clear();
            parts.push(Part {
                part: "tensors, some of which share their bytes".to_owned(),
                bytes,
            });
        }
    }
    parts
}
