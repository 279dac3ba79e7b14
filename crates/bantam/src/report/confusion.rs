//! What the network takes for what, on test.

use super::table;
use super::text::{count, cut, escape, name, share};
use crate::results::RunResult;
use bantam_core::order::sort_by_key;

/// Up to this many classes the whole matrix is shown.
const MOST_CLASSES: usize = 20;
/// Pairs shown when there are more.
const MOST_PAIRS: usize = 20;

/// The confusion matrix, or its worst pairs; nothing when a number is predicted.
pub(super) fn confusion(result: &RunResult) -> String {
    let (classes, counts) = (&result.classes, &result.test.confusion);
    if classes.is_empty() {
        return String::new();
    }
    if counts.iter().flatten().all(|&n| n == 0) {
        return "<p>No answers were counted.</p>".to_owned();
    }
    if classes.len() <= MOST_CLASSES {
        return matrix(classes, counts) + &worst(classes, counts, 3);
    }
    pairs(classes, counts)
}

fn cell(counts: &[Vec<u64>], truth: usize, answer: usize) -> u64 {
    counts
        .get(truth)
        .and_then(|row| row.get(answer))
        .copied()
        .unwrap_or(0)
}

fn row_sum(counts: &[Vec<u64>], truth: usize) -> u64 {
    counts.get(truth).map_or(0, |row| {
        row.iter().fold(0u64, |sum, n| sum.saturating_add(*n))
    })
}

fn matrix(classes: &[String], counts: &[Vec<u64>]) -> String {
    let caption = "Test rows by true class and answer";
    let mut out = format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\">\
         <table class=\"heat\"><caption>{caption}</caption><thead><tr><th scope=\"col\">true \\ answer</th>"
    );
    for class in classes {
        out += &format!(
            "<th scope=\"col\" title=\"{}\">{}</th>",
            escape(class),
            name(&cut(class, 14))
        );
    }
    out += "<th scope=\"col\">right</th></tr></thead><tbody>";
    for (truth, class) in classes.iter().enumerate() {
        let sum = row_sum(counts, truth);
        out += &format!(
            "<tr><th scope=\"row\" title=\"{}\">{}</th>",
            escape(class),
            name(&cut(class, 24))
        );
        for answer in 0..classes.len() {
            out += &shaded(cell(counts, truth, answer), sum, truth == answer);
        }
        out += &format!(
            "<td class=\"soft\">{}</td></tr>",
            share(cell(counts, truth, truth), sum)
        );
    }
    out + "</tbody></table></div>\
           <p class=\"soft\">A row is a true class; shades are shares of that row, blue for right answers and \
           orange for wrong ones. Zeros are left blank.</p>"
}

/// A count with its shade; wrong answers are shaded more strongly, or few of them would not show.
fn shaded(n: u64, sum: u64, right: bool) -> String {
    if n == 0 {
        return "<td></td>".to_owned();
    }
    let part = if sum == 0 { 0.0 } else { n as f64 / sum as f64 };
    let (look, strength) = if right {
        ("right", 0.15 + 0.45 * part)
    } else {
        ("wrong", 0.12 + 0.6 * part.sqrt())
    };
    let shade = 100.0 * strength.min(0.7);
    format!(
        "<td class=\"{look}\" style=\"--s:{shade:.0}%\">{}</td>",
        count(n)
    )
}

/// The pairs that are confused most: count, true class, answer.
fn confused(classes: &[String], counts: &[Vec<u64>]) -> Vec<(u64, usize, usize)> {
    let n = classes.len();
    let mut pairs: Vec<_> = (0..n)
        .flat_map(|truth| (0..n).map(move |answer| (truth, answer)))
        .filter(|(truth, answer)| truth != answer)
        .map(|(truth, answer)| (cell(counts, truth, answer), truth, answer))
        .filter(|p| p.0 > 0)
        .collect();
    sort_by_key(&mut pairs, |&(n, truth, answer)| {
        (std::cmp::Reverse(n), truth, answer)
    });
    pairs
}

/// The most confused pairs in a sentence, where there are enough classes for one.
fn worst(classes: &[String], counts: &[Vec<u64>], most: usize) -> String {
    let pairs = confused(classes, counts);
    if classes.len() < 3 || pairs.is_empty() {
        return String::new();
    }
    let texts: Vec<_> = pairs
        .iter()
        .take(most)
        .map(|&(n, truth, answer)| {
            let [truth, answer] = [truth, answer].map(|c| name(&cut(&classes[c], 40)));
            format!("{truth} taken for {answer} ({})", count(n))
        })
        .collect();
    format!("<p>Most often confused: {}.</p>", texts.join("; "))
}

fn pairs(classes: &[String], counts: &[Vec<u64>]) -> String {
    let pairs = confused(classes, counts);
    if pairs.is_empty() {
        return "<p>Every answer was right.</p>".to_owned();
    }
    let rows: Vec<_> = pairs
        .iter()
        .take(MOST_PAIRS)
        .map(|&(n, truth, answer)| {
            vec![
                name(&classes[truth]),
                name(&classes[answer]),
                count(n),
                share(n, row_sum(counts, truth)),
            ]
        })
        .collect();
    let heads = ["True class", "Answer", "Rows", "Share of the true class"];
    table(
        "figures pairs",
        "Most confused pairs on test",
        &heads,
        &rows,
    )
}
