//! Reverse-mode differentiation as a pass from Graph to Graph.
//!
//! [`gradient`] appends to a Graph the nodes that compute the derivative of a scalar output with
//! respect to some values. The rules are one function per operator family; each node adds its share
//! to the adjoints of its inputs, in reverse order (Griewank, Walther 2008, chapter 3). Gradients of
//! gradients are not offered.

mod rules;

use bantam_core::op::{Binary, Type};
use bantam_core::{Graph, GraphBuilder, Op, Tensor, ValueId};

use crate::{Error, ErrorKind, Result};

/// `graph` with one more output per value of `wrt`: the derivative of output `of`, a scalar, with
/// respect to it, of its shape. A value that does not influence the output gets zeros.
///
/// Errs when the output is not a scalar, or when an operator without a derivative (such as
/// `ArgMax`, or a gradient) stands between.
pub fn gradient(graph: &Graph, of: usize, wrt: &[ValueId]) -> Result<Graph> {
    let types = graph.infer(&graph.input_types(2))?;
    let output = graph.outputs()[of];
    if !types[output.index()].shape.is_empty() {
        let name = graph.value_name(output);
        let shape = &types[output.index()].shape;
        return Err(Error::new(
            ErrorKind::Gradient,
            format!("{name:?} is {shape:?}, not a scalar"),
        ));
    }
    let needs = dependents(graph, wrt);
    let mut tape = Tape {
        b: graph.to_builder(),
        needs,
        adjoints: vec![None; graph.n_values()],
        types,
    };
    let one = tape.constant("seed", 1.0);
    tape.adjoints[output.index()] = Some(one);
    for node in graph.nodes().iter().rev() {
        let dy: Vec<Option<ValueId>> = node
            .outputs
            .iter()
            .map(|v| tape.adjoints[v.index()])
            .collect();
        let wanted = node.inputs.iter().any(|v| tape.needs[v.index()]);
        if wanted && dy.iter().any(Option::is_some) {
            rules::backward(&mut tape, node, &dy).map_err(|e| e.at(&node.name))?;
        }
    }
    graph.outputs().iter().for_each(|&v| tape.b.output(v));
    for &v in wrt {
        let adjoint = match tape.adjoints[v.index()] {
            // The output itself, or two values of one adjoint, would be declared twice.
            Some(adjoint) => tape.rename(v, adjoint, graph),
            None => tape.zeros_like(v, graph),
        };
        tape.b.output(adjoint);
    }
    Ok(tape.b.finish()?)
}

/// For every value, whether it depends on one of `wrt`.
fn dependents(graph: &Graph, wrt: &[ValueId]) -> Vec<bool> {
    let mut needs = vec![false; graph.n_values()];
    wrt.iter().for_each(|v| needs[v.index()] = true);
    for node in graph.nodes() {
        let reads = |(i, v): (usize, &ValueId)| node.op.reads(i) && needs[v.index()];
        if node.inputs.iter().enumerate().any(reads) {
            node.outputs.iter().for_each(|v| needs[v.index()] = true);
        }
    }
    needs
}

/// The graph under construction and the adjoints of the forward values so far.
struct Tape {
    b: GraphBuilder,
    /// Whether a forward value needs an adjoint.
    needs: Vec<bool>,
    adjoints: Vec<Option<ValueId>>,
    /// Types of the forward values at a batch of 2; only used to see which axes were broadcast.
    types: Vec<Type>,
}

impl Tape {
    /// Adds a node and returns its output.
    fn emit(&mut self, stem: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.b.fresh(&format!("grad.{stem}"));
        self.b.node(&name, op, inputs)
    }

    fn constant(&mut self, stem: &str, value: f32) -> ValueId {
        let name = self.b.fresh(&format!("grad.{stem}"));
        self.b.constant(&name, Tensor::scalar(value))
    }

    fn needs(&self, v: ValueId) -> bool {
        self.needs[v.index()]
    }

    fn shape(&self, v: ValueId) -> &[usize] {
        &self.types[v.index()].shape
    }

    /// Adds `share` to the adjoint of the forward value `v`, if that is wanted.
    fn add(&mut self, v: ValueId, share: ValueId) {
        if !self.needs(v) {
            return;
        }
        let sum = match self.adjoints[v.index()] {
            None => share,
            Some(before) => self.emit("sum", Op::Binary(Binary::Add), &[before, share]),
        };
        self.adjoints[v.index()] = Some(sum);
    }

    fn rename(&mut self, of: ValueId, adjoint: ValueId, graph: &Graph) -> ValueId {
        use bantam_core::op::{Unary, elementwise::UnaryKind};
        let op = Op::Unary(Unary::new(UnaryKind::Identity));
        let name = self.b.fresh(&format!("d.{}", graph.value_name(of)));
        self.b.node(&name, op, &[adjoint])
    }

    fn zeros_like(&mut self, of: ValueId, graph: &Graph) -> ValueId {
        let zero = self.constant("zero", 0.0);
        let name = self.b.fresh(&format!("d.{}", graph.value_name(of)));
        self.b.node(&name, Op::Binary(Binary::Mul), &[of, zero])
    }
}
