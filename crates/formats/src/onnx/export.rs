//! From a [`Graph`] to the messages of an ONNX file: one node for one node, wherever ONNX has one.

mod late;
mod plain;

use std::collections::{HashMap, HashSet};

use bantam_core::op::{Control, Op};
use bantam_core::{DType, Dim, Graph, Node, Tensor, ValueId, Weight};

use super::tensors::code;
use super::wire::Message;
use crate::checkpoint::append;
use crate::{Error, Result};

/// The operator set that is written.
const OPSET: i64 = 20;
/// The version of the file format that goes with it.
const IR_VERSION: i64 = 9;

pub(super) fn model(graph: &Graph) -> Result<Vec<u8>> {
    let mut m = Message::default();
    m.int(1, IR_VERSION);
    m.text(2, "bantam");
    m.text(3, env!("CARGO_PKG_VERSION"));
    m.message(7, Writer::new(graph, HashMap::new()).graph()?);
    let mut opset = Message::default();
    opset.text(1, "");
    opset.int(2, OPSET);
    m.message(8, opset);
    Ok(m.finish())
}

/// An attribute to write.
enum Attr {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Text(&'static str),
    Texts(Vec<&'static str>),
    Graph(Message),
}

type Attrs = Vec<(&'static str, Attr)>;

/// What a node is written as: an operator, its attributes, and inputs that are not those of the node.
struct Form {
    op: &'static str,
    attributes: Attrs,
    /// Names of the inputs; `None` takes those of the node.
    inputs: Option<Vec<String>>,
    /// Names of the outputs; `None` takes those of the node.
    outputs: Option<Vec<String>>,
}

impl Form {
    fn new(op: &'static str) -> Form {
        Form::with(op, Vec::new())
    }

    fn with(op: &'static str, attributes: Attrs) -> Form {
        Form {
            op,
            attributes,
            inputs: None,
            outputs: None,
        }
    }

    fn reading(self, inputs: Vec<String>) -> Form {
        Form {
            inputs: Some(inputs),
            ..self
        }
    }
}

struct Writer<'g> {
    graph: &'g Graph,
    dtypes: Vec<DType>,
    /// Numbers of axes, where they follow from those of the inputs.
    ranks: Vec<Option<usize>>,
    /// Names that values have outside, for what a graph inside a node reads from there.
    outside: HashMap<ValueId, String>,
    taken: HashSet<String>,
    nodes: Vec<Message>,
    stored: Vec<Message>,
}

fn no_form(node: &Node) -> Error {
    Error::unstorable(format!(
        "ONNX has no form for the operator {} as it is here",
        node.op.name()
    ))
}

impl<'g> Writer<'g> {
    fn new(graph: &'g Graph, outside: HashMap<ValueId, String>) -> Writer<'g> {
        let mut taken: HashSet<String> = graph
            .nodes()
            .iter()
            .flat_map(|n| &n.outputs)
            .map(|&v| graph.value_name(v).to_owned())
            .collect();
        taken.extend(
            graph
                .inputs()
                .iter()
                .map(|i| graph.value_name(i.value).to_owned()),
        );
        taken.extend(
            graph
                .parameters()
                .iter()
                .map(|p| graph.value_name(p.value).to_owned()),
        );
        Writer {
            graph,
            dtypes: graph.dtypes(),
            ranks: ranks(graph),
            outside,
            taken,
            nodes: Vec::new(),
            stored: Vec::new(),
        }
    }

    fn name(&self, v: ValueId) -> String {
        self.outside
            .get(&v)
            .cloned()
            .unwrap_or_else(|| self.graph.value_name(v).to_owned())
    }

    fn names(&self, vs: &[ValueId]) -> Vec<String> {
        vs.iter().map(|&v| self.name(v)).collect()
    }

    fn dtype(&self, v: ValueId) -> DType {
        self.dtypes[v.index()]
    }

    /// The number of axes of a stored tensor or an input.
    fn rank(&self, v: ValueId) -> Option<usize> {
        if let Some(p) = self.graph.parameters().iter().find(|p| p.value == v) {
            return Some(p.weight.shape().len());
        }
        let input = self.graph.inputs().iter().find(|i| i.value == v)?;
        (!input.dims.contains(&Dim::Rest)).then_some(input.dims.len())
    }

    fn fresh(&mut self, stem: &str) -> String {
        let name = (0..)
            .map(|i| format!("{stem}/{i}"))
            .find(|n| !self.taken.contains(n));
        let name = name.expect("there are more numbers than names");
        self.taken.insert(name.clone());
        name
    }

    /// Stores a tensor that the graph does not have as one, such as a list of axes.
    fn constant(&mut self, stem: &str, t: &Tensor) -> String {
        let name = self.fresh(stem);
        self.stored.push(tensor(&name, t));
        name
    }

    fn ints(&mut self, stem: &str, values: &[i64]) -> String {
        let t = Tensor::new(&[values.len()], values.to_vec()).expect("as many values");
        self.constant(stem, &t)
    }

    fn emit(&mut self, form: Form, inputs: &[String], outputs: &[String], name: &str) {
        let mut n = Message::default();
        let inputs = form.inputs.as_deref().unwrap_or(inputs);
        let outputs = form.outputs.as_deref().unwrap_or(outputs);
        inputs.iter().for_each(|i| n.text(1, i));
        outputs.iter().for_each(|o| n.text(2, o));
        n.text(3, name);
        n.text(4, form.op);
        form.attributes
            .into_iter()
            .for_each(|(name, a)| n.message(5, attribute(name, a)));
        self.nodes.push(n);
    }

    fn graph(mut self) -> Result<Message> {
        let graph = self.graph;
        self.parameters()?;
        for node in graph.nodes() {
            let form = self
                .form(node)
                .map_err(|e| e.at(format!("node {:?}", node.name)))?;
            let (inputs, outputs) = (self.names(&node.inputs), self.names(&node.outputs));
            self.emit(form, &inputs, &outputs, &node.name);
        }
        let mut m = Message::default();
        let outputs: Vec<(String, DType)> = graph
            .outputs()
            .iter()
            .map(|&v| (self.name(v), self.dtype(v)))
            .collect();
        let inputs: Vec<Message> = graph
            .inputs()
            .iter()
            .filter(|i| !self.outside.contains_key(&i.value))
            .map(|i| value_info(&self.name(i.value), i.dtype, Some(&i.dims)))
            .collect();
        self.nodes.into_iter().for_each(|n| m.message(1, n));
        m.text(2, graph.name());
        self.stored.into_iter().for_each(|t| m.message(5, t));
        inputs.into_iter().for_each(|i| m.message(11, i));
        for (name, dtype) in outputs {
            m.message(12, value_info(&name, dtype, None));
        }
        Ok(m)
    }

    /// Stores the parameters that something reads.
    fn parameters(&mut self) -> Result<()> {
        let graph = self.graph;
        let mut read = vec![false; graph.n_values()];
        let nodes = graph.nodes().iter().flat_map(|n| &n.inputs);
        nodes
            .chain(graph.outputs())
            .for_each(|v| read[v.index()] = true);
        let inside = |v: ValueId| read[v.index()] && !self.outside.contains_key(&v);
        let own: Vec<_> = graph
            .parameters()
            .iter()
            .filter(|p| inside(p.value))
            .collect();
        for p in own {
            let name = self.name(p.value);
            match &p.weight {
                Weight::Dense(t) => self.stored.push(tensor(&name, t)),
                Weight::Masked(m) => self.stored.push(tensor(&name, m.values())),
                Weight::Codebook(c) if linear(c.entries()).is_some() => {
                    let (scale, levels) = linear(c.entries()).expect("just asked");
                    let integers: Vec<i8> =
                        c.indices().iter().map(|&i| levels[i as usize]).collect();
                    let integers = Tensor::new(c.shape(), integers)?;
                    let integers = self.constant(&format!("{name}.integers"), &integers);
                    let scale = self.constant(&format!("{name}.scale"), &Tensor::scalar(scale));
                    self.emit(
                        Form::new("DequantizeLinear"),
                        &[integers, scale],
                        std::slice::from_ref(&name),
                        &name,
                    );
                }
                Weight::Codebook(c) => {
                    let entries = Tensor::new(&[c.entries().len()], c.entries().to_vec())?;
                    let entries = self.constant(&format!("{name}.codebook"), &entries);
                    let indices = Tensor::new(c.shape(), c.indices().to_vec())?;
                    let indices = self.constant(&format!("{name}.indices"), &indices);
                    let wide = self.fresh(&format!("{name}.indices"));
                    let cast = Form::with("Cast", vec![("to", Attr::Int(code(DType::I32)))]);
                    self.emit(cast, &[indices], std::slice::from_ref(&wide), &wide);
                    self.emit(
                        Form::new("Gather"),
                        &[entries, wide],
                        std::slice::from_ref(&name),
                        &name,
                    );
                }
            }
        }
        Ok(())
    }

    fn form(&mut self, node: &Node) -> Result<Form> {
        match &node.op {
            Op::Control(control) => self.control(node, control),
            Op::Late(late) => self.late(node, late),
            _ => self.plain(node),
        }
    }

    fn control(&mut self, node: &Node, control: &Control) -> Result<Form> {
        match control {
            Control::If { then, otherwise } => {
                let yes = self.inside(then, 0, &node.inputs[1..])?;
                let no = self.inside(otherwise, 0, &node.inputs[1..])?;
                let attributes = vec![
                    ("then_branch", Attr::Graph(yes)),
                    ("else_branch", Attr::Graph(no)),
                ];
                Ok(Form::with("If", attributes).reading(self.names(&node.inputs[..1])))
            }
            Control::Loop { body, n_states } => {
                let own = 2 + n_states;
                let body = self.inside(body, own, &node.inputs[own..])?;
                let form = Form::with("Loop", vec![("body", Attr::Graph(body))]);
                Ok(form.reading(self.names(&node.inputs[..own])))
            }
        }
    }

    /// A graph inside a node. What it is handed after `own` inputs it reads by its name here; its
    /// own names must not be taken here.
    fn inside(&mut self, graph: &Graph, own: usize, captured: &[ValueId]) -> Result<Message> {
        let mut names = HashMap::new();
        for (input, &v) in graph.inputs()[own..].iter().zip(captured) {
            names.insert(input.value, self.name(v));
        }
        // A small constant that was copied in is read from here again.
        for p in graph.parameters() {
            let outer = self.graph.parameter(graph.value_name(p.value));
            if let Some(outer) = outer.filter(|o| o.weight == p.weight) {
                names.insert(p.value, self.name(outer.value));
            }
        }
        let stored = graph.parameters().iter().map(|p| &p.value);
        let own = graph.nodes().iter().flat_map(|n| &n.outputs).chain(stored);
        let mut own = own.filter(|v| !names.contains_key(v));
        if let Some(v) = own.find(|v| self.taken.contains(graph.value_name(**v))) {
            let name = graph.value_name(*v);
            return Err(Error::unstorable(format!(
                "the name {name:?} is used inside and outside of a node"
            )));
        }
        let mut inner = Writer::new(graph, names);
        inner.taken.extend(self.taken.iter().cloned());
        inner.graph()
    }
}

/// The number of axes of each value, by its index; unknown where inputs may have any number.
fn ranks(graph: &Graph) -> Vec<Option<usize>> {
    let open = graph.inputs().iter().any(|i| i.dims.contains(&Dim::Rest));
    let types = (!open).then(|| graph.infer_partly(&graph.input_types(2)));
    match types {
        Some(Ok(types)) => types
            .iter()
            .map(|t| t.as_ref().map(|t| t.shape.len()))
            .collect(),
        _ => vec![None; graph.n_values()],
    }
}

/// The scale and the integers that the entries of a codebook are multiples by, to the bit, if there are such.
fn linear(entries: &[f32]) -> Option<(f32, Vec<i8>)> {
    let most = entries.iter().fold(0.0f32, |m, e| m.max(e.abs()));
    if !(most.is_finite() && most > 0.0) {
        return None;
    }
    (1..=127).find_map(|n: i8| {
        let scale = most / f32::from(n);
        let level = |&e: &f32| {
            let level = (e / scale).round() as i8;
            (f32::from(level) * scale == e).then_some(level)
        };
        let levels: Option<Vec<i8>> = entries.iter().map(level).collect();
        Some((scale, levels?))
    })
}

fn attribute(name: &str, a: Attr) -> Message {
    let mut m = Message::default();
    m.text(1, name);
    let kind = match a {
        Attr::Float(v) => {
            m.float(2, v);
            1
        }
        Attr::Int(v) => {
            m.int(3, v);
            2
        }
        Attr::Text(v) => {
            m.text(4, v);
            3
        }
        Attr::Graph(g) => {
            m.message(6, g);
            5
        }
        Attr::Floats(v) => {
            v.iter().for_each(|&v| m.float(7, v));
            6
        }
        Attr::Ints(v) => {
            v.iter().for_each(|&v| m.int(8, v));
            7
        }
        Attr::Texts(v) => {
            v.iter().for_each(|v| m.text(9, v));
            8
        }
    };
    m.int(20, kind);
    m
}

fn tensor(name: &str, t: &Tensor) -> Message {
    let mut m = Message::default();
    let dims: Vec<i64> = t.shape().iter().map(|&d| d as i64).collect();
    m.ints(1, &dims);
    m.int(2, code(t.dtype()));
    m.text(8, name);
    let mut bytes = Vec::new();
    append(t.data(), &mut bytes);
    m.bytes(9, &bytes);
    m
}

fn value_info(name: &str, dtype: DType, dims: Option<&[Dim]>) -> Message {
    let mut t = Message::default();
    t.int(1, code(dtype));
    if let Some(dims) = dims.filter(|d| !d.contains(&Dim::Rest)) {
        let mut shape = Message::default();
        for dim in dims {
            let mut d = Message::default();
            match dim {
                Dim::Fixed(n) => d.int(1, *n as i64),
                Dim::Symbol(s) => d.text(2, s),
                Dim::Any | Dim::Rest => {}
            }
            shape.message(1, d);
        }
        t.message(2, shape);
    }
    let mut kind = Message::default();
    kind.message(1, t);
    let mut m = Message::default();
    m.text(1, name);
    m.message(2, kind);
    m
}
