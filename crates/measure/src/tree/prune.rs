//! Cost-complexity pruning (Breiman et al., "Classification and Regression Trees", 1984, chapter 3):
//! the weakest links of a tree in the order in which a rising price of a leaf removes them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::grow::{Tree, part};
use crate::codes::Coded;

/// For each node the price of a leaf, in errors, at which it becomes a leaf or is gone; 0 for leaves.
/// It never rises from a node to its children.
pub(crate) fn prices(tree: &Tree) -> Vec<f64> {
    let n = tree.nodes.len();
    let errors = |i: usize| u64::from(tree.nodes[i].rows - tree.nodes[i].correct);
    let mut parent = vec![usize::MAX; n];
    let mut below = vec![(0u64, 0u64); n]; // errors and leaves of the branch
    for i in (0..n).rev() {
        if tree.nodes[i].split.is_some() {
            let left = tree.nodes[i].left as usize;
            parent[left] = i;
            parent[left + 1] = i;
            below[i] = (
                below[left].0 + below[left + 1].0,
                below[left].1 + below[left + 1].1,
            );
        } else {
            below[i] = (errors(i), 1);
        }
    }
    let link = |i: usize, below: &[(u64, u64)]| {
        let gained = errors(i).saturating_sub(below[i].0);
        Reverse((Price(gained, below[i].1 - 1), i))
    };
    let mut heap: BinaryHeap<_> = (0..n)
        .filter(|&i| tree.nodes[i].split.is_some())
        .map(|i| link(i, &below))
        .collect();
    let mut prices = vec![f64::NAN; n];
    let mut price = 0.0f64;
    while let Some(Reverse((found, i))) = heap.pop() {
        if !prices[i].is_nan() {
            continue;
        }
        // A link whose branch was cut since is dearer now, never cheaper: it waits for its new turn.
        if link(i, &below).0.0 != found {
            heap.push(link(i, &below));
            continue;
        }
        price = price.max(found.0 as f64 / found.1 as f64);
        let mut stack = vec![i];
        while let Some(j) = stack.pop() {
            if prices[j].is_nan() {
                prices[j] = price;
                if tree.nodes[j].split.is_some() {
                    let left = tree.nodes[j].left as usize;
                    stack.extend([left, left + 1]);
                }
            }
        }
        let (errors_now, leaves_gone) = (errors(i), below[i].1 - 1);
        let errors_more = errors_now.saturating_sub(below[i].0);
        below[i] = (errors_now, 1);
        let mut up = parent[i];
        while up != usize::MAX {
            below[up] = (below[up].0 + errors_more, below[up].1 - leaves_gone);
            up = parent[up];
        }
    }
    for (price, node) in prices.iter_mut().zip(&tree.nodes) {
        if node.split.is_none() {
            *price = 0.0;
        }
    }
    prices
}

/// Errors gained over leaves gone, compared exactly.
#[derive(Clone, Copy, Debug)]
struct Price(u64, u64);

impl Ord for Price {
    fn cmp(&self, other: &Price) -> Ordering {
        // Both are numbers of rows, which are below 2^32.
        (self.0 * other.1).cmp(&(other.0 * self.1))
    }
}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Price) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Price {
    fn eq(&self, other: &Price) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Price {}

/// Splits that are left at a price: those of nodes that cost more.
pub(crate) fn splits_at(prices: &[f64], price: f64) -> usize {
    prices.iter().filter(|&&p| p > price).count()
}

/// Adds to `errors[i]` the rows of `rows` that the tree has wrong when pruned at `grid[i]`, which
/// ascends.
pub(crate) fn add_errors(
    tree: &Tree,
    prices: &[f64],
    columns: &[Coded],
    rows: &[u32],
    labels: &[u32],
    grid: &[f64],
    errors: &mut [u64],
) {
    let mut step = vec![0i64; grid.len() + 1];
    let mut rows = rows.to_vec();
    let mut scratch = Vec::new();
    // All rows of a node at a time: node, its rows, and the end of the prices at which they are there.
    let mut stack = vec![(0usize, 0, rows.len(), grid.len())];
    while let Some((at, start, stop, end)) = stack.pop() {
        let node = &tree.nodes[at];
        // A row stops at this node for the prices from the node's own up to that of its parent.
        let begin = match node.split {
            Some(_) => grid.partition_point(|&g| g < prices[at]).min(end),
            None => 0,
        };
        let here = &mut rows[start..stop];
        if begin < end {
            let wrong = here.iter().filter(|&&r| labels[r as usize] != node.label);
            let wrong = wrong.count() as i64;
            step[begin] += wrong;
            step[end] -= wrong;
        }
        if let (Some(split), true) = (node.split, begin > 0) {
            let middle = start + part(split, columns, here, &mut scratch);
            let left = node.left as usize;
            let children = [(left, start, middle), (left + 1, middle, stop)];
            let some = children.into_iter().filter(|c| c.1 < c.2);
            stack.extend(some.map(|(at, start, stop)| (at, start, stop, begin)));
        }
    }
    let mut wrong = 0;
    for (sum, step) in errors.iter_mut().zip(step) {
        wrong += step;
        *sum += wrong as u64;
    }
}
