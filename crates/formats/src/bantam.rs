//! The `.bantam` file, version 1: a network and everything needed to run it.
//!
//! A file holds a [`Model`]: the graph with its weights, the schema of its input and target, notes.
//! [`read`] gives back exactly what [`write()`] was given; a weight that the chosen [`Coder`] could
//! only store approximately is refused, and [`round_for_storage`] is there to round it first, so
//! that what was measured is what ships. `write` reads its own bytes back before it returns them.
//!
//! # Layout
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `89 42 4E 54 4D 0D 0A 1A`: not text, and damaged by whatever changes line ends |
//! | 2 | version: major, which a reader must know, and minor, which it need not |
//! | 2 | flags that a reader must understand, flags that it may ignore; none are defined |
//! | varint | length of the header |
//! | varint | length of the header as stored |
//! | … | the header, coded by [`bantam_codec::bytes`] |
//! | 4 | CRC-32 of everything before the stored header and of the decoded header, little endian |
//! | … | the payload: packed numbers, then weights |
//! | 4 | CRC-32 of the packed numbers and of the decoded levels (profile 0: of the payload) |
//!
//! The checksums are of what was decoded, so they notice a decoder that differs as well as a file
//! that does. Nothing may follow. All sizes are [varints](bantam_codec::varint); strings are UTF-8
//! without NUL and end with one.
//!
//! The header is, in this order: the coder profile (0 `Store`, 1 `DeepCompression`, 2
//! `ContextMixing`), the definitions of the graph, names, the schema, notes, the length of the
//! packed numbers, and what the profile adds: the number of entries of each codebook (0), the length
//! of each weight's code (1), stride and orientation of each matrix (2).
//!
//! A definition starts with one of these bytes, and they come in the order in which the builder was
//! called, so values need no numbers:
//!
//! | byte | definition | then |
//! |---|---|---|
//! | 0 | the end | the number of outputs and each, as its distance from the end |
//! | 1 | input | element type (0 `f32`, 1 `f64`, 2 `i64`, 3 `u8`, 6 `f16`, 7 `bf16`, 8 `i8`, 9 `i16`, 10 `i32`, 11 `u16`, 12 `u32`, 13 `u64`, 14 `bool`), axes: 0 for `n`, 1 and a name, or the size + 2 |
//! | 2, 3 | weight, constant | form (an element type, 4 masked, 5 codebook), axes |
//! | 4 | a node with outputs `name.0` … | their number, then as below |
//! | 5 | input with free axes | element type, axes: 0 for `n`, 1 and a name, 2 for any size, 3 for any number of axes, or the size + 4 |
//! | 6 | nothing; only first | the graph need not fit every size of its free axes |
//! | 8 and up | a node; the byte is the operator's tag | attributes, number of inputs, each as its distance from the next value |
//!
//! | tag | operator | attributes |
//! |---|---|---|
//! | 8 | Dense | |
//! | 9 | MatMul | flags: transpose a, b |
//! | 10, 11, 12 | Conv: forward, gradient of the input, of the weight | flags, then what they announce: stride (2), padding (4), dilation (2), groups (1) |
//! | 13, 14, 15 | max pooling, average over real cells, over padding too | flags, then: window (2), stride (2) if not the window, padding (4) |
//! | 16, 17, 18 | their gradients | same |
//! | 19, 20, 21 | BatchNorm: inference, training, gradient | epsilon, momentum |
//! | 22, 23, 24, 25 | Softmax, LogSoftmax, their gradients | axis |
//! | 26–30 | reduce: sum, mean, max, min, arg max | keep axes, axes |
//! | 31–35 | their gradients | same |
//! | 36 | sum to a shape | |
//! | 37, 38 | Reshape, ReshapeLike | sizes; none |
//! | 39 | Transpose | permutation |
//! | 40, 41 | Slice, its gradient | start, end, step of each axis |
//! | 42, 43 | Concat, its gradient | axis; axis, index |
//! | 44 | Pad | before and after of each axis, value |
//! | 45, 46 | Gather, its gradient | axis |
//! | 47, 48 | Dropout, its mask | ratio; ratio, stream |
//! | 49, 50, 51 | cross-entropy, mean squared error, binary cross-entropy | label smoothing; none; none |
//! | 52, 53, 54 | their gradients | same |
//! | 56–59 | add, subtract, multiply, divide | |
//! | 64–76 | identity, relu, relu6, leaky relu, elu, sigmoid, tanh, softplus, exp, log, sqrt, abs, neg | slope or depth of 67 and 68 |
//! | 96–108 | their gradients | same |
//! | 60–63 | power, maximum, minimum, remainder with the sign of the divisor | |
//! | 77–93, 109–125 | erf to reciprocal, their gradients | |
//! | 128 | Cast | element type |
//! | 129–137 | comparisons and logic, choice, indices, running sums, recurrent layers, resizing, windows, operators that depend on values, search | as listed in the module `attributes` |
//! | 138, 139 | If, Loop | two graphs; the number of states and a graph: definitions and names, as above |
//! | 140 | Conv, transposed or over three axes | as listed there |
//! | 141 | remainder with the sign of the dividend | |
//! | 142 | other reductions | kind, keep axes, axes |
//! | 143–147 | Layout: extend, expand, tile, reverse, triangle | as listed there |
//!
//! Attributes are varints (signed ones folded: 0, -1, 1, -2, …) or `f32`. The packed numbers are the
//! normalisation of the schema and, but for profile 0, dense weights and codebooks; the documents of
//! the modules `floats` and `codebooks` in the source define their bits. In profile 1 and 2, the
//! levels of matrices come before those of vectors, otherwise weights are in the order of the graph;
//! under profile 2 they are one code, so no weight can be decoded alone. Weights of graphs inside nodes
//! follow those of the graph around them.
//!
//! # Limits
//!
//! At most 65,536 weights, 2²⁰ values, 16 graphs inside each other, 8 axes, 2³⁰ elements a value, 256 codebook entries and 1 KiB
//! a name; what a caller of [`read`] is ready to take on besides is in [`ReadLimits`]. Refused are
//! also graphs that no builder makes, attributes that are not a number, and empty codes.

use std::path::Path;

use bantam_codec::bits::BitWriter;
use bantam_codec::bytes::{decode_bytes, encode_bytes};
use bantam_codec::varint;
use bantam_core::schema::Schema;
use bantam_core::{Data, Graph, Weight};
use crc32fast::Hasher;

mod attributes;
mod codebooks;
mod coded;
mod floats;
mod graph;
mod layout;
mod ledger;
mod names;
mod ops;
mod round;
mod schema;
mod store;
mod text;

#[cfg(test)]
mod tests;

use crate::file::{read_all, write_atomic};
use crate::{Error, ErrorKind, Result};
use floats::Bits;
use graph::{Skeleton, Slot};
use ledger::Counter;
pub use ledger::LedgerEntry;
pub use round::{round_for_storage, round_schema, round_to_bits};
use text::{Part, Sink, Source};

const MAGIC: [u8; 8] = *b"\x89BNTM\r\n\x1a";
const MAJOR: u8 = 1;
const MINOR: u8 = 0;
const CRC_BYTES: usize = 4;
const MAX_NOTES: usize = 1024;
const MAX_NOTE_BYTES: usize = 1 << 20;

/// A network and what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// What it is fed and what its answers mean.
    pub schema: Option<Schema>,
    /// Titles and texts for people and tools: how it was made, what it was measured at.
    pub notes: Vec<(String, String)>,
}

impl Model {
    /// A graph alone.
    pub fn new(graph: Graph) -> Model {
        Model {
            graph,
            schema: None,
            notes: Vec::new(),
        }
    }
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coder {
    /// As they are: fast, large, any weight. For what training stages hand to each other.
    Store,
    /// Relative indices and Huffman codes of Han et al. 2016, for comparison.
    DeepCompression,
    /// Context mixing over all weights together: the smallest.
    #[default]
    ContextMixing,
}

/// How to write a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// How weights are stored.
    pub coder: Coder,
}

/// How much a reader is ready to take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Largest file in bytes.
    pub max_file_bytes: u64,
    /// Largest decoded header in bytes.
    pub max_header_bytes: usize,
    /// Most elements in all weights together; decoding takes up to 13 bytes of memory for each.
    pub max_elements: u64,
}

impl Default for ReadLimits {
    /// 4 GiB, 4 MiB and 2²⁸ elements.
    fn default() -> ReadLimits {
        ReadLimits {
            max_file_bytes: 1 << 32,
            max_header_bytes: 1 << 22,
            max_elements: 1 << 28,
        }
    }
}

/// The bytes of a file that holds `model`.
///
/// Errs when the coder would have to change something: with [`Coder::DeepCompression`] and
/// [`Coder::ContextMixing`] codebook entries must be 0 and then ascending ([`round_for_storage`]
/// sees to it). Errs also above the limits of the format. The file was read back and is the model.
pub fn write(model: &Model, options: &WriteOptions) -> Result<Vec<u8>> {
    let mut sink = Sink::default();
    let mut numbers = BitWriter::new();
    sink.byte(coder_code(options.coder));
    Skeleton::of(&model.graph)?.write(&mut sink)?;
    schema::write(&mut sink, &mut numbers, model.schema.as_ref())?;
    write_notes(&mut sink, &model.notes)?;

    let mut levels_hasher = Hasher::new();
    let mut extra = Sink::default();
    let mut code = Vec::new();
    if options.coder == Coder::Store {
        store::write_header(&mut extra, &model.graph)?;
    } else {
        let (sink, hasher) = (&mut extra, &mut levels_hasher);
        code = coded::write(&model.graph, options.coder, sink, &mut numbers, hasher)?;
    }
    let numbers = numbers.finish();
    sink.size(numbers.len())?;
    sink.bytes.extend(extra.bytes);

    let mut file = write_frame(&sink.bytes)?;
    let payload_at = file.len();
    file.extend(&numbers);
    let mut hasher = Hasher::new();
    if options.coder == Coder::Store {
        store::write_payload(&mut file, &model.graph);
        hasher.update(&file[payload_at..]);
    } else {
        file.extend(code);
        hasher.update(&numbers);
        hasher.combine(&levels_hasher);
    }
    file.extend(hasher.finalize().to_le_bytes());
    verify(&file, model)?;
    Ok(file)
}

/// Magic to the first checksum.
fn write_frame(header: &[u8]) -> Result<Vec<u8>> {
    let mut file = MAGIC.to_vec();
    file.extend([MAJOR, MINOR, 0, 0]);
    let stored = encode_bytes(header);
    varint::write(&mut file, header.len() as u64);
    varint::write(&mut file, stored.len() as u64);
    let mut hasher = Hasher::new();
    hasher.update(&file);
    hasher.update(header);
    file.extend(stored);
    file.extend(hasher.finalize().to_le_bytes());
    Ok(file)
}

/// Errs unless the file holds the model to the bit.
fn verify(file: &[u8], model: &Model) -> Result<()> {
    let limits = ReadLimits {
        max_elements: model
            .graph
            .all_parameters()
            .iter()
            .map(|p| p.weight.len() as u64)
            .sum(),
        ..ReadLimits::default()
    };
    let limits = ReadLimits {
        max_file_bytes: u64::MAX,
        ..limits
    };
    let back = read(file, &limits)
        .map_err(|e| Error::unstorable(format!("the file would not be read: {e}")).caused_by(e))?;
    if is_same(&back, model) {
        return Ok(());
    }
    Err(Error::unstorable("the file would hold another model"))
}

/// Equality in which a number that is not a number equals itself, and zeros have signs.
fn is_same(a: &Model, b: &Model) -> bool {
    let (g, h) = (&a.graph, &b.graph);
    let names = |g: &Graph| -> Vec<String> {
        let values = g
            .inputs()
            .iter()
            .map(|i| i.value)
            .chain(g.parameters().iter().map(|p| p.value));
        let values = values.chain(g.nodes().iter().flat_map(|n| n.outputs.iter().copied()));
        values.map(|v| g.value_name(v).to_owned()).collect()
    };
    let weights = g.parameters().iter().zip(h.parameters()).all(|(p, q)| {
        p.value == q.value && p.trainable == q.trainable && is_same_weight(&p.weight, &q.weight)
    });
    a.schema == b.schema
        && a.notes == b.notes
        && (g.name(), g.inputs(), g.nodes()) == (h.name(), h.inputs(), h.nodes())
        && (g.outputs(), g.parameters().len()) == (h.outputs(), h.parameters().len())
        && names(g) == names(h)
        && weights
}

fn is_same_weight(a: &Weight, b: &Weight) -> bool {
    let same = |a: &Data, b: &Data| match (a, b) {
        (Data::F32(a), Data::F32(b)) => a
            .iter()
            .map(|x| x.to_bits())
            .eq(b.iter().map(|x| x.to_bits())),
        (Data::F64(a), Data::F64(b)) => a
            .iter()
            .map(|x| x.to_bits())
            .eq(b.iter().map(|x| x.to_bits())),
        (a, b) => a == b,
    };
    let shapes = a.shape() == b.shape();
    shapes
        && match (a, b) {
            (Weight::Dense(a), Weight::Dense(b)) => same(a.data(), b.data()),
            (Weight::Masked(a), Weight::Masked(b)) => {
                a.keep() == b.keep() && same(a.values().data(), b.values().data())
            }
            (a, b) => a == b,
        }
}

fn coder_code(coder: Coder) -> u8 {
    match coder {
        Coder::Store => 0,
        Coder::DeepCompression => 1,
        Coder::ContextMixing => 2,
    }
}

fn read_coder(code: u8) -> Result<Coder> {
    match code {
        0 => Ok(Coder::Store),
        1 => Ok(Coder::DeepCompression),
        2 => Ok(Coder::ContextMixing),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!("unknown coder profile {code}"),
        )),
    }
}

fn write_notes(sink: &mut Sink, notes: &[(String, String)]) -> Result<()> {
    if notes.len() > MAX_NOTES {
        return Err(Error::too_large(
            "notes",
            notes.len() as u64,
            MAX_NOTES as u64,
        ));
    }
    sink.size(notes.len())?;
    notes.iter().try_for_each(|(title, text)| {
        sink.string(title)?;
        sink.text(text, MAX_NOTE_BYTES)
    })
}

fn read_notes(source: &mut Source<'_>) -> Result<Vec<(String, String)>> {
    let n = source.count("notes", MAX_NOTES)?;
    (0..n)
        .map(|_| Ok((source.string()?, source.text(MAX_NOTE_BYTES)?)))
        .collect()
}

/// The model in the bytes of a file.
///
/// Errs when they are not a whole, undamaged file of a known version, or above `limits`.
pub fn read(bytes: &[u8], limits: &ReadLimits) -> Result<Model> {
    read_counted(bytes, limits, None)
}

/// What each byte of a file is for; the parts sum to its size.
///
/// A part of a coded stream is charged what the stream grows by when it is added. Small networks
/// of [`Coder::ContextMixing`] are coded again to find that out for each weight, its positions
/// alone and its magnitudes alone; above some millions of weights the share is an estimate by
/// entropy. Errs as [`read`] does.
pub fn ledger(bytes: &[u8]) -> Result<Vec<LedgerEntry>> {
    let mut counter = Counter::default();
    read_counted(bytes, &ReadLimits::default(), Some(&mut counter))?;
    let entries = counter.finish();
    let total: u64 = entries.iter().map(|e| e.bytes).sum();
    assert_eq!(total, bytes.len() as u64, "every byte belongs to a part");
    Ok(entries)
}

/// Writes a model to `path`, whole or not at all; errs as [`write()`] does and when the disk refuses.
pub fn save(model: &Model, path: &Path, options: &WriteOptions) -> Result<()> {
    write_atomic(path, &write(model, options)?)
}

/// Reads the model in the file `path`; errs as [`read`] does and when the disk refuses.
pub fn load(path: &Path, limits: &ReadLimits) -> Result<Model> {
    let bytes = read_all(path, limits.max_file_bytes)?;
    read(&bytes, limits).map_err(|e| e.at(path.display().to_string()))
}

/// The part of a file after its header.
#[derive(Debug)]
struct Payload<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Payload<'a> {
    /// Where in the file it is.
    fn at(&self) -> usize {
        self.at
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.end - self.at {
            let error = Error::new(ErrorKind::Truncated, "the file ends inside its weights");
            return Err(error.at_byte(self.at as u64));
        }
        let taken = &self.file[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn rest(&self) -> &'a [u8] {
        &self.file[self.at..self.end]
    }

    fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest();
        self.at = self.end;
        rest
    }
}

/// The parts of a file before they are understood.
struct Frame<'a> {
    header: Vec<u8>,
    n_length_bytes: u64,
    n_stored_bytes: u64,
    payload: Payload<'a>,
    payload_crc: u32,
}

impl<'a> Frame<'a> {
    fn read(file: &'a [u8], limits: &ReadLimits) -> Result<Frame<'a>> {
        let too_short = || Error::new(ErrorKind::Truncated, "the file ends inside its header");
        if file.len() as u64 > limits.max_file_bytes {
            return Err(Error::too_large(
                "bytes in the file",
                file.len() as u64,
                limits.max_file_bytes,
            ));
        }
        if !file.starts_with(&MAGIC) {
            return Err(Error::new(ErrorKind::Format, "not a .bantam file").at_byte(0));
        }
        let fixed = MAGIC.len() + 4;
        let &[major, minor, must, _] = file.get(MAGIC.len()..fixed).ok_or_else(too_short)? else {
            unreachable!("four bytes were taken")
        };
        if major != MAJOR || must != 0 {
            let message = format!(
                "file of version {major}.{minor} with features {must:#04x}: \
                 expected version {MAJOR} and no features"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).at_byte(MAGIC.len() as u64));
        }
        let mut rest = &file[fixed..];
        let n_header = varint::read(&mut rest)?;
        let n_stored_bytes = varint::read(&mut rest)?;
        if n_header > limits.max_header_bytes as u64 {
            let max = limits.max_header_bytes as u64;
            return Err(
                Error::too_large("bytes in the header", n_header, max).at_byte(fixed as u64)
            );
        }
        let stored_at = file.len() - rest.len();
        let n_stored = usize::try_from(n_stored_bytes).map_err(|_| too_short())?;
        if n_stored
            .checked_add(2 * CRC_BYTES)
            .is_none_or(|n| n > rest.len())
        {
            return Err(too_short());
        }
        let header = decode_bytes(&rest[..n_stored], n_header as usize)
            .map_err(|e| Error::from(e).at("header").at_byte(stored_at as u64))?;
        let mut hasher = Hasher::new();
        hasher.update(&file[..stored_at]);
        hasher.update(&header);
        let crc_at = stored_at + n_stored;
        let crc =
            |at: usize| u32::from_le_bytes(*file[at..].first_chunk().expect("it was measured"));
        check_crc("header", hasher, crc(crc_at)).map_err(|e| e.at_byte(crc_at as u64))?;
        let (at, end) = (crc_at + CRC_BYTES, file.len() - CRC_BYTES);
        Ok(Frame {
            header,
            n_length_bytes: (stored_at - fixed) as u64,
            n_stored_bytes,
            payload: Payload { file, at, end },
            payload_crc: crc(end),
        })
    }
}

fn check_crc(what: &str, hasher: Hasher, expected: u32) -> Result<()> {
    let found = hasher.finalize();
    if found == expected {
        return Ok(());
    }
    let message = format!("checksum: expected {expected:#010x}, found {found:#010x}");
    Err(Error::new(ErrorKind::Checksum, message).at(what))
}

/// A header that was understood.
struct Header {
    skeleton: Skeleton,
    schema: Option<schema::Draft>,
    notes: Vec<(String, String)>,
    n_numbers: usize,
    plan: Plan,
    marks: Vec<(Part, usize)>,
}

/// What profile 0 and the others add to the header.
enum Plan {
    Stored { n_entries: Vec<usize> },
    Coded(coded::Plan),
}

impl Header {
    fn read(bytes: &[u8], limits: &ReadLimits) -> Result<Header> {
        let mut source = Source::new(bytes);
        let coder = read_coder(source.byte()?)?;
        source.mark("coder profile");
        let skeleton = Skeleton::read(&mut source, limits)?;
        let schema = schema::read(&mut source)?;
        source.mark("schema: target");
        let notes = read_notes(&mut source)?;
        source.mark("notes");
        let n_numbers = source.size()?;
        source.mark("lengths");
        let slots: Vec<&Slot> = skeleton.slots().into_iter().map(|(_, slot)| slot).collect();
        let plan = match coder {
            Coder::Store => Plan::Stored {
                n_entries: store::read_header(&mut source, &slots)?,
            },
            Coder::DeepCompression | Coder::ContextMixing => {
                Plan::Coded(coded::Plan::read(&mut source, coder, &slots)?)
            }
        };
        source.mark("weights: layouts and lengths");
        let marks = source.finish()?;
        Ok(Header {
            skeleton,
            schema,
            notes,
            n_numbers,
            plan,
            marks,
        })
    }
}

/// The schema and the weights, and what the packed numbers are for.
type Contents = (Option<Schema>, Vec<Weight>, Vec<(Part, u64)>);

/// A payload about to be read.
struct Body<'a> {
    payload: Payload<'a>,
    crc: u32,
    n_numbers: usize,
    slots: Vec<(&'a str, &'a Slot)>,
    /// Gets the sizes of weights, if they are wanted.
    counter: Option<Counter>,
}

impl Body<'_> {
    fn read_stored(
        &mut self,
        schema: Option<schema::Draft>,
        n_entries: &[usize],
    ) -> Result<Contents> {
        let mut hasher = Hasher::new();
        hasher.update(self.payload.rest());
        check_crc("weights", hasher, self.crc)?;
        let mut numbers = Bits::new(self.payload.take(self.n_numbers)?);
        let schema = schema
            .map(|draft| draft.complete(&mut numbers))
            .transpose()?;
        let marks = numbers.finish()?;
        let weights = store::read_payload(
            &mut self.payload,
            &self.slots,
            n_entries,
            self.counter.get_or_insert_default(),
        )?;
        Ok((schema, weights, marks))
    }

    fn read_coded(
        &mut self,
        schema: Option<schema::Draft>,
        plan: &coded::Plan,
        max_elements: u64,
    ) -> Result<Contents> {
        let bytes = self.payload.take(self.n_numbers)?;
        let mut numbers = Bits::new(bytes);
        let schema = schema
            .map(|draft| draft.complete(&mut numbers))
            .transpose()?;
        let code_at = self.payload.at() as u64;
        let drafts = coded::read(
            plan,
            &self.slots,
            &mut numbers,
            &mut self.payload,
            max_elements,
        )
        .map_err(|e| e.at("weights").at_byte(code_at))?;
        let marks = numbers.finish()?;
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        drafts.hash(&mut hasher);
        check_crc("weights", hasher, self.crc)?;
        if let Some(counter) = &mut self.counter {
            let n_bytes = self.payload.at() as u64 - code_at;
            let ends = drafts
                .ends(plan, n_bytes)
                .into_iter()
                .map(|(slot, what, end)| {
                    let part = format!("weights: {}{what}", self.slots[slot].0);
                    (Part::from(part), end)
                });
            counter.share(ends, n_bytes);
        }
        Ok((schema, drafts.finish(plan, &self.slots)?, marks))
    }
}

/// Reads a file, and counts its bytes if a counter is given.
fn read_counted(file: &[u8], limits: &ReadLimits, ledger: Option<&mut Counter>) -> Result<Model> {
    let frame = Frame::read(file, limits)?;
    let header = Header::read(&frame.header, limits).map_err(|e| e.at("header"))?;
    let mut body = Body {
        payload: frame.payload,
        crc: frame.payload_crc,
        n_numbers: header.n_numbers,
        slots: header.skeleton.slots(),
        counter: ledger.is_some().then(Counter::default),
    };
    let (schema, weights, number_marks) = match &header.plan {
        Plan::Stored { n_entries } => body.read_stored(header.schema, n_entries)?,
        Plan::Coded(plan) => body.read_coded(header.schema, plan, limits.max_elements)?,
    };
    if !body.payload.rest().is_empty() {
        let message = format!("{} bytes follow the weights", body.payload.rest().len());
        let error = Error::new(ErrorKind::Trailing, message);
        return Err(error.at_byte(body.payload.at() as u64));
    }
    let counter = body.counter.unwrap_or_default();
    if let Some(ledger) = ledger {
        ledger.add("magic, version and flags", MAGIC.len() as u64 + 4);
        ledger.add("lengths", frame.n_length_bytes);
        ledger.share_header(&frame.header, header.marks, frame.n_stored_bytes);
        ledger.share_bits(number_marks, header.n_numbers as u64);
        counter
            .finish()
            .into_iter()
            .for_each(|e| ledger.add(e.part, e.bytes));
        ledger.add("checksums", 2 * CRC_BYTES as u64);
    }
    let graph = header.skeleton.build(weights)?;
    Ok(Model {
        graph,
        schema,
        notes: header.notes,
    })
}
