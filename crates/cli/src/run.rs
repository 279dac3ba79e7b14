//! `bantam run`: answers of a packed network.

use std::io::{Write, stdin};
use std::path::{Path, PathBuf};

use bantam::predict::{Format, PredictOptions, Predictor, Summary, Unseen};
use bantam::{Error, ErrorKind, Result};
use clap::ValueEnum;

use crate::args::{Global, header};
use crate::output::{OutFile, Stdout, say};
use crate::progress::observer;
use crate::values::{grouped, percent};

const OUTPUT: &str = "Answers go to stdout, or to a file with -o, in the order of the data: the \
answer, called as the target, then the probability of each class, called p_ and the class. Where \
the data hold the target too, the accuracy is printed on stderr.

With --json, a row is a JSON object on a line of its own, with the same names as keys, and the last \
line is a summary; with -o the summary is all there is on stdout. Keys of the summary: rows, n \
(rows whose answer could be scored), accuracy, standard_error, classes, confusion.";

#[derive(Debug, clap::Args)]
#[command(after_help = OUTPUT)]
pub struct RunArgs {
    /// A .bantam file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Like the training data: a table (`-` for CSV from stdin), images, IDX or NumPy files
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Write the answers to a file: JSON lines when it is called .jsonl, else CSV
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A category that the network has not seen is an error, or none of the known ones
    #[arg(long, value_enum, default_value = "error")]
    unseen: UnseenArg,
    /// The first line names the columns; found out by default
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// The first line is data
    #[arg(long)]
    no_header: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnseenArg {
    Error,
    Zero,
}

pub fn run(args: &RunArgs, global: &Global) -> Result<()> {
    let mut predictor = Predictor::open(&args.model)?;
    let options = PredictOptions {
        unseen: match args.unseen {
            UnseenArg::Error => Unseen::Error,
            UnseenArg::Zero => Unseen::Zero,
        },
        header: header(args.header, args.no_header),
        format: format(args.out.as_deref(), global.json),
    };
    let summary = match &args.out {
        Some(path) => {
            let mut file = OutFile::create(path)?;
            let answered = answer(&mut predictor, &args.data, &options, &mut file, global);
            let summary = answered.map_err(|e| match e.kind() {
                ErrorKind::File => e.in_file(path),
                _ => e,
            })?;
            file.finish()?;
            summary
        }
        None => answer(
            &mut predictor,
            &args.data,
            &options,
            &mut Stdout::open(),
            global,
        )?,
    };
    match (global.json, args.out.is_some()) {
        (true, true) => Stdout::json(&summary)?,
        (true, false) => Stdout::print(&one_line(&summary)?)?,
        (false, _) => {}
    }
    if !global.quiet {
        told(&summary).iter().for_each(|line| say(line));
    }
    Ok(())
}

fn answer(
    predictor: &mut Predictor,
    data: &Path,
    options: &PredictOptions,
    out: &mut dyn Write,
    global: &Global,
) -> Result<Summary> {
    let mut observer = observer(global);
    if data == Path::new("-") {
        return predictor.predict_stream(Box::new(stdin()), options, out, &mut *observer);
    }
    predictor.predict(data, options, out, &mut *observer)
}

fn format(out: Option<&Path>, json: bool) -> Format {
    let lines = match out {
        Some(path) => path
            .extension()
            .is_some_and(|e| e == "jsonl" || e == "ndjson"),
        None => json,
    };
    if lines {
        Format::JsonLines
    } else {
        Format::Csv
    }
}

fn one_line(summary: &Summary) -> Result<String> {
    let text = serde_json::to_string(summary);
    let text = text.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    Ok(text + "\n")
}

/// How many rows, and how well where that is known.
fn told(s: &Summary) -> Option<String> {
    let (accuracy, n) = (s.accuracy?, grouped(s.n as u64));
    Some(match s.standard_error {
        Some(error) => {
            let (accuracy, error) = (percent(accuracy), percent(error));
            format!("accuracy {accuracy} on {n} rows, standard error {error}")
        }
        None => format!("R² {accuracy:.3} on {n} rows"),
    })
}
