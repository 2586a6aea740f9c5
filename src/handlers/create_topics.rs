//! CreateTopics (19), versions 2 to 7: one result per topic, with its effective settings from 5 on.
//!
//! `timeout_ms` does not matter: the answer goes out once every shard serves the topic.

use std::collections::BTreeSet;

use super::{Context, Outcomes, describe_configs, text, uuid};
use crate::{
    control::{ControlRequest, NewTopic},
    model::TopicView,
    wire::messages::{
        CreateTopicsRequest, CreateTopicsResponse, StrBytes,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
    },
};

/// Creates topics, or judges whether they could be.
pub async fn handle(
    request: CreateTopicsRequest,
    _version: i16,
    context: &Context<'_>,
) -> CreateTopicsResponse {
    let names: Vec<StrBytes> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let topics = request.topics.into_iter().map(new_topic).collect();
    let call = ControlRequest::CreateTopics { topics, validate_only: request.validate_only };
    let outcomes = Outcomes::of(context.control.call(call).await, names.len());
    let mut answered = BTreeSet::new();
    let mut response = CreateTopicsResponse::default();
    for (index, name) in names.iter().enumerate() {
        // A name that was sent twice is answered once.
        if answered.insert(name) {
            response.topics.push(result(name, &outcomes, index, context));
        }
    }
    response
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .into_iter()
            .map(|assignment| (assignment.partition_index, assignment.broker_ids))
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
            .collect(),
    }
}

fn result(name: &StrBytes, outcomes: &Outcomes, index: usize, context: &Context<'_>) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default();
    result.name = name.clone();
    match outcomes.item(index) {
        Ok(topic) => {
            let replicas = topic.partitions.first().map_or(0, |first| first.replicas.len());
            result.error_message = None;
            result.topic_id = uuid(topic.id);
            result.num_partitions = topic.partitions.len() as i32;
            result.replication_factor = replicas as i16;
            result.configs = Some(configs(topic, context));
        }
        Err((code, message)) => {
            result.error_code = code.number();
            result.error_message = Some(message);
        }
    }
    result
}

fn configs(topic: &TopicView, context: &Context<'_>) -> Vec<CreatableTopicConfigs> {
    let config = |entry: describe_configs::TopicEntry<'_>| {
        let mut config = CreatableTopicConfigs::default();
        config.name = text(entry.key.name);
        config.value = Some(text(entry.value));
        config.config_source = entry.source as i8;
        config
    };
    describe_configs::topic_entries(topic, context.settings).map(config).collect()
}
