//! Writes CIFAR-10 as its binary files, from pictures that hold an image a row.
//!
//! `cifar10 FROM TO`: `FROM` has `data_batch_1.png` to `data_batch_5.png` and `test_batch.png`, 1024
//! by 10,000 pixels each, and the labels as arrays of JSON. `scripts/fetch-cifar10.sh` calls it.

use std::error::Error;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let [from, to]: [PathBuf; 2] = std::env::args_os()
        .skip(1)
        .map(PathBuf::from)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "expected two folders: from where, to where")?;
    let train = labels(&from.join("train_lables.json"))?;
    let (batches, rest) = train.as_chunks::<10_000>();
    if batches.len() != 5 || !rest.is_empty() {
        return Err(format!("expected 50,000 labels, found {}", train.len()).into());
    }
    for (i, labels) in batches.iter().enumerate() {
        let name = format!("data_batch_{}", i + 1);
        convert(&from, &to, &name, labels)?;
    }
    convert(
        &from,
        &to,
        "test_batch",
        &labels(&from.join("test_lables.json"))?,
    )
}

/// The numbers of a JSON array of them.
fn labels(path: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read_to_string(path)?;
    let numbers = text
        .trim()
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'));
    let numbers = numbers.ok_or("expected an array")?.split(',');
    Ok(numbers
        .map(|n| n.trim().parse())
        .collect::<std::result::Result<_, _>>()?)
}

fn convert(from: &Path, to: &Path, name: &str, labels: &[u8]) -> Result<()> {
    let picture = image::open(from.join(format!("{name}.png")))?.into_rgb8();
    if picture.dimensions() != (1024, labels.len() as u32) {
        return Err(format!(
            "{name}: {:?} pixels for {} labels",
            picture.dimensions(),
            labels.len()
        )
        .into());
    }
    let mut bytes = Vec::with_capacity(labels.len() * 3073);
    for (row, &label) in picture.into_raw().chunks_exact(3 * 1024).zip(labels) {
        bytes.push(label);
        for channel in 0..3 {
            bytes.extend(row.iter().skip(channel).step_by(3));
        }
    }
    std::fs::write(to.join(format!("{name}.bin")), bytes)?;
    Ok(())
}
