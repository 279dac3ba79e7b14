//! Every gradient against finite differences in `f64`, and the executor against the reference.

use bantam_core::cases;
use bantam_core::op::{LossKind, Reduce, ReduceKind, Type};
use bantam_core::reference::{Array, evaluate};
use bantam_core::{Graph, Op, Tensor, ValueId};
use bantam_runtime::{Executor, Plan};
use bantam_train::gradient;

/// Weighs the elements of the first output with fixed numbers and sums them, so that the gradient
/// sees every element with another weight.
fn scalar(graph: &Graph) -> Graph {
    use bantam_core::op::Binary;
    let types = graph.infer(&graph.input_types(2)).unwrap();
    let y = graph.outputs()[0];
    let shape = &types[y.index()].shape;
    let mut b = graph.to_builder();
    let mut out = y;
    if !shape.is_empty() {
        let weights = b.constant("weights", cases::values(shape, 77));
        let weighed = b.node("weighed", Op::Binary(Binary::Mul), &[y, weights]);
        let sum = Reduce::Axes {
            kind: ReduceKind::Sum,
            axes: vec![],
            keep_dims: false,
        };
        out = b.node("total", Op::Reduce(sum), &[weighed]);
    }
    b.output(out);
    b.finish().unwrap()
}

fn float_inputs(graph: &Graph) -> Vec<ValueId> {
    graph
        .inputs()
        .iter()
        .filter(|i| i.dtype.is_float())
        .map(|i| i.value)
        .collect()
}

/// Inputs with respect to which a case is differentiated: the targets of losses are not.
fn wanted(case: &cases::Case) -> Vec<ValueId> {
    let mut inputs = float_inputs(&case.graph);
    if matches!(&case.graph.nodes()[0].op, Op::Loss(l) if !matches!(l.kind, LossKind::CrossEntropy { .. }))
    {
        inputs.truncate(1);
    }
    inputs
}

#[test]
fn gradients_agree_with_finite_differences() {
    let h = 1e-5;
    let mut checked = 0;
    for case in cases::all().iter().filter(|c| c.differentiable) {
        let graph = scalar(&case.graph);
        let wrt = wanted(case);
        let with_gradient =
            gradient(&graph, 0, &wrt).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let inputs: Vec<Array> = case.inputs.iter().map(Array::from).collect();
        let outputs = evaluate(&with_gradient, &inputs).unwrap();
        let value = |inputs: &[Array]| evaluate(&graph, inputs).unwrap()[0].values[0];
        for (v, found) in wrt.iter().zip(&outputs[1..]) {
            let k = graph.inputs().iter().position(|i| i.value == *v).unwrap();
            assert_eq!(found.shape, inputs[k].shape, "{}", case.name);
            for i in 0..inputs[k].values.len() {
                let at = |offset: f64| {
                    let mut moved = inputs.clone();
                    moved[k].values[i] += offset;
                    value(&moved)
                };
                let expected = (at(h) - at(-h)) / (2.0 * h);
                let error = (found.values[i] - expected).abs();
                assert!(
                    error <= 1e-6 * (1.0 + expected.abs()),
                    "{} input {k} element {i}: finite difference {expected}, gradient {}",
                    case.name,
                    found.values[i]
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 2_000, "only {checked} derivatives were checked");
}

#[test]
fn the_executor_runs_gradients_as_the_reference_does() {
    for case in cases::all().iter().filter(|c| c.differentiable) {
        let graph = gradient(&scalar(&case.graph), 0, &wanted(case)).unwrap();
        let arrays: Vec<Array> = case.inputs.iter().map(Array::from).collect();
        let expected = evaluate(&graph, &arrays).unwrap();
        let types: Vec<Type> = case
            .inputs
            .iter()
            .map(|t| Type::new(t.dtype(), t.shape()))
            .collect();
        let mut executor = Executor::new(Plan::new(&graph, &types).unwrap());
        let inputs: Vec<&Tensor> = case.inputs.iter().collect();
        let outputs = executor.run(&inputs).unwrap();
        for (i, e) in expected.iter().enumerate() {
            let found = Array::from(&outputs.tensor(i));
            for (f, e) in found.values.iter().zip(&e.values) {
                let near = (f - e).abs() <= 1e-5 * (1.0 + e.abs());
                assert!(near, "{} output {i}: expected {e}, found {f}", case.name);
            }
        }
    }
}

#[test]
fn what_has_no_derivative_is_an_error() {
    for case in cases::all().iter().filter(|c| !c.differentiable) {
        let wrt = float_inputs(&case.graph);
        let types = case.graph.infer(&case.graph.input_types(2)).unwrap();
        let y = case.graph.outputs()[0];
        if !types[y.index()].dtype.is_float() {
            assert!(gradient(&case.graph, 0, &wrt).is_err(), "{}", case.name);
        }
    }
}
