//! Optimizers: what a gradient does to the weights.

use std::collections::BTreeMap;

use bantam_core::Tensor;
use bantam_kernels::{self as kernels, AdamStep, SgdStep};

use crate::{Params, Result};

/// An optimizer and its constants.
#[derive(Clone, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent, with momentum unless that is 0.
    Sgd {
        /// Share of the velocity kept.
        momentum: f32,
        /// Look ahead by one step of momentum (Nesterov).
        nesterov: bool,
    },
    /// Adam (Kingma, Ba 2015), or with `decoupled` AdamW (Loshchilov, Hutter 2019).
    Adam {
        /// Share of the mean gradient kept.
        beta1: f32,
        /// Share of the mean squared gradient kept.
        beta2: f32,
        /// Added to the root of the mean square.
        epsilon: f32,
        /// Take the weight decay off the weights instead of adding it to the gradient.
        decoupled: bool,
    },
}

impl Optimizer {
    /// Adam with its usual constants.
    pub fn adam() -> Optimizer {
        Optimizer::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decoupled: false,
        }
    }

    fn n_slots(&self) -> usize {
        match self {
            Optimizer::Sgd { .. } => 1,
            Optimizer::Adam { .. } => 2,
        }
    }
}

/// What an optimizer remembers of each parameter: velocity, or the two means of Adam. A map from
/// `name.slot` to values of the parameter's shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slots(pub BTreeMap<String, Tensor>);

/// One update of all parameters.
pub(crate) struct Update<'a> {
    pub(crate) optimizer: &'a Optimizer,
    pub(crate) learning_rate: f32,
    /// On weights of two or more axes; biases and normalisation are left alone.
    pub(crate) weight_decay: f32,
    /// Number of this update, from 1.
    pub(crate) t: u64,
    pub(crate) masks: &'a BTreeMap<String, Vec<f32>>,
}

impl Update<'_> {
    /// Applies the gradients, given in the order of `names`, to the parameters.
    pub(crate) fn apply(
        &self,
        names: &[String],
        gradients: &[&[f32]],
        params: &mut Params,
        slots: &mut Slots,
    ) -> Result<()> {
        for (name, gradient) in names.iter().zip(gradients) {
            let weight = params
                .0
                .get_mut(name)
                .expect("parameters are those of the graph");
            let shape = weight.shape().to_vec();
            let decay = if shape.len() >= 2 {
                self.weight_decay
            } else {
                0.0
            };
            let mut memory: Vec<Tensor> = (0..self.optimizer.n_slots())
                .map(|i| slots.0.remove(&format!("{name}.{i}")))
                .map(|t| t.unwrap_or_else(|| Tensor::zeros(weight.dtype(), &shape)))
                .collect();
            let mask = self.masks.get(name).map(Vec::as_slice);
            self.step(weight.values_mut()?, gradient, &mut memory, mask, decay)?;
            for (i, t) in memory.into_iter().enumerate() {
                slots.0.insert(format!("{name}.{i}"), t);
            }
        }
        Ok(())
    }

    fn step(
        &self,
        weight: &mut [f32],
        gradient: &[f32],
        memory: &mut [Tensor],
        mask: Option<&[f32]>,
        weight_decay: f32,
    ) -> Result<()> {
        let lr = self.learning_rate;
        match *self.optimizer {
            Optimizer::Sgd { momentum, nesterov } => {
                let step = SgdStep {
                    lr,
                    momentum,
                    nesterov,
                    weight_decay,
                };
                kernels::sgd(&step, weight, gradient, memory[0].values_mut()?, mask);
            }
            Optimizer::Adam {
                beta1,
                beta2,
                epsilon,
                decoupled,
            } => {
                let t = self.t;
                let step = AdamStep {
                    lr,
                    beta1,
                    beta2,
                    epsilon,
                    weight_decay,
                    decoupled,
                    t,
                };
                let (m, v) = memory.split_at_mut(1);
                kernels::adam(
                    &step,
                    weight,
                    gradient,
                    m[0].values_mut()?,
                    v[0].values_mut()?,
                    mask,
                );
            }
        }
        Ok(())
    }
}

/// Scales all gradients so that their common norm is at most `limit` (Pascanu et al. 2013, algorithm 1);
/// gradients of pruned weights do not count.
pub(crate) fn clip(
    limit: f32,
    names: &[String],
    masks: &BTreeMap<String, Vec<f32>>,
    gradients: &mut [Vec<f32>],
) {
    for (name, gradient) in names.iter().zip(gradients.iter_mut()) {
        if let Some(mask) = masks.get(name) {
            gradient.iter_mut().zip(mask).for_each(|(g, m)| *g *= m);
        }
    }
    let norm = gradients
        .iter()
        .map(|g| kernels::sum_of_squares(g))
        .sum::<f64>()
        .sqrt();
    if norm > f64::from(limit) {
        let factor = (f64::from(limit) / norm) as f32;
        gradients.iter_mut().for_each(|g| kernels::scale(g, factor));
    }
}
