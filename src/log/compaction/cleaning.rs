//! What a pass keeps: a plain state machine, batch for batch, without I/O and without a clock.
//!
//! A pass reads its range twice. [`Cleaning::index`] goes over the dirty part and notes the latest offset of
//! each key, until the map is full; [`Cleaning::clean`] goes over all segments from the first to where the
//! map ends. Of a record below that end is kept:
//!
//! | record                                      | kept                                             |
//! |---------------------------------------------|--------------------------------------------------|
//! | the latest of its key, with a value         | yes                                              |
//! | the latest of its key, a tombstone          | until the delete horizon of its batch has passed |
//! | an older one of its key                     | no                                               |
//! | without a key                               | no: it came before the topic was compacted       |
//! | in an aborted transaction                   | no                                               |
//! | a marker of a transaction with batches left | yes                                              |
//! | a marker of a transaction without           | until the delete horizon of its batch has passed |
//!
//! A batch without records goes too, unless it is the last of a producer that is still known (its sequence
//! can be read off it) or the last of the range (the end of the range can be).
//!
//! Source: Kafka, `Cleaner.cleanInto`, `Cleaner.shouldRetainRecord`, `Cleaner.buildOffsetMap`.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{
    key_map::KeyMap,
    transactions::{Aborted, Scan, Transactions},
};
use crate::{
    model::{Offset, ProducerId},
    record::{
        BatchError, DECOMPRESSED_BYTES_MAX, RecordBatch, Records, RecordsError, RetainRules, RetainScratch,
        Retained, batches, retain,
    },
};

/// Why a segment cannot be compacted. It stays as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("the batch at offset {base} does not match its CRC")]
    Crc { base: Offset },
    #[error("the batch at offset {base}: {source}")]
    Records { base: Offset, source: RecordsError },
}

impl Fault {
    fn records(batch: &RecordBatch<'_>) -> impl FnOnce(RecordsError) -> Self {
        let base = batch.base_offset();
        move |source| Self::Records { base, source }
    }
}

/// The rules of one pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// What is compacted for the first time.
    pub(super) dirty: Range<Offset>,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    /// Last offset of the last batch of each producer that is still known.
    pub(super) last_offsets: Arc<HashMap<ProducerId, Offset>>,
}

/// How far [`Cleaning::index`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexed {
    /// Through all that it was given.
    Through,
    /// To the end of the range, or the map is full.
    Ended,
    /// To a transaction, and [`Cleaning::scan`] must come first. It is to be begun anew after that.
    NeedsScan,
}

/// A batch as it stands in the new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) base: Offset,
    pub(super) bytes: usize,
    /// `None` for a batch without records.
    pub(super) max_timestamp: Option<i64>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    pub(super) batches: Vec<Kept>,
    /// Something is not as it was.
    pub(super) changed: bool,
}

/// The state of one pass.
pub(super) struct Cleaning {
    rules: Rules,
    map: KeyMap,
    /// Records from here on were not noted, and are kept.
    mapped_to: Offset,
    scan: Option<Scan>,
    aborted: Option<Arc<[Aborted]>>,
    transactions: Transactions,
    scratch: RetainScratch,
    plain: Vec<u8>,
}

impl Cleaning {
    pub(super) fn new(rules: Rules, map: KeyMap) -> Self {
        Self {
            mapped_to: rules.dirty.start,
            rules,
            map,
            scan: None,
            aborted: None,
            transactions: Transactions::default(),
            scratch: RetainScratch::default(),
            plain: Vec::new(),
        }
    }

    /// Keys noted.
    pub(super) fn keys(&self) -> usize {
        self.map.len()
    }

    /// Looks for transactions in `piece`. Returns the bytes of its whole batches.
    pub(super) fn scan(&mut self, piece: &[u8]) -> Result<usize, Fault> {
        let mut read = 0;
        for batch in batches(piece) {
            let batch = batch?;
            read += batch.as_bytes().len();
            if batch.next_offset() > self.rules.dirty.start && batch.base_offset() < self.rules.dirty.end {
                let scan = self.scan.get_or_insert_default();
                scan.read(&batch).map_err(Fault::records(&batch))?;
            }
        }
        Ok(read)
    }

    /// All of the range has been scanned: it ends where the first open transaction begins.
    pub(super) fn scanned(&mut self) {
        let (aborted, decided) = self.scan.take().unwrap_or_default().finish(self.rules.dirty.end);
        self.rules.dirty.end = decided.max(self.rules.dirty.start);
        self.transactions = Transactions::new(aborted.clone());
        self.aborted = Some(aborted);
    }

    /// Notes the keys in `piece`. Returns the bytes of its whole batches and how far that was.
    pub(super) fn index(&mut self, piece: &[u8]) -> Result<(usize, Indexed), Fault> {
        let mut read = 0;
        for batch in batches(piece) {
            let batch = batch?;
            if batch.base_offset() >= self.rules.dirty.end {
                self.mapped_to = self.rules.dirty.end;
                return Ok((read, Indexed::Ended));
            }
            read += batch.as_bytes().len();
            if batch.next_offset() <= self.rules.dirty.start {
                continue;
            }
            if !batch.crc_matches() {
                return Err(Fault::Crc { base: batch.base_offset() });
            }
            if (batch.is_transactional() || batch.is_control()) && self.aborted.is_none() {
                return Ok((read, Indexed::NeedsScan));
            }
            let is_aborted = self.transactions.read(&batch).map_err(Fault::records(&batch))?;
            if !batch.is_control() && !is_aborted && !self.note_keys(&batch)? {
                return Ok((read, Indexed::Ended));
            }
            self.mapped_to = batch.next_offset().min(self.rules.dirty.end);
        }
        Ok((read, Indexed::Through))
    }

    /// False if the map is full.
    fn note_keys(&mut self, batch: &RecordBatch<'_>) -> Result<bool, Fault> {
        let records = Records::decompressed(batch, &mut self.plain, DECOMPRESSED_BYTES_MAX);
        for record in records.map_err(Fault::records(batch))? {
            let record = record.map_err(Fault::records(batch))?;
            let Some(key) = record.key.filter(|_| self.rules.dirty.contains(&record.offset)) else {
                continue;
            };
            if !self.map.note(key, record.offset.get()) {
                self.mapped_to = record.offset;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All that is to be noted has been. `ended`: the map or the range said so, not the log's last batch.
    /// Returns where the pass ends.
    pub(super) fn indexed(&mut self, ended: bool) -> Offset {
        if !ended {
            // Behind the last batch there are no more records in the range.
            self.mapped_to = self.rules.dirty.end;
        }
        self.transactions = Transactions::new(self.aborted.clone().unwrap_or_default());
        self.mapped_to
    }

    /// Writes what is kept of `piece` to `out`. Returns the bytes of its whole batches.
    pub(super) fn clean(&mut self, piece: &[u8], out: &mut Output) -> Result<usize, Fault> {
        let mut read = 0;
        for batch in batches(piece) {
            let batch = batch?;
            read += batch.as_bytes().len();
            if !batch.crc_matches() {
                return Err(Fault::Crc { base: batch.base_offset() });
            }
            self.clean_batch(&batch, out)?;
        }
        Ok(read)
    }

    fn clean_batch(&mut self, batch: &RecordBatch<'_>, out: &mut Output) -> Result<(), Fault> {
        let (rules, map, mapped_to) = (&self.rules, &self.map, self.mapped_to);
        let can_go = self.transactions.read(batch).map_err(Fault::records(batch))?;
        let horizon_ms = batch.delete_horizon_ms();
        let is_past = |horizon_ms: i64| horizon_ms <= rules.now_ms;
        let is_control = batch.is_control();
        let none_stays = can_go && (!is_control || horizon_ms.is_some_and(is_past));
        let is_last_of_producer = rules.last_offsets.get(&batch.producer_id()) == Some(&batch.last_offset());
        let retain_rules = RetainRules {
            delete_horizon_ms: rules.now_ms.saturating_add(rules.delete_retention_ms),
            set_horizon: is_control && can_go,
            keep_empty: is_last_of_producer || batch.next_offset() == rules.dirty.end,
        };
        let start = out.bytes.len();
        let retained = retain(
            batch,
            retain_rules,
            &mut self.scratch,
            |record| {
                if none_stays || is_control || record.offset >= mapped_to {
                    return !none_stays;
                }
                let Some(key) = record.key else { return false };
                let is_latest = map.latest(key).is_none_or(|latest| record.offset.get() >= latest);
                is_latest && (record.value.is_some() || !horizon_ms.is_some_and(is_past))
            },
            &mut out.bytes,
        )
        .map_err(Fault::records(batch))?;
        out.changed |= retained != Retained::Whole && out.bytes[start..] != *batch.as_bytes();
        let Some(written) = RecordBatch::first(&out.bytes[start..])? else { return Ok(()) };
        out.batches.push(Kept {
            base: written.base_offset(),
            bytes: written.as_bytes().len(),
            max_timestamp: (written.record_count() > 0).then(|| written.max_timestamp()),
        });
        Ok(())
    }
}
