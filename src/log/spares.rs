//! Segment files that retention has freed are kept for a while, to become segments again: blocks that were
//! written before are the cheapest to write, since the file system changes nothing but their bytes.
//!
//! A spare lies in the shard's directory, so that it goes with its generation; logs in other data directories
//! have none. Its bytes are of no meaning: what
//! a log's end and the journal do not vouch for is never read from a segment. Only a file that nobody reads any
//! more is kept; whoever still sends from the old name keeps the old bytes, and the file is removed instead.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    path::PathBuf,
};

use super::{LogId, Logs, Store, files::is_absent, partition_log::Sealed, places::LogDir};
use crate::{
    io::{buffer::block_end, disk::Open},
    model::{Offset, TopicPartition},
};

/// Files kept per shard.
const SPARES_MAX: usize = 8;
/// A log that would fill a spare within this time takes it.
const FILLED_WITHIN_SECONDS: u64 = 60;

/// A file that waits to become a segment.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    length: u64,
    kept_ms: u64,
}

/// The spares of a shard, oldest first.
#[derive(Debug, Default)]
pub(super) struct Spares {
    kept: RefCell<VecDeque<Spare>>,
    named: Cell<u64>,
    /// How many have become segments again.
    pub(super) used: Cell<u64>,
}

impl Spares {
    fn bytes(&self) -> u64 {
        self.kept.borrow().iter().map(|spare| spare.length).sum()
    }

    /// The longest that is not longer than `length_max`.
    fn take(&self, length_max: u64) -> Option<Spare> {
        let mut kept = self.kept.borrow_mut();
        let fitting = kept.iter().enumerate().filter(|(_, spare)| spare.length <= length_max);
        let at = fitting.max_by_key(|(_, spare)| spare.length)?.0;
        kept.remove(at)
    }

    fn take_older(&self, than_ms: u64) -> Option<Spare> {
        let mut kept = self.kept.borrow_mut();
        let is_older = kept.front().is_some_and(|spare| spare.kept_ms <= than_ms);
        if is_older { kept.pop_front() } else { None }
    }
}

impl Store {
    /// Keeps the file of a segment that its log has forgotten, if there is use for it; else it is still there.
    /// `nobody_reads`: no one has it open.
    pub(super) async fn keep_as_spare(
        &self,
        partition: TopicPartition,
        segment: Sealed,
        nobody_reads: bool,
    ) -> bool {
        let options = &self.options;
        let is_useful = segment.length >= options.spare_file_bytes_min
            && self.spares.bytes() + segment.length <= options.spare_bytes_max
            && self.spares.kept.borrow().len() < SPARES_MAX;
        if !nobody_reads
            || !is_useful
            || !self.lies_here(partition)
            || self.spaces.is_full(LogDir::OWN)
            || self.state.closing.get()
        {
            return false;
        }
        let named = self.spares.named.get();
        self.spares.named.set(named + 1);
        let path = self.directory().join(format!("spare-{named}"));
        let from = self.segment_path(partition, segment.base, segment.version);
        if let Err(error) = self.disk.rename(&from, &path).await {
            tracing::debug!(file = %from.display(), %error, "not kept");
            return false;
        }
        let kept_ms = self.clock.monotonic_ms();
        self.spares.kept.borrow_mut().push_back(Spare { path, length: segment.length, kept_ms });
        true
    }

    /// Gives a log that grows fast enough a spare as the file of its new segment; the caller makes its name
    /// durable.
    pub(super) async fn use_spare(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
    ) -> io::Result<()> {
        if !self.lies_here(partition) {
            return Ok(());
        }
        let wanted = self.with_log(id, |log| {
            let soon = log.rate.bytes_per_second().saturating_mul(FILLED_WITHIN_SECONDS);
            log.settings.segment_bytes.min(soon)
        });
        let Some(spare) = wanted.ok().and_then(|length_max| self.spares.take(length_max)) else {
            return Ok(());
        };
        let path = self.segment_path(partition, segment, 0);
        let renamed = self.disk.rename(&spare.path, &path).await;
        if is_absent(&renamed) {
            return Ok(());
        }
        renamed?;
        self.spares.used.set(self.spares.used.get() + 1);
        Ok(())
    }

    /// Removes spares that nobody has taken for as long as retention waits between two looks, or all.
    pub(super) async fn drop_spares(&self, all: bool) {
        let patience_ms =
            u64::try_from(self.options.retention_check_interval.as_millis()).unwrap_or(u64::MAX);
        let than_ms = if all { u64::MAX } else { self.clock.monotonic_ms().saturating_sub(patience_ms) };
        while let Some(spare) = self.spares.take_older(than_ms) {
            let removed = self.disk.remove_file(&spare.path).await;
            if !is_absent(&removed)
                && let Err(error) = removed
            {
                tracing::warn!(file = %spare.path.display(), %error, "a file that is no longer needed remains");
            }
        }
    }

    /// How many files have become segments again.
    #[must_use]
    pub fn spares_used(&self) -> u64 {
        self.spares.used.get()
    }

    /// Gives back the space that was made ahead of a log that rests.
    pub(super) async fn give_back(&self, id: LogId) -> io::Result<()> {
        let taken = {
            let mut logs = self.logs.borrow_mut();
            logs.take_surplus(id, self.options.spare_file_bytes_min)
        };
        let Some((partition, segment, end)) = taken else { return Ok(()) };
        let cut = match self.segment_file(id, partition, segment, Open::Existing).await {
            Ok(file) => file.set_length(end).await,
            Err(error) => Err(error),
        };
        let _ = self.with_log(id, |log| log.live_segment(segment).map(|live| live.allocated = end));
        self.logs.borrow_mut().release(id);
        self.signals.settled.notify();
        self.signals.settle.notify();
        self.signals.extent.notify();
        cut
    }
}

impl Logs {
    /// A resting log with at least `bytes_min` bytes of space more than it has use for: it is the caller's until
    /// [`Logs::release`], and its file may be cut to the end that is told.
    fn take_surplus(&mut self, id: LogId, bytes_min: u64) -> Option<(TopicPartition, Offset, u64)> {
        let log = self.by_id.get_mut(id)?;
        let (partition, is_busy) = (log.partition, log.settling || log.preparing || log.doomed);
        let live = log.active_mut();
        let (segment, end) = (live.base, block_end(live.end));
        if is_busy || !live.created || live.rolled || live.allocated < end + bytes_min {
            return None;
        }
        log.settling = true;
        self.settling += 1;
        Some((partition, segment, end))
    }
}
