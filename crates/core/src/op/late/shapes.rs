//! Shapes, slices and paddings that are values.

use super::super::layout::{Fill, SliceRange, reshaped};
use super::super::{Layout, Op, Type, axis_index, rank};
use super::{Known, Resolved, layout};
use crate::tensor::element_count;
use crate::{DType, Error, Result, Tensor};

/// The shape as a target that stands for itself.
pub(super) fn to_shape(x: &Type, shape: &[usize]) -> Resolved {
    if shape.contains(&0) {
        // A size of 0 would read as "as in the input"; there are no values to keep.
        return Resolved::Constant(Tensor::zeros(x.dtype, shape));
    }
    let shape = shape.iter().map(|&d| d as i64).collect();
    layout(Layout::Reshape { shape })
}

pub(super) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
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

pub(super) fn sizes_of(values: &[i64]) -> Result<Vec<usize>> {
    let size =
        |&v: &i64| usize::try_from(v).map_err(|_| Error::value(format!("{v} is not a size")));
    values.iter().map(size).collect()
}

pub(super) fn reshape_target(x: &Type, spec: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    if !allow_zero {
        return reshaped(spec, &x.shape);
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

pub(super) fn slice(x: &Type, given: &[Vec<i64>], axes: bool, steps: bool) -> Result<Resolved> {
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

pub(super) type PadValues = (Vec<i64>, f64, Option<Vec<i64>>);

pub(super) fn pad_values(inputs: &[Known], value: bool, axes: bool) -> Result<Option<PadValues>> {
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

pub(super) fn pad(
    x: &Type,
    fill: Fill,
    pads: &[i64],
    value: f64,
    axes: Option<Vec<i64>>,
) -> Result<Resolved> {
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

pub(super) fn part(
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

pub(super) fn squeezed(shape: &[usize], axes: Option<&Vec<i64>>) -> Result<Vec<usize>> {
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

pub(super) fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>> {
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

pub(super) fn blocks(x: &Type, size: usize, to_depth: bool, depth_last: bool) -> Result<Resolved> {
    rank("x", &x.shape, 4)?;
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

pub(super) fn centre_crop_pad(x: &Type, target: &[usize], axes: &[i64]) -> Result<Resolved> {
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
