//! Training checkpoints: named tensors and text, as safetensors files.
//!
//! Optimizer state, running averages and counters are no network, so they do not go into a
//! `.bantam` file; any reader of safetensors can open these. The writer gives the same bytes for
//! the same contents. Every [`DType`] comes back as it was. Refused: other element types, and everything that the
//! safetensors reader refuses (overlaps, holes, sizes that do not fit).

use std::collections::BTreeMap;
use std::path::Path;

use bantam_core::tensor::{bf16, f16};
use bantam_core::{DType, Data, Tensor};

use crate::file::{read_all, write_atomic};
use crate::{Result, safetensors};

/// The largest checkpoint that is read.
const MAX_FILE_BYTES: u64 = 1 << 36;

/// Named tensors and named texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Texts by name.
    pub metadata: BTreeMap<String, String>,
}

/// Writes tensors and texts to `path`, whole or not at all.
///
/// Errs when a tensor is called `__metadata__`, and when the disk refuses.
pub fn write_checkpoint(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    write_atomic(path, &encode(tensors, metadata)?)
}

/// Reads what [`write_checkpoint`] wrote, or any safetensors file of these element types.
pub fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let bytes = read_all(path, MAX_FILE_BYTES)?;
    decode(&bytes).map_err(|e| e.at(path.display().to_string()))
}

fn encode(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    safetensors::encode(tensors.iter().map(|(name, t)| (name.as_str(), t)), metadata)
}

/// Appends the values, little endian.
pub(crate) fn append(data: &Data, bytes: &mut Vec<u8>) {
    match data {
        Data::F32(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::F64(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I64(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U8(v) => bytes.extend_from_slice(v),
        Data::F16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::BF16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I8(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I32(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U32(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U64(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::Bool(v) => bytes.extend(v.iter().map(|&b| u8::from(b))),
    }
}

/// Values from little-endian bytes, as many as there are whole ones.
pub(crate) fn parse(dtype: DType, bytes: &[u8]) -> Data {
    fn all<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|&chunk| from(chunk))
            .collect()
    }
    match dtype {
        DType::F32 => Data::F32(all(bytes, f32::from_le_bytes)),
        DType::F64 => Data::F64(all(bytes, f64::from_le_bytes)),
        DType::I64 => Data::I64(all(bytes, i64::from_le_bytes)),
        DType::U8 => Data::U8(bytes.to_vec()),
        DType::F16 => Data::F16(all(bytes, f16::from_le_bytes)),
        DType::BF16 => Data::BF16(all(bytes, bf16::from_le_bytes)),
        DType::I8 => Data::I8(all(bytes, i8::from_le_bytes)),
        DType::I16 => Data::I16(all(bytes, i16::from_le_bytes)),
        DType::I32 => Data::I32(all(bytes, i32::from_le_bytes)),
        DType::U16 => Data::U16(all(bytes, u16::from_le_bytes)),
        DType::U32 => Data::U32(all(bytes, u32::from_le_bytes)),
        DType::U64 => Data::U64(all(bytes, u64::from_le_bytes)),
        DType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
    }
}

fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    let (found, metadata) = safetensors::decode(bytes, |stored, b| Ok(parse(stored.exact(), b)))?;
    let tensors = found.into_iter().map(|t| (t.name, t.tensor)).collect();
    Ok(Checkpoint { tensors, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn example() -> Checkpoint {
        let t = |name: &str, t: Tensor| (name.to_owned(), t);
        Checkpoint {
            tensors: BTreeMap::from([
                t("a", Tensor::new(&[3], vec![1u8, 2, 255]).unwrap()),
                t("step", Tensor::scalar(-7i64)),
                t(
                    "w/\"é\"",
                    Tensor::new(&[2, 2], vec![1f32, -0.0, f32::MIN, 1e-42]).unwrap(),
                ),
                t("none", Tensor::zeros(DType::F64, &[0, 3])),
            ]),
            metadata: BTreeMap::from([
                ("recipe".to_owned(), "a = \"b\"\n".to_owned()),
                ("b".to_owned(), String::new()),
            ]),
        }
    }

    #[test]
    fn round_trip_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.safetensors");
        for c in [example(), Checkpoint::default()] {
            write_checkpoint(&path, &c.tensors, &c.metadata).unwrap();
            assert_eq!(read_checkpoint(&path).unwrap(), c);
            let again = encode(&c.tensors, &c.metadata).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), again);
        }
        let missing = folder.path().join("none");
        assert_eq!(read_checkpoint(&missing).unwrap_err().kind(), ErrorKind::Io);
        let reserved = BTreeMap::from([("__metadata__".to_owned(), Tensor::scalar(1u8))]);
        assert!(write_checkpoint(&path, &reserved, &BTreeMap::new()).is_err());
    }

    #[test]
    fn damage_is_an_error_or_harmless() {
        let c = example();
        let bytes = encode(&c.tensors, &c.metadata).unwrap();
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        for i in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[i / 8] ^= 1 << (i % 8);
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn hostile_headers() {
        let file =
            |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        for (name, bytes) in [
            ("empty", vec![]),
            ("endless header", u64::MAX.to_le_bytes().to_vec()),
            ("no json", file("[1")),
            ("deep", file(&"[".repeat(100_000))),
            (
                "huge shape",
                file(
                    r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
                ),
            ),
            (
                "past the end",
                file(r#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#),
            ),
            (
                "strange type",
                file(r#"{"a":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[0,0]}}"#),
            ),
            (
                "hole",
                [
                    file(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#),
                    vec![0; 2],
                ]
                .concat(),
            ),
        ] {
            assert!(decode(&bytes).is_err(), "{name}");
        }
    }
}
