//! In which data directory a log lies, and a former shard's journal.
//!
//! A shard makes new logs and its journal in a directory of its own ([`StoreOptions::data`]), which other shards
//! may share. A log stays where it was made, whichever shard has it after a restart: it is looked for once, at
//! the start, in all directories of the broker.
//!
//! [`StoreOptions::data`]: super::StoreOptions::data

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{OpenError, Store, format, generation};
use crate::model::{PartitionIndex, TopicPartition};

impl Store {
    /// The data directory that a log lies in, or will.
    #[must_use]
    pub fn data_directory(&self, partition: TopicPartition) -> PathBuf {
        self.elsewhere.borrow().get(&partition).unwrap_or(&self.options.data).clone()
    }

    /// Whether a file can be renamed from the shard's directory to the log's.
    pub(super) fn lies_here(&self, partition: TopicPartition) -> bool {
        !self.elsewhere.borrow().contains_key(&partition)
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
        for data in &self.options.elsewhere {
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
                        self.elsewhere.borrow_mut().insert(partition, data.clone());
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
    pub(super) async fn former_directory(&self, generation: u64, shard: u32) -> PathBuf {
        for data in &self.options.elsewhere {
            let directory = format::shard_directory(data, generation, shard);
            if self.disk.list(&directory).await.is_ok() {
                return directory;
            }
        }
        format::shard_directory(&self.options.data, generation, shard)
    }

    /// The data directory that a path is in.
    pub(super) fn data_of(&self, path: &Path) -> &Path {
        let elsewhere = self.options.elsewhere.iter().find(|data| path.starts_with(data));
        let here = path.starts_with(&self.options.data);
        // One directory may lie in another: the longer path is the nearer.
        elsewhere
            .filter(|data| !here || data.as_os_str().len() > self.options.data.as_os_str().len())
            .map_or(&self.options.data, PathBuf::as_path)
    }
}
