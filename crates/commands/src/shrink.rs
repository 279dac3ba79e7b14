//! `bantam shrink`: a finished network made smaller and faster, within a contract.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bantam::export::{Target, encode};
use bantam::shrink::{Contract, Figures, Report, read, shrink};
use bantam::{Error, ErrorKind, Result, open};

use crate::args::{ArchArgs, Global};
use crate::output::{OutFile, Stdout, check_place, columns, say};
use crate::progress::observer;
use crate::values::{duration, grouped, percent_within, share};

const ABOUT: &str = "Layers compute in bytes: 8-bit integers with a scale. Ranges of values, and how \
they are chosen, come from DATA; layers that lose too much, or take longer in bytes, stay as they are. Nothing is written, and \
the exit code is 1, when the contract cannot be kept or the result is slower on this machine.

Keys of --json: path, bytes, bytes_before, layers, left, slower, trials[].{calibration, correct_bias, equalised, \
smoothed, drop, moved}, chosen, samples, before, after: {accuracy, standard_error, latency_us, \
weight_bytes}, drop, moved, outputs[].{output, moved, cosine, least_cosine}, taken, reason, notices.";

#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub struct ShrinkArgs {
    /// A network: .bantam, .onnx, or weights (.safetensors, .pth, .pt) with --arch
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Data like those the network is for, as `run` reads them; arrays by the names of the inputs where
    /// nothing says what the network is fed
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Most that the accuracy may fall by, such as 0.5%; where answers cannot be scored, most that
    /// the outputs may move, as a share of theirs
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share)]
    max_drop: f64,
    /// Most time an answer may take on one thread, such as 50us or 2ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_latency: Option<Duration>,
    /// Where to write it: ONNX when it is called .onnx; by default beside MODEL, with .int8.bantam
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    arch: ArchArgs,
}

pub fn run(args: &ShrinkArgs, global: &Global) -> Result<()> {
    let beside = || args.model.with_extension("int8.bantam");
    let path = args.out.clone().unwrap_or_else(beside);
    if path == args.model {
        let error = Error::new(ErrorKind::File, "the result would replace the model");
        return Err(error
            .in_file(&path)
            .with_hint("say where to write it with -o"));
    }
    check_place(&path)?;
    let network = open::network(&args.model, args.arch.name())?;
    let mut observer = observer(global);
    if !global.quiet {
        network
            .notices
            .iter()
            .for_each(|n| say(&format!("note: {n}")));
    }
    let data = read(&args.model, &network, &args.data, &mut *observer)?;
    let contract = Contract {
        max_drop: args.max_drop,
        max_latency: args.max_latency,
    };
    let (graph, report) = shrink(&network.graph, &data, &contract, &mut *observer)?;
    drop(observer);
    if !report.taken {
        if global.json {
            Stdout::json(&json(&report, None))?;
        } else {
            Stdout::print(&text(&report))?;
        }
        let message = format!("the network is left as it is: {}", report.reason);
        let hint = "--max-drop and --max-latency say what is allowed";
        return Err(Error::new(ErrorKind::Budget, message)
            .in_file(&args.model)
            .with_hint(hint));
    }
    let is_onnx = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    let target = if is_onnx {
        Target::Onnx
    } else {
        Target::Bantam
    };
    let before = encode(network.clone(), target)?.len();
    let bytes = encode(open::Network { graph, ..network }, target)?;
    let mut file = OutFile::create(&path)?;
    file.write_all(&bytes).map_err(|e| Error::file(&path, &e))?;
    file.finish()?;
    match global.json {
        true => Stdout::json(&json(&report, Some((&path, bytes.len(), before)))),
        false => {
            let [size, old] = [bytes.len(), before].map(|n| grouped(n as u64));
            let written = format!("{}: {size} bytes ({old} before)\n", path.display());
            Stdout::print(&(text(&report) + &written))
        }
    }
}

fn json(report: &Report, written: Option<(&Path, usize, usize)>) -> serde_json::Value {
    let mut value = serde_json::to_value(report).expect("a report is an object");
    if let (Some(object), Some((path, bytes, before))) = (value.as_object_mut(), written) {
        object.insert("path".to_owned(), path.display().to_string().into());
        object.insert("bytes".to_owned(), bytes.into());
        object.insert("bytes_before".to_owned(), before.into());
    }
    value
}

fn text(r: &Report) -> String {
    let score = |f: &Figures| match (f.accuracy, f.standard_error) {
        (Some(a), Some(e)) => percent_within(a, e),
        _ => "-".to_owned(),
    };
    let time = |f: &Figures| match f.latency_us {
        us if us >= 1000.0 => format!("{:.2} ms", us / 1000.0),
        us => format!("{us:.1} us"),
    };
    let titles = ["", "accuracy", "an answer", "weights"].map(str::to_owned);
    let row = |name: &str, f: &Figures| {
        vec![
            name.to_owned(),
            score(f),
            time(f),
            format!("{} B", grouped(f.weight_bytes as u64)),
        ]
    };
    let table = columns(&[
        titles.to_vec(),
        row("as it was", &r.before),
        row("in bytes", &r.after),
    ]);
    let way = &r.trials[r.chosen];
    let with = [
        (way.correct_bias, "biases corrected"),
        (way.equalised, "channels equalised"),
        (way.smoothed > 0.0, "channels smoothed"),
    ];
    let with: Vec<&str> = with.iter().filter(|w| w.0).map(|w| w.1).collect();
    let with = match with.is_empty() {
        true => String::new(),
        false => format!(", {}", with.join(", ")),
    };
    let [observed, choosing, test] = r.samples;
    let mut text = format!(
        "{} of {} layers in bytes; ranges by {}{with}\n{table}",
        r.layers - r.left.len() - r.slower.len(),
        r.layers,
        way.calibration,
    );
    if !r.left.is_empty() {
        text += &format!("left as they are: {}\n", r.left.join(", "));
    }
    if !r.slower.is_empty() {
        text += &format!("no faster in bytes: {}\n", r.slower.join(", "));
    }
    let titles = ["output", "moves by", "cosine, mean", "least"].map(str::to_owned);
    let mut rows = vec![titles.to_vec()];
    rows.extend(r.outputs.iter().map(|o| {
        let moved = format!("{:.2} %", 100.0 * o.moved);
        let [mean, least] = [o.cosine, o.least_cosine].map(|c| format!("{c:.5}"));
        vec![o.output.clone(), moved, mean, least]
    }));
    text += &columns(&rows);
    text += &format!(
        "how far outputs move is the root mean square, as a share of theirs; cosines are of each sample\n\
         {observed} samples for ranges, {choosing} for choices, {test} for this report; one thread\n"
    );
    r.notices
        .iter()
        .for_each(|n| text += &format!("note: {n}\n"));
    text
}
