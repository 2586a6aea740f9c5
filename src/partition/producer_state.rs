//! Last sequences per producer id: what makes a resent batch harmless.
//!
//! A plain state machine. [`ProducerStates::judge`] says what to do with a batch, [`ProducerStates::appended`]
//! records that it was stored; recovery calls the latter for every batch it replays.
//!
//! Source: KIP-98; Kafka, `ProducerAppendInfo`, `ProducerStateManager` (the last 5 batches are kept).

use std::collections::{HashMap, VecDeque};

use crate::model::{Offset, ProducerEpoch, ProducerId, Sequence};

/// Batches remembered per producer; clients keep at most this many in flight.
pub const BATCHES_REMEMBERED: usize = 5;
/// Producer ids remembered per partition; the one that has been silent longest is forgotten first.
pub const PRODUCERS_MAX: usize = 5_000;
/// What an idempotent batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who sent it.
    pub id: ProducerId,
    /// Which incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub first: Sequence,
    /// Offset of the last record less that of the first.
    pub last_offset_delta: i32,
}

impl ProducerBatch {
    fn last(&self) -> Sequence {
        self.first.wrapping_add(self.last_offset_delta)
    }
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Append,
    /// It is stored already, at these offsets (first and last, both inclusive).
    Duplicate {
        /// Offset of its first record.
        base_offset: Offset,
        /// Offset of its last record.
        last_offset: Offset,
    },
    /// A batch before it is missing.
    OutOfOrder {
        /// The sequence that was due.
        expected: Sequence,
    },
    /// A newer incarnation of the producer has written.
    Fenced {
        /// Its epoch.
        current: ProducerEpoch,
    },
}

/// A producer that has written to a partition lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// When that was appended, ms since 1970.
    pub last_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    first: Sequence,
    last: Sequence,
    last_offset: Offset,
    last_offset_delta: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    last_ms: i64,
    batches: VecDeque<Remembered>,
}

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, Producer>,
    expiration_ms: i64,
}

/// The stored form is damaged; the caller rebuilds it from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("producer state cannot be read back")]
pub struct SnapshotError;

impl ProducerStates {
    /// Of a partition nobody has written to. A producer that has been silent for `expiration_ms` is as one
    /// that is not known (`producer.id.expiration.ms`).
    #[must_use]
    pub fn new(expiration_ms: i64) -> Self {
        Self { producers: HashMap::new(), expiration_ms }
    }

    fn is_active(&self, producer: &Producer, now_ms: i64) -> bool {
        now_ms.saturating_sub(producer.last_ms) < self.expiration_ms
    }

    /// What to do with a batch, before it is stored. Changes nothing.
    #[must_use]
    pub fn judge(&self, batch: &ProducerBatch, now_ms: i64) -> Verdict {
        // An unknown producer may begin anywhere: its state may have expired, or its records be deleted.
        let known = self.producers.get(&batch.id).filter(|known| self.is_active(known, now_ms));
        let Some(producer) = known else { return Verdict::Append };
        if batch.epoch < producer.epoch {
            return Verdict::Fenced { current: producer.epoch };
        }
        if batch.epoch > producer.epoch {
            let expected = Sequence::new(0);
            return if batch.first == expected { Verdict::Append } else { Verdict::OutOfOrder { expected } };
        }
        let same = |known: &&Remembered| known.first == batch.first && known.last == batch.last();
        if let Some(known) = producer.batches.iter().find(same) {
            let base = known.last_offset.get() - i64::from(known.last_offset_delta);
            return Verdict::Duplicate { base_offset: Offset::new(base), last_offset: known.last_offset };
        }
        match producer.batches.back().map(|last| last.last.wrapping_add(1)) {
            Some(expected) if expected != batch.first => Verdict::OutOfOrder { expected },
            _ => Verdict::Append,
        }
    }

    /// Records that a batch was stored with its last record at `last_offset`.
    pub fn appended(&mut self, batch: &ProducerBatch, last_offset: Offset, now_ms: i64) {
        if !self.producers.contains_key(&batch.id) && self.producers.len() >= PRODUCERS_MAX {
            self.forget_one(now_ms);
        }
        let producer = self.producers.entry(batch.id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            last_ms: now_ms,
            batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
        });
        let follows = producer.batches.back().is_some_and(|last| last.last.wrapping_add(1) == batch.first);
        // One that had expired may have begun anew.
        if producer.epoch != batch.epoch || !follows {
            producer.epoch = batch.epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.last_ms = now_ms;
        producer.batches.push_back(Remembered {
            first: batch.first,
            last: batch.last(),
            last_offset,
            last_offset_delta: batch.last_offset_delta,
        });
    }

    /// Those that have not expired, by id.
    #[must_use]
    pub fn active(&self, now_ms: i64) -> Vec<ActiveProducer> {
        let known = self.producers.iter().filter(|(_, one)| self.is_active(one, now_ms));
        let active = known.filter_map(|(&id, producer)| {
            let last_sequence = producer.batches.back()?.last;
            Some(ActiveProducer { id, epoch: producer.epoch, last_sequence, last_ms: producer.last_ms })
        });
        let mut active: Vec<_> = active.collect();
        active.sort_by_key(|producer| producer.id);
        active
    }

    /// The last offset of each producer's last batch.
    pub fn last_offsets(&self) -> impl Iterator<Item = (ProducerId, Offset)> {
        let last =
            |(&id, producer): (&ProducerId, &Producer)| Some((id, producer.batches.back()?.last_offset));
        self.producers.iter().filter_map(last)
    }

    fn forget_one(&mut self, now_ms: i64) {
        let (known, expiration_ms) = (self.producers.len(), self.expiration_ms);
        self.producers.retain(|_, producer| now_ms.saturating_sub(producer.last_ms) < expiration_ms);
        if self.producers.len() == known
            && let Some(id) = self.producers.iter().min_by_key(|(_, p)| p.last_ms).map(|(&id, _)| id)
        {
            self.producers.remove(&id);
        }
    }

    /// The stored form: little-endian, producers ascending by id.
    ///
    /// Per producer: id i64, epoch i16, last_ms i64, count u8, then per batch first i32, last offset
    /// i64, last offset delta i32.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut ids: Vec<_> = self.producers.keys().copied().collect();
        ids.sort_unstable();
        let mut out = Vec::with_capacity(ids.len() * 64);
        for id in ids {
            let producer = &self.producers[&id];
            out.extend(id.get().to_le_bytes());
            out.extend(producer.epoch.get().to_le_bytes());
            out.extend(producer.last_ms.to_le_bytes());
            out.push(producer.batches.len() as u8);
            for batch in &producer.batches {
                out.extend(batch.first.get().to_le_bytes());
                out.extend(batch.last_offset.get().to_le_bytes());
                out.extend(batch.last_offset_delta.to_le_bytes());
            }
        }
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`SnapshotError`] if it ends early or counts what cannot be.
    pub fn from_bytes(mut bytes: &[u8], expiration_ms: i64) -> Result<Self, SnapshotError> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], SnapshotError> {
            let (head, rest) = bytes.split_first_chunk::<N>().ok_or(SnapshotError)?;
            *bytes = rest;
            Ok(*head)
        }
        let mut producers = HashMap::new();
        while !bytes.is_empty() {
            let id = ProducerId::new(i64::from_le_bytes(take(&mut bytes)?));
            let epoch = ProducerEpoch::new(i16::from_le_bytes(take(&mut bytes)?));
            let last_ms = i64::from_le_bytes(take(&mut bytes)?);
            let [count] = take(&mut bytes)?;
            if usize::from(count) > BATCHES_REMEMBERED || producers.len() == PRODUCERS_MAX {
                return Err(SnapshotError);
            }
            let mut batches = VecDeque::with_capacity(BATCHES_REMEMBERED);
            for _ in 0..count {
                let first = Sequence::new(i32::from_le_bytes(take(&mut bytes)?));
                let last_offset = Offset::new(i64::from_le_bytes(take(&mut bytes)?));
                let last_offset_delta = i32::from_le_bytes(take(&mut bytes)?);
                let last = first.wrapping_add(last_offset_delta);
                batches.push_back(Remembered { first, last, last_offset, last_offset_delta });
            }
            producers.insert(id, Producer { epoch, last_ms, batches });
        }
        Ok(Self { producers, expiration_ms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    fn batch(epoch: i16, first: i32, records: i32) -> ProducerBatch {
        ProducerBatch {
            id: ProducerId::new(7),
            epoch: ProducerEpoch::new(epoch),
            first: Sequence::new(first),
            last_offset_delta: records - 1,
        }
    }

    fn after(batches: &[(ProducerBatch, i64)]) -> ProducerStates {
        let mut states = ProducerStates::new(DAY_MS);
        for (batch, last_offset) in batches {
            states.appended(batch, Offset::new(*last_offset), 0);
        }
        states
    }

    #[test]
    fn a_resent_batch_is_answered_with_its_first_offset() {
        let states = after(&[(batch(0, 0, 3), 12), (batch(0, 3, 2), 20)]);
        let duplicate = Verdict::Duplicate { base_offset: Offset::new(10), last_offset: Offset::new(12) };
        assert_eq!(states.judge(&batch(0, 0, 3), 0), duplicate);
        assert_eq!(states.judge(&batch(0, 5, 1), 0), Verdict::Append);
    }

    #[test]
    fn a_gap_is_out_of_order() {
        let states = after(&[(batch(0, 0, 3), 2)]);
        assert_eq!(states.judge(&batch(0, 4, 1), 0), Verdict::OutOfOrder { expected: Sequence::new(3) });
        assert_eq!(states.judge(&batch(0, 0, 2), 0), Verdict::OutOfOrder { expected: Sequence::new(3) });
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_fences_the_old() {
        let states = after(&[(batch(0, 0, 3), 2)]);
        assert_eq!(states.judge(&batch(1, 3, 1), 0), Verdict::OutOfOrder { expected: Sequence::new(0) });
        assert_eq!(states.judge(&batch(1, 0, 1), 0), Verdict::Append);
        let states = after(&[(batch(0, 0, 3), 2), (batch(1, 0, 1), 3)]);
        assert_eq!(states.judge(&batch(0, 3, 1), 0), Verdict::Fenced { current: ProducerEpoch::new(1) });
    }

    #[test]
    fn sequences_wrap_after_the_largest() {
        let states = after(&[(batch(0, i32::MAX - 1, 2), 1)]);
        assert_eq!(states.judge(&batch(0, 0, 1), 0), Verdict::Append);
        let states = after(&[(batch(0, i32::MAX, 2), 1)]);
        assert_eq!(states.judge(&batch(0, 1, 1), 0), Verdict::Append);
    }

    #[test]
    fn the_sixth_batch_back_is_not_remembered() {
        let batches: Vec<_> = (0..6).map(|i| (batch(0, i, 1), i64::from(i))).collect();
        let states = after(&batches);
        assert!(matches!(states.judge(&batch(0, 0, 1), 0), Verdict::OutOfOrder { .. }));
        assert!(matches!(states.judge(&batch(0, 1, 1), 0), Verdict::Duplicate { .. }));
    }

    #[test]
    fn a_producer_that_was_silent_too_long_may_begin_anywhere() {
        let mut states = after(&[(batch(3, 5, 1), 0)]);
        let anew = batch(0, 40, 2);
        assert!(matches!(states.judge(&anew, DAY_MS - 1), Verdict::Fenced { .. }));
        assert_eq!(states.judge(&anew, DAY_MS), Verdict::Append);
        states.appended(&anew, Offset::new(2), DAY_MS);
        let duplicate = Verdict::Duplicate { base_offset: Offset::new(1), last_offset: Offset::new(2) };
        assert_eq!(states.judge(&anew, DAY_MS), duplicate);
        assert_eq!(states.judge(&batch(0, 42, 1), DAY_MS), Verdict::Append);
        // What it sent before is not of this life of it.
        assert!(matches!(states.judge(&batch(0, 5, 1), DAY_MS), Verdict::OutOfOrder { .. }));
    }

    #[test]
    fn producers_are_bounded_and_the_silent_one_goes_first() {
        let mut states = ProducerStates::new(DAY_MS);
        for id in 0..=PRODUCERS_MAX as i64 {
            let batch = ProducerBatch { id: ProducerId::new(id), ..batch(0, 0, 1) };
            states.appended(&batch, Offset::new(id), id);
        }
        assert_eq!(states.producers.len(), PRODUCERS_MAX);
        assert!(!states.producers.contains_key(&ProducerId::new(0)));
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back_and_its_prefixes_never_panic(
            appends in proptest::collection::vec((0_i64..4, 0_i16..3, 1_i32..9), 0..40),
            cut in 0_usize..200,
        ) {
            let mut states = ProducerStates::new(DAY_MS);
            let mut end = 0;
            for (id, epoch, records) in appends {
                end += i64::from(records);
                let batch = ProducerBatch { id: ProducerId::new(id), ..batch(epoch, 0, records) };
                states.appended(&batch, Offset::new(end - 1), end);
            }
            let bytes = states.to_bytes();
            prop_assert_eq!(ProducerStates::from_bytes(&bytes, DAY_MS), Ok(states));
            let _ = ProducerStates::from_bytes(&bytes[..cut.min(bytes.len())], DAY_MS);
        }

        #[test]
        fn resending_any_of_the_last_batches_never_appends_twice(
            sizes in proptest::collection::vec(1_i32..6, 1..30),
            start in prop_oneof![Just(0), Just(i32::MAX - 20)],
        ) {
            let mut states = ProducerStates::new(DAY_MS);
            let (mut next, mut sent) = (Sequence::new(start), Vec::new());
            for records in sizes {
                let batch = batch(0, next.get(), records);
                prop_assert_eq!(states.judge(&batch, 0), Verdict::Append);
                let base = sent.last().map_or(0, |(_, last): &(ProducerBatch, i64)| last + 1);
                let last = base + i64::from(records) - 1;
                states.appended(&batch, Offset::new(last), 0);
                sent.push((batch, last));
                next = next.wrapping_add(records);
                for (earlier, last) in sent.iter().rev().take(BATCHES_REMEMBERED) {
                    let base_offset = Offset::new(last - i64::from(earlier.last_offset_delta));
                    let duplicate = Verdict::Duplicate { base_offset, last_offset: Offset::new(*last) };
                    prop_assert_eq!(states.judge(earlier, 0), duplicate);
                }
            }
        }
    }
}
