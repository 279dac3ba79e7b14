//! This machine: its processor, what a core can do at most, what this process has used so far.
//!
//! What the system does not tell is absent, never guessed.

use std::time::Duration;

use bantam_runtime::{Level, level, peak_byte_ops, peak_flops, read_bandwidth};
use serde::Serialize;

/// Sizes at which reading is timed: from what the nearest cache holds to what none does.
const READ_BYTES: [usize; 7] = [
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
];

/// What limits how fast a network can be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Name of the processor; `unknown` where the system does not tell.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Instructions the kernels use: `avx512`, `avx2`, `neon` or `portable`.
    pub instructions: String,
    /// Floating-point operations a second of one core, of which a multiply-add is two.
    pub peak_flops: f64,
    /// The same of bytes, in layers that are quantized.
    pub peak_byte_ops: f64,
    /// How fast one core reads.
    pub reads: Vec<Reads>,
}

/// How fast one core reads memory of some size again and again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reads {
    /// Size of the memory.
    pub bytes: usize,
    /// Bytes a second.
    pub bytes_per_second: f64,
}

/// What a step costs wherever it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Multiply-adds.
    pub macs: u64,
    /// Whether they are of bytes.
    pub in_bytes: bool,
    /// Bytes that are read and written.
    pub bytes: usize,
}

impl Machine {
    /// Measures it, in less than half a second.
    pub(crate) fn measure() -> Machine {
        let reads = READ_BYTES.map(|bytes| Reads {
            bytes,
            bytes_per_second: read_bandwidth(bytes),
        });
        Machine {
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: instructions().to_owned(),
            peak_flops: peak_flops(),
            peak_byte_ops: peak_byte_ops(),
            reads: reads.to_vec(),
        }
    }

    /// Takes the better of what was measured before and now: others may have kept the machine busy.
    pub(crate) fn measure_again(&mut self) {
        let now = Machine::measure();
        self.peak_flops = self.peak_flops.max(now.peak_flops);
        self.peak_byte_ops = self.peak_byte_ops.max(now.peak_byte_ops);
        for (reads, now) in self.reads.iter_mut().zip(&now.reads) {
            reads.bytes_per_second = reads.bytes_per_second.max(now.bytes_per_second);
        }
        // A larger memory is not read faster; where it seems so, the smaller was disturbed.
        for i in (0..self.reads.len().saturating_sub(1)).rev() {
            let next = self.reads[i + 1].bytes_per_second;
            let reads = &mut self.reads[i];
            reads.bytes_per_second = reads.bytes_per_second.max(next);
        }
    }

    /// Seconds that a step takes at the least on `threads` cores: its multiply-adds at the peak, or its
    /// bytes at the bandwidth with which memory of that size is read, whichever is longer.
    pub fn floor_seconds(&self, cost: &Cost, threads: usize) -> f64 {
        let cores = threads.clamp(1, self.cores.max(1)) as f64;
        let peak = match cost.in_bytes {
            true => self.peak_byte_ops,
            false => self.peak_flops,
        };
        let compute = 2.0 * cost.macs as f64 / (peak * cores);
        let bytes = cost.bytes;
        let share = bytes / threads.max(1);
        let holds = self.reads.iter().find(|r| r.bytes >= share);
        let bandwidth = holds.or(self.reads.last()).map(|r| r.bytes_per_second);
        let read = bandwidth.map_or(0.0, |b| bytes as f64 / (b * cores));
        compute.max(read)
    }
}

/// Name of the processor; `unknown` where the system does not tell.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Boards with ARM processors name the board instead.
    ["model name", "Model", "Hardware"]
        .iter()
        .find_map(|name| named(&text, name))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn named(text: &str, name: &str) -> Option<String> {
    let value = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)?;
    Some(value.1.trim().to_owned())
}

/// Instructions the kernels use here.
pub(crate) fn instructions() -> &'static str {
    match level() {
        Level::Portable => "portable",
        Level::Neon => "neon",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    }
}

/// Largest memory of this process so far.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(field(&text, "VmHWM:")? * 1024)
}

/// Bytes this process has read from files so far, from the cache of the system or not.
pub(crate) fn read_bytes() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/io").ok()?, "rchar:")
}

/// How long the threads of this process have run.
pub(crate) fn processor_time() -> Option<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let mut total = 0;
    for task in tasks.flatten() {
        // A thread may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else {
            continue;
        };
        total += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (total > 0).then(|| Duration::from_nanos(total))
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "VmPeak:\t  20 kB\nVmHWM:\t  1234 kB\nrchar: 99\n";
        assert_eq!(field(text, "VmHWM:"), Some(1234));
        assert_eq!(field(text, "rchar:"), Some(99));
        assert_eq!(field(text, "wchar:"), None);
        assert_eq!(field("rchar: x\n", "rchar:"), None);
        if cfg!(target_os = "linux") {
            assert!(peak_memory_bytes().is_some_and(|b| b > 100_000));
            assert!(read_bytes().is_some());
        }
        let text = "processor : 0\nmodel\t: 2\nmodel name\t: Some: CPU \n";
        assert_eq!(named(text, "model name").as_deref(), Some("Some: CPU"));
        assert_eq!(named(text, "Model"), None);
    }

    #[test]
    fn the_floor_is_the_longer_of_computing_and_reading() {
        let reads = |bytes, bytes_per_second| Reads {
            bytes,
            bytes_per_second,
        };
        let machine = Machine {
            processor: "x".to_owned(),
            cores: 2,
            instructions: "avx2".to_owned(),
            peak_flops: 100.0,
            peak_byte_ops: 400.0,
            reads: vec![reads(10, 50.0), reads(100, 5.0)],
        };
        for (what, macs, bytes, threads, seconds) in [
            ("computes", 500, 10, 1, 10.0),
            ("reads from the near cache", 1, 10, 1, 0.2),
            ("reads from the far one", 1, 20, 1, 4.0),
            ("reads from beyond", 1, 1000, 1, 200.0),
            ("computes on two cores", 500, 10, 2, 5.0),
            ("has no more cores than there are", 500, 10, 8, 5.0),
            ("shares what it reads", 1, 20, 2, 0.2),
        ] {
            let cost = Cost {
                macs,
                in_bytes: false,
                bytes,
            };
            assert_eq!(machine.floor_seconds(&cost, threads), seconds, "{what}");
        }
        let cost = Cost {
            macs: 500,
            in_bytes: true,
            bytes: 10,
        };
        assert_eq!(machine.floor_seconds(&cost, 1), 2.5, "computes with bytes");
    }
}
