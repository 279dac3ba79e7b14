//! Encoders of text: the layers of BERT (Devlin et al. 2019, section 3), read as sentence-transformers
//! reads them (Reimers, Gurevych 2019, section 3).

use crate::op::elementwise::UnaryKind;
use crate::op::{Binary, Cast, Gather, Late, Layout, MatMul, Reduce, ReduceKind, Softmax, Unary};
use crate::{DType, Dim, Error, Graph, GraphBuilder, Op, Result, Tensor, ValueId};

/// Added to the variance of a layer normalisation, as BERT was trained.
const EPSILON: f32 = 1e-12;

/// How large an encoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderSize {
    /// Layers of attention and feed-forward.
    pub layers: usize,
    /// Numbers that stand for a word.
    pub width: usize,
    /// Heads of attention; the width is a multiple of it.
    pub heads: usize,
    /// Hidden units of the feed-forward layers.
    pub feed_forward: usize,
    /// Known pieces of words.
    pub vocabulary: usize,
    /// Most words of a text.
    pub positions: usize,
    /// Kinds of text that a word may belong to, such as a first and a second sentence.
    pub types: usize,
}

impl EncoderSize {
    /// MiniLM of 384 numbers a word (Wang et al. 2020, table 3), with the vocabulary of BERT.
    pub(super) const fn minilm(layers: usize) -> EncoderSize {
        EncoderSize {
            layers,
            width: 384,
            heads: 12,
            feed_forward: 1536,
            vocabulary: 30_522,
            positions: 512,
            types: 2,
        }
    }
}

/// An encoder in the form of BERT: normalisation after each sum, exact GELU.
///
/// Inputs, integers: `input_ids: [n, words]`, pieces of words by number; `attention_mask: [n, words]`, 1 for
/// words and 0 for padding; `token_type_ids: [n, words]`. Outputs: `last_hidden_state: [n, words, width]`, and
/// `sentence_embedding: [n, width]`, the mean over the words of each text with length 1. Weights are called as
/// in checkpoints of the library transformers.
///
/// Errs when the heads do not share the width evenly, or a size is 0.
pub fn bert_encoder(name: &str, size: EncoderSize) -> Result<Graph> {
    let sizes = [
        size.layers,
        size.heads,
        size.feed_forward,
        size.vocabulary,
        size.positions,
        size.types,
    ];
    if sizes.contains(&0) || size.width == 0 || !size.width.is_multiple_of(size.heads) {
        let (width, heads) = (size.width, size.heads);
        return Err(Error::attribute(format!(
            "expected sizes above 0 and a width that heads share evenly, found width {width}, {heads} heads"
        )));
    }
    let mut b = GraphBuilder::new(name);
    let words = Dim::Symbol("words".to_owned());
    let [ids, mask, types] = ["input_ids", "attention_mask", "token_type_ids"]
        .map(|name| b.input(name, DType::I64, vec![Dim::batch(), words.clone()]));
    let mut number = |name: &str, value: f32| b.constant(name, Tensor::scalar(value));
    let numbers = Numbers {
        epsilon: number("epsilon", EPSILON),
        root_two: number("root_two", std::f32::consts::SQRT_2),
        one: number("one", 1.0),
        half: number("half", 0.5),
        lowest: number("lowest", f32::MIN),
        scale: number("scale", 1.0 / ((size.width / size.heads) as f32).sqrt()),
    };
    let mut e = Encoder { b, size, numbers };
    let mask = e.node("mask", Op::Cast(Cast { to: DType::F32 }), &[mask]);
    let bias = e.mask_bias(mask);
    let mut x = e.embeddings(ids, types);
    for i in 0..size.layers {
        let last = i + 1 == size.layers;
        let out = if last { "last_hidden_state" } else { "" };
        x = e.layer(&format!("encoder.layer.{i}"), x, bias, out);
    }
    let sentence = e.pooled(x, mask);
    e.b.output(x);
    e.b.output(sentence);
    e.b.finish()
}

/// Numbers that the formulas have.
struct Numbers {
    epsilon: ValueId,
    root_two: ValueId,
    one: ValueId,
    half: ValueId,
    /// What is added to the scores of padding: the least number, as transformers does.
    lowest: ValueId,
    /// What products of queries and keys are scaled by (Vaswani et al. 2017, equation 1).
    scale: ValueId,
}

struct Encoder {
    b: GraphBuilder,
    size: EncoderSize,
    numbers: Numbers,
}

impl Encoder {
    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.b.node(name, op, inputs)
    }

    fn binary(&mut self, name: &str, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.node(name, Op::Binary(op), &[a, b])
    }

    fn unary(&mut self, name: &str, kind: UnaryKind, x: ValueId) -> ValueId {
        self.node(name, Op::Unary(Unary::new(kind)), &[x])
    }

    fn reshape(&mut self, name: &str, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = shape.to_vec();
        self.node(name, Op::Layout(Layout::Reshape { shape }), &[x])
    }

    fn transpose(&mut self, name: &str, x: ValueId, permutation: &[usize]) -> ValueId {
        let permutation = permutation.to_vec();
        self.node(name, Op::Layout(Layout::Transpose { permutation }), &[x])
    }

    fn reduce(
        &mut self,
        name: &str,
        kind: ReduceKind,
        x: ValueId,
        axis: i64,
        keep: bool,
    ) -> ValueId {
        let op = Reduce::Axes {
            kind,
            axes: vec![axis],
            keep_dims: keep,
        };
        self.node(name, Op::Reduce(op), &[x])
    }

    fn table(&mut self, name: &str, rows: usize) -> ValueId {
        let shape = [rows, self.size.width];
        self.b.weight(name, Tensor::zeros(DType::F32, &shape))
    }

    /// Rows of a table that `indices` name.
    fn rows(&mut self, name: &str, rows: usize, indices: ValueId) -> ValueId {
        let table = self.table(&format!("{name}.weight"), rows);
        let op = Gather {
            axis: 0,
            grad: false,
        };
        self.node(name, Op::Gather(op), &[table, indices])
    }

    /// A fully connected layer for every word: weights `[outputs, inputs]`.
    fn dense(&mut self, name: &str, x: ValueId, [inputs, outputs]: [usize; 2]) -> ValueId {
        let zeros = |shape: &[usize]| Tensor::zeros(DType::F32, shape);
        let w = self
            .b
            .weight(&format!("{name}.weight"), zeros(&[outputs, inputs]));
        let bias = self.b.weight(&format!("{name}.bias"), zeros(&[outputs]));
        let product = MatMul {
            transpose_b: true,
            ..MatMul::default()
        };
        let y = self.node(&format!("{name}.product"), Op::MatMul(product), &[x, w]);
        self.binary(name, Binary::Add, y, bias)
    }

    /// What is added to scores `[n, heads, words, words]`: 0 where there is a word, the least number where
    /// there is padding.
    fn mask_bias(&mut self, mask: ValueId) -> ValueId {
        let rest = self.binary("mask.padding", Binary::Sub, self.numbers.one, mask);
        let bias = self.binary("mask.lowest", Binary::Mul, rest, self.numbers.lowest);
        self.reshape("mask.bias", bias, &[0, 1, 1, -1])
    }

    /// Words, their places and what they belong to, summed and normalised.
    fn embeddings(&mut self, ids: ValueId, types: ValueId) -> ValueId {
        let size = self.size;
        let words = self.rows("embeddings.word_embeddings", size.vocabulary, ids);
        let places = self.table("embeddings.position_embeddings.weight", size.positions);
        let zero = || Tensor::new::<i64>(&[1], vec![0]).expect("one number");
        let (start, axis) = (
            self.b.constant("embeddings.first", zero()),
            self.b.constant("embeddings.axis", zero()),
        );
        let shape = Late::Shape { start: 1, end: 2 };
        let end = self.node("embeddings.words", Op::Late(shape), &[ids]);
        let slice = Late::Slice {
            axes: true,
            steps: false,
        };
        let places = self.node(
            "embeddings.position_embeddings",
            Op::Late(slice),
            &[places, start, end, axis],
        );
        let types = self.rows("embeddings.token_type_embeddings", size.types, types);
        let sum = self.binary("embeddings.placed", Binary::Add, words, places);
        let sum = self.binary("embeddings.sum", Binary::Add, sum, types);
        self.norm("embeddings.LayerNorm", sum, "")
    }

    /// Rows with mean 0 and variance 1, scaled and shifted (Ba et al. 2016, equation 4). The result is called
    /// `out`, or as the normalisation where that is empty.
    fn norm(&mut self, name: &str, x: ValueId, out: &str) -> ValueId {
        let of = |what: &str| format!("{name}.{what}");
        let width = self.size.width;
        let ones = Tensor::new(&[width], vec![1f32; width]).expect("as many as the width");
        let gamma = self.b.weight(&of("weight"), ones);
        let beta = self
            .b
            .weight(&of("bias"), Tensor::zeros(DType::F32, &[width]));
        let mean = self.reduce(&of("mean"), ReduceKind::Mean, x, -1, true);
        let centred = self.binary(&of("centred"), Binary::Sub, x, mean);
        let squares = self.binary(&of("squares"), Binary::Mul, centred, centred);
        let variance = self.reduce(&of("variance"), ReduceKind::Mean, squares, -1, true);
        let shifted = self.binary(&of("shifted"), Binary::Add, variance, self.numbers.epsilon);
        let deviation = self.unary(&of("deviation"), UnaryKind::Sqrt, shifted);
        let y = self.binary(&of("standard"), Binary::Div, centred, deviation);
        let y = self.binary(&of("scaled"), Binary::Mul, y, gamma);
        let out = if out.is_empty() { name } else { out };
        self.binary(out, Binary::Add, y, beta)
    }

    /// `x (1 + erf(x / √2)) / 2` (Hendrycks, Gimpel 2016).
    fn gelu(&mut self, name: &str, x: ValueId) -> ValueId {
        let of = |what: &str| format!("{name}.{what}");
        let y = self.binary(&of("by_root_two"), Binary::Div, x, self.numbers.root_two);
        let y = self.unary(&of("erf"), UnaryKind::Erf, y);
        let y = self.binary(&of("plus_one"), Binary::Add, y, self.numbers.one);
        let y = self.binary(&of("times_x"), Binary::Mul, x, y);
        self.binary(name, Binary::Mul, y, self.numbers.half)
    }

    /// One of queries, keys and values, by heads: `[n, words, width]` to `[n, heads, words, size]`, or with
    /// `turned` to `[n, heads, size, words]`.
    fn heads(&mut self, name: &str, x: ValueId, turned: bool) -> ValueId {
        let heads = self.size.heads as i64;
        let x = self.reshape(&format!("{name}.by_head"), x, &[0, 0, heads, -1]);
        let order = if turned { [0, 2, 3, 1] } else { [0, 2, 1, 3] };
        self.transpose(&format!("{name}.heads"), x, &order)
    }

    /// Attention of every word to all words (Vaswani et al. 2017, section 3.2).
    fn attention(&mut self, name: &str, x: ValueId, bias: ValueId) -> ValueId {
        let of = |what: &str| format!("{name}.{what}");
        let square = [self.size.width; 2];
        let [query, key, value] =
            ["query", "key", "value"].map(|what| self.dense(&of(what), x, square));
        // Fewer numbers than the scores are.
        let query = self.binary(&of("scaled"), Binary::Mul, query, self.numbers.scale);
        let query = self.heads(&of("query"), query, false);
        let key = self.heads(&of("key"), key, true);
        let value = self.heads(&of("value"), value, false);
        let product = || Op::MatMul(MatMul::default());
        let scores = self.node(&of("scores"), product(), &[query, key]);
        let scores = self.binary(&of("masked"), Binary::Add, scores, bias);
        let softmax = Softmax {
            axis: -1,
            log: false,
            grad: false,
        };
        let shares = self.node(&of("shares"), Op::Softmax(softmax), &[scores]);
        let y = self.node(&of("context"), product(), &[shares, value]);
        let y = self.transpose(&of("by_word"), y, &[0, 2, 1, 3]);
        self.reshape(name, y, &[0, 0, self.size.width as i64])
    }

    fn layer(&mut self, name: &str, x: ValueId, bias: ValueId, out: &str) -> ValueId {
        let of = |what: &str| format!("{name}.{what}");
        let (width, inner) = (self.size.width, self.size.feed_forward);
        let y = self.attention(&of("attention.self"), x, bias);
        let y = self.dense(&of("attention.output.dense"), y, [width; 2]);
        let y = self.binary(&of("attention.output.sum"), Binary::Add, y, x);
        let x = self.norm(&of("attention.output.LayerNorm"), y, "");
        let y = self.dense(&of("intermediate.dense"), x, [width, inner]);
        let y = self.gelu(&of("intermediate.gelu"), y);
        let y = self.dense(&of("output.dense"), y, [inner, width]);
        let y = self.binary(&of("output.sum"), Binary::Add, y, x);
        self.norm(&of("output.LayerNorm"), y, out)
    }

    /// The mean over the words of a text, divided by its length; both divisors have the least values that
    /// sentence-transformers gives them.
    fn pooled(&mut self, x: ValueId, mask: ValueId) -> ValueId {
        let least = |e: &mut Encoder, name: &str, x: ValueId, least: f32| {
            let bound =
                e.b.constant(&format!("{name}.least"), Tensor::scalar(least));
            e.binary(name, Binary::Max, x, bound)
        };
        let column = self.reshape("pooling.mask", mask, &[0, 0, 1]);
        let words = self.binary("pooling.words", Binary::Mul, x, column);
        let sum = self.reduce("pooling.sum", ReduceKind::Sum, words, 1, false);
        let count = self.reduce("pooling.count", ReduceKind::Sum, mask, 1, true);
        let count = least(self, "pooling.divisor", count, 1e-9);
        let mean = self.binary("pooling.mean", Binary::Div, sum, count);
        let squares = self.binary("pooling.squares", Binary::Mul, mean, mean);
        let square = self.reduce("pooling.square", ReduceKind::Sum, squares, -1, true);
        let length = self.unary("pooling.length", UnaryKind::Sqrt, square);
        let length = least(self, "pooling.scale", length, 1e-12);
        self.binary("sentence_embedding", Binary::Div, mean, length)
    }
}
