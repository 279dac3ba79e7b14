//! Batch normalisation of a training step together with the rectifier behind it, forward and backward.
//!
//! Forward, the rectifier is all that reads the normalised values, so they are never written. Backward,
//! whether a value was let through is seen from that value, which is computed again from what the
//! gradient of the normalisation reads anyway. No bit changes.

use std::collections::HashMap;

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{BatchNorm, NormRole, Unary};
use bantam_core::{Op, ValueId};
use bantam_kernels::last::Clamp;

use super::groups::Facts;

/// A normalisation and its rectifier.
#[derive(Clone, Debug)]
pub(super) struct Rectified {
    /// The normalisation, in the role of training or of its gradient.
    pub(super) op: BatchNorm,
    pub(super) clamp: Clamp,
    /// What it reads: that of the node; backward the gradient behind the rectifier, and `beta` last.
    pub(super) inputs: Vec<ValueId>,
    /// What it makes.
    pub(super) outputs: Vec<ValueId>,
}

/// What becomes one step, by the node of the normalisation, where it runs; takes their nodes.
pub(super) fn rectified(facts: &Facts, taken: &mut [bool]) -> HashMap<usize, Rectified> {
    let mut found = HashMap::new();
    for i in 0..facts.graph.nodes().len() {
        let pair = match taken[i] {
            true => None,
            false => forward(facts, i).or_else(|| backward(facts, i)),
        };
        if let Some((rectifier, both)) = pair.filter(|(rectifier, _)| !taken[*rectifier]) {
            (taken[i], taken[rectifier]) = (true, true);
            found.insert(i, both);
        }
    }
    found
}

/// The normalisation of node `i`, if it is one in this role.
fn norm(facts: &Facts, i: usize, role: NormRole) -> Option<BatchNorm> {
    match facts.graph.nodes()[i].op {
        Op::BatchNorm(op) if op.role == role => Some(op),
        _ => None,
    }
}

/// The bounds of a rectifier, or of its gradient.
fn bounds(op: &Op, grad: bool) -> Option<Clamp> {
    match *op {
        Op::Unary(Unary { kind, grad: g }) if g == grad => match kind {
            UnaryKind::Relu => Some(Clamp::RELU),
            UnaryKind::Relu6 => Some(Clamp {
                high: 6.0,
                ..Clamp::RELU
            }),
            _ => None,
        },
        _ => None,
    }
}

/// The nodes that need the values of `v`, not only its type; `usize::MAX` for an output of the graph.
fn reading<'a>(facts: &'a Facts, v: ValueId) -> impl Iterator<Item = usize> + 'a {
    let reads = move |&&n: &&usize| {
        let node = facts.graph.nodes().get(n);
        node.is_none_or(|node| {
            let mut inputs = node.inputs.iter().enumerate();
            inputs.any(|(k, &input)| input == v && node.op.reads(k))
        })
    };
    facts.readers(v).iter().filter(reads).copied()
}

fn forward(facts: &Facts, i: usize) -> Option<(usize, Rectified)> {
    let op = norm(facts, i, NormRole::Training)?;
    let node = &facts.graph.nodes()[i];
    let mut readers = reading(facts, node.outputs[0]);
    let (next, none) = (readers.next()?, readers.next());
    let rectifier = facts.graph.nodes().get(next).filter(|_| none.is_none())?;
    let clamp = bounds(&rectifier.op, false)?;
    let floats = node.inputs.iter().chain(&node.outputs);
    let all_f32 = floats.clone().all(|&v| facts.is_f32(v));
    let mut outputs = node.outputs.clone();
    outputs[0] = rectifier.outputs[0];
    let both = Rectified {
        op,
        clamp,
        inputs: node.inputs.clone(),
        outputs,
    };
    all_f32.then_some((next, both))
}

fn backward(facts: &Facts, i: usize) -> Option<(usize, Rectified)> {
    let op = norm(facts, i, NormRole::Grad)?;
    let nodes = facts.graph.nodes();
    let &[x, gamma, mean, var, dy] = &nodes[i].inputs[..] else {
        return None;
    };
    let gate = facts.producer(dy)?;
    let clamp = bounds(&nodes[gate].op, true)?;
    let only = facts.reader(dy) == Some(i);
    let &[before, _, dy] = &nodes[gate].inputs[..] else {
        return None;
    };
    // What was gated must be what this normalisation made of the same values.
    let made = facts.producer(before)?;
    let forward = norm(facts, made, NormRole::Training)?;
    let &[of, factor, beta] = &nodes[made].inputs[..] else {
        return None;
    };
    let same = (of, factor) == (x, gamma)
        && nodes[made].outputs[..] == [before, mean, var]
        && forward.epsilon == op.epsilon;
    let inputs = vec![x, gamma, mean, var, dy, beta];
    let all_f32 = inputs.iter().all(|&v| facts.is_f32(v));
    let both = Rectified {
        op,
        clamp,
        inputs,
        outputs: nodes[i].outputs.clone(),
    };
    (only && same && all_f32).then_some((gate, both))
}
