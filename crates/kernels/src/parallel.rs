//! Threads: rayon's current pool, work cut into pieces that do not depend on how many threads it
//! has, and scratch memory that is kept between calls.

use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

use rayon::prelude::*;

/// Work below this many elementary operations stays on the calling thread: it is done in some tens
/// of microseconds, and waking other threads takes a good part of that.
pub(crate) const PARALLEL_WORK: usize = 1 << 18;

/// Whether `work` elementary operations are worth handing to the pool.
pub(crate) fn worth_threads(work: usize) -> bool {
    work >= PARALLEL_WORK && rayon::current_num_threads() > 1
}

/// Calls `f(i)` for `i` in `0..n`; `work` is the cost of all of it, in elementary operations.
pub(crate) fn for_each(n: usize, work: usize, f: impl Fn(usize) + Send + Sync) {
    if n > 1 && worth_threads(work) {
        (0..n).into_par_iter().with_max_len(1).for_each(f);
    } else {
        (0..n).for_each(f);
    }
}

/// Threads of the current pool.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `f` with each of `items`, at the same time as far as there are threads. The calls may use the
/// pool, too: a thread that is done helps those that are not.
pub fn each<T: Send>(items: &mut [T], f: impl Fn(&mut T) + Send + Sync) {
    match items {
        [one] => f(one),
        many => many.par_iter_mut().with_max_len(1).for_each(f),
    }
}

/// Calls `f(i, chunk)` for each run of `chunk_len` elements of `y`; the last may be shorter.
pub(crate) fn for_each_chunk<T: Send>(
    y: &mut [T],
    chunk_len: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    if y.is_empty() {
        return;
    }
    let chunk_len = chunk_len.max(1);
    if y.len() > chunk_len && worth_threads(work) {
        let chunks = y.par_chunks_mut(chunk_len).with_max_len(1);
        chunks.enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        y.chunks_mut(chunk_len)
            .enumerate()
            .for_each(|(i, chunk)| f(i, chunk));
    }
}

/// As [`for_each_chunk`], over the same chunks of two slices of one length.
pub(crate) fn for_each_chunk2(
    a: &mut [f32],
    b: &mut [f32],
    chunk_len: usize,
    work: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
) {
    if a.len() > chunk_len && worth_threads(work) {
        let chunks = a.par_chunks_mut(chunk_len).zip(b.par_chunks_mut(chunk_len));
        chunks.enumerate().for_each(|(i, (a, b))| f(i, a, b));
    } else {
        let chunks = a.chunks_mut(chunk_len).zip(b.chunks_mut(chunk_len));
        chunks.enumerate().for_each(|(i, (a, b))| f(i, a, b));
    }
}

/// As [`for_each_chunk`], over the same chunks of three slices of one length.
pub(crate) fn for_each_chunk3(
    a: &mut [f32],
    b: &mut [f32],
    c: &mut [f32],
    chunk_len: usize,
    work: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32], &mut [f32]) + Send + Sync,
) {
    if a.len() > chunk_len && worth_threads(work) {
        let chunks = a.par_chunks_mut(chunk_len).zip(b.par_chunks_mut(chunk_len));
        let chunks = chunks.zip(c.par_chunks_mut(chunk_len));
        chunks
            .enumerate()
            .for_each(|(i, ((a, b), c))| f(i, a, b, c));
    } else {
        let chunks = a.chunks_mut(chunk_len).zip(b.chunks_mut(chunk_len));
        let chunks = chunks.zip(c.chunks_mut(chunk_len));
        chunks
            .enumerate()
            .for_each(|(i, ((a, b), c))| f(i, a, b, c));
    }
}

/// `[f(0), …, f(n - 1)]`, for partial results that the caller merges in order.
pub(crate) fn map<R: Send>(n: usize, work: usize, f: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
    if n > 1 && worth_threads(work) {
        (0..n).into_par_iter().with_max_len(1).map(f).collect()
    } else {
        (0..n).map(f).collect()
    }
}

/// Calls `f` with `len` floats of undefined (but initialised) content, kept by the thread, for use
/// within one task.
///
/// Nested calls on one thread are safe but allocate, so a task asks once.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    with_buffer(&SCRATCH, len, f)
}

/// As [`with_scratch`], for what all tasks of a call share; the thread that calls may run tasks.
pub(crate) fn with_call_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    with_buffer(&SCRATCH, len, f)
}

/// As [`with_scratch`], for operands that are rounded before a call that has scratch of its own.
pub(crate) fn with_operand_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    with_buffer(&SCRATCH, len, f)
}

/// Floats in a cache line, on most processors.
const CACHE_LINE: usize = 16;

fn with_buffer<R>(
    slot: &'static LocalKey<Cell<Vec<f32>>>,
    len: usize,
    f: impl FnOnce(&mut [f32]) -> R,
) -> R {
    let mut buffer = slot.take();
    if buffer.len() < len + CACHE_LINE {
        buffer.resize(len + CACHE_LINE, 0.0);
    }
    // A vector across two cache lines takes two loads; rows that could begin with a line should.
    let start = buffer.as_ptr().align_offset(size_of::<[f32; CACHE_LINE]>());
    let result = f(&mut buffer[start..start + len]);
    slot.set(buffer);
    result
}

/// Cuts `0..total` into the least number of pieces no longer than `most`, of nearly equal length.
pub(crate) fn pieces(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let n = total.div_ceil(most);
    (0..n).map(move |i| piece(total, n, i))
}

/// Piece `i` of the `n` of nearly equal length that `0..total` is cut into.
#[inline(always)]
pub(crate) fn piece(total: usize, n: usize, i: usize) -> Range<usize> {
    i * total / n..(i + 1) * total / n
}

/// A pointer into memory whose disjoint parts are written by different threads.
///
/// Whoever makes one promises that no two calls that may run at the same time touch the same
/// element, and that the memory outlives them.
#[derive(Debug)]
pub(crate) struct SharedMut<T = f32>(*mut T);

impl<T> Clone for SharedMut<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedMut<T> {}

// SAFETY: see the type: concurrent uses touch disjoint elements.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(crate) fn new(data: &mut [T]) -> Self {
        SharedMut(data.as_mut_ptr())
    }

    /// The pointer `offset` elements further on.
    ///
    /// # Safety
    /// `offset` is within the slice this was made of.
    pub(crate) unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: the caller stays within the slice.
        unsafe { self.0.add(offset) }
    }
}
