//! Numbers packed into bits: blocks of floats without the bits they do not need.
//!
//! Everything is exact: a block that has no short form is stored as it is. Floats that were rounded
//! to few significant bits ([`round`](super::round)) and have similar sizes are short.
//!
//! | block mode, 2 bits | then |
//! |---|---|
//! | 0 plain | 32 bits each |
//! | 1 packed | mantissa bits `m` (5), exponent bits `e` (4), lowest exponent (8), signed (1); each: sign, exponent + 1 above the lowest, 0 for zero, mantissa |
//! | 2 constant | 32 bits once |
//! | 3 fixed point | bits `b` (5), exponent (9); each: an integer of `b` bits, two's complement |

use bantam_codec::bits::{BitReader, BitWriter};

use super::text::Part;
use crate::{Error, ErrorKind, Result};

/// A [`BitReader`] that knows where it is.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    reader: BitReader<'a>,
    n_left: u64,
    n_read: u64,
    marks: Vec<(Part, u64)>,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits {
            reader: BitReader::new(bytes),
            n_left: bytes.len() as u64 * 8,
            n_read: 0,
            marks: Vec::new(),
        }
    }

    /// Says what the bits since the last mark were for.
    pub(super) fn mark(&mut self, part: impl Into<Part>) {
        self.marks.push((part.into(), self.n_read));
    }

    /// The marks and the bit where each ends; errs when a byte is left.
    pub(super) fn finish(self) -> Result<Vec<(Part, u64)>> {
        self.reader.finish()?;
        Ok(self.marks)
    }

    pub(super) fn read(&mut self, n_bits: u32) -> Result<u64> {
        let value = self.reader.read(n_bits)?;
        self.n_left -= u64::from(n_bits);
        self.n_read += u64::from(n_bits);
        Ok(value)
    }

    pub(super) fn read_exp_golomb(&mut self) -> Result<u32> {
        let value = self.reader.read_exp_golomb()?;
        let n_bits = u64::from(2 * (u64::from(value) + 1).ilog2() + 1);
        self.n_left -= n_bits;
        self.n_read += n_bits;
        Ok(value)
    }

    /// Errs unless `n` fields of `n_bits` bits are left.
    pub(super) fn expect(&self, n: usize, n_bits: u32) -> Result<()> {
        let needed = (n as u64).checked_mul(u64::from(n_bits));
        match needed.is_some_and(|needed| needed <= self.n_left) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Truncated, "numbers end early")),
        }
    }
}

const MANTISSA_BITS: u32 = 23;

const PLAIN: u64 = 0;
const PACKED: u64 = 1;
const CONSTANT: u64 = 2;
const FIXED: u64 = 3;

/// Appends `values`, in the shortest mode.
pub(super) fn write_block(out: &mut BitWriter, values: &[f32]) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) && values.len() > 1 {
        out.write(CONSTANT, 2);
        return out.write(u64::from(first.to_bits()), 32);
    }
    let plain_bits = 32 * values.len() as u64;
    let packed = Packed::fit(values);
    let fixed = Fixed::fit(values);
    let packed_bits = packed.map_or(u64::MAX, |p| 18 + values.len() as u64 * p.each_bits());
    let fixed_bits = fixed.map_or(u64::MAX, |f| 14 + values.len() as u64 * u64::from(f.n_bits));
    match (packed, fixed) {
        (_, Some(fixed)) if fixed_bits < packed_bits.min(plain_bits) => fixed.write(out, values),
        (Some(packed), _) if packed_bits < plain_bits => packed.write(out, values),
        _ => {
            out.write(PLAIN, 2);
            values
                .iter()
                .for_each(|v| out.write(u64::from(v.to_bits()), 32));
        }
    }
}

/// Reads `len` values that [`write_block`] wrote.
pub(super) fn read_block(bits: &mut Bits<'_>, len: usize) -> Result<Vec<f32>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    match bits.read(2)? {
        PLAIN => {
            bits.expect(len, 32)?;
            (0..len)
                .map(|_| Ok(f32::from_bits(bits.read(32)? as u32)))
                .collect()
        }
        CONSTANT => Ok(vec![f32::from_bits(bits.read(32)? as u32); len]),
        PACKED => Packed::read(bits, len),
        FIXED => Fixed::read(bits, len),
        _ => unreachable!("two bits have four values"),
    }
}

/// Few mantissa bits, few exponents.
#[derive(Clone, Copy, Debug)]
struct Packed {
    n_mantissa: u32,
    n_exponent: u32,
    lowest: u32,
    signed: bool,
}

impl Packed {
    /// Only normal numbers and positive zero can be packed.
    fn fit(values: &[f32]) -> Option<Packed> {
        let packable = |v: &f32| v.is_normal() || v.to_bits() == 0;
        if !values.iter().all(packable) {
            return None;
        }
        let normal = || values.iter().filter(|v| **v != 0.0).map(|v| v.to_bits());
        let exponent = |bits: u32| bits >> MANTISSA_BITS & 0xFF;
        let lowest = normal().map(exponent).min()?;
        let highest = normal().map(exponent).max()?;
        let used = normal().fold(1 << MANTISSA_BITS, |used, bits| used | bits);
        Some(Packed {
            n_mantissa: MANTISSA_BITS - used.trailing_zeros(),
            n_exponent: (highest - lowest + 1).ilog2() + 1,
            lowest,
            signed: normal().any(|bits| bits >> 31 == 1),
        })
    }

    fn each_bits(self) -> u64 {
        u64::from(u32::from(self.signed) + self.n_exponent + self.n_mantissa)
    }

    fn write(self, out: &mut BitWriter, values: &[f32]) {
        out.write(PACKED, 2);
        out.write(u64::from(self.n_mantissa), 5);
        out.write(u64::from(self.n_exponent), 4);
        out.write(u64::from(self.lowest), 8);
        out.write(u64::from(self.signed), 1);
        for value in values {
            let bits = value.to_bits();
            if self.signed {
                out.write(u64::from(bits >> 31), 1);
            }
            let exponent = (bits >> MANTISSA_BITS & 0xFF) + 1;
            let exponent = if bits == 0 { 0 } else { exponent - self.lowest };
            out.write(u64::from(exponent), self.n_exponent);
            let mantissa = (bits & ((1 << MANTISSA_BITS) - 1)) >> (MANTISSA_BITS - self.n_mantissa);
            out.write(u64::from(mantissa), self.n_mantissa);
        }
    }

    fn read(bits: &mut Bits<'_>, len: usize) -> Result<Vec<f32>> {
        let packed = Packed {
            n_mantissa: bits.read(5)? as u32,
            n_exponent: bits.read(4)? as u32,
            lowest: bits.read(8)? as u32,
            signed: bits.read(1)? == 1,
        };
        if packed.n_mantissa > MANTISSA_BITS || !(1..=8).contains(&packed.n_exponent) {
            return Err(Error::corrupt("packed numbers of impossible width"));
        }
        bits.expect(len, packed.each_bits() as u32)?;
        (0..len).map(|_| packed.read_one(bits)).collect()
    }

    fn read_one(self, bits: &mut Bits<'_>) -> Result<f32> {
        let sign = if self.signed { bits.read(1)? as u32 } else { 0 };
        let exponent = bits.read(self.n_exponent)? as u32;
        let mantissa = (bits.read(self.n_mantissa)? as u32) << (MANTISSA_BITS - self.n_mantissa);
        if exponent == 0 {
            return match sign | mantissa {
                0 => Ok(0.0),
                _ => Err(Error::corrupt("a packed zero with a sign or a mantissa")),
            };
        }
        let exponent = exponent - 1 + self.lowest;
        if !(1..255).contains(&exponent) {
            return Err(Error::corrupt("a packed number out of range"));
        }
        Ok(f32::from_bits(
            sign << 31 | exponent << MANTISSA_BITS | mantissa,
        ))
    }
}

/// Integers times one power of two.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    n_bits: u32,
    exponent: i32,
}

/// Integers of more bits are not exact in an `f32`.
const MAX_FIXED_BITS: u32 = 25;

/// `2^exponent` for exponents from -1022 to 1023, exactly.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Fixed {
    fn fit(values: &[f32]) -> Option<Fixed> {
        let packable = |v: &f32| v.is_normal() || v.to_bits() == 0;
        if !values.iter().all(packable) {
            return None;
        }
        // The exponent of the last bit set, over all numbers.
        let last = |v: &f32| {
            let mantissa = v.to_bits() & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS;
            (v.to_bits() >> MANTISSA_BITS & 0xFF) as i32 - 127 - MANTISSA_BITS as i32
                + mantissa.trailing_zeros() as i32
        };
        let exponent = values.iter().filter(|v| **v != 0.0).map(last).min()?;
        let scale = power_of_two(-exponent);
        let n_bits = |v: &f32| {
            let integer = f64::from(*v) * scale;
            let magnitude = if integer < 0.0 {
                -integer - 1.0
            } else {
                integer
            };
            (magnitude < power_of_two(24)).then(|| 65 - (magnitude as u64).leading_zeros())
        };
        let widths: Option<Vec<u32>> = values.iter().map(n_bits).collect();
        let n_bits = widths?.into_iter().max()?;
        let fits = (1..=MAX_FIXED_BITS).contains(&n_bits) && (-256..256).contains(&exponent);
        fits.then_some(Fixed { n_bits, exponent })
    }

    fn write(self, out: &mut BitWriter, values: &[f32]) {
        out.write(FIXED, 2);
        out.write(u64::from(self.n_bits), 5);
        out.write((self.exponent + 256) as u64, 9);
        let scale = power_of_two(-self.exponent);
        for value in values {
            let integer = (f64::from(*value) * scale) as i64;
            out.write(integer as u64 & ((1 << self.n_bits) - 1), self.n_bits);
        }
    }

    fn read(bits: &mut Bits<'_>, len: usize) -> Result<Vec<f32>> {
        let n_bits = bits.read(5)? as u32;
        let exponent = bits.read(9)? as i32 - 256;
        if !(1..=MAX_FIXED_BITS).contains(&n_bits) {
            return Err(Error::corrupt("fixed-point numbers of impossible width"));
        }
        bits.expect(len, n_bits)?;
        let scale = power_of_two(exponent);
        let one = |_| {
            let integer = (bits.read(n_bits)? << (64 - n_bits)) as i64 >> (64 - n_bits);
            let value = (integer as f64 * scale) as f32;
            match f64::from(value) == integer as f64 * scale {
                true => Ok(value),
                false => Err(Error::corrupt("a fixed-point number out of range")),
            }
        };
        (0..len).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits_of(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn assert_round_trip(values: &[f32]) -> u64 {
        let mut out = BitWriter::new();
        write_block(&mut out, values);
        let len_bits = out.len_bits();
        let bytes = out.finish();
        let mut bits = Bits::new(&bytes);
        let read = read_block(&mut bits, values.len()).unwrap();
        assert_eq!(bits_of(&read), bits_of(values));
        bits.mark("all");
        assert_eq!(bits.finish().unwrap()[0].1, len_bits);
        assert!(len_bits <= 2 + 32 * values.len() as u64);
        len_bits
    }

    #[test]
    fn blocks_are_exact_and_short() {
        let halves: Vec<f32> = (0..64)
            .map(|i| 0.01 * (i as f32 + 1.0))
            .map(|v| f32::from_bits(v.to_bits() & !0x1FFF))
            .collect();
        let quarters: Vec<f32> = (-8..8).map(|i| i as f32 / 4.0).collect();
        for (name, values, max_bits) in [
            ("none", vec![], 0),
            ("constant", vec![0.0625; 1000], 34),
            ("constant zero", vec![0.0; 7], 34),
            ("one", vec![1.0], 34),
            ("ten bits", halves, 20 + 64 * 13),
            ("quarters", quarters, 16 + 16 * 5),
            (
                "strange",
                vec![f32::NAN, f32::INFINITY, -0.0, 1e-42],
                2 + 4 * 32,
            ),
            (
                "extreme",
                vec![f32::MAX, f32::MIN_POSITIVE, f32::MIN],
                2 + 3 * 32,
            ),
            ("zeros between", vec![0.0, 1.5, 0.0, -2.0], 16 + 4 * 3),
        ] {
            assert!(
                assert_round_trip(&values) <= max_bits,
                "{name}: {} > {max_bits}",
                assert_round_trip(&values)
            );
        }
    }

    proptest! {
        #[test]
        fn any_floats(values in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..40)) {
            assert_round_trip(&values);
        }

        #[test]
        fn rounded_floats(values in prop::collection::vec(-500i32..500, 0..40), e in -140i32..100) {
            let values: Vec<f32> = values.iter().map(|&v| v as f32 * 2f32.powi(e)).collect();
            assert_round_trip(&values);
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>, len in 0usize..1 << 20) {
            let _ = read_block(&mut Bits::new(&bytes), len);
        }
    }
}
