//! From a measurement to the first network to train.
//!
//! This is a starting point and not a law. A tree's decision points are an upper bound on what the data
//! need, found in one way among many; a network may need fewer bits or, where gradient training does
//! not find the weights that would do, more. So the first network is made large on purpose and
//! pruning decides how much of it stays.

use crate::Measurement;
use crate::network::dense_capacity;

/// Fewest hidden units: with fewer, training often fails where the weights that would do exist.
const LEAST_UNITS: usize = 8;
/// Most hidden units of a starting network.
const MOST_UNITS: usize = 512;
/// Capacity over the bits that are to be held. Own, a rule of thumb: training by gradients uses a
/// fraction of the worst-case capacity.
const SPARE: f64 = 2.0;

/// A starting network of dense layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizing {
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// What the network can hold, by the rule for dense layers.
    pub capacity_bits: u64,
    /// Bits that the data need: the part that cross-validation supports, and all of it.
    pub needed_bits: (f64, f64),
    /// Why this size, in words.
    pub explanation: String,
}

/// Bits of `splits` decision points that part `classes` classes: `T + (T + 1) log2(k - 1)`, because with
/// more than two classes each leaf also says which. Extrapolated beyond two classes.
pub fn decision_bits(splits: f64, classes: usize) -> f64 {
    let choice = (classes.max(2) - 1) as f64;
    if splits == 0.0 {
        return 0.0;
    }
    splits + (splits + 1.0) * choice.log2()
}

/// A starting network for data that were measured.
///
/// `n_features` is the number of inputs after encoding, `n_train_rows` the rows it will be trained on;
/// when these are more than were measured, the upper end grows in proportion, which is the most it
/// can grow by. One hidden layer has `h` units such that the capacity is twice the upper end,
/// `h (n_features + 1) + h` bits, and at least `max(8, 1.5 sqrt(n_features outputs))` so that training
/// works (own, a rule of thumb), in multiples of 8, at most 512.
pub fn starting_network(
    measurement: &Measurement,
    n_features: usize,
    n_classes: usize,
    n_train_rows: usize,
) -> Sizing {
    let tree = &measurement.tree;
    let growth = (n_train_rows as f64 / tree.rows.max(1) as f64).max(1.0);
    let low = decision_bits(tree.needed.splits as f64, n_classes);
    let high = decision_bits(tree.memorise as f64 * growth, n_classes).max(low);
    let outputs = if n_classes <= 2 { 1 } else { n_classes };
    // The output layer is capped by the hidden units, one bit each.
    let bits_per_unit = (n_features + 2) as f64;
    let to_hold = (SPARE * high / bits_per_unit).ceil();
    let to_train = (1.5 * (n_features as f64 * outputs as f64).sqrt()).ceil();
    let floor = to_train.max(LEAST_UNITS as f64);
    let wanted = (to_hold.max(floor) as usize).next_multiple_of(8);
    let units = wanted.min(MOST_UNITS);
    let capacity_bits = dense_capacity(&[n_features, units, outputs]);
    let (low_text, high_text) = (low.ceil(), high.ceil());
    let mut explanation = format!(
        "by decision tree, {} rows take {low_text} bits (the part that cross-validation supports) to \
         {high_text} bits (all labels memorised); one hidden layer of {units} units can hold {capacity_bits}",
        n_train_rows
    );
    explanation += match (wanted > MOST_UNITS, to_hold >= floor) {
        (true, _) => ", the most a starting network gets, which is less than wanted",
        (false, true) => ", with room to spare because training does not reach the worst case",
        (false, false) => ", more than needed, because smaller ones are hard to train",
    };
    if growth > 1.0 {
        explanation += &format!(
            "; the upper figure is extrapolated from {} rows and is the most it can be",
            tree.rows
        );
    }
    explanation += ". This is a starting point, not a law: pruning decides what stays.";
    Sizing {
        hidden: vec![units],
        capacity_bits,
        needed_bits: (low, high),
        explanation,
    }
}
