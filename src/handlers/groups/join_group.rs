//! JoinGroup (11), versions 0 to 9: a member joins, and learns who leads.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.classicGroupJoin`.

use super::{
    super::{Context, text},
    code_of, owned,
};
use crate::{
    coordinator::{
        classic::{GroupError, JoinRequest, Joined, Joining, Protocol},
        messages::{CoordinatorError, GroupAnswer, GroupRequest},
    },
    wire::messages::{JoinGroupRequest, JoinGroupResponse, join_group_response::JoinGroupResponseMember},
};

const FIRST_WITH_REBALANCE_TIMEOUT: i16 = 1;
const FIRST_WITH_KNOWN_IDS: i16 = 4;
const FIRST_WITH_PROTOCOL_TYPE: i16 = 7;
const FIRST_WITH_SKIP: i16 = 9;

/// Joins; answered once the group has its members together.
pub async fn handle(request: JoinGroupRequest, version: i16, context: &Context<'_>) -> JoinGroupResponse {
    let member_id = request.member_id.to_string();
    let group = request.group_id.to_string();
    let ms = |value: i32| u64::try_from(value).unwrap_or(0);
    let rebalance_ms = if version >= FIRST_WITH_REBALANCE_TIMEOUT {
        request.rebalance_timeout_ms
    } else {
        request.session_timeout_ms
    };
    let protocols = request.protocols.into_iter();
    let join = JoinRequest {
        member_id: member_id.clone(),
        new_member_id: String::new(),
        joining: Joining {
            instance_id: owned(request.group_instance_id),
            client_id: context.client.id.clone(),
            client_host: context.client.host.clone(),
            rebalance_timeout_ms: ms(rebalance_ms),
            session_timeout_ms: ms(request.session_timeout_ms),
            protocol_type: request.protocol_type.to_string(),
            protocols: protocols
                .map(|p| Protocol { name: p.name.to_string(), metadata: p.metadata })
                .collect(),
        },
        requires_known_id: version >= FIRST_WITH_KNOWN_IDS,
        understands_skip: version >= FIRST_WITH_SKIP,
    };
    match context.groups.ask(&group, GroupRequest::Join(join)).await {
        Ok(GroupAnswer::Join(joined)) => found(joined, version),
        Ok(_) => panic!("a join was answered as something else"),
        Err(error) => refused(&error, member_id, version),
    }
}

fn found(joined: Joined, version: i16) -> JoinGroupResponse {
    let mut response = JoinGroupResponse::default();
    response.generation_id = joined.generation;
    response.protocol_type = (version >= FIRST_WITH_PROTOCOL_TYPE).then(|| text(joined.protocol_type));
    response.protocol_name = Some(text(joined.protocol));
    response.leader = text(joined.leader);
    response.member_id = text(joined.member_id);
    response.skip_assignment = joined.skip_assignment && version >= FIRST_WITH_SKIP;
    let member = |(id, instance_id, metadata): (String, Option<String>, bytes::Bytes)| {
        let mut member = JoinGroupResponseMember::default();
        member.member_id = text(id);
        member.group_instance_id = if version >= 5 { instance_id.map(text) } else { None };
        member.metadata = metadata;
        member
    };
    response.members = joined.members.into_iter().map(member).collect();
    response
}

fn refused(error: &CoordinatorError, member_id: String, version: i16) -> JoinGroupResponse {
    let mut response = JoinGroupResponse::default();
    response.error_code = code_of(error).number();
    response.generation_id = -1;
    response.protocol_name = if version >= FIRST_WITH_PROTOCOL_TYPE { None } else { Some(text("")) };
    response.member_id = match error {
        CoordinatorError::Group(GroupError::MemberIdRequired(id)) => text(id),
        _ => text(member_id),
    };
    response
}
