//! Codebooks packed into bits: sorted entries as distances, grids as one step.
//!
//! A codebook in storage order has 0 first and the other entries strictly ascending; then the
//! levels of a weight are `-negatives..=positives`, numbered outwards from zero. What follows the
//! two counts is exact for any finite entries:
//!
//! | field | bits |
//! |---|---|
//! | 0 for a new codebook, `d` for the same as the `d`-th last new one | Exp-Golomb |
//! | negatives, positives | Exp-Golomb, twice |
//! | mantissa bits `m` | 5 |
//! | 1 for a grid: entries are integers times a step | 1 |
//! | grid: the step, as the upper `8 + m` bits of a positive `f32` | 8 + m |
//! | no grid: lowest of the upper `8 + m` bits of all magnitudes; `k` | 8 + m, 5 |
//! | negatives then positives, outwards: distance from the one before, less 1 | Exp-Golomb with `k` low bits apart (grid: `k = 0`) |

use bantam_codec::bits::BitWriter;

use super::floats::Bits;
use crate::{Error, Result};

/// Most entries of a codebook.
const MAX_ENTRIES: usize = 256;

const MANTISSA_BITS: u32 = 23;

/// Whether 0 is first and the rest ascends: what is stored must be so.
pub(super) fn is_in_order(entries: &[f32]) -> bool {
    let rest = &entries[1..];
    rest.windows(2).all(|pair| pair[0] < pair[1]) && rest.iter().all(|e| *e != 0.0)
}

/// How many entries are negative; the entries are in storage order.
pub(super) fn n_negative(entries: &[f32]) -> usize {
    entries[1..].partition_point(|e| *e < 0.0)
}

/// The magnitudes outwards from zero: of the negative entries, of the positive ones.
fn sides(entries: &[f32]) -> [Vec<f32>; 2] {
    let (negative, positive) = entries[1..].split_at(n_negative(entries));
    [
        negative.iter().rev().map(|e| -e).collect(),
        positive.to_vec(),
    ]
}

/// The step of which all entries are integer multiples, exactly, if there is one with small
/// multiples.
pub(super) fn grid_step(entries: &[f32]) -> Option<f32> {
    let sides = sides(entries);
    let magnitudes = || sides.iter().flatten().copied();
    let distance = |side: &Vec<f32>| {
        side.windows(2)
            .map(|p| p[1] - p[0])
            .fold(f32::INFINITY, f32::min)
    };
    let smallest = magnitudes().fold(f32::INFINITY, f32::min);
    let closest = sides.iter().map(distance).fold(smallest, f32::min);
    // The step is the closest distance, or it divides the magnitudes, whose rounding is finer.
    let candidates = magnitudes()
        .map(|m| m / (m / closest).round())
        .chain([closest]);
    let fits = |step: &f32| {
        step.is_finite()
            && *step > 0.0
            && magnitudes().all(|m| {
                let multiple = (m / step).round();
                (1.0..65536.0).contains(&multiple) && multiple * step == m
            })
    };
    candidates
        .filter(fits)
        .max_by_key(|step| step.to_bits().trailing_zeros())
}

/// Appends codebooks and remembers them for those that are the same.
#[derive(Debug, Default)]
pub(super) struct CodebookWriter {
    known: Vec<Vec<f32>>,
}

impl CodebookWriter {
    /// Appends `entries`, which are in storage order.
    pub(super) fn write(&mut self, out: &mut BitWriter, entries: &[f32]) {
        assert!(
            is_in_order(entries),
            "codebooks are checked before they are written"
        );
        if let Some(back) = self.known.iter().rev().position(|k| k == entries) {
            return out.write_exp_golomb(back as u32 + 1);
        }
        self.known.push(entries.to_vec());
        out.write_exp_golomb(0);
        let sides = sides(entries);
        sides
            .iter()
            .for_each(|side| out.write_exp_golomb(side.len() as u32));
        if entries.len() == 1 {
            return;
        }
        if let Some(step) = grid_step(entries).filter(|_| entries.len() > 2) {
            let n_mantissa = n_mantissa(&[step]);
            out.write(u64::from(n_mantissa), 5);
            out.write(1, 1);
            out.write(
                u64::from(step.to_bits() >> (MANTISSA_BITS - n_mantissa)),
                8 + n_mantissa,
            );
            let multiples = |m: &f32| (m / step).round() as u32;
            for side in sides {
                write_side(out, side.iter().map(multiples), 0, 0);
            }
        } else {
            let n_mantissa = n_mantissa(&entries[1..]);
            let key = |m: &f32| m.to_bits() >> (MANTISSA_BITS - n_mantissa);
            let lowest = sides
                .iter()
                .flatten()
                .map(key)
                .min()
                .expect("there is an entry");
            let size_bits = |k: &u32| {
                let mut trial = BitWriter::new();
                for side in &sides {
                    write_side(&mut trial, side.iter().map(key), lowest.wrapping_sub(1), *k);
                }
                trial.len_bits()
            };
            let k = (0..32).min_by_key(size_bits).expect("there are some");
            out.write(u64::from(n_mantissa), 5);
            out.write(0, 1);
            out.write(u64::from(lowest), 8 + n_mantissa);
            out.write(u64::from(k), 5);
            for side in sides {
                write_side(out, side.iter().map(key), lowest.wrapping_sub(1), k);
            }
        }
    }
}

/// Mantissa bits that all values together use.
fn n_mantissa(values: &[f32]) -> u32 {
    let used = values
        .iter()
        .fold(1 << MANTISSA_BITS, |used, v| used | v.to_bits());
    MANTISSA_BITS - used.trailing_zeros()
}

fn write_side(out: &mut BitWriter, keys: impl Iterator<Item = u32>, before: u32, k: u32) {
    let mut last = before;
    for key in keys {
        let distance = key.wrapping_sub(last).wrapping_sub(1);
        out.write_exp_golomb(distance >> k);
        out.write(u64::from(distance & ((1 << k) - 1)), k);
        last = key;
    }
}

/// Reads codebooks that a [`CodebookWriter`] wrote.
#[derive(Debug, Default)]
pub(super) struct CodebookReader {
    known: Vec<Vec<f32>>,
}

impl CodebookReader {
    /// The next codebook, in storage order.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>) -> Result<Vec<f32>> {
        let back = bits.read_exp_golomb()? as usize;
        if back > 0 {
            let known = self
                .known
                .len()
                .checked_sub(back)
                .map(|i| self.known[i].clone());
            return known.ok_or_else(|| Error::corrupt("the same as a codebook that is not there"));
        }
        let entries = Self::read_new(bits)?;
        self.known.push(entries.clone());
        Ok(entries)
    }

    fn read_new(bits: &mut Bits<'_>) -> Result<Vec<f32>> {
        let n_negative = bits.read_exp_golomb()? as usize;
        let n_positive = bits.read_exp_golomb()? as usize;
        let n = n_negative.saturating_add(n_positive).saturating_add(1);
        if n > MAX_ENTRIES {
            return Err(Error::too_large(
                "codebook entries",
                n as u64,
                MAX_ENTRIES as u64,
            ));
        }
        if n == 1 {
            return Ok(vec![0.0]);
        }
        let n_mantissa = bits.read(5)? as u32;
        if n_mantissa > MANTISSA_BITS {
            return Err(Error::corrupt("codebook entries of impossible width"));
        }
        let is_grid = bits.read(1)? == 1;
        let number = bits.read(8 + n_mantissa)? as u32;
        let from_key = |key: u32| f32::from_bits(key << (MANTISSA_BITS - n_mantissa));
        let step = from_key(number);
        let (before, k) = match is_grid {
            true => (0, 0),
            false => (number.wrapping_sub(1), bits.read(5)? as u32),
        };
        let mut side = |n: usize| -> Result<Vec<f32>> {
            let mut last = before;
            let mut read = || -> Result<f32> {
                last = read_key(bits, last, k)?;
                if !is_grid && last >> (8 + n_mantissa) != 0 {
                    return Err(Error::corrupt("a codebook entry has too many bits"));
                }
                let entry = if is_grid {
                    last as f32 * step
                } else {
                    from_key(last)
                };
                match entry.is_finite() && entry > 0.0 {
                    true => Ok(entry),
                    false => Err(Error::corrupt(format!("{entry} as a codebook entry"))),
                }
            };
            (0..n).map(|_| read()).collect()
        };
        let (negative, positive) = (side(n_negative)?, side(n_positive)?);
        let mut entries = vec![0.0];
        entries.extend(negative.iter().rev().map(|m| -m));
        entries.extend(positive);
        match is_in_order(&entries) {
            true => Ok(entries),
            false => Err(Error::corrupt("codebook entries are not in order")),
        }
    }
}

fn read_key(bits: &mut Bits<'_>, last: u32, k: u32) -> Result<u32> {
    let high = u64::from(bits.read_exp_golomb()?) << k;
    let distance = u32::try_from(high | bits.read(k)?);
    let distance = distance.map_err(|_| Error::corrupt("a codebook distance exceeds 32 bits"))?;
    Ok(last.wrapping_add(distance).wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_round_trip(codebooks: &[Vec<f32>]) -> u64 {
        let mut out = BitWriter::new();
        let mut writer = CodebookWriter::default();
        codebooks.iter().for_each(|c| writer.write(&mut out, c));
        let len_bits = out.len_bits();
        let bytes = out.finish();
        let mut bits = Bits::new(&bytes);
        let mut reader = CodebookReader::default();
        for c in codebooks {
            assert_eq!(&reader.read(&mut bits).unwrap(), c);
        }
        bits.finish().unwrap();
        len_bits
    }

    fn in_order(mut entries: Vec<f32>) -> Vec<f32> {
        entries.retain(|e| e.is_finite() && *e != 0.0);
        entries.sort_unstable_by(f32::total_cmp);
        entries.dedup();
        entries.truncate(255);
        [vec![0.0], entries].concat()
    }

    #[test]
    fn exact_and_short() {
        let grid: Vec<f32> = (-15..=15).map(|i| i as f32 * 0.0371).collect();
        let holes: Vec<f32> = [-9, -4, -2, -1, 1, 3, 7].map(|i| i as f32 * 0.1).to_vec();
        let halves: Vec<f32> = [-0.7, -0.31, -0.11, 0.09, 0.2, 0.33, 0.9]
            .map(|v: f32| f32::from_bits(v.to_bits() & !0x1FFF))
            .to_vec();
        for (name, entries, max_bits) in [
            ("zero alone", vec![], 3),
            ("one", vec![0.5], 30),
            ("grid", grid, 90),
            ("grid with holes", holes, 70),
            ("halves", halves, 120),
            ("extreme", vec![f32::MIN, -1e-45, 1e-45, f32::MAX], 250),
        ] {
            let entries = in_order(entries);
            let alone = assert_round_trip(std::slice::from_ref(&entries));
            assert!(alone <= max_bits, "{name}: {alone} > {max_bits}");
            let twice = assert_round_trip(&[entries.clone(), vec![0.0, 1.0], entries]);
            assert!(twice <= alone + 36, "{name}: {alone}, {twice}");
        }
    }

    proptest! {
        #[test]
        fn any_entries(entries in prop::collection::vec(any::<f32>(), 0..300)) {
            assert_round_trip(&[in_order(entries)]);
        }

        #[test]
        fn any_grid(multiples in prop::collection::vec(-200i32..200, 0..60), step in 1e-6f32..10.0) {
            assert_round_trip(&[in_order(multiples.iter().map(|&i| i as f32 * step).collect())]);
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let mut bits = Bits::new(&bytes);
            let mut reader = CodebookReader::default();
            while reader.read(&mut bits).is_ok() {}
        }
    }
}
