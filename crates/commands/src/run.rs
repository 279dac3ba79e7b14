//! `bantam run`: answers of a network, or its outputs as they are.

use std::io::{Write, stdin};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bantam::arrays::{self, State};
use bantam::open::{self, Network};
use bantam::predict::{Format, PredictOptions, Predictor, Summary, Unseen};
use bantam::{Error, ErrorKind, Result};
use clap::ValueEnum;

use crate::args::{ArchArgs, Global, header};
use crate::output::{OutFile, Stdout, check_place, columns, say};
use crate::progress::observer;
use crate::values::{grouped, percent_within};

const OUTPUT: &str = "Answers go to stdout, or to a file with -o, in the order of the data: the \
answer, called as the target, then the probability of each class, called p_ and the class. Where \
the data hold the target too, the accuracy is printed on stderr.

With --json, a row is a JSON object on a line of its own, with the same names as keys, and the last \
line is a summary; with -o the summary is all there is on stdout. Keys of the summary: rows, n \
(rows whose answer could be scored), accuracy, standard_error, classes, confusion.

With --raw, arrays are fed as they are: a .npy file to the only input, or a .npz archive with an array \
for each input, by name. The outputs are arrays too, in a .npy or .npz file with -o. Labels beside \
arrays may be numbers of classes. Keys of --json: seconds, outputs[].{name, dtype, shape, \
minimum, maximum, mean, not_finite}.";

#[derive(Debug, clap::Args)]
#[command(after_help = OUTPUT)]
pub struct RunArgs {
    /// A .bantam or .onnx file, or weights (.safetensors, .pth, .pt) with --arch
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Like the training data: a table (`-` for CSV from stdin), images, IDX or NumPy files
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Write the answers to a file: JSON lines when it is called .jsonl, else CSV; arrays to .npy or .npz
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
    #[command(flatten)]
    arch: ArchArgs,
    /// Feed arrays as they are, and give the outputs as arrays; done for .npy and .npz files where
    /// nothing says what the network is fed
    #[arg(long, conflicts_with_all = ["header", "no_header", "unseen"])]
    raw: bool,
    /// Feed an output back into an input, step by step along the first axis of the other arrays; the
    /// state begins as its array, or as zeros. May be repeated; implies --raw
    #[arg(long, value_name = "INPUT=OUTPUT", value_parser = state)]
    state: Vec<State>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnseenArg {
    Error,
    Zero,
}

pub fn run(args: &RunArgs, global: &Global) -> Result<()> {
    let network = open::network(&args.model, args.arch.name())?;
    let tell = |notices: &[String]| {
        if !global.quiet {
            notices.iter().for_each(|n| say(&format!("note: {n}")));
        }
    };
    let unknown = network.schema.is_none() && is_arrays(&args.data);
    if args.raw || unknown || !args.state.is_empty() {
        tell(&network.notices);
        if unknown && !args.raw && args.state.is_empty() && !global.quiet {
            say("note: nothing says what the network is fed, so arrays are fed as they are");
        }
        return raw(args, &network, global);
    }
    let mut predictor = Predictor::new(&args.model, network)?;
    tell(predictor.notices());
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

fn is_arrays(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|e| e == "npy" || e == "npz")
}

fn state(text: &str) -> std::result::Result<State, String> {
    match text.split_once('=') {
        Some((input, output)) if !input.is_empty() && !output.is_empty() => Ok(State {
            input: input.to_owned(),
            output: output.to_owned(),
        }),
        _ => Err("expected INPUT=OUTPUT".to_owned()),
    }
}

/// Arrays in, arrays out.
fn raw(args: &RunArgs, network: &Network, global: &Global) -> Result<()> {
    if let Some(path) = &args.out {
        check_place(path)?;
    }
    let graph = &network.graph;
    let inputs = arrays::read_inputs(graph, &args.data, &args.state)?;
    let start = Instant::now();
    let outputs = arrays::run(graph, &inputs, &args.state)?;
    let seconds = start.elapsed().as_secs_f64();
    if let Some(path) = &args.out {
        let bytes = arrays::encode(&outputs, path)?;
        let mut file = OutFile::create(path)?;
        file.write_all(&bytes).map_err(|e| Error::file(path, &e))?;
        file.finish()?;
    }
    if global.json {
        return Stdout::json(&serde_json::json!({"seconds": seconds, "outputs": outputs}));
    }
    let shown = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.6}"));
    let titles = [
        "output",
        "type",
        "shape",
        "minimum",
        "mean",
        "maximum",
        "not finite",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(outputs.iter().map(|o| {
        let shape: Vec<String> = o.shape.iter().map(usize::to_string).collect();
        let figures = [o.minimum, o.mean, o.maximum].map(shown);
        let mut row = vec![o.name.clone(), o.dtype.clone(), shape.join(" x ")];
        row.extend(figures);
        row.push(grouped(o.not_finite as u64));
        row
    }));
    Stdout::print(&columns(&rows))
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
            let (accuracy, error) = (
                percent_within(accuracy, error),
                percent_within(error, error),
            );
            format!("accuracy {accuracy} on {n} rows, standard error {error}")
        }
        None => format!("R² {accuracy:.3} on {n} rows"),
    })
}
