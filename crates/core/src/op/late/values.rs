//! Ranges, unit matrices and new sizes of images, which are made of values.

use super::super::resample::{Resample, Resize};
use super::super::{Op, Type, rank};
use super::shapes::axes_of;
use super::{Known, MAX_CONSTANT};
use crate::{DType, Error, Result, Tensor};

pub(super) fn range(inputs: &[Known], budget: usize) -> Result<Option<Tensor>> {
    let mut values = Vec::new();
    for i in inputs {
        match i.value {
            Some(t) if t.len() == 1 => values.push(t),
            Some(t) => return Err(Error::shape(format!("a range from {:?}", t.shape()))),
            None => return Ok(None),
        }
    }
    let dtype = values[0].dtype();
    let too_many = || Error::value(format!("a range of more than {MAX_CONSTANT} values"));
    if dtype.is_float() {
        let v: Vec<f64> = values
            .iter()
            .map(|t| crate::reference::Array::from(*t).values[0])
            .collect();
        let n = ((v[1] - v[0]) / v[2]).ceil().max(0.0);
        if n.is_nan() || n > MAX_CONSTANT as f64 {
            return Err(too_many());
        }
        if n > budget as f64 {
            return Ok(None);
        }
        let all: Vec<f64> = (0..n as usize).map(|i| v[0] + i as f64 * v[2]).collect();
        return Ok(Some(Tensor::new(&[all.len()], all)?.cast(dtype)));
    }
    let v: Vec<i128> = values
        .iter()
        .map(|t| Ok(t.data().integers()?[0]))
        .collect::<Result<_>>()?;
    if v[2] == 0 {
        return Err(Error::value("a range with step 0"));
    }
    let n = (v[1] - v[0]).div_euclid(v[2]) + i128::from((v[1] - v[0]).rem_euclid(v[2]) != 0);
    let n = if v[2] < 0 {
        (v[0] - v[1] + (-v[2] - 1)).div_euclid(-v[2])
    } else {
        n
    };
    let n = usize::try_from(n.max(0))
        .ok()
        .filter(|&n| n <= MAX_CONSTANT)
        .ok_or_else(too_many)?;
    if n > budget {
        return Ok(None);
    }
    let all: Vec<i128> = (0..n).map(|i| v[0] + i as i128 * v[2]).collect();
    Ok(Some(Tensor::from_data(
        &[n],
        crate::Data::from_integers(dtype, &all),
    )?))
}

pub(super) fn eye(x: &Type, k: i64, dtype: DType) -> Result<Tensor> {
    rank("x", &x.shape, 2)?;
    let (rows, columns) = (x.shape[0], x.shape[1]);
    if x.len() > MAX_CONSTANT {
        return Err(Error::value(format!(
            "a matrix of more than {MAX_CONSTANT} values"
        )));
    }
    let on = |i: usize| u8::from((i % columns) as i64 == (i / columns) as i64 + k);
    let all: Vec<u8> = (0..rows * columns).map(on).collect();
    Ok(Tensor::new(&x.shape, all)?.cast(dtype))
}

pub(super) fn resized(
    x: &Type,
    inputs: &[Known],
    resize: &Resize,
    sizes: bool,
    axes: &[i64],
    keep_aspect: Option<bool>,
) -> Result<Option<Op>> {
    let (Some(roi), Some(given)) = (inputs[1].value, inputs[2].value) else {
        return Ok(None);
    };
    let rank = x.shape.len();
    let axes = match axes {
        [] => (0..rank).collect(),
        axes => axes_of(axes, rank)?,
    };
    let floats = |t: &Tensor| crate::reference::Array::from(t).values;
    let (roi, given) = (floats(roi), floats(given));
    if given.len() != axes.len() || !(roi.is_empty() || roi.len() == 2 * axes.len()) {
        return Err(Error::attribute(format!(
            "{} sizes for {} axes",
            given.len(),
            axes.len()
        )));
    }
    let mut resize = resize.clone();
    resize.scales = vec![1.0; rank];
    resize.sizes = x.shape.clone();
    resize.roi = vec![[0.0, 1.0]; rank];
    let ratio = |i: usize| given[i] / x.shape[axes[i]] as f64;
    let common = keep_aspect.map(|largest| {
        let ratios = (0..axes.len()).map(ratio);
        if largest {
            ratios.fold(0.0, f64::max)
        } else {
            ratios.fold(f64::INFINITY, f64::min)
        }
    });
    for (i, &axis) in axes.iter().enumerate() {
        if let [start, end] = [roi.get(i), roi.get(i + axes.len())].map(Option::<&f64>::copied)
            && let (Some(start), Some(end)) = (start, end)
        {
            resize.roi[axis] = [start as f32, end as f32];
        }
        let len = x.shape[axis] as f64;
        let extent = match resize.crops() {
            true => len * f64::from(resize.roi[axis][1] - resize.roi[axis][0]),
            false => len,
        };
        let (scale, size) = match (sizes, common) {
            (true, Some(common)) => (common, (common * len).round()),
            (true, None) => (given[i] / extent, given[i]),
            (false, _) => (given[i], (extent * given[i]).floor()),
        };
        if !(size >= 0.0 && size < (1u64 << 40) as f64 && scale > 0.0) {
            return Err(Error::value(format!("resize to {size} by {scale}")));
        }
        resize.scales[axis] = scale as f32;
        resize.sizes[axis] = size as usize;
    }
    Ok(Some(Op::Resample(Resample::Resize(resize))))
}
