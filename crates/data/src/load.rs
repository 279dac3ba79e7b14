//! Any file or folder to training data, by what it is.

use std::io::Read;
use std::path::{Path, PathBuf};

use bantam_core::{Data, Tensor};

use crate::cifar;
use crate::columnar::read_parquet;
use crate::delimited::read_delimited;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::file;
use crate::fit::as_f64;
use crate::idx::{self, read_idx};
use crate::images::{entries, is_image_folder, read_image_folder};
use crate::in_place::StoredSamples;
use crate::npy::{read_npy, read_npz};
use crate::options::ReadOptions;
use crate::table::{Column, Table};

/// Training data of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Dataset {
    /// Typed columns, of which one is the target.
    Table(Table),
    /// Images or arrays, each with a class.
    Samples(Samples),
}

/// Images or arrays of one shape, each with a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// `[n, ...]`; images are `u8` and `[n, c, h, w]`, others are `f32` or `u8`.
    pub inputs: Tensor,
    /// Index into `classes` per sample.
    pub labels: Vec<i64>,
    /// Names of the classes.
    pub classes: Vec<String>,
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// What was found at a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The data, or the part of them that is for training.
    pub train: Dataset,
    /// The part for test, when the files say which it is.
    pub test: Option<Dataset>,
    /// What the user should know, a sentence each.
    pub notices: Vec<String>,
}

/// Reads a table: delimited text, Parquet, or a two-dimensional `.npy` file, whose columns are then
/// called `c0`, `c1`, ...
///
/// Errs as [`read_delimited`], [`read_parquet`] and [`read_npy`] do.
pub fn read_table(path: &Path, options: &ReadOptions) -> Result<Table> {
    match kind(path)? {
        Kind::Text => read_delimited(path, options),
        Kind::Parquet => read_parquet(path, options),
        Kind::Npy => array_table(read_npy(path)?).map_err(|e| e.in_file(path)),
        Kind::Npz | Kind::Idx | Kind::Folder => {
            let message = "expected a table, found images or arrays";
            Err(Error::new(ErrorKind::Format, message).in_file(path))
        }
    }
}

/// Reads images or arrays with their classes: a folder of images by class, the folder of the MNIST
/// files, an IDX or `.npy` file with its labels beside it, or an `.npz` archive.
///
/// Errs when the files are missing or damaged, when there are no labels, and when inputs and labels
/// do not agree in number.
pub fn read_images(path: &Path, options: &ReadOptions) -> Result<Loaded> {
    match load(path, None, options)? {
        Loaded {
            train: Dataset::Table(_),
            ..
        } => {
            let message = "expected images or arrays, found a table";
            Err(Error::new(ErrorKind::Format, message).in_file(path))
        }
        loaded => Ok(loaded),
    }
}

/// Reads whatever `path` is. For a table, `target` must be one of its columns, if given, and rows
/// without a target are left out.
///
/// Errs as [`read_table`] and [`read_images`] do.
pub fn load(path: &Path, target: Option<&str>, options: &ReadOptions) -> Result<Loaded> {
    let loaded = match kind(path)? {
        Kind::Text | Kind::Parquet => table(read_table(path, options)?, target),
        Kind::Npz => npz(path),
        Kind::Idx => idx_pair(path, &labels_of(path, options)?).map(only),
        Kind::Npy => match labels_of(path, options) {
            Ok(labels) => npy_pair(path, &labels).map(only),
            Err(error) => match array_table(read_npy(path)?) {
                Ok(all) => table(all, target),
                Err(_) => Err(error),
            },
        },
        Kind::Folder => folder(path),
    };
    loaded.map_err(|e| e.in_file(path))
}

/// Data that can be left on disk while they are learnt from.
#[derive(Debug)]
pub enum OnDisk {
    /// Delimited text, to be encoded with [`encode_file`](crate::encode_file).
    Text,
    /// Plain IDX or `.npy` files, read where they are.
    Samples(Box<StoredParts>),
}

/// The parts of samples that are left on disk.
#[derive(Debug)]
pub struct StoredParts {
    /// For training.
    pub train: StoredSamples,
    /// For test, when the files say which they are.
    pub test: Option<StoredSamples>,
}

/// Opens what `path` is without reading it into memory; `None` when it must be read whole: Parquet,
/// archives, images of their own, gzipped or column-major arrays.
///
/// Errs when files are missing or damaged, or have no labels.
pub fn on_disk(path: &Path, options: &ReadOptions) -> Result<Option<OnDisk>> {
    let parts = |train, test| Some(OnDisk::Samples(Box::new(StoredParts { train, test })));
    Ok(match kind(path)? {
        Kind::Text => Some(OnDisk::Text),
        Kind::Idx if is_plain(path)? => {
            parts(StoredSamples::idx(path, &labels_of(path, options)?)?, None)
        }
        Kind::Npy if is_plain(path)? => match labels_of(path, options) {
            Ok(labels) => parts(StoredSamples::npy(path, &labels)?, None),
            Err(_) => None,
        },
        Kind::Folder => match idx::find(path) {
            Some(pairs) if is_plain(&pairs.train.0)? => {
                let test = match pairs.test {
                    Some((images, labels)) if is_plain(&images)? => {
                        Some(StoredSamples::idx(&images, &labels)?)
                    }
                    Some(_) => return Ok(None),
                    None => None,
                };
                parts(StoredSamples::idx(&pairs.train.0, &pairs.train.1)?, test)
            }
            _ => None,
        },
        Kind::Parquet | Kind::Npz | Kind::Idx | Kind::Npy => None,
    })
}

/// About how many bytes of memory the data at `path` take when they are read whole. It depends on the
/// sizes of the files only: text is taken to double, and to be a fifth of its size when gzipped.
///
/// Errs when a file cannot be looked at.
pub fn memory_estimate(path: &Path) -> Result<u64> {
    let length = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.map(|m| m.len()).map_err(|e| missing(e, path))
    };
    Ok(match kind(path)? {
        Kind::Text if is_plain(path)? => 2 * length(path)?,
        Kind::Text => 10 * length(path)?,
        Kind::Parquet => 4 * length(path)?,
        Kind::Npy | Kind::Npz | Kind::Idx => length(path)?,
        Kind::Folder => match idx::find(path) {
            Some(pairs) => {
                let test = pairs.test.map_or(Ok(0), |t| length(&t.0))?;
                length(&pairs.train.0)? + test
            }
            None => 0,
        },
    })
}

fn is_plain(path: &Path) -> Result<bool> {
    let mut magic = Vec::new();
    let mut reader = file::open_raw(path).map_err(|e| e.in_file(path))?.take(2);
    reader
        .read_to_end(&mut magic)
        .map_err(|e| Error::io(e).in_file(path))?;
    Ok(magic != [0x1f, 0x8b])
}

fn only(samples: Samples) -> Loaded {
    Loaded {
        train: Dataset::Samples(samples),
        test: None,
        notices: Vec::new(),
    }
}

fn table(mut table: Table, target: Option<&str>) -> Result<Loaded> {
    let mut notices = table.notices().to_vec();
    if let Some(target) = target {
        let (rows, notice) = rows_with_target(&table, target)?;
        if let Some(notice) = notice {
            notices.push(notice);
            table = table.select(&rows);
        }
    }
    Ok(Loaded {
        train: Dataset::Table(table),
        test: None,
        notices,
    })
}

/// The rows of `table` that have a target, and what the user should know when they are not all.
///
/// Errs when the column is unknown or no row has a target.
pub fn rows_with_target(table: &Table, target: &str) -> Result<(Vec<usize>, Option<String>)> {
    let values = &table.column(target)?.values;
    let (all, missing) = (values.len(), values.missing());
    if missing == all {
        let message = "the target has no values: every cell is missing";
        return Err(Error::new(ErrorKind::Target, message).in_column(target));
    }
    let rows = (0..all).filter(|&r| !values.is_missing(r)).collect();
    let notice =
        (missing > 0).then(|| format!("{missing} of {all} rows have no target and are left out"));
    Ok((rows, notice))
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Text,
    Parquet,
    Npy,
    Npz,
    Idx,
    Folder,
}

/// What `path` is, by its first bytes; gzip is looked through.
pub(crate) fn kind(path: &Path) -> Result<Kind> {
    let metadata = std::fs::metadata(path);
    if metadata.map_err(|e| missing(e, path))?.is_dir() {
        return Ok(Kind::Folder);
    }
    let mut start = Vec::new();
    let mut reader = file::open(path)?.take(8);
    // A damaged beginning is reported by the reader of whatever it is.
    let _ = reader.read_to_end(&mut start);
    Ok(match start.as_slice() {
        [b'P', b'A', b'R', b'1', ..] => Kind::Parquet,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Kind::Npy,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Kind::Npz,
        [0, 0, 8..=14, 1..=8, ..] => Kind::Idx,
        _ => match extension(path).as_deref() {
            Some("parquet") => Kind::Parquet,
            Some("npy") => Kind::Npy,
            Some("npz") => Kind::Npz,
            _ => Kind::Text,
        },
    })
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_lowercase())
}

/// The error of a path that cannot be looked at, with the nearest file of its folder as the hint.
fn missing(source: std::io::Error, path: &Path) -> Error {
    let error = Error::io(source).in_file(path);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let names = entries(folder).unwrap_or_default();
    let names: Vec<&str> = names
        .iter()
        .filter_map(|p| p.file_name()?.to_str())
        .collect();
    let wanted = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    match nearest(wanted, names.into_iter()) {
        Some(near) => error.with_hint(format!("did you mean {near:?}?")),
        None => error,
    }
}

fn labels_of(path: &Path, options: &ReadOptions) -> Result<PathBuf> {
    let beside = || match extension(path).as_deref() {
        Some("npy") => npy_labels_beside(path),
        _ => idx::labels_beside(path),
    };
    options.labels.clone().or_else(beside).ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, "there is no file of labels beside it");
        error.with_hint("name the file of labels").in_file(path)
    })
}

/// `y_train.npy` beside `x_train.npy`, `labels.npy` beside `images.npy` and the like.
fn npy_labels_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let words = [
        ("images", "labels"),
        ("data", "labels"),
        ("features", "labels"),
        ("inputs", "targets"),
        ("x", "y"),
        ("X", "y"),
        ("X", "Y"),
    ];
    let guesses = words.iter().filter(|(from, _)| match from.len() {
        // A single letter must be a word of its own.
        1 => name.split(['_', '-', '.']).any(|word| word == *from),
        _ => name.contains(from),
    });
    let mut paths = guesses.map(|(from, to)| folder.join(name.replacen(from, to, 1)));
    paths.find(|p| p.is_file() && p != path)
}

fn folder(path: &Path) -> Result<Loaded> {
    if let Some(pairs) = idx::find(path) {
        let train = idx_pair(&pairs.train.0, &pairs.train.1)?;
        let test = pairs
            .test
            .map(|(images, labels)| idx_pair(&images, &labels))
            .transpose()?;
        return parts(train, test);
    }
    if let Some(files) = cifar::find(path) {
        return match cifar::read(&files)? {
            (Some(train), Some(test)) => parts(train, Some(test)),
            (train, test) => Ok(only(train.or(test).expect("one of the files was found"))),
        };
    }
    if is_image_folder(path) {
        return read_image_folder(path).map(only);
    }
    let train = path.join("train");
    if is_image_folder(&train) {
        let names = ["test", "t10k", "val", "valid", "validation"];
        let test = names
            .iter()
            .map(|n| path.join(n))
            .find(|p| is_image_folder(p));
        let test = test.map(|p| read_image_folder(&p)).transpose()?;
        return parts(read_image_folder(&train)?, test);
    }
    let error = Error::new(
        ErrorKind::Format,
        "expected images in a folder per class, IDX files or those of CIFAR-10",
    );
    Err(error.with_hint(
        "found neither subfolders with images nor train-images-idx3-ubyte nor test_batch.bin",
    ))
}

/// Train and test, after checking that they go together.
fn parts(train: Samples, test: Option<Samples>) -> Result<Loaded> {
    let mut notices = Vec::new();
    let mut train = train;
    let mut test = test;
    if let Some(test) = &mut test {
        let (expected, found) = (&train.inputs.shape()[1..], &test.inputs.shape()[1..]);
        if expected != found {
            let message = format!(
                "expected test samples of shape {expected:?} as in training, found {found:?}"
            );
            return Err(Error::new(ErrorKind::Shape, message));
        }
        match_classes(&mut train, test)?;
        notices.push(format!(
            "{} samples for training and {} for test, as the files say",
            train.len(),
            test.len()
        ));
    }
    Ok(Loaded {
        train: Dataset::Samples(train),
        test: test.map(Dataset::Samples),
        notices,
    })
}

/// Makes the labels of `test` indices into the classes of `train`.
fn match_classes(train: &mut Samples, test: &mut Samples) -> Result<()> {
    let index = |name: &String| train.classes.iter().position(|c| c == name);
    let places: Vec<Option<usize>> = test.classes.iter().map(index).collect();
    for label in &mut test.labels {
        let class = *label as usize;
        match places[class] {
            Some(place) => *label = place as i64,
            None => {
                let name = &test.classes[class];
                let message = format!("the test data have a class {name:?} that training has not");
                return Err(Error::new(ErrorKind::Target, message));
            }
        }
    }
    test.classes = train.classes.clone();
    Ok(())
}

fn idx_pair(images: &Path, labels: &Path) -> Result<Samples> {
    let inputs = read_idx(images)?;
    let targets = read_idx(labels)?;
    samples(inputs, &targets).map_err(|e| e.in_file(images))
}

fn npy_pair(inputs: &Path, labels: &Path) -> Result<Samples> {
    samples(read_npy(inputs)?, &read_npy(labels)?).map_err(|e| e.in_file(inputs))
}

fn npz(path: &Path) -> Result<Loaded> {
    let mut arrays = read_npz(path)?;
    let mut take = |names: &[&str]| {
        let at = arrays
            .iter()
            .position(|(name, _)| names.contains(&name.as_str()))?;
        Some(arrays.swap_remove(at).1)
    };
    let x = take(&[
        "x_train",
        "X_train",
        "train_images",
        "x",
        "X",
        "images",
        "data",
        "features",
    ]);
    let y = take(&[
        "y_train",
        "Y_train",
        "train_labels",
        "y",
        "Y",
        "labels",
        "targets",
        "target",
    ]);
    let x_test = take(&["x_test", "X_test", "test_images"]);
    let y_test = take(&["y_test", "Y_test", "test_labels"]);
    let (Some(x), Some(y)) = (x, y) else {
        let names: Vec<String> = arrays.iter().map(|(n, _)| format!("{n:?}")).collect();
        let message = format!(
            "expected arrays x and y, or x_train and y_train, found {}",
            names.join(", ")
        );
        return Err(Error::new(ErrorKind::Format, message));
    };
    let test = match (x_test, y_test) {
        (Some(x), Some(y)) => Some(samples(x, &y)?),
        _ => None,
    };
    parts(samples(x, &y)?, test)
}

/// Inputs and labels as they are stored, to samples.
pub(crate) fn samples(inputs: Tensor, labels: &Tensor) -> Result<Samples> {
    let n = inputs.shape().first().copied().unwrap_or(0);
    let flat = matches!(labels.shape(), [_] | [_, 1]);
    if !flat || labels.shape()[0] != n {
        let (inputs, labels) = (inputs.shape(), labels.shape());
        let message =
            format!("expected one label per sample, found inputs {inputs:?} and labels {labels:?}");
        return Err(Error::new(ErrorKind::Shape, message));
    }
    if inputs.is_empty() {
        return Err(Error::new(ErrorKind::Rows, "there are no samples"));
    }
    let (labels, classes) = classes(labels)?;
    Ok(Samples {
        inputs: arranged(inputs)?,
        labels,
        classes,
    })
}

/// Most classes that numbers may stand for.
const MOST_CLASSES: usize = 1000;

/// Labels as indices, and the names of the classes: the distinct numbers in order.
pub(crate) fn classes(labels: &Tensor) -> Result<(Vec<i64>, Vec<String>)> {
    let whole = |i: usize| {
        let x = as_f64(labels.data(), i);
        if x.fract() == 0.0 && x.abs() < 9e15 {
            return Ok(x as i64);
        }
        let message = format!("expected whole numbers as labels, found {x}");
        let error = Error::new(ErrorKind::Target, message).in_row(i);
        Err(error.with_hint("numbers are predicted from tables only"))
    };
    let values = (0..labels.len()).map(whole).collect::<Result<Vec<i64>>>()?;
    let distinct: std::collections::BTreeSet<i64> = values.iter().copied().collect();
    if distinct.len() > MOST_CLASSES {
        let message = format!(
            "expected at most {MOST_CLASSES} classes, found {}",
            distinct.len()
        );
        return Err(Error::new(ErrorKind::Target, message));
    }
    let distinct: Vec<i64> = distinct.into_iter().collect();
    let index = |x: &i64| distinct.partition_point(|d| d < x) as i64;
    let indices = values.iter().map(index).collect();
    Ok((indices, distinct.iter().map(i64::to_string).collect()))
}

/// Images as `[n, c, h, w]` bytes, other arrays as `f32`.
fn arranged(inputs: Tensor) -> Result<Tensor> {
    let shape = inputs.shape().to_vec();
    let failed = |e: bantam_core::Error| Error::new(ErrorKind::Shape, e.to_string());
    match (inputs.data(), shape.as_slice()) {
        (Data::U8(_), &[n, h, w]) => inputs.reshape(&[n, 1, h, w]).map_err(failed),
        (Data::U8(pixels), &[n, h, w, c @ (1 | 3 | 4)]) if !matches!(shape[1], 1 | 3 | 4) => {
            let mut planes: Vec<u8> = Vec::with_capacity(pixels.len());
            for image in pixels.chunks_exact(h * w * c) {
                for channel in 0..c {
                    planes.extend(image.iter().skip(channel).step_by(c));
                }
            }
            Tensor::new(&[n, c, h, w], planes).map_err(failed)
        }
        (Data::U8(_), _) => Ok(inputs),
        (data, _) => {
            let wrong = (0..data.len()).find(|&i| !(as_f64(data, i) as f32).is_finite());
            if let Some(i) = wrong {
                let row = i / (data.len() / shape[0]);
                let message = format!("expected finite numbers, found {}", as_f64(data, i));
                return Err(Error::new(ErrorKind::Value, message).in_row(row));
            }
            Ok(inputs.cast(bantam_core::DType::F32))
        }
    }
}

/// A matrix as a table with the columns `c0`, `c1`, ...
fn array_table(array: Tensor) -> Result<Table> {
    let &[rows, width] = array.shape() else {
        let message = format!(
            "expected 2 axes to read it as a table, found shape {:?}",
            array.shape()
        );
        return Err(Error::new(ErrorKind::Shape, message));
    };
    if rows == 0 || width == 0 {
        return Err(Error::new(ErrorKind::Rows, "there are no rows"));
    }
    let column = |c: usize| {
        let values = (0..rows)
            .map(|r| as_f64(array.data(), r * width + c))
            .collect();
        Column::numeric(format!("c{c}"), values)
    };
    Table::new((0..width).map(column).collect())
}
