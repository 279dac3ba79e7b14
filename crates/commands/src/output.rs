//! Where output goes: stdout for data, stderr for talk, files that are whole or not there.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bantam::{Error, ErrorKind, Result};
use serde::Serialize;
use tempfile::NamedTempFile;

/// Prints a line for people; if stderr is gone there is nobody to tell.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints what the parser of arguments says: help on stdout, mistakes on stderr.
pub fn usage(message: &clap::Error) -> ExitCode {
    // Only printing can fail here, and there is no other place to say so.
    let _ = message.print();
    match message.use_stderr() {
        true => ExitCode::from(1),
        false => ExitCode::SUCCESS,
    }
}

/// Stdout, buffered. When the reader at the other end has gone, the program ends quietly.
pub struct Stdout(BufWriter<io::Stdout>);

impl Stdout {
    /// Opens it.
    pub fn open() -> Stdout {
        Stdout(BufWriter::with_capacity(1 << 16, io::stdout()))
    }

    /// Prints `text` and hands it over.
    pub fn print(text: &str) -> Result<()> {
        let mut stdout = Stdout::open();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        written.map_err(|e| Error::new(ErrorKind::File, format!("standard output: {e}")))
    }

    /// Prints one JSON object.
    pub fn json(value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|e| {
            let message = format!("the result cannot be written as JSON: {e}");
            Error::new(ErrorKind::Internal, message)
        })?;
        Stdout::print(&(text + "\n"))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        quiet(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        quiet(self.0.flush())
    }
}

fn quiet<T>(result: io::Result<T>) -> io::Result<T> {
    if matches!(&result, Err(e) if e.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
    result
}

/// A file to be: written beside its place and moved there when it is whole. What is there already and
/// is no ordinary file, such as a pipe, is written to directly.
pub struct OutFile {
    path: PathBuf,
    writer: BufWriter<Target>,
}

enum Target {
    Temporary(NamedTempFile),
    Direct(File),
}

impl OutFile {
    /// Errs when nothing can be written there.
    pub fn create(path: &Path) -> Result<OutFile> {
        let at = |e: io::Error| Error::file(path, &e);
        let target = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                let message = "expected the name of a file, found a folder";
                return Err(Error::new(ErrorKind::File, message).in_file(path));
            }
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path).map_err(at)?;
                Target::Direct(file)
            }
            _ => Target::Temporary(temporary(folder_of(path)).map_err(at)?),
        };
        Ok(OutFile {
            path: path.to_owned(),
            writer: BufWriter::with_capacity(1 << 16, target),
        })
    }

    /// Moves the file to its place.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        let at = |e: io::Error| Error::file(&path, &e);
        let target = self.writer.into_inner().map_err(|e| at(e.into_error()))?;
        match target {
            Target::Direct(mut file) => file.flush().map_err(at),
            Target::Temporary(file) => {
                file.as_file().sync_all().map_err(at)?;
                file.persist(&path).map_err(|e| at(e.error))?;
                Ok(())
            }
        }
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Temporary(file) => file.write(bytes),
            Target::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Temporary(file) => file.flush(),
            Target::Direct(file) => file.flush(),
        }
    }
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bantam-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What a plain file would get; the user's mask still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// The folder that `path` is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Errs unless a file can be put at `path`, before hours are spent on what goes into it.
pub fn check_place(path: &Path) -> Result<()> {
    if let Ok(found) = std::fs::metadata(path)
        && !found.is_file()
    {
        let what = if found.is_dir() {
            "a folder"
        } else {
            "a device"
        };
        let message = format!("expected a file or a new name, found {what}");
        return Err(Error::new(ErrorKind::File, message).in_file(path));
    }
    let made = temporary(folder_of(path));
    made.map(drop).map_err(|e| Error::file(path, &e))
}

/// Lines of cells, each column as wide as its widest cell; the first column is text, the others are
/// set to the right.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i));
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match i {
                0 => line.push_str(&format!("{cell:<width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of a name and a text.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or(0);
    let line = |(name, text): &(&str, String)| format!("{name:<width$}  {text}\n");
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [["a", "1,000"], ["long", "2"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "a     1,000\nlong      2\n");
        assert_eq!(
            pairs(&[("ab", "x".into()), ("c", "y z".into())]),
            "ab  x\nc   y z\n"
        );
    }
}
