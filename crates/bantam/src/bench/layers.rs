//! Where the time of a call goes, step by step, and which kernels stood to choice.

use std::time::{Duration, Instant};

use bantam_core::Tensor;
use bantam_core::order::sort_by;
use bantam_runtime::{Choice, Choices, Executor};
use serde::Serialize;

use crate::Result;

/// Profiled calls at the least.
const LEAST_CALLS: usize = 5;

/// A step of a plan and its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTime {
    /// Node it stands for, the first where several became one.
    pub name: String,
    /// The operator, or the kernel and what was fused into it.
    pub kernel: String,
    /// Multiply-adds of the network; a kernel with a fast algorithm makes fewer.
    pub macs: u64,
    /// Bytes of its weights.
    pub weight_bytes: usize,
    /// Bytes of the values it reads and writes.
    pub value_bytes: usize,
    /// Median time, with two looks at the clock in it.
    pub seconds: f64,
    /// Share of the sum over all steps.
    pub share: f64,
    /// What it takes at the least on this machine.
    pub floor_seconds: f64,
    /// That as a share of its time.
    pub floor_share: f64,
    /// The shapes by which its kernel was chosen; absent where there is no choice.
    pub shapes: Option<String>,
    /// Whether its kernel makes fewer multiply-adds than the operator, which shapes alone decide.
    #[serde(skip)]
    is_fast: bool,
}

/// The kernels for layers of some shapes, and which was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// The shapes.
    pub shapes: String,
    /// Steps that have them.
    pub steps: usize,
    /// The kernels with their times, the fastest first.
    pub tried: Vec<Tried>,
    /// Why the one that runs was chosen.
    pub reason: String,
}

/// A kernel that was timed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// What it is: the tile of sums it holds, pixels by vectors of channels.
    pub kernel: String,
    /// Least time of a call.
    pub seconds: f64,
}

/// Times every step of calls for about `time`. `shapes` are those that [`Plan::tune`] gave.
///
/// [`Plan::tune`]: bantam_runtime::Plan::tune
pub(super) fn profile(
    executor: &mut Executor,
    inputs: &[&Tensor],
    shapes: &[Option<String>],
    time: Duration,
) -> Result<Vec<LayerTime>> {
    let start = Instant::now();
    let mut calls: Vec<Vec<Duration>> = Vec::new();
    while calls.len() < LEAST_CALLS || start.elapsed() < time {
        calls.push(executor.profile(inputs)?);
    }
    let median = |step: usize| {
        let mut times: Vec<Duration> = calls.iter().map(|c| c[step]).collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let steps = executor.plan().steps().zip(shapes).enumerate();
    let mut layers: Vec<LayerTime> = steps
        .map(|(i, (step, shapes))| LayerTime {
            name: step.name.to_owned(),
            kernel: step.kernel,
            macs: step.macs * step.times as u64,
            weight_bytes: step.weight_bytes,
            value_bytes: step.value_bytes * step.times,
            seconds: median(i),
            share: 0.0,
            floor_seconds: 0.0,
            floor_share: 0.0,
            shapes: shapes.clone(),
            is_fast: step.kernel_macs < step.macs,
        })
        .collect();
    let total: f64 = layers.iter().map(|l| l.seconds).sum();
    for layer in &mut layers {
        layer.share = layer.seconds / total.max(1e-12);
    }
    Ok(layers)
}

/// The kernels that stood to choice for `layers`, in the order of the layers.
pub(super) fn kernels(layers: &[LayerTime], choices: &Choices) -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for layer in layers {
        let Some(shapes) = &layer.shapes else {
            continue;
        };
        if let Some(kernel) = kernels.iter_mut().find(|k| k.shapes == *shapes) {
            kernel.steps += 1;
        } else if let Some(choice) = choices.0.get(shapes) {
            kernels.push(kernel(shapes, layer.is_fast, choice));
        }
    }
    kernels
}

fn kernel(shapes: &str, is_fast: bool, choice: &Choice) -> Kernel {
    let mut tried: Vec<Tried> = choice
        .candidates
        .iter()
        .map(|c| Tried {
            kernel: format!("{} x {}", c.tile[0], c.tile[1]),
            seconds: c.nanoseconds as f64 * 1e-9,
        })
        .collect();
    sort_by(&mut tried, |a, b| a.seconds.total_cmp(&b.seconds));
    let mut reason = match tried.as_slice() {
        [] | [_] => "the only one".to_owned(),
        [first, second, ..] if first.seconds > 0.0 => {
            let more = (second.seconds / first.seconds - 1.0) * 100.0;
            format!("the fastest; the next takes {more:.0} % more")
        }
        _ => "the fastest".to_owned(),
    };
    if is_fast {
        reason = format!("by their shapes, Winograd's algorithm; of its tiles {reason}");
    }
    Kernel {
        shapes: shapes.to_owned(),
        steps: 1,
        tried,
        reason,
    }
}
