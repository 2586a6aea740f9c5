//! In which data directory a log lies, and a former shard's journal.
//!
//! A shard makes new logs and its journal in a directory of its own ([`StoreOptions::data`]), which other shards
//! may share. A log stays where it was made, whichever shard has it after a restart: it is looked for once, at
//! the start, in all directories of the broker.
//!
//! A thing lies where its directory has something in it: an empty one is what a creation that was cut short has
//! left. `offline.rs` goes by the same rule.
//!
//! [`StoreOptions::data`]: super::StoreOptions::data

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{Elsewhere, OpenError, Store, format, generation};
use crate::model::{PartitionIndex, TopicPartition};

/// One of the data directories that a shard may have logs in: its own, or the n-th of those elsewhere, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogDir(pub(super) usize);

impl LogDir {
    /// The shard's own: it has the journal and the checkpoints, too.
    pub(super) const OWN: Self = Self(0);
}

impl Store {
    /// The data directory that a log lies in, or will.
    #[must_use]
    pub fn data_directory(&self, partition: TopicPartition) -> PathBuf {
        self.data_in(self.log_dir(partition)).to_owned()
    }

    /// Which of the data directories a log lies in, or will.
    pub(super) fn log_dir(&self, partition: TopicPartition) -> LogDir {
        self.elsewhere.borrow().get(&partition).copied().unwrap_or(LogDir::OWN)
    }

    pub(super) fn log_dirs(&self) -> impl Iterator<Item = LogDir> + use<> {
        (0..=self.options.elsewhere.len()).map(LogDir)
    }

    /// A directory that is not the shard's own.
    pub(super) fn elsewhere_in(&self, dir: LogDir) -> Option<&Elsewhere> {
        dir.0.checked_sub(1).map(|at| &self.options.elsewhere[at])
    }

    pub(super) fn data_in(&self, dir: LogDir) -> &Path {
        self.elsewhere_in(dir).map_or(&self.options.data, |other| &other.data)
    }

    /// Whether the shard has a log in a directory; new ones it makes in its own.
    pub(super) fn is_used(&self, dir: LogDir) -> bool {
        dir == LogDir::OWN || self.elsewhere.borrow().values().any(|used| *used == dir)
    }

    /// Whether a file can be renamed from the shard's directory to the log's.
    pub(super) fn lies_here(&self, partition: TopicPartition) -> bool {
        self.log_dir(partition) == LogDir::OWN
    }

    pub(super) fn partition_directory(&self, partition: TopicPartition) -> PathBuf {
        format::partition_directory(&self.data_directory(partition), partition)
    }

    /// Finds those of these logs that lie in another directory than the shard's own.
    pub(super) async fn find_elsewhere(
        &self,
        owned: impl Iterator<Item = TopicPartition>,
    ) -> Result<(), OpenError> {
        let owned: HashSet<_> = owned.collect();
        let topics: HashSet<_> = owned.iter().map(|one| one.topic).collect();
        for dir in self.log_dirs().skip(1) {
            let data = self.data_in(dir);
            for topic in &topics {
                let directory = data.join("topics").join(topic.to_string());
                for name in generation::names(&*self.disk, &directory).await? {
                    let Ok(index) = name.parse() else { continue };
                    let partition = TopicPartition { topic: *topic, partition: PartitionIndex::new(index) };
                    if !owned.contains(&partition) {
                        continue;
                    }
                    let (known, path) =
                        (self.partition_directory(partition), format::partition_directory(data, partition));
                    let known_is_empty = generation::names(&*self.disk, &known).await?.is_empty();
                    if known_is_empty {
                        self.elsewhere.borrow_mut().insert(partition, dir);
                    } else if !generation::names(&*self.disk, &path).await?.is_empty() {
                        let why = format!("the partition has files in {} too", known.display());
                        return Err(OpenError::damaged(&path, &why));
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a shard of the former generation has its journal and checkpoints.
    ///
    /// # Errors
    /// A directory could not be listed: whether it is there, nobody knows.
    pub(super) async fn former_directory(&self, generation: u64, shard: u32) -> Result<PathBuf, OpenError> {
        for other in &self.options.elsewhere {
            let directory = format::shard_directory(&other.data, generation, shard);
            if !generation::names(&*self.disk, &directory).await?.is_empty() {
                return Ok(directory);
            }
        }
        Ok(format::shard_directory(&self.options.data, generation, shard))
    }

    /// The data directory that a path is in.
    pub(super) fn data_of(&self, path: &Path) -> &Path {
        let all = self.options.elsewhere.iter().map(|other| other.data.as_path());
        let elsewhere = all.filter(|data| path.starts_with(data)).max_by_key(|data| data.as_os_str().len());
        let here = path.starts_with(&self.options.data);
        // One directory may lie in another: the longer path is the nearer.
        elsewhere
            .filter(|data| !here || data.as_os_str().len() > self.options.data.as_os_str().len())
            .unwrap_or(&self.options.data)
    }
}
