//! Piecewise linear functions of many numbers.

use crate::simd::{Level, level};

/// 2⁵²: the last bits of a number from 0 to 2³² added to it are the number, to the nearest whole. This takes
/// the processor one addition, in vectors too, where a conversion that looks out for numbers which no integer
/// can hold takes five instructions.
const WHOLE: f64 = (1u64 << 52) as f64;

/// Numbers that are looked up side by side.
const GROUP: usize = 4;

/// A grid of cells of equal width over the numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The middle of cell 1.
    pub low: f64,
    /// Grid a unit.
    pub scale: f64,
    /// How many there are, a power of two. What lies outside is in the first or the last.
    pub count: usize,
}

impl Grid {
    /// Where `x` lies, in cells; 0 where it is not a number.
    #[inline(always)]
    fn at(self, x: f64) -> f64 {
        // Two instructions each, which `f64::clamp` is not, for the sake of what is not a number.
        let (at, last) = ((x - self.low) * self.scale + 1.0, self.count as f64 - 1.0);
        let at = if at > 0.0 { at } else { 0.0 };
        if at < last { at } else { last }
    }

    /// The cell whose middle is nearest to `x`, and how far above its middle `x` is, in cells. A larger `x` is
    /// in the same cell or a later one. Cell 0 where `x` is not a number.
    #[inline(always)]
    pub fn find(self, x: f64) -> (usize, f64) {
        let at = self.at(x);
        let whole = at + WHOLE;
        let cell = whole.to_bits() as usize & (self.count - 1);
        (cell, at - (whole - WHOLE))
    }
}

/// A function with whole values from 0 to 2³²: in each cell of a grid two lines that meet at a knot.
#[derive(Clone, Debug)]
pub struct PiecewiseLinear {
    grid: Grid,
    pieces: Vec<Piece>,
}

/// What a [`PiecewiseLinear`] is in a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub struct Piece {
    /// Where the lines meet, in cells from the middle of this one, which may be far from it. Not a number
    /// where the value is not a matter of lines.
    pub knot: f64,
    /// Change of the value a cell, from the knot up and from the knot down; finite.
    pub slopes: [f64; 2],
    /// Value at the knot.
    pub value: f64,
}

impl PiecewiseLinear {
    /// # Panics
    /// If there is not one piece for each cell, or their number is not a power of two from 2 to 2¹⁶.
    pub fn new(grid: Grid, mut pieces: Vec<Piece>) -> PiecewiseLinear {
        let n = grid.count;
        assert!(
            n.is_power_of_two() && (2..=1 << 16).contains(&n),
            "expected a power of two of cells from 2 to 65536, found {n}"
        );
        assert_eq!(pieces.len(), n, "a piece for each cell");
        pieces.iter_mut().for_each(|piece| piece.value += WHOLE);
        PiecewiseLinear { grid, pieces }
    }

    /// The cells.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Adds the values of the function at `x`, to the nearest whole numbers, to `sums`; `other` tells them where
    /// lines do not, and where `x` is not a finite number. Sums are taken modulo 2⁶⁴. The same bits on every
    /// processor.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_to(&self, x: &[f64], sums: &mut [u64], other: &dyn Fn(f64) -> u64) {
        self.add_at(level(), x, sums, other);
    }

    fn add_at(&self, at: Level, x: &[f64], sums: &mut [u64], other: &dyn Fn(f64) -> u64) {
        assert_eq!(x.len(), sums.len(), "a sum for each number");
        #[cfg(target_arch = "x86_64")]
        if at == Level::Avx512 {
            let (pairs, rest) = x.as_chunks();
            let (pair_sums, sums) = sums.as_chunks_mut();
            // SAFETY: the level is only had where AVX-512 was detected, and there are as many pieces as cells,
            // a power of two, as `new` has checked.
            unsafe { x86::add_pairs(self, pairs, pair_sums, other) };
            return self.add_at(Level::Avx2, rest, sums, other);
        }
        let (groups, rest) = x.as_chunks::<GROUP>();
        let (sums, last) = sums.as_chunks_mut::<GROUP>();
        match at {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above, for AVX2.
            Level::Avx2 => unsafe { x86::add(self, groups, sums, other) },
            _ => self.add(groups, sums, other),
        }
        // The lines of the others, with those who are not there at `low`.
        let mut padded = [self.grid.low; GROUP];
        padded[..rest.len()].copy_from_slice(rest);
        let mut values = [[0; GROUP]];
        self.add(&[padded], &mut values, other);
        let sums = last.iter_mut().zip(values[0]);
        sums.for_each(|(sum, value)| *sum = sum.wrapping_add(value));
    }

    fn add(&self, groups: &[[f64; GROUP]], sums: &mut [[u64; GROUP]], other: &dyn Fn(f64) -> u64) {
        for (sums, x) in sums.iter_mut().zip(groups) {
            for (sum, &x) in sums.iter_mut().zip(x) {
                let (cell, above) = self.grid.find(x);
                let piece = &self.pieces[cell];
                let from = above - piece.knot + 0.0 * x;
                let slope = piece.slopes[usize::from(from.is_sign_negative())];
                let value = (from * slope + piece.value).to_bits();
                *sum = sum.wrapping_add(match from.is_nan() {
                    true => other(x),
                    false => value.wrapping_sub(WHOLE.to_bits()),
                });
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{GROUP, PiecewiseLinear, WHOLE};

    /// [`PiecewiseLinear::add`], a group in a vector: pieces are loaded whole and transposed. Multiplications
    /// and additions are not fused, for the same bits.
    ///
    /// # Safety
    /// There are as many pieces as the grid has cells, a power of two.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn add(
        f: &PiecewiseLinear,
        groups: &[[f64; GROUP]],
        sums: &mut [[u64; GROUP]],
        other: &dyn Fn(f64) -> u64,
    ) {
        let pieces = f.pieces.as_ptr().cast::<f64>();
        let (low, scale) = (_mm256_set1_pd(f.grid.low), _mm256_set1_pd(f.grid.scale));
        let (zero, one) = (_mm256_setzero_pd(), _mm256_set1_pd(1.0));
        let last = _mm256_set1_pd(f.grid.count as f64 - 1.0);
        let mask = _mm256_set1_epi64x(f.grid.count as i64 - 1);
        let whole = _mm256_set1_pd(WHOLE);
        for (sums, group) in sums.iter_mut().zip(groups) {
            // SAFETY: a group has four numbers.
            let x = unsafe { _mm256_loadu_pd(group.as_ptr()) };
            let at = _mm256_add_pd(_mm256_mul_pd(_mm256_sub_pd(x, low), scale), one);
            // Of two of which one is not a number these are the second, as in `Grid::at`.
            let at = _mm256_min_pd(_mm256_max_pd(at, zero), last);
            let near = _mm256_add_pd(at, whole);
            let cell = _mm256_and_si256(_mm256_castpd_si256(near), mask);
            let above = _mm256_sub_pd(at, _mm256_sub_pd(near, whole));
            let (low_half, high_half) = (
                _mm256_castsi256_si128(cell),
                _mm256_extracti128_si256::<1>(cell),
            );
            let cells = [
                _mm_cvtsi128_si64(low_half),
                _mm_extract_epi64::<1>(low_half),
                _mm_cvtsi128_si64(high_half),
                _mm_extract_epi64::<1>(high_half),
            ];
            // SAFETY: the mask leaves numbers below the number of pieces, which are four numbers each, on
            // 32 bytes.
            let [a, b, c, d] =
                cells.map(|cell| unsafe { _mm256_load_pd(pieces.add(GROUP * cell as usize)) });
            let (ab, cd) = (_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, d));
            let knot = _mm256_permute2f128_pd::<0x20>(ab, cd);
            let down = _mm256_permute2f128_pd::<0x31>(ab, cd);
            let (ab, cd) = (_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, d));
            let up = _mm256_permute2f128_pd::<0x20>(ab, cd);
            let value = _mm256_permute2f128_pd::<0x31>(ab, cd);
            let from = _mm256_sub_pd(above, knot);
            let from = _mm256_add_pd(from, _mm256_mul_pd(zero, x));
            let slope = _mm256_blendv_pd(up, down, from);
            let value = _mm256_add_pd(_mm256_mul_pd(from, slope), value);
            let value = _mm256_sub_epi64(_mm256_castpd_si256(value), _mm256_castpd_si256(whole));
            let unknown = _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_UNORD_Q>(from, from));
            if unknown == 0 {
                let to = sums.as_mut_ptr().cast();
                // SAFETY: a group has four sums.
                unsafe {
                    let sum = _mm256_add_epi64(_mm256_loadu_si256(to), value);
                    _mm256_storeu_si256(to, sum);
                }
                continue;
            }
            let mut values = [0; GROUP];
            // SAFETY: there is room for four.
            unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), value) };
            add_some(group, &values, unknown as u32, sums, other);
        }
    }

    /// Adds values, but where bits say that they are unknown what `other` tells.
    #[cold]
    fn add_some(
        x: &[f64],
        values: &[u64],
        unknown: u32,
        sums: &mut [u64],
        other: &dyn Fn(f64) -> u64,
    ) {
        for (i, (sum, &value)) in sums.iter_mut().zip(values).enumerate() {
            *sum = sum.wrapping_add(match unknown >> i & 1 {
                0 => value,
                _ => other(x[i]),
            });
        }
    }

    /// Numbers of two groups.
    const PAIR: usize = 2 * GROUP;

    /// [`add`], two groups in a vector.
    ///
    /// # Safety
    /// As that of [`add`].
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn add_pairs(
        f: &PiecewiseLinear,
        pairs: &[[f64; PAIR]],
        sums: &mut [[u64; PAIR]],
        other: &dyn Fn(f64) -> u64,
    ) {
        let pieces = f.pieces.as_ptr().cast::<f64>();
        let (low, scale) = (_mm512_set1_pd(f.grid.low), _mm512_set1_pd(f.grid.scale));
        let (zero, one) = (_mm512_setzero_pd(), _mm512_set1_pd(1.0));
        let last = _mm512_set1_pd(f.grid.count as f64 - 1.0);
        let mask = _mm512_set1_epi64(f.grid.count as i64 - 1);
        let whole = _mm512_set1_pd(WHOLE);
        // Of the lanes of two vectors, two numbers each, the first and third, and the second and fourth.
        let even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
        let odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
        for (sums, pair) in sums.iter_mut().zip(pairs) {
            // SAFETY: a pair has eight numbers.
            let x = unsafe { _mm512_loadu_pd(pair.as_ptr()) };
            let at = _mm512_add_pd(_mm512_mul_pd(_mm512_sub_pd(x, low), scale), one);
            // Of two of which one is not a number these are the second, as in `Grid::at`.
            let at = _mm512_min_pd(_mm512_max_pd(at, zero), last);
            let near = _mm512_add_pd(at, whole);
            let cell = _mm512_and_si512(_mm512_castpd_si512(near), mask);
            let above = _mm512_sub_pd(at, _mm512_sub_pd(near, whole));
            let mut cells = [0u64; PAIR];
            // SAFETY: there is room for eight.
            unsafe { _mm512_storeu_si512(cells.as_mut_ptr().cast(), cell) };
            // Pieces `i` and `i + 4` in the halves of a vector.
            let piece = |i: usize| {
                // SAFETY: the mask leaves numbers below the number of pieces, which are four numbers each, on
                // 32 bytes.
                let [low, high] = [i, i + GROUP]
                    .map(|i| unsafe { _mm256_load_pd(pieces.add(GROUP * cells[i] as usize)) });
                _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high)
            };
            let [a, b, c, d] = [piece(0), piece(1), piece(2), piece(3)];
            let (ab, cd) = (_mm512_unpacklo_pd(a, b), _mm512_unpacklo_pd(c, d));
            let knot = _mm512_permutex2var_pd(ab, even, cd);
            let down = _mm512_permutex2var_pd(ab, odd, cd);
            let (ab, cd) = (_mm512_unpackhi_pd(a, b), _mm512_unpackhi_pd(c, d));
            let up = _mm512_permutex2var_pd(ab, even, cd);
            let value = _mm512_permutex2var_pd(ab, odd, cd);
            let from = _mm512_sub_pd(above, knot);
            let from = _mm512_add_pd(from, _mm512_mul_pd(zero, x));
            // Those whose sign is negative.
            let below = _mm512_cmplt_epi64_mask(_mm512_castpd_si512(from), _mm512_setzero_si512());
            let slope = _mm512_mask_blend_pd(below, up, down);
            let value = _mm512_add_pd(_mm512_mul_pd(from, slope), value);
            let value = _mm512_sub_epi64(_mm512_castpd_si512(value), _mm512_castpd_si512(whole));
            let unknown = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(from, from);
            if unknown == 0 {
                let to = sums.as_mut_ptr().cast();
                // SAFETY: a pair has eight sums.
                unsafe {
                    let sum = _mm512_add_epi64(_mm512_loadu_si512(to), value);
                    _mm512_storeu_si512(to, sum);
                }
                continue;
            }
            let mut values = [0; PAIR];
            // SAFETY: there is room for eight.
            unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), value) };
            add_some(pair, &values, u32::from(unknown), sums, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;
    use crate::testing::numbers;

    /// The values by the definition, with whole cells found by comparing.
    fn reference(f: &PiecewiseLinear, x: f64, other: &dyn Fn(f64) -> u64) -> u64 {
        if !x.is_finite() {
            return other(x);
        }
        let last = f.grid.count as f64 - 1.0;
        let at = ((x - f.grid.low) * f.grid.scale + 1.0).clamp(0.0, last);
        let piece = &f.pieces[at.round_ties_even() as usize];
        if piece.knot.is_nan() {
            return other(x);
        }
        let from = at - at.round_ties_even() - piece.knot;
        let slope = piece.slopes[usize::from(from < 0.0)];
        (from * slope + (piece.value - WHOLE)).round_ties_even() as u64
    }

    /// Lines between whole values at random knots; every ninth cell has none.
    fn function(count: usize, low: f64, scale: f64) -> PiecewiseLinear {
        let random = numbers(3 * count, count as u64);
        let piece = |cell: usize| {
            let [knot, up, down] = std::array::from_fn(|i| f64::from(random[3 * cell + i]));
            Piece {
                knot: if cell % 9 == 4 { f64::NAN } else { knot / 2.0 },
                slopes: [1e6 * up, 1e6 * down],
                value: f64::from(1u32 << 31) + cell as f64,
            }
        };
        PiecewiseLinear::new(Grid { low, scale, count }, (0..count).map(piece).collect())
    }

    #[test]
    fn agrees_with_the_slow_twin_at_every_level() {
        let other = |x: f64| if x.is_finite() { 7 } else { 1 << 40 };
        for (count, low, scale) in [
            (2, 0.0, 1.0),
            (64, -3.0, 0.25),
            (4096, 1e-9, 4e12),
            (8, 5.0, 0.0),
        ] {
            let f = function(count, low, scale);
            let width = if scale > 0.0 {
                count as f64 / scale
            } else {
                1.0
            };
            for len in [0, 1, 3, 4, 5, 8, 1003] {
                let mut x: Vec<f64> = numbers(len, 5).into_iter().map(f64::from).collect();
                x.iter_mut()
                    .for_each(|x| *x = low + width * (0.5 + 0.7 * *x));
                let odd = [
                    f64::NAN,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    low,
                    -0.0,
                    f64::MAX,
                    5e-324,
                ];
                x.iter_mut()
                    .skip(1)
                    .step_by(11)
                    .zip(odd)
                    .for_each(|(x, odd)| *x = odd);
                let mut found = Vec::new();
                for level in levels() {
                    let mut sums = vec![1; len];
                    f.add_at(level, &x, &mut sums, &other);
                    found.push(sums);
                }
                assert!(found.windows(2).all(|w| w[0] == w[1]), "levels differ");
                for (&x, &sum) in x.iter().zip(&found[0]) {
                    let expected = 1 + reference(&f, x, &other);
                    // A product is rounded before the sum.
                    assert!(sum.abs_diff(expected) <= 1, "{x}: {sum} for {expected}");
                }
            }
        }
    }

    #[test]
    fn cells_ascend() {
        let grid = Grid {
            low: -2.0,
            scale: 1e3,
            count: 1 << 12,
        };
        let mut x: Vec<f64> = numbers(1000, 1)
            .into_iter()
            .map(|x| 5.0 * f64::from(x))
            .collect();
        x.sort_unstable_by(f64::total_cmp);
        let cells: Vec<usize> = x.iter().map(|&x| grid.find(x).0).collect();
        assert!(cells.is_sorted() && cells[0] == 0 && cells[999] == 4095);
        assert_eq!(grid.find(-2.0), (1, 0.0));
        assert_eq!(grid.find(f64::NAN).0, 0);
    }
}
