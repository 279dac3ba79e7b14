//! What each byte of a file is for.

use bantam_codec::bytes::encode_bytes;

use super::text::Part;

/// Bytes of a file that serve one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What they are for.
    pub part: String,
    /// How many they are.
    pub bytes: u64,
}

/// Adds up bytes by part, in the order in which parts first appear.
#[derive(Debug, Default)]
pub(super) struct Counter {
    entries: Vec<LedgerEntry>,
}

impl Counter {
    pub(super) fn add(&mut self, part: impl Into<Part>, bytes: u64) {
        let part = part.into();
        match self.entries.iter_mut().find(|e| e.part == part) {
            Some(entry) => entry.bytes += bytes,
            None if bytes == 0 => {}
            None => self.entries.push(LedgerEntry {
                part: part.into_owned(),
                bytes,
            }),
        }
    }

    /// Shares out the `total` bytes of one code: part `i` gets what the code grows by when it is
    /// added, given that the code of the parts up to `i` has `sizes[i]` bytes.
    pub(super) fn share(&mut self, parts: impl IntoIterator<Item = (Part, u64)>, total: u64) {
        let mut counted = 0;
        let mut last = None;
        for (part, size) in parts {
            let grown = size.clamp(counted, total);
            self.add(part.clone(), grown - counted);
            counted = grown;
            last = Some(part);
        }
        self.add(last.unwrap_or("other".into()), total - counted);
    }

    /// Shares out the header, which was coded as `total` bytes.
    pub(super) fn share_header(&mut self, header: &[u8], marks: Vec<(Part, usize)>, total: u64) {
        let is_plain = total == header.len() as u64 + 1;
        let size = |end: usize| match is_plain {
            true => end as u64 + 1,
            false => encode_bytes(&header[..end]).len() as u64,
        };
        self.share(
            marks.into_iter().map(|(part, end)| (part, size(end))),
            total,
        );
    }

    /// Shares out packed numbers of `total` bytes.
    pub(super) fn share_bits(&mut self, marks: Vec<(Part, u64)>, total: u64) {
        self.share(
            marks.into_iter().map(|(part, end)| (part, end.div_ceil(8))),
            total,
        );
    }

    pub(super) fn finish(self) -> Vec<LedgerEntry> {
        self.entries
    }
}
