//! `bantam train`, `prune`, `quantize`, `pack`: a recipe up to one stage.

use std::path::PathBuf;

use bantam::{Result, RunOptions, StageName, StageReport};
use serde_json::json;

use crate::args::{FolderArgs, Global, command_line, read_recipe};
use crate::output::{Stdout, columns, pairs};
use crate::progress::observer;
use crate::values::{grouped, percent, seconds};

const KEYS: &str = "Keys of --json: folder, stages[].{name, accuracy, validation_accuracy, nonzero, \
bytes, seconds}, file (what the stage left).";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct StageArgs {
    /// A recipe, as `bantam grow --print-recipe` writes it
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    #[command(flatten)]
    folders: FolderArgs,
    /// Another seed than the recipe's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub fn run(args: &StageArgs, until: StageName, global: &Global) -> Result<()> {
    let recipe = read_recipe(&args.recipe, args.seed)?;
    let options = RunOptions {
        runs: args.folders.runs.clone(),
        command: command_line(),
        out: None,
        fresh: args.folders.fresh,
        ..RunOptions::default()
    };
    let report = bantam::run_stage(&recipe, until, &options, &mut *observer(global))?;
    if global.json {
        let StageReport {
            folder,
            stages,
            file,
        } = report;
        return Stdout::json(&json!({ "folder": folder, "stages": stages, "file": file }));
    }
    Stdout::print(&text(&report))
}

fn text(report: &StageReport) -> String {
    let titles = ["stage", "test", "validation", "not zero", "bytes", "time"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(report.stages.iter().map(|s| {
        vec![
            s.name.clone(),
            percent(s.accuracy),
            percent(s.validation_accuracy),
            grouped(s.nonzero as u64),
            grouped(s.bytes),
            seconds(s.seconds),
        ]
    }));
    let mut places = vec![("folder", report.folder.display().to_string())];
    if let Some(file) = &report.file {
        places.push(("file", file.display().to_string()));
    }
    columns(&rows) + &pairs(&places)
}
