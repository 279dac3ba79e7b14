//! Fully connected layers and matrix products.

use super::{Family, Type, floats, rank, same_shape};
use crate::elements::{broadcast_index, broadcast_shape};
use crate::reference::Array;
use crate::{Error, Result};

/// Fully connected layer `y = x wᵀ + b`.
///
/// `x: [n, inputs]`, `w: [outputs, inputs]`, optional `b: [outputs]`, `y: [n, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense;

impl Family for Dense {
    fn name(&self) -> &'static str {
        "Dense"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let dtype = floats(inputs, 2, 3)?;
        let (x, w) = (&inputs[0].shape, &inputs[1].shape);
        rank("x", x, 2)?;
        rank("w", w, 2)?;
        same_shape("w", w, &[w[0], x[1]])?;
        if let Some(b) = inputs.get(2) {
            same_shape("b", &b.shape, &[w[0]])?;
        }
        Ok(vec![Type::new(dtype, &[x[0], w[0]])])
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        inputs[0].shape[0] as u64 * inputs[1].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (x, w) = (inputs[0], inputs[1]);
        let (k, m) = (x.shape[1], w.shape[0]);
        let y = (0..outputs[0].len()).map(|i| {
            let (row, col) = (i / m, i % m);
            let dot: f64 = (0..k)
                .map(|j| x.values[row * k + j] * w.values[col * k + j])
                .sum();
            dot + inputs.get(2).map_or(0.0, |b| b.values[col])
        });
        vec![Array::new(&outputs[0].shape, y.collect())]
    }
}

/// Matrix product over the last two axes, batched with broadcasting over the others (as NumPy's
/// `matmul` for two or more axes), each operand optionally transposed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatMul {
    /// Use the first operand with its last two axes swapped.
    pub transpose_a: bool,
    /// Use the second operand with its last two axes swapped.
    pub transpose_b: bool,
}

/// The sizes of one matrix product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMulSizes {
    /// Broadcast shape of the leading axes.
    pub batch: Vec<usize>,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the summed axis.
    pub k: usize,
}

impl MatMul {
    /// Sizes of the product of shapes `a` and `b`; errs when they do not fit.
    pub fn sizes(&self, a: &[usize], b: &[usize]) -> Result<MatMulSizes> {
        if a.len() < 2 || b.len() < 2 {
            return Err(Error::shape(format!(
                "matrix product of shapes {a:?} and {b:?}"
            )));
        }
        let (batch_a, last_a) = a.split_at(a.len() - 2);
        let (batch_b, last_b) = b.split_at(b.len() - 2);
        let (m, k) = swap_if(self.transpose_a, last_a);
        let (k_b, n) = swap_if(self.transpose_b, last_b);
        if k != k_b {
            return Err(Error::shape(format!(
                "matrix product of shapes {a:?} and {b:?}: summed axes are {k} and {k_b} long"
            )));
        }
        Ok(MatMulSizes {
            batch: broadcast_shape(batch_a, batch_b)?,
            m,
            n,
            k,
        })
    }
}

fn swap_if(swap: bool, last: &[usize]) -> (usize, usize) {
    if swap {
        (last[1], last[0])
    } else {
        (last[0], last[1])
    }
}

impl Family for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("transpose_a", self.transpose_a),
            ("transpose_b", self.transpose_b),
        ];
        flags
            .into_iter()
            .filter(|f| f.1)
            .map(|f| (f.0, "true".to_owned()))
            .collect()
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let dtype = floats(inputs, 2, 2)?;
        let s = self.sizes(&inputs[0].shape, &inputs[1].shape)?;
        let mut shape = s.batch;
        shape.extend([s.m, s.n]);
        Ok(vec![Type::new(dtype, &shape)])
    }

    fn macs(&self, inputs: &[Type], outputs: &[Type]) -> u64 {
        let a = &inputs[0].shape;
        let k = if self.transpose_a {
            a[a.len() - 2]
        } else {
            a[a.len() - 1]
        };
        outputs[0].len() as u64 * k as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (a, b) = (inputs[0], inputs[1]);
        let s = self
            .sizes(&a.shape, &b.shape)
            .expect("shapes passed the shape rule");
        let (batch_a, batch_b) = (&a.shape[..a.shape.len() - 2], &b.shape[..b.shape.len() - 2]);
        let mut y = Vec::with_capacity(outputs[0].len());
        for i in 0..s.batch.iter().product() {
            let offset_a = broadcast_index(i, &s.batch, batch_a) * s.m * s.k;
            let offset_b = broadcast_index(i, &s.batch, batch_b) * s.k * s.n;
            for row in 0..s.m {
                for col in 0..s.n {
                    let term = |j: usize| {
                        let ia = if self.transpose_a {
                            j * s.m + row
                        } else {
                            row * s.k + j
                        };
                        let ib = if self.transpose_b {
                            col * s.k + j
                        } else {
                            j * s.n + col
                        };
                        a.values[offset_a + ia] * b.values[offset_b + ib]
                    };
                    y.push((0..s.k).map(term).sum());
                }
            }
        }
        vec![Array::new(&outputs[0].shape, y)]
    }
}
