//! The recipe: every setting of a run, explicit, in one TOML file.
//!
//! Flags of the command line write one, and the run folder is named after a hash of it and the data. A field that is not known is an error, so that a typo never passes for a default.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Number of the schema of recipes that this version writes and reads.
pub const SCHEMA: u32 = 1;

/// Every setting of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Schema of this file; [`SCHEMA`].
    pub schema: u32,
    /// What the run folder and the network are called.
    pub name: String,
    /// Decides splits, initial weights, order and augmentation.
    #[serde(default)]
    pub seed: u64,
    /// Where the data are and how they are split.
    pub data: DataSettings,
    /// The network that training starts with.
    #[serde(default)]
    pub model: ModelSettings,
    /// Training of the dense network, and again of every pruning round.
    #[serde(default)]
    pub train: TrainSettings,
    /// Iterative magnitude pruning.
    #[serde(default)]
    pub prune: PruneSettings,
    /// Trained codebooks.
    #[serde(default)]
    pub quantize: QuantizeSettings,
    /// The file.
    #[serde(default)]
    pub pack: PackSettings,
    /// What the result must keep to.
    #[serde(default)]
    pub budget: Budget,
}

/// Where the data are and how they are split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A table, an array file, a folder of images by class, or a folder of IDX files.
    pub path: PathBuf,
    /// The column to predict; not for images and arrays, which bring their labels.
    #[serde(default)]
    pub target: Option<String>,
    /// Columns that are numeric, whatever their cells look like.
    #[serde(default)]
    pub numeric: Vec<String>,
    /// Columns that are categorical, whatever their cells look like.
    #[serde(default)]
    pub categorical: Vec<String>,
    /// Columns left out.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Columns kept although they look like identifiers.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Whether the first line of a delimited file names the columns; found out when absent.
    #[serde(default)]
    pub header: Option<bool>,
    /// What the target is: `auto`, `classes` or `number`.
    #[serde(default)]
    pub task: Task,
    /// How pixels and arrays are scaled: `standard` or `unit`.
    #[serde(default)]
    pub scaling: Scaling,
    /// Data that would take more bytes than this in memory are left on disk.
    #[serde(default = "default_max_memory")]
    pub max_memory: u64,
    /// Share of the rows for validation, by which every choice is made.
    #[serde(default = "default_validation")]
    pub validation: f64,
    /// Share of the rows for test, where the data do not bring test rows of their own.
    #[serde(default = "default_test")]
    pub test: f64,
}

fn default_max_memory() -> u64 {
    4 << 30
}

fn default_validation() -> f64 {
    0.16
}

fn default_test() -> f64 {
    0.20
}

/// How pixels and arrays are scaled. Columns of tables are always standardised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// To mean 0 and deviation 1 over the training rows.
    #[default]
    Standard,
    /// Bytes to 0 to 1, other numbers as they are. A pixel that is always black is then always 0, so
    /// that its weights do nothing and can go.
    Unit,
}

/// What the target is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Text and few whole numbers are classes, other numbers a number.
    #[default]
    Auto,
    /// Every distinct value is a class.
    Classes,
    /// A number.
    Number,
}

/// The network that training starts with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Which network.
    #[serde(default)]
    pub kind: ModelKind,
    /// Units of the hidden layers of an `mlp`; when empty they follow from the measured capacity.
    #[serde(default)]
    pub hidden: Vec<usize>,
}

/// A family of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// Fully connected layers with rectifiers.
    #[default]
    Mlp,
    /// The Caffe version of LeNet-5 (20-50-500), for images.
    #[serde(rename = "lenet-5-caffe")]
    Lenet5Caffe,
}

/// Training of the dense network, and again of every pruning round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows per step.
    pub batch_size: usize,
    /// `sgd`, `adam` or `adamw`.
    pub optimizer: OptimizerKind,
    /// Learning rate before the schedule.
    pub learning_rate: f64,
    /// Momentum of `sgd`.
    pub momentum: f64,
    /// Nesterov's form of the momentum.
    pub nesterov: bool,
    /// Decay of weights, not of biases.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 for no limit.
    pub clip_norm: f64,
    /// Label smoothing of the cross-entropy.
    pub label_smoothing: f64,
    /// `constant`, `step` or `cosine`.
    pub schedule: ScheduleKind,
    /// Shares of the training at which a `step` schedule steps.
    pub steps: Vec<f64>,
    /// What a `step` schedule multiplies by.
    pub step_factor: f64,
    /// Factor at the end of a `cosine` schedule.
    pub final_factor: f64,
    /// Share of the training in which the rate grows from 0.
    pub warm_up: f64,
    /// Images are shifted by up to this many pixels each way.
    pub shift: usize,
    /// Images are flipped left to right at random.
    pub flip: bool,
    /// Images are padded by this many pixels and cropped back at random; 0 for not.
    pub crop: usize,
    /// Stop after this many epochs without a better validation loss; 0 for never.
    pub patience: usize,
    /// Keep the weights of the `best` epoch on validation, or of the `last`.
    pub keep: Keep,
    /// What the operands of products are rounded to: `f32`, `bf16` or `f16`.
    pub precision: Precision,
}

impl Default for TrainSettings {
    fn default() -> TrainSettings {
        TrainSettings {
            epochs: 60,
            batch_size: 32,
            optimizer: OptimizerKind::Adam,
            learning_rate: 3e-3,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            clip_norm: 0.0,
            label_smoothing: 0.1,
            schedule: ScheduleKind::Cosine,
            steps: vec![0.5, 0.75],
            step_factor: 0.1,
            final_factor: 0.0,
            warm_up: 0.0,
            shift: 0,
            flip: false,
            crop: 0,
            patience: 0,
            keep: Keep::Best,
            precision: Precision::F32,
        }
    }
}

/// What the operands of matrix products, dense layers and convolutions are rounded to in a training step.
/// Sums, weights and everything else are `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not rounded.
    F32,
    /// To 8 bits, with the range of `f32`.
    Bf16,
    /// To 11 bits, with a small range; gradients are scaled.
    F16,
}

impl From<Precision> for bantam_train::Precision {
    fn from(p: Precision) -> Self {
        match p {
            Precision::F32 => bantam_train::Precision::F32,
            Precision::Bf16 => bantam_train::Precision::Bf16,
            Precision::F16 => bantam_train::Precision::F16,
        }
    }
}

/// An optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// A learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Always the same.
    Constant,
    /// Multiplied by a factor at given shares.
    Step,
    /// Half a cosine down.
    Cosine,
}

/// Which weights a training keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Of the epoch with the best validation accuracy.
    Best,
    /// Of the last epoch.
    Last,
}

/// Iterative magnitude pruning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneSettings {
    /// Share of the remaining weights removed each round.
    pub fraction: f64,
    /// What retraining starts from: `learning-rate`, `weight` or `fine-tune`.
    pub rewinding: Rewinding,
    /// Most rounds.
    pub max_rounds: usize,
    /// Share of the weights at which to stop.
    pub min_density: f64,
    /// Rounds tried beyond the first that loses more than the budget allows.
    pub patience: usize,
    /// Weights left alone: names, or prefixes with a trailing `*`.
    pub exclude: Vec<String>,
    /// Epochs of a `fine-tune` round.
    pub fine_tune_epochs: usize,
}

impl Default for PruneSettings {
    fn default() -> PruneSettings {
        PruneSettings {
            fraction: 0.2,
            rewinding: Rewinding::LearningRate,
            max_rounds: 24,
            min_density: 0.001,
            patience: 2,
            exclude: Vec::new(),
            fine_tune_epochs: 10,
        }
    }
}

/// What retraining after pruning starts from (Renda, Frankle, Carbin 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewinding {
    /// Current weights, the full schedule again.
    LearningRate,
    /// Initial weights, the full schedule again.
    Weight,
    /// Current weights, a short training at the last rate.
    FineTune,
}

/// Trained codebooks (Han, Mao, Dally 2016).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeSettings {
    /// Bits of a weight's index among the non-zero entries.
    pub bits: u8,
    /// Bits of single weights, by name or prefix with a trailing `*`.
    pub layer_bits: std::collections::BTreeMap<String, u8>,
    /// Bits of biases; 0 keeps them as half-precision floats.
    pub bias_bits: u8,
    /// Passes over the training rows in which the codebooks are tuned.
    pub epochs: usize,
    /// Learning rate of that tuning, with Adam and a cosine schedule.
    pub learning_rate: f64,
}

impl Default for QuantizeSettings {
    fn default() -> QuantizeSettings {
        QuantizeSettings {
            bits: 3,
            layer_bits: std::collections::BTreeMap::new(),
            bias_bits: 5,
            epochs: 10,
            learning_rate: 2e-3,
        }
    }
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackSettings {
    /// `context-mixing`, `deep-compression` or `store`.
    pub coder: Coder,
    /// Remove hidden units that do nothing.
    pub crop: bool,
    /// Order hidden units so that alike rows are neighbours.
    pub order: bool,
}

impl Default for PackSettings {
    fn default() -> PackSettings {
        PackSettings {
            coder: Coder::ContextMixing,
            crop: true,
            order: true,
        }
    }
}

/// How weights are coded in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coder {
    /// Adaptive context mixing: the smallest.
    ContextMixing,
    /// Relative indices and Huffman codes, as in Deep Compression.
    DeepCompression,
    /// Plain values.
    Store,
}

/// What the result must keep to. A budget that cannot be met is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Most that the validation accuracy may fall below the dense network's, as a share.
    pub max_drop: f64,
    /// Largest file, in bytes; 0 for any.
    pub max_bytes: u64,
    /// Smallest validation accuracy, as a share; 0 for any.
    pub min_accuracy: f64,
    /// What to make the most of within those limits: `size` or `accuracy`.
    pub prefer: Prefer,
}

/// Which of the networks that keep the budget is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// The smallest.
    Size,
    /// The most accurate on validation.
    Accuracy,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            max_drop: 0.01,
            max_bytes: 0,
            min_accuracy: 0.0,
            prefer: Prefer::Size,
        }
    }
}

impl Recipe {
    /// A recipe with every setting at its default.
    pub fn new(name: &str, path: &Path) -> Recipe {
        Recipe {
            schema: SCHEMA,
            name: name.to_owned(),
            seed: 0,
            data: DataSettings {
                path: path.to_owned(),
                target: None,
                numeric: Vec::new(),
                categorical: Vec::new(),
                drop: Vec::new(),
                keep: Vec::new(),
                header: None,
                task: Task::Auto,
                scaling: Scaling::Standard,
                max_memory: default_max_memory(),
                validation: default_validation(),
                test: default_test(),
            },
            model: ModelSettings::default(),
            train: TrainSettings::default(),
            prune: PruneSettings::default(),
            quantize: QuantizeSettings::default(),
            pack: PackSettings::default(),
            budget: Budget::default(),
        }
    }

    /// Reads a recipe; errs with the line and column of what is wrong.
    pub fn read(path: &Path) -> Result<Recipe> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, &e))?;
        Recipe::parse(&text).map_err(|e| e.in_file(path))
    }

    /// Parses a recipe.
    pub fn parse(text: &str) -> Result<Recipe> {
        let recipe: Recipe =
            toml::from_str(text).map_err(|e| Error::new(ErrorKind::Recipe, e.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as TOML, every field explicit.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is a table of plain values")
    }

    /// Errs when a setting is out of range; says which and what was expected.
    pub fn check(&self) -> Result<()> {
        let checks = [
            (
                self.schema == SCHEMA,
                format!("schema is {}, expected {SCHEMA}", self.schema),
            ),
            (!self.name.is_empty(), "name is empty".to_owned()),
            (
                share(self.data.validation) && self.data.validation > 0.0,
                range("data.validation", self.data.validation),
            ),
            (share(self.data.test), range("data.test", self.data.test)),
            (
                self.data.validation + self.data.test < 1.0,
                "data.validation and data.test leave no rows for training".to_owned(),
            ),
            (self.train.epochs > 0, "train.epochs is 0".to_owned()),
            (
                self.train.batch_size > 0,
                "train.batch_size is 0".to_owned(),
            ),
            (
                self.prune.fraction > 0.0 && self.prune.fraction < 1.0,
                range("prune.fraction", self.prune.fraction),
            ),
            (
                share(self.prune.min_density),
                range("prune.min_density", self.prune.min_density),
            ),
            (
                (1..=8).contains(&self.quantize.bits),
                format!("quantize.bits is {}, expected 1 to 8", self.quantize.bits),
            ),
            (
                self.quantize.bias_bits <= 8,
                format!(
                    "quantize.bias_bits is {}, expected 0 to 8",
                    self.quantize.bias_bits
                ),
            ),
            (
                share(self.budget.max_drop),
                range("budget.max_drop", self.budget.max_drop),
            ),
            (
                share(self.budget.min_accuracy),
                range("budget.min_accuracy", self.budget.min_accuracy),
            ),
            (
                self.model.hidden.iter().all(|&h| h > 0 && h <= 65_536),
                format!(
                    "model.hidden is {:?}, expected 1 to 65,536 units a layer",
                    self.model.hidden
                ),
            ),
        ];
        match checks.into_iter().find(|c| !c.0) {
            Some((_, message)) => Err(Error::new(ErrorKind::Recipe, message)),
            None => Ok(()),
        }
    }
}

fn share(v: f64) -> bool {
    (0.0..=1.0).contains(&v)
}

fn range(field: &str, v: f64) -> String {
    format!("{field} is {v}, expected a share between 0 and 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_round_trips() {
        let recipe = Recipe::new("titanic", Path::new("data/titanic.csv"));
        assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
    }

    #[test]
    fn mistakes_are_named() {
        let good = Recipe::new("a", Path::new("b")).to_toml();
        for (from, to, expected) in [
            ("epochs = 60", "epoch = 60", "epoch"),
            ("epochs = 60", "epochs = 0", "train.epochs"),
            ("fraction = 0.2", "fraction = 1.5", "prune.fraction"),
            ("schema = 1", "schema = 9", "schema is 9"),
            ("bits = 3", "bits = 33", "quantize.bits"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = Recipe::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
