//! A group under the consumer protocol (KIP-848): the coordinator assigns, members follow one by one.
//!
//! A plain state machine: a heartbeat, the cluster as it is and the time go in; an answer and what is to be stored
//! come out. What is stored is applied already. Read [`member`], [`reconcile`] (a member's way to its target),
//! [`assignor`] (targets), [`topics`] (what a member reads), [`stored`] (Kafka's records), [`classic_members`] (members
//! that speak the classic protocol while a group goes over from one to the other).
//!
//! Three epochs: the *group's* rises with every change of members, subscriptions or topics; the *target's* is the
//! group epoch that a target was computed for; a *member's* is the target that it has reached.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.consumerGroupHeartbeat`, `ConsumerGroup`.

pub mod assignor;
pub mod classic_members;
pub mod member;
pub mod reconcile;
pub mod stored;
pub mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use assignor::{Assignor, Subscriber};
use member::Member;
pub use member::{Beat, ClassicSide, Current, Description, Heartbeat, MemberState, Subscription};
use stored::Stored;
use topics::{compiled, topics_of};

use crate::model::{ClusterView, TopicId};

/// Partitions by topic.
pub type Assignment = BTreeMap<TopicId, BTreeSet<i32>>;

/// The epoch with which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves for a while.
pub const STATIC_LEAVE_EPOCH: i32 = -2;

/// Bounds and times, named as their settings.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerLimits {
    /// `group.consumer.session.timeout.ms`
    pub session_ms: u64,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_ms: u64,
    /// `group.consumer.max.size`
    pub members_max: usize,
}

/// Why a heartbeat was refused; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    /// Nobody of that id is a member.
    #[error("Member {0} is not a member of the group.")]
    UnknownMember(String),
    /// Its epoch is not the one that it was told.
    #[error(
        "The member epoch {got} is not {known}, the one known by the coordinator: give up all partitions and rejoin."
    )]
    FencedEpoch {
        /// What it said.
        got: i32,
        /// What it was told.
        known: i32,
    },
    /// The generation with which a classic member commits or reads offsets is not its own.
    #[error("The generation {got} is not {known}, the one known by the coordinator.")]
    IllegalGeneration {
        /// What it said.
        got: i32,
        /// What it was told.
        known: i32,
    },
    /// The epoch with which it commits or reads offsets is not its own.
    #[error("The member epoch {got} is not {known}, the one known by the coordinator.")]
    StaleEpoch {
        /// What it said.
        got: i32,
        /// What it was told.
        known: i32,
    },
    /// Another member runs under the same instance id.
    #[error("Static member with instance id {0} is still in use by another member.")]
    UnreleasedInstance(String),
    /// The instance id belongs to another member.
    #[error("Static member with instance id {0} was fenced by another member.")]
    FencedInstance(String),
    /// Too many members.
    #[error("The group has reached its maximum size of {0}.")]
    Full(usize),
    /// The regular expression is none.
    #[error("SubscribedTopicRegex is not a valid regular expression: {0}")]
    Regex(String),
}

/// A group and its members.
#[derive(Debug)]
pub struct ConsumerGroup {
    limits: ConsumerLimits,
    epoch: i32,
    target_epoch: i32,
    members: BTreeMap<String, Member>,
    /// Who has, or has not yet given back, each partition.
    owners: HashMap<(TopicId, i32), String>,
    /// The topics that members read, with their partitions, as the target was computed for.
    topics: BTreeMap<TopicId, i32>,
    /// The view that `topics` was last compared with.
    seen_view: Option<u64>,
}

type Outcome<T> = Result<T, ConsumerError>;

impl ConsumerGroup {
    /// A group without members.
    #[must_use]
    pub fn new(limits: ConsumerLimits) -> Self {
        Self {
            limits,
            epoch: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            owners: HashMap::new(),
            topics: BTreeMap::new(),
            seen_view: None,
        }
    }

    /// These limits hold from now on, for each member from its next heartbeat on.
    pub fn follow(&mut self, limits: ConsumerLimits) {
        self.limits = limits;
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of its state.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        let is_reconciled = |member: &Member| {
            member.current.state == MemberState::Stable && member.current.epoch == self.target_epoch
        };
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(is_reconciled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// A member is alive, and says what it has and wants. What comes back with the answer is to be stored.
    ///
    /// # Errors
    /// [`ConsumerError`]; nothing has changed.
    pub fn heartbeat(
        &mut self,
        now_ms: u64,
        view: &ClusterView,
        beat: Heartbeat,
    ) -> Outcome<(Beat, Vec<Stored>)> {
        if let Some(regex) = beat.regex.as_deref().filter(|regex| !regex.is_empty()) {
            compiled(regex)?;
        }
        let mut out = Vec::new();
        let id = beat.member_id.clone();
        self.admit(&beat, &mut out)?;
        let is_full_request = beat.member_epoch == 0
            || (beat.rebalance_timeout_ms.is_some() && beat.topics.is_some() && beat.owned.is_some());
        let before = self.members[&id].current.clone();
        let is = self.members[&id].is.after(&beat);
        self.go_on(now_ms, &id, is, beat.owned.as_ref(), view, &mut out);
        let ConsumerLimits { session_ms, heartbeat_ms, .. } = self.limits;
        let member = self.member(&id)?;
        member.session_ends_ms = now_ms + session_ms;
        (member.join_ends_ms, member.sync_ends_ms) = (None, None);
        let is_news = is_full_request || before.assigned != member.current.assigned;
        let answer = Beat {
            member_id: id,
            member_epoch: member.current.epoch,
            heartbeat_ms,
            assignment: is_news.then(|| member.current.assigned.clone()),
        };
        Ok((answer, out))
    }

    /// Whether a member may leave, for good or, if it is static, for a while.
    ///
    /// # Errors
    /// It is none, or another has its place.
    pub fn check_leave(&self, beat: &Heartbeat) -> Outcome<()> {
        let unknown = || ConsumerError::UnknownMember(beat.member_id.clone());
        if let Some(instance) = &beat.instance_id {
            let holder = self.static_member(instance).ok_or_else(unknown)?;
            if *holder != beat.member_id {
                return Err(ConsumerError::FencedInstance(instance.clone()));
            }
        }
        self.members.get(&beat.member_id).map(|_| ()).ok_or_else(unknown)
    }

    /// A static member is away for a while, and keeps what it has.
    pub fn step_aside(&mut self, id: &str) -> Vec<Stored> {
        let mut out = Vec::new();
        if let Some(member) = self.members.get_mut(id) {
            member.revocation_ends_ms = None;
            let current =
                Current { epoch: STATIC_LEAVE_EPOCH, revoking: Assignment::new(), ..member.current.clone() };
            self.set_current(id, current, &mut out);
        }
        out
    }

    /// Members that were not heard of in time, or did not do in time what they were told.
    #[must_use]
    pub fn late(&self, now_ms: u64) -> Vec<String> {
        let late = self.members.iter().filter(|(_, member)| member.deadline_ms() <= now_ms);
        late.map(|(id, _)| id.clone()).collect()
    }

    /// Members are gone; the others share what they had.
    pub fn remove(&mut self, ids: &[String]) -> Vec<Stored> {
        let mut out = Vec::new();
        for id in ids {
            self.disown(id);
            if self.members.remove(id).is_some() {
                out.extend(tombstones_of(id));
            }
        }
        if !out.is_empty() {
            // What the others read is compared anew with their next heartbeat.
            self.seen_view = None;
            self.bump(&mut out);
        }
        out
    }

    /// When some member is late.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.members.values().map(Member::deadline_ms).min()
    }

    /// Whether a member may commit or read offsets with that epoch.
    ///
    /// # Errors
    /// It is none, or its epoch is another one.
    pub fn check_member(&self, id: &str, epoch: i32) -> Outcome<()> {
        let unknown = || ConsumerError::UnknownMember(id.to_owned());
        let member = self.members.get(id).ok_or_else(unknown)?;
        let (got, known) = (epoch, member.current.epoch);
        match &member.is.classic {
            _ if got == known => Ok(()),
            None => Err(ConsumerError::StaleEpoch { got, known }),
            Some(_) => Err(ConsumerError::IllegalGeneration { got, known }),
        }
    }

    /// As ConsumerGroupDescribe shows it.
    #[must_use]
    pub fn describe(&self) -> Description {
        let member = |(id, member): (&String, &Member)| {
            (id.clone(), member.is.clone(), member.current.clone(), member.target.clone())
        };
        Description {
            state: self.state_name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: self.assignor().name(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// The names of topics that members read.
    #[must_use]
    pub fn subscribed(&self, view: &ClusterView) -> BTreeSet<String> {
        let ids = self.members.values().flat_map(|member| topics_of(&member.is, view));
        ids.filter_map(|id| view.topic_by_id(id).map(|topic| topic.name.as_str().to_owned())).collect()
    }

    /// What ends the group.
    #[must_use]
    pub fn tombstones(&self) -> Vec<Stored> {
        let of_members = self.members.keys().flat_map(|id| tombstones_of(id));
        of_members.chain([Stored::TargetEpoch(None), Stored::Group(None)]).collect()
    }

    /// The same fact as it is now.
    #[must_use]
    pub fn as_is_now(&self, fact: &Stored) -> Stored {
        let of = |id: &String| self.members.get(id);
        match fact {
            Stored::Group(_) => Stored::Group(Some(self.epoch)),
            Stored::TargetEpoch(_) => Stored::TargetEpoch(Some(self.target_epoch)),
            Stored::Member(id, _) => Stored::Member(id.clone(), of(id).map(|member| member.is.clone())),
            Stored::Target(id, _) => Stored::Target(id.clone(), of(id).map(|member| member.target.clone())),
            Stored::Current(id, _) => {
                Stored::Current(id.clone(), of(id).map(|member| member.current.clone()))
            }
        }
    }

    /// Takes a stored fact over, at start. Members have a session from then on.
    pub fn replay(&mut self, stored: Stored, now_ms: u64) {
        match stored {
            Stored::Group(epoch) => self.epoch = epoch.unwrap_or(0),
            Stored::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or(0),
            Stored::Member(id, Some(is)) => {
                let session_ms =
                    is.classic.as_ref().map_or(self.limits.session_ms, |of| of.session_timeout_ms);
                let member = self.replayed(id);
                (member.is, member.session_ends_ms) = (is, now_ms + session_ms);
            }
            Stored::Target(id, Some(target)) => self.replayed(id).target = target,
            Stored::Current(id, Some(current)) => {
                self.replayed(id.clone());
                self.own(&id, current);
                let member = self.replayed(id);
                let gives_back =
                    member.current.state == MemberState::Unrevoked && member.is.classic.is_none();
                member.revocation_ends_ms = gives_back.then(|| now_ms + member.rebalance_timeout_ms());
            }
            Stored::Member(id, None) => {
                self.disown(&id);
                self.members.remove(&id);
            }
            Stored::Target(id, None) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.target = Assignment::new();
                }
            }
            Stored::Current(id, None) => self.own(&id, Current::default()),
        }
    }

    /// Compaction may leave what a member has before what it is.
    fn replayed(&mut self, id: String) -> &mut Member {
        self.members.entry(id).or_insert_with(|| Member::new(Subscription::default()))
    }

    /// Whether all members but these speak the classic protocol.
    #[must_use]
    pub fn is_classic_without(&self, gone: &[String]) -> bool {
        self.members.iter().all(|(id, member)| member.is.classic.is_some() || gone.contains(id))
    }

    /// How many members it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    fn member(&mut self, id: &str) -> Outcome<&mut Member> {
        self.members.get_mut(id).ok_or_else(|| ConsumerError::UnknownMember(id.to_owned()))
    }

    fn static_member(&self, instance: &str) -> Option<&String> {
        let holds = |member: &Member| member.is.instance_id.as_deref() == Some(instance);
        self.members.iter().find(|(_, member)| holds(member)).map(|(id, _)| id)
    }

    /// Makes sure that the member is there and may go on.
    fn admit(&mut self, beat: &Heartbeat, out: &mut Vec<Stored>) -> Outcome<()> {
        let id = &beat.member_id;
        let holder = beat.instance_id.as_deref().and_then(|instance| self.static_member(instance)).cloned();
        let instance = beat.instance_id.clone().unwrap_or_default();
        if beat.member_epoch > 0 {
            if beat.instance_id.is_some() {
                match &holder {
                    None => return Err(ConsumerError::UnknownMember(id.clone())),
                    Some(holder) if holder != id => return Err(ConsumerError::FencedInstance(instance)),
                    Some(_) => {}
                }
            }
            return check_epoch(&self.member(id)?.current, beat);
        }
        if let Some(holder) = holder.filter(|holder| holder != id) {
            let member = self.member(&holder)?;
            // A classic member cannot say that it is away: its instance has come back in the newer protocol.
            if member.current.epoch != STATIC_LEAVE_EPOCH && member.is.classic.is_none() {
                return Err(ConsumerError::UnreleasedInstance(instance));
            }
            self.replace_static(&holder, id, out);
            return Ok(());
        }
        if let Some(member) = self.members.get_mut(id) {
            // It comes back from the start.
            if member.current.epoch == STATIC_LEAVE_EPOCH {
                member.current.epoch = 0;
            }
            return Ok(());
        }
        self.check_room()?;
        let is = Subscription { instance_id: beat.instance_id.clone(), ..Subscription::default() };
        self.members.insert(id.clone(), Member::new(is));
        Ok(())
    }

    fn check_room(&self) -> Outcome<()> {
        let members_max = self.limits.members_max;
        if self.members.len() < members_max { Ok(()) } else { Err(ConsumerError::Full(members_max)) }
    }

    /// The same instance under a new id: it goes on with what it had.
    fn replace_static(&mut self, holder: &str, id: &str, out: &mut Vec<Stored>) {
        let Some(mut member) = self.members.remove(holder) else { return };
        // A member of that id may be there, under another instance or none: what it had is free.
        self.disown(id);
        out.extend(tombstones_of(holder));
        out.extend([
            Stored::Member(id.to_owned(), Some(member.is.clone())),
            Stored::Target(id.to_owned(), Some(member.target.clone())),
        ]);
        let current = Current { epoch: 0, previous_epoch: 0, ..member.current };
        member.current = Current::default();
        self.owners.retain(|_, owner| owner != holder);
        self.members.insert(id.to_owned(), member);
        self.set_current(id, current, out);
    }

    /// Takes over what a member is, computes targets if they are old, and lets the member follow its own.
    fn go_on(
        &mut self,
        now_ms: u64,
        id: &str,
        is: Subscription,
        owned: Option<&Assignment>,
        view: &ClusterView,
        out: &mut Vec<Stored>,
    ) {
        self.update(id, is, view, out);
        if self.epoch > self.target_epoch {
            self.compute_target(view, out);
        }
        self.reconcile(now_ms, id, owned, out);
    }

    /// Takes over what a member is; the group's epoch rises if who reads what has changed.
    fn update(&mut self, id: &str, is: Subscription, view: &ClusterView, out: &mut Vec<Stored>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.is, is);
        let is = &member.is;
        let has_changed = (&before.topics, &before.regex) != (&is.topics, &is.regex);
        if before != *is {
            out.push(Stored::Member(id.to_owned(), Some(is.clone())));
        }
        let mut bump = has_changed;
        if has_changed || self.seen_view != Some(view.epoch) {
            let topics = self.topics_read(view);
            bump |= topics != self.topics;
            self.topics = topics;
            self.seen_view = Some(view.epoch);
        }
        if bump {
            self.bump(out);
        }
    }

    fn topics_read(&self, view: &ClusterView) -> BTreeMap<TopicId, i32> {
        let ids: BTreeSet<TopicId> =
            self.members.values().flat_map(|member| topics_of(&member.is, view)).collect();
        let counted = |id: TopicId| Some((id, i32::try_from(view.topic_by_id(id)?.partitions.len()).ok()?));
        ids.into_iter().filter_map(counted).collect()
    }

    fn bump(&mut self, out: &mut Vec<Stored>) {
        self.epoch += 1;
        out.push(Stored::Group(Some(self.epoch)));
    }

    /// The assignor that most members ask for; who does not ask counts for none.
    fn assignor(&self) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.is.assignor.as_deref()) {
            if let Some(assignor) = Assignor::named(name) {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(assignor, count)| (*count, std::cmp::Reverse(*assignor)));
        most.map_or(Assignor::Uniform, |(assignor, _)| assignor)
    }

    fn compute_target(&mut self, view: &ClusterView, out: &mut Vec<Stored>) {
        let subscriber = |(id, member): (&String, &Member)| {
            let topics = topics_of(&member.is, view);
            let rank = member.is.instance_id.clone().unwrap_or_else(|| id.clone());
            (id.clone(), Subscriber { topics, before: member.target.clone(), rank })
        };
        let members = self.members.iter().map(subscriber).collect();
        for (id, target) in assignor::assign(self.assignor(), &members, &self.topics) {
            let Some(member) = self.members.get_mut(&id) else { continue };
            // A new member's is stored even if it is empty.
            if member.target != target || member.current.epoch == 0 {
                out.push(Stored::Target(id, Some(target.clone())));
                member.target = target;
            }
        }
        self.target_epoch = self.epoch;
        out.push(Stored::TargetEpoch(Some(self.target_epoch)));
    }

    fn reconcile(&mut self, now_ms: u64, id: &str, owned: Option<&Assignment>, out: &mut Vec<Stored>) {
        let Some(member) = self.members.get(id) else { return };
        let is_taken = |topic: TopicId, partition: i32| {
            self.owners.get(&(topic, partition)).is_some_and(|owner| owner != id)
        };
        let next = reconcile::next(&member.current, self.target_epoch, &member.target, owned, is_taken);
        if next == member.current {
            return;
        }
        let timeout_ms = member.rebalance_timeout_ms();
        // Classic members are bound by the times for joining and syncing.
        let gives_back = next.state == MemberState::Unrevoked && member.is.classic.is_none();
        self.set_current(id, next, out);
        if let Some(member) = self.members.get_mut(id) {
            member.revocation_ends_ms = gives_back.then_some(now_ms + timeout_ms);
        }
    }

    fn set_current(&mut self, id: &str, current: Current, out: &mut Vec<Stored>) {
        out.push(Stored::Current(id.to_owned(), Some(current.clone())));
        self.own(id, current);
    }

    /// The member has this from now on, and nothing else.
    fn own(&mut self, id: &str, current: Current) {
        self.disown(id);
        for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
            for partition in partitions {
                self.owners.insert((*topic, *partition), id.to_owned());
            }
        }
        if let Some(member) = self.members.get_mut(id) {
            member.current = current;
        }
    }

    fn disown(&mut self, id: &str) {
        let Some(member) = self.members.get(id) else { return };
        for (topic, partitions) in member.current.assigned.iter().chain(&member.current.revoking) {
            for partition in partitions {
                if self.owners.get(&(*topic, *partition)).is_some_and(|owner| owner == id) {
                    self.owners.remove(&(*topic, *partition));
                }
            }
        }
    }
}

fn tombstones_of(id: &str) -> [Stored; 3] {
    [
        Stored::Current(id.to_owned(), None),
        Stored::Target(id.to_owned(), None),
        Stored::Member(id.to_owned(), None),
    ]
}

/// The last epoch that the member was told, or the one before if it has no more than its own.
fn check_epoch(current: &Current, beat: &Heartbeat) -> Outcome<()> {
    let (got, known) = (beat.member_epoch, current.epoch);
    let has_its_own = beat.owned.as_ref().is_some_and(|owned| {
        owned.iter().all(|(topic, partitions)| {
            current.assigned.get(topic).is_some_and(|assigned| partitions.is_subset(assigned))
        })
    });
    if got == known || (got < known && got == current.previous_epoch && has_its_own) {
        return Ok(());
    }
    Err(ConsumerError::FencedEpoch { got, known })
}

#[cfg(test)]
pub(super) mod tests;
