//! Arrays: NumPy files, IDX files and folders of them.

use std::io::Write;
use std::path::Path;

use bantam_core::schema::{InputSchema, Schema};
use bantam_core::{Data, Tensor};
use bantam_data::{
    Dataset, Error, ErrorKind, MemorySource, ReadOptions, Result, Rng, Samples, Source, Target,
    Targets, load, read_idx, read_npy, read_npz,
};

use super::{BATCH, Encoded, PredictOptions, Predictor, Session, Summary, class_index};
use crate::watch::Observer;

/// Answers the samples at `path`.
pub(super) fn predict(
    predictor: &mut Predictor,
    path: &Path,
    options: &PredictOptions,
    out: &mut dyn Write,
    observer: &mut dyn Observer,
) -> crate::Result<Summary> {
    let schema = predictor.schema.clone();
    let found = read(path, &schema, observer).map_err(|e| e.in_file(path))?;
    let labelled = found.labelled;
    let source = MemorySource::from_samples(found.samples, &schema);
    let source = source.map_err(|e| e.in_file(path))?;
    let mut session = Session::new(predictor, options.format, out, false)?;
    let rows: Vec<usize> = (0..source.len()).collect();
    let (mut x, mut y) = (Vec::new(), Targets::empty(source.classes()));
    let width = schema.width();
    for rows in rows.chunks(BATCH) {
        source.read(rows, &mut x, &mut y)?;
        let labels = y.classes().unwrap_or(&[]);
        for (sample, &label) in x.chunks_exact(width).zip(labels) {
            session.batch.x.extend(sample);
            session.push(labelled.then_some(Target::Class(label)), None)?;
        }
    }
    session.finish()
}

/// The samples at `path` as the network is fed with them: some of those for training, if there are, and
/// those for test, or all.
pub(super) fn encode(
    schema: &Schema,
    path: &Path,
    most_fit: usize,
    observer: &mut dyn Observer,
) -> crate::Result<[Option<Encoded>; 2]> {
    let of = |found: Found, most: usize| -> Result<Encoded> {
        let labelled = found.labelled;
        let source = MemorySource::from_samples(found.samples, schema)?;
        let mut rows: Vec<usize> = (0..source.len()).collect();
        if rows.len() > most {
            Rng::new(0, 0).shuffle(&mut rows);
            rows.truncate(most);
        }
        let (mut x, mut y) = (Vec::new(), Targets::empty(source.classes()));
        source.read(&rows, &mut x, &mut y)?;
        let labels = y.classes().unwrap_or(&[]).iter();
        let targets = labels.map(|&l| labelled.then_some(Target::Class(l)));
        Ok(Encoded {
            targets: targets.collect(),
            x,
        })
    };
    let located = |e: Error| e.in_file(path);
    if let Ok(loaded) = load(path, None, &ReadOptions::default())
        && let (Dataset::Samples(train), Some(Dataset::Samples(test))) = (loaded.train, loaded.test)
    {
        loaded.notices.iter().for_each(|n| observer.warn(n));
        let fit = labelled(train, schema).and_then(|f| of(f, most_fit));
        let test = labelled(test, schema).and_then(|f| of(f, usize::MAX));
        return Ok([Some(fit.map_err(located)?), Some(test.map_err(located)?)]);
    }
    let found = read(path, schema, observer).map_err(located)?;
    Ok([None, Some(of(found, usize::MAX).map_err(located)?)])
}

/// Samples, and whether their labels are known.
struct Found {
    samples: Samples,
    labelled: bool,
}

fn read(path: &Path, schema: &Schema, observer: &mut dyn Observer) -> Result<Found> {
    let failed = match load(path, None, &ReadOptions::default()) {
        Ok(loaded) => {
            loaded.notices.iter().for_each(|n| observer.warn(n));
            let part = match loaded.test {
                Some(test) => {
                    observer.warn("the samples for test are answered, not those for training");
                    test
                }
                None => loaded.train,
            };
            if let Dataset::Samples(samples) = part {
                return labelled(samples, schema);
            }
            None
        }
        Err(e) => Some(e),
    };
    // Without labels there is nothing to load as training data, but something to answer.
    match inputs_alone(path, failed)? {
        Some(inputs) => unlabelled(inputs, schema),
        None => {
            let message = "expected images or arrays, found a table";
            let error = Error::new(ErrorKind::Shape, message);
            Err(error.with_hint("the network was not trained on a table"))
        }
    }
}

/// The samples of a file that has no labels; errs with what `failed` says when that was another
/// reason.
fn inputs_alone(path: &Path, failed: Option<Error>) -> Result<Option<Tensor>> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let extension = extension.to_lowercase();
    match failed {
        None if extension == "npy" => Ok(Some(read_npy(path)?)),
        None => Ok(None),
        Some(e) if !path.is_file() => Err(e),
        Some(e) if extension == "npz" => match read_npz(path)? {
            arrays if arrays.len() == 1 => Ok(arrays.into_iter().next().map(|a| a.1)),
            arrays => {
                let names = ["x", "X", "x_test", "X_test", "images", "data", "features"];
                let x = arrays
                    .into_iter()
                    .find(|(name, _)| names.contains(&name.as_str()));
                x.map(|a| Some(a.1)).ok_or(e)
            }
        },
        Some(e) if e.kind() != ErrorKind::NotFound => Err(e),
        Some(_) if extension == "npy" => Ok(Some(read_npy(path)?)),
        Some(_) => Ok(Some(read_idx(path)?)),
    }
}

/// The labels as indices of the network's classes.
fn labelled(mut samples: Samples, schema: &Schema) -> Result<Found> {
    let mut places: Vec<Option<i64>> = vec![None; samples.classes.len()];
    for label in &mut samples.labels {
        let class = *label as usize;
        *label = match places[class] {
            Some(place) => place,
            None => class_index(schema, &samples.classes[class])?,
        };
        places[class] = Some(*label);
    }
    samples.classes = schema.target.classes().to_vec();
    samples.inputs = arranged(samples.inputs, schema)?;
    Ok(Found {
        samples,
        labelled: true,
    })
}

fn unlabelled(inputs: Tensor, schema: &Schema) -> Result<Found> {
    let inputs = arranged(inputs, schema)?;
    let samples = Samples {
        labels: vec![0; inputs.shape().first().copied().unwrap_or(0)],
        classes: schema.target.classes().to_vec(),
        inputs,
    };
    Ok(Found {
        samples,
        labelled: false,
    })
}

/// Images with their channels where the network expects them, numbers finite.
fn arranged(inputs: Tensor, schema: &Schema) -> Result<Tensor> {
    if let InputSchema::Image {
        channels,
        height,
        width,
        ..
    } = schema.input
    {
        return images(inputs, [channels, height, width]);
    }
    if let Data::U8(_) = inputs.data() {
        return Ok(inputs);
    }
    let inputs = inputs.cast(bantam_core::DType::F32);
    let values = inputs.values::<f32>().map_err(bad_shape)?;
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        let row = i / (values.len() / inputs.shape()[0]);
        let message = format!("expected finite numbers, found {}", values[i]);
        return Err(Error::new(ErrorKind::Value, message).in_row(row));
    }
    Ok(inputs)
}

/// `[n, h, w]`, `[n, h, w, c]` or `[n, c, h, w]` as the last of these.
fn images(inputs: Tensor, [c, h, w]: [usize; 3]) -> Result<Tensor> {
    let Data::U8(pixels) = inputs.data() else {
        let message = format!("expected 8-bit pixels, found {} values", inputs.dtype());
        return Err(Error::new(ErrorKind::Shape, message));
    };
    let shape = inputs.shape().to_vec();
    match shape.as_slice() {
        [_, rest @ ..] if rest == [c, h, w] => Ok(inputs),
        &[n, height, width] if c == 1 && [height, width] == [h, w] => {
            inputs.reshape(&[n, 1, h, w]).map_err(bad_shape)
        }
        [n, rest @ ..] if rest == [h, w, c] => {
            let mut planes = Vec::with_capacity(pixels.len());
            for image in pixels.chunks_exact(h * w * c) {
                for channel in 0..c {
                    planes.extend(image.iter().skip(channel).step_by(c).copied());
                }
            }
            Tensor::new(&[*n, c, h, w], planes).map_err(bad_shape)
        }
        _ => {
            let message = format!(
                "expected images of {w} x {h} pixels with {c} channels, [n, {c}, {h}, {w}], \
                 found {shape:?}"
            );
            Err(Error::new(ErrorKind::Shape, message))
        }
    }
}

fn bad_shape(e: bantam_core::Error) -> Error {
    Error::new(ErrorKind::Shape, e.to_string())
}
