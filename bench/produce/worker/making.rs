//! Records made one by one: which producer serves which streams, and when a record goes from the one to the other.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Queued, Wake, Worker};
use crate::clock::{MILLISECOND, Nanos};
use crate::keys::Keys;
use crate::produce::plan::Making;
use crate::produce::producer::Producer;
use crate::produce::stream::{Next, Taken};

/// Bytes that a producer of a closed loop gathers at most before batches leave that are not full. Like Kafka's
/// `buffer.memory`, but small enough to stay in cache.
const GATHERED_BYTES_MAX: usize = 1 << 20;

/// Records that a thread holds without a request; those that are due beyond it are made later, and keep the
/// times at which they were due.
const WAITING_RECORDS_MAX: u64 = 4_000_000;

/// Pause after which a thread that holds that many looks again.
const FULL_PAUSE: Nanos = MILLISECOND;

/// Bytes of a request after which no further partition's batch is added. Kafka's `max.request.size`.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A producer and its streams.
#[derive(Debug)]
pub(super) struct Maker {
    pub producer: Producer,
    /// Lane of each partition.
    pub lanes: Vec<usize>,
    /// Bytes made that are in no request.
    pub waiting_bytes: usize,
    /// Lanes that have had something since they were last looked at, the longest first.
    gathering: VecDeque<usize>,
    closed: bool,
}

impl Maker {
    pub fn new(producer: Producer) -> Self {
        Self { producer, lanes: Vec::new(), waiting_bytes: 0, gathering: VecDeque::new(), closed: false }
    }
}

impl Worker {
    /// Makes what producer `index` has due, and sets the time of the next.
    pub(super) fn make_due(&mut self, index: usize, now: Nanos) {
        let plan = Arc::clone(&self.task.plan);
        let Making::Records(keys) = &plan.making else { return };
        while self.make_one(index, keys, now) {
            if self.waiting_records >= WAITING_RECORDS_MAX {
                self.due.push(Reverse((now + FULL_PAUSE, Wake::Producer(index))));
                return;
            }
        }
        match self.makers[index].producer.due_at() {
            Some(at) => self.due.push(Reverse((at, Wake::Producer(index)))),
            None => self.close(index, now),
        }
    }

    /// Makes records in a closed loop until a batch of producer `index` may leave.
    pub(super) fn fill(&mut self, index: usize, now: Nanos) {
        let plan = Arc::clone(&self.task.plan);
        let Making::Records(keys) = &plan.making else { return };
        let ready = self.dirty.len();
        while self.dirty.len() == ready {
            if self.makers[index].waiting_bytes >= GATHERED_BYTES_MAX {
                self.flush(index, now);
                return;
            }
            if !self.make_one(index, keys, now) {
                self.close(index, now);
                return;
            }
        }
    }

    /// Makes one record, if one is due, and queues its stream if that may send now.
    fn make_one(&mut self, index: usize, keys: &Keys, now: Nanos) -> bool {
        let maker = &mut self.makers[index];
        let Some((partition, dealt)) = maker.producer.make(keys, now) else { return false };
        let at = maker.lanes[partition as usize];
        let lane = &mut self.lanes[at];
        let bytes = lane.stream.deal(&self.task.plan, dealt);
        maker.producer.took(bytes);
        maker.waiting_bytes += bytes;
        self.waiting_records += 1;
        if !std::mem::replace(&mut lane.gathering, true) {
            maker.gathering.push_back(at);
        }
        // A batch that has become full leaves before its linger is over.
        if lane.queued == Queued::Heap && lane.stream.next_step(&self.task.plan, now) == Next::Ready {
            lane.queued = Queued::No;
        }
        self.queue(at, now);
        true
    }

    /// Adds to a request of producer `index` what its other streams to the same broker have, full batches or not:
    /// as Kafka's clients do, once one of them is ready.
    pub(super) fn take_along(
        &mut self,
        link: usize,
        index: usize,
        now: Nanos,
        taken: &mut Vec<(usize, Taken)>,
    ) {
        let first = taken.first().map(|(lane, _)| *lane);
        let mut bytes = 0;
        for _ in 0..self.makers[index].gathering.len() {
            if bytes >= REQUEST_BYTES_MAX {
                break;
            }
            let Some(at) = self.makers[index].gathering.pop_front() else { break };
            let lane = &mut self.lanes[at];
            // The first one's batch is in the request already, and a partition has one at most.
            if Some(at) != first && lane.link == link && lane.queued != Queued::Rests {
                if lane.queued == Queued::Heap {
                    lane.queued = Queued::No;
                }
                let before = taken.len();
                bytes += self.take(at, now, taken);
                if taken.len() == before {
                    self.queue(at, now);
                }
            }
            let lane = &mut self.lanes[at];
            lane.gathering = lane.stream.waiting_bytes() > 0;
            if lane.gathering {
                self.makers[index].gathering.push_back(at);
            }
        }
    }

    /// Lets everything leave that waits for a fuller batch.
    fn flush(&mut self, index: usize, now: Nanos) {
        for nth in 0..self.makers[index].lanes.len() {
            let at = self.makers[index].lanes[nth];
            self.lanes[at].stream.flush();
            self.queue(at, now);
        }
    }

    /// Producer `index` makes nothing more.
    pub(super) fn close(&mut self, index: usize, now: Nanos) {
        if std::mem::replace(&mut self.makers[index].closed, true) {
            return;
        }
        for nth in 0..self.makers[index].lanes.len() {
            let at = self.makers[index].lanes[nth];
            let lane = &mut self.lanes[at];
            lane.stream.close();
            if lane.queued == Queued::Heap {
                lane.queued = Queued::No;
            }
            self.queue(at, now);
        }
    }
}
