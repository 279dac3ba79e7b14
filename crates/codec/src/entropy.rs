//! The entropy of levels, for reports and tests; no coder uses it.

use std::collections::HashMap;

/// Order-0 entropy of the levels, in bits a level: what a coder needs that knows how often each
/// level occurs and nothing else. 0 if there are none.
pub fn entropy_order0(levels: &[i32]) -> f64 {
    let mut counts: HashMap<i32, u64> = HashMap::new();
    levels
        .iter()
        .for_each(|&level| *counts.entry(level).or_default() += 1);
    // Sorted, because a float sum depends on its order and a report must not.
    let mut counts: Vec<u64> = counts.into_values().collect();
    counts.sort_unstable();
    let n = levels.len() as f64;
    let bits = counts
        .iter()
        .map(|&count| count as f64 / n * (n / count as f64).log2())
        .sum::<f64>();
    bits.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let cases: [(&[i32], f64); 5] = [
            (&[], 0.0),
            (&[7, 7, 7], 0.0),
            (&[0, 1], 1.0),
            (&[i32::MIN, 0, 1, i32::MAX], 2.0),
            (&[0, 0, 0, 1], 0.811_278_124_459_132_8),
        ];
        for (levels, bits) in cases {
            assert!((entropy_order0(levels) - bits).abs() < 1e-12, "{levels:?}");
        }
    }
}
