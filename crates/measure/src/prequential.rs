//! Prequential description length: the bits of the labels when each block of rows is coded with a
//! model of all blocks before it.
//!
//! It is an upper bound on what rule and noise take together, with the model named (Dawid, "Statistical
//! theory: the prequential approach", 1984; Blier and Ollivier, "The description length of deep learning
//! models", 2018). What it saves over the entropy of the labels is what this model can use of the
//! columns.

use crate::forest::{Binned, Forest, bits};
use crate::method::Prepared;
use crate::problem::Problem;
use crate::random::Stream;

/// Rows of the first block, which is coded with equal probabilities.
const FIRST_BLOCK: usize = 25;
/// Trees of each model.
const TREES: usize = 32;

/// What does not depend on labels.
pub(crate) struct Prequential {
    binned: Binned,
    rows: usize,
}

impl Prequential {
    pub(crate) fn new(problem: &Problem) -> Prequential {
        Prequential {
            binned: Binned::new(problem),
            rows: problem.rows(),
        }
    }

    /// Bits in the order number `order`; blocks double.
    pub(crate) fn bits(&self, labels: &[u32], order: u64) -> f64 {
        let classes = self.binned.classes;
        let mut rows: Vec<u32> = (0..self.rows as u32).collect();
        Stream::new(order, 0).shuffle(&mut rows);
        let mut done = FIRST_BLOCK.min(rows.len());
        let mut sum = done as f64 * (classes as f64).log2();
        while done < rows.len() {
            let next = (2 * done).min(rows.len());
            let forest = Forest::fit(&self.binned, &rows[..done], labels, TREES, order);
            let block = &rows[done..next];
            sum += bits(&forest.predict(&self.binned, block), block, labels, classes);
            done = next;
        }
        sum
    }
}

impl Prepared for Prequential {
    fn count(&self, labels: &[u32], draw: u64) -> f64 {
        self.bits(labels, draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::entropy_bits;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    #[test]
    fn codes_rules_short_and_coins_at_their_entropy() {
        let p = rule(1, 800, 4, 0);
        let code = Prequential::new(&p);
        let found = on_threads(|| code.bits(&p.labels, 5).to_bits());
        let found = f64::from_bits(found);
        assert!(found > 25.0 && found < 0.45 * 800.0, "{found}");
        let coin = numbers(vec![uniform(1, 800), uniform(2, 800)], &coins(3, 800));
        let found = Prequential::new(&coin).bits(&coin.labels, 5);
        let entropy = 800.0 * entropy_bits(&coin.class_counts());
        assert!(
            found > 0.99 * entropy && found < 1.25 * entropy,
            "{found} {entropy}"
        );
        // A table smaller than the first block costs a bit a row.
        let tiny = numbers(vec![uniform(1, 10)], &[0, 1, 0, 1, 0, 1, 1, 0, 0, 1]);
        assert_eq!(Prequential::new(&tiny).bits(&tiny.labels, 0), 10.0);
    }
}
