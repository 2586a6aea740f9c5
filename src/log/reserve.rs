//! Space that is kept for the day when the disk is full.
//!
//! A file of the shard's directory holds it. When a write finds no space, appends are refused and the file
//! is emptied: what was acknowledged can still be settled, checkpoints made, log starts raised, files
//! removed, offsets committed, and a stop ends cleanly. Appends are taken again once the reserve is whole
//! again, not before: so a disk that is just not full does not flap.

use std::{io, rc::Rc};

use crate::{
    io::disk::Open,
    log::{LogError, LogId, Store, commit::RETRY_INTERVAL},
};

/// Name of the file in the shard's directory.
const RESERVE: &str = "reserve";

impl Store {
    /// Takes the reserve; a disk that has no space for it is full already.
    pub(super) async fn take_reserve(&self) {
        match self.resize_reserve(self.options.reserve_bytes).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(
                    shard = self.options.shard,
                    bytes = self.options.reserve_bytes,
                    "no space on the disk for the reserve; appends are refused until there is"
                );
                self.state.disk_full.set(true);
                self.state.reserve_spent.set(true);
            }
            // It is an aid: what else the disk refuses shows elsewhere.
            Err(error) => tracing::warn!(shard = self.options.shard, %error, "no reserve"),
        }
    }

    /// Gives the reserve to those who have found no space.
    pub(super) async fn spend_reserve(&self) {
        self.drop_spares(true).await;
        if self.options.reserve_bytes > 0 && !self.state.reserve_spent.replace(true) {
            if !self.state.disk_full.replace(true) {
                tracing::warn!(shard = self.options.shard, "no space left on the disk; appends are refused");
            }
            if let Err(error) = self.resize_reserve(0).await {
                tracing::warn!(shard = self.options.shard, %error, "the reserve could not be given away");
            }
            self.signals.reserve.notify();
        }
    }

    async fn resize_reserve(&self, bytes: u64) -> io::Result<()> {
        if self.options.reserve_bytes == 0 {
            return Ok(());
        }
        let file = self.disk.open(&self.directory().join(RESERVE), Open::OrCreate).await?;
        if bytes == 0 {
            return file.set_length(0).await;
        }
        file.allocate(bytes).await
    }

    /// Takes the reserve back once there is space, and appends with it; until the store is closed or fails.
    pub async fn run_reserve(self: Rc<Self>) {
        while !self.is_over() {
            if !self.state.reserve_spent.get() {
                self.signals.reserve.notified().await;
                continue;
            }
            self.clock.sleep(RETRY_INTERVAL).await;
            // A stop needs all the space there is.
            let is_wanted = !self.state.closing.get() && !self.is_over();
            if is_wanted && self.resize_reserve(self.options.reserve_bytes).await.is_ok() {
                self.state.reserve_spent.set(false);
                self.no_longer_full();
            }
        }
    }

    /// Appends to this log are taken on a full disk too, out of the reserve: they are small, and others wait
    /// for them.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`].
    pub fn append_on_reserve(&self, id: LogId) -> Result<(), LogError> {
        self.with_log(id, |log| log.on_reserve = true)
    }
}
