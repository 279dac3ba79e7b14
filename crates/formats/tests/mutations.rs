//! Good files of weights, damaged at random: an error or tensors, but no panic and no endless loop.
//!
//! Every run tries 10,000 mutations of each form, the same ones. `BANTAM_FUZZ_SECONDS=600` goes on
//! with others for that time.

mod common;

use std::time::{Duration, Instant};

use bantam_formats::weights;
use common::safetensors;

const MUTATIONS: u64 = 10_000;

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

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let header = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}"#;
    let sample = |bytes: &[u8]| bytes.to_vec();
    vec![
        (
            "archive",
            sample(include_bytes!("../src/torch/tests/zip.pt")),
        ),
        (
            "archive without checksums",
            sample(include_bytes!("../src/torch/tests/unchecked.pt")),
        ),
        (
            "legacy",
            sample(include_bytes!("../src/torch/tests/legacy.pt")),
        ),
        (
            "legacy of protocol 5",
            sample(include_bytes!("../src/torch/tests/legacy5.pt")),
        ),
        ("safetensors", safetensors(header, &[1; 40])),
    ]
}

#[test]
fn damaged_files_are_errors_or_tensors() {
    let seconds = std::env::var("BANTAM_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(0));
    let samples = samples();
    let tests: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(stream, (name, bytes))| (*name, bytes, (stream as u64) << 40))
        .collect();
    for (name, bytes, stream) in tests {
        assert!(weights::read(bytes).is_ok(), "{name}");
        let start = Instant::now();
        let (mut read, mut tried) = (0u64, 0u64);
        while tried < MUTATIONS || start.elapsed() < time / samples.len() as u32 {
            let mutated = mutate(bytes, &mut Rng(stream + tried));
            let result = std::panic::catch_unwind(|| weights::read(&mutated).is_ok());
            match result {
                Ok(is_ok) => read += u64::from(is_ok),
                Err(_) => panic!("{name}: mutation {tried} made the reader panic"),
            }
            tried += 1;
        }
        // A mutation test that only ever sees errors tests the first check alone.
        assert!(
            read > 0 && read < tried,
            "{name}: {read} of {tried} could be read"
        );
        println!("{name}: {tried} mutations, {read} could be read");
    }
}
