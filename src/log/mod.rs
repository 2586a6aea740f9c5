//! Segments and the journal on disk: one [`Store`] per shard holds the logs of its partitions.
//!
//! The room knows bytes, offsets and leader epochs. It does not know who leads, who reads, which offsets
//! a consumer may see, or what is in a record; it names no executor, ring or socket, only `io`'s traits.
//!
//! An append is synchronous: one copy of the batch into the journal's gathering group, one into the
//! partition's memory tail. Everything else happens in tasks that the shard spawns once:
//! [`Store::run_commits`] (in front), [`Store::run_flushes`], [`Store::run_settling`],
//! [`Store::run_checkpoints`], [`Store::run_retention`], [`Store::run_compaction`] and [`Store::run_scrub`]
//! (behind).
//!
//! ```text
//! append --> gathering group --(one write, and a sync if due)--> journal      written_end, durable_end
//!        \-> memory tail --(whole blocks, large writes)--> segment --+
//!                                                  checkpoint: journal files are free again
//! ```
//!
//! What a caller may rely on, by what [`Observer::progressed`] has told:
//!
//! | batch is below | survives `kill -9` | survives power loss |
//! |----------------|--------------------|---------------------|
//! | `written_end`  | always             | all but the last `flush_interval` or 1 MiB |
//! | `durable_end`  | always             | always              |
//!
//! In the order to read them: [`format`] (bytes on disk), `partition_log.rs` (one log's state), `tail.rs`
//! (memory), `journal.rs` and `commit.rs` (group commit), `settle.rs` (segments), `checkpoint.rs` (what)
//! and `checkpointing.rs` (when), [`recovery`] and `replay.rs` (after a crash), [`generation`] (which
//! shards' directories are valid), `compaction` (the last record of each key), `retention.rs`, [`sidecar`],
//! `audit.rs` and `integrity.rs` (nothing damaged is served), `scrub.rs`, `reserve.rs` (a full disk), `reader.rs`,
//! `ranges.rs`, `time.rs`, [`index`], [`leader_epochs`]; `files.rs`, `lru.rs` and
//! `slab.rs` are bounded caches and names.

mod audit;
mod checkpoint;
mod checkpointing;
mod commit;
mod compaction;
mod error;
mod extents;
mod files;
pub mod format;
pub mod generation;
pub mod index;
mod integrity;
mod journal;
pub mod leader_epochs;
mod lru;
pub mod offline;
mod partition_log;
mod ranges;
mod reader;
pub mod recovery;
mod replay;
mod reserve;
mod retention;
mod scrub;
mod settle;
pub mod sidecar;
mod slab;
mod tail;
#[cfg(test)]
mod tests;
mod time;
mod vouch;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

pub use crate::io::send::Piece;
pub use compaction::CompactionOptions;
pub use error::{LogError, OpenError};
pub use generation::{Generation, current_generation, move_orphans, publish_generation};
pub use integrity::IntegrityCounts;
pub use ranges::ReadLimits;
pub use recovery::RecoveredLog;
pub use slab::LogId;

use crate::{
    io::{
        clock::Clock,
        disk::{Disk, DiskFile},
        notify::Notify,
    },
    log::{
        format::{Frame, index_name, partition_directory, segment_name},
        index::Entry,
        journal::Journal,
        lru::Lru,
        partition_log::{Log, NewBatch, Sealed},
        slab::Slab,
    },
    model::{LeaderEpoch, Offset, ProducerId, TopicPartition, TopicSettings},
};

/// Where a store lies, and its bounds. Sizes in bytes.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory, shared by all shards of it.
    pub data: PathBuf,
    /// Number of this shard, from 0.
    pub shard: u32,
    /// The generation being started: one more than the valid one.
    pub generation: Generation,
    /// Random, another one at every start.
    pub journal_id: u64,
    /// Length of a journal file.
    pub journal_file_bytes: u64,
    /// Journal files per shard.
    pub journal_files_max: u32,
    /// Largest group of frames, unless a single batch is larger.
    pub group_bytes_max: usize,
    /// Longest time that written bytes wait for a sync.
    pub flush_interval: Duration,
    /// Time between checkpoints of a store that is written to.
    pub checkpoint_interval: Duration,
    /// Batches of at least this many bytes go to their segment at once, and only their place to the journal.
    /// Not below 4096; `usize::MAX`: none does.
    pub extent_bytes_min: usize,
    /// Bytes that wait for their segment, or for the journal, before [`Store::under_pressure`].
    pub unsettled_bytes_max: u64,
    /// Settled bytes kept in memory for readers.
    pub tail_cache_bytes_max: usize,
    /// Open segment files.
    pub open_files_max: usize,
    /// Segment indexes in memory, beside those of active segments.
    pub indexes_max: usize,
    /// Every sealed segment is compared with its checksums once in this time.
    pub scrub_interval: Duration,
    /// Space that is kept for a full disk; 0: none.
    pub reserve_bytes: u64,
    /// Time between two looks for segments that have expired (`log.retention.check.interval.ms`).
    pub retention_check_interval: Duration,
    /// Bounds and pace of compaction.
    pub compaction: CompactionOptions,
}

impl StoreOptions {
    /// The default bounds.
    #[must_use]
    pub fn new(data: PathBuf, shard: u32, generation: Generation, journal_id: u64) -> Self {
        Self {
            data,
            shard,
            generation,
            journal_id,
            journal_file_bytes: 64 << 20,
            journal_files_max: 4,
            group_bytes_max: 1 << 20,
            flush_interval: Duration::from_millis(50),
            checkpoint_interval: Duration::from_secs(5),
            extent_bytes_min: 32 << 10,
            unsettled_bytes_max: 64 << 20,
            tail_cache_bytes_max: 64 << 20,
            open_files_max: 1024,
            indexes_max: 32,
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            reserve_bytes: 0,
            retention_check_interval: Duration::from_secs(300),
            compaction: CompactionOptions::default(),
        }
    }
}

/// Smallest extent: what is smaller might not fill one block.
const EXTENT_BYTES_MIN: usize = 4096;

/// A batch in two pieces; the second may be empty.
pub type Parts<'a> = [&'a [u8]; 2];

/// What the caller knows of a batch it appends, beyond its bytes.
#[derive(Debug, Clone, Copy)]
pub struct AppendInfo {
    /// Offset after the batch.
    pub next_offset: Offset,
    /// The leader epoch it is stamped with.
    pub leader_epoch: LeaderEpoch,
    /// Its largest timestamp, -1 for none.
    pub max_timestamp: i64,
    /// It is to be synced at once (acks=all), rather than within the flush interval.
    pub durable: bool,
    /// The time of day.
    pub now_ms: i64,
}

/// What bytes were written for. All but the first, divided by the first, is the write amplification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Batches that appends have brought, once written.
    Appended,
    /// To the journal: groups, and zeros ahead of them.
    Journal,
    /// To segments.
    Segments,
    /// To checkpoints and indexes.
    Checkpoints,
}

/// Hears of what happens to logs. Called from the store's tasks, never from within a call to the store.
pub trait Observer {
    /// Batches below `written_end` have reached the disk, those below `durable_end` stable storage.
    fn progressed(&self, log: LogId, written_end: Offset, durable_end: Offset);

    /// What the caller wants to find again with the log: its state after exactly the batches appended so
    /// far. Must not call the store.
    fn snapshot(&self, log: LogId) -> Vec<u8>;

    /// So many more bytes of this class: see [`Written`].
    fn wrote(&self, what: Written, bytes: u64) {
        let _ = (what, bytes);
    }
    /// Compaction leaves alone what lies at or above: the high watermark, or the first undecided transaction.
    fn stable_end(&self, log: LogId) -> Offset;

    /// The last offset of the last batch of each producer that is still known: compaction keeps that batch.
    fn last_offsets(&self, log: LogId) -> HashMap<ProducerId, Offset>;

    /// Retention has raised the log start, durably.
    fn log_start_raised(&self, log: LogId, start: Offset);

    /// The log, or all of them, can take nothing more until a restart.
    fn failed(&self, log: Option<LogId>, why: &str);
}

/// The logs and the journal of one shard. All calls come from the shard's own thread.
pub struct Store {
    disk: Rc<dyn Disk>,
    clock: Rc<dyn Clock>,
    options: StoreOptions,
    logs: RefCell<Logs>,
    journal: RefCell<Journal>,
    files: RefCell<Lru<SegmentKey, Rc<dyn DiskFile>>>,
    indexes: RefCell<Lru<SegmentKey, OlderIndex>>,
    sidecars: RefCell<Lru<SegmentKey, Rc<sidecar::Spans>>>,
    verified: RefCell<Lru<SegmentKey, VerifiedSpans>>,
    findings: RefCell<integrity::Findings>,
    shared_files: RefCell<ranges::SharedFiles>,
    observer: RefCell<Option<Rc<dyn Observer>>>,
    state: State,
    signals: Signals,
    /// Former shards whose journals lost durable frames.
    damaged_journals: RefCell<Vec<u32>>,
}

/// A segment's file: whose, base offset, and how often it was rewritten.
type SegmentKey = (LogId, Offset, u32);

/// Spans of a sealed segment that have matched their checksums.
type VerifiedSpans = Rc<RefCell<std::collections::BTreeSet<u64>>>;

/// The entries of a segment's index file, and what walks have learned since.
type OlderIndex = Rc<RefCell<Vec<Entry>>>;

/// The logs, and what is counted over all of them.
#[derive(Default)]
struct Logs {
    by_id: Slab<Log>,
    /// Bytes that settling could write.
    unsettled: u64,
    to_settle: VecDeque<LogId>,
    /// Logs with extents that a group of the journal waits for.
    urgent: VecDeque<LogId>,
    /// Logs that soon need space.
    to_prepare: VecDeque<LogId>,
    /// Workers that are at a log.
    settling: usize,
    /// Chunks that readers may still want, oldest first: log and bytes.
    settled_chunks: VecDeque<(LogId, usize)>,
    settled_bytes: usize,
    /// Files that no log needs any more, but a checkpoint still may; oldest first.
    condemned: VecDeque<Condemned>,
}

/// A segment that its log has forgotten. Its files go once neither of the two checkpoints knows it: a
/// recovery from either finds every file that it pictures.
struct Condemned {
    id: LogId,
    partition: TopicPartition,
    segment: Sealed,
    /// The checkpoint with which they go.
    checkpoint: u64,
}

#[derive(Default)]
struct State {
    failed: RefCell<Option<String>>,
    disk_full: Cell<bool>,
    /// The reserve has been given away.
    reserve_spent: Cell<bool>,
    closing: Cell<bool>,
    closed: Cell<bool>,
    flush_requested: Cell<bool>,
    /// The logs are being put together from checkpoints and journals.
    recovering: Cell<bool>,
    checkpoint_requested: Cell<bool>,
    checkpointing: Cell<bool>,
    /// Something was appended or created since the last checkpoint.
    dirty: Cell<bool>,
    checkpoint_sequence: Cell<u64>,
    checkpoint_files: Cell<checkpoint::Files>,
    /// Replay position of the newest durable checkpoint.
    replay_sequence: Cell<u64>,
}

/// Who waits for what. One notification wakes all that wait for it.
#[derive(Default)]
struct Signals {
    commit: Notify,
    flush: Notify,
    settle: Notify,
    extent: Notify,
    settled: Notify,
    checkpoint: Notify,
    journal_room: Notify,
    room: Notify,
    compaction: Notify,
    reserve: Notify,
    retention: Notify,
    progress: Notify,
}

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
        let is_full = self.state.disk_full.get();
        let mut journal = self.journal.borrow_mut();
        let bytes_max = journal.batch_bytes_max();
        let bytes = batch[0].len() + batch[1].len();
        if bytes > bytes_max {
            return Err(LogError::TooLarge { bytes, bytes_max });
        }
        let mut logs = self.logs.borrow_mut();
        let log = logs.by_id.get_mut(id).ok_or(LogError::UnknownLog)?;
        if is_full && !log.on_reserve {
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

    fn count(&self, what: Written, bytes: u64) {
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.wrote(what, bytes);
        }
    }

    fn check_usable(&self) -> Result<(), LogError> {
        if let Some(why) = &*self.state.failed.borrow() {
            return Err(LogError::Failed { why: why.clone() });
        }
        if self.state.closing.get() { Err(LogError::Closing) } else { Ok(()) }
    }

    fn with_log<T>(&self, id: LogId, read: impl FnOnce(&mut Log) -> T) -> Result<T, LogError> {
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
    async fn record(&self, id: LogId, command: Frame, payload: Parts<'_>) -> Result<(), LogError> {
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

    /// Whether appends are refused for want of space.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.state.disk_full.get()
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

    /// Makes one empty log, as [`Store::create_logs`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn create_log(
        &self,
        partition: TopicPartition,
        settings: Arc<TopicSettings>,
    ) -> Result<LogId, LogError> {
        let made = self.create_logs(vec![(partition, settings)]).await?;
        made.first().copied().ok_or(LogError::UnknownLog)
    }

    /// Makes empty logs with durable directories, in their order. Files of an earlier life that recovery knew
    /// nothing of are moved to `orphaned/`. The names of one topic that stand together share a sync.
    ///
    /// # Errors
    /// A directory could not be made, or the store takes nothing: there is no log then, only directories.
    pub async fn create_logs(
        &self,
        new: Vec<(TopicPartition, Arc<TopicSettings>)>,
    ) -> Result<Vec<LogId>, LogError> {
        self.check_usable()?;
        for of_topic in new.chunk_by(|(one, _), (next, _)| one.topic == next.topic) {
            self.create_partition_directories(of_topic.iter().map(|(partition, _)| *partition)).await?;
        }
        let logs = &mut *self.logs.borrow_mut();
        let insert = |(partition, settings)| logs.by_id.insert(Log::new(partition, settings, Offset::ZERO));
        let ids = new.into_iter().map(insert).collect();
        self.state.dirty.set(true);
        self.signals.checkpoint.notify();
        Ok(ids)
    }

    /// Makes the directories of partitions of one topic.
    async fn create_partition_directories(
        &self,
        partitions: impl Iterator<Item = TopicPartition>,
    ) -> Result<(), LogError> {
        let directories: Vec<_> =
            partitions.map(|one| partition_directory(&self.options.data, one)).collect();
        let topic = directories.first().and_then(|directory| directory.parent()).map(Path::to_owned);
        let Some(topic) = topic else { return Ok(()) };
        let failed = |source| LogError::Io { path: topic.clone(), source };
        let there = match self.disk.list(&topic).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            names => names.map_err(failed)?.into_iter().collect(),
        };
        for directory in directories.iter().filter(|path| there.contains(&files::file_name(path))) {
            if !self.disk.list(directory).await.map_err(failed)?.is_empty() {
                let moved = generation::set_aside(&*self.disk, &self.options.data, directory).await;
                moved.map_err(|error| failed(io::Error::other(error)))?;
            }
        }
        let names = directories.iter().map(|path| files::file_name(path)).collect();
        self.disk.create_children(&topic, names).await.map_err(failed)
    }

    /// Forgets a log and removes its files. The caller has already made durable that it is gone.
    ///
    /// # Errors
    /// The files could not be removed; the log is forgotten all the same.
    pub async fn delete_log(&self, id: LogId) -> Result<(), LogError> {
        self.with_log(id, |log| log.doomed = true)?;
        while self.with_log(id, |log| log.settling || log.preparing || log.compacting)? {
            self.signals.settled.notified().await;
        }
        let log = self.logs.borrow_mut().remove(id).ok_or(LogError::UnknownLog)?;
        self.files.borrow_mut().retain(|key| key.0 != id);
        self.indexes.borrow_mut().retain(|key| key.0 != id);
        self.sidecars.borrow_mut().retain(|key| key.0 != id);
        self.verified.borrow_mut().retain(|key| key.0 != id);
        self.shared_files.borrow_mut().forget_log(id);
        self.state.dirty.set(true);
        self.signals.settled.notify();
        self.signals.room.notify();
        let directory = partition_directory(&self.options.data, log.partition);
        // The directory of the topic goes with its last partition, whichever shard removes that one.
        match self.remove_with_parent(&directory).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LogError::Io { path: directory, source })
            }
            _ => Ok(()),
        }
    }

    async fn remove_with_parent(&self, directory: &Path) -> io::Result<()> {
        self.disk.remove_directory(directory).await?;
        match directory.parent() {
            Some(parent) if self.disk.list(parent).await?.is_empty() => {
                self.disk.remove_directory(parent).await
            }
            _ => Ok(()),
        }
    }

    /// Refuses appends, then makes durable what there is; `clean`: settles all of it and says so in a last
    /// checkpoint, so that the next start replays nothing. The store's tasks must be running; they end.
    ///
    /// # Errors
    /// [`LogError::Failed`]; the next start recovers as after a crash.
    pub async fn close(&self, clean: bool) -> Result<(), LogError> {
        self.state.closing.set(true);
        self.signals.compaction.notify();
        let is_durable = || {
            let journal = self.journal.borrow();
            journal.is_idle() && journal.durable_end == journal.next_sequence
        };
        while !is_durable() && self.failure().is_none() {
            self.request_flush();
            self.signals.progress.notified().await;
        }
        if clean && self.failure().is_none() {
            self.save_indexes().await;
            self.checkpoint(true).await;
        }
        self.state.closed.set(true);
        self.wake_all();
        self.failure().map_or(Ok(()), |why| Err(LogError::Failed { why }))
    }

    /// Asks for a checkpoint soon.
    pub fn request_checkpoint(&self) {
        self.state.checkpoint_requested.set(true);
        self.signals.checkpoint.notify();
    }

    /// The store takes nothing more: failed or closed.
    fn is_over(&self) -> bool {
        self.state.closed.get() || self.state.failed.borrow().is_some()
    }

    /// Nothing that was acknowledged is touched any more, and nothing is acknowledged.
    fn fence(&self, why: String) {
        if self.state.failed.borrow().is_some() {
            return;
        }
        tracing::error!(
            shard = self.options.shard,
            why,
            "the shard's disk has failed; it takes nothing more"
        );
        *self.state.failed.borrow_mut() = Some(why.clone());
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.failed(None, &why);
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        let s = &self.signals;
        [
            &s.commit,
            &s.flush,
            &s.settle,
            &s.extent,
            &s.settled,
            &s.checkpoint,
            &s.journal_room,
            &s.room,
            &s.compaction,
            &s.reserve,
            &s.retention,
            &s.progress,
        ]
        .into_iter()
        .for_each(Notify::notify);
    }

    fn segment_path(&self, partition: TopicPartition, segment: Offset, version: u32) -> PathBuf {
        partition_directory(&self.options.data, partition).join(segment_name(segment, version))
    }

    fn index_path(&self, partition: TopicPartition, segment: Offset, version: u32) -> PathBuf {
        partition_directory(&self.options.data, partition).join(index_name(segment, version))
    }

    fn directory(&self) -> PathBuf {
        let options = &self.options;
        format::shard_directory(&options.data, options.generation.number, options.shard)
    }
}
