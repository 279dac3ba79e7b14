//! The conformance cases of ONNX: every one passes, or is refused with an error.
//!
//! `scripts/fetch-onnx-cases.sh` fetches them; without them the test says so and does nothing. The
//! names of those that pass are in `onnx_cases.txt`: one that is there and does not pass any more is
//! a failure. `BANTAM_GOLDEN=write` writes the list anew. A network that passes is also packed and read
//! again, and written as ONNX and read again: it must come back the same.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use bantam_core::op::Type;
use bantam_core::{DType, Data, Graph, Tensor};
use bantam_formats::bantam::{self, Coder, Model, WriteOptions};
use bantam_formats::onnx::{self, ReadLimits};
use bantam_runtime::{Executor, Plan};

/// What must pass at least.
const LEAST: usize = 1250;

#[derive(Debug)]
enum Outcome {
    Passed,
    Refused(String),
    Failed(String),
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/cache/onnx/cases/node")
}

fn tensor(path: &Path) -> Result<Tensor, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    onnx::read_tensor(&bytes, &ReadLimits::default()).map_err(|e| e.to_string())
}

/// The tensors `input_0.pb`, `input_1.pb`, … of a folder.
fn tensors(folder: &Path, stem: &str) -> Result<Vec<Tensor>, String> {
    let path = |i: usize| folder.join(format!("{stem}_{i}.pb"));
    (0..)
        .map(path)
        .take_while(|p| p.exists())
        .map(|p| tensor(&p))
        .collect()
}

/// Relative 1e-3 and absolute 1e-5 for floats, exact otherwise.
fn same(found: &Tensor, expected: &Tensor) -> Result<(), String> {
    let types = |t: &Tensor| format!("{} {:?}", t.dtype(), t.shape());
    if types(found) != types(expected) {
        return Err(format!(
            "expected {}, found {}",
            types(expected),
            types(found)
        ));
    }
    if !found.dtype().is_float() {
        let equal = found.data() == expected.data();
        let text = || format!("expected {:?}, found {:?}", expected.data(), found.data());
        return if equal { Ok(()) } else { Err(text()) };
    }
    let (Data::F64(f), Data::F64(e)) = (
        found.data().cast(DType::F64),
        expected.data().cast(DType::F64),
    ) else {
        unreachable!("cast to f64")
    };
    for (i, (f, e)) in f.iter().zip(&e).enumerate() {
        let near = f == e || (f.is_nan() && e.is_nan()) || (f - e).abs() <= 1e-5 + 1e-3 * e.abs();
        if !near {
            return Err(format!("element {i}: expected {e}, found {f}"));
        }
    }
    Ok(())
}

fn run(folder: &Path) -> Outcome {
    let model = match onnx::read_file(&folder.join("model.onnx"), &ReadLimits::default()) {
        Ok(model) => model,
        Err(e) => return Outcome::Refused(e.to_string()),
    };
    for n in 0.. {
        let data = folder.join(format!("test_data_set_{n}"));
        if !data.exists() {
            break;
        }
        let (inputs, expected) = match (tensors(&data, "input"), tensors(&data, "output")) {
            (Ok(i), Ok(o)) => (i, o),
            (Err(e), _) | (_, Err(e)) => return Outcome::Failed(format!("test data: {e}")),
        };
        let types: Vec<Type> = inputs
            .iter()
            .map(|t| Type::new(t.dtype(), t.shape()))
            .collect();
        let plan = match Plan::new(&model.graph, &types) {
            Ok(plan) => plan,
            Err(e) => return Outcome::Refused(format!("plan: {e}")),
        };
        let mut executor = Executor::new(plan);
        let refs: Vec<&Tensor> = inputs.iter().collect();
        let outputs = match executor.run(&refs) {
            Ok(outputs) => outputs,
            Err(e) => return Outcome::Refused(format!("run: {e}")),
        };
        if outputs.len() != expected.len() {
            return Outcome::Failed(format!(
                "{} outputs, expected {}",
                outputs.len(),
                expected.len()
            ));
        }
        for (i, e) in expected.iter().enumerate() {
            if let Err(why) = same(&outputs.tensor(i), e) {
                return Outcome::Failed(format!("output {i}: {}", &why[..why.len().min(300)]));
            }
        }
    }
    match comes_back(&model.graph) {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    }
}

/// Packed and unpacked, written and read, a graph has the same dump.
fn comes_back(graph: &Graph) -> Result<(), String> {
    let options = WriteOptions {
        coder: Coder::Store,
    };
    bantam::write(&Model::new(graph.clone()), &options).map_err(|e| format!("packed: {e}"))?;
    let bytes = onnx::write(graph).map_err(|e| format!("written: {e}"))?;
    let again = onnx::read(&bytes, &ReadLimits::default());
    let again = again.map_err(|e| format!("written and read: {e}"))?.graph;
    let (before, after) = (graph.to_string(), again.to_string());
    match before.lines().zip(after.lines()).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("{a:?} comes back as {b:?}")),
        None if before != after => Err("it comes back longer or shorter".to_owned()),
        None => Ok(()),
    }
}

/// Runs a case apart, so that a panic or an endless loop is an outcome like others.
fn guarded(folder: PathBuf) -> Outcome {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| run(&folder)));
        send.send(result.unwrap_or_else(|_| Outcome::Failed("it panics".to_owned())))
            .ok();
    });
    let late = |_| Outcome::Failed("it takes more than a minute".to_owned());
    receive
        .recv_timeout(Duration::from_secs(60))
        .unwrap_or_else(late)
}

#[test]
fn every_case_passes_or_is_refused() {
    let Ok(folders) = std::fs::read_dir(cases()) else {
        eprintln!("skipped: no cases in data/cache/onnx; scripts/fetch-onnx-cases.sh fetches them");
        return;
    };
    let mut outcomes = BTreeMap::new();
    for folder in folders {
        let path = folder.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        outcomes.insert(name, guarded(path));
    }
    let passed: BTreeSet<&str> = outcomes
        .iter()
        .filter(|o| matches!(o.1, Outcome::Passed))
        .map(|o| o.0.as_str())
        .collect();
    let refused = outcomes
        .values()
        .filter(|o| matches!(o, Outcome::Refused(_)))
        .count();
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, o)| match o {
            Outcome::Failed(why) => Some(format!("{name}: {why}")),
            _ => None,
        })
        .collect();
    if let Some(file) = std::env::var_os("BANTAM_ONNX_REPORT") {
        let text = |o: &Outcome| match o {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Refused(why) => format!("refused: {why}"),
            Outcome::Failed(why) => format!("failed: {why}"),
        };
        let lines: Vec<String> = outcomes
            .iter()
            .map(|(n, o)| format!("{n}\t{}\n", text(o)))
            .collect();
        std::fs::write(file, lines.concat()).unwrap();
    }
    let counts = format!(
        "{} passed, {refused} refused, {} failed",
        passed.len(),
        failed.len()
    );
    println!("{counts} of {} ONNX cases", outcomes.len());
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_cases.txt");
    if std::env::var_os("BANTAM_GOLDEN").is_some() {
        let lines: Vec<String> = passed.iter().map(|n| format!("{n}\n")).collect();
        std::fs::write(&list, lines.concat()).unwrap();
    }
    let stored = std::fs::read_to_string(&list).unwrap();
    let stored: BTreeSet<&str> = stored.lines().collect();
    let lost: Vec<String> = stored
        .difference(&passed)
        .map(|n| format!("{n}: {:?}", outcomes.get(*n)))
        .collect();
    let new: Vec<_> = passed.difference(&stored).collect();
    assert!(failed.is_empty(), "{counts}\n{}", failed.join("\n"));
    assert!(
        lost.is_empty(),
        "{counts}; these passed once:\n{}",
        lost.join("\n")
    );
    assert!(
        new.is_empty(),
        "{counts}; these pass and are not in onnx_cases.txt: {new:?}"
    );
    assert!(
        passed.len() >= LEAST,
        "{counts}, expected at least {LEAST} to pass"
    );
}
