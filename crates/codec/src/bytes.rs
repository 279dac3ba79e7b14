//! Short byte strings: headers, names, anything of 50 to 2000 bytes that nothing else codes.
//!
//! A byte is eight binary decisions, each mixed from what followed the last zero, one, two and
//! three bytes, in the manner of M. Mahoney's lpaq. Counters start fast, because such strings end
//! before slow ones have learned anything. The first byte tells whether the rest is coded or
//! stored, so no input grows by more than one byte. Frozen like every coder profile.

use crate::logistic::{Counter, Logit, Mixer, squash, stretch};
use crate::range::{Decoder, Encoder, HALF};
use crate::{Error, ErrorKind};

/// First byte of a string that is stored as it is.
const STORED: u8 = 0;
/// First byte of a string coded with this model.
const MODEL_1: u8 = 1;

/// Contexts of zero to three bytes, and one of the position in a record of four bytes.
const N_CONTEXTS: usize = 5;
const N_INPUTS: usize = 2 * N_CONTEXTS + 1;
/// Counters a context; contexts of two and more bytes are hashed into that many.
const TABLE_BITS: u32 = 16;
const LIMIT: u32 = 127;

/// Codes `bytes`; the result is at most one byte longer.
pub fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut model = Model::new();
    for &byte in bytes {
        model.code_byte(|p_one, i| {
            let bit = byte >> (7 - i) & 1 == 1;
            encoder.encode(bit, p_one);
            bit
        });
    }
    let code = encoder.finish();
    let (tag, payload) = if code.len() < bytes.len() {
        (MODEL_1, &code[..])
    } else {
        (STORED, bytes)
    };
    [&[tag], payload].concat()
}

/// Decodes `decoded_len` bytes that [`encode_bytes`] wrote.
///
/// # Errors
///
/// [`ErrorKind::Truncated`] or [`ErrorKind::Trailing`] if the bytes do not end with the string,
/// [`ErrorKind::Unsupported`] if a later version wrote them.
pub fn decode_bytes(bytes: &[u8], decoded_len: usize) -> Result<Vec<u8>, Error> {
    let (&tag, payload) = bytes
        .split_first()
        .ok_or(Error::truncated("byte string has no tag"))?;
    match tag {
        STORED if payload.len() < decoded_len => Err(Error::truncated("stored bytes end early")),
        STORED if payload.len() > decoded_len => Err(Error::new(
            ErrorKind::Trailing,
            "bytes follow the stored ones",
        )),
        STORED => Ok(payload.to_vec()),
        MODEL_1 => decode_model_1(payload, decoded_len),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "byte string of an unknown coder profile",
        )),
    }
}

fn decode_model_1(code: &[u8], decoded_len: usize) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new(code);
    let mut model = Model::new();
    let mut out = Vec::new();
    while out.len() < decoded_len {
        out.push(model.code_byte(|p_one, _| decoder.decode(p_one)));
        if decoder.is_overrun() {
            return Err(Error::truncated("byte string ends early"));
        }
    }
    decoder.finish()?;
    Ok(out)
}

/// All that is learned from the bytes coded so far.
struct Model {
    counters: Vec<Counter>,
    mixer: Mixer,
    /// The last four bytes, the latest lowest.
    history: u32,
    n_bytes: u32,
}

impl Model {
    fn new() -> Model {
        let mut weights = [0; N_INPUTS];
        for (i, pair) in weights.chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&[
                1 << 13,
                if i == N_CONTEXTS - 1 {
                    1 << 12
                } else {
                    1 << 15
                },
            ]);
        }
        Model {
            counters: vec![Counter::new(HALF, 0); N_CONTEXTS << TABLE_BITS],
            mixer: Mixer::new(&[weights], 256, 600),
            history: 0,
            n_bytes: 0,
        }
    }

    /// Walks through the eight bits of a byte; `code` takes a probability and the bit's number
    /// and returns the bit.
    fn code_byte(&mut self, mut code: impl FnMut(u16, u32) -> bool) -> u8 {
        let contexts: [u32; N_CONTEXTS] = [
            0,
            self.history & 0xFF,
            self.history & 0xFFFF,
            self.history & 0xFF_FFFF,
            (self.n_bytes & 3) << 8 | self.history >> 24,
        ];
        // A one followed by the bits of the byte so far.
        let mut partial = 1u32;
        for i in 0..8 {
            let slots: [usize; N_CONTEXTS] =
                std::array::from_fn(|order| slot(order, contexts[order], partial));
            let mut inputs = [0; N_INPUTS];
            inputs[N_INPUTS - 1] = 64;
            for (pair, &slot) in inputs.chunks_exact_mut(2).zip(&slots) {
                pair.copy_from_slice(&evidence(self.counters[slot]));
            }
            let set = partial as usize;
            let p_one = squash(self.mixer.mix(set, &inputs));
            let bit = code(p_one, i);
            self.mixer.update(set, &inputs, p_one, bit);
            slots
                .iter()
                .for_each(|&slot| self.counters[slot].update(bit, LIMIT));
            partial = partial << 1 | u32::from(bit);
        }
        self.history = self.history << 8 | partial & 0xFF;
        self.n_bytes = self.n_bytes.wrapping_add(1);
        partial as u8
    }
}

/// A counter's log odds, and the same weighed by how much the counter has seen.
fn evidence(counter: Counter) -> [Logit; 2] {
    let n = counter.n() as Logit;
    let logit = stretch(counter.p());
    if n == 0 {
        [0, 0]
    } else {
        [logit, logit * (2 * n) / (2 * n + 3)]
    }
}

/// Where the counter of a context and a partial byte is. Collisions only cost compression.
fn slot(order: usize, context: u32, partial: u32) -> usize {
    let key = context << 8 | partial;
    let mixed = (key ^ context >> 24).wrapping_mul(0x9E37_79B1);
    let hash = if order < 2 { key } else { mixed ^ mixed >> 15 } & ((1 << TABLE_BITS) - 1);
    order << TABLE_BITS | hash as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"sepal_length,sepal_width,petal_length,petal_width,species\n\
        setosa,versicolor,virginica\nfc1.weight,fc1.bias,fc2.weight,fc2.bias,fc3.weight,fc3.bias";

    #[test]
    fn round_trip_by_name() {
        let all: Vec<u8> = (0..=255).collect();
        let cases: [(&str, &[u8], usize); 6] = [
            ("empty", b"", 1),
            ("one byte", b"x", 2),
            ("text", TEXT, TEXT.len() * 3 / 4),
            ("zeros", &[0; 2000], 20),
            ("every byte once", &all, 257),
            (
                "little-endian words",
                &[7, 0, 0, 0, 28, 0, 0, 0, 44, 1, 0, 0, 100, 0, 0, 0],
                14,
            ),
        ];
        for (name, bytes, max_len) in cases {
            let code = encode_bytes(bytes);
            assert!(code.len() <= max_len, "{name}: {} bytes", code.len());
            assert_eq!(
                decode_bytes(&code, bytes.len()).as_deref(),
                Ok(bytes),
                "{name}"
            );
        }
    }

    #[test]
    fn bad_bytes() {
        let code = encode_bytes(TEXT);
        let cases: [(&str, &[u8], usize, ErrorKind); 6] = [
            ("nothing", &[], 0, ErrorKind::Truncated),
            ("unknown profile", &[2, 1, 1], 2, ErrorKind::Unsupported),
            ("stored too short", &[0, 1], 2, ErrorKind::Truncated),
            ("stored too long", &[0, 1, 1], 1, ErrorKind::Trailing),
            (
                "code cut",
                &code[..code.len() / 2],
                TEXT.len(),
                ErrorKind::Truncated,
            ),
            (
                "less wanted than coded",
                &code,
                TEXT.len() / 2,
                ErrorKind::Trailing,
            ),
        ];
        for (name, bytes, len, kind) in cases {
            assert_eq!(decode_bytes(bytes, len).unwrap_err().kind(), kind, "{name}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            let code = encode_bytes(&bytes);
            prop_assert!(code.len() <= bytes.len() + 1);
            prop_assert_eq!(decode_bytes(&code, bytes.len())?, bytes);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>, len in 0..1000usize) {
            let _ = decode_bytes(&bytes, len);
        }
    }
}
