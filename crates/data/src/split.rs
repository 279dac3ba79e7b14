//! Rows for training, validation and test.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::rng::hash;

/// Row numbers of the three parts, each in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows to choose by.
    pub validation: Vec<usize>,
    /// Rows to report on, used once.
    pub test: Vec<usize>,
}

/// The shares of validation and test; the rest is for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fractions {
    /// Share of the rows for validation.
    pub validation: f64,
    /// Share of the rows for test.
    pub test: f64,
}

impl Default for Fractions {
    /// 64 % training, 16 % validation, 20 % test.
    fn default() -> Fractions {
        Fractions {
            validation: 0.16,
            test: 0.20,
        }
    }
}

/// Splits the rows `0..n`, class by class when `labels` are given.
///
/// Which part a row falls into depends on `seed`, the row number and the labels only. The parts are
/// within one row of their shares over all classes together, except that every class keeps at
/// least one row for training.
///
/// Errs when there are fewer than two rows, when the labels are not `n`, and when the fractions are
/// not shares.
pub fn split(n: usize, labels: Option<&[i64]>, fractions: Fractions, seed: u64) -> Result<Split> {
    let Fractions { validation, test } = fractions;
    if !(validation >= 0.0 && test >= 0.0 && validation + test < 1.0) {
        let message = format!(
            "expected shares of at least 0 that leave rows to train on, \
             found {validation} for validation and {test} for test"
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    if n < 2 {
        let message = format!("expected at least 2 rows, found {n}");
        return Err(Error::new(ErrorKind::Rows, message));
    }
    let mut strata: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    match labels {
        None => {
            strata.insert(0, (0..n).collect());
        }
        Some(labels) if labels.len() != n => {
            let message = format!("expected {n} labels, found {}", labels.len());
            return Err(Error::new(ErrorKind::Shape, message));
        }
        Some(labels) => {
            for (row, &label) in labels.iter().enumerate() {
                strata.entry(label).or_default().push(row);
            }
        }
    }
    let mut split = Split::default();
    let mut seen = 0;
    for rows in strata.into_values() {
        let mut keyed: Vec<(u64, usize)> = (rows.into_iter())
            .map(|row| (hash(seed, row as u64), row))
            .collect();
        keyed.sort_unstable();
        let rows: Vec<usize> = keyed.into_iter().map(|k| k.1).collect();
        seen += rows.len();
        // What is due is counted over all classes so far, so that rounding does not add up.
        let due = |share: f64, given: usize| {
            ((seen as f64 * share).round() as usize).saturating_sub(given)
        };
        let most = rows.len() - 1;
        let n_test = due(test, split.test.len()).min(most);
        let n_validation = due(validation, split.validation.len()).min(most - n_test);
        let (for_test, rest) = rows.split_at(n_test);
        let (for_validation, for_train) = rest.split_at(n_validation);
        split.test.extend(for_test);
        split.validation.extend(for_validation);
        split.train.extend(for_train);
    }
    for part in [&mut split.train, &mut split.validation, &mut split.test] {
        part.sort_unstable();
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_every_row_once_and_keeps_shares() {
        for n in [2, 3, 10, 100, 891, 10_000] {
            let labels: Vec<i64> = (0..n as i64).map(|i| i * i % 7).collect();
            for labels in [None, Some(labels.as_slice())] {
                let s = split(n, labels, Fractions::default(), 1).unwrap();
                let mut all = [s.train.clone(), s.validation.clone(), s.test.clone()].concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..n));
                assert!(!s.train.is_empty());
                if n >= 100 {
                    assert!((s.test.len() as f64 - n as f64 * 0.20).abs() <= 1.0);
                    assert!((s.validation.len() as f64 - n as f64 * 0.16).abs() <= 1.0);
                }
            }
        }
    }

    #[test]
    fn classes_keep_their_shares() {
        let labels: Vec<i64> = (0..1000).map(|i| i64::from(i % 10 == 0)).collect();
        let s = split(1000, Some(&labels), Fractions::default(), 5).unwrap();
        let rare = |rows: &[usize]| rows.iter().filter(|&&r| labels[r] == 1).count();
        assert_eq!(
            (rare(&s.train), rare(&s.validation), rare(&s.test)),
            (64, 16, 20)
        );
    }

    #[test]
    fn rare_classes_stay_in_training() {
        let labels: Vec<i64> = (0..50).collect();
        let s = split(50, Some(&labels), Fractions::default(), 5).unwrap();
        assert_eq!(s.train.len(), 50);
    }

    #[test]
    fn depends_on_the_seed_only() {
        let of = |seed| split(1000, None, Fractions::default(), seed).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).test.is_sorted());
    }

    #[test]
    fn refuses() {
        let bad = |validation, test| {
            split(9, None, Fractions { validation, test }, 0)
                .unwrap_err()
                .kind()
        };
        assert_eq!(bad(0.5, 0.5), ErrorKind::Argument);
        assert_eq!(bad(-0.1, 0.5), ErrorKind::Argument);
        assert_eq!(bad(f64::NAN, 0.5), ErrorKind::Argument);
        let error = split(1, None, Fractions::default(), 0).unwrap_err();
        assert_eq!(error.to_string(), "expected at least 2 rows, found 1");
        let error = split(3, Some(&[1]), Fractions::default(), 0).unwrap_err();
        assert_eq!(error.to_string(), "expected 3 labels, found 1");
    }
}
