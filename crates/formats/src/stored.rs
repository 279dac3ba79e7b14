//! Element types as files of other programs hold them, and what they become here.
//!
//! A network computes in `f32` and counts in `i64`, so that is what numbers turn into at the
//! border: 16-bit floats become `f32`, integers `i64`, truth values `u8` of 0 and 1. All of these are
//! exact. `f64` stays; whoever puts such a tensor into a network rounds it.

use bantam_core::tensor::{bf16, f16};
use bantam_core::{DType, Data};

use crate::checkpoint::parse;
use crate::{Error, ErrorKind, Result};

/// Element type of a tensor as stored, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// One byte, 0 or 1.
    Bool,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// 16-bit signed integer.
    I16,
    /// 16-bit unsigned integer.
    U16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit signed integer.
    I64,
    /// 64-bit unsigned integer.
    U64,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of an `f32`.
    BF16,
    /// 32-bit IEEE float.
    F32,
    /// 64-bit IEEE float.
    F64,
}

impl Stored {
    /// Bytes of an element.
    pub fn size_bytes(self) -> usize {
        match self {
            Stored::Bool | Stored::I8 | Stored::U8 => 1,
            Stored::I16 | Stored::U16 | Stored::F16 | Stored::BF16 => 2,
            Stored::I32 | Stored::U32 | Stored::F32 => 4,
            Stored::I64 | Stored::U64 | Stored::F64 => 8,
        }
    }

    /// The name used in dumps: `f16`, `bool` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Stored::Bool => "bool",
            Stored::I8 => "i8",
            Stored::U8 => "u8",
            Stored::I16 => "i16",
            Stored::U16 => "u16",
            Stored::I32 => "i32",
            Stored::U32 => "u32",
            Stored::I64 => "i64",
            Stored::U64 => "u64",
            Stored::F16 => "f16",
            Stored::BF16 => "bf16",
            Stored::F32 => "f32",
            Stored::F64 => "f64",
        }
    }

    /// What the values become in memory.
    pub fn dtype(self) -> DType {
        match self {
            Stored::Bool | Stored::U8 => DType::U8,
            Stored::F16 | Stored::BF16 | Stored::F32 => DType::F32,
            Stored::F64 => DType::F64,
            Stored::I8
            | Stored::I16
            | Stored::U16
            | Stored::I32
            | Stored::U32
            | Stored::I64
            | Stored::U64 => DType::I64,
        }
    }

    /// The element type of the same width and meaning.
    pub(crate) fn exact(self) -> DType {
        match self {
            Stored::Bool => DType::Bool,
            Stored::I8 => DType::I8,
            Stored::U8 => DType::U8,
            Stored::I16 => DType::I16,
            Stored::U16 => DType::U16,
            Stored::I32 => DType::I32,
            Stored::U32 => DType::U32,
            Stored::I64 => DType::I64,
            Stored::U64 => DType::U64,
            Stored::F16 => DType::F16,
            Stored::BF16 => DType::BF16,
            Stored::F32 => DType::F32,
            Stored::F64 => DType::F64,
        }
    }

    /// The values in `bytes`, as many as there are whole ones.
    ///
    /// Errs when an unsigned integer is 2^63 or more.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Data> {
        fn wide<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
            let (elements, _) = bytes.as_chunks();
            elements.iter().map(|&e| from(e)).collect()
        }
        Ok(match self {
            Stored::Bool => Data::U8(bytes.iter().map(|&b| u8::from(b != 0)).collect()),
            Stored::I8 => Data::I64(wide(bytes, |b| i64::from(i8::from_le_bytes(b)))),
            Stored::I16 => Data::I64(wide(bytes, |b| i64::from(i16::from_le_bytes(b)))),
            Stored::U16 => Data::I64(wide(bytes, |b| i64::from(u16::from_le_bytes(b)))),
            Stored::I32 => Data::I64(wide(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            Stored::U32 => Data::I64(wide(bytes, |b| i64::from(u32::from_le_bytes(b)))),
            Stored::F16 => Data::F32(wide(bytes, |b| f16::from_le_bytes(b).to_f32())),
            Stored::BF16 => Data::F32(wide(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Stored::U64 => {
                let values: Vec<i64> = wide(bytes, i64::from_le_bytes);
                if values.iter().any(|&v| v < 0) {
                    let message = "expected integers below 2^63, found a larger one";
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                Data::I64(values)
            }
            Stored::U8 | Stored::I64 | Stored::F32 | Stored::F64 => parse(self.dtype(), bytes),
        })
    }
}

impl From<DType> for Stored {
    fn from(dtype: DType) -> Stored {
        match dtype {
            DType::Bool => Stored::Bool,
            DType::I8 => Stored::I8,
            DType::U8 => Stored::U8,
            DType::I16 => Stored::I16,
            DType::U16 => Stored::U16,
            DType::I32 => Stored::I32,
            DType::U32 => Stored::U32,
            DType::I64 => Stored::I64,
            DType::U64 => Stored::U64,
            DType::F16 => Stored::F16,
            DType::BF16 => Stored::BF16,
            DType::F32 => Stored::F32,
            DType::F64 => Stored::F64,
        }
    }
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_widened_exactly() {
        let cases: [(Stored, &[u8], Data); 13] = [
            (Stored::Bool, &[0, 1, 7], Data::U8(vec![0, 1, 1])),
            (Stored::I8, &[255, 127], Data::I64(vec![-1, 127])),
            (Stored::U8, &[255, 0], Data::U8(vec![255, 0])),
            (Stored::I16, &[0, 128], Data::I64(vec![-32768])),
            (Stored::U16, &[0, 128], Data::I64(vec![32768])),
            (Stored::I32, &[255; 4], Data::I64(vec![-1])),
            (Stored::U32, &[255; 4], Data::I64(vec![u32::MAX.into()])),
            (Stored::I64, &[255; 8], Data::I64(vec![-1])),
            (
                Stored::U64,
                &[1, 0, 0, 0, 0, 0, 0, 1],
                Data::I64(vec![(1 << 56) + 1]),
            ),
            (
                Stored::F16,
                &[0x00, 0xC0, 0x01, 0x00],
                Data::F32(vec![-2.0, 5.9604645e-8]),
            ),
            (Stored::BF16, &[0x20, 0xC1], Data::F32(vec![-10.0])),
            (Stored::F32, &[0, 0, 128, 63], Data::F32(vec![1.0])),
            (
                Stored::F64,
                &[0, 0, 0, 0, 0, 0, 240, 63],
                Data::F64(vec![1.0]),
            ),
        ];
        for (stored, bytes, expected) in cases {
            let found = stored.decode(bytes).unwrap();
            assert_eq!(found, expected, "{stored}");
            assert_eq!(found.dtype(), stored.dtype(), "{stored}");
            assert_eq!(Stored::from(stored.exact()), stored);
            assert_eq!(stored.exact().name(), stored.name());
            assert_eq!(bytes.len() / stored.size_bytes(), found.len(), "{stored}");
        }
        assert!(Stored::U64.decode(&[255; 8]).is_err());
    }
}
