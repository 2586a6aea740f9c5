//! Where a broker's latency bends: the search over rates, apart from the runs that it asks for.
//!
//! Rates grow by a factor until one is past the knee; then the stretch between the last rate before it and the
//! first one past it is halved until it is narrow. Past the knee means: the rate was not achieved, or its 99th
//! percentile is more than [`KNEE_TIMES`] the unloaded one, which is the lowest that any rate before it had: the first
//! rate's own may be spoilt by whatever else the machine did just then.

use crate::clock::Nanos;

/// A 99th percentile that many times the unloaded one is past the knee.
pub const KNEE_TIMES: u64 = 5;

/// Most rates that are tried.
pub const STEPS_MAX: usize = 40;

/// The search.
#[derive(Debug, Clone)]
pub struct Search {
    factor: f64,
    /// Width at which the stretch is narrow enough, as a share of its upper end.
    precision: f64,
    unloaded: Option<Nanos>,
    /// Highest rate before the knee.
    before: Option<u64>,
    /// Lowest rate past it.
    past: Option<u64>,
    next: u64,
    steps: usize,
}

impl Search {
    /// From `first`, which should be far below what the broker can do, by `factor` at a time; ends when the knee
    /// is known to a share of `precision`.
    pub fn new(first: u64, factor: f64, precision: f64) -> Self {
        assert!(first > 0 && factor > 1.0 && precision > 0.0, "{first} x {factor} to {precision}");
        Self { factor, precision, unloaded: None, before: None, past: None, next: first, steps: 0 }
    }

    /// The rate to try; `None` when the search is over.
    pub fn next_rate(&self) -> Option<u64> {
        if self.steps >= STEPS_MAX {
            return None;
        }
        match (self.before, self.past) {
            // The first rate is past it: there is nothing to compare with.
            (None, Some(_)) => None,
            (Some(before), Some(past))
                if (past - before) as f64 <= (past as f64 * self.precision).max(1.0) =>
            {
                None
            }
            _ => Some(self.next),
        }
    }

    /// What became of the rate that [`next_rate`](Self::next_rate) gave. Returns whether it is past the knee.
    pub fn observe(&mut self, achieved: bool, p99: Nanos) -> bool {
        let rate = self.next;
        let unloaded = self.unloaded.map_or(p99, |unloaded| unloaded.min(p99));
        self.unloaded = Some(unloaded);
        let is_past = !achieved || p99 > unloaded.saturating_mul(KNEE_TIMES);
        self.steps += 1;
        if is_past {
            self.past = Some(rate);
        } else {
            self.before = Some(rate);
        }
        self.next = match (self.before, self.past) {
            (Some(before), Some(past)) => before + (past - before) / 2,
            _ => ((rate as f64 * self.factor) as u64).max(rate + 1),
        };
        is_past
    }

    /// The highest rate found before the knee.
    pub fn knee(&self) -> Option<u64> {
        self.before
    }

    /// Whether a rate past the knee was found.
    pub fn is_bounded(&self) -> bool {
        self.past.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Searches a broker that achieves up to `capacity`, and whose latency bends at `bend`.
    fn search(first: u64, factor: f64, precision: f64, capacity: u64, bend: u64) -> (Search, Vec<u64>) {
        let mut search = Search::new(first, factor, precision);
        let mut tried = Vec::new();
        while let Some(rate) = search.next_rate() {
            tried.push(rate);
            search.observe(rate <= capacity, if rate <= bend { 100 } else { 501 });
        }
        (search, tried)
    }

    proptest! {
        #[test]
        fn the_knee_is_found_wherever_it_is(
            first in 1u64..1000, factor in 1.2f64..4.0, precision in 0.01f64..0.3, above in 0u64..1_000_000,
            share in 1u64..=200,
        ) {
            let capacity = first + above;
            let bend = capacity * share / 100;
            let (search, tried) = search(first, factor, precision, capacity, bend.max(first));
            let knee = capacity.min(bend.max(first));
            prop_assert!(tried.len() <= STEPS_MAX);
            let found = search.knee().expect("the first rate lies before it");
            prop_assert!(found <= knee, "{} is past {}", found, knee);
            if tried.len() < STEPS_MAX {
                prop_assert!(knee - found <= (knee as f64 * precision * 2.0) as u64 + 1, "{} for {}", found, knee);
            }
        }
    }

    #[test]
    fn rates_grow_then_close_in() {
        let (search, tried) = search(100, 2.0, 0.1, 650, u64::MAX);
        assert_eq!(tried, [100, 200, 400, 800, 600, 700, 650]);
        assert_eq!((search.knee(), search.is_bounded()), (Some(650), true));
    }

    #[test]
    fn a_first_rate_that_is_not_achieved_ends_the_search() {
        let (search, tried) = search(100, 2.0, 0.1, 50, u64::MAX);
        assert_eq!((tried.len(), search.knee()), (1, None));
    }
}
