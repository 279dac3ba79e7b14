//! Files of weights made to do harm. Each must end in an error within a second and 100 MB.

mod common;

use std::time::{Duration, Instant};

use bantam_formats::{ErrorKind, weights};
use common::*;

/// A file of one tensor, described so.
fn one(described: &Described, bytes: &[u8]) -> Vec<u8> {
    let object = pickle(&dict(&[("w", described.pickle())]));
    archive(&object, &[("0", bytes)])
}

const PLAIN: Described<'static> = Described {
    key: "0",
    len: 6,
    offset: 0,
    shape: &[2, 3],
    strides: &[3, 1],
};

fn code() -> Vec<(&'static str, Vec<u8>)> {
    let ls = || [text("ls")];
    let calls: [(&str, &str, &str); 8] = [
        ("os.system", "os", "system"),
        ("posix.system", "posix", "system"),
        ("builtins.exec", "builtins", "exec"),
        ("builtins.eval of Python 2", "__builtin__", "eval"),
        ("subprocess.Popen", "subprocess", "Popen"),
        ("torch.load of bytes", "torch.storage", "_load_from_bytes"),
        ("operator.attrgetter", "operator", "attrgetter"),
        ("a class of one's own", "torch.nn.modules.linear", "Linear"),
    ];
    let mut cases: Vec<_> = calls
        .into_iter()
        .map(|(name, module, function)| (name, call(module, function, &ls())))
        .collect();
    cases.push((
        "a known name with a path in it",
        call("collections", "OrderedDict.fromkeys", &[]),
    ));
    cases.push((
        "a call of an element type",
        call("torch", "FloatStorage", &ls()),
    ));
    cases.push((
        "a call of what a call makes",
        [call("collections", "OrderedDict", &[]), b")R".to_vec()].concat(),
    ));
    cases.push((
        "a name made on the stack",
        [text("os"), text("system"), b"\x93".to_vec()].concat(),
    ));
    cases.push(("an instance", b"(X\x02\x00\x00\x00lsios\nsystem\n".to_vec()));
    cases.push(("an object", b"(X\x02\x00\x00\x00lso".to_vec()));
    cases.push(("a class with keywords", b"N)}\x92".to_vec()));
    cases.push(("an extension", b"\x82\x01".to_vec()));
    cases.push(("a buffer", b"\x97".to_vec()));
    cases
}

#[test]
fn pickles_with_code_are_refused() {
    for (name, object) in code() {
        let tensor = PLAIN.pickle();
        let dangerous = dict(&[("w", tensor), ("x", object)]);
        let files = [
            ("zip", archive(&pickle(&dangerous), &[("0", &[0; 24])])),
            (
                "legacy",
                legacy(
                    &dangerous,
                    &["0"],
                    &[&6u64.to_le_bytes()[..], &[0; 24]].concat(),
                ),
            ),
        ];
        for (form, bytes) in files {
            let error = weights::read(&bytes).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Unsupported,
                "{name} in {form}: {error}"
            );
        }
    }
}

/// Name, bytes, kind of the error.
fn bombs() -> Vec<(&'static str, Vec<u8>, ErrorKind)> {
    use ErrorKind::{Corrupt, Format, TooLarge, Truncated, Unsupported};
    let tensor = PLAIN.pickle();
    let data = [0u8; 24];
    let zip = |object: &[u8]| archive(&pickle(object), &[("0", &data)]);
    let described = |d: Described| one(&d, &data);
    // Ten lists, each of ten references to the one before it.
    let laughs: Vec<u8> = (0..10u8)
        .flat_map(|i| {
            [
                b"](".to_vec(),
                [b'h', i].repeat(10),
                vec![b'e', b'q', i + 1, b'0'],
            ]
            .concat()
        })
        .collect();
    let laughs = [b"Nq\x000".to_vec(), laughs, b"h\x0a".to_vec()].concat();
    let nested = [b"]".repeat(200), b"a".repeat(199)].concat();
    let nested_tensor = |n: usize| {
        let opens: Vec<u8> = (0..n)
            .flat_map(|_| [b"}".to_vec(), text("a")].concat())
            .collect();
        [opens, tensor.clone(), b"s".repeat(n)].concat()
    };
    let cycle = [
        b"}q\x00".to_vec(),
        text("w"),
        tensor.clone(),
        b"s".to_vec(),
        text("me"),
        b"h\x00s".to_vec(),
    ]
    .concat();
    let many: Vec<u8> = (0..300)
        .flat_map(|i| [text(&format!("w{i}")), tensor.clone()].concat())
        .collect();
    // One storage of 400,000 elements under 300 names.
    let big = Described {
        len: 400_000,
        shape: &[400_000],
        strides: &[1],
        ..PLAIN
    };
    let repeated: Vec<u8> = [b"}(".to_vec(), text("w"), big.pickle(), b"q\x00".to_vec()]
        .into_iter()
        .chain((0..300).map(|i| [text(&format!("w{i}")), b"h\x00".to_vec()].concat()))
        .chain([b"u".to_vec()])
        .flatten()
        .collect();
    let huge = Described {
        len: 1 << 28,
        shape: &[1 << 28],
        strides: &[1],
        ..PLAIN
    };
    // A dictionary of 4,000 attributes that is built into one object 100,000 times.
    let attributes: Vec<u8> = (0..4_000)
        .flat_map(|i| [text(&format!("a{i}")), b"N".to_vec()].concat())
        .collect();
    let copies = [
        b"}(".to_vec(),
        attributes,
        b"uq\x000".to_vec(),
        call("argparse", "Namespace", &[]),
        b"h\x00b".repeat(100_000),
    ]
    .concat();
    // A dictionary of almost only pairs that is asked for 100,000 times.
    let pair = [b"]".to_vec(), b"NaNa".to_vec()].concat();
    let almost = [b"](".to_vec(), pair.repeat(10_000), b"Ne".to_vec()].concat();
    let almost = [
        call("collections", "OrderedDict", &[almost]),
        b"q\x000".to_vec(),
    ]
    .concat();
    let almost = [
        almost,
        b"](".to_vec(),
        b"h\x00".repeat(100_000),
        b"e".to_vec(),
    ]
    .concat();
    let long_key = "k".repeat(1_000_000);
    let keys = [
        storage("FloatStorage", &long_key, 1),
        // Once more and more, from the tuple that it is made of.
        b"0".to_vec(),
        tuple(&[
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(&long_key),
            text("cpu"),
            int(1),
        ]),
        b"q\x01".to_vec(),
        b"h\x01Q0".repeat(300_000),
    ]
    .concat();
    let long_name = "n".repeat(5000);
    let mut cases = vec![
        (
            "an endless stack of lists",
            zip(&b"]".repeat(5_000_000)),
            TooLarge,
        ),
        (
            "an endless row of marks",
            zip(&b"(".repeat(20_000_000)),
            TooLarge,
        ),
        ("attributes copied again and again", zip(&copies), TooLarge),
        (
            "pairs that are none, again and again",
            zip(&almost),
            TooLarge,
        ),
        ("a long key, again and again", zip(&keys), TooLarge),
        (
            "a value pushed again and again",
            zip(&[b"N".to_vec(), b"2".repeat(20_000_000)].concat()),
            TooLarge,
        ),
        (
            "lists of lists of references",
            zip(&dict(&[("w", tensor.clone()), ("x", laughs)])),
            TooLarge,
        ),
        (
            "deep nesting without tensors",
            zip(&dict(&[("w", tensor.clone()), ("x", nested)])),
            TooLarge,
        ),
        (
            "a tensor deep in dictionaries",
            zip(&nested_tensor(100)),
            TooLarge,
        ),
        ("a dictionary that holds itself", zip(&cycle), TooLarge),
        (
            "an integer of 2 GB",
            zip(b"\x8b\xff\xff\xff\x7f"),
            Truncated,
        ),
        (
            "a text of 16 EB",
            zip(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
            Truncated,
        ),
        (
            "a frame of 8 EB",
            zip(b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f"),
            Truncated,
        ),
        (
            "a long integer",
            zip(&[&b"\x8b\x00\x10\x00\x00"[..], &[0; 4096]].concat()),
            TooLarge,
        ),
        (
            "a long name",
            zip(&dict(&[(&long_name, tensor.clone())])),
            TooLarge,
        ),
        (
            "one storage under 300 names",
            archive(&pickle(&repeated), &[("0", &vec![0; 1_600_000])]),
            TooLarge,
        ),
        (
            "a name that is there twice",
            zip(&dict(&[("w", tensor.clone()), ("w", tensor.clone())])),
            Corrupt,
        ),
        ("no tensor at all", zip(b"}"), Format),
        (
            "a compressed archive",
            compressed(&pickle(&dict(&[("w", huge.pickle())])), 1 << 30),
            Unsupported,
        ),
        (
            "a storage that is not there",
            archive(&pickle(&dict(&[("w", tensor.clone())])), &[]),
            Corrupt,
        ),
        ("an archive of something else", archive_renamed(), Format),
        (
            "a storage of 2^62 elements",
            described(Described {
                len: 1 << 62,
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "a storage of -1 elements",
            described(Described { len: -1, ..PLAIN }),
            Corrupt,
        ),
        (
            "a storage longer than its bytes",
            described(Described { len: 7, ..PLAIN }),
            Corrupt,
        ),
        (
            "a billion elements",
            described(Described {
                shape: &[1_000_000_000],
                strides: &[1],
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "sizes whose product overflows",
            described(Described {
                shape: &[1 << 40, 1 << 40],
                strides: &[1 << 40, 1],
                ..PLAIN
            }),
            TooLarge,
        ),
        (
            "sizes that overflow beside a 0",
            described(Described {
                shape: &[1 << 40, 1 << 40, 0],
                strides: &[1, 1, 1],
                ..PLAIN
            }),
            TooLarge,
        ),
        (
            "a negative size",
            described(Described {
                shape: &[-1, 3],
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "an offset past the end",
            described(Described { offset: 1, ..PLAIN }),
            Corrupt,
        ),
        (
            "an offset that overflows",
            described(Described {
                offset: i64::MAX,
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "a negative offset",
            described(Described {
                offset: -1,
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "a stride of 0",
            described(Described {
                shape: &[1 << 30],
                strides: &[0],
                ..PLAIN
            }),
            Unsupported,
        ),
        (
            "strides that overlap",
            described(Described {
                shape: &[2, 3],
                strides: &[1, 1],
                ..PLAIN
            }),
            Unsupported,
        ),
        (
            "a stride past the end",
            described(Described {
                strides: &[4, 1],
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "a stride that overflows",
            described(Described {
                strides: &[i64::MAX, 1],
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "a negative stride",
            described(Described {
                strides: &[-3, 1],
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "fewer strides than axes",
            described(Described {
                strides: &[1],
                ..PLAIN
            }),
            Corrupt,
        ),
        (
            "100 axes",
            described(Described {
                shape: &[1; 100],
                strides: &[1; 100],
                ..PLAIN
            }),
            TooLarge,
        ),
        ("two storages in the same bytes", overlapping(), Corrupt),
    ];
    let object = dict(&[("w", tensor.clone())]);
    let block = |len: u64| [&len.to_le_bytes()[..], &data].concat();
    cases.extend([
        (
            "legacy: a storage shorter than described",
            legacy(&object, &["0"], &block(5)),
            Corrupt,
        ),
        (
            "legacy: a storage of 2^63 elements",
            legacy(&object, &["0"], &block(1 << 63)),
            Corrupt,
        ),
        (
            "legacy: a storage nobody described",
            legacy(&object, &["1"], &block(6)),
            Corrupt,
        ),
        (
            "legacy: a storage that is missing",
            legacy(&object, &[], &[]),
            Corrupt,
        ),
        (
            "legacy: a storage given twice",
            legacy(&object, &["0", "0"], &[block(6), block(6)].concat()),
            Corrupt,
        ),
        (
            "legacy: a cut storage",
            legacy(&object, &["0"], &block(6)[..20]),
            Truncated,
        ),
        (
            "legacy: more than storages",
            legacy(&object, &["0"], &[block(6), vec![0]].concat()),
            ErrorKind::Trailing,
        ),
        (
            "legacy: 300 tensors of no storage",
            legacy(&[b"}(".to_vec(), many, b"u".to_vec()].concat(), &[], &[]),
            Corrupt,
        ),
        ("another pickle", pickle(b"N"), Format),
    ]);
    let shape = |shape: &str, end: usize| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let two = r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#;
    cases.extend([
        (
            "safetensors: a header of 16 EB",
            [&u64::MAX.to_le_bytes()[..], b"{"].concat(),
            Format,
        ),
        (
            "safetensors: deep JSON",
            safetensors(&format!("{{\"a\":{}", "[".repeat(1_000_000)), &[]),
            Corrupt,
        ),
        (
            "safetensors: a billion elements",
            safetensors(&shape("[1000000000]", 4_000_000_000), &[0; 16]),
            Corrupt,
        ),
        (
            "safetensors: sizes that overflow",
            safetensors(&shape("[4294967296,4294967296]", 16), &[0; 16]),
            Corrupt,
        ),
        (
            "safetensors: tensors that overlap",
            safetensors(two, &[0; 12]),
            Corrupt,
        ),
        (
            "safetensors: bytes of nobody",
            safetensors(&shape("[4]", 16), &[0; 17]),
            Corrupt,
        ),
        (
            "safetensors: cut",
            safetensors(&shape("[4]", 16), &[0; 15]),
            Corrupt,
        ),
        ("nothing", Vec::new(), Format),
    ]);
    cases
}

/// An archive without a pickle.
fn archive_renamed() -> Vec<u8> {
    let bytes = archive(b"", &[]);
    let mut renamed = bytes.clone();
    for at in 0..bytes.len() - 8 {
        if &bytes[at..at + 8] == b"data.pkl" {
            renamed[at..at + 8].copy_from_slice(b"data.npy");
        }
    }
    renamed
}

/// An archive whose directory sends two names to one entry.
fn overlapping() -> Vec<u8> {
    let second = Described { key: "1", ..PLAIN };
    let object = dict(&[("v", PLAIN.pickle()), ("w", second.pickle())]);
    let mut bytes = archive(&pickle(&object), &[("0", &[0; 24]), ("1", &[0; 24])]);
    let positions: Vec<usize> = (0..bytes.len() - 4)
        .filter(|&i| bytes[i..i + 4] == *b"PK\x01\x02")
        .collect();
    let offset_of_first: [u8; 4] = bytes[positions[1] + 42..positions[1] + 46]
        .try_into()
        .unwrap();
    bytes[positions[2] + 42..positions[2] + 46].copy_from_slice(&offset_of_first);
    bytes
}

/// Most memory that this process has had, in bytes.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[test]
fn bombs_end_in_an_error_soon_and_small() {
    // The bound of what is being read includes the file itself; all files are below 31 MB.
    assert!(
        weights::read(&one(&PLAIN, &[0; 24])).is_ok(),
        "the plain file is fine"
    );
    for (name, bytes, kind) in bombs() {
        let start = Instant::now();
        let error = weights::read(&bytes).expect_err(name);
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{name}: {:?}",
            start.elapsed()
        );
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}

/// In a process of its own, so that neither other tests nor the making of the files count.
#[test]
fn bombs_take_little_memory() {
    let name = "BANTAM_BOMB";
    if let Some(path) = std::env::var_os(name) {
        let bytes = std::fs::read(path).unwrap();
        assert!(weights::read(&bytes).is_err());
        if let Some(peak) = peak_bytes() {
            assert!(peak < 100_000_000, "{peak} bytes");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb");
    for (bomb, bytes, _) in bombs() {
        std::fs::write(&path, bytes).unwrap();
        let test = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bombs_take_little_memory"])
            .env(name, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success(), "{bomb}: {said}");
    }
}
