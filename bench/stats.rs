//! What a worker counts and times, second by second.
//!
//! Every worker owns its histograms and hands them over whole at the end of each second; nothing is shared
//! while it measures.

use std::sync::mpsc;

use hdrhistogram::Histogram;

use crate::clock::{Nanos, SECOND};

/// Longest time that is told apart; beyond it a value counts as this much.
const TIME_MAX: Nanos = 3600 * SECOND;

/// Decimal digits that a histogram keeps of a value.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of nanoseconds.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, TIME_MAX, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are constants that the crate accepts"))
    }
}

impl Times {
    /// Records `count` occurrences of `time`.
    pub fn record(&mut self, time: Nanos, count: u64) {
        self.0.saturating_record_n(time, count);
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// The histogram.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Nanoseconds that a share `quantile` of the values does not exceed; 0 without values.
    pub fn at(&self, quantile: f64) -> Nanos {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(quantile) }
    }
}

/// What one role did in one interval, or in all of them.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Records acknowledged (produce) or received and verified (consume).
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Bytes of the acknowledged batches, as they were sent.
    pub batch_bytes: u64,
    /// Bytes of the same batches, had they not been compressed.
    pub raw_bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Records that the broker refused.
    pub failed: u64,
    /// Records whose outcome is unknown: the connection was lost, or no answer came.
    pub unknown: u64,
    /// From a record's intended time to its acknowledgement or receipt.
    pub latency: Times,
    /// From a request's send to its answer.
    pub service: Times,
    /// How late the generator itself was to send what was due.
    pub lateness: Times,
}

impl Counts {
    /// Uncompressed bytes of batches for each byte that was sent; `None` if nothing was compressed.
    pub fn compression_ratio(&self) -> Option<f64> {
        let compressed = self.batch_bytes > 0 && self.raw_bytes != self.batch_bytes;
        compressed.then(|| self.raw_bytes as f64 / self.batch_bytes as f64)
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.batch_bytes += other.batch_bytes;
        self.raw_bytes += other.raw_bytes;
        self.requests += other.requests;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.latency.add(&other.latency);
        self.service.add(&other.service);
        self.lateness.add(&other.lateness);
    }
}

/// What a worker does; each role has histograms of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Sends.
    Produce,
    /// Reads.
    Consume,
    /// Reads what is being written, as one of several that do.
    Tail(u16),
    /// Reads from the beginning while others write, as one of several that do.
    CatchUp(u16),
    /// Commits offsets.
    Commit,
    /// Ends transactions.
    Transaction,
}

impl Role {
    /// Whether its seconds hold records, as those of senders and readers do.
    pub fn moves_records(self) -> bool {
        !matches!(self, Self::Commit | Self::Transaction)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Produce => f.pad("produce"),
            Self::Consume => f.pad("consume"),
            Self::Tail(nth) => f.pad(&format!("tail-{nth}")),
            Self::CatchUp(nth) => f.pad(&format!("catch-{nth}")),
            Self::Commit => f.pad("commit"),
            Self::Transaction => f.pad("transaction"),
        }
    }
}

/// From a worker to the reporter.
#[derive(Debug)]
pub enum Event {
    /// A worker's second number `second` is over.
    Interval {
        /// Whose.
        role: Role,
        /// Counted from the run's start.
        second: u64,
        /// What happened in it.
        counts: Box<Counts>,
    },
    /// Something to tell the user at once.
    Note(String),
}

/// A worker's current interval.
#[derive(Debug)]
pub struct Meter {
    role: Role,
    start: Nanos,
    second: u64,
    /// The interval in progress.
    pub counts: Box<Counts>,
    events: mpsc::Sender<Event>,
}

impl Meter {
    /// Intervals of one second from `start`.
    pub fn new(role: Role, start: Nanos, events: mpsc::Sender<Event>) -> Self {
        Self { role, start, second: 0, counts: Box::default(), events }
    }

    /// The same of a worker that begins at `now`, while others have been at work since `start`.
    pub fn join_at(role: Role, start: Nanos, now: Nanos, events: mpsc::Sender<Event>) -> Self {
        Self { second: now.saturating_sub(start) / SECOND, ..Self::new(role, start, events) }
    }

    /// When the interval in progress ends.
    pub fn ends_at(&self) -> Nanos {
        self.start + (self.second + 1) * SECOND
    }

    /// Hands over every interval that is over by `now`.
    pub fn roll(&mut self, now: Nanos) {
        while now >= self.ends_at() {
            self.hand_over();
        }
    }

    /// Hands over what is left.
    pub fn finish(mut self, now: Nanos) {
        self.roll(now);
        self.hand_over();
    }

    /// Tells the user something.
    pub fn note(&self, text: String) {
        // The reporter lives as long as any worker; if it is gone, nobody reads.
        let _ = self.events.send(Event::Note(text));
    }

    fn hand_over(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        let _ = self.events.send(Event::Interval { role: self.role, second: self.second, counts });
        self.second += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Schedule, Shape};

    /// Goal: coordinated omission cannot happen; a stall shows with its whole weight.
    /// Method: 1,000 records/s for 10 s, the broker answers each at once but stands still for one second;
    /// the records that were due meanwhile are acknowledged when it is over.
    #[test]
    fn a_stall_shows_with_its_whole_weight() {
        let schedule = Schedule::new(0, 1000, 1, Shape::Constant, 0);
        let stall = 4 * SECOND..5 * SECOND;
        let mut times = Times::default();
        for intended in schedule.arrivals(0).take(10_000) {
            let answered = if stall.contains(&intended) { stall.end } else { intended };
            times.record(answered + 100_000 - intended, 1);
        }
        // A tenth of all records waited, evenly from 0 to 1 s: the 95th percentile waited half a second.
        let half = times.at(0.95);
        assert!((495_000_000..505_000_000).contains(&half), "p95 {half} ns");
        assert!(times.at(0.89) < 110_000, "p89 {} ns", times.at(0.89));
        assert!(times.at(1.0) >= SECOND, "max {} ns", times.at(1.0));
    }

    #[test]
    fn every_second_is_handed_over_once_and_in_order() {
        let (sender, events) = mpsc::channel();
        let mut meter = Meter::new(Role::Produce, 500, sender);
        meter.counts.records = 1;
        meter.roll(SECOND);
        meter.counts.records += 1;
        meter.roll(3 * SECOND + 500);
        meter.counts.records = 7;
        meter.finish(3 * SECOND + 501);
        let seen: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Interval { second, counts, .. } => (second, counts.records),
                Event::Note(text) => panic!("{text}"),
            })
            .collect();
        assert_eq!(seen, [(0, 2), (1, 0), (2, 0), (3, 7)]);
    }
}
