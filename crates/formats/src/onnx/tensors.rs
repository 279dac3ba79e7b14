//! Tensors of an ONNX file: typed fields, raw bytes, and external files.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bantam_core::tensor::{bf16, element_count, f16};
use bantam_core::{DType, Data, Tensor};

use super::ReadLimits;
use super::schema::TensorDef;
use crate::checkpoint::parse;
use crate::{Error, ErrorKind, Result};

/// Most axes of a tensor.
pub(super) const MAX_AXES: usize = 32;

/// Makes tensors, counting what they take against the limits.
pub(super) struct Loader<'l> {
    folder: Option<&'l Path>,
    limits: &'l ReadLimits,
    elements: u64,
    /// Bytes in the file, by element type.
    pub(super) tensor_bytes: Vec<(DType, u64)>,
    /// Bytes in other files, by name.
    pub(super) external_bytes: Vec<(String, u64)>,
}

fn add<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K, bytes: u64) {
    match counts.iter_mut().find(|c| c.0 == key) {
        Some(known) => known.1 += bytes,
        None => counts.push((key, bytes)),
    }
}

/// Names of the element types that ONNX has and a tensor here cannot hold.
fn other_type(code: i64) -> Option<&'static str> {
    let name = match code {
        8 => "string",
        14 => "complex64",
        15 => "complex128",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        24 => "float8e8m0",
        25 => "uint2",
        26 => "int2",
        _ => return None,
    };
    Some(name)
}

/// The element type that a code of `TensorProto.DataType` stands for.
pub(super) fn dtype(code: i64) -> Result<DType> {
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => {
            let what = other_type(code).map_or(format!("{code}"), str::to_owned);
            let message = format!("the element type {what} is not supported");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    })
}

/// The code of an element type.
pub(super) fn code(dtype: DType) -> i64 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::BF16 => 16,
    }
}

/// Values from the typed fields of the message.
fn from_fields(dtype: DType, t: &TensorDef) -> Data {
    let ints = || t.ints.iter();
    match dtype {
        DType::F32 => Data::F32(t.floats.clone()),
        DType::F64 => Data::F64(t.doubles.clone()),
        DType::F16 => Data::F16(ints().map(|&x| f16::from_bits(x as u16)).collect()),
        DType::BF16 => Data::BF16(ints().map(|&x| bf16::from_bits(x as u16)).collect()),
        DType::I8 => Data::I8(ints().map(|&x| x as i8).collect()),
        DType::I16 => Data::I16(ints().map(|&x| x as i16).collect()),
        DType::I32 => Data::I32(ints().map(|&x| x as i32).collect()),
        DType::I64 => Data::I64(ints().map(|&x| x as i64).collect()),
        DType::U8 => Data::U8(ints().map(|&x| x as u8).collect()),
        DType::U16 => Data::U16(ints().map(|&x| x as u16).collect()),
        DType::U32 => Data::U32(ints().map(|&x| x as u32).collect()),
        DType::U64 => Data::U64(ints().copied().collect()),
        DType::Bool => Data::Bool(ints().map(|&x| x != 0).collect()),
    }
}

impl<'l> Loader<'l> {
    pub(super) fn new(folder: Option<&'l Path>, limits: &'l ReadLimits) -> Loader<'l> {
        Loader {
            folder,
            limits,
            elements: 0,
            tensor_bytes: Vec::new(),
            external_bytes: Vec::new(),
        }
    }

    /// The tensor; errs when its size is above the limits or not the number of its values.
    pub(super) fn tensor(&mut self, t: &TensorDef) -> Result<Tensor> {
        self.load(t).map_err(|e| {
            let e = e.at_byte(t.at as u64);
            if t.name.is_empty() {
                e
            } else {
                e.at(format!("tensor {:?}", t.name))
            }
        })
    }

    fn load(&mut self, t: &TensorDef) -> Result<Tensor> {
        if t.segmented {
            return Err(Error::new(ErrorKind::Unsupported, "a tensor in segments"));
        }
        let dtype = dtype(t.data_type)?;
        if t.n_strings > 0 {
            return Err(Error::corrupt(format!("strings in a tensor of {dtype}")));
        }
        if t.dims.len() > MAX_AXES {
            return Err(Error::too_large(
                "axes",
                t.dims.len() as u64,
                MAX_AXES as u64,
            ));
        }
        let size = |&d: &u64| {
            usize::try_from(d as i64)
                .map_err(|_| Error::corrupt(format!("an axis of size {}", d as i64)))
        };
        let shape: Vec<usize> = t.dims.iter().map(size).collect::<Result<_>>()?;
        let count = element_count(&shape)?;
        self.elements = self.elements.saturating_add(count as u64);
        if self.elements > self.limits.elements {
            let limit = self.limits.elements;
            return Err(Error::too_large(
                "elements of all tensors",
                self.elements,
                limit,
            ));
        }
        let expected = count as u64 * dtype.size_bytes() as u64;
        let data = if t.location == 1 || !t.external.is_empty() {
            parse(dtype, &self.external(t, expected)?)
        } else if let Some(raw) = t.raw {
            if raw.bytes.len() as u64 != expected {
                return Err(Error::corrupt(format!(
                    "{dtype} {shape:?} takes {expected} bytes, found {}",
                    raw.bytes.len()
                )));
            }
            add(&mut self.tensor_bytes, dtype, expected);
            parse(dtype, raw.bytes)
        } else {
            from_fields(dtype, t)
        };
        if data.len() != count {
            return Err(Error::corrupt(format!(
                "{dtype} {shape:?} has {count} values, found {}",
                data.len()
            )));
        }
        Ok(Tensor::from_data(&shape, data)?)
    }

    /// The bytes of a tensor that is kept in another file.
    fn external(&mut self, t: &TensorDef, expected: u64) -> Result<Vec<u8>> {
        let find = |key: &str| t.external.iter().find(|e| e.0 == key).map(|e| e.1);
        let number = |key: &str| match find(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                Error::corrupt(format!("{key} of external data is no number: {text:?}"))
            }),
        };
        let known = ["location", "offset", "length", "checksum"];
        if let Some(entry) = t.external.iter().find(|e| !known.contains(&e.0)) {
            return Err(Error::corrupt(format!(
                "unknown entry {:?} of external data",
                entry.0
            )));
        }
        let location =
            find("location").ok_or_else(|| Error::corrupt("external data without a location"))?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if length.is_some_and(|l| l != expected) {
            return Err(Error::corrupt(format!(
                "external data of {} bytes, expected {expected}",
                length.unwrap_or(0)
            )));
        }
        let path = self.beside(location)?;
        let mut file = std::fs::File::open(&path).map_err(|e| Error::io(e, &path))?;
        let size = file.metadata().map_err(|e| Error::io(e, &path))?.len();
        if offset.checked_add(expected).is_none_or(|end| end > size) {
            let message = format!("bytes {offset} to {offset} + {expected} of a file of {size}");
            return Err(Error::new(ErrorKind::Truncated, message).at(path.display().to_string()));
        }
        let mut bytes = vec![0; expected as usize];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| Error::io(e, &path))?;
        add(&mut self.external_bytes, location.to_owned(), expected);
        Ok(bytes)
    }

    /// The path of a file in the folder of the model or below it, also after links are followed.
    fn beside(&self, location: &str) -> Result<PathBuf> {
        let refused = |why: &str| {
            let message = format!("external data {location:?}: {why}");
            Error::new(ErrorKind::Unsupported, message)
        };
        let folder = self.folder.ok_or_else(|| {
            refused("the model was given as bytes, so there is no folder to look in")
        })?;
        let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(plain) || location.contains(['\\', '\0']) {
            return Err(refused("the path leaves the folder of the model"));
        }
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let path = folder.join(location);
        let real = |p: &Path| p.canonicalize().map_err(|e| Error::io(e, p));
        if !real(&path)?.starts_with(real(folder)?) {
            return Err(refused("the path leaves the folder of the model"));
        }
        Ok(path)
    }
}
