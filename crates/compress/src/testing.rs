//! Small networks for tests.

use bantam_core::op::elementwise::{Unary, UnaryKind};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Tensor, ValueId};

pub(crate) use bantam_core::op::Dense;

/// A rectifier.
pub(crate) fn relu(b: &mut GraphBuilder, name: &str, x: ValueId) -> ValueId {
    b.node(name, Op::Unary(Unary::new(UnaryKind::Relu)), &[x])
}

/// Dense layers `fc0`, `fc1`, … of the given sizes with rectifiers between them.
pub(crate) fn mlp(
    sizes: &[usize],
    weights: impl Fn(usize) -> Vec<f32>,
    biases: impl Fn(usize) -> Vec<f32>,
) -> Graph {
    let mut b = GraphBuilder::new("mlp");
    let mut x = b.input("x", DType::F32, vec![Dim::batch(), Dim::Fixed(sizes[0])]);
    for (i, pair) in sizes.windows(2).enumerate() {
        let w = Tensor::new(&[pair[1], pair[0]], weights(i)).unwrap();
        let w = b.weight(&format!("fc{i}.weight"), w);
        let bias = Tensor::new(&[pair[1]], biases(i)).unwrap();
        let bias = b.weight(&format!("fc{i}.bias"), bias);
        x = b.node(&format!("fc{i}"), Op::Dense(Dense), &[x, w, bias]);
        if i + 2 < sizes.len() {
            x = relu(&mut b, &format!("relu{i}"), x);
        }
    }
    b.output(x);
    b.finish().unwrap()
}

/// The decoded values of a parameter.
pub(crate) fn values(graph: &Graph, name: &str) -> Vec<f32> {
    let p = graph.parameter(name).unwrap();
    p.weight.tensor().values::<f32>().unwrap().to_vec()
}

/// A fixed stream of numbers in `[-1, 1)` (SplitMix64).
pub(crate) struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// The next `n` numbers.
    pub(crate) fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}
