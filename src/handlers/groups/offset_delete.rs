//! OffsetDelete (47), version 0: committed offsets of topics that nobody in the group reads.
//!
//! Source: Kafka 4.1, `OffsetMetadataManager.deleteOffsets`; KIP-496.

use super::{super::Context, code_of};
use crate::{
    coordinator::messages::{GroupAnswer, GroupRequest},
    model::{ErrorCode, PartitionIndex},
    wire::messages::{
        OffsetDeleteRequest, OffsetDeleteResponse,
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
    },
};

/// Deletes those of partitions that exist.
pub async fn handle(
    request: OffsetDeleteRequest,
    _version: i16,
    context: &Context<'_>,
) -> OffsetDeleteResponse {
    let mut response = OffsetDeleteResponse::default();
    let (mut partitions, mut places) = (Vec::new(), Vec::new());
    for topic in request.topics {
        let known = context.view.topic(&topic.name);
        let mut answers = OffsetDeleteResponseTopic::default();
        for partition in topic.partitions {
            let mut answer = OffsetDeleteResponsePartition::default();
            answer.partition_index = partition.partition_index;
            let index = PartitionIndex::new(partition.partition_index);
            if known.is_some_and(|known| known.partition(index).is_some()) {
                places.push((response.topics.len(), answers.partitions.len()));
                partitions.push((topic.name.to_string(), partition.partition_index));
            } else {
                answer.error_code = ErrorCode::UnknownTopicOrPartition.number();
            }
            answers.partitions.push(answer);
        }
        answers.name = topic.name;
        response.topics.push(answers);
    }
    match context.groups.ask(&request.group_id, GroupRequest::DeleteOffsets(partitions)).await {
        Ok(GroupAnswer::DeleteOffsets(free)) => {
            for ((topic, partition), free) in places.into_iter().zip(free) {
                if !free {
                    let code = ErrorCode::GroupSubscribedToTopic.number();
                    response.topics[topic].partitions[partition].error_code = code;
                }
            }
        }
        Ok(_) => panic!("a deletion of offsets was answered as something else"),
        Err(error) => {
            response.error_code = code_of(&error).number();
            response.topics.clear();
        }
    }
    response
}
