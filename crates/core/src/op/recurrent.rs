//! Recurrent layers over `t` steps: LSTM, GRU and plain, forwards, backwards or both.

use super::{Family, Type, count, same_shape};
use crate::reference::Array;
use crate::{DType, Error, Result};

/// Which cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// One gate: `h = f(W x + R h + b)`.
    Plain,
    /// Gates in the order input, output, forget, cell (ONNX `LSTM`).
    Lstm,
    /// Gates in the order update, reset, hidden (ONNX `GRU`).
    Gru {
        /// Apply the reset gate after the product with `R` rather than before.
        linear_before_reset: bool,
    },
}

/// An activation of a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the functions")]
pub enum Activation {
    Sigmoid,
    Tanh,
    Relu,
    Affine { alpha: f32, beta: f32 },
    LeakyRelu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    Elu { alpha: f32 },
    Softsign,
    Softplus,
}

impl Activation {
    /// The function, in `f64`.
    pub fn value(self, x: f64) -> f64 {
        let f = f64::from;
        match self {
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
            Activation::Affine { alpha, beta } => f(alpha) * x + f(beta),
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    f(alpha) * x
                } else {
                    x
                }
            }
            Activation::ThresholdedRelu { alpha } => {
                if x >= f(alpha) {
                    x
                } else {
                    0.0
                }
            }
            Activation::ScaledTanh { alpha, beta } => f(alpha) * (f(beta) * x).tanh(),
            Activation::HardSigmoid { alpha, beta } => (f(alpha) * x + f(beta)).clamp(0.0, 1.0),
            Activation::Elu { alpha } => {
                if x < 0.0 {
                    f(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// Which way the steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Direction {
    Forward,
    Reverse,
    Both,
}

/// A recurrent layer, with `d` directions, hidden size `u` and `g` gates:
/// `(x: [t, n, i], w: [d, g u, i], r: [d, g u, u], b: [d, 2 g u], lengths: [n] i32,
/// h: [d, n, u][, c: [d, n, u], p: [d, 3 u]]) → (y: [t, d, n, u], h: [d, n, u][, c: [d, n, u]])`.
/// The cell state `c` and the peepholes `p` are of LSTM only.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// Which cell.
    pub cell: Cell,
    /// Which way.
    pub direction: Direction,
    /// Activations of one direction after the other: one for plain, two for GRU, three for LSTM.
    pub activations: Vec<Activation>,
    /// Values before an activation are clipped to this on both sides.
    pub clip: Option<f32>,
    /// Input and forget gate of an LSTM are one.
    pub input_forget: bool,
    /// The hidden size, if it was said; it is that of the weights, which may be known only later.
    pub units: Option<usize>,
}

impl Recurrent {
    /// Number of gates.
    pub fn n_gates(&self) -> usize {
        match self.cell {
            Cell::Plain => 1,
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
        }
    }

    /// Number of directions.
    pub fn n_directions(&self) -> usize {
        1 + usize::from(self.direction == Direction::Both)
    }

    fn per_direction(&self) -> usize {
        match self.cell {
            Cell::Plain => 1,
            Cell::Lstm => 3,
            Cell::Gru { .. } => 2,
        }
    }

    /// The new hidden and cell state of one sample. `from_x` is `W x` and `from_h` is `R h` for all
    /// gates, `b` both biases; `again` computes `R h` of the last gate for another `h`.
    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        d: usize,
        u: usize,
        from_x: &[f64],
        from_h: &[f64],
        b: &[f64],
        p: &[f64],
        h: &mut [f64],
        c: &mut [f64],
        again: &dyn Fn(&[f64], usize) -> f64,
    ) {
        let g = self.n_gates() * u;
        let f = |i: usize, x: f64| {
            let clip = f64::from(self.clip.unwrap_or(f32::INFINITY));
            self.activations[d * self.per_direction() + i].value(x.clamp(-clip, clip))
        };
        let sum = |i: usize| from_x[i] + from_h[i] + b[i] + b[g + i];
        match self.cell {
            Cell::Plain => (0..u).for_each(|j| h[j] = f(0, sum(j))),
            Cell::Lstm => {
                for j in 0..u {
                    let forget = f(0, sum(2 * u + j) + p[2 * u + j] * c[j]);
                    let input = match self.input_forget {
                        true => 1.0 - forget,
                        false => f(0, sum(j) + p[j] * c[j]),
                    };
                    c[j] = forget * c[j] + input * f(1, sum(3 * u + j));
                    let output = f(0, sum(u + j) + p[u + j] * c[j]);
                    h[j] = output * f(2, c[j]);
                }
            }
            Cell::Gru {
                linear_before_reset,
            } => {
                let reset: Vec<f64> = (0..u).map(|j| f(0, sum(u + j))).collect();
                let gated: Vec<f64> = (0..u).map(|j| reset[j] * h[j]).collect();
                for j in 0..u {
                    let i = 2 * u + j;
                    let hidden = match linear_before_reset {
                        true => from_x[i] + b[i] + reset[j] * (from_h[i] + b[g + i]),
                        false => from_x[i] + b[i] + again(&gated, i) + b[g + i],
                    };
                    let update = f(0, sum(j));
                    h[j] = (1.0 - update) * f(1, hidden) + update * h[j];
                }
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

impl Family for Recurrent {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Plain => "RNN",
            Cell::Lstm => "LSTM",
            Cell::Gru { .. } => "GRU",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let names: Vec<String> = self.activations.iter().map(|a| format!("{a:?}")).collect();
        let mut a = vec![("activations", names.join(","))];
        if self.direction != Direction::Forward {
            a.push(("direction", format!("{:?}", self.direction)));
        }
        if let Some(clip) = self.clip {
            a.push(("clip", clip.to_string()));
        }
        if self.input_forget {
            a.push(("input_forget", "true".to_owned()));
        }
        if self.cell
            == (Cell::Gru {
                linear_before_reset: true,
            })
        {
            a.push(("linear_before_reset", "true".to_owned()));
        }
        if let Some(units) = self.units {
            a.push(("units", units.to_string()));
        }
        a
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        vec![inputs[0]; if self.cell == Cell::Lstm { 3 } else { 2 }]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let lstm = self.cell == Cell::Lstm;
        let n_inputs = if lstm { 8 } else { 6 };
        count(inputs, n_inputs, n_inputs)?;
        let (x, r) = (&inputs[0], &inputs[2].shape);
        super::rank("x", &x.shape, 3)?;
        super::rank("r", r, 3)?;
        let (d, u, g) = (self.n_directions(), r[2], self.n_gates());
        if self.units.is_some_and(|units| units != u) {
            let said = self.units.unwrap_or(0);
            let message = format!("{said} units were said, but r is {r:?}");
            return Err(Error::attribute(message));
        }
        let [t, n, i] = [x.shape[0], x.shape[1], x.shape[2]];
        let shapes: [(&str, &[usize]); 8] = [
            ("x", &[t, n, i]),
            ("w", &[d, g * u, i]),
            ("r", &[d, g * u, u]),
            ("b", &[d, 2 * g * u]),
            ("lengths", &[n]),
            ("h", &[d, n, u]),
            ("c", &[d, n, u]),
            ("p", &[d, 3 * u]),
        ];
        for (input, (what, shape)) in inputs.iter().zip(shapes) {
            same_shape(what, &input.shape, shape)?;
            let expected = if what == "lengths" {
                DType::I32
            } else {
                x.dtype
            };
            if input.dtype != expected || !x.dtype.is_float() {
                return Err(Error::dtype(format!("{what} is {}", input.dtype)));
            }
        }
        let expected = d * self.per_direction();
        if self.activations.len() != expected {
            let found = self.activations.len();
            return Err(Error::attribute(format!(
                "{found} activations, expected {expected}"
            )));
        }
        let state = Type::new(x.dtype, &[d, n, u]);
        let mut outputs = vec![Type::new(x.dtype, &[t, d, n, u]), state.clone()];
        if lstm {
            outputs.push(state);
        }
        Ok(outputs)
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        let (x, w, r) = (&inputs[0].shape, inputs[1].len(), inputs[2].len());
        (x[0] * x[1] * (w + r)) as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (x, w, r) = (inputs[0], inputs[1], inputs[2]);
        let [t, n, i] = [x.shape[0], x.shape[1], x.shape[2]];
        let (u, g) = (r.shape[2], self.n_gates());
        let gu = g * u;
        let mut y = Array::zeros(&outputs[0].shape);
        let (mut hs, lengths) = (inputs[5].clone(), &inputs[4].values);
        let mut cs = inputs.get(6).map_or_else(|| hs.clone(), |c| (*c).clone());
        let none = vec![0.0; 3 * u];
        let d = self.n_directions();
        for (dir, s) in (0..d).flat_map(|dir| (0..n).map(move |s| (dir, s))) {
            let backwards = self.direction == Direction::Reverse || dir == 1;
            let length = (lengths[s].max(0.0) as usize).min(t);
            let row = |k: usize, len: usize| (dir * gu + k) * len..(dir * gu + k + 1) * len;
            let b = &inputs[3].values[dir * 2 * gu..][..2 * gu];
            let p = inputs
                .get(7)
                .map_or(&none[..], |p| &p.values[dir * 3 * u..][..3 * u]);
            let state = (dir * n + s) * u;
            let (mut h, mut c) = (
                hs.values[state..][..u].to_vec(),
                cs.values[state..][..u].to_vec(),
            );
            let again = |h: &[f64], k: usize| dot(&r.values[row(k, u)], h);
            for step in 0..length {
                let at = if backwards { length - 1 - step } else { step };
                let input = &x.values[(at * n + s) * i..][..i];
                let from_x: Vec<f64> = (0..gu).map(|k| dot(&w.values[row(k, i)], input)).collect();
                let from_h: Vec<f64> = (0..gu).map(|k| again(&h, k)).collect();
                self.step(dir, u, &from_x, &from_h, b, p, &mut h, &mut c, &again);
                y.values[((at * d + dir) * n + s) * u..][..u].copy_from_slice(&h);
            }
            hs.values[state..][..u].copy_from_slice(&h);
            cs.values[state..][..u].copy_from_slice(&c);
        }
        let mut results = vec![y, hs];
        if self.cell == Cell::Lstm {
            results.push(cs);
        }
        results
    }
}
