use bantam_data::{Column, Table};
use proptest::prelude::*;

use super::grow::{Rule, Split};
use super::*;
use crate::problem::Options;
use crate::random::hash;
use crate::threshold::threshold_sort;

fn problem(columns: Vec<Column>, labels: &[u32]) -> Problem {
    let mut columns = columns;
    let labels = labels.iter().map(|&l| f64::from(l)).collect();
    columns.push(Column::numeric("y", labels));
    let options = Options {
        exclude_identifiers: false,
        ..Options::default()
    };
    Problem::from_table(&Table::new(columns).unwrap(), "y", &options).unwrap()
}

fn limits(draws: usize) -> Limits {
    Limits {
        max_rows: 100_000,
        max_cells: 4_000_000,
        null_cells: 4_000_000,
        exact_rows: 100_000,
        folds: FOLDS,
        draws,
        seed: 1,
    }
}

fn grown(problem: &Problem) -> (Trunk, Tree) {
    let trunk = Trunk::new(problem, usize::MAX);
    let tree = trunk.grow(trunk.all_rows(), &trunk.labels);
    (trunk, tree)
}

/// The slow twin: tries every rule on every column by counting, in the same order, with the same
/// fixed-point costs. Returns the splits in the order of a walk from the root, left first.
fn reference_grow(trunk: &Trunk, rows: &[usize], labels: &[u32]) -> Vec<Split> {
    if rows.iter().all(|&r| labels[r] == labels[rows[0]]) {
        return Vec::new();
    }
    let table = |x: usize| {
        if x < 2 {
            0.0
        } else {
            x as f64 * (x as f64).log2()
        }
    };
    let fixed = |x: usize| (table(x) * f64::from(1 << 20)).round() as i64;
    let impurity = |side: &[usize]| {
        let count = |c: u32| side.iter().filter(|&&r| labels[r] == c).count();
        fixed(side.len())
            - (0..trunk.classes as u32)
                .map(|c| fixed(count(c)))
                .sum::<i64>()
    };
    let mut best: Option<(i64, Split, Vec<usize>, Vec<usize>)> = None;
    for (c, coded) in trunk.columns.iter().enumerate() {
        for code in 0..=coded.n_values {
            if rows.iter().all(|&r| coded.codes[r] != code) {
                continue;
            }
            let rules = if coded.ordered {
                [false, true]
                    .map(|missing_left| Rule::UpTo {
                        cut: code,
                        missing_left,
                    })
                    .to_vec()
            } else {
                vec![Rule::Is(code)]
            };
            for rule in rules {
                let split = Split {
                    column: c as u32,
                    rule,
                    rules: 0,
                };
                let goes = |r: &usize| split.goes_left(&trunk.columns, *r);
                let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|&r| goes(r));
                if left.is_empty() || right.is_empty() {
                    continue;
                }
                let cost = impurity(&left) + impurity(&right);
                if best.as_ref().is_none_or(|b| cost < b.0) {
                    best = Some((cost, split, left, right));
                }
            }
        }
    }
    let (_, split, left, right) = best.expect("some column differs");
    let mut splits = vec![split];
    splits.extend(reference_grow(trunk, &left, labels));
    splits.extend(reference_grow(trunk, &right, labels));
    splits
}

/// The rows that go left at each split, which is what a rule means; cuts in a gap between codes are
/// one rule.
fn walk(tree: &Tree, trunk: &Trunk, at: usize, rows: &[usize], found: &mut Vec<(u32, Vec<usize>)>) {
    let Some(split) = tree.nodes[at].split else {
        return;
    };
    let goes = |r: &usize| split.goes_left(&trunk.columns, *r);
    let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|&r| goes(r));
    found.push((split.column, left.clone()));
    let child = tree.nodes[at].left as usize;
    walk(tree, trunk, child, &left, found);
    walk(tree, trunk, child + 1, &right, found);
}

fn random_problem(seed: u64, n: usize, classes: u64) -> Problem {
    let draw = |i: usize, c: u64, m: u64| hash(seed * 1000 + c, i as u64) % m;
    let number = |i: usize, c: u64, m: u64| match draw(i, c, m) {
        0 => f64::NAN,
        x => x as f64,
    };
    let word = |i: usize| (draw(i, 2, 4) > 0).then(|| format!("w{}", draw(i, 2, 4)));
    let words: Vec<Option<String>> = (0..n).map(word).collect();
    let labels: Vec<u32> = (0..n).map(|i| draw(i, 9, classes) as u32).collect();
    let columns = vec![
        Column::numeric("a", (0..n).map(|i| number(i, 0, 5)).collect()),
        Column::numeric("b", (0..n).map(|i| number(i, 1, 40)).collect()),
        Column::categorical("c", &words),
        Column::numeric("d", (0..n).map(|i| draw(i, 3, 2) as f64).collect()),
    ];
    problem(columns, &labels)
}

#[test]
fn agrees_with_the_slow_twin() {
    for seed in 0..60 {
        let n = 2 + (hash(seed, 0) % 50) as usize;
        let p = random_problem(seed, n, 2 + seed % 3);
        let (trunk, tree) = grown(&p);
        let rows: Vec<usize> = (0..n).collect();
        let mut found = Vec::new();
        walk(&tree, &trunk, 0, &rows, &mut found);
        let agreed = trunk
            .groups
            .consensus(&p.labels, &trunk.all_rows(), trunk.classes);
        let expected = reference_grow(&trunk, &rows, &agreed);
        assert_eq!(found.len(), expected.len(), "{seed}");
        // Both walk from the root, left first; compare the column of each split.
        let columns: Vec<u32> = expected.iter().map(|s| s.column).collect();
        assert_eq!(
            found.iter().map(|f| f.0).collect::<Vec<_>>(),
            columns,
            "{seed}"
        );
        assert_eq!(tree.correct(), p.facts().consistent_rows, "{seed}");
    }
}

#[test]
fn counting_and_sorting_find_the_same() {
    // Few rows sort, many count: growing on each half must not depend on which was used.
    let p = random_problem(5, 400, 3);
    let (trunk, tree) = grown(&p);
    let rows: Vec<usize> = (0..400).collect();
    let agreed = trunk
        .groups
        .consensus(&p.labels, &trunk.all_rows(), trunk.classes);
    assert_eq!(tree.splits(), reference_grow(&trunk, &rows, &agreed).len());
}

proptest! {
    /// On one column of numbers without missing cells the splits are the changes of the sort.
    #[test]
    fn one_column_is_the_sort(rows in prop::collection::vec((0u8..60, 0u32..3), 1..120)) {
        let values = rows.iter().map(|r| f64::from(r.0)).collect();
        let labels: Vec<u32> = rows.iter().map(|r| r.1).collect();
        if rows.iter().all(|r| r.0 == rows[0].0) {
            return Ok(());
        }
        let p = problem(vec![Column::numeric("a", values)], &labels);
        let sort = threshold_sort(&p, 0, 0);
        let (_, tree) = grown(&p);
        prop_assert_eq!(tree.splits(), sort.changes);
        prop_assert_eq!(tree.correct(), sort.correct);
    }
}

#[test]
fn deep_trees_stay_shallow() {
    let n = 20_000;
    let values = (0..n).map(f64::from).collect();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
    let (_, tree) = grown(&problem(vec![Column::numeric("a", values)], &labels));
    assert_eq!(tree.splits(), n as usize - 1);
    let bound = f64::from(n).ln() / (16f64 / 15.0).ln();
    assert!(
        f64::from(tree.depth) < f64::from(grow::EVEN_FROM_DEPTH) + bound,
        "{}",
        tree.depth
    );
}

#[test]
fn known_rules() {
    let bit = |i: usize, b: usize| (i >> b & 1) as f64;
    let column = |b: usize| Column::numeric(format!("x{b}"), (0..64).map(|i| bit(i, b)).collect());
    let columns = || (0..6).map(column).collect::<Vec<_>>();
    let word = |i: usize| Some(["a", "b", "c", "d"][i % 4]);
    let words: Vec<_> = (0..64).map(word).collect();
    let there = (0..64)
        .map(|i| if i % 3 == 0 { f64::NAN } else { 1.0 })
        .collect();
    let labels = |f: &dyn Fn(usize) -> bool| (0..64).map(|i| u32::from(f(i))).collect::<Vec<_>>();
    let cases: [(&str, Problem, usize); 6] = [
        ("one bit", problem(columns(), &labels(&|i| i & 4 > 0)), 1),
        ("and", problem(columns(), &labels(&|i| i & 3 == 3)), 2),
        (
            "xor",
            problem(columns(), &labels(&|i| (i & 3).count_ones() == 1)),
            3,
        ),
        (
            "parity",
            problem(columns(), &labels(&|i| i.count_ones() % 2 == 1)),
            63,
        ),
        (
            "a category",
            problem(
                vec![Column::categorical("w", &words)],
                &labels(&|i| i % 4 == 1),
            ),
            1,
        ),
        (
            "missing",
            problem(vec![Column::numeric("m", there)], &labels(&|i| i % 3 == 0)),
            1,
        ),
    ];
    for (name, p, splits) in cases {
        let found = tree_capacity(&p, &limits(0));
        assert_eq!(
            (found.memorise, found.leaves),
            (splits, splits + 1),
            "{name}"
        );
        assert_eq!(found.correct, 64, "{name}");
    }
}

#[test]
fn one_class_needs_nothing() {
    let p = problem(vec![Column::numeric("a", vec![1.0, 2.0, 3.0])], &[4, 4, 4]);
    let found = tree_capacity(&p, &limits(3));
    assert_eq!((found.memorise, found.leaves, found.correct), (0, 1, 3));
    assert_eq!(found.needed.splits, 0);
    assert_eq!((found.ratio(), found.description_bits), (None, 0.0));
}

#[test]
fn noise_is_pruned() {
    // A rule of one threshold with a tenth of the labels flipped, and a column of nothing.
    let n = 1000u64;
    let x = |c: u64| {
        (0..n)
            .map(|i| (hash(c, i) % 1_000_000) as f64)
            .collect::<Vec<_>>()
    };
    let rule = x(1);
    let labels: Vec<u32> = (0..n)
        .map(|i| u32::from(rule[i as usize] > 500_000.0) ^ u32::from(hash(3, i).is_multiple_of(10)))
        .collect();
    let p = problem(
        vec![Column::numeric("a", rule), Column::numeric("b", x(2))],
        &labels,
    );
    let found = tree_capacity(&p, &limits(20));
    assert_eq!(found.needed.splits, 1, "{found:?}");
    assert!((found.needed.error - 0.1).abs() < 0.03, "{found:?}");
    assert!(found.memorise > 100, "{found:?}");
    let permuted = found.permuted.as_ref().unwrap();
    assert!(permuted.low <= permuted.mean && permuted.mean <= permuted.high);
    assert!((0.2..0.7).contains(&found.ratio().unwrap()), "{found:?}");
    // Labels without a rule: nothing is needed, and the ratio says so.
    let coin: Vec<u32> = (0..n).map(|i| (hash(4, i) % 2) as u32).collect();
    let p = problem(
        vec![Column::numeric("a", x(1)), Column::numeric("b", x(2))],
        &coin,
    );
    let found = tree_capacity(&p, &limits(20));
    assert!((0.9..1.1).contains(&found.ratio().unwrap()), "{found:?}");
    assert!(found.needed.error > 0.4, "{found:?}");
}

#[test]
fn does_not_depend_on_threads() {
    let p = random_problem(9, 3000, 3);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| tree_capacity(&p, &limits(5)))
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn samples_of_many_rows_say_so() {
    let p = random_problem(3, 2000, 2);
    let small = Limits {
        max_rows: 500,
        null_cells: 800,
        exact_rows: 100,
        ..limits(4)
    };
    let found = tree_capacity(&p, &small);
    assert_eq!((found.rows, found.exact), (500, false));
    assert_eq!(found.permuted.unwrap().rows, 200);
}

/// Prices by brute force: collapse the weakest link, measured anew each time.
fn reference_prices(tree: &Tree) -> Vec<f64> {
    let n = tree.nodes.len();
    let mut leaf: Vec<bool> = tree.nodes.iter().map(|n| n.split.is_none()).collect();
    let mut prices = vec![0.0; n];
    let errors = |i: usize| f64::from(tree.nodes[i].rows - tree.nodes[i].correct);
    fn below(tree: &Tree, leaf: &[bool], i: usize, errors: &dyn Fn(usize) -> f64) -> (f64, f64) {
        if leaf[i] {
            return (errors(i), 1.0);
        }
        let left = tree.nodes[i].left as usize;
        let (a, b) = (
            below(tree, leaf, left, errors),
            below(tree, leaf, left + 1, errors),
        );
        (a.0 + b.0, a.1 + b.1)
    }
    fn cut(tree: &Tree, leaf: &mut [bool], prices: &mut [f64], i: usize, price: f64) {
        if !leaf[i] {
            leaf[i] = true;
            prices[i] = price;
            let left = tree.nodes[i].left as usize;
            cut(tree, leaf, prices, left, price);
            cut(tree, leaf, prices, left + 1, price);
        }
    }
    loop {
        let open = (0..n).filter(|&i| !leaf[i]);
        let price = |i: usize| {
            let (e, l) = below(tree, &leaf, i, &errors);
            (errors(i) - e) / (l - 1.0)
        };
        let Some((least, at)) = open
            .map(|i| (price(i), i))
            .min_by(|a, b| a.0.total_cmp(&b.0))
        else {
            return prices;
        };
        cut(tree, &mut leaf, &mut prices, at, least);
    }
}

#[test]
fn prices_agree_with_the_slow_twin() {
    for seed in 0..20 {
        let (trunk, tree) = grown(&random_problem(seed, 80, 2 + seed % 2));
        let (fast, slow) = (prune::prices(&tree), reference_prices(&tree));
        assert!(
            fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-12),
            "{seed}"
        );
        // Errors at each price, against walking each row down the pruned tree.
        let mut grid = fast.clone();
        grid.sort_unstable_by(f64::total_cmp);
        grid.dedup();
        let mut errors = vec![0; grid.len()];
        let rows = trunk.all_rows();
        let labels = &trunk.labels;
        prune::add_errors(
            &tree,
            &fast,
            &trunk.columns,
            &rows,
            labels,
            &grid,
            &mut errors,
        );
        for (&price, &found) in grid.iter().zip(&errors) {
            let wrong = |&row: &u32| {
                let mut at = 0;
                while let Some(split) = tree.nodes[at].split.filter(|_| fast[at] > price) {
                    let right = !split.goes_left(&trunk.columns, row as usize);
                    at = tree.nodes[at].left as usize + usize::from(right);
                }
                tree.nodes[at].label != labels[row as usize]
            };
            assert_eq!(
                found,
                rows.iter().filter(|r| wrong(r)).count() as u64,
                "{seed} {price}"
            );
        }
    }
}
