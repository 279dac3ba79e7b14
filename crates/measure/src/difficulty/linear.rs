//! How far a linear boundary goes: a support vector machine in pairs of classes.

use super::Sample;
use super::feature::score;
use crate::random::{Stream, hash};

/// Passes of the solver.
const PASSES: usize = 200;
/// Price of an error.
const C: f64 = 1.0;

/// L1, L2 and L3.
pub(super) fn l123(s: &Sample) -> [f64; 3] {
    s.pairs_of(|a, b| {
        let w = fit(s, a, b);
        let n = (a.len() + b.len()) as f64;
        let rows = || {
            a.iter()
                .map(|r| (*r, 1.0))
                .chain(b.iter().map(|r| (*r, -1.0)))
        };
        // By how much a row that is answered wrong misses its margin.
        let miss = |(row, y): (u32, f64)| {
            let margin = y * score(s, &w, row);
            if margin < 0.0 { 1.0 - margin } else { 0.0 }
        };
        let mean = rows().map(miss).sum::<f64>() / n;
        let wrong = rows().filter(|&(row, y)| y * score(s, &w, row) <= 0.0);
        let wrong = wrong.count() as f64;
        let mut stream = Stream::new(hash(s.seed, 31), u64::from(a[0]) << 32 | u64::from(b[0]));
        let between = between(s, &w, a, 1.0, &mut stream) + between(s, &w, b, -1.0, &mut stream);
        [mean / (1.0 + mean), wrong / n, between as f64 / n]
    })
}

/// Of as many points between two rows of a class as it has rows, those that are answered wrong.
fn between(s: &Sample, w: &[f64], rows: &[u32], sign: f64, stream: &mut Stream) -> usize {
    let draws = (0..rows.len()).filter(|_| {
        let (p, q) = (
            rows[stream.below(rows.len())],
            rows[stream.below(rows.len())],
        );
        let share = stream.below(1 << 20) as f64 / f64::from(1 << 20);
        sign * (share * score(s, w, p) + (1.0 - share) * score(s, w, q)) <= 0.0
    });
    draws.count()
}

/// Bias and weights of a machine that puts `a` above 0, by dual coordinate descent (Hsieh et al., "A
/// dual coordinate descent method for large-scale linear SVM", 2008).
fn fit(s: &Sample, a: &[u32], b: &[u32]) -> Vec<f64> {
    let rows: Vec<(u32, f64)> = a
        .iter()
        .map(|&r| (r, 1.0))
        .chain(b.iter().map(|&r| (r, -1.0)))
        .collect();
    let norm = |row: u32| {
        let x = s.features.row(row as usize);
        1.0 + x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()
    };
    let norms: Vec<f64> = rows.iter().map(|r| norm(r.0)).collect();
    let mut w = vec![0.0; s.features.d + 1];
    let mut alpha = vec![0.0f64; rows.len()];
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut stream = Stream::new(hash(s.seed, 30), u64::from(a[0]) << 32 | u64::from(b[0]));
    for _ in 0..PASSES {
        stream.shuffle(&mut order);
        let mut moved = 0.0f64;
        for &i in &order {
            let (row, y) = rows[i];
            let gradient = y * score(s, &w, row) - 1.0;
            let next = (alpha[i] - gradient / norms[i]).clamp(0.0, C);
            let step = (next - alpha[i]) * y;
            alpha[i] = next;
            moved = moved.max(step.abs());
            if step != 0.0 {
                w[0] += step;
                let x = s.features.row(row as usize);
                w[1..]
                    .iter_mut()
                    .zip(x)
                    .for_each(|(w, &x)| *w += step * f64::from(x));
            }
        }
        if moved < 1e-4 {
            break;
        }
    }
    w
}
