//! `bantam inspect`: what is in a file of a network or of weights.

use std::io::Write;
use std::path::{Path, PathBuf};

use bantam::inspect::{Capacity, Inspected, Inspection, OpCount, Port, inspect, inspect_with};
use bantam::{Error, ErrorKind, Result, report};

use crate::args::{ArchArgs, Global};
use crate::output::{OutFile, Stdout, check_place, columns, pairs, say};
use crate::progress::observer;
use crate::values::{grouped, percent};

const KEYS: &str = "Keys of --json: name, format, architecture, fits, bytes, ledger[].{part, bytes}, \
which sum to bytes, inputs[] and outputs[].{name, dtype, shape}, ops[].{op, count}, \
onnx.{ir_version, producer, opsets[].{domain, version}, operators[].{op, count}}, \
layers[].{name, op, shape, parameters, nonzero, macs, bits}, \
weights[].{name, stored, shape, elements, nonzero}, input.{kind, shape, columns}, \
target.{name, kind, classes}, parameters, nonzero, macs, notes, notices, graph, \
capacity.{total_bits, layers[].{name, op, weights, bits, rule, status}, alternatives[].{rule, bits, status}, \
generalization.{rows, correct, label_bits, bits_per_bit}}.";

fn after_help() -> String {
    format!("Known architectures: {}.\n\n{KEYS}", bantam::open::known())
}

#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub struct InspectArgs {
    /// A .bantam or .onnx file, or weights (.safetensors, .pth, .pt)
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    arch: ArchArgs,
    /// List the stored tensors too
    #[arg(long)]
    weights: bool,
    /// Say how many bits of the labels of these data the network answers for each bit it can hold
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// Print the graph as text instead
    #[arg(long)]
    dump: bool,
    /// Write a page with a picture of the network, every layer and every tensor
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub fn run(args: &InspectArgs, global: &Global) -> Result<()> {
    if let Some(path) = &args.report {
        check_place(path)?;
    }
    let (model, arch) = (&args.model, args.arch.name());
    let inspected = match &args.data {
        Some(data) => inspect_with(model, arch, data, &mut *observer(global))?,
        None => inspect(model, arch)?,
    };
    if let Some(path) = &args.report {
        write_report(path, &inspected, global)?;
    }
    let inspection = &inspected.inspection;
    if args.dump && inspected.graph.is_none() {
        let message = "there is no graph to print: the file holds weights alone";
        let error = Error::new(ErrorKind::Model, message).in_file(&args.model);
        return Err(error.with_hint("name the architecture with --arch"));
    }
    match (global.json, args.dump) {
        (true, _) => Stdout::json(inspection),
        (false, true) => Stdout::print(&inspection.graph),
        (false, false) => Stdout::print(&text(inspection, args.weights)),
    }
}

fn write_report(path: &Path, inspected: &Inspected, global: &Global) -> Result<()> {
    let page = report::render_network(&inspected.inspection, inspected.graph.as_ref());
    let mut file = OutFile::create(path)?;
    file.write_all(page.as_bytes())
        .map_err(|e| Error::file(path, &e))?;
    file.finish()?;
    if !global.quiet {
        say(&format!("report {}", path.display()));
    }
    Ok(())
}

/// Facts, then layers, then tensors where they are all there is or were asked for, then bytes.
fn text(i: &Inspection, weights: bool) -> String {
    let mut parts = vec![pairs(&about(i))];
    if !i.layers.is_empty() {
        parts.push(layers(i));
    }
    if weights || i.layers.is_empty() {
        parts.push(tensors(i));
    }
    parts.extend(i.capacity.as_ref().map(capacity));
    parts.push(ledger(i));
    parts.join("\n")
}

fn about(i: &Inspection) -> Vec<(&'static str, String)> {
    let n = |n: usize| grouped(n as u64);
    let mut about = vec![
        ("network", i.name.clone()),
        ("file", format!("{} bytes, {}", grouped(i.bytes), i.format)),
    ];
    if let Some(architecture) = i.architecture {
        about.push(("architecture", architecture.to_owned()));
    }
    if i.layers.is_empty() {
        let fits = match i.fits.as_slice() {
            [] => "of no known architecture".to_owned(),
            [one] => format!("of {one}: say --arch {one}"),
            some => format!("of {}: say --arch NAME", some.join(" or ")),
        };
        about.push(("weights alone", fits));
    }
    let share = match i.parameters {
        0 => String::new(),
        all => format!(" ({})", percent(i.nonzero as f64 / all as f64)),
    };
    about.push((
        "weights",
        format!(
            "{}, of which {} are not 0{share}",
            n(i.parameters),
            n(i.nonzero)
        ),
    ));
    if !i.layers.is_empty() {
        let macs = i.macs_in_words(grouped);
        about.push(("work", format!("{macs} multiply-adds a sample")));
        about.push(("operators", counts(&i.ops)));
    }
    if let Some(onnx) = &i.onnx {
        let opsets = onnx.opsets.iter();
        let opsets: Vec<String> = opsets
            .map(|o| format!("{} {}", o.domain, o.version))
            .collect();
        about.push(("operator sets", opsets.join(", ")));
        about.push(("in the file", counts(&onnx.operators)));
        let by = match onnx.producer.as_str() {
            "" => String::new(),
            producer => format!(", written by {producer}"),
        };
        about.push(("ONNX", format!("version {}{by}", onnx.ir_version)));
    }
    let port = |p: &Port| format!("{}: {} [{}]", p.name, p.dtype, p.shape.join(", "));
    about.extend(i.inputs.iter().map(|p| ("in", port(p))));
    about.extend(i.outputs.iter().map(|p| ("out", port(p))));
    if let Some(input) = &i.input {
        let shape = input.shape.iter().map(usize::to_string).collect::<Vec<_>>();
        about.push((
            "input",
            format!("{} of {} values", input.kind, shape.join(" x ")),
        ));
        for c in &input.columns {
            let missing = if c.missing { ", may be missing" } else { "" };
            let kind = match c.categories.is_empty() {
                true => c.kind.to_owned(),
                false => format!("one of {}", listed(&c.categories)),
            };
            about.push(("", format!("{}: {kind}{missing}", c.name)));
        }
    }
    if let Some(target) = &i.target {
        let what = match target.classes.is_empty() {
            true => "a number".to_owned(),
            false => format!("one of {}", listed(&target.classes)),
        };
        about.push(("target", format!("{}: {what}", target.name)));
    }
    about.extend(i.notices.iter().map(|notice| ("note", notice.clone())));
    for (title, note) in &i.notes {
        about.push((
            "note",
            format!("{title}: {}", note.lines().next().unwrap_or("")),
        ));
    }
    about
}

/// `12 Relu, 1 Softmax`.
fn counts(ops: &[OpCount]) -> String {
    let ops: Vec<String> = ops
        .iter()
        .map(|o| format!("{} {}", o.count, o.op))
        .collect();
    ops.join(", ")
}

fn layers(i: &Inspection) -> String {
    let n = |n: usize| grouped(n as u64);
    let titles = [
        "layer",
        "operator",
        "shape",
        "weights",
        "not zero",
        "bits",
        "multiply-adds",
    ];
    let mut layers = vec![titles.map(str::to_owned).to_vec()];
    layers.extend(i.layers.iter().map(|l| {
        let shape = match &l.shape {
            Some(shape) => shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(" x "),
            None => "?".to_owned(),
        };
        let weighty = |text: String| {
            if l.parameters > 0 {
                text
            } else {
                String::new()
            }
        };
        vec![
            l.name.clone(),
            l.op.clone(),
            shape,
            weighty(n(l.parameters)),
            weighty(n(l.nonzero)),
            weighty(l.bits.to_string()),
            l.macs.map_or_else(|| "?".to_owned(), grouped),
        ]
    }));
    columns(&layers)
}

fn tensors(i: &Inspection) -> String {
    let titles = ["tensor", "stored", "shape", "weights", "not zero"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(i.weights.iter().map(|w| {
        let shape: Vec<String> = w.shape.iter().map(usize::to_string).collect();
        let [elements, nonzero] = [w.elements, w.nonzero].map(|n| grouped(n as u64));
        vec![
            w.name.clone(),
            w.stored.clone(),
            shape.join(" x "),
            elements,
            nonzero,
        ]
    }));
    columns(&rows)
}

fn ledger(i: &Inspection) -> String {
    let mut ledger = vec![vec!["part of the file".to_owned(), "bytes".to_owned()]];
    ledger.extend(
        i.ledger
            .iter()
            .map(|p| vec![p.part.clone(), grouped(p.bytes)]),
    );
    ledger.push(vec![
        "sum".to_owned(),
        grouped(i.ledger.iter().map(|p| p.bytes).sum()),
    ]);
    columns(&ledger)
}

/// What the network can hold, the rules and their standing.
fn capacity(c: &Capacity) -> String {
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["capacity of", "weights", "bits"])];
    let mut words = vec!["standing: rule".to_owned()];
    for l in &c.layers {
        rows.push(row([&l.name, &grouped(l.weights), &grouped(l.bits)]));
        words.push(format!("{}: {}", l.status, l.rule));
    }
    rows.push(row(["sum", "", &grouped(c.total_bits)]));
    words.push("an upper bound on what it can memorise, not a forecast of overfitting".to_owned());
    for a in &c.alternatives {
        rows.push(row(["or", "", &grouped(a.bits.round() as u64)]));
        words.push(format!("{}: {}", a.status, a.rule));
    }
    let table = columns(&rows);
    let lines = table.lines().zip(&words);
    let mut text: String = lines
        .map(|(line, words)| format!("{line}  {words}\n"))
        .collect();
    if let Some(g) = &c.generalization {
        let ratio = g
            .bits_per_bit
            .map_or_else(|| "-".to_owned(), |b| format!("{b:.2}"));
        text += &format!(
            "generalisation  {ratio} bits of label a bit of capacity: {} of {} rows right, {:.1} bits; a \
             lookup table does 1\n",
            grouped(g.correct),
            grouped(g.rows as u64),
            g.label_bits
        );
    }
    text
}

/// At most ten names.
fn listed(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > 10 {
        text.push_str(&format!(", ... ({} in all)", names.len()));
    }
    text
}
