//! How long networks and their layers take, in floats and in bytes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bantam_compress::int8::{BYTES, EVEN, Layer};
use bantam_core::{Graph, Tensor};
use bantam_runtime::{Choices, Executor, Plan};

use super::{Skip, trials};
use crate::{Error, ErrorKind, Result};

/// Time that two networks are measured for.
const TIME: Duration = Duration::from_millis(600);
const LEAST_ROUNDS: usize = 15;

/// How much longer a layer must take in bytes to be called slower: less is within what a time varies by.
const SLOWER: f64 = 1.05;

/// Executors of two networks for one answer, with the fastest kernels of each.
fn executors(graphs: [&Graph; 2], sample: &[Tensor]) -> Result<[Executor; 2]> {
    let types: Vec<_> = sample.iter().map(trials::type_of).collect();
    let mut choices = Choices::default();
    let mut made = |graph: &Graph| -> Result<Executor> {
        let mut plan = Plan::new(graph, &types)?;
        plan.tune(&mut choices, true);
        Ok(Executor::new(plan))
    };
    Ok([made(graphs[0])?, made(graphs[1])?])
}

/// Runs `f` on one thread.
fn on_one_thread<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    pool.install(f)
}

/// Median times of one answer of two networks on one thread, in microseconds, in turn so that a busy
/// moment does not fall on one of them.
pub(super) fn latencies(graphs: [&Graph; 2], sample: &[Tensor]) -> Result<[f64; 2]> {
    let inputs: Vec<&Tensor> = sample.iter().collect();
    on_one_thread(|| {
        let mut executors = executors(graphs, sample)?;
        let (start, mut times) = (Instant::now(), [Vec::new(), Vec::new()]);
        while times[0].len() < LEAST_ROUNDS || start.elapsed() < TIME {
            for (executor, times) in executors.iter_mut().zip(&mut times) {
                let start = Instant::now();
                executor.run(&inputs)?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok(times.map(median))
    })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Median times of the steps of two networks by name, in turn, in microseconds.
fn steps(graphs: [&Graph; 2], sample: &[Tensor]) -> Result<[BTreeMap<String, f64>; 2]> {
    let inputs: Vec<&Tensor> = sample.iter().collect();
    on_one_thread(|| {
        let mut executors = executors(graphs, sample)?;
        let mut calls: [Vec<Vec<Duration>>; 2] = [Vec::new(), Vec::new()];
        let start = Instant::now();
        while calls[0].len() < LEAST_ROUNDS || start.elapsed() < TIME {
            for (executor, calls) in executors.iter_mut().zip(&mut calls) {
                calls.push(executor.profile(&inputs)?);
            }
        }
        let mut both = executors.iter().zip(&calls).map(|(executor, calls)| {
            let mut times: BTreeMap<String, f64> = BTreeMap::new();
            for (i, step) in executor.plan().steps().enumerate() {
                let all = calls.iter().map(|c| c[i].as_secs_f64() * 1e6);
                *times.entry(step.name.to_owned()).or_default() += median(all.collect());
            }
            times
        });
        let mut next = || both.next().expect("two networks");
        Ok([next(), next()])
    })
}

/// The layers in bytes that take longer than in floats, with what makes bytes of the value they read. Layers
/// that read the same value are taken together, since they share that.
pub(super) fn slower(
    floats: &Graph,
    bytes: &Graph,
    layers: &[Layer],
    left: &Skip,
    sample: &[Tensor],
) -> Result<Vec<String>> {
    let [floats, bytes] = steps([floats, bytes], sample)?;
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for layer in layers {
        // A table is in bytes for its size.
        if !layer.is_table && !left.contains(&layer.name) {
            values.entry(&layer.input).or_default().push(&layer.name);
        }
    }
    let together = values.into_iter().filter(|(value, layers)| {
        let sum = |times: &BTreeMap<String, f64>| -> f64 {
            layers.iter().filter_map(|&l| times.get(l)).sum()
        };
        is_slower(sum(&floats), sum(&bytes) + conversion(&bytes, value))
    });
    Ok(together
        .flat_map(|(_, layers)| layers)
        .map(str::to_owned)
        .collect())
}

/// Time that turning a value into bytes takes, evening out its channels included; nothing where the layer that
/// makes it makes bytes.
fn conversion(times: &BTreeMap<String, f64>, value: &str) -> f64 {
    let divided = value.ends_with(EVEN).then(|| times.get(value)).flatten();
    let quantized = times.get(&format!("{value}{BYTES}"));
    divided.unwrap_or(&0.0) + quantized.unwrap_or(&0.0)
}

/// Whether bytes take longer than floats, by more than times vary. What was not timed on its own is not.
fn is_slower(floats: f64, bytes: f64) -> bool {
    floats > 0.0 && bytes > SLOWER * floats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_a_value_into_bytes_counts_for_the_layers_that_read_it() {
        let times = [
            ("x.even", 5.0),
            ("x.even.bytes", 3.0),
            ("y", 90.0),
            ("y.bytes", 2.0),
        ];
        let times: BTreeMap<String, f64> =
            times.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
        let cases = [("x.even", 8.0), ("y", 2.0), ("z", 0.0)];
        for (value, expected) in cases {
            assert_eq!(conversion(&times, value), expected, "{value}");
        }
        let cases = [
            (10.0, 9.0, false),
            (10.0, 10.4, false),
            (10.0, 10.6, true),
            (0.0, 1.0, false),
        ];
        for (floats, bytes, expected) in cases {
            assert_eq!(is_slower(floats, bytes), expected, "{floats} {bytes}");
        }
    }
}
