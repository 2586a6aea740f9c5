//! One producing thread: an epoll loop over its connections and the streams they carry.
//!
//! A stream that has something to send is either in the heap, until its batch is complete, or in its
//! connection's queue, until there is room for a request. A turn of the loop moves what is due from the one to
//! the other, builds and writes, then waits for answers or the next due time, whichever is first. Where records
//! are made one by one, a producer is in the heap too, until its next record is due.

mod answers;
pub mod coordination;
mod links;
mod making;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ack_log::AckLogWriter;
use crate::client::admin::{Admin, Topology};
use crate::client::request::ProduceTemplate;
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::poll::Poller;
use crate::produce::connection::Connection;
use crate::produce::plan::{Author, Making, Plan, Seat};
use crate::produce::producer::Producer;
use crate::produce::stream::{Next, Stream, Supply, Taken};
use crate::stats::Meter;
use coordination::{Counted, Transacting, Transactor};
use making::Maker;

/// Longest wait for outstanding answers, and for a backlog to leave, once the run's time is over.
pub const DRAIN_MAX: Nanos = 10 * SECOND;

/// Pause before a lost connection or a moved leader is tried again.
const RETRY_PAUSE: Nanos = 50 * MILLISECOND;

/// Longest sleep, so that a stop is noticed.
const SLEEP_MAX: Nanos = 100 * MILLISECOND;

/// Requests built for one connection before the others have their turn.
const TURN_REQUESTS_MAX: usize = 64;

/// What a worker is given.
#[derive(Debug)]
pub struct Task {
    /// The run.
    pub plan: Arc<Plan>,
    /// Its streams, with the number of records each has to send.
    pub seats: Vec<(Seat, u64)>,
    /// The producers whose connections it has, by slot, if records are made one by one.
    pub producers: Vec<(u32, Producer)>,
    /// Id and epoch of each slot's idempotent producer.
    pub producer_ids: HashMap<u32, (i64, i16)>,
    /// Who leads what.
    pub topology: Topology,
    /// Whom to ask again.
    pub admin: Admin,
    /// Transactions, if its producers have them.
    pub transacting: Option<Transacting>,
    /// Where acknowledgements go.
    pub ack_log: Option<PathBuf>,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

/// How a worker ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// When the last answer arrived.
    pub last_answer: Nanos,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// When the last record was meant to leave (open loop).
    pub last_intended: Nanos,
    /// Records that were due and had not left when the run was stopped from outside.
    pub left: u64,
    /// Records that were due and never left, though there was time.
    pub unsent: u64,
    /// Transactions that have ended, if its producers have them.
    pub transactions: Option<Counted>,
    /// Why it ended before its time.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queued {
    No,
    /// Until its batch is complete.
    Heap,
    /// In the heap too, but nothing of it may leave before: it was refused.
    Rests,
    Connection,
}

/// What the heap wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Lane(usize),
    Producer(usize),
}

#[derive(Debug)]
struct Lane {
    stream: Stream,
    /// The producer, if idempotent.
    author: Option<Author>,
    /// The producer, if transactional.
    transactions: Option<usize>,
    /// How often in a row the broker has missed a sequence before the oldest batch.
    gaps: u32,
    maker: Option<usize>,
    link: usize,
    queued: Queued,
    /// Whether it is in its producer's line of those that have something.
    gathering: bool,
    /// The time for which it is in the heap; an entry for another time is out of date.
    due_at: Nanos,
    finished: bool,
}

#[derive(Debug)]
struct Link {
    address: String,
    slot: u32,
    socket: Option<TcpStream>,
    connection: Connection,
    ready: VecDeque<usize>,
    /// The producer of a closed loop that makes its records.
    maker: Option<usize>,
}

#[derive(Debug)]
struct Worker {
    task: Task,
    poller: Poller,
    meter: Meter,
    acks: Option<AckLogWriter>,
    lanes: Vec<Lane>,
    links: Vec<Link>,
    makers: Vec<Maker>,
    /// Transactional producers.
    producers: Vec<Transactor>,
    /// Records made that are in no request.
    waiting_records: u64,
    template: ProduceTemplate,
    /// What goes into the request being built; empty in between.
    taken: Vec<(usize, Taken)>,
    due: BinaryHeap<Reverse<(Nanos, Wake)>>,
    /// Connections with something to build or write.
    dirty: Vec<usize>,
    unfinished: usize,
    /// When to ask for leaders and open lost connections again.
    refresh_at: Option<Nanos>,
    /// When something was last acknowledged, or nothing was to be.
    delivered_at: Nanos,
    /// What no new connection would mend.
    fatal: Option<io::Error>,
    outcome: Outcome,
}

/// Runs a worker to its end on the calling thread.
///
/// # Errors
/// What keeps it from starting.
pub fn run(task: Task, meter: Meter) -> io::Result<Outcome> {
    let acks = task.ack_log.as_deref().map(AckLogWriter::open).transpose()?;
    let (plan, version) = (&task.plan, task.topology.produce_version);
    let template = ProduceTemplate::new(version, &plan.topic, plan.acks).map_err(io::Error::other)?;
    let mut worker = Worker {
        poller: Poller::new()?,
        meter,
        acks,
        lanes: Vec::new(),
        links: Vec::new(),
        makers: Vec::new(),
        producers: Vec::new(),
        waiting_records: 0,
        template,
        taken: Vec::new(),
        due: BinaryHeap::new(),
        dirty: Vec::new(),
        unfinished: task.seats.len(),
        refresh_at: None,
        delivered_at: 0,
        fatal: None,
        outcome: Outcome::default(),
        task,
    };
    worker.open()?;
    if let Err(error) = worker.turn_until_done() {
        worker.outcome.problem = Some(error.to_string());
    }
    let now = worker.task.plan.clock.now();
    for link in &mut worker.links {
        let lost: u64 =
            link.connection.reset().iter().flat_map(|r| &r.batches).map(|b| u64::from(b.records.count)).sum();
        worker.meter.counts.unknown += lost;
    }
    let unsettled: u64 = worker.lanes.iter().map(|lane| lane.stream.unsettled()).sum();
    worker.meter.counts.unknown += unsettled;
    if let Some(acks) = &mut worker.acks {
        acks.flush()?;
    }
    worker.meter.finish(now);
    if let Some(transacting) = worker.task.transacting {
        transacting.meter.finish(now);
    }
    Ok(worker.outcome)
}

impl Worker {
    fn open(&mut self) -> io::Result<()> {
        let plan = Arc::clone(&self.task.plan);
        let mut slots = HashMap::new();
        for (slot, producer) in std::mem::take(&mut self.task.producers) {
            slots.insert(slot, self.makers.len());
            self.makers.push(Maker::new(producer));
        }
        let mut transactional = HashMap::new();
        if let Some(transacting) = &mut self.task.transacting {
            let version = self.task.topology.produce_version;
            for (slot, names) in std::mem::take(&mut transacting.producers) {
                let producer = Transactor::open(names, transacting.rules, slot, &plan, version)?;
                self.poller.add(producer.socket(), coordination::TOKENS + self.producers.len())?;
                transactional.insert(slot, self.producers.len());
                self.producers.push(producer);
            }
        }
        for (seat, quota) in std::mem::take(&mut self.task.seats) {
            let maker = slots.get(&seat.slot).copied();
            let link = self.link_for(seat);
            let supply = match (&plan.making, &plan.schedule) {
                (Making::Records(_), _) => Supply::Dealt(Default::default()),
                (Making::Batches, None) => Supply::Endless,
                (Making::Batches, Some(schedule)) => Supply::Scheduled {
                    arrivals: schedule.arrivals(u64::from(seat.stream)),
                    end: plan.stop_at.unwrap_or(Nanos::MAX),
                },
            };
            if let Some(maker) = maker {
                // Seats of a producer come in the order of their partitions.
                self.makers[maker].lanes.push(self.lanes.len());
                self.links[link].maker = Some(maker).filter(|_| plan.schedule.is_none());
            }
            let transactions = transactional.get(&seat.slot).copied();
            let author = match transactions {
                Some(at) => Some(self.producers[at].adopt(self.lanes.len())),
                None => self.task.producer_ids.get(&seat.slot).map(|(id, epoch)| Author {
                    id: *id,
                    epoch: *epoch,
                    zero: 0,
                    transactional: false,
                }),
            };
            let stream = Stream::new(seat, quota, supply);
            self.lanes.push(Lane {
                stream: if author.is_some() { stream.idempotent() } else { stream },
                author,
                transactions,
                gaps: 0,
                maker,
                link,
                queued: Queued::No,
                gathering: false,
                due_at: 0,
                finished: false,
            });
        }
        for link in 0..self.links.len() {
            self.connect(link)?;
        }
        let now = plan.clock.now();
        // In an open loop the schedule says so itself.
        if plan.schedule.is_none() {
            std::thread::sleep(Duration::from_nanos(plan.start.saturating_sub(now)));
        }
        (0..self.lanes.len()).for_each(|lane| self.queue(lane, now));
        if plan.schedule.is_some() {
            (0..self.makers.len()).for_each(|maker| self.make_due(maker, now));
        }
        Ok(())
    }

    fn turn_until_done(&mut self) -> io::Result<()> {
        let plan = Arc::clone(&self.task.plan);
        let mut stopping = false;
        let mut give_up_at = plan.stop_at.map(|at| at + DRAIN_MAX);
        let mut ready = Vec::new();
        self.delivered_at = plan.clock.now();
        let mut look_at = self.delivered_at + SECOND;
        loop {
            let now = plan.clock.now();
            self.meter.roll(now);
            if let Some(transacting) = &mut self.task.transacting {
                transacting.meter.roll(now);
            }
            let told = self.task.stop.load(Ordering::Relaxed);
            if !stopping && (told || plan.schedule.is_none() && plan.stop_at.is_some_and(|at| now >= at)) {
                stopping = true;
                let deadline = now + DRAIN_MAX;
                give_up_at = Some(give_up_at.map_or(deadline, |at| at.min(deadline)));
                self.outcome.left = self.stop_streams(now);
            }
            self.take_due(now);
            if self.refresh_at.is_some_and(|at| now >= at) {
                self.refresh(now);
            }
            for link in std::mem::take(&mut self.dirty) {
                self.pump(link)?;
            }
            self.drive(now)?;
            if let Some(acks) = &mut self.acks {
                acks.flush()?;
            }
            if let Some(error) = self.fatal.take() {
                return Err(error);
            }
            if self.unfinished == 0 && !self.is_transacting() {
                return Ok(());
            }
            if now >= look_at {
                look_at = now + SECOND;
                if !self.is_waiting() {
                    self.delivered_at = now;
                } else if now - self.delivered_at > plan.delivery_max {
                    let seconds = plan.delivery_max / SECOND;
                    return Err(io::Error::other(format!("nothing was acknowledged for {seconds} s")));
                }
            }
            if give_up_at.is_some_and(|at| now >= at) {
                self.give_up(now);
                return if self.is_transacting() {
                    Err(io::Error::other("a transaction was not ended in time"))
                } else {
                    Ok(())
                };
            }
            let timeout = if self.dirty.is_empty() { self.sleep(plan.clock.now(), plan.stop_at) } else { 0 };
            self.poller.wait(timeout, |token| ready.push(token))?;
            for token in ready.drain(..) {
                if token >= coordination::TOKENS {
                    self.hear(token - coordination::TOKENS)?;
                } else {
                    self.receive(token)?;
                    self.dirty.push(token);
                }
            }
            self.dirty.sort_unstable();
            self.dirty.dedup();
        }
    }

    /// Whether something has been sent, or would be if the broker let it, that has no good answer.
    fn is_waiting(&self) -> bool {
        let waits = |lane: &Lane| {
            lane.stream.in_flight() > 0 || matches!(lane.queued, Queued::Rests | Queued::Connection)
        };
        self.lanes.iter().any(waits) || self.producers.iter().any(Transactor::is_asking)
    }

    fn sleep(&self, now: Nanos, stop_at: Option<Nanos>) -> Nanos {
        let mut until = self.meter.ends_at().min(now + SLEEP_MAX);
        if let Some(Reverse((at, _))) = self.due.peek() {
            until = until.min(*at);
        }
        if let Some(at) = self.producers.iter().filter_map(Transactor::wakes_at).min() {
            until = until.min(at);
        }
        // Past the stop, the sleep is bounded by what is still to come.
        for at in [self.refresh_at, stop_at.filter(|at| *at > now)].into_iter().flatten() {
            until = until.min(at);
        }
        until.saturating_sub(now)
    }

    /// Sends nothing more. Returns how many records were due and have not left.
    fn stop_streams(&mut self, now: Nanos) -> u64 {
        let unmade: u64 = self.makers.iter_mut().map(|maker| maker.producer.stop(now)).sum();
        let mut unsent = 0;
        self.lanes.iter_mut().for_each(|lane| {
            unsent += lane.stream.stop(now);
            lane.queued = Queued::No;
        });
        self.due.clear();
        self.links.iter_mut().for_each(|link| link.ready.clear());
        (0..self.lanes.len()).for_each(|lane| self.queue(lane, now));
        unmade + if self.task.plan.schedule.is_some() { unsent } else { 0 }
    }

    /// The run's time is over and more: what is still to be sent never leaves.
    fn give_up(&mut self, now: Nanos) {
        let end = self.task.plan.stop_at.unwrap_or(now);
        self.outcome.unsent = self.stop_streams(end);
        self.outcome.last_intended = end;
    }

    /// Puts a lane where its next step belongs, unless it is there already.
    fn queue(&mut self, index: usize, now: Nanos) {
        let lane = &self.lanes[index];
        if lane.queued != Queued::No || lane.finished {
            return;
        }
        let step = lane.stream.next_step(&self.task.plan, now);
        // It is queued again when its transaction has room for it.
        if step == Next::Ready && self.room(index) == 0 {
            return;
        }
        let lane = &mut self.lanes[index];
        match step {
            Next::Ready => {
                lane.queued = Queued::Connection;
                self.links[lane.link].ready.push_back(index);
                self.dirty.push(lane.link);
            }
            Next::At(at) => {
                lane.queued = Queued::Heap;
                lane.due_at = at;
                self.due.push(Reverse((at, Wake::Lane(index))));
            }
            Next::Waits => {}
            Next::Finished => {
                lane.finished = true;
                self.unfinished -= 1;
                if let Some(at) = lane.transactions {
                    self.producers[at].unfinished -= 1;
                }
            }
        }
    }

    /// Moves what is due from the heap to the connections.
    fn take_due(&mut self, now: Nanos) {
        while let Some(Reverse((at, wake))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            match wake {
                Wake::Lane(index) => {
                    let lane = &mut self.lanes[index];
                    if !matches!(lane.queued, Queued::Heap | Queued::Rests) || lane.due_at != at {
                        continue;
                    }
                    lane.queued = Queued::No;
                    self.queue(index, now);
                }
                Wake::Producer(index) => self.make_due(index, now),
            }
            if self.task.plan.schedule.is_some() {
                self.meter.counts.lateness.record(now - at, 1);
            }
        }
    }

    /// Builds and writes what one connection can take.
    fn pump(&mut self, at: usize) -> io::Result<()> {
        let plan = Arc::clone(&self.task.plan);
        let mut built = 0;
        loop {
            let now = plan.clock.now();
            let before = built;
            while self.links[at].socket.is_some() && self.links[at].connection.has_room(&plan) {
                if let (true, Some(maker)) = (self.links[at].ready.is_empty(), self.links[at].maker)
                    && self.may_fill(maker)
                {
                    self.fill(maker, now);
                }
                let Some(index) = self.links[at].ready.pop_front() else { break };
                built += usize::from(self.build(at, index, now)?);
            }
            if let Err(error) = self.write(at) {
                return self.lost(at, &error);
            }
            if plan.acks == 0 {
                let now = plan.clock.now();
                while let Some(request) = self.links[at].connection.next_written() {
                    self.answered(&request, now);
                    for batch in &request.batches {
                        self.acknowledged(batch, request.sent_at, now);
                        let settled = self.lanes[batch.stream].stream.accepted(&plan, &batch.records);
                        self.settle(batch.stream, settled, now);
                    }
                }
            }
            let link = &self.links[at];
            // The write may have made room that was missing before it.
            let more = link.socket.is_some() && !link.ready.is_empty() && link.connection.has_room(&plan);
            if !link.connection.unwritten().is_empty() || (built == before && !more) {
                return Ok(());
            }
            if built >= TURN_REQUESTS_MAX {
                self.dirty.push(at);
                return Ok(());
            }
        }
    }

    /// Builds the next request, which begins with a lane that was ready, if it still is. Returns whether it was.
    fn build(&mut self, at: usize, index: usize, now: Nanos) -> io::Result<bool> {
        let mut taken = std::mem::take(&mut self.taken);
        self.lanes[index].queued = Queued::No;
        // What it had may have left with another lane's request.
        if self.lanes[index].stream.next_step(&self.task.plan, now) == Next::Ready {
            self.take(index, now, &mut taken);
        }
        if let (Some(maker), false) = (self.lanes[index].maker, taken.is_empty()) {
            self.take_along(at, maker, now, &mut taken);
        }
        let parts = taken.iter().map(|(index, records)| {
            let lane = &self.lanes[*index];
            (*index, &lane.stream, *records, lane.author)
        });
        let is_some = !taken.is_empty();
        if is_some {
            let transactions = self.lanes[index].transactions;
            let template = transactions.map_or(&self.template, |at| &self.producers[at].template);
            self.links[at].connection.push(&self.task.plan, template, parts, now)?;
        } else {
            self.queue(index, now);
        }
        taken.drain(..).for_each(|(index, _)| self.queue(index, now));
        self.taken = taken;
        Ok(is_some)
    }

    /// Takes a lane's next batch. Returns its bytes, roughly; none if there is nothing.
    fn take(&mut self, index: usize, now: Nanos, into: &mut Vec<(usize, Taken)>) -> usize {
        let room = self.room(index);
        let lane = &mut self.lanes[index];
        let waiting = lane.stream.waiting_bytes();
        let doomed = lane.transactions.is_some_and(|at| self.producers[at].state.is_doomed());
        let Some(taken) = lane.stream.take_up_to(&self.task.plan, now, room, doomed) else { return 0 };
        if let Some(at) = lane.transactions.filter(|_| taken.sent_before.is_none()) {
            let mut intended = now;
            lane.stream.for_each_time(&taken, now, |at, _| intended = intended.min(at));
            self.producers[at].state.took(u64::from(taken.count), intended, now);
        }
        into.push((index, taken));
        let bytes = waiting.saturating_sub(lane.stream.waiting_bytes());
        if let Some(maker) = lane.maker {
            let left = &mut self.makers[maker].waiting_bytes;
            *left = left.saturating_sub(bytes);
            self.waiting_records = self.waiting_records.saturating_sub(u64::from(taken.count));
        }
        bytes
    }

    fn write(&mut self, at: usize) -> io::Result<()> {
        let link = &mut self.links[at];
        let Some(socket) = &mut link.socket else { return Ok(()) };
        while !link.connection.unwritten().is_empty() {
            match socket.write(link.connection.unwritten()) {
                Ok(count) => link.connection.wrote(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
