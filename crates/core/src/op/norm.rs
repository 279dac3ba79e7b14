//! Batch normalisation (Ioffe, Szegedy 2015, algorithms 1 and 2) over axis 1.

use super::{Family, Type, floats, same_shape};
use crate::reference::Array;
use crate::{Error, Result};

/// Which of the three computations of batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormRole {
    /// `(x, gamma, beta, mean, var) → y`, with stored statistics.
    Inference,
    /// `(x, gamma, beta) → (y, mean, var)`, with the statistics of the batch; `var` is biased.
    Training,
    /// `(x, gamma, mean, var, dy) → (dx, dgamma, dbeta)`, where mean and var are of the batch.
    Grad,
}

/// Batch normalisation of `x: [n, c, …]`; all other values are `[c]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Which computation.
    pub role: NormRole,
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of the old running statistics kept at each training step.
    pub momentum: f32,
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm {
            role: NormRole::Inference,
            epsilon: 1e-5,
            momentum: 0.9,
        }
    }
}

impl BatchNorm {
    /// The same normalisation in another role.
    pub fn with_role(self, role: NormRole) -> BatchNorm {
        BatchNorm { role, ..self }
    }

    fn n_inputs(&self) -> usize {
        match self.role {
            NormRole::Inference | NormRole::Grad => 5,
            NormRole::Training => 3,
        }
    }
}

/// `x` as `[n, c, s]`.
pub fn channels(x: &[usize]) -> (usize, usize, usize) {
    (x[0], x[1], x[2..].iter().product())
}

fn moments(x: &Array) -> (Vec<f64>, Vec<f64>) {
    let (n, c, s) = channels(&x.shape);
    let count = (n * s) as f64;
    let over = |ch: usize| (0..n).flat_map(move |i| (0..s).map(move |j| (i * c + ch) * s + j));
    let mean: Vec<f64> = (0..c)
        .map(|ch| over(ch).map(|i| x.values[i]).sum::<f64>() / count)
        .collect();
    let var = (0..c)
        .map(|ch| {
            over(ch)
                .map(|i| (x.values[i] - mean[ch]).powi(2))
                .sum::<f64>()
                / count
        })
        .collect();
    (mean, var)
}

impl BatchNorm {
    fn apply(&self, x: &Array, gamma: &[f64], beta: &[f64], mean: &[f64], var: &[f64]) -> Array {
        let (_, c, s) = channels(&x.shape);
        let eps = f64::from(self.epsilon);
        let f = |(i, v): (usize, &f64)| {
            let ch = i / s % c;
            (v - mean[ch]) / (var[ch] + eps).sqrt() * gamma[ch] + beta[ch]
        };
        Array::new(&x.shape, x.values.iter().enumerate().map(f).collect())
    }

    fn grad(&self, inputs: &[&Array]) -> Vec<Array> {
        let [x, gamma, mean, var, dy] = inputs else {
            unreachable!("five inputs were checked")
        };
        let (n, c, s) = channels(&x.shape);
        let count = (n * s) as f64;
        let inv: Vec<f64> = var
            .values
            .iter()
            .map(|v| 1.0 / (v + f64::from(self.epsilon)).sqrt())
            .collect();
        let (mut dgamma, mut dbeta) = (Array::zeros(&[c]), Array::zeros(&[c]));
        for (i, &d) in dy.values.iter().enumerate() {
            let ch = i / s % c;
            dbeta.values[ch] += d;
            dgamma.values[ch] += d * (x.values[i] - mean.values[ch]) * inv[ch];
        }
        let f = |(i, d): (usize, &f64)| {
            let ch = i / s % c;
            let xhat = (x.values[i] - mean.values[ch]) * inv[ch];
            let centred = d - dbeta.values[ch] / count - xhat * dgamma.values[ch] / count;
            gamma.values[ch] * inv[ch] * centred
        };
        let dx = Array::new(&x.shape, dy.values.iter().enumerate().map(f).collect());
        vec![dx, dgamma, dbeta]
    }
}

impl Family for BatchNorm {
    fn name(&self) -> &'static str {
        match self.role {
            NormRole::Inference => "BatchNormalization",
            NormRole::Training => "BatchNormTraining",
            NormRole::Grad => "BatchNormGrad",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("epsilon", self.epsilon.to_string()),
            ("momentum", self.momentum.to_string()),
        ]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = self.n_inputs();
        let dtype = floats(inputs, n, n)?;
        let x = &inputs[0];
        if x.shape.len() < 2 {
            return Err(Error::shape(format!(
                "x: expected 2 or more axes, found {:?}",
                x.shape
            )));
        }
        if self.role != NormRole::Inference && x.is_empty() {
            return Err(Error::shape("x: batch statistics of no values".to_owned()));
        }
        let per_channel = if self.role == NormRole::Grad {
            1..4
        } else {
            1..n
        };
        for t in &inputs[per_channel] {
            same_shape("per-channel input", &t.shape, &[x.shape[1]])?;
        }
        let c = Type::new(dtype, &[x.shape[1]]);
        if self.role == NormRole::Grad {
            same_shape("dy", &inputs[4].shape, &x.shape)?;
        }
        Ok(match self.role {
            NormRole::Inference => vec![x.clone()],
            NormRole::Training | NormRole::Grad => vec![x.clone(), c.clone(), c],
        })
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        let passes = if self.role == NormRole::Inference {
            1
        } else {
            3
        };
        passes * inputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], _outputs: &[Type]) -> Vec<Array> {
        let v = |i: usize| &inputs[i].values[..];
        match self.role {
            NormRole::Inference => vec![self.apply(inputs[0], v(1), v(2), v(3), v(4))],
            NormRole::Training => {
                let (mean, var) = moments(inputs[0]);
                let y = self.apply(inputs[0], v(1), v(2), &mean, &var);
                let c = [mean.len()];
                vec![y, Array::new(&c, mean), Array::new(&c, var)]
            }
            NormRole::Grad => self.grad(inputs),
        }
    }
}
