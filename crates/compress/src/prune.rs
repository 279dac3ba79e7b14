//! Magnitude pruning and rewinding (Renda, Frankle, Carbin 2020; Frankle, Carbin 2019).
//!
//! Prunable are trainable `f32` parameters of two or more axes. Pruned values stay in the graph as
//! [`Weight::Masked`]; cropping makes tensors smaller. Refuses values that are not
//! finite, and weights that are quantized already.

use bantam_core::graph::Parameter;
use bantam_core::{DType, Graph, Masked, Weight};

use crate::names;
use crate::{Error, ErrorKind, Result};

/// Where magnitudes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Over all prunable weights together, so that layers end up with different densities.
    Global,
    /// Within each parameter, so that all lose the same share.
    PerLayer,
}

/// Options of [`prune()`].
#[derive(Clone, Debug, PartialEq)]
pub struct Magnitude {
    /// Share of the remaining prunable weights that goes, in `[0, 1]`. The number is rounded to the
    /// nearest integer: per graph or, with [`Scope::PerLayer`], per parameter.
    pub fraction: f64,
    /// Parameters left alone: names, or prefixes with a trailing `*`.
    pub exclude: Vec<String>,
    /// Where magnitudes are compared.
    pub scope: Scope,
}

impl Default for Magnitude {
    /// 20 % over all layers, nothing excluded.
    fn default() -> Magnitude {
        Magnitude {
            fraction: 0.2,
            exclude: Vec::new(),
            scope: Scope::Global,
        }
    }
}

/// Whether `prune` works on this parameter: trainable, `f32`, two or more axes.
pub(crate) fn is_weight(p: &Parameter) -> bool {
    p.trainable && p.weight.dtype() == DType::F32 && p.weight.shape().len() >= 2
}

/// Names of the parameters for which `is` holds.
pub(crate) fn names_of(graph: &Graph, is: impl Fn(&Parameter) -> bool) -> Vec<&str> {
    let chosen = graph.parameters().iter().filter(|p| is(p));
    chosen.map(|p| graph.value_name(p.value)).collect()
}

/// One remaining weight: magnitude as an integer that sorts alike, parameter, element.
type Candidate = (u32, u32, usize);

/// The graph with the smallest of the remaining prunable weights masked.
///
/// Remaining are the kept elements of a masked weight and the non-zero elements of a dense one; what
/// is pruned already is never brought back. Every prunable parameter that is not excluded comes out
/// masked. Errs when the fraction is not in `[0, 1]`, when an exclusion fits no prunable parameter,
/// when a value is not finite, and when a weight is a codebook.
pub fn prune(graph: &Graph, options: &Magnitude) -> Result<Graph> {
    if !(0.0..=1.0).contains(&options.fraction) {
        let message = format!("fraction: expected 0 to 1, found {}", options.fraction);
        return Err(Error::new(ErrorKind::Option, message));
    }
    let names = names_of(graph, is_weight);
    names::check(
        "exclude",
        options.exclude.iter().map(String::as_str),
        &names,
    )?;
    let excluded = |name: &str| options.exclude.iter().any(|e| names::fits(e, name));

    let mut keeps: Vec<Option<Vec<bool>>> = Vec::with_capacity(graph.parameters().len());
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for (idx, p) in graph.parameters().iter().enumerate() {
        let name = graph.value_name(p.value);
        if !is_weight(p) || excluded(name) {
            keeps.push(None);
            continue;
        }
        let keep = remaining(p).map_err(|e| e.at(name))?;
        if groups.is_empty() || options.scope == Scope::PerLayer {
            groups.push(Vec::new());
        }
        let group = groups.last_mut().expect("a group was pushed");
        collect(p, idx, &keep, group).map_err(|e| e.at(name))?;
        keeps.push(Some(keep));
    }
    for group in &mut groups {
        for &(_, parameter, element) in smallest(group, options.fraction) {
            let keep = keeps[parameter as usize].as_mut();
            keep.expect("candidates come from these parameters")[element] = false;
        }
    }
    let mut keeps = keeps.into_iter();
    Ok(graph.map_weights(|_, p| match keeps.next().flatten() {
        Some(keep) => Ok(Some(Weight::Masked(Masked::new(&p.weight.tensor(), keep)?))),
        None => Ok(None),
    })?)
}

fn remaining(p: &Parameter) -> Result<Vec<bool>> {
    match &p.weight {
        Weight::Masked(m) => Ok(m.keep().to_vec()),
        Weight::Dense(t) => Ok(t.values::<f32>()?.iter().map(|&v| v != 0.0).collect()),
        Weight::Codebook(_) => Err(Error::new(
            ErrorKind::Form,
            "quantized already; prune before quantizing",
        )),
    }
}

fn collect(p: &Parameter, idx: usize, keep: &[bool], into: &mut Vec<Candidate>) -> Result<()> {
    let tensor = p.weight.tensor();
    let parameter = u32::try_from(idx).expect("fewer than 2^32 parameters");
    for (i, (&v, &k)) in tensor.values::<f32>()?.iter().zip(keep).enumerate() {
        if !v.is_finite() {
            let message = format!("element {i} is {v}");
            return Err(Error::new(ErrorKind::NotFinite, message));
        }
        if k {
            into.push((v.abs().to_bits(), parameter, i));
        }
    }
    Ok(())
}

/// The candidates that go, in no particular order.
fn smallest(group: &mut [Candidate], fraction: f64) -> &[Candidate] {
    let n_pruned = (fraction * group.len() as f64).round() as usize;
    if n_pruned > 0 && n_pruned < group.len() {
        group.select_nth_unstable(n_pruned - 1);
    }
    &group[..n_pruned]
}

/// `pruned` with the values of `early`, a network of the same structure: weight rewinding. Masks
/// stay; parameters that are not trained (running statistics) go back as well.
///
/// Errs when the two differ in anything but values and masks, and when a weight of either is a
/// codebook.
pub fn rewind(pruned: &Graph, early: &Graph) -> Result<Graph> {
    same_structure(pruned, early)?;
    let mut values = early.parameters().iter().map(|p| &p.weight);
    let codebook = |w: &Weight| matches!(w, Weight::Codebook(_));
    if let Some(p) = pruned
        .parameters()
        .iter()
        .chain(early.parameters())
        .find(|p| codebook(&p.weight))
    {
        let message = "quantized already; values cannot be rewound";
        return Err(Error::new(ErrorKind::Form, message).at(pruned.value_name(p.value)));
    }
    Ok(pruned.map_weights(|_, p| {
        let value = values.next().expect("both have the same parameters");
        Ok(Some(match &p.weight {
            Weight::Masked(m) => Weight::Masked(Masked::new(&value.tensor(), m.keep().to_vec())?),
            Weight::Dense(_) | Weight::Codebook(_) => Weight::Dense(value.tensor().into_owned()),
        }))
    })?)
}

/// Errs unless the graphs have the same inputs, nodes, outputs and parameters, up to the values and
/// forms of weights.
pub(crate) fn same_structure(a: &Graph, b: &Graph) -> Result<()> {
    let differ = |what: String| {
        let message = format!("expected graphs of the same structure, found other {what}");
        Err(Error::new(ErrorKind::Structure, message))
    };
    if a.inputs() != b.inputs() || a.outputs() != b.outputs() {
        return differ("inputs or outputs".to_owned());
    }
    if a.nodes() != b.nodes() {
        return differ("nodes".to_owned());
    }
    if a.parameters().len() != b.parameters().len() {
        return differ("parameters".to_owned());
    }
    for (p, q) in a.parameters().iter().zip(b.parameters()) {
        let (name, other) = (a.value_name(p.value), b.value_name(q.value));
        let same = (name, p.value, p.trainable) == (other, q.value, q.trainable)
            && p.weight.dtype() == q.weight.dtype()
            && p.weight.shape() == q.weight.shape();
        if !same {
            return differ(format!("parameters: {name:?} and {other:?}"));
        }
    }
    Ok(())
}

/// How many prunable weights of a graph remain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparsity {
    /// One entry per prunable parameter, in the order of the graph.
    pub parameters: Vec<Remaining>,
}

/// How many elements of one parameter remain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Name of the parameter.
    pub name: String,
    /// Elements that are kept by the mask, have a non-zero index, or are not 0.
    pub remaining: usize,
    /// All elements.
    pub total: usize,
}

impl Remaining {
    /// Share that remains; 1 when there are no elements.
    pub fn density(&self) -> f64 {
        density(self.remaining, self.total)
    }
}

impl Sparsity {
    /// Counts the prunable parameters of `graph`.
    pub fn of(graph: &Graph) -> Sparsity {
        let count = |p: &Parameter| Remaining {
            name: graph.value_name(p.value).to_owned(),
            remaining: p.weight.nonzero(),
            total: p.weight.len(),
        };
        let weights = graph.parameters().iter().filter(|p| is_weight(p));
        Sparsity {
            parameters: weights.map(count).collect(),
        }
    }

    /// Remaining elements of all prunable parameters.
    pub fn remaining(&self) -> usize {
        self.parameters.iter().map(|p| p.remaining).sum()
    }

    /// All elements of all prunable parameters.
    pub fn total(&self) -> usize {
        self.parameters.iter().map(|p| p.total).sum()
    }

    /// Share of all that remains; 1 when there are no elements.
    pub fn density(&self) -> f64 {
        density(self.remaining(), self.total())
    }
}

fn density(remaining: usize, total: usize) -> f64 {
    if total == 0 {
        return 1.0;
    }
    remaining as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mlp, values};
    use bantam_core::Tensor;
    use proptest::prelude::*;

    fn options(fraction: f64, scope: Scope) -> Magnitude {
        Magnitude {
            fraction,
            scope,
            ..Magnitude::default()
        }
    }

    /// Two layers of 2 x 2 whose values are given.
    fn two_layers(a: [f32; 4], b: [f32; 4]) -> Graph {
        let zeros = |_| vec![0.5; 2];
        mlp(&[2, 2, 2], |layer| [a, b][layer].to_vec(), zeros)
    }

    #[test]
    fn the_smallest_go() {
        let (a, b) = ([0.1, -0.2, 3.0, -4.0], [0.3, -0.4, 0.5, 0.6]);
        for (name, scope, fraction, expected) in [
            (
                "nothing",
                Scope::Global,
                0.0,
                [vec![0.1, -0.2, 3.0, -4.0], vec![0.3, -0.4, 0.5, 0.6]],
            ),
            (
                "global",
                Scope::Global,
                0.5,
                [vec![0.0, 0.0, 3.0, -4.0], vec![0.0, 0.0, 0.5, 0.6]],
            ),
            (
                "layers",
                Scope::PerLayer,
                0.25,
                [vec![0.0, -0.2, 3.0, -4.0], vec![0.0, -0.4, 0.5, 0.6]],
            ),
            (
                "rounded",
                Scope::Global,
                0.2,
                [vec![0.0, 0.0, 3.0, -4.0], vec![0.3, -0.4, 0.5, 0.6]],
            ),
            ("all", Scope::Global, 1.0, [vec![0.0; 4], vec![0.0; 4]]),
        ] {
            let g = prune(&two_layers(a, b), &options(fraction, scope)).unwrap();
            assert_eq!(
                [values(&g, "fc0.weight"), values(&g, "fc1.weight")],
                expected,
                "{name}"
            );
            assert_eq!(values(&g, "fc0.bias"), [0.5, 0.5], "{name}: biases stay");
        }
    }

    #[test]
    fn ties_go_to_the_earlier_parameter_and_element() {
        let g = two_layers([1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, 1.0, 1.0]);
        let g = prune(&g, &options(3.0 / 8.0, Scope::Global)).unwrap();
        assert_eq!(values(&g, "fc0.weight"), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(Sparsity::of(&g).remaining(), 5);
    }

    #[test]
    fn kept_zeros_and_dense_zeros() {
        // A dense zero is gone already; a kept zero of a masked weight is the first to go.
        let g = two_layers([0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(Sparsity::of(&g).remaining(), 7);
        let g = prune(&g, &options(1.0 / 7.0, Scope::Global)).unwrap();
        assert_eq!(values(&g, "fc0.weight"), [0.0, 0.0, 2.0, 3.0]);

        let zero = Tensor::zeros(DType::F32, &[2, 2]);
        let g = g
            .map_weights(|name, _| {
                let masked = || Masked::new(&zero, vec![false, true, true, false]);
                (name == "fc1.weight")
                    .then(|| masked().map(Weight::Masked))
                    .transpose()
            })
            .unwrap();
        let g = prune(&g, &options(0.25, Scope::Global)).unwrap();
        let Weight::Masked(m) = &g.parameter("fc1.weight").unwrap().weight else {
            panic!("masked before, masked after")
        };
        assert_eq!(m.keep(), [false, false, true, false]);
    }

    #[test]
    fn exclusion_by_name_and_prefix() {
        let g = two_layers([0.1; 4], [0.2; 4]);
        for (exclude, expected) in [("fc0.weight", [4, 0]), ("fc1*", [0, 4])] {
            let options = Magnitude {
                fraction: 1.0,
                exclude: vec![exclude.to_owned()],
                scope: Scope::Global,
            };
            let left: Vec<usize> = Sparsity::of(&prune(&g, &options).unwrap())
                .parameters
                .iter()
                .map(|p| p.remaining)
                .collect();
            assert_eq!(left, expected, "{exclude}");
        }
    }

    #[test]
    fn refusals() {
        let g = two_layers([0.1; 4], [0.2; 4]);
        let nan = two_layers([0.1, f32::NAN, 0.1, 0.1], [0.2; 4]);
        let quantized = crate::quantize(&g, &crate::CodebookOptions::default()).unwrap();
        let typo = Magnitude {
            exclude: vec!["fc2.weight".to_owned()],
            ..Magnitude::default()
        };
        for (name, graph, options, kind) in [
            (
                "fraction",
                &g,
                options(1.5, Scope::Global),
                ErrorKind::Option,
            ),
            (
                "fraction",
                &g,
                options(f64::NAN, Scope::Global),
                ErrorKind::Option,
            ),
            ("typo", &g, typo, ErrorKind::Name),
            ("nan", &nan, Magnitude::default(), ErrorKind::NotFinite),
            (
                "codebook",
                &quantized,
                Magnitude::default(),
                ErrorKind::Form,
            ),
        ] {
            let e = prune(graph, &options).unwrap_err();
            assert_eq!(e.kind(), kind, "{name}: {e}");
        }
        let e = prune(&nan, &Magnitude::default()).unwrap_err();
        assert_eq!(e.place(), Some("fc0.weight"));
    }

    #[test]
    fn rewinding_takes_values_and_keeps_masks() {
        let early = two_layers([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let late = two_layers([9.0, 0.1, 9.0, 0.1], [9.0, 9.0, 9.0, 9.0]);
        let pruned = prune(&late, &options(0.25, Scope::Global)).unwrap();
        let ticket = rewind(&pruned, &early).unwrap();
        assert_eq!(values(&ticket, "fc0.weight"), [1.0, 0.0, 3.0, 0.0]);
        assert_eq!(values(&ticket, "fc1.weight"), [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(Sparsity::of(&ticket), Sparsity::of(&pruned));
        // Values of a pruned graph are values too.
        assert_eq!(rewind(&pruned, &ticket).unwrap(), ticket);

        let other = mlp(&[2, 3, 2], |_| vec![1.0; 6], |l| vec![0.0; 3 - l]);
        assert_eq!(
            rewind(&pruned, &other).unwrap_err().kind(),
            ErrorKind::Structure
        );
    }

    /// The slow twin: sorts everything.
    fn reference_smallest(group: &[Candidate], fraction: f64) -> Vec<Candidate> {
        let mut sorted = group.to_vec();
        sorted.sort();
        sorted.truncate((fraction * group.len() as f64).round() as usize);
        sorted
    }

    proptest! {
        #[test]
        fn fraction_is_exact_and_masks_shrink(
            a in prop::collection::vec(-3i8..=3, 12),
            b in prop::collection::vec(-3i8..=3, 8),
            fraction in 0.0f64..=1.0,
            rounds in 1usize..5,
        ) {
            let of = |v: &[i8]| v.iter().map(|&x| f32::from(x)).collect::<Vec<f32>>();
            let mut g = mlp(&[3, 4, 2], |l| [of(&a), of(&b)][l].clone(), |l| vec![0.1; [4, 2][l]]);
            for _ in 0..rounds {
                let next = prune(&g, &options(fraction, Scope::Global)).unwrap();
                let before = Sparsity::of(&g).remaining();
                let gone = (fraction * before as f64).round() as usize;
                prop_assert_eq!(Sparsity::of(&next).remaining(), before - gone);
                for (p, q) in g.parameters().iter().zip(next.parameters()) {
                    if let (Weight::Masked(p), Weight::Masked(q)) = (&p.weight, &q.weight) {
                        prop_assert!(p.keep().iter().zip(q.keep()).all(|(&p, &q)| p || !q));
                    }
                }
                g = next;
            }
        }

        #[test]
        fn selection_agrees_with_sorting(
            magnitudes in prop::collection::vec(0u32..5, 0..40),
            fraction in 0.0f64..=1.0,
        ) {
            let group: Vec<Candidate> =
                magnitudes.iter().enumerate().map(|(i, &m)| (m, (i % 2) as u32, i)).collect();
            let mut shuffled = group.clone();
            shuffled.reverse();
            let mut fast = smallest(&mut shuffled, fraction).to_vec();
            fast.sort();
            prop_assert_eq!(fast, reference_smallest(&group, fraction));
        }
    }
}
