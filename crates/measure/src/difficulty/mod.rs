//! Measures of how difficult a classification is, under the names the field uses (Ho and Basu,
//! "Complexity measures of supervised classification problems", 2002; Lorena et al., "How complex is
//! your classification problem?", 2019).
//!
//! All lie in [0, 1], higher is harder. Distances are Euclidean over standardised features, those of the
//! network measures Gower's. More than two classes are compared in pairs, at most the 12 largest. All
//! are made on a sample, for most take the square of the rows.

mod feature;
mod linear;
mod neighbourhood;
mod network;
mod shape;

use rayon::prelude::*;

use crate::features::Features;
use crate::figure::{Interval, jackknife};
use crate::method::subset;
use crate::neighbour::squared_distances;
use crate::parallel::{map, map_of};
use crate::problem::Problem;
use crate::random::sample;
use bantam_core::order::sort_by_key;

/// Most rows of the sample.
const MOST_ROWS: usize = 1_000;
/// Most classes that are compared in pairs.
const MOST_CLASSES: usize = 12;
/// Subsets for the intervals, and their share of the rows.
const SUBSETS: usize = 10;
const SHARE: f64 = 0.4;

/// One measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Difficulty {
    /// Its name in the field: `F1`, `N3`, ...
    pub name: &'static str,
    /// What it measures.
    pub meaning: &'static str,
    /// Its value, from 0 for easy to 1 for hard.
    pub value: f64,
    /// 90 % interval from subsets of the rows.
    pub interval: Option<Interval>,
}

/// Names and meanings, in the order of [`values`].
const NAMES: [(&str, &str); 22] = [
    ("F1", "overlap of the best single feature (Fisher's ratio)"),
    ("F1v", "overlap along the best direction"),
    ("F2", "volume in which classes overlap"),
    (
        "F3",
        "rows that the best single feature leaves in the overlap",
    ),
    (
        "F4",
        "rows that all features one after the other leave in the overlap",
    ),
    ("L1", "distance of errors from a linear boundary"),
    ("L2", "error of a linear boundary"),
    (
        "L3",
        "error of a linear boundary on points between rows of a class",
    ),
    ("N1", "rows at the border, by the minimum spanning tree"),
    ("N2", "distances inside classes against those between"),
    ("N3", "error of the nearest neighbour"),
    (
        "N4",
        "error of the nearest neighbour on points between rows of a class",
    ),
    ("T1", "spheres that cover the rows, a row"),
    ("LSC", "rows farther away than the nearest of another class"),
    (
        "Density",
        "pairs of rows that are not near and of one class",
    ),
    (
        "ClsCoef",
        "neighbours that are not neighbours of each other",
    ),
    ("Hubs", "rows that are not tied to well tied ones"),
    ("T2", "features a row"),
    ("T3", "principal components for 95 % of the variance, a row"),
    (
        "T4",
        "principal components for 95 % of the variance, a feature",
    ),
    (
        "C1",
        "1 less the entropy of the classes, relative to even ones",
    ),
    ("C2", "imbalance of the classes"),
];

/// Rows and labels as the measures see them.
struct Sample<'a> {
    problem: &'a Problem,
    features: Features,
    labels: &'a [u32],
    /// Rows of each class that occurs, the largest classes first.
    classes: Vec<Vec<u32>>,
    /// Euclidean distances `[n, n]`.
    distances: Vec<f32>,
    seed: u64,
}

impl Sample<'_> {
    fn new(problem: &Problem, seed: u64) -> Sample<'_> {
        let features = Features::of(problem);
        let mut classes: Vec<Vec<u32>> = vec![Vec::new(); problem.classes.len()];
        for (row, &label) in problem.labels.iter().enumerate() {
            classes[label as usize].push(row as u32);
        }
        classes.retain(|c| !c.is_empty());
        sort_by_key(&mut classes, |c| std::cmp::Reverse(c.len()));
        let mut distances = squared_distances(&features);
        distances.par_iter_mut().for_each(|d| *d = d.sqrt());
        Sample {
            problem,
            labels: &problem.labels,
            classes,
            distances,
            features,
            seed,
        }
    }

    fn n(&self) -> usize {
        self.labels.len()
    }

    fn from(&self, row: usize) -> &[f32] {
        &self.distances[row * self.n()..(row + 1) * self.n()]
    }

    /// The mean of a measure over all pairs of classes.
    fn pairs(&self, measure: impl Fn(&[u32], &[u32]) -> f64 + Sync) -> f64 {
        self.pairs_of(|a, b| [measure(a, b)])[0]
    }

    /// The means of several.
    fn pairs_of<const N: usize>(
        &self,
        measures: impl Fn(&[u32], &[u32]) -> [f64; N] + Sync,
    ) -> [f64; N] {
        let shown = &self.classes[..self.classes.len().min(MOST_CLASSES)];
        let pairs: Vec<(usize, usize)> = (0..shown.len())
            .flat_map(|a| (a + 1..shown.len()).map(move |b| (a, b)))
            .collect();
        let values: Vec<[f64; N]> = map_of(&pairs, |&(a, b)| measures(&shown[a], &shown[b]));
        let mean = |i: usize| values.iter().map(|v| v[i]).sum::<f64>() / values.len().max(1) as f64;
        std::array::from_fn(mean)
    }
}

/// All measures of a problem and the rows they were made on; empty with one class, without features or
/// with fewer than 10 rows.
pub(crate) fn difficulty(problem: &Problem, seed: u64) -> (Vec<Difficulty>, usize) {
    let rows = sample(problem.rows(), MOST_ROWS, seed);
    let problem = problem.bare(&rows);
    let Some(found) = values(&problem, seed) else {
        return (Vec::new(), rows.len());
    };
    let all: Vec<usize> = (0..rows.len()).collect();
    let part = |i: usize| values(&problem.bare(&subset(&all, seed, i, SHARE)), seed);
    let parts: Vec<[f64; 22]> = map(SUBSETS, part).into_iter().flatten().collect();
    let one = |(i, (name, meaning)): (usize, &(&'static str, &'static str))| {
        let subsets: Vec<f64> = parts.iter().map(|p| p[i]).collect();
        let interval = jackknife(found[i], &subsets, SHARE);
        Difficulty {
            name,
            meaning,
            value: found[i],
            interval: interval.map(|i| Interval {
                low: i.low,
                high: i.high.min(1.0),
            }),
        }
    };
    (NAMES.iter().enumerate().map(one).collect(), rows.len())
}

fn values(problem: &Problem, seed: u64) -> Option<[f64; 22]> {
    if problem.rows() < 10 {
        return None;
    }
    let s = Sample::new(problem, seed);
    if s.classes.len() < 2 || s.features.d == 0 {
        return None;
    }
    let (f1, f1v) = (feature::f1(&s), feature::f1v(&s));
    let (f2, f3, f4) = (feature::f2(&s), feature::f3(&s), feature::f4(&s));
    let [l1, l2, l3] = linear::l123(&s);
    let [n1, n2, n3, n4, t1, lsc] = neighbourhood::all(&s);
    let [density, clustering, hubs] = network::all(&s);
    let [t2, t3, t4, c1, c2] = shape::all(&s);
    Some([
        f1, f1v, f2, f3, f4, l1, l2, l3, n1, n2, n3, n4, t1, lsc, density, clustering, hubs, t2,
        t3, t4, c1, c2,
    ])
}

#[cfg(test)]
mod tests;
