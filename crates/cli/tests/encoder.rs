//! An encoder of text through every command that takes one: a small one with random weights.

mod common;

use bantam_core::arch::{EncoderSize, bert_encoder};
use bantam_core::reference::Array;
use bantam_core::{Graph, Tensor, cases};
use bantam_data::{npz_bytes, read_npz};
use bantam_formats::bantam::{Coder, Model, WriteOptions, write};
use common::{Folder, run};

const SIZE: EncoderSize = EncoderSize {
    layers: 2,
    width: 48,
    heads: 3,
    feed_forward: 96,
    vocabulary: 60,
    positions: 12,
    types: 2,
};

/// Weights drawn so that words matter and nothing dies away.
fn encoder() -> Graph {
    let graph = bert_encoder("small", SIZE).unwrap();
    let mut seed = 0;
    let drawn = graph.map_weights(|_, p| {
        seed += 1;
        let shape = p.weight.shape();
        if !p.trainable || shape.len() < 2 {
            return Ok(None);
        }
        let scale = (3.0 / shape[1] as f32).sqrt();
        let drawn = cases::values(shape, seed);
        let values = drawn.values::<f32>()?.iter().map(|v| v * scale).collect();
        Ok(Some(Tensor::new::<f32>(shape, values)?.into()))
    });
    drawn.unwrap()
}

/// `n` texts of up to `words` words, each with padding behind it.
fn texts(n: usize, words: usize) -> Vec<(String, Tensor)> {
    let length = |i: usize| 2 + i * 5 % (words - 1);
    let array = |f: &dyn Fn(usize, usize) -> i64| {
        let values = (0..n * words).map(|at| f(at / words, at % words)).collect();
        Tensor::new::<i64>(&[n, words], values).unwrap()
    };
    let real = |i: usize, t: usize| t < length(i);
    let ids = array(&|i, t| {
        if real(i, t) {
            ((i * 31 + t * 17 + t * t) % 59 + 1) as i64
        } else {
            0
        }
    });
    let mask = array(&|i, t| i64::from(real(i, t)));
    let types = array(&|i, t| i64::from(real(i, t) && t > 4));
    let names = ["input_ids", "attention_mask", "token_type_ids"];
    names
        .map(str::to_owned)
        .into_iter()
        .zip([ids, mask, types])
        .collect()
}

fn folder() -> Folder {
    let folder = Folder::new();
    let model = Model {
        graph: encoder(),
        schema: None,
        notes: Vec::new(),
    };
    let options = WriteOptions {
        coder: Coder::Store,
    };
    folder.put("small.bantam", write(&model, &options).unwrap());
    folder.put("texts.npz", npz_bytes(&texts(40, 9)).unwrap());
    folder
}

/// The outputs in a file, by name.
fn outputs(folder: &Folder, name: &str) -> Vec<(String, Tensor)> {
    read_npz(&folder.path().join(name)).unwrap()
}

fn output<'a>(all: &'a [(String, Tensor)], name: &str) -> &'a [f32] {
    let found = all.iter().find(|(n, _)| n == name);
    found.expect("an output").1.values::<f32>().unwrap()
}

#[test]
fn answers_are_those_of_the_slow_twin_and_padding_says_nothing() {
    let folder = folder();
    let ran = run(
        folder.path(),
        &["run", "small.bantam", "texts.npz", "-o", "y.npz"],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let found = outputs(&folder, "y.npz");
    let (graph, inputs) = (encoder(), texts(40, 9));
    let arrays: Vec<Array> = inputs.iter().map(|(_, t)| Array::from(t)).collect();
    let expected = bantam_core::reference::evaluate(&graph, &arrays).unwrap();
    for (name, expected) in ["last_hidden_state", "sentence_embedding"]
        .iter()
        .zip(expected)
    {
        let pairs = output(&found, name).iter().zip(&expected.values);
        let worst = pairs.map(|(&a, b)| (f64::from(a) - b).abs());
        assert!(worst.fold(0.0, f64::max) < 1e-4, "{name}");
    }
    for row in output(&found, "sentence_embedding").chunks(SIZE.width) {
        let square: f32 = row.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-5, "{square}");
    }
    // More padding is the same sentence; other words are another.
    folder.put("wide.npz", npz_bytes(&widened(&texts(40, 9), 12)).unwrap());
    let ran = run(
        folder.path(),
        &["run", "small.bantam", "wide.npz", "-o", "wide_y.npz"],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let wide = outputs(&folder, "wide_y.npz");
    let (narrow, wide) = (
        output(&found, "sentence_embedding"),
        output(&wide, "sentence_embedding"),
    );
    assert!(narrow.iter().zip(wide).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!(narrow[..SIZE.width] != narrow[SIZE.width..2 * SIZE.width]);
}

/// The texts with padding up to `words`.
fn widened(texts: &[(String, Tensor)], words: usize) -> Vec<(String, Tensor)> {
    let widen = |t: &Tensor| {
        let rows = t.values::<i64>().unwrap().chunks(t.shape()[1]);
        let values: Vec<i64> = rows
            .flat_map(|row| (0..words).map(|i| row.get(i).copied().unwrap_or(0)))
            .collect();
        Tensor::new(&[t.shape()[0], words], values).unwrap()
    };
    texts
        .iter()
        .map(|(name, t)| (name.clone(), widen(t)))
        .collect()
}

#[test]
fn leaves_as_onnx_and_comes_back_the_same() {
    let folder = folder();
    let dir = folder.path();
    for args in [
        &["export", "small.bantam", "--to", "onnx", "-o", "small.onnx"][..],
        &["run", "small.onnx", "texts.npz", "-o", "onnx.npz"],
        &["run", "small.bantam", "texts.npz", "-o", "y.npz"],
        &[
            "bench",
            "small.onnx",
            "--axis",
            "words=7",
            "--batch",
            "2",
            "--seconds",
            "0.01",
        ],
        &["inspect", "small.onnx"],
    ] {
        let ran = run(dir, args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }
    assert_eq!(outputs(&folder, "onnx.npz"), outputs(&folder, "y.npz"));
}

#[test]
fn mistakes_are_named() {
    let folder = folder();
    let long = npz_bytes(&widened(&texts(2, 9), 13)).unwrap();
    folder.put("long.npz", long);
    folder.put("two.npz", npz_bytes(&texts(2, 9)[..2]).unwrap());
    let mut unknown = texts(2, 9);
    unknown[0].1 = Tensor::new::<i64>(&[2, 9], vec![60; 18]).unwrap();
    folder.put("unknown.npz", npz_bytes(&unknown).unwrap());
    for (data, expected) in [
        ("long.npz", "embeddings.placed"),
        (
            "two.npz",
            "there is no array for the input \"token_type_ids\"",
        ),
        ("unknown.npz", "index 60 at position 0 is not in 0..60"),
    ] {
        let ran = run(folder.path(), &["run", "small.bantam", data, "-o", "y.npz"]);
        assert_eq!(ran.code, Some(1), "{data}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{data}: {ran:?}");
    }
}

#[test]
fn shrinks_and_answers_alike_in_bytes() {
    let folder = folder();
    for out in ["small.int8.bantam", "small.int8.onnx"] {
        let args = [
            "shrink",
            "small.bantam",
            "--data",
            "texts.npz",
            "--max-drop",
            "20%",
        ];
        let ran = run(folder.path(), &[&args[..], &["--json", "-o", out]].concat());
        let json = ran.json();
        // Twelve products and two tables.
        assert_eq!(json["layers"], 14, "{json}");
        let moved = json["outputs"].as_array().unwrap();
        assert_eq!(moved[1]["output"], "sentence_embedding");
        let cosine = |key: &str| moved[1][key].as_f64().unwrap();
        assert!(cosine("cosine") >= cosine("least_cosine"), "{json}");
        assert!(
            cosine("least_cosine") > 0.95 && cosine("moved") < 0.2,
            "{json}"
        );
        let smoothed = json["trials"].as_array().unwrap().iter();
        let smoothed = smoothed.filter(|t| t["smoothed"].as_f64() > Some(0.0));
        assert_eq!(smoothed.count(), 4, "two shares, two ranges");
        if ran.code != Some(0) {
            // On a machine where bytes are slower this is what it must say.
            assert!(ran.stderr.contains("slower"), "{ran:?}");
            continue;
        }
        let ran = run(folder.path(), &["run", out, "texts.npz", "-o", "y8.npz"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        run(
            folder.path(),
            &["run", "small.bantam", "texts.npz", "-o", "y.npz"],
        );
        let (all, all8) = (outputs(&folder, "y.npz"), outputs(&folder, "y8.npz"));
        let pairs = output(&all, "sentence_embedding").chunks(SIZE.width);
        for (a, b) in pairs.zip(output(&all8, "sentence_embedding").chunks(SIZE.width)) {
            let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.95, "{out}: {cosine}");
        }
    }
}
