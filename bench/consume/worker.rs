//! One reading thread: every connection has one Fetch out for all its partitions, and the next leaves as soon
//! as the answer has been verified.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::ack_log::AckVerdict;
use crate::client::admin::{self, Admin, Isolation, Topology};
use crate::client::frame::{FrameReader, ReadOutcome};
use crate::client::request::{self, FetchAsk, FetchLimits};
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND};
use crate::consume::pace::Pace;
use crate::consume::partition::{Partition, Received};
use crate::consume::session::{self, Session};
use crate::poll::Poller;
use crate::stats::Meter;
use crate::verify::Verdict;

/// What every Fetch asks for; the partition limit is Kafka's default for consumers.
fn limits(isolation: Isolation) -> FetchLimits {
    let (max_bytes, partition_max_bytes) = (8 << 20, 1 << 20);
    FetchLimits { max_wait_ms: 250, min_bytes: 1, max_bytes, partition_max_bytes, isolation }
}

/// Longest sleep, so that a stop and another worker's progress are noticed.
const SLEEP_MAX: Nanos = 20 * MILLISECOND;

/// Pause before a lost connection or a moved leader is tried again.
const RETRY_PAUSE: Nanos = 100 * MILLISECOND;

/// Longest time without a usable answer before the worker gives up.
const SILENCE_MAX: Nanos = 30 * SECOND;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// ListOffsets: the offset of the first record.
const EARLIEST: i64 = -2;

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// When reading ends, beside the end of every partition.
#[derive(Debug, Clone)]
pub struct Until {
    /// Records received by all workers.
    pub received: Arc<AtomicU64>,
    /// Number of them that is enough.
    pub enough: Arc<AtomicU64>,
    /// Time at which it is enough.
    pub stop_at: Option<Nanos>,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

/// What a worker is given.
#[derive(Debug)]
pub struct Task {
    /// The clock of the run.
    pub clock: Clock,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Connections to each leader.
    pub slots: u32,
    /// Who leads what.
    pub topology: Topology,
    /// Whom to ask again.
    pub admin: Admin,
    /// When to end.
    pub until: Until,
    /// Slows it down.
    pub pace: Option<Pace>,
    /// What it sees of transactions; its partitions have been told.
    pub isolation: Isolation,
    /// Whether to go on at the log start offset when retention has overtaken the reader.
    pub skips_deleted: bool,
    /// Where others see how far each partition has been read.
    pub positions: Option<Arc<Positions>>,
}

/// Offset to read next of each partition index.
#[derive(Debug)]
pub struct Positions(HashMap<i32, AtomicI64>);

impl Positions {
    /// Of partitions that begin at these offsets.
    pub fn new(partitions: &[Partition]) -> Self {
        Self(partitions.iter().map(|p| (p.index, AtomicI64::new(p.next_offset))).collect())
    }

    /// Partition and offset of each.
    pub fn all(&self) -> Vec<(i32, i64)> {
        self.0.iter().map(|(index, offset)| (*index, offset.load(Ordering::Relaxed))).collect()
    }
}

/// How a worker ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// When the last record arrived.
    pub last_record: Nanos,
    /// What verification found.
    pub verdict: Verdict,
    /// What became of acknowledged records.
    pub acks: Option<AckVerdict>,
    /// What became of each partition.
    pub partitions: Vec<(i32, Received)>,
    /// When it first had all that could be read.
    pub caught_up: Option<Nanos>,
    /// Why it ended before its time.
    pub problem: Option<String>,
}

#[derive(Debug)]
struct Link {
    address: String,
    slot: u32,
    socket: TcpStream,
    frames: FrameReader,
    out: Vec<u8>,
    /// Places of its partitions in the task; rotated, so that none is always asked for last.
    partitions: Vec<usize>,
    session: Session,
    /// Of `partitions` those that the next request of a session names, because their offset has changed.
    changed: Vec<usize>,
    /// Partitions that the next request of a session forgets.
    forgotten: Vec<i32>,
    correlation: i32,
    sent_at: Option<Nanos>,
    /// When the next Fetch may leave, if it has to wait.
    resume_at: Option<Nanos>,
}

#[derive(Debug)]
struct Worker {
    task: Task,
    poller: Poller,
    meter: Meter,
    links: Vec<Link>,
    /// Where each partition index is among the task's partitions.
    places: HashMap<i32, usize>,
    scratch: Vec<u8>,
    /// When to open all connections anew.
    reopen_at: Option<Nanos>,
    last_sign: Nanos,
    outcome: Outcome,
}

/// Runs a worker to its end on the calling thread.
///
/// # Errors
/// What keeps it from starting.
pub fn run(task: Task, meter: Meter) -> io::Result<Outcome> {
    let mut worker = Worker {
        poller: Poller::new()?,
        meter,
        links: Vec::new(),
        places: task.partitions.iter().enumerate().map(|(nth, partition)| (partition.index, nth)).collect(),
        scratch: Vec::new(),
        reopen_at: None,
        last_sign: task.clock.now(),
        outcome: Outcome::default(),
        task,
    };
    worker.open()?;
    if let Err(error) = worker.turn_until_done() {
        worker.outcome.problem = Some(error.to_string());
    }
    let now = worker.task.clock.now();
    worker.meter.finish(now);
    for partition in worker.task.partitions {
        worker.outcome.partitions.push((partition.index, partition.received()));
        worker.outcome.verdict.add(partition.verifier.verdict);
        if let Some(acks) = partition.acks {
            worker.outcome.acks.get_or_insert_default().add(acks.finish());
        }
        if let Some(mut output) = partition.output {
            output.flush()?;
        }
    }
    Ok(worker.outcome)
}

impl Worker {
    /// Opens a connection per leader and slot and deals the unfinished partitions to them.
    fn open(&mut self) -> io::Result<()> {
        self.links.clear();
        for (nth, partition) in self.task.partitions.iter().enumerate().filter(|(_, p)| !p.is_done()) {
            let index = usize::try_from(partition.index).unwrap_or(usize::MAX);
            let address = self.task.topology.leaders.get(index).cloned().unwrap_or_default();
            let slot = nth as u32 % self.task.slots;
            if let Some(link) = self.links.iter_mut().find(|l| l.slot == slot && l.address == address) {
                link.partitions.push(nth);
                continue;
            }
            let socket = admin::connect(&address, CONNECT_TIMEOUT)
                .map_err(|e| io::Error::new(e.kind(), format!("cannot reach {address}: {e}")))?;
            socket.set_nonblocking(true)?;
            self.poller.add(&socket, self.links.len())?;
            self.links.push(Link {
                address,
                slot,
                socket,
                frames: FrameReader::default(),
                out: Vec::new(),
                partitions: vec![nth],
                session: Session::new(self.task.topology.fetch_version),
                changed: Vec::new(),
                forgotten: Vec::new(),
                correlation: 0,
                sent_at: None,
                resume_at: None,
            });
        }
        (0..self.links.len()).try_for_each(|link| self.send_fetch(link))
    }

    fn turn_until_done(&mut self) -> io::Result<()> {
        let clock = self.task.clock;
        let mut ready = Vec::new();
        loop {
            let now = clock.now();
            self.meter.roll(now);
            if self.is_done(now) {
                return Ok(());
            }
            if now - self.last_sign > SILENCE_MAX {
                return Err(io::Error::other("no usable answer for 30 s"));
            }
            if self.reopen_at.is_some_and(|at| now >= at) {
                self.reopen(now);
            }
            for link in 0..self.links.len() {
                if self.links[link].resume_at.is_some_and(|at| now >= at) {
                    self.links[link].resume_at = None;
                    let sent = self.send_fetch(link);
                    self.survive(link, sent);
                }
            }
            let mut until = self.meter.ends_at().min(now + SLEEP_MAX);
            let resume_at = self.links.iter().filter_map(|link| link.resume_at).min();
            for at in [self.reopen_at, self.task.until.stop_at, resume_at].into_iter().flatten() {
                until = until.min(at);
            }
            self.poller.wait(until.saturating_sub(now), |token| ready.push(token))?;
            for link in ready.drain(..) {
                // Events of connections that have been replaced meanwhile name nothing.
                if link >= self.links.len() || self.reopen_at.is_some() {
                    continue;
                }
                let served = self.flush(link).and_then(|()| self.receive(link));
                self.survive(link, served);
            }
        }
    }

    /// After an error of a connection, all are opened anew after a pause.
    fn survive(&mut self, link: usize, served: io::Result<()>) {
        if let Err(error) = served {
            self.meter.note(format!("connection to {} lost: {error}", self.links[link].address));
            self.reopen_at = Some(self.task.clock.now() + RETRY_PAUSE);
        }
    }

    fn is_done(&self, now: Nanos) -> bool {
        let until = &self.task.until;
        until.stop.load(Ordering::Relaxed)
            || until.stop_at.is_some_and(|at| now >= at)
            || until.received.load(Ordering::Relaxed) >= until.enough.load(Ordering::Relaxed)
            || self.task.partitions.iter().all(Partition::is_done)
    }

    fn reopen(&mut self, now: Nanos) {
        let opened = self.task.admin.topology(&self.task.topology.topic, None).map_err(io::Error::other);
        let opened = opened.and_then(|topology| {
            self.task.topology = topology;
            self.open()
        });
        self.reopen_at = opened.is_err().then_some(now + RETRY_PAUSE);
    }

    fn send_fetch(&mut self, at: usize) -> io::Result<()> {
        let now = self.task.clock.now();
        let link = &mut self.links[at];
        link.resume_at = self.task.pace.as_ref().map(Pace::next_at).filter(|at| *at > now);
        if link.resume_at.is_some() {
            // Waiting is no silence of the broker.
            self.last_sign = now;
            return Ok(());
        }
        let partitions = &self.task.partitions;
        if link.partitions.is_empty() {
            return Ok(());
        }
        link.correlation = link.correlation.wrapping_add(1) & i32::MAX;
        if link.session.asks_for_all() {
            link.partitions.rotate_left(1);
            link.changed.clone_from(&link.partitions);
            link.forgotten.clear();
        }
        let topology = &self.task.topology;
        let wanted = |nth: usize| (partitions[nth].index, partitions[nth].next_offset);
        let ask = FetchAsk {
            topic: (topology.topic.as_str(), topology.topic_id),
            session: (link.session.id, link.session.epoch),
            partitions: link.changed.drain(..).map(wanted).collect(),
            forgotten: std::mem::take(&mut link.forgotten),
        };
        let frame =
            request::fetch(topology.fetch_version, link.correlation, ask, limits(self.task.isolation));
        link.out.extend_from_slice(&frame.map_err(io::Error::other)?);
        link.sent_at = Some(self.task.clock.now());
        self.flush(at)
    }

    fn flush(&mut self, at: usize) -> io::Result<()> {
        let link = &mut self.links[at];
        while !link.out.is_empty() {
            match link.socket.write(&link.out) {
                Ok(count) => drop(link.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, at: usize) -> io::Result<()> {
        loop {
            let link = &mut self.links[at];
            let read = link.frames.read_from(&link.socket)?;
            let now = self.task.clock.now();
            while let Some(frame) = self.links[at].frames.next_frame()? {
                self.take_answer(at, &frame, now)?;
                self.links[at].frames.recycle(frame);
                self.send_fetch(at)?;
            }
            match read {
                ReadOutcome::Some => {}
                ReadOutcome::Drained => return Ok(()),
                ReadOutcome::Closed => return Err(io::Error::other("the broker closed the connection")),
            }
        }
    }

    fn take_answer(&mut self, at: usize, frame: &bytes::Bytes, now: Nanos) -> io::Result<()> {
        let link = &mut self.links[at];
        let version = self.task.topology.fetch_version;
        let (correlation, answer) =
            request::fetch_answer(frame.clone(), version).map_err(io::Error::other)?;
        if correlation != link.correlation {
            return Err(io::Error::other(format!("answer {correlation} to request {}", link.correlation)));
        }
        if session::LOST.contains(&answer.error_code) {
            link.session.lost();
            return Ok(());
        }
        if answer.error_code != 0 {
            return Err(io::Error::other(format!("Fetch: Kafka error {}", answer.error_code)));
        }
        link.session.answered(answer.session_id);
        self.meter.counts.requests += 1;
        let mut records = 0;
        for fetched in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let nth = self.places.get(&fetched.partition_index).copied().unwrap_or(usize::MAX);
            let Some(partition) = self.task.partitions.get_mut(nth) else {
                return Err(io::Error::other(format!(
                    "partition {} was not asked for",
                    fetched.partition_index
                )));
            };
            if fetched.error_code != 0 {
                let code = fetched.error_code;
                let text = format!(
                    "partition {} offset {}: Kafka error {code}",
                    partition.index, partition.next_offset
                );
                if code == OFFSET_OUT_OF_RANGE && self.task.skips_deleted {
                    let deleted = skip_deleted(&self.task.admin, &self.task.topology, partition)?;
                    self.task.until.received.fetch_add(deleted, Ordering::Relaxed);
                    self.last_sign = now;
                    link.changed.push(nth);
                    continue;
                }
                if code == OFFSET_OUT_OF_RANGE {
                    partition.verifier.unreadable(&format!("the broker answers with error {code}"));
                    partition.end = Some(partition.next_offset);
                }
                return Err(io::Error::other(text));
            }
            if let Some(aborted) = &mut partition.aborted {
                let told = fetched.aborted_transactions.iter().flatten();
                aborted.told(told.map(|one| (one.producer_id, one.first_offset)));
            }
            let bytes = fetched.records.as_deref().unwrap_or_default();
            let times = (self.task.clock, now);
            let before = partition.next_offset;
            records += partition.take(bytes, times, &mut self.meter.counts, &mut self.scratch)?.records;
            if partition.is_done() {
                link.partitions.retain(|own| *own != nth);
                link.forgotten.push(partition.index);
            } else if partition.next_offset != before {
                link.changed.push(nth);
            }
            partition.readable_end = match self.task.isolation {
                Isolation::ReadUncommitted => fetched.high_watermark,
                Isolation::ReadCommitted => fetched.last_stable_offset,
            };
            if let Some(position) = self.task.positions.as_ref().and_then(|all| all.0.get(&partition.index)) {
                position.store(partition.next_offset, Ordering::Relaxed);
            }
        }
        self.last_sign = now;
        if let Some(pace) = &mut self.task.pace {
            pace.took(records, now);
        }
        if self.outcome.caught_up.is_none() && self.task.partitions.iter().all(Partition::has_caught_up) {
            self.outcome.caught_up = Some(now);
        }
        if records > 0 {
            self.outcome.last_record = now;
            self.task.until.received.fetch_add(records, Ordering::Relaxed);
            if let Some(sent_at) = link.sent_at {
                self.meter.counts.service.record(now - sent_at, 1);
            }
        }
        Ok(())
    }
}

/// Moves a partition to the log start offset it has now. Returns how many records that leaves out.
fn skip_deleted(admin: &Admin, topology: &Topology, partition: &mut Partition) -> io::Result<u64> {
    let first = admin.offsets(topology, EARLIEST).map_err(io::Error::other)?;
    let index = usize::try_from(partition.index).unwrap_or(usize::MAX);
    match first.get(index) {
        Some(first) if *first > partition.next_offset => Ok(partition.skip_deleted(*first)),
        _ => Err(io::Error::other(format!(
            "partition {} has no offset {}, and it is not for retention",
            partition.index, partition.next_offset
        ))),
    }
}
