//! Work that takes milliseconds a piece, on all threads: one loop for all of it, which calls through a
//! pointer, for rayon's are compiled anew, 4 KB, for each closure. Loops over rows take rayon's.

use std::sync::OnceLock;

use rayon::prelude::*;

/// `[f(0), …, f(n - 1)]`.
pub(crate) fn map<T: Send + Sync>(n: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let results: Vec<OnceLock<T>> = (0..n).map(|_| OnceLock::new()).collect();
    for_each(n, &|i| {
        results[i].get_or_init(|| f(i));
    });
    let result = |r: OnceLock<T>| r.into_inner().expect("each call leaves a result");
    results.into_iter().map(result).collect()
}

/// `f` of each of `items`.
pub(crate) fn map_of<'a, A: Sync, T: Send + Sync>(
    items: &'a [A],
    f: impl Fn(&'a A) -> T + Sync,
) -> Vec<T> {
    map(items.len(), |i| f(&items[i]))
}

fn for_each(n: usize, f: &(dyn Fn(usize) + Sync)) {
    (0..n).into_par_iter().for_each(f);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        for n in [0, 1, 2, 1000] {
            let expected: Vec<String> = (0..n).map(|i| i.to_string()).collect();
            assert_eq!(map(n, |i| i.to_string()), expected);
            assert_eq!(map_of(&expected, |text| text.clone()), expected);
        }
    }
}
