//! Operators whose attributes are in the Graph.

use bantam_core::op::conv::Depth;
use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::index::Combine;
use bantam_core::op::layout::Fill;
use bantam_core::op::recurrent::{Activation, Cell, Direction};
use bantam_core::op::resample::{Filter, Outside, Round};
use bantam_core::op::window::WindowKind;
use bantam_core::op::{
    Binary, Conv, ConvRole, Dropout, Find, Index, Layout, Logic, MatMul, NormRole, Op, Pool,
    PoolKind, Recurrent, Reduce, ReduceKind, Resample, Window,
};
use bantam_core::{Data, Node, Tensor};

use super::{Attr, Attrs, Form, Writer, code, no_form};
use crate::Result;

fn ints(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|&v| v as i64).collect())
}

fn flag(on: bool) -> Attr {
    Attr::Int(i64::from(on))
}

impl Writer<'_> {
    pub(super) fn plain(&mut self, node: &Node) -> Result<Form> {
        Ok(match &node.op {
            Op::Dense(_) => Form::with("Gemm", vec![("transB", Attr::Int(1))]),
            Op::MatMul(m) if m.transpose_a || m.transpose_b => self.turned(node, m),
            Op::MatMul(_) => Form::new("MatMul"),
            Op::Conv(conv) => self.conv(node, conv)?,
            Op::Pool(pool) => pooling(node, pool)?,
            Op::Window(window) => windows(window),
            Op::BatchNorm(norm) if norm.role == NormRole::Inference => Form::with(
                "BatchNormalization",
                vec![
                    ("epsilon", Attr::Float(norm.epsilon)),
                    ("momentum", Attr::Float(norm.momentum)),
                ],
            ),
            // Nothing of the running statistics, so that those of the batch come out.
            Op::BatchNorm(norm) if norm.role == NormRole::Training => {
                let [x, gamma, beta] = [0, 1, 2].map(|i| self.name(node.inputs[i]));
                let old = [gamma.clone(), gamma.clone()];
                let a = vec![
                    ("epsilon", Attr::Float(norm.epsilon)),
                    ("momentum", Attr::Float(0.0)),
                    ("training_mode", Attr::Int(1)),
                ];
                let inputs = [vec![x, gamma, beta], old.to_vec()].concat();
                Form::with("BatchNormalization", a).reading(inputs)
            }
            Op::Unary(u) if !u.grad => self.unary(node, u.kind),
            Op::Binary(Binary::Mod) => Form::new("Mod"),
            Op::Binary(Binary::Rem) => Form::with("Mod", vec![("fmod", Attr::Int(1))]),
            Op::Binary(_) => Form::new(node.op.name()),
            Op::Softmax(s) if !s.grad => {
                Form::with(node.op.name(), vec![("axis", Attr::Int(s.axis))])
            }
            Op::Reduce(Reduce::Axes {
                kind,
                axes,
                keep_dims,
            }) => self.reduce(node, *kind, axes, *keep_dims),
            Op::Layout(layout) => self.layout(node, layout)?,
            Op::Gather(g) if !g.grad => Form::with("Gather", vec![("axis", Attr::Int(g.axis))]),
            Op::Dropout(Dropout::Identity { ratio }) => {
                let ratio = self.constant(&node.name, &Tensor::scalar(*ratio));
                Form::new("Dropout").reading([self.names(&node.inputs), vec![ratio]].concat())
            }
            Op::Cast(cast) => Form::with("Cast", vec![("to", Attr::Int(code(cast.to)))]),
            Op::Logic(logic) => logical(*logic, node.op.name()),
            Op::Select(_) => Form::new("Where"),
            Op::Quantize(q) => Form::with(node.op.name(), vec![("axis", Attr::Int(q.axis))]),
            Op::Index(index) => self.index(node, index),
            Op::Cumulative(c) => {
                let axis = self.constant(&node.name, &Tensor::scalar(c.axis));
                let a = vec![
                    ("exclusive", flag(c.exclusive)),
                    ("reverse", flag(c.reverse)),
                ];
                Form::with(node.op.name(), a)
                    .reading([self.names(&node.inputs), vec![axis]].concat())
            }
            Op::Recurrent(r) => self.recurrent(node, r),
            Op::Resample(r) => resample(node, r)?,
            Op::Find(find) => self.find(node, *find),
            Op::BatchNorm(_)
            | Op::Unary(_)
            | Op::Softmax(_)
            | Op::Reduce(_)
            | Op::Gather(_)
            | Op::Dropout(_)
            | Op::Loss(_) => return Err(no_form(node)),
            Op::Late(_) | Op::Control(_) => unreachable!("written elsewhere"),
        })
    }

    /// A product of turned matrices: one operator for two axes each, else the turning stands before it.
    fn turned(&mut self, node: &Node, m: &MatMul) -> Form {
        let turned = [m.transpose_a, m.transpose_b];
        let ranks = [0, 1].map(|i| self.ranks[node.inputs[i].index()]);
        let unknown = (0..2).any(|i| turned[i] && ranks[i].is_none());
        if unknown || ranks.iter().all(|r| r.is_none_or(|r| r == 2)) {
            let [a, b] = turned.map(flag);
            return Form::with("Gemm", vec![("transA", a), ("transB", b)]);
        }
        let mut inputs = self.names(&node.inputs);
        for i in 0..2 {
            let Some(rank) = ranks[i].filter(|&r| turned[i] && r > 1) else {
                continue;
            };
            let mut order: Vec<i64> = (0..rank as i64).collect();
            order.swap(rank - 2, rank - 1);
            let name = self.fresh(&format!("{}.turned", inputs[i]));
            let form = Form::with("Transpose", vec![("perm", Attr::Ints(order))]);
            let (from, to) = (inputs[i].clone(), std::slice::from_ref(&name));
            self.emit(form, &[from], to, &name);
            inputs[i] = name;
        }
        Form::new("MatMul").reading(inputs)
    }

    fn unary(&mut self, node: &Node, kind: UnaryKind) -> Form {
        match kind {
            UnaryKind::Relu6 => {
                let dtype = self.dtype(node.inputs[0]);
                let [low, high] = [0.0, 6.0].map(|v| {
                    let t =
                        Tensor::from_data(&[], Data::F64(vec![v]).cast(dtype)).expect("one value");
                    self.constant(&node.name, &t)
                });
                Form::new("Clip").reading([self.names(&node.inputs), vec![low, high]].concat())
            }
            UnaryKind::LeakyRelu { alpha } | UnaryKind::Elu { alpha } => {
                Form::with(node.op.name(), vec![("alpha", Attr::Float(alpha))])
            }
            _ => Form::new(node.op.name()),
        }
    }

    fn reduce(&mut self, node: &Node, kind: ReduceKind, axes: &[i64], keep_dims: bool) -> Form {
        let (op, last) = match kind {
            ReduceKind::ArgMaxLast => ("ArgMax", true),
            ReduceKind::ArgMinLast => ("ArgMin", true),
            _ => (node.op.name(), false),
        };
        let mut a = vec![("keepdims", flag(keep_dims))];
        if kind.is_index() {
            a.push(("axis", Attr::Int(axes[0])));
            if last {
                a.push(("select_last_index", Attr::Int(1)));
            }
            return Form::with(op, a);
        }
        // Operator set 20: the axes are an input of every reduction.
        let mut inputs = self.names(&node.inputs);
        if !axes.is_empty() {
            inputs.push(self.ints(&node.name, axes));
        }
        Form::with(op, a).reading(inputs)
    }

    fn conv(&mut self, node: &Node, conv: &Conv) -> Result<Form> {
        // Of how many axes it is, the weights say; what is computed is of two unless it must be three.
        let axes = match self.rank(node.inputs[1]) {
            Some(rank) => rank - 2,
            None if conv.depth != Depth::default() => 3,
            None => 2,
        };
        let depth = conv.depth;
        let pick = |first: usize, rest: [usize; 2]| ints(&[first, rest[0], rest[1]][3 - axes..]);
        let [top, left, bottom, right] = conv.padding;
        let [front, back] = depth.padding;
        let pads = [
            &[front, top, left][3 - axes..],
            &[back, bottom, right][3 - axes..],
        ];
        let plain = Conv::default();
        let mut a: Attrs = Vec::new();
        // What is as usual is left out, and with it how many axes there are.
        if (depth.stride, conv.stride) != (1, plain.stride) {
            a.push(("strides", pick(depth.stride, conv.stride)));
        }
        if (depth.padding, conv.padding) != ([0; 2], plain.padding) {
            a.push(("pads", ints(&pads.concat())));
        }
        if (depth.dilation, conv.dilation) != (1, plain.dilation) {
            a.push(("dilations", pick(depth.dilation, conv.dilation)));
        }
        a.push(("group", Attr::Int(conv.groups as i64)));
        match conv.role {
            ConvRole::Forward => Ok(Form::with("Conv", a)),
            ConvRole::Transposed { extra } => {
                a.push(("output_padding", pick(depth.extra, extra)));
                Ok(Form::with("ConvTranspose", a))
            }
            ConvRole::GradInput | ConvRole::GradWeight => Err(no_form(node)),
        }
    }

    fn layout(&mut self, node: &Node, layout: &Layout) -> Result<Form> {
        let mut inputs = self.names(&node.inputs);
        let stem = node.name.as_str();
        let sizes = |list: &[usize]| list.iter().map(|&d| d as i64).collect::<Vec<_>>();
        let pads = |p: &[[usize; 2]]| {
            p.iter()
                .map(|p| p[0] as i64)
                .chain(p.iter().map(|p| p[1] as i64))
                .collect::<Vec<_>>()
        };
        Ok(match layout {
            Layout::Reshape { shape } => {
                inputs.push(self.ints(stem, shape));
                Form::new("Reshape").reading(inputs)
            }
            Layout::ReshapeLike => {
                let shape = self.fresh(stem);
                self.emit(
                    Form::new("Shape"),
                    &inputs[1..],
                    std::slice::from_ref(&shape),
                    &shape,
                );
                Form::with("Reshape", vec![("allowzero", Attr::Int(1))])
                    .reading(vec![inputs[0].clone(), shape])
            }
            Layout::Transpose { permutation } => {
                Form::with("Transpose", vec![("perm", ints(permutation))])
            }
            Layout::Slice { ranges } => {
                let all: Vec<i64> = (0..ranges.len() as i64).collect();
                let lists = [
                    ranges.iter().map(|r| r.start).collect(),
                    ranges.iter().map(|r| r.end).collect(),
                    all,
                    ranges.iter().map(|r| r.step as i64).collect::<Vec<_>>(),
                ];
                for list in &lists {
                    inputs.push(self.ints(stem, list));
                }
                Form::new("Slice").reading(inputs)
            }
            Layout::Concat { axis } => Form::with("Concat", vec![("axis", Attr::Int(*axis))]),
            Layout::Pad { padding, value } => {
                inputs.push(self.ints(stem, &pads(padding)));
                let value = Data::F32(vec![*value]).cast(self.dtype(node.inputs[0]));
                inputs.push(self.constant(stem, &Tensor::from_data(&[], value)?));
                Form::new("Pad").reading(inputs)
            }
            Layout::Extend { padding, fill } => {
                inputs.push(self.ints(stem, &pads(padding)));
                Form::with("Pad", vec![("mode", Attr::Text(fill_name(*fill)))]).reading(inputs)
            }
            Layout::Expand { shape } => {
                inputs.push(self.ints(stem, &sizes(shape)));
                Form::new("Expand").reading(inputs)
            }
            Layout::Tile { repeats } => {
                inputs.push(self.ints(stem, &sizes(repeats)));
                Form::new("Tile").reading(inputs)
            }
            Layout::Reverse { axes } => {
                let n = axes.len();
                for list in [vec![-1; n], vec![i64::MIN + 1; n], sizes(axes), vec![-1; n]] {
                    inputs.push(self.ints(stem, &list));
                }
                Form::new("Slice").reading(inputs)
            }
            Layout::Triangle { upper, diagonal } => {
                inputs.push(self.constant(stem, &Tensor::scalar(*diagonal)));
                Form::with("Trilu", vec![("upper", flag(*upper))]).reading(inputs)
            }
            Layout::SliceGrad { .. } | Layout::ConcatGrad { .. } => return Err(no_form(node)),
        })
    }

    fn index(&mut self, node: &Node, index: &Index) -> Form {
        let combine = |c: Combine| {
            let name = match c {
                Combine::Replace => "none",
                Combine::Add => "add",
                Combine::Mul => "mul",
                Combine::Max => "max",
                Combine::Min => "min",
            };
            ("reduction", Attr::Text(name))
        };
        match *index {
            Index::Elements { axis } => {
                Form::with("GatherElements", vec![("axis", Attr::Int(axis))])
            }
            Index::Tuples { batch } => {
                Form::with("GatherND", vec![("batch_dims", Attr::Int(batch as i64))])
            }
            Index::PutElements { axis, combine: c } => Form::with(
                "ScatterElements",
                vec![("axis", Attr::Int(axis)), combine(c)],
            ),
            Index::PutTuples { combine: c } => Form::with("ScatterND", vec![combine(c)]),
            Index::Top { k, axis, largest } => {
                let k = self.ints(&node.name, &[k as i64]);
                let a = vec![("axis", Attr::Int(axis)), ("largest", flag(largest))];
                Form::with("TopK", a).reading([self.names(&node.inputs), vec![k]].concat())
            }
        }
    }

    fn recurrent(&mut self, node: &Node, r: &Recurrent) -> Form {
        let mut names = Vec::new();
        let (mut alphas, mut betas) = (Vec::new(), Vec::new());
        for a in &r.activations {
            let (name, alpha, beta) = match *a {
                Activation::Sigmoid => ("Sigmoid", None, None),
                Activation::Tanh => ("Tanh", None, None),
                Activation::Relu => ("Relu", None, None),
                Activation::Softsign => ("Softsign", None, None),
                Activation::Softplus => ("Softplus", None, None),
                Activation::Affine { alpha, beta } => ("Affine", Some(alpha), Some(beta)),
                Activation::LeakyRelu { alpha } => ("LeakyRelu", Some(alpha), None),
                Activation::ThresholdedRelu { alpha } => ("ThresholdedRelu", Some(alpha), None),
                Activation::ScaledTanh { alpha, beta } => ("ScaledTanh", Some(alpha), Some(beta)),
                Activation::HardSigmoid { alpha, beta } => ("HardSigmoid", Some(alpha), Some(beta)),
                Activation::Elu { alpha } => ("Elu", Some(alpha), None),
            };
            names.push(name);
            alphas.extend(alpha);
            betas.extend(beta);
        }
        let direction = match r.direction {
            Direction::Forward => "forward",
            Direction::Reverse => "reverse",
            Direction::Both => "bidirectional",
        };
        let mut a = vec![
            ("direction", Attr::Text(direction)),
            ("activations", Attr::Texts(names)),
        ];
        if !alphas.is_empty() {
            a.push(("activation_alpha", Attr::Floats(alphas)));
        }
        if !betas.is_empty() {
            a.push(("activation_beta", Attr::Floats(betas)));
        }
        if let Some(clip) = r.clip {
            a.push(("clip", Attr::Float(clip)));
        }
        if r.input_forget {
            a.push(("input_forget", Attr::Int(1)));
        }
        if (r.cell
            == Cell::Gru {
                linear_before_reset: true,
            })
        {
            a.push(("linear_before_reset", Attr::Int(1)));
        }
        let stored = self.graph.parameters().iter();
        let weights = stored.filter(|p| p.value == node.inputs[2]);
        let of_weights = weights.map(|p| p.weight.shape()[2]).next();
        if let Some(units) = r.units.or(of_weights) {
            a.push(("hidden_size", Attr::Int(units as i64)));
        }
        Form::with(node.op.name(), a)
    }

    fn find(&mut self, node: &Node, find: Find) -> Form {
        let along = |axis: Option<i64>| axis.map(|axis| ("axis", Attr::Int(axis)));
        match find {
            Find::NonZero => Form::new("NonZero"),
            Find::Compress { axis } => Form::with("Compress", along(axis).into_iter().collect()),
            Find::Unique { axis, sorted } => {
                let a = along(axis).into_iter().chain([("sorted", flag(sorted))]);
                Form::with("Unique", a.collect())
            }
            Find::NonMaxSuppression { centre } => {
                let _ = node;
                Form::with(
                    "NonMaxSuppression",
                    vec![("center_point_box", flag(centre))],
                )
            }
        }
    }
}

pub(super) fn fill_name(fill: Fill) -> &'static str {
    match fill {
        Fill::Constant => "constant",
        Fill::Reflect => "reflect",
        Fill::Edge => "edge",
        Fill::Wrap => "wrap",
    }
}

fn pooling(node: &Node, pool: &Pool) -> Result<Form> {
    let (global, windows) = match (pool.kind, pool.grad) {
        (_, true) => return Err(no_form(node)),
        (PoolKind::Max, _) => ("GlobalMaxPool", "MaxPool"),
        (PoolKind::Average { .. }, _) => ("GlobalAveragePool", "AveragePool"),
    };
    let Some(kernel) = pool.kernel else {
        return Ok(Form::new(global));
    };
    let mut a = vec![
        ("kernel_shape", ints(&kernel)),
        ("strides", ints(&pool.stride)),
        ("pads", ints(&pool.padding)),
    ];
    if let PoolKind::Average { count_include_pad } = pool.kind {
        a.push(("count_include_pad", flag(count_include_pad)));
    }
    Ok(Form::with(windows, a))
}

fn windows(window: &Window) -> Form {
    let pads: Vec<usize> = [0, 1]
        .iter()
        .flat_map(|&end| window.padding.iter().map(move |p| p[end]))
        .collect();
    let mut a = vec![
        ("kernel_shape", ints(&window.kernel)),
        ("strides", ints(&window.stride)),
        ("pads", ints(&pads)),
        ("dilations", ints(&window.dilation)),
        ("ceil_mode", flag(window.ceil)),
    ];
    let op = match window.kind {
        WindowKind::Max { column_major } => {
            a.push(("storage_order", flag(column_major)));
            "MaxPool"
        }
        WindowKind::Average { count_include_pad } => {
            a.push(("count_include_pad", flag(count_include_pad)));
            "AveragePool"
        }
        WindowKind::Lp { p } => {
            a.push(("p", Attr::Int(i64::from(p))));
            "LpPool"
        }
    };
    Form::with(op, a)
}

fn logical(logic: Logic, name: &'static str) -> Form {
    match logic {
        Logic::ShiftLeft => Form::with("BitShift", vec![("direction", Attr::Text("LEFT"))]),
        Logic::ShiftRight => Form::with("BitShift", vec![("direction", Attr::Text("RIGHT"))]),
        Logic::IsInf { positive, negative } => Form::with(
            "IsInf",
            vec![
                ("detect_positive", flag(positive)),
                ("detect_negative", flag(negative)),
            ],
        ),
        _ => Form::new(name),
    }
}

pub(super) fn filter(filter: Filter) -> Attrs {
    match filter {
        Filter::Nearest(round) => {
            let name = match round {
                Round::PreferFloor => "round_prefer_floor",
                Round::PreferCeil => "round_prefer_ceil",
                Round::Floor => "floor",
                Round::Ceil => "ceil",
            };
            vec![
                ("mode", Attr::Text("nearest")),
                ("nearest_mode", Attr::Text(name)),
            ]
        }
        Filter::Linear => vec![("mode", Attr::Text("linear"))],
        Filter::Cubic(a) => vec![
            ("mode", Attr::Text("cubic")),
            ("cubic_coeff_a", Attr::Float(a)),
        ],
    }
}

fn resample(node: &Node, r: &Resample) -> Result<Form> {
    Ok(match r {
        // Its sizes are for one size of input.
        Resample::Resize(_) => return Err(no_form(node)),
        Resample::Grid {
            filter,
            outside,
            align_corners,
        } => {
            let mode = match filter {
                Filter::Nearest(_) => "nearest",
                Filter::Linear => "linear",
                Filter::Cubic(_) => "cubic",
            };
            let padding = match outside {
                Outside::Zeros => "zeros",
                Outside::Border => "border",
                Outside::Reflection => "reflection",
            };
            let a = vec![
                ("mode", Attr::Text(mode)),
                ("padding_mode", Attr::Text(padding)),
                ("align_corners", flag(*align_corners)),
            ];
            Form::with("GridSample", a)
        }
        Resample::Regions {
            size,
            max,
            samples,
            scale,
            half_pixel,
        } => {
            let mode = if *half_pixel {
                "half_pixel"
            } else {
                "output_half_pixel"
            };
            let a = vec![
                ("output_height", Attr::Int(size[0] as i64)),
                ("output_width", Attr::Int(size[1] as i64)),
                ("mode", Attr::Text(if *max { "max" } else { "avg" })),
                ("sampling_ratio", Attr::Int(*samples as i64)),
                ("spatial_scale", Attr::Float(*scale)),
                ("coordinate_transformation_mode", Attr::Text(mode)),
            ];
            Form::with("RoiAlign", a)
        }
    })
}
