//! Layer normalisation (Ba, Kiros, Hinton 2016): rows of mean 0 and variance 1, scaled and shifted.

use crate::parallel;
use crate::reduce::{sum, sum_by};
use crate::simd::vectorize;

/// What is done with a row `x` of `c` values: `(x - mean) / sqrt(variance + epsilon) gamma + beta`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Factors, `[c]`.
    pub gamma: &'a [f32],
    /// What is added last, `[c]`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether to multiply by the reciprocal of the root rather than to divide by the root; the last
    /// bits differ.
    pub reciprocal: bool,
}

/// Elements in one task.
const CHUNK: usize = 1 << 13;

/// Cost of an element beside that of an addition.
const OPS_EACH: usize = 8;

/// Normalises each row of `x: [rows, c]`, after adding `added: [rows, c]` where there is one.
///
/// Every value is rounded as if sum, mean, difference, square, its mean, root, quotient, product and sum
/// were taken one after the other.
///
/// # Panics
/// If a slice does not have the length its shape says.
pub fn layer_norm(norm: LayerNorm, x: &[f32], added: Option<&[f32]>, y: &mut [f32]) {
    let c = norm.gamma.len();
    assert_eq!(
        norm.beta.len(),
        c,
        "one factor and one summand for each value"
    );
    assert!(
        x.len() == y.len() && added.is_none_or(|a| a.len() == y.len()),
        "rows are normalised to rows of one length"
    );
    if y.is_empty() {
        return;
    }
    assert!(y.len().is_multiple_of(c), "whole rows are normalised");
    let rows = (CHUNK / c).max(1);
    parallel::for_each_chunk(y, rows * c, OPS_EACH * x.len(), |i, y| {
        let part = i * rows * c..i * rows * c + y.len();
        let (x, added) = (&x[part.clone()], added.map(|a| &a[part]));
        vectorize(
            #[inline(always)]
            || {
                for (j, y) in y.chunks_exact_mut(c).enumerate() {
                    let here = j * c..(j + 1) * c;
                    row(&norm, &x[here.clone()], added.map(|a| &a[here]), y);
                }
            },
        );
    });
}

#[inline(always)]
fn row(norm: &LayerNorm, x: &[f32], added: Option<&[f32]>, y: &mut [f32]) {
    match added {
        Some(a) => y
            .iter_mut()
            .zip(x.iter().zip(a))
            .for_each(|(y, (x, a))| *y = x + a),
        None => y.copy_from_slice(x),
    }
    let share = 1.0 / y.len() as f32;
    let mean = sum(y) as f32 * share;
    y.iter_mut().for_each(|y| *y -= mean);
    let squares = sum_by(
        y.len(),
        #[inline(always)]
        |i| y[i] * y[i],
    );
    let root = (squares as f32 * share + norm.epsilon).sqrt();
    let scaled = norm.gamma.iter().zip(norm.beta);
    if norm.reciprocal {
        let factor = 1.0 / root;
        let pairs = y.iter_mut().zip(scaled);
        pairs.for_each(|(y, (gamma, beta))| *y = *y * factor * gamma + beta);
    } else {
        let pairs = y.iter_mut().zip(scaled);
        pairs.for_each(|(y, (gamma, beta))| *y = *y / root * gamma + beta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};

    #[test]
    fn agrees_with_reference() {
        for (rows, c) in [
            (1, 1),
            (3, 2),
            (5, 17),
            (128, 256),
            (700, 33),
            (2, 9001),
            (0, 4),
        ] {
            let (x, a) = (numbers(rows * c, 1), numbers(rows * c, 2));
            let (gamma, beta) = (numbers(c, 3), numbers(c, 4));
            for (added, reciprocal) in [(None, false), (Some(&a[..]), true), (Some(&a[..]), false)]
            {
                let norm = LayerNorm {
                    gamma: &gamma,
                    beta: &beta,
                    epsilon: 1e-5,
                    reciprocal,
                };
                let name = format!("{rows} rows of {c}");
                let y = same_on_any_pool(&name, || {
                    let mut y = vec![f32::NAN; rows * c];
                    layer_norm(norm, &x, added, &mut y);
                    y
                });
                let mut expected = vec![0.0; rows * c];
                reference::layer_norm(norm, &x, added, &mut expected);
                // One value alone is zero but for the rounding of its mean.
                assert_close(&name, &y, &expected, 4.0 * tolerance(c));
            }
        }
    }

    #[test]
    #[should_panic(expected = "whole rows are normalised")]
    fn refuses_half_a_row() {
        let norm = LayerNorm {
            gamma: &[1.0; 4],
            beta: &[0.0; 4],
            epsilon: 0.0,
            reciprocal: false,
        };
        layer_norm(norm, &[0.0; 6], None, &mut [0.0; 6]);
    }
}
