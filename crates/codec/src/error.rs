//! The crate's one error type.

use std::fmt;

/// What went wrong, for callers that react to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input ended before everything was decoded.
    Truncated,
    /// The input goes on after everything was decoded.
    Trailing,
    /// The input is not something the encoder can have written.
    Corrupt,
    /// The size asked for exceeds the caller's budget or a limit of the format.
    TooLarge,
    /// The caller's description of the data does not fit the data.
    Mismatch,
    /// The input names a profile this version does not know.
    Unsupported,
}

/// Why an input could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: &'static str,
}

impl Error {
    pub(crate) const fn new(kind: ErrorKind, message: &'static str) -> Error {
        Error { kind, message }
    }

    pub(crate) const fn truncated(message: &'static str) -> Error {
        Error::new(ErrorKind::Truncated, message)
    }

    pub(crate) const fn corrupt(message: &'static str) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for Error {}
