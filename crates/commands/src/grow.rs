//! `bantam grow`: the whole road in one command.

use std::path::{Path, PathBuf};

use bantam::recipe::{Precision, Prefer};
use bantam::results::RunResult;
use bantam::{Error, ErrorKind, Recipe, Result, RunOptions};

use clap::ValueEnum;

use crate::args::{DataArgs, FolderArgs, Global, command_line, rates, read_recipe};
use crate::output::{Stdout, check_place, pairs};
use crate::progress::observer;
use crate::values::{self, grouped, percent};

const KEYS: &str = "Keys of --json: test.{accuracy, standard_error, n, confusion}, \
baseline.{accuracy, ...}, stages[].{name, accuracy, validation_accuracy, nonzero, bytes, seconds}, \
file.{path, bytes, ledger, ...}, report, recipe, and the whole course of the run.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct GrowArgs {
    /// A table (CSV, TSV, Parquet), an array file, a folder of images by class, or of IDX files
    #[arg(value_name = "DATA", required_unless_present = "recipe")]
    data: Option<PathBuf>,
    /// Take every setting from a recipe instead of DATA and options
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["data", "data_options", "network_options"]
    )]
    recipe: Option<PathBuf>,
    /// Decides splits, first weights and order; the same seed gives the same file
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    options: DataArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The network and what it must keep to.
#[derive(Debug, clap::Args)]
#[group(id = "network_options", multiple = true)]
#[command(next_help_heading = "Network and budget")]
struct NetworkArgs {
    /// Units of the hidden layers, such as 32,16; by default as the data call for
    #[arg(long, value_name = "UNITS", value_delimiter = ',', value_parser = values::units)]
    hidden: Option<Vec<usize>>,
    /// Passes over the training rows
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// What large products are rounded to in training, weights and sums being f32: bf16 is faster with
    /// AVX512_BF16 and slower elsewhere, f16 is slower
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArg,
    /// Largest file: 8192, 8KB (8000), 8KiB (8192)
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    max_bytes: Option<u64>,
    /// Most that validation accuracy may fall below the dense network's: 0.005 or 0.5%
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    max_drop: Option<f64>,
    /// Least validation accuracy: 0.98 or 98%
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    min_accuracy: Option<f64>,
    /// Which network within those limits; accuracy is validation accuracy
    #[arg(long, value_enum, default_value = "size")]
    prefer: PreferArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PreferArg {
    Size,
    Accuracy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArg {
    F32,
    Bf16,
    F16,
}

/// Where results go.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    #[command(flatten)]
    folders: FolderArgs,
    /// Copy of the packed file
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Rates of energy and money for the budget, a TOML file
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,
    /// Print the recipe that the options make, and stop
    #[arg(long)]
    print_recipe: bool,
}

pub fn run(args: &GrowArgs, global: &Global) -> Result<()> {
    let recipe = recipe(args)?;
    let output = &args.output;
    if output.print_recipe {
        return print_recipe(&recipe, global);
    }
    output.out.iter().try_for_each(|out| check_place(out))?;
    let options = RunOptions {
        runs: output.folders.runs.clone(),
        command: command_line(),
        out: output.out.clone(),
        fresh: output.folders.fresh,
        rates: rates(output.rates.as_deref())?,
    };
    let result = bantam::grow(&recipe, &options, &mut *observer(global))?;
    if global.json {
        return Stdout::json(&result);
    }
    let file = match &output.out {
        Some(out) => out.display().to_string(),
        None => result.file.path.clone(),
    };
    Stdout::print(&text(&result, &file))
}

/// The recipe of the file, or the one that the options make.
fn recipe(args: &GrowArgs) -> Result<Recipe> {
    let recipe = match (&args.recipe, &args.data) {
        (Some(file), _) => read_recipe(file, args.seed)?,
        (None, Some(data)) => {
            let mut recipe = args.options.recipe(data, args.seed);
            let (network, budget) = (&args.network, &mut recipe.budget);
            budget.max_bytes = network.max_bytes.unwrap_or(budget.max_bytes);
            budget.max_drop = network.max_drop.unwrap_or(budget.max_drop);
            budget.min_accuracy = network.min_accuracy.unwrap_or(budget.min_accuracy);
            budget.prefer = match network.prefer {
                PreferArg::Size => Prefer::Size,
                PreferArg::Accuracy => Prefer::Accuracy,
            };
            recipe.model.hidden = network.hidden.clone().unwrap_or_default();
            recipe.train.epochs = network.epochs.unwrap_or(recipe.train.epochs);
            recipe.train.precision = match network.precision {
                PrecisionArg::F32 => Precision::F32,
                PrecisionArg::Bf16 => Precision::Bf16,
                PrecisionArg::F16 => Precision::F16,
            };
            recipe
        }
        (None, None) => {
            let message = "expected DATA or --recipe";
            return Err(Error::new(ErrorKind::Recipe, message));
        }
    };
    recipe.check()?;
    Ok(recipe)
}

fn print_recipe(recipe: &Recipe, global: &Global) -> Result<()> {
    match global.json {
        true => Stdout::json(recipe),
        false => Stdout::print(&recipe.to_toml()),
    }
}

/// The summary: how well, how small, where, and how to go on.
fn text(r: &RunResult, file: &str) -> String {
    let (test, dense) = (&r.test, &r.baseline);
    let is_number = r.classes.is_empty();
    let score = |s: f64| {
        if is_number {
            format!("{s:.3}")
        } else {
            percent(s)
        }
    };
    let n = grouped(test.n as u64);
    let accuracy = match is_number {
        true => format!("{} on {n} test rows", score(test.accuracy)),
        false => {
            let error = percent(test.standard_error);
            format!(
                "{} on {n} test rows, standard error {error}",
                score(test.accuracy)
            )
        }
    };
    let (bytes, before) = (r.file.bytes, r.file.dense_bytes);
    let ratio = before as f64 / bytes.max(1) as f64;
    let size = format!(
        "{file}, {} bytes ({ratio:.0} times smaller than the dense network's {} as 32-bit floats)",
        grouped(bytes),
        grouped(before)
    );
    let recipe = Path::new(&r.report).with_file_name("recipe.toml");
    let mut rows = vec![
        (if is_number { "R²" } else { "accuracy" }, accuracy),
        (
            "dense network",
            format!("{} on the same rows", score(dense.accuracy)),
        ),
        ("file", size),
        ("report", r.report.clone()),
        ("recipe", recipe.display().to_string()),
        ("use it", format!("bantam run {file} DATA")),
    ];
    if let Some(budget) = &r.budget {
        rows.insert(3, ("budget", budget.took_text()));
    }
    pairs(&rows)
}
