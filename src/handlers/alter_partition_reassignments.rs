//! AlterPartitionReassignments (45), version 0. A partition has one replica and stays where it is: to ask for its
//! own place is done at once, for any other is refused, and there is nothing to cancel.
//!
//! Source: Kafka 4.0, `ReplicationControlManager.alterPartitionReassignments`.

use super::{Context, text};
use crate::{
    model::{ErrorCode, PartitionIndex, TopicView},
    wire::messages::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
        alter_partition_reassignments_request::ReassignablePartition,
        alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse},
    },
};

/// Says of each partition whether it is where it was asked to be.
pub async fn handle(
    request: AlterPartitionReassignmentsRequest,
    _version: i16,
    context: &Context<'_>,
) -> AlterPartitionReassignmentsResponse {
    let mut response = AlterPartitionReassignmentsResponse::default();
    response.error_message = None;
    for topic in request.topics {
        let known = context.view.topic(&topic.name).map(AsRef::as_ref);
        let answer = |asked: &ReassignablePartition| {
            let mut answer = ReassignablePartitionResponse::default();
            answer.partition_index = asked.partition_index;
            answer.error_message = None;
            if let Err((code, message)) = reassign(known, asked) {
                answer.error_code = code.number();
                answer.error_message = Some(text(message));
            }
            answer
        };
        let mut answers = ReassignableTopicResponse::default();
        answers.partitions = topic.partitions.iter().map(answer).collect();
        answers.name = topic.name;
        response.responses.push(answers);
    }
    response
}

fn reassign(topic: Option<&TopicView>, asked: &ReassignablePartition) -> Result<(), (ErrorCode, String)> {
    let placed = topic.and_then(|topic| topic.partition(PartitionIndex::new(asked.partition_index)));
    let Some(placed) = placed else {
        return Err((ErrorCode::UnknownTopicOrPartition, "This partition does not exist.".to_owned()));
    };
    match &asked.replicas {
        None => {
            Err((ErrorCode::NoReassignmentInProgress, "No partition reassignment is in progress.".to_owned()))
        }
        Some(replicas) if *replicas == placed.replicas => Ok(()),
        Some(replicas) => Err((
            ErrorCode::InvalidReplicaAssignment,
            format!("A partition stays where it is: on {:?}, not on {replicas:?}.", placed.replicas),
        )),
    }
}
