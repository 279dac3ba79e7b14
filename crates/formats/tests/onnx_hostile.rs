//! ONNX files that nobody should send: each ends in an error, quickly and without much memory.

use std::path::Path;

use bantam_core::cases;
use bantam_core::reference::run;
use bantam_core::{Graph, Tensor};
use bantam_formats::onnx::{self, ReadLimits};

/// A message of protocol buffers, written by hand so that it may be wrong.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

impl Message {
    fn int(mut self, field: u64, value: i64) -> Message {
        self.0.extend(varint(field << 3));
        self.0.extend(varint(value as u64));
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.0.extend(varint(field << 3 | 2));
        self.0.extend(varint(value.len() as u64));
        self.0.extend(value);
        self
    }

    fn text(self, field: u64, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    fn sub(self, field: u64, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let m = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
    outputs.iter().fold(m, |m, o| m.text(2, o)).text(4, op)
}

/// A value of type `f32` and the given sizes.
fn value(name: &str, dims: &[i64]) -> Message {
    let shape = dims.iter().fold(Message::default(), |m, &d| {
        m.sub(1, &Message::default().int(1, d))
    });
    let tensor = Message::default().int(1, 1).sub(2, &shape);
    Message::default()
        .text(1, name)
        .sub(2, &Message::default().sub(1, &tensor))
}

fn tensor(name: &str, data_type: i64, dims: &[i64]) -> Message {
    dims.iter()
        .fold(Message::default(), |m, &d| m.int(1, d))
        .int(2, data_type)
        .text(8, name)
}

fn model(graph: &Message) -> Vec<u8> {
    let opset = Message::default().text(1, "").int(2, 17);
    Message::default().int(1, 8).sub(7, graph).sub(8, &opset).0
}

fn refused(bytes: &[u8], what: &str) {
    let error = onnx::read(bytes, &ReadLimits::default())
        .expect_err(what)
        .to_string();
    assert!(error.contains(what), "expected {what:?} in {error:?}");
}

#[test]
fn a_tensor_of_a_billion_elements_without_bytes() {
    for dims in [&[1000, 1000, 1000][..], &[1 << 40]] {
        let graph = Message::default().sub(5, &tensor("w", 1, dims));
        refused(&model(&graph), "w");
    }
}

#[test]
fn sizes_that_overflow() {
    for dims in [&[1 << 62, 4][..], &[-1, 2], &[i64::MAX, i64::MAX]] {
        let graph = Message::default().sub(5, &tensor("w", 1, dims).bytes(9, &[0; 4]));
        refused(&model(&graph), "w");
    }
}

#[test]
fn a_computed_shape_of_a_billion_elements() {
    let sizes = tensor("sizes", 7, &[2]).bytes(9, &[0, 0, 0, 0x40, 0, 0, 0, 0].repeat(2));
    let graph = Message::default()
        .sub(1, &node("ConstantOfShape", &["sizes"], &["y"]))
        .sub(5, &sizes)
        .sub(12, &value("y", &[]));
    refused(&model(&graph), "too large");
}

#[test]
fn a_range_without_end() {
    let scalar = |name: &str, v: i64| tensor(name, 7, &[]).bytes(9, &v.to_le_bytes());
    let graph = Message::default()
        .sub(1, &node("Range", &["a", "b", "c"], &["y"]))
        .sub(5, &scalar("a", i64::MIN))
        .sub(5, &scalar("b", i64::MAX))
        .sub(5, &scalar("c", 1))
        .sub(12, &value("y", &[]));
    refused(&model(&graph), "a range of more than");
}

#[test]
fn nodes_in_a_circle() {
    let graph = Message::default()
        .sub(1, &node("Relu", &["b"], &["a"]))
        .sub(1, &node("Relu", &["a"], &["b"]))
        .sub(12, &value("b", &[]));
    refused(&model(&graph), "not defined before");
    let graph = Message::default()
        .sub(1, &node("Relu", &["a"], &["a"]))
        .sub(12, &value("a", &[]));
    refused(&model(&graph), "not defined before");
}

#[test]
fn a_thousand_graphs_inside_each_other() {
    let mut graph = Message::default();
    for _ in 0..1000 {
        let branch = Message::default()
            .text(1, "then_branch")
            .int(20, 5)
            .sub(6, &graph);
        graph = Message::default().sub(1, &node("If", &["c"], &["y"]).sub(5, &branch));
    }
    refused(&model(&graph), "graphs inside graphs");
}

#[test]
fn functions_that_call_themselves_and_functions_that_multiply() {
    let call = |name: &str| node(name, &["x"], &["y"]).text(7, "f");
    let function = |name: &str, body: &[Message]| {
        let m = Message::default()
            .text(1, name)
            .text(4, "x")
            .text(5, "y")
            .text(10, "f");
        body.iter().fold(m, |m, n| m.sub(7, n))
    };
    let graph = Message::default()
        .sub(1, &call("f0"))
        .sub(11, &value("x", &[1]))
        .sub(12, &value("y", &[1]));
    let itself = Message(model(&graph)).sub(25, &function("f0", &[call("f0")]));
    refused(&itself.0, "functions inside functions");
    // Ten levels of ten calls each would be ten thousand million nodes.
    let mut many = Message(model(&graph));
    for level in 0..10 {
        let ten: Vec<Message> = (0..10)
            .map(|i| {
                let from = if i == 0 {
                    "x".to_owned()
                } else {
                    format!("v{i}")
                };
                let to = if i == 9 {
                    "y".to_owned()
                } else {
                    format!("v{}", i + 1)
                };
                let m = node(&format!("f{}", level + 1), &[&from], &[&to]);
                if level == 9 {
                    node("Relu", &[&from], &[&to])
                } else {
                    m.text(7, "f")
                }
            })
            .collect();
        many = many.sub(25, &function(&format!("f{level}"), &ten));
    }
    let limits = ReadLimits {
        nodes: 10_000,
        ..ReadLimits::default()
    };
    let error = onnx::read(&many.0, &limits).unwrap_err().to_string();
    assert!(error.contains("more nodes than the limit"), "{error}");
}

#[test]
fn external_data_outside_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("model");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("secret"), [0u8; 64]).unwrap();
    std::fs::write(inside.join("data"), [0u8; 64]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
    let at = |location: &str, offset: &str| {
        let entry = |k: &str, v: &str| Message::default().text(1, k).text(2, v);
        let w = tensor("w", 1, &[4])
            .int(14, 1)
            .sub(13, &entry("location", location))
            .sub(13, &entry("offset", offset));
        let graph = Message::default()
            .sub(1, &node("Relu", &["w"], &["y"]))
            .sub(5, &w)
            .sub(12, &value("y", &[4]));
        let path = inside.join("model.onnx");
        std::fs::write(&path, model(&graph)).unwrap();
        onnx::read_file(&path, &ReadLimits::default())
    };
    assert!(at("data", "0").is_ok() && at("data", "48").is_ok());
    let secret = folder.path().join("secret");
    for location in [
        "../secret",
        secret.to_str().unwrap(),
        "./../secret",
        "a/../../secret",
        "..\\secret",
        "link",
    ] {
        if location == "link" && !cfg!(unix) {
            continue;
        }
        let error = at(location, "0").unwrap_err().to_string();
        assert!(error.contains("leaves the folder"), "{location}: {error}");
    }
    for offset in ["52", "18446744073709551615", "-1", "x"] {
        assert!(at("data", offset).is_err(), "{offset}");
    }
    assert!(at("missing", "0").is_err());
}

#[test]
fn what_is_not_known_names_the_node_and_the_operator() {
    let unknown = Message::default().text(1, "colour").int(20, 2).int(3, 1);
    for (n, what) in [
        (
            node("Relu", &["x"], &["y"]).text(3, "r").sub(5, &unknown),
            "node \"r\" (Relu): the attribute \"colour\"",
        ),
        (
            node("Frobnicate", &["x"], &["y"]).text(3, "f"),
            "node \"f\" (Frobnicate): this operator",
        ),
        (
            node("Relu", &["x"], &["y"]).text(7, "com.example"),
            "(com.example:Relu): operators of the domain",
        ),
    ] {
        let graph = Message::default()
            .sub(1, &n)
            .sub(11, &value("x", &[2]))
            .sub(12, &value("y", &[2]));
        refused(&model(&graph), what);
    }
}

/// Cases of the shared list that can be written, with their bytes.
fn written() -> Vec<(cases::Case, Vec<u8>)> {
    let all = cases::all().into_iter();
    all.filter_map(|c| onnx::write(&c.graph).ok().map(|bytes| (c, bytes)))
        .collect()
}

#[test]
fn written_operators_come_back_with_the_same_answers() {
    let written = written();
    assert!(written.len() > 60, "{} cases can be written", written.len());
    for (case, bytes) in written {
        let again: Graph = onnx::read(&bytes, &ReadLimits::default())
            .unwrap_or_else(|e| panic!("{}: {e}", case.name))
            .graph;
        let inputs: Vec<&Tensor> = case.inputs.iter().collect();
        let (before, after) = (
            run(&case.graph, &inputs).unwrap(),
            run(&again, &inputs).unwrap(),
        );
        assert_eq!(before[0].shape(), after[0].shape(), "{}", case.name);
        let values = |t: &Tensor| bantam_core::reference::Array::from(t).values;
        for (a, b) in values(&before[0]).iter().zip(values(&after[0])) {
            assert!(
                (a - b).abs() <= 1e-6 * a.abs().max(1.0),
                "{}: {a} {b}",
                case.name
            );
        }
    }
}

#[test]
fn damaged_files_do_not_panic() {
    let mut state = 1u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let limits = ReadLimits {
        elements: 1 << 20,
        ..ReadLimits::default()
    };
    let mut read = 0;
    for (_, bytes) in written() {
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random() % 3 {
                let at = random() % damaged.len();
                match random() % 4 {
                    0 => damaged.truncate(at.max(1)),
                    1 => damaged[at] ^= 1 << (random() % 8),
                    2 => damaged[at] = random() as u8,
                    _ => damaged.insert(at, random() as u8),
                }
            }
            read += usize::from(onnx::read(&damaged, &limits).is_ok());
        }
    }
    assert!(read > 0, "some damage is harmless");
    assert!(onnx::read(b"", &limits).is_err());
    assert!(onnx::read_file(Path::new("no/such/file.onnx"), &limits).is_err());
}
