//! The weights before and after compression, and the layers of the file.

use super::bars::{Pair, histograms};
use super::table;
use super::text::{NONE, count, counted, name, share};
use crate::results::{Histogram, Layer, RunResult, macs_in_words};

/// Layers drawn without unfolding.
const MOST_SHOWN: usize = 12;

/// Histograms of every layer's weights.
pub(super) fn weights(result: &RunResult) -> String {
    if result.histograms.is_empty() {
        return String::new();
    }
    let figures: Vec<_> = result.histograms.iter().enumerate().map(pair).collect();
    let (shown, folded) = figures.split_at(figures.len().min(MOST_SHOWN));
    let mut out = format!(
        "<p class=\"soft\">Above: the dense network. Below: the file, zeros left out. Each half has its own \
         height; the horizontal axis is the value of a weight and is the same for both.</p>\
         <div class=\"smalls\">{}</div>",
        shown.concat()
    );
    if !folded.is_empty() {
        out += &format!(
            "<details><summary>{} more</summary><div class=\"smalls\">{}</div></details>",
            counted(folded.len() as u64, "layer", "layers"),
            folded.concat()
        );
    }
    out
}

fn pair((i, histogram): (usize, &Histogram)) -> String {
    let sum = |counts: &[u64]| counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    let before = counted(sum(&histogram.before), "weight", "weights");
    let after = counted(sum(&histogram.after), "weight", "weights");
    histograms(&Pair {
        id: format!("f-weights-{i}"),
        name: &histogram.name,
        range: (histogram.low, histogram.high),
        before: &histogram.before,
        after: &histogram.after,
        says: [format!("before: {before}"), format!("after: {after} not 0")],
    })
}

/// The layers as a table, with their sums.
pub(super) fn layers(layers: &[Layer]) -> String {
    if layers.is_empty() {
        return "<p>No layers were recorded.</p>".to_owned();
    }
    let mut rows: Vec<_> = layers.iter().map(row).collect();
    let sum = |value: fn(&Layer) -> u64| {
        layers
            .iter()
            .fold(0u64, |sum, l| sum.saturating_add(value(l)))
    };
    let (parameters, nonzero) = (sum(|l| l.parameters as u64), sum(|l| l.nonzero as u64));
    rows.push(vec![
        "<b>together</b>".to_owned(),
        String::new(),
        String::new(),
        count(parameters),
        count(nonzero),
        share(nonzero, parameters),
        macs_in_words(layers, sum(|l| l.macs.unwrap_or(0)), count),
        String::new(),
    ]);
    let heads = [
        "Layer",
        "Operator",
        "Output",
        "Stored",
        "Not 0",
        "Share",
        "Multiply-adds",
        "Bits",
    ];
    table(
        "figures layers",
        "Layers of the file, for one sample",
        &heads,
        &rows,
    ) + "<p class=\"soft\">Bits: of an index into the layer’s codebook; 32 where values are plain.</p>"
}

fn row(layer: &Layer) -> Vec<String> {
    let sizes = layer.shape.iter().flatten();
    let shape: Vec<_> = sizes.map(|&n| count(n as u64)).collect();
    let weights = layer.parameters > 0;
    let or_none = |text: String| if weights { text } else { NONE.to_owned() };
    vec![
        name(&layer.name),
        name(&layer.op),
        if shape.is_empty() {
            NONE.to_owned()
        } else {
            shape.join(" × ")
        },
        or_none(count(layer.parameters as u64)),
        or_none(count(layer.nonzero as u64)),
        or_none(share(layer.nonzero as u64, layer.parameters as u64)),
        layer.macs.map_or(NONE.to_owned(), count),
        or_none(layer.bits.to_string()),
    ]
}
