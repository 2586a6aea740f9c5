//! One batch with some of its records left out, as compaction does it.
//!
//! Base offset, last offset delta, leader epoch, attributes and the producer's fields stay: offsets keep
//! their gaps, and a producer's last sequence can still be read off. Records that stay are copied byte for
//! byte; only where a delete horizon is set do their timestamps have to be written anew, since the horizon
//! takes the place of the base timestamp they are relative to.
//!
//! Source: KIP-534; Kafka, `MemoryRecords.filterTo`, `DefaultRecordBatch.writeEmptyHeader`.

use corelane_model::TimestampType;

use crate::{
    batch::{
        CODEC_BITS, Codec, DELETE_HORIZON_BIT, HEADER_BYTES, Header, LENGTH_OVERHEAD, RecordBatch, write_crc,
    },
    compression::{compress, decompress},
    records::{Record, Records, RecordsError},
    validate::DECOMPRESSED_BYTES_MAX,
    varint,
};
use zerocopy::FromBytes;

/// Timestamp of a batch without records, where it matters to look-ups by time.
const NO_TIMESTAMP: i64 = -1;

/// How to leave records out of a batch.
#[derive(Debug, Clone, Copy)]
pub struct RetainRules {
    /// What a delete horizon is set to, in ms since 1970, where a tombstone stays and none is set yet.
    pub delete_horizon_ms: i64,
    /// A horizon is to be set, tombstones or not: a marker whose transaction has no records left.
    pub set_horizon: bool,
    /// The batch stays though none of its records does: its last offset, or its producer's sequence, is needed.
    pub keep_empty: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// Written as it was, byte for byte.
    Whole,
    /// Written with fewer records, or with a horizon.
    Changed,
    /// Written without records.
    Empty,
    /// Nothing written.
    Dropped,
}

/// Memory that a caller keeps from batch to batch.
#[derive(Debug, Default)]
pub struct RetainScratch {
    plain: Vec<u8>,
    kept: Vec<u8>,
    moved: Vec<u8>,
}

/// Appends `batch` to `out` with the records that `keep` wants.
///
/// # Errors
/// The records cannot be read, or come to more than [`DECOMPRESSED_BYTES_MAX`]; `out` is as before.
pub fn retain(
    batch: &RecordBatch<'_>,
    rules: RetainRules,
    scratch: &mut RetainScratch,
    mut keep: impl FnMut(&Record<'_>) -> bool,
    out: &mut Vec<u8>,
) -> Result<Retained, RecordsError> {
    let codec = batch.codec()?;
    let RetainScratch { plain, kept, moved } = scratch;
    let plain = if codec == Codec::None {
        batch.payload()
    } else {
        plain.clear();
        decompress(codec, batch.payload(), DECOMPRESSED_BYTES_MAX, plain)?;
        plain
    };
    kept.clear();
    let (mut count, mut max_timestamp, mut has_tombstone) = (0_i32, NO_TIMESTAMP, false);
    let mut records = Records::new(batch, plain);
    loop {
        let before = records.rest();
        let Some(record) = records.next() else { break };
        let record = record?;
        if !keep(&record) {
            continue;
        }
        let raw = &before[..before.len() - records.rest().len()];
        kept.extend_from_slice(raw);
        count += 1;
        max_timestamp = max_timestamp.max(record.timestamp);
        has_tombstone |= record.value.is_none();
    }
    if count == 0 {
        if !rules.keep_empty {
            return Ok(Retained::Dropped);
        }
        write_empty(batch, out);
        return Ok(Retained::Empty);
    }
    let is_due = has_tombstone || rules.set_horizon;
    let horizon = (is_due && batch.delete_horizon_ms().is_none()).then_some(rules.delete_horizon_ms);
    if count == batch.record_count() && horizon.is_none() {
        out.extend_from_slice(batch.as_bytes());
        return Ok(Retained::Whole);
    }
    let mut records = &*kept;
    if let Some(horizon) = horizon {
        moved.clear();
        for record in Records::new(batch, kept).take(count as usize) {
            record?.write_relative_to(horizon, moved);
        }
        records = &*moved;
    }
    let start = out.len();
    out.extend_from_slice(&batch.as_bytes()[..HEADER_BYTES]);
    if let Err(error) = compress(codec, None, records, out) {
        out.truncate(start);
        return Err(error.into());
    }
    finish(&mut out[start..], |header| {
        header.record_count.set(count);
        if batch.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp.set(max_timestamp);
        }
        if let Some(horizon) = horizon {
            header.base_timestamp.set(horizon);
            header.attributes.set(header.attributes.get() | DELETE_HORIZON_BIT);
        }
    });
    Ok(Retained::Changed)
}

/// The header alone: the batch's offsets and its producer's fields.
fn write_empty(batch: &RecordBatch<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&batch.as_bytes()[..HEADER_BYTES]);
    finish(&mut out[start..], |header| {
        header.record_count.set(0);
        header.base_timestamp.set(NO_TIMESTAMP);
        header.attributes.set(header.attributes.get() & !(CODEC_BITS | DELETE_HORIZON_BIT));
    });
}

fn finish(batch: &mut [u8], change: impl FnOnce(&mut Header)) {
    let length = i32::try_from(batch.len() - LENGTH_OVERHEAD).expect("a batch is far below 2 GiB");
    let (header, _) = Header::mut_from_prefix(batch).expect("a batch begins with its header");
    header.batch_length.set(length);
    change(header);
    write_crc(batch);
}

impl Record<'_> {
    /// Appends the record, its timestamp relative to another base.
    fn write_relative_to(&self, base_timestamp: i64, out: &mut Vec<u8>) {
        let delta = self.timestamp.wrapping_sub(base_timestamp);
        let field =
            |field: Option<&[u8]>| field.map_or(1, |bytes| varint::bytes(bytes.len() as i64) + bytes.len());
        let body = 1
            + varint::bytes(delta)
            + varint::bytes(self.offset_delta.into())
            + field(self.key)
            + field(self.value)
            + varint::bytes(self.header_count().into())
            + self.raw_headers().len();
        varint::write(out, body as i64);
        out.push(0);
        varint::write(out, delta);
        varint::write(out, self.offset_delta.into());
        for field in [self.key, self.value] {
            match field {
                None => varint::write(out, -1),
                Some(bytes) => {
                    varint::write(out, bytes.len() as i64);
                    out.extend_from_slice(bytes);
                }
            }
        }
        varint::write(out, self.header_count().into());
        out.extend_from_slice(self.raw_headers());
    }
}

#[cfg(test)]
mod tests {
    use corelane_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

    use super::*;
    use crate::{BatchBuilder, for_each_record, set_log_append_time, stamp};

    const HORIZON_MS: i64 = 1_700_000_999_000;

    fn rules() -> RetainRules {
        RetainRules { delete_horizon_ms: HORIZON_MS, set_horizon: false, keep_empty: false }
    }

    /// Six records at offsets 100 to 105; the fourth is a tombstone where asked.
    fn batch(codec: Codec, tombstone: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec);
        builder.set_producer(ProducerId::new(42), ProducerEpoch::new(3), Sequence::new(7));
        for i in 0..6_i64 {
            let (key, value) = (format!("key {i}"), format!("value {i}"));
            let value = (!tombstone || i != 3).then_some(value.as_bytes());
            builder.push(1_000 - i, Some(key.as_bytes()), value, &[("h", Some(b"x")), ("n", None)]);
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("compresses");
        stamp(&mut bytes, Offset::new(100), LeaderEpoch::new(5)).expect("one batch");
        bytes
    }

    fn view(bytes: &[u8]) -> RecordBatch<'_> {
        let batch = RecordBatch::first(bytes).expect("sound").expect("whole");
        assert!(batch.crc_matches() && batch.as_bytes().len() == bytes.len());
        batch
    }

    type Seen = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

    fn records(bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        for_each_record(&view(bytes), &mut Vec::new(), 1 << 20, |record| {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            seen.push((record.offset.get(), record.timestamp, key, value, record.headers().count()));
        })
        .expect("records");
        seen
    }

    fn run(bytes: &[u8], rules: RetainRules, keep: impl Fn(i64) -> bool) -> (Retained, Vec<u8>) {
        let mut out = vec![7; 3];
        let mut scratch = RetainScratch::default();
        let keep = |record: &Record<'_>| keep(record.offset.get());
        let kept = retain(&view(bytes), rules, &mut scratch, keep, &mut out).expect("sound");
        assert_eq!(out[..3], [7; 3]);
        (kept, out.split_off(3))
    }

    #[test]
    fn what_stays_is_unchanged_in_every_codec() {
        for codec in Codec::ALL {
            let bytes = batch(codec, false);
            assert_eq!(run(&bytes, rules(), |_| true), (Retained::Whole, bytes.clone()), "{codec:?}");
            let (kept, out) = run(&bytes, rules(), |offset| offset % 2 == 1);
            assert_eq!(kept, Retained::Changed);
            let odd: Vec<_> = records(&bytes).into_iter().filter(|record| record.0 % 2 == 1).collect();
            assert_eq!(records(&out), odd, "{codec:?}");
            let (before, after) = (view(&bytes), view(&out));
            assert_eq!(after.codec().expect("a codec"), codec);
            assert_eq!(
                (after.base_offset(), after.last_offset()),
                (before.base_offset(), before.last_offset())
            );
            assert_eq!(after.leader_epoch(), before.leader_epoch());
            assert_eq!(after.base_sequence(), before.base_sequence());
            assert_eq!(
                (after.producer_id(), after.producer_epoch()),
                (before.producer_id(), before.producer_epoch())
            );
            assert_eq!((after.record_count(), after.max_timestamp()), (3, 999));
            assert_eq!(after.delete_horizon_ms(), None);
        }
    }

    #[test]
    fn a_tombstone_that_stays_gets_a_horizon_once_and_every_record_keeps_its_time() {
        for codec in Codec::ALL {
            let bytes = batch(codec, true);
            let (kept, out) = run(&bytes, rules(), |_| true);
            assert_eq!(kept, Retained::Changed, "{codec:?}");
            assert_eq!(view(&out).delete_horizon_ms(), Some(HORIZON_MS));
            assert_eq!(view(&out).max_timestamp(), 1_000);
            assert_eq!(records(&out), records(&bytes), "{codec:?}");
            let later = RetainRules { delete_horizon_ms: HORIZON_MS + 5, ..rules() };
            assert_eq!(run(&out, later, |_| true), (Retained::Whole, out.clone()));
            let (kept, fewer) = run(&out, later, |offset| offset == 103);
            assert_eq!((kept, view(&fewer).delete_horizon_ms()), (Retained::Changed, Some(HORIZON_MS)));
            assert_eq!(records(&fewer), [records(&bytes)[3].clone()]);
        }
    }

    #[test]
    fn an_empty_batch_keeps_its_offsets_and_its_producer_or_goes() {
        let bytes = batch(Codec::Zstd, true);
        assert_eq!(run(&bytes, rules(), |_| false), (Retained::Dropped, vec![]));
        let keep = RetainRules { keep_empty: true, ..rules() };
        let (kept, out) = run(&bytes, keep, |_| false);
        assert_eq!((kept, out.len()), (Retained::Empty, HEADER_BYTES));
        let batch = view(&out);
        assert_eq!((batch.record_count(), batch.codec()), (0, Ok(Codec::None)));
        assert_eq!((batch.base_offset().get(), batch.last_offset().get()), (100, 105));
        assert_eq!((batch.base_sequence().get(), batch.producer_id().get()), (7, 42));
        assert_eq!((batch.max_timestamp(), batch.base_timestamp()), (1_000, -1));
        // Once empty, it is kept or goes by the same rules.
        assert_eq!(run(&out, keep, |_| true), (Retained::Empty, out.clone()));
        assert_eq!(run(&out, rules(), |_| true), (Retained::Dropped, vec![]));
    }

    #[test]
    fn the_append_time_of_a_batch_outlives_a_change() {
        let mut bytes = batch(Codec::Lz4, true);
        set_log_append_time(&mut bytes, 5_555).expect("one batch");
        let (_, out) = run(&bytes, rules(), |offset| offset > 102);
        assert_eq!(view(&out).max_timestamp(), 5_555);
        assert!(records(&out).iter().all(|record| record.1 == 5_555));
    }

    #[test]
    fn records_that_cannot_be_read_leave_nothing_behind() {
        let mut bytes = batch(Codec::None, false);
        bytes[HEADER_BYTES] = 0xff;
        write_crc(&mut bytes);
        let mut out = Vec::new();
        let kept = retain(&view(&bytes), rules(), &mut RetainScratch::default(), |_| true, &mut out);
        assert!(kept.is_err() && out.is_empty());
    }
}
