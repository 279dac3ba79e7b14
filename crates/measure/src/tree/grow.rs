//! Grows a binary decision tree by entropy gain until every leaf has one label.
//!
//! All sums are integers (`x log2 x` in fixed point), so gains that are equal are equal exactly, the
//! tree does not depend on the order of rows or the number of threads, and ties go to the lowest
//! column and then the lowest cut. The error of a gain is below `2 (classes + 1) 2^-21` bits.

use super::{branch, top};
use crate::codes::Coded;
use crate::parallel::map_of;

/// Fractional bits of `x log2 x`.
const FRACTION: f64 = (1u64 << 20) as f64;
/// From this depth on, cuts that leave at least a sixteenth of the rows on each side go before all
/// others, so that a tree that peels off row by row stays shallow: the depth is at most this, plus
/// `log(rows) / log(16 / 15)` where such cuts exist.
pub(crate) const EVEN_FROM_DEPTH: u32 = 256;
/// Which rows go left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Codes up to `cut`; missing cells on the side that is said.
    UpTo { cut: u32, missing_left: bool },
    /// One code, that of missing cells among them.
    Is(u32),
}

/// A rule on a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) column: u32,
    pub(crate) rule: Rule,
    /// Number of rules that this column offered.
    pub(crate) rules: u32,
}

impl Split {
    pub(crate) fn goes_left(&self, columns: &[Coded], row: usize) -> bool {
        let column = &columns[self.column as usize];
        let code = column.codes[row];
        match self.rule {
            Rule::UpTo { missing_left, .. } if code == column.n_values => missing_left,
            Rule::UpTo { cut, .. } => code <= cut,
            Rule::Is(value) => code == value,
        }
    }
}

/// A node of a tree. `counts` are of the labels to be counted, which the leaves predict.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) split: Option<Split>,
    /// Index of the left child; the right one is next to it. 0 for a leaf.
    pub(crate) left: u32,
    pub(crate) label: u32,
    pub(crate) rows: u32,
    pub(crate) correct: u32,
    pub(crate) entropy_bits: f64,
}

impl Node {
    /// A leaf with these rows of each class; `classes` names them.
    pub(super) fn leaf(counts: &[u32], classes: &[u32]) -> Node {
        let (mut rows, mut best, mut correct) = (0, 0, 0);
        for (class, &count) in counts.iter().enumerate() {
            rows += count;
            if count > correct {
                (best, correct) = (class, count);
            }
        }
        let share = |c: u32| f64::from(c) / f64::from(rows);
        let bits = |&c: &u32| -f64::from(c) * share(c).log2();
        Node {
            split: None,
            left: 0,
            label: classes.get(best).copied().unwrap_or(0),
            rows,
            correct,
            entropy_bits: match correct == rows {
                true => 0.0,
                false => counts.iter().filter(|c| **c > 0).map(bits).sum(),
            },
        }
    }
}

/// A grown tree; node 0 is the root, children come after their parent.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) depth: u32,
}

impl Tree {
    pub(crate) fn splits(&self) -> usize {
        self.nodes.len() / 2
    }

    pub(crate) fn correct(&self) -> usize {
        let leaves = self.nodes.iter().filter(|n| n.split.is_none());
        leaves.map(|n| n.correct as usize).sum()
    }
}

/// What a tree is grown on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) columns: &'a [Coded],
    /// The codes of each column once more as bytes, or nothing where they do not fit: with many rows,
    /// fetching them is what takes the time.
    pub(crate) bytes: &'a [Vec<u8>],
    pub(crate) classes: usize,
    /// `x log2 x` in fixed point, up to the number of rows.
    pub(crate) table: &'a [i64],
}

/// `x log2 x` for 0 to `n` in fixed point.
pub(crate) fn log_table(n: usize) -> Vec<i64> {
    let entry = |x: usize| {
        let x = x as f64;
        if x < 2.0 {
            0
        } else {
            (x * x.log2() * FRACTION).round() as i64
        }
    };
    (0..=n).map(entry).collect()
}

/// Grows on `rows` until each leaf has one of `agreed`, the labels on which identical rows agree;
/// leaves predict the majority of `labels`.
pub(crate) fn grow(ground: Ground, mut rows: Vec<u32>, agreed: &[u32], labels: &[u32]) -> Tree {
    let (mut tree, open) = top::grow(ground, &mut rows, agreed, labels, branch::MOST_ROWS);
    // Branches are grown side by side.
    let grown: Vec<Tree> = map_of(&open, |o| {
        branch::grow(ground, &rows[o.rows.clone()], agreed, labels, o.depth)
    });
    for (open, mut part) in open.into_iter().zip(grown) {
        // The root of the part is in the tree already; the others come behind.
        let offset = tree.nodes.len() as u32 - 1;
        let inner = part.nodes.iter_mut().filter(|n| n.split.is_some());
        inner.for_each(|n| n.left += offset);
        let mut nodes = part.nodes.into_iter();
        tree.nodes[open.node] = nodes.next().expect("a tree has a root");
        tree.nodes.extend(nodes);
        tree.depth = tree.depth.max(part.depth);
    }
    tree
}

/// Puts the rows that go left before the others, both in their order, and returns how many they are.
pub(super) fn part(
    split: Split,
    columns: &[Coded],
    rows: &mut [u32],
    scratch: &mut Vec<u32>,
) -> usize {
    scratch.resize(rows.len().max(scratch.len()), 0);
    let (mut kept, mut others) = (0, 0);
    for i in 0..rows.len() {
        let row = rows[i];
        let left = usize::from(split.goes_left(columns, row as usize));
        // Both are written and one is kept: quicker than a branch that cannot be foreseen.
        rows[kept] = row;
        scratch[others] = row;
        kept += left;
        others += 1 - left;
    }
    rows[kept..].copy_from_slice(&scratch[..others]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;
    use bantam_data::Values;

    /// Splits, rows and labels of all nodes, a node before its children.
    fn walk(tree: &Tree) -> Vec<(Option<Split>, u32, u32, u32)> {
        let (mut found, mut stack) = (Vec::new(), vec![0usize]);
        while let Some(at) = stack.pop() {
            let node = &tree.nodes[at];
            found.push((node.split, node.rows, node.label, node.correct));
            if node.split.is_some() {
                stack.extend([node.left as usize + 1, node.left as usize]);
            }
        }
        found
    }

    /// Branches grown side by side make the tree that is grown in one go.
    #[test]
    fn branches_are_parts_of_the_same_tree() {
        let n = 5 * branch::MOST_ROWS as u64;
        let column = |seed: u64| {
            let value = |i: u64| (hash(seed, i) % (200 * seed)) as f64;
            Coded::of(&Values::Numeric((0..n).map(value).collect()))
        };
        let columns: Vec<Coded> = (1..5).map(column).collect();
        let label =
            |i: u64| u32::from(hash(1, i) % 200 > 70) ^ u32::from(hash(9, i).is_multiple_of(10));
        let labels: Vec<u32> = (0..n).map(label).collect();
        let table = log_table(n as usize);
        let bytes: Vec<Vec<u8>> = columns.iter().map(Coded::bytes).collect();
        let fit: Vec<bool> = bytes.iter().map(|b| !b.is_empty()).collect();
        assert!(fit.contains(&true) && fit.contains(&false));
        let ground = Ground {
            columns: &columns,
            bytes: &bytes,
            classes: 2,
            table: &table,
        };
        let rows: Vec<u32> = (0..n as u32).collect();
        // Where equal rows have different labels, the majority is what is to be learnt.
        let problem_groups = crate::problem::Groups::of(&columns, n as usize);
        let agreed = problem_groups.consensus(&labels, &rows, 2);
        let tree = grow(ground, rows.clone(), &agreed, &labels);
        let mut whole = rows;
        let (top, open) = top::grow(ground, &mut whole, &agreed, &labels, 0);
        assert!(open.is_empty());
        assert!(tree.splits() > 1000, "{}", tree.splits());
        assert_eq!(tree.depth, top.depth);
        assert!(walk(&tree) == walk(&top));
    }
}
