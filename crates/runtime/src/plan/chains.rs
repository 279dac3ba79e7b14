//! Chains of small operators that are one kernel: layer normalisation and GELU, as exporters write them
//! out. The kernel rounds where the chain does, so no bit changes.
//!
//! What a chain takes must have no reader outside of it. The axis is the last, parameters are stored.

use std::collections::HashMap;

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Binary, Reduce, ReduceKind, Unary};
use bantam_core::{Op, ValueId};

use super::groups::Facts;
use crate::chain::{Gelu, Norm};

/// A chain, found by its last node.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The node it is named after.
    pub(super) node: usize,
    /// What it reads: `x`, and a value of the same type that is added to it first.
    pub(super) x: ValueId,
    pub(super) added: Option<ValueId>,
    /// The value it makes.
    pub(super) out: ValueId,
    pub(super) kind: ChainKind,
    /// All nodes it stands for.
    pub(super) nodes: Vec<usize>,
}

/// What a chain computes.
#[derive(Clone, Debug)]
pub(super) enum ChainKind {
    Norm(Norm),
    Gelu(Gelu),
}

/// The chains of a graph among nodes that are not taken yet, by the nodes where they run; takes theirs.
pub(super) fn chains(facts: &Facts, taken: &mut [bool]) -> HashMap<usize, Chain> {
    let mut chains = HashMap::new();
    for i in 0..facts.graph.nodes().len() {
        let found = match taken[i] {
            true => None,
            false => layer_norm(facts, i).or_else(|| gelu(facts, i)),
        };
        if let Some(chain) = found.filter(|c| c.nodes.iter().all(|&n| !taken[n])) {
            chain.nodes.iter().for_each(|&n| taken[n] = true);
            let last = chain
                .nodes
                .iter()
                .copied()
                .max()
                .expect("a chain has nodes");
            chains.insert(last, chain);
        }
    }
    chains
}

/// Walks along a chain: each step is the only reader of the value before.
struct Walk<'a> {
    facts: &'a Facts<'a>,
    nodes: Vec<usize>,
}

impl<'a> Walk<'a> {
    fn op(&self, node: usize) -> &'a Op {
        &self.facts.graph.nodes()[node].op
    }

    fn inputs(&self, node: usize) -> &'a [ValueId] {
        &self.facts.graph.nodes()[node].inputs
    }

    fn out(&self, node: usize) -> ValueId {
        self.facts.graph.nodes()[node].outputs[0]
    }

    /// The only reader of `v`, noted.
    fn next(&mut self, v: ValueId) -> Option<usize> {
        let node = self.facts.reader(v)?;
        self.nodes.push(node);
        Some(node)
    }

    /// The result of the only reader of `v`, if that is a function of this kind.
    fn unary(&mut self, v: ValueId, kind: UnaryKind) -> Option<ValueId> {
        let node = self.next(v)?;
        let wanted = Op::Unary(Unary { kind, grad: false });
        (*self.op(node) == wanted).then(|| self.out(node))
    }

    /// The other operand and the result of the only reader of `v`, if that is this operator; where order
    /// matters, `v` is on the left.
    fn binary(&mut self, v: ValueId, op: Binary) -> Option<(ValueId, ValueId)> {
        let node = self.next(v)?;
        let &[a, b] = self.inputs(node) else {
            return None;
        };
        let commutes = matches!(op, Binary::Add | Binary::Mul);
        let other = match (a == v, b == v) {
            (true, false) => b,
            (false, true) if commutes => a,
            _ => return None,
        };
        let same = self.facts.types[self.out(node).index()] == self.facts.types[v.index()];
        (*self.op(node) == Op::Binary(op) && same).then(|| (other, self.out(node)))
    }

    /// The result of a mean over the last axis, kept.
    fn mean(&self, node: usize, rank: usize) -> Option<ValueId> {
        let Op::Reduce(Reduce::Axes {
            kind: ReduceKind::Mean,
            axes,
            keep_dims: true,
        }) = self.op(node)
        else {
            return None;
        };
        let last = [-1, rank as i64 - 1];
        matches!(axes[..], [axis] if last.contains(&axis)).then(|| self.out(node))
    }

    /// A stored vector as long as the last axis.
    fn vector(&self, v: ValueId, len: usize) -> Option<Vec<f32>> {
        let tensor = self.facts.stored(v)?;
        let fits = tensor.shape() == [len];
        fits.then(|| tensor.values::<f32>().ok().map(<[f32]>::to_vec))?
    }
}

/// `mean; x - mean; squares; mean; + epsilon; root; quotient; * gamma; + beta`, from the mean on.
fn layer_norm(facts: &Facts, first: usize) -> Option<Chain> {
    let mut walk = Walk {
        facts,
        nodes: vec![first],
    };
    let &[x] = walk.inputs(first) else {
        return None;
    };
    let shape = facts.shape(x)?.to_vec();
    let c = *shape.last().filter(|&&c| c > 0)?;
    let mean = walk.mean(first, shape.len())?;
    if !facts.is_f32(x) {
        return None;
    }
    let minus = walk.next(mean)?;
    if *walk.op(minus) != Op::Binary(Binary::Sub) || walk.inputs(minus) != [x, mean] {
        return None;
    }
    let centred = walk.out(minus);
    let readers = facts.readers(centred);
    // The square reads it twice, the quotient once.
    let is_square =
        |n: usize| walk.op(n) == &Op::Binary(Binary::Mul) && walk.inputs(n) == [centred; 2];
    let &square = readers.iter().find(|&&n| n != usize::MAX && is_square(n))?;
    let others: Vec<usize> = readers.iter().copied().filter(|&n| n != square).collect();
    let &[quotient] = &others[..] else {
        return None;
    };
    if quotient == usize::MAX {
        return None;
    }
    walk.nodes.push(square);
    let mean_of_squares = walk.next(walk.out(square))?;
    let variance = walk.mean(mean_of_squares, shape.len())?;
    let (epsilon, shifted) = walk.binary(variance, Binary::Add)?;
    let epsilon = facts.number(epsilon)?;
    let root = walk.unary(shifted, UnaryKind::Sqrt)?;
    let after = facts.reader(root)?;
    let reciprocal = after != quotient;
    let (divisor, op) = match reciprocal {
        true => (walk.unary(root, UnaryKind::Reciprocal)?, Binary::Mul),
        false => (root, Binary::Div),
    };
    if walk.next(divisor)? != quotient || *walk.op(quotient) != Op::Binary(op) {
        return None;
    }
    let operands = walk.inputs(quotient);
    let turned = reciprocal && operands == [divisor, centred];
    if operands != [centred, divisor] && !turned {
        return None;
    }
    let (gamma, scaled) = walk.binary(walk.out(quotient), Binary::Mul)?;
    let (beta, out) = walk.binary(scaled, Binary::Add)?;
    let norm = Norm {
        gamma: walk.vector(gamma, c)?,
        beta: walk.vector(beta, c)?,
        epsilon,
        reciprocal,
    };
    let (x, added) = sum_before(&mut walk, x, first, minus).unwrap_or((x, None));
    Some(Chain {
        node: first,
        x,
        added,
        out,
        kind: ChainKind::Norm(norm),
        nodes: walk.nodes,
    })
}

/// What is added to make `x`, if the normalisation is all that reads it.
fn sum_before(
    walk: &mut Walk,
    x: ValueId,
    first: usize,
    minus: usize,
) -> Option<(ValueId, Option<ValueId>)> {
    let mut readers = walk.facts.readers(x).to_vec();
    readers.sort_unstable();
    let mut ours = vec![first, minus];
    ours.sort_unstable();
    let nodes = walk.facts.graph.nodes();
    let sum = nodes.iter().position(|n| n.outputs.contains(&x))?;
    let &[a, b] = walk.inputs(sum) else {
        return None;
    };
    let of = |v: ValueId| &walk.facts.types[v.index()];
    let same = of(a) == of(x) && of(b) == of(x);
    if readers != ours || *walk.op(sum) != Op::Binary(Binary::Add) || !same {
        return None;
    }
    walk.nodes.push(sum);
    Some((a, Some(b)))
}

/// `x / root 2` (or times its inverse)`; erf; + 1; * x; * 1/2`, from the quotient on.
fn gelu(facts: &Facts, first: usize) -> Option<Chain> {
    let mut walk = Walk {
        facts,
        nodes: vec![first],
    };
    let &[x, by] = walk.inputs(first) else {
        return None;
    };
    let divides = match walk.op(first) {
        Op::Binary(Binary::Div) => true,
        Op::Binary(Binary::Mul) => false,
        _ => return None,
    };
    let (x, by) = match facts.number(by) {
        Some(by) => (x, by),
        None if divides => return None,
        None => (by, facts.number(x)?),
    };
    let scaled = walk.out(first);
    if !facts.is_f32(x) || facts.types[x.index()] != facts.types[scaled.index()] {
        return None;
    }
    let erf = walk.unary(scaled, UnaryKind::Erf)?;
    let (one, shifted) = walk.binary(erf, Binary::Add)?;
    let (other, product) = walk.binary(shifted, Binary::Mul)?;
    let (half, out) = walk.binary(product, Binary::Mul)?;
    if facts.number(one) != Some(1.0) || other != x {
        return None;
    }
    let gelu = Gelu {
        divides,
        by,
        factor: facts.number(half)?,
    };
    Some(Chain {
        node: first,
        x,
        added: None,
        out,
        kind: ChainKind::Gelu(gelu),
        nodes: walk.nodes,
    })
}
