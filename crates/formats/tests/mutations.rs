//! Good files, damaged at random: an error or a network, but no panic and no endless loop.
//!
//! Every run tries thousands of mutations of each form, the same ones. `BANTAM_FUZZ_SECONDS=600` goes on
//! with others for that time, `BANTAM_FUZZ_ONLY=ONNX` keeps to one form, `BANTAM_FUZZ_FROM=1000000` begins
//! there, `BANTAM_FUZZ_ONE=ONNX:7` does one mutation again. Checksums are made right again after the damage, so that it reaches what is behind
//! them.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bantam_codec::bytes::{decode_bytes, encode_bytes};
use bantam_codec::varint;
use bantam_core::{Graph, cases};
use bantam_formats::bantam::{self, Coder, Model, WriteOptions};
use bantam_formats::checkpoint::read_checkpoint;
use bantam_formats::{onnx, weights};
use common::safetensors;
use crc32fast::hash;

const INTERESTING: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One to eight changes: bits, bytes, numbers at the edges, parts cut out, doubled or exchanged.
fn mutate(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(8) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.below(bytes.len());
        let len = 1 + rng.below((bytes.len() - at).min(32));
        match rng.below(8) {
            0 | 1 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes[at] = rng.next() as u8,
            3 => {
                let number = INTERESTING[rng.below(INTERESTING.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let part = bytes[at..at + len].to_vec();
                let to = rng.below(bytes.len());
                bytes.splice(to..to, part);
            }
            6 => {
                let part = bytes[at..at + len].to_vec();
                let to = rng.below(bytes.len() - len + 1);
                bytes[to..to + len].copy_from_slice(&part);
            }
            _ => bytes.truncate(bytes.len() - rng.below(bytes.len().min(64))),
        }
    }
    bytes
}

/// What is damaged, and what reads it.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    damage: fn(&[u8], &mut Rng) -> Vec<u8>,
    read: fn(&[u8]) -> bool,
    /// Mutations of every run.
    mutations: u64,
}

fn targets() -> Vec<Target> {
    let header = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}"#;
    let safetensors = safetensors(header, &[1; 40]);
    let of_weights = |name, bytes: &[u8]| Target {
        name,
        seeds: vec![bytes.to_vec()],
        damage: mutate,
        read: |bytes| weights::read(bytes).is_ok(),
        mutations: 10_000,
    };
    vec![
        of_weights("archive", include_bytes!("../src/torch/tests/zip.pt")),
        of_weights(
            "archive without checksums",
            include_bytes!("../src/torch/tests/unchecked.pt"),
        ),
        of_weights("legacy", include_bytes!("../src/torch/tests/legacy.pt")),
        of_weights(
            "legacy of protocol 5",
            include_bytes!("../src/torch/tests/legacy5.pt"),
        ),
        of_weights("safetensors", &safetensors),
        Target {
            name: "checkpoint",
            seeds: vec![safetensors],
            damage: mutate,
            read: |bytes| {
                let file = scratch();
                std::fs::write(&file, bytes).unwrap();
                read_checkpoint(&file).is_ok()
            },
            mutations: 1_000,
        },
        Target {
            name: "ONNX",
            seeds: graphs()
                .iter()
                .filter_map(|g| onnx::write(g).ok())
                .collect(),
            damage: mutate,
            read: |bytes| {
                let read = onnx::read(bytes, &ONNX_LIMITS);
                read.is_ok_and(|model| looked_at(&model.graph))
            },
            mutations: 10_000,
        },
        Target {
            name: "ONNX tensor",
            // Two axes, element type, name, and six values.
            seeds: vec![
                [&[8, 2, 8, 3, 16, 1, 66, 1, b'w', 74, 24][..], &[1; 24]].concat(),
                [&[10, 2, 2, 3, 16, 7, 58, 6, 1, 2, 3, 4, 5, 6][..]].concat(),
            ],
            damage: mutate,
            read: |bytes| onnx::read_tensor(bytes, &ONNX_LIMITS).is_ok(),
            mutations: 10_000,
        },
        container("container, stored", Coder::Store),
        container("container, coded", Coder::ContextMixing),
    ]
}

impl Target {
    /// Mutation `i` of the target that is the `stream`-th.
    fn damaged(&self, stream: usize, i: u64) -> Vec<u8> {
        let mut rng = Rng(((stream as u64) << 40) + i);
        let seed = &self.seeds[rng.below(self.seeds.len())];
        (self.damage)(seed, &mut rng)
    }
}

/// Reads one mutation, named as `ONNX:7`, and says how long it took.
fn alone(targets: &[Target], one: &str) {
    let (name, i) = one.split_once(':').expect("a name and a number");
    let stream = targets.iter().position(|t| t.name == name);
    let stream = stream.expect("a known name");
    let damaged = targets[stream].damaged(stream, i.parse().expect("a number"));
    let start = Instant::now();
    let read = (targets[stream].read)(&damaged);
    println!("{one}: read {read}, {:?}", start.elapsed());
}

const ONNX_LIMITS: onnx::ReadLimits = onnx::ReadLimits {
    file_bytes: 1 << 20,
    elements: 1 << 20,
    nodes: 1 << 12,
};

fn container(name: &'static str, coder: Coder) -> Target {
    let write = |g: &Graph| bantam::write(&Model::new(g.clone()), &WriteOptions { coder });
    Target {
        name,
        seeds: graphs().iter().map(|g| write(g).unwrap()).collect(),
        damage: behind_checksums,
        read: |bytes| {
            let limits = bantam::ReadLimits {
                max_elements: 1 << 16,
                ..bantam::ReadLimits::default()
            };
            let read = bantam::read(bytes, &limits);
            read.is_ok_and(|model| looked_at(&model.graph))
        },
        mutations: 10_000,
    }
}

/// One graph of each operator, and one with graphs inside.
fn graphs() -> Vec<Graph> {
    let mut graphs: Vec<Graph> = cases::all().into_iter().map(|c| c.graph).collect();
    let choice = include_bytes!("choice.onnx");
    let choice = onnx::read(choice, &onnx::ReadLimits::default()).unwrap();
    graphs.push(choice.graph);
    graphs
}

/// What any command does first with a network; always yes.
fn looked_at(graph: &Graph) -> bool {
    let _ = graph.outlook(Some(&graph.input_types(1)));
    let _ = graph.outlook(None);
    graph.to_string().len() + graph.all_parameters().len() > 0
}

fn scratch() -> PathBuf {
    let name = format!("bantam-mutations-{}", std::process::id());
    std::env::temp_dir().join(name)
}

/// Damage in the header or in the payload of a `.bantam` file, with the checksums made right again.
fn behind_checksums(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    const FIXED: usize = 12;
    let mut rest = &file[FIXED..];
    let n_header = varint::read(&mut rest).unwrap() as usize;
    let n_stored = varint::read(&mut rest).unwrap() as usize;
    let (stored, rest) = rest.split_at(n_stored);
    let mut header = decode_bytes(stored, n_header).unwrap();
    let (mut payload, mut crc) = (
        rest[4..rest.len() - 4].to_vec(),
        rest[rest.len() - 4..].to_vec(),
    );
    // The first byte of a header says how the payload is coded; of what is stored, the bytes are checked.
    let is_stored = header[0] == 0;
    if rng.below(3) > 0 || payload.is_empty() {
        header = mutate(&header, rng);
    } else {
        payload = mutate(&payload, rng);
        if is_stored {
            crc = hash(&payload).to_le_bytes().to_vec();
        }
    }
    let mut damaged = file[..FIXED].to_vec();
    let stored = encode_bytes(&header);
    varint::write(&mut damaged, header.len() as u64);
    varint::write(&mut damaged, stored.len() as u64);
    let checked = [&damaged[..], &header].concat();
    damaged.extend(stored);
    damaged.extend(hash(&checked).to_le_bytes());
    damaged.extend(payload);
    damaged.extend(crc);
    damaged
}

#[test]
fn damaged_files_are_errors_or_networks() {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a whole number"))
    };
    let seconds = number("BANTAM_FUZZ_SECONDS").unwrap_or(0);
    let first = number("BANTAM_FUZZ_FROM").unwrap_or(0);
    let targets = targets();
    if let Ok(one) = std::env::var("BANTAM_FUZZ_ONE") {
        return alone(&targets, &one);
    }
    let only = std::env::var("BANTAM_FUZZ_ONLY").ok();
    let chosen = |name: &str| only.as_deref().is_none_or(|o| o == name);
    let n_chosen = targets.iter().filter(|t| chosen(t.name)).count();
    assert!(n_chosen > 0, "no form of that name: {only:?}");
    let time = Duration::from_secs(seconds) / n_chosen as u32;
    for (stream, target) in targets.iter().enumerate() {
        if !chosen(target.name) {
            continue;
        }
        let name = target.name;
        let unreadable = target.seeds.iter().position(|s| !(target.read)(s));
        assert_eq!(unreadable, None, "{name}: a file that is not damaged");
        let start = Instant::now();
        let (mut read, mut tried) = (0u64, 0u64);
        let mut slowest = (Duration::ZERO, 0);
        while tried < target.mutations || start.elapsed() < time {
            let i = first + tried;
            let damaged = target.damaged(stream, i);
            let begun = Instant::now();
            match std::panic::catch_unwind(|| (target.read)(&damaged)) {
                Ok(is_ok) => read += u64::from(is_ok),
                Err(_) => panic!("{name}: mutation {i} made the reader panic"),
            }
            slowest = slowest.max((begun.elapsed(), i));
            tried += 1;
        }
        // A mutation test that only ever sees errors tests the first check alone.
        assert!(
            read > 0 && read < tried,
            "{name}: {read} of {tried} could be read"
        );
        let (longest, which) = slowest;
        println!(
            "{name}: {tried} mutations, {read} could be read, {longest:.0?} at most ({name}:{which})"
        );
    }
    let _ = std::fs::remove_file(scratch());
}
