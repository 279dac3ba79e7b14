//! Training losses, each a mean over the batch, and their gradients.

use super::{Family, Type, count, floats, rank, same_shape};
use crate::reference::Array;
use crate::{DType, Error, Result};

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossKind {
    /// Cross-entropy of `logits: [n, c]` and `labels: [n]` (`i64`), in nats, with label smoothing:
    /// the target is `(1 - s)` on the label plus `s / c` on every class (Szegedy et al. 2016, 7).
    CrossEntropy {
        /// `s`, in `[0, 1)`.
        label_smoothing: f32,
    },
    /// Mean of `(prediction - target)²`; both of one shape.
    MeanSquaredError,
    /// Mean binary cross-entropy of `logits` and `targets` in `[0, 1]`, in nats; both of one shape.
    BinaryCrossEntropy,
}

/// `(prediction, target) → loss: []`, or with `grad` `(prediction, target, dloss: []) → dprediction`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Which loss.
    pub kind: LossKind,
    /// Compute the gradient instead.
    pub grad: bool,
}

impl Family for Loss {
    fn name(&self) -> &'static str {
        match (self.kind, self.grad) {
            (LossKind::CrossEntropy { .. }, false) => "CrossEntropy",
            (LossKind::CrossEntropy { .. }, true) => "CrossEntropyGrad",
            (LossKind::MeanSquaredError, false) => "MeanSquaredError",
            (LossKind::MeanSquaredError, true) => "MeanSquaredErrorGrad",
            (LossKind::BinaryCrossEntropy, false) => "BinaryCrossEntropy",
            (LossKind::BinaryCrossEntropy, true) => "BinaryCrossEntropyGrad",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self.kind {
            LossKind::CrossEntropy { label_smoothing } if label_smoothing != 0.0 => {
                vec![("label_smoothing", label_smoothing.to_string())]
            }
            _ => Vec::new(),
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = 2 + usize::from(self.grad);
        count(inputs, n, n)?;
        let dtype = floats(&inputs[..1], 1, 1)?;
        let (x, t) = (&inputs[0], &inputs[1]);
        if x.is_empty() {
            return Err(Error::shape("the mean loss of no samples"));
        }
        match self.kind {
            LossKind::CrossEntropy { label_smoothing } => {
                rank("logits", &x.shape, 2)?;
                same_shape("labels", &t.shape, &x.shape[..1])?;
                if t.dtype != DType::I64 {
                    return Err(Error::dtype(format!(
                        "labels are {}, expected i64",
                        t.dtype
                    )));
                }
                if !(0.0..1.0).contains(&label_smoothing) {
                    return Err(Error::attribute(format!(
                        "label smoothing {label_smoothing}"
                    )));
                }
            }
            LossKind::MeanSquaredError | LossKind::BinaryCrossEntropy => {
                same_shape("target", &t.shape, &x.shape)?;
                floats(&inputs[..2], 2, 2)?;
            }
        }
        if !self.grad {
            return Ok(vec![Type::new(dtype, &[])]);
        }
        same_shape("dloss", &inputs[2].shape, &[])?;
        Ok(vec![x.clone()])
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        2 * inputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (x, t) = (inputs[0], inputs[1]);
        let scale = if self.grad { inputs[2].values[0] } else { 1.0 };
        let (terms, gradient): (Vec<f64>, Vec<f64>) = match self.kind {
            LossKind::CrossEntropy { label_smoothing } => {
                cross_entropy(x, t, f64::from(label_smoothing))
            }
            LossKind::MeanSquaredError => {
                let diff = || x.values.iter().zip(&t.values).map(|(x, t)| x - t);
                (
                    diff().map(|d| d * d).collect(),
                    diff().map(|d| 2.0 * d).collect(),
                )
            }
            LossKind::BinaryCrossEntropy => {
                let pairs = || x.values.iter().zip(&t.values);
                let term = |(x, t): (&f64, &f64)| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
                let slope = |(x, t): (&f64, &f64)| 1.0 / (1.0 + (-x).exp()) - t;
                (pairs().map(term).collect(), pairs().map(slope).collect())
            }
        };
        let n = terms.len() as f64;
        let values = if self.grad {
            gradient.into_iter().map(|g| g * scale / n).collect()
        } else {
            vec![terms.iter().sum::<f64>() / n]
        };
        vec![Array::new(&outputs[0].shape, values)]
    }
}

/// Loss of each row, and the gradient of each row's loss.
fn cross_entropy(x: &Array, labels: &Array, smoothing: f64) -> (Vec<f64>, Vec<f64>) {
    let c = x.shape[1];
    let (mut terms, mut gradient) = (Vec::new(), Vec::new());
    for (row, &label) in x.values.chunks(c).zip(&labels.values) {
        assert!(
            label >= 0.0 && (label as usize) < c,
            "label {label} of {c} classes"
        );
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = row.iter().map(|v| (v - max).exp()).sum::<f64>().ln() + max;
        let target = |j: usize| {
            smoothing / c as f64
                + if j == label as usize {
                    1.0 - smoothing
                } else {
                    0.0
                }
        };
        terms.push(
            row.iter()
                .enumerate()
                .map(|(j, v)| target(j) * (log_sum - v))
                .sum(),
        );
        gradient.extend(
            row.iter()
                .enumerate()
                .map(|(j, v)| (v - log_sum).exp() - target(j)),
        );
    }
    (terms, gradient)
}
