//! The messages of an ONNX file, borrowed from its bytes. Field numbers are those of `onnx.proto`.
//!
//! Fields that say nothing about what a network computes (documentation, annotations, metadata) are
//! passed over; everything else that is not known here is an error.

use super::wire::{Field, Part};
use crate::{Error, ErrorKind, Result};

/// Deepest nesting of graphs inside attributes.
pub(super) const MAX_DEPTH: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Model<'a> {
    pub(super) ir_version: i64,
    pub(super) producer: &'a str,
    pub(super) producer_version: &'a str,
    pub(super) graph: Option<GraphDef<'a>>,
    pub(super) opsets: Vec<(&'a str, i64)>,
    pub(super) functions: Vec<Function<'a>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct GraphDef<'a> {
    pub(super) name: &'a str,
    pub(super) nodes: Vec<NodeDef<'a>>,
    pub(super) initializers: Vec<TensorDef<'a>>,
    pub(super) inputs: Vec<ValueInfo<'a>>,
    pub(super) outputs: Vec<ValueInfo<'a>>,
    pub(super) values: Vec<ValueInfo<'a>>,
    pub(super) n_sparse: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct NodeDef<'a> {
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    pub(super) domain: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Where it starts in the file.
    pub(super) at: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    /// Name of the attribute of the surrounding function it stands for.
    pub(super) reference: &'a str,
    pub(super) value: Value<'a>,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Value<'a> {
    #[default]
    None,
    Float(f32),
    Int(i64),
    Text(&'a [u8]),
    Tensor(Box<TensorDef<'a>>),
    Graph(Box<GraphDef<'a>>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<&'a [u8]>),
    /// A kind of value that nothing here reads, such as sparse tensors and types.
    Other,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TensorDef<'a> {
    pub(super) name: &'a str,
    pub(super) dims: Vec<u64>,
    pub(super) data_type: i64,
    pub(super) floats: Vec<f32>,
    pub(super) ints: Vec<u64>,
    pub(super) doubles: Vec<f64>,
    pub(super) n_strings: usize,
    pub(super) raw: Option<Part<'a>>,
    pub(super) external: Vec<(&'a str, &'a str)>,
    pub(super) location: i64,
    pub(super) segmented: bool,
    /// Where it starts in the file.
    pub(super) at: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ValueInfo<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ValueKind<'a>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum ValueKind<'a> {
    #[default]
    Unknown,
    Tensor {
        data_type: i64,
        dims: Option<Vec<DimDef<'a>>>,
    },
    /// A sequence, map, optional or sparse tensor.
    Other(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DimDef<'a> {
    Size(i64),
    Name(&'a str),
    Unknown,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) attributes: Vec<&'a str>,
    pub(super) defaults: Vec<Attribute<'a>>,
    pub(super) nodes: Vec<NodeDef<'a>>,
    pub(super) opsets: Vec<(&'a str, i64)>,
}

fn unknown(message: &str, f: &Field) -> Error {
    let what = format!("field {} of {message} is not known", f.number);
    Error::new(ErrorKind::Unsupported, what).at_byte(f.at as u64)
}

pub(super) fn model(bytes: &[u8]) -> Result<Model<'_>> {
    let mut m = Model::default();
    for f in Part::new(bytes).fields() {
        let f = f?;
        match f.number {
            1 => m.ir_version = f.int()?,
            2 => m.producer = f.text()?,
            3 => m.producer_version = f.text()?,
            4 | 5 | 6 | 14 | 20 | 26 => {}
            7 => m.graph = Some(graph(f.part()?, 0)?),
            8 => m.opsets.push(opset(f.part()?)?),
            25 => m.functions.push(function(f.part()?)?),
            _ => return Err(unknown("a model", &f)),
        }
    }
    Ok(m)
}

fn opset(part: Part<'_>) -> Result<(&str, i64)> {
    let (mut domain, mut version) = ("", 0);
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => domain = f.text()?,
            2 => version = f.int()?,
            _ => return Err(unknown("an operator set", &f)),
        }
    }
    Ok((if domain == "ai.onnx" { "" } else { domain }, version))
}

fn graph(part: Part<'_>, depth: usize) -> Result<GraphDef<'_>> {
    if depth > MAX_DEPTH {
        let error = Error::too_large("graphs inside graphs", depth as u64, MAX_DEPTH as u64);
        return Err(error.at_byte(part.start as u64));
    }
    let mut g = GraphDef::default();
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => g.nodes.push(node(f.part()?, depth)?),
            2 => g.name = f.text()?,
            5 => g.initializers.push(tensor(f.part()?)?),
            10 | 14 | 16 => {}
            11 => g.inputs.push(value_info(f.part()?)?),
            12 => g.outputs.push(value_info(f.part()?)?),
            13 => g.values.push(value_info(f.part()?)?),
            15 => g.n_sparse += 1,
            _ => return Err(unknown("a graph", &f)),
        }
    }
    Ok(g)
}

fn node(part: Part<'_>, depth: usize) -> Result<NodeDef<'_>> {
    let mut n = NodeDef {
        at: part.start,
        ..NodeDef::default()
    };
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => n.inputs.push(f.text()?),
            2 => n.outputs.push(f.text()?),
            3 => n.name = f.text()?,
            4 => n.op = f.text()?,
            5 => n.attributes.push(attribute(f.part()?, depth)?),
            6 | 9 | 10 => {}
            7 => n.domain = f.text()?,
            8 if f.part()?.bytes.is_empty() => {}
            _ => return Err(unknown("a node", &f)),
        }
    }
    if n.domain == "ai.onnx" {
        n.domain = "";
    }
    Ok(n)
}

fn attribute(part: Part<'_>, depth: usize) -> Result<Attribute<'_>> {
    let mut a = Attribute::default();
    let (mut float, mut int, mut text) = (0.0, 0, &b""[..]);
    let (mut floats, mut ints, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut t, mut g, mut kind, mut guess) = (None, None, 0, 0);
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => a.name = f.text()?,
            2 => float = f.float()?,
            3 => int = f.int()?,
            4 => text = f.part()?.bytes,
            5 => t = Some(tensor(f.part()?)?),
            6 => g = Some(graph(f.part()?, depth + 1)?),
            7 => f.push_floats(&mut floats)?,
            8 => f.push_ints(&mut ints)?,
            9 => texts.push(f.part()?.bytes),
            13 => {}
            20 => kind = f.int()?,
            21 => a.reference = f.text()?,
            10 | 11 | 14 | 15 | 22 | 23 => {}
            _ => return Err(unknown("an attribute", &f)),
        }
        if (2..=9).contains(&f.number) {
            // Files from before the field `type` say it by which value is there.
            guess = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8][f.number as usize];
        }
    }
    let missing = || Error::corrupt(format!("attribute {:?} has no value", a.name));
    a.value = match if kind == 0 { guess } else { kind } {
        0 => Value::None,
        1 => Value::Float(float),
        2 => Value::Int(int),
        3 => Value::Text(text),
        4 if !a.reference.is_empty() => Value::None,
        5 if !a.reference.is_empty() => Value::None,
        4 => Value::Tensor(Box::new(t.ok_or_else(missing)?)),
        5 => Value::Graph(Box::new(g.ok_or_else(missing)?)),
        6 => Value::Floats(floats),
        7 => Value::Ints(ints.into_iter().map(|v| v as i64).collect()),
        8 => Value::Texts(texts),
        9..=14 => Value::Other,
        kind => {
            let message = format!("attribute {:?} has the unknown type {kind}", a.name);
            return Err(Error::corrupt(message).at_byte(part.start as u64));
        }
    };
    Ok(a)
}

pub(super) fn tensor(part: Part<'_>) -> Result<TensorDef<'_>> {
    let mut t = TensorDef {
        at: part.start,
        ..TensorDef::default()
    };
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => f.push_ints(&mut t.dims)?,
            2 => t.data_type = f.int()?,
            3 => t.segmented = true,
            4 => f.push_floats(&mut t.floats)?,
            5 | 7 | 11 => f.push_ints(&mut t.ints)?,
            6 => t.n_strings += 1,
            8 => t.name = f.text()?,
            9 => t.raw = Some(f.part()?),
            10 => f.push_doubles(&mut t.doubles)?,
            12 | 16 => {}
            13 => t.external.push(entry(f.part()?)?),
            14 => t.location = f.int()?,
            _ => return Err(unknown("a tensor", &f)),
        }
    }
    Ok(t)
}

fn entry(part: Part<'_>) -> Result<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => key = f.text()?,
            2 => value = f.text()?,
            _ => return Err(unknown("an entry", &f)),
        }
    }
    Ok((key, value))
}

fn value_info(part: Part<'_>) -> Result<ValueInfo<'_>> {
    let mut v = ValueInfo::default();
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => v.name = f.text()?,
            2 => v.kind = value_kind(f.part()?)?,
            3 | 4 => {}
            _ => return Err(unknown("a value", &f)),
        }
    }
    Ok(v)
}

fn value_kind(part: Part<'_>) -> Result<ValueKind<'_>> {
    let mut kind = ValueKind::Unknown;
    for f in part.fields() {
        let f = f?;
        kind = match f.number {
            1 => tensor_type(f.part()?)?,
            4 => ValueKind::Other("sequence"),
            5 => ValueKind::Other("map"),
            6 => continue,
            7 => ValueKind::Other("opaque value"),
            8 => ValueKind::Other("sparse tensor"),
            9 => ValueKind::Other("optional"),
            _ => return Err(unknown("a type", &f)),
        };
    }
    Ok(kind)
}

fn tensor_type(part: Part<'_>) -> Result<ValueKind<'_>> {
    let (mut data_type, mut dims) = (0, None);
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => data_type = f.int()?,
            2 => dims = Some(shape(f.part()?)?),
            _ => return Err(unknown("a tensor type", &f)),
        }
    }
    Ok(ValueKind::Tensor { data_type, dims })
}

fn shape(part: Part<'_>) -> Result<Vec<DimDef<'_>>> {
    let mut dims = Vec::new();
    for f in part.fields() {
        let f = f?;
        if f.number != 1 {
            return Err(unknown("a shape", &f));
        }
        let mut dim = DimDef::Unknown;
        for f in f.part()?.fields() {
            let f = f?;
            match f.number {
                1 => dim = DimDef::Size(f.int()?),
                2 => dim = DimDef::Name(f.text()?),
                3 => {}
                _ => return Err(unknown("an axis", &f)),
            }
        }
        dims.push(dim);
    }
    Ok(dims)
}

fn function(part: Part<'_>) -> Result<Function<'_>> {
    let mut function = Function::default();
    for f in part.fields() {
        let f = f?;
        match f.number {
            1 => function.name = f.text()?,
            4 => function.inputs.push(f.text()?),
            5 => function.outputs.push(f.text()?),
            6 => function.attributes.push(f.text()?),
            7 => function.nodes.push(node(f.part()?, 0)?),
            8 | 12 | 14 => {}
            9 => function.opsets.push(opset(f.part()?)?),
            10 => function.domain = f.text()?,
            11 => function.defaults.push(attribute(f.part()?, 0)?),
            13 if f.part()?.bytes.is_empty() => {}
            _ => return Err(unknown("a function", &f)),
        }
    }
    Ok(function)
}
