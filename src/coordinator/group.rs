//! One group: its members, if it has or had any, and its offsets.

use super::{
    classic::{ClassicGroup, GroupLimits, State},
    consumer::{ConsumerGroup, ConsumerLimits, stored::Stored},
    messages::{CoordinatorError, MemberOf, NewOffset},
    offsets::{Committed, Offsets, Partition},
    records::GroupRecord,
};

/// A group as its core holds it. `T`: see [`ClassicGroup`].
#[derive(Debug)]
pub struct Group<T> {
    /// Its members under the classic protocol; none while there is `consumer`.
    pub members: ClassicGroup<T>,
    /// The group under the consumer protocol, if it is one.
    pub consumer: Option<ConsumerGroup>,
    /// What it has committed.
    pub offsets: Offsets,
    /// Wall clock since when it has no members, in ms.
    pub empty_since_ms: i64,
}

impl<T> Group<T> {
    /// A group without members and offsets.
    #[must_use]
    pub fn new(limits: GroupLimits, now_ms: i64) -> Self {
        Self {
            members: ClassicGroup::new(limits),
            consumer: None,
            offsets: Offsets::default(),
            empty_since_ms: now_ms,
        }
    }

    /// Whether it has no members, under either protocol.
    #[must_use]
    pub fn has_no_members(&self) -> bool {
        self.members.state() == State::Empty && self.consumer.as_ref().is_none_or(ConsumerGroup::is_empty)
    }

    /// When time has something to do for it.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let consumer = self.consumer.as_ref().and_then(ConsumerGroup::next_deadline_ms);
        self.members.next_deadline_ms().into_iter().chain(consumer).min()
    }

    /// Takes a stored record over, at start.
    pub fn replay(&mut self, limits: GroupLimits, of: ConsumerLimits, record: GroupRecord, now: (u64, i64)) {
        let (monotonic_ms, wall_ms) = now;
        match record {
            GroupRecord::Consumer { stored: Stored::Group(None), .. } => self.consumer = None,
            GroupRecord::Consumer { stored, .. } => {
                let is_tombstone = matches!(stored, Stored::TargetEpoch(None));
                if self.consumer.is_some() || !is_tombstone {
                    let group = self.consumer.get_or_insert_with(|| ConsumerGroup::new(of));
                    group.replay(stored, monotonic_ms);
                    self.empty_since_ms = wall_ms;
                }
            }
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
        self.consumer.is_none() && self.has_no_members() && self.offsets.is_empty() && self.members.is_fresh()
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
    ) -> Result<Vec<GroupRecord>, CoordinatorError> {
        self.check_commit(member, monotonic_ms)?;
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

    fn check_commit(&mut self, member: &MemberOf, monotonic_ms: u64) -> Result<(), CoordinatorError> {
        if let Some(consumer) = &self.consumer {
            // Tools commit for groups that have no members.
            if member.generation < 0 && consumer.is_empty() {
                return Ok(());
            }
            return Ok(consumer.check_member(&member.member_id, member.generation)?);
        }
        let instance = member.instance_id.as_deref();
        Ok(self.members.validate_commit(monotonic_ms, &member.member_id, instance, member.generation)?)
    }

    /// The tombstones that end the group, if it is empty.
    ///
    /// # Errors
    /// [`CoordinatorError::NotEmpty`].
    pub fn delete(&self, group: &str) -> Result<Vec<GroupRecord>, CoordinatorError> {
        if !self.has_no_members() {
            return Err(CoordinatorError::NotEmpty);
        }
        let all: Vec<Partition> = self.offsets.iter().map(|(partition, _)| partition.clone()).collect();
        let mut records = Self::tombstones(group, &all);
        records.extend(self.own_tombstones(group));
        Ok(records)
    }

    /// The tombstones of the group without its offsets.
    #[must_use]
    pub fn own_tombstones(&self, group: &str) -> Vec<GroupRecord> {
        let Some(consumer) = &self.consumer else {
            return vec![GroupRecord::Group { group: group.to_owned(), state: None }];
        };
        let record = |stored| GroupRecord::Consumer { group: group.to_owned(), stored };
        consumer.tombstones().into_iter().map(record).collect()
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
        let empty_since_ms = self.has_no_members().then_some(self.empty_since_ms);
        let expired = self.offsets.expired(now_ms, retention_ms, empty_since_ms);
        let mut records = Self::tombstones(group, &expired);
        let left = self.offsets.iter().count() - expired.len();
        let is_over = empty_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= retention_ms);
        if left == 0 && is_over {
            records.extend(self.own_tombstones(group));
        }
        records
    }
}
