//! Depthwise convolutions on bytes: `u8` inputs by `s8` weights, summed in 32 bits, exactly.

use super::byte_conv::{Output, Results};
use super::depthwise::{Geometry, PIXELS};
use super::{CHANNEL_BLOCK, Clamp, ImageShape, Scale};
use crate::aligned::Aligned;
use crate::bytes::{Bytes, WithBytes, byte_level, dispatch_bytes};
use crate::conv::ConvShape;

/// A depthwise convolution of bytes, ready to run on images of fixed shapes.
#[derive(Clone, Debug)]
pub struct ByteDepthwiseLayer {
    geometry: Geometry,
    /// Block of channels by tap by channel.
    weights: Aligned<i32>,
    factor: Aligned<f32>,
    offset: Aligned<f32>,
}

impl ByteDepthwiseLayer {
    /// Packs `weights: [c, 1, kh, kw]` with their `scales: [c]`, and `bias: [c]`, for images `x`, whose
    /// bytes stand for what `scale` says and whose halo holds its zero point, and images `y`. Pixels
    /// are whole blocks of [`CHANNEL_BLOCK`](super::CHANNEL_BLOCK).
    ///
    /// # Panics
    /// If shapes do not fit each other, or the halo of `x` is narrower than the padding.
    pub fn new(
        shape: &ConvShape,
        (weights, scales): (&[i8], &[f32]),
        bias: Option<&[f32]>,
        (x, scale): (ImageShape, Scale),
        y: ImageShape,
    ) -> ByteDepthwiseLayer {
        let geometry = Geometry::new(shape, x, y);
        assert_eq!(weights.len(), shape.w_len(), "weights of a convolution");
        assert_eq!(scales.len(), shape.c_out, "one scale for each channel");
        let (area, padded) = (geometry.taps.len(), geometry.channels());
        let mut packed = Aligned::zeros(padded * area);
        let (mut factor, mut offset) = (Aligned::zeros(padded), Aligned::zeros(padded));
        for (channel, kernel) in weights.chunks_exact(area).enumerate() {
            let (block, lane) = (channel / CHANNEL_BLOCK, channel % CHANNEL_BLOCK);
            let mut sum = 0;
            for (t, &w) in kernel.iter().enumerate() {
                packed[(block * area + t) * CHANNEL_BLOCK + lane] = i32::from(w);
                sum += i32::from(w);
            }
            factor[channel] = scale.scale * scales[channel];
            let zero = f64::from(scale.zero_point) * f64::from(sum) * f64::from(factor[channel]);
            offset[channel] = (bias.map_or(0.0, |b| f64::from(b[channel])) - zero) as f32;
        }
        ByteDepthwiseLayer {
            geometry,
            weights: packed,
            factor,
            offset,
        }
    }

    /// Bytes of the packed weights.
    pub fn size_bytes(&self) -> usize {
        4 * (self.weights.len() + self.factor.len() + self.offset.len())
    }

    /// `y = clamp(convolution of x + bias)`; the halo of `y` becomes its zero.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says.
    pub fn run(&self, x: &[u8], clamp: Clamp, y: Results) {
        let output = Output::new(y, &self.geometry.y, clamp);
        self.geometry.rows(x.len(), |row| {
            // SAFETY: each row comes once.
            unsafe { output.fill_halo_of(row..row + 1, &self.geometry.y) };
            let work = Row {
                layer: self,
                row,
                x,
                output: &output,
            };
            dispatch_bytes(byte_level(), work);
        });
    }
}

struct Row<'a> {
    layer: &'a ByteDepthwiseLayer,
    /// Row of the batch.
    row: usize,
    x: &'a [u8],
    output: &'a Output,
}

impl WithBytes for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, simd: B) {
        let g = &self.layer.geometry;
        let (x, to) = g.row(self.row, self.x.len());
        for column in (0..g.y.w).step_by(PIXELS) {
            for at in (0..g.channels()).step_by(B::LANES) {
                let x = x + column * g.step[1] + at;
                let to = to + column * g.y.pitch + at;
                // SAFETY: a row reads within the images, which was asserted, and taps ascend; pixels
                // of `y` have room for all vectors, its length was checked, and no other piece writes
                // this row.
                unsafe {
                    let x = self.x.as_ptr().add(x);
                    match g.y.w - column {
                        PIXELS.. => self.pixels::<B, PIXELS>(simd, at, x, to),
                        rest => {
                            for p in 0..rest {
                                let (x, to) = (x.add(p * g.step[1]), to + p * g.y.pitch);
                                self.pixels::<B, 1>(simd, at, x, to);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Row<'_> {
    /// `P` pixels of the vector that begins with channel `at`.
    ///
    /// # Safety
    /// A vector can be read at each tap from `x`, also for each of `P` pixels further on, and
    /// written at each of `P` pixels from `to`.
    #[inline(always)]
    unsafe fn pixels<B: Bytes, const P: usize>(&self, simd: B, at: usize, x: *const u8, to: usize) {
        let (layer, g) = (self.layer, &self.layer.geometry);
        let (block, lane) = (at / CHANNEL_BLOCK, at % CHANNEL_BLOCK);
        let weights = &layer.weights[block * CHANNEL_BLOCK * g.taps.len()..];
        let weights = &weights[..CHANNEL_BLOCK * g.taps.len()];
        let mut sums = [simd.zero(); P];
        for (&tap, w) in g.taps.iter().zip(weights.chunks_exact(CHANNEL_BLOCK)) {
            // SAFETY: a block has the lanes of whole vectors.
            let w = unsafe { simd.load_integers(w.as_ptr().add(lane)) };
            for (p, sum) in sums.iter_mut().enumerate() {
                // SAFETY: by the contract of this function.
                let x = unsafe { simd.load_bytes(x.add(tap + p * g.step[1])) };
                *sum = simd.integer_mul_add(x, w, *sum);
            }
        }
        let factor = simd.load_slice(&layer.factor[at..]);
        let offset = simd.load_slice(&layer.offset[at..]);
        let units = self.output.units(simd);
        for (p, &sum) in sums.iter().enumerate() {
            let value = simd.mul_add(simd.to_floats(sum), factor, offset);
            let value = units.finish(simd, value);
            // SAFETY: by the contract of this function.
            unsafe { self.output.put(simd, to + p * g.y.pitch, B::LANES, value) };
        }
    }
}
