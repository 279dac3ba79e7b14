//! Unsigned integers of one to ten bytes (LEB128): seven bits a byte, least significant first.
//!
//! The reader refuses values above 64 bits and encodings longer than needed.

use crate::Error;

/// Appends `value` to `out`.
pub fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a value off the front of `input`, which is left unchanged on error.
///
/// # Errors
///
/// [`Truncated`](crate::ErrorKind::Truncated) if the input ends inside the value,
/// [`Corrupt`](crate::ErrorKind::Corrupt) if the value exceeds 64 bits or ends in a redundant zero
/// byte.
pub fn read(input: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate() {
        let digit = u64::from(byte & 0x7F);
        if i == 9 && byte > 1 {
            return Err(Error::corrupt("varint exceeds 64 bits"));
        }
        value |= digit << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return Err(Error::corrupt("varint is longer than needed"));
            }
            *input = &input[i + 1..];
            return Ok(value);
        }
    }
    Err(Error::truncated("input ends inside a varint"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn known_bytes() {
        let cases: [(u64, &[u8]); 6] = [
            (0, &[0]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xAC, 2]),
            (
                1 << 63,
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
            ),
            (
                u64::MAX,
                &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            ),
        ];
        for (value, bytes) in cases {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&mut &out[..]), Ok(value));
        }
    }

    #[test]
    fn bad_bytes() {
        let cases: [(&str, &[u8], ErrorKind); 5] = [
            ("empty", &[], ErrorKind::Truncated),
            ("unfinished", &[0x80], ErrorKind::Truncated),
            ("65 bits", &[0xFF; 10], ErrorKind::Corrupt),
            ("no end", &[0x80; 20], ErrorKind::Corrupt),
            ("redundant zero", &[0x80, 0], ErrorKind::Corrupt),
        ];
        for (name, mut bytes, kind) in cases {
            let before = bytes;
            assert_eq!(read(&mut bytes).unwrap_err().kind(), kind, "{name}");
            assert_eq!(bytes, before, "{name}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(values: Vec<u64>) {
            let mut out = Vec::new();
            values.iter().for_each(|&v| write(&mut out, v));
            let mut input = &out[..];
            for &value in &values {
                prop_assert_eq!(read(&mut input)?, value);
            }
            prop_assert!(input.is_empty());
        }
    }
}
