//! Data larger than memory: a sample says what they are like, and the rows stay on disk.
//!
//! Only the target of every row is held in memory, and by it the rows are split just as they would be
//! in memory. Types, categories and scaling come from a sample of the training rows.

use bantam_core::schema::{Schema, TargetKind};
use bantam_data::{
    FileSource, OnDisk, ReadOptions, Source, StoredParts, StoredSamples, Table, Unseen,
    encode_file, fit_columns, fit_samples, fit_target, read_delimited, read_sample,
    rows_with_target, targets,
};
use bantam_formats::bantam::round_schema;
use bantam_measure::Problem;

use super::{
    MEASURED_ROWS, NORMALISATION_BITS, Prepared, Rows, columns, no_target, nothing_empty, part,
    problem, scaled, split_rows, target, task,
};
use crate::folder::Folder;
use crate::watch::Observer;
use crate::{Error, Recipe, Result};

/// The sample may take this share of the memory as text, for it becomes a table, columns of numbers,
/// and what the estimators make of them.
const SAMPLE_SHARE: u64 = 16;

/// Rows that a sample has at least, however little memory there is.
const LEAST_SAMPLE: u64 = 1_000;

/// Rows encoded for training.
pub(super) const ENCODED: &str = "0-data/rows";

/// Splits the data and fits a schema on a sample of the training rows.
pub(super) fn prepare(
    recipe: &Recipe,
    data: OnDisk,
    options: ReadOptions,
    observer: &mut dyn Observer,
) -> Result<Prepared> {
    match data {
        OnDisk::Text => from_text(recipe, options, observer),
        OnDisk::Samples(parts) => {
            no_target(recipe)?;
            from_samples(recipe, *parts, observer)
        }
    }
}

fn from_text(
    recipe: &Recipe,
    options: ReadOptions,
    observer: &mut dyn Observer,
) -> Result<Prepared> {
    let path = &recipe.data.path;
    let in_file = |e: bantam_data::Error| Error::from(e.in_file(path));
    let header = bantam_data::Records::open(path, &options)?;
    let names: Vec<&str> = header.header().iter().map(String::as_str).collect();
    let name = target(recipe, &names)?;
    let all = target_column(recipe, name, &options)?;
    let (with_target, notice) = rows_with_target(&all, name).map_err(in_file)?;
    let n_all = all.rows();
    let all = match notice {
        Some(notice) => {
            observer.warn(&notice);
            all.select(&with_target)
        }
        None => all,
    };
    let every: Vec<usize> = (0..all.rows()).collect();
    let target_schema = fit_target(task(recipe), &all, name, &every).map_err(in_file)?;
    let labels = targets(&all, &target_schema, &every).map_err(in_file)?;
    drop(all);
    let split = split_rows(recipe, every.len(), labels.classes(), false).map_err(in_file)?;
    nothing_empty(recipe, &split)?;
    let mut in_training = vec![false; n_all];
    for &row in &split.train {
        in_training[with_target[row]] = true;
    }
    let most = sample_rows(recipe, n_all)?;
    let seed = recipe.seed;
    let may = |row: u64| in_training.get(row as usize).is_some_and(|&t| t);
    let (sample, _) = read_sample(path, &options, most, seed, may)?;
    said(observer, sample.rows(), split.train.len());
    let (kept, left_out) = columns(recipe, &sample, name, observer)?;
    let rows: Vec<usize> = (0..sample.rows()).collect();
    let is_number = matches!(target_schema.kind, TargetKind::Number { .. });
    let schema = fit_columns(&sample, target_schema, &kept, &rows).map_err(in_file)?;
    Ok(Prepared {
        problem: match is_number {
            true => None,
            false => Some(problem(recipe, &sample, &kept, &left_out)?),
        },
        schema: round_schema(&schema, NORMALISATION_BITS),
        rows: Rows::Text(options),
        split,
        left_out,
    })
}

/// A table of nothing but the target, of all rows.
fn target_column(recipe: &Recipe, name: &str, options: &ReadOptions) -> Result<Table> {
    let mut only = options.clone();
    let is_target = |n: &String| n == name;
    only.columns = vec![name.to_owned()];
    only.numeric.retain(is_target);
    only.categorical.retain(is_target);
    Ok(read_delimited(&recipe.data.path, &only)?)
}

/// Rows of the sample for a file of `rows` rows.
fn sample_rows(recipe: &Recipe, rows: usize) -> Result<usize> {
    // Twice the text is what the estimate takes the data for in memory.
    let text = bantam_data::memory_estimate(&recipe.data.path)? / 2;
    let a_row = (text / (rows as u64).max(1)).max(1);
    let most = (recipe.data.max_memory / SAMPLE_SHARE / a_row).max(LEAST_SAMPLE);
    Ok(usize::try_from(most).unwrap_or(usize::MAX))
}

/// The rows of a text, encoded in `folder`; what an earlier run has encoded is taken as it is.
pub(super) fn encoded(
    recipe: &Recipe,
    schema: &Schema,
    options: &ReadOptions,
    folder: &Folder,
) -> Result<FileSource> {
    folder.make("0-data")?;
    let out = folder.path(ENCODED);
    if !folder.has(ENCODED) {
        encode_file(&recipe.data.path, schema, Unseen::Zero, options, &out)?;
    }
    Ok(FileSource::open(&out)?)
}

fn from_samples(
    recipe: &Recipe,
    StoredParts { train, test }: StoredParts,
    observer: &mut dyn Observer,
) -> Result<Prepared> {
    let labels = train.labels();
    let split = split_rows(recipe, labels.len(), Some(labels), test.is_some())?;
    if test.is_none() {
        nothing_empty(recipe, &split)?;
    }
    let most = sample_rows(recipe, labels.len())?;
    let stride = split.train.len().div_ceil(most).max(1);
    let rows: Vec<usize> = split.train.iter().copied().step_by(stride).collect();
    said(observer, rows.len(), split.train.len());
    let sample = train.samples(&rows)?;
    let every: Vec<usize> = (0..rows.len()).collect();
    let schema = scaled(recipe, fit_samples(&sample, "class", &every)?);
    let problem =
        Problem::from_samples(&part(&sample, &every, MEASURED_ROWS)?, &Default::default())?;
    let source = |samples: StoredSamples| -> Result<Box<dyn Source>> {
        Ok(Box::new(samples.source(&schema)?))
    };
    Ok(Prepared {
        rows: Rows::Open {
            all: source(train)?,
            own_test: test.map(source).transpose()?,
        },
        split,
        problem: Some(problem),
        left_out: Vec::new(),
        schema,
    })
}

fn said(observer: &mut dyn Observer, sample: usize, train: usize) {
    observer.note(&format!(
        "larger than data.max_memory: left on disk, scaled and measured by {sample} of {train} training rows"
    ));
}
