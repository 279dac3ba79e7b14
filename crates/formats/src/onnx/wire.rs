//! Protocol buffers, as far as ONNX needs them: fields of a message in order, and their writing.
//!
//! A reader borrows the bytes and never copies a payload, so memory is bounded by the file. Own code
//! rather than a generated parser: it is two hundred lines, says at which byte something is wrong,
//! bounds nesting by itself, and needs no schema compiler.

use crate::{Error, ErrorKind, Result};

/// The value of a field as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Part<'a>),
}

/// A run of bytes, and where it starts in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) start: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Wire<'a>,
    /// Where it starts in the file.
    pub(super) at: usize,
}

fn truncated(at: usize) -> Error {
    Error::new(ErrorKind::Truncated, "the message ends inside a field").at_byte(at as u64)
}

impl<'a> Part<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Part<'a> {
        Part { bytes, start: 0 }
    }

    /// The fields of the message that these bytes are.
    pub(super) fn fields(self) -> Fields<'a> {
        Fields { part: self, pos: 0 }
    }

    fn varint(self, pos: &mut usize) -> Result<u64> {
        let at = self.start + *pos;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(*pos).ok_or_else(|| truncated(at))?;
            *pos += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::corrupt("a number takes more than 64 bits").at_byte(at as u64))
    }

    fn take(self, pos: &mut usize, len: u64) -> Result<Part<'a>> {
        let at = self.start + *pos;
        let rest = &self.bytes[*pos..];
        let len = usize::try_from(len).ok().filter(|&n| n <= rest.len());
        let len = len.ok_or_else(|| truncated(at))?;
        *pos += len;
        let part = Part {
            bytes: &rest[..len],
            start: at,
        };
        Ok(part)
    }

    /// Numbers packed one after the other.
    pub(super) fn varints(self) -> Result<Vec<u64>> {
        let (mut pos, mut values) = (0, Vec::new());
        while pos < self.bytes.len() {
            values.push(self.varint(&mut pos)?);
        }
        Ok(values)
    }

    /// Little-endian values of `N` bytes packed one after the other.
    pub(super) fn fixed<const N: usize>(self) -> Result<impl Iterator<Item = [u8; N]> + 'a> {
        if !self.bytes.len().is_multiple_of(N) {
            let message = format!(
                "{} bytes are no whole number of values of {N} bytes",
                self.bytes.len()
            );
            return Err(Error::corrupt(message).at_byte(self.start as u64));
        }
        let one = |c: &[u8]| c.try_into().expect("chunks of N bytes");
        Ok(self.bytes.chunks_exact(N).map(one))
    }

    pub(super) fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes).map_err(|e| {
            Error::corrupt("a name that is not UTF-8")
                .at_byte((self.start + e.valid_up_to()) as u64)
        })
    }
}

/// Iterates over the fields of a message. Ends after the first error.
pub(super) struct Fields<'a> {
    part: Part<'a>,
    pos: usize,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>> {
        let (part, at) = (self.part, self.part.start + self.pos);
        let key = part.varint(&mut self.pos)?;
        let number = u32::try_from(key >> 3).ok().filter(|&n| n > 0);
        let wrong = |what: String| Error::corrupt(what).at_byte(at as u64);
        let number = number.ok_or_else(|| wrong("a field without a number".to_owned()))?;
        let value = match key & 7 {
            0 => Wire::Varint(part.varint(&mut self.pos)?),
            1 => {
                let bytes = part.take(&mut self.pos, 8)?.bytes;
                Wire::Fixed64(u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
            }
            2 => {
                let len = part.varint(&mut self.pos)?;
                Wire::Bytes(part.take(&mut self.pos, len)?)
            }
            5 => {
                let bytes = part.take(&mut self.pos, 4)?.bytes;
                Wire::Fixed32(u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
            }
            other => {
                return Err(wrong(format!(
                    "field {number} has the unknown form {other}"
                )));
            }
        };
        Ok(Field { number, value, at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>>;

    fn next(&mut self) -> Option<Result<Field<'a>>> {
        if self.pos >= self.part.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.pos = self.part.bytes.len();
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    fn wrong(&self, expected: &str) -> Error {
        Error::corrupt(format!("field {} is not {expected}", self.number)).at_byte(self.at as u64)
    }

    pub(super) fn part(&self) -> Result<Part<'a>> {
        match self.value {
            Wire::Bytes(part) => Ok(part),
            _ => Err(self.wrong("a run of bytes")),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        self.part()?.text()
    }

    pub(super) fn int(&self) -> Result<i64> {
        match self.value {
            Wire::Varint(v) => Ok(v as i64),
            _ => Err(self.wrong("an integer")),
        }
    }

    pub(super) fn float(&self) -> Result<f32> {
        match self.value {
            Wire::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.wrong("a 32-bit float")),
        }
    }

    /// A repeated integer: packed or one at a time.
    pub(super) fn push_ints(&self, to: &mut Vec<u64>) -> Result<()> {
        match self.value {
            Wire::Varint(v) => to.push(v),
            Wire::Bytes(part) => to.extend(part.varints()?),
            _ => return Err(self.wrong("integers")),
        }
        Ok(())
    }

    /// A repeated 32-bit float: packed or one at a time.
    pub(super) fn push_floats(&self, to: &mut Vec<f32>) -> Result<()> {
        match self.value {
            Wire::Fixed32(bits) => to.push(f32::from_bits(bits)),
            Wire::Bytes(part) => to.extend(part.fixed()?.map(f32::from_le_bytes)),
            _ => return Err(self.wrong("32-bit floats")),
        }
        Ok(())
    }

    /// A repeated 64-bit float: packed or one at a time.
    pub(super) fn push_doubles(&self, to: &mut Vec<f64>) -> Result<()> {
        match self.value {
            Wire::Fixed64(bits) => to.push(f64::from_bits(bits)),
            Wire::Bytes(part) => to.extend(part.fixed()?.map(f64::from_le_bytes)),
            _ => return Err(self.wrong("64-bit floats")),
        }
        Ok(())
    }
}

/// A message being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, number: u32, form: u8) {
        self.varint(u64::from(number) << 3 | u64::from(form));
    }

    pub(super) fn int(&mut self, number: u32, value: i64) {
        self.key(number, 0);
        self.varint(value as u64);
    }

    pub(super) fn float(&mut self, number: u32, value: f32) {
        self.key(number, 5);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.key(number, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    pub(super) fn message(&mut self, number: u32, value: Message) {
        self.bytes(number, &value.0);
    }

    /// Integers, packed.
    pub(super) fn ints(&mut self, number: u32, values: &[i64]) {
        let mut packed = Message::default();
        values.iter().for_each(|&v| packed.varint(v as u64));
        self.message(number, packed);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back() {
        let mut m = Message::default();
        m.int(1, -1);
        m.float(2, 0.5);
        m.text(3, "name");
        m.ints(4, &[0, 300, -7]);
        let bytes = m.finish();
        let fields: Vec<Field> = Part::new(&bytes).fields().map(Result::unwrap).collect();
        assert_eq!(fields[0].int().unwrap(), -1);
        assert_eq!(fields[1].float().unwrap(), 0.5);
        assert_eq!(fields[2].text().unwrap(), "name");
        let mut ints = Vec::new();
        fields[3].push_ints(&mut ints).unwrap();
        assert_eq!(ints, [0, 300, -7i64 as u64]);
        assert!(fields[0].text().is_err() && fields[2].int().is_err());
    }

    #[test]
    fn bad_bytes_are_errors_with_their_place() {
        for (bytes, what) in [
            (&[0x08][..], "ends inside"),
            (&[0x0a, 5, 1], "ends inside"),
            (
                &[
                    0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
                "ends inside",
            ),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                ],
                "64 bits",
            ),
            (&[0x0b], "unknown form"),
            (&[0x00], "without a number"),
            (&[0x0d, 1, 2], "ends inside"),
        ] {
            let error = Part::new(bytes).fields().find_map(Result::err).unwrap();
            assert!(error.to_string().contains(what), "{bytes:?}: {error}");
            assert!(error.offset().is_some(), "{bytes:?}: {error}");
        }
    }
}
