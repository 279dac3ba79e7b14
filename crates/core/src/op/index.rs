//! Elements by index, elements put at an index, and the largest elements with their indices.

use super::{Family, Type, around, axis_index, count, same_shape};
use crate::order::argsort;
use crate::tensor::strides;
use crate::{DType, Data, Element, Error, Result, Tensor, each_type};

/// What a scatter does where a value stands already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Combine {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

/// Indices are integers; negative ones count from the end, others out of range are an error when
/// the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// `(x, indices) → y`, shaped as `indices`: along `axis` the index says which element (ONNX
    /// `GatherElements`).
    Elements {
        /// The indexed axis; negative counts from the end.
        axis: i64,
    },
    /// `(x, indices) → y`: the last axis of `indices` holds the first indices into `x`, after
    /// `batch` axes that both share (ONNX `GatherND`).
    Tuples {
        /// Axes that `x` and `indices` share.
        batch: usize,
    },
    /// `(x, indices, updates) → y`: `x` with `updates` put in, as [`Index::Elements`] would take them.
    PutElements {
        /// The indexed axis; negative counts from the end.
        axis: i64,
        /// What happens to the value that was there.
        combine: Combine,
    },
    /// `(x, indices, updates) → y`: `x` with `updates` put in, as [`Index::Tuples`] would take them.
    PutTuples {
        /// What happens to the value that was there.
        combine: Combine,
    },
    /// `x → (values, indices)`: the `k` largest or smallest along `axis`, sorted, the first of equal
    /// ones first (ONNX `TopK`).
    Top {
        /// How many.
        k: usize,
        /// Along which axis; negative counts from the end.
        axis: i64,
        /// The largest rather than the smallest.
        largest: bool,
    },
}

fn resolve(index: i64, len: usize) -> Result<usize> {
    let at = if index < 0 { index + len as i64 } else { index };
    usize::try_from(at)
        .ok()
        .filter(|&i| i < len)
        .ok_or_else(|| Error::value(format!("index {index} is not in 0..{len}")))
}

/// Places in `x` that the elements of `indices` name along `axis`.
fn element_places(axis: i64, x: &[usize], indices: &Tensor) -> Result<Vec<usize>> {
    let axis = axis_index(axis, x.len())?;
    let (own, shape) = (strides(x), indices.shape());
    let mut strides = own.clone();
    strides[axis] = 0;
    let mut place = vec![0usize; indices.len()];
    for (a, &stride) in strides.iter().enumerate() {
        let inner: usize = shape[a + 1..].iter().product();
        for (i, p) in place.iter_mut().enumerate() {
            *p += i / inner % shape[a] * stride;
        }
    }
    for (p, &index) in place.iter_mut().zip(&indices.to_i64s()?) {
        *p += resolve(index, x[axis])? * own[axis];
    }
    Ok(place)
}

/// Where in `x` each tuple of `indices` starts, and how many elements it names.
fn tuple_places(batch: usize, x: &[usize], indices: &Tensor) -> Result<(Vec<usize>, usize)> {
    let shape = indices.shape();
    let depth = shape[shape.len() - 1];
    let own = strides(x);
    let block: usize = x[batch + depth..].iter().product();
    let per_batch: usize = shape[batch..shape.len() - 1].iter().product();
    let batch_block: usize = x[batch..].iter().product();
    let values = indices.to_i64s()?;
    let n: usize = shape[..shape.len() - 1].iter().product();
    let start = |t: usize| {
        let mut at = t / per_batch.max(1) * batch_block;
        for d in 0..depth {
            at += resolve(values[t * depth + d], x[batch + d])? * own[batch + d];
        }
        Ok(at)
    };
    Ok(((0..n).map(start).collect::<Result<_>>()?, block))
}

fn tuples_shape(batch: usize, x: &[usize], indices: &[usize]) -> Result<Vec<usize>> {
    let Some((&depth, rest)) = indices.split_last() else {
        return Err(Error::shape("indices without axes"));
    };
    if batch > rest.len() || batch + depth > x.len() || rest[..batch] != x[..batch] {
        return Err(Error::shape(format!(
            "indices {indices:?} into {x:?} with {batch} shared axes"
        )));
    }
    Ok([rest, &x[batch + depth..]].concat())
}

impl Combine {
    fn put(self, x: &Data, places: &[usize], updates: &Data) -> Result<Data> {
        if self == Combine::Replace {
            return Ok(each_type!(x, x => {
                let mut y = x.clone();
                let updates = of_type(x, updates)?;
                places.iter().zip(updates).for_each(|(&p, &u)| y[p] = u);
                Element::wrap(y)
            }));
        }
        if x.dtype().is_float() {
            let (mut y, u) = (floats(x), floats(updates));
            for (&p, &u) in places.iter().zip(&u) {
                y[p] = match self {
                    Combine::Add => y[p] + u,
                    Combine::Mul => y[p] * u,
                    Combine::Max => y[p].max(u),
                    Combine::Min => y[p].min(u),
                    Combine::Replace => u,
                };
            }
            return Ok(Data::F64(y).cast(x.dtype()));
        }
        let (mut y, u) = (x.integers()?, updates.integers()?);
        for (&p, &u) in places.iter().zip(&u) {
            y[p] = match self {
                Combine::Add => y[p].wrapping_add(u),
                Combine::Mul => y[p].wrapping_mul(u),
                Combine::Max => y[p].max(u),
                Combine::Min => y[p].min(u),
                Combine::Replace => u,
            };
        }
        Ok(Data::from_integers(x.dtype(), &y))
    }
}

fn floats(data: &Data) -> Vec<f64> {
    match data.cast(DType::F64) {
        Data::F64(v) => v,
        _ => unreachable!("cast to f64"),
    }
}

fn of_type<'d, T: Element>(_: &[T], data: &'d Data) -> Result<&'d [T]> {
    T::slice(data).ok_or_else(|| Error::dtype(format!("{} and {}", T::DTYPE, data.dtype())))
}

/// The values at `places`.
pub(crate) fn take(data: &Data, places: impl Iterator<Item = usize>) -> Data {
    each_type!(data, v => Element::wrap(places.map(|p| v[p]).collect::<Vec<_>>()))
}

fn top(x: &Tensor, k: usize, axis: usize, largest: bool) -> Result<[Tensor; 2]> {
    let (outer, len, inner) = around(x.shape(), axis);
    let mut shape = x.shape().to_vec();
    shape[axis] = k;
    let (mut places, mut indices) = (vec![0; outer * k * inner], vec![0; outer * k * inner]);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at = |j: usize| (o * len + j) * inner + i;
        let order = each_type!(x.data(), v => argsort(len, |a, b| {
            let order = v[at(a)].partial_cmp(&v[at(b)]).unwrap_or(std::cmp::Ordering::Equal);
            if largest { order.reverse() } else { order }
        }));
        for (j, &from) in order[..k].iter().enumerate() {
            let to = (o * k + j) * inner + i;
            (places[to], indices[to]) = (at(from), from as i64);
        }
    }
    let values = take(x.data(), places.into_iter());
    Ok([
        Tensor::from_data(&shape, values)?,
        Tensor::new(&shape, indices)?,
    ])
}

impl Family for Index {
    fn name(&self) -> &'static str {
        match self {
            Index::Elements { .. } => "GatherElements",
            Index::Tuples { .. } => "GatherND",
            Index::PutElements { .. } => "ScatterElements",
            Index::PutTuples { .. } => "ScatterND",
            Index::Top { .. } => "TopK",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self {
            Index::Elements { axis } => vec![("axis", axis.to_string())],
            Index::Tuples { batch } => vec![("batch", batch.to_string())],
            Index::PutElements { axis, combine } => {
                vec![
                    ("axis", axis.to_string()),
                    ("combine", format!("{combine:?}")),
                ]
            }
            Index::PutTuples { combine } => vec![("combine", format!("{combine:?}"))],
            Index::Top { k, axis, largest } => vec![
                ("k", k.to_string()),
                ("axis", axis.to_string()),
                ("largest", largest.to_string()),
            ],
        }
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        match self {
            Index::Top { .. } => vec![inputs[0], DType::I64],
            _ => vec![inputs[0]],
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = match self {
            Index::Top { .. } => 1,
            Index::Elements { .. } | Index::Tuples { .. } => 2,
            Index::PutElements { .. } | Index::PutTuples { .. } => 3,
        };
        count(inputs, n, n)?;
        let x = &inputs[0];
        if n > 1 && !inputs[1].dtype.is_integer() {
            return Err(Error::dtype(format!("indices are {}", inputs[1].dtype)));
        }
        if n == 3 && inputs[2].dtype != x.dtype {
            let message = format!("updates are {}, values {}", inputs[2].dtype, x.dtype);
            return Err(Error::dtype(message));
        }
        match self {
            Index::Elements { axis } | Index::PutElements { axis, .. } => {
                let axis = axis_index(*axis, x.shape.len())?;
                let i = &inputs[1].shape;
                let fits = i.len() == x.shape.len()
                    && (0..i.len()).all(|a| a == axis || i[a] <= x.shape[a]);
                if !fits {
                    return Err(Error::shape(format!("indices {i:?} into {:?}", x.shape)));
                }
                if n == 2 {
                    return Ok(vec![Type::new(x.dtype, i)]);
                }
                same_shape("updates", &inputs[2].shape, i)?;
                Ok(vec![x.clone()])
            }
            Index::Tuples { batch } => {
                let shape = tuples_shape(*batch, &x.shape, &inputs[1].shape)?;
                Ok(vec![Type::new(x.dtype, &shape)])
            }
            Index::PutTuples { .. } => {
                let shape = tuples_shape(0, &x.shape, &inputs[1].shape)?;
                same_shape("updates", &inputs[2].shape, &shape)?;
                Ok(vec![x.clone()])
            }
            Index::Top { k, axis, .. } => {
                let axis = axis_index(*axis, x.shape.len())?;
                if *k > x.shape[axis] {
                    let message = format!("the first {k} of {} values", x.shape[axis]);
                    return Err(Error::attribute(message));
                }
                let mut shape = x.shape.clone();
                shape[axis] = *k;
                Ok(vec![
                    Type::new(x.dtype, &shape),
                    Type::new(DType::I64, &shape),
                ])
            }
        }
    }

    fn macs(&self, _inputs: &[Type], _outputs: &[Type]) -> u64 {
        0
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        let data = match *self {
            Index::Elements { axis } => {
                let places = element_places(axis, x.shape(), inputs[1])?;
                take(x.data(), places.into_iter())
            }
            Index::PutElements { axis, combine } => {
                let places = element_places(axis, x.shape(), inputs[1])?;
                combine.put(x.data(), &places, inputs[2].data())?
            }
            Index::Tuples { batch } => {
                let (starts, block) = tuple_places(batch, x.shape(), inputs[1])?;
                take(x.data(), starts.into_iter().flat_map(|s| s..s + block))
            }
            Index::PutTuples { combine } => {
                let (starts, block) = tuple_places(0, x.shape(), inputs[1])?;
                let places: Vec<usize> = starts.into_iter().flat_map(|s| s..s + block).collect();
                combine.put(x.data(), &places, inputs[2].data())?
            }
            Index::Top { k, axis, largest } => {
                let axis = axis_index(axis, x.shape().len())?;
                return Ok(top(x, k, axis, largest)?.into());
            }
        };
        Ok(vec![Tensor::from_data(&outputs[0].shape, data)?])
    }
}
