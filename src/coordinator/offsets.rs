//! The offsets that a group has committed, and when they expire.

use std::collections::BTreeMap;

/// Longest metadata that goes with an offset, in bytes (`offset.metadata.max.bytes`).
pub const METADATA_BYTES_MAX: usize = 4096;

/// What a group has committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the record before it, -1 if not known (KIP-320).
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// Wall clock of the commit, in ms.
    pub committed_ms: i64,
}

/// Topic name and partition index.
pub type Partition = (String, i32);

/// A group's offsets.
#[derive(Debug, Default)]
pub struct Offsets {
    committed: BTreeMap<Partition, Committed>,
}

impl Offsets {
    /// The newest commit wins: records are stored in the order of the commits.
    pub fn set(&mut self, partition: Partition, committed: Option<Committed>) {
        match committed {
            Some(committed) => self.committed.insert(partition, committed),
            None => self.committed.remove(&partition),
        };
    }

    /// What was committed for a partition.
    #[must_use]
    pub fn get(&self, partition: &Partition) -> Option<&Committed> {
        self.committed.get(partition)
    }

    /// All of them, by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, &Committed)> {
        self.committed.iter()
    }

    /// The partitions among them of such topics.
    #[must_use]
    pub fn of_topics(&self, is_one: impl Fn(&str) -> bool) -> Vec<Partition> {
        self.committed.keys().filter(|(topic, _)| is_one(topic)).cloned().collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// Partitions whose offsets have expired: `retention_ms` after the commit, or after the group became
    /// empty if that was later. `empty_since_ms`: none while the group has members, then nothing expires.
    ///
    /// Source: KIP-211. `subscribed`: topics that a member reads never expire, those of a group that
    /// assigns by itself count from the commit alone.
    #[must_use]
    pub fn expired(&self, now_ms: i64, retention_ms: i64, empty_since_ms: Option<i64>) -> Vec<Partition> {
        let Some(empty_since_ms) = empty_since_ms else { return Vec::new() };
        let is_over = |committed: &Committed| {
            now_ms.saturating_sub(committed.committed_ms.max(empty_since_ms)) >= retention_ms
        };
        self.committed.iter().filter(|(_, committed)| is_over(committed)).map(|(p, _)| p.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_expire_only_once_the_group_has_been_empty_for_long() {
        let mut offsets = Offsets::default();
        let committed =
            Committed { offset: 1, leader_epoch: -1, metadata: String::new(), committed_ms: 1_000 };
        let partition = ("t".to_owned(), 0);
        offsets.set(partition.clone(), Some(committed));
        assert_eq!(offsets.expired(i64::MAX, 100, None), Vec::<Partition>::new());
        assert_eq!(offsets.expired(5_099, 100, Some(5_000)), Vec::<Partition>::new());
        assert_eq!(offsets.expired(5_100, 100, Some(5_000)), vec![partition.clone()]);
        assert_eq!(offsets.expired(1_100, 100, Some(0)), vec![partition.clone()]);
        offsets.set(partition, None);
        assert!(offsets.is_empty());
    }
}
