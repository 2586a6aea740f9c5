//! Old segments go: by `retention.ms` and `retention.bytes`, of logs whose `cleanup.policy` has `delete`.
//!
//! Only whole segments go, from the front, and only what is durable; then the log start is raised, and the files
//! follow with the second checkpoint (`files.rs`). The active segment goes, too, once all of it has expired: it
//! is rolled first.
//!
//! A segment has expired `retention.ms` after the largest timestamp in it. Where timestamps lie in the
//! future, the time of the last append counts in their place: they neither keep data for ever nor take other
//! data along.
//!
//! Paced: at most [`SEGMENTS_PER_STEP_MAX`] segments of a log at once, one log after the other, with a pause
//! wherever there was something to do.
//!
//! Source: Kafka, `UnifiedLog.deleteOldSegments`.

use std::{rc::Rc, time::Duration};

use futures_lite::future;

use super::{LogId, Store, partition_log::Log};
use crate::model::Offset;

/// Segments of one log that go in one step.
const SEGMENTS_PER_STEP_MAX: usize = 32;
/// From the start to the first look. Source: Kafka, `LogManager.InitialTaskDelayMs`.
const INITIAL_DELAY: Duration = Duration::from_secs(30);
/// Pause after a step that did something.
const PAUSE: Duration = Duration::from_millis(2);

/// What retention does to a log next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing is due.
    Rest,
    /// The active segment is to be rolled: all of it has expired.
    Roll,
    /// The log is to start here.
    Raise(Offset),
}

/// A segment as retention sees it.
#[derive(Debug, Clone, Copy)]
struct Aged {
    next: Offset,
    bytes: u64,
    /// What its age counts from, ms since 1970.
    time_ms: i64,
}

/// How many of the segments, oldest first, are to go; what lies above `durable_end` stays.
fn expired(
    segments: &[Aged],
    retention_ms: i64,
    retention_bytes: i64,
    durable_end: Offset,
    now_ms: i64,
) -> usize {
    let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let bytes_max = u64::try_from(retention_bytes).unwrap_or(u64::MAX);
    let is_due = |&(i, segment): &(usize, &Aged)| {
        // Nothing in the active segment is nothing to do; compaction may have left nothing of an older one.
        let is_something = segment.bytes > 0 || i + 1 < segments.len();
        let is_old = retention_ms >= 0 && now_ms.saturating_sub(segment.time_ms) > retention_ms;
        total = total.saturating_sub(segment.bytes);
        // What stays still has that many bytes.
        let is_surplus = total >= bytes_max;
        is_something && segment.next <= durable_end && (is_old || is_surplus)
    };
    segments.iter().enumerate().take_while(is_due).count()
}

impl Log {
    fn aged(&self) -> Vec<Aged> {
        let segments: Vec<_> = self.segments().collect();
        let nexts = segments.iter().skip(1).map(|segment| segment.base).chain([self.next]);
        let aged = segments.iter().zip(nexts).map(|(segment, next)| Aged {
            next,
            bytes: segment.length,
            time_ms: self.retention_time_ms(segment.base..next, segment.max_timestamp),
        });
        aged.collect()
    }

    fn next_retention_step(&self, now_ms: i64) -> Step {
        let settings = &self.settings;
        if !settings.cleanup_policy.delete || self.quarantined.is_some() {
            return Step::Rest;
        }
        let segments = self.aged();
        let due =
            expired(&segments, settings.retention_ms, settings.retention_bytes, self.durable_end, now_ms);
        if due == segments.len() && due > 0 {
            return Step::Roll;
        }
        match segments[..due.min(SEGMENTS_PER_STEP_MAX)].last() {
            Some(last) if last.next > self.log_start => Step::Raise(last.next),
            _ => Step::Rest,
        }
    }
}

impl Store {
    /// Looks at every log, a while after the start and then every `retention_check_interval`, until the store is closed or fails.
    pub async fn run_retention(self: Rc<Self>) {
        let mut wait = INITIAL_DELAY.min(self.options.retention_check_interval);
        let mut swept = false;
        while !self.is_over() {
            future::or(self.clock.sleep(wait), self.signals.retention.notified()).await;
            wait = self.options.retention_check_interval;
            self.drop_spares(false).await;
            let ids = self.logs.borrow().by_id.ids();
            for id in ids {
                if !swept {
                    self.sweep(id).await;
                }
                self.retain(id).await;
                if self.is_over() || self.state.closing.get() {
                    break;
                }
            }
            swept = true;
        }
    }

    /// Removes what an earlier life has left beside the segments of a log; once after a start.
    async fn sweep(&self, id: LogId) {
        let Ok(partition) = self.with_log(id, |log| log.partition) else { return };
        if let Err(error) = self.sweep_leftovers(id, partition).await {
            tracing::warn!(%error, "files that are no longer needed remain");
        }
        self.clock.sleep(PAUSE).await;
    }

    /// Does what is due for one log.
    async fn retain(&self, id: LogId) {
        while !self.is_over() && !self.state.closing.get() {
            let now_ms = self.clock.wall_ms();
            let Ok(step) = self.with_log(id, |log| log.next_retention_step(now_ms)) else { return };
            match step {
                Step::Rest => return,
                Step::Roll => self.roll(id),
                Step::Raise(start) => {
                    if let Err(error) = self.raise_log_start(id, start).await {
                        tracing::debug!(%error, "retention has to wait");
                        return;
                    }
                    let observer = self.observer.borrow().clone();
                    if let Some(observer) = observer {
                        observer.log_start_raised(id, start);
                    }
                }
            }
            self.clock.sleep(PAUSE).await;
        }
    }

    /// What the ages of a log's segments count from.
    #[cfg(test)]
    pub(super) fn retention_times(&self, id: LogId) -> Vec<i64> {
        self.with_log(id, |log| log.aged().iter().map(|aged| aged.time_ms).collect()).unwrap_or_default()
    }

    /// Ends the active segment, if there is anything in it.
    fn roll(&self, id: LogId) {
        if self.logs.borrow_mut().roll(id) {
            self.signals.settle.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(times_ms: &[i64]) -> Vec<Aged> {
        let aged = |(i, &time_ms): (usize, &i64)| Aged {
            next: Offset::new(10 * (i as i64 + 1)),
            bytes: 100,
            time_ms,
        };
        times_ms.iter().enumerate().map(aged).collect()
    }

    fn due(times_ms: &[i64], retention_ms: i64, retention_bytes: i64) -> usize {
        expired(&segments(times_ms), retention_ms, retention_bytes, Offset::new(1_000), 10_000)
    }

    #[test]
    fn segments_go_once_they_are_older_than_retention_ms_and_in_their_order() {
        assert_eq!(due(&[1, 2, 3], -1, -1), 0);
        assert_eq!(due(&[1_000, 5_000, 9_000], 5_000, -1), 1, "5,000 ms is not older");
        assert_eq!(due(&[1_000, 4_999, 9_000], 5_000, -1), 2);
        assert_eq!(due(&[9_000, 1_000, 1_000], 5_000, -1), 0, "the first one keeps the others");
        assert_eq!(due(&[1_000, 1_000, 1_000], 5_000, -1), 3, "the active one, too");
    }

    #[test]
    fn segments_go_while_what_stays_has_retention_bytes() {
        assert_eq!(due(&[9_999; 5], -1, 500), 0);
        assert_eq!(due(&[9_999; 5], -1, 400), 1);
        assert_eq!(due(&[9_999; 5], -1, 399), 1);
        assert_eq!(due(&[9_999; 5], -1, 0), 5);
    }

    #[test]
    fn a_segment_that_compaction_has_emptied_does_not_keep_those_behind_it() {
        let mut emptied = segments(&[-1, 1_000, 9_000]);
        emptied[0].bytes = 0;
        assert_eq!(expired(&emptied, 5_000, -1, Offset::new(1_000), 10_000), 2);
        let mut unused = segments(&[1_000, 1_000]);
        unused[1].bytes = 0;
        assert_eq!(expired(&unused, 5_000, -1, Offset::new(1_000), 10_000), 1);
    }

    #[test]
    fn what_is_not_durable_stays() {
        assert_eq!(expired(&segments(&[1, 1, 1]), 5, -1, Offset::new(20), 10_000), 2);
        assert_eq!(expired(&segments(&[1, 1, 1]), 5, -1, Offset::new(19), 10_000), 1);
    }
}
