//! From the data that a recipe names to sources for training, validation and test.

mod stream;

use bantam_core::schema::{InputSchema, Schema, TargetKind};
use bantam_data::{
    Dataset, Fractions, Loaded, MemorySource, ReadOptions, Samples, Source, Split, Subset, Table,
    Targets, Unseen, encode, features, fit_samples, fit_schema_for, load, memory_estimate, on_disk,
    split,
};
use bantam_formats::bantam::round_schema;
use bantam_measure::Problem;

use crate::folder::Folder;
use crate::recipe::{Scaling, Task};
use crate::watch::Observer;
use crate::{Error, ErrorKind, Recipe, Result};

/// Significant bits of the stored normalisation: a column's unit is arbitrary to a few per cent, and
/// the file pays for every bit.
const NORMALISATION_BITS: u32 = 6;

/// Data ready for training.
pub(crate) struct Prepared {
    /// What the network is fed and what its answers mean.
    pub(crate) schema: Schema,
    rows: Rows,
    split: Split,
    /// The training rows as the estimators see them; absent when a number is predicted.
    pub(crate) problem: Option<Problem>,
    /// Columns left out, with the reason.
    pub(crate) left_out: Vec<(String, String)>,
}

/// Where the rows are.
enum Rows {
    /// To be read in any order.
    Open {
        all: Box<dyn Source>,
        /// Rows that the data bring for test.
        own_test: Option<Box<dyn Source>>,
    },
    /// In a text that has yet to be encoded, because it is larger than memory.
    Text(ReadOptions),
}

impl Prepared {
    /// Encodes what is too large for memory to a file of `folder`, unless it is there.
    pub(crate) fn open(&mut self, recipe: &Recipe, folder: &Folder) -> Result<()> {
        if let Rows::Text(options) = &self.rows {
            let all = stream::encoded(recipe, &self.schema, options, folder)?;
            self.rows = Rows::Open {
                all: Box::new(all),
                own_test: None,
            };
        }
        Ok(())
    }

    /// Gives back the room that encoded rows take in `folder`, when nothing is left to be done.
    pub(crate) fn close(&self, folder: &Folder) -> Result<()> {
        folder.remove(stream::ENCODED)
    }

    /// Training rows.
    pub(crate) fn train(&self) -> Result<Subset<'_>> {
        self.some(&self.split.train)
    }

    /// Validation rows.
    pub(crate) fn validation(&self) -> Result<Subset<'_>> {
        self.some(&self.split.validation)
    }

    /// Test rows.
    pub(crate) fn test(&self) -> Result<Subset<'_>> {
        match &self.rows {
            Rows::Open {
                own_test: Some(test),
                ..
            } => Ok(Subset::new(&**test, (0..test.len()).collect())?),
            _ => self.some(&self.split.test),
        }
    }

    fn some(&self, rows: &[usize]) -> Result<Subset<'_>> {
        match &self.rows {
            Rows::Open { all, .. } => Ok(Subset::new(&**all, rows.to_vec())?),
            Rows::Text(_) => {
                let message = "rows are asked for before they are encoded";
                Err(Error::new(ErrorKind::Internal, message))
            }
        }
    }

    /// Rows for training, validation and test.
    pub(crate) fn rows(&self) -> [usize; 3] {
        let test = match &self.rows {
            Rows::Open {
                own_test: Some(test),
                ..
            } => test.len(),
            _ => self.split.test.len(),
        };
        [self.split.train.len(), self.split.validation.len(), test]
    }

    /// Shape of a sample.
    pub(crate) fn sample_shape(&self) -> Vec<usize> {
        self.schema.sample_shape()
    }

    /// Number of outputs that a network needs.
    pub(crate) fn outputs(&self) -> usize {
        self.schema.target.outputs()
    }

    /// Names of the classes; empty when a number is predicted.
    pub(crate) fn class_names(&self) -> Vec<String> {
        match &self.schema.target.kind {
            TargetKind::Classes(names) => names.clone(),
            TargetKind::Number { .. } => Vec::new(),
        }
    }
}

/// Reads and splits the data of a recipe and fits their encoding on the training rows.
pub(crate) fn prepare(recipe: &Recipe, observer: &mut dyn Observer) -> Result<Prepared> {
    let settings = &recipe.data;
    let options = read_options(recipe);
    if memory_estimate(&settings.path)? > settings.max_memory {
        if let Some(on_disk) = on_disk(&settings.path, &options)? {
            return stream::prepare(recipe, on_disk, options, observer);
        }
        let message = "the data are larger than data.max_memory and of a kind that is read whole";
        observer.warn(message);
    }
    let loaded = load(&settings.path, settings.target.as_deref(), &options)?;
    loaded.notices.iter().for_each(|n| observer.warn(n));
    match loaded.train {
        Dataset::Table(table) => from_table(recipe, &table, observer),
        Dataset::Samples(_) => {
            no_target(recipe)?;
            from_samples(recipe, loaded)
        }
    }
}

/// How the recipe says its file is to be read.
pub(crate) fn read_options(recipe: &Recipe) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.header = recipe.data.header;
    options.numeric.clone_from(&recipe.data.numeric);
    options.categorical.clone_from(&recipe.data.categorical);
    options
}

/// The name of the target of a table; `names` are its columns.
pub(crate) fn target<'a>(recipe: &'a Recipe, names: &[&str]) -> Result<&'a str> {
    recipe.data.target.as_deref().ok_or_else(|| {
        let message = "a table needs the name of the column to predict";
        let hint = format!("name it with --target; the columns are {}", list(names));
        let error = Error::new(ErrorKind::Recipe, message).in_file(&recipe.data.path);
        error.with_hint(hint)
    })
}

pub(crate) fn no_target(recipe: &Recipe) -> Result<()> {
    if recipe.data.target.is_some() {
        let message = "the data bring their labels with them, so no target can be named";
        return Err(Error::new(ErrorKind::Recipe, message).in_file(&recipe.data.path));
    }
    Ok(())
}

/// What the recipe says the target is.
pub(crate) fn task(recipe: &Recipe) -> bantam_data::Task {
    match recipe.data.task {
        Task::Auto => bantam_data::Task::Auto,
        Task::Classes => bantam_data::Task::Classes,
        Task::Number => bantam_data::Task::Number,
    }
}

pub(crate) fn from_table(
    recipe: &Recipe,
    table: &Table,
    observer: &mut dyn Observer,
) -> Result<Prepared> {
    let settings = &recipe.data;
    let target = target(recipe, &table.names().collect::<Vec<_>>())?;
    let in_file = |e: bantam_data::Error| Error::from(e.in_file(&settings.path));
    let task = task(recipe);
    let (kept, left_out) = columns(recipe, table, target, observer)?;
    let every: Vec<usize> = (0..table.rows()).collect();
    let target_schema = bantam_data::fit_target(task, table, target, &every).map_err(in_file)?;
    let targets = bantam_data::targets(table, &target_schema, &every).map_err(in_file)?;
    let s = split_rows(recipe, table.rows(), targets.classes(), false).map_err(in_file)?;
    nothing_empty(recipe, &s)?;
    let schema = fit_schema_for(task, table, target, &kept, &s.train).map_err(in_file)?;
    let schema = round_schema(&schema, NORMALISATION_BITS);
    let (x, targets) = encode(table, &schema, &every, Unseen::Zero).map_err(in_file)?;
    let classes = match &targets {
        Targets::Classes(_) => schema.target.outputs(),
        Targets::Numbers(_) => 0,
    };
    let problem = match &targets {
        Targets::Numbers(_) => None,
        Targets::Classes(_) => Some(problem(recipe, &table.select(&s.train), &kept, &left_out)?),
    };
    Ok(Prepared {
        rows: Rows::Open {
            all: Box::new(MemorySource::from_rows(x, targets, classes)?),
            own_test: None,
        },
        split: s,
        problem,
        left_out,
        schema,
    })
}

/// Names of columns, and of columns left out with the reason.
pub(crate) type Columns = (Vec<String>, Vec<(String, String)>);

/// The columns that a network is to see, and those that are left out with the reason.
pub(crate) fn columns(
    recipe: &Recipe,
    table: &Table,
    target: &str,
    observer: &mut dyn Observer,
) -> Result<Columns> {
    let settings = &recipe.data;
    let (kept, left_out) = features(table, target, &settings.keep, &settings.drop)
        .map_err(|e| e.in_file(&settings.path))?;
    let left_out: Vec<(String, String)> = left_out
        .into_iter()
        .map(|l| (l.column, l.reason.to_string()))
        .collect();
    for (column, reason) in &left_out {
        observer.warn(&format!("column {column:?} is left out: {reason}"));
    }
    Ok((kept, left_out))
}

/// The training rows `table` as the estimators see them.
pub(crate) fn problem(
    recipe: &Recipe,
    table: &Table,
    kept: &[String],
    left_out: &[(String, String)],
) -> Result<Problem> {
    let mut options = bantam_measure::problem::Options::default();
    options.keep = kept.to_vec();
    options.drop = left_out.iter().map(|l| l.0.clone()).collect();
    options.every_value_is_a_class = recipe.data.task == Task::Classes;
    let target = recipe.data.target.as_deref().unwrap_or_default();
    Ok(Problem::from_table(table, target, &options)?)
}

/// Rows for training, validation and test; none for test where the data bring their own.
fn split_rows(
    recipe: &Recipe,
    n: usize,
    labels: Option<&[i64]>,
    own_test: bool,
) -> bantam_data::Result<Split> {
    let fractions = Fractions {
        validation: recipe.data.validation,
        test: if own_test { 0.0 } else { recipe.data.test },
    };
    split(n, labels, fractions, recipe.seed)
}

fn from_samples(recipe: &Recipe, loaded: Loaded) -> Result<Prepared> {
    let Dataset::Samples(samples) = loaded.train else {
        unreachable!("the caller has looked")
    };
    let own_test = match loaded.test {
        Some(Dataset::Samples(test)) => Some(test),
        _ => None,
    };
    let s = split_rows(
        recipe,
        samples.len(),
        Some(&samples.labels),
        own_test.is_some(),
    )?;
    if own_test.is_none() {
        nothing_empty(recipe, &s)?;
    }
    let schema = scaled(recipe, fit_samples(&samples, "class", &s.train)?);
    let problem = Problem::from_samples(
        &part(&samples, &s.train, MEASURED_ROWS)?,
        &Default::default(),
    )?;
    let source = |samples| -> Result<Box<dyn Source>> {
        Ok(Box::new(MemorySource::from_samples(samples, &schema)?))
    };
    Ok(Prepared {
        rows: Rows::Open {
            all: source(samples)?,
            own_test: own_test.map(source).transpose()?,
        },
        split: s,
        problem: Some(problem),
        left_out: Vec::new(),
        schema,
    })
}

/// The schema of samples with the scaling that the recipe asks for.
fn scaled(recipe: &Recipe, schema: Schema) -> Schema {
    match recipe.data.scaling {
        Scaling::Standard => round_schema(&schema, NORMALISATION_BITS),
        Scaling::Unit => unscaled(schema),
    }
}

/// The schema without normalisation.
fn unscaled(mut schema: Schema) -> Schema {
    match &mut schema.input {
        InputSchema::Table { .. } => {}
        InputSchema::Image { offset, scale, .. } => {
            offset.fill(0.0);
            scale.fill(1.0);
        }
        InputSchema::Array { offset, scale, .. } => (*offset, *scale) = (0.0, 1.0),
    }
    schema
}

/// Rows given to the estimators at most; they sample further down themselves.
const MEASURED_ROWS: usize = 10_000;

/// A stride of `rows`, at most `most` of them; in a run these are training rows, so that no test label
/// has a say in the size of the network.
pub(crate) fn part(samples: &Samples, rows: &[usize], most: usize) -> Result<Samples> {
    let stride = rows.len().div_ceil(most).max(1);
    let rows: Vec<usize> = rows.iter().copied().step_by(stride).collect();
    let size: usize = samples.inputs.shape()[1..].iter().product();
    let mut shape = samples.inputs.shape().to_vec();
    shape[0] = rows.len();
    fn pick<T: bantam_core::Element>(values: &[T], rows: &[usize], size: usize) -> Vec<T> {
        rows.iter()
            .flat_map(|&r| &values[r * size..(r + 1) * size])
            .copied()
            .collect()
    }
    let inputs = bantam_core::each_type!(samples.inputs.data(), v => {
        bantam_core::Tensor::new(&shape, pick(v, &rows, size))?
    });
    let labels = rows.iter().map(|&r| samples.labels[r]).collect();
    Ok(Samples {
        inputs,
        labels,
        classes: samples.classes.clone(),
    })
}

fn nothing_empty(recipe: &Recipe, split: &Split) -> Result<()> {
    let missing = if split.validation.is_empty() {
        "validation"
    } else if split.test.is_empty() {
        "test"
    } else {
        return Ok(());
    };
    let message = format!("there are too few rows to set some aside for {missing}");
    Err(Error::new(ErrorKind::Data, message).in_file(&recipe.data.path))
}

fn list(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
