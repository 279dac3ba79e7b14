//! Perceptrons and the LeNets.

use super::layers::{Layers, Window};
use crate::{Graph, Result};

/// A multi-layer perceptron with rectifiers: `sample_shape` is flattened, then the hidden layers,
/// then `outputs` logits or numbers.
pub fn mlp(name: &str, sample_shape: &[usize], hidden: &[usize], outputs: usize) -> Result<Graph> {
    let mut l = Layers::new(name, sample_shape);
    let mut width: usize = sample_shape.iter().product();
    if sample_shape.len() != 1 {
        l.flatten("flatten", width);
    }
    for (i, &units) in hidden.iter().enumerate() {
        l.dense(&format!("dense{}", i + 1), width, units);
        l.relu(&format!("relu{}", i + 1));
        width = units;
    }
    l.dense(&format!("dense{}", hidden.len() + 1), width, outputs);
    l.finish()
}

/// LeNet-5 as Caffe defined it, which the compression papers use: convolutions of 20 and 50 5×5
/// filters without rectifier, max-pooling by 2 after each, dense 500 with rectifier, dense
/// `outputs`. 430,500 weights and 580 biases for 28×28 grey images and 10 classes.
pub fn lenet_5_caffe(sample_shape: &[usize; 3], outputs: usize) -> Result<Graph> {
    let mut l = Layers::new("lenet-5-caffe", sample_shape);
    l.conv_with_bias("conv1", [20, sample_shape[0], 5], Window::PLAIN);
    l.max_pool("pool1", 2, 2, 0);
    l.conv_with_bias("conv2", [50, 20, 5], Window::PLAIN);
    l.max_pool("pool2", 2, 2, 0);
    let side = |d: usize| d.saturating_sub(4) / 2;
    let area = side(side(sample_shape[1])) * side(side(sample_shape[2]));
    l.flatten("flatten", 50 * area);
    l.dense("dense1", 50 * area, 500);
    l.relu("relu1");
    l.dense("dense2", 500, outputs);
    l.finish()
}
