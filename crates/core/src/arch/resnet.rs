//! Residual networks (He et al., Deep Residual Learning for Image Recognition, 2016).

use super::layers::{Layers, Window};
use crate::op::Layout;
use crate::op::layout::SliceRange;
use crate::{Graph, Result, ValueId};

const EPSILON: f32 = 1e-5;

/// The networks for CIFAR-10 of section 4.2: three stages of 16, 32 and 64 channels with `blocks`
/// blocks each. Shortcuts have no weights (option A): every other cell, and channels of zeros.
pub(super) fn cifar(name: &str, blocks: usize, classes: usize) -> Result<Graph> {
    let mut l = Layers::new(name, &[3, 32, 32]);
    l.conv("conv1", [16, 3, 3], Window::centred(3, 1));
    l.norm("bn1", 16, EPSILON);
    l.relu("relu1");
    let mut channels = 16;
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let at = format!("layer{}.{block}", stage + 1);
            let stride = if width != channels { 2 } else { 1 };
            let input = l.last;
            two_convolutions(&mut l, &at, [channels, width], stride);
            let body = l.last;
            let shortcut = match stride {
                1 => input,
                _ => thinned(&mut l, &at, input, [channels, width]),
            };
            l.last = body;
            l.add(&format!("{at}.add"), shortcut);
            l.relu(&format!("{at}.relu2"));
            channels = width;
        }
    }
    l.global_average("pool", 64);
    l.dense("linear", 64, classes);
    l.finish()
}

/// Every other row and column of `x`, between channels of zeros.
fn thinned(l: &mut Layers, at: &str, x: ValueId, [from, to]: [usize; 2]) -> ValueId {
    let every_other = SliceRange {
        step: 2,
        ..SliceRange::ALL
    };
    let ranges = vec![SliceRange::ALL, SliceRange::ALL, every_other, every_other];
    let before = (to - from) / 2;
    let mut padding = vec![[0; 2]; 4];
    padding[1] = [before, to - from - before];
    l.last = x;
    l.layout(&format!("{at}.shortcut.slice"), Layout::Slice { ranges });
    l.layout(
        &format!("{at}.shortcut.pad"),
        Layout::Pad {
            padding,
            value: 0.0,
        },
    );
    l.last
}

/// Two 3 x 3 convolutions, normalised, with a rectifier between.
fn two_convolutions(l: &mut Layers, at: &str, [from, to]: [usize; 2], stride: usize) {
    l.conv(
        &format!("{at}.conv1"),
        [to, from, 3],
        Window::centred(3, stride),
    );
    l.norm(&format!("{at}.bn1"), to, EPSILON);
    l.relu(&format!("{at}.relu1"));
    l.conv(&format!("{at}.conv2"), [to, to, 3], Window::centred(3, 1));
    l.norm(&format!("{at}.bn2"), to, EPSILON);
}

/// ResNet-18 and 34 for ImageNet.
pub(super) fn basic(name: &str, blocks: [usize; 4], classes: usize) -> Result<Graph> {
    imagenet(name, blocks, 1, classes, |l, at, [from, width], stride| {
        two_convolutions(l, at, [from, width], stride);
    })
}

/// ResNet-50, 101 and 152 for ImageNet, with the stride on the 3 x 3 convolution as PyTorch has it.
pub(super) fn bottleneck(name: &str, blocks: [usize; 4], classes: usize) -> Result<Graph> {
    imagenet(name, blocks, 4, classes, |l, at, [from, width], stride| {
        l.conv(&format!("{at}.conv1"), [width, from, 1], Window::PLAIN);
        l.norm(&format!("{at}.bn1"), width, EPSILON);
        l.relu(&format!("{at}.relu1"));
        l.conv(
            &format!("{at}.conv2"),
            [width, width, 3],
            Window::centred(3, stride),
        );
        l.norm(&format!("{at}.bn2"), width, EPSILON);
        l.relu(&format!("{at}.relu2"));
        l.conv(&format!("{at}.conv3"), [4 * width, width, 1], Window::PLAIN);
        l.norm(&format!("{at}.bn3"), 4 * width, EPSILON);
    })
}

/// Table 1: a stem, four stages, mean, dense. `body` is what a block adds to its shortcut, from the
/// channels it is given to `expansion` times its width.
fn imagenet(
    name: &str,
    blocks: [usize; 4],
    expansion: usize,
    classes: usize,
    body: impl Fn(&mut Layers, &str, [usize; 2], usize),
) -> Result<Graph> {
    let mut l = Layers::new(name, &[3, 224, 224]);
    l.conv("conv1", [64, 3, 7], Window::centred(7, 2));
    l.norm("bn1", 64, EPSILON);
    l.relu("relu");
    l.max_pool("maxpool", 3, 2, 1);
    let mut channels = 64;
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..blocks[stage] {
            let at = format!("layer{}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let input = l.last;
            body(&mut l, &at, [channels, width], stride);
            let out = l.last;
            let mut shortcut = input;
            if stride > 1 || channels != width * expansion {
                l.last = input;
                let filters = [width * expansion, channels, 1];
                let window = Window {
                    stride,
                    ..Window::PLAIN
                };
                l.conv(&format!("{at}.downsample.0"), filters, window);
                l.norm(&format!("{at}.downsample.1"), width * expansion, EPSILON);
                shortcut = l.last;
            }
            l.last = out;
            l.add(&format!("{at}.add"), shortcut);
            l.relu(&format!("{at}.relu"));
            channels = width * expansion;
        }
    }
    l.global_average("avgpool", channels);
    l.dense("fc", channels, classes);
    l.finish()
}
