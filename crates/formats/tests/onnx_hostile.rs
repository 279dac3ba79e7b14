//! ONNX files that nobody should send: each ends in an error within a second and 100 MB.

use std::path::Path;
use std::time::{Duration, Instant};

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

/// An error that says `what`, within a second.
fn refused(bytes: &[u8], what: &str) {
    let start = Instant::now();
    let read = onnx::read(bytes, &ReadLimits::default());
    let took = start.elapsed();
    let error = read.expect_err(what).to_string();
    assert!(error.contains(what), "expected {what:?} in {error:?}");
    assert!(took < Duration::from_secs(1), "{what}: {took:?}");
}

fn graph() -> Message {
    Message::default()
}

fn stored(sizes: &[i64]) -> Message {
    let bytes: Vec<u8> = sizes.iter().flat_map(|s| s.to_le_bytes()).collect();
    tensor("sizes", 7, &[sizes.len() as i64]).bytes(9, &bytes)
}

/// One node `op(x, sizes) → y` on `x` of four elements.
fn with_sizes(op: &str, sizes: &[i64]) -> Vec<u8> {
    let graph = graph()
        .sub(1, &node(op, &["x", "sizes"], &["y"]))
        .sub(5, &stored(sizes))
        .sub(11, &value("x", &[2, 2]))
        .sub(12, &value("y", &[]));
    model(&graph)
}

fn range(from: i64, to: i64) -> Vec<u8> {
    let scalar = |name: &str, v: i64| tensor(name, 7, &[]).bytes(9, &v.to_le_bytes());
    let graph = graph()
        .sub(1, &node("Range", &["a", "b", "c"], &["y"]))
        .sub(5, &scalar("a", from))
        .sub(5, &scalar("b", to))
        .sub(5, &scalar("c", 1))
        .sub(12, &value("y", &[]));
    model(&graph)
}

/// One node `op(x, scale) → y` along an axis that no tensor has.
fn along(op: &str, axis: i64) -> Vec<u8> {
    let axis = Message::default().text(1, "axis").int(20, 2).int(3, axis);
    let scale = tensor("scale", 1, &[2]).bytes(9, &[0; 8]);
    let graph = graph()
        .sub(1, &node(op, &["x", "scale"], &["y"]).sub(5, &axis))
        .sub(5, &scale)
        .sub(11, &value("x", &[2, 2]))
        .sub(12, &value("y", &[]));
    model(&graph)
}

fn initializer(dims: &[i64], bytes: &[u8]) -> Vec<u8> {
    model(&graph().sub(5, &tensor("w", 1, dims).bytes(9, bytes)))
}

fn circle(names: &[&str]) -> Vec<u8> {
    let next = |i: usize| names[(i + 1) % names.len()];
    let nodes = (0..names.len()).map(|i| node("Relu", &[next(i)], &[names[i]]));
    let graph = nodes.fold(graph(), |g, n| g.sub(1, &n));
    model(&graph.sub(12, &value(names[0], &[])))
}

fn graph_attribute(name: &str, graph: &Message) -> Message {
    Message::default().text(1, name).int(20, 5).sub(6, graph)
}

fn nested(depth: usize) -> Vec<u8> {
    let mut inner = graph();
    for _ in 0..depth {
        let branch = graph_attribute("then_branch", &inner);
        inner = graph().sub(1, &node("If", &["c"], &["y"]).sub(5, &branch));
    }
    model(&inner)
}

/// `x` joined with itself again and again.
fn doubled(times: usize) -> Vec<u8> {
    let axis = Message::default().text(1, "axis").int(20, 2).int(3, 0);
    let name = |i: usize| format!("v{i}");
    let nodes = (0..times).map(|i| {
        let from = name(i);
        node("Concat", &[&from, &from], &[&name(i + 1)]).sub(5, &axis)
    });
    let graph = nodes.fold(graph(), |g, n| g.sub(1, &n));
    let graph = graph.sub(11, &value("v0", &[2, 2]));
    model(&graph.sub(12, &value(&name(times), &[])))
}

fn function(name: &str, body: &[Message]) -> Message {
    let m = Message::default()
        .text(1, name)
        .text(4, "x")
        .text(5, "y")
        .text(10, "f");
    body.iter().fold(m, |m, n| m.sub(7, n))
}

fn call(name: &str, from: &str, to: &str) -> Message {
    node(name, &[from], &[to]).text(7, "f")
}

fn calls(functions: &[Message]) -> Vec<u8> {
    let graph = graph()
        .sub(1, &call("f0", "x", "y"))
        .sub(11, &value("x", &[1]))
        .sub(12, &value("y", &[1]));
    let start = Message(model(&graph));
    functions.iter().fold(start, |m, f| m.sub(25, f)).0
}

/// Levels of ten calls each of the next.
fn ten_calls_each(levels: usize) -> Vec<u8> {
    let body = |level: usize| -> Vec<Message> {
        let name = |i: usize| match i {
            0 => "x".to_owned(),
            10 => "y".to_owned(),
            i => format!("v{i}"),
        };
        let one = |i: usize| match level + 1 < levels {
            true => call(&format!("f{}", level + 1), &name(i), &name(i + 1)),
            false => node("Relu", &[&name(i)], &[&name(i + 1)]),
        };
        (0..10).map(one).collect()
    };
    let functions = (0..levels).map(|l| function(&format!("f{l}"), &body(l)));
    calls(&functions.collect::<Vec<_>>())
}

/// Many choices that read one constant, and an unknown operator at the end.
fn copied_constant(choices: usize) -> Vec<u8> {
    let branch = |name: &str| {
        graph()
            .sub(1, &node("Identity", &["c"], &[name]))
            .sub(12, &value(name, &[]))
    };
    let choice = |i: usize| {
        let yes = graph_attribute("then_branch", &branch(&format!("a{i}")));
        let no = graph_attribute("else_branch", &branch(&format!("b{i}")));
        let n = node("If", &["go"], &[&format!("y{i}")]);
        n.sub(5, &yes).sub(5, &no)
    };
    let all = (0..choices).fold(graph(), |g, i| g.sub(1, &choice(i)));
    let go = tensor("go", 9, &[]).bytes(9, &[1]);
    let constant = tensor("c", 1, &[4096]).bytes(9, &[0; 4 * 4096]);
    let all = all.sub(1, &node("Frobnicate", &["c"], &["z"]));
    model(&all.sub(5, &go).sub(5, &constant).sub(12, &value("z", &[])))
}

/// A type of a value that is a sequence of sequences of ….
fn deep_type(depth: usize) -> Vec<u8> {
    let mut kind = Message::default().sub(1, &Message::default().int(1, 1));
    for _ in 0..depth {
        kind = Message::default().sub(4, &Message::default().sub(1, &kind));
    }
    let input = Message::default().text(1, "x").sub(2, &kind);
    model(&graph().sub(11, &input))
}

/// A test for each attack, and the list of all.
macro_rules! attacks {
    ($($name:ident: $($bytes:expr => $what:expr),+;)*) => {
        $(
            #[test]
            fn $name() {
                $(refused(&$bytes, $what);)+
            }
        )*

        fn attacks() -> Vec<(&'static str, Vec<u8>)> {
            vec![$($((stringify!($name), $bytes)),+),*]
        }
    };
}

attacks! {
    a_tensor_of_a_billion_elements_without_bytes:
        initializer(&[1000, 1000, 1000], &[]) => "w",
        initializer(&[1 << 40], &[]) => "w",
        model(&graph().sub(5, &tensor("w", 1, &[1 << 30]))) => "w";
    sizes_that_overflow:
        initializer(&[1 << 62, 4], &[0; 4]) => "w",
        initializer(&[-1, 2], &[0; 4]) => "w",
        initializer(&[i64::MAX, i64::MAX], &[0; 4]) => "w";
    an_input_of_a_billion_billion_elements:
        model(&graph()
            .sub(1, &node("Relu", &["x"], &["y"]))
            .sub(11, &value("x", &[1 << 31, 1 << 31]))
            .sub(12, &value("y", &[]))) => "y";
    a_computed_shape_of_a_billion_elements:
        with_sizes("Expand", &[1 << 30, 2, 2]) => "too large",
        with_sizes("Tile", &[1 << 31, 1 << 31]) => "y",
        with_sizes("Reshape", &[1 << 40, -1]) => "reshape",
        with_sizes("Pad", &[1 << 40, 0, 0, 0]) => "too large",
        with_sizes("Pad", &[i64::MAX, i64::MAX, i64::MAX, i64::MAX]) => "y",
        model(&graph()
            .sub(1, &node("ConstantOfShape", &["sizes"], &["y"]))
            .sub(5, &stored(&[1 << 30, 1 << 30]))
            .sub(12, &value("y", &[]))) => "y";
    an_axis_far_away:
        along("QuantizeLinear", i64::MIN + 4) => "axis = -9223372036854775804",
        along("QuantizeLinear", -(1 << 40)) => "axis = -1099511627776",
        along("LayerNormalization", -(1 << 40)) => "axis = ",
        along("Gather", i64::MAX) => "axis = 9223372036854775807",
        along("Concat", 33) => "axis = 33";
    values_that_double_again_and_again:
        doubled(40) => "too large",
        doubled(80) => "too large";
    a_range_without_end:
        range(i64::MIN, i64::MAX) => "a range of more than",
        range(0, 1 << 30) => "a range of more than";
    nodes_in_a_circle:
        circle(&["a"]) => "not defined before",
        circle(&["a", "b"]) => "not defined before",
        circle(&["a", "b", "c", "d"]) => "not defined before";
    a_thousand_graphs_inside_each_other:
        nested(17) => "graphs inside graphs",
        nested(1000) => "graphs inside graphs";
    a_type_ten_thousand_deep:
        deep_type(10_000) => "sequence";
    functions_that_call_themselves:
        calls(&[function("f0", &[call("f0", "x", "y")])]) => "functions inside functions",
        calls(&[
            function("f0", &[call("f1", "x", "y")]),
            function("f1", &[call("f0", "x", "y")]),
        ]) => "functions inside functions";
    functions_that_multiply:
        ten_calls_each(10) => "more nodes than the limit",
        ten_calls_each(15) => "more nodes than the limit";
    a_constant_copied_into_thousands_of_graphs:
        copied_constant(4000) => "Frobnicate";
    a_file_that_is_cut:
        { let mut cut = nested(3); cut.truncate(cut.len() - 1); cut } => "ends inside",
        Message::default().bytes(7, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]).0 => "ends inside";
}

/// Most memory that this process has had, in bytes.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// In a process of its own each, so that neither other tests nor the making of the files count.
#[test]
fn attacks_take_little_memory() {
    let name = "BANTAM_ONNX_ATTACK";
    if let Some(path) = std::env::var_os(name) {
        assert!(onnx::read_file(Path::new(&path), &ReadLimits::default()).is_err());
        if let Some(peak) = peak_bytes() {
            assert!(peak < 100_000_000, "{peak} bytes");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attack.onnx");
    for (attack, bytes) in attacks() {
        std::fs::write(&path, bytes).unwrap();
        let test = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "attacks_take_little_memory"])
            .env(name, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success(), "{attack}: {said}");
    }
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
