//! Sliding windows whose padding, or number of axes, depends on the input.

use super::super::conv::triple;
use super::super::window::{Window, WindowKind};
use super::super::{Conv, ConvRole, Op, Pool, PoolKind, Reduce, ReduceKind, Type};
use super::{Resolved, one};
use crate::{Error, Result};

/// How the padding of a sliding window is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Cells before and after, per axis; empty is none.
    Cells(Vec<[usize; 2]>),
    /// As many as make the output `ceil(input / stride)` long, the odd one after (`false`) or
    /// before (`true`).
    Same(bool),
}

/// A sliding window whose padding, or number of axes, depends on the input. Empty lists are ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Size of the window; empty for convolutions, whose weights say it.
    pub kernel: Vec<usize>,
    /// Step, per axis.
    pub stride: Vec<usize>,
    /// Distance between taps, per axis.
    pub dilation: Vec<usize>,
    /// Padding.
    pub padding: Padding,
}

/// The list with one entry per axis; an empty one is filled with `default`.
pub(super) fn per_axis<T: Clone>(what: &str, list: &[T], n: usize, default: T) -> Result<Vec<T>> {
    match list.len() {
        0 => Ok(vec![default; n]),
        len if len == n => Ok(list.to_vec()),
        len => Err(Error::attribute(format!(
            "{what}: {len} entries for {n} axes"
        ))),
    }
}

impl Sliding {
    /// Stride, dilation and padding for an input and a kernel of these sizes.
    #[allow(clippy::type_complexity)]
    fn concrete(
        &self,
        x: &[usize],
        k: &[usize],
    ) -> Result<(Vec<usize>, Vec<usize>, Vec<[usize; 2]>)> {
        let n = k.len();
        let stride = per_axis("strides", &self.stride, n, 1)?;
        let dilation = per_axis("dilations", &self.dilation, n, 1)?;
        if stride.contains(&0) || dilation.contains(&0) || k.contains(&0) {
            return Err(Error::attribute(
                "kernel, stride and dilation must be at least 1",
            ));
        }
        let padding = match &self.padding {
            Padding::Cells(cells) => per_axis("pads", cells, n, [0, 0])?,
            Padding::Same(lower) => {
                let total = |a: usize| {
                    let span = (k[a] - 1).saturating_mul(dilation[a]).saturating_add(1);
                    let windows = x[a].div_ceil(stride[a]).max(1);
                    ((windows - 1) * stride[a])
                        .saturating_add(span)
                        .saturating_sub(x[a])
                };
                let split = |t: usize| {
                    if *lower {
                        [t.div_ceil(2), t / 2]
                    } else {
                        [t / 2, t.div_ceil(2)]
                    }
                };
                (0..n).map(|a| split(total(a))).collect()
            }
        };
        Ok((stride, dilation, padding))
    }
}

pub(super) fn space(x: &Type, n: usize) -> Result<&[usize]> {
    match x.shape.len() == n + 2 {
        true => Ok(&x.shape[2..]),
        false => Err(Error::shape(format!(
            "a window of {n} axes over {:?}",
            x.shape
        ))),
    }
}

pub(super) fn pool(
    x: &Type,
    kind: WindowKind,
    s: &Sliding,
    ceil: bool,
    places: bool,
) -> Result<Resolved> {
    let kernel = s.kernel.clone();
    let (stride, dilation, padding) = s.concrete(space(x, kernel.len())?, &kernel)?;
    if x.dtype.is_float()
        && !ceil
        && !places
        && let Some(pool) = plain_pool(kind, &kernel, &stride, &dilation, &padding)
    {
        return Ok(one(Op::Pool(pool)));
    }
    Ok(one(Op::Window(Window {
        kind,
        kernel,
        stride,
        padding,
        dilation,
        ceil,
    })))
}

/// The plain pooling over images that windows are, if they are: two axes, no dilation, and padding that
/// no window lies in.
pub fn plain_pool(
    kind: WindowKind,
    kernel: &[usize],
    stride: &[usize],
    dilation: &[usize],
    padding: &[[usize; 2]],
) -> Option<Pool> {
    let kind = match kind {
        WindowKind::Max { .. } => PoolKind::Max,
        WindowKind::Average { count_include_pad } => PoolKind::Average { count_include_pad },
        WindowKind::Lp { .. } => return None,
    };
    let small = |(p, &k): (&[usize; 2], &usize)| p[0] < k && p[1] < k;
    let (&[kh, kw], &[sh, sw], &[rows, columns]) = (kernel, stride, padding) else {
        return None;
    };
    let plain = dilation == [1, 1] && padding.iter().zip(kernel).all(small);
    plain.then_some(Pool {
        kind,
        kernel: Some([kh, kw]),
        stride: [sh, sw],
        padding: [rows[0], columns[0], rows[1], columns[1]],
        grad: false,
    })
}

pub(super) fn global_pool(x: &Type, kind: ReduceKind) -> Result<Resolved> {
    let simple = match kind {
        ReduceKind::Max => Some(PoolKind::Max),
        ReduceKind::Mean => Some(PoolKind::Average {
            count_include_pad: false,
        }),
        _ => None,
    };
    if let (Some(kind), 4) = (simple, x.shape.len()) {
        return Ok(one(Op::Pool(Pool::global(kind))));
    }
    let axes = (2..x.shape.len() as i64).collect::<Vec<_>>();
    if axes.is_empty() {
        return Err(Error::shape(format!("global pooling of {:?}", x.shape)));
    }
    Ok(one(Op::Reduce(Reduce::Axes {
        kind,
        axes,
        keep_dims: true,
    })))
}

pub(super) fn conv(x: &Type, w: &Type, s: &Sliding, groups: usize) -> Result<Conv> {
    let kernel = w.shape.get(2..).unwrap_or(&[]);
    if !s.kernel.is_empty() && s.kernel != kernel {
        let message = format!("kernel {:?}, but weights {:?}", s.kernel, w.shape);
        return Err(Error::attribute(message));
    }
    let (stride, dilation, padding) = s.concrete(space(x, kernel.len())?, kernel)?;
    Conv::over(&stride, &dilation, &padding, groups)
}

pub(super) fn transposed(
    x: &Type,
    w: &Type,
    s: &Sliding,
    groups: usize,
    extra: &[usize],
    output: &[usize],
) -> Result<Conv> {
    let kernel = w.shape.get(2..).unwrap_or(&[]);
    let n = kernel.len();
    let size = space(x, n)?;
    let cells = Sliding {
        padding: Padding::Cells(Vec::new()),
        ..s.clone()
    };
    let (stride, dilation, _) = cells.concrete(size, kernel)?;
    let extra = per_axis("output_padding", extra, n, 0)?;
    let full =
        |a: usize| stride[a] * (size[a].max(1) - 1) + extra[a] + (kernel[a] - 1) * dilation[a] + 1;
    let total = |target: usize, a: usize| full(a).saturating_sub(target);
    let lower = s.padding == Padding::Same(true);
    let split = |t: usize| {
        if lower {
            [t.div_ceil(2), t / 2]
        } else {
            [t / 2, t.div_ceil(2)]
        }
    };
    let mut grow = vec![0; n];
    let padding: Vec<[usize; 2]> = if !output.is_empty() {
        let output = per_axis(
            "output_shape",
            &output[output.len().saturating_sub(n)..],
            n,
            0,
        )?;
        (0..n).for_each(|a| grow[a] = output[a].saturating_sub(full(a)));
        (0..n).map(|a| split(total(output[a], a))).collect()
    } else {
        match &s.padding {
            Padding::Cells(cells) => per_axis("pads", cells, n, [0, 0])?,
            Padding::Same(_) => (0..n)
                .map(|a| split(total(size[a] * stride[a], a)))
                .collect(),
        }
    };
    let extra: Vec<usize> = (0..n).map(|a| extra[a] + grow[a]).collect();
    let mut conv = Conv::over(&stride, &dilation, &padding, groups)?;
    let [planes, rows, columns] = triple(&extra, 0)?;
    conv.depth.extra = planes;
    conv.role = ConvRole::Transposed {
        extra: [rows, columns],
    };
    Ok(conv)
}
