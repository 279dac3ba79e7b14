//! The training loop.

use bantam_core::op::LossKind;
use bantam_core::{Data, Graph, Tensor};
use bantam_data::{Augment, Batches, Source, Targets};
use bantam_kernels as kernels;
use bantam_runtime::{Executor, Memory, Plan, Precision};

use crate::evaluate::{Evaluation, evaluate};
use crate::loss_scale::LossScale;
use crate::optimizer::{Optimizer, Slots, Update, clip};
use crate::schedule::Schedule;
use crate::training::TrainingGraph;
use crate::{Error, ErrorKind, Params, Result};

/// Settings of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows per step; a last incomplete batch is left out, unless it is the only one.
    pub batch_size: usize,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Learning rate before the schedule.
    pub learning_rate: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Decay of weights with two or more axes.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 for no limit.
    pub clip_norm: f64,
    /// Label smoothing of the cross-entropy.
    pub label_smoothing: f64,
    /// Random changes of images.
    pub augment: Augment,
    /// Stop after this many epochs without a better validation loss; 0 for never.
    pub patience: usize,
    /// Which weights to return.
    pub keep: Keep,
    /// What operands of products are rounded to in a step. Weights, what the optimizer remembers,
    /// sums, normalisation, loss and all values between operators stay `f32`; so does evaluation. With
    /// [`Precision::F16`] the loss is scaled (see [`LossScale`]).
    pub precision: Precision,
    /// Decides order, augmentation and dropout.
    pub seed: u64,
}

/// Which weights a training returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those of the epoch with the best validation accuracy, the smaller loss among equals.
    Best,
    /// Those of the last epoch.
    Last,
}

impl Config {
    /// Errs when a setting is out of range.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::new(ErrorKind::Setting, what));
        if self.epochs == 0 || self.batch_size == 0 {
            return bad("epochs and batch size must be at least 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return bad("the learning rate must be positive");
        }
        if !(self.weight_decay >= 0.0 && self.clip_norm >= 0.0) {
            return bad("weight decay and the gradient limit must not be negative");
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return bad("label smoothing must be in [0, 1)");
        }
        self.schedule.check()
    }
}

/// What is known after an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochRecord {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Learning rate at its last step.
    pub learning_rate: f64,
    /// Mean loss of its training steps.
    pub train_loss: f64,
    /// Loss on the validation rows.
    pub validation_loss: f64,
    /// Accuracy on the validation rows (R² for numbers).
    pub validation_accuracy: f64,
}

/// Everything that a training needs to go on after an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Updates made; dropped steps do not count.
    pub step: u64,
    /// The weights.
    pub params: Params,
    /// What the optimizer remembers.
    pub slots: Slots,
    /// One record per finished epoch.
    pub history: Vec<EpochRecord>,
    /// Of the gradients, in [`Precision::F16`].
    pub loss_scale: LossScale,
    /// Weights of the best epoch so far, if they are not the current ones.
    pub best: Option<Params>,
}

impl State {
    /// The state before the first epoch.
    pub fn start(graph: &Graph) -> State {
        State {
            params: Params::of(graph),
            ..State::default()
        }
    }

    /// Index in the history of the epoch with the best validation accuracy, the smaller loss and
    /// then the earlier one among equals.
    pub fn best_epoch(&self) -> Option<usize> {
        (0..self.history.len()).reduce(|best, i| {
            let (a, b) = (&self.history[i], &self.history[best]);
            let better = (a.validation_accuracy, -a.validation_loss)
                > (b.validation_accuracy, -b.validation_loss);
            if better { i } else { best }
        })
    }
}

/// Where a training is, for progress bars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Epoch under way, from 1.
    pub epoch: usize,
    /// Epochs planned.
    pub epochs: usize,
    /// Steps made in this epoch.
    pub step: usize,
    /// Steps of this epoch.
    pub steps: usize,
    /// Mean loss of this epoch so far.
    pub loss: f64,
}

/// Follows a training. Both calls may stop it with an error of the caller's.
pub trait Watch {
    /// After each step.
    fn step(&mut self, _progress: &Progress) -> Result<()> {
        Ok(())
    }
    /// After each epoch: the place to write a checkpoint.
    fn epoch(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {}

/// A finished training.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The network with the weights that [`Keep`] says.
    pub graph: Graph,
    /// One record per epoch.
    pub history: Vec<EpochRecord>,
    /// The epoch whose weights are kept, from 1.
    pub kept_epoch: usize,
    /// The kept network on the validation rows.
    pub validation: Evaluation,
    /// Memory of one training step.
    pub memory: Memory,
    /// Of the gradients at the end, in [`Precision::F16`].
    pub loss_scale: LossScale,
}

/// Trains `network` on `train` and watches it on `validation`; goes on from `state` where given.
///
/// Masked weights stay masked and codebook entries are trained in place of their weights. The same
/// arguments give the same bits, on any number of threads and however often it was interrupted.
/// Errs when settings are out of range, the data do not fit the network, or the loss is not finite.
pub fn fit(
    network: &Graph,
    train: &dyn Source,
    validation: &dyn Source,
    config: &Config,
    state: Option<State>,
    watch: &mut dyn Watch,
) -> Result<Fitted> {
    config.check()?;
    let mut run = Run::new(network, train, config, state)?;
    while run.state.history.len() < config.epochs && !run.out_of_patience() {
        let (train_loss, learning_rate) = run.epoch(watch)?;
        let graph = run.state.params.freeze(network)?;
        let e = evaluate(&graph, validation)?;
        run.state.history.push(EpochRecord {
            epoch: run.state.history.len() + 1,
            learning_rate,
            train_loss,
            validation_loss: e.loss,
            validation_accuracy: e.accuracy,
        });
        run.remember_best();
        watch.epoch(&run.state)?;
    }
    let memory = run.executor.plan().memory();
    let State {
        params,
        history,
        best,
        loss_scale,
        ..
    } = run.state.clone();
    let (params, kept) = match config.keep {
        Keep::Last => (params, history.len()),
        Keep::Best => (
            best.unwrap_or(params),
            run.state.best_epoch().map_or(history.len(), |i| i + 1),
        ),
    };
    let graph = params.freeze(network)?;
    let validation = evaluate(&graph, validation)?;
    Ok(Fitted {
        graph,
        history,
        kept_epoch: kept,
        validation,
        memory,
        loss_scale,
    })
}

/// A training under way.
struct Run<'a> {
    config: &'a Config,
    form: TrainingGraph,
    executor: Executor,
    batches: Batches<'a>,
    masks: std::collections::BTreeMap<String, Vec<f32>>,
    state: State,
    /// Buffers used again by every step.
    x: Vec<f32>,
    targets: Targets,
    /// Copies of the gradients, where they are changed before the update.
    gradients: Vec<Vec<f32>>,
}

impl<'a> Run<'a> {
    fn new(
        network: &Graph,
        source: &'a dyn Source,
        config: &'a Config,
        state: Option<State>,
    ) -> Result<Run<'a>> {
        if source.is_empty() {
            return Err(Error::new(ErrorKind::Data, "there are no rows to train on"));
        }
        let loss = match source.classes() {
            0 => LossKind::MeanSquaredError,
            _ => LossKind::CrossEntropy {
                label_smoothing: config.label_smoothing as f32,
            },
        };
        let form = match config.precision {
            Precision::F32 | Precision::Bf16 => TrainingGraph::new(network, loss)?,
            Precision::F16 => TrainingGraph::scaled(network, loss)?,
        };
        let batch_size = config.batch_size.min(source.len());
        let plan = Plan::for_batch(&form.graph, batch_size)?;
        let executor = Executor::new(plan.with_precision(config.precision));
        let batches = Batches {
            source,
            seed: config.seed,
            batch_size,
            shuffle: true,
            augment: config.augment,
        };
        let gradients = vec![Vec::new(); form.parameters.len()];
        Ok(Run {
            config,
            executor,
            batches,
            masks: Params::masks(network),
            state: state.unwrap_or_else(|| State::start(network)),
            x: Vec::new(),
            targets: Targets::empty(source.classes()),
            gradients,
            form,
        })
    }

    fn out_of_patience(&self) -> bool {
        let history = &self.state.history;
        let best = (0..history.len()).reduce(|best, i| {
            if history[i].validation_loss < history[best].validation_loss {
                i
            } else {
                best
            }
        });
        self.config.patience > 0
            && best.is_some_and(|best| history.len() - 1 - best >= self.config.patience)
    }

    fn remember_best(&mut self) {
        if self.config.keep == Keep::Best
            && self.state.best_epoch() == Some(self.state.history.len() - 1)
        {
            self.state.best = Some(self.state.params.clone());
        }
    }

    /// Runs one epoch; returns its mean loss and last learning rate.
    fn epoch(&mut self, watch: &mut dyn Watch) -> Result<(f64, f64)> {
        let epoch = self.state.history.len();
        let order = self.batches.order(epoch as u64);
        let batch = self.batches.batch_size;
        let steps = order.len() / batch;
        let total = (steps * self.config.epochs) as u64;
        let (mut sum, mut learning_rate) = (0.0, 0.0);
        for (i, rows) in order.chunks_exact(batch).enumerate() {
            let factor = self.config.schedule.factor(self.state.step, total);
            learning_rate = self.config.learning_rate * factor;
            let loss = self.step(rows, epoch as u64, learning_rate as f32)?;
            if !loss.is_finite() {
                let message = format!(
                    "the loss is {loss} at step {} of epoch {} (learning rate {learning_rate:.2e}): \
                     lower the learning rate or limit the gradient{}",
                    i + 1,
                    epoch + 1,
                    match self.config.precision {
                        Precision::F32 | Precision::Bf16 => "",
                        Precision::F16 => ", or train in bf16, whose range is that of f32",
                    }
                );
                return Err(Error::new(ErrorKind::Diverged, message));
            }
            sum += f64::from(loss);
            let (step, epochs) = (i + 1, self.config.epochs);
            let loss = sum / step as f64;
            watch.step(&Progress {
                epoch: epoch + 1,
                epochs,
                step,
                steps,
                loss,
            })?;
        }
        Ok((sum / steps as f64, learning_rate))
    }

    /// One step on `rows`; returns its loss.
    fn step(&mut self, rows: &[u32], epoch: u64, learning_rate: f32) -> Result<f32> {
        self.batches
            .read(epoch, rows, &mut self.x, &mut self.targets)?;
        let mut shape = vec![rows.len()];
        shape.extend(self.batches.source.sample_shape());
        let x = Tensor::new(&shape, std::mem::take(&mut self.x))?;
        let target = match &self.targets {
            Targets::Classes(labels) => Tensor::new(&[rows.len()], labels.clone())?,
            Targets::Numbers(v) => Tensor::new(&[rows.len(), 1], v.clone())?,
        };
        let seed = Tensor::scalar(dropout_seed(self.config.seed, self.state.step));
        let mut inputs = vec![&x, &target];
        if self.form.has_seed {
            inputs.push(&seed);
        }
        let scale = Tensor::scalar(self.state.loss_scale.factor);
        if self.form.has_scale {
            inputs.push(&scale);
        }
        inputs.extend(
            self.form
                .parameters
                .iter()
                .map(|name| &self.state.params.0[name]),
        );
        let outputs = self.executor.run(&inputs)?;
        let loss = outputs.values::<f32>(0)[0];
        let first = self.form.first_gradient();
        let clip_norm = self.config.clip_norm as f32;
        // Else the gradients are read where the executor has them.
        let copied = self.form.has_scale
            || clip_norm > 0.0
            || (0..self.gradients.len()).any(|i| outputs.is_input(first + i));
        if copied {
            for (i, g) in self.gradients.iter_mut().enumerate() {
                g.clear();
                g.extend_from_slice(outputs.values(first + i));
            }
        }
        let batch_statistics: Vec<Vec<f32>> = (0..self.form.statistics.len())
            .map(|i| outputs.values::<f32>(2 + i).to_vec())
            .collect();
        if let Data::F32(buffer) = x.into_data() {
            self.x = buffer;
        }
        if self.form.has_scale && loss.is_finite() && !self.unscale()? {
            return Ok(loss);
        }
        self.move_statistics(&batch_statistics, rows.len())?;
        if clip_norm > 0.0 {
            let names = &self.form.parameters;
            clip(clip_norm, names, &self.masks, &mut self.gradients);
        }
        let gradient = |i: usize| match copied {
            true => self.gradients[i].as_slice(),
            false => self.executor.last_output(first + i).expect("no input"),
        };
        let gradients: Vec<&[f32]> = (0..self.gradients.len()).map(gradient).collect();
        self.state.step += 1;
        let update = Update {
            optimizer: &self.config.optimizer,
            learning_rate,
            weight_decay: self.config.weight_decay as f32,
            t: self.state.step,
            masks: &self.masks,
        };
        let State { params, slots, .. } = &mut self.state;
        update.apply(&self.form.parameters, &gradients, params, slots)?;
        Ok(loss)
    }

    /// Takes the factor off the gradients; whether they are finite. A step where they are not leaves no
    /// trace but a smaller factor.
    fn unscale(&mut self) -> Result<bool> {
        let scale = &mut self.state.loss_scale;
        let by = 1.0 / scale.factor;
        self.gradients
            .iter_mut()
            .for_each(|g| kernels::scale(g, by));
        let finite = self
            .gradients
            .iter()
            .all(|g| kernels::sum_of_squares(g).is_finite());
        match finite {
            true => scale.good(),
            false => scale.dropped()?,
        }
        Ok(finite)
    }

    fn move_statistics(&mut self, batch: &[Vec<f32>], rows: usize) -> Result<()> {
        for (s, batch) in self.form.statistics.iter().zip(batch) {
            let scale = s.variance_of.map_or(1.0, |per_sample| {
                let count = (rows * per_sample) as f32;
                count / (count - 1.0).max(1.0)
            });
            let running = self
                .state
                .params
                .0
                .get_mut(&s.parameter)
                .expect("checked by the pass");
            for (r, b) in running.values_mut::<f32>()?.iter_mut().zip(batch) {
                *r = s.momentum * *r + (1.0 - s.momentum) * scale * b;
            }
        }
        Ok(())
    }
}

fn dropout_seed(seed: u64, step: u64) -> i64 {
    (seed.rotate_left(32) ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15)) as i64
}
