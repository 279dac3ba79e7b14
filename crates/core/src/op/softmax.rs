//! Softmax and log-softmax along one axis, and their gradients.

use super::{Family, Type, around, axis_index, floats, same_shape};
use crate::Result;
use crate::reference::Array;

/// `y = exp(x) / Σ exp(x)` along `axis`, or its logarithm; with `grad` `(y, dy) → dx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The axis that sums to one; negative counts from the end.
    pub axis: i64,
    /// Take the natural logarithm.
    pub log: bool,
    /// Compute the gradient instead.
    pub grad: bool,
}

impl Family for Softmax {
    fn name(&self) -> &'static str {
        match (self.log, self.grad) {
            (false, false) => "Softmax",
            (true, false) => "LogSoftmax",
            (false, true) => "SoftmaxGrad",
            (true, true) => "LogSoftmaxGrad",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string())]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = 1 + usize::from(self.grad);
        floats(inputs, n, n)?;
        axis_index(self.axis, inputs[0].shape.len())?;
        if self.grad {
            same_shape("dy", &inputs[1].shape, &inputs[0].shape)?;
        }
        Ok(vec![inputs[0].clone()])
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        2 * inputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let shape = &outputs[0].shape;
        let axis = axis_index(self.axis, shape.len()).expect("axis passed the shape rule");
        let (outer, len, inner) = around(shape, axis);
        let mut out = Array::zeros(shape);
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let at: Vec<usize> = (0..len).map(|a| (o * len + a) * inner + i).collect();
            let row = |k: usize| {
                at.iter()
                    .map(|&j| inputs[k].values[j])
                    .collect::<Vec<f64>>()
            };
            let result = if self.grad {
                self.grad_row(&row(0), &row(1))
            } else {
                self.row(&row(0))
            };
            at.iter().zip(result).for_each(|(&j, v)| out.values[j] = v);
        }
        vec![out]
    }
}

impl Softmax {
    fn row(&self, x: &[f64]) -> Vec<f64> {
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
        let value = |v: &f64| {
            if self.log {
                v - max - sum.ln()
            } else {
                (v - max).exp() / sum
            }
        };
        x.iter().map(value).collect()
    }

    fn grad_row(&self, y: &[f64], dy: &[f64]) -> Vec<f64> {
        if self.log {
            let sum: f64 = dy.iter().sum();
            return y.iter().zip(dy).map(|(y, d)| d - y.exp() * sum).collect();
        }
        let dot: f64 = y.iter().zip(dy).map(|(y, d)| y * d).sum();
        y.iter().zip(dy).map(|(y, d)| y * (d - dot)).collect()
    }
}
