//! `bantam shrink`: what is allowed, what is refused, what is written.

mod common;

use std::collections::BTreeMap;

use bantam_core::{Graph, Tensor, arch, cases};
use bantam_formats::weights;
use common::{Folder, run};

fn lenet() -> Graph {
    let graph = arch::find("lenet-5-caffe").unwrap().graph(10).unwrap();
    let mut seed = 0;
    let drawn = graph.map_weights(|_, p| {
        seed += 1;
        let drawn = cases::values(p.weight.shape(), seed);
        let fan = (p.weight.len() / p.weight.shape()[0]) as f32;
        let scaled = drawn.values::<f32>()?.iter().map(|v| v / fan.sqrt());
        let scaled = Tensor::new::<f32>(p.weight.shape(), scaled.collect())?;
        Ok(Some(scaled.into()))
    });
    drawn.unwrap()
}

/// Weights and pictures without labels.
fn folder() -> Folder {
    let (folder, graph) = (Folder::new(), lenet());
    let tensors: Vec<(String, Tensor)> = graph
        .parameters()
        .iter()
        .map(|p| {
            let name = graph.value_name(p.value).to_owned();
            (name, p.weight.tensor().into_owned())
        })
        .collect();
    let refs = tensors.iter().map(|(name, t)| (name.as_str(), t));
    let file = weights::to_safetensors(refs, &BTreeMap::new()).unwrap();
    folder.put("w.safetensors", file);
    let pixels: Vec<u8> = (0..40 * 784u32).map(|i| (i * i / 7 % 256) as u8).collect();
    folder.put("x.idx", common::idx(&[40, 28, 28], &pixels));
    folder
}

fn shrink(folder: &Folder, more: &[&str]) -> common::Ran {
    let args = [
        "shrink",
        "w.safetensors",
        "--arch",
        "lenet-5-caffe",
        "--data",
        "x.idx",
    ];
    run(folder.path(), &[&args, more].concat())
}

#[test]
fn what_the_contract_does_not_allow_is_not_written() {
    let folder = folder();
    // Outputs always move a little, so nothing is allowed to be in bytes.
    let strict = shrink(&folder, &["--max-drop", "0", "--json", "-o", "y.bantam"]);
    assert_eq!(strict.code, Some(1), "{strict:?}");
    assert!(strict.stderr.contains("left as it is"), "{strict:?}");
    let json = strict.json();
    assert_eq!(json["taken"], false);
    assert_eq!(json["left"].as_array().unwrap().len(), 4);
    assert!(json.get("path").is_none());
    let hurried = shrink(&folder, &["--max-drop", "50%", "--max-latency", "0.001us"]);
    assert_eq!(hurried.code, Some(1), "{hurried:?}");
    assert!(hurried.stderr.contains("us are allowed"), "{hurried:?}");
    let files: Vec<_> = folder.files().into_keys().collect();
    assert_eq!(files.len(), 2, "something was written: {files:?}");
}

#[test]
fn what_is_allowed_is_written_and_answers_alike() {
    let folder = folder();
    for out in ["y.bantam", "y.onnx"] {
        let ran = shrink(&folder, &["--max-drop", "10%", "--json", "-o", out]);
        let json = ran.json();
        let drop = json["drop"].as_f64().unwrap();
        assert!(drop > 0.0 && drop < 0.1, "{json}");
        assert_eq!(json["layers"], 4);
        let trials = json["trials"].as_array().unwrap();
        assert_eq!(
            trials.len(),
            16,
            "three ranges, two biases, even channels or not; two ranges, two shares of smoothing"
        );
        let least = trials.iter().map(|t| t["drop"].as_f64().unwrap());
        let least = least.fold(f64::INFINITY, f64::min);
        let chosen = json["chosen"].as_u64().unwrap() as usize;
        assert_eq!(trials[chosen]["drop"].as_f64(), Some(least));
        if ran.code != Some(0) {
            // On a machine where bytes are slower this is what it must say.
            assert!(
                ran.stderr.contains("it is slower on this machine"),
                "{ran:?}"
            );
            continue;
        }
        let (before, after) = (&json["before"], &json["after"]);
        let bytes = |f: &serde_json::Value| f["weight_bytes"].as_u64().unwrap();
        assert!(bytes(after) * 3 < bytes(before), "{json}");
        assert_eq!(json["bytes"].as_u64(), Some(folder.bytes(out).len() as u64));
        let shown = run(folder.path(), &["inspect", out]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
    }
}

#[test]
fn mistakes_are_named() {
    let folder = folder();
    folder.put("one.idx", common::idx(&[1, 28, 28], &[7; 784]));
    let args = |data: &'static str| {
        [
            "shrink",
            "w.safetensors",
            "--arch",
            "lenet-5-caffe",
            "--data",
            data,
        ]
    };
    let cases: [(&[&str], &str); 3] = [
        (&args("none.idx"), "none.idx"),
        (&args("one.idx"), "too few samples"),
        (&["shrink", "w.safetensors", "--data", "x.idx"], "--arch"),
    ];
    for (args, expected) in cases {
        let ran = run(folder.path(), args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
}
