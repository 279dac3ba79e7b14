//! `bantam drift`: whether new data are still like those of a reference.

use std::path::PathBuf;
use std::process::ExitCode;

use bantam::Result;
use bantam::drift::{ColumnTest, Compared, Drift, DriftOptions, drift, profile, save_profile};
use serde::Serialize;

use crate::args::{Global, TaskArg, header};
use crate::output::{Stdout, check_place, columns, pairs};
use crate::values::{alpha, grouped, percent, sample_rows};

const KEYS: &str = "Keys of --json: drifted, alpha, reference and new.{source, rows, compared}, \
columns[].{name, test, statistic, p, p_adjusted, psi, drifted}, joint, capacity.{rows, reference, new, \
change, p, p_adjusted, drifted}, regimes, rule.{rows, reference_error, new_error, p, ...}, left_out, \
notices. Exit code 1 when drift is found is asked for with --fail-on-drift.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct DriftArgs {
    /// A table (CSV, TSV, Parquet), or a profile that --save-profile wrote
    #[arg(value_name = "REFERENCE")]
    reference: PathBuf,
    /// The table to compare with it
    #[arg(value_name = "NEW", required_unless_present = "save_profile")]
    new: Option<PathBuf>,
    /// Keep what the comparison needs of REFERENCE in FILE; it holds rows of the table
    #[arg(long, value_name = "FILE")]
    save_profile: Option<PathBuf>,
    /// End with exit code 1 when drift is found
    #[arg(long)]
    fail_on_drift: bool,
    /// Chance of finding drift where there is none: 0.05 or 5%
    #[arg(long, value_name = "SHARE", value_parser = alpha, default_value = "0.05")]
    alpha: f64,
    /// Rows of each table that are compared; a random sample is taken of more
    #[arg(long, value_name = "N", value_parser = sample_rows, default_value = "10000")]
    rows: usize,
    /// Seed of samples and permutations
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    #[command(flatten)]
    options: TableArgs,
}

/// How the tables are to be understood.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Data")]
struct TableArgs {
    /// Column with the labels; a change of the rule behind them is looked for
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// Leave out a column; may be repeated
    #[arg(long, value_name = "COLUMN")]
    drop_column: Vec<String>,
    /// Compare a column although it looks like an identifier; may be repeated
    #[arg(long, value_name = "COLUMN")]
    keep_column: Vec<String>,
    /// Take a column for numbers, whatever its cells look like; may be repeated
    #[arg(long, value_name = "COLUMN")]
    numeric: Vec<String>,
    /// Take a column for categories, whatever its cells look like; may be repeated
    #[arg(long, value_name = "COLUMN")]
    categorical: Vec<String>,
    /// The first line names the columns; found out by default
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// The first line is data; columns are called c0, c1, ...
    #[arg(long)]
    no_header: bool,
    /// What the target is; with classes every distinct value is one
    #[arg(long, value_enum)]
    task: Option<TaskArg>,
}

impl DriftArgs {
    fn options(&self) -> DriftOptions {
        let o = &self.options;
        DriftOptions {
            target: o.target.clone(),
            classes: matches!(o.task, Some(TaskArg::Classes)),
            alpha: self.alpha,
            rows: self.rows,
            keep: o.keep_column.clone(),
            drop: o.drop_column.clone(),
            numeric: o.numeric.clone(),
            categorical: o.categorical.clone(),
            header: header(o.header, o.no_header),
            seed: self.seed,
        }
    }
}

/// What `--json` prints when nothing is compared.
#[derive(Serialize)]
struct Saved<'a> {
    profile: &'a PathBuf,
    source: &'a str,
    rows: u64,
    compared: usize,
}

pub fn run(args: &DriftArgs, global: &Global) -> Result<ExitCode> {
    args.save_profile
        .iter()
        .try_for_each(|out| check_place(out))?;
    let options = args.options();
    let reference = profile(&args.reference, &options)?;
    if let Some(out) = &args.save_profile {
        save_profile(&reference, out)?;
        if args.new.is_none() {
            let saved = Saved {
                profile: out,
                source: &reference.source,
                rows: reference.rows,
                compared: reference.table.rows(),
            };
            let (some, all) = (saved.compared as u64, saved.rows);
            let what = format!(
                "{} of {} rows of {}",
                grouped(some),
                grouped(all),
                saved.source
            );
            match global.json {
                true => Stdout::json(&saved)?,
                false => Stdout::print(&pairs(&[
                    ("profile", out.display().to_string()),
                    ("holds", what),
                ]))?,
            }
        }
    }
    let Some(new) = &args.new else {
        return Ok(ExitCode::SUCCESS);
    };
    let found = drift(&reference, new, &options)?;
    match global.json {
        true => Stdout::json(&found)?,
        false => Stdout::print(&text(&found))?,
    }
    Ok(match found.drifted && args.fail_on_drift {
        true => ExitCode::from(1),
        false => ExitCode::SUCCESS,
    })
}

fn text(d: &Drift) -> String {
    let side = |c: &Compared| match c.rows == c.compared as u64 {
        true => format!("{}, {} rows", c.source, grouped(c.rows)),
        false => format!(
            "{}, {} of {} rows",
            c.source,
            grouped(c.compared as u64),
            grouped(c.rows)
        ),
    };
    let mut rows = vec![
        ("drift", verdict(d)),
        ("reference", side(&d.reference)),
        ("new", side(&d.new)),
    ];
    let said = |p: f64, drifted: bool| {
        format!(
            "{}, {}",
            chance(p),
            if drifted { "drift" } else { "within chance" }
        )
    };
    if let Some(joint) = &d.joint {
        let found = said(joint.p_adjusted, joint.drifted);
        rows.push((
            "all columns",
            format!("discrepancy {:.4}, {found}", joint.statistic),
        ));
    }
    if let Some(c) = &d.capacity {
        rows.push((
            "capacity",
            format!(
                "{:.2} of a random order's, was {:.2} ({} rows each), {}",
                c.new,
                c.reference,
                grouped(c.rows as u64),
                said(c.p_adjusted, c.drifted)
            ),
        ));
    }
    if let Some(r) = &d.regimes {
        rows.push((
            "one rule or two",
            format!(
                "one tree for both takes {:.0} splits more than two, {}",
                r.statistic,
                said(r.p_adjusted, r.drifted)
            ),
        ));
    }
    if let Some(r) = &d.rule {
        rows.push((
            "the rule",
            format!(
                "learnt on the reference, wrong on {} of new rows and {} of its own, {}",
                percent(r.new_error),
                percent(r.reference_error),
                said(r.p_adjusted, r.drifted)
            ),
        ));
    }
    for (column, reason) in &d.left_out {
        rows.push(("left out", format!("{column}: {reason}")));
    }
    for notice in &d.notices {
        rows.push(("note", notice.clone()));
    }
    let mut text = pairs(&rows);
    text.push('\n');
    text.push_str(&table(&d.columns));
    text
}

fn verdict(d: &Drift) -> String {
    let mut changed: Vec<&str> = d
        .columns
        .iter()
        .filter(|c| c.drifted)
        .map(|c| c.name.as_str())
        .collect();
    changed.dedup();
    let mut where_: Vec<String> = Vec::new();
    if !changed.is_empty() {
        let shown = changed
            .iter()
            .take(5)
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if changed.len() > 5 { ", ..." } else { "" };
        let what = if changed.len() == 1 {
            "column"
        } else {
            "columns"
        };
        where_.push(format!("{what} {shown}{more}"));
    }
    let mut also = |found: Option<bool>, what: &str| {
        if found == Some(true) {
            where_.push(what.to_owned());
        }
    };
    also(d.joint.as_ref().map(|t| t.drifted), "all columns together");
    also(
        d.capacity.as_ref().map(|t| t.drifted),
        "the capacity that labels need",
    );
    also(
        d.regimes.as_ref().map(|t| t.drifted),
        "the rule, which is another",
    );
    also(
        d.rule.as_ref().map(|t| t.drifted),
        "the reference's rule, which fails",
    );
    let alpha = percent(d.alpha);
    match d.drifted {
        true => format!("yes: {}", where_.join("; ")),
        false => format!(
            "none found; changes too small for these rows are not ruled out, and 1 such comparison in {:.0} \
             would find one by chance ({alpha})",
            1.0 / d.alpha
        ),
    }
}

fn table(tests: &[ColumnTest]) -> String {
    let head = ["column", "test", "statistic", "p", "corrected", "psi", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for t in tests {
        rows.push(vec![
            t.name.clone(),
            t.test.clone(),
            format!("{:.3}", t.statistic),
            plain(t.p),
            plain(t.p_adjusted),
            format!("{:.3}", t.psi),
            if t.drifted { "drift" } else { "" }.to_owned(),
        ]);
    }
    columns(&rows)
}

fn plain(p: f64) -> String {
    match p {
        p if p < 1e-4 => "<0.0001".to_owned(),
        p => format!("{p:.4}"),
    }
}

fn chance(p: f64) -> String {
    match p {
        p if p < 1e-4 => "corrected p below 0.0001".to_owned(),
        p => format!("corrected p {p:.4}"),
    }
}
