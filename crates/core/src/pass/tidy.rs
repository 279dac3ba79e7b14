//! Removal of what is not read, and of nodes that do nothing.

use super::{Rebuild, needed};
use crate::op::elementwise::UnaryKind;
use crate::op::{Dropout, Op, Unary};
use crate::order::sort_by_key;
use crate::{Graph, Node, Result};

/// The graph without nodes and parameters that no output needs.
pub fn drop_dead(graph: &Graph) -> Result<Graph> {
    let needed = needed(graph);
    let mut r = Rebuild::new(graph);
    r.parameters(&needed);
    for node in graph.nodes() {
        if node.outputs.iter().any(|v| needed[v.index()]) {
            r.copy(node);
        }
    }
    r.finish()
}

/// As [`drop_dead`], and with the parameters in the order in which nodes first read them.
pub fn order_parameters(graph: &Graph) -> Result<Graph> {
    let needed = needed(graph);
    let mut r = Rebuild::new(graph);
    let live = |n: &&Node| n.outputs.iter().any(|v| needed[v.index()]);
    let nodes = || graph.nodes().iter().filter(live);
    let mut order = vec![None; graph.n_values()];
    let read = nodes().flat_map(|n| &n.inputs).chain(graph.outputs());
    for (place, v) in read.enumerate() {
        order[v.index()].get_or_insert(place);
    }
    let mut parameters: Vec<_> = graph.parameters().iter().collect();
    parameters.retain(|p| order[p.value.index()].is_some());
    sort_by_key(&mut parameters, |p| order[p.value.index()]);
    for p in parameters {
        r.parameter(p);
    }
    nodes().for_each(|node| r.copy(node));
    r.finish()
}

fn is_identity(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(Unary {
            kind: UnaryKind::Identity,
            grad: false
        }) | Op::Dropout(Dropout::Identity { ratio: 0.0 })
    )
}

/// The graph without `Identity` nodes: what reads one reads its input instead.
///
/// Exporters share equal biases through such nodes; left in place, they hide a constant from whoever
/// looks for one. One stays where it gives an output its name, or an output of its own to a value
/// that is an input, a parameter, or another output.
pub fn drop_identities(graph: &Graph) -> Result<Graph> {
    let mut r = Rebuild::new(graph);
    r.parameters(&vec![true; graph.n_values()]);
    for node in graph.nodes() {
        if is_identity(&node.op) && !graph.outputs().contains(&node.outputs[0]) {
            r.new[node.outputs[0].index()] = Some(r.get(node.inputs[0]));
        } else {
            r.copy(node);
        }
    }
    r.finish()
}
