//! Images at other sizes and places: interpolation.

use super::{Family, Type, count};
use crate::reference::Array;
use crate::tensor::strides;
use crate::{DType, Error, Result};

/// How a value between cells is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filter {
    /// The nearest cell.
    Nearest(Round),
    /// Linear along each axis.
    Linear,
    /// Cubic along each axis (Keys 1981) with this coefficient.
    Cubic(f32),
}

/// How a coordinate becomes a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ONNX")]
pub enum Round {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// How a coordinate of the output becomes one of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ONNX")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
}

/// Resizing along every axis (ONNX `Resize`).
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How values are made.
    pub filter: Filter,
    /// How coordinates are made.
    pub coordinates: Coordinates,
    /// When shrinking, widen the filter so that no cell is left out.
    pub antialias: bool,
    /// Leave cells outside the image out of a cubic filter.
    pub exclude_outside: bool,
    /// What stands outside when cropping.
    pub outside: f32,
    /// Size of the output, per axis.
    pub sizes: Vec<usize>,
    /// Output cells per input cell, per axis.
    pub scales: Vec<f32>,
    /// Start and end of the part that is cropped, as shares of the axis.
    pub roi: Vec<[f32; 2]>,
}

impl Resize {
    /// Whether a part of the input is cut out.
    pub fn crops(&self) -> bool {
        self.coordinates == Coordinates::CropAndResize
    }

    /// The coordinate in an axis of `from` cells for cell `i` of `to`.
    fn coordinate(&self, axis: usize, i: usize, from: usize, to: usize) -> f64 {
        let (i, n, m) = (i as f64, from as f64, to as f64);
        let scale = f64::from(self.scales[axis]);
        let [start, end] = self.roi[axis].map(f64::from);
        match self.coordinates {
            Coordinates::HalfPixel => (i + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = m / (scale * n);
                let centre = n / 2.0;
                centre * (1.0 - adjustment) + (i + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if to > 1 => (i + 0.5) / scale - 0.5,
            Coordinates::PytorchHalfPixel => 0.0,
            // The resized length is that before rounding down.
            Coordinates::AlignCorners if to > 1 => i * (n - 1.0) / (n * scale - 1.0),
            Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => i / scale,
            Coordinates::CropAndResize if to > 1 => {
                start * (n - 1.0) + i * (end - start) * (n - 1.0) / (m - 1.0)
            }
            Coordinates::CropAndResize => 0.5 * (start + end) * (n - 1.0),
        }
    }

    /// Cells of an axis and their weights for cell `i` of the output; `None` is outside.
    fn taps(&self, axis: usize, i: usize, from: usize, to: usize) -> Option<Vec<(usize, f64)>> {
        let x = self.coordinate(axis, i, from, to);
        let last = from as f64 - 1.0;
        if self.crops() && !(0.0..=last).contains(&x) {
            return None;
        }
        if from == to && self.scales[axis] == 1.0 && !self.crops() {
            return Some(vec![(i, 1.0)]);
        }
        let clamp = |c: f64| c.clamp(0.0, last) as usize;
        let shrink = f64::from(self.scales[axis]).min(1.0);
        let scale = if self.antialias { shrink } else { 1.0 };
        let (radius, kernel): (f64, Box<dyn Fn(f64) -> f64>) = match self.filter {
            Filter::Nearest(round) => {
                let cell = match round {
                    Round::Floor => x.floor(),
                    Round::Ceil => x.ceil(),
                    Round::PreferFloor => (x - 0.5).ceil(),
                    Round::PreferCeil => (x + 0.5).floor(),
                };
                return Some(vec![(clamp(cell), 1.0)]);
            }
            Filter::Linear => (1.0, Box::new(|t: f64| (1.0 - t.abs()).max(0.0))),
            Filter::Cubic(a) => (2.0, Box::new(move |t| cubic(t, f64::from(a)))),
        };
        let radius = radius / scale;
        let first = (x - radius).floor() as i64 + 1;
        let end = (x + radius).ceil() as i64;
        let inside = |c: i64| (0..from as i64).contains(&c);
        let taps = (first..end.max(first + 1)).filter(|&c| !self.exclude_outside || inside(c));
        let mut taps: Vec<(usize, f64)> = taps
            .map(|c| (clamp(c as f64), kernel((x - c as f64) * scale)))
            .collect();
        if self.exclude_outside || self.antialias {
            let total: f64 = taps.iter().map(|t| t.1).sum();
            taps.iter_mut().for_each(|t| t.1 /= total);
        }
        Some(taps)
    }

    fn run(&self, x: &Array) -> Array {
        let mut y = x.clone();
        let mut outside: Vec<bool> = Vec::new();
        for axis in 0..x.shape.len() {
            let (outer, from, inner) = super::around(&y.shape, axis);
            let to = self.sizes[axis];
            let mut shape = y.shape.clone();
            shape[axis] = to;
            let mut next = Array::zeros(&shape);
            let mut out = vec![false; next.values.len()];
            for i in 0..to {
                let taps = self.taps(axis, i, from, to);
                for (o, k) in (0..outer).flat_map(|o| (0..inner).map(move |k| (o, k))) {
                    let at = (o * to + i) * inner + k;
                    let place = |c: usize| (o * from + c) * inner + k;
                    match &taps {
                        None => out[at] = true,
                        Some(taps) => {
                            // Values that were outside along an earlier axis stay outside.
                            out[at] = taps.iter().any(|t| outside.get(place(t.0)) == Some(&true));
                            next.values[at] =
                                taps.iter().map(|&(c, w)| w * y.values[place(c)]).sum();
                        }
                    }
                }
            }
            (y, outside) = (next, out);
        }
        for (v, _) in y.values.iter_mut().zip(&outside).filter(|o| *o.1) {
            *v = f64::from(self.outside);
        }
        y
    }
}

/// The cubic convolution kernel of Keys (1981).
fn cubic(t: f64, a: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}

/// What stands outside an image that is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// Interpolation.
#[derive(Clone, Debug, PartialEq)]
pub enum Resample {
    /// `x → y` at another size.
    Resize(Resize),
    /// `(x: [n, c, …], grid: [n, …, axes]) → [n, c, …]`: values at the places of the grid, whose last
    /// axis is the place from -1 to 1, the innermost axis first (ONNX `GridSample`).
    Grid {
        /// How values are made.
        filter: Filter,
        /// What stands outside.
        outside: Outside,
        /// -1 and 1 are the centres of the border cells rather than their outer edges.
        align_corners: bool,
    },
    /// `(x: [n, c, h, w], rois: [r, 4], batch: [r]) → [r, c, oh, ow]` (ONNX `RoiAlign`).
    Regions {
        /// Size of the output.
        size: [usize; 2],
        /// The largest instead of the mean of the samples.
        max: bool,
        /// Samples per cell and axis; 0 takes as many as cells.
        samples: usize,
        /// Cells of the input per unit of the regions.
        scale: f32,
        /// Shift by half a cell.
        half_pixel: bool,
    },
}

fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let t = (x - low).rem_euclid(2.0 * span);
    low + if t > span { 2.0 * span - t } else { t }
}

/// The value of plane `x` (axis sizes `size`) at real coordinates `at`.
fn sample(
    plane: &[f64],
    size: &[usize],
    at: &[f64],
    filter: Filter,
    outside: Outside,
    align: bool,
) -> f64 {
    let own = strides(size);
    let bounds = |n: usize| {
        if align {
            (0.0, n as f64 - 1.0)
        } else {
            (-0.5, n as f64 - 0.5)
        }
    };
    let cell = |c: f64, n: usize| -> Option<usize> {
        let last = n as f64 - 1.0;
        match outside {
            Outside::Zeros => (0.0..=last).contains(&c).then_some(c as usize),
            Outside::Border => Some(c.clamp(0.0, last) as usize),
            Outside::Reflection => {
                let (low, high) = bounds(n);
                Some(reflect(c, low, high).clamp(0.0, last) as usize)
            }
        }
    };
    let taps = |axis: usize| -> Vec<(Option<usize>, f64)> {
        let n = size[axis];
        let (low, high) = bounds(n);
        let x = match outside {
            Outside::Zeros => at[axis],
            Outside::Border => at[axis].clamp(0.0, n as f64 - 1.0),
            Outside::Reflection => reflect(at[axis], low, high),
        };
        match filter {
            Filter::Nearest(_) => vec![(cell(x.round_ties_even(), n), 1.0)],
            Filter::Linear => {
                let f = x.floor();
                vec![(cell(f, n), f + 1.0 - x), (cell(f + 1.0, n), x - f)]
            }
            Filter::Cubic(a) => {
                // The place itself is not moved inside; each of its four cells is.
                let x = at[axis];
                let f = x.floor();
                let tap = |i: i32| {
                    let c = f + f64::from(i);
                    (cell(c, n), cubic(x - c, f64::from(a)))
                };
                (-1..=2).map(tap).collect()
            }
        }
    };
    let mut terms = vec![(0, 1.0)];
    for (axis, &step) in own.iter().enumerate().take(size.len()) {
        let taps = taps(axis);
        terms = terms
            .iter()
            .flat_map(|&(p, w)| taps.iter().filter_map(move |&(c, v)| Some((p, c?, w * v))))
            .map(|(p, c, w)| (p + c * step, w))
            .collect();
    }
    terms.iter().map(|&(p, w)| plane[p] * w).sum()
}

fn grid(x: &Array, g: &Array, y: &[usize], filter: Filter, outside: Outside, align: bool) -> Array {
    let size = &x.shape[2..];
    let (plane, points): (usize, usize) = (size.iter().product(), y[2..].iter().product());
    let n = size.len();
    let mut out = Array::zeros(y);
    for i in 0..out.values.len() {
        let (image, point) = (i / points, i % points);
        let place = &g.values[((image / y[1]) * points + point) * n..][..n];
        let at: Vec<f64> = (0..n)
            .map(|a| {
                let (v, len) = (place[n - 1 - a], size[a] as f64);
                match align {
                    true => (v + 1.0) / 2.0 * (len - 1.0),
                    false => ((v + 1.0) * len - 1.0) / 2.0,
                }
            })
            .collect();
        out.values[i] = sample(
            &x.values[image * plane..][..plane],
            size,
            &at,
            filter,
            outside,
            align,
        );
    }
    out
}

/// Bilinear value for region pooling: 0 beyond one cell outside, clamped within it. Returns the
/// four weighted values.
fn corner_terms(plane: &[f64], h: usize, w: usize, y: f64, x: f64) -> [f64; 4] {
    if y < -1.0 || y > h as f64 || x < -1.0 || x > w as f64 {
        return [0.0; 4];
    }
    let axis = |v: f64, n: usize| {
        let v = v.max(0.0);
        let low = (v as usize).min(n - 1);
        let high = (low + 1).min(n - 1);
        let v = if low == n - 1 { low as f64 } else { v };
        (low, high, v - low as f64)
    };
    let ((y0, y1, ly), (x0, x1, lx)) = (axis(y, h), axis(x, w));
    let at = |r: usize, c: usize| plane[r * w + c];
    [
        (1.0 - ly) * (1.0 - lx) * at(y0, x0),
        (1.0 - ly) * lx * at(y0, x1),
        ly * (1.0 - lx) * at(y1, x0),
        ly * lx * at(y1, x1),
    ]
}

fn regions(inputs: &[&Array], op: &Resample, y: &[usize]) -> Array {
    let Resample::Regions {
        size: [oh, ow],
        max,
        samples,
        scale,
        half_pixel,
    } = *op
    else {
        unreachable!("called for regions")
    };
    let (x, rois, batch) = (inputs[0], inputs[1], inputs[2]);
    let [c, h, w] = [x.shape[1], x.shape[2], x.shape[3]];
    let scale = f64::from(scale);
    let mut out = Array::zeros(y);
    for i in 0..out.values.len() {
        let (r, ch, p, q) = (i / (c * oh * ow), i / (oh * ow) % c, i / ow % oh, i % ow);
        let shift = if half_pixel { 0.5 } else { 0.0 };
        let edge: Vec<f64> = (0..4)
            .map(|k| rois.values[r * 4 + k] * scale - shift)
            .collect();
        let least = if half_pixel { f64::NEG_INFINITY } else { 1.0 };
        let (rw, rh) = (
            (edge[2] - edge[0]).max(least),
            (edge[3] - edge[1]).max(least),
        );
        let (bh, bw) = (rh / oh as f64, rw / ow as f64);
        let n = |b: f64| {
            if samples > 0 {
                samples
            } else {
                (b.ceil().max(0.0) as usize).min(1 << 12)
            }
        };
        let (ny, nx) = (n(bh), n(bw));
        let image = (batch.values[r].max(0.0) as usize).min(x.shape[0] - 1);
        let plane = &x.values[(image * c + ch) * h * w..][..h * w];
        let (mut sum, mut best) = (0.0, f64::NEG_INFINITY);
        for (a, b) in (0..ny).flat_map(|a| (0..nx).map(move |b| (a, b))) {
            let py = edge[1] + p as f64 * bh + (a as f64 + 0.5) * bh / ny as f64;
            let px = edge[0] + q as f64 * bw + (b as f64 + 0.5) * bw / nx as f64;
            let terms = corner_terms(plane, h, w, py, px);
            sum += terms.iter().sum::<f64>();
            best = terms.iter().copied().fold(best, f64::max);
        }
        let count = (ny * nx).max(1) as f64;
        out.values[i] = if max { best.max(f64::MIN) } else { sum / count };
    }
    out
}

impl Family for Resample {
    fn name(&self) -> &'static str {
        match self {
            Resample::Resize(_) => "Resize",
            Resample::Grid { .. } => "GridSample",
            Resample::Regions { .. } => "RoiAlign",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let text = match self {
            Resample::Resize(r) => format!("{r:?}"),
            other => format!("{other:?}"),
        };
        let start = text.find(' ').unwrap_or(0);
        vec![("with", text[start..].trim().replace(' ', ""))]
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let x = &inputs
            .first()
            .ok_or_else(|| Error::shape("no input"))?
            .shape;
        let n = match self {
            Resample::Resize(_) => 1,
            Resample::Grid { .. } => 2,
            Resample::Regions { .. } => 3,
        };
        count(inputs, n, n)?;
        if inputs[0].dtype == DType::Bool {
            return Err(Error::dtype("interpolation of bool"));
        }
        let bad = || Error::shape(format!("{} of {inputs:?}", self.name()));
        let shape = match self {
            Resample::Resize(r) => {
                let lengths = [r.sizes.len(), r.scales.len(), r.roi.len()];
                if lengths != [x.len(); 3] || x.contains(&0) {
                    return Err(bad());
                }
                r.sizes.clone()
            }
            Resample::Grid { .. } => {
                let g = &inputs[1].shape;
                let fits = x.len() > 2 && g.len() == x.len() && g[0] == x[0];
                if !fits || g[g.len() - 1] != x.len() - 2 || x.contains(&0) {
                    return Err(bad());
                }
                [&x[..2], &g[1..g.len() - 1]].concat()
            }
            Resample::Regions { size, .. } => {
                let (rois, batch) = (&inputs[1].shape, &inputs[2].shape);
                if x.len() != 4
                    || rois.len() != 2
                    || rois[1] != 4
                    || *batch != [rois[0]]
                    || x.contains(&0)
                {
                    return Err(bad());
                }
                vec![rois[0], x[1], size[0], size[1]]
            }
        };
        Ok(vec![Type::new(inputs[0].dtype, &shape)])
    }

    fn macs(&self, inputs: &[Type], outputs: &[Type]) -> u64 {
        (outputs[0].len() as u64)
            .saturating_mul(1 << inputs[0].shape.len().saturating_sub(2).min(8))
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let y = match self {
            Resample::Resize(r) => {
                let mut y = r.run(inputs[0]);
                if !outputs[0].dtype.is_float() {
                    y.values.iter_mut().for_each(|v| *v = v.round_ties_even());
                }
                y
            }
            Resample::Grid {
                filter,
                outside,
                align_corners,
            } => grid(
                inputs[0],
                inputs[1],
                &outputs[0].shape,
                *filter,
                *outside,
                *align_corners,
            ),
            Resample::Regions { .. } => regions(inputs, self, &outputs[0].shape),
        };
        vec![y]
    }
}
