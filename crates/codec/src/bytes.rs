//! Short byte strings: headers, names, anything of 50 to 2000 bytes that nothing else codes.
//!
//! A byte is eight binary decisions, each mixed from what followed the last zero, one, two and
//! three bytes, in the manner of M. Mahoney's lpaq. Counters start fast, because such strings end
//! before slow ones have learned anything. The first byte tells how the rest is coded, or that it is
//! not, so no input grows by more than one byte. Frozen like every coder profile.

use crate::logistic::{Counter, Logit, Mixer, squash, stretch};
use crate::range::{Decoder, Encoder, HALF};
use crate::{Error, ErrorKind};

/// First byte of a string that is stored as it is.
const STORED: u8 = 0;
/// First byte of a string coded with a model that knows nothing, best for binary fields.
const BLANK: u8 = 1;
/// First byte of a string coded with a model that has read [`PRIMER`], best for names.
const PRIMED: u8 = 2;

/// What a primed model has read before the first byte: the kind of text it will meet, so that a
/// short string need not teach it the alphabet.
const PRIMER: &[u8] =
    b"0123456789 -.:_/ ABCDEFGHIJKLMNOPQRSTUVWXYZ the quick brown fox jumps over lazy dogs \
    class label target name type unit country status education relation married private \
    income price age sex weight length width height color number count rate time date year \
    month day hour yes no true false none other unknown left right high low male female \
    input output model layer.0.conv1.weight layer.1.bn2.bias running_mean running_var \
    fc1.weight fc2.bias linear relu dense classifier features embedding norm attention";

/// Contexts of zero to three bytes, and one of the position in a record of four bytes.
const N_CONTEXTS: usize = 5;
const N_INPUTS: usize = 2 * N_CONTEXTS + 1;
/// Counters a context; contexts of two and more bytes are hashed into that many.
const TABLE_BITS: u32 = 16;
const LIMIT: u32 = 127;

/// Codes `bytes`; the result is at most one byte longer.
pub fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let stored = [&[STORED], bytes].concat();
    let blank = [&[BLANK], &encode_with(Model::blank(), bytes)[..]].concat();
    let primed = [&[PRIMED], &encode_with(Model::primed(), bytes)[..]].concat();
    [stored, blank, primed]
        .into_iter()
        .min_by_key(Vec::len)
        .expect("there are three ways")
}

fn encode_with(mut model: Model, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for &byte in bytes {
        model.code_byte(|p_one, i| {
            let bit = byte >> (7 - i) & 1 == 1;
            encoder.encode(bit, p_one);
            bit
        });
    }
    encoder.finish()
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
        BLANK => decode_with(Model::blank(), payload, decoded_len),
        PRIMED => decode_with(Model::primed(), payload, decoded_len),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "byte string of an unknown coder profile",
        )),
    }
}

fn decode_with(mut model: Model, code: &[u8], decoded_len: usize) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new(code);
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
    /// A model that has read the primer.
    fn primed() -> Model {
        let mut model = Model::blank();
        for &byte in PRIMER {
            model.code_byte(|_, i| byte >> (7 - i) & 1 == 1);
        }
        model
    }

    fn blank() -> Model {
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
            ("text", TEXT, TEXT.len() * 2 / 3),
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
            ("unknown profile", &[3, 1, 1], 2, ErrorKind::Unsupported),
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

    /// The model is part of the file format. If this fails, the change needs a new first byte.
    #[test]
    fn golden_bytes() {
        let words: Vec<u8> = (0..40u32).flat_map(|i| (i * i / 3).to_le_bytes()).collect();
        for (bytes, golden) in [(TEXT, GOLDEN_TEXT), (&words, GOLDEN_WORDS)] {
            let code = encode_bytes(bytes);
            let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden);
        }
    }

    const GOLDEN_TEXT: &str = "021701237a1e7e81598bca637a6370fcae71a0e701d47e5da752a792ebd31191c4fc16f67d1dce88\
        57c15fdcce3e78a181b5793875b4403e3bed";
    const GOLDEN_WORDS: &str = "01ffb3aebc0c660912f33b776600ac79e85b7a40eacfcdbb07da613e261ef38567d8c91a68a4466e\
        8b8405560052183e1de4a99c9721851680fde049b219";

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            let code = encode_bytes(&bytes);
            prop_assert!(code.len() <= bytes.len() + 1);
            prop_assert_eq!(decode_bytes(&code, bytes.len())?, bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_decode_without_panic(tag in 0..4u8, code: Vec<u8>, len in 0..1000usize) {
            let _ = decode_bytes(&[&[tag], &code[..]].concat(), len);
        }
    }
}
