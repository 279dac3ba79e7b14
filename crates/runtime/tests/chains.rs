//! Chains of small operators that are one kernel: found where they are whole, and not a bit changed.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Reduce, ReduceKind, Type, Unary};
use bantam_core::reference::{Array, evaluate};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, ValueId};
use bantam_runtime::{Executor, Plan};

/// Numbers in -3..3 that are the same in every run (xorshift).
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 3.0
    };
    let values = std::iter::repeat_with(next).take(shape.iter().product());
    Tensor::new::<f32>(shape, values.collect()).unwrap()
}

const C: usize = 21;

struct Net {
    b: GraphBuilder,
    n: u64,
    /// Every value is an output as well, which keeps all chains apart.
    open: bool,
}

impl Net {
    fn new(open: bool) -> (Net, ValueId, ValueId) {
        let mut b = GraphBuilder::new("chain");
        let dims = || vec![Dim::batch(), Dim::Fixed(5), Dim::Fixed(C)];
        let x = b.input("x", DType::F32, dims());
        let z = b.input("z", DType::F32, dims());
        (Net { b, n: 0, open }, x, z)
    }

    fn then(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.n += 1;
        let y = self.b.node(&format!("node{}", self.n), op, inputs);
        if self.open {
            self.b.output(y);
        }
        y
    }

    /// Makes an output of what is none yet.
    fn output(&mut self, v: ValueId) {
        if !self.open {
            self.b.output(v);
        }
    }

    fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.then(Op::Binary(op), &[a, b])
    }

    fn unary(&mut self, kind: UnaryKind, x: ValueId) -> ValueId {
        self.then(Op::Unary(Unary::new(kind)), &[x])
    }

    fn number(&mut self, x: f32) -> ValueId {
        self.n += 1;
        let t = Tensor::new(&[], vec![x]).unwrap();
        self.b.weight(&format!("number{}", self.n), t)
    }

    fn mean(&mut self, x: ValueId, axis: i64) -> ValueId {
        let reduce = Reduce::Axes {
            kind: ReduceKind::Mean,
            axes: vec![axis],
            keep_dims: true,
        };
        self.then(Op::Reduce(reduce), &[x])
    }
}

#[derive(Clone, Copy)]
struct Norm {
    sum: bool,
    reciprocal: bool,
    axis: i64,
    /// Length of the vectors.
    len: usize,
    /// Whether the centred value is read by another node.
    seen: bool,
}

const NORM: Norm = Norm {
    sum: false,
    reciprocal: false,
    axis: -1,
    len: C,
    seen: false,
};

fn layer_norm(of: Norm, open: bool) -> Graph {
    let (mut net, x, z) = Net::new(open);
    let x = match of.sum {
        true => net.binary(Binary::Add, x, z),
        false => x,
    };
    let mean = net.mean(x, of.axis);
    let centred = net.binary(Binary::Sub, x, mean);
    let squares = net.binary(Binary::Mul, centred, centred);
    let variance = net.mean(squares, of.axis);
    let epsilon = net.number(1e-5);
    let shifted = net.binary(Binary::Add, variance, epsilon);
    let root = net.unary(UnaryKind::Sqrt, shifted);
    let y = match of.reciprocal {
        true => {
            let factor = net.unary(UnaryKind::Reciprocal, root);
            net.binary(Binary::Mul, centred, factor)
        }
        false => net.binary(Binary::Div, centred, root),
    };
    let gamma = net.b.weight("gamma", numbers(&[of.len], 8));
    let beta = net.b.weight("beta", numbers(&[of.len], 9));
    let y = net.binary(Binary::Mul, y, gamma);
    let y = net.binary(Binary::Add, y, beta);
    if of.seen {
        net.output(centred);
    }
    net.output(y);
    if !of.sum {
        net.b.output(z);
    }
    net.b.finish().unwrap()
}

fn gelu(divides: bool, one: f32, open: bool) -> Graph {
    let (mut net, x, z) = Net::new(open);
    let root = std::f32::consts::SQRT_2;
    let y = match divides {
        true => {
            let by = net.number(root);
            net.binary(Binary::Div, x, by)
        }
        false => {
            let by = net.number(1.0 / root);
            net.binary(Binary::Mul, x, by)
        }
    };
    let y = net.unary(UnaryKind::Erf, y);
    let (one, half) = (net.number(one), net.number(0.5));
    let y = net.binary(Binary::Add, y, one);
    let y = net.binary(Binary::Mul, x, y);
    let y = net.binary(Binary::Mul, y, half);
    net.output(y);
    net.b.output(z);
    net.b.finish().unwrap()
}

/// The outputs, and the kernels.
fn run(graph: &Graph) -> (Vec<Tensor>, Vec<String>) {
    let types: Vec<Type> = graph.input_types(4);
    let plan = Plan::new(graph, &types).unwrap();
    let kernels = plan.steps().map(|s| s.kernel).collect();
    let (x, z) = (numbers(&types[0].shape, 1), numbers(&types[0].shape, 2));
    let mut executor = Executor::new(plan);
    let inputs = [&x, &z];
    let outputs = executor.run(&inputs).unwrap();
    let found = (0..outputs.len()).map(|i| outputs.tensor(i)).collect();
    (found, kernels)
}

/// Holds a graph to the same graph with all values shown, and to the reference.
fn check(name: &str, graph: &Graph, open: &Graph, kernel: Option<&str>) {
    let (found, kernels) = run(graph);
    let (shown, apart) = run(open);
    match kernel {
        Some(kernel) => assert_eq!(kernels, [kernel], "{name}"),
        None => assert!(
            !kernels.iter().any(|k| k == "layer norm" || k == "GELU"),
            "{name}"
        ),
    }
    assert!(
        !apart.iter().any(|k| k == "layer norm" || k == "GELU"),
        "{name}"
    );
    let types = graph.input_types(4);
    let (x, z) = (numbers(&types[0].shape, 1), numbers(&types[0].shape, 2));
    let expected = evaluate(graph, &[Array::from(&x), Array::from(&z)]).unwrap();
    for (f, e) in found.iter().zip(&expected) {
        assert!(shown.contains(f), "{name}: fusing changed a bit");
        for (a, b) in Array::from(f).values.iter().zip(&e.values) {
            assert!(
                (a - b).abs() <= 1e-5 * (1.0 + b.abs()),
                "{name}: {a} for {b}"
            );
        }
    }
}

#[test]
fn whole_chains_are_one_kernel() {
    for sum in [false, true] {
        for reciprocal in [false, true] {
            for axis in [-1, 2] {
                let of = Norm {
                    sum,
                    reciprocal,
                    axis,
                    ..NORM
                };
                let name = format!("norm {sum} {reciprocal} {axis}");
                check(
                    &name,
                    &layer_norm(of, false),
                    &layer_norm(of, true),
                    Some("layer norm"),
                );
            }
        }
    }
    for divides in [false, true] {
        let name = format!("gelu {divides}");
        check(
            &name,
            &gelu(divides, 1.0, false),
            &gelu(divides, 1.0, true),
            Some("GELU"),
        );
    }
}

#[test]
fn what_is_no_whole_chain_is_left_alone() {
    let norms = [
        ("one factor for all", Norm { len: 1, ..NORM }),
        ("a value that is an output", Norm { seen: true, ..NORM }),
        ("another axis", Norm { axis: 1, ..NORM }),
    ];
    for (name, of) in norms {
        check(name, &layer_norm(of, false), &layer_norm(of, true), None);
    }
    check(
        "not one",
        &gelu(true, 2.0, false),
        &gelu(true, 2.0, true),
        None,
    );
}
