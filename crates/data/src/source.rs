//! Where batches come from: memory, or files larger than memory.
//!
//! A [`Source`] hands out any rows as normalised `f32` with their targets. [`MemorySource`] keeps
//! images as bytes and tables as encoded rows; [`FileSource`](crate::FileSource) reads by position;
//! [`Subset`] is a view of some rows of another.

use bantam_core::schema::{InputSchema, Schema, TargetKind, normalise, normalise_pixel};
use bantam_core::{Data, Tensor};

use crate::encode::Targets;
use crate::error::{Error, ErrorKind, Result};
use crate::fit::as_f64;
use crate::load::Samples;

/// Samples that can be read in any order, from several threads at once.
pub trait Source: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of a sample, without the batch axis.
    fn sample_shape(&self) -> &[usize];

    /// Number of classes; 0 when numbers are predicted.
    fn classes(&self) -> usize;

    /// Replaces `x` by the samples of `rows`, one after another, and `y` by their targets.
    ///
    /// Errs when a row is out of range or a file cannot be read.
    fn read(&self, rows: &[usize], x: &mut Vec<f32>, y: &mut Targets) -> Result<()>;

    /// The value of a black pixel after normalisation, per channel; empty when samples are not
    /// images, which means 0.
    fn border(&self) -> &[f32] {
        &[]
    }

    /// How many rows in a row are best read together; none when all orders cost the same.
    fn block(&self) -> Option<usize> {
        None
    }
}

/// What turns stored values into normalised ones.
#[derive(Clone, Debug)]
pub(crate) enum Norm {
    /// They are normalised already.
    Done,
    /// Bytes of images: offset and scale per channel, and the pixels of a channel.
    Pixels {
        channels: Vec<(f32, f32)>,
        plane: usize,
    },
    /// Bytes of arrays: one table for all.
    Bytes(Box<[f32; 256]>),
    /// Numbers of arrays.
    Numbers { offset: f32, scale: f32 },
}

impl Norm {
    /// The normalisation that `schema` asks for samples that are bytes, or numbers.
    pub(crate) fn of(schema: &InputSchema, bytes: bool) -> Result<Norm> {
        match schema {
            InputSchema::Table { .. } => {
                let message = "expected the schema of images or arrays, found that of a table";
                Err(Error::new(ErrorKind::Argument, message))
            }
            InputSchema::Image { .. } if !bytes => {
                let message = "expected 8-bit pixels, found other numbers";
                Err(Error::new(ErrorKind::Shape, message))
            }
            InputSchema::Image {
                height,
                width,
                offset,
                scale,
                ..
            } => Ok(Norm::Pixels {
                channels: offset.iter().copied().zip(scale.iter().copied()).collect(),
                plane: height * width,
            }),
            &InputSchema::Array { offset, scale, .. } if bytes => {
                Ok(Norm::Bytes(Box::new(std::array::from_fn(|p| {
                    normalise(p as f64, offset, scale)
                }))))
            }
            &InputSchema::Array { offset, scale, .. } => Ok(Norm::Numbers { offset, scale }),
        }
    }

    /// A black pixel per channel.
    pub(crate) fn border(&self) -> Vec<f32> {
        match self {
            Norm::Pixels { channels, .. } => {
                let black = |&(offset, scale): &(f32, f32)| normalise_pixel(0, offset, scale);
                channels.iter().map(black).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Appends a sample stored as bytes.
    pub(crate) fn push_bytes(&self, sample: &[u8], x: &mut Vec<f32>) {
        match self {
            // The compiler makes vectors of this, which beat a table of 256 values.
            Norm::Pixels { channels, plane } if *plane > 0 => {
                for (pixels, &(offset, scale)) in sample.chunks_exact(*plane).zip(channels) {
                    x.extend(pixels.iter().map(|&p| normalise_pixel(p, offset, scale)));
                }
            }
            Norm::Bytes(table) => x.extend(sample.iter().map(|&p| table[usize::from(p)])),
            Norm::Pixels { .. } | Norm::Done | Norm::Numbers { .. } => {
                x.extend(sample.iter().map(|&p| self.number(f64::from(p))));
            }
        }
    }

    /// Appends a sample stored as floats.
    pub(crate) fn push_floats(&self, sample: &[f32], x: &mut Vec<f32>) {
        match self {
            Norm::Done => x.extend_from_slice(sample),
            _ => x.extend(sample.iter().map(|&v| self.number(f64::from(v)))),
        }
    }

    pub(crate) fn number(&self, v: f64) -> f32 {
        match self {
            Norm::Numbers { offset, scale } => normalise(v, *offset, *scale),
            _ => v as f32,
        }
    }
}

/// Samples in memory: bytes normalised as they are read, or encoded rows.
#[derive(Debug)]
pub struct MemorySource {
    data: Data,
    shape: Vec<usize>,
    norm: Norm,
    border: Vec<f32>,
    targets: Targets,
    classes: usize,
}

impl MemorySource {
    /// Rows that are encoded already: `x: [n, ...]` as [`encode`](crate::encode) makes them.
    /// `classes` is 0 when numbers are predicted.
    ///
    /// Errs when rows and targets do not agree, or `x` is not `f32`.
    pub fn from_rows(x: Tensor, targets: Targets, classes: usize) -> Result<MemorySource> {
        x.values::<f32>()
            .map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))?;
        MemorySource::new(x, Norm::Done, targets, classes)
    }

    /// Images or arrays, normalised by `schema` as they are read.
    ///
    /// Errs when the samples are not of the shape and type that the schema describes.
    pub fn from_samples(samples: Samples, schema: &Schema) -> Result<MemorySource> {
        let norm = checked_norm(samples.inputs.shape(), samples.inputs.dtype(), schema)?;
        let targets = Targets::Classes(samples.labels);
        let inputs = match samples.inputs.data() {
            Data::U8(_) | Data::F32(_) => samples.inputs,
            _ => samples.inputs.cast(bantam_core::DType::F32),
        };
        MemorySource::new(inputs, norm, targets, schema.target.classes().len())
    }

    fn new(x: Tensor, norm: Norm, targets: Targets, classes: usize) -> Result<MemorySource> {
        let n = x.shape().first().copied().unwrap_or(0);
        check_targets(n, &targets, classes)?;
        Ok(MemorySource {
            shape: x.shape().get(1..).unwrap_or(&[]).to_vec(),
            data: x.into_data(),
            border: norm.border(),
            norm,
            targets,
            classes,
        })
    }

    /// The targets of all rows.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }
}

/// The normalisation of `schema` for a tensor of this shape and type, batch axis first.
pub(crate) fn checked_norm(
    shape: &[usize],
    dtype: bantam_core::DType,
    schema: &Schema,
) -> Result<Norm> {
    let expected = schema.sample_shape();
    let found = shape.get(1..).unwrap_or(&[]);
    if found != expected {
        let message = format!("expected samples of shape {expected:?}, found {found:?}");
        return Err(Error::new(ErrorKind::Shape, message));
    }
    if let TargetKind::Number { .. } = schema.target.kind {
        let message = "expected a schema with classes, found one that predicts a number";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    Norm::of(&schema.input, dtype == bantam_core::DType::U8)
}

/// Checks that there are `n` targets and that classes are in range.
pub(crate) fn check_targets(n: usize, targets: &Targets, classes: usize) -> Result<()> {
    if targets.len() != n {
        let message = format!("expected {n} targets, found {}", targets.len());
        return Err(Error::new(ErrorKind::Shape, message));
    }
    if targets.classes().is_some() != (classes > 0) {
        let message = "expected classes to have a number of classes, and numbers to have none";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let labels = targets.classes().unwrap_or(&[]);
    match labels.iter().position(|&y| y < 0 || y as usize >= classes) {
        None => Ok(()),
        Some(row) => {
            let message = format!("expected a class in 0..{classes}, found {}", labels[row]);
            Err(Error::new(ErrorKind::Target, message).in_row(row))
        }
    }
}

/// Checks that all rows are below `n`.
pub(crate) fn check_rows(rows: &[usize], n: usize) -> Result<()> {
    match rows.iter().find(|&&row| row >= n) {
        None => Ok(()),
        Some(row) => {
            let message = format!("expected rows below {n}, found {row}");
            Err(Error::new(ErrorKind::Argument, message))
        }
    }
}

impl Source for MemorySource {
    fn len(&self) -> usize {
        self.targets.len()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn read(&self, rows: &[usize], x: &mut Vec<f32>, y: &mut Targets) -> Result<()> {
        check_rows(rows, self.len())?;
        let len: usize = self.shape.iter().product();
        x.clear();
        x.reserve(rows.len() * len);
        for &row in rows {
            let range = row * len..(row + 1) * len;
            match &self.data {
                Data::U8(v) => self.norm.push_bytes(&v[range], x),
                Data::F32(v) => self.norm.push_floats(&v[range], x),
                data => x.extend(range.map(|i| self.norm.number(as_f64(data, i)))),
            }
        }
        self.targets.read(rows, y);
        Ok(())
    }

    fn border(&self) -> &[f32] {
        &self.border
    }
}

/// Some rows of another source, in a given order.
#[derive(Clone)]
pub struct Subset<'a> {
    source: &'a dyn Source,
    rows: Vec<usize>,
}

impl<'a> Subset<'a> {
    /// The rows `rows` of `source`.
    ///
    /// Errs when a row is out of range.
    pub fn new(source: &'a dyn Source, rows: Vec<usize>) -> Result<Subset<'a>> {
        check_rows(&rows, source.len())?;
        Ok(Subset { source, rows })
    }

    /// The rows in the source.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }
}

impl Source for Subset<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample_shape(&self) -> &[usize] {
        self.source.sample_shape()
    }

    fn classes(&self) -> usize {
        self.source.classes()
    }

    fn read(&self, rows: &[usize], x: &mut Vec<f32>, y: &mut Targets) -> Result<()> {
        check_rows(rows, self.len())?;
        let rows: Vec<usize> = rows.iter().map(|&r| self.rows[r]).collect();
        self.source.read(&rows, x, y)
    }

    fn border(&self) -> &[f32] {
        self.source.border()
    }

    fn block(&self) -> Option<usize> {
        self.source.block()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::fit_samples;

    fn digits() -> Samples {
        let pixels: Vec<u8> = (0..4 * 2 * 6).map(|i| (i * 37 % 256) as u8).collect();
        Samples {
            inputs: Tensor::new(&[4, 2, 2, 3], pixels).unwrap(),
            labels: vec![0, 1, 2, 1],
            classes: ["a", "b", "c"].map(String::from).to_vec(),
        }
    }

    /// The slow twin: one pixel at a time, by the formula of the schema.
    fn reference_read(samples: &Samples, schema: &Schema, rows: &[usize]) -> Vec<f32> {
        let InputSchema::Image { offset, scale, .. } = &schema.input else {
            panic!("not images")
        };
        let pixels = samples.inputs.values::<u8>().unwrap();
        let mut x = Vec::new();
        for &row in rows {
            for c in 0..2 {
                for p in 0..6 {
                    let pixel = f32::from(pixels[(row * 2 + c) * 6 + p]);
                    x.push((pixel / 255.0 - offset[c]) * scale[c]);
                }
            }
        }
        x
    }

    #[test]
    fn images_are_normalised_as_the_schema_says() {
        let samples = digits();
        let schema = fit_samples(&samples, "digit", &[0, 1, 2]).unwrap();
        let source = MemorySource::from_samples(samples.clone(), &schema).unwrap();
        let (mut x, mut y) = (vec![9.0], Targets::empty(0));
        let rows = [3, 0, 0];
        source.read(&rows, &mut x, &mut y).unwrap();
        assert_eq!(x, reference_read(&samples, &schema, &rows));
        assert_eq!(y, Targets::Classes(vec![1, 0, 0]));
        assert_eq!(source.sample_shape(), [2, 2, 3]);
        assert_eq!(
            (source.len(), source.classes(), source.border().len()),
            (4, 3, 2)
        );
        let subset = Subset::new(&source, vec![2, 3]).unwrap();
        subset.read(&[1, 0], &mut x, &mut y).unwrap();
        assert_eq!(x, reference_read(&samples, &schema, &[3, 2]));
        assert!(Subset::new(&source, vec![4]).is_err());
        assert!(subset.read(&[2], &mut x, &mut y).is_err());
    }

    #[test]
    fn refuses() {
        let schema = fit_samples(&digits(), "digit", &[0]).unwrap();
        let mut other = digits();
        other.inputs = other.inputs.reshape(&[4, 12]).unwrap();
        let error = MemorySource::from_samples(other, &schema).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected samples of shape [2, 2, 3], found [12]"
        );
        let x = || Tensor::new(&[2, 1], vec![0f32; 2]).unwrap();
        let cases = [
            (Targets::Classes(vec![0]), 2, "expected 2 targets, found 1"),
            (
                Targets::Classes(vec![0, 2]),
                2,
                "row 1: expected a class in 0..2, found 2",
            ),
            (
                Targets::Classes(vec![0, -1]),
                2,
                "row 1: expected a class in 0..2, found -1",
            ),
            (
                Targets::Numbers(vec![0.0, 1.0]),
                2,
                "expected classes to have",
            ),
        ];
        for (targets, classes, text) in cases {
            let error = MemorySource::from_rows(x(), targets, classes).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
        }
        assert!(MemorySource::from_rows(x(), Targets::Numbers(vec![0.5, 1.0]), 0).is_ok());
    }
}
