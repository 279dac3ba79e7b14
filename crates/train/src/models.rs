//! Networks with fresh weights.
//!
//! Weights are drawn from `N(0, 1 / (3 inputs))`, the variance of PyTorch's default; biases are 0. It
//! is a sixth of what He et al. 2015 advise before a rectifier: with small first weights the trained
//! magnitude tells more of a weight's use, and magnitude pruning goes further (own measurement, see
//! `docs/results.md`). The numbers depend on the seed and on the order of the layers alone.

use bantam_core::op::{Conv, Dense, Layout, Pool, PoolKind, Unary, elementwise::UnaryKind};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, ValueId};
use bantam_data::Rng;

use crate::Result;

/// A sequence of layers under construction.
struct Layers {
    b: GraphBuilder,
    rng: Rng,
    last: ValueId,
}

impl Layers {
    fn new(name: &str, sample_shape: &[usize], seed: u64) -> Layers {
        let mut b = GraphBuilder::new(name);
        let dims = std::iter::once(Dim::batch()).chain(sample_shape.iter().map(|&d| Dim::Fixed(d)));
        let last = b.input("x", DType::F32, dims.collect());
        Layers {
            b,
            rng: Rng::new(seed, 0x1417),
            last,
        }
    }

    fn weights(&mut self, name: &str, shape: &[usize]) -> [ValueId; 2] {
        let inputs: usize = shape[1..].iter().product();
        let deviation = (1.0 / (3.0 * inputs as f64)).sqrt();
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n)
            .map(|_| (self.rng.normal() * deviation) as f32)
            .collect();
        let w = Tensor::new(shape, values).expect("as many values as the shape has");
        let w = self.b.weight(&format!("{name}.weight"), w);
        [
            w,
            self.b.weight(
                &format!("{name}.bias"),
                Tensor::zeros(DType::F32, &shape[..1]),
            ),
        ]
    }

    fn dense(&mut self, name: &str, inputs: usize, outputs: usize) {
        let [w, bias] = self.weights(name, &[outputs, inputs]);
        self.last = self.b.node(name, Op::Dense(Dense), &[self.last, w, bias]);
    }

    fn conv(&mut self, name: &str, shape: [usize; 4]) {
        let [w, bias] = self.weights(name, &shape);
        self.last = self
            .b
            .node(name, Op::Conv(Conv::default()), &[self.last, w, bias]);
    }

    fn then(&mut self, name: &str, op: Op) {
        self.last = self.b.node(name, op, &[self.last]);
    }

    fn relu(&mut self, name: &str) {
        self.then(name, Op::Unary(Unary::new(UnaryKind::Relu)));
    }

    fn finish(mut self) -> Result<Graph> {
        self.b.output(self.last);
        Ok(self.b.finish()?)
    }
}

/// A multi-layer perceptron with rectifiers: `sample_shape` is flattened, then the hidden layers,
/// then `outputs` logits or numbers.
pub fn mlp(
    name: &str,
    sample_shape: &[usize],
    hidden: &[usize],
    outputs: usize,
    seed: u64,
) -> Result<Graph> {
    let mut l = Layers::new(name, sample_shape, seed);
    let mut width: usize = sample_shape.iter().product();
    if sample_shape.len() != 1 {
        l.then(
            "flatten",
            Op::Layout(Layout::Reshape {
                shape: vec![0, width as i64],
            }),
        );
    }
    for (i, &units) in hidden.iter().enumerate() {
        l.dense(&format!("dense{}", i + 1), width, units);
        l.relu(&format!("relu{}", i + 1));
        width = units;
    }
    l.dense(&format!("dense{}", hidden.len() + 1), width, outputs);
    l.finish()
}

/// LeNet-5 as Caffe defined it, which the compression papers use: convolutions of 20 and 50 5×5
/// filters without rectifier, max-pooling by 2 after each, dense 500 with rectifier, dense
/// `outputs`. 430,500 weights and 580 biases for 28×28 grey images and 10 classes.
pub fn lenet_5_caffe(sample_shape: &[usize; 3], outputs: usize, seed: u64) -> Result<Graph> {
    let mut l = Layers::new("lenet-5-caffe", sample_shape, seed);
    let pool = || Op::Pool(Pool::windows(PoolKind::Max, [2, 2]));
    l.conv("conv1", [20, sample_shape[0], 5, 5]);
    l.then("pool1", pool());
    l.conv("conv2", [50, 20, 5, 5]);
    l.then("pool2", pool());
    let side = |d: usize| d.saturating_sub(4) / 2;
    let area = side(side(sample_shape[1])) * side(side(sample_shape[2]));
    l.then(
        "flatten",
        Op::Layout(Layout::Reshape {
            shape: vec![0, (50 * area) as i64],
        }),
    );
    l.dense("dense1", 50 * area, 500);
    l.relu("relu1");
    l.dense("dense2", 500, outputs);
    l.finish()
}
