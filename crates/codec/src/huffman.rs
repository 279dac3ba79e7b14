//! Canonical Huffman codes: optimal prefix codes of limited length, stored as their lengths alone.
//!
//! Lengths come from the package-merge algorithm (Larmore and Hirschberg 1990), codes of one
//! length are numbered in symbol order, and an alphabet in which one symbol is used costs no bits
//! a symbol. Refused: lengths that are not exactly a complete prefix code, so that any bit pattern
//! decodes to something or ends early.

use crate::Error;
use crate::bits::{BitReader, BitWriter};

/// The longest code length that can be asked for.
pub const MAX_CODE_BITS: u8 = 32;

/// A prefix code over the symbols `0..n_symbols`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// By symbol: code length in bits, 0 if unused. All 0 if at most one symbol is used.
    lengths: Vec<u8>,
    /// By symbol: the code, right aligned.
    codes: Vec<u32>,
    /// Used symbols, by code length, then by symbol.
    sorted: Vec<u32>,
    /// By length: the number of codes of that length.
    n_of_length: [u32; MAX_CODE_BITS as usize + 1],
}

impl Code {
    /// The best code for symbols that occur `counts[symbol]` times, no code longer than `max_bits`.
    ///
    /// # Panics
    ///
    /// If `max_bits` exceeds [`MAX_CODE_BITS`] or is too small for the number of symbols used.
    pub fn from_counts(counts: &[u64], max_bits: u8) -> Code {
        assert!(
            max_bits <= MAX_CODE_BITS,
            "codes have at most {MAX_CODE_BITS} bits"
        );
        let mut used: Vec<u32> = (0..counts.len() as u32).collect();
        used.retain(|&symbol| counts[symbol as usize] > 0);
        assert!(
            used.len() as u64 <= 1 << max_bits,
            "more symbols than codes of {max_bits} bits"
        );
        sort_symbols(&mut used, &|symbol| counts[symbol as usize]);
        let weights: Vec<u64> = used.iter().map(|&symbol| counts[symbol as usize]).collect();
        let mut lengths = vec![0; counts.len()];
        for (&symbol, length) in used.iter().zip(package_merge(&weights, max_bits)) {
            lengths[symbol as usize] = length;
        }
        Code::new(lengths, used.first().copied())
    }

    /// The code with the given lengths, which are known to be a complete prefix code, or all zero
    /// for an alphabet that uses `only` or nothing.
    fn new(lengths: Vec<u8>, only: Option<u32>) -> Code {
        let mut n_of_length = [0; MAX_CODE_BITS as usize + 1];
        let mut sorted: Vec<u32> = (0..lengths.len() as u32).collect();
        sorted.retain(|&symbol| lengths[symbol as usize] > 0);
        sort_symbols(&mut sorted, &|symbol| u64::from(lengths[symbol as usize]));
        let mut codes = vec![0; lengths.len()];
        let mut next = 0u64;
        let mut previous = 0;
        for &symbol in &sorted {
            let length = lengths[symbol as usize];
            next <<= length - previous;
            previous = length;
            codes[symbol as usize] = next as u32;
            next += 1;
            n_of_length[usize::from(length)] += 1;
        }
        if sorted.is_empty() {
            sorted.extend(only);
        }
        Code {
            lengths,
            codes,
            sorted,
            n_of_length,
        }
    }

    /// The code length of every symbol in bits, 0 if it is unused or the only one used.
    pub fn lengths(&self) -> &[u8] {
        &self.lengths
    }

    /// Appends the lengths: runs of used and unused symbols, then differences of lengths.
    pub fn write_lengths(&self, out: &mut BitWriter) {
        out.write_exp_golomb(self.sorted.len() as u32);
        if let [only] = self.sorted[..] {
            out.write_exp_golomb(only);
        }
        if self.sorted.len() < 2 {
            return;
        }
        let mut previous = expected_length(self.sorted.len());
        let mut rest = &self.lengths[..];
        let mut n_left = self.sorted.len();
        while n_left > 0 {
            let n_unused = rest.iter().take_while(|&&length| length == 0).count();
            let n_used = rest[n_unused..]
                .iter()
                .take_while(|&&length| length > 0)
                .count();
            let (run, tail) = rest.split_at(n_unused + n_used);
            out.write_exp_golomb(n_unused as u32);
            out.write_exp_golomb(n_used as u32 - 1);
            for &length in &run[n_unused..] {
                out.write_exp_golomb(zigzag(i32::from(length) - previous));
                previous = i32::from(length);
            }
            n_left -= n_used;
            rest = tail;
        }
    }

    /// Reads what [`Code::write_lengths`] wrote for an alphabet of `n_symbols`.
    ///
    /// # Errors
    ///
    /// [`Truncated`](crate::ErrorKind::Truncated) if the bits end,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if they are not a complete prefix code over
    /// `n_symbols` symbols.
    pub fn read_lengths(input: &mut BitReader<'_>, n_symbols: usize) -> Result<Code, Error> {
        const NOT_A_CODE: Error = Error::corrupt("code lengths are not a complete prefix code");
        let n_used = input.read_exp_golomb()? as usize;
        if n_used > n_symbols {
            return Err(Error::corrupt("code has more symbols than its alphabet"));
        }
        let only = if n_used == 1 {
            Some(input.read_exp_golomb()?)
        } else {
            None
        };
        if only.is_some_and(|symbol| symbol as usize >= n_symbols) {
            return Err(Error::corrupt("code uses a symbol outside its alphabet"));
        }
        let mut lengths = Vec::new();
        let mut previous = expected_length(n_used);
        let mut n_left = if n_used < 2 { 0 } else { n_used };
        let mut room = 1u64 << MAX_CODE_BITS;
        while n_left > 0 {
            let n_unused = input.read_exp_golomb()? as usize;
            let n_run = input.read_exp_golomb()? as usize;
            if n_run >= n_left || n_unused > n_symbols - lengths.len() - n_left {
                return Err(NOT_A_CODE);
            }
            lengths.resize(lengths.len() + n_unused, 0);
            for _ in 0..=n_run {
                previous = previous.saturating_add(unzigzag(input.read_exp_golomb()?));
                if !(1..=i32::from(MAX_CODE_BITS)).contains(&previous) {
                    return Err(NOT_A_CODE);
                }
                let share = 1u64 << (i32::from(MAX_CODE_BITS) - previous);
                room = room.checked_sub(share).ok_or(NOT_A_CODE)?;
                lengths.push(previous as u8);
            }
            n_left -= n_run + 1;
        }
        if n_used >= 2 && room > 0 {
            return Err(NOT_A_CODE);
        }
        lengths.resize(n_symbols, 0);
        Ok(Code::new(lengths, only))
    }

    /// Appends a symbol.
    ///
    /// # Panics
    ///
    /// If the symbol is outside the alphabet. A symbol that had no count is a broken promise that
    /// only debug builds notice.
    #[inline]
    pub fn write(&self, symbol: u32, out: &mut BitWriter) {
        let length = self.lengths[symbol as usize];
        debug_assert!(
            length > 0 || self.sorted == [symbol],
            "the symbol must have a code"
        );
        out.write(u64::from(self.codes[symbol as usize]), u32::from(length));
    }

    /// Reads a symbol.
    ///
    /// # Errors
    ///
    /// [`Truncated`](crate::ErrorKind::Truncated) if the bits end,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the code has no symbols.
    #[inline]
    pub fn read(&self, input: &mut BitReader<'_>) -> Result<u32, Error> {
        if self.sorted.len() < 2 {
            let only = self.sorted.first().copied();
            return only.ok_or(Error::corrupt("symbol of a code without symbols"));
        }
        let window = input.peek(u32::from(MAX_CODE_BITS));
        let (mut first, mut n_before) = (0u64, 0usize);
        for length in 1..=u32::from(MAX_CODE_BITS) {
            first <<= 1;
            let n = self.n_of_length[length as usize];
            let code = window >> (u32::from(MAX_CODE_BITS) - length);
            if code - first < u64::from(n) {
                input.skip(length)?;
                return Ok(self.sorted[n_before + (code - first) as usize]);
            }
            first += u64::from(n);
            n_before += n as usize;
        }
        unreachable!("a complete code has a symbol for every bit pattern")
    }
}

/// Codes `symbols`, each below `n_symbols`, with a code of at most `max_bits` made for them. The
/// lengths come first.
///
/// # Panics
///
/// If a symbol is not below `n_symbols`, or as [`Code::from_counts`].
pub fn encode(symbols: &[u32], n_symbols: usize, max_bits: u8) -> Vec<u8> {
    let mut counts = vec![0; n_symbols];
    symbols
        .iter()
        .for_each(|&symbol| counts[symbol as usize] += 1);
    let code = Code::from_counts(&counts, max_bits);
    let mut out = BitWriter::new();
    code.write_lengths(&mut out);
    symbols
        .iter()
        .for_each(|&symbol| code.write(symbol, &mut out));
    out.finish()
}

/// Decodes `len` symbols that [`encode`] wrote.
///
/// # Errors
///
/// If the bytes are not exactly a code and `len` symbols.
pub fn decode(bytes: &[u8], n_symbols: usize, len: usize) -> Result<Vec<u32>, Error> {
    let mut input = BitReader::new(bytes);
    let code = Code::read_lengths(&mut input, n_symbols)?;
    let symbols = (0..len)
        .map(|_| code.read(&mut input))
        .collect::<Result<_, _>>()?;
    input.finish()?;
    Ok(symbols)
}

/// Where the differences of lengths start: the length if all symbols were equally likely.
fn expected_length(n_used: usize) -> i32 {
    n_used.next_power_of_two().ilog2() as i32
}

fn zigzag(x: i32) -> u32 {
    (x << 1 ^ x >> 31) as u32
}

fn unzigzag(x: u32) -> i32 {
    (x >> 1) as i32 ^ -((x & 1) as i32)
}

/// Sorts symbols by a key, stably. The key is called through a pointer, for a sort takes some kilobytes of the
/// program for each.
fn sort_symbols(symbols: &mut [u32], key: &dyn Fn(u32) -> u64) {
    symbols.sort_by_key(|&symbol| key(symbol));
}

/// Optimal code lengths of at most `max_bits` for weights in ascending order.
///
/// Each level's list holds the weights and, merged in, the pairs of the list one bit longer. The
/// cheapest `2 n - 2` items of the last list say how often each weight was taken, which is its
/// length. Only whether an item is a pair must be kept: of the weights, always the first few are
/// taken.
fn package_merge(weights: &[u64], max_bits: u8) -> Vec<u8> {
    let n = weights.len();
    let mut lengths = vec![0; n];
    if n < 2 {
        return lengths;
    }
    let mut levels: Vec<Vec<bool>> = Vec::new();
    let mut pairs: Vec<u64> = Vec::new();
    for _ in 0..max_bits {
        let mut items = Vec::with_capacity(n + pairs.len());
        items.extend(weights.iter().map(|&weight| (weight, false)));
        items.extend(pairs.iter().map(|&weight| (weight, true)));
        items.sort();
        pairs = items
            .chunks_exact(2)
            .map(|pair| pair[0].0.saturating_add(pair[1].0))
            .collect();
        levels.push(items.into_iter().map(|(_, is_pair)| is_pair).collect());
    }
    let mut n_taken = 2 * n - 2;
    for level in levels.iter().rev() {
        let n_pairs = level[..n_taken].iter().filter(|&&is_pair| is_pair).count();
        lengths[..n_taken - n_pairs]
            .iter_mut()
            .for_each(|length| *length += 1);
        n_taken = 2 * n_pairs;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, entropy};
    use proptest::prelude::*;

    /// Size of an optimal code without a length limit, by Huffman's own algorithm.
    fn reference_huffman_bits(counts: &[u64]) -> u64 {
        let mut weights: Vec<u64> = counts.iter().copied().filter(|&n| n > 0).collect();
        let mut total = 0;
        while weights.len() > 1 {
            weights.sort_unstable_by(|a, b| b.cmp(a));
            let pair = weights.pop().unwrap() + weights.pop().unwrap();
            total += pair;
            weights.push(pair);
        }
        total
    }

    fn size_bits(code: &Code, counts: &[u64]) -> u64 {
        counts
            .iter()
            .zip(code.lengths())
            .map(|(&n, &length)| n * u64::from(length))
            .sum()
    }

    fn fibonacci(n: usize) -> Vec<u64> {
        let (mut a, mut b) = (1, 1);
        std::iter::repeat_with(|| (a, (a, b) = (b, a + b)).0)
            .take(n)
            .collect()
    }

    #[test]
    fn optimal_when_the_limit_does_not_bind() {
        let cases: [(&str, Vec<u64>); 6] = [
            ("nothing", vec![]),
            ("unused only", vec![0; 5]),
            ("one symbol", vec![0, 7, 0]),
            ("two symbols", vec![1, 1_000_000]),
            ("uniform", vec![3; 257]),
            ("fibonacci", fibonacci(24)),
        ];
        for (name, counts) in cases {
            let code = Code::from_counts(&counts, MAX_CODE_BITS);
            assert_eq!(
                size_bits(&code, &counts),
                reference_huffman_bits(&counts),
                "{name}"
            );
        }
    }

    #[test]
    fn limit_is_kept_at_little_cost() {
        for (n, max_bits) in [(24, 15), (40, 15), (24, 5), (16, 4), (40, 24)] {
            let counts = fibonacci(n);
            let code = Code::from_counts(&counts, max_bits);
            assert_eq!(code.lengths().iter().max(), Some(&max_bits));
            let share: f64 = code.lengths().iter().map(|&l| 0.5f64.powi(l.into())).sum();
            assert_eq!(share, 1.0);
            assert!(size_bits(&code, &counts) >= reference_huffman_bits(&counts));
        }
        // By hand: the two largest of 1 1 2 3 5 8 get two bits, the others three.
        assert_eq!(
            size_bits(&Code::from_counts(&fibonacci(6), 3), &fibonacci(6)),
            47
        );
    }

    #[test]
    fn canonical_codes_follow_symbol_order() {
        let code = Code::new(vec![2, 0, 1, 3, 3], None);
        assert_eq!(code.codes, [0b10, 0, 0b0, 0b110, 0b111]);
    }

    #[test]
    fn rate_is_between_entropy_and_one_bit_more() {
        let symbols: Vec<u32> = (0..20_000u32)
            .map(|i| (i.wrapping_mul(2654435761) >> 8).trailing_zeros())
            .collect();
        let bytes = encode(&symbols, 33, 15);
        let levels: Vec<i32> = symbols.iter().map(|&s| s as i32).collect();
        let entropy_bits = entropy::entropy_order0(&levels) * symbols.len() as f64;
        let size_bits = bytes.len() as f64 * 8.0;
        assert!(size_bits >= entropy_bits);
        assert!(size_bits <= entropy_bits + symbols.len() as f64);
    }

    #[test]
    fn bad_bytes() {
        let cases: [(&str, &[u8], usize, usize, ErrorKind); 6] = [
            ("nothing", &[], 4, 0, ErrorKind::Truncated),
            (
                "symbol of an empty code",
                &[0b1000_0000],
                4,
                1,
                ErrorKind::Corrupt,
            ),
            (
                "more symbols than the alphabet",
                &[0b0011_1000],
                4,
                1,
                ErrorKind::Corrupt,
            ),
            (
                "the only symbol is outside",
                &[0b0100_1010],
                1,
                1,
                ErrorKind::Corrupt,
            ),
            (
                "lengths 1 1 and 1",
                &[0b0010_0101, 0b1111_1000],
                4,
                1,
                ErrorKind::Corrupt,
            ),
            (
                "trailing byte",
                &[0b0101_0000, 0],
                1,
                9,
                ErrorKind::Trailing,
            ),
        ];
        for (name, bytes, n_symbols, len, kind) in cases {
            assert_eq!(
                decode(bytes, n_symbols, len).unwrap_err().kind(),
                kind,
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn round_trip(symbols in prop::collection::vec(0..300u32, 0..500), max_bits in 9..=MAX_CODE_BITS) {
            let bytes = encode(&symbols, 300, max_bits);
            prop_assert_eq!(decode(&bytes, 300, symbols.len())?, symbols);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, n_symbols in 0..300usize, len in 0..300usize) {
            let _ = decode(&bytes, n_symbols, len);
        }
    }
}
