//! The graph under construction, and small operators to build with.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{
    Binary, Cast, Control, Conv, Gather, Index, Late, Layout, Logic, MatMul, Reduce, ReduceKind,
    Select, Unary,
};
use bantam_core::{DType, Data, Dim, Graph, GraphBuilder, Op, Tensor, ValueId, pass};

use super::File;
use crate::onnx::schema::{
    Attribute, DimDef, GraphDef, NodeDef, TensorDef, Value, ValueInfo, ValueKind,
};
use crate::onnx::tensors::{MAX_AXES, dtype};
use crate::{Error, ErrorKind, Result};

/// What is known of a value while importing.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) dtype: DType,
    pub(super) rank: Option<usize>,
    /// Its values, if it is stored in the file.
    pub(super) constant: Option<Tensor>,
}

/// A value of the surrounding graph that a graph inside reads.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) value: ValueId,
    /// Its name in the surrounding graph.
    pub(super) name: String,
    /// The names of the file by which it is read.
    pub(super) aliases: Vec<String>,
    pub(super) info: Info,
    /// Whether it is copied rather than handed in.
    pub(super) copied: bool,
}

/// Most elements of a constant that is copied into a graph inside rather than handed in, so that what
/// it says is known there.
const SMALL: usize = 4096;
/// Most elements that are copied in all: a file of many small graphs must not become a large network.
const MOST_COPIED: usize = 1 << 20;

/// A graph under construction.
pub(super) struct Context<'f, 'a> {
    pub(super) file: &'f mut File<'a>,
    b: GraphBuilder,
    names: HashMap<String, Option<ValueId>>,
    info: HashMap<ValueId, Info>,
    scalars: HashMap<(u64, DType), ValueId>,
    lists: HashMap<Vec<i64>, ValueId>,
    /// Values that are the whole shape of another.
    shapes: HashMap<ValueId, ValueId>,
    /// First output of the node being imported, after which new nodes are called.
    stem: String,
    /// Nodes and constants added for the node being imported, in order.
    added: Vec<ValueId>,
}

/// Says at which node of the file it happened.
pub(super) fn at_node(e: Error, node: &NodeDef) -> Error {
    let name = match (node.name, node.outputs.first()) {
        ("", Some(output)) => format!("that gives {output:?}"),
        (name, _) => format!("{name:?}"),
    };
    let domain = if node.domain.is_empty() {
        String::new()
    } else {
        format!("{}:", node.domain)
    };
    e.at(format!("node {name} ({domain}{})", node.op))
        .at_byte(node.at as u64)
}

pub(super) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

pub(super) fn unread(name: &str) -> Error {
    unsupported(format!(
        "the attribute {name:?} is not known for this operator"
    ))
}

impl<'f, 'a> Context<'f, 'a> {
    pub(super) fn new(file: &'f mut File<'a>, name: &str) -> Context<'f, 'a> {
        Context {
            file,
            b: GraphBuilder::new(name),
            names: HashMap::new(),
            info: HashMap::new(),
            scalars: HashMap::new(),
            lists: HashMap::new(),
            shapes: HashMap::new(),
            stem: String::new(),
            added: Vec::new(),
        }
    }

    pub(super) fn opset(&self) -> i64 {
        self.file.opset
    }

    // Names of the file.

    pub(super) fn define(&mut self, name: &str, value: ValueId) -> Result<()> {
        match self.names.insert(name.to_owned(), Some(value)) {
            None => Ok(()),
            Some(_) => Err(Error::corrupt(format!(
                "the value {name:?} is defined twice"
            ))),
        }
    }

    /// The value called `name`; the empty name is an input that is left out.
    pub(super) fn lookup(&self, name: &str) -> Result<Option<ValueId>> {
        if name.is_empty() {
            return Ok(None);
        }
        let found = self.names.get(name).copied();
        found.ok_or_else(|| {
            Error::corrupt(format!(
                "the value {name:?} is not defined before it is read"
            ))
        })
    }

    pub(super) fn try_lookup(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied().flatten()
    }

    /// Goes into a function, whose names are its own.
    pub(super) fn enter(
        &mut self,
        names: HashMap<String, Option<ValueId>>,
    ) -> HashMap<String, Option<ValueId>> {
        std::mem::replace(&mut self.names, names)
    }

    pub(super) fn leave(&mut self, outer: HashMap<String, Option<ValueId>>) {
        self.names = outer;
    }

    pub(super) fn initializers(&mut self, def: &GraphDef<'a>) -> Result<()> {
        if def.n_sparse > 0 {
            return Err(unsupported("sparse tensors are not supported"));
        }
        for t in &def.initializers {
            let tensor = self.file.loader.tensor(t)?;
            let id = self.stored(t.name, tensor);
            self.define(t.name, id)?;
        }
        Ok(())
    }

    pub(super) fn tensor(&mut self, t: &TensorDef) -> Result<Tensor> {
        self.file.loader.tensor(t)
    }

    /// A stored tensor: floats of more than one element are weights, the rest are constants. A number
    /// or a list of integers that is there already is not stored again: which of equal ones is
    /// read must not depend on the order of the file.
    fn stored(&mut self, name: &str, t: Tensor) -> ValueId {
        let (number, list) = match (t.shape().len(), t.data()) {
            (0, data) => match data.cast(DType::F64) {
                Data::F64(v) if Data::F64(v.clone()).cast(t.dtype()) == *data => {
                    (Some((v[0].to_bits(), t.dtype())), None)
                }
                _ => (None, None),
            },
            (1, Data::I64(v)) => (None, Some(v.clone())),
            _ => (None, None),
        };
        let of_number = number.and_then(|n| self.scalars.get(&n));
        let of_list = list.as_ref().and_then(|l| self.lists.get(l));
        if let Some(&known) = of_number.or(of_list) {
            return known;
        }
        let name = self
            .b
            .fresh(if name.is_empty() { "constant" } else { name });
        let info = Info {
            dtype: t.dtype(),
            rank: Some(t.shape().len()),
            constant: Some(t.clone()),
        };
        let id = match t.dtype().is_float() && t.len() > 1 {
            true => self.b.weight(&name, t),
            false => self.b.constant(&name, t),
        };
        number.map(|n| self.scalars.insert(n, id));
        list.map(|l| self.lists.insert(l, id));
        self.info.insert(id, info);
        id
    }

    pub(super) fn inputs(&mut self, def: &GraphDef<'a>) -> Result<()> {
        let batch = batch_symbol(&def.inputs);
        for input in &def.inputs {
            if self.names.contains_key(input.name) {
                // An initializer is given as its default.
                continue;
            }
            self.input(input, batch)
                .map_err(|e| e.at(format!("input {:?}", input.name)))?;
        }
        Ok(())
    }

    fn input(&mut self, input: &ValueInfo, batch: Option<&str>) -> Result<ValueId> {
        let (code, dims) = match &input.kind {
            ValueKind::Tensor { data_type, dims } => (*data_type, dims),
            ValueKind::Other(what) => {
                return Err(unsupported(format!("a {what} is not supported")));
            }
            ValueKind::Unknown => return Err(unsupported("its type is not given")),
        };
        let dtype = dtype(code)?;
        let dims = match dims {
            None => vec![Dim::Rest],
            Some(dims) => dims.iter().map(|d| dim(d, batch)).collect::<Result<_>>()?,
        };
        self.open_input(input.name, dtype, dims)
    }

    /// Declares an input of the graph.
    pub(super) fn open_input(
        &mut self,
        name: &str,
        dtype: DType,
        dims: Vec<Dim>,
    ) -> Result<ValueId> {
        let rank = (dims.last() != Some(&Dim::Rest)).then_some(dims.len());
        let id = self.b.input(name, dtype, dims);
        self.info.insert(
            id,
            Info {
                dtype,
                rank,
                constant: None,
            },
        );
        self.define(name, id)?;
        Ok(id)
    }

    /// Hands a value of the surrounding graph in, under the name it has there; small constants are
    /// copied, and then it says no.
    pub(super) fn capture(&mut self, captured: &Capture) -> Result<bool> {
        let Capture { name, info, .. } = captured;
        let (id, handed) = match &info.constant {
            Some(t) if captured.copied => (self.stored(name, t.clone()), false),
            _ => {
                let name = self.b.fresh(name);
                (self.b.input(&name, info.dtype, vec![Dim::Rest]), true)
            }
        };
        let rank = info
            .rank
            .filter(|_| handed)
            .or(self.info.get(&id).and_then(|i| i.rank));
        let constant = info.constant.clone().filter(|_| !handed);
        let dtype = info.dtype;
        self.info.insert(
            id,
            Info {
                dtype,
                rank,
                constant,
            },
        );
        for alias in &captured.aliases {
            self.define(alias, id)?;
        }
        Ok(handed)
    }

    /// Whether a value is to be copied into `n` graphs inside.
    pub(super) fn copies(&mut self, v: ValueId, n: usize) -> bool {
        let Some(t) = self.info[&v].constant.as_ref().filter(|t| t.len() <= SMALL) else {
            return false;
        };
        let all = self.file.copied + n * t.len().max(1);
        let fits = all <= MOST_COPIED;
        if fits {
            self.file.copied = all;
        }
        fits
    }

    /// The name that a value has in the graph.
    pub(super) fn name_of(&self, v: ValueId) -> &str {
        self.b.name(v)
    }

    pub(super) fn finish(mut self, outputs: &[ValueInfo]) -> Result<Graph> {
        let mut taken = HashSet::new();
        for output in outputs {
            let id = self
                .lookup(output.name)?
                .ok_or_else(|| Error::corrupt("an output without a name"))?;
            let named = !taken.contains(&id) && self.b.rename(id, output.name);
            let id = if named {
                taken.insert(id);
                id
            } else {
                // An input, a stored tensor or another output: it gets a name of its own.
                let name = self.b.fresh(output.name);
                let id = self.b.node(&name, Op::identity(), &[id]);
                taken.insert(id);
                id
            };
            self.b.output(id);
        }
        // In the order in which they are read, parameters do not depend on how the file orders them.
        Ok(pass::order_parameters(&self.b.finish_open()?)?)
    }

    // Nodes.

    pub(super) fn begin(&mut self, node: &NodeDef) {
        self.stem = node
            .outputs
            .iter()
            .find(|o| !o.is_empty())
            .map_or(node.op, |o| *o)
            .to_owned();
        self.added.clear();
    }

    /// Gives the outputs of a node their names.
    pub(super) fn end(&mut self, node: &NodeDef, outputs: &[ValueId]) -> Result<()> {
        for (i, &name) in node.outputs.iter().enumerate() {
            if name.is_empty() {
                continue;
            }
            let id = *outputs
                .get(i)
                .ok_or_else(|| unsupported(format!("output {i} is not supported")))?;
            if self.added.contains(&id) {
                self.b.rename(id, name);
            }
            self.define(name, id)?;
        }
        Ok(())
    }

    /// The value whose shape `v` is, if it is one.
    pub(super) fn shape_of(&self, v: ValueId) -> Option<ValueId> {
        self.shapes.get(&v).copied()
    }

    /// The value that will be defined next.
    fn next_id(&self) -> ValueId {
        self.b.next_value()
    }

    pub(super) fn info(&self, v: ValueId) -> &Info {
        &self.info[&v]
    }

    pub(super) fn dtype(&self, v: ValueId) -> DType {
        self.info[&v].dtype
    }

    pub(super) fn rank(&self, v: ValueId) -> Option<usize> {
        self.info[&v].rank
    }

    /// The values of a stored tensor.
    pub(super) fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.info[&v].constant.as_ref()
    }

    /// The values of a stored tensor of integers.
    pub(super) fn constant_ints(&self, v: ValueId) -> Option<Vec<i64>> {
        self.constant(v).and_then(|t| t.to_i64s().ok())
    }

    pub(super) fn nodes(&mut self, op: Op, inputs: &[ValueId], n: usize) -> Vec<ValueId> {
        let dtypes: Vec<DType> = inputs.iter().map(|&v| self.dtype(v)).collect();
        let dtypes = op.dtypes(&dtypes);
        let ranks: Vec<Option<usize>> = inputs.iter().map(|&v| self.rank(v)).collect();
        let rank = rank_of(&op, &ranks);
        let stem = match self.stem.strip_suffix(".0") {
            Some(stem) if n > 1 => stem.to_owned(),
            _ => format!("{}.{}", self.stem, op.name()),
        };
        let name = self.b.fresh(&stem);
        if let Op::Late(Late::Shape {
            start: 0,
            end: i64::MAX,
        }) = op
        {
            self.shapes.insert(self.next_id(), inputs[0]);
        }
        let ids = self.b.node_many(&name, op, inputs, n);
        for (i, &id) in ids.iter().enumerate() {
            let dtype = dtypes.get(i).copied().unwrap_or(dtypes[0]);
            self.info.insert(
                id,
                Info {
                    dtype,
                    rank,
                    constant: None,
                },
            );
            self.added.push(id);
        }
        ids
    }

    pub(super) fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.nodes(op, inputs, 1)[0]
    }

    pub(super) fn unary(&mut self, kind: UnaryKind, x: ValueId) -> ValueId {
        self.node(Op::Unary(Unary::new(kind)), &[x])
    }

    pub(super) fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.node(Op::Binary(op), &[a, b])
    }

    pub(super) fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Add, a, b)
    }

    pub(super) fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Sub, a, b)
    }

    pub(super) fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Mul, a, b)
    }

    pub(super) fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Div, a, b)
    }

    /// An operation with a number of the type of `a`.
    pub(super) fn with(&mut self, op: Binary, a: ValueId, number: f64) -> ValueId {
        let b = self.scalar(number, self.dtype(a));
        self.binary(op, a, b)
    }

    pub(super) fn logic(&mut self, op: Logic, inputs: &[ValueId]) -> ValueId {
        self.node(Op::Logic(op), inputs)
    }

    pub(super) fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.node(Op::Select(Select), &[c, a, b])
    }

    pub(super) fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        match self.dtype(x) == to {
            true => x,
            false => self.node(Op::Cast(Cast { to }), &[x]),
        }
    }

    pub(super) fn layout(&mut self, l: Layout, x: ValueId) -> ValueId {
        self.node(Op::Layout(l), &[x])
    }

    pub(super) fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        self.layout(
            Layout::Reshape {
                shape: shape.to_vec(),
            },
            x,
        )
    }

    pub(super) fn transpose(&mut self, x: ValueId, permutation: &[usize]) -> ValueId {
        self.layout(
            Layout::Transpose {
                permutation: permutation.to_vec(),
            },
            x,
        )
    }

    /// One axis moved to another place; negative places count from the end.
    pub(super) fn move_axis(&mut self, x: ValueId, from: i64, to: i64) -> ValueId {
        let place = |axis: i64, rank: usize| {
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            usize::try_from(axis).ok().filter(|&a| a < rank)
        };
        let known = self
            .rank(x)
            .and_then(|r| Some((r, place(from, r)?, place(to, r)?)));
        let Some((rank, from, to)) = known else {
            return self.late(Late::MoveAxis { from, to }, &[x]);
        };
        let mut permutation: Vec<usize> = (0..rank).filter(|&a| a != from).collect();
        permutation.insert(to, from);
        self.transpose(x, &permutation)
    }

    pub(super) fn concat(&mut self, axis: i64, parts: &[ValueId]) -> ValueId {
        self.node(Op::Layout(Layout::Concat { axis }), parts)
    }

    /// The values of `x` under the shape of `like`.
    pub(super) fn like(&mut self, x: ValueId, like: ValueId) -> ValueId {
        let id = self.node(Op::Layout(Layout::ReshapeLike), &[x, like]);
        let rank = self.rank(like);
        self.info.get_mut(&id).expect("just added").rank = rank;
        id
    }

    pub(super) fn late(&mut self, late: Late, inputs: &[ValueId]) -> ValueId {
        self.node(Op::Late(late), inputs)
    }

    pub(super) fn shape(&mut self, x: ValueId) -> ValueId {
        self.late(
            Late::Shape {
                start: 0,
                end: i64::MAX,
            },
            &[x],
        )
    }

    /// The size of one axis, as a list of one.
    pub(super) fn size(&mut self, x: ValueId, axis: i64) -> ValueId {
        let end = if axis == -1 { i64::MAX } else { axis + 1 };
        self.late(Late::Shape { start: axis, end }, &[x])
    }

    pub(super) fn unsqueeze(&mut self, x: ValueId, axes: &[i64]) -> ValueId {
        let list = self.ints(axes);
        let id = self.late(Late::Unsqueeze, &[x, list]);
        let rank = self.rank(x).map(|r| r + axes.len());
        self.info.get_mut(&id).expect("just added").rank = rank;
        id
    }

    pub(super) fn squeeze(&mut self, x: ValueId, axes: &[i64]) -> ValueId {
        let list = self.ints(axes);
        self.late(Late::Squeeze, &[x, list])
    }

    pub(super) fn reduce(
        &mut self,
        kind: ReduceKind,
        x: ValueId,
        axes: &[i64],
        keep_dims: bool,
    ) -> ValueId {
        self.node(
            Op::Reduce(Reduce::Axes {
                kind,
                axes: axes.to_vec(),
                keep_dims,
            }),
            &[x],
        )
    }

    pub(super) fn matmul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.node(Op::MatMul(MatMul::default()), &[a, b])
    }

    pub(super) fn gather(&mut self, x: ValueId, indices: ValueId, axis: i64) -> ValueId {
        self.node(Op::Gather(Gather { axis, grad: false }), &[x, indices])
    }

    // Constants.

    /// A number of an element type, without axes.
    pub(super) fn scalar(&mut self, value: f64, dtype: DType) -> ValueId {
        if let Some(&id) = self.scalars.get(&(value.to_bits(), dtype)) {
            return id;
        }
        let t = Tensor::from_data(&[], Data::F64(vec![value]).cast(dtype)).expect("one value");
        let id = self.new_constant(&format!("c{value}"), t);
        self.scalars.insert((value.to_bits(), dtype), id);
        id
    }

    /// A tensor without axes, shared with equal ones.
    pub(super) fn scalar_of(&mut self, t: Tensor) -> ValueId {
        if let Data::F64(v) = t.data().cast(DType::F64)
            && Data::F64(vec![v[0]]).cast(t.dtype()) == *t.data()
        {
            return self.scalar(v[0], t.dtype());
        }
        self.new_constant("value", t)
    }

    /// A list of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> ValueId {
        if let Some(&id) = self.lists.get(values) {
            return id;
        }
        let t = Tensor::new(&[values.len()], values.to_vec()).expect("as many values");
        let id = self.new_constant("list", t);
        self.lists.insert(values.to_vec(), id);
        id
    }

    /// A constant that is not in the file as a tensor of its own.
    pub(super) fn new_constant(&mut self, stem: &str, t: Tensor) -> ValueId {
        let name = self.b.fresh(stem);
        let info = Info {
            dtype: t.dtype(),
            rank: Some(t.shape().len()),
            constant: Some(t.clone()),
        };
        let id = self.b.constant(&name, t);
        self.info.insert(id, info);
        id
    }

    /// A tensor from an attribute, called after the output of the node.
    pub(super) fn stored_output(&mut self, t: Tensor) -> ValueId {
        let stem = self.stem.clone();
        self.stored(&stem, t)
    }
}

/// The only symbol of the inputs, if it is there and every input starts with it and has it nowhere
/// else: the batch.
fn batch_symbol<'i>(inputs: &[ValueInfo<'i>]) -> Option<&'i str> {
    let mut batch = None;
    for input in inputs {
        let ValueKind::Tensor {
            dims: Some(dims), ..
        } = &input.kind
        else {
            continue;
        };
        for (axis, dim) in dims.iter().enumerate() {
            match dim {
                DimDef::Name(name) if axis == 0 && batch.is_none_or(|b| b == *name) => {
                    batch = Some(*name)
                }
                DimDef::Size(n) if *n >= 0 => {}
                _ => return None,
            }
        }
    }
    batch
}

fn dim(d: &DimDef, batch: Option<&str>) -> Result<Dim> {
    Ok(match *d {
        DimDef::Size(n) if n < 0 => Dim::Any,
        DimDef::Size(n) => Dim::Fixed(
            usize::try_from(n).map_err(|_| Error::corrupt(format!("an axis of size {n}")))?,
        ),
        DimDef::Name(name) if batch == Some(name) => Dim::batch(),
        DimDef::Name("") | DimDef::Unknown => Dim::Any,
        DimDef::Name(name) => Dim::Symbol(name.to_owned()),
    })
}

/// The number of axes of the first output, where it follows from those of the inputs.
fn rank_of(op: &Op, ranks: &[Option<usize>]) -> Option<usize> {
    let all = || {
        ranks
            .iter()
            .copied()
            .try_fold(0, |most: usize, r| Some(most.max(r?)))
    };
    let first = ranks.first().copied().flatten();
    match op {
        Op::Unary(_)
        | Op::Cast(_)
        | Op::Softmax(_)
        | Op::BatchNorm(_)
        | Op::Cumulative(_)
        | Op::Quantize(_)
        | Op::Dropout(_) => first,
        Op::Binary(_) | Op::Logic(_) | Op::Select(_) => all(),
        Op::Conv(Conv { .. }) => first,
        Op::Layout(Layout::Reshape { shape }) => Some(shape.len()),
        Op::Layout(Layout::ReshapeLike) => ranks.get(1).copied().flatten(),
        Op::Layout(Layout::Expand { shape }) => Some(shape.len()),
        Op::Layout(_) => first,
        Op::Gather(_) => Some(first? + ranks[1]? - 1),
        Op::Reduce(Reduce::Axes {
            keep_dims: true, ..
        }) => first,
        Op::Reduce(Reduce::Axes { axes, .. }) if !axes.is_empty() => {
            Some(first? - axes.len().min(first?))
        }
        Op::Index(Index::Top { .. }) => first,
        Op::Late(Late::Shape { .. } | Late::Range) => Some(1),
        Op::Pool(_) => first,
        Op::Late(Late::Size) => Some(0),
        Op::Late(
            Late::Slice { .. }
            | Late::Pad { .. }
            | Late::Tile
            | Late::Part { .. }
            | Late::Reversed
            | Late::MoveAxis { .. }
            | Late::Cumulative(_)
            | Late::Top { .. }
            | Late::Triangle { .. }
            | Late::Resize { .. }
            | Late::Pool { .. }
            | Late::GlobalPool(_)
            | Late::Conv { .. }
            | Late::ConvTranspose { .. }
            | Late::Blocks { .. }
            | Late::CentreCropPad { .. },
        ) => first,
        Op::Late(Late::Flatten { .. }) => Some(2),
        Op::MatMul(_) => all().filter(|_| ranks.iter().all(|r| r.is_some_and(|r| r > 1))),
        Op::Control(Control::If { .. } | Control::Loop { .. }) => None,
        _ => None,
    }
}

/// The attributes of a node, which remember that they were read.
pub(super) struct Attributes<'n, 'a> {
    all: &'n [Attribute<'a>],
    read: RefCell<Vec<bool>>,
    pub(super) n_outputs: usize,
    /// Which outputs have a name.
    pub(super) asked: Vec<bool>,
}

impl<'n, 'a> Attributes<'n, 'a> {
    pub(super) fn new(node: &'n NodeDef<'a>) -> Attributes<'n, 'a> {
        Attributes {
            all: &node.attributes,
            read: RefCell::new(vec![false; node.attributes.len()]),
            n_outputs: node.outputs.len(),
            asked: node.outputs.iter().map(|o| !o.is_empty()).collect(),
        }
    }

    /// Whether output `i` is asked for.
    pub(super) fn asks(&self, i: usize) -> bool {
        self.asked.get(i).copied().unwrap_or(false)
    }

    pub(super) fn all_read(&self) -> Result<()> {
        match self.read.borrow().iter().position(|r| !r) {
            None => Ok(()),
            Some(i) => Err(unread(self.all[i].name)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'n Value<'a>> {
        let i = self.all.iter().position(|a| a.name == name)?;
        self.read.borrow_mut()[i] = true;
        Some(&self.all[i].value)
    }

    fn wrong(name: &str, expected: &str) -> Error {
        Error::corrupt(format!("the attribute {name:?} is not {expected}"))
    }

    pub(super) fn int(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Int(v)) => Ok(Some(*v)),
            Some(_) => Err(Self::wrong(name, "an integer")),
        }
    }

    /// A place among axes, counted from either end. Bounded here, since lists of axes are made from it
    /// before the rank of a value is known.
    pub(super) fn axis(&self, name: &str) -> Result<Option<i64>> {
        let axis = self.int(name)?;
        match axis {
            Some(a) if a.unsigned_abs() > MAX_AXES as u64 => Err(Error::corrupt(format!(
                "{name} = {a}, of at most {MAX_AXES} axes"
            ))),
            _ => Ok(axis),
        }
    }

    pub(super) fn axis_or(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.axis(name)?.unwrap_or(default))
    }

    pub(super) fn int_or(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Float(v)) => Ok(Some(*v)),
            Some(_) => Err(Self::wrong(name, "a float")),
        }
    }

    pub(super) fn float_or(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'n str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Text(v)) => std::str::from_utf8(v)
                .map(Some)
                .map_err(|_| Self::wrong(name, "UTF-8")),
            Some(_) => Err(Self::wrong(name, "a string")),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Ints(v)) => Ok(Some(v.clone())),
            Some(_) => Err(Self::wrong(name, "a list of integers")),
        }
    }

    /// A list of sizes; empty if it is not there.
    pub(super) fn sizes(&self, name: &str) -> Result<Vec<usize>> {
        let size = |&v: &i64| {
            let size = usize::try_from(v).ok().filter(|&v| v < 1 << 31);
            size.ok_or_else(|| Self::wrong(name, "a list of sizes"))
        };
        self.ints(name)?
            .unwrap_or_default()
            .iter()
            .map(size)
            .collect()
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Floats(v)) => Ok(Some(v.clone())),
            Some(_) => Err(Self::wrong(name, "a list of floats")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Texts(v)) => {
                let text = |t: &&[u8]| {
                    String::from_utf8(t.to_vec()).map_err(|_| Self::wrong(name, "UTF-8"))
                };
                v.iter().map(text).collect::<Result<_>>().map(Some)
            }
            Some(_) => Err(Self::wrong(name, "a list of strings")),
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'n TensorDef<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Tensor(t)) => Ok(Some(t)),
            Some(_) => Err(Self::wrong(name, "a tensor")),
        }
    }

    pub(super) fn graph(&self, name: &str) -> Result<&'n GraphDef<'a>> {
        match self.get(name) {
            Some(Value::Graph(g)) => Ok(g),
            _ => Err(Self::wrong(name, "a graph")),
        }
    }

    pub(super) fn element_type(&self, name: &str) -> Result<Option<DType>> {
        self.int(name)?.map(dtype).transpose()
    }
}

/// An input that must be there.
pub(super) fn need(inputs: &[Option<ValueId>], i: usize) -> Result<ValueId> {
    inputs
        .get(i)
        .copied()
        .flatten()
        .ok_or_else(|| Error::corrupt(format!("input {i} is missing")))
}

/// The inputs that are not left out: at least the first.
pub(super) fn given(inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
    need(inputs, 0)?;
    Ok(inputs.iter().copied().flatten().collect())
}

/// An input that may be left out.
pub(super) fn maybe(inputs: &[Option<ValueId>], i: usize) -> Option<ValueId> {
    inputs.get(i).copied().flatten()
}

pub(super) type Imported = Result<Option<Vec<ValueId>>>;
