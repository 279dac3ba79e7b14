use std::collections::{BTreeMap, BTreeSet};

use bantam_core::reference::{Array, evaluate};
use bantam_core::{DType, Graph, Tensor};

use super::*;
use crate::testing::{Noise, lenet, random};

fn inputs(graph: &Graph, n: usize, noise: &mut Noise) -> Tensor {
    let shape = &graph.input_types(n)[0].shape;
    let len = shape.iter().product();
    let values = (0..len).map(|_| noise.next()).collect();
    Tensor::new::<f32>(shape, values).unwrap()
}

fn outputs(graph: &Graph, x: &Tensor) -> Vec<Tensor> {
    let found = evaluate(graph, &[Array::from(x)]).unwrap();
    found.iter().map(|a| a.to_tensor(DType::F32)).collect()
}

fn observe(graph: &Graph, x: &Tensor) -> BTreeMap<String, Observed> {
    let names = points(graph, &BTreeSet::new());
    let values = outputs(&with_outputs(graph, &names).unwrap(), x);
    let mut observed = BTreeMap::new();
    for (name, value) in names.into_iter().zip(&values[graph.outputs().len()..]) {
        let mut seen = Observed::default();
        seen.add(value);
        observed.insert(name, seen);
    }
    observed
}

/// Root of the mean square of the difference, as a share of that of the first.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (difference / a.iter().map(|&a| square(a)).sum::<f64>()).sqrt()
}

fn options(correct_bias: bool) -> Options {
    Options {
        calibration: Calibration::MinMax,
        correct_bias,
        skip: BTreeSet::new(),
    }
}

#[test]
fn bytes_stay_near_the_numbers_they_stand_for() {
    for (i, graph) in [lenet(&mut Noise(1)), random(1), random(2), random(3)]
        .iter()
        .enumerate()
    {
        let x = inputs(graph, 4, &mut Noise(7));
        let observed = observe(graph, &x);
        for correct in [false, true] {
            let small = apply(graph, &observed, &options(correct)).unwrap();
            let distance = distance(&outputs(graph, &x)[0], &outputs(&small, &x)[0]);
            assert!(distance < 0.05, "graph {i}, {correct}: {distance}");
            assert!(distance > 0.0 || i > 0, "graph {i}: nothing was rounded");
            let kinds = |g: &Graph| {
                let nodes = g.nodes().iter();
                nodes.filter(|n| matches!(n.op, Op::Quantize(_))).count()
            };
            assert!(kinds(&small) >= 3 * layers(graph).len() - 2, "graph {i}");
            let stored = |g: &Graph| {
                let all = g.parameters().iter();
                all.map(|p| p.weight.len() * p.weight.dtype().size_bytes())
                    .sum::<usize>()
            };
            assert!(stored(&small) < stored(graph), "graph {i}");
        }
    }
}

#[test]
fn what_is_skipped_stays() {
    let graph = lenet(&mut Noise(1));
    let x = inputs(&graph, 2, &mut Noise(7));
    let observed = observe(&graph, &x);
    let all: BTreeSet<String> = layers(&graph).into_iter().map(|l| l.name).collect();
    let none = Options {
        skip: all.clone(),
        ..options(true)
    };
    let same = apply(&graph, &observed, &none).unwrap();
    assert_eq!(outputs(&same, &x), outputs(&graph, &x));
    let mut but_one = all.clone();
    let first = layers(&graph)[0].clone();
    but_one.remove(&first.name);
    let one = apply(
        &graph,
        &observed,
        &Options {
            skip: but_one,
            ..options(true)
        },
    )
    .unwrap();
    let bytes = one
        .parameters()
        .iter()
        .filter(|p| p.weight.dtype() == DType::I8);
    // Its weights and their zero points.
    assert_eq!(bytes.count(), 2);
}

#[test]
fn a_value_that_was_not_observed_is_an_error() {
    let graph = lenet(&mut Noise(1));
    let wrong = apply(&graph, &BTreeMap::new(), &options(false)).unwrap_err();
    assert!(
        wrong.to_string().contains("nothing was observed"),
        "{wrong}"
    );
}

#[test]
fn equalising_keeps_the_function_and_evens_out() {
    let graph = lenet(&mut Noise(1));
    // One channel of the first layer a thousand times as large as the others.
    let uneven = graph
        .map_weights(|name, p| {
            if name != graph.value_name(graph.nodes()[0].inputs[1]) {
                return Ok(None);
            }
            let mut w = p.weight.tensor().values::<f32>().unwrap().to_vec();
            let each = w.len() / p.weight.shape()[0];
            w[..each].iter_mut().for_each(|v| *v *= 1000.0);
            Ok(Some(Tensor::new::<f32>(p.weight.shape(), w)?.into()))
        })
        .unwrap();
    let (even, n) = equalise(&uneven).unwrap();
    let x = inputs(&graph, 3, &mut Noise(3));
    let d = distance(&outputs(&uneven, &x)[0], &outputs(&even, &x)[0]);
    assert!(d < 1e-5, "{d}");
    if n > 0 {
        assert_ne!(even, uneven);
    }
}

#[test]
fn correcting_biases_brings_means_back() {
    let graph = lenet(&mut Noise(5));
    let x = inputs(&graph, 16, &mut Noise(9));
    // Inputs that are positive on average: rounding then moves means.
    let values = x.values::<f32>().unwrap().iter().map(|v| v.abs() + 1.0);
    let x = Tensor::new::<f32>(x.shape(), values.collect()).unwrap();
    let observed = observe(&graph, &x);
    let first = &graph.nodes()[0];
    let name = graph.value_name(first.outputs[0]).to_owned();
    let mean = |g: &Graph| {
        let g = with_outputs(g, std::slice::from_ref(&name)).unwrap();
        let all = outputs(&g, &x);
        let mut seen = Observed::default();
        seen.add(all.last().unwrap());
        seen.means()
    };
    let exact = mean(&graph);
    let wrong = |correct| {
        let small = apply(&graph, &observed, &options(correct)).unwrap();
        let means = mean(&small);
        exact
            .iter()
            .zip(&means)
            .map(|(a, b)| (a - b).abs())
            .sum::<f64>()
    };
    let (plain, corrected) = (wrong(false), wrong(true));
    assert!(corrected < plain / 2.0, "{corrected} against {plain}");
}

/// A table, a normalised sum that two products and a sum read, and biases after the products.
fn encoder(noise: &mut Noise) -> Graph {
    let size = bantam_core::arch::EncoderSize {
        layers: 1,
        width: 16,
        heads: 2,
        feed_forward: 32,
        vocabulary: 40,
        positions: 8,
        types: 2,
    };
    let graph = bantam_core::arch::bert_encoder("small", size).unwrap();
    let drawn = graph.map_weights(|_, p| {
        let shape = p.weight.shape();
        if !p.trainable || shape.len() < 2 {
            return Ok(None);
        }
        let scale = (3.0 / shape[1] as f32).sqrt();
        let values = (0..p.weight.len()).map(|_| noise.next() * scale).collect();
        Ok(Some(Tensor::new::<f32>(shape, values)?.into()))
    });
    drawn.unwrap()
}

fn texts() -> Vec<Array> {
    let array = |f: &dyn Fn(usize) -> i64| {
        let values = (0..6 * 8).map(f).collect();
        Array::from(&Tensor::new::<i64>(&[6, 8], values).unwrap())
    };
    vec![
        array(&|i| (i * i % 40) as i64),
        array(&|_| 1),
        array(&|i| (i % 2) as i64),
    ]
}

fn answers(graph: &Graph) -> Vec<Tensor> {
    let found = evaluate(graph, &texts()).unwrap();
    found.iter().map(|a| a.to_tensor(DType::F32)).collect()
}

fn seen(graph: &Graph) -> BTreeMap<String, Observed> {
    let names = points(graph, &BTreeSet::new());
    let values = answers(&with_outputs(graph, &names).unwrap());
    let values = &values[graph.outputs().len()..];
    let one = |(name, value): (String, &Tensor)| {
        let mut seen = Observed::default();
        seen.add(value);
        (name, seen)
    };
    names.into_iter().zip(values).map(one).collect()
}

#[test]
fn an_encoder_keeps_its_sums_and_its_tables_are_bytes() {
    let graph = encoder(&mut Noise(4));
    let names: Vec<String> = layers(&graph).into_iter().map(|l| l.name).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    let observed = seen(&graph);
    for correct in [false, true] {
        let small = apply(&graph, &observed, &options(correct)).unwrap();
        for (a, b) in answers(&graph).iter().zip(answers(&small)) {
            let d = distance(a, &b);
            assert!(d > 0.0 && d < 0.05, "{d}");
        }
        let of = |name: &str| small.parameter(name).map(|p| p.weight.dtype());
        let table = "embeddings.word_embeddings.weight";
        assert_eq!(of(table), Some(DType::I8));
        // Places are added whole, not picked.
        assert_eq!(
            of("embeddings.position_embeddings.weight"),
            Some(DType::F32)
        );
        // Stored `[in, out]`, as other programs want products.
        let up = small.parameter("encoder.layer.0.intermediate.dense.weight");
        assert_eq!(up.unwrap().weight.shape(), [16, 32]);
        let sum = |g: &Graph, name: &str| {
            let node = g.nodes().iter().find(|n| n.name == name).unwrap();
            let names = node.inputs.iter().map(|&v| g.value_name(v).to_owned());
            names.collect::<Vec<_>>()
        };
        let name = "encoder.layer.0.output.sum";
        assert_eq!(sum(&small, name), sum(&graph, name));
        let bias = sum(&small, "encoder.layer.0.output.dense");
        assert_eq!(
            bias[1] != "encoder.layer.0.output.dense.bias",
            correct,
            "{bias:?}"
        );
    }
}

#[test]
fn smoothing_keeps_the_function_and_helps_uneven_channels() {
    let graph = encoder(&mut Noise(4));
    // One channel of a normalisation is a hundred times the others, as in trained encoders.
    let uneven = graph
        .map_weights(|name, p| {
            if name != "encoder.layer.0.attention.output.LayerNorm.weight" {
                return Ok(None);
            }
            let mut gamma = vec![1f32; 16];
            gamma[3] = 100.0;
            Ok(Some(Tensor::new::<f32>(p.weight.shape(), gamma)?.into()))
        })
        .unwrap();
    let observed = seen(&uneven);
    let (even, n) = smooth(&uneven, &observed, 0.5, &BTreeSet::new()).unwrap();
    assert_eq!(n, points(&uneven, &BTreeSet::new()).len());
    let reference = answers(&uneven);
    assert!(distance(&reference[0], &answers(&even)[0]) < 1e-5);
    let up = "encoder.layer.0.intermediate.dense.product";
    let all = layers(&uneven).into_iter().map(|l| l.name);
    let only = Options {
        skip: all.filter(|n| n != up).collect(),
        ..options(false)
    };
    let plain = apply(&uneven, &observed, &only).unwrap();
    let smoothed = apply(&even, &seen(&even), &only).unwrap();
    let [plain, smoothed] = [plain, smoothed].map(|g| distance(&reference[0], &answers(&g)[0]));
    assert!(smoothed < plain / 2.0, "{smoothed} against {plain}");
    // Where all layers stay, nothing is divided.
    let skip: BTreeSet<String> = layers(&uneven).into_iter().map(|l| l.name).collect();
    let (same, n) = smooth(&uneven, &observed, 0.5, &skip).unwrap();
    assert_eq!((n, same.nodes().len()), (0, uneven.nodes().len()));
}
