//! Damaged files: thousands of them, and not one panic. A file that is cut off is an error.
//!
//! Every run tries the same ones; `BANTAM_FUZZ_SECONDS=600` goes on with others for that time.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bantam_data::{ReadOptions, Rng, load, read_npy, read_npz, read_table};

/// Kinds of files below, which share the time.
const KINDS: u32 = 6;

/// Cuts off or changes up to four bytes of `good`, and calls `read` on what is left.
fn damage(seed: u64, rounds: u64, good: &[u8], mut read: impl FnMut(&[u8], bool)) {
    let seconds = std::env::var("BANTAM_FUZZ_SECONDS");
    let seconds: u64 = seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let (time, start) = (Duration::from_secs(seconds) / KINDS, Instant::now());
    let mut rng = Rng::new(seed, 0);
    let mut round = 0;
    while round < rounds || start.elapsed() < time {
        let mut bytes = good.to_vec();
        let cut = round % 3 == 0;
        if cut {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        } else {
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = match rng.below(3) {
                    0 => rng.bits() as u8,
                    1 => bytes[at] ^ (1 << rng.below(8)),
                    _ => [0, 0xff, b'"', b'\n', b',', b' '][rng.below(6) as usize],
                };
            }
        }
        read(&bytes, cut);
        round += 1;
    }
    println!("kind {seed}: {round} mutations");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn csv() -> Vec<u8> {
    let mut text = "id,name,x,y\n".to_owned();
    for i in 0..60 {
        text += &format!("{i},\"n, {}\",{}.5,{}\n", i % 7, i * 3, i % 2);
    }
    text.into_bytes()
}

fn npy(shape: &str, values: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(values);
    bytes
}

fn read_as(dir: &Path, name: &str, bytes: &[u8], read: impl Fn(&Path) -> bool) -> bool {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    read(&path)
}

#[test]
fn text() {
    damage(1, 6000, &csv(), |bytes, _| {
        let _ = bantam_data::read_delimited_bytes(bytes, &ReadOptions::default());
    });
}

#[test]
fn text_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    damage(2, 3000, &gzip(&csv()), |bytes, cut| {
        let read = |p: &Path| read_table(p, &ReadOptions::default()).is_ok();
        let ok = read_as(dir.path(), "t.csv.gz", bytes, read);
        assert!(
            !(ok && cut && bytes.len() > 1),
            "a file cut to {} bytes was read",
            bytes.len()
        );
    });
}

#[test]
fn idx() {
    let dir = tempfile::tempdir().unwrap();
    let mut good = vec![0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 2];
    good.extend(0..30);
    let labels = [0, 0, 8, 1, 0, 0, 0, 5, 1, 0, 1, 0, 2];
    std::fs::write(dir.path().join("a-labels-idx1-ubyte"), labels).unwrap();
    for (name, good) in [
        ("a-images-idx3-ubyte", good.clone()),
        ("a-images-idx3-ubyte.gz", gzip(&good)),
    ] {
        damage(3, 2000, &good, |bytes, cut| {
            let read = |p: &Path| match load(p, None, &ReadOptions::default()) {
                Ok(loaded) => matches!(loaded.train, bantam_data::Dataset::Samples(_)),
                Err(_) => false,
            };
            assert!(!(read_as(dir.path(), name, bytes, read) && cut));
        });
    }
}

#[test]
fn arrays() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<u8> = (0..24).collect();
    damage(4, 3000, &npy("(4, 6)", &values), |bytes, cut| {
        let ok = read_as(dir.path(), "x.npy", bytes, |p| read_npy(p).is_ok());
        assert!(!(ok && cut));
    });
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in [
        ("x.npy", npy("(4, 6)", &values)),
        ("y.npy", npy("(4,)", &[0, 1, 0, 1])),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(&bytes).unwrap();
    }
    let good = zip.finish().unwrap().into_inner();
    damage(5, 3000, &good, |bytes, cut| {
        let ok = read_as(dir.path(), "x.npz", bytes, |p| {
            let _ = load(p, None, &ReadOptions::default());
            read_npz(p).is_ok()
        });
        assert!(!(ok && cut));
    });
}
