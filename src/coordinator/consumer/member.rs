//! What a member of a consumer group is and has, what it says, and what it is told.

use std::collections::BTreeSet;

use super::Assignment;
use crate::coordinator::classic::Protocol;

/// What a member is and reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// `client.id`
    pub client_id: String,
    /// Its address as Kafka shows it.
    pub client_host: String,
    /// Topics by name.
    pub topics: BTreeSet<String>,
    /// Topics by regular expression (RE2).
    pub regex: Option<String>,
    /// How long it may take to give partitions back.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it asks for.
    pub assignor: Option<String>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<ClassicSide>,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            topics: BTreeSet::new(),
            regex: None,
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        }
    }
}

impl Subscription {
    /// What the member is after a heartbeat: it speaks the newer protocol, whatever it spoke before.
    pub(super) fn after(&self, beat: &Heartbeat) -> Self {
        let or_as_before =
            |new: &Option<String>, before: &Option<String>| new.clone().or_else(|| before.clone());
        Self {
            instance_id: self.instance_id.clone(),
            rack_id: or_as_before(&beat.rack_id, &self.rack_id),
            client_id: beat.client_id.clone(),
            client_host: beat.client_host.clone(),
            topics: beat.topics.clone().unwrap_or_else(|| self.topics.clone()),
            regex: or_as_before(&beat.regex, &self.regex).filter(|regex| !regex.is_empty()),
            rebalance_timeout_ms: beat.rebalance_timeout_ms.unwrap_or(self.rebalance_timeout_ms),
            assignor: or_as_before(&beat.assignor, &self.assignor),
            classic: None,
        }
    }
}

/// What a member that speaks the classic protocol says beyond its subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicSide {
    /// It may be silent for so long.
    pub session_timeout_ms: u64,
    /// What it joined with, the preferred one first; not empty.
    pub protocols: Vec<Protocol>,
}

/// See [`super::reconcile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Has all that it is to have.
    Stable,
    /// Gives back.
    Unrevoked,
    /// Waits for what others give back.
    Unreleased,
}

/// What a member has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The epoch that it was told last.
    pub epoch: i32,
    /// The one before: the answer with the newer one may have been lost.
    pub previous_epoch: i32,
    /// Where it stands.
    pub state: MemberState,
    /// Partitions that are its own.
    pub assigned: Assignment,
    /// Partitions that it is to give back.
    pub revoking: Assignment,
}

impl Default for Current {
    fn default() -> Self {
        let (assigned, revoking) = (Assignment::new(), Assignment::new());
        Self { epoch: 0, previous_epoch: 0, state: MemberState::Stable, assigned, revoking }
    }
}

/// A member as the group holds it, with the times by which it is to be heard of.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) is: Subscription,
    pub(super) current: Current,
    pub(super) target: Assignment,
    pub(super) session_ends_ms: u64,
    /// It has given back what it is to give back by then.
    pub(super) revocation_ends_ms: Option<u64>,
    /// A classic member that was told to join again has done so by then.
    pub(super) join_ends_ms: Option<u64>,
    /// A classic member that has joined has asked for its assignment by then.
    pub(super) sync_ends_ms: Option<u64>,
}

impl Member {
    pub(super) fn new(is: Subscription) -> Self {
        Self {
            is,
            current: Current::default(),
            target: Assignment::new(),
            session_ends_ms: 0,
            revocation_ends_ms: None,
            join_ends_ms: None,
            sync_ends_ms: None,
        }
    }

    /// When it is gone unless it is heard of.
    pub(super) fn deadline_ms(&self) -> u64 {
        let others = [self.revocation_ends_ms, self.join_ends_ms, self.sync_ends_ms];
        others.into_iter().flatten().fold(self.session_ends_ms, u64::min)
    }

    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        u64::try_from(self.is.rebalance_timeout_ms).unwrap_or(0)
    }
}

/// A heartbeat. What is `None` is as it was.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat {
    /// Chosen by the member, or by the handler for it.
    pub member_id: String,
    /// 0 joins, -1 and -2 leave.
    pub member_epoch: i32,
    /// `group.instance.id`
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// How long it may take to give partitions back.
    pub rebalance_timeout_ms: Option<i32>,
    /// Topics by name.
    pub topics: Option<BTreeSet<String>>,
    /// Topics by regular expression; empty: none any more.
    pub regex: Option<String>,
    /// The assignor that it asks for.
    pub assignor: Option<String>,
    /// What it has.
    pub owned: Option<Assignment>,
    /// `client.id`
    pub client_id: String,
    /// Its address.
    pub client_host: String,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The member.
    pub member_id: String,
    /// Its epoch from now on.
    pub member_epoch: i32,
    /// When it is to be heard of again.
    pub heartbeat_ms: u64,
    /// What it has from now on, if that is news to it.
    pub assignment: Option<Assignment>,
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Debug, Clone)]
pub struct Description {
    /// Kafka's name of its state.
    pub state: &'static str,
    /// The group's epoch.
    pub epoch: i32,
    /// The target's.
    pub target_epoch: i32,
    /// The assignor in use.
    pub assignor: &'static str,
    /// Its members, by id: what each is, has, and is to have.
    pub members: Vec<(String, Subscription, Current, Assignment)>,
}
