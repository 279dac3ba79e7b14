//! Measuring tables that are larger than memory, or that lie on several machines.
//!
//! The threshold sort is exact for all rows: the file is read in chunks, sums are spilled when there
//! are too many, and partial results merge. Everything else is measured on a random sample, which also
//! fixes types, categories and the ruler of the sort.

use std::path::{Path, PathBuf};

use bantam_data::{ReadOptions, Sample, Sampling, memory_estimate, sample_table, stream_columns};
use bantam_measure::partial::Memory;
use bantam_measure::{Partial, Problem, Ruler, ThresholdSort};
use serde::Serialize;

use crate::budget::{self, Rates};
use crate::measuring::{MeasureOptions, measure, measure_table};
use crate::prepare::{columns, from_table, prepare, problem, read_options, target};
use crate::results::{self, AllRows, Measured, Sized};
use crate::watch::{Observer, Silent};
use crate::{Error, ErrorKind, Recipe, Result, road, sizing};

/// Most rows of the sample.
const SAMPLE_ROWS: u64 = 100_000;
/// Fewest rows of the sample, however little memory there is.
const LEAST_SAMPLE_ROWS: u64 = 1_000;
/// Bytes that a cell of the sample takes while it is read, as text and typed, about.
const CELL_BYTES: u64 = 48;
/// Shuffles of the labels.
const DRAWS: usize = 20;

/// What to do with the sums of a part of the rows.
#[derive(Clone, Debug, Default)]
pub struct PartialOptions {
    /// Where to put the sorted sums of all rows.
    pub out: Option<PathBuf>,
    /// A partial result whose ruler is to be used.
    pub ruler: Option<PathBuf>,
}

/// Measures all rows of the data of a recipe, without training anything that is kept, and says what
/// `grow` would take. When the data are larger than the memory that the recipe allows, it measures a
/// sample, and in addition sorts all rows.
///
/// The first network and the budget are absent where a number is to be predicted and no tolerance is
/// given.
///
/// Errs when the data cannot be read or there is nothing to learn from.
pub fn measure_all(
    recipe: &Recipe,
    options: &MeasureOptions,
    rates: &Rates,
    observer: &mut dyn Observer,
) -> Result<Report> {
    recipe.check()?;
    let large = memory_estimate(&recipe.data.path)? > recipe.data.max_memory;
    let streamed = large && stream_columns(&recipe.data.path, &read_options(recipe))?.is_some();
    let sampled = match streamed {
        true => Some(Sampled::of(recipe, observer)?),
        false => None,
    };
    let (measured, sized) = match &sampled {
        Some(s) => measure_table(recipe, options, &s.sample.table, &mut Silent)?,
        None => measure(recipe, options, observer)?,
    };
    let budget = match &sized {
        Some(sized) if options.tolerance.is_none() => {
            match budget_of(recipe, sampled.as_ref(), sized, rates) {
                Ok(estimate) => Some(estimate),
                Err(e) if e.kind() == ErrorKind::Internal => return Err(e),
                // What is too little to train on can be measured all the same.
                Err(e) => {
                    observer.warn(&format!(
                        "no budget, for `grow` would refuse these data: {e}"
                    ));
                    None
                }
            }
        }
        _ => None,
    };
    let all_rows = match sampled {
        Some(s) => {
            let all = s.sort(recipe, None)?;
            let sort = all.threshold_sort(DRAWS, recipe.seed)?;
            Some(all_rows(&all, &sort))
        }
        None => None,
    };
    Ok(Report {
        budget,
        measured,
        sized,
        all_rows,
    })
}

/// What `grow` would take. Only `grow` splits and encodes: this asks data that are ready for it.
fn budget_of(
    recipe: &Recipe,
    sampled: Option<&Sampled>,
    sized: &Sized,
    rates: &Rates,
) -> Result<budget::Estimate> {
    let data = match sampled {
        Some(s) => from_table(recipe, &s.sample.table, &mut Silent)?,
        None => prepare(recipe, &mut Silent)?,
    };
    let initial = road::initial(recipe, &data, Some(sized))?;
    let plan = budget::Plan {
        recipe,
        data: &data,
        sized: Some(sized),
        initial: &initial,
        rates,
    };
    plan.estimate()
}

/// What `measure` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
    /// The first network; absent where a number is predicted without a tolerance.
    pub sized: Option<Sized>,
    /// What `grow` would take; absent where a number is predicted, and where `grow` would refuse the data.
    pub budget: Option<budget::Estimate>,
    /// What is exact for all rows; none when the data fit into memory.
    pub all_rows: Option<AllRows>,
}

/// Sorts all rows of a table and leaves the sums in a file that [`merge`] reads.
///
/// Errs when the data cannot be read, are no table, or the target is not classes.
pub fn partial(
    recipe: &Recipe,
    options: &PartialOptions,
    observer: &mut dyn Observer,
) -> Result<AllRows> {
    recipe.check()?;
    if stream_columns(&recipe.data.path, &read_options(recipe))?.is_none() {
        let message = "expected a CSV or Parquet file, found something else";
        return Err(Error::new(ErrorKind::Data, message).in_file(&recipe.data.path));
    }
    let ruler = options.ruler.as_deref().map(Partial::open).transpose()?;
    let ruler = ruler.map(|part| part.head().ruler.clone());
    let all = Sampled::of(recipe, observer)?.sort(recipe, ruler)?;
    finish(&all, options.out.as_deref(), recipe.seed)
}

/// What several partial results come to together; `out` is where to put them as one.
///
/// Errs when a file cannot be read, or they do not belong together.
pub fn merge(files: &[PathBuf], out: Option<&Path>, seed: u64) -> Result<AllRows> {
    let parts = files.iter().map(|f| Partial::open(f));
    let parts = parts.collect::<std::result::Result<Vec<_>, _>>()?;
    finish(&Partial::merge(parts)?, out, seed)
}

fn finish(all: &Partial, out: Option<&Path>, seed: u64) -> Result<AllRows> {
    let sort = all.threshold_sort(DRAWS, seed)?;
    if let Some(out) = out {
        all.write(out)?;
    }
    Ok(all_rows(all, &sort))
}

/// How to read, with records no longer than memory allows: several are held at a time.
fn bounded(recipe: &Recipe) -> ReadOptions {
    let mut options = read_options(recipe);
    let longest = (recipe.data.max_memory / 64).max(1 << 16);
    options.max_record_bytes = options.max_record_bytes.min(longest);
    options
}

/// A sample of a table, and the columns that are measured.
struct Sampled {
    sample: Sample,
    problem: Problem,
}

impl Sampled {
    fn of(recipe: &Recipe, observer: &mut dyn Observer) -> Result<Sampled> {
        let path = &recipe.data.path;
        let options = bounded(recipe);
        let names = stream_columns(path, &options)?.unwrap_or_default();
        let shown: Vec<&str> = names.iter().map(String::as_str).collect();
        let target = target(recipe, &shown)?;
        let a_row = CELL_BYTES * names.len().max(1) as u64;
        let most = recipe.data.max_memory / 8 / a_row;
        let sampling = Sampling {
            most: most.clamp(LEAST_SAMPLE_ROWS, SAMPLE_ROWS) as usize,
            seed: recipe.seed,
            target: Some(target),
        };
        let sample = sample_table(path, &options, sampling)?;
        if sample.without_target > 0 {
            let (left, all) = (sample.without_target, sample.rows + sample.without_target);
            observer.warn(&format!(
                "{left} of {all} rows have no target and are left out"
            ));
        }
        if sample.rows > sample.table.rows() as u64 {
            let (some, all) = (sample.table.rows(), sample.rows);
            observer.note(&format!(
                "types, categories and all but the sort come from a sample of {some} of {all} rows"
            ));
        }
        let (kept, left_out) = columns(recipe, &sample.table, target, observer)?;
        let problem = problem(recipe, &sample.table, &kept, &left_out)?;
        Ok(Sampled { sample, problem })
    }

    /// Sorts all rows, by a ruler that is given or the sample's own.
    fn sort(&self, recipe: &Recipe, ruler: Option<Ruler>) -> Result<Partial> {
        let ruler = ruler.unwrap_or_else(|| Ruler::fit(&self.problem.columns, recipe.seed));
        let target = recipe.data.target.as_deref().unwrap_or_default();
        let memory = Memory {
            max_bytes: recipe.data.max_memory / 2,
        };
        let mut options = read_options(recipe);
        // One record is held in each of several buffers.
        let longest = (recipe.data.max_memory / 64).max(1 << 16);
        options.max_record_bytes = options.max_record_bytes.min(longest);
        let path = &recipe.data.path;
        Ok(Partial::read(
            path,
            &options,
            (&self.sample, target),
            ruler,
            memory,
        )?)
    }
}

fn all_rows(all: &Partial, sort: &ThresholdSort) -> AllRows {
    let head = all.head();
    let counts = head.classes.iter().cloned().zip(&head.class_counts);
    AllRows {
        rows: head.rows(),
        rows_without_target: head.rows_without_label,
        columns: head.ruler.len(),
        classes: head.classes.len(),
        class_counts: counts
            .map(|(name, &count)| (name, count as usize))
            .collect(),
        entropy_bits: head.entropy_bits(),
        best_guess: head.best_guess(),
        missing_cells: head.missing_cells,
        groups: sort.groups as u64,
        threshold_sort: results::ThresholdSorts {
            typed: sizing::sort(sort),
            with_identifiers: None,
            compat: None,
        },
    }
}
