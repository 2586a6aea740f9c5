//! All a batch from a client must satisfy before a log may hold it.
//!
//! Header, CRC and every record are always checked. Plain records are walked, which touches a few bytes of
//! each; compressed ones are decompressed for it, into memory that is dropped again: what is stored are the
//! producer's own bytes. A log that believed the header would keep batches that no consumer can unpack, and
//! largest timestamps that break reads by time and retention (some clients leave them unset).
//!
//! Source: Kafka 4.0, `LogValidator`, `ProduceRequest.validateRecords`, `DefaultRecordBatch.ensureValid`.
//! The code that Kafka answers stands beside each [`Refusal`]; `handlers` maps them.

use corelane_model::{ProducerEpoch, ProducerId, Sequence, TimestampType, TopicSettings};

use crate::{
    batch::{BatchError, Codec, RecordBatch},
    records::{Record, Records, RecordsError},
};

/// Most bytes that the records of one compressed batch may come to.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// Most faulty records that are told to the client.
pub const RECORD_ERRORS_MAX: usize = 16;

/// "No timestamp" on the wire.
const NO_TIMESTAMP: i64 = -1;

/// What a topic and a request demand of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Largest batch as sent, header included (`max.message.bytes`).
    pub max_message_bytes: usize,
    /// Whose clock the timestamps shall be of.
    pub timestamp_type: TimestampType,
    /// How far a record's time may lie in the past (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: i64,
    /// How far a record's time may lie in the future (`message.timestamp.after.max.ms`).
    pub timestamp_after_max_ms: i64,
    /// Whether every record needs a key.
    pub compacted: bool,
    /// Whether the request's version knows zstd (Produce 7 and up).
    pub zstd_allowed: bool,
}

impl Rules {
    /// What a topic with these settings demands.
    #[must_use]
    pub fn of_topic(settings: &TopicSettings, zstd_allowed: bool) -> Self {
        Self {
            max_message_bytes: settings.max_message_bytes,
            timestamp_type: settings.timestamp_type,
            timestamp_before_max_ms: settings.timestamp_before_max_ms,
            timestamp_after_max_ms: settings.timestamp_after_max_ms,
            compacted: settings.cleanup_policy.compact,
            zstd_allowed,
        }
    }

    fn is_out_of_bounds(&self, timestamp: i64, now_ms: i64) -> bool {
        let age = now_ms.saturating_sub(timestamp);
        age > self.timestamp_before_max_ms || age.saturating_neg() > self.timestamp_after_max_ms
    }
}

/// What is known of a batch that may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Bytes of the batch: all that were given.
    pub bytes: usize,
    /// What the log end offset moves on by.
    pub next_offset_delta: i64,
    /// Its records.
    pub record_count: i32,
    /// How they are compressed.
    pub codec: Codec,
    /// Largest timestamp once it is appended, in ms since 1970; -1 for none.
    pub max_timestamp: i64,
    /// What [`crate::batch::set_max_timestamp`] must write, because the header says otherwise.
    pub fix_max_timestamp: Option<i64>,
    /// Whether [`crate::batch::set_log_append_time`] must write the time of the append, `max_timestamp`.
    pub log_append_time: bool,
    /// Whose it is, with the sequence of its first record.
    pub producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
}

/// One record that caused its batch to be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Why a batch may not be appended. Nothing was written; the same bytes will fail again.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No bytes at all, or null. Kafka: `INVALID_RECORD` (87).
    #[error("the request has no record batch for the partition")]
    Empty,
    /// Message format 0 or 1. Kafka 4 has none of them: `UNSUPPORTED_FOR_MESSAGE_FORMAT` (43). (Its check of
    /// Produce requests from version 3 on comes first and says `INVALID_RECORD`.)
    #[error("message format {magic} is not supported, only record batches of magic 2 are")]
    OldFormat {
        /// The format.
        magic: i8,
    },
    /// A format that never was. Kafka: `INVALID_RECORD` (87).
    #[error("record batch has the unknown magic {magic}")]
    Magic {
        /// What stands there.
        magic: i8,
    },
    /// The header is impossible, or the bytes end before the batch does. Kafka: `CORRUPT_MESSAGE` (2).
    #[error("record batch is malformed: {0}")]
    Malformed(BatchError),
    /// Something follows the batch: another one, or garbage. Kafka: `INVALID_RECORD` (87).
    #[error("the request must have exactly one record batch for the partition")]
    MoreThanOne,
    /// As sent, compressed. Kafka: `MESSAGE_TOO_LARGE` (10).
    #[error("record batch of {bytes} bytes is larger than max.message.bytes, {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The topic's limit.
        max: usize,
    },
    /// Bytes were changed on the way. Kafka: `CORRUPT_MESSAGE` (2), which clients retry.
    #[error("record batch has CRC {computed:#010x}, its header says {stored:#010x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes come to.
        computed: u32,
    },
    /// No codec has that number. Kafka: `UNSUPPORTED_COMPRESSION_TYPE` (76).
    #[error("record batch has the unknown codec {number}")]
    UnknownCodec {
        /// What the attributes say.
        number: u8,
    },
    /// zstd under a version of Produce below 7. Kafka: `UNSUPPORTED_COMPRESSION_TYPE` (76).
    #[error("zstd needs Produce version 7")]
    ZstdNotAllowed,
    /// Markers are the broker's alone. Kafka: `INVALID_RECORD` (87).
    #[error("clients are not allowed to write control records")]
    Control,
    /// Count and offsets of the header disagree, or there are no records. Kafka: `INVALID_RECORD` (87).
    #[error("record batch counts {record_count} records, its last offset delta is {last_offset_delta}")]
    Count {
        /// What the header counts.
        record_count: i32,
        /// What the header's offsets span, less one.
        last_offset_delta: i32,
    },
    /// A producer id without sequence or epoch, or a transaction without producer. Kafka: `INVALID_RECORD` (87).
    #[error("record batch of producer {producer_id} has epoch {epoch} and sequence {sequence}")]
    Producer {
        /// Whose it claims to be.
        producer_id: ProducerId,
        /// What stands as epoch.
        epoch: ProducerEpoch,
        /// What stands as first sequence.
        sequence: Sequence,
    },
    /// The append time is the broker's to set. Kafka: `INVALID_TIMESTAMP` (32).
    #[error("producers should not set the timestamp type to LogAppendTime")]
    LogAppendTime,
    /// The records cannot be read, or their offset deltas are not 0, 1, 2... Kafka: `INVALID_RECORD` (87).
    #[error("records of the batch are malformed: {0}")]
    Records(RecordsError),
    /// A record's time is out of bounds. Kafka: `INVALID_TIMESTAMP` (32), with record errors.
    #[error("one or more records have been rejected due to invalid timestamp")]
    Timestamps(Vec<RecordError>),
    /// A record of a compacted topic has no key. Kafka: `INVALID_RECORD` (87), with record errors.
    #[error("one or more records have been rejected: a compacted topic accepts no record without key")]
    Keys(Vec<RecordError>),
}

impl Refusal {
    /// The records at fault, at most [`RECORD_ERRORS_MAX`]; empty if the batch as a whole is.
    #[must_use]
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::Timestamps(errors) | Self::Keys(errors) => errors,
            _ => &[],
        }
    }
}

/// Checks the records field of one partition of a Produce request. `now_ms` is in ms since 1970.
///
/// # Errors
/// [`Refusal`] names the first rule that is broken.
pub fn validate(records: &[u8], rules: &Rules, now_ms: i64) -> Result<Sound, Refusal> {
    let batch = one_batch(records)?;
    if records.len() > rules.max_message_bytes {
        return Err(Refusal::TooLarge { bytes: records.len(), max: rules.max_message_bytes });
    }
    let (stored, computed) = (batch.stored_crc(), batch.computed_crc());
    if stored != computed {
        return Err(Refusal::Crc { stored, computed });
    }
    let codec = validate_header(&batch, rules)?;
    let producer = validate_producer(&batch)?;

    let log_append_time = rules.timestamp_type == TimestampType::LogAppendTime;
    let mut scratch = Vec::new();
    let walked = match codec {
        Codec::None => Records::new(&batch, batch.payload()),
        _ => Records::decompressed(&batch, &mut scratch, DECOMPRESSED_BYTES_MAX).map_err(Refusal::Records)?,
    };
    let true_max = walk(walked, rules, now_ms)?;
    let max_timestamp = if log_append_time { now_ms } else { true_max };
    Ok(Sound {
        bytes: records.len(),
        next_offset_delta: i64::from(batch.last_offset_delta()) + 1,
        record_count: batch.record_count(),
        codec,
        max_timestamp,
        fix_max_timestamp: (!log_append_time && max_timestamp != batch.max_timestamp())
            .then_some(max_timestamp),
        log_append_time,
        producer,
        transactional: batch.is_transactional(),
    })
}

fn one_batch(records: &[u8]) -> Result<RecordBatch<'_>, Refusal> {
    if records.is_empty() {
        return Err(Refusal::Empty);
    }
    match RecordBatch::first(records) {
        Ok(Some(batch)) if batch.as_bytes().len() == records.len() => Ok(batch),
        Ok(Some(_)) => Err(Refusal::MoreThanOne),
        Ok(None) => Err(Refusal::Malformed(BatchError::Partial(records.len()))),
        Err(BatchError::Magic(magic @ (0 | 1))) => Err(Refusal::OldFormat { magic }),
        Err(BatchError::Magic(magic)) => Err(Refusal::Magic { magic }),
        Err(error) => Err(Refusal::Malformed(error)),
    }
}

fn validate_header(batch: &RecordBatch<'_>, rules: &Rules) -> Result<Codec, Refusal> {
    let codec = batch.codec().map_err(|error| match error {
        BatchError::Codec(number) => Refusal::UnknownCodec { number },
        other => Refusal::Malformed(other),
    })?;
    if codec == Codec::Zstd && !rules.zstd_allowed {
        return Err(Refusal::ZstdNotAllowed);
    }
    if batch.is_control() {
        return Err(Refusal::Control);
    }
    let (record_count, last_offset_delta) = (batch.record_count(), batch.last_offset_delta());
    if record_count <= 0 || record_count - 1 != last_offset_delta {
        return Err(Refusal::Count { record_count, last_offset_delta });
    }
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Refusal::LogAppendTime);
    }
    Ok(codec)
}

fn validate_producer(
    batch: &RecordBatch<'_>,
) -> Result<Option<(ProducerId, ProducerEpoch, Sequence)>, Refusal> {
    let (producer_id, epoch, sequence) = (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
    let named = producer_id > ProducerId::NONE;
    let whole = epoch.get() >= 0 && sequence.get() >= 0;
    if (named && !whole) || (!named && batch.is_transactional()) {
        return Err(Refusal::Producer { producer_id, epoch, sequence });
    }
    Ok(named.then_some((producer_id, epoch, sequence)))
}

/// Reads every record; returns the largest timestamp.
fn walk(records: Records<'_>, rules: &Rules, now_ms: i64) -> Result<i64, Refusal> {
    let bounded = rules.timestamp_type == TimestampType::CreateTime;
    let mut max_timestamp = NO_TIMESTAMP;
    let mut faults = Faults::default();
    for (index, record) in (0_i32..).zip(records) {
        let record = record.map_err(Refusal::Records)?;
        if record.offset_delta != index {
            return Err(Refusal::Records(RecordsError::Malformed { index }));
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        if rules.compacted && record.key.is_none() {
            faults.without_key(index);
        } else if bounded
            && record.timestamp != NO_TIMESTAMP
            && rules.is_out_of_bounds(record.timestamp, now_ms)
        {
            faults.out_of_bounds(index, &record, rules, now_ms);
        }
    }
    faults.verdict().map(|()| max_timestamp)
}

#[derive(Default)]
struct Faults {
    errors: Vec<RecordError>,
    any_timestamp: bool,
}

impl Faults {
    #[cold]
    fn without_key(&mut self, batch_index: i32) {
        self.add(batch_index, || "a compacted topic accepts no record without key".to_owned());
    }

    #[cold]
    fn out_of_bounds(&mut self, batch_index: i32, record: &Record<'_>, rules: &Rules, now_ms: i64) {
        self.any_timestamp = true;
        self.add(batch_index, || {
            let earliest = now_ms.saturating_sub(rules.timestamp_before_max_ms);
            let latest = now_ms.saturating_add(rules.timestamp_after_max_ms);
            format!("timestamp {} is not within [{earliest}, {latest}]", record.timestamp)
        });
    }

    fn add(&mut self, batch_index: i32, message: impl FnOnce() -> String) {
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError { batch_index, message: message() });
        }
    }

    /// As Kafka does it, one time out of bounds makes the whole a matter of timestamps.
    fn verdict(self) -> Result<(), Refusal> {
        match (self.any_timestamp, self.errors.is_empty()) {
            (true, _) => Err(Refusal::Timestamps(self.errors)),
            (false, false) => Err(Refusal::Keys(self.errors)),
            (false, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        batch::{set_log_append_time, set_max_timestamp, write_crc},
        builder::BatchBuilder,
        golden,
    };

    const NOW_MS: i64 = 1_700_000_001_000;

    fn rules() -> Rules {
        Rules::of_topic(&TopicSettings::default(), true)
    }

    /// One record per timestamp, each with a key.
    fn batch(codec: Codec, timestamps: &[i64]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec);
        for &timestamp in timestamps {
            builder.push(timestamp, Some(b"key"), Some(b"value"), &[]);
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("compresses");
        bytes
    }

    /// The batch with some bytes changed, under a valid CRC.
    fn changed(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut batch = batch.to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        write_crc(&mut batch);
        batch
    }

    fn refusal(records: &[u8], rules: &Rules) -> Refusal {
        validate(records, rules, NOW_MS).expect_err("must be refused")
    }

    #[test]
    fn kafkas_batches_are_sound_in_every_codec() {
        for codec in Codec::ALL {
            let bytes = golden::batch(codec);
            let expected = Sound {
                bytes: bytes.len(),
                next_offset_delta: 3,
                record_count: 3,
                codec,
                max_timestamp: 1_700_000_000_500,
                fix_max_timestamp: None,
                log_append_time: false,
                producer: Some((ProducerId::new(4242), ProducerEpoch::new(3), Sequence::new(11))),
                transactional: false,
            };
            assert_eq!(validate(&bytes, &rules(), NOW_MS).expect("sound"), expected);
        }
    }

    #[test]
    fn anything_but_one_whole_batch_is_refused() {
        let whole = batch(Codec::None, &[NOW_MS]);
        assert!(matches!(refusal(&[], &rules()), Refusal::Empty));
        for cut in 1..whole.len() {
            let partial = refusal(&whole[..cut], &rules());
            assert!(matches!(partial, Refusal::Malformed(BatchError::Partial(_))), "{cut}: {partial}");
        }
        assert!(matches!(refusal(&whole.repeat(2), &rules()), Refusal::MoreThanOne));
        assert!(matches!(refusal(&[&whole[..], &[0]].concat(), &rules()), Refusal::MoreThanOne));
    }

    #[test]
    fn old_and_unknown_formats_are_refused_each_in_its_way() {
        let whole = batch(Codec::None, &[NOW_MS]);
        for magic in [0, 1] {
            let old = changed(&whole, 16, &[magic as u8]);
            assert!(matches!(refusal(&old, &rules()), Refusal::OldFormat { magic: m } if m == magic));
        }
        assert!(matches!(refusal(&changed(&whole, 16, &[3]), &rules()), Refusal::Magic { magic: 3 }));
    }

    #[test]
    fn the_size_counts_as_sent_and_the_limit_itself_is_allowed() {
        let bytes = batch(Codec::Gzip, &[NOW_MS; 500]);
        assert!(bytes.len() < batch(Codec::None, &[NOW_MS; 500]).len() / 4);
        let mut rules = rules();
        rules.max_message_bytes = bytes.len();
        validate(&bytes, &rules, NOW_MS).expect("sound");
        rules.max_message_bytes -= 1;
        let max = rules.max_message_bytes;
        assert!(
            matches!(refusal(&bytes, &rules), Refusal::TooLarge { bytes, max: m } if bytes == m + 1 && m == max)
        );
    }

    #[test]
    fn a_changed_byte_anywhere_under_the_crc_is_found() {
        for codec in [Codec::None, Codec::Lz4] {
            let whole = batch(codec, &[NOW_MS, NOW_MS + 1]);
            for at in 17..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x40;
                assert!(validate(&bytes, &rules(), NOW_MS).is_err(), "{codec:?} byte {at}");
            }
            let mut bytes = whole.clone();
            bytes[whole.len() - 1] ^= 1;
            assert!(matches!(refusal(&bytes, &rules()), Refusal::Crc { .. }));
        }
    }

    #[test]
    fn attributes_that_clients_may_not_set_are_refused() {
        let whole = batch(Codec::None, &[NOW_MS]);
        for number in [5, 6, 7] {
            let bytes = changed(&whole, 21, &[0, number]);
            assert!(matches!(refusal(&bytes, &rules()), Refusal::UnknownCodec { number: n } if n == number));
        }
        assert!(matches!(refusal(&changed(&whole, 21, &[0, 0x20]), &rules()), Refusal::Control));
        let mut append_time = whole.clone();
        set_log_append_time(&mut append_time, NOW_MS).expect("one batch");
        assert!(matches!(refusal(&append_time, &rules()), Refusal::LogAppendTime));
        let zstd = batch(Codec::Zstd, &[NOW_MS]);
        let old_request = Rules { zstd_allowed: false, ..rules() };
        assert!(matches!(refusal(&zstd, &old_request), Refusal::ZstdNotAllowed));
    }

    #[test]
    fn counts_and_offsets_must_agree() {
        let whole = batch(Codec::None, &[NOW_MS, NOW_MS]);
        let with = |count: i32, delta: i32| {
            let bytes = changed(&whole, 57, &count.to_be_bytes());
            changed(&bytes, 23, &delta.to_be_bytes())
        };
        validate(&with(2, 1), &rules(), NOW_MS).expect("sound");
        assert!(matches!(refusal(&with(0, 0), &rules()), Refusal::Count { .. }));
        assert!(matches!(refusal(&with(2, 2), &rules()), Refusal::Count { .. }));
        assert!(matches!(refusal(&with(1, 0), &rules()), Refusal::Records(RecordsError::TrailingBytes(_))));
        let missing = refusal(&with(3, 2), &rules());
        assert!(matches!(missing, Refusal::Records(RecordsError::Malformed { index: 2 })));
        assert!(matches!(refusal(&with(-1, 1), &rules()), Refusal::Malformed(BatchError::NegativeCount)));
        // Offset delta of the second record, the fourth byte of it: 1, 1, 1 where 0, 1 belongs.
        let first_bytes = crate::HEADER_BYTES + usize::from(whole[crate::HEADER_BYTES] / 2) + 1;
        assert_eq!(whole[first_bytes + 3], 2);
        for delta in [0, 4, 1] {
            let bytes = changed(&whole, first_bytes + 3, &[delta]);
            assert!(matches!(refusal(&bytes, &rules()), Refusal::Records(_)), "{delta}");
        }
    }

    #[test]
    fn a_producer_has_epoch_and_sequence_and_a_transaction_has_a_producer() {
        let named = |id: i64, epoch: i16, sequence: i32| {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.set_producer(ProducerId::new(id), ProducerEpoch::new(epoch), Sequence::new(sequence));
            builder.set_transactional(true);
            builder.push(NOW_MS, None, None, &[]);
            let mut bytes = Vec::new();
            builder.finish(&mut bytes).expect("plain");
            bytes
        };
        let sound = validate(&named(9, 0, 0), &rules(), NOW_MS).expect("sound");
        assert_eq!(sound.producer, Some((ProducerId::new(9), ProducerEpoch::new(0), Sequence::new(0))));
        assert!(sound.transactional);
        for (id, epoch, sequence) in [(9, -1, 0), (9, 0, -1), (-1, -1, -1), (-1, 0, 0)] {
            let refused = refusal(&named(id, epoch, sequence), &rules());
            assert!(matches!(refused, Refusal::Producer { .. }), "{id} {epoch} {sequence}");
        }
        assert_eq!(validate(&batch(Codec::None, &[NOW_MS]), &rules(), NOW_MS).expect("sound").producer, None);
    }

    #[test]
    fn an_unset_largest_timestamp_is_found_out_plain_or_compressed() {
        for codec in Codec::ALL {
            for wrong in [-1, 0, NOW_MS - 6, i64::MIN] {
                let mut bytes = batch(codec, &[NOW_MS - 5, NOW_MS, NOW_MS - 9]);
                set_max_timestamp(&mut bytes, wrong).expect("one batch");
                let sound = validate(&bytes, &rules(), NOW_MS).expect("sound");
                assert_eq!(sound.max_timestamp, NOW_MS, "{codec:?} {wrong}");
                assert_eq!(sound.fix_max_timestamp, Some(NOW_MS), "{codec:?} {wrong}");
            }
            let bytes = batch(codec, &[-1, -1]);
            let sound = validate(&bytes, &rules(), NOW_MS).expect("sound");
            assert_eq!((sound.max_timestamp, sound.fix_max_timestamp), (-1, None), "{codec:?}");
        }
    }

    #[test]
    fn append_time_replaces_what_the_producer_says() {
        let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
        for codec in Codec::ALL {
            let sound = validate(&batch(codec, &[i64::MAX, 3]), &rules, NOW_MS).expect("sound");
            assert!(sound.log_append_time);
            assert_eq!((sound.max_timestamp, sound.fix_max_timestamp), (NOW_MS, None));
        }
    }

    #[test]
    fn times_out_of_bounds_are_told_record_by_record() {
        let rules = Rules { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 500, ..rules() };
        for codec in Codec::ALL {
            let edges = batch(codec, &[NOW_MS - 1000, NOW_MS + 500, -1]);
            validate(&edges, &rules, NOW_MS).expect("the edges are within bounds");
            let outside = batch(codec, &[NOW_MS - 1001, NOW_MS, NOW_MS + 501, i64::MIN]);
            let refused = refusal(&outside, &rules);
            assert!(matches!(refused, Refusal::Timestamps(_)), "{codec:?} {refused}");
            let places: Vec<_> = refused.record_errors().iter().map(|error| error.batch_index).collect();
            assert_eq!(places, [0, 2, 3], "{codec:?}");
        }
    }

    #[test]
    fn records_without_key_are_refused_by_a_compacted_topic_alone() {
        let compacted = Rules { compacted: true, ..rules() };
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(codec);
            for key in [Some(&b"k"[..]), None, Some(b""), None] {
                builder.push(NOW_MS, key, None, &[]);
            }
            let mut bytes = Vec::new();
            builder.finish(&mut bytes).expect("compresses");
            validate(&bytes, &rules(), NOW_MS).expect("sound elsewhere");
            let refused = refusal(&bytes, &compacted);
            assert!(matches!(refused, Refusal::Keys(_)));
            let places: Vec<_> = refused.record_errors().iter().map(|error| error.batch_index).collect();
            assert_eq!(places, [1, 3], "{codec:?}");
        }
    }

    #[test]
    fn no_more_record_errors_are_told_than_the_named_maximum() {
        let rules = Rules { timestamp_after_max_ms: 0, ..rules() };
        let refused = refusal(&batch(Codec::None, &[NOW_MS + 1; 1000]), &rules);
        assert_eq!(refused.record_errors().len(), RECORD_ERRORS_MAX);
    }

    #[test]
    fn compressed_garbage_is_refused_where_it_is_looked_at() {
        let compacted = Rules { compacted: true, ..rules() };
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let whole = batch(codec, &[NOW_MS]);
            let bytes = changed(&whole, crate::HEADER_BYTES, &[0xee; 8]);
            assert!(matches!(refusal(&bytes, &compacted), Refusal::Records(_)), "{codec:?}");
        }
    }

    proptest! {
        #[test]
        fn any_records_field_is_sound_or_refused(
            payload in proptest::collection::vec(prop_oneof![0_u8..20, any::<u8>()], 0..150),
            attributes in 0_u8..16,
            count in 0..4_i32,
            compacted: bool,
        ) {
            let mut bytes = golden::batch(Codec::None);
            bytes.truncate(crate::HEADER_BYTES);
            bytes.extend(payload);
            let length = (bytes.len() - crate::LENGTH_OVERHEAD) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[22] = attributes;
            bytes[23..27].copy_from_slice(&(count - 1).max(0).to_be_bytes());
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            write_crc(&mut bytes);
            let rules = Rules { compacted, ..rules() };
            if let Ok(sound) = validate(&bytes, &rules, NOW_MS) {
                prop_assert_eq!(sound.record_count, count);
            }
        }
    }
}
