//! The byte-oriented part of the header: varints and strings, and where its sections end.
//!
//! A string is UTF-8 without NUL and ends with one. Every count is checked against a limit before
//! it is used.

use bantam_codec::varint;

use crate::{Error, ErrorKind, Result};

/// Longest name in bytes.
pub(super) const MAX_NAME_BYTES: usize = 1024;

/// Most memory for names that are not stored but derived from others.
const MAX_DERIVED_BYTES: usize = 1 << 25;

/// Largest size, index or attribute: it fits into an `i32`, so sums of a few fit into any `usize`.
pub(super) const MAX_SIZE: usize = i32::MAX as usize;

/// What a byte of the file is for; the ledger adds up equal ones.
pub(super) type Part = std::borrow::Cow<'static, str>;

/// Appends fields to the header.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) bytes: Vec<u8>,
}

impl Sink {
    pub(super) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A size or a count; errs above [`MAX_SIZE`], which no reader accepts.
    pub(super) fn size(&mut self, value: usize) -> Result<()> {
        if value > MAX_SIZE {
            return Err(Error::too_large("size", value as u64, MAX_SIZE as u64));
        }
        varint::write(&mut self.bytes, value as u64);
        Ok(())
    }

    /// Any signed number; those near zero are short.
    pub(super) fn signed(&mut self, value: i64) {
        varint::write(&mut self.bytes, (value << 1 ^ value >> 63) as u64);
    }

    /// An attribute; errs on NaN, which is not equal to itself.
    pub(super) fn float(&mut self, value: f32) -> Result<()> {
        if value.is_nan() {
            return Err(Error::unstorable("an attribute is not a number"));
        }
        self.bytes.extend(value.to_le_bytes());
        Ok(())
    }

    pub(super) fn string(&mut self, text: &str) -> Result<()> {
        self.text(text, MAX_NAME_BYTES)
    }

    /// A string of up to `max_bytes`; errs when it is longer or contains NUL.
    pub(super) fn text(&mut self, text: &str, max_bytes: usize) -> Result<()> {
        if text.len() > max_bytes {
            return Err(Error::too_large(
                "bytes of text",
                text.len() as u64,
                max_bytes as u64,
            ));
        }
        if text.contains('\0') {
            return Err(Error::unstorable(format!("text with a NUL: {text:?}")));
        }
        self.bytes.extend(text.as_bytes());
        self.byte(0);
        Ok(())
    }

    /// Strings one after the other: one that ends in a number is followed by how many come after
    /// it that only count on.
    pub(super) fn strings(&mut self, mut texts: &[String]) -> Result<()> {
        while let Some((first, rest)) = texts.split_first() {
            self.string(first)?;
            let mut n_counted = 0;
            if let Some(mut next) = count_on(first) {
                while rest.get(n_counted) == Some(&next) {
                    n_counted += 1;
                    next = count_on(&next).expect("it ends in a number");
                }
                self.size(n_counted)?;
            }
            texts = &rest[n_counted..];
        }
        Ok(())
    }
}

/// `text` with the number at its end increased by one, as wide as before if that is possible; none
/// if it does not end in a digit.
pub(super) fn count_on(text: &str) -> Option<String> {
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &text[stem.len()..];
    if digits.is_empty() {
        return None;
    }
    // As in writing by hand, so that no length of number is too long.
    let kept = digits.trim_end_matches('9');
    let n_carried = digits.len() - kept.len();
    let zeros = "0".repeat(n_carried);
    Some(match kept.as_bytes().split_last() {
        None => format!("{stem}1{zeros}"),
        Some((&last, kept)) => {
            let kept = std::str::from_utf8(kept).expect("digits are ASCII");
            format!("{stem}{kept}{}{zeros}", char::from(last + 1))
        }
    })
}

/// Takes fields off the header.
#[derive(Debug)]
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    n_text: usize,
    marks: Vec<(Part, usize)>,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Source<'a> {
        Source {
            bytes,
            at: 0,
            n_text: 0,
            marks: Vec::new(),
        }
    }

    /// Says what the bytes since the last mark were for.
    pub(super) fn mark(&mut self, part: impl Into<Part>) {
        self.marks.push((part.into(), self.at));
    }

    /// The marks and where each ends; errs when bytes are left.
    pub(super) fn finish(self) -> Result<Vec<(Part, usize)>> {
        match self.n_left() {
            0 => Ok(self.marks),
            n => Err(Error::new(
                ErrorKind::Trailing,
                format!("{n} bytes follow the header"),
            )),
        }
    }

    pub(super) fn n_left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Counts text that takes no bytes in the header, so that a few bytes cannot become gigabytes.
    pub(super) fn spend(&mut self, n_bytes: usize) -> Result<()> {
        self.n_text += n_bytes + size_of::<String>();
        match self.n_text > MAX_DERIVED_BYTES {
            true => Err(Error::too_large(
                "bytes of names",
                self.n_text as u64,
                MAX_DERIVED_BYTES as u64,
            )),
            false => Ok(()),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.n_left() {
            return Err(Error::new(
                ErrorKind::Truncated,
                "the header ends inside a field",
            ));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A byte that means yes or no.
    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::corrupt(format!("expected 0 or 1, found {other}"))),
        }
    }

    fn varint(&mut self) -> Result<u64> {
        let mut rest = &self.bytes[self.at..];
        let value = varint::read(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    pub(super) fn size(&mut self) -> Result<usize> {
        let value = self.varint()?;
        if value > MAX_SIZE as u64 {
            return Err(Error::too_large("size", value, MAX_SIZE as u64));
        }
        Ok(value as usize)
    }

    /// A number of things of which there may be `max`.
    pub(super) fn count(&mut self, what: &str, max: usize) -> Result<usize> {
        let n = self.size()?;
        if n > max {
            return Err(Error::too_large(what, n as u64, max as u64));
        }
        Ok(n)
    }

    pub(super) fn signed(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn float(&mut self) -> Result<f32> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        let value = f32::from_le_bytes(bytes);
        if value.is_nan() {
            return Err(Error::corrupt("an attribute is not a number"));
        }
        Ok(value)
    }

    pub(super) fn string(&mut self) -> Result<String> {
        self.text(MAX_NAME_BYTES)
    }

    pub(super) fn text(&mut self, max_bytes: usize) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(max_bytes + 1)];
        let Some(len) = window.iter().position(|&b| b == 0) else {
            return Err(match window.len() > max_bytes {
                true => Error::new(
                    ErrorKind::TooLarge,
                    format!("text of over {max_bytes} bytes"),
                ),
                false => Error::new(ErrorKind::Truncated, "the header ends inside a text"),
            });
        };
        let text = std::str::from_utf8(&window[..len])
            .map_err(|e| Error::corrupt("text is not UTF-8").caused_by(e))?;
        self.at += len + 1;
        Ok(text.to_owned())
    }

    /// `n` strings that [`Sink::strings`] wrote.
    pub(super) fn strings(&mut self, n: usize) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        while texts.len() < n {
            let first = self.string()?;
            let next = count_on(&first);
            texts.push(first);
            let Some(mut next) = next else { continue };
            for _ in 0..self.count("names that count on", n - texts.len())? {
                self.spend(next.len())?;
                let after = count_on(&next).expect("it ends in a number");
                texts.push(std::mem::replace(&mut next, after));
            }
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_on() {
        for (from, to) in [
            ("c0", Some("c1")),
            ("c09", Some("c10")),
            ("c99", Some("c100")),
            ("7", Some("8")),
            ("a1b", None),
            ("", None),
        ] {
            assert_eq!(count_on(from).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn strings_round_trip_and_ranges_are_short() {
        let names = |texts: &[&str]| texts.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let counted: Vec<String> = (0..64).map(|i| format!("c{i}")).collect();
        for (texts, max_bytes) in [
            (counted, 4),
            (names(&["", "a", "a1", "a2", "a4", "a05", "a06", "é"]), 50),
            (names(&[]), 0),
        ] {
            let mut sink = Sink::default();
            sink.strings(&texts).unwrap();
            assert!(sink.bytes.len() <= max_bytes);
            let mut source = Source::new(&sink.bytes);
            assert_eq!(source.strings(texts.len()).unwrap(), texts);
            source.finish().unwrap();
        }
        assert!(Sink::default().string("a\0").is_err());
        assert!(Sink::default().string(&"a".repeat(1025)).is_err());
    }

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            let mut sink = Sink::default();
            sink.signed(value);
            assert_eq!(Source::new(&sink.bytes).signed().unwrap(), value);
        }
        assert!(Sink::default().size(MAX_SIZE + 1).is_err());
        assert!(Sink::default().float(f32::NAN).is_err());
    }

    #[test]
    fn bad_fields() {
        let long = [b'a'; 1025];
        for (bytes, kind) in [
            (&b"abc"[..], ErrorKind::Truncated),
            (&long, ErrorKind::TooLarge),
            (&[0xFF, 0], ErrorKind::Corrupt),
        ] {
            assert_eq!(Source::new(bytes).string().unwrap_err().kind(), kind);
        }
        let mut beyond = Source::new(&[b'1', 0, 0xFF, 0x7F]);
        assert_eq!(beyond.strings(5).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(
            Source::new(&[2]).flag().unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        assert!(Source::new(&[0xFF; 5]).size().is_err());
        assert_eq!(
            Source::new(&[1]).finish().unwrap_err().kind(),
            ErrorKind::Trailing
        );
    }
}
