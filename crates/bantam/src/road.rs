//! The road of one run: measure, train, prune, quantize, pack, report. Each stage finds what earlier
//! ones left in the run folder, does its part unless its own file is there, and leaves a file.

use std::time::Instant;

use bantam_compress::{
    IterativeOptions, Magnitude, Retrain, RoundRecord, RoundRequest, RoundResult, Sparsity,
    next_round, prune, quantize,
};
use bantam_core::{Graph, arch};
use bantam_data::Source;
use bantam_formats::bantam::{self as container, Coder, Model, ReadLimits, WriteOptions};
use bantam_train::{Evaluation, Fitted, evaluate, fresh};
use serde::{Deserialize, Serialize};

use crate::budget::{self, Rates};
use crate::codebooks::{codebooks, with_codebooks};
use crate::folder::{Folder, damaged};
use crate::prepare::Prepared;
use crate::recipe::{self, ModelKind};
use crate::results::{Measured, Round, Score, Sized, Stage};
use crate::watch::Observer;
use crate::{Error, ErrorKind, Recipe, Result, fitting, sizing};

/// Number of stages that are shown.
pub(crate) const STAGES: usize = 6;

/// Slack for the rounding of decimal accuracies, far below one row of any data set.
pub(crate) const SLACK: f64 = 1e-12;

pub(crate) const MEASURED: &str = "1-measure.json";
const BUDGET: &str = "1-budget.json";

/// A run under way.
pub(crate) struct Road<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) folder: Folder,
    pub(crate) data: Prepared,
    pub(crate) observer: &'a mut dyn Observer,
}

/// What the first stage leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurements {
    pub(crate) measured: Option<Measured>,
    pub(crate) sized: Option<Sized>,
}

/// The network with fresh weights that a recipe asks for.
pub(crate) fn initial(recipe: &Recipe, data: &Prepared, sized: Option<&Sized>) -> Result<Graph> {
    let (shape, outputs, seed) = (data.sample_shape(), data.outputs(), recipe.seed);
    match recipe.model.kind {
        ModelKind::Mlp => {
            let sized = sized.map(|s| s.hidden.clone());
            let hidden = match &recipe.model.hidden[..] {
                [] => sized.unwrap_or_else(|| vec![sizing::HIDDEN_FOR_NUMBERS]),
                given => given.to_vec(),
            };
            let graph = arch::mlp(&recipe.name, &shape, &hidden, outputs)?;
            Ok(fresh(&graph, seed)?)
        }
        ModelKind::Lenet5Caffe => {
            let shape: &[usize; 3] = shape[..].try_into().map_err(|_| {
                let message = format!("lenet-5-caffe needs images, found samples of {shape:?}");
                Error::new(ErrorKind::Recipe, message)
            })?;
            let graph = arch::lenet_5_caffe(shape, outputs)
                .map_err(|e| Error::new(ErrorKind::Recipe, format!("images of {shape:?}: {e}")))?;
            Ok(fresh(&graph, seed)?)
        }
    }
}

/// Size of the file that a network would make with codebooks that are not tuned yet.
pub(crate) fn estimate(recipe: &Recipe, data: &Prepared, graph: &Graph) -> Result<u64> {
    let graph = container::round_for_storage(&with_codebooks(recipe, graph, 0)?)?;
    Ok(packed(data, &graph, coder(recipe.pack.coder))?.len() as u64)
}

fn packed(data: &Prepared, graph: &Graph, coder: Coder) -> Result<Vec<u8>> {
    let schema = Some(data.schema.clone());
    let model = Model {
        schema,
        ..Model::new(graph.clone())
    };
    Ok(container::write(&model, &WriteOptions { coder })?)
}

/// Bytes that one training step of a network holds: buffers, weights, what the optimizer remembers.
pub(crate) fn training_memory(recipe: &Recipe, data: &Prepared, network: &Graph) -> Result<u64> {
    use bantam_core::op::LossKind;
    let loss = match data.class_names().len() {
        0 => LossKind::MeanSquaredError,
        _ => LossKind::CrossEntropy {
            label_smoothing: 0.0,
        },
    };
    let form = bantam_train::TrainingGraph::new(network, loss)?;
    let batch = recipe.train.batch_size.min(data.rows()[0]);
    let memory = bantam_runtime::Plan::for_batch(&form.graph, batch)?.memory();
    let slots = match recipe.train.optimizer {
        recipe::OptimizerKind::Sgd => 1,
        recipe::OptimizerKind::Adam | recipe::OptimizerKind::AdamW => 2,
    };
    let weights = 4 * network.n_trainable() as u64;
    Ok((memory.buffers_bytes + memory.weights_bytes) as u64 + weights * (1 + slots))
}

/// The rounds of pruning with their graphs.
pub(crate) struct Rounds {
    pub(crate) records: Vec<RoundRecord>,
    pub(crate) rounds: Vec<Round>,
}

impl Road<'_> {
    /// Measures the training rows and sizes the starting network.
    pub(crate) fn measure(&mut self) -> Result<Measurements> {
        self.observer.stage("measure", 1, STAGES);
        if let Some(done) = self.folder.read_json(MEASURED)? {
            self.observer.reused("measure");
            return Ok(done);
        }
        let measurements = sizing::measure(self.recipe, &self.data)?;
        if let Some(sized) = &measurements.sized {
            self.observer.note(&sized.explanation);
        }
        self.folder.write_json(MEASURED, &measurements)?;
        Ok(measurements)
    }

    /// The network with fresh weights that the recipe asks for.
    pub(crate) fn initial(&self, measurements: &Measurements) -> Result<Graph> {
        initial(self.recipe, &self.data, measurements.sized.as_ref())
    }

    /// Says what the run will take, or what was said when it began.
    pub(crate) fn budget(
        &mut self,
        measurements: &Measurements,
        initial: &Graph,
        rates: &Rates,
    ) -> Result<budget::Estimate> {
        let estimate = match self.folder.read_json(BUDGET)? {
            Some(done) => done,
            None => {
                let plan = budget::Plan {
                    recipe: self.recipe,
                    data: &self.data,
                    sized: measurements.sized.as_ref(),
                    initial,
                    rates,
                };
                let made = plan.estimate()?;
                self.folder.write_json(BUDGET, &made)?;
                made
            }
        };
        self.observer.note(&estimate.text());
        Ok(estimate)
    }

    /// Trains the dense network: round 0.
    pub(crate) fn train(&mut self, initial: &Graph) -> Result<Rounds> {
        self.observer.stage("train", 2, STAGES);
        self.check_names(initial)?;
        self.folder.make("2-train")?;
        let precision = bantam_train::Precision::from(self.recipe.train.precision);
        if !precision.is_native() {
            let name = precision.name();
            self.observer.note(&format!(
                "this processor does not multiply {name}: f32 numbers are rounded, which takes longer than f32"
            ));
        }
        let mut rounds = Rounds {
            records: Vec::new(),
            rounds: Vec::new(),
        };
        let request = next_round(initial, &rounds.records, &self.options())?
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no round 0"))?;
        self.round(&request, &mut rounds)?;
        let accuracy = rounds.rounds[0].validation_accuracy;
        if accuracy < self.recipe.budget.min_accuracy {
            let message = format!(
                "the dense network reaches {accuracy:.4} on validation, the budget asks for {}",
                self.recipe.budget.min_accuracy
            );
            let hint = format!(
                "the nearest point is --min-accuracy {:.4}",
                floor4(accuracy)
            );
            return Err(Error::new(ErrorKind::Budget, message).with_hint(hint));
        }
        Ok(rounds)
    }

    /// Errs on names of weights in the recipe that fit nothing, before hours are spent.
    fn check_names(&self, initial: &Graph) -> Result<()> {
        prune(initial, &self.options().magnitude)?;
        quantize(initial, &codebooks(self.recipe, 0))?;
        Ok(())
    }

    fn options(&self) -> IterativeOptions {
        let p = &self.recipe.prune;
        let rewinding = match p.rewinding {
            recipe::Rewinding::LearningRate => bantam_compress::Rewinding::LearningRate,
            recipe::Rewinding::Weight => bantam_compress::Rewinding::Weight,
            recipe::Rewinding::FineTune => bantam_compress::Rewinding::FineTune,
        };
        let magnitude = Magnitude {
            fraction: p.fraction,
            exclude: p.exclude.clone(),
            ..Magnitude::default()
        };
        IterativeOptions {
            magnitude,
            rewinding,
            max_rounds: p.max_rounds,
            min_density: p.min_density,
            max_drop: self.recipe.budget.max_drop,
            patience_rounds: p.patience,
        }
    }

    /// Prunes round by round until the accuracy has fallen too far, or, with a limit on the file,
    /// until it is small enough.
    pub(crate) fn prune(&mut self, initial: &Graph, mut rounds: Rounds) -> Result<Rounds> {
        self.observer.stage("prune", 3, STAGES);
        self.folder.make("3-prune")?;
        loop {
            let mut options = self.options();
            let limit = self.recipe.budget.max_bytes;
            if limit > 0 && rounds.rounds.last().is_some_and(|r| r.bytes > limit) {
                options.patience_rounds = usize::MAX;
            }
            match next_round(initial, &rounds.records, &options)? {
                Some(request) => self.round(&request, &mut rounds)?,
                None => return Ok(rounds),
            }
        }
    }

    /// Trains one round, or takes it from its files.
    fn round(&mut self, request: &RoundRequest, rounds: &mut Rounds) -> Result<()> {
        let i = request.index;
        let stem = round_stem(i);
        let [model, record] = [format!("{stem}.bantam"), format!("{stem}.json")];
        let found: Option<Round> = self.folder.read_json(&record)?;
        let round = match found {
            Some(round) => {
                self.observer.reused(&format!("round {i}"));
                round
            }
            None => self.train_round(request, &stem)?,
        };
        let graph = self.load(&model)?;
        let result = RoundResult {
            graph,
            validation_accuracy: round.validation_accuracy,
            validation_loss: round.validation_loss,
        };
        self.observer.note(&format!(
            "round {i}: {} of {} weights ({:.2} %), validation {}, about {} bytes packed",
            round.remaining,
            round.total,
            100.0 * round.remaining as f64 / round.total.max(1) as f64,
            self.shown(round.validation_accuracy),
            round.bytes,
        ));
        rounds.records.push(request.finish(result)?);
        rounds.rounds.push(round);
        Ok(())
    }

    fn train_round(&mut self, request: &RoundRequest, stem: &str) -> Result<Round> {
        let started = Instant::now();
        let seed = self.recipe.seed;
        let config = fitting::full(&self.recipe.train, seed, 1 + request.index as u64);
        let config = match request.retrain {
            Retrain::Full => config,
            Retrain::FineTune => fitting::fine_tune(config, self.recipe.prune.fine_tune_epochs),
        };
        let what = match request.index {
            0 => "training the dense network".to_owned(),
            i => format!("round {i}"),
        };
        let checkpoint = format!("{stem}.checkpoint");
        let fitted = self.fit(&request.graph, &config, &checkpoint, &what)?;
        let test = evaluate(&fitted.graph, &self.data.test()?)?;
        let sparsity = Sparsity::of(&fitted.graph);
        let round = Round {
            round: request.index,
            remaining: sparsity.remaining(),
            total: sparsity.total(),
            validation_accuracy: fitted.validation.accuracy,
            validation_loss: fitted.validation.loss,
            test_accuracy: test.accuracy,
            bytes: self.estimate(&fitted.graph)?,
            seconds: started.elapsed().as_secs_f64(),
            epochs: fitting::epochs(&fitted.history),
        };
        self.save(&fitted.graph, &format!("{stem}.bantam"), Coder::Store)?;
        self.folder.write_json(&format!("{stem}.json"), &round)?;
        self.folder.remove(&checkpoint)?;
        Ok(round)
    }

    pub(crate) fn fit(
        &mut self,
        graph: &Graph,
        config: &bantam_train::Config,
        checkpoint: &str,
        what: &str,
    ) -> Result<Fitted> {
        let (train, validation) = (self.data.train()?, self.data.validation()?);
        let sources: [&dyn Source; 2] = [&train, &validation];
        fitting::run(
            graph,
            sources,
            config,
            &self.folder,
            checkpoint,
            what,
            self.observer,
        )
    }

    /// An accuracy for people: a percentage, or R² where a number is predicted.
    pub(crate) fn shown(&self, accuracy: f64) -> String {
        match self.data.class_names().is_empty() {
            true => format!("R² {accuracy:.4}"),
            false => format!("{:.2} %", 100.0 * accuracy),
        }
    }

    /// Size of the file that a pruned network would make with codebooks that are not tuned yet.
    fn estimate(&self, graph: &Graph) -> Result<u64> {
        estimate(self.recipe, &self.data, graph)
    }

    /// The bytes of a file with the schema inside.
    pub(crate) fn packed(&self, graph: &Graph, coder: Coder) -> Result<Vec<u8>> {
        packed(&self.data, graph, coder)
    }

    pub(crate) fn save(&self, graph: &Graph, name: &str, coder: Coder) -> Result<()> {
        self.folder.write(name, &self.packed(graph, coder)?)
    }

    /// Reads back a network of the run folder.
    pub(crate) fn load(&self, name: &str) -> Result<Graph> {
        let path = self.folder.path(name);
        let model = container::load(&path, &ReadLimits::default());
        Ok(model.map_err(|e| damaged(&path, &e))?.graph)
    }

    /// Size of a file of the run folder.
    pub(crate) fn size_of(&self, name: &str) -> Result<u64> {
        let path = self.folder.path(name);
        Ok(std::fs::metadata(&path)
            .map_err(|e| Error::file(&path, &e))?
            .len())
    }

    /// The stages up to pruning as the results show them.
    pub(crate) fn stages(&self, rounds: &Rounds, until: usize) -> Result<Vec<Stage>> {
        let dense = &rounds.rounds[0];
        let stage = |name: &str, of: &Round, seconds: f64, graph: &Graph| -> Result<Stage> {
            Ok(Stage {
                name: name.to_owned(),
                accuracy: of.test_accuracy,
                validation_accuracy: of.validation_accuracy,
                nonzero: nonzero(graph),
                bytes: self.size_of(&format!("{}.bantam", round_stem(of.round)))?,
                seconds,
            })
        };
        let mut stages = vec![stage(
            "train",
            dense,
            dense.seconds,
            &rounds.records[0].graph,
        )?];
        if rounds.rounds.len() > 1 {
            let seconds = rounds.rounds[1..].iter().map(|r| r.seconds).sum();
            let graph = &rounds.records[until].graph;
            stages.push(stage("prune", &rounds.rounds[until], seconds, graph)?);
        }
        Ok(stages)
    }
}

/// Weights and biases that are not 0.
pub(crate) fn nonzero(graph: &Graph) -> usize {
    graph.parameters().iter().map(|p| p.weight.nonzero()).sum()
}

fn round_stem(i: usize) -> String {
    if i == 0 {
        "2-train/dense".to_owned()
    } else {
        format!("3-prune/round-{i:02}")
    }
}

/// Name of the files of a tuned round, without extension.
pub(crate) fn tuned_stem(i: usize, extra_bits: u8) -> String {
    match extra_bits {
        0 => format!("4-quantize/round-{i:02}"),
        extra => format!("4-quantize/round-{i:02}-plus-{extra}-bits"),
    }
}

/// The coder that a recipe names.
pub(crate) fn coder(coder: recipe::Coder) -> Coder {
    match coder {
        recipe::Coder::ContextMixing => Coder::ContextMixing,
        recipe::Coder::DeepCompression => Coder::DeepCompression,
        recipe::Coder::Store => Coder::Store,
    }
}

/// The evaluation as the results have it.
pub(crate) fn score(e: &Evaluation) -> Score {
    let p = e.accuracy;
    let standard_error = if e.confusion.is_empty() {
        0.0
    } else {
        (p * (1.0 - p) / e.n as f64).max(0.0).sqrt()
    };
    Score {
        accuracy: p,
        standard_error,
        n: e.n,
        confusion: e.confusion.clone(),
    }
}

fn floor4(v: f64) -> f64 {
    (v * 1e4).floor() / 1e4
}
