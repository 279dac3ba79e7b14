//! Calls in turns: a round is some calls of each network, so that a busy moment falls on all of them.

use std::time::{Duration, Instant};

use crate::watch::Observer;
use crate::{Result, machine};

/// Rounds, where there is time for so many.
const ROUNDS: u32 = 20;
/// Rounds at the least, however long they take.
const LEAST_ROUNDS: u32 = 3;

/// Times of the calls of one network.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    /// In ascending order.
    calls: Vec<Duration>,
    /// Time on the processor, where the system tells.
    processor: Option<Duration>,
    /// The median of each round, in seconds.
    rounds: Vec<f64>,
}

/// Something to call, which may fail.
pub(super) type Call<'a> = dyn FnMut() -> Result<()> + Send + 'a;

/// What is called, and for how long in all.
pub(super) struct Contender<'a> {
    pub(super) call: Box<Call<'a>>,
    pub(super) time: Duration,
}

/// Calls each of `contenders` for its time, in rounds, after some calls that are not timed.
pub(super) fn measure(
    contenders: &mut [Contender<'_>],
    what: &str,
    observer: &mut dyn Observer,
) -> Result<Vec<Timed>> {
    for Contender { call, time } in contenders.iter_mut() {
        repeat(call, *time / ROUNDS)?;
    }
    let fresh = Timed {
        calls: Vec::new(),
        processor: Some(Duration::ZERO),
        rounds: Vec::new(),
    };
    let mut timed = vec![fresh; contenders.len()];
    let all: Duration = contenders.iter().map(|c| c.time).sum();
    let (start, mut round) = (Instant::now(), 0);
    while round < LEAST_ROUNDS || (round < ROUNDS && start.elapsed() < all) {
        let mut turns: Vec<_> = contenders.iter_mut().zip(&mut timed).collect();
        // Who was first is last the next time.
        if round % 2 == 1 {
            turns.reverse();
        }
        for (Contender { call, time }, timed) in turns {
            timed.round(call, *time / ROUNDS)?;
        }
        round += 1;
        let done = f64::from(round) / f64::from(ROUNDS);
        let spent = start.elapsed().as_secs_f64() / all.as_secs_f64();
        observer.progress(what, done.max(spent).min(0.999), "");
    }
    observer.progress(what, 1.0, "");
    timed.iter_mut().for_each(|t| t.calls.sort_unstable());
    Ok(timed)
}

/// Calls for `time`, at least once, and tells how long each call took.
fn repeat(call: &mut Call<'_>, time: Duration) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let start = Instant::now();
    let mut before = start;
    loop {
        call()?;
        // One look at the clock is both the end of a call and the beginning of the next.
        let now = Instant::now();
        times.push(now - before);
        before = now;
        if now - start >= time {
            return Ok(times);
        }
    }
}

impl Timed {
    fn round(&mut self, call: &mut Call<'_>, time: Duration) -> Result<()> {
        let before = machine::processor_time();
        let mut times = repeat(call, time)?;
        let spent = before.and_then(|before| machine::processor_time()?.checked_sub(before));
        self.processor = self.processor.zip(spent).map(|(a, b)| a + b);
        self.calls.extend_from_slice(&times);
        times.sort_unstable();
        self.rounds.push(at(&times, 0.5).as_secs_f64());
        Ok(())
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Seconds that a share of the calls did not exceed.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        at(&self.calls, share).as_secs_f64()
    }

    pub(super) fn least(&self) -> f64 {
        self.calls[0].as_secs_f64()
    }

    /// Mean seconds of a call on the processor.
    pub(super) fn processor(&self) -> Option<f64> {
        Some(self.processor?.as_secs_f64() / self.calls.len() as f64)
    }

    /// How many times as long as `first` each round took, at three places of their order: a tenth,
    /// the ratio of all medians, nine tenths.
    pub(super) fn ratio(&self, first: &Timed) -> [f64; 3] {
        let rounds = self.rounds.iter().zip(&first.rounds);
        let mut ratios: Vec<f64> = rounds.map(|(a, b)| a / b.max(1e-12)).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let median = self.quantile(0.5) / first.quantile(0.5).max(1e-12);
        [at(&ratios, 0.1), median, at(&ratios, 0.9)]
    }
}

/// The least of the sorted values that a share of them do not exceed.
fn at<T: Copy>(sorted: &[T], share: f64) -> T {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Silent;
    use crate::{Error, ErrorKind};

    #[test]
    fn quantiles() {
        let twenty: Vec<u32> = (1..=20).collect();
        for (share, expected) in [(0.0, 1), (0.05, 1), (0.5, 10), (0.95, 19), (1.0, 20)] {
            assert_eq!(at(&twenty, share), expected, "{share}");
        }
        assert_eq!(at(&[7], 0.95), 7);
    }

    #[test]
    fn turns_go_there_and_back() {
        let order = std::sync::Mutex::new(Vec::new());
        let call = |name: char| {
            let order = &order;
            let call = move || {
                order.lock().unwrap().push(name);
                Ok(())
            };
            Contender {
                call: Box::new(call),
                time: Duration::from_nanos(1),
            }
        };
        let mut both = [call('a'), call('b')];
        let timed = measure(&mut both, "it", &mut Silent).unwrap();
        drop(both);
        let order: String = order.into_inner().unwrap().into_iter().collect();
        // Once each to warm up, then three rounds of a call each.
        assert_eq!(order, "ababbaab");
        assert_eq!((timed[0].calls(), timed[1].rounds.len()), (3, 3));
        let [low, median, high] = timed[0].ratio(&timed[0]);
        assert_eq!([low, median, high], [1.0; 3]);
    }

    #[test]
    fn a_call_that_fails_ends_it() {
        let fails = || Err(Error::new(ErrorKind::Model, "no"));
        let mut one = [Contender {
            call: Box::new(fails),
            time: Duration::from_secs(9),
        }];
        let ended = measure(&mut one, "it", &mut Silent);
        assert_eq!(ended.unwrap_err().to_string(), "no");
    }
}
