//! The coordinator of one core: the groups whose partition of `__consumer_offsets` lies here.
//!
//! A group belongs to the partition that its id hashes to, as in Kafka; that partition is where its records
//! are stored, and the core that owns it is its coordinator. Records are stored with acks=all, and a request
//! that changes something is answered only once its records are durable.
//!
//! A partition is read from its start before the first request for it is served (`load`); a load that takes longer
//! than a moment has clients come again. What groups keep is in `store`.

mod load;
mod store;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use futures_lite::future;
use tokio::sync::oneshot;

use super::{
    classic::{Effect, GroupError, GroupLimits, Joining},
    consumer::ConsumerLimits,
    group::{Group, Turn, World},
    messages::{
        CoordinatorError, GroupAnswer, GroupCall, GroupRequest, GroupResult, Listed, MemberOf, NewOffset,
    },
    migration::MigrationPolicy,
    offsets::{Committed, METADATA_BYTES_MAX, Partition},
    records::GroupRecord,
};
use crate::{
    io::{
        cores::{Queue, spawn, yield_now},
        notify::Notify,
    },
    model::{ClusterView, Offset, PartitionIndex, TopicName, TopicPartition, TopicView},
    shard::{Shard, guest::Guest},
};

/// Kafka's topic of groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long a request waits for a load before its client is told to come again, in ms.
const LOAD_WAIT_MAX_MS: u64 = 500;

/// Groups that are looked through before others of the core have their turn.
const GROUPS_AT_A_TIME: usize = 1_000;

/// Groups that one core holds; each may keep members and offsets.
const GROUPS_MAX: usize = 100_000;

/// Bounds and times of the coordinator; every field is named as its setting.
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorSettings {
    /// `group.initial.rebalance.delay.ms`, `group.max.size`
    pub limits: GroupLimits,
    /// `group.consumer.*`
    pub consumer: ConsumerLimits,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// `group.min.session.timeout.ms`
    pub session_min_ms: u64,
    /// `group.max.session.timeout.ms`
    pub session_max_ms: u64,
    /// `offsets.retention.minutes`, in ms.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_ms: u64,
}

type Ticket = oneshot::Sender<GroupResult>;

/// What travels between cores, in its box.
#[derive(Debug)]
pub enum Message {
    /// About one group.
    Call(Box<GroupCall>),
    /// About all groups of the core.
    List,
}

/// The answer to a [`Message`].
#[derive(Debug)]
pub enum Reply {
    /// To [`Message::Call`].
    Call(GroupResult),
    /// To [`Message::List`].
    List(Result<Vec<Listed>, CoordinatorError>),
}

struct Held {
    group: Group<Ticket>,
    /// Its entry among the timers.
    timer_ms: Option<u64>,
    /// Where in the log each of its offsets came from: of two commits the later one stays, in whichever order
    /// they are done.
    applied_to: HashMap<Partition, Offset>,
    /// What turns said and could not be stored: it is to be, before the group takes another. Of few turns at most:
    /// those that were under way when the first of them failed, and those that time takes.
    unstored: Vec<GroupRecord>,
}

impl Held {
    /// Nothing of it is worth keeping.
    fn is_nothing(&self) -> bool {
        self.unstored.is_empty() && self.group.is_nothing()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loaded {
    Loading,
    Yes,
}

/// The groups of one core.
pub struct Coordinator {
    shard: Rc<Shard>,
    settings: CoordinatorSettings,
    groups: RefCell<BTreeMap<String, Held>>,
    loaded: RefCell<HashMap<TopicPartition, Loaded>>,
    loads_ended: Notify,
    timers: RefCell<BTreeSet<(u64, String)>>,
    timers_changed: Notify,
    next_member: Cell<u64>,
}

/// The partition of `__consumer_offsets` that a group belongs to: Java's hash of the id, made positive, modulo.
///
/// Source: Kafka, `GroupMetadataManager.partitionFor`, `Utils.abs`, `String.hashCode`.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> PartitionIndex {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex::new((hash & i32::MAX) % partitions.max(1))
}

impl Guest for Coordinator {
    fn serve(
        self: Rc<Self>,
        request: Box<dyn Any + Send>,
    ) -> Pin<Box<dyn Future<Output = Box<dyn Any + Send>>>> {
        Box::pin(async move {
            let message = request.downcast::<Message>().expect("cores send each other messages");
            let reply: Box<dyn Any + Send> = Box::new(match *message {
                Message::Call(call) => Reply::Call(self.serve_call(*call).await),
                Message::List => Reply::List(self.list().await),
            });
            reply
        })
    }

    fn topics_gone(self: Rc<Self>, names: Vec<TopicName>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            if names.iter().any(|name| name.as_str() == OFFSETS_TOPIC) {
                return;
            }
            let is_gone = |topic: &str| names.iter().any(|name| name.as_str() == topic);
            let of = |id: &str, group: &Group<Ticket>| {
                Group::<Ticket>::tombstones(id, &group.offsets.of_topics(is_gone))
            };
            self.forget(of, "offsets of a deleted topic").await;
        })
    }
}

impl Coordinator {
    /// The coordinator of a core; [`Coordinator::run`] follows.
    #[must_use]
    pub fn new(shard: Rc<Shard>, settings: CoordinatorSettings) -> Rc<Self> {
        let coordinator = Rc::new(Self {
            shard,
            settings,
            groups: RefCell::default(),
            loaded: RefCell::default(),
            loads_ended: Notify::default(),
            timers: RefCell::default(),
            timers_changed: Notify::default(),
            next_member: Cell::new(0),
        });
        coordinator.shard.set_guest(coordinator.clone());
        coordinator
    }

    /// Asks the core that coordinates a group.
    pub async fn ask(self: &Rc<Self>, group: &str, request: GroupRequest) -> GroupResult {
        let view = self.shard.view();
        let Some(topic) = view.topic(OFFSETS_TOPIC) else { return Err(CoordinatorError::NotCoordinator) };
        let index = partition_of(group, topic.partitions.len() as i32);
        let Some(placed) = topic.partition(index) else { return Err(CoordinatorError::NotCoordinator) };
        if !self.shard.settings().is_own(placed.leader) {
            return Err(CoordinatorError::NotCoordinator);
        }
        let message = Message::Call(Box::new(GroupCall { group: group.to_owned(), request }));
        let reply = self.shard.ask_guest(placed.shard, Box::new(message)).await;
        match reply.downcast::<Reply>().map(|reply| *reply) {
            Ok(Reply::Call(result)) => result,
            _ => panic!("another answer than that to a call"),
        }
    }

    /// The groups that the broker coordinates as which clients know this core: those of all cores, or its own.
    ///
    /// # Errors
    /// Not all of them are loaded.
    pub async fn list_all(self: &Rc<Self>) -> Result<Vec<Listed>, CoordinatorError> {
        let view = self.shard.view();
        let Some(topic) = view.topic(OFFSETS_TOPIC) else { return Ok(Vec::new()) };
        let owners: BTreeSet<_> = match self.shard.settings().per_core_listeners {
            true => [self.shard.id()].into(),
            false => topic.partitions.iter().map(|placed| placed.shard).collect(),
        };
        let mut all = Vec::new();
        for owner in owners {
            let reply = self.shard.ask_guest(owner, Box::new(Message::List)).await;
            match reply.downcast::<Reply>().map(|reply| *reply) {
                Ok(Reply::List(listed)) => all.extend(listed?),
                _ => panic!("another answer than that to a list"),
            }
        }
        Ok(all)
    }

    /// Loads what is there, then lets time act on the groups, until the core ends.
    pub async fn run(self: Rc<Self>) {
        self.load_all();
        let mut check_ms = self.now_ms() + self.settings.retention_check_ms;
        while !self.shard.stopping().is_asked() {
            let now_ms = self.now_ms();
            let due: Vec<String> = {
                let timers = self.timers.borrow();
                timers.iter().take_while(|(at_ms, _)| *at_ms <= now_ms).map(|(_, id)| id.clone()).collect()
            };
            for group in due {
                self.tick(&group);
            }
            if now_ms >= check_ms {
                check_ms = now_ms + self.settings.retention_check_ms;
                self.expire().await;
            }
            let next_ms = self.timers.borrow().first().map_or(check_ms, |(at_ms, _)| (*at_ms).min(check_ms));
            let wait = Duration::from_millis(next_ms.saturating_sub(self.now_ms()).max(1));
            future::or(self.timers_changed.notified(), self.shard.clock().sleep(wait)).await;
        }
    }

    pub(super) fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// What groups have committed, in their order: at most so much.
    pub(super) fn committed(&self, max: usize) -> Vec<(String, Partition, i64)> {
        let groups = self.groups.borrow();
        let all = groups.iter().flat_map(|(id, held)| {
            held.group.offsets.iter().map(|(partition, at)| (id.clone(), partition.clone(), at.offset))
        });
        all.take(max).collect()
    }

    fn now_ms(&self) -> u64 {
        self.shard.clock().monotonic_ms()
    }

    fn topic(&self) -> Option<std::sync::Arc<TopicView>> {
        self.shard.view().topic(OFFSETS_TOPIC).cloned()
    }

    /// The partition of a group, if it lies here.
    fn home(&self, group: &str) -> Option<TopicPartition> {
        let topic = self.topic()?;
        let placed = topic.partition(partition_of(group, topic.partitions.len() as i32))?;
        (placed.shard == self.shard.id())
            .then_some(TopicPartition { topic: topic.id, partition: placed.index })
    }

    /// Lets a request wait a moment for the groups that it is about: most loads are done by then.
    async fn wait_until_loaded(&self, is_loaded: impl Fn() -> bool) -> Result<(), CoordinatorError> {
        let deadline_ms = self.now_ms() + LOAD_WAIT_MAX_MS;
        while !is_loaded() {
            let left_ms = deadline_ms.saturating_sub(self.now_ms());
            if left_ms == 0 || self.shard.stopping().is_asked() {
                return Err(CoordinatorError::Loading);
            }
            let over = self.shard.clock().sleep(Duration::from_millis(left_ms));
            future::or(self.loads_ended.notified(), over).await;
        }
        Ok(())
    }

    fn held(&self, wall_ms: i64) -> Held {
        let group = Group::new(self.settings.limits, wall_ms);
        Held { group, timer_ms: None, applied_to: HashMap::new(), unstored: Vec::new() }
    }

    fn world<'a>(&self, group: &'a str, view: &'a ClusterView) -> World<'a> {
        let mut consumer = self.settings.consumer;
        if let Some(own) = view.groups.get(group) {
            consumer.session_ms = own.consumer_session_ms().unwrap_or(consumer.session_ms);
            consumer.heartbeat_ms = own.consumer_heartbeat_ms().unwrap_or(consumer.heartbeat_ms);
        }
        World {
            group,
            view,
            classic: self.settings.limits,
            consumer,
            migration: self.settings.migration,
            now_ms: self.now_ms(),
            wall_ms: self.shard.clock().wall_ms(),
        }
    }

    /// Lets a group take a turn, and answers requests that have waited for it. What is to be stored and the answer
    /// are left to the caller; `None`: there is no such group.
    fn turn<A>(
        self: &Rc<Self>,
        id: &str,
        take: impl FnOnce(&mut Group<Ticket>, World<'_>) -> Turn<Ticket, A>,
    ) -> Option<(Vec<GroupRecord>, A)> {
        let view = self.shard.view();
        let Turn { records, effects, answer } = {
            let mut groups = self.groups.borrow_mut();
            take(&mut groups.get_mut(id)?.group, self.world(id, &view))
        };
        self.set_timer(id);
        for effect in effects {
            match effect {
                // Whoever asked may have gone.
                Effect::Joined(ticket, answer) => {
                    drop(ticket.send(answer.map(GroupAnswer::Join).map_err(Into::into)))
                }
                Effect::Synced(ticket, answer) => {
                    drop(ticket.send(answer.map(GroupAnswer::Sync).map_err(Into::into)))
                }
                Effect::Store { generation } => self.store_group(id, generation),
            }
        }
        let mut groups = self.groups.borrow_mut();
        if groups.get(id).is_some_and(Held::is_nothing) {
            groups.remove(id);
        }
        Some((records, answer))
    }

    /// As [`Coordinator::turn`]; the answer comes once what is to be stored is durable.
    async fn act<A>(
        self: &Rc<Self>,
        id: &str,
        take: impl FnOnce(&mut Group<Ticket>, World<'_>) -> Turn<Ticket, A>,
    ) -> Result<A, CoordinatorError> {
        let has_unstored = self.groups.borrow().get(id).is_some_and(|held| !held.unstored.is_empty());
        if has_unstored {
            self.store_turn(id, Vec::new()).await?;
        }
        let (records, answer) = self.turn(id, take).ok_or(GroupError::UnknownMember)?;
        self.store_turn(id, records).await?;
        Ok(answer)
    }

    /// Lets time act on a group.
    fn tick(self: &Rc<Self>, id: &str) {
        let Some((records, ())) = self.turn(id, Group::tick) else { return };
        if records.is_empty() && self.groups.borrow().get(id).is_none_or(|held| held.unstored.is_empty()) {
            return;
        }
        let (stored, group) = (self.store_turn(id, records), id.to_owned());
        spawn(Queue::Foreground, async move {
            if let Err(error) = stored.await {
                tracing::warn!(group, %error, "members that are gone could not be stored yet");
            }
        });
    }

    fn set_timer(&self, id: &str) {
        let mut groups = self.groups.borrow_mut();
        let mut timers = self.timers.borrow_mut();
        let Some(held) = groups.get_mut(id) else { return };
        let next_ms = held.group.next_deadline_ms();
        if held.timer_ms == next_ms {
            return;
        }
        if let Some(old_ms) = std::mem::replace(&mut held.timer_ms, next_ms) {
            timers.remove(&(old_ms, id.to_owned()));
        }
        if let Some(next_ms) = next_ms {
            timers.insert((next_ms, id.to_owned()));
            if timers.first().is_some_and(|(first_ms, _)| *first_ms == next_ms) {
                self.timers_changed.notify();
            }
        }
    }

    async fn serve_call(self: &Rc<Self>, call: GroupCall) -> GroupResult {
        let GroupCall { group, request } = call;
        let home = self.home(&group).ok_or(CoordinatorError::NotCoordinator)?;
        self.wait_until_loaded(|| self.load(home) == Loaded::Yes).await?;
        match request {
            GroupRequest::Join(mut request) => {
                let session_ms = request.joining.session_timeout_ms;
                if group.is_empty() {
                    return Err(CoordinatorError::InvalidGroupId);
                }
                if !(self.settings.session_min_ms..=self.settings.session_max_ms).contains(&session_ms) {
                    return Err(CoordinatorError::InvalidSessionTimeout);
                }
                let is_new = request.member_id.is_empty();
                if !is_new && !self.groups.borrow().contains_key(&group) {
                    return Err(GroupError::UnknownMember.into());
                }
                request.new_member_id = self.new_member_id(&request.joining);
                self.make_room(&group)?;
                let (ticket, later) = oneshot::channel();
                match self.act(&group, |group, world| group.join(world, request, ticket)).await?? {
                    Some(joined) => Ok(GroupAnswer::Join(joined)),
                    None => later.await.unwrap_or(Err(CoordinatorError::NotCoordinator)),
                }
            }
            GroupRequest::Sync(request) => {
                let (ticket, later) = oneshot::channel();
                match self.act(&group, |group, world| group.sync(world, request, ticket)).await?? {
                    Some(synced) => Ok(GroupAnswer::Sync(synced)),
                    None => later.await.unwrap_or(Err(CoordinatorError::NotCoordinator)),
                }
            }
            GroupRequest::Heartbeat(member) => {
                self.act(&group, |group, world| group.heartbeat(world.now_ms, &member)).await??;
                Ok(GroupAnswer::Done)
            }
            GroupRequest::Leave(members) => {
                let left = self.act(&group, |group, world| group.leave(world, &members)).await?;
                Ok(GroupAnswer::Leave(left))
            }
            GroupRequest::Commit { member, offsets } => self.commit(&group, &member, offsets).await,
            GroupRequest::Beat(beat) => {
                if beat.member_epoch == 0 {
                    self.make_room(&group)?;
                }
                let beaten = self.act(&group, |group, world| group.beat(world, *beat)).await;
                match beaten {
                    Err(CoordinatorError::Group(GroupError::UnknownMember)) => {
                        Err(CoordinatorError::NoSuchGroup)
                    }
                    beaten => beaten?.map(GroupAnswer::Beat),
                }
            }
            GroupRequest::Fetch { member, partitions } => {
                if let Some(held) = self.groups.borrow().get(&group) {
                    held.group.check_fetch(member.as_ref())?;
                }
                Ok(GroupAnswer::Fetch(self.fetch(&group, partitions)))
            }
            GroupRequest::DescribeConsumer => {
                let groups = self.groups.borrow();
                let described = groups.get(&group).and_then(|held| held.group.describe_consumer());
                Ok(GroupAnswer::DescribeConsumer(described.map(Box::new)))
            }
            GroupRequest::Describe => {
                let groups = self.groups.borrow();
                Ok(GroupAnswer::Describe(groups.get(&group).and_then(|held| held.group.describe_classic())))
            }
            GroupRequest::Delete => {
                let records = {
                    let groups = self.groups.borrow();
                    groups.get(&group).ok_or(CoordinatorError::NoSuchGroup)?.group.delete(&group)?
                };
                self.store_and_apply(&group, records).await?;
                Ok(GroupAnswer::Done)
            }
            GroupRequest::DeleteOffsets(partitions) => self.delete_offsets(&group, partitions).await,
        }
    }

    /// Makes the group if it is not there and there is room for it.
    fn make_room(&self, group: &str) -> Result<(), CoordinatorError> {
        let wall_ms = self.shard.clock().wall_ms();
        let mut groups = self.groups.borrow_mut();
        if !groups.contains_key(group) {
            if groups.len() >= GROUPS_MAX {
                return Err(CoordinatorError::TooManyGroups);
            }
            groups.insert(group.to_owned(), self.held(wall_ms));
        }
        Ok(())
    }

    /// Unique among all brokers and starts: the client's name and random bits, as Kafka makes them.
    fn new_member_id(&self, joining: &Joining) -> String {
        let count = self.next_member.replace(self.next_member.get() + 1);
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            // Still unique on this core.
            random[..8].copy_from_slice(&count.to_be_bytes());
        }
        let name = joining.instance_id.as_deref().unwrap_or(&joining.client_id);
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        format!("{name}-{uuid}")
    }

    async fn commit(
        self: &Rc<Self>,
        group: &str,
        member: &MemberOf,
        offsets: Vec<(Partition, NewOffset)>,
    ) -> GroupResult {
        let taken: Vec<bool> =
            offsets.iter().map(|(_, new)| new.metadata.len() <= METADATA_BYTES_MAX).collect();
        let fitting: Vec<_> =
            offsets.into_iter().zip(&taken).filter(|(_, taken)| **taken).map(|(offset, _)| offset).collect();
        let is_known = self.groups.borrow().contains_key(group);
        if !is_known {
            if member.generation >= 0 {
                return Err(CoordinatorError::NoSuchGroup);
            }
            self.make_room(group)?;
        }
        let records = {
            let (view, mut groups) = (self.shard.view(), self.groups.borrow_mut());
            let held = groups.get_mut(group).ok_or(GroupError::UnknownMember)?;
            held.group.commit(self.world(group, &view), member, &fitting)?
        };
        self.set_timer(group);
        if !records.is_empty() {
            self.store_and_apply(group, records).await?;
        }
        Ok(GroupAnswer::Commit(taken))
    }

    fn fetch(&self, group: &str, partitions: Option<Vec<Partition>>) -> Vec<(Partition, Option<Committed>)> {
        let groups = self.groups.borrow();
        let offsets = groups.get(group).map(|held| &held.group.offsets);
        match (partitions, offsets) {
            (Some(partitions), offsets) => {
                let of = |partition: &_| offsets.and_then(|offsets| offsets.get(partition)).cloned();
                partitions.into_iter().map(|partition| (partition.clone(), of(&partition))).collect()
            }
            (None, Some(offsets)) => offsets.iter().map(|(p, c)| (p.clone(), Some(c.clone()))).collect(),
            (None, None) => Vec::new(),
        }
    }

    async fn delete_offsets(self: &Rc<Self>, group: &str, partitions: Vec<Partition>) -> GroupResult {
        let free: Vec<bool> = {
            let (view, groups) = (self.shard.view(), self.groups.borrow());
            let held = groups.get(group).ok_or(CoordinatorError::NoSuchGroup)?;
            held.group.are_read(&view, &partitions)?.into_iter().map(|is_read| !is_read).collect()
        };
        let gone: Vec<_> = partitions
            .into_iter()
            .zip(&free)
            .filter(|(_, free)| **free)
            .map(|(partition, _)| partition)
            .collect();
        let records = Group::<Ticket>::tombstones(group, &gone);
        if !records.is_empty() {
            self.store_and_apply(group, records).await?;
        }
        Ok(GroupAnswer::DeleteOffsets(free))
    }

    async fn list(self: &Rc<Self>) -> Result<Vec<Listed>, CoordinatorError> {
        self.load_all();
        self.wait_until_loaded(|| self.loaded.borrow().values().all(|loaded| *loaded == Loaded::Yes)).await?;
        Ok(self.groups.borrow().iter().map(|(id, held)| held.group.listed(id)).collect())
    }

    async fn expire(self: &Rc<Self>) {
        // Of a group that nobody asks for any more: tried again here.
        let is_unstored = |(id, held): (&String, &Held)| (!held.unstored.is_empty()).then(|| id.clone());
        let unstored: Vec<String> = self.groups.borrow().iter().filter_map(is_unstored).collect();
        unstored.iter().for_each(|id| self.tick(id));
        let (wall_ms, view) = (self.shard.clock().wall_ms(), self.shard.view());
        let retention_ms = self.settings.offsets_retention_ms;
        let of = |id: &str, group: &Group<Ticket>| group.expire(id, &view, wall_ms, retention_ms);
        self.forget(of, "expired offsets").await;
    }

    /// Stores the tombstones that this makes of each group, of many groups at a time.
    async fn forget(
        self: &Rc<Self>,
        tombstones: impl Fn(&str, &Group<Ticket>) -> Vec<GroupRecord>,
        what: &str,
    ) {
        let ids: Vec<String> = self.groups.borrow().keys().cloned().collect();
        for some in ids.chunks(GROUPS_AT_A_TIME) {
            let mut under_way = Vec::new();
            for id in some {
                let records = self.groups.borrow().get(id).map(|held| tombstones(id, &held.group));
                if let Some(records) = records.filter(|records| !records.is_empty()) {
                    under_way.push((id, self.store_and_apply(id, records)));
                }
            }
            for (group, stored) in under_way {
                if let Err(error) = stored.await {
                    tracing::warn!(group, %error, "{what} remain for now");
                }
            }
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_partition_is_kafkas() {
        // Java: Math.abs("my-group".hashCode()) % 50 and the like.
        assert_eq!(partition_of("console-consumer-1", 50).get(), java("console-consumer-1", 50));
        assert_eq!(partition_of("", 50).get(), 0);
        assert_eq!(partition_of("a", 50).get(), 97 % 50);
        assert_eq!(partition_of("ab", 50).get(), (97 * 31 + 98) % 50);
    }

    fn java(text: &str, partitions: i64) -> i32 {
        let mut hash: i64 = 0;
        for unit in text.encode_utf16() {
            hash = (hash * 31 + i64::from(unit)) & 0xFFFF_FFFF;
        }
        ((hash & 0x7FFF_FFFF) % partitions) as i32
    }
}
