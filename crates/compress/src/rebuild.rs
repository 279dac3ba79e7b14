//! A graph built anew with other weights and attributes: what shapes that change need.

use std::collections::HashMap;

use bantam_core::{Graph, GraphBuilder, Op, ValueId, Weight};

use crate::{Error, ErrorKind, Result};

/// What differs in the new graph.
#[derive(Default)]
pub(crate) struct Changes {
    /// New weights by index into [`Graph::parameters`].
    pub(crate) weights: HashMap<usize, Weight>,
    /// New operators by index into [`Graph::nodes`].
    pub(crate) ops: HashMap<usize, Op>,
    /// Trainable weights that become one more input of a node, by its index.
    pub(crate) inputs: HashMap<usize, Weight>,
}

/// The graph with `changes`; names and orders stay. Errs when the result is not valid.
pub(crate) fn rebuild(graph: &Graph, changes: &Changes) -> Result<Graph> {
    let mut b = GraphBuilder::new(graph.name());
    let mut ids: Vec<Option<ValueId>> = vec![None; graph.n_values()];
    let mut inputs = graph.inputs().iter().peekable();
    let mut parameters = graph.parameters().iter().enumerate().peekable();
    let mut nodes = graph.nodes().iter().enumerate().peekable();
    // Values are numbered in the order of declaration, and so are inputs, weights and nodes.
    while inputs.len() + parameters.len() + nodes.len() > 0 {
        let input = inputs.peek().map(|i| i.value);
        let parameter = parameters.peek().map(|(_, p)| p.value);
        let node = nodes.peek().and_then(|(_, n)| n.outputs.first().copied());
        let next = [input, parameter, node].into_iter().flatten().min();
        if next == input
            && let Some(i) = inputs.next()
        {
            let name = graph.value_name(i.value);
            ids[i.value.index()] = Some(b.input(name, i.dtype, i.dims.clone()));
        } else if next == parameter
            && let Some((idx, p)) = parameters.next()
        {
            let weight = changes.weights.get(&idx).unwrap_or(&p.weight).clone();
            let name = graph.value_name(p.value);
            let id = if p.trainable {
                b.weight(name, weight)
            } else {
                b.constant(name, weight)
            };
            ids[p.value.index()] = Some(id);
        } else if let Some((idx, n)) = nodes.next() {
            let old = |v: &ValueId| ids[v.index()].expect("nodes come after what they read");
            let mut from: Vec<ValueId> = n.inputs.iter().map(old).collect();
            if let Some(weight) = changes.inputs.get(&idx) {
                let name = graph.to_builder().fresh(&format!("{}.bias", n.name));
                from.push(b.weight(&name, weight.clone()));
            }
            let op = changes.ops.get(&idx).unwrap_or(&n.op).clone();
            let new = add(&mut b, graph, &n.name, op, &from, &n.outputs)?;
            for (v, id) in n.outputs.iter().zip(new) {
                ids[v.index()] = Some(id);
            }
        }
    }
    for v in graph.outputs() {
        b.output(ids[v.index()].expect("every value has a definition"));
    }
    Ok(b.finish()?)
}

fn add(
    b: &mut GraphBuilder,
    graph: &Graph,
    name: &str,
    op: Op,
    from: &[ValueId],
    outputs: &[ValueId],
) -> Result<Vec<ValueId>> {
    Ok(match outputs.len() {
        1 if graph.value_name(outputs[0]) == name => vec![b.node(name, op, from)],
        1 => b.node_n::<1>(name, op, from).to_vec(),
        2 => b.node_n::<2>(name, op, from).to_vec(),
        3 => b.node_n::<3>(name, op, from).to_vec(),
        n => {
            let message = format!("a node with {n} outputs cannot be rebuilt");
            return Err(Error::new(ErrorKind::Structure, message).at(name));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, lenet, random};

    #[test]
    fn no_changes_change_nothing() {
        for g in [lenet(&mut Noise(1)), random(1), random(2), random(3)] {
            assert_eq!(rebuild(&g, &Changes::default()).unwrap(), g);
        }
    }
}
