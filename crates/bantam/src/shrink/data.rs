//! Data in three parts: for ranges, for choosing, and for the report.

use std::path::Path;

use bantam_core::{Dim, Tensor, each_type};
use bantam_data::{Rng, Target};

use crate::arrays::read_inputs;
use crate::open::Network;
use crate::predict::{Encoded, PredictOptions, Predictor};
use crate::watch::Observer;
use crate::{Error, ErrorKind, Result};

/// Samples that are run at a time.
const BATCH: usize = 64;
/// Most samples for ranges: more change them little.
const MOST_OBSERVED: usize = 512;
/// Most samples for choosing.
const MOST_CHOOSING: usize = 4096;

/// Samples that are run together, and their targets where they are known.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The inputs of the network, in order.
    pub(super) inputs: Vec<Tensor>,
    /// A target for each sample.
    pub(super) targets: Vec<Option<Target>>,
}

/// Data for [`shrink`](super::shrink()).
#[derive(Clone, Debug)]
pub struct Data {
    pub(super) observe: Vec<Batch>,
    pub(super) choose: Vec<Batch>,
    pub(super) report: Vec<Batch>,
    /// What the user should know about how the data were used.
    pub notices: Vec<String>,
}

impl Data {
    /// Samples of each part.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [&self.observe, &self.choose, &self.report]
            .map(|part| part.iter().map(|b| b.targets.len()).sum())
    }

    /// The inputs of one answer.
    pub(super) fn one(&self) -> Option<Vec<Tensor>> {
        let batch = self.report.first()?;
        let alone = batch.targets.len() > 1;
        Some(match alone {
            true => batch.inputs.iter().map(|t| rows(t, 0, 1)).collect(),
            false => batch.inputs.clone(),
        })
    }
}

/// Reads the data at `path` for `network`, which came from `model`: as `run` reads them where the network
/// says what it is fed, arrays by the names of its inputs otherwise.
///
/// Where the data have a part for training and one for test, ranges and choices are made on the first
/// and the report on the second; otherwise the samples are divided, by a fixed draw.
///
/// Errs when the data are not what the network expects, or too few.
pub fn read(
    model: &Path,
    network: &Network,
    path: &Path,
    observer: &mut dyn Observer,
) -> Result<Data> {
    if network.schema.is_none() {
        return arrays(network, path);
    }
    let mut predictor = Predictor::new(model, network.clone())?;
    let most = MOST_OBSERVED + MOST_CHOOSING;
    let [fit, test] = predictor.encode(path, &PredictOptions::default(), most, observer)?;
    let shape = predictor.schema().sample_shape();
    let mut notices = Vec::new();
    let (fit, test) = match fit {
        Some(fit) => (fit, test.ok_or_else(none)?),
        None => {
            let all = test.ok_or_else(none)?;
            let mut order: Vec<usize> = (0..all.targets.len()).collect();
            Rng::new(0, 0).shuffle(&mut order);
            let half = order.len() / 2;
            let note = "the data have no part for test: half of them, drawn, are for the report";
            notices.push(note.to_owned());
            (all.pick(&order[..half]), all.pick(&order[half..]))
        }
    };
    let observed = (fit.targets.len() / 2).min(MOST_OBSERVED);
    if observed == 0 || test.targets.is_empty() {
        return Err(none().with_hint("ranges, choices and report need samples of their own"));
    }
    let numbers: Vec<usize> = (0..fit.targets.len()).collect();
    Ok(Data {
        observe: batches(&fit.pick(&numbers[..observed]), &shape)?,
        choose: batches(&fit.pick(&numbers[observed..]), &shape)?,
        report: batches(&test, &shape)?,
        notices,
    })
}

fn none() -> Error {
    Error::new(ErrorKind::Data, "the data have too few samples")
}

fn batches(part: &Encoded, shape: &[usize]) -> Result<Vec<Batch>> {
    let width: usize = shape.iter().product();
    let chunks = part
        .x
        .chunks(BATCH * width.max(1))
        .zip(part.targets.chunks(BATCH));
    chunks
        .map(|(x, targets)| {
            let shape = [&[targets.len()], shape].concat();
            Ok(Batch {
                inputs: vec![Tensor::new::<f32>(&shape, x.to_vec())?],
                targets: targets.to_vec(),
            })
        })
        .collect()
}

/// Arrays by the names of the inputs. Where all inputs have one batch axis in front, its first half is
/// for ranges and choices and the second for the report; otherwise they are one sample for all.
fn arrays(network: &Network, path: &Path) -> Result<Data> {
    let graph = &network.graph;
    let named = read_inputs(graph, path, &[])?;
    let mut inputs = Vec::new();
    for input in graph.inputs() {
        let name = graph.value_name(input.value);
        let (_, t) = named.iter().find(|(n, _)| n == name).ok_or_else(|| {
            Error::new(
                ErrorKind::Data,
                format!("there is no array for the input {name:?}"),
            )
        })?;
        inputs.push(t.cast(input.dtype));
    }
    let free = |i: &bantam_core::graph::Input| {
        matches!(i.dims.first(), Some(Dim::Symbol(_) | Dim::Any | Dim::Rest))
    };
    let n = inputs.first().and_then(|t| t.shape().first().copied());
    let n = n.unwrap_or(1);
    let has_batch =
        graph.inputs().iter().all(free) && inputs.iter().all(|t| t.shape().first() == Some(&n));
    let part = |start: usize, end: usize| -> Vec<Batch> {
        let cuts = (start..end)
            .step_by(BATCH)
            .map(|i| (i, (i + BATCH).min(end)));
        cuts.map(|(i, j)| Batch {
            inputs: inputs.iter().map(|t| rows(t, i, j)).collect(),
            targets: vec![None; j - i],
        })
        .collect()
    };
    if has_batch && n > 1 {
        let (quarter, half) = (n.div_ceil(4), n.div_ceil(2));
        let choose = if half > quarter {
            part(quarter, half)
        } else {
            part(0, half)
        };
        return Ok(Data {
            observe: part(0, quarter),
            choose,
            report: part(half, n),
            notices: Vec::new(),
        });
    }
    let all = vec![Batch {
        inputs,
        targets: vec![None],
    }];
    let note = "the arrays are one sample: ranges, choices and report are all made on it";
    Ok(Data {
        observe: all.clone(),
        choose: all.clone(),
        report: all,
        notices: vec![note.to_owned()],
    })
}

/// Rows `start..end` along the first axis.
fn rows(t: &Tensor, start: usize, end: usize) -> Tensor {
    let each: usize = t.shape()[1..].iter().product();
    let shape = [&[end - start], &t.shape()[1..]].concat();
    let part = each_type!(t.data(), v => Tensor::new(&shape, v[start * each..end * each].to_vec()));
    part.expect("as many values as the shape has")
}
