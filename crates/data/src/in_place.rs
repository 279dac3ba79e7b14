//! Samples in plain IDX and `.npy` files that may be larger than memory, read where they are.
//!
//! Sizes are checked against the length of the file when it is opened. Files that are gzipped, and
//! arrays in column-major order, cannot be read by position and are refused.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use bantam_core::schema::Schema;
use bantam_core::{DType, Data, Tensor};

use crate::encode::Targets;
use crate::error::{Error, ErrorKind, Result};
use crate::load::{Samples, classes};
use crate::npy::{self, Stored, read_npy};
use crate::source::{check_targets, checked_norm};
use crate::stored::{Beside, FileSource, check_len, each_run};
use crate::{file, idx};

/// Images or arrays in a file, and the labels of all of them in memory.
#[derive(Debug)]
pub struct StoredSamples {
    file: File,
    path: PathBuf,
    layout: Layout,
    labels: Vec<i64>,
    classes: Vec<String>,
}

#[derive(Debug)]
struct Layout {
    offset: usize,
    stored: Stored,
    big_endian: bool,
    shape: Vec<usize>,
}

impl StoredSamples {
    /// Opens IDX files of images and labels.
    ///
    /// Errs when a file is missing or damaged, when the images are gzipped, and when images and
    /// labels do not agree in number.
    pub fn idx(images: &Path, labels: &Path) -> Result<StoredSamples> {
        let labels = idx::read_idx(labels)?;
        let open = || {
            let file = open_plain(images)?;
            let header = idx::read_header(&mut BufReader::new(&file))?;
            let length = file.metadata().map_err(Error::io)?.len();
            let values = length.saturating_sub(header.offset as u64);
            if values < header.count as u64 {
                return Err(idx::short(&header, values as usize));
            }
            if values > header.count as u64 {
                return Err(idx::long(&header));
            }
            let layout = Layout {
                offset: header.offset,
                stored: Stored::U8,
                big_endian: false,
                shape: header.shape,
            };
            StoredSamples::new(file, images, layout, &labels)
        };
        open().map_err(|e: Error| e.in_file(images))
    }

    /// Opens `.npy` files of inputs and labels.
    ///
    /// Errs when a file is missing or damaged, when the inputs are gzipped or not in row-major order,
    /// and when inputs and labels do not agree in number.
    pub fn npy(inputs: &Path, labels: &Path) -> Result<StoredSamples> {
        let labels = read_npy(labels)?;
        let open = || {
            let file = open_plain(inputs)?;
            let header = npy::read_header(&mut BufReader::new(&file))?;
            if header.fortran && header.shape.len() > 1 {
                let error =
                    Error::new(ErrorKind::Format, "expected row-major order, found columns");
                return Err(error.with_hint("save a C-contiguous copy, or read it into memory"));
            }
            let length = file.metadata().map_err(Error::io)?.len();
            let expected = (header.count * header.stored.size_bytes()) as u64;
            let found = length.saturating_sub(header.offset as u64);
            if expected != found {
                let shape = &header.shape;
                let message = format!("shape {shape:?} needs {expected} bytes, found {found}");
                return Err(Error::new(ErrorKind::Format, message));
            }
            let layout = Layout {
                offset: header.offset,
                stored: header.stored,
                big_endian: header.big_endian,
                shape: header.shape,
            };
            StoredSamples::new(file, inputs, layout, &labels)
        };
        open().map_err(|e: Error| e.in_file(inputs))
    }

    fn new(file: File, path: &Path, mut layout: Layout, labels: &Tensor) -> Result<StoredSamples> {
        if layout.is_bytes()
            && let &[n, h, w] = layout.shape.as_slice()
        {
            layout.shape = vec![n, 1, h, w];
        }
        let (labels, classes) = classes(labels)?;
        let n = layout.shape.first().copied().unwrap_or(0);
        if labels.len() != n {
            let message = format!(
                "expected {n} labels for {n} samples, found {}",
                labels.len()
            );
            return Err(Error::new(ErrorKind::Shape, message));
        }
        check_len(n)?;
        Ok(StoredSamples {
            file,
            path: path.to_owned(),
            layout,
            labels,
            classes,
        })
    }

    /// Index into [`StoredSamples::classes`] of each sample.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Reads the samples `rows` into memory.
    ///
    /// Errs when a row is out of range or the file cannot be read.
    pub fn samples(&self, rows: &[usize]) -> Result<Samples> {
        crate::source::check_rows(rows, self.labels.len())?;
        let Layout { offset, shape, .. } = &self.layout;
        let (mut bytes, mut floats) = (Vec::new(), Vec::new());
        each_run(
            &self.file,
            *offset as u64,
            self.layout.stride(),
            rows,
            |run| {
                match npy::decode(run, self.layout.stored, self.layout.big_endian)? {
                    Data::U8(v) => bytes.extend(v),
                    Data::F32(v) => floats.extend(v),
                    data => {
                        floats.extend((0..data.len()).map(|i| crate::fit::as_f64(&data, i) as f32))
                    }
                }
                Ok(())
            },
        )
        .map_err(|e| e.in_file(&self.path))?;
        let mut shape = shape.clone();
        shape[0] = rows.len();
        let inputs = match self.layout.is_bytes() {
            true => Tensor::new(&shape, bytes),
            false => Tensor::new(&shape, floats),
        };
        Ok(Samples {
            inputs: inputs.map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))?,
            labels: rows.iter().map(|&r| self.labels[r]).collect(),
            classes: self.classes.clone(),
        })
    }

    /// All samples as a source, normalised by `schema` as they are read.
    ///
    /// Errs when they do not fit the schema or have a class that it has not.
    pub fn source(self, schema: &Schema) -> Result<FileSource> {
        let path = self.path.clone();
        self.into_source(schema).map_err(|e| e.in_file(&path))
    }

    fn into_source(self, schema: &Schema) -> Result<FileSource> {
        let Layout {
            offset,
            stored,
            big_endian,
            ref shape,
        } = self.layout;
        let dtype = if self.layout.is_bytes() {
            DType::U8
        } else {
            DType::F32
        };
        let norm = checked_norm(shape, dtype, schema)?;
        let known = schema.target.classes();
        let targets = Targets::Classes(known_labels(&self.labels, &self.classes, known)?);
        let len = self.labels.len();
        check_targets(len, &targets, known.len())?;
        Ok(FileSource {
            offset: offset as u64,
            stride: self.layout.stride(),
            stored,
            big_endian,
            shape: shape[1..].to_vec(),
            border: norm.border(),
            norm,
            targets: Beside::Memory(targets),
            classes: known.len(),
            len,
            file: self.file,
            path: self.path,
        })
    }
}

impl Layout {
    fn is_bytes(&self) -> bool {
        matches!(self.stored, Stored::U8 | Stored::Bool)
    }

    /// Bytes of a sample.
    fn stride(&self) -> usize {
        let values: usize = self.shape.iter().skip(1).product();
        values * self.stored.size_bytes()
    }
}

/// Opens a file that must not be gzipped, because it is read by position.
fn open_plain(path: &Path) -> Result<File> {
    let file = file::open_raw(path)?;
    let mut magic = Vec::new();
    (&file).take(2).read_to_end(&mut magic).map_err(Error::io)?;
    if magic == [0x1f, 0x8b] {
        let error = Error::new(ErrorKind::Format, "expected a file that is not compressed");
        return Err(error.with_hint("a file is read by position only when it is not gzipped"));
    }
    (&file).rewind().map_err(Error::io)?;
    Ok(file)
}

/// Labels as indices into the classes of a schema.
fn known_labels(labels: &[i64], names: &[String], classes: &[String]) -> Result<Vec<i64>> {
    let place = |name: &String| match classes.iter().position(|c| c == name) {
        Some(place) => Ok(place as i64),
        None => {
            let message = format!("the labels have a class {name:?} that the schema has not");
            Err(Error::new(ErrorKind::Target, message))
        }
    };
    let places = names.iter().map(place).collect::<Result<Vec<i64>>>()?;
    Ok(labels.iter().map(|&i| places[i as usize]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::fit_samples;
    use crate::load::samples;
    use crate::source::{MemorySource, Source};

    const ROWS: [&[usize]; 5] = [&[], &[0], &[3, 1, 1], &[1, 2, 3, 4], &[4, 3, 0, 1, 2, 2]];

    fn read(source: &dyn Source, rows: &[usize]) -> (Vec<f32>, Targets) {
        let (mut x, mut y) = (vec![7.0], Targets::empty(source.classes()));
        source.read(rows, &mut x, &mut y).unwrap();
        (x, y)
    }

    /// The file sources against the same data in memory.
    #[test]
    fn files_in_place_read_as_memory_does() {
        let dir = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..5 * 6).map(|i| (i * 41 % 256) as u8).collect();
        let labels = [1u8, 0, 2, 2, 1];
        let idx = |axes: &[u8], values: &[u8]| {
            let mut bytes = vec![0, 0, 8, axes.len() as u8];
            axes.iter().for_each(|&a| bytes.extend([0, 0, 0, a]));
            bytes.extend(values);
            bytes
        };
        let images = dir.path().join("images");
        let label_file = dir.path().join("labels");
        std::fs::write(&images, idx(&[5, 2, 3], &pixels)).unwrap();
        std::fs::write(&label_file, idx(&[5], &labels)).unwrap();
        let label_tensor = Tensor::new(&[5], labels.to_vec()).unwrap();
        let of_pixels = Tensor::new(&[5, 2, 3], pixels.clone()).unwrap();
        let in_memory = samples(of_pixels, &label_tensor).unwrap();
        let schema = fit_samples(&in_memory, "y", &[0, 1, 2]).unwrap();
        let memory = MemorySource::from_samples(in_memory, &schema).unwrap();
        let file = StoredSamples::idx(&images, &label_file).unwrap();
        let picked = file.samples(&[3, 1]).unwrap();
        assert_eq!(
            picked.inputs.values::<u8>().unwrap(),
            [&pixels[18..24], &pixels[6..12]].concat()
        );
        assert_eq!((&picked.labels, file.classes().len()), (&vec![2, 0], 3));
        let file = file.source(&schema).unwrap();
        assert_eq!(&read(&file, &[0, 1, 2, 3, 4]).1, memory.targets());
        assert_eq!(file.border(), memory.border());
        for rows in ROWS {
            assert_eq!(read(&file, rows), read(&memory, rows));
        }

        let numbers: Vec<f32> = (0..5 * 4).map(|i| i as f32 * 0.75 - 3.0).collect();
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 4), }\n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        numbers.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        let npy = dir.path().join("x.npy");
        std::fs::write(&npy, &bytes).unwrap();
        let array = Tensor::new(&[5, 4], numbers).unwrap();
        let in_memory = samples(array, &label_tensor).unwrap();
        let array_schema = fit_samples(&in_memory, "y", &[0, 1, 2, 3, 4]).unwrap();
        let memory = MemorySource::from_samples(in_memory, &array_schema).unwrap();
        let text = "{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }\n";
        let mut label_bytes = b"\x93NUMPY\x01\x00".to_vec();
        label_bytes.extend((text.len() as u16).to_le_bytes());
        label_bytes.extend(text.as_bytes());
        label_bytes.extend(labels);
        let label_npy = dir.path().join("y.npy");
        std::fs::write(&label_npy, label_bytes).unwrap();
        let file = StoredSamples::npy(&npy, &label_npy)
            .unwrap()
            .source(&array_schema)
            .unwrap();
        for rows in ROWS {
            assert_eq!(read(&file, rows), read(&memory, rows));
        }
        std::fs::write(&npy, &bytes[..bytes.len() - 1]).unwrap();
        let error = StoredSamples::npy(&npy, &label_npy).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("shape [5, 4] needs 80 bytes, found 79"),
            "{error}"
        );
        std::fs::write(&npy, &bytes).unwrap();
        let error = StoredSamples::npy(&npy, &label_npy)
            .unwrap()
            .source(&schema)
            .unwrap_err();
        let text = "expected samples of shape [1, 2, 3], found [4]";
        assert!(error.to_string().ends_with(text), "{error}");
    }
}
