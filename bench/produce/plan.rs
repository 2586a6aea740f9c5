//! Who sends what where: the settings of a run, shared by its workers, and the deal of partitions to streams.
//!
//! A *stream* is an ordered sequence of records to one partition over one connection; only within a stream is
//! order promised, so it is what verification follows. Every partition has at least one stream and every
//! connection has at least one: with fewer connections than partitions a connection carries several streams,
//! with more connections a partition has several streams.

use crate::args::Codec;
use crate::batch::{self, Values};
use crate::clock::{Clock, Nanos};
use crate::payload::Lines;
use crate::schedule::Schedule;
use crate::value::{self, Identity};

/// Where values come from.
#[derive(Debug)]
pub enum Source {
    /// Made up, of this many bytes.
    Synthetic(usize),
    /// Lines of files, by partition.
    Lines(Vec<Option<Lines>>),
}

/// What is the same for every stream of a run.
#[derive(Debug)]
pub struct Plan {
    /// The clock of the run.
    pub clock: Clock,
    /// Topic.
    pub topic: String,
    /// Random number of the run.
    pub run: u64,
    /// Values.
    pub source: Source,
    /// When the first record leaves.
    pub start: Nanos,
    /// Open loop; `None` is closed.
    pub schedule: Option<Schedule>,
    /// Largest batch, unless one record is larger.
    pub batch_bytes: usize,
    /// How long an open-loop batch waits to fill.
    pub linger: Nanos,
    /// 0, 1, or -1 for all.
    pub acks: i16,
    /// Of batches.
    pub codec: Codec,
    /// Unanswered requests per connection.
    pub in_flight_max: usize,
    /// When the closed loop ends, whatever is left.
    pub stop_at: Option<Nanos>,
    /// Whether a lost connection is opened again.
    pub reconnect: bool,
}

/// A stream's place in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Number of the stream in the run.
    pub stream: u32,
    /// Its partition.
    pub partition: i32,
    /// Which of the connections to the partition's leader.
    pub slot: u32,
}

/// Deals `connections` connections over the leaders, and streams over them.
/// `one_per_partition` keeps a partition's records in one order: no second stream.
pub fn seats(leaders: &[String], connections: u32, one_per_partition: bool) -> Vec<Seat> {
    let mut by_leader: Vec<(&str, Vec<i32>)> = Vec::new();
    for (partition, leader) in (0..).zip(leaders) {
        match by_leader.iter_mut().find(|(name, _)| name == leader) {
            Some((_, partitions)) => partitions.push(partition),
            None => by_leader.push((leader, vec![partition])),
        }
    }
    let count = u32::try_from(by_leader.len()).unwrap_or(u32::MAX);
    let mut seats = Vec::new();
    for (nth, (_, partitions)) in (0..).zip(&by_leader) {
        let own = partitions.len() as u32;
        let mut slots = (connections / count + u32::from(nth < connections % count)).max(1);
        if one_per_partition {
            slots = slots.min(own);
        }
        for n in 0..slots.max(own) {
            let partition = partitions[(n % own) as usize];
            seats.push(Seat { stream: seats.len() as u32, partition, slot: n % slots });
        }
    }
    seats
}

impl Plan {
    /// When record `sequence` of `stream` is meant to leave; `now` in a closed loop.
    pub fn intended(&self, stream: u32, sequence: u64, now: Nanos) -> Nanos {
        self.schedule.as_ref().map_or(now, |schedule| schedule.intended(u64::from(stream), sequence))
    }

    /// Bytes of the value of record `sequence` to `partition`.
    pub fn value_bytes(&self, partition: i32, sequence: u64) -> usize {
        match &self.source {
            Source::Synthetic(bytes) => *bytes,
            Source::Lines(_) => self.line(partition, sequence).len(),
        }
    }

    fn line(&self, partition: i32, sequence: u64) -> &[u8] {
        let Source::Lines(lines) = &self.source else { return &[] };
        let lines = usize::try_from(partition).ok().and_then(|p| lines[p].as_ref());
        lines.map_or(&[], |lines| lines.value(sequence))
    }

    /// How many records from `first` on fit a batch, at least one and at most `available`.
    pub fn fit(&self, partition: i32, first: u64, available: u64) -> u32 {
        let mut bytes = batch::HEADER_BYTES;
        let mut count = 0u32;
        while u64::from(count) < available {
            bytes += batch::record_bytes(count, self.value_bytes(partition, first + u64::from(count)));
            if bytes > self.batch_bytes && count > 0 {
                break;
            }
            count += 1;
        }
        count
    }
}

/// The values of one batch.
#[derive(Debug)]
pub struct BatchValues<'a> {
    /// The run.
    pub plan: &'a Plan,
    /// Whose.
    pub seat: Seat,
    /// Sequence of the first record.
    pub first: u64,
    /// Records.
    pub count: u32,
    /// Intended time in a closed loop.
    pub now: Nanos,
}

impl Values for BatchValues<'_> {
    fn count(&self) -> u32 {
        self.count
    }

    fn bytes(&self, index: u32) -> usize {
        self.plan.value_bytes(self.seat.partition, self.first + u64::from(index))
    }

    fn write(&self, index: u32, out: &mut Vec<u8>) {
        let sequence = self.first + u64::from(index);
        match &self.plan.source {
            Source::Synthetic(bytes) => {
                let intended =
                    self.plan.clock.to_unix(self.plan.intended(self.seat.stream, sequence, self.now));
                let identity = Identity { run: self.plan.run, stream: self.seat.stream, sequence, intended };
                value::write(out, &identity, *bytes);
            }
            Source::Lines(_) => out.extend_from_slice(self.plan.line(self.seat.partition, sequence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(leaders: &[&str], connections: u32, one_per_partition: bool) -> Vec<(i32, u32)> {
        let leaders: Vec<_> = leaders.iter().map(|l| (*l).to_owned()).collect();
        seats(&leaders, connections, one_per_partition).iter().map(|s| (s.partition, s.slot)).collect()
    }

    #[test]
    fn every_partition_and_every_connection_has_a_stream() {
        assert_eq!(places(&["a", "a", "a"], 1, false), [(0, 0), (1, 0), (2, 0)], "few connections");
        assert_eq!(places(&["a", "a"], 3, false), [(0, 0), (1, 1), (0, 2)], "many connections");
        assert_eq!(places(&["a", "a"], 3, true), [(0, 0), (1, 1)], "one order per partition");
    }

    #[test]
    fn connections_are_dealt_over_the_leaders() {
        assert_eq!(places(&["a", "b", "a"], 3, false), [(0, 0), (2, 1), (1, 0)]);
        assert_eq!(places(&["a", "b", "c"], 1, false), [(0, 0), (1, 0), (2, 0)], "at least one each");
    }
}
