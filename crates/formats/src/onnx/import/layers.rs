//! Layers with weights: convolutions, matrix products, recurrent layers.

use bantam_core::op::late::{Padding, Sliding};
use bantam_core::op::recurrent::{Activation, Cell, Direction};
use bantam_core::op::{Binary, Conv, Dense, Late, MatMul, Recurrent};
use bantam_core::{DType, Op, ValueId};

use super::context::{Attributes, Context, Imported, given, maybe, need, unsupported};
use crate::{Error, Result};

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    let y = match op {
        "Conv" => {
            let sliding = sliding(a)?;
            conv(c, &sliding, a.int_or("group", 1)?, x)?
        }
        "ConvTranspose" => conv_transpose(c, a, x)?,
        "MatMul" => {
            let (a, b) = (need(x, 0)?, need(x, 1)?);
            c.matmul(a, b)
        }
        "Gemm" => gemm(c, a, x)?,
        "LSTM" | "GRU" | "RNN" => return recurrent(c, op, a, x),
        _ => return Ok(None),
    };
    Ok(Some(vec![y]))
}

/// The attributes of a sliding window.
pub(super) fn sliding(a: &Attributes) -> Result<Sliding> {
    let cells = |pads: Vec<usize>| -> Result<Vec<[usize; 2]>> {
        let n = pads.len() / 2;
        match pads.len() % 2 {
            0 => Ok((0..n).map(|i| [pads[i], pads[i + n]]).collect()),
            _ => Err(Error::corrupt(format!("pads {pads:?}: an odd number"))),
        }
    };
    let pads = a.sizes("pads")?;
    let padding = match a.text("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" => Padding::Cells(cells(pads)?),
        "VALID" => Padding::Cells(Vec::new()),
        "SAME_UPPER" => Padding::Same(false),
        "SAME_LOWER" => Padding::Same(true),
        other => return Err(unsupported(format!("auto_pad = {other:?}"))),
    };
    Ok(Sliding {
        kernel: a.sizes("kernel_shape")?,
        stride: a.sizes("strides")?,
        dilation: a.sizes("dilations")?,
        padding,
    })
}

fn groups(n: i64) -> Result<usize> {
    usize::try_from(n)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| Error::corrupt(format!("{n} groups")))
}

fn hidden_size(n: i64) -> Result<usize> {
    let n = usize::try_from(n).ok().filter(|n| (1..1 << 31).contains(n));
    n.ok_or_else(|| Error::corrupt("hidden_size is out of range"))
}

/// A convolution; where nothing depends on the size of the input it is concrete at once.
pub(super) fn conv(c: &mut Context, s: &Sliding, group: i64, x: Inputs) -> Result<ValueId> {
    let groups = groups(group)?;
    let inputs = given(x)?;
    let (_, w) = (need(x, 0)?, need(x, 1)?);
    let rank = c.rank(w).or(c.rank(inputs[0])).or(match s.kernel.len() {
        0 => None,
        n => Some(n + 2),
    });
    // One along one axis stays late: once concrete, only its weights tell it from one over two axes.
    let axes = rank.map_or(0, |r| r.saturating_sub(2));
    if let (2 | 3, Padding::Cells(cells)) = (axes, &s.padding)
        && [s.stride.len(), s.dilation.len(), cells.len()]
            .iter()
            .all(|&n| n == 0 || n == axes)
    {
        let or = |list: &[usize]| match list {
            [] => vec![1; axes],
            list => list.to_vec(),
        };
        let cells = match cells.as_slice() {
            [] => vec![[0, 0]; axes],
            cells => cells.to_vec(),
        };
        let conv = Conv::over(&or(&s.stride), &or(&s.dilation), &cells, groups)?;
        return Ok(c.node(Op::Conv(conv), &inputs));
    }
    Ok(c.node(
        Op::Late(Late::Conv {
            sliding: s.clone(),
            groups,
        }),
        &inputs,
    ))
}

fn conv_transpose(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let late = Late::ConvTranspose {
        sliding: sliding(a)?,
        groups: groups(a.int_or("group", 1)?)?,
        extra: a.sizes("output_padding")?,
        output: a.sizes("output_shape")?,
    };
    let inputs = given(x)?;
    Ok(c.late(late, &inputs))
}

fn gemm(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let (alpha, beta) = (a.float_or("alpha", 1.0)?, a.float_or("beta", 1.0)?);
    let (transpose_a, transpose_b) = (a.flag("transA", false)?, a.flag("transB", false)?);
    let (left, right, bias) = (need(x, 0)?, need(x, 1)?, maybe(x, 2));
    let float = c.dtype(left).is_float();
    // A bias that is no vector is added apart.
    let vector = bias.is_some_and(|b| {
        c.rank(b) == Some(1)
            && c.constant(b)
                .is_some_and(|t| Some(t.len()) == units(c, right))
    });
    let dense = float && !transpose_a && transpose_b;
    if dense && alpha == 1.0 && beta == 1.0 && vector {
        let inputs: Vec<ValueId> = [Some(left), Some(right), bias]
            .into_iter()
            .flatten()
            .collect();
        return Ok(c.node(Op::Dense(Dense), &inputs));
    }
    let mut y = match dense {
        true => c.node(Op::Dense(Dense), &[left, right]),
        false => c.node(
            Op::MatMul(MatMul {
                transpose_a,
                transpose_b,
            }),
            &[left, right],
        ),
    };
    if alpha != 1.0 {
        y = c.with(Binary::Mul, y, f64::from(alpha));
    }
    if let Some(mut b) = bias {
        if beta != 1.0 {
            b = c.with(Binary::Mul, b, f64::from(beta));
        }
        y = c.add(y, b);
    }
    Ok(y)
}

/// The first size of a stored matrix.
fn units(c: &Context, w: ValueId) -> Option<usize> {
    c.constant(w)?.shape().first().copied()
}

fn recurrent(c: &mut Context, op: &str, a: &Attributes, x: Inputs) -> Imported {
    let direction = match a.text("direction")?.unwrap_or("forward") {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Both,
        other => return Err(unsupported(format!("direction {other:?}"))),
    };
    let cell = match op {
        "LSTM" => Cell::Lstm,
        "GRU" => Cell::Gru {
            linear_before_reset: a.flag("linear_before_reset", false)?,
        },
        _ => Cell::Plain,
    };
    let batch_first = a.flag("layout", false)?;
    let mut layer = Recurrent {
        cell,
        direction,
        activations: Vec::new(),
        clip: a.float("clip")?,
        input_forget: cell == Cell::Lstm && a.flag("input_forget", false)?,
        units: a.int("hidden_size")?.map(hidden_size).transpose()?,
    };
    layer.activations = activations(a, &layer)?;
    let (mut data, w, r) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
    let dtype = c.dtype(data);
    if batch_first {
        data = c.transpose(data, &[1, 0, 2]);
    }
    let (d, g) = (layer.n_directions() as i64, layer.n_gates() as i64);
    let (zero, directions) = (c.scalar(0.0, dtype), c.ints(&[d]));
    let n = c.size(data, 1);
    let u = c.size(r, 2);
    let missing = |c: &mut Context, sizes: &[ValueId]| {
        let shape = c.concat(0, sizes);
        c.late(Late::Fill, &[zero, shape])
    };
    let bias = match maybe(x, 3) {
        Some(b) => b,
        None => {
            let twice = c.with(Binary::Mul, u, (2 * g) as f64);
            missing(c, &[directions, twice])
        }
    };
    let lengths = match maybe(x, 4) {
        Some(l) => l,
        None => {
            let t = c.size(data, 0);
            let t = c.cast(t, DType::I32);
            c.late(Late::Expand, &[t, n])
        }
    };
    let state = |c: &mut Context, i: usize| match maybe(x, i) {
        Some(h) if batch_first => c.transpose(h, &[1, 0, 2]),
        Some(h) => h,
        None => missing(c, &[directions, n, u]),
    };
    let mut inputs = vec![data, w, r, bias, lengths, state(c, 5)];
    if cell == Cell::Lstm {
        inputs.push(state(c, 6));
        inputs.push(match maybe(x, 7) {
            Some(p) => p,
            None => {
                let thrice = c.with(Binary::Mul, u, 3.0);
                missing(c, &[directions, thrice])
            }
        });
    }
    let n_outputs = if cell == Cell::Lstm { 3 } else { 2 };
    let mut outputs = c.nodes(Op::Recurrent(layer), &inputs, n_outputs);
    if batch_first {
        outputs[0] = c.transpose(outputs[0], &[2, 0, 1, 3]);
        for y in &mut outputs[1..] {
            *y = c.transpose(*y, &[1, 0, 2]);
        }
    }
    Ok(Some(outputs))
}

fn activations(a: &Attributes, layer: &Recurrent) -> Result<Vec<Activation>> {
    let defaults: &[&str] = match layer.cell {
        Cell::Plain => &["Tanh"],
        Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        Cell::Gru { .. } => &["Sigmoid", "Tanh"],
    };
    let repeated = || defaults.iter().map(|&d| d.to_owned()).cycle();
    let names = a.texts("activations")?;
    let names = names.unwrap_or_else(|| {
        repeated()
            .take(defaults.len() * layer.n_directions())
            .collect()
    });
    let mut alphas = a
        .floats("activation_alpha")?
        .unwrap_or_default()
        .into_iter();
    let mut betas = a.floats("activation_beta")?.unwrap_or_default().into_iter();
    let mut one = |name: &String| {
        let mut alpha = |default: f32| alphas.next().unwrap_or(default);
        let mut beta = |default: f32| betas.next().unwrap_or(default);
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            "relu" => Activation::Relu,
            "softsign" => Activation::Softsign,
            "softplus" => Activation::Softplus,
            "affine" => Activation::Affine {
                alpha: alpha(1.0),
                beta: beta(0.0),
            },
            "leakyrelu" => Activation::LeakyRelu { alpha: alpha(0.01) },
            "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(1.0) },
            "scaledtanh" => Activation::ScaledTanh {
                alpha: alpha(1.0),
                beta: beta(1.0),
            },
            "hardsigmoid" => Activation::HardSigmoid {
                alpha: alpha(0.2),
                beta: beta(0.5),
            },
            "elu" => Activation::Elu { alpha: alpha(1.0) },
            _ => return Err(unsupported(format!("the activation {name:?}"))),
        })
    };
    names.iter().map(&mut one).collect()
}
