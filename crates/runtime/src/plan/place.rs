//! Which buffer holds which value: one pass over the steps in running order.
//!
//! A buffer is used again as soon as the value in it has been read for the last time; among free
//! buffers the one whose size fits best is taken.

use bantam_core::DType;

use super::Place;

/// A value's storage before buffers are given out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Storage {
    /// It has its place already.
    Given(Place),
    /// So many elements.
    Plain(DType, usize),
    /// Floats that begin with a cache line.
    Image(usize),
    /// Bytes that begin with a cache line.
    Bytes(usize),
}

impl Storage {
    fn size_bytes(self) -> usize {
        match self {
            Storage::Given(_) => 0,
            Storage::Plain(dtype, len) => len * dtype.size_bytes(),
            Storage::Image(len) => len * size_of::<f32>(),
            Storage::Bytes(len) => len,
        }
    }
}

/// A buffer that several values use in turn.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) dtype: DType,
    pub(crate) len: usize,
}

/// What the values of a plan live in.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) slots: Vec<Slot>,
    /// Lengths of the buffers for images, of floats and of bytes.
    pub(super) images: Vec<usize>,
    pub(super) bytes: Vec<usize>,
    pub(super) without_reuse_bytes: usize,
}

/// Reads and writes of a step, as numbers of storages.
pub(super) struct Use {
    pub(super) reads: Vec<usize>,
    pub(super) writes: Vec<usize>,
}

/// Gives each storage a place. Storages in `kept` are read after all steps.
pub(super) fn place(storages: &[Storage], uses: &[Use], kept: &[usize]) -> (Vec<Place>, Buffers) {
    let mut last = vec![0; storages.len()];
    for (i, step) in uses.iter().enumerate() {
        step.reads
            .iter()
            .chain(&step.writes)
            .for_each(|&s| last[s] = i);
    }
    kept.iter().for_each(|&s| last[s] = usize::MAX);
    let mut buffers = Buffers::default();
    let (mut free_slots, mut free_images, mut free_bytes) = (Vec::new(), Vec::new(), Vec::new());
    let mut places: Vec<Option<Place>> = storages
        .iter()
        .map(|s| match s {
            Storage::Given(place) => Some(*place),
            _ => None,
        })
        .collect();
    for (i, step) in uses.iter().enumerate() {
        for &s in &step.writes {
            buffers.without_reuse_bytes += storages[s].size_bytes();
            match storages[s] {
                Storage::Given(_) => {}
                Storage::Plain(dtype, len) => {
                    let slots = &buffers.slots;
                    let size = |i: usize| (slots[i].dtype == dtype).then_some(slots[i].len);
                    let slot = best(&mut free_slots, len, size).unwrap_or_else(|| {
                        buffers.slots.push(Slot { dtype, len: 0 });
                        buffers.slots.len() - 1
                    });
                    let longest = &mut buffers.slots[slot].len;
                    *longest = len.max(*longest);
                    places[s] = Some(Place::Slot(slot));
                }
                Storage::Image(len) => {
                    let at = aligned(&mut free_images, &mut buffers.images, len);
                    places[s] = Some(Place::Image(at));
                }
                Storage::Bytes(len) => {
                    let at = aligned(&mut free_bytes, &mut buffers.bytes, len);
                    places[s] = Some(Place::Bytes(at));
                }
            }
        }
        let mut done: Vec<usize> = step.reads.iter().chain(&step.writes).copied().collect();
        done.sort_unstable();
        done.dedup();
        for s in done.into_iter().filter(|&s| last[s] == i) {
            match places[s] {
                Some(Place::Slot(slot)) => free_slots.push(slot),
                Some(Place::Image(image)) => free_images.push(image),
                Some(Place::Bytes(image)) => free_bytes.push(image),
                _ => {}
            }
        }
    }
    let places = places
        .into_iter()
        .map(|p| p.unwrap_or(Place::Nowhere))
        .collect();
    (places, buffers)
}

/// A buffer of at least `len`: a free one, made longer if need be, or a new one.
fn aligned(free: &mut Vec<usize>, lengths: &mut Vec<usize>, len: usize) -> usize {
    let at = best(free, len, |i| Some(lengths[i])).unwrap_or_else(|| {
        lengths.push(0);
        lengths.len() - 1
    });
    lengths[at] = lengths[at].max(len);
    at
}

/// Takes the free buffer that fits `len` best, of those that have a size.
fn best(free: &mut Vec<usize>, len: usize, size: impl Fn(usize) -> Option<usize>) -> Option<usize> {
    let cost = |size: usize| match size >= len {
        true => (0, size - len),
        false => (1, len - size),
    };
    let fits = |i: usize| size(free[i]).map(|size| (cost(size), i));
    let (_, i) = (0..free.len()).filter_map(fits).min()?;
    Some(free.swap_remove(i))
}
