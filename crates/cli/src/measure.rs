//! `bantam measure`: what the data call for, before any training.

use std::path::PathBuf;

use bantam::results::{Measured, Sized};
use bantam::{Result, measure};
use serde::Serialize;

use crate::args::{DataArgs, Global};
use crate::output::{Stdout, pairs};
use crate::progress::observer;
use crate::values::{grouped, percent};

const KEYS: &str = "Keys of --json: rows, columns, classes, class_counts, entropy_bits, best_guess, \
irreducible_error, missing_cells, left_out, threshold_sort.typed.{changes, correct, null, \
permuted}, tree.{memorise, leaves, needed, permuted}, sized.{hidden, capacity_bits, \
needed_low_bits, needed_high_bits, explanation}.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct MeasureArgs {
    /// A table (CSV, TSV, Parquet), an array file, a folder of images by class, or of IDX files
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Seed of samples and shuffles
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    options: DataArgs,
}

/// What `--json` prints: the keys of [`Measured`], and `sized`.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    measured: &'a Measured,
    sized: &'a Sized,
}

pub fn run(args: &MeasureArgs, global: &Global) -> Result<()> {
    let recipe = args.options.recipe(&args.data, args.seed);
    recipe.check()?;
    let (measured, sized) = measure(&recipe, &mut *observer(global))?;
    if global.json {
        let (measured, sized) = (&measured, &sized);
        return Stdout::json(&Output { measured, sized });
    }
    Stdout::print(&text(&measured, &sized))
}

fn text(m: &Measured, sized: &Sized) -> String {
    let n = |n: usize| grouped(n as u64);
    let sort = &m.threshold_sort.typed;
    let mut rows = vec![("rows", n(m.rows)), ("columns", n(m.columns))];
    if m.classes > 0 {
        let counts = m.class_counts.iter().take(10);
        let counts: Vec<String> = counts
            .map(|(name, count)| format!("{name}: {}", n(*count)))
            .collect();
        let more = if m.class_counts.len() > 10 {
            ", ..."
        } else {
            ""
        };
        rows.push((
            "classes",
            format!("{} ({}{more})", m.classes, counts.join(", ")),
        ));
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
