//! LeaveGroup (13), versions 0 to 5: members go.
//!
//! Source: Kafka 4.1, `GroupMetadataManager.classicGroupLeave`; KIP-345 (several members, from version 3 on).

use super::{
    super::{Context, text},
    code_of, group_code, owned,
};
use crate::{
    coordinator::messages::{GroupAnswer, GroupRequest},
    model::ErrorCode,
    wire::messages::{LeaveGroupRequest, LeaveGroupResponse, leave_group_response::MemberResponse},
};

const FIRST_WITH_MEMBERS: i16 = 3;

/// Takes them out of the group.
pub async fn handle(request: LeaveGroupRequest, version: i16, context: &Context<'_>) -> LeaveGroupResponse {
    let members: Vec<(String, Option<String>)> = if version >= FIRST_WITH_MEMBERS {
        let members = request.members.into_iter();
        members.map(|member| (member.member_id.to_string(), owned(member.group_instance_id))).collect()
    } else {
        vec![(request.member_id.to_string(), None)]
    };
    let mut response = LeaveGroupResponse::default();
    match context.groups.ask(&request.group_id, GroupRequest::Leave(members.clone())).await {
        Ok(GroupAnswer::Leave(results)) => {
            let codes =
                results.iter().map(|result| result.as_ref().err().map_or(ErrorCode::None, group_code));
            if version < FIRST_WITH_MEMBERS {
                response.error_code = codes.map(ErrorCode::number).next().unwrap_or_default();
                return response;
            }
            let answer = |((member_id, instance_id), code): ((String, Option<String>), ErrorCode)| {
                let mut answer = MemberResponse::default();
                (answer.member_id, answer.group_instance_id) = (text(member_id), instance_id.map(text));
                answer.error_code = code.number();
                answer
            };
            response.members = members.into_iter().zip(codes).map(answer).collect();
        }
        Ok(_) => panic!("a leave was answered as something else"),
        Err(error) => response.error_code = code_of(&error).number(),
    }
    response
}
