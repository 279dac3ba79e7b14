//! Operators whose attributes are values: a shape that is computed, an axis that is an input.
//!
//! A [`Late`] operator computes nothing itself. Once the types and the values that it asks for are
//! known, [`Late::resolve`] turns it into operators of other families, or into a constant. That
//! happens when a graph is specialised to input types, for everything that does not depend on the
//! input's values, and otherwise while it runs.

mod shapes;
mod values;
mod windows;

use super::layout::{Fill, SliceRange};
use super::resample::Resize;
use super::window::WindowKind;
use super::{
    Cumulative, Family, Index, Layout, Op, Reduce, ReduceKind, Type, axis_index, check_count, count,
};
use crate::tensor::element_count;
use crate::{DType, Error, ErrorKind, Result, Tensor};
use shapes::{
    blocks, centre_crop_pad, pad, pad_values, part, reshape_target, sizes_of, slice, squeezed,
    to_shape, unsqueezed,
};
use values::{eye, range, resized};
pub use windows::{Padding, Sliding, plain_pool};
use windows::{conv, global_pool, pool, transposed};

/// Most elements of a constant that an operator becomes.
pub const MAX_CONSTANT: usize = 1 << 22;

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

impl Late {
    /// Fewest and most inputs.
    fn arity(&self) -> (usize, usize) {
        let exactly = |n| (n, n);
        match self {
            Late::Shape { .. }
            | Late::Size
            | Late::Reversed
            | Late::MoveAxis { .. }
            | Late::Flatten { .. }
            | Late::Eye { .. }
            | Late::Pool { .. }
            | Late::GlobalPool(_)
            | Late::Blocks { .. } => exactly(1),
            Late::Reshape { .. }
            | Late::Expand
            | Late::Tile
            | Late::Fill
            | Late::Reduce { .. }
            | Late::Unsqueeze
            | Late::Cumulative(_)
            | Late::Top { .. }
            | Late::CentreCropPad { .. } => exactly(2),
            Late::Range | Late::Resize { .. } => exactly(3),
            Late::Part { .. } | Late::Squeeze | Late::Triangle { .. } => (1, 2),
            Late::Conv { .. } | Late::ConvTranspose { .. } => (2, 3),
            Late::Slice { axes, steps } => exactly(3 + usize::from(*axes) + usize::from(*steps)),
            Late::Pad { value, axes, .. } => exactly(2 + usize::from(*value) + usize::from(*axes)),
        }
    }

    /// The operators or the constant it is, or `None` while something that it needs is not known, or the
    /// constant has more than `budget` elements. Errs where it can never be either.
    pub fn resolve(&self, inputs: &[Known], budget: usize) -> Result<Option<Resolved>> {
        let (fewest, most) = self.arity();
        check_count(inputs.len(), fewest, most)?;
        let Some(x) = inputs[0].t else {
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
            Late::Range => match range(inputs, budget)? {
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
            Late::Eye { .. } if x.len() > budget && x.len() <= MAX_CONSTANT => return Ok(None),
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
        let (fewest, most) = self.arity();
        count(inputs, fewest, most)?;
        Err(Error::new(
            ErrorKind::Late,
            "the shape of the result depends on values",
        ))
    }

    fn macs(&self, _inputs: &[Type], _outputs: &[Type]) -> u64 {
        0
    }
}
