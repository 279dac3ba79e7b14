use std::path::PathBuf;

use bantam_data::{Column, Sampling, Table, sample_table};
use proptest::prelude::*;

use super::*;
use crate::random::hash;
use crate::threshold::threshold_sort;

/// Rows of numbers, words and missing cells, with `classes` classes.
fn table(n: u64, classes: u64, seed: u64) -> Table {
    let draw = |row: u64, column: u64, m: u64| hash(seed, row * 8 + column) % m;
    let number = |row| match draw(row, 0, 9) {
        0 => f64::NAN,
        _ => (draw(row, 1, 30) as f64) / 4.0,
    };
    let word = |row| (draw(row, 2, 6) > 0).then(|| format!("w{}", draw(row, 2, 6)));
    let words: Vec<Option<String>> = (0..n).map(word).collect();
    let wide = |row| draw(row, 3, 1 << 40) as f64;
    let label = |row| Some(format!("c{}", draw(row, 4, classes)));
    let labels: Vec<Option<String>> = (0..n).map(label).collect();
    Table::new(vec![
        Column::numeric("a", (0..n).map(number).collect()),
        Column::categorical("b", &words),
        Column::numeric("c", (0..n).map(|row| (draw(row, 5, 3)) as f64).collect()),
        Column::numeric(
            "d",
            (0..n)
                .map(|r| {
                    if seed.is_multiple_of(2) {
                        wide(r)
                    } else {
                        1.0 * (r % 2) as f64
                    }
                })
                .collect(),
        ),
        Column::categorical("y", &labels),
    ])
    .unwrap()
}

fn problem(table: &Table) -> Problem {
    let options = problem::Options {
        exclude_identifiers: false,
        ..problem::Options::default()
    };
    Problem::from_table(table, "y", &options).unwrap()
}

/// Without what shuffles say, which take most of the time.
fn sorted(partial: &Partial) -> ThresholdSort {
    partial.threshold_sort(0, 0).unwrap()
}

#[test]
fn agrees_with_the_sort_in_memory() {
    for (n, classes, seed) in [
        (20, 1, 0),
        (30, 2, 1),
        (300, 2, 2),
        (300, 3, 3),
        (2000, 5, 5),
    ] {
        let problem = problem(&table(n, classes, seed));
        let ruler = Ruler::fit(&problem.columns, 0);
        let found = sorted(&Partial::of(&problem, ruler, "y"));
        assert_eq!(
            found,
            threshold_sort(&problem, 0, 0),
            "{n} {classes} {seed}"
        );
    }
}

#[test]
fn shuffles_agree_with_those_in_memory() {
    let problem = problem(&table(900, 3, 4));
    let partial = Partial::of(&problem, Ruler::fit(&problem.columns, 0), "y");
    let ours = partial.threshold_sort(200, 1).unwrap().permuted.unwrap();
    let theirs = threshold_sort(&problem, 200, 1).permuted.unwrap();
    // Both means have a standard error of a thirtieth of this interval.
    let width = theirs.high - theirs.low;
    assert!(
        (ours.mean - theirs.mean).abs() < width / 6.0,
        "{ours:?} {theirs:?}"
    );
    assert!(
        (ours.low - theirs.low).abs() < width / 2.0,
        "{ours:?} {theirs:?}"
    );
    assert!(
        (ours.high - theirs.high).abs() < width / 2.0,
        "{ours:?} {theirs:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Rows dealt to parts in any way, some parts through files, merged in any grouping: the same.
    #[test]
    fn any_split_in_any_order_gives_the_same(
        n in 12u64..160,
        classes in 1u64..5,
        seed in 0u64..1000,
        parts in 1usize..6,
        through_files in 0u32..64,
        grouping in 0usize..4,
    ) {
        let whole = problem(&table(n, classes, seed));
        let ruler = Ruler::fit(&whole.columns, 0);
        let all = Partial::of(&whole, ruler.clone(), "y");
        let expected = (all.head().clone(), all.threshold_sort(3, seed).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut found = Vec::new();
        for part in 0..parts {
            let mine = |r: &usize| hash(seed, *r as u64 + 7) as usize % parts == part;
            let rows: Vec<usize> = (0..n as usize).filter(mine).collect();
            if rows.is_empty() {
                continue;
            }
            // A part has the classes that occur in it, as a machine of its own would.
            let mut partial = Partial::of(&only_own_classes(whole.select(&rows)), ruler.clone(), "y");
            if through_files >> part & 1 == 1 {
                let path = dir.path().join(format!("{part}"));
                partial.write(&path).unwrap();
                partial = Partial::open(&path).unwrap();
            }
            found.insert(found.len() / (1 + grouping), partial);
        }
        while found.len() > 1 && grouping > 0 {
            let (a, b) = (found.remove(0), found.remove(grouping % found.len().max(1) % found.len()));
            found.push(Partial::merge(vec![a, b]).unwrap());
        }
        let merged = Partial::merge(found).unwrap();
        prop_assert_eq!(&merged.head, &expected.0);
        prop_assert_eq!(merged.threshold_sort(3, seed).unwrap(), expected.1);
    }
}

fn only_own_classes(mut problem: Problem) -> Problem {
    let mut used: Vec<u32> = problem.labels.clone();
    used.sort_unstable();
    used.dedup();
    problem.classes = used
        .iter()
        .map(|&c| problem.classes[c as usize].clone())
        .collect();
    for label in &mut problem.labels {
        *label = used.binary_search(label).unwrap() as u32;
    }
    problem
}

fn csv(n: u64, seed: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let mut text = "a,b,y\n".to_owned();
    for row in 0..n {
        let label = match hash(seed, row) % 10 {
            0 => "".to_owned(),
            l => (l % 3).to_string(),
        };
        let b = ["", "x", "y", "z"][hash(seed + 1, row) as usize % 4];
        text += &format!("{},{b},{label}\n", hash(seed + 2, row) % 5000);
    }
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn a_file_read_in_little_memory_is_as_in_much() {
    let (_dir, path) = csv(30_000, 1);
    let options = ReadOptions::default();
    let sample = |most| {
        let sampling = Sampling {
            most,
            seed: 0,
            target: Some("y"),
        };
        sample_table(&path, &options, sampling).unwrap()
    };
    let whole = bantam_data::read_table(&path, &options).unwrap();
    let whole = Problem::from_table(&whole, "y", &Default::default()).unwrap();
    let all = sample(usize::MAX);
    let in_sample = Problem::from_table(&all.table, "y", &Default::default()).unwrap();
    let ruler = Ruler::fit(&in_sample.columns, 0);
    let expected = threshold_sort(&whole, 0, 0);
    for max_bytes in [1, 100_000, 1 << 30] {
        let memory = Memory { max_bytes };
        let read = || Partial::read(&path, &options, (&all, "y"), ruler.clone(), memory).unwrap();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let found = pool.install(read);
            if max_bytes == 1 {
                assert!(found.bodies.len() > 3, "{} runs", found.bodies.len());
            }
            assert_eq!(sorted(&found), expected, "{max_bytes} {threads}");
            assert_eq!(
                found.head.rows_without_label as usize,
                whole.rows_without_label
            );
            let missing: usize = whole.columns.iter().map(|c| c.values.missing()).sum();
            assert_eq!(found.head.missing_cells as usize, missing);
        }
    }
    // The same ruler from a sample of few rows is still a ruler: every row is counted.
    let few = sample(200);
    let in_few = Problem::from_table(&few.table, "y", &Default::default()).unwrap();
    let rough = Ruler::fit(&in_few.columns, 0);
    let memory = Memory { max_bytes: 1 << 20 };
    let found = Partial::read(&path, &options, (&few, "y"), rough, memory).unwrap();
    assert_eq!(
        found.head.class_counts.iter().sum::<u64>() as usize,
        whole.rows()
    );
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let part = |target: &str, seed| {
        let problem = problem(&table(50, 2, seed));
        let ruler = Ruler::fit(&problem.columns, 0);
        Partial::of(&problem, ruler, target)
    };
    let cases = [
        (vec![], "there are no partial results to merge"),
        (
            vec![part("y", 2), part("z", 2)],
            "expected the target \"y\", found \"z\"",
        ),
        (
            vec![part("y", 2), part("y", 4)],
            "the parts were measured with different rulers, so their sums cannot be compared",
        ),
    ];
    for (parts, message) in cases {
        assert_eq!(Partial::merge(parts).unwrap_err().to_string(), message);
    }
}

/// Thousands of damaged files: an error or the same answer, and no panic.
#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part");
    let problem = problem(&table(40, 3, 2));
    let partial = Partial::of(&problem, Ruler::fit(&problem.columns, 0), "y");
    partial.write(&path).unwrap();
    let good = std::fs::read(&path).unwrap();
    let expected = sorted(&partial);
    let read = |bytes: &[u8]| -> Result<ThresholdSort> {
        std::fs::write(&path, bytes).unwrap();
        Partial::open(&path)?.threshold_sort(2, 0)
    };
    for cut in 0..good.len() {
        let error = read(&good[..cut]).unwrap_err();
        assert!(
            error.to_string().starts_with(path.to_str().unwrap()),
            "{error}"
        );
    }
    for round in 0..2000u64 {
        let mut bad = good.clone();
        for change in 0..1 + hash(round, 0) % 3 {
            let at = hash(round, 1 + change) as usize % bad.len();
            bad[at] ^= (1 + hash(round, 10 + change) % 255) as u8;
        }
        if let Ok(found) = read(&bad) {
            assert_eq!(found.changes, expected.changes, "{round}");
            assert_eq!(bad, good, "{round}");
        }
    }
    assert!(read(&[&good[..], &[0]].concat()).is_err());
    // With the checksums made right again, what is inside is still checked.
    let head_bytes = u32::from_le_bytes(good[8..12].try_into().unwrap()) as usize;
    for round in 0..2000u64 {
        let mut bad = good.clone();
        let at = 12 + hash(round, 3) as usize % (bad.len() - 28);
        bad[at] ^= (1 + hash(round, 4) % 255) as u8;
        let end = bad.len() - 8;
        let head = crc32fast::hash(&bad[12..12 + head_bytes]);
        let run = crc32fast::hash(&bad[12 + head_bytes..end - 8]);
        bad[end..end + 4].copy_from_slice(&head.to_le_bytes());
        bad[end + 4..].copy_from_slice(&run.to_le_bytes());
        let _ = read(&bad);
    }
}
