//! `bantam measure`: what the data call for, before any training.

mod text;
mod variants;

use std::path::PathBuf;

use bantam::results::AllRows;
use bantam::{
    Error, ErrorKind, MeasureOptions, PartialOptions, Result, measure_all, merge, partial,
};

use crate::args::{DataArgs, Global, rates};
use crate::output::{OutFile, Stdout, check_place, pairs};
use crate::progress::observer;
use crate::values::{grouped, percent};

const KEYS: &str = "Keys of --json: those of docs/json.md, among them headline.{rho, interval, method, null}, \
methods[].{method, value, interval, null, ratio}, threshold_sort.{typed, compat}.{changes, correct, null}, \
tree.{memorise, needed, null}, progression[].{fraction, rows, bits, null}, progression_slope, verdict, \
rows_needed, expected_accuracy.{point, low, high}, ranking[], intrinsic_dimension, difficulty[], \
sized.{hidden, capacity_bits, needed_low_bits, needed_high_bits, explanation} and \
budget.{parameters, bytes, macs, train_seconds, ram_bytes, ...}.{low, high}, both null where a number is \
predicted without a tolerance or all rows have one class, budget also where rows are too few to train on, \
all_rows (null when the data fit into memory). With --partial and --merge, \
those of all_rows: rows, rows_without_target, columns, classes, class_counts, entropy_bits, best_guess, \
missing_cells, groups, threshold_sort.typed.{changes, correct, null, permuted}.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct MeasureArgs {
    /// A table (CSV, TSV, Parquet), an array file, a folder of images by class, or of IDX files
    #[arg(value_name = "DATA", required_unless_present_any = ["merge", "variants"])]
    data: Option<PathBuf>,
    /// Seed of samples and shuffles
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Rates of energy and money for the budget, a TOML file
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,
    /// Predict a number to within this much, either way: ranges of twice the size are classes
    #[arg(long, value_name = "AMOUNT")]
    tolerance: Option<f64>,
    /// Print everything: difficulty, dimension, all columns, all projections
    #[arg(long)]
    details: bool,
    /// Write a page with plots as well
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Compare what the variants in a file, each with some of the columns, take
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "tolerance", "report", "details", "rates", "partial", "merge"])]
    variants: Option<PathBuf>,
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
    args.report.iter().try_for_each(|out| check_place(out))?;
    let Some(data) = &args.data else {
        return without_data(args, global);
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
    let options = MeasureOptions {
        tolerance: args.tolerance,
    };
    let report = measure_all(&recipe, &options, &rates, &mut *observer)?;
    drop(observer);
    let (measured, sized) = (&report.measured, report.sized.as_ref());
    if let Some(path) = &args.report {
        let page = bantam::report::render_measured(&recipe.name, measured, sized);
        let mut file = OutFile::create(path)?;
        let written = std::io::Write::write_all(&mut file, page.as_bytes());
        written.map_err(|e| Error::file(path, &e))?;
        file.finish()?;
    }
    if global.json {
        return Stdout::json(&report);
    }
    if measured.study.is_none() && measured.tolerance_curve.is_empty() {
        return Err(Error::new(ErrorKind::Internal, "nothing was measured"));
    }
    let mut text = text::text(measured, sized, args.details);
    if let Some(budget) = &report.budget {
        let budget = budget.text();
        text.push_str(&budget.replacen("budget: ", "\nWhat grow takes here, about: ", 1));
        text.push('\n');
    }
    if let Some(all) = &report.all_rows {
        text.push_str("\nAll rows, those of the sample among them:\n");
        text.push_str(&of_all(all));
    }
    Stdout::print(&text)
}

/// Variants of a table, or partial results.
fn without_data(args: &MeasureArgs, global: &Global) -> Result<()> {
    if args.variants.is_some() {
        return variants::run(args.variants.as_deref(), args.seed, global);
    }
    let parts = &args.parts;
    let seed = args.seed.unwrap_or(0);
    print_all(
        &merge(&parts.merge, parts.partial.as_deref(), seed)?,
        global,
    )
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
