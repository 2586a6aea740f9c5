//! Produce: checks, validates, hands each batch to the core that owns its partition, answers when safe.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    metrics::{Counter, Laps, Stage},
    model::{ErrorCode, PartitionIndex, ShardId, TopicId, TopicPartition, TopicSettings, TopicView},
    partition::{Acks, AppendError},
    record::{self, CompressionError, RecordBatch, RecordsError, Refusal, Rules, Sound},
    shard::{
        Shard,
        work::{ProducePart, ProduceWork},
    },
    wire::produce::{
        ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceTopicResponse,
        encode_produce_response,
    },
};

use super::{
    account::Account,
    dispatch::{Answer, Close, Head, Response, log_error_code},
};

/// First version whose clients know zstd. Source: KIP-110.
const FIRST_WITH_ZSTD: i16 = 7;

/// One topic of the request, with the answers as they become known.
struct Topic {
    name: String,
    partitions: Vec<ProducePartitionResponse>,
}

/// Where the answer to a part of a hand-over belongs: topic and partition, as places in the request; and what
/// is to be counted for it.
struct Place {
    topic: usize,
    partition: usize,
    of: TopicId,
    bytes: u64,
}

/// What goes to one core.
struct Group {
    owner: ShardId,
    parts: Vec<ProducePart>,
    places: Vec<Place>,
}

/// First stage: when this returns, every accepted batch has its place in its partition's order. The
/// future that it gives is the second stage.
pub fn handle(
    shard: &Rc<Shard>,
    account: &Account,
    head: Head,
    body: &Bytes,
    mut laps: Laps,
) -> Result<Response, Close> {
    let request = ProduceRequest::parse(body, head.version)?;
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let now_ms = shard.clock().wall_ms();
    let view = shard.view();
    let mut groups: Vec<Group> = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = view.topic(topic.name);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.index;
            let checked = match (acks, known) {
                (None, _) => Err(refused(index, ErrorCode::InvalidRequiredAcks, None)),
                (_, None) => Err(refused(index, ErrorCode::UnknownTopicOrPartition, None)),
                (Some(_), Some(known)) => check(shard, known, partition, head.version, now_ms),
            };
            let answer = match checked {
                Ok((owner, part, answer)) => {
                    let (of, bytes) = (part.partition.topic, part.batch.len() as u64);
                    let place = Place { topic: topics.len(), partition: answers.len(), of, bytes };
                    add(&mut groups, owner, part, place);
                    answer
                }
                Err(answer) => answer,
            };
            answers.push(answer);
        }
        topics.push(Topic { name: topic.name.to_owned(), partitions: answers });
    }
    shard.lap(&mut laps, Stage::Parse);
    let acks = acks.unwrap_or(Acks::Leader); // nothing was accepted with other acks
    let handed_over: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let work = ProduceWork { parts: group.parts, acks, now_ms };
            (shard.produce(group.owner, work), group.places)
        })
        .collect();
    shard.lap(&mut laps, Stage::Append);
    let throttle_ms = account.charge(shard, body.len());
    let shard = shard.clone();
    Ok(Box::pin(async move {
        for (handed_over, places) in handed_over {
            for (result, place) in handed_over.done().await.into_iter().zip(places) {
                let answer = &mut topics[place.topic].partitions[place.partition];
                match result {
                    Ok(appended) => {
                        let records = appended.end.get() - appended.base_offset.get();
                        shard.metrics().add(Counter::RecordsIn, records as u64);
                        shard.traffic().produced(place.of, place.bytes, records as u64);
                        answer.base_offset = appended.base_offset.get();
                        answer.log_start_offset = appended.log_start_offset.get();
                    }
                    Err(error) => {
                        let message = Some(error.to_string());
                        *answer = refused(answer.index, append_error_code(&error), message);
                    }
                }
            }
        }
        shard.lap(&mut laps, Stage::Flush);
        let errors = topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .filter(|answer| answer.error != ErrorCode::None);
        if acks == Acks::None {
            // Nobody listens; closing is the only way to tell (as Kafka does).
            return match errors.map(|answer| answer.error).next() {
                Some(error) => Err(Close::ProduceUnanswered(error)),
                None => Ok(Answer { pieces: Vec::new(), laps }),
            };
        }
        errors.for_each(|answer| shard.metrics().count_errors(head.api.key, answer.error.number(), 1));
        let topics: Vec<_> = topics
            .iter_mut()
            .map(|topic| ProduceTopicResponse {
                name: &topic.name,
                partitions: std::mem::take(&mut topic.partitions),
            })
            .collect();
        let frame = encode_produce_response(head.correlation_id, head.version, &topics, throttle_ms);
        Ok(Answer { pieces: vec![frame.into()], laps })
    }))
}

fn refused(index: i32, error: ErrorCode, message: Option<String>) -> ProducePartitionResponse {
    ProducePartitionResponse::refused(index, error, message)
}

fn add(groups: &mut Vec<Group>, owner: ShardId, part: ProducePart, place: Place) {
    let group = match groups.iter_mut().position(|group| group.owner == owner) {
        Some(known) => &mut groups[known],
        None => {
            groups.push(Group { owner, parts: Vec::new(), places: Vec::new() });
            let last = groups.len() - 1;
            &mut groups[last]
        }
    };
    group.parts.push(part);
    group.places.push(place);
}

type Checked = (ShardId, ProducePart, ProducePartitionResponse);

/// Everything that can be said of a batch without its partition's state.
fn check(
    shard: &Shard,
    topic: &Arc<TopicView>,
    partition: ProducePartition,
    version: i16,
    now_ms: i64,
) -> Result<Checked, ProducePartitionResponse> {
    let index = partition.index;
    let placed = topic
        .partition(PartitionIndex::new(index))
        .ok_or_else(|| refused(index, ErrorCode::UnknownTopicOrPartition, None))?;
    if !shard.settings().is_own(placed.leader) {
        return Err(refused(index, ErrorCode::NotLeaderOrFollower, None));
    }
    if topic.internal {
        return Err(refused(index, ErrorCode::InvalidTopicException, None));
    }
    let settings = &topic.settings;
    let rules = Rules::of_topic(settings, version >= FIRST_WITH_ZSTD);
    let records = partition.records.unwrap_or_default();
    let sound = record::validate(&records, &rules, now_ms).map_err(|refusal| refuse(index, &refusal))?;
    if sound.transactional {
        let message = "transactions are not served".to_owned();
        return Err(refused(index, ErrorCode::InvalidTxnState, Some(message)));
    }
    let mut answer = ProducePartitionResponse::refused(index, ErrorCode::None, None);
    if sound.log_append_time {
        answer.log_append_time_ms = now_ms;
    }
    let batch = rewritten(records, settings, &sound)
        .map_err(|error| refused(index, ErrorCode::CorruptMessage, Some(error.to_string())))?;
    // In the topic's codec it may be larger than it was.
    if batch.len() > rules.max_message_bytes {
        let refusal = Refusal::TooLarge { bytes: batch.len(), max: rules.max_message_bytes };
        return Err(refuse(index, &refusal));
    }
    let partition = TopicPartition { topic: topic.id, partition: placed.index };
    Ok((placed.shard, ProducePart { partition, batch, sound }, answer))
}

/// The batch as it will be stored: in the topic's codec, with the times that the broker owns. Only where
/// that changes anything is it copied, and its CRC computed anew.
fn rewritten(records: Bytes, settings: &TopicSettings, sound: &Sound) -> Result<Bytes, CompressionError> {
    let codec = record::stored_codec(settings.compression_type).filter(|codec| *codec != sound.codec);
    if codec.is_none() && sound.fix_max_timestamp.is_none() && !sound.log_append_time {
        return Ok(records);
    }
    let whole = RecordBatch::first(&records).ok().flatten().expect("a validated batch is whole");
    let mut batch = match codec {
        Some(codec) => record::recompress(&whole, sound.codec, codec, record::stored_level(settings))?,
        None => records.to_vec(),
    };
    let set = if sound.log_append_time {
        record::set_log_append_time(&mut batch, sound.max_timestamp)
    } else if let Some(max) = sound.fix_max_timestamp {
        record::set_max_timestamp(&mut batch, max)
    } else {
        Ok(())
    };
    assert!(set.is_ok(), "a validated batch stays one: {set:?}");
    Ok(batch.into())
}

fn refuse(index: i32, refusal: &Refusal) -> ProducePartitionResponse {
    let mut answer = refused(index, refusal_code(refusal), Some(refusal.to_string()));
    let errors = refusal.record_errors().iter();
    answer.record_errors = errors.map(|error| (error.batch_index, Some(error.message.clone()))).collect();
    answer
}

fn refusal_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Malformed(_) | Refusal::Crc { .. } | Refusal::Records(RecordsError::Compression(_)) => {
            ErrorCode::CorruptMessage
        }
        Refusal::OldFormat { .. } => ErrorCode::UnsupportedForMessageFormat,
        Refusal::TooLarge { .. } => ErrorCode::MessageTooLarge,
        Refusal::UnknownCodec { .. } | Refusal::ZstdNotAllowed => ErrorCode::UnsupportedCompressionType,
        Refusal::LogAppendTime | Refusal::Timestamps(_) => ErrorCode::InvalidTimestamp,
        Refusal::Empty
        | Refusal::Magic { .. }
        | Refusal::MoreThanOne
        | Refusal::Control
        | Refusal::Count { .. }
        | Refusal::Producer { .. }
        | Refusal::Records(
            RecordsError::Batch(_) | RecordsError::Malformed { .. } | RecordsError::TrailingBytes(_),
        )
        | Refusal::Keys(_) => ErrorCode::InvalidRecord,
    }
}

/// Never UNKNOWN_SERVER_ERROR: the Java client answers that with a new epoch, and duplicates.
fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::NotLeader => ErrorCode::NotLeaderOrFollower,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::OffsetsExhausted => ErrorCode::KafkaStorageError,
        AppendError::Log(error) => log_error_code(error),
    }
}
