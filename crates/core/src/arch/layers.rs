//! A sequence of layers under construction.

use crate::op::elementwise::UnaryKind;
use crate::op::{BatchNorm, Binary, Conv, Dense, Layout, Pool, PoolKind, Unary};
use crate::{DType, Dim, Graph, GraphBuilder, Op, Result, Tensor, ValueId};

/// What a convolution does besides its filters.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) stride: usize,
    /// Top, left, bottom, right.
    pub(super) padding: [usize; 4],
    pub(super) groups: usize,
}

impl Window {
    /// Step 1, no padding.
    pub(super) const PLAIN: Window = Window {
        stride: 1,
        padding: [0; 4],
        groups: 1,
    };

    /// Steps of `stride` over an input padded so that windows of `kernel` sit on every cell.
    pub(super) fn centred(kernel: usize, stride: usize) -> Window {
        Window {
            stride,
            padding: [kernel / 2; 4],
            groups: 1,
        }
    }

    /// Padding as TensorFlow's `SAME`: what is odd goes to the bottom and the right. `side` is the
    /// size of the input.
    pub(super) fn same(kernel: usize, stride: usize, side: usize) -> Window {
        let covered = (side.div_ceil(stride) - 1) * stride + kernel;
        let padding = covered.saturating_sub(side);
        let (before, after) = (padding / 2, padding - padding / 2);
        Window {
            stride,
            padding: [before, before, after, after],
            groups: 1,
        }
    }

    /// One filter a channel.
    pub(super) fn depthwise(self, channels: usize) -> Window {
        Window {
            groups: channels,
            ..self
        }
    }
}

/// Layers one after the other; `last` is what the next one reads.
pub(super) struct Layers {
    b: GraphBuilder,
    pub(super) last: ValueId,
}

impl Layers {
    pub(super) fn new(name: &str, sample_shape: &[usize]) -> Layers {
        let mut b = GraphBuilder::new(name);
        let dims = std::iter::once(Dim::batch()).chain(sample_shape.iter().map(|&d| Dim::Fixed(d)));
        let last = b.input("x", DType::F32, dims.collect());
        Layers { b, last }
    }

    fn zeros(&mut self, name: &str, shape: &[usize]) -> ValueId {
        self.b.weight(name, Tensor::zeros(DType::F32, shape))
    }

    pub(super) fn dense(&mut self, name: &str, inputs: usize, outputs: usize) {
        let w = self.zeros(&format!("{name}.weight"), &[outputs, inputs]);
        let bias = self.zeros(&format!("{name}.bias"), &[outputs]);
        self.last = self.b.node(name, Op::Dense(Dense), &[self.last, w, bias]);
    }

    /// A convolution with filters `[out, in / groups, k, k]`, without bias.
    pub(super) fn conv(&mut self, name: &str, filters: [usize; 3], window: Window) {
        let w = self.filters(name, filters);
        self.last = self.b.node(name, window_op(window), &[self.last, w]);
    }

    pub(super) fn conv_with_bias(&mut self, name: &str, filters: [usize; 3], window: Window) {
        let w = self.filters(name, filters);
        let bias = self.zeros(&format!("{name}.bias"), &filters[..1]);
        self.last = self.b.node(name, window_op(window), &[self.last, w, bias]);
    }

    fn filters(&mut self, name: &str, [outputs, inputs, k]: [usize; 3]) -> ValueId {
        self.zeros(&format!("{name}.weight"), &[outputs, inputs, k, k])
    }

    /// Batch normalisation with stored statistics.
    pub(super) fn norm(&mut self, name: &str, channels: usize, epsilon: f32) {
        let ones = || Tensor::new(&[channels], vec![1f32; channels]).expect("as many as channels");
        let zeros = || Tensor::zeros(DType::F32, &[channels]);
        let of = |what: &str| format!("{name}.{what}");
        let inputs = [
            self.last,
            self.b.weight(&of("weight"), ones()),
            self.b.weight(&of("bias"), zeros()),
            self.b.constant(&of("running_mean"), zeros()),
            self.b.constant(&of("running_var"), ones()),
        ];
        let op = BatchNorm {
            epsilon,
            ..BatchNorm::default()
        };
        self.last = self.b.node(name, Op::BatchNorm(op), &inputs);
    }

    pub(super) fn then(&mut self, name: &str, op: Op) {
        self.last = self.b.node(name, op, &[self.last]);
    }

    pub(super) fn relu(&mut self, name: &str) {
        self.then(name, Op::Unary(Unary::new(UnaryKind::Relu)));
    }

    pub(super) fn relu6(&mut self, name: &str) {
        self.then(name, Op::Unary(Unary::new(UnaryKind::Relu6)));
    }

    pub(super) fn max_pool(&mut self, name: &str, kernel: usize, stride: usize, padding: usize) {
        let pool = Pool {
            stride: [stride; 2],
            padding: [padding; 4],
            ..Pool::windows(PoolKind::Max, [kernel; 2])
        };
        self.then(name, Op::Pool(pool));
    }

    /// The mean of each channel, `[n, c]`.
    pub(super) fn global_average(&mut self, name: &str, channels: usize) {
        let kind = PoolKind::Average {
            count_include_pad: false,
        };
        self.then(name, Op::Pool(Pool::global(kind)));
        self.flatten("flatten", channels);
    }

    pub(super) fn flatten(&mut self, name: &str, width: usize) {
        let shape = vec![0, width as i64];
        self.then(name, Op::Layout(Layout::Reshape { shape }));
    }

    pub(super) fn layout(&mut self, name: &str, layout: Layout) {
        self.then(name, Op::Layout(layout));
    }

    /// Adds `other` to what is last.
    pub(super) fn add(&mut self, name: &str, other: ValueId) {
        self.last = self
            .b
            .node(name, Op::Binary(Binary::Add), &[self.last, other]);
    }

    pub(super) fn finish(mut self) -> Result<Graph> {
        self.b.output(self.last);
        self.b.finish()
    }
}

fn window_op(window: Window) -> Op {
    Op::Conv(Conv {
        stride: [window.stride; 2],
        padding: window.padding,
        groups: window.groups,
        ..Conv::default()
    })
}
