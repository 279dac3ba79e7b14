//! NumPy arrays: `.npy` files and the `.npz` archives of them.
//!
//! The header is a Python dictionary with three known keys, which is all that is understood of
//! Python here. Object arrays, which are pickles, are refused; so are complex numbers and text.

use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

use bantam_core::{DType, Data, Tensor};
use half::f16;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::file;

/// Element type of an array as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    F32,
    F64,
}

impl Stored {
    /// Bytes of an element.
    pub(crate) fn size_bytes(self) -> usize {
        match self {
            Stored::Bool | Stored::I8 | Stored::U8 => 1,
            Stored::I16 | Stored::U16 | Stored::F16 => 2,
            Stored::I32 | Stored::U32 | Stored::F32 => 4,
            Stored::I64 | Stored::U64 | Stored::F64 => 8,
        }
    }
}

/// What the header of an array says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) stored: Stored,
    pub(crate) big_endian: bool,
    /// Whether the first axis varies fastest.
    pub(crate) fortran: bool,
    pub(crate) shape: Vec<usize>,
    pub(crate) count: usize,
    /// Where the values begin.
    pub(crate) offset: usize,
}

/// Longest header that is read.
const MOST_HEADER: usize = 1 << 16;

/// Reads the header; the values come next.
pub(crate) fn read_header(reader: &mut dyn Read) -> Result<Header> {
    let mut magic = [0; 8];
    reader.read_exact(&mut magic).map_err(Error::io)?;
    if &magic[..6] != b"\x93NUMPY" {
        let message = "expected a NumPy array, found other bytes at its beginning";
        return Err(Error::new(ErrorKind::Format, message));
    }
    let (len, start) = match magic[6] {
        1 => {
            let mut len = [0; 2];
            reader.read_exact(&mut len).map_err(Error::io)?;
            (usize::from(u16::from_le_bytes(len)), 10)
        }
        2 | 3 => {
            let mut len = [0; 4];
            reader.read_exact(&mut len).map_err(Error::io)?;
            (u32::from_le_bytes(len) as usize, 12)
        }
        other => {
            let message = format!("expected version 1, 2 or 3 of the format, found {other}");
            return Err(Error::new(ErrorKind::Format, message));
        }
    };
    if len > MOST_HEADER {
        let message = format!("expected a header of at most {MOST_HEADER} bytes, found {len}");
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let mut text = vec![0; len];
    reader.read_exact(&mut text).map_err(Error::io)?;
    let text = String::from_utf8_lossy(&text);
    parse_header(&text, start + len)
}

fn parse_header(text: &str, offset: usize) -> Result<Header> {
    let bad = |what: &str| {
        let message = format!(
            "expected {what} in the header, found {}",
            quoted(text.trim())
        );
        Error::new(ErrorKind::Format, message)
    };
    let value = |key: &str| {
        let after = [format!("'{key}'"), format!("\"{key}\"")]
            .iter()
            .find_map(|quoted| text.split_once(quoted.as_str()).map(|(_, after)| after))?;
        Some(after.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr").ok_or_else(|| bad("a type"))?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let descr = quote.and_then(|q| descr[1..].split(q).next());
    let descr = descr.ok_or_else(|| bad("a plain type"))?;
    let (big_endian, stored) = parse_type(descr)?;
    let fortran = match value("fortran_order").ok_or_else(|| bad("an order"))? {
        v if v.starts_with("True") => true,
        v if v.starts_with("False") => false,
        _ => return Err(bad("True or False")),
    };
    let shape = value("shape").and_then(|v| v.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.ok_or_else(|| bad("a shape"))?;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape: Vec<usize> = sizes
        .map(|s| {
            s.trim_end_matches('L')
                .parse()
                .map_err(|_| bad("a shape of integers"))
        })
        .collect::<Result<_>>()?;
    if shape.len() > 32 {
        return Err(bad("at most 32 axes"));
    }
    let count = bantam_core::tensor::element_count(&shape)
        .ok()
        .filter(|count| count.checked_mul(stored.size_bytes()).is_some())
        .ok_or_else(|| {
            let message = format!("shape {shape:?} has more elements than memory can");
            Error::new(ErrorKind::Limit, message)
        })?;
    Ok(Header {
        stored,
        big_endian,
        fortran,
        shape,
        count,
        offset,
    })
}

fn parse_type(descr: &str) -> Result<(bool, Stored)> {
    let (order, kind) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => (descr.as_bytes()[0], &descr[1..]),
        _ => (b'|', descr),
    };
    let stored = match kind {
        "b1" | "?" => Stored::Bool,
        "i1" => Stored::I8,
        "u1" => Stored::U8,
        "i2" => Stored::I16,
        "u2" => Stored::U16,
        "i4" => Stored::I32,
        "u4" => Stored::U32,
        "i8" => Stored::I64,
        "u8" => Stored::U64,
        "f2" => Stored::F16,
        "f4" => Stored::F32,
        "f8" => Stored::F64,
        _ => {
            let message = format!("expected numbers, found elements of type {}", quoted(descr));
            let error = Error::new(ErrorKind::Format, message);
            return Err(match kind.starts_with('O') {
                true => error.with_hint("object arrays hold pickles, which are not opened"),
                false => error.with_hint("save the array as integers or floats"),
            });
        }
    };
    Ok((order == b'>', stored))
}

/// Reads an array: bytes stay bytes, integers become `i64` and floats `f32` or, from `f8`, `f64`.
fn read_array(reader: &mut dyn Read) -> Result<Tensor> {
    let header = read_header(reader)?;
    let len = header.count * header.stored.size_bytes();
    let bytes = file::read_up_to(reader, len).map_err(Error::io)?;
    if bytes.len() < len {
        let (shape, found) = (&header.shape, bytes.len());
        let message =
            format!("the array ends early: shape {shape:?} needs {len} bytes, found {found}");
        return Err(Error::new(ErrorKind::Format, message));
    }
    if !file::read_up_to(reader, 1).map_err(Error::io)?.is_empty() {
        let message = format!(
            "expected the end of the array after {} values",
            header.count
        );
        return Err(Error::new(ErrorKind::Format, message));
    }
    let mut data = decode(&bytes, header.stored, header.big_endian)?;
    if header.fortran && header.shape.len() > 1 {
        data = to_row_major(data, &header.shape);
    }
    Tensor::from_data(&header.shape, data).map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))
}

/// The numbers that `bytes` hold, a whole number of elements.
pub(crate) fn decode(bytes: &[u8], stored: Stored, big_endian: bool) -> Result<Data> {
    macro_rules! numbers {
        ($t:ty, $n:literal, $variant:ident, $convert:expr) => {{
            let (elements, _) = bytes.as_chunks::<$n>();
            let one = |b: &[u8; $n]| match big_endian {
                true => <$t>::from_be_bytes(*b),
                false => <$t>::from_le_bytes(*b),
            };
            Data::$variant(elements.iter().map(|b| $convert(one(b))).collect())
        }};
    }
    Ok(match stored {
        Stored::Bool => Data::U8(bytes.iter().map(|&b| u8::from(b != 0)).collect()),
        Stored::U8 => Data::U8(bytes.to_vec()),
        Stored::I8 => numbers!(i8, 1, I64, i64::from),
        Stored::I16 => numbers!(i16, 2, I64, i64::from),
        Stored::U16 => numbers!(u16, 2, I64, i64::from),
        Stored::I32 => numbers!(i32, 4, I64, i64::from),
        Stored::U32 => numbers!(u32, 4, I64, i64::from),
        Stored::I64 => numbers!(i64, 8, I64, i64::from),
        Stored::U64 => {
            // Beyond the range of `i64` they turn negative.
            let wide = numbers!(u64, 8, I64, |x| x as i64);
            if let Data::I64(v) = &wide
                && v.iter().any(|&x| x < 0)
            {
                let message = "expected integers below 2^63, found a larger one";
                return Err(Error::new(ErrorKind::Limit, message));
            }
            wide
        }
        Stored::F16 => numbers!(f16, 2, F32, f16::to_f32),
        Stored::F32 => numbers!(f32, 4, F32, |x| x),
        Stored::F64 => numbers!(f64, 8, F64, |x| x),
    })
}

/// Values stored with the first axis fastest, in row-major order.
fn to_row_major(data: Data, shape: &[usize]) -> Data {
    fn reorder<T: Copy>(values: Vec<T>, shape: &[usize]) -> Vec<T> {
        let mut strides = vec![1; shape.len()];
        for axis in 1..shape.len() {
            strides[axis] = strides[axis - 1] * shape[axis - 1];
        }
        let mut out = Vec::with_capacity(values.len());
        let mut index = vec![0; shape.len()];
        let mut at = 0;
        for _ in 0..values.len() {
            out.push(values[at]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= strides[axis] * shape[axis];
                index[axis] = 0;
            }
        }
        out
    }
    bantam_core::each_type!(data, v => bantam_core::Element::wrap(reorder(v, shape)))
}

/// Reads a `.npy` file, gzipped or not.
///
/// Errs when the file is missing, is not an array of numbers, or has not the length its shape needs.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let read = || read_array(&mut *file::open(path)?);
    read().map_err(|e| e.in_file(path))
}

/// Reads the arrays of a `.npz` archive, by name, in the order of the archive.
///
/// Errs as [`read_npy`] does, and when the archive is damaged.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let read = || archive(std::io::BufReader::new(file::open_raw(path)?));
    read().map_err(|e: Error| e.in_file(path))
}

fn archive(reader: impl Read + Seek) -> Result<Vec<(String, Tensor)>> {
    let from_zip = |e: zip::result::ZipError| match e {
        zip::result::ZipError::Io(e) => Error::io(e),
        other => Error::new(ErrorKind::Format, format!("damaged archive: {other}")),
    };
    let mut zip = zip::ZipArchive::new(reader).map_err(from_zip)?;
    let mut arrays = Vec::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(from_zip)?;
        let full = entry.name().map_err(from_zip)?.into_owned();
        let Some(name) = full.strip_suffix(".npy") else {
            continue;
        };
        let array = read_array(&mut entry).map_err(|e| e.in_part("array", name))?;
        arrays.push((name.to_owned(), array));
    }
    if arrays.is_empty() {
        return Err(Error::new(
            ErrorKind::Format,
            "there are no arrays in the archive",
        ));
    }
    Ok(arrays)
}

/// The bytes of a `.npy` file: version 1.0, little endian, row-major.
///
/// NumPy has no bf16, so that is written as f32, which holds the same values.
pub fn npy_bytes(array: &Tensor) -> Vec<u8> {
    let descr = match array.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::F16 => "<f2",
        DType::BF16 => return npy_bytes(&array.cast(DType::F32)),
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
    };
    let sizes: String = array
        .shape()
        .iter()
        .map(|size| format!("{size},"))
        .collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The values begin at a multiple of 64, after a line end.
    let end = (10 + header.len() + 1).next_multiple_of(64) - 1;
    header.extend(std::iter::repeat_n(' ', end - 10 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // At most 32 axes of 20 digits each: far below 2^16.
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    match array.data() {
        Data::F32(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::F64(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I64(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U8(v) => bytes.extend(v),
        Data::F16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::BF16(_) => unreachable!("cast to f32 above"),
        Data::I8(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::I32(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U16(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U32(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::U64(v) => bytes.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Data::Bool(v) => bytes.extend(v.iter().map(|&b| u8::from(b))),
    }
    bytes
}

/// The bytes of a `.npz` archive of named arrays, not compressed; the same for the same arrays.
///
/// Errs when a name is given twice.
pub fn npz_bytes(arrays: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let refused = |e: zip::result::ZipError| Error::new(ErrorKind::Format, e.to_string());
    let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let bytes = npy_bytes(array);
        let options = options.large_file(bytes.len() >= 1 << 31);
        zip.start_file(format!("{name}.npy"), options)
            .map_err(refused)?;
        zip.write_all(&bytes).map_err(Error::io)?;
    }
    Ok(zip.finish().map_err(refused)?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let arrays: Vec<(String, Tensor)> = vec![
            (
                "a".into(),
                Tensor::new(&[2, 3], vec![1f32, -0.5, 0.0, 1e-40, f32::MAX, 6.0]).unwrap(),
            ),
            ("b/c".into(), Tensor::scalar(-7i64)),
            ("d".into(), Tensor::new(&[3], vec![0u8, 1, 255]).unwrap()),
            ("e".into(), Tensor::new(&[1, 0], Vec::<f64>::new()).unwrap()),
        ];
        let path = folder.path().join("x.npz");
        let bytes = npz_bytes(&arrays).unwrap();
        assert_eq!(bytes, npz_bytes(&arrays).unwrap());
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_npz(&path).unwrap(), arrays);
        let path = folder.path().join("x.npy");
        for (_, array) in &arrays {
            let bytes = npy_bytes(array);
            assert_eq!(
                (bytes.len() - array.len() * array.dtype().size_bytes()) % 64,
                0
            );
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(&read_npy(&path).unwrap(), array);
        }
        // Types that reading widens: the values are the same.
        let values = Tensor::new(&[3], vec![0i64, 1, 100]).unwrap();
        for &dtype in DType::ALL {
            let written = values.cast(dtype);
            std::fs::write(&path, npy_bytes(&written)).unwrap();
            let found = read_npy(&path).unwrap();
            let same = found.cast(DType::F64) == written.cast(DType::F64);
            assert!(same && found.shape() == [3], "{dtype}: {found:?}");
        }
        let twice = [arrays[0].clone(), arrays[0].clone()];
        assert!(npz_bytes(&twice).is_err());
    }

    fn npy(descr: &str, fortran: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let mut text =
            format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(values);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Tensor> {
        read_array(&mut Cursor::new(bytes))
    }

    #[test]
    fn reads_every_type() {
        let f16s = [f16::from_f32(1.5), f16::from_f32(-2.0)]
            .map(f16::to_le_bytes)
            .concat();
        let cases: [(&str, Vec<u8>, Data); 13] = [
            ("'|u1'", vec![1, 255], Data::U8(vec![1, 255])),
            ("'|b1'", vec![0, 7], Data::U8(vec![0, 1])),
            ("'|i1'", vec![1, 255], Data::I64(vec![1, -1])),
            ("'<i2'", vec![1, 0, 255, 255], Data::I64(vec![1, -1])),
            ("'>i2'", vec![0, 1, 255, 255], Data::I64(vec![1, -1])),
            ("'<u2'", vec![1, 0, 255, 255], Data::I64(vec![1, 65535])),
            (
                "'<i4'",
                [1i32, -9].map(i32::to_le_bytes).concat(),
                Data::I64(vec![1, -9]),
            ),
            (
                "'>u4'",
                [1, u32::MAX].map(u32::to_be_bytes).concat(),
                Data::I64(vec![1, 4294967295]),
            ),
            (
                "'<i8'",
                [1i64, -9].map(i64::to_le_bytes).concat(),
                Data::I64(vec![1, -9]),
            ),
            (
                "'<u8'",
                [1u64, 9].map(u64::to_le_bytes).concat(),
                Data::I64(vec![1, 9]),
            ),
            ("\"<f2\"", f16s, Data::F32(vec![1.5, -2.0])),
            (
                "'<f4'",
                [1.5f32, -2.0].map(f32::to_le_bytes).concat(),
                Data::F32(vec![1.5, -2.0]),
            ),
            (
                "'>f8'",
                [1.5f64, -2.0].map(f64::to_be_bytes).concat(),
                Data::F64(vec![1.5, -2.0]),
            ),
        ];
        for (descr, bytes, data) in cases {
            let t = read(&npy(descr, "False", "(2,)", &bytes)).unwrap();
            assert_eq!((t.shape(), t.data()), (&[2][..], &data), "{descr}");
        }
    }

    #[test]
    fn fortran_order_is_turned() {
        let t = read(&npy("'|u1'", "True", "(2, 3)", &[0, 3, 1, 4, 2, 5])).unwrap();
        assert_eq!(t.values::<u8>().unwrap(), [0, 1, 2, 3, 4, 5]);
        let values: Vec<u8> = (0..24).collect();
        let t = read(&npy("'|u1'", "True", "(2, 3, 4)", &values)).unwrap();
        let at = |i: usize, j: usize, k: usize| t.values::<u8>().unwrap()[(i * 3 + j) * 4 + k];
        assert_eq!(
            (at(1, 0, 0), at(0, 1, 0), at(0, 0, 1), at(1, 2, 3)),
            (1, 2, 6, 23)
        );
    }

    #[test]
    fn refuses() {
        let ok = npy("'|u1'", "False", "(2,)", &[1, 2]);
        let cases: [(&str, Vec<u8>, &str); 11] = [
            ("empty", vec![], "the file ends early"),
            ("text", b"a,b,c\n1,2,3\n".to_vec(), "expected a NumPy array"),
            ("cut header", ok[..40].to_vec(), "the file ends early"),
            (
                "cut values",
                ok[..ok.len() - 1].to_vec(),
                "shape [2] needs 2 bytes, found 1",
            ),
            (
                "more",
                [&ok[..], &[3]].concat(),
                "expected the end of the array after 2 values",
            ),
            (
                "pickle",
                npy("'|O'", "False", "(2,)", &[1, 2]),
                "expected numbers, found elements",
            ),
            (
                "text",
                npy("'<U5'", "False", "(2,)", &[1, 2]),
                "of type \"<U5\"",
            ),
            (
                "fields",
                npy("[('a', '<f4')]", "False", "(2,)", &[]),
                "expected a plain type",
            ),
            (
                "shape",
                npy("'|u1'", "False", "(-2,)", &[]),
                "expected a shape of integers",
            ),
            (
                "huge",
                npy("'<f8'", "False", "(4294967296, 4294967296)", &[]),
                "more elements than memory can",
            ),
            (
                "large",
                npy("'<u8'", "False", "(1,)", &[255; 8]),
                "expected integers below 2^63",
            ),
        ];
        for (name, bytes, text) in cases {
            let error = read(&bytes).unwrap_err();
            assert!(error.to_string().contains(text), "{name}: {error}");
        }
    }

    fn npz(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn archives() {
        let x = npy("'|u1'", "False", "(2, 2)", &[1, 2, 3, 4]);
        let bytes = npz(&[("x.npy", x.clone()), ("readme.txt", b"hi".to_vec())]);
        let arrays = archive(Cursor::new(&bytes)).unwrap();
        assert_eq!(arrays.len(), 1);
        assert_eq!(
            (arrays[0].0.as_str(), arrays[0].1.shape()),
            ("x", &[2, 2][..])
        );
        for end in 0..bytes.len() {
            assert!(archive(Cursor::new(&bytes[..end])).is_err(), "{end}");
        }
        let bad = npz(&[("x.npy", x[..x.len() - 1].to_vec())]);
        let error = archive(Cursor::new(&bad)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("array \"x\": the array ends early"),
            "{error}"
        );
        assert!(archive(Cursor::new(npz(&[]))).is_err());
    }
}
