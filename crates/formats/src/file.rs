//! Whole files: read with a limit, written so that nothing half-written is left behind.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// Puts `bytes` into a temporary file beside `path`, waits until the disk has them, and renames
/// it. On error `path` is as it was and the temporary file is gone.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let at = |e: std::io::Error| Error::io(e, path);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bantam-").suffix(".tmp");
    #[cfg(unix)]
    {
        // What `File::create` would ask for; the user's mask still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(at)?;
    file.write_all(bytes).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(path).map_err(|e| at(e.error))?;
    // The name is safe once the folder is; not every system lets a folder be opened for that.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// All bytes of `path`; errs before reading when there are more than `max_bytes`.
pub(crate) fn read_all(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let at = |e: std::io::Error| Error::io(e, path);
    let file = File::open(path).map_err(at)?;
    let meta = file.metadata().map_err(at)?;
    if meta.is_dir() {
        return Err(Error::new(ErrorKind::Io, "expected a file, found a folder")
            .at(path.display().to_string()));
    }
    let too_large = |n| Error::too_large("bytes in the file", n, max_bytes);
    if meta.len() > max_bytes {
        return Err(too_large(meta.len()).at(path.display().to_string()));
    }
    let mut bytes = Vec::new();
    // A file may grow, and a pipe has no length, so the limit is kept while reading too.
    let mut limited = file.take(max_bytes.saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(at)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(bytes.len() as u64).at(path.display().to_string()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name();
        let names = std::fs::read_dir(folder).unwrap().map(name);
        names.map(|n| n.into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for bytes in [&b"first"[..], b"second", b""] {
            write_atomic(&path, bytes).unwrap();
            assert_eq!(read_all(&path, 6).unwrap(), bytes);
            assert_eq!(names(folder.path()), ["a"]);
        }
    }

    #[test]
    fn refusals_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no/such");
        assert_eq!(
            write_atomic(&missing, b"x").unwrap_err().kind(),
            ErrorKind::Io
        );
        // A folder in the way: the rename fails after everything was written.
        let in_the_way = folder.path().join("folder");
        std::fs::create_dir_all(in_the_way.join("full")).unwrap();
        let error = write_atomic(&in_the_way, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(names(folder.path()), ["folder"]);
        assert_eq!(read_all(&in_the_way, 9).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(read_all(&missing, 9).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn devices_that_refuse_or_never_end() {
        // No temporary file can be made in /proc, not even by the superuser.
        let error = write_atomic(Path::new("/proc/bantam-test"), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let error = read_all(Path::new("/dev/zero"), 1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn reads_are_limited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomic(&path, &[0; 100]).unwrap();
        assert_eq!(read_all(&path, 100).unwrap().len(), 100);
        assert_eq!(read_all(&path, 99).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
