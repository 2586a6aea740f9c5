//! One group: its members, under the protocol that they speak, and its offsets.
//!
//! A plain state machine. A request and the [`World`] as it is go in; a [`Turn`] comes out: the answer, what is to be
//! stored before it is given, and answers to requests that have waited. What members ask is in [`requests`], what is
//! done if it could not be stored in `restate`.

pub mod requests;
mod restate;

use super::{
    classic::{ClassicGroup, Effects, GroupLimits, Snapshot, State},
    consumer::{ConsumerGroup, ConsumerLimits, Description, stored::Stored},
    consumer_protocol::{self, CONSUMER},
    messages::{CoordinatorError, Listed, MemberOf, NewOffset},
    migration::MigrationPolicy,
    offsets::{Committed, Offsets, Partition},
    records::GroupRecord,
};
use crate::model::ClusterView;

/// What a group looks at besides itself.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The group's id.
    pub group: &'a str,
    /// The cluster as it is.
    pub view: &'a ClusterView,
    /// Of groups under the classic protocol.
    pub classic: GroupLimits,
    /// Of groups under the newer one.
    pub consumer: ConsumerLimits,
    /// Which way the group may go over.
    pub migration: MigrationPolicy,
    /// Monotonic clock, in ms.
    pub now_ms: u64,
    /// Wall clock, in ms.
    pub wall_ms: i64,
}

/// What comes of a request, or of time. `T`: see [`ClassicGroup`].
#[derive(Debug)]
pub struct Turn<T, A> {
    /// What is to be stored, in this order. It holds already; see [`Group::restated`] if it cannot be stored.
    pub records: Vec<GroupRecord>,
    /// Answers to requests that have waited.
    pub effects: Effects<T>,
    /// The answer, once the records are durable.
    pub answer: A,
}

impl<T, A> Turn<T, A> {
    fn answer(answer: A) -> Self {
        Self { records: Vec::new(), effects: Vec::new(), answer }
    }
}

/// The members, under the protocol that the group follows.
#[derive(Debug)]
pub enum Members<T> {
    /// They choose a leader who assigns. Also a group that never had a member.
    Classic(ClassicGroup<T>),
    /// The coordinator assigns.
    Consumer(ConsumerGroup),
}

/// A group as its core holds it. `T`: see [`ClassicGroup`].
#[derive(Debug)]
pub struct Group<T> {
    /// Who belongs to it.
    pub members: Members<T>,
    /// What it has committed.
    pub offsets: Offsets,
    /// Wall clock since when it has no members, in ms.
    pub empty_since_ms: i64,
}

impl<T> Group<T> {
    /// A group without members and offsets.
    #[must_use]
    pub fn new(limits: GroupLimits, wall_ms: i64) -> Self {
        let members = Members::Classic(ClassicGroup::new(limits));
        Self { members, offsets: Offsets::default(), empty_since_ms: wall_ms }
    }

    /// Whether it has no members.
    #[must_use]
    pub fn has_no_members(&self) -> bool {
        match &self.members {
            Members::Classic(classic) => classic.state() == State::Empty,
            Members::Consumer(consumer) => consumer.is_empty(),
        }
    }

    /// When time has something to do for it.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        match &self.members {
            Members::Classic(classic) => classic.next_deadline_ms(),
            Members::Consumer(consumer) => consumer.next_deadline_ms(),
        }
    }

    /// Takes a stored record over, at start.
    pub fn replay(&mut self, world: World<'_>, record: GroupRecord) {
        match record {
            GroupRecord::Consumer { stored, .. } => self.replay_consumer(world, stored),
            GroupRecord::Offset { partition, committed, .. } => self.offsets.set(partition, committed),
            GroupRecord::Group { state: Some((snapshot, stored_ms)), .. } => {
                let classic = ClassicGroup::restore(world.classic, snapshot, world.now_ms);
                (self.members, self.empty_since_ms) = (Members::Classic(classic), stored_ms);
            }
            GroupRecord::Group { state: None, .. } => {
                if matches!(self.members, Members::Classic(_)) {
                    self.members = Members::Classic(ClassicGroup::new(world.classic));
                }
            }
        }
    }

    fn replay_consumer(&mut self, world: World<'_>, stored: Stored) {
        match &mut self.members {
            Members::Consumer(_) if stored == Stored::Group(None) => {
                self.members = Members::Classic(ClassicGroup::new(world.classic));
            }
            Members::Consumer(consumer) => {
                consumer.replay(stored, world.now_ms);
                self.empty_since_ms = world.wall_ms;
            }
            // What is no more makes no group.
            Members::Classic(_) if stored.is_tombstone() => {}
            Members::Classic(_) => {
                let mut consumer = ConsumerGroup::new(world.consumer);
                consumer.replay(stored, world.now_ms);
                (self.members, self.empty_since_ms) = (Members::Consumer(consumer), world.wall_ms);
            }
        }
    }

    /// Takes over that what was to be deleted is no more, unless members have come meanwhile.
    pub fn forget_members(&mut self, world: World<'_>) {
        if self.has_no_members() {
            self.members = Members::Classic(ClassicGroup::new(world.classic));
        }
    }

    /// Nothing of it is worth keeping.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let has_members = !matches!(&self.members, Members::Classic(classic) if classic.is_fresh());
        !has_members && self.offsets.is_empty()
    }

    /// As ListGroups shows it.
    #[must_use]
    pub fn listed(&self, group: &str) -> Listed {
        let (protocol_type, state, is_consumer) = match &self.members {
            Members::Classic(classic) => {
                (classic.protocol_type().unwrap_or_default(), classic.state().name(), false)
            }
            Members::Consumer(consumer) => (CONSUMER, consumer.state_name(), true),
        };
        Listed { group: group.to_owned(), protocol_type: protocol_type.to_owned(), state, is_consumer }
    }

    /// As DescribeGroups shows it; `None` under the newer protocol.
    #[must_use]
    pub fn describe_classic(&self) -> Option<(State, Snapshot)> {
        match &self.members {
            Members::Classic(classic) => Some((classic.state(), classic.snapshot())),
            Members::Consumer(_) => None,
        }
    }

    /// As ConsumerGroupDescribe shows it; `None` under the classic protocol.
    #[must_use]
    pub fn describe_consumer(&self) -> Option<Description> {
        match &self.members {
            Members::Classic(_) => None,
            Members::Consumer(consumer) => Some(consumer.describe()),
        }
    }

    /// Which of the topics members read.
    ///
    /// # Errors
    /// [`CoordinatorError::NotEmpty`]: what members of another protocol type read cannot be known.
    pub fn are_read(&self, view: &ClusterView, topics: &[Partition]) -> Result<Vec<bool>, CoordinatorError> {
        let read = match &self.members {
            Members::Consumer(consumer) => consumer.subscribed(view),
            Members::Classic(classic) if classic.state() == State::Empty => {
                return Ok(vec![false; topics.len()]);
            }
            Members::Classic(classic) => {
                let read = consumer_protocol::topics_of(&classic.snapshot());
                read.ok_or(CoordinatorError::NotEmpty)?
            }
        };
        Ok(topics.iter().map(|(topic, _)| read.contains(topic)).collect())
    }

    /// What a commit stores, if the member may commit.
    ///
    /// # Errors
    /// The group refuses it.
    pub fn commit(
        &mut self,
        world: World<'_>,
        member: &MemberOf,
        offsets: &[(Partition, NewOffset)],
    ) -> Result<Vec<GroupRecord>, CoordinatorError> {
        self.check_commit(member, world.now_ms)?;
        let record = |(partition, new): &(Partition, NewOffset)| GroupRecord::Offset {
            group: world.group.to_owned(),
            partition: partition.clone(),
            committed: Some(Committed {
                offset: new.offset,
                leader_epoch: new.leader_epoch,
                metadata: new.metadata.clone(),
                committed_ms: world.wall_ms,
            }),
        };
        Ok(offsets.iter().map(record).collect())
    }

    fn check_commit(&mut self, member: &MemberOf, now_ms: u64) -> Result<(), CoordinatorError> {
        match &mut self.members {
            // Tools commit for groups that have no members.
            Members::Consumer(consumer) if member.generation < 0 && consumer.is_empty() => Ok(()),
            Members::Consumer(consumer) => Ok(consumer.check_member(&member.member_id, member.generation)?),
            Members::Classic(classic) => {
                let instance = member.instance_id.as_deref();
                Ok(classic.validate_commit(now_ms, &member.member_id, instance, member.generation)?)
            }
        }
    }

    /// Whether a member that says who it is may read offsets.
    ///
    /// # Errors
    /// It is none, or its epoch is another one.
    pub fn check_fetch(&self, member: Option<&(String, i32)>) -> Result<(), CoordinatorError> {
        match (&self.members, member) {
            (Members::Consumer(consumer), Some((id, epoch))) => Ok(consumer.check_member(id, *epoch)?),
            _ => Ok(()),
        }
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
    fn own_tombstones(&self, group: &str) -> Vec<GroupRecord> {
        match &self.members {
            Members::Classic(_) => vec![GroupRecord::Group { group: group.to_owned(), state: None }],
            Members::Consumer(consumer) => of_consumer(group, consumer.tombstones()).collect(),
        }
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

    /// What has expired, or is of topics that are no more, as tombstones; of a group that has nothing left also its
    /// own.
    #[must_use]
    pub fn expire(
        &self,
        group: &str,
        view: &ClusterView,
        now_ms: i64,
        retention_ms: i64,
    ) -> Vec<GroupRecord> {
        let empty_since_ms = self.has_no_members().then_some(self.empty_since_ms);
        let is_gone = |topic: &str| view.topic(topic).is_none();
        let mut expired = self.offsets.of_topics(is_gone);
        expired.extend(self.offsets.expired(now_ms, retention_ms, empty_since_ms));
        expired.sort_unstable();
        expired.dedup();
        let mut records = Self::tombstones(group, &expired);
        let left = self.offsets.iter().count() - expired.len();
        let is_over = empty_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= retention_ms);
        if left == 0 && is_over {
            records.extend(self.own_tombstones(group));
        }
        records
    }
}

fn of_consumer(group: &str, stored: Vec<Stored>) -> impl Iterator<Item = GroupRecord> + use<> {
    let group = group.to_owned();
    stored.into_iter().map(move |stored| GroupRecord::Consumer { group: group.clone(), stored })
}

#[cfg(test)]
mod tests;
