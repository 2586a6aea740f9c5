//! Reads every sealed segment once per interval, when nobody else wants the disk, and compares it.
//!
//! How far it came is a time per log, which its checkpoint entry keeps: the log is looked at again once that
//! is `scrub.interval` ago. The pace follows from what there is to read in that time; a restart begins with
//! the logs that were looked at longest ago.

use std::{rc::Rc, time::Duration};

use futures_lite::future;

use crate::{
    log::{LogError, LogId, Store, sidecar::SPAN_BYTES},
    model::Offset,
};

/// Bytes read per second at least: a span every quarter of a second.
const SCRUB_BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// A pass is planned to be done in this part of the interval.
const PLANNED_PERCENT: u64 = 80;
/// Wait after a look that found nothing to do, unless the interval is shorter.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);
/// However short the interval is.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(100);

impl Store {
    /// Compares sealed segments with their checksums, until the store is closed or fails.
    pub async fn run_scrub(self: Rc<Self>) {
        while !self.is_over() && !self.state.closing.get() {
            match self.next_to_scrub() {
                Some(id) => self.scrub_log(id).await,
                None => {
                    let pause = self.options.scrub_interval.clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX);
                    let wait = self.clock.sleep(pause);
                    future::or(self.signals.compaction.notified(), wait).await;
                }
            }
        }
    }

    /// The log that was looked at longest ago, if that is an interval ago.
    fn next_to_scrub(&self) -> Option<LogId> {
        let interval_ms = i64::try_from(self.options.scrub_interval.as_millis()).unwrap_or(i64::MAX);
        let due_ms = self.clock.wall_ms().saturating_sub(interval_ms);
        let mut logs = self.logs.borrow_mut();
        let ids = logs.by_id.ids();
        let mut scrubbed =
            |id| logs.by_id.get_mut(id).filter(|log| !log.sealed.is_empty()).map(|log| log.scrubbed_ms);
        let (oldest_ms, id) = ids.into_iter().filter_map(|id| Some((scrubbed(id)?, id))).min()?;
        (oldest_ms <= due_ms).then_some(id)
    }

    /// When the log that was looked at longest ago was looked at, on the clock of the day; `None`: there is
    /// nothing to look at, 0: one never was.
    #[must_use]
    pub fn scrubbed_since_ms(&self) -> Option<i64> {
        let mut logs = self.logs.borrow_mut();
        let ids = logs.by_id.ids();
        let sealed = ids.into_iter().filter_map(|id| {
            let log = logs.by_id.get_mut(id).filter(|log| !log.sealed.is_empty())?;
            Some(log.scrubbed_ms)
        });
        sealed.min()
    }

    /// Compares the sealed segments of one log with their checksums, at the pace that the interval asks for.
    pub(super) async fn scrub_log(&self, id: LogId) {
        let began_ms = self.clock.wall_ms();
        let pace = self.scrub_bytes_per_second();
        let mut at = (Offset::ZERO, 0);
        while !self.is_over() && !self.state.closing.get() {
            let (segment, index) = at;
            let next = self.with_log(id, |log| {
                let found = log.sealed.iter().find(|sealed| sealed.base >= segment)?;
                Some((log.partition, found.base))
            });
            let Ok(Some((partition, base))) = next else { break };
            let index = if base == segment { index } else { 0 };
            at = match self.check_span(id, partition, base, index).await {
                Ok(None) => (Offset::new(base.get() + 1), 0),
                // What is wrong with it has been counted and logged.
                Ok(Some(_)) | Err(LogError::Damaged { .. } | LogError::Io { .. }) => (base, index + 1),
                Err(_) => break,
            };
            self.clock.sleep(Duration::from_millis(SPAN_BYTES * 1_000 / pace)).await;
        }
        let _ = self.with_log(id, |log| {
            log.scrubbed_ms = began_ms;
            log.dirty = true;
        });
        self.state.dirty.set(true);
    }

    fn scrub_bytes_per_second(&self) -> u64 {
        let mut logs = self.logs.borrow_mut();
        let ids = logs.by_id.ids();
        let bytes =
            |id| logs.by_id.get_mut(id).map_or(0, |log| log.sealed.iter().map(|s| s.length).sum::<u64>());
        let total: u64 = ids.into_iter().map(bytes).sum();
        let seconds = (self.options.scrub_interval.as_secs() / 100 * PLANNED_PERCENT).max(1);
        (total / seconds).max(SCRUB_BYTES_PER_SECOND_MIN)
    }
}
