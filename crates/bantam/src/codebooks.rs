//! The quantize stage: which round gets tuned codebooks, of how many bits, and the tuning.

use std::time::Instant;

use bantam_compress::{CodebookOptions, RoundRecord, choose, crop, order_units, quantize};
use bantam_core::Graph;
use bantam_formats::bantam::{self as container, Coder};
use bantam_train::{Evaluation, evaluate};
use serde::{Deserialize, Serialize};

use crate::recipe::Prefer;
use crate::results::Epoch;
use crate::road::{Road, Rounds, SLACK, STAGES, coder, tuned_stem};
use crate::{Error, ErrorKind, Recipe, Result, fitting};

/// Bits tried beyond those of the recipe.
const EXTRA_BITS: u8 = 2;

/// Rounds whose codebooks are tuned when accuracy is preferred: the densest that fit. Validation
/// accuracies of neighbours differ by less than their error, so that the best of many is the luckiest;
/// more weights are the better bet.
const CANDIDATES: usize = 3;

/// A round with its codebooks tuned, as the stage leaves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tuned {
    pub(crate) round: usize,
    /// Bits beyond those of the recipe.
    pub(crate) extra_bits: u8,
    pub(crate) validation_accuracy: f64,
    pub(crate) test_accuracy: f64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) epochs: Vec<Epoch>,
}

impl Tuned {
    /// Whether validation accuracy is at least so much.
    fn reaches(&self, least: f64) -> bool {
        self.validation_accuracy >= least - SLACK
    }
}

impl Road<'_> {
    /// The round whose codebooks are to be tuned first.
    pub(crate) fn first_choice(&self, rounds: &Rounds) -> usize {
        let baseline = rounds.rounds[0].validation_accuracy;
        let max_drop = self.recipe.budget.max_drop;
        match self.recipe.budget.prefer {
            Prefer::Size => choose(&rounds.records, max_drop, baseline).unwrap_or(0),
            Prefer::Accuracy => self.densest(rounds)[0],
        }
    }

    /// Tuned codebooks for the network that the budget prefers among those that keep it; when none
    /// does the budget is refused.
    pub(crate) fn quantize(&mut self, rounds: &Rounds) -> Result<Tuned> {
        self.observer.stage("quantize", 4, STAGES);
        self.folder.make("4-quantize")?;
        let budget = &self.recipe.budget;
        let baseline = rounds.rounds[0].validation_accuracy;
        let least = (baseline - budget.max_drop).max(budget.min_accuracy);
        match budget.prefer {
            Prefer::Size => self.smallest(rounds, least),
            Prefer::Accuracy => self.most_accurate(rounds, least),
        }
    }

    /// The sparsest round that keeps the budget once its codebooks are tuned. The neighbouring rounds
    /// are tried when it does not.
    fn smallest(&mut self, rounds: &Rounds, least: f64) -> Result<Tuned> {
        let mut i = self.first_choice(rounds);
        let mut tried: Vec<Tuned> = Vec::new();
        loop {
            let tuned = self.tuned(&rounds.records[i], least)?;
            let small = self.is_small(tuned.bytes);
            let right = tuned.reaches(least);
            tried.push(tuned);
            if small && right {
                return Ok(tried.swap_remove(tried.len() - 1));
            }
            let next = if small { i.checked_sub(1) } else { Some(i + 1) };
            match next {
                Some(n) if n < rounds.records.len() && tried.iter().all(|t| t.round != n) => i = n,
                _ => return Err(self.refusal(&tried, least)),
            }
        }
    }

    /// The most accurate on validation, of equals the smallest, among the [`CANDIDATES`] densest rounds
    /// that fit, each with up to [`EXTRA_BITS`] more bits as far as they fit.
    fn most_accurate(&mut self, rounds: &Rounds, least: f64) -> Result<Tuned> {
        let mut tried: Vec<Tuned> = Vec::new();
        let mut n_fit = 0;
        for i in self.densest(rounds) {
            if n_fit == CANDIDATES {
                break;
            }
            for extra in 0..=EXTRA_BITS.min(8 - self.recipe.quantize.bits) {
                let tuned = self.tuned_with(&rounds.records[i], extra)?;
                let small = self.is_small(tuned.bytes);
                n_fit += usize::from(small && extra == 0);
                tried.push(tuned);
                if !small {
                    break;
                }
            }
        }
        let keeps = |t: &&Tuned| self.is_small(t.bytes) && t.reaches(least);
        let best = tried.iter().filter(keeps).max_by(|a, b| {
            let accuracy = a.validation_accuracy.total_cmp(&b.validation_accuracy);
            accuracy.then(b.bytes.cmp(&a.bytes))
        });
        best.cloned().ok_or_else(|| self.refusal(&tried, least))
    }

    /// Rounds that are expected to fit, the densest first; the sparsest alone when none is.
    fn densest(&self, rounds: &Rounds) -> Vec<usize> {
        let n = rounds.rounds.len();
        let fit = |&i: &usize| self.is_small(rounds.rounds[i].bytes);
        let fit: Vec<usize> = (0..n).filter(fit).collect();
        match fit.is_empty() {
            true => vec![n - 1],
            false => fit,
        }
    }

    fn is_small(&self, bytes: u64) -> bool {
        let limit = self.recipe.budget.max_bytes;
        limit == 0 || bytes <= limit
    }

    fn refusal(&self, tried: &[Tuned], least: f64) -> Error {
        let budget = &self.recipe.budget;
        let right = tried.iter().filter(|t| t.reaches(least));
        let smallest = right.min_by_key(|t| t.bytes);
        let limit = budget.max_bytes;
        let best = tried
            .iter()
            .filter(|t| self.is_small(t.bytes))
            .max_by(|a, b| a.validation_accuracy.total_cmp(&b.validation_accuracy));
        let mut message = format!("no network of this run keeps {least:.4} on validation");
        if limit > 0 {
            message.push_str(&format!(" within {limit} bytes"));
        }
        // Where nothing is small enough and nothing accurate enough, the smallest says how far off it is.
        let smallest = smallest.or(tried.iter().min_by_key(|t| t.bytes));
        let mut nearest = Vec::new();
        if let Some(t) = smallest {
            nearest.push(format!("{} bytes at {:.4}", t.bytes, t.validation_accuracy));
        }
        if let Some(t) = best {
            nearest.push(format!("{:.4} in {} bytes", t.validation_accuracy, t.bytes));
        }
        let hint = format!("the nearest points are {}", nearest.join(" and "));
        Error::new(ErrorKind::Budget, message).with_hint(hint)
    }

    /// One round with tuned codebooks, or what its files say. When the answers suffer too much, more
    /// bits are tried: two more, and for the dense network, which is the last resort, all eight.
    fn tuned(&mut self, record: &RoundRecord, least: f64) -> Result<Tuned> {
        let bits = self.recipe.quantize.bits;
        let most = if record.index == 0 {
            8
        } else {
            (bits + EXTRA_BITS).min(8)
        };
        let mut best: Option<Tuned> = None;
        for extra in 0..=most - bits {
            let tuned = self.tuned_with(record, extra)?;
            let right = tuned.reaches(least);
            let better = |b: &Tuned| tuned.validation_accuracy > b.validation_accuracy;
            if right || best.as_ref().is_none_or(better) {
                best = Some(tuned);
            }
            if right {
                break;
            }
        }
        best.ok_or_else(|| Error::new(ErrorKind::Internal, "no number of bits was tried"))
    }

    fn tuned_with(&mut self, record: &RoundRecord, extra_bits: u8) -> Result<Tuned> {
        let report = format!("{}.json", tuned_stem(record.index, extra_bits));
        let tuned = match self.folder.read_json(&report)? {
            Some(done) => done,
            None => self.tune(record, extra_bits)?,
        };
        self.observer.note(&format!(
            "round {} with codebooks of {} bits: {} bytes, validation {}",
            tuned.round,
            self.recipe.quantize.bits + tuned.extra_bits,
            tuned.bytes,
            self.shown(tuned.validation_accuracy)
        ));
        Ok(tuned)
    }

    fn tune(&mut self, record: &RoundRecord, extra_bits: u8) -> Result<Tuned> {
        let stem = tuned_stem(record.index, extra_bits);
        let started = Instant::now();
        let graph = with_codebooks(self.recipe, &record.graph, extra_bits)?;
        let full = fitting::full(
            &self.recipe.train,
            self.recipe.seed,
            1_000 + record.index as u64,
        );
        let config = fitting::tuning(full, &self.recipe.quantize);
        let checkpoint = format!("{stem}.checkpoint");
        let what = format!("codebooks of round {}", record.index);
        let untuned = evaluate(&graph, &self.data.validation()?)?;
        let (graph, epochs) = if config.epochs > 0 {
            let fitted = self.fit(&graph, &config, &checkpoint, &what)?;
            // Tuning may do harm where validation rows are few: then the codebooks stay as they were.
            let score = |e: &Evaluation| (e.accuracy, -e.loss);
            let better = score(&fitted.validation) >= score(&untuned);
            let kept = if better { fitted.graph } else { graph };
            (kept, fitting::epochs(&fitted.history))
        } else {
            (graph, Vec::new())
        };
        let graph = container::round_for_storage(&graph)?;
        let validation = evaluate(&graph, &self.data.validation()?)?;
        let test = evaluate(&graph, &self.data.test()?)?;
        let tuned = Tuned {
            round: record.index,
            extra_bits,
            validation_accuracy: validation.accuracy,
            test_accuracy: test.accuracy,
            bytes: self.packed(&graph, coder(self.recipe.pack.coder))?.len() as u64,
            seconds: started.elapsed().as_secs_f64(),
            epochs,
        };
        self.save(&graph, &format!("{stem}.bantam"), Coder::Store)?;
        self.folder.write_json(&format!("{stem}.json"), &tuned)?;
        self.folder.remove(&checkpoint)?;
        Ok(tuned)
    }
}

/// A network as it is packed: cropped, ordered, with codebooks of `extra_bits` beyond the recipe's.
pub(crate) fn with_codebooks(recipe: &Recipe, graph: &Graph, extra_bits: u8) -> Result<Graph> {
    let mut graph = graph.clone();
    if recipe.pack.crop {
        graph = crop(&graph)?.0;
    }
    if recipe.pack.order {
        graph = order_units(&graph)?;
    }
    Ok(quantize(&graph, &codebooks(recipe, extra_bits))?)
}

/// Codebooks of `extra_bits` beyond the recipe's.
pub(crate) fn codebooks(recipe: &Recipe, extra_bits: u8) -> CodebookOptions {
    let settings = &recipe.quantize;
    let more = |bits: u8| (bits + extra_bits).min(8);
    CodebookOptions {
        bits: more(settings.bits),
        per_layer: settings
            .layer_bits
            .iter()
            .map(|(k, v)| (k.clone(), more(*v)))
            .collect(),
        bias_bits: (settings.bias_bits > 0).then(|| more(settings.bias_bits)),
        ..CodebookOptions::default()
    }
}
