//! Two-dimensional convolution (cross-correlation, as networks mean it) and its two gradients.
//!
//! There are three ways to compute one. [`direct`] reads the image through a table of offsets and is
//! the usual one; [`filters`] puts the channels of a depthwise convolution into the lanes of vectors;
//! [`im2col`] makes a matrix product of it and is for what is one already (1 by 1 kernels), for tiny
//! images and for gradients that scatter.
//!
//! `x: [n, c_in, h, w]`, weights `[c_out, c_in / groups, kh, kw]`, `y: [n, c_out, out_h, out_w]`.

mod direct;
mod direct_weight;
mod filters;
mod im2col;
mod outer_weight;
pub(crate) mod paired;
mod shifted;
mod turned;

use std::ops::Range;

use crate::pairs::Lanes;
use crate::parallel;
use crate::simd;
use crate::window::out_len;

/// Everything about a convolution but the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images in the batch.
    pub n: usize,
    /// Channels of the input.
    pub c_in: usize,
    /// Height of the input, in pixels.
    pub h: usize,
    /// Width of the input, in pixels.
    pub w: usize,
    /// Channels of the output.
    pub c_out: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps of the kernel, down and right.
    pub stride: [usize; 2],
    /// Rows and columns of zeros around the input: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Distance between neighbouring taps, down and right; 1 is a plain convolution.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other; divides `c_in` and `c_out`.
    pub groups: usize,
}

impl ConvShape {
    /// Height of the output; 0 if the kernel is taller than the padded input.
    pub fn out_h(&self) -> usize {
        let padded = self.h + self.padding[0] + self.padding[2];
        out_len(padded, self.kernel[0], self.stride[0], self.dilation[0])
    }

    /// Width of the output; 0 if the kernel is wider than the padded input.
    pub fn out_w(&self) -> usize {
        let padded = self.w + self.padding[1] + self.padding[3];
        out_len(padded, self.kernel[1], self.stride[1], self.dilation[1])
    }

    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.c_in * self.h * self.w
    }

    /// Elements of the weights.
    pub fn w_len(&self) -> usize {
        self.c_out * self.taps()
    }

    /// Elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.c_out * self.out_h() * self.out_w()
    }

    /// Weights of one output channel.
    pub(crate) fn taps(&self) -> usize {
        self.group_in() * self.kernel[0] * self.kernel[1]
    }

    pub(crate) fn group_in(&self) -> usize {
        self.c_in / self.groups
    }

    pub(crate) fn group_out(&self) -> usize {
        self.c_out / self.groups
    }

    /// Elements of one channel of the input.
    pub(crate) fn plane_in(&self) -> usize {
        self.h * self.w
    }

    /// Elements of one channel of the output.
    pub(crate) fn plane_out(&self) -> usize {
        self.out_h() * self.out_w()
    }

    /// Whether each pixel is a matrix product of its own channels.
    fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.padding) == ([1; 2], [1; 2], [0; 4])
    }

    /// Multiplications and additions of one pass.
    pub(crate) fn ops(&self) -> usize {
        2 * self.y_len() * self.taps()
    }

    /// # Panics
    /// If there is a bias, but not one for each output channel.
    pub(crate) fn check_bias(&self, bias: Option<&[f32]>) {
        assert!(
            bias.is_none_or(|bias| bias.len() == self.c_out),
            "a convolution has one bias for each output channel"
        );
    }

    fn check(&self, x_len: usize, w_len: usize, y_len: usize) {
        assert!(self.groups > 0, "a convolution has at least one group");
        assert!(
            self.c_in.is_multiple_of(self.groups) && self.c_out.is_multiple_of(self.groups),
            "groups of a convolution must divide its channels: {self:?}"
        );
        assert!(
            self.kernel.iter().all(|&k| k > 0),
            "a kernel has at least one tap: {self:?}"
        );
        assert!(
            self.stride.iter().all(|&s| s > 0),
            "a stride is at least 1: {self:?}"
        );
        assert!(
            self.dilation.iter().all(|&d| d > 0),
            "a dilation is at least 1: {self:?}"
        );
        assert_eq!(
            x_len,
            self.x_len(),
            "wrong length of a convolution's input: {self:?}"
        );
        assert_eq!(
            w_len,
            self.w_len(),
            "wrong length of a convolution's weights: {self:?}"
        );
        assert_eq!(
            y_len,
            self.y_len(),
            "wrong length of a convolution's output: {self:?}"
        );
    }
}

/// `y[n, o] = bias[o] + sum over i of x[n, i] * w[o, i]`.
///
/// # Panics
/// If a slice does not have the length `shape` says, or `shape` contradicts itself.
pub fn conv(shape: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    shape.check(x.len(), w.len(), y.len());
    shape.check_bias(bias);
    if y.is_empty() {
        return;
    }
    if filters::suits(shape) {
        return filters::forward(simd::level(), shape, x, w, bias, y);
    }
    if direct::suits(shape) {
        return direct::forward(Lanes::Floats(simd::level()), shape, x, w, bias, y);
    }
    im2col::forward(shape, x, w, bias, y);
}

/// Gradient of [`conv`] with respect to its input: `dy` as `y`, `dx` as `x`; overwrites `dx`.
///
/// # Panics
/// As [`conv`].
pub fn conv_grad_input(shape: &ConvShape, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    shape.check(dx.len(), w.len(), dy.len());
    if dx.is_empty() {
        return;
    }
    if dy.is_empty() {
        return dx.fill(0.0);
    }
    if filters::suits(shape) {
        return filters::grad_input(simd::level(), shape, dy, w, dx);
    }
    if direct::suits_grad_input(shape) {
        return direct::grad_input(Lanes::Floats(simd::level()), shape, dy, w, dx);
    }
    im2col::grad_input(Lanes::Floats(simd::level()), shape, dy, w, dx);
}

/// Gradient of [`conv`] with respect to its weights, summed over the batch; overwrites `dw`.
///
/// The gradient of the bias is the sum of `dy` over all but channels.
///
/// # Panics
/// As [`conv`].
pub fn conv_grad_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    shape.check(x.len(), dw.len(), dy.len());
    if dw.is_empty() {
        return;
    }
    if dy.is_empty() || x.is_empty() {
        return dw.fill(0.0);
    }
    if filters::suits(shape) {
        return filters::grad_weight(simd::level(), shape, x, dy, dw);
    }
    if outer_weight::suits(shape) {
        return outer_weight::grad_weight(Lanes::Floats(simd::level()), shape, x, dy, dw);
    }
    if direct_weight::suits(shape) {
        return direct_weight::grad_weight(Lanes::Floats(simd::level()), shape, x, dy, dw);
    }
    im2col::grad_weight(shape, x, dy, dw);
}

/// `dw = sum over images of f(image)`, in fixed runs of images that are added in order.
///
/// `f` adds the gradients of its images to a slice like `dw`.
fn sum_over_images(
    shape: &ConvShape,
    dw: &mut [f32],
    f: impl Fn(Range<usize>, &mut [f32]) + Send + Sync,
) {
    let per_run = shape.n.div_ceil(RUNS);
    let n_runs = shape.n.div_ceil(per_run);
    let images = |run: usize| run * per_run..shape.n.min((run + 1) * per_run);
    let len = dw.len();
    // With threads, all partial sums are held until the last is done; without, one at a time. The
    // additions are the same.
    let held = if parallel::worth_threads(shape.ops()) {
        n_runs
    } else {
        1
    };
    parallel::with_call_scratch(held * len, |partial| {
        dw.fill(0.0);
        for first in (0..n_runs).step_by(held) {
            partial.fill(0.0);
            parallel::for_each_chunk(partial, len, shape.ops(), |i, partial| {
                f(images(first + i), partial);
            });
            for partial in partial.chunks_exact(len) {
                dw.iter_mut()
                    .zip(partial)
                    .for_each(|(dw, &partial)| *dw += partial);
            }
        }
    });
}

/// Runs of images: enough for the threads of a desktop, few enough that adding them is cheap.
const RUNS: usize = 16;

#[cfg(test)]
pub(crate) use tests::cases;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, numbers, same_on_any_pool, tolerance};

    fn shape(
        [n, c_in, h, w]: [usize; 4],
        c_out: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        dilation: [usize; 2],
        groups: usize,
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
            groups,
        }
    }

    pub(crate) fn cases() -> Vec<(&'static str, ConvShape)> {
        let s = shape;
        let (one, two, no) = ([1, 1], [2, 2], [0; 4]);
        vec![
            ("lenet 1", s([3, 1, 28, 28], 20, [5, 5], one, no, one, 1)),
            ("lenet 2", s([5, 20, 12, 12], 50, [5, 5], one, no, one, 1)),
            (
                "resnet 16",
                s([2, 16, 32, 32], 16, [3, 3], one, [1; 4], one, 1),
            ),
            (
                "resnet 32",
                s([3, 32, 16, 16], 32, [3, 3], one, [1; 4], one, 1),
            ),
            (
                "resnet 64",
                s([37, 64, 8, 8], 64, [3, 3], one, [1; 4], one, 1),
            ),
            (
                "resnet down",
                s([3, 16, 32, 32], 32, [3, 3], two, [1; 4], one, 1),
            ),
            (
                "resnet shortcut",
                s([3, 16, 32, 32], 32, [1, 1], two, no, one, 1),
            ),
            ("pointwise", s([4, 13, 7, 9], 11, [1, 1], one, no, one, 1)),
            (
                "pointwise padded",
                s([2, 3, 5, 4], 4, [1, 1], one, [1, 0, 2, 1], one, 1),
            ),
            (
                "asymmetric",
                s([2, 3, 9, 11], 4, [3, 2], [2, 1], [0, 1, 2, 0], one, 1),
            ),
            (
                "padding beyond kernel",
                s([2, 2, 3, 4], 3, [2, 2], one, [3, 2, 4, 3], one, 1),
            ),
            ("dilated", s([2, 3, 13, 12], 5, [3, 3], one, [2; 4], two, 1)),
            (
                "dilated strided",
                s([2, 3, 13, 12], 5, [3, 2], [2, 3], [1, 2, 3, 0], [2, 3], 1),
            ),
            (
                "stride beyond kernel",
                s([2, 3, 13, 12], 5, [2, 1], [3, 4], no, one, 1),
            ),
            ("grouped", s([3, 8, 7, 7], 12, [3, 3], one, [1; 4], one, 4)),
            (
                "grouped strided",
                s([3, 6, 9, 9], 4, [3, 3], two, [1; 4], one, 2),
            ),
            (
                "depthwise",
                s([3, 7, 10, 9], 7, [3, 3], one, [1; 4], one, 7),
            ),
            (
                "depthwise 5x5 down",
                s([3, 5, 11, 12], 5, [5, 5], two, [2; 4], one, 5),
            ),
            (
                "depthwise times 3",
                s([2, 4, 6, 19], 12, [3, 3], one, [1, 0, 1, 2], one, 4),
            ),
            (
                "depthwise dilated",
                s([2, 4, 9, 8], 4, [3, 3], [1, 2], [2; 4], two, 4),
            ),
            (
                "filters 3",
                s([3, 33, 10, 9], 33, [3, 3], one, [1; 4], one, 33),
            ),
            (
                "filters 7 down",
                s([2, 32, 16, 16], 32, [7, 7], two, [3; 4], one, 32),
            ),
            (
                "filters 5 down, odd",
                s([2, 16, 11, 13], 16, [5, 5], two, [2, 1, 0, 3], one, 16),
            ),
            (
                "filters dilated",
                s([2, 17, 13, 12], 17, [3, 2], [1, 3], [2; 4], [2, 3], 17),
            ),
            (
                "filters, stride beyond kernel",
                s([2, 20, 13, 12], 20, [2, 1], [3, 2], no, one, 20),
            ),
            (
                "filters, large plane",
                s([1, 16, 61, 63], 16, [3, 3], one, [1; 4], one, 16),
            ),
            (
                "batch 1, one pixel",
                s([1, 5, 3, 3], 6, [3, 3], one, no, one, 1),
            ),
            (
                "batch 37, one pixel",
                s([37, 9, 1, 1], 6, [1, 1], one, no, one, 1),
            ),
            (
                "row",
                s([2, 3, 1, 50], 4, [1, 7], one, [0, 3, 0, 3], one, 1),
            ),
            (
                "large plane",
                s([1, 3, 61, 67], 5, [7, 7], two, [3; 4], one, 1),
            ),
            ("empty batch", s([0, 3, 8, 8], 4, [3, 3], one, no, one, 1)),
            (
                "kernel beyond input",
                s([2, 3, 2, 2], 4, [3, 3], one, no, one, 1),
            ),
            ("no channels", s([2, 0, 4, 4], 4, [3, 3], one, no, one, 1)),
        ]
    }

    #[test]
    fn agrees_with_reference() {
        for (name, shape) in cases() {
            let x = numbers(shape.x_len(), 1);
            let w = numbers(shape.w_len(), 2);
            let bias = numbers(shape.c_out, 3);
            let dy = numbers(shape.y_len(), 4);
            let dx_terms = shape.group_out() * shape.kernel[0] * shape.kernel[1];
            let dw_terms = shape.n * shape.plane_out();
            for bias in [None, Some(bias.as_slice())] {
                let y = same_on_any_pool(name, || {
                    let mut y = vec![f32::NAN; shape.y_len()];
                    conv(&shape, &x, &w, bias, &mut y);
                    y
                });
                let mut expected = vec![0.0; shape.y_len()];
                reference::conv(&shape, &x, &w, bias, &mut expected);
                assert_close(name, &y, &expected, tolerance(shape.taps()));
            }
            let dx = same_on_any_pool(name, || {
                let mut dx = vec![f32::NAN; shape.x_len()];
                conv_grad_input(&shape, &dy, &w, &mut dx);
                dx
            });
            let mut expected = vec![0.0; shape.x_len()];
            reference::conv_grad_input(&shape, &dy, &w, &mut expected);
            assert_close(&format!("{name}, dx"), &dx, &expected, tolerance(dx_terms));

            let dw = same_on_any_pool(name, || {
                let mut dw = vec![f32::NAN; shape.w_len()];
                conv_grad_weight(&shape, &x, &dy, &mut dw);
                dw
            });
            let mut expected = vec![0.0; shape.w_len()];
            reference::conv_grad_weight(&shape, &x, &dy, &mut expected);
            assert_close(&format!("{name}, dw"), &dw, &expected, tolerance(dw_terms));
        }
    }

    /// The paths that this processor does not take by itself.
    #[test]
    fn every_level_agrees_with_reference() {
        for (name, shape) in cases() {
            let (x, w) = (numbers(shape.x_len(), 1), numbers(shape.w_len(), 2));
            let (dy, bias) = (numbers(shape.y_len(), 3), numbers(shape.c_out, 4));
            for level in simd::levels() {
                let name = format!("{name}, {level:?}");
                if direct::suits(&shape) {
                    let (mut y, mut expected) = (dy.clone(), dy.clone());
                    direct::forward(Lanes::Floats(level), &shape, &x, &w, Some(&bias), &mut y);
                    reference::conv(&shape, &x, &w, Some(&bias), &mut expected);
                    assert_close(&name, &y, &expected, tolerance(shape.taps()));
                }
                if shape.groups == shape.c_in
                    && shape.c_in == shape.c_out
                    && shape.n * shape.plane_out() > 0
                {
                    let (mut y, mut expected) = (dy.clone(), dy.clone());
                    filters::forward(level, &shape, &x, &w, Some(&bias), &mut y);
                    reference::conv(&shape, &x, &w, Some(&bias), &mut expected);
                    assert_close(&name, &y, &expected, tolerance(shape.taps()));
                    let (mut dx, mut expected) = (x.clone(), x.clone());
                    filters::grad_input(level, &shape, &dy, &w, &mut dx);
                    reference::conv_grad_input(&shape, &dy, &w, &mut expected);
                    assert_close(&format!("{name}, dx"), &dx, &expected, tolerance(100));
                    let (mut dw, mut expected) = (w.clone(), w.clone());
                    filters::grad_weight(level, &shape, &x, &dy, &mut dw);
                    reference::conv_grad_weight(&shape, &x, &dy, &mut expected);
                    let terms = shape.n * shape.plane_out();
                    assert_close(&format!("{name}, dw"), &dw, &expected, tolerance(terms));
                }
                if direct::suits(&shape) && shape.stride == [1, 1] {
                    let (mut dx, mut expected) = (x.clone(), x.clone());
                    direct::grad_input(Lanes::Floats(level), &shape, &dy, &w, &mut dx);
                    reference::conv_grad_input(&shape, &dy, &w, &mut expected);
                    assert_close(&format!("{name}, dx"), &dx, &expected, tolerance(1000));
                }
                if shape.groups == 1 && shape.x_len() > 0 && shape.plane_out() > 0 {
                    let (mut dw, mut expected) = (w.clone(), w.clone());
                    outer_weight::grad_weight(Lanes::Floats(level), &shape, &x, &dy, &mut dw);
                    reference::conv_grad_weight(&shape, &x, &dy, &mut expected);
                    let terms = shape.n * shape.plane_out();
                    assert_close(&format!("{name}, dw"), &dw, &expected, tolerance(terms));
                }
                if direct_weight::suits(&shape) && shape.n > 0 && shape.c_in > 0 {
                    let (mut dw, mut expected) = (w.clone(), w.clone());
                    direct_weight::grad_weight(Lanes::Floats(level), &shape, &x, &dy, &mut dw);
                    reference::conv_grad_weight(&shape, &x, &dy, &mut expected);
                    let terms = shape.n * shape.plane_out();
                    assert_close(&format!("{name}, dw"), &dw, &expected, tolerance(terms));
                }
            }
        }
    }

    /// An infinity reaches the gradients of the taps that see it, and no others.
    #[test]
    fn infinities_do_not_spread() {
        let shape = shape([1, 1, 5, 7], 1, [2, 2], [1, 1], [0; 4], [1, 1], 1);
        let mut x = numbers(shape.x_len(), 1);
        x[0] = f32::INFINITY;
        let dy = numbers(shape.y_len(), 2);
        let mut dw = [0.0; 4];
        conv_grad_weight(&shape, &x, &dy, &mut dw);
        assert_eq!(dw.map(f32::is_finite), [false, true, true, true]);
    }

    /// `<conv(x), dy> = <x, grad_input(dy)> = <w, grad_weight(x, dy)>`, for sums large enough to
    /// take the threaded paths.
    #[test]
    fn gradients_are_adjoint_on_a_batch() {
        let shape = shape([128, 20, 12, 12], 50, [5, 5], [1, 1], [0; 4], [1, 1], 1);
        let (x, w) = (numbers(shape.x_len(), 1), numbers(shape.w_len(), 2));
        let dy = numbers(shape.y_len(), 3);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let mut y = vec![0.0; shape.y_len()];
        conv(&shape, &x, &w, None, &mut y);
        let mut dx = vec![0.0; shape.x_len()];
        conv_grad_input(&shape, &dy, &w, &mut dx);
        let dw = same_on_any_pool("batch, dw", || {
            let mut dw = vec![0.0; shape.w_len()];
            conv_grad_weight(&shape, &x, &dy, &mut dw);
            dw
        });
        let size = dot(&y, &y).sqrt() * dot(&dy, &dy).sqrt();
        assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-7 * size);
        assert!((dot(&y, &dy) - dot(&w, &dw)).abs() < 1e-7 * size);
    }

    #[test]
    #[should_panic(expected = "groups of a convolution must divide its channels")]
    fn refuses_groups_that_do_not_divide() {
        let shape = shape([1, 3, 4, 4], 4, [1, 1], [1, 1], [0; 4], [1, 1], 2);
        conv(&shape, &[0.0; 48], &[0.0; 4], None, &mut [0.0; 64]);
    }
}
