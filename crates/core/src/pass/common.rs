//! Common subexpressions and equal constants.

use std::collections::HashMap;

use super::{Rebuild, needed};
use crate::{Graph, Node, Result, ValueId, Weight};

/// The graph with one node in the place of several that do the same to the same values, and one
/// constant in the place of equal ones. Weights that training may change apart stay apart.
pub fn merge_common(graph: &Graph) -> Result<Graph> {
    let mut r = Rebuild::new(graph);
    r.parameters(&needed(graph));
    merge_constants(&mut r);
    // Nodes by what the comparison is cheap for; equal ones are searched among these.
    let mut seen: HashMap<(&'static str, Vec<ValueId>), Vec<&Node>> = HashMap::new();
    for node in graph.nodes() {
        let inputs: Vec<ValueId> = node
            .inputs
            .iter()
            .map(|&v| match r.new[v.index()] {
                Some(v) => v,
                None => unreachable!("nodes are in running order"),
            })
            .collect();
        let alike = seen.entry((node.op.name(), inputs)).or_default();
        let is_output = node.outputs.iter().any(|v| graph.outputs().contains(v));
        match alike.iter().find(|n| n.op == node.op && !is_output) {
            Some(same) => {
                for (old, of) in node.outputs.iter().zip(&same.outputs) {
                    r.new[old.index()] = r.new[of.index()];
                }
            }
            None => {
                alike.push(node);
                r.copy(node);
            }
        }
    }
    super::drop_dead(&r.finish()?)
}

/// Lets equal constants stand for each other.
fn merge_constants(r: &mut Rebuild) {
    type Seen<'g> = HashMap<(crate::DType, &'g [usize]), Vec<(&'g Weight, ValueId)>>;
    let mut seen = Seen::new();
    let graph = r.graph;
    for p in graph.parameters() {
        let (false, Some(id)) = (p.trainable, r.new[p.value.index()]) else {
            continue;
        };
        if graph.outputs().contains(&p.value) {
            continue;
        }
        let alike = seen
            .entry((p.weight.dtype(), p.weight.shape()))
            .or_default();
        match alike.iter().find(|(w, _)| *w == &p.weight) {
            Some((_, same)) => r.new[p.value.index()] = Some(*same),
            None => alike.push((&p.weight, id)),
        }
    }
}
