//! From the messages of an ONNX file to a [`Graph`].
//!
//! A node of the file becomes one or several nodes here. The ways are in the modules below, by kind
//! of operator; each takes the attributes it knows, and what is left over is an error. A graph inside
//! a node becomes a graph whose inputs include what it reads from outside.

mod attention;
mod context;
mod control;
mod elementwise;
mod layers;
mod layout;
mod losses;
mod norms;
mod pooling;
mod quantize;
mod sampling;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bantam_core::Graph;

use super::schema::{Attribute, Function, NodeDef, Value};
use super::tensors::Loader;
use super::{Model, ReadLimits, schema};
use crate::{Error, ErrorKind, Result};
use context::{Attributes, Context, at_node};

/// The newest version of the standard operators that is known here.
const NEWEST_OPSET: i64 = 27;
/// Deepest nesting of functions.
const MAX_CALLS: usize = 16;
/// Most nodes that functions put in the place of their calls: a few lines must not become a large graph.
const MAX_INLINED: usize = 1 << 16;

/// What all graphs of one file share.
struct File<'a> {
    loader: Loader<'a>,
    functions: HashMap<(&'a str, &'a str), &'a Function<'a>>,
    opset: i64,
    nodes_left: usize,
    calls: usize,
    /// Nodes put in the place of calls.
    inlined: usize,
    /// Elements of constants copied into graphs inside nodes.
    copied: usize,
    operators: BTreeMap<String, usize>,
}

pub(super) fn model(bytes: &[u8], folder: Option<&Path>, limits: &ReadLimits) -> Result<Model> {
    if bytes.len() as u64 > limits.file_bytes {
        return Err(Error::too_large(
            "bytes of the file",
            bytes.len() as u64,
            limits.file_bytes,
        ));
    }
    let m = schema::model(bytes)?;
    let Some(def) = &m.graph else {
        return Err(Error::new(
            ErrorKind::Format,
            "not an ONNX model: it holds no graph",
        ));
    };
    let opset = m.opsets.iter().find(|o| o.0.is_empty()).map_or(1, |o| o.1);
    if opset > NEWEST_OPSET {
        let message = format!("operator set {opset}: the newest one known is {NEWEST_OPSET}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let functions = m
        .functions
        .iter()
        .map(|f| ((f.domain, f.name), f))
        .collect();
    let mut file = File {
        loader: Loader::new(folder, limits),
        functions,
        opset,
        nodes_left: limits.nodes,
        calls: 0,
        inlined: 0,
        copied: 0,
        operators: BTreeMap::new(),
    };
    let graph = graph(&mut file, def)?;
    Ok(Model {
        graph,
        opsets: m.opsets.iter().map(|o| (o.0.to_owned(), o.1)).collect(),
        ir_version: m.ir_version,
        producer: format!("{} {}", m.producer, m.producer_version)
            .trim()
            .to_owned(),
        operators: file.operators.into_iter().collect(),
        tensor_bytes: file.loader.tensor_bytes,
        external_bytes: file.loader.external_bytes,
    })
}

fn graph<'a>(file: &mut File<'a>, def: &'a schema::GraphDef<'a>) -> Result<Graph> {
    let mut c = Context::new(
        file,
        if def.name.is_empty() {
            "graph"
        } else {
            def.name
        },
    );
    c.initializers(def)?;
    c.inputs(def)?;
    for node in &def.nodes {
        import_node(&mut c, node)?;
    }
    c.finish(&def.outputs)
}

/// Adds what a node of the file means.
fn import_node<'a>(c: &mut Context<'_, 'a>, node: &NodeDef<'a>) -> Result<()> {
    let too_many =
        || Error::new(ErrorKind::TooLarge, "more nodes than the limit").at_byte(node.at as u64);
    c.file.nodes_left = c.file.nodes_left.checked_sub(1).ok_or_else(too_many)?;
    if c.file.calls > 0 {
        c.file.inlined += 1;
        if c.file.inlined > MAX_INLINED {
            return Err(too_many());
        }
    }
    let label = if node.domain.is_empty() {
        node.op.to_owned()
    } else {
        format!("{}:{}", node.domain, node.op)
    };
    *c.file.operators.entry(label).or_default() += 1;
    apply(c, node).map_err(|e| at_node(e, node))
}

fn apply<'a>(c: &mut Context<'_, 'a>, node: &NodeDef<'a>) -> Result<()> {
    if let Some(&function) = c.file.functions.get(&(node.domain, node.op)) {
        return call(c, node, function);
    }
    if !node.domain.is_empty() {
        let message = format!(
            "operators of the domain {:?} are not supported",
            node.domain
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let inputs = node
        .inputs
        .iter()
        .map(|name| c.lookup(name))
        .collect::<Result<Vec<_>>>()?;
    let a = Attributes::new(node);
    c.begin(node);
    let tries = [
        elementwise::import,
        layout::import,
        layers::import,
        norms::import,
        pooling::import,
        quantize::import,
        sampling::import,
        losses::import,
        attention::import,
        control::import,
    ];
    for import in tries {
        if let Some(outputs) = import(c, node.op, &a, &inputs)? {
            a.all_read()?;
            return c.end(node, &outputs);
        }
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "this operator is not supported",
    ))
}

/// Puts the nodes of a function in the place of its call.
fn call<'a>(c: &mut Context<'_, 'a>, node: &NodeDef<'a>, f: &'a Function<'a>) -> Result<()> {
    if c.file.calls >= MAX_CALLS {
        let error = Error::too_large(
            "functions inside functions",
            c.file.calls as u64 + 1,
            MAX_CALLS as u64,
        );
        return Err(error);
    }
    let known =
        |name: &str| f.attributes.contains(&name) || f.defaults.iter().any(|d| d.name == name);
    if let Some(unread) = node.attributes.iter().find(|a| !known(a.name)) {
        return Err(context::unread(unread.name));
    }
    if node.inputs.len() > f.inputs.len() || node.outputs.len() > f.outputs.len() {
        return Err(Error::corrupt(
            "more inputs or outputs than the function has",
        ));
    }
    let attribute = |name: &str| {
        let given = node.attributes.iter().find(|a| a.name == name);
        given
            .or_else(|| f.defaults.iter().find(|d| d.name == name))
            .cloned()
    };
    let mut inner: HashMap<String, _> = HashMap::new();
    for (i, &name) in f.inputs.iter().enumerate() {
        let value = node.inputs.get(i).map_or(Ok(None), |v| c.lookup(v))?;
        inner.insert(name.to_owned(), value);
    }
    let outer_opset = c.file.opset;
    c.file.opset = f
        .opsets
        .iter()
        .find(|o| o.0.is_empty())
        .map_or(outer_opset, |o| o.1);
    c.file.calls += 1;
    let outer = c.enter(inner);
    for n in &f.nodes {
        import_node(c, &bind(n, &attribute))?;
    }
    let results = f
        .outputs
        .iter()
        .map(|name| c.lookup(name))
        .collect::<Result<Vec<_>>>()?;
    c.leave(outer);
    c.file.calls -= 1;
    c.file.opset = outer_opset;
    for (&name, value) in node.outputs.iter().zip(results) {
        if !name.is_empty() {
            c.define(
                name,
                value.ok_or_else(|| Error::corrupt("a function output is missing"))?,
            )?;
        }
    }
    Ok(())
}

/// The node with the attributes of the surrounding function in the place of references to them.
fn bind<'a>(node: &NodeDef<'a>, attribute: &dyn Fn(&str) -> Option<Attribute<'a>>) -> NodeDef<'a> {
    let mut bound = node.clone();
    bound.attributes = Vec::new();
    for a in &node.attributes {
        let value = match a.reference {
            "" => a.clone(),
            name => match attribute(name) {
                Some(given) => Attribute {
                    name: a.name,
                    ..given
                },
                // Not given and without a default: as if it were not there.
                None => continue,
            },
        };
        let value = match value.value {
            Value::Graph(mut g) => {
                g.nodes = g.nodes.iter().map(|n| bind(n, attribute)).collect();
                Attribute {
                    value: Value::Graph(g),
                    ..value
                }
            }
            _ => value,
        };
        bound.attributes.push(value);
    }
    bound
}
