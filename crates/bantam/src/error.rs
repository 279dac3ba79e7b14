//! The one error type of this crate.

use std::fmt;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A setting is wrong.
    Recipe,
    /// The data cannot be used.
    Data,
    /// A model file cannot be used.
    Model,
    /// A file or folder cannot be read or written.
    File,
    /// The budget cannot be met.
    Budget,
    /// Training failed.
    Training,
    /// Something that should not happen did: our fault.
    Internal,
}

/// An error of `bantam`: what happened, in which file, and what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    file: Option<PathBuf>,
    message: String,
    hint: Option<String>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            file: None,
            message: message.into(),
            hint: None,
        }
    }

    /// What a panic is to whoever gave the command: a file that its decoder cannot handle, or our fault.
    /// For a program's hook.
    pub fn of_panic(panic: &PanicHookInfo<'_>) -> Error {
        match bantam_data::decoding() {
            Some(error) => error.into(),
            None => Error::new(ErrorKind::Internal, panic.to_string()),
        }
    }

    /// A file that cannot be read or written.
    pub fn file(path: &Path, source: &std::io::Error) -> Error {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let error = Error::new(ErrorKind::File, source.to_string()).in_file(path);
        match source.kind() {
            FileTooLarge | QuotaExceeded | StorageFull => {
                error.with_hint("make room and run the same command again: what is done is kept")
            }
            _ => error,
        }
    }

    /// Says in which file, unless that is known already.
    pub fn in_file(mut self, path: &Path) -> Error {
        self.file.get_or_insert_with(|| path.to_owned());
        self
    }

    /// Says what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, if something can be said.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the request was at fault (1) or we were (2).
    pub fn exit_code(&self) -> u8 {
        if self.kind == ErrorKind::Internal {
            2
        } else {
            1
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<bantam_data::Error> for Error {
    fn from(e: bantam_data::Error) -> Error {
        let error = Error::new(ErrorKind::Data, e.to_string());
        match e.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl From<bantam_train::Error> for Error {
    fn from(e: bantam_train::Error) -> Error {
        use bantam_train::ErrorKind as K;
        let kind = match e.kind() {
            K::Setting => ErrorKind::Recipe,
            K::Data => ErrorKind::Data,
            K::Diverged => ErrorKind::Training,
            K::Gradient | K::Graph | K::Stopped => ErrorKind::Internal,
        };
        let message = e.to_string();
        match e.into_source().map(|s| s.downcast::<Error>()) {
            Some(Ok(own)) => *own,
            _ => Error::new(kind, message),
        }
    }
}

macro_rules! convert {
    ($($from:ty => $kind:ident),* $(,)?) => {$(
        impl From<$from> for Error {
            fn from(e: $from) -> Error {
                Error::new(ErrorKind::$kind, e.to_string())
            }
        }
    )*};
}

convert! {
    bantam_core::Error => Internal,
    bantam_runtime::Error => Internal,
    bantam_formats::Error => Model,
}

impl From<bantam_measure::Error> for Error {
    fn from(e: bantam_measure::Error) -> Error {
        let error = Error::new(ErrorKind::Data, e.to_string());
        match e.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl From<bantam_compress::Error> for Error {
    fn from(e: bantam_compress::Error) -> Error {
        use bantam_compress::ErrorKind as K;
        let kind = if matches!(e.kind(), K::Option | K::Name) {
            ErrorKind::Recipe
        } else {
            ErrorKind::Internal
        };
        Error::new(kind, e.to_string())
    }
}
