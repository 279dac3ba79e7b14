//! What is known of values before a graph runs: types, and the values themselves where they follow
//! from constants and shapes.

use std::borrow::Cow;

use crate::op::late::{Known, Resolved};
use crate::op::{Op, Type};
use crate::{Graph, Result, Tensor};

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
        Op::Late(late) => match late.resolve(inputs)? {
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
    /// The start: input types if they are given, and parameters of at most `budget` elements.
    pub(crate) fn new(graph: &'g Graph, inputs: Option<&[Type]>, budget: usize) -> State<'g> {
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
            if p.weight.len() <= budget {
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
