//! Fixed-width fields in a byte string, most significant bit first.
//!
//! The last byte is padded with zero bits. The reader refuses to read past the end, and
//! [`BitReader::finish`] refuses unread bytes and padding that is not zero, so that one content has
//! one encoding.

use crate::{Error, ErrorKind};

/// The widest field that one call reads or writes.
pub const MAX_FIELD_BITS: u32 = 56;

/// Appends fields to a byte string.
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, right aligned; fewer than eight between calls.
    pending: u64,
    n_pending: u32,
}

impl BitWriter {
    /// An empty writer.
    pub fn new() -> BitWriter {
        BitWriter::default()
    }

    /// Appends the low `n_bits` bits of `value`.
    ///
    /// # Panics
    ///
    /// If `n_bits` exceeds [`MAX_FIELD_BITS`] or `value` has a higher bit set.
    #[inline]
    pub fn write(&mut self, value: u64, n_bits: u32) {
        assert!(
            n_bits <= MAX_FIELD_BITS,
            "a field has at most {MAX_FIELD_BITS} bits"
        );
        assert!(value >> n_bits == 0, "the value must fit in its field");
        self.pending = self.pending << n_bits | value;
        self.n_pending += n_bits;
        while self.n_pending >= 8 {
            self.n_pending -= 8;
            self.bytes.push((self.pending >> self.n_pending) as u8);
        }
        self.pending &= (1 << self.n_pending) - 1;
    }

    /// Appends `value` as an Exp-Golomb code of order 0: 0 takes 1 bit, 1 and 2 take 3, 3 to 6
    /// take 5.
    pub fn write_exp_golomb(&mut self, value: u32) {
        let plus_one = u64::from(value) + 1;
        let n_bits = plus_one.ilog2();
        self.write(0, n_bits);
        self.write(plus_one, n_bits + 1);
    }

    /// The number of bits written so far.
    pub fn len_bits(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.n_pending)
    }

    /// The bytes, the last one padded with zero bits.
    pub fn finish(mut self) -> Vec<u8> {
        let padding = self.n_pending.wrapping_neg() % 8;
        self.write(0, padding);
        self.bytes
    }
}

/// Reads the fields that a [`BitWriter`] wrote.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits of `bytes[0]` already consumed; always below eight.
    offset: u32,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, offset: 0 }
    }

    /// The next `n_bits` bits, right aligned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if fewer are left.
    ///
    /// # Panics
    ///
    /// If `n_bits` exceeds [`MAX_FIELD_BITS`].
    #[inline]
    pub fn read(&mut self, n_bits: u32) -> Result<u64, Error> {
        let value = self.peek(n_bits);
        self.skip(n_bits)?;
        Ok(value)
    }

    /// As [`BitReader::read`], without consuming; bits past the end read as zero.
    #[inline]
    pub fn peek(&self, n_bits: u32) -> u64 {
        assert!(
            n_bits <= MAX_FIELD_BITS,
            "a field has at most {MAX_FIELD_BITS} bits"
        );
        let window = match self.bytes.first_chunk::<8>() {
            Some(chunk) => u64::from_be_bytes(*chunk),
            None => {
                let mut chunk = [0; 8];
                chunk[..self.bytes.len()].copy_from_slice(self.bytes);
                u64::from_be_bytes(chunk)
            }
        };
        // Two shifts, because a shift by 64 is not defined.
        (window << self.offset) >> 1 >> (63 - n_bits)
    }

    /// Consumes `n_bits` bits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if fewer are left.
    #[inline]
    pub fn skip(&mut self, n_bits: u32) -> Result<(), Error> {
        let end = self.offset + n_bits;
        let n_bytes = (end / 8) as usize;
        if n_bytes > self.bytes.len() || n_bytes == self.bytes.len() && !end.is_multiple_of(8) {
            return Err(Error::truncated("bits end inside a field"));
        }
        self.bytes = &self.bytes[n_bytes..];
        self.offset = end % 8;
        Ok(())
    }

    /// Reads what [`BitWriter::write_exp_golomb`] wrote.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if the bits end, [`ErrorKind::Corrupt`] if the value exceeds 32
    /// bits.
    pub fn read_exp_golomb(&mut self) -> Result<u32, Error> {
        let n_zeros = (self.peek(33) << 31).leading_zeros();
        if n_zeros > 32 {
            return match self.skip(33) {
                Ok(()) => Err(Error::corrupt("exp-golomb code exceeds 32 bits")),
                Err(truncated) => Err(truncated),
            };
        }
        self.skip(n_zeros)?;
        let plus_one = self.read(n_zeros + 1)?;
        u32::try_from(plus_one - 1).map_err(|_| Error::corrupt("exp-golomb code exceeds 32 bits"))
    }

    /// Checks that only the padding of the last byte is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trailing`] if a whole byte is left, [`ErrorKind::Corrupt`] if the padding is
    /// not zero.
    pub fn finish(self) -> Result<(), Error> {
        let n_padding = if self.offset == 0 { 0 } else { 8 - self.offset };
        if self.bytes.len() > usize::from(n_padding > 0) {
            return Err(Error::new(
                ErrorKind::Trailing,
                "bytes follow the last field",
            ));
        }
        if self.peek(n_padding) != 0 {
            return Err(Error::corrupt("padding bits are not zero"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout_is_most_significant_bit_first() {
        let mut writer = BitWriter::new();
        writer.write(0b101, 3);
        writer.write(0, 0);
        writer.write(0xABC, 12);
        assert_eq!(writer.len_bits(), 15);
        assert_eq!(writer.finish(), [0b1011_0101, 0b0111_1000]);
        assert!(BitWriter::new().finish().is_empty());
    }

    #[test]
    fn finish_accepts_only_zero_padding() {
        let cases: [(&str, &[u8], u32, Option<ErrorKind>); 6] = [
            ("empty", &[], 0, None),
            ("padded", &[0b1010_0000], 3, None),
            ("full byte", &[0xFF], 8, None),
            (
                "padding not zero",
                &[0b1010_0001],
                3,
                Some(ErrorKind::Corrupt),
            ),
            ("unread byte", &[0, 0], 3, Some(ErrorKind::Trailing)),
            ("nothing read", &[0], 0, Some(ErrorKind::Trailing)),
        ];
        for (name, bytes, n_bits, expected) in cases {
            let mut reader = BitReader::new(bytes);
            reader.skip(n_bits).unwrap();
            assert_eq!(
                reader.finish().map_err(|e| e.kind()).err(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn exp_golomb_edges() {
        for value in [0, 1, 2, 3, 6, 7, 254, 255, u32::MAX - 1, u32::MAX] {
            let mut writer = BitWriter::new();
            writer.write_exp_golomb(value);
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            assert_eq!(reader.read_exp_golomb(), Ok(value));
            reader.finish().unwrap();
            let cut = &bytes[..bytes.len() - 1];
            let error = BitReader::new(cut).read_exp_golomb().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{value}");
        }
        let error = BitReader::new(&[0; 16]).read_exp_golomb().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let error = BitReader::new(&[0, 0, 0, 0, 0xFF, 0, 0, 0, 0])
            .read_exp_golomb()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn fields_round_trip(fields in prop::collection::vec((any::<u64>(), 0..=56u32), 0..200)) {
            let mut writer = BitWriter::new();
            for &(value, n_bits) in &fields {
                writer.write(value & ((1 << n_bits) - 1), n_bits);
            }
            let len_bits = writer.len_bits();
            let bytes = writer.finish();
            prop_assert_eq!(bytes.len() as u64, len_bits.div_ceil(8));
            let mut reader = BitReader::new(&bytes);
            for &(value, n_bits) in &fields {
                prop_assert_eq!(reader.read(n_bits)?, value & ((1 << n_bits) - 1));
            }
            reader.finish()?;
        }

        #[test]
        fn any_bytes_read_without_panic(bytes: Vec<u8>, widths in prop::collection::vec(0..=56u32, 0..50)) {
            let mut reader = BitReader::new(&bytes);
            for n_bits in widths {
                let _ = reader.read(n_bits);
                let _ = reader.read_exp_golomb();
            }
            let _ = reader.finish();
        }
    }
}
