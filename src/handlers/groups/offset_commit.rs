//! OffsetCommit (8), versions 2 to 9: answered once the offsets are durable.
//!
//! Source: Kafka 4.1, `KafkaApis.handleOffsetCommitRequest`, `OffsetMetadataManager.commitOffset`.

use super::{super::Context, code_of, owned};
use crate::{
    coordinator::{
        messages::{CoordinatorError, GroupAnswer, GroupRequest, MemberOf, NewOffset},
        offsets::Partition,
    },
    model::{ErrorCode, PartitionIndex},
    wire::messages::{
        OffsetCommitRequest, OffsetCommitResponse,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    },
};

/// First version whose clients know GROUP_ID_NOT_FOUND; the others are told of a generation that is not.
const GROUP_NOT_FOUND: i16 = 9;

/// Commits what belongs to partitions that exist; the others are refused one by one.
pub async fn handle(
    request: OffsetCommitRequest,
    version: i16,
    context: &Context<'_>,
) -> OffsetCommitResponse {
    let mut response = OffsetCommitResponse::default();
    let mut offsets: Vec<(Partition, NewOffset)> = Vec::new();
    // Topic and partition of each in the response.
    let mut places: Vec<(usize, usize)> = Vec::new();
    for topic in request.topics {
        let known = context.view.topic(&topic.name);
        let mut answers = OffsetCommitResponseTopic::default();
        for partition in topic.partitions {
            let mut answer = OffsetCommitResponsePartition::default();
            answer.partition_index = partition.partition_index;
            let index = PartitionIndex::new(partition.partition_index);
            if known.is_some_and(|known| known.partition(index).is_some()) {
                places.push((response.topics.len(), answers.partitions.len()));
                let new = NewOffset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: owned(partition.committed_metadata).unwrap_or_default(),
                };
                offsets.push(((topic.name.to_string(), partition.partition_index), new));
            } else {
                answer.error_code = ErrorCode::UnknownTopicOrPartition.number();
            }
            answers.partitions.push(answer);
        }
        answers.name = topic.name;
        response.topics.push(answers);
    }
    if offsets.is_empty() {
        return response;
    }
    let member = MemberOf {
        member_id: request.member_id.to_string(),
        instance_id: owned(request.group_instance_id),
        generation: request.generation_id_or_member_epoch,
    };
    let commit = GroupRequest::Commit { member, offsets };
    let codes: Vec<ErrorCode> = match context.groups.ask(&request.group_id, commit).await {
        Ok(GroupAnswer::Commit(taken)) => {
            let code = |taken| if taken { ErrorCode::None } else { ErrorCode::OffsetMetadataTooLarge };
            taken.into_iter().map(code).collect()
        }
        Ok(_) => panic!("a commit was answered as something else"),
        Err(CoordinatorError::NoSuchGroup) if version < GROUP_NOT_FOUND => {
            vec![ErrorCode::IllegalGeneration; places.len()]
        }
        Err(error) => vec![code_of(&error); places.len()],
    };
    for ((topic, partition), code) in places.into_iter().zip(codes) {
        response.topics[topic].partitions[partition].error_code = code.number();
    }
    response
}
