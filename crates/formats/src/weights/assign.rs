//! Weights of a file into the weights of a Graph, by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bantam_core::graph::Parameter;
use bantam_core::{DType, Graph, Tensor};

use super::StoredTensor;
use crate::{Error, ErrorKind, Result};

/// Last parts of names that mean the same: what other programs call the tensors of a normalisation.
const SYNONYMS: [(&str, &str); 5] = [
    ("gamma", "weight"),
    ("beta", "bias"),
    ("moving_mean", "running_mean"),
    ("moving_var", "running_var"),
    ("moving_variance", "running_var"),
];

/// Missing names that the nearest of the left-over ones is looked for, in so many of them, of so many
/// bytes: comparing takes time that grows with each.
const MOST_COMPARED: usize = 20;
const MOST_OTHERS: usize = 500;
const MOST_COMPARED_BYTES: usize = 128;

/// Parts of a name that are looked at.
const MOST_PARTS: usize = 16;

/// Last part of the names of counters that batch normalisation keeps while training.
const COUNTER: &str = "num_batches_tracked";

/// How the names of a file met those of a Graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assigned {
    /// What all names of the file have in front: `module.`, `state_dict.`, or nothing.
    pub prefix: String,
    /// Weights of the Graph that were found.
    pub found: usize,
    /// Those found under a name that differs in more than the prefix.
    pub renamed: Vec<Rename>,
    /// Weights of the Graph that the file has not.
    pub missing: Vec<Missing>,
    /// Tensors of the file, without the prefix, that the Graph has no place for.
    pub left_over: Vec<String>,
    /// Those of them that were known to be there and not read.
    pub unread: Vec<String>,
    /// Counters of training steps, which a finished network has no use for.
    pub counters: usize,
    /// Tensors without the prefix: optimizers, second copies.
    pub outside: usize,
    /// Whether not one name was known, and the weights were matched in their order.
    pub by_order: bool,
    /// Weights that were rounded from `f64`.
    pub rounded: usize,
}

/// A weight under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Name in the file.
    pub from: String,
    /// Name in the Graph.
    pub to: String,
}

/// A weight that a file has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Name in the Graph.
    pub name: String,
    /// The left-over name of the file that is most like it; looked for where few are missing.
    pub nearest: Option<String>,
}

impl Assigned {
    /// Whether every weight got a tensor, and every tensor a place or is known not to be read.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.left_over.is_empty()
    }
}

/// `graph` with the weights of a file: a tensor goes to the weight of its name, once the prefix that
/// fits best is taken off. Where not one name is known but the shapes are those of the weights, one
/// after the other, they go by their order. Of a weight that is missing, the value is that of `graph`.
///
/// `f64` is rounded to `f32` where the Graph computes in it, and counted. Errs when a tensor has
/// another shape than its weight, or is of integers where floats are expected.
///
/// Tensors called as one of `unread` may be there. Numbers of formulas (constants without axes, and
/// integers) need not be in the file.
pub fn assign(
    graph: &Graph,
    tensors: &[StoredTensor],
    unread: &[&str],
) -> Result<(Graph, Assigned)> {
    let (by_name, mut report) = matched(graph, tensors, unread)?;
    for missing in report.missing.iter_mut().take(MOST_COMPARED) {
        missing.nearest = nearest(&missing.name, &report.left_over);
    }
    let assigned = graph.map_weights(|name, p| match by_name.get(name) {
        None => Ok(None),
        Some(t) => fit(t, p.weight.dtype(), p.weight.shape()).map(|t| Some(t.into())),
    });
    let assigned =
        assigned.map_err(|e| Error::new(ErrorKind::Corrupt, e.to_string()).caused_by(e))?;
    Ok((assigned, report))
}

/// Whether [`assign`] would find every weight of `graph` in the file and leave nothing over.
pub fn fits(graph: &Graph, tensors: &[StoredTensor], unread: &[&str]) -> bool {
    let needed = graph.parameters().iter().filter(|p| !is_of_formula(p));
    if tensors.len() < needed.count() {
        return false;
    }
    let Ok((by_name, report)) = matched(graph, tensors, unread) else {
        return false;
    };
    let same = |p: &Parameter| {
        let found = by_name.get(graph.value_name(p.value));
        found.map_or(is_of_formula(p), |t| {
            let floats = t.tensor.dtype().is_float() == p.weight.dtype().is_float();
            floats && t.tensor.shape() == p.weight.shape()
        })
    };
    report.is_complete() && graph.parameters().iter().all(same)
}

/// Whether a parameter is a number of a formula, which files of weights do not have.
fn is_of_formula(p: &Parameter) -> bool {
    !p.trainable && (p.weight.shape().is_empty() || !p.weight.dtype().is_float())
}

/// The tensor for each weight, by the weight's name, and how that came about.
fn matched<'a>(
    graph: &Graph,
    tensors: &'a [StoredTensor],
    unread: &[&str],
) -> Result<(HashMap<String, &'a StoredTensor>, Assigned)> {
    let parameters = graph.parameters().iter();
    let wanted: BTreeSet<&str> = parameters.map(|p| graph.value_name(p.value)).collect();
    let mut report = Assigned::default();
    let found: HashMap<String, &StoredTensor> = match in_order(graph, tensors) {
        Some(pairs) if !tensors.iter().any(|t| is_known(&wanted, &t.name)) => {
            report.by_order = true;
            pairs.into_iter().collect()
        }
        _ => by_name(&wanted, tensors, &mut report)?,
    };
    report.found = found.len();
    let rounded = found.values().filter(|t| t.tensor.dtype() == DType::F64);
    report.rounded = rounded.count();
    let is_unread = |name: &String| unread.contains(&name.as_str());
    (report.unread, report.left_over) = report.left_over.into_iter().partition(is_unread);
    let parameters = graph.parameters().iter().filter(|p| !is_of_formula(p));
    let needed: BTreeSet<&str> = parameters.map(|p| graph.value_name(p.value)).collect();
    let absent = needed.into_iter().filter(|name| !found.contains_key(*name));
    let missing = absent.map(|name| Missing {
        name: name.to_owned(),
        nearest: None,
    });
    report.missing = missing.collect();
    Ok((found, report))
}

/// The tensors by the names of the weights they are for; what has no place goes into the report.
fn by_name<'a>(
    wanted: &BTreeSet<&str>,
    tensors: &'a [StoredTensor],
    report: &mut Assigned,
) -> Result<HashMap<String, &'a StoredTensor>> {
    let prefix = prefix(wanted, tensors);
    report.prefix = prefix.to_owned();
    let mut found = HashMap::new();
    for t in tensors {
        let Some(name) = t.name.strip_prefix(prefix) else {
            report.outside += 1;
            continue;
        };
        let renamed = synonym(name).filter(|to| wanted.contains(to.as_str()));
        let to = match renamed {
            _ if wanted.contains(name) => name.to_owned(),
            Some(to) => {
                let from = name.to_owned();
                report.renamed.push(Rename {
                    from,
                    to: to.clone(),
                });
                to
            }
            None if name.rsplit('.').next() == Some(COUNTER) => {
                report.counters += 1;
                continue;
            }
            None => {
                report.left_over.push(name.to_owned());
                continue;
            }
        };
        if found.insert(to.clone(), t).is_some() {
            let message = format!("another tensor is {to:?} too");
            return Err(Error::corrupt(message).at(format!("tensor {:?}", t.name)));
        }
    }
    Ok(found)
}

/// Whether some end of `name` is the name of a weight.
fn is_known(wanted: &BTreeSet<&str>, name: &str) -> bool {
    let known = |end: usize| {
        let end = &name[end..];
        wanted.contains(end) || synonym(end).is_some_and(|to| wanted.contains(to.as_str()))
    };
    ends(name).any(known)
}

/// Where parts of a name begin: at its start, and after each of its last dots.
fn ends(name: &str) -> impl Iterator<Item = usize> {
    let dots = name.rmatch_indices('.').take(MOST_PARTS);
    std::iter::once(0).chain(dots.map(|(i, _)| i + 1))
}

/// The tensors in the order of the weights, when there are as many and the shapes are the same.
fn in_order<'a>(
    graph: &Graph,
    tensors: &'a [StoredTensor],
) -> Option<Vec<(String, &'a StoredTensor)>> {
    let counter = |t: &&StoredTensor| t.name.rsplit('.').next() == Some(COUNTER);
    let tensors: Vec<&StoredTensor> = tensors.iter().filter(|t| !counter(t)).collect();
    let parameters = || graph.parameters().iter().filter(|p| !is_of_formula(p));
    let fits = |(p, t): (&Parameter, &&StoredTensor)| {
        p.weight.shape() == t.tensor.shape() && t.tensor.dtype().is_float()
    };
    let all = tensors.len() == parameters().count() && parameters().zip(&tensors).all(fits);
    let name = |p: &Parameter| graph.value_name(p.value).to_owned();
    all.then(|| parameters().map(name).zip(tensors).collect())
}

/// The prefix under which most of the wanted names are; of equals, the one that comes first.
fn prefix<'a>(wanted: &BTreeSet<&str>, tensors: &'a [StoredTensor]) -> &'a str {
    let mut votes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (place, t) in tensors.iter().enumerate() {
        for end in ends(&t.name) {
            let (prefix, name) = t.name.split_at(end);
            if wanted.contains(name) {
                votes.entry(prefix).or_insert((0, place)).0 += 1;
            }
        }
    }
    let best = votes
        .into_iter()
        .max_by_key(|(_, (n, first))| (*n, std::cmp::Reverse(*first)));
    best.map_or("", |(prefix, _)| prefix)
}

/// The name with its last part as PyTorch calls it.
fn synonym(name: &str) -> Option<String> {
    let (stem, last) = name.rsplit_once('.')?;
    let (_, to) = SYNONYMS.iter().find(|(from, _)| *from == last)?;
    Some(format!("{stem}.{to}"))
}

/// The tensor as a weight of the given type and shape.
fn fit(t: &StoredTensor, dtype: DType, shape: &[usize]) -> bantam_core::Result<Tensor> {
    let bad = |what: String| {
        let message = format!("tensor {:?}: {what}", t.name);
        bantam_core::Error::shape(message)
    };
    if t.tensor.shape() != shape {
        return Err(bad(format!(
            "expected shape {shape:?}, found {:?}",
            t.tensor.shape()
        )));
    }
    if dtype.is_float() != t.tensor.dtype().is_float() {
        return Err(bad(format!("expected {dtype}, found {}", t.stored)));
    }
    Ok(t.tensor.cast(dtype))
}

/// The left-over name that is most like `name`, if any is much like it.
fn nearest(name: &str, left_over: &[String]) -> Option<String> {
    let like = |other: &String| strsim::normalized_damerau_levenshtein(name, other);
    let short = left_over
        .iter()
        .filter(|other| other.len() <= MOST_COMPARED_BYTES);
    let likely = short.take(MOST_OTHERS).map(|other| (like(other), other));
    let best = likely.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.6)
        .map(|(_, other)| other.clone())
}

#[cfg(test)]
mod tests {
    use bantam_core::op::{BatchNorm, Dense};
    use bantam_core::{Dim, GraphBuilder, Op};

    use super::*;
    use crate::stored::Stored;

    /// A dense layer of 2 units on 3 numbers, and a normalisation.
    fn graph() -> Graph {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(3)]);
        let w = b.weight("fc.weight", Tensor::zeros(DType::F32, &[2, 3]));
        let bias = b.weight("fc.bias", Tensor::zeros(DType::F32, &[2]));
        let y = b.node("fc", Op::Dense(Dense), &[x, w, bias]);
        let names = ["weight", "bias", "running_mean", "running_var"];
        let c = names.map(|n| b.weight(&format!("bn.{n}"), Tensor::zeros(DType::F32, &[2])));
        let norm = Op::BatchNorm(BatchNorm::default());
        let y = b.node("bn", norm, &[y, c[0], c[1], c[2], c[3]]);
        b.output(y);
        b.finish().unwrap()
    }

    fn tensor(name: &str, shape: &[usize], value: f32) -> StoredTensor {
        let n = shape.iter().product();
        StoredTensor {
            name: name.to_owned(),
            stored: Stored::F32,
            tensor: Tensor::new(shape, vec![value; n]).unwrap(),
        }
    }

    fn complete(prefix: &str) -> Vec<StoredTensor> {
        let names: [(&str, &[usize]); 6] = [
            ("fc.weight", &[2, 3]),
            ("fc.bias", &[2]),
            ("bn.weight", &[2]),
            ("bn.bias", &[2]),
            ("bn.running_mean", &[2]),
            ("bn.running_var", &[2]),
        ];
        let one = |(i, (name, shape)): (usize, &(&str, &[usize]))| {
            tensor(&format!("{prefix}{name}"), shape, i as f32 + 1.0)
        };
        names.iter().enumerate().map(one).collect()
    }

    fn value(graph: &Graph, name: &str) -> f32 {
        let p = graph
            .parameters()
            .iter()
            .find(|p| graph.value_name(p.value) == name)
            .unwrap();
        p.weight.tensor().values::<f32>().unwrap()[0]
    }

    #[test]
    fn prefixes_and_synonyms() {
        for prefix in ["", "module.", "state_dict.module.", "net.0."] {
            let mut tensors = complete(prefix);
            tensors[2].name = format!("{prefix}bn.gamma");
            tensors[5].name = format!("{prefix}bn.moving_variance");
            tensors.push(tensor(&format!("{prefix}bn.num_batches_tracked"), &[], 9.0));
            tensors.push(tensor("optimizer.x", &[1], 9.0));
            let (g, report) = assign(&graph(), &tensors, &[]).unwrap();
            assert_eq!(report.prefix, prefix);
            assert_eq!(fits(&graph(), &tensors, &[]), report.is_complete());
            assert_eq!((report.found, report.counters), (6, 1), "{prefix:?}");
            let outside = if prefix.is_empty() { (0, 1) } else { (1, 0) };
            assert_eq!(
                (report.outside, report.left_over.len()),
                outside,
                "{prefix:?}"
            );
            assert_eq!(report.renamed.len(), 2);
            assert!(report.missing.is_empty());
            assert_eq!(value(&g, "bn.weight"), 3.0);
            assert_eq!(value(&g, "bn.running_var"), 6.0);
        }
    }

    #[test]
    fn of_two_copies_the_first_is_taken() {
        let both = [complete("model."), complete("ema.")].concat();
        let (_, report) = assign(&graph(), &both, &[]).unwrap();
        assert_eq!((report.prefix.as_str(), report.outside), ("model.", 6));
        assert!(report.is_complete());
    }

    #[test]
    fn what_does_not_match_is_listed() {
        let mut tensors = complete("");
        tensors[1].name = "fc.biases".to_owned();
        tensors.remove(5);
        let (_, report) = assign(&graph(), &tensors, &[]).unwrap();
        let missing = |name: &str, nearest: Option<&str>| Missing {
            name: name.to_owned(),
            nearest: nearest.map(str::to_owned),
        };
        let expected = [
            missing("bn.running_var", None),
            missing("fc.bias", Some("fc.biases")),
        ];
        assert_eq!(report.missing, expected);
        assert_eq!(report.left_over, ["fc.biases"]);
        assert!(!report.is_complete());
    }

    #[test]
    fn strangers_go_by_their_order() {
        let mut tensors = complete("");
        for (i, t) in tensors.iter_mut().enumerate() {
            t.name = format!("{i}.p");
        }
        let (g, report) = assign(&graph(), &tensors, &[]).unwrap();
        assert!(report.by_order && report.is_complete());
        assert_eq!(
            (value(&g, "fc.bias"), value(&g, "bn.running_var")),
            (2.0, 6.0)
        );
        // One name that is known, or one shape that differs, and order says nothing.
        let mut known = tensors.clone();
        known[0].name = "a.fc.weight".to_owned();
        assert_eq!(assign(&graph(), &known, &[]).unwrap().1.found, 1);
        tensors.swap(0, 1);
        assert_eq!(assign(&graph(), &tensors, &[]).unwrap().1.found, 0);
    }

    #[test]
    fn an_encoder_has_the_names_of_its_checkpoints() {
        let size = bantam_core::arch::EncoderSize {
            layers: 2,
            width: 4,
            heads: 2,
            feed_forward: 6,
            vocabulary: 9,
            positions: 5,
            types: 2,
        };
        let encoder = bantam_core::arch::bert_encoder("small", size).unwrap();
        // As `BertModel.state_dict()` lists them, and in this order.
        let mut tensors = vec![
            tensor("embeddings.word_embeddings.weight", &[9, 4], 1.0),
            tensor("embeddings.position_embeddings.weight", &[5, 4], 2.0),
            tensor("embeddings.token_type_embeddings.weight", &[2, 4], 3.0),
            tensor("embeddings.LayerNorm.weight", &[4], 4.0),
            tensor("embeddings.LayerNorm.bias", &[4], 5.0),
        ];
        let dense = [
            ("attention.self.query", [4, 4]),
            ("attention.self.key", [4, 4]),
            ("attention.self.value", [4, 4]),
            ("attention.output.dense", [4, 4]),
            ("intermediate.dense", [6, 4]),
            ("output.dense", [4, 6]),
        ];
        for layer in ["encoder.layer.0", "encoder.layer.1"] {
            for (i, (name, [outputs, inputs])) in dense.iter().enumerate() {
                let value = 10.0 + i as f32;
                let name = format!("{layer}.{name}");
                tensors.push(tensor(
                    &format!("{name}.weight"),
                    &[*outputs, *inputs],
                    value,
                ));
                tensors.push(tensor(&format!("{name}.bias"), &[*outputs], value));
            }
            for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
                tensors.push(tensor(&format!("{layer}.{name}.weight"), &[4], 20.0));
                tensors.push(tensor(&format!("{layer}.{name}.bias"), &[4], 21.0));
            }
        }
        tensors.push(tensor("pooler.dense.weight", &[4, 4], 30.0));
        let unread = ["pooler.dense.weight", "pooler.dense.bias"];
        for prefix in ["", "bert."] {
            let mut named = tensors.clone();
            named.iter_mut().for_each(|t| t.name.insert_str(0, prefix));
            assert!(fits(&encoder, &named, &unread) && !fits(&encoder, &named, &[]));
            let (g, report) = assign(&encoder, &named, &unread).unwrap();
            assert!(
                report.is_complete() && report.prefix == prefix,
                "{report:?}"
            );
            assert_eq!(report.unread, ["pooler.dense.weight"]);
            assert_eq!(value(&g, "encoder.layer.1.intermediate.dense.weight"), 14.0);
            // Numbers of formulas are not in the file and stay.
            assert_eq!(value(&g, "half"), 0.5);
        }
    }

    #[test]
    fn shapes_and_types_must_fit() {
        let mut tensors = complete("");
        tensors[0] = tensor("fc.weight", &[3, 2], 1.0);
        let error = assign(&graph(), &tensors, &[]).unwrap_err().to_string();
        assert!(
            error.contains("expected shape [2, 3], found [3, 2]"),
            "{error}"
        );
        let mut tensors = complete("");
        tensors[1].tensor = Tensor::new(&[2], vec![1i64, 2]).unwrap();
        assert!(assign(&graph(), &tensors, &[]).is_err());
        let mut tensors = complete("");
        tensors[1].tensor = Tensor::new(&[2], vec![0.1f64, 2.0]).unwrap();
        let (g, report) = assign(&graph(), &tensors, &[]).unwrap();
        assert_eq!((value(&g, "fc.bias"), report.rounded), (0.1, 1));
        let mut twice = complete("");
        twice.push(tensor("bn.gamma", &[2], 1.0));
        assert!(assign(&graph(), &twice, &[]).is_err());
        assert!(!fits(&graph(), &twice, &[]));
        let mut turned = complete("");
        turned[0] = tensor("fc.weight", &[3, 2], 1.0);
        assert!(!fits(&graph(), &turned, &[]));
        assert!(fits(&graph(), &complete("module."), &[]));
    }
}
