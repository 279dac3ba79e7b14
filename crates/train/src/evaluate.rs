//! Runs a network over a data source and scores its answers.

use bantam_core::{Graph, Tensor};
use bantam_data::{Source, Targets};
use bantam_runtime::{Executor, Plan};

use crate::{Error, ErrorKind, Result};

/// Rows answered at a time.
const BATCH: usize = 256;

/// How well a network answers a data source.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Rows answered.
    pub n: usize,
    /// Mean loss: cross-entropy in nats, or squared error of the normalised target.
    pub loss: f64,
    /// Share of right answers; for numbers the coefficient of determination R².
    pub accuracy: f64,
    /// `[true class][answer]` counts; empty for numbers.
    pub confusion: Vec<Vec<u64>>,
}

impl Evaluation {
    /// Rows answered rightly; 0 for numbers.
    pub fn correct(&self) -> u64 {
        self.confusion
            .iter()
            .enumerate()
            .map(|(i, row)| row[i])
            .sum()
    }
}

/// Index of the largest value, the first among equals.
pub fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Calls `each(first row, output values, targets)` for batches of `source` through `graph`, in order.
pub fn answers(
    graph: &Graph,
    source: &dyn Source,
    mut each: impl FnMut(usize, &[f32], &Targets),
) -> Result<()> {
    let mut executor: Option<Executor> = None;
    let (mut x, mut targets) = (Vec::new(), Targets::empty(source.classes()));
    let rows: Vec<usize> = (0..source.len()).collect();
    for (i, rows) in rows.chunks(BATCH).enumerate() {
        source.read(rows, &mut x, &mut targets)?;
        let mut shape = vec![rows.len()];
        shape.extend(source.sample_shape());
        let input = Tensor::new(&shape, std::mem::take(&mut x))?;
        let same = |e: &Executor| e.plan().inputs()[0].shape == shape;
        let mut ready = match executor.take().filter(same) {
            Some(ready) => ready,
            None => Executor::new(Plan::for_batch(graph, rows.len())?),
        };
        each(i * BATCH, ready.run(&[&input])?.values(0), &targets);
        executor = Some(ready);
        if let bantam_core::Data::F32(buffer) = input.into_data() {
            x = buffer;
        }
    }
    Ok(())
}

/// Scores `graph`, whose first output are logits or normalised numbers, on all rows of `source`.
pub fn evaluate(graph: &Graph, source: &dyn Source) -> Result<Evaluation> {
    if source.is_empty() {
        return Err(Error::new(ErrorKind::Data, "there are no rows to evaluate"));
    }
    let classes = source.classes();
    let mut confusion = vec![vec![0u64; classes]; classes];
    let mut loss = 0.0;
    let mut numbers = Moments::default();
    answers(graph, source, |_, output, targets| match targets {
        Targets::Classes(labels) => {
            for (row, &label) in output.chunks_exact(classes).zip(labels) {
                loss += cross_entropy(row, label as usize);
                confusion[label as usize][argmax(row)] += 1;
            }
        }
        Targets::Numbers(targets) => {
            output
                .iter()
                .zip(targets)
                .for_each(|(&y, &t)| numbers.add(y.into(), t.into()));
        }
    })?;
    let n = source.len();
    if classes == 0 {
        let (loss, accuracy) = numbers.summary();
        return Ok(Evaluation {
            n,
            loss,
            accuracy,
            confusion,
        });
    }
    let mut e = Evaluation {
        n,
        loss: loss / n as f64,
        accuracy: 0.0,
        confusion,
    };
    e.accuracy = e.correct() as f64 / n as f64;
    Ok(e)
}

/// Loss of one row of logits, in nats.
fn cross_entropy(row: &[f32], label: usize) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&v| f64::from(v - max).exp()).sum();
    sum.ln() - f64::from(row[label] - max)
}

/// Sums for the squared error and the variance of the targets.
#[derive(Default)]
struct Moments {
    n: f64,
    squared_error: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Moments {
    fn add(&mut self, y: f64, t: f64) {
        self.n += 1.0;
        self.squared_error += (y - t) * (y - t);
        self.sum += t;
        self.sum_of_squares += t * t;
    }

    /// Mean squared error and R²; 0 where the targets do not vary.
    fn summary(&self) -> (f64, f64) {
        let variation = self.sum_of_squares - self.sum * self.sum / self.n;
        let r2 = if variation > 0.0 {
            1.0 - self.squared_error / variation
        } else {
            0.0
        };
        (self.squared_error / self.n, r2)
    }
}
