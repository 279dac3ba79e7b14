//! Operators that move values without computing: reshape, transpose, slice, concatenation, padding.

use super::{Family, Type, axis_index, count, same_shape};
use crate::reference::Array;
use crate::tensor::{element_count, strides};
use crate::{Error, Result};

/// An operator that only moves values.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// The same values under another shape: 0 keeps the size of that axis, one -1 takes what is
    /// left (ONNX `Reshape`).
    Reshape {
        /// The new sizes.
        shape: Vec<i64>,
    },
    /// `(x, like) → y`: the values of `x` under the shape of `like`, which is not read otherwise.
    ReshapeLike,
    /// Axes permuted: axis `i` of the result is axis `permutation[i]` of the input.
    Transpose {
        /// The permutation.
        permutation: Vec<usize>,
    },
    /// A part of each axis, as Python's `x[start:end:step]` with a positive step.
    Slice {
        /// One range per axis.
        ranges: Vec<SliceRange>,
    },
    /// Gradient of a slice: `(dy, like) → dx`, zeros where nothing was taken.
    SliceGrad {
        /// One range per axis.
        ranges: Vec<SliceRange>,
    },
    /// The inputs one after the other along `axis`.
    Concat {
        /// The axis that grows; negative counts from the end.
        axis: i64,
    },
    /// Gradient of concatenation: `(dy, x₀, x₁, …) → dxᵢ`; only the shapes of the `x` are read.
    ConcatGrad {
        /// The axis that grew.
        axis: i64,
        /// Which of the inputs.
        index: usize,
    },
    /// A constant put around the values.
    Pad {
        /// Cells before and after, per axis.
        padding: Vec<[usize; 2]>,
        /// What they hold.
        value: f32,
    },
}

/// `start:end:step`; negative ends count from the end of the axis, and are clamped to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceRange {
    /// First element.
    pub start: i64,
    /// One past the last element; `i64::MAX` for all.
    pub end: i64,
    /// Distance between elements, at least 1.
    pub step: usize,
}

impl SliceRange {
    /// The whole axis.
    pub const ALL: SliceRange = SliceRange {
        start: 0,
        end: i64::MAX,
        step: 1,
    };

    /// First element and number of elements taken from an axis of `len`.
    pub fn resolve(&self, len: usize) -> (usize, usize) {
        let clamp = |v: i64| {
            let len = i64::try_from(len).unwrap_or(i64::MAX);
            (if v < 0 { v.saturating_add(len) } else { v }).clamp(0, len) as usize
        };
        let (start, end) = (clamp(self.start), clamp(self.end));
        (start, end.saturating_sub(start).div_ceil(self.step.max(1)))
    }
}

/// The shape that `spec` asks for, given the input's shape.
pub fn reshaped(spec: &[i64], from: &[usize]) -> Result<Vec<usize>> {
    let bad = |why: &str| {
        Err(Error::shape(format!(
            "cannot reshape {from:?} to {spec:?}: {why}"
        )))
    };
    let mut shape = Vec::with_capacity(spec.len());
    let mut free = None;
    for (axis, &d) in spec.iter().enumerate() {
        shape.push(match d {
            0 if axis < from.len() => from[axis],
            0 => return bad("0 keeps an axis that the input does not have"),
            -1 if free.is_none() => {
                free = Some(axis);
                1
            }
            d if d > 0 => d as usize,
            _ => return bad("sizes are positive, 0 or a single -1"),
        });
    }
    let (have, fixed) = (element_count(from)?, element_count(&shape)?);
    if let Some(axis) = free {
        if fixed == 0 || have % fixed != 0 {
            return bad("the sizes do not divide the number of elements");
        }
        shape[axis] = have / fixed;
    } else if have != fixed {
        return bad("the numbers of elements differ");
    }
    Ok(shape)
}

fn sliced(ranges: &[SliceRange], x: &[usize]) -> Result<Vec<usize>> {
    if ranges.len() != x.len() {
        return Err(Error::attribute(format!(
            "{} ranges for shape {x:?}",
            ranges.len()
        )));
    }
    if ranges.iter().any(|r| r.step == 0) {
        return Err(Error::attribute("a slice with step 0"));
    }
    Ok(ranges
        .iter()
        .zip(x)
        .map(|(r, &len)| r.resolve(len).1)
        .collect())
}

fn concatenated(axis: i64, inputs: &[Type]) -> Result<Type> {
    let first = &inputs[0];
    let axis = axis_index(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for t in inputs {
        if t.dtype != first.dtype || t.shape.len() != shape.len() {
            return Err(Error::shape(format!(
                "cannot concatenate {t:?} with {first:?}"
            )));
        }
        let mut expected = first.shape.clone();
        expected[axis] = t.shape[axis];
        same_shape("concatenated input", &t.shape, &expected)?;
        shape[axis] += t.shape[axis];
    }
    Ok(Type::new(first.dtype, &shape))
}

impl Layout {
    /// For each element of the output, the element of the input it comes from; `None` is padding.
    /// Concatenation is not of this kind.
    fn source(&self, x: &[usize], y: &[usize]) -> Vec<Option<usize>> {
        let (sx, sy) = (strides(x), strides(y));
        let total = y.iter().product::<usize>();
        let axis_of = |i: usize, axis: usize| i / sy[axis] % y[axis];
        let gather = |f: &dyn Fn(usize, usize) -> Option<usize>| {
            let element = |i: usize| {
                (0..y.len()).try_fold(0, |at, a| f(a, axis_of(i, a)).map(|offset| at + offset))
            };
            (0..total).map(element).collect()
        };
        match self {
            Layout::Reshape { .. } | Layout::ReshapeLike => (0..total).map(Some).collect(),
            Layout::Transpose { permutation } => gather(&|a, v| Some(v * sx[permutation[a]])),
            Layout::Slice { ranges } => {
                gather(&|a, v| Some((ranges[a].resolve(x[a]).0 + v * ranges[a].step) * sx[a]))
            }
            Layout::SliceGrad { ranges } => gather(&|a, v| {
                let (start, n) = ranges[a].resolve(y[a]);
                let offset = v.checked_sub(start).filter(|o| o % ranges[a].step == 0)?;
                Some(offset / ranges[a].step)
                    .filter(|&i| i < n)
                    .map(|i| i * sx[a])
            }),
            Layout::Pad { padding, .. } => gather(&|a, v| {
                v.checked_sub(padding[a][0])
                    .filter(|&i| i < x[a])
                    .map(|i| i * sx[a])
            }),
            Layout::Concat { .. } | Layout::ConcatGrad { .. } => {
                unreachable!("concatenation has no single source")
            }
        }
    }
}

impl Family for Layout {
    fn name(&self) -> &'static str {
        match self {
            Layout::Reshape { .. } => "Reshape",
            Layout::ReshapeLike => "ReshapeLike",
            Layout::Transpose { .. } => "Transpose",
            Layout::Slice { .. } => "Slice",
            Layout::SliceGrad { .. } => "SliceGrad",
            Layout::Concat { .. } => "Concat",
            Layout::ConcatGrad { .. } => "ConcatGrad",
            Layout::Pad { .. } => "Pad",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let range = |r: &SliceRange| match r.end {
            i64::MAX => format!("{}::{}", r.start, r.step),
            end => format!("{}:{end}:{}", r.start, r.step),
        };
        match self {
            Layout::Reshape { shape } => vec![("shape", format!("{shape:?}"))],
            Layout::ReshapeLike => Vec::new(),
            Layout::Transpose { permutation } => vec![("permutation", format!("{permutation:?}"))],
            Layout::Slice { ranges } | Layout::SliceGrad { ranges } => {
                vec![(
                    "ranges",
                    ranges.iter().map(range).collect::<Vec<_>>().join(","),
                )]
            }
            Layout::Concat { axis } => vec![("axis", axis.to_string())],
            Layout::ConcatGrad { axis, index } => {
                vec![("axis", axis.to_string()), ("index", index.to_string())]
            }
            Layout::Pad { padding, value } => {
                vec![
                    ("padding", format!("{padding:?}")),
                    ("value", value.to_string()),
                ]
            }
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = match self {
            Layout::ReshapeLike | Layout::SliceGrad { .. } => 2..=2,
            Layout::Concat { .. } => 1..=usize::MAX,
            Layout::ConcatGrad { .. } => 2..=usize::MAX,
            _ => 1..=1,
        };
        count(inputs, *n.start(), *n.end())?;
        let x = &inputs[0];
        let shape = match self {
            Layout::Reshape { shape } => reshaped(shape, &x.shape)?,
            Layout::ReshapeLike => {
                let like = &inputs[1].shape;
                if element_count(like)? != x.len() {
                    return Err(Error::shape(format!(
                        "{:?} does not reshape to {like:?}",
                        x.shape
                    )));
                }
                like.clone()
            }
            Layout::Transpose { permutation } => {
                let mut seen = permutation.clone();
                seen.sort_unstable();
                if !seen.iter().copied().eq(0..x.shape.len()) {
                    return Err(Error::attribute(format!(
                        "{permutation:?} is not a permutation of the {} axes",
                        x.shape.len()
                    )));
                }
                permutation.iter().map(|&a| x.shape[a]).collect()
            }
            Layout::Slice { ranges } => sliced(ranges, &x.shape)?,
            Layout::SliceGrad { ranges } => {
                same_shape("dy", &x.shape, &sliced(ranges, &inputs[1].shape)?)?;
                inputs[1].shape.clone()
            }
            Layout::Concat { axis } => concatenated(*axis, inputs)?.shape,
            Layout::ConcatGrad { axis, index } => {
                same_shape("dy", &x.shape, &concatenated(*axis, &inputs[1..])?.shape)?;
                let of = inputs.get(index + 1);
                of.ok_or_else(|| Error::attribute(format!("no input {index}")))?
                    .shape
                    .clone()
            }
            Layout::Pad { padding, .. } => {
                if padding.len() != x.shape.len() {
                    return Err(Error::attribute(format!(
                        "padding of {} axes for shape {:?}",
                        padding.len(),
                        x.shape
                    )));
                }
                let grow = |(d, p): (&usize, &[usize; 2])| d.checked_add(p[0])?.checked_add(p[1]);
                let shape: Option<Vec<usize>> = x.shape.iter().zip(padding).map(grow).collect();
                shape.ok_or_else(|| Error::shape("padded shape is too large"))?
            }
        };
        Ok(vec![Type::new(x.dtype, &shape)])
    }

    fn macs(&self, _inputs: &[Type], _outputs: &[Type]) -> u64 {
        0
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let (x, y) = (inputs[0], &outputs[0].shape);
        if let Layout::Concat { axis } | Layout::ConcatGrad { axis, .. } = self {
            return vec![concat_reference(self, *axis, inputs, y)];
        }
        let fill = if let Layout::Pad { value, .. } = self {
            f64::from(*value)
        } else {
            0.0
        };
        let source = self.source(&x.shape, y);
        vec![Array::new(
            y,
            source
                .into_iter()
                .map(|s| s.map_or(fill, |i| x.values[i]))
                .collect(),
        )]
    }

    fn reads(&self, idx: usize) -> bool {
        matches!(self, Layout::Concat { .. }) || idx == 0
    }
}

fn concat_reference(op: &Layout, axis: i64, inputs: &[&Array], y: &[usize]) -> Array {
    let axis = axis_index(axis, y.len()).expect("axis passed the shape rule");
    let (outer, _, inner) = super::around(y, axis);
    let block = |a: &Array| a.shape[axis] * inner;
    let mut out = Vec::with_capacity(y.iter().product());
    if let Layout::ConcatGrad { index, .. } = op {
        let before: usize = inputs[1..=*index].iter().map(|a| block(a)).sum();
        let (whole, own) = (block(inputs[0]), y[axis] * inner);
        for o in 0..outer {
            out.extend_from_slice(&inputs[0].values[o * whole + before..][..own]);
        }
    } else {
        for o in 0..outer {
            for a in inputs {
                out.extend_from_slice(&a.values[o * block(a)..][..block(a)]);
            }
        }
    }
    Array::new(y, out)
}
