//! When each record is meant to leave: the open loop's law, as plain arithmetic.
//!
//! A run has `streams` numbered streams; record `sequence` of stream `s` is number `sequence * streams + s` of
//! the run, and record number `n` is due at `start + n / rate`. So the run as a whole is evenly spaced, each
//! stream keeps its place in it, and the intended time of a record is a function of its name: it can be
//! computed again when the acknowledgement arrives, however late that is. Nothing here depends on how the
//! broker behaves, which is the whole point: a stall does not delay the schedule, it shows in the latency.

use crate::clock::{Nanos, SECOND};

/// A constant rate over all streams of a run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Nanos,
    rate: u64,
    streams: u64,
}

impl Schedule {
    /// `rate` records per second over `streams` streams, the first at `start`.
    pub fn new(start: Nanos, rate: u64, streams: u64) -> Self {
        assert!(rate > 0 && streams > 0, "rate {rate}, streams {streams}");
        Self { start, rate, streams }
    }

    /// When record `sequence` of `stream` is meant to leave.
    pub fn intended(&self, stream: u64, sequence: u64) -> Nanos {
        let number = u128::from(sequence) * u128::from(self.streams) + u128::from(stream);
        self.start
            + u64::try_from(number * u128::from(SECOND) / u128::from(self.rate)).unwrap_or(u64::MAX / 2)
    }

    /// How many records of `stream` are meant to have left by `now`, that moment included.
    pub fn due(&self, stream: u64, now: Nanos) -> u64 {
        let Some(elapsed) = now.checked_sub(self.start) else { return 0 };
        // Record n is due when n * SECOND / rate, rounded down, is not above elapsed.
        let numbers = ((u128::from(elapsed) + 1) * u128::from(self.rate)).div_ceil(u128::from(SECOND));
        let own = numbers.saturating_sub(u128::from(stream)).div_ceil(u128::from(self.streams));
        u64::try_from(own).unwrap_or(u64::MAX)
    }

    /// When a batch that begins with `first` is complete: `linger` after its first record was due, or at once
    /// when its last possible record (`first + count - 1`) is due.
    pub fn batch_ready(&self, stream: u64, first: u64, count: u64, linger: Nanos) -> Nanos {
        assert!(count > 0, "a batch holds at least one record");
        let full = self.intended(stream, first + count - 1);
        full.min(self.intended(stream, first) + linger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn due_counts_exactly_the_records_whose_intended_time_has_come(
            rate in 1u64..3_000_000, streams in 1u64..70, stream in 0u64..70, now in 0u64..5 * SECOND, start in 0u64..SECOND,
        ) {
            let stream = stream % streams;
            let schedule = Schedule::new(start, rate, streams);
            let due = schedule.due(stream, now);
            prop_assert!(due == 0 || schedule.intended(stream, due - 1) <= now);
            prop_assert!(schedule.intended(stream, due) > now);
        }
    }

    #[test]
    fn the_streams_together_send_one_record_every_rate_th_of_a_second() {
        let schedule = Schedule::new(50, 1000, 4);
        let mut all: Vec<_> = (0..4).flat_map(|s| (0..3).map(move |k| schedule.intended(s, k))).collect();
        all.sort_unstable();
        let expected: Vec<_> = (0..12).map(|n| 50 + n * SECOND / 1000).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_batch_leaves_after_linger_or_when_it_is_full() {
        let schedule = Schedule::new(0, 1000, 1);
        assert_eq!(schedule.batch_ready(0, 10, 5, 2_000_000), 12_000_000, "linger is over first");
        assert_eq!(schedule.batch_ready(0, 10, 2, 2_000_000), 11_000_000, "full first");
        assert_eq!(schedule.batch_ready(0, 10, 9, 0), 10_000_000, "no linger");
    }
}
