//! How long something took, counted in buckets: four to each power of two of microseconds, so that a value read
//! from it is at most a quarter too high. One writer, any readers; to record is three plain loads and stores.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets to each power of two.
const PARTS: usize = 4;
/// Times from 2^26 us (67 s) on are counted together.
const POWER_MAX: u32 = 26;
const BUCKETS: usize = (POWER_MAX as usize - 1) * PARTS + 1;
/// Bounds below this power of two of microseconds are not told apart where buckets are shown by powers.
const POWER_MIN: u32 = 2;

/// The histogram of one core. Only its own core writes; anyone may read.
#[derive(Debug)]
pub(super) struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; _],
            sum_us: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
        }
    }
}

const fn bucket_of(us: u64) -> usize {
    if us < PARTS as u64 {
        return us as usize;
    }
    let power = us.ilog2();
    if power >= POWER_MAX {
        return BUCKETS - 1;
    }
    (power as usize - 1) * PARTS + ((us >> (power - 2)) as usize & (PARTS - 1))
}

/// The exclusive end of a bucket in microseconds; none for the last.
const fn end_of(bucket: usize) -> Option<u64> {
    if bucket < PARTS {
        return Some(bucket as u64 + 1);
    }
    if bucket == BUCKETS - 1 {
        return None;
    }
    Some(((PARTS + bucket % PARTS + 1) as u64) << (bucket / PARTS - 1))
}

impl LatencyHistogram {
    pub(super) fn record(&self, us: u64) {
        super::bump(&self.buckets[bucket_of(us)], 1);
        super::bump(&self.sum_us, us);
        if us > self.longest_us.load(Relaxed) {
            self.longest_us.store(us, Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> Latency {
        Latency {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum_us: self.sum_us.load(Relaxed),
            longest_us: self.longest_us.load(Relaxed),
        }
    }
}

/// Times as they were counted, of one core or of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latency {
    /// Empty or one of each.
    buckets: Vec<u64>,
    sum_us: u64,
    longest_us: u64,
}

impl Latency {
    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together, in microseconds.
    #[must_use]
    pub const fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The longest one, in microseconds.
    #[must_use]
    pub const fn longest_us(&self) -> u64 {
        self.longest_us
    }

    /// What that share of them (0 to 1) stayed below, in microseconds: at most a quarter too high, and never
    /// above the longest. 0 if there is none.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= wanted.max(1) {
                return end_of(bucket).map_or(self.longest_us, |end| end.min(self.longest_us));
            }
        }
        self.longest_us
    }

    /// Powers of two of microseconds, each with how many stayed below it. The last counts all but those that
    /// took longer than any bound.
    pub fn below_powers(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut below = 0;
        let mut next = 0;
        (POWER_MIN..=POWER_MAX).map(move |power| {
            let end = bucket_of((1 << power) - 1) + 1;
            below += self.buckets.get(next..end).unwrap_or_default().iter().sum::<u64>();
            next = end;
            (1 << power, below)
        })
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.buckets.resize(BUCKETS, 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, more)| *sum += more);
        self.sum_us += other.sum_us;
        self.longest_us = self.longest_us.max(other.longest_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_bucket_that_ends_at_most_a_quarter_above_it() {
        let mut last = 0;
        for us in (0..5000).chain((13..26).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]))
        {
            let bucket = bucket_of(us);
            assert!(bucket == last || bucket == last + 1 || us >= 5000, "{us} us in {bucket} after {last}");
            last = bucket;
            let end = end_of(bucket).expect("not the last");
            assert!(us < end && end <= us + us / 4 + 1, "{us} us in a bucket that ends at {end}");
        }
        assert_eq!(bucket_of((1 << 26) - 1), BUCKETS - 2);
        assert_eq!((bucket_of(1 << 26), bucket_of(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn quantiles_powers_and_the_longest_are_of_what_was_recorded() {
        let histogram = LatencyHistogram::default();
        (0..98).for_each(|_| histogram.record(50));
        histogram.record(900);
        histogram.record(200_000_000);
        let mut both = Latency::default();
        assert_eq!((both.quantile_us(0.99), both.count()), (0, 0));
        both.add(&histogram.snapshot());
        assert_eq!((both.quantile_us(0.5), both.quantile_us(0.99)), (56, 1024));
        assert_eq!((both.quantile_us(1.0), both.longest_us()), (200_000_000, 200_000_000));
        assert_eq!(both.sum_us(), 98 * 50 + 900 + 200_000_000);
        let below: Vec<_> = both.below_powers().collect();
        assert_eq!(below[..5], [(4, 0), (8, 0), (16, 0), (32, 0), (64, 98)]);
        assert_eq!(below.last(), Some(&(1 << 26, 99)));
        both.add(&histogram.snapshot());
        assert_eq!(both.count(), 200);
    }
}
