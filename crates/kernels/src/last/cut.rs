//! Parts of images: some of their pixels, and zeros as further channels.

use super::{CHANNEL_BLOCK, ImageShape, for_each_row};

/// Pixels `start + i * step` of images `x`, in images `y` with `before` channels of zeros in front and
/// zeros behind as far as `y` has channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The images that are cut.
    pub x: ImageShape,
    /// What is made of them.
    pub y: ImageShape,
    /// The first row and the first column.
    pub start: [usize; 2],
    /// From one row to the next, from one column to the next.
    pub step: [usize; 2],
    /// Channels of zeros in front.
    pub before: usize,
}

impl Cut {
    /// Both cuts as one: first this, then `next` of what this has made.
    pub fn then(&self, next: &Cut) -> Cut {
        let axis = |i: usize| self.start[i] + next.start[i] * self.step[i];
        Cut {
            x: self.x,
            y: next.y,
            start: [axis(0), axis(1)],
            step: [self.step[0] * next.step[0], self.step[1] * next.step[1]],
            before: self.before + next.before,
        }
    }

    /// Writes `y`, with zeros in its halo. What is behind the channels of a pixel becomes zero, too.
    ///
    /// # Panics
    /// If `y` has more rows, columns or images than there are of `x`, or fewer channels, or a slice is too
    /// short.
    pub fn run(&self, x: &[f32], y: &mut [f32]) {
        let Cut { x: from, y: to, .. } = self;
        let x = &x[..from.len()];
        if to.n * to.h * to.w == 0 {
            return to.clear_halo(y);
        }
        let last = |axis: usize, len: usize| self.start[axis] + (len - 1) * self.step[axis];
        assert!(
            to.n <= from.n && last(0, to.h) < from.h && last(1, to.w) < from.w,
            "pixels inside the images are taken"
        );
        assert!(
            self.before + from.c <= to.c,
            "all channels have room in what is made"
        );
        for_each_row(y, to, 0.0, to.len(), |row, y| {
            let (n, row) = (row / to.h, row % to.h);
            let first = from.at(n, self.start[0] + row * self.step[0], self.start[1]);
            let pixels = x[first..].chunks(self.step[1] * from.pitch);
            y.fill(0.0);
            for (pixel, y) in pixels.zip(y.chunks_exact_mut(to.pitch)) {
                copy(&pixel[..from.c], &mut y[self.before..][..from.c]);
            }
        });
    }
}

/// Copies the channels of a pixel, block by block: there are few, and a call for each takes longer.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let (blocks, rest) = from.as_chunks::<CHANNEL_BLOCK>();
    let (to_blocks, to_rest) = to.as_chunks_mut::<CHANNEL_BLOCK>();
    for (to, from) in to_blocks.iter_mut().zip(blocks) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(rest) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images `[n, h, w, c]` whose values tell where they are.
    fn images(shape: &ImageShape) -> Vec<f32> {
        let mut data = vec![f32::NAN; shape.len()];
        shape.clear_halo(&mut data);
        for n in 0..shape.n {
            for row in 0..shape.h {
                for column in 0..shape.w {
                    for c in 0..shape.c {
                        let value = ((n * 10 + row) * 10 + column) * 100 + c + 1;
                        data[shape.at(n, row, column) + c] = value as f32;
                    }
                }
            }
        }
        data
    }

    fn cut(x: ImageShape, y: [usize; 3], halo: [usize; 2]) -> Cut {
        let [h, w, c] = y;
        Cut {
            x,
            y: ImageShape {
                halo,
                ..ImageShape::new(x.n, h, w, c)
            },
            start: [0; 2],
            step: [1; 2],
            before: 0,
        }
    }

    fn run(cut: &Cut, x: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; cut.y.len()];
        cut.run(x, &mut y);
        y
    }

    #[test]
    fn each_value_comes_from_its_pixel_and_all_else_is_zero() {
        for (channels, before, start, step, size, halo) in [
            (16, 8, [0, 0], [2, 2], [4, 3], [1, 1]),
            (3, 0, [1, 2], [3, 1], [2, 5], [0, 0]),
            (17, 1, [0, 1], [1, 2], [8, 3], [2, 0]),
            (40, 0, [7, 6], [1, 1], [1, 1], [0, 1]),
        ] {
            let x = ImageShape {
                halo: [1, 2],
                ..ImageShape::new(2, 8, 7, channels)
            };
            let [h, w] = size;
            let cut = Cut {
                start,
                step,
                before,
                ..cut(x, [h, w, channels + before + 2], halo)
            };
            let (data, mut wanted) = (images(&x), vec![0.0; cut.y.len()]);
            for n in 0..2 {
                for (row, column) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
                    let [down, right] = [start[0] + row * step[0], start[1] + column * step[1]];
                    let to = cut.y.at(n, row, column) + before;
                    let from = x.at(n, down, right);
                    wanted[to..][..channels].copy_from_slice(&data[from..][..channels]);
                }
            }
            assert_eq!(run(&cut, &data), wanted, "{cut:?}");
        }
    }

    /// The shortcut of a residual network, as files of others have it: rows, columns, channels.
    #[test]
    fn cuts_one_after_the_other_are_one() {
        let x = ImageShape::new(2, 9, 7, 16);
        let rows = Cut {
            start: [1, 0],
            step: [2, 1],
            ..cut(x, [4, 7, 16], [0, 0])
        };
        let columns = Cut {
            start: [1, 1],
            step: [1, 3],
            ..cut(rows.y, [3, 2, 16], [1, 0])
        };
        let channels = Cut {
            before: 8,
            ..cut(columns.y, [3, 2, 32], [1, 1])
        };
        let more = Cut {
            before: 1,
            step: [2, 1],
            ..cut(channels.y, [2, 2, 40], [0, 0])
        };
        let data = images(&x);
        let steps = [rows, columns, channels, more];
        let apart = steps.iter().fold(data.clone(), |x, cut| run(cut, &x));
        let one = steps[1..].iter().fold(rows, |all, cut| all.then(cut));
        assert_eq!(run(&one, &data), apart);
    }

    #[test]
    #[should_panic(expected = "inside the images")]
    fn a_pixel_outside_is_refused() {
        let x = ImageShape::new(1, 4, 4, 4);
        let cut = Cut {
            start: [0, 1],
            step: [1, 2],
            ..cut(x, [4, 3, 4], [0, 0])
        };
        run(&cut, &images(&x));
    }
}
