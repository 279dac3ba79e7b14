//! Batches in slices: which graphs may be sliced, and that a slice changes no bit.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::layout::SliceRange;
use bantam_core::op::{
    BatchNorm, Binary, Conv, Dense, Dropout, Gather, Layout, Loss, LossKind, MatMul, NormRole,
    Pool, PoolKind, Reduce, ReduceKind, Softmax, Type, Unary,
};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, ValueId};
use bantam_runtime::{ErrorKind, Executor, Plan};

/// Numbers in -1..1 that are the same in every run (xorshift).
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let values = std::iter::repeat_with(next).take(shape.iter().product());
    Tensor::new::<f32>(shape, values.collect()).unwrap()
}

/// A graph from one line: `build` adds nodes behind inputs `x: [n, ..sample]`.
fn graph(name: &str, samples: &[&[usize]], build: impl Fn(&mut Net) -> ValueId) -> Graph {
    let mut b = GraphBuilder::new(name);
    let inputs = samples.iter().enumerate().map(|(i, sample)| {
        let dims = std::iter::once(Dim::batch()).chain(sample.iter().map(|&d| Dim::Fixed(d)));
        b.input(&format!("x{i}"), DType::F32, dims.collect())
    });
    let x = inputs.collect();
    let mut net = Net { b, x, n: 0 };
    let y = build(&mut net);
    net.b.output(y);
    net.b.finish_open().unwrap()
}

struct Net {
    b: GraphBuilder,
    x: Vec<ValueId>,
    n: u64,
}

impl Net {
    fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.n += 1;
        self.b
            .weight(&format!("w{}", self.n), numbers(shape, self.n))
    }

    fn then(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.n += 1;
        self.b.node(&format!("node{}", self.n), op, inputs)
    }

    /// An operator on the inputs and a weight of this shape, if there is one.
    fn on_inputs(&mut self, op: Op, weight: Option<&[usize]>) -> ValueId {
        let mut inputs = self.x.clone();
        inputs.extend(weight.map(|shape| self.weight(shape)));
        self.then(op, &inputs)
    }
}

fn unary(kind: UnaryKind) -> Op {
    Op::Unary(Unary::new(kind))
}

fn softmax(axis: i64) -> Op {
    Op::Softmax(Softmax {
        axis,
        log: false,
        grad: false,
    })
}

fn reduce(kind: ReduceKind, axes: &[i64], keep_dims: bool) -> Op {
    let axes = axes.to_vec();
    Op::Reduce(Reduce::Axes {
        kind,
        axes,
        keep_dims,
    })
}

fn reshape(shape: &[i64]) -> Op {
    let shape = shape.to_vec();
    Op::Layout(Layout::Reshape { shape })
}

fn transpose(permutation: &[usize]) -> Op {
    let permutation = permutation.to_vec();
    Op::Layout(Layout::Transpose { permutation })
}

fn batch_norm(role: NormRole) -> Op {
    Op::BatchNorm(BatchNorm {
        role,
        ..BatchNorm::default()
    })
}

fn conv() -> Conv {
    Conv {
        padding: [1; 4],
        ..Conv::default()
    }
}

/// One block of an encoder: heads, residuals, normalisations in pieces, GELU in pieces.
fn encoder(net: &mut Net) -> ValueId {
    let (t, d, heads) = (6, 24, 3);
    let x = net.x[0];
    let project = |net: &mut Net, x: ValueId, from: usize, to: usize| {
        let (w, b) = (net.weight(&[from, to]), net.weight(&[to]));
        let y = net.then(Op::MatMul(MatMul::default()), &[x, w]);
        net.then(Op::Binary(Binary::Add), &[y, b])
    };
    let [q, k, v] = [(); 3].map(|()| {
        let y = project(net, x, d, d);
        let y = net.then(
            reshape(&[0, t as i64, heads as i64, (d / heads) as i64]),
            &[y],
        );
        net.then(transpose(&[0, 2, 1, 3]), &[y])
    });
    let turned = MatMul {
        transpose_b: true,
        ..MatMul::default()
    };
    let scores = net.then(Op::MatMul(turned), &[q, k]);
    let weights = net.then(softmax(-1), &[scores]);
    let mixed = net.then(Op::MatMul(MatMul::default()), &[weights, v]);
    let mixed = net.then(transpose(&[0, 2, 1, 3]), &[mixed]);
    let mixed = net.then(reshape(&[0, t as i64, d as i64]), &[mixed]);
    let attended = project(net, mixed, d, d);
    let sum = net.then(Op::Binary(Binary::Add), &[attended, x]);
    let normal = layer_norm(net, sum, d);
    let wide = project(net, normal, d, 4 * d);
    let root = net.b.weight("root 2", number(std::f32::consts::SQRT_2));
    let (one, half) = (
        net.b.weight("one", number(1.0)),
        net.b.weight("half", number(0.5)),
    );
    let y = net.then(Op::Binary(Binary::Div), &[wide, root]);
    let y = net.then(unary(UnaryKind::Erf), &[y]);
    let y = net.then(Op::Binary(Binary::Add), &[y, one]);
    let y = net.then(Op::Binary(Binary::Mul), &[wide, y]);
    let y = net.then(Op::Binary(Binary::Mul), &[y, half]);
    let y = project(net, y, 4 * d, d);
    let sum = net.then(Op::Binary(Binary::Add), &[normal, y]);
    layer_norm(net, sum, d)
}

fn number(x: f32) -> Tensor {
    Tensor::new(&[1], vec![x]).unwrap()
}

fn layer_norm(net: &mut Net, x: ValueId, d: usize) -> ValueId {
    let mean = net.then(reduce(ReduceKind::Mean, &[-1], true), &[x]);
    let centred = net.then(Op::Binary(Binary::Sub), &[x, mean]);
    let squares = net.then(Op::Binary(Binary::Mul), &[centred, centred]);
    let var = net.then(reduce(ReduceKind::Mean, &[-1], true), &[squares]);
    net.n += 1;
    let epsilon = net.b.weight(&format!("epsilon{}", net.n), number(1e-5));
    let var = net.then(Op::Binary(Binary::Add), &[var, epsilon]);
    let root = net.then(unary(UnaryKind::Sqrt), &[var]);
    let y = net.then(Op::Binary(Binary::Div), &[centred, root]);
    let (gamma, beta) = (net.weight(&[d]), net.weight(&[d]));
    let y = net.then(Op::Binary(Binary::Mul), &[y, gamma]);
    net.then(Op::Binary(Binary::Add), &[y, beta])
}

/// Graphs whose batch may be run in slices.
fn sliceable() -> Vec<Graph> {
    let average = PoolKind::Average {
        count_include_pad: false,
    };
    let image: &[&[usize]] = &[&[5, 9, 8]];
    let one = |name: &str, samples: &[&[usize]], op: Op, weight: Option<&[usize]>| {
        graph(name, samples, |net| net.on_inputs(op.clone(), weight))
    };
    let every_other = SliceRange {
        step: 2,
        ..SliceRange::ALL
    };
    vec![
        one("dense", &[&[19]], Op::Dense(Dense), Some(&[33, 19])),
        one(
            "rows by weights",
            &[&[19]],
            Op::MatMul(MatMul::default()),
            Some(&[19, 33]),
        ),
        one(
            "three axes by weights",
            &[&[4, 19]],
            Op::MatMul(MatMul::default()),
            Some(&[19, 7]),
        ),
        one(
            "matrices of elements",
            &[&[17, 19], &[19, 5]],
            Op::MatMul(MatMul::default()),
            None,
        ),
        one("conv", image, Op::Conv(conv()), Some(&[12, 5, 3, 3])),
        one(
            "depthwise",
            image,
            Op::Conv(Conv {
                groups: 5,
                ..conv()
            }),
            Some(&[5, 1, 3, 3]),
        ),
        one(
            "max pool",
            image,
            Op::Pool(Pool::windows(PoolKind::Max, [2, 2])),
            None,
        ),
        one("global pool", image, Op::Pool(Pool::global(average)), None),
        graph("batch norm", image, |net| {
            let mut inputs = net.x.clone();
            inputs.extend((0..3).map(|_| net.weight(&[5])));
            let variance = Tensor::new(&[5], vec![0.5f32, 1.0, 2.0, 3.0, 0.1]).unwrap();
            inputs.push(net.b.weight("variance", variance));
            net.then(batch_norm(NormRole::Inference), &inputs)
        }),
        one("tanh", image, unary(UnaryKind::Tanh), None),
        one("two inputs", &[&[7], &[7]], Op::Binary(Binary::Sub), None),
        one("scalar", image, Op::Binary(Binary::Mul), Some(&[1])),
        one(
            "weights of axis 0 one",
            image,
            Op::Binary(Binary::Add),
            Some(&[1, 5, 1, 1]),
        ),
        one("softmax", image, softmax(1), None),
        one("sum", image, reduce(ReduceKind::Sum, &[1, 3], false), None),
        one(
            "mean of a row",
            &[&[600]],
            reduce(ReduceKind::Mean, &[-1], true),
            None,
        ),
        one(
            "long rows, several",
            &[&[2, 9000]],
            reduce(ReduceKind::Sum, &[2], false),
            None,
        ),
        one(
            "products",
            image,
            reduce(ReduceKind::Prod, &[2], false),
            None,
        ),
        one("flatten", image, reshape(&[0, -1]), None),
        one("last axis kept", image, reshape(&[-1, 40, 9]), None),
        one("transpose", image, transpose(&[0, 2, 3, 1]), None),
        one(
            "slice",
            image,
            Op::Layout(Layout::Slice {
                ranges: vec![SliceRange::ALL, SliceRange::ALL, every_other, every_other],
            }),
            None,
        ),
        one(
            "concat",
            &[&[3, 2], &[4, 2]],
            Op::Layout(Layout::Concat { axis: -2 }),
            None,
        ),
        one(
            "pad",
            image,
            Op::Layout(Layout::Pad {
                padding: vec![[0, 0], [1, 2], [0, 0], [3, 0]],
                value: 0.5,
            }),
            None,
        ),
        graph("embedding", &[&[6]], |net| {
            let x = net.then(unary(UnaryKind::Abs), &[net.x[0]]);
            let ten = net.b.weight("ten", number(10.0));
            let x = net.then(Op::Binary(Binary::Mul), &[x, ten]);
            let indices = net.then(Op::Cast(bantam_core::op::Cast { to: DType::I64 }), &[x]);
            let table = net.weight(&[10, 7]);
            let gather = Gather {
                axis: 0,
                grad: false,
            };
            net.then(Op::Gather(gather), &[table, indices])
        }),
        graph("first of each", &[&[6, 5]], |net| {
            let first = Tensor::new(&[], vec![0i64]).unwrap();
            let first = net.b.weight("first", first);
            let gather = Gather {
                axis: 1,
                grad: false,
            };
            net.then(Op::Gather(gather), &[net.x[0], first])
        }),
        graph("dropout of answers", image, |net| {
            let off = Dropout::Identity { ratio: 0.5 };
            let y = net.then(Op::Dropout(off), &[net.x[0]]);
            net.then(unary(UnaryKind::Exp), &[y])
        }),
        graph("an output that is an input", image, |net| {
            let y = net.then(unary(UnaryKind::Exp), &[net.x[0]]);
            net.b.output(y);
            net.x[0]
        }),
        graph("weights that are computed", &[&[19]], |net| {
            let (w, half) = (net.weight(&[33, 19]), net.weight(&[1]));
            let w = net.then(Op::Binary(Binary::Mul), &[w, half]);
            net.then(Op::Dense(Dense), &[net.x[0], w])
        }),
        graph("encoder", &[&[6, 24]], encoder),
    ]
}

/// Graphs whose batch must stay whole.
fn whole() -> Vec<Graph> {
    let image: &[&[usize]] = &[&[5, 9, 8]];
    let one = |name: &str, samples: &[&[usize]], op: Op, weight: Option<&[usize]>| {
        graph(name, samples, |net| net.on_inputs(op.clone(), weight))
    };
    let with_size = |name: &str, size: usize, op: Op| {
        // A weight that fits a batch of BATCH elements only.
        graph(name, &[&[3]], |net| {
            net.on_inputs(op.clone(), Some(&[size, 3]))
        })
    };
    let turned = MatMul {
        transpose_a: true,
        ..MatMul::default()
    };
    vec![
        one("softmax over the batch", image, softmax(0), None),
        one(
            "softmax over the batch, from behind",
            image,
            softmax(-4),
            None,
        ),
        one(
            "sum over the batch",
            image,
            reduce(ReduceKind::Sum, &[0], true),
            None,
        ),
        one(
            "sum of all",
            image,
            reduce(ReduceKind::Sum, &[], true),
            None,
        ),
        one(
            "one long sum",
            &[&[9000]],
            reduce(ReduceKind::Sum, &[1], true),
            None,
        ),
        one("transpose", &[&[BATCH]], transpose(&[1, 0]), None),
        one(
            "reverse",
            image,
            Op::Layout(Layout::Reverse { axes: vec![0] }),
            None,
        ),
        one(
            "rows of the batch",
            &[&[BATCH], &[4]],
            Op::MatMul(MatMul::default()),
            None,
        ),
        one(
            "columns of the batch",
            &[&[4]],
            Op::MatMul(turned),
            Some(&[BATCH, 4]),
        ),
        one(
            "concat along the batch",
            &[&[3], &[3]],
            Op::Layout(Layout::Concat { axis: 0 }),
            None,
        ),
        one("all in one row", &[&[3]], reshape(&[1, -1]), None),
        one(
            "rows of another length",
            &[&[3, 4]],
            reshape(&[-1, 4]),
            None,
        ),
        one(
            "as many rows as there are elements",
            &[&[3]],
            reshape(&[BATCH as i64, -1]),
            None,
        ),
        one("padded batch", &[&[3]], pad([0, 1]), None),
        one(
            "some of the batch",
            &[&[3]],
            slice_of(0, BATCH as i64 - 1),
            None,
        ),
        one(
            "all of the batch, as it happens",
            &[&[3]],
            slice_of(0, BATCH as i64),
            None,
        ),
        one(
            "broadcast batch",
            &[&[3], &[BATCH, 3]],
            Op::Binary(Binary::Add),
            None,
        ),
        with_size("a weight for each element", BATCH, Op::Binary(Binary::Add)),
        graph("loss", &[&[3], &[3]], |net| {
            let kind = LossKind::MeanSquaredError;
            net.on_inputs(Op::Loss(Loss { kind, grad: false }), None)
        }),
        graph("training", image, |net| {
            let more = [net.x[0], net.weight(&[5]), net.weight(&[5])];
            let role = BatchNorm {
                role: NormRole::Training,
                ..BatchNorm::default()
            };
            net.n += 1;
            let outputs = net
                .b
                .node_many(&format!("node{}", net.n), Op::BatchNorm(role), &more, 3);
            outputs[0]
        }),
        graph("weights that depend on the input", &[&[4]], |net| {
            let w = net.then(reduce(ReduceKind::Mean, &[0], true), &[net.x[0]]);
            net.then(Op::Dense(Dense), &[net.x[0], w])
        }),
        graph("an output without a batch", &[&[4]], |net| {
            let w = net.weight(&[2, 2]);
            net.b.output(w);
            net.then(unary(UnaryKind::Tanh), &[net.x[0]])
        }),
    ]
}

/// Elements of the batch in these tests.
const BATCH: usize = 7;

fn pad(batch: [usize; 2]) -> Op {
    let padding = vec![batch, [0, 0]];
    Op::Layout(Layout::Pad {
        padding,
        value: 0.0,
    })
}

fn slice_of(start: i64, end: i64) -> Op {
    let range = SliceRange {
        start,
        end,
        step: 1,
    };
    let ranges = vec![range, SliceRange::ALL];
    Op::Layout(Layout::Slice { ranges })
}

fn inputs(graph: &Graph, n: usize) -> (Vec<Type>, Vec<Tensor>) {
    let types = graph.input_types(n);
    let drawn = types.iter().enumerate();
    let drawn = drawn
        .map(|(i, t)| numbers(&t.shape, 70 + i as u64))
        .collect();
    (types, drawn)
}

/// Outputs of the second run: what the first leaves in the buffers must not matter.
fn run(plan: Plan, inputs: &[Tensor], threads: usize) -> Vec<Tensor> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(|| {
        let mut executor = Executor::new(plan);
        let refs: Vec<&Tensor> = inputs.iter().collect();
        executor.run(&refs).unwrap();
        let outputs = executor.run(&refs).unwrap();
        (0..outputs.len()).map(|i| outputs.tensor(i)).collect()
    })
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u64>> {
    let of = |t: &Tensor| match t.values::<f32>() {
        Ok(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        Err(_) => t.to_i64s().unwrap().iter().map(|&x| x as u64).collect(),
    };
    tensors.iter().map(of).collect()
}

#[test]
fn slices_change_no_bit() {
    for graph in sliceable() {
        let (types, inputs) = inputs(&graph, BATCH);
        let whole = Plan::in_slices(&graph, &types, BATCH).unwrap();
        assert_eq!(whole.slice(), None, "{}", graph.name());
        let expected = run(whole, &inputs, 1);
        // Balanced: 4 and 3 of 7 need two and three slices.
        for (asked, each) in [(1, 1), (2, 2), (3, 3), (4, 4), (6, 4)] {
            for threads in [1, 2, 3] {
                let plan = Plan::in_slices(&graph, &types, asked).unwrap();
                assert_eq!(plan.slice(), Some(each), "{}", graph.name());
                let found = run(plan, &inputs, threads);
                let name = graph.name();
                assert_eq!(
                    bits(&found),
                    bits(&expected),
                    "{name} by {each} on {threads}"
                );
                assert_eq!(found, expected, "{name}: shapes");
            }
        }
    }
}

#[test]
fn what_mixes_the_batch_stays_whole() {
    for graph in whole() {
        let types = graph.input_types(BATCH);
        for each in 1..BATCH {
            let plan = Plan::in_slices(&graph, &types, each).unwrap();
            assert_eq!(plan.slice(), None, "{} by {each}", graph.name());
        }
        assert_eq!(Plan::new(&graph, &types).unwrap().slice(), None);
    }
}

#[test]
fn a_sum_of_one_long_row_is_sliced_unless_a_slice_is_one_row() {
    // Stated where it matters: `one long sum` is refused for every slice, `long rows, several` for none.
    let several = sliceable()
        .into_iter()
        .find(|g| g.name() == "long rows, several")
        .unwrap();
    let plan = Plan::in_slices(&several, &several.input_types(BATCH), 1).unwrap();
    assert_eq!(plan.slice(), Some(1));
}

#[test]
fn a_batch_takes_the_memory_of_a_slice_for_each_thread() {
    let graph = graph("images", &[&[16, 64, 64]], |net| {
        let mut x = net.x[0];
        for _ in 0..3 {
            let w = net.weight(&[16, 16, 3, 3]);
            x = net.then(Op::Conv(conv()), &[x, w]);
        }
        x
    });
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    let bytes = |plan: Plan| plan.memory().buffers_bytes;
    let types = graph.input_types(32);
    let output = types[0].size_bytes();
    let whole = bytes(Plan::in_slices(&graph, &types, 32).unwrap());
    let one = bytes(Plan::in_slices(&graph, &graph.input_types(1), 1).unwrap());
    for threads in [1, 2, 3] {
        let plan = pool(threads).install(|| {
            let plan = Plan::in_slices(&graph, &types, 1).unwrap();
            plan.memory().buffers_bytes
        });
        assert_eq!(plan, threads * one + output);
    }
    assert!(whole > 32 * one * 9 / 10);
    // The rule finds by itself that a batch of these is too large for a cache.
    assert!(
        Plan::new(&graph, &types)
            .unwrap()
            .slice()
            .is_some_and(|n| n <= 4)
    );
}

#[test]
fn small_dense_networks_stay_whole() {
    let graph = graph("rows", &[&[784]], |net| {
        let w = net.weight(&[300, 784]);
        net.then(Op::Dense(Dense), &[net.x[0], w])
    });
    assert_eq!(Plan::for_batch(&graph, 64).unwrap().slice(), None);
}

#[test]
fn profiles_have_the_steps_of_a_slice_and_errors_tell_where() {
    let graph = sliceable()
        .into_iter()
        .find(|g| g.name() == "embedding")
        .unwrap();
    let (types, inputs) = inputs(&graph, BATCH);
    let mut executor = Executor::new(Plan::in_slices(&graph, &types, 2).unwrap());
    let times = executor.profile(&[&inputs[0]]).unwrap();
    let steps: Vec<_> = executor.plan().steps().collect();
    assert_eq!(times.len(), steps.len());
    assert!(steps.iter().all(|s| s.times == 4));
    let mut far = inputs[0].values::<f32>().unwrap().to_vec();
    far[5 * 6] = 99.0;
    far[3 * 6] = 88.0;
    let far = Tensor::new(&[BATCH, 6], far).unwrap();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let error = pool.install(|| executor.run(&[&far]).map(|_| ()).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Value);
        let text = error.to_string();
        assert!(
            text.contains("880") && text.contains("elements 2..4 of the batch"),
            "{text}"
        );
    }
    // And all is well again afterwards.
    executor.run(&[&inputs[0]]).unwrap();
}
