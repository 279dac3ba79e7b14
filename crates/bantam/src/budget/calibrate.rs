//! Times training steps of a network on rows of random numbers: how fast a step is does not depend on
//! what the numbers are.

use std::time::{Duration, Instant};

use bantam_core::Tensor;
use bantam_data::{MemorySource, Rng, Targets};
use bantam_train::{Progress, State, Watch, fit};

use super::{Calibration, Plan};
use crate::fitting;
use crate::{Error, ErrorKind, Result};

/// How long to go on.
const MOMENT: Duration = Duration::from_millis(250);
/// Batches of an epoch, and of its evaluation: one row in five is for validation by default.
const BATCHES: (usize, usize) = (8, 2);
/// Most values of the rows that are made up.
const MOST_VALUES: usize = 1 << 24;

pub(super) fn calibrate(plan: &Plan) -> Result<Calibration> {
    let begin = Instant::now();
    let rows = plan.data.rows()[0].max(1);
    let batch = plan.recipe.train.batch_size.min(rows);
    let a_row: usize = plan.data.sample_shape().iter().product();
    let most = (MOST_VALUES / (batch * a_row.max(1))).max(1);
    let train = random_rows(plan, batch * BATCHES.0.min(most))?;
    let validation = random_rows(plan, batch * BATCHES.1.min(most))?;
    let mut config = fitting::full(&plan.recipe.train, plan.recipe.seed, 0);
    // As many epochs as the moment lasts.
    (config.epochs, config.batch_size, config.patience) = (1_000_000, batch, 0);
    let mut timer = Timer {
        first: None,
        steps: 0,
        last: Duration::ZERO,
    };
    let stopped = fit(plan.initial, &train, &validation, &config, None, &mut timer);
    if timer.steps < 2 {
        // It did not stop because time was up.
        stopped?;
        let message = "training steps could not be timed";
        return Err(Error::new(ErrorKind::Internal, message));
    }
    Ok(Calibration {
        seconds: begin.elapsed().as_secs_f64(),
        rows_per_second: ((timer.steps - 1) * batch) as f64 / timer.last.as_secs_f64().max(1e-9),
        threads: rayon::current_num_threads(),
    })
}

fn random_rows(plan: &Plan, n: usize) -> Result<MemorySource> {
    let mut shape = plan.data.sample_shape();
    shape.insert(0, n);
    let mut rng = Rng::new(plan.recipe.seed, 0);
    let mut value = || rng.uniform() as f32 - 0.5;
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
    let classes = plan.data.class_names().len();
    let targets = match classes {
        0 => Targets::Numbers((0..n).map(|_| value()).collect()),
        k => Targets::Classes((0..n).map(|i| (i % k) as i64).collect()),
    };
    Ok(MemorySource::from_rows(
        Tensor::new(&shape, values)?,
        targets,
        classes,
    )?)
}

/// Counts steps until the moment is over.
struct Timer {
    first: Option<Instant>,
    steps: usize,
    last: Duration,
}

impl Watch for Timer {
    fn step(&mut self, _: &Progress) -> bantam_train::Result<()> {
        // The first step bears the cost of making things ready.
        let first = *self.first.get_or_insert_with(Instant::now);
        self.steps += 1;
        self.last = first.elapsed();
        match self.steps >= 2 && self.last >= MOMENT {
            true => Err(bantam_train::Error::stopped(Error::new(
                ErrorKind::Internal,
                "the moment is over",
            ))),
            false => Ok(()),
        }
    }

    fn epoch(&mut self, _: &State) -> bantam_train::Result<()> {
        Ok(())
    }
}
