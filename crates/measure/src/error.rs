//! The one error type of this crate.

use std::fmt;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A column is missing, or none is left to measure.
    Column,
    /// A cell or a sample holds a value that cannot be measured: not a finite number.
    Value,
    /// The target is a number, not classes, and no tolerance was given.
    NotClasses,
    /// There is no row with a label.
    Rows,
    /// Counts do not fit together.
    Shape,
    /// The text of a table is not what its format demands.
    Format,
    /// A file cannot be read or written.
    Io,
    /// A size is beyond what this crate handles.
    Limit,
    /// A graph whose types cannot be inferred.
    Graph,
}

/// An error of `bantam-measure`: what happened, where, and what to do about it.
#[derive(Debug)]
pub struct Error(Box<Repr>);

#[derive(Debug)]
struct Repr {
    kind: ErrorKind,
    column: Option<String>,
    row: Option<usize>,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the given kind, nowhere yet.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Repr {
            kind,
            column: None,
            row: None,
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    /// Names the column.
    pub(crate) fn in_column(mut self, column: &str) -> Error {
        self.0.column = Some(column.to_owned());
        self
    }

    /// Names the row, counted from 0.
    pub(crate) fn at_row(mut self, row: usize) -> Error {
        self.0.row = Some(row);
        self
    }

    /// Says what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error this one came from.
    pub(crate) fn because(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The column to blame, if there is one.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// The row to blame, counted from 0, if there is one.
    pub fn row(&self) -> Option<usize> {
        self.0.row
    }

    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.0.column {
            write!(f, "column {column:?}: ")?;
        }
        if let Some(row) = self.0.row {
            write!(f, "row {row}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e.as_ref() as _)
    }
}

/// An error of a table keeps its column and its hint.
impl From<bantam_data::Error> for Error {
    fn from(e: bantam_data::Error) -> Error {
        use bantam_data::ErrorKind as Data;
        let kind = match e.kind() {
            Data::Column => ErrorKind::Column,
            Data::Rows => ErrorKind::Rows,
            Data::Shape => ErrorKind::Shape,
            Data::Value => ErrorKind::Value,
            Data::NotFound | Data::Io => ErrorKind::Io,
            Data::Limit => ErrorKind::Limit,
            _ => ErrorKind::Format,
        };
        let mut error = Error::new(kind, e.to_string());
        error.0.hint = e.hint().map(str::to_owned);
        error.because(e)
    }
}
