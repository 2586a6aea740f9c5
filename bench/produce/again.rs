//! What an idempotent stream sends again: batches that were refused, or whose answer was lost with a connection.
//!
//! The broker knows a batch again by its first and last sequence (KIP-98), so a batch leaves as it was the first
//! time, with the same records, and before any later one. It waits until nothing of its stream is in flight: what
//! comes behind a refused batch is refused as well, and belongs behind it again.

use std::collections::VecDeque;

use crate::produce::stream::Taken;

/// The batches of one stream. Never more than were in flight.
#[derive(Debug, Default)]
pub struct Again {
    /// Ascending.
    batches: VecDeque<Taken>,
    waits: bool,
}

impl Again {
    /// Takes a batch; all then wait for what is in flight.
    pub fn put(&mut self, taken: Taken) {
        let place = self.batches.partition_point(|other| other.first < taken.first);
        self.batches.insert(place, taken);
        self.waits = true;
    }

    /// Nothing is in flight any more. Returns whether that was waited for.
    pub fn release(&mut self) -> bool {
        std::mem::take(&mut self.waits)
    }

    /// Whether nothing may leave yet, be it old or new.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// The next batch to leave.
    pub fn take(&mut self) -> Option<Taken> {
        self.batches.pop_front()
    }

    /// Number of the first record among them.
    pub fn first(&self) -> Option<u64> {
        self.batches.front().map(|taken| taken.first)
    }

    /// Records in them.
    pub fn records(&self) -> u64 {
        self.batches.iter().map(|taken| u64::from(taken.count)).sum()
    }
}
