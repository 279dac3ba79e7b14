//! Information of labels, and the closed formulas that turn a capacity into figures people know.
//!
//! `n` rows, `p_c` class shares, `H = -sum p_c log2 p_c` bits a row.

/// Bits a row of labels with these class counts: `H`. 0 for no rows or one class.
pub fn entropy_bits(counts: &[usize]) -> f64 {
    let n: usize = counts.iter().sum();
    let share = |c: usize| c as f64 / n as f64;
    let terms = counts.iter().filter(|&&c| c > 0);
    terms
        .map(|&c| -share(c) * share(c).log2())
        .sum::<f64>()
        .max(0.0)
}

/// Label changes that `n` rows in a random order have, to within one: `n (1 - sum p_c^2)`.
pub fn null_changes(counts: &[usize]) -> f64 {
    let n: usize = counts.iter().sum();
    if n == 0 {
        return 0.0;
    }
    let squares: f64 = counts.iter().map(|&c| (c as f64).powi(2)).sum();
    n as f64 - squares / n as f64
}

/// Bits of a table that stores a class for each of `distinct` rows: `distinct log2(classes)`.
pub fn table_bits(distinct: usize, classes: usize) -> f64 {
    distinct as f64 * (classes.max(1) as f64).log2()
}

/// Bits of any function from `inputs` bits to one of `outputs` values: `2^inputs log2(outputs)`.
pub fn function_bits(inputs: u32, outputs: usize) -> f64 {
    2f64.powi(inputs as i32) * (outputs.max(1) as f64).log2()
}

/// Bits that say which `wrong` of `n` rows are exceptions and what class they have instead:
/// `n H(wrong / n) + wrong log2(classes - 1)`. With these, counts that answer more or fewer rows compare.
pub fn exception_bits(wrong: usize, n: usize, classes: usize) -> f64 {
    let which = n as f64 * entropy_bits(&[wrong, n - wrong]);
    which + wrong as f64 * (classes.max(2) as f64 - 1.0).log2()
}

/// Bits of one order of `n` things: `log2 n!`; above 1000 by Stirling's series, to 1e-12 of it.
pub fn order_bits(n: u64) -> f64 {
    if n <= 1000 {
        return (2..=n).map(|i| (i as f64).log2()).sum();
    }
    let x = n as f64;
    let nats = x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + 1.0 / (12.0 * x);
    nats / std::f64::consts::LN_2
}

/// Generalisation in bits a bit, `correct H / capacity`; at most 1 means that a lookup table would
/// do as well. None when the capacity is 0. `compat`: one `H` for all rows.
pub fn generalization(correct: usize, entropy_bits: f64, capacity_bits: f64) -> Option<f64> {
    (capacity_bits > 0.0).then(|| correct as f64 * entropy_bits / capacity_bits)
}

/// Share of the data memorised, `capacity / (correct (1 - sum p_c^2))`; can exceed 1. None when
/// there is one class or nothing is correct. `compat`.
pub fn memorised(correct: usize, counts: &[usize], capacity_bits: f64) -> Option<f64> {
    let n: usize = counts.iter().sum();
    let divisor = correct as f64 * null_changes(counts) / n.max(1) as f64;
    (divisor > 0.0).then(|| capacity_bits / divisor)
}

/// `-log10(correct / capacity)`, which is printed elsewhere as decibels, though it is a plain
/// logarithm. None when either is 0. `compat`.
pub fn resilience(correct: usize, capacity_bits: f64) -> Option<f64> {
    (correct > 0 && capacity_bits > 0.0).then(|| -(correct as f64 / capacity_bits).log10())
}

/// Labelings of `points` points in general position that one linear threshold of `weights` weights
/// (the bias is one of them) can realise: `2 sum_{i < weights} C(points - 1, i)` (Cover, 1965).
/// None when it exceeds 128 bits.
pub fn separable_labelings(points: u32, weights: u32) -> Option<u128> {
    if points == 0 {
        return Some(1);
    }
    let mut binomial: u128 = 1;
    let mut sum: u128 = 0;
    for i in 0..u128::from(weights.min(points)) {
        sum = sum.checked_add(binomial)?;
        binomial = binomial.checked_mul(u128::from(points) - 1 - i)? / (i + 1);
    }
    sum.checked_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let cases = [
            ("800 passengers", [492, 308], 0.961_497, 384.598_780, 378.84),
            ("891 passengers", [549, 342], 0.960_708, 427.995, 421.4545),
        ];
        for (name, counts, h, guess, null) in cases {
            let n: usize = counts.iter().sum();
            let found = entropy_bits(&counts);
            assert!((found - h).abs() < 5e-7, "{name}: {found}");
            let half = n as f64 * found / 2.0;
            assert!((half - guess).abs() < 5e-4, "{name}: {half}");
            assert!((null_changes(&counts) - null).abs() < 5e-5, "{name}");
        }
        for (name, counts) in [
            ("none", &[][..]),
            ("empty", &[0, 0]),
            ("one class", &[7, 0]),
        ] {
            assert_eq!(entropy_bits(counts), 0.0, "{name}");
            assert_eq!(null_changes(counts), 0.0, "{name}");
        }
    }

    #[test]
    fn lookup_and_functions() {
        assert_eq!(table_bits(8, 2), 8.0);
        assert_eq!(table_bits(8, 1), 0.0);
        assert_eq!(function_bits(2, 2), 4.0);
        assert_eq!(function_bits(10, 2), 1024.0);
        assert_eq!(exception_bits(0, 100, 2), 0.0);
        assert_eq!(exception_bits(50, 100, 2), 100.0);
        assert_eq!(exception_bits(50, 100, 3), 150.0);
    }

    #[test]
    fn orders_go_on_smoothly() {
        let step = order_bits(1001) - order_bits(1000);
        assert!((step - 1001f64.log2()).abs() < 1e-7, "{step}");
    }

    /// The catalogue of the talk.
    #[test]
    fn catalogue() {
        let cases = [
            ("orders of filling nine squares", order_bits(9), 18.469_133),
            ("games of it that end", 255_168f64.log2(), 17.961_088),
            ("its squares as digits", 9.0 * table_bits(1, 3), 14.264_663),
            ("its legal positions", 5_478f64.log2(), 12.419_434),
            ("chess, 10^120 games", 120.0 * 10f64.log2(), 398.631_371),
            (
                "10 of 171,476 words",
                10.0 * table_bits(1, 171_476),
                173.876_471,
            ),
            ("bases of a genome", 3.075e9 * table_bits(1, 4), 6.15e9),
            ("functions of 2 bits", function_bits(2, 2), 4.0),
            ("functions of 10 bits", function_bits(10, 2), 1024.0),
        ];
        for (name, found, expected) in cases {
            assert!((found / expected - 1.0).abs() < 5e-7, "{name}: {found}");
        }
    }

    /// Published figures; cancer and the synthetic table give rows and shares only through them.
    #[test]
    fn closed_formulas_on_titanic() {
        let counts = [549, 342];
        let h = entropy_bits(&counts);
        let cases = [
            (419.0, 891, 2.043, 99.42),
            (224.0, 856, 3.671, 55.32),
            (1.0, 721, 692.67, 0.29),
        ];
        for (capacity, correct, g, percent) in cases {
            let found = generalization(correct, h, capacity).unwrap();
            assert!((found - g).abs() < 5e-4 * g, "{capacity}: {found}");
            let found = 100.0 * memorised(correct, &counts, capacity).unwrap();
            assert!((found - percent).abs() < 5e-3, "{capacity}: {found}");
        }
        let adult = resilience(20_655, 118.0).unwrap();
        assert!((adult + 2.24).abs() < 5e-3, "{adult}");
        let forest = resilience(416, 41.0).unwrap();
        assert!((forest + 1.01).abs() < 5e-3, "{forest}");
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(generalization(10, 1.0, 0.0), None);
        assert_eq!(memorised(0, &[5, 5], 1.0), None);
        assert_eq!(memorised(5, &[5], 1.0), None);
        assert_eq!(memorised(0, &[], 1.0), None);
        assert_eq!(resilience(0, 1.0), None);
    }

    #[test]
    fn counting() {
        for (points, weights, expected) in [(3, 3, 8), (4, 3, 14), (5, 3, 22), (0, 3, 1), (1, 5, 2)]
        {
            assert_eq!(separable_labelings(points, weights), Some(expected));
        }
        for weights in [1, 3, 10] {
            let half = 1u128 << (2 * weights - 1);
            assert_eq!(separable_labelings(2 * weights, weights), Some(half));
        }
        assert_eq!(separable_labelings(1000, 500), None);
    }
}
