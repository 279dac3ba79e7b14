//! Operators whose attributes are values: a shape that is computed, an axis that is an input.
//!
//! A [`Late`] operator computes nothing itself. Once the types and the values that it asks for are
//! known, [`Late::resolve`] turns it into operators of other families, or into a constant. That
//! happens when a graph is specialised to input types, for everything that does not depend on the
//! input's values, and otherwise while it runs.

use super::layout::{Fill, SliceRange};
use super::resample::{Resample, Resize};
use super::window::{Window, WindowKind};
use super::{
    Conv, ConvRole, Cumulative, Family, Index, Layout, Op, Pool, PoolKind, Reduce, ReduceKind,
    Type, axis_index, count,
};
use crate::tensor::element_count;
use crate::{DType, Error, ErrorKind, Result, Tensor};

/// Most elements of a range that becomes a constant.
const MAX_RANGE: usize = 1 << 24;

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

/// An operator whose attributes are values. The inputs are in the order of ONNX; those after the first
/// are integers whose values are needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Late {
    /// `x → [end - start]`: the sizes of its axes.
    Shape {
        /// First axis; negative counts from the end.
        start: i64,
        /// One past the last axis.
        end: i64,
    },
    /// `x → []`: the number of its elements.
    Size,
    /// `(x, shape) → y`; -1 takes what is left.
    Reshape {
        /// A 0 in `shape` is a size rather than "as in the input".
        allow_zero: bool,
    },
    /// `(x, shape) → y`, broadcast to both.
    Expand,
    /// `(x, starts, ends[, axes][, steps]) → y`.
    Slice {
        /// Whether the axes are an input.
        axes: bool,
        /// Whether the steps are an input.
        steps: bool,
    },
    /// `(x, pads[, value][, axes]) → y`; negative pads take away.
    Pad {
        /// What the cells hold, if it is not a constant.
        fill: Fill,
        /// Whether a constant is an input.
        value: bool,
        /// Whether the axes are an input.
        axes: bool,
    },
    /// `(x, repeats) → y`.
    Tile,
    /// `(start, limit, step) → y`.
    Range,
    /// `(value, shape) → y`: one value everywhere.
    Fill,
    /// `(x[, sizes]) → y`: part `index` of `x` along `axis`, of equal parts if sizes are not given.
    Part {
        /// The axis.
        axis: i64,
        /// Which part.
        index: usize,
        /// How many parts.
        of: usize,
    },
    /// `(x, axes) → y`.
    Reduce {
        /// What is kept.
        kind: ReduceKind,
        /// Keep reduced axes with size 1.
        keep_dims: bool,
        /// No axes reduce nothing rather than everything.
        none_is_none: bool,
    },
    /// `(x[, axes]) → y` without axes of size 1.
    Squeeze,
    /// `(x, axes) → y` with axes of size 1.
    Unsqueeze,
    /// All axes in reverse order.
    Reversed,
    /// One axis moved to another place.
    MoveAxis {
        /// From here; negative counts from the end.
        from: i64,
        /// To here.
        to: i64,
    },
    /// Two axes: those before `axis`, and the rest.
    Flatten {
        /// The first axis of the second; negative counts from the end.
        axis: i64,
    },
    /// `(x, axis) → y`.
    Cumulative(Cumulative),
    /// `(x, k) → (values, indices)`.
    Top {
        /// The axis.
        axis: i64,
        /// The largest rather than the smallest.
        largest: bool,
    },
    /// `(x[, k]) → y`: the part of each matrix on and above, or below, diagonal `k`.
    Triangle {
        /// On and above.
        upper: bool,
    },
    /// `x → y`: ones on diagonal `k` of a matrix of this size.
    Eye {
        /// The diagonal.
        k: i64,
        /// The element type.
        dtype: DType,
    },
    /// `(x, roi, scales or sizes) → y`.
    Resize {
        /// How.
        resize: Resize,
        /// The last input holds sizes rather than scales.
        sizes: bool,
        /// The axes it speaks of; empty is all.
        axes: Vec<i64>,
        /// Whether one scale serves all axes: the smallest (`false`) or the largest (`true`).
        keep_aspect: Option<bool>,
    },
    /// `x → y` or for a maximum `(y, places)`.
    Pool {
        /// What is taken from each window.
        kind: WindowKind,
        /// The window.
        sliding: Sliding,
        /// Round the number of windows up.
        ceil: bool,
        /// Whether the places of maxima are asked for.
        places: bool,
    },
    /// `x → y`: a reduction over all axes from 2 on, keeping them with size 1.
    GlobalPool(ReduceKind),
    /// `(x, w[, b]) → y`.
    Conv {
        /// The window.
        sliding: Sliding,
        /// Groups of channels.
        groups: usize,
    },
    /// `(x, w[, b]) → y`, transposed.
    ConvTranspose {
        /// The window.
        sliding: Sliding,
        /// Groups of channels.
        groups: usize,
        /// Cells added at the end of the output; empty is none.
        extra: Vec<usize>,
        /// Size of the output, which then says the padding.
        output: Vec<usize>,
    },
    /// Blocks of channels to blocks of pixels, or back.
    Blocks {
        /// Side of a block.
        size: usize,
        /// From pixels to channels.
        to_depth: bool,
        /// Columns, rows, depth rather than depth, columns, rows.
        depth_last: bool,
    },
    /// `(x, shape) → y`: cut or padded with zeros around the middle.
    CentreCropPad {
        /// The axes that `shape` speaks of; empty is all.
        axes: Vec<i64>,
    },
}

/// What is known of an input while a graph is specialised or run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Its type.
    pub t: Option<&'a Type>,
    /// Its values.
    pub value: Option<&'a Tensor>,
}

/// What a late operator became.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// A constant.
    Constant(Tensor),
    /// Operators, each reading the first output of the one before, and which of the inputs the first
    /// of them reads.
    Chain(Vec<Op>, Vec<usize>),
}

fn one(op: Op) -> Resolved {
    Resolved::Chain(vec![op], vec![0])
}

fn layout(l: Layout) -> Resolved {
    one(Op::Layout(l))
}

/// The shape as a target that stands for itself.
fn to_shape(x: &Type, shape: &[usize]) -> Resolved {
    if shape.contains(&0) {
        // A size of 0 would read as "as in the input"; there are no values to keep.
        return Resolved::Constant(Tensor::zeros(x.dtype, shape));
    }
    let shape = shape.iter().map(|&d| d as i64).collect();
    layout(Layout::Reshape { shape })
}

fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let axes: Vec<usize> = axes
        .iter()
        .map(|&a| axis_index(a, rank))
        .collect::<Result<_>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < axes.len() {
        return Err(Error::attribute(format!(
            "axes {axes:?}: one is given twice"
        )));
    }
    Ok(axes)
}

fn sizes_of(values: &[i64]) -> Result<Vec<usize>> {
    let size =
        |&v: &i64| usize::try_from(v).map_err(|_| Error::value(format!("{v} is not a size")));
    values.iter().map(size).collect()
}

impl Late {
    /// The operators or the constant it is, or `None` while something that it needs is not known.
    pub fn resolve(&self, inputs: &[Known]) -> Result<Option<Resolved>> {
        let Some(x) = inputs.first().and_then(|i| i.t) else {
            return Ok(None);
        };
        let ints = |k: usize| -> Result<Option<Vec<i64>>> {
            inputs
                .get(k)
                .and_then(|i| i.value)
                .map(Tensor::to_i64s)
                .transpose()
        };
        // The values of every input after the first, in order; `None` if one is not known.
        let operands = inputs.len().max(1) - 1;
        let needs_values = !matches!(
            self,
            Late::Conv { .. }
                | Late::ConvTranspose { .. }
                | Late::Range
                | Late::Pad { .. }
                | Late::Resize { .. }
        );
        let mut given = Vec::new();
        if needs_values {
            for k in 1..=operands {
                match ints(k)? {
                    Some(v) => given.push(v),
                    None => return Ok(None),
                }
            }
        }
        let rank = x.shape.len();
        Ok(Some(match self {
            Late::Shape { start, end } => {
                let (first, n) = SliceRange {
                    start: *start,
                    end: *end,
                    step: 1,
                }
                .resolve(rank);
                let dims: Vec<i64> = x.shape[first..first + n]
                    .iter()
                    .map(|&d| d as i64)
                    .collect();
                Resolved::Constant(Tensor::new(&[n], dims)?)
            }
            Late::Size => Resolved::Constant(Tensor::scalar(element_count(&x.shape)? as i64)),
            Late::Reshape { allow_zero } => {
                to_shape(x, &reshape_target(x, &given[0], *allow_zero)?)
            }
            Late::Expand => {
                let target = sizes_of(&given[0])?;
                let shape = crate::elements::broadcast_shape(&x.shape, &target)?;
                layout(Layout::Expand { shape })
            }
            Late::Fill => layout(Layout::Expand {
                shape: sizes_of(&given[0])?,
            }),
            Late::Slice { axes, steps } => slice(x, &given, *axes, *steps)?,
            Late::Pad { fill, value, axes } => match pad_values(inputs, *value, *axes)? {
                None => return Ok(None),
                Some((pads, constant, axes)) => pad(x, *fill, &pads, constant, axes)?,
            },
            Late::Tile => {
                let repeats = sizes_of(&given[0])?;
                layout(Layout::Tile { repeats })
            }
            Late::Range => match range(inputs)? {
                None => return Ok(None),
                Some(t) => Resolved::Constant(t),
            },
            Late::Part { axis, index, of } => part(x, *axis, *index, *of, given.first())?,
            Late::Reduce {
                kind,
                keep_dims,
                none_is_none,
            } => {
                if given[0].is_empty() && *none_is_none {
                    return Ok(Some(Resolved::Chain(Vec::new(), vec![0])));
                }
                one(Op::Reduce(Reduce::Axes {
                    kind: *kind,
                    axes: given[0].clone(),
                    keep_dims: *keep_dims,
                }))
            }
            Late::Squeeze => to_shape(x, &squeezed(&x.shape, given.first())?),
            Late::Unsqueeze => to_shape(x, &unsqueezed(&x.shape, &given[0])?),
            Late::Reversed => layout(Layout::Transpose {
                permutation: (0..rank).rev().collect(),
            }),
            Late::MoveAxis { from, to } => {
                let (from, to) = (axis_index(*from, rank)?, axis_index(*to, rank)?);
                let mut permutation: Vec<usize> = (0..rank).filter(|&a| a != from).collect();
                permutation.insert(to, from);
                layout(Layout::Transpose { permutation })
            }
            Late::Flatten { axis } => {
                let axis = if *axis == rank as i64 {
                    rank
                } else {
                    axis_index(*axis, rank)?
                };
                let product = |s: &[usize]| element_count(s);
                to_shape(x, &[product(&x.shape[..axis])?, product(&x.shape[axis..])?])
            }
            Late::Cumulative(c) => {
                let axis = *given[0].first().ok_or_else(|| Error::value("no axis"))?;
                one(Op::Cumulative(Cumulative { axis, ..*c }))
            }
            Late::Top { axis, largest } => {
                let k = *sizes_of(&given[0])?
                    .first()
                    .ok_or_else(|| Error::value("no k"))?;
                one(Op::Index(Index::Top {
                    k,
                    axis: *axis,
                    largest: *largest,
                }))
            }
            Late::Triangle { upper } => {
                let diagonal = given.first().and_then(|g| g.first()).copied().unwrap_or(0);
                layout(Layout::Triangle {
                    upper: *upper,
                    diagonal,
                })
            }
            Late::Eye { k, dtype } => Resolved::Constant(eye(x, *k, *dtype)?),
            Late::Resize {
                resize,
                sizes,
                axes,
                keep_aspect,
            } => match resized(x, inputs, resize, *sizes, axes, *keep_aspect)? {
                None => return Ok(None),
                Some(op) => one(op),
            },
            Late::Pool {
                kind,
                sliding,
                ceil,
                places,
            } => pool(x, *kind, sliding, *ceil, *places)?,
            Late::GlobalPool(kind) => global_pool(x, *kind)?,
            Late::Conv { sliding, groups } => match inputs[1].t {
                None => return Ok(None),
                Some(w) => {
                    let conv = conv(x, w, sliding, *groups)?;
                    Resolved::Chain(vec![Op::Conv(conv)], (0..inputs.len()).collect())
                }
            },
            Late::ConvTranspose {
                sliding,
                groups,
                extra,
                output,
            } => match inputs[1].t {
                None => return Ok(None),
                Some(w) => {
                    let conv = transposed(x, w, sliding, *groups, extra, output)?;
                    Resolved::Chain(vec![Op::Conv(conv)], (0..inputs.len()).collect())
                }
            },
            Late::Blocks {
                size,
                to_depth,
                depth_last,
            } => blocks(x, *size, *to_depth, *depth_last)?,
            Late::CentreCropPad { axes } => centre_crop_pad(x, &sizes_of(&given[0])?, axes)?,
        }))
    }
}

fn reshape_target(x: &Type, spec: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    if !allow_zero {
        return super::layout::reshaped(spec, &x.shape);
    }
    let bad = || Error::shape(format!("cannot reshape {:?} to {spec:?}", x.shape));
    let free = spec.iter().filter(|&&d| d == -1).count();
    let fixed: Vec<i64> = spec.iter().copied().filter(|&d| d != -1).collect();
    let fixed = element_count(&sizes_of(&fixed)?)?;
    let left = x.len().checked_div(fixed).unwrap_or(0);
    if free > 1 || (if free == 1 { left * fixed } else { fixed }) != x.len() {
        return Err(bad());
    }
    Ok(spec
        .iter()
        .map(|&d| if d == -1 { left } else { d as usize })
        .collect())
}

fn slice(x: &Type, given: &[Vec<i64>], axes: bool, steps: bool) -> Result<Resolved> {
    let rank = x.shape.len();
    let (starts, ends) = (&given[0], &given[1]);
    let n = starts.len();
    let axes = match axes {
        true => axes_of(&given[2], rank)?,
        false => (0..n).collect(),
    };
    let steps = match steps {
        true => given[given.len() - 1].clone(),
        false => vec![1; n],
    };
    if ends.len() != n || axes.len() != n || steps.len() != n || n > rank {
        let message = format!("slice of {rank} axes with {n} starts, {} ends", ends.len());
        return Err(Error::attribute(message));
    }
    let mut ranges = vec![SliceRange::ALL; rank];
    let mut reversed = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let len = x.shape[axis] as i64;
        let from_end = |v: i64| if v < 0 { v.saturating_add(len) } else { v };
        let (start, end) = (from_end(starts[i]), from_end(ends[i]));
        if steps[i] == 0 {
            return Err(Error::attribute("a slice with step 0"));
        }
        ranges[axis] = if steps[i] > 0 {
            SliceRange {
                start: start.clamp(0, len),
                end: end.clamp(0, len),
                step: steps[i] as usize,
            }
        } else {
            // The same elements in ascending order, then reversed.
            let (step, first) = (steps[i].unsigned_abs() as usize, start.clamp(-1, len - 1));
            let last = end.clamp(-1, len - 1);
            let n = usize::try_from(first - last).unwrap_or(0).div_ceil(step);
            reversed.push(axis);
            match n {
                0 => SliceRange {
                    start: 0,
                    end: 0,
                    step: 1,
                },
                _ => SliceRange {
                    start: first - ((n - 1) * step) as i64,
                    end: first + 1,
                    step,
                },
            }
        };
    }
    let mut chain = vec![Op::Layout(Layout::Slice { ranges })];
    if !reversed.is_empty() {
        chain.push(Op::Layout(Layout::Reverse { axes: reversed }));
    }
    Ok(Resolved::Chain(chain, vec![0]))
}

type PadValues = (Vec<i64>, f64, Option<Vec<i64>>);

fn pad_values(inputs: &[Known], value: bool, axes: bool) -> Result<Option<PadValues>> {
    let Some(pads) = inputs[1].value else {
        return Ok(None);
    };
    let mut next = 2;
    let mut constant = 0.0;
    if value {
        let Some(t) = inputs[next].value else {
            return Ok(None);
        };
        let crate::Data::F64(v) = t.data().cast(DType::F64) else {
            unreachable!("cast to f64")
        };
        constant = v.first().copied().unwrap_or(0.0);
        next += 1;
    }
    let axes = match axes {
        false => None,
        true => match inputs[next].value {
            None => return Ok(None),
            Some(t) => Some(t.to_i64s()?),
        },
    };
    Ok(Some((pads.to_i64s()?, constant, axes)))
}

fn pad(x: &Type, fill: Fill, pads: &[i64], value: f64, axes: Option<Vec<i64>>) -> Result<Resolved> {
    let rank = x.shape.len();
    let axes = match axes {
        Some(axes) => axes_of(&axes, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        let message = format!("{} pads for {} axes", pads.len(), axes.len());
        return Err(Error::attribute(message));
    }
    let mut padding = vec![[0usize; 2]; rank];
    let mut ranges = vec![SliceRange::ALL; rank];
    for (i, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[i], pads[i + axes.len()]);
        padding[axis] = [before.max(0) as usize, after.max(0) as usize];
        let end = (x.shape[axis] as i64).saturating_add(after.min(0));
        ranges[axis] = SliceRange {
            start: before.min(0).saturating_neg(),
            end: end.max(0),
            step: 1,
        };
    }
    let mut chain = Vec::new();
    if pads.iter().any(|&p| p < 0) {
        chain.push(Op::Layout(Layout::Slice { ranges }));
    }
    chain.push(Op::Layout(match fill {
        Fill::Constant => Layout::Pad {
            padding,
            value: value as f32,
        },
        fill => Layout::Extend { padding, fill },
    }));
    Ok(Resolved::Chain(chain, vec![0]))
}

fn range(inputs: &[Known]) -> Result<Option<Tensor>> {
    let mut values = Vec::new();
    for i in inputs {
        match i.value {
            Some(t) if t.len() == 1 => values.push(t),
            Some(t) => return Err(Error::shape(format!("a range from {:?}", t.shape()))),
            None => return Ok(None),
        }
    }
    let dtype = values[0].dtype();
    let too_many = || Error::value(format!("a range of more than {MAX_RANGE} values"));
    if dtype.is_float() {
        let v: Vec<f64> = values
            .iter()
            .map(|t| crate::reference::Array::from(*t).values[0])
            .collect();
        let n = ((v[1] - v[0]) / v[2]).ceil().max(0.0);
        if n.is_nan() || n > MAX_RANGE as f64 {
            return Err(too_many());
        }
        let all: Vec<f64> = (0..n as usize).map(|i| v[0] + i as f64 * v[2]).collect();
        return Ok(Some(Tensor::new(&[all.len()], all)?.cast(dtype)));
    }
    let v: Vec<i128> = values
        .iter()
        .map(|t| Ok(t.data().integers()?[0]))
        .collect::<Result<_>>()?;
    if v[2] == 0 {
        return Err(Error::value("a range with step 0"));
    }
    let n = (v[1] - v[0]).div_euclid(v[2]) + i128::from((v[1] - v[0]).rem_euclid(v[2]) != 0);
    let n = if v[2] < 0 {
        (v[0] - v[1] + (-v[2] - 1)).div_euclid(-v[2])
    } else {
        n
    };
    let n = usize::try_from(n.max(0))
        .ok()
        .filter(|&n| n <= MAX_RANGE)
        .ok_or_else(too_many)?;
    let all: Vec<i128> = (0..n).map(|i| v[0] + i as i128 * v[2]).collect();
    Ok(Some(Tensor::from_data(
        &[n],
        crate::Data::from_integers(dtype, &all),
    )?))
}

fn part(
    x: &Type,
    axis: i64,
    index: usize,
    of: usize,
    sizes: Option<&Vec<i64>>,
) -> Result<Resolved> {
    let axis = axis_index(axis, x.shape.len())?;
    let len = x.shape[axis];
    let sizes = match sizes {
        Some(sizes) => sizes_of(sizes)?,
        None => {
            let each = len.div_ceil(of.max(1));
            (0..of)
                .map(|i| len.saturating_sub(i * each).min(each))
                .collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |t, &s| t.checked_add(s));
    if total != Some(len) || sizes.len() != of {
        return Err(Error::shape(format!(
            "{len} elements in {of} parts of {sizes:?}"
        )));
    }
    let start: usize = sizes[..index].iter().sum();
    let mut ranges = vec![SliceRange::ALL; x.shape.len()];
    ranges[axis] = SliceRange {
        start: start as i64,
        end: (start + sizes[index]) as i64,
        step: 1,
    };
    Ok(layout(Layout::Slice { ranges }))
}

fn squeezed(shape: &[usize], axes: Option<&Vec<i64>>) -> Result<Vec<usize>> {
    let axes = match axes {
        Some(axes) => axes_of(axes, shape.len())?,
        None => (0..shape.len()).filter(|&a| shape[a] == 1).collect(),
    };
    if let Some(&bad) = axes.iter().find(|&&a| shape[a] != 1) {
        return Err(Error::shape(format!(
            "axis {bad} of {shape:?} is not of size 1"
        )));
    }
    let kept = (0..shape.len()).filter(|a| !axes.contains(a));
    Ok(kept.map(|a| shape[a]).collect())
}

fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>> {
    let rank = shape.len() + axes.len();
    let axes = axes_of(axes, rank)?;
    let mut old = shape.iter();
    let size = |a: usize| {
        if axes.contains(&a) {
            1
        } else {
            *old.next().expect("as many axes")
        }
    };
    Ok((0..rank).map(size).collect())
}

fn eye(x: &Type, k: i64, dtype: DType) -> Result<Tensor> {
    super::rank("x", &x.shape, 2)?;
    let (rows, columns) = (x.shape[0], x.shape[1]);
    if x.len() > MAX_RANGE {
        return Err(Error::value(format!(
            "a matrix of more than {MAX_RANGE} values"
        )));
    }
    let on = |i: usize| u8::from((i % columns) as i64 == (i / columns) as i64 + k);
    let all: Vec<u8> = (0..rows * columns).map(on).collect();
    Ok(Tensor::new(&x.shape, all)?.cast(dtype))
}

/// The list with one entry per axis; an empty one is filled with `default`.
fn per_axis<T: Clone>(what: &str, list: &[T], n: usize, default: T) -> Result<Vec<T>> {
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

fn space(x: &Type, n: usize) -> Result<&[usize]> {
    match x.shape.len() == n + 2 {
        true => Ok(&x.shape[2..]),
        false => Err(Error::shape(format!(
            "a window of {n} axes over {:?}",
            x.shape
        ))),
    }
}

fn pool(x: &Type, kind: WindowKind, s: &Sliding, ceil: bool, places: bool) -> Result<Resolved> {
    let kernel = s.kernel.clone();
    let (stride, dilation, padding) = s.concrete(space(x, kernel.len())?, &kernel)?;
    let simple = match kind {
        WindowKind::Max { .. } if !places => Some(PoolKind::Max),
        WindowKind::Average { count_include_pad } => Some(PoolKind::Average { count_include_pad }),
        _ => None,
    };
    let small = padding
        .iter()
        .zip(&kernel)
        .all(|(p, &k)| p[0] < k && p[1] < k);
    if let (Some(kind), [kh, kw], true) = (simple, &kernel[..], small)
        && dilation == [1, 1]
        && x.dtype.is_float()
        && !ceil
    {
        let [top, bottom] = padding[0];
        let [left, right] = padding[1];
        return Ok(one(Op::Pool(Pool {
            kind,
            kernel: Some([*kh, *kw]),
            stride: [stride[0], stride[1]],
            padding: [top, left, bottom, right],
            grad: false,
        })));
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

fn global_pool(x: &Type, kind: ReduceKind) -> Result<Resolved> {
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

/// The two entries of a list per axis; one axis is the second of an image of one row.
fn pair<T: Copy>(list: &[T], first: T) -> Result<[T; 2]> {
    match *list {
        [only] => Ok([first, only]),
        [a, b] => Ok([a, b]),
        _ => Err(Error::new(
            ErrorKind::Attribute,
            format!(
                "convolution over {} axes: one or two are supported",
                list.len()
            ),
        )),
    }
}

fn conv(x: &Type, w: &Type, s: &Sliding, groups: usize) -> Result<Conv> {
    let kernel = w.shape.get(2..).unwrap_or(&[]);
    if !s.kernel.is_empty() && s.kernel != kernel {
        let message = format!("kernel {:?}, but weights {:?}", s.kernel, w.shape);
        return Err(Error::attribute(message));
    }
    let (stride, dilation, padding) = s.concrete(space(x, kernel.len())?, kernel)?;
    let [rows, columns] = pair(&padding, [0, 0])?;
    Ok(Conv {
        stride: pair(&stride, 1)?,
        dilation: pair(&dilation, 1)?,
        padding: [rows[0], columns[0], rows[1], columns[1]],
        groups,
        ..Conv::default()
    })
}

fn transposed(
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
    let [rows, columns] = pair(&padding, [0, 0])?;
    Ok(Conv {
        role: ConvRole::Transposed {
            extra: pair(&extra, 0)?,
        },
        stride: pair(&stride, 1)?,
        dilation: pair(&dilation, 1)?,
        padding: [rows[0], columns[0], rows[1], columns[1]],
        groups,
    })
}

fn blocks(x: &Type, size: usize, to_depth: bool, depth_last: bool) -> Result<Resolved> {
    super::rank("x", &x.shape, 4)?;
    let [n, c, h, w] = [x.shape[0], x.shape[1], x.shape[2], x.shape[3]];
    let area = size.saturating_mul(size);
    let fits = match to_depth {
        true => size > 0 && h % size == 0 && w % size == 0,
        false => size > 0 && c % area == 0,
    };
    if !fits {
        return Err(Error::shape(format!("blocks of {size} in {:?}", x.shape)));
    }
    let (split, permutation, last) = match (to_depth, depth_last) {
        (true, _) => (
            vec![n, c, h / size, size, w / size, size],
            vec![0, 3, 5, 1, 2, 4],
            [n, c * area, h / size, w / size],
        ),
        (false, false) => (
            vec![n, size, size, c / area, h, w],
            vec![0, 3, 4, 1, 5, 2],
            [n, c / area, h * size, w * size],
        ),
        (false, true) => (
            vec![n, c / area, size, size, h, w],
            vec![0, 1, 4, 2, 5, 3],
            [n, c / area, h * size, w * size],
        ),
    };
    let reshape = |s: &[usize]| {
        Op::Layout(Layout::Reshape {
            shape: s.iter().map(|&d| d as i64).collect(),
        })
    };
    let transpose = Op::Layout(Layout::Transpose { permutation });
    Ok(Resolved::Chain(
        vec![reshape(&split), transpose, reshape(&last)],
        vec![0],
    ))
}

fn centre_crop_pad(x: &Type, target: &[usize], axes: &[i64]) -> Result<Resolved> {
    let rank = x.shape.len();
    let axes = match axes {
        [] => (0..rank).collect(),
        axes => axes_of(axes, rank)?,
    };
    if target.len() != axes.len() {
        let message = format!("{} sizes for {} axes", target.len(), axes.len());
        return Err(Error::attribute(message));
    }
    let mut ranges = vec![SliceRange::ALL; rank];
    let mut padding = vec![[0; 2]; rank];
    for (&axis, &to) in axes.iter().zip(target) {
        let len = x.shape[axis];
        if len > to {
            let start = ((len - to) / 2) as i64;
            ranges[axis] = SliceRange {
                start,
                end: start + to as i64,
                step: 1,
            };
        } else {
            padding[axis] = [(to - len) / 2, (to - len).div_ceil(2)];
        }
    }
    let chain = vec![
        Op::Layout(Layout::Slice { ranges }),
        Op::Layout(Layout::Pad {
            padding,
            value: 0.0,
        }),
    ];
    Ok(Resolved::Chain(chain, vec![0]))
}

fn resized(
    x: &Type,
    inputs: &[Known],
    resize: &Resize,
    sizes: bool,
    axes: &[i64],
    keep_aspect: Option<bool>,
) -> Result<Option<Op>> {
    let (Some(roi), Some(given)) = (inputs[1].value, inputs[2].value) else {
        return Ok(None);
    };
    let rank = x.shape.len();
    let axes = match axes {
        [] => (0..rank).collect(),
        axes => axes_of(axes, rank)?,
    };
    let floats = |t: &Tensor| crate::reference::Array::from(t).values;
    let (roi, given) = (floats(roi), floats(given));
    if given.len() != axes.len() || !(roi.is_empty() || roi.len() == 2 * axes.len()) {
        return Err(Error::attribute(format!(
            "{} sizes for {} axes",
            given.len(),
            axes.len()
        )));
    }
    let mut resize = resize.clone();
    resize.scales = vec![1.0; rank];
    resize.sizes = x.shape.clone();
    resize.roi = vec![[0.0, 1.0]; rank];
    let ratio = |i: usize| given[i] / x.shape[axes[i]] as f64;
    let common = keep_aspect.map(|largest| {
        let ratios = (0..axes.len()).map(ratio);
        if largest {
            ratios.fold(0.0, f64::max)
        } else {
            ratios.fold(f64::INFINITY, f64::min)
        }
    });
    for (i, &axis) in axes.iter().enumerate() {
        if let [start, end] = [roi.get(i), roi.get(i + axes.len())].map(Option::<&f64>::copied)
            && let (Some(start), Some(end)) = (start, end)
        {
            resize.roi[axis] = [start as f32, end as f32];
        }
        let len = x.shape[axis] as f64;
        let extent = match resize.crops() {
            true => len * f64::from(resize.roi[axis][1] - resize.roi[axis][0]),
            false => len,
        };
        let (scale, size) = match (sizes, common) {
            (true, Some(common)) => (common, (common * len).round()),
            (true, None) => (given[i] / extent, given[i]),
            (false, _) => (given[i], (extent * given[i]).floor()),
        };
        if !(size >= 0.0 && size < (1u64 << 40) as f64 && scale > 0.0) {
            return Err(Error::value(format!("resize to {size} by {scale}")));
        }
        resize.scales[axis] = scale as f32;
        resize.sizes[axis] = size as usize;
    }
    Ok(Some(Op::Resample(Resample::Resize(resize))))
}

impl Family for Late {
    fn name(&self) -> &'static str {
        match self {
            Late::Shape { .. } => "Shape",
            Late::Size => "Size",
            Late::Reshape { .. } => "ReshapeTo",
            Late::Expand => "ExpandTo",
            Late::Slice { .. } => "SliceAt",
            Late::Pad { .. } => "PadBy",
            Late::Tile => "TileBy",
            Late::Range => "Range",
            Late::Fill => "Fill",
            Late::Part { .. } => "Part",
            Late::Reduce { .. } => "ReduceAlong",
            Late::Squeeze => "Squeeze",
            Late::Unsqueeze => "Unsqueeze",
            Late::Reversed => "Reversed",
            Late::MoveAxis { .. } => "MoveAxis",
            Late::Flatten { .. } => "Flatten",
            Late::Cumulative(_) => "CumulativeAlong",
            Late::Top { .. } => "TopOf",
            Late::Triangle { .. } => "Triangle",
            Late::Eye { .. } => "Eye",
            Late::Resize { .. } => "ResizeTo",
            Late::Pool { .. } => "PoolOver",
            Late::GlobalPool(_) => "GlobalPool",
            Late::Conv { .. } => "ConvOver",
            Late::ConvTranspose { .. } => "ConvTransposeOver",
            Late::Blocks { .. } => "Blocks",
            Late::CentreCropPad { .. } => "CentreCropPad",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self {
            Late::Size
            | Late::Expand
            | Late::Tile
            | Late::Range
            | Late::Fill
            | Late::Squeeze
            | Late::Unsqueeze
            | Late::Reversed => Vec::new(),
            Late::Shape {
                start: 0,
                end: i64::MAX,
            } => Vec::new(),
            other => {
                // The fields as the enum has them, without its name.
                let text = format!("{other:?}");
                let start = text.find([' ', '(']).map_or(text.len(), |i| i);
                vec![("with", text[start..].trim().replace(' ', ""))]
            }
        }
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        match self {
            Late::Shape { .. } | Late::Size => vec![DType::I64],
            Late::Top { .. } => vec![inputs[0], DType::I64],
            Late::Eye { dtype, .. } => vec![*dtype],
            Late::Reduce { kind, .. } => vec![kind.dtype(inputs[0])],
            Late::Pool { places: true, .. } => vec![inputs[0], DType::I64],
            _ => vec![inputs[0]],
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 1, 5)?;
        Err(Error::new(
            ErrorKind::Late,
            "the shape of the result depends on values",
        ))
    }

    fn macs(&self, _inputs: &[Type], _outputs: &[Type]) -> u64 {
        0
    }
}
