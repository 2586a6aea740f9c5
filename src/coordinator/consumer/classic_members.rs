//! Members of a consumer group that speak the classic protocol: they are there while clients are rolled from the
//! one to the other.
//!
//! Such a member joins, asks for its assignment and sends heartbeats as ever, but nobody waits for anybody: its
//! generation is its epoch, the coordinator assigns, and the member follows its target on its own. It says what it
//! has with every join; it is sent to join again for every step that it is to take.
//!
//! Source: Kafka 4.0, `GroupMetadataManager.classicGroupJoinToConsumerGroup` and the methods of the other requests.

use std::collections::BTreeSet;

use super::{Assignment, ClassicSide, ConsumerGroup, Member, MemberState, Subscription};
use crate::{
    coordinator::{
        classic::{GroupError, JoinRequest, Joined, Protocol, SyncRequest, Synced},
        consumer::stored::Stored,
        consumer_protocol::{self, CONSUMER, Named, Subscribed},
    },
    model::ClusterView,
};

type Outcome<T> = Result<T, GroupError>;

impl ConsumerGroup {
    /// A classic member joins, or joins again. What comes back with the answer is to be stored.
    ///
    /// # Errors
    /// [`GroupError`]; nothing has changed.
    pub fn join_classic(
        &mut self,
        now_ms: u64,
        view: &ClusterView,
        request: JoinRequest,
    ) -> Outcome<(Joined, Vec<Stored>)> {
        let JoinRequest { member_id, new_member_id, joining, requires_known_id, .. } = request;
        let is_new = member_id.is_empty();
        let id = if is_new { new_member_id } else { member_id };
        let subscribed = self.understood(&joining.protocol_type, &joining.protocols)?;
        if !self.members.contains_key(&id) {
            self.check_room().map_err(|_| GroupError::Full)?;
        }
        if is_new && requires_known_id && joining.instance_id.is_none() {
            return Err(GroupError::MemberIdRequired(id));
        }
        let mut out = Vec::new();
        self.admit_classic(&id, joining.instance_id.as_deref(), is_new, &mut out)?;
        let protocol = joining.protocols.first().map(|protocol| protocol.name.clone()).unwrap_or_default();
        let before = &self.members[&id].is;
        let is = Subscription {
            instance_id: joining.instance_id,
            rack_id: subscribed.rack_id.or_else(|| before.rack_id.clone()),
            client_id: joining.client_id,
            client_host: joining.client_host,
            topics: subscribed.topics,
            regex: None,
            rebalance_timeout_ms: i32::try_from(joining.rebalance_timeout_ms).unwrap_or(i32::MAX),
            assignor: before.assignor.clone(),
            classic: Some(ClassicSide {
                session_timeout_ms: joining.session_timeout_ms,
                protocols: joining.protocols,
            }),
        };
        let owned = by_id(&subscribed.owned, view);
        self.go_on(now_ms, &id, is, Some(&owned), view, &mut out);
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMember) };
        member.heard_classic(now_ms);
        member.sync_ends_ms = Some(now_ms + member.rebalance_timeout_ms());
        (member.join_ends_ms, member.revocation_ends_ms) = (None, None);
        let joined = Joined {
            generation: member.current.epoch,
            protocol_type: CONSUMER.to_owned(),
            protocol,
            // Nobody leads: the coordinator assigns.
            leader: String::new(),
            member_id: id,
            skip_assignment: false,
            members: Vec::new(),
        };
        Ok((joined, out))
    }

    /// Whether a classic member that joins speaks as the others do.
    ///
    /// # Errors
    /// [`GroupError::InconsistentProtocol`].
    pub fn validate_join(&self, request: &JoinRequest) -> Outcome<()> {
        self.understood(&request.joining.protocol_type, &request.joining.protocols).map(|_| ())
    }

    /// What the member subscribes to, if all classic members can speak one of its protocols.
    fn understood(&self, protocol_type: &str, protocols: &[Protocol]) -> Outcome<Subscribed> {
        let has = |classic: &ClassicSide, name: &str| classic.protocols.iter().any(|p| p.name == name);
        let by_all = |name: &str| {
            self.members.values().filter_map(|m| m.is.classic.as_ref()).all(|classic| has(classic, name))
        };
        let is_common = protocol_type == CONSUMER && protocols.iter().any(|protocol| by_all(&protocol.name));
        let metadata = protocols.first().filter(|_| is_common).map(|protocol| &protocol.metadata);
        let metadata = metadata.ok_or(GroupError::InconsistentProtocol)?;
        consumer_protocol::read_subscription(metadata).map_err(|_| GroupError::InconsistentProtocol)
    }

    /// Makes sure that the member is there. As in Kafka, an id that nobody knows is one of a new member.
    fn admit_classic(
        &mut self,
        id: &str,
        instance: Option<&str>,
        is_new: bool,
        out: &mut Vec<Stored>,
    ) -> Outcome<()> {
        let holder = instance.and_then(|instance| self.static_member(instance)).cloned();
        match (instance, holder) {
            (Some(_), Some(holder)) if is_new => self.replace_static(&holder, id, out),
            (Some(_), Some(holder)) if holder != id => return Err(GroupError::FencedInstance),
            (Some(_), None) if !is_new => return Err(GroupError::UnknownMember),
            (Some(_), Some(_)) => {}
            (_, None) => {
                self.members.entry(id.to_owned()).or_insert_with(|| Member::new(Subscription::default()));
            }
            (None, Some(_)) => {}
        }
        Ok(())
    }

    /// A classic member asks for its assignment.
    ///
    /// # Errors
    /// It is to join again, or is none.
    pub fn sync_classic(
        &mut self,
        now_ms: u64,
        view: &ClusterView,
        request: &SyncRequest,
    ) -> Outcome<Synced> {
        let (epoch, instance) = (self.epoch, request.instance_id.as_deref());
        let member = self.classic_member(&request.member_id, instance, Some(request.generation))?;
        let protocol = member.protocol().map(|protocol| protocol.name.clone()).unwrap_or_default();
        let differs = |said: &Option<String>, is: &str| said.as_deref().is_some_and(|said| said != is);
        if differs(&request.protocol.0, CONSUMER) || differs(&request.protocol.1, &protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        // Who gives back has joined already, and joins again by itself once it has given back.
        if epoch > member.current.epoch && member.current.state != MemberState::Unrevoked {
            member.is_to_join(now_ms);
            return Err(GroupError::RebalanceInProgress);
        }
        member.sync_ends_ms = None;
        member.heard_classic(now_ms);
        let assignment =
            consumer_protocol::assignment(member.version(), &by_name(&member.current.assigned, view));
        Ok(Synced { protocol_type: CONSUMER.to_owned(), protocol, assignment })
    }

    /// A classic member is alive.
    ///
    /// # Errors
    /// It is to join again, for a step that it can take now, or is none.
    pub fn heartbeat_classic(
        &mut self,
        now_ms: u64,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Outcome<()> {
        let waits = self.waits_for_others(id);
        let epoch = self.epoch;
        let member = self.classic_member(id, instance, Some(generation))?;
        member.heard_classic(now_ms);
        let can_go_on = match member.current.state {
            MemberState::Stable => false,
            MemberState::Unrevoked => true,
            MemberState::Unreleased => !waits,
        };
        if member.current.epoch < epoch || can_go_on {
            member.is_to_join(now_ms);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether a classic member may leave, named by its id or by its instance id. Says its member id.
    ///
    /// # Errors
    /// There is no such member.
    pub fn check_leave_classic(&mut self, id: &str, instance: Option<&str>) -> Outcome<String> {
        let id = match instance.map(|instance| self.static_member(instance)) {
            None => id.to_owned(),
            Some(None) => return Err(GroupError::UnknownMember),
            // An administrator knows the instance only.
            Some(Some(holder)) if id.is_empty() || holder == id => holder.clone(),
            Some(Some(_)) => return Err(GroupError::FencedInstance),
        };
        self.classic_member(&id, instance, None).map(|_| id)
    }

    /// Whether some member holds on to what this one is to have.
    fn waits_for_others(&self, id: &str) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let mut wanted = member.target.iter().flat_map(|(topic, of)| of.iter().map(|p| (*topic, *p)));
        wanted.any(|partition| self.owners.get(&partition).is_some_and(|owner| owner != id))
    }

    fn classic_member(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: Option<i32>,
    ) -> Outcome<&mut Member> {
        if let Some(instance) = instance {
            let holder = self.static_member(instance).ok_or(GroupError::UnknownMember)?;
            if holder != id {
                return Err(GroupError::FencedInstance);
            }
        }
        let member = self.members.get_mut(id).filter(|member| member.is.classic.is_some());
        let member = member.ok_or(GroupError::UnknownMember)?;
        match generation {
            Some(generation) if generation != member.current.epoch => Err(GroupError::IllegalGeneration),
            _ => Ok(member),
        }
    }

    /// The static member under the newer protocol that such a join replaces.
    #[must_use]
    pub fn replaced_by(&self, request: &JoinRequest) -> Option<String> {
        let instance = request.joining.instance_id.as_deref().filter(|_| request.member_id.is_empty())?;
        let holder = self.static_member(instance)?;
        self.members[holder].is.classic.is_none().then(|| holder.clone())
    }
}

impl Member {
    fn protocol(&self) -> Option<&Protocol> {
        self.is.classic.as_ref()?.protocols.first()
    }

    /// The version of the consumer protocol that it understands.
    fn version(&self) -> i16 {
        let metadata = self.protocol().map(|protocol| &protocol.metadata[..]);
        let read = metadata.and_then(|metadata| consumer_protocol::read_subscription(metadata).ok());
        read.map_or(0, |read| read.version)
    }

    fn heard_classic(&mut self, now_ms: u64) {
        if let Some(classic) = &self.is.classic {
            self.session_ends_ms = now_ms + classic.session_timeout_ms;
        }
    }

    /// It has been told to join again; being told once more gives it no more time.
    fn is_to_join(&mut self, now_ms: u64) {
        let until_ms = now_ms + self.rebalance_timeout_ms();
        self.join_ends_ms.get_or_insert(until_ms);
    }
}

/// Partitions of topics that are there, by the id of their topic.
#[must_use]
pub fn by_id(named: &Named, view: &ClusterView) -> Assignment {
    let with_id = |(name, partitions): (&String, &_)| {
        view.topic(name).map(|topic| (topic.id, BTreeSet::clone(partitions)))
    };
    named.iter().filter_map(with_id).collect()
}

/// Partitions of topics that are there, by the name of their topic.
#[must_use]
pub fn by_name(assignment: &Assignment, view: &ClusterView) -> Named {
    let with_name = |(id, partitions): (&_, &_)| {
        let topic = view.topic_by_id(*id)?;
        Some((topic.name.as_str().to_owned(), BTreeSet::clone(partitions)))
    };
    assignment.iter().filter_map(with_name).collect()
}
