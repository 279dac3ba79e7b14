//! `bantam bench`: how fast networks are on this machine.

use std::path::PathBuf;

use bantam::bench::{
    BenchOptions, BenchReport, Cache, Kernel, LayerTime, Machine, ModelReport, Ratio, RunReport,
    Source, bench,
};
use bantam::{Error, ErrorKind, Result};

use crate::args::Global;
use crate::output::{Stdout, columns};
use crate::progress::observer;
use crate::values::{grouped, short_time, size, three_digits};

const ABOUT: &str =
    "A time is that of a call with its inputs in memory. Networks take turns, round by \
round, so that a busy moment falls on all of them; `x first` is the median over that of the first \
network, in brackets what a tenth of the rounds were below and above. `on CPU` is the mean time of \
all threads on the processor.

`floor` is the least time the machine could need, as a share of the median: for each step the \
longer of the multiply-adds of its kernel at the peak and its bytes at the bandwidth with which a \
core reads so many, both measured here. It leaves out the ends of loops, whole vectors, writing, \
other cores' caches, and functions that are no multiply-adds.

`cores give` is how many times the multiply-adds of one thread all threads make together, with nothing \
else to do, in the same rounds: what more threads can gain at most. Two processors of a virtual machine \
may be one core. `meet in` is how long all threads take to begin and end a piece without work: each layer \
that they share takes so much at least, and more where their cores have no cache in common.

Kernels of a layer are timed once, and the fastest is kept in a file in $XDG_CACHE_HOME/bantam or \
~/.cache/bantam, for this processor, number of threads and version; `run` takes it from there. \
Answers do not depend on it.

Keys of --json: version, machine, models[], runs[].{model, batch, threads, calls, median_seconds, \
p95_seconds, min_seconds, ratio, layers[], kernels[], ...}, peak_memory_bytes; all of them are in \
docs/json.md.";

#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub struct BenchArgs {
    /// A file with a network, or weights with --arch; --arch alone takes random weights
    #[arg(value_name = "MODEL", required_unless_present = "arch")]
    model: Option<PathBuf>,
    /// Networks to measure in turns with the first
    #[arg(long, value_name = "MODEL", num_args = 1..)]
    against: Vec<PathBuf>,
    /// Architecture of files that hold weights alone, such as resnet20-cifar
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Samples in a call, one or several numbers; 1 by default
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = crate::values::batch)]
    batch: Vec<usize>,
    /// How long to call each network, for each batch and number of threads
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    #[arg(value_parser = crate::values::measured_seconds)]
    seconds: f64,
    /// Show every step: its time, its share, its floor, and the kernels that stood to choice
    #[arg(long)]
    layers: bool,
    /// Time no kernels: take what is kept, else what is expected to be fast
    #[arg(long)]
    no_tune: bool,
    /// Neither read nor keep which kernels are fast
    #[arg(long)]
    no_cache: bool,
    /// Feed arrays, a .npy file or a .npz archive by names of inputs, in place of random numbers
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "axis"])]
    inputs: Option<PathBuf>,
    /// Size of an axis that is not the batch; may be repeated
    #[arg(long, value_name = "NAME=SIZE", value_parser = axis)]
    axis: Vec<(String, usize)>,
    /// What random inputs and weights are drawn by
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
}

pub fn run(args: &BenchArgs, global: &Global) -> Result<()> {
    let options = BenchOptions {
        architecture: args.arch.clone(),
        batches: args.batch.clone(),
        threads: global.threads.clone(),
        seconds: args.seconds,
        layers: args.layers,
        tune: !args.no_tune,
        cache: match args.no_cache {
            true => Cache::none(),
            false => Cache::of_user(),
        },
        inputs: args.inputs.clone(),
        axes: args.axis.clone(),
        seed: args.seed,
    };
    let report = bench(&sources(args)?, &options, &mut *observer(global))?;
    match global.json {
        true => Stdout::json(&report),
        false => Stdout::print(&text(&report)),
    }
}

fn sources(args: &BenchArgs) -> Result<Vec<Source>> {
    let first = match (&args.model, &args.arch) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(name)) => Source::Fresh(name.clone()),
        (None, None) => {
            let message = "expected a network to measure";
            return Err(Error::new(ErrorKind::Recipe, message));
        }
    };
    let others = args.against.iter().cloned().map(Source::File);
    Ok(std::iter::once(first).chain(others).collect())
}

fn axis(text: &str) -> std::result::Result<(String, usize), String> {
    let pair = text.split_once('=').and_then(|(name, size)| {
        let size = size.parse().ok().filter(|s| (1..=1 << 24).contains(s))?;
        (!name.is_empty()).then(|| (name.to_owned(), size))
    });
    pair.ok_or_else(|| format!("expected NAME=SIZE such as sequence=128, found {text:?}"))
}

fn text(report: &BenchReport) -> String {
    let mut text = machine(&report.machine, &report.version);
    text += "\n";
    text += &columns(&models(&report.models));
    text += "\n";
    text += &columns(&runs(&report.runs));
    if let Some(bytes) = report.peak_memory_bytes {
        text += &format!("\npeak memory of this process: {}\n", size(bytes));
    }
    for run in report.runs.iter().filter(|r| !r.layers.is_empty()) {
        let (batch, threads) = (run.batch, run.threads);
        text += &format!("\n{}, batch {batch}, threads {threads}\n", run.model);
        text += &layers(&run.layers);
        if !run.kernels.is_empty() {
            text += "\nkernels tried, pixels x vectors, the fastest first\n";
            text += &kernels(&run.kernels);
        }
    }
    text
}

fn machine(m: &Machine, version: &str) -> String {
    let cores = match m.cores {
        1 => "1 core".to_owned(),
        n => format!("{n} cores"),
    };
    let reads: Vec<String> = m
        .reads
        .iter()
        .map(|r| {
            let kib = r.bytes >> 10;
            let bytes = if kib < 1024 {
                format!("{kib} KiB")
            } else {
                format!("{} MiB", kib >> 10)
            };
            format!("{bytes} at {}", three_digits(r.bytes_per_second / 1e9))
        })
        .collect();
    format!(
        "bantam {version} on {}, {cores}, {}; a core does {} GFLOP/s, {} Gop/s on bytes,\n\
         and reads (GB/s) {}\n",
        m.processor,
        m.instructions,
        three_digits(m.peak_flops / 1e9),
        three_digits(m.peak_byte_ops / 1e9),
        reads.join(", ")
    )
}

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn models(models: &[ModelReport]) -> Vec<Vec<String>> {
    let mut rows = vec![cells(["network", "format", "weights", "file", "opened in"])];
    rows.extend(models.iter().map(|m| {
        vec![
            m.name.clone(),
            m.format.clone(),
            grouped(m.parameters as u64),
            or_dash(m.file_bytes.map(size)),
            or_dash(m.open_seconds.map(short_time)),
        ]
    }));
    rows
}

fn runs(runs: &[RunReport]) -> Vec<Vec<String>> {
    let head = [
        "network",
        "batch",
        "threads",
        "cores give",
        "meet in",
        "median",
        "95 %",
        "least",
        "on CPU",
        "samples/s",
        "x first",
        "floor",
        "calls",
        "buffers",
        "weights",
        "planned in",
        "tuned in",
    ];
    let mut rows = vec![cells(head)];
    rows.extend(runs.iter().map(|r| {
        let times = |r: Ratio| format!("{:.2} ({:.2}-{:.2})", r.median, r.low, r.high);
        let ratio = r.ratio.map(times);
        vec![
            r.model.clone(),
            r.batch.to_string(),
            r.threads.to_string(),
            or_dash(r.together.map(|t| times(t.cores))),
            or_dash(r.together.map(|t| short_time(t.meeting_seconds))),
            short_time(r.median_seconds),
            short_time(r.p95_seconds),
            short_time(r.min_seconds),
            or_dash(r.processor_seconds.map(short_time)),
            three_digits(r.samples_per_second),
            or_dash(ratio),
            whole_percent(r.floor_seconds / r.median_seconds),
            grouped(r.calls as u64),
            size(r.buffers_bytes as u64),
            size(r.weights_bytes as u64),
            short_time(r.plan_seconds),
            short_time(r.tune_seconds),
        ]
    }));
    // A column that says nothing is left out.
    let empty = [
        ("x first", runs.iter().all(|r| r.ratio.is_none())),
        ("cores give", runs.iter().all(|r| r.together.is_none())),
        ("meet in", runs.iter().all(|r| r.together.is_none())),
    ];
    for (name, _) in empty.into_iter().filter(|(_, empty)| *empty) {
        if let Some(at) = rows[0].iter().position(|h| h == name) {
            rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }
    rows
}

fn whole_percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A line a step; the kernel comes last, for it may be long.
fn layers(layers: &[LayerTime]) -> String {
    let head = ["step", "time", "share", "floor", "of time", "MACs", "bytes"];
    let mut rows = vec![cells(head)];
    rows.extend(layers.iter().map(|l| {
        let bytes = (l.weight_bytes + l.value_bytes) as u64;
        // What is known of a step only while it runs has no floor.
        let known = l.floor_seconds > 0.0;
        vec![
            l.name.clone(),
            short_time(l.seconds),
            format!("{:.1} %", l.share * 100.0),
            or_dash(known.then(|| short_time(l.floor_seconds))),
            or_dash(known.then(|| whole_percent(l.floor_share))),
            grouped(l.macs),
            size(bytes),
        ]
    }));
    let kernels = std::iter::once("kernel").chain(layers.iter().map(|l| l.kernel.as_str()));
    let table = columns(&rows);
    let lines = table.lines().zip(kernels);
    lines
        .map(|(line, kernel)| format!("{line}  {kernel}\n"))
        .collect()
}

/// A line a kind of layer, and the kernels with their times below it.
fn kernels(kernels: &[Kernel]) -> String {
    let line = |k: &Kernel| {
        let steps = match k.steps {
            1 => "1 step".to_owned(),
            n => format!("{n} steps"),
        };
        let tried: Vec<String> = k
            .tried
            .iter()
            .map(|t| format!("{} {}", t.kernel, short_time(t.seconds)))
            .collect();
        let (shapes, reason) = (&k.shapes, &k.reason);
        format!("{shapes}, {steps}: {reason}\n  {}\n", tried.join(", "))
    };
    kernels.iter().map(line).collect()
}
