//! `bantam measure`: what the data call for, before any training.

use std::path::PathBuf;

use bantam::results::{AllRows, Measured, Sized};
use bantam::{PartialOptions, Result, measure_all, merge, partial};

use crate::args::{DataArgs, Global, rates};
use crate::output::{Stdout, check_place, pairs};
use crate::progress::observer;
use crate::values::{grouped, percent};

const KEYS: &str = "Keys of --json: rows, columns, classes, class_counts, entropy_bits, best_guess, \
irreducible_error, missing_cells, left_out, threshold_sort.typed.{changes, correct, null, \
permuted}, tree.{memorise, leaves, needed, permuted}, sized.{hidden, capacity_bits, \
needed_low_bits, needed_high_bits, explanation}, budget.{parameters, bytes, macs, train_seconds, ram_bytes, ...}.{low, high}, \
all_rows (null when the data fit into memory). With \
--partial and --merge, those of all_rows: rows, rows_without_target, columns, classes, class_counts, \
entropy_bits, best_guess, missing_cells, groups, threshold_sort.typed.{changes, correct, null, permuted}.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct MeasureArgs {
    /// A table (CSV, TSV, Parquet), an array file, a folder of images by class, or of IDX files
    #[arg(value_name = "DATA", required_unless_present = "merge")]
    data: Option<PathBuf>,
    /// Seed of samples and shuffles
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Rates of energy and money for the budget, a TOML file
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,
    #[command(flatten)]
    options: DataArgs,
    #[command(flatten)]
    parts: PartArgs,
}

/// Tables in parts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tables in parts")]
struct PartArgs {
    /// Sort all rows and keep the sorted sums in FILE, to be merged with those of other parts
    #[arg(long, value_name = "FILE")]
    partial: Option<PathBuf>,
    /// Add columns up as they were for the partial result FILE, so that the two can be merged
    #[arg(
        long,
        value_name = "FILE",
        requires = "partial",
        conflicts_with = "merge"
    )]
    ruler: Option<PathBuf>,
    /// Merge partial results into what one pass over all their rows gives
    #[arg(long, value_name = "FILES", num_args = 1..)]
    #[arg(conflicts_with_all = ["data", "data_options"])]
    merge: Vec<PathBuf>,
}

pub fn run(args: &MeasureArgs, global: &Global) -> Result<()> {
    let parts = &args.parts;
    parts.partial.iter().try_for_each(|out| check_place(out))?;
    let Some(data) = &args.data else {
        let merged = merge(
            &parts.merge,
            parts.partial.as_deref(),
            args.seed.unwrap_or(0),
        )?;
        return print_all(&merged, global);
    };
    let recipe = args.options.recipe(data, args.seed);
    recipe.check()?;
    let mut observer = observer(global);
    if parts.partial.is_some() {
        let options = PartialOptions {
            out: parts.partial.clone(),
            ruler: parts.ruler.clone(),
        };
        return print_all(&partial(&recipe, &options, &mut *observer)?, global);
    }
    let rates = rates(args.rates.as_deref())?;
    let report = measure_all(&recipe, &rates, &mut *observer)?;
    drop(observer);
    if global.json {
        return Stdout::json(&report);
    }
    let mut text = text(&report.measured, &report.sized);
    text.push_str(
        &report
            .budget
            .text()
            .replacen("budget: ", "\nWhat grow takes here, about: ", 1),
    );
    text.push('\n');
    if let Some(all) = &report.all_rows {
        text.push_str("\nAll rows, those of the sample among them:\n");
        text.push_str(&of_all(all));
    }
    Stdout::print(&text)
}

fn print_all(all: &AllRows, global: &Global) -> Result<()> {
    match global.json {
        true => Stdout::json(all),
        false => Stdout::print(&of_all(all)),
    }
}

/// What is exact for all rows.
fn of_all(all: &AllRows) -> String {
    let mut rows = vec![
        ("rows", grouped(all.rows)),
        ("columns", grouped(all.columns as u64)),
        ("classes", classes(all.classes, &all.class_counts)),
        (
            "label entropy",
            format!("{:.3} bits a row", all.entropy_bits),
        ),
        ("best guess", format!("{} right", percent(all.best_guess))),
    ];
    let sort = &all.threshold_sort.typed;
    let ratio = match sort.null > 0.0 {
        true => format!(", {:.2} of it", sort.changes as f64 / sort.null),
        false => String::new(),
    };
    let (changes, correct) = (grouped(sort.changes as u64), grouped(sort.correct as u64));
    rows.push((
        "threshold sort",
        format!(
            "{changes} changes over {} different sums, {correct} rows right; {:.0} in a random \
             order{ratio}; {:.0} to {:.0} with shuffled labels",
            grouped(all.groups),
            sort.null,
            sort.permuted.low,
            sort.permuted.high
        ),
    ));
    if all.missing_cells > 0 {
        rows.push(("missing cells", grouped(all.missing_cells)));
    }
    if all.rows_without_target > 0 {
        rows.push((
            "no target",
            format!("{} rows", grouped(all.rows_without_target)),
        ));
    }
    pairs(&rows)
}

/// The number of classes and the rows of the first ten.
fn classes(number: usize, counts: &[(String, usize)]) -> String {
    let shown = counts.iter().take(10);
    let shown: Vec<String> = shown
        .map(|(name, count)| format!("{name}: {}", grouped(*count as u64)))
        .collect();
    let more = if counts.len() > 10 { ", ..." } else { "" };
    format!("{number} ({}{more})", shown.join(", "))
}

fn text(m: &Measured, sized: &Sized) -> String {
    let n = |n: usize| grouped(n as u64);
    let sort = &m.threshold_sort.typed;
    let mut rows = vec![("rows", n(m.rows)), ("columns", n(m.columns))];
    if m.classes > 0 {
        rows.push(("classes", classes(m.classes, &m.class_counts)));
        rows.push(("label entropy", format!("{:.3} bits a row", m.entropy_bits)));
        rows.push(("best guess", format!("{} right", percent(m.best_guess))));
        let error = percent(m.irreducible_error);
        rows.push((
            "contradictions",
            format!("{error} of rows that no rule can answer"),
        ));
        rows.push((
            "threshold sort",
            format!(
                "{} changes; {:.0} in a random order",
                n(sort.changes),
                sort.null
            ),
        ));
        rows.push((
            "decision tree",
            format!(
                "{} splits answer every row ({} leaves), {} pay on rows not seen; \
                 {:.0} with shuffled labels",
                n(m.tree.memorise),
                n(m.tree.leaves),
                n(m.tree.needed),
                m.tree.permuted.mean
            ),
        ));
    }
    if m.missing_cells > 0 {
        rows.push(("missing cells", n(m.missing_cells)));
    }
    for (column, reason) in &m.left_out {
        rows.push(("left out", format!("{column}: {reason}")));
    }
    let (low, high) = (sized.needed_low_bits, sized.needed_high_bits);
    rows.push(("data need", format!("{low:.0} to {high:.0} bits")));
    let hidden: Vec<String> = sized.hidden.iter().map(usize::to_string).collect();
    let capacity = sized.capacity_bits;
    rows.push((
        "first network",
        format!(
            "hidden layers {}, which hold {capacity:.0} bits",
            hidden.join(", ")
        ),
    ));
    rows.push(("why", sized.explanation.clone()));
    pairs(&rows)
}
