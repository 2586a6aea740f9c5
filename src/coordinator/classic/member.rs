//! One member of a classic group, as the coordinator knows it.

use bytes::Bytes;

/// An assignment protocol a member supports, with what it says to the leader under it. Opaque to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Such as `range` or `cooperative-sticky`.
    pub name: String,
    /// The member's subscription, for the leader's eyes.
    pub metadata: Bytes,
}

/// What a member says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// From the request's header.
    pub client_id: String,
    /// The address it comes from.
    pub client_host: String,
    /// It may ask for another answer to be given meanwhile: how long it has for joining and syncing, in ms.
    pub rebalance_timeout_ms: u64,
    /// Without a heartbeat for this long it is taken for dead, in ms.
    pub session_timeout_ms: u64,
    /// `consumer`, `connect`, `sr` ...: opaque, but the same for all members.
    pub protocol_type: String,
    /// In the order of preference; not empty.
    pub protocols: Vec<Protocol>,
}

/// A member, and the requests of it that wait for an answer.
#[derive(Debug)]
pub(super) struct Member<T> {
    pub(super) joining: Joining,
    pub(super) assignment: Bytes,
    /// A JoinGroup that waits for the others.
    pub(super) join: Option<T>,
    /// A SyncGroup that waits for the leader.
    pub(super) sync: Option<T>,
    /// It has not been heard of by then: it is dead. None while a JoinGroup or SyncGroup of it waits.
    pub(super) expires_ms: Option<u64>,
    /// It has sent its SyncGroup of the present generation.
    pub(super) has_synced: bool,
}

impl<T> Member<T> {
    pub(super) fn new(joining: Joining) -> Self {
        let assignment = Bytes::new();
        Self { joining, assignment, join: None, sync: None, expires_ms: None, has_synced: false }
    }

    /// For an answer that is not given yet.
    pub(super) fn waits(&self) -> bool {
        self.join.is_some() || self.sync.is_some()
    }

    pub(super) fn is_static(&self) -> bool {
        self.joining.instance_id.is_some()
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let of = self.joining.protocols.iter().find(|candidate| candidate.name == protocol);
        of.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    /// Its favourite among `candidates`.
    pub(super) fn vote<'a>(&'a self, candidates: &[&str]) -> Option<&'a str> {
        let names = self.joining.protocols.iter().map(|protocol| &*protocol.name);
        names.into_iter().find(|name| candidates.contains(name))
    }

    pub(super) fn heard(&mut self, now_ms: u64) {
        self.expires_ms = Some(now_ms + self.joining.session_timeout_ms);
    }
}
