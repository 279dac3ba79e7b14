//! Pooling.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::window::WindowKind;
use bantam_core::op::{Binary, Late, ReduceKind};
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
    Ok(Some(match places {
        true => c.nodes(Op::Late(late), &[x], 2),
        false => vec![c.late(late, &[x])],
    }))
}

fn global(c: &mut Context, kind: ReduceKind, x: &[Option<ValueId>]) -> Imported {
    let x = need(x, 0)?;
    Ok(Some(vec![c.late(Late::GlobalPool(kind), &[x])]))
}
