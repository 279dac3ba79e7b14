//! Comparisons, Boolean and bitwise operators, and choosing between two values.

use super::{Family, Type, count};
use crate::elements::{Broadcast, broadcast_shape};
use crate::{DType, Data, Error, Result, Tensor, each_type};

/// An elementwise operator without a derivative; two operands broadcast as in NumPy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the operators of ONNX")]
pub enum Logic {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
    Not,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    BitwiseNot,
    ShiftLeft,
    ShiftRight,
    IsNaN,
    /// Infinite, with the signs that count.
    IsInf {
        positive: bool,
        negative: bool,
    },
}

impl Logic {
    fn operands(self) -> usize {
        match self {
            Logic::Not | Logic::BitwiseNot | Logic::IsNaN | Logic::IsInf { .. } => 1,
            _ => 2,
        }
    }

    fn keeps_type(self) -> bool {
        matches!(
            self,
            Logic::BitwiseAnd
                | Logic::BitwiseOr
                | Logic::BitwiseXor
                | Logic::BitwiseNot
                | Logic::ShiftLeft
                | Logic::ShiftRight
        )
    }

    fn accepts(self, dtype: DType) -> bool {
        match self {
            Logic::Equal => true,
            Logic::Less | Logic::LessOrEqual | Logic::Greater | Logic::GreaterOrEqual => {
                dtype != DType::Bool
            }
            Logic::And | Logic::Or | Logic::Xor | Logic::Not => dtype == DType::Bool,
            Logic::IsNaN | Logic::IsInf { .. } => dtype.is_float(),
            _ => dtype.is_integer(),
        }
    }

    /// A comparison, by the order of its operands; `None` is a NaN.
    fn compare(self, order: Option<std::cmp::Ordering>) -> bool {
        match self {
            Logic::Equal => order.is_some_and(|o| o.is_eq()),
            Logic::Less => order.is_some_and(|o| o.is_lt()),
            Logic::LessOrEqual => order.is_some_and(|o| o.is_le()),
            Logic::Greater => order.is_some_and(|o| o.is_gt()),
            _ => order.is_some_and(|o| o.is_ge()),
        }
    }

    fn integers(self, a: i128, b: i128, bits: u32) -> i128 {
        let shift = u32::try_from(b).ok().filter(|&s| s < bits);
        match self {
            Logic::And | Logic::BitwiseAnd => a & b,
            Logic::Or | Logic::BitwiseOr => a | b,
            Logic::Xor | Logic::BitwiseXor => a ^ b,
            Logic::ShiftLeft => shift.map_or(0, |s| a << s),
            Logic::ShiftRight => shift.map_or(0, |s| a >> s),
            _ => unreachable!("comparisons and tests are done apart"),
        }
    }

    fn one(self, x: &Tensor) -> Result<Data> {
        Ok(match self {
            Logic::Not => Data::Bool(x.values::<bool>()?.iter().map(|b| !b).collect()),
            Logic::BitwiseNot => {
                let v: Vec<i128> = x.data().integers()?.iter().map(|v| !v).collect();
                Data::from_integers(x.dtype(), &v)
            }
            _ => {
                let Data::F64(v) = x.data().cast(DType::F64) else {
                    unreachable!("cast to f64")
                };
                let test = |v: f64| match self {
                    Logic::IsInf { positive, negative } => {
                        v.is_infinite() && (if v > 0.0 { positive } else { negative })
                    }
                    _ => v.is_nan(),
                };
                Data::Bool(v.into_iter().map(test).collect())
            }
        })
    }
}

impl Family for Logic {
    fn name(&self) -> &'static str {
        match self {
            Logic::Equal => "Equal",
            Logic::Less => "Less",
            Logic::LessOrEqual => "LessOrEqual",
            Logic::Greater => "Greater",
            Logic::GreaterOrEqual => "GreaterOrEqual",
            Logic::And => "And",
            Logic::Or => "Or",
            Logic::Xor => "Xor",
            Logic::Not => "Not",
            Logic::BitwiseAnd => "BitwiseAnd",
            Logic::BitwiseOr => "BitwiseOr",
            Logic::BitwiseXor => "BitwiseXor",
            Logic::BitwiseNot => "BitwiseNot",
            Logic::ShiftLeft => "ShiftLeft",
            Logic::ShiftRight => "ShiftRight",
            Logic::IsNaN => "IsNaN",
            Logic::IsInf { .. } => "IsInf",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self {
            Logic::IsInf { positive, negative } if !(*positive && *negative) => {
                vec![
                    ("positive", positive.to_string()),
                    ("negative", negative.to_string()),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        vec![if self.keeps_type() {
            inputs[0]
        } else {
            DType::Bool
        }]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, self.operands(), self.operands())?;
        let dtype = inputs[0].dtype;
        if !self.accepts(dtype) || inputs.iter().any(|t| t.dtype != dtype) {
            let found: Vec<&str> = inputs.iter().map(|t| t.dtype.name()).collect();
            let message = format!("{} of {}", self.name(), found.join(" and "));
            return Err(Error::dtype(message));
        }
        let shape = match inputs {
            [a, b] => broadcast_shape(&a.shape, &b.shape)?,
            _ => inputs[0].shape.clone(),
        };
        Ok(vec![Type::new(self.dtypes(&[dtype])[0], &shape)])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let to = &outputs[0].shape;
        if self.operands() == 1 {
            return Ok(vec![Tensor::from_data(to, self.one(inputs[0])?)?]);
        }
        let at = |k: usize| Broadcast::new(inputs[k].shape(), to);
        let data = if self.keeps_type() || matches!(self, Logic::And | Logic::Or | Logic::Xor) {
            let (a, b) = (inputs[0].data().integers()?, inputs[1].data().integers()?);
            let bits = 8 * inputs[0].dtype().size_bytes() as u32;
            let pairs = at(0).zip(at(1));
            let v: Vec<i128> = pairs
                .map(|(i, j)| self.integers(a[i], b[j], bits))
                .collect();
            Data::from_integers(outputs[0].dtype, &v)
        } else {
            let v = each_type!(inputs[0].data(), a => {
                let b = same_type(a, inputs[1])?;
                at(0).zip(at(1)).map(|(i, j)| self.compare(a[i].partial_cmp(&b[j]))).collect()
            });
            Data::Bool(v)
        };
        Ok(vec![Tensor::from_data(to, data)?])
    }
}

fn same_type<'t, T: crate::Element>(_: &[T], of: &'t Tensor) -> Result<&'t [T]> {
    of.values()
}

/// `(condition, a, b) → y`: `a` where the condition holds, else `b`, with NumPy broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select;

impl Family for Select {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        vec![inputs[1]]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 3, 3)?;
        let [c, a, b] = inputs else {
            unreachable!("three inputs were counted")
        };
        if c.dtype != DType::Bool || a.dtype != b.dtype {
            let message = format!("choice by {} between {} and {}", c.dtype, a.dtype, b.dtype);
            return Err(Error::dtype(message));
        }
        let shape = broadcast_shape(&c.shape, &broadcast_shape(&a.shape, &b.shape)?)?;
        Ok(vec![Type::new(a.dtype, &shape)])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let to = &outputs[0].shape;
        let condition = inputs[0].values::<bool>()?;
        let at = |k: usize| Broadcast::new(inputs[k].shape(), to);
        let data = each_type!(inputs[1].data(), a => {
            let b = same_type(a, inputs[2])?;
            let places = at(0).zip(at(1)).zip(at(2));
            let v: Vec<_> = places
                .map(|((c, i), j)| if condition[c] { a[i] } else { b[j] })
                .collect();
            crate::Element::wrap(v)
        });
        Ok(vec![Tensor::from_data(to, data)?])
    }
}

/// Values converted to another element type, as [`Tensor::cast`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The element type of the result.
    pub to: DType,
}

impl Family for Cast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("to", self.to.to_string())]
    }

    fn dtypes(&self, _inputs: &[DType]) -> Vec<DType> {
        vec![self.to]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 1, 1)?;
        Ok(vec![Type::new(self.to, &inputs[0].shape)])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].cast(outputs[0].dtype)])
    }
}
