//! Tests of whole pages.

use super::render;
use super::sample::{digits, nothing, prices, titanic};
use crate::results::{Epoch, Histogram, Interval, Part, Round, RunResult};

/// Elements without an end tag.
const VOID: [&str; 2] = ["meta", "br"];

/// Walks the tags of a page; panics where they do not balance, where a quote stays open, where an id
/// is there twice, or where a reference has no target.
fn check_well_formed(page: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    let mut wanted = Vec::new();
    let mut rest = page
        .strip_prefix("<!DOCTYPE html>")
        .expect("starts with its type");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        rest = &rest[at + 1..];
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{tag}");
        for id in attributes(tag, "id") {
            assert!(ids.insert(id.to_owned()), "id {id} twice");
        }
        for list in attributes(tag, "aria-labelledby") {
            wanted.extend(list.split(' ').map(str::to_owned));
        }
        wanted.extend(attributes(tag, "href").map(|h| h.strip_prefix('#').unwrap().to_owned()));
        if name == "style" {
            rest = rest.split_once("</style>").expect("style ends").1;
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    for id in wanted {
        assert!(ids.contains(&id), "no target for {id}");
    }
}

/// Where a tag ends, quotes skipped.
fn tag_end(text: &str) -> usize {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '<' => panic!("< within a tag: {:?}", &text[..i]),
            '>' if !quoted => return i,
            _ => {}
        }
    }
    panic!("a tag does not end");
}

fn attributes<'a>(tag: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    tag.match_indices(&start)
        .map(|(at, found)| tag[at + found.len()..].split('"').next().unwrap())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Everything that holds for every page.
fn check(result: &RunResult) -> String {
    let page = render(result);
    check_well_formed(&page);
    assert_eq!(page, render(result), "not the same twice");
    let body = page.split_once("</style>").unwrap().1;
    for word in ["NaN", "inf<", "inf ", "-inf", "−inf", "infinity"] {
        assert!(!body.contains(word), "{word} in the page");
    }
    let own = page.replacen("http-equiv", "", 1);
    for word in [
        "http:", "https:", "http-", "src=", "url(", "@import", "<script", "<link", "<iframe",
    ] {
        assert!(!own.contains(word), "{word} in the page");
    }
    page
}

/// The page without tags, for looking up texts.
fn text(page: &str) -> String {
    let mut out = String::new();
    for piece in page.split_once("</style>").unwrap().1.split('<') {
        out += piece.split_once('>').map_or(piece, |p| p.1);
    }
    out.replace('\u{202f}', " ")
}

fn has_in_order(haystack: &str, needles: &[&str]) {
    let mut from = 0;
    for needle in needles {
        let at = haystack[from..].find(needle);
        from +=
            at.unwrap_or_else(|| panic!("{needle:?} not found, or out of order")) + needle.len();
    }
}

#[test]
fn sections_come_in_a_readers_order() {
    let page = check(&titanic());
    let ids = [
        "road",
        "measured",
        "start",
        "learning",
        "tradeoff",
        "bytes",
        "weights",
        "layers",
        "confusion",
        "parity",
        "use",
        "run",
    ];
    let sections: Vec<_> = ids
        .iter()
        .map(|id| format!("<section id=\"{id}\""))
        .collect();
    has_in_order(
        &page,
        &sections.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn says_what_a_run_found() {
    let page = text(&check(&digits()));
    let said = [
        "digits",
        "one of 10 classes",
        "6.41 kB",
        "98.06 %",
        "± 0.14 points standard error, n = 10 000 rows",
        "98.37 %",
        "166 ×",
        "1.07 MB",
        "train",
        "prune",
        "quantize",
        "pack",
        "12 min 54 s",
        "allowed on validation: 97.70 %",
        "chosen: round 16",
        "6412",
        "before: 235 1",
        "1.4 × 10⁻⁶",
        "bantam run runs/digits-5f2c/digits.bantam DATA",
    ];
    has_in_order(&page, &said);
}

#[test]
fn a_capacity_stands_beside_its_null() {
    let page = text(&check(&titanic()));
    has_in_order(
        &page,
        &[
            "368",
            "422",
            "421 [398, 443]",
            "0.87",
            "129",
            "248 [238, 257]",
            "0.52",
        ],
    );
    has_in_order(
        &page,
        &["there is structure along this sum", "861 of 891 rows right"],
    );
    has_in_order(
        &page,
        &[
            "say something about the target",
            "11 of them pay",
            "estimates by the methods",
        ],
    );
    let mut chance = titanic();
    let measured = chance.measured.as_mut().unwrap();
    measured.threshold_sort.typed.changes = 415;
    measured.tree.memorise = 250;
    measured.tree.needed = 0;
    let page = text(&check(&chance));
    has_in_order(
        &page,
        &[
            "no evidence of structure in this projection",
            "no evidence of a rule",
            "noise to it",
        ],
    );
}

#[test]
fn numbers_have_no_confusion_and_no_accuracy() {
    let page = check(&prices());
    assert!(!page.contains("id=\"confusion\""));
    let page = text(&page);
    assert!(page.contains("R² against size") && page.contains("squared error"));
    assert!(!page.contains("Test accuracy") && !page.contains("largest class"));
}

/// A result whose every text tries to leave its place, and is long.
fn hostile() -> RunResult {
    let bad = "</title></style><script src=http://x>\"'><img src=x onerror=y>&\u{202e}\u{0}";
    let mut result = titanic();
    let set = |text: &mut String| *text = bad.to_owned();
    result.classes.iter_mut().for_each(set);
    for text in [
        &mut result.version,
        &mut result.command,
        &mut result.name,
        &mut result.target_name,
        &mut result.file.path,
        &mut result.report,
        &mut result.recipe,
        &mut result.sized.as_mut().unwrap().explanation,
    ] {
        set(text);
    }
    let measured = result.measured.as_mut().unwrap();
    measured.class_counts.iter_mut().for_each(|c| set(&mut c.0));
    measured
        .left_out
        .iter_mut()
        .for_each(|c| (set(&mut c.0), set(&mut c.1)).0);
    result.stages.iter_mut().for_each(|s| set(&mut s.name));
    result.file.ledger.iter_mut().for_each(|p| set(&mut p.part));
    result
        .layers
        .iter_mut()
        .for_each(|l| (set(&mut l.name), set(&mut l.op)).0);
    result.histograms.iter_mut().for_each(|h| set(&mut h.name));
    result
}

#[test]
fn hostile_texts_stay_texts() {
    let result = hostile();
    let page = render(&result);
    check_well_formed(&page);
    for word in ["<script", "<img", "\u{202e}", "\u{0}"] {
        assert!(!page.contains(word), "{word:?}");
    }
    assert_eq!(page.matches("<style>").count(), 1);
    assert_eq!(
        page.matches("</title>").count(),
        page.matches("<title").count()
    );
}

#[test]
fn degenerate_results_render() {
    check(&nothing());
    for make in [digits, titanic, prices] {
        for break_it in BREAKS {
            let mut result = make();
            break_it(&mut result);
            check(&result);
        }
    }
}

/// Ways in which a result can be odd.
const BREAKS: [fn(&mut RunResult); 12] = [
    |r| r.rounds.clear(),
    |r| r.rounds.truncate(1),
    |r| r.chosen_round = 999,
    |r| r.rounds.iter_mut().for_each(flatten),
    |r| r.rounds.iter_mut().for_each(spoil),
    |r| r.rounds.iter_mut().for_each(|r| r.epochs.truncate(1)),
    |r| r.tuning.iter_mut().for_each(spoil_epoch),
    |r| r.histograms.iter_mut().for_each(|h| *h = empty_histogram()),
    |r| {
        r.file.ledger = vec![
            Part {
                part: "all".into(),
                bytes: u64::MAX
            };
            30
        ]
    },
    |r| r.test.confusion = vec![vec![], vec![1, 2, 3], vec![u64::MAX; 40]],
    |r| {
        if let Some(m) = &mut r.measured {
            m.tree.permuted = Interval {
                mean: 0.0,
                low: f64::NAN,
                high: f64::INFINITY,
            };
            m.threshold_sort.typed.permuted = m.tree.permuted;
            m.class_counts = (0..300).map(|i| (format!("class {i}"), i)).collect();
            m.left_out = vec![(String::new(), String::new()); 40];
            m.entropy_bits = f64::NAN;
        }
        if let Some(s) = &mut r.sized {
            s.hidden.clear();
            s.capacity_bits = f64::NAN;
            s.needed_low_bits = 0.0;
        }
    },
    |r| {
        r.stages
            .iter_mut()
            .for_each(|s| (s.seconds, s.bytes, s.accuracy) = (f64::NAN, 0, f64::NAN))
    },
];

fn flatten(round: &mut Round) {
    round.remaining = 100;
    round.bytes = 500;
    round.validation_accuracy = 1.0;
    round.test_accuracy = 1.0;
}

fn spoil(round: &mut Round) {
    round.total = 0;
    round.bytes = 0;
    round.validation_accuracy = f64::NAN;
    round.test_accuracy = f64::NEG_INFINITY;
    round.seconds = f64::INFINITY;
    round.epochs.iter_mut().for_each(spoil_epoch);
}

fn spoil_epoch(epoch: &mut Epoch) {
    epoch.train_loss = f64::INFINITY;
    epoch.validation_loss = f64::NAN;
    epoch.learning_rate = f64::NAN;
    epoch.validation_accuracy = 1e300;
}

fn empty_histogram() -> Histogram {
    Histogram {
        name: String::new(),
        low: 1.0,
        high: f64::NAN,
        before: Vec::new(),
        after: vec![0; 5],
    }
}

#[test]
fn parity_claims_only_what_was_found() {
    let mut result = digits();
    result.file.changed_answers = 3;
    assert!(text(&check(&result)).contains("answers 3 of 10 000 test rows differently"));
    result.file.parity = f64::NAN;
    assert!(text(&check(&result)).contains("not a finite number"));
    assert!(text(&check(&nothing())).contains("no test rows to compare"));
}

#[test]
fn many_classes_become_pairs() {
    let mut result = digits();
    result.classes = (0..30).map(|c| format!("kind {c}")).collect();
    result.test.confusion = vec![vec![0; 30]; 30];
    result.test.confusion[4][7] = 9;
    result.test.confusion[7][7] = 99;
    let page = check(&result);
    assert!(!page.contains("class=\"heat\""));
    has_in_order(
        &text(&page),
        &["Most confused pairs", "kind 4", "kind 7", "9"],
    );
}

#[test]
fn a_ledger_that_does_not_sum_says_so() {
    let page = check(&digits());
    assert!(!page.contains("not accounted for"));
    let mut result = digits();
    result.file.ledger.pop();
    has_in_order(
        &text(&check(&result)),
        &["not accounted for", "16", "the file"],
    );
}

/// Writes the sample pages to the folder that `BANTAM_REPORT_PAGES` names, for the eye.
#[test]
fn sample_pages_can_be_looked_at() {
    let Some(folder) = std::env::var_os("BANTAM_REPORT_PAGES") else {
        return;
    };
    let folder = std::path::Path::new(&folder);
    for (name, result) in [
        ("digits", digits()),
        ("titanic", titanic()),
        ("prices", prices()),
        ("nothing", nothing()),
        ("hostile", hostile()),
    ] {
        std::fs::write(folder.join(name).with_extension("html"), render(&result)).unwrap();
    }
}

/// The page of a measurement alone holds the plots and is whole.
#[test]
fn measurements_have_a_page() {
    let run = titanic();
    let measured = run.measured.as_ref().unwrap();
    let page = super::render_measured("a <name>", measured, run.sized.as_ref());
    check_well_formed(&page);
    for text in [
        "Rule and noise",
        "Capacity progression",
        "Progression, relative to permuted labels",
        "Columns by what they say",
        "Rows of each class",
        "Embarked &lt;3",
        "class=\"area\"",
        "These are estimates by the methods named",
        "a &lt;name&gt;",
    ] {
        assert!(page.contains(text), "{text} is not in the page");
    }
    let quick = crate::results::Measured {
        study: None,
        ..measured.clone()
    };
    let page = super::render_measured("quick", &quick, None);
    check_well_formed(&page);
    assert!(!page.contains("Capacity progression"));
}

/// Results are read again as they were written, with a study among their keys and without.
#[test]
fn results_survive_their_file() {
    for result in [titanic(), digits(), prices()] {
        let text = serde_json::to_string(&result).unwrap();
        let read: RunResult = serde_json::from_str(&text).unwrap();
        assert_eq!(read, result);
    }
    let titanic = titanic();
    assert!(titanic.measured.as_ref().unwrap().study.is_some());
    let mut keys = serde_json::to_value(&titanic).unwrap();
    keys["measured"]["verdict"] = 7.into();
    let error = serde_json::from_value::<RunResult>(keys).unwrap_err();
    assert!(error.to_string().contains("expected a string"), "{error}");
}
