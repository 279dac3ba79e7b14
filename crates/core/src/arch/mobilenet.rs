//! MobileNetV2 (Sandler et al., Inverted Residuals and Linear Bottlenecks, 2018).

use super::layers::{Layers, Window};
use crate::{Graph, Result};

const EPSILON: f32 = 1e-5;

/// Table 2: expansion, channels, blocks, stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// The network of width 1 for images of 224 x 224.
pub(super) fn v2(classes: usize) -> Result<Graph> {
    let mut l = Layers::new("mobilenet-v2", &[3, 224, 224]);
    l.conv("features.0.0", [32, 3, 3], Window::centred(3, 2));
    l.norm("features.0.1", 32, EPSILON);
    l.relu6("features.0.2");
    let (mut channels, mut at) = (32, 1);
    for (expansion, width, blocks, stride) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            inverted_residual(&mut l, at, [channels, width], expansion, stride);
            (channels, at) = (width, at + 1);
        }
    }
    l.conv("features.18.0", [1280, channels, 1], Window::PLAIN);
    l.norm("features.18.1", 1280, EPSILON);
    l.relu6("features.18.2");
    l.global_average("pool", 1280);
    l.dense("classifier.1", 1280, classes);
    l.finish()
}

/// A 1 x 1 convolution to more channels, one filter a channel, a 1 x 1 convolution back, and the
/// input added where it has the same shape.
fn inverted_residual(
    l: &mut Layers,
    at: usize,
    [from, to]: [usize; 2],
    expansion: usize,
    stride: usize,
) {
    let block = format!("features.{at}");
    let input = l.last;
    let hidden = from * expansion;
    let mut step = 0;
    if expansion > 1 {
        l.conv(
            &format!("{block}.conv.0.0"),
            [hidden, from, 1],
            Window::PLAIN,
        );
        l.norm(&format!("{block}.conv.0.1"), hidden, EPSILON);
        l.relu6(&format!("{block}.conv.0.2"));
        step = 1;
    }
    let window = Window::centred(3, stride).depthwise(hidden);
    l.conv(&format!("{block}.conv.{step}.0"), [hidden, 1, 3], window);
    l.norm(&format!("{block}.conv.{step}.1"), hidden, EPSILON);
    l.relu6(&format!("{block}.conv.{step}.2"));
    l.conv(
        &format!("{block}.conv.{}", step + 1),
        [to, hidden, 1],
        Window::PLAIN,
    );
    l.norm(&format!("{block}.conv.{}", step + 2), to, EPSILON);
    if stride == 1 && from == to {
        l.add(&format!("{block}.add"), input);
    }
}
