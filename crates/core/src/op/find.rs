//! Operators that find out how many values they give: their output types are known only after they
//! have run.

use std::cmp::Ordering;

use super::{Family, Type, around, axis_index, count};
use crate::order::sort_by_key;
use crate::order::{argsort, sort_indices};
use crate::reference::Array;
use crate::tensor::strides;
use crate::{DType, Data, Error, ErrorKind, Result, Tensor, each_type};

/// An operator whose output shapes depend on the values of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// `x → [rank, found]`: the indices of the elements that are not 0, as `i64`.
    NonZero,
    /// `(x, condition) → y`: the elements, or with an axis the slices, where the condition holds; what
    /// is beyond its end is left out.
    Compress {
        /// The axis; negative counts from the end; `None` takes elements of the flattened `x`.
        axis: Option<i64>,
    },
    /// `x → (values, first, inverse, counts)`: the distinct elements, or slices along an axis.
    Unique {
        /// The axis; negative counts from the end; `None` takes elements of the flattened `x`.
        axis: Option<i64>,
        /// In ascending order rather than that of their first place.
        sorted: bool,
    },
    /// `(boxes, scores, limit, overlap, score) → [found, 3]` (ONNX `NonMaxSuppression`).
    NonMaxSuppression {
        /// Boxes are given by centre and size rather than by two corners.
        centre: bool,
    },
}

fn non_zero(x: &Tensor) -> Result<Tensor> {
    let found: Vec<usize> = each_type!(x.data(), v => {
        (0..v.len()).filter(|&i| v[i] != Default::default()).collect()
    });
    let (rank, own) = (x.shape().len().max(1), strides(x.shape()));
    let coordinate = |axis: usize, i: usize| match x.shape().get(axis) {
        Some(len) => (i / own[axis] % len) as i64,
        None => 0,
    };
    let indices = (0..rank).flat_map(|axis| found.iter().map(move |&i| coordinate(axis, i)));
    Tensor::new(&[rank, found.len()], indices.collect::<Vec<_>>())
}

/// Slices `keep` of `x` along `axis`.
fn slices(x: &Tensor, axis: usize, keep: &[usize]) -> Result<Tensor> {
    let (outer, len, inner) = around(x.shape(), axis);
    let mut shape = x.shape().to_vec();
    shape[axis] = keep.len();
    each_type!(x.data(), v => {
        let mut y = Vec::with_capacity(outer * keep.len() * inner);
        for o in 0..outer {
            for &k in keep {
                y.extend_from_slice(&v[(o * len + k) * inner..][..inner]);
            }
        }
        Tensor::new(&shape, y)
    })
}

fn along(x: &Tensor, axis: Option<i64>) -> Result<(Tensor, usize)> {
    match axis {
        None => Ok((x.clone().reshape(&[x.len()])?, 0)),
        Some(axis) => Ok((x.clone(), axis_index(axis, x.shape().len())?)),
    }
}

fn unique(x: &Tensor, axis: Option<i64>, sorted: bool) -> Result<Vec<Tensor>> {
    let (x, axis) = along(x, axis)?;
    let (outer, len, inner) = around(x.shape(), axis);
    let compare = |a: usize, b: usize| -> Ordering {
        each_type!(x.data(), v => {
            let row = |k: usize| (0..outer).flat_map(move |o| {
                (0..inner).map(move |i| (o * len + k) * inner + i)
            });
            let pairs = row(a).zip(row(b)).map(|(i, j)| v[i].partial_cmp(&v[j]));
            pairs.map(|o| o.unwrap_or(Ordering::Equal)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        })
    };
    let order = argsort(len, compare);
    // Groups of equal slices, each with its members in order of place.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for k in order {
        match groups.last_mut().filter(|g| compare(g[0], k).is_eq()) {
            Some(group) => group.push(k),
            None => groups.push(vec![k]),
        }
    }
    if !sorted {
        sort_by_key(&mut groups, |g| g[0]);
    }
    let first: Vec<usize> = groups.iter().map(|g| g[0]).collect();
    let mut inverse = vec![0i64; len];
    for (n, group) in groups.iter().enumerate() {
        group.iter().for_each(|&k| inverse[k] = n as i64);
    }
    let list = |v: Vec<i64>| Tensor::new(&[v.len()], v);
    Ok(vec![
        slices(&x, axis, &first)?,
        list(first.iter().map(|&k| k as i64).collect())?,
        list(inverse)?,
        list(groups.iter().map(|g| g.len() as i64).collect())?,
    ])
}

/// Corners `[y1, x1, y2, x2]`, ascending, of a box.
fn corners(b: &[f64], centre: bool) -> [f64; 4] {
    if centre {
        let (x, y, w, h) = (b[0], b[1], b[2] / 2.0, b[3] / 2.0);
        return [y - h, x - w, y + h, x + w];
    }
    [
        b[0].min(b[2]),
        b[1].min(b[3]),
        b[0].max(b[2]),
        b[1].max(b[3]),
    ]
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |lo: usize, hi: usize| (a[hi].min(b[hi]) - a[lo].max(b[lo])).max(0.0);
    let area = |c: [f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = side(0, 2) * side(1, 3);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

fn non_max_suppression(inputs: &[&Tensor], centre: bool) -> Result<Tensor> {
    let (boxes, scores) = (Array::from(inputs[0]), Array::from(inputs[1]));
    let number = |k: usize| Array::from(inputs[k]).values.first().copied();
    let [n, m, 4] = boxes.shape[..] else {
        return Err(Error::shape(format!(
            "boxes: found {:?}, expected [n, m, 4]",
            boxes.shape
        )));
    };
    if scores.shape.len() != 3 || scores.shape[0] != n || scores.shape[2] != m {
        return Err(Error::shape(format!(
            "scores: found {:?}, expected [{n}, c, {m}]",
            scores.shape
        )));
    }
    let limit = number(2).unwrap_or(0.0).max(0.0) as usize;
    let (most, least) = (
        number(3).unwrap_or(0.0),
        number(4).unwrap_or(f64::NEG_INFINITY),
    );
    let mut found = Vec::new();
    for (batch, class) in (0..n).flat_map(|b| (0..scores.shape[1]).map(move |c| (b, c))) {
        let score = &scores.values[(batch * scores.shape[1] + class) * m..][..m];
        let mut order: Vec<usize> = (0..m).filter(|&i| score[i] > least).collect();
        sort_indices(&mut order, &mut |a, b| score[b].total_cmp(&score[a]));
        let corner = |i: usize| corners(&boxes.values[(batch * m + i) * 4..][..4], centre);
        let mut chosen: Vec<usize> = Vec::new();
        for i in order {
            if chosen.len() < limit
                && chosen
                    .iter()
                    .all(|&j| overlap(corner(i), corner(j)) <= most)
            {
                chosen.push(i);
            }
        }
        found.extend(
            chosen
                .iter()
                .flat_map(|&i| [batch as i64, class as i64, i as i64]),
        );
    }
    Tensor::new(&[found.len() / 3, 3], found)
}

impl Family for Find {
    fn name(&self) -> &'static str {
        match self {
            Find::NonZero => "NonZero",
            Find::Compress { .. } => "Compress",
            Find::Unique { .. } => "Unique",
            Find::NonMaxSuppression { .. } => "NonMaxSuppression",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let along = |axis: &Option<i64>| axis.map(|a| ("axis", a.to_string()));
        match self {
            Find::NonZero => Vec::new(),
            Find::Compress { axis } => along(axis).into_iter().collect(),
            Find::Unique { axis, sorted } => along(axis)
                .into_iter()
                .chain([("sorted", sorted.to_string())])
                .collect(),
            Find::NonMaxSuppression { centre } => vec![("centre", centre.to_string())],
        }
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        match self {
            Find::NonZero | Find::NonMaxSuppression { .. } => vec![DType::I64],
            Find::Compress { .. } => vec![inputs[0]],
            Find::Unique { .. } => vec![inputs[0], DType::I64, DType::I64, DType::I64],
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = match self {
            Find::NonZero | Find::Unique { .. } => 1,
            Find::Compress { .. } => 2,
            Find::NonMaxSuppression { .. } => 5,
        };
        count(inputs, n, n)?;
        Err(Error::new(
            ErrorKind::Late,
            "the size of the result depends on values",
        ))
    }

    fn macs(&self, _inputs: &[Type], _outputs: &[Type]) -> u64 {
        0
    }

    fn evaluate(&self, inputs: &[&Tensor], _outputs: &[Type]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        Ok(match self {
            Find::NonZero => vec![non_zero(x)?],
            Find::Compress { axis } => {
                let (x, axis) = along(x, *axis)?;
                let Data::Bool(condition) = inputs[1].data() else {
                    return Err(Error::dtype("the condition is not bool"));
                };
                let keep: Vec<usize> = (0..condition.len()).filter(|&i| condition[i]).collect();
                if let Some(&bad) = keep.iter().find(|&&k| k >= x.shape()[axis]) {
                    return Err(Error::value(format!("slice {bad} of {}", x.shape()[axis])));
                }
                vec![slices(&x, axis, &keep)?]
            }
            Find::Unique { axis, sorted } => unique(x, *axis, *sorted)?,
            Find::NonMaxSuppression { centre } => vec![non_max_suppression(inputs, *centre)?],
        })
    }
}
