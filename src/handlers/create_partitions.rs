//! CreatePartitions (37), versions 0 to 3: topics grow, one result per topic.

use std::collections::BTreeSet;

use super::{Context, Outcomes};
use crate::{
    control::{ControlRequest, NewPartitions},
    wire::messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, StrBytes,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
    },
};

/// Adds partitions to topics, or judges whether they could be added.
pub async fn handle(
    request: CreatePartitionsRequest,
    _version: i16,
    context: &Context<'_>,
) -> CreatePartitionsResponse {
    let names: Vec<StrBytes> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let topics = request.topics.into_iter().map(new_partitions).collect();
    let call = ControlRequest::CreatePartitions { topics, validate_only: request.validate_only };
    let outcomes = Outcomes::of(context.control.call(call).await, names.len());
    let mut answered = BTreeSet::new();
    let mut response = CreatePartitionsResponse::default();
    for (index, name) in names.iter().enumerate() {
        // A name that was sent twice is answered once.
        if answered.insert(name) {
            response.results.push(result(name, &outcomes, index));
        }
    }
    response
}

fn new_partitions(topic: CreatePartitionsTopic) -> NewPartitions {
    let assignments = topic
        .assignments
        .map(|assignments| assignments.into_iter().map(|assignment| assignment.broker_ids).collect());
    NewPartitions { name: topic.name.to_string(), count: topic.count, assignments }
}

fn result(name: &StrBytes, outcomes: &Outcomes, index: usize) -> CreatePartitionsTopicResult {
    let mut result = CreatePartitionsTopicResult::default();
    result.name = name.clone();
    result.error_message = None;
    if let Err((code, message)) = outcomes.item(index) {
        result.error_code = code.number();
        result.error_message = Some(message);
    }
    result
}
