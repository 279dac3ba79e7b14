//! Every operator case on the executor, against the naive reference, for 1, 2 and 3 threads.

use bantam_core::cases::{self, Case};
use bantam_core::op::Type;
use bantam_core::reference::{Array, evaluate};
use bantam_core::{Data, Op, Tensor};
use bantam_runtime::{Executor, Plan};

fn execute(case: &Case) -> Vec<Tensor> {
    let types: Vec<Type> = case
        .inputs
        .iter()
        .map(|t| Type::new(t.dtype(), t.shape()))
        .collect();
    let plan = Plan::new(&case.graph, &types).unwrap();
    let mut executor = Executor::new(plan);
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    let outputs = executor.run(&inputs).unwrap();
    (0..outputs.len()).map(|i| outputs.tensor(i)).collect()
}

fn close(found: &Tensor, expected: &Array) -> bool {
    let near = |(x, y): (f64, &f64)| (x - y).abs() <= 2e-6 + 2e-5 * y.abs();
    let found = Array::from(found);
    found.shape == expected.shape && found.values.iter().copied().zip(&expected.values).all(near)
}

#[test]
fn executor_agrees_with_the_reference() {
    for case in cases::all() {
        let arrays: Vec<Array> = case.inputs.iter().map(Array::from).collect();
        let expected = evaluate(&case.graph, &arrays).unwrap();
        let found = execute(&case);
        for (f, e) in found.iter().zip(&expected) {
            assert!(close(f, e), "{}: expected {e:?}, found {f:?}", case.name);
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for case in cases::all() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| execute(&case))
        };
        let one = run(1);
        for threads in [2, 3] {
            assert_eq!(run(threads), one, "{} with {threads} threads", case.name);
        }
    }
}

#[test]
fn indices_and_labels_out_of_range_are_errors_that_name_the_node() {
    let indexed = |case: &Case| {
        matches!(
            case.graph.nodes()[0].op,
            Op::Gather(_) | Op::Loss(_) | Op::Index(_)
        )
    };
    for case in cases::all().into_iter().filter(indexed) {
        let mut broken = case.clone();
        let mut touched = false;
        for t in &mut broken.inputs {
            if let Data::I64(v) = t.data()
                && !t.shape().is_empty()
            {
                let mut v = v.clone();
                v[0] = 99;
                *t = Tensor::new(t.shape(), v).unwrap();
                touched = true;
            }
        }
        if touched {
            let types: Vec<Type> = broken
                .inputs
                .iter()
                .map(|t| Type::new(t.dtype(), t.shape()))
                .collect();
            let mut executor = Executor::new(Plan::new(&broken.graph, &types).unwrap());
            let inputs: Vec<&Tensor> = broken.inputs.iter().collect();
            let error = executor.run(&inputs).unwrap_err();
            assert_eq!(error.node(), Some("y"), "{}", case.name);
            assert!(error.to_string().contains("99"), "{error}");
        }
    }
}
