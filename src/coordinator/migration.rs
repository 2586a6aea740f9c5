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
use crate::model::ClusterView;

/// Which way groups may go over (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From the classic protocol to the newer one.
    pub upgrade: bool,
    /// Back.
    pub downgrade: bool,
}

/// What is to be stored so that a classic group goes on as a consumer group: every member keeps what it has, under
/// the generation that it knows as its epoch. `None`: its members are no consumers, or two of them say that they
/// have the same partition.
///
/// `classic` is to name all protocols that members support.
#[must_use]
pub fn upgraded(classic: &Snapshot, view: &ClusterView) -> Option<Vec<Stored>> {
    if classic.protocol_type.as_deref() != Some(CONSUMER) {
        return None;
    }
    let (mut out, mut taken) = (Vec::new(), BTreeSet::new());
    for member in &classic.members {
        let id = &member.member_id;
        let (is, assigned) = member_of(member, classic.protocol.as_deref(), view)?;
        let all = assigned.iter().flat_map(|(topic, of)| of.iter().map(|partition| (*topic, *partition)));
        if !all.into_iter().all(|partition| taken.insert(partition)) {
            return None;
        }
        let (epoch, previous_epoch, state) = (classic.generation, classic.generation, MemberState::Stable);
        let revoking = Assignment::new();
        let current = Current { epoch, previous_epoch, state, assigned: assigned.clone(), revoking };
        out.extend([
            Stored::Member(id.clone(), Some(is)),
            Stored::Target(id.clone(), Some(assigned)),
            Stored::Current(id.clone(), Some(current)),
        ]);
    }
    out.extend([Stored::Group(Some(classic.generation)), Stored::TargetEpoch(Some(classic.generation))]);
    Some(out)
}

fn member_of(
    member: &MemberSnapshot,
    protocol: Option<&str>,
    view: &ClusterView,
) -> Option<(Subscription, Assignment)> {
    let joining = &member.joining;
    // Before the members agree on a protocol the one that this member likes best speaks for it.
    let agreed = joining.protocols.iter().find(|of| Some(&*of.name) == protocol);
    let metadata = &agreed.or(joining.protocols.first())?.metadata;
    let subscribed = consumer_protocol::read_subscription(metadata).ok()?;
    let assigned = by_id(&consumer_protocol::read_assignment(&member.assignment).ok()?, view);
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
    Some((is, assigned))
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
