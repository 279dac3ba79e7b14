//! What a call of the executor costs beside its kernels: graphs of one operator on few values, on one
//! thread. A row has nanoseconds a call, least and median of rounds, and those of the same arithmetic in a
//! plain loop.
//!
//! `cargo bench -p bantam-runtime --bench call`

use std::hint::black_box;
use std::time::Instant;

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Dense, Softmax, Unary};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor};
use bantam_runtime::{Executor, Plan};

const LEN: usize = 16;
const ROUNDS: usize = 200;
const CALLS: usize = 2000;

/// `y = op(x, weights)` on `x: [n, LEN]`.
fn graph(op: Op, weights: &[&[usize]]) -> Graph {
    let mut b = GraphBuilder::new("call");
    let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(LEN)]);
    let mut inputs = vec![x];
    for (i, shape) in weights.iter().enumerate() {
        let len = shape.iter().product();
        let t = Tensor::new(shape, vec![0.5f32; len]).expect("as many values as the shape has");
        inputs.push(b.weight(&format!("w{i}"), t));
    }
    let y = b.node("y", op, &inputs);
    b.output(y);
    b.finish().expect("a valid graph")
}

/// Least and median nanoseconds of a call.
fn time(mut call: impl FnMut()) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / CALLS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[0], rounds[ROUNDS / 2])
}

fn main() {
    let softmax = Softmax {
        axis: -1,
        log: false,
        grad: false,
    };
    let ops: [(&str, Op, &[&[usize]]); 5] = [
        ("Relu", Op::Unary(Unary::new(UnaryKind::Relu)), &[]),
        ("Add a vector", Op::Binary(Binary::Add), &[&[LEN]]),
        ("Mul a number", Op::Binary(Binary::Mul), &[&[1]]),
        ("Dense, packed", Op::Dense(Dense), &[&[LEN, LEN], &[LEN]]),
        ("Softmax", Op::Softmax(softmax), &[]),
    ];
    let x = Tensor::new(&[1, LEN], vec![0.25f32; LEN]).expect("a row");
    println!("{:16} {:>9} {:>9}", "one operator", "least", "median");
    for (name, op, weights) in ops {
        let plan = Plan::for_batch(&graph(op, weights), 1).expect("a plan");
        let mut executor = Executor::new(plan);
        let (least, median) = time(|| {
            let inputs = [black_box(&x)];
            let outputs = executor.run(&inputs).expect("a run");
            black_box(outputs.values::<f32>(0));
        });
        println!("{name:16} {least:6.0} ns {median:6.0} ns");
    }
    let (from, mut to) = ([0.25f32; LEN], [0f32; LEN]);
    let (least, median) = time(|| {
        let from = black_box(&from);
        to.iter_mut().zip(from).for_each(|(y, x)| *y = x.max(0.0));
        black_box(&to);
    });
    println!("{:16} {least:6.0} ns {median:6.0} ns", "a plain loop");
}
