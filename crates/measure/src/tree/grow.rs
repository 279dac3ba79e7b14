//! Grows a binary decision tree by entropy gain until every leaf has one label.
//!
//! All sums are integers (`x log2 x` in fixed point), so gains that are equal are equal exactly, the
//! tree does not depend on the order of rows or the number of threads, and ties go to the lowest
//! column and then the lowest cut. The error of a gain is below `2 (classes + 1) 2^-21` bits.

use rayon::prelude::*;

use crate::codes::Coded;

/// Fractional bits of `x log2 x`.
const FRACTION: f64 = (1u64 << 20) as f64;
/// From this depth on, cuts that leave at least a sixteenth of the rows on each side go before all
/// others, so that a tree that peels off row by row stays shallow: the depth is at most this, plus
/// `log(rows) / log(16 / 15)` where such cuts exist.
pub(crate) const EVEN_FROM_DEPTH: u32 = 256;
/// Is more than any cost.
const UNEVEN: i64 = 1 << 60;
/// Cells from which the columns of one node are searched in parallel.
const PARALLEL_CELLS: usize = 1 << 15;

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
    let mut top = Growing::new(ground, agreed, labels, &rows);
    let mut branches = top.grow(&mut rows, 0, BRANCH_ROWS);
    // Branches are grown side by side; each has rows of its own, which are next to each other.
    branches.sort_unstable_by_key(|branch| branch.start);
    let (mut work, mut rest, mut begin) = (Vec::with_capacity(branches.len()), &mut rows[..], 0);
    for branch in branches {
        let (mine, more) = rest[branch.start - begin..].split_at_mut(branch.end - branch.start);
        rest = more;
        begin = branch.end;
        work.push((branch, mine));
    }
    let grown: Vec<(Branch, Tree)> = work
        .into_par_iter()
        .map(|(branch, rows)| {
            let mut growing = Growing::new(ground, agreed, labels, rows);
            let left = growing.grow(rows, branch.depth, 0);
            assert!(left.is_empty(), "a branch is grown to its end");
            (branch, growing.tree)
        })
        .collect();
    let mut tree = top.tree;
    for (branch, mut part) in grown {
        // The root of the part is in the tree already; the others come behind.
        let offset = tree.nodes.len() as u32 - 1;
        part.nodes
            .iter_mut()
            .filter(|n| n.split.is_some())
            .for_each(|n| n.left += offset);
        let mut nodes = part.nodes.into_iter();
        tree.nodes[branch.node] = nodes.next().expect("a tree has a root");
        tree.nodes.extend(nodes);
        tree.depth = tree.depth.max(part.depth);
    }
    tree
}

/// Nodes with fewer rows are grown as branches, several at a time.
const BRANCH_ROWS: usize = 1 << 13;

/// A node that is yet to be grown.
struct Branch {
    node: usize,
    start: usize,
    end: usize,
    depth: u32,
}

/// A tree while it grows.
struct Growing<'a> {
    ground: Ground<'a>,
    agreed: &'a [u32],
    labels: &'a [u32],
    tree: Tree,
    work: Work,
    scratch: Vec<u32>,
}

impl<'a> Growing<'a> {
    fn new(ground: Ground<'a>, agreed: &'a [u32], labels: &'a [u32], rows: &[u32]) -> Growing<'a> {
        Growing {
            ground,
            agreed,
            labels,
            tree: Tree {
                nodes: vec![node(rows, labels, ground.classes)],
                depth: 0,
            },
            work: Work::default(),
            scratch: Vec::new(),
        }
    }

    /// Grows the root on `rows`, in their order, down to nodes with fewer than `least` rows, which are
    /// given back.
    fn grow(&mut self, rows: &mut [u32], depth: u32, least: usize) -> Vec<Branch> {
        let mut branches = Vec::new();
        let mut stack = vec![Branch {
            node: 0,
            start: 0,
            end: rows.len(),
            depth,
        }];
        while let Some(branch) = stack.pop() {
            let Branch {
                node: at,
                start,
                end,
                depth,
            } = branch;
            if end - start < least {
                branches.push(branch);
                continue;
            }
            self.tree.depth = self.tree.depth.max(depth);
            let here = &mut rows[start..end];
            let found = best_split(self.ground, here, self.agreed, depth, &mut self.work);
            let Some(split) = found else {
                continue;
            };
            let middle = start + part(split, self.ground.columns, here, &mut self.scratch);
            let left = self.tree.nodes.len();
            for (start, end) in [(start, middle), (middle, end)] {
                let child = node(&rows[start..end], self.labels, self.ground.classes);
                self.tree.nodes.push(child);
            }
            self.tree.nodes[at].split = Some(split);
            self.tree.nodes[at].left = left as u32;
            for (node, start, end) in [(left + 1, middle, end), (left, start, middle)] {
                let depth = depth + 1;
                stack.push(Branch {
                    node,
                    start,
                    end,
                    depth,
                });
            }
        }
        branches
    }
}

/// Puts the rows that go left before the others, both in their order, and returns how many they are.
fn part(split: Split, columns: &[Coded], rows: &mut [u32], scratch: &mut Vec<u32>) -> usize {
    scratch.clear();
    let mut kept = 0;
    for i in 0..rows.len() {
        if split.goes_left(columns, rows[i] as usize) {
            rows[kept] = rows[i];
            kept += 1;
        } else {
            scratch.push(rows[i]);
        }
    }
    rows[kept..].copy_from_slice(scratch);
    kept
}

fn node(rows: &[u32], labels: &[u32], classes: usize) -> Node {
    let mut counts = vec![0usize; classes];
    for &row in rows {
        counts[labels[row as usize] as usize] += 1;
    }
    let wide: Vec<u64> = counts.iter().map(|&c| c as u64).collect();
    let (label, correct) = crate::runs::majority(&wide);
    Node {
        split: None,
        left: 0,
        label,
        rows: rows.len() as u32,
        correct: correct as u32,
        entropy_bits: crate::bits::entropy_bits(&counts) * rows.len() as f64,
    }
}

/// The best rule over all columns; None when the rows have one label.
fn best_split(
    ground: Ground,
    rows: &[u32],
    labels: &[u32],
    depth: u32,
    work: &mut Work,
) -> Option<Split> {
    // Fetched once for all columns, in the order of the rows.
    let mut here = std::mem::take(&mut work.labels);
    here.clear();
    here.extend(rows.iter().map(|&r| labels[r as usize]));
    let first = *here.first()?;
    let found = match here.iter().all(|&label| label == first) {
        true => None,
        false => Some(search_columns(ground, rows, &here, depth, work)),
    };
    work.labels = here;
    found
}

/// The best rule over all columns for rows with these labels, which are not all the same.
fn search_columns(
    ground: Ground,
    rows: &[u32],
    labels: &[u32],
    depth: u32,
    work: &mut Work,
) -> Split {
    let mut total = vec![0u32; ground.classes];
    for &label in labels {
        total[label as usize] += 1;
    }
    let search = |work: &mut Work, column: usize| {
        let even = depth >= EVEN_FROM_DEPTH;
        let found = work.search((ground, even), column, rows, labels, &total);
        found.map(|(cost, rule, rules)| {
            let column = column as u32;
            (
                cost,
                Split {
                    column,
                    rule,
                    rules,
                },
            )
        })
    };
    let n_columns = ground.columns.len();
    let better = |a: Option<(i64, Split)>, b: Option<(i64, Split)>| match (a, b) {
        (Some(a), Some(b)) => Some(if (b.0, b.1.column) < (a.0, a.1.column) {
            b
        } else {
            a
        }),
        (a, b) => a.or(b),
    };
    let best = if rows.len() * n_columns >= PARALLEL_CELLS {
        let columns = (0..n_columns).into_par_iter().with_min_len(2);
        columns
            .map_init(Work::default, search)
            .reduce(|| None, better)
    } else {
        (0..n_columns).map(|c| search(work, c)).fold(None, better)
    };
    let best = best.expect("identical rows have one label, so some column differs");
    best.1
}

/// Buffers of one search; all but `keys` and `labels` are rows of each class.
#[derive(Default)]
struct Work {
    /// Labels of the rows of the node.
    labels: Vec<u32>,
    counts: Vec<u32>,
    keys: Vec<u64>,
    left: Vec<u32>,
    missing: Vec<u32>,
    group: Vec<u32>,
}

/// What is known while the groups of equal codes of a column pass in ascending order.
struct Pass<'a> {
    ground: Ground<'a>,
    coded: &'a Coded,
    total: &'a [u32],
    even: bool,
    has_missing: bool,
    /// The cheapest rule so far, the first of equals.
    cheapest: Option<(i64, Rule)>,
    /// Rules of this column, whether they are worth an offer or not.
    rules: u32,
    /// The last code, and its label when its group has one only.
    last: Option<(u32, Option<u32>)>,
}

impl Pass<'_> {
    /// Offers a rule that has these rows of each class on one side.
    fn offer(&mut self, side: impl Iterator<Item = u32>, rule: Rule) {
        let table = self.ground.table;
        let (mut n_side, mut n_other, mut sum) = (0, 0, 0);
        for (here, &total) in side.zip(self.total) {
            n_side += here as usize;
            n_other += (total - here) as usize;
            sum += table[here as usize] + table[(total - here) as usize];
        }
        if n_side == 0 || n_other == 0 {
            return;
        }
        let uneven = self.even && n_side.min(n_other) * 16 < n_side + n_other;
        let cost = table[n_side] + table[n_other] - sum + i64::from(uneven) * UNEVEN;
        if self.cheapest.is_none_or(|(least, _)| cost < least) {
            self.cheapest = Some((cost, rule));
        }
    }

    /// Offers the cut behind the last code.
    fn offer_cut(&mut self, cut: u32, left: &[u32], missing: &[u32], missing_left: bool) {
        let rule = Rule::UpTo { cut, missing_left };
        if missing_left {
            self.offer(left.iter().zip(missing).map(|(l, m)| l + m), rule);
        } else {
            self.offer(left.iter().copied(), rule);
        }
    }

    /// Takes the group of a code. `left` has the rows of the codes before.
    fn group(&mut self, code: u32, group: &[u32], left: &mut [u32], missing: &[u32]) {
        if !self.coded.ordered {
            self.rules += 1;
            self.offer(group.iter().copied(), Rule::Is(code));
            return;
        }
        if code == self.coded.n_values {
            return;
        }
        let mut labels = (0u32..).zip(group).filter(|(_, c)| **c > 0).map(|(l, _)| l);
        let only = labels.next().filter(|_| labels.next().is_none());
        if let Some((cut, before)) = self.last {
            self.rules += 1 + u32::from(self.has_missing);
            // The best cut is never between groups of one and the same label (Fayyad and Irani,
            // "On the handling of continuous-valued attributes", 1992).
            if before.is_none() || before != only {
                self.offer_cut(cut, left, missing, false);
                if self.has_missing {
                    self.offer_cut(cut, left, missing, true);
                }
            }
        }
        for (left, &here) in left.iter_mut().zip(group) {
            *left += here;
        }
        self.last = Some((code, only));
    }

    /// The cheapest rule, its cost and the number of rules.
    fn finish(mut self, left: &[u32], missing: &[u32]) -> Option<(i64, Rule, u32)> {
        if let (Some((cut, _)), true) = (self.last, self.has_missing) {
            self.rules += 1;
            self.offer_cut(cut, left, missing, false);
        }
        let rules = self.rules;
        self.cheapest.map(|(cost, rule)| (cost, rule, rules))
    }
}

impl Work {
    /// The cheapest rule of a column, its cost and the number of rules; None when all cells are the
    /// same. Counts per code when there are few codes, and sorts otherwise.
    fn search(
        &mut self,
        (ground, even): (Ground, bool),
        column: usize,
        rows: &[u32],
        labels: &[u32],
        total: &[u32],
    ) -> Option<(i64, Rule, u32)> {
        let coded = &ground.columns[column];
        let k = ground.classes;
        let counting = (coded.n_values as usize + 1) * k <= 4 * rows.len();
        let Work {
            counts,
            keys,
            left,
            missing,
            group,
            labels: _,
        } = self;
        for buffer in [&mut *left, missing, group] {
            buffer.clear();
            buffer.resize(k, 0);
        }
        if counting {
            count(counts, coded, rows, labels, k);
            missing.copy_from_slice(&counts[coded.n_values as usize * k..]);
        } else if sort(keys, coded, rows, labels) {
            let is_missing = |key: &&u64| (**key >> 32) as u32 == coded.n_values;
            for &key in keys.iter().rev().take_while(is_missing) {
                missing[key as u32 as usize] += 1;
            }
        } else {
            return None;
        }
        let mut pass = Pass {
            ground,
            coded,
            total,
            even,
            has_missing: missing.iter().any(|&m| m > 0),
            cheapest: None,
            rules: 0,
            last: None,
        };
        if counting {
            let groups = (0u32..).zip(counts.chunks_exact(k));
            for (code, group) in groups.filter(|(_, g)| g.iter().any(|&c| c > 0)) {
                pass.group(code, group, left, missing);
            }
        } else {
            for same in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
                group.fill(0);
                same.iter().for_each(|&key| group[key as u32 as usize] += 1);
                pass.group((same[0] >> 32) as u32, group, left, missing);
            }
        }
        pass.finish(left, missing)
    }
}

/// Rows of each code and class. `labels` are those of `rows`.
fn count(counts: &mut Vec<u32>, coded: &Coded, rows: &[u32], labels: &[u32], classes: usize) {
    counts.clear();
    counts.resize((coded.n_values as usize + 1) * classes, 0);
    for (&row, &label) in rows.iter().zip(labels) {
        let code = coded.codes[row as usize];
        counts[code as usize * classes + label as usize] += 1;
    }
}

/// Keys of code and label in ascending order; false when all codes are the same.
fn sort(keys: &mut Vec<u64>, coded: &Coded, rows: &[u32], labels: &[u32]) -> bool {
    let code = |&row: &u32| coded.codes[row as usize];
    let first = code(&rows[0]);
    if rows.iter().all(|row| code(row) == first) {
        return false;
    }
    keys.clear();
    let key = |(row, &label): (&u32, &u32)| u64::from(code(row)) << 32 | u64::from(label);
    keys.extend(rows.iter().zip(labels).map(key));
    keys.sort_unstable();
    true
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
        let n = 5 * BRANCH_ROWS as u64;
        let column = |seed: u64| {
            let value = |i: u64| (hash(seed, i) % (300 * seed)) as f64;
            Coded::of(&Values::Numeric((0..n).map(value).collect()))
        };
        let columns: Vec<Coded> = (1..5).map(column).collect();
        let label =
            |i: u64| u32::from(hash(1, i) % 300 > 100) ^ u32::from(hash(9, i).is_multiple_of(10));
        let labels: Vec<u32> = (0..n).map(label).collect();
        let table = log_table(n as usize);
        let ground = Ground {
            columns: &columns,
            classes: 2,
            table: &table,
        };
        let rows: Vec<u32> = (0..n as u32).collect();
        // Where equal rows have different labels, the majority is what is to be learnt.
        let problem_groups = crate::problem::Groups::of(&columns, n as usize);
        let agreed = problem_groups.consensus(&labels, &rows, 2);
        let tree = grow(ground, rows.clone(), &agreed, &labels);
        let mut whole = rows;
        let mut growing = Growing::new(ground, &agreed, &labels, &whole);
        assert!(growing.grow(&mut whole, 0, 0).is_empty());
        assert!(tree.splits() > 1000, "{}", tree.splits());
        assert_eq!(tree.depth, growing.tree.depth);
        assert!(walk(&tree) == walk(&growing.tree));
    }
}
