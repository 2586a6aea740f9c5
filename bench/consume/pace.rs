//! A reader's own rate: when it may ask for more.

use crate::clock::{Nanos, SECOND};

/// At most so many records per second, over a reader's whole time.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    rate: u64,
    next_at: Nanos,
}

impl Pace {
    /// `rate` records per second from `start` on; 0 is no limit.
    pub fn new(rate: u64, start: Nanos) -> Option<Self> {
        (rate > 0).then_some(Self { rate, next_at: start })
    }

    /// The share of one of `readers` that read at this rate together; at least 1 per second.
    pub fn shared_by(self, readers: u32) -> Self {
        Self { rate: (self.rate / u64::from(readers.max(1))).max(1), ..self }
    }

    /// When the next records may be asked for.
    pub fn next_at(&self) -> Nanos {
        self.next_at
    }

    /// `records` arrived at `now`. A reader behind its rate catches up by at most a second of it.
    pub fn took(&mut self, records: u64, now: Nanos) {
        let cost = u128::from(records) * u128::from(SECOND) / u128::from(self.rate);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX / 4);
        // Nothing arrived, nothing to wait for: a reader at the end must not lose its place.
        self.next_at =
            if records == 0 { self.next_at } else { self.next_at.max(now.saturating_sub(SECOND)) + cost };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_second_sees_much_more_than_the_rate(
            rate in 1u64..100_000, answers in prop::collection::vec((1u64..5000, 0u64..SECOND / 10), 1..200),
        ) {
            let mut pace = Pace::new(rate, 0).expect("a rate");
            let (mut now, mut total, mut largest) = (0, 0u64, 0);
            for (records, pause) in answers {
                // It asks as soon as it may, or later.
                now = pace.next_at().max(now) + pause;
                pace.took(records, now);
                total += records;
                largest = largest.max(records);
                // What it has had by now is what its time allows, plus one answer and one second's grace.
                let allowed = u128::from(rate) * u128::from(now + SECOND) / u128::from(SECOND);
                prop_assert!(u128::from(total) <= allowed + u128::from(largest) + 1);
            }
        }
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert!(Pace::new(0, 5).is_none());
    }
}
