//! What networks are fed while they are measured: arrays from a file, or numbers drawn from the range
//! that a network was trained on, as far as anything says which that is.

use std::path::Path;

use bantam_core::op::Type;
use bantam_core::schema::{InputSchema, Schema};
use bantam_core::{DType, Data, Dim, Graph, Op, Tensor, ValueId};
use bantam_data::Rng;

use crate::arrays::read_inputs;
use crate::{Error, ErrorKind, Result};

/// Indices are drawn below this when nothing says how many there are.
const FEW: u64 = 2;

/// Types of the inputs of `graph` for `batch` samples; without it for one, or as many as are fixed.
///
/// The batch is the first axis of the first input that has no fixed size there. Errs when another
/// axis has no size in `axes`, when an axis in `axes` is not there, and when a batch is asked for that
/// the network does not have.
pub(super) fn types(
    graph: &Graph,
    batch: Option<usize>,
    axes: &[(String, usize)],
) -> Result<Vec<Type>> {
    let n = batch.unwrap_or(1);
    let symbol = batch_axis(graph);
    let size = |name: &str, at: usize, dim: &Dim| match dim {
        Dim::Fixed(size) => Ok(*size),
        Dim::Symbol(s) => match axes.iter().find(|(axis, _)| axis == s) {
            Some((_, size)) => Ok(*size),
            None if symbol.as_deref() == Some(s.as_str()) => Ok(n),
            None => Err(model(format!(
                "axis {s:?} of the input {name:?} may have any size"
            ))
            .with_hint(format!("say --axis {s}=SIZE"))),
        },
        Dim::Any if at == 0 => Ok(n),
        Dim::Any | Dim::Rest => Err(model(format!(
            "axis {at} of the input {name:?} may have any size"
        ))
        .with_hint("feed arrays with --inputs FILE")),
    };
    let types = graph.inputs().iter().map(|input| {
        let name = graph.value_name(input.value);
        let dims = input.dims.iter().enumerate();
        let shape: Result<Vec<usize>> = dims.map(|(at, dim)| size(name, at, dim)).collect();
        Ok(Type::new(input.dtype, &shape?))
    });
    let types: Vec<Type> = types.collect::<Result<_>>()?;
    let has = batch_of(&types);
    match batch {
        Some(n) if has != n => Err(model(format!(
            "expected a network for {n} samples a call, found one for {has}"
        ))
        .with_hint("leave --batch out")),
        _ => Ok(types),
    }
}

/// Whether an input has an axis called `name`.
pub(super) fn has_axis(graph: &Graph, name: &str) -> bool {
    let is = |dim: &Dim| matches!(dim, Dim::Symbol(s) if s == name);
    graph.inputs().iter().any(|i| i.dims.iter().any(is))
}

/// Samples in a call: the first axis of the first input that has axes.
pub(super) fn batch_of(types: &[Type]) -> usize {
    let mut sizes = types.iter().filter_map(|t| t.shape.first());
    sizes.next().copied().unwrap_or(1)
}

/// The axis with a name that comes first in an input.
fn batch_axis(graph: &Graph) -> Option<String> {
    graph.inputs().iter().find_map(|i| match i.dims.first() {
        Some(Dim::Symbol(s)) => Some(s.clone()),
        _ => None,
    })
}

fn model(message: String) -> Error {
    Error::new(ErrorKind::Model, message)
}

/// The arrays at `path`, in the order of the inputs.
pub(super) fn from_file(graph: &Graph, path: &Path) -> Result<Vec<Tensor>> {
    let mut arrays = read_inputs(graph, path, &[])?;
    let inputs = graph.inputs().iter().map(|input| {
        let name = graph.value_name(input.value);
        let at = arrays.iter().position(|(n, _)| n == name);
        let at = at.expect("every input has its array");
        let (_, tensor) = arrays.swap_remove(at);
        // A file of 64-bit floats is common, a network that wants them is not.
        tensor.cast(input.dtype)
    });
    Ok(inputs.collect())
}

/// Random inputs of the given types, the same for the same seed.
///
/// Floats lie in the range of the data that the schema describes, else in -1..1; integers that pick rows
/// of a table are below its length; other integers, such as masks and lengths, are 1.
pub(super) fn draw(
    graph: &Graph,
    schema: Option<&Schema>,
    types: &[Type],
    seed: u64,
) -> Result<Vec<Tensor>> {
    let inputs = graph.inputs().iter().zip(types).enumerate();
    let drawn = inputs.map(|(i, (input, t))| {
        let mut rng = Rng::new(seed, i as u64);
        let range = match schema {
            Some(schema) if i == 0 => range(schema),
            _ => (-1.0, 1.0),
        };
        let data = match t.dtype {
            DType::Bool => Data::Bool(vec![true; t.len()]),
            dtype if is_float(dtype) => {
                let (low, high) = range;
                let value = |_| (low + (high - low) * rng.uniform()) as f32;
                Data::F32((0..t.len()).map(value).collect()).cast(dtype)
            }
            dtype => {
                let rows = rows_picked(graph, input.value);
                let value = |_| rows.map_or(1, |rows| rng.below(rows) as i64);
                Data::I64((0..t.len()).map(value).collect()).cast(dtype)
            }
        };
        Ok(Tensor::from_data(&t.shape, data)?)
    });
    drawn.collect()
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
}

/// Where the inputs lie, once they are normalised.
fn range(schema: &Schema) -> (f64, f64) {
    let normalised = |x: f64, offset: f32, scale: f32| (x - f64::from(offset)) * f64::from(scale);
    match &schema.input {
        // Numbers have deviation 1, categories are 0 or 1.
        InputSchema::Table { .. } => (-1.0, 1.0),
        InputSchema::Image { offset, scale, .. } => match (offset.first(), scale.first()) {
            (Some(&o), Some(&s)) => (normalised(0.0, o, s), normalised(1.0, o, s)),
            _ => (-1.0, 1.0),
        },
        // What is stored is not known; what is normalised has deviation 1.
        InputSchema::Array { .. } => (-1.0, 1.0),
    }
}

/// Length of the shortest table of which `value` picks rows, if it does.
fn rows_picked(graph: &Graph, value: ValueId) -> Option<u64> {
    let mut follows = vec![false; graph.n_values()];
    follows[value.index()] = true;
    let mut least: Option<u64> = None;
    for node in graph.nodes() {
        let reads = |i: usize| node.inputs.get(i).is_some_and(|v| follows[v.index()]);
        if let (Op::Gather(g), true) = (&node.op, reads(1)) {
            let rows = table_rows(graph, node.inputs[0], g.axis).unwrap_or(FEW);
            least = Some(least.map_or(rows, |least| least.min(rows)));
        }
        // What only has another shape or type has the same numbers.
        let same = matches!(
            node.op,
            Op::Cast(_) | Op::Layout(_) | Op::Unary(_) | Op::Late(_)
        );
        if same && reads(0) {
            node.outputs.iter().for_each(|v| follows[v.index()] = true);
        }
    }
    least.map(|rows| rows.max(1))
}

fn table_rows(graph: &Graph, table: ValueId, axis: i64) -> Option<u64> {
    let stored = graph.parameters().iter().find(|p| p.value == table)?;
    let shape = stored.weight.shape();
    let at = if axis < 0 {
        axis + shape.len() as i64
    } else {
        axis
    };
    shape
        .get(usize::try_from(at).ok()?)
        .map(|&rows| rows as u64)
}
