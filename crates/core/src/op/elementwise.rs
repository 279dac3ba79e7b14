//! Elementwise functions of one value, and of two with broadcasting.

use super::{Family, Type, count, floats, same_shape};
use crate::elements::{Broadcast, broadcast_index, broadcast_shape};
use crate::reference::Array;
use crate::{Data, Error, Result, Tensor};

/// The function a [`Unary`] applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryKind {
    /// `x`.
    Identity,
    /// `max(x, 0)`; its derivative at 0 is 0.
    Relu,
    /// `min(max(x, 0), 6)`; its derivative is 0 at both ends.
    Relu6,
    /// `x` above 0, `alpha x` elsewhere.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// `x` above 0, `alpha (exp(x) - 1)` elsewhere.
    Elu {
        /// Depth below 0.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `log(1 + exp(x))`.
    Softplus,
    /// `exp(x)`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Absolute value; its derivative at 0 is 0.
    Abs,
    /// `-x`.
    Neg,
    /// The error function.
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Asin,
    /// Inverse cosine.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// The least integer not below; derivative 0.
    Ceil,
    /// The largest integer not above; derivative 0.
    Floor,
    /// The nearest integer, halves to even; derivative 0.
    Round,
    /// -1, 0 or 1; derivative 0.
    Sign,
    /// `1 / x`.
    Reciprocal,
}

/// `y = f(x)` for every element, or with `grad` `(x, y, dy) → dy f'(x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
    /// Compute the gradient instead.
    pub grad: bool,
}

impl Unary {
    /// The function itself.
    pub fn new(kind: UnaryKind) -> Unary {
        Unary { kind, grad: false }
    }
}

impl UnaryKind {
    /// The function, in `f64`.
    pub fn value(self, x: f64) -> f64 {
        match self {
            UnaryKind::Identity => x,
            UnaryKind::Relu => x.max(0.0),
            UnaryKind::Relu6 => x.clamp(0.0, 6.0),
            UnaryKind::LeakyRelu { alpha } if x <= 0.0 => f64::from(alpha) * x,
            UnaryKind::Elu { alpha } if x <= 0.0 => f64::from(alpha) * x.exp_m1(),
            UnaryKind::LeakyRelu { .. } | UnaryKind::Elu { .. } => x,
            UnaryKind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            UnaryKind::Tanh => x.tanh(),
            UnaryKind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            UnaryKind::Exp => x.exp(),
            UnaryKind::Log => x.ln(),
            UnaryKind::Sqrt => x.sqrt(),
            UnaryKind::Abs => x.abs(),
            UnaryKind::Neg => -x,
            UnaryKind::Erf => erf(x),
            UnaryKind::Sin => x.sin(),
            UnaryKind::Cos => x.cos(),
            UnaryKind::Tan => x.tan(),
            UnaryKind::Asin => x.asin(),
            UnaryKind::Acos => x.acos(),
            UnaryKind::Atan => x.atan(),
            UnaryKind::Sinh => x.sinh(),
            UnaryKind::Cosh => x.cosh(),
            UnaryKind::Asinh => x.asinh(),
            UnaryKind::Acosh => x.acosh(),
            UnaryKind::Atanh => x.atanh(),
            UnaryKind::Ceil => x.ceil(),
            UnaryKind::Floor => x.floor(),
            UnaryKind::Round => x.round_ties_even(),
            UnaryKind::Sign if x == 0.0 || x.is_nan() => x,
            UnaryKind::Sign => x.signum(),
            UnaryKind::Reciprocal => 1.0 / x,
        }
    }

    /// The derivative in `f64`, from the argument `x` and the value `y = f(x)`.
    pub fn derivative(self, x: f64, y: f64) -> f64 {
        let step = |on: bool| f64::from(u8::from(on));
        match self {
            UnaryKind::Identity => 1.0,
            UnaryKind::Relu => step(y > 0.0),
            UnaryKind::Relu6 => step(y > 0.0 && y < 6.0),
            UnaryKind::LeakyRelu { alpha } if x <= 0.0 => f64::from(alpha),
            UnaryKind::Elu { alpha } if x <= 0.0 => y + f64::from(alpha),
            UnaryKind::LeakyRelu { .. } | UnaryKind::Elu { .. } => 1.0,
            UnaryKind::Sigmoid => y * (1.0 - y),
            UnaryKind::Tanh => 1.0 - y * y,
            UnaryKind::Softplus => 1.0 / (1.0 + (-x).exp()),
            UnaryKind::Exp => y,
            UnaryKind::Log => 1.0 / x,
            UnaryKind::Sqrt => 0.5 / y,
            UnaryKind::Abs => step(x > 0.0) - step(x < 0.0),
            UnaryKind::Neg => -1.0,
            UnaryKind::Erf => std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp(),
            UnaryKind::Sin => x.cos(),
            UnaryKind::Cos => -x.sin(),
            UnaryKind::Tan => 1.0 + y * y,
            UnaryKind::Asin => 1.0 / (1.0 - x * x).sqrt(),
            UnaryKind::Acos => -1.0 / (1.0 - x * x).sqrt(),
            UnaryKind::Atan => 1.0 / (1.0 + x * x),
            UnaryKind::Sinh => x.cosh(),
            UnaryKind::Cosh => x.sinh(),
            UnaryKind::Asinh => 1.0 / (1.0 + x * x).sqrt(),
            UnaryKind::Acosh => 1.0 / (x * x - 1.0).sqrt(),
            UnaryKind::Atanh => 1.0 / (1.0 - x * x),
            UnaryKind::Ceil | UnaryKind::Floor | UnaryKind::Round | UnaryKind::Sign => 0.0,
            UnaryKind::Reciprocal => -y * y,
        }
    }

    fn name(self) -> &'static str {
        match self {
            UnaryKind::Identity => "Identity",
            UnaryKind::Relu => "Relu",
            UnaryKind::Relu6 => "Relu6",
            UnaryKind::LeakyRelu { .. } => "LeakyRelu",
            UnaryKind::Elu { .. } => "Elu",
            UnaryKind::Sigmoid => "Sigmoid",
            UnaryKind::Tanh => "Tanh",
            UnaryKind::Softplus => "Softplus",
            UnaryKind::Exp => "Exp",
            UnaryKind::Log => "Log",
            UnaryKind::Sqrt => "Sqrt",
            UnaryKind::Abs => "Abs",
            UnaryKind::Neg => "Neg",
            UnaryKind::Erf => "Erf",
            UnaryKind::Sin => "Sin",
            UnaryKind::Cos => "Cos",
            UnaryKind::Tan => "Tan",
            UnaryKind::Asin => "Asin",
            UnaryKind::Acos => "Acos",
            UnaryKind::Atan => "Atan",
            UnaryKind::Sinh => "Sinh",
            UnaryKind::Cosh => "Cosh",
            UnaryKind::Asinh => "Asinh",
            UnaryKind::Acosh => "Acosh",
            UnaryKind::Atanh => "Atanh",
            UnaryKind::Ceil => "Ceil",
            UnaryKind::Floor => "Floor",
            UnaryKind::Round => "Round",
            UnaryKind::Sign => "Sign",
            UnaryKind::Reciprocal => "Reciprocal",
        }
    }
}

impl Family for Unary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut a = match self.kind {
            UnaryKind::LeakyRelu { alpha } | UnaryKind::Elu { alpha } => {
                vec![("alpha", alpha.to_string())]
            }
            _ => Vec::new(),
        };
        if self.grad {
            a.push(("grad", "true".to_owned()));
        }
        a
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        if !self.grad {
            count(inputs, 1, 1)?;
            let integers = inputs[0].dtype.is_integer() && self.kind.takes_integers();
            if self.kind != UnaryKind::Identity && !integers {
                floats(inputs, 1, 1)?;
            }
            return Ok(vec![inputs[0].clone()]);
        }
        floats(inputs, 3, 3)?;
        same_shape("y", &inputs[1].shape, &inputs[0].shape)?;
        same_shape("dy", &inputs[2].shape, &inputs[0].shape)?;
        Ok(vec![inputs[0].clone()])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let x = &inputs[0].values;
        let out = if self.grad {
            let (y, dy) = (&inputs[1].values, &inputs[2].values);
            (0..x.len())
                .map(|i| dy[i] * self.kind.derivative(x[i], y[i]))
                .collect()
        } else {
            x.iter().map(|&v| self.kind.value(v)).collect()
        };
        vec![Array::new(&outputs[0].shape, out)]
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        if self.kind == UnaryKind::Identity && !self.grad {
            return Ok(vec![x.clone()]);
        }
        if self.grad || x.dtype().is_float() {
            let arrays: Vec<Array> = inputs.iter().map(|&t| Array::from(t)).collect();
            let result = self.reference(&arrays.iter().collect::<Vec<_>>(), outputs);
            return Ok(vec![result[0].to_tensor(outputs[0].dtype)]);
        }
        let f = |v: i128| match self.kind {
            UnaryKind::Relu => v.max(0),
            UnaryKind::Abs => v.abs(),
            UnaryKind::Neg => -v,
            UnaryKind::Sign => v.signum(),
            _ => v,
        };
        let v: Vec<i128> = x.data().integers()?.into_iter().map(f).collect();
        let data = Data::from_integers(x.dtype(), &v);
        Ok(vec![Tensor::from_data(x.shape(), data)?])
    }

    fn reads(&self, idx: usize) -> bool {
        if !self.grad || idx == 2 {
            return true;
        }
        // One of the argument (input 0) and the value (input 1) is enough for most derivatives;
        // the value is preferred, since the next layer keeps it in memory anyway.
        match self.kind {
            UnaryKind::Identity
            | UnaryKind::Neg
            | UnaryKind::Ceil
            | UnaryKind::Floor
            | UnaryKind::Round
            | UnaryKind::Sign => false,
            UnaryKind::Elu { .. } | UnaryKind::LeakyRelu { .. } => true,
            UnaryKind::Relu
            | UnaryKind::Relu6
            | UnaryKind::Sigmoid
            | UnaryKind::Tanh
            | UnaryKind::Exp
            | UnaryKind::Sqrt
            | UnaryKind::Tan
            | UnaryKind::Reciprocal => idx == 1,
            UnaryKind::Softplus
            | UnaryKind::Log
            | UnaryKind::Abs
            | UnaryKind::Erf
            | UnaryKind::Sin
            | UnaryKind::Cos
            | UnaryKind::Asin
            | UnaryKind::Acos
            | UnaryKind::Atan
            | UnaryKind::Sinh
            | UnaryKind::Cosh
            | UnaryKind::Asinh
            | UnaryKind::Acosh
            | UnaryKind::Atanh => idx == 0,
        }
    }
}

impl UnaryKind {
    /// Whether it is defined for integers too.
    pub fn takes_integers(self) -> bool {
        matches!(
            self,
            UnaryKind::Identity
                | UnaryKind::Relu
                | UnaryKind::Abs
                | UnaryKind::Neg
                | UnaryKind::Sign
                | UnaryKind::Ceil
                | UnaryKind::Floor
                | UnaryKind::Round
        )
    }
}

/// The error function, to 5e-12: Cody, "Rational Chebyshev approximation for the error
/// function", Mathematics of Computation 23 (1969).
pub fn erf(x: f64) -> f64 {
    const A: [f64; 5] = [
        1.857_777_061_846_031_5e-1,
        3.161_123_743_870_565_6,
        1.138_641_541_510_501_6e2,
        3.774_852_376_853_02e2,
        3.209_377_589_138_469_5e3,
    ];
    const B: [f64; 5] = [
        1.0,
        2.360_129_095_234_412_1e1,
        2.440_246_379_344_441_7e2,
        1.282_616_526_077_372_3e3,
        2.844_236_833_439_171e3,
    ];
    const C: [f64; 9] = [
        2.153_115_354_744_038_5e-8,
        5.641_884_969_886_701e-1,
        8.883_149_794_388_376,
        6.611_919_063_714_163e1,
        2.986_351_381_974_001e2,
        8.819_522_212_417_69e2,
        1.712_047_612_634_070_6e3,
        2.051_078_377_826_071_5e3,
        1.230_339_354_797_997_2e3,
    ];
    const D: [f64; 9] = [
        1.0,
        1.574_492_611_070_983_5e1,
        1.176_939_508_913_125e2,
        5.371_811_018_620_099e2,
        1.621_389_574_566_690_2e3,
        3.290_799_235_733_46e3,
        4.362_619_090_143_247e3,
        3.439_367_674_143_722e3,
        1.230_339_354_803_749_4e3,
    ];
    let poly = |c: &[f64], t: f64| c.iter().fold(0.0, |sum, &c| sum * t + c);
    let a = x.abs();
    if a <= 0.46875 {
        x * poly(&A, x * x) / poly(&B, x * x)
    } else if a <= 4.0 {
        let tail = (-a * a).exp() * poly(&C, a) / poly(&D, a);
        (1.0 - tail).copysign(x)
    } else if a.is_nan() {
        x
    } else {
        // Beyond 4 the tail is below 2e-8; the first terms of its asymptotic series are enough.
        let t = 1.0 / (a * a);
        let series = 1.0 - t / 2.0 + 0.75 * t * t - 1.875 * t * t * t;
        let tail = (-a * a).exp() / (a * std::f64::consts::PI.sqrt()) * series;
        (1.0 - tail).copysign(x)
    }
}

/// Elementwise function of two values with NumPy broadcasting. Integers divide towards zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a b`.
    Mul,
    /// `a / b`.
    Div,
    /// `a` to the power of `b`.
    Pow,
    /// The larger; NaN if one of them is.
    Max,
    /// The smaller; NaN if one of them is.
    Min,
    /// The rest of the division, with the sign of `b`.
    Mod,
    /// The rest of the division, with the sign of `a`.
    Rem,
}

impl Binary {
    /// The function, in `f64`.
    pub fn value(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.powf(b),
            Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::Mod => a - b * (a / b).floor(),
            Binary::Rem => a % b,
        }
    }

    /// The function on integers of `bits` bits; errs when dividing by 0.
    fn integers(self, a: i128, b: i128) -> Result<i128> {
        let zero = || Error::value("an integer is divided by 0");
        Ok(match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a.wrapping_mul(b),
            Binary::Div => a.checked_div(b).ok_or_else(zero)?,
            Binary::Pow => integer_power(a, b),
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::Mod => {
                let rest = a.checked_rem(b).ok_or_else(zero)?;
                if rest != 0 && (rest < 0) != (b < 0) {
                    rest + b
                } else {
                    rest
                }
            }
            Binary::Rem => a.checked_rem(b).ok_or_else(zero)?,
        })
    }
}

/// Powers with wrap-around; a negative exponent truncates to 0 but for bases 1 and -1.
fn integer_power(base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => {
                if exponent % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut result, mut square, mut left) = (1i128, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        left >>= 1;
    }
    result
}

impl Family for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Pow => "Pow",
            Binary::Max => "Max",
            Binary::Min => "Min",
            Binary::Mod => "Mod",
            Binary::Rem => "Rem",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 2, 2)?;
        let dtype = inputs[0].dtype;
        if !dtype.is_integer() || inputs[1].dtype != dtype {
            floats(inputs, 2, 2)?;
        }
        Ok(vec![Type::new(
            dtype,
            &broadcast_shape(&inputs[0].shape, &inputs[1].shape)?,
        )])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let to = &outputs[0].shape;
        let at = |k: usize, i: usize| inputs[k].values[broadcast_index(i, to, &inputs[k].shape)];
        let y = (0..outputs[0].len()).map(|i| self.value(at(0, i), at(1, i)));
        vec![Array::new(to, y.collect())]
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let (to, dtype) = (&outputs[0].shape, outputs[0].dtype);
        let places =
            || Broadcast::new(inputs[0].shape(), to).zip(Broadcast::new(inputs[1].shape(), to));
        let data = if dtype.is_float() {
            let (a, b) = (Array::from(inputs[0]).values, Array::from(inputs[1]).values);
            let y: Vec<f64> = places().map(|(i, j)| self.value(a[i], b[j])).collect();
            Data::F64(y).cast(dtype)
        } else {
            let (a, b) = (inputs[0].data().integers()?, inputs[1].data().integers()?);
            let y: Vec<i128> = places()
                .map(|(i, j)| self.integers(a[i], b[j]))
                .collect::<Result<_>>()?;
            Data::from_integers(dtype, &y)
        };
        Ok(vec![Tensor::from_data(to, data)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_agrees_with_its_series() {
        for i in -480..=480 {
            let x = f64::from(i) / 80.0;
            // Abramowitz and Stegun 7.1.6, a series of positive terms.
            let (mut term, mut sum, mut n) = (x, x, 0.0);
            while term.abs() > 1e-18 {
                n += 1.0;
                term *= 2.0 * x * x / (2.0 * n + 1.0);
                sum += term;
            }
            let expected = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
            assert!(
                (erf(x) - expected).abs() < 5e-12,
                "{x}: {} {expected}",
                erf(x)
            );
        }
    }

    #[test]
    fn integers_are_exact() {
        let max = i128::from(i64::MAX);
        assert_eq!(Binary::Mod.integers(-7, 3).unwrap(), 2);
        assert_eq!(Binary::Rem.integers(-7, 3).unwrap(), -1);
        assert_eq!(Binary::Div.integers(-7, 2).unwrap(), -3);
        assert!(Binary::Div.integers(1, 0).is_err() && Binary::Mod.integers(1, 0).is_err());
        assert_eq!(Binary::Pow.integers(3, 4).unwrap(), 81);
        assert_eq!(Binary::Pow.integers(-1, -3).unwrap(), -1);
        let t = |v: i64| Tensor::scalar(v);
        let types = [Type::new(crate::DType::I64, &[])];
        let sum = Binary::Add
            .evaluate(&[&t(i64::MAX), &t(-1)], &types)
            .unwrap();
        assert_eq!(sum[0].values::<i64>().unwrap(), [(max - 1) as i64]);
        let sum = Binary::Add
            .evaluate(&[&t(i64::MAX), &t(1)], &types)
            .unwrap();
        assert_eq!(sum[0].values::<i64>().unwrap(), [i64::MIN]);
    }
}
