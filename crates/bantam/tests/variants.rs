//! The manipulation table of the passengers' data, rebuilt from its recipe.

use std::path::Path;

use bantam::variants::{Comparison, Variants};

fn compared() -> Comparison {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut variants = Variants::read(&root.join("recipes/titanic-manipulations.toml")).unwrap();
    variants.data = root.join(&variants.data);
    variants.compare().unwrap()
}

/// As published, by order: the full table takes least, then without class and price or without family,
/// then without sex, then without all five, then with nothing but names and numbers.
#[test]
fn less_to_go_by_takes_more() {
    let found = compared();
    assert_eq!((found.rows, found.variants.len()), (800, 6));
    assert!((found.baseline_bits - 384.598_780).abs() < 5e-7);
    let at = |name: &str| {
        let i = found.variants.iter().position(|v| v.name == name);
        i.unwrap_or_else(|| panic!("there is no variant {name}"))
    };
    let order = [
        "as published",
        "same class, same price",
        "no family",
        "all female",
        "super equality",
    ];
    let [all, class, family, female, equal] = order.map(at);
    let ids = at("insignificant columns");
    for (harder, easier) in [
        (female, class),
        (female, family),
        (equal, female),
        (ids, equal),
    ] {
        let (a, b) = (&found.variants[harder], &found.variants[easier]);
        assert!(
            a.bits > b.bits,
            "{}: {} {}: {}",
            a.name,
            a.bits,
            b.name,
            b.bits
        );
        assert!(
            a.splits > b.splits,
            "{}: {} {}: {}",
            a.name,
            a.splits,
            b.name,
            b.splits
        );
        assert!(
            !a.same_as.contains(&b.name) || harder == equal,
            "{} and {}",
            a.name,
            b.name
        );
    }
    // The first three lie together, and are called so.
    let near = |a: usize, b: usize| found.variants[a].same_as.contains(&found.variants[b].name);
    assert!(
        near(all, class) || near(all, family) || near(class, family),
        "{found:?}"
    );
    for variant in [class, family] {
        let (a, b) = (&found.variants[variant], &found.variants[all]);
        assert!(
            a.bits >= b.bits || near(variant, all),
            "{}: {} {}",
            a.name,
            a.bits,
            b.bits
        );
    }
    for correlation in [found.spearman_bits, found.spearman_splits] {
        assert!(correlation.unwrap() <= -0.9, "{found:?}");
    }
    for v in &found.variants {
        let interval = v.bits_interval.unwrap();
        assert!(interval.low < v.bits && v.bits < interval.high, "{v:?}");
        assert!(
            v.bits_null.mean > 0.9 * 769.0,
            "labels without a rule take their entropy: {v:?}"
        );
    }
}
