//! A group under the consumer protocol (KIP-848): the coordinator assigns, members follow one by one.
//!
//! A plain state machine: a heartbeat, the cluster as it is and the time go in; an answer and what is to be stored
//! come out. What is stored is applied already. Read [`reconcile`] (a member's way to its target), [`assignor`]
//! (targets), [`stored`] (Kafka's records).
//!
//! Three epochs: the *group's* rises with every change of members, subscriptions or topics; the *target's* is the
//! group epoch that a target was computed for; a *member's* is the target that it has reached.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.consumerGroupHeartbeat`, `ConsumerGroup`.

pub mod assignor;
pub mod reconcile;
pub mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use assignor::{Assignor, Subscriber};
use stored::Stored;

use crate::model::{ClusterView, TopicId};

/// Partitions by topic.
pub type Assignment = BTreeMap<TopicId, BTreeSet<i32>>;

/// The epoch with which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves for a while.
pub const STATIC_LEAVE_EPOCH: i32 = -2;
/// Longest regular expression of a subscription, in bytes.
pub const REGEX_BYTES_MAX: usize = 4096;
/// Memory of a compiled regular expression, in bytes.
const REGEX_MEMORY_MAX: usize = 1 << 20;

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
}

/// See [`reconcile`].
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

#[derive(Debug, Clone)]
struct Member {
    is: Subscription,
    current: Current,
    target: Assignment,
    session_ends_ms: u64,
    revocation_ends_ms: Option<u64>,
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
        self.subscribe(&id, &beat, view, &mut out);
        if self.epoch > self.target_epoch {
            self.compute_target(view, &mut out);
        }
        let before = self.members[&id].current.clone();
        self.reconcile(now_ms, &id, beat.owned.as_ref(), &mut out);
        let ConsumerLimits { session_ms, heartbeat_ms, .. } = self.limits;
        let member = self.member(&id)?;
        member.session_ends_ms = now_ms + session_ms;
        let is_news = is_full_request || before.assigned != member.current.assigned;
        let answer = Beat {
            member_id: id,
            member_epoch: member.current.epoch,
            heartbeat_ms,
            assignment: is_news.then(|| member.current.assigned.clone()),
        };
        Ok((answer, out))
    }

    /// A member leaves, for good or, if it is static, for a while.
    ///
    /// # Errors
    /// [`ConsumerError`]; nothing has changed.
    pub fn leave(&mut self, beat: &Heartbeat) -> Outcome<(Beat, Vec<Stored>)> {
        let mut out = Vec::new();
        let unknown = || ConsumerError::UnknownMember(beat.member_id.clone());
        if let Some(instance) = &beat.instance_id {
            let holder = self.static_member(instance).ok_or_else(unknown)?;
            if *holder != beat.member_id {
                return Err(ConsumerError::FencedInstance(instance.clone()));
            }
        }
        let member = self.member(&beat.member_id)?;
        if beat.member_epoch == STATIC_LEAVE_EPOCH {
            let current =
                Current { epoch: STATIC_LEAVE_EPOCH, revoking: Assignment::new(), ..member.current.clone() };
            member.revocation_ends_ms = None;
            self.set_current(&beat.member_id.clone(), current, &mut out);
        } else {
            self.remove(&beat.member_id, &mut out);
        }
        let (member_id, member_epoch) = (beat.member_id.clone(), beat.member_epoch);
        Ok((Beat { member_id, member_epoch, heartbeat_ms: 0, assignment: None }, out))
    }

    /// Time has passed: members that were not heard of, or do not give back, are gone.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Stored> {
        let mut out = Vec::new();
        let is_late = |member: &Member| {
            member.session_ends_ms <= now_ms || member.revocation_ends_ms.is_some_and(|ends| ends <= now_ms)
        };
        let late: Vec<String> =
            self.members.iter().filter(|(_, member)| is_late(member)).map(|(id, _)| id.clone()).collect();
        for id in late {
            self.remove(&id, &mut out);
        }
        out
    }

    /// When [`ConsumerGroup::tick`] has something to do.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let deadlines = self.members.values().flat_map(|member| {
            [Some(member.session_ends_ms), member.revocation_ends_ms].into_iter().flatten()
        });
        deadlines.min()
    }

    /// Whether a member may commit or read offsets with that epoch.
    ///
    /// # Errors
    /// It is none, or its epoch is another one.
    pub fn check_member(&self, id: &str, epoch: i32) -> Outcome<()> {
        let unknown = || ConsumerError::UnknownMember(id.to_owned());
        let known = self.members.get(id).ok_or_else(unknown)?.current.epoch;
        if epoch == known { Ok(()) } else { Err(ConsumerError::StaleEpoch { got: epoch, known }) }
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
        let of_member = |id: &String| {
            [
                Stored::Current(id.clone(), None),
                Stored::Target(id.clone(), None),
                Stored::Member(id.clone(), None),
            ]
        };
        let of_members = self.members.keys().flat_map(of_member);
        of_members.chain([Stored::TargetEpoch(None), Stored::Group(None)]).collect()
    }

    /// Takes a stored fact over, at start. Members have a session from then on.
    pub fn replay(&mut self, stored: Stored, now_ms: u64) {
        let session_ends_ms = now_ms + self.limits.session_ms;
        match stored {
            Stored::Group(epoch) => self.epoch = epoch.unwrap_or(0),
            Stored::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or(0),
            Stored::Member(id, Some(is)) => match self.members.get_mut(&id) {
                Some(member) => member.is = is,
                None => {
                    let (current, target) = (Current::default(), Assignment::new());
                    let member = Member { is, current, target, session_ends_ms, revocation_ends_ms: None };
                    self.members.insert(id, member);
                }
            },
            Stored::Member(id, None) => {
                self.disown(&id);
                self.members.remove(&id);
            }
            Stored::Target(id, target) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.target = target.unwrap_or_default();
                }
            }
            Stored::Current(id, current) => {
                if self.members.contains_key(&id) {
                    self.own(&id, current.unwrap_or_default());
                }
                if let Some(member) = self.members.get_mut(&id)
                    && member.current.state == MemberState::Unrevoked
                {
                    let timeout_ms = u64::try_from(member.is.rebalance_timeout_ms).unwrap_or(0);
                    member.revocation_ends_ms = Some(now_ms + timeout_ms);
                }
            }
        }
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
            if self.member(&holder)?.current.epoch != STATIC_LEAVE_EPOCH {
                return Err(ConsumerError::UnreleasedInstance(instance));
            }
            // The same instance under a new id: it goes on with what it had.
            let Some(mut member) = self.members.remove(&holder) else { return Ok(()) };
            out.extend([
                Stored::Current(holder.clone(), None),
                Stored::Target(holder.clone(), None),
                Stored::Member(holder.clone(), None),
                Stored::Member(id.clone(), Some(member.is.clone())),
                Stored::Target(id.clone(), Some(member.target.clone())),
            ]);
            let current = Current { epoch: 0, previous_epoch: 0, ..member.current };
            member.current = Current::default();
            self.owners.retain(|_, owner| *owner != holder);
            self.members.insert(id.clone(), member);
            self.set_current(id, current, out);
            return Ok(());
        }
        if let Some(member) = self.members.get_mut(id) {
            // It comes back from the start.
            if member.current.epoch == STATIC_LEAVE_EPOCH {
                member.current.epoch = 0;
            }
            return Ok(());
        }
        if self.members.len() >= self.limits.members_max {
            return Err(ConsumerError::Full(self.limits.members_max));
        }
        let is = Subscription {
            instance_id: beat.instance_id.clone(),
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            topics: BTreeSet::new(),
            regex: None,
            rebalance_timeout_ms: -1,
            assignor: None,
        };
        let (current, target) = (Current::default(), Assignment::new());
        let member = Member { is, current, target, session_ends_ms: 0, revocation_ends_ms: None };
        self.members.insert(id.clone(), member);
        Ok(())
    }

    /// Takes over what the member says of itself; the group's epoch rises if who reads what has changed.
    fn subscribe(&mut self, id: &str, beat: &Heartbeat, view: &ClusterView, out: &mut Vec<Stored>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = member.is.clone();
        let is = &mut member.is;
        is.client_id.clone_from(&beat.client_id);
        is.client_host.clone_from(&beat.client_host);
        if beat.rack_id.is_some() {
            is.rack_id.clone_from(&beat.rack_id);
        }
        if let Some(timeout_ms) = beat.rebalance_timeout_ms {
            is.rebalance_timeout_ms = timeout_ms;
        }
        if let Some(topics) = &beat.topics {
            is.topics.clone_from(topics);
        }
        if let Some(regex) = &beat.regex {
            is.regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
        }
        if beat.assignor.is_some() {
            is.assignor.clone_from(&beat.assignor);
        }
        let reads = |is: &Subscription| (is.topics.clone(), is.regex.clone());
        let has_changed = reads(&before) != reads(is);
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
        let timeout_ms = u64::try_from(member.is.rebalance_timeout_ms).unwrap_or(0);
        let gives_back = next.state == MemberState::Unrevoked;
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

    fn remove(&mut self, id: &str, out: &mut Vec<Stored>) {
        self.disown(id);
        if self.members.remove(id).is_none() {
            return;
        }
        out.extend([
            Stored::Current(id.to_owned(), None),
            Stored::Target(id.to_owned(), None),
            Stored::Member(id.to_owned(), None),
        ]);
        // What the others read is compared anew with their next heartbeat.
        self.seen_view = None;
        self.bump(out);
    }
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

fn compiled(regex: &str) -> Outcome<regex::Regex> {
    if regex.len() > REGEX_BYTES_MAX {
        return Err(ConsumerError::Regex(format!("longer than {REGEX_BYTES_MAX} bytes")));
    }
    let whole = format!("^(?:{regex})$");
    let built = regex::RegexBuilder::new(&whole).size_limit(REGEX_MEMORY_MAX).build();
    built.map_err(|error| ConsumerError::Regex(error.to_string()))
}

/// The topics that a subscription names and that are there. As in Kafka, a regular expression meets internal ones too.
fn topics_of(is: &Subscription, view: &ClusterView) -> BTreeSet<TopicId> {
    let by_name = is.topics.iter().filter_map(|name| view.topic(name)).map(|topic| topic.id);
    let mut topics: BTreeSet<TopicId> = by_name.collect();
    if let Some(regex) = is.regex.as_deref().and_then(|regex| compiled(regex).ok()) {
        let matching = view.topics().filter(|topic| regex.is_match(topic.name.as_str()));
        topics.extend(matching.map(|topic| topic.id));
    }
    topics
}

#[cfg(test)]
mod tests;
