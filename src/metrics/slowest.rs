//! The slowest requests of the last minutes, with where their time went. The core puts one in only if it is
//! slower than those that are there, and never waits: a reader that has the list just then costs the entry.

use std::{
    cmp::Reverse,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::stages::Laps;

/// Requests that one core keeps of each minute.
pub const SLOWEST_MAX: usize = 32;
/// What is kept is of this minute and of the one before it.
const MINUTE_US: u64 = 60_000_000;

/// A request that took long.
#[derive(Debug, Clone)]
pub struct Slow {
    /// Where its time went.
    pub laps: Laps,
    /// `client.id` as its connection gave it last.
    pub client_id: Arc<str>,
    /// The other side.
    pub peer: Option<SocketAddr>,
    /// Bytes of the request.
    pub bytes_in: u64,
    /// Bytes of its answer.
    pub bytes_out: u64,
    /// When it was answered, milliseconds since 1970.
    pub ended_ms: i64,
}

#[derive(Debug, Default)]
struct Lists {
    minute: u64,
    this: Vec<Slow>,
    last: Vec<Slow>,
}

impl Lists {
    fn turn_to(&mut self, minute: u64) {
        if minute != self.minute {
            let next_one = minute == self.minute + 1;
            self.last = if next_one { std::mem::take(&mut self.this) } else { Vec::new() };
            self.this.clear();
            self.minute = minute;
        }
    }
}

/// Those of one core. Only its own core adds; anyone may look.
#[derive(Debug, Default)]
pub(super) struct Slowest {
    /// What is faster than this need not be offered, in this minute.
    floor_us: AtomicU64,
    minute: AtomicU64,
    lists: Mutex<Lists>,
}

impl Slowest {
    /// Offers a request that ended now; `slow` is asked only if there is a place for it.
    pub(super) fn offer(&self, laps: &Laps, slow: impl FnOnce() -> Slow) {
        let minute = laps.now_us() / MINUTE_US;
        if laps.slow_us() <= self.floor_us.load(Relaxed) && minute == self.minute.load(Relaxed) {
            return;
        }
        let Ok(mut lists) = self.lists.try_lock() else { return };
        lists.turn_to(minute);
        let this = &mut lists.this;
        let fastest = this.iter().enumerate().min_by_key(|(_, one)| one.laps.slow_us());
        match fastest {
            Some((at, fastest)) if this.len() == SLOWEST_MAX => {
                if fastest.laps.slow_us() < laps.slow_us() {
                    this[at] = slow();
                }
            }
            _ => this.push(slow()),
        }
        let floor = this.iter().map(|one| one.laps.slow_us()).min();
        self.floor_us.store(if this.len() == SLOWEST_MAX { floor.unwrap_or(0) } else { 0 }, Relaxed);
        self.minute.store(minute, Relaxed);
    }

    /// Those of this minute and the last, the slowest first. A core without requests keeps its former ones.
    pub(super) fn snapshot(&self) -> Vec<Slow> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slow: Vec<Slow> = lists.this.iter().chain(&lists.last).cloned().collect();
        drop(lists);
        slow.sort_by_key(|one| Reverse(one.laps.slow_us()));
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{RequestKind, Stage, Timing};

    fn laps(at_us: u64, us: u64) -> Laps {
        let mut laps = Laps::new(0, RequestKind::Produce, Timing::Counted, at_us);
        laps.lap(Stage::Flush, at_us + us);
        laps
    }

    fn offer(slowest: &Slowest, at_us: u64, us: u64) -> bool {
        let mut taken = false;
        let laps = laps(at_us, us);
        slowest.offer(&laps, || {
            taken = true;
            let client_id = "client".into();
            Slow { laps, client_id, peer: None, bytes_in: 1, bytes_out: 2, ended_ms: 0 }
        });
        taken
    }

    #[test]
    fn the_slowest_of_each_minute_are_kept_and_the_fast_are_not_looked_at() {
        let slowest = Slowest::default();
        for us in (1..=100).chain((1..=100).rev()) {
            offer(&slowest, 0, us);
        }
        assert!(!offer(&slowest, 0, 80), "as fast as the fastest that is kept");
        let kept: Vec<_> = slowest.snapshot().iter().map(|one| one.laps.total_us()).collect();
        assert_eq!(kept.len(), SLOWEST_MAX);
        assert_eq!((kept[0], kept[1], kept[31]), (100, 100, 85));
        assert!(offer(&slowest, MINUTE_US, 1), "a new minute begins with an empty list");
        assert_eq!(slowest.snapshot().len(), SLOWEST_MAX + 1);
        assert!(offer(&slowest, 3 * MINUTE_US, 1));
        assert_eq!(slowest.snapshot().len(), 1, "a minute passed without any");
    }

    #[test]
    fn a_core_does_not_wait_for_who_reads() {
        let slowest = Slowest::default();
        let reader = slowest.lists.lock().expect("nobody has panicked");
        assert!(!offer(&slowest, 0, 7));
        drop(reader);
        assert!(offer(&slowest, 0, 7));
    }
}
