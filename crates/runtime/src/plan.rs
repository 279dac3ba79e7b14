//! The plan: which buffer holds which value, decided once for given input types.
//!
//! Values that only rename others (reshape, identity) share their storage. A buffer is used again as
//! soon as the value in it has been read for the last time; among free buffers the one whose size
//! fits best is taken.

use bantam_core::op::{Dropout, Layout, Type, Unary};
use bantam_core::{DType, Graph, Op, Tensor, ValueId, pass};

use crate::Result;

/// Where the storage of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The caller's input of this number.
    Input(usize),
    /// A stored weight.
    Weight(usize),
    /// A buffer of the executor.
    Slot(usize),
    /// A tensor whose type is known only when it is there.
    Late(usize),
}

/// One node to run: reads from places, writes to slots.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) op: Op,
    pub(crate) inputs: Vec<(Place, Option<Type>)>,
    pub(crate) outputs: Vec<(Place, Option<Type>)>,
}

/// A buffer that several values use in turn.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) dtype: DType,
    pub(crate) len: usize,
}

/// Memory that a plan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of the buffers for intermediate values and outputs.
    pub buffers_bytes: usize,
    /// Bytes the same values would take with a buffer each.
    pub without_reuse_bytes: usize,
    /// Bytes of the decoded weights.
    pub weights_bytes: usize,
}

/// How to run a graph for given input types.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) inputs: Vec<Type>,
    pub(crate) weights: Vec<Tensor>,
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) outputs: Vec<(Place, Option<Type>)>,
    pub(crate) n_late: usize,
    without_reuse_bytes: usize,
}

impl Plan {
    /// Plans `graph` for inputs of the given types; errs when the graph does not accept them.
    ///
    /// What follows from types and constants is computed now. Values whose types depend on the values
    /// of the inputs are made, with buffers of their own, when the plan runs.
    pub fn new(graph: &Graph, inputs: &[Type]) -> Result<Plan> {
        let specialised;
        let graph = match graph.is_late() || folds(graph) {
            true => {
                specialised = settled(graph, inputs)?;
                &specialised
            }
            false => graph,
        };
        let types = known_types(graph, inputs)?;
        let weights = graph
            .parameters()
            .iter()
            .map(|p| p.weight.tensor().into_owned())
            .collect();
        let mut planner = Planner::new(graph, types);
        let steps = planner.steps();
        let outputs = graph
            .outputs()
            .iter()
            .map(|&v| (planner.place(v), planner.type_of(v)));
        let outputs = outputs.collect();
        Ok(Plan {
            inputs: inputs.to_vec(),
            weights,
            steps,
            slots: planner.slots,
            outputs,
            n_late: planner.n_late,
            without_reuse_bytes: planner.without_reuse_bytes,
        })
    }

    /// Plans `graph` with every symbolic axis of size `n`.
    pub fn for_batch(graph: &Graph, n: usize) -> Result<Plan> {
        Plan::new(graph, &graph.input_types(n))
    }

    /// Input types the plan is for.
    pub fn inputs(&self) -> &[Type] {
        &self.inputs
    }

    /// Memory an executor of this plan holds.
    pub fn memory(&self) -> Memory {
        Memory {
            buffers_bytes: self
                .slots
                .iter()
                .map(|s| s.len * s.dtype.size_bytes())
                .sum(),
            without_reuse_bytes: self.without_reuse_bytes,
            weights_bytes: self
                .weights
                .iter()
                .map(|t| t.len() * t.dtype().size_bytes())
                .sum(),
        }
    }
}

/// The graph specialised to its input types. A branch that is put in the place of a choice may read
/// constants that were not known while it stood apart, hence again and again.
fn settled(graph: &Graph, inputs: &[Type]) -> Result<Graph> {
    let late = |g: &Graph| g.nodes().iter().filter(|n| n.op.is_late()).count();
    let mut graph = pass::drop_dead(&pass::specialise(graph, inputs)?)?;
    for _ in 0..8 {
        let next = pass::drop_dead(&pass::specialise(&graph, inputs)?)?;
        let ends = late(&next) >= late(&graph);
        graph = next;
        if ends {
            break;
        }
    }
    Ok(graph)
}

/// Types of all values, but for those that an operator makes which is still late, and for what
/// follows from these.
fn known_types(graph: &Graph, inputs: &[Type]) -> Result<Vec<Option<Type>>> {
    let mut types = graph.infer_partly(inputs)?;
    for node in graph.nodes() {
        if node.op.is_late() || node.inputs.iter().any(|v| types[v.index()].is_none()) {
            node.outputs.iter().for_each(|v| types[v.index()] = None);
        }
    }
    Ok(types)
}

/// Whether a node reads nothing but stored values.
fn folds(graph: &Graph) -> bool {
    let mut stored = vec![false; graph.n_values()];
    graph
        .parameters()
        .iter()
        .for_each(|p| stored[p.value.index()] = true);
    graph
        .nodes()
        .iter()
        .any(|n| n.inputs.iter().all(|v| stored[v.index()]))
}

struct Planner<'g> {
    graph: &'g Graph,
    types: Vec<Option<Type>>,
    n_late: usize,
    /// The value whose storage each value has; itself unless it only renames another.
    root: Vec<ValueId>,
    place: Vec<Option<Place>>,
    /// Number of the last node that reads the storage; outputs are read after all nodes.
    last_read: Vec<usize>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    without_reuse_bytes: usize,
}

impl<'g> Planner<'g> {
    fn new(graph: &'g Graph, types: Vec<Option<Type>>) -> Planner<'g> {
        let mut root = vec![None; types.len()];
        let mut place = vec![None; types.len()];
        for (i, input) in graph.inputs().iter().enumerate() {
            root[input.value.index()] = Some(input.value);
            place[input.value.index()] = Some(Place::Input(i));
        }
        for (i, p) in graph.parameters().iter().enumerate() {
            root[p.value.index()] = Some(p.value);
            place[p.value.index()] = Some(Place::Weight(i));
        }
        for node in graph.nodes() {
            for &v in &node.outputs {
                let of = if renames(&node.op) && types[v.index()].is_some() {
                    root[node.inputs[0].index()]
                } else {
                    Some(v)
                };
                root[v.index()] = of;
            }
        }
        let root: Vec<ValueId> = root.into_iter().map(|r| r.expect("defined")).collect();
        let mut last_read = vec![0; types.len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            for (k, v) in node.inputs.iter().enumerate() {
                if node.op.reads(k) {
                    last_read[root[v.index()].index()] = i;
                }
            }
            node.outputs.iter().for_each(|v| {
                let r = root[v.index()].index();
                last_read[r] = last_read[r].max(i);
            });
        }
        graph
            .outputs()
            .iter()
            .for_each(|v| last_read[root[v.index()].index()] = usize::MAX);
        Planner {
            graph,
            types,
            root,
            place,
            last_read,
            slots: Vec::new(),
            free: Vec::new(),
            n_late: 0,
            without_reuse_bytes: 0,
        }
    }

    fn type_of(&self, v: ValueId) -> Option<Type> {
        self.types[v.index()].clone()
    }

    fn place(&self, v: ValueId) -> Place {
        self.place[self.root[v.index()].index()].expect("nodes are in running order")
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (i, node) in self.graph.nodes().iter().enumerate() {
            if !renames(&node.op) || self.types[node.outputs[0].index()].is_none() {
                let outputs = node.outputs.iter().map(|&v| self.allocate(v)).collect();
                let inputs = node.inputs.iter().map(|&v| self.read(v)).collect();
                steps.push(Step {
                    name: node.name.clone(),
                    op: node.op.clone(),
                    inputs,
                    outputs,
                });
            }
            self.release(i);
        }
        steps
    }

    /// A value to read; where only its shape matters its storage may be gone, and any place serves.
    fn read(&self, v: ValueId) -> (Place, Option<Type>) {
        (self.place(v), self.type_of(v))
    }

    fn allocate(&mut self, v: ValueId) -> (Place, Option<Type>) {
        let Some(t) = self.type_of(v) else {
            let place = Place::Late(self.n_late);
            self.n_late += 1;
            self.place[v.index()] = Some(place);
            return (place, None);
        };
        self.without_reuse_bytes += t.size_bytes();
        let len = t.len();
        let fits = |s: &Slot| s.dtype == t.dtype;
        let cost = |s: &Slot| {
            if s.len >= len {
                (0, s.len - len)
            } else {
                (1, len - s.len)
            }
        };
        let best = (0..self.free.len())
            .filter(|&i| fits(&self.slots[self.free[i]]))
            .min_by_key(|&i| cost(&self.slots[self.free[i]]));
        let slot = match best {
            Some(i) => self.free.swap_remove(i),
            None => {
                self.slots.push(Slot {
                    dtype: t.dtype,
                    len: 0,
                });
                self.slots.len() - 1
            }
        };
        self.slots[slot].len = self.slots[slot].len.max(len);
        self.place[v.index()] = Some(Place::Slot(slot));
        (Place::Slot(slot), Some(t))
    }

    /// Frees the buffers whose value node `i` was the last to read.
    fn release(&mut self, i: usize) {
        let node = &self.graph.nodes()[i];
        let mut roots: Vec<ValueId> = node
            .inputs
            .iter()
            .chain(&node.outputs)
            .map(|v| self.root[v.index()])
            .collect();
        roots.sort_unstable();
        roots.dedup();
        for r in roots {
            let Some(Place::Slot(slot)) = self.place[r.index()] else {
                continue;
            };
            if self.last_read[r.index()] == i && !self.free.contains(&slot) {
                self.free.push(slot);
            }
        }
    }
}

/// Whether the operator's output has the values of its first input in the same order.
fn renames(op: &Op) -> bool {
    use bantam_core::op::elementwise::UnaryKind;
    matches!(
        op,
        Op::Layout(Layout::Reshape { .. } | Layout::ReshapeLike)
            | Op::Dropout(Dropout::Identity { .. })
            | Op::Unary(Unary {
                kind: UnaryKind::Identity,
                grad: false
            })
    )
}
