//! One producer that makes records one by one, as a state machine without sockets or clock: when the next one is
//! due, which key it has, which partition that means.
//!
//! With a key the partition is the key's, as Kafka's clients choose it. Without, a producer stays with a
//! partition until it has made a batch's worth of bytes, then goes to the next: what Kafka's clients call sticky.

use crate::clock::Nanos;
use crate::keys::{self, Keys};
use crate::produce::stream::Dealt;
use crate::schedule::{Arrivals, mix};

/// The state of a producer.
#[derive(Debug)]
pub struct Producer {
    arrivals: Option<Arrivals>,
    end: Nanos,
    left: u64,
    made: u64,
    seed: u64,
    partitions: u32,
    /// The partition of records without a key, and the bytes made for it.
    sticky: (u32, usize),
    batch_bytes: usize,
}

impl Producer {
    /// To make `quota` records for `partitions` partitions: by a schedule that ends at `end`, or as many as are
    /// wanted. `seed` decides what is random, `first` where records without a key begin.
    pub fn new(
        arrivals: Option<Arrivals>,
        end: Nanos,
        quota: u64,
        partitions: u32,
        batch_bytes: usize,
        seed: u64,
    ) -> Self {
        assert!(partitions > 0, "a topic has a partition");
        let first = u32::try_from(mix(seed) % u64::from(partitions)).unwrap_or(0);
        Self { arrivals, end, left: quota, made: 0, seed, partitions, sticky: (first, 0), batch_bytes }
    }

    /// When the next record is due: `None` if there is none. In a closed loop that is always.
    pub fn due_at(&self) -> Option<Nanos> {
        let at = self.arrivals.map_or(0, |arrivals| arrivals.at());
        (self.left > 0 && at < self.end).then_some(at)
    }

    /// Makes the next record if it is due by `now`: its partition, its time and its key.
    pub fn make(&mut self, keys: &Keys, now: Nanos) -> Option<(u32, Dealt)> {
        let at = self.due_at().filter(|at| *at <= now)?;
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.advance();
        }
        let key = keys.pick(self.made, mix(self.seed ^ mix(self.made)));
        self.made += 1;
        self.left -= 1;
        let partition = match key {
            Some(key) => keys::partition(&keys::bytes(key), self.partitions),
            None => self.sticky.0,
        };
        let intended = if self.arrivals.is_some() { at } else { now };
        Some((partition, Dealt { intended, key }))
    }

    /// A record that was made takes that many bytes.
    pub fn took(&mut self, bytes: usize) {
        self.sticky.1 += bytes;
        if self.sticky.1 >= self.batch_bytes {
            self.sticky = ((self.sticky.0 + 1) % self.partitions, 0);
        }
    }

    /// Makes nothing more. Returns how many records were due by `now` and have not been made.
    pub fn stop(&mut self, now: Nanos) -> u64 {
        let left = std::mem::take(&mut self.left);
        let end = self.end.min(now);
        let due = |arrivals: Arrivals| arrivals.take_while(|at| *at < end).zip(0..left).count();
        self.arrivals.map_or(0, |arrivals| due(arrivals) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::keys::KeyLaw;
    use crate::schedule::{Schedule, Shape};

    fn arrivals() -> Arrivals {
        Schedule::new(0, 1000, 1, Shape::Constant, 0).arrivals(0)
    }

    #[test]
    fn records_are_made_when_they_are_due_and_until_the_end() {
        let keys = Keys::new(KeyLaw::RoundRobin(5));
        let mut producer = Producer::new(Some(arrivals()), 4_000_000, u64::MAX, 3, 1, 0);
        let mut made = |now| {
            std::iter::from_fn(|| producer.make(&keys, now))
                .map(|(_, dealt)| (dealt.intended, dealt.key.unwrap_or(99)))
                .collect::<Vec<_>>()
        };
        assert_eq!(made(1_500_000), [(0, 0), (1_000_000, 1)]);
        assert_eq!(made(SECOND), [(2_000_000, 2), (3_000_000, 3)], "late ones keep their times");
        assert_eq!(producer.due_at(), None);
    }

    #[test]
    fn a_key_has_one_partition_and_all_partitions_have_keys() {
        let keys = Keys::new(KeyLaw::Uniform(50));
        let mut producer = Producer::new(None, Nanos::MAX, 1000, 4, 1, 9);
        let mut partition_of = std::collections::BTreeMap::new();
        while let Some((partition, dealt)) = producer.make(&keys, 5) {
            assert_eq!(*partition_of.entry(dealt.key).or_insert(partition), partition);
            assert_eq!(dealt.intended, 5, "a closed loop's record is meant to leave now");
        }
        let mut used: Vec<_> = partition_of.values().copied().collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used, [0, 1, 2, 3]);
    }

    #[test]
    fn without_keys_a_partition_gets_a_batch_at_a_time() {
        let keys = Keys::new(KeyLaw::None);
        let mut producer = Producer::new(None, Nanos::MAX, 7, 2, 300, 0);
        let mut partitions = Vec::new();
        while let Some((partition, _)) = producer.make(&keys, 0) {
            producer.took(100);
            partitions.push(partition);
        }
        let first = partitions[0];
        assert_eq!(partitions, [first, first, first, 1 - first, 1 - first, 1 - first, first]);
    }

    #[test]
    fn stopped_it_knows_what_was_due_and_not_made() {
        let mut producer = Producer::new(Some(arrivals()), 5_000_000, u64::MAX, 1, 1, 0);
        producer.make(&Keys::new(KeyLaw::None), 0);
        assert_eq!(producer.stop(3_500_000), 3, "those of 1, 2 and 3 ms");
        assert_eq!(producer.make(&Keys::new(KeyLaw::None), SECOND), None);
    }
}
