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
        ("titanic", titanic(), 11, 900),
        ("titanic", titanic(), 6, 700),
        ("digits", digits(), 11, 3000),
        ("lenet", lenet(), 11, 17_000),
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
        println!(
            "{name} {n_bits}: {} bytes\n  {}",
            file.len(),
            ledger.join("\n  ")
        );
        println!(
            "  deep compression: {}",
            bytes(&model, Coder::DeepCompression).len()
        );
        assert!(
            file.len() <= max_bytes,
            "{name}: {} > {max_bytes}",
            file.len()
        );
    }
}
