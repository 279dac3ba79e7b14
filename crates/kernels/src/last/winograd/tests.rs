//! Winograd's convolution beside its slow twin in `f64`, and how far the two are apart.

use super::*;
use crate::last::ConvLayer;
use crate::last::tests::{conv_shape, image_shapes, packed, unpacked};
use crate::testing::{numbers, same_on_any_pool};

/// Shapes by what they try: batch, input channels, height, width, output channels; padding.
fn shapes() -> Vec<(&'static str, ConvShape)> {
    let shape = |sizes, padding| conv_shape(sizes, [3; 2], [1; 2], padding, [1; 2]);
    vec![
        ("one tile, one channel", shape([1, 1, 4, 4, 1], [1; 4])),
        ("no padding", shape([1, 3, 6, 6, 5], [0; 4])),
        ("tiles begin earlier", shape([2, 3, 9, 11, 16], [1; 4])),
        ("one more than a tile", shape([3, 17, 5, 5, 33], [1; 4])),
        ("one less than two", shape([2, 16, 7, 7, 20], [1; 4])),
        ("a layer of ResNet-20", shape([1, 16, 32, 32, 16], [1; 4])),
        ("wide padding", shape([1, 20, 6, 13, 40], [2; 4])),
        ("uneven padding", shape([2, 5, 6, 10, 7], [0, 1, 1, 2])),
        ("many channels", shape([1, 130, 8, 12, 100], [1; 4])),
        ("a row of tiles", shape([1, 24, 4, 61, 65], [1; 4])),
        ("a column of tiles", shape([2, 33, 30, 4, 16], [1; 4])),
    ]
}

/// A convolution in `f64`, with what errors are measured by.
#[derive(Clone)]
struct Exact {
    sums: Vec<f64>,
    /// Sums of the absolute values of the products.
    products: Vec<f64>,
    /// As [`WinogradLayer::ERROR`] has it.
    sizes: Vec<f64>,
}

fn exact(s: &ConvShape, x: &[f32], w: &[f32]) -> Exact {
    let zeros = || vec![0.0; s.y_len()];
    let (mut sums, mut products, mut sizes) = (zeros(), zeros(), zeros());
    let [top, left, ..] = s.padding;
    let mut at = 0;
    for (n, o) in (0..s.n).flat_map(|n| (0..s.c_out).map(move |o| (n, o))) {
        for (y, x0) in (0..s.out_h()).flat_map(|y| (0..s.out_w()).map(move |x| (y, x))) {
            let begin = [
                (y / OUT * OUT).min(s.out_h() - OUT),
                (x0 / OUT * OUT).min(s.out_w() - OUT),
            ];
            for c in 0..s.c_in {
                let value = |row: usize, column: usize| {
                    let (row, column) = (row.wrapping_sub(top), column.wrapping_sub(left));
                    match row < s.h && column < s.w {
                        true => f64::from(x[((n * s.c_in + c) * s.h + row) * s.w + column]),
                        false => 0.0,
                    }
                };
                let filter = w[(o * s.c_in + c) * 9..][..9].iter().copied();
                for (k, w) in filter.clone().map(f64::from).enumerate() {
                    let product = value(y + k / 3, x0 + k % 3) * w;
                    sums[at] += product;
                    products[at] += product.abs();
                }
                let of_tile = (0..36).map(|i| value(begin[0] + i / 6, begin[1] + i % 6).abs());
                let filter: f64 = filter.map(|w| f64::from(w.abs())).sum();
                sizes[at] += of_tile.fold(0.0, f64::max) * filter;
            }
            at += 1;
        }
    }
    Exact {
        sums,
        products,
        sizes,
    }
}

impl Exact {
    /// Errors of `y` as shares of `sizes`, root of the mean square and largest, in units of the
    /// spacing of floats.
    fn errors(&self, y: &[f32], sizes: &[f64]) -> [f64; 2] {
        let triples = y.iter().zip(&self.sums).zip(sizes);
        let errors = triples.map(|((&y, sum), size)| (f64::from(y) - sum).abs() / size.max(1e-30));
        let (sum, most) = errors.fold((0.0, 0f64), |(sum, most), e| (sum + e * e, most.max(e)));
        [(sum / y.len() as f64).sqrt(), most].map(|e| e / f64::from(f32::EPSILON))
    }

    #[track_caller]
    fn assert_close(&self, name: &str, y: &[f32]) {
        let [mean, most] = self.errors(y, &self.sizes);
        let bound = f64::from(WinogradLayer::ERROR / f32::EPSILON);
        assert!(most <= bound, "{name}: off by {most}, {mean} in the mean");
    }
}

#[test]
fn winograd_agrees_with_a_convolution_in_f64() {
    for (what, s) in shapes() {
        let (x, w) = (numbers(s.x_len(), 1), numbers(s.w_len(), 2));
        let (bias, added) = (numbers(s.c_out, 3), numbers(s.y_len(), 4));
        let mut plain = exact(&s, &x, &w);
        for i in 0..s.y_len() {
            let b = f64::from(bias[i / (s.out_h() * s.out_w()) % s.c_out]);
            plain.sums[i] += b;
            plain.sizes[i] += b.abs();
        }
        for (wider, c_pitch) in [(0, false), (1, false), (0, true), (2, true)] {
            let (xs, ys) = image_shapes(&s, wider, c_pitch);
            let last = packed(&x, &xs);
            let other = ImageShape {
                halo: [wider.min(1); 2],
                ..ys
            };
            let terms = packed(&added, &other);
            let mut bits = None;
            for tile in WinogradLayer::tiles(&s) {
                let layer = WinogradLayer::new(&s, &w, Some(&bias), xs, ys, tile);
                let run = |clamp, terms: Option<&[f32]>| {
                    let mut y = Aligned::zeros(ys.len());
                    y.fill(f32::NAN);
                    layer.run(&last, terms.map(|t| (t, other)), clamp, &mut y);
                    let inside = unpacked(&y, &ys);
                    let sum = |values: &[f32]| values.iter().map(|v| v.abs()).sum::<f32>();
                    let stored: f32 = y.chunks(ys.pitch).map(|p| sum(&p[..ys.c])).sum();
                    assert!(
                        (stored - sum(&inside)).abs() <= 1e-3 * stored,
                        "{what}: something is in the halo"
                    );
                    inside
                };
                let name = format!("{what}, {wider} {c_pitch} {tile:?}");
                let y = same_on_any_pool(&name, || run(Clamp::NONE, None));
                plain.assert_close(&name, &y);
                let same = bits.get_or_insert_with(|| y.clone());
                assert_eq!(&y, same, "{name}: another tile of sums has other bits");
                // What follows is done once for each output, in single precision.
                let clamp = Clamp {
                    low: -0.5,
                    high: 1.5,
                };
                let y = run(clamp, Some(&terms));
                let same = same.iter().zip(&added);
                let same: Vec<f32> = same
                    .map(|(y, a)| (y + a).max(clamp.low).min(clamp.high))
                    .collect();
                assert_eq!(y, same, "{name}: sum and clamp");
            }
        }
    }
}

#[test]
fn every_level_agrees_with_a_convolution_in_f64() {
    for (what, s) in shapes() {
        let (x, w) = (numbers(s.x_len(), 1), numbers(s.w_len(), 2));
        let exact = exact(&s, &x, &w);
        let (xs, ys) = image_shapes(&s, 0, true);
        let last = packed(&x, &xs);
        for level in crate::simd::levels() {
            let mut bits = None;
            for tile in WinogradLayer::tiles_at(level, &s) {
                let layer = WinogradLayer::new_at(level, &s, &w, None, xs, ys, tile);
                let mut y = Aligned::zeros(ys.len());
                layer.run(&last, None, Clamp::NONE, &mut y);
                let y = unpacked(&y, &ys);
                let name = format!("{what}, {level:?} {tile:?}");
                exact.assert_close(&name, &y);
                assert_eq!(&y, bits.get_or_insert_with(|| y.clone()), "{name}");
            }
        }
    }
}

#[test]
fn an_image_does_not_depend_on_the_batch() {
    for (what, s) in shapes() {
        let batch = ConvShape { n: 5, ..s };
        let (x, w) = (numbers(batch.x_len(), 1), numbers(s.w_len(), 2));
        let run = |s: &ConvShape, x: &[f32]| {
            let (xs, ys) = image_shapes(s, 0, false);
            let tile = WinogradLayer::tiles(s)[0];
            let layer = WinogradLayer::new(s, &w, None, xs, ys, tile);
            let mut y = Aligned::zeros(ys.len());
            layer.run(&packed(x, &xs), None, Clamp::NONE, &mut y);
            unpacked(&y, &ys)
        };
        let one = ConvShape { n: 1, ..s };
        let apart = x.chunks(one.x_len()).flat_map(|x| run(&one, x));
        assert_eq!(run(&batch, &x), apart.collect::<Vec<_>>(), "{what}");
    }
}

#[test]
fn weights_packed_for_another_tile_are_the_same() {
    let s = conv_shape([2, 20, 9, 9, 100], [3; 2], [1; 2], [1; 4], [1; 2]);
    let w = numbers(s.w_len(), 2);
    let (xs, ys) = image_shapes(&s, 0, false);
    for a in WinogradLayer::tiles(&s) {
        for b in WinogradLayer::tiles(&s) {
            let of = |tile| WinogradLayer::new(&s, &w, None, xs, ys, tile);
            let turned = of(a).with_tile(b);
            assert_eq!(turned.tile(), b);
            assert_eq!(turned.weights[..], of(b).weights[..], "{a:?} to {b:?}");
        }
    }
}

/// What the documentation says of errors, on values as networks have them: rectified inputs, of different
/// size from channel to channel, and weights of mean 0. A plain sum of the same products is set beside it.
#[test]
fn errors_are_near_those_of_a_plain_sum() {
    for c in [16, 64, 256] {
        let s = conv_shape([1, c, 12, 12, 32], [3; 2], [1; 2], [1; 4], [1; 2]);
        let (mut x, w) = (numbers(s.x_len(), 5), numbers(s.w_len(), 7));
        for (plane, scale) in x.chunks_mut(s.h * s.w).zip(numbers(c, 6)) {
            plane
                .iter_mut()
                .for_each(|x| *x = x.max(0.0) * (2.0 * scale).exp2());
        }
        let exact = exact(&s, &x, &w);
        let (xs, ys) = image_shapes(&s, 0, false);
        let last = packed(&x, &xs);
        let errors = |run: &dyn Fn(&mut [f32])| {
            let mut y = Aligned::zeros(ys.len());
            run(&mut y);
            let y = unpacked(&y, &ys);
            exact.assert_close("as in networks", &y);
            exact.errors(&y, &exact.products)
        };
        let tile = WinogradLayer::tiles(&s)[0];
        let layer = WinogradLayer::new(&s, &w, None, xs, ys, tile);
        let ours = errors(&|y| layer.run(&last, None, Clamp::NONE, y));
        let tile = Tile::candidates(s.out_w(), s.c_out)[0];
        let layer = ConvLayer::new(&s, &w, None, xs, ys, tile);
        let plain = errors(&|y| layer.run(&last, None, Clamp::NONE, y));
        let name = format!("{c} channels: {ours:?}, a plain sum {plain:?}");
        assert!(ours[0] < 1.0 && ours[0] < 4.0 * plain[0], "{name}");
    }
}

#[test]
fn it_pays_by_shapes_alone() {
    for (channels, sizes, expected) in [
        ([16, 16], [32, 32], true),
        ([32, 32], [16, 16], true),
        ([64, 64], [8, 8], true),
        ([64, 64], [56, 56], true),
        ([128, 128], [28, 28], true),
        ([256, 256], [14, 14], true),
        ([64, 3], [224, 224], true),
        // Three channels take as long to transform as sixteen.
        ([3, 16], [32, 32], false),
        ([3, 64], [224, 224], false),
        // Weights that come from memory for four tiles.
        ([512, 512], [7, 7], false),
        ([64, 64], [4, 4], false),
        ([16, 16], [3, 32], false),
    ] {
        for n in [1, 64] {
            let ([c_in, c_out], [h, w]) = (channels, sizes);
            let s = conv_shape([n, c_in, h, w, c_out], [3; 2], [1; 2], [1; 4], [1; 2]);
            assert_eq!(WinogradLayer::pays(&s), expected, "{s:?}");
        }
    }
}

#[test]
fn only_plain_convolutions_of_nine_taps_can() {
    let can = |kernel, stride, padding, dilation, groups, size: [usize; 2]| {
        let sizes = [1, 8, size[0], size[1], 8];
        let s = conv_shape(sizes, kernel, stride, padding, dilation);
        WinogradLayer::can(&ConvShape { groups, ..s })
    };
    for (what, expected, found) in [
        (
            "plain",
            true,
            can([3; 2], [1; 2], [1; 4], [1; 2], 1, [4, 9]),
        ),
        (
            "a kernel of 1 by 3",
            false,
            can([1, 3], [1; 2], [0; 4], [1; 2], 1, [9, 9]),
        ),
        (
            "5 by 5",
            false,
            can([5; 2], [1; 2], [2; 4], [1; 2], 1, [9, 9]),
        ),
        (
            "steps",
            false,
            can([3; 2], [2, 1], [1; 4], [1; 2], 1, [9, 9]),
        ),
        (
            "dilation",
            false,
            can([3; 2], [1; 2], [2; 4], [1, 2], 1, [9, 9]),
        ),
        (
            "groups",
            false,
            can([3; 2], [1; 2], [1; 4], [1; 2], 2, [9, 9]),
        ),
        (
            "3 rows of outputs",
            false,
            can([3; 2], [1; 2], [0; 4], [1; 2], 1, [5, 9]),
        ),
        (
            "3 columns",
            false,
            can([3; 2], [1; 2], [1; 4], [1; 2], 1, [9, 3]),
        ),
        (
            "smaller than the kernel",
            false,
            can([3; 2], [1; 2], [0; 4], [1; 2], 1, [2, 2]),
        ),
    ] {
        assert_eq!(found, expected, "{what}");
    }
}
