//! Counts a merged sequence in one pass, with its own labels and with shuffled ones.
//!
//! A shuffle gives a row one of the labels that are left; drawing them one after another in the order
//! of the sums gives each order of the labels the same chance, so nothing has to be kept or sorted
//! again.

use rayon::prelude::*;

use super::spool::{Entry, Merged};
use super::{class_of, sum_of};
use crate::error::{Error, ErrorKind, Result};
use crate::random::Stream;
use crate::runs::{Counted, Counter};
use crate::sorted;

/// Groups that are drawn for at a time.
const GROUPS: usize = 1 << 14;

/// What a sequence came to.
pub(super) struct Counts {
    pub(super) runs: Counted,
    /// Changes with shuffled labels.
    pub(super) draws: Vec<f64>,
}

/// Counts `entries`, of which there are `class_counts` rows; `draws` are number and seed.
pub(super) fn count(
    mut entries: Merged,
    class_counts: &[u64],
    draws: (usize, u64),
) -> Result<Counts> {
    let classes = class_counts.len();
    let mut own = Counter::default();
    let mut shuffles = Shuffles::new(class_counts, draws);
    let (mut counts, mut sum) = (vec![0u64; classes], None);
    let mut sizes: Vec<u64> = Vec::with_capacity(GROUPS);
    let mut found = vec![0u64; classes];
    loop {
        let entry = entries.next()?;
        if sum.is_some() && entry.map(|e| e.sum) != sum {
            own.group(&counts);
            sizes.push(counts.iter().sum());
            counts.fill(0);
        }
        if sizes.len() == GROUPS || entry.is_none() {
            if !shuffles.groups(&sizes) {
                return Err(disagrees());
            }
            sizes.clear();
        }
        let Some(Entry {
            sum: next,
            class,
            count,
        }) = entry
        else {
            break;
        };
        sum = Some(next);
        counts[class as usize] += count;
        found[class as usize] += count;
    }
    if found != class_counts {
        return Err(disagrees());
    }
    Ok(Counts {
        runs: own.finish(),
        draws: shuffles.finish(),
    })
}

/// Counts keys that are sorted already, in parallel.
pub(super) fn count_keys(keys: &[u64], class_counts: &[u64], draws: (usize, u64)) -> Counts {
    let sum = |key: &u64| sum_of(*key);
    let runs = sorted::count_sorted(keys, sum, |key| class_of(*key), class_counts.len());
    let draws = Shuffles::new(class_counts, draws).all(sorted::group_sizes(keys, sum));
    Counts { runs, draws }
}

/// Several orders of the labels, drawn as they are needed.
pub(crate) struct Shuffles(Vec<Shuffle>);

impl Shuffles {
    /// `draws` are number and seed.
    pub(crate) fn new(class_counts: &[u64], draws: (usize, u64)) -> Shuffles {
        let shuffle = |i| Shuffle::new(class_counts, draws.1, i);
        Shuffles((0..draws.0).map(shuffle).collect())
    }

    /// Draws labels for groups of these sizes; false when there are not as many labels.
    fn groups(&mut self, sizes: &[u64]) -> bool {
        self.0
            .par_iter_mut()
            .map(|s| s.groups(sizes))
            .all(|enough| enough)
    }

    fn finish(self) -> Vec<f64> {
        let changes = |s: Shuffle| s.counter.finish().changes as f64;
        self.0.into_iter().map(changes).collect()
    }

    /// The changes of each order over groups of these sizes, which have as many rows as there are labels.
    pub(crate) fn all(mut self, mut sizes: impl Iterator<Item = u64>) -> Vec<f64> {
        let mut block = Vec::with_capacity(GROUPS);
        while !self.0.is_empty() {
            block.clear();
            block.extend(sizes.by_ref().take(GROUPS));
            if block.is_empty() {
                break;
            }
            assert!(
                self.groups(&block),
                "groups have as many rows as there are labels"
            );
        }
        self.finish()
    }
}

fn disagrees() -> Error {
    let message = "damaged partial result: its rows are not as many as its head says";
    Error::new(ErrorKind::Format, message)
}

/// Labels in a random order, drawn as they are needed.
struct Shuffle {
    /// Labels that are left, as a tree of sums (Fenwick, "A new data structure for cumulative
    /// frequency tables", 1994).
    left: Vec<u64>,
    total: u64,
    stream: Stream,
    counter: Counter,
    counts: Vec<u64>,
}

impl Shuffle {
    fn new(class_counts: &[u64], seed: u64, place: usize) -> Shuffle {
        let mut left = vec![0; class_counts.len().next_power_of_two() + 1];
        for (class, &count) in class_counts.iter().enumerate() {
            let mut at = class + 1;
            while at < left.len() {
                left[at] += count;
                at += at & at.wrapping_neg();
            }
        }
        Shuffle {
            left,
            total: class_counts.iter().sum(),
            stream: Stream::new(seed, place as u64),
            counter: Counter::default(),
            counts: vec![0; class_counts.len()],
        }
    }

    fn groups(&mut self, sizes: &[u64]) -> bool {
        for &size in sizes {
            if size > self.total {
                return false;
            }
            if size == 1 {
                let class = self.draw();
                self.counter.single(class as u32);
                continue;
            }
            self.counts.fill(0);
            for _ in 0..size {
                let class = self.draw();
                self.counts[class] += 1;
            }
            self.counter.group(&self.counts);
        }
        true
    }

    /// One of the labels that are left, which is then gone.
    fn draw(&mut self) -> usize {
        let mut rank = self.stream.below(self.total as usize) as u64;
        self.total -= 1;
        let mut class = 0;
        let mut step = self.left.len() - 1;
        while step > 0 {
            let at = class + step;
            if self.left[at] <= rank {
                rank -= self.left[at];
                class = at;
            } else {
                // The label is below here, so every sum on the way to it has one less.
                self.left[at] -= 1;
            }
            step /= 2;
        }
        class
    }
}
