//! Similarity ordering of hidden units: the function stays, and alike rows stand next to each other,
//! where an adaptive coder's contexts profit. Own; a greedy chain of nearest neighbours.

use bantam_core::{Data, Graph, Weight};

use crate::Result;
use crate::coupling::{Group, gather, groups};

/// The graph with the units of every understood hidden layer reordered (see
/// [`coupling`](crate::coupling)); masks and codebooks stay what they are.
///
/// The chain starts at the unit with the most non-zero incoming weights. The next is always the one,
/// of those left, whose incoming weights are most like the last one's: positions where the signs
/// agree, less those where they are opposite, over the square root of its number of non-zeros.
/// Ties go to the earlier unit. Outputs change by the order of summation alone.
/// O(units² · inputs / 64) per layer.
pub fn order_units(graph: &Graph) -> Result<Graph> {
    let mut graph = graph.clone();
    // A permutation moves columns of the next layer alike in all its rows: likenesses stay as they
    // are, and so do the groups.
    for group in groups(&graph)? {
        let first = &graph.parameters()[group.members[0].parameter].weight;
        let order = chain(&Signs::new(first, group.n_units));
        if !order.is_sorted() {
            graph = permuted(&graph, &group, &order)?;
        }
    }
    Ok(graph)
}

fn permuted(graph: &Graph, group: &Group, order: &[usize]) -> Result<Graph> {
    let mut idx = 0..;
    Ok(graph.map_weights(|_, p| {
        let idx = idx.next().expect("there is always a next number");
        let members = group.members.iter().filter(|m| m.parameter == idx);
        let mut weight: Option<Weight> = None;
        for m in members {
            let from = weight.as_ref().unwrap_or(&p.weight);
            weight = Some(gather(from, m.axis, m.block, order)?);
        }
        Ok(weight)
    })?)
}

/// Signs of the rows of a weight, a bit per element.
struct Signs {
    n_words: usize,
    positive: Vec<u64>,
    negative: Vec<u64>,
}

impl Signs {
    fn new(weight: &Weight, n_rows: usize) -> Signs {
        let columns = weight.len().checked_div(n_rows).unwrap_or(0);
        let n_words = columns.div_ceil(64);
        let mut signs = Signs {
            n_words,
            positive: vec![0; n_rows * n_words],
            negative: vec![0; n_rows * n_words],
        };
        let tensor = weight.tensor();
        let mut set = |i: usize, positive: bool, negative: bool| {
            let (row, column) = (i / columns, i % columns);
            let (word, bit) = (row * n_words + column / 64, column % 64);
            signs.positive[word] |= u64::from(positive) << bit;
            signs.negative[word] |= u64::from(negative) << bit;
        };
        match tensor.data() {
            Data::F32(v) => v
                .iter()
                .enumerate()
                .for_each(|(i, &x)| set(i, x > 0.0, x < 0.0)),
            Data::F64(v) => v
                .iter()
                .enumerate()
                .for_each(|(i, &x)| set(i, x > 0.0, x < 0.0)),
            _ => unreachable!("weights with structure are f32 or f64"),
        }
        signs
    }

    fn n_rows(&self) -> usize {
        self.positive.len().checked_div(self.n_words).unwrap_or(0)
    }

    fn row(&self, row: usize) -> impl Iterator<Item = (u64, u64)> + '_ {
        let words = row * self.n_words..(row + 1) * self.n_words;
        let positive = self.positive[words.clone()].iter().copied();
        positive.zip(self.negative[words].iter().copied())
    }

    /// Number of non-zero elements of a row.
    fn n_nonzero(&self, row: usize) -> u32 {
        self.row(row).map(|(p, n)| (p | n).count_ones()).sum()
    }

    /// Positions where the signs of two rows agree, less those where they are opposite.
    fn likeness(&self, a: usize, b: usize) -> i64 {
        let both = self.row(a).zip(self.row(b));
        let count = |((p, n), (q, m)): ((u64, u64), (u64, u64))| {
            let (agree, opposite) = ((p & q) | (n & m), (p & m) | (n & q));
            i64::from(agree.count_ones()) - i64::from(opposite.count_ones())
        };
        both.map(count).sum()
    }
}

/// The rows in the order of the chain.
fn chain(signs: &Signs) -> Vec<usize> {
    let sizes: Vec<u32> = (0..signs.n_rows()).map(|r| signs.n_nonzero(r)).collect();
    let scale: Vec<f64> = sizes
        .iter()
        .map(|&n| 1.0 / f64::from(n.max(1)).sqrt())
        .collect();
    let mut left: Vec<usize> = (0..sizes.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    let densest = |&r: &usize| (std::cmp::Reverse(sizes[r]), r);
    let mut next = left.iter().copied().min_by_key(densest);
    while let Some(last) = next {
        order.push(last);
        left.retain(|&r| r != last);
        let mut best = (f64::NEG_INFINITY, None);
        for &r in &left {
            let likeness = signs.likeness(last, r) as f64 * scale[r];
            if likeness > best.0 {
                best = (likeness, Some(r));
            }
        }
        next = best.1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, assert_same_outputs, lenet, mlp, random, values};
    use crate::{CodebookOptions, Magnitude, prune, quantize};
    use bantam_core::Tensor;
    use proptest::prelude::*;

    fn signs(rows: &[&[f32]]) -> Signs {
        let t = Tensor::new(&[rows.len(), rows[0].len()], rows.concat()).unwrap();
        Signs::new(&Weight::Dense(t), rows.len())
    }

    #[test]
    fn alike_rows_meet() {
        for (name, rows, expected) in [
            (
                "two kinds, alternating",
                vec![
                    &[1.0, 1.0, 0.0, 0.0][..],
                    &[0.0, 0.0, 1.0, 1.0],
                    &[2.0, 3.0, 0.0, 0.0],
                    &[0.0, 0.0, 4.0, 1.0],
                ],
                vec![0, 2, 1, 3],
            ),
            (
                "signs",
                vec![&[1.0, 1.0, 1.0][..], &[-1.0, -1.0, -1.0], &[1.0, 1.0, 1.0]],
                vec![0, 2, 1],
            ),
            (
                "densest first, empty last",
                vec![&[0.0, 0.0][..], &[1.0, 0.0], &[1.0, 2.0]],
                vec![2, 1, 0],
            ),
            ("ties", vec![&[1.0][..], &[1.0], &[1.0]], vec![0, 1, 2]),
            ("nothing", vec![&[0.0][..], &[0.0]], vec![0, 1]),
        ] {
            assert_eq!(chain(&signs(&rows)), expected, "{name}");
        }
    }

    #[test]
    fn the_whole_unit_moves() {
        let weights = |l: usize| match l {
            0 => vec![0.0, 1.0, 2.0, 3.0],
            _ => vec![10.0, 20.0],
        };
        let g = mlp(&[2, 2, 1], weights, |l| vec![0.5, 0.25][..2 - l].to_vec());
        let ordered = order_units(&g).unwrap();
        assert_eq!(values(&ordered, "fc0.weight"), [2.0, 3.0, 0.0, 1.0]);
        assert_eq!(values(&ordered, "fc0.bias"), [0.25, 0.5]);
        assert_eq!(values(&ordered, "fc1.weight"), [20.0, 10.0]);
        assert_same_outputs(&g, &ordered, "order");
    }

    #[test]
    fn lenet_in_every_form() {
        let g = lenet(&mut Noise(3));
        let pruned = prune(
            &g,
            &Magnitude {
                fraction: 0.9,
                ..Magnitude::default()
            },
        )
        .unwrap();
        let quantized = quantize(&pruned, &CodebookOptions::default()).unwrap();
        for (name, g) in [("dense", g), ("masked", pruned), ("codebook", quantized)] {
            let ordered = order_units(&g).unwrap();
            assert_same_outputs(&g, &ordered, name);
            for (p, q) in g.parameters().iter().zip(ordered.parameters()) {
                let what = (p.weight.form(), p.weight.nonzero());
                assert_eq!(what, (q.weight.form(), q.weight.nonzero()), "{name}");
            }
            assert_ne!(g, ordered, "{name}");
        }
    }

    /// The slow twin: element by element.
    fn reference_likeness(a: &[f32], b: &[f32]) -> i64 {
        let both = a.iter().zip(b).filter(|(a, b)| **a != 0.0 && **b != 0.0);
        both.map(|(a, b)| if a.signum() == b.signum() { 1 } else { -1 })
            .sum()
    }

    proptest! {
        #[test]
        fn likeness_agrees_with_its_twin(
            rows in prop::collection::vec((-1i8..=1, -1i8..=1), 1..200),
        ) {
            let a: Vec<f32> = rows.iter().map(|r| f32::from(r.0)).collect();
            let b: Vec<f32> = rows.iter().map(|r| f32::from(r.1)).collect();
            prop_assert_eq!(signs(&[&a, &b]).likeness(0, 1), reference_likeness(&a, &b));
        }

        #[test]
        fn outputs_stay(seed in any::<u64>()) {
            let g = random(seed);
            let ordered = order_units(&g).unwrap();
            assert_same_outputs(&g, &ordered, "random");
            let shape = |g: &Graph| g.to_string();
            prop_assert_eq!(shape(&g), shape(&ordered));
        }
    }
}
