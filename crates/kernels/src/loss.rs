//! Softmax cross-entropy against class labels, fused with its gradient.
//!
//! The loss is in nats, as an optimizer wants it; whoever prints it divides by `ln 2`.

use crate::parallel;
use crate::simd::vectorize;
use crate::softmax::{exponentials, log_sum_exp};

/// Rows in one task.
const ROWS: usize = 32;

/// Cost of an element beside that of an addition: most rows are shorter than some vectors, so exponentials
/// come one by one.
const OPS_EACH: usize = 128;

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
    let sums = parallel::map(n.div_ceil(ROWS), OPS_EACH * n * c, |i| {
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
    parallel::for_each_chunk(dlogits, ROWS * c, OPS_EACH * n * c, |i, dlogits| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{numbers, same_on_any_pool};

    fn case(n: usize, c: usize) -> (Vec<f32>, Vec<i64>) {
        let logits = numbers(n * c, 1).iter().map(|x| x * 5.0).collect();
        (logits, (0..n).map(|i| (i * 7 % c) as i64).collect())
    }

    #[test]
    fn agrees_with_reference() {
        for (n, c) in [(1, 2), (37, 10), (128, 10), (1000, 101)] {
            let (logits, labels) = case(n, c);
            for smoothing in [0.0, 0.1, 1.0] {
                let name = format!("{n} {c} {smoothing}");
                let loss = same_on_any_pool(&name, || {
                    vec![cross_entropy(n, c, &logits, &labels, smoothing)]
                })[0];
                let expected = reference::cross_entropy(n, c, &logits, &labels, smoothing);
                assert!(
                    (f64::from(loss) - expected).abs() < 1e-6 * (1.0 + expected),
                    "{name}"
                );
            }
        }
        assert_eq!(cross_entropy(0, 3, &[], &[], 0.0), 0.0);
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let (n, c, scale) = (6, 5, 128.0);
        let (logits, labels) = case(n, c);
        for smoothing in [0.0, 0.1] {
            let mut gradient = vec![f32::NAN; n * c];
            cross_entropy_grad(n, c, &logits, &labels, smoothing, scale, &mut gradient);
            for i in 0..n * c {
                let at = |step: f32| {
                    let mut logits = logits.clone();
                    logits[i] += step;
                    let loss = reference::cross_entropy(n, c, &logits, &labels, smoothing);
                    (f64::from(logits[i]), loss)
                };
                let ((x0, loss0), (x1, loss1)) = (at(-1e-3), at(1e-3));
                let difference = f64::from(scale) * (loss1 - loss0) / (x1 - x0);
                let error = (f64::from(gradient[i]) - difference).abs();
                assert!(
                    error < 1e-4,
                    "element {i}: {} and {difference}",
                    gradient[i]
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "labels must be in 0..3")]
    fn refuses_unknown_labels() {
        cross_entropy(1, 3, &[0.0; 3], &[3], 0.0);
    }
}
