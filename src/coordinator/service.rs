//! The coordinator of one core: the groups whose partition of `__consumer_offsets` lies here.
//!
//! A group belongs to the partition that its id hashes to, as in Kafka; that partition is where its records
//! are stored, and the core that owns it is its coordinator. Records are stored with acks=all, and a request
//! that changes something is answered only once its records are durable.
//!
//! A partition is read from its start before the first request for it is served; a load that takes longer than
//! a moment has clients come again.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_lite::future;
use tokio::sync::oneshot;

use super::{
    classic::{ClassicGroup, Effect, Effects, GroupError, GroupLimits, Joining, State},
    consumer::{ConsumerGroup, ConsumerLimits, Heartbeat, stored::Stored},
    group::Group,
    messages::{
        CoordinatorError, GroupAnswer, GroupCall, GroupRequest, GroupResult, Listed, MemberOf, NewOffset,
    },
    offsets::{Committed, METADATA_BYTES_MAX, Partition},
    records::GroupRecord,
    subscription,
};
use crate::{
    io::{
        cores::{Queue, spawn},
        notify::Notify,
    },
    model::{Offset, PartitionIndex, TopicPartition, TopicView},
    record::{self, BatchBuilder, Codec, RecordBatch, Rules},
    shard::{
        Shard,
        guest::Guest,
        work::{Answer, PartitionRead, ProducePart, ProduceWork, ReadLimits, ReadWork, Work},
    },
};

/// Kafka's topic of groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long a request waits for a load before its client is told to come again, in ms.
const LOAD_WAIT_MAX_MS: u64 = 500;
/// Bytes of one read while groups are loaded.
const LOAD_BYTES: usize = 1 << 20;
/// Bytes of records that one batch holds at most; more are stored as several.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Groups that one core holds; each may keep members and offsets.
const GROUPS_MAX: usize = 100_000;

/// Bounds and times of the coordinator; every field is named as its setting.
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorSettings {
    /// `group.initial.rebalance.delay.ms`, `group.max.size`
    pub limits: GroupLimits,
    /// `group.consumer.*`
    pub consumer: ConsumerLimits,
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
                self.with(&group, |held| held.group.members.tick(now_ms));
                self.tick_consumer(&group, now_ms);
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

    /// Begins to load every partition of this core that is not loaded.
    fn load_all(self: &Rc<Self>) {
        let Some(topic) = self.topic() else { return };
        for placed in topic.partitions.iter().filter(|placed| placed.shard == self.shard.id()) {
            self.load(TopicPartition { topic: topic.id, partition: placed.index });
        }
    }

    fn load(self: &Rc<Self>, home: TopicPartition) -> Loaded {
        if let Some(&loaded) = self.loaded.borrow().get(&home) {
            return loaded;
        }
        self.loaded.borrow_mut().insert(home, Loaded::Loading);
        let coordinator = self.clone();
        spawn(Queue::Foreground, async move {
            match coordinator.read_all(home).await {
                Ok(()) => {
                    coordinator.loaded.borrow_mut().insert(home, Loaded::Yes);
                }
                Err(why) => {
                    tracing::error!(partition = %home, why, "groups cannot be loaded; trying again when asked");
                    coordinator.loaded.borrow_mut().remove(&home);
                }
            }
            coordinator.loads_ended.notify();
        });
        Loaded::Loading
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

    async fn read_all(&self, home: TopicPartition) -> Result<(), String> {
        let mut from = Offset::ZERO;
        loop {
            let read = PartitionRead { partition: home, from, bytes_max: LOAD_BYTES, leader_epoch: None };
            let work = ReadWork {
                reads: vec![read],
                limits: ReadLimits::in_memory(LOAD_BYTES),
                until_bytes: 0,
                wait_max: Duration::ZERO,
            };
            let Answer::Read(results) = self.shard.work(self.shard.id(), Work::Read(work)).await else {
                panic!("another answer than that to a read")
            };
            let outcome = match results.into_iter().next() {
                Some(Ok(outcome)) => outcome,
                Some(Err(crate::partition::ReadError::OutOfRange { log_start_offset, .. }))
                    if from < log_start_offset =>
                {
                    from = log_start_offset;
                    continue;
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("no answer".to_owned()),
            };
            let bytes = outcome.in_memory().concat();
            if bytes.is_empty() {
                return Ok(());
            }
            for batch in record::batches(&bytes) {
                let batch = batch.map_err(|error| error.to_string())?;
                self.replay(&batch)?;
                from = batch.next_offset();
            }
        }
    }

    fn replay(&self, batch: &RecordBatch<'_>) -> Result<(), String> {
        if batch.is_control() {
            return Ok(());
        }
        let (limits, now_ms, wall_ms) = (self.settings.limits, self.now_ms(), self.shard.clock().wall_ms());
        let mut scratch = Vec::new();
        record::for_each_record(batch, &mut scratch, record::DECOMPRESSED_BYTES_MAX, |record| {
            let Some(key) = record.key else { return };
            let decoded = match GroupRecord::decode(key, record.value) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(offset = %record.offset, %error, "a group's record cannot be read");
                    return;
                }
            };
            let group = decoded.group().to_owned();
            let mut groups = self.groups.borrow_mut();
            let held = groups.entry(group.clone()).or_insert_with(|| self.held(wall_ms));
            held.group.replay(limits, self.settings.consumer, decoded, (now_ms, wall_ms));
            let gone = held.group.is_nothing();
            if gone {
                groups.remove(&group);
            }
            drop(groups);
            self.set_timer(&group);
        })
        .map_err(|error| error.to_string())
    }

    fn held(&self, wall_ms: i64) -> Held {
        let group = Group::new(self.settings.limits, wall_ms);
        Held { group, timer_ms: None, applied_to: HashMap::new() }
    }

    /// Changes a group, then does what follows from it.
    fn with(self: &Rc<Self>, id: &str, change: impl FnOnce(&mut Held) -> Effects<Ticket>) {
        let effects = match self.groups.borrow_mut().get_mut(id) {
            Some(held) => change(held),
            None => Vec::new(),
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

    /// Stores a group's state as it is now, and tells it.
    fn store_group(self: &Rc<Self>, id: &str, generation: i32) {
        let wall_ms = self.shard.clock().wall_ms();
        let record = {
            let mut groups = self.groups.borrow_mut();
            let Some(held) = groups.get_mut(id) else { return };
            if held.group.members.state() == State::Empty {
                held.group.empty_since_ms = wall_ms;
            }
            let state = Some((held.group.members.snapshot(), wall_ms));
            GroupRecord::Group { group: id.to_owned(), state }
        };
        let (coordinator, id) = (self.clone(), id.to_owned());
        let stored = self.store(&id, vec![record]);
        spawn(Queue::Foreground, async move {
            let ok = stored.await.is_ok();
            let now_ms = coordinator.now_ms();
            coordinator.with(&id, |held| held.group.members.stored(now_ms, generation, ok));
        });
    }

    /// Appends records to the group's partition, now; the future says the offset once they are durable.
    fn store(
        self: &Rc<Self>,
        group: &str,
        records: Vec<GroupRecord>,
    ) -> impl Future<Output = Result<Offset, CoordinatorError>> + use<> {
        let produced = self.home(group).ok_or(CoordinatorError::NotCoordinator).and_then(|home| {
            let now_ms = self.shard.clock().wall_ms();
            let batches = batches_of(&records, now_ms).ok_or(CoordinatorError::NotStored)?;
            let mut done = Vec::with_capacity(batches.len());
            for batch in batches {
                let topic = self.topic().ok_or(CoordinatorError::NotCoordinator)?;
                let rules = Rules::of_topic(&topic.settings, true);
                let sound = record::validate(&batch, &rules, now_ms).map_err(|refusal| {
                    tracing::error!(group, %refusal, "a group's records were refused");
                    CoordinatorError::NotStored
                })?;
                let part = ProducePart { partition: home, batch, sound };
                let work = ProduceWork { parts: vec![part], acks: crate::partition::Acks::All, now_ms };
                done.push(self.shard.produce(self.shard.id(), work));
            }
            Ok(done)
        });
        async move {
            let mut offset = Offset::ZERO;
            for done in produced? {
                match done.done().await.into_iter().next() {
                    Some(Ok(appended)) => offset = appended.base_offset,
                    _ => return Err(CoordinatorError::NotStored),
                }
            }
            Ok(offset)
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
                self.leave_consumer_protocol(&group).await?;
                let (ticket, answer) = oneshot::channel();
                let now_ms = self.now_ms();
                self.with(&group, |held| held.group.members.join(now_ms, request, ticket));
                answer.await.unwrap_or(Err(CoordinatorError::NotCoordinator))
            }
            GroupRequest::Sync(request) => {
                let (ticket, answer) = oneshot::channel();
                let now_ms = self.now_ms();
                self.known(&group)?;
                self.with(&group, |held| held.group.members.sync(now_ms, request, ticket));
                answer.await.unwrap_or(Err(CoordinatorError::NotCoordinator))
            }
            GroupRequest::Heartbeat(member) => {
                self.known(&group)?;
                let now_ms = self.now_ms();
                let mut result = Ok(());
                self.with(&group, |held| {
                    let instance = member.instance_id.as_deref();
                    result =
                        held.group.members.heartbeat(now_ms, &member.member_id, instance, member.generation);
                    Vec::new()
                });
                result.map(|()| GroupAnswer::Done).map_err(Into::into)
            }
            GroupRequest::Leave(members) => {
                self.known(&group)?;
                let now_ms = self.now_ms();
                let mut results = Vec::with_capacity(members.len());
                self.with(&group, |held| {
                    let mut effects = Vec::new();
                    for (id, instance) in &members {
                        results.push(held.group.members.leave(now_ms, id, instance.as_deref(), &mut effects));
                    }
                    effects
                });
                Ok(GroupAnswer::Leave(results))
            }
            GroupRequest::Commit { member, offsets } => self.commit(&group, &member, offsets).await,
            GroupRequest::Beat(beat) => self.beat(&group, *beat).await,
            GroupRequest::Fetch { member, partitions } => {
                if let (Some((id, epoch)), Some(held)) = (member, self.groups.borrow().get(&group))
                    && let Some(consumer) = &held.group.consumer
                {
                    consumer.check_member(&id, epoch)?;
                }
                Ok(GroupAnswer::Fetch(self.fetch(&group, partitions)))
            }
            GroupRequest::DescribeConsumer => {
                let groups = self.groups.borrow();
                let consumer = groups.get(&group).and_then(|held| held.group.consumer.as_ref());
                Ok(GroupAnswer::DescribeConsumer(consumer.map(|consumer| Box::new(consumer.describe()))))
            }
            GroupRequest::Describe => {
                let groups = self.groups.borrow();
                let classic = groups.get(&group).filter(|held| held.group.consumer.is_none());
                let members = classic.map(|held| &held.group.members);
                Ok(GroupAnswer::Describe(members.map(|members| (members.state(), members.snapshot()))))
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

    /// A group that has no members any more may go over to the classic protocol.
    async fn leave_consumer_protocol(self: &Rc<Self>, group: &str) -> Result<(), CoordinatorError> {
        let records = {
            let mut groups = self.groups.borrow_mut();
            let Some(held) = groups.get_mut(group) else { return Ok(()) };
            match &held.group.consumer {
                None => return Ok(()),
                Some(consumer) if !consumer.is_empty() => return Err(CoordinatorError::OtherProtocol),
                Some(_) => {}
            }
            let records = held.group.own_tombstones(group);
            held.group.consumer = None;
            records
        };
        self.store(group, records).await.map(|_| ())
    }

    /// A heartbeat under the consumer protocol: answered once what it changes is durable.
    async fn beat(self: &Rc<Self>, group: &str, beat: Heartbeat) -> GroupResult {
        let leaves = beat.member_epoch < 0;
        let joins = beat.member_epoch == 0;
        let (now_ms, wall_ms, view) = (self.now_ms(), self.shard.clock().wall_ms(), self.shard.view());
        if joins {
            self.make_room(group)?;
        }
        let (answer, records) = {
            let mut groups = self.groups.borrow_mut();
            let held = groups.get_mut(group).ok_or(CoordinatorError::NoSuchGroup)?;
            let mut records = Vec::new();
            if held.group.consumer.is_none() {
                if !joins {
                    return Err(CoordinatorError::NoSuchGroup);
                }
                if held.group.members.state() != State::Empty {
                    return Err(CoordinatorError::OtherProtocol);
                }
                if !held.group.members.is_fresh() {
                    records.push(GroupRecord::Group { group: group.to_owned(), state: None });
                    held.group.members = ClassicGroup::new(self.settings.limits);
                }
            }
            let consumer = &mut held.group.consumer;
            let consumer = consumer.get_or_insert_with(|| ConsumerGroup::new(self.settings.consumer));
            let outcome =
                if leaves { consumer.leave(&beat) } else { consumer.heartbeat(now_ms, &view, beat) };
            if consumer.is_empty() {
                held.group.empty_since_ms = wall_ms;
            }
            let (answer, stored) = outcome?;
            records.extend(of_consumer(group, stored));
            (answer, records)
        };
        self.set_timer(group);
        if !records.is_empty() {
            self.store(group, records).await?;
        }
        Ok(GroupAnswer::Beat(answer))
    }

    /// Lets time act on a group under the consumer protocol.
    fn tick_consumer(self: &Rc<Self>, group: &str, now_ms: u64) {
        let records: Vec<_> = {
            let mut groups = self.groups.borrow_mut();
            let Some(held) = groups.get_mut(group) else { return };
            let Some(consumer) = &mut held.group.consumer else { return };
            let stored = consumer.tick(now_ms);
            if consumer.is_empty() && !stored.is_empty() {
                held.group.empty_since_ms = self.shard.clock().wall_ms();
            }
            of_consumer(group, stored).collect()
        };
        self.set_timer(group);
        if records.is_empty() {
            return;
        }
        let (stored, group) = (self.store(group, records), group.to_owned());
        spawn(Queue::Foreground, async move {
            if let Err(error) = stored.await {
                // After a restart its members have a session again, and lose it again.
                tracing::warn!(group, %error, "members that are gone could not be stored");
            }
        });
    }

    fn known(&self, group: &str) -> Result<(), CoordinatorError> {
        match self.groups.borrow().contains_key(group) {
            true => Ok(()),
            false => Err(GroupError::UnknownMember.into()),
        }
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
        let (now_ms, wall_ms) = (self.now_ms(), self.shard.clock().wall_ms());
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
        let mut records = Ok(Vec::new());
        self.with(group, |held| {
            records = held.group.commit(group, member, &fitting, (now_ms, wall_ms));
            Vec::new()
        });
        let records = records?;
        if !records.is_empty() {
            self.store_and_apply(group, records).await?;
        }
        Ok(GroupAnswer::Commit(taken))
    }

    /// Stores records, then lets the group have them.
    async fn store_and_apply(
        self: &Rc<Self>,
        group: &str,
        records: Vec<GroupRecord>,
    ) -> Result<(), CoordinatorError> {
        let stored = self.store(group, records.clone());
        let at = stored.await?;
        let mut groups = self.groups.borrow_mut();
        let Some(held) = groups.get_mut(group) else { return Ok(()) };
        for record in records {
            match record {
                GroupRecord::Offset { partition, committed, .. } => {
                    let applied = held.applied_to.entry(partition.clone()).or_insert(Offset::ZERO);
                    if at >= *applied {
                        *applied = at;
                        held.group.offsets.set(partition, committed);
                    }
                }
                GroupRecord::Group { state: None, .. } if held.group.members.state() == State::Empty => {
                    held.group.members = ClassicGroup::new(self.settings.limits);
                }
                GroupRecord::Consumer { stored: Stored::Group(None), .. } if held.group.has_no_members() => {
                    held.group.consumer = None;
                }
                GroupRecord::Group { .. } | GroupRecord::Consumer { .. } => {}
            }
        }
        if held.group.is_nothing() {
            groups.remove(group);
        }
        Ok(())
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
            let groups = self.groups.borrow();
            let held = groups.get(group).ok_or(CoordinatorError::NoSuchGroup)?;
            let members = &held.group.members;
            let consumer = held.group.consumer.as_ref();
            let subscribed = match members.state() {
                State::Empty => {
                    let view = self.shard.view();
                    Some(consumer.map(|group| group.subscribed(&view)).into_iter().flatten().collect())
                }
                // What members of another protocol type read cannot be known.
                _ => subscription::topics_of(&members.snapshot()),
            };
            let subscribed = subscribed.ok_or(CoordinatorError::NotEmpty)?;
            partitions.iter().map(|(topic, _)| !subscribed.contains(topic)).collect()
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
        let listed = |(id, held): (&String, &Held)| Listed {
            group: id.clone(),
            protocol_type: match &held.group.consumer {
                Some(_) => subscription::CONSUMER.to_owned(),
                None => held.group.members.protocol_type().unwrap_or_default().to_owned(),
            },
            state: match &held.group.consumer {
                Some(consumer) => consumer.state_name(),
                None => held.group.members.state().name(),
            },
            is_consumer: held.group.consumer.is_some(),
        };
        Ok(self.groups.borrow().iter().map(listed).collect())
    }

    async fn expire(self: &Rc<Self>) {
        let wall_ms = self.shard.clock().wall_ms();
        let ids: Vec<String> = self.groups.borrow().keys().cloned().collect();
        for id in ids {
            let records = {
                let groups = self.groups.borrow();
                let Some(held) = groups.get(&id) else { continue };
                held.group.expire(&id, wall_ms, self.settings.offsets_retention_ms)
            };
            if !records.is_empty()
                && let Err(error) = self.store_and_apply(&id, records).await
            {
                tracing::warn!(group = id, %error, "expired offsets remain for now");
            }
        }
    }
}

fn of_consumer(group: &str, stored: Vec<Stored>) -> impl Iterator<Item = GroupRecord> + use<> {
    let group = group.to_owned();
    stored.into_iter().map(move |stored| GroupRecord::Consumer { group: group.clone(), stored })
}

/// Records as batches to be stored; `None` if one of them is too large for a batch.
fn batches_of(records: &[GroupRecord], now_ms: i64) -> Option<Vec<Bytes>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Codec::None);
    let finish = |builder: &mut BatchBuilder| {
        let mut out = Vec::new();
        builder.finish(&mut out).ok().map(|()| Bytes::from(out))
    };
    for record in records {
        let (key, value) = record.encode();
        if !builder.is_empty() && builder.estimated_bytes() + key.len() > BATCH_BYTES_MAX {
            batches.push(finish(&mut builder)?);
        }
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
    }
    batches.push(finish(&mut builder)?);
    Some(batches)
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
