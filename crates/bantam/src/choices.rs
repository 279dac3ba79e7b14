//! Which kernels were the fastest on this machine, kept from one run of the program to the next.
//!
//! Only `bench` times kernels; whoever runs a network takes what is known and never waits. Answers do not
//! depend on it, not by a bit: a file that is damaged, or was made elsewhere, is left alone and another
//! is written in its place when kernels are timed again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bantam_runtime::{Candidate, Choice, Choices, Plan};
use serde::{Deserialize, Serialize};

use crate::folder::write_atomic;
use crate::machine;
use crate::{Error, Result};

/// What the file says it is.
const KIND: &str = "bantam kernel choices";
/// Largest file that is read.
const MOST_BYTES: u64 = 16 << 20;
/// Most layers that are kept; a file that has grown beyond is begun anew.
const MOST_LAYERS: usize = 20_000;

/// A folder with choices, one file for a processor, a number of threads and a version of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: Option<PathBuf>,
}

/// What a cache knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The choices; none when there is no file, or it is of no use.
    pub choices: Choices,
    /// Why a file that is there is of no use.
    pub notice: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    kind: String,
    version: String,
    processor: String,
    instructions: String,
    threads: usize,
    layers: BTreeMap<String, StoredChoice>,
}

#[derive(Serialize, Deserialize)]
struct StoredChoice {
    /// Tile and least time in nanoseconds.
    candidates: Vec<([usize; 2], u64)>,
    chosen: usize,
}

impl Cache {
    /// The folder `bantam` in the user's folder for such files: `$XDG_CACHE_HOME`, else `~/.cache`, on
    /// Windows `%LOCALAPPDATA%`; none where the system names no such folder.
    pub fn of_user() -> Cache {
        let absolute = |name| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let home = || Some(absolute("HOME")?.join(".cache"));
        let folder = absolute("XDG_CACHE_HOME")
            .or_else(home)
            .or_else(|| absolute("LOCALAPPDATA"));
        Cache {
            folder: folder.map(|f| f.join("bantam")),
        }
    }

    /// Files in `folder`.
    pub fn at(folder: &Path) -> Cache {
        Cache {
            folder: Some(folder.to_owned()),
        }
    }

    /// Keeps nothing and knows nothing.
    pub fn none() -> Cache {
        Cache { folder: None }
    }

    /// The file for `threads` threads on this machine; none without a folder.
    pub fn file(&self, threads: usize) -> Option<PathBuf> {
        let processor = crc32fast::hash(machine::processor().as_bytes());
        let name = format!(
            "kernels-{}-{processor:08x}-{}-{threads}.json",
            env!("CARGO_PKG_VERSION"),
            machine::instructions()
        );
        Some(self.folder.as_ref()?.join(name))
    }

    /// What is known for `threads` threads on this machine.
    pub fn read(&self, threads: usize) -> Known {
        let Some(path) = self.file(threads) else {
            return Known::default();
        };
        match read(&path, threads) {
            Ok(choices) => Known {
                choices: choices.unwrap_or_default(),
                notice: None,
            },
            Err(why) => {
                let path = path.display();
                let notice = format!("{path}: kernel choices are left out: {why}");
                Known {
                    choices: Choices::default(),
                    notice: Some(notice),
                }
            }
        }
    }

    /// Keeps `choices` for `threads` threads; does nothing without a folder. Errs when the file cannot be
    /// written.
    pub fn write(&self, threads: usize, choices: &Choices) -> Result<()> {
        let Some(path) = self.file(threads) else {
            return Ok(());
        };
        let folder = path.parent().expect("the file is in a folder");
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, &e))?;
        let mut bytes = serde_json::to_vec(&Stored::of(choices, threads)).expect("plain values");
        bytes.push(b'\n');
        write_atomic(&path, &bytes)
    }
}

/// Gives the layers of `plan` the kernels that `choices` knows to be the fastest.
pub(crate) fn apply(plan: &mut Plan, choices: &mut Choices) {
    plan.tune(choices, false);
}

fn read(path: &Path, threads: usize) -> std::result::Result<Option<Choices>, String> {
    let found = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| e.to_string())?,
    };
    if !found.is_file() || found.len() > MOST_BYTES {
        return Err(format!("expected a file of at most {MOST_BYTES} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    stored.choices(threads).map(Some)
}

impl Stored {
    fn of(choices: &Choices, threads: usize) -> Stored {
        let layer = |(geometry, choice): (&String, &Choice)| {
            let candidates = choice.candidates.iter().map(|c| (c.tile, c.nanoseconds));
            let stored = StoredChoice {
                candidates: candidates.collect(),
                chosen: choice.chosen,
            };
            (geometry.clone(), stored)
        };
        Stored {
            kind: KIND.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processor: machine::processor(),
            instructions: machine::instructions().to_owned(),
            threads,
            layers: choices.0.iter().take(MOST_LAYERS).map(layer).collect(),
        }
    }

    /// Errs when they are not of this machine, this program and so many threads.
    fn choices(self, threads: usize) -> std::result::Result<Choices, String> {
        let here = Stored::of(&Choices::default(), threads);
        let fields = [
            ("kind", &self.kind, &here.kind),
            ("version", &self.version, &here.version),
            ("processor", &self.processor, &here.processor),
            ("instructions", &self.instructions, &here.instructions),
        ];
        if let Some((name, found, expected)) = fields.iter().find(|f| f.1 != f.2) {
            return Err(format!("expected {name} {expected:?}, found {found:?}"));
        }
        if self.threads != threads {
            let found = self.threads;
            return Err(format!("expected {threads} threads, found {found}"));
        }
        if self.layers.len() >= MOST_LAYERS {
            return Err(format!("it holds {MOST_LAYERS} layers: it is begun anew"));
        }
        let mut choices = Choices::default();
        for (geometry, stored) in self.layers {
            if stored.chosen >= stored.candidates.len() {
                return Err(format!("the choice for {geometry:?} is not there"));
            }
            let candidate = |(tile, nanoseconds)| Candidate { tile, nanoseconds };
            let choice = Choice {
                candidates: stored.candidates.into_iter().map(candidate).collect(),
                chosen: stored.chosen,
            };
            choices.0.insert(geometry, choice);
        }
        Ok(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        let candidate = |tile, nanoseconds| Candidate { tile, nanoseconds };
        let choice = Choice {
            candidates: vec![candidate([6, 2], 900), candidate([4, 4], 700)],
            chosen: 1,
        };
        Choices([("conv a".to_owned(), choice)].into())
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("not/there/yet"));
        assert_eq!(cache.read(2), Known::default());
        cache.write(2, &choices()).unwrap();
        assert_eq!(cache.read(2).choices, choices());
        assert_eq!(cache.read(1), Known::default(), "of other threads");
        assert_eq!(Cache::none().file(1), None);
        Cache::none().write(1, &choices()).unwrap();
        assert_eq!(Cache::none().read(1), Known::default());
    }

    #[test]
    fn what_is_damaged_or_foreign_is_left_out_with_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        cache.write(1, &choices()).unwrap();
        let path = cache.file(1).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        for (what, text, word) in [
            ("cut", good[..good.len() / 2].to_owned(), "EOF"),
            ("empty", String::new(), "EOF"),
            ("not JSON", "\u{1}\u{2}".to_owned(), "expected value"),
            ("another thing", good.replace(KIND, "a cake"), "kind"),
            ("a version", good.replace(version, "0.0.0-x"), "version"),
            (
                "a processor",
                good.replace(&machine::processor(), "abacus"),
                "abacus",
            ),
            (
                "threads",
                good.replace("\"threads\":1", "\"threads\":9"),
                "found 9",
            ),
            (
                "no such kernel",
                good.replace("\"chosen\":1", "\"chosen\":2"),
                "not there",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let known = cache.read(1);
            assert_eq!(known.choices, Choices::default(), "{what}");
            let notice = known.notice.expect(what);
            assert!(notice.contains(word), "{what}: {notice}");
        }
        // It is written over when kernels are timed again.
        cache.write(1, &choices()).unwrap();
        assert_eq!(cache.read(1).choices, choices());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(cache.read(1).notice.is_some(), "a folder");
    }

    /// Bytes changed at random are found out or mean something; nothing panics.
    #[test]
    fn mutations() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        cache.write(1, &choices()).unwrap();
        let path = cache.file(1).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut rng = bantam_data::Rng::new(1, 1);
        for _ in 0..500 {
            let mut bytes = good.clone();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.below(256) as u8;
            }
            std::fs::write(&path, &bytes).unwrap();
            let known = cache.read(1);
            for choice in known.choices.0.values() {
                assert!(choice.chosen < choice.candidates.len());
            }
        }
    }
}
