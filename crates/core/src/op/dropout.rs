//! Dropout (Srivastava et al. 2014), in its inverted form.

use super::{Family, Type, count, floats};
use crate::reference::Array;
use crate::{DType, Error, Result};

/// Dropout of a share of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dropout {
    /// What stands in a network: the identity; training puts [`Dropout::Mask`] in its place.
    Identity {
        /// Share of the values dropped in training, in `[0, 1)`.
        ratio: f32,
    },
    /// `(like, seed) → mask` of 0 and `1 / (1 - ratio)`, where `seed: []` is `i64` and changes at
    /// every step. Only the shape of `like` is read.
    Mask {
        /// Share of zeros.
        ratio: f32,
        /// Tells the dropouts of one network apart.
        stream: u32,
    },
}

impl Dropout {
    /// Value `index` of the mask for `seed`: a function of its arguments alone, so that the number
    /// of threads does not matter.
    pub fn mask_value(ratio: f32, stream: u32, seed: i64, index: u64) -> f32 {
        // The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over a counter.
        let mut z = (seed as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(u64::from(stream) << 40)
            .wrapping_add(index.wrapping_mul(0xD134_2543_DE82_EF95));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let uniform = ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32;
        if uniform < ratio {
            0.0
        } else {
            1.0 / (1.0 - ratio)
        }
    }

    fn ratio(&self) -> f32 {
        match *self {
            Dropout::Identity { ratio } | Dropout::Mask { ratio, .. } => ratio,
        }
    }
}

impl Family for Dropout {
    fn name(&self) -> &'static str {
        match self {
            Dropout::Identity { .. } => "Dropout",
            Dropout::Mask { .. } => "DropoutMask",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("ratio", self.ratio().to_string())]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        if !(0.0..1.0).contains(&self.ratio()) {
            return Err(Error::attribute(format!(
                "ratio {} is not in [0, 1)",
                self.ratio()
            )));
        }
        match self {
            Dropout::Identity { .. } => floats(inputs, 1, 1).map(drop)?,
            Dropout::Mask { .. } => {
                count(inputs, 2, 2)?;
                if inputs[1] != Type::new(DType::I64, &[]) {
                    return Err(Error::dtype(format!(
                        "seed is {:?}, expected i64 []",
                        inputs[1]
                    )));
                }
            }
        }
        Ok(vec![inputs[0].clone()])
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        outputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        match *self {
            Dropout::Identity { .. } => vec![inputs[0].clone()],
            Dropout::Mask { ratio, stream } => {
                let seed = inputs[1].values[0] as i64;
                let value = |i: usize| f64::from(Self::mask_value(ratio, stream, seed, i as u64));
                vec![Array::new(
                    &outputs[0].shape,
                    (0..outputs[0].len()).map(value).collect(),
                )]
            }
        }
    }

    fn reads(&self, idx: usize) -> bool {
        matches!(self, Dropout::Identity { .. }) || idx == 1
    }
}
