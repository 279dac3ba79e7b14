//! The one list of operator cases. Every executor, the gradient pass and every file format run it;
//! an operator is not there until it has a row here.

use crate::op::conv::Depth;
use crate::op::elementwise::UnaryKind;
use crate::op::index::Combine;
use crate::op::layout::{Fill, SliceRange};
use crate::op::recurrent::{Activation, Cell, Direction};
use crate::op::window::WindowKind;
use crate::op::{
    BatchNorm, Binary, Cast, Conv, ConvRole, Cumulative, Dense, Dropout, Gather, Index, Layout,
    Logic, Loss, LossKind, MatMul, NormRole, Op, Pool, PoolKind, Quantize, QuantizeRole, Recurrent,
    Reduce, ReduceKind, Select, Softmax, Unary, Window,
};
use crate::{DType, Dim, Graph, GraphBuilder, Tensor};

/// A graph of one operator with inputs to run it on.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// A graph with one node, whose float inputs are all declared as inputs.
    pub graph: Graph,
    /// Values for the inputs of the graph.
    pub inputs: Vec<Tensor>,
    /// Whether the first output has a derivative with respect to the float inputs.
    pub differentiable: bool,
}

/// Float values in `[-1, 1)` that do not repeat, so that maxima are unique; the same every time.
pub fn values(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let n = shape.iter().product();
    Tensor::new(shape, (0..n).map(|_| next()).collect::<Vec<f32>>()).expect("counts agree")
}

fn shifted(t: Tensor, by: f32) -> Tensor {
    let v: Vec<f32> = t
        .values::<f32>()
        .expect("values are f32")
        .iter()
        .map(|x| x + by)
        .collect();
    Tensor::new(t.shape(), v).expect("counts agree")
}

struct List(Vec<Case>);

impl List {
    /// A case whose inputs are float values of the given shapes.
    fn op(&mut self, name: &str, op: Op, shapes: &[&[usize]]) {
        let inputs = shapes.iter().zip(1..).map(|(s, i)| values(s, i)).collect();
        self.with(name, op, inputs, true);
    }

    fn with(&mut self, name: &str, op: Op, inputs: Vec<Tensor>, differentiable: bool) {
        let mut b = GraphBuilder::new("case");
        let ids: Vec<_> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let dims = t.shape().iter().map(|&d| Dim::Fixed(d)).collect();
                b.input(&format!("x{i}"), t.dtype(), dims)
            })
            .collect();
        let types: Vec<_> = inputs
            .iter()
            .map(|t| crate::op::Type::new(t.dtype(), t.shape()))
            .collect();
        let n_outputs = op.infer(&types).expect("a case fits its operator").len();
        for v in b.node_many("y", op, &ids, n_outputs) {
            b.output(v);
        }
        let graph = b.finish().expect("a case is a valid graph");
        self.0.push(Case {
            name: name.to_owned(),
            graph,
            inputs,
            differentiable,
        });
    }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut list = List(Vec::new());
    linear(&mut list);
    convolutions(&mut list);
    pools(&mut list);
    normalisation(&mut list);
    elementwise(&mut list);
    reductions(&mut list);
    layouts(&mut list);
    gathers(&mut list);
    losses(&mut list);
    functions(&mut list);
    discrete(&mut list);
    indices(&mut list);
    recurrent(&mut list);
    windows(&mut list);
    list.0
}

/// Elementwise functions beyond those that networks are trained with.
fn functions(l: &mut List) {
    use UnaryKind::*;
    for kind in [
        Erf, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Asinh, Atanh, Ceil, Floor, Round, Sign,
    ] {
        // Within the range of every inverse, away from its ends.
        let x = values(&[3, 5], 4)
            .values::<f32>()
            .expect("f32")
            .iter()
            .map(|v| v * 0.9)
            .collect();
        let x = Tensor::new::<f32>(&[3, 5], x).expect("counts agree");
        let smooth = !matches!(kind, Ceil | Floor | Round | Sign);
        l.with(
            &format!("unary {kind:?}"),
            Op::Unary(Unary::new(kind)),
            vec![x],
            smooth,
        );
    }
    for kind in [Acosh, Reciprocal] {
        let x = shifted(values(&[3, 5], 4), 2.5);
        l.with(
            &format!("unary {kind:?}"),
            Op::Unary(Unary::new(kind)),
            vec![x],
            true,
        );
    }
    for op in [
        Binary::Pow,
        Binary::Max,
        Binary::Min,
        Binary::Mod,
        Binary::Rem,
    ] {
        let inputs = vec![
            shifted(values(&[3, 4], 1), 2.0),
            shifted(values(&[4], 2), 2.0),
        ];
        l.with(&format!("{op:?}"), Op::Binary(op), inputs, false);
    }
    let integers = |v: &[i64]| Tensor::new(&[v.len()], v.to_vec()).expect("counts agree");
    for op in [
        Binary::Add,
        Binary::Mul,
        Binary::Div,
        Binary::Mod,
        Binary::Rem,
        Binary::Pow,
    ] {
        let inputs = vec![integers(&[7, -7, i64::MAX]), integers(&[2, 3, 5])];
        l.with(
            &format!("{op:?} of integers"),
            Op::Binary(op),
            inputs,
            false,
        );
    }
}

/// Element types, comparisons, choices, running sums.
fn discrete(l: &mut List) {
    let x = || values(&[2, 3], 1);
    for op in [
        Logic::Less,
        Logic::Greater,
        Logic::Equal,
        Logic::LessOrEqual,
        Logic::GreaterOrEqual,
    ] {
        l.with(
            &format!("{op:?}"),
            Op::Logic(op),
            vec![x(), values(&[3], 2)],
            false,
        );
    }
    let truth = |v: &[bool]| Tensor::new(&[v.len()], v.to_vec()).expect("counts agree");
    for op in [Logic::And, Logic::Or, Logic::Xor] {
        let inputs = vec![truth(&[true, true, false]), truth(&[true, false, false])];
        l.with(&format!("{op:?}"), Op::Logic(op), inputs, false);
    }
    l.with(
        "Not",
        Op::Logic(Logic::Not),
        vec![truth(&[true, false])],
        false,
    );
    let inputs = vec![truth(&[true, false, true]), x(), values(&[3], 2)];
    l.with("select", Op::Select(Select), inputs, false);
    let scales = || Tensor::new::<f32>(&[3], vec![0.1, 0.2, 0.4]).expect("counts agree");
    let zeros = || Tensor::new::<u8>(&[3], vec![0, 128, 7]).expect("counts agree");
    let (role, axis) = (QuantizeRole::Quantize, -1);
    let quantize = Op::Quantize(Quantize { role, axis });
    l.with("quantize", quantize, vec![x(), scales(), zeros()], false);
    let q = Tensor::new::<u8>(&[2, 3], vec![0, 1, 2, 130, 200, 255]).expect("counts agree");
    let role = QuantizeRole::Dequantize;
    let dequantize = Op::Quantize(Quantize { role, axis });
    l.with("dequantize", dequantize, vec![q, scales(), zeros()], false);
    for to in [DType::I32, DType::Bool, DType::F64] {
        let wide = shifted(x(), 100.0);
        l.with(
            &format!("cast to {to}"),
            Op::Cast(Cast { to }),
            vec![wide],
            false,
        );
    }
    for (product, exclusive, reverse) in [
        (false, false, false),
        (true, false, true),
        (false, true, false),
    ] {
        let op = Cumulative {
            product,
            axis: 1,
            exclusive,
            reverse,
        };
        l.with(&format!("{op:?}"), Op::Cumulative(op), vec![x()], false);
    }
}

fn indices(l: &mut List) {
    let index = |shape: &[usize], v: &[i64]| Tensor::new(shape, v.to_vec()).expect("counts agree");
    let x = || values(&[3, 4], 1);
    let op = Index::Elements { axis: 1 };
    l.with(
        "gather elements",
        Op::Index(op),
        vec![x(), index(&[3, 2], &[0, 3, -1, 1, 2, 2])],
        false,
    );
    let op = Index::Tuples { batch: 0 };
    l.with(
        "gather tuples",
        Op::Index(op),
        vec![x(), index(&[2, 1], &[2, 0])],
        false,
    );
    for combine in [Combine::Replace, Combine::Add, Combine::Max] {
        let op = Index::PutElements { axis: 0, combine };
        let inputs = vec![x(), index(&[1, 4], &[0, 2, 1, -1]), values(&[1, 4], 3)];
        l.with(
            &format!("scatter elements {combine:?}"),
            Op::Index(op),
            inputs,
            false,
        );
        let inputs = vec![x(), index(&[2, 2], &[0, 1, 2, 3]), values(&[2], 3)];
        l.with(
            &format!("scatter tuples {combine:?}"),
            Op::Index(Index::PutTuples { combine }),
            inputs,
            false,
        );
    }
    for (name, layout) in [
        (
            "expand",
            Layout::Expand {
                shape: vec![2, 3, 4],
            },
        ),
        (
            "tile",
            Layout::Tile {
                repeats: vec![2, 1],
            },
        ),
        ("reverse", Layout::Reverse { axes: vec![1] }),
        (
            "triangle",
            Layout::Triangle {
                upper: true,
                diagonal: 1,
            },
        ),
        (
            "reflect",
            Layout::Extend {
                padding: vec![[1, 2], [0, 3]],
                fill: Fill::Reflect,
            },
        ),
        (
            "edge",
            Layout::Extend {
                padding: vec![[1, 0], [2, 1]],
                fill: Fill::Edge,
            },
        ),
    ] {
        l.with(name, Op::Layout(layout), vec![x()], false);
    }
}

fn recurrent(l: &mut List) {
    use Activation::{Sigmoid, Tanh};
    let (t, n, i, u) = (3, 2, 4, 5);
    for (cell, one) in [
        (Cell::Plain, vec![Tanh]),
        (Cell::Lstm, vec![Sigmoid, Tanh, Tanh]),
        (
            Cell::Gru {
                linear_before_reset: false,
            },
            vec![Sigmoid, Tanh],
        ),
    ] {
        for direction in [Direction::Forward, Direction::Both] {
            let d = 1 + usize::from(direction == Direction::Both);
            let op = Recurrent {
                cell,
                direction,
                activations: one.repeat(d),
                clip: None,
                input_forget: false,
                units: None,
            };
            let g = op.n_gates();
            let lengths = Tensor::new(&[n], vec![3i32, 2]).expect("counts agree");
            let mut inputs = vec![
                values(&[t, n, i], 1),
                values(&[d, g * u, i], 2),
                values(&[d, g * u, u], 3),
                values(&[d, 2 * g * u], 4),
                lengths,
                values(&[d, n, u], 5),
            ];
            if cell == Cell::Lstm {
                inputs.extend([values(&[d, n, u], 6), values(&[d, 3 * u], 7)]);
            }
            l.with(
                &format!("{cell:?} {direction:?}"),
                Op::Recurrent(op),
                inputs,
                false,
            );
        }
    }
}

/// One axis, transposed convolutions, and pooling over windows of any kind.
fn windows(l: &mut List) {
    let base = Conv {
        stride: [1, 2],
        padding: [0, 1, 0, 1],
        ..Conv::default()
    };
    l.with(
        "conv of one axis",
        Op::Conv(base),
        vec![
            values(&[2, 3, 9], 1),
            values(&[4, 3, 3], 2),
            values(&[4], 3),
        ],
        false,
    );
    let up = Conv {
        role: ConvRole::Transposed { extra: [1, 0] },
        stride: [2, 2],
        ..Conv::default()
    };
    l.with(
        "transposed conv",
        Op::Conv(up),
        vec![
            values(&[1, 2, 3, 3], 1),
            values(&[2, 3, 2, 3], 2),
            values(&[3], 3),
        ],
        false,
    );
    let deep = Conv {
        stride: [2, 1],
        padding: [1, 0, 0, 1],
        depth: Depth {
            stride: 2,
            padding: [1, 0],
            ..Depth::default()
        },
        ..Conv::default()
    };
    l.op(
        "conv of three axes",
        Op::Conv(deep),
        &[&[2, 2, 4, 5, 3], &[3, 2, 2, 3, 2], &[3]],
    );
    let deep = Conv {
        depth: Depth {
            padding: [0, 0],
            extra: 1,
            ..deep.depth
        },
        role: ConvRole::Transposed { extra: [1, 0] },
        ..deep
    };
    l.with(
        "transposed conv of three axes",
        Op::Conv(deep),
        vec![
            values(&[1, 2, 2, 3, 3], 1),
            values(&[2, 3, 2, 2, 3], 2),
            values(&[3], 3),
        ],
        false,
    );
    let op = Window {
        kind: WindowKind::Max {
            column_major: false,
        },
        kernel: vec![2, 2, 3],
        stride: vec![1, 2, 2],
        padding: vec![[1, 0], [0, 0], [1, 1]],
        dilation: vec![1, 1, 1],
        ceil: false,
    };
    l.with(
        "max pool of three axes",
        Op::Window(op),
        vec![values(&[1, 2, 3, 4, 5], 1)],
        false,
    );
    for kind in [
        WindowKind::Average {
            count_include_pad: true,
        },
        WindowKind::Lp { p: 3 },
    ] {
        let op = Window {
            kind,
            kernel: vec![2, 3],
            stride: vec![2, 1],
            padding: vec![[1, 0], [0, 1]],
            dilation: vec![1, 2],
            ceil: true,
        };
        l.with(
            &format!("window {kind:?}"),
            Op::Window(op),
            vec![values(&[1, 2, 5, 7], 1)],
            false,
        );
    }
}

fn linear(l: &mut List) {
    l.op(
        "dense with bias",
        Op::Dense(Dense),
        &[&[5, 7], &[3, 7], &[3]],
    );
    l.op("dense without bias", Op::Dense(Dense), &[&[1, 4], &[6, 4]]);
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        let op = Op::MatMul(MatMul {
            transpose_a: ta,
            transpose_b: tb,
        });
        let a: &[usize] = if ta { &[4, 3] } else { &[3, 4] };
        let b: &[usize] = if tb { &[5, 4] } else { &[4, 5] };
        l.op(&format!("matmul {ta} {tb}"), op, &[a, b]);
    }
    let op = Op::MatMul(MatMul::default());
    l.op(
        "matmul batched and broadcast",
        op,
        &[&[2, 1, 3, 4], &[5, 4, 2]],
    );
}

fn convolutions(l: &mut List) {
    let base = Conv::default();
    let rows: [(&str, Conv, &[&[usize]]); 7] = [
        ("conv plain", base, &[&[2, 3, 6, 5], &[4, 3, 3, 2], &[4]]),
        ("conv 1x1", base, &[&[2, 3, 4, 4], &[5, 3, 1, 1]]),
        (
            "conv stride",
            Conv {
                stride: [2, 3],
                ..base
            },
            &[&[1, 2, 7, 8], &[3, 2, 3, 3], &[3]],
        ),
        (
            "conv uneven padding",
            Conv {
                padding: [1, 0, 2, 1],
                ..base
            },
            &[&[2, 1, 4, 5], &[2, 1, 3, 3]],
        ),
        (
            "conv dilation",
            Conv {
                dilation: [2, 1],
                padding: [2, 1, 2, 1],
                ..base
            },
            &[&[1, 2, 6, 6], &[2, 2, 3, 3]],
        ),
        (
            "conv groups",
            Conv { groups: 2, ..base },
            &[&[2, 4, 5, 5], &[6, 2, 3, 3], &[6]],
        ),
        (
            "conv depthwise stride",
            Conv {
                groups: 3,
                stride: [2, 2],
                padding: [1; 4],
                ..base
            },
            &[&[2, 3, 7, 7], &[3, 1, 3, 3]],
        ),
    ];
    for (name, conv, shapes) in rows {
        l.op(name, Op::Conv(conv), shapes);
    }
}

fn pools(l: &mut List) {
    let average = |count_include_pad| PoolKind::Average { count_include_pad };
    for kind in [PoolKind::Max, average(false), average(true)] {
        let windows = Pool::windows(kind, [2, 2]);
        l.op(
            &format!("pool {kind:?}"),
            Op::Pool(windows),
            &[&[2, 3, 4, 6]],
        );
        let overlapping = Pool {
            kernel: Some([3, 2]),
            stride: [2, 1],
            padding: [1, 0, 1, 1],
            ..windows
        };
        l.op(
            &format!("pool {kind:?} overlapping"),
            Op::Pool(overlapping),
            &[&[1, 2, 6, 5]],
        );
        l.op(
            &format!("pool {kind:?} global"),
            Op::Pool(Pool::global(kind)),
            &[&[2, 3, 3, 5]],
        );
    }
}

fn normalisation(l: &mut List) {
    let training = BatchNorm {
        role: NormRole::Training,
        ..BatchNorm::default()
    };
    l.op(
        "batch norm training",
        Op::BatchNorm(training),
        &[&[4, 3, 2, 2], &[3], &[3]],
    );
    l.op(
        "batch norm training of rows",
        Op::BatchNorm(training),
        &[&[6, 2], &[2], &[2]],
    );
    let c = |i| values(&[3], i);
    let inputs = vec![values(&[2, 3, 4], 1), c(2), c(3), c(4), shifted(c(5), 1.5)];
    l.with(
        "batch norm inference",
        Op::BatchNorm(BatchNorm::default()),
        inputs,
        false,
    );
    for (log, axis, shape) in [
        (false, -1, &[4, 5][..]),
        (true, 1, &[4, 5]),
        (false, 1, &[2, 3, 4]),
        (true, 0, &[3, 2]),
    ] {
        let op = Op::Softmax(Softmax {
            axis,
            log,
            grad: false,
        });
        l.op(&format!("softmax log={log} axis={axis}"), op, &[shape]);
    }
}

fn elementwise(l: &mut List) {
    use UnaryKind::*;
    for kind in [
        Identity,
        Relu,
        Relu6,
        LeakyRelu { alpha: 0.1 },
        Elu { alpha: 0.7 },
        Sigmoid,
        Tanh,
        Softplus,
        Exp,
        Abs,
        Neg,
    ] {
        l.op(
            &format!("unary {kind:?}"),
            Op::Unary(Unary::new(kind)),
            &[&[3, 7]],
        );
    }
    for kind in [Log, Sqrt] {
        let x = shifted(values(&[3, 7], 1), 1.5);
        l.with(
            &format!("unary {kind:?}"),
            Op::Unary(Unary::new(kind)),
            vec![x],
            true,
        );
    }
    let wide = shifted(values(&[4, 3], 9), 5.6);
    l.with(
        "unary Relu6 saturated",
        Op::Unary(Unary::new(Relu6)),
        vec![wide],
        true,
    );
    for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
        for (a, b) in [
            (&[3, 4][..], &[3, 4][..]),
            (&[3, 4], &[4]),
            (&[2, 3, 2, 2], &[1, 3, 1, 1]),
            (&[3, 1], &[1, 4]),
            (&[], &[5]),
        ] {
            let inputs = vec![values(a, 1), shifted(values(b, 2), 2.0)];
            l.with(&format!("{op:?} {a:?} {b:?}"), Op::Binary(op), inputs, true);
        }
    }
    let op = Op::Dropout(Dropout::Identity { ratio: 0.3 });
    l.op("dropout at inference", op, &[&[4, 5]]);
    let op = Op::Dropout(Dropout::Mask {
        ratio: 0.3,
        stream: 2,
    });
    l.with(
        "dropout mask",
        op,
        vec![values(&[40, 5], 1), Tensor::scalar(7i64)],
        false,
    );
}

fn reductions(l: &mut List) {
    for kind in [
        ReduceKind::Sum,
        ReduceKind::Mean,
        ReduceKind::Max,
        ReduceKind::Min,
    ] {
        for (axes, keep_dims) in [
            (vec![], false),
            (vec![0], false),
            (vec![-1], true),
            (vec![0, 2], false),
            (vec![1, 2], true),
        ] {
            let name = format!("reduce {kind:?} {axes:?} {keep_dims}");
            l.op(
                &name,
                Op::Reduce(Reduce::Axes {
                    kind,
                    axes,
                    keep_dims,
                }),
                &[&[3, 4, 5]],
            );
        }
    }
    let op = Reduce::Axes {
        kind: ReduceKind::ArgMax,
        axes: vec![1],
        keep_dims: false,
    };
    l.with("argmax", Op::Reduce(op), vec![values(&[4, 6], 1)], false);
    let inputs = vec![values(&[2, 3, 4], 1), values(&[3, 1], 2)];
    l.with("sum to", Op::Reduce(Reduce::SumTo), inputs, false);
}

fn layouts(l: &mut List) {
    let range = |start, end, step| SliceRange { start, end, step };
    let rows: [(&str, Layout, &[&[usize]]); 10] = [
        (
            "reshape",
            Layout::Reshape { shape: vec![0, -1] },
            &[&[2, 3, 4]],
        ),
        (
            "transpose",
            Layout::Transpose {
                permutation: vec![1, 0],
            },
            &[&[3, 5]],
        ),
        (
            "transpose 3",
            Layout::Transpose {
                permutation: vec![2, 0, 1],
            },
            &[&[2, 3, 4]],
        ),
        (
            "slice",
            Layout::Slice {
                ranges: vec![SliceRange::ALL, range(1, -1, 1)],
            },
            &[&[3, 6]],
        ),
        (
            "slice step",
            Layout::Slice {
                ranges: vec![range(0, 9, 2), range(-4, 6, 3)],
            },
            &[&[5, 6]],
        ),
        (
            "concat",
            Layout::Concat { axis: 1 },
            &[&[2, 3], &[2, 1], &[2, 2]],
        ),
        (
            "concat first",
            Layout::Concat { axis: -2 },
            &[&[2, 3], &[1, 3]],
        ),
        (
            "pad",
            Layout::Pad {
                padding: vec![[1, 0], [2, 1]],
                value: 0.5,
            },
            &[&[2, 3]],
        ),
        (
            "pad channels and columns",
            Layout::Pad {
                padding: vec![[0, 0], [2, 1], [0, 0], [1, 0]],
                value: -1.0,
            },
            &[&[2, 3, 2, 4]],
        ),
        (
            "pad nothing",
            Layout::Pad {
                padding: vec![[0, 0]],
                value: 0.0,
            },
            &[&[3]],
        ),
    ];
    for (name, op, shapes) in rows {
        l.op(name, Op::Layout(op), shapes);
    }
}

fn gathers(l: &mut List) {
    let index = |shape: &[usize], v: &[i64]| Tensor::new(shape, v.to_vec()).expect("counts agree");
    for (name, axis, table, indices) in [
        (
            "gather rows",
            0,
            &[4, 3][..],
            index(&[2, 3], &[0, 3, 3, 1, 0, 2]),
        ),
        (
            "gather from a codebook",
            0,
            &[4],
            index(&[5], &[3, 0, 1, 1, 3]),
        ),
        ("gather columns", 1, &[2, 4], index(&[3], &[2, 2, 0])),
    ] {
        let op = Op::Gather(Gather { axis, grad: false });
        l.with(name, op, vec![values(table, 1), indices], true);
    }
}

fn losses(l: &mut List) {
    let labels = Tensor::new(&[4], vec![2i64, 0, 1, 2]).expect("counts agree");
    for label_smoothing in [0.0, 0.1] {
        let op = Loss {
            kind: LossKind::CrossEntropy { label_smoothing },
            grad: false,
        };
        let inputs = vec![values(&[4, 3], 1), labels.clone()];
        l.with(
            &format!("cross-entropy {label_smoothing}"),
            Op::Loss(op),
            inputs,
            true,
        );
    }
    for kind in [LossKind::MeanSquaredError, LossKind::BinaryCrossEntropy] {
        let target = Tensor::new(&[3, 2], vec![0f32, 1.0, 0.5, 0.0, 1.0, 1.0]).expect("counts");
        let op = Op::Loss(Loss { kind, grad: false });
        l.with(
            &format!("{kind:?}"),
            op,
            vec![values(&[3, 2], 1), target],
            true,
        );
    }
}
