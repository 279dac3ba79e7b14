//! Layers of bytes beside the slow twins of what their bytes stand for.

use super::tests::{conv_shape, convolutions, image_shapes};
use super::*;
use crate::conv::ConvShape;
use crate::pool::PoolShape;
use crate::testing::numbers;
use crate::{Aligned, reference};

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    numbers(len, seed)
        .iter()
        .map(|x| ((x + 1.0) * 127.9) as u8)
        .collect()
}

fn weights(len: usize, seed: u64) -> Vec<i8> {
    // The ends as well: their products are where 16 bits would saturate.
    let of = |(i, x): (usize, &f32)| match i % 7 {
        0 => 127,
        1 => -128,
        _ => (x * 127.0) as i8,
    };
    numbers(len, seed).iter().enumerate().map(of).collect()
}

/// Channels last from channels first, with slack behind.
fn packed(x: &[u8], shape: &ImageShape, halo: u8) -> Aligned<u8> {
    let mut last = Aligned::zeros(shape.len() + ByteConvLayer::SLACK);
    last.fill(201);
    shape.fill_halo(&mut last[..shape.len()], halo);
    let area = shape.h * shape.w;
    for n in 0..shape.n {
        for c in 0..shape.c {
            for i in 0..area {
                let at = shape.at(n, i / shape.w, i % shape.w) + c;
                last[at] = x[(n * shape.c + c) * area + i];
            }
        }
    }
    last
}

fn unpacked<T: Copy>(x: &[T], shape: &ImageShape) -> Vec<T> {
    let mut first = Vec::new();
    for n in 0..shape.n {
        for c in 0..shape.c {
            for i in 0..shape.h * shape.w {
                first.push(x[shape.at(n, i / shape.w, i % shape.w) + c]);
            }
        }
    }
    first
}

const X: Scale = Scale {
    scale: 0.02,
    zero_point: 117,
};
const ADDED: Scale = Scale {
    scale: 0.5,
    zero_point: 3,
};

/// What the bytes stand for, through the slow twin.
fn expected(s: &ConvShape, x: &[u8], w: &[i8], scales: &[f32], bias: &[f32]) -> Vec<f32> {
    let x: Vec<f32> = x
        .iter()
        .map(|&q| (f32::from(q) - 117.0) * X.scale)
        .collect();
    let taps = s.w_len() / s.c_out;
    let w: Vec<f32> = w
        .iter()
        .enumerate()
        .map(|(i, &q)| f32::from(q) * scales[i / taps])
        .collect();
    let mut y = vec![0.0; s.y_len()];
    reference::conv(s, &x, &w, Some(bias), &mut y);
    y
}

/// Close as numbers of `f32` that were reached by another order of roundings.
fn assert_numbers(name: &str, found: &[f32], expected: &[f32]) {
    let most = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= 2e-6 * most,
            "{name}: element {i} is {a}, expected {b}"
        );
    }
}

/// The nearest byte, or its neighbour where the number is as near to both but for roundings.
fn assert_bytes(name: &str, found: &[u8], expected: &[f32], scale: Scale, clamp: Clamp) {
    let most = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
    for (i, (&q, &e)) in found.iter().zip(expected).enumerate() {
        let exact = e.max(clamp.low).min(clamp.high) / scale.scale + f32::from(scale.zero_point);
        let near = (f32::from(q) - exact.clamp(0.0, 255.0)).abs();
        let slack = 0.5 + 1e-5 * most / scale.scale;
        assert!(
            near <= slack,
            "{name}: element {i} is {q}, expected {exact}"
        );
    }
}

#[test]
fn convolutions_of_bytes_agree_with_what_they_stand_for() {
    for s in convolutions() {
        let (x, w) = (bytes(s.x_len(), 1), weights(s.w_len(), 2));
        let scales: Vec<f32> = numbers(s.c_out, 3)
            .iter()
            .map(|x| 0.002 + 0.001 * x)
            .collect();
        let (bias, terms) = (numbers(s.c_out, 4), bytes(s.y_len(), 5));
        let plain = expected(&s, &x, &w, &scales, &bias);
        let term = |q: u8| (f32::from(q) - 3.0) * ADDED.scale;
        let summed: Vec<f32> = plain
            .iter()
            .zip(&terms)
            .map(|(a, &q)| a + term(q))
            .collect();
        for (wider, c_pitch) in [(0, false), (1, false), (0, true)] {
            let (xs, ys) = image_shapes(&s, wider, c_pitch);
            let last = packed(&x, &xs, X.zero_point);
            let terms_last = packed(&terms, &ys, 0);
            let floats: Vec<f32> = terms.iter().map(|&q| term(q)).collect();
            let mut floats_last = Aligned::zeros(ys.len());
            to_last(&floats, &ys, &mut floats_last);
            for tile in Tile::candidates(s.out_w(), s.c_out) {
                let name = format!("{s:?} {wider} {c_pitch} {tile:?}");
                let layer = ByteConvLayer::new(&s, (&w, &scales), Some(&bias), (xs, X), ys, tile);
                let mut y = Aligned::zeros(ys.len());
                layer.run(&last, None, Clamp::NONE, Results::Floats(&mut y));
                let exact = unpacked(&y, &ys);
                assert_numbers(&name, &exact, &plain);
                let added = Some(Added::Bytes(&terms_last, ys, ADDED));
                layer.run(&last, added, Clamp::NONE, Results::Floats(&mut y));
                assert_numbers(&name, &unpacked(&y, &ys), &summed);
                let added = Some(Added::Floats(&floats_last, ys));
                layer.run(&last, added, Clamp::NONE, Results::Floats(&mut y));
                assert_numbers(&name, &unpacked(&y, &ys), &summed);
                let to = Scale {
                    scale: 0.07,
                    zero_point: 90,
                };
                let mut q = Aligned::zeros(ys.len());
                layer.run(&last, None, Clamp::RELU, Results::Bytes(&mut q, to));
                assert_bytes(&name, &unpacked(&q, &ys), &plain, to, Clamp::RELU);
                if wider > 0 {
                    assert!(
                        q[..ys.row_len()].iter().all(|&q| q == 90),
                        "{name}: the halo"
                    );
                }
                // Another tile, other threads: the same bytes.
                let other = layer.with_tile(*layer.candidates().last().unwrap());
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(3)
                    .build()
                    .unwrap();
                let mut again = Aligned::zeros(ys.len());
                pool.install(|| {
                    other.run(&last, None, Clamp::RELU, Results::Bytes(&mut again, to));
                });
                assert!(again[..] == q[..], "{name}: another tile, other bytes");
            }
        }
    }
}

#[test]
fn dense_layers_of_bytes_agree_with_what_they_stand_for() {
    for [n, inputs, outputs] in [[1, 784, 300], [5, 17, 10], [64, 100, 33]] {
        let s = super::tiling::dense_shape(n, inputs, outputs);
        let (x, w) = (bytes(n * inputs, 1), weights(inputs * outputs, 2));
        let (scales, bias) = (vec![0.003; outputs], numbers(outputs, 3));
        // A dense layer's rows are pixels; the twin has channels first.
        let turned: Vec<u8> = (0..n * inputs).map(|i| x[i % n * inputs + i / n]).collect();
        let plain = expected(&s, &turned, &w, &scales, &bias);
        let plain: Vec<f32> = (0..n * outputs)
            .map(|i| plain[i % outputs * n + i / outputs])
            .collect();
        let mut with_slack = x.clone();
        with_slack.extend([9; ByteConvLayer::SLACK]);
        for tile in Tile::candidates(n, outputs) {
            let sizes = [n, inputs, outputs];
            let layer = ByteConvLayer::dense(
                sizes,
                (&w, &scales),
                Some(&bias),
                (inputs, X),
                outputs,
                tile,
            );
            let name = format!("{sizes:?} {tile:?}");
            let mut y = vec![f32::NAN; n * outputs];
            layer.run(&with_slack, None, Clamp::NONE, Results::Floats(&mut y));
            assert_numbers(&name, &y, &plain);
            let (to, mut q) = (
                Scale {
                    scale: 0.1,
                    zero_point: 128,
                },
                vec![0; n * outputs],
            );
            layer.run(&with_slack, None, Clamp::NONE, Results::Bytes(&mut q, to));
            assert_bytes(&name, &q, &plain, to, Clamp::NONE);
        }
    }
}

#[test]
fn depthwise_of_bytes_agrees_with_what_it_stands_for() {
    for (c, h, w, k, stride, pad) in [
        (1, 5, 5, 3, 1, 1),
        (32, 14, 14, 3, 1, 1),
        (24, 15, 17, 3, 2, 1),
        (100, 9, 9, 5, 1, 2),
    ] {
        let sizes = [2, c, h, w, c];
        let s = ConvShape {
            groups: c,
            ..conv_shape(sizes, [k, k], [stride; 2], [pad; 4], [1, 1])
        };
        let (x, weights) = (bytes(s.x_len(), 1), weights(s.w_len(), 2));
        let (scales, bias) = (vec![0.01; c], numbers(c, 3));
        let plain = expected(&s, &x, &weights, &scales, &bias);
        let (xs, ys) = image_shapes(&s, 1, false);
        let last = packed(&x, &xs, X.zero_point);
        let layer = ByteDepthwiseLayer::new(&s, (&weights, &scales), Some(&bias), (xs, X), ys);
        let mut y = Aligned::zeros(ys.len());
        layer.run(&last, Clamp::NONE, Results::Floats(&mut y));
        assert_numbers(&format!("{s:?}"), &unpacked(&y, &ys), &plain);
        let (to, mut q) = (
            Scale {
                scale: 0.05,
                zero_point: 0,
            },
            Aligned::zeros(ys.len()),
        );
        layer.run(&last, Clamp::RELU, Results::Bytes(&mut q, to));
        assert_bytes(
            &format!("{s:?}"),
            &unpacked(&q, &ys),
            &plain,
            to,
            Clamp::RELU,
        );
    }
}

/// Rows with and without anything between them, in one piece of work and in several.
#[test]
fn rows_of_a_matrix_convert_both_ways() {
    for (n, c, pitch) in [
        (1, 5, 5),
        (600, 33, 33),
        (600, 33, 48),
        (3, 9000, 9000),
        (3, 9000, 9008),
    ] {
        let shape = ImageShape {
            pitch,
            ..ImageShape::new(n, 1, 1, c)
        };
        let scale = Scale {
            scale: 0.03,
            zero_point: 100,
        };
        let x: Vec<f32> = numbers(n * c, 3).iter().map(|x| 4.0 * x).collect();
        let nearest = |x: &f32| ((x / 0.03).round_ties_even() + 100.0).clamp(0.0, 255.0) as u8;
        let expected: Vec<u8> = x.iter().map(nearest).collect();
        let mut q = Aligned::zeros(shape.len());
        bytes_to_last(&x, scale, &shape, &mut q);
        assert_eq!(unpacked(&q, &shape), expected, "{n} {c} {pitch}");
        let mut first = vec![f32::NAN; x.len()];
        bytes_from_last(&q, scale, &shape, &mut first);
        let number = |&q: &u8| (f32::from(q) - 100.0) * 0.03;
        let back: Vec<f32> = expected.iter().map(number).collect();
        assert_eq!(first, back, "{n} {c} {pitch}");
    }
}

#[test]
fn bytes_and_numbers_convert_both_ways() {
    for (n, h, w, c) in [(1, 1, 1, 1), (2, 3, 5, 3), (1, 7, 9, 33)] {
        let shape = ImageShape {
            halo: [1, 2],
            ..ImageShape::new(n, h, w, c)
        };
        let wide = ImageShape {
            halo: [0, 1],
            ..shape
        };
        let x: Vec<f32> = numbers(n * h * w * c, 1).iter().map(|x| 4.0 * x).collect();
        let scale = Scale {
            scale: 0.03,
            zero_point: 100,
        };
        let nearest = |x: &f32| ((x / 0.03).round_ties_even() + 100.0).clamp(0.0, 255.0) as u8;
        let expected: Vec<u8> = x.iter().map(nearest).collect();
        let mut q = Aligned::zeros(shape.len());
        bytes_to_last(&x, scale, &shape, &mut q);
        assert_eq!(unpacked(&q, &shape), expected);
        assert_eq!(q[0], 100, "the halo is zero");
        let mut floats = Aligned::zeros(wide.len());
        to_last(&x, &wide, &mut floats);
        let mut again = Aligned::zeros(shape.len());
        quantize((&floats, &wide), scale, (&mut again, &shape));
        assert_eq!(unpacked(&again, &shape), expected);
        let back: Vec<f32> = expected
            .iter()
            .map(|&q| (f32::from(q) - 100.0) * 0.03)
            .collect();
        dequantize((&q, &shape), scale, (&mut floats, &wide));
        assert_eq!(unpacked(&floats, &wide), back);
        let mut first = vec![f32::NAN; x.len()];
        bytes_from_last(&q, scale, &shape, &mut first);
        assert_eq!(first, back);
    }
}

#[test]
fn numbers_round_halves_to_even_and_stop_at_the_ends() {
    let edges = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE / 2.0,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e9,
        -1e9,
    ];
    let halves = (-600..600).map(|i| i as f32 / 2.0);
    let beside = halves.clone().flat_map(|x| [x.next_up(), x.next_down()]);
    let x: Vec<f32> = edges
        .into_iter()
        .chain(halves.clone())
        .chain(beside)
        .collect();
    for zero_point in [0, 1, 100, 127, 128, 254, 255] {
        let scale = Scale {
            scale: 1.0,
            zero_point,
        };
        let shape = ImageShape::new(1, 1, 1, x.len());
        let mut q = Aligned::zeros(shape.len());
        bytes_to_last(&x, scale, &shape, &mut q);
        for (&x, q) in x.iter().zip(unpacked(&q, &shape)) {
            // The definition, where `as` takes what is not a number for 0.
            let exact = (f64::from(x).round_ties_even() + f64::from(zero_point)) as u8;
            assert_eq!(q, exact, "{x} with zero {zero_point}");
        }
    }
}

#[test]
fn the_largest_byte_is_that_of_the_largest_number() {
    let s = PoolShape {
        n: 2,
        c: 20,
        h: 7,
        w: 9,
        kernel: [3, 2],
        stride: [2, 2],
        padding: [1, 0, 1, 0],
    };
    let x = bytes(s.x_len(), 1);
    let (xs, mut ys) = (
        ImageShape::new(2, 7, 9, 20),
        ImageShape::new(2, s.out_h(), s.out_w(), 20),
    );
    ys.halo = [1, 1];
    let mut y = Aligned::zeros(ys.len());
    max_pool_bytes(&s, (&packed(&x, &xs, 0), &xs), 7, (&mut y, &ys));
    let floats: Vec<f32> = x.iter().map(|&q| f32::from(q)).collect();
    let mut expected = vec![0.0; s.y_len()];
    reference::max_pool(&s, &floats, &mut expected);
    let found: Vec<f32> = unpacked(&y, &ys).iter().map(|&q| f32::from(q)).collect();
    assert_eq!(found, expected);
    assert_eq!(y[0], 7);
}

#[test]
fn every_level_gives_the_same_bytes() {
    for s in convolutions() {
        let (x, w) = (bytes(s.x_len(), 1), weights(s.w_len(), 2));
        let scales = vec![0.004; s.c_out];
        let bias = numbers(s.c_out, 4);
        let plain = expected(&s, &x, &w, &scales, &bias);
        let (xs, ys) = image_shapes(&s, 0, false);
        let last = packed(&x, &xs, X.zero_point);
        for level in crate::bytes::byte_levels() {
            let limits = super::byte_conv::byte_limits(level);
            for tile in Tile::candidates_at(limits, s.out_w(), s.c_out) {
                let of = (&w[..], &scales[..]);
                let layer = ByteConvLayer::new_at(level, &s, of, Some(&bias), (xs, X), ys, tile);
                let (to, mut q) = (
                    Scale {
                        scale: 0.3,
                        zero_point: 77,
                    },
                    Aligned::zeros(ys.len()),
                );
                layer.run(&last, None, Clamp::NONE, Results::Bytes(&mut q, to));
                let name = format!("{s:?} {level:?} {tile:?}");
                assert_bytes(&name, &unpacked(&q, &ys), &plain, to, Clamp::NONE);
            }
        }
    }
}
