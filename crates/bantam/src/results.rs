//! What a run found, as the JSON files of its folder hold it and the report shows it.
//!
//! The keys are stable: other programs read them. Shares are between 0 and 1, information is in bits,
//! sizes in bytes, times in seconds.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod study;

pub use study::*;

/// What `measure` found before any training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Measured {
    /// Rows measured.
    pub rows: usize,
    /// Feature columns measured.
    pub columns: usize,
    /// Number of classes; 0 when a number is predicted.
    pub classes: usize,
    /// Rows of each class, by name.
    pub class_counts: Vec<(String, usize)>,
    /// Entropy of the labels, bits a row.
    pub entropy_bits: f64,
    /// Bits of all labels, given the shares of the classes.
    #[serde(default)]
    pub label_bits: f64,
    /// Accuracy of always answering the largest class.
    pub best_guess: f64,
    /// Share of rows that no rule can answer, because equal rows have other labels.
    pub irreducible_error: f64,
    /// Rows that differ from all rows above them.
    #[serde(default)]
    pub distinct_rows: usize,
    /// Rows of which a row above has all the same cells.
    #[serde(default)]
    pub duplicate_rows: usize,
    /// Missing cells among the measured columns.
    pub missing_cells: usize,
    /// Share of the cells that are missing.
    #[serde(default)]
    pub missing_share: f64,
    /// Columns left out, with the reason.
    pub left_out: Vec<(String, String)>,
    /// The threshold sort.
    pub threshold_sort: ThresholdSorts,
    /// The decision tree.
    pub tree: Tree,
    /// Where a number is predicted: what it takes at several tolerances.
    #[serde(default)]
    pub tolerance_curve: Vec<TolerancePoint>,
    /// What is found where there is time for it; its keys stand beside the others.
    #[serde(flatten, skip_deserializing)]
    pub study: Option<Study>,
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Measured::serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Measured, D::Error> {
        // What serde makes of an optional flattened structure takes 50 KB of the program, and any mistake in it
        // for its absence.
        let keys = serde_json::Value::deserialize(from)?;
        let mut measured = Measured::deserialize(&keys).map_err(D::Error::custom)?;
        if keys.get("methods").is_some() {
            measured.study = Some(Study::deserialize(&keys).map_err(D::Error::custom)?);
        }
        Ok(measured)
    }
}

impl Measured {
    /// The measurement of a number without a tolerance, of which only the curve is known.
    pub(crate) fn of_a_number(rows: usize, columns: usize) -> Measured {
        let none = ThresholdSort {
            changes: 0,
            correct: 0,
            null: 0.0,
            permuted: Interval::default(),
        };
        Measured {
            rows,
            columns,
            classes: 0,
            class_counts: Vec::new(),
            entropy_bits: 0.0,
            label_bits: 0.0,
            best_guess: 0.0,
            irreducible_error: 0.0,
            distinct_rows: 0,
            duplicate_rows: 0,
            missing_cells: 0,
            missing_share: 0.0,
            left_out: Vec::new(),
            threshold_sort: ThresholdSorts {
                typed: none,
                with_identifiers: None,
                compat: None,
            },
            tree: Tree::default(),
            tolerance_curve: Vec::new(),
            study: None,
        }
    }
}

/// What a number takes when it is put into cells of twice the tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TolerancePoint {
    /// Half the width of a cell, in units of the target.
    pub tolerance: f64,
    /// Cells with a row.
    pub cells: usize,
    /// Bits a row that name the cell.
    pub entropy_bits: f64,
    /// Changes of cell along the sorted sum of the columns.
    pub changes: usize,
    /// Changes expected of a random order.
    pub null: f64,
    /// Splits of a tree that answers every row with its cell.
    pub memorise: usize,
    /// The same with shuffled cells, on average.
    pub tree_null: f64,
    /// Rows that sort and tree used.
    pub rows: usize,
}

/// What is exact for all rows of a table, however many there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllRows {
    /// Rows that have a target.
    pub rows: u64,
    /// Rows left out because they have none.
    pub rows_without_target: u64,
    /// Feature columns that were added up.
    pub columns: usize,
    /// Number of classes.
    pub classes: usize,
    /// Rows of each class, by name.
    pub class_counts: Vec<(String, usize)>,
    /// Entropy of the labels, bits a row.
    pub entropy_bits: f64,
    /// Accuracy of always answering the largest class.
    pub best_guess: f64,
    /// Missing cells among the columns.
    pub missing_cells: u64,
    /// Groups of equal sums.
    pub groups: u64,
    /// The threshold sort.
    pub threshold_sort: ThresholdSorts,
}

/// The threshold sort in its modes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdSorts {
    /// Typed columns.
    pub typed: ThresholdSort,
    /// Typed columns with those put back that look like identifiers; absent when there are none.
    #[serde(default)]
    pub with_identifiers: Option<ThresholdSort>,
    /// The texts of all columns, as published figures have it; absent without a delimited file.
    #[serde(default)]
    pub compat: Option<ThresholdSort>,
}

/// Label changes along the sorted sum of the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdSort {
    /// Label changes: decisions that a table of thresholds needs.
    pub changes: usize,
    /// Rows such a table answers rightly.
    pub correct: usize,
    /// Expected changes of a random order.
    pub null: f64,
    /// Changes over permuted labels: mean and a 90 % interval.
    pub permuted: Interval,
}

/// A mean with the interval that holds 90 % of the draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// 5 % of the draws are below.
    pub low: f64,
    /// 5 % of the draws are above.
    pub high: f64,
}

/// Decisions that a decision tree needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Splits to answer every row: rule and noise.
    pub memorise: usize,
    /// Leaves of that tree.
    pub leaves: usize,
    /// Rows it answers rightly: all but those that contradict equal ones.
    #[serde(default)]
    pub correct: usize,
    /// Splits that pay on rows not seen: the rule.
    pub needed: usize,
    /// Splits to answer every row with permuted labels, on average.
    #[serde(default)]
    pub null: f64,
    /// Rows on which labels were permuted; fewer than all when there are many.
    #[serde(default)]
    pub null_rows: usize,
    /// Splits to answer every row with identifiers put back; absent when there are none.
    #[serde(default)]
    pub memorise_with_identifiers: Option<usize>,
    /// Splits to answer every row with permuted labels.
    pub permuted: Interval,
}

/// The starting network and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sized {
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Capacity of that network by the published rules, bits.
    pub capacity_bits: f64,
    /// Bits that the data need, from the pruned tree.
    pub needed_low_bits: f64,
    /// Bits that the data need, from the tree that answers every row.
    pub needed_high_bits: f64,
    /// Why, in plain words.
    pub explanation: String,
}

/// A point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: usize,
    /// Learning rate at its last step.
    pub learning_rate: f64,
    /// Mean loss of its steps, nats (or squared error).
    pub train_loss: f64,
    /// Loss on validation.
    pub validation_loss: f64,
    /// Accuracy on validation (R² for numbers).
    pub validation_accuracy: f64,
}

/// One pruning round; round 0 is the dense network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Number of the round.
    pub round: usize,
    /// Weights that remain, of those that can be pruned.
    pub remaining: usize,
    /// Weights that can be pruned.
    pub total: usize,
    /// Accuracy on validation.
    pub validation_accuracy: f64,
    /// Loss on validation.
    pub validation_loss: f64,
    /// Accuracy on test: reported, never chosen by.
    pub test_accuracy: f64,
    /// Bytes of this round as a packed file with plain codebooks, an estimate before their tuning.
    pub bytes: u64,
    /// Seconds its training took.
    pub seconds: f64,
    /// Its learning curve.
    pub epochs: Vec<Epoch>,
}

/// A stage of the road and where it left the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `train`, `prune`, `quantize`, `pack`.
    pub name: String,
    /// Accuracy on test.
    pub accuracy: f64,
    /// Accuracy on validation, by which choices are made.
    pub validation_accuracy: f64,
    /// Weights and biases that are not 0.
    pub nonzero: usize,
    /// Bytes: of the file, or before packing of the plain values.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// An accuracy and the number of rows behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of right answers (R² for numbers).
    pub accuracy: f64,
    /// Standard error of that share.
    pub standard_error: f64,
    /// Rows.
    pub n: usize,
    /// `[true class][answer]` counts.
    pub confusion: Vec<Vec<u64>>,
}

/// A part of a file and its size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub part: String,
    /// Bytes.
    pub bytes: u64,
}

/// A layer as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Shape of its output for one sample; absent when it is known only when the network runs.
    pub shape: Option<Vec<usize>>,
    /// Stored weights and biases.
    pub parameters: usize,
    /// Those that are not 0.
    pub nonzero: usize,
    /// Multiply-adds for one sample; absent as the shape is.
    pub macs: Option<u64>,
    /// Bits per index where weights have a codebook, else 32.
    pub bits: u8,
}

/// The multiply-adds of `layers`, `macs` together, in words: `at least` so many where those of some follow
/// only from what they are fed.
pub(crate) fn macs_in_words(layers: &[Layer], macs: u64, count: impl Fn(u64) -> String) -> String {
    match layers.iter().all(|l| l.macs.is_some()) {
        true => count(macs),
        false => format!("at least {}", count(macs)),
    }
}

/// Counts of weight values in equal bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Name of the weight.
    pub name: String,
    /// Left edge of the first bin.
    pub low: f64,
    /// Right edge of the last bin.
    pub high: f64,
    /// Counts per bin before compression.
    pub before: Vec<u64>,
    /// Counts per bin after; zeros left out.
    pub after: Vec<u64>,
}

/// The packed file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes of the same network in Deep Compression's own format.
    pub deep_compression_bytes: u64,
    /// Bytes of the dense starting network as 32-bit floats.
    pub dense_bytes: u64,
    /// Its parts, which sum to its size.
    pub ledger: Vec<Part>,
    /// Largest absolute difference of outputs between the tuned network and the decoded file, over
    /// the test rows.
    pub parity: f64,
    /// Rows whose answer differs.
    pub changed_answers: usize,
}

/// What the operands of products were rounded to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounding {
    /// `f32`, `bf16` or `f16`.
    pub operands: String,
    /// Whether the processor multiplies such numbers; otherwise `f32` numbers were rounded first, which
    /// takes longer.
    pub native: bool,
}

impl From<bantam_train::Precision> for Rounding {
    fn from(p: bantam_train::Precision) -> Self {
        Rounding {
            operands: p.name().to_owned(),
            native: p.is_native(),
        }
    }
}

impl Default for Rounding {
    fn default() -> Self {
        bantam_train::Precision::F32.into()
    }
}

/// Everything about a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Version of the program.
    pub version: String,
    /// Command that was given.
    pub command: String,
    /// Name of the recipe.
    pub name: String,
    /// Name of the target.
    pub target_name: String,
    /// Names of the classes; empty when a number is predicted.
    pub classes: Vec<String>,
    /// Rows for training, validation and test.
    pub rows: [usize; 3],
    /// What was measured before training; absent for images given with a network.
    pub measured: Option<Measured>,
    /// The starting network.
    pub sized: Option<Sized>,
    /// What the run was estimated to take, and what it took.
    #[serde(default)]
    pub budget: Option<crate::budget::Estimate>,
    /// Pruning rounds.
    pub rounds: Vec<Round>,
    /// The round that was chosen.
    pub chosen_round: usize,
    /// Learning curve of the codebook tuning.
    pub tuning: Vec<Epoch>,
    /// Where each stage left the network.
    pub stages: Vec<Stage>,
    /// The dense network on test.
    pub baseline: Score,
    /// The packed file on test.
    pub test: Score,
    /// The packed file.
    pub file: Packed,
    /// Layers of the packed file.
    pub layers: Vec<Layer>,
    /// Weights before and after.
    pub histograms: Vec<Histogram>,
    /// What the operands of products were rounded to in training.
    #[serde(default)]
    pub precision: Rounding,
    /// Largest memory of a training step: buffers and weights, bytes.
    pub training_memory_bytes: u64,
    /// Where the page is.
    pub report: String,
    /// The recipe, as TOML.
    pub recipe: String,
}
