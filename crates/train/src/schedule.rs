//! Learning-rate schedules: a factor of the base rate for each step.

use crate::{Error, ErrorKind, Result};

/// How the learning rate moves over the training.
#[derive(Clone, Debug, PartialEq)]
pub enum Decay {
    /// It does not.
    Constant,
    /// Multiplied by `factor` when each of these shares of the training is reached, ascending.
    Step {
        /// Shares of all steps, in `(0, 1)`.
        at: Vec<f64>,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// Half a cosine from 1 down to `last` (Loshchilov, Hutter 2017, equation 5, one cycle).
    Cosine {
        /// Factor at the last step, in `[0, 1]`.
        last: f64,
    },
}

/// A decay after a linear warm-up from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// How the rate moves.
    pub decay: Decay,
    /// Share of all steps in which the rate grows to its base, in `[0, 1)`.
    pub warm_up: f64,
}

impl Schedule {
    /// Errs when a share or factor is out of range.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(ErrorKind::Setting, what));
        if !(0.0..1.0).contains(&self.warm_up) {
            return bad(format!(
                "warm-up is {}, expected a share in [0, 1)",
                self.warm_up
            ));
        }
        match &self.decay {
            Decay::Constant => Ok(()),
            Decay::Cosine { last } if !(0.0..=1.0).contains(last) => bad(format!(
                "cosine decay ends at {last}, expected a factor in [0, 1]"
            )),
            Decay::Cosine { .. } => Ok(()),
            Decay::Step { at, factor } => {
                let inside = at.iter().all(|s| (0.0..1.0).contains(s));
                if !inside || !at.is_sorted() {
                    return bad(format!(
                        "decay steps at {at:?}, expected ascending shares in [0, 1)"
                    ));
                }
                if !(0.0..=1.0).contains(factor) {
                    return bad(format!("decay factor is {factor}, expected [0, 1]"));
                }
                Ok(())
            }
        }
    }

    /// The factor at `step` of `total`, counted from 0.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let share = step as f64 / total.max(1) as f64;
        if share < self.warm_up {
            return (step + 1) as f64 / (self.warm_up * total as f64).max(1.0);
        }
        match &self.decay {
            Decay::Constant => 1.0,
            Decay::Step { at, factor } => {
                let passed = at.iter().filter(|&&s| share >= s).count();
                factor.powi(passed as i32)
            }
            Decay::Cosine { last } => {
                let after = (share - self.warm_up) / (1.0 - self.warm_up);
                last + (1.0 - last) * 0.5 * (1.0 + cos_pi(after))
            }
        }
    }
}

/// `cos(π x)` for `x` in `[0, 1]`, by its series, so that every platform computes the same bits.
fn cos_pi(x: f64) -> f64 {
    // Fold to [0, 1/2], where twelve terms are exact to the last bits.
    if x > 0.5 {
        return -cos_pi(1.0 - x);
    }
    let z = (std::f64::consts::PI * x).powi(2);
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..=12 {
        term *= -z / f64::from((2 * k - 1) * (2 * k));
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_follow_the_schedule() {
        let step = Decay::Step {
            at: vec![0.5, 0.75],
            factor: 0.1,
        };
        for (name, decay, warm_up, at, expected) in [
            ("constant", Decay::Constant, 0.0, 99, 1.0),
            ("warm-up starts small", Decay::Constant, 0.1, 0, 0.1),
            ("warm-up ends at the base", Decay::Constant, 0.1, 9, 1.0),
            ("before the first step", step.clone(), 0.0, 49, 1.0),
            ("after the first step", step.clone(), 0.0, 50, 0.1),
            ("after both", step, 0.0, 80, 0.01),
            (
                "cosine starts at the base",
                Decay::Cosine { last: 0.0 },
                0.0,
                0,
                1.0,
            ),
            ("cosine half way", Decay::Cosine { last: 0.2 }, 0.0, 50, 0.6),
            (
                "cosine after warm-up",
                Decay::Cosine { last: 0.0 },
                0.5,
                75,
                0.5,
            ),
        ] {
            let found = Schedule { decay, warm_up }.factor(at, 100);
            assert!((found - expected).abs() < 1e-12, "{name}: {found}");
        }
    }

    #[test]
    fn the_cosine_is_the_cosine() {
        for i in 0..=1000 {
            let x = f64::from(i) / 1000.0;
            assert!(
                (cos_pi(x) - (std::f64::consts::PI * x).cos()).abs() < 1e-14,
                "{x}"
            );
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (decay, warm_up) in [
            (Decay::Constant, 1.0),
            (Decay::Cosine { last: 2.0 }, 0.0),
            (
                Decay::Step {
                    at: vec![0.7, 0.3],
                    factor: 0.1,
                },
                0.0,
            ),
            (
                Decay::Step {
                    at: vec![0.5],
                    factor: -1.0,
                },
                0.0,
            ),
        ] {
            assert!(Schedule { decay, warm_up }.check().is_err());
        }
    }
}
