//! The networks that are measured: opened from files, or known architectures with random weights.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bantam_core::Graph;
use bantam_core::schema::Schema;

use super::{BenchOptions, ModelReport, Source};
use crate::open::{self, Content, Network};
use crate::{Error, ErrorKind, Result};

/// Files are opened this often, unless that takes long.
const OPENINGS: usize = 3;
/// Seconds that opening once more may take.
const SHORT: f64 = 0.3;

/// A network with what is told of it.
pub(super) struct Opened {
    pub(super) graph: Graph,
    pub(super) schema: Option<Schema>,
    pub(super) report: ModelReport,
    /// Where it came from, for errors.
    path: Option<PathBuf>,
}

impl Opened {
    /// The error with the file it is about, if there is one.
    pub(super) fn located(&self, error: Error) -> Error {
        match &self.path {
            Some(path) => error.in_file(path),
            None => error,
        }
    }
}

/// Opens all of them; networks of one name get a number.
pub(super) fn open_all(models: &[Source], options: &BenchOptions) -> Result<Vec<Opened>> {
    let architecture = options.architecture.as_deref();
    let mut used = architecture.is_none();
    let mut networks: Vec<Opened> = Vec::new();
    for model in models {
        let mut network = match model {
            Source::Fresh(name) => {
                used |= architecture == Some(name);
                fresh(name, options.seed)?
            }
            Source::File(path) => {
                let (network, weights_alone) = open_file(path, architecture)?;
                used |= weights_alone;
                network
            }
        };
        let name = network.report.name.clone();
        let mut number = 1;
        while networks
            .iter()
            .any(|n| n.report.name == network.report.name)
        {
            number += 1;
            network.report.name = format!("{name} ({number})");
        }
        networks.push(network);
    }
    if !used {
        let name = architecture.unwrap_or_default();
        let message = format!("the files bring their own networks, so none is taken for {name}");
        return Err(Error::new(ErrorKind::Recipe, message).with_hint("leave --arch out"));
    }
    Ok(networks)
}

/// A known architecture with random weights.
fn fresh(name: &str, seed: u64) -> Result<Opened> {
    let architecture = open::find(name)?;
    let classes = architecture.usual_classes();
    let graph = bantam_train::fresh(&architecture.graph(classes)?, seed)?;
    let report = ModelReport {
        name: name.to_owned(),
        format: "fresh".to_owned(),
        file_bytes: None,
        open_seconds: None,
        parameters: parameters(&graph),
        notices: Vec::new(),
    };
    Ok(Opened {
        graph,
        schema: architecture.schema(classes),
        report,
        path: None,
    })
}

/// The network in a file, and whether the file holds weights alone.
fn open_file(path: &Path, architecture: Option<&str>) -> Result<(Opened, bool)> {
    let weights_alone = matches!(open::open(path, None)?.content, Content::Weights(_));
    let architecture = architecture.filter(|_| weights_alone);
    if weights_alone && architecture.is_none() {
        // The error that says which architecture fits.
        open::network(path, None)?;
    }
    let (mut least, mut times) = (f64::INFINITY, 0);
    let (format, file_bytes, network) = loop {
        let start = Instant::now();
        let opened = open::open(path, architecture)?;
        least = least.min(start.elapsed().as_secs_f64());
        times += 1;
        if times == OPENINGS || least > SHORT {
            let Content::Network(network) = opened.content else {
                unreachable!("weights were given their architecture")
            };
            break (opened.format, opened.bytes.len() as u64, *network);
        }
    };
    let Network {
        graph,
        schema,
        notices,
        ..
    } = network;
    let report = ModelReport {
        name: short_name(path),
        format: format.name().to_owned(),
        file_bytes: Some(file_bytes),
        open_seconds: Some(least),
        parameters: parameters(&graph),
        notices,
    };
    let opened = Opened {
        graph,
        schema,
        report,
        path: Some(path.to_owned()),
    };
    Ok((opened, weights_alone))
}

fn short_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn parameters(graph: &Graph) -> usize {
    graph.parameters().iter().map(|p| p.weight.len()).sum()
}
