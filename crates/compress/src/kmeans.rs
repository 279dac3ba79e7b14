//! Weighted k-means on a line. Clusters of sorted values are intervals, so that assignment is a
//! search for midpoints and a mean is a difference of prefix sums: an iteration costs
//! O(k log n) instead of O(k n). Sums are in `f64`.

use bantam_core::order::sort_indices;

use crate::quantize::Init;

/// Distinct values, ascending, each with its count; sums over any interval in constant time.
pub(crate) struct Points {
    values: Vec<f64>,
    /// Before each value and at the end: how many, their sum, their sum of squares.
    count: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
}

impl Points {
    /// Sorts finite values and merges equal ones.
    pub(crate) fn new(mut values: Vec<f32>) -> Points {
        values.sort_unstable_by(f32::total_cmp);
        let mut points = Points {
            values: Vec::new(),
            count: vec![0.0],
            sum: vec![0.0],
            square: vec![0.0],
        };
        for same in values.chunk_by(|a, b| a == b) {
            let (v, n) = (f64::from(same[0]), same.len() as f64);
            let last = points.values.len();
            points.values.push(v);
            points.count.push(points.count[last] + n);
            points.sum.push(points.sum[last] + n * v);
            points.square.push(points.square[last] + n * v * v);
        }
        points
    }

    /// Number of distinct values.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    fn over(&self, prefix: &[f64], from: usize, to: usize) -> f64 {
        prefix[to] - prefix[from]
    }

    /// Mean of the values `from..to`, of which there must be one.
    fn mean(&self, from: usize, to: usize) -> f64 {
        if to - from == 1 {
            return self.values[from];
        }
        let mean = self.over(&self.sum, from, to) / self.over(&self.count, from, to);
        // Rounding must not carry a mean out of its interval, or centroids might change places.
        mean.clamp(self.values[from], self.values[to - 1])
    }

    /// Squared distances of the values `from..to` to their mean.
    fn spread(&self, from: usize, to: usize) -> f64 {
        if to - from <= 1 {
            return 0.0;
        }
        let (n, sum) = (
            self.over(&self.count, from, to),
            self.over(&self.sum, from, to),
        );
        (self.over(&self.square, from, to) - sum * sum / n).max(0.0)
    }

    /// One past the last value of each cluster; a value midway belongs to the lower centroid.
    fn ends(&self, centroids: &[f64]) -> Vec<usize> {
        let inner = centroids.windows(2).map(|c| {
            let midpoint = 0.5 * (c[0] + c[1]);
            self.values.partition_point(|&v| v <= midpoint)
        });
        inner.chain([self.len()]).collect()
    }

    /// The value at which a share `q` of all values lies below or at it.
    fn quantile(&self, q: f64) -> f64 {
        let wanted = q * self.count[self.len()];
        let idx = self.count[1..].partition_point(|&c| c < wanted);
        self.values[idx.min(self.len() - 1)]
    }
}

/// `(from, to)` of each cluster.
fn intervals(ends: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let starts = [0].into_iter().chain(ends.iter().copied());
    starts.zip(ends.iter().copied())
}

/// At most `k` centroids, ascending, none without a value: exact when there are no more than `k`
/// distinct values, otherwise what `init` leads to after at most `max_iterations` of Lloyd's
/// algorithm. A centroid that ends up without values is put where the error is largest.
pub(crate) fn cluster(points: &Points, k: usize, init: Init, max_iterations: usize) -> Vec<f64> {
    if points.len() <= k {
        return points.values.clone();
    }
    let mut centroids = start(points, k, init);
    let mut left = max_iterations;
    loop {
        left -= lloyd(points, &mut centroids, left);
        if left == 0 || !reseed(points, &mut centroids) {
            break;
        }
    }
    let ends = points.ends(&centroids);
    let used: Vec<bool> = intervals(&ends).map(|(from, to)| from < to).collect();
    let mut used = used.into_iter();
    centroids.retain(|_| used.next() == Some(true));
    centroids
}

/// Lloyd's algorithm until nothing changes or `max_iterations` are done; returns how many were.
/// Centroids stay ascending, and those without values stay where they are.
fn lloyd(points: &Points, centroids: &mut [f64], max_iterations: usize) -> usize {
    let mut ends = Vec::new();
    for iteration in 0..max_iterations {
        let next = points.ends(centroids);
        if next == ends {
            return iteration;
        }
        for (c, (from, to)) in centroids.iter_mut().zip(intervals(&next)) {
            if from < to {
                *c = points.mean(from, to);
            }
        }
        ends = next;
    }
    max_iterations
}

/// Moves centroids without values to the far end of the clusters with the largest error; false when
/// there are none to move.
fn reseed(points: &Points, centroids: &mut [f64]) -> bool {
    let ends = points.ends(centroids);
    let clusters: Vec<(usize, usize)> = intervals(&ends).collect();
    let empty = (0..clusters.len()).filter(|&i| clusters[i].0 == clusters[i].1);
    let mut split: Vec<usize> = (0..clusters.len())
        .filter(|&i| clusters[i].1 - clusters[i].0 > 1)
        .collect();
    let spread = |i: usize| points.spread(clusters[i].0, clusters[i].1);
    sort_indices(&mut split, &mut |a, b| spread(b).total_cmp(&spread(a)));
    let mut moved = false;
    for (unused, wide) in empty.zip(split) {
        let (low, high) = (
            points.values[clusters[wide].0],
            points.values[clusters[wide].1 - 1],
        );
        let centre = centroids[wide];
        centroids[unused] = if high - centre > centre - low {
            high
        } else {
            low
        };
        moved = true;
    }
    centroids.sort_unstable_by(f64::total_cmp);
    moved
}

fn start(points: &Points, k: usize, init: Init) -> Vec<f64> {
    let (low, high) = (points.values[0], points.values[points.len() - 1]);
    match init {
        Init::Linear if k == 1 => vec![0.5 * (low + high)],
        Init::Linear => {
            let step = (high - low) / (k - 1) as f64;
            (0..k).map(|i| low + step * i as f64).collect()
        }
        Init::Density => (0..k)
            .map(|i| points.quantile((i as f64 + 0.5) / k as f64))
            .collect(),
        Init::PlusPlus { seed } => plus_plus(points, k, seed),
        Init::Optimal => optimal(points, k),
    }
}

/// k-means++ (Arthur, Vassilvitskii 2007): each centroid is drawn with a probability proportional to
/// the squared distance from those before it.
fn plus_plus(points: &Points, k: usize, seed: u64) -> Vec<f64> {
    let count = |i: usize| points.count[i + 1] - points.count[i];
    let mut state = seed;
    let mut weight: Vec<f64> = (0..points.len()).map(count).collect();
    let mut centroids: Vec<f64> = Vec::with_capacity(k);
    while centroids.len() < k {
        let total: f64 = weight.iter().sum();
        let mut rest = uniform(&mut state) * total;
        let chosen = weight.iter().position(|&w| {
            rest -= w;
            rest < 0.0
        });
        let last = || weight.iter().rposition(|&w| w > 0.0);
        let Some(chosen) = chosen.or_else(last) else {
            break;
        };
        let c = points.values[chosen];
        for (i, w) in weight.iter_mut().enumerate() {
            let squared = (points.values[i] - c).powi(2) * count(i);
            *w = if centroids.is_empty() {
                squared
            } else {
                w.min(squared)
            };
        }
        centroids.push(c);
    }
    centroids.sort_unstable_by(f64::total_cmp);
    centroids
}

/// The next number in `[0, 1)`: SplitMix64 (Steele, Lea, Flood 2014).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Most positions at which [`optimal`] may cut.
const MAX_CUTS: usize = 4096;

/// The centroids with the least squared error, by dynamic programming over the last cluster; the
/// best cut moves right with the number of values, so each row takes O(n log n) by halving. Exact up
/// to [`MAX_CUTS`] distinct values; with more, cuts are only made at every n-th of them.
fn optimal(points: &Points, k: usize) -> Vec<f64> {
    let n = points.len().min(MAX_CUTS);
    let cuts: Vec<usize> = (0..=n).map(|i| i * points.len() / n).collect();
    let spread = |from: usize, to: usize| points.spread(cuts[from], cuts[to]);
    let k = k.min(n);
    let mut best: Vec<f64> = (0..=n).map(|to| spread(0, to)).collect();
    let mut last_cuts: Vec<Vec<u32>> = vec![vec![0; n + 1]];
    for clusters in 2..=k {
        let mut row = vec![f64::INFINITY; n + 1];
        let mut last = vec![0u32; n + 1];
        // Ranges of `to` still to do, each with the range in which its cut must lie.
        let mut todo = vec![(clusters, n, clusters - 1, n - 1)];
        while let Some((first, end, low, high)) = todo.pop() {
            let to = first + (end - first) / 2;
            for (cut, before) in best.iter().enumerate().take(high.min(to - 1) + 1).skip(low) {
                let error = before + spread(cut, to);
                if error < row[to] {
                    (row[to], last[to]) = (error, cut as u32);
                }
            }
            let cut = last[to] as usize;
            if first < to {
                todo.push((first, to - 1, low, cut));
            }
            if to < end {
                todo.push((to + 1, end, cut, high));
            }
        }
        best = row;
        last_cuts.push(last);
    }
    let mut centroids = Vec::with_capacity(k);
    let mut to = n;
    for last in last_cuts.iter().rev() {
        let from = last[to] as usize;
        centroids.push(points.mean(cuts[from], cuts[to]));
        to = from;
    }
    centroids.reverse();
    centroids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;
    use proptest::prelude::*;

    fn error(values: &[f32], centroids: &[f64]) -> f64 {
        let nearest = |v: f64| {
            centroids
                .iter()
                .map(|c| (v - c).powi(2))
                .fold(f64::MAX, f64::min)
        };
        values.iter().map(|&v| nearest(f64::from(v))).sum()
    }

    /// The slow twin of an iteration: every value looks at every centroid.
    fn reference_iteration(values: &[f32], centroids: &mut [f64]) {
        let mut sums = vec![(0.0, 0.0); centroids.len()];
        for v in values.iter().map(|&v| f64::from(v)) {
            let distance = |i: usize| (centroids[i] - v).abs();
            let closer = |best: usize, i: usize| {
                if distance(i) < distance(best) {
                    i
                } else {
                    best
                }
            };
            let best = (0..centroids.len()).fold(0, closer);
            sums[best] = (sums[best].0 + v, sums[best].1 + 1.0);
        }
        for (c, (sum, n)) in centroids.iter_mut().zip(sums) {
            if n > 0.0 {
                *c = sum / n;
            }
        }
    }

    /// The slow twin of `optimal`: every way to cut sorted values into `k` intervals.
    fn reference_optimal(values: &[f32], k: usize) -> f64 {
        fn best(sorted: &[f32], k: usize) -> f64 {
            let mean = sorted.iter().map(|&v| f64::from(v)).sum::<f64>() / sorted.len() as f64;
            let one = error(sorted, &[mean]);
            let cut = |at: usize| error_of(&sorted[..at]) + best(&sorted[at..], k - 1);
            if k == 1 {
                one
            } else {
                (1..sorted.len()).map(cut).fold(one, f64::min)
            }
        }
        fn error_of(part: &[f32]) -> f64 {
            best(part, 1)
        }
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        best(&sorted, k)
    }

    const INITS: [Init; 4] = [
        Init::Linear,
        Init::Density,
        Init::PlusPlus { seed: 7 },
        Init::Optimal,
    ];

    #[test]
    fn starts() {
        let points = Points::new(vec![1.0, 2.0, 2.0, 2.0, 9.0, 5.0]);
        assert_eq!(start(&points, 3, Init::Linear), [1.0, 5.0, 9.0]);
        assert_eq!(start(&points, 1, Init::Linear), [5.0]);
        assert_eq!(start(&points, 3, Init::Density), [1.0, 2.0, 5.0]);
        assert_eq!(start(&points, 3, Init::Optimal), [1.75, 5.0, 9.0]);
        for seed in 0..5 {
            let c = start(&points, 3, Init::PlusPlus { seed });
            assert_eq!(c, start(&points, 3, Init::PlusPlus { seed }));
            assert!(c.windows(2).all(|c| c[0] < c[1]), "{c:?}");
        }
    }

    #[test]
    fn few_values_are_kept_exactly() {
        let points = Points::new(vec![0.5, -0.5, 0.5, 2.0]);
        for init in INITS {
            assert_eq!(cluster(&points, 3, init, 10), [-0.5, 0.5, 2.0]);
        }
        assert!(cluster(&Points::new(vec![]), 3, Init::Linear, 10).is_empty());
    }

    #[test]
    fn no_centroid_is_wasted_on_a_gap() {
        // Linear steps put most centroids between -10 and 10, where there is nothing.
        let values: Vec<f32> = (0..40)
            .map(|i| {
                if i < 20 {
                    -10.0 - i as f32 * 0.01
                } else {
                    10.0 + i as f32 * 0.01
                }
            })
            .collect();
        let c = cluster(&Points::new(values.clone()), 8, Init::Linear, 100);
        assert_eq!(c.len(), 8);
        assert!(error(&values, &c) < 0.05, "{}", error(&values, &c));
    }

    #[test]
    fn many_values_are_close_to_the_best() {
        let mut noise = Noise(1);
        // More distinct values than cuts: bell-shaped sums of uniform numbers.
        let values: Vec<f32> = (0..20_000).map(|_| noise.take(4).iter().sum()).collect();
        let points = Points::new(values.clone());
        let errors = INITS.map(|i| error(&values, &cluster(&points, 16, i, 500)));
        for e in errors {
            assert!(
                e <= errors[0] * 1.2 && errors[3] <= e * (1.0 + 1e-4),
                "{errors:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_iteration_agrees_with_its_twin(
            values in prop::collection::vec(-64i16..64, 1..40),
            starts in prop::collection::btree_set(-64i16..64, 1..6),
        ) {
            // One iteration from whole numbers: later ones have ties that rounding decides.
            let values: Vec<f32> = values.iter().map(|&v| f32::from(v)).collect();
            let mut fast: Vec<f64> = starts.iter().map(|&v| f64::from(v)).collect();
            let mut slow = fast.clone();
            lloyd(&Points::new(values.clone()), &mut fast, 1);
            reference_iteration(&values, &mut slow);
            for (f, s) in fast.iter().zip(&slow) {
                prop_assert!((f - s).abs() < 1e-9, "{fast:?} {slow:?}");
            }
        }

        #[test]
        fn error_never_grows(
            values in prop::collection::vec(-1.0f32..1.0, 1..60),
            k in 1usize..9,
            which in 0usize..4,
        ) {
            let points = Points::new(values.clone());
            let mut last = f64::MAX;
            for iterations in 1..12 {
                let e = error(&values, &cluster(&points, k, INITS[which], iterations));
                prop_assert!(e <= last + 1e-9, "{last} then {e}");
                last = e;
            }
        }

        #[test]
        fn optimal_agrees_with_brute_force(
            values in prop::collection::vec(-20i8..20, 1..9),
            k in 1usize..5,
        ) {
            let values: Vec<f32> = values.iter().map(|&v| f32::from(v)).collect();
            let c = cluster(&Points::new(values.clone()), k, Init::Optimal, 20);
            let (found, best) = (error(&values, &c), reference_optimal(&values, k));
            prop_assert!((found - best).abs() < 1e-9, "{found} {best}");
        }
    }
}
