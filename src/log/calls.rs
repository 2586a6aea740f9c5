//! What a caller asks of one log, and of the store as it is. What takes longer has a file of its own.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;

use super::{
    AppendInfo, EXTENT_BYTES_MIN, LogError, LogId, Observer, Parts, Store, Written,
    format::Frame,
    partition_log::{self, Log, NewBatch},
    places::LogDir,
    recovery,
};
use crate::model::{LeaderEpoch, Offset, TopicSettings};

impl Store {
    /// Sets who hears of progress. Once, before the tasks run. What recovery brought for it is forgotten:
    /// its snapshots take the place.
    pub fn set_observer(&self, observer: Rc<dyn Observer>) {
        let logs = &mut *self.logs.borrow_mut();
        for id in logs.by_id.ids() {
            if let Some(log) = logs.by_id.get_mut(id) {
                log.recovered = recovery::Recovered::default();
            }
        }
        *self.observer.borrow_mut() = Some(observer);
    }

    /// Takes a stamped, whole batch. It can be read at once; [`Observer::progressed`] tells when it is safe.
    ///
    /// # Errors
    /// Nothing was taken; the log end offset is as before.
    ///
    /// # Panics
    /// If the batch's base offset is not the log end offset.
    pub fn append(&self, id: LogId, batch: &[u8], info: AppendInfo) -> Result<(), LogError> {
        self.append_parts(id, [batch, &[]], info)
    }

    /// As [`Store::append`], for a batch that lies in two pieces, such as a stamped header and the records
    /// as they were received. The first piece holds at least the base offset.
    ///
    /// # Errors
    /// As [`Store::append`].
    ///
    /// # Panics
    /// As [`Store::append`].
    pub fn append_parts(&self, id: LogId, batch: Parts<'_>, info: AppendInfo) -> Result<(), LogError> {
        self.check_usable()?;
        let mut journal = self.journal.borrow_mut();
        let bytes_max = journal.batch_bytes_max();
        let bytes = batch[0].len() + batch[1].len();
        if bytes > bytes_max {
            return Err(LogError::TooLarge { bytes, bytes_max });
        }
        let mut logs = self.logs.borrow_mut();
        let log = logs.by_id.get_mut(id).ok_or(LogError::UnknownLog)?;
        let is_refused = !log.on_reserve || self.state.without_journal_room.get();
        if is_refused && self.has_no_space(log.partition) {
            return Err(LogError::DiskFull);
        }
        if let Some(range) = &log.quarantined {
            return Err(LogError::Quarantined { start: range.start, end: range.end });
        }
        let base = batch[0].first_chunk().map(|base| Offset::new(i64::from_be_bytes(*base)));
        let base = base.expect("a whole batch has a base offset");
        let (epoch, next) = (info.leader_epoch, info.next_offset);
        let partition = log.partition;
        let AppendInfo { max_timestamp, now_ms, .. } = info;
        let new = NewBatch { base, next, epoch, max_timestamp, parts: batch, now_ms, starts_segment: None };
        let appended = logs.append(id, &new).ok_or(LogError::UnknownLog)?;
        let place = appended.place;
        let is_large =
            bytes >= self.options.extent_bytes_min.max(EXTENT_BYTES_MIN) || journal.extends(id, place);
        let is_extent = appended.has_space && is_large;
        let new_frame = if is_extent { Frame::extent } else { Frame::batch };
        let mut frame = new_frame(partition, epoch.get(), base, next);
        frame.starts_segment = place.position == 0;
        if is_extent {
            let head = || logs.by_id.get_mut(id).map(|log| log.head_of(place)).unwrap_or_default();
            journal.append_extent(id, frame, place, head, batch, info.durable);
            logs.queue_extent(id);
        } else {
            journal.append(id, frame, batch, info.durable);
        }
        drop((journal, logs));
        if is_extent {
            self.signals.extent.notify();
        }
        self.signals.commit.notify();
        if !self.state.dirty.replace(true) {
            self.signals.checkpoint.notify();
        }
        if appended.queued {
            self.signals.settle.notify();
        }
        Ok(())
    }

    pub(super) fn count(&self, what: Written, bytes: u64) {
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.wrote(what, bytes);
        }
    }

    pub(super) fn check_usable(&self) -> Result<(), LogError> {
        if let Some(why) = &*self.state.failed.borrow() {
            return Err(LogError::Failed { why: why.clone() });
        }
        if self.state.closing.get() { Err(LogError::Closing) } else { Ok(()) }
    }

    pub(super) fn with_log<T>(&self, id: LogId, read: impl FnOnce(&mut Log) -> T) -> Result<T, LogError> {
        self.logs.borrow_mut().by_id.get_mut(id).map(read).ok_or(LogError::UnknownLog)
    }

    /// Offset that the next batch gets.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn log_end_offset(&self, id: LogId) -> Result<Offset, LogError> {
        self.with_log(id, |log| log.next)
    }

    /// First offset that can be read.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn log_start_offset(&self, id: LogId) -> Result<Offset, LogError> {
        self.with_log(id, |log| log.log_start)
    }

    /// Batches below have reached the disk.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn written_end(&self, id: LogId) -> Result<Offset, LogError> {
        self.with_log(id, |log| log.written_end)
    }

    /// Batches below have reached stable storage.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn durable_end(&self, id: LogId) -> Result<Offset, LogError> {
        self.with_log(id, |log| log.durable_end)
    }

    /// The largest leader epoch not above `epoch` and the offset where it ends; `None` if `epoch` is above
    /// all that have batches (KIP-320).
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn epoch_end(
        &self,
        id: LogId,
        epoch: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, Offset)>, LogError> {
        self.with_log(id, |log| log.epochs.end(epoch, log.next))
    }

    /// Bytes of the batches in a log, in all its segments.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn log_bytes(&self, id: LogId) -> Result<u64, LogError> {
        self.with_log(id, |log| log.segments().map(|segment| segment.length).sum())
    }

    /// Offsets that were acknowledged and cannot be read back, if any.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn quarantined(&self, id: LogId) -> Result<Option<std::ops::Range<Offset>>, LogError> {
        self.with_log(id, |log| log.quarantined.clone())
    }

    /// Lets the log start at `start`: offsets below can no longer be read. Durable when this returns; the
    /// files of segments wholly below go with the second checkpoint from now. A lower start than the present
    /// one changes nothing.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] above the log end offset: nothing has changed. Otherwise the store has
    /// failed or is closing.
    pub async fn raise_log_start(&self, id: LogId, start: Offset) -> Result<(), LogError> {
        self.check_usable()?;
        let (partition, from, end) = self.with_log(id, |log| (log.partition, log.log_start, log.next))?;
        if start > end {
            return Err(LogError::OffsetOutOfRange { offset: start, start: from, end });
        }
        if start <= from {
            return Ok(());
        }
        // One turn: a checkpoint's picture has both the raised start and the frame, or neither.
        let gone = self.with_log(id, |log| log.start_at(start))?;
        self.condemn(id, partition, gone);
        self.record(id, Frame::log_start(partition, start), [&[], &[]]).await
    }

    /// Puts a command into the journal, and waits until it is durable. What it says of the log must have
    /// been done to the log in the same turn.
    pub(super) async fn record(&self, id: LogId, command: Frame, payload: Parts<'_>) -> Result<(), LogError> {
        let sequence = self.journal.borrow_mut().append(id, command, payload, true);
        self.signals.commit.notify();
        if !self.state.dirty.replace(true) {
            self.signals.checkpoint.notify();
        }
        while self.journal.borrow().durable_end <= sequence {
            if let Some(why) = self.failure() {
                return Err(LogError::Failed { why });
            }
            if self.state.closed.get() {
                return Err(LogError::Closing);
            }
            self.signals.progress.notified().await;
        }
        Ok(())
    }

    /// Changes the settings of a log's topic, from the next append on.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn update_settings(&self, id: LogId, settings: Arc<TopicSettings>) -> Result<(), LogError> {
        self.with_log(id, |log| log.settings = settings)
    }

    /// Someone waits for what is written to become durable: sync now rather than at the interval.
    pub fn request_flush(&self) {
        self.state.flush_requested.set(true);
        self.signals.flush.notify();
    }

    /// Bytes appended that wait for the journal or, in whole blocks, for their segment.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.logs.borrow().unsettled + self.journal.borrow().queued_bytes
    }

    /// Bytes written to the journal, and to segments for it, that no sync has covered yet.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        self.journal.borrow().unsynced_bytes
    }

    /// How many files the journal has, and what they may come to in bytes.
    #[must_use]
    pub fn journal_files(&self) -> (usize, u64) {
        let max = u64::from(self.options.journal_files_max) * self.options.journal_file_bytes;
        (self.journal.borrow().file_count(), max)
    }

    /// Bytes that are kept for a full disk in the shard's own data directory: none while they are spent.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        if self.spaces.is_spent(LogDir::OWN) { 0 } else { self.options.reserve_bytes }
    }

    /// Too much is waiting: callers hold back appends until [`Store::wait_for_room`] is ready.
    #[must_use]
    pub fn under_pressure(&self) -> bool {
        self.unsettled_bytes() > self.options.unsettled_bytes_max
    }

    /// Ready once the store is not under pressure, or has failed.
    pub async fn wait_for_room(&self) {
        while self.under_pressure() && !self.is_over() {
            let is_settling = {
                let logs = self.logs.borrow();
                logs.settling > 0 || !logs.to_settle.is_empty()
            };
            if !is_settling {
                // What is left are small remainders of many logs: only a checkpoint writes those.
                self.request_checkpoint();
            }
            self.signals.room.notified().await;
        }
    }

    /// Why the store has failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state.failed.borrow().clone()
    }

    /// Whether appends are refused for want of space, to all logs or to those in one data directory.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.spaces.any_full()
    }

    /// Memory that a log's bytes and index take, in bytes.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn memory_bytes(&self, id: LogId) -> Result<usize, LogError> {
        self.with_log(id, |log| log.memory_bytes())
    }

    /// Whole batches from `from` on, below `end`, if all of them are in memory; the fast form of
    /// [`Store::read`], which takes `None` for an answer.
    #[must_use]
    pub fn read_tail(
        &self,
        id: LogId,
        from: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Option<Vec<Bytes>> {
        let wanted = partition_log::Wanted { from, end, max_bytes, at_least_one };
        self.read_in_memory(id, wanted).ok()?
    }
}
