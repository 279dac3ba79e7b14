//! Batch normalisation folded into the layer before it.

use super::Rebuild;
use crate::op::{BatchNorm, Conv, ConvRole, NormRole, Op};
use crate::reference::Array;
use crate::{Graph, Node, Result, Tensor, ValueId, Weight};

/// The graph with every batch normalisation (with stored statistics) that follows a convolution or a
/// dense layer, and is its only reader, folded into that layer's weights and bias:
/// `w' = w γ / √(σ² + ε)`, `b' = (b - μ) γ / √(σ² + ε) + β` (Jacob et al. 2018, section 3.2). The
/// arithmetic is in `f64`, rounded once. Weights that another node reads too get a copy; masked and
/// quantized weights are left as they are, for folding would undo them.
pub fn fold_batch_norms(graph: &Graph) -> Result<Graph> {
    let mut readers = vec![0usize; graph.n_values()];
    for v in graph.nodes().iter().flat_map(|n| &n.inputs) {
        readers[v.index()] += 1;
    }
    graph.outputs().iter().for_each(|v| readers[v.index()] += 1);
    let mut folded: Vec<Option<&Node>> = vec![None; graph.n_values()];
    for norm in graph.nodes() {
        let Some(layer) = foldable(graph, norm, &readers) else {
            continue;
        };
        folded[layer.outputs[0].index()] = Some(norm);
    }
    let mut r = Rebuild::new(graph);
    r.parameters(&vec![true; graph.n_values()]);
    for node in graph.nodes() {
        if let Some(norm) = folded[node.outputs[0].index()] {
            fold(&mut r, node, norm)?;
        } else if folded.iter().flatten().any(|n| n.name == node.name) {
            // The layer already gives what this node gave.
        } else {
            r.copy(node);
        }
    }
    super::drop_dead(&r.finish()?)
}

/// The dense values of a parameter.
fn dense(graph: &Graph, v: ValueId) -> Option<&Tensor> {
    let p = graph.parameters().iter().find(|p| p.value == v)?;
    match &p.weight {
        Weight::Dense(t) if t.dtype().is_float() => Some(t),
        _ => None,
    }
}

/// The layer that `norm` can be folded into.
fn foldable<'g>(graph: &'g Graph, norm: &Node, readers: &[usize]) -> Option<&'g Node> {
    if !matches!(&norm.op, Op::BatchNorm(b) if b.role == NormRole::Inference) {
        return None;
    }
    let layer = graph.producer(norm.inputs[0])?;
    let fits = match &layer.op {
        Op::Dense(_) => true,
        Op::Conv(Conv { role, .. }) => *role == ConvRole::Forward,
        _ => false,
    };
    let stored = layer.inputs[1..]
        .iter()
        .chain(&norm.inputs[1..])
        .all(|&v| dense(graph, v).is_some());
    (fits && stored && readers[norm.inputs[0].index()] == 1).then_some(layer)
}

fn fold(r: &mut Rebuild, layer: &Node, norm: &Node) -> Result<()> {
    let graph = r.graph;
    let Op::BatchNorm(BatchNorm { epsilon, .. }) = norm.op else {
        unreachable!("only batch norms are folded")
    };
    let values =
        |v: ValueId| Array::from(dense(graph, v).expect("foldable weights are dense")).values;
    let [gamma, beta, mean, var] = [1, 2, 3, 4].map(|i| values(norm.inputs[i]));
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&var)
        .map(|(g, v)| g / (v + f64::from(epsilon)).sqrt())
        .collect();
    let w = dense(graph, layer.inputs[1]).expect("foldable weights are dense");
    let per_unit = w.len() / scale.len().max(1);
    let scaled = Array::from(w)
        .values
        .iter()
        .enumerate()
        .map(|(i, v)| v * scale[i / per_unit])
        .collect();
    let bias = match layer.inputs.get(2) {
        Some(&b) => values(b),
        None => vec![0.0; scale.len()],
    };
    let bias = (0..scale.len())
        .map(|c| (bias[c] - mean[c]) * scale[c] + beta[c])
        .collect();
    let trainable = |v: ValueId| {
        graph
            .parameters()
            .iter()
            .any(|p| p.value == v && p.trainable)
    };
    let mut declare = |stem: String, t: Tensor| {
        let name = r.builder.fresh(&stem);
        match trainable(layer.inputs[1]) {
            true => r.builder.weight(&name, t),
            false => r.builder.constant(&name, t),
        }
    };
    let weight_name = graph.value_name(layer.inputs[1]);
    let w = Tensor::new::<f64>(w.shape(), scaled)?.cast(w.dtype());
    let b = Tensor::new::<f64>(&[scale.len()], bias)?.cast(w.dtype());
    let w = declare(format!("{weight_name}.folded"), w);
    let b = declare(format!("{}.bias", layer.name), b);
    let x = r.get(layer.inputs[0]);
    // The node is called after the norm, whose value it gives.
    r.emit(norm, layer.op.clone(), &[x, w, b]);
    Ok(())
}
