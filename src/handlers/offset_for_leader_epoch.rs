//! OffsetForLeaderEpoch: where an epoch ended, so that a client finds where its log parts from ours.
//!
//! Source: KIP-101, KIP-320.

use std::rc::Rc;

use bytes::Bytes;

use crate::{
    model::{LeaderEpoch, PartitionIndex, TopicPartition},
    shard::{
        Shard,
        work::{Answer, EpochQuestion, Work},
    },
    wire::messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, decode_body,
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{
    dispatch::{Close, Head, by_owner, leader_here},
    fetch::read_error_code,
};

/// Answers the end offset of each epoch; -1 where the epoch is not known.
pub async fn handle(
    shard: &Rc<Shard>,
    head: Head,
    body: Bytes,
) -> Result<OffsetForLeaderEpochResponse, Close> {
    let request: OffsetForLeaderEpochRequest = decode_body(body, head.version)?;
    let view = shard.view();
    let mut response = OffsetForLeaderEpochResponse::default();
    let mut questions = Vec::new();
    for topic in &request.topics {
        let mut answers = OffsetForLeaderTopicResult::default();
        answers.topic = topic.topic.clone();
        for asked in &topic.partitions {
            let mut answer = EpochEndOffset::default();
            answer.partition = asked.partition;
            answer.leader_epoch = -1;
            answer.end_offset = -1;
            match leader_here(shard, view.topic(topic.topic.as_str()), PartitionIndex::new(asked.partition)) {
                Ok((topic, placed)) => {
                    let current = asked.current_leader_epoch;
                    let question = EpochQuestion {
                        partition: TopicPartition { topic: topic.id, partition: placed.index },
                        current_epoch: (current >= 0).then(|| LeaderEpoch::new(current)),
                        epoch: LeaderEpoch::new(asked.leader_epoch),
                    };
                    let place = (response.topics.len(), answers.partitions.len());
                    questions.push((placed.shard, question, place));
                }
                Err(error) => answer.error_code = error.number(),
            }
            answers.partitions.push(answer);
        }
        response.topics.push(answers);
    }
    for (owner, questions, places) in by_owner(questions) {
        let Answer::EpochEnds(results) = shard.work(owner, Work::EpochEnds(questions)).await else {
            panic!("another answer than that to a question for epochs");
        };
        for (result, (topic, partition)) in results.into_iter().zip(places) {
            let answer = &mut response.topics[topic].partitions[partition];
            match result {
                Ok(Some((epoch, end))) => {
                    answer.leader_epoch = epoch.get();
                    answer.end_offset = end.get();
                }
                Ok(None) => {}
                Err(error) => answer.error_code = read_error_code(&error).number(),
            }
        }
    }
    Ok(response)
}
