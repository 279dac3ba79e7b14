//! Scales of the plots: from values to places, with ticks at round numbers.
//!
//! A scale can always be built: values that are not finite are left out, no values give 0 to 1, equal
//! values get room on both sides.

use super::text::{digits, fixed, percent, size_of};

/// What the numbers along an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Numbers without a unit, or with the one the label names.
    Plain,
    /// Whole numbers, such as epochs.
    Whole,
    /// Shares between 0 and 1, shown as per cent.
    Share,
    /// Bytes.
    Bytes,
}

/// A map from values to places on the page.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    log: bool,
    unit: Unit,
    step: f64,
}

/// Whether a value can be drawn: a number, and not so large that differences overflow.
pub(super) fn drawable(value: f64, log: bool) -> bool {
    value.is_finite() && value.abs() < 1e100 && (!log || value > 1e-100)
}

impl Scale {
    /// A scale for the values, from place `start` to place `end`, with about `n_ticks` ticks.
    pub fn new(
        values: impl Iterator<Item = f64>,
        unit: Unit,
        log: bool,
        (start, end): (f64, f64),
        n_ticks: usize,
    ) -> Scale {
        let (low, high) = values
            .filter(|v| drawable(*v, log))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
                (a.min(v), b.max(v))
            });
        let (low, high) = widen(low, high, log, unit);
        let (low, high, step) = if log {
            (low, high, 0.0)
        } else {
            round_out(low, high, n_ticks, unit)
        };
        Scale {
            low,
            high,
            start,
            end,
            log,
            unit,
            step,
        }
    }

    /// The place of a value that can be drawn; values outside the scale go to its ends.
    pub fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + share * (self.end - self.start)
    }

    /// Smallest and largest value.
    #[cfg(test)]
    pub fn domain(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Ticks: value and label.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values = if self.log {
            self.log_ticks()
        } else {
            self.linear_ticks()
        };
        values.into_iter().map(|v| (v, self.label(v))).collect()
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let n = ((self.high - self.low) / self.step)
            .round()
            .clamp(1.0, 50.0) as usize;
        let first = (self.low / self.step).round();
        (0..=n).map(|i| (first + i as f64) * self.step).collect()
    }

    /// Powers of ten, with 2 and 5 between them where there is room; round numbers where there is
    /// not even one power of ten.
    fn log_ticks(&self) -> Vec<f64> {
        let (low, high) = (self.low.log10(), self.high.log10());
        let decades = high - low;
        if decades < 0.8 {
            let (first, last, step) = round_out(self.low, self.high, 6, self.unit);
            let n = ((last - first) / step).round() as usize;
            let ticks = (0..=n).map(|i| first + i as f64 * step);
            return ticks
                .filter(|t| (self.low..=self.high).contains(t))
                .collect();
        }
        let factors: &[f64] = match decades {
            d if d <= 2.2 => &[1.0, 2.0, 5.0],
            d if d <= 3.2 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let stride = (decades / 6.0).ceil().max(1.0) as i32;
        let mut ticks = Vec::new();
        for power in low.floor() as i32..=high.ceil() as i32 {
            if power.rem_euclid(stride) == 0 {
                ticks.extend(factors.iter().map(|f| f * 10f64.powi(power)));
            }
        }
        ticks.retain(|t| (self.low * 0.999..=self.high * 1.001).contains(t));
        ticks
    }

    fn label(&self, value: f64) -> String {
        let places = |step: f64| (-step.log10() - 1e-6).ceil().clamp(0.0, 8.0) as usize;
        match self.unit {
            Unit::Bytes => size_of(value),
            Unit::Share if self.log => format!("{}\u{202f}%", digits(100.0 * value, 2)),
            Unit::Share => percent(value, places(100.0 * self.step)),
            _ if self.log => digits(value, 2),
            _ if self.step >= 1e5 || self.step < 1e-4 => digits(value, 3),
            _ => fixed(value, places(self.step)),
        }
    }
}

/// Gives room to what has none, so that `low < high`.
fn widen(low: f64, high: f64, log: bool, unit: Unit) -> (f64, f64) {
    if low > high {
        return if log { (1.0, 10.0) } else { (0.0, 1.0) };
    }
    if log {
        let room = if high / low < 1.5 { 1.6 } else { 1.08 };
        return (low / room, high * room);
    }
    if high - low > 1e-6 * high.abs().max(low.abs()) {
        return (low, high);
    }
    let room = match unit {
        Unit::Whole => (1e-3 * high.abs()).max(1.0),
        Unit::Share => (1e-3 * high.abs()).max(0.01),
        _ if high == 0.0 => 1.0,
        _ => 0.1 * high.abs(),
    };
    (low - room, high + room)
}

/// Rounds a range out to multiples of 1, 2 or 5 times a power of ten, and returns that step.
fn round_out(low: f64, high: f64, n_ticks: usize, unit: Unit) -> (f64, f64, f64) {
    let rough = (high - low) / n_ticks.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * power >= rough * 0.999);
    let mut step = factor.unwrap_or(10.0) * power;
    if unit == Unit::Whole {
        step = step.max(1.0);
    }
    let slack = 1e-9;
    let first = (low / step + slack).floor();
    let last = (high / step - slack).ceil().max(first + 1.0);
    (first * step, last * step, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f64], unit: Unit, log: bool) -> Scale {
        Scale::new(values.iter().copied(), unit, log, (0.0, 100.0), 5)
    }

    fn labels(values: &[f64], unit: Unit, log: bool) -> String {
        let ticks = scale(values, unit, log).ticks();
        let labels: Vec<_> = ticks
            .into_iter()
            .map(|t| t.1.replace('\u{202f}', ""))
            .collect();
        labels.join(" ")
    }

    #[test]
    fn ticks_are_round() {
        let cases = [
            (labels(&[0.0, 9.3], Unit::Plain, false), "0 2 4 6 8 10"),
            (
                labels(&[0.951, 0.983], Unit::Share, false),
                "95% 96% 97% 98% 99%",
            ),
            (labels(&[1.0, 3.0], Unit::Whole, false), "1 2 3"),
            (
                labels(&[4e3, 1.1e6], Unit::Bytes, true),
                "10kB 30kB 100kB 300kB 1MB",
            ),
            (
                labels(&[0.01, 1.0], Unit::Share, true),
                "1% 2% 5% 10% 20% 50% 100%",
            ),
            (
                labels(&[-1e-5, 2e-5], Unit::Plain, false),
                "−1×10⁻⁵ 0 1×10⁻⁵ 2×10⁻⁵",
            ),
            (
                labels(&[340.0, 710.0], Unit::Bytes, true),
                "400B 500B 600B 700B",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_input_gives_a_scale() {
        let inputs: [&[f64]; 9] = [
            &[],
            &[0.0],
            &[5.0, 5.0],
            &[-3.0],
            &[f64::NAN, f64::INFINITY],
            &[1e99, -1e99],
            &[f64::MAX, f64::MIN],
            &[1e-300, 1.0],
            &[1e15, 1e15 + 0.125],
        ];
        for input in inputs {
            for unit in [Unit::Plain, Unit::Whole, Unit::Share, Unit::Bytes] {
                for log in [false, true] {
                    let scale = scale(input, unit, log);
                    let (low, high) = scale.domain();
                    assert!(low < high, "{input:?} {unit:?} {log}");
                    let ticks = scale.ticks();
                    assert!(
                        (1..=60).contains(&ticks.len()),
                        "{input:?} {unit:?} {ticks:?}"
                    );
                    for (value, label) in ticks {
                        assert!(scale.at(value).is_finite());
                        assert!(!label.contains("NaN") && !label.contains("inf"), "{label}");
                    }
                }
            }
        }
    }
}
