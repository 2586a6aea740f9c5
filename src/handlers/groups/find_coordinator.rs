//! FindCoordinator (10), versions 0 to 6: the broker that coordinates a group.
//!
//! The topic that groups are stored in is created when somebody first asks. A transactional id is answered
//! with this broker, too: InitProducerId then says why there are no transactions. Share groups are not served.
//!
//! Source: Kafka 4.1, `KafkaApis.handleFindCoordinatorRequest`; KIP-699 (several keys, from version 4 on).

use super::super::{Context, Outcomes, text};
use crate::{
    control::ControlRequest,
    coordinator::service::{OFFSETS_TOPIC, partition_of},
    model::{Broker, ErrorCode, TopicView},
    wire::messages::{
        FindCoordinatorRequest, FindCoordinatorResponse, StrBytes, find_coordinator_response::Coordinator,
    },
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const FIRST_WITH_KEYS: i16 = 4;

/// Says who coordinates each key.
pub async fn handle(
    request: FindCoordinatorRequest,
    version: i16,
    context: &Context<'_>,
) -> FindCoordinatorResponse {
    let mut response = FindCoordinatorResponse::default();
    let is_group = request.key_type == GROUP;
    let mut topic = context.view.topic(OFFSETS_TOPIC).cloned();
    if is_group && topic.is_none() {
        let create = ControlRequest::AutoCreate { names: vec![OFFSETS_TOPIC.to_owned()] };
        topic = Outcomes::of(context.control.call(create).await, 1).item(0).ok().cloned();
    }
    let topic = topic.as_deref();
    if version >= FIRST_WITH_KEYS {
        let find = |key: StrBytes| {
            let mut answer = Coordinator::default();
            match find(&key, request.key_type, topic, context) {
                Ok(broker) => {
                    (answer.node_id, answer.host, answer.port) =
                        (broker.id, text(&broker.host), i32::from(broker.port));
                    answer.error_message = Some(text(""));
                }
                Err((code, message)) => {
                    (answer.node_id, answer.port) = (-1, -1);
                    (answer.error_code, answer.error_message) = (code.number(), Some(text(message)));
                }
            }
            answer.key = key;
            answer
        };
        response.coordinators = request.coordinator_keys.into_iter().map(find).collect();
        return response;
    }
    match find(&request.key, request.key_type, topic, context) {
        Ok(broker) => {
            (response.node_id, response.host, response.port) =
                (broker.id, text(&broker.host), i32::from(broker.port));
            response.error_message = (version >= 1).then(|| text("NONE"));
        }
        Err((code, message)) => {
            (response.node_id, response.port) = (-1, -1);
            response.error_code = code.number();
            response.error_message = (version >= 1).then(|| text(message));
        }
    }
    response
}

fn find(
    key: &str,
    key_type: i8,
    offsets: Option<&TopicView>,
    context: &Context<'_>,
) -> Result<Broker, (ErrorCode, &'static str)> {
    let view = &context.view;
    let leader = match key_type {
        GROUP => {
            let placed =
                offsets.and_then(|topic| topic.partition(partition_of(key, topic.partitions.len() as i32)));
            placed.map(|placed| placed.leader)
        }
        TRANSACTION => Some(view.controller),
        _ => return Err((ErrorCode::InvalidRequest, "this kind of coordinator is not served")),
    };
    let broker = leader.and_then(|leader| view.brokers.iter().find(|broker| broker.id == leader));
    broker.cloned().ok_or((ErrorCode::CoordinatorNotAvailable, "the coordinator is not available"))
}
