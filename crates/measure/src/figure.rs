//! A figure as it is told: never a number alone, but the method, what the same method finds in labels
//! without a rule, and how far it is known.

use crate::null::{Permuted, moments};

/// Where a method comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// As published.
    Published,
    /// As printed by a product whose method was worked out from its figures.
    Compat,
    /// Own.
    Ours,
}

impl Origin {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Published => "published",
            Origin::Compat => "compat",
            Origin::Ours => "ours",
        }
    }
}

/// Two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower.
    pub low: f64,
    /// The upper.
    pub high: f64,
}

/// What a method found, beside what it finds in shuffled labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name of the method.
    pub method: &'static str,
    /// Where it comes from.
    pub origin: Origin,
    /// What is counted: `decisions`, `prototypes`, `bits`.
    pub unit: &'static str,
    /// The value, on the rows of `permuted`.
    pub value: f64,
    /// The same method with shuffled labels; none without draws.
    pub permuted: Option<Permuted>,
    /// 90 % interval of the ratio, from subsets of the rows; none where there are too few rows.
    pub interval: Option<Interval>,
}

impl Figure {
    /// Value over the mean of the shuffled ones: 1 is what labels without a rule give. None when
    /// there is nothing to compare with.
    pub fn ratio(&self) -> Option<f64> {
        self.permuted.as_ref().and_then(Permuted::ratio)
    }

    /// 90 % interval of the value itself.
    pub fn value_interval(&self) -> Option<Interval> {
        let mean = self.permuted.as_ref()?.mean;
        self.interval.map(|i| Interval {
            low: i.low * mean,
            high: i.high * mean,
        })
    }
}

/// 95 % quantile of Student's distribution with 1 to 30 degrees of freedom (tables), the normal one
/// beyond.
fn student(freedom: usize) -> f64 {
    const T: [f64; 30] = [
        6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771,
        1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706,
        1.703, 1.701, 1.699, 1.697,
    ];
    T.get(freedom.max(1) - 1).copied().unwrap_or(1.645)
}

/// 90 % interval of an estimate on all rows from the same estimate on subsets that hold the share
/// `fraction` of them, drawn without replacement: the point, and on either side the spread of the
/// subsets times `sqrt(fraction / (1 - fraction))` (the delete-d jackknife: Shao and Wu, "A general
/// theory for jackknife variance estimation", 1989). None with fewer than 3 subsets.
pub(crate) fn jackknife(point: f64, subsets: &[f64], fraction: f64) -> Option<Interval> {
    if subsets.len() < 3 {
        return None;
    }
    let (_, spread) = moments(subsets);
    let error = spread * (fraction / (1.0 - fraction)).sqrt();
    let reach = student(subsets.len() - 1) * error;
    Some(Interval {
        low: (point - reach).max(0.0),
        high: point + reach,
    })
}

/// 90 % interval of the mean over subsets as an estimate for other rows of the same kind: the spread
/// of subsets that share rows is too small by `sqrt(1 - fraction)`.
pub(crate) fn spread(subsets: &[f64], fraction: f64) -> Interval {
    let (mean, deviation) = moments(subsets);
    let error = deviation / (1.0 - fraction).sqrt();
    let reach = student(subsets.len().max(2) - 1) * error;
    Interval {
        low: (mean - reach).max(0.0),
        high: mean + reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{hash, sample};

    /// The interval of a mean from subsets is the one that theory gives for a mean.
    #[test]
    fn subsets_give_the_known_error_of_a_mean() {
        let n = 2000;
        let values: Vec<f64> = (0..n)
            .map(|i| (hash(3, i) % 1000) as f64 / 1000.0)
            .collect();
        let mean =
            |rows: &[usize]| rows.iter().map(|&r| values[r]).sum::<f64>() / rows.len() as f64;
        let subsets: Vec<f64> = (0..200)
            .map(|seed| mean(&sample(n as usize, n as usize * 2 / 5, seed)))
            .collect();
        let found = jackknife(mean(&(0..n as usize).collect::<Vec<_>>()), &subsets, 0.4).unwrap();
        // Uniform numbers have a deviation of 0.2887.
        let expected = 2.0 * 1.645 * 0.2887 / (n as f64).sqrt();
        let width = found.high - found.low;
        assert!((width / expected - 1.0).abs() < 0.15, "{width} {expected}");
        assert_eq!(jackknife(1.0, &[1.0, 2.0], 0.4), None);
    }

    #[test]
    fn a_figure_has_a_ratio_only_with_a_null() {
        let figure = Figure {
            method: "m",
            origin: Origin::Ours,
            unit: "decisions",
            value: 5.0,
            permuted: None,
            interval: None,
        };
        assert_eq!((figure.ratio(), figure.value_interval()), (None, None));
        let permuted = Permuted::of(10, 5.0, &[9.0, 11.0]);
        let interval = Some(Interval {
            low: 0.4,
            high: 0.6,
        });
        let figure = Figure {
            permuted,
            interval,
            ..figure
        };
        assert_eq!(figure.ratio(), Some(0.5));
        assert_eq!(figure.value_interval().unwrap().high, 6.0);
    }
}
