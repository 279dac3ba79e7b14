use std::path::Path;

use bantam_core::op::Gather;
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor};

use super::inputs::{batch_of, draw, types};
use super::*;
use crate::watch::Silent;

fn symbol(name: &str) -> Dim {
    Dim::Symbol(name.to_owned())
}

/// Words picked from a table of 9 rows; a mask that nothing picks by; numbers.
fn words() -> Graph {
    let mut b = GraphBuilder::new("words");
    let dims = vec![symbol("b"), symbol("t")];
    let ids = b.input("ids", DType::I64, dims.clone());
    let mask = b.input("mask", DType::I64, dims.clone());
    let numbers = b.input("numbers", DType::F32, vec![symbol("b"), Dim::Fixed(4)]);
    let table = b.weight("table", Tensor::zeros(DType::F32, &[9, 3]));
    let gather = Gather {
        axis: 0,
        grad: false,
    };
    let rows = b.node("rows", Op::Gather(gather), &[table, ids]);
    for v in [rows, mask, numbers] {
        b.output(v);
    }
    b.finish().unwrap()
}

fn options(folder: &Path) -> BenchOptions {
    BenchOptions {
        threads: vec![1],
        seconds: 0.002,
        cache: Cache::at(folder),
        ..BenchOptions::default()
    }
}

fn lenet() -> Source {
    Source::Fresh("lenet-300-100".to_owned())
}

#[test]
fn axes_get_their_sizes() {
    let graph = words();
    let t = [("t".to_owned(), 5)];
    let shapes = |batch, axes: &[(String, usize)]| {
        let found = types(&graph, batch, axes)?;
        assert_eq!(batch_of(&found), found[0].shape[0]);
        Ok::<_, Error>(found.iter().map(|t| t.shape.clone()).collect::<Vec<_>>())
    };
    assert_eq!(
        shapes(None, &t).unwrap(),
        [vec![1, 5], vec![1, 5], vec![1, 4]]
    );
    assert_eq!(
        shapes(Some(3), &t).unwrap(),
        [vec![3, 5], vec![3, 5], vec![3, 4]]
    );
    let e = shapes(None, &[]).unwrap_err();
    assert!(e.to_string().contains("axis \"t\" of the input \"ids\""));
    assert_eq!(e.hint(), Some("say --axis t=SIZE"));
    // A network for so many samples and no other number.
    let mut b = GraphBuilder::new("fixed");
    let x = b.input("x", DType::F32, vec![Dim::Fixed(8), Dim::Fixed(2)]);
    b.output(x);
    let fixed = b.finish().unwrap();
    assert_eq!(batch_of(&types(&fixed, None, &[]).unwrap()), 8);
    assert!(types(&fixed, Some(8), &[]).is_ok());
    let e = types(&fixed, Some(1), &[]).unwrap_err();
    assert!(e.to_string().contains("found one for 8"), "{e}");
    for dims in [vec![symbol("n"), Dim::Any], vec![symbol("n"), Dim::Rest]] {
        let mut b = GraphBuilder::new("any");
        let x = b.input("x", DType::F32, dims);
        b.output(x);
        let e = types(&b.finish_open().unwrap(), None, &[]).unwrap_err();
        assert!(e.hint().unwrap().contains("--inputs"), "{e}");
    }
}

#[test]
fn inputs_are_drawn_within_what_is_allowed() {
    let graph = words();
    let types = types(&graph, Some(40), &[("t".to_owned(), 5)]).unwrap();
    let drawn = draw(&graph, None, &types, 3).unwrap();
    let ids = drawn[0].values::<i64>().unwrap();
    assert!(ids.iter().all(|i| (0..9).contains(i)) && ids.contains(&8));
    assert!(drawn[1].values::<i64>().unwrap().iter().all(|&m| m == 1));
    let numbers = drawn[2].values::<f32>().unwrap();
    assert!(numbers.iter().all(|x| x.abs() <= 1.0) && numbers.iter().any(|x| *x < 0.0));
    assert_eq!(draw(&graph, None, &types, 3).unwrap(), drawn);
    assert_ne!(draw(&graph, None, &types, 4).unwrap(), drawn);
    // Pixels are between black and white.
    let lenet = bantam_core::arch::find("lenet-300-100").unwrap();
    let (graph, schema) = (lenet.graph(10).unwrap(), lenet.schema(10).unwrap());
    let types = graph.input_types(2);
    let drawn = draw(&graph, Some(&schema), &types, 0).unwrap();
    let pixels = drawn[0].values::<f32>().unwrap();
    let [black, white] = [0.0, 1.0].map(|p: f32| (p - 0.1307) / 0.3081);
    assert!(
        pixels
            .iter()
            .all(|x| (black - 1e-5..=white + 1e-5).contains(x))
    );
    assert!(pixels.iter().any(|x| *x > 2.0));
}

#[test]
fn a_report_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let options = BenchOptions {
        batches: vec![1, 3],
        layers: true,
        ..options(folder.path())
    };
    let report = bench(&[lenet(), lenet()], &options, &mut Silent).unwrap();
    let names: Vec<&str> = report.models.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["lenet-300-100", "lenet-300-100 (2)"]);
    let order = report.runs.iter().map(|r| (r.batch, r.model.as_str()));
    assert!(order.eq([(1, names[0]), (1, names[1]), (3, names[0]), (3, names[1])]));
    assert!(report.machine.peak_flops > 0.0);
    for run in &report.runs {
        assert!(run.calls >= 3 && run.threads == 1);
        assert!(run.min_seconds <= run.median_seconds && run.median_seconds <= run.p95_seconds);
        assert_eq!(run.macs, 266_200 * run.batch as u64);
        assert_eq!(run.ratio.is_some(), run.model.ends_with(')'));
        assert_eq!(run.together, None);
        let shares: f64 = run.layers.iter().map(|l| l.share).sum();
        let floors: f64 = run.layers.iter().map(|l| l.floor_seconds).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        assert!(floors > 0.0 && (floors / run.floor_seconds - 1.0).abs() < 1e-9);
        // Each layer has a choice, and what was tried is told with the fastest first.
        assert_eq!(run.kernels.iter().map(|k| k.steps).sum::<usize>(), 3);
        for kernel in &run.kernels {
            assert!(kernel.tried.is_sorted_by(|a, b| a.seconds <= b.seconds));
        }
    }
}

#[test]
fn what_shapes_alone_decide_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let options = BenchOptions {
        layers: true,
        ..options(folder.path())
    };
    let fresh = Source::Fresh("resnet20-cifar".to_owned());
    let report = bench(&[fresh], &options, &mut Silent).unwrap();
    let [run] = &report.runs[..] else {
        panic!("one network: {:?}", report.runs);
    };
    let by_shapes = run
        .kernels
        .iter()
        .filter(|k| k.reason.starts_with("by their shapes"));
    // All convolutions without steps but the first, of a picture's three channels.
    assert_eq!(
        by_shapes.map(|k| k.steps).sum::<usize>(),
        16,
        "{:?}",
        run.kernels
    );
    assert_eq!(run.kernels.iter().map(|k| k.steps).sum::<usize>(), 20);
}

#[test]
fn several_threads_are_told_beside_what_they_could_gain() {
    let folder = tempfile::tempdir().unwrap();
    let options = BenchOptions {
        threads: vec![1, 2],
        ..options(folder.path())
    };
    let report = bench(&[lenet(), lenet()], &options, &mut Silent).unwrap();
    let [one, _, two, beside] = &report.runs[..] else {
        panic!("two networks on two pools: {:?}", report.runs);
    };
    assert_eq!((one.together, two.together), (None, beside.together));
    let Together {
        cores,
        meeting_seconds,
    } = two.together.unwrap();
    assert!(meeting_seconds > 0.0);
    // However the machine is shared, two threads are no less than a small part of one, and no more than
    // three.
    assert!(0.1 < cores.median && cores.median < 3.0, "{cores:?}");
    assert!(cores.low <= cores.high, "{cores:?}");
}

#[test]
fn kernels_are_timed_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let file = options.cache.file(1).unwrap();
    bench(&[lenet()], &options, &mut Silent).unwrap();
    let kept = std::fs::read(&file).unwrap();
    bench(&[lenet()], &options, &mut Silent).unwrap();
    assert_eq!(
        std::fs::read(&file).unwrap(),
        kept,
        "nothing was timed again"
    );
    // One that is damaged is told of, and replaced.
    std::fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    struct Warned(Vec<String>);
    impl Observer for Warned {
        fn warn(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }
    let mut warned = Warned(Vec::new());
    bench(&[lenet()], &options, &mut warned).unwrap();
    assert!(
        warned.0[0].contains("kernel choices are left out"),
        "{:?}",
        warned.0
    );
    assert!(options.cache.read(1).notice.is_none());
    assert_eq!(options.cache.read(1).choices.0.len(), 3);
    // Nothing is timed where that is not wanted.
    let no = BenchOptions {
        tune: false,
        layers: true,
        cache: Cache::none(),
        ..options
    };
    let report = bench(&[lenet()], &no, &mut Silent).unwrap();
    assert!(report.runs[0].kernels.is_empty());
    assert_eq!(report.runs[0].tune_seconds, 0.0);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = options(folder.path());
    let none = folder.path().join("none.bantam");
    let with = |change: &dyn Fn(&mut BenchOptions)| {
        let mut options = good.clone();
        change(&mut options);
        options
    };
    for (what, models, options, message) in [
        ("nothing", vec![], good.clone(), "expected a network"),
        (
            "no file",
            vec![Source::File(none.clone())],
            good.clone(),
            "none.bantam",
        ),
        (
            "no architecture",
            vec![Source::Fresh("x".into())],
            good.clone(),
            "unknown architecture",
        ),
        (
            "batch 0",
            vec![lenet()],
            with(&|o| o.batches = vec![1, 0]),
            "found 0",
        ),
        (
            "no time",
            vec![lenet()],
            with(&|o| o.seconds = f64::NAN),
            "seconds",
        ),
        (
            "axis",
            vec![lenet()],
            with(&|o| o.axes = vec![("q".into(), 1)]),
            "called \"q\"",
        ),
        (
            "arrays and a batch",
            vec![lenet()],
            with(&|o| (o.inputs, o.batches) = (Some(none.clone()), vec![1])),
            "own batch",
        ),
        (
            "an architecture for nothing",
            vec![lenet()],
            with(&|o| o.architecture = Some("resnet-18".into())),
            "resnet-18",
        ),
    ] {
        let e = bench(&models, &options, &mut Silent).unwrap_err();
        assert!(e.to_string().contains(message), "{what}: {e}");
        assert_eq!(e.exit_code(), 1, "{what}");
    }
}
