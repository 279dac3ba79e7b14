//! Pooling.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::late::{self, Padding};
use bantam_core::op::window::WindowKind;
use bantam_core::op::{Binary, Late, Pool, PoolKind, ReduceKind};
use bantam_core::{Op, ValueId};

use super::context::{Attributes, Context, Imported, need, unsupported};
use super::layers::sliding;
use crate::Error;

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: &[Option<ValueId>],
) -> Imported {
    let kind = match op {
        "MaxPool" => WindowKind::Max {
            column_major: a.flag("storage_order", false)?,
        },
        "AveragePool" => WindowKind::Average {
            count_include_pad: a.flag("count_include_pad", false)?,
        },
        "LpPool" => {
            let p = a.int_or("p", 2)?;
            let p = u32::try_from(p).ok().filter(|&p| p > 0);
            WindowKind::Lp {
                p: p.ok_or_else(|| Error::corrupt("p is below 1"))?,
            }
        }
        "GlobalMaxPool" => return global(c, ReduceKind::Max, x),
        "GlobalAveragePool" => return global(c, ReduceKind::Mean, x),
        "GlobalLpPool" => {
            let p = f64::from(a.int_or("p", 2)? as i32);
            let x = need(x, 0)?;
            let size = c.unary(UnaryKind::Abs, x);
            let power = c.with(Binary::Pow, size, p);
            let sum = c.late(Late::GlobalPool(ReduceKind::Sum), &[power]);
            return Ok(Some(vec![c.with(Binary::Pow, sum, 1.0 / p)]));
        }
        _ => return Ok(None),
    };
    let sliding = sliding(a)?;
    if sliding.kernel.is_empty() {
        return Err(unsupported("no kernel_shape is given"));
    }
    let ceil = a.flag("ceil_mode", false)?;
    let places = a.asks(1);
    let late = Late::Pool {
        kind,
        sliding,
        ceil,
        places,
    };
    let x = need(x, 0)?;
    if let Some(pool) = plain(c, &late, x) {
        return Ok(Some(vec![c.node(Op::Pool(pool), &[x])]));
    }
    Ok(Some(match places {
        true => c.nodes(Op::Late(late), &[x], 2),
        false => vec![c.late(late, &[x])],
    }))
}

/// The pooling that it is whatever the size of the image.
fn plain(c: &Context, late: &Late, x: ValueId) -> Option<Pool> {
    let Late::Pool {
        kind,
        sliding,
        ceil: false,
        places: false,
    } = late
    else {
        return None;
    };
    let Padding::Cells(cells) = &sliding.padding else {
        return None;
    };
    let or = |list: &[usize]| match list {
        [] => vec![1; sliding.kernel.len()],
        list => list.to_vec(),
    };
    let cells = match cells.as_slice() {
        [] => vec![[0, 0]; sliding.kernel.len()],
        cells => cells.to_vec(),
    };
    let (stride, dilation) = (or(&sliding.stride), or(&sliding.dilation));
    let pool = late::plain_pool(*kind, &sliding.kernel, &stride, &dilation, &cells)?;
    let sizes = [&pool.stride[..], &sliding.kernel].concat();
    let image = c.rank(x) == Some(4) && c.dtype(x).is_float();
    (image && !sizes.contains(&0)).then_some(pool)
}

fn global(c: &mut Context, kind: ReduceKind, x: &[Option<ValueId>]) -> Imported {
    let x = need(x, 0)?;
    let image = match kind {
        ReduceKind::Max => Some(PoolKind::Max),
        ReduceKind::Mean => Some(PoolKind::Average {
            count_include_pad: false,
        }),
        _ => None,
    };
    if let (Some(kind), Some(4)) = (image, c.rank(x)) {
        return Ok(Some(vec![c.node(Op::Pool(Pool::global(kind)), &[x])]));
    }
    Ok(Some(vec![c.late(Late::GlobalPool(kind), &[x])]))
}
