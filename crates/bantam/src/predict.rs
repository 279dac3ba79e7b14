//! Answers of a finished network to new data, in the order of the data.
//!
//! A [`Predictor`] holds a network and what is known about its input.
//! Delimited text and image files are read and answered in batches, so they may be larger than
//! memory; Parquet, NumPy and IDX files are read whole. Where the data bring the target too, the
//! answers are scored.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bantam_core::schema::{InputSchema, Schema, TargetKind};
use bantam_core::{DType, Graph, Tensor};
use bantam_data::{Record, Records, RowEncoder, Target};
use bantam_runtime::{Choices, Executor, Plan};
use serde::Serialize;

use crate::choices::{self, Cache};
use crate::open::{Network, network};
use crate::watch::Observer;
use crate::{Error, ErrorKind, Result};

mod answers;
mod images;
mod samples;
mod table;

pub use answers::Format;
use answers::{Rows, Scores};
pub use bantam_data::Unseen;

/// Rows answered at a time, as many as when a network is evaluated after training.
const BATCH: usize = 256;

/// How data are read and answers written.
#[derive(Clone, Copy, Debug, Default)]
pub struct PredictOptions {
    /// What to do with a category that the network has not seen.
    pub unseen: Unseen,
    /// Whether the first line of delimited text names the columns; found out when absent.
    pub header: Option<bool>,
    /// How answers are written.
    pub format: Format,
}

/// What was answered, and how well where that is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Rows answered.
    pub rows: usize,
    /// Rows whose target was there, so that the answer could be scored.
    pub n: usize,
    /// Share of right answers among those (R² for numbers); absent when none could be scored.
    pub accuracy: Option<f64>,
    /// Standard error of that share; absent for numbers.
    pub standard_error: Option<f64>,
    /// Names of the classes; empty when a number is predicted.
    pub classes: Vec<String>,
    /// `[true class][answer]` counts.
    pub confusion: Vec<Vec<u64>>,
}

/// A network that answers.
#[derive(Debug)]
pub struct Predictor {
    path: PathBuf,
    graph: Graph,
    schema: Schema,
    notices: Vec<String>,
    /// The kernels that were the fastest here when they were timed, if they were.
    choices: Choices,
    executor: Option<Executor>,
    /// Where samples go instead of being answered.
    kept: Option<Encoded>,
}

/// Samples as the network is fed with them, and their targets where they are known.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// Values of all samples, one after another.
    pub x: Vec<f32>,
    /// A target for each sample.
    pub targets: Vec<Option<Target>>,
}

impl Encoded {
    /// The samples with these numbers.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn pick(&self, rows: &[usize]) -> Encoded {
        let width = self.x.len() / self.targets.len().max(1);
        Encoded {
            x: rows
                .iter()
                .flat_map(|&r| &self.x[r * width..(r + 1) * width])
                .copied()
                .collect(),
            targets: rows.iter().map(|&r| self.targets[r]).collect(),
        }
    }
}

impl Predictor {
    /// Reads the network in the file at `path`, of the named `architecture` if the file holds
    /// weights alone.
    ///
    /// Errs as [`network`] does, and as [`new`](Predictor::new).
    pub fn open(path: &Path, architecture: Option<&str>) -> Result<Predictor> {
        Predictor::new(path, network(path, architecture)?)
    }

    /// The network that came from the file at `path`.
    ///
    /// Errs when nothing says what it is fed.
    pub fn new(path: &Path, network: Network) -> Result<Predictor> {
        let bad = |message: String| Error::new(ErrorKind::Model, message).in_file(path);
        let Some(schema) = network.schema else {
            let message = "the file does not say what its network is fed";
            let hint = "checkpoints of stages are not meant to be run: pack the network first; for \
                        arrays as they are, say --raw";
            return Err(bad(message.to_owned()).with_hint(hint));
        };
        schema.check().map_err(|e| bad(e.to_string()))?;
        let graph = network.graph;
        let mut fed = vec![1];
        fed.extend(schema.sample_shape());
        let inputs = graph.input_types(1);
        let types = graph.infer(&inputs).map_err(|e| bad(e.to_string()))?;
        let answer = &types[graph.outputs()[0].index()];
        let takes = inputs.len() == 1 && inputs[0].dtype == DType::F32 && inputs[0].shape == fed;
        if !takes || answer.dtype != DType::F32 || answer.shape != [1, schema.outputs()] {
            let outputs = schema.outputs();
            return Err(bad(format!(
                "expected a network from {fed:?} to [1, {outputs}], as the file describes its data, \
                 found one to {:?}",
                answer.shape
            )));
        }
        let known = Cache::of_user().read(rayon::current_num_threads());
        let mut notices = network.notices;
        notices.extend(known.notice);
        Ok(Predictor {
            path: path.to_owned(),
            graph,
            schema,
            notices,
            choices: known.choices,
            executor: None,
            kept: None,
        })
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the network is fed and what it answers.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What the user should know about how the file, and what is kept about kernels, was understood.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Answers whatever is at `data` and writes the answers to `out`: a table for networks trained on
    /// tables; images, a folder of them, IDX and NumPy files for the others.
    ///
    /// Errs, saying where, when the data are not what the network expects. Batches answered before
    /// that have been written.
    pub fn predict(
        &mut self,
        data: &Path,
        options: &PredictOptions,
        out: &mut dyn Write,
        observer: &mut dyn Observer,
    ) -> Result<Summary> {
        match &self.schema.input {
            InputSchema::Table { .. } if table::is_delimited(data) => {
                let (records, encoder) = table::open(data, &self.schema, options)?;
                self.records(records, &encoder, options.format, out, observer)
            }
            InputSchema::Table { .. } => table::predict(self, data, options, out, observer),
            InputSchema::Image { .. } | InputSchema::Array { .. } => {
                if let Some(files) = images::find(data)? {
                    return images::predict(self, &files, options, out);
                }
                samples::predict(self, data, options, out, observer)
            }
        }
    }

    /// The samples at `data` as the network is fed with them: of those for training, if the data have a
    /// part for test, at most `most_fit` drawn ones; and those for test, or all.
    ///
    /// Errs as [`predict`](Predictor::predict) does.
    pub fn encode(
        &mut self,
        data: &Path,
        options: &PredictOptions,
        most_fit: usize,
        observer: &mut dyn Observer,
    ) -> Result<[Option<Encoded>; 2]> {
        let is_table = matches!(self.schema.input, InputSchema::Table { .. });
        if !is_table && images::find(data)?.is_none() {
            return samples::encode(&self.schema, data, most_fit, observer);
        }
        self.kept = Some(Encoded::default());
        let found = self.predict(data, options, &mut std::io::sink(), observer);
        let kept = self.kept.take();
        found?;
        Ok([None, kept])
    }

    /// Answers delimited text as it arrives; for networks trained on tables.
    ///
    /// Errs as [`predict`](Predictor::predict) does.
    pub fn predict_stream(
        &mut self,
        data: Box<dyn Read + Send>,
        options: &PredictOptions,
        out: &mut dyn Write,
        observer: &mut dyn Observer,
    ) -> Result<Summary> {
        if !matches!(self.schema.input, InputSchema::Table { .. }) {
            let message = "expected images or arrays, found a table";
            let error = Error::new(ErrorKind::Data, message);
            return Err(error.with_hint("the network was not trained on a table"));
        }
        let read = table::read_options(options);
        let records = Records::from_reader(data, &read)?;
        let encoder = RowEncoder::new(&self.schema, records.header())?.with(options.unseen, &read);
        self.records(records, &encoder, options.format, out, observer)
    }

    fn records(
        &mut self,
        mut records: Records,
        encoder: &RowEncoder,
        format: Format,
        out: &mut dyn Write,
        observer: &mut dyn Observer,
    ) -> Result<Summary> {
        encoder.notices().iter().for_each(|n| observer.warn(n));
        let file = records.file().map(Path::to_owned);
        let located = |e: bantam_data::Error| match &file {
            Some(file) => e.in_file(file),
            None => e,
        };
        let mut session = Session::new(self, format, out, false)?;
        let mut record = Record::default();
        while records.read(&mut record)? {
            let target = encoder.target(&record).map_err(&located)?;
            let x = &mut session.batch.x;
            encoder.encode(&record, x).map_err(&located)?;
            session.push(target, None)?;
        }
        session.finish()
    }

    /// Outputs of the network for `n` encoded samples, one after another.
    fn outputs(&mut self, x: Vec<f32>, n: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut shape = vec![n];
        shape.extend(self.schema.sample_shape());
        let input = Tensor::new(&shape, x)?;
        let fits = |e: &Executor| e.plan().inputs()[0].shape == shape;
        let mut executor = match self.executor.take().filter(fits) {
            Some(executor) => executor,
            None => {
                let mut plan = Plan::for_batch(&self.graph, n)?;
                choices::apply(&mut plan, &mut self.choices);
                Executor::new(plan)
            }
        };
        let outputs = executor.run(&[&input])?.values::<f32>(0).to_vec();
        self.executor = Some(executor);
        match input.into_data() {
            bantam_core::Data::F32(x) => Ok((outputs, x)),
            _ => unreachable!("the input was made of f32 values above"),
        }
    }
}

/// Samples waiting to be answered.
#[derive(Default)]
struct Batch {
    x: Vec<f32>,
    targets: Vec<Option<Target>>,
    files: Vec<String>,
}

/// One pass over data: batches in, rows and scores out.
struct Session<'a> {
    predictor: &'a mut Predictor,
    batch: Batch,
    rows: Rows<'a>,
    scores: Scores,
    answered: usize,
}

impl<'a> Session<'a> {
    /// A session that writes to `out`; with `files`, each row says of which file it is.
    fn new(
        predictor: &'a mut Predictor,
        format: Format,
        out: &'a mut dyn Write,
        files: bool,
    ) -> Result<Session<'a>> {
        let target = &predictor.schema.target;
        Ok(Session {
            rows: Rows::start(out, format, target, files)?,
            scores: Scores::new(target),
            predictor,
            batch: Batch::default(),
            answered: 0,
        })
    }

    /// Takes the sample that was appended to the batch, and answers when the batch is full.
    fn push(&mut self, target: Option<Target>, file: Option<String>) -> Result<()> {
        self.batch.targets.push(target);
        self.batch.files.extend(file);
        match self.batch.targets.len() {
            BATCH => self.flush(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let n = self.batch.targets.len();
        if n == 0 {
            return Ok(());
        }
        if let Some(kept) = &mut self.predictor.kept {
            kept.x.append(&mut self.batch.x);
            kept.targets.append(&mut self.batch.targets);
            self.batch = Batch::default();
            return Ok(());
        }
        let x = std::mem::take(&mut self.batch.x);
        let (outputs, x) = self.predictor.outputs(x, n)?;
        let width = outputs.len() / n;
        for (i, (output, target)) in outputs
            .chunks_exact(width)
            .zip(&self.batch.targets)
            .enumerate()
        {
            self.rows
                .write(self.batch.files.get(i).map(String::as_str), output)?;
            if let Some(target) = target {
                self.scores.add(output, *target);
            }
        }
        self.answered += n;
        self.batch = Batch {
            x,
            ..Batch::default()
        };
        self.batch.x.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Summary> {
        self.flush()?;
        self.rows.flush()?;
        Ok(self
            .scores
            .summary(self.answered, &self.predictor.schema.target))
    }
}

/// The index of the class called `name`; errs with the known ones. Where no class is called by a
/// number, a number is the index itself, as labels beside arrays of images are.
fn class_index(schema: &Schema, name: &str) -> bantam_data::Result<i64> {
    let classes = match &schema.target.kind {
        TargetKind::Classes(classes) => classes.as_slice(),
        TargetKind::Number { .. } => &[],
    };
    if let Some(index) = classes.iter().position(|c| c == name) {
        return Ok(index as i64);
    }
    let is_number = |c: &str| c.parse::<f64>().is_ok();
    match name.parse::<usize>() {
        Ok(index) if index < classes.len() && !classes.iter().any(|c| is_number(c)) => {
            return Ok(index as i64);
        }
        _ => {}
    }
    let mut known: Vec<String> = classes.iter().take(20).map(|c| format!("{c:?}")).collect();
    if classes.len() > known.len() {
        known.push(format!("... ({} in all)", classes.len()));
    }
    let message = format!(
        "unknown class {name:?}, expected one of {}",
        known.join(", ")
    );
    Err(bantam_data::Error::new(
        bantam_data::ErrorKind::Value,
        message,
    ))
}
