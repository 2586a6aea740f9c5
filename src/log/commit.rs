//! The loops around the journal: groups are written, written bytes are synced. Rules: `journal.rs`.
//!
//! A group with extents is done once the journal's write *and* the segments' writes are; the two go on side
//! by side, and so do their syncs. Segment blocks are always written by settling (one writer per log, every
//! block once), here only waited for.

use std::{io, rc::Rc, time::Duration};

use futures_lite::future;

use crate::{
    io::{
        buffer::AlignedBuffer,
        disk::{DiskFile, Open, Sync},
    },
    log::{
        LogId, Store, Written,
        files::join_all,
        format::journal_name,
        journal::{Frames, Mark, Note, Room, UNFLUSHED_BYTES_MAX},
        partition_log::Log,
        places::LogDir,
        settle::final_error,
    },
    model::Offset,
};

/// How long a task waits before it asks a full disk again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(500);

impl Store {
    /// Writes groups, one at a time, and the segment blocks of their extents, until the store is closed or
    /// fails. The foremost task of the shard.
    pub async fn run_commits(self: Rc<Self>) {
        future::zip(self.write_groups(), self.run_extents()).await;
    }

    async fn write_groups(&self) {
        while !self.is_over() {
            let group = self.journal.borrow_mut().take_group();
            let Some((frames, buffer)) = group else {
                self.signals.commit.notified().await;
                continue;
            };
            if let Err(error) = self.commit(frames, buffer).await {
                return self.fence(format!("write to the journal: {error}"));
            }
        }
    }

    async fn commit(&self, frames: Frames, buffer: AlignedBuffer) -> io::Result<()> {
        let bytes = buffer.len() as u64;
        let (file, position, sync) = loop {
            if self.is_over() {
                return Ok(());
            }
            self.make_room(bytes).await?;
            let place = self.journal.borrow_mut().place(&frames, bytes);
            match place {
                Some(place) => break place,
                None => self.signals.journal_room.notified().await,
            }
        };
        let slice = buffer.freeze();
        let earlier = match sync {
            Sync::DataAndEarlier => self.journal.borrow().unsynced_marks(u64::MAX),
            _ => Vec::new(),
        };
        let to_journal = file.write_at(slice.clone(), position, sync);
        if frames.marks().is_empty() && earlier.is_empty() {
            to_journal.await?;
        } else {
            future::try_zip(to_journal, self.reach_marks(frames.marks(), earlier, sync)).await?;
        }
        if self.is_over() {
            return Ok(());
        }
        self.count(Written::Appended, frames.batch_bytes());
        self.count(Written::Journal, bytes);
        let now_ms = self.clock.monotonic_ms();
        self.with_progress(|journal, note| journal.written(frames, bytes, sync, now_ms, note));
        if let Some(buffer) = slice.into_buffer() {
            self.journal.borrow_mut().recycle(buffer);
        }
        if sync == Sync::None || self.journal.borrow().wants_vouch() {
            self.signals.flush.notify();
        }
        self.signals.room.notify();
        Ok(())
    }

    /// Waits until the blocks of a group's extents are in their segments; syncs them, and those of earlier
    /// groups, if the group is to be durable.
    async fn reach_marks(&self, marks: &[Mark], earlier: Vec<Mark>, sync: Sync) -> io::Result<()> {
        while !self.is_over() && !marks.iter().all(|mark| self.is_settled(mark)) {
            self.signals.settled.notified().await;
        }
        match sync {
            Sync::None => Ok(()),
            _ => self.sync_segments([marks, &earlier].concat()).await,
        }
    }

    /// The blocks are in the segment; so they are if it has been sealed, or is gone with its log.
    fn is_settled(&self, mark: &Mark) -> bool {
        let settled = |log: &mut Log| log.live_segment(mark.segment).map(|live| live.settled);
        self.with_log(mark.log, settled).ok().flatten().is_none_or(|settled| settled >= mark.end)
    }

    /// Syncs the segments of extents that are settled, each once, all at a time.
    async fn sync_segments(&self, mut marks: Vec<Mark>) -> io::Result<()> {
        marks.sort_unstable_by_key(|mark| (mark.log, mark.segment, std::cmp::Reverse(mark.end)));
        marks.dedup_by_key(|mark| (mark.log, mark.segment));
        let syncs: Vec<_> = marks.into_iter().map(|mark| Box::pin(self.sync_segment(mark))).collect();
        join_all(syncs).await.into_iter().collect()
    }

    async fn sync_segment(&self, mark: Mark) -> io::Result<()> {
        let state = |log: &mut Log| {
            let partition = log.partition;
            log.live_segment(mark.segment).map(|live| (partition, live.settled, live.synced))
        };
        // None: sealed, and so synced, or deleted.
        let Some((partition, settled, synced)) = self.with_log(mark.log, state).ok().flatten() else {
            return Ok(());
        };
        if synced >= mark.end || self.is_over() {
            return Ok(());
        }
        let file = self.segment_file(mark.log, partition, mark.segment, Open::Existing).await;
        if file.is_err() && self.with_log(mark.log, |_| ()).is_err() {
            return Ok(());
        }
        file?.sync_data().await.map_err(final_error)?;
        let _ = self.with_log(mark.log, |log| {
            let live = log.live_segment(mark.segment);
            live.map(|live| live.synced = live.synced.max(settled))
        });
        Ok(())
    }

    /// Makes a file current that has room for `bytes`; waits where every file is still needed.
    async fn make_room(&self, bytes: u64) -> io::Result<()> {
        let since_ms = self.clock.monotonic_ms();
        loop {
            let before = self.journal.borrow().replay_from().slot;
            let room = self.journal.borrow_mut().find_room(bytes);
            match room {
                Room::Here => {
                    self.state.without_journal_room.set(false);
                    if before.is_some() && before != self.journal.borrow().replay_from().slot {
                        self.request_checkpoint();
                    }
                    return Ok(());
                }
                Room::AfterSync(file) => {
                    let end = self.journal.borrow().written_end;
                    self.sync_journal(file, end).await?;
                }
                Room::NewFile(slot) => {
                    if let Err(error) = self.add_journal_file(slot).await {
                        self.journal.borrow_mut().not_added();
                        if error.kind() != io::ErrorKind::StorageFull {
                            return Err(error);
                        }
                        self.find_no_space(LogDir::OWN).await;
                        self.wait_for_journal_room(since_ms).await;
                    }
                }
                Room::None => self.wait_for_journal_room(since_ms).await,
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    async fn wait_for_journal_room(&self, since_ms: u64) {
        // For a moment a full disk may have none, until a checkpoint has freed a file of the journal.
        let is_long = self.clock.monotonic_ms().saturating_sub(since_ms) >= RETRY_INTERVAL.as_millis() as u64;
        self.state.without_journal_room.set(is_long && self.spaces.is_full(LogDir::OWN));
        self.request_checkpoint();
        future::or(self.signals.journal_room.notified(), self.clock.sleep(RETRY_INTERVAL)).await;
    }

    /// Adds a file of full length to the ring, durably named.
    pub(super) async fn add_journal_file(&self, slot: u32) -> io::Result<()> {
        let directory = self.directory();
        let file = self.disk.open_journal(&directory.join(journal_name(slot)), Open::OrCreate).await?;
        file.allocate(self.options.journal_file_bytes).await?;
        // From here on a shorter file is one that has lost something.
        file.sync_data().await?;
        self.disk.sync_directory(&directory).await?;
        self.journal.borrow_mut().add_file(slot, file, 0);
        self.signals.journal_room.notify();
        Ok(())
    }

    /// Changes the journal, then tells the observer of every log that came further by it.
    pub(super) fn with_progress(
        &self,
        change: impl FnOnce(&mut crate::log::journal::Journal, &mut dyn FnMut(&[Note], bool)),
    ) {
        let mut progressed: Vec<LogId> = Vec::new();
        {
            let mut journal = self.journal.borrow_mut();
            let logs = &mut *self.logs.borrow_mut();
            change(&mut journal, &mut |notes: &[Note], durable| {
                for &(id, end) in notes {
                    let Some(log) = logs.by_id.get_mut(id) else { continue };
                    let mark = if durable { &mut log.durable_end } else { &mut log.written_end };
                    *mark = (*mark).max(end);
                    log.written_end = log.written_end.max(log.durable_end);
                    progressed.push(id);
                }
            });
        }
        progressed.sort_unstable();
        progressed.dedup();
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            for id in progressed {
                let ends = self.with_log(id, |log| (log.written_end, log.durable_end));
                if let Ok((written_end, durable_end)) = ends {
                    let ends: (Offset, Offset) = (written_end, durable_end);
                    observer.progressed(id, ends.0, ends.1);
                }
            }
        }
        self.signals.progress.notify();
    }

    /// Syncs what was written unsynced, after the flush interval, after 1 MiB, or when asked.
    pub async fn run_flushes(self: Rc<Self>) {
        while !self.is_over() {
            let (unsynced, since_ms, bytes) = {
                let journal = self.journal.borrow();
                (journal.to_sync(), journal.unsynced_since_ms, journal.unsynced_bytes)
            };
            let Some((file, end)) = unsynced else {
                self.vouch_or_wait().await;
                continue;
            };
            let interval_ms = self.options.flush_interval.as_millis() as u64;
            let left_ms = (since_ms + interval_ms).saturating_sub(self.clock.monotonic_ms());
            let is_due = left_ms == 0 || bytes >= UNFLUSHED_BYTES_MAX || self.state.flush_requested.get();
            if !is_due {
                let wait = self.clock.sleep(Duration::from_millis(left_ms));
                future::or(self.signals.flush.notified(), wait).await;
                continue;
            }
            self.state.flush_requested.set(false);
            self.journal.borrow_mut().sync_begins(self.clock.monotonic_ms());
            if let Err(error) = self.sync_journal(file, end).await {
                return self.fence(format!("sync of the journal: {error}"));
            }
        }
    }

    /// With nothing to sync: waits for something, or says in the journal how far it is durable.
    async fn vouch_or_wait(&self) {
        if !self.journal.borrow().wants_vouch() {
            return self.signals.flush.notified().await;
        }
        let something = async {
            self.signals.flush.notified().await;
            true
        };
        let nothing = async {
            self.clock.sleep(self.options.flush_interval).await;
            false
        };
        let is_quiet = !future::or(something, nothing).await && !self.state.closing.get();
        if is_quiet && self.journal.borrow().wants_vouch() {
            let ends = self.ends();
            self.journal.borrow_mut().vouch(&ends);
            self.signals.commit.notify();
            self.signals.flush.notified().await;
        }
    }

    async fn sync_journal(&self, file: Rc<dyn DiskFile>, end: u64) -> io::Result<()> {
        let marks = self.journal.borrow().unsynced_marks(end);
        future::try_zip(file.sync_data(), self.sync_segments(marks)).await?;
        if !self.is_over() {
            self.with_progress(|journal, note| journal.synced(end, note));
        }
        Ok(())
    }
}
