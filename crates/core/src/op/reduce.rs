//! Reductions along axes, and their gradients.

use super::{Family, Type, axis_index, count, floats, same_shape};
use crate::elements::{broadcast_index, broadcast_shape};
use crate::reference::Array;
use crate::{DType, Data, Error, ErrorKind, Result, Tensor};

/// What is kept of the reduced values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest; the gradient goes to the first of equal values.
    Max,
    /// The smallest; the gradient goes to the first of equal values.
    Min,
    /// The index of the first largest value, as `i64`; one axis only, no gradient.
    ArgMax,
    /// The index of the first smallest value.
    ArgMin,
    /// The index of the last largest value.
    ArgMaxLast,
    /// The index of the last smallest value.
    ArgMinLast,
    /// Their product; no gradient.
    Prod,
    /// The logarithm of the sum of their exponentials; no gradient.
    LogSumExp,
}

impl ReduceKind {
    /// Whether an index is kept rather than a value.
    pub fn is_index(self) -> bool {
        matches!(
            self,
            ReduceKind::ArgMax
                | ReduceKind::ArgMin
                | ReduceKind::ArgMaxLast
                | ReduceKind::ArgMinLast
        )
    }

    /// Whether it has a gradient.
    pub fn has_gradient(self) -> bool {
        matches!(
            self,
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min
        )
    }

    /// Element type of the result for values of type `x`.
    pub fn dtype(self, x: DType) -> DType {
        if self.is_index() { DType::I64 } else { x }
    }
}

/// A reduction along axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// `x → y` along `axes`.
    Axes {
        /// What is kept.
        kind: ReduceKind,
        /// The reduced axes; negative counts from the end; empty means all.
        axes: Vec<i64>,
        /// Keep reduced axes with size 1.
        keep_dims: bool,
    },
    /// Gradient of [`Reduce::Axes`]: `(x, y, dy) → dx`.
    Grad {
        /// What was kept.
        kind: ReduceKind,
        /// The reduced axes.
        axes: Vec<i64>,
        /// Whether reduced axes were kept with size 1.
        keep_dims: bool,
    },
    /// `(x, like) → y`: sums the axes along which `like` was broadcast to the shape of `x`; the
    /// gradient of broadcasting. Only the shape of `like` is read.
    SumTo,
}

/// The axes as flags, one per axis of a shape of `rank` axes.
pub fn reduced_axes(axes: &[i64], rank: usize) -> Result<Vec<bool>> {
    let mut reduced = vec![axes.is_empty(); rank];
    for &axis in axes {
        let axis = axis_index(axis, rank)?;
        if std::mem::replace(&mut reduced[axis], true) {
            return Err(Error::attribute(format!("axis {axis} is reduced twice")));
        }
    }
    Ok(reduced)
}

/// `shape` with the reduced axes set to 1.
pub fn kept_shape(shape: &[usize], reduced: &[bool]) -> Vec<usize> {
    shape
        .iter()
        .zip(reduced)
        .map(|(&d, &r)| if r { 1 } else { d })
        .collect()
}

fn output(kind: ReduceKind, axes: &[i64], keep_dims: bool, x: &Type) -> Result<Type> {
    let reduced = reduced_axes(axes, x.shape.len())?;
    let n_reduced: usize = x
        .shape
        .iter()
        .zip(&reduced)
        .filter(|d| *d.1)
        .map(|d| *d.0)
        .product();
    let extreme = matches!(kind, ReduceKind::Max | ReduceKind::Min) && x.dtype.is_float();
    let nothing_is_fine = matches!(
        kind,
        ReduceKind::Sum | ReduceKind::Prod | ReduceKind::LogSumExp
    );
    if n_reduced == 0 && !extreme && !nothing_is_fine {
        return Err(Error::shape(format!(
            "reduction of no values in shape {:?}",
            x.shape
        )));
    }
    if kind.is_index() && axes.len() != 1 {
        return Err(Error::attribute(format!(
            "the index of an extreme takes one axis, found {axes:?}"
        )));
    }
    let kept = kept_shape(&x.shape, &reduced);
    let drop = kept
        .iter()
        .zip(&reduced)
        .filter(|d| !*d.1)
        .map(|d| *d.0)
        .collect();
    let dtype = kind.dtype(x.dtype);
    Ok(Type {
        dtype,
        shape: if keep_dims { kept } else { drop },
    })
}

impl Family for Reduce {
    fn name(&self) -> &'static str {
        match self {
            Reduce::SumTo => "SumTo",
            Reduce::Axes { kind, .. } | Reduce::Grad { kind, .. } => match kind {
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Mean => "ReduceMean",
                ReduceKind::Max => "ReduceMax",
                ReduceKind::Min => "ReduceMin",
                ReduceKind::ArgMax => "ArgMax",
                ReduceKind::ArgMin => "ArgMin",
                ReduceKind::ArgMaxLast => "ArgMaxLast",
                ReduceKind::ArgMinLast => "ArgMinLast",
                ReduceKind::Prod => "ReduceProd",
                ReduceKind::LogSumExp => "ReduceLogSumExp",
            },
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let (axes, keep_dims, grad) = match self {
            Reduce::SumTo => return Vec::new(),
            Reduce::Axes {
                axes, keep_dims, ..
            } => (axes, *keep_dims, false),
            Reduce::Grad {
                axes, keep_dims, ..
            } => (axes, *keep_dims, true),
        };
        let mut a = vec![
            ("axes", format!("{axes:?}")),
            ("keep_dims", keep_dims.to_string()),
        ];
        if grad {
            a.push(("grad", "true".to_owned()));
        }
        a
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = match self {
            Reduce::Axes { .. } => 1,
            Reduce::Grad { .. } => 3,
            Reduce::SumTo => 2,
        };
        count(inputs, n, n)?;
        let extreme = matches!(
            self,
            Reduce::Axes { kind, .. } if kind.is_index() || matches!(kind, ReduceKind::Max | ReduceKind::Min)
        );
        let plain = matches!(self, Reduce::Axes { kind, .. } if *kind != ReduceKind::LogSumExp);
        let dtype = inputs[0].dtype;
        if !(plain && dtype.is_integer() || extreme && dtype == DType::Bool) {
            floats(inputs, n, n)?;
        }
        let x = &inputs[0];
        match self {
            Reduce::Axes {
                kind,
                axes,
                keep_dims,
            } => Ok(vec![output(*kind, axes, *keep_dims, x)?]),
            Reduce::Grad {
                kind,
                axes,
                keep_dims,
            } => {
                if !kind.has_gradient() {
                    return Err(Error::new(
                        ErrorKind::Structure,
                        "this reduction has no gradient",
                    ));
                }
                let y = output(*kind, axes, *keep_dims, x)?;
                same_shape("y", &inputs[1].shape, &y.shape)?;
                same_shape("dy", &inputs[2].shape, &y.shape)?;
                Ok(vec![x.clone()])
            }
            Reduce::SumTo => {
                let like = &inputs[1];
                same_shape("x", &x.shape, &broadcast_shape(&like.shape, &x.shape)?)?;
                Ok(vec![like.clone()])
            }
        }
    }

    fn macs(&self, inputs: &[Type], _outputs: &[Type]) -> u64 {
        inputs[0].len() as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let x = inputs[0];
        let out_type = &outputs[0];
        match self {
            Reduce::Axes { kind, axes, .. } => {
                let cells = cells(&x.shape, axes);
                let y = cells.iter().map(|c| reduce(*kind, x, c)).collect();
                vec![Array::new(&out_type.shape, y)]
            }
            Reduce::Grad { kind, axes, .. } => {
                let mut dx = Array::zeros(&x.shape);
                for (cell, dy) in cells(&x.shape, axes).iter().zip(&inputs[2].values) {
                    spread(*kind, x, cell, *dy, &mut dx);
                }
                vec![dx]
            }
            Reduce::SumTo => {
                let mut y = Array::zeros(&out_type.shape);
                for (i, v) in x.values.iter().enumerate() {
                    y.values[broadcast_index(i, &x.shape, &out_type.shape)] += v;
                }
                vec![y]
            }
        }
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        match self {
            Reduce::Axes { kind, .. } => vec![kind.dtype(inputs[0])],
            Reduce::Grad { .. } => vec![inputs[0]],
            Reduce::SumTo => vec![inputs[1]],
        }
    }

    fn evaluate(&self, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
        let (x, t) = (inputs[0], &outputs[0]);
        if let (Reduce::Axes { kind, axes, .. }, false) = (self, x.dtype().is_float()) {
            let v = x.data().integers()?;
            let y: Vec<i128> = cells(x.shape(), axes)
                .iter()
                .map(|c| integers(*kind, &v, c))
                .collect();
            let y = Data::from_integers(t.dtype, &y);
            return Ok(vec![Tensor::from_data(&t.shape, y)?]);
        }
        let arrays: Vec<Array> = inputs.iter().map(|&t| Array::from(t)).collect();
        let result = self.reference(&arrays.iter().collect::<Vec<_>>(), outputs);
        Ok(vec![result[0].to_tensor(t.dtype)])
    }

    fn reads(&self, idx: usize) -> bool {
        match self {
            Reduce::Axes { .. } => true,
            Reduce::SumTo => idx == 0,
            Reduce::Grad {
                kind: ReduceKind::Sum | ReduceKind::Mean,
                ..
            } => idx == 2,
            Reduce::Grad { .. } => true,
        }
    }
}

/// For each output element, the indices of the input elements reduced into it, ascending.
fn cells(shape: &[usize], axes: &[i64]) -> Vec<Vec<usize>> {
    let reduced = reduced_axes(axes, shape.len()).expect("axes passed the shape rule");
    let kept = kept_shape(shape, &reduced);
    let mut cells = vec![Vec::new(); kept.iter().product()];
    for i in 0..shape.iter().product() {
        cells[broadcast_index(i, shape, &kept)].push(i);
    }
    cells
}

fn first_extreme(x: &Array, cell: &[usize], sign: f64) -> usize {
    let better = |best: usize, i: usize| {
        if sign * x.values[cell[i]] > sign * x.values[cell[best]] {
            i
        } else {
            best
        }
    };
    (1..cell.len()).fold(0, better)
}

fn integers(kind: ReduceKind, x: &[i128], cell: &[usize]) -> i128 {
    let values = || cell.iter().map(|&i| x[i]);
    type Placed = (usize, i128);
    let place = |f: &dyn Fn(&Placed, &Placed) -> bool| {
        let found = values()
            .enumerate()
            .reduce(|a, b| if f(&a, &b) { b } else { a });
        found.map_or(0, |f| f.0 as i128)
    };
    match kind {
        ReduceKind::Sum | ReduceKind::LogSumExp => values().fold(0, i128::wrapping_add),
        ReduceKind::Mean => values().sum::<i128>() / cell.len().max(1) as i128,
        ReduceKind::Prod => values().fold(1, i128::wrapping_mul),
        ReduceKind::Max => values().max().unwrap_or(0),
        ReduceKind::Min => values().min().unwrap_or(0),
        ReduceKind::ArgMax => place(&|a, b| b.1 > a.1),
        ReduceKind::ArgMin => place(&|a, b| b.1 < a.1),
        ReduceKind::ArgMaxLast => place(&|a, b| b.1 >= a.1),
        ReduceKind::ArgMinLast => place(&|a, b| b.1 <= a.1),
    }
}

fn reduce(kind: ReduceKind, x: &Array, cell: &[usize]) -> f64 {
    let last_extreme = |sign: f64| {
        let better =
            |best: usize, i: usize| match sign * x.values[cell[i]] >= sign * x.values[cell[best]] {
                true => i,
                false => best,
            };
        (1..cell.len()).fold(0, better) as f64
    };
    let sum = || cell.iter().map(|&i| x.values[i]).sum::<f64>();
    match kind {
        ReduceKind::Sum => sum(),
        ReduceKind::Mean => sum() / cell.len() as f64,
        ReduceKind::Max if cell.is_empty() => f64::NEG_INFINITY,
        ReduceKind::Min if cell.is_empty() => f64::INFINITY,
        ReduceKind::Max => x.values[cell[first_extreme(x, cell, 1.0)]],
        ReduceKind::Min => x.values[cell[first_extreme(x, cell, -1.0)]],
        ReduceKind::ArgMax => first_extreme(x, cell, 1.0) as f64,
        ReduceKind::ArgMin => first_extreme(x, cell, -1.0) as f64,
        ReduceKind::ArgMaxLast => last_extreme(1.0),
        ReduceKind::ArgMinLast => last_extreme(-1.0),
        ReduceKind::Prod => cell.iter().map(|&i| x.values[i]).product(),
        ReduceKind::LogSumExp => {
            let most = cell
                .iter()
                .map(|&i| x.values[i])
                .fold(f64::NEG_INFINITY, f64::max);
            if most.is_infinite() {
                return most;
            }
            let sum: f64 = cell.iter().map(|&i| (x.values[i] - most).exp()).sum();
            most + sum.ln()
        }
    }
}

fn spread(kind: ReduceKind, x: &Array, cell: &[usize], dy: f64, dx: &mut Array) {
    match kind {
        ReduceKind::Sum => cell.iter().for_each(|&i| dx.values[i] += dy),
        ReduceKind::Mean => cell
            .iter()
            .for_each(|&i| dx.values[i] += dy / cell.len() as f64),
        ReduceKind::Max => dx.values[cell[first_extreme(x, cell, 1.0)]] += dy,
        ReduceKind::Min => dx.values[cell[first_extreme(x, cell, -1.0)]] += dy,
        _ => unreachable!("the shape rule refuses other gradients"),
    }
}
