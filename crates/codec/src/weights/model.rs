//! The probability of one decision: counters in small contexts, mixed with direct estimates.

use crate::logistic::{Counter, Logit, Mixer, squash, stretch};
use crate::range::{Decoder, Encoder, HALF};

/// Either end of the code, so that one walk over the weights both writes and reads them.
pub(super) trait Coder {
    /// Codes a decision; a decoder ignores `bit`. Returns the decision.
    fn code(&mut self, bit: bool, p_one: u16) -> bool;
}

impl Coder for Encoder {
    #[inline]
    fn code(&mut self, bit: bool, p_one: u16) -> bool {
        self.encode(bit, p_one);
        bit
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn code(&mut self, _: bool, p_one: u16) -> bool {
        self.decode(p_one)
    }
}

/// Decisions of the unary magnitude: larger than 1, than 2, up to [`MAX_UNARY`].
pub(super) const MAX_UNARY: u32 = 17;

/// The kinds of decision: zero, sign and the unary steps.
pub(super) const N_KINDS: usize = 2 + MAX_UNARY as usize;

/// The contexts that have counters.
pub(super) const N_CONTEXTS: usize = 12;

/// Every context is below this.
pub(super) const CONTEXT_SIZE: usize = 1024;

/// Estimates that come as log odds relative to the order-0 one.
pub(super) const N_FEATURES: usize = 15;

/// The order-0 prediction, the features, and two inputs for each context.
const N_INPUTS: usize = 1 + N_FEATURES + 2 * N_CONTEXTS;

const N_MIXERS: usize = 3;

/// Every mixer selector is below this.
const SELECTOR_SIZE: usize = 32;

/// Kinds of decision with mixer weights of their own: zero, sign, all of magnitude.
const N_GROUPS: usize = 3;

/// Where the mixer weights of the order-0 prediction and the features start, in units of 1/32:
/// means of what pruned networks for handwritten digits trained them to.
const INITIAL_WEIGHTS: [[i32; 1 + N_FEATURES]; N_GROUPS] = [
    [30, 12, 3, 1, 3, 3, 0, 11, 0, 1, 6, 4, -2, 2, 2, 15],
    [28, 3, 4, 4, 6, 6, 10, 4, 0, 6, -1, 1, 8, 0, 9, 18],
    [31, 10, 19, 13, 9, 6, 6, 4, 2, 1, -2, -1, 0, 0, 0, 0],
];

/// The learning rates of the mixers and of what combines them, 16 fraction bits.
const MIXER_RATE: i32 = 130;
const LAST_RATE: i32 = 20;

/// A new matrix starts with order-0 probabilities that count as this many decisions old.
const CARRIED_COUNT: u32 = 8;

/// What is known about a decision before it is coded.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) contexts: [usize; N_CONTEXTS],
    pub(super) features: [Logit; N_FEATURES],
    pub(super) selectors: [usize; N_MIXERS],
}

/// All that is learned from the weights coded so far.
#[derive(Debug)]
pub(super) struct Model {
    /// The order-0 probability of each kind.
    base: [Counter; N_KINDS],
    counters: Vec<Counter>,
    mixers: [Mixer; N_MIXERS],
    last: Mixer,
    /// Exp-Golomb prefix, by position.
    prefix: [Counter; 32],
}

impl Model {
    pub(super) fn new() -> Model {
        let initial = INITIAL_WEIGHTS.map(|group| {
            let mut weights = [0; N_INPUTS];
            for (weight, initial) in weights.iter_mut().zip(group) {
                *weight = initial << 11;
            }
            for pair in weights[1 + N_FEATURES..].chunks_exact_mut(2) {
                pair[1] = 1 << 12;
            }
            weights
        });
        let mixer = Mixer::new(&initial, SELECTOR_SIZE, MIXER_RATE);
        Model {
            base: [Counter::new(HALF, 0); N_KINDS],
            counters: vec![Counter::default(); N_KINDS * N_CONTEXTS * CONTEXT_SIZE],
            mixers: [mixer.clone(), mixer.clone(), mixer],
            last: Mixer::new(&[[(1 << 16) / 3; N_MIXERS]], N_KINDS, LAST_RATE),
            prefix: [Counter::new(HALF, 0); 32],
        }
    }

    /// The order-0 probability of a kind of decision.
    #[inline]
    pub(super) fn base(&self, kind: usize) -> u16 {
        self.base[kind].p()
    }

    /// Forgets how sure the order-0 probabilities are, as a new matrix starts.
    pub(super) fn start_matrix(&mut self) {
        for counter in &mut self.base {
            *counter = Counter::new(counter.p(), counter.n().min(CARRIED_COUNT));
        }
    }

    /// Codes one decision of the given kind and learns it.
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        kind: usize,
        evidence: &Evidence,
        bit: bool,
    ) -> bool {
        let mut inputs = [0; N_INPUTS];
        let base = self.base[kind].p();
        let base_logit = stretch(base);
        inputs[0] = base_logit;
        inputs[1..=N_FEATURES].copy_from_slice(&evidence.features);
        let slot = |i: usize| (kind * N_CONTEXTS + i) * CONTEXT_SIZE + evidence.contexts[i];
        for (i, pair) in inputs[1 + N_FEATURES..].chunks_exact_mut(2).enumerate() {
            let counter = &mut self.counters[slot(i)];
            let n = counter.n() as i32;
            if n == 0 {
                // The first decision in a context is the order-0 guess.
                *counter = Counter::new(base, 0);
                continue;
            }
            // What the context says, and the same weighed by how much it has seen: with so few
            // data the mixer needs to know.
            let ahead = stretch(counter.p()) - base_logit;
            pair[0] = ahead;
            pair[1] = ahead * (2 * n) / (2 * n + 5);
        }
        let group = kind.min(N_GROUPS - 1) * SELECTOR_SIZE;
        let sets = evidence.selectors.map(|selector| group + selector);
        let mut mixed = [0; N_MIXERS];
        for ((mixer, &set), logit) in self.mixers.iter().zip(&sets).zip(&mut mixed) {
            *logit = mixer.mix(set, &inputs);
        }
        let p_one = squash(self.last.mix(kind, &mixed));
        let bit = coder.code(bit, p_one);

        self.last.update(kind, &mixed, p_one, bit);
        for ((mixer, &set), &logit) in self.mixers.iter_mut().zip(&sets).zip(&mixed) {
            mixer.update(set, &inputs, squash(logit), bit);
        }
        for i in 0..N_CONTEXTS {
            self.counters[slot(i)].update(bit, Counter::MAX_LIMIT);
        }
        self.base[kind].update(bit, Counter::MAX_LIMIT);
        bit
    }

    /// Codes `value`, at most `max`, as an Exp-Golomb code with an adaptive prefix.
    pub(super) fn code_escape<C: Coder>(&mut self, coder: &mut C, value: u32, max: u32) -> u32 {
        let max_bits = (u64::from(max) + 1).ilog2();
        let plus_one = u64::from(value) + 1;
        let mut n_bits = 0;
        while n_bits < max_bits {
            let counter = &mut self.prefix[n_bits as usize];
            let more = coder.code(plus_one.ilog2() > n_bits, counter.p());
            counter.update(more, 255);
            if !more {
                break;
            }
            n_bits += 1;
        }
        let mut decoded = 1u64;
        for i in (0..n_bits).rev() {
            decoded = decoded << 1 | u64::from(coder.code(plus_one >> i & 1 == 1, HALF));
        }
        // Corrupt bytes may exceed `max`, which the caller checks, but not 32 bits.
        (decoded - 1).min(u64::from(u32::MAX)) as u32
    }
}
