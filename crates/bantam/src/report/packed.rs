//! The file: where its bytes are, whether it answers as the network did, and how to use it.

use super::bars::{bar, stack};
use super::summary::exact;
use super::text::{bytes, count, counted, digits, escape, share, shell_word, size, times};
use super::{facts, table};
use crate::results::{Part, RunResult};
use bantam_core::order::sort_by_key;

/// Parts of the bar that have a colour of their own.
const MOST_PARTS: usize = 8;

/// The byte ledger, and the file beside the same network in other forms.
pub(super) fn ledger(result: &RunResult) -> String {
    let file = &result.file;
    let title = match file.ledger.is_empty() {
        true => "",
        false => "<h3>Every byte of the file</h3>",
    };
    sizes(result) + title + &parts(&file.ledger, file.bytes)
}

/// The parts of a file of `bytes` bytes, the largest first.
pub(super) fn parts(ledger: &[Part], bytes: u64) -> String {
    let mut parts: Vec<&Part> = ledger.iter().collect();
    sort_by_key(&mut parts, |p| std::cmp::Reverse(p.bytes));
    let sum: u64 = parts.iter().fold(0, |sum, p| sum.saturating_add(p.bytes));
    if parts.is_empty() {
        return "<p>The file came without a ledger.</p>".to_owned();
    }
    let out = stack(
        &segments(&parts),
        &format!("{} parts of the file by size", parts.len()),
    );
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let look = if parts.len() <= MOST_PARTS {
            i
        } else {
            i.min(MOST_PARTS - 1)
        } + 1;
        rows.push(vec![
            format!(
                "<span class=\"swatch p{look}\"></span>{}",
                escape(&part.part)
            ),
            count(part.bytes),
            share(part.bytes, bytes),
        ]);
    }
    if sum != bytes {
        let missing = i128::from(bytes) - i128::from(sum);
        rows.push(vec![
            "<i>not accounted for</i>".to_owned(),
            missing.to_string(),
            String::new(),
        ]);
    }
    rows.push(vec![
        "<b>the file</b>".to_owned(),
        count(bytes),
        share(bytes, bytes),
    ]);
    out + &table(
        "figures ledger",
        "Parts of the file, in bytes",
        &["Part", "Bytes", "Share"],
        &rows,
    )
}

/// Segments of the bar; the smallest parts are one where there are many.
fn segments(parts: &[&Part]) -> Vec<(u64, String)> {
    let says = |p: &Part| {
        (
            p.bytes,
            format!("{}: {}", p.part, counted(p.bytes, "byte", "bytes")),
        )
    };
    if parts.len() <= MOST_PARTS {
        return parts.iter().map(|p| says(p)).collect();
    }
    let (large, small) = parts.split_at(MOST_PARTS - 1);
    let rest = small
        .iter()
        .fold(0u64, |sum, p| sum.saturating_add(p.bytes));
    let mut out: Vec<_> = large.iter().map(|p| says(p)).collect();
    out.push((
        rest,
        format!(
            "{} smaller parts: {}",
            small.len(),
            counted(rest, "byte", "bytes")
        ),
    ));
    out
}

fn sizes(result: &RunResult) -> String {
    let file = &result.file;
    let forms = [
        ("Dense, 32-bit floats", file.dense_bytes),
        ("Deep Compression’s format", file.deep_compression_bytes),
        ("This file", file.bytes),
    ];
    let most = forms.iter().map(|f| f.1).max().unwrap_or(0).max(1) as f64;
    let rows: Vec<_> = forms
        .iter()
        .filter(|f| f.1 > 0)
        .map(|&(label, n)| {
            let smaller = times(file.dense_bytes, n);
            vec![
                label.to_owned(),
                bar(n as f64 / most, "p1"),
                bytes(n),
                smaller,
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        "bars",
        "The network in three forms",
        &["Form", "", "Size", "Dense / this"],
        &rows,
    )
}

/// Whether the decoded file answers as the tuned network did.
pub(super) fn parity(result: &RunResult) -> String {
    let file = &result.file;
    if result.test.n == 0 {
        return "<p>There were no test rows to compare answers on.</p>".to_owned();
    }
    let n = counted(result.test.n as u64, "test row", "test rows");
    let verdict = match file.changed_answers {
        0 if result.classes.is_empty() => String::new(),
        0 => format!("The file answers all {n} as the tuned network did. "),
        changed => {
            let changed = count(changed as u64);
            format!("The file answers {changed} of {n} differently from the tuned network. ")
        }
    };
    let difference = if file.parity.is_finite() {
        format!(
            "The largest difference of any output from the tuned network’s, over {n}, is {}.",
            digits(file.parity, 2)
        )
    } else {
        "The largest difference of any output is not a finite number: do not use this file before that is \
         explained."
            .to_owned()
    };
    format!("<p>{verdict}{difference}</p>")
}

/// Commands for the finished file.
pub(super) fn usage(result: &RunResult) -> String {
    let file = shell_word(&result.file.path);
    let lines = [
        ("answers for new rows", format!("bantam run {file} DATA")),
        (
            "what is inside, byte by byte",
            format!("bantam inspect {file}"),
        ),
        ("time on this machine", format!("bantam bench {file}")),
        ("answers over HTTP", format!("bantam serve {file}")),
        (
            "for other programs",
            format!("bantam export {file} --to onnx"),
        ),
    ];
    let mut out = format!(
        "<p>The file is {}. It holds the network, the names and kinds of the columns and the names of the \
         classes; nothing else is needed.</p><dl class=\"commands\">",
        exact(result.file.bytes)
    );
    for (what, line) in lines {
        out += &format!(
            "<div><dt>{what}</dt><dd><code>{}</code></dd></div>",
            escape(&line)
        );
    }
    out + "</dl>"
}

/// Command, version, rows and recipe.
pub(super) fn run(result: &RunResult) -> String {
    let [train, validation, test] = result.rows.map(|n| count(n as u64));
    let list = [
        ("Version", escape(&result.version)),
        (
            "Rows: training / validation / test",
            format!("{train} / {validation} / {test}"),
        ),
        (
            "File",
            format!("<code>{}</code>", escape(&result.file.path)),
        ),
        ("Size", size(result.file.bytes)),
        (
            "This page",
            format!("<code>{}</code>", escape(&result.report)),
        ),
    ];
    let recipe = if result.recipe.trim().is_empty() {
        "<p>No recipe was recorded.</p>".to_owned()
    } else {
        format!(
            "<details><summary>The recipe, every setting explicit</summary><pre><code>{}</code></pre></details>",
            escape(&result.recipe)
        )
    };
    format!(
        "<pre><code>{}</code></pre>{}{recipe}",
        escape(&result.command),
        facts(&list)
    )
}
