//! EfficientNet-Lite (Tan, Le 2019; the Lite form has neither squeeze nor swish).

use super::layers::{Layers, Window};
use crate::{Graph, Result};

const EPSILON: f32 = 1e-3;

/// Kernel, stride of the first, expansion, channels, blocks.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
];

/// Lite0, for images of 224 x 224. Padding is TensorFlow's, where the weights were trained.
pub(super) fn lite0(classes: usize) -> Result<Graph> {
    let mut l = Layers::new("efficientnet-lite0", &[3, 224, 224]);
    let mut side: usize = 224;
    l.conv("_conv_stem", [32, 3, 3], Window::same(3, 2, side));
    l.norm("_bn0", 32, EPSILON);
    l.relu6("_relu0");
    side = side.div_ceil(2);
    let (mut channels, mut at) = (32, 0);
    for (kernel, stride, expansion, width, blocks) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let name = format!("_blocks.{at}");
            let (input, hidden) = (l.last, channels * expansion);
            if expansion > 1 {
                l.conv(
                    &format!("{name}._expand_conv"),
                    [hidden, channels, 1],
                    Window::PLAIN,
                );
                l.norm(&format!("{name}._bn0"), hidden, EPSILON);
                l.relu6(&format!("{name}._relu0"));
            }
            let window = Window::same(kernel, stride, side).depthwise(hidden);
            l.conv(
                &format!("{name}._depthwise_conv"),
                [hidden, 1, kernel],
                window,
            );
            l.norm(&format!("{name}._bn1"), hidden, EPSILON);
            l.relu6(&format!("{name}._relu1"));
            l.conv(
                &format!("{name}._project_conv"),
                [width, hidden, 1],
                Window::PLAIN,
            );
            l.norm(&format!("{name}._bn2"), width, EPSILON);
            if stride == 1 && channels == width {
                l.add(&format!("{name}._add"), input);
            }
            side = side.div_ceil(stride);
            (channels, at) = (width, at + 1);
        }
    }
    l.conv("_conv_head", [1280, channels, 1], Window::PLAIN);
    l.norm("_bn1", 1280, EPSILON);
    l.relu6("_relu1");
    l.global_average("_pool", 1280);
    l.dense("_fc", 1280, classes);
    l.finish()
}
