//! The page about one network: what it is, a picture of it, its layers, its tensors, its bytes.

use bantam_core::Graph;

use super::drawing::drawing;
use super::text::{bytes, count, counted, escape, name, share};
use super::{Section, facts, packed, page, table, weights};
use crate::inspect::{Inspection, Port, WeightInfo};

/// Tensors listed without unfolding.
const MOST_SHOWN: usize = 60;

/// The page of what [`inspect`](crate::inspect()) found, as a complete HTML document.
pub fn render(inspection: &Inspection, graph: Option<&Graph>) -> String {
    let section = |id, heading, entry, body| Section {
        id,
        heading,
        entry,
        body,
    };
    let layers = match inspection.layers.is_empty() {
        true => String::new(),
        false => weights::layers(&inspection.layers),
    };
    let sections = [
        section("network", "The network", "Network", about(inspection)),
        section(
            "picture",
            "Its graph",
            "Graph",
            graph.map(picture).unwrap_or_default(),
        ),
        section("layers", "Its layers", "Layers", layers),
        section(
            "tensors",
            "What is stored",
            "Tensors",
            tensors(&inspection.weights),
        ),
        section(
            "bytes",
            "Where the bytes are",
            "Bytes",
            packed::parts(&inspection.ledger, inspection.bytes),
        ),
        section("notes", "Notes", "Notes", notes(inspection)),
    ];
    page(
        &inspection.name,
        &headline(inspection),
        &sections,
        env!("CARGO_PKG_VERSION"),
    )
}

fn headline(i: &Inspection) -> String {
    let what = match (i.architecture, i.layers.is_empty()) {
        (Some(architecture), _) => format!(
            "weights from a {} file in the network {}",
            i.format,
            escape(architecture)
        ),
        (None, true) => format!(
            "weights from a {} file, of a network that it does not name",
            i.format
        ),
        (None, false) => format!("a network from a {} file", i.format),
    };
    format!(
        "<header>\n<p class=\"kicker\">Bantam report</p>\n<h1>{}</h1>\n<p class=\"lead\">{what}</p>\n</header>\n",
        name(&i.name)
    )
}

fn about(i: &Inspection) -> String {
    let mut list = vec![
        ("File", bytes(i.bytes)),
        ("Weights", count(i.parameters as u64)),
        ("Not 0", share(i.nonzero as u64, i.parameters as u64)),
    ];
    if !i.layers.is_empty() {
        list.push(("Multiply-adds a sample", i.macs_in_words(count)));
        list.push(("Nodes", count(i.layers.len() as u64)));
    }
    if !i.fits.is_empty() {
        list.push(("Weights of", escape(&i.fits.join(" or "))));
    }
    let mut out = facts(&list);
    let ports: Vec<Vec<String>> = [("input", &i.inputs), ("output", &i.outputs)]
        .into_iter()
        .flat_map(|(kind, ports)| ports.iter().map(move |p| port(kind, p)))
        .collect();
    if !ports.is_empty() {
        out += &table(
            "figures texts",
            "Inputs and outputs, outputs for one sample",
            &["Name", "", "Type", "Shape"],
            &ports,
        );
    }
    if !i.ops.is_empty() {
        let ops: Vec<Vec<String>> = i
            .ops
            .iter()
            .map(|o| vec![name(&o.op), count(o.count as u64)])
            .collect();
        out += &table("figures ledger", "Operators", &["Operator", "Nodes"], &ops);
    }
    out
}

fn port(kind: &str, p: &Port) -> Vec<String> {
    vec![
        name(&p.name),
        kind.to_owned(),
        escape(&p.dtype),
        escape(&p.shape.join(" × ")),
    ]
}

fn picture(graph: &Graph) -> String {
    format!(
        "<p class=\"soft\">From top to bottom. <span class=\"swatch p1\"></span>with weights, \
         <span class=\"swatch p2\"></span>brings values together, <span class=\"swatch p8\"></span>other \
         work, <span class=\"swatch p3\"></span>input. Shapes are those of one sample; point at a block for \
         the names of its nodes.</p>{}",
        drawing(graph)
    )
}

fn tensors(weights: &[WeightInfo]) -> String {
    if weights.is_empty() {
        return "<p>Nothing is stored.</p>".to_owned();
    }
    let row = |w: &WeightInfo| {
        let shape: Vec<String> = w.shape.iter().map(|&n| count(n as u64)).collect();
        vec![
            name(&w.name),
            escape(&w.stored),
            shape.join(" × "),
            count(w.elements as u64),
            share(w.nonzero as u64, w.elements as u64),
        ]
    };
    let rows: Vec<Vec<String>> = weights.iter().map(row).collect();
    let heads = ["Tensor", "Stored", "Shape", "Elements", "Not 0"];
    let caption = counted(weights.len() as u64, "tensor", "tensors");
    let table = table("figures layers", &caption, &heads, &rows);
    match weights.len() > MOST_SHOWN {
        true => format!("<details><summary>{caption}</summary>{table}</details>"),
        false => table,
    }
}

fn notes(i: &Inspection) -> String {
    let mut out = String::new();
    for notice in &i.notices {
        out += &format!("<p>{}</p>", escape(notice));
    }
    for (title, text) in &i.notes {
        out += &format!("<h3>{}</h3><pre>{}</pre>", escape(title), escape(text));
    }
    out
}
