//! Depthwise convolutions: each channel by a kernel of its own.

use super::conv::pad;
use super::{CHANNEL_BLOCK, Clamp, ImageShape};
use crate::aligned::Aligned;
use crate::conv::ConvShape;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, WithSimd, dispatch};

/// A depthwise convolution from images to images, without its numbers.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    x: ImageShape,
    pub(super) y: ImageShape,
    /// Elements between the first taps of two neighbouring rows of outputs, and of two in a row.
    pub(super) step: [usize; 2],
    first: usize,
    /// Where taps are, from the first.
    pub(super) taps: Vec<usize>,
    /// Whether taps are rows of three columns that neighbouring pixels of a result share.
    shares: bool,
}

impl Geometry {
    /// # Panics
    /// If shapes do not fit each other, or the halo of `x` is narrower than the padding.
    pub(super) fn new(shape: &ConvShape, x: ImageShape, y: ImageShape) -> Geometry {
        let c = shape.c_in;
        assert!(
            shape.groups == c && shape.c_out == c,
            "a depthwise convolution"
        );
        assert_eq!((x.n, x.h, x.w, x.c), (shape.n, shape.h, shape.w, c));
        assert_eq!(
            (y.n, y.h, y.w, y.c),
            (shape.n, shape.out_h(), shape.out_w(), c)
        );
        let whole = |s: &ImageShape| s.pitch >= c && s.pitch.is_multiple_of(CHANNEL_BLOCK);
        assert!(
            whole(&x) && whole(&y),
            "pixels are whole blocks of channels"
        );
        for axis in 0..2 {
            let reach = shape.padding[axis].max(shape.padding[axis + 2]);
            assert!(
                x.halo[axis] >= reach,
                "the halo is narrower than the padding"
            );
        }
        let [kh, kw] = shape.kernel;
        let offset = |t: usize| {
            let (i, j) = (t / kw, t % kw);
            i * shape.dilation[0] * x.row_len() + j * shape.dilation[1] * x.pitch
        };
        let [top, left, ..] = shape.padding;
        Geometry {
            x,
            y,
            step: [shape.stride[0] * x.row_len(), shape.stride[1] * x.pitch],
            first: (x.halo[0] - top) * x.row_len() + (x.halo[1] - left) * x.pitch,
            taps: (0..kh * kw).map(offset).collect(),
            shares: kw == 3 && shape.stride[1] == 1 && shape.dilation[1] == 1,
        }
    }

    /// Channels in whole blocks.
    pub(super) fn channels(&self) -> usize {
        self.y.c.next_multiple_of(CHANNEL_BLOCK)
    }

    /// Calls `f` with each row of the batch of results; `len` elements are there to read.
    pub(super) fn rows(&self, len: usize, f: impl Fn(usize) + Send + Sync) {
        assert!(len >= self.x.len(), "the images to convolve are too short");
        let rows = self.y.n * self.y.h;
        if rows == 0 || self.y.w == 0 || self.y.c == 0 {
            return;
        }
        let ops = 2 * rows * self.y.w * self.y.c * self.taps.len();
        let rows_each = rows.div_ceil(rows.min((ops >> 18).max(1)));
        parallel::for_each(rows.div_ceil(rows_each), ops, |i| {
            (i * rows_each..rows.min((i + 1) * rows_each)).for_each(&f);
        });
    }

    /// Where a row of the batch reads first and where it writes; all it reads is below `len`.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, len: usize) -> (usize, usize) {
        let (image, row) = (row / self.y.h, row % self.y.h);
        let x = self.first + image * self.x.image_len() + row * self.step[0];
        let last = self.taps[self.taps.len() - 1] + (self.y.w - 1) * self.step[1];
        assert!(
            x + last + self.channels() <= len,
            "a row reads within the images"
        );
        (x, self.y.at(image, row, 0))
    }
}

/// A depthwise convolution, ready to run on images of fixed shapes.
#[derive(Clone, Debug)]
pub struct DepthwiseLayer {
    geometry: Geometry,
    /// Block of channels by tap by channel.
    weights: Aligned<f32>,
    bias: Aligned<f32>,
}

impl DepthwiseLayer {
    /// Packs `weights: [c, 1, kh, kw]` and `bias: [c]` for images `x` and `y`, whose pixels are whole
    /// blocks of [`CHANNEL_BLOCK`](super::CHANNEL_BLOCK).
    ///
    /// # Panics
    /// If shapes do not fit each other, or the halo of `x` is narrower than the padding.
    pub fn new(
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        x: ImageShape,
        y: ImageShape,
    ) -> DepthwiseLayer {
        let geometry = Geometry::new(shape, x, y);
        assert_eq!(weights.len(), shape.w_len(), "weights of a convolution");
        shape.check_bias(bias);
        let (area, padded) = (geometry.taps.len(), geometry.channels());
        let mut packed = Aligned::zeros(padded * area);
        for (channel, kernel) in weights.chunks_exact(area).enumerate() {
            let (block, lane) = (channel / CHANNEL_BLOCK, channel % CHANNEL_BLOCK);
            for (t, &w) in kernel.iter().enumerate() {
                packed[(block * area + t) * CHANNEL_BLOCK + lane] = w;
            }
        }
        DepthwiseLayer {
            geometry,
            weights: packed,
            bias: pad(bias, padded),
        }
    }

    /// Bytes of the packed weights.
    pub fn size_bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<f32>()
    }

    /// `y = clamp(convolution of x + bias)`, and zeros in the halo of `y`.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says.
    pub fn run(&self, x: &[f32], clamp: Clamp, y: &mut [f32]) {
        let shape = &self.geometry.y;
        assert!(y.len() >= shape.len(), "the result is too short");
        let out = SharedMut::new(y);
        self.geometry.rows(x.len(), |row| {
            // SAFETY: the result is long enough, and each row comes once.
            unsafe { shape.fill_halo_of(row..row + 1, out, 0.0) };
            let work = Row {
                layer: self,
                row,
                x,
                clamp,
                out,
            };
            dispatch(simd::level(), work);
        });
    }
}

struct Row<'a> {
    layer: &'a DepthwiseLayer,
    /// Row of the batch.
    row: usize,
    x: &'a [f32],
    clamp: Clamp,
    out: SharedMut,
}

/// Pixels whose sums are held in registers.
pub(super) const PIXELS: usize = 8;

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layer = &self.layer.geometry;
        let (y, (x, to)) = (&layer.y, layer.row(self.row, self.x.len()));
        let vectors = self.layer.bias.len() / S::LANES;
        let tile = match y.w {
            PIXELS.. => PIXELS,
            4.. => 4,
            _ => 1,
        };
        for column in (0..y.w).step_by(tile) {
            // The last tile of a row begins earlier rather than being narrower; what it has in
            // common with the one before comes out the same twice.
            let column = column.min(y.w - tile);
            for v in 0..vectors {
                let at = v * S::LANES;
                let x = x + column * layer.step[1] + at;
                let to = to + column * y.pitch + at;
                // SAFETY: the assertion bounds the last tap of the last channel of the last pixel,
                // and taps ascend; pixels of `y` have room for all vectors, its length was checked,
                // and no other piece writes this row.
                unsafe {
                    let (x, to) = (self.x.as_ptr().add(x), self.out.at(to));
                    match tile {
                        PIXELS => self.pixels::<S, PIXELS>(simd, at, x, to),
                        4 => self.pixels::<S, 4>(simd, at, x, to),
                        _ => self.pixels::<S, 1>(simd, at, x, to),
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
    unsafe fn pixels<S: Simd, const P: usize>(
        &self,
        simd: S,
        at: usize,
        x: *const f32,
        to: *mut f32,
    ) {
        let (layer, g) = (self.layer, &self.layer.geometry);
        let step = g.step[1];
        let (block, lane) = (at / CHANNEL_BLOCK, at % CHANNEL_BLOCK);
        let weights = &layer.weights[block * CHANNEL_BLOCK * g.taps.len()..];
        let weights = &weights[..CHANNEL_BLOCK * g.taps.len()];
        let mut sums = [simd.load_slice(&layer.bias[at..]); P];
        if layer.geometry.shares {
            // Neighbouring pixels read the same columns: each is loaded once for the three taps.
            let weights = weights.chunks_exact(3 * CHANNEL_BLOCK);
            for (taps, w) in g.taps.chunks_exact(3).zip(weights) {
                let w: [S::V; 3] =
                    std::array::from_fn(|j| simd.load_slice(&w[j * CHANNEL_BLOCK + lane..]));
                let mut columns = [w[0]; PIXELS + 2];
                for (i, column) in columns.iter_mut().take(P + 2).enumerate() {
                    // SAFETY: by the contract of this function: column `i` is read by the tap of
                    // column 0 of pixel `i`, or by a later tap of the last pixel.
                    *column = unsafe { simd.load(x.add(taps[0] + i * step)) };
                }
                for (j, &w) in w.iter().enumerate() {
                    for (p, sum) in sums.iter_mut().enumerate() {
                        *sum = simd.mul_add(columns[p + j], w, *sum);
                    }
                }
            }
        } else {
            for (&tap, w) in g.taps.iter().zip(weights.chunks_exact(CHANNEL_BLOCK)) {
                let w = simd.load_slice(&w[lane..]);
                for (p, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: by the contract of this function.
                    let x = unsafe { simd.load(x.add(tap + p * step)) };
                    *sum = simd.mul_add(x, w, *sum);
                }
            }
        }
        let (low, high) = (simd.splat(self.clamp.low), simd.splat(self.clamp.high));
        for (p, &sum) in sums.iter().enumerate() {
            // SAFETY: by the contract of this function.
            unsafe { simd.store(to.add(p * g.y.pitch), simd.min(high, simd.max(low, sum))) };
        }
    }
}
