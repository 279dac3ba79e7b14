//! Convolutions of operands in pairs (see [`crate::pairs`]), and which passes are worth it.
//!
//! Forward, and backward to the input where that is a convolution, neighbouring channels are paired;
//! where the gradient of the input scatters, output channels; for the gradient of the weights, images.
//! Whether 16 bits are used depends on the shape alone, so that every processor rounds the same
//! operands.

use super::direct::MIN_PIXELS;
use super::{ConvShape, direct, direct_weight, im2col, outer_weight};
use crate::pairs::Lanes;

/// Channels that a 1 by 1 kernel sums over at least, if that is worth operands of 16 bits.
const POINTWISE_CHANNELS: usize = 32;

impl ConvShape {
    /// Whether there are pixels enough to fill vectors, and more than a filter a channel: depthwise
    /// convolutions and those of single pixels wait for memory.
    fn is_heavy(&self) -> bool {
        let depthwise = self.group_in() == 1 && self.group_out() == 1;
        let empty = self.x_len() == 0 || self.y_len() == 0;
        !empty && self.plane_out() >= MIN_PIXELS && !depthwise
    }

    /// Whether a sum over so many channels is worth operands of 16 bits: they can be paired, and of a 1 by
    /// 1 kernel there are enough that it does not wait for memory.
    fn sums_enough(&self, channels: usize) -> bool {
        channels > 1 && (self.kernel != [1, 1] || channels >= POINTWISE_CHANNELS)
    }

    /// Whether [`super::conv`] is worth operands of 16 bits.
    pub(crate) fn rounds(&self) -> bool {
        self.is_heavy() && self.sums_enough(self.group_in())
    }

    /// As [`ConvShape::rounds`], of [`super::conv_grad_input`].
    pub(crate) fn rounds_grad_input(&self) -> bool {
        self.is_heavy() && self.sums_enough(self.group_out())
    }

    /// As [`ConvShape::rounds`], of [`super::conv_grad_weight`]: there are images to pair.
    pub(crate) fn rounds_grad_weight(&self) -> bool {
        self.is_heavy() && self.n > 1
    }
}

/// As [`super::conv`], of a shape that [`ConvShape::rounds`].
pub(crate) fn conv(
    lanes: Lanes,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    shape.check(x.len(), w.len(), y.len());
    shape.check_bias(bias);
    direct::forward(lanes, shape, x, w, bias, y);
}

/// As [`super::conv_grad_input`], of a shape that [`ConvShape::rounds_grad_input`].
pub(crate) fn conv_grad_input(
    lanes: Lanes,
    shape: &ConvShape,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
) {
    shape.check(dx.len(), w.len(), dy.len());
    if direct::is_convolution(shape) {
        return direct::grad_input(lanes, shape, dy, w, dx);
    }
    im2col::grad_input(lanes, shape, dy, w, dx);
}

/// As [`super::conv_grad_weight`], of a shape that [`ConvShape::rounds_grad_weight`].
pub(crate) fn conv_grad_weight(
    lanes: Lanes,
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    shape.check(x.len(), dw.len(), dy.len());
    if outer_weight::suits(shape) {
        return outer_weight::grad_weight(lanes, shape, x, dy, dw);
    }
    direct_weight::grad_weight(lanes, shape, x, dy, dw);
}
