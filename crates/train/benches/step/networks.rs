//! The networks whose steps are timed.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::{BatchNorm, Binary, Conv, Dense, Layout, Pool, PoolKind, Unary};
use bantam_core::{DType, Dim, Graph, GraphBuilder, Op, Result, Tensor, ValueId, arch};

use super::CLASSES;

/// Names and networks, from small to large: the second peak of memory then does not hide behind the
/// first.
pub(super) fn all() -> [(&'static str, Result<Graph>); 4] {
    let resnet = arch::find("resnet20-cifar").expect("a known name");
    [
        (
            "mlp-784-300-100-10",
            arch::mlp("mlp", &[784], &[300, 100], CLASSES),
        ),
        ("lenet-5-caffe", arch::lenet_5_caffe(&[1, 28, 28], CLASSES)),
        ("resnet-20", resnet.graph(CLASSES)),
        ("inverted-residuals", inverted_residuals()),
    ]
}

/// Blocks of [`inverted_residuals`]: channels in and out, kernel, stride.
const BLOCKS: [[usize; 4]; 6] = [
    [16, 16, 3, 1],
    [16, 16, 5, 1],
    [16, 24, 3, 2],
    [24, 24, 5, 1],
    [24, 40, 7, 2],
    [40, 40, 7, 1],
];

/// Channels inside a block, for each that comes in.
const EXPANSION: usize = 6;

/// Six blocks of MobileNetV2 (Sandler et al. 2018, figure 3) for 32 x 32 images, with kernels of 3, 5 and
/// 7 as search spaces mix them: a 3 x 3 convolution to 16 channels, the blocks at 32 x 32, 16 x 16 and
/// 8 x 8 pixels, a 1 x 1 convolution to 160 channels, mean, dense. 96 to 240 channels are filtered one
/// by one.
fn inverted_residuals() -> Result<Graph> {
    let mut b = GraphBuilder::new("inverted-residuals");
    let dims = [3, 32, 32].map(Dim::Fixed);
    let dims = std::iter::once(Dim::batch()).chain(dims).collect();
    let mut net = Net {
        last: b.input("x", DType::F32, dims),
        b,
    };
    net.normed("stem", [3, 16, 3, 1], 1, true);
    for (i, [from, to, kernel, stride]) in BLOCKS.into_iter().enumerate() {
        let (input, inner) = (net.last, from * EXPANSION);
        let name = |part: &str| format!("block{i}.{part}");
        net.normed(&name("expand"), [from, inner, 1, 1], 1, true);
        net.normed(&name("filter"), [inner, inner, kernel, stride], inner, true);
        net.normed(&name("project"), [inner, to, 1, 1], 1, false);
        if stride == 1 && from == to {
            net.then(&name("add"), Op::Binary(Binary::Add), &[input]);
        }
    }
    net.normed("head", [40, 160, 1, 1], 1, true);
    let mean = PoolKind::Average {
        count_include_pad: false,
    };
    net.then("pool", Op::Pool(Pool::global(mean)), &[]);
    let shape = vec![0, 160];
    net.then("flatten", Op::Layout(Layout::Reshape { shape }), &[]);
    let w = net.weight("dense.weight", &[CLASSES, 160], 0.0);
    let bias = net.weight("dense.bias", &[CLASSES], 0.0);
    net.then("dense", Op::Dense(Dense), &[w, bias]);
    net.b.output(net.last);
    net.b.finish()
}

struct Net {
    b: GraphBuilder,
    last: ValueId,
}

impl Net {
    fn weight(&mut self, name: &str, shape: &[usize], value: f32) -> ValueId {
        self.b.weight(name, filled(shape, value))
    }

    fn then(&mut self, name: &str, op: Op, others: &[ValueId]) {
        let inputs: Vec<ValueId> = std::iter::once(self.last).chain(others.to_vec()).collect();
        self.last = self.b.node(name, op, &inputs);
    }

    /// A convolution without bias, batch normalisation and, if `clipped`, ReLU6.
    fn normed(&mut self, name: &str, size: [usize; 4], groups: usize, clipped: bool) {
        let [from, to, kernel, stride] = size;
        let filters = [to, from / groups, kernel, kernel];
        let w = self.weight(&format!("{name}.weight"), &filters, 0.0);
        let conv = Conv {
            stride: [stride; 2],
            padding: [kernel / 2; 4],
            groups,
            ..Conv::default()
        };
        self.then(name, Op::Conv(conv), &[w]);
        let of = |what: &str| format!("{name}.norm.{what}");
        let norm = [
            self.weight(&of("weight"), &[to], 1.0),
            self.weight(&of("bias"), &[to], 0.0),
            self.b.constant(&of("running_mean"), filled(&[to], 0.0)),
            self.b.constant(&of("running_var"), filled(&[to], 1.0)),
        ];
        let op = Op::BatchNorm(BatchNorm::default());
        self.then(&format!("{name}.norm"), op, &norm);
        if clipped {
            let op = Op::Unary(Unary::new(UnaryKind::Relu6));
            self.then(&format!("{name}.clip"), op, &[]);
        }
    }
}

fn filled(shape: &[usize], value: f32) -> Tensor {
    let values = vec![value; shape.iter().product()];
    Tensor::new(shape, values).expect("as many values as the shape has")
}
