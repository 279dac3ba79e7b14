//! Sorting indices by what they stand for.

use std::cmp::Ordering;

/// Sorts indices; equal ones keep their order.
///
/// The order is called through a pointer, so that there is one such function in a program: the standard
/// library's is compiled anew, 4 to 10 KB, for each order. Not for the innermost of a large loop.
pub fn sort_indices(indices: &mut [usize], compare: &mut dyn FnMut(usize, usize) -> Ordering) {
    indices.sort_by(|&a, &b| compare(a, b));
}

/// The indices `0..n` in the order of what they stand for, the lower of equal ones first: NumPy's `argsort`.
pub fn argsort(n: usize, mut compare: impl FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    sort_indices(&mut order, &mut compare);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_equal_ones_comes_first() {
        let values = [2.0, 1.0, 2.0, f64::NEG_INFINITY, 1.0];
        let order = argsort(values.len(), |a, b| values[a].total_cmp(&values[b]));
        assert_eq!(order, [3, 1, 4, 0, 2]);
        assert_eq!(argsort(0, |_, _| unreachable!()), []);
        let mut some = [2, 4, 0, 3];
        sort_indices(&mut some, &mut |a, b| values[b].total_cmp(&values[a]));
        assert_eq!(some, [2, 0, 4, 3]);
    }
}
