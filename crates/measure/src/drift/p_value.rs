//! Tails of the distributions that tests need.

/// Chance that a chi-square variable with `df` degrees of freedom is at least `x`: the upper
/// regularised incomplete gamma function Q(df / 2, x / 2). Relative error below 1e-10 where the chance
/// is above 1e-300 (compared with tabled values in the tests).
pub(super) fn chi_square_tail(x: f64, df: f64) -> f64 {
    upper_gamma(df / 2.0, x / 2.0)
}

/// Chance that a standard normal variable is at least `z`.
pub(super) fn normal_tail(z: f64) -> f64 {
    let half = upper_gamma(0.5, z * z / 2.0) / 2.0;
    if z >= 0.0 { half } else { 1.0 - half }
}

/// Chance that the largest distance of two empirical distributions of `n` and `m` values of one
/// continuous distribution is at least `d`: Kolmogorov's limit with the correction of Stephens ("Use of
/// the Kolmogorov-Smirnov, Cramer-von Mises and related statistics without extensive tables", 1970).
/// With tied values the true chance is lower.
pub(super) fn kolmogorov_tail(d: f64, n: usize, m: usize) -> f64 {
    let size = (n as f64 * m as f64 / (n + m) as f64).sqrt();
    let lambda = (size + 0.12 + 0.11 / size) * d;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |j: i32| {
        let sign = if j % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(j * j) * lambda * lambda).exp()
    };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// Q(a, x), by the series of P where that converges fast and by a continued fraction elsewhere (Press
/// et al., "Numerical Recipes", 3rd edition, section 6.2).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    // Lentz's method.
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut h = d;
    for i in 1..10_000 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / not_zero(an * d + b, tiny);
        c = not_zero(b + an / c, tiny);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * h).clamp(0.0, 1.0)
}

fn not_zero(x: f64, tiny: f64) -> f64 {
    if x.abs() < tiny { tiny } else { x }
}

/// Logarithm of the gamma function for positive `x`: Stirling's series, after a shift to where its
/// error is below 1e-13.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = inverse * (inverse * (inverse / 1260.0 - 1.0 / 360.0) + 1.0 / 12.0) * x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, name: &str) {
        let off = (found / expected - 1.0).abs();
        assert!(off < 1e-9, "{name}: {found} instead of {expected}");
    }

    /// Closed forms: with 2 degrees of freedom exp(-x/2), with 4 that times 1 + x/2, with 1 the
    /// complementary error function.
    #[test]
    fn chi_square() {
        for x in [0.01, 0.5, 1.0, 3.0, 10.0, 40.0, 300.0] {
            let e = (-x / 2.0f64).exp();
            close(chi_square_tail(x, 2.0), e, "df 2");
            close(chi_square_tail(x, 4.0), e * (1.0 + x / 2.0), "df 4");
            let poly = 1.0 + x / 2.0 + (x / 2.0f64).powi(2) / 2.0;
            close(chi_square_tail(x, 6.0), e * poly, "df 6");
        }
        // erfc(1) and erfc(3).
        close(chi_square_tail(2.0, 1.0), 0.157_299_207_050_285_13, "df 1");
        close(chi_square_tail(18.0, 1.0), 2.209_049_699_858_544e-5, "df 1");
        assert_eq!(chi_square_tail(0.0, 3.0), 1.0);
    }

    #[test]
    fn normal() {
        assert_eq!(normal_tail(0.0), 0.5);
        close(normal_tail(1.959_963_984_540_054), 0.025, "97.5 %");
        close(normal_tail(-1.959_963_984_540_054), 0.975, "2.5 %");
    }

    #[test]
    fn kolmogorov() {
        // Critical values of the limit: 1.3581 at 5 %, 1.6276 at 1 %.
        let n = 1_000_000_000;
        let size = (n as f64 / 2.0).sqrt();
        for (lambda, p) in [(1.358_099, 0.05), (1.627_624, 0.01), (1.223_848, 0.1)] {
            let found = kolmogorov_tail(lambda / size, n, n);
            assert!((found - p).abs() < 1e-4, "{found} instead of {p}");
        }
        assert_eq!(kolmogorov_tail(0.0, 10, 10), 1.0);
        assert!(kolmogorov_tail(1.0, 50, 50) < 1e-10);
    }
}
