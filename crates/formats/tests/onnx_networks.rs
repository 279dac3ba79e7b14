//! Real networks against the answers of onnxruntime, after every pass, and after a round trip.
//!
//! `scripts/fetch-onnx-cases.sh` fetches the networks, `scripts/onnx-reference.py` writes the answers;
//! without them the tests say so and do nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bantam_core::op::Type;
use bantam_core::{DType, Data, Graph, Tensor, pass};
use bantam_formats::onnx::{self, ReadLimits};
use bantam_runtime::{Executor, Plan};

/// Largest difference allowed, as a share of the largest value of an output.
const BOUND: f64 = 1e-4;

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/cache/onnx")
}

/// Networks whose file and answers are there: name, file, folder of the answers.
fn networks() -> Vec<(String, PathBuf, PathBuf)> {
    let mut files = vec![
        cache().join("magika/model.onnx"),
        cache().join("minilm/model.onnx"),
    ];
    let silero = std::fs::read_dir(cache().join("silero/data"))
        .into_iter()
        .flatten();
    let silero = silero.map(|f| f.unwrap().path());
    files.extend(silero.filter(|f| f.extension().is_some_and(|e| e == "onnx")));
    let name = |f: &Path| match f.file_stem().unwrap().to_str().unwrap() {
        "model" => f
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned(),
        stem => stem.to_owned(),
    };
    let all = files.into_iter().map(|f| {
        let answers = cache().join("reference").join(name(&f));
        (name(&f), f, answers)
    });
    let there: Vec<_> = all
        .filter(|(_, file, answers)| file.exists() && answers.exists())
        .collect();
    if there.is_empty() {
        eprintln!(
            "skipped: no networks; scripts/fetch-onnx-cases.sh and scripts/onnx-reference.py bring them"
        );
    }
    there
}

fn tensors(folder: &Path, stem: &str) -> Vec<Tensor> {
    let path = |i: usize| folder.join(format!("{stem}_{i}.pb"));
    let read =
        |p: PathBuf| onnx::read_tensor(&std::fs::read(p).unwrap(), &ReadLimits::default()).unwrap();
    (0..)
        .map(path)
        .take_while(|p| p.exists())
        .map(read)
        .collect()
}

fn floats(t: &Tensor) -> Vec<f64> {
    match t.data().cast(DType::F64) {
        Data::F64(v) => v,
        _ => unreachable!("cast to f64"),
    }
}

/// The largest difference, and the largest expected value.
fn difference(found: &Tensor, expected: &Tensor) -> (f64, f64) {
    assert_eq!(
        (found.dtype(), found.shape()),
        (expected.dtype(), expected.shape())
    );
    let (f, e) = (floats(found), floats(expected));
    let most = e.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let off = f
        .iter()
        .zip(&e)
        .fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
    (off, most)
}

struct Runner<'g> {
    graph: &'g Graph,
    executors: HashMap<Vec<Vec<usize>>, Executor>,
}

impl Runner<'_> {
    fn run(&mut self, inputs: &[Tensor]) -> Vec<Tensor> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| t.shape().to_vec()).collect();
        let executor = self.executors.entry(shapes).or_insert_with(|| {
            let types: Vec<Type> = inputs
                .iter()
                .map(|t| Type::new(t.dtype(), t.shape()))
                .collect();
            Executor::new(Plan::new(self.graph, &types).unwrap())
        });
        let refs: Vec<&Tensor> = inputs.iter().collect();
        let outputs = executor.run(&refs).unwrap();
        (0..outputs.len()).map(|i| outputs.tensor(i)).collect()
    }
}

/// Runs all steps, handing our own state from one to the next. For each output, the largest
/// difference over all steps as a share of its largest value over all steps; the worst of them.
fn worst(graph: &Graph, answers: &Path) -> f64 {
    let mut runner = Runner {
        graph,
        executors: HashMap::new(),
    };
    let state = graph
        .inputs()
        .iter()
        .position(|i| graph.value_name(i.value) == "state");
    let next = graph
        .outputs()
        .iter()
        .position(|&v| graph.value_name(v) == "stateN");
    let mut carried: Option<Tensor> = None;
    let mut worst = vec![(0.0f64, 1e-30f64); graph.outputs().len()];
    for step in (0..)
        .map(|n| answers.join(format!("step-{n:03}")))
        .take_while(|p| p.exists())
    {
        let mut inputs = tensors(&step, "input");
        if let (Some(at), Some(t)) = (state, carried.take()) {
            inputs[at] = t;
        }
        let outputs = runner.run(&inputs);
        for (i, expected) in tensors(&step, "output").iter().enumerate() {
            let (off, most) = difference(&outputs[i], expected);
            worst[i] = (worst[i].0.max(off), worst[i].1.max(most));
        }
        carried = next.map(|at| outputs[at].clone());
    }
    worst
        .iter()
        .map(|(off, most)| off / most)
        .fold(0.0, f64::max)
}

fn read(file: &Path) -> Graph {
    onnx::read_file(file, &ReadLimits::default()).unwrap().graph
}

#[test]
fn networks_agree_with_onnxruntime() {
    for (name, file, answers) in networks() {
        let found = worst(&read(&file), &answers);
        println!("{name}: largest difference {found:.1e}");
        assert!(found <= BOUND, "{name}: {found:e}");
    }
}

type Pass = fn(&Graph) -> bantam_core::Result<Graph>;

#[test]
fn passes_keep_the_answers() {
    for (name, file, answers) in networks() {
        let graph = read(&file);
        let passes: [(&str, Pass); 5] = [
            ("fold_constants", pass::fold_constants),
            ("drop_identities", pass::drop_identities),
            ("fold_batch_norms", pass::fold_batch_norms),
            ("merge_common", pass::merge_common),
            ("simplify", pass::simplify),
        ];
        for (pass, f) in passes {
            let changed = f(&graph).unwrap();
            let found = worst(&changed, &answers);
            let (before, after) = (graph.nodes().len(), changed.nodes().len());
            println!("{name}, {pass}: {before} nodes to {after}, largest difference {found:.1e}");
            assert!(
                found <= BOUND && after <= before,
                "{name}, {pass}: {found:e}"
            );
        }
    }
}

/// Written, read and written again, the dump and the bytes are the same.
#[test]
fn written_networks_come_back_the_same() {
    for (name, file, answers) in networks() {
        let graph = read(&file);
        let bytes = onnx::write(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let again = onnx::read(&bytes, &ReadLimits::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .graph;
        let (before, after) = (graph.to_string(), again.to_string());
        let first = before.lines().zip(after.lines()).find(|(a, b)| a != b);
        assert!(before == after, "{name}: the dumps differ, first {first:?}");
        assert!(onnx::write(&again).unwrap() == bytes, "{name}");
        let found = worst(&again, &answers);
        println!("{name}: largest difference after writing and reading {found:.1e}");
        assert!(found <= BOUND, "{name}: {found:e}");
        // For scripts/onnx-reference.py, which runs the written network with onnxruntime.
        if let Some(folder) = std::env::var_os("BANTAM_ONNX_EXPORT") {
            let folder = Path::new(&folder).join(&name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("model.onnx"), bytes).unwrap();
            for f in std::fs::read_dir(answers.join("step-000")).unwrap() {
                let f = f.unwrap();
                std::fs::copy(f.path(), folder.join(f.file_name())).unwrap();
            }
        }
    }
}
