//! Decoders that assert what they were told by a file.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// The file that a decoder of this thread is at, and what is said if it panics.
    static AT: RefCell<Option<(PathBuf, &'static str)>> = const { RefCell::new(None) };
}

/// Runs the decoder of a file. Its panic is an error of [`ErrorKind::Format`] with this message: bytes that
/// it cannot handle are the file's fault.
///
/// A panic that does not unwind, because the program was built so, cannot be turned into an error here.
/// [`decoding`] tells its hook what it would have been. Work that the decoder gives to other threads is
/// guarded by itself.
pub(crate) fn guarded<T>(
    file: &Path,
    message: &'static str,
    decode: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let outer = AT.replace(Some((file.to_owned(), message)));
    let result = catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(failed(message)));
    AT.set(outer);
    result.map_err(|e| e.in_file(file))
}

/// What a panic of this thread means at this moment, if it is a decoder's: the error that reading the file would
/// end with, for the hook of a program whose panics do not unwind.
pub fn decoding() -> Option<Error> {
    AT.with_borrow(|at| {
        at.as_ref()
            .map(|(file, message)| failed(message).in_file(file))
    })
}

fn failed(message: &str) -> Error {
    Error::new(ErrorKind::Format, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_decoder_is_an_error_of_its_file() {
        let (outer, inner) = (Path::new("outer.parquet"), Path::new("inner.png"));
        let text = |error: Option<Error>| error.map(|e| e.to_string());
        assert_eq!(text(decoding()), None);
        let result: Result<()> = guarded(outer, "expected better", || {
            let result: Result<()> = guarded(inner, "expected a picture", || {
                assert_eq!(
                    text(decoding()).as_deref(),
                    Some("inner.png: expected a picture")
                );
                panic!("an assertion of the decoder");
            });
            assert_eq!(
                text(result.err()).as_deref(),
                Some("inner.png: expected a picture")
            );
            assert_eq!(
                text(decoding()).as_deref(),
                Some("outer.parquet: expected better")
            );
            panic!("another");
        });
        assert_eq!(
            text(result.err()).as_deref(),
            Some("outer.parquet: expected better")
        );
        assert_eq!(text(decoding()), None);
        assert_eq!(guarded(outer, "expected better", || Ok(7)).ok(), Some(7));
    }

    #[test]
    fn an_error_of_a_decoder_stays_what_it_is() {
        let own = || Err::<(), _>(Error::new(ErrorKind::Limit, "too large").at_line(3));
        let error = guarded(Path::new("a.png"), "expected a picture", own).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(error.to_string(), "a.png:3: too large");
    }
}
