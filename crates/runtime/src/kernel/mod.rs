//! One call per operator: from the planned buffers to the kernels.
//!
//! Operators without a kernel of their own (rare gradients and layouts) run their naive reference;
//! they are correct, deterministic and slow.

mod elementwise;
mod layout;
mod linear;
mod spatial;
mod statistics;

pub(crate) use elementwise::function;
pub(crate) use spatial::{conv_shape, pool_shape};
pub(crate) use statistics::batch_norm;

use bantam_core::op::late::{Known, MAX_CONSTANT, Resolved};
use bantam_core::op::{ConvRole, Type};
use bantam_core::{DType, Data, Element, Op, Tensor, each_type};
use bantam_kernels::Precision;

use crate::plan::Place;
use crate::{Error, ErrorKind, Result};

/// An input of a step. Of an input that the operator does not read, only the type is valid.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a Data,
    pub(crate) t: &'a Type,
    /// Element of `data` with which the values begin.
    pub(crate) start: usize,
}

impl<'a> View<'a> {
    /// All of `data`, which may be longer than the type says.
    pub(crate) fn new(data: &'a Data, t: &'a Type) -> View<'a> {
        View { data, t, start: 0 }
    }

    pub(crate) fn shape(&self) -> &'a [usize] {
        &self.t.shape
    }

    /// The values; the planner has given the value a buffer of its type that is long enough.
    pub(crate) fn values<T: Element>(&self) -> &'a [T] {
        let all = T::slice(self.data).expect("a buffer has the planned type");
        &all[self.start..][..self.t.len()]
    }

    /// A copy as a tensor.
    pub(crate) fn tensor(&self) -> Tensor {
        let range = self.start..self.start + self.t.len();
        let values = each_type!(self.data, v => Tensor::new(self.shape(), v[range].to_vec()));
        values.expect("as many values as the shape has")
    }

    pub(crate) fn f32(&self) -> &'a [f32] {
        self.values()
    }
}

/// An output of a step: its buffer, of at least the planned length, and its type.
pub(crate) type Out<'a> = (Data, &'a Type);

/// The values of an output to write.
pub(crate) fn out<'a, T: Element>(output: &'a mut Out<'_>) -> &'a mut [T] {
    let len = output.1.len();
    let all = T::slice_mut(&mut output.0).expect("a buffer has the planned type");
    &mut all[..len]
}

/// Runs one operator, its products in `precision`. The types have passed its shape rule.
pub(crate) fn run(
    op: &Op,
    precision: Precision,
    inputs: &[View],
    outputs: &mut [Out],
) -> Result<()> {
    if !has_kernel(op, inputs, outputs) {
        return match narrow(op, inputs) {
            true => in_f32(op, precision, inputs, outputs),
            false => by_evaluation(op, inputs, outputs),
        };
    }
    match op {
        Op::Dense(_) => linear::dense(precision, inputs, &mut outputs[0]),
        Op::MatMul(m) => linear::matmul(m, precision, inputs, &mut outputs[0])?,
        Op::Conv(c) => spatial::conv(c, precision, inputs, &mut outputs[0]),
        Op::Pool(p) => spatial::pool(p, inputs, &mut outputs[0]),
        Op::BatchNorm(b) => statistics::batch_norm(b, None, inputs, outputs),
        Op::Unary(u) => elementwise::unary(u, inputs, &mut outputs[0]),
        Op::Binary(b) => elementwise::binary(*b, inputs, &mut outputs[0]),
        Op::Softmax(s) => statistics::softmax(s, inputs, &mut outputs[0]),
        Op::Reduce(r) => statistics::reduce(op, r, inputs, &mut outputs[0])?,
        Op::Layout(l) => layout::run(op, l, inputs, &mut outputs[0])?,
        Op::Gather(g) => layout::gather(op, g, inputs, &mut outputs[0])?,
        Op::Dropout(d) => elementwise::dropout(d, inputs, &mut outputs[0]),
        Op::Loss(l) => statistics::loss(l, inputs, &mut outputs[0])?,
        Op::Cast(_) => elementwise::bytes_to_floats(inputs[0].values(), out(&mut outputs[0])),
        Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Recurrent(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Late(_)
        | Op::Quantize(_)
        | Op::Find(_)
        | Op::Control(_) => unreachable!("these have no kernel"),
    }
    Ok(())
}

/// Whether `precision` rounds operands of the operator; what is late is not asked for.
pub(crate) fn rounds(
    op: &Op,
    precision: Precision,
    inputs: &[(Place, Option<Type>)],
    outputs: &[(Place, Option<Type>)],
) -> bool {
    let types: Option<Vec<&Type>> = inputs.iter().map(|(_, t)| t.as_ref()).collect();
    let (Some(types), Some(y)) = (types, outputs[0].1.as_ref()) else {
        return false;
    };
    match op {
        Op::Dense(_) => {
            let (x, w) = (&types[0].shape, &types[1].shape);
            precision.rounds_product([x[0], w[0], x[1]])
        }
        Op::MatMul(m) => m
            .sizes(&types[0].shape, &types[1].shape)
            .is_ok_and(|s| precision.rounds_product([s.m, s.n, s.k])),
        Op::Conv(c) => spatial::conv_rounds(c, precision, &types, y),
        Op::Pool(_)
        | Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Softmax(_)
        | Op::Reduce(_)
        | Op::Layout(_)
        | Op::Gather(_)
        | Op::Dropout(_)
        | Op::Loss(_)
        | Op::Cast(_)
        | Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Recurrent(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Late(_)
        | Op::Quantize(_)
        | Op::Find(_)
        | Op::Control(_) => false,
    }
}

/// Whether there is a kernel for the operator on these element types; there are for `f32`, for moving
/// `i64` too, and for tables of signed bytes.
fn has_kernel(op: &Op, inputs: &[View], outputs: &[Out]) -> bool {
    let read = inputs
        .iter()
        .enumerate()
        .filter(|(i, _)| op.reads(*i))
        .map(|(_, v)| v.t.dtype);
    let all = |known: &[DType]| {
        read.clone()
            .chain(outputs.iter().map(|o| o.1.dtype))
            .all(|d| known.contains(&d))
    };
    let moves = [DType::F32, DType::I64];
    match op {
        Op::Dense(_)
        | Op::MatMul(_)
        | Op::Pool(_)
        | Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Softmax(_) => all(&[DType::F32]),
        Op::Conv(c) => {
            let transposed = matches!(c.role, ConvRole::Transposed { .. });
            let volumes = inputs[0].shape().len() > 4;
            let known = !transposed || spatial::is_gradient(c, inputs, outputs[0].1);
            all(&[DType::F32]) && !volumes && known
        }
        Op::Reduce(_) => read.clone().all(|d| d == DType::F32),
        Op::Gather(g) if !g.grad => {
            let table = [DType::F32, DType::I64, DType::I8].contains(&inputs[0].t.dtype);
            table && inputs[1].t.dtype == DType::I64
        }
        Op::Layout(_) | Op::Gather(_) | Op::Dropout(_) | Op::Loss(_) => all(&moves),
        Op::Cast(_) => (inputs[0].t.dtype, outputs[0].1.dtype) == (DType::I8, DType::F32),
        Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Recurrent(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Late(_)
        | Op::Quantize(_)
        | Op::Find(_)
        | Op::Control(_) => false,
    }
}

/// Whether to compute 16-bit floats in `f32` and round: where a kernel saves a lot.
fn narrow(op: &Op, inputs: &[View]) -> bool {
    let heavy = matches!(
        op,
        Op::Dense(_) | Op::MatMul(_) | Op::Conv(_) | Op::Softmax(_) | Op::BatchNorm(_)
    );
    heavy
        && inputs
            .iter()
            .all(|v| matches!(v.t.dtype, DType::F16 | DType::BF16))
}

fn in_f32(op: &Op, precision: Precision, inputs: &[View], outputs: &mut [Out]) -> Result<()> {
    let wide = |t: &Type| Type::new(DType::F32, &t.shape);
    let data: Vec<(Data, Type)> = inputs
        .iter()
        .map(|v| (v.tensor().cast(DType::F32).into_data(), wide(v.t)))
        .collect();
    let views: Vec<View> = data.iter().map(|(data, t)| View::new(data, t)).collect();
    let types: Vec<Type> = outputs.iter().map(|o| wide(o.1)).collect();
    let mut results: Vec<Out> = types
        .iter()
        .map(|t| (Data::zeros(DType::F32, t.len()), t))
        .collect();
    run(op, precision, &views, &mut results)?;
    for (output, (data, _)) in outputs.iter_mut().zip(results) {
        let data = data.cast(output.1.dtype);
        put(output, &data);
    }
    Ok(())
}

/// Runs the naive evaluation of an operator, for any element types.
pub(crate) fn by_evaluation(op: &Op, inputs: &[View], outputs: &mut [Out]) -> Result<()> {
    let tensor = |(i, v): (usize, &View)| match op.reads(i) {
        true => v.tensor(),
        false => Tensor::zeros(v.t.dtype, v.shape()),
    };
    let tensors: Vec<Tensor> = inputs.iter().enumerate().map(tensor).collect();
    let types: Vec<Type> = outputs.iter().map(|o| o.1.clone()).collect();
    let results = op
        .evaluate(&tensors.iter().collect::<Vec<_>>(), &types)
        .map_err(value_error)?;
    for (output, t) in outputs.iter_mut().zip(&results) {
        put(output, t.data());
    }
    Ok(())
}

fn value_error(e: bantam_core::Error) -> Error {
    Error::new(ErrorKind::Value, e.to_string())
}

fn put(output: &mut Out, data: &Data) {
    each_type!(data, v => {
        fn copy<T: Element>(from: &[T], output: &mut Out) {
            out::<T>(output).copy_from_slice(from);
        }
        copy(v, output)
    });
}

/// Runs the naive evaluation of an operator of one output.
pub(crate) fn by_reference(op: &Op, inputs: &[View], output: &mut Out) -> Result<()> {
    let t = output.1;
    let mut outputs = [(std::mem::replace(&mut output.0, Data::U8(Vec::new())), t)];
    let result = by_evaluation(op, inputs, &mut outputs);
    let [(data, _)] = outputs;
    output.0 = data;
    result
}

/// Runs an operator on tensors whose types were not known before, with outputs of its own.
pub(crate) fn on_tensors(op: &Op, precision: Precision, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    if let Op::Find(_) = op {
        return op.evaluate(inputs, &[]).map_err(value_error);
    }
    let types: Vec<Type> = inputs
        .iter()
        .map(|t| Type::new(t.dtype(), t.shape()))
        .collect();
    if let Op::Late(late) = op {
        let known = types.iter().zip(inputs);
        let known: Vec<Known> = known
            .map(|(t, v)| Known {
                t: Some(t),
                value: Some(v),
            })
            .collect();
        return match late
            .resolve(&known, MAX_CONSTANT)?
            .expect("everything is known")
        {
            Resolved::Constant(t) => Ok(vec![t]),
            Resolved::Chain(ops, read) => {
                let first: Vec<&Tensor> = read.iter().map(|&i| inputs[i]).collect();
                let mut results = vec![first[0].clone()];
                for (i, op) in ops.iter().enumerate() {
                    results = match i {
                        0 => on_tensors(op, precision, &first)?,
                        _ => on_tensors(op, precision, &[&results[0]])?,
                    };
                }
                Ok(results)
            }
        };
    }
    let output_types = op.infer(&types)?;
    let views: Vec<View> = inputs
        .iter()
        .zip(&types)
        .map(|(v, t)| View::new(v.data(), t))
        .collect();
    let mut outputs: Vec<Out> = output_types
        .iter()
        .map(|t| (Data::zeros(t.dtype, t.len()), t))
        .collect();
    run(op, precision, &views, &mut outputs)?;
    let tensor = |(data, t): Out| Ok(Tensor::from_data(&t.shape, data)?);
    outputs.into_iter().map(tensor).collect()
}

/// Errs when an index is outside `0..len`, naming the first and what it indexes.
pub(crate) fn check_indices(what: &str, indices: &[i64], len: usize) -> Result<()> {
    match indices.iter().position(|&i| i < 0 || i as usize >= len) {
        None => Ok(()),
        Some(at) => Err(Error::new(
            ErrorKind::Value,
            format!("{what} {} at position {at} is not in 0..{len}", indices[at]),
        )),
    }
}
