//! Rows of a table by index: embeddings, codebooks, and the gradient with respect to the table.

use super::{Family, Type, around, axis_index, count};
use crate::reference::Array;
use crate::{DType, Error, Result};

/// `(table, indices) → y`, or with `grad` `(dy, indices, table) → dtable`.
///
/// The axis `axis` of the table is replaced by the axes of `indices` (`i64` or `u8`), as in ONNX
/// `Gather`. An index out of range is an error when the node runs. The gradient sums the rows of
/// `dy` that came from the same row of the table; of the table only the shape is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The indexed axis; negative counts from the end.
    pub axis: i64,
    /// Compute the gradient instead.
    pub grad: bool,
}

impl Gather {
    fn gathered(&self, table: &Type, indices: &Type) -> Result<Vec<usize>> {
        if !matches!(indices.dtype, DType::I64 | DType::U8) {
            return Err(Error::dtype(format!(
                "indices are {}, expected i64 or u8",
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
                assert!(
                    index >= 0.0 && (index as usize) < len,
                    "index {index} of {len} rows"
                );
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

    fn reads(&self, idx: usize) -> bool {
        !self.grad || idx != 2
    }
}
