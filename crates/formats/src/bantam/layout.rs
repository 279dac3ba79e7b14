//! How the elements of a weight lie before the coder, and which ways are worth trying.

use crate::{Error, Result};

/// A weight as a matrix: rows for outputs, columns for inputs, with a distance at which columns
/// resemble each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Image width, kernel area or image area; 1 for none.
    pub(super) stride: usize,
    /// Whether the stored matrix is the weight's transpose.
    transposed: bool,
    is_vector: bool,
    kernel: usize,
}

impl Layout {
    /// The plain layout: a row for each index of the first axis. A vector is one row.
    pub(super) fn of(shape: &[usize]) -> Layout {
        let (rows, cols) = match shape {
            [] => (1, 1),
            [n] => (1, *n),
            [n, rest @ ..] => (*n, rest.iter().product()),
        };
        let kernel = shape.get(2..).map_or(1, |kernel| kernel.iter().product());
        Layout {
            rows,
            cols,
            stride: 1,
            transposed: false,
            is_vector: shape.len() < 2,
            kernel,
        }
    }

    pub(super) fn is_vector(self) -> bool {
        self.is_vector
    }

    /// What the header says of it.
    pub(super) fn code(self) -> usize {
        self.stride << 1 | usize::from(self.transposed)
    }

    /// The layout with that code.
    pub(super) fn with_code(self, code: usize) -> Result<Layout> {
        let layout = if code & 1 == 1 {
            self.transpose()
        } else {
            self
        };
        let stride = code >> 1;
        if stride == 0 || stride > layout.cols.max(1) {
            return Err(Error::corrupt(format!(
                "stride {stride} in {} columns",
                layout.cols
            )));
        }
        Ok(Layout { stride, ..layout })
    }

    /// The first `rows` rows.
    pub(super) fn with_rows(self, rows: usize) -> Layout {
        Layout { rows, ..self }
    }

    fn transpose(self) -> Layout {
        Layout {
            rows: self.cols,
            cols: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Elements in the order of this layout, from row-major order.
    pub(super) fn apply<T: Copy>(self, values: &[T]) -> Vec<T> {
        match self.transposed {
            false => values.to_vec(),
            true => transposed(values, self.cols, self.rows),
        }
    }

    /// The inverse of [`Layout::apply`].
    pub(super) fn undo<T: Copy>(self, values: Vec<T>) -> Vec<T> {
        match self.transposed {
            false => values,
            true => transposed(&values, self.rows, self.cols),
        }
    }
}

/// A matrix of `rows` and `cols` with both exchanged.
fn transposed<T: Copy>(values: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..cols)
        .flat_map(|c| (0..rows).map(move |r| values[r * cols + c]))
        .collect()
}

/// The layouts to try for a weight that follows one with `previous_rows` outputs.
pub(super) fn candidates(plain: Layout, previous_rows: Option<usize>) -> Vec<Layout> {
    if plain.is_vector() || plain.cols < 2 {
        return vec![plain];
    }
    let mut strides = vec![1];
    if plain.kernel > 1 {
        strides.push(plain.kernel);
    } else {
        // Columns may be the pixels of images: of grey ones, of coloured ones, of the channels of
        // the layer before.
        for channels in [Some(1), Some(3), previous_rows].into_iter().flatten() {
            if channels == 0 || !plain.cols.is_multiple_of(channels) {
                continue;
            }
            let area = plain.cols / channels;
            let side = area.isqrt();
            if side * side == area {
                strides.extend([side, area]);
            }
        }
    }
    strides.retain(|&s| s > 0 && s < plain.cols);
    strides.sort_unstable();
    strides.dedup();
    let mut all: Vec<Layout> = strides
        .iter()
        .map(|&stride| Layout { stride, ..plain })
        .collect();
    if plain.kernel == 1 {
        all.push(plain.transpose());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_round_trip() {
        for (shape, previous, strides) in [
            (&[300, 784][..], None, vec![1, 28, 1]),
            (&[10, 4, 3, 3], Some(4), vec![1, 9]),
            (&[500, 800], Some(50), vec![1, 4, 16, 1]),
            (&[7], None, vec![1]),
            (&[], None, vec![1]),
            (&[3, 2], Some(0), vec![1, 1]),
            (&[0, 5], None, vec![1, 1]),
        ] {
            let plain = Layout::of(shape);
            let all = candidates(plain, previous);
            assert_eq!(
                all.iter().map(|l| l.stride).collect::<Vec<_>>(),
                strides,
                "{shape:?}"
            );
            let n: usize = shape.iter().product();
            let values: Vec<usize> = (0..n).collect();
            for layout in all {
                assert_eq!(layout.undo(layout.apply(&values)), values, "{shape:?}");
                assert_eq!(plain.with_code(layout.code()).unwrap(), layout);
            }
        }
        assert!(Layout::of(&[2, 3]).with_code(0).is_err());
        assert!(Layout::of(&[2, 3]).with_code(8).is_err());
    }
}
