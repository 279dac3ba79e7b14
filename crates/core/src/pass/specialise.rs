//! Concrete sizes in the place of symbolic ones, and constants in the place of what they determine.

use super::Rebuild;
use crate::known::{Outcome, State, settle};
use crate::op::control::truth;
use crate::op::late::Known;
use crate::op::{Control, Op, Quantize, QuantizeRole, Type};
use crate::{Dim, Error, ErrorKind, Graph, Node, Result, Tensor, ValueId};

/// Most elements of a constant that folding makes.
const BUDGET: usize = 1 << 26;

/// The graph for inputs of these types: late operators whose operands follow from types and
/// constants become what they are, what is constant becomes a constant, a choice that is made becomes the
/// branch. Errs when the inputs are not what the graph declares, or a node does not accept them.
///
/// What depends on values of the inputs stays as it is; the executor settles it while it runs.
pub fn specialise(graph: &Graph, inputs: &[Type]) -> Result<Graph> {
    graph.check_inputs(inputs)?;
    rewrite(graph, Some(inputs))
}

/// The graph with a constant in the place of every node that reads only constants.
///
/// A product of stored weights stays if the result takes more bytes than what it is made of, so that
/// quantized weights are not unpacked.
pub fn fold_constants(graph: &Graph) -> Result<Graph> {
    rewrite(graph, None)
}

fn rewrite(graph: &Graph, inputs: Option<&[Type]>) -> Result<Graph> {
    let asked = asked(graph);
    let mut w = Writer {
        r: Rebuild::new(graph),
        state: State::new(graph, inputs, BUDGET, |i| asked[i]),
        asked,
        keep_packed: inputs.is_none(),
    };
    if let Some(inputs) = inputs {
        w.fix_inputs(inputs);
    }
    for node in graph.nodes() {
        w.node(node).map_err(|e| e.at(&node.name))?;
    }
    let graph_outputs: Vec<ValueId> = graph.outputs().to_vec();
    for v in graph_outputs {
        let id = w.id(v);
        w.r.builder.output(id);
    }
    w.r.builder.finish_open()
}

/// What stands between stored integers and the layer that computes with them: it stays, for whoever
/// reads it, while what is computed from it alone is folded as ever.
fn is_quantized_weight(op: &Op) -> bool {
    let role = QuantizeRole::Dequantize;
    matches!(op, Op::Quantize(Quantize { role: r, .. }) if *r == role)
}

/// Whether anything is computed from a value, should it be a constant. Of stored integers and codebooks that
/// layers read nothing is, so they need not be decoded, all of them at a time, for nothing.
fn asked(graph: &Graph) -> Vec<bool> {
    let mut may_be_constant = vec![false; graph.n_values()];
    for p in graph.parameters() {
        may_be_constant[p.value.index()] = true;
    }
    let computes: Vec<bool> = (graph.nodes().iter())
        .map(|node| {
            let all = node.inputs.iter().all(|v| may_be_constant[v.index()]);
            let computes = all || node.op.is_late();
            for v in &node.outputs {
                may_be_constant[v.index()] = computes;
            }
            computes
        })
        .collect();
    let mut asked = vec![false; graph.n_values()];
    for (node, computes) in graph.nodes().iter().zip(computes).rev() {
        let for_nothing =
            is_quantized_weight(&node.op) && !node.outputs.iter().any(|v| asked[v.index()]);
        if computes && !for_nothing {
            node.inputs.iter().for_each(|v| asked[v.index()] = true);
        }
    }
    asked
}

struct Writer<'g> {
    r: Rebuild<'g>,
    state: State<'g>,
    asked: Vec<bool>,
    /// Leave nodes whose result is larger than what they read.
    keep_packed: bool,
}

impl Writer<'_> {
    fn fix_inputs(&mut self, types: &[Type]) {
        let graph = self.r.graph;
        self.r.builder = crate::GraphBuilder::new(graph.name());
        (0..graph.n_values()).for_each(|i| self.r.builder.reserve(graph.value_name_at(i)));
        for (i, t) in graph.inputs().iter().zip(types) {
            let dims = t.shape.iter().map(|&d| Dim::Fixed(d)).collect();
            let id = self
                .r
                .builder
                .input(graph.value_name(i.value), t.dtype, dims);
            self.r.new[i.value.index()] = Some(id);
        }
    }

    /// The new value for an old one; a constant is declared when it is first read.
    fn id(&mut self, old: ValueId) -> ValueId {
        if let Some(id) = self.r.new[old.index()] {
            return id;
        }
        let graph = self.r.graph;
        let name = graph.value_name(old);
        let parameter = graph.parameters().iter().find(|p| p.value == old);
        let id = match parameter {
            Some(p) if p.trainable => self.r.builder.weight(name, p.weight.clone()),
            Some(p) => self.r.builder.constant(name, p.weight.clone()),
            None => {
                let value = self.state.values[old.index()].as_deref();
                let value: Tensor = value.expect("nodes are in running order").clone();
                self.r.builder.constant(name, value)
            }
        };
        self.r.new[old.index()] = Some(id);
        id
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        let for_nothing = is_quantized_weight(&node.op) && !self.asked[node.outputs[0].index()];
        let known = node.inputs.iter().map(|v| {
            let known = self.state.known(v.index());
            // Its type is enough.
            let value = known.value.filter(|_| !for_nothing);
            Known { value, ..known }
        });
        let known: Vec<_> = known.collect();
        if let (Op::Control(Control::If { then, otherwise }), Some(c)) =
            (&node.op, known.first().and_then(|k| k.value))
        {
            let branch = if truth(c)? { then } else { otherwise };
            return self.inline(node, branch);
        }
        let outcome = settle(&node.op, &known, BUDGET)?;
        let read: usize = known.iter().filter_map(|k| k.t).map(Type::size_bytes).sum();
        match outcome {
            Outcome::Constants(values) => {
                let made: usize = values
                    .iter()
                    .map(|t| t.len() * t.dtype().size_bytes())
                    .sum();
                if self.keep_packed && made > read.max(4096) {
                    self.copy(node);
                    for (v, t) in node.outputs.iter().zip(&values) {
                        self.state.types[v.index()] = Some(Type::new(t.dtype(), t.shape()));
                    }
                    return Ok(());
                }
                if is_quantized_weight(&node.op) {
                    self.copy(node);
                }
                for (&v, t) in node.outputs.iter().zip(values) {
                    self.state.set_constant(v.index(), t);
                }
            }
            Outcome::Types(types) => {
                self.copy(node);
                self.set_types(node, types)?;
            }
            Outcome::Unknown => self.copy(node),
            Outcome::Becomes(ops, read) => {
                let inputs: Vec<ValueId> = read.iter().map(|&i| self.id(node.inputs[i])).collect();
                let (last, before) = ops.split_last().expect("a chain has an operator");
                let mut inputs = inputs;
                for (i, (op, _)) in before.iter().enumerate() {
                    let name = self.r.builder.fresh(&format!("{}.{i}", node.name));
                    inputs = vec![self.r.builder.node(&name, op.clone(), &inputs)];
                }
                self.emit(node, last.0.clone(), last.1.len(), &inputs);
                let n = node.outputs.len();
                self.set_types(node, last.1[..n.min(last.1.len())].to_vec())?;
            }
        }
        Ok(())
    }

    fn set_types(&mut self, node: &Node, types: Vec<Type>) -> Result<()> {
        if types.len() != node.outputs.len() {
            let message = format!(
                "declared with {} outputs, has {}",
                node.outputs.len(),
                types.len()
            );
            return Err(Error::new(ErrorKind::Structure, message));
        }
        for (v, t) in node.outputs.iter().zip(types) {
            self.state.types[v.index()] = Some(t);
        }
        Ok(())
    }

    fn copy(&mut self, node: &Node) {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| self.id(v)).collect();
        self.emit(node, node.op.clone(), node.outputs.len(), &inputs);
    }

    /// Adds `op`, which has `n` outputs, in the place of `node`, which may have fewer.
    fn emit(&mut self, node: &Node, op: Op, n: usize, inputs: &[ValueId]) {
        let outputs = match n {
            1 => vec![self.r.builder.node(&node.name, op, inputs)],
            n => self.r.builder.node_many(&node.name, op, inputs, n),
        };
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.r.new[old.index()] = Some(new);
        }
    }

    /// Puts the nodes of a branch in the place of a choice.
    fn inline(&mut self, node: &Node, branch: &Graph) -> Result<()> {
        let captured: Vec<usize> = node.inputs[1..].iter().map(|v| v.index()).collect();
        let types: Option<Vec<Type>> = captured
            .iter()
            .map(|&i| self.state.types[i].clone())
            .collect();
        // The branch is settled by itself first, as far as what it reads is known.
        let branch = match &types {
            Some(types) => rewrite(branch, Some(types))?,
            None => branch.clone(),
        };
        let mut ids: Vec<Option<ValueId>> = vec![None; branch.n_values()];
        for (i, &outer) in branch.inputs().iter().zip(&node.inputs[1..]) {
            ids[i.value.index()] = Some(self.id(outer));
        }
        let stem = |name: &str| format!("{}.{name}", node.name);
        for p in branch.parameters() {
            let name = self.r.builder.fresh(&stem(branch.value_name(p.value)));
            ids[p.value.index()] = Some(self.r.builder.constant(&name, p.weight.clone()));
        }
        for inner in branch.nodes() {
            let name = self.r.builder.fresh(&stem(&inner.name));
            let inputs: Vec<ValueId> = inner
                .inputs
                .iter()
                .map(|v| ids[v.index()].expect("in running order"))
                .collect();
            let outputs = match inner.outputs.len() {
                1 => vec![self.r.builder.node(&name, inner.op.clone(), &inputs)],
                n => self
                    .r
                    .builder
                    .node_many(&name, inner.op.clone(), &inputs, n),
            };
            for (v, id) in inner.outputs.iter().zip(outputs) {
                ids[v.index()] = Some(id);
            }
        }
        let inferred = match &types {
            Some(types) => Some(branch.infer_partly(types)?),
            None => None,
        };
        for (i, (&old, inner)) in node.outputs.iter().zip(branch.outputs()).enumerate() {
            let id = ids[inner.index()].expect("outputs are defined");
            // The name of the output stays.
            let name = match node.outputs.len() {
                1 => node.name.clone(),
                _ => self.r.builder.fresh(&format!("{}.{i}", node.name)),
            };
            self.r.new[old.index()] = Some(self.r.builder.node(&name, Op::identity(), &[id]));
            if let Some(types) = &inferred {
                self.state.types[old.index()] = types[inner.index()].clone();
            }
        }
        Ok(())
    }
}
