//! Training with operands of 16 bits: what stays the same and what may move.

use bantam_core::{Graph, Tensor, arch};
use bantam_data::{Augment, MemorySource, Rng, Targets};
use bantam_train::{
    Config, Decay, Fitted, Keep, LossScale, Optimizer, Params, Precision, Result, Schedule, State,
    Watch, fit, fresh,
};

const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];
const BATCH: usize = 32;
const CLASSES: usize = 4;

/// Images of noise with a bright corner, which tells the class.
fn source(rows: usize, side: usize, seed: u64) -> MemorySource {
    let mut rng = Rng::new(seed, 0);
    let mut x = Vec::new();
    let labels: Vec<i64> = (0..rows).map(|i| (i % CLASSES) as i64).collect();
    for &label in &labels {
        for row in 0..side {
            for column in 0..side {
                let corner = 2 * usize::from(2 * row >= side) + usize::from(2 * column >= side);
                let bright = if corner == label as usize { 0.8 } else { 0.0 };
                x.push(rng.normal() as f32 + bright);
            }
        }
    }
    let x = Tensor::new(&[rows, 1, side, side], x).unwrap();
    MemorySource::from_rows(x, Targets::Classes(labels), CLASSES).unwrap()
}

fn config(precision: Precision, epochs: usize) -> Config {
    Config {
        epochs,
        batch_size: BATCH,
        optimizer: Optimizer::adam(),
        learning_rate: 3e-3,
        schedule: Schedule {
            decay: Decay::Cosine { last: 0.1 },
            warm_up: 0.0,
        },
        weight_decay: 0.0,
        clip_norm: 0.0,
        label_smoothing: 0.0,
        augment: Augment::default(),
        patience: 0,
        keep: Keep::Last,
        precision,
        seed: 3,
    }
}

fn mlp(side: usize, hidden: usize) -> Graph {
    let graph = arch::mlp("mlp", &[1, side, side], &[hidden, hidden], CLASSES).unwrap();
    fresh(&graph, 1).unwrap()
}

fn lenet() -> Graph {
    fresh(&arch::lenet_5_caffe(&[1, 20, 20], CLASSES).unwrap(), 1).unwrap()
}

/// The state after each epoch.
#[derive(Default)]
struct States(Vec<State>);

impl Watch for States {
    fn epoch(&mut self, state: &State) -> Result<()> {
        self.0.push(state.clone());
        Ok(())
    }
}

fn train(
    graph: &Graph,
    side: usize,
    config: &Config,
    state: Option<State>,
) -> (Fitted, Vec<State>) {
    let mut states = States::default();
    let (rows, validation) = (source(10 * BATCH, side, 1), source(256, side, 2));
    let fitted = fit(graph, &rows, &validation, config, state, &mut states).unwrap();
    (fitted, states.0)
}

#[test]
fn learns_as_well_in_each_precision() {
    for (graph, side) in [(mlp(12, 64), 12), (lenet(), 20)] {
        let losses = ALL.map(|precision| {
            let (fitted, _) = train(&graph, side, &config(precision, 4), None);
            assert!(
                fitted.validation.accuracy > 0.9,
                "{precision:?}: {:?}",
                fitted.validation
            );
            fitted
                .history
                .iter()
                .map(|e| e.train_loss)
                .collect::<Vec<_>>()
        });
        // The first epochs are alike; that they differ at all shows that something was rounded.
        for (precision, other) in ALL.into_iter().zip(&losses).skip(1) {
            let apart = (other[0] - losses[0][0]).abs() / losses[0][0];
            assert!(apart > 0.0 && apart < 0.02, "{precision:?}: {apart} apart");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for precision in ALL {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let train = || train(&lenet(), 20, &config(precision, 1), None).1;
            pool.unwrap().install(train)
        };
        let one = run(1);
        for threads in [2, 3] {
            assert!(
                run(threads) == one,
                "{precision:?}: {threads} threads differ from one"
            );
        }
    }
}

/// Nothing of this network is large enough to be rounded, so only the scaling is left, by powers of two.
#[test]
fn scaling_alone_changes_no_bit() {
    let graph = mlp(4, 8);
    let [plain, bf16, f16] =
        ALL.map(|precision| train(&graph, 4, &config(precision, 3), None).0.graph);
    assert_eq!(Params::of(&plain), Params::of(&bf16));
    assert_eq!(Params::of(&plain), Params::of(&f16));
}

#[test]
fn a_step_that_overflows_leaves_no_trace_but_a_smaller_factor() {
    let graph = lenet();
    let start = State::start(&graph);
    let high = LossScale {
        factor: 2f32.powi(60),
        good_steps: 7,
        dropped_steps: 0,
    };
    let state = State {
        loss_scale: high,
        ..start.clone()
    };
    let (_, states) = train(&graph, 20, &config(Precision::F16, 1), Some(state));
    let after = &states[0];
    assert_eq!(
        after.loss_scale.factor,
        2f32.powi(50),
        "ten steps, all dropped"
    );
    assert_eq!(
        (after.loss_scale.good_steps, after.loss_scale.dropped_steps),
        (0, 10)
    );
    assert_eq!((after.step, &after.params), (0, &start.params));
    assert_eq!(after.slots, start.slots);
}

#[test]
fn goes_on_to_the_same_bits_in_the_midst_of_scaling() {
    let graph = lenet();
    // Too high at first: some steps are dropped.
    let scale = LossScale {
        factor: 2f32.powi(30),
        ..LossScale::default()
    };
    let start = State {
        loss_scale: scale,
        ..State::start(&graph)
    };
    let config = config(Precision::F16, 4);
    let (whole, states) = train(&graph, 20, &config, Some(start));
    let halfway = states[1].clone();
    assert!(halfway.loss_scale.dropped_steps > 0 && halfway.loss_scale.good_steps > 0);
    let (resumed, rest) = train(&graph, 20, &config, Some(halfway));
    assert!(rest == states[2..], "a resumed training differs");
    assert_eq!(Params::of(&resumed.graph), Params::of(&whole.graph));
    assert_eq!(resumed.loss_scale, whole.loss_scale);
}
