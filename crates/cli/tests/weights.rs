//! Weights of other programs: inspect, run, export.

mod common;

use std::collections::BTreeMap;

use bantam_core::op::Binary;
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, arch, cases};
use bantam_formats::bantam::{Coder, Model, WriteOptions, write};
use bantam_formats::weights;
use common::{Folder, npy, npz, run};

fn lenet() -> Graph {
    let graph = arch::find("lenet-300-100").unwrap().graph(10).unwrap();
    let mut seed = 0;
    let drawn = graph.map_weights(|_, p| {
        seed += 1;
        Ok(Some(cases::values(p.weight.shape(), seed).into()))
    });
    drawn.unwrap()
}

/// The weights of `graph` as a safetensors file, with `prefix` before the names.
fn safetensors(graph: &Graph, prefix: &str) -> Vec<u8> {
    let tensors: Vec<(String, Tensor)> = graph
        .parameters()
        .iter()
        .map(|p| {
            (
                format!("{prefix}{}", graph.value_name(p.value)),
                p.weight.tensor().into_owned(),
            )
        })
        .collect();
    let refs = tensors.iter().map(|(name, t)| (name.as_str(), t));
    weights::to_safetensors(refs, &BTreeMap::new()).unwrap()
}

/// Three pictures of 28 x 28 bytes.
fn pictures(folder: &Folder) {
    let pixels: Vec<u8> = (0..3 * 784u32).map(|i| (i * 31 % 256) as u8).collect();
    folder.put("x.idx", common::idx(&[3, 28, 28], &pixels));
}

#[test]
fn weights_find_their_network_and_leave_as_one_file() {
    let folder = Folder::new();
    folder.put("w.safetensors", safetensors(&lenet(), "module."));
    pictures(&folder);
    let dir = folder.path();

    let alone = run(dir, &["inspect", "w.safetensors", "--json"]);
    assert_eq!(alone.code, Some(0), "{alone:?}");
    let json = alone.json();
    assert_eq!(json["fits"][0], "lenet-300-100");
    assert_eq!(json["parameters"], 266_610);
    assert_eq!(json["weights"][0]["stored"], "f32");
    let parts = json["ledger"].as_array().unwrap().iter();
    assert_eq!(
        parts.map(|p| p["bytes"].as_u64().unwrap()).sum::<u64>(),
        json["bytes"].as_u64().unwrap()
    );

    let nameless = run(dir, &["run", "w.safetensors", "x.idx"]);
    assert_eq!(nameless.code, Some(1));
    assert!(
        nameless.stderr.contains("say --arch lenet-300-100"),
        "{nameless:?}"
    );

    let arch = ["--arch", "lenet-300-100"];
    let answers = run(
        dir,
        &[&["run", "w.safetensors", "x.idx"], &arch[..]].concat(),
    );
    assert_eq!(
        (answers.code, answers.stdout.lines().count()),
        (Some(0), 4),
        "{answers:?}"
    );
    assert!(
        answers.stderr.contains("begin with \"module.\""),
        "{answers:?}"
    );

    let exported = run(
        dir,
        &[&["export", "w.safetensors", "--to", "bantam"], &arch[..]].concat(),
    );
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let packed = run(dir, &["run", "w.bantam", "x.idx"]);
    assert_eq!(packed.stdout, answers.stdout);

    let back = run(
        dir,
        &[
            "export",
            "w.bantam",
            "--to",
            "safetensors",
            "-o",
            "back.safetensors",
            "--json",
        ],
    );
    assert_eq!(back.json()["tensors"], 6, "{back:?}");
    let [first, again] = ["w.safetensors", "back.safetensors"]
        .map(|name| weights::read(&folder.bytes(name)).unwrap());
    for t in &again.tensors {
        let name = format!("module.{}", t.name);
        let before = first.tensors.iter().find(|f| f.name == name).unwrap();
        assert_eq!(before.tensor, t.tensor, "{name}");
    }
}

#[test]
fn the_report_draws_the_network_and_loads_nothing() {
    let folder = Folder::new();
    folder.put("w.safetensors", safetensors(&lenet(), ""));
    let args = [
        "inspect",
        "w.safetensors",
        "--arch",
        "lenet-300-100",
        "--report",
        "page.html",
    ];
    let ran = run(folder.path(), &args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let page = folder.text("page.html");
    assert!(page.contains("<svg") && page.contains("dense3") && page.contains("266"));
    for outside in ["http:", "https:", "src=", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn weights_of_another_network_are_listed() {
    let folder = Folder::new();
    let graph = lenet();
    let renamed: Vec<(String, Tensor)> = graph
        .parameters()
        .iter()
        .map(|p| {
            let name = graph
                .value_name(p.value)
                .replace("dense3.bias", "dense3.bais");
            (name, p.weight.tensor().into_owned())
        })
        .collect();
    let refs = renamed.iter().map(|(name, t)| (name.as_str(), t));
    folder.put(
        "w.safetensors",
        weights::to_safetensors(refs, &BTreeMap::new()).unwrap(),
    );
    pictures(&folder);
    let dir = folder.path();
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &["--arch", "lenet-300-100"],
            &[
                "5 found, 1 missing, 1 left over",
                "missing dense3.bias, nearest in the file: dense3.bais",
            ],
        ),
        (
            &["--arch", "resnet-50"],
            &["do not fit resnet-50", "missing bn1.bias", "... and"],
        ),
        (
            &["--arch", "lenet300"],
            &[
                "unknown architecture \"lenet300\"",
                "did you mean lenet-300-100?",
            ],
        ),
        (
            &[],
            &[
                "the file holds weights, but not the network",
                "--arch: one of lenet-300-100",
            ],
        ),
    ];
    for (args, texts) in cases {
        let ran = run(dir, &[&["run", "w.safetensors", "x.idx"], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}");
        for text in texts {
            assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
        }
    }
}

#[test]
fn hostile_files_are_refused_with_exit_code_1() {
    let folder = Folder::new();
    let pickle = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R.";
    folder.put("a.pth", pickle);
    folder.put("b.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}");
    folder.put("c.pt", b"PK\x03\x04nothing");
    for (name, text) in [
        ("a.pth", "`posix.system`"),
        ("b.safetensors", "expected"),
        ("c.pt", "damaged archive"),
    ] {
        let ran = run(folder.path(), &["inspect", name]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(
            ran.stderr.contains(text) && ran.stderr.contains(name),
            "{ran:?}"
        );
    }
}

/// `sum = state + x`.
fn running_sum() -> Vec<u8> {
    let mut b = GraphBuilder::new("sum");
    let dims = || vec![Dim::batch(), Dim::Fixed(2)];
    let x = b.input("x", DType::F32, dims());
    let state = b.input("state", DType::F32, dims());
    let sum = b.node("sum", Op::Binary(Binary::Add), &[state, x]);
    let twice = b.node("twice", Op::Binary(Binary::Add), &[sum, sum]);
    b.output(twice);
    b.output(sum);
    let model = Model::new(b.finish().unwrap());
    write(
        &model,
        &WriteOptions {
            coder: Coder::Store,
        },
    )
    .unwrap()
}

#[test]
fn arrays_by_name_and_a_state_that_is_carried() {
    let folder = Folder::new();
    folder.put("sum.bantam", running_sum());
    folder.put(
        "steps.npy",
        npy(&[3, 1, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]),
    );
    let both = [
        ("x", npy(&[1, 2], &[1.0, 2.0])),
        ("state", npy(&[1, 2], &[5.0, 7.0])),
    ];
    folder.put("both.npz", npz(&both));
    folder.put("rows.csv", "x\n1\n");
    let dir = folder.path();

    let plain = run(dir, &["run", "sum.bantam", "both.npz"]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    assert!(plain.stderr.contains("fed as they are"), "{plain:?}");
    let once = run(dir, &["run", "sum.bantam", "both.npz", "--raw", "--json"]);
    let outputs = once.json()["outputs"].clone();
    assert_eq!(
        (&outputs[1]["name"], &outputs[1]["minimum"]),
        (&"sum".into(), &6.0.into()),
        "{once:?}"
    );

    let steps = [
        "run",
        "sum.bantam",
        "steps.npy",
        "--state",
        "state=sum",
        "-o",
        "out.npz",
    ];
    let carried = run(dir, &steps);
    assert_eq!(carried.code, Some(0), "{carried:?}");
    let arrays = bantam_data::read_npz(&dir.join("out.npz")).unwrap();
    let values = |i: usize| arrays[i].1.values::<f32>().unwrap().to_vec();
    assert_eq!(
        (arrays[0].0.as_str(), arrays[0].1.shape()),
        ("twice", &[3, 1, 2][..])
    );
    assert_eq!(values(0), [2.0, 20.0, 6.0, 60.0, 12.0, 120.0]);
    assert_eq!(
        (arrays[1].0.as_str(), values(1)),
        ("state", vec![6.0, 60.0])
    );

    for (args, text) in [
        (
            &["steps.npy", "--raw"][..],
            "expected a .npz archive of the inputs x, state",
        ),
        (
            &["both.npz", "--raw", "-o", "out.csv"],
            "called .npy or .npz",
        ),
        (
            &["both.npz", "--state", "stat=sum"],
            "no input is called \"stat\"",
        ),
        (&["both.npz", "--state", "sum"], "expected INPUT=OUTPUT"),
        (&["rows.csv"], "say --raw"),
    ] {
        let ran = run(dir, &[&["run", "sum.bantam"], args].concat());
        assert_eq!(ran.code, Some(1), "{args:?}");
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
}
