//! From the memory tail to the segments: whole blocks, in large writes, in the background.
//!
//! A block is written once, when it is full; the partial last block of an active segment stays in memory
//! and in the journal (after a checkpoint: in the checkpoint). When a segment is rolled its last block is
//! written padded, the file is synced and cut to its exact length, and nothing touches it again.
//!
//! Several workers take logs from one queue; a log is with one worker at a time. Space is reserved ahead
//! in steps that follow the segment's size, here and never on the way of an append: a full disk stops
//! settling, which tries again every so often, and appends are refused meanwhile.

use std::{io, rc::Rc};

use futures_lite::future;

use crate::{
    io::{
        buffer::{AlignedBuffer, AlignedSlice},
        disk::{DiskFile, Open, Sync},
    },
    log::{
        LogId, Logs, Parts, Store,
        commit::RETRY_INTERVAL,
        files::is_absent,
        format::partition_directory,
        partition_log::{Log, Sealed},
    },
    model::{LeaderEpoch, Offset, TopicPartition},
};

/// Bytes that must be pending before a log is settled without a checkpoint asking for it.
const SETTLE_BYTES_MIN: u64 = 128 * 1024;
/// First step in which a segment's space is reserved.
const ALLOCATE_BYTES_MIN: u64 = 64 * 1024;
/// Largest step.
const ALLOCATE_BYTES_MAX: u64 = 16 << 20;

/// The next thing to do for one log.
enum Step {
    Create { segment: Offset },
    Allocate { segment: Offset, end: u64 },
    Write { segment: Offset, position: u64, bytes: AlignedSlice },
    Seal { segment: Offset, length: u64 },
}

impl Logs {
    /// As [`Log::append`]; queues the log for settling when enough is pending, and says if it just did.
    #[allow(clippy::too_many_arguments, reason = "the fields of one batch, each of its own type")]
    pub(super) fn append(
        &mut self,
        id: LogId,
        base: Offset,
        next: Offset,
        epoch: LeaderEpoch,
        max_timestamp: i64,
        batch: Parts<'_>,
        now_ms: i64,
    ) -> bool {
        let Some(log) = self.by_id.get_mut(id) else { return false };
        let before = log.unsettled();
        log.append(base, next, epoch, max_timestamp, batch, now_ms);
        let pending = log.unsettled();
        self.unsettled += pending - before;
        if pending >= SETTLE_BYTES_MIN || log.live.len() > 1 {
            return self.queue(id);
        }
        false
    }

    fn queue(&mut self, id: LogId) -> bool {
        let Some(log) = self.by_id.get_mut(id).filter(|log| !log.settle_queued) else { return false };
        log.settle_queued = true;
        self.to_settle.push_back(id);
        true
    }

    /// A checkpoint wants every whole block of a log in its segment.
    pub(super) fn queue_all(&mut self, id: LogId) {
        if let Some(log) = self.by_id.get_mut(id) {
            log.settle_all = true;
            self.queue(id);
        }
    }

    /// The next log for a worker; it is the worker's until [`Logs::release`].
    fn take(&mut self) -> Option<LogId> {
        for _ in 0..self.to_settle.len() {
            let id = self.to_settle.pop_front()?;
            match self.by_id.get_mut(id) {
                Some(log) if log.settling => self.to_settle.push_back(id),
                Some(log) => {
                    (log.settle_queued, log.settling) = (false, true);
                    self.settling += 1;
                    return Some(id);
                }
                None => {}
            }
        }
        None
    }

    fn release(&mut self, id: LogId) {
        self.settling -= 1;
        if let Some(log) = self.by_id.get_mut(id) {
            log.settling = false;
        }
    }

    pub(super) fn remove(&mut self, id: LogId) -> Option<Log> {
        let log = self.by_id.remove(id)?;
        self.unsettled -= log.unsettled();
        let gone = self.settled_chunks.iter().filter(|chunk| chunk.0 == id).map(|chunk| chunk.1);
        self.settled_bytes -= gone.sum::<usize>();
        self.settled_chunks.retain(|chunk| chunk.0 != id);
        self.condemned.retain(|condemned| condemned.id != id);
        Some(log)
    }

    /// A write has reached the segment: its chunks may leave memory, the oldest of the shard first.
    fn settled(&mut self, id: LogId, segment: Offset, end: u64, cache_bytes_max: usize) {
        let Some(log) = self.by_id.get_mut(id) else { return };
        let before = log.unsettled();
        let Some(live) = log.live_segment(segment) else { return };
        let from = std::mem::replace(&mut live.settled, end);
        self.unsettled -= before - log.unsettled();
        let chunks: Vec<usize> = log.tail.settled_within(segment, from..end).collect();
        for bytes in chunks {
            self.settled_chunks.push_back((id, bytes));
            self.settled_bytes += bytes;
        }
        self.evict(cache_bytes_max);
    }

    fn evict(&mut self, cache_bytes_max: usize) {
        while self.settled_bytes > cache_bytes_max
            && let Some((id, bytes)) = self.settled_chunks.pop_front()
        {
            self.settled_bytes -= bytes;
            if let Some(log) = self.by_id.get_mut(id) {
                log.tail.drop_front();
            }
        }
    }

    /// A log rests: see [`crate::log::tail::Tail::shrink`].
    pub(super) fn shrink(&mut self, id: LogId, cache_bytes_max: usize) {
        let Some(log) = self.by_id.get_mut(id) else { return };
        let settled = log.active().settled;
        if let Some(bytes) = log.tail.shrink(settled) {
            self.settled_chunks.push_back((id, bytes));
            self.settled_bytes += bytes;
            self.evict(cache_bytes_max);
        }
    }
}

impl Log {
    /// What settling does next; nothing if fewer than `bytes_min` are pending.
    fn next_step(&self, bytes_min: u64) -> Option<Step> {
        let live = self.live.front()?;
        let segment = live.base;
        let pending = live.settle_end() - live.settled;
        if live.rolled && pending == 0 {
            return Some(Step::Seal { segment, length: live.end });
        }
        if pending == 0 || (!live.rolled && pending < bytes_min) {
            return None;
        }
        if !live.created {
            return Some(Step::Create { segment });
        }
        let bytes = self.tail.piece(segment, live.settled..live.settle_end())?;
        let end = live.settled + bytes.len() as u64;
        if end > live.allocated {
            let step = live.allocated.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
            // What a segment may still grow to is no use to it beyond `segment.bytes`.
            let ahead = (live.allocated + step).min(self.settings.segment_bytes.next_multiple_of(4096));
            return Some(Step::Allocate { segment, end: ahead.max(end) });
        }
        Some(Step::Write { segment, position: live.settled, bytes })
    }
}

impl Store {
    /// Writes pending blocks to segments, and zeros ahead of the journal, until the store is closed or fails.
    pub async fn run_settling(self: Rc<Self>) {
        let workers = future::zip(
            future::zip(self.settle_worker(), self.settle_worker()),
            future::zip(self.settle_worker(), self.settle_worker()),
        );
        future::zip(workers, self.prewrite_worker()).await;
    }

    async fn settle_worker(&self) {
        while !self.is_over() {
            let next = self.logs.borrow_mut().take();
            let Some(id) = next else {
                self.signals.settle.notified().await;
                continue;
            };
            let result = self.settle_log(id).await;
            self.logs.borrow_mut().release(id);
            if let Err((what, error)) = result {
                self.fence(format!("{what}: {error}"));
            }
            self.signals.settled.notify();
            self.signals.settle.notify();
        }
    }

    /// Settles what is due of one log. The error says what failed.
    pub(super) async fn settle_log(&self, id: LogId) -> Result<(), (String, io::Error)> {
        loop {
            let step = self.with_log(id, |log| {
                let bytes_min = if log.settle_all { 1 } else { SETTLE_BYTES_MIN };
                let step = log.next_step(bytes_min);
                log.settle_all &= step.is_some();
                step.map(|step| (log.partition, step))
            });
            let Ok(Some((partition, step))) = step else { return Ok(()) };
            let segment = match &step {
                Step::Create { segment } | Step::Allocate { segment, .. } => *segment,
                Step::Write { segment, .. } | Step::Seal { segment, .. } => *segment,
            };
            match self.take_step(id, partition, step).await {
                Ok(()) => self.no_longer_full(),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => self.wait_for_space().await,
                Err(error) => {
                    let path = self.segment_path(partition, segment, 0);
                    return Err((format!("write to {}", path.display()), error));
                }
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    async fn take_step(&self, id: LogId, partition: TopicPartition, step: Step) -> io::Result<()> {
        match step {
            Step::Create { segment } => self.create_segment(id, partition, segment).await,
            Step::Allocate { segment, end } => {
                let file = self.segment_file(id, partition, segment, Open::Existing).await?;
                file.allocate(end).await?;
                let _ = self.with_log(id, |log| log.live_segment(segment).map(|live| live.allocated = end));
                Ok(())
            }
            Step::Write { segment, position, bytes } => {
                let file = self.segment_file(id, partition, segment, Open::Existing).await?;
                let end = position + bytes.len() as u64;
                file.write_at(bytes, position, Sync::None).await.map_err(final_error)?;
                self.logs.borrow_mut().settled(id, segment, end, self.options.tail_cache_bytes_max);
                self.signals.room.notify();
                self.signals.settled.notify();
                Ok(())
            }
            Step::Seal { segment, length } => {
                let file = self.segment_file(id, partition, segment, Open::Existing).await?;
                file.sync_data().await.map_err(final_error)?;
                file.set_length(length).await?;
                self.save_index(id, segment).await;
                // Without it, the first read of the segment makes it anew.
                let spans =
                    self.with_log(id, |log| log.live_segment(segment).and_then(|live| live.spans.take()));
                if let Ok(Some(spans)) = spans {
                    let saved = self.save_spans(partition, segment, 0, &spans).await;
                    let _ = self
                        .with_log(id, |log| log.live_segment(segment).map(|live| live.spans = Some(spans)));
                    saved?;
                }
                let gone = self.with_log(id, |log| {
                    if let Some(live) = log.live.pop_front() {
                        let (base, max_timestamp) = (live.base, live.max_timestamp);
                        log.sealed.push(Sealed { base, length, max_timestamp, version: 0 });
                    }
                    // The log start may have passed it meanwhile.
                    log.forget_below_start()
                });
                self.condemn(id, partition, gone.unwrap_or_default());
                self.signals.settled.notify();
                Ok(())
            }
        }
    }

    /// Makes a segment's file, empty and durably named. Files of the partition that its log does not know
    /// are leftovers of a start whose journal did not survive as far: they go.
    async fn create_segment(&self, id: LogId, partition: TopicPartition, segment: Offset) -> io::Result<()> {
        let directory = partition_directory(&self.options.data, partition);
        if is_absent(&self.disk.list(&directory).await) {
            self.disk.create_directories(&directory).await?;
        }
        self.sweep_leftovers(id, partition).await?;
        let file = self.segment_file(id, partition, segment, Open::OrCreate).await?;
        if file.length().await? > 0 {
            file.set_length(0).await?;
        }
        for path in [self.index_path(partition, segment, 0), self.sidecar_path(partition, segment, 0)] {
            let stale = self.disk.remove_file(&path).await;
            if !is_absent(&stale) {
                stale?;
            }
        }
        self.indexes.borrow_mut().remove(&(id, segment, 0));
        self.sidecars.borrow_mut().remove(&(id, segment, 0));
        self.verified.borrow_mut().remove(&(id, segment, 0));
        self.disk.sync_directory(&directory).await?;
        let _ = self.with_log(id, |log| log.live_segment(segment).map(|live| live.created = true));
        Ok(())
    }

    fn no_longer_full(&self) {
        if self.state.disk_full.replace(false) {
            tracing::info!(shard = self.options.shard, "there is space on the disk again");
        }
    }

    pub(super) async fn wait_for_space(&self) {
        if !self.state.disk_full.replace(true) {
            tracing::warn!(shard = self.options.shard, "no space left on the disk; appends are refused");
        }
        self.clock.sleep(RETRY_INTERVAL).await;
    }

    /// Writes zeros ahead of the journal's position and adds the next file in time.
    async fn prewrite_worker(&self) {
        while !self.is_over() {
            let spare = self.journal.borrow_mut().wants_spare();
            if let Some(slot) = spare
                && let Err(error) = self.add_journal_file(slot).await
            {
                self.journal.borrow_mut().not_added();
                match error.kind() {
                    io::ErrorKind::StorageFull => self.clock.sleep(RETRY_INTERVAL).await,
                    _ => return self.fence(format!("a new journal file: {error}")),
                }
            }
            let zeros = self.journal.borrow_mut().next_zeros();
            let Some((slot, file, range)) = zeros else {
                self.signals.progress.notified().await;
                continue;
            };
            let written = write_zeros(&*file, range.start, (range.end - range.start) as usize).await;
            self.journal.borrow_mut().zeroed(slot);
            self.signals.journal_room.notify();
            if let Err(error) = written {
                return self.fence(format!("zeros to the journal: {error}"));
            }
        }
    }
}

/// Of a write or a sync that has failed nobody knows what it left: not even for want of space is it tried
/// again.
fn final_error(error: io::Error) -> io::Error {
    io::Error::other(error)
}

async fn write_zeros(file: &dyn DiskFile, position: u64, bytes: usize) -> io::Result<()> {
    let mut zeros = AlignedBuffer::with_capacity(bytes);
    while zeros.len() < bytes {
        zeros.extend(&[0; 4096]);
    }
    file.write_at(zeros.freeze(), position, Sync::None).await
}
