//! What was measured before training, and the starting network that follows from it.
//!
//! A capacity is an estimate of one method on these rows, never a law: each stands beside the same
//! figure for labels without a rule, with the interval of that, and the reading says what it does not
//! show.

use super::bars::{IntervalRow, Intervals, bar, intervals};
use super::text::{NONE, count, counted, digits, escape, name, percent, share};
use super::{facts, study, table};
use crate::results::{Interval, Measured, RunResult, Sized};
use bantam_core::order::sort_by_key;

/// Classes shown by name; the rest are summed.
const MOST_CLASSES: usize = 20;
/// Columns left out that are shown without unfolding.
const MOST_LEFT_OUT: usize = 12;
/// Below this difference, two capacities are the same: the spread of trees over encodings.
const SAME: f64 = 0.15;

/// What the rows of the table of capacities are.
const METHODS: &str = "<p class=\"soft\">Threshold sort: label changes along the rows sorted by the plain \
    sum of their columns. Tree, every row: splits of a decision tree that answers every row it can, rule \
    and noise. Tree, the rule: splits that pay on rows not seen. Random order: what the sort is expected \
    to find in rows in random order. Permuted labels: mean of draws, and the interval that holds 90 % of \
    them.</p>";

/// The data: rows, classes, columns, capacities.
pub(super) fn data(result: &RunResult) -> String {
    let Some(measured) = &result.measured else {
        return "<p>The data were not measured in this run.</p>".to_owned();
    };
    let more = match measured.study.is_none() && measured.classes > 0 {
        true => {
            "<p class=\"soft\">How capacity grows with the rows, which columns matter and what accuracy to \
             expect takes longer than a run should wait for on a table of this size: <code>bantam measure \
             DATA --report FILE</code> draws it.</p>"
        }
        false => "",
    };
    of(measured) + more
}

/// A measurement.
pub(super) fn of(measured: &Measured) -> String {
    if measured.classes == 0 {
        return [
            overview(measured),
            left_out(&measured.left_out),
            study::tolerances(measured),
        ]
        .concat();
    }
    [
        overview(measured),
        balance(&measured.class_counts),
        left_out(&measured.left_out),
        capacities(measured),
        measured
            .study
            .as_ref()
            .map_or_else(String::new, study::plots),
        study::tolerances(measured),
        reading(measured),
    ]
    .concat()
}

fn overview(m: &Measured) -> String {
    let mut list = vec![
        ("Rows measured", count(m.rows as u64)),
        ("Feature columns", count(m.columns as u64)),
        ("Missing cells", count(m.missing_cells as u64)),
        ("Duplicate rows", count(m.duplicate_rows as u64)),
    ];
    if m.classes > 0 {
        list.push(("Classes", count(m.classes as u64)));
        list.push((
            "Entropy of the labels",
            format!("{} bits a row", digits(m.entropy_bits, 3)),
        ));
        list.push(("Largest class", percent(m.best_guess, 1)));
        list.push(("Beyond any rule", percent(m.irreducible_error, 1)));
    }
    let mut out = facts(&list);
    if m.irreducible_error > 0.0 && m.classes > 0 {
        out += &format!(
            "<p class=\"soft\">{} of the rows cannot be answered by any rule, because rows that are equal in \
             every column have other labels.</p>",
            percent(m.irreducible_error, 1)
        );
    }
    out
}

fn balance(classes: &[(String, usize)]) -> String {
    if classes.is_empty() {
        return String::new();
    }
    let total: u64 = classes.iter().map(|c| c.1 as u64).sum();
    let most = classes.iter().map(|c| c.1).max().unwrap_or(0).max(1) as f64;
    let mut order: Vec<&(String, usize)> = classes.iter().collect();
    if classes.len() > MOST_CLASSES {
        sort_by_key(&mut order, |c| std::cmp::Reverse(c.1));
    }
    let row =
        |label: String, n: u64| vec![label, bar(n as f64 / most, "p1"), count(n), share(n, total)];
    let shown = order.iter().take(MOST_CLASSES);
    let mut rows: Vec<_> = shown
        .map(|(label, n)| row(name(label), *n as u64))
        .collect();
    if order.len() > MOST_CLASSES {
        let rest = &order[MOST_CLASSES..];
        let n: u64 = rest.iter().map(|c| c.1 as u64).sum();
        let label = format!("<i>{} smaller classes</i>", count(rest.len() as u64));
        rows.push(vec![label, String::new(), count(n), share(n, total)]);
    }
    table(
        "bars",
        "Rows of each class",
        &["Class", "", "Rows", "Share"],
        &rows,
    )
}

fn left_out(columns: &[(String, String)]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = columns
        .iter()
        .map(|(column, why)| vec![name(column), escape(why)])
        .collect();
    let table = table("texts", "Columns left out", &["Column", "Why"], &rows);
    if columns.len() <= MOST_LEFT_OUT {
        return table;
    }
    let n = counted(columns.len() as u64, "column", "columns");
    format!("<details><summary>{n} left out</summary>{table}</details>")
}

/// The capacities beside what labels without a rule would need.
fn capacities(m: &Measured) -> String {
    let (sort, tree) = (&m.threshold_sort.typed, &m.tree);
    let heads = [
        "Method",
        "Found",
        "Random order",
        "Permuted labels",
        "Found / permuted",
    ];
    let rows = vec![
        vec![
            "Threshold sort".to_owned(),
            count(sort.changes as u64),
            digits(sort.null, 3),
            interval(&sort.permuted),
            ratio(sort.changes, &sort.permuted),
        ],
        vec![
            "Tree, every row".to_owned(),
            count(tree.memorise as u64),
            NONE.to_owned(),
            interval(&tree.permuted),
            ratio(tree.memorise, &tree.permuted),
        ],
        vec![
            "Tree, the rule".to_owned(),
            count(tree.needed as u64),
            NONE.to_owned(),
            NONE.to_owned(),
            NONE.to_owned(),
        ],
    ];
    let table = table("figures", "Capacity estimates, in decisions", &heads, &rows);
    format!(
        "{table}{METHODS}<div class=\"plots\">{}</div>",
        against_null(m)
    )
}

fn interval(i: &Interval) -> String {
    if ![i.mean, i.low, i.high].iter().all(|v| v.is_finite()) {
        return NONE.to_owned();
    }
    format!(
        "{} <span class=\"soft\">[{}, {}]</span>",
        digits(i.mean, 3),
        digits(i.low, 3),
        digits(i.high, 3)
    )
}

fn ratio(found: usize, permuted: &Interval) -> String {
    match permuted.mean > 0.0 {
        true => digits(found as f64 / permuted.mean, 2),
        false => NONE.to_owned(),
    }
}

/// Both methods relative to permuted labels, with the interval of those.
fn against_null(m: &Measured) -> String {
    let row = |label: &str, found: usize, i: &Interval| {
        let scaled = |v: f64| v / i.mean;
        let known = i.mean.is_finite() && i.mean > 0.0;
        IntervalRow {
            label: label.to_owned(),
            interval: known.then(|| (scaled(i.low), scaled(i.high))),
            point: known.then(|| scaled(found as f64)),
            says: format!(
                "{label}: found {found}, permuted labels {} [{}, {}]",
                digits(i.mean, 3),
                digits(i.low, 3),
                digits(i.high, 3)
            ),
        }
    };
    let sort = &m.threshold_sort.typed;
    intervals(&Intervals {
        id: "f-null".to_owned(),
        title: "Found, relative to labels without a rule".to_owned(),
        note: "Dot: these labels. Band: 90 % of draws with the labels permuted, whose mean is 1. \
               A dot left of its band is evidence of a rule; a dot in the band is no evidence of one."
            .to_owned(),
        axis: "decisions needed / mean of permuted labels".to_owned(),
        log: false,
        zero: Some(1.0),
        rows: vec![
            row("Threshold sort", sort.changes, &sort.permuted),
            row("Tree, every row", m.tree.memorise, &m.tree.permuted),
        ],
    })
}

/// Where a figure lies against its interval.
fn against(found: usize, i: &Interval) -> std::cmp::Ordering {
    let found = found as f64;
    if found < i.low {
        std::cmp::Ordering::Less
    } else if found > i.high {
        std::cmp::Ordering::Greater
    } else {
        std::cmp::Ordering::Equal
    }
}

/// The capacities in plain words, and what they do not show.
fn reading(m: &Measured) -> String {
    let items = [read_sort(m), read_tree(m), read_rule(m)];
    let mut out = String::from("<h3>In plain words</h3><ul>");
    for item in items.iter().filter(|i| !i.is_empty()) {
        out += &format!("<li>{item}</li>");
    }
    out + "<li>These are estimates by the methods named, on these rows, and upper bounds: another order \
           or another tree may need fewer decisions. They grow with the number of rows and with label \
           noise, and they do not forecast accuracy. A network above them is large enough to memorise; \
           whether it does, the validation rows show.</li></ul>"
}

fn read_sort(m: &Measured) -> String {
    let sort = &m.threshold_sort.typed;
    let first = match against(sort.changes, &sort.permuted) {
        std::cmp::Ordering::Less => {
            "Sorted by the plain sum of the columns, the labels change less often than permuted ones: \
             there is structure along this sum."
        }
        _ => {
            "Sorted by the plain sum of the columns, the labels look like permuted ones: no evidence of \
             structure in this projection, which is not evidence that there is none."
        }
    };
    format!(
        "{first} A table of those thresholds would answer {} of {} right; read the two figures together, \
         since rows with equal sums cannot be told apart.",
        count(sort.correct as u64),
        counted(m.rows as u64, "row", "rows"),
    )
}

fn read_tree(m: &Measured) -> String {
    let tree = &m.tree;
    if tree.permuted.mean <= 0.0 || !tree.permuted.mean.is_finite() {
        return String::new();
    }
    let relative = tree.memorise as f64 / tree.permuted.mean;
    let splits = counted(tree.memorise as u64, "split", "splits");
    let leaves = counted(tree.leaves as u64, "leaf", "leaves");
    let first = format!(
        "A decision tree that answers every row it can needs {splits} ({leaves}), {} of what permuted labels need.",
        percent(relative, 0)
    );
    let second = match against(tree.memorise, &tree.permuted) {
        std::cmp::Ordering::Less if relative < 1.0 - SAME => {
            " The columns say something about the target."
        }
        std::cmp::Ordering::Less => {
            " That is below the interval, but trees vary by some 10 % with how columns are encoded: read it as weak evidence."
        }
        _ => " That is no fewer than chance gives: no evidence of a rule a tree can use.",
    };
    first + second
}

fn read_rule(m: &Measured) -> String {
    let (rule, all) = (m.tree.needed, m.tree.memorise);
    if rule == 0 {
        return "No split pays on rows not seen: what the tree learnt of these rows is noise to it.".to_owned();
    }
    if rule >= all {
        return format!(
            "All {} also pay on rows not seen: little of this looks like noise.",
            counted(all as u64, "split", "splits")
        );
    }
    format!(
        "{} of them pay on rows not seen: the rule as a tree sees it. The other {} answer single rows: \
         noise, or rare cases that these rows are too few to show.",
        count(rule as u64),
        count((all - rule) as u64),
    )
}

/// The starting network.
pub(super) fn start(result: &RunResult) -> String {
    let Some(sized) = &result.sized else {
        return "<p>The starting network was given, not derived from a measurement.</p>".to_owned();
    };
    network(sized)
}

/// A network that follows from a measurement.
pub(super) fn network(sized: &Sized) -> String {
    let hidden: Vec<_> = sized.hidden.iter().map(|&n| count(n as u64)).collect();
    let hidden = match hidden.is_empty() {
        true => "none: a linear model".to_owned(),
        false => hidden.join(" → "),
    };
    let list = [
        ("Hidden units", hidden),
        ("Capacity of that network", bits(sized.capacity_bits)),
        (
            "The data need",
            format!(
                "{} to {}",
                bits(sized.needed_low_bits),
                bits(sized.needed_high_bits)
            ),
        ),
    ];
    format!(
        "{}<p>{}</p><p class=\"soft\">{}</p><div class=\"plots\">{}</div>",
        facts(&list),
        escape(&sized.explanation),
        enough(sized),
        need_and_capacity(sized),
    )
}

fn bits(n: f64) -> String {
    if n.is_finite() {
        format!("{} bits", digits(n, 3))
    } else {
        NONE.to_owned()
    }
}

fn enough(s: &Sized) -> &'static str {
    if s.capacity_bits >= s.needed_high_bits {
        "By this estimate the starting network is large enough to memorise every row; pruning then looks \
         for the smallest part of it that does the job."
    } else if s.capacity_bits >= s.needed_low_bits {
        "By this estimate the starting network is large enough for the rule, and too small to memorise \
         every row."
    } else if s.capacity_bits.is_finite() {
        "By this estimate the starting network is smaller than the rule calls for; its validation \
         accuracy shows whether that holds."
    } else {
        ""
    }
}

fn need_and_capacity(s: &Sized) -> String {
    intervals(&Intervals {
        id: "f-size".to_owned(),
        title: "Bits needed, bits held".to_owned(),
        note: "Band: from the tree that is kept to splits that pay, to the tree that answers every row. \
               Dot: the network, by the published rules."
            .to_owned(),
        axis: "bits (each step a factor)".to_owned(),
        log: true,
        zero: None,
        rows: vec![
            IntervalRow {
                label: "The data need".to_owned(),
                interval: Some((s.needed_low_bits, s.needed_high_bits)),
                point: None,
                says: format!("the data need {} to {}", bits(s.needed_low_bits), bits(s.needed_high_bits)),
            },
            IntervalRow {
                label: "The network can hold".to_owned(),
                interval: None,
                point: Some(s.capacity_bits),
                says: format!("the network can hold {}", bits(s.capacity_bits)),
            },
        ],
    })
}
