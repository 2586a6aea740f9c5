//! ElectLeaders (43), versions 0 to 2. Every partition is led by its only replica: no election is ever needed.
//!
//! Source: Kafka 4.1, `ReplicationControlManager.electLeaders`.

use super::{Context, text};
use crate::{
    model::{ErrorCode, PartitionIndex},
    wire::messages::{
        ElectLeadersRequest, ElectLeadersResponse,
        elect_leaders_response::{PartitionResult, ReplicaElectionResult},
    },
};

/// Says of each partition that was named why its leader stays; of all partitions, nothing.
pub async fn handle(
    request: ElectLeadersRequest,
    _version: i16,
    context: &Context<'_>,
) -> ElectLeadersResponse {
    let mut response = ElectLeadersResponse::default();
    for topic in request.topic_partitions.into_iter().flatten() {
        let known = context.view.topic(&topic.topic);
        let result = |index: i32| {
            let (code, message) = match known {
                None => (ErrorCode::UnknownTopicOrPartition, format!("No such topic as {}", topic.topic)),
                Some(known) if known.partition(PartitionIndex::new(index)).is_none() => (
                    ErrorCode::UnknownTopicOrPartition,
                    format!("No such partition as {}-{index}", topic.topic),
                ),
                Some(_) => (
                    ErrorCode::ElectionNotNeeded,
                    "Leader election not needed for topic partition.".to_owned(),
                ),
            };
            let mut result = PartitionResult::default();
            (result.partition_id, result.error_code) = (index, code.number());
            result.error_message = Some(text(message));
            result
        };
        let mut results = ReplicaElectionResult::default();
        results.partition_result = topic.partitions.iter().map(|&index| result(index)).collect();
        results.topic = topic.topic;
        response.replica_election_results.push(results);
    }
    response
}
