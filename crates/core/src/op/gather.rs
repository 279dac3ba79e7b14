//! Rows of a table by index: embeddings, codebooks, and the gradient with respect to the table.

use super::{Family, Type, around, axis_index, count};
use crate::reference::Array;
use crate::{Error, Result, Tensor};

/// `(table, indices) → y`, or with `grad` `(dy, indices, table) → dtable`.
///
/// The axis `axis` of the table is replaced by the axes of `indices` (integers), as in ONNX
/// `Gather`. A negative index counts from the end; one out of range is an error when the node runs. The gradient sums the rows of
/// `dy` that came from the same row of the table; of the table only the shape is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The indexed axis; negative counts from the end.
    pub axis: i64,
    /// Compute the gradient instead.
    pub grad: bool,
}

impl Gather {
    /// The rows that `indices` name among `len`; errs when one is out of range.
    pub fn places(&self, indices: &Tensor, len: usize) -> Result<Vec<usize>> {
        let place = |(at, &index): (usize, &i64)| {
            let row = if index < 0 { index + len as i64 } else { index };
            usize::try_from(row)
                .ok()
                .filter(|&r| r < len)
                .ok_or_else(|| {
                    Error::value(format!("index {index} at position {at} is not in 0..{len}"))
                })
        };
        indices.to_i64s()?.iter().enumerate().map(place).collect()
    }

    fn gathered(&self, table: &Type, indices: &Type) -> Result<Vec<usize>> {
        if !indices.dtype.is_integer() {
            return Err(Error::dtype(format!(
                "indices are {}, expected integers",
                indices.dtype
            )));
        }
        let axis = axis_index(self.axis, table.shape.len())?;
        let mut shape = table.shape[..axis].to_vec();
        shape.extend(&indices.shape);
        shape.extend(&table.shape[axis + 1..]);
        Ok(shape)
    }
}

impl Family for Gather {
    fn name(&self) -> &'static str {
        if self.grad { "GatherGrad" } else { "Gather" }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string())]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        if !self.grad {
            count(inputs, 2, 2)?;
            let shape = self.gathered(&inputs[0], &inputs[1])?;
            return Ok(vec![Type::new(inputs[0].dtype, &shape)]);
        }
        count(inputs, 3, 3)?;
        super::same_shape(
            "dy",
            &inputs[0].shape,
            &self.gathered(&inputs[2], &inputs[1])?,
        )?;
        Ok(vec![inputs[2].clone()])
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        if self.grad { inputs[0].len() as u64 } else { 0 }
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (indices, table) = (inputs[1], if self.grad { inputs[2] } else { inputs[0] });
        let axis = axis_index(self.axis, table.shape.len()).expect("axis passed the shape rule");
        let (outer, len, inner) = around(&table.shape, axis);
        let mut out = Array::zeros(&outputs[0].shape);
        let n = indices.values.len();
        for o in 0..outer {
            for (k, &index) in indices.values.iter().enumerate() {
                let index = if index < 0.0 {
                    index + len as f64
                } else {
                    index
                };
                for i in 0..inner {
                    let (at, row) = (
                        (o * n + k) * inner + i,
                        (o * len + index as usize) * inner + i,
                    );
                    if self.grad {
                        out.values[row] += inputs[0].values[at];
                    } else {
                        out.values[at] = table.values[row];
                    }
                }
            }
        }
        vec![out]
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let table = if self.grad { inputs[2] } else { inputs[0] };
        let axis = axis_index(self.axis, table.shape().len())?;
        let (outer, len, inner) = around(table.shape(), axis);
        let indices = self.places(inputs[1], len)?;
        if self.grad {
            let arrays: Vec<Array> = inputs.iter().map(|&t| Array::from(t)).collect();
            let result = self.reference(&arrays.iter().collect::<Vec<_>>(), outputs);
            return Ok(vec![result[0].to_tensor(outputs[0].dtype)]);
        }
        let rows = (0..outer).flat_map(|o| indices.iter().map(move |&k| (o * len + k) * inner));
        let data = super::index::take(table.data(), rows.flat_map(|start| start..start + inner));
        Ok(vec![Tensor::from_data(&outputs[0].shape, data)?])
    }

    fn reads(&self, idx: usize) -> bool {
        !self.grad || idx != 2
    }
}
