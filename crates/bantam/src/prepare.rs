//! From the data that a recipe names to sources for training, validation and test.

use bantam_core::schema::{InputSchema, Schema, TargetKind};
use bantam_data::{
    Dataset, Fractions, Loaded, MemorySource, ReadOptions, Samples, Source, Subset, Table, Targets,
    Unseen, encode, features, fit_samples, fit_schema_for, load, split,
};
use bantam_formats::bantam::round_schema;
use bantam_measure::Problem;

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
    all: MemorySource,
    own_test: Option<MemorySource>,
    train: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
    /// The training rows as the estimators see them; absent when a number is predicted.
    pub(crate) problem: Option<Problem>,
    /// Columns left out, with the reason.
    pub(crate) left_out: Vec<(String, String)>,
}

impl Prepared {
    /// Training rows.
    pub(crate) fn train(&self) -> Result<Subset<'_>> {
        Ok(Subset::new(&self.all, self.train.clone())?)
    }

    /// Validation rows.
    pub(crate) fn validation(&self) -> Result<Subset<'_>> {
        Ok(Subset::new(&self.all, self.validation.clone())?)
    }

    /// Test rows.
    pub(crate) fn test(&self) -> Result<Subset<'_>> {
        match &self.own_test {
            Some(test) => Ok(Subset::new(test, (0..test.len()).collect())?),
            None => Ok(Subset::new(&self.all, self.test.clone())?),
        }
    }

    /// Rows for training, validation and test.
    pub(crate) fn rows(&self) -> [usize; 3] {
        let test = self.own_test.as_ref().map_or(self.test.len(), Source::len);
        [self.train.len(), self.validation.len(), test]
    }

    /// Shape of a sample.
    pub(crate) fn sample_shape(&self) -> &[usize] {
        self.all.sample_shape()
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
    let mut options = ReadOptions::default();
    options.header = settings.header;
    options.numeric.clone_from(&settings.numeric);
    options.categorical.clone_from(&settings.categorical);
    let loaded = load(&settings.path, settings.target.as_deref(), &options)?;
    loaded.notices.iter().for_each(|n| observer.warn(n));
    match loaded.train {
        Dataset::Table(table) => from_table(recipe, &table, observer),
        Dataset::Samples(_) if settings.target.is_some() => {
            let message = "the data bring their labels with them, so no target can be named";
            Err(Error::new(ErrorKind::Recipe, message).in_file(&settings.path))
        }
        Dataset::Samples(_) => from_samples(recipe, loaded),
    }
}

fn from_table(recipe: &Recipe, table: &Table, observer: &mut dyn Observer) -> Result<Prepared> {
    let settings = &recipe.data;
    let Some(target) = settings.target.as_deref() else {
        let names: Vec<&str> = table.names().collect();
        let message = "a table needs the name of the column to predict";
        let hint = format!("name it with --target; the columns are {}", list(&names));
        let error = Error::new(ErrorKind::Recipe, message).in_file(&settings.path);
        return Err(error.with_hint(hint));
    };
    let in_file = |e: bantam_data::Error| Error::from(e.in_file(&settings.path));
    let task = match settings.task {
        Task::Auto => bantam_data::Task::Auto,
        Task::Classes => bantam_data::Task::Classes,
        Task::Number => bantam_data::Task::Number,
    };
    let (kept, left_out) =
        features(table, target, &settings.keep, &settings.drop).map_err(in_file)?;
    let left_out: Vec<(String, String)> = left_out
        .into_iter()
        .map(|l| (l.column, l.reason.to_string()))
        .collect();
    for (column, reason) in &left_out {
        observer.warn(&format!("column {column:?} is left out: {reason}"));
    }
    let every: Vec<usize> = (0..table.rows()).collect();
    let target_schema = bantam_data::fit_target(task, table, target, &every).map_err(in_file)?;
    let targets = bantam_data::targets(table, &target_schema, &every).map_err(in_file)?;
    let fractions = Fractions {
        validation: settings.validation,
        test: settings.test,
    };
    let s = split(table.rows(), targets.classes(), fractions, recipe.seed).map_err(in_file)?;
    nothing_empty(recipe, &s.validation, &s.test)?;
    let schema = fit_schema_for(task, table, target, &kept, &s.train).map_err(in_file)?;
    let schema = round_schema(&schema, NORMALISATION_BITS);
    let (x, targets) = encode(table, &schema, &every, Unseen::Zero).map_err(in_file)?;
    let classes = match &targets {
        Targets::Classes(_) => schema.target.outputs(),
        Targets::Numbers(_) => 0,
    };
    let problem = match &targets {
        Targets::Numbers(_) => None,
        Targets::Classes(_) => {
            let mut options = bantam_measure::problem::Options::default();
            options.keep.clone_from(&kept);
            options.drop = left_out.iter().map(|l| l.0.clone()).collect();
            options.every_value_is_a_class = settings.task == Task::Classes;
            let rows = table.select(&s.train);
            Some(Problem::from_table(&rows, target, &options)?)
        }
    };
    Ok(Prepared {
        all: MemorySource::from_rows(x, targets, classes)?,
        own_test: None,
        train: s.train,
        validation: s.validation,
        test: s.test,
        problem,
        left_out,
        schema,
    })
}

fn from_samples(recipe: &Recipe, loaded: Loaded) -> Result<Prepared> {
    let Dataset::Samples(samples) = loaded.train else {
        unreachable!("the caller has looked")
    };
    let own_test = match loaded.test {
        Some(Dataset::Samples(test)) => Some(test),
        _ => None,
    };
    let settings = &recipe.data;
    let test = if own_test.is_some() {
        0.0
    } else {
        settings.test
    };
    let fractions = Fractions {
        validation: settings.validation,
        test,
    };
    let s = split(samples.len(), Some(&samples.labels), fractions, recipe.seed)?;
    if own_test.is_none() {
        nothing_empty(recipe, &s.validation, &s.test)?;
    }
    let schema = fit_samples(&samples, "class", &s.train)?;
    let schema = match settings.scaling {
        Scaling::Standard => round_schema(&schema, NORMALISATION_BITS),
        Scaling::Unit => unscaled(schema),
    };
    let problem = Problem::from_samples(&part(&samples, &s.train)?, &Default::default())?;
    let own_test = own_test
        .map(|t| MemorySource::from_samples(t, &schema))
        .transpose()?;
    Ok(Prepared {
        all: MemorySource::from_samples(samples, &schema)?,
        own_test,
        train: s.train,
        validation: s.validation,
        test: s.test,
        problem: Some(problem),
        left_out: Vec::new(),
        schema,
    })
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

/// A stride of the training rows, so that no test label has a say in the size of the network.
fn part(samples: &Samples, rows: &[usize]) -> Result<Samples> {
    let stride = rows.len().div_ceil(MEASURED_ROWS).max(1);
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

fn nothing_empty(recipe: &Recipe, validation: &[usize], test: &[usize]) -> Result<()> {
    let missing = if validation.is_empty() {
        "validation"
    } else if test.is_empty() {
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
