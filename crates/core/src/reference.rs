//! The slow twin of every executor: evaluates a [`Graph`] node by node in `f64`.

use crate::op::Type;
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
    if inputs.len() != graph.inputs().len() {
        return Err(Error::shape(format!(
            "expected {} inputs, found {}",
            graph.inputs().len(),
            inputs.len()
        )));
    }
    let declared = graph.inputs().iter().zip(inputs);
    let types: Vec<Type> = declared
        .map(|(d, a)| Type::new(d.dtype, &a.shape))
        .collect();
    let types = graph.infer(&types)?;
    let mut values: Vec<Option<Array>> = vec![None; graph.n_values()];
    for (d, a) in graph.inputs().iter().zip(inputs) {
        values[d.value.index()] = Some(a.clone());
    }
    for p in graph.parameters() {
        values[p.value.index()] = Some(Array::from(p.weight.tensor().as_ref()));
    }
    for node in graph.nodes() {
        let get = |v: &crate::ValueId| values[v.index()].as_ref().expect("in running order");
        let args: Vec<&Array> = node.inputs.iter().map(get).collect();
        let outs: Vec<Type> = node
            .outputs
            .iter()
            .map(|v| types[v.index()].clone())
            .collect();
        for (v, out) in node.outputs.iter().zip(node.op.reference(&args, &outs)) {
            values[v.index()] = Some(out);
        }
    }
    let take = |v: &crate::ValueId| values[v.index()].clone().expect("outputs are defined");
    Ok(graph.outputs().iter().map(take).collect())
}
