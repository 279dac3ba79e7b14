//! Pooling over windows of any number of axes, with dilation and windows that hang over the end.

use super::conv::window_count;
use super::{Family, Type, count};
use crate::reference::Array;
use crate::tensor::strides;
use crate::{DType, Error, Result};

/// What is taken from each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// The largest value, and as a second output its place in `x`.
    Max {
        /// Places count the last axes of an image column by column rather than row by row.
        column_major: bool,
    },
    /// The mean, over real cells only or over padding as well.
    Average {
        /// Divide by the size of the window even where it covers padding.
        count_include_pad: bool,
    },
    /// The `p`-norm.
    Lp {
        /// The exponent.
        p: u32,
    },
}

/// `x: [n, c, …] → y: [n, c, …]` over the axes from 2 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What is taken.
    pub kind: WindowKind,
    /// Size of the window, per axis.
    pub kernel: Vec<usize>,
    /// Step of the window, per axis.
    pub stride: Vec<usize>,
    /// Cells added before and after, per axis.
    pub padding: Vec<[usize; 2]>,
    /// Distance between the cells of a window, per axis.
    pub dilation: Vec<usize>,
    /// Round the number of windows up: the last may hang over the end.
    pub ceil: bool,
}

impl Window {
    fn output_shape(&self, x: &[usize]) -> Result<Vec<usize>> {
        let n = self.kernel.len();
        let same = [self.stride.len(), self.padding.len(), self.dilation.len()] == [n; 3];
        if !same || x.len() != n + 2 {
            return Err(Error::shape(format!("a window of {n} axes over {x:?}")));
        }
        let mut shape = x[..2].to_vec();
        for a in 0..n {
            let [before, after] = self.padding[a];
            let (stride, dilation) = (self.stride[a], self.dilation[a]);
            let size = x[a + 2];
            let mut windows = window_count(size, self.kernel[a], stride, dilation, before + after)?;
            let span = (self.kernel[a] - 1) * dilation + 1;
            // One window more where cells are left over, if it starts inside the image.
            let left = (size + before + after - span) % stride;
            if self.ceil && left > 0 && windows * stride < size + before {
                windows += 1;
            }
            shape.push(windows);
        }
        Ok(shape)
    }

    /// Calls `f` with the places of the real cells of a window, and says how many cells it has with
    /// those of the padding, but without those beyond it.
    fn cells(&self, x: &[usize], at: &[usize], f: &mut dyn FnMut(usize)) -> usize {
        let n = self.kernel.len();
        let own = strides(&x[2..]);
        let mut counted = 0;
        for k in 0..self.kernel.iter().product::<usize>() {
            let (mut rest, mut place, mut real, mut inside) = (k, 0, true, true);
            for a in (0..n).rev() {
                let tap = rest % self.kernel[a];
                rest /= self.kernel[a];
                let cell = at[a] * self.stride[a] + tap * self.dilation[a];
                let [before, after] = self.padding[a];
                inside &= cell < x[a + 2] + before + after;
                match cell.checked_sub(before).filter(|&c| c < x[a + 2]) {
                    Some(c) => place += c * own[a],
                    None => real = false,
                }
            }
            counted += usize::from(inside);
            if real {
                f(place);
            }
        }
        counted
    }

    fn column_major(place: usize, x: &[usize]) -> usize {
        let n = x.len();
        if n < 4 {
            return place;
        }
        let (h, w) = (x[n - 2], x[n - 1]);
        let (plane, row, column) = (place / (h * w), place / w % h, place % w);
        (plane * w + column) * h + row
    }
}

impl Family for Window {
    fn name(&self) -> &'static str {
        match self.kind {
            WindowKind::Max { .. } => "MaxPool",
            WindowKind::Average { .. } => "AveragePool",
            WindowKind::Lp { .. } => "LpPool",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut a = vec![
            ("kernel", format!("{:?}", self.kernel)),
            ("stride", format!("{:?}", self.stride)),
            ("padding", format!("{:?}", self.padding)),
            ("dilation", format!("{:?}", self.dilation)),
        ];
        match self.kind {
            WindowKind::Max { column_major: true } => a.push(("column_major", "true".to_owned())),
            WindowKind::Average {
                count_include_pad: true,
            } => {
                a.push(("count_include_pad", "true".to_owned()));
            }
            WindowKind::Lp { p } => a.push(("p", p.to_string())),
            _ => {}
        }
        if self.ceil {
            a.push(("ceil", "true".to_owned()));
        }
        a
    }

    fn dtypes(&self, inputs: &[DType]) -> Vec<DType> {
        match self.kind {
            WindowKind::Max { .. } => vec![inputs[0], DType::I64],
            _ => vec![inputs[0]],
        }
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        count(inputs, 1, 1)?;
        let x = &inputs[0];
        let integers = matches!(self.kind, WindowKind::Max { .. });
        if !(x.dtype.is_float() || integers && x.dtype.is_integer()) {
            return Err(Error::dtype(format!("{} of {}", self.name(), x.dtype)));
        }
        let shape = self.output_shape(&x.shape)?;
        let dtypes = self.dtypes(&[x.dtype]);
        Ok(dtypes.into_iter().map(|d| Type::new(d, &shape)).collect())
    }

    fn macs(&self, _inputs: &[Type], outputs: &[Type]) -> u64 {
        (outputs[0].len() * self.kernel.iter().product::<usize>()) as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let x = inputs[0];
        let y_shape = &outputs[0].shape;
        let own = strides(&y_shape[2..]);
        let plane: usize = y_shape[2..].iter().product();
        let image: usize = x.shape[2..].iter().product();
        let (mut y, mut places) = (Array::zeros(y_shape), Array::zeros(y_shape));
        for i in 0..y.values.len() {
            let start = i / plane.max(1) * image;
            let at: Vec<usize> = own
                .iter()
                .zip(&y_shape[2..])
                .map(|(s, d)| i % plane / s % d)
                .collect();
            let (mut sum, mut n, mut best) = (0.0, 0usize, None::<usize>);
            let all = self.cells(&x.shape, &at, &mut |place| {
                let v = x.values[start + place];
                n += 1;
                match self.kind {
                    WindowKind::Max { .. } => {
                        if best.is_none_or(|b| v > x.values[b]) {
                            best = Some(start + place);
                        }
                    }
                    WindowKind::Average { .. } => sum += v,
                    WindowKind::Lp { p } => sum += v.abs().powi(p as i32),
                }
            });
            y.values[i] = match self.kind {
                WindowKind::Max { column_major } => {
                    let place = |b: usize| {
                        if column_major {
                            Self::column_major(b, &x.shape)
                        } else {
                            b
                        }
                    };
                    places.values[i] = best.map_or(0.0, |b| place(b) as f64);
                    best.map_or(f64::NEG_INFINITY, |b| x.values[b])
                }
                WindowKind::Average {
                    count_include_pad: true,
                } => sum / all as f64,
                WindowKind::Average {
                    count_include_pad: false,
                } => sum / n as f64,
                WindowKind::Lp { p } => sum.powf(1.0 / f64::from(p)),
            };
        }
        match self.kind {
            WindowKind::Max { .. } => vec![y, places],
            _ => vec![y],
        }
    }
}
