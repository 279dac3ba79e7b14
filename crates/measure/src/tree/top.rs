//! Grows the nodes that have too many rows for a branch.
//!
//! A column with few codes is counted: rows of each code and class. Of the two children of a node only
//! the smaller is counted, the other is the difference. A column with many codes is sorted.

use std::ops::Range;

use rayon::prelude::*;

use super::grow::{EVEN_FROM_DEPTH, Ground, Node, Split, Tree, part};
use super::scan::{Buffers, Found, Rows, scan_levels, scan_ordered};
use crate::codes::Coded;

/// Rows of each code and class in a column; empty when they are not known.
type Counts = Vec<u32>;

/// A node that is yet to be grown.
pub(super) struct Open {
    pub(super) node: usize,
    /// The places of its rows.
    pub(super) rows: Range<usize>,
    pub(super) depth: u32,
    /// For each column.
    counts: Vec<Counts>,
}

/// Grows the root on `rows` down to nodes with at most `few` rows, which are given back with the tree.
/// Parts `rows` on the way.
pub(super) fn grow(
    ground: Ground,
    rows: &mut [u32],
    agreed: &[u32],
    labels: &[u32],
    few: usize,
) -> (Tree, Vec<Open>) {
    let classes: Vec<u32> = (0..ground.classes as u32).collect();
    let leaf = |rows: &[u32]| {
        let mut counts = vec![0; ground.classes];
        let labels = rows.iter().map(|&r| labels[r as usize]);
        labels.for_each(|l| counts[l as usize] += 1);
        Node::leaf(&counts, &classes)
    };
    let mut tree = Tree {
        nodes: vec![leaf(rows)],
        depth: 0,
    };
    let (mut few_rows, mut scratch) = (Vec::new(), Vec::new());
    let mut stack = vec![Open {
        node: 0,
        rows: 0..rows.len(),
        depth: 0,
        counts: vec![Counts::new(); ground.columns.len()],
    }];
    while let Some(mut open) = stack.pop() {
        tree.depth = tree.depth.max(open.depth);
        if open.rows.len() <= few {
            open.counts = Vec::new();
            few_rows.push(open);
            continue;
        }
        let here = &mut rows[open.rows.clone()];
        let Some(split) = best_split(ground, here, agreed, open.depth, &mut open.counts) else {
            continue;
        };
        let middle = part(split, ground.columns, here, &mut scratch);
        let (left, right) = here.split_at(middle);
        let at = tree.nodes.len();
        tree.nodes.extend([leaf(left), leaf(right)]);
        tree.nodes[open.node].split = Some(split);
        tree.nodes[open.node].left = at as u32;
        let counts = match left.len() <= right.len() {
            true => divide(ground, left, right.len(), agreed, open.counts, few),
            false => {
                let (right, left) = divide(ground, right, left.len(), agreed, open.counts, few);
                (left, right)
            }
        };
        let middle = open.rows.start + middle;
        let depth = open.depth + 1;
        let child = |node, rows, counts| Open {
            node,
            rows,
            depth,
            counts,
        };
        stack.push(child(at + 1, middle..open.rows.end, counts.1));
        stack.push(child(at, open.rows.start..middle, counts.0));
    }
    (tree, few_rows)
}

/// From the counts of a node those of its smaller and its larger child, as far as they are worth it.
fn divide(
    ground: Ground,
    smaller: &[u32],
    larger: usize,
    labels: &[u32],
    counts: Vec<Counts>,
    few: usize,
) -> (Vec<Counts>, Vec<Counts>) {
    if larger <= few {
        return (Vec::new(), Vec::new());
    }
    let labels: Vec<u32> = smaller.iter().map(|&r| labels[r as usize]).collect();
    let one = |(column, mut whole): (usize, Counts)| {
        // Where there are more counts than rows, counting anew is less work.
        if whole.is_empty() || whole.len() > larger {
            return (Counts::new(), Counts::new());
        }
        let mut part = vec![0; whole.len()];
        count(&mut part, ground, column, smaller, &labels);
        whole.iter_mut().zip(&part).for_each(|(w, p)| *w -= p);
        (part, whole)
    };
    counts.into_par_iter().enumerate().map(one).unzip()
}

/// The best rule over all columns; None when the rows have one label. Notes what it counts.
fn best_split(
    ground: Ground,
    rows: &[u32],
    labels: &[u32],
    depth: u32,
    counts: &mut [Counts],
) -> Option<Split> {
    // Fetched once for all columns, in the order of the rows.
    let labels: Vec<u32> = rows.iter().map(|&r| labels[r as usize]).collect();
    let mut total = vec![0u32; ground.classes];
    labels.iter().for_each(|&l| total[l as usize] += 1);
    if total.iter().filter(|&&c| c > 0).count() < 2 {
        return None;
    }
    let here = Rows::new(ground.table, &total, depth >= EVEN_FROM_DEPTH);
    let search = |buffers: &mut Buffers, (column, counts): (usize, &mut Counts)| {
        let coded = &ground.columns[column];
        let all = (coded.n_values as usize + 1) * ground.classes;
        let found = if all <= 4 * rows.len() {
            if counts.is_empty() {
                counts.resize(all, 0);
                count(counts, ground, column, rows, &labels);
            }
            scan_counts(counts, coded, here, buffers)
        } else {
            scan_keys(&sort(coded, rows, &labels), coded, here, buffers)
        };
        let (cost, rule, rules) = found?;
        let column = column as u32;
        let split = Split {
            column,
            rule,
            rules,
        };
        Some((cost, split))
    };
    let cheaper = |a: &(i64, Split), b: &(i64, Split)| (a.0, a.1.column).cmp(&(b.0, b.1.column));
    let columns = counts.par_iter_mut().enumerate();
    let best = columns
        .map_init(Buffers::default, search)
        .flatten()
        .min_by(cheaper);
    let best = best.expect("identical rows have one label, so some column differs");
    Some(best.1)
}

fn scan_counts(counts: &[u32], coded: &Coded, here: Rows, buffers: &mut Buffers) -> Option<Found> {
    let k = here.total.len();
    if !coded.ordered {
        let groups = (0u32..).zip(counts.chunks_exact(k));
        let groups = groups.filter(|(_, g)| g.iter().any(|&c| c > 0));
        return scan_levels(here, groups.map(|(code, g)| (code, some(g))), buffers);
    }
    let (present, missing) = counts.split_at(coded.n_values as usize * k);
    let groups = (0u32..).zip(present.chunks_exact(k));
    let present = groups.flat_map(|(code, g)| some(g).map(move |(label, n)| (code, label, n)));
    scan_ordered(here, some(missing), present, buffers)
}

fn scan_keys(keys: &[u64], coded: &Coded, here: Rows, buffers: &mut Buffers) -> Option<Found> {
    let code = |key: u64| (key >> 32) as u32;
    let label = |key: u64| key as u32;
    if !coded.ordered {
        let groups = keys.chunk_by(|&a, &b| code(a) == code(b));
        let groups = groups.map(|g| (code(g[0]), g.iter().map(|&key| (label(key), 1))));
        return scan_levels(here, groups, buffers);
    }
    let (present, missing) = keys.split_at(keys.partition_point(|&key| code(key) < coded.n_values));
    let missing = missing.iter().map(|&key| (label(key), 1));
    let present = present.iter().map(|&key| (code(key), label(key), 1));
    scan_ordered(here, missing, present, buffers)
}

/// Classes and numbers of the rows that are there.
fn some(group: &[u32]) -> impl Iterator<Item = (u32, u32)> + Clone {
    (0u32..).zip(group.iter().copied()).filter(|g| g.1 > 0)
}

/// Counts the rows of each code and class. `labels` are those of `rows`.
fn count(counts: &mut [u32], ground: Ground, column: usize, rows: &[u32], labels: &[u32]) {
    let k = ground.classes;
    let (bytes, codes) = (&ground.bytes[column], &ground.columns[column].codes);
    let rows = rows.iter().zip(labels);
    match bytes.is_empty() {
        true => rows.for_each(|(&r, &l)| counts[codes[r as usize] as usize * k + l as usize] += 1),
        false => {
            rows.for_each(|(&r, &l)| counts[usize::from(bytes[r as usize]) * k + l as usize] += 1)
        }
    }
}

/// Keys of code and label in ascending order.
fn sort(coded: &Coded, rows: &[u32], labels: &[u32]) -> Vec<u64> {
    let code = |row: u32| u64::from(coded.codes[row as usize]);
    let key = |(&row, &label): (&u32, &u32)| code(row) << 32 | u64::from(label);
    let mut keys: Vec<u64> = rows.iter().zip(labels).map(key).collect();
    keys.sort_unstable();
    keys
}
