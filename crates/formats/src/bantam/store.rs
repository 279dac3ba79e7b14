//! The `Store` profile: values as they are, little endian, each array aligned to 64 bytes.
//!
//! A dense weight is one array. A masked one is its values, then its mask, one bit an element,
//! least significant first. A codebook is its entries as `f32`, then one byte an element; the
//! number of entries is in the header.

use bantam_core::{Codebook, DType, Data, Graph, Masked, Tensor, Weight};

use super::Payload;
use super::graph::{Form, Slot, named_weights};
use super::ledger::Counter;
use super::text::{Sink, Source};
use crate::checkpoint::{append, parse};
use crate::{Error, ErrorKind, Result};

/// What arrays are aligned to.
const ALIGN_BYTES: usize = 64;

/// Appends to the header what the payload does not say.
pub(super) fn write_header(sink: &mut Sink, graph: &Graph) -> Result<()> {
    for (_, weight) in named_weights(graph) {
        match weight {
            Weight::Codebook(c) => sink.size(c.entries().len())?,
            Weight::Dense(_) | Weight::Masked(_) => {}
        }
    }
    Ok(())
}

/// Appends all arrays to `file`.
pub(super) fn write_payload(file: &mut Vec<u8>, graph: &Graph) {
    let align = |file: &mut Vec<u8>| file.resize(file.len().next_multiple_of(ALIGN_BYTES), 0);
    for (_, weight) in named_weights(graph) {
        align(file);
        match weight {
            Weight::Dense(t) => append(t.data(), file),
            Weight::Masked(m) => {
                append(m.values().data(), file);
                align(file);
                let byte = |keep: &[bool]| {
                    keep.iter()
                        .enumerate()
                        .fold(0, |byte, (i, &k)| byte | u8::from(k) << i)
                };
                file.extend(m.keep().chunks(8).map(byte));
            }
            Weight::Codebook(c) => {
                append(&Data::F32(c.entries().to_vec()), file);
                align(file);
                file.extend_from_slice(c.indices());
            }
        }
    }
}

/// The numbers of codebook entries, in order.
pub(super) fn read_header(source: &mut Source<'_>, slots: &[&Slot]) -> Result<Vec<usize>> {
    let codebooks = slots.iter().filter(|slot| slot.form == Form::Codebook);
    codebooks
        .map(|_| source.count("codebook entries", 256))
        .collect()
}

/// Reads the arrays of all slots.
pub(super) fn read_payload(
    payload: &mut Payload<'_>,
    slots: &[(&str, &Slot)],
    n_entries: &[usize],
    counter: &mut Counter,
) -> Result<Vec<Weight>> {
    let mut n_entries = n_entries.iter();
    let mut read = Vec::new();
    for (name, slot) in slots {
        let mut array = |dtype: DType, len: usize, part: &str| -> Result<Data> {
            counter.add("padding", align(payload)?);
            let n_bytes = len.checked_mul(dtype.size_bytes());
            let n_bytes = n_bytes.ok_or_else(|| Error::corrupt("an array exceeds memory"))?;
            counter.add(format!("{part}: {name}"), n_bytes as u64);
            Ok(parse(dtype, payload.take(n_bytes)?))
        };
        let part = if slot.shape.len() > 1 {
            "weights"
        } else {
            "biases"
        };
        let weight = match slot.form {
            Form::Dense(dtype) => Weight::Dense(Tensor::from_data(
                &slot.shape,
                array(dtype, slot.len(), part)?,
            )?),
            Form::Masked => {
                let values = Tensor::from_data(&slot.shape, array(DType::F32, slot.len(), part)?)?;
                let mask = array(DType::U8, slot.len().div_ceil(8), "masks")?;
                masked(&values, &mask, slot.len())?
            }
            Form::Codebook => {
                let n = *n_entries
                    .next()
                    .expect("there is a number for each codebook");
                let entries = Tensor::from_data(&[n], array(DType::F32, n, "codebooks")?)?;
                let entries = entries.values::<f32>()?.to_vec();
                match array(DType::U8, slot.len(), part)? {
                    Data::U8(indices) => {
                        Weight::Codebook(Codebook::new(&slot.shape, entries, indices)?)
                    }
                    _ => unreachable!("bytes were asked for"),
                }
            }
        };
        read.push(weight);
    }
    Ok(read)
}

fn masked(values: &Tensor, mask: &Data, len: usize) -> Result<Weight> {
    let Data::U8(mask) = mask else {
        unreachable!("bytes were asked for")
    };
    let bit = |i: usize| mask[i / 8] >> (i % 8) & 1 == 1;
    let keep: Vec<bool> = (0..len).map(bit).collect();
    if (len..mask.len() * 8).any(bit) {
        return Err(Error::corrupt("a mask goes on after its last element"));
    }
    let masked = Masked::new(values, keep)?;
    // `new` clears what is not kept: there must have been nothing to clear.
    let bits = |t: &Tensor| {
        t.values::<f32>()
            .map(|v| v.iter().map(|x| x.to_bits()).collect())
    };
    let (before, after): (Vec<u32>, Vec<u32>) = (bits(values)?, bits(masked.values())?);
    match before == after {
        true => Ok(Weight::Masked(masked)),
        false => Err(Error::corrupt("a pruned element is not 0")),
    }
}

/// Skips the zeros before an array.
fn align(payload: &mut Payload<'_>) -> Result<u64> {
    let n = payload.at().next_multiple_of(ALIGN_BYTES) - payload.at();
    match payload.take(n)?.iter().all(|&b| b == 0) {
        true => Ok(n as u64),
        false => Err(Error::new(ErrorKind::Corrupt, "padding is not zero")),
    }
}
