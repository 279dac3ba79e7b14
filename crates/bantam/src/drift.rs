//! Comparing new data with those of a reference.

use std::path::Path;

use bantam_data::{ReadOptions, Values, stream_columns};
use bantam_measure::drift::{self as estimate, Profile};
use serde::{Deserialize, Serialize};

use crate::folder::write_atomic;
use crate::{Error, ErrorKind, Result};

/// How to compare.
#[derive(Clone, Debug)]
pub struct DriftOptions {
    /// Column whose values are labels.
    pub target: Option<String>,
    /// Every distinct value of the target is a class.
    pub classes: bool,
    /// Chance of finding drift where there is none.
    pub alpha: f64,
    /// Most rows of either part that are compared; a random sample is taken of more.
    pub rows: usize,
    /// Columns that are compared though they look like identifiers.
    pub keep: Vec<String>,
    /// Columns that are not compared.
    pub drop: Vec<String>,
    /// Columns that are numbers.
    pub numeric: Vec<String>,
    /// Columns that are categories.
    pub categorical: Vec<String>,
    /// Whether the first line names the columns; found out when not given.
    pub header: Option<bool>,
    /// Seed of samples and permutations.
    pub seed: u64,
}

impl Default for DriftOptions {
    fn default() -> DriftOptions {
        DriftOptions {
            target: None,
            classes: false,
            alpha: 0.05,
            rows: 10_000,
            keep: Vec::new(),
            drop: Vec::new(),
            numeric: Vec::new(),
            categorical: Vec::new(),
            header: None,
            seed: 0,
        }
    }
}

/// What a comparison found, as `--json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Whether any test found a change.
    pub drifted: bool,
    /// Chance of that where nothing has changed.
    pub alpha: f64,
    /// The reference.
    pub reference: Compared,
    /// What was compared with it.
    pub new: Compared,
    /// Tests of single columns.
    pub columns: Vec<ColumnTest>,
    /// All columns together; null when there are too few rows.
    pub joint: Option<TableTest>,
    /// Change of capacity at equal row counts; null without labels.
    pub capacity: Option<CapacityTest>,
    /// Whether two rules serve both better than one; null without labels.
    pub regimes: Option<TableTest>,
    /// Whether the reference's rule fails on the new labels; null without labels.
    pub rule: Option<RuleTest>,
    /// Columns that were not compared, with the reason.
    pub left_out: Vec<(String, String)>,
    /// What could not be compared, and why.
    pub notices: Vec<String>,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The file.
    pub source: String,
    /// Rows it has.
    pub rows: u64,
    /// Rows that were compared.
    pub compared: usize,
}

/// A test of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnTest {
    /// Its name.
    pub name: String,
    /// `ks`, `chi-square` or `missing`.
    pub test: String,
    /// What the test measures.
    pub statistic: f64,
    /// Chance of as large a statistic without drift.
    pub p: f64,
    /// That chance, corrected for the number of tests.
    pub p_adjusted: f64,
    /// Population stability index.
    pub psi: f64,
    /// Whether it has changed.
    pub drifted: bool,
}

/// A test of the whole table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableTest {
    /// Name of the test.
    pub test: String,
    /// Rows of both sides that it used.
    pub rows: usize,
    /// What it measures.
    pub statistic: f64,
    /// Chance of as large a statistic without drift.
    pub p: f64,
    /// That chance, corrected for the number of tests.
    pub p_adjusted: f64,
    /// Whether it found a change.
    pub drifted: bool,
}

/// Change of normalised capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityTest {
    /// Rows of each side.
    pub rows: usize,
    /// Splits of a tree over the label changes of a random order, for the reference.
    pub reference: f64,
    /// The same for the new rows.
    pub new: f64,
    /// The difference.
    pub change: f64,
    /// Chance of as large a difference when rows are dealt to the sides at random.
    pub p: f64,
    /// That chance, corrected for the number of tests.
    pub p_adjusted: f64,
    /// Whether capacity has changed.
    pub drifted: bool,
}

/// The reference's rule on new labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleTest {
    /// Rows of both sides that it used.
    pub rows: usize,
    /// Share of wrong answers on rows of the reference that were held out.
    pub reference_error: f64,
    /// Share of wrong answers on the new rows.
    pub new_error: f64,
    /// Chance of as much worse answers without drift.
    pub p: f64,
    /// That chance, corrected for the number of tests.
    pub p_adjusted: f64,
    /// Whether the rule fails.
    pub drifted: bool,
}

/// The profile of a reference: the file itself when it is one, else a sample of the table.
///
/// Errs when the file cannot be read.
pub fn profile(path: &Path, options: &DriftOptions) -> Result<Profile> {
    if Profile::is_one(path) {
        return Ok(Profile::read(path)?);
    }
    sampled(path, &read_options(options), options)
}

/// Writes a profile, whole or not at all.
///
/// Errs when it cannot be written.
pub fn save_profile(profile: &Profile, path: &Path) -> Result<()> {
    write_atomic(path, profile.to_json().as_bytes())
}

/// Compares the table at `new` with a reference.
///
/// Errs when it cannot be read, has not the columns of the reference, or a name is unknown.
pub fn drift(reference: &Profile, new: &Path, options: &DriftOptions) -> Result<Drift> {
    let new = new_profile(reference, new, options)?;
    let mut how = estimate::Options::default();
    how.alpha = options.alpha;
    how.target.clone_from(&options.target);
    how.every_value_is_a_class = options.classes;
    how.keep.clone_from(&options.keep);
    how.drop.clone_from(&options.drop);
    how.seed = options.seed;
    let found = estimate::drift(reference, &new, &how)?;
    Ok(report(found, reference, &new, options))
}

/// A sample of the new data, read as the types of the reference have it.
fn new_profile(reference: &Profile, path: &Path, options: &DriftOptions) -> Result<Profile> {
    if Profile::is_one(path) {
        return Ok(Profile::read(path)?);
    }
    let mut read = read_options(options);
    let names = stream_columns(path, &read)?.unwrap_or_default();
    // Categories stay categories, however they look in the new data; numbers may have become texts,
    // which is a change to be found and no mistake.
    let given =
        |name: &String| options.numeric.contains(name) || options.categorical.contains(name);
    for column in reference.table.columns() {
        let is_text = matches!(column.values, Values::Categorical { .. });
        if is_text && names.contains(&column.name) && !given(&column.name) {
            read.categorical.push(column.name.clone());
        }
    }
    sampled(path, &read, options)
}

fn sampled(path: &Path, read: &ReadOptions, options: &DriftOptions) -> Result<Profile> {
    if stream_columns(path, read)?.is_none() {
        let message = "expected a CSV or Parquet file or a profile, found something else";
        return Err(Error::new(ErrorKind::Data, message).in_file(path));
    }
    Ok(Profile::sample(path, read, options.rows, options.seed)?)
}

fn read_options(options: &DriftOptions) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.header = options.header;
    read.numeric.clone_from(&options.numeric);
    read.categorical.clone_from(&options.categorical);
    read
}

fn report(
    found: estimate::Drift,
    reference: &Profile,
    new: &Profile,
    options: &DriftOptions,
) -> Drift {
    let side = |p: &Profile| Compared {
        source: p.source.clone(),
        rows: p.rows,
        compared: p.table.rows(),
    };
    let test = |name: &str, t: &estimate::TableTest| TableTest {
        test: name.to_owned(),
        rows: t.rows,
        statistic: t.statistic,
        p: t.p,
        p_adjusted: t.p_adjusted,
        drifted: t.drifted,
    };
    let labels = found.labels.as_ref();
    Drift {
        drifted: found.drifted,
        alpha: options.alpha,
        reference: side(reference),
        new: side(new),
        joint: found.joint.as_ref().map(|t| test("mmd", t)),
        capacity: labels.map(|l| CapacityTest {
            rows: l.capacity.rows / 2,
            reference: l.reference_ratio,
            new: l.new_ratio,
            change: l.capacity.statistic,
            p: l.capacity.p,
            p_adjusted: l.capacity.p_adjusted,
            drifted: l.capacity.drifted,
        }),
        regimes: labels.map(|l| test("regimes", &l.regimes)),
        rule: labels.map(|l| RuleTest {
            rows: l.rule.rows,
            reference_error: l.reference_error,
            new_error: l.new_error,
            p: l.rule.p,
            p_adjusted: l.rule.p_adjusted,
            drifted: l.rule.drifted,
        }),
        columns: found
            .columns
            .into_iter()
            .map(|c| ColumnTest {
                name: c.name,
                test: c.test.to_owned(),
                statistic: c.statistic,
                p: c.p,
                p_adjusted: c.p_adjusted,
                psi: c.psi,
                drifted: c.drifted,
            })
            .collect(),
        left_out: found
            .left_out
            .into_iter()
            .map(|l| (l.column, l.reason.to_string()))
            .collect(),
        notices: found.notices,
    }
}
