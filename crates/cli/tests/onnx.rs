//! Networks in ONNX: inspect, run, export.

mod common;

use bantam_core::{Tensor, cases};
use bantam_formats::onnx;
use common::{Folder, run};

/// A network with a choice in a choice and a loop, of another program.
const CHOICE: &[u8] = include_bytes!("../../formats/tests/choice.onnx");

#[test]
fn inspect_tells_what_is_known_before_it_runs() {
    let folder = Folder::new();
    folder.put("choice.onnx", CHOICE);
    let dir = folder.path();
    let text = run(dir, &["inspect", "choice.onnx"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for line in [
        "network        choice",
        "operator sets  ai.onnx 17",
        "in the file    2 Add, 2 If, 1 Identity, 1 Loop, 1 Mul, 1 ReduceSum, 1 Sub",
        "ONNX           version 8, written by by hand",
        "in             x: f32 [n, 2]",
        "y/then/t/then/a",
        "depend on values",
    ] {
        assert!(text.stdout.contains(line), "{line}:\n{}", text.stdout);
    }
    let json = run(dir, &["inspect", "choice.onnx", "--json"]).json();
    assert_eq!(json["format"], "onnx");
    assert_eq!(json["bytes"], CHOICE.len());
    let parts = json["ledger"].as_array().unwrap().iter();
    let sum: u64 = parts.map(|p| p["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, CHOICE.len() as u64);
    assert_eq!(json["onnx"]["opsets"][0]["version"], 17);
    let layers = json["layers"].as_array().unwrap();
    let of = |op: &str| layers.iter().find(|l| l["op"] == op).unwrap();
    assert!(of("Loop")["shape"].is_null() && of("ReduceSum")["macs"].is_null());
    // What stands in a branch and depends on the type of an input alone is known.
    assert_eq!(of("Mul")["macs"], 2);
    let page = run(dir, &["inspect", "choice.onnx", "--report", "page.html"]);
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(folder.text("page.html").contains("<svg"));
}

#[test]
fn arrays_go_through_choices_and_loops() {
    let folder = Folder::new();
    folder.put("choice.onnx", CHOICE);
    let x = Tensor::new(&[1, 2], vec![1.0f32, 2.0]).unwrap();
    for (outer, inner, z, rows) in [
        // x * w, x + w, x - two; three times added to itself.
        (true, true, [6.0, -2.0], [3.0, 3.5, 4.0]),
        (true, false, [10.0, 7.0], [8.5, 12.75, 17.0]),
        (false, true, [-4.0, -4.0], [-4.0, -6.0, -8.0]),
    ] {
        let arrays = [
            ("x", x.clone()),
            ("outer", Tensor::scalar(outer)),
            ("inner", Tensor::scalar(inner)),
        ];
        let arrays = arrays.map(|(name, t)| (name.to_owned(), t));
        folder.put("in.npz", bantam_data::npz_bytes(&arrays).unwrap());
        let args = ["run", "choice.onnx", "in.npz", "-o", "out.npz"];
        let ran = run(folder.path(), &args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let found = bantam_data::read_npz(&folder.path().join("out.npz")).unwrap();
        let values = |name: &str| {
            let found = found.iter().find(|(n, _)| n == name).unwrap();
            found.1.values::<f32>().unwrap().to_vec()
        };
        let _ = rows;
        assert_eq!(values("rows").len(), 3);
        assert_eq!(values("z"), z, "{outer} {inner}");
    }
}

/// To ONNX and to a packed file and back, the graph stays the same to the letter.
#[test]
fn what_is_exported_comes_back() {
    let folder = Folder::new();
    folder.put("choice.onnx", CHOICE);
    let dir = folder.path();
    let dump = |file: &str| {
        let ran = run(dir, &["inspect", file, "--dump"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    for (from, to, file) in [
        ("choice.onnx", "onnx", "again.onnx"),
        ("choice.onnx", "bantam", "packed.bantam"),
        ("packed.bantam", "onnx", "unpacked.onnx"),
    ] {
        let ran = run(dir, &["export", from, "--to", to, "-o", file]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(dump(file), dump("choice.onnx"), "{from} to {file}");
    }
    assert_eq!(folder.bytes("again.onnx"), folder.bytes("unpacked.onnx"));
}

#[test]
fn what_is_not_known_is_named_before_anything_runs() {
    let folder = Folder::new();
    let good = cases::all();
    let relu = good.iter().find(|c| c.graph.nodes()[0].op.name() == "Relu");
    let bytes = onnx::write(&relu.unwrap().graph).unwrap();
    let at = bytes.windows(4).position(|w| w == b"Relu").unwrap();
    let mut unknown = bytes.clone();
    unknown[at..at + 4].copy_from_slice(b"Rolu");
    folder.put("unknown.onnx", &unknown);
    folder.put("cut.onnx", &bytes[..bytes.len() - 1]);
    folder.put("text.onnx", "hello");
    for (file, words, hint) in [
        (
            "unknown.onnx",
            "(Rolu): this operator is not supported",
            "docs/onnx.md",
        ),
        (
            "cut.onnx",
            "the message ends inside a field",
            "copy it again",
        ),
        ("text.onnx", "", "hint"),
    ] {
        for args in [
            &["inspect", file][..],
            &["run", file, "x.npy"],
            &["export", file, "--to", "bantam"],
        ] {
            let ran = run(folder.path(), args);
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.stderr.contains(words), "{ran:?}");
            assert!(ran.stderr.contains(hint), "{ran:?}");
            assert!(ran.stdout.is_empty());
        }
    }
    assert!(!folder.path().join("unknown.bantam").exists());
}
