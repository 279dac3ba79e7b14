//! Operators: what a node of a [`Graph`](crate::Graph) means.
//!
//! [`Op`] is a closed enum of families. Each family has a file with its attributes, its shape rule,
//! its cost and a naive reference that computes in `f64`; derivatives are operators of the same
//! family, so that a gradient is a Graph like any other. Speed, gradients and file formats are
//! other crates' business.

pub mod control;
pub mod conv;
pub mod cumulative;
pub mod dropout;
pub mod elementwise;
pub mod find;
pub mod gather;
pub mod index;
pub mod late;
pub mod layout;
pub mod linear;
pub mod logic;
pub mod loss;
pub mod norm;
pub mod pool;
pub mod quantize;
pub mod recurrent;
pub mod reduce;
pub mod resample;
pub mod softmax;
pub mod window;

use crate::reference::Array;
use crate::tensor::element_count;
use crate::{DType, Error, ErrorKind, Result, Tensor};

pub use control::Control;
pub use conv::{Conv, ConvRole};
pub use cumulative::Cumulative;
pub use dropout::Dropout;
pub use elementwise::{Binary, Unary};
pub use find::Find;
pub use gather::Gather;
pub use index::Index;
pub use late::Late;
pub use layout::Layout;
pub use linear::{Dense, MatMul};
pub use logic::{Cast, Logic, Select};
pub use loss::{Loss, LossKind};
pub use norm::{BatchNorm, NormRole};
pub use pool::{Pool, PoolKind};
pub use quantize::{Quantize, QuantizeRole};
pub use recurrent::Recurrent;
pub use reduce::{Reduce, ReduceKind};
pub use resample::Resample;
pub use softmax::Softmax;
pub use window::Window;

/// Most bytes of one value, as in protocol buffers: what is larger is a mistake or malice.
const MAX_VALUE_BYTES: usize = 1 << 31;

/// Element type and concrete shape of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Axis sizes, outermost first.
    pub shape: Vec<usize>,
}

impl Type {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: &[usize]) -> Type {
        Type {
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes the values take in memory.
    pub fn size_bytes(&self) -> usize {
        self.len() * self.dtype.size_bytes()
    }
}

/// What one evaluation of an operator costs, before any cleverness of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds; elementwise work counts one per output element.
    pub macs: u64,
    /// Bytes read and written once each: inputs plus outputs.
    pub bytes: u64,
}

/// What a node does. The variants are families; see their files.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Fully connected layer.
    Dense(Dense),
    /// Matrix product, batched and broadcast.
    MatMul(MatMul),
    /// 2-D convolution and its two gradients.
    Conv(Conv),
    /// Max and average pooling, windowed or global, and their gradients.
    Pool(Pool),
    /// Batch normalisation: inference, training, gradient.
    BatchNorm(BatchNorm),
    /// Elementwise function of one value, or its gradient.
    Unary(Unary),
    /// Elementwise function of two values with NumPy broadcasting.
    Binary(Binary),
    /// Softmax or log-softmax along an axis, or their gradients.
    Softmax(Softmax),
    /// Reduction along axes, or its gradient.
    Reduce(Reduce),
    /// Reshape, transpose, slice, concatenation, padding.
    Layout(Layout),
    /// Rows by index (embedding), or the gradient with respect to the table.
    Gather(Gather),
    /// Dropout: identity at inference, a random mask in training.
    Dropout(Dropout),
    /// Training losses and their gradients.
    Loss(Loss),
    /// Values converted to another element type.
    Cast(Cast),
    /// Comparisons, Boolean and bitwise operators.
    Logic(Logic),
    /// One of two values, by a condition.
    Select(Select),
    /// Elements by index, elements put at an index, the largest with their indices.
    Index(Index),
    /// Running sums and products.
    Cumulative(Cumulative),
    /// Recurrent layers: LSTM, GRU, plain.
    Recurrent(Recurrent),
    /// Images at other sizes or places.
    Resample(Resample),
    /// Windows of any number of axes, for pooling beyond [`Op::Pool`].
    Window(Window),
    /// An operator whose attributes are values: it becomes another once they are known.
    Late(Late),
    /// Numbers as integers and a scale, and back.
    Quantize(Quantize),
    /// Operators that find out how many values they give.
    Find(Find),
    /// Choices and loops over graphs.
    Control(Control),
}

/// What every family states about its operators.
pub(crate) trait Family {
    /// Name in dumps; the ONNX name where there is one.
    fn name(&self) -> &'static str;
    /// Attributes in dumps, those at their default left out.
    fn attributes(&self) -> Vec<(&'static str, String)>;
    /// Shape rule: output types from input types.
    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>>;
    /// Multiply-adds of one evaluation.
    fn macs(&self, inputs: &[Type], outputs: &[Type]) -> u64;
    /// Element types of the outputs, from those of the inputs, as far as a shape does not matter.
    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        vec![inputs[0]]
    }
    /// Naive evaluation in `f64`, for families that compute with floats. The types have passed
    /// `infer`.
    fn reference(&self, _inputs: &[&Array], _outputs: &[Type]) -> Vec<Array> {
        unreachable!("{} evaluates tensors", self.name())
    }
    /// Naive evaluation of tensors: floats in `f64` and rounded once, integers exactly, results
    /// that do not fit lose their upper bits. The types have passed `infer`.
    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let arrays: Vec<Array> = inputs.iter().map(|&t| Array::from(t)).collect();
        let results = self.reference(&arrays.iter().collect::<Vec<_>>(), outputs);
        let typed = results.iter().zip(outputs);
        Ok(typed.map(|(a, t)| a.to_tensor(t.dtype)).collect())
    }
    /// Whether input `idx` is read for its values; otherwise only its shape matters.
    fn reads(&self, _idx: usize) -> bool {
        true
    }
}

impl Op {
    fn family(&self) -> &dyn Family {
        match self {
            Op::Dense(f) => f,
            Op::MatMul(f) => f,
            Op::Conv(f) => f,
            Op::Pool(f) => f,
            Op::BatchNorm(f) => f,
            Op::Unary(f) => f,
            Op::Binary(f) => f,
            Op::Softmax(f) => f,
            Op::Reduce(f) => f,
            Op::Layout(f) => f,
            Op::Gather(f) => f,
            Op::Dropout(f) => f,
            Op::Loss(f) => f,
            Op::Cast(f) => f,
            Op::Logic(f) => f,
            Op::Select(f) => f,
            Op::Index(f) => f,
            Op::Cumulative(f) => f,
            Op::Recurrent(f) => f,
            Op::Resample(f) => f,
            Op::Window(f) => f,
            Op::Late(f) => f,
            Op::Quantize(f) => f,
            Op::Find(f) => f,
            Op::Control(f) => f,
        }
    }

    /// The operator that gives what it reads.
    pub fn identity() -> Op {
        Op::Unary(Unary::new(elementwise::UnaryKind::Identity))
    }

    /// Name in dumps; the ONNX name where there is one.
    pub fn name(&self) -> &'static str {
        self.family().name()
    }

    /// Attributes as text for dumps, those at their default left out.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        self.family().attributes()
    }

    /// Output types from input types; errs when the inputs do not fit the operator.
    pub fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let outputs = self.family().infer(inputs)?;
        for t in &outputs {
            let bytes = element_count(&t.shape)?.checked_mul(t.dtype.size_bytes());
            if bytes.is_none_or(|b| b > MAX_VALUE_BYTES) {
                let message = format!("the result {:?} is too large", t.shape);
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
        Ok(outputs)
    }

    /// Multiply-adds and bytes of one evaluation at these types.
    pub fn cost(&self, inputs: &[Type], outputs: &[Type]) -> Cost {
        let bytes = inputs
            .iter()
            .enumerate()
            .filter(|(i, _)| self.reads(*i))
            .map(|(_, t)| t);
        Cost {
            macs: self.family().macs(inputs, outputs),
            bytes: bytes.chain(outputs).map(|t| t.size_bytes() as u64).sum(),
        }
    }

    /// Naive evaluation, the twin that every kernel is tested against: floats in `f64` and rounded
    /// once, integers exactly. Errs when a value is not allowed, such as an index out of range.
    ///
    /// `outputs` are the types that [`Op::infer`] gives. Operators whose shapes are values
    /// ([`Op::Find`]) are given none.
    pub fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        self.family().evaluate(inputs, outputs)
    }

    /// Element types of the outputs, from those of the inputs.
    pub fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        self.family().dtypes(inputs)
    }

    /// Whether the shapes of its outputs depend on the values of its inputs.
    pub fn is_late(&self) -> bool {
        matches!(self, Op::Late(_) | Op::Find(_) | Op::Control(_))
    }

    /// Whether the values of input `idx` are read; otherwise only its shape matters, and the
    /// executor need not keep it.
    pub fn reads(&self, idx: usize) -> bool {
        self.family().reads(idx)
    }
}

/// Checks the number of inputs and that they are all floats of one type; returns that type.
pub(crate) fn floats(inputs: &[Type], min: usize, max: usize) -> Result<DType> {
    count(inputs, min, max)?;
    let dtype = inputs[0].dtype;
    for (i, t) in inputs.iter().enumerate() {
        if !t.dtype.is_float() || t.dtype != dtype {
            return Err(Error::dtype(format!(
                "input {i} is {}, expected {}",
                t.dtype,
                {
                    if dtype.is_float() {
                        dtype.name()
                    } else {
                        "a float"
                    }
                }
            )));
        }
    }
    Ok(dtype)
}

/// Checks the number of inputs.
pub(crate) fn count(inputs: &[Type], min: usize, max: usize) -> Result<()> {
    check_count(inputs.len(), min, max)
}

/// An error where `found` inputs are too few or too many.
pub(crate) fn check_count(found: usize, min: usize, max: usize) -> Result<()> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    let expected = if min == max {
        format!("{min}")
    } else {
        format!("{min} to {max}")
    };
    Err(Error::new(
        ErrorKind::Structure,
        format!("expected {expected} inputs, found {found}"),
    ))
}

/// Checks that `found` is `expected`, naming what it is.
pub(crate) fn same_shape(what: &str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{what}: expected shape {expected:?}, found {found:?}"
    )))
}

/// Checks the rank of a shape, naming what it is.
pub(crate) fn rank(what: &str, shape: &[usize], expected: usize) -> Result<()> {
    if shape.len() == expected {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{what}: expected {expected} axes, found shape {shape:?}"
    )))
}

/// Turns an axis that may count from the end into an index below `rank`.
pub(crate) fn axis_index(axis: i64, rank: usize) -> Result<usize> {
    let index = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&index) {
        return Ok(index as usize);
    }
    Err(Error::attribute(format!(
        "axis {axis} is out of range for {rank} axes"
    )))
}

/// A shape seen as `[outer, axis, inner]` around `axis`.
pub fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    )
}
