//! Files of weights that nobody should have written, put together by hand.
#![allow(dead_code)]

use std::io::{Cursor, Write};

use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A pickle of a text.
pub fn text(s: &str) -> Vec<u8> {
    [&b"X"[..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
}

/// A pickle of an integer.
pub fn int(n: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &n.to_le_bytes()].concat()
}

/// A pickle of a tuple.
pub fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), parts.concat(), b"t".to_vec()].concat()
}

/// A pickle of a dictionary.
pub fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> = pairs
        .iter()
        .flat_map(|(k, v)| [text(k), v.clone()].concat())
        .collect();
    [b"}(".to_vec(), pairs, b"u".to_vec()].concat()
}

/// A pickle of a call, of any name.
pub fn call(module: &str, name: &str, args: &[Vec<u8>]) -> Vec<u8> {
    [
        format!("c{module}\n{name}\n").into_bytes(),
        tuple(args),
        b"R".to_vec(),
    ]
    .concat()
}

/// A pickle of a reference to a storage.
pub fn storage(class: &str, key: &str, len: i64) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let parts = [text("storage"), class, text(key), text("cpu"), int(len)];
    [tuple(&parts), b"Q".to_vec()].concat()
}

/// A tensor as a pickle describes one.
pub struct Described<'a> {
    pub key: &'a str,
    pub len: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub strides: &'a [i64],
}

impl Described<'_> {
    pub fn pickle(&self) -> Vec<u8> {
        let sizes = |sizes: &[i64]| tuple(&sizes.iter().map(|&n| int(n)).collect::<Vec<_>>());
        let (shape, strides) = (sizes(self.shape), sizes(self.strides));
        let storage = storage("FloatStorage", self.key, self.len);
        let hooks = call("collections", "OrderedDict", &[]);
        let args = [
            storage,
            int(self.offset),
            shape,
            strides,
            b"\x89".to_vec(),
            hooks,
        ];
        call("torch._utils", "_rebuild_tensor_v2", &args)
    }
}

/// Protocol, object, stop.
pub fn pickle(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

/// An archive as `torch.save` writes it.
pub fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("a/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    for (key, bytes) in storages {
        zip.start_file(format!("a/data/{key}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive of a storage of zeros that is deflated and said to be `zeros` bytes.
pub fn compressed(pickle: &[u8], zeros: usize) -> Vec<u8> {
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflate.write_all(&vec![0; 1 << 24]).unwrap();
    let deflated = deflate.finish().unwrap();
    let mut bytes = archive(pickle, &[("0", &deflated)]);
    let places = |bytes: &[u8], mark: &[u8; 4]| {
        (0..bytes.len() - 4)
            .filter(|&i| bytes[i..i + 4] == *mark)
            .collect::<Vec<_>>()
    };
    // The method is deflate, and the size is what comes out.
    let (local, central) = (places(&bytes, b"PK\x03\x04"), places(&bytes, b"PK\x01\x02"));
    for (at, method, size) in [(local[1], 8, 22), (central[1], 10, 24)] {
        bytes[at + method] = 8;
        bytes[at + size..at + size + 4].copy_from_slice(&(zeros as u32).to_le_bytes());
    }
    bytes
}

/// A file of the form before version 1.6: `keys` and `storages` come after the object.
pub fn legacy(object: &[u8], keys: &[&str], storages: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let facts = dict(&[("little_endian", b"\x88".to_vec())]);
    let keys: Vec<u8> = keys.iter().flat_map(|k| text(k)).collect();
    let keys = [b"](".to_vec(), keys, b"e".to_vec()].concat();
    [
        magic.to_vec(),
        pickle(b"M\xe9\x03"),
        pickle(&facts),
        pickle(object),
        pickle(&keys),
        storages.to_vec(),
    ]
    .concat()
}

/// A safetensors file of a header and bytes.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}
