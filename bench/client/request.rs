//! Produce and Fetch as they go out, and what their answers say.

use bytes::{Bytes, BytesMut};
use kafka_wire::{
    FetchRequest, FetchResponse, KafkaMessage, KafkaRequest, OutboundFrameLimits, ProduceRequest,
    ProduceResponse, ResponseHeader, encode_request, fetch_request, produce_request,
    response_header_version_for,
};
use kafka_wire_core::{ApiVersion, DecodeLimits, Decoder, KafkaDecode, StrBytes, Uuid};

use super::CLIENT_ID;
use super::admin::Isolation;
use super::frame::FRAME_BYTES_MAX;

/// Longest that the broker may take over a produce before it answers with a timeout.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// A request or response that does not encode or decode.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct WireError {
    what: &'static str,
    reason: String,
}

impl WireError {
    fn new(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { what, reason: reason.to_string() }
    }

    /// An answer without the one item it was asked about.
    pub fn missing(what: &'static str) -> Self {
        Self::new(what, "answers nothing that was asked")
    }
}

/// Encodes a whole frame.
///
/// # Errors
/// A field that the version cannot carry.
pub fn encode<R: KafkaRequest>(request: &R, version: i16, correlation: i32) -> Result<BytesMut, WireError> {
    let mut frame = BytesMut::new();
    let limits = OutboundFrameLimits::new(FRAME_BYTES_MAX);
    let client = Some(StrBytes::from(CLIENT_ID));
    encode_request(&mut frame, correlation, client, request, ApiVersion::new(version), limits)
        .map_err(|e| WireError::new(R::NAME, e))?;
    Ok(frame)
}

/// Decodes a frame (without its length field) as the answer to `R`: correlation id and body.
///
/// # Errors
/// Bytes that are not such an answer.
pub fn decode<R: KafkaRequest, A: KafkaMessage>(frame: Bytes, version: i16) -> Result<(i32, A), WireError> {
    let version = ApiVersion::new(version);
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = FRAME_BYTES_MAX;
    limits.max_bytes_bytes = FRAME_BYTES_MAX;
    let header_version = response_header_version_for::<R>(version).map_err(|e| WireError::new(A::NAME, e))?;
    let mut decoder = Decoder::new(frame, limits).map_err(|e| WireError::new(A::NAME, e))?;
    let header = ResponseHeader::decode(&mut decoder, ApiVersion::new(header_version))
        .map_err(|e| WireError::new(A::NAME, e))?;
    let body = A::decode(&mut decoder, version).map_err(|e| WireError::new(A::NAME, e))?;
    decoder.finish().map_err(|e| WireError::new(A::NAME, e))?;
    Ok((header.correlation_id, body))
}

/// A Produce request to one topic, but for its correlation id and its batches.
#[derive(Debug, Clone)]
pub struct ProduceTemplate {
    /// Everything before the number of partitions, the frame's length field included.
    head: Vec<u8>,
    flexible: bool,
}

impl ProduceTemplate {
    /// For batches of `topic`.
    ///
    /// # Errors
    /// A topic name or version that does not encode.
    pub fn new(version: i16, topic: &str, acks: i16) -> Result<Self, WireError> {
        Self::of(version, produce_request(topic, &[], acks))
    }

    /// The same, of a transactional producer.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn transactional(version: i16, topic: &str, id: &StrBytes) -> Result<Self, WireError> {
        let mut request = produce_request(topic, &[], -1);
        request.transactional_id = Some(id.clone());
        Self::of(version, request)
    }

    fn of(version: i16, request: ProduceRequest) -> Result<Self, WireError> {
        let mut frame = encode(&request, version, 0)?;
        let flexible = ProduceRequest::is_flexible(ApiVersion::new(version));
        // The number of partitions is four bytes; or one (compact, 0 + 1), with the tagged fields of the topic and of
        // the request behind it.
        frame.truncate(frame.len() - if flexible { 3 } else { 4 });
        Ok(Self { head: frame.to_vec(), flexible })
    }

    /// Appends the beginning of a request of that many partitions. Returns where it begins, for [`end`](Self::end).
    pub fn begin(&self, out: &mut Vec<u8>, correlation: i32, partitions: usize) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.head);
        out[start + 8..start + 12].copy_from_slice(&correlation.to_be_bytes());
        self.push_length(out, partitions);
        start
    }

    /// Appends a partition; `append_batch` appends exactly `batch_bytes`.
    pub fn partition(
        &self,
        out: &mut Vec<u8>,
        partition: i32,
        batch_bytes: usize,
        append_batch: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(&partition.to_be_bytes());
        self.push_length(out, batch_bytes);
        let before = out.len();
        append_batch(out);
        assert_eq!(out.len() - before, batch_bytes, "the batch's size was foretold");
        if self.flexible {
            out.push(0);
        }
    }

    /// Ends the request that begins at `start`.
    pub fn end(&self, out: &mut Vec<u8>, start: usize) {
        if self.flexible {
            out.extend_from_slice(&[0, 0]);
        }
        let size = u32::try_from(out.len() - start - 4).expect("a request is far below 4 GiB");
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// A length or a count, as the version writes it.
    fn push_length(&self, out: &mut Vec<u8>, length: usize) {
        if !self.flexible {
            let length = i32::try_from(length).expect("a batch is far below 2 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            return;
        }
        let mut length = length + 1;
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
    }
}

fn produce_request(topic: &str, partitions: &[(i32, Bytes)], acks: i16) -> ProduceRequest {
    let partition_data = |(index, records): &(i32, Bytes)| {
        let mut data = produce_request::PartitionProduceData::default();
        data.index = *index;
        data.records = Some(records.clone());
        data
    };
    let mut topic_data = produce_request::TopicProduceData::default();
    topic_data.name = StrBytes::from(topic);
    topic_data.partition_data = partitions.iter().map(partition_data).collect();
    let mut request = ProduceRequest::default();
    request.acks = acks;
    request.timeout_ms = PRODUCE_TIMEOUT_MS;
    request.topic_data = vec![topic_data];
    request
}

/// The answer to a request made by [`ProduceTemplate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceAnswer {
    /// Which request.
    pub correlation: i32,
    /// Ascending by index.
    partitions: Vec<PartitionAnswer>,
}

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionAnswer {
    index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// Offset of the batch's first record.
    pub base_offset: i64,
}

impl ProduceAnswer {
    /// What became of a partition's batch; `None` if nothing is said of it.
    pub fn of(&self, partition: i32) -> Option<PartitionAnswer> {
        let place = self.partitions.binary_search_by_key(&partition, |answer| answer.index).ok()?;
        self.partitions.get(place).copied()
    }
}

/// Decodes an answer to Produce.
///
/// # Errors
/// Bytes that are not one.
pub fn produce_answer(frame: Bytes, version: i16) -> Result<ProduceAnswer, WireError> {
    let (correlation, body) = decode::<ProduceRequest, ProduceResponse>(frame, version)?;
    let partitions = body.responses.iter().flat_map(|topic| &topic.partition_responses);
    let mut partitions: Vec<_> = partitions
        .map(|one| PartitionAnswer {
            index: one.index,
            error_code: one.error_code,
            base_offset: one.base_offset,
        })
        .collect();
    partitions.sort_unstable_by_key(|answer| answer.index);
    Ok(ProduceAnswer { correlation, partitions })
}

/// What one Fetch asks for.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Longest wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Bytes that end the wait.
    pub min_bytes: i32,
    /// Most bytes of an answer.
    pub max_bytes: i32,
    /// Most bytes of one partition.
    pub partition_max_bytes: i32,
    /// What is seen of transactions.
    pub isolation: Isolation,
}

/// What one Fetch names.
#[derive(Debug)]
pub struct FetchAsk<'a> {
    /// Name and id of the topic.
    pub topic: (&'a str, Uuid),
    /// Session and its epoch.
    pub session: (i32, i32),
    /// Partitions and the offsets that are wanted of them.
    pub partitions: Vec<(i32, i64)>,
    /// Partitions that the session is to forget.
    pub forgotten: Vec<i32>,
}

/// Encodes a Fetch.
///
/// # Errors
/// As [`encode`].
pub fn fetch(
    version: i16,
    correlation: i32,
    ask: FetchAsk<'_>,
    limits: FetchLimits,
) -> Result<BytesMut, WireError> {
    let mut fetch_topic = fetch_request::FetchTopic::default();
    if version >= 13 {
        fetch_topic.topic_id = ask.topic.1;
    } else {
        fetch_topic.topic = StrBytes::from(ask.topic.0);
    }
    for (index, offset) in ask.partitions {
        let mut partition = fetch_request::FetchPartition::default();
        partition.partition = index;
        partition.fetch_offset = offset;
        partition.current_leader_epoch = -1;
        partition.partition_max_bytes = limits.partition_max_bytes;
        fetch_topic.partitions.push(partition);
    }
    let mut request = FetchRequest::default();
    request.max_wait_ms = limits.max_wait_ms;
    request.min_bytes = limits.min_bytes;
    request.max_bytes = limits.max_bytes;
    request.isolation_level = limits.isolation as i8;
    (request.session_id, request.session_epoch) = ask.session;
    if !ask.forgotten.is_empty() {
        let mut forgotten = fetch_request::ForgottenTopic::default();
        (forgotten.topic, forgotten.topic_id) = (fetch_topic.topic.clone(), fetch_topic.topic_id);
        forgotten.partitions = ask.forgotten;
        request.forgotten_topics_data = vec![forgotten];
    }
    if !fetch_topic.partitions.is_empty() {
        request.topics = vec![fetch_topic];
    }
    encode(&request, version, correlation)
}

/// Decodes an answer to Fetch.
///
/// # Errors
/// Bytes that are not one.
pub fn fetch_answer(frame: Bytes, version: i16) -> Result<(i32, FetchResponse), WireError> {
    decode::<FetchRequest, FetchResponse>(frame, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_s_bytes_are_those_of_the_message_definition() {
        for version in 3..=12 {
            for sizes in [&[1usize][..], &[126], &[127], &[128], &[70_000], &[3, 200, 1], &[5; 200]] {
                let batches: Vec<_> =
                    (3..).zip(sizes).map(|(index, size)| (index, Bytes::from(vec![0xab; *size]))).collect();
                let expected =
                    encode(&produce_request("a topic", &batches, -1), version, 77).expect("encodes");
                let template = ProduceTemplate::new(version, "a topic", -1).expect("encodes");
                let mut found = vec![9, 9];
                let start = template.begin(&mut found, 77, batches.len());
                for (index, batch) in &batches {
                    template.partition(&mut found, *index, batch.len(), |out| out.extend_from_slice(batch));
                }
                template.end(&mut found, start);
                assert_eq!(found[2..], expected, "version {version}, {sizes:?} bytes");
            }
        }
    }
}
