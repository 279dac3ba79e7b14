//! Loss scaling, for gradients in f16.
//!
//! Gradients are often too small for f16, whose least number is 2⁻²⁴. So the gradient of the loss is
//! multiplied by a factor, with it all others, and those of the weights are divided by it again before they
//! are used. The factor is found while training: steps whose gradients overflow are dropped and halve
//! it, a run of good ones doubles it (Micikevicius et al. 2018, section 3.2; the constants are those of
//! PyTorch's `GradScaler`). It is a power of two, so that it changes no bit of what is in range.

use crate::{Error, ErrorKind, Result};

/// The factor, and how training has gone with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// What gradients are multiplied by, a power of two.
    pub factor: f32,
    /// Good steps since it was changed.
    pub good_steps: u32,
    /// Steps dropped so far.
    pub dropped_steps: u64,
}

/// Good steps after which the factor is doubled.
const GROW_AFTER: u32 = 2_000;

/// With a larger factor, gradients below 2⁻⁴⁸ would count. There is no use in that.
const MOST: f32 = (1u32 << 24) as f32;

/// A smaller factor means that something else than f16 overflows.
const LEAST: f32 = 1.0 / (1u32 << 14) as f32;

impl Default for LossScale {
    fn default() -> Self {
        LossScale {
            factor: 65536.0,
            good_steps: 0,
            dropped_steps: 0,
        }
    }
}

impl LossScale {
    /// After a step whose gradients were finite.
    pub(crate) fn good(&mut self) {
        self.good_steps += 1;
        if self.good_steps == GROW_AFTER {
            self.factor = (2.0 * self.factor).min(MOST);
            self.good_steps = 0;
        }
    }

    /// After a step that was dropped. Errs when no factor will help.
    pub(crate) fn dropped(&mut self) -> Result<()> {
        self.factor /= 2.0;
        self.good_steps = 0;
        self.dropped_steps += 1;
        if self.factor < LEAST {
            let message = format!(
                "the gradient is not finite even when it is scaled by {:e}: lower the learning rate, \
                 or train in f32 or bf16",
                2.0 * self.factor
            );
            return Err(Error::new(ErrorKind::Diverged, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_as_gradients_allow() {
        let mut scale = LossScale::default();
        scale.good();
        scale.dropped().unwrap();
        assert_eq!(
            (scale.factor, scale.good_steps, scale.dropped_steps),
            (32768.0, 0, 1)
        );
        for _ in 0..GROW_AFTER - 1 {
            scale.good();
        }
        assert_eq!(scale.factor, 32768.0);
        scale.good();
        assert_eq!((scale.factor, scale.good_steps), (65536.0, 0));
        for _ in 0..100 * GROW_AFTER {
            scale.good();
        }
        assert_eq!(scale.factor, MOST);
        let failed = (0..39).find(|_| scale.dropped().is_err());
        assert_eq!(failed, Some(38), "2^24 to 2^-14 are 38 halvings");
    }
}
