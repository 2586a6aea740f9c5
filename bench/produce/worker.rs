//! One producing thread: an epoll loop over its connections and the streams they carry.
//!
//! A stream that has something to send is either in the heap, until its batch is complete, or in its
//! connection's queue, until there is room for a request. A turn of the loop moves what is due from the one to
//! the other, builds and writes, then waits for answers or the next due time, whichever is first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ack_log::{Ack, AckLogWriter};
use crate::client::admin::{self, Admin, Topology};
use crate::client::frame::ReadOutcome;
use crate::client::request::ProduceTemplate;
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::poll::Poller;
use crate::produce::connection::{Connection, InFlight};
use crate::produce::plan::{BatchValues, Plan, Seat};
use crate::produce::stream::{Next, Settled, Stream};
use crate::stats::Meter;

/// Longest wait for outstanding answers, and for a backlog to leave, once the run's time is over.
pub const DRAIN_MAX: Nanos = 10 * SECOND;

/// Pause before a lost connection or a moved leader is tried again.
const RETRY_PAUSE: Nanos = 50 * MILLISECOND;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest sleep, so that a stop is noticed.
const SLEEP_MAX: Nanos = 100 * MILLISECOND;

/// Requests built for one connection before the others have their turn.
const TURN_REQUESTS_MAX: usize = 64;

/// Kafka's errors that promise that nothing was appended and that another try may succeed:
/// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS,
/// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
const NOTHING_APPENDED: [i16; 6] = [3, 5, 6, 19, 74, 75];

/// What a worker is given.
#[derive(Debug)]
pub struct Task {
    /// The run.
    pub plan: Arc<Plan>,
    /// Its streams, with the number of records each has to send.
    pub seats: Vec<(Seat, u64)>,
    /// Who leads what.
    pub topology: Topology,
    /// Whom to ask again.
    pub admin: Admin,
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
    /// Records that were due but never left.
    pub unsent: u64,
    /// Why it ended before its time.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queued {
    No,
    Heap,
    Connection,
}

#[derive(Debug)]
struct Lane {
    stream: Stream,
    template: ProduceTemplate,
    link: usize,
    queued: Queued,
    finished: bool,
}

#[derive(Debug)]
struct Link {
    address: String,
    slot: u32,
    socket: Option<TcpStream>,
    connection: Connection,
    ready: VecDeque<usize>,
}

#[derive(Debug)]
struct Worker {
    task: Task,
    poller: Poller,
    meter: Meter,
    acks: Option<AckLogWriter>,
    lanes: Vec<Lane>,
    links: Vec<Link>,
    due: BinaryHeap<Reverse<(Nanos, usize)>>,
    /// Connections with something to build or write.
    dirty: Vec<usize>,
    unfinished: usize,
    /// When to ask for leaders and open lost connections again.
    refresh_at: Option<Nanos>,
    outcome: Outcome,
}

/// Runs a worker to its end on the calling thread.
///
/// # Errors
/// What keeps it from starting.
pub fn run(task: Task, meter: Meter) -> io::Result<Outcome> {
    let acks = task.ack_log.as_deref().map(AckLogWriter::open).transpose()?;
    let mut worker = Worker {
        poller: Poller::new()?,
        meter,
        acks,
        lanes: Vec::new(),
        links: Vec::new(),
        due: BinaryHeap::new(),
        dirty: Vec::new(),
        unfinished: task.seats.len(),
        refresh_at: None,
        outcome: Outcome::default(),
        task,
    };
    worker.open()?;
    if let Err(error) = worker.turn_until_done() {
        worker.outcome.problem = Some(error.to_string());
    }
    let now = worker.task.plan.clock.now();
    for link in &mut worker.links {
        let lost: u64 = link.connection.reset().iter().map(|request| u64::from(request.count)).sum();
        worker.meter.counts.unknown += lost;
    }
    if let Some(acks) = &mut worker.acks {
        acks.flush()?;
    }
    worker.meter.finish(now);
    Ok(worker.outcome)
}

impl Worker {
    fn open(&mut self) -> io::Result<()> {
        let plan = Arc::clone(&self.task.plan);
        let version = self.task.topology.produce_version;
        for (seat, quota) in std::mem::take(&mut self.task.seats) {
            let template = ProduceTemplate::new(version, &plan.topic, seat.partition, plan.acks);
            let template = template.map_err(io::Error::other)?;
            let link = self.link_for(seat);
            let stream = Stream::new(seat, quota);
            self.lanes.push(Lane { stream, template, link, queued: Queued::No, finished: false });
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
        Ok(())
    }

    /// The connection of a seat, to the present leader of its partition.
    fn link_for(&mut self, seat: Seat) -> usize {
        let leader = usize::try_from(seat.partition).ok().and_then(|p| self.task.topology.leaders.get(p));
        let address = leader.cloned().unwrap_or_default();
        if let Some(found) = self.links.iter().position(|l| l.slot == seat.slot && l.address == address) {
            return found;
        }
        self.links.push(Link {
            address,
            slot: seat.slot,
            socket: None,
            connection: Connection::default(),
            ready: VecDeque::new(),
        });
        self.links.len() - 1
    }

    fn connect(&mut self, link: usize) -> io::Result<()> {
        let address = &self.links[link].address;
        let socket = admin::connect(address, CONNECT_TIMEOUT)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot reach {address}: {e}")))?;
        socket.set_nonblocking(true)?;
        self.poller.add(&socket, link)?;
        self.links[link].socket = Some(socket);
        self.dirty.push(link);
        Ok(())
    }

    fn turn_until_done(&mut self) -> io::Result<()> {
        let plan = Arc::clone(&self.task.plan);
        let mut stopping = false;
        let mut give_up_at = plan.stop_at.map(|at| at + DRAIN_MAX);
        let mut ready = Vec::new();
        loop {
            let now = plan.clock.now();
            self.meter.roll(now);
            let told = self.task.stop.load(Ordering::Relaxed);
            if !stopping && (told || plan.schedule.is_none() && plan.stop_at.is_some_and(|at| now >= at)) {
                stopping = true;
                let deadline = now + DRAIN_MAX;
                give_up_at = Some(give_up_at.map_or(deadline, |at| at.min(deadline)));
                self.stop_streams(now);
            }
            self.take_due(now);
            if self.refresh_at.is_some_and(|at| now >= at) {
                self.refresh(now);
            }
            for link in std::mem::take(&mut self.dirty) {
                self.pump(link)?;
            }
            if let Some(acks) = &mut self.acks {
                acks.flush()?;
            }
            if self.unfinished == 0 {
                return Ok(());
            }
            if give_up_at.is_some_and(|at| now >= at) {
                self.outcome.unsent = self.lanes.iter_mut().map(|lane| lane.stream.stop()).sum();
                return Ok(());
            }
            let timeout = if self.dirty.is_empty() { self.sleep(plan.clock.now(), plan.stop_at) } else { 0 };
            self.poller.wait(timeout, |token| ready.push(token))?;
            for link in ready.drain(..) {
                self.receive(link)?;
                self.dirty.push(link);
            }
            self.dirty.sort_unstable();
            self.dirty.dedup();
        }
    }

    fn sleep(&self, now: Nanos, stop_at: Option<Nanos>) -> Nanos {
        let mut until = self.meter.ends_at().min(now + SLEEP_MAX);
        if let Some(Reverse((at, _))) = self.due.peek() {
            until = until.min(*at);
        }
        // Past the stop, the sleep is bounded by what is still to come.
        for at in [self.refresh_at, stop_at.filter(|at| *at > now)].into_iter().flatten() {
            until = until.min(at);
        }
        until.saturating_sub(now)
    }

    fn stop_streams(&mut self, now: Nanos) {
        self.lanes.iter_mut().for_each(|lane| {
            lane.stream.stop();
            lane.queued = Queued::No;
        });
        self.due.clear();
        self.links.iter_mut().for_each(|link| link.ready.clear());
        (0..self.lanes.len()).for_each(|lane| self.queue(lane, now));
    }

    /// Puts a lane where its next step belongs, unless it is there already.
    fn queue(&mut self, index: usize, now: Nanos) {
        let lane = &mut self.lanes[index];
        if lane.queued != Queued::No || lane.finished {
            return;
        }
        match lane.stream.next_step(&self.task.plan, now) {
            Next::Ready => {
                lane.queued = Queued::Connection;
                self.links[lane.link].ready.push_back(index);
                self.dirty.push(lane.link);
            }
            Next::At(at) => {
                lane.queued = Queued::Heap;
                self.due.push(Reverse((at, index)));
            }
            Next::Waits => {}
            Next::Finished => {
                lane.finished = true;
                self.unfinished -= 1;
            }
        }
    }

    /// Moves what is due from the heap to the connections.
    fn take_due(&mut self, now: Nanos) {
        while let Some(Reverse((at, index))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            if self.task.plan.schedule.is_some() {
                self.meter.counts.lateness.record(now - at, 1);
            }
            self.lanes[index].queued = Queued::No;
            self.queue(index, now);
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
                let Some(index) = self.links[at].ready.pop_front() else { break };
                let lane = &mut self.lanes[index];
                lane.queued = Queued::No;
                let (first, count) = lane.stream.take(&plan, now);
                if count > 0 {
                    let values = BatchValues { plan: &plan, seat: lane.stream.seat, first, count, now };
                    self.links[at].connection.push(&lane.template, &values, index)?;
                    built += 1;
                }
                self.queue(index, now);
            }
            if let Err(error) = self.write(at) {
                return self.lost(at, &error);
            }
            if plan.acks == 0 {
                let now = plan.clock.now();
                while let Some(request) = self.links[at].connection.next_written() {
                    self.acknowledged(&request, now);
                    let settled = self.lanes[request.stream].stream.accepted();
                    self.settle(request.stream, settled, now);
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

    /// Reads and handles the answers that have arrived.
    fn receive(&mut self, at: usize) -> io::Result<()> {
        loop {
            let link = &mut self.links[at];
            let Some(socket) = &link.socket else { return Ok(()) };
            let read = link.connection.frames.read_from(socket);
            let now = self.task.plan.clock.now();
            let answers = self.answers(at, now);
            let more = match (read, answers) {
                (Err(error), _) | (_, Err(error)) => return self.lost(at, &error),
                (Ok(ReadOutcome::Closed), _) => {
                    return self.lost(at, &io::Error::other("the broker closed the connection"));
                }
                (Ok(outcome), Ok(())) => outcome == ReadOutcome::Some,
            };
            if !more {
                return Ok(());
            }
        }
    }

    fn answers(&mut self, at: usize, now: Nanos) -> io::Result<()> {
        let version = self.task.topology.produce_version;
        while let Some((request, answer)) = self.links[at].connection.next_answer(version)? {
            let lane = &mut self.lanes[request.stream];
            let settled = if answer.error_code == 0 {
                let seat = lane.stream.seat;
                let settled = lane.stream.accepted();
                if let Some(acks) = &mut self.acks {
                    acks.push(&Ack {
                        partition: seat.partition.unsigned_abs(),
                        records: request.count,
                        base_offset: answer.base_offset,
                        run: self.task.plan.run,
                        stream: seat.stream,
                        first_sequence: request.first,
                    });
                }
                self.acknowledged(&request, now);
                settled
            } else {
                let partition = lane.stream.seat.partition;
                self.meter.note(format!("partition {partition}: Kafka error {}", answer.error_code));
                if NOTHING_APPENDED.contains(&answer.error_code) {
                    lane.stream.refused(request.first, request.count)
                } else {
                    self.meter.counts.failed += u64::from(request.count);
                    lane.stream.given_up()
                }
            };
            self.settle(request.stream, settled, now);
        }
        Ok(())
    }

    fn acknowledged(&mut self, request: &InFlight, now: Nanos) {
        let plan = &self.task.plan;
        let counts = &mut self.meter.counts;
        counts.records += u64::from(request.count);
        counts.bytes += request.value_bytes;
        counts.batch_bytes += request.batch_bytes;
        counts.requests += 1;
        counts.service.record(now - request.sent_at, 1);
        if plan.schedule.is_none() {
            counts.latency.record(now - request.sent_at, u64::from(request.count));
        } else {
            let stream = self.lanes[request.stream].stream.seat.stream;
            for sequence in request.first..request.first + u64::from(request.count) {
                counts.latency.record(now.saturating_sub(plan.intended(stream, sequence, now)), 1);
            }
        }
        self.outcome.acknowledged += u64::from(request.count);
        self.outcome.last_answer = now;
    }

    fn settle(&mut self, index: usize, settled: Settled, now: Nanos) {
        match settled {
            Settled::Continue => {}
            Settled::GaveUp(records) => self.meter.counts.failed += records,
            Settled::SendAgain => {
                let lane = &mut self.lanes[index];
                if lane.queued == Queued::Connection {
                    self.links[lane.link].ready.retain(|waiting| *waiting != index);
                }
                lane.queued = Queued::Heap;
                self.due.push(Reverse((now + RETRY_PAUSE, index)));
                self.refresh_at.get_or_insert(now + RETRY_PAUSE / 2);
            }
        }
        self.queue(index, now);
    }

    /// A connection is gone; what was in flight on it is of unknown outcome.
    fn lost(&mut self, at: usize, error: &io::Error) -> io::Result<()> {
        let now = self.task.plan.clock.now();
        let link = &mut self.links[at];
        link.socket = None;
        for request in link.connection.reset() {
            self.meter.counts.unknown += u64::from(request.count);
            let settled = self.lanes[request.stream].stream.given_up();
            self.settle(request.stream, settled, now);
        }
        let address = &self.links[at].address;
        if !self.task.plan.reconnect {
            return Err(io::Error::new(error.kind(), format!("connection to {address} lost: {error}")));
        }
        self.meter.note(format!("connection to {address} lost: {error}; trying again"));
        self.refresh_at.get_or_insert(now + RETRY_PAUSE);
        Ok(())
    }

    /// Asks who leads, moves idle streams to their leaders and opens what is closed. Blocks this worker's
    /// other connections meanwhile; what that costs shows in their latency.
    fn refresh(&mut self, now: Nanos) {
        self.refresh_at = None;
        let topic = self.task.plan.topic.clone();
        match self.task.admin.topology(&topic, None) {
            Ok(topology) if topology.leaders.len() >= self.task.topology.leaders.len() => {
                self.task.topology.leaders = topology.leaders;
            }
            _ => {
                self.refresh_at = Some(now + RETRY_PAUSE);
                return;
            }
        }
        let mut complete = true;
        for index in 0..self.lanes.len() {
            let link = self.link_for(self.lanes[index].stream.seat);
            let lane = &mut self.lanes[index];
            if lane.stream.in_flight() > 0 {
                complete &= lane.link == link;
                continue;
            }
            if lane.link != link && lane.queued == Queued::Connection {
                self.links[lane.link].ready.retain(|waiting| *waiting != index);
                self.links[link].ready.push_back(index);
            }
            lane.link = link;
        }
        for link in 0..self.links.len() {
            let used = self.lanes.iter().any(|lane| lane.link == link);
            if used && self.links[link].socket.is_none() {
                complete &= self.connect(link).is_ok();
            }
        }
        if !complete {
            self.refresh_at = Some(now + RETRY_PAUSE);
        }
    }
}
