//! Round trips, rates and attacks of the weight coder.

use super::*;
use crate::entropy_order0;
use proptest::prelude::*;

type Layer = (Shape, Vec<i32>);

/// Numbers that are the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// True `n` times in a thousand.
    fn chance(&mut self, n: u32) -> bool {
        self.next() % 1000 < n
    }
}

fn shape(rows: usize, cols: usize, stride: usize, max: i32) -> Shape {
    Shape {
        rows,
        cols,
        stride,
        min_level: -max,
        max_level: max,
    }
}

/// Levels of -8 to 8, `density` of a thousand nonzero, independent of each other.
fn independent(shape: &Shape, density: u32, random: &mut Random) -> Vec<i32> {
    let level = |random: &mut Random| {
        let magnitude = (random.next() % 1024).leading_zeros() as i32 - 21;
        let magnitude = magnitude.clamp(1, shape.max_level);
        if random.chance(500) {
            magnitude
        } else {
            -magnitude
        }
    };
    let n = shape.rows * shape.cols;
    (0..n)
        .map(|_| {
            if random.chance(density) {
                level(random)
            } else {
                0
            }
        })
        .collect()
}

/// As pruning leaves a first layer: dense in the middle of the image, and by rows.
fn structured(shape: &Shape, random: &mut Random) -> Vec<i32> {
    let mut levels = independent(shape, 900, random);
    let side = shape.stride as i64;
    for (r, row) in levels.chunks_exact_mut(shape.cols).enumerate() {
        for (c, level) in row.iter_mut().enumerate() {
            let (x, y) = (c as i64 % side - side / 2, c as i64 / side - side / 2);
            let keep = 1000 - 16 * (x * x + y * y) - 300 * (r as i64 % 4);
            if !random.chance(keep.clamp(2, 1000) as u32) {
                *level = 0;
            }
        }
    }
    levels
}

fn assert_round_trip(name: &str, data: &[Layer]) -> Vec<u8> {
    let matrices: Vec<Matrix> = data
        .iter()
        .map(|(shape, levels)| Matrix::new(*shape, levels).unwrap())
        .collect();
    let bytes = encode(&matrices);
    let shapes: Vec<Shape> = data.iter().map(|(shape, _)| *shape).collect();
    let budget = data.iter().map(|(_, levels)| levels.len()).sum();
    let decoded = decode(&bytes, &shapes, budget).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(
        decoded.iter().eq(data.iter().map(|(_, levels)| levels)),
        "{name}"
    );
    bytes
}

#[test]
fn edge_cases_round_trip() {
    let wide = Shape {
        min_level: i32::MIN,
        max_level: i32::MAX,
        ..shape(2, 3, 1, 0)
    };
    let extremes = vec![i32::MIN, i32::MAX, 0, -1, 1, 65536];
    let one_sided = Shape {
        min_level: 0,
        max_level: 3,
        ..shape(2, 2, 1, 0)
    };
    let negative = Shape {
        min_level: -1,
        max_level: 0,
        ..shape(2, 2, 1, 0)
    };
    let cases: [(&str, Vec<Layer>); 13] = [
        ("no matrices", vec![]),
        ("no rows", vec![(shape(0, usize::MAX, 1, 1), vec![])]),
        ("no columns", vec![(shape(usize::MAX, 0, 28, 1), vec![])]),
        ("one zero", vec![(shape(1, 1, 1, 1), vec![0])]),
        ("one weight", vec![(shape(1, 1, 1, 9), vec![-9])]),
        ("all zero", vec![(shape(50, 70, 7, 8), vec![0; 3500])]),
        ("all the same", vec![(shape(50, 70, 7, 8), vec![8; 3500])]),
        (
            "nothing but zero possible",
            vec![(shape(3, 3, 1, 0), vec![0; 9])],
        ),
        ("extremes", vec![(wide, extremes)]),
        ("only positive", vec![(one_sided, vec![0, 1, 2, 3])]),
        ("only negative", vec![(negative, vec![0, -1, 0, -1])]),
        (
            "stride beyond the row",
            vec![(shape(2, 3, 900, 1), vec![0, 1, -1, 1, 0, 1])],
        ),
        (
            "stride zero",
            vec![(shape(2, 3, 0, 18), vec![18, -18, 17, 0, 1, 16])],
        ),
    ];
    for (name, data) in cases {
        assert_round_trip(name, &data);
    }
}

#[test]
fn zeros_are_nearly_free() {
    let data = [(shape(300, 784, 28, 8), vec![0; 300 * 784])];
    assert!(assert_round_trip("zeros", &data).len() <= 4);
}

#[test]
fn rate_of_independent_levels_is_their_entropy() {
    for density in [20, 50, 200, 1000] {
        let shape = shape(200, 400, 20, 8);
        let levels = independent(&shape, density, &mut Random(density.into()));
        let entropy_bytes = entropy_order0(&levels) * levels.len() as f64 / 8.0;
        let size = assert_round_trip("independent", &[(shape, levels)]).len() as f64;
        let bound = entropy_bytes * 1.02 + 40.0;
        assert!(
            size <= bound,
            "density {density}: {size} bytes, entropy {entropy_bytes}"
        );
    }
}

#[test]
fn rate_of_structured_levels_is_well_below_their_entropy() {
    let (first, second) = (shape(100, 784, 28, 8), shape(40, 100, 1, 8));
    let mut random = Random(5);
    let data = [
        (first, structured(&first, &mut random)),
        (second, independent(&second, 100, &mut random)),
    ];
    let bits = |levels: &[i32]| entropy_order0(levels) * levels.len() as f64;
    let entropy_bytes = (bits(&data[0].1) + bits(&data[1].1)) / 8.0;
    let size = assert_round_trip("structured", &data).len() as f64;
    assert!(
        size < 0.75 * entropy_bytes,
        "{size} bytes, entropy {entropy_bytes}"
    );
}

#[test]
fn refusals() {
    let good = shape(2, 2, 1, 3);
    let cases: [(&str, Shape, &[i32]); 4] = [
        ("too few levels", good, &[1, 2, 3]),
        ("level too large", good, &[1, 2, 3, 4]),
        (
            "range without zero",
            Shape {
                min_level: 1,
                ..good
            },
            &[1, 1, 1, 1],
        ),
        ("size overflows", shape(usize::MAX, 2, 1, 3), &[]),
    ];
    for (name, shape, levels) in cases {
        assert_eq!(
            Matrix::new(shape, levels).unwrap_err().kind(),
            ErrorKind::Mismatch,
            "{name}"
        );
    }
    let levels = [1, 0, 0, -3];
    let bytes = encode(&[Matrix::new(good, &levels).unwrap()]);
    let huge = shape(usize::MAX, 2, 1, 3);
    type Case<'a> = (&'a str, &'a [u8], &'a [Shape], usize, ErrorKind);
    let cases: [Case; 6] = [
        ("over budget", &bytes, &[good], 3, ErrorKind::TooLarge),
        (
            "over budget together",
            &bytes,
            &[good, good],
            7,
            ErrorKind::TooLarge,
        ),
        (
            "size overflows",
            &bytes,
            &[huge],
            usize::MAX,
            ErrorKind::TooLarge,
        ),
        ("no header", &[], &[good], 9, ErrorKind::Truncated),
        (
            "unknown profile",
            &[255, 0, 0],
            &[good],
            9,
            ErrorKind::Unsupported,
        ),
        (
            "trailing bytes",
            &[&bytes[..], &[1, 2]].concat(),
            &[good],
            9,
            ErrorKind::Trailing,
        ),
    ];
    for (name, bytes, shapes, budget, kind) in cases {
        assert_eq!(
            decode(bytes, shapes, budget).unwrap_err().kind(),
            kind,
            "{name}"
        );
    }
}

#[test]
fn a_code_that_ends_early_stops_the_decoder() {
    // A terabyte of levels is within budget, and must fail before a fraction of it is decoded.
    let huge = shape(1 << 20, 1 << 18, 1, 8);
    let error = decode(&[PROFILE_1, 0x55, 0xAA, 0x55], &[huge], usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

#[test]
fn time_is_linear_in_rows() {
    // Anything quadratic in the rows would take minutes.
    let shape = shape(1 << 18, 2, 1, 1);
    let levels = independent(&shape, 300, &mut Random(3));
    assert_round_trip("tall", &[(shape, levels)]);
}

/// The model is part of the file format. If this fails, the change needs a new profile.
#[test]
fn golden_bytes_of_profile_1() {
    let mut random = Random(2026);
    let (first, second) = (shape(12, 49, 7, 3), shape(6, 12, 1, 20));
    let data = [
        (first, structured(&first, &mut random)),
        (
            second,
            (0..72)
                .map(|i| if i % 5 == 0 { 0 } else { (i * i) % 41 - 20 })
                .collect(),
        ),
    ];
    let bytes = assert_round_trip("golden", &data);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

const GOLDEN: &str = "010cdd4301fea2a909aa4ae2297804d0307278eb7b40ebaf88e702f2998152e67e619075398616f0\
    07a2b7b7a2d7033db988a756cfb40cdb2f92b670cdc3714a9e41c863413bb66a8964009597e9616e\
    11394a51928930c4e6f5646a5cf2c5c5d8c833a0fbc5a348991e3803bd996231114206920207c8d5\
    80989aa8737c573e1e455ca61c03127a21b7e0552459156f24913a6807278c58bdd6352ded24faa0\
    a53def62bd5b9d2cf789718b84d98a5bd2f62b";

fn matrices() -> impl Strategy<Value = Vec<Layer>> {
    let matrix = (0..20usize, 0..40usize, 0..12usize, 0..40i32, any::<u64>()).prop_map(
        |(rows, cols, stride, max, seed)| {
            let shape = Shape {
                min_level: -(max / 2),
                ..shape(rows, cols, stride, max)
            };
            let mut random = Random(seed);
            let density = random.next() % 1000;
            let n_values = max as u32 + max as u32 / 2 + 1;
            let level = |random: &mut Random| (random.next() % n_values) as i32 - max / 2;
            let levels = (0..rows * cols)
                .map(|_| {
                    if random.chance(density) {
                        level(&mut random)
                    } else {
                        0
                    }
                })
                .collect();
            (shape, levels)
        },
    );
    prop::collection::vec(matrix, 0..4)
}

proptest! {
    #[test]
    fn round_trip(data in matrices()) {
        assert_round_trip("random", &data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_bytes_decode_without_panic(
        data in matrices(), at: prop::sample::Index, flip in 1..=255u8, cut: prop::sample::Index
    ) {
        let mut bytes = assert_round_trip("random", &data);
        let shapes: Vec<Shape> = data.iter().map(|(shape, _)| *shape).collect();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = decode(&bytes, &shapes, 1 << 16);
        let _ = decode(&bytes[..cut.index(bytes.len())], &shapes, 1 << 16);
    }

    #[test]
    fn any_bytes_decode_without_panic(
        code: Vec<u8>, rows in 0..50usize, cols in 0..50usize, stride: usize, max in 0..=i32::MAX
    ) {
        let bytes = [&[PROFILE_1], &code[..]].concat();
        let _ = decode(&bytes, &[shape(rows, cols, stride, max)], 1 << 16);
    }
}
