//! The part of the page that only a full measurement fills: verdict, methods, progression, ranking.

use super::bars::{IntervalRow, Intervals, bar, intervals};
use super::plot::{Axis, Band, Plot, Point, Series, draw};
use super::scale::Unit;
use super::table;
use super::text::{NONE, count, digits, escape, name, percent};
use crate::results::{Measured, ProgressionPoint, Study};

/// Columns of the ranking that are shown without unfolding.
const SHOWN: usize = 12;

/// The verdict under the name of the data.
pub(super) fn headline(m: &Measured) -> String {
    let Some(s) = &m.study else {
        return "<p>A number is predicted: what it takes depends on how exact it has to be.</p>"
            .to_owned();
    };
    format!(
        "<p><b>{}.</b> {}</p>",
        escape(&capital(&s.verdict)),
        escape(&s.reading)
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Plots and tables of a study.
pub(super) fn plots(s: &Study) -> String {
    format!(
        "{}<div class=\"plots\">{}{}{}</div>{}{}",
        accuracy(s),
        methods(s),
        progression(s),
        normalised(s),
        ranking(s),
        difficulty(s),
    )
}

fn accuracy(s: &Study) -> String {
    let Some(e) = &s.expected_accuracy else {
        return String::new();
    };
    format!(
        "<p>Expected on rows not seen: {} right <span class=\"soft\">[{}, {}]</span>, from a {} that answered \
         each of {} rows without having seen it ({} folds). The bracket holds 90 %; it comes from models, \
         never from a capacity.</p>",
        percent(e.point, 1),
        percent(e.low, 1),
        percent(e.high, 1),
        escape(&e.model),
        count(e.rows as u64),
        count(e.folds as u64),
    )
}

/// Ratios of all methods with their intervals, and the headline with its null.
fn methods(s: &Study) -> String {
    let mut rows: Vec<IntervalRow> = Vec::new();
    if let Some(h) = &s.headline {
        rows.push(IntervalRow {
            label: "No rule: the least of all methods".to_owned(),
            interval: Some((h.null.low, h.null.high)),
            point: Some(h.null.mean),
            says: format!(
                "permuted labels, the least of all methods: {} [{}, {}], {} draws",
                digits(h.null.mean, 3),
                digits(h.null.low, 3),
                digits(h.null.high, 3),
                h.draws
            ),
        });
        rows.push(IntervalRow {
            label: format!("These labels: the least, by {}", h.method),
            interval: h.interval.as_ref().map(|i| (i.low, i.high)),
            point: Some(h.rho),
            says: format!("the least of all methods: {}", digits(h.rho, 3)),
        });
    }
    rows.extend(s.methods.iter().map(|m| {
        let interval = m.ratio_interval.as_ref();
        IntervalRow {
            label: m.method.clone(),
            interval: interval.map(|i| (i.low, i.high)),
            point: m.ratio,
            says: format!(
                "{}: {} {}, permuted labels {} [{}, {}]",
                m.method,
                digits(m.value, 3),
                m.unit,
                digits(m.null.mean, 3),
                digits(m.null.low, 3),
                digits(m.null.high, 3)
            ),
        }
    }));
    intervals(&Intervals {
        id: "f-methods".to_owned(),
        title: "Capacity, relative to labels without a rule".to_owned(),
        note: "Dot: the estimate over its mean for permuted labels. Band: 90 % interval, from subsets of the \
               rows. Each method is an upper bound; 1 is no evidence of a rule."
            .to_owned(),
        axis: "capacity / mean of permuted labels".to_owned(),
        log: false,
        zero: Some(1.0),
        rows,
    })
}

fn says(p: &ProgressionPoint) -> String {
    format!(
        "{} rows: {} decisions [{}, {}], permuted {} [{}, {}]",
        digits(p.rows, 3),
        digits(p.bits, 3),
        digits(p.low, 3),
        digits(p.high, 3),
        digits(p.null, 3),
        digits(p.null_low, 3),
        digits(p.null_high, 3)
    )
}

/// Decisions against rows, with the band of each and of permuted labels.
fn progression(s: &Study) -> String {
    let points = |y: fn(&ProgressionPoint) -> f64| -> Vec<Point> {
        let point = |p: &ProgressionPoint| Point {
            x: p.rows,
            y: y(p),
            says: says(p),
        };
        s.progression.iter().map(point).collect()
    };
    let area = |ends: fn(&ProgressionPoint) -> (f64, f64)| -> Vec<(f64, f64, f64)> {
        let at = |p: &ProgressionPoint| (p.rows, ends(p).0, ends(p).1);
        s.progression.iter().map(at).collect()
    };
    let axis = |label: &str| Axis {
        log: true,
        ..Axis::new(label, Unit::Plain)
    };
    let slope = s.progression_slope.map_or_else(String::new, |slope| {
        let interval = s
            .progression_slope_interval
            .as_ref()
            .map_or_else(String::new, |i| {
                format!(" [{}, {}]", digits(i.low, 2), digits(i.high, 2))
            });
        format!(
            " Slope: {}{interval}; 0 is a rule that these rows show, 1 is memorising.",
            digits(slope, 2)
        )
    });
    draw(&Plot {
        id: "p-progression".to_owned(),
        title: "Capacity progression".to_owned(),
        note: format!("Decisions of a tree that answers a part of the rows; 90 % bands.{slope}"),
        x: axis("rows"),
        y: axis("decisions"),
        series: vec![
            Series {
                name: "these labels".to_owned(),
                look: 1,
                joined: true,
                points: points(|p| p.bits),
            },
            Series {
                name: "permuted labels".to_owned(),
                look: 2,
                joined: true,
                points: points(|p| p.null),
            },
        ],
        bands: vec![
            Band {
                look: 1,
                points: area(|p| (p.low, p.high)),
            },
            Band {
                look: 2,
                points: area(|p| (p.null_low, p.null_high)),
            },
        ],
        level: None,
        place: None,
    })
}

/// The same, each over its null.
fn normalised(s: &Study) -> String {
    let known: Vec<&ProgressionPoint> = s.progression.iter().filter(|p| p.null > 0.0).collect();
    let point = |p: &&ProgressionPoint| Point {
        x: p.rows,
        y: p.bits / p.null,
        says: says(p),
    };
    let band = |look: usize, ends: fn(&ProgressionPoint) -> (f64, f64)| Band {
        look,
        points: known
            .iter()
            .map(|p| (p.rows, ends(p).0 / p.null, ends(p).1 / p.null))
            .collect(),
    };
    draw(&Plot {
        id: "p-normalised".to_owned(),
        title: "Progression, relative to permuted labels".to_owned(),
        note: "Falling: more rows show more of a rule. Level: what is added is as much noise as before. In \
               the band of permuted labels: no evidence of structure."
            .to_owned(),
        x: Axis {
            log: true,
            ..Axis::new("rows", Unit::Plain)
        },
        y: Axis {
            holds: vec![0.0, 1.0],
            ..Axis::new("decisions / mean of permuted labels", Unit::Plain)
        },
        series: vec![Series {
            name: "these labels".to_owned(),
            look: 1,
            joined: true,
            points: known.iter().map(point).collect(),
        }],
        bands: vec![band(1, |p| (p.low, p.high)), band(2, |p| (p.null_low, p.null_high))],
        level: Some((1.0, "permuted labels".to_owned())),
        place: None,
    })
}

/// Columns with what they save when they are taken in turn, and what they tell alone.
fn ranking(s: &Study) -> String {
    if s.ranking.is_empty() {
        return String::new();
    }
    let most = s
        .ranking
        .iter()
        .filter_map(|c| c.saved_bits)
        .chain(s.ranking.iter().map(|c| c.alone_bits));
    let most = most.fold(1e-9, f64::max);
    let bits = |b: Option<f64>| b.map_or_else(|| NONE.to_owned(), |b| digits(b, 2));
    let rows: Vec<Vec<String>> = s
        .ranking
        .iter()
        .take(SHOWN)
        .map(|c| {
            let label = c.rank.map_or_else(String::new, |r| format!("{r}. "));
            let shuffled = c.shuffled_bits.zip(c.shuffled_deviation);
            vec![
                format!("{label}{}", name(&c.column)),
                bar(c.saved_bits.unwrap_or(0.0) / most, "p1"),
                bits(c.saved_bits),
                shuffled.map_or_else(
                    || NONE.to_owned(),
                    |(m, d)| format!("{} ± {}", digits(m, 2), digits(d, 2)),
                ),
                c.accuracy
                    .map_or_else(|| NONE.to_owned(), |a| percent(a, 1)),
                bits(Some(c.alone_bits)),
            ]
        })
        .collect();
    let heads = [
        "Column",
        "",
        "Saves",
        "Shuffled",
        "Accuracy so far",
        "Alone",
    ];
    let rest = match s.ranking.len() > SHOWN {
        true => format!(
            " {} more columns were not taken.",
            count((s.ranking.len() - SHOWN) as u64)
        ),
        false => String::new(),
    };
    format!(
        "{}<p class=\"soft\">Bits a row, on {} rows. Saves: what a forest leaves open less on rows it has not \
         seen, beside the columns before; a column is taken while it saves more than with its cells shuffled. \
         Alone: what it tells by itself (Miller and Madow).{rest}</p>",
        table("bars", "Columns by what they say", &heads, &rows),
        count(s.ranking_rows as u64),
    )
}

fn difficulty(s: &Study) -> String {
    if s.difficulty.is_empty() {
        return String::new();
    }
    let row = |d: &crate::results::DifficultyMeasure| {
        let interval = d.interval.as_ref();
        vec![
            escape(&d.name),
            bar(d.value, "p1"),
            digits(d.value, 2),
            interval.map_or_else(
                || NONE.to_owned(),
                |i| format!("[{}, {}]", digits(i.low, 2), digits(i.high, 2)),
            ),
            escape(&d.meaning),
        ]
    };
    let rows: Vec<Vec<String>> = s.difficulty.iter().map(row).collect();
    let heads = ["Measure", "", "Value", "90 %", "What it is"];
    format!(
        "<details><summary>Measures of difficulty, on {} rows</summary>{}</details>",
        count(s.difficulty_rows as u64),
        table("bars", "0 is easy, 1 is hard", &heads, &rows)
    )
}

/// What a number takes at several tolerances; nothing for classes.
pub(super) fn tolerances(m: &Measured) -> String {
    if m.tolerance_curve.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = m
        .tolerance_curve
        .iter()
        .map(|p| {
            vec![
                digits(p.tolerance, 3),
                count(p.cells as u64),
                digits(p.entropy_bits, 3),
                count(p.memorise as u64),
                digits(p.tree_null, 3),
            ]
        })
        .collect();
    let heads = ["Tolerance", "Ranges", "Bits a row", "Tree", "Permuted"];
    table(
        "figures",
        "What the number takes, by how exact it has to be",
        &heads,
        &rows,
    )
}
