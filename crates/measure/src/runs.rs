//! Runs of one label in a sorted sequence, as a summary that merges.
//!
//! Rows with equal keys are one group, which has the label of its majority, of several the least.
//! A [`Runs`] holds the outermost groups open, because more rows with their keys may come, and counts
//! what lies between. Merging is associative, so any split of a sorted sequence, over threads, files
//! or machines, gives the same answer.

/// A group of rows with one key.
#[derive(Clone, Debug, PartialEq)]
struct Group<K> {
    key: K,
    counts: Vec<u64>,
}

/// Groups that no more rows can join.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
struct Closed {
    groups: u64,
    changes: u64,
    correct: u64,
    ends: Option<(u32, u32)>,
}

/// Summary of a part of a sequence that is sorted by key.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Runs<K> {
    /// No rows.
    #[default]
    Empty,
    /// Rows.
    Some(Part<K>),
}

/// A part with rows; what it holds is private.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<K> {
    first: Group<K>,
    /// What lies between, and the last group, when there is more than one.
    rest: Option<(Closed, Group<K>)>,
}

/// What a whole sequence came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counted {
    /// Groups of equal keys.
    pub groups: u64,
    /// Neighbouring groups with different labels.
    pub changes: u64,
    /// Rows that have the label of their group.
    pub correct: u64,
}

/// The class with the highest count, of several the least.
pub(crate) fn majority(counts: &[u64]) -> (u32, u64) {
    let mut best = (0, 0);
    for (class, &count) in counts.iter().enumerate() {
        if count > best.1 {
            best = (class as u32, count);
        }
    }
    best
}

impl Closed {
    fn of(counts: &[u64]) -> Closed {
        let (label, correct) = majority(counts);
        Closed {
            groups: 1,
            changes: 0,
            correct,
            ends: Some((label, label)),
        }
    }

    fn then(self, next: Closed) -> Closed {
        let (ends, change) = match (self.ends, next.ends) {
            (Some((first, a)), Some((b, last))) => (Some((first, last)), u64::from(a != b)),
            (ends, None) | (None, ends) => (ends, 0),
        };
        Closed {
            groups: self.groups + next.groups,
            changes: self.changes + next.changes + change,
            correct: self.correct + next.correct,
            ends,
        }
    }
}

impl<K: PartialEq> Group<K> {
    /// Adds the rows of a group with the same key, or gives it back.
    fn join(&mut self, other: Group<K>) -> Option<Group<K>> {
        if self.key != other.key {
            return Some(other);
        }
        let more = other.counts.len().saturating_sub(self.counts.len());
        self.counts.extend(std::iter::repeat_n(0, more));
        for (count, add) in self.counts.iter_mut().zip(&other.counts) {
            *count += add;
        }
        None
    }
}

impl<K: PartialEq> Runs<K> {
    /// One row.
    pub fn row(key: K, label: u32) -> Runs<K> {
        let mut counts = vec![0; label as usize + 1];
        counts[label as usize] = 1;
        Runs::Some(Part {
            first: Group { key, counts },
            rest: None,
        })
    }

    /// This part with the one that follows it.
    pub fn merge(self, next: Runs<K>) -> Runs<K> {
        let (a, b) = match (self, next) {
            (Runs::Empty, runs) | (runs, Runs::Empty) => return runs,
            (Runs::Some(a), Runs::Some(b)) => (a, b),
        };
        Runs::Some(a.merge(b))
    }

    /// The counts, if nothing follows.
    pub fn count(&self) -> Counted {
        let Runs::Some(part) = self else {
            return Counted::default();
        };
        let mut closed = Closed::of(&part.first.counts);
        if let Some((between, last)) = &part.rest {
            closed = closed.then(*between).then(Closed::of(&last.counts));
        }
        Counted {
            groups: closed.groups,
            changes: closed.changes,
            correct: closed.correct,
        }
    }
}

impl<K: PartialEq> Part<K> {
    fn merge(self, next: Part<K>) -> Part<K> {
        // The group where the parts meet is the last of this one, which may be its first as well.
        let (mut first, mut between, mut meeting) = match self.rest {
            None => (None, Closed::default(), self.first),
            Some((between, last)) => (Some(self.first), between, last),
        };
        let mut close = |meeting: Group<K>, following: Group<K>| {
            if first.is_none() {
                first = Some(meeting);
            } else {
                between = between.then(Closed::of(&meeting.counts));
            }
            following
        };
        if let Some(following) = meeting.join(next.first) {
            meeting = close(meeting, following);
        }
        if let Some((next_between, last)) = next.rest {
            meeting = close(meeting, last);
            between = between.then(next_between);
        }
        match first {
            None => Part {
                first: meeting,
                rest: None,
            },
            Some(first) => Part {
                first,
                rest: Some((between, meeting)),
            },
        }
    }
}

/// Counts groups that come in the order of their keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counter(Closed);

impl Counter {
    /// The next group, with its rows of each class.
    pub(crate) fn group(&mut self, counts: &[u64]) {
        self.0 = self.0.then(Closed::of(counts));
    }

    /// A group of one row.
    pub(crate) fn single(&mut self, class: u32) {
        self.0 = self.0.then(Closed {
            groups: 1,
            changes: 0,
            correct: 1,
            ends: Some((class, class)),
        });
    }

    /// The groups of this one and those of `next`, which follow.
    pub(crate) fn then(self, next: Counter) -> Counter {
        Counter(self.0.then(next.0))
    }

    pub(crate) fn finish(self) -> Counted {
        Counted {
            groups: self.0.groups,
            changes: self.0.changes,
            correct: self.0.correct,
        }
    }
}

/// Counts a sequence sorted by key, without a summary of each row.
pub(crate) fn count_sorted<K: PartialEq>(
    rows: impl Iterator<Item = (K, u32)>,
    classes: usize,
) -> Counted {
    let mut counts = vec![0u64; classes];
    let mut key = None;
    let mut counter = Counter::default();
    for (next, label) in rows {
        if key.as_ref().is_some_and(|k| *k != next) {
            counter.group(&counts);
            counts.fill(0);
        }
        key = Some(next);
        counts[label as usize] += 1;
    }
    if key.is_some() {
        counter.group(&counts);
    }
    counter.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The slow twin: groups in a map, then a walk.
    fn reference_count(rows: &[(u8, u32)]) -> Counted {
        let mut groups = std::collections::BTreeMap::<u8, Vec<u64>>::new();
        for &(key, label) in rows {
            groups.entry(key).or_insert_with(|| vec![0; 4])[label as usize] += 1;
        }
        let labels: Vec<(u32, u64)> = groups.values().map(|c| majority(c)).collect();
        Counted {
            groups: labels.len() as u64,
            changes: labels.windows(2).filter(|w| w[0].0 != w[1].0).count() as u64,
            correct: labels.iter().map(|l| l.1).sum(),
        }
    }

    fn summary(rows: &[(u8, u32)]) -> Runs<u8> {
        let each = rows.iter().map(|&(k, l)| Runs::row(k, l));
        each.fold(Runs::Empty, Runs::merge)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            mut rows in prop::collection::vec((0u8..12, 0u32..4), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
            order in 0usize..6,
        ) {
            rows.sort_by_key(|r| r.0);
            let expected = reference_count(&rows);
            prop_assert_eq!(count_sorted(rows.iter().copied(), 4), expected);
            prop_assert_eq!(summary(&rows).count(), expected);
            let mut ends: Vec<usize> = cuts.iter().map(|c| c % (rows.len() + 1)).collect();
            ends.extend([0, rows.len()]);
            ends.sort_unstable();
            let mut parts: Vec<Runs<u8>> =
                ends.windows(2).map(|w| summary(&rows[w[0]..w[1]])).collect();
            // Merge neighbours from different places, so the tree of merges varies.
            while parts.len() > 1 {
                let at = order % (parts.len() - 1);
                let right = parts.remove(at + 1);
                let left = std::mem::take(&mut parts[at]);
                parts[at] = left.merge(right);
            }
            prop_assert_eq!(parts.pop().unwrap_or_default().count(), expected);
        }
    }

    #[test]
    fn ties_of_a_group_go_to_the_least_class() {
        assert_eq!(majority(&[2, 2, 1]), (0, 2));
        assert_eq!(majority(&[0, 2, 2]), (1, 2));
        // The middle group is undecided until the second part adds to it.
        let a = summary(&[(1, 1), (2, 0)]);
        let b = summary(&[(2, 1), (2, 1), (3, 1)]);
        assert_eq!(a.count().changes, 1);
        let expected = Counted {
            groups: 3,
            changes: 0,
            correct: 4,
        };
        assert_eq!(a.merge(b).count(), expected);
    }
}
