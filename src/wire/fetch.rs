//! Fetch: the request as a borrowed view, the response as pieces for a vectored send.
//!
//! Versions 4 to 17. Fields: 5 has log start offsets; 7 sessions and forgotten topics; 9 the leader epoch
//! the client knows; 11 racks and the preferred replica; 12 is flexible and has the last fetched epoch;
//! 13 has topic ids in place of names; 15 moves the replica id into a tagged field; 16 may answer
//! endpoints of new leaders; 17 lets a follower name its directory (skipped here).
//!
//! Source: Kafka 4.0, `FetchRequest.json`, `FetchResponse.json`.

use bytes::{Bytes, BytesMut};
use corelane_model::{ErrorCode, TopicId};

use crate::{
    api,
    codec::{Reader, WireError, Writer},
    header::{begin_response, set_frame_size},
};

/// A Fetch request, borrowed from the frame it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// The follower that asks, or -1 for a consumer.
    pub replica_id: i32,
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Fewest bytes worth an answer before `max_wait_ms` is over.
    pub min_bytes: i32,
    /// Most bytes of records in the answer, save that its first batch is always whole.
    pub max_bytes: i32,
    /// 0: read uncommitted, 1: read committed. Unchecked.
    pub isolation_level: i8,
    /// The session asked for, 0 for none (KIP-227).
    pub session_id: i32,
    /// Its epoch: 0 asks for a new session, -1 for none or for its end.
    pub session_epoch: i32,
    /// What to read where.
    pub topics: Vec<FetchTopic<'a>>,
    /// What to take out of the session.
    pub forgotten_topics: Vec<ForgottenTopic<'a>>,
    /// Where the client runs; empty if it does not say.
    pub rack_id: &'a str,
}

/// One topic of a Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic<'a> {
    /// Its name, unchecked, up to version 12; then `None`.
    pub name: Option<&'a str>,
    /// Its id from version 13 on; before that [`TopicId::ZERO`].
    pub topic_id: TopicId,
    /// What to read of its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// One partition of a Fetch request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// Its number, unchecked.
    pub index: i32,
    /// The leader epoch the client knows, -1 for none.
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Epoch of the last record fetched before, -1 for none.
    pub last_fetched_epoch: i32,
    /// First offset of a follower's log; -1 from consumers.
    pub log_start_offset: i64,
    /// Most bytes wanted of this partition.
    pub partition_max_bytes: i32,
}

/// Partitions to take out of a fetch session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic<'a> {
    /// The topic's name, unchecked, up to version 12; then `None`.
    pub name: Option<&'a str>,
    /// Its id from version 13 on; before that [`TopicId::ZERO`].
    pub topic_id: TopicId,
    /// Numbers of the partitions.
    pub partitions: Vec<i32>,
}

// Fewest bytes of one element on the wire, in any version.
const TOPIC_BYTES_MIN: usize = 1 + 1;
const PARTITION_BYTES_MIN: usize = 4 + 8 + 4;
const FIRST_WITH_TOPIC_IDS: i16 = 13;

impl<'a> FetchRequest<'a> {
    /// Reads the body of a request of a served version.
    ///
    /// # Errors
    /// [`WireError`] if the version is not served, or the body does not begin with a request. What follows
    /// its last field is ignored, as Kafka does.
    pub fn parse(body: &'a [u8], version: i16) -> Result<Self, WireError> {
        if !api::FETCH.serves(version) {
            return Err(WireError::Version { api: api::FETCH.name, version });
        }
        let reader = &mut Reader::new(body, api::FETCH.is_flexible(version));
        let mut request = Self {
            replica_id: if version <= 14 { reader.int32()? } else { -1 },
            max_wait_ms: reader.int32()?,
            min_bytes: reader.int32()?,
            max_bytes: reader.int32()?,
            isolation_level: reader.int8()?,
            session_id: if version >= 7 { reader.int32()? } else { 0 },
            session_epoch: if version >= 7 { reader.int32()? } else { -1 },
            topics: parse_many(reader, TOPIC_BYTES_MIN, |reader| FetchTopic::parse(reader, version))?,
            forgotten_topics: Vec::new(),
            rack_id: "",
        };
        if version >= 7 {
            let forgotten = |reader: &mut Reader<'a>| ForgottenTopic::parse(reader, version);
            request.forgotten_topics = parse_many(reader, TOPIC_BYTES_MIN, forgotten)?;
        }
        if version >= 11 {
            request.rack_id = reader.string()?;
        }
        reader.tagged_fields(|tag, value| match tag {
            // The cluster id: nobody but a follower of the metadata quorum sends it.
            0 => value.nullable_string().map(|_| true),
            1 if version >= 15 => {
                request.replica_id = value.int32()?;
                value.int64()?;
                value.skip_tagged_fields()?;
                Ok(true)
            }
            _ => Ok(false),
        })?;
        Ok(request)
    }
}

fn parse_many<'a, T>(
    reader: &mut Reader<'a>,
    bytes_min: usize,
    mut parse: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = reader.count(bytes_min)?;
    let mut many = Vec::with_capacity(count);
    for _ in 0..count {
        many.push(parse(reader)?);
    }
    Ok(many)
}

/// Name or id of a topic, by version.
fn parse_topic<'a>(reader: &mut Reader<'a>, version: i16) -> Result<(Option<&'a str>, TopicId), WireError> {
    if version >= FIRST_WITH_TOPIC_IDS {
        Ok((None, TopicId::from_bytes(reader.uuid()?)))
    } else {
        Ok((Some(reader.string()?), TopicId::ZERO))
    }
}

impl<'a> FetchTopic<'a> {
    fn parse(reader: &mut Reader<'a>, version: i16) -> Result<Self, WireError> {
        let (name, topic_id) = parse_topic(reader, version)?;
        let partition = |reader: &mut Reader<'a>| FetchPartition::parse(reader, version);
        let partitions = parse_many(reader, PARTITION_BYTES_MIN, partition)?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partitions })
    }
}

impl FetchPartition {
    fn parse(reader: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let partition = Self {
            index: reader.int32()?,
            current_leader_epoch: if version >= 9 { reader.int32()? } else { -1 },
            fetch_offset: reader.int64()?,
            last_fetched_epoch: if version >= 12 { reader.int32()? } else { -1 },
            log_start_offset: if version >= 5 { reader.int64()? } else { -1 },
            partition_max_bytes: reader.int32()?,
        };
        reader.skip_tagged_fields()?;
        Ok(partition)
    }
}

impl<'a> ForgottenTopic<'a> {
    fn parse(reader: &mut Reader<'a>, version: i16) -> Result<Self, WireError> {
        let (name, topic_id) = parse_topic(reader, version)?;
        let partitions = parse_many(reader, 4, Reader::int32)?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partitions })
    }
}

/// A Fetch response, before it is cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse<'a, P = Bytes> {
    /// How long the client should stay silent.
    pub throttle_ms: i32,
    /// What is wrong with the request as a whole. Sent from version 7 on.
    pub error: ErrorCode,
    /// The session, 0 for none. Sent from version 7 on.
    pub session_id: i32,
    /// What was read.
    pub topics: Vec<FetchTopicResponse<'a, P>>,
    /// Where the leaders named in [`FetchPartitionResponse::current_leader`] are. Sent from version 16 on.
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// What was read of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopicResponse<'a, P = Bytes> {
    /// Its name as the request gave it; sent up to version 12.
    pub name: &'a str,
    /// Its id as the request gave it; sent from version 13 on.
    pub topic_id: TopicId,
    /// What was read of its partitions.
    pub partitions: Vec<FetchPartitionResponse<P>>,
}

/// A transaction that was aborted within the range read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: i64,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartitionResponse<P = Bytes> {
    /// Its number as the request gave it.
    pub index: i32,
    /// What went wrong.
    pub error: ErrorCode,
    /// First offset not on every in-sync replica, -1 if unknown.
    pub high_watermark: i64,
    /// First offset of an undecided transaction, else the high watermark; -1 if unknown.
    pub last_stable_offset: i64,
    /// First offset of the log, -1 if unknown. Sent from version 5 on.
    pub log_start_offset: i64,
    /// Where the client's log parts from ours (KIP-595): epoch and its end offset. From version 12 on.
    pub diverging_epoch: Option<(i32, i64)>,
    /// The leader and its epoch, if not the one asked (KIP-951). Sent from version 12 on.
    pub current_leader: Option<(i32, i32)>,
    /// For `read_committed`, ascending by first offset; `None` (null) for `read_uncommitted`.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Whom to ask instead (KIP-392), -1 for nobody. Sent from version 11 on.
    pub preferred_read_replica: i32,
    /// Whole batches, in order, as parts of wherever they lie; they are sent as they are.
    pub records: Vec<P>,
}

/// A part of a frame: bytes, or something that whoever sends it can turn into bytes.
pub trait FramePiece: From<Bytes> {
    /// Bytes that it will be.
    fn frame_bytes(&self) -> usize;
}

impl FramePiece for Bytes {
    fn frame_bytes(&self) -> usize {
        self.len()
    }
}

impl<P: FramePiece> FetchPartitionResponse<P> {
    /// The answer for a partition of which nothing can be read.
    #[must_use]
    pub fn refused(index: i32, error: ErrorCode) -> Self {
        Self {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }

    /// Bytes of records it carries.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        self.records.iter().map(P::frame_bytes).sum()
    }
}

/// Where a broker can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// Its number.
    pub node_id: i32,
    /// Its host.
    pub host: &'a str,
    /// Its port.
    pub port: i32,
    /// Where it runs.
    pub rack: Option<&'a str>,
}

/// Cuts header pieces off one growing buffer wherever records go out as they lie.
struct Pieces<P> {
    /// The first piece; kept open, because it holds the size of all.
    front: Option<BytesMut>,
    rest: Vec<P>,
    out: BytesMut,
    flexible: bool,
}

impl<P: FramePiece> Pieces<P> {
    fn writer(&mut self) -> Writer<'_> {
        Writer::new(&mut self.out, self.flexible)
    }

    fn records(&mut self, records: Vec<P>) {
        for slice in records {
            if slice.frame_bytes() == 0 {
                continue;
            }
            let header = self.out.split();
            if self.front.is_none() {
                self.front = Some(header);
            } else if !header.is_empty() {
                self.rest.push(header.freeze().into());
            }
            self.rest.push(slice);
        }
    }

    fn finish(self) -> Vec<P> {
        let Self { front, mut rest, out, .. } = self;
        let mut front = match front {
            Some(front) => {
                if !out.is_empty() {
                    rest.push(out.freeze().into());
                }
                front
            }
            None => out,
        };
        set_frame_size(&mut front, rest.iter().map(P::frame_bytes).sum());
        rest.insert(0, front.freeze().into());
        rest
    }
}

impl<P: FramePiece> FetchResponse<'_, P> {
    /// The whole frame in pieces, to be sent one after the other: small headers, and the record slices
    /// untouched between them. The size prefix, in the first piece, counts them all. No piece is empty.
    #[must_use]
    pub fn into_frame(self, correlation_id: i32, version: i16) -> Vec<P> {
        let partitions = || self.topics.iter().flat_map(|topic| &topic.partitions);
        let pieces_max: usize = partitions().map(|partition| partition.records.len() + 1).sum();
        let header_bytes = 64 + self.topics.len() * 64 + partitions().count() * 96;
        let mut out = BytesMut::with_capacity(header_bytes);
        begin_response(&mut out, &api::FETCH, version, correlation_id);
        let flexible = api::FETCH.is_flexible(version);
        let mut pieces = Pieces { front: None, rest: Vec::with_capacity(pieces_max + 2), out, flexible };

        let mut writer = pieces.writer();
        writer.int32(self.throttle_ms);
        if version >= 7 {
            writer.int16(self.error.number());
            writer.int32(self.session_id);
        }
        writer.count(self.topics.len());
        for topic in self.topics {
            topic.write(&mut pieces, version);
        }
        let mut writer = pieces.writer();
        if version >= 16 && !self.node_endpoints.is_empty() {
            write_node_endpoints(&mut writer, &self.node_endpoints);
        } else {
            writer.no_tagged_fields();
        }
        pieces.finish()
    }
}

impl<P: FramePiece> FetchTopicResponse<'_, P> {
    fn write(self, pieces: &mut Pieces<P>, version: i16) {
        let mut writer = pieces.writer();
        if version >= FIRST_WITH_TOPIC_IDS {
            writer.uuid(self.topic_id.to_bytes());
        } else {
            writer.string(self.name);
        }
        writer.count(self.partitions.len());
        for partition in self.partitions {
            partition.write(pieces, version);
        }
        pieces.writer().no_tagged_fields();
    }
}

impl<P: FramePiece> FetchPartitionResponse<P> {
    fn write(self, pieces: &mut Pieces<P>, version: i16) {
        let records_bytes = self.records_bytes();
        let mut writer = pieces.writer();
        writer.int32(self.index);
        writer.int16(self.error.number());
        writer.int64(self.high_watermark);
        writer.int64(self.last_stable_offset);
        if version >= 5 {
            writer.int64(self.log_start_offset);
        }
        match &self.aborted_transactions {
            None => writer.null(),
            Some(aborted) => {
                writer.count(aborted.len());
                for transaction in aborted {
                    writer.int64(transaction.producer_id);
                    writer.int64(transaction.first_offset);
                    writer.no_tagged_fields();
                }
            }
        }
        if version >= 11 {
            writer.int32(self.preferred_read_replica);
        }
        // Without records the field is empty and not null, as Kafka's broker sends it.
        writer.bytes_length(records_bytes);
        pieces.records(self.records);

        let mut writer = pieces.writer();
        if !writer.is_flexible() {
            return;
        }
        // Both tagged fields known here are 12 and 8 bytes and end in tagged fields of their own.
        let set = u32::from(self.diverging_epoch.is_some()) + u32::from(self.current_leader.is_some());
        writer.unsigned_varint(set);
        if let Some((epoch, end_offset)) = self.diverging_epoch {
            writer.unsigned_varint(0);
            writer.unsigned_varint(4 + 8 + 1);
            writer.int32(epoch);
            writer.int64(end_offset);
            writer.no_tagged_fields();
        }
        if let Some((leader_id, leader_epoch)) = self.current_leader {
            writer.unsigned_varint(1);
            writer.unsigned_varint(4 + 4 + 1);
            writer.int32(leader_id);
            writer.int32(leader_epoch);
            writer.no_tagged_fields();
        }
    }
}

/// The tagged fields of the response: number 0, the endpoints.
fn write_node_endpoints(writer: &mut Writer<'_>, endpoints: &[NodeEndpoint<'_>]) {
    let mut field = BytesMut::new();
    let mut value = Writer::new(&mut field, true);
    value.count(endpoints.len());
    for endpoint in endpoints {
        value.int32(endpoint.node_id);
        value.string(endpoint.host);
        value.int32(endpoint.port);
        value.nullable_string(endpoint.rack);
        value.no_tagged_fields();
    }
    writer.unsigned_varint(1);
    writer.unsigned_varint(0);
    writer.unsigned_varint(field.len() as u32);
    writer.out.extend_from_slice(&field);
}
