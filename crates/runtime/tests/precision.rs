//! Plans whose products are rounded: where, and in all ways to run a graph.

use bantam_core::op::{Conv, ConvRole, Dense, MatMul};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor};
use bantam_runtime::{Executor, Plan, Precision};

/// Weights are inputs, as in training: an image through a convolution, and its pixels through a product.
fn graph() -> Graph {
    let mut b = GraphBuilder::new("products");
    let fixed = |dims: &[usize]| dims.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>();
    let image = [vec![Dim::batch()], fixed(&[8, 6, 6])].concat();
    let x = b.input("x", DType::F32, image);
    let w = b.input("w", DType::F32, fixed(&[12, 8, 3, 3]));
    let rows = b.input("rows", DType::F32, vec![Dim::batch(), Dim::Fixed(48)]);
    let v = b.input("v", DType::F32, fixed(&[40, 48]));
    let conv = Conv {
        padding: [1; 4],
        role: ConvRole::Forward,
        ..Conv::default()
    };
    let y = b.node("conv", Op::Conv(conv), &[x, w]);
    let z = b.node("dense", Op::Dense(Dense), &[rows, v]);
    let turned = MatMul {
        transpose_a: true,
        transpose_b: false,
    };
    let gram = b.node("gram", Op::MatMul(turned), &[rows, rows]);
    [y, z, gram].into_iter().for_each(|v| b.output(v));
    b.finish().unwrap()
}

fn numbers(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let len = shape.iter().product();
    Tensor::new(
        shape,
        std::iter::repeat_with(next).take(len).collect::<Vec<_>>(),
    )
    .unwrap()
}

const BATCH: usize = 40;

fn inputs() -> [Tensor; 4] {
    [
        numbers(&[BATCH, 8, 6, 6], 1),
        numbers(&[12, 8, 3, 3], 2),
        numbers(&[BATCH, 48], 3),
        numbers(&[40, 48], 4),
    ]
}

fn run(plan: Plan) -> Vec<Vec<f32>> {
    let inputs = inputs();
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let mut executor = Executor::new(plan);
    let outputs = executor.run(&inputs).unwrap();
    (0..outputs.len())
        .map(|i| outputs.values(i).to_vec())
        .collect()
}

#[test]
fn rounds_what_is_large_and_says_so() {
    let plan = Plan::for_batch(&graph(), BATCH).unwrap();
    let exact = run(plan.clone());
    for precision in [Precision::Bf16, Precision::F16] {
        let plan = plan.clone().with_precision(precision);
        assert_eq!(plan.precision(), precision);
        let kernels: Vec<String> = plan.steps().map(|s| s.kernel).collect();
        let expected = ["Conv", "Dense", "MatMul"].map(|op| format!("{op} {}", precision.name()));
        assert_eq!(kernels, expected);
        for (i, (found, exact)) in run(plan).iter().zip(&exact).enumerate() {
            assert!(
                found != exact,
                "{precision:?}, output {i}: nothing is rounded"
            );
            // Sums of up to 72 products below 1, each two roundings of 2^-9 at most.
            let near = found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 0.1);
            assert!(near, "{precision:?}, output {i}");
        }
    }
    let small = Plan::for_batch(&graph(), 8)
        .unwrap()
        .with_precision(Precision::Bf16);
    let kernels: Vec<String> = small.steps().map(|s| s.kernel).collect();
    assert_eq!(kernels, ["Conv bf16", "Dense", "MatMul"], "8 rows are few");
}
