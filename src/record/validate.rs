//! All a batch from a client must satisfy before a log may hold it.
//!
//! The header and the CRC are always checked. Plain records are always walked, which touches a few bytes
//! of each. Compressed ones are decompressed only if the topic demands it (keys of a compacted topic, a
//! lower bound of timestamps) or if the header's largest timestamp cannot be right or is out of bounds.
//!
//! Source: Kafka 4.0, `LogValidator`, `ProduceRequest.validateRecords`, `DefaultRecordBatch.ensureValid`.
//! The code that Kafka answers stands beside each [`Refusal`]; `handlers` maps them.

use corelane_model::{ProducerEpoch, ProducerId, Sequence, TimestampType, TopicSettings};

use crate::{
    batch::{BatchError, Codec, RecordBatch},
    records::{Record, Records, RecordsError},
};

/// Most bytes that the records of one batch may have when they must be decompressed to be checked.
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
    let true_max = match codec {
        Codec::None => Some(walk(Records::new(&batch, batch.payload()), rules, now_ms)?),
        _ if must_decompress(&batch, rules, now_ms) => {
            let mut scratch = Vec::new();
            let records = Records::decompressed(&batch, &mut scratch, DECOMPRESSED_BYTES_MAX)
                .map_err(Refusal::Records)?;
            Some(walk(records, rules, now_ms)?)
        }
        _ => None,
    };
    let max_timestamp =
        if log_append_time { now_ms } else { true_max.unwrap_or_else(|| batch.max_timestamp()) };
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

/// Whether compressed records must be looked at.
fn must_decompress(batch: &RecordBatch<'_>, rules: &Rules, now_ms: i64) -> bool {
    if rules.compacted {
        return true;
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        return false;
    }
    let (base, max) = (batch.base_timestamp(), batch.max_timestamp());
    // Some clients leave the largest timestamp unset; trusting it would break reads by time and retention.
    let implausible = max < base || max < NO_TIMESTAMP;
    let bounded_below = rules.timestamp_before_max_ms != i64::MAX;
    implausible || bounded_below || rules.is_out_of_bounds(max, now_ms)
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
