//! `bantam inspect`: what is in a packed network.

use std::path::PathBuf;

use bantam::Result;
use bantam::inspect::{Inspection, inspect};

use crate::args::Global;
use crate::output::{Stdout, columns, pairs};
use crate::values::grouped;

const KEYS: &str = "Keys of --json: name, bytes, ledger[].{part, bytes}, which sum to bytes, \
layers[].{name, op, shape, parameters, nonzero, macs, bits}, input.{kind, shape, columns}, \
target.{name, kind, classes}, parameters, nonzero, macs, notes, graph.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub struct InspectArgs {
    /// A .bantam file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Print the graph as text instead
    #[arg(long)]
    dump: bool,
}

pub fn run(args: &InspectArgs, global: &Global) -> Result<()> {
    let inspection = inspect(&args.model)?;
    match (global.json, args.dump) {
        (true, _) => Stdout::json(&inspection),
        (false, true) => Stdout::print(&inspection.graph),
        (false, false) => Stdout::print(&text(&inspection)),
    }
}

fn text(i: &Inspection) -> String {
    let n = |n: usize| grouped(n as u64);
    let mut about = vec![
        ("network", i.name.clone()),
        ("file", format!("{} bytes", grouped(i.bytes))),
        (
            "weights",
            format!("{}, of which {} are not 0", n(i.parameters), n(i.nonzero)),
        ),
        (
            "work",
            format!("{} multiply-adds a sample", grouped(i.macs)),
        ),
    ];
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
    for (title, note) in &i.notes {
        about.push((
            "note",
            format!("{title}: {}", note.lines().next().unwrap_or("")),
        ));
    }
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
        let shape: Vec<String> = l.shape.iter().map(usize::to_string).collect();
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
            shape.join(" x "),
            weighty(n(l.parameters)),
            weighty(n(l.nonzero)),
            weighty(l.bits.to_string()),
            grouped(l.macs),
        ]
    }));
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
    format!(
        "{}\n{}\n{}",
        pairs(&about),
        columns(&layers),
        columns(&ledger)
    )
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
