//! Hand-made results for the tests, with figures of the size that real runs have.

use std::path::Path;

use crate::recipe::Recipe;
use crate::results::*;

/// Digits told apart by a network with hidden layers of 300 and 100, over 18 rounds.
pub(super) fn digits() -> RunResult {
    let classes: Vec<String> = (0..10).map(|c| c.to_string()).collect();
    let total = 266_200;
    let rounds: Vec<Round> = (0..=18).map(|k| digits_round(k, total)).collect();
    let mut recipe = Recipe::new("digits", Path::new("data/mnist"));
    recipe.budget.max_drop = 0.005;
    RunResult {
        version: "0.1.0".into(),
        command: "bantam grow data/mnist --hidden 300,100 --max-drop 0.5%".into(),
        name: "digits".into(),
        target_name: "label".into(),
        rows: [50_400, 9_600, 10_000],
        measured: None,
        sized: None,
        budget: None,
        chosen_round: 16,
        tuning: curve(10, 0.045, 0.021, 0.0795, 0.9788),
        stages: vec![
            stage("train", [0.9837, 0.9826], 266_610, 1_066_440, 41.3),
            stage("prune", [0.9811, 0.9795], 7_903, 31_612, 702.4),
            stage("quantize", [0.9806, 0.9792], 7_903, 31_612, 28.9),
            stage("pack", [0.9806, 0.9792], 7_903, 6_412, 1.7),
        ],
        baseline: score(0.9837, 0.001266, 10_000, Vec::new()),
        test: score(0.9806, 0.001379, 10_000, digits_confusion()),
        file: Packed {
            path: "runs/digits-5f2c/digits.bantam".into(),
            bytes: 6_412,
            deep_compression_bytes: 9_730,
            dense_bytes: 1_066_440,
            ledger: parts(&[
                ("header and graph", 214),
                ("inputs and class names", 61),
                ("codebooks", 78),
                ("dense1.weight: positions", 3_304),
                ("dense1.weight: values", 1_402),
                ("dense2.weight: positions", 731),
                ("dense2.weight: values", 325),
                ("dense3.weight: positions", 76),
                ("dense3.weight: values", 59),
                ("biases", 146),
                ("checks", 16),
            ]),
            parity: 1.43e-6,
            changed_answers: 0,
        },
        layers: vec![
            layer("dense1", "gemm", &[231], 146_454, 5_211, 146_223, 3),
            layer("relu1", "relu", &[231], 0, 0, 231, 32),
            layer("dense2", "gemm", &[87], 20_184, 2_145, 20_097, 3),
            layer("relu2", "relu", &[87], 0, 0, 87, 32),
            layer("dense3", "gemm", &[10], 880, 547, 870, 3),
        ],
        histograms: vec![
            histogram("dense1.weight", 0.22, 235_200, 5_061),
            histogram("dense2.weight", 0.41, 30_000, 2_098),
            histogram("dense3.weight", 0.63, 1_000, 541),
        ],
        precision: Default::default(),
        training_memory_bytes: 9_812_344,
        report: "runs/digits-5f2c/report.html".into(),
        recipe: recipe.to_toml(),
        classes,
        rounds,
    }
}

/// A small table with two classes, measured and sized.
pub(super) fn titanic() -> RunResult {
    let mut recipe = Recipe::new("titanic", Path::new("data/titanic.csv"));
    recipe.data.target = Some("Survived".into());
    RunResult {
        version: "0.1.0".into(),
        command: "bantam grow data/titanic.csv --target Survived".into(),
        name: "titanic".into(),
        target_name: "Survived".into(),
        classes: vec!["no".into(), "yes".into()],
        rows: [570, 142, 179],
        measured: Some(titanic_measured()),
        sized: Some(Sized {
            hidden: vec![24],
            capacity_bits: 553.0,
            needed_low_bits: 11.0,
            needed_high_bits: 129.0,
            explanation:
                "One hidden layer of 24 units: four times the decisions of the tree that answers \
                          every row, so that the start is never what limits the result."
                    .into(),
        }),
        budget: None,
        rounds: (0..=11).map(titanic_round).collect(),
        chosen_round: 9,
        tuning: curve(10, 0.44, 0.41, 0.43, 0.817),
        stages: vec![
            stage("train", [0.810, 0.8239], 553, 2_212, 0.41),
            stage("prune", [0.8156, 0.8169], 91, 364, 4.1),
            stage("quantize", [0.8101, 0.8169], 91, 364, 0.2),
            stage("pack", [0.8101, 0.8169], 91, 402, 0.04),
        ],
        baseline: score(0.810, 0.02932, 179, Vec::new()),
        test: score(0.8101, 0.02932, 179, vec![vec![96, 14], vec![20, 49]]),
        file: Packed {
            path: "runs/titanic-81aa/titanic.bantam".into(),
            bytes: 402,
            deep_compression_bytes: 611,
            dense_bytes: 2_212,
            ledger: parts(&[
                ("header and graph", 96),
                ("input schema", 187),
                ("codebooks", 26),
                ("weights", 71),
                ("biases", 14),
                ("checks", 8),
            ]),
            parity: 2.4e-7,
            changed_answers: 0,
        },
        layers: vec![
            layer("hidden", "gemm", &[13], 286, 82, 273, 3),
            layer("relu", "relu", &[13], 0, 0, 13, 32),
            layer("output", "gemm", &[2], 28, 20, 26, 3),
        ],
        histograms: vec![
            histogram("hidden.weight", 1.1, 504, 74),
            histogram("output.weight", 0.9, 48, 17),
        ],
        precision: Default::default(),
        training_memory_bytes: 48_120,
        report: "runs/titanic-81aa/report.html".into(),
        recipe: recipe.to_toml(),
    }
}

/// A number is predicted.
pub(super) fn prices() -> RunResult {
    let mut result = titanic();
    result.name = "prices".into();
    result.target_name = "price".into();
    result.classes.clear();
    result.test.confusion.clear();
    let measured = result.measured.as_mut().unwrap();
    measured.classes = 0;
    measured.class_counts.clear();
    result
}

/// A run of which nothing is known: no rows, no rounds, figures that are no numbers.
pub(super) fn nothing() -> RunResult {
    RunResult {
        version: String::new(),
        command: String::new(),
        name: String::new(),
        target_name: String::new(),
        classes: Vec::new(),
        rows: [0; 3],
        measured: None,
        sized: None,
        budget: None,
        rounds: Vec::new(),
        chosen_round: 0,
        tuning: Vec::new(),
        stages: Vec::new(),
        baseline: score(f64::NAN, f64::NAN, 0, Vec::new()),
        test: score(f64::NEG_INFINITY, f64::INFINITY, 0, Vec::new()),
        file: Packed {
            path: String::new(),
            bytes: 0,
            deep_compression_bytes: 0,
            dense_bytes: 0,
            ledger: Vec::new(),
            parity: f64::NAN,
            changed_answers: 0,
        },
        layers: Vec::new(),
        histograms: Vec::new(),
        precision: Default::default(),
        training_memory_bytes: 0,
        report: String::new(),
        recipe: "not a recipe".into(),
    }
}

fn titanic_measured() -> Measured {
    let out = |column: &str, why: &str| (column.to_owned(), why.to_owned());
    Measured {
        rows: 891,
        columns: 8,
        classes: 2,
        class_counts: vec![("no".into(), 549), ("yes".into(), 342)],
        entropy_bits: 0.9607,
        label_bits: 855.99,
        best_guess: 0.6162,
        irreducible_error: 0.0123,
        distinct_rows: 777,
        duplicate_rows: 114,
        missing_cells: 866,
        missing_share: 0.1215,
        left_out: vec![
            out(
                "PassengerId",
                "looks like an identifier: 891 values in 891 rows",
            ),
            out("Name", "looks like an identifier: 891 values in 891 rows"),
            out("Ticket", "681 values in 891 rows"),
        ],
        threshold_sort: ThresholdSorts {
            typed: ThresholdSort {
                changes: 368,
                correct: 861,
                null: 421.5,
                permuted: Interval {
                    mean: 420.8,
                    low: 398.0,
                    high: 443.0,
                },
            },
            with_identifiers: None,
            compat: None,
        },
        tree: Tree {
            memorise: 129,
            leaves: 130,
            correct: 875,
            needed: 11,
            null: 247.6,
            null_rows: 891,
            memorise_with_identifiers: None,
            permuted: Interval {
                mean: 247.6,
                low: 238.0,
                high: 257.0,
            },
        },
        tolerance_curve: Vec::new(),
        study: Some(titanic_study()),
    }
}

fn digits_round(k: usize, total: usize) -> Round {
    let density = 0.8f64.powi(k as i32);
    let loss = (0.03 / density).powf(2.2) * 0.0025 * 0.3;
    let wobble = ((k * 37 % 11) as f64 - 5.0) * 0.00012;
    let bump = 0.0016 * (k as f64 / 8.0).min(1.0);
    let validation = 0.9826 + bump + wobble - loss - 0.0007 * (k as f64 / 12.0).powi(6);
    Round {
        round: k,
        remaining: (total as f64 * density) as usize,
        total,
        validation_accuracy: validation,
        validation_loss: 0.062 + loss,
        test_accuracy: validation + 0.0011 - wobble * 1.7,
        bytes: (400.0 + total as f64 * density * (0.31 - 2.0 * density.ln() * 0.09)) as u64,
        seconds: 41.0 - 0.2 * k as f64,
        epochs: curve(
            20,
            0.42 - 0.015 * k as f64,
            0.0015 / density.powf(0.7),
            0.071,
            validation,
        ),
    }
}

fn titanic_round(k: usize) -> Round {
    let remaining = (504.0 * 0.8f64.powi(k as i32)) as usize;
    let right = [117, 118, 117, 116, 118, 117, 118, 117, 116, 116, 113, 110][k];
    let test = [145, 145, 146, 144, 146, 145, 144, 147, 146, 146, 143, 139][k];
    let validation = right as f64 / 142.0;
    Round {
        round: k,
        remaining,
        total: 504,
        validation_accuracy: validation,
        validation_loss: 0.42,
        test_accuracy: test as f64 / 179.0,
        bytes: 330 + remaining as u64 * 3 / 4,
        seconds: 0.38,
        epochs: curve(60, 0.68, 0.31 + 0.012 * k as f64, 0.42, validation),
    }
}

/// Losses that fall from `first` to `last`, and an accuracy that rises to `best`.
fn curve(n: usize, first: f64, last: f64, validation: f64, best: f64) -> Vec<Epoch> {
    let epoch = |i: usize| {
        let share = i as f64 / n as f64;
        let wobble = ((i * 53 % 17) as f64 - 8.0) / 8.0;
        Epoch {
            epoch: i,
            learning_rate: 1.5e-3 * (1.0 + (std::f64::consts::PI * share).cos()),
            train_loss: last + (first - last) * (-4.5 * share).exp(),
            validation_loss: validation * (1.0 + 0.9 * (-7.0 * share).exp() + 0.02 * wobble),
            validation_accuracy: best - 0.035 * (-6.0 * share).exp()
                + 0.001 * wobble * (1.0 - share),
        }
    };
    (1..=n).map(epoch).collect()
}

fn digits_confusion() -> Vec<Vec<u64>> {
    let rows = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009];
    let mut counts = vec![vec![0; 10]; 10];
    for (truth, &n) in rows.iter().enumerate() {
        let wrong = [
            (3, 4 + truth as u64),
            (5, 5),
            (7, truth as u64 % 4 + 1),
            (8, 3),
        ];
        let mut right = n;
        for (step, n) in wrong {
            counts[truth][(truth + step) % 10] = n;
            right -= n;
        }
        counts[truth][truth] = right;
    }
    counts
}

fn histogram(name: &str, range: f64, before: u64, after: u64) -> Histogram {
    let bins = 60;
    let density = |i: usize, width: f64| {
        let x = (i as f64 + 0.5) / bins as f64 * 2.0 - 1.0;
        (-x * x / (2.0 * width * width)).exp()
    };
    let sum: f64 = (0..bins).map(|i| density(i, 0.18)).sum();
    let kept = [
        (9, 2),
        (15, 5),
        (20, 17),
        (25, 24),
        (34, 26),
        (39, 16),
        (44, 7),
        (50, 3),
    ];
    let mut counts = vec![0; bins];
    for (bin, share) in kept {
        counts[bin] = after * share / 100;
    }
    Histogram {
        name: name.to_owned(),
        low: -range,
        high: range,
        before: (0..bins)
            .map(|i| (before as f64 * density(i, 0.18) / sum) as u64)
            .collect(),
        after: counts,
    }
}

fn stage(name: &str, accuracy: [f64; 2], nonzero: usize, bytes: u64, seconds: f64) -> Stage {
    Stage {
        name: name.to_owned(),
        accuracy: accuracy[0],
        validation_accuracy: accuracy[1],
        nonzero,
        bytes,
        seconds,
    }
}

fn score(accuracy: f64, standard_error: f64, n: usize, confusion: Vec<Vec<u64>>) -> Score {
    Score {
        accuracy,
        standard_error,
        n,
        confusion,
    }
}

fn parts(parts: &[(&str, u64)]) -> Vec<Part> {
    parts
        .iter()
        .map(|&(part, bytes)| Part {
            part: part.to_owned(),
            bytes,
        })
        .collect()
}

fn layer(
    name: &str,
    op: &str,
    shape: &[usize],
    parameters: usize,
    nonzero: usize,
    macs: u64,
    bits: u8,
) -> Layer {
    Layer {
        name: name.to_owned(),
        op: op.to_owned(),
        shape: Some(shape.to_vec()),
        parameters,
        nonzero,
        macs: Some(macs),
        bits,
    }
}

fn band(low: f64, high: f64) -> Band {
    Band { low, high }
}

fn titanic_study() -> Study {
    let method = |method: &str, unit: &str, value: f64, null: f64| Method {
        method: method.into(),
        origin: "ours".into(),
        unit: unit.into(),
        rows: 891,
        value,
        interval: Some(band(0.92 * value, 1.08 * value)),
        null: Interval {
            mean: null,
            low: 0.96 * null,
            high: 1.04 * null,
        },
        draws: 20,
        ratio: Some(value / null),
        ratio_interval: Some(band(0.92 * value / null, 1.08 * value / null)),
    };
    let point = |fraction: f64, bits: f64, null: f64| ProgressionPoint {
        fraction,
        rows: 891.0 * fraction,
        bits,
        low: 0.85 * bits,
        high: 1.15 * bits,
        null,
        null_low: 0.9 * null,
        null_high: 1.1 * null,
        ratio: Some(bits / null),
        loss_bits: (fraction < 1.0).then_some(0.9 - 0.25 * fraction),
    };
    let column = |name: &str, rank: Option<usize>, saved: Option<f64>, alone: f64| RankedColumn {
        column: name.into(),
        rank,
        saved_bits: saved,
        shuffled_bits: saved.map(|_| -0.004),
        shuffled_deviation: saved.map(|_| 0.003),
        accuracy: saved.map(|s| 0.75 + 0.2 * s),
        alone_bits: alone,
    };
    Study {
        headline: Some(Headline {
            rho: 0.61,
            interval: Some(band(0.55, 0.67)),
            method: "decision tree".into(),
            null: Interval {
                mean: 1.0,
                low: 0.97,
                high: 1.03,
            },
            draws: 20,
            p: 1.0 / 21.0,
            structure: true,
        }),
        methods: vec![
            method("threshold sort", "decisions", 391.0, 421.0),
            method("decision tree", "decisions", 162.0, 301.0),
            method("prequential code", "bits", 598.0, 901.0),
        ],
        projections: Vec::new(),
        nearest_neighbour: None,
        usable_bits_per_row: 0.29,
        progression: vec![
            point(0.05, 6.1, 13.2),
            point(0.1, 14.0, 28.3),
            point(0.2, 29.0, 58.4),
            point(0.4, 61.0, 118.0),
            point(0.8, 127.0, 241.0),
            point(1.0, 162.0, 301.0),
        ],
        progression_slope: Some(1.05),
        progression_slope_interval: Some(band(0.98, 1.13)),
        verdict: "rule and noise".into(),
        reading: "The columns say something about the target.".into(),
        rows_needed: Some(RowsNeeded {
            told: true,
            rows: None,
            more: None,
            low: 800.0,
            high: 8910.0,
            furthest: 8910.0,
            floor_bits: 0.55,
            floor_low: 0.4,
            floor_high: 0.6,
        }),
        expected_accuracy: Some(ExpectedAccuracy {
            point: 0.826,
            low: 0.805,
            high: 0.847,
            model: "random forest".into(),
            rows: 891,
            folds: 5,
            models: Vec::new(),
        }),
        ranking: vec![
            column("Sex", Some(1), Some(0.21), 0.217),
            column("Pclass", Some(2), Some(0.09), 0.083),
            column("Embarked <3", None, None, 0.02),
        ],
        ranking_rows: 891,
        intrinsic_dimension: IntrinsicDimension {
            two_nn: Some(2.1),
            two_nn_interval: Some(band(1.9, 2.3)),
            mle: Some(3.4),
            mle_interval: None,
            rows: 777,
        },
        difficulty: vec![DifficultyMeasure {
            name: "N3".into(),
            value: 0.25,
            interval: Some(band(0.22, 0.28)),
            meaning: "error of the nearest neighbour".into(),
        }],
        difficulty_rows: 891,
        generalization: Generalization {
            bits_per_bit: Some(5.2),
            null: Some(2.8),
            memorised: Some(0.9942),
            resilience: Some(-0.33),
        },
    }
}
