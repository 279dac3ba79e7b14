//! Passes: functions from a [`Graph`] to a [`Graph`] that computes the same.
//!
//! They need nothing but the meaning of operators. Inputs, and outputs with their names, stay as they
//! are; inner values may get other names.

mod batch_norm;
mod common;
mod specialise;
mod tidy;

pub use batch_norm::fold_batch_norms;
pub use common::merge_common;
pub use specialise::{fold_constants, specialise};
pub use tidy::{drop_dead, drop_identities, order_parameters};

use crate::graph::Parameter;
use crate::{Graph, GraphBuilder, Node, Result, ValueId};

/// Every pass of this module but [`specialise`], until none changes the graph any more.
///
/// Batch norms are folded with arithmetic in `f64` and rounded once, which moves outputs by a few
/// units in the last place; the other passes change no bit.
pub fn simplify(graph: &Graph) -> Result<Graph> {
    let mut graph = graph.clone();
    // Each pass makes the graph smaller or leaves it, so this ends.
    loop {
        // Identities first: folding one would make a second constant of a weight that is shared.
        let next = fold_constants(&drop_identities(&graph)?)?;
        let next = fold_batch_norms(&next)?;
        let next = drop_dead(&merge_common(&next)?)?;
        if next.nodes().len() == graph.nodes().len()
            && next.parameters().len() == graph.parameters().len()
        {
            return Ok(next);
        }
        graph = next;
    }
}

/// A graph being built from another: which new value stands for each old one.
struct Rebuild<'g> {
    graph: &'g Graph,
    b: GraphBuilder,
    new: Vec<Option<ValueId>>,
}

impl<'g> Rebuild<'g> {
    /// Declares the inputs; parameters follow when they are first read, or all at once.
    fn new(graph: &'g Graph) -> Rebuild<'g> {
        let mut b = GraphBuilder::new(graph.name());
        let mut new = vec![None; graph.n_values()];
        for i in graph.inputs() {
            let id = b.input(graph.value_name(i.value), i.dtype, i.dims.clone());
            new[i.value.index()] = Some(id);
        }
        // Names of values that stay must not be taken by new ones.
        for i in 0..graph.n_values() {
            b.reserve(graph.value_name_at(i));
        }
        Rebuild { graph, b, new }
    }

    /// Declares the parameters that `needed` says are read.
    fn parameters(&mut self, needed: &[bool]) {
        for p in self.graph.parameters() {
            if needed[p.value.index()] {
                self.parameter(p);
            }
        }
    }

    fn parameter(&mut self, p: &Parameter) {
        let name = self.graph.value_name(p.value);
        let id = match p.trainable {
            true => self.b.weight(name, p.weight.clone()),
            false => self.b.constant(name, p.weight.clone()),
        };
        self.new[p.value.index()] = Some(id);
    }

    fn get(&self, old: ValueId) -> ValueId {
        self.new[old.index()].expect("nodes are in running order")
    }

    /// Copies a node.
    fn copy(&mut self, node: &Node) {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| self.get(v)).collect();
        self.emit(node, node.op.clone(), &inputs);
    }

    /// Puts `op` in the place of `node`.
    fn emit(&mut self, node: &Node, op: crate::Op, inputs: &[ValueId]) {
        let outputs = match node.outputs.len() {
            1 => vec![self.b.node(&node.name, op, inputs)],
            n => self.b.node_many(&node.name, op, inputs, n),
        };
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.new[old.index()] = Some(new);
        }
    }

    fn finish(mut self) -> Result<Graph> {
        for &v in self.graph.outputs() {
            let v = self.get(v);
            self.b.output(v);
        }
        self.b.finish_open()
    }
}

/// For each value, whether an output of the graph needs it.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.n_values()];
    graph
        .outputs()
        .iter()
        .for_each(|v| needed[v.index()] = true);
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|v| needed[v.index()]) {
            node.inputs.iter().for_each(|v| needed[v.index()] = true);
        }
    }
    needed
}

#[cfg(test)]
mod tests;
