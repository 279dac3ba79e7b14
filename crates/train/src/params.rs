//! The weights of a network while it is trained: a map from names to values.

use std::collections::BTreeMap;

use bantam_core::{DType, Graph, Masked, Tensor, Weight};

use crate::training::entries_name;
use crate::{Error, ErrorKind, Result};

/// Values of the trainable parameters and of the running statistics, by name. Of a weight with a
/// codebook it holds the entries but the first, which stays 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(pub BTreeMap<String, Tensor>);

impl Params {
    /// The values in `graph`.
    pub fn of(graph: &Graph) -> Params {
        let floats = graph
            .parameters()
            .iter()
            .filter(|p| p.weight.dtype() == DType::F32);
        let entry = |p: &bantam_core::graph::Parameter| {
            let name = graph.value_name(p.value);
            match &p.weight {
                Weight::Codebook(c) if p.trainable => {
                    let entries = c.entries()[1..].to_vec();
                    let tensor = Tensor::new(&[entries.len()], entries).expect("one axis");
                    (entries_name(name), tensor)
                }
                weight => (name.to_owned(), weight.tensor().into_owned()),
            }
        };
        Params(floats.map(entry).collect())
    }

    /// `graph` with these values; masks and codebook indices stay. Errs when a value is missing or
    /// has another shape.
    pub fn freeze(&self, graph: &Graph) -> Result<Graph> {
        let get = |name: &str| {
            let missing = || Error::new(ErrorKind::Graph, format!("no value for weight {name:?}"));
            self.0.get(name).ok_or_else(missing)
        };
        let mut failed = None;
        let frozen = graph.map_weights(|name, p| {
            if p.weight.dtype() != DType::F32 {
                return Ok(None);
            }
            let mut value = |name: &str| get(name).map_err(|e| failed = Some(e)).ok();
            Ok(match &p.weight {
                Weight::Codebook(c) if p.trainable => match value(&entries_name(name)) {
                    Some(v) => {
                        let entries = std::iter::once(0.0).chain(v.values::<f32>()?.to_vec());
                        Some(Weight::Codebook(c.with_entries(entries.collect())?))
                    }
                    None => None,
                },
                Weight::Codebook(_) => None,
                Weight::Masked(m) => match value(name) {
                    Some(v) => Some(Weight::Masked(Masked::new(v, m.keep().to_vec())?)),
                    None => None,
                },
                Weight::Dense(_) => value(name).cloned().map(Weight::Dense),
            })
        })?;
        failed.map_or(Ok(frozen), Err)
    }

    /// Masks of the pruned weights of `graph` as 0 and 1, by name.
    pub(crate) fn masks(graph: &Graph) -> BTreeMap<String, Vec<f32>> {
        let mask = |p: &bantam_core::graph::Parameter| match &p.weight {
            Weight::Masked(m) => {
                let mask = m.keep().iter().map(|&k| f32::from(u8::from(k))).collect();
                Some((graph.value_name(p.value).to_owned(), mask))
            }
            Weight::Dense(_) | Weight::Codebook(_) => None,
        };
        graph.parameters().iter().filter_map(mask).collect()
    }
}
