//! What a full measurement found, beside the capacities that size a first network.

use serde::{Deserialize, Serialize};

use super::Interval;

/// Two ends of a 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// The lower.
    pub low: f64,
    /// The upper.
    pub high: f64,
}

/// Everything that is found before training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// The least normalised capacity; absent when there is nothing to tell apart.
    pub headline: Option<Headline>,
    /// Every method with null and interval.
    pub methods: Vec<Method>,
    /// Candidates of the cross-fitted projection sort.
    pub projections: Vec<Projection>,
    /// Nearest neighbours on rows not seen.
    pub nearest_neighbour: Option<NearestNeighbour>,
    /// Bits a row that the prequential code saves over the entropy of the labels.
    pub usable_bits_per_row: f64,
    /// Capacity against rows.
    pub progression: Vec<ProgressionPoint>,
    /// Slope of log capacity over log rows.
    pub progression_slope: Option<f64>,
    /// Its interval over the subsets.
    pub progression_slope_interval: Option<Band>,
    /// In a few words.
    pub verdict: String,
    /// In a sentence or two.
    pub reading: String,
    /// Rows until more of them bring little.
    pub rows_needed: Option<RowsNeeded>,
    /// Accuracy of cross-fitted models.
    pub expected_accuracy: Option<ExpectedAccuracy>,
    /// Columns, those that say most first.
    pub ranking: Vec<RankedColumn>,
    /// Rows that the ranking used.
    pub ranking_rows: usize,
    /// Intrinsic dimension by two nearest neighbours.
    pub intrinsic_dimension: IntrinsicDimension,
    /// Measures of difficulty.
    pub difficulty: Vec<DifficultyMeasure>,
    /// Rows that these used.
    pub difficulty_rows: usize,
    /// Generalisation of the tree that answers every row.
    pub generalization: Generalization,
}

/// The least normalised capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// 1 is what labels without a rule give, 0 a rule that costs nothing.
    pub rho: f64,
    /// Interval of it; absent with too few rows.
    pub interval: Option<Band>,
    /// The method that was least.
    pub method: String,
    /// The least over all methods for permuted labels.
    pub null: Interval,
    /// Permutations.
    pub draws: usize,
    /// Share of the draws, this one counted, that are as low.
    pub p: f64,
    /// Whether that is evidence of structure.
    pub structure: bool,
}

/// A capacity by one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Its name.
    pub method: String,
    /// `published`, `compat` or `ours`.
    pub origin: String,
    /// What is counted.
    pub unit: String,
    /// Rows it was made on.
    pub rows: usize,
    /// The count.
    pub value: f64,
    /// Interval of the count.
    pub interval: Option<Band>,
    /// The count with permuted labels.
    pub null: Interval,
    /// Permutations.
    pub draws: usize,
    /// `value / null.mean`.
    pub ratio: Option<f64>,
    /// Interval of the ratio.
    pub ratio_interval: Option<Band>,
}

/// A projection that rows were sorted along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    /// What it is.
    pub name: String,
    /// Label changes inside the folds.
    pub changes: usize,
    /// Rows that have the label of their group.
    pub correct: usize,
    /// Changes, bits of the exceptions and price of the direction.
    pub cost: f64,
}

/// Nearest neighbours on rows not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearestNeighbour {
    /// Rows used.
    pub rows: usize,
    /// Error of the nearest other row.
    pub error: f64,
    /// Bounds on the least error of any rule, for many rows.
    pub bayes_error: Band,
}

/// Capacity of a part of the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressionPoint {
    /// Share of the rows.
    pub fraction: f64,
    /// Rows, on average.
    pub rows: f64,
    /// Splits of the tree that answers them.
    pub bits: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The same for permuted labels.
    pub null: f64,
    /// 5 % of the draws are below.
    pub null_low: f64,
    /// 5 % of the draws are above.
    pub null_high: f64,
    /// `bits / null`.
    pub ratio: Option<f64>,
    /// Bits a row that a forest fitted on the part leaves open on the others.
    pub loss_bits: Option<f64>,
}

/// Rows until 90 % of what more rows could bring is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsNeeded {
    /// Whether the band says anything: not when both rows that are there and more than `furthest` fit.
    pub told: bool,
    /// Rows in all; absent beyond `furthest`, and where nothing can be told.
    pub rows: Option<f64>,
    /// Rows beyond those that are there; absent as `rows`.
    pub more: Option<f64>,
    /// Lower end of the band.
    pub low: f64,
    /// Upper end; `furthest` stands for beyond.
    pub high: f64,
    /// How far the curve is extended.
    pub furthest: f64,
    /// Bits a row that stay open with any number of rows.
    pub floor_bits: f64,
    /// Lower end of its band.
    pub floor_low: f64,
    /// Upper end.
    pub floor_high: f64,
}

/// Accuracy of cross-fitted models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectedAccuracy {
    /// Accuracy of the best model.
    pub point: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The best model.
    pub model: String,
    /// Rows answered, each once, by a model that had not seen it.
    pub rows: usize,
    /// Folds.
    pub folds: usize,
    /// All models.
    pub models: Vec<ModelAccuracy>,
}

/// A model and its accuracy on rows not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelAccuracy {
    /// Its name.
    pub model: String,
    /// Share of right answers.
    pub accuracy: f64,
    /// Bits a row left open; absent without probabilities.
    pub loss_bits: Option<f64>,
}

/// A column and what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedColumn {
    /// Its name.
    pub column: String,
    /// Place in the order in which columns were taken; absent for those not taken.
    pub rank: Option<usize>,
    /// Bits a row it saved beside those before it.
    pub saved_bits: Option<f64>,
    /// What it saved with its cells shuffled.
    pub shuffled_bits: Option<f64>,
    /// Standard deviation of that.
    pub shuffled_deviation: Option<f64>,
    /// Accuracy with it and those before it.
    pub accuracy: Option<f64>,
    /// Bits a row it tells alone.
    pub alone_bits: f64,
}

/// Intrinsic dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntrinsicDimension {
    /// By the two nearest neighbours.
    pub two_nn: Option<f64>,
    /// Its interval.
    pub two_nn_interval: Option<Band>,
    /// By maximum likelihood over 10 neighbours.
    pub mle: Option<f64>,
    /// Its interval.
    pub mle_interval: Option<Band>,
    /// Distinct rows.
    pub rows: usize,
}

/// A measure of difficulty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifficultyMeasure {
    /// Its name in the field.
    pub name: String,
    /// From 0 for easy to 1 for hard.
    pub value: f64,
    /// Its interval.
    pub interval: Option<Band>,
    /// What it measures.
    pub meaning: String,
}

/// Bits of label a bit of capacity, for the tree that answers every row it can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generalization {
    /// Label bits a decision; about 2 is what labels without a rule give.
    pub bits_per_bit: Option<f64>,
    /// The same for permuted labels.
    pub null: Option<f64>,
    /// Share of the data memorised by the changes of the `compat` sort (of the typed one without a
    /// delimited file).
    pub memorised: Option<f64>,
    /// `-log10(correct / changes)` of the same sort.
    pub resilience: Option<f64>,
}
