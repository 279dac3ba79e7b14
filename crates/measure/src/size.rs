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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, measure_rows};

    /// A measurement with the given figures of the tree.
    fn measured(needed: usize, memorise: usize, rows: usize) -> Measurement {
        let cells: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let labels: Vec<u32> = (0..20).map(|i| u32::from(i > 9)).collect();
        let mut found = measure_rows(&cells, 1, &labels, &Options::default()).unwrap();
        found.tree.needed.splits = needed;
        found.tree.memorise = memorise;
        found.tree.rows = rows;
        found
    }

    /// Figures of the trees as measured on these data, and the networks that follow.
    #[test]
    fn starting_networks() {
        let cases = [
            ("iris", (2, 8, 150), (4, 3, 150), 8),
            ("titanic", (7, 162, 891), (10, 2, 891), 32),
            ("digits", (60, 147, 1797), (64, 10, 1797), 40),
            ("adult", (34, 4486, 32_561), (108, 2, 32_561), 88),
            ("mnist", (111, 551, 5102), (784, 10, 60_000), 136),
            ("nothing", (0, 0, 100), (1, 1, 100), 8),
            ("too much", (5, 90_000, 100_000), (3, 2, 1_000_000), 512),
        ];
        for (name, (needed, memorise, measured_rows), (d, k, n), units) in cases {
            let found = starting_network(&measured(needed, memorise, measured_rows), d, k, n);
            assert_eq!(found.hidden, [units], "{name}");
            let (low, high) = found.needed_bits;
            assert!(low <= high, "{name}");
            assert!(
                units == MOST_UNITS || found.capacity_bits as f64 >= high,
                "{name}"
            );
            let text = &found.explanation;
            assert!(
                text.contains("a starting point, not a law"),
                "{name}: {text}"
            );
            assert_eq!(
                text.contains("extrapolated"),
                n > measured_rows,
                "{name}: {text}"
            );
            assert_eq!(
                text.contains("less than wanted"),
                units == MOST_UNITS,
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn bits_of_decisions() {
        for (splits, classes, bits) in [(0.0, 10, 0.0), (7.0, 2, 7.0), (7.0, 1, 7.0), (3.0, 3, 7.0)]
        {
            assert_eq!(decision_bits(splits, classes), bits);
        }
    }
}
