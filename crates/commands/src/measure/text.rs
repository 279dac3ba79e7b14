//! What a person reads: the answer in ten seconds, then the evidence.

use bantam::results::{Band, Interval, Measured, Sized, Study};

use crate::output::{columns, pairs};
use crate::values::{grouped, percent};

/// Columns of a ranking and columns left out that are shown.
const SHOWN: usize = 8;

pub fn text(m: &Measured, sized: Option<&Sized>, details: bool) -> String {
    let mut parts = vec![pairs(&answer(m, sized))];
    if let Some(study) = &m.study {
        parts.push(methods(study));
        parts.push(progression(study));
        parts.push(ranking(study, details));
    }
    if !m.tolerance_curve.is_empty() {
        parts.push(tolerances(m));
    }
    if let (Some(study), true) = (&m.study, details) {
        parts.push(more(m, study));
        parts.push(projections(study));
        parts.push(difficulty(study));
    }
    parts.join("\n")
}

/// A number with so many decimal places, never `-0`.
fn fixed(x: f64, digits: usize) -> String {
    let text = format!("{x:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        _ => text,
    }
}

fn n(n: usize) -> String {
    grouped(n as u64)
}

/// The answer, a line a question.
fn answer(m: &Measured, sized: Option<&Sized>) -> Vec<(&'static str, String)> {
    let mut rows = vec![("data", data(m))];
    if let Some(s) = &m.study {
        rows.push(("verdict", format!("{}: {}", s.verdict, s.reading)));
        if let Some(h) = &s.headline {
            let at = format!("{:.2} {}", h.rho, band(h.interval.as_ref(), 2));
            let null = format!("[{:.2}, {:.2}]", h.null.low, h.null.high);
            rows.push((
                "capacity",
                format!(
                    "{at} of what labels without a rule take (they take 1, {null}); the least of {} methods, \
                     by {}",
                    s.methods.len(),
                    h.method
                ),
            ));
        }
        if let Some(e) = &s.expected_accuracy {
            rows.push((
                "accuracy",
                format!(
                    "{} [{}, {}] to expect on rows not seen ({}, {} folds); best guess {}",
                    percent(e.point),
                    percent(e.low),
                    percent(e.high),
                    e.model,
                    e.folds,
                    percent(m.best_guess)
                ),
            ));
        }
        rows.push(("rows", rows_text(m, s)));
    }
    if let Some(sized) = sized {
        let (low, high) = (sized.needed_low_bits, sized.needed_high_bits);
        let unit =
            "an estimate by decision tree: the part that pays on rows not seen, to all labels";
        rows.push(("data need", format!("{low:.0} to {high:.0} bits ({unit})")));
        let hidden: Vec<String> = sized.hidden.iter().map(usize::to_string).collect();
        let (hidden, bits) = (hidden.join(", "), sized.capacity_bits);
        let start = "a starting point, not a law";
        rows.push((
            "first network",
            format!("hidden layers {hidden}, which can hold {bits:.0} bits ({start})"),
        ));
    }
    if m.study.is_none() {
        rows.push((
            "verdict",
            "a number takes as many bits as it has to be exact: give --tolerance for a verdict, or \
             read the curve below"
                .to_owned(),
        ));
    }
    for (column, reason) in m.left_out.iter().take(SHOWN) {
        rows.push(("left out", format!("{column}: {reason}")));
    }
    if m.left_out.len() > SHOWN {
        rows.push(("", format!("and {} more columns", m.left_out.len() - SHOWN)));
    }
    rows
}

fn data(m: &Measured) -> String {
    let mut text = format!("{} rows, {} columns", n(m.rows), n(m.columns));
    if m.classes > 0 {
        let counts = m.class_counts.iter().take(6);
        let counts: Vec<String> = counts
            .map(|(name, c)| format!("{name}: {}", n(*c)))
            .collect();
        let more = if m.class_counts.len() > 6 {
            ", ..."
        } else {
            ""
        };
        text += &format!(", {} classes ({}{more})", m.classes, counts.join(", "));
    }
    if m.missing_cells > 0 {
        text += &format!(
            ", {} missing cells ({})",
            n(m.missing_cells),
            percent(m.missing_share)
        );
    }
    if m.duplicate_rows > 0 {
        text += &format!(", {} duplicate rows", n(m.duplicate_rows));
    }
    if m.irreducible_error > 0.0 {
        let error = percent(m.irreducible_error);
        text += &format!(", {error} that no rule of these columns can answer");
    }
    text
}

fn rows_text(m: &Measured, s: &Study) -> String {
    let slope = match (s.progression_slope, &s.progression_slope_interval) {
        (Some(slope), Some(i)) => format!(
            "capacity grows as rows to the power {slope:.2} [{:.2}, {:.2}]",
            i.low, i.high
        ),
        _ if s.progression.len() < 3 => "too few rows to see capacity grow".to_owned(),
        _ => "there was nothing to memorise".to_owned(),
    };
    let needed = match &s.rows_needed {
        None => "rows still needed: not known, the learning curve cannot be fitted".to_owned(),
        Some(r) if !r.told => format!(
            "rows still needed cannot be told: an end of the learning curve anywhere from {:.2} to {:.2} bits \
             a row fits, so that {} of the {} rows may be enough, or ten times as many too few",
            r.floor_low,
            r.floor_high,
            n(r.low.round() as usize),
            n(m.rows)
        ),
        Some(r) => {
            let beyond = |rows: f64| match rows >= r.furthest {
                true => format!("over {}", n(r.furthest as usize)),
                false => n(rows.round() as usize),
            };
            let found = beyond(r.rows.unwrap_or(f64::INFINITY));
            format!(
                "{found} [{}, {}] for nine tenths of what such rows can bring, and there are {}",
                beyond(r.low),
                beyond(r.high),
                n(m.rows)
            )
        }
    };
    format!("{needed}; {}{slope}", last_doubling(s))
}

/// What more rows brought so far, which no curve has to tell.
fn last_doubling(s: &Study) -> String {
    let mut losses = s
        .progression
        .iter()
        .rev()
        .filter_map(|p| Some((p.rows, p.loss_bits?)));
    let (Some((rows, loss)), Some((fewer, before))) = (losses.next(), losses.next()) else {
        return String::new();
    };
    let (rows, fewer) = (n(rows.round() as usize), n(fewer.round() as usize));
    format!("from {fewer} to {rows} rows, the bits left open went from {before:.3} to {loss:.3}; ")
}

fn band(band: Option<&Band>, digits: usize) -> String {
    band.map_or_else(
        || "[too few rows]".to_owned(),
        |b| format!("[{:.digits$}, {:.digits$}]", b.low, b.high),
    )
}

fn null(i: &Interval) -> String {
    format!("{:.0} [{:.0}, {:.0}]", i.mean, i.low, i.high)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn methods(s: &Study) -> String {
    let mut rows = vec![row([
        "method",
        "rows",
        "found",
        "shuffled labels",
        "ratio",
        "90 %",
        "origin",
    ])];
    rows.extend(s.methods.iter().map(|m| {
        vec![
            m.method.clone(),
            n(m.rows),
            format!("{:.0} {}", m.value, m.unit),
            null(&m.null),
            m.ratio
                .map_or_else(|| "-".to_owned(), |r| format!("{r:.2}")),
            band(m.ratio_interval.as_ref(), 2),
            m.origin.clone(),
        ]
    }));
    let note = "Each is an upper bound found in one way among many. A ratio near 1 is no evidence of \
                structure,\nand not evidence that there is none.\n";
    columns(&rows) + note
}

fn progression(s: &Study) -> String {
    let mut rows = vec![row([
        "part",
        "rows",
        "decisions",
        "90 %",
        "shuffled labels",
        "ratio",
    ])];
    rows.extend(s.progression.iter().map(|p| {
        vec![
            format!("{:.0} %", 100.0 * p.fraction),
            n(p.rows.round() as usize),
            format!("{:.1}", p.bits),
            format!("[{:.1}, {:.1}]", p.low, p.high),
            format!("{:.1} [{:.1}, {:.1}]", p.null, p.null_low, p.null_high),
            p.ratio
                .map_or_else(|| "-".to_owned(), |r| format!("{r:.2}")),
        ]
    }));
    columns(&rows)
}

fn ranking(s: &Study, details: bool) -> String {
    let mut rows = vec![row([
        "column",
        "saves",
        "shuffled",
        "accuracy so far",
        "alone",
    ])];
    let bits = |b: Option<f64>| b.map_or_else(|| "-".to_owned(), |b| fixed(b, 3) + " bits");
    let shown = if details { usize::MAX } else { SHOWN };
    rows.extend(s.ranking.iter().take(shown).map(|c| {
        let spread = c.shuffled_deviation.unwrap_or(0.0);
        let shuffled = c
            .shuffled_bits
            .map(|b| format!("{} ± {spread:.3}", fixed(b, 3)));
        vec![
            c.rank
                .map_or_else(|| c.column.clone(), |r| format!("{r}. {}", c.column)),
            bits(c.saved_bits),
            shuffled.unwrap_or_else(|| "-".to_owned()),
            c.accuracy.map_or_else(|| "-".to_owned(), percent),
            bits(Some(c.alone_bits)),
        ]
    }));
    let note = match s.ranking.iter().any(|c| c.rank.is_some()) {
        true => "",
        false => "No column does better than itself shuffled.\n",
    };
    columns(&rows) + note
}

fn tolerances(m: &Measured) -> String {
    let mut rows = vec![row([
        "tolerance",
        "ranges",
        "bits a row",
        "sort",
        "random",
        "tree",
        "shuffled",
        "ratio",
    ])];
    rows.extend(m.tolerance_curve.iter().map(|p| {
        let ratio = p.memorise as f64 / p.tree_null.max(1.0);
        vec![
            format!("{:.4}", p.tolerance),
            n(p.cells),
            format!("{:.2}", p.entropy_bits),
            n(p.changes),
            format!("{:.0}", p.null),
            n(p.memorise),
            format!("{:.0}", p.tree_null),
            format!("{ratio:.2}"),
        ]
    }));
    columns(&rows)
}

fn more(m: &Measured, s: &Study) -> String {
    let sort = |s: &bantam::results::ThresholdSort| {
        format!(
            "{} changes, {} rows right; {:.1} in a random order, {} with shuffled labels",
            n(s.changes),
            n(s.correct),
            s.null,
            null(&s.permuted)
        )
    };
    let mut rows = vec![
        (
            "label entropy",
            format!(
                "{:.3} bits a row, {:.1} in all",
                m.entropy_bits, m.label_bits
            ),
        ),
        ("threshold sort", sort(&m.threshold_sort.typed)),
    ];
    if let Some(with) = &m.threshold_sort.with_identifiers {
        rows.push(("with identifiers", sort(with)));
    }
    if let Some(compat) = &m.threshold_sort.compat {
        rows.push(("texts (compat)", sort(compat)));
    }
    let t = &m.tree;
    rows.push((
        "decision tree",
        format!(
            "{} splits answer {} rows, {} of them pay on rows not seen; {} with shuffled labels of {} rows",
            n(t.memorise),
            n(t.correct),
            n(t.needed),
            null(&t.permuted),
            n(t.null_rows)
        ),
    ));
    if let Some(with) = t.memorise_with_identifiers {
        rows.push(("with identifiers", format!("{} splits", n(with))));
    }
    let g = &s.generalization;
    let number =
        |x: Option<f64>, digits: usize| x.map_or_else(|| "-".to_owned(), |x| fixed(x, digits));
    rows.push((
        "generalisation",
        format!(
            "{} label bits a decision of the tree; {} with shuffled labels",
            number(g.bits_per_bit, 2),
            number(g.null, 2)
        ),
    ));
    rows.push((
        "closed forms",
        format!(
            "{} % memorised, resilience {} by the changes of the sort (compat)",
            number(g.memorised.map(|x| 100.0 * x), 2),
            number(g.resilience, 2)
        ),
    ));
    let usable = format!(
        "{:.3} bits a row that a forest can use of the columns",
        s.usable_bits_per_row
    );
    rows.push(("usable", usable));
    if let Some(l) = &s.nearest_neighbour {
        rows.push((
            "least error",
            format!(
                "{} to {} by the nearest neighbour of {} rows, if the metric fits and rows are many",
                percent(l.bayes_error.low),
                percent(l.bayes_error.high),
                n(l.rows)
            ),
        ));
    }
    let d = &s.intrinsic_dimension;
    rows.push((
        "dimension",
        format!(
            "{} {} by two neighbours, {} {} by maximum likelihood, of {} distinct rows",
            number(d.two_nn, 1),
            band(d.two_nn_interval.as_ref(), 1),
            number(d.mle, 1),
            band(d.mle_interval.as_ref(), 1),
            n(d.rows)
        ),
    ));
    for model in s.expected_accuracy.iter().flat_map(|e| &e.models) {
        let loss = model
            .loss_bits
            .map(|l| format!(", {l:.3} bits a row left open"));
        let text = format!(
            "{} right on rows not seen{}",
            percent(model.accuracy),
            loss.unwrap_or_default()
        );
        rows.push(("model", format!("{}: {text}", model.model)));
    }
    pairs(&rows)
}

fn projections(s: &Study) -> String {
    let mut rows = vec![row(["projection", "changes", "rows right", "cost"])];
    rows.extend(s.projections.iter().map(|p| {
        vec![
            p.name.clone(),
            n(p.changes),
            n(p.correct),
            format!("{:.0} bits", p.cost),
        ]
    }));
    columns(&rows)
}

fn difficulty(s: &Study) -> String {
    let mut rows = vec![row(["difficulty", "value", "90 %"])];
    rows.extend(s.difficulty.iter().map(|d| {
        let name = format!("{} ({})", d.name, d.meaning);
        vec![
            name,
            format!("{:.3}", d.value),
            band(d.interval.as_ref(), 3),
        ]
    }));
    columns(&rows)
}
