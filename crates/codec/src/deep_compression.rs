//! The sparse format of Han, Mao and Dally, "Deep Compression" (ICLR 2016): relative indices of the
//! nonzero weights and their codebook indices, each under a Huffman code.
//!
//! It is here to be compared with, not to be used: [`weights`](crate::weights) is smaller. A gap of
//! `g` zeros before a weight is a symbol of `gap_bits` bits; a longer one is broken by a filler, a
//! zero stored as if it were a weight. The code tables are inside, so that sizes compare fairly.
//! Refused: entries beyond the decoded length, tables that no encoder writes.

use crate::bits::{BitReader, BitWriter};
use crate::huffman::{Code, MAX_CODE_BITS};
use crate::{Error, varint};

/// The gap widths that can be asked for. The paper uses 5 for dense layers, 8 for convolutions.
pub const GAP_BITS: std::ops::RangeInclusive<u32> = 1..=16;

/// A stored weight: the zeros before it, and its place in the codebook.
type Entry = (u32, u32);

/// Codes `levels` with gaps of `gap_bits` bits.
///
/// # Panics
///
/// If `gap_bits` is not in [`GAP_BITS`].
pub fn encode(levels: &[i32], gap_bits: u32) -> Vec<u8> {
    assert!(GAP_BITS.contains(&gap_bits), "gaps have 1 to 16 bits");
    let (codebook, entries) = entries(levels, gap_bits);
    let mut bytes = vec![gap_bits as u8];
    varint::write(&mut bytes, entries.len() as u64);
    let mut gap_counts = vec![0; 1 << gap_bits];
    let mut index_counts = vec![0; codebook.len()];
    for &(gap, index) in &entries {
        gap_counts[gap as usize] += 1;
        index_counts[index as usize] += 1;
    }
    let gap_code = Code::from_counts(&gap_counts, MAX_CODE_BITS);
    let index_code = Code::from_counts(&index_counts, MAX_CODE_BITS);

    let mut out = BitWriter::new();
    write_codebook(&codebook, &mut out);
    gap_code.write_lengths(&mut out);
    index_code.write_lengths(&mut out);
    for &(gap, index) in &entries {
        gap_code.write(gap, &mut out);
        index_code.write(index, &mut out);
    }
    bytes.extend(out.finish());
    bytes
}

/// As [`encode`], with the gap width that gives the fewest bytes.
pub fn encode_best(levels: &[i32]) -> Vec<u8> {
    let candidates = GAP_BITS.map(|gap_bits| encode(levels, gap_bits));
    candidates
        .min_by_key(Vec::len)
        .expect("there is at least one gap width")
}

/// Decodes `len` levels that [`encode`] or [`encode_best`] wrote.
///
/// # Errors
///
/// [`Truncated`](crate::ErrorKind::Truncated), [`Trailing`](crate::ErrorKind::Trailing) or
/// [`Corrupt`](crate::ErrorKind::Corrupt) if the bytes are not a code of `len` levels.
pub fn decode(mut bytes: &[u8], len: usize) -> Result<Vec<i32>, Error> {
    let (&gap_bits, rest) = bytes
        .split_first()
        .ok_or(Error::truncated("no gap width"))?;
    if !GAP_BITS.contains(&u32::from(gap_bits)) {
        return Err(Error::corrupt("gap width is not 1 to 16"));
    }
    bytes = rest;
    let n_entries = varint::read(&mut bytes)?;
    if n_entries > len as u64 {
        return Err(Error::corrupt("more entries than levels"));
    }
    let mut input = BitReader::new(bytes);
    let codebook = read_codebook(&mut input, n_entries)?;
    let gap_code = Code::read_lengths(&mut input, 1 << gap_bits)?;
    let index_code = Code::read_lengths(&mut input, codebook.len())?;
    let mut levels = vec![0; len];
    let mut next = 0;
    for _ in 0..n_entries {
        let at = next + gap_code.read(&mut input)? as usize;
        let index = index_code.read(&mut input)?;
        *levels
            .get_mut(at)
            .ok_or(Error::corrupt("entry beyond the last level"))? = codebook[index as usize];
        next = at + 1;
    }
    input.finish()?;
    Ok(levels)
}

/// The distinct levels stored, in ascending order, and the entries that refer to them.
fn entries(levels: &[i32], gap_bits: u32) -> (Vec<i32>, Vec<Entry>) {
    let max_gap = (1 << gap_bits) - 1;
    let mut stored = Vec::new();
    let mut gap = 0;
    let n_used = levels
        .iter()
        .rposition(|&level| level != 0)
        .map_or(0, |last| last + 1);
    for &level in &levels[..n_used] {
        if level == 0 && gap < max_gap {
            gap += 1;
        } else {
            stored.push((gap, level));
            gap = 0;
        }
    }
    let mut codebook: Vec<i32> = stored.iter().map(|&(_, level)| level).collect();
    codebook.sort_unstable();
    codebook.dedup();
    let index = |level: i32| codebook.partition_point(|&entry| entry < level) as u32;
    let entries = stored
        .into_iter()
        .map(|(gap, level)| (gap, index(level)))
        .collect();
    (codebook, entries)
}

/// The size, the first entry and the steps between entries, which are mostly 1.
fn write_codebook(codebook: &[i32], out: &mut BitWriter) {
    out.write_exp_golomb(codebook.len() as u32);
    let Some(&first) = codebook.first() else {
        return;
    };
    out.write_exp_golomb((first as u32) << 1 ^ (first >> 31) as u32);
    for pair in codebook.windows(2) {
        out.write_exp_golomb(pair[0].abs_diff(pair[1]) - 1);
    }
}

fn read_codebook(input: &mut BitReader<'_>, max_len: u64) -> Result<Vec<i32>, Error> {
    let len = input.read_exp_golomb()?;
    if u64::from(len) > max_len {
        return Err(Error::corrupt(
            "codebook is larger than the number of entries",
        ));
    }
    let mut codebook = Vec::new();
    for _ in 0..len {
        let step = input.read_exp_golomb()?;
        let entry = match codebook.last() {
            None => Some((step >> 1) as i32 ^ -((step & 1) as i32)),
            Some(&last) => {
                let next = i64::from(last) + i64::from(step) + 1;
                i32::try_from(next).ok()
            }
        };
        codebook.push(entry.ok_or(Error::corrupt("codebook entry exceeds 32 bits"))?);
    }
    Ok(codebook)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    /// Mostly zeros, the rest of both signs.
    fn sparse() -> impl Strategy<Value = Vec<i32>> {
        let level = prop_oneof![9 => Just(0), 1 => -8..=8, 1 => any::<i32>()];
        prop::collection::vec(level, 0..600)
    }

    #[test]
    fn edge_cases_round_trip() {
        let mut lonely = vec![0; 5000];
        lonely[4321] = -3;
        let cases: [(&str, Vec<i32>); 7] = [
            ("empty", vec![]),
            ("one zero", vec![0]),
            ("one weight", vec![5]),
            ("all zero", vec![0; 1000]),
            ("no zero", vec![i32::MIN, i32::MAX, -1, 1]),
            ("one weight far in", lonely),
            ("gap of exactly one filler", [vec![0; 32], vec![1]].concat()),
        ];
        for (name, levels) in cases {
            for gap_bits in GAP_BITS {
                let bytes = encode(&levels, gap_bits);
                assert_eq!(
                    decode(&bytes, levels.len()).as_ref(),
                    Ok(&levels),
                    "{name} {gap_bits}"
                );
            }
            let best = encode_best(&levels);
            let smallest = GAP_BITS
                .map(|gap_bits| encode(&levels, gap_bits).len())
                .min();
            assert_eq!(Some(best.len()), smallest, "{name}");
        }
    }

    #[test]
    fn fillers_are_those_of_the_paper() {
        // Figure 2 of the paper: 3-bit gaps, a filler after eight places without a weight.
        let mut levels = vec![0; 16];
        (levels[1], levels[4], levels[15]) = (34, 9, 17);
        let (codebook, entries) = entries(&levels, 3);
        assert_eq!(codebook, [0, 9, 17, 34]);
        assert_eq!(entries, [(1, 3), (2, 1), (7, 0), (2, 2)]);
    }

    #[test]
    fn rate_is_near_that_of_its_symbols() {
        // One weight in 16 at random places, four values: a gap has about 5.4 bits, a value 2.
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state >> 33
        };
        let levels: Vec<i32> = (0..64_000)
            .map(|_| {
                if next() % 16 == 0 {
                    [-2, -1, 1, 2][next() as usize % 4]
                } else {
                    0
                }
            })
            .collect();
        let bits_per_weight = encode(&levels, 6).len() as f64 * 8.0 / 4000.0;
        assert!((7.2..8.2).contains(&bits_per_weight), "{bits_per_weight}");
    }

    #[test]
    fn bad_bytes() {
        let cases: [(&str, &[u8], usize, ErrorKind); 5] = [
            ("nothing", &[], 1, ErrorKind::Truncated),
            ("gap width 0", &[0, 0], 1, ErrorKind::Corrupt),
            ("gap width 17", &[17, 0], 1, ErrorKind::Corrupt),
            (
                "more entries than levels",
                &[5, 9, 0, 0],
                8,
                ErrorKind::Corrupt,
            ),
            ("tables cut off", &[5, 3], 8, ErrorKind::Truncated),
        ];
        for (name, bytes, len, kind) in cases {
            assert_eq!(decode(bytes, len).unwrap_err().kind(), kind, "{name}");
        }
        let bytes = encode(&[0, 0, 1, 2, 0, 3], 2);
        assert_eq!(decode(&bytes, 5).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn round_trip(levels in sparse(), gap_bits in GAP_BITS) {
            let bytes = encode(&levels, gap_bits);
            prop_assert_eq!(decode(&bytes, levels.len())?, levels);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, len in 0..5000usize) {
            let _ = decode(&bytes, len);
        }

        #[test]
        fn mutated_bytes_decode_without_panic(
            levels in sparse(), at: prop::sample::Index, flip in 1..=255u8, cut: prop::sample::Index
        ) {
            let mut bytes = encode(&levels, 5);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let _ = decode(&bytes, levels.len());
            let _ = decode(&bytes[..cut.index(bytes.len())], levels.len());
        }
    }
}
