//! Threshold sorts in parts: of rows that do not fit into memory, of several files, of several
//! machines.
//!
//! A [`Partial`] holds the sorted sums of the rows it has seen, each with how many rows of each class
//! have it, and the [`Ruler`] that made them. Partials with the same ruler merge, in any order and
//! grouping, into what one pass over all their rows gives, exactly; a summary that is smaller than its
//! distinct sums cannot do that, because rows of another part may fall in between any two of them.
//! Sums beyond the memory limit are spilled, sorted, to temporary files and merged when they are
//! counted. The same partial can be written to a file, a few bytes a row, and read elsewhere.

mod count;
mod file;
mod spool;

use std::path::Path;
use std::sync::Mutex;

use bantam_data::{
    Blocks, ChunkColumn, MISSING, ReadOptions, Sample, Values, for_each_block, sort_levels,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bits::{entropy_bits, null_changes};
use crate::error::{Error, ErrorKind, Result};
use crate::null::Permuted;
use crate::problem::{self, Problem};
use crate::ruler::{Cells, Placers, Ruler};
use crate::threshold::{Method, Readings, ThresholdSort};
pub(crate) use count::Shuffles;
use spool::{Body, Spool};

/// Bits of the class in a packed key; the rest is the sum.
const CLASS_BITS: u32 = 10;

/// What is known of all rows of a partial but their sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Name of the target.
    pub target: String,
    /// Names of the classes in order.
    pub classes: Vec<String>,
    /// Rows of each class.
    pub class_counts: Vec<u64>,
    /// Rows left out because their target is missing.
    pub rows_without_label: u64,
    /// Cells without a value, among the columns of the ruler.
    pub missing_cells: u64,
    /// What made the sums.
    pub ruler: Ruler,
}

/// The sorted sums of some rows.
#[derive(Debug)]
pub struct Partial {
    head: Head,
    bodies: Vec<Body>,
}

/// How rows are collected.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes of sums in memory, about at most; more are spilled to the folder for temporary files.
    pub max_bytes: u64,
}

impl Head {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.class_counts.iter().sum()
    }

    /// Entropy of the labels, bits a row.
    pub fn entropy_bits(&self) -> f64 {
        entropy_bits(&self.counts())
    }

    /// Share of rows that are right when the most frequent class is always guessed.
    pub fn best_guess(&self) -> f64 {
        let most = self.class_counts.iter().max().copied().unwrap_or(0);
        most as f64 / self.rows().max(1) as f64
    }

    fn counts(&self) -> Vec<usize> {
        self.class_counts.iter().map(|&c| c as usize).collect()
    }
}

impl Partial {
    /// The rows of a problem in memory.
    pub fn of(problem: &Problem, ruler: Ruler, target: &str) -> Partial {
        let sums = ruler.sums_of(&problem.columns);
        let rows = sums.into_par_iter().zip(&problem.labels);
        let keys = rows.map(|(sum, &label)| pack(sum, label)).collect();
        let missing: usize = problem.columns.iter().map(|c| c.values.missing()).sum();
        Partial {
            head: Head {
                target: target.to_owned(),
                classes: problem.classes.clone(),
                class_counts: problem.class_counts().iter().map(|&c| c as u64).collect(),
                rows_without_label: problem.rows_without_label as u64,
                missing_cells: missing as u64,
                ruler,
            },
            bodies: vec![Body::memory(vec![keys])],
        }
    }

    /// Reads all rows of a CSV or Parquet file that may be larger than memory and adds them up by
    /// `ruler`. `sample` is what [`bantam_data::sample_table`] said of the file and its `target`.
    ///
    /// Errs as the readers do, when the target is not classes, and when the disk is full.
    pub fn read(
        path: &Path,
        options: &ReadOptions,
        (sample, target): (&Sample, &str),
        ruler: Ruler,
        memory: Memory,
    ) -> Result<Partial> {
        let goal = Goal::of(sample, target)?;
        // The target comes first: missing cells are counted where there is a label.
        let mut layout = bantam_data::Layout::of(&sample.table, &[target])?;
        layout.columns.extend(ruler.layout().columns);
        let adding = Adding {
            placers: ruler.placers(),
            totals: Mutex::new(Totals {
                counts: vec![0; goal.classes.len()],
                ..Totals::default()
            }),
            goal,
            spool: Spool::new(memory.max_bytes),
        };
        for_each_block(path, options, &layout, &adding)?;
        let Adding {
            goal,
            spool,
            totals,
            ..
        } = adding;
        let totals = totals.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok(Partial {
            head: Head {
                target: target.to_owned(),
                classes: goal.classes,
                class_counts: totals.counts,
                rows_without_label: totals.without_label,
                missing_cells: totals.missing,
                ruler,
            },
            bodies: spool.finish().map_err(spilling)?,
        })
    }

    /// What is known of all rows.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The rows of all `parts`, in whatever order they are given.
    ///
    /// Errs when there is none, or when two have different rulers or targets: sums of different
    /// rulers cannot be compared.
    pub fn merge(parts: Vec<Partial>) -> Result<Partial> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else {
            return Err(Error::new(
                ErrorKind::Rows,
                "there are no partial results to merge",
            ));
        };
        let mut all = vec![first];
        for part in parts {
            agree(&all[0].head, &part.head)?;
            all.push(part);
        }
        let mut classes: Vec<String> = all.iter().flat_map(|p| p.head.classes.clone()).collect();
        sort_classes(&mut classes);
        problem::check_class_count(classes.len())?;
        let mut head = Head {
            class_counts: vec![0; classes.len()],
            classes,
            rows_without_label: 0,
            missing_cells: 0,
            ..all[0].head.clone()
        };
        let mut bodies = Vec::new();
        for part in all {
            let place = |name: &String| {
                let at = head.classes.iter().position(|c| c == name);
                at.expect("the union has all classes") as u32
            };
            let map: Vec<u32> = part.head.classes.iter().map(place).collect();
            for (&class, count) in map.iter().zip(&part.head.class_counts) {
                head.class_counts[class as usize] += count;
            }
            head.rows_without_label += part.head.rows_without_label;
            head.missing_cells += part.head.missing_cells;
            bodies.extend(part.bodies.into_iter().map(|body| body.relabel(&map)));
        }
        Ok(Partial { head, bodies })
    }

    /// The threshold sort of all rows, with `draws` shuffles of the labels; the draws depend on the
    /// seed and on what the rows are, not on how they were split.
    ///
    /// Errs when a file cannot be read, or is damaged.
    pub fn threshold_sort(&self, draws: usize, seed: u64) -> Result<ThresholdSort> {
        let counts = &self.head.class_counts;
        let counted = match &self.bodies[..] {
            [body] if body.keys().is_some() => {
                let keys = body.keys().unwrap_or_default();
                count::count_keys(keys, counts, (draws, seed))
            }
            _ => count::count(self.entries()?, counts, (draws, seed))?,
        };
        let changes = counted.runs.changes as usize;
        let null = null_changes(&self.head.counts());
        let (rows, columns) = (self.head.rows() as usize, self.head.ruler.len());
        Ok(ThresholdSort {
            method: Method::Typed,
            rows,
            columns,
            changes,
            groups: counted.runs.groups as usize,
            correct: counted.runs.correct as usize,
            null,
            ratio: (null > 0.0).then(|| changes as f64 / null),
            permuted: Permuted::of(rows, changes as f64, &counted.draws),
            readings: Readings::of(changes, columns),
        })
    }

    /// Writes a file that [`Partial::open`] reads; it is whole or not there.
    ///
    /// Errs when it cannot be written, or another file cannot be read.
    pub fn write(&self, path: &Path) -> Result<()> {
        file::write(self, path)
    }

    /// Opens a file that [`Partial::write`] wrote. Its sums stay in the file until they are counted.
    ///
    /// Errs when it is missing, of another kind or damaged; damage to the sums is found when they are
    /// counted.
    pub fn open(path: &Path) -> Result<Partial> {
        file::open(path)
    }

    fn entries(&self) -> Result<spool::Merged<'_>> {
        spool::Merged::of(&self.bodies)
    }
}

/// A sum and a class as one number, which sorts by the sum first.
fn pack(sum: u64, class: u32) -> u64 {
    sum << CLASS_BITS | u64::from(class)
}

fn sum_of(key: u64) -> u64 {
    key >> CLASS_BITS
}

fn class_of(key: u64) -> u32 {
    (key & ((1 << CLASS_BITS) - 1)) as u32
}

/// Error of temporary files.
fn spilling(e: std::io::Error) -> Error {
    let folder = std::env::temp_dir();
    let message = format!("temporary files in {}: {e}", folder.display());
    let error = Error::new(ErrorKind::Io, message).because(e);
    error.with_hint("set TMPDIR to a folder with more room")
}

/// The classes of a target and how its cells name them.
struct Goal {
    classes: Vec<String>,
    /// Class numbers, where the target is numbers; cells are codes of the classes otherwise.
    numbers: Option<Vec<f64>>,
}

impl Goal {
    fn of(sample: &Sample, target: &str) -> Result<Goal> {
        let values = &sample.target_values;
        match &sample.table.column(target)?.values {
            Values::Categorical { levels, .. } => {
                problem::check_class_count(levels.len()).map_err(|e| e.in_column(target))?;
                Ok(Goal {
                    classes: levels.clone(),
                    numbers: None,
                })
            }
            Values::Numeric(_) => {
                let parsed = values.iter().filter_map(|v| v.parse::<f64>().ok());
                let mut numbers: Vec<f64> = parsed.map(|x| x + 0.0).collect();
                numbers.sort_unstable_by(f64::total_cmp);
                numbers.dedup();
                let goal = Values::Numeric(numbers.clone());
                let rows: Vec<usize> = (0..numbers.len()).collect();
                let options = problem::Options::default();
                let (_, classes) =
                    problem::classes(&goal, &rows, &options).map_err(|e| e.in_column(target))?;
                Ok(Goal {
                    classes,
                    numbers: Some(numbers),
                })
            }
        }
    }

    /// Class of each row, [`MISSING`] without one.
    fn labels(&self, cells: &ChunkColumn) -> bantam_data::Result<Vec<u32>> {
        let unknown = || {
            let message = "the target has a value that it had not when the file was sampled";
            let error = bantam_data::Error::new(bantam_data::ErrorKind::Value, message);
            error.with_hint("did the file change meanwhile?")
        };
        match (cells, &self.numbers) {
            (ChunkColumn::Codes(codes), _) => match codes.contains(&bantam_data::UNSEEN) {
                false => Ok(codes.clone()),
                true => Err(unknown()),
            },
            (ChunkColumn::Numbers(values), Some(numbers)) => {
                let class = |x: &f64| {
                    let at = numbers.partition_point(|number| number < x);
                    match numbers.get(at) {
                        _ if x.is_nan() => Ok(MISSING),
                        Some(number) if number == x => Ok(at as u32),
                        _ => Err(unknown()),
                    }
                };
                values.iter().map(class).collect()
            }
            (ChunkColumn::Numbers(_), None) => Err(unknown()),
        }
    }
}

/// Adds up the rows of a file.
struct Adding<'a> {
    goal: Goal,
    placers: Placers<'a>,
    spool: Spool,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    /// Rows of each class.
    counts: Vec<u64>,
    missing: u64,
    without_label: u64,
}

/// Rows that are being added up.
#[derive(Default)]
struct Rows {
    /// Their classes, [`MISSING`] without one.
    labels: Vec<u32>,
    sums: Vec<u64>,
    without_label: usize,
    /// Missing cells of rows with a label.
    missing: u64,
}

impl Blocks for Adding<'_> {
    type Block = Rows;

    fn cells(
        &self,
        block: &mut Rows,
        column: usize,
        from: usize,
        cells: &ChunkColumn,
    ) -> bantam_data::Result<()> {
        let Some(column) = column.checked_sub(1) else {
            let labels = self.goal.labels(cells)?;
            block.without_label += labels.iter().filter(|&&label| label == MISSING).count();
            block.labels.extend(labels);
            return Ok(());
        };
        block.sums.resize(block.labels.len(), 0);
        let cells = Cells::from(cells);
        let place = from..from + cells.len();
        let sums = &mut block.sums[place.clone()];
        let missing = self.placers.add(column, &cells, sums);
        block.missing += match block.without_label {
            0 => missing,
            _ => missing_of_labelled(&cells, &block.labels[place]),
        };
        Ok(())
    }

    fn done(&self, mut block: Rows, rows: usize) -> bantam_data::Result<()> {
        block.sums.resize(rows, 0);
        // In place: a block without a missing label becomes its keys.
        let mut keys = block.sums;
        let rows = keys.iter_mut().zip(&block.labels);
        rows.for_each(|(key, &label)| *key = pack(*key, label));
        if block.without_label > 0 {
            let mut labels = block.labels.iter();
            keys.retain(|_| labels.next().is_some_and(|&label| label != MISSING));
        }
        let mut counts = vec![0; self.goal.classes.len()];
        block.labels.iter().for_each(|&label| {
            if label != MISSING {
                counts[label as usize] += 1;
            }
        });
        let mut totals = self.totals.lock().unwrap_or_else(|e| e.into_inner());
        for (all, more) in totals.counts.iter_mut().zip(counts) {
            *all += more;
        }
        totals.missing += block.missing;
        totals.without_label += block.without_label as u64;
        drop(totals);
        self.spool.push(keys).map_err(bantam_data::Error::io)
    }
}

/// Missing cells of rows with a label.
fn missing_of_labelled(cells: &Cells, labels: &[u32]) -> u64 {
    let rows = (0..labels.len()).filter(|&row| labels[row] != MISSING);
    let count = match cells {
        Cells::Numbers(v) => rows.filter(|&row| v[row].is_nan()).count(),
        Cells::Codes(v) => rows.filter(|&row| v[row] == MISSING).count(),
    };
    count as u64
}

/// Errs unless sums of `a` and `b` can be compared.
fn agree(a: &Head, b: &Head) -> Result<()> {
    if a.target != b.target {
        let message = format!("expected the target {:?}, found {:?}", a.target, b.target);
        return Err(Error::new(ErrorKind::Shape, message));
    }
    let (ours, theirs): (Vec<&str>, Vec<&str>) =
        (a.ruler.names().collect(), b.ruler.names().collect());
    let message = match ours == theirs {
        false => format!(
            "expected the columns {}, found {}",
            ours.join(", "),
            theirs.join(", ")
        ),
        true if a.ruler != b.ruler => {
            "the parts were measured with different rulers, so their sums cannot be compared".into()
        }
        true => return Ok(()),
    };
    let error = Error::new(ErrorKind::Shape, message);
    Err(error.with_hint("measure all parts with the ruler of one of them"))
}

/// Distinct names in the order of classes.
fn sort_classes(classes: &mut Vec<String>) {
    sort_levels(classes);
    classes.dedup();
}

#[cfg(test)]
mod tests;
