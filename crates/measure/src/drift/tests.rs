use super::*;
use crate::random::hash;

/// What is different in the new rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Nothing,
    Mean,
    Category,
    Missing,
    Relation,
    Rule,
    Noise,
    Wild,
}

fn uniform(seed: u64, i: u64) -> f64 {
    (hash(seed, i) >> 11) as f64 / (1u64 << 53) as f64
}

fn profile(seed: u64, n: u64, change: Change) -> Profile {
    let u = |row: u64, column: u64| uniform(seed, row * 16 + column);
    let x = |row| u(row, 0) + if change == Change::Mean { 0.15 } else { 0.0 };
    let y = |row| {
        if change == Change::Relation {
            u(row, 0)
        } else {
            u(row, 1)
        }
    };
    let z = |row| match u(row, 2) {
        u if change == Change::Missing && u < 0.1 => f64::NAN,
        u => (u * 8.0).floor(),
    };
    let word = |row| {
        let cut = if change == Change::Category { 0.4 } else { 0.3 };
        Some(if u(row, 3) < cut { "a" } else { "b" })
    };
    let label = |row| {
        let rule = (x(row) > 0.5) ^ (change == Change::Rule && y(row) > 0.5);
        let flips = if change == Change::Noise { 0.35 } else { 0.05 };
        Some(if rule ^ (u(row, 4) < flips) {
            "yes"
        } else {
            "no"
        })
    };
    let numeric =
        |name: &str, f: &dyn Fn(u64) -> f64| Column::numeric(name, (0..n).map(f).collect());
    let mut columns = vec![
        Column::numeric("id", (0..n).map(|r| r as f64).collect()),
        numeric("x", &x),
        numeric("y", &y),
        numeric("z", &z),
        Column::categorical("w", &(0..n).map(word).collect::<Vec<_>>()),
        Column::categorical("label", &(0..n).map(label).collect::<Vec<_>>()),
    ];
    if change == Change::Wild {
        columns[2] = Column::categorical("y", &(0..n).map(|_| Some("text")).collect::<Vec<_>>());
    }
    Profile {
        source: format!("{change:?}"),
        rows: n,
        table: Table::new(columns).unwrap(),
    }
}

fn options(seed: u64) -> Options {
    Options {
        target: Some("label".into()),
        seed,
        ..Options::default()
    }
}

/// Each kind of change is found by the tests that can see it, and by no column that has not changed.
#[test]
fn changes_are_found_where_they_are() {
    let reference = profile(1, 1500, Change::Nothing);
    let cases: [(Change, &[&str], &[&str]); 8] = [
        (Change::Nothing, &[], &[]),
        (Change::Mean, &["x"], &["joint"]),
        (Change::Category, &["w"], &[]),
        (Change::Missing, &["z"], &[]),
        (Change::Relation, &[], &["joint"]),
        (Change::Rule, &[], &["regimes", "rule"]),
        (Change::Noise, &[], &["capacity", "rule"]),
        (Change::Wild, &["y"], &["joint"]),
    ];
    for (change, in_columns, in_table) in cases {
        let found = drift(&reference, &profile(2, 1200, change), &options(5)).unwrap();
        let drifted = found
            .columns
            .iter()
            .filter(|c| c.drifted && c.name != "label");
        let mut names: Vec<&str> = drifted.map(|c| c.name.as_str()).collect();
        names.dedup();
        assert_eq!(names, in_columns, "{change:?}: {found:#?}");
        let labels = found.labels.as_ref().unwrap();
        let tests = [
            ("joint", found.joint.as_ref().unwrap()),
            ("capacity", &labels.capacity),
            ("regimes", &labels.regimes),
            ("rule", &labels.rule),
        ];
        for name in in_table {
            let test = tests.iter().find(|t| t.0 == *name).unwrap().1;
            assert!(test.drifted, "{change:?} {name}: {found:#?}");
        }
        let any = !in_columns.is_empty() || !in_table.is_empty();
        assert_eq!(found.drifted, any, "{change:?}: {found:#?}");
        assert_eq!(found.left_out.len(), 1, "the counter is left out");
    }
}

/// Where nothing has changed, drift is found with at most the chance alpha.
#[test]
fn false_alarms_are_rare() {
    let alarms = (0..60)
        .filter(|&seed| {
            let reference = profile(1000 + seed, 200, Change::Nothing);
            let new = profile(2000 + seed, 150, Change::Nothing);
            let options = Options {
                alpha: 0.2,
                permutations: 100,
                ..options(seed)
            };
            drift(&reference, &new, &options).unwrap().drifted
        })
        .count();
    // 12 at most on average; a count above 20 has a chance below 1 %.
    assert!(alarms <= 20, "{alarms} of 60");
}

#[test]
fn the_same_seed_gives_the_same() {
    let (a, b) = (
        profile(1, 300, Change::Nothing),
        profile(2, 250, Change::Mean),
    );
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| drift(&a, &b, &options(3)).unwrap())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn what_cannot_be_compared() {
    let (a, b) = (
        profile(1, 100, Change::Nothing),
        profile(2, 100, Change::Nothing),
    );
    let without = |name: &str| {
        let columns = b.table.columns().iter().filter(|c| c.name != name);
        Profile {
            table: Table::new(columns.cloned().collect()).unwrap(),
            ..b.clone()
        }
    };
    let found = drift(&a, &without("label"), &options(0)).unwrap();
    assert_eq!(found.labels, None);
    assert_eq!(
        found.notices,
        ["the new data have no column \"label\": labels are not compared"]
    );
    let error = drift(&a, &without("x"), &options(0)).unwrap_err();
    assert_eq!(error.to_string(), "Nothing: there is no column \"x\"");
    let error = drift(
        &a,
        &b,
        &Options {
            drop: vec!["q".into()],
            ..options(0)
        },
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "there is no column \"q\"");
    let number = Options {
        target: Some("x".into()),
        ..options(0)
    };
    let found = drift(&a, &b, &number).unwrap();
    assert!(
        found.labels.is_none() && found.notices[0].starts_with("labels are compared as a column")
    );
    let names = ["x", "y", "z", "w", "label", "id"]
        .map(str::to_owned)
        .to_vec();
    let error = drift(
        &a,
        &b,
        &Options {
            drop: names,
            ..options(0)
        },
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "no column is left to compare");
}

#[test]
fn corrections_for_many_tests() {
    let p = [0.01, 0.04, 0.03, 0.5];
    let bh = benjamini_hochberg(&p);
    let expected = [0.04, 0.16 / 3.0, 0.16 / 3.0, 0.5];
    assert!(
        bh.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
        "{bh:?}"
    );
    let found = holm(&p);
    let expected = [0.04, 0.09, 0.09, 0.5];
    assert!(
        found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-12),
        "{found:?}"
    );
    assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
}
