//! The stored values of a network: dense, masked, or codebook and indices.

use std::borrow::Cow;

use crate::tensor::element_count;
use crate::{DType, Error, Result, Tensor, each_type};

/// A constant of a [`Graph`](crate::Graph) in one of the forms that compression gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Weight {
    /// Plain values.
    Dense(Tensor),
    /// Float values with a mask: pruned ones are exactly 0 and stay 0 in training.
    Masked(Masked),
    /// A codebook and one index per element: trained quantization.
    Codebook(Codebook),
}

/// Values of which some are pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct Masked {
    values: Tensor,
    keep: Vec<bool>,
}

impl Masked {
    /// Keeps the `f32` values where `keep` is true and sets the others to 0.
    pub fn new(values: &Tensor, keep: Vec<bool>) -> Result<Masked> {
        let kept = values.values::<f32>()?;
        if keep.len() != kept.len() {
            return Err(Error::shape(format!(
                "a mask of {} elements for a weight of {}",
                keep.len(),
                kept.len()
            )));
        }
        let kept = kept
            .iter()
            .zip(&keep)
            .map(|(&v, &k)| if k { v } else { 0.0 })
            .collect();
        Ok(Masked {
            values: Tensor::new::<f32>(values.shape(), kept)?,
            keep,
        })
    }

    /// The values; 0 where pruned.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// True where the value is kept.
    pub fn keep(&self) -> &[bool] {
        &self.keep
    }
}

/// Quantized values: element `i` is `entries[indices[i]]`, and entry 0 is exactly 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebook {
    shape: Vec<usize>,
    entries: Vec<f32>,
    indices: Vec<u8>,
}

impl Codebook {
    /// Checks and wraps: at most 256 finite entries of which the first is 0, indices in range and
    /// as many as `shape` has elements.
    pub fn new(shape: &[usize], entries: Vec<f32>, indices: Vec<u8>) -> Result<Codebook> {
        if entries.is_empty() || entries.len() > 256 || entries[0] != 0.0 {
            return Err(Error::attribute(format!(
                "a codebook has 1 to 256 entries of which the first is 0, found {} entries",
                entries.len()
            )));
        }
        if let Some(bad) = entries.iter().find(|e| !e.is_finite()) {
            return Err(Error::attribute(format!(
                "codebook entry {bad} is not finite"
            )));
        }
        if element_count(shape)? != indices.len() {
            return Err(Error::shape(format!(
                "{} indices for shape {shape:?}",
                indices.len()
            )));
        }
        if let Some(bad) = indices.iter().find(|&&i| usize::from(i) >= entries.len()) {
            return Err(Error::attribute(format!(
                "index {bad} into {} entries",
                entries.len()
            )));
        }
        Ok(Codebook {
            shape: shape.to_vec(),
            entries,
            indices,
        })
    }

    /// Shape of the weight.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The shared values; the first is 0.
    pub fn entries(&self) -> &[f32] {
        &self.entries
    }

    /// One index per element, row-major.
    pub fn indices(&self) -> &[u8] {
        &self.indices
    }

    /// The same indices into other entries; errs as [`Codebook::new`].
    pub fn with_entries(&self, entries: Vec<f32>) -> Result<Codebook> {
        Codebook::new(&self.shape, entries, self.indices.clone())
    }

    fn decode(&self) -> Vec<f32> {
        self.indices
            .iter()
            .map(|&i| self.entries[usize::from(i)])
            .collect()
    }
}

impl Weight {
    /// Shape of the weight.
    pub fn shape(&self) -> &[usize] {
        match self {
            Weight::Dense(t) => t.shape(),
            Weight::Masked(m) => m.values.shape(),
            Weight::Codebook(c) => &c.shape,
        }
    }

    /// Element type once decoded.
    pub fn dtype(&self) -> DType {
        match self {
            Weight::Dense(t) => t.dtype(),
            Weight::Masked(_) | Weight::Codebook(_) => DType::F32,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of elements that are kept by the mask, have a non-zero index, or are not 0.
    pub fn nonzero(&self) -> usize {
        match self {
            Weight::Masked(m) => m.keep.iter().filter(|&&k| k).count(),
            Weight::Codebook(c) => c.indices.iter().filter(|&&i| i != 0).count(),
            Weight::Dense(t) => {
                each_type!(t.data(), v => v.iter().filter(|&&x| x != Default::default()).count())
            }
        }
    }

    /// The plain values, decoded if need be.
    pub fn tensor(&self) -> Cow<'_, Tensor> {
        match self {
            Weight::Dense(t) => Cow::Borrowed(t),
            Weight::Masked(m) => Cow::Borrowed(&m.values),
            Weight::Codebook(c) => {
                let decoded = Tensor::new(&c.shape, c.decode());
                Cow::Owned(decoded.expect("a codebook has as many indices as elements"))
            }
        }
    }

    /// How the values are kept, for dumps: `dense`, `masked`, `codebook`.
    pub fn form(&self) -> &'static str {
        match self {
            Weight::Dense(_) => "dense",
            Weight::Masked(_) => "masked",
            Weight::Codebook(_) => "codebook",
        }
    }
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Weight {
        Weight::Dense(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_decode_and_refuse() {
        let t = Tensor::new(&[4], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let masked = Masked::new(&t, vec![true, false, false, true]).unwrap();
        let w = Weight::Masked(masked);
        assert_eq!(w.tensor().values::<f32>().unwrap(), [1.0, 0.0, 0.0, 4.0]);
        assert_eq!(w.nonzero(), 2);
        assert!(Masked::new(&t, vec![true]).is_err());

        let c = Codebook::new(&[2, 2], vec![0.0, -1.5, 2.5], vec![0, 1, 2, 1]).unwrap();
        let w = Weight::Codebook(c);
        assert_eq!(w.tensor().values::<f32>().unwrap(), [0.0, -1.5, 2.5, -1.5]);
        assert_eq!((w.nonzero(), w.len()), (3, 4));
        for (entries, indices) in [
            (vec![], vec![0; 4]),
            (vec![1.0], vec![0; 4]),
            (vec![0.0, f32::NAN], vec![0; 4]),
            (vec![0.0], vec![1; 4]),
            (vec![0.0], vec![0; 3]),
        ] {
            assert!(Codebook::new(&[4], entries, indices).is_err());
        }
    }
}
