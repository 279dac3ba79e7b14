//! Sorting and counting of many keys on all cores.
//!
//! Keys are dealt to 2,048 buckets by their leading bits and each bucket, in the cache, to parts of some
//! ten keys by the bits that follow, which are sorted. Groups of equal keys are counted in pieces that begin
//! with a group, whose counts add up in any grouping.

use rayon::prelude::*;

use crate::runs::{Counted, Counter};

/// Buckets of a deal.
const BUCKETS: usize = 1 << 11;
/// Below this, a deal costs more than it saves; a bucket with more is dealt again.
const FEW: usize = 1 << 16;
/// Bits that tell the parts of a bucket apart.
const PART_BITS: u32 = 9;
/// Items of a piece that is counted by itself.
const PIECE: usize = 1 << 16;

/// The key of a number that is one. A name, so that all who sort such numbers share what is compiled.
pub(crate) fn itself(key: &u64) -> u64 {
    *key
}

/// The key of a row, which comes first in it. A name, as above.
pub(crate) fn first(row: &(u64, u32)) -> u64 {
    row.0
}

/// Sorts by `key`, which has to order as the items do.
pub(crate) fn sort_by_key<T>(items: Vec<T>, key: impl Fn(&T) -> u64 + Sync + Copy) -> Vec<T>
where
    T: Copy + Ord + Default + Send + Sync,
{
    sort_parts(vec![items], key)
}

/// Sorts the items of all `parts` by `key`, which has to order as the items do.
pub(crate) fn sort_parts<T>(mut parts: Vec<Vec<T>>, key: impl Fn(&T) -> u64 + Sync + Copy) -> Vec<T>
where
    T: Copy + Ord + Default + Send + Sync,
{
    let n: usize = parts.iter().map(Vec::len).sum();
    let (low, high) = parts.iter().map(|part| ends(part, key)).fold(NONE, wider);
    if n < FEW || low == high {
        let mut items = match parts.len() {
            1 => parts.remove(0),
            _ => parts.concat(),
        };
        items.sort_unstable();
        return items;
    }
    let bits = u64::BITS - (high - low).leading_zeros();
    // A bucket's keys have the same bits from `shift` on.
    let shift = bits.saturating_sub(BUCKETS.trailing_zeros());
    let bucket = |item: &T| ((key(item) - low) >> shift) as usize;
    let pieces = pieces(&parts, n.div_ceil(rayon::current_num_threads()).max(FEW));
    let counts: Vec<Vec<usize>> = pieces
        .par_iter()
        .map(|piece| {
            let mut counts = vec![0; BUCKETS];
            let items = piece.iter().copied().flatten();
            items.for_each(|item| counts[bucket(item)] += 1);
            counts
        })
        .collect();
    let mut dealt = vec![T::default(); n];
    // Each piece has a place of its own in each bucket.
    let mut places: Vec<Vec<&mut [T]>> = counts.iter().map(|_| Vec::new()).collect();
    let mut rest = &mut dealt[..];
    for b in 0..BUCKETS {
        for (places, counts) in places.iter_mut().zip(&counts) {
            let (place, more) = rest.split_at_mut(counts[b]);
            places.push(place);
            rest = more;
        }
    }
    pieces
        .into_par_iter()
        .zip(places)
        .for_each(|(piece, mut places)| {
            let mut next = vec![0; BUCKETS];
            for item in piece.into_iter().flatten() {
                let b = bucket(item);
                places[b][next[b]] = *item;
                next[b] += 1;
            }
        });
    drop(parts);
    let mut buckets: Vec<&mut [T]> = Vec::with_capacity(BUCKETS);
    let mut rest = &mut dealt[..];
    for b in 0..BUCKETS {
        let (bucket, more) = rest.split_at_mut(counts.iter().map(|c| c[b]).sum());
        buckets.push(bucket);
        rest = more;
    }
    let part_shift = shift.saturating_sub(PART_BITS);
    let part = |item: &T| ((key(item) - low) >> part_shift) as usize & ((1 << PART_BITS) - 1);
    let sort = |room: &mut Vec<T>, bucket: &mut [T]| match bucket.len() < FEW {
        true => sort_in_cache(bucket, room, part),
        false => bucket.copy_from_slice(&sort_by_key(bucket.to_vec(), key)),
    };
    buckets.into_par_iter().for_each_init(Vec::new, sort);
    dealt
}

/// Sorts a bucket, whose items go by `part` first.
fn sort_in_cache<T: Copy + Ord + Default>(
    bucket: &mut [T],
    room: &mut Vec<T>,
    part: impl Fn(&T) -> usize,
) {
    const PARTS: usize = 1 << PART_BITS;
    if bucket.len() < PARTS {
        return bucket.sort_unstable();
    }
    let mut ends = [0u32; PARTS];
    bucket.iter().for_each(|item| ends[part(item)] += 1);
    let mut begin = 0;
    for end in &mut ends {
        begin += std::mem::replace(end, begin);
    }
    room.clear();
    room.resize(bucket.len(), T::default());
    for item in &*bucket {
        let next = &mut ends[part(item)];
        room[*next as usize] = *item;
        *next += 1;
    }
    let mut begin = 0;
    for end in ends {
        room[begin..end as usize].sort_unstable();
        begin = end as usize;
    }
    bucket.copy_from_slice(room);
}

/// Slices of `parts`, in pieces of `length` items and a last one of what is left.
fn pieces<T>(parts: &[Vec<T>], length: usize) -> Vec<Vec<&[T]>> {
    let mut pieces = Vec::new();
    let (mut piece, mut room) = (Vec::new(), length);
    for part in parts {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let (slice, more) = rest.split_at(room.min(rest.len()));
            piece.push(slice);
            room -= slice.len();
            rest = more;
            if room == 0 {
                pieces.push(std::mem::take(&mut piece));
                room = length;
            }
        }
    }
    pieces.push(piece);
    pieces
}

/// The least and the largest key of no items.
const NONE: (u64, u64) = (u64::MAX, 0);

/// The least and the largest key; of no items the largest number and 0.
pub(crate) fn ends<T: Sync>(items: &[T], key: impl Fn(&T) -> u64 + Sync) -> (u64, u64) {
    let with = |ends, item: &T| wider(ends, (key(item), key(item)));
    items.par_iter().fold(|| NONE, with).reduce(|| NONE, wider)
}

fn wider(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.min(b.0), a.1.max(b.1))
}

/// Counts a sorted list; `key` and `class` are those of an item.
pub(crate) fn count_sorted<T: Sync>(
    items: &[T],
    key: impl Fn(&T) -> u64 + Sync,
    class: impl Fn(&T) -> u32 + Sync,
    classes: usize,
) -> Counted {
    let count = |items: &[T]| {
        let mut counter = Counter::default();
        let mut counts = vec![0u64; classes];
        for group in items.chunk_by(|a, b| key(a) == key(b)) {
            if let [item] = group {
                counter.single(class(item));
                continue;
            }
            counts.fill(0);
            group
                .iter()
                .for_each(|item| counts[class(item) as usize] += 1);
            counter.group(&counts);
        }
        counter
    };
    let pieces = whole_groups(items, &key);
    let counters: Vec<Counter> = pieces.into_par_iter().map(count).collect();
    counters
        .into_iter()
        .fold(Counter::default(), Counter::then)
        .finish()
}

/// Sizes of the groups of a sorted list, in order.
pub(crate) fn group_sizes<'a, T>(
    items: &'a [T],
    key: impl Fn(&T) -> u64 + 'a,
) -> impl Iterator<Item = u64> + 'a {
    items
        .chunk_by(move |a, b| key(a) == key(b))
        .map(|group| group.len() as u64)
}

/// Pieces of a sorted list that have whole groups.
fn whole_groups<T>(items: &[T], key: impl Fn(&T) -> u64) -> Vec<&[T]> {
    let mut pieces = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let mut end = PIECE.min(rest.len());
        let last = key(&rest[end - 1]);
        end += rest[end..].partition_point(|item| key(item) == last);
        let (piece, more) = rest.split_at(end);
        pieces.push(piece);
        rest = more;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hash;
    use crate::runs;

    #[test]
    fn agrees_with_the_slow_twins() {
        let n = 3 * FEW as u64;
        let cases: [(&str, &dyn Fn(u64) -> u64); 6] = [
            ("spread", &|i| hash(1, i)),
            ("few", &|i| hash(1, i) % 3),
            ("one", &|_| 7),
            ("narrow", &|i| (1 << 60) + hash(1, i) % 1000),
            ("skewed", &|i| hash(1, i) >> (hash(2, i) % 64)),
            ("one far away", &|i| {
                if i == 5 {
                    u64::MAX
                } else {
                    hash(1, i) % 100_000
                }
            }),
        ];
        for (name, make) in cases {
            let items: Vec<(u64, u32)> =
                (0..n).map(|i| (make(i), (hash(3, i) % 3) as u32)).collect();
            let mut expected = items.clone();
            expected.sort();
            let parts = items.chunks(50_001).map(<[_]>::to_vec).collect();
            assert!(sort_parts(parts, |item| item.0) == expected, "{name}");
            let found = sort_by_key(items, |item| item.0);
            assert!(found == expected, "{name}");
            let counted = count_sorted(&found, |i| i.0, |i| i.1, 3);
            assert_eq!(
                counted,
                runs::count_sorted(expected.into_iter(), 3),
                "{name}"
            );
            let sizes: Vec<u64> = group_sizes(&found, |i| i.0).collect();
            assert_eq!(sizes.len() as u64, counted.groups, "{name}");
            assert_eq!(sizes.iter().sum::<u64>(), n, "{name}");
        }
        assert_eq!(
            count_sorted(&[] as &[(u64, u32)], |i| i.0, |i| i.1, 2).groups,
            0
        );
    }
}
