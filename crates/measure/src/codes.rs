//! Columns as ranks: what sorting and splitting need of a value is only its place among the others.

use crate::parallel::map_of;
use bantam_data::{Column, MISSING, Values};

/// Most categories of a column whose categories are told apart one by one; the order of the texts
/// is used beyond.
pub(crate) const MOST_UNORDERED: u32 = 64;

/// The cells of a column as dense codes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coded {
    /// Rank of each cell among the distinct values, from 0; `n_values` when missing.
    pub(crate) codes: Vec<u32>,
    /// Distinct values that are there.
    pub(crate) n_values: u32,
    /// Whether the order of the codes means something.
    pub(crate) ordered: bool,
    /// Whether it came from a column of numbers.
    pub(crate) numeric: bool,
}

impl Coded {
    /// Codes of a column, numbers by size and categories in the order of their levels.
    pub(crate) fn of(values: &Values) -> Coded {
        match values {
            Values::Numeric(v) => {
                let mut order: Vec<(u64, u32)> = v
                    .iter()
                    .zip(0..)
                    .filter(|(x, _)| !x.is_nan())
                    .map(|(&x, i)| (sortable(x), i))
                    .collect();
                order.sort_unstable();
                let mut codes = vec![0; v.len()];
                let mut n_values = 0;
                for group in order.chunk_by(|a, b| a.0 == b.0) {
                    for &(_, i) in group {
                        codes[i as usize] = n_values;
                    }
                    n_values += 1;
                }
                for (code, x) in codes.iter_mut().zip(v) {
                    if x.is_nan() {
                        *code = n_values;
                    }
                }
                Coded {
                    codes,
                    n_values,
                    ordered: true,
                    numeric: true,
                }
            }
            Values::Categorical { codes, levels } => {
                let mut new = vec![MISSING; levels.len()];
                for &code in codes.iter().filter(|&&c| c != MISSING) {
                    new[code as usize] = 0;
                }
                let mut n_values = 0;
                for code in new.iter_mut().filter(|c| **c == 0) {
                    *code = n_values;
                    n_values += 1;
                }
                let code = |&c: &u32| {
                    if c == MISSING {
                        n_values
                    } else {
                        new[c as usize]
                    }
                };
                Coded {
                    codes: codes.iter().map(code).collect(),
                    n_values,
                    ordered: n_values > MOST_UNORDERED,
                    numeric: false,
                }
            }
        }
    }

    /// The codes as bytes, that of missing cells included; nothing when they do not fit.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let bytes = self.codes.iter().map(|&c| u8::try_from(c));
        bytes.collect::<Result<_, _>>().unwrap_or_default()
    }

    /// The same column with at most `bins` values, of about equal shares, order kept. Columns that
    /// have no more are not changed.
    pub(crate) fn coarse(self, bins: u32) -> Coded {
        if !self.ordered || self.n_values <= bins {
            return self;
        }
        let mut counts = vec![0u64; self.n_values as usize];
        for &code in self.codes.iter().filter(|&&c| c < self.n_values) {
            counts[code as usize] += 1;
        }
        let total: u64 = counts.iter().sum();
        let mut below = 0;
        let (mut last, mut next) = (None, 0);
        let bin_of: Vec<u32> = counts
            .iter()
            .map(|&count| {
                // The bin of the middle of the value's rows; empty bins are skipped.
                let bin = (2 * below + count) * u64::from(bins) / (2 * total);
                below += count;
                if last.is_some_and(|l| l != bin) {
                    next += 1;
                }
                last = Some(bin);
                next
            })
            .collect();
        let n_values = next + 1;
        let code = |&c: &u32| bin_of.get(c as usize).copied().unwrap_or(n_values);
        Coded {
            codes: self.codes.iter().map(code).collect(),
            n_values,
            ..self
        }
    }
}

/// Codes of all columns.
pub(crate) fn code_columns(columns: &[Column]) -> Vec<Coded> {
    map_of(columns, |c| Coded::of(&c.values))
}

/// Bits of a number that compare as the number does; -0.0 is 0.0.
pub(crate) fn sortable(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let nan = f64::NAN;
        let numbers = Coded::of(&Values::Numeric(vec![3.0, -1.0, nan, 0.0, -0.0, 3.0]));
        assert_eq!(
            (numbers.codes, numbers.n_values),
            (vec![2, 0, 3, 1, 1, 2], 3)
        );
        let texts = Column::categorical("c", &[Some("b"), None, Some("a"), Some("c")]);
        let some = texts.values.select(&[0, 1, 3]);
        let texts = Coded::of(&some);
        assert_eq!(
            (texts.codes, texts.n_values, texts.ordered),
            (vec![0, 2, 1], 2, false)
        );
        let many: Vec<Option<String>> = (0..65).map(|i| Some(format!("{i}"))).collect();
        assert!(Coded::of(&Column::categorical("c", &many).values).ordered);
        let none = Coded::of(&Values::Numeric(vec![nan, nan]));
        assert_eq!((none.codes, none.n_values), (vec![0, 0], 0));
    }

    #[test]
    fn coarse_keeps_order_and_missing() {
        let mut values: Vec<f64> = (0..1000).map(|i| f64::from((i * 37) % 1000)).collect();
        values[0] = f64::NAN;
        let fine = Coded::of(&Values::Numeric(values));
        let coarse = fine.clone().coarse(16);
        assert_eq!(coarse.n_values, 16);
        assert_eq!(coarse.codes[0], 16);
        for i in 1..999 {
            let (a, b) = (
                fine.codes[i] < fine.codes[i + 1],
                coarse.codes[i] <= coarse.codes[i + 1],
            );
            assert!(!a || b, "{i}");
        }
        assert_eq!(fine.clone().coarse(1000), fine);
        let heavy = Coded::of(&Values::Numeric(
            (0..1000).map(|i| f64::from((i - 600).max(0))).collect(),
        ));
        let coarse = heavy.coarse(10);
        assert_eq!(coarse.codes[0], 0);
        assert!((4..=6).contains(&coarse.n_values), "{}", coarse.n_values);
    }
}
