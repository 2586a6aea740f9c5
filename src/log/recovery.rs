//! From what the last start left on disk to logs that can be appended to.
//!
//! Each shard of the new generation reads the checkpoint of *every* shard of the former one, takes the
//! partitions it owns, and replays the journals that may hold frames of these from where the checkpoints say. Segments are never
//! scanned: below the pictured position they are durable, all above is in the journal and written again,
//! or in an extent that the journal names (`extents.rs`).
//! Then everything is settled and synced, and the new generation's first checkpoint written. Until the
//! new generation is published the former one stays as it was, in checkpoint and journal, so that a crash
//! at any point here is repaired by doing it all again ([`crate::log::generation`]).
//!
//! What a crash may leave, and what is kept:
//!
//! | found                                                          | done                                  |
//! |----------------------------------------------------------------|---------------------------------------|
//! | newest checkpoint with the clean mark                          | nothing to replay; journal not opened |
//! | one of a checkpoint's files damaged                            | the others make up the newest or the last but one, and its frames are still there |
//! | two of them damaged, or no whole one                           | refused, naming a file                |
//! | journal file named by the checkpoint missing                   | refused, naming the file              |
//! | journal file with frames that is shorter than it was made      | refused, naming the file              |
//! | a frame of a kind or version unknown here                      | refused, naming the directory         |
//! | bad or missing frame, no later frame knew it as durable        | torn tail: cut there, logged          |
//! | bad or missing frame that a later one knew as durable          | corruption: the offsets are quarantined, later frames kept, logged, the journal moved to `orphaned/` |
//! | the same, and nothing says of which partition it was           | refused, naming the directory         |
//! | segment bytes above the pictured position                      | written again, the same bytes         |
//! | extent whose segment bytes match its CRC                       | taken as it lies, not written again; synced |
//! | extent that does not match, no later frame knew it as durable  | torn tail: the journal is cut there, logged |
//! | extent that does not match and a later frame knew as durable   | corruption: as for a frame            |
//! | log start raised in the journal                                | segments below are forgotten; their files go with the second checkpoint |
//! | segment files above the pictured active segment                | written anew when the log reaches them, removed if it never does |
//! | index file older or newer than its segment                     | used as far as the checkpoint vouches |
//! | directory of a generation that was never published             | removed                               |
//! | directory of a generation before the valid one                 | removed                               |
//! | partition in a checkpoint that nobody owns any more            | not taken over; its files stay        |
//! | partition directory that nobody knows                          | moved to `orphaned/` by the caller    |
//!
//! Quarantined offsets were acknowledged: they are not given out again and not jumped over in silence.
//! Reads below them work, reads in them and all appends answer [`crate::log::LogError::Quarantined`].

use std::{cell::RefCell, collections::HashMap, io, ops::Range, path::Path, rc::Rc, sync::Arc};

use crate::{
    io::{
        clock::Clock,
        disk::{Disk, Open},
    },
    log::{
        Generation, LogId, Logs, OpenError, Signals, State, Store, StoreOptions,
        checkpoint::{self, Checkpoint},
        checkpointing::Pictured,
        compaction::replace::Replacement,
        files::is_absent,
        format::{BATCH_HEADER_BYTES, BatchHead, Frame, FrameKind, journal_name, slot_in_name},
        generation::set_aside,
        journal::Journal,
        lru::Lru,
        partition_log::{Log, NewBatch},
        replay::{Next, Replay},
        reserve::Spaces,
        spares::Spares,
    },
    model::{LeaderEpoch, Offset, TopicPartition, TopicSettings},
};

/// Replayed bytes kept in memory before they are settled.
const REPLAYED_BYTES_MAX: u64 = 32 << 20;

/// A log as recovery has found it.
#[derive(Debug)]
pub struct RecoveredLog {
    /// Its name in this store.
    pub log: LogId,
    /// Which partition it is.
    pub partition: TopicPartition,
    /// First offset that can be read.
    pub log_start_offset: Offset,
    /// Offset that the next batch gets.
    pub log_end_offset: Offset,
    /// What [`crate::log::Observer::snapshot`] gave last; empty if it never was asked.
    pub snapshot: Vec<u8>,
    /// Headers of the batches appended after that snapshot, in order.
    pub replayed: Vec<[u8; BATCH_HEADER_BYTES]>,
    /// Offsets that cannot be read back.
    pub quarantined: Option<Range<Offset>>,
}

/// What the caller wants back with a log, until its own snapshot takes the place.
#[derive(Debug, Default, Clone)]
pub(super) struct Recovered {
    pub(super) snapshot: Vec<u8>,
    pub(super) replayed: Vec<[u8; BATCH_HEADER_BYTES]>,
}

/// What a former shard's checkpoint says of the logs that are ours now.
struct FormerShard {
    checkpoint: Checkpoint,
    /// By log: its frames below this sequence are in its entry already.
    captured: HashMap<TopicPartition, u64>,
    has_ours: bool,
}

impl FormerShard {
    /// Whether the log's entry does not have the frame. A log without an entry was made after all entries.
    fn is_new(&self, frame: &Frame) -> bool {
        self.captured.get(&frame.partition).is_none_or(|&captured| frame.sequence >= captured)
    }
}

impl Store {
    /// Opens the logs of one shard of a new generation, from what the `former` one left.
    ///
    /// Of `owned`, those that the former generation knew come back; the others are to be created. Nothing
    /// may be appended before the generation is published and [`Store::adopt`] has returned.
    ///
    /// # Errors
    /// The former generation is as it was; see the table above.
    pub async fn open(
        disk: Rc<dyn Disk>,
        clock: Rc<dyn Clock>,
        options: StoreOptions,
        former: Generation,
        owned: Vec<(TopicPartition, Arc<TopicSettings>)>,
    ) -> Result<(Rc<Self>, Vec<RecoveredLog>), OpenError> {
        assert!(options.journal_files_max >= 2, "a ring has at least two files");
        assert_eq!(options.journal_file_bytes % 4096, 0, "a journal file is whole blocks");
        let o = &options;
        let group_bytes_max = o.group_bytes_max.min(o.journal_file_bytes as usize);
        let journal = Journal::new(o.journal_id, group_bytes_max, o.journal_file_bytes, o.journal_files_max);
        let store = Rc::new(Self {
            disk,
            clock,
            elsewhere: RefCell::default(),
            spaces: Spaces::new(o.elsewhere.len()),
            logs: RefCell::new(Logs::default()),
            journal: RefCell::new(journal),
            files: RefCell::new(Lru::new(o.open_files_max)),
            indexes: RefCell::new(Lru::new(o.indexes_max)),
            sidecars: RefCell::new(Lru::new(o.indexes_max)),
            verified: RefCell::new(Lru::new(o.open_files_max)),
            findings: RefCell::default(),
            shared_files: RefCell::default(),
            spares: Spares::default(),
            observer: RefCell::new(None),
            state: State::default(),
            signals: Signals::default(),
            damaged_journals: RefCell::new(Vec::new()),
            options,
        });
        store.state.recovering.set(true);
        let recovered = store.recover(former, owned.into_iter().collect()).await?;
        store.state.recovering.set(false);
        Ok((store, recovered))
    }

    async fn recover(
        &self,
        former: Generation,
        owned: HashMap<TopicPartition, Arc<TopicSettings>>,
    ) -> Result<Vec<RecoveredLog>, OpenError> {
        let directory = self.directory();
        let removed = self.disk.remove_directory(&directory).await;
        if !is_absent(&removed) {
            removed.map_err(|error| OpenError::io(&directory, error))?;
        }
        let made = self.disk.create_directories(&directory).await;
        made.map_err(|error| OpenError::io(&directory, error))?;
        self.find_elsewhere(owned.keys().copied()).await?;
        let mut ids = HashMap::new();
        let mut journals = Vec::new();
        for shard in 0..former.shards {
            let found = self.load_shard(former.number, shard, &owned, &mut ids).await?;
            journals.extend(found.map(|found| (shard, found)));
        }
        // A log lies in one journal only: if it is known which, the others need not be read.
        let all_known = ids.len() == owned.len();
        for (shard, former_shard) in journals {
            if former_shard.has_ours || !all_known {
                self.replay_shard(former.number, shard, &former_shard, &owned, &mut ids).await?;
            }
        }
        self.settle_replayed().await.map_err(|error| OpenError::io(&self.options.data, error))?;
        self.state.replay_sequence.set(self.journal.borrow().written_end);
        let made = self.make_checkpoint(false, false).await;
        made.map_err(|error| OpenError::io(&directory, error))?;
        Ok(self.found())
    }

    fn found(&self) -> Vec<RecoveredLog> {
        let logs = &mut *self.logs.borrow_mut();
        let mut found = Vec::new();
        for id in logs.by_id.ids() {
            let Some(log) = logs.by_id.get_mut(id) else { continue };
            // The batches are on the disk for good: the checkpoint has been written.
            (log.written_end, log.durable_end) = (log.next, log.next);
            // The caller's first snapshot takes the place of the headers.
            log.dirty |= !log.recovered.replayed.is_empty();
            self.state.dirty.set(self.state.dirty.get() || log.dirty);
            let Recovered { snapshot, replayed } = log.recovered.clone();
            found.push(RecoveredLog {
                log: id,
                partition: log.partition,
                log_start_offset: log.log_start,
                log_end_offset: log.next,
                snapshot,
                replayed,
                quarantined: log.quarantined.clone(),
            });
        }
        found
    }

    /// Takes our logs from the checkpoint of a former shard. `None`: its end was clean, nothing is to be
    /// replayed.
    async fn load_shard(
        &self,
        generation: u64,
        shard: u32,
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) -> Result<Option<FormerShard>, OpenError> {
        let directory = self.former_directory(generation, shard).await?;
        let loaded = checkpoint::load(&*self.disk, &directory).await?;
        let broken = || OpenError::damaged(&directory, "an entry of its checkpoint cannot be read");
        let mut former =
            FormerShard { checkpoint: loaded.checkpoint, captured: HashMap::new(), has_ours: false };
        for entry in loaded.entries().ok_or_else(broken)? {
            let Some(settings) = owned.get(&entry.partition) else { continue };
            let log = checkpoint::decode_log(entry.bytes, settings.clone()).ok_or_else(broken)?;
            former.captured.insert(entry.partition, entry.captured);
            former.has_ours = true;
            ids.insert(entry.partition, self.logs.borrow_mut().by_id.insert(log));
        }
        Ok((!former.checkpoint.clean).then_some(former))
    }

    async fn replay_shard(
        &self,
        generation: u64,
        shard: u32,
        former: &FormerShard,
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) -> Result<(), OpenError> {
        let directory = self.former_directory(generation, shard).await?;
        let from = former.checkpoint;
        let failed = |error| OpenError::io(&directory, error);
        let replay = Replay::open(&*self.disk, &directory, from.journal_id, from.replay_from).await;
        let Some(mut replay) = replay.map_err(failed)? else {
            let name = journal_name(from.replay_from.slot.unwrap_or(0));
            return Err(OpenError::damaged(
                &directory.join(name),
                "it is missing, and the checkpoint needs it",
            ));
        };
        if let Some(name) =
            replay.cut_short(from.replay_from, from.journal_file_bytes).await.map_err(failed)?
        {
            return Err(OpenError::damaged(&directory.join(name), "its end is missing"));
        }
        // Frames that were lost, of which nobody has said whose they were.
        let mut unknown = 0_u64;
        loop {
            match replay.next().await.map_err(failed)? {
                Next::Frame(frame) => {
                    let is_new = former.is_new(&frame);
                    match frame.kind {
                        _ if !is_new => {}
                        Some(FrameKind::Batch) => {
                            if self.replay(&frame, replay.payload(), owned, ids) {
                                unknown = unknown.saturating_sub(1);
                            }
                        }
                        Some(FrameKind::Vouch) => {
                            if self.replay_ends(replay.payload(), owned, ids) {
                                unknown = 0;
                            }
                        }
                        Some(FrameKind::LogStart) => self.replay_log_start(&frame, owned, ids),
                        Some(FrameKind::Extent) => {
                            let payload = replay.payload().to_vec();
                            let sound = self.replay_extent(&frame, &payload, owned, ids).await;
                            if !sound.map_err(failed)? {
                                if !replay.is_known_durable().await.map_err(failed)? {
                                    tracing::warn!(journal = %directory.display(),
                                        "cut off an extent that was not yet durable, and what follows it");
                                    return Ok(());
                                }
                                tracing::error!(journal = %directory.display(), ?frame,
                                    "an extent that had been durable does not match its segment");
                                self.note_damage(shard);
                                self.lost(&frame, owned, ids);
                            }
                        }
                        Some(FrameKind::Replaced) => {
                            // What it replaces may be among what was replayed a moment ago.
                            self.settle_replayed().await.map_err(failed)?;
                            if self.replay_replaced(&frame, replay.payload(), ids).is_none() {
                                let why = "its journal says of segments what cannot be read";
                                return Err(OpenError::damaged(&directory, why));
                            }
                        }
                        None => {
                            let why = "its journal has frames of a newer version";
                            return Err(OpenError::damaged(&directory, why));
                        }
                    }
                    if self.logs.borrow().unsettled > REPLAYED_BYTES_MAX {
                        self.settle_replayed().await.map_err(failed)?;
                    }
                }
                Next::Lost { frame, count } => {
                    tracing::error!(journal = %directory.display(), count, ?frame,
                        "frames of the journal that had been durable cannot be read");
                    self.note_damage(shard);
                    unknown += count - u64::from(frame.is_some());
                    if let Some(frame) = frame.filter(|frame| former.is_new(frame)) {
                        self.lost(&frame, owned, ids);
                    }
                }
                Next::End { .. } if unknown > 0 => {
                    let why =
                        "frames that had been durable cannot be read, and nothing says of which partitions";
                    return Err(OpenError::damaged(&directory, why));
                }
                Next::End { torn } => {
                    if torn {
                        tracing::warn!(journal = %directory.display(), "cut off what was not yet durable");
                    }
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn log_of(
        &self,
        partition: TopicPartition,
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) -> Option<LogId> {
        let settings = owned.get(&partition)?;
        let mut logs = self.logs.borrow_mut();
        let new = || logs.by_id.insert(Log::new(partition, settings.clone(), Offset::ZERO));
        Some(*ids.entry(partition).or_insert_with(new))
    }

    /// Appends a batch that was in the journal. Says whether offsets before it are missing.
    fn replay(
        &self,
        frame: &Frame,
        batch: &[u8],
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) -> bool {
        let Some(id) = self.log_of(frame.partition, owned, ids) else { return false };
        let header = batch.first_chunk::<BATCH_HEADER_BYTES>();
        let Some((header, head)) = header.and_then(|header| Some((header, BatchHead::parse(header)?))) else {
            self.lost(frame, owned, ids);
            return false;
        };
        let logs = &mut *self.logs.borrow_mut();
        let Some(log) = logs.by_id.get_mut(id) else { return false };
        if frame.base_offset < log.next {
            tracing::error!(partition = %frame.partition, ?frame, end = %log.next,
                "the journal repeats offsets; the first stay");
            return false;
        }
        let is_late = frame.base_offset > log.next;
        if is_late {
            quarantine(log, frame.base_offset);
        }
        log.recovered.replayed.push(*header);
        logs.append(
            id,
            &NewBatch {
                base: head.base,
                next: frame.next_offset,
                epoch: LeaderEpoch::new(frame.leader_epoch),
                max_timestamp: head.max_timestamp,
                parts: [batch, &[]],
                now_ms: self.clock.wall_ms(),
                starts_segment: Some(frame.starts_segment),
            },
        );
        is_late
    }

    fn note_damage(&self, shard: u32) {
        let mut damaged = self.damaged_journals.borrow_mut();
        if !damaged.contains(&shard) {
            damaged.push(shard);
        }
    }

    /// The log start was raised.
    fn replay_log_start(
        &self,
        frame: &Frame,
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) {
        let Some(id) = self.log_of(frame.partition, owned, ids) else { return };
        let gone = self.with_log(id, |log| {
            if frame.base_offset > log.next {
                quarantine(log, frame.base_offset);
            }
            log.start_at(frame.base_offset)
        });
        // A crash before the generation is published lets the next start begin with the same checkpoint.
        self.condemn(id, frame.partition, gone.unwrap_or_default());
    }

    /// Segments were replaced by a rewritten one. `None`: the frame's payload is none.
    fn replay_replaced(
        &self,
        frame: &Frame,
        payload: &[u8],
        ids: &HashMap<TopicPartition, LogId>,
    ) -> Option<()> {
        let replacement = Replacement::parse(payload)?;
        let Some(&id) = ids.get(&frame.partition) else { return Some(()) };
        let gone = self.logs.borrow_mut().replace(id, &replacement);
        if gone.is_none() {
            // The old files are all there: they go only once no checkpoint knows them.
            tracing::warn!(partition = %frame.partition, base = %frame.base_offset,
                "segments are not those that were compacted; the uncompacted ones stay");
        }
        self.condemn(id, frame.partition, gone.unwrap_or_default());
        Some(())
    }

    /// A batch that was durable cannot be read.
    fn lost(
        &self,
        frame: &Frame,
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) {
        let Some(id) = self.log_of(frame.partition, owned, ids) else { return };
        if let Some(log) = self.logs.borrow_mut().by_id.get_mut(id)
            && frame.next_offset > log.next
        {
            quarantine(log, frame.next_offset);
        }
    }

    /// Writes what replay has brought to the segments and syncs them, several logs at a time.
    async fn settle_replayed(&self) -> io::Result<()> {
        let pictured = {
            let mut logs = self.logs.borrow_mut();
            let mut pictured = Vec::new();
            for id in logs.by_id.ids() {
                if let Some(log) =
                    logs.by_id.get_mut(id).filter(|log| log.unsettled() > 0 || log.live.len() > 1)
                {
                    let active = log.active();
                    pictured.push(Pictured { id, segment: active.base, settled: active.settle_end() });
                }
            }
            pictured
        };
        self.reach_all(pictured, false).await
    }

    /// Takes over the former generation's journal files as space for this one's, and removes its
    /// directories; a journal in which durable frames were damaged is moved to `orphaned/` instead. Once
    /// the new generation is published, before anything is appended.
    ///
    /// # Errors
    /// A file could not be renamed or removed.
    pub async fn adopt(&self, former: Generation) -> Result<(), OpenError> {
        let shards = self.options.generation.shards.max(1);
        for shard in (0..former.shards).filter(|shard| shard % shards == self.options.shard) {
            let directory = self.former_directory(former.number, shard).await?;
            let failed = |error| OpenError::io(&directory, error);
            if self.damaged_journals.borrow().contains(&shard) {
                set_aside(&*self.disk, self.data_of(&directory), &directory).await?;
                continue;
            }
            // Files of another disk cannot be renamed to this one.
            let is_here = self.data_of(&directory) == self.options.data;
            for name in self.disk.list(&directory).await.map_err(failed)? {
                if is_here && slot_in_name(&name).is_some() {
                    self.adopt_file(&directory.join(name)).await.map_err(failed)?;
                }
            }
            self.disk.remove_directory(&directory).await.map_err(failed)?;
        }
        let none = self.journal.borrow().file_count() == 0;
        let slot = if none { self.journal.borrow_mut().new_slot() } else { None };
        if let Some(slot) = slot
            && let Err(error) = self.add_journal_file(slot).await
        {
            self.journal.borrow_mut().not_added();
            // A full disk is a state: the first append waits for space.
            if error.kind() != io::ErrorKind::StorageFull {
                return Err(OpenError::io(&self.directory(), error));
            }
        }
        self.take_reserves().await;
        Ok(())
    }

    async fn adopt_file(&self, path: &Path) -> io::Result<()> {
        let slot = self.journal.borrow_mut().new_slot();
        let Some(slot) = slot else { return Ok(()) };
        let target = self.directory().join(journal_name(slot));
        let file = self.disk.open_journal(path, Open::Existing).await?;
        let length = self.options.journal_file_bytes;
        if file.length().await? != length {
            self.journal.borrow_mut().not_added();
            return Ok(());
        }
        self.disk.rename(path, &target).await?;
        self.disk.sync_directory(&self.directory()).await?;
        self.journal.borrow_mut().add_file(slot, file, length);
        Ok(())
    }
}

pub(super) fn quarantine(log: &mut Log, end: Offset) {
    tracing::error!(partition = %log.partition, start = %log.next, %end,
        "acknowledged offsets cannot be read back; the partition takes no more until DeleteRecords has raised its log start to the end of them");
    log.quarantine_to(end);
}
