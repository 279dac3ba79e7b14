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

/// A graph being built from another, value by value: which new one stands for each old one.
///
/// Begin with the inputs ([`Rebuild::new`]), write parameters before the nodes that read them, nodes in their
/// order, [`finish`](Rebuild::finish).
#[derive(Debug)]
pub struct Rebuild<'g> {
    graph: &'g Graph,
    /// Where the new graph is built, for what the old one does not have.
    pub builder: GraphBuilder,
    new: Vec<Option<ValueId>>,
}

impl<'g> Rebuild<'g> {
    /// Declares the inputs of `graph`, and keeps its names from being given to anything else.
    pub fn new(graph: &'g Graph) -> Rebuild<'g> {
        let mut b = GraphBuilder::new(graph.name());
        let mut new = vec![None; graph.n_values()];
        for i in graph.inputs() {
            let id = b.input(graph.value_name(i.value), i.dtype, i.dims.clone());
            new[i.value.index()] = Some(id);
        }
        for i in 0..graph.n_values() {
            b.reserve(graph.value_name_at(i));
        }
        graph.nodes().iter().for_each(|n| b.reserve(&n.name));
        Rebuild {
            graph,
            builder: b,
            new,
        }
    }

    /// Declares the parameters that `needed` says are read.
    fn parameters(&mut self, needed: &[bool]) {
        for p in self.graph.parameters() {
            if needed[p.value.index()] {
                self.parameter(p);
            }
        }
    }

    /// Declares a parameter as it is.
    pub fn parameter(&mut self, p: &Parameter) {
        let name = self.graph.value_name(p.value);
        let id = match p.trainable {
            true => self.builder.weight(name, p.weight.clone()),
            false => self.builder.constant(name, p.weight.clone()),
        };
        self.new[p.value.index()] = Some(id);
    }

    /// What stands for a value.
    ///
    /// # Panics
    /// If nothing does yet.
    pub fn get(&self, old: ValueId) -> ValueId {
        self.new[old.index()].expect("nodes are in running order")
    }

    /// Makes a value of the new graph stand for one of the old.
    pub fn set(&mut self, old: ValueId, new: ValueId) {
        self.new[old.index()] = Some(new);
    }

    /// Copies a node.
    pub fn copy(&mut self, node: &Node) {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| self.get(v)).collect();
        self.emit(node, node.op.clone(), &inputs);
    }

    /// Puts `op`, which reads `inputs` of the new graph, in the place of `node`.
    pub fn emit(&mut self, node: &Node, op: crate::Op, inputs: &[ValueId]) {
        let outputs = match node.outputs.len() {
            1 => vec![self.builder.node(&node.name, op, inputs)],
            n => self.builder.node_many(&node.name, op, inputs, n),
        };
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.new[old.index()] = Some(new);
        }
    }

    /// The new graph, with the outputs of the old one. Its `If`s and `Loop`s may read what they are in.
    ///
    /// Errs when it is not valid.
    pub fn finish(mut self) -> Result<Graph> {
        for &v in self.graph.outputs() {
            let v = self.get(v);
            self.builder.output(v);
        }
        self.builder.finish_open()
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
