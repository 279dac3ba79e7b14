//! Elementwise operators, comparisons, element types.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Dropout, Logic};
use bantam_core::{DType, Op, Tensor, ValueId};

use super::context::{Attributes, Context, Imported, given, maybe, need, unsupported};
use crate::Result;

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    if let Some(kind) = plain(op, a)? {
        let x = need(x, 0)?;
        return Ok(Some(vec![c.unary(kind, x)]));
    }
    if let Some(logic) = logic(op, a)? {
        let inputs = given(x)?;
        return Ok(Some(vec![c.logic(logic, &inputs)]));
    }
    let y = match op {
        "Add" | "Sub" | "Mul" | "Div" => {
            let op = match op {
                "Add" => Binary::Add,
                "Sub" => Binary::Sub,
                "Mul" => Binary::Mul,
                _ => Binary::Div,
            };
            let (x, y) = (need(x, 0)?, need(x, 1)?);
            c.binary(op, x, y)
        }
        "Mod" => {
            let op = if a.flag("fmod", false)? {
                Binary::Rem
            } else {
                Binary::Mod
            };
            let (x, y) = (need(x, 0)?, need(x, 1)?);
            c.binary(op, x, y)
        }
        "Pow" => power(c, need(x, 0)?, need(x, 1)?),
        "Max" | "Min" | "Sum" | "Mean" => variadic(c, op, x)?,
        "Where" => {
            let (condition, x, y) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
            c.select(condition, x, y)
        }
        "Cast" => {
            let to = a
                .element_type("to")?
                .ok_or_else(|| unsupported("no element type to cast to"))?;
            cast(c, a, need(x, 0)?, to)?
        }
        "CastLike" => {
            let to = c.dtype(need(x, 1)?);
            cast(c, a, need(x, 0)?, to)?
        }
        "Clip" => clip(c, a, x)?,
        "PRelu" => {
            let (x, slope) = (need(x, 0)?, need(x, 1)?);
            let low = c.mul(x, slope);
            let zero = c.scalar(0.0, c.dtype(x));
            let below = c.logic(Logic::Less, &[x, zero]);
            c.select(below, low, x)
        }
        "Dropout" => return dropout(c, a, x),
        _ => return activation(c, op, a, x),
    };
    Ok(Some(vec![y]))
}

fn plain(op: &str, a: &Attributes) -> Result<Option<UnaryKind>> {
    Ok(Some(match op {
        "Identity" => UnaryKind::Identity,
        "Relu" => UnaryKind::Relu,
        "LeakyRelu" => UnaryKind::LeakyRelu {
            alpha: a.float_or("alpha", 0.01)?,
        },
        "Elu" => UnaryKind::Elu {
            alpha: a.float_or("alpha", 1.0)?,
        },
        "Sigmoid" => UnaryKind::Sigmoid,
        "Tanh" => UnaryKind::Tanh,
        "Softplus" => UnaryKind::Softplus,
        "Exp" => UnaryKind::Exp,
        "Log" => UnaryKind::Log,
        "Sqrt" => UnaryKind::Sqrt,
        "Abs" => UnaryKind::Abs,
        "Neg" => UnaryKind::Neg,
        "Erf" => UnaryKind::Erf,
        "Sin" => UnaryKind::Sin,
        "Cos" => UnaryKind::Cos,
        "Tan" => UnaryKind::Tan,
        "Asin" => UnaryKind::Asin,
        "Acos" => UnaryKind::Acos,
        "Atan" => UnaryKind::Atan,
        "Sinh" => UnaryKind::Sinh,
        "Cosh" => UnaryKind::Cosh,
        "Asinh" => UnaryKind::Asinh,
        "Acosh" => UnaryKind::Acosh,
        "Atanh" => UnaryKind::Atanh,
        "Ceil" => UnaryKind::Ceil,
        "Floor" => UnaryKind::Floor,
        "Round" => UnaryKind::Round,
        "Sign" => UnaryKind::Sign,
        "Reciprocal" => UnaryKind::Reciprocal,
        _ => return Ok(None),
    }))
}

fn logic(op: &str, a: &Attributes) -> Result<Option<Logic>> {
    Ok(Some(match op {
        "Equal" => Logic::Equal,
        "Less" => Logic::Less,
        "LessOrEqual" => Logic::LessOrEqual,
        "Greater" => Logic::Greater,
        "GreaterOrEqual" => Logic::GreaterOrEqual,
        "And" => Logic::And,
        "Or" => Logic::Or,
        "Xor" => Logic::Xor,
        "Not" => Logic::Not,
        "BitwiseAnd" => Logic::BitwiseAnd,
        "BitwiseOr" => Logic::BitwiseOr,
        "BitwiseXor" => Logic::BitwiseXor,
        "BitwiseNot" => Logic::BitwiseNot,
        "BitShift" => match a.text("direction")? {
            Some("LEFT") => Logic::ShiftLeft,
            Some("RIGHT") => Logic::ShiftRight,
            other => {
                return Err(unsupported(format!(
                    "direction {other:?}: expected LEFT or RIGHT"
                )));
            }
        },
        "IsNaN" => Logic::IsNaN,
        "IsInf" => Logic::IsInf {
            positive: a.flag("detect_positive", true)?,
            negative: a.flag("detect_negative", true)?,
        },
        _ => return Ok(None),
    }))
}

/// Casts saturate only to 8-bit floats, which are refused, so the attribute changes nothing here.
fn cast(c: &mut Context, a: &Attributes, x: ValueId, to: DType) -> Result<ValueId> {
    a.int("saturate")?;
    a.text("round_mode")?;
    Ok(match c.dtype(x) == to {
        true => c.unary(UnaryKind::Identity, x),
        false => c.cast(x, to),
    })
}

/// The exponent may be of another type; the result is of the base's.
fn power(c: &mut Context, x: ValueId, y: ValueId) -> ValueId {
    let (base, exponent) = (c.dtype(x), c.dtype(y));
    if base == exponent {
        return c.binary(Binary::Pow, x, y);
    }
    if base.is_float() || exponent.is_integer() {
        let y = c.cast(y, base);
        return c.binary(Binary::Pow, x, y);
    }
    let x = c.cast(x, exponent);
    let y = c.binary(Binary::Pow, x, y);
    c.cast(y, base)
}

fn variadic(c: &mut Context, op: &str, inputs: Inputs) -> Result<ValueId> {
    let f = match op {
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        _ => Binary::Add,
    };
    let mut y = need(inputs, 0)?;
    for i in 1..inputs.len() {
        y = c.binary(f, y, need(inputs, i)?);
    }
    if inputs.len() == 1 {
        y = c.unary(UnaryKind::Identity, y);
    }
    Ok(match op {
        "Mean" => c.with(Binary::Div, y, inputs.len() as f64),
        _ => y,
    })
}

fn clip(c: &mut Context, a: &Attributes, inputs: Inputs) -> Result<ValueId> {
    let mut y = need(inputs, 0)?;
    let dtype = c.dtype(y);
    let given = [a.float("min")?, a.float("max")?];
    let bounds: Vec<Option<ValueId>> = (0..2)
        .map(|i| match given[i] {
            Some(v) => Some(c.scalar(f64::from(v), dtype)),
            None => maybe(inputs, i + 1),
        })
        .collect();
    let value = |b: Option<ValueId>| -> Option<f32> {
        c.constant(b?)?.values::<f32>().ok()?.first().copied()
    };
    if [value(bounds[0]), value(bounds[1])] == [Some(0.0), Some(6.0)] {
        return Ok(c.unary(UnaryKind::Relu6, y));
    }
    let mut changed = false;
    for (bound, op) in bounds.into_iter().zip([Binary::Max, Binary::Min]) {
        if let Some(bound) = bound {
            y = c.binary(op, y, bound);
            changed = true;
        }
    }
    Ok(if changed {
        y
    } else {
        c.unary(UnaryKind::Identity, y)
    })
}

fn dropout(c: &mut Context, a: &Attributes, inputs: Inputs) -> Imported {
    let x = need(inputs, 0)?;
    a.int("seed")?;
    let old = a.float("ratio")?;
    let stored = maybe(inputs, 1).and_then(|r| c.constant(r).cloned());
    let stored = stored
        .map(|t| t.cast(DType::F32))
        .and_then(|t| t.values::<f32>().ok()?.first().copied());
    let ratio = old.or(stored).unwrap_or(0.5);
    if let Some(mode) = maybe(inputs, 2) {
        let off = c
            .constant(mode)
            .and_then(|t| t.values::<bool>().ok().map(|v| v == [false]));
        // With nothing to drop, training mode is the identity too.
        let nothing = maybe(inputs, 1).is_some() && ratio == 0.0;
        if off != Some(true) && !nothing {
            return Err(unsupported("dropout in training mode gives random results"));
        }
    }
    let y = if c.dtype(x).is_float() && (0.0..1.0).contains(&ratio) {
        c.node(Op::Dropout(Dropout::Identity { ratio }), &[x])
    } else {
        c.unary(UnaryKind::Identity, x)
    };
    let mut outputs = vec![y];
    if a.asks(1) {
        let all = c.logic(Logic::Equal, &[x, x]);
        let nan = c.logic(Logic::Not, &[all]);
        outputs.push(c.logic(Logic::Or, &[all, nan]));
    }
    Ok(Some(outputs))
}

fn activation(c: &mut Context, op: &str, a: &Attributes, inputs: Inputs) -> Imported {
    let known = [
        "Selu",
        "Celu",
        "ThresholdedRelu",
        "HardSigmoid",
        "HardSwish",
        "Softsign",
        "Mish",
        "Gelu",
        "Swish",
        "Shrink",
    ];
    if !known.contains(&op) {
        return Ok(None);
    }
    let x = need(inputs, 0)?;
    let y = match op {
        "Selu" => {
            let alpha = f64::from(a.float_or("alpha", 1.673_263_2)?);
            let gamma = f64::from(a.float_or("gamma", 1.050_701)?);
            let y = c.unary(
                UnaryKind::Elu {
                    alpha: alpha as f32,
                },
                x,
            );
            c.with(Binary::Mul, y, gamma)
        }
        "Celu" => {
            let alpha = f64::from(a.float_or("alpha", 1.0)?);
            let y = c.with(Binary::Div, x, alpha);
            let y = c.unary(UnaryKind::Elu { alpha: 1.0 }, y);
            c.with(Binary::Mul, y, alpha)
        }
        "ThresholdedRelu" => {
            let bound = c.scalar(f64::from(a.float_or("alpha", 1.0)?), c.dtype(x));
            let zero = c.scalar(0.0, c.dtype(x));
            let above = c.logic(Logic::Greater, &[x, bound]);
            c.select(above, x, zero)
        }
        "HardSigmoid" => {
            let (alpha, beta) = (a.float_or("alpha", 0.2)?, a.float_or("beta", 0.5)?);
            hard_sigmoid(c, x, f64::from(alpha), f64::from(beta))
        }
        "HardSwish" => {
            let gate = hard_sigmoid(c, x, 1.0 / 6.0, 0.5);
            c.mul(x, gate)
        }
        "Softsign" => {
            let size = c.unary(UnaryKind::Abs, x);
            let below = c.with(Binary::Add, size, 1.0);
            c.div(x, below)
        }
        "Mish" => {
            let y = c.unary(UnaryKind::Softplus, x);
            let y = c.unary(UnaryKind::Tanh, y);
            c.mul(x, y)
        }
        "Swish" => {
            let alpha = f64::from(a.float_or("alpha", 1.0)?);
            let scaled = if alpha == 1.0 {
                x
            } else {
                c.with(Binary::Mul, x, alpha)
            };
            let gate = c.unary(UnaryKind::Sigmoid, scaled);
            c.mul(x, gate)
        }
        "Gelu" => match a.text("approximate")?.unwrap_or("none") {
            "none" => {
                let y = c.with(Binary::Mul, x, std::f64::consts::FRAC_1_SQRT_2);
                let y = c.unary(UnaryKind::Erf, y);
                gate(c, x, y)
            }
            "tanh" => {
                let square = c.mul(x, x);
                let cube = c.mul(square, x);
                let small = c.with(Binary::Mul, cube, 0.044715);
                let sum = c.add(x, small);
                let y = c.with(Binary::Mul, sum, (2.0 / std::f64::consts::PI).sqrt());
                let y = c.unary(UnaryKind::Tanh, y);
                gate(c, x, y)
            }
            other => return Err(unsupported(format!("approximate = {other:?}"))),
        },
        _ => shrink(c, a, x)?,
    };
    Ok(Some(vec![y]))
}

/// `x (1 + y) / 2`.
fn gate(c: &mut Context, x: ValueId, y: ValueId) -> ValueId {
    let y = c.with(Binary::Add, y, 1.0);
    let half = c.with(Binary::Mul, x, 0.5);
    c.mul(half, y)
}

fn hard_sigmoid(c: &mut Context, x: ValueId, alpha: f64, beta: f64) -> ValueId {
    let y = c.with(Binary::Mul, x, alpha);
    let y = c.with(Binary::Add, y, beta);
    let y = c.with(Binary::Max, y, 0.0);
    c.with(Binary::Min, y, 1.0)
}

fn shrink(c: &mut Context, a: &Attributes, x: ValueId) -> Result<ValueId> {
    let (bias, lambda) = (
        f64::from(a.float_or("bias", 0.0)?),
        f64::from(a.float_or("lambd", 0.5)?),
    );
    let dtype = c.dtype(x);
    let [high, low, zero] = [lambda, -lambda, 0.0].map(|v| c.scalar(v, dtype));
    let up = c.with(Binary::Add, x, bias);
    let down = c.with(Binary::Sub, x, bias);
    let below = c.logic(Logic::Less, &[x, low]);
    let above = c.logic(Logic::Greater, &[x, high]);
    let y = c.select(above, down, zero);
    Ok(c.select(below, up, y))
}

/// A tensor of one element from an attribute that is a float, an integer or a list.
pub(super) fn constant_value(c: &mut Context, a: &Attributes) -> Result<Tensor> {
    if let Some(t) = a.tensor("value")? {
        return c.tensor(t);
    }
    if let Some(v) = a.float("value_float")? {
        return Ok(Tensor::scalar(v));
    }
    if let Some(v) = a.int("value_int")? {
        return Ok(Tensor::scalar(v));
    }
    if let Some(v) = a.floats("value_floats")? {
        return Ok(Tensor::new(&[v.len()], v)?);
    }
    if let Some(v) = a.ints("value_ints")? {
        return Ok(Tensor::new(&[v.len()], v)?);
    }
    Err(unsupported("a constant that is no tensor of numbers"))
}
