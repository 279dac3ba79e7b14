//! The order of an epoch, and augmentation.
//!
//! Both are functions of the seed, the epoch and the row: the same on any number of threads, and
//! the same when a run is resumed.

use crate::encode::Targets;
use crate::error::{Error, ErrorKind, Result};
use crate::rng::{Rng, hash};
use crate::source::Source;

/// Random changes to images that do not change what they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Augment {
    /// Moves by up to so many pixels, each way.
    pub shift: usize,
    /// Mirrors left and right, every other time.
    pub flip: bool,
    /// Pads by so many pixels on every side and crops to the old size at a random place.
    pub crop: Option<usize>,
}

impl Augment {
    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        *self == Augment::default()
    }

    /// Changes the image `x: [c, h, w]` in place. What comes in from outside is `border[c]`, or 0.
    /// The change is a function of `rng` only.
    ///
    /// # Panics
    /// When `x` has not `c * h * w` values.
    pub fn apply(&self, x: &mut [f32], [c, h, w]: [usize; 3], border: &[f32], rng: &mut Rng) {
        assert_eq!(
            x.len(),
            c * h * w,
            "an image has one value per pixel and channel"
        );
        let mut down = 0;
        let mut right = 0;
        for reach in [self.shift, self.crop.unwrap_or(0)] {
            if reach > 0 {
                let reach = reach.min(h.max(w)) as i64;
                let sides = 2 * reach as u64 + 1;
                down += rng.below(sides) as i64 - reach;
                right += rng.below(sides) as i64 - reach;
            }
        }
        let mirror = self.flip && rng.bits() & 1 == 1;
        if h * w == 0 {
            return;
        }
        for (channel, plane) in x.chunks_exact_mut(h * w).enumerate() {
            let fill = border.get(channel).copied().unwrap_or(0.0);
            shift(plane, w, down as isize, right as isize, fill);
            if mirror {
                plane.chunks_exact_mut(w).for_each(<[f32]>::reverse);
            }
        }
    }
}

/// Moves a plane of rows of `w` pixels, in place.
fn shift(plane: &mut [f32], w: usize, down: isize, right: isize, fill: f32) {
    let len = plane.len();
    let (rows, columns) = (down.unsigned_abs() * w, right.unsigned_abs());
    if rows >= len || columns >= w {
        plane.fill(fill);
        return;
    }
    // One move of the whole plane; what it wraps around from the next row is painted over.
    let by = rows as isize * down.signum() + columns as isize * right.signum();
    let distance = by.unsigned_abs();
    match by {
        0 => {}
        1.. => plane.copy_within(..len - distance, distance),
        _ => plane.copy_within(distance.., 0),
    }
    let moved = match down {
        0.. => rows..len,
        _ => 0..len - rows,
    };
    let (kept, painted) = match down {
        0.. => (moved, 0..rows),
        _ => (moved.clone(), moved.end..len),
    };
    plane[painted].fill(fill);
    if columns > 0 {
        for row in plane[kept].chunks_exact_mut(w) {
            match right {
                0.. => row[..columns].fill(fill),
                _ => row[w - columns..].fill(fill),
            }
        }
    }
}

/// How a source is walked through, epoch by epoch.
#[derive(Clone, Copy)]
pub struct Batches<'a> {
    /// What is walked through.
    pub source: &'a dyn Source,
    /// What order and augmentation depend on.
    pub seed: u64,
    /// Rows of a batch; the last one may be smaller.
    pub batch_size: usize,
    /// Whether the rows come in random order.
    pub shuffle: bool,
    /// Random changes to images.
    pub augment: Augment,
}

/// What keeps the random numbers of orders and of augmentation apart.
const ORDER: u64 = 1;
const AUGMENT: u64 = 2;
/// Blocks that are shuffled together when a source is best read in blocks.
const BLOCKS: usize = 64;

impl<'a> Batches<'a> {
    /// Batches of `batch_size` rows in the order of the source, without augmentation.
    pub fn new(source: &'a dyn Source, batch_size: usize) -> Batches<'a> {
        Batches {
            source,
            seed: 0,
            batch_size,
            shuffle: false,
            augment: Augment::default(),
        }
    }

    /// Number of batches of an epoch.
    pub fn count(&self) -> usize {
        self.source.len().div_ceil(self.batch_size.max(1))
    }

    /// The rows in the order of epoch number `epoch`.
    ///
    /// Sources in memory are shuffled evenly. A source with a [`block`](Source::block) is shuffled
    /// block by block, and then row by row within each 64 blocks, so that a file is read in
    /// stretches.
    ///
    /// # Panics
    /// When the source has 2^32 rows or more.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let n = u32::try_from(self.source.len()).expect("fewer than 2^32 rows");
        if !self.shuffle {
            return (0..n).collect();
        }
        let mut rng = Rng::new(self.seed, hash(ORDER, epoch));
        let block = self
            .source
            .block()
            .map_or(n, |b| b.clamp(1, u32::MAX as usize) as u32);
        if block >= n {
            let mut order: Vec<u32> = (0..n).collect();
            rng.shuffle(&mut order);
            return order;
        }
        let mut blocks: Vec<u32> = (0..n.div_ceil(block)).collect();
        rng.shuffle(&mut blocks);
        let mut order = Vec::with_capacity(n as usize);
        for window in blocks.chunks(BLOCKS) {
            let begin = order.len();
            for &b in window {
                let first = b * block;
                order.extend(first..first.saturating_add(block).min(n));
            }
            rng.shuffle(&mut order[begin..]);
        }
        order
    }

    /// Replaces `x` by the samples of `rows`, changed as [`Augment`] says, and `y` by their targets.
    /// The change of a row depends on the seed, the epoch and the row, not on its batch.
    ///
    /// Errs when the source does, and when samples to be changed are not images.
    pub fn read(&self, epoch: u64, rows: &[u32], x: &mut Vec<f32>, y: &mut Targets) -> Result<()> {
        let places: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
        self.source.read(&places, x, y)?;
        if self.augment.is_none() {
            return Ok(());
        }
        let &[c, h, w] = self.source.sample_shape() else {
            let message = format!(
                "expected images [c, h, w] to shift or flip, found samples of shape {:?}",
                self.source.sample_shape()
            );
            return Err(Error::new(ErrorKind::Shape, message));
        };
        let seed = hash(self.seed, hash(AUGMENT, epoch));
        let border = self.source.border();
        for (image, &row) in x.chunks_exact_mut((c * h * w).max(1)).zip(rows) {
            let mut rng = Rng::new(seed, u64::from(row));
            self.augment.apply(image, [c, h, w], border, &mut rng);
        }
        Ok(())
    }

    /// The batches of an epoch, each with the position of its first row in the order.
    pub fn epoch(&self, epoch: u64) -> Epoch<'a> {
        Epoch {
            batches: *self,
            epoch,
            order: self.order(epoch),
            next: 0,
        }
    }
}

/// The batches of one epoch.
pub struct Epoch<'a> {
    batches: Batches<'a>,
    epoch: u64,
    order: Vec<u32>,
    next: usize,
}

impl Epoch<'_> {
    /// Reads the next batch into `x` and `y` and returns its number of rows; 0 at the end.
    ///
    /// Errs as [`Batches::read`] does.
    pub fn read(&mut self, x: &mut Vec<f32>, y: &mut Targets) -> Result<usize> {
        let size = self.batches.batch_size.max(1);
        let end = self.next.saturating_add(size).min(self.order.len());
        let rows = &self.order[self.next..end];
        if !rows.is_empty() {
            self.batches.read(self.epoch, rows, x, y)?;
        }
        self.next = end;
        Ok(rows.len())
    }

    /// The rows in order.
    pub fn order(&self) -> &[u32] {
        &self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::fit_samples;
    use crate::load::Samples;
    use crate::source::{MemorySource, Subset};
    use bantam_core::Tensor;

    /// The slow twin of `shift` and the mirror: every pixel is looked up.
    fn reference(
        x: &[f32],
        w: usize,
        down: isize,
        right: isize,
        mirror: bool,
        fill: f32,
    ) -> Vec<f32> {
        let h = x.len() / w;
        let mut out = vec![fill; x.len()];
        for row in 0..h as isize {
            for column in 0..w as isize {
                let to = match mirror {
                    true => w as isize - 1 - column,
                    false => column,
                };
                let (from_row, from_column) = (row - down, column - right);
                if (0..h as isize).contains(&from_row) && (0..w as isize).contains(&from_column) {
                    out[(row * w as isize + to) as usize] =
                        x[(from_row * w as isize + from_column) as usize];
                }
            }
        }
        out
    }

    #[test]
    fn shifts_as_the_slow_twin_does() {
        for (h, w) in [(5, 7), (1, 4), (4, 1), (6, 6)] {
            let x: Vec<f32> = (1..=h * w).map(|i| i as f32).collect();
            for down in -7..=7 {
                for right in -8..=8 {
                    let mut fast = x.clone();
                    shift(&mut fast, w, down, right, -1.0);
                    let slow = reference(&x, w, down, right, false, -1.0);
                    assert_eq!(fast, slow, "{h} x {w}, down {down}, right {right}");
                }
            }
        }
    }

    #[test]
    fn augments_as_the_slow_twin_does() {
        let x: Vec<f32> = (0..2 * 6 * 5).map(|i| i as f32).collect();
        let augment = Augment {
            shift: 2,
            flip: true,
            crop: Some(1),
        };
        let mut seen = std::collections::HashSet::new();
        for row in 0..200 {
            let mut fast = x.clone();
            augment.apply(&mut fast, [2, 6, 5], &[-1.0, -2.0], &mut Rng::new(1, row));
            let mut rng = Rng::new(1, row);
            let mut draw = |reach: i64| rng.below(2 * reach as u64 + 1) as i64 - reach;
            let (d1, r1, d2, r2) = (draw(2), draw(2), draw(1), draw(1));
            let mirror = rng.bits() & 1 == 1;
            let (down, right) = ((d1 + d2) as isize, (r1 + r2) as isize);
            seen.insert((down, right, mirror));
            let slow = [
                reference(&x[..30], 5, down, right, mirror, -1.0),
                reference(&x[30..], 5, down, right, mirror, -2.0),
            ];
            assert_eq!(fast, slow.concat());
        }
        assert!(seen.len() > 50);
    }

    fn source(n: usize) -> MemorySource {
        let pixels = (0..n * 12).map(|i| (i % 251) as u8).collect::<Vec<u8>>();
        let samples = Samples {
            inputs: Tensor::new(&[n, 1, 3, 4], pixels).unwrap(),
            labels: (0..n as i64).map(|i| i % 2).collect(),
            classes: vec!["a".into(), "b".into()],
        };
        let schema = fit_samples(&samples, "y", &[0]).unwrap();
        MemorySource::from_samples(samples, &schema).unwrap()
    }

    struct Blocked(MemorySource);

    impl Source for Blocked {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn sample_shape(&self) -> &[usize] {
            self.0.sample_shape()
        }
        fn classes(&self) -> usize {
            self.0.classes()
        }
        fn read(&self, rows: &[usize], x: &mut Vec<f32>, y: &mut Targets) -> Result<()> {
            self.0.read(rows, x, y)
        }
        fn block(&self) -> Option<usize> {
            Some(3)
        }
    }

    #[test]
    fn orders_are_permutations_fixed_by_seed_and_epoch() {
        let plain = source(999);
        let blocked = Blocked(source(999));
        for source in [&plain as &dyn Source, &blocked] {
            let mut batches = Batches::new(source, 32);
            assert!(batches.order(3).into_iter().eq(0..999));
            batches.shuffle = true;
            let order = batches.order(3);
            assert_eq!(order, batches.order(3));
            assert_ne!(order, batches.order(4));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..999));
            batches.seed = 1;
            assert_ne!(order, batches.order(3));
            assert_eq!(batches.count(), 32);
        }
        let mut batches = Batches::new(&blocked, 32);
        batches.shuffle = true;
        let mut window: Vec<u32> = batches.order(0)[..192].iter().map(|r| r / 3).collect();
        window.sort_unstable();
        window.dedup();
        assert_eq!(window.len(), 64, "the first rows come from 64 blocks");
    }

    #[test]
    fn rows_are_changed_alike_in_any_batch() {
        let source = source(50);
        let mut batches = Batches::new(&source, 7);
        batches.augment.shift = 1;
        let read = |rows: &[u32]| {
            let (mut x, mut y) = (Vec::new(), Targets::empty(2));
            batches.read(5, rows, &mut x, &mut y).unwrap();
            x
        };
        let all = read(&[4, 9, 30]);
        assert_eq!(all, [read(&[4]), read(&[9]), read(&[30])].concat());
        let plain = Batches::new(&source, 7);
        let (mut x, mut y) = (Vec::new(), Targets::empty(2));
        plain.read(5, &[4, 9, 30], &mut x, &mut y).unwrap();
        assert_ne!(all, x);
    }

    #[test]
    fn an_epoch_visits_every_row_once() {
        let source = source(50);
        let subset = Subset::new(&source, (10..33).collect()).unwrap();
        let mut batches = Batches::new(&subset, 7);
        batches.shuffle = true;
        let mut epoch = batches.epoch(1);
        let (mut x, mut y) = (Vec::new(), Targets::empty(2));
        let mut sizes = Vec::new();
        loop {
            let n = epoch.read(&mut x, &mut y).unwrap();
            if n == 0 {
                break;
            }
            assert_eq!((x.len(), y.len()), (n * 12, n));
            sizes.push(n);
        }
        assert_eq!(sizes, [7, 7, 7, 2]);
    }

    #[test]
    fn rows_of_tables_cannot_be_shifted() {
        let x = Tensor::new(&[2, 3], vec![0f32; 6]).unwrap();
        let rows = MemorySource::from_rows(x, Targets::Classes(vec![0, 1]), 2).unwrap();
        let mut batches = Batches::new(&rows, 2);
        batches.augment.flip = true;
        let result = batches.read(0, &[0], &mut Vec::new(), &mut Targets::empty(2));
        assert_eq!(
            result.unwrap_err().to_string(),
            "expected images [c, h, w] to shift or flip, found samples of shape [3]"
        );
    }
}
