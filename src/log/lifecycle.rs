//! Logs are made and deleted; the store is closed, or fenced once its disk has failed.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    LogError, LogId, Store, files,
    format::{self, index_name, segment_name},
    generation,
    partition_log::Log,
};
use crate::{
    io::notify::Notify,
    model::{Offset, TopicPartition, TopicSettings},
};

impl Store {
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
    pub(super) async fn create_partition_directories(
        &self,
        partitions: impl Iterator<Item = TopicPartition>,
    ) -> Result<(), LogError> {
        let directories: Vec<_> = partitions.map(|one| self.partition_directory(one)).collect();
        let topic = directories.first().and_then(|directory| directory.parent()).map(Path::to_owned);
        let Some(topic) = topic else { return Ok(()) };
        let failed = |source| LogError::Io { path: topic.clone(), source };
        let there = match self.disk.list(&topic).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            names => names.map_err(failed)?.into_iter().collect(),
        };
        for directory in directories.iter().filter(|path| there.contains(&files::file_name(path))) {
            if !self.disk.list(directory).await.map_err(failed)?.is_empty() {
                let moved = generation::set_aside(&*self.disk, self.data_of(directory), directory).await;
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
        // Of a store that has failed nobody comes any more for a log that is in a queue.
        while self.with_log(id, |log| log.settling || log.preparing || log.compacting)? && !self.is_over() {
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
        let directory = self.partition_directory(log.partition);
        if self.elsewhere.borrow_mut().remove(&log.partition).is_some() {
            // It may have been the last one there.
            self.signals.reserve.notify();
        }
        // The directory of the topic goes with its last partition, whichever shard removes that one.
        match self.remove_with_parent(&directory).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LogError::Io { path: directory, source })
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn remove_with_parent(&self, directory: &Path) -> io::Result<()> {
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
    pub(super) fn is_over(&self) -> bool {
        self.state.closed.get() || self.state.failed.borrow().is_some()
    }

    /// Nothing that was acknowledged is touched any more, and nothing is acknowledged.
    pub(super) fn fence(&self, why: String) {
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

    pub(super) fn wake_all(&self) {
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

    pub(super) fn segment_path(&self, partition: TopicPartition, segment: Offset, version: u32) -> PathBuf {
        self.partition_directory(partition).join(segment_name(segment, version))
    }

    pub(super) fn index_path(&self, partition: TopicPartition, segment: Offset, version: u32) -> PathBuf {
        self.partition_directory(partition).join(index_name(segment, version))
    }

    pub(super) fn directory(&self) -> PathBuf {
        let options = &self.options;
        format::shard_directory(&options.data, options.generation.number, options.shard)
    }
}
