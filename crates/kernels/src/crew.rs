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
//!
//! Two cores need some hundred cycles to pass a cache line on, so there are few to pass: a helper looks at
//! the line of its own part, where it finds the pieces and what to do with them, and says on another how many
//! it has done.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
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
/// Looks before another thread is let through for the first time, and the clock is read: most waits are
/// over by then.
const LOOKS: u32 = 512;
/// Looks from then on.
const MORE_LOOKS: u32 = 64;

/// One thread that has work to share, and those that help it.
///
/// Whoever takes pieces of a part, the leader too, has them to do: the leader does not return from a task
/// before all its pieces have been taken and done.
struct Crew {
    parts: [Part; PARTS],
    done: Done,
    /// Helpers that stand by, or have been asked to come.
    helpers: AtomicUsize,
    /// The thread that leads: what it has put into its own queue must not make it help itself.
    leader: ThreadId,
    /// What a helper's piece panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Pieces that helpers have done, on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Done(AtomicUsize);

/// What is called with the number of a piece.
type Call = *const (dyn Fn(usize) + Sync);

/// A part of the pieces of a task, on cache lines of its own.
#[repr(align(128))]
struct Part {
    /// Pieces that nobody has taken: the first, and the one after the last in the upper 32 bits. Who has
    /// the part takes from its front, others from its back.
    pieces: AtomicU64,
    /// Written by the leader while there are no pieces and all that have been taken are done; read by
    /// who has taken a piece and not yet done it.
    call: UnsafeCell<Call>,
}

impl Part {
    fn new() -> Part {
        fn nothing(_: usize) {}
        Part {
            pieces: AtomicU64::new(0),
            call: UnsafeCell::new(&nothing),
        }
    }

    /// Gives pieces out.
    ///
    /// # Safety
    /// There are none, all that were taken are done, and `call` may be called until these are.
    unsafe fn fill(&self, pieces: Range<usize>, call: Call) {
        // SAFETY: nobody has a piece that is not done, so nobody reads.
        unsafe { *self.call.get() = call };
        let range = (pieces.end as u64) << 32 | pieces.start as u64;
        self.pieces.store(range, Ordering::Release);
    }

    /// Whether there are pieces that nobody has taken.
    fn has_pieces(&self) -> bool {
        let range = self.pieces.load(Ordering::Relaxed);
        (range & 0xffff_ffff) < range >> 32
    }

    /// Takes a piece from the front, or from the back.
    fn take(&self, front: bool) -> Option<usize> {
        let mut range = self.pieces.load(Ordering::Relaxed);
        loop {
            let (first, end) = (range & 0xffff_ffff, range >> 32);
            if first >= end {
                return None;
            }
            let (piece, less) = match front {
                true => (first, range + 1),
                false => (end - 1, range - (1 << 32)),
            };
            // Whatever task the range belongs to by now, a piece of it is taken.
            let order = (Ordering::Acquire, Ordering::Relaxed);
            match self
                .pieces
                .compare_exchange_weak(range, less, order.0, order.1)
            {
                Ok(_) => return Some(piece as usize),
                Err(now) => range = now,
            }
        }
    }
}

// SAFETY: `call` of a part is written by the leader only while no piece is taken that is not done, and read
// only by who has taken one (see `Part`). Filling and taking are a release and an acquire of the pieces;
// counting what is done and the leader's look that finds all done are those of `done`. What is called may
// be called from any thread (`Sync`).
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

/// Whether a thread stands by to help this one, or has been asked to.
pub(crate) fn stands_by() -> bool {
    CREW.with(|(crew, busy)| !busy.get() && crew.helpers.load(Ordering::Relaxed) > 0)
}

/// Lets all threads of the pool meet once, as they do at each layer of a network: no piece ends before all
/// have begun, or a millisecond has passed, for a helper that was there may just have left. Does nothing
/// within a piece.
pub fn meet() {
    if CREW.with(|(_, busy)| busy.get()) {
        return;
    }
    let (threads, begun) = (rayon::current_num_threads(), AtomicUsize::new(0));
    share(threads, &|_| {
        begun.fetch_add(1, Ordering::Relaxed);
        let (start, mut waiting) = (Instant::now(), Waiting::default());
        while begun.load(Ordering::Relaxed) < threads {
            if waiting.pause() && start.elapsed() > Duration::from_millis(1) {
                return;
            }
        }
    });
}

impl Crew {
    fn new() -> Crew {
        Crew {
            parts: std::array::from_fn(|_| Part::new()),
            done: Done::default(),
            helpers: AtomicUsize::new(0),
            leader: std::thread::current().id(),
            panic: Mutex::new(None),
        }
    }

    /// Works through a task with whoever helps. Errs with what a piece panicked with.
    fn lead(self: &Arc<Crew>, n: usize, f: &(dyn Fn(usize) + Sync)) -> std::thread::Result<()> {
        let threads = rayon::current_num_threads().min(n);
        self.call_helpers(threads - 1);
        let parts = &self.parts[..threads.min(PARTS)];
        // SAFETY: only the lifetime changes. Who has taken a piece uses the pointer until it is done, and
        // this function returns after all pieces have been taken and done.
        let call: Call = unsafe { std::mem::transmute(f as *const _) };
        // What others are to begin with comes first.
        for (i, part) in parts.iter().enumerate().rev() {
            let (begin, end) = (i * n / parts.len(), (i + 1) * n / parts.len());
            // SAFETY: the last task is done, and `call` can be called until this one is.
            unsafe { part.fill(begin..end, call) };
        }
        let mut taken = 0;
        let own = catch_unwind(AssertUnwindSafe(|| {
            for (i, part) in parts.iter().enumerate() {
                while let Some(piece) = part.take(i == 0) {
                    taken += 1;
                    f(piece);
                }
            }
        }));
        // After a panic some are left, that nobody needs to do any more.
        for part in parts {
            while part.take(true).is_some() {
                taken += 1;
            }
        }
        let mut waiting = Waiting::default();
        while self.done.0.load(Ordering::Acquire) < n - taken {
            waiting.pause();
        }
        self.done.0.store(0, Ordering::Relaxed);
        let helper = self.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        own.and(helper.map_or(Ok(()), Err))
    }

    /// Calls helpers until so many have been asked or are there.
    fn call_helpers(self: &Arc<Crew>, most: usize) {
        while self.helpers.load(Ordering::Relaxed) < most {
            let number = self.helpers.fetch_add(1, Ordering::Relaxed);
            let crew = Arc::clone(self);
            rayon::spawn(move || {
                if std::thread::current().id() != crew.leader {
                    crew.stand_by((number + 1) % PARTS);
                }
                crew.helpers.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// Helps with one task after the other, beginning with the same part of each, until there has been
    /// none for a while.
    fn stand_by(&self, own: usize) {
        let begin = Instant::now();
        let (mut since, mut waiting) = (begin, Waiting::default());
        loop {
            if self.parts[own].has_pieces() {
                self.help(own);
                (since, waiting) = (Instant::now(), Waiting::default());
                if since - begin > STAY {
                    return;
                }
            } else if waiting.pause() && since.elapsed() > LINGER {
                return;
            }
        }
    }

    /// Takes pieces and does them while there are any: those of its own part, then those of the others.
    fn help(&self, own: usize) {
        // A thread may have come while it waited for something within a piece of its own.
        let was_busy = CREW.with(|(_, busy)| busy.replace(true));
        let mut taken = 0;
        for i in 0..PARTS {
            let part = &self.parts[(own + i) % PARTS];
            while let Some(piece) = part.take(i == 0) {
                taken += 1;
                // SAFETY: this thread has taken a piece and not yet said that it is done: the leader
                // writes nothing, and keeps what is called alive.
                let call = unsafe { &**part.call.get() };
                let result = catch_unwind(AssertUnwindSafe(|| call(piece)));
                if let Err(panic) = result {
                    let mut first = self.panic.lock().unwrap_or_else(|e| e.into_inner());
                    first.get_or_insert(panic);
                }
            }
        }
        CREW.with(|(_, busy)| busy.set(was_busy));
        // All are of one task, which does not end before this.
        self.done.0.fetch_add(taken, Ordering::Release);
    }
}

/// Waits that have had no end so far.
#[derive(Default)]
struct Waiting(u32);

impl Waiting {
    /// Waits for an instant; true from time to time, when another thread has been let through.
    fn pause(&mut self) -> bool {
        self.0 += 1;
        if self.0 < LOOKS {
            std::hint::spin_loop();
            return false;
        }
        self.0 = LOOKS - MORE_LOOKS;
        // Where there are more threads than processors, the one that is waited for may be waiting for this.
        std::thread::yield_now();
        true
    }
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
    fn all_threads_meet() {
        for threads in [1, 2, 5, 20] {
            pool(threads).install(|| {
                for round in 0..20 {
                    meet();
                    share(3, &|_| meet());
                    if round % 8 == 0 {
                        // Helpers leave, some of them while they are counted on.
                        std::thread::sleep(LINGER);
                    }
                }
            });
        }
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
