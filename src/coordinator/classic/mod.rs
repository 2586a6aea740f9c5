//! A group under the classic protocol: a plain state machine from requests and the time to answers.
//!
//! The members choose an assignment protocol by vote, the leader (one of them) assigns, the group only passes
//! bytes along: subscriptions and assignments are opaque here.
//!
//! ```text
//!            first join                    all have joined, or time is up         leader's assignment is durable
//!  Empty ----------------> PreparingRebalance ------------> CompletingRebalance ------------> Stable
//!    ^                        ^      |                             |                            |
//!    |        nobody is left  |      |   a member joins, leaves or dies: back to Preparing      |
//!    +------------------------+------+<----------------------------+----------------------------+
//! ```
//!
//! Every request carries a ticket; an [`Effect`] with that ticket is its answer, now or later. Times are those
//! of a monotonic clock, in ms. [`ClassicGroup::next_deadline_ms`] says when [`ClassicGroup::tick`] is due.
//!
//! Source: KIP-62 (session and rebalance timeouts), KIP-134 (initial delay), KIP-345 (static members),
//! KIP-394 (member id required), KIP-814 (a static leader that returns skips its assignment).

mod member;
mod returning;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use member::Member;
pub use member::{Joining, Protocol};
use returning::Returning;

/// Bounds of the coordinator, from the settings.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// `group.initial.rebalance.delay.ms`
    pub initial_delay_ms: u64,
    /// `group.max.size`: members.
    pub members_max: usize,
}

/// Where a group stands. Names as ListGroups shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No members; offsets may remain.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

impl State {
    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// Why a request of a member was refused. The group is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group has no such member.
    #[error("unknown member")]
    UnknownMember,
    /// The member's generation is over, or was never there.
    #[error("illegal generation")]
    IllegalGeneration,
    /// The member must join again.
    #[error("a rebalance is in progress")]
    RebalanceInProgress,
    /// No assignment protocol is common to all members, or the protocol type is another one.
    #[error("inconsistent protocol")]
    InconsistentProtocol,
    /// The member is to join again under the id that it has been given.
    #[error("join again as {0}")]
    MemberIdRequired(String),
    /// Another member has taken over this instance id.
    #[error("the instance is fenced")]
    FencedInstance,
    /// The group has as many members as it may.
    #[error("the group is full")]
    Full,
    /// The group's state could not be stored.
    #[error("the group's state could not be stored")]
    NotStored,
}

/// The answer to a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Counts the rebalances of the group.
    pub generation: i32,
    /// Of all members.
    pub protocol_type: String,
    /// The one that was chosen.
    pub protocol: String,
    /// Who assigns.
    pub leader: String,
    /// The asking member.
    pub member_id: String,
    /// The leader need not assign anew (KIP-814).
    pub skip_assignment: bool,
    /// Member id, instance id and subscription of each member; empty unless for the leader.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// The answer to a SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Of all members.
    pub protocol_type: String,
    /// The one that was chosen.
    pub protocol: String,
    /// The member's own.
    pub assignment: Bytes,
}

/// What the coordinator is to do. `T`: the ticket of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answers a JoinGroup.
    Joined(T, Result<Joined, GroupError>),
    /// Answers a SyncGroup.
    Synced(T, Result<Synced, GroupError>),
    /// The group's state of this generation is to be made durable; [`ClassicGroup::stored`] follows.
    Store {
        /// What to hand back.
        generation: i32,
    },
}

/// Effects, in their order.
pub type Effects<T> = Vec<Effect<T>>;

/// A JoinGroup request.
#[derive(Debug)]
pub struct JoinRequest {
    /// Empty: a new member.
    pub member_id: String,
    /// The id that a new member gets: unique.
    pub new_member_id: String,
    /// What it says of itself.
    pub joining: Joining,
    /// A new dynamic member is to come again with its id (KIP-394, from version 4 on).
    pub requires_known_id: bool,
    /// It understands `skip_assignment` (version 9).
    pub understands_skip: bool,
}

/// A SyncGroup request.
#[derive(Debug)]
pub struct SyncRequest {
    /// Who asks.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// The generation it has joined.
    pub generation: i32,
    /// What it believes the group agreed on, if it says so: type and name.
    pub protocol: (Option<String>, Option<String>),
    /// From the leader: an assignment for each member.
    pub assignments: Vec<(String, Bytes)>,
}

/// A group's state as it is stored and described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// See [`Joined`].
    pub generation: i32,
    /// None before the first member.
    pub protocol_type: Option<String>,
    /// None unless members have agreed on one.
    pub protocol: Option<String>,
    /// None without members.
    pub leader: Option<String>,
    /// In the order of their ids.
    pub members: Vec<MemberSnapshot>,
}

/// A member as it is stored and described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSnapshot {
    /// Given by the coordinator.
    pub member_id: String,
    /// What it said when it joined; of the protocols only the chosen one, if any is chosen.
    pub joining: Joining,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}

/// When a rebalance goes on without those who are missing.
#[derive(Debug, Clone, Copy)]
struct Rebalance {
    deadline_ms: u64,
    /// The first members of a group: waits for more of them, at most until then.
    initial_until_ms: Option<u64>,
}

/// One group.
#[derive(Debug)]
pub struct ClassicGroup<T> {
    limits: GroupLimits,
    state: State,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member<T>>,
    /// Ids given out and not yet used, and when they lapse.
    pending: HashMap<String, u64>,
    /// Instance id to member id.
    instances: HashMap<String, String>,
    rebalance: Option<Rebalance>,
    /// A member that has joined must have synced by then.
    sync_deadline_ms: Option<u64>,
    /// The leader's assignment is being stored.
    storing: bool,
    /// Members have joined since the initial delay began.
    new_member_added: bool,
    /// Static members that have come back, to be told so once that is durable, one with each store: the first first.
    /// As many as there are stores under way.
    returning: VecDeque<Returning<T>>,
}

impl<T> ClassicGroup<T> {
    /// A group without members.
    #[must_use]
    pub fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: HashMap::new(),
            instances: HashMap::new(),
            rebalance: None,
            sync_deadline_ms: None,
            storing: false,
            new_member_added: false,
            returning: VecDeque::new(),
        }
    }

    /// A group as it was stored; its members have a session timeout from now on to be heard of. If nobody leads them
    /// they are to join again.
    #[must_use]
    pub fn restore(limits: GroupLimits, snapshot: Snapshot, now_ms: u64) -> Self {
        let mut group = Self::new(limits);
        group.generation = snapshot.generation;
        group.protocol_type = snapshot.protocol_type;
        group.protocol = snapshot.protocol;
        group.leader = snapshot.leader;
        for stored in snapshot.members {
            let mut member = Member::new(stored.joining);
            member.assignment = stored.assignment;
            member.has_synced = true;
            member.heard(now_ms);
            group.insert(stored.member_id, member);
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
            if group.protocol.is_none() {
                group.protocol = group.vote();
            }
        }
        if group.leader.is_none() && !group.members.is_empty() {
            // Its members came from the consumer protocol, where nobody leads.
            group.prepare(now_ms, &mut Vec::new());
        }
        group
    }

    /// Ends the group, whose members go over to another: who waits for an answer is to join that one.
    #[must_use]
    pub fn dissolve(&mut self) -> Effects<T> {
        let mut effects = Vec::new();
        for member in self.members.values_mut() {
            let error = GroupError::RebalanceInProgress;
            effects.extend(member.join.take().map(|ticket| Effect::Joined(ticket, Err(error.clone()))));
            effects.extend(member.sync.take().map(|ticket| Effect::Synced(ticket, Err(error))));
        }
        for ticket in std::mem::take(&mut self.returning).into_iter().filter_map(|one| one.ticket) {
            effects.push(Effect::Joined(ticket, Err(GroupError::RebalanceInProgress)));
        }
        *self = Self::new(self.limits);
        effects
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Its members' protocol type, once it had a member.
    #[must_use]
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// Whether it never had a member.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.generation == 0 && self.members.is_empty() && self.pending.is_empty()
    }

    /// All of it, for storing and describing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot_of_all_protocols();
        for member in &mut snapshot.members {
            let chosen = self.protocol.as_deref();
            member.joining.protocols.retain(|protocol| chosen.is_none_or(|chosen| protocol.name == chosen));
        }
        snapshot
    }

    /// As [`ClassicGroup::snapshot`], with all protocols that members support.
    #[must_use]
    pub fn snapshot_of_all_protocols(&self) -> Snapshot {
        let member = |(id, member): (&String, &Member<T>)| {
            let (joining, assignment) = (member.joining.clone(), member.assignment.clone());
            MemberSnapshot { member_id: id.clone(), joining, assignment }
        };
        Snapshot {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// A member joins, or joins again. Answered at once if it changes nothing, else once all have joined.
    pub fn join(&mut self, now_ms: u64, request: JoinRequest, ticket: T) -> Effects<T> {
        let mut effects = Vec::new();
        if let Err((ticket, error)) = self.try_join(now_ms, request, ticket, &mut effects) {
            effects.push(Effect::Joined(ticket, Err(error)));
        }
        effects
    }

    fn try_join(
        &mut self,
        now_ms: u64,
        request: JoinRequest,
        ticket: T,
        effects: &mut Effects<T>,
    ) -> Result<(), (T, GroupError)> {
        if !self.accepts(&request.joining) {
            return Err((ticket, GroupError::InconsistentProtocol));
        }
        let member_id = &request.member_id;
        if member_id.is_empty() {
            return self.join_new(now_ms, request, ticket, effects);
        }
        if let Some(error) = self.unknown_or_fenced(member_id, request.joining.instance_id.as_deref()) {
            let was_pending = self.pending.remove(member_id).is_some();
            if !was_pending {
                return Err((ticket, error));
            }
            if self.members.len() >= self.limits.members_max {
                return Err((ticket, GroupError::Full));
            }
            let id = request.member_id.clone();
            self.add(now_ms, id, request.joining, ticket, effects);
            return Ok(());
        }
        self.join_again(now_ms, request, ticket, effects);
        Ok(())
    }

    /// Whether the member has the group's protocol type and a protocol that all others have.
    fn accepts(&self, joining: &Joining) -> bool {
        if joining.protocols.is_empty() || joining.protocol_type.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let others = || {
            self.members
                .values()
                .filter(|m| m.joining.instance_id.is_none() || m.joining.instance_id != joining.instance_id)
        };
        let by_all = |name: &str| others().all(|m| m.joining.protocols.iter().any(|p| p.name == name));
        self.protocol_type.as_deref() == Some(&*joining.protocol_type)
            && joining.protocols.iter().any(|protocol| by_all(&protocol.name))
    }

    fn unknown_or_fenced(&self, member_id: &str, instance_id: Option<&str>) -> Option<GroupError> {
        match instance_id.map(|instance| self.instances.get(instance)) {
            Some(Some(known)) if known != member_id => Some(GroupError::FencedInstance),
            Some(None) => Some(GroupError::UnknownMember),
            _ if !self.members.contains_key(member_id) => Some(GroupError::UnknownMember),
            _ => None,
        }
    }

    fn join_new(
        &mut self,
        now_ms: u64,
        request: JoinRequest,
        ticket: T,
        effects: &mut Effects<T>,
    ) -> Result<(), (T, GroupError)> {
        let id = request.new_member_id;
        let instance = request.joining.instance_id.clone();
        if let Some(old) = instance.and_then(|instance| self.instances.get(&instance).cloned()) {
            self.replace_static(now_ms, &old, id, request.joining, request.understands_skip, ticket, effects);
            return Ok(());
        }
        if self.members.len() + self.pending.len() >= self.limits.members_max {
            return Err((ticket, GroupError::Full));
        }
        if request.requires_known_id && request.joining.instance_id.is_none() {
            self.pending.insert(id.clone(), now_ms + request.joining.session_timeout_ms);
            return Err((ticket, GroupError::MemberIdRequired(id)));
        }
        self.add(now_ms, id, request.joining, ticket, effects);
        Ok(())
    }

    fn add(&mut self, now_ms: u64, id: String, joining: Joining, ticket: T, effects: &mut Effects<T>) {
        self.protocol_type.get_or_insert_with(|| joining.protocol_type.clone());
        if self.members.is_empty() {
            self.protocol_type = Some(joining.protocol_type.clone());
        }
        let mut member = Member::new(joining);
        member.join = Some(ticket);
        self.leader.get_or_insert_with(|| id.clone());
        self.insert(id, member);
        self.new_member_added = true;
        self.prepare(now_ms, effects);
        self.complete_join_if_due(now_ms, effects);
    }

    fn insert(&mut self, id: String, member: Member<T>) {
        if let Some(instance) = &member.joining.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
    }

    fn chooses_the_same(&self) -> bool {
        self.vote().as_deref() == self.protocol.as_deref()
    }

    fn join_again(&mut self, now_ms: u64, request: JoinRequest, ticket: T, effects: &mut Effects<T>) {
        let is_leader = self.leader.as_deref() == Some(&*request.member_id);
        let Some(member) = self.members.get_mut(&request.member_id) else { return };
        let same = member.joining.protocols == request.joining.protocols;
        let repeats = match self.state {
            State::CompletingRebalance => same,
            State::Stable => same && !is_leader,
            State::Empty | State::PreparingRebalance => false,
        };
        if repeats {
            // It has not seen its answer: the same once more.
            member.heard(now_ms);
            let answer = self.joined(&request.member_id, false);
            effects.push(Effect::Joined(ticket, Ok(answer)));
            return;
        }
        member.joining = request.joining;
        if let Some(earlier) = member.join.replace(ticket) {
            effects.push(Effect::Joined(earlier, Err(GroupError::UnknownMember)));
        }
        member.expires_ms = None;
        self.prepare(now_ms, effects);
        self.complete_join_if_due(now_ms, effects);
    }

    /// Begins a rebalance unless one has begun. Members that wait for an assignment must join again.
    fn prepare(&mut self, now_ms: u64, effects: &mut Effects<T>) {
        if self.state == State::PreparingRebalance {
            return;
        }
        if self.state == State::CompletingRebalance {
            for member in self.members.values_mut() {
                if let Some(waiting) = member.sync.take() {
                    member.heard(now_ms);
                    effects.push(Effect::Synced(waiting, Err(GroupError::RebalanceInProgress)));
                }
            }
        }
        let timeout_ms = self.rebalance_timeout_ms();
        let is_first = self.state == State::Empty && self.limits.initial_delay_ms > 0;
        self.rebalance = Some(Rebalance {
            deadline_ms: now_ms
                + if is_first { self.limits.initial_delay_ms.min(timeout_ms) } else { timeout_ms },
            initial_until_ms: is_first.then_some(now_ms + timeout_ms),
        });
        (self.state, self.sync_deadline_ms, self.storing) = (State::PreparingRebalance, None, false);
        self.new_member_added = false;
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.joining.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn complete_join_if_due(&mut self, now_ms: u64, effects: &mut Effects<T>) {
        let Some(rebalance) = &mut self.rebalance else { return };
        if let Some(until_ms) = rebalance.initial_until_ms
            && now_ms >= rebalance.deadline_ms
            && now_ms < until_ms
            && std::mem::take(&mut self.new_member_added)
        {
            // More may come: as long again.
            rebalance.deadline_ms = (now_ms + self.limits.initial_delay_ms).min(until_ms);
        }
        let rebalance = *rebalance;
        let all_here = self.pending.is_empty() && self.members.values().all(|member| member.join.is_some());
        let is_over = now_ms >= rebalance.deadline_ms;
        if is_over || (all_here && rebalance.initial_until_ms.is_none()) {
            self.complete_join(now_ms, effects);
        }
    }

    fn complete_join(&mut self, now_ms: u64, effects: &mut Effects<T>) {
        let absent = |member: &Member<T>| member.join.is_none() && !member.is_static();
        let gone: Vec<String> =
            self.members.iter().filter(|(_, member)| absent(member)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(&id, effects);
        }
        let present =
            |group: &Self, id: &str| group.members.get(id).is_some_and(|member| member.join.is_some());
        if !self.members.is_empty() && !self.leader.clone().is_some_and(|leader| present(self, &leader)) {
            match self.members.iter().find(|(_, member)| member.join.is_some()) {
                Some((id, _)) => self.leader = Some(id.clone()),
                None => {
                    // Only static members, none of which is back: they have as long again.
                    let deadline_ms = now_ms + self.rebalance_timeout_ms();
                    self.rebalance = Some(Rebalance { deadline_ms, initial_until_ms: None });
                    return;
                }
            }
        }
        self.rebalance = None;
        self.generation = if self.generation == i32::MAX { 1 } else { self.generation + 1 };
        if self.members.is_empty() {
            (self.state, self.protocol, self.leader) = (State::Empty, None, None);
            effects.push(Effect::Store { generation: self.generation });
            return;
        }
        self.protocol = self.vote();
        self.state = State::CompletingRebalance;
        self.sync_deadline_ms = Some(now_ms + self.rebalance_timeout_ms());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id, false);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.has_synced = false;
            member.heard(now_ms);
            if let Some(ticket) = member.join.take() {
                effects.push(Effect::Joined(ticket, Ok(answer)));
            }
        }
    }

    /// The protocol that most members like best, of those that all have.
    fn vote(&self) -> Option<String> {
        let mut members = self.members.values();
        let first = members.next()?;
        let names = first.joining.protocols.iter().map(|protocol| &*protocol.name);
        let has = |member: &Member<T>, name: &str| member.joining.protocols.iter().any(|p| p.name == name);
        let candidates: Vec<&str> =
            names.filter(|name| self.members.values().all(|m| has(m, name))).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for vote in self.members.values().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(vote).or_default() += 1;
        }
        votes.into_iter().max_by_key(|&(_, count)| count).map(|(name, _)| name.to_owned())
    }

    fn joined(&self, member_id: &str, skip_assignment: bool) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let leader = self.leader.clone().unwrap_or_default();
        let entry = |(id, member): (&String, &Member<T>)| {
            (id.clone(), member.joining.instance_id.clone(), member.metadata(&protocol))
        };
        let is_leader = leader == member_id;
        let members = if is_leader { self.members.iter().map(entry).collect() } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            leader,
            member_id: member_id.to_owned(),
            skip_assignment,
            members,
            protocol,
        }
    }

    /// A member asks for its assignment; the leader brings those of all.
    pub fn sync(&mut self, now_ms: u64, request: SyncRequest, ticket: T) -> Effects<T> {
        let (id, instance) = (&request.member_id, request.instance_id.as_deref());
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        let error = if let Some(error) = self.unknown_or_fenced(id, instance) {
            Some(error)
        } else if request.generation != self.generation {
            Some(GroupError::IllegalGeneration)
        } else if differs(&request.protocol.0, &self.protocol_type)
            || differs(&request.protocol.1, &self.protocol)
        {
            Some(GroupError::InconsistentProtocol)
        } else {
            match self.state {
                State::Empty => Some(GroupError::UnknownMember),
                State::PreparingRebalance => Some(GroupError::RebalanceInProgress),
                State::CompletingRebalance | State::Stable => None,
            }
        };
        if let Some(error) = error {
            return vec![Effect::Synced(ticket, Err(error))];
        }
        let is_leader = self.leader.as_deref() == Some(&**id);
        let (protocol_type, protocol) = self.agreed();
        let state = self.state;
        let Some(member) = self.members.get_mut(id) else { return Vec::new() };
        member.heard(now_ms);
        member.has_synced = true;
        if state != State::Stable {
            // It waits by right, however long the leader takes.
            member.expires_ms = None;
        }
        let mut effects = Vec::new();
        if state == State::Stable {
            let assignment = member.assignment.clone();
            return vec![Effect::Synced(ticket, Ok(Synced { protocol_type, protocol, assignment }))];
        }
        if let Some(earlier) = member.sync.replace(ticket) {
            effects.push(Effect::Synced(earlier, Err(GroupError::RebalanceInProgress)));
        }
        if is_leader && !self.storing {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
            for (id, assignment) in request.assignments {
                if let Some(member) = self.members.get_mut(&id) {
                    member.assignment = assignment;
                }
            }
            self.storing = true;
            effects.push(Effect::Store { generation: self.generation });
        }
        effects
    }

    fn agreed(&self) -> (String, String) {
        (self.protocol_type.clone().unwrap_or_default(), self.protocol.clone().unwrap_or_default())
    }

    /// The group's state of `generation` is durable, or could not be made so.
    pub fn stored(&mut self, now_ms: u64, generation: i32, ok: bool) -> Effects<T> {
        let mut effects = Vec::new();
        if !self.storing || self.state != State::CompletingRebalance || generation != self.generation {
            effects.extend(self.stored_returning(now_ms, generation, ok));
            return effects;
        }
        self.storing = false;
        let (protocol_type, protocol) = self.agreed();
        for member in self.members.values_mut() {
            if !ok {
                member.assignment = Bytes::new();
            }
            if let Some(ticket) = member.sync.take() {
                member.heard(now_ms);
                let assignment = member.assignment.clone();
                let (protocol_type, protocol) = (protocol_type.clone(), protocol.clone());
                let answer = Synced { protocol_type, protocol, assignment };
                effects
                    .push(Effect::Synced(ticket, if ok { Ok(answer) } else { Err(GroupError::NotStored) }));
            }
        }
        if ok {
            self.state = State::Stable;
        } else {
            self.prepare(now_ms, &mut effects);
        }
        effects
    }

    /// A member is alive.
    ///
    /// # Errors
    /// It must join again, or is none.
    pub fn heartbeat(
        &mut self,
        now_ms: u64,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        if let Some(error) = self.unknown_or_fenced(member_id, instance_id) {
            return Err(error);
        }
        if self.state == State::Empty {
            return Err(GroupError::UnknownMember);
        }
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(member_id).filter(|member| !member.waits()) {
            member.heard(now_ms);
        }
        if self.state == State::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// Whether a member may commit offsets. A commit without member and generation is one of a client
    /// that assigns its partitions itself: it is taken while the group is empty.
    ///
    /// # Errors
    /// The commit is refused.
    pub fn validate_commit(
        &mut self,
        now_ms: u64,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        // Tools, and consumers that assign partitions to themselves. librdkafka's of the new protocol send the
        // member id that they would have joined with.
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if let Some(error) = self.unknown_or_fenced(member_id, instance_id) {
            return Err(error);
        }
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            State::PreparingRebalance | State::Stable => {
                if let Some(member) = self.members.get_mut(member_id).filter(|member| !member.waits()) {
                    member.heard(now_ms);
                }
                Ok(())
            }
        }
    }

    /// A member leaves, named by its id or, if that is empty, by its instance id. Says its member id.
    ///
    /// # Errors
    /// There is no such member.
    pub fn leave(
        &mut self,
        now_ms: u64,
        member_id: &str,
        instance_id: Option<&str>,
        effects: &mut Effects<T>,
    ) -> Result<String, GroupError> {
        let id = match instance_id {
            Some(instance) => {
                let known = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
                if !member_id.is_empty() && known != member_id {
                    return Err(GroupError::FencedInstance);
                }
                known.clone()
            }
            None => member_id.to_owned(),
        };
        if self.pending.remove(&id).is_some() {
            self.complete_join_if_due(now_ms, effects);
            return Ok(id);
        }
        if !self.members.contains_key(&id) {
            return Err(GroupError::UnknownMember);
        }
        self.remove(&id, effects);
        self.member_gone(now_ms, effects);
        Ok(id)
    }

    fn remove(&mut self, id: &str, effects: &mut Effects<T>) {
        let Some(mut member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.joining.instance_id {
            self.instances.remove(instance);
        }
        self.refuse_returning(id, &GroupError::UnknownMember, effects);
        if let Some(ticket) = member.join.take() {
            effects.push(Effect::Joined(ticket, Err(GroupError::UnknownMember)));
        }
        if let Some(ticket) = member.sync.take() {
            effects.push(Effect::Synced(ticket, Err(GroupError::UnknownMember)));
        }
        if self.leader.as_deref() == Some(id) {
            let waiting = self.members.iter().find(|(_, member)| member.join.is_some());
            self.leader = waiting.or_else(|| self.members.iter().next()).map(|(id, _)| id.clone());
        }
    }

    fn member_gone(&mut self, now_ms: u64, effects: &mut Effects<T>) {
        match self.state {
            State::Empty => {}
            State::PreparingRebalance => self.complete_join_if_due(now_ms, effects),
            State::CompletingRebalance | State::Stable => {
                self.prepare(now_ms, effects);
                self.complete_join_if_due(now_ms, effects);
            }
        }
    }

    /// When something happens by itself.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let sessions = self.members.values().filter_map(|member| member.expires_ms);
        let rebalance = self.rebalance.map(|rebalance| rebalance.deadline_ms);
        sessions.chain(self.pending.values().copied()).chain(rebalance).chain(self.sync_deadline_ms).min()
    }

    /// Does what time has made due.
    pub fn tick(&mut self, now_ms: u64) -> Effects<T> {
        let mut effects = Vec::new();
        self.pending.retain(|_, lapses_ms| *lapses_ms > now_ms);
        let is_dead = |member: &Member<T>| member.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms);
        let mut gone: Vec<String> =
            self.members.iter().filter(|(_, member)| is_dead(member)).map(|(id, _)| id.clone()).collect();
        if self.sync_deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.sync_deadline_ms = None;
            let late = self.members.iter().filter(|(_, member)| !member.has_synced);
            gone.extend(late.map(|(id, _)| id.clone()));
        }
        let anyone_gone = !gone.is_empty();
        for id in gone {
            self.remove(&id, &mut effects);
        }
        if anyone_gone {
            self.member_gone(now_ms, &mut effects);
        }
        self.complete_join_if_due(now_ms, &mut effects);
        effects
    }
}
