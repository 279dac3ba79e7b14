//! The one error type of this crate.

use std::fmt;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Shapes do not fit together, or an axis is out of range.
    Shape,
    /// An element type is not the one expected.
    DType,
    /// A name is missing, unknown or given twice.
    Name,
    /// An attribute has a value that the operator does not allow.
    Attribute,
    /// A value is not allowed where it is used, such as an index out of range.
    Value,
    /// A value would take more memory than any is allowed to.
    TooLarge,
    /// A size depends on values that are not known yet.
    Late,
    /// The graph as a whole is not valid: a cycle, a value nobody makes, no output.
    Structure,
}

/// An error of `bantam-core`: what happened and at which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    node: Option<String>,
    message: String,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            node: None,
            message: message.into(),
        }
    }

    /// Shapes do not fit.
    pub fn shape(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Shape, message)
    }

    /// Types do not fit.
    pub fn dtype(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::DType, message)
    }

    /// An attribute is out of range.
    pub fn attribute(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Attribute, message)
    }

    /// A value is not allowed.
    pub fn value(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Value, message)
    }

    /// Says at which node it happened, unless a deeper place is already named.
    pub fn at(mut self, node: &str) -> Error {
        self.node.get_or_insert_with(|| node.to_owned());
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "node {node:?}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
