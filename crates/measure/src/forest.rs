//! A small random forest: the model behind description lengths, accuracies and rankings.
//!
//! Columns are put into at most 63 bins; each tree sees rows drawn with replacement and tries the
//! square root of the number of columns at each split (Breiman, "Random forests", 2001). It is there to
//! say what can be predicted from the columns, not to be kept.

use rayon::prelude::*;

use crate::codes::Coded;
use crate::parallel::{map, map_of};
use crate::problem::Problem;
use crate::random::{Stream, hash};

/// Bins of a number; one more code is for missing cells.
const BINS: u32 = 63;
/// Fewest rows of a leaf.
const LEAST_LEAF: u32 = 3;
/// Deepest leaf.
const DEEPEST: u32 = 60;

/// Columns as a forest sees them.
pub(crate) struct Binned {
    columns: Vec<Bins>,
    pub(crate) classes: usize,
}

struct Bins {
    codes: Vec<u8>,
    /// Codes, that of missing cells included.
    n_codes: usize,
    ordered: bool,
}

/// A rule or a leaf.
#[derive(Clone, Copy)]
struct Node {
    column: u32,
    /// Codes up to this, or this code alone, go left.
    code: u8,
    alone: bool,
    /// Left child, the right one is next to it; for a leaf, where its shares begin.
    next: u32,
    leaf: bool,
}

struct Tree {
    nodes: Vec<Node>,
    shares: Vec<f32>,
}

/// Trees.
pub(crate) struct Forest {
    trees: Vec<Tree>,
    classes: usize,
}

impl Binned {
    pub(crate) fn new(problem: &Problem) -> Binned {
        let bins = |c: &bantam_data::Column| {
            let coded = Coded::of(&c.values).coarse(BINS);
            // Categories are at most 64, so with missing cells 65 codes.
            let codes = coded.codes.iter().map(|&c| c.min(255) as u8).collect();
            Bins {
                codes,
                n_codes: coded.n_values as usize + 1,
                ordered: coded.ordered,
            }
        };
        Binned {
            columns: map_of(&problem.columns, bins),
            classes: problem.classes.len(),
        }
    }

    /// The same columns with the cells of one moved about.
    pub(crate) fn with_shuffled(&self, columns: &[usize], shuffled: usize, seed: u64) -> Binned {
        let bins = |&c: &usize| {
            let from = &self.columns[c];
            let mut codes = from.codes.clone();
            if c == shuffled {
                Stream::new(seed, 0).shuffle(&mut codes);
            }
            Bins {
                codes,
                n_codes: from.n_codes,
                ordered: from.ordered,
            }
        };
        Binned {
            columns: columns.iter().map(bins).collect(),
            classes: self.classes,
        }
    }
}

impl Forest {
    /// `trees` trees on `rows`; the labels are of all rows.
    pub(crate) fn fit(
        binned: &Binned,
        rows: &[u32],
        labels: &[u32],
        trees: usize,
        seed: u64,
    ) -> Forest {
        let tree = |t: usize| {
            let seed = hash(seed, t as u64);
            Grower::new(binned, labels, seed).grow(rows)
        };
        Forest {
            trees: map(trees, tree),
            classes: binned.classes,
        }
    }

    /// Probability of each class for each of `rows`: `[rows, classes]`. None is below 1 % with two
    /// classes, because a forest is never as sure as it looks.
    pub(crate) fn predict(&self, binned: &Binned, rows: &[u32]) -> Vec<f32> {
        let k = self.classes;
        let floor = 0.02 / k as f32;
        let mut out = vec![0f32; rows.len() * k];
        out.par_chunks_mut(k * 256)
            .zip(rows.par_chunks(256))
            .for_each(|(out, rows)| {
                for (out, &row) in out.chunks_mut(k).zip(rows) {
                    for tree in &self.trees {
                        let shares = tree.shares(binned, row as usize, k);
                        out.iter_mut().zip(shares).for_each(|(o, s)| *o += s);
                    }
                    let n = self.trees.len() as f32;
                    out.iter_mut()
                        .for_each(|o| *o = *o / n * (1.0 - k as f32 * floor) + floor);
                }
            });
        out
    }
}

impl Tree {
    fn shares(&self, binned: &Binned, row: usize, k: usize) -> &[f32] {
        let mut at = 0;
        loop {
            let node = self.nodes[at];
            if node.leaf {
                return &self.shares[node.next as usize..node.next as usize + k];
            }
            let code = binned.columns[node.column as usize].codes[row];
            let left = if node.alone {
                code == node.code
            } else {
                code <= node.code
            };
            at = node.next as usize + usize::from(!left);
        }
    }
}

struct Grower<'a> {
    binned: &'a Binned,
    labels: &'a [u32],
    stream: Stream,
    nodes: Vec<Node>,
    shares: Vec<f32>,
    counts: Vec<u32>,
    left: Vec<u32>,
    order: Vec<u32>,
}

impl Grower<'_> {
    fn new<'a>(binned: &'a Binned, labels: &'a [u32], seed: u64) -> Grower<'a> {
        Grower {
            binned,
            labels,
            stream: Stream::new(seed, 0),
            nodes: Vec::new(),
            shares: Vec::new(),
            counts: Vec::new(),
            left: vec![0; binned.classes],
            order: (0..binned.columns.len() as u32).collect(),
        }
    }

    fn grow(mut self, rows: &[u32]) -> Tree {
        let n = rows.len();
        let mut drawn: Vec<u32> = (0..n).map(|_| rows[self.stream.below(n)]).collect();
        drawn.sort_unstable();
        let mut spare = Vec::with_capacity(n);
        let leaf = Node {
            column: 0,
            code: 0,
            alone: false,
            next: 0,
            leaf: true,
        };
        self.nodes.push(leaf);
        let mut stack = vec![(0usize, 0usize, n, 0u32)];
        let mut total = vec![0u32; self.binned.classes];
        while let Some((at, begin, end, depth)) = stack.pop() {
            let here = &mut drawn[begin..end];
            total.fill(0);
            here.iter()
                .for_each(|&r| total[self.labels[r as usize] as usize] += 1);
            let split = match depth < DEEPEST {
                true => self.best(here, &total),
                false => None,
            };
            let Some((column, code, alone)) = split else {
                let node = &mut self.nodes[at];
                node.next = self.shares.len() as u32;
                let n = here.len() as f32;
                self.shares.extend(total.iter().map(|&c| c as f32 / n));
                continue;
            };
            let codes = &self.binned.columns[column].codes;
            spare.clear();
            let mut kept = 0;
            for i in 0..here.len() {
                let row = here[i];
                let c = codes[row as usize];
                let left = if alone { c == code } else { c <= code };
                if left {
                    here[kept] = row;
                    kept += 1;
                } else {
                    spare.push(row);
                }
            }
            here[kept..].copy_from_slice(&spare);
            let next = self.nodes.len();
            self.nodes.extend([leaf, leaf]);
            self.nodes[at] = Node {
                column: column as u32,
                code,
                alone,
                next: next as u32,
                leaf: false,
            };
            stack.push((next + 1, begin + kept, end, depth + 1));
            stack.push((next, begin, begin + kept, depth + 1));
        }
        Tree {
            nodes: self.nodes,
            shares: self.shares,
        }
    }

    /// The best rule over a random choice of columns, by the Gini index; columns without a rule do not
    /// count as tried.
    fn best(&mut self, rows: &[u32], total: &[u32]) -> Option<(usize, u8, bool)> {
        let n = rows.len() as u32;
        if n < 2 * LEAST_LEAF || total.contains(&n) {
            return None;
        }
        let d = self.order.len();
        let wanted = (d as f64).sqrt().ceil() as usize;
        let mut best: Option<(f64, usize, u8, bool)> = None;
        let mut tried = 0;
        for i in 0..d {
            let j = i + self.stream.below(d - i);
            self.order.swap(i, j);
            let column = self.order[i] as usize;
            if let Some((score, code, alone)) = self.search(column, rows, total) {
                tried += 1;
                if best.is_none_or(|b| score > b.0) {
                    best = Some((score, column, code, alone));
                }
            }
            if tried == wanted {
                break;
            }
        }
        best.map(|(_, column, code, alone)| (column, code, alone))
    }

    fn search(&mut self, column: usize, rows: &[u32], total: &[u32]) -> Option<(f64, u8, bool)> {
        let bins = &self.binned.columns[column];
        let k = self.binned.classes;
        self.counts.clear();
        self.counts.resize(bins.n_codes * k, 0);
        let (mut low, mut high) = (u8::MAX, 0);
        for &row in rows {
            let code = bins.codes[row as usize];
            low = low.min(code);
            high = high.max(code);
            self.counts[usize::from(code) * k + self.labels[row as usize] as usize] += 1;
        }
        if low == high {
            return None;
        }
        let n = rows.len() as u32;
        let mut best: Option<(f64, u8, bool)> = None;
        self.left.fill(0);
        let mut below = 0;
        for code in low..=high {
            let group = &self.counts[usize::from(code) * k..(usize::from(code) + 1) * k];
            let size: u32 = group.iter().sum();
            if size == 0 {
                continue;
            }
            if !bins.ordered {
                offer(&mut best, group, total, size, n, (code, true));
                continue;
            }
            below += size;
            self.left.iter_mut().zip(group).for_each(|(l, g)| *l += g);
            if code < high {
                offer(&mut best, &self.left, total, below, n, (code, false));
            }
        }
        best
    }
}

/// Offers a rule with `left` of `total` on one side: the sum over sides of squared counts over size.
fn offer(
    best: &mut Option<(f64, u8, bool)>,
    left: &[u32],
    total: &[u32],
    size: u32,
    n: u32,
    rule: (u8, bool),
) {
    if size < LEAST_LEAF || n - size < LEAST_LEAF {
        return;
    }
    let (mut a, mut b) = (0u64, 0u64);
    for (&l, &t) in left.iter().zip(total) {
        a += u64::from(l) * u64::from(l);
        b += u64::from(t - l) * u64::from(t - l);
    }
    let score = a as f64 / f64::from(size) + b as f64 / f64::from(n - size);
    if best.is_none_or(|(most, ..)| score > most) {
        *best = Some((score, rule.0, rule.1));
    }
}

/// Bits that predictions `[rows, classes]` cost the labels of `rows`.
pub(crate) fn bits(predicted: &[f32], rows: &[u32], labels: &[u32], classes: usize) -> f64 {
    let one = |(p, &row): (&[f32], &u32)| -f64::from(p[labels[row as usize] as usize]).log2();
    predicted.chunks(classes).zip(rows).map(one).sum()
}

/// The class with the highest probability, of several the least.
pub(crate) fn answer(probabilities: &[f32]) -> u32 {
    let mut best = 0;
    for (class, &p) in probabilities.iter().enumerate() {
        if p > probabilities[best] {
            best = class;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{coins, numbers, on_threads, rule, uniform};

    fn halves(n: usize) -> (Vec<u32>, Vec<u32>) {
        (
            (0..n as u32 / 2).collect(),
            (n as u32 / 2..n as u32).collect(),
        )
    }

    #[test]
    fn learns_a_rule_and_not_a_coin() {
        let p = rule(3, 800, 4, 0);
        let (fit, held) = halves(800);
        let binned = Binned::new(&p);
        let predicted =
            on_threads(|| Forest::fit(&binned, &fit, &p.labels, 20, 7).predict(&binned, &held));
        for p in predicted.chunks(2) {
            assert!(
                (p[0] + p[1] - 1.0).abs() < 1e-5 && p[0] >= 0.0099 && p[1] >= 0.0099,
                "{p:?}"
            );
        }
        let right = predicted
            .chunks(2)
            .zip(&held)
            .filter(|(q, r)| answer(q) == p.labels[**r as usize]);
        assert!(right.count() > 360);
        assert!(bits(&predicted, &held, &p.labels, 2) < 0.5 * 400.0);
        let coin = numbers(vec![uniform(1, 800), uniform(2, 800)], &coins(3, 800));
        let binned = Binned::new(&coin);
        let predicted = Forest::fit(&binned, &fit, &coin.labels, 20, 7).predict(&binned, &held);
        assert!(
            bits(&predicted, &held, &coin.labels, 2) > 390.0,
            "nothing is gained from coins"
        );
    }

    /// Categories, missing cells and a column without a rule.
    #[test]
    fn reads_every_kind_of_column() {
        let n = 400;
        let word = |i: usize| (!i.is_multiple_of(5)).then(|| ["a", "b", "c"][i % 3]);
        let words: Vec<Option<&str>> = (0..n).map(word).collect();
        let gaps = (0..n)
            .map(|i| if i % 2 == 0 { f64::NAN } else { 1.0 })
            .collect();
        let labels: Vec<f64> = (0..n)
            .map(|i| f64::from(word(i) == Some("b") || i % 2 == 0))
            .collect();
        let columns = vec![
            bantam_data::Column::categorical("w", &words),
            bantam_data::Column::numeric("g", gaps),
            bantam_data::Column::numeric("y", labels),
        ];
        let table = bantam_data::Table::new(columns).unwrap();
        let p = Problem::from_table(&table, "y", &Default::default()).unwrap();
        let binned = Binned::new(&p);
        let rows: Vec<u32> = (0..n as u32).collect();
        let predicted = Forest::fit(&binned, &rows, &p.labels, 30, 1).predict(&binned, &rows);
        let right = predicted
            .chunks(2)
            .zip(&p.labels)
            .filter(|(q, l)| answer(q) == **l)
            .count();
        assert!(right >= 395, "{right}");
    }
}
