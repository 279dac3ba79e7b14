//! Layers of networks that only answer, with channels last, by tile of sums in registers. Batch 1.
//!
//! Rows with `cold` are of copies of a layer in turn, so many that their weights come from memory, as they
//! do in a large network.

use std::hint::black_box;

use bantam_kernels::last::{
    ByteConvLayer, ByteDepthwiseLayer, Clamp, ConvLayer, DepthwiseLayer, ImageShape, Results,
    Scale, Tile, WinogradLayer,
};
use bantam_kernels::{Aligned, ConvShape, reference};

use crate::Bench;

fn numbers(len: usize) -> Vec<f32> {
    crate::numbers(len, 1)
}

/// Name, input channels, size of the image, output channels, kernel, stride.
const CONVOLUTIONS: [(&str, usize, usize, usize, usize, usize); 18] = [
    ("lenet conv1", 1, 28, 20, 5, 1),
    ("lenet conv2", 20, 12, 50, 5, 1),
    ("r20 first 3x3", 3, 32, 16, 3, 1),
    ("r20 16 3x3", 16, 32, 16, 3, 1),
    ("r20 32 3x3", 32, 16, 32, 3, 1),
    ("r20 64 3x3", 64, 8, 64, 3, 1),
    ("small 64 3x3", 64, 4, 64, 3, 1),
    ("r50 first", 3, 224, 64, 7, 2),
    ("r50 64 3x3", 64, 56, 64, 3, 1),
    ("r50 64-256", 64, 56, 256, 1, 1),
    ("r50 256-64", 256, 56, 64, 1, 1),
    ("r50 128 3x3", 128, 28, 128, 3, 1),
    ("r50 256 3x3", 256, 14, 256, 3, 1),
    ("r50 1024-256", 1024, 14, 256, 1, 1),
    ("r50 512 3x3", 512, 7, 512, 3, 1),
    ("vgg 512 3x3", 512, 28, 512, 3, 1),
    ("r50 512-2048", 512, 7, 2048, 1, 1),
    ("mv2 24-144", 24, 56, 144, 1, 1),
];

const DEPTHWISE: [(&str, usize, usize, usize, usize); 4] = [
    ("mv2 dw 96", 96, 112, 3, 2),
    ("mv2 dw 144", 144, 56, 3, 1),
    ("mv2 dw 384", 384, 14, 3, 1),
    ("mv2 dw 960", 960, 7, 3, 1),
];

fn shape(c: usize, size: usize, c_out: usize, k: usize, stride: usize, groups: usize) -> ConvShape {
    // LeNet's convolutions have no padding.
    let padding = if k == 5 { 0 } else { k / 2 };
    ConvShape {
        n: 1,
        c_in: c,
        h: size,
        w: size,
        c_out,
        kernel: [k; 2],
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1; 2],
        groups,
    }
}

fn images(s: &ConvShape) -> (ImageShape, ImageShape) {
    let mut x = ImageShape::new(s.n, s.h, s.w, s.c_in);
    x.halo = [s.padding[0], s.padding[1]];
    if s.c_in < 16 {
        x.pitch = s.c_in;
    }
    (x, ImageShape::new(s.n, s.out_h(), s.out_w(), s.c_out))
}

const SCALE: Scale = Scale {
    scale: 0.1,
    zero_point: 3,
};

/// Copies of a layer, together larger than a cache.
fn copies<L: Clone>(layer: &L, size_bytes: usize) -> Vec<L> {
    const ALL_BYTES: usize = 96 << 20;
    let n = (ALL_BYTES / size_bytes.max(1)).clamp(2, 200);
    vec![layer.clone(); n]
}

pub(crate) fn layers(bench: &Bench) {
    for (name, c, size, c_out, k, stride) in CONVOLUTIONS {
        let s = shape(c, size, c_out, k, stride, 1);
        let (xs, ys) = images(&s);
        let (x, w) = (numbers(xs.len()), numbers(s.w_len()));
        let mut y = Aligned::zeros(ys.len());
        let ops = 2 * s.y_len() * s.w_len() / s.c_out;
        for tile in Tile::candidates(s.out_w(), c_out) {
            let name = format!("layer {name} {}x{}", tile.pixels, tile.vectors);
            let layer = ConvLayer::new(&s, &w, None, xs, ys, tile);
            bench.row(
                &name,
                ops,
                || layer.run(black_box(&x), None, Clamp::RELU, &mut y),
                || reference::conv(&s, &numbers(s.x_len()), &w, None, &mut vec![0.0; s.y_len()]),
            );
            let name = format!("{name} cold");
            if WinogradLayer::can(&s) && bench.wants(&name) {
                let layers = copies(&layer, layer.size_bytes());
                let mut turns = layers.iter().cycle();
                let run = || {
                    let layer = turns.next().expect("there are copies");
                    layer.run(black_box(&x), None, Clamp::RELU, &mut y);
                };
                bench.row(&name, ops, run, || ());
            }
        }
    }
    for (name, c, size, c_out, k, stride) in CONVOLUTIONS {
        let s = shape(c, size, c_out, k, stride, 1);
        if !WinogradLayer::can(&s) {
            continue;
        }
        let (xs, ys) = images(&s);
        let (x, w) = (numbers(xs.len()), numbers(s.w_len()));
        let mut y = Aligned::zeros(ys.len());
        let ops = 2 * s.y_len() * s.w_len() / s.c_out;
        for tile in WinogradLayer::tiles(&s) {
            let name = format!("layer winograd {name} {}x{}", tile.pixels, tile.vectors);
            let layer = WinogradLayer::new(&s, &w, None, xs, ys, tile);
            let run = || layer.run(black_box(&x), None, Clamp::RELU, &mut y);
            bench.row(&name, ops, run, || ());
            let name = format!("{name} cold");
            if bench.wants(&name) {
                let layers = copies(&layer, layer.size_bytes());
                let mut turns = layers.iter().cycle();
                let run = || {
                    let layer = turns.next().expect("there are copies");
                    layer.run(black_box(&x), None, Clamp::RELU, &mut y);
                };
                bench.row(&name, ops, run, || ());
            }
        }
    }
    for (name, c, size, c_out, k, stride) in CONVOLUTIONS {
        let s = shape(c, size, c_out, k, stride, 1);
        let (xs, ys) = images(&s);
        let (x, w) = (
            vec![3u8; xs.len() + ByteConvLayer::SLACK],
            vec![1i8; s.w_len()],
        );
        let (scales, mut y) = (vec![0.01; c_out], Aligned::zeros(ys.len()));
        let ops = 2 * s.y_len() * s.w_len() / s.c_out;
        for tile in Tile::candidates(s.out_w(), c_out) {
            let name = format!("layer bytes {name} {}x{}", tile.pixels, tile.vectors);
            let layer = ByteConvLayer::new(&s, (&w, &scales), None, (xs, SCALE), ys, tile);
            let run = || {
                let y = Results::Bytes(&mut y, SCALE);
                layer.run(black_box(&x), None, Clamp::RELU, y);
            };
            bench.row(&name, ops, run, || ());
        }
    }
    for (name, c, size, k, stride) in DEPTHWISE {
        let s = shape(c, size, c, k, stride, c);
        let (xs, ys) = images(&s);
        let (x, w) = (vec![3u8; xs.len()], vec![1i8; s.w_len()]);
        let mut y = Aligned::zeros(ys.len());
        let layer = ByteDepthwiseLayer::new(&s, (&w, &vec![0.01; c]), None, (xs, SCALE), ys);
        let run = || layer.run(black_box(&x), Clamp::RELU, Results::Bytes(&mut y, SCALE));
        bench.row(
            &format!("layer bytes {name}"),
            2 * s.y_len() * k * k,
            run,
            || (),
        );
    }
    for (name, c, size, k, stride) in DEPTHWISE {
        let s = shape(c, size, c, k, stride, c);
        let (xs, ys) = images(&s);
        let (x, w) = (numbers(xs.len()), numbers(s.w_len()));
        let mut y = Aligned::zeros(ys.len());
        let layer = DepthwiseLayer::new(&s, &w, None, xs, ys);
        bench.row(
            &format!("layer {name}"),
            2 * s.y_len() * k * k,
            || layer.run(black_box(&x), Clamp::RELU, &mut y),
            || reference::conv(&s, &numbers(s.x_len()), &w, None, &mut vec![0.0; s.y_len()]),
        );
    }
    for [n, inputs, outputs] in [
        [1, 784, 300],
        [64, 784, 300],
        [1, 2048, 1000],
        [128, 256, 1024],
    ] {
        let (x, w) = (numbers(n * inputs), numbers(inputs * outputs));
        let mut y = vec![0.0; n * outputs];
        for tile in Tile::candidates(n, outputs) {
            let layer = ConvLayer::dense([n, inputs, outputs], &w, None, inputs, tile);
            bench.row(
                &format!(
                    "layer dense {n} {inputs}-{outputs} {}x{}",
                    tile.pixels, tile.vectors
                ),
                2 * n * inputs * outputs,
                || layer.run(black_box(&x), None, Clamp::NONE, &mut y),
                || {
                    reference::dense(
                        n,
                        inputs,
                        outputs,
                        &x,
                        &w,
                        None,
                        &mut vec![0.0; n * outputs],
                    )
                },
            );
        }
    }
}
