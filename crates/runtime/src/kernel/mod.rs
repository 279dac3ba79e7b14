//! One call per operator: from the planned buffers to the kernels.
//!
//! Operators without a kernel of their own (rare gradients and layouts) run their naive reference;
//! they are correct, deterministic and slow.

mod elementwise;
mod layout;
mod linear;
mod spatial;
mod statistics;

use bantam_core::op::Type;
use bantam_core::reference::Array;
use bantam_core::{DType, Data, Element, Op, Tensor};

use crate::{Error, ErrorKind, Result};

/// An input of a step. Of an input that the operator does not read, only the type is valid.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a Data,
    pub(crate) t: &'a Type,
}

impl<'a> View<'a> {
    pub(crate) fn shape(&self) -> &'a [usize] {
        &self.t.shape
    }

    /// The values; the planner has given the value a buffer of its type that is long enough.
    pub(crate) fn values<T: Element>(&self) -> &'a [T] {
        let all = T::slice(self.data).expect("a buffer has the planned type");
        &all[..self.t.len()]
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

/// Runs one operator. The types have passed its shape rule.
pub(crate) fn run(op: &Op, inputs: &[View], outputs: &mut [Out]) -> Result<()> {
    match op {
        Op::Dense(_) => linear::dense(inputs, &mut outputs[0]),
        Op::MatMul(m) => linear::matmul(m, inputs, &mut outputs[0])?,
        Op::Conv(c) => spatial::conv(c, inputs, &mut outputs[0]),
        Op::Pool(p) => spatial::pool(p, inputs, &mut outputs[0]),
        Op::BatchNorm(b) => statistics::batch_norm(b, inputs, outputs),
        Op::Unary(u) => elementwise::unary(u, inputs, &mut outputs[0]),
        Op::Binary(b) => elementwise::binary(*b, inputs, &mut outputs[0]),
        Op::Softmax(s) => statistics::softmax(s, inputs, &mut outputs[0]),
        Op::Reduce(r) => statistics::reduce(op, r, inputs, &mut outputs[0]),
        Op::Layout(l) => layout::run(op, l, inputs, &mut outputs[0]),
        Op::Gather(g) => layout::gather(op, g, inputs, &mut outputs[0])?,
        Op::Dropout(d) => elementwise::dropout(d, inputs, &mut outputs[0]),
        Op::Loss(l) => statistics::loss(l, inputs, &mut outputs[0])?,
    }
    Ok(())
}

/// Runs the naive reference of an operator.
pub(crate) fn by_reference(op: &Op, inputs: &[View], output: &mut Out) {
    let array = |(i, v): (usize, &View)| {
        if !op.reads(i) {
            return Array::zeros(v.shape());
        }
        let values = match v.t.dtype {
            DType::I64 => v.values::<i64>().iter().map(|&x| x as f64).collect(),
            _ => v.f32().iter().map(|&x| f64::from(x)).collect(),
        };
        Array::new(v.shape(), values)
    };
    let arrays: Vec<Array> = inputs.iter().enumerate().map(array).collect();
    let refs: Vec<&Array> = arrays.iter().collect();
    let result = op
        .reference(&refs, std::slice::from_ref(output.1))
        .swap_remove(0);
    let result: Tensor = result.to_tensor(output.1.dtype);
    match result.data() {
        Data::I64(v) => out::<i64>(output).copy_from_slice(v),
        Data::F32(v) => out::<f32>(output).copy_from_slice(v),
        _ => unreachable!("the executor computes in f32 and i64"),
    }
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
