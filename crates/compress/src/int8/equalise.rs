//! Channels of neighbouring layers evened out: what one layer multiplies a channel by, the next divides
//! by (Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction",
//! section 4.1, equation 11).

use std::collections::HashMap;

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{Conv, ConvRole, Op, Unary};
use bantam_core::{Graph, Node, Tensor, ValueId, Weight};

use super::stored;
use crate::Result;

/// The graph with the weights of neighbouring convolutions and dense layers equalised, and how many
/// channels were. Between the two there is nothing or a rectifier, and nobody else reads what is
/// there. The function of the network stays as it is, but for roundings.
///
/// Errs when a weight does not take its new values.
pub fn equalise(graph: &Graph) -> Result<(Graph, usize)> {
    let mut values: HashMap<ValueId, Vec<f32>> = HashMap::new();
    let mut n_channels = 0;
    let pairs = pairs(graph);
    // Along a chain each pair changes the next one's first layer; a few rounds settle.
    for round in 0..3 {
        for &(first, second) in &pairs {
            let n = even_out(graph, &mut values, first, second);
            n_channels += if round == 0 { n } else { 0 };
        }
    }
    let names: HashMap<&str, &Vec<f32>> = values
        .iter()
        .map(|(v, w)| (graph.value_name(*v), w))
        .collect();
    let equalised = graph.map_weights(|name, p| {
        Ok(match names.get(name) {
            Some(w) => Some(Weight::Dense(Tensor::new::<f32>(
                p.weight.shape(),
                w.to_vec(),
            )?)),
            None => None,
        })
    })?;
    Ok((equalised, n_channels))
}

fn readers(graph: &Graph, v: ValueId) -> Vec<&Node> {
    graph
        .nodes()
        .iter()
        .filter(|n| n.inputs.contains(&v))
        .collect()
}

/// Layers one of which is the only reader of the other.
fn pairs(graph: &Graph) -> Vec<(&Node, &Node)> {
    let mut pairs = Vec::new();
    for first in graph.nodes().iter().filter(|n| is_layer(graph, n)) {
        let mut out = first.outputs[0];
        loop {
            let readers = readers(graph, out);
            if graph.outputs().contains(&out) || readers.len() != 1 {
                break;
            }
            let next = readers[0];
            match &next.op {
                // A rectifier passes a positive factor on; one with an upper bound does not.
                Op::Unary(Unary {
                    kind: UnaryKind::Relu,
                    grad: false,
                }) => out = next.outputs[0],
                _ if is_layer(graph, next) && next.inputs[0] == out => {
                    pairs.push((first, next));
                    break;
                }
                _ => break,
            }
        }
    }
    pairs
}

fn is_layer(graph: &Graph, node: &Node) -> bool {
    let own = |v: &ValueId| {
        let dense = graph.parameters().iter().any(|p| {
            let floats = p.weight.dtype() == bantam_core::DType::F32;
            p.value == *v && floats && matches!(p.weight, Weight::Dense(_))
        });
        dense && readers(graph, *v).len() == 1
    };
    let layer = match &node.op {
        Op::Conv(Conv { role, groups, .. }) => {
            let shape = node.inputs.get(1).and_then(|&w| stored(graph, w));
            let shape = shape.map_or(Vec::new(), |t| t.shape().to_vec());
            let whole = *groups == 1 || (shape.first() == Some(groups) && shape.get(1) == Some(&1));
            *role == ConvRole::Forward && whole
        }
        Op::Dense(_) => true,
        _ => false,
    };
    layer && node.inputs.len() > 1 && node.inputs[1..].iter().all(own)
}

/// Scales the channels between two layers; returns how many.
fn even_out(
    graph: &Graph,
    values: &mut HashMap<ValueId, Vec<f32>>,
    first: &Node,
    second: &Node,
) -> usize {
    let shape = |n: &Node| stored(graph, n.inputs[1]).map_or(Vec::new(), |t| t.shape().to_vec());
    let (one, two) = (shape(first), shape(second));
    let depthwise = matches!(second.op, Op::Conv(c) if c.groups > 1);
    let channels = one[0];
    let reads = if depthwise { two[0] } else { two[1] };
    if channels != reads {
        return 0;
    }
    let mut take = |v: ValueId| {
        let known = values.remove(&v);
        let fresh = || {
            let t = stored(graph, v).expect("weights of a layer are stored");
            t.values::<f32>()
                .expect("weights of a layer are floats")
                .to_vec()
        };
        known.unwrap_or_else(fresh)
    };
    let (mut w1, mut w2) = (take(first.inputs[1]), take(second.inputs[1]));
    let mut bias = first.inputs.get(2).map(|&b| take(b));
    let inner: usize = two[2..].iter().product();
    let each = w1.len() / channels;
    // Index of the channel that an element of the second layer's weights reads.
    let of = |i: usize| match depthwise {
        true => i / inner.max(1),
        false => i / inner.max(1) % channels,
    };
    let most = |w: &[f32], of: &dyn Fn(usize) -> usize| {
        let mut most = vec![0f32; channels];
        w.iter()
            .enumerate()
            .for_each(|(i, v)| most[of(i)] = most[of(i)].max(v.abs()));
        most
    };
    let (r1, r2) = (most(&w1, &|i| i / each), most(&w2, &of));
    let factor: Vec<f32> = r1
        .iter()
        .zip(&r2)
        .map(|(a, b)| {
            // By this the first layer's channel is divided: both ranges become the root of a b.
            let s = (a / b).sqrt();
            if s.is_finite() && s > 1e-4 && s < 1e4 {
                s
            } else {
                1.0
            }
        })
        .collect();
    w1.iter_mut()
        .enumerate()
        .for_each(|(i, w)| *w /= factor[i / each]);
    w2.iter_mut()
        .enumerate()
        .for_each(|(i, w)| *w *= factor[of(i)]);
    if let Some(bias) = &mut bias {
        bias.iter_mut().zip(&factor).for_each(|(b, s)| *b /= s);
    }
    values.insert(first.inputs[1], w1);
    values.insert(second.inputs[1], w2);
    if let (Some(bias), Some(&v)) = (bias, first.inputs.get(2)) {
        values.insert(v, bias);
    }
    channels
}
