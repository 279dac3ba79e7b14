//! Gradients that are limited, and those that the update reads where the executor has them.

use bantam_core::{Graph, Tensor, arch};
use bantam_data::{Augment, MemorySource, Rng, Targets};
use bantam_train::{
    Config, Decay, Keep, Optimizer, Params, Precision, Schedule, Silent, fit, fresh,
};

const ROWS: usize = 24;
const FEATURES: usize = 7;
const CLASSES: usize = 3;
const LEARNING_RATE: f64 = 0.125;

fn source() -> MemorySource {
    let mut rng = Rng::new(5, 0);
    let x: Vec<f32> = (0..ROWS * FEATURES).map(|_| rng.normal() as f32).collect();
    let x = Tensor::new(&[ROWS, FEATURES], x).unwrap();
    let labels = (0..ROWS).map(|i| (i % CLASSES) as i64).collect();
    MemorySource::from_rows(x, Targets::Classes(labels), CLASSES).unwrap()
}

/// The weights after some epochs of one step each, plain gradient descent.
fn weights(network: &Graph, epochs: usize, clip_norm: f64) -> Vec<f32> {
    let config = Config {
        epochs,
        batch_size: ROWS,
        optimizer: Optimizer::Sgd {
            momentum: 0.0,
            nesterov: false,
        },
        learning_rate: LEARNING_RATE,
        schedule: Schedule {
            decay: Decay::Constant,
            warm_up: 0.0,
        },
        weight_decay: 0.0,
        clip_norm,
        label_smoothing: 0.0,
        augment: Augment::default(),
        patience: 0,
        keep: Keep::Last,
        precision: Precision::F32,
        seed: 1,
    };
    let fitted = fit(network, &source(), &source(), &config, None, &mut Silent).unwrap();
    all(&fitted.graph)
}

fn all(network: &Graph) -> Vec<f32> {
    let params = Params::of(network);
    let values = params.0.values().flat_map(|t| t.values::<f32>().unwrap());
    values.copied().collect()
}

#[test]
fn a_limit_is_what_a_step_goes_at_most() {
    let network = arch::mlp("mlp", &[FEATURES], &[11], CLASSES).unwrap();
    let network = fresh(&network, 1).unwrap();
    let start = all(&network);
    let way = |to: &[f32]| {
        let squares = to.iter().zip(&start);
        let squares = squares.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt() / LEARNING_RATE
    };
    let norm = way(&weights(&network, 1, 0.0));
    assert!(norm > 0.1, "{norm}");
    for limit in [norm / 3.0, norm / 100.0] {
        let limited = way(&weights(&network, 1, limit));
        assert!((limited / limit - 1.0).abs() < 1e-3, "{limited}, {limit}");
    }
    // A limit that nothing reaches changes no bit, though the gradients are copied then.
    assert_eq!(weights(&network, 5, 1e9), weights(&network, 5, 0.0));
}
