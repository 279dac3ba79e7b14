//! The one error type of this crate.

use std::fmt;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option is out of range.
    Option,
    /// A name or pattern fits no parameter that the step applies to.
    Name,
    /// A weight or a measured value is not finite.
    NotFinite,
    /// A weight has a form that the step does not work on.
    Form,
    /// Two graphs that must have the same structure do not.
    Structure,
    /// What was asked for cannot be met.
    Budget,
    /// The caller's function failed or returned something it must not.
    Callback,
    /// The graph refused the change; the source says why.
    Graph,
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error of `bantam-compress`: what happened and at which parameter or round.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    place: Option<String>,
    message: String,
    source: Option<Source>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            place: None,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn callback(message: impl Into<String>, source: impl Into<Source>) -> Error {
        Error {
            source: Some(source.into()),
            ..Error::new(ErrorKind::Callback, message)
        }
    }

    pub(crate) fn at(mut self, place: impl Into<String>) -> Error {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The parameter or round it happened at, if one is to blame.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl From<bantam_core::Error> for Error {
    fn from(source: bantam_core::Error) -> Error {
        Error {
            place: source.node().map(|n| format!("node {n:?}")),
            source: Some(Box::new(source)),
            ..Error::new(ErrorKind::Graph, "the graph refused the change")
        }
    }
}
