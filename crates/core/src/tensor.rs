//! Dense tensors: a shape and row-major values of one element type.
//!
//! A [`Tensor`] owns its values. It knows nothing of files, devices or threads, and refuses a shape
//! whose number of elements is not the number of values.

use std::sync::Arc;

use crate::{Error, ErrorKind, Result};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float: what networks compute in.
    F32,
    /// 64-bit IEEE float: what gradients are checked in.
    F64,
    /// 64-bit signed integer: labels, indices and shapes.
    I64,
    /// 8-bit unsigned integer: images, masks and codebook indices.
    U8,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit float with the exponent of a 32-bit one.
    BF16,
    /// 8-bit signed integer.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 16-bit unsigned integer.
    U16,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit unsigned integer.
    U64,
    /// True or false, a byte each.
    Bool,
}

/// Runs an expression with the values of a [`Data`](crate::Data), whatever their type:
/// `each_type!(data, v => v.len())`.
#[macro_export]
macro_rules! each_type {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::Data::F32($v) => $body,
            $crate::Data::F64($v) => $body,
            $crate::Data::I64($v) => $body,
            $crate::Data::U8($v) => $body,
            $crate::Data::F16($v) => $body,
            $crate::Data::BF16($v) => $body,
            $crate::Data::I8($v) => $body,
            $crate::Data::I16($v) => $body,
            $crate::Data::I32($v) => $body,
            $crate::Data::U16($v) => $body,
            $crate::Data::U32($v) => $body,
            $crate::Data::U64($v) => $body,
            $crate::Data::Bool($v) => $body,
        }
    };
}

/// Runs an expression with a Rust type in the place of an element type:
/// `with_type!(dtype, T => f::<T>(x))`.
#[macro_export]
macro_rules! with_type {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::tensor::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = $crate::tensor::bf16;
                $body
            }
            $crate::DType::I8 => {
                type $t = i8;
                $body
            }
            $crate::DType::I16 => {
                type $t = i16;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::U16 => {
                type $t = u16;
                $body
            }
            $crate::DType::U32 => {
                type $t = u32;
                $body
            }
            $crate::DType::U64 => {
                type $t = u64;
                $body
            }
            $crate::DType::Bool => {
                type $t = bool;
                $body
            }
        }
    };
}

pub use half::{bf16, f16};

/// The values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "a variant holds values of the type it is called after"
)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
}

/// An element type that a [`Tensor`] can hold.
pub trait Element:
    Copy + Default + Send + Sync + PartialEq + PartialOrd + std::fmt::Debug + 'static
{
    /// The matching [`DType`].
    const DTYPE: DType;
    /// Borrows the values if they are of this type.
    fn slice(data: &Data) -> Option<&[Self]>;
    /// Borrows the values mutably if they are of this type.
    fn slice_mut(data: &mut Data) -> Option<&mut Vec<Self>>;
    /// Wraps values.
    fn wrap(values: Vec<Self>) -> Data;
}

macro_rules! define_types {
    ($($v:ident $t:ty as $name:literal),* $(,)?) => {
        impl DType {
            /// All element types.
            pub const ALL: &'static [DType] = &[$(DType::$v),*];

            /// Bytes one element takes.
            pub fn size_bytes(self) -> usize {
                match self {
                    $(DType::$v => size_of::<$t>(),)*
                }
            }

            /// The name used in dumps: `f32`, `i64`, `bool`, ….
            pub fn name(self) -> &'static str {
                match self {
                    $(DType::$v => $name,)*
                }
            }
        }

        impl Data {
            /// Element type.
            pub fn dtype(&self) -> DType {
                match self {
                    $(Data::$v(_) => DType::$v,)*
                }
            }
        }

        $(impl Element for $t {
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
        })*
    };
}
define_types!(
    F32 f32 as "f32", F64 f64 as "f64", I64 i64 as "i64", U8 u8 as "u8",
    F16 f16 as "f16", BF16 bf16 as "bf16",
    I8 i8 as "i8", I16 i16 as "i16", I32 i32 as "i32",
    U16 u16 as "u16", U32 u32 as "u32", U64 u64 as "u64", Bool bool as "bool",
);

impl DType {
    /// Whether the type is a float.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// Whether the type is an integer; `bool` is none.
    pub fn is_integer(self) -> bool {
        !self.is_float() && self != DType::Bool
    }

    /// The least and the largest value of an integer type.
    pub fn integer_range(self) -> Option<(i128, i128)> {
        let unsigned = matches!(self, DType::U8 | DType::U16 | DType::U32 | DType::U64);
        let bits = 8 * self.size_bytes() as u32;
        match (self.is_integer(), unsigned) {
            (false, _) => None,
            (true, true) => Some((0, (1 << bits) - 1)),
            (true, false) => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Data {
    /// Number of values.
    pub fn len(&self) -> usize {
        each_type!(self, v => v.len())
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` zeros of type `dtype`; `false` is the zero of `bool`.
    pub fn zeros(dtype: DType, len: usize) -> Data {
        with_type!(dtype, T => T::wrap(vec![T::default(); len]))
    }

    /// The values converted to `dtype`; see [`Tensor::cast`].
    pub fn cast(&self, dtype: DType) -> Data {
        macro_rules! to {
            ($v:expr, $plain:expr) => {{
                let of = $v.iter().map(|&x| $plain(x));
                match dtype {
                    DType::F32 => Data::F32(of.map(|x| x as f32).collect()),
                    DType::F64 => Data::F64(of.map(|x| x as f64).collect()),
                    DType::I64 => Data::I64(of.map(|x| x as i64).collect()),
                    DType::U8 => Data::U8(of.map(|x| x as u8).collect()),
                    DType::F16 => Data::F16(of.map(|x| f16::from_f64(x as f64)).collect()),
                    DType::BF16 => Data::BF16(of.map(|x| bf16::from_f64(x as f64)).collect()),
                    DType::I8 => Data::I8(of.map(|x| x as i8).collect()),
                    DType::I16 => Data::I16(of.map(|x| x as i16).collect()),
                    DType::I32 => Data::I32(of.map(|x| x as i32).collect()),
                    DType::U16 => Data::U16(of.map(|x| x as u16).collect()),
                    DType::U32 => Data::U32(of.map(|x| x as u32).collect()),
                    DType::U64 => Data::U64(of.map(|x| x as u64).collect()),
                    DType::Bool => Data::Bool(of.map(|x| x as f64 != 0.0).collect()),
                }
            }};
        }
        match self {
            same if same.dtype() == dtype => same.clone(),
            Data::F32(v) => to!(v, |x: f32| x),
            Data::F64(v) => to!(v, |x: f64| x),
            Data::I64(v) => to!(v, |x: i64| x),
            Data::U8(v) => to!(v, |x: u8| x),
            Data::F16(v) => to!(v, f32::from),
            Data::BF16(v) => to!(v, f32::from),
            Data::I8(v) => to!(v, |x: i8| x),
            Data::I16(v) => to!(v, |x: i16| x),
            Data::I32(v) => to!(v, |x: i32| x),
            Data::U16(v) => to!(v, |x: u16| x),
            Data::U32(v) => to!(v, |x: u32| x),
            Data::U64(v) => to!(v, |x: u64| x),
            Data::Bool(v) => to!(v, u8::from),
        }
    }

    /// Integers and booleans, exactly; errs for floats.
    pub fn integers(&self) -> Result<Vec<i128>> {
        match self {
            Data::I64(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::U8(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::I8(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::I16(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::I32(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::U16(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::U32(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::U64(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::Bool(v) => Ok(v.iter().map(|&x| x.into()).collect()),
            Data::F32(_) | Data::F64(_) | Data::F16(_) | Data::BF16(_) => Err(Error::dtype(
                format!("expected integers, found {}", self.dtype()),
            )),
        }
    }

    /// Wraps integers as `dtype`; what does not fit loses its upper bits, for floats it is rounded.
    pub fn from_integers(dtype: DType, values: &[i128]) -> Data {
        let of = values.iter();
        match dtype {
            DType::F32 => Data::F32(of.map(|&x| x as f32).collect()),
            DType::F64 => Data::F64(of.map(|&x| x as f64).collect()),
            DType::I64 => Data::I64(of.map(|&x| x as i64).collect()),
            DType::U8 => Data::U8(of.map(|&x| x as u8).collect()),
            DType::F16 => Data::F16(of.map(|&x| f16::from_f64(x as f64)).collect()),
            DType::BF16 => Data::BF16(of.map(|&x| bf16::from_f64(x as f64)).collect()),
            DType::I8 => Data::I8(of.map(|&x| x as i8).collect()),
            DType::I16 => Data::I16(of.map(|&x| x as i16).collect()),
            DType::I32 => Data::I32(of.map(|&x| x as i32).collect()),
            DType::U16 => Data::U16(of.map(|&x| x as u16).collect()),
            DType::U32 => Data::U32(of.map(|&x| x as u32).collect()),
            DType::U64 => Data::U64(of.map(|&x| x as u64).collect()),
            DType::Bool => Data::Bool(of.map(|&x| x != 0).collect()),
        }
    }
}

/// A dense row-major tensor. Copies share their values until one of them is written to.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Arc<Data>,
}

impl Tensor {
    /// Wraps `values` with `shape`; errs when the counts differ or the product overflows.
    pub fn new<T: Element>(shape: &[usize], values: Vec<T>) -> Result<Tensor> {
        Tensor::from_data(shape, T::wrap(values))
    }

    /// Wraps `data` with `shape`; errs when the counts differ or the product overflows.
    pub fn from_data(shape: &[usize], data: Data) -> Result<Tensor> {
        Tensor::from_shared(shape, Arc::new(data))
    }

    fn from_shared(shape: &[usize], data: Arc<Data>) -> Result<Tensor> {
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
            data: Arc::new(Data::zeros(dtype, len)),
        }
    }

    /// A tensor with no axes that holds one value.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor {
            shape: Vec::new(),
            data: Arc::new(T::wrap(vec![value])),
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

    /// Takes the values out; copies them where another tensor shares them.
    pub fn into_data(self) -> Data {
        Arc::unwrap_or_clone(self.data)
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

    /// Borrows the values as `T`, mutably, for this tensor alone; errs when the tensor holds another type.
    pub fn values_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        let found = self.dtype();
        T::slice_mut(Arc::make_mut(&mut self.data))
            .map(Vec::as_mut_slice)
            .ok_or_else(|| Error::dtype(format!("expected {} values, found {found}", T::DTYPE)))
    }

    /// The same values under another shape; errs when the counts differ.
    pub fn reshape(self, shape: &[usize]) -> Result<Tensor> {
        Tensor::from_shared(shape, self.data)
    }

    /// The values converted to `dtype`: floats round to nearest, floats to integers truncate and
    /// saturate, integers to smaller integers lose their upper bits, as Rust's `as` does; what is
    /// not 0 is true.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype() {
            return self.clone();
        }
        Tensor {
            shape: self.shape.clone(),
            data: Arc::new(self.data.cast(dtype)),
        }
    }

    /// The values as `i64`; errs unless they are integers that fit.
    pub fn to_i64s(&self) -> Result<Vec<i64>> {
        if let Data::I64(v) = &*self.data {
            return Ok(v.clone());
        }
        let fits = |x: i128| {
            i64::try_from(x).map_err(|_| Error::dtype(format!("{x} does not fit into i64")))
        };
        self.data.integers()?.into_iter().map(fits).collect()
    }
}

/// Number of elements of `shape`; errs when it overflows.
pub fn element_count(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .ok_or_else(|| {
            let message = format!("shape {shape:?} has more elements than memory can");
            Error::new(ErrorKind::TooLarge, message)
        })
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
        let t = Tensor::new(&[3], vec![-1i64, 300, i64::MAX]).unwrap();
        assert_eq!(t.cast(DType::U8).values::<u8>().unwrap(), [255, 44, 255]);
        assert_eq!(
            t.cast(DType::Bool)
                .cast(DType::I32)
                .values::<i32>()
                .unwrap(),
            [1; 3]
        );
        let exact = Data::from_integers(DType::I64, &t.data().integers().unwrap());
        assert_eq!(&exact, t.data());
        assert_eq!(t.cast(DType::F16).to_i64s().ok(), None);
    }
}
