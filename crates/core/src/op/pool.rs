//! Max and average pooling over windows, and their gradients. Global pooling is a window as large
//! as the input.

use super::conv::window_count;
use super::{Family, Type, floats, rank, same_shape};
use crate::Result;
use crate::reference::Array;

/// What is taken from each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value; padding never wins. The gradient goes to the first of equal values.
    Max,
    /// The mean over the window, over real cells only or over padding as well.
    Average {
        /// Divide by the size of the window even where it covers padding.
        count_include_pad: bool,
    },
}

/// Pooling of `x: [n, c, h, w]` to `y: [n, c, oh, ow]`, or its gradient `(x, dy) → dx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What is taken from each window.
    pub kind: PoolKind,
    /// Window: rows, columns. `None` covers the whole input, whatever its size.
    pub kernel: Option<[usize; 2]>,
    /// Step of the window: rows, columns.
    pub stride: [usize; 2],
    /// Cells added: top, left, bottom, right. Less than the window on each side.
    pub padding: [usize; 4],
    /// Compute the gradient `(x, dy) → dx` instead; average pooling reads only the shape of `x`.
    pub grad: bool,
}

impl Pool {
    /// Windows of `kernel` that do not overlap.
    pub fn windows(kind: PoolKind, kernel: [usize; 2]) -> Pool {
        Pool {
            kind,
            kernel: Some(kernel),
            stride: kernel,
            padding: [0; 4],
            grad: false,
        }
    }

    /// One window over the whole image.
    pub fn global(kind: PoolKind) -> Pool {
        Pool {
            kind,
            kernel: None,
            stride: [1, 1],
            padding: [0; 4],
            grad: false,
        }
    }

    /// The window for an input of shape `x: [n, c, h, w]`.
    pub fn kernel_for(&self, x: &[usize]) -> [usize; 2] {
        self.kernel.unwrap_or([x[2], x[3]])
    }

    /// Shape of `y` from the shape of `x`; errs when the window does not fit.
    pub fn output_shape(&self, x: &[usize]) -> Result<Vec<usize>> {
        rank("x", x, 4)?;
        let [kh, kw] = self.kernel_for(x);
        let [top, left, bottom, right] = self.padding;
        if top >= kh || bottom >= kh || left >= kw || right >= kw {
            return Err(crate::Error::attribute(format!(
                "padding {:?} must be smaller than the window {kh} x {kw}",
                self.padding
            )));
        }
        let oh = window_count(x[2], kh, self.stride[0], 1, top + bottom)?;
        let ow = window_count(x[3], kw, self.stride[1], 1, left + right)?;
        Ok(vec![x[0], x[1], oh, ow])
    }

    /// Indices into `x` of the real cells of window `iy` of `y`.
    fn cells(&self, x: &[usize], y: &[usize], iy: usize) -> Vec<usize> {
        let [kh, kw] = self.kernel_for(x);
        let (plane, p, q) = (iy / (y[2] * y[3]), iy / y[3] % y[2], iy % y[3]);
        let mut cells = Vec::new();
        for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
            let row = (p * self.stride[0] + i)
                .checked_sub(self.padding[0])
                .filter(|&r| r < x[2]);
            let col = (q * self.stride[1] + j)
                .checked_sub(self.padding[1])
                .filter(|&c| c < x[3]);
            if let (Some(row), Some(col)) = (row, col) {
                cells.push((plane * x[2] + row) * x[3] + col);
            }
        }
        cells
    }
}

impl Family for Pool {
    fn name(&self) -> &'static str {
        match (self.kind, self.grad) {
            (PoolKind::Max, false) => "MaxPool",
            (PoolKind::Max, true) => "MaxPoolGrad",
            (PoolKind::Average { .. }, false) => "AveragePool",
            (PoolKind::Average { .. }, true) => "AveragePoolGrad",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let Some(kernel) = self.kernel else {
            return vec![("kernel", "global".to_owned())];
        };
        let mut a = vec![
            ("kernel", format!("{kernel:?}")),
            ("stride", format!("{:?}", self.stride)),
        ];
        if self.padding != [0; 4] {
            a.push(("padding", format!("{:?}", self.padding)));
        }
        if self.kind
            == (PoolKind::Average {
                count_include_pad: true,
            })
        {
            a.push(("count_include_pad", "true".to_owned()));
        }
        a
    }

    fn infer(&self, inputs: &[Type]) -> Result<Vec<Type>> {
        let n = 1 + usize::from(self.grad);
        let dtype = floats(inputs, n, n)?;
        let y = self.output_shape(&inputs[0].shape)?;
        if !self.grad {
            return Ok(vec![Type::new(dtype, &y)]);
        }
        same_shape("dy", &inputs[1].shape, &y)?;
        Ok(vec![inputs[0].clone()])
    }

    fn macs(&self, inputs: &[Type], outputs: &[Type]) -> u64 {
        let [kh, kw] = self.kernel_for(&inputs[0].shape);
        let y = if self.grad { &inputs[1] } else { &outputs[0] };
        (y.len() * kh * kw) as u64
    }

    fn reference(&self, inputs: &[&Array], outputs: &[Type]) -> Vec<Array> {
        let x = inputs[0];
        let y_shape = self
            .output_shape(&x.shape)
            .expect("shapes passed the shape rule");
        let [kh, kw] = self.kernel_for(&x.shape);
        let mut out = Array::zeros(&outputs[0].shape);
        for iy in 0..y_shape.iter().product() {
            let cells = self.cells(&x.shape, &y_shape, iy);
            match self.kind {
                PoolKind::Max => {
                    let first = |best: usize, &c: &usize| {
                        if x.values[c] > x.values[best] {
                            c
                        } else {
                            best
                        }
                    };
                    let best = cells.iter().fold(cells[0], first);
                    if self.grad {
                        out.values[best] += inputs[1].values[iy];
                    } else {
                        out.values[iy] = x.values[best];
                    }
                }
                PoolKind::Average { count_include_pad } => {
                    let count = if count_include_pad {
                        kh * kw
                    } else {
                        cells.len()
                    } as f64;
                    for &c in &cells {
                        if self.grad {
                            out.values[c] += inputs[1].values[iy] / count;
                        } else {
                            out.values[iy] += x.values[c] / count;
                        }
                    }
                }
            }
        }
        vec![out]
    }

    fn reads(&self, idx: usize) -> bool {
        !(self.grad && idx == 0 && matches!(self.kind, PoolKind::Average { .. }))
    }
}
