//! Normalisation and rectifier as one step of a training: which become one, and that nothing else changes.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{BatchNorm, Binary, Conv, Dense, Layout, LossKind, Pool, PoolKind, Unary};
use bantam_core::reference::{Array, evaluate};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, ValueId, cases};
use bantam_runtime::{Executor, Plan};
use bantam_train::{Params, TrainingGraph};

const BATCH: usize = 9;
const CHANNELS: usize = 5;

struct Net {
    b: GraphBuilder,
    last: ValueId,
    n: usize,
}

impl Net {
    fn new() -> Net {
        let mut b = GraphBuilder::new("net");
        let dims = [CHANNELS, 7, 9].map(Dim::Fixed);
        let dims = std::iter::once(Dim::batch()).chain(dims).collect();
        let last = b.input("x", DType::F32, dims);
        Net { b, last, n: 0 }
    }

    fn then(&mut self, op: Op, others: &[ValueId]) -> ValueId {
        self.n += 1;
        let inputs: Vec<ValueId> = std::iter::once(self.last).chain(others.to_vec()).collect();
        self.last = self.b.node(&format!("n{}", self.n), op, &inputs);
        self.last
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.n += 1;
        let values = cases::values(shape, self.n as u64);
        self.b.weight(&format!("w{}", self.n), values)
    }

    fn conv(&mut self) {
        let w = self.weight(&[CHANNELS, CHANNELS, 3, 3]);
        let op = Conv {
            padding: [1; 4],
            ..Conv::default()
        };
        self.then(Op::Conv(op), &[w]);
    }

    fn norm(&mut self) -> ValueId {
        let [gamma, beta] = [0; 2].map(|_| self.weight(&[CHANNELS]));
        self.n += 1;
        let ones = Tensor::new(&[CHANNELS], vec![1f32; CHANNELS]).unwrap();
        let mean = self.b.constant(&format!("mean{}", self.n), ones.clone());
        let var = self.b.constant(&format!("var{}", self.n), ones);
        let op = Op::BatchNorm(BatchNorm::default());
        self.then(op, &[gamma, beta, mean, var])
    }

    fn rectifier(&mut self, kind: UnaryKind) {
        self.then(Op::Unary(Unary::new(kind)), &[]);
    }

    fn finish(mut self) -> Graph {
        let kind = PoolKind::Average {
            count_include_pad: false,
        };
        self.then(Op::Pool(Pool::global(kind)), &[]);
        let shape = vec![0, CHANNELS as i64];
        self.then(Op::Layout(Layout::Reshape { shape }), &[]);
        let w = self.weight(&[3, CHANNELS]);
        self.then(Op::Dense(Dense), &[w]);
        self.b.output(self.last);
        self.b.finish().unwrap()
    }
}

/// Names, networks, and how many normalisations take a rectifier with them, forward and backward.
fn networks() -> Vec<(&'static str, Graph, [usize; 2])> {
    let mut plain = Net::new();
    plain.conv();
    plain.norm();
    plain.rectifier(UnaryKind::Relu);
    plain.conv();
    plain.norm();
    plain.rectifier(UnaryKind::Relu6);
    plain.conv();
    plain.norm();
    plain.rectifier(UnaryKind::Tanh);

    // What is normalised is read twice: neither of the two sums can be skipped.
    let mut shared = Net::new();
    shared.conv();
    let before = shared.norm();
    shared.rectifier(UnaryKind::Relu);
    shared.then(Op::Binary(Binary::Add), &[before]);

    // What is rectified is read twice, as in a residual block.
    let mut residual = Net::new();
    residual.conv();
    residual.norm();
    residual.rectifier(UnaryKind::Relu);
    let before = residual.last;
    residual.conv();
    residual.norm();
    residual.then(Op::Binary(Binary::Add), &[before]);
    residual.rectifier(UnaryKind::Relu);
    vec![
        ("plain", plain.finish(), [2, 2]),
        ("shared", shared.finish(), [0, 0]),
        ("residual", residual.finish(), [1, 1]),
    ]
}

#[test]
fn steps_that_became_one_compute_what_the_graph_says() {
    for (name, network, expected) in networks() {
        let loss = LossKind::CrossEntropy {
            label_smoothing: 0.0,
        };
        let form = TrainingGraph::new(&network, loss).unwrap();
        let labels: Vec<i64> = (0..BATCH as i64).map(|i| i % 3).collect();
        let params = Params::of(&network);
        let mut inputs = vec![
            cases::values(&[BATCH, CHANNELS, 7, 9], 99),
            Tensor::new(&[BATCH], labels).unwrap(),
        ];
        inputs.extend(form.parameters.iter().map(|name| params.0[name].clone()));
        let arrays: Vec<Array> = inputs.iter().map(Array::from).collect();
        let twin = evaluate(&form.graph, &arrays).unwrap();

        let plan = Plan::for_batch(&form.graph, BATCH).unwrap();
        let count = |kernel: &str| plan.steps().filter(|s| s.kernel == kernel).count();
        let fused = ["BatchNormTraining + clamp", "BatchNormGrad + clamp"].map(count);
        assert_eq!(fused, expected, "{name}");
        let plan = std::sync::Arc::new(plan);
        let run = |threads: usize| -> Vec<Tensor> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let mut executor = Executor::new(plan.clone());
                let inputs: Vec<&Tensor> = inputs.iter().collect();
                let outputs = executor.run(&inputs).unwrap();
                (0..outputs.len()).map(|i| outputs.tensor(i)).collect()
            })
        };
        let outputs = run(1);
        assert_eq!(outputs, run(3), "{name}: threads change no bit");
        for (i, (found, expected)) in outputs.iter().zip(&twin).enumerate() {
            let found = Array::from(found);
            assert_eq!(found.shape, expected.shape, "{name}, output {i}");
            for (f, e) in found.values.iter().zip(&expected.values) {
                let near = (f - e).abs() <= 2e-5 * (1.0 + e.abs());
                assert!(near, "{name}, output {i}: expected {e}, found {f}");
            }
        }
    }
}
