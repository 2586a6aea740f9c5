//! Metadata (3), versions 0 to 13: brokers, topics, leaders.
//!
//! A topic that does not exist is created if the broker's setting and the request allow it, and is
//! answered at once. Kafka says UNKNOWN_TOPIC_OR_PARTITION or LEADER_NOT_AVAILABLE first and has the client
//! ask again, because it does not wait for the creation; here every core has opened its partitions before
//! control replies, so the error would say what is not true and cost the client a pause before its first
//! record. Clients take that error as a reason to ask again and depend on it for nothing
//! (tests/clients/REPORT.md: a first record to a new topic by every client that creates topics).
//!
//! Source: Kafka 4.1, `KafkaApis.handleTopicMetadataRequest`, `AutoTopicCreationManager`.

use std::collections::BTreeSet;

use super::{Context, OPERATIONS_NOT_ASKED, Outcomes, text, topic_id, uuid};
use crate::{
    control::ControlRequest,
    model::{ErrorCode, PartitionView, TopicId, TopicName, TopicView},
    wire::messages::{
        MetadataRequest, MetadataResponse, StrBytes,
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
};

/// First version whose requests may name a topic by its id.
const TOPICS_BY_ID: i16 = 12;

/// Bits of Kafka's `AclOperation`s that apply to a topic: all of them, as there are no rights yet.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The same for the cluster.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Answers with brokers and the topics asked for.
pub async fn handle(request: MetadataRequest, version: i16, context: &Context<'_>) -> MetadataResponse {
    let mut response = MetadataResponse::default();
    response.brokers = context.view.brokers.iter().map(broker).collect();
    response.cluster_id = Some(text(&context.view.cluster_id));
    response.controller_id = context.view.controller;
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    let operations = match request.include_topic_authorized_operations {
        true => TOPIC_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    let create = request.allow_auto_topic_creation && context.settings.auto_create_topics;
    response.topics = match request.topics {
        None => all(context),
        // Version 0 has no null: there the empty list asks for all.
        Some(topics) if version == 0 && topics.is_empty() => all(context),
        Some(topics) if topics.iter().any(|topic| !is_allowed(topic, version)) => {
            topics.into_iter().map(|topic| refused(topic, version)).collect()
        }
        Some(topics) => named(topics, create, context).await,
    };
    for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
        topic.topic_authorized_operations = operations;
    }
    response
}

fn all(context: &Context<'_>) -> Vec<MetadataResponseTopic> {
    context.view.topics().map(|topic| found(topic)).collect()
}

fn is_allowed(topic: &MetadataRequestTopic, version: i16) -> bool {
    version >= TOPICS_BY_ID || topic.name.is_some() && topic.topic_id.is_zero()
}

/// For requests that carry ids or null names before the version that may.
fn refused(topic: MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic::default();
    answer.error_code = ErrorCode::InvalidRequest.number();
    answer.topic_id = topic.topic_id;
    answer.name = if version >= TOPICS_BY_ID { topic.name } else { topic.name.or_else(|| Some(text(""))) };
    answer
}

async fn named(
    topics: Vec<MetadataRequestTopic>,
    create: bool,
    context: &Context<'_>,
) -> Vec<MetadataResponseTopic> {
    let mut seen = BTreeSet::new();
    let mut answers = Vec::with_capacity(topics.len());
    let mut absent = Vec::new();
    for topic in topics {
        if !seen.insert((topic.topic_id, topic.name.clone())) {
            continue;
        }
        if !topic.topic_id.is_zero() {
            answers.push(by_id(topic_id(topic.topic_id), context));
            continue;
        }
        let name = topic.name.unwrap_or_default();
        match (context.view.topic(&name), TopicName::new(&name)) {
            (Some(topic), _) => answers.push(found(topic)),
            (None, Err(_)) => answers.push(unknown(name, ErrorCode::InvalidTopicException)),
            (None, Ok(_)) => absent.push(name),
        }
    }
    if create && !absent.is_empty() {
        answers.extend(auto_create(absent, context).await);
    } else {
        answers.extend(absent.into_iter().map(|name| unknown(name, ErrorCode::UnknownTopicOrPartition)));
    }
    answers
}

/// Has the topics created, and answers with them.
async fn auto_create(names: Vec<StrBytes>, context: &Context<'_>) -> Vec<MetadataResponseTopic> {
    let request = ControlRequest::AutoCreate { names: names.iter().map(ToString::to_string).collect() };
    let outcomes = Outcomes::of(context.control.call(request).await, names.len());
    let answer = |(index, name)| match (&outcomes, outcomes.item(index)) {
        (_, Ok(topic)) => found(topic),
        // The client asks again, and control may be there by then.
        (Outcomes::All(_), _) => unknown(name, ErrorCode::UnknownTopicOrPartition),
        (_, Err((code, _))) => unknown(name, code),
    };
    names.into_iter().enumerate().map(answer).collect()
}

fn by_id(id: TopicId, context: &Context<'_>) -> MetadataResponseTopic {
    if let Some(topic) = context.view.topic_by_id(id) {
        return found(topic);
    }
    let mut answer = MetadataResponseTopic::default();
    answer.error_code = ErrorCode::UnknownTopicId.number();
    answer.topic_id = uuid(id);
    answer.name = None;
    answer
}

fn unknown(name: StrBytes, code: ErrorCode) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic::default();
    answer.error_code = code.number();
    answer.name = Some(name);
    answer
}

fn found(topic: &TopicView) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic::default();
    answer.name = Some(text(&topic.name));
    answer.topic_id = uuid(topic.id);
    answer.is_internal = topic.internal;
    answer.partitions = topic.partitions.iter().map(partition).collect();
    answer
}

fn partition(partition: &PartitionView) -> MetadataResponsePartition {
    let mut answer = MetadataResponsePartition::default();
    answer.partition_index = partition.index.get();
    answer.leader_id = partition.leader;
    answer.leader_epoch = partition.leader_epoch.get();
    answer.replica_nodes.clone_from(&partition.replicas);
    answer.isr_nodes.clone_from(&partition.in_sync);
    answer
}

fn broker(broker: &crate::model::Broker) -> MetadataResponseBroker {
    let mut answer = MetadataResponseBroker::default();
    answer.node_id = broker.id;
    answer.host = text(&broker.host);
    answer.port = i32::from(broker.port);
    answer
}
