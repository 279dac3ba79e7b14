//! One training within a stage: settings from the recipe, checkpoints in the run folder.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bantam_core::Graph;
use bantam_data::{Augment, Source, hash};
use bantam_formats::checkpoint::{read_checkpoint, write_checkpoint};
use bantam_train::{
    Config, Decay, EpochRecord, Fitted, Keep, LossScale, Optimizer, Params, Progress, Schedule,
    Slots, State, Watch, fit,
};

use crate::folder::{Folder, damaged};
use crate::recipe::{self, OptimizerKind, QuantizeSettings, ScheduleKind, TrainSettings};
use crate::results::Epoch;
use crate::watch::Observer;
use crate::{Error, ErrorKind, Result};

/// Least time between two checkpoints: for tiny networks writing would take longer than training.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// Settings of a full training, as the recipe has them. `stream` tells the trainings of a run apart.
pub(crate) fn full(settings: &TrainSettings, seed: u64, stream: u64) -> Config {
    let decay = match settings.schedule {
        ScheduleKind::Constant => Decay::Constant,
        ScheduleKind::Step => Decay::Step {
            at: settings.steps.clone(),
            factor: settings.step_factor,
        },
        ScheduleKind::Cosine => Decay::Cosine {
            last: settings.final_factor,
        },
    };
    let optimizer = match settings.optimizer {
        OptimizerKind::Sgd => Optimizer::Sgd {
            momentum: settings.momentum as f32,
            nesterov: settings.nesterov,
        },
        OptimizerKind::Adam => Optimizer::adam(),
        OptimizerKind::AdamW => Optimizer::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decoupled: true,
        },
    };
    Config {
        epochs: settings.epochs,
        batch_size: settings.batch_size,
        optimizer,
        learning_rate: settings.learning_rate,
        schedule: Schedule {
            decay,
            warm_up: settings.warm_up,
        },
        weight_decay: settings.weight_decay,
        clip_norm: settings.clip_norm,
        label_smoothing: settings.label_smoothing,
        augment: Augment {
            shift: settings.shift,
            flip: settings.flip,
            crop: (settings.crop > 0).then_some(settings.crop),
        },
        patience: settings.patience,
        keep: match settings.keep {
            recipe::Keep::Best => Keep::Best,
            recipe::Keep::Last => Keep::Last,
        },
        precision: settings.precision.into(),
        seed: hash(seed, stream),
    }
}

/// Settings of a fine-tuning: a few epochs at the last rate of the full schedule, but at least a
/// hundredth of its base.
pub(crate) fn fine_tune(full: Config, epochs: usize) -> Config {
    let total = 1_000;
    let last = full.schedule.factor(total - 1, total).max(0.01);
    Config {
        epochs,
        learning_rate: full.learning_rate * last,
        schedule: Schedule {
            decay: Decay::Constant,
            warm_up: 0.0,
        },
        ..full
    }
}

/// Settings of the tuning of codebooks.
pub(crate) fn tuning(full: Config, settings: &QuantizeSettings) -> Config {
    Config {
        epochs: settings.epochs,
        optimizer: Optimizer::adam(),
        learning_rate: settings.learning_rate,
        schedule: Schedule {
            decay: Decay::Cosine { last: 0.0 },
            warm_up: 0.0,
        },
        weight_decay: 0.0,
        patience: 0,
        keep: Keep::Best,
        ..full
    }
}

/// Trains `network`, with a checkpoint called `checkpoint` in the folder from which it goes on, and
/// which is removed at the end by the caller once the result is written.
pub(crate) fn run(
    network: &Graph,
    [train, validation]: [&dyn Source; 2],
    config: &Config,
    folder: &Folder,
    checkpoint: &str,
    what: &str,
    observer: &mut dyn Observer,
) -> Result<Fitted> {
    let state = if folder.has(checkpoint) {
        Some(read_state(folder, checkpoint)?)
    } else {
        None
    };
    let mut keeper = Keeper {
        folder,
        checkpoint,
        what,
        observer: &mut *observer,
        written: Instant::now(),
    };
    let fitted = fit(network, train, validation, config, state, &mut keeper)?;
    let scale = fitted.loss_scale;
    if scale.dropped_steps > 0 {
        observer.note(&format!(
            "{what}: {} steps were dropped because their gradients overflowed; they are scaled by {} at the end",
            scale.dropped_steps, scale.factor
        ));
    }
    Ok(fitted)
}

/// Learning curve as the results have it.
pub(crate) fn epochs(history: &[EpochRecord]) -> Vec<Epoch> {
    let epoch = |e: &EpochRecord| Epoch {
        epoch: e.epoch,
        learning_rate: e.learning_rate,
        train_loss: e.train_loss,
        validation_loss: e.validation_loss,
        validation_accuracy: e.validation_accuracy,
    };
    history.iter().map(epoch).collect()
}

struct Keeper<'a> {
    folder: &'a Folder,
    checkpoint: &'a str,
    what: &'a str,
    observer: &'a mut dyn Observer,
    written: Instant,
}

impl Watch for Keeper<'_> {
    fn step(&mut self, p: &Progress) -> bantam_train::Result<()> {
        let within = (p.epoch - 1) as f64 + p.step as f64 / p.steps as f64;
        let figure = format!("epoch {}/{}, loss {:.4}", p.epoch, p.epochs, p.loss);
        self.observer
            .progress(self.what, within / p.epochs as f64, &figure);
        Ok(())
    }

    fn epoch(&mut self, state: &State) -> bantam_train::Result<()> {
        if self.written.elapsed() >= CHECKPOINT_EVERY {
            write_state(self.folder, self.checkpoint, state)
                .map_err(bantam_train::Error::stopped)?;
            self.written = Instant::now();
        }
        Ok(())
    }
}

const PARAMETERS: &str = "parameter/";
const SLOTS: &str = "slot/";
const BEST: &str = "best/";

fn write_state(folder: &Folder, name: &str, state: &State) -> Result<()> {
    let mut tensors = BTreeMap::new();
    let mut add = |prefix: &str, map: &BTreeMap<String, bantam_core::Tensor>| {
        tensors.extend(map.iter().map(|(k, t)| (format!("{prefix}{k}"), t.clone())));
    };
    add(PARAMETERS, &state.params.0);
    add(SLOTS, &state.slots.0);
    if let Some(best) = &state.best {
        add(BEST, &best.0);
    }
    let history = serde_json::to_string(&epochs(&state.history))
        .map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    let scale = state.loss_scale;
    let metadata = BTreeMap::from([
        ("step".to_owned(), state.step.to_string()),
        ("history".to_owned(), history),
        ("loss_scale".to_owned(), scale.factor.to_string()),
        ("good_steps".to_owned(), scale.good_steps.to_string()),
        ("dropped_steps".to_owned(), scale.dropped_steps.to_string()),
    ]);
    Ok(write_checkpoint(&folder.path(name), &tensors, &metadata)?)
}

fn read_state(folder: &Folder, name: &str) -> Result<State> {
    let path = folder.path(name);
    let file = read_checkpoint(&path).map_err(|e| damaged(&path, &e))?;
    let with = |prefix: &str| -> BTreeMap<String, bantam_core::Tensor> {
        let own = file
            .tensors
            .iter()
            .filter_map(|(k, t)| k.strip_prefix(prefix).map(|k| (k, t)));
        own.map(|(k, t)| (k.to_owned(), t.clone())).collect()
    };
    let text = |key: &str| {
        let missing = || damaged(&path, &format!("{key} is missing"));
        file.metadata.get(key).ok_or_else(missing)
    };
    let history: Vec<Epoch> =
        serde_json::from_str(text("history")?).map_err(|e| damaged(&path, &e))?;
    let record = |e: Epoch| EpochRecord {
        epoch: e.epoch,
        learning_rate: e.learning_rate,
        train_loss: e.train_loss,
        validation_loss: e.validation_loss,
        validation_accuracy: e.validation_accuracy,
    };
    let best = with(BEST);
    let loss_scale = LossScale {
        factor: number(text("loss_scale")?, &path)?,
        good_steps: number(text("good_steps")?, &path)?,
        dropped_steps: number(text("dropped_steps")?, &path)?,
    };
    Ok(State {
        step: number(text("step")?, &path)?,
        params: Params(with(PARAMETERS)),
        slots: Slots(with(SLOTS)),
        history: history.into_iter().map(record).collect(),
        loss_scale,
        best: (!best.is_empty()).then_some(Params(best)),
    })
}

fn number<T: std::str::FromStr>(text: &str, path: &std::path::Path) -> Result<T> {
    let wrong = |_| damaged(path, &format!("{text:?} is no number"));
    text.parse().map_err(wrong)
}
