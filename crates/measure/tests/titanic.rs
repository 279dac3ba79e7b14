//! The passengers' table, measured as a user would.

use bantam_data::{ReadOptions, Table, read_table};
use bantam_measure::{Measurement, Options, Problem, measure, problem, starting_network};

fn table() -> Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/titanic.csv");
    read_table(path.as_ref(), &ReadOptions::default()).unwrap()
}

fn measured(table: &Table, drop: &[&str]) -> Measurement {
    let mut options = problem::Options::default();
    options.drop = drop.iter().map(|s| s.to_string()).collect();
    let problem = Problem::from_table(table, "Survived", &options).unwrap();
    measure(&problem, &Options::default()).unwrap()
}

#[test]
fn the_whole() {
    let found = measured(&table(), &[]);
    let shape = (found.rows, found.rows_given, found.columns.len());
    assert_eq!(shape, (891, 891, 7));
    assert_eq!(found.classes, ["0", "1"]);
    let tree = &found.tree;
    assert_eq!((tree.leaves, tree.correct), (tree.memorise + 1, 875));
    assert!((140..=180).contains(&tree.memorise), "{}", tree.memorise);
    let ratio = tree.ratio().unwrap();
    assert!((ratio - 0.52).abs() < 0.03, "{ratio}");
    assert!((1..=40).contains(&tree.needed.splits), "{:?}", tree.needed);
    assert!(tree.needed.error < 0.2, "{:?}", tree.needed);
    let sort = &found.threshold_sort;
    assert_eq!((sort.typed.correct, sort.typed.rows), (875, 891));
    let with = sort.with_identifiers.as_ref().unwrap();
    assert!(with.ratio.unwrap() > sort.typed.ratio.unwrap());
    let first = starting_network(&found, 10, 2, 713);
    assert!((8..=64).contains(&first.hidden[0]), "{first:?}");
}

/// Columns taken away, on the first 800 rows. Tasks that lie within noise of one another are not
/// put in order.
#[test]
fn less_to_go_by_needs_more() {
    let rows: Vec<usize> = (0..800).collect();
    let table = table().select(&rows);
    let ratio = |drop: &[&str]| measured(&table, drop).tree.ratio().unwrap();
    let all = ratio(&[]);
    let class = ratio(&["Pclass", "Fare"]);
    let family = ratio(&["SibSp", "Parch"]);
    let sex = ratio(&["Sex"]);
    let five = ratio(&["Sex", "Pclass", "Fare", "SibSp", "Parch"]);
    let found = [all, class, family, sex, five];
    assert!((all - 0.52).abs() < 0.04, "{found:?}");
    for (name, harder, easier) in [
        ("sex over class", sex, class),
        ("sex over family", sex, family),
        ("five over all", five, all),
        ("class over all", class, all - 0.04),
        ("family over all", family, all - 0.04),
    ] {
        assert!(harder > easier, "{name}: {found:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same() {
    let (a, b) = (measured(&table(), &[]), measured(&table(), &[]));
    assert_eq!(a.tree, b.tree);
    assert_eq!(a.threshold_sort, b.threshold_sort);
}
