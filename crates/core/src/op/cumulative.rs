//! Running sums and products along an axis.

use super::{Family, Type, around, axis_index, count};
use crate::reference::Array;
use crate::{DType, Data, Error, Result, Tensor};

/// `y[i]` is the sum or product of `x[0], …, x[i]` along `axis` (ONNX `CumSum`, `CumProd`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cumulative {
    /// Multiply instead of adding.
    pub product: bool,
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Leave out the element itself.
    pub exclusive: bool,
    /// Go from the end to the start.
    pub reverse: bool,
}

impl Cumulative {
    fn run<T: Copy>(&self, shape: &[usize], x: &[T], one: T, f: impl Fn(T, T) -> T) -> Vec<T> {
        let axis = axis_index(self.axis, shape.len()).expect("axis passed the shape rule");
        let (outer, len, inner) = around(shape, axis);
        let mut y = x.to_vec();
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let mut total = one;
            for j in 0..len {
                let j = if self.reverse { len - 1 - j } else { j };
                let at = (o * len + j) * inner + i;
                let next = f(total, x[at]);
                y[at] = if self.exclusive { total } else { next };
                total = next;
            }
        }
        y
    }
}

impl Family for Cumulative {
    fn name(&self) -> &'static str {
        if self.product { "CumProd" } else { "CumSum" }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut a = vec![("axis", self.axis.to_string())];
        for (name, on) in [("exclusive", self.exclusive), ("reverse", self.reverse)] {
            if on {
                a.push((name, "true".to_owned()));
            }
        }
        a
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 1, 1)?;
        axis_index(self.axis, inputs[0].shape.len())?;
        if inputs[0].dtype == DType::Bool {
            return Err(Error::dtype("a running sum of bool"));
        }
        Ok(vec![inputs[0].clone()])
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        inputs[0].len() as u64
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        let data = if x.dtype().is_float() {
            let v = Array::from(x).values;
            let y = match self.product {
                true => self.run(x.shape(), &v, 1.0, |a, b| a * b),
                false => self.run(x.shape(), &v, 0.0, |a, b| a + b),
            };
            Data::F64(y).cast(outputs[0].dtype)
        } else {
            let v = x.data().integers()?;
            let y = match self.product {
                true => self.run(x.shape(), &v, 1, i128::wrapping_mul),
                false => self.run(x.shape(), &v, 0, i128::wrapping_add),
            };
            Data::from_integers(x.dtype(), &y)
        };
        Ok(vec![Tensor::from_data(x.shape(), data)?])
    }
}
