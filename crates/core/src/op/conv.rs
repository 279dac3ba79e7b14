//! 2-D convolution (cross-correlation, as in ONNX `Conv`) and its two gradients.

use super::{Family, Type, floats, same_shape};
use crate::reference::Array;
use crate::{Error, Result};

/// Which of the three products of a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvRole {
    /// `(x, w[, b]) → y`.
    Forward,
    /// `(dy, w, x) → dx`; only the shape of `x` is read.
    GradInput,
    /// `(x, dy, w) → dw`; only the shape of `w` is read.
    GradWeight,
    /// `(x, w[, b]) → y`: transposed convolution, the gradient with respect to the input as a layer
    /// (ONNX `ConvTranspose`). `x` has the channels that `w` has as outputs.
    Transposed {
        /// Cells added at the bottom and the right of `y`.
        extra: [usize; 2],
    },
}

/// The image with two axes that a convolution works on: one axis is an image of one row.
pub fn image(x: &[usize]) -> Result<[usize; 4]> {
    match *x {
        [n, c, w] => Ok([n, c, 1, w]),
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => Err(Error::shape(format!(
            "expected 3 or 4 axes, found shape {x:?}"
        ))),
    }
}

/// A shape of four axes as one of `rank`, leaving out the rows of an image that has but one.
fn like_rank(y: [usize; 4], rank: usize) -> Vec<usize> {
    if rank == 3 {
        vec![y[0], y[1], y[3]]
    } else {
        y.to_vec()
    }
}

/// Convolution of `x: [n, c_in, h, w]` with `w: [c_out, c_in / groups, kh, kw]`, optional
/// `b: [c_out]`, to `y: [n, c_out, oh, ow]`, where
/// `oh = (h + top + bottom - dilation (kh - 1) - 1) / stride + 1`, rounded down. Without the axes
/// `h` and `kh` it is a convolution along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Which product.
    pub role: ConvRole,
    /// Step of the window: rows, columns.
    pub stride: [usize; 2],
    /// Zeros added: top, left, bottom, right (ONNX order).
    pub padding: [usize; 4],
    /// Distance between the taps of a window: rows, columns.
    pub dilation: [usize; 2],
    /// Groups of channels convolved apart; `c_in` and `c_out` are multiples of it.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Conv {
        Conv {
            role: ConvRole::Forward,
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
            groups: 1,
        }
    }
}

/// Output length of a sliding window along one axis; errs when the window does not fit.
pub fn window_count(
    length: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
) -> Result<usize> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err(Error::attribute(
            "kernel, stride and dilation must be at least 1".to_owned(),
        ));
    }
    let span = (kernel - 1)
        .checked_mul(dilation)
        .and_then(|s| s.checked_add(1));
    let padded = length.checked_add(padding);
    match (span, padded) {
        (Some(span), Some(padded)) if span <= padded => Ok((padded - span) / stride + 1),
        _ => Err(Error::shape(format!(
            "a window of {kernel} (dilation {dilation}) does not fit into {length} + {padding} padding"
        ))),
    }
}

impl Conv {
    /// The same convolution in another role.
    pub fn with_role(self, role: ConvRole) -> Conv {
        Conv { role, ..self }
    }

    /// Shape of `y` from the shapes of `x` and `w`; errs when they do not fit.
    pub fn output_shape(&self, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        if x.len() != w.len() {
            return Err(Error::shape(format!("x {x:?} and w {w:?} differ in axes")));
        }
        let n_axes = x.len();
        let (x, w) = (&image(x)?, &image(w)?);
        let g = self.groups;
        if g == 0 || !x[1].is_multiple_of(g) || !w[0].is_multiple_of(g) || w[1] != x[1] / g {
            return Err(Error::shape(format!(
                "x {x:?} and w {w:?} do not fit with groups = {g}: expected w to have {} input \
                 channels and both channel counts to be multiples of groups",
                x[1] / g.max(1)
            )));
        }
        let [top, left, bottom, right] = self.padding;
        let oh = window_count(x[2], w[2], self.stride[0], self.dilation[0], top + bottom)?;
        let ow = window_count(x[3], w[3], self.stride[1], self.dilation[1], left + right)?;
        Ok(like_rank([x[0], w[0], oh, ow], n_axes))
    }

    /// Shape of `y` of a transposed convolution.
    pub fn transposed_shape(&self, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        let extra = match self.role {
            ConvRole::Transposed { extra } => extra,
            _ => [0; 2],
        };
        if x.len() != w.len() {
            return Err(Error::shape(format!("x {x:?} and w {w:?} differ in axes")));
        }
        let n_axes = x.len();
        let (x, w) = (image(x)?, image(w)?);
        let [top, left, bottom, right] = self.padding;
        let g = self.groups;
        if g == 0 || x[1] != w[0] || !x[1].is_multiple_of(g) {
            return Err(Error::shape(format!(
                "x {x:?} and w {w:?} do not fit with groups = {g}"
            )));
        }
        let size = |a: usize, pads: usize| {
            let span = w[a + 2]
                .checked_sub(1)?
                .checked_mul(self.dilation[a])?
                .checked_add(1)?;
            let steps = x[a + 2].checked_sub(1)?.checked_mul(self.stride[a])?;
            steps
                .checked_add(span)?
                .checked_add(extra[a])?
                .checked_sub(pads)
                .filter(|&s| s > 0)
        };
        match (
            size(0, top + bottom),
            size(1, left + right),
            w[1].checked_mul(g),
        ) {
            (Some(h), Some(width), Some(c)) => Ok(like_rank([x[0], c, h, width], n_axes)),
            _ => Err(Error::shape(format!(
                "padding takes all of x {x:?} and w {w:?}"
            ))),
        }
    }

    /// Calls `f(y index, x index, w index)` for every product of the convolution.
    fn for_each_product(&self, x: &[usize], w: &[usize], f: impl FnMut(usize, usize, usize)) {
        let y = self
            .output_shape(x, w)
            .and_then(|y| image(&y))
            .expect("shapes passed the shape rule");
        let (x, w) = (
            image(x).expect("shapes passed the shape rule"),
            image(w).expect("shapes passed the shape rule"),
        );
        self.products(x, w, y, f);
    }

    /// As [`Conv::for_each_product`], for a given `y`, which may stop short of the end of `x`.
    fn products(
        &self,
        x: [usize; 4],
        w: [usize; 4],
        y: [usize; 4],
        mut f: impl FnMut(usize, usize, usize),
    ) {
        let per_group = w[0] / self.groups;
        for n in 0..x[0] {
            for o in 0..w[0] {
                let first_in = o / per_group * w[1];
                for (p, q) in (0..y[2]).flat_map(|p| (0..y[3]).map(move |q| (p, q))) {
                    let iy = ((n * y[1] + o) * y[2] + p) * y[3] + q;
                    for (c, i, j) in (0..w[1]).flat_map(|c| {
                        (0..w[2]).flat_map(move |i| (0..w[3]).map(move |j| (c, i, j)))
                    }) {
                        let row = p * self.stride[0] + i * self.dilation[0];
                        let col = q * self.stride[1] + j * self.dilation[1];
                        let row = row.checked_sub(self.padding[0]).filter(|&r| r < x[2]);
                        let col = col.checked_sub(self.padding[1]).filter(|&r| r < x[3]);
                        if let (Some(row), Some(col)) = (row, col) {
                            let ix = ((n * x[1] + first_in + c) * x[2] + row) * x[3] + col;
                            f(iy, ix, ((o * w[1] + c) * w[2] + i) * w[3] + j);
                        }
                    }
                }
            }
        }
    }
}

impl Family for Conv {
    fn name(&self) -> &'static str {
        match self.role {
            ConvRole::Forward => "Conv",
            ConvRole::GradInput => "ConvGradInput",
            ConvRole::GradWeight => "ConvGradWeight",
            ConvRole::Transposed { .. } => "ConvTranspose",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let default = Conv::default();
        let mut a = Vec::new();
        if self.stride != default.stride {
            a.push(("stride", format!("{:?}", self.stride)));
        }
        if self.padding != default.padding {
            a.push(("padding", format!("{:?}", self.padding)));
        }
        if self.dilation != default.dilation {
            a.push(("dilation", format!("{:?}", self.dilation)));
        }
        if self.groups != 1 {
            a.push(("groups", self.groups.to_string()));
        }
        if let ConvRole::Transposed { extra } = self.role
            && extra != [0; 2]
        {
            a.push(("extra", format!("{extra:?}")));
        }
        a
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let shape = |i: usize| &inputs[i].shape;
        let gradient = matches!(self.role, ConvRole::GradInput | ConvRole::GradWeight);
        let min = if gradient { 3 } else { 2 };
        let dtype = floats(inputs, min, 3)?;
        let out = match self.role {
            ConvRole::Forward => {
                let y = self.output_shape(shape(0), shape(1))?;
                if let Some(b) = inputs.get(2) {
                    same_shape("b", &b.shape, &[y[1]])?;
                }
                y
            }
            ConvRole::Transposed { .. } => {
                let y = self.transposed_shape(shape(0), shape(1))?;
                if let Some(b) = inputs.get(2) {
                    same_shape("b", &b.shape, &[y[1]])?;
                }
                y
            }
            ConvRole::GradInput => {
                same_shape("dy", shape(0), &self.output_shape(shape(2), shape(1))?)?;
                shape(2).clone()
            }
            ConvRole::GradWeight => {
                same_shape("dy", shape(1), &self.output_shape(shape(0), shape(2))?)?;
                shape(2).clone()
            }
        };
        Ok(vec![Type::new(dtype, &out)])
    }

    fn macs(&self, inputs: &[Type], outputs: &[Type]) -> u64 {
        let (y, w) = match self.role {
            ConvRole::Forward => (&outputs[0], &inputs[1]),
            ConvRole::Transposed { .. } => (&inputs[0], &inputs[1]),
            ConvRole::GradInput => (&inputs[0], &inputs[1]),
            ConvRole::GradWeight => (&inputs[1], &inputs[2]),
        };
        y.len() as u64 * w.shape[1..].iter().product::<usize>() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let mut out = Array::zeros(&outputs[0].shape);
        let (a, b) = (inputs[0], inputs[1]);
        if let (ConvRole::Forward | ConvRole::Transposed { .. }, Some(bias)) =
            (self.role, inputs.get(2))
        {
            let area: usize = out.shape[2..].iter().product();
            let channels = bias.values.len();
            let fill = |(i, v): (usize, &mut f64)| *v = bias.values[i / area % channels];
            out.values.iter_mut().enumerate().for_each(fill);
        }
        match self.role {
            ConvRole::Transposed { .. } => {
                let of = |s: &[usize]| image(s).expect("shapes passed the shape rule");
                self.products(
                    of(&outputs[0].shape),
                    of(&b.shape),
                    of(&a.shape),
                    |iy, ix, iw| {
                        out.values[ix] += a.values[iy] * b.values[iw];
                    },
                );
            }
            ConvRole::Forward => {
                self.for_each_product(&a.shape, &b.shape, |iy, ix, iw| {
                    out.values[iy] += a.values[ix] * b.values[iw];
                });
            }
            ConvRole::GradInput => {
                self.for_each_product(&inputs[2].shape, &b.shape, |iy, ix, iw| {
                    out.values[ix] += a.values[iy] * b.values[iw];
                })
            }
            ConvRole::GradWeight => {
                self.for_each_product(&a.shape, &inputs[2].shape, |iy, ix, iw| {
                    out.values[iw] += a.values[ix] * b.values[iy];
                });
            }
        }
        vec![out]
    }

    fn reads(&self, idx: usize) -> bool {
        matches!(self.role, ConvRole::Forward | ConvRole::Transposed { .. }) || idx != 2
    }
}
