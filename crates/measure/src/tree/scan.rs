//! Finds the cheapest rule of one column while its cells pass in ascending order.
//!
//! A rule costs the entropy it leaves, in fixed point: `sum over sides (n log2 n - sum over classes
//! c log2 c)`. What a class adds changes only when rows of that class pass, so that a cut costs the same
//! work with two classes as with two hundred.

use super::grow::Rule;

/// Is more than any cost.
const UNEVEN: i64 = 1 << 60;

/// Rows on the left of a cut, and `c log2 c` of both sides summed over the classes.
#[derive(Default)]
struct Side {
    counts: Vec<u32>,
    rows: usize,
    sum: i64,
}

impl Side {
    /// No rows on the left. `whole` is the sum with all rows on one side.
    fn clear(&mut self, classes: usize, whole: i64) {
        self.counts.clear();
        self.counts.resize(classes, 0);
        self.rows = 0;
        self.sum = whole;
    }

    /// Moves `n` rows of a class of `total` rows over to the left.
    #[inline]
    fn add(&mut self, table: &[i64], total: u32, class: usize, n: u32) {
        let left = self.counts[class];
        let (now, rest) = (left + n, total - left);
        self.counts[class] = now;
        self.rows += n as usize;
        self.sum += table[now as usize] - table[left as usize];
        self.sum += table[(rest - n) as usize] - table[rest as usize];
    }

    /// Moves them back.
    #[inline]
    fn take(&mut self, table: &[i64], total: u32, class: usize, n: u32) {
        let left = self.counts[class];
        let (now, rest) = (left - n, total - left);
        self.counts[class] = now;
        self.rows -= n as usize;
        self.sum += table[now as usize] - table[left as usize];
        self.sum += table[(rest + n) as usize] - table[rest as usize];
    }
}

/// The rows of a node of each class, and what splitting them is looked up in.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// `x log2 x` in fixed point.
    pub(super) table: &'a [i64],
    /// Rows of each class.
    pub(super) total: &'a [u32],
    /// Whether cuts that leave a sixteenth on each side go before all others.
    pub(super) even: bool,
    n: usize,
    whole: i64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(table: &'a [i64], total: &'a [u32], even: bool) -> Rows<'a> {
        Rows {
            table,
            total,
            even,
            n: total.iter().map(|&c| c as usize).sum(),
            whole: total.iter().map(|&c| table[c as usize]).sum(),
        }
    }
}

/// The cheapest rule of a column: its cost, itself, and the number of rules that the column has.
pub(super) type Found = (i64, Rule, u32);

/// Buffers of a scan, to be used again.
#[derive(Default)]
pub(super) struct Buffers {
    left: Side,
    with_missing: Side,
}

/// Both ways to deal with missing cells at the cuts of an ordered column.
struct Cuts<'a, 'b> {
    rows: Rows<'a>,
    buffers: &'b mut Buffers,
    has_missing: bool,
    cheapest: Option<(i64, Rule)>,
}

impl<'a, 'b> Cuts<'a, 'b> {
    fn new(
        rows: Rows<'a>,
        missing: impl Iterator<Item = (u32, u32)>,
        buffers: &'b mut Buffers,
    ) -> Cuts<'a, 'b> {
        let classes = rows.total.len();
        buffers.left.clear(classes, rows.whole);
        let mut has_missing = false;
        for (class, n) in missing {
            if !has_missing {
                buffers.with_missing.clear(classes, rows.whole);
                has_missing = true;
            }
            let total = rows.total[class as usize];
            let side = &mut buffers.with_missing;
            side.add(rows.table, total, class as usize, n);
        }
        Cuts {
            rows,
            buffers,
            has_missing,
            cheapest: None,
        }
    }

    /// Moves `n` rows of a class to the left.
    fn move_left(&mut self, class: u32, n: u32) {
        let class = class as usize;
        let (table, total) = (self.rows.table, self.rows.total[class]);
        self.buffers.left.add(table, total, class, n);
        if self.has_missing {
            self.buffers.with_missing.add(table, total, class, n);
        }
    }

    /// Offers the cut behind `cut`.
    fn offer(&mut self, cut: u32) {
        let rule = |missing_left| Rule::UpTo { cut, missing_left };
        let Buffers { left, with_missing } = &*self.buffers;
        offer(&self.rows, left, rule(false), &mut self.cheapest);
        if self.has_missing {
            offer(&self.rows, with_missing, rule(true), &mut self.cheapest);
        }
    }
}

/// The cheapest rule of a column whose codes have an order, the first of equals; None when all cells are
/// the same. `missing`: classes and numbers of the rows whose cell is missing. `present`: codes, classes
/// and numbers of the others, ascending.
pub(super) fn scan_ordered(
    rows: Rows,
    missing: impl Iterator<Item = (u32, u32)>,
    mut present: impl Iterator<Item = (u32, u32, u32)>,
    buffers: &mut Buffers,
) -> Option<Found> {
    let mut cuts = Cuts::new(rows, missing, buffers);
    // The code and the label that are passing, how many of the label's last rows have not been moved to
    // the left yet, and whether the code has had another label. These change with every row.
    let (mut code, mut label, mut run) = present.next()?;
    let (mut mixed, mut n_cuts) = (false, 0);
    // The code before, and the run's rows up to it, while the cut between the two is not offered because
    // all rows on both sides have one label; no rows otherwise.
    let mut before = (0, 0);
    for (next_code, next_label, n) in present {
        if next_code != code {
            n_cuts += 1;
            // The best cut is never between groups of one and the same label (Fayyad and Irani, "On the
            // handling of continuous-valued attributes", 1992).
            if mixed || next_label != label {
                cuts.move_left(label, run);
                cuts.offer(code);
                (run, before) = (0, (0, 0));
            } else {
                before = (code, run);
            }
            (code, mixed) = (next_code, false);
        } else if next_label != label {
            // This code turns out to have more than one label.
            if before.1 > 0 {
                cuts.move_left(label, before.1);
                cuts.offer(before.0);
                (run, before) = (run - before.1, (0, 0));
            }
            cuts.move_left(label, run);
            (run, mixed) = (0, true);
        }
        label = next_label;
        run += n;
    }
    let mut rules = n_cuts;
    if cuts.has_missing {
        // What is there against what is missing.
        rules = 2 * n_cuts + 1;
        cuts.move_left(label, run);
        let rule = Rule::UpTo {
            cut: code,
            missing_left: false,
        };
        let left = &cuts.buffers.left;
        offer(&rows, left, rule, &mut cuts.cheapest);
    }
    cuts.cheapest.map(|(cost, rule)| (cost, rule, rules))
}

/// Takes a rule that has the rows of `side` on one side, when it is the cheapest so far.
#[inline]
fn offer(rows: &Rows, side: &Side, rule: Rule, cheapest: &mut Option<(i64, Rule)>) {
    let (left, right) = (side.rows, rows.n - side.rows);
    if left == 0 || right == 0 {
        return;
    }
    let mut cost = rows.table[left] + rows.table[right] - side.sum;
    if rows.even && left.min(right) * 16 < rows.n {
        cost += UNEVEN;
    }
    if cheapest.is_none_or(|(least, _)| cost < least) {
        *cheapest = Some((cost, rule));
    }
}

/// The cheapest rule of a column whose codes have no order: one of them against all others. A group is
/// a code, which may be that of missing cells, and the classes and numbers of its rows.
pub(super) fn scan_levels<G: Iterator<Item = (u32, u32)> + Clone>(
    rows: Rows,
    groups: impl Iterator<Item = (u32, G)>,
    buffers: &mut Buffers,
) -> Option<Found> {
    let side = &mut buffers.left;
    side.clear(rows.total.len(), rows.whole);
    let (mut cheapest, mut rules) = (None, 0);
    for (code, group) in groups {
        rules += 1;
        for (class, n) in group.clone() {
            side.add(rows.table, rows.total[class as usize], class as usize, n);
        }
        offer(&rows, side, Rule::Is(code), &mut cheapest);
        for (class, n) in group {
            side.take(rows.table, rows.total[class as usize], class as usize, n);
        }
    }
    cheapest.map(|(cost, rule)| (cost, rule, rules))
}
