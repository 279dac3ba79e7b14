//! The report: one static page with the whole road of a run, from the data to the file.
//!
//! The page is complete in itself. It has no scripts, loads nothing, and says so in its content
//! security policy; every text that comes from data is escaped. It follows the reader's light or dark
//! scheme, narrow screens and paper. The same result gives the same bytes.
//!
//! Plots are drawn by our own small writer (`scale`, `plot`, `bars`) rather than by a library.
//! The established one, plotters 0.3.7, had no release within a year; the well-kept ones draw in the
//! browser with a script (charming) or fix every colour in the file and bring dozens of kinds of plot
//! (kuva). This page needs lines, bars and intervals whose colours come from its style sheet, or a
//! reader's dark scheme would not reach them.

mod bars;
mod confusion;
mod drawing;
mod measured;
mod network;
mod packed;
mod plot;
#[cfg(test)]
mod sample;
mod scale;
mod study;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod training;
mod weights;

use crate::results::{Measured, RunResult, Sized};
pub use network::render as render_network;
use text::{Metric, escape};

const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded, whatever the page holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A section: its id, its heading, its entry in the list of contents, and what is in it. A section
/// with nothing in it is left out.
struct Section {
    id: &'static str,
    heading: &'static str,
    entry: &'static str,
    body: String,
}

/// The page of a finished run, as a complete HTML document.
pub fn render(result: &RunResult) -> String {
    let metric = Metric {
        classes: !result.classes.is_empty(),
    };
    page(
        &result.name,
        &summary::headline(result, metric),
        &sections(result, metric),
        &result.version,
    )
}

/// The page of a measurement alone, as a complete HTML document.
pub fn render_measured(name: &str, measured: &Measured, sized: Option<&Sized>) -> String {
    let section = |id, heading, entry, body| Section {
        id,
        heading,
        entry,
        body,
    };
    let sections = [
        section(
            "measured",
            "What was measured",
            "Data",
            measured::of(measured),
        ),
        section(
            "start",
            "A starting network, and why",
            "Start",
            sized.map_or_else(String::new, measured::network),
        ),
    ];
    let head = format!(
        "<header>\n<p class=\"kicker\">Bantam measurement</p>\n<h1>{}</h1>\n{}\n</header>\n",
        text::name(name),
        study::headline(measured)
    );
    page(name, &head, &sections, env!("CARGO_PKG_VERSION"))
}

fn page(title: &str, header: &str, sections: &[Section], version: &str) -> String {
    let mut contents = String::new();
    let mut body = String::new();
    for section in sections.iter().filter(|s| !s.body.is_empty()) {
        let Section {
            id,
            heading,
            entry,
            body: inner,
        } = section;
        contents += &format!("<li><a href=\"#{id}\">{entry}</a></li>");
        body += &format!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">{heading}</h2>\n{inner}\n</section>\n"
        );
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} – Bantam report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{header}\
         <nav aria-label=\"Contents\"><ul>{contents}</ul></nav>\n<main>\n{body}</main>\n\
         <footer>Bantam {}</footer>\n</body>\n</html>\n",
        escape(title),
        escape(version),
    )
}

/// The sections in the order in which a reader wants them.
fn sections(result: &RunResult, metric: Metric) -> Vec<Section> {
    let section = |id, heading, entry, body| Section {
        id,
        heading,
        entry,
        body,
    };
    vec![
        section("road", "The road", "Road", summary::road(result, metric)),
        section(
            "measured",
            "What was measured before training",
            "Data",
            measured::data(result),
        ),
        section(
            "start",
            "The starting network, and why",
            "Start",
            measured::start(result),
        ),
        section(
            "learning",
            "Learning",
            "Learning",
            training::learning(result, metric),
        ),
        section(
            "tradeoff",
            TRADE_OFF[usize::from(!metric.classes)],
            "Trade-off",
            training::trade_off(result, metric),
        ),
        section(
            "bytes",
            "Where the bytes are",
            "Bytes",
            packed::ledger(result),
        ),
        section(
            "weights",
            "Weights before and after",
            "Weights",
            weights::weights(result),
        ),
        section(
            "layers",
            "Layers of the file",
            "Layers",
            weights::layers(&result.layers),
        ),
        section(
            "confusion",
            "What it confuses",
            "Confusion",
            confusion::confusion(result),
        ),
        section(
            "parity",
            "Is the file the network that was tuned?",
            "Parity",
            packed::parity(result),
        ),
        section("use", "How to use the file", "Use", packed::usage(result)),
        section("run", "How this was made", "Run", packed::run(result)),
    ]
}

const TRADE_OFF: [&str; 2] = ["Accuracy against size", "R² against size"];

/// A table that scrolls sideways where the page is too narrow. Heads and cells are HTML.
fn table(class: &str, caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\"><table class=\"{class}\"><caption>{caption}</caption><thead><tr>"
    );
    for head in heads {
        out += &format!("<th scope=\"col\">{head}</th>");
    }
    out += "</tr></thead><tbody>";
    for row in rows {
        out += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            out += &match i {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td>{cell}</td>"),
            };
        }
        out += "</tr>";
    }
    out + "</tbody></table></div>"
}

/// A list of facts: names and values, both HTML.
fn facts(facts: &[(&str, String)]) -> String {
    let mut out = String::from("<dl class=\"facts\">");
    for (term, value) in facts {
        out += &format!("<div><dt>{term}</dt><dd>{value}</dd></div>");
    }
    out + "</dl>"
}
