//! From the memory tail to the segments: whole blocks, in large writes, in the background.
//!
//! A block is written once, when it is full; the partial last block of an active segment stays in memory
//! and in the journal (after a checkpoint: in the checkpoint). When a segment is rolled its last block is
//! written padded, the file is synced and cut to its exact length, and nothing touches it again.
//!
//! Several workers take logs from one queue; a log is with one worker at a time. Space is reserved ahead
//! (`ahead.rs`), or here, and never on the way of an append: a log for which there is none goes back to its queue
//! for a while, and appends are refused meanwhile (`reserve.rs`).

use std::{io, rc::Rc};

use futures_lite::future;

use crate::{
    io::{
        buffer::{AlignedBuffer, AlignedSlice, block_end, block_start},
        disk::{DiskFile, Open, Sync},
    },
    log::{
        LogId, Logs, Store, Written,
        commit::RETRY_INTERVAL,
        files::{is_absent, join_all},
        partition_log::{Appended, Log, NewBatch, Sealed},
        places::LogDir,
    },
    model::{Offset, TopicPartition},
};

/// Bytes that must be pending before a log is settled without a checkpoint asking for it.
const SETTLE_BYTES_MIN: u64 = 128 * 1024;
/// Bytes of one log written side by side.
const WRITE_BYTES_MAX: u64 = 2 << 20;

/// The next thing to do for one log.
enum Step {
    Create {
        segment: Offset,
    },
    Allocate {
        segment: Offset,
        end: u64,
    },
    Write {
        segment: Offset,
        position: u64,
        pieces: Vec<AlignedSlice>,
    },
    /// The space for it is being made.
    Wait {
        segment: Offset,
    },
    Seal {
        segment: Offset,
        length: u64,
    },
}

impl Logs {
    /// As [`Log::append`]; queues the log for settling when enough is pending, and for space ahead of it.
    pub(super) fn append(&mut self, id: LogId, batch: &NewBatch<'_>) -> Option<Appended> {
        let log = self.by_id.get_mut(id)?;
        let before = log.unsettled();
        let mut appended = log.append(batch);
        let pending = log.unsettled();
        self.unsettled += pending - before;
        // Replay makes none: what it needs it reserves as it settles.
        if batch.starts_segment.is_none() && log.wants_space() {
            log.preparing = true;
            self.to_prepare.push_back(id);
            appended.queued = true;
        }
        if pending >= SETTLE_BYTES_MIN || log.live.len() > 1 {
            appended.queued |= self.queue(id);
        }
        Some(appended)
    }

    /// The whole blocks of the active segment are to be written at once.
    pub(super) fn queue_extent(&mut self, id: LogId) {
        let Some(log) = self.by_id.get_mut(id) else { return };
        let live = log.active_mut();
        live.extent_end = block_start(live.end);
        if !log.urgent_queued {
            log.urgent_queued = true;
            self.urgent.push_back(id);
        }
    }

    /// Ends a log's active segment, if there is anything in it, and queues it.
    pub(super) fn roll(&mut self, id: LogId) -> bool {
        let Some(log) = self.by_id.get_mut(id).filter(|log| log.active().end > 0) else { return false };
        let before = log.unsettled();
        log.roll();
        log.dirty = true;
        self.unsettled += log.unsettled() - before;
        self.queue(id)
    }

    /// A worker puts a log back for which there was no space.
    fn put_back(&mut self, id: LogId, urgent: bool) {
        let Some(log) = self.by_id.get_mut(id) else { return };
        let (queue, queued) = match urgent {
            true => (&mut self.urgent, &mut log.urgent_queued),
            false => (&mut self.to_settle, &mut log.settle_queued),
        };
        if !std::mem::replace(queued, true) {
            queue.push_back(id);
        }
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
    fn take(&mut self, urgent: bool) -> Option<LogId> {
        let length = if urgent { self.urgent.len() } else { self.to_settle.len() };
        for _ in 0..length {
            let queue = if urgent { &mut self.urgent } else { &mut self.to_settle };
            let id = queue.pop_front()?;
            match self.by_id.get_mut(id) {
                Some(log) if log.settling || log.waits_for_space => queue.push_back(id),
                Some(log) => {
                    let queued = if urgent { &mut log.urgent_queued } else { &mut log.settle_queued };
                    *queued = false;
                    log.settling = true;
                    self.settling += 1;
                    return Some(id);
                }
                None => {}
            }
        }
        None
    }

    pub(super) fn release(&mut self, id: LogId) {
        self.settling -= 1;
        if let Some(log) = self.by_id.get_mut(id) {
            log.settling = false;
        }
    }

    pub(super) fn remove(&mut self, id: LogId) -> Option<Log> {
        let log = self.by_id.remove(id)?;
        self.unsettled -= log.unsettled();
        self.forget_chunks(id);
        self.condemned.retain(|condemned| condemned.id != id);
        Some(log)
    }

    /// The chunks of a log are gone from memory.
    pub(super) fn forget_chunks(&mut self, id: LogId) {
        let gone = self.settled_chunks.iter().filter(|chunk| chunk.0 == id).map(|chunk| chunk.1);
        self.settled_bytes -= gone.sum::<usize>();
        self.settled_chunks.retain(|chunk| chunk.0 != id);
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
    /// What settling does next; nothing if fewer than `bytes_min` are pending. `ahead`: space is made for more than
    /// is there.
    fn next_step(&self, bytes_min: u64, ahead: bool) -> Option<Step> {
        let live = self.live.front()?;
        let segment = live.base;
        let pending = live.settle_end() - live.settled;
        if live.rolled && pending == 0 {
            // Space that is being reserved would come behind the end that sealing gives the file.
            if self.preparing {
                return Some(Step::Wait { segment });
            }
            return Some(Step::Seal { segment, length: live.end });
        }
        if pending == 0 || (!live.rolled && pending < bytes_min && live.settled >= live.extent_end) {
            return None;
        }
        if !live.created {
            return Some(if self.preparing { Step::Wait { segment } } else { Step::Create { segment } });
        }
        let mut pieces = Vec::new();
        let mut end = live.settled;
        while end < live.settle_end() && end - live.settled < WRITE_BYTES_MAX {
            let piece = self.tail.piece(segment, end..live.settle_end())?;
            end += piece.len() as u64;
            pieces.push(piece);
        }
        if end > live.allocated {
            let end = if ahead { self.space_ahead(end) } else { block_end(end) };
            return Some(Step::Allocate { segment, end });
        }
        Some(Step::Write { segment, position: live.settled, pieces })
    }
}

impl Store {
    /// Writes pending blocks to segments, and zeros ahead of the journal, until the store is closed or fails.
    pub async fn run_settling(self: Rc<Self>) {
        let workers = four(|| self.settle_worker(false));
        future::zip(workers, self.prewrite_worker()).await;
    }

    /// Writes the blocks of extents, and makes space for those to come. Acknowledgements wait for it: it runs
    /// beside the journal.
    pub(super) async fn run_extents(&self) {
        future::zip(four(|| self.settle_worker(true)), self.prepare_worker()).await;
    }

    async fn settle_worker(&self, urgent: bool) {
        while !self.is_over() {
            let next = self.logs.borrow_mut().take(urgent);
            let Some(id) = next else {
                match urgent {
                    true => self.signals.extent.notified().await,
                    false => self.signals.settle.notified().await,
                }
                continue;
            };
            let result = self.settle_log(id).await;
            self.logs.borrow_mut().release(id);
            match result {
                Ok(None) => {}
                Ok(Some(dir)) => {
                    self.logs.borrow_mut().put_back(id, urgent);
                    self.wait_for_space(id, dir);
                }
                Err((what, error)) => self.fence(format!("{what}: {error}")),
            }
            self.signals.settled.notify();
            self.signals.settle.notify();
            self.signals.extent.notify();
        }
    }

    /// As [`Store::settle_log`], where nobody else does it: waits for space.
    pub(super) async fn settle_all_of(&self, id: LogId) -> Result<(), (String, io::Error)> {
        while self.settle_log(id).await?.is_some() {
            self.clock.sleep(RETRY_INTERVAL).await;
        }
        Ok(())
    }

    /// Settles what is due of one log; says in which directory there was no space for all of it. The error says what
    /// failed.
    async fn settle_log(&self, id: LogId) -> Result<Option<LogDir>, (String, io::Error)> {
        loop {
            let step = self.with_log(id, |log| {
                let bytes_min = if log.settle_all { 1 } else { SETTLE_BYTES_MIN };
                let dir = self.log_dir(log.partition);
                let ahead = self.may_make_ahead(dir);
                let step = log.next_step(bytes_min, ahead);
                log.settle_all &= step.is_some();
                step.map(|step| (log.partition, dir, ahead && matches!(step, Step::Allocate { .. }), step))
            });
            let Ok(Some((partition, dir, ahead, step))) = step else { return Ok(None) };
            let segment = match &step {
                Step::Create { segment } | Step::Allocate { segment, .. } => *segment,
                Step::Write { segment, .. } | Step::Seal { segment, .. } | Step::Wait { segment } => *segment,
            };
            match self.take_step(id, partition, step).await {
                Ok(()) => self.no_longer_full(dir),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    if ahead {
                        // What is needed now may still be there.
                        self.make_none_ahead(dir);
                    } else if !self.find_no_space(dir).await {
                        return Ok(Some(dir));
                    }
                }
                Err(error) => {
                    let path = self.segment_path(partition, segment, 0);
                    return Err((format!("write to {}", path.display()), error));
                }
            }
            if self.is_over() {
                return Ok(None);
            }
        }
    }

    async fn take_step(&self, id: LogId, partition: TopicPartition, step: Step) -> io::Result<()> {
        match step {
            Step::Create { segment } => self.create_segment(id, partition, segment).await,
            Step::Allocate { segment, end } => self.allocate(id, partition, segment, end).await,
            Step::Wait { .. } => {
                self.signals.settled.notified().await;
                Ok(())
            }
            Step::Write { segment, position, pieces } => {
                let file = self.segment_file(id, partition, segment, Open::Existing).await?;
                let mut end = position;
                let mut writes = Vec::with_capacity(pieces.len());
                for piece in pieces {
                    let at = end;
                    end += piece.len() as u64;
                    writes.push(file.write_at(piece, at, Sync::None));
                }
                let written: io::Result<()> = join_all(writes).await.into_iter().collect();
                written.map_err(final_error)?;
                self.count(Written::Segments, end - position);
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
                    let gone = log.forget_below_start();
                    log.dirty |= !gone.is_empty();
                    gone
                });
                self.condemn(id, partition, gone.unwrap_or_default());
                self.signals.settled.notify();
                Ok(())
            }
        }
    }

    /// Makes a segment's file, durably named. What it holds beyond the log's end is of no meaning: the file may
    /// have been another segment before.
    pub(super) async fn create_segment(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
    ) -> io::Result<()> {
        let directory = self.partition_directory(partition);
        if is_absent(&self.disk.list(&directory).await) {
            self.disk.create_directories(&directory).await?;
        }
        self.sweep_leftovers(id, partition).await?;
        self.use_spare(id, partition, segment).await?;
        let file = self.segment_file(id, partition, segment, Open::OrCreate).await?;
        let allocated = block_start(file.length().await?);
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
        let _ = self.with_log(id, |log| {
            log.live_segment(segment).map(|live| (live.created, live.allocated) = (true, allocated))
        });
        Ok(())
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
                    io::ErrorKind::StorageFull => {
                        self.spend_reserve(LogDir::OWN).await;
                        self.clock.sleep(RETRY_INTERVAL).await;
                    }
                    _ => return self.fence(format!("a new journal file: {error}")),
                }
            }
            let zeros = self.journal.borrow_mut().next_zeros();
            let Some((slot, file, range)) = zeros else {
                self.signals.progress.notified().await;
                continue;
            };
            self.count(Written::Journal, range.end - range.start);
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
pub(super) fn final_error(error: io::Error) -> io::Error {
    io::Error::other(error)
}

async fn four<F: Future<Output = ()>>(worker: impl Fn() -> F) {
    let two = || future::zip(worker(), worker());
    future::zip(two(), two()).await;
}

async fn write_zeros(file: &dyn DiskFile, position: u64, bytes: usize) -> io::Result<()> {
    let mut zeros = AlignedBuffer::with_capacity(bytes);
    while zeros.len() < bytes {
        zeros.extend(&[0; 4096]);
    }
    file.write_at(zeros.freeze(), position, Sync::None).await
}
