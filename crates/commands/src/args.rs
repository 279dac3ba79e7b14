//! What can be said on the command line.

use std::path::{Path, PathBuf};

use bantam::Recipe;
use bantam::recipe::Task;
use clap::{Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;
use crate::drift::DriftArgs;
use crate::export::ExportArgs;
use crate::grow::GrowArgs;
use crate::inspect::InspectArgs;
use crate::measure::MeasureArgs;
use crate::run::RunArgs;
use crate::shrink::ShrinkArgs;
use crate::stage::StageArgs;

/// From data to the smallest network that does the job.
#[derive(Debug, Parser)]
#[command(
    name = "bantam",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(after_help = "Exit code 0: done; 1: the request failed; 2: a fault of bantam.")]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Print one JSON object on stdout and nothing else
    #[arg(long, global = true, display_order = 100)]
    pub json: bool,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, display_order = 101)]
    pub quiet: bool,
    /// Threads to work with; all cores by default. Results do not depend on it. bench takes several: 1,2
    #[arg(
        long,
        global = true,
        display_order = 102,
        value_name = "N",
        value_delimiter = ','
    )]
    #[arg(value_parser = crate::values::threads)]
    pub threads: Vec<usize>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say how large a network the data call for, before any training
    Measure(MeasureArgs),
    /// Go the whole road: measure, train, prune, quantize, pack
    Grow(GrowArgs),
    /// Train the dense network of a recipe
    Train(StageArgs),
    /// Prune the network of a recipe, after training it if need be
    Prune(StageArgs),
    /// Quantize the network of a recipe, after the stages before it if need be
    Quantize(StageArgs),
    /// Pack the network of a recipe into a file, after the stages before it if need be
    Pack(StageArgs),
    /// Make a finished network smaller and faster: layers in bytes, within a contract
    Shrink(ShrinkArgs),
    /// Answer data with a network
    Run(RunArgs),
    /// Show what is in a file of a network or of weights: every byte, every layer
    Inspect(InspectArgs),
    /// Write a network as a file for other programs
    Export(ExportArgs),
    /// Measure how fast networks are here, beside each other and beside what the machine could do
    Bench(BenchArgs),
    /// Say whether new data are still like those of a reference
    Drift(DriftArgs),
}

/// Which network weights belong to.
#[derive(Debug, clap::Args)]
pub struct ArchArgs {
    /// Architecture of a file that holds weights alone, such as resnet20-cifar; `inspect` without it
    /// says which one fits, and its help which are known
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
}

impl ArchArgs {
    /// The name that was given.
    pub fn name(&self) -> Option<&str> {
        self.arch.as_deref()
    }
}

/// How data are to be understood.
#[derive(Debug, clap::Args)]
#[group(id = "data_options", multiple = true)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Column to predict; images and arrays bring their labels
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// Leave out a column; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub drop_column: Vec<String>,
    /// Keep a column although it looks like an identifier; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub keep_column: Vec<String>,
    /// Take a column for numbers, whatever its cells look like; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub numeric: Vec<String>,
    /// Take a column for categories, whatever its cells look like; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub categorical: Vec<String>,
    /// The first line names the columns; found out by default
    #[arg(long, conflicts_with = "no_header")]
    pub header: bool,
    /// The first line is data; columns are called c0, c1, ...
    #[arg(long)]
    pub no_header: bool,
    /// Data larger than this in memory are left on disk: 512MB, 4GiB (the default)
    #[arg(long, value_name = "SIZE", value_parser = crate::values::bytes)]
    pub max_memory: Option<u64>,
    /// What the target is; by default text and few whole numbers are classes, other numbers a number
    #[arg(long, value_enum)]
    pub task: Option<TaskArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TaskArg {
    Auto,
    Classes,
    Number,
}

impl DataArgs {
    /// A recipe for the data at `path`, with everything else at its default.
    pub fn recipe(&self, path: &Path, seed: Option<u64>) -> Recipe {
        let mut recipe = bantam::default_recipe(path);
        recipe.seed = seed.unwrap_or(recipe.seed);
        let data = &mut recipe.data;
        data.target = self.target.clone();
        data.drop = self.drop_column.clone();
        data.keep = self.keep_column.clone();
        data.numeric = self.numeric.clone();
        data.categorical = self.categorical.clone();
        data.max_memory = self.max_memory.unwrap_or(data.max_memory);
        data.header = header(self.header, self.no_header);
        data.task = match self.task {
            None | Some(TaskArg::Auto) => Task::Auto,
            Some(TaskArg::Classes) => Task::Classes,
            Some(TaskArg::Number) => Task::Number,
        };
        recipe
    }
}

/// Whether there is a header, if the user said so.
pub fn header(header: bool, no_header: bool) -> Option<bool> {
    (header || no_header).then_some(header)
}

/// The recipe in the file at `path`, with another seed if one is given.
pub fn read_recipe(path: &Path, seed: Option<u64>) -> bantam::Result<Recipe> {
    let mut recipe = Recipe::read(path)?;
    recipe.seed = seed.unwrap_or(recipe.seed);
    Ok(recipe)
}

/// The rates in the file at `path`, or those that are built in.
pub fn rates(path: Option<&Path>) -> bantam::Result<bantam::budget::Rates> {
    path.map_or_else(|| Ok(Default::default()), bantam::budget::Rates::read)
}

/// The command line as a shell would take it.
pub fn command_line() -> String {
    let quoted = |arg: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
        match !arg.is_empty() && arg.chars().all(plain) {
            true => arg,
            false => format!("'{}'", arg.replace('\'', r"'\''")),
        }
    };
    let args = std::env::args_os().skip(1);
    let args = args.map(|a| quoted(a.to_string_lossy().into_owned()));
    std::iter::once("bantam".to_owned())
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where files of runs go.
#[derive(Debug, clap::Args)]
pub struct FolderArgs {
    /// Folder of the run folders
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Start over, whatever an earlier run has left
    #[arg(long)]
    pub fresh: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }
}
