//! One number for how much structure the labels have: the least of all methods, each relative to its
//! own null, and that least relative to the least of shuffled labels.
//!
//! Taking the least of several figures favours what happens to be low. So the labels are shuffled, all
//! methods see the same shuffles, and the least of each shuffle is taken in the same way: its mean is
//! where the headline is 1.

use crate::figure::{Figure, Interval, jackknife};
use crate::method::{Draws, Method, SUBSET, Weighed};
use crate::null::{Permuted, moments, quantile};
use crate::problem::Problem;

/// Evidence asks for a least that is below that of every shuffle, by this many of their deviations:
/// with 20 shuffles, one set of labels without a rule in some 250 is mistaken.
const DEVIATIONS: f64 = 3.0;

/// The least normalised capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    /// The least of the methods' ratios over the mean least of shuffled labels: 1 is no rule, 0 a rule
    /// that costs nothing.
    pub rho: f64,
    /// 90 % interval of it.
    pub interval: Option<Interval>,
    /// Name of the method that was least.
    pub method: &'static str,
    /// The least of shuffled labels, each draw with all methods.
    pub null: Permuted,
    /// Share of draws, this one counted, that are as low.
    pub p: f64,
    /// Whether there is evidence of structure.
    pub structure: bool,
}

/// Weighs all methods and takes the least; None when there is nothing to compare, such as one class.
pub(crate) fn headline(
    methods: &[Method],
    problem: &Problem,
    draws: Draws,
) -> (Vec<Figure>, Option<Headline>) {
    let weighed: Vec<Weighed> = methods.iter().map(|m| m.weigh(problem, draws)).collect();
    let one_class = problem.class_counts().iter().filter(|c| **c > 0).count() < 2;
    let headline = match one_class {
        true => None,
        false => least(&weighed, draws.permutations),
    };
    (weighed.into_iter().map(|w| w.figure).collect(), headline)
}

fn least(weighed: &[Weighed], draws: usize) -> Option<Headline> {
    let usable: Vec<&Weighed> = weighed
        .iter()
        .filter(|w| w.figure.ratio().is_some())
        .collect();
    let ratio = |w: &Weighed| w.figure.ratio().unwrap_or(1.0);
    let best = usable.iter().min_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
    let least_of = |values: &dyn Fn(&Weighed) -> Option<f64>| {
        let all = usable.iter().filter_map(|w| values(w));
        all.fold(f64::INFINITY, f64::min)
    };
    let nulls: Vec<f64> = (0..draws)
        .map(|i| least_of(&|w| w.shuffles.get(i).copied()))
        .collect();
    let (mean, _) = moments(&nulls);
    if mean <= 0.0 {
        return None;
    }
    let scaled: Vec<f64> = nulls.iter().map(|v| v / mean).collect();
    let rho = ratio(best) / mean;
    let n_subsets = usable.iter().map(|w| w.subsets.len()).max().unwrap_or(0);
    let subsets: Vec<f64> = (0..n_subsets)
        .map(|i| least_of(&|w| w.subsets.get(i).copied()) / mean)
        .collect();
    let null = Permuted::of(best.figure.permuted.as_ref()?.rows, rho, &scaled)?;
    let as_low = scaled.iter().filter(|&&v| v <= rho).count();
    let lowest = quantile(&sorted(&scaled), 0.0);
    Some(Headline {
        rho,
        interval: jackknife(rho, &subsets, SUBSET),
        method: best.figure.method,
        p: (as_low + 1) as f64 / (draws + 1) as f64,
        structure: rho < lowest && rho < null.mean - DEVIATIONS * null.deviation,
        null,
    })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values
}
