//! IDX files: the format of the MNIST digits.
//!
//! Two zero bytes, a type, the number of axes, their sizes as big-endian 32-bit integers, values.
//! Only unsigned bytes are read; the sizes must agree with the length of the file.

use std::io::Read;
use std::path::{Path, PathBuf};

use bantam_core::Tensor;

use crate::error::{Error, ErrorKind, Result};
use crate::file;

/// The header of an IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    /// Sizes of the axes.
    pub(crate) shape: Vec<usize>,
    /// Where the values begin.
    pub(crate) offset: usize,
    /// Number of values.
    pub(crate) count: usize,
}

/// Reads the header; the values come next.
pub(crate) fn read_header(reader: &mut dyn Read) -> Result<Header> {
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(Error::io)?;
    let [0, 0, kind, axes] = magic else {
        let message = format!("expected an IDX file that begins with 00 00, found {magic:02x?}");
        return Err(Error::new(ErrorKind::Format, message));
    };
    if kind != 0x08 {
        let message = format!("expected unsigned bytes (type 0x08), found type {kind:#04x}");
        return Err(Error::new(ErrorKind::Format, message));
    }
    if !(1..=4).contains(&axes) {
        let message = format!("expected 1 to 4 axes, found {axes}");
        return Err(Error::new(ErrorKind::Format, message));
    }
    let mut shape = Vec::new();
    for _ in 0..axes {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(Error::io)?;
        shape.push(u32::from_be_bytes(size) as usize);
    }
    let count = bantam_core::tensor::element_count(&shape);
    Ok(Header {
        count: count.map_err(|e| Error::new(ErrorKind::Limit, e.to_string()))?,
        offset: 4 + 4 * shape.len(),
        shape,
    })
}

/// Reads a whole file, gzipped or not.
///
/// Errs when the file is missing, is not an IDX file of unsigned bytes, ends early or goes on after
/// the last value.
pub fn read_idx(path: &Path) -> Result<Tensor> {
    let read = || {
        let mut reader = file::open(path)?;
        let header = read_header(&mut *reader)?;
        // The vector grows with what is really there, whatever the header promises.
        let values = file::read_up_to(&mut *reader, header.count).map_err(Error::io)?;
        if values.len() < header.count {
            return Err(short(&header, values.len()));
        }
        if !file::read_up_to(&mut *reader, 1)
            .map_err(Error::io)?
            .is_empty()
        {
            return Err(long(&header));
        }
        Tensor::new(&header.shape, values).map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))
    };
    read().map_err(|e: Error| e.in_file(path))
}

pub(crate) fn short(header: &Header, found: usize) -> Error {
    let (shape, count) = (&header.shape, header.count);
    let message =
        format!("the file ends early: shape {shape:?} needs {count} bytes, found {found}");
    Error::new(ErrorKind::Format, message)
}

pub(crate) fn long(header: &Header) -> Error {
    let message = format!("expected the end of the file after {} values", header.count);
    Error::new(ErrorKind::Format, message)
}

/// The images and labels of a folder of MNIST-like files.
pub(crate) struct Pairs {
    pub(crate) train: (PathBuf, PathBuf),
    pub(crate) test: Option<(PathBuf, PathBuf)>,
}

/// Finds the four usual files in `folder`; none when there are no training images.
pub(crate) fn find(folder: &Path) -> Option<Pairs> {
    let pair = |part: &str| {
        let named = |what: &str| {
            let names = [
                format!("{part}-{what}"),
                format!("{part}-{what}.gz"),
                format!("{part}-{}", what.replacen("-idx", ".idx", 1)),
            ];
            names.iter().map(|n| folder.join(n)).find(|p| p.is_file())
        };
        Some((named("images-idx3-ubyte")?, named("labels-idx1-ubyte")?))
    };
    Some(Pairs {
        train: pair("train")?,
        test: pair("t10k").or_else(|| pair("test")),
    })
}

/// The file of labels beside a file of images, by the usual names.
pub(crate) fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let folder = images.parent().unwrap_or(Path::new(""));
    let guess = name.replace("images", "labels").replace("idx3", "idx1");
    let bare = guess.strip_suffix(".gz").unwrap_or(&guess);
    let guesses = [guess.clone(), bare.to_owned(), format!("{bare}.gz")];
    let mut paths = guesses
        .iter()
        .filter(|g| *g != name)
        .map(|g| folder.join(g));
    paths.find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join("a-idx3-ubyte");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    const GOOD: [u8; 16] = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4];

    #[test]
    fn reads() {
        let dir = tempfile::tempdir().unwrap();
        let t = read_idx(&write(&dir, &GOOD)).unwrap();
        assert_eq!(t.shape(), [2, 2]);
        assert_eq!(t.values::<u8>().unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn refuses() {
        let dir = tempfile::tempdir().unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = GOOD.to_vec();
            bytes[at] = byte;
            bytes
        };
        let huge = [
            0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        ];
        let cases: [(&str, Vec<u8>, &str); 8] = [
            ("empty", vec![], "the file ends early"),
            ("cut header", GOOD[..9].to_vec(), "the file ends early"),
            (
                "cut values",
                GOOD[..15].to_vec(),
                "the file ends early: shape [2, 2] needs 4 bytes, found 3",
            ),
            (
                "magic",
                with(0, 1),
                "expected an IDX file that begins with 00 00",
            ),
            (
                "type",
                with(2, 0x0d),
                "expected unsigned bytes (type 0x08), found type 0x0d",
            ),
            ("axes", with(3, 9), "expected 1 to 4 axes, found 9"),
            (
                "more",
                [&GOOD[..], &[5]].concat(),
                "expected the end of the file after 4 values",
            ),
            ("huge", huge.to_vec(), "more elements than memory can"),
        ];
        for (name, bytes, text) in cases {
            let error = read_idx(&write(&dir, &bytes)).unwrap_err();
            assert!(error.to_string().contains(text), "{name}: {error}");
            assert!(error.file().is_some(), "{name}");
        }
    }

    #[test]
    fn finds_the_usual_names() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(dir.path().join(name), GOOD).unwrap();
        assert!(find(dir.path()).is_none());
        touch("train-images-idx3-ubyte.gz");
        touch("train-labels-idx1-ubyte");
        assert!(find(dir.path()).unwrap().test.is_none());
        touch("t10k-images.idx3-ubyte");
        touch("t10k-labels.idx1-ubyte");
        assert!(find(dir.path()).unwrap().test.is_some());
        let beside = labels_beside(&dir.path().join("train-images-idx3-ubyte.gz")).unwrap();
        assert!(beside.ends_with("train-labels-idx1-ubyte"));
        assert!(labels_beside(&dir.path().join("other")).is_none());
    }
}
