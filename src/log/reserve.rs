//! Space that is kept for the day when a disk is full, for each data directory by itself.
//!
//! A shard has a reserve in its own data directory, and in every other that one of its logs lies in: a file. When
//! a write finds no space there, appends to the logs of that directory are refused and the file is emptied: what
//! was acknowledged can still be settled, checkpoints made, log starts raised, files removed, offsets committed,
//! and a stop ends cleanly. Appends are taken again once the reserve is whole again, not before: so a disk that
//! is just not full does not flap. Every append goes through the journal: if the shard's own directory is full,
//! those to all logs are refused.
//!
//! A log that finds no space even so waits in its queue, and holds up no other. Once the journal has no room left
//! either, everything more is refused.
//!
//! The file is `reserve` in the shard's directory, and goes with its generation. In another data directory it is
//! `reserve/<shard>`: removed when the last log there is deleted, and by every start, since the next shard of that
//! number may have no log there ([`super::generation`]).

use std::{
    cell::{Cell, RefCell},
    io,
    path::PathBuf,
    rc::Rc,
};

use crate::{
    io::disk::Open,
    log::{LogError, LogId, Store, commit::RETRY_INTERVAL, format, places::LogDir},
    model::TopicPartition,
};

/// Name of the file in the shard's directory.
const RESERVE: &str = "reserve";

/// What is known of the space in one data directory.
#[derive(Debug, Default)]
struct Space {
    /// Appends to the logs in it are refused.
    is_full: Cell<bool>,
    /// The file of the reserve is there.
    is_taken: Cell<bool>,
    /// The reserve has been given away.
    is_spent: Cell<bool>,
    /// Logs that wait until there may be space.
    waiting: RefCell<Vec<LogId>>,
    /// Nothing is made ahead of the logs before this time: there was no space for it.
    ahead_from_ms: Cell<u64>,
}

/// The space in all data directories of a shard, by [`LogDir`].
#[derive(Debug)]
pub(super) struct Spaces {
    by_dir: Vec<Space>,
    full: Cell<usize>,
}

impl Spaces {
    /// Of a shard with so many data directories beside its own.
    pub(super) fn new(elsewhere: usize) -> Self {
        Self { by_dir: (0..=elsewhere).map(|_| Space::default()).collect(), full: Cell::new(0) }
    }

    fn of(&self, dir: LogDir) -> &Space {
        &self.by_dir[dir.0]
    }

    /// Whether one of the directories is full.
    pub(super) fn any_full(&self) -> bool {
        self.full.get() > 0
    }

    pub(super) fn is_full(&self, dir: LogDir) -> bool {
        self.any_full() && self.of(dir).is_full.get()
    }

    /// Whether the reserve of a directory has been given away.
    pub(super) fn is_spent(&self, dir: LogDir) -> bool {
        self.of(dir).is_spent.get()
    }
}

impl Store {
    /// Whether appends to the logs of this partition are refused for want of space.
    pub(super) fn has_no_space(&self, partition: TopicPartition) -> bool {
        let is_full = |dir| self.spaces.is_full(dir);
        self.spaces.any_full() && (is_full(LogDir::OWN) || is_full(self.log_dir(partition)))
    }

    /// Whether space may be made in a directory before it is needed: what is left on a full disk is for what was
    /// acknowledged.
    pub(super) fn may_make_ahead(&self, dir: LogDir) -> bool {
        let from_ms = self.spaces.of(dir).ahead_from_ms.get();
        !self.spaces.is_full(dir) && (from_ms == 0 || self.clock.monotonic_ms() >= from_ms)
    }

    /// There was no space to make ahead: for a while only what is needed is asked for.
    pub(super) fn make_none_ahead(&self, dir: LogDir) {
        let from_ms = self.clock.monotonic_ms() + RETRY_INTERVAL.as_millis() as u64;
        self.spaces.of(dir).ahead_from_ms.set(from_ms);
    }

    /// Takes the reserves; a disk that has no space for one is full already.
    pub(super) async fn take_reserves(&self) {
        for dir in self.log_dirs().filter(|dir| self.is_used(*dir)) {
            match self.resize_reserve(dir, self.reserve_bytes_in(dir)).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    self.spaces.of(dir).is_spent.set(true);
                    self.fill(
                        dir,
                        "no space on the disk for the reserve; appends are refused until there is",
                    );
                }
                // It is an aid: what else the disk refuses shows elsewhere.
                Err(error) => {
                    let directory = self.data_in(dir).display();
                    tracing::warn!(shard = self.options.shard, %directory, %error, "no reserve");
                }
            }
        }
    }

    /// A log has found no space in its directory. Says whether there may be some now.
    pub(super) async fn find_no_space(&self, dir: LogDir) -> bool {
        self.fill(dir, "no space left on the disk; appends are refused");
        self.spend_reserve(dir).await
    }

    /// Gives the reserve to those who have found no space. Says whether there was one.
    pub(super) async fn spend_reserve(&self, dir: LogDir) -> bool {
        if dir == LogDir::OWN {
            self.drop_spares(true).await;
        }
        let space = self.spaces.of(dir);
        if self.reserve_bytes_in(dir) == 0 || space.is_spent.replace(true) {
            return false;
        }
        self.fill(dir, "no space left on the disk; appends are refused");
        if !space.is_taken.get() {
            return false;
        }
        if let Err(error) = self.resize_reserve(dir, 0).await {
            let directory = self.data_in(dir).display();
            tracing::warn!(shard = self.options.shard, %directory, %error, "the reserve could not be given away");
        }
        true
    }

    /// A write has found space.
    pub(super) fn no_longer_full(&self, dir: LogDir) {
        let space = self.spaces.of(dir);
        if self.spaces.any_full() && !space.is_spent.get() && space.is_full.replace(false) {
            self.spaces.full.set(self.spaces.full.get() - 1);
            let directory = self.data_in(dir).display();
            tracing::info!(shard = self.options.shard, %directory, "there is space on the disk again");
        }
    }

    fn fill(&self, dir: LogDir, why: &str) {
        if !self.spaces.of(dir).is_full.replace(true) {
            self.spaces.full.set(self.spaces.full.get() + 1);
            let directory = self.data_in(dir).display();
            tracing::warn!(shard = self.options.shard, %directory, "{why}");
            self.signals.reserve.notify();
        }
    }

    /// A log waits in its queue until there may be space.
    pub(super) fn wait_for_space(&self, id: LogId, dir: LogDir) {
        if self.with_log(id, |log| log.waits_for_space = true).is_ok() {
            self.spaces.of(dir).waiting.borrow_mut().push(id);
            self.signals.reserve.notify();
        }
    }

    pub(super) fn reserve_bytes_in(&self, dir: LogDir) -> u64 {
        self.elsewhere_in(dir).map_or(self.options.reserve_bytes, |other| other.reserve_bytes)
    }

    fn reserve_path(&self, dir: LogDir) -> PathBuf {
        match self.elsewhere_in(dir) {
            None => self.directory().join(RESERVE),
            Some(other) => format::reserve_directory(&other.data).join(self.options.shard.to_string()),
        }
    }

    async fn resize_reserve(&self, dir: LogDir, bytes: u64) -> io::Result<()> {
        if self.reserve_bytes_in(dir) == 0 {
            return Ok(());
        }
        let path = self.reserve_path(dir);
        let space = self.spaces.of(dir);
        if !space.is_taken.get()
            && let Some(other) = self.elsewhere_in(dir)
        {
            self.disk.create_directories(&format::reserve_directory(&other.data)).await?;
        }
        let file = self.disk.open(&path, Open::OrCreate).await?;
        space.is_taken.set(true);
        if bytes == 0 {
            return file.set_length(0).await;
        }
        let taken = file.allocate(bytes).await;
        if taken.is_err() {
            // Some file systems keep what they had found so far: it is not for us.
            file.set_length(0).await?;
        }
        taken
    }

    /// Takes reserves back once there is space, and appends with them; wakes logs that wait for space; until the
    /// store is closed or fails.
    pub async fn run_reserve(self: Rc<Self>) {
        while !self.is_over() {
            if !self.log_dirs().any(|dir| self.is_in_need(dir)) {
                self.signals.reserve.notified().await;
                continue;
            }
            self.clock.sleep(RETRY_INTERVAL).await;
            for dir in self.log_dirs() {
                self.look_after(dir).await;
            }
        }
    }

    fn is_in_need(&self, dir: LogDir) -> bool {
        let space = self.spaces.of(dir);
        let is_surplus = space.is_taken.get() && !self.is_used(dir);
        space.is_full.get() || space.is_spent.get() || is_surplus || !space.waiting.borrow().is_empty()
    }

    async fn look_after(&self, dir: LogDir) {
        let space = self.spaces.of(dir);
        let waiting = space.waiting.take();
        for &id in &waiting {
            let _ = self.with_log(id, |log| log.waits_for_space = false);
        }
        if !waiting.is_empty() {
            // What was acknowledged goes before the reserve.
            self.signals.settle.notify();
            self.signals.extent.notify();
            return;
        }
        // A stop needs all the space there is.
        if self.state.closing.get() || self.is_over() {
            return;
        }
        let is_whole = if self.is_used(dir) {
            !space.is_spent.get() || self.resize_reserve(dir, self.reserve_bytes_in(dir)).await.is_ok()
        } else {
            self.drop_reserve(dir).await;
            true
        };
        if is_whole {
            space.is_spent.set(false);
            self.no_longer_full(dir);
        }
    }

    /// The shard has no log in this directory any more.
    async fn drop_reserve(&self, dir: LogDir) {
        if self.spaces.of(dir).is_taken.replace(false)
            && let Err(error) = self.disk.remove_file(&self.reserve_path(dir)).await
        {
            let directory = self.data_in(dir).display();
            tracing::warn!(%directory, %error, "a reserve that is no longer needed remains");
        }
    }

    /// Appends to this log are taken on a full disk too, out of the reserve and of what room the journal has: they
    /// are small, and others wait for them.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn append_on_reserve(&self, id: LogId) -> Result<(), LogError> {
        self.with_log(id, |log| log.on_reserve = true)
    }
}
