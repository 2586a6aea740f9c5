//! One producing connection: requests out, answers in, in order. No socket and no clock in it.

use std::collections::VecDeque;
use std::io;

use crate::batch::{self, Stamp};
use crate::client::frame::FrameReader;
use crate::client::request::{self, ProduceAnswer, ProduceTemplate};
use crate::clock::{Nanos, unix_ms};
use crate::compression::Codec;
use crate::produce::plan::{Author, Plan};
use crate::produce::stream::{Stream, Taken};

/// Bytes waiting to be written beyond which no further request is built: enough for one write to be worth its
/// call, little enough to stay in cache.
pub const OUT_BYTES_MAX: usize = 64 << 10;

/// A batch of a request.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// Index of the stream in the worker.
    pub stream: usize,
    /// Its records.
    pub records: Taken,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Bytes of the batch, as sent.
    pub batch_bytes: u64,
    /// Bytes of the batch, had it not been compressed.
    pub raw_bytes: u64,
}

/// A request without its answer.
#[derive(Debug)]
pub struct InFlight {
    /// Its batches, each of a partition of its own.
    pub batches: Vec<Batch>,
    /// When it was built.
    pub sent_at: Nanos,
    correlation: i32,
}

/// What goes into a request: a stream by its index in the worker, records taken from it, and who they are of, if an
/// idempotent producer.
pub type Part<'a> = (usize, &'a Stream, Taken, Option<Author>);

/// The state of a connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// Bytes to write, and how many of them have been.
    out: Vec<u8>,
    written: usize,
    /// Incoming bytes.
    pub frames: FrameReader,
    in_flight: VecDeque<InFlight>,
    next_correlation: i32,
    packed: Vec<u8>,
    times: Vec<Nanos>,
    scratch: Vec<u8>,
}

impl Connection {
    /// Whether another request may be built.
    pub fn has_room(&self, plan: &Plan) -> bool {
        let unanswered = plan.acks == 0 || self.in_flight.len() < plan.in_flight_max;
        unanswered && self.out.len() - self.written < OUT_BYTES_MAX
    }

    /// Builds a request at `now`.
    ///
    /// # Errors
    /// What the codec says.
    pub fn push<'a>(
        &mut self,
        plan: &Plan,
        template: &ProduceTemplate,
        parts: impl ExactSizeIterator<Item = Part<'a>>,
        now: Nanos,
    ) -> io::Result<()> {
        let correlation = self.next_correlation;
        self.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        let mut batches = Vec::with_capacity(parts.len());
        let start = template.begin(&mut self.out, correlation, parts.len());
        for part in parts {
            batches.push(self.push_batch(plan, template, part, now)?);
        }
        template.end(&mut self.out, start);
        self.in_flight.push_back(InFlight { batches, sent_at: now, correlation });
        Ok(())
    }

    fn push_batch(
        &mut self,
        plan: &Plan,
        template: &ProduceTemplate,
        (index, stream, taken, producer): Part<'_>,
        now: Nanos,
    ) -> io::Result<Batch> {
        let values = stream.values(plan, &taken, now, &mut self.times);
        let stamp = Stamp {
            timestamp_ms: unix_ms(plan.clock.to_unix(values.intended())),
            producer: producer.map(|author| values.sequenced(author)),
        };
        let partition = stream.seat.partition;
        let (batch_bytes, raw_bytes) = if plan.compression.codec == Codec::None {
            let bytes = batch::batch_bytes(&values);
            template.partition(&mut self.out, partition, bytes, |out| batch::append(out, &values, stamp));
            (bytes, bytes)
        } else {
            self.packed.clear();
            let (packed, scratch) = (&mut self.packed, &mut self.scratch);
            let raw = batch::append_compressed(packed, scratch, &values, stamp, plan.compression)?;
            template.partition(&mut self.out, partition, packed.len(), |out| out.extend_from_slice(packed));
            (packed.len(), raw)
        };
        Ok(Batch {
            stream: index,
            records: taken,
            value_bytes: values.value_bytes(),
            batch_bytes: batch_bytes as u64,
            raw_bytes: raw_bytes as u64,
        })
    }

    /// Bytes to write next; empty when all are written.
    pub fn unwritten(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// `count` bytes have been written.
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        assert!(self.written <= self.out.len());
        // A socket that never quite empties must not keep what it has sent.
        if self.written == self.out.len() || self.written > 2 * OUT_BYTES_MAX {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// The next answer that has arrived, with the request it answers.
    ///
    /// # Errors
    /// Bytes that are no answer, or an answer out of turn: Kafka answers in request order.
    pub fn next_answer(&mut self, version: i16) -> io::Result<Option<(InFlight, ProduceAnswer)>> {
        let Some(frame) = self.frames.next_frame()? else { return Ok(None) };
        let answer = request::produce_answer(frame.clone(), version).map_err(io::Error::other)?;
        self.frames.recycle(frame);
        let oldest = self.in_flight.front().map(|request| request.correlation);
        if oldest != Some(answer.correlation) {
            // That one stays without an answer: it is lost with the connection.
            let correlation = answer.correlation;
            let text = format!("answer {correlation} out of turn, the oldest request is {oldest:?}");
            return Err(io::Error::other(text));
        }
        Ok(self.in_flight.pop_front().map(|request| (request, answer)))
    }

    /// The answer to a request says nothing: it is without one again.
    pub fn unanswered(&mut self, request: InFlight) {
        self.in_flight.push_front(request);
    }

    /// The next request of acks=0 that has left: once all bytes are written.
    pub fn next_written(&mut self) -> Option<InFlight> {
        if self.out.is_empty() { self.in_flight.pop_front() } else { None }
    }

    /// The connection is gone: forgets its bytes and returns the requests whose outcome nobody knows.
    pub fn reset(&mut self) -> VecDeque<InFlight> {
        self.out.clear();
        self.written = 0;
        self.frames.clear();
        std::mem::take(&mut self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::plan::Seat;
    use crate::produce::stream::Supply;

    fn plan(acks: i16) -> Plan {
        Plan { acks, in_flight_max: 2, ..Plan::for_tests(1000) }
    }

    fn stream() -> Stream {
        Stream::new(Seat { stream: 0, partition: 0, slot: 0 }, u64::MAX, Supply::Endless)
    }

    fn push(connection: &mut Connection, plan: &Plan, stream: &mut Stream) {
        let template = ProduceTemplate::new(9, "t", plan.acks).expect("encodes");
        let taken = stream.take(plan, 0).expect("there is always another");
        let part: Part<'_> = (0, stream, taken, None);
        connection.push(plan, &template, std::iter::once(part), 0).expect("builds");
    }

    #[test]
    fn no_more_than_the_allowed_requests_are_in_flight() {
        let (plan, mut connection, mut stream) = (plan(1), Connection::default(), stream());
        push(&mut connection, &plan, &mut stream);
        assert!(connection.has_room(&plan));
        push(&mut connection, &plan, &mut stream);
        assert!(!connection.has_room(&plan));
        let lost: Vec<_> =
            connection.reset().iter().map(|request| request.batches[0].records.first).collect();
        assert_eq!(lost, [0, 1], "their outcome is unknown");
        assert!(connection.has_room(&plan) && connection.unwritten().is_empty());
    }

    #[test]
    fn without_acknowledgement_a_request_is_done_when_its_bytes_have_left() {
        let (plan, mut connection, mut stream) = (plan(0), Connection::default(), stream());
        (0..3).for_each(|_| push(&mut connection, &plan, &mut stream));
        let bytes = connection.unwritten().len();
        connection.wrote(bytes - 1);
        assert!(connection.next_written().is_none());
        connection.wrote(1);
        let done: Vec<_> =
            std::iter::from_fn(|| connection.next_written()).map(|r| r.batches[0].records.first).collect();
        assert_eq!(done, [0, 1, 2]);
    }
}
