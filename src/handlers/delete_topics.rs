//! DeleteTopics (20), versions 1 to 6: by name, and from 6 on by name or by id.
//!
//! Source: Kafka 4.1, `ControllerApis.deleteTopics`.

use std::collections::BTreeSet;

use super::{Context, Outcomes, text, topic_id, uuid};
use crate::{
    control::{ControlRequest, TopicRef},
    model::ErrorCode,
    wire::messages::{
        DeleteTopicsRequest, DeleteTopicsResponse, Uuid, delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
    },
};

/// First version with `topics` in place of `topic_names`.
const TOPICS_BY_ID: i16 = 6;

/// Deletes topics.
pub async fn handle(
    request: DeleteTopicsRequest,
    version: i16,
    context: &Context<'_>,
) -> DeleteTopicsResponse {
    let mut response = DeleteTopicsResponse::default();
    let mut topics = Vec::new();
    if version < TOPICS_BY_ID {
        topics.extend(request.topic_names.iter().map(|name| TopicRef::Name(name.to_string())));
    } else {
        for state in request.topics {
            match topic_ref(&state) {
                Ok(topic) => topics.push(topic),
                Err(reason) => response.responses.push(refused(state, reason)),
            }
        }
    }
    let call = ControlRequest::DeleteTopics { topics: topics.clone() };
    let outcomes = Outcomes::of(context.control.call(call).await, topics.len());
    let mut answered = BTreeSet::new();
    for (index, topic) in topics.iter().enumerate() {
        // One that was sent twice is answered once.
        if answered.insert(topic) {
            response.responses.push(result(topic, &outcomes, index));
        }
    }
    response
}

fn topic_ref(state: &DeleteTopicState) -> Result<TopicRef, &'static str> {
    match (&state.name, state.topic_id.is_zero()) {
        (Some(name), true) => Ok(TopicRef::Name(name.to_string())),
        (None, false) => Ok(TopicRef::Id(topic_id(state.topic_id))),
        (Some(_), false) => Err("You may not specify both topic name and topic id."),
        (None, true) => Err("Neither topic name nor id were specified."),
    }
}

fn refused(state: DeleteTopicState, reason: &str) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default();
    result.name = state.name;
    result.topic_id = state.topic_id;
    result.error_code = ErrorCode::InvalidRequest.number();
    result.error_message = Some(text(reason));
    result
}

fn result(topic: &TopicRef, outcomes: &Outcomes, index: usize) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default();
    (result.name, result.topic_id) = match topic {
        TopicRef::Name(name) => (Some(text(name)), Uuid::ZERO),
        TopicRef::Id(id) => (None, uuid(*id)),
    };
    match outcomes.item(index) {
        Ok(topic) => {
            result.name = Some(text(&topic.name));
            result.topic_id = uuid(topic.id);
        }
        Err((code, message)) => {
            result.error_code = code.number();
            result.error_message = Some(message);
        }
    }
    result
}
