//! Variants of a table side by side.

use std::path::Path;

use bantam::variants::{Comparison, Variants};
use bantam::{Error, ErrorKind, Result};

use crate::args::Global;
use crate::output::{Stdout, columns};
use crate::values::percent;

pub fn run(path: Option<&Path>, seed: Option<u64>, global: &Global) -> Result<()> {
    let Some(path) = path else {
        return Err(Error::new(
            ErrorKind::Recipe,
            "expected data or a file of variants",
        ));
    };
    let mut variants = Variants::read(path)?;
    variants.seed = seed.unwrap_or(variants.seed);
    let found = variants.compare()?;
    match global.json {
        true => Stdout::json(&found),
        false => Stdout::print(&text(&found)),
    }
}

fn text(c: &Comparison) -> String {
    let titles = [
        "variant", "columns", "bits", "90 %", "tree", "shuffled", "sort", "accuracy", "90 %",
        "same as",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(c.variants.iter().map(|v| {
        let bits = v.bits_interval.as_ref();
        let accuracy = &v.accuracy_interval;
        vec![
            v.name.clone(),
            v.columns.len().to_string(),
            format!("{:.0}", v.bits),
            bits.map_or_else(
                || "-".to_owned(),
                |b| format!("[{:.0}, {:.0}]", b.low, b.high),
            ),
            v.splits.to_string(),
            format!("{:.0}", v.splits_null.mean),
            v.changes.to_string(),
            percent(v.accuracy),
            format!("[{}, {}]", percent(accuracy.low), percent(accuracy.high)),
            v.same_as.join(", "),
        ]
    }));
    let correlation = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
    format!(
        "{}\n{} rows; half the bits of their labels alone: {:.6}\n\
         Spearman of bits and accuracy {}, of the tree's splits and accuracy {}\n\
         bits: prequential code of a random forest, rule and noise together, an upper bound; tree: splits that \
         answer\nevery row they can; sort: label changes along the sum of the columns; same as: the difference \
         in bits\nis within its 90 % interval on the same subsets of the rows.\n",
        columns(&rows),
        c.rows,
        c.baseline_bits,
        correlation(c.spearman_bits),
        correlation(c.spearman_splits),
    )
}
