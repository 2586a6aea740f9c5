//! SyncGroup (14), versions 0 to 5: the leader brings the assignments, every member gets its own.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.classicGroupSync`.

use super::{
    super::{Context, text},
    code_of, owned,
};
use crate::{
    coordinator::{
        classic::SyncRequest,
        messages::{GroupAnswer, GroupRequest},
    },
    model::ErrorCode,
    wire::messages::{SyncGroupRequest, SyncGroupResponse},
};

const FIRST_WITH_PROTOCOL: i16 = 5;

/// Answered once the leader's assignments are stored.
pub async fn handle(request: SyncGroupRequest, version: i16, context: &Context<'_>) -> SyncGroupResponse {
    let mut response = SyncGroupResponse::default();
    let protocol = (owned(request.protocol_type), owned(request.protocol_name));
    if version >= FIRST_WITH_PROTOCOL && (protocol.0.is_none() || protocol.1.is_none()) {
        response.error_code = ErrorCode::InconsistentGroupProtocol.number();
        return response;
    }
    let assignments = request.assignments.into_iter();
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: owned(request.group_instance_id),
        generation: request.generation_id,
        protocol,
        assignments: assignments.map(|of| (of.member_id.to_string(), of.assignment)).collect(),
    };
    match context.groups.ask(&request.group_id, GroupRequest::Sync(sync)).await {
        Ok(GroupAnswer::Sync(synced)) => {
            if version >= FIRST_WITH_PROTOCOL {
                response.protocol_type = Some(text(synced.protocol_type));
                response.protocol_name = Some(text(synced.protocol));
            }
            response.assignment = synced.assignment;
        }
        Ok(_) => panic!("a sync was answered as something else"),
        Err(error) => response.error_code = code_of(&error).number(),
    }
    response
}
