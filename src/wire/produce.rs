//! Produce: the request as a borrowed view, the response written by hand.
//!
//! Versions 3 to 11 are served; 12 has the same layout. The records of a partition stay slices of the
//! frame. Fields: 3 has the transactional id; 5 answers the log start offset; 8 answers record errors
//! and a message; 9 is flexible; 10 may answer a leader hint in tagged fields (not sent).
//!
//! Source: Kafka 4.0, `ProduceRequest.json`, `ProduceResponse.json`.

use bytes::{Bytes, BytesMut};
use corelane_model::ErrorCode;

use crate::{
    api,
    codec::{Reader, WireError, Writer},
    header::{begin_response, finish_response},
};

/// A Produce request, borrowed from the frame it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// Set within a transaction.
    pub transactional_id: Option<&'a str>,
    /// 0: no answer, 1: answered by the leader alone, -1: by all in-sync replicas. Unchecked.
    pub acks: i16,
    /// How long the client waits for `acks`.
    pub timeout_ms: i32,
    /// What to append where.
    pub topics: Vec<ProduceTopic<'a>>,
}

/// One topic of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopic<'a> {
    /// Its name, unchecked.
    pub name: &'a str,
    /// What to append to its partitions.
    pub partitions: Vec<ProducePartition>,
}

/// One partition of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// Its number, unchecked.
    pub index: i32,
    /// The record batches: a slice of the frame, unchecked.
    pub records: Option<Bytes>,
}

// Fewest bytes of one element on the wire, in the tighter of the two encodings.
const TOPIC_BYTES_MIN: usize = 1 + 1;
const PARTITION_BYTES_MIN: usize = 4 + 1;

impl<'a> ProduceRequest<'a> {
    /// Reads the body of a request of a served version.
    ///
    /// # Errors
    /// [`WireError`] if the version is not served, or the body does not begin with a request. What follows
    /// its last field is ignored, as Kafka does.
    pub fn parse(body: &'a Bytes, version: i16) -> Result<Self, WireError> {
        if !api::PRODUCE.serves(version) {
            return Err(WireError::Version { api: api::PRODUCE.name, version });
        }
        let mut reader = Reader::new(body, api::PRODUCE.is_flexible(version));
        let transactional_id = reader.nullable_string()?;
        let acks = reader.int16()?;
        let timeout_ms = reader.int32()?;
        let count = reader.count(TOPIC_BYTES_MIN)?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            topics.push(ProduceTopic::parse(&mut reader, body)?);
        }
        reader.skip_tagged_fields()?;
        Ok(Self { transactional_id, acks, timeout_ms, topics })
    }
}

impl<'a> ProduceTopic<'a> {
    fn parse(reader: &mut Reader<'a>, body: &'a Bytes) -> Result<Self, WireError> {
        let name = reader.string()?;
        let count = reader.count(PARTITION_BYTES_MIN)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            let index = reader.int32()?;
            let records = reader.nullable_bytes()?.map(|records| body.slice_ref(records));
            reader.skip_tagged_fields()?;
            partitions.push(ProducePartition { index, records });
        }
        reader.skip_tagged_fields()?;
        Ok(Self { name, partitions })
    }
}

/// What became of one topic of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopicResponse<'a> {
    /// The topic's name as the request gave it.
    pub name: &'a str,
    /// What became of its partitions.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// What became of one partition of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    /// The partition's number as the request gave it.
    pub index: i32,
    /// What went wrong.
    pub error: ErrorCode,
    /// Offset of the first record appended, -1 after an error.
    pub base_offset: i64,
    /// The broker's time if the topic has LogAppendTime, else -1.
    pub log_append_time_ms: i64,
    /// First offset of the log, -1 if unknown. Sent from version 5 on.
    pub log_start_offset: i64,
    /// Records that caused the batch to be refused: place in the batch and what is wrong. From version 8 on.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// What is wrong with the batch as a whole. Sent from version 8 on.
    pub error_message: Option<String>,
}

impl ProducePartitionResponse {
    /// The answer for a partition to which nothing was appended.
    #[must_use]
    pub fn refused(index: i32, error: ErrorCode, error_message: Option<String>) -> Self {
        Self {
            index,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message,
        }
    }
}

/// Writes a whole response frame of a served version, size prefix included.
#[must_use]
pub fn encode_produce_response(
    correlation_id: i32,
    version: i16,
    topics: &[ProduceTopicResponse<'_>],
    throttle_ms: i32,
) -> Bytes {
    let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut out = BytesMut::with_capacity(32 + topics.len() * 64 + partitions * 48);
    begin_response(&mut out, &api::PRODUCE, version, correlation_id);
    let mut writer = Writer::new(&mut out, api::PRODUCE.is_flexible(version));
    writer.count(topics.len());
    for topic in topics {
        writer.string(topic.name);
        writer.count(topic.partitions.len());
        for partition in &topic.partitions {
            partition.write(&mut writer, version);
        }
        writer.no_tagged_fields();
    }
    writer.int32(throttle_ms);
    writer.no_tagged_fields();
    finish_response(&mut out);
    out.freeze()
}

impl ProducePartitionResponse {
    fn write(&self, writer: &mut Writer<'_>, version: i16) {
        writer.int32(self.index);
        writer.int16(self.error.number());
        writer.int64(self.base_offset);
        writer.int64(self.log_append_time_ms);
        if version >= 5 {
            writer.int64(self.log_start_offset);
        }
        if version >= 8 {
            writer.count(self.record_errors.len());
            for (batch_index, message) in &self.record_errors {
                writer.int32(*batch_index);
                writer.nullable_string(message.as_deref());
                writer.no_tagged_fields();
            }
            writer.nullable_string(self.error_message.as_deref());
        }
        writer.no_tagged_fields();
    }
}
