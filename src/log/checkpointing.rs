//! When and in which steps a checkpoint is made. What it holds and why: `checkpoint.rs`.

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use futures_lite::future;

use crate::{
    io::disk::Open,
    log::{
        LogId, Store, Written,
        checkpoint::{self, Checkpoint, Encoder},
        commit::RETRY_INTERVAL,
        places::LogDir,
        recovery::Recovered,
        settle::final_error,
    },
    model::Offset,
};

/// Index entries that are kept in memory only, before a checkpoint writes them to a file.
const INDEX_ENTRIES_UNSAVED_MAX: usize = 1024;
/// Index entries that a log at rest keeps in memory.
const INDEX_ENTRIES_AT_REST_MAX: usize = 512;
/// A log that was not appended to for this long gives memory back.
const RESTS_AFTER_MS: i64 = 5_000;

/// Logs that are looked at before others have their turn.
const LOGS_PER_TURN_MAX: usize = 256;

/// A log whose segment must reach this state before the checkpoint that pictures it is written.
pub(super) struct Pictured {
    pub(super) id: LogId,
    pub(super) segment: Offset,
    pub(super) settled: u64,
}

impl Store {
    /// Makes checkpoints when the journal asks, when something changed and the interval is over, and when
    /// told to, until the store is closed or fails.
    pub async fn run_checkpoints(self: Rc<Self>) {
        let mut restless = false;
        while !self.is_over() {
            let has_changed = || self.state.dirty.get() || self.state.checkpoint_requested.get();
            if !has_changed() && !restless {
                self.signals.checkpoint.notified().await;
                continue;
            }
            let due_ms = self.clock.monotonic_ms() + self.options.checkpoint_interval.as_millis() as u64;
            while !self.state.checkpoint_requested.get() && !self.is_over() {
                let left_ms = due_ms.saturating_sub(self.clock.monotonic_ms());
                if left_ms == 0 {
                    break;
                }
                let wait = self.clock.sleep(Duration::from_millis(left_ms));
                future::or(self.signals.checkpoint.notified(), wait).await;
            }
            if has_changed() {
                self.checkpoint(false).await;
            }
            restless = self.let_logs_rest().await;
        }
    }

    /// Makes a checkpoint; the store is fenced if a write or a sync fails.
    pub(super) async fn checkpoint(&self, clean: bool) {
        while self.state.checkpointing.replace(true) {
            self.signals.settled.notified().await;
            if self.is_over() {
                return;
            }
        }
        self.state.checkpoint_requested.set(false);
        let made = self.make_checkpoint(clean, true).await;
        self.state.checkpointing.set(false);
        self.signals.settled.notify();
        if let Err(error) = made {
            self.fence(format!("checkpoint: {error}"));
        }
    }

    /// Makes a checkpoint, as soon as there is space for it. `workers`: settling is done by `run_settling`,
    /// else here.
    pub(super) async fn make_checkpoint(&self, clean: bool, workers: bool) -> io::Result<()> {
        let mut told = false;
        while let Err(error) = self.try_checkpoint(clean, workers).await {
            if error.kind() != io::ErrorKind::StorageFull {
                return Err(error);
            }
            // The older ones stay as they are; only journal space waits for this.
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    shard = self.options.shard,
                    "no space left for a checkpoint; it waits for some"
                );
            }
            self.spend_reserve(LogDir::OWN).await;
            self.clock.sleep(RETRY_INTERVAL).await;
            if self.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// The steps of a checkpoint.
    async fn try_checkpoint(&self, clean: bool, workers: bool) -> io::Result<()> {
        self.state.dirty.set(false);
        let checkpoint = {
            let journal = self.journal.borrow();
            let sequence = self.state.checkpoint_sequence.get() + 1;
            Checkpoint {
                sequence,
                since: 0,
                journal_id: journal.id,
                journal_file_bytes: self.options.journal_file_bytes,
                clean,
                replay_from: journal.replay_from(),
            }
        };
        let checkpoint = Checkpoint { since: self.changes_since().await, ..checkpoint };
        let (bytes, pictured) = self.picture(&checkpoint).await;
        self.reach_all(pictured, workers).await?;
        if self.is_over() {
            return Ok(());
        }
        let mut files = self.state.checkpoint_files.get();
        self.count(Written::Checkpoints, bytes.len() as u64);
        self.disk.write_small(&self.directory().join(files.name_for(&checkpoint)), bytes).await?;
        files.written(&checkpoint);
        self.state.checkpoint_files.set(files);
        self.state.checkpoint_sequence.set(checkpoint.sequence);
        let older = self.state.replay_sequence.replace(checkpoint.replay_from.sequence);
        self.journal.borrow_mut().release_before(older);
        self.signals.journal_room.notify();
        self.free_condemned().await;
        if self.journal.borrow().is_short_of_files() {
            // Only with the next one do the files go that the older of these two needed.
            self.request_checkpoint();
        }
        Ok(())
    }

    /// The older of the last two whole checkpoints, if few logs have changed since; 0 if the next one is
    /// better written whole.
    async fn changes_since(&self) -> u64 {
        let older = self.state.checkpoint_files.get().since();
        if older == 0 {
            return 0;
        }
        let ids = self.logs.borrow().by_id.ids();
        let mut changed = 0;
        for some in ids.chunks(LOGS_PER_TURN_MAX) {
            let has_changed =
                |&id: &LogId| self.with_log(id, |log| log.changed_since(older)).unwrap_or(false);
            changed += some.iter().copied().filter(has_changed).count();
            future::yield_now().await;
        }
        if changed * 2 > ids.len() { 0 } else { older }
    }

    /// The state of the logs that have changed since the checkpoint says, encoded; some in each turn. Those
    /// that no checkpoint has pictured so are listed.
    async fn picture(&self, checkpoint: &Checkpoint) -> (Vec<u8>, Vec<Pictured>) {
        let mut encoder = Encoder::new(checkpoint);
        let mut pictured = Vec::new();
        let ids = self.logs.borrow().by_id.ids();
        for some in ids.chunks(LOGS_PER_TURN_MAX) {
            let captured = {
                let mut journal = self.journal.borrow_mut();
                // Batches that are pictured and those that are not never share an extent.
                journal.close_group();
                journal.next_sequence
            };
            for &id in some {
                if let Some(entry) = self.picture_log(id, checkpoint, &mut pictured) {
                    encoder.add(captured, &entry);
                }
            }
            encoder.cover();
            future::yield_now().await;
        }
        (encoder.finish(), pictured)
    }

    fn picture_log(
        &self,
        id: LogId,
        checkpoint: &Checkpoint,
        pictured: &mut Vec<Pictured>,
    ) -> Option<Vec<u8>> {
        let observer = self.observer.borrow().clone();
        let mut logs = self.logs.borrow_mut();
        let log = logs.by_id.get_mut(id)?;
        if !log.changed_since(checkpoint.since) {
            return None;
        }
        if std::mem::take(&mut log.dirty) {
            log.pictured = checkpoint.sequence;
            let (segment, settled) = (log.active().base, log.active().settle_end());
            pictured.push(Pictured { id, segment, settled });
        }
        let Some(observer) = observer else { return Some(checkpoint::encode_log(log)) };
        log.recovered = Recovered { snapshot: observer.snapshot(id), replayed: Vec::new() };
        let entry = checkpoint::encode_log(log);
        log.recovered = Recovered::default();
        Some(entry)
    }

    /// As [`Store::reach`] for each, several at a time.
    pub(super) async fn reach_all(&self, pictured: Vec<Pictured>, workers: bool) -> io::Result<()> {
        let pictured = RefCell::new(pictured);
        let worker = || async {
            loop {
                let next = pictured.borrow_mut().pop();
                let Some(log) = next else { return Ok(()) };
                self.reach(&log, workers).await?;
            }
        };
        let four =
            || future::try_zip(future::try_zip(worker(), worker()), future::try_zip(worker(), worker()));
        future::try_zip(four(), four()).await.map(|_| ())
    }

    /// Waits until a log's older segments are sealed and its active one is settled and durable so far.
    async fn reach(&self, target: &Pictured, workers: bool) -> io::Result<()> {
        loop {
            if self.is_over() {
                return Ok(());
            }
            let state = self.with_log(target.id, |log| {
                let partition = log.partition;
                let front = log.live.front()?;
                // Sealed since: all of it is durable.
                if front.base > target.segment {
                    return None;
                }
                let is_settled = front.base == target.segment && front.settled >= target.settled;
                (!is_settled || front.synced < target.settled).then_some((
                    partition,
                    is_settled,
                    front.settled,
                ))
            });
            // None: reached, or deleted meanwhile.
            let Ok(Some((partition, is_settled, settled))) = state else { return Ok(()) };
            if is_settled {
                let file = self.segment_file(target.id, partition, target.segment, Open::Existing).await;
                if file.is_err() && self.with_log(target.id, |_| ()).is_err() {
                    return Ok(());
                }
                file?.sync_data().await.map_err(final_error)?;
                let _ = self.with_log(target.id, |log| {
                    if let Some(live) = log.live_segment(target.segment) {
                        live.synced = live.synced.max(settled);
                    }
                });
                continue;
            }
            self.logs.borrow_mut().queue_all(target.id);
            if workers {
                self.signals.settle.notify();
                self.signals.settled.notified().await;
            } else {
                self.settle_all_of(target.id)
                    .await
                    .map_err(|(what, error)| io::Error::new(error.kind(), format!("{what}: {error}")))?;
            }
        }
    }

    /// Saves the index of every active segment that has one worth reading.
    pub(super) async fn save_indexes(&self) {
        let ids = self.logs.borrow().by_id.ids();
        for id in ids {
            let unsaved = self.with_log(id, |log| (log.active().base, log.active().index.len()));
            if let Ok((segment, 2..)) = unsaved {
                self.save_index(id, segment).await;
            }
        }
    }

    /// Saves long indexes, and takes memory from logs that are not appended to. Says whether there are logs
    /// that may come to rest soon.
    async fn let_logs_rest(&self) -> bool {
        let mut restless = false;
        let now_ms = self.clock.wall_ms();
        let ids = self.logs.borrow().by_id.ids();
        for (count, id) in ids.into_iter().enumerate() {
            if count % LOGS_PER_TURN_MAX == LOGS_PER_TURN_MAX - 1 {
                future::yield_now().await;
            }
            let state = self.with_log(id, |log| {
                let rests = now_ms - log.appended_ms > RESTS_AFTER_MS && log.tail.memory_bytes() > 0;
                (rests, log.active().base, log.active().index.len())
            });
            let Ok((rests, segment, unsaved)) = state else { continue };
            if rests && let Err(error) = self.give_back(id).await {
                tracing::debug!(%error, "space that was made ahead stays");
            }
            if rests {
                self.logs.borrow_mut().shrink(id, self.options.tail_cache_bytes_max);
            }
            restless |= self.with_log(id, |log| log.tail.can_shrink()).unwrap_or(false);
            if unsaved > INDEX_ENTRIES_UNSAVED_MAX || (rests && unsaved > INDEX_ENTRIES_AT_REST_MAX) {
                self.save_index(id, segment).await;
            }
        }
        restless
    }
}
