//! A group with live members goes over from the classic protocol to the newer one, or back.
//!
//! It goes over when the first member comes under the newer protocol, and back when the last such member has gone:
//! clients are rolled one by one, and the group serves all the while. Going over is a matter of values: what is
//! stored of the one group becomes what is stored of the other.
//!
//! Source: Kafka 4.0, `ConsumerGroupMigrationPolicy`, `ConsumerGroup.fromClassicGroup`, `ClassicGroup.fromConsumerGroup`.

use std::collections::BTreeSet;

use super::{
    classic::{Joining, MemberSnapshot, Snapshot},
    consumer::{
        Assignment, ClassicSide, Current, Description, MemberState, Subscription,
        classic_members::{by_id, by_name},
        stored::Stored,
    },
    consumer_protocol::{self, CONSUMER},
};
use crate::model::{ClusterView, TopicId};

/// Which way groups may go over (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From the classic protocol to the newer one.
    pub upgrade: bool,
    /// Back.
    pub downgrade: bool,
}

/// What is to be stored so that a classic group goes on as a consumer group: every member keeps what it has, under
/// the generation that it knows as its epoch. `None`: its members are no consumers, or two of them were assigned
/// the same partition.
///
/// What a member has is what it was assigned, and also what it said to have when it joined: it may not have asked
/// for its assignment yet, and reads on what that takes away. Such a member is to give back, as one that the
/// coordinator told to.
///
/// `classic` is to name all protocols that members support.
#[must_use]
pub fn upgraded(classic: &Snapshot, view: &ClusterView) -> Option<Vec<Stored>> {
    if classic.protocol_type.as_deref() != Some(CONSUMER) {
        return None;
    }
    let of = |member| member_of(member, classic.protocol.as_deref(), view);
    let members: Vec<Entering> = classic.members.iter().map(of).collect::<Option<_>>()?;
    let mut taken = BTreeSet::new();
    if !members.iter().flat_map(|member| partitions_of(&member.assigned)).all(|it| taken.insert(it)) {
        return None;
    }
    let mut out = Vec::new();
    for Entering { id, is, assigned, owned } in members {
        let mut revoking = Assignment::new();
        for (topic, partition) in partitions_of(&owned).filter(|it| taken.insert(*it)) {
            revoking.entry(topic).or_default().insert(partition);
        }
        let state = if revoking.is_empty() { MemberState::Stable } else { MemberState::Unrevoked };
        let (epoch, previous_epoch) = (classic.generation, classic.generation);
        let current = Current { epoch, previous_epoch, state, assigned: assigned.clone(), revoking };
        out.extend([
            Stored::Member(id.to_owned(), Some(is)),
            Stored::Target(id.to_owned(), Some(assigned)),
            Stored::Current(id.to_owned(), Some(current)),
        ]);
    }
    out.extend([Stored::Group(Some(classic.generation)), Stored::TargetEpoch(Some(classic.generation))]);
    Some(out)
}

/// A member of a classic group, in the terms of the newer protocol.
struct Entering<'a> {
    id: &'a str,
    is: Subscription,
    /// By the leader, last.
    assigned: Assignment,
    /// What it said to have when it joined.
    owned: Assignment,
}

fn partitions_of(assignment: &Assignment) -> impl Iterator<Item = (TopicId, i32)> {
    assignment.iter().flat_map(|(topic, of)| of.iter().map(|partition| (*topic, *partition)))
}

fn member_of<'a>(
    member: &'a MemberSnapshot,
    protocol: Option<&str>,
    view: &ClusterView,
) -> Option<Entering<'a>> {
    let joining = &member.joining;
    // Before the members agree on a protocol the one that this member likes best speaks for it.
    let agreed = joining.protocols.iter().find(|of| Some(&*of.name) == protocol);
    let metadata = &agreed.or(joining.protocols.first())?.metadata;
    let subscribed = consumer_protocol::read_subscription(metadata).ok()?;
    let assigned = by_id(&consumer_protocol::read_assignment(&member.assignment).ok()?, view);
    let owned = by_id(&subscribed.owned, view);
    let is = Subscription {
        instance_id: joining.instance_id.clone(),
        rack_id: subscribed.rack_id,
        client_id: joining.client_id.clone(),
        client_host: joining.client_host.clone(),
        topics: subscribed.topics,
        regex: None,
        rebalance_timeout_ms: i32::try_from(joining.rebalance_timeout_ms).unwrap_or(i32::MAX),
        assignor: None,
        classic: Some(ClassicSide {
            session_timeout_ms: joining.session_timeout_ms,
            protocols: joining.protocols.clone(),
        }),
    };
    Some(Entering { id: &member.member_id, is, assigned, owned })
}

/// The classic group that a consumer group's members go on in once `gone` have gone; `None` if one that is left does
/// not speak the classic protocol.
///
/// Nobody leads it: it is to be rebalanced, since what those had who have gone is nobody's. Until then its members
/// have what they had, also what they were to give back.
#[must_use]
pub fn downgraded(consumer: &Description, gone: &[String], view: &ClusterView) -> Option<Snapshot> {
    let (mut members, mut generation) = (Vec::new(), 0);
    for (id, is, current, _) in consumer.members.iter().filter(|(id, ..)| !gone.contains(id)) {
        let classic = is.classic.as_ref()?;
        let mut has = current.assigned.clone();
        for (topic, partitions) in &current.revoking {
            has.entry(*topic).or_default().extend(partitions);
        }
        let metadata = classic.protocols.first().map_or(&[][..], |protocol| &protocol.metadata);
        let version = consumer_protocol::read_subscription(metadata).map_or(0, |read| read.version);
        let assignment = consumer_protocol::assignment(version, &by_name(&has, view));
        let joining = Joining {
            instance_id: is.instance_id.clone(),
            client_id: is.client_id.clone(),
            client_host: is.client_host.clone(),
            rebalance_timeout_ms: u64::try_from(is.rebalance_timeout_ms).unwrap_or(0),
            session_timeout_ms: classic.session_timeout_ms,
            protocol_type: CONSUMER.to_owned(),
            protocols: classic.protocols.clone(),
        };
        // Who has followed to the newest target may go on committing until it joins again.
        generation = generation.max(current.epoch);
        members.push(MemberSnapshot { member_id: id.clone(), joining, assignment });
    }
    let protocol_type = Some(CONSUMER.to_owned());
    Some(Snapshot { generation, protocol_type, protocol: None, leader: None, members })
}
