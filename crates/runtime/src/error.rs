//! The one error type of this crate.

use std::fmt;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The inputs are not what the graph declares.
    Input,
    /// The graph cannot be planned for these input types.
    Plan,
    /// A value is not allowed where it is used, such as an index out of range.
    Value,
}

/// An error of `bantam-runtime`: what happened and at which node.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    node: Option<String>,
    message: String,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            node: None,
            message: message.into(),
        }
    }

    pub(crate) fn at(mut self, node: &str) -> Error {
        self.node.get_or_insert_with(|| node.to_owned());
        self
    }

    /// Says of what part of the input the message speaks.
    pub(crate) fn within(mut self, part: &str) -> Error {
        self.message = format!("{} (in {part})", self.message);
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The node it happened at, if one is to blame.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

impl From<bantam_core::Error> for Error {
    fn from(e: bantam_core::Error) -> Error {
        Error::new(ErrorKind::Plan, e.to_string())
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
