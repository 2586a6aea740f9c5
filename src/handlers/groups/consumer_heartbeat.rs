//! ConsumerGroupHeartbeat (68), versions 0 and 1: members under the consumer protocol join, go on and leave (KIP-848).
//!
//! From version 1 on members choose their id themselves, and may subscribe by a regular expression.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.throwIfConsumerGroupHeartbeatRequestIsInvalid`.

use super::{
    super::{Context, text, topic_id, uuid},
    code_of, owned,
};
use crate::{
    coordinator::{
        consumer::{
            Assignment as Partitions, Heartbeat, LEAVE_EPOCH, STATIC_LEAVE_EPOCH, assignor::Assignor,
        },
        messages::{CoordinatorError, GroupAnswer, GroupRequest},
    },
    model::ErrorCode,
    wire::messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        consumer_group_heartbeat_response::{Assignment, TopicPartitions},
    },
};

/// The timeout of a request that says none.
const AS_BEFORE: i32 = -1;

/// Tells the group.
pub async fn handle(
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
    context: &Context<'_>,
) -> ConsumerGroupHeartbeatResponse {
    let mut response = ConsumerGroupHeartbeatResponse::default();
    (response.error_message, response.member_id, response.assignment) = (None, None, None);
    if let Err((code, why)) = check(&request, version) {
        (response.error_code, response.error_message) = (code.number(), Some(text(why)));
        return response;
    }
    let group = request.group_id.clone();
    let beat = Box::new(beat_of(request, context));
    match context.groups.ask(&group, GroupRequest::Beat(beat)).await {
        Ok(GroupAnswer::Beat(beat)) => {
            response.member_id = Some(text(beat.member_id));
            response.member_epoch = beat.member_epoch;
            response.heartbeat_interval_ms = i32::try_from(beat.heartbeat_ms).unwrap_or(i32::MAX);
            response.assignment = beat.assignment.map(|partitions| {
                let mut assignment = Assignment::default();
                assignment.topic_partitions = partitions.into_iter().map(topic).collect();
                assignment
            });
        }
        Ok(_) => panic!("a heartbeat was answered as something else"),
        // Kafka: no such group of this kind.
        Err(CoordinatorError::OtherProtocol) => {
            response.error_code = ErrorCode::GroupIdNotFound.number();
            response.error_message = Some(text(format!("Group {group} is not a consumer group.")));
        }
        Err(error) => {
            response.error_code = code_of(&error).number();
            response.error_message = Some(text(error));
        }
    }
    response
}

fn topic((id, partitions): (crate::model::TopicId, std::collections::BTreeSet<i32>)) -> TopicPartitions {
    let mut topic = TopicPartitions::default();
    topic.topic_id = uuid(id);
    topic.partitions = partitions.into_iter().collect();
    topic
}

fn beat_of(request: ConsumerGroupHeartbeatRequest, context: &Context<'_>) -> Heartbeat {
    let mut member_id = request.member_id.to_string();
    if member_id.is_empty() {
        member_id = new_id();
    }
    let owned_partitions = request.topic_partitions.map(|topics| {
        let of = |topic: crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions| {
            (topic_id(topic.topic_id), topic.partitions.into_iter().collect())
        };
        topics.into_iter().map(of).collect::<Partitions>()
    });
    Heartbeat {
        member_id,
        member_epoch: request.member_epoch,
        instance_id: owned(request.instance_id),
        rack_id: owned(request.rack_id),
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms != AS_BEFORE),
        topics: request.subscribed_topic_names.map(|names| names.iter().map(ToString::to_string).collect()),
        regex: owned(request.subscribed_topic_regex),
        assignor: owned(request.server_assignor),
        owned: owned_partitions,
        client_id: context.client.id.clone(),
        client_host: context.client.host.clone(),
    }
}

/// As Kafka makes the ids of members: a random UUID in 22 characters.
fn new_id() -> String {
    let mut bytes = [0; 16];
    // Without random bits the id is one that another may have: it is then refused or shared, never mixed up.
    let _ = getrandom::fill(&mut bytes);
    crate::model::topic::base64_uuid(&bytes)
}

fn check(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), (ErrorCode, String)> {
    let invalid = |why: &str| Err((ErrorCode::InvalidRequest, why.to_owned()));
    let is_blank = |text: &str| text.trim().is_empty();
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    if is_blank(&request.member_id) && (version >= 1 || request.member_epoch != 0) {
        return invalid("MemberId can't be empty.");
    }
    match request.member_epoch {
        0 => {
            if request.rebalance_timeout_ms == AS_BEFORE {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            let names = request.subscribed_topic_names.as_deref().unwrap_or_default();
            let regex = request.subscribed_topic_regex.as_deref().unwrap_or_default();
            if names.is_empty() && regex.is_empty() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        STATIC_LEAVE_EPOCH if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        STATIC_LEAVE_EPOCH | LEAVE_EPOCH => {}
        epoch if epoch < 0 => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    match request.server_assignor.as_deref() {
        Some(name) if Assignor::named(name).is_none() => {
            let known = Assignor::ALL.map(Assignor::name).join(", ");
            let why = format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
            Err((ErrorCode::UnsupportedAssignor, why))
        }
        _ => Ok(()),
    }
}
