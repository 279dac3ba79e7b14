//! Sorting by an order that is called through a pointer: the standard library's sorts are compiled anew, 4 to
//! 10 KB, for each type and order. Not for the innermost of a large loop.

use std::cmp::Ordering;

/// Sorts indices by what they stand for; equal ones keep their order.
pub fn sort_indices(indices: &mut [usize], compare: &mut dyn FnMut(usize, usize) -> Ordering) {
    indices.sort_by(|&a, &b| compare(a, b));
}

/// The indices `0..n` in the order of what they stand for, the lower of equal ones first: NumPy's `argsort`.
pub fn argsort(n: usize, mut compare: impl FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    sort_indices(&mut order, &mut compare);
    order
}

/// Sorts items; equal ones keep their order.
pub fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let order = argsort(items.len(), |a, b| compare(&items[a], &items[b]));
    permute(order, &mut |a, b| items.swap(a, b));
}

/// As [`sort_by`], in the order of a key.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

/// Puts item `order[i]` in place `i`, for all of them, by exchanges.
fn permute(mut order: Vec<usize>, swap: &mut dyn FnMut(usize, usize)) {
    for start in 0..order.len() {
        let mut place = start;
        loop {
            let from = std::mem::replace(&mut order[place], place);
            if from == start {
                break;
            }
            swap(place, from);
            place = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_sorted_as_the_standard_library_does() {
        for n in 0..60u32 {
            // Keys come several times, with where they were.
            let items: Vec<(u32, u32)> = (0..n).map(|i| (i * i * 7919 % 17, i)).collect();
            let (mut expected, mut found) = (items.clone(), items.clone());
            expected.sort_by_key(|item| std::cmp::Reverse(item.0));
            sort_by_key(&mut found, |item| std::cmp::Reverse(item.0));
            assert_eq!(found, expected);
            sort_by(&mut found, |a, b| a.cmp(b));
            expected.sort();
            assert_eq!(found, expected);
        }
    }

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
