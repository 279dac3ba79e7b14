use super::models::*;
use super::*;

pub(super) const CODERS: [Coder; 3] = [Coder::Store, Coder::DeepCompression, Coder::ContextMixing];

pub(super) fn bytes(model: &Model, coder: Coder) -> Vec<u8> {
    write(model, &WriteOptions { coder }).unwrap()
}

#[test]
fn every_model_round_trips_with_every_coder() {
    for (name, model) in models() {
        for coder in CODERS {
            let file = write(&model, &WriteOptions { coder });
            let file = file.unwrap_or_else(|e| panic!("{name} {coder:?}: {e}"));
            let back = read(&file, &ReadLimits::default()).unwrap();
            assert_eq!(back, model, "{name} {coder:?}");
            assert_eq!(back.graph.to_string(), model.graph.to_string());
            assert_eq!(
                bytes(&back, coder),
                file,
                "{name} {coder:?}: the same bytes again"
            );
        }
    }
}

#[test]
fn all_tags_are_used_by_the_test_graph() {
    let mut tags: Vec<u8> = all_operators()
        .nodes()
        .iter()
        .map(|n| ops::tag(&n.op))
        .collect();
    tags.sort_unstable();
    tags.dedup();
    // The gradient of an arg max has a tag but no valid node.
    let all = (8..=34)
        .chain(36..=54)
        .chain(56..=59)
        .chain(64..=76)
        .chain(96..=108);
    assert_eq!(tags, all.collect::<Vec<u8>>());
}

#[test]
fn ledgers_account_for_every_byte() {
    for (name, model) in models() {
        for coder in CODERS {
            let file = bytes(&model, coder);
            let ledger = ledger(&file).unwrap();
            let sum: u64 = ledger.iter().map(|e| e.bytes).sum();
            assert_eq!(sum, file.len() as u64, "{name} {coder:?}");
            let part = |part: &str| {
                ledger
                    .iter()
                    .find(|e| e.part == part)
                    .map_or(0, |e| e.bytes)
            };
            assert_eq!(
                (part("magic, version and flags"), part("checksums")),
                (12, 8),
                "{name}"
            );
            assert!(part("graph") > 0, "{name} {coder:?}: {ledger:?}");
        }
    }
}

#[test]
fn rounded_models_are_small_and_round_trip() {
    for (name, model, n_bits, max_bytes) in [
        ("titanic", titanic(), 11, 450),
        ("titanic", titanic(), 6, 420),
        ("digits", digits(), 11, 2100),
        ("lenet", lenet(), 11, 16_000),
    ] {
        let graph = round_to_bits(&model.graph, n_bits).unwrap();
        let schema = model.schema.as_ref().map(|s| round_schema(s, n_bits));
        let model = Model {
            graph,
            schema,
            ..model
        };
        let file = bytes(&model, Coder::ContextMixing);
        assert_eq!(read(&file, &ReadLimits::default()).unwrap(), model);
        let ledger: Vec<String> = ledger(&file)
            .unwrap()
            .iter()
            .map(|e| format!("{} {}", e.bytes, e.part))
            .collect();
        let n = file.len();
        assert!(
            n <= max_bytes,
            "{name}: {n} > {max_bytes}:\n{}",
            ledger.join("\n")
        );
        assert!(n < bytes(&model, Coder::DeepCompression).len(), "{name}");
    }
}

/// One small file of each profile. Version 1 is what these bytes are; they are written again only
/// if `BANTAM_GOLDEN=write` is set, which a change of the format must not need.
#[test]
fn version_1_stays_as_it_is() {
    let graph = perceptron("golden", &[29, 5, 2], &[0.3, 0.5], 2);
    let graph = round_for_storage(&graph).unwrap();
    let notes = vec![("made".to_owned(), "by hand".to_owned())];
    let model = Model {
        graph,
        notes,
        ..titanic()
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bantam/tests/golden.txt");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let line = |coder: Coder| format!("{coder:?} {}\n", hex(&bytes(&model, coder)));
    let written: String = CODERS.into_iter().map(line).collect();
    if std::env::var("BANTAM_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(path, &written).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for line in golden.lines() {
        let digits = line.split_once(' ').unwrap().1.as_bytes();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let file: Vec<u8> = digits.chunks(2).map(byte).collect();
        assert_eq!(
            read(&file, &ReadLimits::default()).unwrap(),
            model,
            "{line}"
        );
    }
    assert_eq!(written, golden);
}

/// Operators of other programs, one for each code of each list: what is written for each. Codes stay for
/// ever; a new one adds a line. `BANTAM_GOLDEN=write` writes the file again.
#[test]
fn codes_of_operators_stay_as_they_are() {
    let mut lines = String::new();
    for tag in 128..=255 {
        for code in 0..=255 {
            let header = [&[code][..], &[0; 64]].concat();
            let mut source = Source::new(&header);
            let Ok(op) = ops::read_op(&mut source, tag) else {
                continue;
            };
            let mut sink = Sink::default();
            ops::write_op(&mut sink, &op).unwrap();
            let read = header.len() - source.n_left();
            assert_eq!(sink.bytes, [&[tag], &header[..read]].concat(), "{op:?}");
            lines += &format!("{op:?} {:02x?}\n", sink.bytes);
            if read == 0 {
                break;
            }
        }
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/bantam/tests/operators.txt"
    );
    if std::env::var("BANTAM_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(path, &lines).unwrap();
    }
    assert_eq!(lines, std::fs::read_to_string(path).unwrap());
    assert!(lines.lines().count() > 80);
}

/// Every case of the list of operators, packed and unpacked.
#[test]
fn every_operator_can_be_packed() {
    for case in bantam_core::cases::all() {
        let model = Model::new(case.graph);
        for coder in [Coder::Store, Coder::ContextMixing] {
            let file = write(&model, &WriteOptions { coder });
            let file = file.unwrap_or_else(|e| panic!("{}: {e}", case.name));
            assert_eq!(read(&file, &ReadLimits::default()).unwrap(), model);
        }
    }
}
