//! Elementwise functions of one value, and of two with broadcasting.

use super::{Family, Type, count, floats, same_shape};
use crate::Result;
use crate::elements::{broadcast_index, broadcast_shape};
use crate::reference::Array;

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
            if self.kind != UnaryKind::Identity {
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

    fn reads(&self, idx: usize) -> bool {
        if !self.grad || idx == 2 {
            return true;
        }
        // One of the argument (input 0) and the value (input 1) is enough for most derivatives;
        // the value is preferred, since the next layer keeps it in memory anyway.
        match self.kind {
            UnaryKind::Identity | UnaryKind::Neg => false,
            UnaryKind::Elu { .. } | UnaryKind::LeakyRelu { .. } => true,
            UnaryKind::Relu
            | UnaryKind::Relu6
            | UnaryKind::Sigmoid
            | UnaryKind::Tanh
            | UnaryKind::Exp
            | UnaryKind::Sqrt => idx == 1,
            UnaryKind::Softplus | UnaryKind::Log | UnaryKind::Abs => idx == 0,
        }
    }
}

/// Elementwise function of two values with NumPy broadcasting.
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
}

impl Binary {
    /// The function, in `f64`.
    pub fn value(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
        }
    }
}

impl Family for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let dtype = floats(inputs, 2, 2)?;
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
}
