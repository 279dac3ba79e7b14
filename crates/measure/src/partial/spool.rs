//! Sorted runs of packed keys, in memory or in files, and their merge.
//!
//! A run in a file is a list of entries, each the difference to the key before it and a count, as
//! integers of 7 bits a byte: three to five bytes a row where sums are dense.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use super::{CLASS_BITS, class_of, pack, spilling, sum_of};
use crate::error::{Error, ErrorKind, Result};
use crate::sorted::{itself, sort_parts};

/// Bytes read ahead of each file.
const BUFFER: usize = 1 << 16;

/// Rows with one sum and one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) sum: u64,
    pub(super) class: u32,
    pub(super) count: u64,
}

/// A sorted run.
#[derive(Debug)]
pub(super) struct Body {
    run: Run,
    /// New numbers of the classes, where they have changed.
    map: Option<Vec<u32>>,
}

#[derive(Debug)]
enum Run {
    Memory(Vec<u64>),
    File(RunFile),
}

/// Where in a file a run is.
#[derive(Debug)]
pub(super) struct RunFile {
    pub(super) file: File,
    /// What to call it in errors.
    pub(super) name: PathBuf,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// Of the bytes of the run.
    pub(super) crc: u32,
    /// Classes that entries may have.
    pub(super) classes: u32,
}

impl Body {
    /// Keys in any order.
    pub(super) fn memory(parts: Vec<Vec<u64>>) -> Body {
        Body {
            run: Run::Memory(sort_parts(parts, itself)),
            map: None,
        }
    }

    /// The sorted keys, where they are in memory and no class has another number.
    pub(super) fn keys(&self) -> Option<&[u64]> {
        match (&self.run, &self.map) {
            (Run::Memory(keys), None) => Some(keys),
            _ => None,
        }
    }

    pub(super) fn file(run: RunFile) -> Body {
        Body {
            run: Run::File(run),
            map: None,
        }
    }

    /// Class `c` becomes `map[c]`.
    pub(super) fn relabel(mut self, map: &[u32]) -> Body {
        self.map = Some(match self.map {
            None => map.to_vec(),
            Some(old) => old.iter().map(|&c| map[c as usize]).collect(),
        });
        self
    }
}

/// Collects keys from several threads in bounded memory.
pub(super) struct Spool {
    /// Keys in memory, at most.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: Vec<Vec<u64>>,
    /// In all parts.
    keys: usize,
    runs: Vec<RunFile>,
}

impl Spool {
    pub(super) fn new(max_bytes: u64) -> Spool {
        // While one buffer is copied, sorted and written by a thread, the others go on filling the next.
        let buffers = rayon::current_num_threads() as u64 + 2;
        Spool {
            most: ((max_bytes / 8 / buffers) as usize).max(1024),
            state: Mutex::default(),
        }
    }

    pub(super) fn push(&self, keys: Vec<u64>) -> io::Result<()> {
        let full = {
            let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
            let full = state.keys > 0 && state.keys + keys.len() > self.most;
            let parts = match full {
                true => std::mem::take(&mut state.parts),
                false => Vec::new(),
            };
            state.keys = keys.len() + if full { 0 } else { state.keys };
            state.parts.push(keys);
            match full {
                true => parts,
                false => return Ok(()),
            }
        };
        // Not under the lock: a sort in parallel may take up other work that needs it.
        let run = spill(full)?;
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.runs.push(run);
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Vec<Body>> {
        let state = self.state.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut bodies: Vec<Body> = state.runs.into_iter().map(Body::file).collect();
        bodies.push(Body::memory(state.parts));
        Ok(bodies)
    }
}

/// Sorts keys and writes them to a file without a name.
fn spill(parts: Vec<Vec<u64>>) -> io::Result<RunFile> {
    let mut keys = parts.concat();
    drop(parts);
    keys.sort_unstable();
    let mut file = tempfile::tempfile()?;
    let mut writer = RunWriter::new(BufWriter::with_capacity(BUFFER, &mut file));
    for same in keys.chunk_by(|a, b| a == b) {
        writer.push(Entry {
            sum: sum_of(same[0]),
            class: class_of(same[0]),
            count: same.len() as u64,
        })?;
    }
    let written = writer.finish()?;
    Ok(RunFile {
        file,
        name: "a temporary file".into(),
        offset: 0,
        bytes: written.bytes,
        entries: written.entries,
        crc: written.crc,
        classes: 1 << CLASS_BITS,
    })
}

/// What a run came to.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) crc: u32,
}

/// Writes entries in ascending order.
pub(super) struct RunWriter<W: Write> {
    to: W,
    key: u64,
    bytes: u64,
    entries: u64,
    crc: crc32fast::Hasher,
}

impl<W: Write> RunWriter<W> {
    pub(super) fn new(to: W) -> RunWriter<W> {
        RunWriter {
            to,
            key: 0,
            bytes: 0,
            entries: 0,
            crc: crc32fast::Hasher::new(),
        }
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        let key = pack(entry.sum, entry.class);
        // One bit says whether a count follows; most sums are those of one row.
        let single = entry.count == 1;
        let step = u128::from(key - self.key) << 1 | u128::from(!single);
        self.key = key;
        self.entries += 1;
        self.varint(step)?;
        if !single {
            self.varint(u128::from(entry.count))?;
        }
        Ok(())
    }

    fn varint(&mut self, mut value: u128) -> io::Result<()> {
        // A step is of 65 bits at most.
        let mut bytes = [0u8; 10];
        let mut used = 0;
        loop {
            bytes[used] = (value & 0x7f) as u8 | u8::from(value > 0x7f) << 7;
            used += 1;
            value >>= 7;
            if value == 0 {
                break;
            }
        }
        self.crc.update(&bytes[..used]);
        self.bytes += used as u64;
        self.to.write_all(&bytes[..used])
    }

    pub(super) fn finish(mut self) -> io::Result<Written> {
        self.to.flush()?;
        Ok(Written {
            bytes: self.bytes,
            entries: self.entries,
            crc: self.crc.finalize(),
        })
    }
}

/// Entries of several runs in the order of their sums. Classes of one sum come in any order.
pub(super) struct Merged<'a> {
    sources: Vec<Source<'a>>,
    heap: BinaryHeap<Reverse<(u64, u32, usize, u64)>>,
}

impl<'a> Merged<'a> {
    pub(super) fn of(bodies: &'a [Body]) -> Result<Merged<'a>> {
        let sources = bodies.iter().map(Source::of).collect::<Result<Vec<_>>>()?;
        let mut merged = Merged {
            heap: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        for at in 0..merged.sources.len() {
            merged.advance(at)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, at: usize) -> Result<()> {
        if let Some(e) = self.sources[at].next()? {
            self.heap.push(Reverse((e.sum, e.class, at, e.count)));
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let Some(Reverse((sum, class, at, count))) = self.heap.pop() else {
            return Ok(None);
        };
        self.advance(at)?;
        Ok(Some(Entry { sum, class, count }))
    }
}

/// One run being read.
struct Source<'a> {
    run: Reading<'a>,
    map: Option<&'a [u32]>,
}

enum Reading<'a> {
    Memory(std::slice::Iter<'a, u64>),
    File(RunReader<'a>),
}

impl<'a> Source<'a> {
    fn of(body: &'a Body) -> Result<Source<'a>> {
        Ok(Source {
            run: match &body.run {
                Run::Memory(keys) => Reading::Memory(keys.iter()),
                Run::File(run) => Reading::File(RunReader::open(run)?),
            },
            map: body.map.as_deref(),
        })
    }

    fn next(&mut self) -> Result<Option<Entry>> {
        let found = match &mut self.run {
            Reading::Memory(keys) => keys.next().map(|&key| Entry {
                sum: sum_of(key),
                class: class_of(key),
                count: 1,
            }),
            Reading::File(reader) => reader.next()?,
        };
        let map = |class: u32| self.map.map_or(class, |map| map[class as usize]);
        Ok(found.map(|e| Entry {
            class: map(e.class),
            ..e
        }))
    }
}

/// Reads a run from its file; nobody vouches for what is in it.
struct RunReader<'a> {
    run: &'a RunFile,
    from: BufReader<io::Take<&'a File>>,
    key: u64,
    left: u64,
    crc: crc32fast::Hasher,
}

impl<'a> RunReader<'a> {
    fn open(run: &'a RunFile) -> Result<RunReader<'a>> {
        let mut file = &run.file;
        file.seek(SeekFrom::Start(run.offset)).map_err(spilling)?;
        Ok(RunReader {
            run,
            from: BufReader::with_capacity(BUFFER, file.take(run.bytes)),
            key: 0,
            left: run.entries,
            crc: crc32fast::Hasher::new(),
        })
    }

    fn damaged(&self, what: &str) -> Error {
        let message = format!(
            "{}: damaged partial result: {what}",
            self.run.name.display()
        );
        Error::new(ErrorKind::Format, message)
    }

    fn next(&mut self) -> Result<Option<Entry>> {
        if self.left == 0 {
            let mut byte = [0];
            return match self.from.read(&mut byte) {
                Ok(0) if self.crc.clone().finalize() == self.run.crc => Ok(None),
                Ok(0) => Err(self.damaged("its checksum is another")),
                Ok(_) => Err(self.damaged("bytes follow the last entry")),
                Err(e) => Err(spilling(e)),
            };
        }
        let first = self.left == self.run.entries;
        self.left -= 1;
        let step = self.varint()?;
        let more = u64::try_from(step >> 1).map_err(|_| self.damaged("a step beyond 64 bits"))?;
        if more == 0 && !first {
            return Err(self.damaged("an entry that is there twice"));
        }
        let key = self.key.checked_add(more);
        self.key = key.ok_or_else(|| self.damaged("a sum beyond 64 bits"))?;
        let count = match step & 1 {
            0 => 1,
            _ => u64::try_from(self.varint()?).unwrap_or(0),
        };
        let class = class_of(self.key);
        if class >= self.run.classes || count == 0 || count > 1 << 48 {
            return Err(self.damaged("a class or a count out of range"));
        }
        Ok(Some(Entry {
            sum: sum_of(self.key),
            class,
            count,
        }))
    }

    fn varint(&mut self) -> Result<u128> {
        let mut value = 0u128;
        for i in 0..10 {
            let mut byte = [0u8];
            if let Err(e) = self.from.read_exact(&mut byte) {
                return Err(match e.kind() {
                    io::ErrorKind::UnexpectedEof => self.damaged("it ends early"),
                    _ => spilling(e),
                });
            }
            self.crc.update(&byte);
            value |= u128::from(byte[0] & 0x7f) << (7 * i);
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number of more than 10 bytes"))
    }
}
