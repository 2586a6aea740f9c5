//! Who sends what where: the settings of a run, shared by its workers, and the deal of partitions to streams.
//!
//! A *stream* is an ordered sequence of records to one partition over one connection; only within a stream is
//! order promised, so it is what verification follows. Every partition has at least one stream and every
//! connection has at least one: with fewer connections than partitions a connection carries several streams,
//! with more connections a partition has several streams.

use std::collections::VecDeque;

use crate::batch::{self, Sequenced, Values};
use crate::clock::{Clock, Nanos};
use crate::compression::Compression;
use crate::keys::{self, KEY_BYTES, Keys};
use crate::payload::Lines;
use crate::produce::stream::{Dealt, Named};
use crate::schedule::Schedule;
use crate::sizes::Sizes;
use crate::value::{self, Identity};

/// Where values come from.
#[derive(Debug)]
pub enum Source {
    /// Made up.
    Synthetic {
        /// How large they are.
        sizes: Sizes,
        /// Percent of a body that does not compress.
        entropy: u8,
    },
    /// Lines of files, by partition.
    Lines(Vec<Option<Lines>>),
}

/// How records become batches.
#[derive(Debug)]
pub enum Making {
    /// Whole batches at a time, each stream by its own schedule: the cheapest way to make load.
    Batches,
    /// One by one, as an application does: a producer for each connection makes a record, finds its key and
    /// partition, and adds it to the batch that this partition gathers.
    Records(Keys),
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
    /// Batches from records.
    pub making: Making,
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
    pub compression: Compression,
    /// Unanswered requests per connection.
    pub in_flight_max: usize,
    /// When the run ends: no record is due at or after it, and a closed loop stops.
    pub stop_at: Option<Nanos>,
    /// Whether a lost connection is opened again.
    pub reconnect: bool,
    /// Longest time in which nothing is acknowledged of what is to be, before a thread gives up.
    pub delivery_max: Nanos,
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

/// Deals `connections` producers, each with a stream to every partition.
pub fn seats_of_producers(leaders: &[String], connections: u32) -> Vec<Seat> {
    let partitions = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
    let of_slot = |slot| (0..partitions).map(move |partition| (slot, partition));
    let all = (0..connections).flat_map(of_slot);
    (0..).zip(all).map(|(stream, (slot, partition))| Seat { stream, partition, slot }).collect()
}

impl Plan {
    /// Bytes of the value of record `sequence` of a stream.
    pub fn value_bytes(&self, seat: Seat, sequence: u64) -> usize {
        match &self.source {
            Source::Synthetic { sizes, .. } => sizes.of(seat.stream, sequence),
            Source::Lines(_) => self.line(seat.partition, sequence).len(),
        }
    }

    fn line(&self, partition: i32, sequence: u64) -> &[u8] {
        let Source::Lines(lines) = &self.source else { return &[] };
        let lines = usize::try_from(partition).ok().and_then(|p| lines[p].as_ref());
        lines.map_or(&[], |lines| lines.value(sequence))
    }

    /// Bytes of record `sequence` of a stream as number `nth` of a batch.
    pub fn record_bytes(&self, seat: Seat, nth: u32, sequence: u64, key: Option<u64>) -> usize {
        batch::record_bytes(nth, key.is_some(), self.value_bytes(seat, sequence))
    }

    /// Bytes that records may take in a batch.
    pub fn batch_room(&self) -> usize {
        self.batch_bytes.saturating_sub(batch::HEADER_BYTES)
    }

    /// How many records from `first` on fit a batch, at least one and at most `available`.
    pub fn fit(&self, seat: Seat, first: u64, available: u64) -> u32 {
        self.fit_while(seat, first, available, || true)
    }

    /// As [`fit`](Self::fit), but only as long as `take` says so; it is asked for one after the other.
    pub fn fit_while(&self, seat: Seat, first: u64, available: u64, mut take: impl FnMut() -> bool) -> u32 {
        let keyed = matches!(&self.making, Making::Records(keys) if keys.are_some());
        let mut bytes = 0;
        let mut count = 0u32;
        while u64::from(count) < available {
            let value = self.value_bytes(seat, first + u64::from(count));
            bytes += batch::record_bytes(count, keyed, value);
            if (bytes > self.batch_room() && count > 0) || !take() {
                break;
            }
            count += 1;
        }
        count
    }
}

/// When the records of a batch were meant to leave, and their keys.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// All at once: a closed loop.
    All(Nanos),
    /// Each at its own.
    Each(&'a [Nanos]),
    /// As a producer dealt them, from that place on.
    Dealt(&'a VecDeque<Dealt>, usize),
}

impl Times<'_> {
    fn of(&self, index: u32) -> Dealt {
        match self {
            Self::All(now) => Dealt { intended: *now, key: None },
            Self::Each(times) => Dealt { intended: times[index as usize], key: None },
            Self::Dealt(dealt, from) => dealt[from + index as usize],
        }
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
    /// What they say of themselves.
    pub named: Named,
    /// When they were meant to leave.
    pub times: Times<'a>,
}

/// An idempotent producer, as its batches name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Author {
    /// As the broker gave it.
    pub id: i64,
    /// As the broker gave it.
    pub epoch: i16,
    /// The stream's first record of this epoch: sequences count from it.
    pub zero: u64,
    /// Whether its batches belong to transactions.
    pub transactional: bool,
}

impl BatchValues<'_> {
    /// When the first record was meant to leave.
    pub fn intended(&self) -> Nanos {
        self.times.of(0).intended
    }

    /// Bytes of all values.
    pub fn value_bytes(&self) -> u64 {
        (0..self.count).map(|index| self.bytes(index) as u64).sum()
    }

    /// What an idempotent producer says of the batch. Sequences go from 2^31 - 1 on to 0.
    pub fn sequenced(&self, author: Author) -> Sequenced {
        let sequence = self.first.checked_sub(author.zero).expect("an epoch begins before its records");
        Sequenced {
            id: author.id,
            epoch: author.epoch,
            base_sequence: (sequence & 0x7fff_ffff) as i32,
            transactional: author.transactional,
        }
    }
}

impl Values for BatchValues<'_> {
    fn count(&self) -> u32 {
        self.count
    }

    fn key(&self, index: u32) -> Option<[u8; KEY_BYTES]> {
        self.times.of(index).key.map(keys::bytes)
    }

    fn bytes(&self, index: u32) -> usize {
        self.plan.value_bytes(self.seat, self.first + u64::from(index))
    }

    fn write(&self, index: u32, out: &mut Vec<u8>) {
        let sequence = self.first + u64::from(index);
        match &self.plan.source {
            Source::Synthetic { sizes, entropy } => {
                let intended = self.plan.clock.to_unix(self.times.of(index).intended);
                let identity = Identity {
                    run: self.plan.run,
                    stream: self.seat.stream | if self.named.doomed { value::DOOMED } else { 0 },
                    sequence: self.named.sequence + u64::from(index),
                    intended,
                    entropy: *entropy,
                };
                value::write(out, &identity, sizes.of(self.seat.stream, sequence));
            }
            Source::Lines(_) => out.extend_from_slice(self.plan.line(self.seat.partition, sequence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::SizeLaw;

    impl Plan {
        /// A closed loop of single records of that many bytes.
        pub fn for_tests(value_bytes: usize) -> Self {
            Self {
                clock: Clock::start(),
                topic: "t".into(),
                run: 1,
                source: Source::Synthetic { sizes: Sizes::new(SizeLaw::Fixed(value_bytes), 0), entropy: 100 },
                making: Making::Batches,
                start: 0,
                schedule: None,
                batch_bytes: 1,
                linger: 0,
                acks: 1,
                compression: Compression::NONE,
                in_flight_max: 5,
                stop_at: None,
                reconnect: false,
                delivery_max: Nanos::MAX,
            }
        }
    }

    #[test]
    fn every_producer_has_a_stream_to_every_partition() {
        let leaders = ["a", "b"].map(str::to_owned);
        let seats = seats_of_producers(&leaders, 3);
        let places: Vec<_> = seats.iter().map(|s| (s.stream, s.slot, s.partition)).collect();
        assert_eq!(places, [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1), (4, 2, 0), (5, 2, 1)]);
    }

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
