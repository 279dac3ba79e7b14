//! Where the time of a step goes: the operators of its forward and backward, added up by kind and size.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bantam_core::{Graph, Tensor, ValueId};
use bantam_data::{MemorySource, Source, Targets};
use bantam_runtime::{Executor, Plan};
use bantam_train::{Params, Precision, TrainingGraph};

use super::{BATCH, CLASSES, LOSS, source};

/// Runs that are timed; each operator's least time counts.
const RUNS: usize = 7;

/// Prints the steps of the plan for `network`, those of one kernel and size together, the longest first.
pub(super) fn print(network: &Graph, precision: Precision) {
    let form = TrainingGraph::new(network, LOSS).expect("a network to train");
    let plan = Plan::for_batch(&form.graph, BATCH).expect("types of the network");
    let plan = plan.with_precision(precision);
    let source = source(BATCH, &network.input_types(1)[0].shape[1..]);
    let inputs = inputs(network, &form, &source);
    let refs: Vec<&Tensor> = inputs.iter().collect();
    let mut executor = Executor::new(plan);
    let mut least = executor.profile(&refs).expect("a step");
    for _ in 1..RUNS {
        let times = executor.profile(&refs).expect("a step");
        least
            .iter_mut()
            .zip(times)
            .for_each(|(l, t)| *l = t.min(*l));
    }
    let sizes = sizes(&form.graph);
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (step, time) in executor.plan().steps().zip(&least) {
        let key = format!("{:<22} {}", step.kernel, sizes[step.name]);
        let row = rows.entry(key).or_default();
        row.count += 1;
        row.time += *time;
        row.macs += step.macs;
        row.bytes += step.value_bytes;
    }
    let total: Duration = least.iter().sum();
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.time));
    println!("  operators, wall ms (least of {RUNS} each), {total:.1?} in all:");
    for (key, row) in rows {
        let seconds = row.time.as_secs_f64();
        println!(
            "  {:8.3} {:5.1} %  {:3} x  {:6.1} GFLOP/s {:5.1} GB/s  {key}",
            seconds * 1e3,
            100.0 * seconds / total.as_secs_f64(),
            row.count,
            2.0 * row.macs as f64 / seconds / 1e9,
            row.bytes as f64 / seconds / 1e9,
        );
    }
}

#[derive(Default)]
struct Row {
    count: usize,
    time: Duration,
    macs: u64,
    bytes: usize,
}

/// Shapes of what each node reads and writes, by its name.
fn sizes(graph: &Graph) -> HashMap<&str, String> {
    let types = graph
        .infer(&graph.input_types(BATCH))
        .expect("types of the network");
    let nodes = graph.nodes().iter().map(|node| {
        let shapes = |values: &[ValueId]| {
            let values = values.iter().take(2);
            let shapes = values.map(|v| format!("{:?}", types[v.index()].shape));
            shapes.collect::<Vec<_>>().join(" ")
        };
        let text = format!("{} -> {}", shapes(&node.inputs), shapes(&node.outputs[..1]));
        (node.name.as_str(), text)
    });
    nodes.collect()
}

/// The inputs of the training form: the first rows of the data and the weights as they are.
fn inputs(network: &Graph, form: &TrainingGraph, source: &MemorySource) -> Vec<Tensor> {
    let (mut x, mut targets) = (Vec::new(), Targets::empty(CLASSES));
    let rows: Vec<usize> = (0..BATCH).collect();
    source.read(&rows, &mut x, &mut targets).expect("rows");
    let Targets::Classes(labels) = targets else {
        unreachable!("the targets are labels")
    };
    let mut shape = vec![BATCH];
    shape.extend(source.sample_shape());
    let params = Params::of(network);
    let mut inputs = vec![
        Tensor::new(&shape, x).expect("as many values as the shape has"),
        Tensor::new(&[BATCH], labels).expect("as many labels as rows"),
    ];
    inputs.extend(form.parameters.iter().map(|name| params.0[name].clone()));
    inputs
}
