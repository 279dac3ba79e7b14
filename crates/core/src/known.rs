//! What is known of values before a graph runs: types, and the values themselves where they follow
//! from constants and shapes.

use std::borrow::Cow;

use crate::op::late::{Known, Resolved};
use crate::op::{Cost, Op, Type};
use crate::{Graph, Result, Tensor};

/// What can be told of a graph before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Types of values, by [`ValueId::index`](crate::ValueId::index).
    pub types: Vec<Option<Type>>,
    /// Costs of nodes; of one that is settled before anything runs, nothing.
    pub costs: Vec<Option<Cost>>,
}

impl Graph {
    /// Types of all values as far as they follow from the input types and small constants. Errs as
    /// [`Graph::infer`], but not for what depends on values.
    pub fn infer_partly(&self, inputs: &[Type]) -> Result<Vec<Option<Type>>> {
        Ok(self.outlook(Some(inputs))?.types)
    }

    /// Types and costs as far as they follow from constants, and from input types where they are
    /// given. Errs when a node does not accept what it is known to be given.
    pub fn outlook(&self, inputs: Option<&[Type]>) -> Result<Outlook> {
        /// Shapes and axes are computed with few numbers; more are not looked at.
        const BUDGET: usize = 4096;
        if let Some(inputs) = inputs {
            self.check_inputs(inputs)?;
        }
        let mut state = State::new(self, inputs, BUDGET, |_| true);
        let mut costs = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let known: Vec<_> = node.inputs.iter().map(|v| state.known(v.index())).collect();
            let outcome = settle(&node.op, &known, BUDGET).map_err(|e| e.at(&node.name))?;
            let types = match outcome {
                Outcome::Unknown => {
                    costs.push(None);
                    continue;
                }
                Outcome::Constants(values) => {
                    costs.push(Some(Cost::default()));
                    for (v, t) in node.outputs.iter().zip(values) {
                        state.set_constant(v.index(), t);
                    }
                    continue;
                }
                Outcome::Types(types) => {
                    let inputs: Vec<Type> = known.iter().filter_map(|k| k.t.cloned()).collect();
                    costs.push(Some(node.op.cost(&inputs, &types)));
                    types
                }
                Outcome::Becomes(mut ops, read) => {
                    let read = read.iter().filter_map(|&i| known[i].t.cloned()).collect();
                    costs.push(Some(cost_of(&ops, read)));
                    ops.pop().map_or(Vec::new(), |last| last.1)
                }
            };
            for (v, t) in node.outputs.iter().zip(types) {
                state.types[v.index()] = Some(t);
            }
        }
        Ok(Outlook {
            types: state.types,
            costs,
        })
    }
}

/// The cost of operators that read one another, the first of them `inputs`.
fn cost_of(ops: &[(Op, Vec<Type>)], mut inputs: Vec<Type>) -> Cost {
    let mut sum = Cost::default();
    for (op, outputs) in ops {
        let cost = op.cost(&inputs, outputs);
        sum.macs += cost.macs;
        sum.bytes += cost.bytes;
        inputs = outputs[..1].to_vec();
    }
    sum
}

/// What an operator gives, from what is known of its inputs.
#[derive(Debug)]
pub enum Outcome {
    /// Its outputs are constants.
    Constants(Vec<Tensor>),
    /// It stays as it is, with outputs of these types.
    Types(Vec<Type>),
    /// It is these operators, each reading the first output of the one before, the first reading
    /// these inputs.
    Becomes(Vec<(Op, Vec<Type>)>, Vec<usize>),
    /// Something that it needs is not known.
    Unknown,
}

/// Settles one operator. Constants of more than `budget` elements are not computed.
pub fn settle(op: &Op, inputs: &[Known], budget: usize) -> Result<Outcome> {
    match op {
        Op::Control(_) => Ok(Outcome::Unknown),
        Op::Find(_) => match values(inputs) {
            Some(v) if v.iter().all(|t| t.len() <= budget) => {
                Ok(Outcome::Constants(op.evaluate(&v, &[])?))
            }
            _ => Ok(Outcome::Unknown),
        },
        Op::Late(late) => match late.resolve(inputs, budget)? {
            None => Ok(Outcome::Unknown),
            Some(Resolved::Constant(t)) => Ok(Outcome::Constants(vec![t])),
            Some(Resolved::Chain(ops, read)) => chain(ops, &read, inputs, budget),
        },
        op => {
            let Some(types) = types(inputs) else {
                return Ok(Outcome::Unknown);
            };
            let outputs = op.infer(&types)?;
            match values(inputs) {
                Some(v) if fits(&outputs, budget) => {
                    Ok(Outcome::Constants(op.evaluate(&v, &outputs)?))
                }
                _ => Ok(Outcome::Types(outputs)),
            }
        }
    }
}

fn types(inputs: &[Known]) -> Option<Vec<Type>> {
    inputs.iter().map(|k| k.t.cloned()).collect()
}

fn values<'a>(inputs: &[Known<'a>]) -> Option<Vec<&'a Tensor>> {
    inputs.iter().map(|k| k.value).collect()
}

fn fits(types: &[Type], budget: usize) -> bool {
    types.iter().all(|t| t.len() <= budget)
}

fn chain(ops: Vec<Op>, read: &[usize], inputs: &[Known], budget: usize) -> Result<Outcome> {
    let ops = if ops.is_empty() {
        vec![Op::identity()]
    } else {
        ops
    };
    let inputs: Vec<Known> = read.iter().map(|&i| inputs[i]).collect();
    let Some(mut current) = types(&inputs) else {
        return Ok(Outcome::Unknown);
    };
    let mut typed = Vec::new();
    for op in ops {
        let outputs = op.infer(&current)?;
        current = vec![outputs[0].clone()];
        typed.push((op, outputs));
    }
    let small = typed.iter().all(|(_, t)| fits(t, budget));
    let Some(first) = values(&inputs).filter(|_| small) else {
        return Ok(Outcome::Becomes(typed, read.to_vec()));
    };
    let (op, outputs) = &typed[0];
    let mut results = op.evaluate(&first, outputs)?;
    for (op, outputs) in &typed[1..] {
        results = op.evaluate(&[&results[0]], outputs)?;
    }
    Ok(Outcome::Constants(results))
}

/// What is known of each value of a graph.
pub(crate) struct State<'g> {
    pub(crate) types: Vec<Option<Type>>,
    pub(crate) values: Vec<Option<Cow<'g, Tensor>>>,
}

impl<'g> State<'g> {
    /// The start: input types if they are given, and those parameters of at most `budget` elements that
    /// are asked for, by [`ValueId::index`](crate::ValueId::index).
    pub(crate) fn new(
        graph: &'g Graph,
        inputs: Option<&[Type]>,
        budget: usize,
        asked: impl Fn(usize) -> bool,
    ) -> State<'g> {
        let mut state = State {
            types: vec![None; graph.n_values()],
            values: vec![None; graph.n_values()],
        };
        for (input, t) in graph.inputs().iter().zip(inputs.unwrap_or(&[])) {
            state.types[input.value.index()] = Some(t.clone());
        }
        for p in graph.parameters() {
            let i = p.value.index();
            state.types[i] = Some(Type::new(p.weight.dtype(), p.weight.shape()));
            if p.weight.len() <= budget && asked(i) {
                state.values[i] = Some(p.weight.tensor());
            }
        }
        state
    }

    pub(crate) fn known(&self, i: usize) -> Known<'_> {
        Known {
            t: self.types[i].as_ref(),
            value: self.values[i].as_deref(),
        }
    }

    pub(crate) fn set_constant(&mut self, i: usize, t: Tensor) {
        self.types[i] = Some(Type::new(t.dtype(), t.shape()));
        self.values[i] = Some(Cow::Owned(t));
    }
}
