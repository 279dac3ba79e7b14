//! Variants of one table, each with some of its columns: how much does each take, and which differ?
//!
//! All variants have the same rows, the same shuffles and the same subsets, so differences are taken in
//! pairs. What lies within the noise is called the same.

use std::path::{Path, PathBuf};

use bantam_data::{ReadOptions, read_table};
use bantam_measure::compare::{Compared, compare};
use bantam_measure::{Problem, problem};
use serde::{Deserialize, Serialize};

use crate::results::{Band, Interval};
use crate::study::interval;
use crate::{Error, ErrorKind, Result};

/// A file of variants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variants {
    /// The table.
    pub data: PathBuf,
    /// The column to predict.
    pub target: String,
    /// The first so many rows; all by default.
    pub rows: Option<usize>,
    /// Whether columns that look like identifiers stay.
    #[serde(default)]
    pub identifiers: bool,
    /// Seed of samples and shuffles.
    #[serde(default)]
    pub seed: u64,
    /// The variants.
    pub variant: Vec<Variant>,
}

/// One variant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The columns it has; all by default, without identifiers unless they stay.
    pub only: Option<Vec<String>>,
    /// Columns it does not have.
    #[serde(default)]
    pub drop: Vec<String>,
}

/// What the variants came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Rows of every variant.
    pub rows: usize,
    /// Bits of the labels alone, halved: what a table of one bit for two rows of them takes.
    pub baseline_bits: f64,
    /// The variants, in the order of the file.
    pub variants: Vec<VariantResult>,
    /// Spearman's rank correlation of bits and accuracy.
    pub spearman_bits: Option<f64>,
    /// The same of the tree's splits and accuracy.
    pub spearman_splits: Option<f64>,
}

/// A variant and what it takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariantResult {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Bits of the prequential code: rule and noise.
    pub bits: f64,
    /// Its interval.
    pub bits_interval: Option<Band>,
    /// The same with shuffled labels.
    pub bits_null: Interval,
    /// Splits of a tree that answers every row it can.
    pub splits: usize,
    /// The same with shuffled labels.
    pub splits_null: Interval,
    /// Changes of the typed threshold sort.
    pub changes: usize,
    /// Accuracy of cross-fitted models on rows not seen.
    pub accuracy: f64,
    /// Its interval.
    pub accuracy_interval: Band,
    /// Names of the variants that differ from it by no more than noise.
    pub same_as: Vec<String>,
}

impl Variants {
    /// Reads a file of variants; the path of the data is relative to the working folder.
    ///
    /// Errs with line and column when it is not what is expected.
    pub fn read(path: &Path) -> Result<Variants> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, &e))?;
        let variants: Variants = toml::from_str(&text)
            .map_err(|e| Error::new(ErrorKind::Recipe, e.to_string().trim_end()).in_file(path))?;
        if variants.variant.is_empty() {
            let message = "expected at least one [[variant]], found none";
            return Err(Error::new(ErrorKind::Recipe, message).in_file(path));
        }
        Ok(variants)
    }

    /// Measures all variants.
    ///
    /// Errs when the data cannot be read or a column is unknown.
    pub fn compare(&self) -> Result<Comparison> {
        let table = read_table(&self.data, &ReadOptions::default())?;
        let wanted = self.rows.unwrap_or(table.rows());
        if wanted > table.rows() {
            let message = format!("expected at least {wanted} rows, found {}", table.rows());
            return Err(Error::new(ErrorKind::Data, message).in_file(&self.data));
        }
        let table = table.select(&(0..wanted).collect::<Vec<_>>());
        let problem = |v: &Variant| -> Result<Problem> {
            let mut options = problem::Options::default();
            options.drop.clone_from(&v.drop);
            options.exclude_identifiers = !self.identifiers;
            if let Some(only) = &v.only {
                options.keep.clone_from(only);
                let others = table.names().filter(|n| *n != self.target);
                let others = others.filter(|n| !only.iter().any(|o| o == n));
                options.drop.extend(others.map(str::to_owned));
            }
            let made = Problem::from_table(&table, &self.target, &options);
            made.map_err(|e| Error::from(e).in_file(&self.data))
        };
        let problems: Vec<Problem> = self.variant.iter().map(problem).collect::<Result<_>>()?;
        let mut options = bantam_measure::Options::default();
        options.seed = self.seed;
        let found = compare(&problems, &options).map_err(|e| Error::from(e).in_file(&self.data))?;
        Ok(self.told(&problems, &found))
    }

    fn told(&self, problems: &[Problem], found: &Compared) -> Comparison {
        let name = |&i: &usize| self.variant[i].name.clone();
        let each = found.variants.iter().zip(problems).enumerate();
        let variants = each.map(|(i, (v, problem))| VariantResult {
            name: name(&i),
            columns: problem.columns.iter().map(|c| c.name.clone()).collect(),
            bits: v.code.value,
            bits_interval: v.code.value_interval().map(|i| Band {
                low: i.low,
                high: i.high,
            }),
            bits_null: interval(v.code.permuted.as_ref()),
            splits: v.tree.memorise,
            splits_null: interval(v.tree.permuted.as_ref()),
            changes: v.sort.changes,
            accuracy: v.expected.accuracy,
            accuracy_interval: Band {
                low: v.expected.interval.low,
                high: v.expected.interval.high,
            },
            same_as: v.same_as.iter().map(name).collect(),
        });
        Comparison {
            rows: problems[0].rows(),
            baseline_bits: problems[0].facts().label_bits / 2.0,
            variants: variants.collect(),
            spearman_bits: found.spearman_code,
            spearman_splits: found.spearman_tree,
        }
    }
}
