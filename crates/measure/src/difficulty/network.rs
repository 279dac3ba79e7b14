//! The network of rows that are near each other (Gower's distance up to 0.15) and of one class.

use bantam_data::Values;

use super::Sample;

/// Rows nearer than this are joined.
const NEAR: f32 = 0.15;

/// Density, clustering coefficient and hubs, each as 1 less the usual.
pub(super) fn all(s: &Sample) -> [f64; 3] {
    let edges = edges(s);
    let n = s.n();
    let degree: Vec<usize> = edges.iter().map(Vec::len).collect();
    let pairs = (n * (n - 1)) as f64;
    let density = 1.0 - degree.iter().sum::<usize>() as f64 / pairs;
    [density, 1.0 - clustering(&edges, n), 1.0 - hubs(&edges)]
}

/// Neighbours of each row, ascending.
fn edges(s: &Sample) -> Vec<Vec<u32>> {
    let n = s.n();
    let columns = &s.problem.columns;
    let mut distances = vec![0f32; n * n];
    for column in columns {
        add(
            &column.values,
            &mut distances,
            n,
            1.0 / columns.len() as f32,
        );
    }
    let near = |row: usize| {
        let of = |other: &usize| {
            *other != row && s.labels[*other] == s.labels[row] && distances[row * n + other] < NEAR
        };
        (0..n).filter(of).map(|o| o as u32).collect()
    };
    (0..n).map(near).collect()
}

/// Adds a column's distances: of numbers relative to their range, of categories 0 or 1; missing cells
/// are 1 from all others.
fn add(values: &Values, distances: &mut [f32], n: usize, weight: f32) {
    match values {
        Values::Numeric(v) => {
            let there = v.iter().copied().filter(|x| !x.is_nan());
            let (low, high) = there.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| {
                (l.min(x), h.max(x))
            });
            let range = (high / 2.0 - low / 2.0).max(f64::MIN_POSITIVE);
            let scaled: Vec<f32> = v
                .iter()
                .map(|x| ((x / 2.0 - low / 2.0) / range) as f32)
                .collect();
            for a in 0..n {
                for b in 0..n {
                    let d = (scaled[a] - scaled[b]).abs();
                    let d = match (scaled[a].is_nan(), scaled[b].is_nan()) {
                        (false, false) => d,
                        (true, true) => 0.0,
                        _ => 1.0,
                    };
                    distances[a * n + b] += weight * d;
                }
            }
        }
        Values::Categorical { codes, .. } => {
            for a in 0..n {
                for b in 0..n {
                    distances[a * n + b] += weight * f32::from(u8::from(codes[a] != codes[b]));
                }
            }
        }
    }
}

fn clustering(edges: &[Vec<u32>], n: usize) -> f64 {
    let mut marked = vec![false; n];
    let mut sum = 0.0;
    for near in edges.iter().filter(|e| e.len() > 1) {
        near.iter().for_each(|&r| marked[r as usize] = true);
        let inner: usize = near
            .iter()
            .map(|&r| {
                edges[r as usize]
                    .iter()
                    .filter(|o| marked[**o as usize])
                    .count()
            })
            .sum();
        sum += inner as f64 / (near.len() * (near.len() - 1)) as f64;
        near.iter().for_each(|&r| marked[r as usize] = false);
    }
    sum / n as f64
}

/// Mean of the hub scores (Kleinberg), the greatest being 1; 0 without edges.
fn hubs(edges: &[Vec<u32>]) -> f64 {
    let n = edges.len();
    let mut score = vec![1.0f64; n];
    for _ in 0..100 {
        let step = |from: &[f64]| -> Vec<f64> {
            edges
                .iter()
                .map(|e| e.iter().map(|&o| from[o as usize]).sum())
                .collect()
        };
        let next = step(&step(&score));
        let most = next.iter().copied().fold(0.0, f64::max);
        if most == 0.0 {
            return 0.0;
        }
        score = next.into_iter().map(|x| x / most).collect();
    }
    score.iter().sum::<f64>() / n as f64
}
