//! The whole road in one call, or a part of it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bantam_core::{Graph, Weight};
use bantam_data::{Source, Subset};
use bantam_formats::bantam::{self as container, Coder, ReadLimits};
use bantam_train::{answers, argmax, evaluate};

use crate::budget::{Finished, Rates};
use crate::codebooks::Tuned;
use crate::folder::{Folder, write_atomic};
use crate::machine;
use crate::open::network;
use crate::prepare::prepare;
use crate::results::{Histogram, Packed, Part, RunResult, Stage};
use crate::road::{
    MEASURED, Measurements, Road, Rounds, STAGES, coder, nonzero, score, training_memory,
    tuned_stem,
};
use crate::watch::Observer;
use crate::{Error, ErrorKind, Recipe, Result, inspect, report};

const MODEL: &str = "model.bantam";
const RESULT: &str = "result.json";
const REPORT: &str = "report.html";

/// Where a run leaves its files and what it says about itself.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The folder below which the run folder is.
    pub runs: PathBuf,
    /// The command as it was given, for the report.
    pub command: String,
    /// Where to put a copy of the packed file.
    pub out: Option<PathBuf>,
    /// Remove what an earlier run of the same recipe left.
    pub fresh: bool,
    /// What energy and time cost.
    pub rates: Rates,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            runs: "runs".into(),
            command: String::new(),
            out: None,
            fresh: false,
            rates: Rates::default(),
        }
    }
}

/// A stage of the road that can be asked for alone. Those before it are done first, or taken from
/// their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageName {
    /// Capacity of the data and the starting network.
    Measure,
    /// The dense network.
    Train,
    /// Rounds of pruning.
    Prune,
    /// Tuned codebooks.
    Quantize,
    /// The file.
    Pack,
}

/// What a single stage left.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// The run folder.
    pub folder: PathBuf,
    /// The stages that are done.
    pub stages: Vec<Stage>,
    /// The file with the network that the stage left.
    pub file: Option<PathBuf>,
}

/// Runs the whole road and writes the packed file, the results and the report page.
///
/// Errs when the data cannot be used, a setting is out of range, a file cannot be written, or the
/// budget cannot be met; what is done by then stays in the run folder and is used by the next run.
pub fn grow(
    recipe: &Recipe,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<RunResult> {
    let read_before = machine::read_bytes();
    let mut road = start(recipe, options, observer)?;
    let finished: Option<RunResult> = road.folder.read_json(RESULT)?;
    if let Some(result) = finished
        && road.folder.has(MODEL)
        && road.folder.has(REPORT)
    {
        road.observer.reused("grow");
        copy_out(&road.folder, options)?;
        return Ok(result);
    }
    let whole = !road.folder.has(MEASURED);
    let measurements = road.measure()?;
    road.data.open(recipe, &road.folder)?;
    let initial = road.initial(&measurements)?;
    let estimate = road.budget(&measurements, &initial, &options.rates)?;
    let rounds = road.train(&initial)?;
    let rounds = road.prune(&initial, rounds)?;
    let tuned = road.quantize(&rounds)?;
    let packed = pack(&mut road, &tuned)?;
    road.observer.stage("report", 6, STAGES);
    let mut result = result(&road, options, measurements, rounds, tuned, packed)?;
    let finished = Finished {
        parameters: result.stages.last().map_or(0, |s| s.nonzero),
        macs: result.layers.iter().filter_map(|l| l.macs).sum(),
        bytes: result.file.bytes,
        stages: &result.stages,
        whole,
        read_before,
    };
    result.budget = Some(estimate.check(&finished));
    road.folder
        .write(REPORT, report::render(&result).as_bytes())?;
    road.folder.write_json(RESULT, &result)?;
    road.data.close(&road.folder)?;
    copy_out(&road.folder, options)?;
    Ok(result)
}

/// Runs the road up to and including one stage.
///
/// Errs as [`grow`].
pub fn run_stage(
    recipe: &Recipe,
    until: StageName,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<StageReport> {
    let mut road = start(recipe, options, observer)?;
    let folder = road.folder.root().to_owned();
    let measurements = road.measure()?;
    if until == StageName::Measure {
        return Ok(StageReport {
            folder,
            stages: Vec::new(),
            file: None,
        });
    }
    road.data.open(recipe, &road.folder)?;
    let initial = road.initial(&measurements)?;
    let mut rounds = road.train(&initial)?;
    if until >= StageName::Prune {
        rounds = road.prune(&initial, rounds)?;
    }
    let chosen = road.first_choice(&rounds);
    let mut stages = road.stages(&rounds, chosen)?;
    let name = if chosen == 0 {
        "2-train/dense".into()
    } else {
        format!("3-prune/round-{chosen:02}")
    };
    let mut file = road.folder.path(&format!("{name}.bantam"));
    if until >= StageName::Quantize {
        let tuned = road.quantize(&rounds)?;
        stages = road.stages(&rounds, tuned.round)?;
        file = road.folder.path(&format!(
            "{}.bantam",
            tuned_stem(tuned.round, tuned.extra_bits)
        ));
        stages.push(quantize_stage(&road, &tuned)?);
        if until >= StageName::Pack {
            let packed = pack(&mut road, &tuned)?;
            stages.push(pack_stage(&road, &tuned, &packed)?);
            file = road.folder.path(MODEL);
            copy_out(&road.folder, options)?;
        }
    }
    Ok(StageReport {
        folder,
        stages,
        file: Some(file),
    })
}

fn start<'a>(
    recipe: &'a Recipe,
    options: &RunOptions,
    observer: &'a mut dyn Observer,
) -> Result<Road<'a>> {
    recipe.check()?;
    // The data first: a mistake there must not leave a folder behind.
    let data = prepare(recipe, observer)?;
    let folder = Folder::open(&options.runs, recipe, options.fresh)?;
    Ok(Road {
        recipe,
        folder,
        data,
        observer,
    })
}

fn copy_out(folder: &Folder, options: &RunOptions) -> Result<()> {
    let Some(out) = &options.out else {
        return Ok(());
    };
    let from = folder.path(MODEL);
    let bytes = std::fs::read(&from).map_err(|e| Error::file(&from, &e))?;
    write_atomic(out, &bytes)
}

/// What packing leaves, with the seconds it took.
struct PackedRun {
    packed: Packed,
    seconds: f64,
}

/// Writes the file, reads it back and compares its answers with those of the tuned network.
fn pack(road: &mut Road, tuned: &Tuned) -> Result<PackedRun> {
    road.observer.stage("pack", 5, STAGES);
    let started = Instant::now();
    let graph = road.load(&format!(
        "{}.bantam",
        tuned_stem(tuned.round, tuned.extra_bits)
    ))?;
    let bytes = road.packed(&graph, coder(road.recipe.pack.coder))?;
    let decoded = container::read(&bytes, &ReadLimits::default())?;
    let (parity, changed_answers) = compare(&graph, &decoded.graph, &road.data.test()?)?;
    let ledger = container::ledger(&bytes)?;
    let dense = road.load("2-train/dense.bantam")?;
    let dense_bytes = 4 * dense
        .parameters()
        .iter()
        .map(|p| p.weight.len() as u64)
        .sum::<u64>();
    let packed = Packed {
        path: road.folder.path(MODEL).display().to_string(),
        bytes: bytes.len() as u64,
        deep_compression_bytes: road.packed(&graph, Coder::DeepCompression)?.len() as u64,
        dense_bytes,
        ledger: ledger
            .into_iter()
            .map(|e| Part {
                part: e.part,
                bytes: e.bytes,
            })
            .collect(),
        parity,
        changed_answers,
    };
    if changed_answers > 0 {
        let message = format!("the packed file answers {changed_answers} test rows differently");
        return Err(Error::new(ErrorKind::Internal, message));
    }
    road.folder.write(MODEL, &bytes)?;
    Ok(PackedRun {
        packed,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Rows whose outputs are compared at a time: test rows may be many.
const COMPARED: usize = 4096;

/// Largest difference of outputs, and the number of answers that differ.
fn compare(a: &Graph, b: &Graph, source: &dyn Source) -> Result<(f64, usize)> {
    let outputs = |graph: &Graph, rows: &Subset| -> Result<Vec<f32>> {
        let mut all = Vec::new();
        answers(graph, rows, |_, y, _| all.extend_from_slice(y))?;
        Ok(all)
    };
    let (mut difference, mut changed) = (0f64, 0);
    for first in (0..source.len()).step_by(COMPARED) {
        let last = (first + COMPARED).min(source.len());
        let rows = Subset::new(source, (first..last).collect())?;
        let (ya, yb) = (outputs(a, &rows)?, outputs(b, &rows)?);
        let apart = ya.iter().zip(&yb).map(|(a, b)| f64::from((a - b).abs()));
        difference = apart.fold(difference, f64::max);
        let width = (ya.len() / rows.len()).max(1);
        let pairs = ya.chunks(width).zip(yb.chunks(width));
        changed += pairs.filter(|(a, b)| argmax(a) != argmax(b)).count();
    }
    Ok((difference, changed))
}

fn quantize_stage(road: &Road, tuned: &Tuned) -> Result<Stage> {
    let name = format!("{}.bantam", tuned_stem(tuned.round, tuned.extra_bits));
    Ok(Stage {
        name: "quantize".to_owned(),
        accuracy: tuned.test_accuracy,
        validation_accuracy: tuned.validation_accuracy,
        nonzero: nonzero(&road.load(&name)?),
        bytes: road.size_of(&name)?,
        seconds: tuned.seconds,
    })
}

fn pack_stage(road: &Road, tuned: &Tuned, run: &PackedRun) -> Result<Stage> {
    let quantized = quantize_stage(road, tuned)?;
    Ok(Stage {
        name: "pack".to_owned(),
        bytes: run.packed.bytes,
        seconds: run.seconds,
        ..quantized
    })
}

fn result(
    road: &Road,
    options: &RunOptions,
    measurements: Measurements,
    rounds: Rounds,
    tuned: Tuned,
    run: PackedRun,
) -> Result<RunResult> {
    let mut stages = road.stages(&rounds, tuned.round)?;
    stages.push(quantize_stage(road, &tuned)?);
    stages.push(pack_stage(road, &tuned, &run)?);
    let dense = &rounds.records[0].graph;
    let path = road.folder.path(MODEL);
    let shipped = network(&path, None)?.graph;
    let test = road.data.test()?;
    Ok(RunResult {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: options.command.clone(),
        name: road.recipe.name.clone(),
        target_name: road.data.schema.target.name.clone(),
        classes: road.data.class_names(),
        rows: road.data.rows(),
        measured: measurements.measured,
        sized: measurements.sized,
        budget: None,
        chosen_round: tuned.round,
        tuning: tuned.epochs,
        stages,
        baseline: score(&evaluate(dense, &test)?),
        test: score(&evaluate(&shipped, &test)?),
        file: run.packed,
        layers: inspect::layers(&shipped),
        histograms: histograms(dense, &shipped),
        precision: bantam_train::Precision::from(road.recipe.train.precision).into(),
        training_memory_bytes: training_memory(road.recipe, &road.data, dense)?,
        rounds: rounds.rounds,
        report: road.folder.path(REPORT).display().to_string(),
        recipe: road.recipe.to_toml(),
    })
}

/// Bins of a histogram.
const BINS: usize = 41;

/// Histograms of the weights with two or more axes that both networks have, over the range of the
/// first.
fn histograms(before: &Graph, after: &Graph) -> Vec<Histogram> {
    let values = |w: &Weight| {
        w.tensor()
            .values::<f32>()
            .map(<[f32]>::to_vec)
            .unwrap_or_default()
    };
    let mut all = Vec::new();
    for p in before
        .parameters()
        .iter()
        .filter(|p| p.trainable && p.weight.shape().len() >= 2)
    {
        let name = before.value_name(p.value);
        let Some(q) = after.parameter(name) else {
            continue;
        };
        let (a, b) = (values(&p.weight), values(&q.weight));
        let reach = a.iter().chain(&b).fold(0f32, |m, v| m.max(v.abs()));
        if reach == 0.0 {
            continue;
        }
        let count = |values: &[f32], zeros: bool| {
            let mut bins = vec![0u64; BINS];
            for v in values.iter().filter(|v| zeros || **v != 0.0) {
                let share = (f64::from(*v) / f64::from(reach) + 1.0) / 2.0;
                bins[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
            }
            bins
        };
        all.push(Histogram {
            name: name.to_owned(),
            low: -f64::from(reach),
            high: f64::from(reach),
            before: count(&a, true),
            after: count(&b, false),
        });
    }
    all
}

/// A recipe for the data at `path` with every setting at its default, called after the file.
pub fn default_recipe(path: &Path) -> Recipe {
    let stem = path
        .file_stem()
        .map_or_else(|| "run".into(), |s| s.to_string_lossy());
    Recipe::new(&stem, path)
}
