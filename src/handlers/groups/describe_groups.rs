//! DescribeGroups (15), versions 0 to 6: state and members of groups.
//!
//! A group that is not there is "Dead"; from version 6 on that is an error as well (KIP-1043).
//!
//! Source: Kafka 4.1, `GroupMetadataManager.describeGroups`, `ClassicGroup.describe`.

use super::{
    super::{Context, OPERATIONS_NOT_ASKED, text},
    GROUP_OPERATIONS, code_of,
};
use crate::{
    coordinator::{
        classic::{MemberSnapshot, Snapshot, State},
        messages::{GroupAnswer, GroupRequest},
    },
    model::ErrorCode,
    wire::messages::{
        DescribeGroupsRequest, DescribeGroupsResponse,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
    },
};

const FIRST_WITH_INSTANCES: i16 = 4;
const FIRST_WITH_NOT_FOUND: i16 = 6;

/// Describes each.
pub async fn handle(
    request: DescribeGroupsRequest,
    version: i16,
    context: &Context<'_>,
) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    let operations =
        if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    for group in request.groups {
        let mut answer = match context.groups.ask(&group, GroupRequest::Describe).await {
            Ok(GroupAnswer::Describe(Some((state, snapshot)))) => described(state, snapshot, version),
            Ok(GroupAnswer::Describe(None)) => {
                let mut answer = DescribedGroup::default();
                answer.group_state = text("Dead");
                if version >= FIRST_WITH_NOT_FOUND {
                    answer.error_code = ErrorCode::GroupIdNotFound.number();
                    answer.error_message = Some(text(format!("Group {group} not found.")));
                }
                answer
            }
            Ok(_) => panic!("a description was answered as something else"),
            Err(error) => {
                let mut answer = DescribedGroup::default();
                answer.error_code = code_of(&error).number();
                answer
            }
        };
        (answer.group_id, answer.authorized_operations) = (group, operations);
        response.groups.push(answer);
    }
    response
}

fn described(state: State, snapshot: Snapshot, version: i16) -> DescribedGroup {
    let mut answer = DescribedGroup::default();
    answer.group_state = text(state.name());
    answer.protocol_type = text(snapshot.protocol_type.unwrap_or_default());
    // Before the members agree, what they said is under way.
    let is_stable = state == State::Stable;
    if is_stable {
        answer.protocol_data = text(snapshot.protocol.unwrap_or_default());
    }
    let member = |member: MemberSnapshot| {
        let mut answer = DescribedGroupMember::default();
        answer.member_id = text(member.member_id);
        if version >= FIRST_WITH_INSTANCES {
            answer.group_instance_id = member.joining.instance_id.map(text);
        }
        answer.client_id = text(member.joining.client_id);
        answer.client_host = text(member.joining.client_host);
        if is_stable {
            let protocol = member.joining.protocols.into_iter().next();
            answer.member_metadata = protocol.map(|protocol| protocol.metadata).unwrap_or_default();
            answer.member_assignment = member.assignment;
        }
        answer
    };
    answer.members = snapshot.members.into_iter().map(member).collect();
    answer
}
