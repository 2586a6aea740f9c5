//! DeleteRecords (21), versions 0 to 2: raises where logs start. Answered once that is durable.
//!
//! Source: Kafka 4.1, `ReplicaManager.deleteRecordsOnLocalLog`; KIP-107.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    dispatch::{Close, Head, by_owner, leader_here},
    fetch::read_error_code,
};
use crate::{
    model::{ErrorCode, Offset, PartitionIndex, ShardId, TopicPartition, TopicView},
    shard::{
        Shard,
        work::{Answer, Work},
    },
    wire::messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, decode_body,
        delete_records_request::DeleteRecordsPartition,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    },
};

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// In place of the log start offset, where there was an error.
const NO_LOW_WATERMARK: i64 = -1;

type Wanted = (TopicPartition, Option<Offset>);

/// Deletes, and says where each log starts then.
pub async fn handle(shard: &Rc<Shard>, head: Head, body: Bytes) -> Result<DeleteRecordsResponse, Close> {
    let request: DeleteRecordsRequest = decode_body(body, head.version)?;
    let view = shard.view();
    let mut response = DeleteRecordsResponse::default();
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let mut answers = DeleteRecordsTopicResult::default();
        answers.name = topic.name.clone();
        for asked in &topic.partitions {
            let mut answer = DeleteRecordsPartitionResult::default();
            answer.partition_index = asked.partition_index;
            answer.low_watermark = NO_LOW_WATERMARK;
            match judge(shard, view.topic(topic.name.as_str()), asked) {
                Ok((owner, one)) => {
                    wanted.push((owner, one, (response.topics.len(), answers.partitions.len())));
                }
                Err(error) => answer.error_code = error.number(),
            }
            answers.partitions.push(answer);
        }
        response.topics.push(answers);
    }
    for (owner, wanted, places) in by_owner(wanted) {
        let Answer::DeleteRecords(starts) = shard.work(owner, Work::DeleteRecords(wanted)).await else {
            panic!("another answer than that to a deletion of records");
        };
        for (start, (topic, partition)) in starts.into_iter().zip(places) {
            let answer = &mut response.topics[topic].partitions[partition];
            match start {
                Ok(start) => answer.low_watermark = start.get(),
                Err(error) => answer.error_code = read_error_code(&error).number(),
            }
        }
    }
    Ok(response)
}

fn judge(
    shard: &Shard,
    topic: Option<&std::sync::Arc<TopicView>>,
    asked: &DeleteRecordsPartition,
) -> Result<(ShardId, Wanted), ErrorCode> {
    let (topic, placed) = leader_here(shard, topic, PartitionIndex::new(asked.partition_index))?;
    if topic.internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !topic.settings.cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let before = match asked.offset {
        HIGH_WATERMARK => None,
        offset if offset < 0 => return Err(ErrorCode::OffsetOutOfRange),
        offset => Some(Offset::new(offset)),
    };
    Ok((placed.shard, (TopicPartition { topic: topic.id, partition: placed.index }, before)))
}
