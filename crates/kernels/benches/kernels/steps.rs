//! Whole training steps made of kernels: forward, loss, backward, SGD with momentum.

use bantam_kernels::{
    ConvShape, MatRef, PoolShape, SgdStep, conv, conv_grad_input, conv_grad_weight, cross_entropy,
    cross_entropy_grad, dense, map, matmul, max_pool, max_pool_grad, sgd, sum_axis, zip_map,
};

use crate::{BATCH, numbers};

const SGD: SgdStep = SgdStep {
    lr: 1e-3,
    momentum: 0.9,
    nesterov: false,
    weight_decay: 1e-4,
};

/// A parameter with its gradient and velocity.
struct Param {
    w: Vec<f32>,
    grad: Vec<f32>,
    velocity: Vec<f32>,
}

impl Param {
    fn new(len: usize, fan_in: usize) -> Self {
        let scale = (1.0 / fan_in as f32).sqrt();
        let w = numbers(len, len as u64).iter().map(|w| w * scale).collect();
        Param {
            w,
            grad: vec![0.0; len],
            velocity: vec![0.0; len],
        }
    }

    fn step(&mut self) {
        sgd(&SGD, &mut self.w, &self.grad, &mut self.velocity, None);
    }
}

/// A dense layer, with its output.
struct Dense {
    inputs: usize,
    outputs: usize,
    w: Param,
    bias: Param,
    y: Vec<f32>,
    dy: Vec<f32>,
}

impl Dense {
    fn new(inputs: usize, outputs: usize) -> Self {
        let (w, bias) = (
            Param::new(inputs * outputs, inputs),
            Param::new(outputs, inputs),
        );
        let (y, dy) = (vec![0.0; BATCH * outputs], vec![0.0; BATCH * outputs]);
        Dense {
            inputs,
            outputs,
            w,
            bias,
            y,
            dy,
        }
    }

    fn forward(&mut self, x: &[f32]) {
        dense(
            BATCH,
            self.inputs,
            self.outputs,
            x,
            &self.w.w,
            Some(&self.bias.w),
            &mut self.y,
        );
    }

    fn backward(&mut self, x: &[f32], dx: Option<&mut [f32]>) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (dy, x) = (
            MatRef::transposed(&self.dy, outputs),
            MatRef::row_major(x, inputs),
        );
        matmul(outputs, inputs, BATCH, dy, x, &mut self.w.grad, false);
        sum_axis(1, BATCH, outputs, &self.dy, &mut self.bias.grad);
        if let Some(dx) = dx {
            let dy = MatRef::row_major(&self.dy, outputs);
            let w = MatRef::row_major(&self.w.w, inputs);
            matmul(BATCH, inputs, outputs, dy, w, dx, false);
        }
        self.w.step();
        self.bias.step();
    }
}

fn relu(x: &[f32], y: &mut [f32]) {
    map(x, y, |x| if x > 0.0 { x } else { 0.0 });
}

/// `dx = dy` where the output `y` was positive.
fn relu_grad(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    zip_map(y, dy, dx, |y, dy| if y > 0.0 { dy } else { 0.0 });
}

/// Labels of a batch.
fn labels() -> Vec<i64> {
    (0..BATCH as i64).map(|i| i % 10).collect()
}

/// 784-300-100-10 with ReLU.
pub struct Mlp {
    x: Vec<f32>,
    labels: Vec<i64>,
    layers: [Dense; 3],
    hidden: [Vec<f32>; 2],
    dhidden: [Vec<f32>; 2],
}

impl Mlp {
    /// Operations of a step; the first layer has no gradient of its input.
    pub const OPS: usize = 2 * BATCH * (2 * 784 * 300 + 3 * (300 * 100 + 100 * 10));

    pub fn new() -> Self {
        let buffers = || [vec![0.0; BATCH * 300], vec![0.0; BATCH * 100]];
        Mlp {
            x: numbers(BATCH * 784, 1),
            labels: labels(),
            layers: [
                Dense::new(784, 300),
                Dense::new(300, 100),
                Dense::new(100, 10),
            ],
            hidden: buffers(),
            dhidden: buffers(),
        }
    }

    pub fn step(&mut self) -> f32 {
        let ([l0, l1, l2], [h0, h1], [dh0, dh1]) =
            (&mut self.layers, &mut self.hidden, &mut self.dhidden);
        l0.forward(&self.x);
        relu(&l0.y, h0);
        l1.forward(h0);
        relu(&l1.y, h1);
        l2.forward(h1);
        let loss = cross_entropy(BATCH, 10, &l2.y, &self.labels, 0.0);
        cross_entropy_grad(BATCH, 10, &l2.y, &self.labels, 0.0, 1.0, &mut l2.dy);
        l2.backward(h1, Some(dh1));
        relu_grad(h1, dh1, &mut l1.dy);
        l1.backward(h0, Some(dh0));
        relu_grad(h0, dh0, &mut l0.dy);
        l0.backward(&self.x, None);
        loss
    }
}

/// A convolution followed by max-pooling, with its outputs.
struct ConvPool {
    conv: ConvShape,
    pool: PoolShape,
    w: Param,
    bias: Param,
    y: Vec<f32>,
    dy: Vec<f32>,
    pooled: Vec<f32>,
    dpooled: Vec<f32>,
}

impl ConvPool {
    fn new(c_in: usize, size: usize, c_out: usize) -> Self {
        let (n, stride, dilation, groups) = (BATCH, [1; 2], [1; 2], 1);
        let (kernel, padding) = ([5; 2], [0; 4]);
        let conv = ConvShape {
            n,
            c_in,
            h: size,
            w: size,
            c_out,
            kernel,
            stride,
            padding,
            dilation,
            groups,
        };
        let (h, w, kernel, stride) = (conv.out_h(), conv.out_w(), [2; 2], [2; 2]);
        let pool = PoolShape {
            n,
            c: c_out,
            h,
            w,
            kernel,
            stride,
            padding,
        };
        ConvPool {
            conv,
            pool,
            w: Param::new(conv.w_len(), c_in * 25),
            bias: Param::new(c_out, c_in * 25),
            y: vec![0.0; conv.y_len()],
            dy: vec![0.0; conv.y_len()],
            pooled: vec![0.0; pool.y_len()],
            dpooled: vec![0.0; pool.y_len()],
        }
    }

    fn forward(&mut self, x: &[f32]) {
        conv(&self.conv, x, &self.w.w, Some(&self.bias.w), &mut self.y);
        max_pool(&self.pool, &self.y, &mut self.pooled);
    }

    fn backward(&mut self, x: &[f32], dx: Option<&mut [f32]>) {
        max_pool_grad(&self.pool, &self.y, &self.dpooled, &mut self.dy);
        conv_grad_weight(&self.conv, x, &self.dy, &mut self.w.grad);
        let (c, plane) = (self.conv.c_out, self.conv.out_h() * self.conv.out_w());
        // Sums over pixels, then over images.
        let mut sums = vec![0.0; BATCH * c];
        sum_axis(BATCH * c, plane, 1, &self.dy, &mut sums);
        sum_axis(1, BATCH, c, &sums, &mut self.bias.grad);
        if let Some(dx) = dx {
            conv_grad_input(&self.conv, &self.dy, &self.w.w, dx);
        }
        self.w.step();
        self.bias.step();
    }
}

/// LeNet-5 as Caffe has it: two convolutions with max-pooling, then 800-500-10 with one ReLU.
pub struct LeNet {
    x: Vec<f32>,
    labels: Vec<i64>,
    convs: [ConvPool; 2],
    layers: [Dense; 2],
    hidden: Vec<f32>,
    dhidden: Vec<f32>,
}

impl LeNet {
    /// Operations of a step; the first layer has no gradient of its input.
    pub const OPS: usize =
        2 * BATCH * (2 * 20 * 576 * 25 + 3 * (50 * 64 * 500 + 800 * 500 + 500 * 10));

    pub fn new() -> Self {
        LeNet {
            x: numbers(BATCH * 784, 1),
            labels: labels(),
            convs: [ConvPool::new(1, 28, 20), ConvPool::new(20, 12, 50)],
            layers: [Dense::new(800, 500), Dense::new(500, 10)],
            hidden: vec![0.0; BATCH * 500],
            dhidden: vec![0.0; BATCH * 500],
        }
    }

    pub fn step(&mut self) -> f32 {
        let ([c0, c1], [l0, l1]) = (&mut self.convs, &mut self.layers);
        c0.forward(&self.x);
        c1.forward(&c0.pooled);
        l0.forward(&c1.pooled);
        relu(&l0.y, &mut self.hidden);
        l1.forward(&self.hidden);
        let loss = cross_entropy(BATCH, 10, &l1.y, &self.labels, 0.0);
        cross_entropy_grad(BATCH, 10, &l1.y, &self.labels, 0.0, 1.0, &mut l1.dy);
        l1.backward(&self.hidden, Some(&mut self.dhidden));
        relu_grad(&self.hidden, &self.dhidden, &mut l0.dy);
        l0.backward(&c1.pooled, Some(&mut c1.dpooled));
        c1.backward(&c0.pooled, Some(&mut c0.dpooled));
        c0.backward(&self.x, None);
        loss
    }
}
