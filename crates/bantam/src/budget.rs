//! What a run will take on this machine, before it begins, and what it took.
//!
//! The low end is a network that holds what cross-validation supports, at two bits a weight, found in as
//! few rounds as pruning can stop after; the high end is the whole first network, kept as it is, and
//! every round that the recipe allows. Times come from training steps of the first network that are
//! run here, for a moment. It is an estimate with wide ends, not a promise.

mod calibrate;
mod rates;

use bantam_compress::{Magnitude, prune};
use bantam_core::Graph;
use serde::{Deserialize, Serialize};

pub use rates::Rates;

use crate::Result;
use crate::machine;
use crate::prepare::Prepared;
use crate::recipe::Recipe;
use crate::results::{Sized, Stage};
use crate::road;

/// Bits a weight can hold at most, in the sense in which capacity is measured (MacKay, "Information
/// Theory, Inference, and Learning Algorithms", chapter 40): the low end of the parameters.
const BITS_A_WEIGHT: f64 = 2.0;
/// How far the speed of a moment may be from that of the whole run, either way. Own.
const SPEED_SPREAD: f64 = 2.0;
/// Seconds for reading, writing and evaluating, beside training: own, and small.
const AROUND_SECONDS: f64 = 2.0;
/// Memory of the program itself. Measured.
const PROGRAM_BYTES: (f64, f64) = (4e6, 64e6);
/// The packed file with codebooks tuned may take this share of the one with plain ones.
const FILE_SPREAD: (f64, f64) = (0.8, 1.6);

/// Two ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The lower.
    pub low: f64,
    /// The upper.
    pub high: f64,
}

/// What a run takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Weights and biases of the packed network that are not 0.
    pub parameters: Span,
    /// Bytes of the packed file.
    pub bytes: Span,
    /// Multiply-adds an answer.
    pub macs: Span,
    /// Joules an answer, by the rates of arithmetic and memory.
    pub answer_joules: Span,
    /// Seconds of all trainings.
    pub train_seconds: Span,
    /// Largest memory.
    pub ram_bytes: Span,
    /// Bytes read from files.
    pub disk_read_bytes: Span,
    /// Joules of the whole run.
    pub joules: Span,
    /// Electricity of the whole run, in the currency of the rates.
    pub electricity_cost: Span,
    /// The same time on rented cores.
    pub rented_cost: Span,
    /// What the times are from.
    pub calibration: Calibration,
    /// What the rest is from.
    pub rates: Rates,
    /// What the run took; nothing before there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<Check>,
}

/// Training steps that were timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Seconds it took.
    pub seconds: f64,
    /// Rows trained on a second, evaluation included.
    pub rows_per_second: f64,
    /// Threads at work.
    pub threads: usize,
}

/// One figure of an estimate beside the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Key of the figure in the estimate.
    pub what: String,
    /// What it came to.
    pub value: f64,
    /// Whether it lies within the estimate.
    pub within: bool,
}

/// What the estimate needs to know of a run.
pub(crate) struct Plan<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) data: &'a Prepared,
    pub(crate) sized: Option<&'a Sized>,
    pub(crate) initial: &'a Graph,
    pub(crate) rates: &'a Rates,
}

impl Plan<'_> {
    /// Times a few training steps and makes the estimate of them.
    ///
    /// Errs when the network cannot be trained or packed.
    pub(crate) fn estimate(&self) -> Result<Estimate> {
        let calibration = calibrate::calibrate(self)?;
        let (parameters, smallest) = self.parameters()?;
        let whole = road::estimate(self.recipe, self.data, self.initial)? as f64;
        let least = match road::estimate(self.recipe, self.data, &smallest) {
            Ok(bytes) => bytes as f64,
            // Random weights pruned so far may leave no way through the network.
            Err(_) => whole * parameters.low / parameters.high,
        };
        let bytes = Span {
            low: (least * FILE_SPREAD.0).floor(),
            high: (whole * FILE_SPREAD.1).ceil(),
        };
        let dense = self.initial.costs(1)?.iter().map(|c| c.macs).sum::<u64>() as f64;
        let weights = self.initial.n_trainable().max(1) as f64;
        let macs = Span {
            low: (dense * parameters.low / weights).floor().max(1.0),
            high: dense,
        };
        let ram_bytes = self.memory()?;
        let train_seconds = self.seconds(&calibration);
        let rates = self.rates;
        let joules = |seconds: f64, ram: f64| rates.joules(seconds, calibration.threads, ram);
        let joules = Span {
            low: joules(train_seconds.low, ram_bytes.low),
            high: joules(train_seconds.high, ram_bytes.high),
        };
        let answer = |macs: f64, weights: f64| {
            macs * rates.joules_per_mac + 4.0 * weights * rates.joules_per_byte
        };
        Ok(Estimate {
            answer_joules: Span {
                low: answer(macs.low, parameters.low),
                high: answer(macs.high, parameters.high),
            },
            electricity_cost: joules.times(rates.price_per_kwh / 3.6e6),
            rented_cost: train_seconds
                .times(calibration.threads as f64 / 3600.0 * rates.price_per_core_hour),
            disk_read_bytes: self.disk()?,
            parameters,
            bytes,
            macs,
            train_seconds,
            ram_bytes,
            joules,
            calibration,
            rates: rates.clone(),
            took: Vec::new(),
        })
    }

    /// The ends of the parameters, and the first network pruned to the low one.
    fn parameters(&self) -> Result<(Span, Graph)> {
        let all = self.initial.n_trainable() as f64;
        let least = match self.sized {
            Some(sized) => sized.needed_low_bits / BITS_A_WEIGHT,
            None => 0.0,
        };
        let low = least
            .max(self.recipe.prune.min_density * all)
            .max(1.0)
            .min(all)
            .floor();
        let magnitude = Magnitude {
            fraction: (1.0 - low / all).clamp(0.0, 0.999_999),
            exclude: self.recipe.prune.exclude.clone(),
            ..Magnitude::default()
        };
        let smallest = prune(self.initial, &magnitude)?;
        Ok((Span { low, high: all }, smallest))
    }

    fn seconds(&self, calibration: &Calibration) -> Span {
        let recipe = self.recipe;
        let rows = self.data.rows()[0] as f64;
        let training = |epochs: usize| rows * epochs as f64 / calibration.rows_per_second;
        let full = training(recipe.train.epochs);
        // A training that may stop early needs one epoch more than its patience.
        let short = match recipe.train.patience {
            0 => full,
            patience => training((patience + 1).min(recipe.train.epochs)),
        };
        let most = recipe.prune.max_rounds;
        let least = (recipe.prune.patience + 1).min(most);
        let tuning = training(recipe.quantize.epochs);
        Span {
            low: (short * (1 + least) as f64 + tuning) / SPEED_SPREAD,
            // Up to three rounds are tuned, each with up to three numbers of bits, where the first misses.
            high: (full * (1 + most) as f64 + 9.0 * tuning) * SPEED_SPREAD + AROUND_SECONDS,
        }
    }

    fn memory(&self) -> Result<Span> {
        let step = road::training_memory(self.recipe, self.data, self.initial)? as f64;
        let [train, validation, test] = self.data.rows().map(|n| n as f64);
        let rows = train + validation + test;
        let a_row: usize = self.data.sample_shape().iter().product();
        let encoded = rows * 4.0 * (a_row + 1) as f64;
        let whole = bantam_data::memory_estimate(&self.recipe.data.path)? as f64;
        // What is larger than the limit stays on disk; labels and the order of rows do not.
        let (low, high) = match whole > self.recipe.data.max_memory as f64 {
            true => (0.0, 40.0 * rows + 0.5 * self.recipe.data.max_memory as f64),
            false => (encoded.min(whole) / 4.0, encoded + 4.0 * whole),
        };
        Ok(Span {
            low: step + low + PROGRAM_BYTES.0,
            high: 4.0 * step + high + PROGRAM_BYTES.1,
        })
    }

    fn disk(&self) -> Result<Span> {
        let recipe = self.recipe;
        let size = files_bytes(&recipe.data.path) as f64;
        let whole = bantam_data::memory_estimate(&recipe.data.path)? as f64;
        if whole <= recipe.data.max_memory as f64 {
            // The checksum of the run folder's name reads the data once more, a column that turns out to
            // be text a third time.
            return Ok(Span {
                low: size,
                high: 4.0 * size + 1e7,
            });
        }
        let a_row: usize = self.data.sample_shape().iter().product();
        let encoded = self.data.rows().iter().sum::<usize>() as f64 * 4.0 * (a_row + 1) as f64;
        let passes =
            |rounds: usize| (recipe.train.epochs * (1 + rounds) + recipe.quantize.epochs) as f64;
        let least = (recipe.prune.patience + 1).min(recipe.prune.max_rounds);
        Ok(Span {
            low: size + 0.5 * encoded,
            high: 6.0 * size + encoded * (passes(recipe.prune.max_rounds).max(passes(least)) + 4.0),
        })
    }
}

/// Bytes of a file, or of all files in a folder and the folders in it.
fn files_bytes(path: &std::path::Path) -> u64 {
    let Ok(found) = std::fs::metadata(path) else {
        return 0;
    };
    if !found.is_dir() {
        return found.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| files_bytes(&e.path())).sum()
}

impl Span {
    fn times(self, factor: f64) -> Span {
        Span {
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    fn holds(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What a finished run came to.
pub(crate) struct Finished<'a> {
    pub(crate) stages: &'a [Stage],
    pub(crate) parameters: usize,
    pub(crate) macs: u64,
    pub(crate) bytes: u64,
    /// Whether all of it was done by this process, so that its memory and reads are those of the run.
    pub(crate) whole: bool,
    /// What the process had read of files before the run: it may have been another program then, such as one
    /// that builds this one.
    pub(crate) read_before: Option<u64>,
}

impl Estimate {
    /// Puts beside the estimate what the run took. Memory is that of the whole process; it and what was read are
    /// left out where the system does not tell them or an earlier process did a part.
    pub(crate) fn check(self, run: &Finished) -> Estimate {
        let seconds: f64 = run.stages.iter().map(|s| s.seconds).sum();
        let mut found = vec![
            ("parameters", self.parameters, run.parameters as f64),
            ("bytes", self.bytes, run.bytes as f64),
            ("macs", self.macs, run.macs as f64),
            ("train_seconds", self.train_seconds, seconds),
        ];
        if run.whole {
            let memory =
                machine::peak_memory_bytes().map(|b| ("ram_bytes", self.ram_bytes, b as f64));
            let read = machine::read_bytes().zip(run.read_before);
            let read = read.map(|(now, before)| {
                let read = now.saturating_sub(before) as f64;
                ("disk_read_bytes", self.disk_read_bytes, read)
            });
            found.extend(memory.into_iter().chain(read));
        }
        let check = |(what, span, value): (&str, Span, f64)| Check {
            what: what.to_owned(),
            value,
            within: span.holds(value),
        };
        Estimate {
            took: found.into_iter().map(check).collect(),
            ..self
        }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let pair =
            |s: Span, unit: &dyn Fn(f64) -> String| format!("{} to {}", unit(s.low), unit(s.high));
        format!(
            "budget: {} parameters, {}, {} multiply-adds an answer; training {} on {} threads, {} of \
             memory, {}",
            pair(self.parameters, &count),
            pair(self.bytes, &bytes),
            pair(self.macs, &count),
            pair(self.train_seconds, &seconds),
            self.calibration.threads,
            pair(self.ram_bytes, &bytes),
            pair(self.joules, &joules),
        )
    }

    /// What the run took, one line for people.
    pub fn took_text(&self) -> String {
        let part = |c: &Check| {
            let (name, span, unit): (&str, Span, fn(f64) -> String) = match c.what.as_str() {
                "parameters" => ("parameters", self.parameters, count),
                "bytes" => ("file", self.bytes, bytes),
                "macs" => ("multiply-adds", self.macs, count),
                "train_seconds" => ("training", self.train_seconds, seconds),
                "ram_bytes" => ("memory", self.ram_bytes, bytes),
                _ => ("read", self.disk_read_bytes, bytes),
            };
            let (low, high) = (unit(span.low), unit(span.high));
            format!("{name} {} of {low} to {high}", unit(c.value))
        };
        let missed: Vec<String> = self.took.iter().filter(|c| !c.within).map(part).collect();
        if missed.is_empty() {
            let seconds_took = self.took.iter().find(|c| c.what == "train_seconds");
            let example = seconds_took.map_or_else(String::new, |c| format!(": {}", part(c)));
            return format!("as estimated{example}");
        }
        format!("estimate missed: {}", missed.join("; "))
    }
}

fn count(x: f64) -> String {
    match x {
        x if x < 1e4 => format!("{x:.0}"),
        x if x < 1e6 => format!("{:.0} thousand", x / 1e3),
        x if x < 1e9 => format!("{:.1} million", x / 1e6),
        x => format!("{:.1} billion", x / 1e9),
    }
}

fn bytes(x: f64) -> String {
    match x {
        x if x < 1e4 => format!("{x:.0} bytes"),
        x if x < 1e6 => format!("{:.0} KB", x / 1e3),
        x if x < 1e9 => format!("{:.0} MB", x / 1e6),
        x => format!("{:.1} GB", x / 1e9),
    }
}

fn seconds(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.1} s"),
        x if x < 120.0 => format!("{x:.0} s"),
        x if x < 7200.0 => format!("{:.0} min", x / 60.0),
        x => format!("{:.1} h", x / 3600.0),
    }
}

fn joules(x: f64) -> String {
    match x {
        x if x < 1e4 => format!("{x:.0} J"),
        x => format!("{:.3} kWh", x / 3.6e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate() -> Estimate {
        let span = |low, high| Span { low, high };
        Estimate {
            parameters: span(10.0, 337.0),
            bytes: span(150.0, 700.0),
            macs: span(9.0, 312.0),
            answer_joules: span(1e-9, 2e-7),
            train_seconds: span(0.5, 12.0),
            ram_bytes: span(4e6, 9e7),
            disk_read_bytes: span(6e4, 1e7),
            joules: span(12.0, 300.0),
            electricity_cost: span(1e-7, 1e-5),
            rented_cost: span(1e-6, 1e-4),
            calibration: Calibration {
                seconds: 0.2,
                rows_per_second: 1e5,
                threads: 2,
            },
            rates: Rates::default(),
            took: Vec::new(),
        }
    }

    /// What was read before the run is not of the run.
    #[test]
    fn reads_are_those_of_the_run() {
        let Some(now) = machine::read_bytes() else {
            eprintln!("skipped: the system does not tell what was read");
            return;
        };
        let read_since = |before| {
            let run = Finished {
                stages: &[],
                parameters: 50,
                macs: 60,
                bytes: 240,
                whole: true,
                read_before: Some(before),
            };
            let reads = estimate().check(&run).took.pop().expect("reads are last");
            assert_eq!(reads.what, "disk_read_bytes");
            reads.value
        };
        let since_now = read_since(now);
        let in_all = read_since(0);
        assert!(in_all >= now as f64 && since_now <= in_all - now as f64);
    }

    #[test]
    fn checks() {
        let stage = |seconds| Stage {
            name: "train".into(),
            accuracy: 0.8,
            validation_accuracy: 0.8,
            nonzero: 50,
            bytes: 240,
            seconds,
        };
        for (seconds, parameters, missed) in [
            (1.5, 50, vec![]),
            (99.0, 50, vec!["train_seconds"]),
            (0.1, 400, vec!["parameters", "train_seconds"]),
        ] {
            let run = Finished {
                stages: &[stage(seconds / 2.0), stage(seconds / 2.0)],
                parameters,
                macs: 60,
                bytes: 240,
                whole: false,
                read_before: None,
            };
            let found = estimate().check(&run);
            assert_eq!(found.took.len(), 4);
            let wrong: Vec<&str> = found
                .took
                .iter()
                .filter(|c| !c.within)
                .map(|c| c.what.as_str())
                .collect();
            assert_eq!(wrong, missed);
            assert_eq!(
                found.took_text().contains("missed"),
                !missed.is_empty(),
                "{}",
                found.took_text()
            );
        }
    }

    #[test]
    fn texts() {
        assert_eq!(
            estimate().text(),
            "budget: 10 to 337 parameters, 150 bytes to 700 bytes, 9 to 312 multiply-adds an answer; \
             training 0.5 s to 12 s on 2 threads, 4 MB to 90 MB of memory, 12 J to 300 J"
        );
    }
}
