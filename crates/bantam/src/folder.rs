//! The run folder: every stage is a file, and a file that is there is a stage that is done.
//!
//! Files are written whole or not at all, so a run that is killed anywhere goes on where it was.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Recipe, Result};
use bantam_core::order::sort_by;

/// The folder of one run.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder of `recipe` below `runs`, called after its name and a hash of its settings and its
    /// data, so that a change of either starts anew. With `fresh` what is there is removed.
    pub(crate) fn open(runs: &Path, recipe: &Recipe, fresh: bool) -> Result<Folder> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(recipe.to_toml().as_bytes());
        fingerprint(&recipe.data.path, &mut hasher)?;
        let path = runs.join(format!(
            "{}-{:08x}",
            file_name(&recipe.name),
            hasher.finalize()
        ));
        if fresh && path.exists() {
            std::fs::remove_dir_all(&path).map_err(|e| Error::file(&path, &e))?;
        }
        let folder = Folder(path);
        folder.make("")?;
        remove_temporary(&folder.0)?;
        folder.write("recipe.toml", recipe.to_toml().as_bytes())?;
        Ok(folder)
    }

    /// Where the folder is.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether the file is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// Makes a folder inside.
    pub(crate) fn make(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        std::fs::create_dir_all(&path).map_err(|e| {
            let hint = "choose a folder that can be written to with --runs";
            Error::file(&path, &e).with_hint(hint)
        })
    }

    /// Writes a file whole or not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.path(name), bytes)
    }

    /// Writes a value as JSON.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        text.push(b'\n');
        self.write(name, &text)
    }

    /// Reads a value that [`Folder::write_json`] wrote; `None` when the file is not there.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| damaged(&path, &e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file(&path, &e)),
        }
    }

    /// Removes a file that is no longer needed.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file(&path, &e)),
            _ => Ok(()),
        }
    }
}

/// The error for a file of the run folder that cannot be understood.
pub(crate) fn damaged(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::File, format!("cannot be read back: {e}"))
        .in_file(path)
        .with_hint("delete the file, or start anew with --fresh")
}

/// Writes `bytes` to a temporary file beside `path` and renames it.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e: std::io::Error| {
        // Best effort: the error that matters is the first.
        let _ = std::fs::remove_file(&temporary);
        Error::file(path, &e)
    })
}

/// Removes what a killed run had begun to write.
fn remove_temporary(folder: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::file(folder, &e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            remove_temporary(&path)?;
        } else if path.extension().is_some_and(|e| e == "tmp") {
            std::fs::remove_file(&path).map_err(|e| Error::file(&path, &e))?;
        }
    }
    Ok(())
}

/// A name as part of a file name.
fn file_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let plain: String = name.chars().map(plain).take(64).collect();
    plain.trim_start_matches('.').to_owned()
}

/// Adds the contents of a file, or of all files below a folder in the order of their names.
fn fingerprint(path: &Path, hasher: &mut crc32fast::Hasher) -> Result<()> {
    let failed = |e: std::io::Error| Error::file(path, &e);
    if path.is_dir() {
        let entries: std::io::Result<Vec<_>> = std::fs::read_dir(path).map_err(failed)?.collect();
        let mut paths: Vec<PathBuf> = entries.map_err(failed)?.iter().map(|e| e.path()).collect();
        sort_by(&mut paths, |a, b| a.cmp(b));
        for path in paths {
            hasher.update(path.file_name().map_or(&[][..], |n| n.as_encoded_bytes()));
            fingerprint(&path, hasher)?;
        }
        return Ok(());
    }
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
