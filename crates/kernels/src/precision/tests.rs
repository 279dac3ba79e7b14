use super::*;
use crate::conv::cases;
use crate::pairs::pair_lanes;
use crate::reference;
use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};

const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

fn rounded(precision: Precision, x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| precision.round(x)).collect()
}

/// The same as the conversions of the crate `half`, for numbers of every exponent.
#[test]
fn rounds_as_others_do() {
    let mut bits: Vec<u32> = (0..=u32::from(u16::MAX)).map(|high| high << 16).collect();
    bits.extend((0..1 << 16).map(|i: u32| i.wrapping_mul(0x9e37_79b9)));
    // Halves between two numbers, and their neighbours.
    let halves = (0..1 << 16).map(|i: u32| i.wrapping_mul(0x0001_0003) & !0x1fff | 0x1000);
    bits.extend(halves.flat_map(|b| [b - 1, b, b + 1]));
    for x in bits.into_iter().map(f32::from_bits) {
        for (precision, expected) in [
            (Precision::Bf16, half::bf16::from_f32(x).to_f32()),
            (Precision::F16, half::f16::from_f32(x).to_f32()),
        ] {
            let y = precision.round(x);
            let same = y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan());
            assert!(
                same,
                "{precision:?}: {x:e} gives {y:e}, expected {expected:e}"
            );
        }
    }
    for (x, expected) in [
        (65504.0, 65504.0),
        (65519.996, 65504.0),
        (65520.0, f32::INFINITY),
        (2f32.powi(-24), 2f32.powi(-24)),
        (2f32.powi(-25), 0.0),
        (1.5 * 2f32.powi(-25), 2f32.powi(-24)),
    ] {
        assert_eq!(Precision::F16.round(x), expected, "{x:e}");
    }
}

#[test]
fn copies_are_rounded_on_any_pool() {
    let x = numbers(100_003, 5);
    for precision in ALL {
        let y = same_on_any_pool("rounding", || {
            let mut y = vec![f32::NAN; x.len()];
            precision.round_all(&x, &mut y);
            y
        });
        assert_eq!(y, rounded(precision, &x), "{precision:?}");
    }
}

#[test]
fn products_agree_with_reference() {
    for [m, n, k] in [
        [1, 1, 1],
        [32, 32, 16],
        [33, 47, 129],
        [31, 64, 64],
        [128, 300, 784],
    ] {
        let (a, b, bias) = (numbers(m * k, 1), numbers(n * k, 2), numbers(n, 3));
        for precision in ALL {
            let name = format!("{m} {n} {k} {precision:?}");
            let round = |x: &[f32]| match precision.rounds_product([m, n, k]) {
                true => rounded(precision, x),
                false => x.to_vec(),
            };
            let (ra, rb) = (round(&a), round(&b));
            let c = same_on_any_pool(&name, || {
                let (a, b) = (MatRef::row_major(&a, k), MatRef::row_major(&b, n));
                let mut c = vec![f32::NAN; m * n];
                precision.matmul([m, n, k], a, b, &mut c);
                c
            });
            let mut expected = vec![0.0; m * n];
            let (left, right) = (MatRef::row_major(&ra, k), MatRef::row_major(&rb, n));
            reference::matmul(m, n, k, left, right, &mut expected, false);
            assert_close(&name, &c, &expected, tolerance(k));
            for bias in [None, Some(bias.as_slice())] {
                let mut y = vec![f32::NAN; m * n];
                precision.dense([m, k, n], &a, &b, bias, &mut y);
                reference::dense(m, k, n, &ra, &rb, bias, &mut expected);
                assert_close(&name, &y, &expected, tolerance(k));
            }
        }
    }
}

#[test]
fn convolutions_agree_with_reference() {
    for (name, shape) in cases() {
        let (x, w) = (numbers(shape.x_len(), 1), numbers(shape.w_len(), 2));
        let (dy, bias) = (numbers(shape.y_len(), 3), numbers(shape.c_out, 4));
        let dx_terms = shape.group_out() * shape.kernel[0] * shape.kernel[1];
        let dw_terms = shape.n * shape.plane_out();
        for precision in ALL {
            let name = format!("{name}, {precision:?}");
            let round = |rounds: bool, x: &[f32]| match rounds {
                true => rounded(precision, x),
                false => x.to_vec(),
            };
            let rounds = precision.rounds_conv(&shape);
            let y = same_on_any_pool(&name, || {
                let mut y = vec![f32::NAN; shape.y_len()];
                precision.conv(&shape, &x, &w, Some(&bias), &mut y);
                y
            });
            let mut expected = vec![0.0; shape.y_len()];
            let (rx, rw) = (round(rounds, &x), round(rounds, &w));
            reference::conv(&shape, &rx, &rw, Some(&bias), &mut expected);
            assert_close(&name, &y, &expected, tolerance(shape.taps()));

            let rounds = precision.rounds_grad_input(&shape);
            let dx = same_on_any_pool(&name, || {
                let mut dx = vec![f32::NAN; shape.x_len()];
                precision.conv_grad_input(&shape, &dy, &w, &mut dx);
                dx
            });
            let mut expected = vec![0.0; shape.x_len()];
            let (rdy, rw) = (round(rounds, &dy), round(rounds, &w));
            reference::conv_grad_input(&shape, &rdy, &rw, &mut expected);
            assert_close(&format!("{name}, dx"), &dx, &expected, tolerance(dx_terms));

            let rounds = precision.rounds_grad_weight(&shape);
            let dw = same_on_any_pool(&name, || {
                let mut dw = vec![f32::NAN; shape.w_len()];
                precision.conv_grad_weight(&shape, &x, &dy, &mut dw);
                dw
            });
            let mut expected = vec![0.0; shape.w_len()];
            let (rx, rdy) = (round(rounds, &x), round(rounds, &dy));
            reference::conv_grad_weight(&shape, &rx, &rdy, &mut expected);
            assert_close(&format!("{name}, dw"), &dw, &expected, tolerance(dw_terms));
        }
    }
}

/// Pairs, with the instruction and without, in every pass that a shape can take with them.
#[test]
fn pairs_agree_with_reference() {
    let precision = Precision::Bf16;
    for (name, shape) in cases() {
        let (x, w) = (numbers(shape.x_len(), 1), numbers(shape.w_len(), 2));
        let (dy, bias) = (numbers(shape.y_len(), 3), numbers(shape.c_out, 4));
        let [rx, rw, rdy] = [&x, &w, &dy].map(|x| rounded(precision, x));
        let dx_terms = shape.group_out() * shape.kernel[0] * shape.kernel[1];
        let dw_terms = shape.n * shape.plane_out();
        for lanes in pair_lanes() {
            let name = format!("{name}, {lanes:?}");
            if shape.rounds() {
                let (mut y, mut expected) = (dy.clone(), dy.clone());
                paired::conv(lanes, &shape, &x, &w, Some(&bias), &mut y);
                reference::conv(&shape, &rx, &rw, Some(&bias), &mut expected);
                assert_close(&name, &y, &expected, tolerance(shape.taps()));
            }
            if shape.rounds_grad_input() {
                let (mut dx, mut expected) = (x.clone(), x.clone());
                paired::conv_grad_input(lanes, &shape, &dy, &w, &mut dx);
                reference::conv_grad_input(&shape, &rdy, &rw, &mut expected);
                assert_close(&format!("{name}, dx"), &dx, &expected, tolerance(dx_terms));
            }
            if shape.rounds_grad_weight() {
                let (mut dw, mut expected) = (w.clone(), w.clone());
                paired::conv_grad_weight(lanes, &shape, &x, &dy, &mut dw);
                reference::conv_grad_weight(&shape, &rx, &rdy, &mut expected);
                assert_close(&format!("{name}, dw"), &dw, &expected, tolerance(dw_terms));
            }
        }
    }
}

/// An infinity reaches the results that see it, and no others: not those of the number that shares its
/// lane, nor those of lanes that are not stored.
#[test]
fn infinities_do_not_spread() {
    let shape = ConvShape {
        n: 3,
        c_in: 3,
        h: 5,
        w: 7,
        c_out: 3,
        kernel: [2, 2],
        stride: [1, 1],
        padding: [0; 4],
        dilation: [1, 1],
        groups: 1,
    };
    let (mut x, dy) = (numbers(shape.x_len(), 1), numbers(shape.y_len(), 2));
    let w = numbers(shape.w_len(), 3);
    x[0] = f32::INFINITY;
    for lanes in pair_lanes() {
        let mut y = vec![0.0; shape.y_len()];
        paired::conv(lanes, &shape, &x, &w, None, &mut y);
        let plane = shape.plane_out();
        for (i, y) in y.iter().enumerate() {
            let sees = i < 3 * plane && i % plane == 0;
            assert_eq!(!y.is_finite(), sees, "{lanes:?}: {i}");
        }
        let mut dw = vec![0.0; shape.w_len()];
        paired::conv_grad_weight(lanes, &shape, &x, &dy, &mut dw);
        for (i, dw) in dw.iter().enumerate() {
            let sees = i % shape.taps() == 0;
            assert_eq!(!dw.is_finite(), sees, "{lanes:?}: {i}");
        }
    }
}

/// Products of numbers too small for `f32` are zero or what they should be, never anything else.
#[test]
fn small_numbers_vanish_or_stay() {
    let [m, n, k] = [32, 48, 16];
    let (tiny, one) = (vec![1e-40f32; m * k], vec![1.0f32; k * n]);
    let mut c = vec![f32::NAN; m * n];
    let (a, b) = (MatRef::row_major(&tiny, k), MatRef::row_major(&one, n));
    Precision::Bf16.matmul([m, n, k], a, b, &mut c);
    assert!(c.iter().all(|c| (0.0..2e-39).contains(c)));
}
