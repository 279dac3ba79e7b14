//! The [`Graph`]: the only representation of a network.
//!
//! A `Graph` is immutable and valid. [`GraphBuilder::finish`] checks names, order, types and shapes
//! once; later stages return errors of their own but never panic on it. Everything that changes a
//! network is a function from a `Graph` to a new `Graph`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::op::{Cost, Op, Type};
use crate::{DType, Error, ErrorKind, Result, Weight};

/// Names a value of one graph: an input, a weight or the output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

impl ValueId {
    /// Position in [`Graph::infer`]'s result.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Size of one axis of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Chosen when the graph runs; axes with one name have one size. `n` is the batch.
    Symbol(String),
    /// Any size.
    Any,
    /// Any number of axes of any size; the last entry of a list.
    Rest,
}

impl Dim {
    /// The batch axis.
    pub fn batch() -> Dim {
        Dim::Symbol("n".to_owned())
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
            Dim::Any => f.write_str("?"),
            Dim::Rest => f.write_str("…"),
        }
    }
}

/// An input of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The value it defines.
    pub value: ValueId,
    /// Element type.
    pub dtype: DType,
    /// Axis sizes.
    pub dims: Vec<Dim>,
}

/// A stored weight of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The value it defines.
    pub value: ValueId,
    /// What is stored.
    pub weight: Weight,
    /// Whether training changes it; running statistics and constants are not trainable.
    pub trainable: bool,
}

/// An operator applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it defines.
    pub outputs: Vec<ValueId>,
}

/// A valid network: inputs and weights, nodes in an order in which they can run, outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    name: String,
    values: Vec<String>,
    inputs: Vec<Input>,
    parameters: Vec<Parameter>,
    nodes: Vec<Node>,
    outputs: Vec<ValueId>,
}

impl Graph {
    /// Name of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Weights in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Nodes in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Output values in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Number of values; [`ValueId::index`] is below it.
    pub fn n_values(&self) -> usize {
        self.values.len()
    }

    /// Name of a value.
    pub fn value_name(&self, value: ValueId) -> &str {
        &self.values[value.index()]
    }

    pub(crate) fn value_name_at(&self, i: usize) -> &str {
        &self.values[i]
    }

    /// The weight called `name`.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters
            .iter()
            .find(|p| self.value_name(p.value) == name)
    }

    /// The graphs inside its nodes: the node, what the graph is to it, and the graph.
    pub fn held(&self) -> impl Iterator<Item = (&Node, &'static str, &Graph)> {
        self.nodes.iter().flat_map(|node| {
            let graphs = match &node.op {
                Op::Control(control) => control.graphs(),
                _ => Vec::new(),
            };
            graphs.into_iter().map(move |(what, g)| (node, what, g))
        })
    }

    /// The weights, and after them those of the graphs inside its nodes, and inside theirs.
    pub fn all_parameters(&self) -> Vec<&Parameter> {
        let mut all: Vec<&Parameter> = self.parameters.iter().collect();
        self.held()
            .for_each(|(_, _, g)| all.extend(g.all_parameters()));
        all
    }

    /// The node that defines `value`, if one does.
    pub fn producer(&self, value: ValueId) -> Option<&Node> {
        self.nodes.iter().find(|n| n.outputs.contains(&value))
    }

    /// Input types when every symbolic axis has size `n`.
    pub fn input_types(&self, n: usize) -> Vec<Type> {
        let size = |d: &Dim| match d {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(_) | Dim::Any => Some(n),
            Dim::Rest => None,
        };
        let of = |i: &Input| Type {
            dtype: i.dtype,
            shape: i.dims.iter().filter_map(size).collect(),
        };
        self.inputs.iter().map(of).collect()
    }

    /// Whether some shape depends on values: an operator of [`Op::is_late`] is there.
    pub fn is_late(&self) -> bool {
        self.nodes.iter().any(|n| n.op.is_late())
    }

    /// Types of all values, by [`ValueId::index`], for the given input types; errs when they are
    /// not what the inputs were declared as, when a node does not accept them, or when a type
    /// depends on the values of the inputs ([`ErrorKind::Late`]).
    pub fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        if self.is_late() {
            let types = self.infer_partly(inputs)?;
            let known = types.into_iter().enumerate().map(|(i, t)| {
                t.ok_or_else(|| {
                    let message = format!("the shape of {:?} depends on values", self.values[i]);
                    Error::new(ErrorKind::Late, message)
                })
            });
            return known.collect();
        }
        self.check_inputs(inputs)?;
        let mut types: Vec<Option<Type>> = vec![None; self.values.len()];
        for (input, t) in self.inputs.iter().zip(inputs) {
            types[input.value.index()] = Some(t.clone());
        }
        for p in &self.parameters {
            types[p.value.index()] = Some(Type::new(p.weight.dtype(), p.weight.shape()));
        }
        for node in &self.nodes {
            let of = |v: &ValueId| {
                types[v.index()]
                    .clone()
                    .expect("nodes are in running order")
            };
            let inputs: Vec<Type> = node.inputs.iter().map(of).collect();
            let outputs = node.op.infer(&inputs).map_err(|e| e.at(&node.name))?;
            if outputs.len() != node.outputs.len() {
                let (n, m) = (node.outputs.len(), outputs.len());
                let message = format!("declared with {n} outputs, has {m}");
                return Err(Error::new(ErrorKind::Structure, message).at(&node.name));
            }
            for (v, t) in node.outputs.iter().zip(outputs) {
                types[v.index()] = Some(t);
            }
        }
        Ok(types
            .into_iter()
            .map(|t| t.expect("every value has a definition"))
            .collect())
    }

    /// Element types of all values, by [`ValueId::index`].
    pub fn dtypes(&self) -> Vec<DType> {
        let mut dtypes = vec![DType::F32; self.values.len()];
        for i in &self.inputs {
            dtypes[i.value.index()] = i.dtype;
        }
        for p in &self.parameters {
            dtypes[p.value.index()] = p.weight.dtype();
        }
        for node in &self.nodes {
            let of: Vec<DType> = node.inputs.iter().map(|v| dtypes[v.index()]).collect();
            for (v, t) in node.outputs.iter().zip(node.op.dtypes(&of)) {
                dtypes[v.index()] = t;
            }
        }
        dtypes
    }

    /// Element types of the outputs.
    pub fn output_dtypes(&self) -> Vec<DType> {
        let all = self.dtypes();
        self.outputs.iter().map(|v| all[v.index()]).collect()
    }

    pub(crate) fn check_inputs(&self, inputs: &[Type]) -> Result<()> {
        super::op::count(inputs, self.inputs.len(), self.inputs.len())?;
        let mut symbols: Vec<(&str, usize)> = Vec::new();
        for (input, t) in self.inputs.iter().zip(inputs) {
            let bad = || {
                let name = self.value_name(input.value);
                let dims = join(&input.dims);
                Error::shape(format!(
                    "input {name:?}: expected {} [{dims}], found {} {:?}",
                    input.dtype, t.dtype, t.shape
                ))
            };
            let open = input.dims.last() == Some(&Dim::Rest);
            let n_axes = input.dims.len() - usize::from(open);
            let fits = if open {
                t.shape.len() >= n_axes
            } else {
                t.shape.len() == n_axes
            };
            if input.dtype != t.dtype || !fits {
                return Err(bad());
            }
            for (dim, &size) in input.dims[..n_axes].iter().zip(&t.shape) {
                let expected = match dim {
                    Dim::Fixed(n) => *n,
                    Dim::Any | Dim::Rest => size,
                    Dim::Symbol(s) => match symbols.iter().find(|known| known.0 == s) {
                        Some(known) => known.1,
                        None => {
                            symbols.push((s, size));
                            size
                        }
                    },
                };
                if expected != size {
                    return Err(bad());
                }
            }
        }
        Ok(())
    }

    /// Cost of each node when every symbolic axis has size `n`.
    pub fn costs(&self, n: usize) -> Result<Vec<Cost>> {
        let types = self.infer(&self.input_types(n))?;
        let of = |vs: &[ValueId]| {
            vs.iter()
                .map(|v| types[v.index()].clone())
                .collect::<Vec<_>>()
        };
        Ok(self
            .nodes
            .iter()
            .map(|n| n.op.cost(&of(&n.inputs), &of(&n.outputs)))
            .collect())
    }

    /// The graph with some weights replaced: `f` returns the new form of a weight, or `None` to keep
    /// it. Errs when a new weight has another shape or type.
    pub fn map_weights(
        &self,
        mut f: impl FnMut(&str, &Parameter) -> Result<Option<Weight>>,
    ) -> Result<Graph> {
        let mut graph = self.clone();
        for p in &mut graph.parameters {
            let name = &self.values[p.value.index()];
            let Some(weight) = f(name, p)? else { continue };
            if weight.shape() != p.weight.shape() || weight.dtype() != p.weight.dtype() {
                return Err(Error::shape(format!(
                    "weight {name:?}: expected {} {:?}, found {} {:?}",
                    p.weight.dtype(),
                    p.weight.shape(),
                    weight.dtype(),
                    weight.shape()
                )));
            }
            p.weight = weight;
        }
        Ok(graph)
    }

    /// Number of stored elements that training changes.
    pub fn n_trainable(&self) -> usize {
        self.parameters
            .iter()
            .filter(|p| p.trainable)
            .map(|p| p.weight.len())
            .sum()
    }

    /// A builder that starts with everything in this graph but its outputs, for passes that append.
    pub fn to_builder(&self) -> GraphBuilder {
        let mut names: HashSet<String> = self.values.iter().cloned().collect();
        names.extend(self.nodes.iter().map(|n| n.name.clone()));
        let graph = Graph {
            outputs: Vec::new(),
            ..self.clone()
        };
        GraphBuilder {
            graph,
            names,
            reserved: HashSet::new(),
            numbers: RefCell::default(),
            error: None,
        }
    }
}

fn join(dims: &[Dim]) -> String {
    dims.iter()
        .map(Dim::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The text dump: one line per input, weight, node and output, the same for equal graphs.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {:?}", self.name)?;
        for i in &self.inputs {
            let name = self.value_name(i.value);
            writeln!(f, "  input  {name}: {} [{}]", i.dtype, join(&i.dims))?;
        }
        for p in &self.parameters {
            let (name, w) = (self.value_name(p.value), &p.weight);
            let constant = if p.trainable { "" } else { " constant" };
            let (form, nonzero, len) = (w.form(), w.nonzero(), w.len());
            let what = format!("{} {:?} {form}{constant}", w.dtype(), w.shape());
            writeln!(f, "  weight {name}: {what}, {nonzero} of {len} not zero")?;
        }
        for n in &self.nodes {
            let names = |vs: &[ValueId]| {
                vs.iter()
                    .map(|&v| self.value_name(v))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let attributes: String =
                n.op.attributes()
                    .iter()
                    .map(|(k, v)| format!(" {k}={v}"))
                    .collect();
            let (to, from) = (names(&n.outputs), names(&n.inputs));
            writeln!(
                f,
                "  node   {}: {to} = {}({from}){attributes}",
                n.name,
                n.op.name()
            )?;
        }
        for &v in &self.outputs {
            writeln!(f, "  output {}", self.value_name(v))?;
        }
        Ok(())
    }
}

/// Builds a [`Graph`]. Calls only record; [`GraphBuilder::finish`] checks.
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: Graph,
    names: HashSet<String>,
    reserved: HashSet<String>,
    /// The last number that [`GraphBuilder::fresh`] gave each stem.
    numbers: RefCell<HashMap<String, usize>>,
    error: Option<Error>,
}

impl GraphBuilder {
    /// An empty network called `name`.
    pub fn new(name: &str) -> GraphBuilder {
        let graph = Graph {
            name: name.to_owned(),
            values: Vec::new(),
            inputs: Vec::new(),
            parameters: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
        };
        GraphBuilder {
            graph,
            names: HashSet::new(),
            reserved: HashSet::new(),
            numbers: RefCell::default(),
            error: None,
        }
    }

    fn claim(&mut self, name: &str) {
        if !self.names.insert(name.to_owned()) {
            let error = Error::new(ErrorKind::Name, format!("the name {name:?} is used twice"));
            self.error.get_or_insert(error);
        }
    }

    fn value(&mut self, name: &str) -> ValueId {
        self.graph.values.push(name.to_owned());
        ValueId(u32::try_from(self.graph.values.len() - 1).expect("fewer than 2^32 values"))
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, dtype: DType, dims: Vec<Dim>) -> ValueId {
        self.claim(name);
        let value = self.value(name);
        self.graph.inputs.push(Input { value, dtype, dims });
        value
    }

    /// Declares a weight that training changes.
    pub fn weight(&mut self, name: &str, weight: impl Into<Weight>) -> ValueId {
        self.parameter(name, weight.into(), true)
    }

    /// Declares a weight that training leaves alone.
    pub fn constant(&mut self, name: &str, weight: impl Into<Weight>) -> ValueId {
        self.parameter(name, weight.into(), false)
    }

    fn parameter(&mut self, name: &str, weight: Weight, trainable: bool) -> ValueId {
        self.claim(name);
        let value = self.value(name);
        self.graph.parameters.push(Parameter {
            value,
            weight,
            trainable,
        });
        value
    }

    /// Adds a node with one output, which is called as the node is.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.claim(name);
        let value = self.value(name);
        self.push(name, op, inputs, vec![value]);
        value
    }

    /// Adds a node with `N` outputs, called `name.0`, `name.1`, ….
    pub fn node_n<const N: usize>(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> [ValueId; N] {
        self.claim(name);
        let values: [ValueId; N] = std::array::from_fn(|i| {
            let value = format!("{name}.{i}");
            self.claim(&value);
            self.value(&value)
        });
        self.push(name, op, inputs, values.to_vec());
        values
    }

    /// Adds a node with `n` outputs, called `name.0`, `name.1`, …; one alone is called as the node is.
    pub fn node_many(&mut self, name: &str, op: Op, inputs: &[ValueId], n: usize) -> Vec<ValueId> {
        if n == 1 {
            return vec![self.node(name, op, inputs)];
        }
        self.claim(name);
        let value = |i: usize| {
            let value = format!("{name}.{i}");
            self.claim(&value);
            self.value(&value)
        };
        let values: Vec<ValueId> = (0..n).map(value).collect();
        self.push(name, op, inputs, values.clone());
        values
    }

    /// The value that the next call that defines one will give.
    pub fn next_value(&self) -> ValueId {
        ValueId(u32::try_from(self.graph.values.len()).expect("fewer than 2^32 values"))
    }

    /// The name of a value.
    pub fn name(&self, value: ValueId) -> &str {
        self.graph.value_name(value)
    }

    /// Gives the only output of the node that defines `value`, and the node, another name; says no
    /// where the name is taken, or `value` is not the only output of a node.
    pub fn rename(&mut self, value: ValueId, name: &str) -> bool {
        let graph = &mut self.graph;
        let made = graph
            .nodes
            .iter_mut()
            .rev()
            .find(|n| n.outputs.contains(&value));
        let Some(node) = made.filter(|n| n.outputs.len() == 1) else {
            return false;
        };
        if node.name == name {
            return true;
        }
        if !self.names.insert(name.to_owned()) {
            return false;
        }
        self.names.remove(&node.name);
        node.name = name.to_owned();
        graph.values[value.index()] = name.to_owned();
        true
    }

    /// Keeps [`GraphBuilder::fresh`] from giving out a name that will be asked for later.
    pub fn reserve(&mut self, name: &str) {
        self.reserved.insert(name.to_owned());
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[ValueId], outputs: Vec<ValueId>) {
        let node = Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            outputs,
        };
        self.graph.nodes.push(node);
    }

    /// A name that is not taken yet: `stem`, or `stem.1`, `stem.2`, ….
    pub fn fresh(&self, stem: &str) -> String {
        let free = |name: &str| !self.names.contains(name) && !self.reserved.contains(name);
        if free(stem) {
            return stem.to_owned();
        }
        // From the last number on, or a hundred thousand nodes of one name would take for ever.
        let mut numbers = self.numbers.borrow_mut();
        let last = numbers.entry(stem.to_owned()).or_insert(1);
        let (i, name) = (*last..)
            .map(|i| (i, format!("{stem}.{i}")))
            .find(|(_, name)| free(name))
            .expect("there are more numbers than names");
        *last = i;
        name
    }

    /// Declares an output. One value may be declared once.
    pub fn output(&mut self, value: ValueId) {
        self.graph.outputs.push(value);
    }

    /// Checks the whole graph and hands it out: names are unique, every node reads values defined
    /// before it, there is an output, and types and shapes agree with a batch of 2 and of 3 (an
    /// operator that only fits one batch size is caught by the second).
    pub fn finish(self) -> Result<Graph> {
        let graph = self.checked()?;
        if graph.inputs.iter().all(|i| !i.dims.contains(&Dim::Rest)) {
            for batch in [2, 3] {
                let types = graph.input_types(batch);
                match graph.is_late() {
                    true => graph.infer_partly(&types).map(drop)?,
                    false => graph.infer(&types).map(drop)?,
                }
            }
        }
        Ok(graph)
    }

    /// As [`GraphBuilder::finish`], for a graph that need not fit every size of its symbolic axes:
    /// types and shapes are checked only where every axis of every input is fixed. Otherwise they
    /// are checked when sizes are known.
    pub fn finish_open(self) -> Result<Graph> {
        let graph = self.checked()?;
        let mut dims = graph.inputs.iter().flat_map(|i| &i.dims);
        if dims.all(|d| matches!(d, Dim::Fixed(_))) {
            let types = graph.input_types(1);
            match graph.is_late() {
                true => graph.infer_partly(&types).map(drop)?,
                false => graph.infer(&types).map(drop)?,
            }
        }
        Ok(graph)
    }

    fn checked(self) -> Result<Graph> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let graph = self.graph;
        let structure = |message: String| Error::new(ErrorKind::Structure, message);
        let mut defined = vec![false; graph.values.len()];
        let given = graph.inputs.iter().map(|i| i.value);
        given
            .chain(graph.parameters.iter().map(|p| p.value))
            .for_each(|v| defined[v.index()] = true);
        for node in &graph.nodes {
            if node
                .inputs
                .iter()
                .any(|v| !defined.get(v.index()).copied().unwrap_or(false))
            {
                let message = "reads a value that is not defined before it".to_owned();
                return Err(structure(message).at(&node.name));
            }
            node.outputs.iter().for_each(|v| defined[v.index()] = true);
        }
        if graph.outputs.is_empty() {
            return Err(structure("the graph has no output".to_owned()));
        }
        let distinct: HashSet<_> = graph.outputs.iter().collect();
        if distinct.len() < graph.outputs.len() {
            return Err(structure(
                "a value is declared as an output twice".to_owned(),
            ));
        }
        if let Some(v) = graph.outputs.iter().find(|v| v.index() >= defined.len()) {
            return Err(structure(format!(
                "output {v:?} is not a value of this graph"
            )));
        }
        Ok(graph)
    }
}
