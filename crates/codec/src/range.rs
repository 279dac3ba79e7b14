//! Binary range coder: a decision costs the information it carries, to a thousandth of a bit.
//!
//! The caller supplies the probability of every decision, fixed or adaptive, and must supply the
//! same ones when decoding. The coder keeps a 32-bit interval, multiplies in 64 bits and moves a
//! whole byte at a time; a carry is added into the bytes already written, which a growing vector
//! makes simpler than holding bytes back. It is the coder of G. N. N. Martin, "Range encoding"
//! (1979), with two symbols.
//!
//! The end of a code is not stored: the decoder reads zeros there, and [`Decoder::finish`] tells
//! a complete code from one that is cut short or goes on.

use crate::{Error, ErrorKind};

/// Probabilities are multiples of `2^-PROB_BITS`.
pub const PROB_BITS: u32 = 16;

/// The probability one half, for bits without a model.
pub const HALF: u16 = 1 << (PROB_BITS - 1);

/// The interval is kept at least this wide, so that every probability leaves room for both bits.
const MIN_RANGE: u32 = 1 << 24;

/// The decoder looks this far ahead, and so reads up to this far past the end of a whole code.
const LOOK_AHEAD: usize = 4;

/// The part of `range` that belongs to a one. Probability zero counts as the smallest positive
/// one, because a decision that cannot happen must not be coded at all.
#[inline]
fn split(range: u32, p_one: u16) -> u32 {
    ((u64::from(range) * u64::from(p_one.max(1))) >> PROB_BITS) as u32
}

/// Turns decisions into bytes.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The code's value lies in `low..low + range`, as a fraction that continues `bytes`.
    low: u32,
    range: u32,
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder with nothing coded.
    pub fn new() -> Encoder {
        Encoder {
            low: 0,
            range: u32::MAX,
            bytes: Vec::new(),
        }
    }

    /// Codes `bit`, which is a one with probability `p_one / 2^PROB_BITS`.
    #[inline]
    pub fn encode(&mut self, bit: bool, p_one: u16) {
        let split = split(self.range, p_one);
        if bit {
            self.range = split;
        } else {
            self.add(split);
            self.range -= split;
        }
        while self.range < MIN_RANGE {
            self.bytes.push((self.low >> 24) as u8);
            self.low <<= 8;
            self.range <<= 8;
        }
    }

    /// The number of bytes that are certain so far; [`Encoder::finish`] adds at most one.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The shortest bytes that decode to the decisions coded, given that zeros follow.
    pub fn finish(mut self) -> Vec<u8> {
        // If zero or 2^32 lies in the interval, the zeros that follow are the rest of the code;
        // otherwise some multiple of 2^24 does, which takes one byte.
        let to_carry = self.low.wrapping_neg();
        if to_carry < self.range {
            self.add(to_carry);
        } else {
            self.add(to_carry % MIN_RANGE);
            self.bytes.push((self.low >> 24) as u8);
        }
        self.bytes
    }

    /// Raises `low`, carrying into the bytes already written.
    #[inline]
    fn add(&mut self, step: u32) {
        let (low, carry) = self.low.overflowing_add(step);
        self.low = low;
        if carry {
            for byte in self.bytes.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
    }
}

/// Turns bytes back into decisions.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    /// Bytes consumed, those past the end of `bytes` included.
    n_read: usize,
    /// The code's value, relative to the interval's lower end.
    value: u32,
    range: u32,
}

impl<'a> Decoder<'a> {
    /// A decoder at the first decision of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        let mut decoder = Decoder {
            bytes,
            n_read: 0,
            value: 0,
            range: u32::MAX,
        };
        for _ in 0..LOOK_AHEAD {
            decoder.shift();
        }
        decoder
    }

    /// The next decision, given the probability it was coded with.
    #[inline]
    pub fn decode(&mut self, p_one: u16) -> bool {
        let split = split(self.range, p_one);
        let bit = self.value < split;
        if bit {
            self.range = split;
        } else {
            self.value -= split;
            self.range -= split;
        }
        while self.range < MIN_RANGE {
            self.range <<= 8;
            self.shift();
        }
        bit
    }

    /// Whether more decisions were taken than the bytes hold. They were taken from zeros, without
    /// end, so a loop with many cheap decisions should ask now and then.
    pub fn is_overrun(&self) -> bool {
        self.n_read > self.bytes.len() + LOOK_AHEAD
    }

    /// Checks that the bytes end where the decisions do.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if decisions were taken past the end, [`ErrorKind::Trailing`] if
    /// bytes are left over.
    pub fn finish(self) -> Result<(), Error> {
        if self.is_overrun() {
            return Err(Error::truncated("range code ends before its last decision"));
        }
        // A whole code ends at most one byte into the look-ahead.
        if self.n_read + 1 < self.bytes.len() + LOOK_AHEAD {
            return Err(Error::new(
                ErrorKind::Trailing,
                "bytes follow the range code",
            ));
        }
        Ok(())
    }

    #[inline]
    fn shift(&mut self) {
        let byte = self.bytes.get(self.n_read).copied().unwrap_or(0);
        self.n_read += 1;
        self.value = self.value << 8 | u32::from(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(decisions: &[(bool, u16)]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        for &(bit, p_one) in decisions {
            encoder.encode(bit, p_one);
        }
        let n_certain = encoder.len_bytes();
        let bytes = encoder.finish();
        assert!((n_certain..=n_certain + 1).contains(&bytes.len()));
        bytes
    }

    fn assert_round_trip(decisions: &[(bool, u16)]) -> Vec<u8> {
        let bytes = encode(decisions);
        let mut decoder = Decoder::new(&bytes);
        for &(bit, p_one) in decisions {
            assert_eq!(decoder.decode(p_one), bit);
        }
        decoder.finish().unwrap();
        bytes
    }

    fn cost_bits(decisions: &[(bool, u16)]) -> f64 {
        let p = |p_one: u16| f64::from(p_one.max(1)) / f64::from(1 << PROB_BITS);
        decisions
            .iter()
            .map(|&(bit, q)| -if bit { p(q) } else { 1.0 - p(q) }.log2())
            .sum()
    }

    /// `n` decisions that are ones with probability `p_one`, from a linear congruential generator.
    fn draws(n: usize, p_one: u16) -> Vec<(bool, u16)> {
        let mut state = 0x0123_4567_89AB_CDEF_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 48) as u16
        };
        (0..n).map(|_| (next() < p_one, p_one)).collect()
    }

    #[test]
    fn static_probability_reaches_entropy() {
        for p_one in [1, 3, 100, 4000, HALF, 50_000, u16::MAX] {
            for n in [0, 1, 10, 1000, 200_000] {
                let decisions = draws(n, p_one);
                let size_bits = assert_round_trip(&decisions).len() as f64 * 8.0;
                let bound_bits = cost_bits(&decisions) * 1.001 + 8.0;
                assert!(
                    size_bits <= bound_bits,
                    "p {p_one} n {n}: {size_bits} > {bound_bits}"
                );
            }
        }
    }

    #[test]
    fn carries_reach_far_back() {
        // A one at probability close to one leaves `low` alone; the zero after it lands at the very
        // top of the interval, so the bytes before it are 0xFF until something carries.
        for n_top in 0..200 {
            let mut decisions = vec![(false, u16::MAX); n_top];
            decisions.extend([(true, 1), (false, HALF), (false, u16::MAX), (true, HALF)]);
            decisions.extend(vec![(false, 1); 9]);
            assert_round_trip(&decisions);
        }
    }

    #[test]
    fn likely_decisions_alone_take_no_bytes() {
        assert!(assert_round_trip(&[]).is_empty());
        assert!(assert_round_trip(&[(true, u16::MAX); 100]).is_empty());
        assert!(assert_round_trip(&[(false, 1); 100]).len() <= 1);
    }

    #[test]
    fn end_is_checked() {
        let decisions = draws(4000, 9000);
        let bytes = encode(&decisions);
        let finish = |bytes: &[u8]| {
            let mut decoder = Decoder::new(bytes);
            decisions
                .iter()
                .for_each(|&(_, p_one)| _ = decoder.decode(p_one));
            decoder.finish().map_err(|e| e.kind()).err()
        };
        assert_eq!(finish(&bytes), None);
        assert_eq!(
            finish(&bytes[..bytes.len() - 9]),
            Some(ErrorKind::Truncated)
        );
        assert_eq!(finish(&[]), Some(ErrorKind::Truncated));
        assert_eq!(
            finish(&[&bytes[..], &[0, 0]].concat()),
            Some(ErrorKind::Trailing)
        );
    }

    proptest! {
        #[test]
        fn round_trip(decisions in prop::collection::vec(any::<(bool, u16)>(), 0..2000)) {
            let size_bits = assert_round_trip(&decisions).len() as f64 * 8.0;
            prop_assert!(size_bits <= cost_bits(&decisions) * 1.001 + 8.0);
        }

        #[test]
        fn extreme_probabilities_round_trip(
            decisions in prop::collection::vec((any::<bool>(), prop::sample::select(vec![0, 1, u16::MAX])), 0..3000)
        ) {
            assert_round_trip(&decisions);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, probabilities: Vec<u16>) {
            let mut decoder = Decoder::new(&bytes);
            probabilities.iter().for_each(|&p_one| _ = decoder.decode(p_one));
            let _ = decoder.finish();
        }
    }
}
