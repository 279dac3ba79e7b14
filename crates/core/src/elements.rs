//! NumPy broadcasting: shapes and index arithmetic.

use crate::{Error, Result};

/// The shape two operands broadcast to; errs when an axis differs and neither is 1.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], axis: usize| (axis + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Error::shape(format!(
                "shapes {a:?} and {b:?} do not broadcast"
            ))),
        })
        .collect()
}

/// Strides of an operand of shape `from` when read as shape `to`: 0 along broadcast axes.
///
/// `from` must broadcast to `to`.
pub fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = crate::tensor::strides(from);
    let skipped = to.len() - from.len();
    (0..to.len())
        .map(|axis| match axis.checked_sub(skipped) {
            Some(i) if from[i] != 1 => own[i],
            _ => 0,
        })
        .collect()
}

/// Index into an operand of shape `from` for element `index` of the broadcast shape `to`.
pub fn broadcast_index(index: usize, to: &[usize], from: &[usize]) -> usize {
    let strides = broadcast_strides(from, to);
    let (mut rest, mut at) = (index, 0);
    for axis in (0..to.len()).rev() {
        at += rest % to[axis] * strides[axis];
        rest /= to[axis];
    }
    at
}

/// Walks the elements of a broadcast shape in order, giving the index into an operand for each.
pub struct Broadcast<'s> {
    to: &'s [usize],
    strides: Vec<usize>,
    index: Vec<usize>,
    at: usize,
    left: usize,
}

impl<'s> Broadcast<'s> {
    /// The walk over `to` for an operand of shape `from`, which must broadcast to it.
    pub fn new(from: &[usize], to: &'s [usize]) -> Broadcast<'s> {
        Broadcast {
            to,
            strides: broadcast_strides(from, to),
            index: vec![0; to.len()],
            at: 0,
            left: to.iter().product(),
        }
    }
}

impl Iterator for Broadcast<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        for axis in (0..self.to.len()).rev() {
            self.index[axis] += 1;
            self.at += self.strides[axis];
            if self.index[axis] < self.to[axis] {
                break;
            }
            self.at -= self.strides[axis] * self.to[axis];
            self.index[axis] = 0;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        for (a, b, expected) in [
            (&[2, 3][..], &[3][..], Some(vec![2, 3])),
            (&[2, 1], &[1, 4], Some(vec![2, 4])),
            (&[], &[5], Some(vec![5])),
            (&[2, 3], &[2], None),
            (&[0, 3], &[1, 3], Some(vec![0, 3])),
        ] {
            assert_eq!(broadcast_shape(a, b).ok(), expected, "{a:?} {b:?}");
        }
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
        assert_eq!(broadcast_index(7, &[2, 3, 4], &[3, 1]), 1);
        let walk: Vec<usize> = Broadcast::new(&[3, 1], &[2, 3, 4]).collect();
        let each: Vec<usize> = (0..24)
            .map(|i| broadcast_index(i, &[2, 3, 4], &[3, 1]))
            .collect();
        assert_eq!(walk, each);
        assert_eq!(Broadcast::new(&[], &[]).count(), 1);
    }
}
