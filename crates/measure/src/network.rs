//! What a network can hold: memory-equivalent capacity by layer.
//!
//! A dense layer of `n_l` units stores at most its weights, one bit each, and beyond the first layer
//! at most what reaches it, one bit for each unit of the narrowest layer before:
//! `n_1 (n_0 + 1) + sum min(n_l (n_(l-1) + 1), min_(j<l) n_j)` (MacKay, "Information Theory, Inference
//! and Learning Algorithms", 2003, chapter 40; Friedland, Krell, "A capacity scaling law for artificial
//! neural networks", 2017). The law is for threshold units, binary labels and points in general position.
//! Activations that are real numbers pass more than a bit, so the cap is no bound for them, and
//! networks much larger than this generalise well: large enough to memorise does not mean
//! that it will overfit.

use bantam_core::graph::Parameter;
use bantam_core::op::{Layout, Type};
use bantam_core::{DType, Graph, Op, ValueId, Weight};

use crate::bits::order_bits;
use crate::error::{Error, ErrorKind, Result};

/// On what ground a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Published, for this kind of layer.
    Published,
    /// A figure that others measured on other networks.
    Measured,
    /// Our extrapolation to a kind of layer that the published rule does not treat.
    Extrapolation,
}

impl Ground {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Ground::Published => "published",
            Ground::Measured => "measured elsewhere",
            Ground::Extrapolation => "our extrapolation",
        }
    }
}

/// Another way to count the same network; not to be added to any other.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// The rule in words, with its source.
    pub rule: &'static str,
    /// What it comes to.
    pub bits: f64,
    /// On what ground.
    pub ground: Ground,
}

/// Capacity of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCapacity {
    /// Name of the node.
    pub node: String,
    /// Name of its operator.
    pub op: &'static str,
    /// Weights that are not pruned, shared ones once: what the layer could store with enough
    /// input.
    pub weights: u64,
    /// Bits that reach it; none for the first layer, which sees the data.
    pub reach_bits: Option<u64>,
    /// Bits in which its weights are written: values and, where some are pruned, which remain; none for
    /// plain `f32` values, which are no limit.
    pub stored_bits: Option<u64>,
    /// The least of the three.
    pub bits: u64,
    /// The rule in words.
    pub rule: String,
    /// On what ground.
    pub ground: Ground,
}

/// Capacity of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCapacity {
    /// Layers that store something, in running order.
    pub layers: Vec<LayerCapacity>,
    /// Sum of their bits.
    pub bits: u64,
    /// Sum of their weights: the plain additive law, without the caps.
    pub weights: u64,
    /// Twice the weights: where half of all labelings are lost (MacKay's capacity of a unit).
    pub twice_weights: u64,
    /// Whether every layer stands on a published rule.
    pub published: bool,
}

/// Capacity of a graph by layer, in bits.
///
/// Dense layers follow the published rule. By extrapolation: a convolution counts its shared weights
/// once and is capped by the elements that reach it; a sum or concatenation passes what its inputs
/// pass together; an embedding stores its table; normalisation stores nothing, because it folds into
/// its neighbours; pruned weights do not count; weights with a codebook hold no more than the bits they are
/// written in, which are an index each and the choice of those that remain. Graphs inside a node count
/// with all their weights; what is known only when the network runs is no limit.
///
/// Errs when the parts of the graph do not fit together.
pub fn network_capacity(graph: &Graph) -> Result<NetworkCapacity> {
    let outlook = graph.outlook(Some(&graph.input_types(1)));
    // A network need not accept a sample whose free axes are all 1.
    let types = outlook
        .or_else(|_| graph.outlook(None))
        .map_err(|e| Error::new(ErrorKind::Graph, e.to_string()).because(e))?
        .types;
    let mut reach: Vec<Reach> = vec![None; graph.n_values()];
    // Values that do not depend on the data, such as integers that become weights, pass nothing.
    let mut stored = vec![false; graph.n_values()];
    let own = graph.parameters().iter();
    own.for_each(|p| stored[p.value.index()] = true);
    let mut layers = Vec::new();
    for node in graph.nodes() {
        let is_stored = node.inputs.iter().all(|v| stored[v.index()]) && !node.inputs.is_empty();
        let into = passed(&node.op, &node.inputs, &reach);
        let out_type = types[node.outputs[0].index()].as_ref();
        let mut own = own_weights(graph, &node.op, &node.inputs);
        if let Op::Control(control) = &node.op {
            own.extend(control.graphs().iter().flat_map(|(_, g)| trainable(g)));
        }
        let weights: u64 = own.iter().map(|w| live(w)).sum();
        let written = own.iter().map(|w| written(w)).sum::<Option<u64>>();
        let bits = weights
            .min(into.unwrap_or(u64::MAX))
            .min(written.unwrap_or(u64::MAX));
        let mut out = into;
        if weights > 0 {
            layers.push(LayerCapacity {
                node: node.name.clone(),
                op: node.op.name(),
                weights,
                reach_bits: into,
                stored_bits: written,
                bits,
                rule: rule(&node.op, weights, into, written),
                ground: ground(
                    &node.op,
                    bits == written.unwrap_or(u64::MAX) && bits < weights,
                ),
            });
            out = narrower(into, out_type);
        } else if into.is_some() {
            out = narrower(into, out_type);
        }
        for output in &node.outputs {
            reach[output.index()] = if is_stored { None } else { out };
            stored[output.index()] = is_stored;
        }
    }
    let weights = layers.iter().map(|l| l.weights).sum();
    Ok(NetworkCapacity {
        bits: layers.iter().map(|l| l.bits).sum(),
        weights,
        twice_weights: 2 * weights,
        published: layers.iter().all(|l| l.ground == Ground::Published),
        layers,
    })
}

/// Capacity of a chain of dense layers with biases of `sizes` units, the first being the inputs;
/// the same rule as [`network_capacity`] without a graph.
pub fn dense_capacity(sizes: &[usize]) -> u64 {
    let mut cap = u64::MAX;
    let mut bits = 0u64;
    for pair in sizes.windows(2) {
        let (inputs, units) = (pair[0] as u64, pair[1] as u64);
        bits = bits.saturating_add(units.saturating_mul(inputs + 1).min(cap));
        cap = cap.min(units);
    }
    bits
}

/// Bits that a value carries; none when it is the data, whose bits are not counted.
type Reach = Option<u64>;

/// At most one bit an element of one sample.
fn narrower(reach: Reach, t: Option<&Type>) -> Reach {
    let Some(t) = t else { return reach };
    let elements = t.shape.iter().skip(1).product::<usize>() as u64;
    Some(reach.map_or(elements, |bits| bits.min(elements)))
}

/// Bits that the inputs of a node carry. Weights carry none.
fn passed(op: &Op, inputs: &[ValueId], reach: &[Reach]) -> Reach {
    let mut known = inputs.iter().map(|v| reach[v.index()]);
    match op {
        Op::Binary(_)
        | Op::Quantize(_)
        | Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Recurrent(_)
        | Op::Late(_)
        | Op::Find(_)
        | Op::Control(_)
        | Op::Layout(Layout::Concat { .. })
        | Op::MatMul(_) => known.flatten().reduce(u64::saturating_add),
        Op::Dense(_)
        | Op::Conv(_)
        | Op::Pool(_)
        | Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Softmax(_)
        | Op::Reduce(_)
        | Op::Layout(_)
        | Op::Dropout(_)
        | Op::Cast(_)
        | Op::Cumulative(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Loss(_) => known.next().flatten(),
        Op::Gather(_) => known.flatten().next(),
    }
}

/// Weights that a node stores something in.
fn own_weights<'a>(graph: &'a Graph, op: &Op, inputs: &[ValueId]) -> Vec<&'a Weight> {
    let counts = match op {
        Op::Dense(_)
        | Op::Conv(_)
        | Op::MatMul(_)
        | Op::Gather(_)
        | Op::Binary(_)
        | Op::Recurrent(_)
        | Op::Cast(_)
        | Op::Late(_)
        | Op::Control(_) => true,
        Op::Pool(_)
        | Op::BatchNorm(_)
        | Op::Unary(_)
        | Op::Softmax(_)
        | Op::Reduce(_)
        | Op::Layout(_)
        | Op::Dropout(_)
        | Op::Logic(_)
        | Op::Select(_)
        | Op::Index(_)
        | Op::Cumulative(_)
        | Op::Resample(_)
        | Op::Window(_)
        | Op::Quantize(_)
        | Op::Find(_)
        | Op::Loss(_) => false,
    };
    let parameters = graph.parameters().iter();
    let own = parameters.filter(|p| counts && is_weight(p) && inputs.contains(&p.value));
    own.map(|p| &p.weight).collect()
}

/// All weights of a graph inside a node, and of the graphs inside it.
fn trainable(graph: &Graph) -> Vec<&Weight> {
    let all = graph.all_parameters().into_iter();
    all.filter(|p| is_weight(p)).map(|p| &p.weight).collect()
}

/// Whether a parameter is a weight: training changes it, or it is a matrix of 8-bit integers, to which
/// training would not go.
fn is_weight(p: &Parameter) -> bool {
    let integers = matches!(p.weight.dtype(), DType::I8 | DType::U8);
    p.trainable || integers && p.weight.shape().len() > 1
}

/// Bits that a weight is written in, at the least: an index for each value that is not pruned, and which
/// those are.
fn written(weight: &Weight) -> Option<u64> {
    let Weight::Codebook(c) = weight else {
        return None;
    };
    let (all, live) = (c.indices().len() as u64, live(weight));
    let entries = c.entries().len().saturating_sub(1).max(1) as f64;
    let which = order_bits(all) - order_bits(live) - order_bits(all - live);
    Some((live as f64 * entries.log2() + which).ceil() as u64)
}

fn live(weight: &Weight) -> u64 {
    match weight {
        Weight::Dense(t) => t.len() as u64,
        Weight::Masked(m) => m.keep().iter().filter(|&&k| k).count() as u64,
        Weight::Codebook(c) => c.indices().iter().filter(|&&i| i != 0).count() as u64,
    }
}

fn ground(op: &Op, by_writing: bool) -> Ground {
    match op {
        Op::Dense(_) if !by_writing => Ground::Published,
        _ => Ground::Extrapolation,
    }
}

/// Why a layer holds what it holds.
fn rule(op: &Op, weights: u64, reach: Reach, written: Option<u64>) -> String {
    let what = match op {
        Op::Dense(_) => "a bit a weight",
        Op::Conv(_) => "a bit a weight, shared ones once",
        Op::Gather(_) => "a bit an entry of the table",
        Op::Control(_) => "a bit a weight of the graphs inside",
        _ => "a bit an entry",
    };
    let least = weights.min(reach.unwrap_or(u64::MAX));
    match (reach, written) {
        (_, Some(bits)) if bits < least => {
            format!("{what} ({weights}), but its weights are written in {bits} bits")
        }
        (Some(bits), _) if bits < weights => {
            format!("{what} ({weights}), but {bits} bits reach it")
        }
        _ => what.to_owned(),
    }
}

impl NetworkCapacity {
    /// Other ways to count, each with its ground. They are different quantities: they stand beside the
    /// capacity and are not added to it.
    pub fn alternatives(&self) -> Vec<Alternative> {
        let weights = self.weights as f64;
        let one = |rule, bits, ground| Alternative { rule, bits, ground };
        vec![
            one(
                "a bit a weight, layers added (Friedland and Krell, 2017)",
                weights,
                Ground::Published,
            ),
            one(
                "2 bits a weight, where half of all labelings are lost (MacKay, 2003)",
                2.0 * weights,
                Ground::Published,
            ),
            one(
                "2 bits a weight, facts in language models (Allen-Zhu and Li, 2024)",
                2.0 * weights,
                Ground::Measured,
            ),
            one(
                "3.6 bits a weight, random texts in language models (Morris et al., 2025)",
                3.6 * weights,
                Ground::Measured,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_core::op::elementwise::UnaryKind;
    use bantam_core::op::{Binary, Conv, Dense, Unary};
    use bantam_core::{DType, Dim, GraphBuilder, Tensor};

    fn weight(shape: &[usize]) -> Weight {
        Weight::Dense(Tensor::zeros(DType::F32, shape))
    }

    fn dense(b: &mut GraphBuilder, name: &str, x: ValueId, sizes: [usize; 2]) -> ValueId {
        let w = b.weight(&format!("{name}.w"), weight(&[sizes[1], sizes[0]]));
        let bias = b.weight(&format!("{name}.b"), weight(&[sizes[1]]));
        b.node(name, Op::Dense(Dense), &[x, w, bias])
    }

    fn relu(b: &mut GraphBuilder, name: &str, x: ValueId) -> ValueId {
        b.node(name, Op::Unary(Unary::new(UnaryKind::Relu)), &[x])
    }

    fn chain(sizes: &[usize]) -> Graph {
        let mut b = GraphBuilder::new("chain");
        let dims = vec![Dim::batch(), Dim::Fixed(sizes[0])];
        let mut x = b.input("x", DType::F32, dims);
        for (i, pair) in sizes.windows(2).enumerate() {
            x = dense(&mut b, &format!("fc{i}"), x, [pair[0], pair[1]]);
            x = relu(&mut b, &format!("relu{i}"), x);
        }
        b.output(x);
        b.finish().unwrap()
    }

    #[test]
    fn dense_chains() {
        let cases: [(&[usize], &[u64], u64); 8] = [
            (&[2, 2, 2, 1], &[6, 2, 2], 15),
            (&[2, 1], &[3], 3),
            (&[2, 2, 1], &[6, 2], 9),
            (&[10, 1], &[11], 11),
            (&[4, 2, 1], &[10, 2], 13),
            (&[14, 3, 1], &[45, 3], 49),
            (&[5, 11, 1], &[66, 11], 78),
            // The narrow layer keeps its grip on all that follow.
            (&[8, 3, 20, 20], &[27, 3, 3], 27 + 80 + 420),
        ];
        for (sizes, bits, weights) in cases {
            let found = network_capacity(&chain(sizes)).unwrap();
            let layers: Vec<u64> = found.layers.iter().map(|l| l.bits).collect();
            assert_eq!(layers, bits, "{sizes:?}");
            assert_eq!((found.weights, found.twice_weights), (weights, 2 * weights));
            assert_eq!(found.bits, dense_capacity(sizes), "{sizes:?}");
            assert!(found.published);
        }
        assert_eq!(dense_capacity(&[2, 2, 2, 1]), 10);
    }

    #[test]
    fn convolutions_are_extrapolated() {
        let mut b = GraphBuilder::new("conv");
        let dims = vec![Dim::batch(), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
        let x = b.input("x", DType::F32, dims);
        let conv = |b: &mut GraphBuilder, name: &str, x, c: [usize; 2], stride| {
            let w = b.weight(&format!("{name}.w"), weight(&[c[1], c[0], 3, 3]));
            let bias = b.weight(&format!("{name}.b"), weight(&[c[1]]));
            let op = Conv {
                stride: [stride; 2],
                padding: [1; 4],
                ..Conv::default()
            };
            b.node(name, Op::Conv(op), &[x, w, bias])
        };
        let a = conv(&mut b, "a", x, [3, 4], 4);
        let main = conv(&mut b, "main", a, [4, 4], 1);
        let sum = b.node("sum", Op::Binary(Binary::Add), &[main, a]);
        let last = conv(&mut b, "last", sum, [4, 4], 1);
        b.output(last);
        let found = network_capacity(&b.finish().unwrap()).unwrap();
        let bits: Vec<u64> = found.layers.iter().map(|l| l.bits).collect();
        // 4 channels of 2 x 2 pass 16 bits; the sum has 16 elements and passes no more.
        assert_eq!(bits, [4 * 28, 16, 16]);
        assert_eq!(found.weights, 4 * 28 + 2 * 4 * 37);
        assert!(!found.published);
    }

    #[test]
    fn codebooks_hold_what_they_are_written_in() {
        // 12 weights, 5 of them not 0, all with the one value there is: what is written is which.
        let indices = vec![0u8, 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1];
        let entries = vec![0.0, 0.5];
        let codebook = bantam_core::Codebook::new(&[2, 6], entries, indices).unwrap();
        let mut b = GraphBuilder::new("coded");
        let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(6)]);
        let w = b.weight("w", Weight::Codebook(codebook));
        let y = b.node("y", Op::Dense(Dense), &[x, w]);
        b.output(y);
        let found = network_capacity(&b.finish().unwrap()).unwrap();
        let layer = &found.layers[0];
        // log2 of 12 over 5, 792, is 9.63, and the five weights are fewer.
        assert_eq!(
            (layer.weights, layer.stored_bits, layer.bits),
            (5, Some(10), 5)
        );
        assert_eq!(layer.ground, Ground::Published);
        let all = found.alternatives();
        assert_eq!(
            all.iter().map(|a| a.bits).collect::<Vec<_>>(),
            [5.0, 10.0, 10.0, 18.0]
        );
        assert!(all.iter().any(|a| a.ground == Ground::Measured));
    }

    /// The worked networks, with the reasons given.
    #[test]
    fn rules_in_words() {
        let found = network_capacity(&chain(&[2, 2, 2, 1])).unwrap();
        assert_eq!(found.bits, 10);
        let rules: Vec<&str> = found.layers.iter().map(|l| l.rule.as_str()).collect();
        let capped = [
            "a bit a weight (6), but 2 bits reach it",
            "a bit a weight (3), but 2 bits reach it",
        ];
        assert_eq!(rules, ["a bit a weight", capped[0], capped[1]]);
        let bits: Vec<f64> = found.alternatives().iter().map(|a| a.bits).collect();
        assert_eq!(bits[..2], [15.0, 30.0]);
    }

    #[test]
    fn pruned_weights_do_not_count() {
        let mut b = GraphBuilder::new("pruned");
        let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(3)]);
        let values = Tensor::new::<f32>(&[2, 3], vec![1.0; 6]).unwrap();
        let keep = vec![true, false, true, false, false, true];
        let masked = bantam_core::Masked::new(&values, keep).unwrap();
        let w = b.weight("w", Weight::Masked(masked));
        let y = b.node("y", Op::Dense(Dense), &[x, w]);
        b.output(y);
        assert_eq!(network_capacity(&b.finish().unwrap()).unwrap().bits, 3);
    }
}
