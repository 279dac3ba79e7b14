//! The slow twin of every executor: evaluates a [`Graph`] node by node in `f64`.

use crate::op::late::MAX_CONSTANT;
use crate::op::late::{Known, Resolved};
use crate::op::{Op, Type};
use crate::{DType, Data, Error, Graph, Result, Tensor};

/// Values in `f64` with a shape: what references compute on. Integers are exact below 2^53.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Axis sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f64>,
}

impl Array {
    /// Wraps values.
    ///
    /// # Panics
    /// When the counts differ.
    pub fn new(shape: &[usize], values: Vec<f64>) -> Array {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "shape {shape:?}"
        );
        Array {
            shape: shape.to_vec(),
            values,
        }
    }

    /// Zeros.
    pub fn zeros(shape: &[usize]) -> Array {
        Array {
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        }
    }

    /// The values as a tensor of `dtype`.
    pub fn to_tensor(&self, dtype: DType) -> Tensor {
        let t = Tensor::new(&self.shape, self.values.clone());
        t.expect("an array has as many values as its shape")
            .cast(dtype)
    }
}

impl From<&Tensor> for Array {
    fn from(t: &Tensor) -> Array {
        let Data::F64(values) = t.cast(DType::F64).into_data() else {
            unreachable!("cast to f64")
        };
        Array::new(t.shape(), values)
    }
}

/// Outputs of `graph` for `inputs`, computed in `f64` throughout, whatever the declared float types.
/// Errs when the inputs do not have the declared shapes.
pub fn evaluate(graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    let declared = graph.inputs().iter().zip(inputs);
    let tensors: Vec<Tensor> = declared.map(|(d, a)| a.to_tensor(wide(d.dtype))).collect();
    let results = walk(graph, &tensors.iter().collect::<Vec<_>>(), true)?;
    Ok(results.iter().map(Array::from).collect())
}

/// Outputs of `graph` for `inputs` of the declared types: each node computes floats in `f64` and
/// rounds them to its type, integers are exact.
pub fn run(graph: &Graph, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    walk(graph, inputs, false)
}

fn wide(dtype: DType) -> DType {
    if dtype.is_float() { DType::F64 } else { dtype }
}

/// Evaluates node by node, settling late operators with the values that are there.
fn walk(graph: &Graph, inputs: &[&Tensor], in_f64: bool) -> Result<Vec<Tensor>> {
    let of = |t: &Tensor, dtype: DType| Type::new(dtype, t.shape());
    if inputs.len() != graph.inputs().len() {
        return Err(Error::shape(format!(
            "expected {} inputs, found {}",
            graph.inputs().len(),
            inputs.len()
        )));
    }
    let declared = graph.inputs().iter().zip(inputs);
    let types: Vec<Type> = declared
        .map(|(d, t)| of(t, if in_f64 { d.dtype } else { t.dtype() }))
        .collect();
    graph.check_inputs(&types)?;
    let kept = |t: Tensor| if in_f64 { t.cast(wide(t.dtype())) } else { t };
    let mut values: Vec<Option<Tensor>> = vec![None; graph.n_values()];
    for (d, &t) in graph.inputs().iter().zip(inputs) {
        values[d.value.index()] = Some(t.clone());
    }
    for p in graph.parameters() {
        values[p.value.index()] = Some(kept(p.weight.tensor().into_owned()));
    }
    for node in graph.nodes() {
        let get = |v: &crate::ValueId| values[v.index()].as_ref().expect("in running order");
        let args: Vec<&Tensor> = node.inputs.iter().map(get).collect();
        let results = apply(&node.op, &args, in_f64).map_err(|e| e.at(&node.name))?;
        for (v, out) in node.outputs.iter().zip(results) {
            values[v.index()] = Some(out);
        }
    }
    let take = |v: &crate::ValueId| values[v.index()].clone().expect("outputs are defined");
    Ok(graph.outputs().iter().map(take).collect())
}

/// One operator on tensors, late ones included.
fn apply(op: &Op, args: &[&Tensor], in_f64: bool) -> Result<Vec<Tensor>> {
    let types: Vec<Type> = args
        .iter()
        .map(|t| Type::new(t.dtype(), t.shape()))
        .collect();
    let plain = |op: &Op, args: &[&Tensor]| -> Result<Vec<Tensor>> {
        let types: Vec<Type> = args
            .iter()
            .map(|t| Type::new(t.dtype(), t.shape()))
            .collect();
        let mut outputs = op.infer(&types)?;
        if in_f64 {
            outputs.iter_mut().for_each(|t| t.dtype = wide(t.dtype));
        }
        op.evaluate(args, &outputs)
    };
    match op {
        Op::Find(_) | Op::Control(_) => op.evaluate(args, &[]),
        Op::Late(late) => {
            let known = types.iter().zip(args);
            let known: Vec<Known> = known
                .map(|(t, v)| Known {
                    t: Some(t),
                    value: Some(v),
                })
                .collect();
            match late
                .resolve(&known, MAX_CONSTANT)?
                .expect("everything is known")
            {
                Resolved::Constant(t) => Ok(vec![if in_f64 { t.cast(wide(t.dtype())) } else { t }]),
                Resolved::Chain(ops, read) => {
                    let first: Vec<&Tensor> = read.iter().map(|&i| args[i]).collect();
                    let mut results = vec![first[0].clone()];
                    for (i, op) in ops.iter().enumerate() {
                        results = match i {
                            0 => plain(op, &first)?,
                            _ => plain(op, &[&results[0]])?,
                        };
                    }
                    Ok(results)
                }
            }
        }
        op => plain(op, args),
    }
}
