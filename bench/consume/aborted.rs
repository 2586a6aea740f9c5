//! Which of a partition's batches belong to aborted transactions, for a reader of what is committed.
//!
//! With its answer to Fetch a broker tells the aborted transactions that overlap it: producer and first offset. From
//! that offset on, to the marker that ends it, the producer's transactional batches are not for the reader (KIP-98).

use std::collections::{BTreeSet, HashSet};

use crate::reader::Batch;

/// Of one partition.
#[derive(Debug, Default)]
pub struct Aborted {
    /// First offset and producer of those that are still to come, ascending.
    ahead: BTreeSet<(i64, i64)>,
    /// Producers whose transaction at this place is an aborted one.
    open: HashSet<i64>,
}

impl Aborted {
    /// Takes what an answer tells, in place of what an earlier one told.
    pub fn told(&mut self, transactions: impl Iterator<Item = (i64, i64)>) {
        self.open.clear();
        self.ahead = transactions.map(|(producer, first)| (first, producer)).collect();
    }

    /// Whether the next batch is not for the reader: of an aborted transaction, or a marker.
    pub fn hides(&mut self, batch: &Batch<'_>) -> bool {
        while let Some((first, producer)) = self.ahead.first().copied()
            && first < batch.next_offset()
        {
            self.ahead.pop_first();
            self.open.insert(producer);
        }
        if batch.is_control() {
            // Whichever way it ended, the producer's next batch is of another transaction.
            self.open.remove(&batch.producer_id());
            return true;
        }
        batch.is_transactional() && self.open.contains(&batch.producer_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::next_batch;

    /// A batch of one record, as its header says it.
    fn batch(offset: i64, producer: i64, attributes: u8) -> Vec<u8> {
        let mut bytes = vec![0; 61];
        bytes[0..8].copy_from_slice(&offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        (bytes[16], bytes[22]) = (2, attributes);
        bytes[43..51].copy_from_slice(&producer.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    const PLAIN: u8 = 0;
    const TRANSACTIONAL: u8 = 0x10;
    const MARKER: u8 = 0x30;

    #[test]
    fn a_producer_s_batches_are_hidden_from_an_aborted_transaction_s_first_offset_to_its_marker() {
        let mut aborted = Aborted::default();
        aborted.told([(7, 2)].into_iter());
        let log = [
            (0, 7, TRANSACTIONAL, false),
            (1, 7, MARKER, true),
            (2, 7, TRANSACTIONAL, true),
            (3, 8, TRANSACTIONAL, false),
            (4, 7, PLAIN, false),
            (5, 7, MARKER, true),
            (6, 7, TRANSACTIONAL, false),
        ];
        for (offset, producer, attributes, hidden) in log {
            let bytes = batch(offset, producer, attributes);
            let batch = next_batch(&mut bytes.as_slice()).expect("sound").expect("whole");
            assert_eq!(aborted.hides(&batch), hidden, "offset {offset}");
        }
        // What begins later is told again with the answer in which it lies.
        aborted.told([(8, 6)].into_iter());
        let bytes = batch(7, 7, TRANSACTIONAL);
        let later = next_batch(&mut bytes.as_slice()).expect("sound").expect("whole");
        assert!(!aborted.hides(&later));
    }
}
