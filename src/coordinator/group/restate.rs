//! What a turn said could not be stored, and holds all the same: it is to be stored before anything that follows.
//!
//! Otherwise a coordinator that comes back would put together what never was: a partition that one member has
//! given back, unknown to the log, and another has got.

use std::collections::HashSet;

use super::{
    super::{classic::State, records::GroupRecord},
    Group, Members, World,
};

impl<T> Group<T> {
    /// Records about the same as those that could not be stored, each once, as it is now.
    #[must_use]
    pub fn restated(&self, world: World<'_>, unstored: &[GroupRecord]) -> Vec<GroupRecord> {
        let mut seen = HashSet::new();
        let each_once = unstored.iter().filter(|record| seen.insert(record.encode().0));
        each_once.map(|record| self.as_it_is_now(world, record)).collect()
    }

    fn as_it_is_now(&self, world: World<'_>, record: &GroupRecord) -> GroupRecord {
        match (record, &self.members) {
            (GroupRecord::Consumer { group, stored }, Members::Consumer(consumer)) => {
                GroupRecord::Consumer { group: group.clone(), stored: consumer.as_is_now(stored) }
            }
            (GroupRecord::Consumer { group, stored }, Members::Classic(_)) => {
                GroupRecord::Consumer { group: group.clone(), stored: stored.tombstone() }
            }
            (GroupRecord::Group { group, .. }, Members::Classic(classic)) if !classic.is_fresh() => {
                let mut snapshot = classic.snapshot();
                if !matches!(classic.state(), State::Stable | State::Empty) {
                    // What its leader has assigned is not what this generation is to have: it is to be rebalanced.
                    snapshot.leader = None;
                }
                GroupRecord::Group { group: group.clone(), state: Some((snapshot, world.wall_ms)) }
            }
            (GroupRecord::Group { group, .. }, _) => GroupRecord::Group { group: group.clone(), state: None },
            (GroupRecord::Offset { group, partition, .. }, _) => GroupRecord::Offset {
                group: group.clone(),
                partition: partition.clone(),
                committed: self.offsets.get(partition).cloned(),
            },
        }
    }
}
