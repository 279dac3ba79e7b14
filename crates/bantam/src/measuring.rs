//! The command `measure`: everything that can be said of data before training, on all of their rows.

use std::path::Path;

use bantam_data::{
    Dataset, ReadOptions, Records, Table, Values, fit_samples, fit_schema_for, load,
};
use bantam_measure::compat::{RawTable, compat_sort};
use bantam_measure::{Problem, Study, ThresholdSort, bits, starting_network, study};

use crate::prepare::{columns, no_target, read_options, target, task};
use crate::results::{self, Measured, Sized, TolerancePoint};
use crate::sizing;
use crate::study as told;
use crate::watch::Observer;
use crate::{Error, ErrorKind, Recipe, Result};

/// Most bytes of a delimited file whose texts are measured as published figures have it.
const MOST_COMPAT_BYTES: u64 = 256 << 20;
/// Most rows of images and arrays.
const MOST_SAMPLES: usize = 10_000;

/// What the command says beside the recipe.
#[derive(Clone, Debug, Default)]
pub struct MeasureOptions {
    /// Half the width of the cells into which a number that is to be predicted is put. Without one,
    /// numbers are measured over several.
    pub tolerance: Option<f64>,
}

/// Measures all rows of the data of a recipe, without training anything that is kept.
///
/// The first network is absent where a number is to be predicted and no tolerance is given, and where
/// there is nothing to learn.
///
/// Errs when the data cannot be read or there is nothing to learn from.
pub(crate) fn measure(
    recipe: &Recipe,
    options: &MeasureOptions,
    observer: &mut dyn Observer,
) -> Result<(Measured, Option<Sized>)> {
    let settings = &recipe.data;
    let loaded = load(
        &settings.path,
        settings.target.as_deref(),
        &read_options(recipe),
    )?;
    let path = settings.path.display();
    loaded
        .notices
        .iter()
        .for_each(|n| observer.warn(&format!("{path}: {n}")));
    match loaded.train {
        Dataset::Table(table) => measure_table(recipe, options, &table, observer),
        Dataset::Samples(samples) => {
            no_target(recipe)?;
            let rows: Vec<usize> = (0..samples.len()).collect();
            let schema = fit_samples(&samples, "class", &rows)?;
            let part = crate::prepare::part(&samples, &rows, MOST_SAMPLES)?;
            let problem = Problem::from_samples(&part, &Default::default())?;
            let size = (schema.width(), schema.outputs(), samples.len());
            finish(recipe, &problem, None, size)
        }
    }
}

pub(crate) fn measure_table(
    recipe: &Recipe,
    options: &MeasureOptions,
    table: &Table,
    observer: &mut dyn Observer,
) -> Result<(Measured, Option<Sized>)> {
    let settings = &recipe.data;
    let in_file = |e: bantam_data::Error| Error::from(e.in_file(&settings.path));
    let measured = |e: bantam_measure::Error| Error::from(e).in_file(&settings.path);
    let target = target(recipe, &table.names().collect::<Vec<_>>())?;
    if let Some(value) = only_value(table, target).map_err(in_file)? {
        let path = settings.path.display();
        observer.warn(&format!(
            "{path}: column {target:?}: every row that has one has {value}: there is nothing to learn, and \
             `grow` would refuse these data"
        ));
        let mut how = problem_options(recipe);
        how.every_value_is_a_class = true;
        let problem = Problem::from_table(table, target, &how).map_err(measured)?;
        let (m, _) = finish(recipe, &problem, None, (1, 1, table.rows()))?;
        return Ok((m, None));
    }
    let (kept, left_out) = columns(recipe, table, target, observer)?;
    let every: Vec<usize> = (0..table.rows()).collect();
    let schema = fit_schema_for(task(recipe), table, target, &kept, &every).map_err(in_file)?;
    let number = schema.target.classes().is_empty();
    let mut how = problem_options(recipe);
    how.tolerance = options.tolerance;
    if options.tolerance.is_some() && !number {
        let message = format!("the target {target:?} is classes, for which there is no tolerance");
        let hint = "leave --tolerance away, or say --task number";
        let error = Error::new(ErrorKind::Recipe, message).in_file(&settings.path);
        return Err(error.with_hint(hint));
    }
    if number {
        let curve = bantam_measure::tolerance_curve(table, target, &how, recipe.seed);
        let curve: Vec<TolerancePoint> = curve
            .map_err(measured)?
            .iter()
            .map(told::tolerance_point)
            .collect();
        if options.tolerance.is_none() {
            let mut m = results::Measured::of_a_number(table.rows(), kept.len());
            m.left_out = left_out;
            m.tolerance_curve = curve;
            return Ok((m, None));
        }
        let problem = Problem::from_table(table, target, &how).map_err(measured)?;
        let size = (schema.width(), problem.classes.len(), table.rows());
        let (mut m, sized) = finish(recipe, &problem, None, size)?;
        m.tolerance_curve = curve;
        return Ok((m, sized));
    }
    let problem = Problem::from_table(table, target, &how).map_err(measured)?;
    rare_classes(recipe, &problem, target, observer);
    let compat = compat(recipe, target, observer);
    finish(
        recipe,
        &problem,
        compat,
        (schema.width(), schema.outputs(), table.rows()),
    )
}

fn problem_options(recipe: &Recipe) -> bantam_measure::problem::Options {
    let mut how = bantam_measure::problem::Options::default();
    how.keep.clone_from(&recipe.data.keep);
    how.drop.clone_from(&recipe.data.drop);
    how.every_value_is_a_class = recipe.data.task == crate::recipe::Task::Classes;
    how
}

/// The value of the target in all rows that have one, when it is the same in all.
fn only_value(table: &Table, target: &str) -> bantam_data::Result<Option<String>> {
    let values = &table.column(target)?.values;
    let Some(first) = (0..values.len()).find(|&row| !values.is_missing(row)) else {
        return Ok(None);
    };
    Ok(values.is_constant().then(|| match values {
        Values::Numeric(v) => v[first].to_string(),
        Values::Categorical { codes, levels } => format!("{:?}", levels[codes[first] as usize]),
    }))
}

/// A class of which some fold has no row cannot be learnt there: says which, and on which line.
fn rare_classes(recipe: &Recipe, problem: &Problem, target: &str, observer: &mut dyn Observer) {
    for (class, &count) in problem.class_counts().iter().enumerate() {
        if (1..5).contains(&count) {
            let row = problem.labels.iter().position(|&l| l as usize == class);
            let place = row
                .and_then(|row| line_of(recipe, row))
                .map_or_else(String::new, |line| format!(":{line}"));
            observer.warn(&format!(
                "{}{place}: column {target:?}: the class {:?} has {count} {}, so some parts of a split \
                 have none, and what is said of rows not seen does not hold for it",
                recipe.data.path.display(),
                problem.classes[class],
                if count == 1 { "row" } else { "rows" },
            ));
        }
    }
}

/// The line of a row that has a target, in a delimited file.
fn line_of(recipe: &Recipe, row: usize) -> Option<u64> {
    let options = read_options(recipe);
    let mut records = delimited(&recipe.data.path, &options)?;
    let at = records
        .header()
        .iter()
        .position(|h| Some(h) == recipe.data.target.as_ref())?;
    let mut record = bantam_data::Record::default();
    let mut seen = 0;
    while records.read(&mut record).ok()? {
        if options.is_missing(record.cell(at)) {
            continue;
        }
        if seen == row {
            return Some(record.line());
        }
        seen += 1;
    }
    None
}

/// The file as records, if it is delimited text.
fn delimited(path: &Path, options: &ReadOptions) -> Option<Records> {
    let binary = ["parquet", "npy", "npz"];
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    match path.is_file() && !binary.contains(&extension) {
        true => Records::open(path, options).ok(),
        false => None,
    }
}

/// The sort of the texts of a delimited file, as published figures have it.
fn compat(recipe: &Recipe, target: &str, observer: &mut dyn Observer) -> Option<ThresholdSort> {
    let path = &recipe.data.path;
    let records = delimited(path, &read_options(recipe))?;
    let size = std::fs::metadata(path).ok()?.len();
    if size > MOST_COMPAT_BYTES {
        observer.note(&format!(
            "the sort of texts is left out: it is made for files of up to {MOST_COMPAT_BYTES} bytes"
        ));
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let table = RawTable::from_csv(bytes, records.delimiter(), records.has_header()).ok()?;
    let columns: Vec<&str> = table
        .names
        .iter()
        .map(String::as_str)
        .filter(|n| *n != target && !recipe.data.drop.iter().any(|d| d == n))
        .collect();
    let permutations = bantam_measure::Options::default().permutations;
    compat_sort(&table, target, Some(&columns), permutations, recipe.seed).ok()
}

/// Studies a problem. `size`: inputs after encoding, outputs, rows to train on.
fn finish(
    recipe: &Recipe,
    problem: &Problem,
    compat: Option<ThresholdSort>,
    size: (usize, usize, usize),
) -> Result<(Measured, Option<Sized>)> {
    let mut options = bantam_measure::Options::default();
    options.seed = recipe.seed;
    let mut found: Study =
        study(problem, &options).map_err(|e| Error::from(e).in_file(&recipe.data.path))?;
    found.measurement.threshold_sort.compat = compat;
    let sized = starting_network(&found.measurement, size.0, size.1, size.2);
    let left_out = problem.left_out();
    let left_out = left_out
        .into_iter()
        .map(|l| (l.column, l.reason.to_string()))
        .collect();
    let mut measured = sizing::measured(&found.measurement, left_out);
    measured.study = Some(told::study(&found));
    Ok((measured, Some(sizing::sized(sized))))
}

/// Generalisation of the tree, and the published closed forms for a sort.
pub(crate) fn generalization(found: &Study) -> results::Generalization {
    let m = &found.measurement;
    let counts = &m.facts.class_counts;
    let sort = m
        .threshold_sort
        .compat
        .as_ref()
        .unwrap_or(&m.threshold_sort.typed);
    let (correct, entropy) = (m.tree.correct, m.facts.entropy_bits);
    let changes = sort.changes as f64;
    let null = m
        .tree
        .permuted
        .as_ref()
        .map(|p| p.mean * m.tree.rows as f64 / p.rows as f64);
    results::Generalization {
        bits_per_bit: bits::generalization(correct, entropy, m.tree.memorise as f64),
        null: null.and_then(|n| bits::generalization(correct, entropy, n)),
        memorised: bits::memorised(sort.correct, counts, changes),
        resilience: bits::resilience(sort.correct, changes),
    }
}
