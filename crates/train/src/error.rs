//! The one error type of this crate.

use std::fmt;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// An operator has no derivative, or the output is not a scalar.
    Gradient,
    /// A graph cannot be built or run.
    Graph,
    /// The data cannot be read or do not fit the network.
    Data,
    /// A setting of the training is out of range.
    Setting,
    /// The loss became infinite or not a number.
    Diverged,
    /// The caller asked to stop.
    Stopped,
}

/// An error of `bantam-train`: what happened and at which node.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    node: Option<String>,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            node: None,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn at(mut self, node: &str) -> Error {
        self.node.get_or_insert_with(|| node.to_owned());
        self
    }

    /// The error for a caller's wish to stop, with its reason.
    pub fn stopped(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let source = source.into();
        Error {
            kind: ErrorKind::Stopped,
            node: None,
            message: source.to_string(),
            source: Some(source),
        }
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The node it happened at, if one is to blame.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Takes out the error that a caller's callback gave, if this is one.
    pub fn into_source(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.source
    }
}

impl From<bantam_core::Error> for Error {
    fn from(e: bantam_core::Error) -> Error {
        Error::new(ErrorKind::Graph, e.to_string())
    }
}

impl From<bantam_runtime::Error> for Error {
    fn from(e: bantam_runtime::Error) -> Error {
        Error::new(ErrorKind::Graph, e.to_string())
    }
}

impl From<bantam_data::Error> for Error {
    fn from(e: bantam_data::Error) -> Error {
        Error::new(ErrorKind::Data, e.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "node {node:?}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
