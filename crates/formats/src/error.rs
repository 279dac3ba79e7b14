//! The one error type of this crate.

use std::fmt;
use std::path::Path;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: no such file, no permission, disk full.
    Io,
    /// The bytes are not a file of the expected format.
    Format,
    /// The file needs a version or a feature that this program does not know.
    Unsupported,
    /// The file ends before its contents do.
    Truncated,
    /// Bytes follow the end of the contents.
    Trailing,
    /// A checksum does not match: the file was damaged.
    Checksum,
    /// The contents contradict themselves or the format.
    Corrupt,
    /// A size or a count is above a limit.
    TooLarge,
    /// The network or the tensors cannot be stored in the form asked for.
    Unstorable,
}

/// An error of `bantam-formats`: what happened and where.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    offset: Option<u64>,
    place: Option<String>,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            offset: None,
            place: None,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    pub(crate) fn too_large(what: &str, found: u64, limit: u64) -> Error {
        let message = format!("{what}: expected at most {limit}, found {found}");
        Error::new(ErrorKind::TooLarge, message)
    }

    pub(crate) fn unstorable(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unstorable, message)
    }

    pub(crate) fn io(error: std::io::Error, path: &Path) -> Error {
        Error::new(ErrorKind::Io, error.to_string())
            .at(path.display().to_string())
            .caused_by(error)
    }

    /// Says in which part it happened, unless a deeper place is already named.
    pub(crate) fn at(mut self, place: impl Into<String>) -> Error {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    pub(crate) fn at_byte(mut self, offset: u64) -> Error {
        self.offset.get_or_insert(offset);
        self
    }

    /// The same error in a part that begins at byte `start` of the file.
    pub(crate) fn moved(mut self, start: usize) -> Error {
        self.offset = self.offset.map(|offset| offset + start as u64);
        self
    }

    pub(crate) fn caused_by(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        self.source = Some(Box::new(source));
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Offset in the file of the byte at which it was noticed, if a byte is to blame. Inside a
    /// coded part, it is where that part starts.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The part, tensor or file it happened in, if one is to blame.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match self.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<bantam_core::Error> for Error {
    fn from(error: bantam_core::Error) -> Error {
        let place = error.node().map(|n| format!("node {n:?}"));
        let message = format!("the contents are not valid: {error}");
        let kind = match error.kind() {
            bantam_core::ErrorKind::TooLarge => ErrorKind::TooLarge,
            _ => ErrorKind::Corrupt,
        };
        let error = Error::new(kind, message).caused_by(error);
        match place {
            Some(place) => error.at(place),
            None => error,
        }
    }
}

impl From<bantam_codec::Error> for Error {
    fn from(error: bantam_codec::Error) -> Error {
        let kind = match error.kind() {
            bantam_codec::ErrorKind::Truncated => ErrorKind::Truncated,
            bantam_codec::ErrorKind::Trailing => ErrorKind::Trailing,
            bantam_codec::ErrorKind::TooLarge => ErrorKind::TooLarge,
            bantam_codec::ErrorKind::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        };
        Error::new(kind, error.to_string()).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn says_where() {
        let e = Error::too_large("axes", 9, 8)
            .at("graph")
            .at("file")
            .at_byte(7);
        assert_eq!(
            e.to_string(),
            "graph: axes: expected at most 8, found 9 (at byte 7)"
        );
        assert_eq!(
            (e.kind(), e.offset(), e.place()),
            (ErrorKind::TooLarge, Some(7), Some("graph"))
        );
        let e = Error::io(std::io::Error::other("full"), Path::new("a/b"));
        assert_eq!(e.to_string(), "a/b: full");
        assert!(e.source().is_some());
    }
}
