//! Softmax cross-entropy against class labels, fused with its gradient.
//!
//! The loss is in nats, as an optimizer wants it; whoever prints it divides by `ln 2`.

use crate::parallel;
use crate::simd::vectorize;
use crate::softmax::{exponentials, log_sum_exp};

/// Rows in one task.
const ROWS: usize = 128;

/// Mean over the rows of `-sum(t log softmax(x))`, in nats; 0 for an empty batch.
///
/// `logits: [n, c]`, `labels: [n]`. The target `t` gives `1 - smoothing` to the label and spreads
/// `smoothing` evenly over all `c` classes (Szegedy et al., 2016, section 7).
///
/// # Panics
/// If a slice does not have the length its shape says, or a label is not in `0..c`.
pub fn cross_entropy(n: usize, c: usize, logits: &[f32], labels: &[i64], smoothing: f32) -> f32 {
    check(n, c, logits, labels);
    if n == 0 {
        return 0.0;
    }
    let sums = parallel::map(n.div_ceil(ROWS), 8 * n * c, |i| {
        let rows = i * ROWS..n.min((i + 1) * ROWS);
        let logits = logits[rows.start * c..rows.end * c].chunks_exact(c);
        vectorize(
            #[inline(always)]
            || {
                let rows = logits.zip(&labels[rows]);
                rows.map(|(row, &label)| row_loss(row, label as usize, smoothing))
                    .sum::<f64>()
            },
        )
    });
    (sums.iter().sum::<f64>() / n as f64) as f32
}

#[inline(always)]
fn row_loss(row: &[f32], label: usize, smoothing: f32) -> f64 {
    let log_sum = f64::from(log_sum_exp(row));
    let mut picked = f64::from(row[label]) * (1.0 - f64::from(smoothing));
    if smoothing > 0.0 {
        picked += crate::reduce::sum(row) * f64::from(smoothing) / row.len() as f64;
    }
    log_sum - picked
}

/// Gradient of `scale` times [`cross_entropy`] with respect to the logits; overwrites `dlogits`.
///
/// `dlogits: [n, c]`, each row `scale / n * (softmax(x) - t)`.
///
/// # Panics
/// As [`cross_entropy`], and if `dlogits` is not as long as `logits`.
pub fn cross_entropy_grad(
    n: usize,
    c: usize,
    logits: &[f32],
    labels: &[i64],
    smoothing: f32,
    scale: f32,
    dlogits: &mut [f32],
) {
    check(n, c, logits, labels);
    assert_eq!(dlogits.len(), n * c, "dlogits must be [n, c]");
    if n == 0 {
        return;
    }
    let scale = scale / n as f32;
    let (everyone, label_too) = (scale * smoothing / c as f32, scale * (1.0 - smoothing));
    parallel::for_each_chunk(dlogits, ROWS * c, 8 * n * c, |i, dlogits| {
        let logits = logits[i * ROWS * c..].chunks_exact(c);
        let labels = &labels[i * ROWS..];
        vectorize(
            #[inline(always)]
            || {
                for ((dx, x), &label) in dlogits.chunks_exact_mut(c).zip(logits).zip(labels) {
                    let factor = (f64::from(scale) / exponentials(x, dx)) as f32;
                    dx.iter_mut().for_each(|dx| *dx = *dx * factor - everyone);
                    dx[label as usize] -= label_too;
                }
            },
        );
    });
}

fn check(n: usize, c: usize, logits: &[f32], labels: &[i64]) {
    assert_eq!(logits.len(), n * c, "logits must be [n, c]");
    assert_eq!(
        labels.len(),
        n,
        "there must be one label for each row of logits"
    );
    let known = labels
        .iter()
        .all(|label| usize::try_from(*label).is_ok_and(|label| label < c));
    assert!(known, "labels must be in 0..{c}");
}
