//! Fully connected layers and matrix products.

use super::{Family, Type, floats, rank, same_shape};
use crate::elements::{broadcast_index, broadcast_shape};
use crate::reference::Array;
use crate::{DType, Data, Error, Result, Tensor};

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
/// `matmul`: an operand with one axis is a row on the left, a column on the right, and the result
/// has no such axis), each operand optionally transposed first. Integers are summed exactly.
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
        let vector = (a.len() == 1 && self.transpose_a) || (b.len() == 1 && self.transpose_b);
        if a.is_empty() || b.is_empty() || vector {
            return Err(Error::shape(format!(
                "matrix product of shapes {a:?} and {b:?}"
            )));
        }
        let (row, column) = ([1, a[0]], [b[0], 1]);
        let a = if a.len() == 1 { &row } else { a };
        let b = if b.len() == 1 { &column } else { b };
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

/// The leading axes of an operand, over which products are repeated.
pub fn batch_of(shape: &[usize]) -> &[usize] {
    &shape[..shape.len().saturating_sub(2)]
}

impl MatMul {
    /// The product of integers, whose sums do not overflow: rows of `b` are added to rows of `y`.
    fn integers(&self, inputs: &[&Tensor], s: &MatMulSizes) -> Result<Vec<i64>> {
        let (a, b) = (
            inputs[0].data().cast(DType::I64),
            inputs[1].data().cast(DType::I64),
        );
        let (Data::I64(a), Data::I64(b)) = (a, b) else {
            unreachable!("cast to i64")
        };
        let n: usize = s.batch.iter().product();
        let mut y = vec![0i64; n * s.m * s.n];
        for i in 0..n {
            let of = |t: &Tensor| broadcast_index(i, &s.batch, batch_of(t.shape()));
            let a = &a[of(inputs[0]) * s.m * s.k..];
            let b = &b[of(inputs[1]) * s.k * s.n..];
            for (row, y) in y[i * s.m * s.n..][..s.m * s.n]
                .chunks_exact_mut(s.n.max(1))
                .enumerate()
            {
                for j in 0..s.k {
                    let left = a[if self.transpose_a {
                        j * s.m + row
                    } else {
                        row * s.k + j
                    }];
                    if self.transpose_b {
                        let terms = y.iter_mut().enumerate();
                        terms.for_each(|(c, y)| {
                            *y = y.wrapping_add(left.wrapping_mul(b[c * s.k + j]))
                        });
                    } else {
                        let terms = y.iter_mut().zip(&b[j * s.n..]);
                        terms.for_each(|(y, &b)| *y = y.wrapping_add(left.wrapping_mul(b)));
                    }
                }
            }
        }
        Ok(y)
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
        super::count(inputs, 2, 2)?;
        let dtype = inputs[0].dtype;
        if !dtype.is_integer() || inputs[1].dtype != dtype {
            floats(inputs, 2, 2)?;
        }
        let s = self.sizes(&inputs[0].shape, &inputs[1].shape)?;
        let mut shape = s.batch;
        shape.extend((inputs[0].shape.len() > 1).then_some(s.m));
        shape.extend((inputs[1].shape.len() > 1).then_some(s.n));
        Ok(vec![Type::new(dtype, &shape)])
    }

    fn macs(&self, inputs: &[Type], outputs: &[Type]) -> u64 {
        let a = &inputs[0].shape;
        let k = if self.transpose_a && a.len() > 1 {
            a[a.len() - 2]
        } else {
            a[a.len() - 1]
        };
        outputs[0].len() as u64 * k as u64
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        if outputs[0].dtype.is_float() {
            let (a, b) = (Array::from(inputs[0]), Array::from(inputs[1]));
            return Ok(vec![
                self.reference(&[&a, &b], outputs)[0].to_tensor(outputs[0].dtype),
            ]);
        }
        let s = self.sizes(inputs[0].shape(), inputs[1].shape())?;
        // Sums of 64 bits wrap around as those of fewer bits do.
        let y = Data::I64(self.integers(inputs, &s)?).cast(outputs[0].dtype);
        Ok(vec![Tensor::from_data(&outputs[0].shape, y)?])
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (a, b) = (inputs[0], inputs[1]);
        let s = self
            .sizes(&a.shape, &b.shape)
            .expect("shapes passed the shape rule");
        let (batch_a, batch_b) = (batch_of(&a.shape), batch_of(&b.shape));
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
