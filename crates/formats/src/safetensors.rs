//! safetensors: named tensors with a JSON header (the format of Hugging Face).
//!
//! Reading takes every element type whose values are plain numbers; the `safetensors` crate checks
//! that the tensors neither overlap nor leave holes. Writing gives the same bytes for the same
//! contents.

use std::collections::BTreeMap;

use ::safetensors::tensor::{Metadata, TensorView};
use ::safetensors::{Dtype, SafeTensorError, SafeTensors};
use bantam_core::order::sort_by_key;
use bantam_core::{Data, Tensor};
use serde_json::{Map, Value, json};

use crate::checkpoint::append;
use crate::stored::Stored;
use crate::weights::StoredTensor;
use crate::{Error, ErrorKind, Result};

/// The largest header of the format.
const MAX_HEADER_BYTES: usize = 100_000_000;

const METADATA: &str = "__metadata__";

/// Tensors in the order of the file, and texts by name.
pub(crate) type Contents = (Vec<StoredTensor>, BTreeMap<String, String>);

/// Whether `bytes` begin as such a file does: the length of a header, then a JSON object.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    match bytes.split_first_chunk() {
        Some((len, [b'{', ..])) => u64::from_le_bytes(*len) <= bytes.len() as u64,
        _ => false,
    }
}

pub(crate) fn encode<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    // Widest elements first, then by name: so every tensor is aligned.
    let mut sorted: Vec<(&str, &Tensor)> = tensors.into_iter().collect();
    sort_by_key(&mut sorted, |(name, t)| {
        (std::cmp::Reverse(t.dtype().size_bytes()), *name)
    });
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.to_owned(), json!(metadata));
    }
    let mut end = 0;
    for (name, t) in &sorted {
        let start = end;
        end += t.len() * t.dtype().size_bytes();
        let dtype = Stored::from(t.dtype()).name().to_uppercase();
        let info = json!({"dtype": dtype, "shape": t.shape(), "data_offsets": [start, end]});
        if *name == METADATA || header.insert((*name).to_owned(), info).is_some() {
            let message = format!("no two tensors may have one name, and none {METADATA:?}");
            return Err(Error::unstorable(message).at(format!("tensor {name:?}")));
        }
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() > MAX_HEADER_BYTES {
        let (found, most) = (header.len() as u64, MAX_HEADER_BYTES as u64);
        return Err(Error::too_large("bytes of names", found, most));
    }
    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for (_, t) in sorted {
        append(t.data(), &mut bytes);
    }
    Ok(bytes)
}

/// Tensors and texts; `values` makes values of the bytes of a tensor, widened or not.
pub(crate) fn decode(
    bytes: &[u8],
    values: impl Fn(Stored, &[u8]) -> Result<Data>,
) -> Result<Contents> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(refused)?;
    let file = SafeTensors::deserialize(bytes).map_err(refused)?;
    let metadata = texts(&header);
    let mut views = file.tensors();
    // In the order of their bytes, which is the order in which they were written.
    let start = |name: &str| header.info(name).map_or(0, |info| info.data_offsets.0);
    sort_by_key(&mut views, |(name, _)| start(name));
    let tensors = views.into_iter().map(|(name, view)| {
        let (stored, tensor) =
            tensor(&view, &values).map_err(|e| e.at(format!("tensor {name:?}")))?;
        Ok(StoredTensor {
            name,
            stored,
            tensor,
        })
    });
    Ok((tensors.collect::<Result<_>>()?, metadata))
}

fn texts(header: &Metadata) -> BTreeMap<String, String> {
    let metadata = header.metadata().iter().flatten();
    metadata.map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn refused(e: SafeTensorError) -> Error {
    let kind = match e {
        SafeTensorError::HeaderTooLarge => ErrorKind::TooLarge,
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            ErrorKind::Truncated
        }
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, format!("not a valid safetensors file: {e}")).caused_by(e)
}

fn tensor(
    view: &TensorView<'_>,
    values: impl Fn(Stored, &[u8]) -> Result<Data>,
) -> Result<(Stored, Tensor)> {
    let stored = match view.dtype() {
        Dtype::BOOL => Stored::Bool,
        Dtype::I8 => Stored::I8,
        Dtype::U8 => Stored::U8,
        Dtype::I16 => Stored::I16,
        Dtype::U16 => Stored::U16,
        Dtype::I32 => Stored::I32,
        Dtype::U32 => Stored::U32,
        Dtype::I64 => Stored::I64,
        Dtype::U64 => Stored::U64,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::F32 => Stored::F32,
        Dtype::F64 => Stored::F64,
        other => {
            let message = format!("element type {other}: expected plain numbers of 8 bits or more");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let tensor = Tensor::from_data(view.shape(), values(stored, view.data())?)?;
    Ok((stored, tensor))
}
