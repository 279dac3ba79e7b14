use bantam_core::{Data, Tensor};

use super::*;
use crate::stored::Stored;

/// Written by `scripts/torch-samples.py` with PyTorch.
const SAMPLES: [(&str, &[u8]); 5] = [
    ("zip", include_bytes!("tests/zip.pt")),
    ("zip4", include_bytes!("tests/zip4.pt")),
    ("unchecked", include_bytes!("tests/unchecked.pt")),
    ("legacy", include_bytes!("tests/legacy.pt")),
    ("legacy5", include_bytes!("tests/legacy5.pt")),
];

fn expected() -> Vec<(&'static str, Stored, Tensor)> {
    let base: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let transposed: Vec<f32> = (0..24).map(|i| (i % 4 * 6 + i / 4) as f32).collect();
    let part = vec![6.0, 8.0, 10.0, 12.0, 14.0, 16.0];
    let t = |shape: &[usize], data: Data| Tensor::from_data(shape, data).unwrap();
    let f = |shape: &[usize], values: Vec<f32>| t(shape, Data::F32(values));
    vec![
        ("model.plain", Stored::F32, f(&[4, 6], base.clone())),
        ("model.half", Stored::F16, f(&[3], vec![0.5, -2.0, 65504.0])),
        (
            "model.bfloat",
            Stored::BF16,
            f(&[2], vec![1.0, -3.0040553e38]),
        ),
        ("model.double", Stored::F64, t(&[], Data::F64(vec![0.1]))),
        (
            "model.long",
            Stored::I64,
            t(&[2], Data::I64(vec![-1, 1 << 40])),
        ),
        ("model.int", Stored::I32, t(&[1, 1], Data::I64(vec![-7]))),
        ("model.short", Stored::I16, t(&[1], Data::I64(vec![-300]))),
        (
            "model.char",
            Stored::I8,
            t(&[2], Data::I64(vec![-128, 127])),
        ),
        ("model.byte", Stored::U8, t(&[2], Data::U8(vec![0, 255]))),
        ("model.bool", Stored::Bool, t(&[2], Data::U8(vec![1, 0]))),
        ("model.empty", Stored::F32, f(&[0, 3], vec![])),
        ("model.transposed", Stored::F32, f(&[6, 4], transposed)),
        ("model.part", Stored::F32, f(&[2, 3], part)),
        ("model.tied", Stored::F32, f(&[4, 6], base)),
        ("model.parameter", Stored::F32, f(&[1], vec![1.5])),
        (
            "optimizer.state.0.exp_avg",
            Stored::F32,
            f(&[2], vec![1.0, 1.0]),
        ),
    ]
}

#[test]
fn checkpoints_of_pytorch_are_read() {
    for (name, bytes) in SAMPLES {
        let found = read(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found: Vec<_> = found
            .iter()
            .map(|t| (t.name.as_str(), t.stored, t.tensor.clone()))
            .collect();
        assert_eq!(found, expected(), "{name}");
    }
}

#[test]
fn what_is_more_than_weights_is_refused() {
    let cases: [(&str, &[u8], ErrorKind, &str); 3] = [
        (
            "complex",
            include_bytes!("tests/complex.pt"),
            ErrorKind::Unsupported,
            "torch.ComplexFloatStorage",
        ),
        (
            "module",
            include_bytes!("tests/module.pt"),
            ErrorKind::Unsupported,
            "`torch.nn.modules.linear.Linear`",
        ),
        (
            "script",
            include_bytes!("tests/script.pt"),
            ErrorKind::Unsupported,
            "`__torch__.",
        ),
    ];
    for (name, bytes, kind, text) in cases {
        let error = read(bytes).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(text), "{name}: {error}");
    }
}

#[test]
fn files_cut_anywhere_are_errors() {
    for (name, bytes) in SAMPLES {
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{name} cut to {len}");
        }
        let longer = [bytes, b"\0\0"].concat();
        let is_legacy = name.starts_with("legacy");
        // A zip archive may have something behind it; the old form may not.
        assert_eq!(read(&longer).is_err(), is_legacy, "{name}");
    }
}

#[test]
fn damage_to_an_entry_is_noticed() {
    let (_, bytes) = SAMPLES[0];
    // The numbers 0 to 23 of the first storage.
    let at = bytes
        .windows(8)
        .position(|w| w == [0, 0, 0, 0, 0, 0, 128, 63])
        .unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::Checksum);
}
