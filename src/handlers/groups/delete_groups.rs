//! DeleteGroups (42), versions 0 to 2: empty groups go, with their offsets.
//!
//! Source: Kafka 4.1, `GroupCoordinatorService.deleteGroups`.

use super::{super::Context, code_of};
use crate::{
    coordinator::messages::GroupRequest,
    wire::messages::{
        DeleteGroupsRequest, DeleteGroupsResponse, delete_groups_response::DeletableGroupResult,
    },
};

/// Deletes each.
pub async fn handle(
    request: DeleteGroupsRequest,
    _version: i16,
    context: &Context<'_>,
) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group in request.groups_names {
        let mut result = DeletableGroupResult::default();
        if let Err(error) = context.groups.ask(&group, GroupRequest::Delete).await {
            result.error_code = code_of(&error).number();
        }
        result.group_id = group;
        response.results.push(result);
    }
    response
}
