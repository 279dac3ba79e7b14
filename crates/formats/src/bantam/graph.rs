//! A graph as a list of definitions, in the order in which its builder was called.
//!
//! A [`Skeleton`] is everything of a graph but the values of its weights. It is what the header
//! holds, and it checks all shapes before a weight is decoded. It is a border form, not a second
//! representation: nothing can be done with it but to build the graph.

use std::collections::BTreeSet;

use bantam_core::graph::{Input, Parameter};
use bantam_core::op::{Control, Type};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Node, Op, ValueId, Weight};

use super::ops::{FIRST_TAG, IF, LOOP, read_op, tag, write_op};
use super::text::{Sink, Source};
use super::{ReadLimits, names};
use crate::{Error, Result};

/// Most axes of a tensor.
pub(super) const MAX_AXES: usize = 8;
/// Most weights of a graph.
const MAX_TENSORS: usize = 65_536;
/// Most values of a graph.
const MAX_VALUES: usize = 1 << 20;
/// Most outputs of a node.
const MAX_OUTPUTS: usize = 64;
/// Deepest nesting of graphs inside nodes.
const MAX_DEPTH: usize = 16;
/// Most different symbolic sizes.
const MAX_SYMBOLS: usize = 256;
/// Most elements of a value that a node makes from two samples: shape arithmetic stays far from
/// overflow.
const MAX_VALUE_ELEMENTS: usize = 1 << 30;

const END: u8 = 0;
const INPUT: u8 = 1;
const WEIGHT: u8 = 2;
const CONSTANT: u8 = 3;
const MANY_OUTPUTS: u8 = 4;
const OPEN_INPUT: u8 = 5;
const OPEN: u8 = 6;

/// How the values of a weight are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Dense(DType),
    Masked,
    Codebook,
}

impl Form {
    pub(super) fn of(weight: &Weight) -> Form {
        match weight {
            Weight::Dense(t) => Form::Dense(t.dtype()),
            Weight::Masked(_) => Form::Masked,
            Weight::Codebook(_) => Form::Codebook,
        }
    }

    fn code(self) -> u8 {
        match self {
            Form::Dense(dtype) => dtype_code(dtype),
            Form::Masked => 4,
            Form::Codebook => 5,
        }
    }

    fn dtype(self) -> DType {
        match self {
            Form::Dense(dtype) => dtype,
            Form::Masked | Form::Codebook => DType::F32,
        }
    }
}

pub(super) fn dtype_code(dtype: DType) -> u8 {
    match dtype {
        DType::F32 => 0,
        DType::F64 => 1,
        DType::I64 => 2,
        DType::U8 => 3,
        // 4 and 5 are masks and codebooks.
        DType::F16 => 6,
        DType::BF16 => 7,
        DType::I8 => 8,
        DType::I16 => 9,
        DType::I32 => 10,
        DType::U16 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::Bool => 14,
    }
}

pub(super) fn read_dtype(code: u8) -> Result<DType> {
    let mut all = DType::ALL.iter().copied();
    all.find(|&dtype| dtype_code(dtype) == code)
        .ok_or_else(|| Error::corrupt(format!("unknown element type {code}")))
}

fn read_form(code: u8) -> Result<Form> {
    match code {
        4 => Ok(Form::Masked),
        5 => Ok(Form::Codebook),
        _ => Ok(Form::Dense(read_dtype(code)?)),
    }
}

/// A weight without its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) form: Form,
    pub(super) shape: Vec<usize>,
    pub(super) trainable: bool,
}

impl Slot {
    /// Number of elements; it was checked when the slot was read.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Plain(Op),
    /// One graph or the other.
    If(Box<[Skeleton; 2]>),
    Loop {
        n_states: usize,
        body: Box<Skeleton>,
    },
}

impl Action {
    fn of(op: &Op) -> Result<Action> {
        Ok(match op {
            Op::Control(Control::If { then, otherwise }) => {
                Action::If(Box::new([Skeleton::of(then)?, Skeleton::of(otherwise)?]))
            }
            Op::Control(Control::Loop { body, n_states }) => Action::Loop {
                n_states: *n_states,
                body: Box::new(Skeleton::of(body)?),
            },
            op => Action::Plain(op.clone()),
        })
    }

    pub(super) fn tag(&self) -> u8 {
        match self {
            Action::Plain(op) => tag(op),
            Action::If(_) => IF,
            Action::Loop { .. } => LOOP,
        }
    }

    /// As [`Op::name`].
    pub(super) fn name(&self) -> &'static str {
        match self {
            Action::Plain(op) => op.name(),
            Action::If(_) => "If",
            Action::Loop { .. } => "Loop",
        }
    }

    /// The graphs inside.
    fn held(&self) -> &[Skeleton] {
        match self {
            Action::Plain(_) => &[],
            Action::If(both) => &both[..],
            Action::Loop { body, .. } => std::slice::from_ref(body),
        }
    }

    fn write(&self, sink: &mut Sink) -> Result<()> {
        match self {
            Action::Plain(op) => return write_op(sink, op),
            Action::If(_) => sink.byte(IF),
            Action::Loop { n_states, .. } => {
                sink.byte(LOOP);
                sink.size(*n_states)?;
            }
        }
        self.held().iter().try_for_each(|g| {
            g.write_definitions(sink)?;
            names::write(sink, g)
        })
    }

    fn read(source: &mut Source<'_>, tag: u8, seen: &mut Seen) -> Result<Action> {
        Ok(match tag {
            IF => Action::If(Box::new([seen.inside(source)?, seen.inside(source)?])),
            LOOP => Action::Loop {
                n_states: source.size()?,
                body: Box::new(seen.inside(source)?),
            },
            tag => Action::Plain(read_op(source, tag)?),
        })
    }

    fn build(self, weights: &mut dyn Iterator<Item = Weight>) -> Result<Op> {
        let mut build = |g: Skeleton| g.build_from(weights).map(Box::new);
        Ok(Op::Control(match self {
            Action::Plain(op) => return Ok(op),
            Action::If(both) => {
                let [then, otherwise] = *both;
                Control::If {
                    then: build(then)?,
                    otherwise: build(otherwise)?,
                }
            }
            Action::Loop { n_states, body } => Control::Loop {
                body: build(*body)?,
                n_states,
            },
        }))
    }
}

/// What was read so far of a graph and of those inside it, against the limits.
struct Seen<'l> {
    limits: &'l ReadLimits,
    n_values: usize,
    n_tensors: usize,
    n_elements: u64,
    depth: usize,
}

impl Seen<'_> {
    fn add(&mut self, definition: &Definition) -> Result<()> {
        self.n_values += definition.n_values();
        if self.n_values > MAX_VALUES {
            let (n, most) = (self.n_values as u64, MAX_VALUES as u64);
            return Err(Error::too_large("values", n, most));
        }
        let Definition::Weight(slot) = definition else {
            return Ok(());
        };
        self.n_tensors += 1;
        if self.n_tensors > MAX_TENSORS {
            let (n, most) = (self.n_tensors as u64, MAX_TENSORS as u64);
            return Err(Error::too_large("weights", n, most));
        }
        self.n_elements = add_elements(self.n_elements, &slot.shape, self.limits.max_elements)?;
        Ok(())
    }

    /// A graph inside a node.
    fn inside(&mut self, source: &mut Source<'_>) -> Result<Skeleton> {
        if self.depth >= MAX_DEPTH {
            let (n, most) = (self.depth as u64 + 1, MAX_DEPTH as u64);
            return Err(Error::too_large("graphs inside graphs", n, most));
        }
        self.depth += 1;
        let mut skeleton = Skeleton::read_definitions(source, self)?;
        (skeleton.name, skeleton.names) = names::read(source, &skeleton.definitions)?;
        self.depth -= 1;
        Ok(skeleton)
    }
}

/// One call of the builder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Definition {
    Input {
        dtype: DType,
        dims: Vec<Dim>,
    },
    Weight(Slot),
    Node {
        action: Action,
        /// Indices of values.
        inputs: Vec<usize>,
        /// None for one output that is called as the node is.
        n_outputs: Option<usize>,
    },
}

impl Definition {
    /// Number of values it defines.
    pub(super) fn n_values(&self) -> usize {
        match self {
            Definition::Node {
                n_outputs: Some(n), ..
            } => *n,
            Definition::Node { .. } | Definition::Input { .. } | Definition::Weight(_) => 1,
        }
    }
}

/// A graph without the values of its weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Skeleton {
    pub(super) name: String,
    pub(super) definitions: Vec<Definition>,
    /// One for each definition.
    pub(super) names: Vec<String>,
    outputs: Vec<usize>,
    /// Whether it need not fit every size of its free axes, as a graph of another program.
    open: bool,
}

impl Skeleton {
    /// Takes a graph apart; errs when building it again would not give the same graph.
    pub(super) fn of(graph: &Graph) -> Result<Skeleton> {
        let mut inputs = graph.inputs().iter().peekable();
        let mut parameters = graph.parameters().iter().peekable();
        let mut nodes = graph.nodes().iter().peekable();
        let mut skeleton = Skeleton {
            name: graph.name().to_owned(),
            definitions: Vec::new(),
            names: Vec::new(),
            outputs: graph.outputs().iter().map(|v| v.index()).collect(),
            open: is_open(graph),
        };
        let mut next = 0;
        while next < graph.n_values() {
            let is_next = |v: ValueId| v.index() == next;
            let (name, definition) = if let Some(i) = inputs.next_if(|i| is_next(i.value)) {
                of_input(graph, i)
            } else if let Some(p) = parameters.next_if(|p| is_next(p.value)) {
                of_parameter(graph, p)
            } else if let Some(n) =
                nodes.next_if(|n| n.outputs.first().is_some_and(|&v| is_next(v)))
            {
                of_node(graph, n, next)?
            } else {
                return Err(Error::unstorable(
                    "values are not numbered as they are defined",
                ));
            };
            next += definition.n_values();
            skeleton.names.push(name);
            skeleton.definitions.push(definition);
        }
        if inputs.next().is_some() || parameters.next().is_some() || nodes.next().is_some() {
            return Err(Error::unstorable(
                "a definition defines no value of its own",
            ));
        }
        Ok(skeleton)
    }

    /// The weights in order, with their names; after them those of the graphs inside nodes.
    pub(super) fn slots(&self) -> Vec<(&str, &Slot)> {
        let mut slots = Vec::new();
        for (name, definition) in self.names.iter().zip(&self.definitions) {
            if let Definition::Weight(slot) = definition {
                slots.push((name.as_str(), slot));
            }
        }
        self.held().for_each(|g| slots.extend(g.slots()));
        slots
    }

    /// The graphs inside its nodes.
    fn held(&self) -> impl Iterator<Item = &Skeleton> {
        self.definitions.iter().flat_map(|d| match d {
            Definition::Node { action, .. } => action.held(),
            Definition::Input { .. } | Definition::Weight(_) => &[],
        })
    }

    /// Appends the skeleton; errs when its shapes are not ones that a reader accepts.
    pub(super) fn write(&self, sink: &mut Sink) -> Result<()> {
        self.check()?;
        self.write_definitions(sink)?;
        names::write(sink, self)
    }

    fn write_definitions(&self, sink: &mut Sink) -> Result<()> {
        if self.open {
            sink.byte(OPEN);
        }
        let mut n_values = 0;
        for (name, definition) in self.names.iter().zip(&self.definitions) {
            write_definition(sink, definition, n_values).map_err(|e| e.at(format!("{name:?}")))?;
            n_values += definition.n_values();
        }
        sink.byte(END);
        sink.size(self.outputs.len())?;
        self.outputs
            .iter()
            .try_for_each(|v| sink.size(n_values - v))
    }

    pub(super) fn read(source: &mut Source<'_>, limits: &ReadLimits) -> Result<Skeleton> {
        let mut seen = Seen {
            limits,
            n_values: 0,
            n_tensors: 0,
            n_elements: 0,
            depth: 0,
        };
        let mut skeleton = Skeleton::read_definitions(source, &mut seen)?;
        source.mark("graph");
        (skeleton.name, skeleton.names) = names::read(source, &skeleton.definitions)?;
        source.mark("names");
        skeleton.check()?;
        Ok(skeleton)
    }

    /// Everything but the names.
    fn read_definitions(source: &mut Source<'_>, seen: &mut Seen) -> Result<Skeleton> {
        let mut definitions = Vec::new();
        let mut n_values = 0;
        let open = source.peek() == Some(OPEN);
        if open {
            source.byte()?;
        }
        loop {
            let code = source.byte()?;
            if code == END {
                break;
            }
            let definition = read_definition(source, code, n_values, seen)?;
            n_values += definition.n_values();
            seen.add(&definition)?;
            definitions.push(definition);
        }
        let mut outputs = Vec::new();
        for _ in 0..source.count("outputs", n_values)? {
            outputs.push(back(source, n_values)?);
        }
        Ok(Skeleton {
            name: String::new(),
            definitions,
            names: Vec::new(),
            outputs,
            open,
        })
    }

    /// Checks the shapes of all values for two samples, one node after the other, so that no shape
    /// a node is asked about can overflow. In an open graph, what is not known is passed over.
    fn check(&self) -> Result<()> {
        let mut types: Vec<Option<Type>> = Vec::new();
        let mut symbols = BTreeSet::new();
        for (name, definition) in self.names.iter().zip(&self.definitions) {
            let place = || format!("{name:?}");
            let defined = match definition {
                Definition::Input { dtype, dims } => {
                    symbols.extend(dims.iter().filter_map(|d| match d {
                        Dim::Symbol(s) => Some(s.as_str()),
                        Dim::Fixed(_) | Dim::Any | Dim::Rest => None,
                    }));
                    vec![of_two(*dtype, dims)]
                }
                Definition::Weight(slot) => vec![Some(Type::new(slot.form.dtype(), &slot.shape))],
                Definition::Node { action, inputs, .. } => {
                    action.held().iter().try_for_each(Skeleton::check)?;
                    let inputs: Option<Vec<Type>> =
                        inputs.iter().map(|&v| types[v].clone()).collect();
                    self.given(action, inputs, definition.n_values())
                        .map_err(|e| e.at(place()))?
                }
            };
            if defined.len() != definition.n_values() {
                let (n, m) = (definition.n_values(), defined.len());
                let message = format!("declared with {n} outputs, has {m}");
                return Err(Error::corrupt(message).at(place()));
            }
            for t in defined.iter().flatten() {
                check_shape(&t.shape).map_err(|e| e.at(place()))?;
            }
            types.extend(defined);
        }
        if symbols.len() > MAX_SYMBOLS {
            return Err(Error::too_large(
                "symbolic sizes",
                symbols.len() as u64,
                MAX_SYMBOLS as u64,
            ));
        }
        Ok(())
    }

    /// The types of what a node gives.
    fn given(
        &self,
        action: &Action,
        inputs: Option<Vec<Type>>,
        n_outputs: usize,
    ) -> Result<Vec<Option<Type>>> {
        let unknown = vec![None; n_outputs];
        let (Action::Plain(op), Some(inputs)) = (action, inputs) else {
            return match self.open {
                true => Ok(unknown),
                false => Err(Error::corrupt("a shape that depends on values")),
            };
        };
        match op.infer(&inputs) {
            Ok(types) => Ok(types.into_iter().map(Some).collect()),
            Err(e) if self.open && e.kind() != bantam_core::ErrorKind::TooLarge => Ok(unknown),
            Err(e) => Err(Error::from(e)),
        }
    }

    /// The graph with these weights, one for each slot.
    pub(super) fn build(self, weights: Vec<Weight>) -> Result<Graph> {
        self.build_from(&mut weights.into_iter())
    }

    fn build_from(self, weights: &mut dyn Iterator<Item = Weight>) -> Result<Graph> {
        let mut builder = GraphBuilder::new(&self.name);
        let mut values: Vec<ValueId> = Vec::new();
        // Its own weights come before those of the graphs inside.
        let is_weight = |d: &&Definition| matches!(d, Definition::Weight(_));
        let n_own = self.definitions.iter().filter(is_weight).count();
        let own: Vec<Weight> = weights.take(n_own).collect();
        let mut own = own.into_iter();
        for (name, definition) in self.names.iter().zip(self.definitions) {
            match definition {
                Definition::Input { dtype, dims } => values.push(builder.input(name, dtype, dims)),
                Definition::Weight(slot) => {
                    let weight = own.next().expect("there is a weight for each slot");
                    values.push(match slot.trainable {
                        true => builder.weight(name, weight),
                        false => builder.constant(name, weight),
                    });
                }
                Definition::Node {
                    action,
                    inputs,
                    n_outputs,
                } => {
                    let inputs: Vec<ValueId> = inputs.iter().map(|&v| values[v]).collect();
                    let op = action.build(weights)?;
                    match n_outputs {
                        None => values.push(builder.node(name, op, &inputs)),
                        Some(1) => values.extend(builder.node_n::<1>(name, op, &inputs)),
                        Some(n) => values.extend(builder.node_many(name, op, &inputs, n)),
                    }
                }
            }
        }
        self.outputs.iter().for_each(|&v| builder.output(values[v]));
        Ok(match self.open {
            true => builder.finish_open()?,
            false => builder.finish()?,
        })
    }
}

/// The weights of a graph in the order of [`Skeleton::slots`], with their names.
pub(super) fn named_weights(graph: &Graph) -> Vec<(&str, &Weight)> {
    let own = graph.parameters().iter();
    let mut all: Vec<_> = own
        .map(|p| (graph.value_name(p.value), &p.weight))
        .collect();
    graph
        .held()
        .for_each(|(_, _, g)| all.extend(named_weights(g)));
    all
}

/// Whether [`GraphBuilder::finish`] would refuse it, or not look at it.
fn is_open(graph: &Graph) -> bool {
    let mut dims = graph.inputs().iter().flat_map(|i| &i.dims);
    graph.is_late()
        || dims.any(|d| matches!(d, Dim::Any | Dim::Rest))
        || [2, 3]
            .iter()
            .any(|&n| graph.infer(&graph.input_types(n)).is_err())
}

/// The type of an input for two samples, if its axes are known.
fn of_two(dtype: DType, dims: &[Dim]) -> Option<Type> {
    let size = |d: &Dim| match d {
        Dim::Fixed(n) => Some(*n),
        Dim::Symbol(_) | Dim::Any => Some(2),
        Dim::Rest => None,
    };
    let shape = dims.iter().map(size).collect::<Option<Vec<_>>>()?;
    Some(Type { dtype, shape })
}

fn of_input(graph: &Graph, input: &Input) -> (String, Definition) {
    let definition = Definition::Input {
        dtype: input.dtype,
        dims: input.dims.clone(),
    };
    (graph.value_name(input.value).to_owned(), definition)
}

fn of_parameter(graph: &Graph, p: &Parameter) -> (String, Definition) {
    let slot = Slot {
        form: Form::of(&p.weight),
        shape: p.weight.shape().to_vec(),
        trainable: p.trainable,
    };
    (
        graph.value_name(p.value).to_owned(),
        Definition::Weight(slot),
    )
}

fn of_node(graph: &Graph, node: &Node, first: usize) -> Result<(String, Definition)> {
    let name = node.name.clone();
    let output_name = |i: usize| graph.value_name(node.outputs[i]).to_owned();
    let n = node.outputs.len();
    let n_outputs = if n == 1 && output_name(0) == name {
        None
    } else {
        Some(n)
    };
    let is_numbered = |i: usize| {
        node.outputs[i].index() == first + i
            && (n_outputs.is_none() || output_name(i) == format!("{name}.{i}"))
    };
    if !(0..n).all(is_numbered) {
        let error = Error::unstorable("outputs are not named and numbered as a builder does");
        return Err(error.at(format!("{name:?}")));
    }
    let inputs = node.inputs.iter().map(|v| v.index()).collect();
    Ok((
        name,
        Definition::Node {
            action: Action::of(&node.op)?,
            inputs,
            n_outputs,
        },
    ))
}

fn write_definition(sink: &mut Sink, definition: &Definition, n_values: usize) -> Result<()> {
    match definition {
        Definition::Input { dtype, dims } => {
            let open = dims.iter().any(|d| matches!(d, Dim::Any | Dim::Rest));
            sink.byte(if open { OPEN_INPUT } else { INPUT });
            sink.byte(dtype_code(*dtype));
            let first_size = if open { 4usize } else { 2 };
            write_axes(sink, dims, |sink, dim| match dim {
                Dim::Symbol(name) if name == "n" => sink.size(0),
                Dim::Symbol(name) => {
                    sink.size(1)?;
                    sink.string(name)
                }
                Dim::Any => sink.size(2),
                Dim::Rest => sink.size(3),
                Dim::Fixed(size) => sink.size(size.saturating_add(first_size)),
            })
        }
        Definition::Weight(slot) => {
            sink.byte(if slot.trainable { WEIGHT } else { CONSTANT });
            sink.byte(slot.form.code());
            write_axes(sink, &slot.shape, |sink, &size| sink.size(size))
        }
        Definition::Node {
            action,
            inputs,
            n_outputs,
        } => {
            if let Some(n) = n_outputs {
                sink.byte(MANY_OUTPUTS);
                sink.size(*n)?;
            }
            action.write(sink)?;
            sink.size(inputs.len())?;
            inputs.iter().try_for_each(|v| sink.size(n_values - v))
        }
    }
}

fn write_axes<T>(
    sink: &mut Sink,
    axes: &[T],
    mut write: impl FnMut(&mut Sink, &T) -> Result<()>,
) -> Result<()> {
    if axes.len() > MAX_AXES {
        return Err(Error::too_large("axes", axes.len() as u64, MAX_AXES as u64));
    }
    sink.size(axes.len())?;
    axes.iter().try_for_each(|axis| write(sink, axis))
}

fn read_definition(
    source: &mut Source<'_>,
    code: u8,
    n_values: usize,
    seen: &mut Seen,
) -> Result<Definition> {
    match code {
        INPUT | OPEN_INPUT => {
            let dtype = read_dtype(source.byte()?)?;
            let open = code == OPEN_INPUT;
            let dims = read_axes(source, |source| {
                Ok(match source.size()? {
                    0 => Dim::batch(),
                    1 => Dim::Symbol(source.string()?),
                    2 if open => Dim::Any,
                    3 if open => Dim::Rest,
                    size => Dim::Fixed(size - if open { 4 } else { 2 }),
                })
            })?;
            Ok(Definition::Input { dtype, dims })
        }
        WEIGHT | CONSTANT => {
            let form = read_form(source.byte()?)?;
            let shape = read_axes(source, Source::size)?;
            Ok(Definition::Weight(Slot {
                form,
                shape,
                trainable: code == WEIGHT,
            }))
        }
        MANY_OUTPUTS => {
            let n = source.count("outputs of a node", MAX_OUTPUTS)?;
            if n == 0 {
                return Err(Error::corrupt("a node without outputs"));
            }
            let tag = source.byte()?;
            read_node(source, tag, Some(n), n_values, seen)
        }
        FIRST_TAG.. => read_node(source, code, None, n_values, seen),
        _ => Err(Error::corrupt(format!("unknown definition {code}"))),
    }
}

fn read_node(
    source: &mut Source<'_>,
    tag: u8,
    n_outputs: Option<usize>,
    n_values: usize,
    seen: &mut Seen,
) -> Result<Definition> {
    let action = Action::read(source, tag, seen)?;
    let n_inputs = source.count("inputs of a node", MAX_VALUES)?;
    let mut inputs = Vec::new();
    for _ in 0..n_inputs {
        inputs.push(back(source, n_values)?);
    }
    Ok(Definition::Node {
        action,
        inputs,
        n_outputs,
    })
}

/// A value, stored as its distance from the next one to be defined.
fn back(source: &mut Source<'_>, n_values: usize) -> Result<usize> {
    let distance = source.size()?;
    match n_values.checked_sub(distance) {
        Some(value) if distance > 0 => Ok(value),
        _ => Err(Error::corrupt(format!(
            "a value {distance} back where {n_values} are defined"
        ))),
    }
}

fn read_axes<'a, T>(
    source: &mut Source<'a>,
    mut read: impl FnMut(&mut Source<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let n = source.count("axes", MAX_AXES)?;
    (0..n).map(|_| read(source)).collect()
}

/// `total` and the elements of `shape`; errs above `max`.
fn add_elements(total: u64, shape: &[usize], max: u64) -> Result<u64> {
    let product = |n: u64, &d: &usize| n.checked_mul(d as u64);
    let n = shape
        .iter()
        .try_fold(1, product)
        .and_then(|n| n.checked_add(total));
    match n {
        Some(n) if n <= max => Ok(n),
        _ => Err(Error::too_large(
            "elements of weights",
            n.unwrap_or(u64::MAX),
            max,
        )),
    }
}

/// Errs when a shape has too many axes or elements; an axis of size 0 does not hide the others.
fn check_shape(shape: &[usize]) -> Result<()> {
    if shape.len() > MAX_AXES {
        return Err(Error::too_large(
            "axes",
            shape.len() as u64,
            MAX_AXES as u64,
        ));
    }
    let product = |n: usize, &d: &usize| n.checked_mul(d.max(1));
    match shape.iter().try_fold(1usize, product) {
        Some(n) if n <= MAX_VALUE_ELEMENTS => Ok(()),
        n => {
            let n = n.map_or(u64::MAX, |n| n as u64);
            Err(Error::too_large(
                "elements of a value",
                n,
                MAX_VALUE_ELEMENTS as u64,
            ))
        }
    }
}
