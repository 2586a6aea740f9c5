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
//! In the order to read them: `calls.rs` and `lifecycle.rs` (what is asked of a store), [`format`] (bytes on
//! disk), `partition_log.rs` (one log's state), `tail.rs` (memory), `journal.rs`, `commit.rs` and `vouch.rs`
//! (group commit), `settle.rs`, `ahead.rs` and `extents.rs` (segments), `checkpoint.rs` (what) and `checkpointing.rs` (when),
//! [`recovery`] and `replay.rs` (after a crash), [`generation`] (which shards' directories are valid), `places.rs`
//! (which data directory a log lies in),
//! `compaction` (the last record of each key), `retention.rs`, [`sidecar`], `audit.rs` and `integrity.rs`
//! (nothing damaged is served), `scrub.rs`, `spares.rs` (freed files are used
//! again), `reserve.rs` (a full disk), `reader.rs`, `ranges.rs`, `time.rs`,
//! [`index`], [`leader_epochs`]; `files.rs`, `lru.rs` and `slab.rs` are bounded caches and names.

mod ahead;
mod audit;
mod calls;
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
mod lifecycle;
mod lru;
pub mod offline;
mod partition_log;
mod places;
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
mod spares;
mod tail;
#[cfg(test)]
mod tests;
mod time;
mod vouch;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

pub use crate::io::send::Piece;
pub use compaction::CompactionOptions;
pub use error::{LogError, OpenError};
pub use generation::{Generation, current_generation, move_orphans, publish_generation, remove_others};
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
        index::Entry,
        journal::Journal,
        lru::Lru,
        partition_log::{Log, Sealed},
        slab::Slab,
    },
    model::{LeaderEpoch, Offset, ProducerId, TopicPartition},
};

/// A data directory of the broker that is not the shard's own.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// Its path.
    pub data: PathBuf,
    /// Space that the shard keeps there for a full disk once it has logs there; 0: none.
    pub reserve_bytes: u64,
}

/// Where a store lies, and its bounds. Sizes in bytes.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory of this shard's journal and new logs; others may share it.
    pub data: PathBuf,
    /// The broker's other data directories: what a former shard has left there is found, and stays.
    pub elsewhere: Vec<Elsewhere>,
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
    /// Space that is kept in `data` for a full disk; 0: none.
    pub reserve_bytes: u64,
    /// Files of freed segments that are kept to be used again, in all; 0: none are.
    pub spare_bytes_max: u64,
    /// Smaller files are not worth it.
    pub spare_file_bytes_min: u64,
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
            elsewhere: Vec::new(),
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
            spare_bytes_max: 2 << 30,
            spare_file_bytes_min: 1 << 20,
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
    /// Logs that lie in another data directory than the shard's own.
    elsewhere: RefCell<HashMap<TopicPartition, places::LogDir>>,
    spaces: reserve::Spaces,
    logs: RefCell<Logs>,
    journal: RefCell<Journal>,
    files: RefCell<Lru<SegmentKey, Rc<dyn DiskFile>>>,
    indexes: RefCell<Lru<SegmentKey, OlderIndex>>,
    sidecars: RefCell<Lru<SegmentKey, Rc<sidecar::Spans>>>,
    verified: RefCell<Lru<SegmentKey, VerifiedSpans>>,
    findings: RefCell<integrity::Findings>,
    shared_files: RefCell<ranges::SharedFiles>,
    spares: spares::Spares,
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
    closing: Cell<bool>,
    closed: Cell<bool>,
    flush_requested: Cell<bool>,
    /// The logs are being put together from checkpoints and journals.
    recovering: Cell<bool>,
    /// A group has waited long for room in the journal, on a full disk.
    without_journal_room: Cell<bool>,
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
