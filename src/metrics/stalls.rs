//! How long work on a core may have waited because the core was at something else: `reactor_stall_us`.
//!
//! One entry per turn of the driver that found work, counted by powers of two of microseconds; the longest
//! is kept exactly. It tells apart 50 us of batching from a call that blocks the thread.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Powers of two that are told apart: up to 2^23 us, about 8 s.
const BUCKETS: usize = 24;

/// The histogram of one core. Only its own core writes; anyone may read.
#[derive(Debug)]
pub(super) struct StallHistogram {
    /// Bucket `n` counts stalls below `2^n` us that are in no bucket before it.
    buckets: [AtomicU64; BUCKETS],
    longest_us: AtomicU64,
}

impl Default for StallHistogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; _], longest_us: AtomicU64::new(0) }
    }
}

impl StallHistogram {
    pub(super) fn record(&self, stall: Duration) {
        let us = u64::try_from(stall.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        super::bump(&self.buckets[bucket.min(BUCKETS - 1)], 1);
        if us > self.longest_us.load(Relaxed) {
            self.longest_us.store(us, Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> Stalls {
        Stalls {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Relaxed)),
            longest_us: self.longest_us.load(Relaxed),
        }
    }
}

/// Stalls as they were, of one core or of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stalls {
    buckets: [u64; BUCKETS],
    longest_us: u64,
}

impl Stalls {
    /// The bound of each bucket in microseconds, and how many stalls lie below it and in none before.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(bucket, count)| (1 << bucket, *count))
    }

    /// The longest one, in microseconds.
    #[must_use]
    pub const fn longest_us(&self) -> u64 {
        self.longest_us
    }

    /// A bound that all but `one_in`th of the turns kept: the power of two above, in microseconds.
    #[must_use]
    pub fn all_but_us(&self, one_in: u64) -> u64 {
        let turns: u64 = self.buckets.iter().sum();
        let mut above = turns;
        for (bucket, count) in self.buckets.iter().enumerate() {
            above -= count;
            if above <= turns / one_in {
                return (1 << bucket).min(self.longest_us);
            }
        }
        self.longest_us
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
        self.longest_us = self.longest_us.max(other.longest_us);
    }
}

impl fmt::Display for Stalls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p99, p999) = (self.all_but_us(100), self.all_but_us(1_000));
        write!(out, "p99 {p99} p99.9 {p999} max {}", self.longest_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_powers_of_two_above_and_the_longest_is_exact() {
        let histogram = StallHistogram::default();
        (0..990).for_each(|_| histogram.record(Duration::from_micros(50)));
        (0..9).for_each(|_| histogram.record(Duration::from_micros(900)));
        histogram.record(Duration::from_micros(5_300));
        let mut stalls = histogram.snapshot();
        assert_eq!((stalls.all_but_us(100), stalls.all_but_us(1_000)), (64, 1024));
        assert_eq!((stalls.all_but_us(1_000_000), stalls.longest_us()), (5_300, 5_300));
        histogram.record(Duration::from_secs(100));
        stalls.add(&histogram.snapshot());
        assert_eq!(stalls.longest_us(), 100_000_000);
        assert_eq!(stalls.to_string(), "p99 1024 p99.9 8192 max 100000000");
        assert_eq!(Stalls::default().to_string(), "p99 0 p99.9 0 max 0");
    }
}
