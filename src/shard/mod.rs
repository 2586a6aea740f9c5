//! One per core: owns its partitions, shares nothing. Start, run, drain, stop.
//!
//! A shard knows the partitions of its core and how to reach those of the others. It knows no socket
//! and no error code. Read [`work`] (what cores ask of each other), [`router`] (letters), this file
//! (the core's state and its loop), [`produce`] and [`read`] (the two hot kinds of work), `views.rs`
//! (how a change of the cluster is followed), [`budget`], [`throttle`], [`traffic`].

pub mod budget;
pub mod guest;
pub mod produce;
pub mod read;
pub mod router;
pub mod throttle;
pub mod traffic;
mod views;
pub mod work;

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    sync::Arc,
};

use crate::{
    config::Settings,
    control::{ControlReply, ControlRequest, ReplyTo},
    io::{
        clock::Clock,
        cores::{Queue, spawn},
        disk::{DiskSpace, disk_space},
        signal::Signal,
    },
    log::{LogId, Observer, RecoveredLog, Store, Written},
    metrics::{Counter, Laps, RequestKind, ShardMetrics, Stage},
    model::{
        ClusterView, IdMap, LeaderEpoch, Offset, ProducerId, ShardId, TopicPartition, TopicSettings,
        TopicView,
    },
    partition::{Failure, FoundOffset, Partition, ReadError},
};

use budget::Budget;
use guest::Guest;
use produce::ProduceQueue;
use router::{Letter, Router, Ticket};
use throttle::Throttles;
use traffic::Traffic;
use views::Views;
use work::{Answer, EpochQuestion, OffsetQuestion, WantedOffset, Work};

/// Requests of one core that control has not taken yet.
pub const CONTROL_REQUESTS_MAX: usize = 1024;

/// How a core asks control.
pub type ControlSender = tokio::sync::mpsc::Sender<(ControlRequest, ReplyTo)>;

/// Makes the closure that brings control's answer back to the core and call it names.
pub type MakeReplyTo = Box<dyn Fn(Ticket) -> ReplyTo>;

/// One core's state. Used by the tasks of that core only.
pub struct Shard {
    id: ShardId,
    settings: RefCell<Arc<Settings>>,
    clock: Rc<dyn Clock>,
    store: Rc<Store>,
    router: Rc<Router>,
    partitions: RefCell<Partitions>,
    view: RefCell<Arc<ClusterView>>,
    views: Views,
    produces: ProduceQueue,
    budget: Rc<Budget>,
    metrics: Arc<ShardMetrics>,
    throttles: Arc<Throttles>,
    traffic: Traffic,
    control: ControlSender,
    make_reply_to: MakeReplyTo,
    stopping: Rc<Stopping>,
    serving: Cell<bool>,
    started: Signal,
    guest: std::cell::OnceCell<Rc<dyn Guest>>,
}

/// What a shard knows of a partition that it leads.
#[derive(Default)]
struct Led {
    epoch: LeaderEpoch,
    settings: Arc<TopicSettings>,
    /// The broker itself keeps something in it.
    is_internal: bool,
}

impl Led {
    fn new(topic: &TopicView, epoch: LeaderEpoch) -> Self {
        Self { epoch, settings: topic.settings.clone(), is_internal: topic.internal }
    }
}

/// Told once that the core is to end.
#[derive(Default)]
pub struct Stopping {
    asked: Cell<bool>,
    notify: Signal,
}

impl Stopping {
    /// Whether the core is to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// Waits until the core is to end. One task waits.
    pub async fn asked(&self) {
        while !self.asked.get() {
            self.notify.seen().await;
        }
    }
}

#[derive(Default)]
struct Partitions {
    by_id: IdMap<TopicPartition, Rc<Partition>>,
    by_log: IdMap<LogId, Rc<Partition>>,
}

/// All that a shard is made of.
pub struct ShardParts {
    /// Which one.
    pub id: ShardId,
    /// The broker's settings.
    pub settings: Arc<Settings>,
    /// The core's clock.
    pub clock: Rc<dyn Clock>,
    /// The core's logs.
    pub store: Rc<Store>,
    /// What recovery found in them.
    pub recovered: Vec<RecoveredLog>,
    /// Letters.
    pub router: Rc<Router>,
    /// The cluster at start.
    pub view: Arc<ClusterView>,
    /// The core's counters.
    pub metrics: Arc<ShardMetrics>,
    /// What clients have moved of their quotas, on all cores.
    pub throttles: Arc<Throttles>,
    /// Requests to control.
    pub control: ControlSender,
    /// How control answers.
    pub make_reply_to: MakeReplyTo,
}

impl Shard {
    /// A shard with the partitions that recovery found. [`Shard::open_first_view`] adds those
    /// that it did not find.
    #[must_use]
    pub fn new(parts: ShardParts) -> Rc<Self> {
        let budget = Budget::new(parts.settings.shards[parts.id.index()].memory_bytes);
        let shard = Rc::new(Self {
            id: parts.id,
            settings: RefCell::new(parts.settings),
            clock: parts.clock,
            store: parts.store,
            router: parts.router,
            partitions: RefCell::default(),
            view: RefCell::new(parts.view),
            views: Views::default(),
            produces: ProduceQueue::default(),
            budget,
            metrics: parts.metrics,
            throttles: parts.throttles,
            traffic: Traffic::default(),
            control: parts.control,
            make_reply_to: parts.make_reply_to,
            stopping: Rc::default(),
            serving: Cell::new(false),
            started: Signal::default(),
            guest: std::cell::OnceCell::new(),
        });
        for recovered in &parts.recovered {
            let led = shard.led(recovered.partition).unwrap_or_default();
            shard.insert(recovered, led);
        }
        shard.store.set_observer(shard.clone());
        shard
    }

    fn led(&self, id: TopicPartition) -> Option<Led> {
        let view = self.view.borrow();
        let topic = view.topic_by_id(id.topic)?;
        Some(Led::new(topic, topic.partition(id.partition)?.leader_epoch))
    }

    fn insert(&self, recovered: &RecoveredLog, led: Led) {
        let (expiration_ms, now_ms) = (self.settings.borrow().producer_expiration_ms, self.clock.wall_ms());
        let store = self.store.clone();
        let partition = Partition::new(recovered, store, led.epoch, led.settings, expiration_ms, now_ms);
        let partition = Rc::new(partition);
        let mut partitions = self.partitions.borrow_mut();
        if led.is_internal {
            // It is there: it was recovered or made a moment ago.
            let _ = self.store.append_on_reserve(recovered.log);
        }
        partitions.by_log.insert(recovered.log, partition.clone());
        partitions.by_id.insert(recovered.partition, partition);
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The broker's settings, as they are now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    /// The cluster as control last decided it.
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// The core's clock.
    #[must_use]
    pub fn clock(&self) -> &Rc<dyn Clock> {
        &self.clock
    }

    /// Memory for requests in flight.
    #[must_use]
    pub fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }

    /// How many partitions are on this core.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions.borrow().by_id.len()
    }

    /// Bytes of the file system that a data directory is on.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn disk_space(directory: &Path) -> std::io::Result<DiskSpace> {
        disk_space(directory)
    }

    /// What clients have moved of their quotas.
    #[must_use]
    pub fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// The core's counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<ShardMetrics> {
        &self.metrics
    }

    /// Says when the core is to end.
    #[must_use]
    pub fn stopping(&self) -> &Rc<Stopping> {
        &self.stopping
    }

    /// Waits for the word that every core has recovered. `false`: one has not, and all end.
    pub async fn told_to_serve(&self) -> bool {
        while !self.serving.get() && !self.stopping.is_asked() {
            self.started.seen().await;
        }
        self.serving.get()
    }

    fn partition(&self, id: TopicPartition) -> Option<Rc<Partition>> {
        self.partitions.borrow().by_id.get(&id).cloned()
    }

    /// Asks control, and waits for its answer.
    pub async fn ask_control(&self, request: ControlRequest) -> Option<ControlReply> {
        let (ticket, answer) = self.router.control_call();
        self.control.send((request, (self.make_reply_to)(ticket))).await.ok()?;
        Some(answer.await)
    }

    /// A stage of a request has ended. Returns the microseconds that it took.
    pub fn lap(&self, laps: &mut Laps, stage: Stage) -> u64 {
        let now_us = if laps.is_exact() { self.clock.monotonic_us() } else { self.clock.turn_us() };
        laps.lap(stage, now_us)
    }

    /// When a letter is written, for those whose time is counted. Counts the letter.
    fn stamp(&self) -> Option<u64> {
        self.metrics.hops().then(|| self.clock.monotonic_us())
    }

    /// Does other work than produce for one owner: here, or by a letter.
    pub async fn work(self: &Rc<Self>, owner: ShardId, work: Work) -> Answer {
        if owner == self.id {
            return self.execute(work, None).await;
        }
        self.router.call(owner, work, self.stamp()).await
    }

    /// Does work for partitions of this core.
    async fn execute(self: &Rc<Self>, work: Work, cancel: Option<Rc<Signal>>) -> Answer {
        match work {
            Work::Produce(work) => Answer::Produce(self.produce_here(work).await),
            Work::Read(work) => Answer::Read(self.read_here(&work, cancel).await),
            Work::ListOffsets(questions) => {
                let mut answers = Vec::with_capacity(questions.len());
                for question in questions {
                    answers.push(self.find_offset(&question).await);
                }
                Answer::ListOffsets(answers)
            }
            Work::EpochEnds(questions) => {
                Answer::EpochEnds(questions.iter().map(|question| self.epoch_end(question)).collect())
            }
            Work::DeleteRecords(wanted) => {
                let mut starts = Vec::with_capacity(wanted.len());
                for (id, before) in wanted {
                    starts.push(match self.partition(id) {
                        Some(partition) => partition.delete_records(before).await,
                        None => Err(ReadError::NotLeader),
                    });
                }
                Answer::DeleteRecords(starts)
            }
            Work::Sizes(wanted) => {
                let size = |id| {
                    let bytes = self.store.log_bytes(self.partition(id)?.log()).ok()?;
                    Some((bytes, self.store.data_directory(id)))
                };
                Answer::Sizes(wanted.into_iter().map(size).collect())
            }
            Work::Producers(wanted) => {
                let now_ms = self.clock.wall_ms();
                let producers = |id| {
                    let partition = self.partition(id).ok_or(ReadError::NotLeader)?;
                    Ok(partition.active_producers(now_ms))
                };
                Answer::Producers(wanted.into_iter().map(producers).collect())
            }
            Work::Guest(parcel) => Answer::Guest(self.serve_guest(parcel).await),
        }
    }

    async fn find_offset(&self, question: &OffsetQuestion) -> Result<Option<FoundOffset>, ReadError> {
        let partition = self.partition(question.partition).ok_or(ReadError::NotLeader)?;
        let leader_epoch = partition.validate_epoch(question.leader_epoch)?;
        let plain = |offset| Some(FoundOffset { offset, timestamp: -1, leader_epoch });
        match question.wanted {
            WantedOffset::Earliest => Ok(plain(partition.offsets().log_start_offset)),
            WantedOffset::Latest => Ok(plain(partition.settled_high_watermark().await?)),
            WantedOffset::MaxTimestamp => partition.with_max_timestamp().await,
            WantedOffset::AtOrAfter(timestamp) => partition.first_at_or_after(timestamp).await,
        }
    }

    fn epoch_end(&self, question: &EpochQuestion) -> Result<Option<(LeaderEpoch, Offset)>, ReadError> {
        let partition = self.partition(question.partition).ok_or(ReadError::NotLeader)?;
        partition.validate_epoch(question.current_epoch)?;
        Ok(partition.epoch_end(question.epoch))
    }

    /// Takes the letters that have come in. Says how many, and how many still wait to go out.
    pub fn take_letters(self: &Rc<Self>) -> usize {
        let mut count = self.router.flush();
        while let Some(letter) = self.router.next_letter() {
            count += 1;
            self.take_letter(letter);
        }
        count
    }

    fn take_letter(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::Answer { ticket, answer, written_us } => {
                self.hopped(answer.kind(), written_us);
                self.router.answered(ticket, answer);
            }
            Letter::Control { ticket, reply } => self.router.control_answered(ticket, reply),
            Letter::Call { from, ticket, work, written_us } => {
                self.hopped(work.kind(), written_us);
                self.take_call(from, ticket, work, written_us.is_some());
            }
            Letter::Cancel { from, ticket } => self.router.cancel(from, ticket),
            Letter::View { view, applied } => self.take_view(view, applied),
            Letter::Settings(settings) => *self.settings.borrow_mut() = settings,
            Letter::Stop => {
                self.stopping.asked.set(true);
                self.stopping.notify.raise();
                self.started.raise();
                self.partitions.borrow().by_id.values().for_each(|partition| partition.wake_fetches());
            }
            Letter::Serve => {
                self.serving.set(true);
                self.started.raise();
            }
        }
    }

    fn hopped(&self, kind: RequestKind, written_us: Option<u64>) {
        if let Some(written_us) = written_us {
            self.metrics.hopped(kind, self.clock.monotonic_us().saturating_sub(written_us));
        }
    }

    /// `timed`: the time that its answer takes is counted, as that of the call was.
    fn take_call(self: &Rc<Self>, from: ShardId, ticket: Ticket, work: Work, timed: bool) {
        let shard = self.clone();
        match work {
            // Offsets are fixed in the order of the letters, so a produce is handed over at once.
            Work::Produce(work) => {
                let done = self.hand_over(work);
                spawn(Queue::Foreground, async move {
                    let answer = Answer::Produce(done.await);
                    let written_us = timed.then(|| shard.clock.monotonic_us());
                    shard.router.post(from, Letter::Answer { ticket, answer, written_us });
                });
            }
            work => {
                let cancel = self.router.cancellable(from, ticket);
                spawn(Queue::Foreground, async move {
                    let answer = shard.execute(work, Some(cancel)).await;
                    shard.router.ended(from, ticket);
                    let written_us = timed.then(|| shard.clock.monotonic_us());
                    shard.router.post(from, Letter::Answer { ticket, answer, written_us });
                });
            }
        }
    }
}

impl Observer for Shard {
    fn progressed(&self, log: LogId, written_end: Offset, durable_end: Offset) {
        let partition = self.partitions.borrow().by_log.get(&log).cloned();
        if let Some(partition) = partition {
            partition.progressed(written_end, durable_end);
        }
    }

    fn wrote(&self, what: Written, bytes: u64) {
        let counter = match what {
            Written::Appended => Counter::BytesAppended,
            Written::Journal => Counter::JournalBytes,
            Written::Segments => Counter::SegmentBytes,
            Written::Checkpoints => Counter::CheckpointBytes,
        };
        self.metrics.add(counter, bytes);
    }

    fn snapshot(&self, log: LogId) -> Vec<u8> {
        let partition = self.partitions.borrow().by_log.get(&log).cloned();
        partition.map(|partition| partition.snapshot()).unwrap_or_default()
    }

    fn log_start_raised(&self, log: LogId, start: Offset) {
        let partition = self.partitions.borrow().by_log.get(&log).cloned();
        if let Some(partition) = partition {
            partition.log_start_raised(start);
        }
    }

    fn stable_end(&self, log: LogId) -> Offset {
        let partition = self.partitions.borrow().by_log.get(&log).cloned();
        partition.map_or(Offset::ZERO, |partition| partition.offsets().last_stable_offset)
    }

    fn last_offsets(&self, log: LogId) -> std::collections::HashMap<ProducerId, Offset> {
        let partition = self.partitions.borrow().by_log.get(&log).cloned();
        partition.map(|partition| partition.last_offsets()).unwrap_or_default()
    }

    fn failed(&self, log: Option<LogId>, why: &str) {
        let partitions: Vec<_> = {
            let partitions = self.partitions.borrow();
            match log {
                Some(log) => partitions.by_log.get(&log).cloned().into_iter().collect(),
                None => partitions.by_id.values().cloned().collect(),
            }
        };
        tracing::error!(shard = self.id.0, partitions = partitions.len(), why, "storage has failed");
        for partition in partitions {
            partition.failed(Failure::Disk(why.to_owned()));
        }
    }
}
