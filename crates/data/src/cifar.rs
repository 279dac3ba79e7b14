//! The binary files of CIFAR-10: a byte of label and 3 x 32 x 32 bytes of pixels an image.
//!
//! The folder holds `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, and the names of the
//! classes in `batches.meta.txt`; without that file they are the ten that everybody knows.

use std::io::Read;
use std::path::{Path, PathBuf};

use bantam_core::Tensor;
use bantam_core::arch::CIFAR_CLASSES;

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::load::Samples;

const PIXELS: usize = 3 * 32 * 32;

/// The files of a folder.
pub(crate) struct Files {
    train: Vec<PathBuf>,
    test: Option<PathBuf>,
    names: Option<PathBuf>,
}

/// The files in `folder`, if any are those of CIFAR-10.
pub(crate) fn find(folder: &Path) -> Option<Files> {
    let file = |name: &str| Some(folder.join(name)).filter(|p| p.is_file());
    let batches = (1..=5).filter_map(|i| file(&format!("data_batch_{i}.bin")));
    let files = Files {
        train: batches.collect(),
        test: file("test_batch.bin"),
        names: file("batches.meta.txt"),
    };
    (!files.train.is_empty() || files.test.is_some()).then_some(files)
}

/// The samples for training, if there are any, and those for test.
///
/// Errs when a file is not a whole number of images, or has a label that is no class.
pub(crate) fn read(files: &Files) -> Result<(Option<Samples>, Option<Samples>)> {
    let classes = match &files.names {
        Some(path) => names(path).map_err(|e| e.in_file(path))?,
        None => CIFAR_CLASSES.map(str::to_owned).to_vec(),
    };
    let train = match files.train.is_empty() {
        true => None,
        false => Some(samples(&files.train, &classes)?),
    };
    let test = files.test.as_ref();
    let test = test.map(|path| samples(std::slice::from_ref(path), &classes));
    Ok((train, test.transpose()?))
}

fn names(path: &Path) -> Result<Vec<String>> {
    let bytes = file::read_up_to(&mut *file::open(path)?, 1 << 16).map_err(Error::io)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(
            ErrorKind::Format,
            "expected the names of the classes as text",
        )
    })?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

fn samples(paths: &[PathBuf], classes: &[String]) -> Result<Samples> {
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for path in paths {
        batch(path, classes.len(), &mut labels, &mut pixels).map_err(|e| e.in_file(path))?;
    }
    let inputs = Tensor::new(&[labels.len(), 3, 32, 32], pixels);
    Ok(Samples {
        inputs: inputs.map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))?,
        labels,
        classes: classes.to_vec(),
    })
}

fn batch(path: &Path, classes: usize, labels: &mut Vec<i64>, pixels: &mut Vec<u8>) -> Result<()> {
    let mut reader = file::open(path)?;
    let mut image = [0; 1 + PIXELS];
    let before = labels.len();
    loop {
        let mut filled = 0;
        while filled < image.len() {
            match reader.read(&mut image[filled..]).map_err(Error::io)? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 && labels.len() > before {
            return Ok(());
        }
        let row = labels.len() - before;
        if filled < image.len() {
            let expected = image.len();
            let message =
                format!("expected {expected} bytes for a label and its image, found {filled}");
            return Err(Error::new(ErrorKind::Format, message).in_row(row));
        }
        if usize::from(image[0]) >= classes {
            let message = format!("expected a label below {classes}, found {}", image[0]);
            return Err(Error::new(ErrorKind::Value, message).in_row(row));
        }
        labels.push(image[0].into());
        pixels.extend_from_slice(&image[1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, ReadOptions, load};

    fn image(label: u8, pixel: u8) -> Vec<u8> {
        [vec![label], vec![pixel; PIXELS]].concat()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn parts(files: &[(&str, Vec<u8>)]) -> Result<(Samples, Option<Samples>)> {
        let folder = folder(files);
        let loaded = load(folder.path(), None, &ReadOptions::default())?;
        let samples = |d| match d {
            Dataset::Samples(s) => s,
            Dataset::Table(_) => panic!("images"),
        };
        Ok((samples(loaded.train), loaded.test.map(samples)))
    }

    #[test]
    fn batches_are_read_in_order() {
        let first = [image(3, 1), image(9, 2)].concat();
        let (train, test) = parts(&[
            ("data_batch_2.bin", image(0, 5)),
            ("data_batch_1.bin", first),
            ("test_batch.bin", image(8, 255)),
        ])
        .unwrap();
        let test = test.unwrap();
        assert_eq!((train.labels, test.labels), (vec![3, 9, 0], vec![8]));
        assert_eq!(train.inputs.shape(), [3, 3, 32, 32]);
        assert_eq!(train.inputs.values::<u8>().unwrap()[2 * PIXELS], 5);
        assert_eq!(train.classes[3], "cat");
        assert_eq!(test.classes, train.classes);
    }

    #[test]
    fn test_images_alone_and_other_names() {
        let names = b"a\nb\n\n".to_vec();
        let (only, test) = parts(&[
            ("test_batch.bin", image(1, 0)),
            ("batches.meta.txt", names.clone()),
        ])
        .unwrap();
        assert_eq!((only.labels, only.classes.len(), test), (vec![1], 2, None));
        let error =
            parts(&[("test_batch.bin", image(2, 0)), ("batches.meta.txt", names)]).unwrap_err();
        assert!(error.to_string().contains("label below 2"), "{error}");
    }

    #[test]
    fn cut_and_empty_files_are_errors() {
        let mut cut = [image(1, 0), image(2, 0)].concat();
        cut.pop();
        for (bytes, text) in [(cut, "found 3072"), (Vec::new(), "found 0")] {
            let error = parts(&[("test_batch.bin", bytes)]).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
