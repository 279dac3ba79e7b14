//! Steps that stand for a chain of small operators, rounded where the chain rounds.

use bantam_kernels::{self as kernels, LayerNorm, map};

/// Layer normalisation with its stored vectors.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) epsilon: f32,
    pub(crate) reciprocal: bool,
}

impl Norm {
    /// Bytes of the stored vectors.
    pub(crate) fn weight_bytes(&self) -> usize {
        (self.gamma.len() + self.beta.len()) * size_of::<f32>()
    }

    /// Normalises the rows of `x`, after adding `added`; slices may be longer than `y`.
    pub(crate) fn run(&self, x: &[f32], added: Option<&[f32]>, y: &mut [f32]) {
        let norm = LayerNorm {
            gamma: &self.gamma,
            beta: &self.beta,
            epsilon: self.epsilon,
            reciprocal: self.reciprocal,
        };
        kernels::layer_norm(norm, &x[..y.len()], added.map(|a| &a[..y.len()]), y);
    }
}

/// `x (erf(x / by) + 1) factor`, or with `x by` inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gelu {
    pub(crate) divides: bool,
    pub(crate) by: f32,
    pub(crate) factor: f32,
}

impl Gelu {
    /// `x` may be longer than `y`.
    pub(crate) fn run(self, x: &[f32], y: &mut [f32]) {
        let Gelu {
            divides,
            by,
            factor,
        } = self;
        let x = &x[..y.len()];
        match divides {
            true => map(
                x,
                y,
                #[inline(always)]
                move |x| (kernels::erf(x / by) + 1.0) * x * factor,
            ),
            false => map(
                x,
                y,
                #[inline(always)]
                move |x| (kernels::erf(x * by) + 1.0) * x * factor,
            ),
        }
    }
}
