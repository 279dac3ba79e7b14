//! Small networks for tests.

use bantam_core::op::elementwise::{Binary, Unary, UnaryKind};
use bantam_core::op::{BatchNorm, Conv, Layout, Pool, PoolKind, Type};
use bantam_core::reference::{Array, evaluate};
use bantam_core::{Codebook, DType, Dim, Graph, GraphBuilder, Masked, Op, Tensor, ValueId, Weight};

pub(crate) use bantam_core::op::Dense;

/// A rectifier.
pub(crate) fn relu(b: &mut GraphBuilder, name: &str, x: ValueId) -> ValueId {
    b.node(name, Op::Unary(Unary::new(UnaryKind::Relu)), &[x])
}

/// Dense layers `fc0`, `fc1`, … of the given sizes with rectifiers between them.
pub(crate) fn mlp(
    sizes: &[usize],
    weights: impl Fn(usize) -> Vec<f32>,
    biases: impl Fn(usize) -> Vec<f32>,
) -> Graph {
    let mut b = GraphBuilder::new("mlp");
    let mut x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(sizes[0])]);
    for (i, pair) in sizes.windows(2).enumerate() {
        let w = Tensor::new(&[pair[1], pair[0]], weights(i)).unwrap();
        let w = b.weight(&format!("fc{i}.weight"), w);
        let bias = Tensor::new(&[pair[1]], biases(i)).unwrap();
        let bias = b.weight(&format!("fc{i}.bias"), bias);
        x = b.node(&format!("fc{i}"), Op::Dense(Dense), &[x, w, bias]);
        if i + 2 < sizes.len() {
            x = relu(&mut b, &format!("relu{i}"), x);
        }
    }
    b.output(x);
    b.finish().unwrap()
}

/// The decoded values of a parameter.
pub(crate) fn values(graph: &Graph, name: &str) -> Vec<f32> {
    let p = graph.parameter(name).unwrap();
    p.weight.tensor().values::<f32>().unwrap().to_vec()
}

/// A fixed stream of numbers in `[-1, 1)` (SplitMix64).
pub(crate) struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A whole number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.next() + 1.0) * 0.5 * n as f32) as usize % n
    }

    /// The next `n` numbers.
    pub(crate) fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// LeNet-5 as in Caffe, without activations after the convolutions: 430,500 weights.
pub(crate) fn lenet(noise: &mut Noise) -> Graph {
    let mut b = GraphBuilder::new("lenet5");
    let image = [1, 28, 28].map(Dim::Fixed);
    let mut x = b.input(
        "x",
        DType::F32,
        [vec![Dim::batch()], image.to_vec()].concat(),
    );
    let mut layer = |b: &mut GraphBuilder, name: &str, shape: &[usize], x: ValueId| {
        let w = Tensor::new(shape, noise.take(shape.iter().product())).unwrap();
        let w = b.weight(&format!("{name}.weight"), w);
        let bias = Tensor::new(&shape[..1], noise.take(shape[0])).unwrap();
        let bias = b.weight(&format!("{name}.bias"), bias);
        let op = match shape.len() {
            2 => Op::Dense(Dense),
            _ => Op::Conv(Conv::default()),
        };
        b.node(name, op, &[x, w, bias])
    };
    for (name, shape) in [("conv1", [20, 1, 5, 5]), ("conv2", [50, 20, 5, 5])] {
        x = layer(&mut b, name, &shape, x);
        let pool = Pool::windows(PoolKind::Max, [2, 2]);
        x = b.node(&format!("{name}.pool"), Op::Pool(pool), &[x]);
    }
    let shape = vec![-1, 800];
    x = b.node("flatten", Op::Layout(Layout::Reshape { shape }), &[x]);
    x = layer(&mut b, "fc1", &[500, 800], x);
    x = relu(&mut b, "relu", x);
    x = layer(&mut b, "fc2", &[10, 500], x);
    b.output(x);
    b.finish().unwrap()
}

/// A small network of convolutions and dense layers of random kinds with many dead units.
pub(crate) fn random(seed: u64) -> Graph {
    let mut noise = Noise(seed);
    let mut b = GraphBuilder::new("random");
    let mut n = 0;
    let mut shape = vec![1 + noise.below(2), 7 + noise.below(3), 7 + noise.below(3)];
    let dims = shape.iter().map(|&d| Dim::Fixed(d));
    let mut x = b.input(
        "x",
        DType::F32,
        [Dim::batch()].into_iter().chain(dims).collect(),
    );
    for _ in 0..1 + noise.below(2) {
        let (c, k, p) = (1 + noise.below(4), 1 + noise.below(3), noise.below(2));
        x = layer(&mut b, &mut noise, &mut n, x, &[c, shape[0], k, k], p);
        shape = vec![c, shape[1] + 2 * p + 1 - k, shape[2] + 2 * p + 1 - k];
        x = between(&mut b, &mut noise, &mut n, x, c);
        if noise.below(2) == 0 {
            let kind = match noise.below(3) {
                0 => PoolKind::Max,
                i => PoolKind::Average {
                    count_include_pad: i == 1,
                },
            };
            let padding = [noise.below(2); 4];
            let pool = Pool {
                padding,
                stride: [1, 1],
                ..Pool::windows(kind, [2, 2])
            };
            n += 1;
            x = b.node(&format!("pool{n}"), Op::Pool(pool), &[x]);
            (shape[1], shape[2]) = (shape[1] + 2 * padding[0] - 1, shape[2] + 2 * padding[0] - 1);
        }
    }
    let mut width: usize = shape.iter().product();
    let spec = match noise.below(2) {
        0 => vec![0, -1],
        _ => vec![-1, width as i64],
    };
    x = b.node("flatten", Op::Layout(Layout::Reshape { shape: spec }), &[x]);
    if noise.below(3) == 0 {
        x = between(&mut b, &mut noise, &mut n, x, width);
    }
    for _ in 0..noise.below(3) {
        let units = 1 + noise.below(5);
        x = layer(&mut b, &mut noise, &mut n, x, &[units, width], 0);
        x = between(&mut b, &mut noise, &mut n, x, units);
        width = units;
    }
    x = layer(&mut b, &mut noise, &mut n, x, &[2, width], 0);
    b.output(x);
    b.finish().unwrap()
}

/// A layer with some dead rows and columns, in a random form, with or without a bias.
fn layer(
    b: &mut GraphBuilder,
    noise: &mut Noise,
    n: &mut usize,
    x: ValueId,
    shape: &[usize],
    padding: usize,
) -> ValueId {
    *n += 1;
    let row: usize = shape[1..].iter().product();
    let inner: usize = shape[2..].iter().product();
    let mut w = noise.take(shape[0] * row);
    let (dead_rows, dead_columns) = (noise.take(shape[0]), noise.take(shape[1]));
    for (i, v) in w.iter_mut().enumerate() {
        if dead_rows[i / row] > 0.4 || dead_columns[i % row / inner] > 0.4 || *v > 0.7 {
            *v = 0.0;
        }
    }
    let w = form(noise, Tensor::new(shape, w).unwrap());
    let mut inputs = vec![x, b.weight(&format!("w{n}"), w)];
    if noise.below(3) > 0 {
        let bias = Tensor::new(&shape[..1], noise.take(shape[0])).unwrap();
        let bias = form(noise, bias);
        inputs.push(b.weight(&format!("b{n}"), bias));
    }
    let conv = Conv {
        padding: [padding; 4],
        ..Conv::default()
    };
    let op = if shape.len() == 2 {
        Op::Dense(Dense)
    } else {
        Op::Conv(conv)
    };
    b.node(&format!("layer{n}"), op, &inputs)
}

fn form(noise: &mut Noise, t: Tensor) -> Weight {
    let v = t.values::<f32>().unwrap().to_vec();
    match noise.below(3) {
        0 => Weight::Dense(t),
        1 => Weight::Masked(Masked::new(&t, v.iter().map(|&x| x != 0.0).collect()).unwrap()),
        _ => {
            let index = |&x: &f32| {
                if x == 0.0 {
                    0
                } else {
                    1 + ((x + 1.0) * 3.99) as u8
                }
            };
            let entries = (0..9)
                .map(|i| if i == 0 { 0.0 } else { (i as f32 - 4.5) / 4.0 })
                .collect();
            let book = Codebook::new(t.shape(), entries, v.iter().map(index).collect());
            Weight::Codebook(book.unwrap())
        }
    }
}

/// What may stand between layers.
fn between(
    b: &mut GraphBuilder,
    noise: &mut Noise,
    n: &mut usize,
    x: ValueId,
    c: usize,
) -> ValueId {
    *n += 1;
    let name = format!("between{n}");
    let unary = |b: &mut GraphBuilder, kind| b.node(&name, Op::Unary(Unary::new(kind)), &[x]);
    match noise.below(7) {
        0 => x,
        1 => unary(b, UnaryKind::Tanh),
        2 => unary(b, UnaryKind::Sigmoid),
        3 => {
            let gate = unary(b, UnaryKind::Sigmoid);
            b.node(
                &format!("{name}.gated"),
                Op::Binary(Binary::Mul),
                &[x, gate],
            )
        }
        4 => {
            let mut each = |what: &str, low: f32| {
                let v: Vec<f32> = noise.take(c).iter().map(|v| (v + 0.2).max(low)).collect();
                b.weight(&format!("{name}.{what}"), Tensor::new(&[c], v).unwrap())
            };
            let (gamma, beta) = (each("gamma", 0.0), each("beta", -9.0));
            let (mean, var) = (each("mean", -9.0), each("var", 0.1));
            b.node(
                &name,
                Op::BatchNorm(BatchNorm::default()),
                &[x, gamma, beta, mean, var],
            )
        }
        _ => unary(b, UnaryKind::Relu),
    }
}

/// Asserts that two networks agree on random inputs to 1e-5 of the largest output.
pub(crate) fn assert_same_outputs(a: &Graph, b: &Graph, what: &str) {
    let mut noise = Noise(99);
    let types = a.input_types(3);
    let random = |t: &Type| {
        let values = noise.take(t.len()).into_iter().map(f64::from).collect();
        Array::new(&t.shape, values)
    };
    let inputs: Vec<Array> = types.iter().map(random).collect();
    let (before, after) = (evaluate(a, &inputs).unwrap(), evaluate(b, &inputs).unwrap());
    assert_eq!(before.len(), after.len(), "{what}");
    for (x, y) in before.iter().zip(&after) {
        assert_eq!(x.shape, y.shape, "{what}");
        let scale = x.values.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
        for (x, y) in x.values.iter().zip(&y.values) {
            assert!(
                (x - y).abs() < 1e-5 * scale,
                "{what}: {x} and {y} of {scale}\n{a}\n{b}"
            );
        }
    }
}

/// Times of one pass over LeNet-5 (430,500 weights), best of five:
/// `cargo test --release -p bantam-compress speed -- --ignored --nocapture`.
#[test]
#[ignore = "a benchmark"]
fn speed() {
    use crate::{CodebookOptions, Init, Magnitude, crop, order_units, prune, quantize};
    fn best_ms<T>(what: &str, limit_ms: f64, mut f: impl FnMut() -> T) -> T {
        let mut times = Vec::new();
        let mut result = None;
        for _ in 0..5 {
            let start = std::time::Instant::now();
            result = Some(f());
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let best = times.iter().copied().fold(f64::MAX, f64::min);
        println!("{what:<28} {best:8.1} ms");
        assert!(
            best < limit_ms,
            "{what}: {best} ms, expected less than {limit_ms}"
        );
        result.expect("five runs")
    }
    let dense = lenet(&mut Noise(1));
    let magnitude = Magnitude {
        fraction: 0.9,
        ..Magnitude::default()
    };
    let pruned = best_ms("prune", 500.0, || prune(&dense, &magnitude).unwrap());
    for init in [
        Init::Linear,
        Init::Density,
        Init::PlusPlus { seed: 1 },
        Init::Optimal,
    ] {
        for (what, g) in [("dense", &dense), ("10 %", &pruned)] {
            let options = CodebookOptions {
                init,
                ..CodebookOptions::default()
            };
            let what = format!("quantize {what} {init:?}");
            best_ms(&what, 500.0, || quantize(g, &options).unwrap());
        }
    }
    best_ms("crop", 500.0, || crop(&pruned).unwrap());
    best_ms("order dense", 500.0, || order_units(&dense).unwrap());
    best_ms("order 10 %", 500.0, || order_units(&pruned).unwrap());
}
