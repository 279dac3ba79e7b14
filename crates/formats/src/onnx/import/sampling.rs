//! Images at other sizes and places; windows of signals; non-maximum suppression.

use bantam_core::op::elementwise::UnaryKind;
use bantam_core::op::resample::{Coordinates, Filter, Outside, Resize, Round};
use bantam_core::op::{Binary, Find, Late, Resample};
use bantam_core::{DType, Op, Tensor, ValueId};

use super::context::{Attributes, Context, Imported, maybe, need, unsupported};
use crate::{Error, Result};

type Inputs<'i> = &'i [Option<ValueId>];

pub(super) fn import<'a>(
    c: &mut Context<'_, 'a>,
    op: &str,
    a: &Attributes<'_, 'a>,
    x: Inputs,
) -> Imported {
    let y = match op {
        "Resize" => resize(c, a, x)?,
        "Upsample" => upsample(c, a, x)?,
        "GridSample" => grid_sample(c, a, x)?,
        "RoiAlign" => roi_align(c, a, x)?,
        "NonMaxSuppression" => non_max_suppression(c, a, x)?,
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => window(c, op, a, x)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![y]))
}

fn filter(a: &Attributes, mode: &str) -> Result<Filter> {
    let nearest = a.text("nearest_mode")?.unwrap_or("round_prefer_floor");
    let cubic = a.float_or("cubic_coeff_a", -0.75)?;
    Ok(match mode {
        "nearest" => Filter::Nearest(match nearest {
            "round_prefer_floor" => Round::PreferFloor,
            "round_prefer_ceil" => Round::PreferCeil,
            "floor" => Round::Floor,
            "ceil" => Round::Ceil,
            other => return Err(unsupported(format!("nearest_mode = {other:?}"))),
        }),
        "linear" | "bilinear" => Filter::Linear,
        "cubic" | "bicubic" => Filter::Cubic(cubic),
        other => return Err(unsupported(format!("mode = {other:?}"))),
    })
}

fn resize(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let old = c.opset() < 11;
    let coordinates = match a.text("coordinate_transformation_mode")? {
        None if old => Coordinates::Asymmetric,
        None | Some("half_pixel") => Coordinates::HalfPixel,
        Some("half_pixel_symmetric") => Coordinates::HalfPixelSymmetric,
        Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
        Some("align_corners") => Coordinates::AlignCorners,
        Some("asymmetric") => Coordinates::Asymmetric,
        Some("tf_crop_and_resize") => Coordinates::CropAndResize,
        Some(other) => {
            return Err(unsupported(format!(
                "coordinate_transformation_mode = {other:?}"
            )));
        }
    };
    let mut filter = filter(a, a.text("mode")?.unwrap_or("nearest"))?;
    if old && matches!(filter, Filter::Nearest(_)) {
        filter = Filter::Nearest(Round::Floor);
    }
    let how = Resize {
        filter,
        coordinates,
        antialias: a.flag("antialias", false)?,
        exclude_outside: a.flag("exclude_outside", false)?,
        outside: a.float_or("extrapolation_value", 0.0)?,
        sizes: Vec::new(),
        scales: Vec::new(),
        roi: Vec::new(),
    };
    let keep_aspect = match a.text("keep_aspect_ratio_policy")?.unwrap_or("stretch") {
        "stretch" => None,
        "not_larger" => Some(false),
        "not_smaller" => Some(true),
        other => return Err(unsupported(format!("keep_aspect_ratio_policy = {other:?}"))),
    };
    let axes = a.ints("axes")?.unwrap_or_default();
    let data = need(x, 0)?;
    let (roi, scales, sizes) = match old {
        true => (None, maybe(x, 1), None),
        false => (maybe(x, 1), maybe(x, 2), maybe(x, 3)),
    };
    let empty = |c: &Context, v: ValueId| c.constant(v).is_some_and(Tensor::is_empty);
    let scales = scales.filter(|&s| sizes.is_none() || !empty(c, s));
    let by_sizes = sizes.is_some();
    let last = sizes
        .or(scales)
        .ok_or_else(|| Error::corrupt("neither scales nor sizes are given"))?;
    let crops = coordinates == Coordinates::CropAndResize;
    let roi = match roi {
        Some(roi) if crops || empty(c, roi) => roi,
        _ => c.new_constant("roi", Tensor::new::<f32>(&[0], Vec::new())?),
    };
    let late = Late::Resize {
        resize: how,
        sizes: by_sizes,
        axes,
        keep_aspect,
    };
    Ok(c.late(late, &[data, roi, last]))
}

fn upsample(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let mode = a.text("mode")?.unwrap_or("nearest");
    let mut filter = filter(a, mode)?;
    if matches!(filter, Filter::Nearest(_)) {
        filter = Filter::Nearest(Round::Floor);
    }
    let how = Resize {
        filter,
        coordinates: Coordinates::Asymmetric,
        antialias: false,
        exclude_outside: false,
        outside: 0.0,
        sizes: Vec::new(),
        scales: Vec::new(),
        roi: Vec::new(),
    };
    let scales = match a.floats("scales")? {
        Some(list) => c.new_constant("scales", Tensor::new(&[list.len()], list)?),
        None => need(x, 1)?,
    };
    let roi = c.new_constant("roi", Tensor::new::<f32>(&[0], Vec::new())?);
    let late = Late::Resize {
        resize: how,
        sizes: false,
        axes: Vec::new(),
        keep_aspect: None,
    };
    let data = need(x, 0)?;
    Ok(c.late(late, &[data, roi, scales]))
}

fn grid_sample(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let filter = filter(a, a.text("mode")?.unwrap_or("linear"))?;
    let outside = match a.text("padding_mode")?.unwrap_or("zeros") {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return Err(unsupported(format!("padding_mode = {other:?}"))),
    };
    let align_corners = a.flag("align_corners", false)?;
    let inputs = [need(x, 0)?, need(x, 1)?];
    Ok(c.node(
        Op::Resample(Resample::Grid {
            filter,
            outside,
            align_corners,
        }),
        &inputs,
    ))
}

fn roi_align(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let size = |name: &str| -> Result<usize> {
        let n = a.int_or(name, 1)?;
        usize::try_from(n)
            .ok()
            .filter(|n| (1..1 << 16).contains(n))
            .ok_or_else(|| Error::corrupt(format!("{name} = {n}")))
    };
    let half_pixel = match a.text("coordinate_transformation_mode")? {
        None => c.opset() >= 16,
        Some("half_pixel") => true,
        Some("output_half_pixel") => false,
        Some(other) => {
            return Err(unsupported(format!(
                "coordinate_transformation_mode = {other:?}"
            )));
        }
    };
    let max = match a.text("mode")?.unwrap_or("avg") {
        "avg" => false,
        "max" => true,
        other => return Err(unsupported(format!("mode = {other:?}"))),
    };
    let samples = a.int_or("sampling_ratio", 0)?;
    let op = Resample::Regions {
        size: [size("output_height")?, size("output_width")?],
        max,
        samples: usize::try_from(samples)
            .ok()
            .filter(|&s| s < 1 << 12)
            .ok_or_else(|| Error::corrupt("sampling_ratio"))?,
        scale: a.float_or("spatial_scale", 1.0)?,
        half_pixel,
    };
    let inputs = [need(x, 0)?, need(x, 1)?, need(x, 2)?];
    Ok(c.node(Op::Resample(op), &inputs))
}

fn non_max_suppression(c: &mut Context, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let centre = a.flag("center_point_box", false)?;
    let limit = match maybe(x, 2) {
        Some(v) => v,
        None => c.scalar(0.0, DType::I64),
    };
    let overlap = match maybe(x, 3) {
        Some(v) => v,
        None => c.scalar(0.0, DType::F32),
    };
    let score = match maybe(x, 4) {
        Some(v) => v,
        None => c.scalar(f64::NEG_INFINITY, DType::F32),
    };
    let inputs = [need(x, 0)?, need(x, 1)?, limit, overlap, score];
    Ok(c.node(Op::Find(Find::NonMaxSuppression { centre }), &inputs))
}

/// `a - b cos(2πi/n) + d cos(4πi/n)`, where `n` is one less for a window that is symmetric.
fn window(c: &mut Context, op: &str, a: &Attributes, x: Inputs) -> Result<ValueId> {
    let periodic = a.flag("periodic", true)?;
    let to = a.element_type("output_datatype")?.unwrap_or(DType::F32);
    let [first, second, third] = match op {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    let size = need(x, 0)?;
    let size = c.cast(size, DType::I64);
    let (zero, one) = (c.scalar(0.0, DType::I64), c.scalar(1.0, DType::I64));
    let index = c.late(Late::Range, &[zero, size, one]);
    let index = c.cast(index, DType::F64);
    let mut n = c.cast(size, DType::F64);
    if !periodic {
        n = c.with(Binary::Sub, n, 1.0);
    }
    let turn = c.with(Binary::Mul, index, 2.0 * std::f64::consts::PI);
    let turn = c.div(turn, n);
    let wave = |c: &mut Context, times: f64, height: f64| {
        let angle = c.with(Binary::Mul, turn, times);
        let cos = c.unary(UnaryKind::Cos, angle);
        c.with(Binary::Mul, cos, height)
    };
    let y = wave(c, 1.0, -second);
    let mut y = c.with(Binary::Add, y, first);
    if third != 0.0 {
        let more = wave(c, 2.0, third);
        y = c.add(y, more);
    }
    Ok(c.cast(y, to))
}
