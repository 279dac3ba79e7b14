//! How fast networks are on this machine, beside each other and beside what the machine could do.
//!
//! Networks that are compared run in turns, round by round, so that a busy moment does not fall on one of
//! them. A time is that of a call: inputs are there, outputs are read where they lie. Kernels of a
//! layer are timed beforehand, and the fastest is kept in a [`Cache`]; what was kept is what `run` uses.
//!
//! **Floors.** Under the time of a step stands the longer of two times: its multiply-adds at the peak of
//! the cores, and the bytes of its weights and values at the bandwidth with which a core reads memory
//! of that size. That leaves out what no kernel can leave out: starting and ending loops, rounding up to
//! whole vectors, writing being slower than reading, values that the step before left in another
//! core's cache, and functions such as `exp`, which are no multiply-adds. Where a convolution has a fast
//! algorithm (Winograd), its multiply-adds are those that it makes, a fourth of the network's.

mod inputs;
mod layers;
mod models;
mod rounds;
mod session;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::Serialize;

pub use crate::choices::Cache;
pub use crate::machine::{Cost, Machine, Reads};
pub use layers::{Kernel, LayerTime, Tried};

use crate::watch::Observer;
use crate::{Error, ErrorKind, Result, machine};
use session::Session;

/// Largest batch.
pub const MOST_BATCH: usize = 1 << 20;

/// A network to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// A known architecture with random weights; the time of a call does not depend on them.
    Fresh(String),
}

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Architecture of files that hold weights alone.
    pub architecture: Option<String>,
    /// Samples in a call; when empty one, or what the inputs of a network fix.
    pub batches: Vec<usize>,
    /// Numbers of threads; when empty, those of the current pool.
    pub threads: Vec<usize>,
    /// Seconds for each network, batch and number of threads.
    pub seconds: f64,
    /// Whether to time every step.
    pub layers: bool,
    /// Whether to time the kernels that the cache does not know.
    pub tune: bool,
    /// Where the fastest kernels are kept.
    pub cache: Cache,
    /// Arrays to feed, as [`arrays::read_inputs`](crate::arrays::read_inputs) reads them.
    pub inputs: Option<PathBuf>,
    /// Sizes of axes with a name, other than the batch.
    pub axes: Vec<(String, usize)>,
    /// What random inputs and weights are drawn by.
    pub seed: u64,
}

impl Default for BenchOptions {
    fn default() -> BenchOptions {
        BenchOptions {
            architecture: None,
            batches: Vec::new(),
            threads: Vec::new(),
            seconds: 2.0,
            layers: false,
            tune: true,
            cache: Cache::of_user(),
            inputs: None,
            axes: Vec::new(),
            seed: 0,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Version of the program.
    pub version: String,
    /// What it was measured on.
    pub machine: Machine,
    /// The networks in the order in which they were given.
    pub models: Vec<ModelReport>,
    /// One for each number of threads, batch and network.
    pub runs: Vec<RunReport>,
    /// Largest memory of the process, all networks together; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

/// A network and what it takes to open it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// What it is called here: its file, or its architecture.
    pub name: String,
    /// `bantam`, `torch` and so on; `fresh` for random weights.
    pub format: String,
    /// Size of the file.
    pub file_bytes: Option<u64>,
    /// Time to read the file and make a network of it, the least of up to three.
    pub open_seconds: Option<f64>,
    /// Weights and biases.
    pub parameters: usize,
    /// What the user should know about how it was understood.
    pub notices: Vec<String>,
}

/// Calls of a network with one batch and number of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// Name of the network.
    pub model: String,
    /// Samples in a call.
    pub batch: usize,
    /// Threads of the pool.
    pub threads: usize,
    /// Calls that were timed.
    pub calls: usize,
    /// Median time of a call.
    pub median_seconds: f64,
    /// Time that 95 % of the calls did not exceed.
    pub p95_seconds: f64,
    /// Least time of a call.
    pub min_seconds: f64,
    /// Mean time of a call on the processor, all threads together; absent where the system does not tell.
    pub processor_seconds: Option<f64>,
    /// Samples a second at the median.
    pub samples_per_second: f64,
    /// Median over that of the first network; absent for the first.
    pub ratio: Option<Ratio>,
    /// What these threads can do together; absent for one thread.
    pub together: Option<Together>,
    /// Time to plan: fuse, pack weights, place buffers.
    pub plan_seconds: f64,
    /// Time that was spent on timing kernels.
    pub tune_seconds: f64,
    /// Bytes of the buffers for values.
    pub buffers_bytes: usize,
    /// Bytes of the weights as the plan holds them.
    pub weights_bytes: usize,
    /// Multiply-adds of a call, as far as they are known before it.
    pub macs: u64,
    /// Sum of the floors of the steps.
    pub floor_seconds: f64,
    /// Steps, if they were asked for.
    pub layers: Vec<LayerTime>,
    /// Kernels that were tried, by the shapes of the layers they are for, if steps were asked for.
    pub kernels: Vec<Kernel>,
    /// What each step costs, and how often a call does it: once for each slice of the batch.
    #[serde(skip)]
    costs: Vec<(Cost, usize)>,
}

impl RunReport {
    /// Fills in the floors, once the machine is measured.
    fn settle(&mut self, machine: &Machine) {
        let floor = |(cost, times): &(Cost, usize)| {
            *times as f64 * machine.floor_seconds(cost, self.threads)
        };
        let floors: Vec<f64> = self.costs.iter().map(floor).collect();
        self.floor_seconds = floors.iter().sum();
        for (layer, floor) in self.layers.iter_mut().zip(floors) {
            layer.floor_seconds = floor;
            layer.floor_share = floor / layer.seconds.max(1e-12);
        }
    }
}

/// What several threads can do together, measured in the rounds of the networks: the bound of what they gain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Together {
    /// How many times the multiply-adds of one thread they make, with nothing else to do. Less than their number
    /// where processors share a core, or others are at work.
    pub cores: Ratio,
    /// Time in which all begin and end a piece without work: what each layer takes at least. The median.
    pub meeting_seconds: f64,
}

/// How many times as long as another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Ratio of the medians.
    pub median: f64,
    /// A tenth of the rounds had less.
    pub low: f64,
    /// A tenth of the rounds had more.
    pub high: f64,
}

/// Measures networks beside each other.
///
/// Errs when one cannot be opened, planned or run, when an axis has no size, and when an option fits no
/// network. A cache that is damaged is told of and left out.
pub fn bench(
    models: &[Source],
    options: &BenchOptions,
    observer: &mut dyn Observer,
) -> Result<BenchReport> {
    check(models, options)?;
    let networks = models::open_all(models, options)?;
    check_axes(&networks, &options.axes)?;
    for network in &networks {
        network.report.notices.iter().for_each(|n| observer.note(n));
    }
    let threads = match options.threads.as_slice() {
        [] => &[rayon::current_num_threads()],
        some => some,
    };
    let mut runs = Vec::new();
    for &threads in threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| {
            let message = format!("{threads} threads cannot be started: {e}");
            Error::new(ErrorKind::Recipe, message)
        })?;
        let mut session = Session {
            networks: &networks,
            options,
            threads,
            observer: &mut *observer,
        };
        runs.extend(pool.install(|| session.runs())?);
    }
    // Before the machine is measured, which takes memory too.
    let peak_memory_bytes = machine::peak_memory_bytes();
    let mut machine = Machine::measure();
    machine.measure_again();
    for run in &mut runs {
        run.settle(&machine);
    }
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine,
        models: networks.into_iter().map(|n| n.report).collect(),
        runs,
        peak_memory_bytes,
    })
}

/// Errs when no network has one of the axes.
fn check_axes(networks: &[models::Opened], axes: &[(String, usize)]) -> Result<()> {
    let has = |axis: &str| networks.iter().any(|n| inputs::has_axis(&n.graph, axis));
    match axes.iter().find(|(axis, _)| !has(axis)) {
        Some((axis, _)) => {
            let message = format!("no input has an axis called {axis:?}");
            Err(Error::new(ErrorKind::Recipe, message))
        }
        None => Ok(()),
    }
}

fn check(models: &[Source], options: &BenchOptions) -> Result<()> {
    let bad = |message: String| Err(Error::new(ErrorKind::Recipe, message));
    if models.is_empty() {
        return bad("expected a network to measure".to_owned());
    }
    if let Some(batch) = options
        .batches
        .iter()
        .find(|b| !(1..=MOST_BATCH).contains(*b))
    {
        return bad(format!(
            "expected batches of 1 to {MOST_BATCH}, found {batch}"
        ));
    }
    if !options.seconds.is_finite() || options.seconds <= 0.0 {
        let found = options.seconds;
        return bad(format!("expected more than 0 seconds, found {found}"));
    }
    if options.inputs.is_some() && !options.batches.is_empty() {
        return bad("arrays to feed bring their own batch, so none can be asked for".to_owned());
    }
    Ok(())
}
