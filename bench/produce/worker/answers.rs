//! What becomes of a request: acknowledged, refused, or of an outcome that nobody knows.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;

use super::{Queued, RETRY_PAUSE, Wake, Worker};
use crate::ack_log::Ack;
use crate::client::frame::ReadOutcome;
use crate::client::transactions::CONCURRENT_TRANSACTIONS;
use crate::clock::Nanos;
use crate::produce::connection::{Batch, InFlight};
use crate::produce::stream::Settled;

/// Kafka's errors that promise that nothing was appended and that another try may succeed:
/// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS,
/// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
const NOTHING_APPENDED: [i16; 6] = [3, 5, 6, 19, 74, 75];

/// Kafka's errors that leave open whether the batch was appended: REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS_AFTER_APPEND.
const PERHAPS_APPENDED: [i16; 2] = [7, 20];

/// Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER: an idempotent producer's request behind one that was refused.
const OUT_OF_ORDER: i16 = 45;

/// Kafka's DUPLICATE_SEQUENCE_NUMBER: the broker has this batch, and later ones.
const DUPLICATE: i16 = 46;

/// How often in a row the oldest batch of a producer may be out of order. Once happens: a broker that looks for
/// something first may look at two batches at a time. Always means that the broker has lost what was before it.
const GAPS_MAX: u32 = 20;

impl Worker {
    /// Reads and handles the answers that have arrived.
    pub(super) fn receive(&mut self, at: usize) -> io::Result<()> {
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
        let plan = Arc::clone(&self.task.plan);
        let version = self.task.topology.produce_version;
        while let Some((request, answer)) = self.links[at].connection.next_answer(version)? {
            let partition = |batch: &Batch| self.lanes[batch.stream].stream.seat.partition;
            let unsaid = request.batches.iter().map(partition).find(|index| answer.of(*index).is_none());
            if let Some(index) = unsaid {
                self.links[at].connection.unanswered(request);
                return Err(io::Error::other(format!("no answer for partition {index}")));
            }
            self.answered(&request, now);
            for batch in &request.batches {
                let records = &batch.records;
                let seat = self.lanes[batch.stream].stream.seat;
                let Some(answer) = answer.of(seat.partition) else { continue };
                let code = answer.error_code;
                let lane = &mut self.lanes[batch.stream];
                let idempotent = lane.author.is_some();
                let settled = if code == 0 || code == DUPLICATE && idempotent {
                    lane.gaps = 0;
                    self.appended(batch.stream);
                    self.acknowledged(batch, request.sent_at, now);
                    // Of a duplicate the broker may no longer know the offset.
                    if let Some(acks) = self.acks.as_mut().filter(|_| answer.base_offset >= 0) {
                        acks.push(&Ack {
                            partition: seat.partition.unsigned_abs(),
                            records: records.count,
                            base_offset: answer.base_offset,
                            run: plan.run,
                            stream: seat.stream,
                            first_sequence: records.first,
                        });
                    }
                    self.lanes[batch.stream].stream.accepted(&plan, records)
                } else {
                    self.meter.note(format!("partition {}: Kafka error {code}", seat.partition));
                    let out_of_order = code == OUT_OF_ORDER && idempotent;
                    if out_of_order && lane.stream.is_oldest(records) {
                        lane.gaps += 1;
                        if lane.gaps > GAPS_MAX {
                            self.fatal.get_or_insert_with(|| gap_of(seat.partition));
                        }
                    }
                    let busy = code == CONCURRENT_TRANSACTIONS && lane.transactions.is_some();
                    let perhaps = PERHAPS_APPENDED.contains(&code);
                    if NOTHING_APPENDED.contains(&code) || out_of_order || busy || perhaps && idempotent {
                        lane.stream.refused(&plan, records, request.sent_at)
                    } else if perhaps {
                        self.meter.counts.unknown += u64::from(records.count);
                        lane.stream.given_up(&plan, records)
                    } else {
                        self.meter.counts.failed += u64::from(records.count);
                        if idempotent {
                            self.fatal.get_or_insert_with(|| sequence_lost(seat.partition));
                        }
                        lane.stream.given_up(&plan, records)
                    }
                };
                self.settle(batch.stream, settled, now);
            }
        }
        Ok(())
    }

    /// A request has its answer, whatever that is.
    pub(super) fn answered(&mut self, request: &InFlight, now: Nanos) {
        self.meter.counts.requests += 1;
        self.meter.counts.service.record(now - request.sent_at, 1);
        self.outcome.last_answer = now;
    }

    /// A batch is in its transaction, if its producer has any.
    fn appended(&mut self, lane: usize) {
        if let Some(at) = self.lanes[lane].transactions {
            self.producers[at].state.appended();
        }
    }

    pub(super) fn acknowledged(&mut self, batch: &Batch, sent_at: Nanos, now: Nanos) {
        let counts = &mut self.meter.counts;
        let records = u64::from(batch.records.count);
        counts.records += records;
        counts.bytes += batch.value_bytes;
        counts.batch_bytes += batch.batch_bytes;
        counts.raw_bytes += batch.raw_bytes;
        let mut last = self.outcome.last_intended;
        self.lanes[batch.stream].stream.for_each_time(&batch.records, sent_at, |at, times| {
            counts.latency.record(now.saturating_sub(at), times);
            last = last.max(at);
        });
        self.outcome.last_intended = last;
        self.outcome.acknowledged += records;
        self.delivered_at = now;
    }

    pub(super) fn settle(&mut self, index: usize, settled: Settled, now: Nanos) {
        match settled {
            Settled::Continue => {}
            Settled::GaveUp(records) => {
                self.meter.counts.failed += records;
            }
            Settled::SendAgain => {
                let lane = &mut self.lanes[index];
                if lane.queued == Queued::Connection {
                    self.links[lane.link].ready.retain(|waiting| *waiting != index);
                }
                lane.queued = Queued::Rests;
                lane.due_at = now + RETRY_PAUSE;
                self.due.push(Reverse((now + RETRY_PAUSE, Wake::Lane(index))));
                self.refresh_at.get_or_insert(now + RETRY_PAUSE / 2);
            }
        }
        self.queue(index, now);
    }

    /// A connection is gone; what was in flight on it is sent again by an idempotent producer, else of unknown
    /// outcome.
    pub(super) fn lost(&mut self, at: usize, error: &io::Error) -> io::Result<()> {
        let now = self.task.plan.clock.now();
        let link = &mut self.links[at];
        link.socket = None;
        let plan = Arc::clone(&self.task.plan);
        for request in link.connection.reset() {
            for batch in &request.batches {
                let lane = &mut self.lanes[batch.stream];
                let settled = if lane.author.is_some() && plan.reconnect {
                    lane.stream.lost(&plan, &batch.records, request.sent_at)
                } else {
                    self.meter.counts.unknown += u64::from(batch.records.count);
                    lane.stream.given_up(&plan, &batch.records)
                };
                self.settle(batch.stream, settled, now);
            }
        }
        let address = &self.links[at].address;
        if !self.task.plan.reconnect {
            return Err(io::Error::new(error.kind(), format!("connection to {address} lost: {error}")));
        }
        self.meter.note(format!("connection to {address} lost: {error}; trying again"));
        self.refresh_at.get_or_insert(now + RETRY_PAUSE);
        Ok(())
    }
}

/// The oldest batch of an idempotent producer is out of order again and again.
fn gap_of(partition: i32) -> io::Error {
    io::Error::other(format!(
        "partition {partition}: the broker does not know the sequence that it has acknowledged (Kafka error {OUT_OF_ORDER})"
    ))
}

/// An idempotent producer whose records are given up has no next sequence that the broker would take.
fn sequence_lost(partition: i32) -> io::Error {
    io::Error::other(format!(
        "the idempotent producer of partition {partition} lost records, and its sequence"
    ))
}
