//! Error codes in responses, by API: a table of the pairs that have occurred. Most never do, so it is small and
//! bounded; pairs beyond the bound are counted together.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Pairs of API and error code that one core tells apart.
pub const ERROR_PAIRS_MAX: usize = 256;

/// An API's key, an error's number, and how often: of other pairs than those that have a place, no key.
pub type ErrorCount = (Option<(i16, i16)>, u64);

#[derive(Debug)]
struct Slot {
    /// The pair and [`TAKEN`]; 0 while free.
    pair: AtomicU64,
    count: AtomicU64,
}

const TAKEN: u64 = 1 << 32;

/// The table of one core. Only its own core writes; anyone may read.
#[derive(Debug)]
pub(super) struct ErrorCounts {
    slots: [Slot; ERROR_PAIRS_MAX],
    others: AtomicU64,
}

impl Default for ErrorCounts {
    fn default() -> Self {
        let free = || Slot { pair: AtomicU64::new(0), count: AtomicU64::new(0) };
        Self { slots: std::array::from_fn(|_| free()), others: AtomicU64::new(0) }
    }
}

impl ErrorCounts {
    pub(super) fn count(&self, api_key: i16, code: i16, by: u64) {
        let pair = TAKEN | u64::from(api_key as u16) << 16 | u64::from(code as u16);
        for slot in &self.slots {
            let taken = slot.pair.load(Relaxed);
            if taken == 0 || taken == pair {
                super::bump(&slot.count, by);
                slot.pair.store(pair, Release);
                return;
            }
        }
        super::bump(&self.others, by);
    }

    pub(super) fn snapshot(&self) -> Vec<ErrorCount> {
        let pairs = self.slots.iter().map(|slot| (slot.pair.load(Acquire), slot.count.load(Relaxed)));
        let known = pairs.take_while(|(pair, _)| *pair != 0);
        let mut counts: Vec<ErrorCount> =
            known.map(|(pair, count)| (Some(((pair >> 16) as i16, pair as i16)), count)).collect();
        let others = self.others.load(Relaxed);
        if others > 0 {
            counts.push((None, others));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_beyond_the_bound_are_counted_together() {
        let counts = ErrorCounts::default();
        assert_eq!(counts.snapshot(), []);
        counts.count(3, -1, 2);
        counts.count(-3, 7, 1);
        counts.count(3, -1, 1);
        assert_eq!(counts.snapshot(), [(Some((3, -1)), 3), (Some((-3, 7)), 1)]);
        (0..300).for_each(|code| counts.count(1, code, 1));
        let counted = counts.snapshot();
        assert_eq!(counted.len(), ERROR_PAIRS_MAX + 1);
        assert_eq!(counted.last(), Some(&(None, 300 - (ERROR_PAIRS_MAX as u64 - 2))));
    }
}
