//! Heartbeat (12), versions 0 to 4: a member is alive, and hears of rebalances.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.classicGroupHeartbeat`.

use super::{super::Context, code_of, owned};
use crate::{
    coordinator::messages::{CoordinatorError, GroupRequest, MemberOf},
    wire::messages::{HeartbeatRequest, HeartbeatResponse},
};

/// Tells the group.
pub async fn handle(request: HeartbeatRequest, _version: i16, context: &Context<'_>) -> HeartbeatResponse {
    let mut response = HeartbeatResponse::default();
    let member = MemberOf {
        member_id: request.member_id.to_string(),
        instance_id: owned(request.group_instance_id),
        generation: request.generation_id,
    };
    match context.groups.ask(&request.group_id, GroupRequest::Heartbeat(member)).await {
        // Kafka: the member heartbeats on until the groups are loaded.
        Ok(_) | Err(CoordinatorError::Loading) => {}
        Err(error) => response.error_code = code_of(&error).number(),
    }
    response
}
