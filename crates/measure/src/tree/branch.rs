//! Grows a branch with few rows: every column is sorted once, and a split parts each sorted list in two
//! that stay sorted (Shafer, Agrawal, Mehta, "SPRINT", 1996, in memory).
//!
//! Rows, codes and labels are numbered anew within the branch, so that a cell takes four bytes and all
//! that a node reads is next to each other.

use super::grow::{EVEN_FROM_DEPTH, Ground, Node, Rule, Split, Tree};
use super::scan::{Buffers, Found, Rows, scan_levels, scan_ordered};

/// Most rows of a branch.
pub(super) const MOST_ROWS: usize = 1 << 13;
const _: () = assert!(MOST_ROWS <= 1 << 16, "a cell has 16 bits for its row");

/// A column of the branch: its cells by code, those of a code by label, each the rank of its code and its
/// row, 16 bits each. A node has a range of them, the same in all columns.
struct Sorted {
    column: u32,
    cells: Vec<u32>,
    /// The code of each rank.
    codes: Vec<u32>,
    /// The rank of missing cells, where there are any.
    missing: Option<u32>,
    ordered: bool,
}

fn row_of(cell: u32) -> usize {
    (cell & 0xffff) as usize
}

fn rank_of(cell: u32) -> u32 {
    cell >> 16
}

/// A node that is to be split: it has more than one label.
struct Open {
    node: usize,
    start: usize,
    end: usize,
    depth: u32,
}

/// How many rows have each label, of those to be learnt and of those to be counted.
struct Tally {
    agreed: Vec<u32>,
    labels: Vec<u32>,
}

impl Tally {
    fn new(classes: usize) -> Tally {
        Tally {
            agreed: vec![0; classes],
            labels: vec![0; classes],
        }
    }

    fn clear(&mut self) {
        self.agreed.fill(0);
        self.labels.fill(0);
    }

    fn add(&mut self, branch: &Branch, row: usize, n: u32) {
        self.agreed[usize::from(branch.agreed[row])] += n;
        self.labels[usize::from(branch.labels[row])] += n;
    }

    /// Takes the rows of `part` away.
    fn subtract(&mut self, part: &Tally) {
        let less = |all: &mut [u32], part: &[u32]| {
            all.iter_mut().zip(part).for_each(|(a, p)| *a -= p);
        };
        less(&mut self.agreed, &part.agreed);
        less(&mut self.labels, &part.labels);
    }

    fn one_label(&self) -> bool {
        self.agreed.iter().filter(|&&c| c > 0).count() < 2
    }
}

/// A branch while it grows.
struct Branch<'a> {
    table: &'a [i64],
    columns: Vec<Sorted>,
    /// For each row the label to be learnt and the label to be counted, as numbers of `classes`.
    agreed: Vec<u16>,
    labels: Vec<u16>,
    /// The classes that occur here, ascending.
    classes: Vec<u32>,
    tree: Tree,
    /// For each row whether it goes left at the split that is being made.
    goes_left: Vec<bool>,
    buffers: Buffers,
    scratch: Vec<u32>,
}

/// Grows the tree of `rows`, which lie at a depth, until each leaf has one of the labels `agreed`; leaves
/// predict the majority of `labels`.
pub(super) fn grow(
    ground: Ground,
    rows: &[u32],
    agreed: &[u32],
    labels: &[u32],
    depth: u32,
) -> Tree {
    assert!(rows.len() <= MOST_ROWS, "a branch has few rows");
    let mut branch = Branch::new(ground, rows, agreed, labels);
    let mut all = Tally::new(branch.classes.len());
    (0..rows.len()).for_each(|row| all.add(&branch, row, 1));
    let root = branch.leaf(&all);
    branch.tree.nodes.push(root);
    branch.tree.depth = depth;
    if !all.one_label() {
        branch.columns = sort_columns(ground, rows, &branch.agreed);
        branch.grow(depth);
    }
    branch.tree
}

impl<'a> Branch<'a> {
    fn new(ground: Ground<'a>, rows: &[u32], agreed: &[u32], labels: &[u32]) -> Branch<'a> {
        let of =
            |labels: &[u32]| -> Vec<u32> { rows.iter().map(|&r| labels[r as usize]).collect() };
        let (agreed, labels) = (of(agreed), of(labels));
        let mut classes: Vec<u32> = agreed.iter().chain(&labels).copied().collect();
        classes.sort_unstable();
        classes.dedup();
        let number = |labels: Vec<u32>| -> Vec<u16> {
            let number = |l: &u32| classes.partition_point(|c| c < l) as u16;
            labels.iter().map(number).collect()
        };
        Branch {
            table: ground.table,
            columns: Vec::new(),
            agreed: number(agreed),
            labels: number(labels),
            classes,
            tree: Tree {
                nodes: Vec::new(),
                depth: 0,
            },
            goes_left: vec![false; rows.len()],
            buffers: Buffers::default(),
            scratch: vec![0; rows.len()],
        }
    }

    fn leaf(&self, tally: &Tally) -> Node {
        Node::leaf(&tally.labels, &self.classes)
    }

    /// Grows from the root, which is there.
    fn grow(&mut self, depth: u32) {
        let mut stack = vec![Open {
            node: 0,
            start: 0,
            end: self.agreed.len(),
            depth,
        }];
        let classes = self.classes.len();
        let (mut right, mut left) = (Tally::new(classes), Tally::new(classes));
        while let Some(open) = stack.pop() {
            let (start, end, depth) = (open.start, open.end, open.depth + 1);
            right.clear();
            for &cell in &self.columns[0].cells[start..end] {
                right.add(self, row_of(cell), 1);
            }
            let rows = Rows::new(self.table, &right.agreed, open.depth >= EVEN_FROM_DEPTH);
            let (which, rule, rules) = self.best(rows, start, end);
            let middle = start + self.decide(which, rule, (start, end), &mut left);
            right.subtract(&left);
            let at = self.tree.nodes.len();
            self.tree.nodes[open.node].left = at as u32;
            self.tree.nodes[open.node].split = Some(Split {
                column: self.columns[which].column,
                rule: self.columns[which].rule(rule),
                rules,
            });
            let children = [self.leaf(&left), self.leaf(&right)];
            self.tree.nodes.extend(children);
            self.tree.depth = self.tree.depth.max(depth);
            // The cells of a child that is done are not needed any more.
            let done = (left.one_label(), right.one_label());
            match done {
                (true, true) => continue,
                (false, false) => self.part(start, end),
                _ => self.keep(start, end, done.1),
            }
            let (left, right) = match done.0 {
                true => ((start, start), (start, start + end - middle)),
                false => ((start, middle), (middle, end)),
            };
            for (node, done, (start, end)) in [(at + 1, done.1, right), (at, done.0, left)] {
                if !done {
                    stack.push(Open {
                        node,
                        start,
                        end,
                        depth,
                    });
                }
            }
        }
    }

    /// The best rule over all columns, with ranks for codes: the column's place, the rule, and how many
    /// the column has.
    fn best(&mut self, rows: Rows, start: usize, end: usize) -> (usize, Rule, u32) {
        let mut best: Option<(i64, (usize, Rule, u32))> = None;
        for (which, column) in self.columns.iter().enumerate() {
            let cells = &column.cells[start..end];
            let found = column.search(cells, rows, &self.agreed, &mut self.buffers);
            if let Some((cost, rule, rules)) = found
                && best.is_none_or(|(least, _)| cost < least)
            {
                best = Some((cost, (which, rule, rules)));
            }
        }
        let best = best.expect("identical rows have one label, so some column differs");
        best.1
    }

    /// Notes which rows of a node go left, counts their labels, and returns how many they are.
    fn decide(
        &mut self,
        which: usize,
        rule: Rule,
        (start, end): (usize, usize),
        left: &mut Tally,
    ) -> usize {
        left.clear();
        let mut count = 0;
        for i in start..end {
            let column = &self.columns[which];
            let cell = column.cells[i];
            let goes = column.goes_left(rule, rank_of(cell));
            self.goes_left[row_of(cell)] = goes;
            left.add(self, row_of(cell), u32::from(goes));
            count += usize::from(goes);
        }
        count
    }

    /// Puts the cells of rows that go left before the others, both in their order.
    fn part(&mut self, start: usize, end: usize) {
        for column in &mut self.columns {
            let cells = &mut column.cells[start..end];
            let (mut kept, mut others) = (0, 0);
            for i in 0..cells.len() {
                let cell = cells[i];
                let left = usize::from(self.goes_left[row_of(cell)]);
                // Both are written and one is kept: quicker than a branch that cannot be foreseen.
                cells[kept] = cell;
                self.scratch[others] = cell;
                kept += left;
                others += 1 - left;
            }
            cells[kept..].copy_from_slice(&self.scratch[..others]);
        }
    }

    /// Puts the cells of rows of one side first, in their order; the others are lost.
    fn keep(&mut self, start: usize, end: usize, left: bool) {
        for column in &mut self.columns {
            let cells = &mut column.cells[start..end];
            let mut kept = 0;
            for i in 0..cells.len() {
                let cell = cells[i];
                cells[kept] = cell;
                kept += usize::from(self.goes_left[row_of(cell)] == left);
            }
        }
    }
}

impl Sorted {
    fn search(
        &self,
        cells: &[u32],
        rows: Rows,
        labels: &[u16],
        buffers: &mut Buffers,
    ) -> Option<Found> {
        let label = |cell: u32| u32::from(labels[row_of(cell)]);
        if rank_of(cells[0]) == rank_of(cells[cells.len() - 1]) {
            return None;
        }
        if !self.ordered {
            let groups = cells.chunk_by(|&a, &b| rank_of(a) == rank_of(b));
            let groups = groups.map(|g| (rank_of(g[0]), g.iter().map(|&cell| (label(cell), 1))));
            return scan_levels(rows, groups, buffers);
        }
        let present = match self.missing {
            Some(missing) => cells.partition_point(|&cell| rank_of(cell) < missing),
            None => cells.len(),
        };
        let missing = cells[present..].iter().map(|&cell| (label(cell), 1));
        let present = cells[..present].iter();
        let present = present.map(|&cell| (rank_of(cell), label(cell), 1));
        scan_ordered(rows, missing, present, buffers)
    }

    fn goes_left(&self, rule: Rule, rank: u32) -> bool {
        match rule {
            Rule::UpTo { missing_left, .. } if Some(rank) == self.missing => missing_left,
            Rule::UpTo { cut, .. } => rank <= cut,
            Rule::Is(value) => rank == value,
        }
    }

    /// A rule on ranks as one on codes.
    fn rule(&self, rule: Rule) -> Rule {
        match rule {
            Rule::UpTo { cut, missing_left } => Rule::UpTo {
                cut: self.codes[cut as usize],
                missing_left,
            },
            Rule::Is(value) => Rule::Is(self.codes[value as usize]),
        }
    }
}

/// The columns that have more than one code among `rows`, sorted.
fn sort_columns(ground: Ground, rows: &[u32], labels: &[u16]) -> Vec<Sorted> {
    let mut by_label: Vec<u16> = (0..rows.len()).map(|i| i as u16).collect();
    by_label.sort_by_key(|&i| labels[usize::from(i)]);
    let mut codes = Vec::new();
    let mut columns = Vec::with_capacity(ground.columns.len());
    for (which, coded) in ground.columns.iter().enumerate() {
        codes.clear();
        match ground.bytes.get(which).filter(|b| !b.is_empty()) {
            Some(bytes) => codes.extend(rows.iter().map(|&r| u32::from(bytes[r as usize]))),
            None => codes.extend(rows.iter().map(|&r| coded.codes[r as usize])),
        }
        // Codes and rows, ascending; rows with equal codes by label.
        let keys = match coded.n_values as usize <= 4 * rows.len() {
            true => count_and_place(&codes, coded.n_values, &by_label),
            false => {
                let place = (0u64..).zip(&by_label);
                let code = |i: u16| u64::from(codes[usize::from(i)]);
                let key = |(place, &i)| code(i) << 32 | place << 16 | u64::from(i);
                let mut keys: Vec<u64> = place.map(key).collect();
                keys.sort_unstable();
                let short = |key: u64| ((key >> 32) as u32, key as u16);
                keys.into_iter().map(short).collect()
            }
        };
        let mut ranked: Vec<u32> = Vec::new();
        let rank = |(code, row): (u32, u16)| {
            if ranked.last() != Some(&code) {
                ranked.push(code);
            }
            (ranked.len() as u32 - 1) << 16 | u32::from(row)
        };
        let cells: Vec<u32> = keys.into_iter().map(rank).collect();
        let last = ranked.len() - 1;
        if last > 0 {
            columns.push(Sorted {
                column: which as u32,
                cells,
                missing: (ranked[last] == coded.n_values).then_some(last as u32),
                codes: ranked,
                ordered: coded.ordered,
            });
        }
    }
    columns
}

/// Codes and rows by code, rows of one code in the order of `rows`.
fn count_and_place(codes: &[u32], n_values: u32, rows: &[u16]) -> Vec<(u32, u16)> {
    let mut places = vec![0usize; n_values as usize + 2];
    for &code in codes {
        places[code as usize + 1] += 1;
    }
    let mut sum = 0;
    for place in &mut places {
        sum += *place;
        *place = sum;
    }
    let mut keys = vec![(0, 0); rows.len()];
    for &row in rows {
        let code = codes[usize::from(row)];
        let place = &mut places[code as usize];
        keys[*place] = (code, row);
        *place += 1;
    }
    keys
}
