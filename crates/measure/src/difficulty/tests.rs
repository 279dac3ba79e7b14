use bantam_data::{Column, Table};

use super::*;
use crate::random::hash;

fn problem(columns: Vec<Vec<f64>>, labels: Vec<u32>) -> Problem {
    let mut all: Vec<Column> = columns
        .into_iter()
        .enumerate()
        .map(|(i, c)| Column::numeric(format!("x{i}"), c))
        .collect();
    all.push(Column::numeric(
        "y",
        labels.into_iter().map(f64::from).collect(),
    ));
    let options = crate::problem::Options {
        exclude_identifiers: false,
        ..Default::default()
    };
    Problem::from_table(&Table::new(all).unwrap(), "y", &options).unwrap()
}

fn uniform(seed: u64, n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| hash(seed, i as u64) as f64 / 2f64.powi(64))
        .collect()
}

fn named(problem: &Problem) -> std::collections::BTreeMap<&'static str, f64> {
    let (all, _) = difficulty(problem, 1);
    assert_eq!(all.len(), 22);
    for m in &all {
        assert!((0.0..=1.0).contains(&m.value), "{m:?}");
        let i = m.interval.unwrap();
        assert!(i.low <= m.value && m.value <= i.high, "{m:?}");
    }
    all.into_iter().map(|m| (m.name, m.value)).collect()
}

/// Two clouds far apart are easy by every measure of the classes, coin flips are hard.
#[test]
fn easy_and_hard() {
    let n = 300;
    let label = |i: usize| (i % 2) as u32;
    let far: Vec<f64> = uniform(1, n)
        .iter()
        .enumerate()
        .map(|(i, x)| x + 5.0 * f64::from(label(i)))
        .collect();
    let easy = named(&problem(
        vec![far, uniform(2, n)],
        (0..n).map(label).collect(),
    ));
    let coin = |i: usize| (hash(3, i as u64) % 2) as u32;
    let hard = named(&problem(
        vec![uniform(1, n), uniform(2, n)],
        (0..n).map(coin).collect(),
    ));
    let expected = [
        ("F1", 0.1, 0.9),
        ("F1v", 0.1, 0.9),
        ("F2", 0.0, 0.9),
        ("F3", 0.0, 0.9),
        ("F4", 0.0, 0.9),
        ("L1", 0.01, 0.2),
        ("L2", 0.0, 0.35),
        ("L3", 0.0, 0.3),
        ("N1", 0.02, 0.5),
        ("N2", 0.2, 0.4),
        ("N3", 0.0, 0.4),
        ("N4", 0.0, 0.35),
        ("T1", 0.05, 0.4),
        ("LSC", 0.65, 0.9),
    ];
    for (name, most, least) in expected {
        assert!(
            easy[name] <= most,
            "{name}: {} is more than {most}",
            easy[name]
        );
        assert!(
            hard[name] >= least,
            "{name}: {} is less than {least}",
            hard[name]
        );
    }
    assert_eq!(easy["C1"], 0.0);
    assert_eq!(easy["C2"], 0.0);
    assert!((easy["T2"] - 2.0 / 300.0).abs() < 1e-12);
    assert_eq!(hard["T4"], 1.0);
}

/// Small cases by hand: four points on a line, classes 0 0 1 1 at 0, 1, 3, 4 (ten rows are asked for, so
/// the points are repeated with small steps).
#[test]
fn by_hand() {
    let x = vec![0.0, 1.0, 2.0, 3.0, 4.0, 10.0, 11.0, 12.0, 13.0, 14.0];
    let labels = vec![0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
    let p = problem(vec![x], labels);
    let s = Sample::new(&p, 1);
    let [n1, n2, n3, n4, t1, lsc] = neighbourhood::all(&s);
    assert_eq!((n1, n3, n4), (0.2, 0.0, 0.0), "one edge crosses");
    // Nearest of the same class: 1 each; of the other: 6 to 10 on either side.
    let n2_by_hand = 10.0 / (10.0 + 2.0 * (6.0 + 7.0 + 8.0 + 9.0 + 10.0));
    assert!((n2 - n2_by_hand).abs() < 1e-6, "{n2}");
    // Radii: 3 for the rows at the gap, then 4, 5, 6, 7; the largest holds all rows of its class.
    assert_eq!(t1, 0.2);
    // All five rows of the class are nearer than the other class, from every row.
    assert_eq!(lsc, 0.5);
    assert_eq!(feature::f3(&s), 0.0);
    // Fisher's ratio: between 2 x 5 x 25, inside 2 x 10.
    assert!((feature::f1(&s) - 1.0 / (1.0 + 250.0 / 20.0)).abs() < 1e-6);
    assert_eq!(linear::l123(&s)[1], 0.0);
    let [t2, t3, t4, c1, c2] = shape::all(&s);
    assert_eq!((t2, t3, t4, c1, c2), (0.1, 0.1, 1.0, 0.0, 0.0));
}

/// The passengers with an age, five columns of numbers, against problexity 0.5.11 on the standardised columns,
/// and against NumPy by our convention where the package has another (`scripts/compare-difficulty.py`).
#[test]
fn other_programs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/titanic.csv");
    let table = bantam_data::read_delimited(path.as_ref(), &Default::default()).unwrap();
    let column = |name: &str| match &table.column(name).unwrap().values {
        bantam_data::Values::Numeric(v) => v.clone(),
        _ => panic!("{name} is numbers"),
    };
    let with_age: Vec<usize> = (0..table.rows())
        .filter(|&r| !column("Age")[r].is_nan())
        .collect();
    let of = |name: &str| -> Vec<f64> {
        let all = column(name);
        with_age.iter().map(|&r| all[r]).collect()
    };
    let columns = ["Pclass", "Age", "SibSp", "Parch", "Fare"].map(of).to_vec();
    let labels = of("Survived").iter().map(|&y| y as u32).collect();
    let found = named(&problem(columns, labels));
    let package = [
        ("F1v", 0.4993, 1e-4),
        ("F2", 0.3139, 1e-4),
        ("F3", 0.9888, 1e-4),
        ("F4", 0.9762, 1e-4),
        // Rows that are equal in all columns: which of them comes first is another order there.
        ("T1", 0.5602, 0.01),
        ("LSC", 0.9949, 1e-4),
        ("T2", 0.0070, 1e-4),
        ("T3", 0.0070, 1e-4),
        ("T4", 1.0, 1e-4),
        ("C1", 0.0256, 1e-4),
        ("C2", 0.0680, 1e-4),
    ];
    let by_numpy = [
        ("F1", 0.8706, 1e-4),
        ("L1", 0.3320, 0.01),
        ("L2", 0.2927, 0.01),
        ("N1", 0.5378, 0.005),
        ("N2", 0.3925, 1e-4),
        ("N3", 0.3817, 0.005),
        // Drawn at random: three standard errors of 714 points.
        ("N4", 0.2996, 0.055),
        ("Density", 0.7785, 1e-4),
        ("ClsCoef", 0.2104, 1e-4),
        ("Hubs", 0.6167, 1e-4),
    ];
    for (name, expected, off) in package.into_iter().chain(by_numpy) {
        let value = found[name];
        assert!(
            (value - expected).abs() <= off,
            "{name}: {value}, not {expected}"
        );
    }
}
