//! Threads that stand by between two pieces of parallel work.
//!
//! A network of one image is many layers of some microseconds each. To wake a sleeping thread takes longer
//! than such a layer, on a virtual machine several times as long, so a thread that has helped with one stays
//! a moment and looks out for the next. Threads are those of rayon's pool, which are asked to come and go
//! back to it when nothing has come up for [`LINGER`], and after [`STAY`] in any case, for rayon may have
//! something for them; whoever calls does not wait for them to arrive, but
//! works through the pieces with those that are there.
//!
//! Each thread begins in a part of the pieces that is its own and goes on in those of others when it is
//! done. So the same thread works on the same rows of an image in layer after layer, and finds them in the cache
//! of its core; a core that has to fetch them from another takes longer than it saves.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// How long a thread stands by. Between two layers go some microseconds; what is not parallel in a
/// training step takes longer now and then.
const LINGER: Duration = Duration::from_micros(100);
/// How long a thread stands by and helps before it looks at what else rayon has for it: whether what
/// it waits for is done, above all, if it came while it waited.
const STAY: Duration = Duration::from_millis(5);
/// Most parts of a task; more threads than that begin in one together.
const PARTS: usize = 16;
/// Looks at the state before the clock is read, or another thread is let through.
const LOOKS: u32 = 64;

/// Pieces can be had.
const OPEN: u64 = 1 << 31;
/// Threads at work, the lower bits of the state.
const AT_WORK: u64 = OPEN - 1;

/// One thread that has work to share, and those that help it.
struct Crew {
    /// The number of the task in the upper 32 bits, whether it is [`OPEN`], and how many helpers are at work
    /// on it. The thread that leads opens and closes, helpers come in while it is open.
    state: AtomicU64,
    /// Written while nobody is at work and it is closed; read by who is at work.
    task: UnsafeCell<Task>,
    /// Pieces that nobody has taken, in parts: the first, and the one after the last in the upper 32 bits. Who
    /// has the part takes from its front, others from its back.
    parts: [Part; PARTS],
    /// Helpers that stand by, or have been asked to come.
    helpers: AtomicUsize,
    /// The thread that leads: what it has put into its own queue must not make it help itself.
    leader: ThreadId,
    /// What a helper's piece panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Pieces of work, by their numbers.
#[derive(Clone, Copy)]
struct Task {
    call: *const (dyn Fn(usize) + Sync),
    /// Parts that the pieces are in.
    parts: usize,
}

/// A range of pieces, on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Part(AtomicU64);

impl Part {
    fn fill(&self, pieces: std::ops::Range<usize>) {
        let range = (pieces.end as u64) << 32 | pieces.start as u64;
        self.0.store(range, Ordering::Relaxed);
    }

    /// Takes a piece from the front, or from the back.
    fn take(&self, front: bool) -> Option<usize> {
        let mut range = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (range & 0xffff_ffff, range >> 32);
            if first >= end {
                return None;
            }
            let (piece, less) = match front {
                true => (first, range + 1),
                false => (end - 1, range - (1 << 32)),
            };
            let order = Ordering::Relaxed;
            match self.0.compare_exchange_weak(range, less, order, order) {
                Ok(_) => return Some(piece as usize),
                Err(now) => range = now,
            }
        }
    }
}

// SAFETY: `task` is written by the leader only while the state is closed and nobody is at work, and read
// only by helpers that have come in while it was open. Opening and coming in are a release and an acquire
// of the state, and so are leaving and the leader's look that finds nobody at work. What the task points to
// may be called from any thread (`Sync`).
unsafe impl Sync for Crew {}
// SAFETY: as above; the pointer is not used but under that rule.
unsafe impl Send for Crew {}

thread_local! {
    /// The crew of this thread, and whether the thread is within a piece, or leads.
    static CREW: (Arc<Crew>, Cell<bool>) = (Arc::new(Crew::new()), const { Cell::new(false) });
}

/// Calls `f(i)` once for each `i` in `0..n`, on this thread and on others of the pool; if one panics, some
/// may not be called. A call from within a piece stays on its thread.
///
/// # Panics
/// As `f` does, and when there are 2^32 pieces or more.
pub(crate) fn share(n: usize, f: &(dyn Fn(usize) + Sync)) {
    assert!(u32::try_from(n).is_ok(), "{n} pieces are too small ones");
    if n == 0 {
        return;
    }
    CREW.with(|(crew, busy)| {
        if busy.replace(true) {
            return (0..n).for_each(f);
        }
        let caught = crew.lead(n, f);
        busy.set(false);
        if let Err(panic) = caught {
            resume_unwind(panic);
        }
    });
}

impl Crew {
    fn new() -> Crew {
        fn nothing(_: usize) {}
        Crew {
            state: AtomicU64::new(0),
            task: UnsafeCell::new(Task {
                call: &nothing,
                parts: 0,
            }),
            parts: Default::default(),
            helpers: AtomicUsize::new(0),
            leader: std::thread::current().id(),
            panic: Mutex::new(None),
        }
    }

    /// Works through a task with whoever helps. Errs with what a piece panicked with.
    fn lead(self: &Arc<Crew>, n: usize, f: &(dyn Fn(usize) + Sync)) -> std::thread::Result<()> {
        let threads = rayon::current_num_threads().min(n);
        self.call_helpers(threads - 1);
        let parts = threads.min(PARTS);
        // SAFETY: only the lifetime changes. Helpers use the pointer while they are at work, and this
        // function returns after all of them have left and none can come in any more.
        let call: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(f as *const _) };
        // SAFETY: the last task is closed and nobody is at work on it, so nobody reads.
        unsafe { *self.task.get() = Task { call, parts } };
        for (i, part) in self.parts[..parts].iter().enumerate() {
            part.fill(i * n / parts..(i + 1) * n / parts);
        }
        let number = (self.state.load(Ordering::Relaxed) >> 32) as u32;
        let number = u64::from(number.wrapping_add(1));
        self.state.store(number << 32 | OPEN, Ordering::Release);
        let own = catch_unwind(AssertUnwindSafe(|| self.work(0, parts, f)));
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0;
        while self.state.load(Ordering::Acquire) & AT_WORK > 0 {
            pause(&mut looks);
        }
        let helper = self.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        own.and(helper.map_or(Ok(()), Err))
    }

    /// Takes pieces while there are any: those of the part of this thread, then those of the others.
    fn work(&self, own: usize, parts: usize, f: &(dyn Fn(usize) + Sync)) {
        for i in 0..parts {
            let part = &self.parts[(own + i) % parts];
            while let Some(piece) = part.take(i == 0) {
                f(piece);
            }
        }
    }

    /// Asks threads to come until so many have been asked or are there.
    fn call_helpers(self: &Arc<Crew>, most: usize) {
        while self.helpers.load(Ordering::Relaxed) < most {
            let number = self.helpers.fetch_add(1, Ordering::Relaxed);
            let crew = Arc::clone(self);
            rayon::spawn(move || {
                if std::thread::current().id() != crew.leader {
                    crew.stand_by(number + 1);
                }
                crew.helpers.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// Helps with one task after the other, beginning with the same part of each, until there has been
    /// none for a while.
    fn stand_by(&self, part: usize) {
        let begin = Instant::now();
        let (mut done, mut looks, mut since) = (u64::MAX, 0, begin);
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & OPEN > 0 && state >> 32 != done {
                let come = state + 1;
                let order = (Ordering::Acquire, Ordering::Relaxed);
                if self
                    .state
                    .compare_exchange(state, come, order.0, order.1)
                    .is_ok()
                {
                    self.help(part);
                    (done, looks, since) = (state >> 32, 0, Instant::now());
                    if since - begin > STAY {
                        return;
                    }
                }
                continue;
            }
            if pause(&mut looks) && since.elapsed() > LINGER {
                return;
            }
        }
    }

    /// Works on the task that this thread has come in for, and leaves it.
    fn help(&self, part: usize) {
        // SAFETY: this thread is at work, so the leader writes no task, and has not returned from the
        // call that keeps what the task points to alive.
        let (task, f) = unsafe {
            let task = *self.task.get();
            (task, &*task.call)
        };
        // Whatever happens, the leader waits for this.
        let _leaves = Leaves(&self.state);
        let work = || self.work(part % task.parts, task.parts, f);
        // A thread may have come while it waited for something within a piece of its own.
        let was_busy = CREW.with(|(_, busy)| busy.replace(true));
        let result = catch_unwind(AssertUnwindSafe(work));
        CREW.with(|(_, busy)| busy.set(was_busy));
        if let Err(panic) = result {
            let mut first = self.panic.lock().unwrap_or_else(|e| e.into_inner());
            first.get_or_insert(panic);
        }
    }
}

/// Says that a helper has left when it is dropped.
struct Leaves<'a>(&'a AtomicU64);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Waits for an instant; true from time to time, when another thread has been let through.
fn pause(looks: &mut u32) -> bool {
    *looks += 1;
    if !looks.is_multiple_of(LOOKS) {
        std::hint::spin_loop();
        return false;
    }
    // Where there are more threads than processors, the one that is waited for may be waiting for this.
    std::thread::yield_now();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn pool(threads: usize) -> rayon::ThreadPool {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
    }

    /// Every piece once, whatever the number of threads and of pieces, and however the tasks follow each other.
    #[test]
    fn every_piece_is_done_once() {
        for threads in [1, 2, 3, 8] {
            pool(threads).install(|| {
                for round in 0..2000 {
                    let n = 1 + round % 37;
                    let done: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                    share(n, &|i| {
                        done[i].fetch_add(1 + i, Ordering::Relaxed);
                    });
                    let right = |(i, d): (usize, &AtomicUsize)| d.load(Ordering::Relaxed) == 1 + i;
                    assert!(done.iter().enumerate().all(right), "{threads} {round}");
                    if round % 500 == 0 {
                        std::thread::sleep(2 * LINGER);
                    }
                }
            });
        }
    }

    /// Several leaders share the helpers of one pool, and pieces have pieces of their own.
    #[test]
    fn leaders_side_by_side_and_one_within_another() {
        let pool = pool(3);
        let total = AtomicUsize::new(0);
        pool.scope(|s| {
            for _ in 0..4 {
                s.spawn(|_| {
                    for _ in 0..200 {
                        share(5, &|_| {
                            share(3, &|i| {
                                total.fetch_add(i, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 200 * 5 * 3);
    }

    #[test]
    fn others_do_come_to_help() {
        pool(2).install(|| {
            let leader = std::thread::current().id();
            let both = || {
                let threads = Mutex::new(Vec::new());
                share(64, &|_| {
                    threads.lock().unwrap().push(std::thread::current().id());
                    std::thread::sleep(Duration::from_micros(50));
                });
                threads.into_inner().unwrap().iter().any(|t| *t != leader)
            };
            assert!((0..100).any(|_| both()));
        });
    }

    #[test]
    fn a_panic_comes_out_and_the_crew_goes_on() {
        pool(2).install(|| {
            for bad in 0..64 {
                let caught = catch_unwind(|| {
                    share(64, &|i| assert_ne!(i, bad, "piece {i}"));
                });
                let panic = caught.unwrap_err();
                let message = panic.downcast_ref::<String>().unwrap();
                assert!(message.contains(&format!("piece {bad}")), "{message}");
                let sum = AtomicUsize::new(0);
                share(64, &|i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
                assert_eq!(sum.into_inner(), 63 * 32);
            }
        });
    }
}
