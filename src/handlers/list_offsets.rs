//! ListOffsets: earliest, latest, by time, largest time.

use std::{collections::HashSet, rc::Rc};

use bytes::Bytes;

use crate::{
    model::{ErrorCode, LeaderEpoch, PartitionIndex, ShardId, TopicPartition},
    partition::{FoundOffset, ReadError},
    shard::{
        Shard,
        work::{Answer, OffsetQuestion, WantedOffset, Work},
    },
    wire::messages::{
        ListOffsetsRequest, ListOffsetsResponse, decode_body,
        list_offsets_request::ListOffsetsPartition,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::{
    dispatch::{Close, Head, by_owner, leader_here},
    fetch::read_error_code,
};

// Source: Kafka, `ListOffsetsRequest`.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// First offset on this broker's own disks: without tiered storage the earliest (KIP-405).
const EARLIEST_LOCAL: i64 = -4;
/// First version whose answers name the leader epoch. Source: KIP-320.
const FIRST_WITH_LEADER_EPOCH: i16 = 4;
/// Last offset in tiered storage: there is none (KIP-1005).
const LATEST_TIERED: i64 = -5;
/// The special times, each with the first version that knows it. Source: Kafka 4.1, `ReplicaManager`.
const FIRST_WITH: [(i64, i16); 5] =
    [(EARLIEST, 0), (LATEST, 0), (MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9)];

/// Answers where the wanted offsets are.
pub async fn handle(shard: &Rc<Shard>, head: Head, body: Bytes) -> Result<ListOffsetsResponse, Close> {
    let request: ListOffsetsRequest = decode_body(body, head.version)?;
    let view = shard.view();
    let mut response = ListOffsetsResponse::default();
    let mut questions = Vec::new();
    for topic in &request.topics {
        let mut answers = ListOffsetsTopicResponse::default();
        answers.name = topic.name.clone();
        let repeated = repeated(&topic.partitions);
        for asked in &topic.partitions {
            let mut answer = ListOffsetsPartitionResponse::default();
            answer.partition_index = asked.partition_index;
            answer.timestamp = -1;
            answer.offset = -1;
            answer.leader_epoch = -1;
            let asks = if repeated.contains(&asked.partition_index) {
                Err(ErrorCode::InvalidRequest)
            } else {
                question(shard, view.topic(topic.name.as_str()), asked, head.version)
            };
            match asks {
                Ok(Some((owner, question))) => {
                    let place = (response.topics.len(), answers.partitions.len());
                    questions.push((owner, question, place));
                }
                Ok(None) => {}
                Err(error) => answer.error_code = error.number(),
            }
            answers.partitions.push(answer);
        }
        response.topics.push(answers);
    }
    for (owner, questions, places) in by_owner(questions) {
        let Answer::ListOffsets(results) = shard.work(owner, Work::ListOffsets(questions)).await else {
            panic!("another answer than that to a question for offsets");
        };
        for (result, (topic, partition)) in results.into_iter().zip(places) {
            fill(&mut response.topics[topic].partitions[partition], result, head.version);
        }
    }
    Ok(response)
}

/// The partitions that are asked for more than once.
fn repeated(asked: &[ListOffsetsPartition]) -> HashSet<i32> {
    let mut seen = HashSet::new();
    asked.iter().map(|one| one.partition_index).filter(|&index| !seen.insert(index)).collect()
}

type Question = Option<(ShardId, OffsetQuestion)>;

fn question(
    shard: &Shard,
    topic: Option<&std::sync::Arc<crate::model::TopicView>>,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<Question, ErrorCode> {
    let (topic, placed) = leader_here(shard, topic, PartitionIndex::new(asked.partition_index))?;
    let is_known = |&(special, first): &(i64, i16)| special == asked.timestamp && version >= first;
    if asked.timestamp < 0 && !FIRST_WITH.iter().any(is_known) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let wanted = match asked.timestamp {
        LATEST => WantedOffset::Latest,
        EARLIEST | EARLIEST_LOCAL => WantedOffset::Earliest,
        MAX_TIMESTAMP => WantedOffset::MaxTimestamp,
        LATEST_TIERED => return Ok(None),
        timestamp => WantedOffset::AtOrAfter(timestamp),
    };
    let leader_epoch =
        (asked.current_leader_epoch >= 0).then(|| LeaderEpoch::new(asked.current_leader_epoch));
    let partition = TopicPartition { topic: topic.id, partition: placed.index };
    Ok(Some((placed.shard, OffsetQuestion { partition, leader_epoch, wanted })))
}

fn fill(
    answer: &mut ListOffsetsPartitionResponse,
    result: Result<Option<FoundOffset>, ReadError>,
    version: i16,
) {
    match result {
        Ok(Some(found)) => {
            answer.offset = found.offset.get();
            answer.timestamp = found.timestamp;
            if version >= FIRST_WITH_LEADER_EPOCH {
                answer.leader_epoch = found.leader_epoch.get();
            }
        }
        Ok(None) => {}
        Err(error) => answer.error_code = read_error_code(&error).number(),
    }
}
