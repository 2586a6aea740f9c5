//! One group: its members, if it has or had any, and its offsets.

use super::{
    classic::{ClassicGroup, GroupError, GroupLimits, State},
    messages::{CoordinatorError, MemberOf, NewOffset},
    offsets::{Committed, Offsets, Partition},
    records::GroupRecord,
};

/// A group as its core holds it. `T`: see [`ClassicGroup`].
#[derive(Debug)]
pub struct Group<T> {
    /// Its members and their protocol.
    pub members: ClassicGroup<T>,
    /// What it has committed.
    pub offsets: Offsets,
    /// Wall clock since when it has no members, in ms.
    pub empty_since_ms: i64,
}

impl<T> Group<T> {
    /// A group without members and offsets.
    #[must_use]
    pub fn new(limits: GroupLimits, now_ms: i64) -> Self {
        Self { members: ClassicGroup::new(limits), offsets: Offsets::default(), empty_since_ms: now_ms }
    }

    /// Takes a stored record over, at start.
    pub fn replay(&mut self, limits: GroupLimits, record: GroupRecord, monotonic_ms: u64) {
        match record {
            GroupRecord::Offset { partition, committed, .. } => self.offsets.set(partition, committed),
            GroupRecord::Group { state, .. } => match state {
                Some((snapshot, stored_ms)) => {
                    self.members = ClassicGroup::restore(limits, snapshot, monotonic_ms);
                    self.empty_since_ms = stored_ms;
                }
                None => self.members = ClassicGroup::new(limits),
            },
        }
    }

    /// Nothing of it is worth keeping.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.members.state() == State::Empty && self.offsets.is_empty() && self.members.is_fresh()
    }

    /// What a commit stores, if the member may commit.
    ///
    /// # Errors
    /// The group refuses it.
    pub fn commit(
        &mut self,
        group: &str,
        member: &MemberOf,
        offsets: &[(Partition, NewOffset)],
        (monotonic_ms, wall_ms): (u64, i64),
    ) -> Result<Vec<GroupRecord>, GroupError> {
        let instance = member.instance_id.as_deref();
        self.members.validate_commit(monotonic_ms, &member.member_id, instance, member.generation)?;
        let record = |(partition, new): &(Partition, NewOffset)| GroupRecord::Offset {
            group: group.to_owned(),
            partition: partition.clone(),
            committed: Some(Committed {
                offset: new.offset,
                leader_epoch: new.leader_epoch,
                metadata: new.metadata.clone(),
                committed_ms: wall_ms,
            }),
        };
        Ok(offsets.iter().map(record).collect())
    }

    /// The tombstones that end the group, if it is empty.
    ///
    /// # Errors
    /// [`CoordinatorError::NotEmpty`].
    pub fn delete(&self, group: &str) -> Result<Vec<GroupRecord>, CoordinatorError> {
        if self.members.state() != State::Empty {
            return Err(CoordinatorError::NotEmpty);
        }
        let all: Vec<Partition> = self.offsets.iter().map(|(partition, _)| partition.clone()).collect();
        let mut records = Self::tombstones(group, &all);
        records.push(GroupRecord::Group { group: group.to_owned(), state: None });
        Ok(records)
    }

    /// The tombstones of some offsets.
    #[must_use]
    pub fn tombstones(group: &str, partitions: &[Partition]) -> Vec<GroupRecord> {
        let record = |partition: &Partition| GroupRecord::Offset {
            group: group.to_owned(),
            partition: partition.clone(),
            committed: None,
        };
        partitions.iter().map(record).collect()
    }

    /// What has expired, as tombstones; of a group that has nothing left also its own.
    #[must_use]
    pub fn expire(&self, group: &str, now_ms: i64, retention_ms: i64) -> Vec<GroupRecord> {
        let empty_since_ms = (self.members.state() == State::Empty).then_some(self.empty_since_ms);
        let expired = self.offsets.expired(now_ms, retention_ms, empty_since_ms);
        let mut records = Self::tombstones(group, &expired);
        let left = self.offsets.iter().count() - expired.len();
        let is_over = empty_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= retention_ms);
        if left == 0 && is_over {
            records.push(GroupRecord::Group { group: group.to_owned(), state: None });
        }
        records
    }
}
