//! Whole training steps: reading a batch, forward, loss, backward, SGD with momentum.
//!
//! `cargo bench -p bantam-train --bench step [-- FILTER] [--threads N] [--steps N] [--json]
//! [--no-twins] [--profile] [--precision f32,bf16,f16]`
//!
//! A row is a network at batch 128, with the operands of products in `f32` or as `--precision` says, trained by [`fit`] on made-up data in memory, so it is
//! timed as training really runs. It has median and least time of a step, on the processor (of the
//! whole process, all threads; `-` where the system does not tell) and on the wall, the rate of the
//! multiply-adds of dense layers, products and convolutions (at the least time), and its share of the peak of one core
//! (measured first, by a loop of nothing but fused multiply-adds) times threads. Then the memory
//! that the plan asks for and what the process took at most; and the slow twin: the same Graph,
//! without the update, once in `f64` by `reference::evaluate` at a small batch, scaled up. `--profile`
//! prints the time of each operator instead. Several precisions take turns, a few times each, and the ratios of
//! their times to those of the first are printed.

mod networks;
mod profile;

use std::hint::black_box;
use std::time::Instant;

use bantam_core::op::LossKind;
use bantam_core::reference::{self, Array};
use bantam_core::{Graph, Op, Tensor};
use bantam_data::{Augment, MemorySource, Rng, Source, Targets};
use bantam_runtime::Memory;
use bantam_train::{
    Config, Decay, Keep, Optimizer, Params, Precision, Progress, Result, Schedule, State,
    TrainingGraph, Watch, fit, fresh,
};

const BATCH: usize = 128;
/// Steps of an epoch; the data are this many batches.
const STEPS_PER_EPOCH: usize = 16;
/// Steps before the clock counts.
const WARM_UP: usize = 10;
/// Rows that the slow twin answers.
const TWIN_BATCH: usize = 2;
const CLASSES: usize = 10;
const LOSS: LossKind = LossKind::CrossEntropy {
    label_smoothing: 0.0,
};

fn main() {
    let options = Options::parse();
    let peak = bantam_kernels::peak_flops() / 1e9 * options.threads as f64;
    if !options.json {
        println!(
            "{:?}, {} thread(s), peak {peak:.0} GFLOP/s in f32, batch {BATCH}",
            bantam_kernels::level(),
            options.threads
        );
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .expect("a pool");
    for (name, network) in networks::all() {
        if name.contains(&options.filter) {
            let network = network.expect("a valid network");
            let network = fresh(&network, 1).expect("a valid network");
            if options.profile {
                for precision in &options.precisions {
                    println!("{name}, {}", precision.name());
                    pool.install(|| profile::print(&network, *precision));
                }
                continue;
            }
            let rows = pool.install(|| Row::by_turns(name, &network, &options));
            for row in &rows {
                match options.json {
                    true => println!("{}", row.json(peak)),
                    false => row.print(peak, &rows[0]),
                }
            }
        }
    }
}

struct Options {
    filter: String,
    threads: usize,
    /// Steps timed.
    steps: usize,
    json: bool,
    twins: bool,
    /// Of the operands of products.
    precisions: Vec<Precision>,
    /// Time each operator rather than whole steps.
    profile: bool,
}

impl Options {
    fn parse() -> Options {
        let mut options = Options {
            filter: String::new(),
            threads: 1,
            steps: 300,
            json: false,
            twins: true,
            precisions: vec![Precision::F32],
            profile: false,
        };
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            if arg == "--precision" {
                let names = args.next().expect("precisions");
                options.precisions = names.split(',').map(precision).collect();
                continue;
            }
            let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number");
            match arg.as_str() {
                "--threads" => options.threads = number(),
                "--steps" => options.steps = number(),
                "--json" => options.json = true,
                "--no-twins" => options.twins = false,
                "--profile" => options.profile = true,
                _ => options.filter = arg,
            }
        }
        options
    }
}

fn precision(name: &str) -> Precision {
    let all = [Precision::F32, Precision::Bf16, Precision::F16];
    let known = all.into_iter().find(|p| p.name() == name);
    known.expect("f32, bf16 or f16")
}

/// Turns that several precisions take.
const TURNS: usize = 4;

struct Row {
    name: &'static str,
    precision: Precision,
    threads: usize,
    /// Milliseconds of each step, ascending.
    wall_ms: Vec<f64>,
    /// The same on the processor; empty where the system does not tell.
    cpu_ms: Vec<f64>,
    flops: u64,
    memory: Memory,
    weights_bytes: usize,
    optimizer_bytes: usize,
    /// The most memory that the process took, where the system tells.
    peak_rss_bytes: Option<u64>,
    /// Milliseconds of the slow twin for a whole batch.
    twin_ms: Option<f64>,
}

impl Row {
    /// A row for each precision.
    fn by_turns(name: &'static str, network: &Graph, options: &Options) -> Vec<Row> {
        let turns = if options.precisions.len() > 1 {
            TURNS
        } else {
            1
        };
        let steps = options.steps.div_ceil(turns);
        let measure = |p: &Precision| Row::measure(name, network, *p, steps, options);
        let mut rows: Vec<Row> = options.precisions.iter().map(measure).collect();
        for _ in 1..turns {
            for row in &mut rows {
                let again = Row::measure(name, network, row.precision, steps, options);
                row.wall_ms.extend(again.wall_ms);
                row.cpu_ms.extend(again.cpu_ms);
            }
        }
        for row in &mut rows {
            row.wall_ms.sort_by(f64::total_cmp);
            row.cpu_ms.sort_by(f64::total_cmp);
            row.twin_ms = options.twins.then(|| twin_ms(network));
        }
        rows
    }

    fn measure(
        name: &'static str,
        network: &Graph,
        precision: Precision,
        steps: usize,
        options: &Options,
    ) -> Row {
        let sample_shape = &network.input_types(1)[0].shape[1..];
        let train = source(BATCH * STEPS_PER_EPOCH, sample_shape);
        let validation = source(BATCH, sample_shape);
        let config = Config {
            epochs: (WARM_UP + steps).div_ceil(STEPS_PER_EPOCH),
            batch_size: BATCH,
            optimizer: Optimizer::Sgd {
                momentum: 0.9,
                nesterov: false,
            },
            learning_rate: 1e-3,
            schedule: Schedule {
                decay: Decay::Constant,
                warm_up: 0.0,
            },
            weight_decay: 0.0,
            clip_norm: 0.0,
            label_smoothing: 0.0,
            augment: Augment::default(),
            patience: 0,
            keep: Keep::Last,
            precision,
            seed: 1,
        };
        let mut watch = Stopwatch::default();
        let fitted =
            fit(network, &train, &validation, &config, None, &mut watch).expect("a training");
        let peak_rss_bytes = peak_rss_bytes();
        let timed = |times: &[f64]| -> Vec<f64> {
            let times = times.iter().copied().skip(WARM_UP);
            times.take(steps).collect()
        };
        Row {
            name,
            precision,
            threads: options.threads,
            wall_ms: timed(&watch.wall_ms),
            cpu_ms: timed(&watch.cpu_ms),
            flops: flops(network),
            memory: fitted.memory,
            weights_bytes: size_bytes(&Params::of(network).0),
            optimizer_bytes: watch.optimizer_bytes,
            peak_rss_bytes,
            twin_ms: None,
        }
    }

    /// GFLOP/s at the least time: on the processor where the system tells and there is one thread,
    /// which other work on the machine disturbs least, else on the wall.
    fn rate(&self) -> f64 {
        let on_cpu = self.cpu().filter(|_| self.threads == 1);
        self.flops as f64 / on_cpu.unwrap_or(self.wall())[1] / 1e6
    }

    /// Median and least time, on the wall.
    fn wall(&self) -> [f64; 2] {
        [self.wall_ms[self.wall_ms.len() / 2], self.wall_ms[0]]
    }

    /// Median and least time on the processor.
    fn cpu(&self) -> Option<[f64; 2]> {
        Some([
            *self.cpu_ms.get(self.cpu_ms.len() / 2)?,
            *self.cpu_ms.first()?,
        ])
    }

    /// With the ratios to another row, unless it is this one.
    fn print(&self, peak: f64, first: &Row) {
        let mb = |bytes: usize| bytes as f64 / 1e6;
        let [median, least] = self.wall();
        println!("{}, {}", self.name, self.precision.name());
        if let Some([median, least]) = self.cpu() {
            println!("  cpu ms   median {median:.3}, min {least:.3}");
        }
        println!("  wall ms  median {median:.3}, min {least:.3}");
        if self.precision != first.precision {
            let ([median_before, least_before], clock) = match (first.cpu(), self.threads) {
                (Some(cpu), 1) => (cpu, "cpu"),
                _ => (first.wall(), "wall"),
            };
            let [median, least] = match clock {
                "cpu" => self.cpu().expect("the same system tells"),
                _ => self.wall(),
            };
            println!(
                "  / {}    {clock} median {:.3}, min {:.3}",
                first.precision.name(),
                median / median_before,
                least / least_before
            );
        }
        let rate = self.rate();
        println!(
            "  rate     {:.3} GFLOP a step, {rate:.1} GFLOP/s at the least time, {:.1} % of peak",
            self.flops as f64 / 1e9,
            100.0 * rate / peak
        );
        println!(
            "  memory   buffers {:.2} MB ({:.2} without reuse), weights {:.2} MB, optimizer {:.2} MB",
            mb(self.memory.buffers_bytes),
            mb(self.memory.without_reuse_bytes),
            mb(self.memory.weights_bytes + self.weights_bytes),
            mb(self.optimizer_bytes),
        );
        if let Some(bytes) = self.peak_rss_bytes {
            println!("  peak RSS {:.1} MB", mb(bytes as usize));
        }
        if let Some(ms) = self.twin_ms {
            println!(
                "  twin     {ms:.0} ms: f64, without update, batch {TWIN_BATCH} scaled to {BATCH}"
            );
        }
    }

    fn json(&self, peak: f64) -> String {
        let optional = |v: Option<f64>| v.map_or("null".into(), |v| format!("{v:.4}"));
        let (wall, cpu) = (self.wall(), self.cpu());
        let rate = self.rate();
        let fields = [
            ("engine", "\"bantam\"".into()),
            ("network", format!("{:?}", self.name)),
            ("precision", format!("{:?}", self.precision.name())),
            ("batch", BATCH.to_string()),
            ("threads", self.threads.to_string()),
            ("steps", self.wall_ms.len().to_string()),
            ("cpu_ms_median", optional(cpu.map(|c| c[0]))),
            ("cpu_ms_min", optional(cpu.map(|c| c[1]))),
            ("wall_ms_median", format!("{:.4}", wall[0])),
            ("wall_ms_min", format!("{:.4}", wall[1])),
            ("flops", self.flops.to_string()),
            ("gflops_per_s", format!("{rate:.2}")),
            ("peak_gflops_per_s", format!("{peak:.2}")),
            ("share_of_peak", format!("{:.4}", rate / peak)),
            ("buffers_bytes", self.memory.buffers_bytes.to_string()),
            (
                "without_reuse_bytes",
                self.memory.without_reuse_bytes.to_string(),
            ),
            (
                "weights_bytes",
                (self.memory.weights_bytes + self.weights_bytes).to_string(),
            ),
            ("optimizer_bytes", self.optimizer_bytes.to_string()),
            (
                "peak_rss_bytes",
                self.peak_rss_bytes.map_or("null".into(), |b| b.to_string()),
            ),
            ("twin_ms_scaled", optional(self.twin_ms)),
        ];
        let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// Times the steps of a training. An epoch's evaluation is not in them; drawing the order of its
/// rows is.
#[derive(Default)]
struct Stopwatch {
    last: Option<(Instant, Option<f64>)>,
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    optimizer_bytes: usize,
}

impl Watch for Stopwatch {
    fn step(&mut self, _progress: &Progress) -> Result<()> {
        let now = (Instant::now(), cpu_ms());
        if let Some((wall, cpu)) = self.last {
            self.wall_ms.push((now.0 - wall).as_secs_f64() * 1e3);
            self.cpu_ms
                .extend(cpu.zip(now.1).map(|(before, now)| now - before));
        }
        self.last = Some((Instant::now(), cpu_ms()));
        Ok(())
    }

    fn epoch(&mut self, state: &State) -> Result<()> {
        self.optimizer_bytes = size_bytes(&state.slots.0);
        self.last = Some((Instant::now(), cpu_ms()));
        Ok(())
    }
}

/// Milliseconds that all threads of this process have run.
fn cpu_ms() -> Option<f64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6)
    }
    #[cfg(not(unix))]
    None
}

/// The most memory that this process has taken (Linux only).
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn size_bytes(tensors: &std::collections::BTreeMap<String, Tensor>) -> usize {
    let size = |t: &Tensor| t.len() * t.dtype().size_bytes();
    tensors.values().map(size).sum()
}

/// Normal numbers with labels in turn.
fn source(rows: usize, sample_shape: &[usize]) -> MemorySource {
    let mut rng = Rng::new(1, 2);
    let shape: Vec<usize> = std::iter::once(rows)
        .chain(sample_shape.iter().copied())
        .collect();
    let x = std::iter::repeat_with(|| rng.normal() as f32);
    let x: Vec<f32> = x.take(shape.iter().product()).collect();
    let x = Tensor::new(&shape, x).expect("as many values as the shape has");
    let labels = (0..rows).map(|i| (i % CLASSES) as i64).collect();
    MemorySource::from_rows(x, Targets::Classes(labels), CLASSES).expect("rows with labels")
}

/// Operations of the dense layers, products and convolutions of a step, forward and backward.
fn flops(network: &Graph) -> u64 {
    let form = TrainingGraph::new(network, LOSS).expect("a network to train");
    let costs = form.graph.costs(BATCH).expect("types of the network");
    let multiplies = |op: &Op| matches!(op, Op::Dense(_) | Op::MatMul(_) | Op::Conv(_));
    let nodes = form.graph.nodes().iter().zip(costs);
    nodes
        .filter(|(n, _)| multiplies(&n.op))
        .map(|(_, cost)| 2 * cost.macs)
        .sum()
}

/// Milliseconds of loss and gradients by the naive evaluator, for a whole batch, on the processor
/// where the system tells.
fn twin_ms(network: &Graph) -> f64 {
    let source = source(TWIN_BATCH, &network.input_types(1)[0].shape[1..]);
    let form = TrainingGraph::new(network, LOSS).expect("a network to train");
    let (mut x, mut targets) = (Vec::new(), Targets::empty(CLASSES));
    let rows: Vec<usize> = (0..TWIN_BATCH).collect();
    source.read(&rows, &mut x, &mut targets).expect("rows");
    let Targets::Classes(labels) = targets else {
        unreachable!("the targets are labels")
    };
    let floats = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect();
    let labels: Vec<f64> = labels.iter().map(|&label| label as f64).collect();
    let mut shape = vec![TWIN_BATCH];
    shape.extend(source.sample_shape());
    let params = Params::of(network);
    let mut inputs = vec![
        Array::new(&shape, floats(&x)),
        Array::new(&[TWIN_BATCH], labels),
    ];
    inputs.extend(
        form.parameters
            .iter()
            .map(|name| Array::from(&params.0[name])),
    );
    let (wall, cpu) = (Instant::now(), cpu_ms());
    black_box(reference::evaluate(&form.graph, &inputs)).expect("types of the network");
    let on_cpu = cpu.zip(cpu_ms()).map(|(before, now)| now - before);
    let ms = on_cpu.unwrap_or(wall.elapsed().as_secs_f64() * 1e3);
    ms * (BATCH / TWIN_BATCH) as f64
}
