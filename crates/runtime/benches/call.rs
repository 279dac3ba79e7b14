//! What a call of [`Executor::run`] costs beside the work: networks of one operator that has next to
//! nothing to do, and of several, for the cost of a step.
//!
//!     cargo bench -p bantam-runtime --bench call
//!
//! A row has the median and the least time of a call, over blocks of 1,000 calls on one thread.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Dense, Unary};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor};
use bantam_runtime::{Executor, Plan};

const CALLS: u32 = 1000;
const BLOCKS: usize = 400;

fn main() {
    println!(
        "{:<28} {:>6} {:>10} {:>10}",
        "network", "steps", "median", "least"
    );
    let relu = || Op::Unary(Unary::new(UnaryKind::Relu));
    let sum = Op::Binary(Binary::Add);
    for (name, graph) in [
        ("Relu [1, 16]", chain(&[relu()])),
        ("Add [1, 16], to itself", chain(&[sum])),
        ("dense 16 to 16", dense(1)),
        ("Relu, Neg, Relu, Neg", {
            let neg = || Op::Unary(Unary::new(UnaryKind::Neg));
            chain(&[relu(), neg(), relu(), neg()])
        }),
        ("dense 16 to 16, four times", dense(4)),
    ] {
        row(name, &graph);
    }
}

/// `[1, 16]` through operators of one or two equal inputs.
fn chain(ops: &[Op]) -> Graph {
    let mut b = GraphBuilder::new("chain");
    let mut x = b.input("x", DType::F32, vec![Dim::Fixed(1), Dim::Fixed(16)]);
    for (i, op) in ops.iter().enumerate() {
        let inputs = match op {
            Op::Binary(_) => vec![x, x],
            _ => vec![x],
        };
        x = b.node(&format!("op{i}"), op.clone(), &inputs);
    }
    b.output(x);
    b.finish().expect("the graph is valid")
}

/// `[1, 16]` through `n` layers with stored weights.
fn dense(n: usize) -> Graph {
    let mut b = GraphBuilder::new("dense");
    let mut x = b.input("x", DType::F32, vec![Dim::Fixed(1), Dim::Fixed(16)]);
    for i in 0..n {
        let values = vec![0.5f32; 256];
        let weight = Tensor::new(&[16, 16], values).expect("as many values");
        let w = b.weight(&format!("w{i}"), weight);
        x = b.node(&format!("dense{i}"), Op::Dense(Dense), &[x, w]);
    }
    b.output(x);
    b.finish().expect("the graph is valid")
}

fn row(name: &str, graph: &Graph) {
    let plan = Plan::for_batch(graph, 1).expect("the graph can be planned");
    let steps = plan.steps().count();
    let mut executor = Executor::new(plan);
    let x = Tensor::new(&[1, 16], vec![0.25f32; 16]).expect("as many values");
    let inputs = [&x];
    let mut times: Vec<Duration> = (0..BLOCKS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                let outputs = executor.run(black_box(&inputs)).expect("it runs");
                black_box(outputs.values::<f32>(0));
            }
            start.elapsed() / CALLS
        })
        .collect();
    times.sort_unstable();
    let (median, least) = (times[BLOCKS / 2].as_nanos(), times[0].as_nanos());
    println!("{name:<28} {steps:>6} {median:>7} ns {least:>7} ns");
}
