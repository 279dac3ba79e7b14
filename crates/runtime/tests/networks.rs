//! Whole networks with stored weights, whose layers are fused and packed, against the naive reference.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::layout::SliceRange;
use bantam_core::op::{
    BatchNorm, Binary, Conv, Dense, Layout, MatMul, Pool, PoolKind, Quantize, QuantizeRole, Type,
    Unary,
};
use bantam_core::reference::{Array, evaluate};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, ValueId, arch};
use bantam_runtime::{Choices, Executor, Plan};

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

/// A network under construction, with drawn weights.
struct Net {
    b: GraphBuilder,
    last: ValueId,
    n: u64,
}

impl Net {
    fn new(name: &str, sample: &[usize]) -> Net {
        let mut b = GraphBuilder::new(name);
        let dims = std::iter::once(Dim::batch()).chain(sample.iter().map(|&d| Dim::Fixed(d)));
        let last = b.input("x", DType::F32, dims.collect());
        Net { b, last, n: 0 }
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.n += 1;
        let name = format!("w{}", self.n);
        self.b.weight(&name, numbers(shape, self.n))
    }

    fn then(&mut self, op: Op, more: &[ValueId]) -> &mut Net {
        self.n += 1;
        let inputs = [&[self.last], more].concat();
        self.last = self.b.node(&format!("node{}", self.n), op, &inputs);
        self
    }

    fn conv(&mut self, [from, to, k]: [usize; 3], conv: Conv, bias: bool) -> &mut Net {
        let w = self.weight(&[to, from / conv.groups, k, k]);
        let mut more = vec![w];
        if bias {
            more.push(self.weight(&[to]));
        }
        self.then(Op::Conv(conv), &more)
    }

    fn norm(&mut self, c: usize) -> &mut Net {
        let weights: Vec<ValueId> = (0..3).map(|_| self.weight(&[c])).collect();
        self.n += 1;
        let spread = numbers(&[c], self.n);
        let spread = spread
            .values::<f32>()
            .unwrap()
            .iter()
            .map(|v| v.abs() + 0.1);
        let spread = Tensor::new::<f32>(&[c], spread.collect()).unwrap();
        let var = self.b.weight(&format!("var{}", self.n), spread);
        let more = [weights, vec![var]].concat();
        self.then(Op::BatchNorm(BatchNorm::default()), &more)
    }

    /// Every other row (axis 2) or column (axis 3), from the first on.
    fn every_other(&mut self, axis: usize) -> &mut Net {
        let mut ranges = vec![SliceRange::ALL; 4];
        ranges[axis].step = 2;
        self.then(Op::Layout(Layout::Slice { ranges }), &[])
    }

    /// Channels of zeros before and after.
    fn channels_around(&mut self, channels: [usize; 2]) -> &mut Net {
        let padding = vec![[0, 0], channels, [0, 0], [0, 0]];
        let value = 0.0;
        self.then(Op::Layout(Layout::Pad { padding, value }), &[])
    }

    fn unary(&mut self, kind: UnaryKind) -> &mut Net {
        self.then(Op::Unary(Unary::new(kind)), &[])
    }

    fn finish(mut self) -> Graph {
        self.b.output(self.last);
        self.b.finish().unwrap()
    }
}

fn conv(stride: usize, padding: usize, groups: usize) -> Conv {
    Conv {
        stride: [stride; 2],
        padding: [padding; 4],
        groups,
        ..Conv::default()
    }
}

/// A residual block with batch norms, a shortcut that takes every other row, then every other column, and
/// adds channels, and a classifier.
fn residual() -> Graph {
    let mut net = Net::new("residual", &[3, 12, 10]);
    net.conv([3, 16, 3], conv(1, 1, 1), false)
        .norm(16)
        .unary(UnaryKind::Relu);
    let input = net.last;
    net.conv([16, 24, 3], conv(2, 1, 1), false)
        .norm(24)
        .unary(UnaryKind::Relu6);
    net.conv([24, 24, 3], conv(1, 1, 1), true).norm(24);
    let body = net.last;
    net.last = input;
    net.every_other(2).every_other(3).channels_around([4, 4]);
    let shortcut = net.last;
    net.last = body;
    net.then(Op::Binary(Binary::Add), &[shortcut])
        .unary(UnaryKind::Relu);
    net.then(Op::Pool(Pool::windows(PoolKind::Max, [2, 2])), &[]);
    let shape = vec![0, 24 * 3 * 2];
    net.then(Op::Layout(Layout::Reshape { shape }), &[]);
    let (w, b) = (net.weight(&[7, 144]), net.weight(&[7]));
    net.then(Op::Dense(Dense), &[w, b]);
    net.finish()
}

/// An inverted residual with a depthwise convolution, whose narrow image is read twice.
fn inverted() -> Graph {
    let mut net = Net::new("inverted", &[20, 9, 9]);
    net.conv([20, 33, 1], conv(1, 0, 1), false);
    let narrow = net.last;
    net.conv([33, 70, 1], conv(1, 0, 1), false)
        .norm(70)
        .unary(UnaryKind::Relu6);
    net.conv([70, 70, 5], conv(1, 2, 70), true)
        .norm(70)
        .unary(UnaryKind::Relu6);
    net.conv([70, 33, 1], conv(1, 0, 1), true);
    net.then(Op::Binary(Binary::Add), &[narrow]);
    let average = PoolKind::Average {
        count_include_pad: false,
    };
    net.then(
        Op::Pool(Pool {
            stride: [2; 2],
            padding: [1; 4],
            ..Pool::windows(average, [3, 3])
        }),
        &[],
    );
    net.unary(UnaryKind::Sigmoid);
    net.then(Op::Pool(Pool::global(average)), &[]);
    net.finish()
}

/// Parts of images that others read as well, one of them as an output.
fn cuts() -> Graph {
    let mut net = Net::new("cuts", &[3, 9, 8]);
    net.conv([3, 16, 3], conv(1, 1, 1), true);
    net.every_other(2).every_other(3);
    net.b.output(net.last);
    net.channels_around([3, 0]).every_other(2);
    let seen = net.last;
    net.channels_around([0, 5]).every_other(3);
    let one = net.last;
    net.last = seen;
    net.channels_around([5, 0]).every_other(3);
    net.then(Op::Binary(Binary::Add), &[one]);
    net.finish()
}

/// What must not be fused: a value that is an output as well, weights that are computed, groups, a
/// lower bound after an upper one.
fn not_fused() -> Graph {
    let mut net = Net::new("not fused", &[8, 6, 6]);
    net.conv([8, 12, 3], conv(1, 1, 1), true);
    let seen = net.last;
    net.b.output(seen);
    net.unary(UnaryKind::Relu);
    net.conv([12, 12, 3], conv(1, 1, 3), true);
    let (w, half) = (net.weight(&[12, 12, 1, 1]), net.weight(&[1]));
    let computed = net.b.node("computed", Op::Binary(Binary::Mul), &[w, half]);
    net.then(Op::Conv(conv(1, 0, 1)), &[computed]);
    net.conv([12, 5, 1], conv(1, 0, 1), false);
    net.then(Op::Binary(Binary::Min), &[half]);
    let other = net.weight(&[1]);
    net.then(Op::Binary(Binary::Max), &[other]);
    net.then(Op::Binary(Binary::Add), &[half]);
    net.finish()
}

/// Dense layers and matrix products, with biases added, over two and three axes.
fn matrices() -> Graph {
    let mut net = Net::new("matrices", &[5, 18]);
    let w = net.weight(&[18, 40]);
    net.then(Op::MatMul(MatMul::default()), &[w]);
    let b = net.weight(&[40]);
    net.then(Op::Binary(Binary::Add), &[b])
        .unary(UnaryKind::Relu);
    let w = net.weight(&[11, 40]);
    let turned = MatMul {
        transpose_b: true,
        ..MatMul::default()
    };
    net.then(Op::MatMul(turned), &[w]);
    net.then(Op::Layout(Layout::Reshape { shape: vec![0, 55] }), &[]);
    let w = net.weight(&[55, 9]);
    net.then(Op::MatMul(MatMul::default()), &[w]).norm(9);
    let (w, b) = (net.weight(&[300, 9]), net.weight(&[300]));
    net.then(Op::Dense(Dense), &[w, b])
        .norm(300)
        .unary(UnaryKind::Relu);
    net.finish()
}

fn drawn(name: &str) -> Graph {
    let known = arch::find(name).unwrap();
    let graph = known.graph(known.usual_classes()).unwrap();
    let mut seed = 0;
    let weights = |_: &str, p: &bantam_core::graph::Parameter| {
        seed += 1;
        let (shape, fan) = (p.weight.shape(), p.weight.len() / p.weight.shape()[0]);
        if shape.len() == 1 {
            return Ok(None);
        }
        let scale = (3.0 / fan as f32).sqrt();
        let drawn = numbers(shape, seed);
        let values = drawn.values::<f32>().unwrap().iter().map(|v| v * scale);
        Ok(Some(Tensor::new::<f32>(shape, values.collect())?.into()))
    };
    graph.map_weights(weights).unwrap()
}

impl Net {
    /// Through bytes of so many units in one, and back to numbers.
    fn bytes(&mut self, units: f32, zero_point: u8) -> &mut Net {
        let constant = |net: &mut Net, t: Tensor| {
            net.n += 1;
            let name = format!("c{}", net.n);
            net.b.constant(&name, t)
        };
        let scale = constant(self, Tensor::scalar(1.0 / units));
        let zero = constant(self, Tensor::scalar(zero_point));
        for role in [QuantizeRole::Quantize, QuantizeRole::Dequantize] {
            let op = Op::Quantize(Quantize { role, axis: 1 });
            self.then(op, &[scale, zero]);
        }
        self
    }

    /// Weights of signed bytes, with a power of two as the scale of each output along `axis`.
    fn byte_weight(&mut self, shape: &[usize], axis: usize) -> ValueId {
        self.n += 1;
        let drawn = numbers(shape, self.n);
        let values = drawn
            .values::<f32>()
            .unwrap()
            .iter()
            .map(|x| (x * 127.0) as i8);
        let q = Tensor::new::<i8>(shape, values.collect()).unwrap();
        let scales = (0..shape[axis])
            .map(|o| [1.0, 0.5, 0.25][o % 3] / 64.0)
            .collect();
        let scales = Tensor::new::<f32>(&[shape[axis]], scales).unwrap();
        let inputs = [q, scales, Tensor::zeros(DType::I8, &[shape[axis]])];
        let inputs = inputs.map(|t| {
            self.n += 1;
            let name = format!("q{}", self.n);
            self.b.constant(&name, t)
        });
        let (role, axis) = (QuantizeRole::Dequantize, axis as i64);
        self.n += 1;
        let name = format!("dequantize{}", self.n);
        self.b
            .node(&name, Op::Quantize(Quantize { role, axis }), &inputs)
    }

    fn byte_conv(&mut self, [from, to, k]: [usize; 3], conv: Conv) -> &mut Net {
        let w = self.byte_weight(&[to, from / conv.groups, k, k], 0);
        self.n += 1;
        let bias: Vec<f32> = (0..to).map(|o| o as f32 / 8.0 - 1.0).collect();
        let name = format!("bias{}", self.n);
        let bias = self
            .b
            .constant(&name, Tensor::new::<f32>(&[to], bias).unwrap());
        self.then(Op::Conv(conv), &[w, bias])
    }
}

/// Scales are powers of two, so that sums of numbers are exact and what is computed in bytes must be
/// equal to the last bit.
fn in_bytes() -> Graph {
    let mut net = Net::new("in bytes", &[3, 12, 10]);
    net.bytes(64.0, 128);
    net.byte_conv([3, 16, 3], conv(2, 1, 1))
        .unary(UnaryKind::Relu)
        .bytes(16.0, 0);
    let shortcut = net.last;
    net.byte_conv([16, 40, 1], conv(1, 0, 1))
        .unary(UnaryKind::Relu6)
        .bytes(32.0, 3);
    net.byte_conv([40, 40, 3], conv(1, 1, 40))
        .unary(UnaryKind::Relu6)
        .bytes(32.0, 0);
    net.byte_conv([40, 16, 1], conv(1, 0, 1));
    net.then(Op::Binary(Binary::Add), &[shortcut])
        .bytes(4.0, 100);
    net.then(Op::Pool(Pool::windows(PoolKind::Max, [2, 2])), &[])
        .bytes(4.0, 100);
    let pooled = net.last;
    net.byte_conv([16, 16, 3], conv(1, 1, 1));
    // Added to numbers, and the bytes are read as numbers as well.
    net.then(Op::Binary(Binary::Add), &[pooled])
        .unary(UnaryKind::Relu);
    net.then(Op::Binary(Binary::Add), &[pooled]);
    net.then(Op::Layout(Layout::Reshape { shape: vec![0, 96] }), &[]);
    net.bytes(2.0, 60);
    let w = net.byte_weight(&[96, 24], 1);
    net.then(Op::MatMul(MatMul::default()), &[w])
        .unary(UnaryKind::Relu)
        .bytes(1.0, 9);
    let w = net.byte_weight(&[7, 24], 0);
    net.then(Op::Dense(Dense), &[w]);
    net.finish()
}

/// Quantized weights alone, bytes that are an output, and bytes whose scales differ by channel.
fn not_in_bytes() -> Graph {
    let mut net = Net::new("not in bytes", &[4, 6, 6]);
    net.byte_conv([4, 8, 3], conv(1, 1, 1))
        .unary(UnaryKind::Relu);
    let scales: Vec<f32> = (0..8).map(|c| 1.0 / f32::from(1u8 << (c % 4))).collect();
    let scales = net
        .b
        .constant("scales", Tensor::new::<f32>(&[8], scales).unwrap());
    let zeros = net.b.constant("zeros", Tensor::zeros(DType::U8, &[8]));
    for role in [QuantizeRole::Quantize, QuantizeRole::Dequantize] {
        net.then(Op::Quantize(Quantize { role, axis: 1 }), &[scales, zeros]);
    }
    net.byte_conv([8, 5, 3], conv(1, 1, 1));
    let (one, zero) = (
        net.b.constant("one", Tensor::scalar(1f32)),
        net.b.constant("zero", Tensor::scalar(7u8)),
    );
    let role = QuantizeRole::Quantize;
    net.then(Op::Quantize(Quantize { role, axis: 1 }), &[one, zero]);
    net.b.output(net.last);
    let role = QuantizeRole::Dequantize;
    net.then(Op::Quantize(Quantize { role, axis: 1 }), &[one, zero]);
    net.byte_conv([5, 5, 1], conv(1, 0, 1));
    net.finish()
}

#[test]
fn networks_of_bytes_are_exact() {
    for graph in [in_bytes(), not_in_bytes()] {
        for n in [1, 3] {
            let (x, found) = run(&graph, n, 1);
            let expected = evaluate(&graph, &[Array::from(&x)]).unwrap();
            for (f, e) in found.iter().zip(&expected) {
                let f = Array::from(f);
                assert_eq!(
                    (&f.shape, &f.values),
                    (&e.shape, &e.values),
                    "{} {n}",
                    graph.name()
                );
                let distinct: std::collections::BTreeSet<u64> =
                    f.values.iter().map(|v| v.to_bits()).collect();
                assert!(distinct.len() > 4, "{}: all the same", graph.name());
            }
            assert_eq!(run(&graph, n, 3).1, found, "{}", graph.name());
        }
    }
    let plan = Plan::for_batch(&in_bytes(), 1).unwrap();
    let kernels: Vec<String> = plan.steps().map(|s| s.kernel).collect();
    let count = |what: &str| kernels.iter().filter(|k| k.starts_with(what)).count();
    assert_eq!(
        count("int8, tiles") + count("int8 to f32"),
        6,
        "{kernels:?}"
    );
    assert_eq!(
        (count("int8 depthwise"), count("int8 pool")),
        (1, 1),
        "{kernels:?}"
    );
    assert_eq!(
        (count("quantize"), count("Quant"), count("Dequant")),
        (2, 0, 0),
        "{kernels:?}"
    );
}

fn run(graph: &Graph, n: usize, threads: usize) -> (Tensor, Vec<Tensor>) {
    let types: Vec<Type> = graph.input_types(n);
    let x = numbers(&types[0].shape, 77);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let found = pool.install(|| {
        let mut executor = Executor::new(Plan::new(graph, &types).unwrap());
        // Twice: what the first run leaves in the buffers must not matter.
        executor.run(&[&x]).unwrap();
        let inputs = [&x];
        let outputs = executor.run(&inputs).unwrap();
        (0..outputs.len()).map(|i| outputs.tensor(i)).collect()
    });
    (x, found)
}

#[test]
fn networks_agree_with_the_reference() {
    let nets = [
        residual(),
        inverted(),
        cuts(),
        not_fused(),
        matrices(),
        drawn("lenet-300-100"),
        drawn("lenet-5-caffe"),
        drawn("resnet20-cifar"),
    ];
    for graph in nets {
        for n in [1, 3] {
            let (x, found) = run(&graph, n, 1);
            let expected = evaluate(&graph, &[Array::from(&x)]).unwrap();
            assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(&expected) {
                let f = Array::from(f);
                assert_eq!(f.shape, e.shape, "{}", graph.name());
                let most = e.values.iter().fold(0f64, |m, v| m.max(v.abs()));
                for (a, b) in f.values.iter().zip(&e.values) {
                    let name = graph.name();
                    assert!(
                        (a - b).abs() <= 2e-6 * most,
                        "{name}, {n}: {a} for {b} of {most}"
                    );
                }
            }
            for threads in [2, 3] {
                assert_eq!(
                    run(&graph, n, threads).1,
                    found,
                    "{} {threads}",
                    graph.name()
                );
            }
        }
    }
}

#[test]
fn tuning_changes_no_bit_and_is_remembered() {
    let nets = [
        residual(),
        inverted(),
        drawn("lenet-5-caffe"),
        drawn("resnet20-cifar"),
    ];
    for graph in nets {
        let types = graph.input_types(2);
        let x = numbers(&types[0].shape, 5);
        let plan = Plan::new(&graph, &types).unwrap();
        let answer = |plan: Plan| Executor::new(plan).run(&[&x]).unwrap().tensor(0);
        let expected = answer(plan.clone());
        let mut choices = Choices::default();
        let mut tuned = plan.clone();
        let tuned_steps = tuned.tune(&mut choices, true);
        assert_eq!(tuned_steps.len(), tuned.steps().count());
        assert!(
            !choices.0.is_empty(),
            "{}: no layer has a choice",
            graph.name()
        );
        assert_eq!(answer(tuned), expected, "{}", graph.name());
        // The slowest of what was measured, as if read from a file.
        for choice in choices.0.values_mut() {
            let times = choice.candidates.iter().map(|c| c.nanoseconds);
            choice.chosen = times.enumerate().max_by_key(|&(_, t)| t).unwrap().0;
        }
        let (before, mut slow) = (choices.clone(), plan);
        slow.tune(&mut choices, true);
        assert_eq!(choices, before, "what is known is not measured again");
        assert_eq!(answer(slow), expected, "{}", graph.name());
    }
}

/// Of ResNet-20 all convolutions of 3 by 3 taps without steps but the first, which has three channels, in
/// whatever batch: otherwise an answer would depend on the others.
#[test]
fn fast_convolutions_are_taken_by_shapes_alone() {
    let graph = drawn("resnet20-cifar");
    let batch = numbers(&graph.input_types(5)[0].shape, 9);
    let pixels = batch.values::<f32>().unwrap();
    let answers = |n: usize, x: &[f32]| {
        let types = graph.input_types(n);
        let plan = Plan::in_slices(&graph, &types, n).unwrap();
        let (mut fast, mut macs, mut kernel_macs) = (0, 0, 0);
        for step in plan.steps() {
            let is_fast = step.kernel.starts_with("winograd, tiles of");
            assert_eq!(is_fast, step.kernel_macs < step.macs, "{step:?}");
            fast += usize::from(is_fast);
            (macs, kernel_macs) = (macs + step.macs, kernel_macs + step.kernel_macs);
        }
        assert_eq!(fast, 16, "of {n} images");
        assert!(3 * kernel_macs < macs, "{kernel_macs} of {macs}");
        let x = Tensor::new::<f32>(&types[0].shape, x.to_vec()).unwrap();
        let mut executor = Executor::new(plan);
        let inputs = [&x];
        executor.run(&inputs).unwrap().values::<f32>(0).to_vec()
    };
    let apart = pixels.chunks(pixels.len() / 5).flat_map(|x| answers(1, x));
    assert_eq!(answers(5, pixels), apart.collect::<Vec<_>>());
}

#[test]
fn a_profile_has_a_time_for_each_step() {
    let graph = residual();
    let types = graph.input_types(1);
    let x = numbers(&types[0].shape, 5);
    let mut executor = Executor::new(Plan::new(&graph, &types).unwrap());
    let times = executor.profile(&[&x]).unwrap();
    let steps: Vec<_> = executor.plan().steps().collect();
    assert_eq!(times.len(), steps.len());
    let kernels: Vec<&str> = steps.iter().map(|s| &s.kernel[..]).collect();
    // Four convolutions would be eleven nodes; the sum and what follows went into one of them.
    assert_eq!(
        kernels.iter().filter(|k| k.starts_with("packed")).count(),
        4,
        "{kernels:?}"
    );
    assert!(
        kernels.iter().any(|k| k.ends_with("+ add + clamp")),
        "{kernels:?}"
    );
    assert!(steps.iter().map(|s| s.macs).sum::<u64>() > 0);
}

/// Parts of parts of an image are taken in one step, unless others read what is between.
#[test]
fn cuts_that_follow_each_other_are_one_step() {
    for (graph, expected) in [(residual(), 1), (cuts(), 4), (drawn("resnet20-cifar"), 2)] {
        let plan = Plan::for_batch(&graph, 2).unwrap();
        let takes = plan.steps().filter(|s| s.kernel == "take").count();
        assert_eq!(takes, expected, "{}", graph.name());
    }
}

/// Outputs can still be read when the inputs are gone, but for an input that is handed on.
#[test]
fn outputs_stay_with_the_executor() {
    let mut net = Net::new("kept", &[3]);
    let x = net.last;
    let rectify = Op::Unary(Unary::new(UnaryKind::Relu));
    let relu = net.then(rectify, &[]).last;
    let same = net.b.node("same", Op::identity(), &[x]);
    net.b.output(relu);
    net.b.output(same);
    let graph = net.b.finish().unwrap();
    let mut executor = Executor::new(Plan::for_batch(&graph, 2).unwrap());
    let input = Tensor::new(&[2, 3], vec![1.0f32, -2.0, 3.0, -4.0, 5.0, -6.0]).unwrap();
    let inputs = [&input];
    let outputs = executor.run(&inputs).unwrap();
    assert_eq!([0, 1].map(|i| outputs.is_input(i)), [false, true]);
    assert_eq!(outputs.values::<f32>(1), input.values::<f32>().unwrap());
    drop(input);
    let kept = executor.last_output::<f32>(0);
    assert_eq!(kept, Some(&[1.0, 0.0, 3.0, 0.0, 5.0, 0.0][..]));
    assert_eq!(executor.last_output::<f32>(1), None);
}
