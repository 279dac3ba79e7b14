//! Trained networks of others, on real images. What they need is fetched by `scripts/fetch-weights.sh` and
//! `scripts/fetch-cifar10.sh`; where it is not there, a test says so and passes.

mod common;

use std::path::{Path, PathBuf};

use common::{Folder, npy, run};

/// The files in `data/cache`, or `None`, after saying which one is missing.
fn cached<const N: usize>(names: [&str; N]) -> Option<[PathBuf; N]> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/cache");
    let paths = names.map(|name| cache.join(name));
    match paths.iter().find(|p| !p.exists()) {
        None => Some(paths.map(|p| p.canonicalize().unwrap())),
        Some(missing) => {
            let scripts = "scripts/fetch-weights.sh and scripts/fetch-cifar10.sh";
            println!("skipped: {} is not there; run {scripts}", missing.display());
            None
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[test]
fn resnet_20_gives_its_published_accuracy_on_cifar_10() {
    let Some([weights, images]) = cached(["resnet20-12fca82f.th", "cifar10"]) else {
        return;
    };
    let folder = Folder::new();
    let args = [
        "run",
        text(&weights),
        text(&images),
        "--arch",
        "resnet20-cifar",
    ];
    let ran = run(
        folder.path(),
        &[&args[..], &["-o", "answers.csv", "--json"]].concat(),
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let summary = ran.json();
    assert_eq!(
        (&summary["n"], &summary["accuracy"]),
        (&10_000.into(), &0.9173.into())
    );
}

#[test]
fn efficientnet_lite0_agrees_with_pytorch() {
    let Some([weights, images]) =
        cached(["efficientnet-lite0-57934424.pth", "cifar10/test_batch.bin"])
    else {
        return;
    };
    // As scripts/torch-reference.py made them: every pixel 7 times in both directions.
    let bytes = std::fs::read(images).unwrap();
    let mut x: Vec<f32> = Vec::with_capacity(4 * 3 * 224 * 224);
    for image in bytes.chunks_exact(3073).take(4) {
        for channel in image[1..].chunks_exact(1024) {
            for row in 0..224 {
                let pixels = (0..224).map(|column| channel[row / 7 * 32 + column / 7]);
                x.extend(pixels.map(|p| (f32::from(p) / 255.0 - 0.498) / 0.502));
            }
        }
    }
    let folder = Folder::new();
    folder.put("x.npy", npy(&[4, 3, 224, 224], &x));
    let args = [
        "run",
        text(&weights),
        "x.npy",
        "--arch",
        "efficientnet-lite0",
    ];
    let ran = run(
        folder.path(),
        &[&args[..], &["--raw", "-o", "y.npy"]].concat(),
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let reference =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/efficientnet-lite0.npy");
    let [found, expected] =
        [folder.path().join("y.npy"), reference].map(|p| bantam_data::read_npy(&p).unwrap());
    assert_eq!(found.shape(), [4, 1000]);
    let (found, expected) = (
        found.values::<f32>().unwrap(),
        expected.values::<f32>().unwrap(),
    );
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let difference = found
        .iter()
        .zip(expected)
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(difference < 1e-4 * largest, "{difference} of {largest}");
    assert!(largest > 1.0, "the reference says something");
}

#[test]
fn minilm_can_be_inspected() {
    let Some([weights]) = cached(["minilm-l6-v2.safetensors"]) else {
        return;
    };
    let folder = Folder::new();
    let ran = run(folder.path(), &["inspect", text(&weights), "--json"]);
    let json = ran.json();
    assert_eq!(
        (&json["parameters"], &json["format"]),
        (&22_713_728.into(), &"safetensors".into())
    );
    let tensors = json["weights"].as_array().unwrap();
    let words = tensors
        .iter()
        .find(|t| t["name"] == "embeddings.word_embeddings.weight")
        .unwrap();
    assert_eq!(words["shape"], serde_json::json!([30_522, 384]));
}

#[test]
fn minilm_agrees_with_pytorch() {
    let Some([weights]) = cached(["minilm-l6-v2.safetensors"]) else {
        return;
    };
    // As scripts/torch-reference.py made them: what was fed, and the embeddings of four sentences.
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/minilm-l6.npz");
    let mut arrays = bantam_data::read_npz(&reference).unwrap();
    let at = arrays.iter().position(|a| a.0 == "sentence_embedding");
    let (_, expected) = arrays.remove(at.expect("the reference has embeddings"));
    let folder = Folder::new();
    folder.put("in.npz", bantam_data::npz_bytes(&arrays).unwrap());
    let args = [
        "run",
        text(&weights),
        "in.npz",
        "--arch",
        "minilm-l6",
        "-o",
        "out.npz",
    ];
    let ran = run(folder.path(), &args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr
            .contains("not read: embeddings.position_ids, pooler"),
        "{ran:?}"
    );
    let found = bantam_data::read_npz(&folder.path().join("out.npz")).unwrap();
    let found = &found
        .iter()
        .find(|a| a.0 == "sentence_embedding")
        .unwrap()
        .1;
    assert_eq!(
        (found.shape(), expected.shape()),
        (&[4, 384][..], &[4, 384][..])
    );
    let pairs = found
        .values::<f32>()
        .unwrap()
        .iter()
        .zip(expected.values::<f32>().unwrap());
    let difference = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(difference < 1e-5, "{difference}");
}
