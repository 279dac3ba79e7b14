//! The one error type of this crate.
//!
//! An [`Error`] says what happened and where: the file, the line, the column, as far as they are
//! known. What to do about it, where something can be done, is its [`hint`](Error::hint).

use std::fmt;
use std::path::{Path, PathBuf};

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is not there.
    NotFound,
    /// The operating system failed to read or write.
    Io,
    /// The bytes are not what their format demands: truncated, ragged, not UTF-8, not an image.
    Format,
    /// A column is missing, unknown or named twice.
    Column,
    /// A cell holds what its column cannot.
    Value,
    /// The target cannot be learnt: one class, no values, too many classes.
    Target,
    /// Too few rows, or none.
    Rows,
    /// A size is beyond what this crate reads.
    Limit,
    /// Shapes do not fit together.
    Shape,
    /// A request that makes no sense: fractions that sum to more than one, an unknown option.
    Argument,
}

/// An error of `bantam-data`: what happened, where, and what to do about it.
pub struct Error(Box<Repr>);

#[derive(Debug)]
struct Repr {
    kind: ErrorKind,
    file: Option<PathBuf>,
    line: Option<u64>,
    row: Option<usize>,
    column: Option<String>,
    message: String,
    hint: Option<String>,
    source: Option<std::io::Error>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the given kind, nowhere yet.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Repr {
            kind,
            file: None,
            line: None,
            row: None,
            column: None,
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    /// An error of the operating system; a file that is not there is [`ErrorKind::NotFound`].
    pub fn io(source: std::io::Error) -> Error {
        use std::io::ErrorKind as Io;
        let (kind, message) = match source.kind() {
            Io::NotFound => (ErrorKind::NotFound, "no such file or folder".to_owned()),
            Io::PermissionDenied => (ErrorKind::Io, "permission denied".to_owned()),
            Io::UnexpectedEof => (ErrorKind::Format, "the file ends early".to_owned()),
            Io::InvalidData | Io::InvalidInput => (ErrorKind::Format, source.to_string()),
            _ => (ErrorKind::Io, source.to_string()),
        };
        let mut error = Error::new(kind, message);
        error.0.source = Some(source);
        error
    }

    /// Names the file, unless one is already named.
    pub fn in_file(mut self, file: &Path) -> Error {
        self.0.file.get_or_insert_with(|| file.to_owned());
        self
    }

    /// Names the line, counted from 1, unless one is already named.
    pub fn at_line(mut self, line: u64) -> Error {
        self.0.line.get_or_insert(line);
        self
    }

    /// Names the row of a table, counted from 0 without the header, unless one is already named.
    pub fn in_row(mut self, row: usize) -> Error {
        self.0.row.get_or_insert(row);
        self
    }

    /// Names the column, unless one is already named.
    pub fn in_column(mut self, column: &str) -> Error {
        self.0.column.get_or_insert_with(|| column.to_owned());
        self
    }

    /// Says what to do about it, unless that is already said.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Puts the name of a part of the file before the message: `array "x": `.
    pub(crate) fn in_part(mut self, what: &str, name: &str) -> Error {
        self.0.message = format!("{what} {name:?}: {}", self.0.message);
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file it happened in, if one is to blame.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The line it happened at, counted from 1.
    pub fn line(&self) -> Option<u64> {
        self.0.line
    }

    /// The row of the table, counted from 0 without the header, where the line is not known.
    pub fn row(&self) -> Option<usize> {
        self.0.row
    }

    /// The name of the column to blame.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr {
            file,
            line,
            row,
            column,
            ..
        } = &*self.0;
        match (file, line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        if let Some(row) = row {
            write!(f, "row {row}: ")?;
        }
        if let Some(column) = column {
            write!(f, "column {column:?}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

/// A cell or a name as it is quoted in a message: at most 40 characters of it.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// `what` and the nearest of `names` by edit distance, for "did you mean".
pub(crate) fn nearest<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = what.to_lowercase();
    names
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                name,
            )
        })
        .min()
        .filter(|(distance, name)| *distance <= 1 + what.chars().count().max(name.len()) / 3)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where() {
        let bare = || Error::new(ErrorKind::Value, "expected a number, found \"x\"");
        let cases = [
            (bare(), "expected a number, found \"x\""),
            (bare().at_line(3), "line 3: expected a number, found \"x\""),
            (
                bare()
                    .in_column("age")
                    .at_line(3)
                    .in_file(Path::new("a.csv")),
                "a.csv:3: column \"age\": expected a number, found \"x\"",
            ),
            (
                bare()
                    .in_file(Path::new("a.csv"))
                    .in_file(Path::new("b.csv")),
                "a.csv: expected a number, found \"x\"",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn nearest_names() {
        let names = || ["Survived", "Sex", "Age", "Fare"].into_iter();
        assert_eq!(nearest("survived", names()), Some("Survived"));
        assert_eq!(nearest("Survivd", names()), Some("Survived"));
        assert_eq!(nearest("aeg", names()), Some("Age"));
        assert_eq!(nearest("temperature", names()), None);
    }
}
