//! Shapes, parts, indices.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::index::Combine;
use bantam_core::op::layout::Fill;
use bantam_core::op::{Cumulative, Find, Index, Late, Logic, Reduce, ReduceKind};
use bantam_core::order::sort_indices;
use bantam_core::{DType, Op, Tensor, ValueId};

use super::context::{Attributes, Context, Imported, given, maybe, need, unsupported};
use super::elementwise::constant_value;
use crate::{Error, Result};

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    let y = match op {
        "Constant" => {
            let t = constant_value(c, a)?;
            c.stored_output(t)
        }
        "Shape" => {
            let (start, end) = (a.int_or("start", 0)?, a.int_or("end", i64::MAX)?);
            let x = need(x, 0)?;
            c.late(Late::Shape { start, end }, &[x])
        }
        "Size" => {
            let x = need(x, 0)?;
            c.late(Late::Size, &[x])
        }
        "Reshape" => reshape(c, a, x)?,
        "Flatten" => {
            let axis = a.axis_or("axis", 1)?;
            let x = need(x, 0)?;
            match axis {
                1 => c.reshape(x, &[0, -1]),
                axis => c.late(Late::Flatten { axis }, &[x]),
            }
        }
        "Transpose" => {
            let permutation = a.sizes("perm")?;
            let x = need(x, 0)?;
            match permutation.is_empty() {
                true => c.late(Late::Reversed, &[x]),
                false => c.transpose(x, &permutation),
            }
        }
        "Squeeze" | "Unsqueeze" => {
            let axes = axes(c, a, "axes", maybe(x, 1))?;
            let x = need(x, 0)?;
            match (op, axes) {
                ("Squeeze", None) => c.late(Late::Squeeze, &[x]),
                ("Squeeze", Some(axes)) => c.late(Late::Squeeze, &[x, axes]),
                (_, Some(axes)) => match c.constant_ints(axes) {
                    Some(list) => c.unsqueeze(x, &list),
                    None => c.late(Late::Unsqueeze, &[x, axes]),
                },
                _ => return Err(Error::corrupt("no axes are given")),
            }
        }
        "Concat" => {
            let axis = a
                .axis("axis")?
                .ok_or_else(|| Error::corrupt("no axis is given"))?;
            let parts = given(x)?;
            c.concat(axis, &parts)
        }
        "Split" => return split(c, a, x),
        "Slice" => slice(c, a, x)?,
        "Pad" => pad(c, a, x)?,
        "Expand" => {
            let (x, shape) = (need(x, 0)?, need(x, 1)?);
            let late = if c.rank(x) == Some(0) {
                Late::Fill
            } else {
                Late::Expand
            };
            c.late(late, &[x, shape])
        }
        "Tile" => {
            let (x, repeats) = (need(x, 0)?, need(x, 1)?);
            c.late(Late::Tile, &[x, repeats])
        }
        "Range" => {
            let inputs = [need(x, 0)?, need(x, 1)?, need(x, 2)?];
            c.late(Late::Range, &inputs)
        }
        "ConstantOfShape" => {
            let value = match a.tensor("value")? {
                Some(t) => c.tensor(t)?,
                None => Tensor::scalar(0f32),
            };
            if value.len() != 1 {
                return Err(Error::corrupt(format!(
                    "the value is of shape {:?}",
                    value.shape()
                )));
            }
            let value = c.scalar_of(value.reshape(&[])?);
            let shape = need(x, 0)?;
            c.late(Late::Fill, &[value, shape])
        }
        "EyeLike" => {
            let (k, x) = (a.int_or("k", 0)?, need(x, 0)?);
            let dtype = a.element_type("dtype")?.unwrap_or(c.dtype(x));
            c.late(Late::Eye { k, dtype }, &[x])
        }
        "Trilu" => {
            let upper = a.flag("upper", true)?;
            let inputs = given(x)?;
            c.late(Late::Triangle { upper }, &inputs)
        }
        "DepthToSpace" | "SpaceToDepth" => {
            let size = a.int_or("blocksize", 0)?;
            let size =
                usize::try_from(size).map_err(|_| Error::corrupt(format!("blocks of {size}")))?;
            let to_depth = op == "SpaceToDepth";
            let depth_last = match if to_depth { None } else { a.text("mode")? } {
                None | Some("DCR") => false,
                Some("CRD") => true,
                Some(other) => return Err(unsupported(format!("mode {other:?}"))),
            };
            let x = need(x, 0)?;
            c.late(
                Late::Blocks {
                    size,
                    to_depth,
                    depth_last,
                },
                &[x],
            )
        }
        "CenterCropPad" => {
            let axes = a.ints("axes")?.unwrap_or_default();
            let (x, shape) = (need(x, 0)?, need(x, 1)?);
            c.late(Late::CentreCropPad { axes }, &[x, shape])
        }
        "Gather" => {
            let (x, indices) = (need(x, 0)?, need(x, 1)?);
            c.gather(x, indices, a.axis_or("axis", 0)?)
        }
        "GatherElements" => {
            let inputs = [need(x, 0)?, need(x, 1)?];
            c.node(
                Op::Index(Index::Elements {
                    axis: a.axis_or("axis", 0)?,
                }),
                &inputs,
            )
        }
        "GatherND" => {
            let inputs = [need(x, 0)?, need(x, 1)?];
            let batch = a.int_or("batch_dims", 0)?;
            let batch = usize::try_from(batch).map_err(|_| Error::corrupt("batch_dims below 0"))?;
            c.node(Op::Index(Index::Tuples { batch }), &inputs)
        }
        "Scatter" | "ScatterElements" => {
            let inputs = [need(x, 0)?, need(x, 1)?, need(x, 2)?];
            let axis = a.axis_or("axis", 0)?;
            c.node(
                Op::Index(Index::PutElements {
                    axis,
                    combine: combine(a)?,
                }),
                &inputs,
            )
        }
        "ScatterND" => {
            let inputs = [need(x, 0)?, need(x, 1)?, need(x, 2)?];
            c.node(
                Op::Index(Index::PutTuples {
                    combine: combine(a)?,
                }),
                &inputs,
            )
        }
        "TopK" => return top(c, a, x),
        "CumSum" | "CumProd" => {
            let cumulative = Cumulative {
                product: op == "CumProd",
                axis: 0,
                exclusive: a.flag("exclusive", false)?,
                reverse: a.flag("reverse", false)?,
            };
            let inputs = [need(x, 0)?, need(x, 1)?];
            c.late(Late::Cumulative(cumulative), &inputs)
        }
        "OneHot" => one_hot(c, a, x)?,
        "NonZero" => {
            let x = need(x, 0)?;
            c.node(Op::Find(Find::NonZero), &[x])
        }
        "Compress" => {
            let inputs = [need(x, 0)?, need(x, 1)?];
            c.node(
                Op::Find(Find::Compress {
                    axis: a.axis("axis")?,
                }),
                &inputs,
            )
        }
        "Unique" => {
            let find = Find::Unique {
                axis: a.axis("axis")?,
                sorted: a.flag("sorted", true)?,
            };
            let x = need(x, 0)?;
            return Ok(Some(c.nodes(Op::Find(find), &[x], 4)));
        }
        "ReverseSequence" => reverse_sequence(c, a, x)?,
        "Einsum" => einsum(c, a, x)?,
        "TensorScatter" => return Ok(None),
        _ => return reduction(c, op, a, x),
    };
    Ok(Some(vec![y]))
}

/// Axes that are an attribute in older operator sets and an input in newer ones.
fn axes(
    c: &mut Context,
    a: &Attributes,
    name: &str,
    input: Option<ValueId>,
) -> Result<Option<ValueId>> {
    Ok(match a.ints(name)? {
        Some(list) => Some(c.ints(&list)),
        None => input,
    })
}

fn reshape(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let allow_zero = a.flag("allowzero", false)?;
    let target = match a.ints("shape")? {
        Some(list) => Some(list),
        None => c.constant_ints(need(x, 1)?),
    };
    let data = need(x, 0)?;
    match target {
        Some(list) if !(allow_zero && list.contains(&0)) => Ok(c.reshape(data, &list)),
        _ => {
            let shape = need(x, 1)?;
            if let Some(like) = c.shape_of(shape) {
                return Ok(c.like(data, like));
            }
            Ok(c.late(Late::Reshape { allow_zero }, &[data, shape]))
        }
    }
}

fn split(c: &mut Context, a: &Attributes, x: Inputs) -> Imported {
    let axis = a.axis_or("axis", 0)?;
    let of = match a.int("num_outputs")? {
        Some(n) => usize::try_from(n).map_err(|_| Error::corrupt(format!("{n} outputs")))?,
        None => a.n_outputs,
    };
    if of != a.n_outputs {
        return Err(Error::corrupt(format!(
            "{} outputs, num_outputs says {of}",
            a.n_outputs
        )));
    }
    let sizes = axes(c, a, "split", maybe(x, 1))?;
    let mut inputs = vec![need(x, 0)?];
    inputs.extend(sizes);
    let part = |index| c.late(Late::Part { axis, index, of }, &inputs);
    Ok(Some((0..of).map(part).collect()))
}

fn slice(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let data = need(x, 0)?;
    if let (Some(starts), Some(ends)) = (a.ints("starts")?, a.ints("ends")?) {
        let axes = a
            .ints("axes")?
            .unwrap_or_else(|| (0..starts.len() as i64).collect());
        let lists = [starts, ends, axes].map(|l| c.ints(&l));
        return Ok(c.late(
            Late::Slice {
                axes: true,
                steps: false,
            },
            &[data, lists[0], lists[1], lists[2]],
        ));
    }
    let mut inputs = vec![data, need(x, 1)?, need(x, 2)?];
    let (axes, steps) = (maybe(x, 3), maybe(x, 4));
    inputs.extend(axes);
    inputs.extend(steps);
    let late = Late::Slice {
        axes: axes.is_some(),
        steps: steps.is_some(),
    };
    Ok(c.late(late, &inputs))
}

fn pad(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let fill = match a.text("mode")?.unwrap_or("constant") {
        "constant" => Fill::Constant,
        "reflect" => Fill::Reflect,
        "edge" => Fill::Edge,
        "wrap" => Fill::Wrap,
        other => return Err(unsupported(format!("mode {other:?}"))),
    };
    let data = need(x, 0)?;
    let pads =
        axes(c, a, "pads", maybe(x, 1))?.ok_or_else(|| Error::corrupt("no pads are given"))?;
    let value = match a.float("value")? {
        Some(v) => Some(c.scalar(f64::from(v), c.dtype(data))),
        None => maybe(x, 2),
    };
    let mut inputs = vec![data, pads];
    inputs.extend(value);
    let along = maybe(x, 3);
    inputs.extend(along);
    let late = Late::Pad {
        fill,
        value: value.is_some(),
        axes: along.is_some(),
    };
    Ok(c.late(late, &inputs))
}

fn combine(a: &Attributes) -> Result<Combine> {
    Ok(match a.text("reduction")?.unwrap_or("none") {
        "none" => Combine::Replace,
        "add" => Combine::Add,
        "mul" => Combine::Mul,
        "max" => Combine::Max,
        "min" => Combine::Min,
        other => return Err(unsupported(format!("reduction {other:?}"))),
    })
}

fn top(c: &mut Context, a: &Attributes, x: Inputs) -> Imported {
    let (axis, largest) = (a.axis_or("axis", -1)?, a.flag("largest", true)?);
    // Sorted results are also right where any order would do.
    a.int("sorted")?;
    let k = match a.int("k")? {
        Some(k) => c.ints(&[k]),
        None => need(x, 1)?,
    };
    let data = need(x, 0)?;
    Ok(Some(c.nodes(
        Op::Late(Late::Top { axis, largest }),
        &[data, k],
        2,
    )))
}

fn one_hot(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let axis = a.axis_or("axis", -1)?;
    let (indices, depth, values) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
    let indices = c.cast(indices, DType::I64);
    let depth = c.cast(depth, DType::I64);
    let depth = c.reshape(depth, &[]);
    let (zero, one) = (c.scalar(0.0, DType::I64), c.scalar(1.0, DType::I64));
    // A negative index counts from the end; one out of range matches nothing.
    let from_end = c.add(indices, depth);
    let negative = c.logic(Logic::Less, &[indices, zero]);
    let indices = c.select(negative, from_end, indices);
    let indices = c.unsqueeze(indices, &[-1]);
    let classes = c.late(Late::Range, &[zero, depth, one]);
    let hit = c.logic(Logic::Equal, &[indices, classes]);
    let hit = match axis {
        -1 => hit,
        axis => c.move_axis(hit, -1, axis),
    };
    let off = c.gather(values, zero, 0);
    let on = c.gather(values, one, 0);
    Ok(c.select(hit, on, off))
}

fn reverse_sequence(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let (batch, time) = (a.axis_or("batch_axis", 1)?, a.axis_or("time_axis", 0)?);
    let (data, lengths) = (need(x, 0)?, need(x, 1)?);
    let swapped = match (batch, time) {
        (1, 0) => false,
        (0, 1) => true,
        _ => {
            return Err(Error::corrupt(format!(
                "batch axis {batch}, time axis {time}"
            )));
        }
    };
    let rank = c
        .rank(data)
        .ok_or_else(|| unsupported("an input of unknown rank"))?;
    // Along time, element t comes from length - 1 - t where t is below the length.
    let n = c.size(data, time);
    let n = c.reshape(n, &[]);
    let (zero, one) = (c.scalar(0.0, DType::I64), c.scalar(1.0, DType::I64));
    let t = c.late(Late::Range, &[zero, n, one]);
    let (t, lengths) = match swapped {
        false => (c.unsqueeze(t, &[1]), c.unsqueeze(lengths, &[0])),
        true => (c.unsqueeze(t, &[0]), c.unsqueeze(lengths, &[1])),
    };
    let back = c.sub(lengths, one);
    let back = c.sub(back, t);
    let inside = c.logic(Logic::Less, &[t, lengths]);
    let index = c.select(inside, back, t);
    let rest: Vec<i64> = (2..rank as i64).collect();
    let index = if rest.is_empty() {
        index
    } else {
        c.unsqueeze(index, &rest)
    };
    let shape = c.shape(data);
    let index = c.late(Late::Expand, &[index, shape]);
    Ok(c.node(Op::Index(Index::Elements { axis: time }), &[data, index]))
}

/// Every operand gets all labels as axes, they are multiplied, and labels that are not in the output
/// are summed; two operands that share exactly one summed label go through a matrix product.
fn einsum(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let equation: String = a
        .text("equation")?
        .unwrap_or("")
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    if equation.contains("...") {
        return Err(unsupported(format!(
            "equation {equation:?}: an ellipsis is not supported"
        )));
    }
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l.to_owned(), r.to_owned()),
        None => {
            let mut once: Vec<char> = equation.chars().filter(|c| c.is_alphabetic()).collect();
            once.sort_unstable();
            let count = |l: char| equation.matches(l).count();
            once.retain(|&l| count(l) == 1);
            (equation.clone(), once.into_iter().collect())
        }
    };
    let terms: Vec<Vec<char>> = left.split(',').map(|t| t.chars().collect()).collect();
    let output: Vec<char> = right.chars().collect();
    let mut labels = output.clone();
    for &l in terms.iter().flatten() {
        if !labels.contains(&l) {
            labels.push(l);
        }
    }
    let repeats = |t: &[char]| (1..t.len()).any(|i| t[..i].contains(&t[i]));
    if terms.len() != x.len() || terms.iter().any(|t| repeats(t)) || repeats(&output) {
        return Err(unsupported(format!(
            "equation {equation:?}: diagonals are not supported"
        )));
    }
    let mut product: Option<ValueId> = None;
    for (i, term) in terms.iter().enumerate() {
        let mut order: Vec<usize> = (0..term.len()).collect();
        let place = |l: char| {
            labels
                .iter()
                .position(|&o| o == l)
                .expect("every label is listed")
        };
        sort_indices(&mut order, &mut |a, b| place(term[a]).cmp(&place(term[b])));
        let operand = need(x, i)?;
        let y = match order.is_sorted() {
            true => operand,
            false => c.transpose(operand, &order),
        };
        let missing: Vec<i64> = (0..labels.len())
            .filter(|&k| !term.contains(&labels[k]))
            .map(|k| k as i64)
            .collect();
        let y = if missing.is_empty() {
            y
        } else {
            c.unsqueeze(y, &missing)
        };
        product = Some(match product {
            Some(p) => c.mul(p, y),
            None => y,
        });
    }
    let y = product.ok_or_else(|| Error::corrupt("no operands"))?;
    let summed: Vec<i64> = (output.len() as i64..labels.len() as i64).collect();
    Ok(match summed.is_empty() {
        true => c.unary(UnaryKind::Identity, y),
        false => c.reduce(ReduceKind::Sum, y, &summed, false),
    })
}

fn reduction(c: &mut Context, op: &str, a: &Attributes, x: Inputs) -> Imported {
    let kind = match op {
        "ReduceSum" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceSumSquare" => {
            ReduceKind::Sum
        }
        "ReduceMean" => ReduceKind::Mean,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        "ArgMax" | "ArgMin" => return extreme(c, op, a, x),
        _ => return Ok(None),
    };
    let keep_dims = a.flag("keepdims", true)?;
    let none_is_none = a.flag("noop_with_empty_axes", false)?;
    let axes = axes(c, a, "axes", maybe(x, 1))?;
    let mut data = need(x, 0)?;
    data = match op {
        "ReduceL1" => c.unary(UnaryKind::Abs, data),
        "ReduceL2" | "ReduceSumSquare" => c.mul(data, data),
        _ => data,
    };
    let y = match axes {
        None if none_is_none => c.unary(UnaryKind::Identity, data),
        None => c.node(
            Op::Reduce(Reduce::Axes {
                kind,
                axes: Vec::new(),
                keep_dims,
            }),
            &[data],
        ),
        Some(axes) => match c.constant_ints(axes) {
            Some(list) if !(list.is_empty() && none_is_none) => {
                c.reduce(kind, data, &list, keep_dims)
            }
            _ => c.late(
                Late::Reduce {
                    kind,
                    keep_dims,
                    none_is_none,
                },
                &[data, axes],
            ),
        },
    };
    let y = match op {
        "ReduceL2" => {
            // Integers go through floats for the root.
            let dtype = c.dtype(y);
            let wide = if dtype.is_float() { dtype } else { DType::F64 };
            let y = c.cast(y, wide);
            let y = c.unary(UnaryKind::Sqrt, y);
            c.cast(y, dtype)
        }
        "ReduceLogSum" => c.unary(UnaryKind::Log, y),
        _ => y,
    };
    Ok(Some(vec![y]))
}

fn extreme(c: &mut Context, op: &str, a: &Attributes, x: Inputs) -> Imported {
    let last = a.flag("select_last_index", false)?;
    let kind = match (op, last) {
        ("ArgMax", false) => ReduceKind::ArgMax,
        ("ArgMax", true) => ReduceKind::ArgMaxLast,
        (_, false) => ReduceKind::ArgMin,
        (_, true) => ReduceKind::ArgMinLast,
    };
    let (axis, keep_dims) = (a.axis_or("axis", 0)?, a.flag("keepdims", true)?);
    let x = need(x, 0)?;
    Ok(Some(vec![c.reduce(kind, x, &[axis], keep_dims)]))
}
