//! Threads: work cut into pieces that do not depend on how many threads there are, and scratch memory
//! that is kept between calls.

use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

use rayon::prelude::*;

use crate::crew;

/// Work below this many elementary operations stays on the calling thread: it is done in some
/// microseconds.
pub(crate) const PARALLEL_WORK: usize = 1 << 17;

/// The same where others stand by for the next piece of work and need not be woken.
const STANDING_WORK: usize = 1 << 11;

/// Whether `work` elementary operations are worth sharing with other threads.
pub(crate) fn worth_threads(work: usize) -> bool {
    work >= PARALLEL_WORK && rayon::current_num_threads() > 1
}

/// Calls `f(i)` for `i` in `0..n`; `work` is the cost of all of it, in elementary operations.
pub(crate) fn for_each(n: usize, work: usize, f: impl Fn(usize) + Send + Sync) {
    if n > 1 && (worth_threads(work) || work >= STANDING_WORK && crew::stands_by()) {
        crew::share(n, &f);
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
    let y = Chunks::of(y, chunk_len);
    // SAFETY: each number comes once.
    for_each(y.n(), work, |i| f(i, unsafe { y.chunk(i) }));
}

/// As [`for_each_chunk`], over the same chunks of two slices of one length.
pub(crate) fn for_each_chunk2(
    a: &mut [f32],
    b: &mut [f32],
    chunk_len: usize,
    work: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
) {
    let (a, b) = (Chunks::of(a, chunk_len), Chunks::of(b, chunk_len));
    // SAFETY: each number comes once.
    let call = |i| unsafe { f(i, a.chunk(i), b.chunk(i)) };
    for_each(a.n().min(b.n()), work, call);
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
    let (a, b) = (Chunks::of(a, chunk_len), Chunks::of(b, chunk_len));
    let c = Chunks::of(c, chunk_len);
    // SAFETY: each number comes once.
    let call = |i| unsafe { f(i, a.chunk(i), b.chunk(i), c.chunk(i)) };
    for_each(a.n().min(b.n()).min(c.n()), work, call);
}

/// `[f(0), …, f(n - 1)]`, for partial results that the caller merges in order.
pub(crate) fn map<R: Send>(n: usize, work: usize, f: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = (0..n).map(|_| None).collect();
    for_each_chunk(&mut results, 1, work, |i, result| result[0] = Some(f(i)));
    let result = |r: Option<R>| r.expect("each call leaves a result");
    results.into_iter().map(result).collect()
}

/// A slice in chunks of one length, but for the last, that different threads may have.
struct Chunks<'a, T> {
    data: SharedMut<T>,
    len: usize,
    chunk_len: usize,
    slice: std::marker::PhantomData<&'a mut ()>,
}

impl<'a, T> Chunks<'a, T> {
    fn of(data: &'a mut [T], chunk_len: usize) -> Self {
        Chunks {
            len: data.len(),
            data: SharedMut::new(data),
            chunk_len: chunk_len.max(1),
            slice: std::marker::PhantomData,
        }
    }

    /// Number of chunks.
    fn n(&self) -> usize {
        self.len.div_ceil(self.chunk_len)
    }

    /// Chunk number `i`.
    ///
    /// # Safety
    /// No chunk is asked for twice.
    ///
    /// # Panics
    /// When there is none of this number.
    #[allow(clippy::mut_from_ref, reason = "each chunk is handed out once")]
    unsafe fn chunk(&self, i: usize) -> &mut [T] {
        let begin = i * self.chunk_len;
        assert!(begin < self.len, "there are {} chunks", self.n());
        let len = self.chunk_len.min(self.len - begin);
        // SAFETY: within the slice that this borrows, and disjoint from the other chunks.
        unsafe { std::slice::from_raw_parts_mut(self.data.at(begin), len) }
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
