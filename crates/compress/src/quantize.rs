//! Trained codebooks (Han, Mao, Dally 2016, "Deep Compression", section 3): the non-zero values of a
//! weight share a few values, found by k-means; training may then move the shared values.
//!
//! Entry 0 of every codebook is 0, and pruned elements point at it. Refuses values that are not
//! finite. Formats of whole numbers and half floats are not made here.

use bantam_core::graph::Parameter;
use bantam_core::order::sort_indices;
use bantam_core::{Codebook, DType, Graph, Tensor, Weight};

use crate::kmeans::{self, Points};
use crate::prune::{is_weight, names_of};
use crate::{Error, ErrorKind, Result, names};

/// Where k-means starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Evenly from the smallest to the largest non-zero value: keeps the few large weights exact,
    /// best in the paper above 2 bits.
    Linear,
    /// At evenly spaced quantiles.
    Density,
    /// k-means++: far from each other, drawn with this seed.
    PlusPlus {
        /// Starts the random numbers.
        seed: u64,
    },
    /// At the optimum, by dynamic programming; exact up to 4,096 distinct values of a weight, close
    /// to it beyond.
    Optimal,
}

/// Options of [`quantize()`].
#[derive(Clone, Debug, PartialEq)]
pub struct CodebookOptions {
    /// Bits of an index among the non-zero entries, 1 to 8: `2^bits` of them, and 255 at 8 bits,
    /// where zero needs one.
    pub bits: u8,
    /// Bits of single weights: a name, or a prefix with a trailing `*`; the first that fits counts.
    pub per_layer: Vec<(String, u8)>,
    /// Weights left as they are: names, or prefixes with a trailing `*`.
    pub exclude: Vec<String>,
    /// Where k-means starts.
    pub init: Init,
    /// Most iterations of k-means per weight, at least 1; it stops earlier when nothing changes.
    pub max_iterations: usize,
    /// Bits for trainable `f32` parameters of one axis (biases, scales of norms); `None` leaves them.
    pub bias_bits: Option<u8>,
}

impl Default for CodebookOptions {
    /// 5 bits everywhere, linear start, biases left as they are.
    fn default() -> CodebookOptions {
        CodebookOptions {
            bits: 5,
            per_layer: Vec::new(),
            exclude: Vec::new(),
            init: Init::Linear,
            max_iterations: 100,
            bias_bits: None,
        }
    }
}

impl CodebookOptions {
    /// Bits for the parameter called `name`; `None` leaves it.
    fn bits_for(&self, name: &str, p: &Parameter) -> Option<u8> {
        if self.exclude.iter().any(|e| names::fits(e, name)) {
            return None;
        }
        if is_bias(p) {
            return self.bias_bits;
        }
        let own = self
            .per_layer
            .iter()
            .find(|(pattern, _)| names::fits(pattern, name));
        is_weight(p).then(|| own.map_or(self.bits, |o| o.1))
    }

    fn check(&self, graph: &Graph) -> Result<()> {
        let bits = self
            .per_layer
            .iter()
            .map(|p| p.1)
            .chain(self.bias_bits)
            .chain([self.bits]);
        check_bits(bits)?;
        if self.max_iterations == 0 {
            return Err(Error::new(
                ErrorKind::Option,
                "max_iterations: expected at least 1",
            ));
        }
        let weights = names_of(graph, is_weight);
        names::check(
            "per_layer",
            self.per_layer.iter().map(|p| p.0.as_str()),
            &weights,
        )?;
        let quantized = names_of(graph, |p| is_weight(p) || is_bias(p));
        names::check(
            "exclude",
            self.exclude.iter().map(String::as_str),
            &quantized,
        )
    }
}

fn check_bits(mut bits: impl Iterator<Item = u8>) -> Result<()> {
    match bits.find(|b| !(1..=8).contains(b)) {
        Some(bad) => {
            let message = format!("bits: expected 1 to 8, found {bad}");
            Err(Error::new(ErrorKind::Option, message))
        }
        None => Ok(()),
    }
}

fn is_bias(p: &Parameter) -> bool {
    p.trainable && p.weight.dtype() == DType::F32 && p.weight.shape().len() == 1
}

/// The graph with weights replaced by codebooks.
///
/// Weights are trainable `f32` parameters of two or more axes in any form; biases join them with
/// [`CodebookOptions::bias_bits`]. A weight with fewer distinct values than entries keeps them
/// exactly. Entries are numbered outwards from zero. Errs on options out of range, patterns that fit
/// nothing, and values that are not finite.
pub fn quantize(graph: &Graph, options: &CodebookOptions) -> Result<Graph> {
    options.check(graph)?;
    let mut weights = Vec::with_capacity(graph.parameters().len());
    for p in graph.parameters() {
        let name = graph.value_name(p.value);
        let bits = options.bits_for(name, p);
        let new = bits.map(|bits| codebook(&p.weight, bits, options).map_err(|e| e.at(name)));
        weights.push(new.transpose()?);
    }
    let mut weights = weights.into_iter();
    Ok(graph.map_weights(|_, _| Ok(weights.next().flatten()))?)
}

/// Most non-zero entries of a codebook.
const MAX_ENTRIES: usize = 255;

fn n_entries(bits: u8) -> usize {
    (1usize << bits).min(MAX_ENTRIES)
}

/// `f32` values as a codebook without loss; `None` when they are more than it has entries.
pub(crate) fn exact_codebook(tensor: &Tensor) -> Result<Option<Weight>> {
    let values = tensor.values::<f32>()?;
    let mut levels: Vec<f32> = values.iter().copied().filter(|&v| v != 0.0).collect();
    levels.sort_unstable_by(f32::total_cmp);
    levels.dedup();
    if levels.len() > MAX_ENTRIES {
        return Ok(None);
    }
    let book = nearest(tensor.shape(), values, &levels)?;
    Ok(Some(Weight::Codebook(book)))
}

fn codebook(weight: &Weight, bits: u8, options: &CodebookOptions) -> Result<Weight> {
    let tensor = weight.tensor();
    let values = tensor.values::<f32>()?;
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        let message = format!("element {i} is {}", values[i]);
        return Err(Error::new(ErrorKind::NotFinite, message));
    }
    let points = Points::new(values.iter().copied().filter(|&v| v != 0.0).collect());
    let centroids = kmeans::cluster(
        &points,
        n_entries(bits),
        options.init,
        options.max_iterations,
    );
    let mut levels: Vec<f32> = centroids.iter().map(|&c| c as f32).collect();
    levels.dedup();
    Ok(Weight::Codebook(nearest(tensor.shape(), values, &levels)?))
}

/// A codebook of ascending `levels`; non-zero values take the nearest, the lower of two. A level
/// that is 0 becomes entry 0.
fn nearest(shape: &[usize], values: &[f32], levels: &[f32]) -> Result<Codebook> {
    let mut outwards: Vec<usize> = (0..levels.len()).filter(|&i| levels[i] != 0.0).collect();
    sort_indices(&mut outwards, &mut |a, b| {
        levels[a].abs().total_cmp(&levels[b].abs()).then(b.cmp(&a))
    });
    let mut index_of = vec![0u8; levels.len()];
    let mut entries = vec![0.0];
    for i in outwards {
        index_of[i] = u8::try_from(entries.len()).expect("at most 255 levels");
        entries.push(levels[i]);
    }
    let middle = |l: &[f32]| 0.5 * (f64::from(l[0]) + f64::from(l[1]));
    let middles: Vec<f64> = levels.windows(2).map(middle).collect();
    let index = |&v: &f32| {
        if v == 0.0 {
            return 0;
        }
        index_of[middles.partition_point(|&m| m < f64::from(v))]
    };
    Ok(Codebook::new(
        shape,
        entries,
        values.iter().map(index).collect(),
    )?)
}

/// Options of [`choose_bits`].
#[derive(Clone, Debug, PartialEq)]
pub struct BitSearch {
    /// Bits to try, in any order.
    pub candidates: Vec<u8>,
    /// Most that the loss may exceed the loss of the given graph, in the unit of the evaluation.
    pub max_loss_increase: f64,
    /// How codebooks are made. `bits` is not used; weights that `per_layer` names keep their bits.
    pub codebook: CodebookOptions,
}

/// What [`choose_bits`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct BitChoice {
    /// The quantized graph.
    pub graph: Graph,
    /// Bits of each weight, in the order of the graph.
    pub per_layer: Vec<(String, u8)>,
    /// Loss of the given graph.
    pub loss_before: f64,
    /// Loss of the quantized graph.
    pub loss: f64,
    /// Calls of the evaluation.
    pub n_evaluations: usize,
}

/// Bits for each weight, chosen greedily.
///
/// All weights start with the most bits of the candidates. Then, candidate by candidate downwards,
/// each weight that is still one candidate above is lowered if the loss stays within the limit; those
/// with the most non-zero elements come first. That is at most one evaluation per weight and
/// candidate, and two more. `evaluate` returns a loss, which counts as too large when not finite.
///
/// Errs when even the most bits exceed the limit, when the evaluation fails (its error is the
/// source), and as [`quantize()`].
pub fn choose_bits<E>(
    graph: &Graph,
    search: &BitSearch,
    evaluate: &mut dyn FnMut(&Graph) -> std::result::Result<f64, E>,
) -> Result<BitChoice>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let candidates = candidates(search)?;
    let mut n_evaluations = 0;
    let mut measure = |g: &Graph| {
        n_evaluations += 1;
        evaluate(g).map_err(|e| Error::callback("the evaluation failed", e))
    };
    let loss_before = measure(graph)?;
    if !loss_before.is_finite() {
        let message = format!("the loss before quantization is {loss_before}");
        return Err(Error::new(ErrorKind::NotFinite, message));
    }
    let limit = loss_before + search.max_loss_increase;
    let fits = |loss: f64| loss.is_finite() && loss <= limit;
    let most = candidates[0];
    let options = CodebookOptions {
        bits: most,
        ..search.codebook.clone()
    };
    let mut best = quantize(graph, &options)?;
    let mut loss = measure(&best)?;
    if !fits(loss) {
        let message = format!("with {most} bits the loss is {loss}, the most allowed is {limit}");
        return Err(Error::new(ErrorKind::Budget, message));
    }

    let mut layers = layers(graph, &options);
    let mut order: Vec<usize> = (0..layers.len()).filter(|&i| layers[i].open).collect();
    let weights = |i: usize| layers[i].parameter.weight.nonzero();
    sort_indices(&mut order, &mut |a, b| weights(b).cmp(&weights(a)));
    for step in candidates.windows(2) {
        for &i in &order {
            let layer = &mut layers[i];
            if layer.bits != step[0] {
                continue;
            }
            let new = codebook(&layer.parameter.weight, step[1], &options);
            let new = new.map_err(|e| e.at(layer.name))?;
            let trial = best.map_weights(|n, _| Ok((n == layer.name).then(|| new.clone())))?;
            let trial_loss = measure(&trial)?;
            if fits(trial_loss) {
                (best, loss, layer.bits) = (trial, trial_loss, step[1]);
            }
        }
    }
    Ok(BitChoice {
        graph: best,
        per_layer: layers.iter().map(|l| (l.name.to_owned(), l.bits)).collect(),
        loss_before,
        loss,
        n_evaluations,
    })
}

/// The candidates from the most bits down, each once.
fn candidates(search: &BitSearch) -> Result<Vec<u8>> {
    let mut candidates = search.candidates.clone();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    candidates.dedup();
    check_bits(candidates.iter().copied())?;
    if candidates.is_empty() {
        let message = "candidates: expected at least one";
        return Err(Error::new(ErrorKind::Option, message));
    }
    let increase = search.max_loss_increase;
    if increase.is_nan() || increase < 0.0 {
        let message = format!("max_loss_increase: expected 0 or more, found {increase}");
        return Err(Error::new(ErrorKind::Option, message));
    }
    Ok(candidates)
}

/// A weight whose bits are being chosen.
struct Layer<'a> {
    name: &'a str,
    parameter: &'a Parameter,
    bits: u8,
    /// Whether the bits may change.
    open: bool,
}

fn layers<'a>(graph: &'a Graph, options: &CodebookOptions) -> Vec<Layer<'a>> {
    let layer = |parameter: &'a Parameter| {
        let name = graph.value_name(parameter.value);
        Some(Layer {
            name,
            parameter,
            bits: options.bits_for(name, parameter)?,
            open: !options.per_layer.iter().any(|(p, _)| names::fits(p, name)),
        })
    };
    let weights = graph.parameters().iter().filter(|p| is_weight(p));
    weights.filter_map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::{Magnitude, prune};
    use crate::testing::{Noise, mlp, values};
    use std::convert::Infallible;

    fn net(seed: u64) -> Graph {
        let noise = |i: usize, n| Noise(seed + i as u64).take(n);
        mlp(
            &[20, 12, 5],
            |l| noise(l, [240, 60][l]),
            |l| noise(9 + l, [12, 5][l]),
        )
    }

    fn book(graph: &Graph, name: &str) -> Codebook {
        match &graph.parameter(name).unwrap().weight {
            Weight::Codebook(c) => c.clone(),
            other => panic!("{name} is {}", other.form()),
        }
    }

    #[test]
    fn pruned_elements_and_only_those_are_zero() {
        let pruned = prune(
            &net(1),
            &Magnitude {
                fraction: 0.7,
                ..Magnitude::default()
            },
        )
        .unwrap();
        for (bits, entries) in [(1, 3), (2, 5), (3, 9), (5, 33), (8, 91)] {
            let q = quantize(
                &pruned,
                &CodebookOptions {
                    bits,
                    ..CodebookOptions::default()
                },
            )
            .unwrap();
            for name in ["fc0.weight", "fc1.weight"] {
                let (c, before) = (book(&q, name), values(&pruned, name));
                assert!(
                    c.entries().len() <= entries,
                    "{bits} bits: {}",
                    c.entries().len()
                );
                let agree = |(&i, &v): (&u8, &f32)| (i == 0) == (v == 0.0);
                assert!(
                    c.indices().iter().zip(&before).all(agree),
                    "{name} at {bits} bits"
                );
                assert!(
                    c.entries().windows(2).all(|e| e[0].abs() <= e[1].abs()),
                    "{:?}",
                    c.entries()
                );
            }
            assert_eq!(values(&q, "fc0.bias"), values(&pruned, "fc0.bias"));
        }
    }

    #[test]
    fn more_bits_are_closer_and_eight_have_255_entries() {
        let w = Noise(3).take(2000);
        let g = mlp(&[2000, 1], |_| w.clone(), |_| vec![0.0]);
        for init in [
            Init::Linear,
            Init::Density,
            Init::PlusPlus { seed: 1 },
            Init::Optimal,
        ] {
            let mut last = f64::MAX;
            for bits in 1..=8 {
                let options = CodebookOptions {
                    bits,
                    init,
                    ..CodebookOptions::default()
                };
                let q = quantize(&g, &options).unwrap();
                assert_eq!(book(&q, "fc0.weight").entries().len(), n_entries(bits) + 1);
                let pairs = values(&q, "fc0.weight").into_iter().zip(&w);
                let error: f64 = pairs.map(|(a, &b)| f64::from(a - b).powi(2)).sum();
                assert!(
                    error < 0.5 * last,
                    "{init:?} at {bits} bits: {last} then {error}"
                );
                last = error;
            }
        }
    }

    #[test]
    fn small_cases() {
        for (name, w, bits, expected) in [
            (
                "few distinct",
                vec![0.5, -2.0, 0.0, 0.5],
                5,
                vec![0.0, 0.5, -2.0],
            ),
            (
                "opposite",
                vec![1.0, -1.0, 0.0, 1.0],
                5,
                vec![0.0, 1.0, -1.0],
            ),
            ("all zero", vec![0.0; 4], 5, vec![0.0]),
            (
                "negative zero",
                vec![-0.0, 1.0, -0.0, 0.0],
                5,
                vec![0.0, 1.0],
            ),
            (
                "two bins",
                vec![1.0, 2.0, -4.0, -6.0],
                1,
                vec![0.0, 1.5, -5.0],
            ),
            // A bin whose mean is 0 is entry 0.
            ("balanced", vec![1.0, -1.0, 100.0, 0.0], 1, vec![0.0, 100.0]),
        ] {
            let g = mlp(&[4, 1], |_| w.clone(), |_| vec![0.0]);
            let q = quantize(
                &g,
                &CodebookOptions {
                    bits,
                    ..CodebookOptions::default()
                },
            )
            .unwrap();
            let c = book(&q, "fc0.weight");
            assert_eq!(c.entries(), expected, "{name}");
        }
    }

    #[test]
    fn options_by_name() {
        let options = CodebookOptions {
            bits: 2,
            per_layer: vec![("fc1.weight".to_owned(), 4), ("fc*".to_owned(), 3)],
            exclude: vec!["fc1.bias".to_owned()],
            bias_bits: Some(1),
            ..CodebookOptions::default()
        };
        let g = net(5);
        let q = quantize(&g, &options).unwrap();
        let entries = |name| book(&q, name).entries().len();
        assert_eq!(
            (
                entries("fc0.weight"),
                entries("fc1.weight"),
                entries("fc0.bias")
            ),
            (9, 17, 3)
        );
        assert_eq!(q.parameter("fc1.bias"), g.parameter("fc1.bias"));
        // Quantizing again with as many bits changes nothing.
        assert_eq!(quantize(&q, &options).unwrap(), q);
    }

    #[test]
    fn refusals() {
        let ok = CodebookOptions::default;
        let named = |n: &str| vec![(n.to_owned(), 3)];
        let g = net(1);
        let bad = g.map_weights(|name, _| {
            let t = || Tensor::new(&[5], vec![f32::INFINITY; 5]);
            (name == "fc1.bias")
                .then(|| t().map(Weight::Dense))
                .transpose()
        });
        let bad = bad.unwrap();
        for (graph, options, kind) in [
            (&g, CodebookOptions { bits: 0, ..ok() }, ErrorKind::Option),
            (&g, CodebookOptions { bits: 9, ..ok() }, ErrorKind::Option),
            (
                &g,
                CodebookOptions {
                    max_iterations: 0,
                    ..ok()
                },
                ErrorKind::Option,
            ),
            (
                &g,
                CodebookOptions {
                    bias_bits: Some(0),
                    ..ok()
                },
                ErrorKind::Option,
            ),
            (
                &g,
                CodebookOptions {
                    per_layer: named("fc7*"),
                    ..ok()
                },
                ErrorKind::Name,
            ),
            (
                &g,
                CodebookOptions {
                    per_layer: named("fc0.bias"),
                    ..ok()
                },
                ErrorKind::Name,
            ),
            (
                &g,
                CodebookOptions {
                    exclude: vec!["x".to_owned()],
                    ..ok()
                },
                ErrorKind::Name,
            ),
            (
                &bad,
                CodebookOptions {
                    bias_bits: Some(5),
                    ..ok()
                },
                ErrorKind::NotFinite,
            ),
        ] {
            let e = quantize(graph, &options).unwrap_err();
            assert_eq!(e.kind(), kind, "{e}");
        }
        assert!(quantize(&bad, &ok()).is_ok());
    }

    /// Squared distance of all weights to those of `g`, those of the second layer 100 times over.
    fn distance(g: &Graph, q: &Graph) -> f64 {
        let of = |name| {
            let pairs = values(g, name).into_iter().zip(values(q, name));
            pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        of("fc0.weight") + 100.0 * of("fc1.weight")
    }

    #[test]
    fn bits_go_down_where_it_costs_least() {
        let g = net(8);
        let search = |max_loss_increase| BitSearch {
            candidates: vec![2, 6, 4, 3, 4],
            max_loss_increase,
            codebook: CodebookOptions::default(),
        };
        let mut evaluate = |q: &Graph| Ok::<_, Infallible>(distance(&g, q));
        let choice = choose_bits(&g, &search(5.0), &mut evaluate).unwrap();
        let names = ["fc0.weight", "fc1.weight"].map(str::to_owned);
        assert_eq!(
            choice
                .per_layer
                .iter()
                .map(|p| p.0.clone())
                .collect::<Vec<_>>(),
            names
        );
        let bits: Vec<u8> = choice.per_layer.iter().map(|p| p.1).collect();
        assert!(bits[0] < bits[1], "{bits:?}");
        assert!(choice.loss <= 5.0 && choice.n_evaluations <= 2 + 2 * 3);
        // The result is what `quantize` makes of the chosen bits.
        let options = CodebookOptions {
            per_layer: choice.per_layer,
            ..CodebookOptions::default()
        };
        assert_eq!(quantize(&g, &options).unwrap(), choice.graph);

        let e = choose_bits(&g, &search(0.0), &mut evaluate).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Budget);
        let mut failing = |_: &Graph| Err::<f64, _>("out of data");
        let e = choose_bits(&g, &search(1.0), &mut failing).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Callback);
        assert_eq!(
            std::error::Error::source(&e).unwrap().to_string(),
            "out of data"
        );
    }
}
