//! Convolution over one to three axes (cross-correlation, as in ONNX `Conv`) and its two gradients.

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

/// The volume that a convolution works on: an image is a volume of one plane.
fn volume(x: &[usize]) -> Result<[usize; 5]> {
    match *x {
        [n, c, d, h, w] => Ok([n, c, d, h, w]),
        [n, c, w] => Ok([n, c, 1, 1, w]),
        [n, c, h, w] => Ok([n, c, 1, h, w]),
        _ => Err(Error::shape(format!(
            "expected 3 to 5 axes, found shape {x:?}"
        ))),
    }
}

/// A shape of five axes as one of `rank`, leaving out the planes and rows that it does not have.
fn like_rank(y: [usize; 5], rank: usize) -> Vec<usize> {
    [&y[..2], &y[7 - rank..]].concat()
}

/// What a convolution does along the first of three axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Step of the window.
    pub stride: usize,
    /// Zeros added: before, after.
    pub padding: [usize; 2],
    /// Distance between the taps of a window.
    pub dilation: usize,
    /// Cells added at the end of `y` of a transposed convolution.
    pub extra: usize,
}

impl Default for Depth {
    fn default() -> Depth {
        Depth {
            stride: 1,
            padding: [0; 2],
            dilation: 1,
            extra: 0,
        }
    }
}

/// Convolution of `x: [n, c_in, h, w]` with `w: [c_out, c_in / groups, kh, kw]`, optional
/// `b: [c_out]`, to `y: [n, c_out, oh, ow]`, where
/// `oh = (h + top + bottom - dilation (kh - 1) - 1) / stride + 1`, rounded down. Without the axes
/// `h` and `kh` it is a convolution along one axis, with `d` and `kd` before them one over volumes.
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
    /// The first of three axes; the default where there are fewer.
    pub depth: Depth,
}

impl Default for Conv {
    fn default() -> Conv {
        Conv {
            role: ConvRole::Forward,
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
            groups: 1,
            depth: Depth::default(),
        }
    }
}

/// The three entries of a list per axis; fewer axes are the last ones of a volume.
pub(crate) fn triple<T: Copy>(list: &[T], first: T) -> Result<[T; 3]> {
    match *list {
        [only] => Ok([first, first, only]),
        [a, b] => Ok([first, a, b]),
        [a, b, c] => Ok([a, b, c]),
        _ => Err(Error::attribute(format!(
            "convolution over {} axes: one to three are supported",
            list.len()
        ))),
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
    /// A convolution over one to three axes, from its step, the distance between taps, and the zeros
    /// before and after, each per axis, outermost first.
    pub fn over(
        stride: &[usize],
        dilation: &[usize],
        padding: &[[usize; 2]],
        groups: usize,
    ) -> Result<Conv> {
        let (stride, dilation) = (triple(stride, 1)?, triple(dilation, 1)?);
        let [planes, rows, columns] = triple(padding, [0, 0])?;
        Ok(Conv {
            role: ConvRole::Forward,
            stride: [stride[1], stride[2]],
            dilation: [dilation[1], dilation[2]],
            padding: [rows[0], columns[0], rows[1], columns[1]],
            groups,
            depth: Depth {
                stride: stride[0],
                padding: planes,
                dilation: dilation[0],
                extra: 0,
            },
        })
    }

    /// The same convolution in another role.
    pub fn with_role(self, role: ConvRole) -> Conv {
        Conv { role, ..self }
    }

    /// Step, padding before, padding after, and distance between taps, along one of three axes.
    fn axis(&self, a: usize) -> (usize, usize, usize, usize) {
        let [top, left, bottom, right] = self.padding;
        match a {
            0 => {
                let Depth {
                    stride,
                    padding,
                    dilation,
                    ..
                } = self.depth;
                (stride, padding[0], padding[1], dilation)
            }
            1 => (self.stride[0], top, bottom, self.dilation[0]),
            _ => (self.stride[1], left, right, self.dilation[1]),
        }
    }

    /// Shape of `y` from the shapes of `x` and `w`; errs when they do not fit.
    pub fn output_shape(&self, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        if x.len() != w.len() {
            return Err(Error::shape(format!("x {x:?} and w {w:?} differ in axes")));
        }
        let n_axes = x.len();
        let (x, w) = (&volume(x)?, &volume(w)?);
        let g = self.groups;
        if g == 0 || !x[1].is_multiple_of(g) || !w[0].is_multiple_of(g) || w[1] != x[1] / g {
            return Err(Error::shape(format!(
                "x {:?} and w {:?} do not fit with groups = {g}: expected w to have {} input \
                 channels and both channel counts to be multiples of groups",
                like_rank(*x, n_axes),
                like_rank(*w, n_axes),
                x[1] / g.max(1)
            )));
        }
        let mut y = [x[0], w[0], 0, 0, 0];
        for a in 0..3 {
            let (stride, before, after, dilation) = self.axis(a);
            y[a + 2] = window_count(
                x[a + 2],
                w[a + 2],
                stride,
                dilation,
                before.saturating_add(after),
            )?;
        }
        Ok(like_rank(y, n_axes))
    }

    /// Shape of `y` of a transposed convolution.
    pub fn transposed_shape(&self, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        let [rows, columns] = match self.role {
            ConvRole::Transposed { extra } => extra,
            _ => [0; 2],
        };
        let extra = [self.depth.extra, rows, columns];
        if x.len() != w.len() {
            return Err(Error::shape(format!("x {x:?} and w {w:?} differ in axes")));
        }
        let n_axes = x.len();
        let (x, w) = (volume(x)?, volume(w)?);
        let g = self.groups;
        if g == 0 || x[1] != w[0] || !x[1].is_multiple_of(g) {
            return Err(Error::shape(format!(
                "x {:?} and w {:?} do not fit with groups = {g}",
                like_rank(x, n_axes),
                like_rank(w, n_axes)
            )));
        }
        let size = |a: usize| {
            let (stride, before, after, dilation) = self.axis(a);
            let span = w[a + 2]
                .checked_sub(1)?
                .checked_mul(dilation)?
                .checked_add(1)?;
            let steps = x[a + 2].checked_sub(1)?.checked_mul(stride)?;
            steps
                .checked_add(span)?
                .checked_add(extra[a])?
                .checked_sub(before.checked_add(after)?)
                .filter(|&s| s > 0)
        };
        match (size(0), size(1), size(2), w[1].checked_mul(g)) {
            (Some(d), Some(h), Some(width), Some(c)) => {
                Ok(like_rank([x[0], c, d, h, width], n_axes))
            }
            _ => Err(Error::shape(format!(
                "padding takes all of x {:?} and w {:?}",
                like_rank(x, n_axes),
                like_rank(w, n_axes)
            ))),
        }
    }

    /// Calls `f(y index, x index, w index)` for every product of the convolution.
    fn for_each_product(&self, x: &[usize], w: &[usize], f: impl FnMut(usize, usize, usize)) {
        let y = self
            .output_shape(x, w)
            .expect("shapes passed the shape rule");
        let of = |s: &[usize]| volume(s).expect("shapes passed the shape rule");
        self.products(of(x), of(w), of(&y), f);
    }

    /// As [`Conv::for_each_product`], for a given `y`, which may stop short of the end of `x`.
    fn products(
        &self,
        x: [usize; 5],
        w: [usize; 5],
        y: [usize; 5],
        mut f: impl FnMut(usize, usize, usize),
    ) {
        let per_group = w[0] / self.groups;
        let taps: Vec<[usize; 3]> = places([w[2], w[3], w[4]]).collect();
        let area = |s: &[usize; 5]| s[2] * s[3] * s[4];
        for n in 0..x[0] {
            for o in 0..w[0] {
                let first_in = o / per_group * w[1];
                for (p, at) in places([y[2], y[3], y[4]]).enumerate() {
                    let iy = (n * y[1] + o) * area(&y) + p;
                    for c in 0..w[1] {
                        let plane = (n * x[1] + first_in + c) * area(&x);
                        for (t, tap) in taps.iter().enumerate() {
                            if let Some(place) = self.place(&x, at, *tap) {
                                f(iy, plane + place, (o * w[1] + c) * area(&w) + t);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Where in a channel of `x` a tap of the window at `at` is, if it is not on padding.
    fn place(&self, x: &[usize; 5], at: [usize; 3], tap: [usize; 3]) -> Option<usize> {
        let mut place = 0;
        for a in 0..3 {
            let (stride, before, _, dilation) = self.axis(a);
            let i = (at[a] * stride + tap[a] * dilation).checked_sub(before)?;
            if i >= x[a + 2] {
                return None;
            }
            place = place * x[a + 2] + i;
        }
        Some(place)
    }
}

/// All places of a box, the last axis fastest.
fn places(size: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [d, h, w] = size;
    (0..d).flat_map(move |i| (0..h).flat_map(move |j| (0..w).map(move |k| [i, j, k])))
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
        if self.depth != default.depth {
            let Depth {
                stride,
                padding,
                dilation,
                extra,
            } = self.depth;
            let text = format!("[{stride},{padding:?},{dilation},{extra}]");
            a.push(("depth", text.replace(' ', "")));
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
                let of = |s: &[usize]| volume(s).expect("shapes passed the shape rule");
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
