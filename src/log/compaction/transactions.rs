//! Which batches belong to aborted transactions, and which markers nobody needs any more.
//!
//! Records of an aborted transaction go with the first pass over them; its marker stays until a pass has
//! found no batch of it, and then for `delete.retention.ms` (KIP-534), so that a reader who saw the records
//! also sees that they do not count. The same holds of a committed transaction whose records are gone.
//!
//! Source: Kafka, `CleanedTransactionMetadata`; the control record's key: `ControlRecordType`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    model::{Offset, ProducerId},
    record::{DECOMPRESSED_BYTES_MAX, RecordBatch, Records, RecordsError},
};

/// Aborted transactions known to one pass; what lies beyond as many is left for the next.
pub(super) const ABORTED_MAX: usize = 65_536;

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Abort,
    Commit,
    /// Nothing of transactions.
    Other,
}

fn marker_of(batch: &RecordBatch<'_>) -> Result<Marker, RecordsError> {
    let mut scratch = Vec::new();
    let first = Records::decompressed(batch, &mut scratch, DECOMPRESSED_BYTES_MAX)?.next().transpose()?;
    // The key: version (2), type (2).
    Ok(match first.and_then(|record| record.key?.get(2..4)) {
        Some([0, 0]) => Marker::Abort,
        Some([0, 1]) => Marker::Commit,
        _ => Marker::Other,
    })
}

/// One aborted transaction of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    producer: ProducerId,
    first: Offset,
    /// Offset of its marker.
    marker: Offset,
}

/// Finds the aborted transactions of a range, batch by batch.
#[derive(Default)]
pub(super) struct Scan {
    open: HashMap<ProducerId, Offset>,
    aborted: Vec<Aborted>,
    /// Nothing from here on was looked at.
    full_at: Option<Offset>,
}

impl Scan {
    pub(super) fn read(&mut self, batch: &RecordBatch<'_>) -> Result<(), RecordsError> {
        if self.full_at.is_some() || !(batch.is_transactional() || batch.is_control()) {
            return Ok(());
        }
        let producer = batch.producer_id();
        if !batch.is_control() {
            self.open.entry(producer).or_insert(batch.base_offset());
            return Ok(());
        }
        match marker_of(batch)? {
            Marker::Abort => {
                if let Some(first) = self.open.remove(&producer) {
                    self.aborted.push(Aborted { producer, first, marker: batch.base_offset() });
                }
            }
            Marker::Commit => drop(self.open.remove(&producer)),
            Marker::Other => {}
        }
        if self.aborted.len() == ABORTED_MAX {
            self.full_at = Some(batch.next_offset());
        }
        Ok(())
    }

    /// The aborted transactions, and the end of what is decided: no transaction is open below it.
    pub(super) fn finish(mut self, end: Offset) -> (Arc<[Aborted]>, Offset) {
        let decided = self.open.into_values().chain(self.full_at).fold(end, Offset::min);
        self.aborted.sort_unstable_by_key(|aborted| aborted.first);
        (self.aborted.into(), decided)
    }
}

/// Follows the transactions of a log from batch to batch.
#[derive(Default)]
pub(super) struct Transactions {
    /// Ascending by first offset.
    aborted: Arc<[Aborted]>,
    begun: usize,
    /// Aborted transactions begun and not yet ended: offset of the marker.
    ongoing: HashMap<ProducerId, Offset>,
    /// Producers of which a batch was read since their last marker.
    observed: HashSet<ProducerId>,
}

impl Transactions {
    pub(super) fn new(aborted: Arc<[Aborted]>) -> Self {
        Self { aborted, ..Self::default() }
    }

    /// Whether the next batch can go: it was aborted, or is a marker whose transaction has no batch left.
    pub(super) fn read(&mut self, batch: &RecordBatch<'_>) -> Result<bool, RecordsError> {
        let (producer, base) = (batch.producer_id(), batch.base_offset());
        while let Some(next) = self.aborted.get(self.begun).filter(|next| next.first <= base) {
            self.ongoing.insert(next.producer, next.marker);
            self.begun += 1;
        }
        if !batch.is_control() {
            if !batch.is_transactional() {
                return Ok(false);
            }
            self.observed.insert(producer);
            return Ok(self.ongoing.get(&producer).is_some_and(|&marker| base < marker));
        }
        Ok(match marker_of(batch)? {
            Marker::Abort | Marker::Commit => {
                self.ongoing.remove(&producer);
                !self.observed.remove(&producer)
            }
            Marker::Other => false,
        })
    }
}

#[cfg(test)]
pub(in crate::log) mod tests {
    use super::*;
    use crate::{
        model::{LeaderEpoch, ProducerEpoch, Sequence},
        record::{BatchBuilder, Codec, stamp},
    };

    /// A batch of one record of a producer, in a transaction or not.
    fn data(base: i64, producer: i64, transactional: bool, key: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.set_producer(ProducerId::new(producer), ProducerEpoch::new(0), Sequence::new(base as i32));
        builder.set_transactional(transactional);
        builder.push(1_000, Some(key.as_bytes()), Some(b"value"), &[]);
        finish(builder, base)
    }

    /// A marker: does it commit?
    pub(in crate::log) fn marker(base: i64, producer: i64, commits: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.set_producer(ProducerId::new(producer), ProducerEpoch::new(0), Sequence::new(-1));
        builder.set_transactional(true);
        builder.set_control(true);
        builder.push(1_000, Some(&[0, 0, 0, u8::from(commits)]), Some(&[0; 6]), &[]);
        finish(builder, base)
    }

    fn finish(mut builder: BatchBuilder, base: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("plain");
        stamp(&mut bytes, Offset::new(base), LeaderEpoch::new(0)).expect("one batch");
        bytes
    }

    fn scan(log: &[Vec<u8>], end: i64) -> (Arc<[Aborted]>, Offset) {
        let mut scan = Scan::default();
        for batch in log {
            scan.read(&view(batch)).expect("sound");
        }
        scan.finish(Offset::new(end))
    }

    fn view(batch: &[u8]) -> RecordBatch<'_> {
        RecordBatch::first(batch).expect("sound").expect("whole")
    }

    fn can_go(log: &[Vec<u8>], aborted: Arc<[Aborted]>) -> Vec<i64> {
        let mut transactions = Transactions::new(aborted);
        let mut gone = Vec::new();
        for batch in log {
            if transactions.read(&view(batch)).expect("sound") {
                gone.push(view(batch).base_offset().get());
            }
        }
        gone
    }

    #[test]
    fn aborted_batches_go_and_the_marker_only_once_no_batch_is_left() {
        let log = [
            data(0, 1, true, "a"),
            data(1, 2, true, "b"),
            data(2, 3, false, "c"),
            marker(3, 1, false),
            data(4, 1, true, "d"),
            marker(5, 2, true),
            marker(6, 1, true),
        ];
        let (aborted, decided) = scan(&log, 7);
        assert_eq!(decided.get(), 7);
        assert_eq!(can_go(&log, aborted), [0]);
        // After that pass batch 0 is gone; another has taken 1 and 4: all markers can go.
        let rest = [log[2].clone(), log[3].clone(), log[5].clone(), log[6].clone()];
        assert_eq!(can_go(&rest, Arc::default()), [3, 5, 6]);
        assert_eq!(can_go(&log[1..], Arc::default()), [3]);
    }

    #[test]
    fn nothing_is_decided_from_the_first_open_transaction_on() {
        let log = [data(10, 1, true, "a"), data(11, 2, true, "b"), marker(12, 1, false)];
        let (aborted, decided) = scan(&log, 13);
        assert_eq!((aborted.len(), decided.get()), (1, 11));
        assert_eq!(scan(&log[..1], 13).1.get(), 10);
        assert_eq!(scan(&[], 13).1.get(), 13);
    }
}
