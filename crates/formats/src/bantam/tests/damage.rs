//! Files that nobody wrote: damaged, cut, and made to hurt.

use std::time::{Duration, Instant};

use super::models::*;
use super::whole::{CODERS, bytes};
use super::*;

fn limits() -> ReadLimits {
    ReadLimits::default()
}

/// A random change: some bits, a cut, an insertion, a byte, two parts exchanged.
fn mutate(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = file.to_vec();
    let at = random.below(file.len());
    match random.below(8) {
        0..=2 => {
            for _ in 0..=random.below(3) {
                let bit = random.below(file.len() * 8);
                file[bit / 8] ^= 1 << (bit % 8);
            }
        }
        3 => file[at] = random.next() as u8,
        4 => file.truncate(at),
        5 => {
            let end = at + random.below(file.len() - at).min(16);
            file.drain(at..end);
        }
        6 => {
            let inserted: Vec<u8> = (0..=random.below(9)).map(|_| random.next() as u8).collect();
            file.splice(at..at, inserted);
        }
        _ => file.rotate_left(at),
    }
    file
}

/// A mutated file must be refused, or hold the very same model.
fn assert_survives(file: &[u8], model: &Model, n_rounds: usize, seed: u64) {
    let mut random = Random(seed);
    for round in 0..n_rounds {
        let damaged = mutate(file, &mut random);
        if let Ok(back) = read(&damaged, &limits()) {
            assert!(
                is_same(&back, model),
                "round {round}: another model was read"
            );
        }
    }
}

fn small() -> Vec<(&'static str, Model)> {
    let sample = perceptron("p", &[12, 9, 3], &[0.5, 0.5], 3);
    let model = Model {
        graph: sample,
        ..titanic()
    };
    let schema = model.schema.clone();
    let names = ["all operators", "strange weights"];
    let mut all = models();
    all.retain(|(name, _)| names.contains(name));
    all.push(("perceptron", Model { schema, ..model }));
    all
}

#[test]
fn ten_thousand_mutations_of_each_coders_file() {
    for (i, coder) in CODERS.into_iter().enumerate() {
        for (name, model) in small() {
            let n_rounds = if name == "perceptron" { 10_000 } else { 1_000 };
            assert_survives(&bytes(&model, coder), &model, n_rounds, i as u64);
        }
    }
}

#[test]
#[ignore = "exhaustive sweep: minutes"]
fn a_million_mutations() {
    for coder in CODERS {
        for (_, model) in models() {
            assert_survives(&bytes(&model, coder), &model, 50_000, 99);
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed_or_harmless() {
    let model = Model {
        graph: perceptron("p", &[6, 5, 2], &[0.5, 0.5], 2),
        ..titanic()
    };
    for coder in CODERS {
        let file = bytes(&model, coder);
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let back = read(&damaged, &limits());
            // The flags that may be ignored are under the checksum as well.
            assert!(
                back.is_err() || is_same(&back.unwrap(), &model),
                "{coder:?} bit {bit}"
            );
        }
        for len in 0..file.len() {
            assert!(
                read(&file[..len], &limits()).is_err(),
                "{coder:?} cut to {len}"
            );
        }
        for extra in [&[0][..], &[0, 0], &[1], &[0xFF; 70]] {
            let longer = [&file[..], extra].concat();
            assert!(
                read(&longer, &limits()).is_err(),
                "{coder:?} {extra:?} after the end"
            );
        }
    }
}

/// A file around a header that the caller makes up, with right checksums.
fn file_of(write: impl FnOnce(&mut Sink)) -> Vec<u8> {
    let mut sink = Sink::default();
    write(&mut sink);
    let mut file = write_frame(&sink.bytes).unwrap();
    file.extend(Hasher::new().finalize().to_le_bytes());
    file
}

/// The header bytes of a graph, of which the parts that a test is not about are right.
struct Header {
    coder: u8,
    /// Definitions up to and without the end.
    definitions: Vec<u8>,
    /// Number of outputs and each.
    outputs: Vec<u8>,
    names: Vec<u8>,
    /// Schema, notes, length of the numbers, and what the profile adds.
    rest: Vec<u8>,
}

impl Header {
    /// `y = relu(x)` for `x: [n, 4]`.
    fn new() -> Header {
        Header {
            coder: 2,
            definitions: vec![1, 0, 2, 0, 6, 65, 1, 1],
            outputs: vec![1, 1],
            names: vec![b'g', 0, 0, 0],
            rest: vec![0, 0, 0],
        }
    }

    fn file(self) -> Vec<u8> {
        let Header {
            coder,
            definitions,
            outputs,
            names,
            rest,
        } = self;
        let header = [&[coder], &definitions[..], &[0], &outputs, &names, &rest].concat();
        file_of(|sink| sink.bytes = header)
    }
}

fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|&v| varint::write(&mut out, v));
    out
}

#[test]
fn the_plain_header_is_read() {
    read(&Header::new().file(), &limits()).unwrap();
}

/// Reads a hostile file; it must fail within a second.
fn refused(file: &[u8]) -> ErrorKind {
    let start = Instant::now();
    let error = read(file, &limits()).expect_err("a hostile file was read");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{error} took {:?}",
        start.elapsed()
    );
    assert!(!error.to_string().is_empty());
    error.kind()
}

macro_rules! refuses {
    ($($name:ident: $kind:ident, $file:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(refused(&$file), ErrorKind::$kind);
        }
    )*};
}

const HUGE: u64 = i32::MAX as u64;

refuses! {
    empty_file: Format, [];
    text_file: Format, *b"hello";
    magic_alone: Truncated, MAGIC;
    line_ends_changed: Format, {
        let file = String::from_utf8_lossy(&MAGIC).replace("\r\n", "\n");
        file.into_bytes()
    };
    later_version: Unsupported, { let mut f = Header::new().file(); f[8] = 2; f };
    unknown_feature: Unsupported, { let mut f = Header::new().file(); f[10] = 0x80; f };
    ignorable_flag_is_checked_too: Checksum, { let mut f = Header::new().file(); f[11] = 1; f };
    header_larger_than_the_limit: TooLarge, {
        [&MAGIC[..], &[1, 0, 0, 0], &varints(&[u64::MAX, 3]), &[0; 40]].concat()
    };
    stored_header_past_the_end: Truncated, {
        [&MAGIC[..], &[1, 0, 0, 0], &varints(&[30, u64::MAX]), &[0; 40]].concat()
    };
    unknown_coder: Unsupported, Header { coder: 3, ..Header::new() }.file();
    unknown_operator: Unsupported, Header { definitions: vec![1, 0, 2, 0, 6, 127, 1, 1], ..Header::new() }.file();
    operator_of_a_later_version: Unsupported, Header { definitions: vec![1, 0, 2, 0, 6, 200, 1, 1], ..Header::new() }.file();
    unknown_definition: Corrupt, Header { definitions: vec![7], ..Header::new() }.file();
    unknown_element_type: Corrupt, Header { definitions: vec![1, 15, 0], ..Header::new() }.file();
    too_many_axes: TooLarge, Header { definitions: vec![1, 0, 9], ..Header::new() }.file();
    undefined_value: Corrupt, Header { definitions: vec![1, 0, 2, 0, 6, 65, 1, 2], ..Header::new() }.file();
    node_that_reads_itself: Corrupt, Header { definitions: vec![1, 0, 2, 0, 6, 65, 1, 0], ..Header::new() }.file();
    undefined_output: Corrupt, Header { outputs: vec![1, 3], ..Header::new() }.file();
    output_twice: Corrupt, Header { outputs: vec![2, 1, 1], ..Header::new() }.file();
    no_output: Corrupt, Header { outputs: vec![0], ..Header::new() }.file();
    more_outputs_than_values: TooLarge, Header { outputs: varints(&[HUGE]), ..Header::new() }.file();
    name_twice: Corrupt, Header { names: b"g\0a\0a\0".to_vec(), ..Header::new() }.file();
    name_not_utf8: Corrupt, Header { names: b"\xFF\0\0\0".to_vec(), ..Header::new() }.file();
    name_too_long: TooLarge, Header { names: [&[b'a'; 1025][..], &[0, 0, 0]].concat(), ..Header::new() }.file();
    name_without_guess: Corrupt, Header { names: vec![0, 0, 0], ..Header::new() }.file();
    bytes_after_the_header: Trailing, Header { rest: vec![0, 0, 0, 0], ..Header::new() }.file();
    header_ends_early: Truncated, Header { rest: vec![], ..Header::new() }.file();
    numbers_past_the_end: Truncated, Header { rest: [&[0, 0][..], &varints(&[HUGE])].concat(), ..Header::new() }.file();
    millions_of_inputs: Corrupt, Header {
        definitions: [&[1, 0, 2, 0, 6, 42, 0][..], &varints(&[1 << 20])].concat(),
        ..Header::new()
    }.file();
    shape_overflow: TooLarge, Header {
        definitions: [&[2, 0, 4][..], &varints(&[HUGE; 4])].concat(),
        ..Header::new()
    }.file();
    shape_overflow_beside_zero: TooLarge, Header {
        definitions: [&[2, 0, 5, 0][..], &varints(&[HUGE; 4])].concat(),
        names: b"g\0w\0".to_vec(),
        outputs: vec![1, 1],
        ..Header::new()
    }.file();
    more_elements_than_the_limit: TooLarge, Header {
        definitions: [&[2, 5, 1][..], &varints(&[(1 << 28) + 1])].concat(),
        ..Header::new()
    }.file();
    size_beyond_32_bits: TooLarge, Header {
        definitions: [&[1, 0, 1][..], &varints(&[1 << 40])].concat(),
        ..Header::new()
    }.file();
    padding_overflow: TooLarge, Header {
        // Pad 44: two axes, a huge padding each, value 0.
        definitions: [
            &[1, 0, 2, 0, 6, 44, 2][..], &varints(&[HUGE, HUGE, HUGE, HUGE]), &[0; 4], &[1, 1],
        ].concat(),
        ..Header::new()
    }.file();
    broadcast_overflow: TooLarge, {
        // [1 << 20, 1] + [1, 1 << 20].
        let a = [&[1, 0, 2][..], &varints(&[(1 << 20) + 2, 3])].concat();
        let b = [&[1, 0, 2][..], &varints(&[3, (1 << 20) + 2])].concat();
        Header {
            definitions: [&a[..], &b, &[56, 2, 1, 2]].concat(),
            names: b"g\0\0\0b\0".to_vec(),
            ..Header::new()
        }.file()
    };
    window_of_zero: Corrupt, Header {
        // Max pooling 13 with flags 1: window 0 by 0.
        definitions: vec![1, 0, 4, 3, 3, 6, 6, 13, 1, 0, 0, 1, 1],
        ..Header::new()
    }.file();
    unknown_attribute_flags: Corrupt, Header {
        definitions: vec![1, 0, 4, 3, 3, 6, 6, 13, 9, 0, 0, 1, 1],
        ..Header::new()
    }.file();
    attribute_not_a_number: Corrupt, Header {
        definitions: [&[1, 0, 2, 0, 6, 67][..], &f32::NAN.to_le_bytes(), &[1, 1]].concat(),
        ..Header::new()
    }.file();
    axis_out_of_range: Corrupt, Header {
        definitions: [&[1, 0, 2, 0, 6, 22][..], &varints(&[u64::MAX]), &[1, 1]].concat(),
        ..Header::new()
    }.file();
    node_without_outputs: Corrupt, Header { definitions: vec![1, 0, 2, 0, 6, 4, 0, 65, 1, 1], ..Header::new() }.file();
    node_of_too_many_outputs: TooLarge, Header { definitions: vec![1, 0, 2, 0, 6, 4, 65, 65, 1, 1], ..Header::new() }.file();
    wrong_number_of_outputs: Corrupt, Header { definitions: vec![1, 0, 2, 0, 6, 4, 2, 65, 1, 1], outputs: vec![1, 1], ..Header::new() }.file();
    unknown_input_kind: Corrupt, Header { rest: vec![9, 0, 0], ..Header::new() }.file();
    columns_that_count_on_for_ever: TooLarge, Header {
        rest: [&[1][..], &varints(&[1 << 20]), b"c0\0", &varints(&[HUGE]), &[0, 0]].concat(),
        ..Header::new()
    }.file();
    long_names_that_count_on: TooLarge, Header {
        rest: [&[1][..], &varints(&[1 << 20]), &[b'a'; 1000], b"0\0", &varints(&[(1 << 20) - 1]), &[0, 0]].concat(),
        ..Header::new()
    }.file();
    too_many_columns: TooLarge, Header { rest: [&[1][..], &varints(&[HUGE])].concat(), ..Header::new() }.file();
    runs_of_no_columns: Corrupt, Header { rest: vec![1, 1, b'a', 0, 0, 0], ..Header::new() }.file();
    schema_without_features: Corrupt, Header { rest: vec![3, 1, 0, b'y', 0, 1, 2, b'a', 0, b'b', 0, 0, 5], ..Header::new() }.file_with_numbers(&[0x80, 0, 0, 0, 0]);
    too_many_notes: TooLarge, Header { rest: [&[0][..], &varints(&[HUGE])].concat(), ..Header::new() }.file();
    weights_without_code: Truncated, {
        let mut h = one_weight(2, 5, &[3, 3]);
        h.rest = vec![0, 0, 1, 2];
        // A codebook of zero alone: bits 1 1 1.
        h.file_with_numbers(&[0xE0])
    };
    stride_beyond_the_columns: Corrupt, {
        let mut h = one_weight(2, 5, &[3, 3]);
        h.rest = vec![0, 0, 1, 8];
        h.file_with_numbers(&[0xE0])
    };
    stored_weights_past_the_end: Truncated, one_weight(0, 0, &[1 << 14, 1 << 14]).file();
    unaligned_stored_weight: Truncated, one_weight(0, 3, &[1]).file();
    constant_of_too_many_elements: TooLarge, one_weight(2, 0, &[1 << 15, 1 << 15]).file();
}

impl Header {
    fn file_with_numbers(self, numbers: &[u8]) -> Vec<u8> {
        let mut file = self.file();
        file.truncate(file.len() - 4);
        file.extend(numbers);
        let mut hasher = Hasher::new();
        hasher.update(numbers);
        file.extend(hasher.finalize().to_le_bytes());
        file
    }
}

/// A graph whose only value is a weight.
fn one_weight(coder: u8, form: u8, shape: &[u64]) -> Header {
    Header {
        coder,
        definitions: [&[2, form, shape.len() as u8][..], &varints(shape)].concat(),
        outputs: vec![1, 1],
        names: b"g\0w\0".to_vec(),
        rest: vec![0, 0, 0],
    }
}

#[test]
fn a_chain_of_a_hundred_thousand_nodes_is_no_recursion() {
    let n = 100_000;
    let mut header = Header::new();
    header.definitions = [1, 0, 2, 0, 6]
        .into_iter()
        .chain([65, 1, 1].repeat(n))
        .collect();
    header.names = [b'g', 0, 0].into_iter().chain(vec![0; n]).collect();
    let model = read(&header.file(), &limits()).unwrap();
    assert_eq!(model.graph.nodes().len(), n);
    assert_eq!(model.graph.nodes()[n - 1].name, "relu100000");
}

#[test]
fn limits_are_the_callers() {
    let model = titanic();
    let file = bytes(&model, Coder::Store);
    for strict in [
        ReadLimits {
            max_file_bytes: 100,
            ..limits()
        },
        ReadLimits {
            max_header_bytes: 100,
            ..limits()
        },
        ReadLimits {
            max_elements: 100,
            ..limits()
        },
    ] {
        assert_eq!(
            read(&file, &strict).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
    }
}

/// Headers with right checksums around random changes: what an attacker would send.
#[test]
fn mutated_headers_with_right_checksums_never_panic() {
    let mut n_read = 0;
    for (seed, (_, model)) in small().into_iter().enumerate() {
        for coder in CODERS {
            let file = bytes(&model, coder);
            let frame = Frame::read(&file, &limits()).unwrap();
            let payload = &file[frame.payload.at..];
            let mut random = Random(seed as u64);
            for _ in 0..1_000 {
                let header = mutate(&frame.header, &mut random);
                let mut damaged = write_frame(&header).unwrap();
                damaged.extend(payload);
                let strict = ReadLimits {
                    max_elements: 1 << 16,
                    ..limits()
                };
                n_read += usize::from(read(&damaged, &strict).is_ok());
            }
        }
    }
    // Names and attributes may change without anybody noticing; the test reaches them.
    assert!(n_read > 100, "{n_read}");
}

#[test]
fn what_cannot_be_stored_exactly_is_refused() {
    let mut b = GraphBuilder::new("unsorted");
    let entries = vec![0.0, 2.0, -1.0];
    let w = b.weight(
        "w",
        Weight::Codebook(Codebook::new(&[2], entries, vec![1, 2]).unwrap()),
    );
    b.output(w);
    let model = Model::new(b.finish().unwrap());
    bytes(&model, Coder::Store);
    for coder in [Coder::DeepCompression, Coder::ContextMixing] {
        let error = write(&model, &WriteOptions { coder }).unwrap_err();
        assert_eq!(
            (error.kind(), error.place()),
            (ErrorKind::Unstorable, Some("\"w\""))
        );
        let rounded = Model::new(round_for_storage(&model.graph).unwrap());
        assert_eq!(read(&bytes(&rounded, coder), &limits()).unwrap(), rounded);
    }
    for name in ["a\0b", &"a".repeat(1025)] {
        let mut b = GraphBuilder::new(name);
        let x = b.input("x", DType::F32, vec![]);
        b.output(x);
        assert!(write(&Model::new(b.finish().unwrap()), &WriteOptions::default()).is_err());
    }
}

#[test]
fn a_refused_save_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bantam");
    let model = no_weights();
    save(&model, &path, &WriteOptions::default()).unwrap();
    assert_eq!(load(&path, &limits()).unwrap(), model);
    let bad = Model {
        notes: vec![("\0".into(), String::new())],
        ..model.clone()
    };
    assert!(save(&bad, &path, &WriteOptions::default()).is_err());
    assert_eq!(load(&path, &limits()).unwrap(), model);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let missing = load(&folder.path().join("none"), &limits()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Io);
    std::fs::write(&path, b"not a model").unwrap();
    let error = load(&path, &limits()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    assert!(error.to_string().contains("m.bantam"), "{error}");
}
