//! Compaction (`cleanup.policy` = compact): of each key the last record is kept.
//!
//! One task per shard looks for the log with the largest dirty share and makes a pass over it; what is
//! rewritten are sealed segments, never the active one, and nothing at or above the high watermark or an
//! undecided transaction. Offsets keep their gaps, batches their producer's fields; a batch of which every
//! record stays is copied byte for byte.
//!
//! Bounds: the map of keys takes `log.cleaner.dedupe.buffer.size` per shard, and what does not fit is left
//! for the next pass; a pass holds two pieces of a segment and one unpacked batch in memory, and keeps to
//! `log.cleaner.io.max.bytes.per.second`.
//!
//! In the order to read them: `choice.rs` (which log, which part), `cleaning.rs` (what is kept),
//! `key_map.rs`, `transactions.rs`, `pass.rs` (the I/O of it), `writer.rs`, [`replace`] (old or new segment,
//! whatever happens).

mod choice;
mod cleaning;
mod key_map;
mod pass;
pub(super) mod replace;
pub(super) mod transactions;
mod writer;

use std::{rc::Rc, time::Duration};

use futures_lite::future;

use self::{choice::Candidate, pass::Interrupted};
use crate::{
    log::{LogId, Store},
    model::Offset,
};

/// Bounds and pace of compaction; Kafka's names in brackets.
#[derive(Debug, Clone, Copy)]
pub struct CompactionOptions {
    /// Largest map of keys, in bytes (`log.cleaner.dedupe.buffer.size`); 24 bytes a slot.
    pub dedupe_buffer_bytes: usize,
    /// Bytes read and written per second at most (`log.cleaner.io.max.bytes.per.second`).
    pub io_bytes_per_second: u64,
    /// Wait after a look that found nothing to do (`log.cleaner.backoff.ms`).
    pub backoff: Duration,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            dedupe_buffer_bytes: 16 << 20,
            io_bytes_per_second: 64 << 20,
            backoff: Duration::from_secs(15),
        }
    }
}

impl Store {
    /// Compacts logs, one at a time, until the store is closed or fails.
    pub async fn run_compaction(self: Rc<Self>) {
        while !self.is_over() && !self.state.closing.get() {
            if !self.compact_dirtiest().await {
                let wait = self.clock.sleep(self.options.compaction.backoff);
                future::or(self.signals.compaction.notified(), wait).await;
            }
        }
    }

    /// Makes a pass over the log that needs it most. False if there was none, or it came to nothing.
    pub(super) async fn compact_dirtiest(&self) -> bool {
        let Some((id, candidate)) = self.dirtiest().await else { return false };
        let Ok(partition) = self.with_log(id, |log| {
            log.compacting = true;
            log.partition
        }) else {
            return false;
        };
        let result = self.compact_log(id, &candidate).await;
        let _ = self.with_log(id, |log| log.compacting = false);
        self.signals.settled.notify();
        match result {
            Ok(done) => {
                tracing::info!(%partition, from = %candidate.dirty.start, to = %done.compacted_to, keys = done.keys,
                    bytes_before = done.bytes_before, bytes_after = done.bytes_after, "compacted");
                let has_come_further = done.compacted_to > candidate.dirty.start;
                if !has_come_further {
                    let _ = self.with_log(id, |log| log.undecided_below = Some(candidate.dirty.end));
                }
                has_come_further
            }
            Err(Interrupted::Unwanted) => false,
            Err(Interrupted::DiskFull) => {
                tracing::warn!(%partition, "no space left to compact; trying again later");
                false
            }
            Err(Interrupted::Log(error)) => {
                tracing::info!(%partition, %error, "compaction ended");
                false
            }
            Err(error @ (Interrupted::Damaged { .. } | Interrupted::Io(_))) => {
                tracing::error!(%partition, %error, "the log is not compacted any more until the next start");
                let _ = self.with_log(id, |log| log.uncleanable = true);
                false
            }
        }
    }

    /// The log with the largest dirty share of those that are due.
    async fn dirtiest(&self) -> Option<(LogId, Candidate)> {
        let mut best: Option<(LogId, Candidate)> = None;
        let ids = self.logs.borrow().by_id.ids();
        for id in ids {
            let Some(candidate) = self.candidate(id) else { continue };
            if best.as_ref().is_some_and(|(_, best)| best.ratio >= candidate.ratio) {
                continue;
            }
            let is_due = match candidate.due_before_ms {
                _ if candidate.is_due => true,
                Some(before_ms) => {
                    let first_ms = self.first_dirty_timestamp(id, &candidate).await;
                    first_ms.is_ok_and(|first_ms| (1..before_ms).contains(&first_ms))
                }
                None => false,
            };
            if is_due {
                best = Some((id, candidate));
            }
        }
        best
    }

    fn candidate(&self, id: LogId) -> Option<Candidate> {
        let (is_compacted, partition) =
            self.with_log(id, |log| (log.settings.cleanup_policy.compact, log.partition)).ok()?;
        if !is_compacted || self.has_no_space(partition) {
            return None;
        }
        let stable = self.observer.borrow().clone().map_or(Offset::ZERO, |observer| observer.stable_end(id));
        let now_ms = self.clock.wall_ms();
        self.with_log(id, |log| choice::candidate(log, stable.min(log.durable_end), now_ms)).ok()?
    }
}
