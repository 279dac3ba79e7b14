//! Models for the tests: one of each operator, and ones like those that ship.

use super::*;

/// SplitMix64, so that every run sees the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal, variance 1.
    pub(super) fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| self.uniform()).sum();
        (sum - 6.0) as f32
    }

    pub(super) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

pub(super) fn tensor(random: &mut Random, shape: &[usize]) -> Tensor {
    Tensor::new(shape, random.values(shape.iter().product())).unwrap()
}

/// A weight pruned to `density` with `n` shared values on either side of zero.
pub(super) fn pruned(random: &mut Random, shape: &[usize], density: f64, n: usize) -> Weight {
    let len: usize = shape.iter().product();
    let rows = shape[0];
    let cols = len / rows;
    let mut entries: Vec<f32> = (0..2 * n).map(|_| 0.3 * random.normal()).collect();
    entries.push(0.0);
    entries.sort_unstable_by(f32::total_cmp);
    entries.dedup();
    let zero = entries.iter().position(|e| *e == 0.0).unwrap();
    entries.remove(zero);
    entries.insert(0, 0.0);
    // Rows and columns of a pruned network differ much in density.
    let row: Vec<f64> = (0..rows).map(|_| 2.0 * random.uniform()).collect();
    let col: Vec<f64> = (0..cols).map(|_| 2.0 * random.uniform()).collect();
    let mut index = |i: usize| match random.uniform() < density * row[i / cols] * col[i % cols] {
        true => 1 + random.below(entries.len() - 1) as u8,
        false => 0,
    };
    let indices = (0..len).map(&mut index).collect();
    Weight::Codebook(Codebook::new(shape, entries, indices).unwrap())
}

fn masked(random: &mut Random, shape: &[usize]) -> Weight {
    let values = tensor(random, shape);
    let keep = (0..values.len()).map(|_| random.below(3) == 0).collect();
    Weight::Masked(Masked::new(&values, keep).unwrap())
}

/// A multilayer perceptron with `sizes` units.
pub(super) fn perceptron(name: &str, sizes: &[usize], densities: &[f64], n_shared: usize) -> Graph {
    let mut random = Random(sizes.len() as u64);
    let mut b = GraphBuilder::new(name);
    let mut x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(sizes[0])]);
    for (i, pair) in sizes.windows(2).enumerate() {
        let w = pruned(&mut random, &[pair[1], pair[0]], densities[i], n_shared);
        let bias = random.values(pair[1]).iter().map(|v| 0.1 * v).collect();
        let w = b.weight(&format!("dense{}.weight", i + 1), w);
        let bias: Vec<f32> = bias;
        let bias = b.weight(
            &format!("dense{}.bias", i + 1),
            Tensor::new(&[pair[1]], bias).unwrap(),
        );
        x = b.node(&format!("dense{}", i + 1), Op::Dense(Dense), &[x, w, bias]);
        if i + 2 < sizes.len() {
            x = b.node(&format!("relu{}", i + 1), unary(UnaryKind::Relu), &[x]);
        }
    }
    b.output(x);
    b.finish().unwrap()
}

pub(super) fn unary(kind: UnaryKind) -> Op {
    Op::Unary(Unary::new(kind))
}

fn names(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|s| s.to_string()).collect()
}

fn numeric(offset: f32, scale: f32, missing: bool) -> Encoding {
    Encoding::Numeric {
        offset,
        scale,
        missing,
    }
}

fn one_hot(categories: &[&str], missing: bool) -> Encoding {
    Encoding::OneHot {
        categories: names(categories),
        missing,
    }
}

pub(super) fn titanic() -> Model {
    let column = |(name, encoding): (&str, Encoding)| ColumnSchema {
        name: name.into(),
        encoding,
    };
    let decks = ["A", "B", "C", "D", "E", "F", "G", "T"];
    let titles = [
        "Mr", "Mrs", "Miss", "Master", "Dr", "Rev", "Major", "Col", "Sir", "Don",
    ];
    let columns = [
        ("Pclass", one_hot(&["1", "2", "3"], false)),
        ("Title", one_hot(&titles, true)),
        ("Sex", one_hot(&["female", "male"], false)),
        ("Age", numeric(29.699118, 0.06884, true)),
        ("SibSp", numeric(0.5230079, 0.90681, false)),
        ("Parch", numeric(0.3815937, 1.24059, false)),
        ("Fare", numeric(32.2042, 0.020123, false)),
        ("Cabin", one_hot(&decks, true)),
        ("Embarked", one_hot(&["C", "Q", "S"], true)),
        ("FamilySize", numeric(1.9046, 0.61973, false)),
    ];
    let schema = Schema {
        input: InputSchema::Table {
            columns: columns.into_iter().map(column).collect(),
        },
        target: TargetSchema {
            name: "Survived".into(),
            kind: TargetKind::Classes(names(&["0", "1"])),
        },
    };
    let graph = perceptron("titanic", &[schema.width(), 20, 2], &[0.25, 0.6], 8);
    Model {
        graph,
        schema: Some(schema),
        notes: Vec::new(),
    }
}

pub(super) fn digits() -> Model {
    let mut random = Random(64);
    let column = |i: usize| {
        let offset = 8.0 * random.uniform() as f32;
        let scale = 0.16 + 0.3 * random.uniform() as f32;
        ColumnSchema {
            name: format!("c{i}"),
            encoding: numeric(offset, scale, false),
        }
    };
    let columns = (0..64).map(column).collect();
    let labels = (0..10).map(|i| i.to_string()).collect();
    let schema = Schema {
        input: InputSchema::Table { columns },
        target: TargetSchema {
            name: "digit".into(),
            kind: TargetKind::Classes(labels),
        },
    };
    let graph = perceptron("digits", &[64, 96, 10], &[0.34, 0.45], 4);
    Model {
        graph,
        schema: Some(schema),
        notes: Vec::new(),
    }
}

pub(super) fn lenet() -> Model {
    let graph = perceptron("lenet", &[784, 300, 100, 10], &[0.04, 0.06, 0.25], 8);
    let labels = (0..10).map(|i| i.to_string()).collect();
    let schema = Schema {
        input: InputSchema::Array {
            shape: vec![784],
            offset: 0.0,
            scale: 1.0,
        },
        target: TargetSchema {
            name: "label".into(),
            kind: TargetKind::Classes(labels),
        },
    };
    Model {
        graph,
        schema: Some(schema),
        notes: Vec::new(),
    }
}

/// Every operator that the format knows, in one graph, and every kind of weight.
pub(super) fn all_operators() -> Graph {
    let mut random = Random(1);
    let mut b = GraphBuilder::new("all operators");
    let f32s = |dims: &[usize]| dims.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>();
    let image = b.input("image", DType::F32, f32s(&[2, 4, 6, 6]));
    let rows = b.input("rows", DType::F32, vec![Dim::batch(), Dim::Fixed(6)]);
    let labels = b.input("labels", DType::I64, vec![Dim::batch()]);
    let odd = b.input(
        "odd",
        DType::U8,
        vec![Dim::Symbol("k".into()), Dim::Fixed(0)],
    );
    let seed = b.input("seed", DType::I64, vec![]);
    let mut outputs = vec![odd];

    let w = masked(&mut random, &[5, 6]);
    let w = b.weight("dense.w", w);
    let bias = pruned(&mut random, &[5], 0.9, 3);
    let bias = b.weight("dense.b", bias);
    let logits = b.node("dense", Op::Dense(Dense), &[rows, w, bias]);
    let no_bias = b.node("", Op::Dense(Dense), &[rows, w]);
    outputs.push(no_bias);
    for (i, (a, t)) in [(false, false), (true, false), (false, true), (true, true)]
        .into_iter()
        .enumerate()
    {
        let left = tensor(&mut random, if a { &[6, 2, 6] } else { &[6, 6, 2] });
        let right = tensor(&mut random, if t { &[3, 2] } else { &[2, 3] });
        let (left, right) = (
            b.weight(&format!("l{i}"), left),
            b.constant(&format!("r{i}"), right),
        );
        // Products of constants are allowed.
        let op = Op::MatMul(MatMul {
            transpose_a: a,
            transpose_b: t,
        });
        outputs.push(b.node(&format!("product{i}"), op, &[left, right]));
    }
    conv_and_pool(&mut b, &mut random, image, &mut outputs);
    norms(&mut b, &mut random, image, &mut outputs);
    elementwise(&mut b, rows, &mut outputs);
    layouts(&mut b, rows, image, &mut outputs);
    reductions(&mut b, rows, &mut outputs);

    let table = b.weight("table", Tensor::new(&[3, 2], vec![0.0f32; 6]).unwrap());
    let wide = b.constant("wide", Tensor::new(&[2], vec![i64::MIN, i64::MAX]).unwrap());
    let small = b.constant("small", Tensor::new(&[3], vec![0u8, 1, 255]).unwrap());
    let double = b.constant(
        "double",
        Tensor::new(&[2], vec![f64::MIN_POSITIVE, -0.0]).unwrap(),
    );
    let y = b.node(
        "gather1",
        Op::Gather(Gather {
            axis: 0,
            grad: false,
        }),
        &[table, small],
    );
    let dy = b.node(
        "gather2",
        Op::Gather(Gather {
            axis: 0,
            grad: true,
        }),
        &[y, small, table],
    );
    outputs.extend([dy, wide, double]);
    let mask = Op::Dropout(Dropout::Mask {
        ratio: 0.25,
        stream: u32::MAX,
    });
    outputs.push(b.node("mask", mask, &[rows, seed]));
    outputs.push(b.node(
        "dropout",
        Op::Dropout(Dropout::Identity { ratio: 0.5 }),
        &[rows],
    ));
    let one = b.constant("one", Tensor::scalar(1.0f32));
    for kind in [
        LossKind::CrossEntropy {
            label_smoothing: 0.1,
        },
        LossKind::MeanSquaredError,
        LossKind::BinaryCrossEntropy,
    ] {
        let target = if let LossKind::CrossEntropy { .. } = kind {
            labels
        } else {
            logits
        };
        outputs.push(b.node(
            &b.fresh("loss"),
            Op::Loss(Loss { kind, grad: false }),
            &[logits, target],
        ));
        let op = Op::Loss(Loss { kind, grad: true });
        outputs.push(b.node(&b.fresh("loss"), op, &[logits, target, one]));
    }
    for (log, grad) in [(false, false), (true, false), (false, true), (true, true)] {
        let inputs = if grad {
            vec![logits, logits]
        } else {
            vec![logits]
        };
        outputs.push(b.node(
            &b.fresh("softmax"),
            Op::Softmax(Softmax {
                axis: -1,
                log,
                grad,
            }),
            &inputs,
        ));
    }
    outputs.iter().for_each(|&v| b.output(v));
    b.finish().unwrap()
}

fn conv_and_pool(
    b: &mut GraphBuilder,
    random: &mut Random,
    x: ValueId,
    outputs: &mut Vec<ValueId>,
) {
    for (i, conv) in [
        Conv::default(),
        Conv {
            stride: [2, 1],
            padding: [1, 0, 1, 2],
            ..Conv::default()
        },
        Conv {
            dilation: [1, 2],
            groups: 2,
            padding: [300, 0, 0, 0],
            ..Conv::default()
        },
    ]
    .into_iter()
    .enumerate()
    {
        let w = pruned(random, &[6, 4 / conv.groups, 3, 2], 0.4, 2);
        let w = b.weight(&format!("conv{i}.weight"), w);
        let y = b.node(&format!("conv{i}"), Op::Conv(conv), &[x, w]);
        let input = Op::Conv(conv.with_role(ConvRole::GradInput));
        let weight = Op::Conv(conv.with_role(ConvRole::GradWeight));
        outputs.push(b.node(&format!("conv{i}.dx"), input, &[y, w, x]));
        outputs.push(b.node(&format!("conv{i}.dw"), weight, &[x, y, w]));
    }
    for kind in [
        PoolKind::Max,
        PoolKind::Average {
            count_include_pad: false,
        },
        PoolKind::Average {
            count_include_pad: true,
        },
    ] {
        for pool in [
            Pool::global(kind),
            Pool::windows(kind, [2, 3]),
            Pool {
                stride: [1, 2],
                padding: [1, 0, 1, 0],
                ..Pool::windows(kind, [2, 2])
            },
        ] {
            let y = b.node(&b.fresh("pool"), Op::Pool(pool), &[x]);
            let grad = Op::Pool(Pool { grad: true, ..pool });
            outputs.push(b.node(&b.fresh("pool"), grad, &[x, y]));
        }
    }
}

fn norms(b: &mut GraphBuilder, random: &mut Random, x: ValueId, outputs: &mut Vec<ValueId>) {
    let mut vector = |b: &mut GraphBuilder, name: &str| b.weight(name, tensor(random, &[4]));
    let [gamma, beta] = ["gamma", "beta"].map(|name| vector(b, name));
    let [mean, var] = ["mean", "var"].map(|name| vector(b, name));
    let norm = BatchNorm {
        epsilon: 1e-3,
        momentum: 0.0,
        ..BatchNorm::default()
    };
    outputs.push(b.node("norm", Op::BatchNorm(norm), &[x, gamma, beta, mean, var]));
    let training = Op::BatchNorm(norm.with_role(NormRole::Training));
    let [y, mean, var] = b.node_n("normed", training, &[x, gamma, beta]);
    let grad = Op::BatchNorm(norm.with_role(NormRole::Grad));
    outputs.extend(b.node_n::<3>("norm.grad", grad, &[x, gamma, mean, var, y]));
}

fn elementwise(b: &mut GraphBuilder, x: ValueId, outputs: &mut Vec<ValueId>) {
    for kind in [
        UnaryKind::Identity,
        UnaryKind::Relu,
        UnaryKind::Relu6,
        UnaryKind::LeakyRelu { alpha: 0.01 },
        UnaryKind::Elu { alpha: -0.0 },
        UnaryKind::Sigmoid,
        UnaryKind::Tanh,
        UnaryKind::Softplus,
        UnaryKind::Exp,
        UnaryKind::Log,
        UnaryKind::Sqrt,
        UnaryKind::Abs,
        UnaryKind::Neg,
    ] {
        let y = b.node(&b.fresh("unary"), unary(kind), &[x]);
        let grad = Op::Unary(Unary { kind, grad: true });
        outputs.push(b.node(&b.fresh("unary"), grad, &[x, y, y]));
    }
    for binary in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
        outputs.push(b.node(&b.fresh("binary"), Op::Binary(binary), &[x, x]));
    }
}

fn layouts(b: &mut GraphBuilder, rows: ValueId, image: ValueId, outputs: &mut Vec<ValueId>) {
    let step = SliceRange {
        start: -3,
        end: i64::MAX,
        step: 2,
    };
    let ranges = vec![SliceRange::ALL, step];
    for (op, inputs) in [
        (
            Layout::Reshape {
                shape: vec![0, -1, 3],
            },
            vec![rows],
        ),
        (Layout::ReshapeLike, vec![rows, rows]),
        (
            Layout::Transpose {
                permutation: vec![3, 0, 2, 1],
            },
            vec![image],
        ),
        (Layout::Concat { axis: -1 }, vec![rows, rows, rows]),
        (
            Layout::Pad {
                padding: vec![[0, 0], [1, 2]],
                value: f32::NEG_INFINITY,
            },
            vec![rows],
        ),
    ] {
        outputs.push(b.node(&b.fresh("layout"), Op::Layout(op), &inputs));
    }
    let part = b.node(
        "part",
        Op::Layout(Layout::Slice {
            ranges: ranges.clone(),
        }),
        &[rows],
    );
    outputs.push(b.node(
        "part.grad",
        Op::Layout(Layout::SliceGrad { ranges }),
        &[part, rows],
    ));
    let both = b.node(
        "both",
        Op::Layout(Layout::Concat { axis: 1 }),
        &[rows, rows],
    );
    let grad = Op::Layout(Layout::ConcatGrad { axis: 1, index: 1 });
    outputs.push(b.node("both.grad", grad, &[both, rows, rows]));
}

fn reductions(b: &mut GraphBuilder, x: ValueId, outputs: &mut Vec<ValueId>) {
    use ReduceKind::{ArgMax, Max, Mean, Min, Sum};
    for (kind, axes, keep_dims) in [
        (Sum, vec![], false),
        (Mean, vec![0, 1], true),
        (Max, vec![-1], false),
        (Min, vec![1], true),
    ] {
        let op = Op::Reduce(Reduce::Axes {
            kind,
            axes: axes.clone(),
            keep_dims,
        });
        let y = b.node(&b.fresh("reduce"), op, &[x]);
        let grad = Op::Reduce(Reduce::Grad {
            kind,
            axes,
            keep_dims,
        });
        outputs.push(b.node(&b.fresh("reduce"), grad, &[x, y, y]));
        outputs.push(b.node(&b.fresh("sum to"), Op::Reduce(Reduce::SumTo), &[x, x]));
    }
    let op = Op::Reduce(Reduce::Axes {
        kind: ArgMax,
        axes: vec![1],
        keep_dims: false,
    });
    outputs.push(b.node("best", op, &[x]));
}

/// A model of every kind of weight, of schema and of notes, by name.
pub(super) fn models() -> Vec<(&'static str, Model)> {
    let image = Schema {
        input: InputSchema::Image {
            channels: 3,
            height: 32,
            width: 32,
            offset: vec![0.4914, 0.4822, 0.4465],
            scale: vec![4.05, 4.11, 3.83],
        },
        target: TargetSchema {
            name: "y".into(),
            kind: TargetKind::Number {
                offset: 1e-3,
                scale: 2e9,
            },
        },
    };
    let notes = vec![
        ("made".to_owned(), "today\nby hand".to_owned()),
        (String::new(), String::new()),
    ];
    let array = Schema {
        input: InputSchema::Array {
            shape: vec![4, 5],
            offset: -1.0,
            scale: 3.0,
        },
        target: TargetSchema {
            name: String::new(),
            kind: TargetKind::Classes(names(&["é", "no"])),
        },
    };
    let with = |schema: Schema| Model {
        schema: Some(schema),
        ..Model::new(all_operators())
    };
    vec![
        (
            "all operators",
            Model {
                notes,
                ..Model::new(all_operators())
            },
        ),
        ("image", with(image)),
        ("array", with(array)),
        ("no weights", no_weights()),
        ("strange weights", strange_weights()),
        ("titanic", titanic()),
        ("digits", digits()),
    ]
}

pub(super) fn no_weights() -> Model {
    let mut b = GraphBuilder::new("");
    let x = b.input("x", DType::F32, vec![Dim::batch()]);
    let y = b.node("y", unary(UnaryKind::Relu), &[x]);
    b.output(y);
    Model::new(b.finish().unwrap())
}

/// Forms and sizes at the edges.
fn strange_weights() -> Model {
    let mut random = Random(5);
    let mut b = GraphBuilder::new("strange");
    let codebook = |shape: &[usize], entries: &[f32], indices: &[u8]| {
        Weight::Codebook(Codebook::new(shape, entries.to_vec(), indices.to_vec()).unwrap())
    };
    let all: Vec<f32> = [0.0]
        .into_iter()
        .chain((-127..128).filter(|i| *i != 0).map(|i| i as f32))
        .collect();
    let nothing = Tensor::new(&[2, 0, 3], Vec::<f32>::new()).unwrap();
    let zeros = Tensor::new(&[3], vec![0f32; 3]).unwrap();
    for (name, weight) in [
        ("scalar", Tensor::scalar(0.1f32).into()),
        ("nothing", nothing.clone().into()),
        (
            "nothing masked",
            Weight::Masked(Masked::new(&nothing, vec![]).unwrap()),
        ),
        ("nothing shared", codebook(&[0], &[0.0], &[])),
        ("zeros", zeros.clone().into()),
        (
            "all pruned",
            Weight::Masked(Masked::new(&zeros, vec![false; 3]).unwrap()),
        ),
        (
            "kept zeros",
            Weight::Masked(Masked::new(&zeros, vec![true; 3]).unwrap()),
        ),
        ("zero alone", codebook(&[2, 2], &[0.0], &[0; 4])),
        (
            "unused",
            codebook(&[2, 2], &[0.0, -2.0, 1.0, 3.0], &[0, 3, 3, 0]),
        ),
        (
            "one sided",
            codebook(&[5], &[0.0, -2.0, -1.0], &[0, 1, 2, 1, 0]),
        ),
        ("shared scalar", codebook(&[], &[0.0, 7.0], &[1])),
        (
            "all entries",
            codebook(&[255], &all, &(0..=254).collect::<Vec<u8>>()),
        ),
        ("eight axes", masked(&mut random, &[1, 2, 1, 3, 1, 2, 1, 2])),
    ] {
        let value = b.weight(name, weight);
        b.output(value);
    }
    Model::new(b.finish().unwrap())
}
