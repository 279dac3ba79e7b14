//! Layers with channels last beside their slow twins, which have channels first.

use super::*;
use crate::conv::ConvShape;
use crate::pool::PoolShape;
use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};
use crate::{Aligned, reference};

pub(super) fn conv_shape(
    [n, c_in, h, w, c_out]: [usize; 5],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
) -> ConvShape {
    ConvShape {
        n,
        c_in,
        h,
        w,
        c_out,
        kernel,
        stride,
        padding,
        dilation,
        groups: 1,
    }
}

pub(super) fn convolutions() -> Vec<ConvShape> {
    let s = conv_shape;
    vec![
        s([1, 1, 5, 5, 1], [1, 1], [1, 1], [0; 4], [1, 1]),
        s([2, 3, 9, 11, 16], [3, 3], [1, 1], [1; 4], [1, 1]),
        s([1, 3, 17, 19, 32], [7, 7], [2, 2], [3; 4], [1, 1]),
        s([1, 16, 32, 32, 16], [3, 3], [1, 1], [1; 4], [1, 1]),
        s([3, 16, 8, 8, 33], [3, 3], [2, 2], [1; 4], [1, 1]),
        s([2, 20, 12, 12, 50], [5, 5], [1, 1], [0; 4], [1, 1]),
        s([2, 24, 7, 7, 144], [1, 1], [1, 1], [0; 4], [1, 1]),
        s([1, 40, 14, 14, 65], [1, 1], [2, 2], [0; 4], [1, 1]),
        s([1, 16, 13, 13, 20], [3, 3], [1, 1], [2; 4], [2, 2]),
        s([2, 5, 6, 10, 7], [2, 3], [1, 2], [0, 1, 1, 2], [1, 1]),
        s([1, 64, 1, 29, 64], [1, 3], [1, 1], [0, 1, 0, 1], [1, 1]),
        s([2, 8, 56, 30, 100], [1, 1], [1, 1], [0; 4], [1, 1]),
    ]
}

/// Images of the shape of `x` with the halo that `s` needs, or a wider one.
pub(super) fn image_shapes(s: &ConvShape, wider: usize, c_pitch: bool) -> (ImageShape, ImageShape) {
    let [top, left, bottom, right] = s.padding;
    let mut x = ImageShape::new(s.n, s.h, s.w, s.c_in);
    x.halo = [top.max(bottom) + wider, left.max(right) + wider];
    if c_pitch {
        x.pitch = s.c_in;
    }
    let mut y = ImageShape::new(s.n, s.out_h(), s.out_w(), s.c_out);
    y.halo = [wider, 2 * wider];
    (x, y)
}

pub(super) fn packed(x: &[f32], shape: &ImageShape) -> Aligned<f32> {
    let mut last = Aligned::zeros(shape.len());
    last.fill(f32::NAN);
    to_last(x, shape, &mut last);
    last
}

pub(super) fn unpacked(x: &[f32], shape: &ImageShape) -> Vec<f32> {
    let mut first = vec![f32::NAN; shape.n * shape.c * shape.h * shape.w];
    from_last(x, shape, &mut first);
    first
}

fn clamped(y: &mut [f32], added: &[f32], clamp: Clamp) {
    for (y, a) in y.iter_mut().zip(added) {
        *y = (*y + a).max(clamp.low).min(clamp.high);
    }
}

#[test]
fn layouts_are_inverse_and_halos_zero() {
    for halo in [[0, 0], [1, 1], [2, 0], [0, 3]] {
        for (n, h, w, c) in [(1, 1, 1, 1), (2, 3, 5, 3), (3, 4, 4, 17), (1, 7, 9, 64)] {
            let shape = ImageShape {
                halo,
                ..ImageShape::new(n, h, w, c)
            };
            let x = numbers(n * h * w * c, 1);
            let last = packed(&x, &shape);
            assert_eq!(unpacked(&last, &shape), x);
            let inside: f32 = x.iter().map(|v| v.abs()).sum();
            let stored = last.chunks(shape.pitch).flat_map(|p| &p[..c]);
            let all: f32 = stored.map(|v| v.abs()).sum();
            assert!(
                (inside - all).abs() <= 1e-4 * inside,
                "{shape:?}: something is in the halo"
            );
        }
    }
}

#[test]
fn convolutions_agree_with_reference() {
    for s in convolutions() {
        let (x, w) = (numbers(s.x_len(), 1), numbers(s.w_len(), 2));
        let (bias, added) = (numbers(s.c_out, 3), numbers(s.y_len(), 4));
        let mut plain = vec![0.0; s.y_len()];
        reference::conv(&s, &x, &w, Some(&bias), &mut plain);
        for (wider, c_pitch) in [(0, false), (1, false), (0, true), (2, true)] {
            let (xs, ys) = image_shapes(&s, wider, c_pitch);
            let last = packed(&x, &xs);
            for tile in Tile::candidates(s.out_w(), s.c_out) {
                let layer = ConvLayer::new(&s, &w, Some(&bias), xs, ys, tile);
                for (terms, clamp) in [(false, Clamp::NONE), (true, Clamp::RELU)] {
                    let name = format!("{s:?} {wider} {c_pitch} {tile:?} {terms}");
                    let other = ImageShape { halo: [0; 2], ..ys };
                    let other = if wider > 0 {
                        ImageShape { halo: [1, 1], ..ys }
                    } else {
                        other
                    };
                    let terms_last = packed(&added, &other);
                    let y = same_on_any_pool(&name, || {
                        let mut y = Aligned::zeros(ys.len());
                        y.fill(f32::NAN);
                        let added = terms.then_some((&terms_last[..], other));
                        layer.run(&last, added, clamp, &mut y);
                        unpacked(&y, &ys)
                    });
                    let mut expected = plain.clone();
                    let none = vec![0.0; s.y_len()];
                    clamped(&mut expected, if terms { &added } else { &none }, clamp);
                    assert_close(&name, &y, &expected, tolerance(s.taps()));
                }
            }
        }
    }
}

#[test]
fn dense_layers_agree_with_reference() {
    for [n, inputs, outputs] in [
        [1, 1, 1],
        [1, 784, 300],
        [64, 784, 300],
        [3, 17, 10],
        [65, 100, 33],
        [2, 513, 1000],
    ] {
        let (x, w) = (numbers(n * inputs, 1), numbers(inputs * outputs, 2));
        let bias = numbers(outputs, 3);
        let mut expected = vec![0.0; n * outputs];
        reference::dense(n, inputs, outputs, &x, &w, Some(&bias), &mut expected);
        clamped(&mut expected, &vec![0.0; n * outputs], Clamp::RELU);
        for tile in Tile::candidates(n, outputs) {
            let sizes = [n, inputs, outputs];
            let layer = ConvLayer::dense(sizes, &w, Some(&bias), inputs, tile);
            let name = format!("{sizes:?} {tile:?}");
            let y = same_on_any_pool(&name, || {
                let mut y = vec![f32::NAN; n * outputs];
                layer.run(&x, None, Clamp::RELU, &mut y);
                y
            });
            assert_close(&name, &y, &expected, tolerance(inputs));
        }
    }
}

#[test]
fn depthwise_agrees_with_reference() {
    for (c, h, w, k, stride, pad) in [
        (1, 5, 5, 3, 1, 1),
        (32, 14, 14, 3, 1, 1),
        (24, 15, 17, 3, 2, 1),
        (100, 9, 9, 5, 1, 2),
        (48, 12, 12, 7, 2, 3),
        (17, 8, 11, 5, 2, 0),
    ] {
        let sizes = [2, c, h, w, c];
        let s = ConvShape {
            groups: c,
            ..conv_shape(sizes, [k, k], [stride; 2], [pad; 4], [1, 1])
        };
        let (x, weights, bias) = (numbers(s.x_len(), 1), numbers(s.w_len(), 2), numbers(c, 3));
        let mut expected = vec![0.0; s.y_len()];
        reference::conv(&s, &x, &weights, Some(&bias), &mut expected);
        let six = Clamp {
            low: 0.0,
            high: 6.0,
        };
        clamped(&mut expected, &vec![0.0; s.y_len()], six);
        for wider in [0, 1] {
            let (xs, ys) = image_shapes(&s, wider, false);
            let layer = DepthwiseLayer::new(&s, &weights, Some(&bias), xs, ys);
            let last = packed(&x, &xs);
            let name = format!("{s:?} {wider}");
            let y = same_on_any_pool(&name, || {
                let mut y = Aligned::zeros(ys.len());
                y.fill(f32::NAN);
                layer.run(&last, six, &mut y);
                unpacked(&y, &ys)
            });
            assert_close(&name, &y, &expected, tolerance(k * k));
        }
    }
}

#[test]
fn pooling_agrees_with_reference() {
    for (c, h, w, kernel, stride, padding) in [
        (16, 8, 8, [2, 2], [2, 2], [0; 4]),
        (20, 24, 24, [2, 2], [2, 2], [0; 4]),
        (64, 13, 15, [3, 3], [2, 2], [1; 4]),
        (5, 7, 7, [7, 7], [1, 1], [0; 4]),
        (33, 6, 9, [3, 2], [1, 2], [1, 0, 1, 1]),
    ] {
        let s = PoolShape {
            n: 2,
            c,
            h,
            w,
            kernel,
            stride,
            padding,
        };
        let x = numbers(s.x_len(), 1);
        let (xs, mut ys) = (
            ImageShape::new(2, h, w, c),
            ImageShape::new(2, s.out_h(), s.out_w(), c),
        );
        ys.halo = [1, 1];
        for pooling in [
            Pooling::Max,
            Pooling::Average {
                count_include_pad: true,
            },
            Pooling::Average {
                count_include_pad: false,
            },
        ] {
            let mut expected = vec![0.0; s.y_len()];
            match pooling {
                Pooling::Max => reference::max_pool(&s, &x, &mut expected),
                Pooling::Average { count_include_pad } => {
                    reference::average_pool(&s, count_include_pad, &x, &mut expected);
                }
            }
            let last = packed(&x, &xs);
            let name = format!("{s:?} {pooling:?}");
            let y = same_on_any_pool(&name, || {
                let mut y = Aligned::zeros(ys.len());
                pool(pooling, &s, (&last, &xs), (&mut y, &ys));
                unpacked(&y, &ys)
            });
            assert_close(&name, &y, &expected, tolerance(kernel[0] * kernel[1]));
        }
    }
}

#[test]
fn sums_agree_with_reference() {
    for (c, halo) in [(16, [0, 0]), (20, [1, 1]), (3, [0, 2])] {
        let shape = ImageShape::new(2, 5, 6, c);
        let wide = ImageShape { halo, ..shape };
        let (a, b) = (numbers(2 * 30 * c, 1), numbers(2 * 30 * c, 2));
        let mut expected = a.clone();
        clamped(&mut expected, &b, Clamp::RELU);
        for (xs, ys) in [(shape, wide), (wide, shape), (shape, shape)] {
            let mut y = Aligned::zeros(ys.len());
            let (one, two) = (packed(&a, &xs), packed(&b, &shape));
            add((&one, &xs), (&two, &shape), Clamp::RELU, (&mut y, &ys));
            assert_eq!(unpacked(&y, &ys), expected, "{xs:?} {ys:?}");
        }
    }
}

#[test]
fn every_level_agrees_with_reference() {
    for s in convolutions() {
        let (x, w) = (numbers(s.x_len(), 1), numbers(s.w_len(), 2));
        let mut expected = vec![0.0; s.y_len()];
        reference::conv(&s, &x, &w, None, &mut expected);
        let (xs, ys) = image_shapes(&s, 0, false);
        let last = packed(&x, &xs);
        for level in crate::simd::levels() {
            for tile in Tile::candidates_at(super::tiling::limits(level), s.out_w(), s.c_out) {
                let layer = ConvLayer::new_at(level, &s, &w, None, xs, ys, tile);
                let mut y = Aligned::zeros(ys.len());
                layer.run(&last, None, Clamp::NONE, &mut y);
                let name = format!("{s:?} {level:?} {tile:?}");
                assert_close(&name, &unpacked(&y, &ys), &expected, tolerance(s.taps()));
            }
        }
    }
}

/// All around the pixels is written, whoever has which rows, and no pixel is.
#[test]
fn a_halo_is_filled_row_by_row() {
    for (n, h, w, pitch, halo) in [
        (1, 1, 1, 1, [1, 1]),
        (2, 5, 3, 4, [2, 1]),
        (3, 2, 7, 16, [0, 3]),
        (2, 3, 2, 2, [1, 0]),
        (2, 3, 2, 2, [0, 0]),
    ] {
        let c = pitch;
        let shape = ImageShape {
            n,
            h,
            w,
            c,
            pitch,
            halo,
        };
        let mut expected = vec![7u8; shape.len()];
        for (image, row) in (0..n).flat_map(|image| (0..h).map(move |row| (image, row))) {
            expected[shape.at(image, row, 0)..][..w * pitch].fill(0);
        }
        for pieces in 1..=n * h {
            let mut data = vec![0; shape.len()];
            let out = SharedMut::new(&mut data);
            for rows in (0..pieces).map(|i| crate::parallel::piece(n * h, pieces, i)) {
                // SAFETY: the batch is there, and rows come one after the other.
                unsafe { shape.fill_halo_of(rows, out, 7) };
            }
            assert_eq!(data, expected, "{shape:?} in {pieces}");
        }
    }
}

/// Rows are written once each, whoever stands by, and what is around them once in all.
#[test]
fn each_row_once_and_all_around_it() {
    let shape = |n, h, w, halo| ImageShape {
        halo,
        ..ImageShape::new(n, h, w, 3)
    };
    let shapes = [
        shape(1, 9, 30, [1, 2]),
        shape(5, 3, 20, [0, 1]),
        shape(2, 1, 70, [0, 0]),
        shape(0, 4, 4, [1, 1]),
        shape(3, 0, 4, [0, 1]),
        shape(1, 2, 0, [1, 1]),
    ];
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            for shape in &shapes {
                let len = shape.w * shape.pitch;
                let mut expected = vec![7; shape.len()];
                for row in 0..shape.n * shape.h {
                    let begin = shape.at(row / shape.h, row % shape.h, 0);
                    expected[begin..][..len].fill(100 + row);
                }
                for work in [0, 1 << 16, 1 << 30] {
                    // So that others stand by.
                    crate::meet();
                    let mut found = vec![0; shape.len()];
                    for_each_row(&mut found, shape, 7, work, |row, pixels| {
                        assert_eq!(pixels.len(), len);
                        pixels.iter_mut().for_each(|x| *x += 100 + row);
                    });
                    assert_eq!(found, expected, "{shape:?}, {threads} threads");
                }
            }
        });
    }
}
