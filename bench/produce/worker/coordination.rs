//! A worker's transactional producers: each talks with its coordinator over a connection of its own, one request at a
//! time, and no other waits for it.

use std::io::{self, Write};
use std::net::TcpStream;

use super::links::CONNECT_TIMEOUT;
use super::{Lane, Worker};
use crate::client::admin;
use crate::client::frame::{FrameReader, ReadOutcome};
use crate::client::request::ProduceTemplate;
use crate::client::transactions::{Answer, Transactional};
use crate::clock::{MILLISECOND, Nanos};
use crate::produce::plan::{Author, Plan};
use crate::produce::transaction::{Request, Rules, Transactions};
use crate::schedule::mix;
use crate::stats::Meter;

/// Tokens of coordinators' sockets begin here; below are those of links.
pub(super) const TOKENS: usize = 1 << 32;

/// Pause before a coordinator that is busy is asked again. What Kafka's clients wait for it.
const AGAIN_PAUSE: Nanos = 20 * MILLISECOND;

/// What a worker is given of transactions.
#[derive(Debug)]
pub struct Transacting {
    /// The producers, by slot.
    pub producers: Vec<(u32, Transactional)>,
    /// Their rules, but for what the coordinator says.
    pub rules: Rules,
    /// Times of whole transactions.
    pub meter: Meter,
}

/// Transactions of a worker that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// For good.
    pub committed: u64,
    /// Records in those.
    pub committed_records: u64,
    /// For nothing, as `--abort-share` wants it.
    pub aborted: u64,
    /// Records in those: acknowledged, and not for readers of what is committed.
    pub aborted_records: u64,
}

impl Counted {
    /// Adds another worker's.
    pub fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.committed_records += other.committed_records;
        self.aborted += other.aborted;
        self.aborted_records += other.aborted_records;
    }
}

/// A producer with its coordinator.
#[derive(Debug)]
pub(super) struct Transactor {
    pub state: Transactions,
    pub template: ProduceTemplate,
    names: Transactional,
    /// Of them, how many have not sent all.
    pub unfinished: usize,
    lanes: Vec<usize>,
    socket: TcpStream,
    frames: FrameReader,
    out: Vec<u8>,
    correlation: i32,
    asked: Option<(Request, Nanos)>,
    /// When to ask again.
    again_at: Nanos,
}

impl Transactor {
    /// Connects to the coordinator.
    pub fn open(
        names: Transactional,
        rules: Rules,
        slot: u32,
        plan: &Plan,
        produce_version: i16,
    ) -> io::Result<Self> {
        let rules = Rules { adds_by_itself: names.adds_by_itself, ..rules };
        let socket = admin::connect(&names.coordinator, CONNECT_TIMEOUT).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot reach the coordinator {}: {e}", names.coordinator))
        })?;
        socket.set_nonblocking(true)?;
        let template = ProduceTemplate::transactional(produce_version, &plan.topic, &names.id);
        Ok(Self {
            state: Transactions::new(rules, plan.run ^ mix(u64::from(slot))),
            template: template.map_err(io::Error::other)?,
            names,
            unfinished: 0,
            lanes: Vec::new(),
            socket,
            frames: FrameReader::default(),
            out: Vec::new(),
            correlation: 0,
            asked: None,
            again_at: 0,
        })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Takes a lane, and says whose its batches are.
    pub fn adopt(&mut self, lane: usize) -> Author {
        self.lanes.push(lane);
        self.unfinished += 1;
        let (id, epoch) = self.names.producer;
        Author { id, epoch, zero: 0, transactional: true }
    }

    /// Whether its coordinator has not answered, or wants to be asked again.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some() || self.again_at > 0
    }

    /// When it has something to do by itself.
    pub fn wakes_at(&self) -> Option<Nanos> {
        let again = Some(self.again_at).filter(|at| *at > 0);
        again.into_iter().chain(self.state.ends_at()).min()
    }

    fn refused(&self, what: &str, code: i16) -> io::Error {
        io::Error::other(format!("{what} of `{}`: Kafka error {code}", self.names.id))
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks the coordinator what there is to ask it.
    fn drive(&mut self, topic: &str, now: Nanos) -> io::Result<()> {
        self.state.expire(now);
        if self.unfinished == 0 {
            self.state.finish();
        }
        if now < self.again_at {
            return Ok(());
        }
        self.again_at = 0;
        let Some(request) = self.state.next_request() else { return Ok(()) };
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        let frame = match &request {
            Request::Add(partitions) => self.names.add(self.correlation, topic, partitions),
            Request::End { commit } => self.names.end(self.correlation, *commit),
        };
        self.out.extend_from_slice(&frame.map_err(io::Error::other)?);
        self.asked = Some((request, now));
        self.flush()
    }
}

impl Worker {
    /// How many new records of a lane may leave.
    pub(super) fn room(&mut self, lane: usize) -> u64 {
        let lane = &self.lanes[lane];
        // What was sent before belongs to the transaction that is open.
        if lane.stream.unsettled() > 0 {
            return u64::MAX;
        }
        let partition = lane.stream.seat.partition;
        lane.transactions.map_or(u64::MAX, |at| self.producers[at].state.room(partition))
    }

    /// Whether records that a producer of a closed loop makes could leave, or be asked to be added.
    pub(super) fn may_fill(&self, maker: usize) -> bool {
        let lane = self.makers[maker].lanes.first().map(|lane| &self.lanes[*lane]);
        lane.and_then(|lane| lane.transactions).is_none_or(|at| self.producers[at].state.is_taking())
    }

    /// Lets every producer ask what it has to ask.
    pub(super) fn drive(&mut self, now: Nanos) -> io::Result<()> {
        let plan = &self.task.plan;
        self.producers.iter_mut().try_for_each(|producer| producer.drive(&plan.topic, now))
    }

    /// Whether a transaction is still to be ended.
    pub(super) fn is_transacting(&self) -> bool {
        self.producers.iter().any(|producer| !producer.state.is_over())
    }

    /// Reads what the coordinator of a producer answers.
    pub(super) fn hear(&mut self, at: usize) -> io::Result<()> {
        loop {
            let producer = &mut self.producers[at];
            let lost = |error| io::Error::other(format!("connection to a coordinator lost: {error}"));
            producer.flush().map_err(lost)?;
            let read = producer.frames.read_from(&producer.socket).map_err(lost)?;
            let now = self.task.plan.clock.now();
            while let Some(frame) = self.producers[at].frames.next_frame()? {
                self.take_in(at, frame, now)?;
            }
            match read {
                ReadOutcome::Some => {}
                ReadOutcome::Drained => return Ok(()),
                ReadOutcome::Closed => return Err(lost(io::ErrorKind::ConnectionAborted.into())),
            }
        }
    }

    fn take_in(&mut self, at: usize, frame: bytes::Bytes, now: Nanos) -> io::Result<()> {
        let producer = &mut self.producers[at];
        let Some((request, asked_at)) = producer.asked.take() else {
            return Err(io::Error::other("a coordinator answers what it was not asked"));
        };
        if frame.first_chunk() != Some(&producer.correlation.to_be_bytes()) {
            return Err(io::Error::other("a coordinator answers out of turn"));
        }
        let answer = match &request {
            Request::Add(_) => producer.names.added(frame),
            Request::End { .. } => producer.names.ended(frame),
        };
        let answer = answer.map_err(io::Error::other)?;
        if matches!(answer, Answer::Done(_)) {
            self.delivered_at = now;
        }
        match (answer, request) {
            (Answer::Again, _) => {
                producer.state.again();
                producer.again_at = now + AGAIN_PAUSE;
                return Ok(());
            }
            (Answer::Refused(code), Request::Add(_)) => {
                return Err(producer.refused("AddPartitionsToTxn", code));
            }
            (Answer::Refused(code), Request::End { .. }) => return Err(producer.refused("EndTxn", code)),
            (Answer::Done(_), Request::Add(partitions)) => producer.state.added(&partitions),
            (Answer::Done(next), Request::End { .. }) => {
                let ended = producer.state.ended();
                let counted = self.outcome.transactions.get_or_insert_default();
                let (count, records) = if ended.committed {
                    (&mut counted.committed, &mut counted.committed_records)
                } else {
                    (&mut counted.aborted, &mut counted.aborted_records)
                };
                *count += 1;
                *records += ended.records;
                if let Some(transacting) = &mut self.task.transacting {
                    let counts = &mut transacting.meter.counts;
                    counts.requests += 1;
                    counts.service.record(now.saturating_sub(asked_at), 1);
                    if ended.records > 0 {
                        counts.latency.record(now.saturating_sub(ended.began), 1);
                    }
                }
                if let Some(next) = next {
                    producer.names.producer = next;
                    for lane in &producer.lanes {
                        begin_epoch(&mut self.lanes[*lane], next);
                    }
                }
            }
        }
        for nth in 0..self.producers[at].lanes.len() {
            let lane = self.producers[at].lanes[nth];
            self.queue(lane, now);
            // A closed loop makes its records when there is room for them.
            self.dirty.push(self.lanes[lane].link);
        }
        Ok(())
    }
}

/// The sequences of a new epoch count from the next record. Nothing of the lane is in flight.
fn begin_epoch(lane: &mut Lane, (id, epoch): (i64, i16)) {
    if let Some(author) = &mut lane.author
        && (author.id, author.epoch) != (id, epoch)
    {
        *author = Author { id, epoch, zero: lane.stream.next(), ..*author };
    }
}
