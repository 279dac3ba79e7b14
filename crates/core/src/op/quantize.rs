//! Numbers as integers of few bits and a scale: `q` stands for `(q - zero_point) scale` (Jacob et al.
//! 2018, equation 1; ONNX `QuantizeLinear` and `DequantizeLinear`).
//!
//! A network that is quantized is one whose layers read and write through these two; an executor that
//! has kernels for integers computes in integers what stands between them.

use super::{Family, Type, axis_index, count, same_shape};
use crate::{DType, Data, Error, Result, Tensor};

/// From numbers to integers, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantizeRole {
    /// `(x, scale, zero_point) → q`: `x / scale` rounded, halves to even, plus `zero_point`, and the
    /// nearest of the integers there are. `q` has the type of `zero_point`.
    Quantize,
    /// `(q, scale, zero_point) → x = (q - zero_point) scale`. `x` has the type of `scale`.
    Dequantize,
}

/// Quantization or its opposite. `scale` and `zero_point` have one element, or one for each index along
/// `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantize {
    /// Which way.
    pub role: QuantizeRole,
    /// The axis along which scales differ, where there are several; negative counts from the end.
    pub axis: i64,
}

impl Quantize {
    /// Number of neighbouring elements that share a scale, and number of scales.
    fn runs(&self, x: &[usize], scales: usize) -> Result<(usize, usize)> {
        if scales == 1 {
            return Ok((x.iter().product(), 1));
        }
        let axis = axis_index(self.axis, x.len())?;
        Ok((x[axis + 1..].iter().product(), scales))
    }
}

impl Family for Quantize {
    fn name(&self) -> &'static str {
        match self.role {
            QuantizeRole::Quantize => "QuantizeLinear",
            QuantizeRole::Dequantize => "DequantizeLinear",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string())]
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        match self.role {
            QuantizeRole::Quantize => vec![inputs[2]],
            QuantizeRole::Dequantize => vec![inputs[1]],
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 3, 3)?;
        let [x, scale, zero] = inputs else {
            unreachable!("three inputs were counted")
        };
        let (number, integer) = match self.role {
            QuantizeRole::Quantize => (x.dtype, zero.dtype),
            QuantizeRole::Dequantize => (scale.dtype, x.dtype),
        };
        if !number.is_float() || scale.dtype != number || integer.integer_range().is_none() {
            return Err(Error::dtype(format!(
                "quantization from {} by a scale of {} and a zero point of {}",
                x.dtype, scale.dtype, zero.dtype
            )));
        }
        if self.role == QuantizeRole::Dequantize && x.dtype != zero.dtype {
            let message = format!("values of {} and a zero point of {}", x.dtype, zero.dtype);
            return Err(Error::dtype(message));
        }
        same_shape("zero_point", &zero.shape, &scale.shape)?;
        if scale.len() != 1 {
            let axis = axis_index(self.axis, x.shape.len())?;
            same_shape("scale", &scale.shape, &[x.shape[axis]])?;
        }
        let to = match self.role {
            QuantizeRole::Quantize => zero.dtype,
            QuantizeRole::Dequantize => scale.dtype,
        };
        Ok(vec![Type::new(to, &x.shape)])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let [x, scale, zero] = inputs else {
            unreachable!("three inputs were counted")
        };
        let single = scale.dtype() == DType::F32;
        let scale = floats(scale);
        let zero = zero.data().integers()?;
        let (run, n) = self.runs(x.shape(), scale.len())?;
        let of = |i: usize| i / run.max(1) % n;
        let to = outputs[0].dtype;
        let data = match self.role {
            QuantizeRole::Quantize => {
                let (low, high) = to.integer_range().expect("checked by the shape rule");
                let q = floats(x).into_iter().enumerate().map(|(i, x)| {
                    // In single precision the quotient is rounded before it is rounded to an integer,
                    // as in every other executor.
                    let quotient = match single {
                        true => f64::from(x as f32 / scale[of(i)] as f32),
                        false => x / scale[of(i)],
                    };
                    // As integers saturate, so does this cast; not a number becomes 0.
                    let rounded = quotient.round_ties_even() as i128;
                    rounded.saturating_add(zero[of(i)]).clamp(low, high)
                });
                Data::from_integers(to, &q.collect::<Vec<_>>())
            }
            QuantizeRole::Dequantize => {
                let q = x.data().integers()?.into_iter().enumerate();
                let numbers = q.map(|(i, q)| (q - zero[of(i)]) as f64 * scale[of(i)]);
                Data::F64(numbers.collect()).cast(to)
            }
        };
        Ok(vec![Tensor::from_data(x.shape(), data)?])
    }
}

fn floats(t: &Tensor) -> Vec<f64> {
    match t.data().cast(DType::F64) {
        Data::F64(v) => v,
        _ => unreachable!("cast to f64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantize(role: QuantizeRole, axis: i64, inputs: &[&Tensor]) -> Result<Tensor> {
        let op = Quantize { role, axis };
        let types: Vec<Type> = inputs
            .iter()
            .map(|t| Type::new(t.dtype(), t.shape()))
            .collect();
        let outputs = op.infer(&types)?;
        Ok(op.evaluate(inputs, &outputs)?.swap_remove(0))
    }

    #[test]
    fn rounds_to_even_and_saturates() {
        let x = Tensor::new::<f32>(&[7], vec![0.5, 1.5, -0.5, 1e30, -1e30, 2.4, -7.0]).unwrap();
        let (scale, zero) = (Tensor::scalar(1f32), Tensor::scalar(3u8));
        let q = quantize(QuantizeRole::Quantize, 0, &[&x, &scale, &zero]).unwrap();
        assert_eq!(q.values::<u8>().unwrap(), [3, 5, 3, 255, 0, 5, 0]);
        let back = quantize(QuantizeRole::Dequantize, 0, &[&q, &scale, &zero]).unwrap();
        let expected = [0.0, 2.0, 0.0, 252.0, -3.0, 2.0, -3.0];
        assert_eq!(back.values::<f32>().unwrap(), expected);
    }

    #[test]
    fn scales_lie_along_an_axis() {
        let x = Tensor::new::<i8>(&[2, 3, 2], (0..12).collect()).unwrap();
        let scale = Tensor::new::<f32>(&[3], vec![1.0, 10.0, 100.0]).unwrap();
        let zero = Tensor::new::<i8>(&[3], vec![0, 1, 0]).unwrap();
        for axis in [1, -2] {
            let y = quantize(QuantizeRole::Dequantize, axis, &[&x, &scale, &zero]).unwrap();
            let expected = [
                0.0, 1.0, 10.0, 20.0, 400.0, 500.0, 6.0, 7.0, 70.0, 80.0, 1000.0, 1100.0,
            ];
            assert_eq!(y.values::<f32>().unwrap(), expected);
        }
        let wrong = quantize(QuantizeRole::Dequantize, 0, &[&x, &scale, &zero]).unwrap_err();
        assert!(
            wrong.to_string().contains("expected shape [2], found [3]"),
            "{wrong}"
        );
    }

    #[test]
    fn types_must_fit() {
        let (x, scale) = (Tensor::scalar(1f32), Tensor::scalar(1f32));
        let zero = Tensor::scalar(0f32);
        let wrong = quantize(QuantizeRole::Quantize, 0, &[&x, &scale, &zero]).unwrap_err();
        assert!(wrong.to_string().contains("a zero point of f32"), "{wrong}");
    }
}
