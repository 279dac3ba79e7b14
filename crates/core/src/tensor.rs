//! Dense tensors: a shape and row-major values of one element type.
//!
//! A [`Tensor`] owns its values. It knows nothing of files, devices or threads, and refuses a shape
//! whose number of elements is not the number of values.

use crate::{Error, Result};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float: what networks compute in.
    F32,
    /// 64-bit IEEE float: what gradients are checked in.
    F64,
    /// 64-bit signed integer: labels and indices.
    I64,
    /// 8-bit unsigned integer: images, masks and codebook indices.
    U8,
}

impl DType {
    /// Bytes one element takes.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::U8 => 1,
        }
    }

    /// Whether the type is a float.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// The name used in dumps: `f32`, `f64`, `i64`, `u8`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::U8 => "u8",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Values of type [`DType::F32`].
    F32(Vec<f32>),
    /// Values of type [`DType::F64`].
    F64(Vec<f64>),
    /// Values of type [`DType::I64`].
    I64(Vec<i64>),
    /// Values of type [`DType::U8`].
    U8(Vec<u8>),
}

impl Data {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::U8(v) => v.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I64(_) => DType::I64,
            Data::U8(_) => DType::U8,
        }
    }

    /// `len` zeros of type `dtype`.
    pub fn zeros(dtype: DType, len: usize) -> Data {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; len]),
            DType::F64 => Data::F64(vec![0.0; len]),
            DType::I64 => Data::I64(vec![0; len]),
            DType::U8 => Data::U8(vec![0; len]),
        }
    }
}

/// An element type that a [`Tensor`] can hold.
pub trait Element: Copy + Default + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    /// The matching [`DType`].
    const DTYPE: DType;
    /// Borrows the values if they are of this type.
    fn slice(data: &Data) -> Option<&[Self]>;
    /// Borrows the values mutably if they are of this type.
    fn slice_mut(data: &mut Data) -> Option<&mut Vec<Self>>;
    /// Wraps values.
    fn wrap(values: Vec<Self>) -> Data;
}

macro_rules! element {
    ($($t:ty => $v:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$v;
            fn slice(data: &Data) -> Option<&[Self]> {
                if let Data::$v(v) = data { Some(v) } else { None }
            }
            fn slice_mut(data: &mut Data) -> Option<&mut Vec<Self>> {
                if let Data::$v(v) = data { Some(v) } else { None }
            }
            fn wrap(values: Vec<Self>) -> Data {
                Data::$v(values)
            }
        }
    )*};
}
element!(f32 => F32, f64 => F64, i64 => I64, u8 => U8);

/// A dense row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// Wraps `values` with `shape`; errs when the counts differ or the product overflows.
    pub fn new<T: Element>(shape: &[usize], values: Vec<T>) -> Result<Tensor> {
        Tensor::from_data(shape, T::wrap(values))
    }

    /// Wraps `data` with `shape`; errs when the counts differ or the product overflows.
    pub fn from_data(shape: &[usize], data: Data) -> Result<Tensor> {
        let expected = element_count(shape)?;
        if expected != data.len() {
            return Err(Error::shape(format!(
                "shape {shape:?} has {expected} elements, but {} values were given",
                data.len()
            )));
        }
        Ok(Tensor {
            shape: shape.to_vec(),
            data,
        })
    }

    /// A tensor of zeros.
    ///
    /// # Panics
    /// When the number of elements overflows `usize`.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        Tensor {
            shape: shape.to_vec(),
            data: Data::zeros(dtype, len),
        }
    }

    /// A tensor with no axes that holds one value.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor {
            shape: Vec::new(),
            data: T::wrap(vec![value]),
        }
    }

    /// Sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The values with their type.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Takes the values out.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Borrows the values as `T`; errs when the tensor holds another type.
    pub fn values<T: Element>(&self) -> Result<&[T]> {
        T::slice(&self.data).ok_or_else(|| {
            Error::dtype(format!(
                "expected {} values, found {}",
                T::DTYPE,
                self.dtype()
            ))
        })
    }

    /// Borrows the values as `T`, mutably; errs when the tensor holds another type.
    pub fn values_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        let found = self.dtype();
        T::slice_mut(&mut self.data)
            .map(Vec::as_mut_slice)
            .ok_or_else(|| Error::dtype(format!("expected {} values, found {found}", T::DTYPE)))
    }

    /// The same values under another shape; errs when the counts differ.
    pub fn reshape(self, shape: &[usize]) -> Result<Tensor> {
        Tensor::from_data(shape, self.data)
    }

    /// The values converted to `dtype`: floats round to nearest, floats to integers truncate and
    /// saturate, as Rust's `as` does.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype() {
            return self.clone();
        }
        let data = match (dtype, &self.data) {
            (DType::F32, Data::F64(v)) => Data::F32(v.iter().map(|&x| x as f32).collect()),
            (DType::F32, Data::I64(v)) => Data::F32(v.iter().map(|&x| x as f32).collect()),
            (DType::F32, Data::U8(v)) => Data::F32(v.iter().map(|&x| f32::from(x)).collect()),
            (DType::F64, Data::F32(v)) => Data::F64(v.iter().map(|&x| f64::from(x)).collect()),
            (DType::F64, Data::I64(v)) => Data::F64(v.iter().map(|&x| x as f64).collect()),
            (DType::F64, Data::U8(v)) => Data::F64(v.iter().map(|&x| f64::from(x)).collect()),
            (DType::I64, Data::F32(v)) => Data::I64(v.iter().map(|&x| x as i64).collect()),
            (DType::I64, Data::F64(v)) => Data::I64(v.iter().map(|&x| x as i64).collect()),
            (DType::I64, Data::U8(v)) => Data::I64(v.iter().map(|&x| i64::from(x)).collect()),
            (DType::U8, Data::F32(v)) => Data::U8(v.iter().map(|&x| x as u8).collect()),
            (DType::U8, Data::F64(v)) => Data::U8(v.iter().map(|&x| x as u8).collect()),
            (DType::U8, Data::I64(v)) => {
                Data::U8(v.iter().map(|&x| x.clamp(0, 255) as u8).collect())
            }
            (_, same) => same.clone(),
        };
        Tensor {
            shape: self.shape.clone(),
            data,
        }
    }
}

/// Number of elements of `shape`; errs when it overflows.
pub fn element_count(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .ok_or_else(|| Error::shape(format!("shape {shape:?} has more elements than memory can")))
}

/// Row-major strides of `shape`, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_must_agree() {
        assert!(Tensor::new(&[2, 3], vec![0f32; 6]).is_ok());
        assert!(Tensor::new(&[2, 3], vec![0f32; 5]).is_err());
        assert!(Tensor::new(&[usize::MAX, 3], vec![0f32; 5]).is_err());
        assert_eq!(Tensor::scalar(3i64).len(), 1);
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }

    #[test]
    fn casts_keep_shape_and_saturate() {
        let t = Tensor::new(&[3], vec![-1.5f32, 2.9, 300.0]).unwrap();
        assert_eq!(t.cast(DType::I64).values::<i64>().unwrap(), [-1, 2, 300]);
        assert_eq!(t.cast(DType::U8).values::<u8>().unwrap(), [0, 2, 255]);
        assert!(t.values::<i64>().is_err());
    }
}
